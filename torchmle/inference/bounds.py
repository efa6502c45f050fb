"""Bound a mean from one side with confidence: Student t, Hoeffding, exact binomial.

Each function returns ``(lower, upper)``; either limit alone holds with probability ``1 - delta``.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from ..errors import OptionError

FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def check_level(delta: object, what: str = "delta") -> float:
    """Return a probability of error, which lies strictly between 0 and 1."""
    if isinstance(delta, bool) or not isinstance(delta, (int, float, np.floating)) or not 0 < delta < 1:
        raise OptionError(f"{what}={delta!r} must lie strictly between 0 and 1, e.g. 0.05 for 95 % confidence.")
    return float(delta)


def t_limits(mean: float, deviation: float, n: float, delta: float) -> tuple[float, float]:
    """Return ``mean -+ s / sqrt(n) t(1 - delta, n - 1)``, the limits of Student (1908).

    They are exact for normal values and hold in large samples for others; without spread they say nothing.

    Parameters
    ----------
    mean, deviation : of n independent values; the deviation has the divisor ``n - 1``.
    delta : probability with which either limit may fail.

    Examples
    --------
    >>> from torchmle.inference.bounds import t_limits
    >>> low, high = t_limits(0.97, 0.17, 900, 0.05)
    >>> print(round(low, 4), round(high, 4))
    0.9607 0.9793
    """
    if n < 2:
        return -math.inf, math.inf
    half = deviation / math.sqrt(n) * float(special.stdtrit(n - 1, 1 - delta))
    return mean - half, mean + half


def hoeffding_limits(mean: float, n: float, delta: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Return ``mean -+ (b - a) sqrt(log(1 / delta) / (2 n))`` for values in [a, b] (Hoeffding 1963, theorem 2).

    They hold in samples of any size, whatever the distribution.

    Parameters
    ----------
    mean : of n independent values.
    bounds : a and b.
    delta : probability with which either limit may fail.

    Examples
    --------
    >>> from torchmle.inference.bounds import hoeffding_limits
    >>> low, high = hoeffding_limits(0.97, 900, 0.05, (0.0, 1.0))
    >>> print(round(low, 4))
    0.9292
    """
    low, high = bounds
    if n <= 0:
        return -math.inf, math.inf
    half = (high - low) * math.sqrt(math.log(1 / delta) / (2 * n))
    return mean - half, mean + half


def binomial_limits(successes: float, n: float, delta: float) -> tuple[float, float]:
    """Return the exact limits of a probability after ``successes`` in n trials (Clopper and Pearson 1934).

    The lower limit is the delta quantile of Beta(k, n - k + 1), the upper one the 1 - delta quantile of
    Beta(k + 1, n - k). Numbers that are not whole are allowed where a bound is predicted.

    Examples
    --------
    >>> from torchmle.inference.bounds import binomial_limits
    >>> low, high = binomial_limits(873, 900, 0.05)
    >>> print(round(low, 4))
    0.9589
    """
    if n <= 0:
        return 0.0, 1.0
    k = successes
    low = 0.0 if k <= 0 else float(special.betaincinv(k, n - k + 1, delta))
    high = 1.0 if k >= n else float(special.betaincinv(k + 1, n - k, 1 - delta))
    return low, high


def cluster_moments(values: FloatArray, codes: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[float, float, int]:
    """Return mean of all values, deviation and number of clusters, for limits by Student t over clusters.

    The mean is a ratio of sums over clusters, ``m = sum s_g / sum n_g``, and its error that of the linearised cluster
    contributions ``G (s_g - m n_g) / n`` (Cochran 1977, section 9.10); with clusters of one size these are cluster
    means.

    Parameters
    ----------
    values : (n,) of the records.
    codes : (n,) ids of their clusters.
    """
    _, place = np.unique(codes, return_inverse=True)
    sizes = np.bincount(place).astype(np.float64)
    mean, G = float(values.mean()), len(sizes)
    if G < 2:
        return mean, math.nan, G
    parts = (np.bincount(place, values) - mean * sizes) * (G / len(values))
    return mean, math.sqrt(float(parts @ parts) / (G - 1)), G
