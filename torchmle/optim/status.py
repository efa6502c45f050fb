"""List how a fit can end, with what to try."""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """List how a fit can end; :attr:`sentence` says what it means and what to try."""

    CONVERGED = "converged"
    MAXITER = "maxiter"
    STALLED = "stalled"
    LOOSE = "loose"
    FLAT = "flat"
    NO_MAXIMUM = "no_maximum"
    SEPARATED = "separated"
    INFEASIBLE = "infeasible"
    DEPENDENT = "dependent"
    WRONG_DERIVATIVES = "wrong_derivatives"
    NOT_FINITE = "not_finite"
    TIME_LIMIT = "time_limit"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    TRAINED = "trained"
    PASSED = "passed"
    NO_SOLUTION = "no_solution"

    @property
    def sentence(self) -> str:
        """Return what happened, and what to try."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.CONVERGED: "The scaled gradient is zero to rounding and the information is positive definite.",
    Status.MAXITER: "The iteration limit was reached. Raise maxiter, give start_params, or use another method; "
    "'newton' takes the fewest iterations.",
    Status.STALLED: "No step improves the log-likelihood although the gradient is not zero. "
    "Check that the likelihood is smooth and accurate (a response that hardly varies around its level loses its digits "
    "in rounding), try other start_params or another method.",
    Status.LOOSE: "The method stopped at the tol that it was given, where the gradient is not zero yet. Leave tol out, "
    "or give a smaller one.",
    Status.FLAT: "The log-likelihood is flat, or not concave, at this point: some parameters are not identified. "
    "Remove one of the parameters named, or start elsewhere.",
    Status.NO_MAXIMUM: "The log-likelihood still rises at this point and is not concave there: it may have no maximum "
    "(a scale that runs to zero, a parameter without effect at infinity). Start elsewhere, or bound "
    "or remove the parameters named.",
    Status.SEPARATED: "No maximum likelihood estimate exists: some rows are predicted perfectly, and the "
    "log-likelihood rises for ever along a combination of columns. Leave out the columns or the rows named.",
    Status.INFEASIBLE: "No parameter values near this point satisfy all constraints: it is where they are violated "
    "least. Give start_params that satisfy them, or leave out a constraint.",
    Status.DEPENDENT: "The constraints are not independent at this point: the gradient of one is zero or a combination "
    "of those of others, so that multipliers and standard errors are not defined. Leave one out, or write it so that "
    "it has a gradient where it holds: f = 0 and not f**2 = 0.",
    Status.WRONG_DERIVATIVES: "Autograd and differences of the log-likelihood disagree at the returned point.",
    Status.NOT_FINITE: "The log-likelihood or its derivatives are not finite around this point. "
    "Look for a parameter that runs to a bound of its range, and for log, sqrt or division at zero.",
    Status.TIME_LIMIT: "The time limit was reached; this is the best point so far. Raise time_limit, or go on with "
    "fit(resume=results).",
    Status.STOPPED: "The callback asked to stop.",
    Status.INTERRUPTED: "The fit was interrupted; this is the best point so far.",
    Status.TRAINED: "Training ended as asked. The point is not shown to be a maximum, and mostly is none. To go "
    "on: fit(resume=results), with more epochs, or with method='newton' where the parameters are few.",
    Status.PASSED: "The constraints hold with the stated confidence, by data that the estimate has never seen. It is "
    "the best feasible point of the search and no maximum, so that it has no standard errors.",
    Status.NO_SOLUTION: "No solution found: nothing was shown to satisfy the constraints with the stated confidence, "
    "so that no parameters are given. Use more data, a better model or looser constraints.",
}
