"""Turn parameters and draws into random coefficients, with exact derivatives.

Every random coefficient is a smooth function of indices ``u_q = sum_f theta_qf phi_f``, which are linear in the
parameters: the features phi are 1, person variables, and standard draws. What the functions are is left to autograd,
at the level of persons and draws, where it is cheap.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Mixing(ABC):
    """Be the functions from indices to coefficients.

    Attributes
    ----------
    indices : Q, how many indices there are.
    diagonal : whether coefficient q depends on index q only.
    unit : the indices in which coefficients have slope one.
    """

    indices: int
    diagonal: bool = True
    unit: frozenset[int] = frozenset()

    @abstractmethod
    def coefficients(self, u: Tensor, draws: Tensor) -> Tensor:
        """Return (C, n, R) coefficients at indices (Q, n, R) and standard draws (D, n, R)."""

    def touched(self, index: int) -> tuple[int, ...]:
        """Return the coefficients that depend on an index."""
        return (index,)


@dataclass(frozen=True)
class Slot:
    """Say where a parameter enters: index q times a feature, 0 for the constant, 1..L person variables, then draws.

    A parameter of a column without random coefficient has ``column`` and no index.
    """

    index: int = -1
    feature: int = 0
    column: int = -1


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Hold random coefficients of some persons with derivatives in the indices.

    Attributes
    ----------
    beta : (C, n, R).
    slopes : (Q, n, R) of each coefficient in its own index, or (C, Q, n, R) where they depend on several.
    graph : the indices, and the coefficients with the graph that leads to them.
    diagonal, straight : whether each depends on its own index only; whether all are linear in the indices.
    """

    beta: Tensor
    slopes: Tensor | None
    graph: tuple[Tensor, Tensor]
    diagonal: bool
    straight: bool

    def curvature(self, s: Tensor) -> Tensor | None:
        """Return ``sum_c s_c d2 beta_c / du_q du_p`` for s (C, n, R): (Q, n, R) if diagonal, else (Q, Q, n, R)."""
        u, beta = self.graph
        if self.straight:
            return None
        with torch.enable_grad():
            (first,) = torch.autograd.grad((beta * s).sum(), u, create_graph=True)
            if self.diagonal:
                return _slope(first, u)
            return torch.stack([_slope(row, u) for row in first])


def _slope(values: Tensor, u: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(values.sum(), u, retain_graph=True, allow_unused=True)
    return torch.zeros_like(u) if found is None else found.detach()


def mix(mixing: Mixing, u: Tensor, draws: Tensor, order: int) -> Coefficients:
    """Return the coefficients at some indices, with slopes where ``order`` asks for derivatives."""
    straight = len(mixing.unit) == mixing.indices
    if order == 0:
        beta = mixing.coefficients(u, draws)
        return Coefficients(beta, None, (u, beta), mixing.diagonal, straight)
    leaf = u.detach().requires_grad_()
    with torch.enable_grad():
        beta = mixing.coefficients(leaf, draws)
        if mixing.diagonal:
            (slopes,) = torch.autograd.grad(beta.sum(), leaf, create_graph=order > 1)
        else:
            slopes = torch.stack([_slope(row, leaf) for row in beta])
    return Coefficients(beta.detach(), slopes.detach(), (leaf, beta), mixing.diagonal, straight)
