"""Take account, in the errors of a fit, of predictors with a module: estimated with the rest, or given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError, unknown
from ..inference.ingredients import Covariance, Ingredients
from ..linalg import cholesky, inverse_spd, symmetric
from ..params.map import ParamMap
from .fit import Fit, ModelView

WAYS = ("estimated", "given", "all")
"""What ``cov_kwds={"net": ...}`` may be."""

CURVED = 1e-10
"""Curvature, relative to the largest, from which a direction of the weights counts as estimated."""

LISTED_UP_TO = 50
"""Weights of modules up to which a summary lists all of them."""

LINEAR_ONLY = ("HC2", "HC3", "CR2", "CRV3")
"""Estimators that need predictors which are linear in all parameters."""


def net_option(model: ModelView, cov_type: object, cov_kwds: Any) -> tuple[str | None, Any]:
    """Return how the errors treat the weights of modules, None for the default, and the other options.

    Raises
    ------
    OptionError
        If there is no such way, or the estimator is not defined for modules.
    """
    if not model.data.has_nets:
        return None, cov_kwds
    if cov_type in LINEAR_ONLY:
        raise OptionError(
            f"cov_type={cov_type!r} is not defined for a predictor with a module, which is not linear in its weights. "
            "Use 'HC1', 'cluster' or another sandwich."
        )
    if not isinstance(cov_kwds, Mapping) or "net" not in cov_kwds:
        return None, cov_kwds
    way = cov_kwds["net"]
    if way not in WAYS:
        raise OptionError(unknown("cov_kwds['net']:", way, WAYS))
    return way, {name: value for name, value in cov_kwds.items() if name != "net"}


def weights_of(model: ModelView) -> list[int]:
    """Return the positions of the weights of modules among the parameters: they come last."""
    coefficients = sum(len(design.terms) for design in model.data.linear.values())
    return list(range(coefficients, len(model.param_names)))


def still(pmap: ParamMap, weights: list[int]) -> Tensor:
    """Return (F, m) orthonormal directions of gamma in which the weights of modules do not move."""
    return _parted(pmap, weights)[0]


def _parted(pmap: ParamMap, weights: list[int]) -> tuple[Tensor, Tensor]:
    """Return orthonormal directions of gamma in which no weight of a module moves, and those orthogonal to them."""
    if pmap.basis is None:
        unit = torch.eye(pmap.free, dtype=torch.float64, device="cpu")
        return unit[:, [j for j in range(pmap.free) if j not in set(weights)]], unit[:, weights]
    _, values, right = torch.linalg.svd(pmap.inner_jacobian()[weights], full_matrices=True)
    rank = int((values > 1e-10 * values.max().clamp(min=1e-300)).sum()) if len(values) else 0
    return right[rank:].mT, right[:rank].mT


def part_bread(fit: Fit, weights: list[int], way: str) -> tuple[Tensor, Tensor] | None:
    """Return ``(U' A U)^-1`` and U, with A the information; None where it is not positive definite.

    U are the directions in which no weight of a module moves where these are given, so that this is the inverse of the
    information of the linear part. Where they are estimated, those directions of the weights join in which the
    log-likelihood is curved downwards: in others, in which units of a net are saturated or stand for each other, the
    predictors do not move either.
    """
    gradient, hessian = fit.derivatives
    A = symmetric(-fit.map.pull_hessian(hessian, gradient, fit.gamma))
    U, W = _parted(fit.map, weights)
    if way != "given" and W.shape[1]:
        values, vectors = torch.linalg.eigh(symmetric(W.mT @ A @ W))
        U = torch.cat([U, W @ vectors[:, values > CURVED * values.abs().max()]], 1)
    factor = cholesky(symmetric(U.mT @ A @ U))
    return None if factor is None else (inverse_spd(factor), U)


def along(parts: Ingredients, U: Tensor) -> Ingredients:
    """Return ingredients, whose bread is one of directions U of gamma, with all else in these directions."""
    second = parts.pull_hessian
    return replace(
        parts,
        pull=lambda matrix: U.mT @ parts.pull(matrix) @ U,
        jacobian=parts.jacobian @ U,
        params=U.shape[1],
        pull_hessian=None if second is None else lambda h, g: U.mT @ second(h, g) @ U,
    )


def described(found: Covariance, way: str, weights: list[int], bread: Tensor, U: Tensor | None) -> Covariance:
    """Return a covariance in gamma that says how it treats the weights of modules, without what has no meaning.

    ``U`` are the directions in which it was found, where they are not all, and ``bread`` is its own.
    """
    if U is not None:
        found = replace(found, matrix=U @ found.matrix @ U.mT, bread=U @ bread @ U.mT)
    if way == "given":
        said = "given the weights of the net, which are taken as known"
    else:
        said = "the estimation of the net's weights included"
        said += "" if U is None else " where the log-likelihood is curved in them"
    if way == "all" and U is not None:
        said += "; none for these, which are not shown to be at a maximum"
    elif way == "estimated":
        said += "; none for these, of which other values give the same net"
    withheld = () if way == "all" and U is None else tuple(weights)
    return replace(found, description=f"{found.description}, {said}", withheld=withheld)


def listed(model: ModelView, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parameters that a summary lists: the weights of modules where they are few."""
    if not model.data.has_nets:
        return names
    weights = weights_of(model)
    return names if len(weights) <= LISTED_UP_TO else names[: len(names) - len(weights)]


def tensors(model: ModelView, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return names and shapes of the weights of modules that a summary does not list one by one."""
    found: dict[str, str] = {}
    for name in names[len(listed(model, names)) :]:
        tensor, _, at = name.removesuffix("]").partition("[")
        found[tensor] = (
            " x ".join(str(int(i) + 1) for i in at.split(",")) if at else "1"
        )  # the last entry is the corner
    return list(found.items())
