"""Find out, by certificate, that an estimate does not exist because the data are separated.

A direction c in the space of coefficients certifies separation if moving along it never lowers the log-likelihood of
any row and raises that of some for ever: ``sign_i x_i'c >= 0`` where the response is at an end of its range,
``x_i'c = 0`` elsewhere, and ``> 0`` in some rows (Albert and Anderson 1984; Correia, Guimaraes and Zylkin 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.vectors import FloatArray

CERTAIN = 1e-7
"""Size above which an entry of a direction, in units of standardised columns, is not rounding."""


@dataclass(frozen=True)
class Separation:
    """Hold the rows that are separated and the columns that separate them, by position."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]


def find_separation(Z: Tensor, signs: Tensor, extreme: Tensor) -> Separation | None:
    """Return the separated rows and columns, or None if there is a maximum.

    Parameters
    ----------
    Z : (n, k) standardised columns of the first predictor.
    signs : (n,) +1 or -1 where the log-likelihood of a row rises for ever with (or against) its predictor, 0 where it
        has a maximum.
    extreme : (n,) mask of the rows whose log-likelihood is at its supremum to rounding; only these can be separated.
    """
    can = extreme & (signs != 0)
    basis = _null_space(Z[~can])
    if basis.shape[1] == 0:
        return None
    columns = (Z[can] @ basis.to(Z) * signs[can, None]).cpu().double().numpy()
    found = np.zeros(len(columns), dtype=bool)
    direction = np.zeros(basis.shape[1])
    while True:
        step = _recession(columns[~found])
        gain = columns @ step if step is not None else np.zeros(len(columns))
        new = ~found & (gain > CERTAIN)
        if step is None or not new.any():
            break
        found |= new
        direction = 1e3 * direction + step  # rows found earlier may fall back a little on the way to new ones
    if not found.any():
        return None
    weights = (basis.numpy() @ direction) / max(1e-300, float(np.abs(direction).max()))
    positions = torch.nonzero(can).flatten().cpu().numpy()[found]
    members = np.flatnonzero(np.abs(weights) > CERTAIN * np.abs(weights).max())
    return Separation(tuple(int(i) for i in positions), tuple(int(j) for j in members))


def _null_space(Z: Tensor) -> Tensor:
    """Return an orthonormal basis of the directions in which the rows of Z do not move."""
    k = Z.shape[1]
    if len(Z) == 0:
        return torch.eye(k, dtype=torch.float64, device="cpu")
    gram = (Z.mT @ Z).cpu().double()
    values, vectors = torch.linalg.eigh(gram)
    likely: Tensor = vectors[:, values <= 1e-9 * max(float(values[-1]), 1e-300)]
    moved = (Z @ likely.to(Z)).abs().amax(0) if likely.shape[1] else torch.zeros(0)
    still: Tensor = likely[:, (moved <= 1e-5).cpu()]
    return still


def _recession(columns: FloatArray) -> FloatArray | None:
    """Return a direction in the unit box in which no row falls and the sum rises most, or None."""
    from scipy.optimize import linprog

    if not len(columns):
        return None
    answer = linprog(-columns.sum(axis=0), A_ub=-columns, b_ub=np.zeros(len(columns)), bounds=(-1, 1), method="highs")
    if answer.status != 0 or answer.fun is None or -answer.fun <= CERTAIN:
        return None
    return np.asarray(answer.x, dtype=np.float64)
