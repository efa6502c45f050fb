"""Draw pseudo-random numbers that belong to a person, whoever asks for them and in whatever order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SMALLEST = 2.0**-53
"""Stands for the number 0 of a generator, so that ``u`` and ``1 - u`` are both inside (0, 1)."""


def stream(seed: int, which: int) -> np.random.Generator:
    """Return the generator of a seed and a person: Philox 4x64 keyed by both (Salmon et al. 2011)."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, which], dtype=np.uint64)))


def random_uniforms(seed: int, persons: NDArray[np.int64], count: int) -> Floats:
    """Return (n, count) uniforms on (0, 1), a row from the stream of each person."""
    found = np.empty((len(persons), count))
    bits = np.random.Philox(key=np.array([seed, 0], dtype=np.uint64))
    generator, state = np.random.Generator(bits), bits.state
    for row, person in zip(found, persons.tolist(), strict=True):
        state["state"]["key"][1] = person  # a new key in place: three times as fast as a new generator
        bits.state = state
        generator.random(out=row)
    return np.maximum(found, SMALLEST, out=found)


def latin_uniforms(seed: int, persons: NDArray[np.int64], dims: int, number: int) -> Floats:
    """Return (n, dims, number) modified Latin hypercube draws: Hess, Train and Polak (2006).

    An evenly spaced grid in each dimension, moved as a whole by a random part of its step, in a random order of its
    own for each dimension and person.
    """
    raw = random_uniforms(seed, persons, dims * (number + 1)).reshape(len(persons), dims, number + 1)
    low = (number - 1).bit_length()
    keys = (raw[:, :, :number] * 2.0**62).astype(np.int64)
    keys >>= low
    keys <<= low
    keys += np.arange(number)  # sorting a random number with its place in the low bits gives a random order
    keys.sort(axis=-1)
    keys &= (1 << low) - 1
    shift = (np.floor(raw[:, :, number:] * 2.0**32) + 0.5) * 2.0**-32  # exact, so that no sum is rounded to 1
    return (keys + shift) / number
