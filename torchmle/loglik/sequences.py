"""Compute runs of Halton and Sobol sequences from any index on.

Both sequences split over the index ``n = q B + m``: ``x(n) = low(m) + high(q)``, where ``+`` is addition for Halton
and exclusive or for Sobol (in Gray code order, which is linear over bits). So a run of consecutive elements is a slice
of a table of ``low`` together with one number, unless a multiple of B lies inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .streams import stream

Integers = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

HALTON_RESOLUTION = 2**40
"""Indices of a Halton sequence are below this, and scrambled digits go down to it."""
SOBOL_BITS = torch.quasirandom.SobolEngine.MAXBIT
"""Bits of a Sobol number; 2 to this power is the length of the sequence."""

_ROOM = 32  # tables are so many runs long: one run in so many has a multiple of B inside and takes the slow way
_MOST = 2**17  # entries of a table from which on it takes more time to make than it saves


@dataclass(frozen=True, eq=False)
class Sequence:
    """Hold one dimension of a sequence.

    Attributes
    ----------
    low : (B,) the elements 0..B-1 without what ``high`` gives.
    high : from quotients of any shape to the part that they add.
    join : how the two parts are put together.
    """

    low: NDArray[Any]
    high: Callable[[Integers], NDArray[Any]]
    join: np.ufunc

    def runs(self, start: Integers, number: int, step: int = 1) -> NDArray[Any]:
        """Return the (n, number) elements ``start + step * r``."""
        if step > 1 or len(self.low) < number:
            return self._scattered(start, number, step)
        quotient, offset = np.divmod(start, len(self.low))
        inside = offset + number <= len(self.low)
        windows = np.lib.stride_tricks.sliding_window_view(self.low, number)
        found = windows[np.where(inside, offset, 0)]
        self.join(found, self.high(quotient)[:, None], out=found)
        across = np.flatnonzero(~inside)
        found[across] = self._scattered(start[across], number, step)
        return found

    def _scattered(self, start: Integers, number: int, step: int) -> NDArray[Any]:
        size = len(self.low)
        index = start[:, None] + step * np.arange(number)
        quotient = index // size
        first = start[:, None] // size
        parts = self.high(first + np.arange(step * (number - 1) // size + 2))
        added = np.take_along_axis(parts, quotient - first, axis=1)
        found: NDArray[Any] = self.join(self.low[index - quotient * size], added)
        return found


@lru_cache(maxsize=64)
def halton(base: int, number: int, key: tuple[int, int] | None) -> Sequence:
    """Return the radical inverse in a prime base, for runs of ``number`` elements.

    ``key``: None for the plain sequence, or the seed and the dimension that the permutations of digits come from, one
    permutation a digit: Owen (2017), "A randomized Halton algorithm in R". Digits beyond the last are a half cell.
    """
    digits = _length(base, HALTON_RESOLUTION)
    lower = min(_length(base, min(_ROOM * number, _MOST)), digits)
    orders = np.tile(np.arange(base), (digits, 1))
    if key is not None:
        orders = stream(*key).permuted(orders, axis=1)
    low = np.zeros(1, dtype=np.int64)
    for order in orders[:lower]:
        low = (base * low + order[:, None]).ravel()
    return Sequence(low / float(base**lower), _Tail(base, lower, orders[lower:], 0.5 * (key is not None)), np.add)


@lru_cache(maxsize=8)
def sobol(dims: int, number: int, seed: int | None) -> tuple[list[Sequence], Integers]:
    """Return the Sobol sequence in each dimension, for runs of ``number`` elements, and its (dims,) digital shifts.

    Direction numbers by Joe and Kuo (2008); with a seed, Matousek's (1998) random linear scramble, as torch has them.
    """
    engine = torch.quasirandom.SobolEngine(dims, scramble=seed is not None, seed=seed)  # type: ignore[no-untyped-call]
    directions = engine.sobolstate.numpy()
    lower = _length(2, min(_ROOM * number, _MOST))
    index = np.arange(2**lower)
    gray = index ^ (index >> 1)
    return [
        Sequence(_combined(v, gray), _Directions(v, lower), np.bitwise_xor) for v in directions
    ], engine.shift.numpy()


@dataclass(frozen=True, eq=False)
class _Tail:
    """Give what the digits from ``lower`` on add to a radical inverse."""

    base: int
    lower: int
    orders: Integers
    rest: float

    def __call__(self, quotient: Integers) -> Floats:
        total = np.zeros(quotient.shape, dtype=np.int64)
        for order in self.orders:
            quotient, digit = np.divmod(quotient, self.base)
            total = self.base * total + order[digit]
        found: Floats = (total + self.rest) / float(self.base ** (self.lower + len(self.orders)))
        return found


@dataclass(frozen=True, eq=False)
class _Directions:
    """Give what the bits from ``lower`` on add to a Sobol number."""

    directions: Integers
    lower: int

    def __call__(self, quotient: Integers) -> Integers:
        index = quotient << self.lower
        return _combined(self.directions, index ^ (index >> 1))


def _combined(directions: Integers, gray: Integers) -> Integers:
    """Return the exclusive or of the direction numbers at the bits that are set."""
    total = np.zeros(gray.shape, dtype=np.int64)
    for bit, direction in enumerate(directions):
        total ^= direction * (gray >> bit & 1)
    return total


def _length(base: int, size: int) -> int:
    """Return how many digits count to ``size``."""
    found = 1
    while base**found < size:
        found += 1
    return found


@lru_cache(maxsize=16)
def primes(count: int) -> tuple[int, ...]:
    """Return the first primes."""
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % p for p in found):
            found.append(candidate)
        candidate += 1
    return tuple(found)
