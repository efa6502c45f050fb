"""Solve (weighted) least squares in closed form, to the digits of a careful QR."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import chunk_rows
from ..errors import DataError
from ..linalg import cholesky, scratch, solve_spd, symmetric, weighted_products
from .moments import Moments, to_host
from .objective import Chunk, Objective

ILL_CONDITIONED = 1e5
"""Condition of the standardised columns above which cross-products lose too many digits and QR is used."""


WELL_CONDITIONED = 1e-3
"""Share of a column that the earlier ones must leave, for coefficients refined once to have all their digits."""

SETTLED = 1e-9
"""Relative step after which a further refinement, smaller by as much again, is below rounding."""


class LeastSquares(Objective):
    """Be the objective ``-1/2 sum w (y - Z b)^2`` with ``Z`` the columns less their shift.

    Its score is ``Z'w r`` and its Hessian ``-Z'WZ``, so that covariances come as for any other objective.
    """

    def __init__(
        self, X: Tensor, y: Tensor, shift: Tensor, weights: Tensor | None, index: Tensor | None = None
    ) -> None:
        self.X = X
        self.rows, self.device = len(X), X.device
        self.dtype = X.dtype if X.device.type == "mps" else torch.float64  # float32 columns are widened chunk by chunk
        self.shift = shift.to(self.device, self.dtype) if bool((shift != 0).any()) else None
        self.y = y.to(self.dtype)
        self.weights = None if weights is None else weights.to(self.dtype)
        self.chunk = chunk_rows(X.shape[1], self.device, X.element_size())

    def take(self, index: Tensor) -> LeastSquares:
        """Return the objective of some of the rows."""
        shift = torch.zeros(self.X.shape[1], dtype=self.dtype, device=self.device) if self.shift is None else self.shift
        weights = None if self.weights is None else self.weights[index]
        return LeastSquares(self.X[index], self.y[index], shift, weights)

    def columns(self, rows: slice) -> Tensor:
        """Return the shifted columns of some rows."""
        X = self.X[rows].to(self.dtype)
        if self.shift is None:
            return X
        k = X.shape[1]
        return torch.sub(X, self.shift, out=scratch(X, k, "centred")[:, :k])  # gone when the next rows are asked for

    def row_values(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the log-likelihoods of some rows."""
        rows = slice(start, stop)
        return -0.5 * (self.y[rows] - self.columns(rows) @ working) ** 2

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the scores of some rows."""
        rows = slice(start, stop)
        Z = self.columns(rows)
        return Z * (self.y[rows] - Z @ working)[:, None]

    def row_products(self, working: Tensor, start: int, stop: int, power: int, root: Tensor | None) -> Tensor:
        """Return ``sum w^power s s'`` over some rows, without forming the scores."""
        if root is not None:
            return super().row_products(working, start, stop, power, root)
        rows = slice(start, stop)
        Z = self.columns(rows)
        square = (self.y[rows] - Z @ working).square()
        weighted = square if self.weights is None else square * self.weights[rows] ** power
        return weighted_products(Z, [(Z, weighted)], [])

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over some rows."""
        rows = slice(start, stop)
        Z = self.columns(rows)
        residual = self.y[rows] - Z @ working
        weighted = residual if self.weights is None else residual * self.weights[rows]
        total = -0.5 * (residual @ weighted)
        if order == 0:
            return Chunk(total, None, None)
        hessian = None
        if order > 1:
            hessian = -(Z.mT @ (Z if self.weights is None else Z * self.weights[rows, None]))
        return Chunk(total, Z.mT @ weighted, hessian)

    def residuals(self, working: Tensor) -> Tensor:
        """Return ``y - Z b`` by row."""
        at = working.to(self.device, self.dtype)
        return torch.cat([self.y[a:b] - self.columns(slice(a, b)) @ at for a, b in self._cuts(0, self.rows)])


@dataclass(frozen=True)
class Solution:
    """Hold the working coefficients, an upper triangular R with ``R'R = Z'WZ``, the weighted sum of squared residuals,
    the condition of the standardised columns, and how it was solved.
    """

    working: Tensor
    root: Tensor
    ssr: float
    condition: float
    by: str


def solve(objective: LeastSquares, gram: Tensor | None = None) -> Solution:
    """Minimise the weighted sum of squares.

    Cross-products of the standardised columns with two residual refinements; above a condition of 1e5 a QR
    decomposition of the standardised columns, refined once (Bjorck 1996, sections 2.4 and 2.9.3).

    Parameters
    ----------
    gram : ``Z'WZ`` if it is known already.
    """
    zero = torch.zeros(objective.X.shape[1], dtype=torch.float64, device="cpu")
    if gram is None:
        hessian = objective.moments(zero, 2).hessian
        assert hessian is not None
        gram = -symmetric(hessian)
    scale = gram.diagonal().sqrt()
    if not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise DataError("The squares of some columns overflow or vanish in floating point. Rescale these columns.")
    scaled = gram / torch.outer(scale, scale)
    eigenvalues = torch.linalg.eigvalsh(scaled)
    low = float(eigenvalues[0])
    condition = (float(eigenvalues[-1]) / low) ** 0.5 if low > 0 else float("inf")
    if condition < ILL_CONDITIONED:
        factor, by = torch.linalg.cholesky(scaled).mT, "cross-products"
        working, rounds = zero, 3
    else:
        (factor, working), by, rounds = _qr(objective, scale), "QR", 1
        condition = float(torch.linalg.cond(factor))
    for _ in range(rounds):
        at = objective.moments(working, 1)
        assert at.gradient is not None
        step = _solve_normal(factor, at.gradient / scale) / scale
        working = working + step
        if float((step * scale).abs().max()) <= SETTLED * float((working * scale).abs().max()):
            break
    return Solution(working, factor * scale, _ssr(objective, at, factor * scale, step, working), condition, by)


def quickly(X: Tensor, y: Tensor, shift: Tensor) -> tuple[Tensor, float] | None:
    """Return the coefficients of the columns less a shift and the sum of squared residuals, without inference.

    X and y are float64 and few; None where the columns are so ill-conditioned that it takes :func:`solve`.
    """
    Z = X - shift
    gram = to_host(Z.mT @ Z)
    factor = cholesky(gram)
    if factor is None or float((factor.diagonal() / gram.diagonal().sqrt()).min()) < WELL_CONDITIONED:
        return None
    working = solve_spd(factor, to_host(Z.mT @ y))
    working = working + solve_spd(factor, to_host(Z.mT @ (y - Z @ working.to(Z))))
    return working, float((y - Z @ working.to(Z)).square().sum())


def _ssr(objective: LeastSquares, before: Moments, root: Tensor, step: Tensor, working: Tensor) -> float:
    """Return the sum of squares after a step ``s``, ``SSR - 2 s'g + s'R'Rs``, by a pass where digits would be lost."""
    assert before.gradient is not None
    ssr = -2 * before.llf
    change = float((root @ step).square().sum() - 2 * (step @ before.gradient))
    return ssr + change if abs(change) <= 1e-6 * ssr else -2 * objective.moments(working, 0).llf


def _solve_normal(factor: Tensor, rhs: Tensor) -> Tensor:
    """Solve ``R'R x = rhs`` for an upper triangular R."""
    inner = torch.linalg.solve_triangular(factor.mT, rhs[:, None], upper=False)
    solution: Tensor = torch.linalg.solve_triangular(factor, inner, upper=True)[:, 0]
    return solution


def _qr(objective: LeastSquares, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return R and the solution from a QR decomposition of ``[Z / scale, y]``, chunk by chunk."""
    k = len(scale)
    at = scale.to(objective.device, objective.dtype)
    R = torch.zeros(0, k + 1, dtype=objective.dtype, device=objective.device)
    for a, b in objective._cuts(0, objective.rows):
        rows = slice(a, b)
        block = torch.cat([objective.columns(rows) / at, objective.y[rows, None]], 1)
        if objective.weights is not None:
            block = block * objective.weights[rows, None].sqrt()
        R = torch.linalg.qr(torch.cat([R, block]), mode="r").R
    triangle = to_host(R)
    factor, rhs = triangle[:k, :k], triangle[:k, k:]
    return factor, torch.linalg.solve_triangular(factor, rhs, upper=True)[:, 0] / scale
