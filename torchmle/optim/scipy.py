"""Maximise by any method of ``scipy.optimize.minimize``, with exact derivatives and an exact check at the end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import OptionError
from .base import Evaluation, Optimizer, Options, Problem, State, Status, scaled_gradient
from .checks import check_like

GRADIENT = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP")
HESSIAN = ("Newton-CG", "dogleg", "trust-ncg", "trust-krylov", "trust-exact", "trust-constr")
VALUE = ("Nelder-Mead", "Powell", "COBYLA")
NAMES = (*GRADIENT, *HESSIAN, *VALUE)
RADII = ("initial_trust_radius", "max_trust_radius", "eta", "gtol")

TAKES: dict[str, tuple[str, ...]] = {
    "CG": ("gtol", "c1", "c2"),
    "BFGS": ("gtol", "xrtol", "c1", "c2"),
    "L-BFGS-B": ("maxcor", "ftol", "gtol", "maxfun", "maxls"),
    "TNC": ("maxCGit", "eta", "stepmx", "accuracy", "minfev", "ftol", "xtol", "gtol", "rescale"),
    "SLSQP": ("ftol",),
    "Newton-CG": ("xtol", "c1", "c2"),
    "dogleg": RADII,
    "trust-ncg": RADII,
    "trust-krylov": (*RADII, "inexact"),
    "trust-exact": RADII,
    "trust-constr": ("xtol", "gtol", "initial_tr_radius"),
    "Nelder-Mead": ("maxfev", "xatol", "fatol", "adaptive"),
    "Powell": ("xtol", "ftol", "maxfev"),
    "COBYLA": ("rhobeg", "catol"),
}
"""Options of scipy that act on these problems, by method. Not those that print, set differences, or are in the units
that optimizers see; ``maxiter`` is an argument of ``fit``."""

FLAGS = ("adaptive", "inexact")

TIGHT = 1e-12
"""Tolerance handed to scipy, whose defaults stop far from the maximum."""


@dataclass(frozen=True)
class ScipyOptions(Options):
    """Add what the method takes in scipy's ``options``, under scipy's names."""

    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in self.extra.items():
            check_like(name, value, name in FLAGS or 1.0)
            if value < 0:
                raise OptionError(f"{name}={value!r} must not be negative.")


class Scipy(Optimizer):
    """Hand the problem to scipy; one step is one run of its method."""

    default_maxiter = 5000
    order = 1
    one_piece = True

    def __init__(self, options: Options, method: str = "BFGS") -> None:
        super().__init__(options)
        self.method, self.name = method, f"scipy:{method}"
        self.extra = options.extra if isinstance(options, ScipyOptions) else {}

    def init(self, problem: Problem, x: Tensor, at: Evaluation) -> State:
        """Judge the start."""
        return State(x, at, None if at.finite else Status.NOT_FINITE)

    def step(self, problem: Problem, state: State) -> State:
        """Run the method to its end and judge where it stopped by exact derivatives."""
        limit = self.options.maxiter if self.options.maxiter is not None else self.default_maxiter
        unit = max(abs(state.at.value), 1.0)  # scipy's own tolerances are absolute
        rows = _Rows(problem, unit, state.x)
        try:
            ended = self._run(rows, state.x, limit)
        except KeyboardInterrupt:
            return State(rows.best, problem.evaluate(rows.best, 2), Status.INTERRUPTED, step=1.0)
        except Exception as error:
            if error is rows.error or not self.extra:
                raise
            raise OptionError(f"scipy's {self.method} refuses its options {self.extra}: {error}.") from error
        x = rows.last
        at = problem.evaluate(x, 2)
        if not at.finite or at.value > state.at.value:
            return replace(state, status=Status.STALLED)
        decrement, _ = scaled_gradient(at)
        return State(x, at, Status.CONVERGED if decrement <= self.options.tol else ended, decrement, 1.0)

    def _run(self, rows: _Rows, x: Tensor, limit: int) -> Status:
        """Run scipy's method from x, leave its answer in ``rows.last``, and return how it ends elsewhere."""
        from scipy import optimize

        minimize: Any = optimize.minimize
        arguments: dict[str, Any] = {} if self.method in VALUE else {"jac": rows.gradient}
        if self.method in HESSIAN:
            arguments["hess"] = rows.hessian
        counts = "maxfun" if self.method == "TNC" else "maxiter"  # TNC and COBYLA count evaluations
        least = len(x) + 2 if self.method == "COBYLA" else 1
        options = {counts: max(limit, least), **self.extra}
        with np.errstate(all="ignore"):  # its overflows are not the user's
            answer = minimize(rows.value, x.numpy().copy(), method=self.method, tol=TIGHT, options=options, **arguments)
        rows.last = torch.from_numpy(np.asarray(answer.x, dtype=np.float64).copy())
        passes = min(self.extra.get("maxfun", np.inf), self.extra.get("maxfev", np.inf))
        used = answer.nfev if self.method in ("TNC", "COBYLA") else getattr(answer, "nit", 0)
        return Status.MAXITER if used >= limit or answer.nfev >= passes else Status.STALLED


class _Rows:
    """Give scipy value, gradient and Hessian in units of the start value; infinite where they are not finite."""

    def __init__(self, problem: Problem, unit: float, x: Tensor) -> None:
        self.problem, self.unit = problem, unit
        self.last, self.best, self._least = x, x, np.inf
        self.error: Exception | None = None

    def _at(self, x: Any, order: int) -> Evaluation:
        try:
            return self.problem.evaluate(torch.from_numpy(np.array(x, dtype=np.float64)), order)
        except Exception as error:  # of the likelihood, not of scipy
            self.error = error
            raise

    def value(self, x: Any) -> float:
        """Return the value."""
        value = self._at(x, 0).value / self.unit
        if np.isfinite(value) and value <= self._least:
            self.best, self._least = torch.from_numpy(np.array(x, dtype=np.float64)), value
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
