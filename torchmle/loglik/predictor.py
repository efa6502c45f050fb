"""Aggregate a log-likelihood of linear predictors: derivatives per row by autograd, the rest by matrix products.

With ``eta_j = X_j b_j + offset_j`` the score is ``s_j = X_j' (dl/deta_j)`` and the Hessian has the blocks
``H_jk = X_j' diag(d2l / deta_j deta_k) X_k``. Only plain reverse mode over vectors of length n is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..config import chunk_rows
from .check import check_returned
from .objective import Chunk, Objective
from .products import sum_products

Density = Callable[[slice | Tensor, list[Tensor]], Tensor]
"""Takes the rows (a slice or an index) and their predictors; returns (rows,) log-likelihoods."""


@dataclass(frozen=True)
class Predictor:
    """Hold the columns of one predictor, a shift to take off them, and a known offset."""

    X: Tensor
    shift: Tensor | None = None
    offset: Tensor | None = None

    def columns(self, rows: slice) -> Tensor:
        """Return the (possibly centred) columns of some rows."""
        X = self.X[rows]
        return X if self.shift is None else X - self.shift

    def take(self, index: Tensor) -> Predictor:
        """Return the predictor of some of the rows."""
        return replace(self, X=self.X[index], offset=None if self.offset is None else self.offset[index])


class PredictorObjective(Objective):
    """Sum a log-likelihood over rows through its linear predictors."""

    def __init__(
        self,
        predictors: Sequence[Predictor],
        density: Density,
        weights: Tensor | None = None,
        index: Tensor | None = None,
        what: str = "logdensity",
    ) -> None:
        self.predictors = list(predictors)
        self.density = density
        self.weights = weights
        self.index = index
        self.what = what
        first = self.predictors[0].X
        self.rows, self.device, self.dtype = len(first), first.device, first.dtype
        self.sizes = [p.X.shape[1] for p in self.predictors]
        self.cuts = [sum(self.sizes[:j]) for j in range(1, len(self.sizes))]
        self.chunk = chunk_rows(sum(self.sizes), self.device, first.element_size())

    def take(self, index: Tensor) -> PredictorObjective:
        """Return the objective of some of the rows."""
        inner = index if self.index is None else self.index[index]
        weights = None if self.weights is None else self.weights[index]
        return PredictorObjective([p.take(index) for p in self.predictors], self.density, weights, inner, self.what)

    def etas(self, columns: Sequence[Tensor], working: Tensor, rows: slice) -> list[Tensor]:
        """Return the predictors of some rows as new leaves."""
        out = []
        for p, X, b in zip(self.predictors, columns, working.tensor_split(self.cuts), strict=True):
            eta = X @ b
            out.append(eta if p.offset is None else eta.add_(p.offset[rows]))
        return out

    def _density(self, rows: slice, etas: list[Tensor]) -> Tensor:
        values = self.density(rows if self.index is None else self.index[rows], etas)
        return check_returned(values, len(etas[0]), self.what)

    def row_values(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the log-likelihoods of some rows."""
        rows = slice(start, stop)
        return self._density(rows, self.etas([p.columns(rows) for p in self.predictors], working, rows))

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the scores of some rows."""
        rows = slice(start, stop)
        columns = [p.columns(rows) for p in self.predictors]
        etas = [e.requires_grad_() for e in self.etas(columns, working, rows)]
        first = first_derivatives(self._density(rows, etas).sum(), etas, create_graph=False)
        return torch.cat([X * d[:, None] for X, d in zip(columns, first, strict=True)], 1)

    def row_products(self, working: Tensor, start: int, stop: int, power: int, root: Tensor | None) -> Tensor:
        """Return ``sum w^power s s'`` over some rows, without forming the scores."""
        if root is not None:
            return super().row_products(working, start, stop, power, root)
        rows = slice(start, stop)
        columns = [p.columns(rows) for p in self.predictors]
        etas = [e.requires_grad_() for e in self.etas(columns, working, rows)]
        first = first_derivatives(self._density(rows, etas).sum(), etas, create_graph=False)
        scaled = first if self.weights is None else [d * self.weights[rows] ** power for d in first]
        second = [[d * e for e in scaled[j:]] for j, d in enumerate(first)]
        return sum_products(columns, first, second).hessian

    def row_derivatives(
        self, working: Tensor, rows: slice
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Sequence[Tensor | None]]]:
        """Return columns, predictors, and first and second derivatives in the predictors, of some rows, unweighted.

        The second derivatives of predictor j are those with the predictors j, j+1, ...; None stands for zero.
        """
        columns = [p.columns(rows) for p in self.predictors]
        etas = [e.requires_grad_() for e in self.etas(columns, working, rows)]
        first = first_derivatives(self._density(rows, etas).sum(), etas, create_graph=True)
        second = [second_derivatives(d, etas[j:], last=j == len(etas) - 1) for j, d in enumerate(first)]
        return columns, [e.detach() for e in etas], [d.detach() for d in first], second

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over some rows."""
        rows = slice(start, stop)
        columns = [p.columns(rows) for p in self.predictors]
        etas = self.etas(columns, working, rows)
        if order == 0:
            with torch.no_grad():
                return Chunk(self._weighted_sum(self._density(rows, etas), rows), None, None)
        etas = [e.requires_grad_() for e in etas]
        total = self._weighted_sum(self._density(rows, etas), rows)
        first = first_derivatives(total, etas, create_graph=order > 1)
        if order == 1:
            return Chunk(total, torch.cat([X.mT @ d for X, d in zip(columns, first, strict=True)]), None)
        second = [second_derivatives(d, etas[j:], last=j == len(etas) - 1) for j, d in enumerate(first)]
        sums = sum_products(columns, [d.detach() for d in first], second)
        return Chunk(total, sums.gradient, sums.hessian)

    def _weighted_sum(self, values: Tensor, rows: slice) -> Tensor:
        return values.sum() if self.weights is None else values @ self.weights[rows]


def first_derivatives(total: Tensor, etas: list[Tensor], create_graph: bool) -> list[Tensor]:
    """Return dl/deta_j for each predictor; zero where the log-likelihood does not use it.

    Derivatives are those of sums: with ``grad_outputs`` instead, torch would first import a third of a second of sympy.
    """
    found = torch.autograd.grad(total, etas, create_graph=create_graph, allow_unused=True)
    return [torch.zeros_like(e) if d is None else d for d, e in zip(found, etas, strict=True)]


def second_derivatives(first: Tensor, etas: list[Tensor], last: bool) -> Sequence[Tensor | None]:
    """Return d2l / deta_j deta_i for i = j, ..., by row: rows do not share predictors."""
    if not first.requires_grad:
        return [None] * len(etas)
    found = torch.autograd.grad(first.sum(), etas, retain_graph=not last, allow_unused=True)
    return list(found)
