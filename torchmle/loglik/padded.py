"""Evaluate one log-density on many sets of rows at once: each with parameters, and maybe responses, of its own.

Sets are padded to one length with rows of weight zero, copies of one of their own, so that everything is a product of
stacked matrices. Where all sets have the same columns, these are kept once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..workers import derivatives_on
from .replicates import Stack

SetDensity = Callable[[Tensor, list[Tensor], Tensor | None], Tensor]
"""Takes rows (G, m), their predictors (G, m), and responses (G, m) or None; returns (G, m) values."""


@dataclass(frozen=True, eq=False)
class Sets:
    """Hold G sets of m rows.

    Attributes
    ----------
    rows : (G, m) positions; the padding repeats a row of its set.
    weights : (G, m), zero in the padding.
    columns : by predictor, (G, m, k_j), or (1, m, k_j) where all sets have the same rows.
    offsets : by predictor, (G, m) or None.
    endog : (G, m) responses, or None for those of the model.
    density : the log-density.
    """

    rows: Tensor
    weights: Tensor
    columns: tuple[Tensor, ...]
    offsets: tuple[Tensor | None, ...]
    endog: Tensor | None
    density: SetDensity

    @property
    def count(self) -> int:
        """Return how many sets there are."""
        return len(self.rows)

    @property
    def params(self) -> int:
        """Return how many parameters each has."""
        return sum(X.shape[2] for X in self.columns)

    def some(self, which: Tensor) -> Sets:
        """Return some of the sets."""
        at = which.to(self.rows.device)
        columns = tuple(X if self._shared(X) else X[at] for X in self.columns)
        offsets = tuple(None if o is None else o[at] for o in self.offsets)
        endog = None if self.endog is None else self.endog[at]
        return replace(
            self, rows=self.rows[at], weights=self.weights[at], columns=columns, offsets=offsets, endog=endog
        )

    def evaluate(self, points: Tensor, order: int) -> Stack:
        """Return the log-likelihoods of the sets at their points (G, K), with derivatives."""
        with derivatives_on(self.rows.device):
            values, first, second = self._by_row(points, order)
            w = self.weights
            gradients = torch.cat([self._sums(X, d * w) for X, d in zip(self.columns, first, strict=True)], 1)
            hessians = self._products({pair: d * w for pair, d in second.items()}) if order > 1 else None
        return _on_host(Stack((values * w).sum(1), gradients, hessians))

    def squares(self, points: Tensor, power: int) -> Tensor:
        """Return the (G, K, K) sums of ``w^power s s'``."""
        with derivatives_on(self.rows.device):
            _, first, _ = self._by_row(points, 1)
            w, pairs = self.weights**power, [(j, i) for j in range(len(first)) for i in range(j, len(first))]
            found = self._products({(j, i): first[j] * first[i] * w for j, i in pairs})
        return found.to("cpu", torch.float64)

    def highest(self, points: Tensor) -> Tensor:
        """Return by set the log-likelihood of the row that is nearest to certain, per unit of weight below one."""
        with derivatives_on(self.rows.device), torch.no_grad():
            values = self.density(self.rows, self._etas(points), self.endog)
            scaled = values * self.weights.clamp(max=1.0)
            counted = torch.where(self.weights > 0, scaled, torch.full_like(values, -torch.inf))
        return counted.amax(1).to("cpu", torch.float64)

    @staticmethod
    def _shared(X: Tensor) -> bool:
        return X.shape[0] == 1

    def _etas(self, points: Tensor) -> list[Tensor]:
        at = points.to(self.rows.device)
        cuts = list(itertools.accumulate(X.shape[2] for X in self.columns))[:-1]
        out = []
        for X, b, offset in zip(self.columns, at.tensor_split(cuts, 1), self.offsets, strict=True):
            eta = b @ X[0].mT if self._shared(X) else (X @ b[:, :, None])[:, :, 0]
            out.append(eta if offset is None else eta + offset)
        return out

    def _by_row(self, points: Tensor, order: int) -> tuple[Tensor, list[Tensor], dict[tuple[int, int], Tensor]]:
        """Return values and derivatives in the predictors, (G, m) each, the padding included."""
        etas = [eta.detach().requires_grad_() for eta in self._etas(points)]
        values = self.density(self.rows, etas, self.endog)
        first = torch.autograd.grad(values.sum(), etas, create_graph=order > 1, allow_unused=True)
        known = [torch.zeros_like(e) if d is None else d for d, e in zip(first, etas, strict=True)]
        second = {}
        for j, d in enumerate(known if order > 1 else []):
            for i, value in enumerate(_again(d, etas[j:]), j):
                second[j, i] = value
        return values.detach(), [d.detach() for d in known], second

    def _sums(self, X: Tensor, d: Tensor) -> Tensor:
        """Return ``X'd`` by set."""
        return d @ X[0] if self._shared(X) else (d[:, None, :] @ X)[:, 0]

    def _products(self, weights: dict[tuple[int, int], Tensor]) -> Tensor:
        """Return the (G, K, K) matrices of blocks ``X_j' diag(w_ji) X_i``."""
        blocks: list[list[Tensor]] = [[torch.empty(0)] * len(self.columns) for _ in self.columns]
        for (j, i), w in weights.items():
            Xj, Xi = self.columns[j], self.columns[i]
            if self._shared(Xj):
                block = (w @ self._outer[j, i]).view(len(w), Xj.shape[2], Xi.shape[2])
            else:
                block = Xj.mT @ (Xi * w[:, :, None])
            blocks[j][i], blocks[i][j] = block, block.mT
        return torch.cat([torch.cat(row, 2) for row in blocks], 1)

    @cached_property
    def _outer(self) -> dict[tuple[int, int], Tensor]:
        """Return the products of shared columns, (m, k_j k_i)."""
        X = [x[0] for x in self.columns]
        size = range(len(X))
        return {(j, i): (X[j][:, :, None] * X[i][:, None, :]).flatten(1) for j in size for i in size if i >= j}


def _again(first: Tensor, etas: list[Tensor]) -> list[Tensor]:
    """Return the second derivatives by row; zero where there is no path."""
    if not first.requires_grad:
        return [torch.zeros_like(e) for e in etas]
    found = torch.autograd.grad(first.sum(), etas, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(e) if d is None else d.detach() for d, e in zip(found, etas, strict=True)]


def _on_host(stack: Stack) -> Stack:
    values, gradients = (t.detach().to("cpu", torch.float64) for t in (stack.values, stack.gradients))
    hessians = None if stack.hessians is None else stack.hessians.detach().to("cpu", torch.float64)
    return Stack(values, gradients, hessians)


# ---- columns in comparable units


def standardised(X: Tensor, own: Tensor, constant: int | None) -> tuple[Tensor, Tensor]:
    """Return the columns of sets (G, m, k) less their means over their standard deviations, and the (G, k, k) maps
    from coefficients of these to those of the columns as they were.

    Parameters
    ----------
    own : (G, m) mask of the rows that are not padding.
    constant : position of the constant, which takes up the means; None leaves the columns where they are.
    """
    share = own.to(X) / own.sum(1, keepdim=True).clamp(min=1)
    mean = (X * share[:, :, None]).sum(1)
    if constant is None:
        mean = torch.zeros_like(mean)
    else:
        level = mean[:, constant].clone()
        mean[:, constant] = 0.0
    spread = ((X - mean[:, None]).square() * share[:, :, None]).sum(1).sqrt()
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    if constant is not None:
        spread[:, constant] = 1.0
    maps = torch.diag_embed(1 / spread)
    if constant is not None:
        maps[:, constant] -= mean / spread / level[:, None]
    return (X - mean[:, None]) / spread[:, None], maps
