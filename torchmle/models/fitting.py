"""Orchestrate a fit: start, checks, method, verdict, covariance, record."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import logging
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import ConvergenceWarning, LikelihoodError, OptionError, SeparationWarning, listing, warn
from ..likelihood.check import check_likelihood, check_returned, describe_not_finite
from ..likelihood.lifting import PLAIN, LayoutError, LiftedObjective, disagreement, lift, tolerance
from ..likelihood.moments import Moments
from ..likelihood.objective import Objective, derivatives_on
from ..likelihood.opaque import OpaqueObjective
from ..likelihood.separation import find_separation
from ..linalg import cholesky, flat_directions, inverse_spd
from ..optim.base import Evaluation, Optimizer, OptimResult, Options, Status, judge, minimise
from ..optim.registry import make_optimizer
from ..params.constraints import constrain
from ..params.map import ParamMap
from ..report.summary import summarise
from ..results.fit import Fit, Record
from ..results.results import Results, build_inference, check_inference

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

logger = logging.getLogger("torchmle")

VERDICT = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Scaled gradient at the returned point below which it is a maximum, by dtype."""

SAMPLE_FROM = 20_000
"""Rows above which a fit without starting values begins with a sample of the rows."""


EXTREME = 1e-5
"""A row whose log-likelihood is this near to its supremum may be separated."""


@dataclass(frozen=True)
class FitRequest:
    """Hold the arguments of a fit."""

    start_params: Any = None
    method: str | None = None
    maxiter: int | None = None
    tol: float | None = None
    cov_type: str | None = None
    cov_kwds: Mapping[str, Any] | None = None
    use_t: bool | None = None
    fixed: Mapping[str, float] | None = None
    constraints: Any = None
    seed: int | None = None
    batch_size: int | None = None
    maxfun: int | None = None
    disp: bool | int | None = None
    callback: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("maxiter", "batch_size", "maxfun"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or value != int(value) or value < (name != "maxiter")):
                raise OptionError(
                    f"{name}={value!r} must be a {'non-negative' if name == 'maxiter' else 'positive'} whole number."
                )
        if self.tol is not None and not 0 < self.tol < math.inf:
            raise OptionError(f"tol={self.tol!r} must be positive and finite; the default is 1e-10.")
        if self.callback is not None and not callable(self.callback):
            raise OptionError(f"callback is {type(self.callback).__name__}; it must be a function of one argument.")


class LikelihoodProblem:
    """Turn a log-likelihood to be maximised into a function of gamma to be minimised: the only change of sign."""

    def __init__(self, objective: Objective, pmap: ParamMap) -> None:
        self.objective, self.map = objective, pmap
        self.evaluations = 0

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.objective.rows

    def evaluate(self, x: Tensor, order: int) -> Evaluation:
        """Return minus the log-likelihood and its derivatives in gamma."""
        self.evaluations += 1
        m = self.objective.moments(self.map.working(x), order)
        gradient = None if m.gradient is None else -self.map.pull_gradient(m.gradient)
        hessian = None if m.hessian is None else -self.map.pull_matrix(m.hessian)
        return Evaluation(-m.llf, gradient, hessian)

    def batch(self, index: Tensor) -> LikelihoodProblem:
        """Return the problem on some of the rows."""
        return LikelihoodProblem(self.objective.take(index.to(self.objective.device)), self.map)


def run_fit(model: GenericLikelihoodModel, request: FitRequest) -> Results:
    """Fit a model and return its results."""
    begin = time.perf_counter()
    model._check_attributes()
    cov_type = default_cov(model, request.cov_type)
    check_inference(model, cov_type, request.cov_kwds, separable=not model.is_scalar)
    names = _names(model, request)
    method = request.method or "newton"
    optimizer = _optimizer(method, request, model.endog.dtype)
    pmap = model.make_map(names, standardize=bool(request.options.get("standardize", True)))
    pmap = constrain(pmap, request.fixed, request.constraints)
    objective = model.make_objective(pmap)
    _enough_rows(model, pmap)
    gamma, given = _start(model, request, pmap, objective)
    objective, engine = _checked(model, objective, pmap, gamma)
    try:
        start, found = _maximise(model, objective, pmap, gamma, given, optimizer, request)
    except LayoutError as error:
        objective, engine = OpaqueObjective(**objective.parts()), f"{PLAIN} ({error})"  # type: ignore[attr-defined]
        start, found = _maximise(model, objective, pmap, gamma, given, optimizer, request)
    if isinstance(objective, LiftedObjective):
        objective, engine, found = _verified(objective, engine, pmap, found, model.endog.dtype)
    fit, bread = finish(model, pmap, objective, found, method, engine, time.perf_counter() - begin)
    record = make_record(model, request, method, dict(zip(names, start.tolist(), strict=True)), fit.seconds)
    inference = build_inference(model, fit, bread, cov_type, request.cov_kwds, request.use_t, False)
    results = Results(model, fit, inference, record, summarise)
    announce(results, request.disp)
    return results


def _maximise(
    model: GenericLikelihoodModel,
    objective: Objective,
    pmap: ParamMap,
    gamma: Tensor,
    given: bool,
    optimizer: Optimizer,
    request: FitRequest,
) -> tuple[Tensor, OptimResult]:
    """Run the method from the start, or from the estimate on a sample where nobody gave a start."""
    gamma = gamma if given else _refine_on_sample(objective, pmap, gamma, optimizer.name)
    problem = LikelihoodProblem(objective, pmap)
    _finite_start(model, problem, gamma)
    tol = VERDICT[model.endog.dtype]
    found = minimise(optimizer, problem, gamma, verdict_tol=tol, callback=request.callback, maxfun=request.maxfun)
    return pmap.theta(gamma), found


def _verified(
    objective: LiftedObjective, engine: str, pmap: ParamMap, found: OptimResult, dtype: torch.dtype
) -> tuple[OpaqueObjective, str, OptimResult]:
    """Compare lifted derivatives with plain ones at the returned point; where they differ, report the plain ones."""
    plain = OpaqueObjective(**objective.parts())
    gap = disagreement(_working_moments(objective, pmap, found), plain, pmap.working(found.x))
    if gap <= tolerance(dtype):
        return objective, engine, found
    at = LikelihoodProblem(plain, pmap).evaluate(found.x, 2)
    status, decrement = judge(at, found.status, VERDICT[dtype], plain.rows)
    engine = f"{PLAIN} for the reported derivatives (lifted ones differ by {gap:.1e} at the returned point)"
    return plain, engine, replace(found, at=at, status=status, decrement=decrement)


def _working_moments(objective: Objective, pmap: ParamMap, found: OptimResult) -> Moments:
    """Return the log-likelihood's derivatives in working parameters; constraints hide some of them from the method."""
    gradient, hessian = found.at.gradient, found.at.hessian
    assert gradient is not None
    assert hessian is not None
    if pmap.basis is not None:
        return objective.moments(pmap.working(found.x), 2)
    return Moments(-found.at.value, -gradient * pmap.scale, -hessian * torch.outer(pmap.scale, pmap.scale))


def announce(results: Results, disp: bool | int | None) -> None:
    """Warn if the point is not a maximum; log how the fit ended if asked."""
    if disp:
        logger.info("%s: %s", type(results.model).__name__, results.status)
    if not results.converged:
        name = type(results.model).__name__
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


def _names(model: GenericLikelihoodModel, request: FitRequest) -> tuple[str, ...]:
    """Return the names of the parameters; those of the start where the model has none."""
    names = model.param_names
    if names:
        return names
    start = request.start_params if request.start_params is not None else _own_start(model)
    if isinstance(start, Mapping) or (hasattr(start, "index") and hasattr(start, "to_numpy")):
        return tuple(str(k) for k in start)
    if start is None:
        raise OptionError(
            f"{type(model).__name__} has neither exog nor extra_params, so its parameters are not known. "
            "Set extra_params = ('a', 'b') in the class, or pass start_params as a dict."
        )
    return tuple(f"par{i}" for i in range(len(start)))


def _optimizer(method: str, request: FitRequest, dtype: torch.dtype) -> Optimizer:
    options = {k: v for k, v in request.options.items() if k != "standardize"}
    if "standardize" in request.options and method not in ("sgd", "adam"):
        raise OptionError(f"standardize is an option of 'sgd' and 'adam'; {method!r} always scales.")
    common = Options(request.maxiter, request.tol or VERDICT[dtype], request.seed or 0)
    return make_optimizer(method, common, request.batch_size, options)


def _enough_rows(model: GenericLikelihoodModel, pmap: ParamMap) -> None:
    if model.nobs < pmap.free:
        raise OptionError(
            f"{pmap.free} parameters cannot be estimated from {model.nobs} rows ({listing(pmap.names)}). "
            f"{model.data.rows.total - model.nobs} of {model.data.rows.total} rows were dropped."
        )


def _own_start(model: GenericLikelihoodModel) -> Any:
    start = model.start_params
    return start() if callable(start) else start


def _start(
    model: GenericLikelihoodModel, request: FitRequest, pmap: ParamMap, objective: Objective
) -> tuple[Tensor, bool]:
    """Return the starting point in gamma, and whether the user or the model gave it."""
    from .base import as_params

    for given in (request.start_params, _own_start(model)):
        if given is not None:
            return pmap.gamma(as_params(given, pmap.names, "start_params")), True
    candidates = [pmap.gamma_of_link(link) for link in model.start_candidates(pmap)]
    if len(candidates) == 1:
        return candidates[0], False
    few = _sample(objective, 2_000)
    values = [few.moments(pmap.working(c), 0).llf for c in candidates]
    ranked = [(v if math.isfinite(v) else -math.inf) for v in values]
    return candidates[ranked.index(max(ranked))], False


def _sample(objective: Objective, most: int) -> Objective:
    """Return the objective of a strided sample of the rows."""
    if objective.rows <= most or not objective.separable:
        return objective
    stride = objective.rows // most
    return objective.take(torch.arange(0, objective.rows, stride, device=objective.device))


def _checked(
    model: GenericLikelihoodModel, objective: Objective, pmap: ParamMap, gamma: Tensor
) -> tuple[Objective, str]:
    """Check the likelihood at the start; a likelihood whose rows cannot be parted is evaluated as a whole."""
    what = f"{type(model).__name__}.{model._likelihood_name()}"
    at = pmap.working(gamma).to(objective.device, objective.dtype)
    if not objective.separable:
        with derivatives_on(objective.device):
            value = objective.row_values(at.clone().requires_grad_(), 0, objective.rows)
            check_returned(value, 1, what)
        return objective, "reverse-mode autograd of a scalar log-likelihood"

    def rows_of(rows: slice | Tensor, working: Tensor) -> Tensor:
        assert isinstance(rows, slice)
        return objective.row_values(working, rows.start, rows.stop)

    generator = torch.Generator(device="cpu").manual_seed(18)
    noise = torch.randn(len(gamma), generator=generator, dtype=torch.float64, device="cpu")
    near = pmap.working(gamma + 0.01 * (1 + gamma.abs()) * noise).to(at)
    reason = check_likelihood(rows_of, at, near, objective.rows, objective.device, what)
    if not isinstance(objective, OpaqueObjective):
        if reason is not None:
            raise LikelihoodError(
                f"{what} must give each row from that row's data alone, but {reason}. Compute such quantities once "
                "and give them as row_data."
            )
        return objective, "derivatives by row with respect to the linear predictors, then matrix products"
    if reason is None:
        if not model.lifting:
            return objective, f"{PLAIN} (lifting is switched off)"
        return lift(objective, pmap.working(gamma))
    return objective.as_whole(), f"reverse-mode autograd on all rows at once, because {reason}"


def _refine_on_sample(objective: Objective, pmap: ParamMap, gamma: Tensor, method: str) -> Tensor:
    """Return the estimate on a sample of the rows, a better start for the full data, or the start itself."""
    if objective.rows <= SAMPLE_FROM or not objective.separable or method in ("sgd", "adam"):
        return gamma
    size = max(2_000, 10 * len(gamma))
    while size <= objective.rows // 5:
        problem = LikelihoodProblem(_sample(objective, size), pmap)
        newton = make_optimizer("newton", Options(maxiter=50, tol=1e-2), None, {})
        found = minimise(newton, problem, gamma, verdict_tol=1e-2)
        if found.status is not Status.CONVERGED:
            return gamma
        gamma, size = found.x, size * 20
    return gamma


def _finite_start(model: GenericLikelihoodModel, problem: LikelihoodProblem, gamma: Tensor) -> None:
    """Refuse a start at which the log-likelihood or its derivatives are not finite, naming rows and values."""
    first = problem.evaluate(gamma, 1)
    if first.finite:
        return
    objective, working = problem.objective, problem.map.working(gamma)
    theta = problem.map.theta(gamma).tolist()
    labels, names = model.data.rows.labels, problem.map.names
    advice = " Give start_params at which it is finite."
    if not math.isfinite(first.value):
        values = objective.values(working)
        if objective.separable:
            raise LikelihoodError(describe_not_finite(values, list(labels), names, theta) + advice)
        raise LikelihoodError(f"The log-likelihood is {float(values[0])} at start_params {listing(theta)}.{advice}")
    if objective.separable:
        bad = (~torch.isfinite(objective.scores(working)).all(1)).nonzero().flatten().tolist()
        where = f"in {len(bad)} rows (row {listing([labels[i] for i in bad[:3]])})"
    else:
        where = "at the start"
    raise LikelihoodError(
        f"The log-likelihood is finite but its gradient is not, {where}. A torch.where whose unused branch is not "
        "finite does this (log(a) at a = 0): make both branches safe, e.g. torch.log(torch.where(a > 0, a, 1.0))."
    )


def finish(
    model: GenericLikelihoodModel,
    pmap: ParamMap,
    objective: Objective,
    found: OptimResult,
    method: str,
    engine: str,
    seconds: float,
) -> tuple[Fit, Tensor | None]:
    """Return the fit with its verdict, and the bread where the point is a maximum."""
    separation = _separation(model, pmap, objective, found)
    if separation is not None:
        found = replace(found, status=Status.SEPARATED)
    moments = _working_moments(objective, pmap, found)
    assert moments.gradient is not None
    assert moments.hessian is not None
    assert found.at.hessian is not None
    factor = cholesky(found.at.hessian)
    flat = [] if factor is not None else flat_directions(found.at.hessian, pmap.names, pmap.link_jacobian())
    weights = model.data.weights
    freq = weights is not None and weights.kind == "freq_weights"
    fit = Fit(
        map=pmap,
        gamma=found.x,
        llf=-found.at.value,
        derivatives=(moments.gradient, moments.hessian),
        status=found.status,
        decrement=found.decrement,
        iterations=found.iterations,
        history=found.history,
        seconds=seconds,
        method=method,
        engine=engine,
        objective=objective,
        nobs=float(weights.values.sum()) if freq and weights is not None else float(model.nobs),
        free=pmap.free,
        flat=() if separation else tuple(flat),
        notes=() if separation is None else (separation,),
    )
    bread = inverse_spd(factor) if fit.converged and factor is not None else None
    return fit, bread


def _separation(model: GenericLikelihoodModel, pmap: ParamMap, objective: Objective, found: OptimResult) -> str | None:
    """Return the sentence that names separated rows and columns, where rows are at the end of their range."""
    signs = model.recession_signs()
    if signs is None or not found.at.finite:
        return None
    values = objective.values(pmap.working(found.x))
    extreme = (values > -EXTREME) if found.status is Status.CONVERGED else torch.ones_like(signs, dtype=torch.bool)
    if not bool((extreme & (signs != 0)).any()):
        return None
    design = next(iter(model.data.designs.values()))
    centre = design.cross.mean.clone() if design.constant is not None else torch.zeros_like(design.cross.mean)
    if design.constant is not None:
        centre[design.constant] = 0.0
    separation = find_separation((design.X - centre.to(design.X)) / design.scale.to(design.X), signs, extreme)
    if separation is None:
        return None
    labels = model.data.rows.labels
    columns = [j for j in separation.columns if j != design.constant] or list(separation.columns)
    return (
        f"Separation: {len(separation.rows)} of {model.nobs} rows are predicted perfectly (row "
        f"{listing([labels[i] for i in separation.rows], 5)}) by {listing(design.terms[j] for j in columns)}."
    )


@functools.cache
def _versions() -> Mapping[str, str]:
    names = ("torchmle", "torch", "numpy", "scipy", "pandas", "formulaic")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def make_record(
    model: GenericLikelihoodModel, request: FitRequest, method: str, start: Mapping[str, float], seconds: float
) -> Record:
    """Return the account of how a result came about."""
    formulas = model.data.formulas
    return Record(
        versions=_versions(),
        device=str(model.data.device),
        dtype=str(model.endog.dtype).removeprefix("torch."),
        method=method,
        options={"maxiter": request.maxiter, "tol": request.tol, "batch_size": request.batch_size, **request.options},
        seed=request.seed or 0,
        formula=None if formulas is None else next(iter(formulas.parts.values())).text,
        formulas={} if formulas is None else {k: p.text for k, p in formulas.parts.items()},
        start=dict(start),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seconds=seconds,
    )
