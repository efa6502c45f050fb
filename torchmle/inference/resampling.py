"""Draw the weights of replicates: each by a generator of its own, so that no number depends on how they are grouped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Codes = np.ndarray[Any, np.dtype[np.int64]]

WEBB = np.sqrt(np.array([1.5, 1.0, 0.5]))
"""Sizes of Webb's (2023) six points; each has the probability 1/3, half of it on either side of zero."""


def generator(seed: int, number: int, use: int = 0) -> np.random.Generator:
    """Return the generator of one replicate; ``use`` tells streams of one replicate apart."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, number, use])))


@dataclass(frozen=True, eq=False)
class Draws:
    """Draw the weights of the rows for each replicate, the weights of the model included.

    Attributes
    ----------
    kind : ``"pairs"`` draws as many units as there are, with replacement; ``"bayesian"`` gives each unit a standard
        exponential weight, scaled to have mean 1 (Rubin 1981); ``"delete"`` leaves unit r out of replicate r.
    rows : number of rows.
    base : (rows,) weights of the model, or None.
    counts : whether these say how often a row was observed, so that each of them is a unit.
    codes, groups : clusters, which are then the units.
    """

    kind: str
    seed: int
    rows: int
    base: Array | None = None
    counts: bool = False
    codes: Codes | None = None
    groups: int = 0

    @property
    def units(self) -> int:
        """Return how many units there are: clusters, or rows."""
        return self.groups if self.codes is not None else self.rows

    def weights(self, start: int, stop: int) -> Array:
        """Return the (stop - start, rows) weights of some replicates."""
        out = np.empty((stop - start, self.rows))
        for i, number in enumerate(range(start, stop)):
            out[i] = self._one(number)
        return out

    def _one(self, number: int) -> Array:
        if self.codes is not None:
            drawn = self._units(number, self.groups)[self.codes]
            return drawn if self.base is None else drawn * self.base
        if self.base is None or not self.counts:
            drawn = self._units(number, self.rows)
            return drawn if self.base is None else drawn * self.base
        return self._of_counts(number, self.base)

    def _units(self, number: int, units: int) -> Array:
        """Return how much each unit counts in one replicate."""
        if self.kind == "delete":
            ones = np.ones(units)
            ones[number] = 0.0
            return ones
        rng = generator(self.seed, number)
        if self.kind == "pairs":
            drawn = np.bincount(rng.integers(units, size=units, dtype=np.int32), minlength=units)
            return np.asarray(drawn, dtype=np.float64)
        shares = rng.standard_exponential(units)
        return np.asarray(shares * (units / shares.sum()))

    def _of_counts(self, number: int, base: Array) -> Array:
        """Return the weights where a row stands for several observations, each of which is a unit."""
        total = int(base.sum())
        if self.kind == "delete":
            less = base.copy()
            less[number] -= 1.0
            return less
        rng = generator(self.seed, number)
        if self.kind == "pairs":
            return rng.multinomial(total, base / total).astype(np.float64)
        drawn = rng.standard_gamma(base)
        return np.asarray(drawn * (total / drawn.sum()))


GOLDEN = np.array([1 - np.sqrt(5.0), 1 + np.sqrt(5.0)]) / 2
"""Mammen's (1993) two points; the lower one has the probability ``(sqrt(5) + 1) / (2 sqrt(5))``."""


def signs(seed: int, start: int, stop: int, units: int, law: str, counts: Array | None = None) -> Array:
    """Return (stop - start, units) multipliers of mean 0 and variance 1.

    ``"rademacher"`` is -1 or 1; ``"webb"`` has six points, for fewer than about a dozen clusters, of which there are
    few combinations of signs (Webb 2023); ``"mammen"`` has two points and the third moment 1 (Mammen 1993);
    ``"normal"`` is standard normal.

    Parameters
    ----------
    counts : (units,) how many observations each unit stands for, each with a multiplier of its own: their sum.
    """
    out = np.empty((stop - start, units))
    for i, number in enumerate(range(start, stop)):
        rng = generator(seed, number)
        out[i] = _single(rng, units, law) if counts is None else _summed(rng, counts.astype(np.int64), law)
    return out


def _single(rng: np.random.Generator, units: int, law: str) -> Array:
    if law == "normal":
        return np.asarray(rng.standard_normal(units))
    if law == "mammen":
        return np.asarray(GOLDEN[(rng.random(units) >= _lower()).astype(np.int64)])
    side = 2.0 * rng.integers(2, size=units) - 1.0
    return np.asarray(side if law == "rademacher" else side * WEBB[rng.integers(3, size=units)])


def _summed(rng: np.random.Generator, counts: Codes, law: str) -> Array:
    """Return sums of as many multipliers as there are observations."""
    if law == "normal":
        return np.asarray(np.sqrt(counts) * rng.standard_normal(len(counts)))
    if law == "webb":
        return np.asarray(rng.multinomial(counts, np.full(6, 1 / 6)) @ np.concatenate([WEBB, -WEBB]))
    low, high = (-1.0, 1.0) if law == "rademacher" else GOLDEN
    lower = rng.binomial(counts, 0.5 if law == "rademacher" else _lower())
    return np.asarray(low * lower + high * (counts - lower))


def _lower() -> float:
    """Return the probability of the lower one of Mammen's points."""
    return float(GOLDEN[1] / np.sqrt(5.0))


LAWS = ("rademacher", "webb", "mammen", "normal")


TIED = 1e-7
"""Gap to the estimate, in standard deviations, up to which a replicate of discrete data is the estimate itself."""


def percentile(replicates: Array, alpha: float) -> Array:
    """Return (K, 2) quantiles of the replicates (R, K) that are there."""
    return np.nanquantile(replicates, [alpha / 2, 1 - alpha / 2], axis=0).T


def basic(replicates: Array, estimates: Array, alpha: float) -> Array:
    """Return (K, 2) reflected quantiles, ``2 b - q`` (Davison and Hinkley 1997, equation 5.6)."""
    return 2 * estimates[:, None] - percentile(replicates, alpha)[:, ::-1]


def bca(replicates: Array, estimates: Array, acceleration: Array, alpha: float) -> Array:
    """Return (K, 2) bias-corrected and accelerated quantiles (Efron 1987).

    NaN where all replicates are on one side of the estimate, and where the acceleration is too large for the level.

    Parameters
    ----------
    acceleration : (K,) sixth of the skewness of the influence of the units.
    """
    from scipy.special import ndtr, ndtri

    out = np.full((len(estimates), 2), np.nan)
    for k, (values, estimate, a) in enumerate(zip(replicates.T, estimates, acceleration, strict=True)):
        known = values[~np.isnan(values)]
        if not len(known):
            continue
        tied = np.abs(known - estimate) <= TIED * known.std()
        below = (np.sum((known < estimate) & ~tied) + 0.5 * np.sum(tied)) / len(known)
        z = ndtri(below)
        if not np.isfinite(z):
            continue
        at = z + ndtri([alpha / 2, 1 - alpha / 2])
        if (1 - a * at > 0).all():  # beyond that the levels would turn around
            out[k] = np.quantile(known, ndtr(z + at / (1 - a * at)))
    return out


def acceleration(influence: Array, counts: Array | None = None) -> Array:
    """Return ``sum l^3 / (6 (sum l^2)^1.5)`` of (units, K) influences; zero where there is none."""
    w = np.ones(len(influence)) if counts is None else counts
    squares = w @ influence**2
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (w @ influence**3) / (6 * squares**1.5)
    return np.where(squares > 0, found, 0.0)
