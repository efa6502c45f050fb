"""Turn the returned point into a fit: verdict, separation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from ..linalg import flat_directions, inverse_spd
from ..loglik.moments import Moments
from ..loglik.objective import Objective
from ..optim.base import OptimResult, Status
from ..params.map import ParamMap
from ..results.fit import Fit
from .constrained import Outcome
from .separated import describe

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel


def working_moments(found: OptimResult) -> Moments:
    """Return the log-likelihood's derivatives in working parameters, of which those in gamma were made."""
    moments = found.at.source
    assert isinstance(moments, Moments)
    return moments


def finish(
    model: GenericLikelihoodModel,
    pmap: ParamMap,
    objective: Objective,
    found: OptimResult,
    method: str,
    engine: str,
    seconds: float,
    wrong: str | None = None,
    outcome: Outcome | None = None,
) -> tuple[Fit, Tensor | None]:
    """Return the fit with its verdict, and the bread where the point is a maximum.

    Under constraints by functions (``outcome``) directions of separation are not known to be allowed, and none is
    looked for: a likelihood that rises for ever is no maximum all the same.
    """
    separation = None
    if found.status is not Status.INTERRUPTED and outcome is None:
        separation = model.separation(pmap, objective, found)
    said = None
    if separation is not None:
        found, said = replace(found, status=Status.SEPARATED), describe(model, separation)
    moments = working_moments(found)
    assert moments.gradient is not None
    assert moments.hessian is not None
    assert found.at.hessian is not None
    factor = found.at.factor
    silent = factor is not None or found.status in (
        Status.TIME_LIMIT,
        Status.STOPPED,
        Status.INTERRUPTED,
        Status.TRAINED,
    )
    flat = [] if silent else flat_directions(found.at.hessian, pmap.names, pmap.link_jacobian(found.x))
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
        notes=(*found.notes, *(note for note in (said, wrong) if note is not None)),
        separation=separation,
        units=0.0 if objective.rows == model.nobs else float(objective.rows),
    )
    if outcome is not None:
        fit = outcome.reported(fit, weights is not None and weights.kind == "sampling_weights")
    given = fit.converged and factor is not None and not fit.withheld
    bread = inverse_spd(factor) if given and factor is not None else None
    return fit, bread
