"""Form gradient and Hessian in the coefficients from derivatives by row: one product of matrices a predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..linalg import weighted_products

SMALL = 16_384
"""Numbers in a chunk up to which a product of matrices costs less than laying out what several can share."""


@dataclass(frozen=True)
class Sums:
    """Hold gradient and Hessian in the coefficients of all predictors, and ``X_j' m`` for further vectors m."""

    gradient: Tensor
    hessian: Tensor
    more: list[Tensor]


def sum_products(
    columns: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Sequence[Tensor | None]],
    more: Sequence[Sequence[Tensor]] | None = None,
) -> Sums:
    """Return ``X_j' d_j`` and ``X_j' diag(d_ji) X_i`` for all pairs of predictors.

    Parameters
    ----------
    columns, first : for each predictor j its columns (n, k_j) and the derivatives by row (n,).
    second : for each predictor j the second derivatives by row with the predictors j, j+1, ...; None for zero.
    more : for each predictor j further vectors (n,) to be multiplied by its columns.
    """
    if len(columns) == 1 and more is None and columns[0].numel() <= SMALL and second[0][0] is not None:
        X = columns[0]
        return Sums(X.mT @ first[0], X.mT @ (X * second[0][0][:, None]), [X.new_zeros(X.shape[1], 0)])
    sizes = [X.shape[1] for X in columns]
    starts = [sum(sizes[:j]) for j in range(len(sizes) + 1)]
    hessian = columns[0].new_zeros(starts[-1], starts[-1])
    gradient, tails = [], []
    for j, X in enumerate(columns):
        pairs = [(i, d) for i, d in enumerate(second[j], j) if d is not None]
        vectors = [first[j], *(more[j] if more is not None else ())]
        found = weighted_products(X, [(columns[i], d) for i, d in pairs], vectors)
        rows, at = slice(starts[j], starts[j + 1]), 0
        for i, _ in pairs:
            block = found[:, at : at + sizes[i]]
            hessian[rows, starts[i] : starts[i + 1]] = block
            if i != j:
                hessian[starts[i] : starts[i + 1], rows] = block.mT
            at += sizes[i]
        gradient.append(found[:, at])
        tails.append(found[:, at + 1 :])
    return Sums(torch.cat(gradient), hessian, tails)
