"""Look for the candidate: Lagrangian gradient steps, and the best iterate that is feasible."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...optim.base import Evaluation, Problem, TraceRow
from ...optim.stochastic import Stochastic
from .claims import Term
from .limits import Bounded
from .records import Asked, Records
from .request import SafetyOptions

STEPS = 300
"""Iterations where ``maxiter`` is not given."""


@dataclass(frozen=True, eq=False)
class Iterate:
    """Hold one point of the search."""

    iteration: int
    gamma: Tensor
    at: Evaluation
    bounds: tuple[Bounded, ...]

    @property
    def llf(self) -> float:
        """Return the log-likelihood of the candidate part."""
        return -self.at.value

    @property
    def feasible(self) -> bool:
        """Return whether every predicted bound is within its limit."""
        return all(b.excess <= 0 for b in self.bounds)

    @property
    def violation(self) -> float:
        """Return by how much the worst predicted bound passes its limit."""
        return max(b.excess for b in self.bounds)


@dataclass
class Account:
    """Keep the trace of a search, its best feasible iterate and the one that came nearest."""

    asked: Asked
    rows: int
    begun: float = field(default_factory=time.perf_counter)
    best: Iterate | None = None
    nearest: Iterate | None = None
    columns: dict[str, list[float]] = field(default_factory=dict)
    history: list[TraceRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, found: Iterate, multipliers: Tensor) -> TraceRow:
        """Take up an iterate with the multipliers that it was judged by."""
        if self.nearest is None or found.violation < self.nearest.violation:
            self.nearest = found
        if found.feasible and (self.best is None or found.llf > self.best.llf):
            self.best = found
        price = sum(m * b.excess for m, b in zip(multipliers.tolist(), found.bounds, strict=True))
        line: dict[str, float] = {
            "iteration": float(found.iteration),
            "llf": found.llf,
            "lagrangian": found.llf - self.rows * price,
        }
        names = [held.name for held in self.asked.claims]
        line |= {f"lambda_{name}": m for name, m in zip(names, multipliers.tolist(), strict=True)}
        line |= {f"bound_{name}": b.bound for name, b in zip(names, found.bounds, strict=True)}
        for name, value in {**line, "feasible": float(found.feasible)}.items():
            self.columns.setdefault(name, []).append(value)
        slope = math.nan if found.at.gradient is None else float(found.at.gradient.abs().max())
        elapsed = time.perf_counter() - self.begun
        self.history.append(TraceRow(found.iteration, found.llf, slope, math.nan, math.nan, elapsed))
        return self.history[-1]


def predicted_at(records: Records, gamma: Tensor, ratio: float, options: SafetyOptions) -> tuple[Bounded, ...]:
    """Return the bounds that the safety part is predicted to give at a point, from the candidate part alone."""
    return tuple(records.bounds(gamma, ratio, options.inflation))


def side_factors(asked: Asked, bounds: tuple[Bounded, ...], multipliers: Tensor) -> dict[Term, float]:
    """Return what each mean is multiplied by in what the Lagrangian adds up.

    An absolute value is taken at the side whose bound is the larger one.
    """
    found: dict[Term, float] = {}
    for held, bound, m in zip(asked.claims, bounds, multipliers.tolist(), strict=True):
        for factor, term in held.claim.quantity.parts:
            found[term] = found.get(term, 0.0) + m * bound.side * factor
    return found


class Multipliers:
    """Hold the multipliers, and take steps up by the excess of the bounds, never below zero."""

    def __init__(self, count: int, options: SafetyOptions) -> None:
        start = torch.full((count,), options.multiplier, dtype=torch.float64, device="cpu")
        self._point = torch.nn.Parameter(start)
        self._climber = torch.optim.Adam([self._point], lr=options.multiplier_lr, maximize=True)

    @property
    def values(self) -> Tensor:
        """Return the multipliers as they are now."""
        return self._point.detach().clone()

    def climb(self, bounds: tuple[Bounded, ...], steps: int = 1) -> None:
        """Take steps."""
        self._point.grad = torch.tensor([b.excess for b in bounds], dtype=torch.float64, device="cpu")
        for _ in range(steps):
            self._climber.step()
            with torch.no_grad():
                self._point.clamp_(min=0.0)


def search(
    records: Records,
    problem: Problem,
    start: Tensor,
    is_maximum: bool,
    ratio: float,
    method: Stochastic,
    options: SafetyOptions,
    watch: Callable[[TraceRow], Any],
) -> Account:
    """Step down in the parameters and up in the multipliers, and keep account.

    Minimised over the parameters and maximised over the multipliers is ``-llf / n + sum_j lambda_j excess_j``, where
    the excess is that of the predicted bound over its limit (Thomas et al. 2019, supplement). Slopes of the excess are
    those of the smooth means; feasibility is judged by the measures themselves.

    Parameters
    ----------
    is_maximum : whether the start maximises the log-likelihood: if it is feasible, nothing can be better.
    ratio : observations of the safety part for each of the candidate part.
    watch : sees each line of the trace; a true answer ends the search.
    """
    account = Account(records.asked, problem.rows)
    state = method.init(problem, start, problem.evaluate(start, max(method.order, 1)))
    if state.status is not None:
        return account
    optimizer, point, *_ = state.memory
    multipliers = Multipliers(len(records.asked.claims), options)
    last = STEPS if method.options.maxiter is None else method.options.maxiter
    limit = math.inf if method.options.time_limit is None else method.options.time_limit
    try:
        for iteration in range(last + 1):
            gamma = point.detach().clone()
            at = problem.evaluate(gamma, 1)
            if not at.finite or at.gradient is None:
                account.notes.append(f"The search ended at iteration {iteration}: the log-likelihood is not finite.")
                break
            found = Iterate(iteration, gamma, at, predicted_at(records, gamma, ratio, options))
            row = account.add(found, multipliers.values)
            asked_to_stop = bool(watch(row))
            if iteration == 0 and is_maximum and found.feasible:
                break
            if asked_to_stop or row.seconds >= limit:
                why = "callback asked to stop" if asked_to_stop else "time limit was reached"
                account.notes.append(f"The search ended at iteration {iteration}: the {why}.")
                break
            if iteration < last:
                pull = records.slope(gamma, side_factors(records.asked, found.bounds, multipliers.values))
                point.grad = at.gradient / problem.rows + pull
                optimizer.step()
                multipliers.climb(found.bounds)
    except KeyboardInterrupt:
        account.notes.append(f"The search was interrupted after {len(account.history)} iterations.")
    return account
