"""Define what the rest of the engine asks of a log-likelihood, and run it over row chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..workers import derivatives_on, map_ranges
from .moments import Moments, add, to_host


@dataclass(frozen=True)
class Chunk:
    """Hold the derivatives of some rows: their log-likelihoods and what is needed to go on."""

    llf: Tensor
    gradient: Tensor | None
    hessian: Tensor | None


@dataclass(frozen=True)
class _Known:
    """Hold the moments at one point: starts are evaluated twice, to be checked and to be left."""

    working: Tensor
    order: int
    moments: Moments


class Objective(ABC):
    """Sum a log-likelihood and its derivatives over rows, in working parameters.

    A subclass evaluates one range of rows; this class cuts the rows into chunks, spreads them over worker
    threads and adds up. Weights multiply the rows here and nowhere else.
    """

    rows: int
    chunk: int
    device: torch.device
    dtype: torch.dtype
    weights: Tensor | None = None
    separable: bool = True
    noise: float = 0.0  # relative rounding of a row's value that the data bring along
    engine: str = "derivatives by row with respect to the linear predictors, then matrix products"
    _known: _Known | None = None

    @abstractmethod
    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over the rows ``start:stop`` up to the derivative ``order`` (0, 1 or 2)."""

    @abstractmethod
    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the unweighted (rows, K) scores of the rows ``start:stop``."""

    @abstractmethod
    def row_values(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the unweighted (rows,) log-likelihoods of the rows ``start:stop``."""

    @abstractmethod
    def take(self, index: Tensor) -> Objective:
        """Return the objective of some of the rows."""

    def moments(self, working: Tensor, order: int = 2) -> Moments:
        """Return the log-likelihood with its derivatives up to ``order`` on all rows; the last answer is remembered."""
        known = self._known
        if known is None or known.order < order or not torch.equal(known.working, working):
            known = self._known = _Known(working.detach().clone(), order, self.sum_moments(working, order))
        found = known.moments
        return Moments(found.llf, found.gradient if order else None, found.hessian if order > 1 else None)

    def sum_moments(self, working: Tensor, order: int) -> Moments:
        """Return the log-likelihood with its derivatives, summed over chunks and workers."""
        at = working.to(self.device, self.dtype)

        if self.rows <= self.chunk:
            with derivatives_on(self.device):
                return _to_moments(self.derivatives(at, 0, self.rows, order))

        def work(start: int, stop: int) -> Moments:
            with derivatives_on(self.device):
                return add(_to_moments(self.derivatives(at, a, b, order)) for a, b in self._cuts(start, stop))

        return add(map_ranges(work, self.rows, self.chunk, self.device))

    def outer_products(self, working: Tensor, power: int, root: Tensor | None = None) -> Tensor:
        """Return ``sum w^power s s'`` in float64, K x K; of the scores ``R^-T s`` where a root R is given."""

        at = working.to(self.device, self.dtype)

        def work(start: int, stop: int) -> Tensor:
            with derivatives_on(self.device):
                first, *others = self._cuts(start, stop)
                total = to_host(self.row_products(at, *first, power, root))
                for a, b in others:
                    total = total + to_host(self.row_products(at, a, b, power, root))
                return total

        return torch.stack(map_ranges(work, self.rows, self.chunk, self.device)).sum(0)

    def row_products(self, working: Tensor, start: int, stop: int, power: int, root: Tensor | None) -> Tensor:
        """Return ``sum w^power s s'`` over some rows."""
        scores = _whitened(self.row_scores(working, start, stop).detach(), root)
        weighted = scores if self.weights is None else scores * (self.weights[start:stop] ** power)[:, None]
        return scores.mT @ weighted

    def group_scores(self, working: Tensor, codes: Tensor, count: int, root: Tensor | None = None) -> Tensor:
        """Return the (count, K) sums of weighted scores by group; of ``R^-T s`` where a root R is given."""
        at, codes = working.to(self.device, self.dtype), codes.to(self.device)

        def work(start: int, stop: int) -> Tensor:
            total: Tensor | None = None
            with derivatives_on(self.device):
                for a, b in self._cuts(start, stop):
                    scores = _whitened(self.row_scores(at, a, b).detach(), root)
                    weighted = scores if self.weights is None else scores * self.weights[a:b, None]
                    if total is None:  # how many columns there are is known from the first scores
                        total = torch.zeros(count, scores.shape[1], dtype=self.sum_dtype, device=self.device)
                    total.index_add_(0, codes[a:b], weighted.to(total.dtype))
            assert total is not None
            return total

        first, *rest = map_ranges(work, self.rows, self.chunk, self.device)
        for part in rest:
            first.add_(part)
        return to_host(first)

    def scores(self, working: Tensor) -> Tensor:
        """Return the unweighted (rows, K) scores."""
        at = working.to(self.device, self.dtype)

        def work(start: int, stop: int) -> list[Tensor]:
            with derivatives_on(self.device):
                return [to_host(self.row_scores(at, a, b)) for a, b in self._cuts(start, stop)]

        parts = map_ranges(work, self.rows, self.chunk, self.device)
        return torch.cat([scores for part in parts for scores in part])

    def values(self, working: Tensor) -> Tensor:
        """Return the unweighted (rows,) log-likelihoods."""
        at = working.to(self.device, self.dtype)

        def work(start: int, stop: int) -> list[Tensor]:
            with derivatives_on(self.device), torch.no_grad():
                return [self.row_values(at, a, b).detach() for a, b in self._cuts(start, stop)]

        parts = map_ranges(work, self.rows, self.chunk, self.device)
        return torch.cat([values for part in parts for values in part])

    @property
    def sum_dtype(self) -> torch.dtype:
        """Return the dtype in which sums over rows are kept: float64 wherever there is one."""
        return self.dtype if self.device.type == "mps" else torch.float64

    def _cuts(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        for a in range(start, stop, self.chunk):
            yield a, min(a + self.chunk, stop)


def _to_moments(chunk: Chunk) -> Moments:
    return Moments(
        float(chunk.llf.detach()),
        None if chunk.gradient is None else to_host(chunk.gradient),
        None if chunk.hessian is None else to_host(chunk.hessian),
    )


def _whitened(scores: Tensor, root: Tensor | None) -> Tensor:
    """Return the rows ``s' R^-1``: products of ill-conditioned columns are formed after this, not before."""
    return scores if root is None else torch.linalg.solve_triangular(root.to(scores), scores, upper=True, left=False)
