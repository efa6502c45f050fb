"""Estimate the covariance of the estimates: a table of small frozen objects over bread, scores, groups and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError, TorchmleWarning, unknown, warn
from ..linalg import symmetric
from .blocks import Units
from .cluster import Clustered
from .estimator import Estimator, Options, Sandwich, Setting
from .hac import DriscollKraay, NeweyWest, PanelNeweyWest
from .information import expected_bread
from .ingredients import Contributions, Covariance, Ingredients
from .jackknife import BiasReduced, Jackknife
from .leverage import Leveraged
from .robust import Heteroskedastic, Nonrobust, OuterProduct
from .spatial import Conley

ESTIMATORS: Mapping[str, type[Estimator]] = {
    "nonrobust": Nonrobust,
    "opg": OuterProduct,
    "HC0": Heteroskedastic,
    "HC1": Heteroskedastic,
    "HC2": Leveraged,
    "HC3": Leveraged,
    "cluster": Clustered,
    "CR2": BiasReduced,
    "CRV3": Jackknife,
    "HAC": NeweyWest,
    "hac-panel": PanelNeweyWest,
    "driscoll-kraay": DriscollKraay,
    "conley": Conley,
}

ALIASES: Mapping[str, str] = {"hac-groupsum": "driscoll-kraay", "cluster-crv3": "CRV3"}
"""Names that statsmodels has for some of them."""

NEGATIVE = 1e-10
"""Size of a negative eigenvalue, relative to the largest one in units of the bread, that is no rounding."""


def read_estimator(cov_type: object, kwds: Mapping[str, Any] | None, setting: Setting) -> Estimator:
    """Return the estimator of a name and its options.

    Raises
    ------
    OptionError
        If there is none of this name, or it is not defined for the weights, the likelihood or the options.
    """
    if isinstance(cov_type, str):
        cov_type = ALIASES.get(cov_type, cov_type)
    if not isinstance(cov_type, str) or cov_type not in ESTIMATORS:
        raise OptionError(unknown("cov_type", cov_type, ESTIMATORS))
    name, kind = str(cov_type), ESTIMATORS[cov_type]
    if not setting.separable and kind.needs_rows:
        raise OptionError(
            f"cov_type={name!r} needs the scores of single rows, and this likelihood has none: it returns the sum "
            "only, or its rows depend on each other. Override loglikeobs, or use cov_type='nonrobust'."
        )
    reason = kind.refused_weights.get(setting.weights or "")
    if reason is not None:
        raise OptionError(f"cov_type={name!r} is wrong under {setting.weights}, {reason}.")
    return kind.read(Options(name, kwds, kind.entries, setting))


def estimate(
    parts: Ingredients, estimator: Estimator, use_t: bool, kwds: Mapping[str, Any] | None, jacobian: Tensor
) -> Covariance:
    """Return the covariance of an estimator.

    Parameters
    ----------
    kwds : its options as they were given.
    jacobian : (K, F) derivatives of the reported parameters, for degrees of freedom of their own.
    """
    bread = None
    if estimator.information == "expected":
        bread = expected_bread(parts)
        parts = replace(parts, bread=bread)
    found = estimator.covariance(parts)
    matrix, text = symmetric(found.matrix), found.description
    if bread is not None and not isinstance(estimator, Nonrobust):
        text = f"{text}, bread from the expected information"
    if isinstance(estimator, Sandwich) and estimator.indefinite:
        matrix, repaired = _definite(matrix, Units.of(parts).half, estimator.cov_type)
        text += repaired
    dfs = None if found.df_of is None else _own_degrees(found.df_of(jacobian))
    df = found.df if found.df is not None else parts.nobs - parts.params
    if dfs is not None and bool(torch.isfinite(dfs).any()):
        df = float(dfs[torch.isfinite(dfs)].min())
        text += f", degrees of freedom {df:.4g} or more"
    return Covariance(estimator.cov_type, matrix, use_t, MappingProxyType(dict(kwds or {})), text, df, dfs, bread)


def average_covariance(rows: Contributions, estimator: Sandwich, nobs: float, params: int) -> Tensor:
    """Return the covariance of averages from the influences of the rows, as the estimator treats scores."""
    matrix = symmetric(estimator.meat(rows, nobs, params).matrix)
    if not estimator.indefinite:
        return matrix
    sizes = rows.outer().diagonal().sqrt()
    return _definite(matrix, torch.where(sizes > 0, sizes, torch.ones_like(sizes)).diag(), estimator.cov_type)[0]


def _own_degrees(dfs: Tensor) -> Tensor:
    return torch.where(dfs > 0, dfs, torch.full_like(dfs, torch.nan))


def _definite(matrix: Tensor, unit: Tensor, cov_type: str) -> tuple[Tensor, str]:
    """Return a matrix whose negative eigenvalues are set to zero (Cameron, Gelbach and Miller 2011, section 2.3).

    Eigenvalues are those of ``T^-1 V T^-T``, T being ``unit``: with ``T T'`` the bread they do not depend on the units
    of the columns, nor on which level of a category is left out.
    """
    if not bool(torch.isfinite(matrix).all()) or not len(matrix):
        return matrix, ""
    scaled = symmetric(torch.linalg.solve(unit, torch.linalg.solve(unit, matrix).mT))
    values, vectors = torch.linalg.eigh(scaled)
    largest = float(values.abs().max())
    bad = int((values < -NEGATIVE * largest).sum())
    if not bad:
        return matrix, ""
    warn(
        f"The {cov_type} covariance was not positive semi-definite: {bad} of {len(values)} eigenvalues were negative "
        f"(the lowest {float(values[0]) / largest:.2g} of the largest) and were set to zero. There may be too few "
        "groups for what is estimated.",
        TorchmleWarning,
    )
    repaired = unit @ (vectors * values.clamp(min=0.0)) @ vectors.mT @ unit.mT
    return symmetric(repaired), f", {bad} negative eigenvalue{'s' if bad > 1 else ''} set to zero"


def not_available(params: int, cov_type: str, use_t: bool, why: str = "") -> Covariance:
    """Return a covariance of NaN, for a point that is not a maximum, or for another reason."""
    matrix = torch.full((params, params), torch.nan, dtype=torch.float64, device="cpu")
    return Covariance(cov_type, matrix, use_t, {}, why or "not computed: this point is not a maximum")
