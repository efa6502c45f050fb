"""Form score and information of every cluster, in bounded memory, in units in which the whole information is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.groups import Groups
from ..linalg import cholesky, inverse_root, symmetric
from ..loglik.moments import to_host
from ..loglik.objective import Objective
from .information import by_predictor, row_information
from .ingredients import Ingredients

NUMBERS = 4_000_000
"""Numbers held at a time."""


@dataclass(frozen=True)
class Units:
    """Hold the units in which the information of all rows is the identity: ``bread = T T'``, T being ``half``.

    Where columns are ill-conditioned, rows are divided by the root of the information before products are formed.
    """

    parts: Ingredients
    half: Tensor

    @classmethod
    def of(cls, parts: Ingredients) -> Units:
        """Return the units of a fit."""
        if parts.root is not None:
            scale = parts.pull(torch.ones_like(parts.bread)).diagonal().rsqrt()
            return cls(parts, inverse_root(parts.root) * scale[:, None])
        factor = cholesky(parts.bread)
        assert factor is not None
        return cls(parts, factor)

    def scores(self, sums: Tensor) -> Tensor:
        """Return (c, F) sums of (whitened) working scores in these units."""
        return sums if self.parts.root is not None else sums @ self.parts.jacobian @ self.half

    def information(self, blocks: Tensor, sums: Tensor) -> Tensor:
        """Return (c, F, F) informations of clusters in these units, from working ones and the sums of scores."""
        parts = self.parts
        if parts.root is not None:
            return blocks
        if parts.pull_hessian is not None:
            pulled = torch.stack([-parts.pull_hessian(-A, s) for A, s in zip(blocks, sums, strict=True)])
            return symmetric(self.half.mT @ pulled @ self.half)
        T = parts.jacobian @ self.half
        return symmetric(T.mT @ blocks @ T)

    def covariance(self, matrix: Tensor) -> Tensor:
        """Return a covariance in gamma for one in these units."""
        return self.half @ matrix @ self.half.mT


def clusters(units: Units, groups: Groups) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield ranges of clusters with their (c, F) scores and (c, F, F) informations, in the units given."""
    objective, K = units.parts.objective, len(units.parts.working)
    order = torch.from_numpy(np.argsort(groups.codes, kind="stable"))
    ends = np.cumsum(np.bincount(groups.codes, minlength=groups.count))
    step = max(1, NUMBERS // K**2)
    for first in range(0, groups.count, step):
        last = min(first + step, groups.count)
        begin = int(ends[first - 1]) if first else 0
        rows = order[begin : int(ends[last - 1])]
        codes = torch.from_numpy(groups.codes)[rows] - first
        part = objective.take(rows.to(objective.device))
        made = _by_row if by_predictor(objective) else _by_cluster
        sums, blocks = made(part, units.parts, codes, last - first)
        yield slice(first, last), units.scores(sums), units.information(blocks, sums)


def _by_row(part: Objective, parts: Ingredients, codes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return sums of scores and informations by cluster, of single rows that are added up."""
    K = len(parts.working)
    sums = torch.zeros(count, K, dtype=torch.float64, device="cpu")
    blocks = torch.zeros(count, K, K, dtype=torch.float64, device="cpu")
    step = max(1, min(part.chunk, NUMBERS // K**2))
    for a in range(0, part.rows, step):
        b = min(a + step, part.rows)
        found = row_information(part, parts.working, a, b)
        scores, rows = to_host(found.scores()), to_host(found.by_row())
        if parts.root is not None:
            X = torch.linalg.solve_triangular(parts.root, to_host(found.columns[0]), upper=True, left=False)
            scores, rows = X * to_host(found.slopes[0])[:, None], X[:, :, None] * X[:, None, :]
        if part.weights is not None:
            w = to_host(part.weights[a:b])
            scores, rows = scores * w[:, None], rows * w[:, None, None]
        sums.index_add_(0, codes[a:b], scores)
        blocks.index_add_(0, codes[a:b], rows)
    return sums, blocks


def _by_cluster(part: Objective, parts: Ingredients, codes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the same for a likelihood that says nothing of its predictors, a cluster at a time."""
    sums, blocks = [], []
    for rows in torch.split(torch.arange(len(codes)), torch.bincount(codes, minlength=count).tolist()):
        found = part.take(rows.to(part.device)).moments(parts.working, 2)
        assert found.gradient is not None
        assert found.hessian is not None
        sums.append(found.gradient)
        blocks.append(-found.hessian)
    return torch.stack(sums), torch.stack(blocks)
