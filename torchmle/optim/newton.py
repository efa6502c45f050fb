"""Maximise by Newton's method with exact Hessians, safe from points where the function is not convex."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..linalg import cholesky, solve_spd, symmetric
from .base import Evaluation, Optimizer, Problem, State, Status

POLISH = 1e-20
"""Scaled gradient below which no further step is worth its pass: 1e-10 standard errors from the maximum."""


class Newton(Optimizer):
    """Take Newton steps with a backtracking line search.

    Where the Hessian is not positive definite, its eigenvalues are replaced by their absolute values (Nocedal and
    Wright 2006, section 3.4), which turns the step away from saddles. The method stops on the scaled gradient
    ``g' H^-1 g``, after one more step once that is below ``tol``.
    """

    name = "newton"
    default_maxiter = 200
    order = 2

    def init(self, problem: Problem, x: Tensor, at: Evaluation) -> State:
        """Judge the start."""
        return self._judged(State(x, at), previous=math.inf)

    def step(self, problem: Problem, state: State) -> State:
        """Move along the Newton direction until the function has fallen enough."""
        direction, decrement, exact = state.memory
        length = 1.0
        reach = max(1.0, float((direction.abs() / (1 + state.x.abs())).max()))
        while length * reach > 1e-12:
            x = state.x + length * direction
            at = problem.evaluate(x, 2)
            if _acceptable(state, at, direction, decrement, length, exact, 100 * problem.rounding):
                return self._judged(State(x, at, step=length), previous=decrement if exact else math.inf)
            length *= _shrink(state.at, at, decrement, length)
        finite = state.at.finite and not math.isinf(decrement)
        return replace(state, status=Status.STALLED if finite else Status.NOT_FINITE, step=math.nan)

    def _judged(self, state: State, previous: float) -> State:
        """Attach the next direction, or the status that ends the fit."""
        if not state.at.finite:
            return replace(state, status=Status.NOT_FINITE)
        direction, decrement, exact = _direction(state.at)
        state = replace(state, decrement=decrement, memory=(direction, decrement, exact))
        tol = self.options.tol
        if decrement <= tol and (decrement <= min(POLISH, tol) or previous <= tol):
            return replace(state, status=Status.CONVERGED if exact else Status.FLAT)
        return state


def _direction(at: Evaluation) -> tuple[Tensor, float, bool]:
    """Return the step, its scaled gradient, and whether the Hessian was positive definite."""
    assert at.gradient is not None
    assert at.hessian is not None
    factor = cholesky(at.hessian)
    if factor is not None:
        step = -solve_spd(factor, at.gradient)
        return step, -float(at.gradient @ step), True
    scale = at.hessian.diagonal().abs().sqrt()
    largest = float(scale.max()) or 1.0
    scale = torch.where(scale > 1e-8 * largest, scale, torch.full_like(scale, largest))
    values, vectors = torch.linalg.eigh(symmetric(at.hessian) / torch.outer(scale, scale))
    size = values.abs()
    size = size.clamp(min=1e-8 * float(size.max()) if float(size.max()) > 0 else 1.0)
    step = -(vectors @ ((vectors.mT @ (at.gradient / scale)) / size)) / scale
    return step, -float(at.gradient @ step), False


def _acceptable(
    state: State, at: Evaluation, direction: Tensor, decrement: float, length: float, exact: bool, rounding: float
) -> bool:
    if not at.finite:
        return False
    if at.value <= state.at.value - 1e-4 * length * decrement:
        return True
    if not exact or abs(at.value - state.at.value) > rounding * (abs(state.at.value) + 1):
        return False
    assert at.gradient is not None  # values agree to rounding: the slope decides
    return abs(float(at.gradient @ direction)) <= 0.9 * decrement


def _shrink(before: Evaluation, after: Evaluation, decrement: float, length: float) -> float:
    """Return the factor to the minimum of the parabola through value, slope and new value, within 0.1 and 0.5."""
    if not after.finite:
        return 0.25
    curvature = after.value - before.value + length * decrement
    return min(0.5, max(0.1, 0.5 * length * decrement / curvature)) if curvature > 0 else 0.5
