"""Find how many replicates of a fit are evaluated at once, and hold that against one by one."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import DataError
from ..loglik.leastsquares import LeastSquares
from ..loglik.lifting import LiftedObjective, tolerance
from ..loglik.lifting_many import LiftedReplicates, Run
from ..loglik.looped import LoopedReplicates
from ..loglik.objective import Objective
from ..loglik.opaque import OpaqueObjective
from ..loglik.predictor import Predictor, PredictorObjective
from ..loglik.replicates import PredictorReplicates, Replicates, Rows, Stack, StackedDensity
from ..loglik.tiles import repeated
from ..params.stacked import StackedMap
from ..results.estimates import Estimates
from .answering import answering

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel


def evaluator(source: Estimates) -> Replicates | None:
    """Return what evaluates many replicates, in turn where nothing faster is right; None without values by row."""
    objective = source.fit.objective
    for replicates in _candidates(source, objective):
        if _model(source).ready_made and isinstance(replicates, PredictorReplicates):
            return replicates
        if _gap(source, objective, replicates) <= tolerance(objective.dtype):
            return replicates
    return _looped(source) if objective.separable else None


def _looped(source: Estimates) -> LoopedReplicates:
    return LoopedReplicates(source.fit.objective, lambda endog: with_response(source, endog))


def for_responses(source: Estimates, replicates: Replicates, endog: Tensor, weights: Tensor | None) -> Replicates:
    """Return what evaluates replicates that differ in their responses: what was found, if it is right for some.

    A likelihood can have its responses in the columns of its predictors, or a sum of them anywhere.
    """
    objective = source.fit.objective
    if _model(source).ready_made or isinstance(replicates, LoopedReplicates):
        return replicates
    at = source.fit.map.working(source.fit.gamma)
    try:
        many = replicates.evaluate(at.expand(len(endog), -1), weights, endog, 2)
        gaps = [_apart(with_response(source, y), at, many, i) for i, y in enumerate(endog)]
    except Exception:  # as in _gap
        return _looped(source)
    return replicates if max(gaps) <= tolerance(objective.dtype) else _looped(source)


def _model(source: Estimates) -> GenericLikelihoodModel:
    return source.model  # type: ignore[return-value]


def _candidates(source: Estimates, objective: Objective) -> Iterator[Replicates]:
    """Yield ways to evaluate many replicates at once, the fastest first."""
    if isinstance(objective, PredictorObjective):
        yield PredictorReplicates(objective.predictors, broadcast_density(_model(source)))
        yield PredictorReplicates(objective.predictors, repeated_density(_model(source)), True)
    if isinstance(objective, LiftedObjective):
        at, run = source.fit.map.working(source.fit.gamma), run_of(_model(source))
        for flat in (False, True):
            with suppress(Exception):  # many at once is a matter of speed
                yield LiftedReplicates(objective, run, at, flat)


def least_squares(objective: LeastSquares) -> PredictorReplicates:
    """Return ``-1/2 (y - eta)^2`` as the log-density of a predictor."""

    def density(rows: Rows, etas: list[Tensor], endog: Tensor | None) -> Tensor:
        return -0.5 * ((objective.y[rows] if endog is None else endog) - etas[0]).square()

    shift = objective.shift
    return PredictorReplicates([Predictor(objective.X.to(objective.dtype), shift)], density)


def broadcast_density(model: Any) -> StackedDensity:
    """Return the log-density of a declarative model for predictors with a leading axis of replicates."""

    def density(rows: Rows, etas: list[Tensor], endog: Tensor | None) -> Tensor:
        part = model.take(rows)
        if endog is not None:
            part.endog = endog
        values: Tensor = part.logdensity(part.endog, *etas)
        return values

    return density


def repeated_density(model: Any) -> StackedDensity:
    """Return the same on repeated rows, for a log-density that knows of no leading axis."""

    def density(rows: Rows, etas: list[Tensor], endog: Tensor | None) -> Tensor:
        shape = etas[0].shape
        part = model.take(repeated(rows, shape[:-1].numel(), etas[0].device))
        if endog is not None:
            part.endog = endog.reshape(-1)
        values: Tensor = part.logdensity(part.endog, *(eta.expand(shape).reshape(-1) for eta in etas))
        return values.view(shape)

    return density


def run_of(model: GenericLikelihoodModel) -> Run:
    """Return the likelihood of an opaque model as a function of rows, parameters and responses."""

    def run(rows: slice | Tensor, params: Tensor, endog: Tensor | None) -> Tensor:
        part = model.take(rows)
        if endog is not None:
            part.endog = endog
        return part.loglikeobs(params)

    return run


def _gap(source: Estimates, objective: Objective, replicates: Replicates) -> float:
    """Return the largest relative gap of three replicates to the same evaluated one by one."""
    fit, rng = source.fit, torch.Generator(device="cpu").manual_seed(21)
    weights = torch.rand(3, objective.rows, generator=rng, dtype=torch.float64, device="cpu")
    noise = torch.randn(3, len(fit.gamma), generator=rng, dtype=torch.float64, device="cpu")
    points = StackedMap(fit.map).working(fit.gamma + (1e-3 * fit.gamma.abs() + 1e-5) * noise)
    points[0] = fit.map.working(fit.gamma)
    w = weights.to(objective.device, objective.dtype)
    try:
        many = replicates.evaluate(points, w, None, 2)
        same = replicates.shared(points[0], w[:1])
    except Exception:  # many at once is a matter of speed: whatever it cannot do, one by one does
        return math.inf
    gaps = [_apart(with_weights(objective, w[i]), p, many, i) for i, p in enumerate(points)]
    return max([*gaps, _apart(with_weights(objective, w[0]), points[0], same, 0)])


def _apart(objective: Objective, working: Tensor, many: Stack, i: int) -> float:
    one = objective.moments(working, 2)
    assert one.gradient is not None
    assert one.hessian is not None
    assert many.hessians is not None
    size = one.hessian.diagonal().abs().sqrt().clamp(min=1e-150)
    gaps = [
        abs(float(many.values[i]) - one.llf) / (1 + abs(one.llf)),
        float(((many.gradients[i] - one.gradient) / (100 * size + one.gradient.abs())).abs().max()),
        float(((many.hessians[i] - one.hessian) / torch.outer(size, size)).abs().max()),
    ]
    return math.inf if any(math.isnan(g) for g in gaps) else max(gaps)


def with_weights(objective: Objective, weights: Tensor) -> Objective:
    """Return the objective with other weights, on the rows where they are not zero."""
    rows = weights.nonzero()[:, 0].to(objective.device)
    part = objective.take(rows) if len(rows) < objective.rows else copy.copy(objective)
    part.weights = weights.to(objective.device, objective.dtype)[rows]
    part._known = None
    return part


def with_response(source: Estimates, endog: Tensor) -> Objective:
    """Return the objective of the fit for another response."""
    objective = source.fit.objective
    if isinstance(objective, LeastSquares):
        other = copy.copy(objective)
        other.y, other._known = endog.to(objective.y), None
        return other
    made = answering(_model(source), endog.to(objective.device, objective.dtype)).make_objective(source.fit.map)
    if not isinstance(made, type(objective)) and not isinstance(objective, type(made)):
        raise DataError("another response changes the kind of the likelihood.")
    if isinstance(objective, LiftedObjective) and isinstance(made, OpaqueObjective):
        return LiftedObjective(**made.parts())
    return made
