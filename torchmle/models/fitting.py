"""Orchestrate a fit: start, checks, method, verdict, covariance, record."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import ConvergenceWarning, OptionError, SeparationWarning, warn
from ..loglik.lifting import PLAIN, LayoutError, LiftedObjective, disagreement, tolerance
from ..loglik.objective import Objective
from ..loglik.opaque import OpaqueObjective
from ..optim.base import Optimizer, OptimResult, Options, Status, judge
from ..optim.registry import is_first_order, make_optimizer
from ..params.constraints import constrain
from ..params.map import ParamMap
from ..report.summary import summarise
from ..results.fit import Fit, Record
from ..results.inference import build_inference, check_inference
from ..results.results import Results
from .confidence.fit import run_confident
from .constrained import Outcome
from .finish import finish, working_moments
from .problem import VERDICT, LikelihoodProblem, weight_unit
from .record import as_asked, make_record
from .request import FitRequest
from .search import Search, maximise
from .separated import left_to_fit, refuse_drop
from .start import audit_at, checked, enough_rows, param_names, rounding_of, starting_point, with_typical_sizes
from .trained import trained
from .views import refuse_unmasked

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

NEWTON_UP_TO = 1_000
"""Parameters up to which Newton's method is the default."""

logger = logging.getLogger("torchmle")


def run_fit(model: GenericLikelihoodModel, request: FitRequest) -> Results:
    """Fit a model and return its results."""
    begin = time.perf_counter()
    if request.claims:
        results = run_confident(model, request)
        announce(results, request.disp)
        return results
    refuse_unmasked(model)
    refuse_drop(model, request)
    cov_type = default_cov(model, request.cov_type)
    check_inference(model, cov_type, request.cov_kwds, separable=not model.is_scalar)
    search, engine = _prepared(model, request)
    judged = _judged(search, engine)
    fit, bread = finish(
        model,
        judged.map,
        judged.objective,
        judged.found,
        search.optimizer.name,
        judged.engine,
        time.perf_counter() - begin,
        judged.wrong,
        judged.outcome,
    )
    again = left_to_fit(model, request, fit)
    if isinstance(again, tuple):
        return as_asked(run_fit(*again), request)
    start = dict(zip(search.map.names, search.map.theta(judged.start).tolist(), strict=True))
    record = make_record(model, request, search.optimizer.name, start, again.seconds)
    results = _reported(model, request, again, bread, cov_type, record)
    announce(results, request.disp)
    return results


def _prepared(model: GenericLikelihoodModel, request: FitRequest) -> tuple[Search, str]:
    """Return the search, its likelihood checked at the start, and how derivatives are computed."""
    names = param_names(model, request)
    bounded = bool(request.bounds or request.conditions)
    method = request.method if request.method is not None else default_method(len(names), bounded, model.data.has_nets)
    if request.conditions and method != "newton":
        raise OptionError(f"method={method!r} cannot hold constraints by functions or inequalities; use 'newton'.")
    optimizer = _optimizer(model, method, request)
    raw = not request.general.standardize
    plain = model.make_map(names, "raw" if raw else "scaled" if method == "newton" else "standardised")
    plain = with_typical_sizes(model, plain, request) if not raw else plain
    pmap = constrain(plain, request.fixed, request.constraints)
    objective = model.make_objective(pmap)
    enough_rows(model, pmap)
    gamma, given = starting_point(model, request, pmap, objective, max(optimizer.order, 1))
    objective, engine = checked(model, objective, pmap, gamma)
    objective.noise = rounding_of(model.endog)
    return Search(model, objective, plain, pmap, optimizer, request, gamma, given), engine


@dataclass(frozen=True)
class _Judged:
    """Hold the returned point with the likelihood that gives its derivatives, and what is wrong with these."""

    start: Tensor
    map: ParamMap
    objective: Objective
    engine: str
    found: OptimResult
    wrong: str | None
    outcome: Outcome | None


def _judged(search: Search, engine: str) -> _Judged:
    """Search, and hold the derivatives at the returned point against others."""
    try:
        ended = maximise(search)
    except LayoutError as error:
        assert isinstance(search.objective, OpaqueObjective)
        search = replace(search, objective=OpaqueObjective(**search.objective.parts()))
        engine, ended = f"{PLAIN} ({error})", maximise(search)
    if ended.outcome is not None and isinstance(search.objective, LiftedObjective):
        plain = OpaqueObjective(**search.objective.parts())
        if disagreement(working_moments(ended.result), plain, ended.map.working(ended.result.x)) > tolerance(
            plain.dtype
        ):
            search, engine = replace(search, objective=plain), f"{PLAIN} (lifted derivatives differ at the maximum)"
            ended = maximise(search)
    objective, pmap, found, wrong = search.objective, ended.map, ended.result, None
    try:
        if isinstance(objective, LiftedObjective) and ended.outcome is None:
            objective, engine, found = _verified(objective, engine, pmap, found, search.tol)
        found = trained(search.model, pmap, objective, found, search.tol) if ended.outcome is None else found
        if found.status is Status.CONVERGED:
            wrong = audit_at(search.model, objective, pmap, found.x)
    except KeyboardInterrupt:  # what it costs is the check, not the point
        found = replace(found, status=Status.INTERRUPTED)
    if wrong is not None:
        found = replace(found, status=Status.WRONG_DERIVATIVES)
    return _Judged(ended.start, pmap, objective, engine, found, wrong, ended.outcome)


def _reported(
    model: GenericLikelihoodModel, request: FitRequest, fit: Fit, bread: Tensor | None, cov_type: str, record: Record
) -> Results:
    """Return the results with the covariance asked for; an interrupt costs the covariance, not the point."""
    fit = replace(fit, notes=(*_restrictions(request), *fit.notes))
    try:
        inference = build_inference(model, fit, bread, cov_type, request.cov_kwds, request.use_t, False)
    except KeyboardInterrupt:
        fit = replace(fit, status=Status.INTERRUPTED)
        inference = build_inference(model, fit, None, cov_type, request.cov_kwds, request.use_t, False)
    return Results(model, fit, inference, record, summarise)


def _restrictions(request: FitRequest) -> list[str]:
    """Return the sentence that repeats the restrictions in the summary."""
    texts = [f"{name} = {value:g}" for name, value in (request.fixed or {}).items()]
    given = request.constraints
    texts += [given] if isinstance(given, str) else list(given or ())
    return [f"Restricted: {'; '.join(texts)}."] if texts else []


def _verified(
    objective: LiftedObjective, engine: str, pmap: ParamMap, found: OptimResult, tol: float
) -> tuple[OpaqueObjective, str, OptimResult]:
    """Compare lifted derivatives with plain ones at the returned point; where they differ, report the plain ones."""
    plain = OpaqueObjective(**objective.parts())
    gap = disagreement(working_moments(found), plain, pmap.working(found.x))
    if gap <= tolerance(objective.dtype):
        return objective, engine, found
    at = LikelihoodProblem(plain, pmap).evaluate(found.x, 2)
    status, decrement = judge(at, found.status, tol, plain.rows)
    engine = f"{PLAIN} for the reported derivatives (lifted ones differ by {gap:.1e} at the returned point)"
    return plain, engine, replace(found, at=at, status=status, decrement=decrement)


def announce(results: Results, disp: bool | int | None) -> None:
    """Warn if the point is not a maximum; log how the fit ended if asked."""
    if disp:
        logger.info("%s: %s", type(results.model).__name__, results.status)
    if results.fit.status is Status.NO_SOLUTION:
        warn(f"{results.model.model_name}: {results.status} {' '.join(results.safety.sentences())}", ConvergenceWarning)
    elif not results.converged and results.fit.status not in (Status.PASSED, Status.TRAINED):
        name = results.model.model_name
        text = " ".join([f"{name}: the returned point is not a maximum ({results.status})", *results.fit.notes])
        warn(text, SeparationWarning if results.fit.status is Status.SEPARATED else ConvergenceWarning)


def default_cov(model: GenericLikelihoodModel, asked: str | None) -> str:
    """Return the covariance asked for, or the default for the weights of the model."""
    if asked is not None:
        return asked
    weights = model.data.weights
    if weights is None or weights.kind != "sampling_weights":
        return "nonrobust"
    return "cluster" if model.data.groups is not None else "HC1"


def default_method(params: int, bounded: bool = False, nets: bool = False) -> str:
    """Return Newton's method, or L-BFGS where a Hessian for every step would cost too much; bounds need Newton's.

    Modules have saddle points and flat parts, where BFGS goes on and Newton's method does not.
    """
    if bounded:
        return "newton"
    return "lbfgs" if params > NEWTON_UP_TO else "bfgs" if nets else "newton"


def _optimizer(model: GenericLikelihoodModel, method: str, request: FitRequest) -> Optimizer:
    """Return the method, refusing what it or the likelihood cannot do."""
    if not request.general.standardize and not is_first_order(method):
        raise OptionError(f"standardize is an option of 'sgd' and the like; {method!r} always scales.")
    if request.batch_size is not None and model.is_scalar:
        raise OptionError("batch_size needs log-likelihoods by row, and this model has a scalar loglike.")
    if method == "bhhh" and model.is_scalar:
        raise OptionError("method='bhhh' needs scores by row, and a scalar loglike has none. Use 'bfgs' or 'newton'.")
    if request.tol is not None and method.startswith("scipy:"):
        raise OptionError(f"{method!r} has tolerances of its own; give them in options, e.g. {{'gtol': 1e-8}}.")
    tol = (request.tol or VERDICT[model.endog.dtype]) * weight_unit(model)
    common = Options(request.maxiter, tol, request.seed or 0, request.general.time_limit)
    return make_optimizer(method, common, request.batch_size, request.options)
