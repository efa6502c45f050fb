"""Fit multinomial and conditional logits."""

from __future__ import annotations

import torch
from torch import Tensor

from ...loglik.choice import ConditionalLogitObjective, log_probabilities
from ...loglik.objective import Objective
from ...loglik.separation import Separation, find_separation
from ...optim.base import OptimResult, Status
from ...params.map import ParamMap
from ..separated import EXTREME, allowed
from .base import ChoiceModel

SAMPLE = 2_000
"""Situations that are looked at first for a separation: mostly they exclude it."""


class ConditionalLogit(ChoiceModel):
    """Fit a conditional logit: alternative j is chosen with probability ``exp(x_j'b) / sum_i exp(x_i'b)``.

    McFadden (1974); Train (2009), chapter 3. The sum goes over the alternatives that are available. Constants of the
    alternatives and variables of the person make it the multinomial logit.

    Examples
    --------
    >>> import torchmle as tm
    >>> trips = tm.datasets.load("trips")
    >>> res = tm.ConditionalLogit.from_formula("chosen ~ time + cost", trips, alternatives="mode",
    ...                                        situations="trip", base="bus").fit()
    >>> round(float(res.params["time"] / res.params["cost"]), 2)
    0.26
    """

    def make_objective(self, pmap: ParamMap) -> Objective:
        """Return the log-likelihood with its derivatives in closed form."""
        weights = self.data.weights
        return ConditionalLogitObjective(self.choices, None if weights is None else weights.values, self.ends)

    def separation(self, pmap: ParamMap, objective: Objective, found: OptimResult) -> Separation | None:
        """Return the situations that are predicted perfectly, and by what, or None.

        A direction c separates the data if ``(x_chosen - x_j)'c >= 0`` for all alternatives, with ``> 0`` for some:
        the rows that are looked at are these differences.
        """
        if not found.at.finite:
            return None
        P = log_probabilities(self.X @ pmap.working(found.x).to(self.X), self.available).exp()
        there = torch.ones_like(P, dtype=torch.bool) if self.available is None else self.available.clone()
        there.scatter_(1, self.chosen[:, None], False)
        low = there if found.status is not Status.CONVERGED else there & (EXTREME[P.dtype] > P)
        if not bool(low.any()):
            return None
        if self._sample_spans(there & ~low):
            return None
        situation, alternative = there.nonzero(as_tuple=True)
        extreme, D = low[situation, alternative], self.choices.differences()
        rows = -D[situation, alternative]
        directions = allowed(pmap, found.x, D.shape[2])
        separated = find_separation(rows, torch.ones_like(rows[:, 0]), extreme, None, directions)
        if separated is None:
            return None
        units = self.unit_of(situation[list(separated.rows)])
        return Separation(tuple(sorted(set(units.tolist()))), separated.columns)

    def _sample_spans(self, inside: Tensor) -> bool:
        """Return whether comparisons that cannot be separated, in a sample, leave no direction that could be."""
        some = slice(None, None, max(1, self.nobs // SAMPLE))
        D = self.choices.take(some).differences()[inside[some]].double()
        if len(D) < D.shape[1]:
            return False
        size = D.square().mean(0).sqrt()
        spread = torch.linalg.svdvals((D / torch.where(size > 0, size, torch.ones_like(size))) / len(D) ** 0.5)
        return bool(spread[-1] > 1e-4)

    def unit_of(self, situation: Tensor) -> Tensor:
        """Return the units to which situations belong."""
        if self.ends is None:
            return situation
        return torch.searchsorted(self.ends, situation, right=True)
