"""Define what a method is, run the only loop, and judge the point that it returns."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor

from ..errors import OptionError
from ..linalg import all_finite, cholesky, solve_spd
from .checks import check_positive, check_whole
from .loop import Limits, drive
from .status import Status as Status

RISING = 1e-6
"""Gradient a row, in comparable units, above which a point without curvature is not a flat maximum but a slope."""


@dataclass(frozen=True)
class Evaluation:
    """Hold the function to minimise, minus the log-likelihood, with derivatives at one point.

    ``source`` is what the problem made them of, for its own later use; ``llf`` is the log-likelihood, where minus the
    value is something else.
    """

    value: float
    gradient: Tensor | None = None
    hessian: Tensor | None = None
    source: Any = None
    llf: float | None = None

    @cached_property
    def finite(self) -> bool:
        """Return whether every number is finite."""
        parts = (self.gradient, self.hessian)
        return math.isfinite(self.value) and all(all_finite(p) for p in parts if p is not None)

    @cached_property
    def factor(self) -> Tensor | None:
        """Return the Cholesky factor of the Hessian; None where that is not positive definite, or not known."""
        return None if self.hessian is None or not self.finite else cholesky(self.hessian)

    @cached_property
    def descent(self) -> Tensor | None:
        """Return ``H^-1 g``, or None without a factor."""
        return None if self.factor is None or self.gradient is None else solve_spd(self.factor, self.gradient)

    @cached_property
    def decrement(self) -> float:
        """Return the scaled gradient ``g' H^-1 g``, infinite without a factor."""
        return math.inf if self.descent is None or self.gradient is None else float(self.gradient @ self.descent)


class Problem(Protocol):
    """Be minimised in comparable units; data and signs stay behind it."""

    evaluations: int

    @property
    def rounding(self) -> float:
        """Return the relative error of a value."""
        ...

    @property
    def rows(self) -> int:
        """Return how many rows the sum has."""
        ...

    def evaluate(self, x: Tensor, order: int) -> Evaluation:
        """Return value, gradient and Hessian up to ``order``."""
        ...

    def outer_products(self, x: Tensor) -> Tensor:
        """Return the sum of the outer products of the scores of the rows."""
        ...

    def batch(self, index: Tensor) -> Problem:
        """Return the same problem on some of the rows."""
        ...


@dataclass(frozen=True)
class State:
    """Hold where a method stands: point, derivatives there, and its own memory."""

    x: Tensor
    at: Evaluation
    status: Status | None = None
    decrement: float = math.nan
    step: float = math.nan
    memory: Any = None


@dataclass(frozen=True)
class Options:
    """Hold what every method takes.

    ``tol`` is the scaled gradient ``g' H^-1 g`` at which a method stops; ``maxiter`` None is the method's default;
    ``time_limit`` is in seconds.
    """

    maxiter: int | None = None
    tol: float = 1e-10
    seed: int = 0
    time_limit: float | None = None

    def __post_init__(self) -> None:
        check_whole("maxiter", self.maxiter, 0)
        check_whole("seed", self.seed, 0)
        check_positive("tol", self.tol)
        check_positive("time_limit", self.time_limit)


class Optimizer(ABC):
    """Take steps on a problem; the loop, limits and interrupts are not its business."""

    name: str
    default_maxiter: int
    order: int
    one_piece: bool = False
    """Whether one step is a whole run, which nothing can stop or watch."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def init(self, problem: Problem, x: Tensor, at: Evaluation) -> State:
        """Return the first state; ``at`` has derivatives up to ``order`` at ``x``."""

    @abstractmethod
    def step(self, problem: Problem, state: State) -> State:
        """Return the next state; a state with a status ends the loop."""


@dataclass(frozen=True)
class TraceRow:
    """Hold one line of the trace."""

    iteration: int
    llf: float
    gradient: float
    decrement: float
    step: float
    seconds: float


Callback = Callable[[TraceRow], Any]
Observer = Callable[[TraceRow, State], None]
"""Sees each line of the trace with the best state so far, and has no say."""


@dataclass(frozen=True)
class OptimResult:
    """Hold the returned point, exact derivatives there, the verdict and the trace."""

    x: Tensor
    at: Evaluation
    status: Status
    decrement: float
    iterations: int
    history: tuple[TraceRow, ...]
    seconds: float
    notes: tuple[str, ...] = ()


def scaled_gradient(at: Evaluation) -> tuple[float, Tensor | None]:
    """Return ``g' H^-1 g`` and the Cholesky factor of H; infinite and None where H is not positive definite."""
    return at.decrement, at.factor


def minimise(
    optimizer: Optimizer,
    problem: Problem,
    x: Tensor,
    *,
    verdict_tol: float,
    callback: Callback | None = None,
    observer: Observer | None = None,
    maxfun: int | None = None,
) -> OptimResult:
    """Run a method to its stop and judge the returned point by exact derivatives on all rows.

    A point is a maximum when the Hessian is positive definite and ``g' H^-1 g <= verdict_tol`` there, whatever
    the method says of itself.
    """
    if optimizer.one_piece and (callback is not None or maxfun is not None):
        raise OptionError(
            f"{'callback' if callback is not None else 'maxfun'} is not available for method={optimizer.name!r}, which "
            "runs in one piece; use maxiter, or another method."
        )
    begin = time.perf_counter()
    maxiter = optimizer.options.maxiter if optimizer.options.maxiter is not None else optimizer.default_maxiter
    driven = drive(
        optimizer.init(problem, x, problem.evaluate(x, optimizer.order)),
        lambda state: optimizer.step(problem, state),
        trace_row,
        Limits(maxiter, optimizer.options.time_limit, lambda: maxfun is not None and problem.evaluations >= maxfun),
        better=_better,
        callback=callback,
        observer=observer,
        begin=begin,
    )
    state = driven.state
    at = state.at if state.at.hessian is not None else problem.evaluate(state.x, 2)
    status, decrement = judge(at, state.status or Status.MAXITER, verdict_tol, problem.rows)
    if status is Status.CONVERGED and _still_moving(problem, state.x, at, verdict_tol):
        status = Status.NO_MAXIMUM
    seconds = time.perf_counter() - begin
    return OptimResult(state.x, at, status, decrement, driven.steps, tuple(driven.trace), seconds)


def _still_moving(problem: Problem, x: Tensor, at: Evaluation, verdict_tol: float) -> bool:
    """Return whether Newton steps go on for ever although the scaled gradient shrinks, as in a flattening tail.

    At a maximum the next step is tiny, or makes the scaled gradient much smaller; in a tail it does neither.
    """
    assert at.descent is not None
    step = -at.descent
    small = 1e-6 if verdict_tol < 1e-6 else 1e-3
    if bool((step.abs() <= small * (1 + x.abs())).all()):
        return False
    after, _ = scaled_gradient(problem.evaluate(x + step, 2))
    return not after < 0.1 * at.decrement


def judge(at: Evaluation, claimed: Status, tol: float, rows: int) -> tuple[Status, float]:
    """Return the verdict at the returned point."""
    decrement, factor = scaled_gradient(at)
    if not at.finite:
        return Status.NOT_FINITE, math.inf
    if factor is not None and decrement <= tol:
        return (claimed if claimed is Status.INTERRUPTED else Status.CONVERGED), decrement
    if claimed in (Status.CONVERGED, Status.STALLED, Status.FLAT):
        if factor is not None:
            return (Status.LOOSE if claimed is Status.CONVERGED else Status.STALLED), decrement
        rising = at.gradient is not None and float(at.gradient.abs().max()) > RISING * rows
        return (Status.NO_MAXIMUM if rising else Status.FLAT), decrement
    return claimed, decrement


def _better(state: State, best: State) -> bool:
    return math.isfinite(state.at.value) and state.at.value <= best.at.value


def trace_row(iteration: int, state: State, seconds: float) -> TraceRow:
    """Return the line of the trace for a state."""
    slope = state.at.gradient
    gradient = math.nan if slope is None else float(slope.abs().max()) if len(slope) else 0.0
    llf = -state.at.value if state.at.llf is None else state.at.llf
    return TraceRow(iteration, llf, gradient, state.decrement, state.step, seconds)
