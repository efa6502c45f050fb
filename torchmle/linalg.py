"""Solve the small symmetric systems of inference, and name what makes them singular."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def symmetric(matrix: Tensor) -> Tensor:
    """Return ``(A + A') / 2``."""
    return (matrix + matrix.mT) / 2


def cholesky(matrix: Tensor) -> Tensor | None:
    """Return the lower Cholesky factor of a symmetric matrix, or None if it is not positive definite.

    The matrix is scaled to a unit diagonal first, so that the verdict does not depend on units; a pivot
    below rounding (``1e-13 K`` of the diagonal in float64) counts as zero.
    """
    if not bool(torch.isfinite(matrix).all()):
        return None
    diagonal = matrix.diagonal()
    if not bool((diagonal > 0).all()):
        return None
    scale = diagonal.sqrt()
    factor, info = torch.linalg.cholesky_ex(symmetric(matrix) / torch.outer(scale, scale))
    floor = 450 * torch.finfo(matrix.dtype).eps * len(matrix)
    if int(info) or float(factor.diagonal().square().min()) < floor:
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


def inverse_root(root: Tensor) -> Tensor:
    """Return the inverse of an upper triangular matrix."""
    eye = torch.eye(len(root), dtype=root.dtype, device=root.device)
    inverse: Tensor = torch.linalg.solve_triangular(root, eye, upper=True)
    return inverse
