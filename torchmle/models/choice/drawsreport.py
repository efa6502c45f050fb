"""Say how the estimates of a mixed logit move with number, kind and seed of the draws."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...data.absent import need_rows
from ...errors import ConvergenceWarning, OptionError, unheard
from ...loglik.draws import Draws
from ...progress import ProgressLine
from ...results.restricted import refuse_restricted
from .mixed import MixedLogit
from .scenes import need_design
from .worth import need_mixed

if TYPE_CHECKING:
    from .results import ChoiceResults

HELD = ("fixed", "constraints", "bounds")
"""Arguments of the fit that are repeated."""


@dataclass(frozen=True, eq=False, repr=False)
class DrawsReport:
    """Hold the fits of one model with different draws.

    Attributes
    ----------
    fits : a row for each kind, number and seed: ``llf``, ``converged`` and the estimates, spreads as positive numbers.
    reference : the estimates and the log-likelihood of the fit that was asked.
    bse : its standard errors.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.MixedLogit.from_formula(
    ...     "chosen ~ time + cost", tm.datasets.load("trips"), alternatives="mode", situations="trip",
    ...     persons="person", random={"time": "normal"}, draws=50)
    >>> report = model.fit().draws_report(numbers=[25, 50], kinds=["halton"], seeds=[0, 1])
    >>> report.fits.shape, report.spread.shape
    ((4, 8), (2, 7))
    """

    fits: pd.DataFrame
    reference: pd.Series
    bse: pd.Series

    @property
    def spread(self) -> pd.DataFrame:
        """Return standard deviations across seeds of log-likelihood and estimates, by kind and number."""
        numbers = self.fits.drop(columns="converged")
        return numbers.groupby(level=["kind", "number"], sort=False).std()

    @property
    def relative(self) -> pd.DataFrame:
        """Return the spread of estimates in units of their standard errors: below 0.1 draws hardly matter."""
        return self.spread.drop(columns="llf") / self.bse.where(self.bse > 0)

    @property
    def shift(self) -> pd.DataFrame:
        """Return means across seeds less the fit that was asked, in units of standard errors; ``llf`` as it is."""
        means = self.fits.drop(columns="converged").groupby(level=["kind", "number"], sort=False).mean()
        off = means - self.reference[means.columns]
        return off / self.bse.where(self.bse > 0).reindex(off.columns).fillna({"llf": 1.0})

    def __str__(self) -> str:
        parts = {
            "Log-likelihood and estimates:": self.fits,
            "Spread across seeds, in standard errors (below 0.1 draws hardly matter):": self.relative,
            "Mean across seeds less this fit, in standard errors (llf as it is):": self.shift,
        }
        return "\n\n".join(
            f"{title}\n{table.to_string(float_format='{:.4g}'.format)}" for title, table in parts.items()
        )

    __repr__ = __str__


def draws_report(
    results: ChoiceResults, numbers: Sequence[int], kinds: Sequence[str], seeds: Sequence[int], progress: bool | None
) -> DrawsReport:
    """Return fits with other draws; see :meth:`ChoiceResults.draws_report`."""
    what = "draws_report()"
    model = need_mixed(results, what)
    refuse_restricted(results, what, "Fit with other draws and the same constraints.")
    need_rows(need_design(results, what).data, what)
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    for name, values in {"numbers": list(numbers), "kinds": names, "seeds": list(seeds)}.items():
        if not values:
            raise OptionError(f"{what}: {name} is empty; give one at least.")
    cells = [Draws(kind, number, seed=seed) for kind, number, seed in product(names, numbers, seeds)]
    held = {k: v for k, v in results.record.arguments.items() if k in HELD and v is not None}
    rows = []
    with ProgressLine(progress) as line:
        for draws in cells:
            with unheard(ConvergenceWarning):
                found = _with_draws(model, draws).fit(dict(results.params), **held)
            estimates = dict(found.params)
            estimates = model.randomness.positive(estimates) or estimates  # a maximum may have a spread on either side
            rows.append({"llf": found.llf, "converged": found.converged, **estimates})
            line.count("fits with other draws", len(cells))
    index = pd.MultiIndex.from_tuples([(d.kind, d.number, d.seed) for d in cells], names=["kind", "number", "seed"])
    table = pd.DataFrame(rows, index=index)
    table.loc[~table.converged, table.columns.difference(["converged"], sort=False)] = np.nan
    reference = pd.concat([pd.Series({"llf": results.llf}), results.params])
    return DrawsReport(table, reference, results.bse)


def _with_draws(model: MixedLogit, draws: Draws) -> Any:
    """Return the same model with other draws; what it shares with the old one is not changed."""
    other = copy.copy(model)
    other.draws = draws
    said = f"Simulated: {draws.describe()}; {len(model.persons)} persons."
    other.data = replace(model.data, notes=(*(n for n in model.data.notes if not n.startswith("Simulated: ")), said))
    return other
