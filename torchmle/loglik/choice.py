"""Aggregate the log-likelihood of conditional logits: one softmax over the alternatives of each choice situation.

With ``d_j = 1{j chosen} - P_j`` the score is ``sum_j x_j d_j`` and the Hessian ``-sum_j P_j (x_j - xbar)(x_j - xbar)'``
with ``xbar = sum_j P_j x_j`` (McFadden 1974; Train 2009, section 3.7).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..config import chunk_rows
from ..errors import LikelihoodError
from .objective import Chunk, Objective


@dataclass(frozen=True, eq=False)
class Choices:
    """Hold S choice situations with J alternatives at most.

    Attributes
    ----------
    X : (S, J, K) attributes; anything finite where an alternative is not available.
    chosen : (S,) position of the chosen alternative.
    available : (S, J) bool, or None where all are.
    """

    X: Tensor
    chosen: Tensor
    available: Tensor | None = None

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, index: Tensor | slice) -> Choices:
        """Return some of the situations."""
        part = None if self.available is None else self.available[index]
        return replace(self, X=self.X[index], chosen=self.chosen[index], available=part)

    def differences(self, columns: slice = slice(None)) -> Tensor:
        """Return the (S, J, K) attributes less those of the chosen alternative."""
        X = self.X[:, :, columns]
        at = self.chosen[:, None, None].expand(-1, 1, X.shape[2])
        return X - X.gather(1, at)


def masked(V: Tensor, available: Tensor | None) -> Tensor:
    """Return utilities with those of alternatives that are not available at minus infinity."""
    return V if available is None else V.masked_fill(~available, -torch.inf)


def log_probabilities(V: Tensor, available: Tensor | None) -> Tensor:
    """Return the (S, J) log-probabilities of a logit with utilities V."""
    return torch.log_softmax(masked(V, available), 1)


def of_chosen(logp: Any, chosen: Tensor, what: str) -> Tensor:
    """Return the (S,) log-probabilities of the choices among (S, J) of the alternatives."""
    if not isinstance(logp, Tensor) or logp.ndim != 2 or len(logp) != len(chosen):
        seen = tuple(logp.shape) if isinstance(logp, Tensor) else type(logp).__name__
        raise LikelihoodError(f"{what} returned {seen}; it must be a tensor (S, J), as V is.")
    return logp.gather(1, chosen[:, None])[:, 0]


class ByUnit(Objective):
    """Sum over choice situations, unit by unit.

    Parameters
    ----------
    choices : the situations, sorted by unit.
    ends : (units,) number of situations up to the end of each unit, or None where each is a unit of its own.
    """

    def __init__(self, choices: Choices, weights: Tensor | None = None, ends: Tensor | None = None) -> None:
        self.choices, self.weights, self.ends = choices, weights, ends
        X = choices.X
        self.rows = len(choices) if ends is None else len(ends)
        self.device, self.dtype = X.device, X.dtype
        width = X.shape[1] * X.shape[2] * max(1, len(choices) // max(1, self.rows))
        self.chunk = chunk_rows(width, X.device, X.element_size())

    def situations(self, start: int, stop: int) -> slice:
        """Return the situations of some units."""
        if self.ends is None:
            return slice(start, stop)
        return slice(int(self.ends[start - 1]) if start else 0, int(self.ends[stop - 1]))

    def units(self, start: int, stop: int) -> tuple[Tensor | None, Tensor | None]:
        """Return, for each situation of some units, its unit within them, and its weight."""
        w = None if self.weights is None else self.weights[start:stop]
        if self.ends is None:
            return None, w
        first = self.situations(start, stop).start
        sizes = self.ends[start:stop].diff(prepend=self.ends.new_tensor([first]))
        unit = torch.repeat_interleave(torch.arange(stop - start, device=self.device), sizes)
        return unit, None if w is None else w[unit]

    def by_unit(self, values: Tensor, unit: Tensor | None, units: int) -> Tensor:
        """Return sums by unit of values by situation."""
        if unit is None:
            return values
        return values.new_zeros(units, *values.shape[1:]).index_add_(0, unit, values)


class ConditionalLogitObjective(ByUnit):
    """Sum the log-probabilities of the choices made; see :class:`ByUnit`."""

    engine = "derivatives of the softmax in closed form, then matrix products"

    def take(self, index: Tensor) -> ConditionalLogitObjective:
        """Return the objective of some of the units."""
        weights = None if self.weights is None else self.weights[index]
        if self.ends is None:
            return ConditionalLogitObjective(self.choices.take(index), weights)
        rows, ends = rows_of_units(self.ends, index)
        return ConditionalLogitObjective(self.choices.take(rows), weights, ends)

    def _part(self, start: int, stop: int) -> tuple[Choices, Tensor | None, Tensor | None]:
        """Return the situations of some units, the unit of each within the part, and its weight."""
        return self.choices.take(self.situations(start, stop)), *self.units(start, stop)

    def row_values(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the log-likelihoods of some units."""
        part, unit, _ = self._part(start, stop)
        values = -torch.logsumexp(masked(part.differences() @ working, part.available), 1)
        return self.by_unit(values, unit, stop - start)

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the scores of some units."""
        part, unit, _ = self._part(start, stop)
        X = part.differences()
        P = torch.softmax(masked(X @ working, part.available), 1)
        return self.by_unit(-torch.bmm(P[:, None, :], X)[:, 0], unit, stop - start)

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over some units."""
        with torch.no_grad():
            part, _, w = self._part(start, stop)
            X = part.differences()
            V = masked(X @ working, part.available)
            lse = torch.logsumexp(V, 1)
            total = -(lse.sum() if w is None else lse @ w)
            if order == 0:
                return Chunk(total, None, None)
            P = torch.exp(V - lse[:, None])
            if w is not None:
                P *= w[:, None]
            mean = torch.bmm(P[:, None, :], X)[:, 0]
            gradient = -mean.sum(0)
            return Chunk(total, gradient, _hessian(X, P, mean, w) if order > 1 else None)


def _hessian(X: Tensor, P: Tensor, mean: Tensor, w: Tensor | None) -> Tensor:
    """Return minus the summed covariances of attributes under the probabilities; these and ``mean`` are weighted."""
    flat = X.flatten(0, 1)
    within = mean if w is None else mean / torch.where(w > 0, w, torch.ones_like(w))[:, None]
    return mean.mT @ within - flat.mT @ (flat * P.reshape(-1, 1))


def rows_of_units(ends: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return the situations of some units in their order, and where each of these units now ends."""
    sizes = ends.diff(prepend=ends.new_zeros(1))
    picked = sizes[index]
    after = picked.cumsum(0)
    first = (ends - sizes)[index]
    within = torch.arange(int(picked.sum()), device=ends.device) - torch.repeat_interleave(after - picked, picked)
    return torch.repeat_interleave(first, picked) + within, after
