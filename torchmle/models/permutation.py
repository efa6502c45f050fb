"""Test a column by permuting its values over the rows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from ..data.absent import need_rows
from ..data.crossproducts import cross_products
from ..errors import (
    ConvergenceWarning,
    DataWarning,
    OptionError,
    SeparationWarning,
    TorchmleError,
    unheard,
    unknown,
    warn,
)
from ..inference.resampling import generator
from ..loglik.leastsquares import LeastSquares
from ..optim.checks import check_whole
from ..progress import ProgressLine
from ..results.contrasts import HypothesisTest
from ..results.estimates import Estimates
from ..results.linkscale import need_maximum
from .simulate import check_seed

TIES = {torch.float64: 1e-7, torch.float32: 1e-3}
"""Relative gap up to which two statistics are the same: that of two fits which ended on the same maximum."""


def permutation(
    results: Estimates, *, name: str, reps: int, statistic: str, seed: int, progress: bool | None
) -> HypothesisTest:
    """Return the permutation test of one column; see :meth:`Results.permutation_test`."""
    need_rows(results.model.data, "permutation_test()")
    need_maximum(results, "permutation_test() compares with a fit; its statistics")
    if reps is None:
        raise OptionError("reps=None: give the number of permutations, e.g. 999.")
    check_whole("reps", reps, 1)
    if statistic not in ("z", "coef"):
        raise OptionError(unknown("statistic", statistic, ["z", "coef"]))
    _check_weights(results, statistic)
    terms, state, count = _terms(results, name), check_seed(seed), int(reps)
    here = _statistic(results, name, statistic)
    drawn = _drawn(results, name, terms.index(name), statistic, state, count, progress)
    failed = sum(math.isnan(d) for d in drawn)
    slack = TIES[results.fit.objective.dtype]
    beyond = sum(math.isnan(d) or abs(d) >= abs(here) * (1 - slack) for d in drawn)
    notes = _notes(results, failed, count)
    label = f"{name} has no effect ({count} permutations of its values)"
    return HypothesisTest("Permutation test", label, here, (1 + beyond) / (1 + count), 1, "permutation", notes=notes)


def _check_weights(results: Estimates, statistic: str) -> None:
    weights = results.model.data.weights
    if weights is None:
        return
    if weights.kind == "freq_weights":
        raise OptionError(
            "permutation_test() permutes rows, and under freq_weights a row stands for several observations that would "
            "move together. Repeat the rows as often as they count, and fit without weights."
        )
    if weights.kind == "sampling_weights" and statistic == "z":
        raise OptionError("statistic='z' has no nonrobust error under sampling_weights. Use statistic='coef'.")


def _terms(results: Estimates, name: str) -> tuple[str, ...]:
    """Return the columns of the first predictor, one of which is permuted."""
    if results.model.response == "categorical":
        raise OptionError(
            f"permutation_test() is about one coefficient of a column, and {results.model.model_name} has one for each "
            "level. Test them together with wald_test(), lr_test() or score_test()."
        )
    designs = results.model.data.designs
    design = next(iter(designs.values())) if designs else None
    terms = () if design is None else design.terms
    known = [t for j, t in enumerate(terms) if t in results.names and design is not None and j != design.constant]
    if name not in known:
        raise OptionError(unknown("column of the first predictor that varies:", name, known or ["(none)"]))
    if results.names.index(name) in results.fit.map.untested:
        raise OptionError(f"{name!r} is fixed, or at a bound; there is nothing to permute.")
    return terms


def _drawn(
    results: Estimates, name: str, column: int, statistic: str, seed: int, count: int, progress: bool | None
) -> list[float]:
    """Return the statistics of the permutations, NaN where there is none."""
    drawn = []
    with ProgressLine(progress) as line:
        for number in range(count):
            drawn.append(_permuted(results, name, column, statistic, seed, number))
            line.count("permutation test", count)
    return drawn


def _notes(results: Estimates, failed: int, count: int) -> tuple[str, ...]:
    notes = []
    if failed:
        text = f"{failed} of {count} permutations have no estimate and count as beyond."
        warn(f"{results.model.model_name}: {text}", ConvergenceWarning)
        notes.append(text)
    if results.model.data.groups is not None or results.inference.covariance.kwds.get("groups") is not None:
        notes.append("Values were permuted over single rows: the groups of the fit were not used.")
    return tuple(notes)


def _statistic(results: Any, name: str, statistic: str) -> float:
    value = float(results.params[name])
    return value if statistic == "coef" else value / float(results.with_cov("nonrobust").bse[name])


def _permuted(results: Estimates, name: str, column: int, statistic: str, seed: int, number: int) -> float:
    """Return the statistic of a fit in which one column is permuted; NaN where it has none."""
    data = results.model.data
    first, design = next(iter(data.designs.items()))
    order = torch.from_numpy(generator(seed, number, 2).permutation(len(data.endog))).to(data.device)
    X = design.X.clone()
    X[:, column] = X[order, column]
    changed: Any = results.model.take(slice(None))
    changed.data = replace(data, designs={**data.designs, first: replace(design, X=X, cross=cross_products(X))})
    changed.exog = X
    given = results.record.arguments
    rest = {k: given[k] for k in ("fixed", "constraints", "bounds") if k in given}
    closed = isinstance(results.fit.objective, LeastSquares)
    try:
        cov = "nonrobust" if statistic == "z" else None
        with unheard(ConvergenceWarning), unheard(SeparationWarning), unheard(DataWarning):
            again = changed.fit(method=None if closed else "newton", cov_type=cov, **rest)
    except TorchmleError:
        return math.nan
    return _statistic(again, name, statistic) if again.converged else math.nan
