"""Compute the information of single rows: the curvature of a log-likelihood, observed or expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import OptionError
from ..linalg import cholesky, inverse_spd, symmetric
from ..loglik.leastsquares import LeastSquares
from ..loglik.moments import to_host
from ..loglik.objective import Objective
from ..loglik.predictor import PredictorObjective
from ..loglik.products import sum_products
from ..workers import derivatives_on
from .ingredients import Expected, Ingredients


@dataclass(frozen=True)
class RowInformation:
    """Hold columns and scores of some rows, and their information in the linear predictors.

    Attributes
    ----------
    columns : (m, k_j) for each predictor j.
    slopes : (m,) dl / d eta_j of each.
    weights : for each j the (m,) ``-d2 l / d eta_j d eta_i`` for i = j, j+1, ...; None for zero.
    """

    columns: list[Tensor]
    slopes: list[Tensor]
    weights: list[Sequence[Tensor | None]]

    def scores(self) -> Tensor:
        """Return the (m, K) scores."""
        return torch.cat([X * d[:, None] for X, d in zip(self.columns, self.slopes, strict=True)], 1)

    def total(self, multiply: Tensor | None) -> Tensor:
        """Return the (K, K) information, rows multiplied by weights."""
        second = [[None if w is None else w if multiply is None else w * multiply for w in row] for row in self.weights]
        return sum_products(self.columns, self.slopes, second).hessian

    def by_row(self) -> Tensor:
        """Return the (m, K, K) information of each row."""
        sizes = [X.shape[1] for X in self.columns]
        starts = [sum(sizes[:j]) for j in range(len(sizes))]
        out = self.columns[0].new_zeros(len(self.columns[0]), sum(sizes), sum(sizes))
        for j, row in enumerate(self.weights):
            for i, w in enumerate(row, j):
                if w is None:
                    continue
                block = (self.columns[j] * w[:, None])[:, :, None] * self.columns[i][:, None, :]
                a, b = slice(starts[j], starts[j] + sizes[j]), slice(starts[i], starts[i] + sizes[i])
                out[:, a, b] = block
                out[:, b, a] = block.mT
        return out


def by_predictor(objective: Objective) -> bool:
    """Return whether the likelihood is known to see its data through linear predictors."""
    return isinstance(objective, (LeastSquares, PredictorObjective))


def row_information(
    objective: Objective, working: Tensor, start: int, stop: int, expected: Expected | None = None
) -> RowInformation:
    """Return the information of some rows, unweighted; the expected one where a function for it is given."""
    if isinstance(objective, LeastSquares):
        Z = objective.columns(slice(start, stop)).clone()
        residual = objective.y[start:stop] - Z @ working.to(Z)
        return RowInformation([Z], [residual], [[torch.ones_like(residual)]])
    assert isinstance(objective, PredictorObjective)
    with derivatives_on(objective.device):
        at = working.to(objective.device, objective.dtype)
        columns, etas, first, second = objective.row_derivatives(at, slice(start, stop))
        if expected is None:
            return RowInformation(columns, first, [[None if d is None else -d for d in row] for row in second])
        rows = slice(start, stop) if objective.index is None else objective.index[start:stop]
        return RowInformation(columns, first, [list(row) for row in expected(rows, etas)])


def expected_bread(parts: Ingredients) -> Tensor:
    """Return the inverse of the expected information in gamma."""
    if isinstance(parts.objective, LeastSquares):
        return parts.bread
    objective = parts.objective
    total = torch.zeros(len(parts.working), len(parts.working), dtype=torch.float64, device="cpu")
    for a in range(0, objective.rows, objective.chunk):
        b = min(a + objective.chunk, objective.rows)
        found = row_information(objective, parts.working, a, b, parts.expected)
        total += to_host(found.total(None if objective.weights is None else objective.weights[a:b]))
    factor = cholesky(symmetric(parts.pull(total)))
    if factor is None:
        raise OptionError(
            "cov_kwds={'information': 'expected'} is not defined here: the expected information is not positive "
            "definite at the estimates. Use the observed information."
        )
    return inverse_spd(factor)
