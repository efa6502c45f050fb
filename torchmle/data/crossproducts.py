"""Sum the cross-products of a design in one pass, and judge exact collinearity on scaled columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..config import chunk_rows
from ..linalg import all_finite, scratch
from ..workers import map_ranges

COLLINEAR = 1e-10
"""A column is collinear when its QR residual norm on the others is below this share of its own norm."""

SURE = 1e-8
"""Squared residual share above which cross-products alone prove that a column is independent."""


@dataclass(frozen=True)
class CrossProducts:
    """Hold the moments of the columns of a design.

    ``gram`` is centred at ``mean`` where the design has a constant column (number ``constant``), and raw
    where it has none.
    """

    rows: int
    mean: Tensor
    gram: Tensor
    constant: int | None

    @cached_property
    def scale(self) -> Tensor:
        """Return each column's standard deviation (root mean square where there is no constant)."""
        scale = (self.gram.diagonal() / max(self.rows, 1)).sqrt()
        if self.constant is not None:
            scale = scale.clone()
            scale[self.constant] = self.mean[self.constant].abs()
        return torch.where(scale > 0, scale, torch.ones_like(scale))

    def keep(self, columns: list[int]) -> CrossProducts:
        """Return the moments of some of the columns."""
        at = torch.tensor(columns, dtype=torch.long, device="cpu")
        constant = columns.index(self.constant) if self.constant in columns else None
        return replace(self, mean=self.mean[at], gram=self.gram[at][:, at], constant=constant)


def cross_products(X: Tensor) -> CrossProducts:
    """Sum means and cross-products of ``X`` (n, k) about a shift near the mean, in one pass over the rows."""
    n, k = X.shape
    sample = X[:: max(1, n // 1000)]
    low, high = sample.aminmax(dim=0)
    shift = torch.where(low == high, low, sample.mean(0))

    step = chunk_rows(k, X.device, X.element_size())

    def work(start: int, stop: int) -> tuple[Tensor, Tensor]:
        sums = torch.zeros(k, k + 1, dtype=X.dtype, device=X.device)
        for a in range(start, stop, step):
            part = X[a : min(a + step, stop)]
            Z = scratch(part, k + 1)
            torch.sub(part, shift, out=Z[:, :k])
            Z[:, k] = 1.0
            sums += (Z[:, :k].mT @ Z)[:, : k + 1]
        return sums[:, k], sums[:, :k]

    parts = map_ranges(work, n, step, X.device)
    total = sum((p[0].cpu().double() for p in parts[1:]), parts[0][0].cpu().double())
    gram = sum((p[1].cpu().double() for p in parts[1:]), parts[0][1].cpu().double())
    return _centre(n, shift.cpu().double(), total, gram)


def _centre(n: int, shift: Tensor, total: Tensor, gram: Tensor) -> CrossProducts:
    """Move the cross-products from the shift to the mean, or to zero where there is no constant."""
    constants = ((gram.diagonal() == 0) & (shift != 0)).nonzero().flatten().tolist()
    mean = shift + total / n
    if constants:
        return CrossProducts(n, mean, gram - torch.outer(total, total) / n, constants[0])
    raw = gram + torch.outer(shift, total) + torch.outer(total, shift) + n * torch.outer(shift, shift)
    return CrossProducts(n, mean, raw, None)


@dataclass(frozen=True)
class Dependence:
    """Name a column to drop and the columns of which it is an exact linear combination."""

    column: int
    others: tuple[int, ...]


def find_collinear(X: Tensor, cross: CrossProducts) -> list[Dependence]:
    """List the columns to drop so that the rest are linearly independent.

    Column by column, the residual norm of a QR decomposition on the earlier ones is held against the
    column's own norm, centred where there is a constant. Of the columns of an exact relation the last is
    dropped. Cross-products alone decide where they can: a pivot of their Cholesky factor is the square of
    that share.
    """
    if _certainly_independent(cross):
        return []
    found: list[Dependence] = []
    kept = list(range(X.shape[1]))
    triangle = _Triangle.of(X, cross.constant, cross.mean)
    while (dependence := triangle.first_dependence(kept)) is not None:
        found.append(dependence)
        kept.remove(dependence.column)
        if dependence.column == triangle.constant:  # without its constant the design is no longer centred
            triangle = _Triangle.of(X, None, cross.mean)
    return found


def _certainly_independent(cross: CrossProducts) -> bool:
    free = [j for j in range(len(cross.mean)) if j != cross.constant]
    if not free:
        return bool((cross.mean != 0).all())
    gram = cross.gram[1:, 1:] if cross.constant == 0 else cross.gram[free][:, free]
    scale = gram.diagonal().sqrt()
    if not float(scale.min()) > 0 or not all_finite(gram):
        return False
    factor, info = torch.linalg.cholesky_ex(gram / torch.outer(scale, scale))
    return int(info) == 0 and float(factor.diagonal().min()) ** 2 > SURE


@dataclass(frozen=True)
class _Triangle:
    """Hold R of a QR decomposition of the standardised columns, with the means in the same units."""

    R: Tensor
    mean: Tensor
    constant: int | None

    @classmethod
    def of(cls, X: Tensor, constant: int | None, mean: Tensor) -> _Triangle:
        """Decompose chunk by chunk, in bounded memory."""
        k = X.shape[1]
        centre = torch.zeros_like(mean) if constant is None else mean.clone()
        if constant is not None:
            centre[constant] = 0.0
        shift = centre.to(X)
        scale = torch.maximum(X.amax(0) - shift, shift - X.amin(0))  # squares of large values would overflow
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        R = torch.zeros(0, k, dtype=X.dtype, device=X.device)
        step = max(4 * k, chunk_rows(k, X.device, X.element_size()))
        for a in range(0, X.shape[0], step):
            R = torch.linalg.qr(torch.cat([R, (X[a : a + step] - shift) / scale]), mode="r").R
        return cls(R.cpu().double(), mean / scale.cpu().double(), constant)

    def first_dependence(self, kept: list[int]) -> Dependence | None:
        """Return the first column, the constant apart, that the ones before it explain."""
        front = [self.constant] if self.constant in kept and self.constant is not None else []
        order = front + [j for j in kept if j not in front]
        columns = self.R[:, order]
        R = torch.linalg.qr(columns, mode="r").R
        for j, norm in enumerate(columns.norm(dim=0).tolist()):
            residual = float(R[j, j].abs()) if j < len(R) else 0.0
            if residual <= COLLINEAR * norm:
                members = self._members(order, columns, j, norm)
                return Dependence(max(members), tuple(sorted(members - {max(members)})))
        return None

    def _members(self, order: list[int], columns: Tensor, j: int, norm: float) -> set[int]:
        """Return the columns of the exact relation that column ``order[j]`` closes, itself included."""
        weights = torch.linalg.lstsq(columns[:, :j], columns[:, j : j + 1], driver="gelsd").solution[:, 0]
        shares = weights.abs() * columns[:, :j].norm(dim=0)
        members = {order[i] for i, share in enumerate(shares.tolist()) if share > 1e-6 * norm}
        if self.constant is not None:  # centring hid the part of the constant
            level = self.mean[order[j]] - (weights * self.mean[order[:j]]).sum()
            if float(level.abs()) > 1e-6:
                members.add(self.constant)
        return members | {order[j]}
