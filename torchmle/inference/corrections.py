"""Hold every small-sample correction: the one place where n, K and the number of groups enter a covariance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from ..errors import OptionError, unknown

Correction = bool | Literal["stata", "cluster", "hac"]


def residual(n: float, K: int) -> float:
    """Return ``n / (n - K)``: HC1, and HAC where it is asked for."""
    return n / (n - K)


def clusters(G: int, n: float, K: int) -> float:
    """Return ``G / (G - 1) (n - 1) / (n - K)``: clusters, as statsmodels, Stata's ``regress`` and fixest have it."""
    return G / (G - 1) * (n - 1) / (n - K)


def stata(G: int, n: float, K: int) -> float:
    """Return ``G / (G - 1)``: clusters in Stata's likelihood models."""
    return G / (G - 1)


def jackknife(G: int, n: float, K: int) -> float:
    """Return ``(G - 1) / G``: leaving out a cluster at a time (MacKinnon, Nielsen and Webb 2023, equation 12)."""
    return (G - 1) / G


def none(G: int, n: float, K: int) -> float:
    """Return one."""
    return 1.0


Factor = Callable[[int, float, int], float]

CLUSTER: Mapping[Any, tuple[Factor, str]] = {
    True: (clusters, "G/(G-1) (n-1)/(n-K)"),
    "stata": (stata, "G/(G-1)"),
    False: (none, "no correction"),
}
"""``use_correction`` of clustered errors."""

JACKKNIFE: Mapping[Any, tuple[Factor, str]] = {True: (jackknife, "(G-1)/G"), False: (none, "no correction")}
"""``use_correction`` of the cluster jackknife."""

SERIAL: Mapping[Any, tuple[Factor, str]] = {
    False: (none, "no correction"),
    True: (lambda G, n, K: residual(n, K), "n/(n-K)"),
    "hac": (lambda G, n, K: residual(n, K), "n/(n-K)"),
    "cluster": (clusters, "G/(G-1) (n-1)/(n-K)"),
}
"""``use_correction`` of errors that allow for serial correlation; G counts the units, or the periods."""

PLAIN: Mapping[Any, tuple[Factor, str]] = {False: SERIAL[False], True: SERIAL[True]}
"""``use_correction`` where there is nothing to count but rows."""


def read_correction(given: Any, table: Mapping[Any, tuple[Factor, str]]) -> Correction:
    """Return a correction of a table, refusing any other."""
    key = bool(given) if isinstance(given, np.bool_) else given
    if isinstance(key, (bool, str)) and key in table:
        return key  # type: ignore[return-value]
    raise OptionError(unknown("use_correction", given, [str(k) if isinstance(k, bool) else repr(k) for k in table]))
