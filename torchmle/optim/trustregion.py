"""Model a function by its second-order expansion, and minimise the model within a radius."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from ..linalg import symmetric
from .base import Evaluation, scaled_gradient

FLOOR = 1e-8
"""Curvature, relative to the largest, below which a direction counts as having this much."""


@dataclass(frozen=True)
class Step:
    """Hold a step, the fall that the model promises, and whether it is the minimum of the model."""

    move: Tensor
    gain: float
    full: bool

    @functools.cached_property
    def length(self) -> float:
        """Return the length of the step in comparable units."""
        return float(self.move.norm())


class Quadratic:
    """Hold the second-order expansion of a function at a point where value and derivatives are finite.

    Attributes
    ----------
    exact : whether the Hessian is positive definite, so that the model has a minimum.
    decrement : ``g' H^-1 g``; where the Hessian is not positive definite, with the absolute values of its eigenvalues.
    """

    def __init__(self, at: Evaluation) -> None:
        assert at.gradient is not None
        assert at.hessian is not None
        self.gradient, self.hessian = at.gradient, at.hessian
        decrement, factor = scaled_gradient(at)
        self.exact = factor is not None
        self.newton = None if at.descent is None else -at.descent
        self.decrement = decrement if self.exact else self._absolute_decrement()

    def _absolute_decrement(self) -> float:
        scale = self.hessian.diagonal().abs().sqrt()
        largest = float(scale.max()) or 1.0
        scale = torch.where(scale > FLOOR * largest, scale, torch.full_like(scale, largest))
        values, vectors = torch.linalg.eigh(symmetric(self.hessian) / torch.outer(scale, scale))
        slopes = vectors.mT @ (self.gradient / scale)
        return float((slopes.square() / _floored(values)).sum())

    @functools.cached_property
    def _eigen(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return eigenvalues, eigenvectors, and the gradient along these."""
        values, vectors = torch.linalg.eigh(symmetric(self.hessian))
        return values, vectors, vectors.mT @ self.gradient

    @functools.cached_property
    def reach(self) -> float:
        """Return the length of the full step; without a minimum, of that with absolute eigenvalues."""
        if self.newton is not None:
            return float(self.newton.norm())
        values, _, slopes = self._eigen
        length = float((slopes / _floored(values)).norm())
        return length if length > 1e-6 else 1.0

    def step(self, radius: float) -> Step:
        """Return the minimum of the model among steps no longer than ``radius`` (More and Sorensen 1983)."""
        if self.newton is not None and self.reach <= radius:
            return Step(self.newton, self.decrement / 2, True)
        values, vectors, slopes = self._eigen
        along = within(values, slopes, radius)
        gain = -float(slopes @ along + 0.5 * (values * along.square()).sum())
        return Step(vectors @ along, gain, False)


def _floored(values: Tensor) -> Tensor:
    size = values.abs()
    largest = float(size.max())
    return size.clamp(min=FLOOR * largest if largest > 0 else 1.0)


def within(values: Tensor, slopes: Tensor, radius: float) -> Tensor:
    """Return the z no longer than ``radius`` that minimises ``slopes' z + z' diag(values) z / 2``; values ascend.

    It is ``-slopes / (values + shift)`` with the smallest shift that makes it short enough. Where no shift makes it
    long enough (the slope along the lowest curvature is zero, as at a saddle), the rest of the length goes there.
    """
    unit = max(float(values.abs().max()), float(slopes.abs().max()))
    if unit == 0.0:
        return torch.zeros_like(slopes)
    values, slopes = values / unit, slopes / unit  # squares neither overflow nor vanish
    lowest = float(values[0])
    least = max(0.0, -lowest)
    inner = values + least > 1e-14
    short = torch.where(inner, -slopes / torch.where(inner, values + least, torch.ones_like(values)), 0.0)
    size = float(short.norm())
    if size <= radius and not bool((slopes[~inner].abs() > max(1e-14 * float(slopes.norm()), 1e-100)).any()):
        if lowest >= 0:  # a flat direction is no reason to move
            return short
        short[0] += (radius**2 - size**2) ** 0.5 * (-1.0 if float(slopes[0]) > 0 else 1.0)
        return short
    above = values + least
    return -slopes / (above + _shift(above, slopes, radius))


def _shift(above: Tensor, slopes: Tensor, radius: float) -> float:
    """Return the shift of curvatures that are not negative, by Newton's method on one over the length, in a bracket.

    The lowest curvature is taken off before, so that a shift near its pole keeps its digits.
    """
    low, high = 0.0, float(slopes.norm()) / radius
    shift = high
    for _ in range(200):
        bent = above + shift
        along = slopes / bent
        size = float(along.norm())
        if abs(size - radius) <= 1e-6 * radius or high - low <= 1e-15 * high:
            break
        low, high = (shift, high) if size > radius else (low, shift)
        fall = float((along.square() / bent).sum()) / size**2
        shift = shift + (size / radius - 1.0) / fall
        if not low < shift < high:
            shift = (low * high) ** 0.5 if low > 0 else 1e-3 * high
    return shift
