"""Aggregate the log-likelihood of multinomial logits: one softmax over the levels of each row's response.

With ``P_j`` the probability of level j and ``d_j = 1{y = j} - P_j`` the score is ``x d_j`` and the Hessian has blocks
``-X' diag(P_j (1{j = l} - P_l)) X``, j and l running over the levels but the base (Greene 2018, section 18.2.1). With
``A_j = diag(P_j) X`` these are ``A_j' A_l``, less ``X' A_j`` on the diagonal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import chunk_rows
from .objective import Chunk, Objective
from .predictor import Predictor


class MultinomialObjective(Objective):
    """Sum the log-probabilities of the levels observed.

    Parameters
    ----------
    columns : X (n, k), with a shift if columns are far from zero.
    target : (n,) levels, 0 for the base.
    others : J - 1, the number of levels beside the base; working parameters are their coefficients, level by level.
    """

    engine = "derivatives of the softmax in closed form, then matrix products"

    def __init__(self, columns: Predictor, target: Tensor, others: int, weights: Tensor | None = None) -> None:
        self.columns, self.target, self.others, self.weights = columns, target, others, weights
        X = columns.X
        self.rows, self.device, self.dtype = len(X), X.device, X.dtype
        self.chunk = chunk_rows((others + 1) * (X.shape[1] + 1), X.device, X.element_size())

    def take(self, index: Tensor) -> MultinomialObjective:
        """Return the objective of some of the rows."""
        weights = None if self.weights is None else self.weights[index]
        return MultinomialObjective(self.columns.take(index), self.target[index], self.others, weights)

    def _log_probabilities(self, working: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """Return the columns and the (n, J) log-probabilities of some rows."""
        X = self.columns.columns(rows)
        return X, log_softmax_of(X @ working.view(self.others, -1).mT)

    def _chosen(self, logp: Tensor, rows: slice) -> Tensor:
        return logp.gather(1, self.target[rows, None])[:, 0]

    def _residuals(self, logp: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """Return (n, J - 1) probabilities of the levels beside the base, and what was observed less these."""
        P = torch.exp(logp[:, 1:])
        there = torch.arange(1, self.others + 1, device=self.device) == self.target[rows, None]
        return P, there.to(P) - P

    def row_values(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the log-likelihoods of some rows."""
        rows = slice(start, stop)
        return self._chosen(self._log_probabilities(working, rows)[1], rows)

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the scores of some rows."""
        rows = slice(start, stop)
        X, logp = self._log_probabilities(working, rows)
        return _spread(self._residuals(logp, rows)[1], X)

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over some rows."""
        rows = slice(start, stop)
        w = None if self.weights is None else self.weights[rows]
        with torch.no_grad():
            X, logp = self._log_probabilities(working, rows)
            values = self._chosen(logp, rows)
            total = values.sum() if w is None else values @ w
            if order == 0:
                return Chunk(total, None, None)
            P, d = self._residuals(logp, rows)
            gradient = ((d if w is None else d * w[:, None]).mT @ X).flatten()
            return Chunk(total, gradient, _hessian(X, P, w) if order > 1 else None)


def log_softmax_of(etas: Tensor) -> Tensor:
    """Return (n, J) log-probabilities, the base first, for the (n, J - 1) predictors of the other levels."""
    return torch.log_softmax(torch.nn.functional.pad(etas, (1, 0)), 1)


def _spread(d: Tensor, X: Tensor) -> Tensor:
    """Return ``d_j x`` for all j, side by side."""
    return (d[:, :, None] * X[:, None, :]).flatten(1)


def _hessian(X: Tensor, P: Tensor, w: Tensor | None) -> Tensor:
    """Return the Hessian block row by block row, each from its diagonal on."""
    k, others = X.shape[1], P.shape[1]
    A = _spread(P, X)
    weighted = A if w is None else A * w[:, None]
    out = X.new_zeros(others * k, others * k)
    for j in range(others):
        block = slice(j * k, (j + 1) * k)
        torch.mm(A[:, block].mT, weighted[:, j * k :], out=out[block, j * k :])
        out[block, block] -= X.mT @ weighted[:, block]
    return out.triu() + out.triu(1).mT
