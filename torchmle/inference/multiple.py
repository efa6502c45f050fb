"""Test several hypotheses at once: adjusted p-values, and intervals that hold together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import OptionError, unknown

Array = np.ndarray[Any, np.dtype[np.float64]]

DRAWS = 200_000
"""Draws of the largest of several statistics by default: the critical value is then right to about 0.005."""


def _bonferroni(p: Array) -> Array:
    return p * len(p)


def _sidak(p: Array) -> Array:
    with np.errstate(divide="ignore"):  # log 0 is -inf, and 1 - exp(-inf) is 1
        adjusted: Array = -np.expm1(len(p) * np.log1p(-p))
    return adjusted


def _holm(p: Array) -> Array:
    """Return ``max_{j <= i} (m - j + 1) p_(j)`` (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    return _back(stepped, order)


def _hochberg(p: Array) -> Array:
    """Return ``min_{j >= i} (m - j + 1) p_(j)`` (Hochberg 1988)."""
    order = np.argsort(p, kind="stable")
    stepped = np.minimum.accumulate(((len(p) - np.arange(len(p))) * p[order])[::-1])[::-1]
    return _back(stepped, order)


def _bh(p: Array) -> Array:
    """Return ``min_{j >= i} m p_(j) / j`` (Benjamini and Hochberg 1995)."""
    order = np.argsort(p, kind="stable")
    stepped = np.minimum.accumulate((len(p) / (np.arange(len(p)) + 1) * p[order])[::-1])[::-1]
    return _back(stepped, order)


def _by(p: Array) -> Array:
    """Return the same times ``sum 1/j``, for any dependence (Benjamini and Yekutieli 2001)."""
    return _bh(p) * float((1 / (np.arange(len(p)) + 1)).sum())


def _hommel(p: Array) -> Array:
    """Return the closed Simes test's adjustment by the algorithm of Wright (1992)."""
    m = len(p)
    order = np.argsort(p, kind="stable")
    s = p[order]
    adjusted = s.copy()
    for k in range(m, 1, -1):
        later = np.arange(m - k + 1, m)
        least = float((k * s[later] / (k - m + later + 1)).min())
        adjusted[later] = np.maximum(adjusted[later], least)
        first = np.arange(m - k + 1)
        adjusted[first] = np.maximum(adjusted[first], np.minimum(least, k * s[first]))
    return _back(adjusted, order)


def _back(stepped: Array, order: np.ndarray[Any, Any]) -> Array:
    out = np.empty_like(stepped)
    out[order] = stepped
    return out


ADJUSTMENTS: dict[str, Callable[[Array], Array]] = {
    "bonferroni": _bonferroni,
    "sidak": _sidak,
    "holm": _holm,
    "hochberg": _hochberg,
    "hommel": _hommel,
    "bh": _bh,
    "by": _by,
}
"""The first five keep the probability of any false rejection, ``bh`` and ``by`` the expected share of false ones."""


def adjust_pvalues(pvalues: Any, method: str = "holm") -> Array:
    """Return p-values adjusted for how many there are; NaN are no tests and stay.

    Parameters
    ----------
    pvalues : (m,) between 0 and 1.
    method : ``"bonferroni"``, ``"sidak"``, ``"holm"``, ``"hochberg"``, ``"hommel"`` for the probability of any false
        rejection; ``"bh"`` and ``"by"`` for the expected share of false ones among the rejections.

    Raises
    ------
    OptionError
        For an unknown method, and numbers that are no probabilities.

    Examples
    --------
    >>> import torchmle as tm
    >>> tm.adjust_pvalues([0.01, 0.04, 0.03], "holm").round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    if method not in ADJUSTMENTS:
        raise OptionError(unknown("method of adjustment", method, ADJUSTMENTS))
    try:
        p = np.array(pvalues, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise OptionError(f"pvalues is {pvalues!r}; it must be a sequence of numbers.") from error
    known = ~np.isnan(p)
    if p.ndim != 1 or ((p[known] < 0) | (p[known] > 1)).any():
        raise OptionError("pvalues must be a sequence of numbers between 0 and 1.")
    if known.any():
        p[known] = np.minimum(ADJUSTMENTS[method](p[known]), 1.0)
    return p


def largest_of(covariance: Tensor, alpha: float, df: float | None, draws: int, seed: int) -> float:
    """Return the critical value of the largest of several absolute z (or t) statistics, by simulation.

    With it, intervals ``estimate -+ c se`` hold all at once with probability 1 - alpha, and are the shortest of this
    form (sup-t; Montiel Olea and Plagborg-Moller 2019, algorithm 1).

    Parameters
    ----------
    covariance : (M, M) of the estimates, with a positive diagonal.
    df : degrees of freedom of t, or None for the normal distribution.
    """
    scale = covariance.diagonal().sqrt()
    values, vectors = torch.linalg.eigh(covariance / torch.outer(scale, scale))
    root = vectors * values.clamp(min=0.0).sqrt()
    generator = torch.Generator(device="cpu").manual_seed(seed)
    tops: list[Tensor] = []
    step = max(1, 2_000_000 // len(scale))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        z = torch.randn(count, len(scale), generator=generator, dtype=torch.float64, device="cpu")
        top = (z @ root.mT).abs().amax(1)
        tops.append(top if df is None else top / _chi(count, df, generator))
    ranked = torch.cat(tops).sort().values
    return float(ranked[min(draws - 1, math.ceil((1 - alpha) * draws) - 1)])


def _chi(count: int, df: float, generator: torch.Generator) -> Tensor:
    """Return draws of ``sqrt(chi2(df) / df)``, by inverting the distribution function."""
    from scipy import special

    uniform = torch.rand(count, generator=generator, dtype=torch.float64, device="cpu").numpy()
    return torch.from_numpy(np.sqrt(2 * special.gammaincinv(df / 2, uniform) / df)).clamp(min=1e-300)
