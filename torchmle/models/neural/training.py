"""Train a module, and report where training ended by one exact pass over all rows."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ...errors import DataError, LikelihoodError, OptionError
from ...linalg import inverse_spd
from ...loglik.batches import ArrayBatches, Batch, Batches, split_rows
from ...loglik.check import describe_not_finite
from ...loglik.moments import Moments
from ...loglik.trainee import ModuleTrainee
from ...optim.base import Evaluation, Options, Status, minimise
from ...optim.registry import make_optimizer, make_training
from ...optim.snapshots import Snapshot
from ...optim.training import Trained, TrainingOptions, train
from ...params.constraints import constrain
from ...params.map import ParamMap
from ...progress import ProgressLine
from ...report.summary import summarise
from ...results.fit import Fit, Inference
from ...results.inference import build_inference, check_inference
from ...workers import users_threads
from ..fitting import announce, default_cov
from ..problem import VERDICT, LikelihoodProblem, weight_unit
from ..record import make_record
from ..request import FitRequest, as_params
from ..start import checked
from ..views import refuse_unmasked
from .objective import ModuleObjective
from .results import EXACT_UP_TO, NeuralResults
from .withheld import no_covariance

if TYPE_CHECKING:
    from .base import ModuleModel

JUDGED_UP_TO = 200
"""Parameters up to which the exact Hessian is computed after training, whether or not errors are asked for."""

LOOKED_AT = 500
"""Rows on which the likelihood is checked before a module is trained."""

HEAVY = 8_000_000
"""Bytes that the graph of a batch keeps above which torch gets the threads of the user: on less they only wait."""


def train_module(model: ModuleModel, request: FitRequest, snapshot: Snapshot | None = None) -> NeuralResults:
    """Train a module and return its results."""
    begin = time.perf_counter()
    refuse_unmasked(model)
    options = _options(model, request)
    cov_type = default_cov(model, request.cov_type)
    check_inference(model, cov_type, request.cov_kwds, separable=True)
    pmap = _map(model, request)
    start = _start(model, request, pmap, snapshot)
    objective = _checked(model, pmap, start)
    trainee = make_trainee(model, pmap.theta(start), options, pmap.held)
    size = min(options.batch_size or objective.rows, objective.rows)
    with users_threads() if objective.each * size > HEAVY else nullcontext():
        trained = _run(trainee, options, request, snapshot, model.model_name)
    model = model.with_network(model.network.with_buffers(dict(trained.state)))
    fit, bread = _judged(model, pmap, trained, request)
    fit = replace(fit, seconds=time.perf_counter() - begin)
    inference = _inference(model, fit, bread, cov_type, request)
    record = make_record(model, *_recorded(model, request, pmap, start), fit.seconds)
    results = model.results_kind(model, fit, inference, record, summarise, snapshot=trained.snapshot)
    if fit.status is not Status.TRAINED:
        announce(results, request.disp)
    return results


def _options(model: ModuleModel, request: FitRequest) -> TrainingOptions:
    """Return how to train, refusing what training does not do."""
    given = {"constraints": request.constraints or request.conditions, "bounds": request.bounds}
    given |= {"tol": request.tol, "maxfun": request.maxfun}
    for name, value in given.items():
        if value:
            raise OptionError(f"{name} is not available for training by method={request.method!r}; use 'newton'.")
    if model.transforms:
        raise OptionError(
            f"transforms are for exact methods, and {request.method!r} moves the module's own parameters. Write them "
            "in the module, e.g. sigma = torch.exp(self.log_sigma)."
        )
    general = request.general
    if general.starts != type(general)().starts:
        raise OptionError("starts is not available for training; fit several modules of different seeds.")
    common = {"batch_size": request.batch_size, "seed": request.seed or 0, "time_limit": general.time_limit}
    if request.maxiter is not None:
        common["epochs"] = request.maxiter
    assert request.method is not None
    return make_training(request.method, common, request.options)


def _map(model: ModuleModel, request: FitRequest) -> ParamMap:
    """Return the map of the parameters, those that are fixed held."""
    names = model.param_names
    if request.fixed and len(names) > EXACT_UP_TO:
        raise OptionError(
            f"fixed= holds single numbers, of up to {EXACT_UP_TO} parameters; here are {len(names)}. Freeze the tensor "
            "in the module: tensor.requires_grad_(False)."
        )
    return constrain(model.make_map(names), request.fixed, None)


def _start(model: ModuleModel, request: FitRequest, pmap: ParamMap, snapshot: Snapshot | None) -> Tensor:
    """Return where to begin in gamma: where a run stood, at results, or as asked for."""
    from ..checkpoint import resumed

    if snapshot is not None:
        return pmap.gamma(as_params(snapshot.x.tolist(), pmap.names, "resume"))
    given = resumed(request, model)
    given = request.start_params if given is None else given
    return pmap.gamma(model.start_params if given is None else as_params(given, pmap.names, "start_params"))


def _checked(model: ModuleModel, pmap: ParamMap, start: Tensor) -> ModuleObjective:
    """Return the log-likelihood, checked on the first rows."""
    loaded, model = model.loader is not None, model.sample()
    objective = model.of_rows(pmap)
    count = min(objective.rows, 2 * objective.chunk, LOOKED_AT)
    few = objective if count == objective.rows else objective.take(torch.arange(count, device=objective.device))
    found, engine = checked(model, few, pmap, start)
    if not found.separable:
        raise OptionError(f"Training needs rows that can be parted; {engine}. Use method='newton' or 'lbfgs'.")
    values = few.values(pmap.working(start))
    if not bool(torch.isfinite(values).all()):
        labels = range(count) if loaded else list(model.data.rows.labels)
        theta = pmap.theta(start).tolist()
        raise LikelihoodError(describe_not_finite(values, labels, pmap.names, theta) + " Start elsewhere.")
    return objective


def make_trainee(
    model: ModuleModel, theta: Tensor, options: TrainingOptions, held: Mapping[int, float]
) -> ModuleTrainee:
    """Return what is trained: a copy of the module with the rows for training and those held back."""
    names, loader = model.arguments(), model.loader
    batches, validation = _from_loader(model, options) if loader is not None else _from_rows(model, options, names)

    def loglike(module: nn.Module, batch: Batch) -> Tensor:
        part = copy.copy(model)
        part.__dict__.update(batch.inputs if loader is None else loader.named(batch))
        return part.values(module, names)

    module = model.network.for_training(theta.to(model.data.device, model.dtype))
    at = torch.tensor(sorted(held), dtype=torch.long, device=model.data.device) if held else None
    return ModuleTrainee(module, batches, validation, loglike, at)


def _from_rows(model: ModuleModel, options: TrainingOptions, names: Sequence[str]) -> tuple[Batches, Batches | None]:
    """Return the rows for training, and the records held back."""
    from .base import ModuleModel

    inputs = model.row_tensors(names)
    weights, given = None if model.data.weights is None else model.data.weights.values, options.validation
    if given is None:
        return ArrayBatches(inputs, options.batch_size, weights), None
    if isinstance(given, ModuleModel) and given.loader is None:
        others = given.row_tensors(names)
        own = None if given.data.weights is None else given.data.weights.values
        if {n: t.shape[1:] for n, t in others.items()} != {n: t.shape[1:] for n, t in inputs.items()}:
            raise DataError("validation is a model of other data: names and shapes of records must be the same.")
        return ArrayBatches(inputs, options.batch_size, weights), ArrayBatches(others, options.batch_size, own)
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise OptionError(
            f"validation is {type(given).__name__}; it must be a share of the rows, such as 0.2, or a model of the "
            "rows that are held back."
        )
    codes = None if model.data.groups is None else torch.as_tensor(model.data.groups.codes)
    kept, back = split_rows(model.nobs, float(given), options.seed, codes)
    held_back = ArrayBatches(inputs, options.batch_size, weights, back)
    return ArrayBatches(inputs, options.batch_size, weights, kept), held_back


def _from_loader(model: ModuleModel, options: TrainingOptions) -> tuple[Batches, Batches | None]:
    """Return the loader of a model, and that of the records held back."""
    from .base import ModuleModel

    assert model.loader is not None
    if options.batch_size is not None:
        raise OptionError("batch_size is for models of arrays; here the loader says how large its batches are.")
    given = options.validation
    if given is None:
        return model.loader, None
    if not isinstance(given, ModuleModel) or given.loader is None:
        raise OptionError(
            f"validation is {type(given).__name__}; for a model from batches it must be another one: "
            f"{type(model).__name__}.from_batches(loader, module=...)."
        )
    return model.loader, given.loader


def _run(
    trainee: ModuleTrainee, options: TrainingOptions, request: FitRequest, snapshot: Snapshot | None, name: str
) -> Trained:
    from ..checkpoint import open_training

    line, checkpoint = ProgressLine(request.progress), open_training(request.checkpoint, name)
    try:
        return train(
            trainee,
            options,
            resume=snapshot,
            keep=None if checkpoint is None else checkpoint.keep,
            show=lambda text: line.show(f"{name}: {text}"),
            callback=request.callback,
        )
    finally:
        line.close()


def _judged(model: ModuleModel, pmap: ParamMap, trained: Trained, request: FitRequest) -> tuple[Fit, Tensor | None]:
    """Return the fit at the point where training ended, and the bread if it is shown to be a maximum."""
    objective = model.make_objective(pmap)
    gamma = pmap.gamma(trained.x.double().cpu())
    wanted = JUDGED_UP_TO if request.cov_type is None else EXACT_UP_TO
    exact = len(pmap.names) <= wanted and not model.network.dropout and trained.status is not Status.INTERRUPTED
    at, status, decrement = _passed(model, LikelihoodProblem(objective, pmap), gamma, trained.status, exact)
    weights, moments = model.data.weights, at.source
    freq = weights is not None and weights.kind == "freq_weights"
    hessian = moments.hessian if moments.hessian is not None else torch.zeros(0, 0, dtype=torch.float64, device="cpu")
    fit = Fit(
        map=pmap,
        gamma=gamma,
        llf=-at.value,
        derivatives=(moments.gradient, hessian),
        status=status,
        decrement=decrement,
        iterations=trained.epochs,
        history=cast(Any, trained.trace),
        seconds=0.0,
        method=request.method or "",
        engine=objective.engine,
        objective=objective,
        nobs=float(weights.values.sum()) if freq and weights is not None else float(model.nobs),
        free=pmap.free,
        notes=_notes(trained, request),
    )
    return fit, inverse_spd(at.factor) if fit.converged and at.factor is not None else None


def _passed(
    model: ModuleModel, problem: LikelihoodProblem, gamma: Tensor, ended: Status, exact: bool
) -> tuple[Evaluation, Status, float]:
    """Return log-likelihood and derivatives by one pass over all rows, with the verdict where the Hessian is exact."""
    try:
        if not exact:
            return problem.evaluate(gamma, 1), ended, math.nan
        tol = VERDICT[model.endog.dtype] * weight_unit(model)
        still = make_optimizer("newton", Options(maxiter=0, tol=tol), None, {})
        found = minimise(still, problem, gamma, verdict_tol=tol)
        return found.at, found.status if found.status is Status.CONVERGED else ended, found.decrement
    except KeyboardInterrupt:  # what it costs is the pass, not the point
        unknown = torch.full((len(gamma),), math.nan, dtype=torch.float64, device="cpu")
        return Evaluation(math.nan, unknown, None, Moments(math.nan, unknown)), Status.INTERRUPTED, math.nan


def _notes(trained: Trained, request: FitRequest) -> tuple[str, ...]:
    """Return what a summary says of the training."""
    notes = [f"Restricted: {'; '.join(f'{k} = {v:g}' for k, v in request.fixed.items())}."] if request.fixed else []
    given = request.options.get("validation")
    if given is not None:
        share = f"{given:.3g} of the rows were" if isinstance(given, (int, float)) else f"{given.nobs} other rows were"
        notes.append(f"Validation: {share} held back; the parameters are those of epoch {trained.best}, best there.")
    return (*notes, *trained.notes)


def _inference(model: ModuleModel, fit: Fit, bread: Tensor | None, cov_type: str, request: FitRequest) -> Inference:
    """Return the covariance of a maximum, or none."""
    if bread is not None:
        return build_inference(model, fit, bread, cov_type, request.cov_kwds, request.use_t, False)
    return Inference(no_covariance(model.network, len(fit.gamma), cov_type, request.use_t), None, False, fit.free)


def _recorded(
    model: ModuleModel, request: FitRequest, pmap: ParamMap, start: Tensor
) -> tuple[FitRequest, str, dict[str, float]]:
    """Return the request, the method and the start as a record keeps them: no list of a million weights."""
    if len(pmap.names) > EXACT_UP_TO:
        return replace(request, resume=None, start_params=None), request.method or "", {}
    theta = pmap.theta(start).tolist()
    return request, request.method or "", dict(zip(pmap.names, theta, strict=True))
