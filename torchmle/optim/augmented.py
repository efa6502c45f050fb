"""Maximise under equations and inequalities in any smooth functions: an augmented Lagrangian, polished at the end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .base import Callback, Evaluation, Observer, OptimResult, Options, Problem, State, judge, trace_row
from .loop import Limits, drive
from .newton import Newton
from .status import Status
from .surface import Augmented, Constraints, Surface
from .tangent import Stationary, negligible, polish, stationary, typical_curvature

PENALTY, FASTER = 10.0, 10.0
"""First penalty in units of a typical curvature, and its growth where constraints are not met faster."""

FASTEST = 1e12
"""Penalty beyond which no further one makes a difference."""

ROUNDS, ENOUGH = 40, 6
"""Times that multipliers or penalties are changed, at most, and after which constraints that hold need no more."""

FAR = 100.0
"""Distance from the constraints, relative to that at the start of a round and to the point, beyond which it failed."""

STATIONARY = 1e-3
"""Slope of the violation, relative to it and to the gradients of the constraints, at which it cannot be made less."""


@dataclass(frozen=True)
class Round:
    """Hold where the method stands: the inner search, the penalty, and how well the last round met the constraints.

    ``begin`` is where the round began, ``violation`` what the last one left, ``first`` what the first one left.
    """

    inner: State
    problem: Augmented
    penalty: float
    units: Tensor
    begin: Tensor
    violation: float = math.inf
    first: float = math.inf
    count: int = 0


@dataclass(frozen=True)
class Under:
    """Hold the end of a search under constraints.

    Attributes
    ----------
    result : point, the function as it is, status and trace.
    end : the point with its active constraints and multipliers; None where something is not finite there.
    """

    result: OptimResult
    end: Stationary | None


class AugmentedLagrangian:
    """Take Newton steps on the augmented Lagrangian, and change multipliers and penalties where these come to rest.

    Algorithm 17.4 of Nocedal and Wright (2006). After each round the point is polished by Newton's method on the
    conditions of Karush, Kuhn and Tucker with the active constraints that the multipliers imply, and if that leads
    to a maximum the method has found it.
    """

    def __init__(self, problem: Problem, constraints: Constraints, options: Options, verdict_tol: float) -> None:
        self.problem, self.constraints, self.options, self.tol = problem, constraints, options, verdict_tol

    def init(self, x: Tensor) -> State:
        """Begin without multipliers."""
        surface = self.constraints.at(x)
        units = _sizes(surface, torch.zeros_like(surface.values))
        problem = self._augmented(x, torch.zeros_like(surface.values), PENALTY, units)
        return self._begun(x, Round(State(x, Evaluation(math.nan)), problem, PENALTY, units, x))

    def step(self, state: State) -> State:
        """Take one Newton step, or end the round."""
        stage: Round = state.memory
        inner = stage.inner
        if inner.status is None:
            inner = self._newton(stage.count).step(stage.problem, inner)
        if inner.status is None and self._ran_away(stage, inner.x):
            return self._tighter(stage)
        stage = replace(stage, inner=inner)
        return replace(inner, memory=stage) if inner.status is None else self._ended(stage)

    def _ran_away(self, stage: Round, x: Tensor) -> bool:
        """Return whether the constraints are left so far behind that the penalty does not hold the function."""
        if stage.penalty * FASTER > FASTEST:
            return False
        now, before = (self._violation(at, stage.units) for at in (x, stage.begin))
        return not now <= FAR * max(before, 1 + float(stage.begin.abs().max()))

    def _violation(self, x: Tensor, units: Tensor) -> float:
        values = self.constraints.at(x).values / units
        return float(torch.where(self.constraints.equal, values.abs(), -values).clamp(min=0.0).max())

    def _tighter(self, stage: Round) -> State:
        """Return the start of the same round with a larger penalty."""
        penalty = stage.penalty * FASTER
        problem = self._augmented(stage.begin, stage.problem.multipliers, penalty, stage.units)
        return self._begun(stage.begin, replace(stage, problem=problem, penalty=penalty))

    def _newton(self, count: int) -> Newton:
        """Return the inner method, the more exact the later."""
        return Newton(replace(self.options, tol=max(self.options.tol, 10.0 ** (-2 - 2 * count))))

    def _augmented(self, x: Tensor, multipliers: Tensor, penalty: float, units: Tensor) -> Augmented:
        curvature = typical_curvature(self.problem.evaluate(x, 2))
        return Augmented(self.problem, self.constraints, multipliers, penalty * curvature / units.square())

    def _begun(self, x: Tensor, stage: Round) -> State:
        """Return the state at the start of a round."""
        inner = self._newton(stage.count).init(stage.problem, x, stage.problem.evaluate(x, 2))
        return replace(inner, status=None, memory=replace(stage, inner=inner, begin=x))

    def _ended(self, stage: Round) -> State:
        """Return the polished point if it is a maximum, else the start of the next round."""
        x = stage.inner.x
        surface = self.constraints.at(x)
        implied = stage.problem.implied(surface)
        units = _sizes(surface, stage.units)
        found = polish(self.problem, self.constraints, x, implied, units, self.tol)
        if found is not None:
            return State(found.x, found.tangent, Status.CONVERGED, found.decrement, 1.0, found)
        violation = float(((stage.problem.multipliers - implied).abs() / stage.problem.penalties / units).max())
        better = violation <= 0.25 * stage.violation
        after = _counted(stage, violation, better, units)
        met = violation <= negligible(self.tol) * (1 + float(x.abs().max())) and after.count > ENOUGH
        if met or after.count >= ROUNDS or after.penalty > FASTEST:
            return self._given_up(after, x, implied)
        multipliers = implied if better else stage.problem.multipliers
        return self._begun(x, replace(after, problem=self._augmented(x, multipliers, after.penalty, units)))

    def _given_up(self, stage: Round, x: Tensor, implied: Tensor) -> State:
        """Return the point with the reason why it is no maximum under the constraints."""
        active = self.constraints.equal | (implied > 0)
        end = stationary(self.problem, self.constraints, x, active, implied, stage.units)
        if end is None:
            return replace(stage.inner, status=Status.NOT_FINITE, step=math.nan, memory=stage)
        status, decrement = self._verdict(stage, end)
        return State(x, end.at, status, decrement, math.nan, end)

    def _verdict(self, stage: Round, end: Stationary) -> tuple[Status, float]:
        """Return why a point is no maximum under the constraints, and its scaled gradient along them."""
        equal = self.constraints.equal
        if float(end.gaps.max()) > 100 * negligible(self.tol) * end.size:
            if stage.violation < 1e-3 * stage.first:  # it goes on to vanish, and with it the gradients
                return Status.DEPENDENT, math.inf
            values = end.surface.values / stage.units
            wrong = torch.where(equal, values, values.clamp(max=0.0))
            slope = (end.surface.jacobian / stage.units[:, None]).mT @ wrong
            still = float(slope.norm()) <= STATIONARY * float(wrong.norm())
            return (Status.INFEASIBLE if still else Status.STALLED), math.inf
        if any(bool(e) and i not in end.used for i, e in enumerate(equal.tolist())):
            return Status.DEPENDENT, math.inf
        status, decrement = judge(end.tangent, Status.STALLED, self.tol, self.problem.rows)
        if status is Status.CONVERGED:  # but it was not polished: it moves on for ever, or wants other constraints
            status = Status.STALLED if end.settled(self.tol) else Status.NO_MAXIMUM
        return status, decrement


def _counted(stage: Round, violation: float, better: bool, units: Tensor) -> Round:
    """Return the round after one that left a violation: a larger penalty where it was not much better."""
    return replace(
        stage,
        penalty=stage.penalty if better else stage.penalty * FASTER,
        units=units,
        violation=min(violation, stage.violation),
        first=stage.first if math.isfinite(stage.first) else violation,
        count=stage.count + 1,
    )


def _sizes(surface: Surface, before: Tensor) -> Tensor:
    """Return the largest gradients of the constraints so far; one where there was none."""
    sizes = torch.maximum(surface.jacobian.norm(dim=1), torch.where(before == 1.0, 0.0, before))
    return torch.where(sizes > 0, sizes, torch.ones_like(sizes))


def maximise_under(
    problem: Problem,
    constraints: Constraints,
    x: Tensor,
    options: Options,
    *,
    verdict_tol: float,
    callback: Callback | None = None,
    observer: Observer | None = None,
    maxfun: int | None = None,
) -> Under:
    """Search from x, which need not satisfy the constraints, and judge the point that is returned.

    It is a maximum when the constraints hold, multipliers of inequalities are not negative, the gradient along the
    active constraints, scaled by the Hessian of the Lagrangian there, is at most ``verdict_tol``, and that Hessian is
    positive definite.
    """
    begin = time.perf_counter()
    method = AugmentedLagrangian(problem, constraints, options, verdict_tol)
    maxiter = Newton.default_maxiter if options.maxiter is None else options.maxiter
    driven = drive(
        method.init(x),
        method.step,
        trace_row,
        Limits(maxiter, options.time_limit, lambda: maxfun is not None and problem.evaluations >= maxfun),
        better=lambda state, best: math.isfinite(state.at.value),
        callback=callback,
        observer=observer,
        begin=begin,
    )
    state = driven.state
    end = state.memory if isinstance(state.memory, Stationary) else _as_it_is(problem, constraints, state)
    at = problem.evaluate(state.x, 2) if end is None else end.at
    status = state.status or Status.MAXITER
    if end is not None and status in (Status.MAXITER, Status.TIME_LIMIT) and _holds(end, verdict_tol):
        status = Status.CONVERGED
    decrement = end.decrement if status is Status.CONVERGED and end is not None else state.decrement
    seconds = time.perf_counter() - begin
    return Under(OptimResult(state.x, at, status, decrement, driven.steps, tuple(driven.trace), seconds), end)


def _as_it_is(problem: Problem, constraints: Constraints, state: State) -> Stationary | None:
    """Return a point that a limit or an interrupt left, with the active constraints that its multipliers imply."""
    stage: Any = state.memory
    implied = stage.problem.implied(constraints.at(state.x))
    return stationary(problem, constraints, state.x, constraints.equal | (implied > 0), implied, stage.units)


def _holds(end: Stationary, tol: float) -> bool:
    """Return whether a point that a limit left is the maximum all the same."""
    if end.Z.shape[1] and end.tangent.factor is None:
        return False
    return end.settled(tol) and end.revised(tol) is None
