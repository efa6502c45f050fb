"""Estimate the covariance of the estimates: a table of small functions over bread and scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import OptionError, unknown
from ..linalg import cholesky, inverse_root, inverse_spd, symmetric
from ..loglik.objective import Objective

Correction = bool | Literal["stata"]


@dataclass(frozen=True)
class Ingredients:
    """Hold what a covariance is made of.

    Attributes
    ----------
    bread : (K, K) inverse of the information (of the curvature, for least squares), in gamma.
    scale : factor of the nonrobust covariance: 1, or s^2 for least squares.
    objective, working : give the scores by row.
    pull : turns a matrix in working parameters into one in gamma.
    nobs, params : n and K of the small-sample corrections.
    weights : the kind of weights, or None.
    root : upper triangular R of the bread ``(R'R)^-1`` in working parameters, where the columns are so ill-conditioned
        that scores have to be whitened before their products are formed; else None.
    groups, group_count, group_name : cluster codes of the rows in use, if known.
    """

    bread: Tensor
    scale: float
    objective: Objective
    working: Tensor
    pull: Callable[[Tensor], Tensor]
    nobs: float
    params: int
    weights: str | None = None
    root: Tensor | None = None
    groups: Tensor | None = None
    group_count: int = 0
    group_name: str = ""

    def outer_products(self) -> Tensor:
        """Return ``sum w s s'`` for counts of rows, ``sum w^2 s s'`` for any other weights."""
        return self.objective.outer_products(self.working, 1 if self.weights == "freq_weights" else 2, self.root)

    def sandwich(self, meat: Tensor) -> Tensor:
        """Return bread times meat times bread in gamma, for a meat of (whitened) working scores."""
        if self.root is None:
            return self.bread @ self.pull(meat) @ self.bread
        inverse = inverse_root(self.root)
        return (inverse @ meat @ inverse.mT) / self.pull(torch.ones_like(meat))


@dataclass(frozen=True)
class Covariance:
    """Hold an estimated covariance in gamma, its name, and how it was made."""

    cov_type: str
    matrix: Tensor
    use_t: bool
    kwds: Mapping[str, Any]
    description: str
    df: float | None = None


def _nonrobust(parts: Ingredients, _: Correction) -> tuple[Tensor, str]:
    text = "inverse of the observed information" if parts.scale == 1.0 else "s^2 times the inverse of X'X"
    return parts.scale * parts.bread, text


def _opg(parts: Ingredients, _: Correction) -> tuple[Tensor, str]:
    factor = cholesky(parts.pull(parts.outer_products()))
    if factor is None:
        raise OptionError(
            f"cov_type='opg' is not defined here: the outer product of the scores of {parts.objective.rows} rows "
            f"is singular for {parts.params} parameters. Use 'nonrobust' or 'HC1'."
        )
    return parts.scale**2 * inverse_spd(factor), "inverse of the outer product of the scores"


def _hc0(parts: Ingredients, _: Correction) -> tuple[Tensor, str]:
    return parts.sandwich(parts.outer_products()), "heteroskedasticity robust, no correction"


def _hc1(parts: Ingredients, _: Correction) -> tuple[Tensor, str]:
    matrix, _text = _hc0(parts, True)
    return matrix * parts.nobs / (parts.nobs - parts.params), "heteroskedasticity robust, corrected by n/(n-K)"


def _cluster(parts: Ingredients, correction: Correction) -> tuple[Tensor, str]:
    if parts.groups is None:
        raise OptionError("cov_type='cluster' needs groups: pass cov_kwds={'groups': column name or ids}.")
    sums = parts.objective.group_scores(parts.working, parts.groups, parts.group_count, parts.root)
    G, n, K = parts.group_count, parts.nobs, parts.params
    factor = {True: G / (G - 1) * (n - 1) / (n - K), False: 1.0, "stata": G / (G - 1)}[correction]
    text = {True: "G/(G-1) (n-1)/(n-K)", False: "no correction", "stata": "G/(G-1)"}[correction]
    return parts.sandwich(sums.mT @ sums) * factor, f"clustered by {parts.group_name}, {G} clusters, {text}"


ESTIMATORS: dict[str, Callable[[Ingredients, Correction], tuple[Tensor, str]]] = {
    "nonrobust": _nonrobust,
    "opg": _opg,
    "HC0": _hc0,
    "HC1": _hc1,
    "cluster": _cluster,
}


def check_cov_type(cov_type: object, weights: str | None, separable: bool) -> str:
    """Return the name of the estimator if it exists and is defined for the weights and the likelihood."""
    if not isinstance(cov_type, str) or cov_type not in ESTIMATORS:
        raise OptionError(unknown("cov_type", cov_type, ESTIMATORS))
    name = str(cov_type)
    if not separable and name != "nonrobust":
        raise OptionError(
            f"cov_type={name!r} needs the scores of single rows, and this likelihood has none: it returns the sum "
            "only, or its rows depend on each other. Override loglikeobs, or use cov_type='nonrobust'."
        )
    if weights == "sampling_weights" and name in ("nonrobust", "opg"):
        raise OptionError(
            f"cov_type={name!r} is wrong under sampling_weights, which make the likelihood a pseudo-likelihood. "
            "Use 'HC0', 'HC1' or 'cluster'."
        )
    return name


def check_correction(kwds: Mapping[str, Any] | None, cov_type: str) -> Correction:
    """Return the small-sample correction asked for, refusing unknown or idle entries of ``cov_kwds``."""
    kwds = dict(kwds or {})
    allowed = ["groups", "use_correction"] if cov_type == "cluster" else []
    for key in kwds:
        if key not in allowed:
            raise OptionError(unknown(f"entry of cov_kwds for cov_type={cov_type!r}:", key, allowed or ["(none)"]))
    correction = kwds.get("use_correction", True)
    if correction not in (True, False, "stata"):
        raise OptionError(unknown("use_correction", correction, ["True", "False", "'stata'"]))
    return "stata" if correction == "stata" else bool(correction)


def estimate(
    parts: Ingredients, cov_type: str, correction: Correction, use_t: bool, kwds: Mapping[str, Any] | None
) -> Covariance:
    """Return the covariance of one type; the type was checked by :func:`check_cov_type`."""
    matrix, description = ESTIMATORS[cov_type](parts, correction)
    df = parts.group_count - 1.0 if cov_type == "cluster" else parts.nobs - parts.params
    return Covariance(cov_type, symmetric(matrix), use_t, MappingProxyType(dict(kwds or {})), description, df)


def not_available(params: int, cov_type: str, use_t: bool) -> Covariance:
    """Return a covariance of NaN, for a point that is not a maximum."""
    matrix = torch.full((params, params), torch.nan, dtype=torch.float64, device="cpu")
    return Covariance(cov_type, matrix, use_t, {}, "not computed: this point is not a maximum")
