"""Turn the returned point into a fit: verdict, separation, record."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import listing
from ..likelihood.moments import Moments
from ..likelihood.objective import Objective
from ..likelihood.separation import find_separation
from ..linalg import cholesky, flat_directions, inverse_spd
from ..optim.base import OptimResult, Status
from ..params.map import ParamMap
from ..results.fit import Fit, Record
from .request import FitRequest

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

EXTREME = 1e-5
"""A row whose log-likelihood is this near to its supremum may be separated."""


def working_moments(objective: Objective, pmap: ParamMap, found: OptimResult) -> Moments:
    """Return the log-likelihood's derivatives in working parameters; constraints hide some of them from the method."""
    gradient, hessian = found.at.gradient, found.at.hessian
    assert gradient is not None
    assert hessian is not None
    if not pmap.is_scaling:
        return objective.moments(pmap.working(found.x), 2)
    return Moments(-found.at.value, -gradient * pmap.scale, -hessian * torch.outer(pmap.scale, pmap.scale))


def finish(
    model: GenericLikelihoodModel,
    pmap: ParamMap,
    objective: Objective,
    found: OptimResult,
    method: str,
    engine: str,
    seconds: float,
    wrong: str | None = None,
) -> tuple[Fit, Tensor | None]:
    """Return the fit with its verdict, and the bread where the point is a maximum."""
    separation = None
    if found.status is not Status.INTERRUPTED:
        separation = _separation(model, pmap, objective, found)
    if separation is not None:
        found = replace(found, status=Status.SEPARATED)
    moments = working_moments(objective, pmap, found)
    assert moments.gradient is not None
    assert moments.hessian is not None
    assert found.at.hessian is not None
    factor = cholesky(found.at.hessian)
    flat = [] if factor is not None else flat_directions(found.at.hessian, pmap.names, pmap.link_jacobian(found.x))
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
        notes=(*found.notes, *(note for note in (separation, wrong) if note is not None)),
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
    separation = find_separation((design.X - design.means.to(design.X)) / design.scale.to(design.X), signs, extreme)
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
    own = {"maxiter": request.maxiter, "tol": request.tol, "batch_size": request.batch_size}
    options = {**own, **request.options}
    return Record(
        versions=_versions(),
        device=str(model.data.device),
        dtype=str(model.endog.dtype).removeprefix("torch."),
        method=method,
        options=MappingProxyType(options),
        seed=request.seed or 0,
        formula=None if formulas is None else next(iter(formulas.parts.values())).text,
        formulas={} if formulas is None else {k: p.text for k, p in formulas.parts.items()},
        start=MappingProxyType(dict(start)),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seconds=seconds,
    )
