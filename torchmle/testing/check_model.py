"""Run every check on one model and report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import OptionError, TorchmleWarning, unknown
from ..models.base import GenericLikelihoodModel
from ..workers import settled_threads
from . import derivative_checks, fit_checks, invariance_checks, simulation_checks
from .subject import Finding, NotApplicableError, Simulate, Subject, check_arguments

Check = Callable[[Subject], Finding]

CHECKS: Mapping[str, Check] = {
    "fit": fit_checks.fit,
    "gradient": derivative_checks.gradient,
    "hessian": derivative_checks.hessian,
    "reported": derivative_checks.reported,
    "row_sums": derivative_checks.row_sums,
    "chunks": derivative_checks.chunks,
    "shards": derivative_checks.shards,
    "row_order": invariance_checks.row_order,
    "weights": invariance_checks.weights,
    "column_scale": invariance_checks.column_scale,
    "covariance": fit_checks.covariance,
    "robust_covariance": fit_checks.robust_covariance,
    "refit": fit_checks.refit,
    "methods": fit_checks.methods,
    "twin": fit_checks.twin,
    "summary": fit_checks.summary,
    "keeping": fit_checks.keeping,
    "extreme": derivative_checks.extreme,
    "mean_score": simulation_checks.mean_score,
    "information": simulation_checks.information,
    "recovery": simulation_checks.recovery,
    "coverage": simulation_checks.coverage,
}
"""What a model is put through, in order; the docstring of each function says what it proves."""


@dataclass(frozen=True)
class CheckResult:
    """Hold what came of one check; ``passed`` is None where it does not apply to the model."""

    name: str
    passed: bool | None
    detail: str

    @property
    def verdict(self) -> str:
        """Return ``passed``, ``FAILED`` or ``not applicable``."""
        return "not applicable" if self.passed is None else "passed" if self.passed else "FAILED"

    def __str__(self) -> str:
        return f"{self.name:<18} {self.verdict:<15} {self.detail}"


class Verdicts:
    """Be a report on checks, each found by its name."""

    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Return whether no check failed; those that do not apply do not count."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """Return the failed checks."""
        return tuple(r for r in self.results if r.passed is False)

    def __getitem__(self, name: str) -> CheckResult:
        """Return the result of one check."""
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(unknown("check", name, [r.name for r in self.results]))


@dataclass(frozen=True)
class ModelReport(Verdicts):
    """Hold what came of all checks of one model; prints as a table."""

    model: str
    results: tuple[CheckResult, ...]

    def __str__(self) -> str:
        counts = {v: sum(r.verdict == v for r in self.results) for v in ("passed", "FAILED", "not applicable")}
        head = f"check_model({self.model}): " + ", ".join(f"{n} {v}" for v, n in counts.items())
        return "\n".join([head, *map(str, self.results)])


def check_model(
    model: GenericLikelihoodModel,
    *,
    simulate: Simulate | None = None,
    params: Any = None,
    seed: int = 0,
    checks: Sequence[str] | None = None,
    twin: GenericLikelihoodModel | None = None,
    extreme: float | None = None,
    raise_on_failure: bool = True,
) -> ModelReport:
    """Put a likelihood model through what every model must pass.

    Give a model with some hundred rows: it is fitted many times. Numbers are compared in standard errors, so that
    units do not matter. A check that does not apply is reported so, never as passed.

    Parameters
    ----------
    model : the model with its data, declarative or opaque, before its fit. Checks that need other rows or another
        response call ``type(model)(endog, exog, ...)``.
    simulate : ``simulate(params, rng)`` returns a response for the rows of the model, drawn from it at ``params`` (an
        array in the order of ``model.param_names``) with the numpy generator ``rng``.
    params : parameters at which to check and to simulate, in the units of the results; the estimates by default.
    seed : seed of all random points and data sets.
    checks : names of the checks to run, see ``torchmle.testing.CHECKS``; all by default.
    twin : another form of the same model on the same data (opaque for declarative, one's own for a built-in).
        Parameters are compared as reported where the names agree, else in order and on the link scale.
    extreme : size of the first predictor at which value, score and Hessian must still be finite, e.g. 40 for a probit.
    raise_on_failure : False returns the report whatever it says.

    Returns
    -------
    ModelReport
        Name, verdict and detail of each check.

    Raises
    ------
    AssertionError
        Listing the checks that failed.
    OptionError
        For an unknown check, or an argument that cannot be used.

    Examples
    --------
    >>> import torchmle as tm
    >>> from torchmle.testing import check_model
    >>> model = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz"))
    >>> report = check_model(model, checks=["gradient", "hessian", "weights"], extreme=800)
    >>> [r.verdict for r in report.results]
    ['passed', 'passed', 'passed']
    """
    subject = Subject(model, simulate, params, seed, twin, extreme)
    check_arguments(subject)
    names = list(CHECKS) if checks is None else list(checks)
    for name in names:
        if name not in CHECKS:
            raise OptionError(unknown("check", name, CHECKS))
    with settled_threads():
        report = ModelReport(type(model).__name__, tuple(_run(name, subject) for name in names))
    if raise_on_failure and not report.passed:
        failed = "\n".join(map(str, report.failures))
        raise AssertionError(f"{report.model} failed {len(report.failures)} of {len(names)} checks:\n{failed}")
    return report


def _run(name: str, subject: Subject) -> CheckResult:
    """Return the result of one check; an exception of the model is a failure with its text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TorchmleWarning)
            finding = CHECKS[name](subject)
    except NotApplicableError as reason:
        return CheckResult(name, None, str(reason))
    except Exception as error:
        return CheckResult(name, False, f"raised {type(error).__name__}: {error}")
    return CheckResult(name, finding.passed, finding.detail)
