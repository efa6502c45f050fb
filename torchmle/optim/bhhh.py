"""Maximise by the method of Berndt, Hall, Hall and Hausman: the outer product of the scores as curvature."""

from __future__ import annotations

import torch
from torch import Tensor

from ..linalg import cholesky, solve_spd
from .base import Problem, State
from .linesearch import wolfe
from .quasi import BFGS


class BHHH(BFGS):
    """Step along ``(sum s s')^-1 g`` (Berndt et al. 1974), with a strong Wolfe line search, checked exactly."""

    name = "bhhh"

    def step(self, problem: Problem, state: State) -> State:
        """Search along the direction, or check the point exactly when there is nothing to gain."""
        memory, first, restarts = state.memory
        gradient = state.at.gradient
        assert gradient is not None
        direction = -self._direction(problem, state, memory, restarts)
        estimate = -float(gradient @ direction)
        if estimate <= self.options.tol / 100 and not first:
            return self._check(problem, state, restarts)
        trial = wolfe(problem, state.x, state.at, direction, 1.0)
        if trial is None:
            return self._check(problem, state, restarts)
        return State(trial.x, trial.at, None, estimate, trial.length, (memory, False, restarts))

    def _direction(self, problem: Problem, state: State, memory: Tensor, restarts: int) -> Tensor:
        """Return the BHHH direction; after a failed check, that of the exact inverse Hessian."""
        gradient = state.at.gradient
        assert gradient is not None
        if restarts:
            return self._apply(memory, gradient)
        outer = problem.outer_products(state.x)
        factor = cholesky(outer)
        if factor is None:
            ridge = 1e-6 * outer.diagonal().clamp(min=1e-6 * max(float(outer.diagonal().max()), 1e-300))
            factor = cholesky(outer + torch.diag(ridge))
        return self._apply(memory, gradient) if factor is None else solve_spd(factor, gradient)
