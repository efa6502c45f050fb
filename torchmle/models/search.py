"""Look for the maximum: from one start or several, under bounds, with a line on the terminal and a checkpoint."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import LikelihoodError, OptionError
from ..loglik.objective import Objective
from ..optim.augmented import maximise_under
from ..optim.base import Observer, Optimizer, OptimResult, Options, State, Status, TraceRow, minimise
from ..optim.bounded import Bounded, Limits
from ..optim.registry import make_optimizer
from ..optim.tangent import negligible
from ..params.bounds import Bound, feasible, inequalities, read_bounds
from ..params.constraints import constrain
from ..params.map import ParamMap
from ..progress import ProgressLine
from .checkpoint import Point, open_checkpoint
from .constrained import Outcome, along
from .imposed import Imposed, impose
from .problem import VERDICT, LikelihoodProblem, weight_unit
from .request import FitRequest
from .start import audit_at, finite_start, refine_on_sample

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

SAME = 1e-6
"""Gap of two log-likelihoods, relative, below which two starts have found the same maximum."""

UNBOUND = 100
"""Steps at most towards a maximum without constraints, which need not exist."""

CUT = (Status.INTERRUPTED, Status.STOPPED, Status.TIME_LIMIT)
"""How a run ends after which there is no other."""


@dataclass(frozen=True)
class Search:
    """Hold all that a search needs.

    Attributes
    ----------
    plain : the map without constraints; ``map`` has them.
    given : whether the user or the model gave the start.
    imposed : the constraints that are functions of the parameters, if there are any.
    """

    model: GenericLikelihoodModel
    objective: Objective
    plain: ParamMap
    map: ParamMap
    optimizer: Optimizer
    request: FitRequest
    start: Tensor
    given: bool
    imposed: Imposed | None = None

    @property
    def tol(self) -> float:
        """Return the scaled gradient of the verdict."""
        return VERDICT[self.model.endog.dtype] * weight_unit(self.model)

    def problem(self) -> LikelihoodProblem:
        """Return what the optimizer sees."""
        return LikelihoodProblem(self.objective, self.map)


@dataclass(frozen=True)
class Found:
    """Hold the start in gamma, the map (bounds that bind included) and the result.

    ``outcome`` is how a search under constraints by functions ended; the map then is that along them.
    """

    start: Tensor
    map: ParamMap
    result: OptimResult
    outcome: Outcome | None = None


def maximise(search: Search) -> Found:
    """Run the method from the start, or from the estimate on a sample where nobody gave a start."""
    gamma, problem = search.start, search.problem()
    bounds = read_bounds(search.map, search.request.bounds or {})
    conditions = search.request.conditions
    limits = None if conditions else _limits(search, bounds)
    if limits is not None:
        gamma = _inside(search, limits, gamma)
    elif not (search.given or search.model.data.has_nets):
        try:
            gamma = refine_on_sample(search.objective, search.map, gamma, search.optimizer.name)
        except KeyboardInterrupt:  # there is no point yet but the start: return it, as an interrupted fit
            result = replace(_as_it_is(search, search.map, gamma), status=Status.INTERRUPTED)
            return Found(gamma, search.map, result)
    finite_start(search.model, problem, gamma, search.optimizer.order)
    wrong = audit_at(search.model, search.objective, search.map, gamma)
    if wrong is not None:
        raise LikelihoodError(wrong)
    if conditions:
        if not search.given:
            found = _without(search, gamma)
            if found.status is Status.INTERRUPTED:
                return Found(gamma, search.map, found)
            points = [found.x, gamma] if found.status is Status.CONVERGED else [gamma]
        else:
            points = [gamma]
        gamma, imposed = impose(search.model, search.map, conditions, bounds, points)
        search = replace(search, imposed=imposed)
    with _Watch(search) as watch:
        return _from_several(search, limits, gamma, watch)


def _without(search: Search, gamma: Tensor) -> OptimResult:
    """Return the maximum without constraints that are functions, where a search under them begins if it can.

    Of several maxima under curved constraints the one next to it mostly is the highest, and a ratio of coefficients has
    no value at a start of zeros.
    """
    free = copy.copy(search.optimizer)
    limit = search.request.maxiter
    free.options = replace(free.options, maxiter=UNBOUND if limit is None else min(limit, UNBOUND))
    return minimise(free, search.problem(), gamma, verdict_tol=search.tol, maxfun=search.request.maxfun)


def _run(search: Search, limits: Limits | None, gamma: Tensor, watch: Observer, left: float | None) -> Found:
    """Run the method once."""
    options = replace(search.optimizer.options, time_limit=left)
    if search.imposed is not None:
        return _under(search, search.imposed, options, gamma, watch)
    optimizer = copy.copy(search.optimizer) if limits is None else Bounded(options, limits)
    optimizer.options = options
    request = search.request
    result = minimise(
        optimizer,
        search.problem(),
        gamma,
        verdict_tol=search.tol,
        callback=request.callback,
        observer=watch,
        maxfun=request.maxfun,
    )
    if limits is None:
        return Found(gamma, search.map, result)
    try:
        return _on_bounds(search, limits, gamma, result)
    except KeyboardInterrupt:  # what it costs is the verdict, not the point
        return Found(gamma, search.map, replace(result, status=Status.INTERRUPTED))


def _under(search: Search, imposed: Imposed, options: Options, gamma: Tensor, watch: Observer) -> Found:
    """Run the search under constraints, and go over to the map along them."""
    request = search.request
    under = maximise_under(
        search.problem(),
        imposed,
        gamma,
        options,
        verdict_tol=search.tol,
        callback=request.callback,
        observer=watch,
        maxfun=request.maxfun,
    )
    if under.end is None:
        return Found(gamma, search.map, under.result)
    pmap, result = along(search.map, under.end, under.result)
    return Found(
        gamma, pmap, result, Outcome(imposed, under.end, result.status, negligible(search.tol) * under.end.size)
    )


def _from_several(search: Search, limits: Limits | None, gamma: Tensor, watch: _Watch) -> Found:
    """Run the method from the start and from points around it, and return the best maximum."""
    count, limit = search.request.general.starts, search.request.general.time_limit
    begin = time.perf_counter()
    found, cut = [_run(search, limits, gamma, watch, limit)], None
    watch.ended(found[0])
    generator = torch.Generator(device="cpu").manual_seed(search.request.seed or 0)
    while len(found) < count and found[-1].result.status not in CUT:
        left = None if limit is None else limit - (time.perf_counter() - begin)
        if left is not None and left <= 0:
            cut = Status.TIME_LIMIT
            break
        try:
            found.append(_run(search, limits, _around(search, limits, gamma, generator), watch, left))
        except KeyboardInterrupt:  # there are points to return
            cut = Status.INTERRUPTED
            break
        watch.ended(found[-1])
    if count == 1:
        return found[0]
    cut = found[-1].result.status if found[-1].result.status in CUT else cut
    return _best(found, count, cut, time.perf_counter() - begin)


def _best(found: list[Found], count: int, cut: Status | None, seconds: float) -> Found:
    """Return the best of several runs, with a note on the others; ``cut`` says why there are no more."""
    best = max(found, key=lambda f: (f.result.status is Status.CONVERGED, _or_worst(-f.result.at.value)))
    account = _account([f.result for f in found], best.result)
    done = f"{count} starts" if cut is None else f"{len(found)} of {count} starts ({cut.value})"
    result = replace(best.result, notes=(*best.result.notes, f"{done}: {account}."), seconds=seconds)
    if cut is Status.INTERRUPTED:
        result = replace(result, status=Status.INTERRUPTED)
    return replace(best, result=result)


def _as_it_is(search: Search, pmap: ParamMap, gamma: Tensor) -> OptimResult:
    """Return a point with its derivatives and the verdict on it."""
    problem = LikelihoodProblem(search.objective, pmap)
    if not len(gamma):
        return OptimResult(gamma, problem.evaluate(gamma, 2), Status.CONVERGED, 0.0, 0, (), 0.0)
    still = make_optimizer("newton", Options(maxiter=0, tol=search.tol), None, {})
    return minimise(still, problem, gamma, verdict_tol=search.tol)


def _or_worst(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _around(search: Search, limits: Limits | None, gamma: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random point around the start at which the log-likelihood and its gradient are finite."""
    spread, problem = search.request.general.spread, search.problem()
    for _ in range(20):
        noise = torch.randn(len(gamma), generator=generator, dtype=torch.float64, device="cpu")
        point = gamma + spread * noise
        if limits is not None:
            point = feasible(limits.A, limits.low, point)
        if problem.evaluate(point, 1).finite:
            return point
        spread /= 2
    return gamma


def _account(found: list[OptimResult], best: OptimResult) -> str:
    """Return in words what several starts found."""
    top = -best.at.value
    maxima = [-r.at.value for r in found if r.status is Status.CONVERGED]
    if not maxima:
        return f"none ended at a maximum; the best point has the log-likelihood {top:.6g}"
    same = sum(abs(v - top) <= SAME * (1 + abs(top)) for v in maxima)
    other = sorted({round(v, 4) for v in maxima if abs(v - top) > SAME * (1 + abs(top))}, reverse=True)
    text = f"{same} ended at the log-likelihood {top:.6g}"
    if other:
        text += f", {len(maxima) - same} at lower maxima ({', '.join(f'{v:.6g}' for v in other[:4])})"
    return text + (f", {len(found) - len(maxima)} at no maximum" if len(maxima) < len(found) else "")


class _Watch:
    """Show the progress line and keep the checkpoint while a search runs."""

    def __init__(self, search: Search) -> None:
        name = search.model.model_name
        self.line = ProgressLine(search.request.progress)
        self.checkpoint = open_checkpoint(search.request.checkpoint, name, search.optimizer.name)
        self.map, self.settled = search.map, False
        self.latest = search.imposed is not None  # the later, the nearer to the constraints
        self.best: Point | None = None
        self.run, runs = 1, search.request.general.starts
        self.text: Callable[[TraceRow], str] = lambda row: (
            f"{name} ({search.optimizer.name}): {f'start {self.run} of {runs}, ' if runs > 1 else ''}"
            f"iteration {row.iteration}, log-likelihood {row.llf:.6f}, gradient {row.gradient:.1e}, {row.seconds:.0f} s"
        )

    def __enter__(self) -> _Watch:
        return self

    def __call__(self, row: TraceRow, state: State) -> None:
        if not self.settled and (self.best is None or self.latest or -state.at.value >= self.best.llf):
            llf = -state.at.value if state.at.llf is None else state.at.llf
            self.best = Point(self.map, state.x, llf, row.iteration)
        self.line.show(self.text(row))
        if self.checkpoint is not None and self.best is not None:
            self.checkpoint.keep(self.best)

    def ended(self, found: Found) -> None:
        """Keep the maximum that a run ended at; from then on only a higher maximum is better."""
        self.run, llf = self.run + 1, -found.result.at.value
        if found.result.status is Status.CONVERGED and not (self.settled and self.best and self.best.llf > llf):
            self.best, self.settled = Point(found.map, found.result.x, llf, found.result.iterations), True

    def __exit__(self, *_: object) -> None:
        self.line.close()
        if self.checkpoint is not None and self.best is not None:
            self.checkpoint.keep(self.best, now=True)


def _limits(search: Search, bounds: list[Bound]) -> Limits | None:
    """Return the bounds as inequalities, or None if there are none."""
    if not bounds:
        return None
    if search.optimizer.name != "newton":
        raise OptionError(f"method={search.request.method!r} cannot hold bounds; use method='newton'.")
    A, low = inequalities(search.map, bounds)
    fixed = {search.map.names[i] for i in search.map.fixed}
    moving = [i for i, bound in enumerate(bounds) if bound.name not in fixed]
    return Limits(A[moving], low[moving], tuple(bounds[i] for i in moving)) if moving else None


def _inside(search: Search, limits: Limits, gamma: Tensor) -> Tensor:
    """Return the start, moved into the bounds where it is not one that ``fit`` was given."""
    slack = limits.slack(gamma)
    bad = (slack < -1e-9 * (1 + limits.low.abs())).nonzero().flatten().tolist()
    asked = search.request.start_params is not None or search.request.resume is not None
    if bad and asked:
        theta = dict(zip(search.map.names, search.map.theta(gamma).tolist(), strict=True))
        name = limits.bounds[bad[0]].name
        what = "start_params" if search.request.resume is None else "resume"
        raise OptionError(f"{what}: {name}={theta[name]:.6g} is outside its bounds. Begin within them.")
    return feasible(limits.A, limits.low, gamma)


def _on_bounds(search: Search, limits: Limits, start: Tensor, result: OptimResult) -> Found:
    """Judge the point by the derivatives in the parameters that no bound holds, which are held there."""
    slack = limits.slack(result.x)
    size = 1 + limits.low.abs()
    met = [b for b, s, u in zip(limits.bounds, slack.tolist(), size.tolist(), strict=True) if s <= 1e-9 * u]
    if not met:
        return Found(start, search.map, result)
    held = {b.name: b.value for b in met}
    request = search.request
    pmap = constrain(search.plain, {**(request.fixed or {}), **held}, request.constraints, may_hold_all=True)
    implied = dict.fromkeys(set(pmap.fixed) - set(search.map.fixed), "a")
    pmap = replace(pmap, at_bound={**implied, **{pmap.names.index(b.name): b.side for b in met}})
    judged = _as_it_is(search, pmap, pmap.gamma_of_inner(search.map.inner(result.x)))
    kept = (Status.CONVERGED, Status.STALLED, Status.FLAT, Status.NO_MAXIMUM)
    status = judged.status if judged.status is Status.CONVERGED or result.status in kept else result.status
    note = "; ".join(f"{b.name} at its {b.side} bound {b.value:g}" for b in met)
    note = f"At a bound: {note}. The standard errors of the others take this as given."
    whole = {"iterations": result.iterations, "history": result.history, "seconds": result.seconds}
    return Found(start, pmap, replace(judged, status=status, notes=(*result.notes, note), **whole))  # type: ignore[arg-type]
