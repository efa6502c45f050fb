"""Judge whether one set of parameters or predictors lies within another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..params.map import ParamMap

WITHIN = 1e-7
"""Part of a column, relative to its length, that may lie outside the span of others for rounding."""


def in_span(columns: Tensor, targets: Tensor) -> bool:
    """Return whether (n, t) targets are linear combinations of (n, k) columns."""
    size = targets.norm(dim=0)
    if not bool((size > 0).any()):
        return True
    length = columns.norm(dim=0)
    used = columns[:, length > 0] / length[length > 0]
    if not used.shape[1]:
        return False
    Q, R = torch.linalg.qr(used)
    diagonal = R.diagonal().abs()
    Q = Q[:, diagonal > 1e-10 * diagonal.max()] if bool((diagonal > 0).any()) else Q[:, :0]
    rest = targets - Q @ (Q.mT @ targets)
    return bool((rest.norm(dim=0) <= WITHIN * size).all())


def affine(pmap: ParamMap) -> tuple[Tensor, Tensor]:
    """Return origin (K,) and directions (K, F) of what a map can reach: link-scale parameters, or free numbers of
    the transforms where there are any.
    """
    zero = torch.zeros(pmap.free, dtype=torch.float64, device="cpu")
    if pmap.curve is not None:
        return pmap.inner(zero), pmap.inner_jacobian()
    return pmap.link(zero), pmap.link_jacobian(zero)


def within(inner: tuple[Tensor, Tensor], outer: tuple[Tensor, Tensor]) -> bool:
    """Return whether an affine set, origin and directions, lies within another."""
    gap = inner[0] - outer[0]
    size = 1e-9 * (1 + inner[0].abs() + outer[0].abs())
    moved = torch.where(gap.abs() > size, gap, torch.zeros_like(gap))
    return in_span(outer[1], torch.cat([inner[1], moved[:, None]], 1))


def predictors_within(
    designs: tuple[Sequence[Tensor], Sequence[Tensor]],
    offsets: tuple[Tensor | None, Tensor | None],
    sets: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> bool:
    """Return whether all linear predictors that one model can have are predictors of another.

    Parameters
    ----------
    designs, offsets, sets : of the inner and of the outer model: columns of each predictor, the offset of the first,
        and what its parameters can reach.
    """
    (inner, start), (outer, end) = (_moves(d, s) for d, s in zip(designs, sets, strict=True))
    gap = start - end
    first = len(designs[0][0])
    for offset, sign in zip(offsets, (1.0, -1.0), strict=True):
        if offset is not None:
            gap[:first] += sign * offset.cpu().double()
    size = 1e-9 * (1 + start.abs() + end.abs())
    gap = torch.where(gap.abs() > size, gap, torch.zeros_like(gap))
    return in_span(outer, torch.cat([inner, gap[:, None]], 1))


def _moves(designs: Sequence[Tensor], reach: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return how the stacked predictors move with the free parameters, and where they are at zero."""
    at, moves, starts = 0, [], []
    for X in designs:
        rows = slice(at, at + X.shape[1])
        own = X.cpu().double()
        moves.append(own @ reach[1][rows])
        starts.append(own @ reach[0][rows])
        at += X.shape[1]
    return torch.cat(moves), torch.cat(starts)
