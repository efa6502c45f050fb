"""Own the only loop: limits, trace, callback, interrupt."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from ..errors import OptionError
from .status import Status


class Stage(Protocol):
    """Be where a method stands; a dataclass with a status, and a step that is not NaN after a whole one."""

    @property
    def status(self) -> Status | None:
        """Return how it ended, or None while it goes on."""
        ...

    @property
    def step(self) -> float:
        """Return the length of the last step."""
        ...


S = TypeVar("S", bound=Stage)
R = TypeVar("R")


@dataclass(frozen=True)
class Limits:
    """Hold when to stop: steps, seconds, and a question that is asked before every step."""

    steps: int
    seconds: float | None = None
    spent: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Driven(Generic[S, R]):
    """Hold where the loop ended, the steps taken, the trace and the seconds."""

    state: S
    steps: int
    trace: list[R]
    seconds: float


def drive(
    state: S,
    step: Callable[[S], S],
    row: Callable[[int, S, float], R],
    limits: Limits,
    *,
    better: Callable[[S, S], bool],
    callback: Callable[[R], Any] | None = None,
    observer: Callable[[R, S], None] | None = None,
    earlier: Sequence[R] = (),
    begin: float | None = None,
) -> Driven[S, R]:
    """Take steps until a state has a status, a limit is met, the callback answers True or somebody interrupts.

    ``better(state, best)`` says whether a state takes the place of the best one, which an interrupt and the time limit
    return; ``earlier`` are the lines of a run that goes on; ``begin`` is when the clock began, by default now.
    """
    begin = time.perf_counter() if begin is None else begin
    limit = math.inf if limits.seconds is None else limits.seconds
    best, trace = state, list(earlier) or [row(0, state, time.perf_counter() - begin)]
    count = len(trace) - 1
    try:
        while state.status is None:
            if count >= limits.steps or limits.spent():
                state = replace(state, status=Status.MAXITER)  # type: ignore[type-var]
                break
            if time.perf_counter() - begin >= limit:
                state = replace(best, status=Status.TIME_LIMIT)  # type: ignore[type-var]
                break
            state = step(state)
            if state.status is None or not math.isnan(state.step):
                count += 1
                trace.append(row(count, state, time.perf_counter() - begin))
            if better(state, best):
                best = state
            if observer is not None:
                observer(trace[-1], best)
            if callback is not None and state.status is None and _says_stop(callback(trace[-1])):
                state = replace(state, status=Status.STOPPED)  # type: ignore[type-var]
    except KeyboardInterrupt:
        state = replace(best, status=Status.INTERRUPTED)  # type: ignore[type-var]
    return Driven(state, count, trace, time.perf_counter() - begin)


def _says_stop(answer: Any) -> bool:
    """Return the truth of a callback's answer."""
    try:
        return bool(answer)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(answer).__name__
        raise OptionError(f"callback answered {kind}; it must answer True to stop, or nothing to go on.") from error
