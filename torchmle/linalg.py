"""Solve the small symmetric systems of inference, and name what makes them singular."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import torch
from torch import Tensor


def symmetric(matrix: Tensor) -> Tensor:
    """Return ``(A + A') / 2``."""
    return (matrix + matrix.mT) / 2


def all_finite(values: Tensor) -> bool:
    """Return whether every number is finite; mostly one sum tells, which is not finite where one of them is not."""
    return math.isfinite(float(values.sum())) or bool(torch.isfinite(values).all())


def cholesky(matrix: Tensor) -> Tensor | None:
    """Return the lower Cholesky factor of a symmetric matrix, or None if it is not positive definite.

    The matrix is scaled to a unit diagonal first, so that the verdict does not depend on units; a pivot
    below rounding (``1e-13 K`` of the diagonal in float64) counts as zero.
    """
    if not len(matrix):
        return matrix.clone()
    diagonal = matrix.diagonal()
    if not float(diagonal.min()) > 0 or not all_finite(matrix):
        return None
    scale = diagonal.sqrt()
    factor, info = torch.linalg.cholesky_ex(symmetric(matrix) / torch.outer(scale, scale))
    floor = 450 * torch.finfo(matrix.dtype).eps * len(matrix)
    if int(info) or float(factor.diagonal().min()) ** 2 < floor:
        return None
    lower: Tensor = factor * scale[:, None]
    return lower


def solve_spd(factor: Tensor, rhs: Tensor) -> Tensor:
    """Solve ``A x = rhs`` from the Cholesky factor of A; ``rhs`` is a vector or a matrix."""
    if rhs.ndim == 1:
        return torch.cholesky_solve(rhs[:, None], factor)[:, 0]
    return torch.cholesky_solve(rhs, factor)


def inverse_spd(factor: Tensor) -> Tensor:
    """Return the inverse of A from its Cholesky factor."""
    return torch.cholesky_inverse(factor)


def flat_directions(information: Tensor, names: Sequence[str], jacobian: Tensor) -> list[tuple[str, ...]]:
    """Name the parameters that make up each direction in which the information is not positive.

    The matrix is scaled to a unit diagonal, so that the answer does not depend on units. A parameter belongs to a
    direction if its share is at least a tenth of the largest, in units in which the columns of the information are
    comparable.

    Parameters
    ----------
    information : (F, F) in comparable units.
    jacobian : (K, F), which parameters (``names``) move with each of them.
    """
    if not bool(torch.isfinite(information).all()):
        return []
    scale = information.diagonal().abs().sqrt()
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    values, vectors = torch.linalg.eigh(symmetric(information) / torch.outer(scale, scale))
    floor = 450 * torch.finfo(information.dtype).eps * len(information)
    sizes = jacobian.abs().amax(1).clamp(min=1e-300)
    moves = (jacobian / sizes[:, None]) @ vectors  # a parameter's own unit is the largest move of one comparable unit
    found = []
    for value, move in zip(values.tolist(), moves.mT.abs(), strict=True):
        if value < floor:
            large = 0.1 * float(move.max())
            found.append(tuple(n for n, v in zip(names, move.tolist(), strict=True) if v >= large))
    return found


TILE, BLOCK = 24, 48
"""Columns that the kernels for thin products take at once, and rows of a symmetric product that are formed at once."""

BUFFERS = 4
"""Scratch buffers kept by each thread, one for each width, of the size of a row chunk."""


def wide(columns: int) -> int:
    """Return the width at which a thin product is fastest: 20 columns cost half as much again as 24."""
    padded = -(-columns // TILE) * TILE
    return padded if padded - columns <= TILE // 3 else columns


def weighted_products(X: Tensor, blocks: Sequence[tuple[Tensor, Tensor]], vectors: Sequence[Tensor]) -> Tensor:
    """Return ``X' [A_1 w_1, A_2 w_2, ..., v_1, v_2, ...]`` from one product of matrices.

    Parameters
    ----------
    blocks : pairs of columns (n, k) and weights of their rows (n,). Where the first columns are X itself, only one
        triangle of ``X' w X`` is formed and the other is its mirror image.
    vectors : (n,) each.
    """
    k = X.shape[1]
    width = sum(A.shape[1] for A, _ in blocks) + len(vectors)
    right = scratch(X, width)
    at = 0
    for A, w in blocks:
        torch.mul(A, w[:, None], out=right[:, at : at + A.shape[1]])
        at += A.shape[1]
    for v in vectors:
        right[:, at] = v
        at += 1
    if k <= BLOCK or not blocks or blocks[0][0] is not X:
        return (X.mT @ right)[:, :width]
    out = X.new_zeros(k, right.shape[1])
    for a in range(0, k, BLOCK):
        torch.mm(X[:, a : a + BLOCK].mT, right[:, a:], out=out[a : a + BLOCK, a:])
    out[:, :k] = out[:, :k].triu() + out[:, :k].triu(1).mT
    return out[:, :width]


_here = threading.local()  # .buffers: memory that products are formed in, kept since new pages cost as much as they do


def scratch(X: Tensor, width: int, use: str = "product") -> Tensor:
    """Return memory with the rows of X and at least ``width`` columns, the others zero; the next such use takes it."""
    padded = wide(width) if X.device.type == "cpu" else width
    buffers = _here.__dict__.setdefault("buffers", {})
    key = (use, width, X.dtype)
    if X.device.type != "cpu" or key not in buffers or len(buffers[key]) < len(X):
        if len(buffers) >= BUFFERS:
            buffers.clear()
        fresh = X.new_zeros(len(X), padded)
        if X.device.type != "cpu":
            return fresh
        buffers[key] = fresh
    kept: Tensor = buffers[key][: len(X)]
    return kept


def inverse_root(root: Tensor) -> Tensor:
    """Return the inverse of an upper triangular matrix."""
    eye = torch.eye(len(root), dtype=root.dtype, device=root.device)
    inverse: Tensor = torch.linalg.solve_triangular(root, eye, upper=True)
    return inverse
