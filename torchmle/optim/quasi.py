"""Maximise by BFGS and L-BFGS: gradients only, with an exact check at the end."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError
from ..linalg import inverse_spd
from .base import Evaluation, Optimizer, Options, Problem, State, Status, scaled_gradient
from .linesearch import wolfe

RESTARTS = 5
"""How often a method that believes to be done, and is not, goes on from the exact inverse Hessian."""


@dataclass(frozen=True)
class LBFGSOptions(Options):
    """Add the number of past steps that L-BFGS keeps."""

    memory: int = 10


class QuasiNewton(Optimizer):
    """Share the step of BFGS and L-BFGS: a direction from past gradients and a strong Wolfe line search.

    When the method's own estimate of the scaled gradient is below ``tol``, or the line search finds nothing, the
    exact Hessian is evaluated. If the point is not the maximum, the method goes on from the exact inverse.
    """

    default_maxiter = 2000
    order = 1

    @abstractmethod
    def _fresh(self, inverse: Tensor) -> Any:
        """Return the memory of a method whose inverse Hessian is ``inverse``."""

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
        eye = torch.eye(len(x), dtype=x.dtype, device=x.device) / max(problem.rows, 1)
        return State(x, at, memory=(self._fresh(eye), True, 0))

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
                scale = float(step @ change) / float(change @ change)
                memory = self._fresh(scale * torch.eye(len(step), dtype=step.dtype, device=step.device))
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
        return replace(state, memory=(self._fresh(inverse_spd(factor)), False, restarts + 1), step=float("nan"))


class BFGS(QuasiNewton):
    """Keep a dense inverse Hessian (Nocedal and Wright 2006, equation 6.17)."""

    name = "bfgs"

    def _fresh(self, inverse: Tensor) -> Tensor:
        return inverse

    def _apply(self, memory: Tensor, gradient: Tensor) -> Tensor:
        product: Tensor = memory @ gradient
        return product

    def _update(self, memory: Tensor, step: Tensor, change: Tensor) -> Tensor:
        rho = 1.0 / float(step @ change)
        product = memory @ change
        outer = torch.outer(step, product)
        return memory - rho * (outer + outer.mT) + (rho**2 * float(change @ product) + rho) * torch.outer(step, step)


class LBFGS(QuasiNewton):
    """Keep the last steps only and apply the inverse Hessian by the two-loop recursion (algorithm 7.4)."""

    name = "lbfgs"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        kept = getattr(options, "memory", 1)
        if isinstance(kept, bool) or not isinstance(kept, int) or kept < 1:
            raise OptionError(f"memory={kept!r} must be a whole number, 1 or more.")
        self.memory = options.memory if isinstance(options, LBFGSOptions) else LBFGSOptions.memory

    def _fresh(self, inverse: Tensor) -> tuple[Tensor, deque[tuple[Tensor, Tensor, float]]]:
        return inverse, deque(maxlen=self.memory)

    def _apply(self, memory: Any, gradient: Tensor) -> Tensor:
        inverse, pairs = memory
        q: Tensor = gradient.clone()
        alphas: list[float] = []
        for step, change, rho in reversed(pairs):
            alphas.append(rho * float(step @ q))
            q = q - alphas[-1] * change
        q = inverse @ q
        for (step, change, rho), alpha in zip(pairs, reversed(alphas), strict=True):
            q = q + (alpha - rho * float(change @ q)) * step
        return q

    def _update(self, memory: Any, step: Tensor, change: Tensor) -> Any:
        inverse, pairs = memory
        pairs = deque(pairs, maxlen=self.memory)
        pairs.append((step, change, 1.0 / float(step @ change)))
        return inverse, pairs
