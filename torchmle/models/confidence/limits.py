"""Bound a constraint on some records: the mean of each term, then interval arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import DataError
from ...inference.bounds import binomial_limits, cluster_moments, hoeffding_limits, t_limits
from .claims import Claim, Confidence, Term

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class Sample:
    """Hold the values of a term for the records that it is about, and their clusters if there are any."""

    term: Term
    values: Array
    codes: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None


@dataclass(frozen=True)
class Limits:
    """Hold mean, both one-sided limits, the independent observations behind them and what to say of it."""

    mean: float
    low: float
    high: float
    n: int
    note: str = ""


@dataclass(frozen=True)
class Bounded:
    """Hold a constraint's estimate, its bound, and by how much that exceeds what is allowed (0 or less: feasible).

    ``side`` is the sign with which the quantity enters what must be small: -1 for ``>=`` and where the negative side of
    an absolute value is the larger one.
    """

    estimate: float
    bound: float
    excess: float
    side: float
    parts: tuple[Limits, ...]

    @property
    def n(self) -> int:
        """Return the fewest observations that a mean rests on."""
        return min(part.n for part in self.parts)


def term_limits(sample: Sample, bound: str, delta: float, ratio: float = 1.0, inflation: float = 1.0) -> Limits:
    """Return the limits of one mean.

    Parameters
    ----------
    delta : probability with which either limit may fail.
    ratio : observations that the safety part will have for each one here; not 1 where a bound is predicted.
    inflation : factor of the distances between mean and limits, 2 where a bound is predicted (Thomas et al. 2019).

    Raises
    ------
    DataError
        If there is no record, or values are not 0 and 1 where the bound needs that.
    """
    values, name = sample.values, sample.term.name
    if not len(values):
        raise DataError(f"No record of this part of the data counts for {name}. Use more data, or a larger group.")
    if sample.codes is not None:
        mean, deviation, n = cluster_moments(values, sample.codes)
    else:
        n, mean = len(values), float(values.mean())
        deviation = float(values.std(ddof=1)) if n > 1 else math.nan
    size = n * ratio
    range_, note = sample.term.measure.bounds, ""
    zero_one = bool(((values == 0) | (values == 1)).all())
    if bound == "t" and not deviation > 0:
        bound, note = _without_spread(name, zero_one and sample.codes is None, range_ if sample.codes is None else None)
    if bound == "binomial":
        if not zero_one:
            raise DataError(f"bound='binomial' is for values of 0 and 1; {name} has others. Use 't' or 'hoeffding'.")
        low, high = binomial_limits(float(values.sum()) * ratio, size, delta)
    elif bound == "hoeffding":
        assert range_ is not None
        low, high = hoeffding_limits(mean, size, delta, range_)
    elif bound == "t":
        low, high = t_limits(mean, deviation, size, delta)
        rare = min(values.sum(), len(values) - values.sum()) if zero_one else math.inf
        if rare < FEW:
            note = f"Only {int(rare)} of {len(values)} records of {name} differ from the others: t is rough here, "
            note += "bound='binomial' is exact." if sample.codes is None else "more data would help."
    else:
        low, high = -math.inf, math.inf
    return Limits(mean, mean - inflation * (mean - low), mean + inflation * (high - mean), n, note)


FEW = 15
"""Records of the rarer kind below which a t bound of a share is said to be rough."""


def _without_spread(name: str, zero_one: bool, bounds: tuple[float, float] | None) -> tuple[str, str]:
    """Return the bound that takes the place of Student's where all values are the same, and what to say."""
    same = f"All values of {name} are the same, so that t says nothing"
    if zero_one:
        return "binomial", f"{same}: binomial."
    if bounds is not None:
        return "hoeffding", f"{same}: hoeffding."
    return "none", f"{same}, and there is no range for another bound."


def bounded(
    held: Confidence,
    delta: float,
    samples: Sequence[Sample],
    ratio: float = 1.0,
    inflation: float = 1.0,
) -> Bounded:
    """Return estimate and bound of a constraint, each of its k means with ``delta / k``.

    Parameters
    ----------
    delta : of this constraint.
    samples : of its terms, in order.
    ratio, inflation : see :func:`term_limits`.
    """
    claim = held.claim
    shared = delta / len(samples)
    found = tuple(term_limits(sample, held.bound, shared, ratio, inflation) for sample in samples)
    middle, low, high = _interval(claim, found)
    limit = claim.threshold
    if claim.quantity.absolute:
        side = 1.0 if high >= -low else -1.0
        bound = max(high, -low)
        return Bounded(abs(middle), bound, bound - limit, side, found)
    if claim.upper:
        return Bounded(middle, high, high - limit, 1.0, found)
    return Bounded(middle, low, limit - low, -1.0, found)


def _interval(claim: Claim, found: Sequence[Limits]) -> tuple[float, float, float]:
    """Return the value of a sum of multiples at the means, and its least and largest within the limits."""
    middle = low = high = claim.quantity.constant
    for (factor, _), part in zip(claim.quantity.parts, found, strict=True):
        middle += factor * part.mean
        low += factor * (part.low if factor > 0 else part.high)
        high += factor * (part.high if factor > 0 else part.low)
    return middle, low, high
