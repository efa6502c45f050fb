"""Sum a log-likelihood and its derivatives for many replicates at once: other weights, other responses, other points.

A replicate is a row of weights or of responses. Derivatives in the predictors are of shape (R, rows), and everything of
the size of the parameters is a product of matrices: with the column products ``P`` (rows, k (k+1) / 2) the Hessians of
all replicates are ``D P``, D the second derivatives times the weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..workers import derivatives_on
from .predictor import Predictor
from .tiles import ROW_TILE, ROWS, Cut, product, tiled

KEPT = 32_000_000
"""Bytes of column products that are kept between evaluations."""

WIDE = 16
"""Parameters beyond which blocks of repeated data are made smaller."""

Rows = slice | Tensor

StackedDensity = Callable[[Rows, list[Tensor], Tensor | None], Tensor]
"""Takes rows, their predictors (R, rows) or (R, 1), and responses (R, rows) or None; returns (R, rows) values."""


@dataclass(frozen=True)
class Stack:
    """Hold sums over rows for R replicates, in working parameters: (R,), (R, K) and (R, K, K)."""

    values: Tensor
    gradients: Tensor
    hessians: Tensor | None = None


class Replicates(ABC):
    """Evaluate replicates."""

    rows: int
    device: torch.device
    dtype: torch.dtype

    @abstractmethod
    def evaluate(self, working: Tensor, weights: Tensor | None, endog: Tensor | None, order: int) -> Stack:
        """Return the sums over all rows at the points (R, K), a point a replicate."""

    @abstractmethod
    def shared(self, working: Tensor, weights: Tensor) -> Stack:
        """Return the sums of replicates that differ in their weights only, at one point (K,)."""


class BlockedReplicates(Replicates):
    """Evaluate replicates by blocks of rows; a subclass says how one is evaluated."""

    params: int
    step: int

    @abstractmethod
    def block(self, working: Tensor, cut: Cut, weights: Tensor | None, endog: Tensor | None, order: int) -> Stack:
        """Return the sums over some rows, on the device."""

    @abstractmethod
    def at_one(self, working: Tensor, rows: slice) -> Tensor:
        """Return value, scores and packed Hessian of each row at one point, side by side: (rows, 1 + K + P)."""

    @abstractmethod
    def unpack(self, packed: Tensor) -> Tensor:
        """Return (R, K, K) Hessians of packed ones."""

    def evaluate(self, working: Tensor, weights: Tensor | None, endog: Tensor | None, order: int) -> Stack:
        """Return the sums over all rows at the points (R, K), a point a replicate."""
        at = working.to(self.device, self.dtype)
        total: Stack | None = None
        with derivatives_on(self.device):
            for cut in self.cuts():
                y = None if endog is None else endog[:, cut.index]
                part = self.block(at, cut, cut.weights(weights), y, order)
                total = part if total is None else _plus(total, part)
        assert total is not None
        return _on_host(total)

    def shared(self, working: Tensor, weights: Tensor) -> Stack:
        """Return the sums of replicates that differ in their weights only, at one point (K,): a product of matrices."""
        at = working.to(self.device, self.dtype)
        total: Tensor | None = None
        with derivatives_on(self.device):
            for cut in self.cuts():
                part = product(weights[:, cut.rows], self._known(at, cut.rows))
                total = part if total is None else total.add_(part)
        assert total is not None
        values, gradients, packed = total.tensor_split([1, 1 + self.params], 1)
        return _on_host(Stack(values[:, 0], gradients, self.unpack(packed)))

    def _known(self, at: Tensor, rows: slice) -> Tensor:
        """Return what each row gives at one point; many replicates begin at the same one."""
        memo: dict[int, tuple[Tensor, Tensor]] = self.__dict__.setdefault("_memo", {})
        kept = memo.get(rows.start)
        if kept is not None and torch.equal(kept[0], at):
            return kept[1]
        found = tiled(self.at_one(at, rows))
        if self.rows * found.shape[1] * 8 <= KEPT:
            memo[rows.start] = (at, found)
        return found

    def cuts(self) -> Iterator[Cut]:
        """Return the blocks of rows."""
        for start in range(0, self.rows, self.step):
            yield Cut(slice(start, min(start + self.step, self.rows)), self.device, self.dtype)


class PredictorReplicates(BlockedReplicates):
    """Evaluate replicates of a log-likelihood of linear predictors.

    A predictor that is a constant enters as (R, 1): the sum over its rows is left to autograd.

    Parameters
    ----------
    predictors : columns, shifts and known parts.
    density : the log-density, of which every argument may have a leading axis of replicates.
    flat : whether it repeats the data for each replicate, so that blocks have to be smaller where rows are wide.
    """

    def __init__(self, predictors: Sequence[Predictor], density: StackedDensity, flat: bool = False) -> None:
        self.predictors, self.density = list(predictors), density
        first = self.predictors[0].X
        self.rows, self.device, self.dtype = len(first), first.device, first.dtype
        self.sizes = [p.X.shape[1] for p in self.predictors]
        self.starts = [sum(self.sizes[:j]) for j in range(len(self.sizes) + 1)]
        self.params = self.starts[-1]
        self.step = max(ROW_TILE, ROWS // max(1, self.params // WIDE) // ROW_TILE * ROW_TILE) if flat else ROWS
        self.narrow = [j > 0 and _is_one(p) for j, p in enumerate(self.predictors)]

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """Return the rows and columns of the Hessian that packed products fill: its upper triangle, by block."""
        pairs = []
        for j, size in enumerate(self.sizes):
            pairs.append(torch.triu_indices(size, size, device=self.device) + self.starts[j])
            for i in range(j + 1, len(self.sizes)):
                grid = torch.cartesian_prod(torch.arange(size), torch.arange(self.sizes[i])).view(-1, 2).mT
                pairs.append(grid.to(self.device) + torch.tensor([[self.starts[j]], [self.starts[i]]]).to(self.device))
        joined = torch.cat(pairs, 1)
        return joined[0], joined[1]

    def unpack(self, packed: Tensor) -> Tensor:
        """Return (R, K, K) Hessians of packed ones; further columns do not count."""
        a, b = self._places
        out = packed.new_zeros(len(packed), self.starts[-1], self.starts[-1])
        out[:, a, b] = packed[:, : len(a)]
        out[:, b, a] = packed[:, : len(a)]
        return out

    def products(self, cut: Cut) -> dict[tuple[int, int], Tensor]:
        """Return the products of columns for each pair of predictors, tiled; kept where they are small."""
        memo: dict[int, dict[tuple[int, int], Tensor]] = self.__dict__.setdefault("_products", {})
        if cut.rows.start in memo:
            return memo[cut.rows.start]
        columns = [X[:, :k] for X, k in zip(self._columns(cut), self.sizes, strict=True)]
        found = {}
        for j, X in enumerate(columns):
            a, b = torch.triu_indices(X.shape[1], X.shape[1], device=self.device)
            found[j, j] = tiled(X[:, a] * X[:, b])
            for i in range(j + 1, len(columns)):
                found[j, i] = tiled((X[:, :, None] * columns[i][:, None, :]).flatten(1))
        if self.rows * sum(m.shape[1] for m in found.values()) * 8 <= KEPT:
            memo[cut.rows.start] = found
        return found

    def _columns(self, cut: Cut) -> list[Tensor]:
        return [cut.columns(p.columns(cut.rows)) for p in self.predictors]

    def _etas(self, working: Tensor, cut: Cut, columns: list[Tensor]) -> list[Tensor]:
        """Return the predictors of a block as new leaves, (R, rows), or (R, 1) for a constant."""
        out = []
        for j, b in enumerate(working.tensor_split(self.starts[1:-1], 1)):
            offset = self.predictors[j].offset
            eta = b.clone() if self.narrow[j] else product(b, columns[j].mT)
            out.append(eta if offset is None else eta.add_(offset[cut.index]))
        return [eta.requires_grad_() for eta in out]

    def block(self, working: Tensor, cut: Cut, weights: Tensor | None, endog: Tensor | None, order: int) -> Stack:
        """Return the sums over some rows."""
        columns = self._columns(cut)
        etas = self._etas(working, cut, columns)
        values = self.density(cut.index, etas, endog)
        each = (values if weights is None else values * weights).sum(1)
        first = _gradients(each.sum(), etas, create_graph=order > 1)
        sums = [
            d.detach() if n else product(d.detach(), X)[:, :k]
            for X, d, n, k in zip(columns, first, self.narrow, self.sizes, strict=True)
        ]
        hessians = self._hessians(cut, columns, etas, first) if order > 1 else None
        return Stack(each.detach(), torch.cat(sums, 1), hessians)

    def _hessians(self, cut: Cut, columns: list[Tensor], etas: list[Tensor], first: list[Tensor]) -> Tensor:
        """Return the (R, K, K) Hessians of a block: pairs of predictors with columns, then those with a constant."""
        packed: dict[tuple[int, int], Tensor] = {}
        wide = [j for j, narrow in enumerate(self.narrow) if not narrow]
        thin = [j for j, narrow in enumerate(self.narrow) if narrow]
        products = self.products(cut)
        for at, j in enumerate(wide):
            others = wide[at:]
            for i, d in zip(others, _gradients_of(first[j], [etas[i] for i in others]), strict=True):
                packed[j, i] = product(d, products[j, i])[:, : self._pairs(j, i)]
        for at, j in enumerate(thin):
            others = [*wide, *thin[at:]]
            for i, d in zip(others, _gradients_of(first[j], [etas[i] for i in others]), strict=True):
                packed[min(i, j), max(i, j)] = d if i in thin else product(d, columns[i])[:, : self.sizes[i]]
        size = range(len(self.sizes))
        return self.unpack(torch.cat([packed[j, i] for j in size for i in size if i >= j], 1))

    def _pairs(self, j: int, i: int) -> int:
        """Return how many numbers the Hessian of two predictors has."""
        return self.sizes[j] * (self.sizes[j] + 1) // 2 if i == j else self.sizes[j] * self.sizes[i]

    def at_one(self, working: Tensor, rows: slice) -> Tensor:
        """Return value, scores and packed Hessian of each row at one point."""
        columns = [p.columns(rows) for p in self.predictors]
        etas = []
        for p, X, b in zip(self.predictors, columns, working.tensor_split(self.starts[1:-1]), strict=True):
            eta = X @ b
            etas.append((eta if p.offset is None else eta + p.offset[rows]).detach().requires_grad_())
        values = self.density(rows, etas, None)
        first = _gradients(values.sum(), etas, create_graph=True)
        products, own = self.products(Cut(rows, self.device, self.dtype)), rows.stop - rows.start
        parts = [values.detach()[:, None], *(X * d.detach()[:, None] for X, d in zip(columns, first, strict=True))]
        for j, d in enumerate(first):
            for i, second in enumerate(_gradients_of(d, etas[j:]), j):
                parts.append(products[j, i][:own, : self._pairs(j, i)] * second[:, None])
        return torch.cat(parts, 1)


def _is_one(predictor: Predictor) -> bool:
    """Return whether a predictor is one number for all rows."""
    plain = predictor.X.shape[1] == 1 and predictor.offset is None and predictor.shift is None
    return plain and bool((predictor.X == 1).all())


def _gradients(total: Tensor, leaves: list[Tensor], create_graph: bool) -> list[Tensor]:
    found = torch.autograd.grad(total, leaves, create_graph=create_graph, allow_unused=True)
    return [torch.zeros_like(x) if d is None else d for d, x in zip(found, leaves, strict=True)]


def _gradients_of(first: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Return the second derivatives by row; zero where there is no path."""
    if not first.requires_grad:
        return [torch.zeros_like(x) for x in leaves]
    found = torch.autograd.grad(first.sum(), leaves, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if d is None else d.detach() for d, x in zip(found, leaves, strict=True)]


def _plus(a: Stack, b: Stack) -> Stack:
    hessians = a.hessians if b.hessians is None or a.hessians is None else a.hessians + b.hessians
    return Stack(a.values + b.values, a.gradients + b.gradients, hessians)


def _on_host(stack: Stack) -> Stack:
    """Return the sums in float64 on the CPU."""
    parts = [
        None if t is None else t.detach().to("cpu", torch.float64)
        for t in (stack.values, stack.gradients, stack.hessians)
    ]
    values, gradients, hessians = parts
    assert values is not None
    assert gradients is not None
    return Stack(values, gradients, hessians)
