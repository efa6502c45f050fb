"""Find out, by certificate, that an estimate does not exist because the data are separated.

A direction c in the space of coefficients certifies separation if moving along it never lowers the log-likelihood of
any row and raises that of some for ever: ``sign_i x_i'c >= 0`` where the response is at an end of its range,
``x_i'c = 0`` elsewhere, and ``> 0`` in some rows (Albert and Anderson 1984; Correia, Guimaraes and Zylkin 2019).

The search has two steps. The rows that cannot be separated leave a space of directions in which they do not move,
mostly none, and that is the end of it. In what is left, linear programmes look for a direction in which no other row
falls. Neither step depends on the units of the columns or, where there is a constant, on their origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import chunk_rows
from ..data.rows import BoolArray
from ..data.vectors import FloatArray

STILL = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Share of its size below which a column, less what others explain of it, does not move (as in collinear columns)."""

SAMPLE = 4_000
"""Rows that are looked at first: where they exclude a separation, the others need not be looked at."""

CERTAIN = 1e-7
"""Gain of a row, of unit length, above which it is separated; none may fall by more than a hundredth of that."""

CUTS = 2_000
"""Rows of one linear programme; those that its solution violates are added."""


@dataclass(frozen=True)
class Separation:
    """Hold the rows that are separated and the columns that separate them, by position."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]


def find_separation(
    X: Tensor, signs: Tensor, extreme: Tensor, constant: int | None = None, allowed: Tensor | None = None
) -> Separation | None:
    """Return the separated rows and columns, or None if there is a maximum.

    Parameters
    ----------
    X : (n, k) columns of the first predictor.
    signs : (n,) +1 or -1 where the log-likelihood of a row rises for ever with (or against) its predictor, 0 where it
        has a maximum.
    extreme : (n,) mask of the rows whose log-likelihood is at its supremum to rounding; only these can be separated.
    constant : position of the constant column.
    allowed : (k, f) directions that constraints leave to the coefficients; None for all.
    """
    can = extreme & (signs != 0)
    if not bool(can.any()):
        return None
    inside, rows = (~can).nonzero().flatten(), can.nonzero().flatten()
    units = _Units.of(X, inside if len(inside) else rows, constant)
    tolerance = STILL[X.dtype]
    space = np.eye(X.shape[1]) if allowed is None else units.directions(allowed)
    for few in (True, False):
        if not few or len(inside) > SAMPLE:
            at = inside[:: _stride(inside)] if few else inside
            noise = len(at) ** 0.5 * units.noise @ np.abs(space)
            space = space @ null_space(units.triangle(X, at) @ space, tolerance, noise)
        if not space.shape[1]:
            return None
    for few in (True, False):
        if few and len(rows) <= SAMPLE:
            continue
        at = rows[:: _stride(rows)] if few else rows
        moves = units.moves(X, at, space, tolerance) * signs[at, None].cpu().double().numpy()
        found, directions = open_cone(moves, float(units.noise.max()))
        if few and not found.any() and np.linalg.matrix_rank(moves) == space.shape[1]:
            return None
    if not found.any():
        return None
    shares = np.max([units.shares(X, space @ c) for c in directions], axis=0)
    members = [j for j in range(len(shares)) if shares[j] > 1e-6 and j != constant]
    columns = sorted(needed(moves, found, space, members[::-1])) if members else [constant or 0]
    return Separation(tuple(rows.cpu().numpy()[found].tolist()), tuple(columns))


def _stride(rows: Tensor) -> int:
    return max(1, len(rows) // SAMPLE)


@dataclass(frozen=True)
class _Units:
    """Hold origin and size of the columns; the constant takes up the origins.

    ``noise`` is the rounding of the user's numbers in these units: large where a column is far from zero.
    """

    origin: Tensor
    size: Tensor
    constant: int | None
    noise: FloatArray

    @classmethod
    def of(cls, X: Tensor, rows: Tensor, constant: int | None) -> _Units:
        """Measure the columns on some rows; medians, so that a far row does not set the unit of the others."""
        sample = X[rows[:: _stride(rows)]].cpu().double()
        origin = torch.zeros(X.shape[1], dtype=torch.float64)
        if constant is not None:  # an entry of the column itself, so that one that does not vary becomes zero
            origin = sample.median(0).values
            origin[constant] = 0.0
        away = (sample - origin).abs()
        size = torch.where(away.median(0).values > 0, away.median(0).values, away.amax(0))
        largest = (X.abs().amax(0)).cpu().double() if bool((size == 0).any()) else size
        size = torch.where(size > 0, size, torch.where(largest > 0, largest, torch.ones_like(size)))
        if constant is not None:
            size[constant] = sample[0, constant]  # with its sign: the column is 1 in these units
        noise = 2 * torch.finfo(X.dtype).eps * (origin / size).abs()
        return cls(origin, size, constant, np.asarray(noise.numpy()))

    def rows(self, X: Tensor, at: Tensor) -> FloatArray:
        """Return some rows in these units; what is rounding of the origin becomes zero."""
        raw = X[at].cpu().double()
        moved = raw - self.origin
        moved = torch.where(moved.abs() <= 4 * torch.finfo(X.dtype).eps * self.origin.abs(), 0.0, moved)
        return np.asarray((moved / self.size).numpy())

    def directions(self, allowed: Tensor) -> FloatArray:
        """Return, in these units, directions given for the user's columns."""
        link = allowed.double().cpu()
        out = link * self.size[:, None]
        if self.constant is not None:
            out[self.constant] += self.origin @ link
        return np.asarray(out.numpy())

    def triangle(self, X: Tensor, at: Tensor) -> FloatArray:
        """Return R of a QR decomposition of some rows, chunk by chunk."""
        k = X.shape[1]
        R = np.zeros((0, k))
        step = max(4 * k, chunk_rows(k, X.device, X.element_size()))
        for a in range(0, len(at), step):
            R = _triangle(np.concatenate([R, self.rows(X, at[a : a + step])]))
        return R

    def moves(self, X: Tensor, at: Tensor, space: FloatArray, tolerance: float) -> FloatArray:
        """Return how far each row moves in each direction; what is rounding of its terms becomes zero."""
        Z = self.rows(X, at)
        moved = Z @ space
        terms = np.abs(Z) @ np.abs(space) + 1e-3 * np.abs(Z).sum(axis=1)[:, None] * np.abs(space).max(axis=0)
        moved[np.abs(moved) <= 10 * (tolerance * terms + self.noise @ np.abs(space))] = 0.0
        return np.asarray(moved)

    def shares(self, X: Tensor, direction: FloatArray) -> FloatArray:
        """Return how far each column moves a row at most, relative to the one that does most."""
        low, high = X.amin(0).cpu().double() - self.origin, X.amax(0).cpu().double() - self.origin
        reach = np.abs(direction) * (torch.maximum(low.abs(), high.abs()) / self.size.abs()).numpy()
        return np.asarray(reach / reach.max())


def null_space(R: FloatArray, tolerance: float, noise: FloatArray | None = None) -> FloatArray:
    """Return the directions in which R does not move, one for each column that the earlier ones explain.

    Columns are judged by what the earlier ones leave of them, relative to their own size, so that their units do not
    matter; ``noise`` is the norm of the rounding that each comes with.
    """
    k = R.shape[1]
    norms = np.linalg.norm(R, axis=0)
    rounding = np.zeros(k) if noise is None else 4 * noise / np.where(norms > 0, norms, 1.0)
    scaled = R / np.where(norms > 0, norms, 1.0)
    kept: list[int] = []
    basis = []
    for j in range(k):
        weights = np.linalg.lstsq(scaled[:, kept], scaled[:, j], rcond=None)[0] if kept and norms[j] else np.zeros(0)
        weights[np.abs(weights) <= 1e-3 * tolerance] = 0.0
        explained = kept[: len(weights)]
        left = scaled[:, j] - scaled[:, explained] @ weights
        if norms[j] and np.linalg.norm(left) > tolerance + rounding[j] + rounding[explained] @ np.abs(weights):
            kept.append(j)
            continue
        direction = np.zeros(k)
        direction[j] = 1.0
        direction[explained] = -weights * (norms[j] / norms[explained])
        basis.append(direction)
    return np.column_stack(basis) if basis else np.zeros((k, 0))


def open_cone(moves: FloatArray, noise: float = 0.0) -> tuple[BoolArray, list[FloatArray]]:
    """Return which rows can rise without another one's fall, and directions that raise them.

    Rows found once may fall back on the way to new ones: a large enough multiple of the earlier direction makes up.
    ``noise`` is the rounding of the rows.
    """
    certain = max(CERTAIN, 1e3 * noise)
    found = np.zeros(len(moves), dtype=bool)
    directions: list[FloatArray] = []
    alive = np.abs(moves).max(axis=1) > 0
    while True:
        rest = np.flatnonzero(alive & ~found)
        if not len(rest):
            return found, directions
        step = _recession(moves[rest], certain)
        if step is None:
            return found, directions
        direction, gain = step
        found[rest[gain > certain]] = True
        directions.append(direction)


def _recession(moves: FloatArray, certain: float) -> tuple[FloatArray, FloatArray] | None:
    """Return a direction in which no row falls and some rise, with the gains of rows of unit length, or None."""
    A, back = _balanced(moves, max(1e-12, certain / 10 if certain > CERTAIN else 0.0))
    if A.shape[1] == 1:
        only = np.array([1.0 if A.min() > 0 else -1.0])
        return (back @ only, A @ only) if (A @ only).min() > 0 else None
    total = A.sum(axis=0)
    active = _some(len(A))
    while True:
        c = _programme(total, A[active], certain)
        if c is None:
            return None
        gain = A @ c
        below = np.setdiff1d(np.flatnonzero(gain < -certain / 100), active)
        if not len(below):
            return (back @ c, gain) if gain.max() > certain else None
        active = np.union1d(active, below[np.argsort(gain[below])[:CUTS]])


def _balanced(moves: FloatArray, rounding: float) -> tuple[FloatArray, FloatArray]:
    """Return the rows at unit length in coordinates in which they lie all around, and the way back.

    Which rows can rise together depends on neither; a linear programme does better with numbers of one size. Directions
    in which the rows move by ``rounding`` only are left out.
    """
    back = np.eye(moves.shape[1])
    A = moves / np.linalg.norm(moves, axis=1, keepdims=True)
    for _ in range(3):
        _, values, right = np.linalg.svd(_triangle(A), full_matrices=False)
        keep = values > rounding * values[0]
        turn = right[keep].T / values[keep]
        back = back @ turn
        A = moves @ back
        A /= np.linalg.norm(A, axis=1, keepdims=True)
    return A, back


def _programme(total: FloatArray, active: FloatArray, certain: float) -> FloatArray | None:
    """Return the direction in the unit box with the largest total in which no active row falls, or None if it is 0."""
    fall = np.full(len(active), certain / 200 if certain > CERTAIN else 0.0)
    c = _minimise(-total, -active, fall, [(-1, 1)] * len(total))
    return None if c is None or total @ c <= certain else c


def _minimise(cost: FloatArray, A: FloatArray, b: FloatArray, bounds: list[Any]) -> FloatArray | None:
    """Return the x with the least cost of those with ``A x <= b``, or None if there is none."""
    from scipy.optimize import linprog

    tight: Any = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    answer = linprog(cost, A_ub=A, b_ub=b, bounds=bounds, method="highs", options=tight)
    return np.asarray(answer.x, dtype=np.float64) if answer.status == 0 else None


def needed(moves: FloatArray, found: BoolArray, space: FloatArray, order: list[int]) -> list[int]:
    """Return those of some columns that it takes to raise all rows found and move no other.

    Columns are left out one by one, in the order given, while the rest suffices.
    """
    inner = null_space(_triangle(moves[~found]), 1e-9)
    if not _all_rise(moves[found], inner):
        return order
    kept = []
    for j in order:
        without = inner @ null_space((space @ inner)[[j]], 1e-9)
        if without.shape[1] and _all_rise(moves[found], without):
            inner = without
        else:
            kept.append(j)
    return kept


def _all_rise(moves: FloatArray, space: FloatArray) -> bool:
    """Return whether there is a direction in a space in which every row rises."""
    A = moves @ space
    norms = np.linalg.norm(A, axis=1, keepdims=True)
    if (norms <= CERTAIN / 100 * np.linalg.norm(moves, axis=1, keepdims=True) * np.abs(space).max()).any():
        return False
    A = A / norms
    active = _some(len(A))
    while True:
        free = [(None, None)] * A.shape[1]
        c = _minimise(np.zeros(A.shape[1]), -A[active], -np.ones(len(active)), free)
        if c is None:
            return False
        gain = A @ c
        below = np.setdiff1d(np.flatnonzero(gain < 0.5), active)
        if not len(below):
            return True
        active = np.union1d(active, below[np.argsort(gain[below])[:CUTS]])


def _some(rows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.unique(np.linspace(0, rows - 1, min(CUTS, rows)).astype(np.int64))


def _triangle(rows: FloatArray) -> FloatArray:
    """Return R of a QR decomposition."""
    return np.asarray(np.linalg.qr(rows, mode="r")) if len(rows) else np.zeros((0, rows.shape[1]))
