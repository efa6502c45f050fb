"""Map many points at once between the parameters that users see and those in which fits are done."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .map import ParamMap


@dataclass(frozen=True, eq=False)
class StackedMap:
    """Be a :class:`ParamMap` for points in rows, (R, F); what is linear is one product of matrices.

    Tensors are float64 on the CPU. Only the transforms of an opaque model are evaluated point by point.
    """

    one: ParamMap

    @cached_property
    def _inner(self) -> Tensor:
        return self.one.inner_jacobian()

    def working(self, gammas: Tensor) -> Tensor:
        """Return the (R, K) parameters that the engine evaluates."""
        one = self.one
        full = gammas if one.basis is None or one.origin is None else one.origin + _each(gammas, one.basis.mT)
        inner = full / one.scale
        return inner if one.curve is None else torch.stack([one.curve.forward(row) for row in inner])

    def pull_gradient(self, gradients: Tensor, gammas: Tensor) -> Tensor:
        """Return (R, F) gradients for those with respect to the working parameters."""
        if self.one.is_scaling:
            return gradients / self.one.scale
        if self.one.curve is None:
            return _each(gradients, self._inner)
        return torch.stack([self.one.pull_gradient(g, x) for g, x in zip(gradients, gammas, strict=True)])

    def pull_hessian(self, hessians: Tensor, gradients: Tensor, gammas: Tensor) -> Tensor:
        """Return (R, F, F) Hessians for derivatives with respect to the working parameters."""
        if self.one.is_scaling:
            return hessians / torch.outer(self.one.scale, self.one.scale)
        if self.one.curve is None:
            inner = self._inner.expand(len(hessians), -1, -1)
            return torch.bmm(torch.bmm(inner.mT, hessians), inner)
        rows = zip(hessians, gradients, gammas, strict=True)
        return torch.stack([self.one.pull_hessian(h, g, x) for h, g, x in rows])

    def theta(self, gammas: Tensor) -> Tensor:
        """Return the (R, K) reported parameters; NaN for points that are not finite."""
        known = torch.isfinite(gammas).all(1)
        out = torch.full((len(gammas), len(self.one.names)), torch.nan, dtype=torch.float64, device="cpu")
        working = self.working(gammas[known]) if bool(known.any()) else out[:0]
        link = working if self.one.uncentre is None else _each(working, self.one.uncentre.mT)
        for i, value in self.one.held.items():
            link[:, i] = value
        theta = link.clone()
        for i, natural in self.one.naturals.items():
            theta[:, i] = natural.transform(link[:, i])
        out[known] = theta
        return out


def _each(points: Tensor, matrix: Tensor) -> Tensor:
    """Return ``points @ matrix`` row by row, so that no row's bits depend on how many there are."""
    return torch.bmm(points[:, None, :], matrix.expand(len(points), -1, -1))[:, 0]
