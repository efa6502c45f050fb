"""Maximise by Newton's method with exact Hessians, in a trust region where the function is not convex."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from .base import Evaluation, Optimizer, Problem, State, Status
from .trustregion import Quadratic, Step

POLISH = 1e-18
"""Scaled gradient below which no further step is worth its pass: 1e-9 standard errors from the maximum."""

FALL = 1e-4
"""Share of the fall that the model promised that a step must bring."""

WORTH = 0.1
"""Share of the promised fall that a correction must promise, to be worth its pass."""


SHORT = 0.1
"""Length of a correction, relative to the step that it corrects, at most: longer ones are other steps."""


@dataclass(frozen=True)
class Region:
    """Hold the model at a point and the radius within which it is trusted."""

    model: Quadratic
    radius: float

    @property
    def bounded(self) -> float:
        """Return the radius, one that is infinite made finite where the model has no minimum."""
        return self.radius if self.model.exact or math.isfinite(self.radius) else self.model.reach / 2


@dataclass(frozen=True)
class Landing:
    """Hold where a step ended, and the share of the promised fall that it brought."""

    x: Tensor
    at: Evaluation
    share: float


class Newton(Optimizer):
    """Take Newton steps, within a trust region once one of them has failed or the function is not convex.

    The first radius is infinite: where full steps succeed, this is Newton's method and nothing else. The region is a
    ball in comparable units, and the step in it is that of More and Sorensen (1983), which bends towards the gradient
    and along negative curvature. A step that fails is corrected from where it landed if a second step from there
    promises to make up for it, which follows curved valleys with long steps. The method stops on the scaled gradient
    ``g' H^-1 g``, after one more step once that is below ``tol``.
    """

    name = "newton"
    default_maxiter = 1000
    order = 2

    def init(self, problem: Problem, x: Tensor, at: Evaluation) -> State:
        """Judge the start."""
        return self._judged(problem, State(x, at), math.inf, previous=math.inf)

    def step(self, problem: Problem, state: State) -> State:
        """Move to the minimum of the model within the radius, and shrink that until the function has fallen enough."""
        region: Region = state.memory
        model, radius = region.model, region.bounded
        previous = model.decrement if model.exact else math.inf
        while True:
            step = model.step(radius)
            landing = _land(problem, state, step, model)
            radius = _radius(radius, step, landing, state.at)
            if landing.share < FALL:
                landing = _corrected(problem, state, step, landing)
                radius = radius if landing.share < FALL else max(radius, 2 * step.length * min(landing.share, 1.0))
            if landing.share >= FALL:
                moved = State(landing.x, landing.at, step=min(1.0, step.length / model.reach))
                return self._judged(problem, moved, radius, previous)
            if not bool((step.move.abs() > 1e-12 * (1 + state.x.abs())).any()):
                return replace(state, status=Status.STALLED, step=math.nan)

    def _judged(self, problem: Problem, state: State, radius: float, previous: float) -> State:
        """Attach the model at the point, or the status that ends the fit."""
        if not state.at.finite:
            return replace(state, status=Status.NOT_FINITE)
        model, tol = Quadratic(state.at), self.options.tol
        region = Region(model, radius)
        state = replace(state, decrement=model.decrement, memory=region)
        if model.decrement > tol:
            return state
        if model.exact:
            done = model.decrement <= min(POLISH, tol) or previous <= tol
            return replace(state, status=Status.CONVERGED) if done else state
        promised = model.step(max(region.bounded, 1.0)).gain  # large at a saddle, nothing where it is flat
        return state if promised > max(tol, _noise(problem, state.at)) else replace(state, status=Status.FLAT)


def _noise(problem: Problem, at: Evaluation) -> float:
    """Return the difference below which two values agree to rounding."""
    return 100 * problem.rounding * (abs(at.value) + 1)


def _land(problem: Problem, state: State, step: Step, model: Quadratic) -> Landing:
    """Evaluate a step; where values agree to rounding, the slopes along it decide."""
    x = state.x + step.move
    at = problem.evaluate(x, 2)
    if not at.finite:
        return Landing(x, at, -math.inf)
    fall = state.at.value - at.value
    share = fall / step.gain if step.gain > 0 else -math.inf
    if share < FALL and model.exact and abs(fall) <= _noise(problem, state.at):
        assert at.gradient is not None
        before, after = float(model.gradient @ step.move), float(at.gradient @ step.move)
        share = 1.0 if abs(after) <= 0.9 * abs(before) else share
    return Landing(x, at, share)


def _corrected(problem: Problem, state: State, step: Step, landing: Landing) -> Landing:
    """Return where a second step from a failed landing ends, if it promises to make up for the first."""
    if not landing.at.finite:
        return landing
    second = Quadratic(landing.at).step(SHORT * step.length)
    if state.at.value - (landing.at.value - second.gain) < WORTH * step.gain:
        return landing
    x = landing.x + second.move
    at = problem.evaluate(x, 2)
    share = (state.at.value - at.value) / step.gain if at.finite else -math.inf
    return Landing(x, at, share) if share >= FALL else landing


def _radius(radius: float, step: Step, landing: Landing, before: Evaluation) -> float:
    """Return the next radius: longer after a good step, shorter after a poor one."""
    if landing.share > 0.75:
        return max(radius, 2 * step.length)
    if landing.share >= 0.25:
        return radius
    if not landing.at.finite:
        return 0.25 * step.length
    assert before.gradient is not None
    slope = -float(before.gradient @ step.move)
    curvature = landing.at.value - before.value + slope
    return step.length * (min(0.5, max(0.1, 0.5 * slope / curvature)) if curvature > 0 else 0.5)
