"""Take one Newton step from the estimates on the rows that are left, for each row or cluster left out.

In coordinates in which the information of all rows is the identity (``A = L L'``, scores ``L^-1 s``, the information of
a unit ``M_g = L^-1 A_g L^-T``) the step without a unit is ``(I - M_g)^-1 L^-1 s_g``. Only a block of units is held
with its matrices at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.groups import Groups
from ..errors import UndefinedStatisticError
from ..linalg import cholesky, symmetric
from ..loglik.leastsquares import LeastSquares
from ..loglik.moments import to_host
from ..loglik.objective import Objective
from ..loglik.predictor import PredictorObjective
from ..params.map import ParamMap
from ..results.fit import Fit

BYTES = 16_000_000
"""Bytes of the matrices of the units of one block."""

GONE = 1e-10
"""What is left of the information in some direction, as a share of all, below which nothing is left but rounding."""


@dataclass(frozen=True, eq=False)
class Units:
    """Say what is left out: single rows or whole clusters.

    Attributes
    ----------
    labels : of the units.
    taken : (n,) weight that goes with each row: 1 for one observation of ``freq_weights``.
    groups : the clusters, or None.
    copies : (n,) observations that each row stands for, under ``freq_weights`` where units are rows.
    """

    labels: pd.Index
    taken: Tensor
    groups: Groups | None = None
    copies: np.ndarray[Any, np.dtype[np.int64]] | None = None

    @property
    def total(self) -> int:
        """Return how many units there are, copies counted."""
        return len(self.labels) if self.copies is None else int(self.copies.sum())

    def without(self, gone: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[Units, np.ndarray[Any, np.dtype[np.int64]]]:
        """Return the units that are left when ``gone`` copies of each are not, and their places among these."""
        left = (1 if self.copies is None else self.copies) - gone
        places = np.flatnonzero(left > 0)
        copies = None if self.copies is None else left[places]
        if self.groups is None:
            return Units(self.labels[places], self.taken[torch.from_numpy(places)], None, copies), places
        codes = self.groups.codes[left[self.groups.codes] > 0]
        groups = Groups(self.groups.name, np.searchsorted(places, codes), len(places))
        return Units(self.labels[places], self.taken[torch.from_numpy(left[self.groups.codes] > 0)], groups), places


@dataclass(frozen=True, eq=False)
class Steps:
    """Hold what each unit does.

    Attributes
    ----------
    moves : (G, F) in gamma, the estimate less that without each unit; NaN where without it there is none.
    scores : (G, F), ``L^-1 s_g``.
    length : (G,), ``m' A m`` of the moves.
    pull : (G,), ``m_g' s_g``.
    leverage : (G,), ``tr(A^-1 A_g)``.
    held : (G,), ``v' A_g v`` with ``v = A^-1 r`` for the direction r asked for, or None.
    along : (F,), ``L^-1 r``.
    inverse : (F, F), ``A^-1``.
    """

    moves: Tensor
    scores: Tensor
    length: Tensor
    pull: Tensor
    leverage: Tensor
    held: Tensor | None
    along: Tensor | None
    inverse: Tensor


def one_steps(fit: Fit, units: Units, direction: Tensor | None = None) -> Steps:
    """Return the steps without each unit; ``direction`` (F,) asks for the information that they hold along it."""
    white = _White.of(fit)
    along = None if direction is None else direction @ white.to_gamma.mT
    parts = [_left_out(white, scores, own, along) for scores, own in _blocks(fit, units, white)]
    moves, scores, length, pull, leverage, held = (torch.cat(column) for column in zip(*parts, strict=True))
    inverse = symmetric(white.to_gamma.mT @ white.to_gamma)
    _check_sum(leverage, units, white)
    return Steps(moves, scores, length, pull, leverage, None if along is None else held, along, inverse)


def _check_sum(leverage: Tensor, units: Units, white: _White) -> None:
    """Raise if what the units hold does not add up to the information of all rows, whose trace here is F."""
    copies = torch.ones_like(leverage) if units.copies is None else torch.from_numpy(units.copies).double()
    wanted = len(white.to_gamma)
    if not abs(float(leverage @ copies) - wanted) <= max(1e-4, white.floor) * wanted:
        raise UndefinedStatisticError(
            "influence(): the Hessians of single rows do not add up to that of all rows. The rows of this likelihood "
            "depend on each other, or its second derivatives are not those of its values."
        )


@dataclass(frozen=True, eq=False)
class _White:
    """Turn scores in working parameters into ``L^-1 s`` and steps back into gamma.

    Attributes
    ----------
    half : (K, F): ``s' half`` is ``(L^-1 s)'``.
    root : upper triangular R with ``A = R'R`` in working parameters, where columns are too ill-conditioned for
        products.
    to_gamma : (F, F): a step x in these coordinates is ``x' to_gamma`` in gamma.
    floor : share of the information below which what is left is rounding.
    """

    half: Tensor
    root: Tensor | None
    to_gamma: Tensor
    floor: float

    @classmethod
    def of(cls, fit: Fit) -> _White:
        rounding = 100 * torch.finfo(fit.objective.dtype).eps
        if fit.root is not None:
            inverse = torch.linalg.solve_triangular(fit.root, torch.eye(len(fit.root), dtype=torch.float64), upper=True)
            condition = float(torch.linalg.cond(fit.root / fit.root.norm(dim=0)))
            return cls(inverse, fit.root, (fit.map.scale[:, None] * inverse).mT, max(GONE, rounding * condition))
        information = -fit.map.pull_hessian(fit.derivatives[1], fit.derivatives[0], fit.gamma)
        if isinstance(fit.objective, LeastSquares):
            information = information * fit.scale  # reported derivatives are those of the likelihood with sigma
        factor = cholesky(information)
        if factor is None:
            raise UndefinedStatisticError("influence() needs a positive definite information, and this fit has none.")
        size = information.diagonal().sqrt()
        values = torch.linalg.eigvalsh(information / torch.outer(size, size))
        lift = torch.linalg.solve_triangular(factor, torch.eye(len(factor), dtype=torch.float64), upper=False)
        half = fit.map.working_jacobian(fit.gamma) @ lift.mT
        return cls(half, None, lift, max(GONE, rounding * float(values[-1] / values[0])))

    def rows(self, X: Tensor, columns: slice = slice(None)) -> Tensor:
        """Return ``(L^-1 x)'`` of rows x', which stand at some of the working parameters."""
        if self.root is None:
            return to_host(X) @ self.half[columns]
        solved: Tensor = torch.linalg.solve_triangular(self.root, to_host(X), upper=True, left=False)
        return solved


def _left_out(white: _White, scores: Tensor, own: Tensor, along: Tensor | None) -> tuple[Tensor, ...]:
    """Return the columns of :class:`Steps`, of some units."""
    eye = torch.eye(own.shape[1], dtype=torch.float64)
    factor, info = torch.linalg.cholesky_ex(eye - own)
    step = torch.cholesky_solve(scores[:, :, None], factor)[:, :, 0]
    gone = (info != 0) | ~(factor.diagonal(dim1=1, dim2=2).amin(1).square() > white.floor)
    step[gone | ~torch.isfinite(step).all(1)] = torch.nan
    held = torch.zeros(len(own), dtype=torch.float64) if along is None else own @ along @ along
    length, pull = step.square().sum(1), (step * scores).sum(1)
    return step @ white.to_gamma, scores, length, pull, own.diagonal(dim1=1, dim2=2).sum(1), held


def _blocks(fit: Fit, units: Units, white: _White) -> Iterator[tuple[Tensor, Tensor]]:
    """Return scores (G, F) and information (G, F, F) of the units, block by block, in their order."""
    F = white.half.shape[1]
    step = max(1, BYTES // (8 * max(F, len(white.half)) ** 2))
    if units.groups is None:
        rows = _Rows(fit, fit.objective, units.taken, white)
        for start in range(0, len(units.taken), step):
            yield rows.block(start, min(start + step, len(units.taken)))
        return
    codes = torch.from_numpy(units.groups.codes)
    order = torch.argsort(codes, stable=True)
    ends = torch.bincount(codes, minlength=units.groups.count).cumsum(0).tolist()
    sorted_rows = fit.objective.take(order.to(fit.objective.device))
    rows, codes = _Rows(fit, sorted_rows, units.taken[order], white), codes[order]
    for first in range(0, units.groups.count, step):
        last = min(first + step, units.groups.count)
        scores = torch.zeros(last - first, F, dtype=torch.float64)
        own = torch.zeros(last - first, F, F, dtype=torch.float64)
        begin, end = 0 if first == 0 else ends[first - 1], ends[last - 1]
        for start in range(begin, end, step):
            stop = min(start + step, end)
            s, M = rows.block(start, stop)
            scores.index_add_(0, codes[start:stop] - first, s)
            own.index_add_(0, codes[start:stop] - first, M)
        yield scores, own


class _Rows:
    """Give weighted scores and information of single rows."""

    def __init__(self, fit: Fit, objective: Objective, taken: Tensor, white: _White) -> None:
        self.objective, self.taken, self.white = objective, taken, white
        self.at = fit.map.working(fit.gamma).to(objective.device, objective.dtype)
        self.bends = _bends(fit.map, fit.gamma, white.to_gamma)
        size = (fit.derivatives[1].diagonal().abs() / max(fit.nobs, 1.0)).sqrt()
        self.unit = torch.where(size > 0, 1 / size, torch.ones_like(size))

    def block(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return ``L^-1 s`` (rows, F) and ``L^-1 A L^-T`` (rows, F, F) of some rows."""
        rows, w = slice(start, stop), self.taken[start:stop]
        if isinstance(self.objective, LeastSquares):
            scores, own = self._squares(self.objective, rows)
        elif isinstance(self.objective, PredictorObjective):
            scores, own = self._predictors(self.objective, rows)
        else:
            scores, own = self._any(rows)
        return scores * w[:, None], symmetric(own) * w[:, None, None]

    def _squares(self, objective: LeastSquares, rows: slice) -> tuple[Tensor, Tensor]:
        columns = objective.columns(rows)
        residuals = to_host(objective.y[rows] - columns @ self.at)
        Z = self.white.rows(columns)
        return Z * residuals[:, None], Z[:, :, None] * Z[:, None, :]

    def _predictors(self, objective: PredictorObjective, rows: slice) -> tuple[Tensor, Tensor]:
        columns, _, first, second = objective.row_derivatives(self.at, rows)
        cuts = [0, *objective.cuts, sum(objective.sizes)]
        Z = [self.white.rows(X, slice(a, b)) for X, a, b in zip(columns, cuts[:-1], cuts[1:], strict=True)]
        scores = torch.stack([z * to_host(d)[:, None] for z, d in zip(Z, first, strict=True)]).sum(0)
        own = torch.zeros(len(scores), scores.shape[1], scores.shape[1], dtype=torch.float64)
        for j, row in enumerate(second):
            for i, d in enumerate(row, j):
                if d is not None:  # twice for a pair: the halves of both are made equal afterwards
                    weighted = Z[i] * (to_host(d) * (1 if i == j else 2))[:, None]
                    own -= Z[j][:, :, None] * weighted[:, None, :]
        return scores, own

    def _any(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Return them for any function of the parameters: derivatives of ``sum(w l)`` are linear in w."""
        found = row_hessians(self.objective, self.at, rows)
        scores, hessians = found or row_differences(self.objective, self.at, rows, self.unit)
        half = self.white.half
        own = -(half.mT @ hessians @ half)
        if self.bends is not None:
            own = own - torch.einsum("nk,kfg->nfg", scores, self.bends)
        return scores @ half, own


def row_differences(objective: Objective, working: Tensor, rows: slice, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Return unweighted (rows, K) scores and (rows, K, K) Hessians by central differences of scores.

    ``unit`` (K,) is what a parameter moves to change the log-likelihood of a row by about one.
    """
    steps = torch.finfo(objective.dtype).eps ** (1 / 3) * unit.to(working)

    def scores(at: Tensor) -> Tensor:
        return to_host(objective.row_scores(at, rows.start, rows.stop))

    moves = torch.diag(steps)
    columns = [(scores(working + m) - scores(working - m)) / (2 * float(m.sum())) for m in moves]
    return scores(working), symmetric(torch.stack(columns, 2))


def row_hessians(objective: Objective, working: Tensor, rows: slice) -> tuple[Tensor, Tensor] | None:
    """Return unweighted (rows, K) scores and (rows, K, K) Hessians by reverse mode, one pass an entry.

    None where the log-likelihoods carry no graph: an objective whose derivatives are not autograd's.
    """
    params = working.detach().clone().requires_grad_()
    values = objective.row_values(params, rows.start, rows.stop)
    if not values.requires_grad:
        return None
    ones = torch.ones_like(values, requires_grad=True)
    first = _gradient((values * ones).sum(), params)
    K = len(params)
    scores = torch.zeros(len(values), K, dtype=torch.float64)
    hessians = torch.zeros(len(values), K, K, dtype=torch.float64)
    for j in range(K):
        scores[:, j] = to_host(_gradient(first[j], ones))
        second = _gradient(first[j], params)
        for i in range(j, K):
            hessians[:, j, i] = hessians[:, i, j] = to_host(_gradient(second[i], ones))
    return scores, hessians


def _gradient(total: Tensor, at: Tensor) -> Tensor:
    """Return the gradient with its graph; zero where there is no path."""
    if not total.requires_grad:
        return torch.zeros_like(at)
    (found,) = torch.autograd.grad(total, at, create_graph=True, allow_unused=True)
    return torch.zeros_like(at) if found is None else found


def _bends(pmap: ParamMap, gamma: Tensor, to_gamma: Tensor) -> Tensor | None:
    """Return (K, F, F) second derivatives of each working parameter along steps; None where all are zero."""
    if pmap.curve is None:
        return None
    inner, at = pmap.inner_jacobian() @ to_gamma.mT, pmap.inner(gamma)
    eye = torch.eye(len(pmap.names), dtype=torch.float64)
    return torch.stack([inner.mT @ pmap.curve.curvature(at, e) @ inner for e in eye])
