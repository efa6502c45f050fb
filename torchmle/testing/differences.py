"""Differentiate a function by central differences, in steps that its own curvature sets."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..data.vectors import FloatArray

Function = Callable[[FloatArray], float]

FIRST, SECOND = 0.05, 0.1
"""Steps of the first and second differences, in units of :func:`units`."""


def units(function: Function, at: FloatArray) -> FloatArray:
    """Return for each coordinate the length over which the second difference of the function is about 1.

    For a log-likelihood near its maximum these are the standard errors of each parameter given the others. Only
    values of the function are used, so that a wrong derivative cannot hide itself.
    """
    middle = function(at)
    return np.array([_unit(function, at, middle, i) for i in range(len(at))])


def _unit(function: Function, at: FloatArray, middle: float, i: int) -> float:
    """Return the unit of one coordinate: the step is moved until the second difference lies in [0.01, 4]."""
    step = 1e-4 * max(abs(float(at[i])), 1e-4)
    for _ in range(60):
        curvature = abs(_moved(function, at, {i: step}) - 2 * middle + _moved(function, at, {i: -step}))
        if 0.01 <= curvature <= 4:
            return step / math.sqrt(curvature)
        step *= 5.0 if curvature < 0.01 else 0.3
    return step


def gradient(function: Function, at: FloatArray, unit: FloatArray) -> FloatArray:
    """Return the gradient in the given units, by differences of fourth order."""
    found = [_slope(function, at, i, FIRST * float(unit[i])) for i in range(len(at))]
    return np.array(found) / FIRST


def _slope(function: Function, at: FloatArray, i: int, h: float) -> float:
    """Return a first difference over one step, without its terms of third order."""
    far2, far1, near1, near2 = (_moved(function, at, {i: k * h}) for k in (-2, -1, 1, 2))
    return (8 * (near1 - far1) - (near2 - far2)) / 12


def hessian(function: Function, at: FloatArray, unit: FloatArray) -> FloatArray:
    """Return the Hessian in the given units, by differences of fourth order."""
    h, count = SECOND * unit, len(at)
    found = np.empty((count, count))
    middle = function(at)
    for i in range(count):
        wide, near = (
            _moved(function, at, {i: k * h[i]}) + _moved(function, at, {i: -k * h[i]}) - 2 * middle for k in (2, 1)
        )
        found[i, i] = (16 * near - wide) / 12
        for j in range(i):
            found[i, j] = found[j, i] = (4 * _cross(function, at, h, i, j, 1) - _cross(function, at, h, i, j, 2)) / 3
    return found / SECOND**2


def _cross(function: Function, at: FloatArray, h: FloatArray, i: int, j: int, k: int) -> float:
    """Return the mixed second difference over ``k`` steps each way."""
    total = 0.0
    for a in (-k, k):
        for b in (-k, k):
            total += math.copysign(1.0, a * b) * _moved(function, at, {i: a * h[i], j: b * h[j]})
    return total / (4 * k * k)


def _moved(function: Function, at: FloatArray, steps: dict[int, float]) -> float:
    """Return the function a few steps away; infinite where it cannot be evaluated."""
    there = at.copy()
    for i, step in steps.items():
        there[i] += step
    try:
        value = function(there)
    except ValueError:  # a parameter such as sigma left its range
        return math.inf
    return value if math.isfinite(value) else math.inf
