"""Find the rows that are predicted perfectly, name them, and leave them out where the user asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data.batch import ModelData
from ..data.crossproducts import cross_products, find_collinear
from ..data.design import Design
from ..errors import DataWarning, OptionError, listing, warn
from ..loglik.objective import Objective
from ..loglik.separation import Separation, find_separation
from ..optim.base import OptimResult, Status
from ..params.map import ParamMap
from ..results.fit import Fit
from .part import part_of
from .request import FitRequest, as_params

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

EXTREME = {torch.float64: 1e-5, torch.float32: 1e-2}
"""A row whose log-likelihood is this near to its supremum may be separated: far more than the verdict leaves of it."""

NOTHING_LEFT = "separation='drop' was asked for, but nothing can be estimated without the separated rows: {}."


def refuse_drop(model: GenericLikelihoodModel, request: FitRequest) -> None:
    """Refuse to drop separated rows of a model that cannot tell which they are."""
    if request.general.separation == "drop" and request.conditions:
        raise OptionError(
            "separation='drop' is not available under constraints that are inequalities or functions of the "
            "parameters: they may keep these from running off. Leave the option out, or drop the rows yourself."
        )
    if request.general.separation == "drop" and model.data.has_nets:
        raise OptionError(
            "separation='drop' is not available for a predictor with a module: it can bend round any row."
        )
    if request.general.separation == "drop" and model.recession_signs() is None:
        raise OptionError(
            f"separation='drop' is not available for {type(model).__name__}: it does not say in which rows the "
            "log-likelihood rises for ever with the first predictor (recession_signs). Models with a binary or count "
            "response do. Leave the option out, or drop the rows yourself."
        )


def certificate(
    model: GenericLikelihoodModel, pmap: ParamMap, objective: Objective, found: OptimResult
) -> Separation | None:
    """Return the separated rows and columns, or None. At a maximum only rows at the end of their range can be."""
    signs = model.recession_signs()
    if signs is None or model.data.has_nets or not found.at.finite or not objective.separable:
        return None
    extreme = torch.ones_like(signs, dtype=torch.bool)
    if found.status is Status.CONVERGED:
        extreme = objective.values(pmap.working(found.x)) > -_near(model.data)
        if not bool(extreme.any()):
            return None
    design = next(iter(model.data.designs.values()))
    return find_separation(design.X, signs, extreme, design.constant, allowed(pmap, found.x, len(design.terms)))


def _near(data: ModelData) -> Tensor:
    """Return how near to its supremum a row must be; the verdict leaves more of a row that has little weight."""
    near = torch.tensor(EXTREME[data.endog.dtype], dtype=data.endog.dtype, device=data.device)
    if data.weights is None:
        return near
    return (near / data.weights.values.clamp(max=1.0)).clamp(max=0.1)


def allowed(pmap: ParamMap, gamma: Tensor, columns: int) -> Tensor | None:
    """Return the directions in which constraints let the first predictor's coefficients run while all else is still."""
    if pmap.is_scaling:
        return None
    jacobian = pmap.link_jacobian(gamma)
    free = [j for j in range(columns) if pmap.curve is None or j in pmap.curve.plain]
    still = jacobian[[j for j in range(len(jacobian)) if j not in free]]
    still = still / still.norm(dim=1, keepdim=True).clamp(min=1e-300)
    _, values, right = torch.linalg.svd(still, full_matrices=True)
    rank = int((values > 1e-10).sum())
    directions: Tensor = jacobian[:columns] @ right[rank:].mT
    directions[[j for j in range(columns) if j not in free]] = 0.0
    return directions


def describe(model: GenericLikelihoodModel, separation: Separation) -> str:
    """Return the sentence that names separated rows and columns."""
    return (
        f"Separation: {len(separation.rows)} of {model.nobs} rows are predicted perfectly (row "
        f"{_labels(model, separation.rows)}) by {listing(model.param_names[j] for j in separation.columns)}."
    )


def _labels(model: GenericLikelihoodModel, rows: Sequence[int]) -> str:
    labels = model.data.rows.labels
    return listing([labels[i] for i in rows], 5)


def left_to_fit(
    model: GenericLikelihoodModel, request: FitRequest, fit: Fit
) -> tuple[GenericLikelihoodModel, FitRequest] | Fit:
    """Return the model without its separated rows and what to ask of it, or the fit itself where that is the answer."""
    if fit.separation is None or request.general.separation != "drop":
        return fit
    keep = torch.ones(model.nobs, dtype=torch.bool)
    keep[list(fit.separation.rows)] = False
    if int(keep.sum()) < 2:
        return replace(fit, notes=(*fit.notes, NOTHING_LEFT.format(f"{int(keep.sum())} rows are left")))
    at = keep.nonzero().flatten().to(model.data.device)
    designs = {name: _on_rows(design, at) for name, design in model.data.designs.items()}
    if not all(designs.values()):
        return replace(fit, notes=(*fit.notes, NOTHING_LEFT.format("every column is zero in the other rows")))
    names = model.param_names
    less = part_of(model, at, keep, {k: d for k, d in designs.items() if d is not None}, "separated")
    gone = [name for name in names if name not in less.param_names]
    _refuse_named(request, gone)
    text = (
        f"Separation: {len(fit.separation.rows)} of {model.nobs} rows (row {_labels(model, fit.separation.rows)}) are "
        f"predicted perfectly and were left out, and with them {listing(gone)}, which the other rows do not identify."
    )
    warn(f"{type(model).__name__}: {text}", DataWarning)
    less.data = replace(less.data, notes=(*less.data.notes, text))
    start = request.start_params
    if start is not None:
        values = dict(zip(names, as_params(start, names, "start_params").tolist(), strict=True))
        start = {name: values[name] for name in less.param_names}
    return less, replace(request, start_params=start, resume=None)


def _on_rows(design: Design, at: Tensor) -> Design | None:
    """Return the design on some rows, without the columns that are collinear there; None if no column is left."""
    X = design.X[at]
    cross = cross_products(X)
    gone = {d.column for d in find_collinear(X, cross)}
    keep = [j for j in range(len(design.terms)) if j not in gone]
    if not keep:
        return None
    if gone:
        X = X[:, keep].contiguous()
        cross = cross_products(X)
    dropped = (*design.dropped, *(design.terms[j] for j in sorted(gone)))
    return Design(design.name, tuple(design.terms[j] for j in keep), X, cross, dropped, design.spec, design.all_terms)


def _refuse_named(request: FitRequest, gone: Sequence[str]) -> None:
    """Refuse restrictions on parameters that go with the rows."""
    named = {*(request.fixed or {}), *(request.bounds or {})}
    texts = [request.constraints] if isinstance(request.constraints, str) else list(request.constraints or [])
    for name in gone:
        if name in named or any(name in text for text in texts):
            raise OptionError(
                f"separation='drop' takes {name!r} out of the model with the separated rows, but fixed, constraints or "
                "bounds speak of it. Leave that restriction out, or drop rows and column yourself."
            )
