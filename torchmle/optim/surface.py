"""Describe constraints to a search: values and derivatives of their functions at a point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..linalg import all_finite, symmetric
from .base import Evaluation, Problem


@dataclass(frozen=True)
class Surface:
    """Hold M functions of x at one point: (M,) values, their (M, F) derivatives, and ``bend(w)``, ``sum w_i H_i``."""

    values: Tensor
    jacobian: Tensor
    bend: Callable[[Tensor], Tensor]

    @property
    def finite(self) -> bool:
        """Return whether values and first derivatives are finite."""
        return all_finite(self.values) and all_finite(self.jacobian)


class Constraints(Protocol):
    """Be functions of x of which some are to be zero (``equal``), the others at least zero."""

    @property
    def equal(self) -> Tensor:
        """Return the (M,) truth values that mark the equations."""
        ...

    def at(self, x: Tensor) -> Surface:
        """Return the functions at a point."""
        ...


class Augmented:
    """Be the augmented Lagrangian of Powell, Hestenes and Rockafellar: the function plus ``sum (u^2 - m^2) / (2 r)``.

    ``u = m - r c`` for an equation, ``max(0, m - r c)`` for an inequality, with multipliers m and penalties r: u are
    the multipliers that the point implies (Nocedal and Wright 2006, equations 17.36 and 17.65).
    """

    def __init__(self, problem: Problem, constraints: Constraints, multipliers: Tensor, penalties: Tensor) -> None:
        self.problem, self.constraints = problem, constraints
        self.multipliers, self.penalties = multipliers, penalties
        self.evaluations = 0

    @property
    def rounding(self) -> float:
        """Return the relative error of a value."""
        return self.problem.rounding

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.problem.rows

    def implied(self, surface: Surface) -> Tensor:
        """Return the multipliers that a point implies."""
        found = self.multipliers - self.penalties * surface.values
        return torch.where(self.constraints.equal, found, found.clamp(min=0.0))

    def evaluate(self, x: Tensor, order: int) -> Evaluation:
        """Return value and derivatives; those of the log-likelihood are the ``source``."""
        self.evaluations += 1
        surface = self.constraints.at(x)
        if not surface.finite:
            return Evaluation(torch.inf)
        at = self.problem.evaluate(x, order)
        u = self.implied(surface)
        value = at.value + float(((u.square() - self.multipliers.square()) / (2 * self.penalties)).sum())
        gradient = None if at.gradient is None else at.gradient - surface.jacobian.mT @ u
        hessian = None
        if at.hessian is not None:
            used = self.constraints.equal | (u > 0)
            J = surface.jacobian[used]
            hessian = symmetric(at.hessian + J.mT @ (J * self.penalties[used][:, None]) - surface.bend(u))
        return Evaluation(value, gradient, hessian, at, -at.value)

    def outer_products(self, x: Tensor) -> Tensor:
        """Raise: Newton's method has no use for them."""
        raise NotImplementedError

    def batch(self, index: Tensor) -> Augmented:
        """Raise: constraints are those of all rows."""
        raise NotImplementedError
