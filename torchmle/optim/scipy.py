"""Maximise by any method of ``scipy.optimize.minimize``, with exact derivatives and an exact check at the end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .base import Evaluation, Optimizer, Options, Problem, State, Status, scaled_gradient

GRADIENT = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP")
HESSIAN = ("Newton-CG", "dogleg", "trust-ncg", "trust-krylov", "trust-exact", "trust-constr")
VALUE = ("Nelder-Mead", "Powell", "COBYLA")
NAMES = (*GRADIENT, *HESSIAN, *VALUE)

TIGHT = 1e-12
"""Tolerance handed to scipy, whose defaults stop far from the maximum."""


@dataclass(frozen=True)
class ScipyOptions(Options):
    """Add what the method takes in scipy's ``options``, under scipy's names."""

    extra: dict[str, Any] = field(default_factory=dict)


class Scipy(Optimizer):
    """Hand the problem to scipy; one step is one run of its method."""

    default_maxiter = 5000
    order = 1

    def __init__(self, options: Options, method: str = "BFGS") -> None:
        super().__init__(options)
        self.method, self.name = method, f"scipy:{method}"
        self.extra = options.extra if isinstance(options, ScipyOptions) else {}

    def init(self, problem: Problem, x: Tensor, at: Evaluation) -> State:
        """Judge the start."""
        return State(x, at, None if at.finite else Status.NOT_FINITE)

    def step(self, problem: Problem, state: State) -> State:
        """Run the method to its end and judge where it stopped by exact derivatives."""
        from scipy import optimize

        minimize: Any = optimize.minimize
        limit = self.options.maxiter if self.options.maxiter is not None else self.default_maxiter
        unit = max(abs(state.at.value), 1.0)  # scipy's own tolerances are absolute
        rows = _Rows(problem, unit)
        arguments: dict[str, Any] = {} if self.method in VALUE else {"jac": rows.gradient}
        if self.method in HESSIAN:
            arguments["hess"] = rows.hessian
        options = {"maxiter": max(limit, 1), **self.extra}
        answer = minimize(
            rows.value, state.x.numpy().copy(), method=self.method, tol=TIGHT, options=options, **arguments
        )
        x = torch.from_numpy(np.asarray(answer.x, dtype=np.float64).copy())
        at = problem.evaluate(x, 2)
        if not at.finite or at.value > state.at.value:
            return replace(state, status=Status.STALLED)
        decrement, _ = scaled_gradient(at)
        done = decrement <= self.options.tol
        ended = Status.MAXITER if getattr(answer, "nit", 0) >= limit else Status.STALLED
        return State(x, at, Status.CONVERGED if done else ended, decrement, 1.0, memory=int(getattr(answer, "nit", 0)))


class _Rows:
    """Give scipy value, gradient and Hessian in units of the start value; infinite where they are not finite."""

    def __init__(self, problem: Problem, unit: float) -> None:
        self.problem, self.unit = problem, unit

    def _at(self, x: Any, order: int) -> Evaluation:
        return self.problem.evaluate(torch.from_numpy(np.array(x, dtype=np.float64)), order)

    def value(self, x: Any) -> float:
        """Return the value."""
        value = self._at(x, 0).value / self.unit
        return value if np.isfinite(value) else np.inf

    def gradient(self, x: Any) -> Any:
        """Return the gradient."""
        gradient = self._at(x, 1).gradient
        assert gradient is not None
        return gradient.numpy() / self.unit

    def hessian(self, x: Any) -> Any:
        """Return the Hessian."""
        hessian = self._at(x, 2).hessian
        assert hessian is not None
        return hessian.numpy() / self.unit
