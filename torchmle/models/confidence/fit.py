"""Fit under constraints with confidence: split, look for a candidate, test it on data never seen before."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import DataError, LikelihoodError, OptionError
from ...loglik.objective import Objective
from ...optim.base import Options, TraceRow, minimise
from ...optim.registry import is_first_order, make_optimizer
from ...optim.status import Status
from ...optim.stochastic import Stochastic, StochasticOptions
from ...params.constraints import constrain
from ...params.map import ParamMap
from ...progress import ProgressLine
from ...report.summary import summarise
from ...results.fit import Fit
from ...results.inference import build_inference
from ...results.results import Results
from ...results.safety import ConstraintTest, Safety
from ..problem import VERDICT, LikelihoodProblem
from ..record import make_record
from ..request import FitRequest
from ..start import audit_at, checked, enough_rows, finite_start, param_names, rounding_of, starting_point
from ..views import refuse_unmasked
from .limits import Bounded
from .records import Asked, Records, check_asked
from .request import SafetyOptions, refuse, shares, split_safety_options
from .search import Account, Iterate, search
from .split import Split, draw_split, part

if TYPE_CHECKING:
    from ..base import GenericLikelihoodModel


def run_confident(model: GenericLikelihoodModel, request: FitRequest) -> Results:
    """Fit a model under constraints that must be true with a probability, and return its results.

    Raises
    ------
    OptionError, DataError
        For options and weights that have no place here, and groups without records.
    """
    begin = time.perf_counter()
    refuse(request)
    refuse_unmasked(model)
    _refuse_weights(model)
    if model.response == "choice":
        raise OptionError(
            f"{model.model_name} takes no constraints with confidence: they are for models with one row a record. "
            "Hold back persons yourself, and test on them."
        )
    total, deltas = shares(request.claims, request.delta)
    options, rest = split_safety_options(request.options)
    method = _method(request, rest)
    split = draw_split(model, options.safety, request.seed or 0)
    asked = Asked(request.claims, deltas)
    check_asked(model, asked)
    stage = _stage(part(model, ~split.safety, "kept for the safety test", True), request, asked)
    account = _searched(stage, split, method, options, request)
    test = _tested(model, stage, split, account, asked, total, request.seed or 0)
    fit = _fit(stage, account, test, method.name, time.perf_counter() - begin)
    inference = build_inference(stage.model, fit, None, "nonrobust", None, None, False)
    start = dict(zip(stage.map.names, stage.map.theta(stage.start).tolist(), strict=True))
    record = make_record(stage.model, request, method.name, start, fit.seconds)
    return Results(stage.model, fit, inference, record, summarise)


def _refuse_weights(model: GenericLikelihoodModel) -> None:
    """Refuse weights, under which the bounds are not those of a mean of independent records."""
    weights = model.data.weights
    if weights is not None:
        cure = " Repeat the rows instead." if weights.kind == "freq_weights" else ""
        raise OptionError(
            f"{weights.kind} are not available under constraints with confidence, whose bounds are for means of "
            f"records that count alike.{cure}"
        )


def _method(request: FitRequest, rest: dict[str, object]) -> Stochastic:
    """Return the optimizer of the steps."""
    name = request.method or "adam"
    if not is_first_order(name):
        raise OptionError(
            f"method={name!r} is not available under constraints with confidence, which are met by gradient steps: "
            "'adam', 'sgd', 'adagrad', 'rmsprop' or 'torch:CLASS'."
        )
    if request.batch_size is not None:
        raise OptionError("batch_size is not available: every iterate is judged on all rows of the candidate part.")
    common = Options(request.maxiter, seed=request.seed or 0, time_limit=request.general.time_limit)
    found = make_optimizer(name, common, None, rest)
    assert isinstance(found, Stochastic)
    assert isinstance(found.options, StochasticOptions)
    if found.options.schedule is not None:
        raise OptionError("schedule is not available under constraints with confidence; give lr.")
    return found


@dataclass(frozen=True, eq=False)
class _Stage:
    """Hold the candidate part with its likelihood, and where the search starts."""

    model: GenericLikelihoodModel
    map: ParamMap
    objective: Objective
    records: Records
    start: Tensor
    is_maximum: bool
    engine: str

    def problem(self) -> LikelihoodProblem:
        """Return what the optimizer sees."""
        return LikelihoodProblem(self.objective, self.map)


def _stage(model: GenericLikelihoodModel, request: FitRequest, asked: Asked) -> _Stage:
    """Return the candidate part, its likelihood checked, and the start: the maximum without constraints, if any."""
    names = param_names(model, request)
    pmap = constrain(model.make_map(names, "standardised"), request.fixed, request.constraints)
    objective = model.make_objective(pmap)
    enough_rows(model, pmap)
    gamma, given = starting_point(model, request, pmap, objective, 1)
    objective, engine = checked(model, objective, pmap, gamma)
    objective.noise = rounding_of(model.endog)
    problem = LikelihoodProblem(objective, pmap)
    finite_start(model, problem, gamma, 1)
    wrong = audit_at(model, objective, pmap, gamma)
    if wrong is not None:
        raise LikelihoodError(wrong)
    records = Records(model, pmap, objective, asked)
    if request.start_params is None and not given and pmap.free <= NEWTON_UP_TO:
        tol = VERDICT[model.endog.dtype]
        newton = make_optimizer("newton", Options(maxiter=NEWTON_STEPS, tol=tol), None, {})
        found = minimise(newton, problem, gamma, verdict_tol=tol)
        if found.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if found.status is Status.CONVERGED:
            return _Stage(model, pmap, objective, records, found.x, True, engine)
    return _Stage(model, pmap, objective, records, gamma, False, engine)


NEWTON_UP_TO = 1_000
"""Parameters up to which the search starts at the maximum without constraints."""

NEWTON_STEPS = 50
"""Steps in which that must be found; where there is none (separation), the usual start is taken."""


def _searched(stage: _Stage, split: Split, method: Stochastic, options: SafetyOptions, request: FitRequest) -> Account:
    """Run the search with a line on the terminal."""
    line = ProgressLine(request.progress)

    def watch(row: TraceRow) -> bool:
        line.show(f"{stage.model.model_name} under constraints: iteration {row.iteration}, {row.llf:.6f}")
        return request.callback is not None and bool(request.callback(row))

    try:
        problem = stage.problem()
        return search(stage.records, problem, stage.start, stage.is_maximum, split.ratio, method, options, watch)
    finally:
        line.close()


def _tested(
    model: GenericLikelihoodModel,
    stage: _Stage,
    split: Split,
    account: Account,
    asked: Asked,
    delta: float,
    seed: int,
) -> Safety:
    """Return the verdict: the candidate's bounds on the safety part, or the nearest iterate's predicted ones."""
    best = account.best
    shown = best or account.nearest
    if shown is None:
        raise LikelihoodError("The log-likelihood is not finite at the start of the search; give start_params.")
    found = shown.bounds
    if best is not None:
        kept = part(model, split.safety, "in the candidate part", False)
        objective = kept.make_objective(replace(stage.map, shifts=stage.map.shifts))
        try:
            found = tuple(Records(kept, stage.map, objective, asked).bounds(best.gamma))
        except DataError as error:
            raise DataError(f"The safety test: {error}") from error
    tests = tuple(_test(asked, j, found[j], shown, best is not None) for j in range(len(found)))
    columns = {name: tuple(values) for name, values in account.columns.items()}
    return Safety(
        tests=tests,
        passed=best is not None and all(test.passed for test in tests),
        tested=best is not None,
        delta=delta,
        candidate=split.sizes[0],
        safety=split.sizes[1],
        clusters=split.clusters,
        seed=seed,
        chosen=None if best is None else best.iteration,
        rows=split.safety,
        trace=columns,
    )


def _test(asked: Asked, j: int, found: Bounded, shown: Iterate, tested: bool) -> ConstraintTest:
    """Return what is reported of one constraint."""
    held = asked.claims[j]
    terms = {t.name: (p.mean, p.low, p.high, p.n) for t, p in zip(held.claim.terms, found.parts, strict=True)}
    notes = [p.note for p in found.parts if p.note]
    k = len(found.parts)
    if k > 1:
        notes.append(f"Each of the {k} means has delta/{k} = {asked.deltas[j] / k:.3g}.")
    return ConstraintTest(
        constraint=held.name,
        estimate=found.estimate,
        bound=found.bound,
        limit=held.claim.threshold,
        level=1 - asked.deltas[j],
        method=held.bound,
        n=found.n,
        passed=tested and found.excess <= 0,
        predicted=shown.bounds[j].bound,
        terms=terms,
        note=" ".join(dict.fromkeys(notes)),
    )


def _fit(stage: _Stage, account: Account, test: Safety, method: str, seconds: float) -> Fit:
    """Return the candidate as a fit, or one without parameters where there is no solution."""
    pmap, best = stage.map, account.best
    if best is None or not test.passed:
        pmap = replace(pmap, held={})  # held values are no solution either
        gamma, llf = torch.full((pmap.free,), torch.nan, dtype=torch.float64), math.nan
        K = len(pmap.scale)
        derivatives = (torch.full((K,), torch.nan).double(), torch.full((K, K), torch.nan).double())
        status = Status.NO_SOLUTION
    else:
        gamma, llf, status = best.gamma, best.llf, Status.PASSED
        moments = stage.objective.moments(pmap.working(gamma), 2)
        assert moments.gradient is not None
        assert moments.hessian is not None
        derivatives = (moments.gradient, moments.hessian)
    return Fit(
        map=pmap,
        gamma=gamma,
        llf=llf,
        derivatives=derivatives,
        status=status,
        decrement=math.nan,
        iterations=max(len(account.history) - 1, 0),
        history=tuple(account.history),
        seconds=seconds,
        method=method,
        engine=stage.engine,
        objective=stage.objective,
        nobs=float(stage.model.nobs),
        free=pmap.free,
        notes=tuple(account.notes),
        safety=test,
    )
