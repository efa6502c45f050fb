"""Maximise under bounds: Newton's method on the bounds that bind, found by an active set."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..linalg import symmetric
from ..params.bounds import Bound
from .base import Evaluation, Optimizer, Options, Problem, State, Status

LONGEST = 10.0
"""Longest step, in units of a point and one: where the function is almost linear, Newton's have no end."""


@dataclass(frozen=True)
class Limits:
    """Hold the inequalities ``A x >= low``: (m, F) rows, (m,) right-hand sides, and the bound that each comes from."""

    A: Tensor
    low: Tensor
    bounds: tuple[Bound, ...]

    def slack(self, x: Tensor) -> Tensor:
        """Return how far a point is inside each inequality."""
        return self.A @ x - self.low


class Bounded(Optimizer):
    """Take Newton steps along the bounds that bind; a step ends where it meets another one.

    At a maximum on these bounds their multipliers say whether one should be left (Nocedal and Wright 2006, section
    16.5, for a quadratic; here each step has a line search).
    """

    name = "newton"
    default_maxiter = 500
    order = 2

    def __init__(self, options: Options, limits: Limits) -> None:
        super().__init__(options)
        self.limits = limits

    def init(self, problem: Problem, x: Tensor, at: Evaluation) -> State:
        """Begin with no bound."""
        return State(x, at, None if at.finite else Status.NOT_FINITE, memory=frozenset())

    def step(self, problem: Problem, state: State) -> State:
        """Move along the bounds in use, or change them."""
        active: frozenset[int] = state.memory
        direction, decrement = _along(state.at, self.limits.A[sorted(active)])
        enough = self.options.tol / 100
        settled = decrement <= 1e-8 * enough or (state.decrement <= enough and decrement > 0.1 * state.decrement)
        state = replace(state, decrement=decrement)
        if decrement <= enough and settled:
            wrong = self._pulling_away(state.at, active)
            if wrong is None:
                return replace(state, status=Status.CONVERGED)
            return replace(state, decrement=math.nan, memory=active - {wrong})
        cut = min(1.0, LONGEST * (1 + float(state.x.abs().max())) / max(float(direction.abs().max()), 1e-300))
        direction, decrement = cut * direction, cut * decrement
        reach, blocking = self._reach(state.x, direction, active)
        if reach <= 1e-14 and blocking is not None:
            return replace(state, memory=active | {blocking})
        return self._search(problem, state, direction, decrement, reach, blocking)

    def _search(
        self, problem: Problem, state: State, direction: Tensor, decrement: float, reach: float, blocking: int | None
    ) -> State:
        length = min(1.0, reach)
        while length > 1e-14 * max(1.0, float(direction.abs().max())):
            x = state.x + length * direction
            at = problem.evaluate(x, 2)
            rounding = 100 * problem.rounding * (abs(state.at.value) + 1)
            fallen = at.value <= state.at.value - 1e-4 * length * decrement
            if at.finite and (fallen or (decrement < rounding and at.value <= state.at.value + rounding)):
                met = state.memory | {blocking} if length == reach and blocking is not None else state.memory
                return State(x, at, None, decrement, length, met)
            length *= 0.5 if at.finite else 0.25
        return replace(state, status=Status.STALLED)

    def _reach(self, x: Tensor, direction: Tensor, active: frozenset[int]) -> tuple[float, int | None]:
        """Return how long a step may be, and which bound ends it."""
        slope = self.limits.A @ direction
        slack = self.limits.slack(x).clamp(min=0.0)
        length = torch.where(slope < -1e-14 * direction.abs().max(), slack / -slope, torch.inf)
        length[sorted(active)] = torch.inf
        if not len(length) or bool(torch.isinf(length.min())):
            return float("inf"), None
        return float(length.min()), int(length.argmin())

    def _pulling_away(self, at: Evaluation, active: frozenset[int]) -> int | None:
        """Return the bound in use that the function would rather leave, or None."""
        if not active:
            return None
        assert at.gradient is not None
        rows = sorted(active)
        multipliers = torch.linalg.lstsq(self.limits.A[rows].mT, at.gradient[:, None]).solution[:, 0]
        worst = int(multipliers.argmin())
        return rows[worst] if float(multipliers[worst]) < -1e-9 * float(at.gradient.abs().max()) else None


def _along(at: Evaluation, rows: Tensor) -> tuple[Tensor, float]:
    """Return the Newton step in the null space of the rows, and its scaled gradient."""
    assert at.gradient is not None
    assert at.hessian is not None
    basis = torch.linalg.qr(rows.mT, mode="complete").Q[:, len(rows) :]
    if basis.shape[1] == 0:
        return torch.zeros_like(at.gradient), 0.0
    gradient = basis.mT @ at.gradient
    values, vectors = torch.linalg.eigh(symmetric(basis.mT @ at.hessian @ basis))
    size = values.abs().clamp(min=1e-10 * float(values.abs().max()) or 1.0)
    step = -(vectors @ ((vectors.mT @ gradient) / size))
    return basis @ step, -float(gradient @ step)
