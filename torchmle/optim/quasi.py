"""Maximise by BFGS and L-BFGS: gradients only, with an exact check at the end."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..linalg import inverse_spd, solve_spd
from .base import Evaluation, Optimizer, Options, Problem, State, Status, scaled_gradient
from .checks import check_whole
from .linesearch import wolfe

RESTARTS = 5
"""How often a method that believes to be done, and is not, goes on from the exact inverse Hessian."""


@dataclass(frozen=True)
class LBFGSOptions(Options):
    """Add the number of past steps that L-BFGS keeps."""

    memory: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("memory", self.memory, 1)


class QuasiNewton(Optimizer):
    """Share the step of BFGS and L-BFGS: a direction from past gradients and a strong Wolfe line search.

    When the method's own estimate of the scaled gradient is below ``tol``, or the line search finds nothing, the
    exact Hessian is evaluated. If the point is not the maximum, the method goes on from the exact inverse.
    """

    default_maxiter = 2000
    order = 1

    @abstractmethod
    def _scaled(self, size: int, scale: float) -> Any:
        """Return the memory of a method whose inverse Hessian is ``scale`` times the identity."""

    @abstractmethod
    def _exact(self, factor: Tensor) -> Any:
        """Return the memory of a method whose Hessian has this Cholesky factor."""

    @abstractmethod
    def _apply(self, memory: Any, gradient: Tensor) -> Tensor:
        """Return the approximate inverse Hessian times a gradient."""

    @abstractmethod
    def _update(self, memory: Any, step: Tensor, change: Tensor) -> Any:
        """Return the memory after a step and its change of gradient."""

    def init(self, problem: Problem, x: Tensor, at: Evaluation) -> State:
        """Begin with the curvature of standardised columns: rows times the identity."""
        if not at.finite:
            return State(x, at, Status.NOT_FINITE)
        return State(x, at, memory=(self._scaled(len(x), 1 / max(problem.rows, 1)), True, 0))

    def step(self, problem: Problem, state: State) -> State:
        """Search along the quasi-Newton direction, or check the point exactly when there is nothing to gain."""
        memory, first, restarts = state.memory
        gradient = state.at.gradient
        assert gradient is not None
        direction = -self._apply(memory, gradient)
        estimate = -float(gradient @ direction)
        if estimate <= self.options.tol / 100 and not first:
            return self._check(problem, state, restarts)
        trial = wolfe(problem, state.x, state.at, direction, 1.0)
        if trial is None:
            return self._check(problem, state, restarts)
        step, change = trial.x - state.x, trial.at.gradient - gradient  # type: ignore[operator]
        if float(step @ change) > 1e-14 * float(step.norm() * change.norm()):
            if first:
                memory = self._scaled(len(step), float(step @ change) / float(change @ change))
            memory = self._update(memory, step, change)
        return State(trial.x, trial.at, None, estimate, trial.length, (memory, False, restarts))

    def _check(self, problem: Problem, state: State, restarts: int) -> State:
        exact = problem.evaluate(state.x, 2)
        decrement, factor = scaled_gradient(exact)
        state = replace(state, at=exact, decrement=decrement)
        if decrement <= self.options.tol:
            return replace(state, status=Status.CONVERGED, step=float("nan"))
        if factor is None or restarts >= RESTARTS:
            return replace(state, status=Status.STALLED, step=float("nan"))
        return replace(state, memory=(self._exact(factor), False, restarts + 1), step=float("nan"))


class BFGS(QuasiNewton):
    """Keep a dense inverse Hessian (Nocedal and Wright 2006, equation 6.17)."""

    name = "bfgs"

    def _scaled(self, size: int, scale: float) -> Tensor:
        return scale * torch.eye(size, dtype=torch.float64, device="cpu")

    def _exact(self, factor: Tensor) -> Tensor:
        return inverse_spd(factor)

    def _apply(self, memory: Tensor, gradient: Tensor) -> Tensor:
        product: Tensor = memory @ gradient
        return product

    def _update(self, memory: Tensor, step: Tensor, change: Tensor) -> Tensor:
        rho = 1.0 / float(step @ change)
        product = memory @ change
        side = 0.5 * rho * (1.0 + rho * float(change @ product)) * step - rho * product
        return torch.addr(memory, side, step).addr_(step, side)


@dataclass(frozen=True)
class Pairs:
    """Hold past steps with their changes of gradient, and the inverse Hessian that they correct."""

    scale: float
    factor: Tensor | None
    kept: tuple[tuple[Tensor, Tensor, float], ...] = ()


class LBFGS(QuasiNewton):
    """Keep the last steps only and apply the inverse Hessian by the two-loop recursion (algorithm 7.4).

    Nothing of the size of the Hessian is formed before the exact check.
    """

    name = "lbfgs"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.memory = int(options.memory if isinstance(options, LBFGSOptions) else LBFGSOptions.memory)

    def _scaled(self, size: int, scale: float) -> Pairs:
        return Pairs(scale, None)

    def _exact(self, factor: Tensor) -> Pairs:
        return Pairs(1.0, factor)

    def _apply(self, memory: Pairs, gradient: Tensor) -> Tensor:
        q: Tensor = gradient.clone()
        alphas: list[float] = []
        for step, change, rho in reversed(memory.kept):
            alphas.append(rho * float(step @ q))
            q = q - alphas[-1] * change
        q = memory.scale * q if memory.factor is None else solve_spd(memory.factor, q)
        for (step, change, rho), alpha in zip(memory.kept, reversed(alphas), strict=True):
            q = q + (alpha - rho * float(change @ q)) * step
        return q

    def _update(self, memory: Pairs, step: Tensor, change: Tensor) -> Pairs:
        pair = (step, change, 1.0 / float(step @ change))
        return replace(memory, kept=(*memory.kept, pair)[-self.memory :])
