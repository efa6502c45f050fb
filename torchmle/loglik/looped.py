"""Evaluate replicates of a log-likelihood in turn, where nothing is known of it but its own derivatives.

What is saved against separate fits is everything around the evaluations: checks, starts, and all steps but the first
few, since every replicate begins at the estimates of the fit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from .moments import Moments
from .objective import Objective
from .replicates import Replicates, Stack
from .tiles import product, tiled


class LoopedReplicates(Replicates):
    """Evaluate replicates one after the other.

    Parameters
    ----------
    objective : of the fit.
    respond : gives the objective of another response.
    """

    def __init__(self, objective: Objective, respond: Callable[[Tensor], Objective]) -> None:
        self.objective, self.respond = objective, respond
        self.rows, self.device, self.dtype = objective.rows, objective.device, objective.dtype

    def evaluate(self, working: Tensor, weights: Tensor | None, endog: Tensor | None, order: int) -> Stack:
        """Return the sums over all rows at the points (R, K), a point a replicate."""
        found = []
        for r, at in enumerate(working):
            w, y = (None if t is None else t[r if len(t) > 1 else 0] for t in (weights, endog))
            found.append(self._one(at, w, y, order))
        values = torch.tensor([m.llf for m in found], dtype=torch.float64, device="cpu")
        gradients = torch.stack([m.gradient for m in found if m.gradient is not None])
        return Stack(
            values, gradients, torch.stack([m.hessian for m in found if m.hessian is not None]) if order > 1 else None
        )

    def shared(self, working: Tensor, weights: Tensor) -> Stack:
        """Return the sums of replicates at one point (K,), where all begin.

        Values and gradients are exact. The Hessian is that of the fit in proportion to the weights, which gives the
        first step its direction; where it leads, each replicate has its own.
        """
        own = self.objective.moments(working, 2)
        assert own.hessian is not None
        base = self.objective.weights
        total = float(self.rows) if base is None else float(base.sum())
        host = weights.to("cpu", torch.float64)
        values, scores = self.objective.values(working), self.objective.scores(working)
        known = torch.cat([values[:, None], scores], 1).to("cpu", torch.float64)
        sums = product(host, tiled(known))[:, : known.shape[1]]
        return Stack(sums[:, 0], sums[:, 1:], (host.sum(1) / total)[:, None, None] * own.hessian)

    def _one(self, working: Tensor, weights: Tensor | None, endog: Tensor | None, order: int) -> Moments:
        own = copy.copy(self.objective) if endog is None else self.respond(endog)
        if weights is not None:
            own.weights = weights
        return own.sum_moments(working, order)
