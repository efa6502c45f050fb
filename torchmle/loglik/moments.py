"""Hold the additive sums from which estimates, covariances and tests come."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..linalg import all_finite


@dataclass(frozen=True)
class Moments:
    """Hold sums over rows: log-likelihood, gradient and Hessian, in float64 on the CPU.

    They add up over chunks, files and machines.
    """

    llf: float
    gradient: Tensor | None = None
    hessian: Tensor | None = None

    @property
    def finite(self) -> bool:
        """Return whether every number is finite."""
        parts = (self.gradient, self.hessian)
        return math.isfinite(self.llf) and all(all_finite(p) for p in parts if p is not None)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.llf + other.llf, _plus(self.gradient, other.gradient), _plus(self.hessian, other.hessian))


def _plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b


def add(parts: Iterable[Moments]) -> Moments:
    """Return the sum of the moments of disjoint rows, one at a time: kept ones would split the memory of the next."""
    left = iter(parts)
    total = next(left)
    for part in left:
        total = total + part
    return total


_HOST = torch.device("cpu")


def to_host(tensor: Tensor) -> Tensor:
    """Return a tensor in float64 on the CPU, where everything of dimension K happens."""
    return tensor.detach().to(_HOST, torch.float64)
