"""Test a column by permuting its values over the rows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from ..data.absent import need_rows
from ..data.crossproducts import cross_products
from ..errors import ConvergenceWarning, DataWarning, OptionError, SeparationWarning, TorchmleError, unheard, unknown
from ..inference.resampling import generator
from ..loglik.leastsquares import LeastSquares
from ..optim.checks import check_whole
from ..progress import ProgressLine
from ..results.contrasts import HypothesisTest
from ..results.estimates import Estimates
from ..results.linkscale import need_maximum
from .simulate import check_seed


def permutation(
    results: Estimates, *, name: str, reps: int, statistic: str, seed: int, progress: bool | None
) -> HypothesisTest:
    """Return the permutation test of one column; see :meth:`Results.permutation_test`."""
    need_rows(results.model.data, "permutation_test()")
    need_maximum(results, "permutation_test()")
    check_whole("reps", reps, 1)
    if statistic not in ("z", "coef"):
        raise OptionError(unknown("statistic", statistic, ["z", "coef"]))
    designs = results.model.data.designs
    terms = next(iter(designs.values())).terms if designs else ()
    if name not in terms or name not in results.names:
        raise OptionError(unknown("column of the first predictor:", name, [t for t in terms if t in results.names]))
    if results.names.index(name) in results.fit.map.untested:
        raise OptionError(f"{name!r} is fixed; there is nothing to permute.")
    here, drawn = _statistic(results, name, statistic), []
    line = ProgressLine(progress)
    try:
        for number in range(int(reps)):
            drawn.append(_permuted(results, name, terms.index(name), statistic, check_seed(seed), number))
            line.show(f"permutation test: {number + 1} of {reps}")
    finally:
        line.close()
    failed = sum(math.isnan(d) for d in drawn)
    beyond = sum(math.isnan(d) or abs(d) >= abs(here) * (1 - 1e-12) for d in drawn)
    notes = (f"{failed} permutations have no estimate and count as beyond.",) if failed else ()
    label = f"{name} has no effect ({reps} permutations of its values)"
    pvalue = (1 + beyond) / (1 + int(reps))
    return HypothesisTest("Permutation test", label, here, pvalue, 1, "permutation", notes=notes)


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
