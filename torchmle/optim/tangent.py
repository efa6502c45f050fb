"""Find the stationary point of a Lagrangian by Newton's method, and judge it along its constraints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..linalg import solve_spd, symmetric
from .base import Evaluation, Problem
from .surface import Constraints, Surface


def negligible(tol: float) -> float:
    """Return the distance from where a constraint holds, relative to the size of the point and one, that is none.

    A verdict of single precision (a ``tol`` that is not small) asks for as much of constraints that use the data.
    """
    return 1e-8 if tol < 1e-6 else 1e-4


DEPENDENT = 1e-8
"""Part of a gradient, relative to its size on the way, outside the span of others below which it is none of its own."""

SMALL = 1e-24
"""Residual that no step improves."""

REDUCED = 0.1
"""Share of the residual that a step may leave; it leaves a quarter where the gradient of a constraint vanishes."""

STEPS, CHANGES = 30, 60
"""Newton steps for one set of active constraints, and changes of the set, at most."""


@dataclass(frozen=True)
class Stationary:
    """Hold a point with its active constraints, their multipliers and what is left to move in.

    Attributes
    ----------
    at, surface : the function and the constraints there.
    active : (M,) the equations, and the inequalities that are held at zero.
    used : positions of active constraints with gradients of their own.
    multipliers : (M,), zero where a constraint is not used.
    Y, R : (F, m) orthonormal and (m, m) triangular, whose product is the transposed gradients of the used constraints.
    Z : (F, F - m) orthonormal directions along these.
    units : (M,) sizes of the gradients of the constraints.
    equal : (M,) which of them are equations.
    """

    x: Tensor
    at: Evaluation
    surface: Surface
    active: Tensor
    used: tuple[int, ...]
    multipliers: Tensor
    Y: Tensor
    R: Tensor
    Z: Tensor
    units: Tensor
    equal: Tensor

    @cached_property
    def lagrangian(self) -> Tensor:
        """Return the Hessian of the Lagrangian."""
        assert self.at.hessian is not None
        return symmetric(self.at.hessian - self.surface.bend(self.multipliers))

    @cached_property
    def tangent(self) -> Evaluation:
        """Return the function along the constraints, with the curvature of the Lagrangian."""
        assert self.at.gradient is not None
        reduced = symmetric(self.Z.mT @ self.lagrangian @ self.Z)
        return Evaluation(self.at.value, self.Z.mT @ self.at.gradient, reduced, self.at.source)

    @property
    def decrement(self) -> float:
        """Return the scaled gradient along the constraints, 0 where nothing is free."""
        return self.tangent.decrement if self.Z.shape[1] else 0.0

    @cached_property
    def gaps(self) -> Tensor:
        """Return (M,) how far the point is from where each constraint holds, in comparable units."""
        sizes = torch.maximum(self.surface.jacobian.norm(dim=1), DEPENDENT * self.units)
        gaps = self.surface.values / sizes
        return torch.where(self.active, gaps.abs(), (-gaps).clamp(min=0.0))

    @property
    def gap(self) -> float:
        """Return the largest distance from the active constraints."""
        return float(torch.where(self.active, self.gaps, 0.0).max()) if len(self.gaps) else 0.0

    @property
    def size(self) -> float:
        """Return one and the largest number of the point, which distances are compared with."""
        return 1.0 + (float(self.x.abs().max()) if len(self.x) else 0.0)

    @cached_property
    def curvature(self) -> float:
        """Return a typical curvature of the function."""
        return typical_curvature(self.at)

    @property
    def residual(self) -> float:
        """Return how far the point is from stationary and feasible, squared, in units of the function."""
        return self.decrement + self.curvature * self.gap**2

    @cached_property
    def step(self) -> Tensor:
        """Return the Newton step: back to the constraints, and to the stationary point along them."""
        assert self.at.gradient is not None
        c = self.surface.values[list(self.used)]
        back: Tensor = -self.Y @ torch.linalg.solve_triangular(self.R.mT, c[:, None], upper=False)[:, 0]
        if not self.Z.shape[1]:
            return back
        factor = self.tangent.factor
        assert factor is not None
        pull = self.Z.mT @ (self.at.gradient + self.lagrangian @ back)
        step: Tensor = back - self.Z @ solve_spd(factor, pull)
        return step

    def settled(self, tol: float) -> bool:
        """Return whether this is a maximum along the active constraints: feasible, stationary, curved, and at rest."""
        near = 1e-6 if tol < 1e-6 else 1e-3
        rest = not len(self.x) or bool((self.step.abs() <= near * (1 + self.x.abs())).all())
        return self.decrement <= tol and self.gap <= negligible(tol) * self.size and rest

    def revised(self, tol: float) -> Tensor | None:
        """Return another set of active constraints, one more that is violated or one less that pulls; None if right."""
        broken = torch.where(self.active, 0.0, self.gaps)
        if len(broken) and float(broken.max()) > negligible(tol) * self.size:
            active = self.active.clone()
            active[int(broken.argmax())] = True
            return active
        pull = self.multipliers * self.surface.jacobian.norm(dim=1)
        pull = torch.where(self.active & ~self.equal, pull, 0.0)
        if len(pull) and float(pull.min()) < -math.sqrt(2 * tol * self.curvature):
            active = self.active.clone()
            active[int(pull.argmin())] = False
            return active
        return None


def typical_curvature(at: Evaluation) -> float:
    """Return the mean size of the diagonal of a Hessian."""
    assert at.hessian is not None
    return (float(at.hessian.diagonal().abs().mean()) if len(at.hessian) else 0.0) or 1.0


def stationary(
    problem: Problem, constraints: Constraints, x: Tensor, active: Tensor, weight: Tensor, units: Tensor
) -> Stationary | None:
    """Return what a point is along the active constraints; None where something is not finite.

    ``weight`` ranks the constraints: among inequalities with dependent gradients those with more are used.
    """
    surface = constraints.at(x)
    if not surface.finite:
        return None
    at = problem.evaluate(x, 2)
    if not at.finite:
        return None
    assert at.gradient is not None
    rank = torch.where(constraints.equal, torch.inf, weight * surface.jacobian.norm(dim=1))
    order = [i for i in torch.argsort(rank, descending=True, stable=True).tolist() if bool(active[i])]
    used = independent(surface.jacobian / units[:, None], order)
    m = len(used)
    Q, R = torch.linalg.qr(surface.jacobian[used].mT, mode="complete")
    multipliers = torch.zeros_like(units)
    multipliers[used] = torch.linalg.solve_triangular(R[:m], (Q[:, :m].mT @ at.gradient)[:, None], upper=True)[:, 0]
    return Stationary(
        x, at, surface, active, tuple(used), multipliers, Q[:, :m], R[:m], Q[:, m:], units, constraints.equal
    )


def independent(rows: Tensor, order: list[int]) -> list[int]:
    """Return those of some rows, taken in order, that are no combination of earlier ones."""
    left = rows[order]
    least = DEPENDENT * left.norm(dim=1).clamp(min=1.0)
    kept: list[int] = []
    while len(kept) < rows.shape[1]:
        own = (left.norm(dim=1) > least).nonzero()
        if not len(own):
            break
        first = int(own[0])
        unit = left[first] / left[first].norm()
        for _ in range(2):  # twice is enough
            left = left - torch.outer(left @ unit, unit)
        left[: first + 1] = 0.0
        kept.append(order[first])
    return kept


def polish(
    problem: Problem, constraints: Constraints, x: Tensor, multipliers: Tensor, units: Tensor, tol: float
) -> Stationary | None:
    """Return the maximum under the constraints next to a point, or None where Newton's method does not lead to one.

    Steps are full; each must make the residual a tenth. Constraints are added where they are violated, and left where
    the function would rather leave them (Nocedal and Wright 2006, section 16.5).
    """
    active = constraints.equal | (multipliers > 0)
    for _ in range(CHANGES):
        found = _along(problem, constraints, x, active, multipliers, units, tol)
        if found is None or not found.settled(tol):
            return None
        if any(bool(constraints.equal[i]) and i not in found.used for i in range(len(units))):
            return None
        revised = found.revised(tol)
        if revised is None:
            return found
        x, active, multipliers = found.x, revised, found.multipliers.clamp(min=0.0)
    return None


def _along(
    problem: Problem,
    constraints: Constraints,
    x: Tensor,
    active: Tensor,
    weight: Tensor,
    units: Tensor,
    tol: float,
) -> Stationary | None:
    """Take Newton steps for one set of active constraints while they reduce the residual."""
    best: Stationary | None = None
    for _ in range(STEPS):
        here = stationary(problem, constraints, x, active, weight, units)
        if here is None or (here.Z.shape[1] and here.tangent.factor is None):
            break
        if best is not None and here.residual > REDUCED * best.residual:
            return here if here.residual < best.residual else best
        best = here
        if here.residual <= SMALL:
            break
        x = here.x + here.step
    return best
