"""Hold margins: averages of predictions or effects, with their covariance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from ..data.vectors import FloatArray
from ..errors import OptionError, unknown
from .estimates import within_unit

WORDS = {
    "dydx": "dy/dx",
    "eyex": "elasticity, d log y / d log x",
    "dyex": "dy / d log x",
    "eydx": "d log y / dx",
    "mean": "prediction",
}


@dataclass(frozen=True, eq=False, repr=False)
class Margins:
    """Hold averages of effects, one a row of ``labels``.

    Attributes
    ----------
    labels : what each row is: variable, contrast of levels, group, values that columns were set to.
    values, covariance : (M,) averages and their (M, M) covariance.
    kind, which, vce, cov_type : what was averaged, of which prediction, and how errors were computed.
    not_smooth : variables that enter by a function with jumps or kinks. Where a column jumps, its slope is the change
        over one standard deviation of the variable, over one unit where that is in whole numbers.
    notes : what else to know of these numbers.

    Examples
    --------
    >>> import torchmle as tm
    >>> found = tm.Logit.from_formula("inlf ~ educ", tm.datasets.load("mroz")).fit().margins(at={"educ": [8, 16]})
    >>> found.contrast().labels.iloc[0].tolist()
    ['educ', '16 - 8']
    """

    labels: pd.DataFrame
    values: FloatArray
    covariance: FloatArray
    kind: str
    which: str
    vce: str
    alpha: float
    cov_type: str
    use_t: bool
    df: float
    not_smooth: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def margeff(self) -> FloatArray:
        """Return the averages."""
        return self.values.copy()

    @property
    def margeff_se(self) -> FloatArray:
        """Return their standard errors."""
        return np.sqrt(np.clip(np.diag(self.covariance), 0.0, None))

    def conf_int(self, alpha: float | None = None) -> FloatArray:
        """Return (M, 2) Wald intervals."""
        upper = 1 - within_unit(self.alpha if alpha is None else alpha) / 2
        width = float(special.stdtrit(self.df, upper) if self.use_t else special.ndtri(upper)) * self.margeff_se
        return np.column_stack([self.values - width, self.values + width])

    def summary_frame(self, alpha: float | None = None) -> pd.DataFrame:
        """Return the table: labels, estimate, standard error, test of zero, interval."""
        se = self.margeff_se
        with np.errstate(divide="ignore", invalid="ignore"):
            tests = np.where(se > 0, self.values / se, np.nan)
        tail = special.stdtr(self.df, -np.abs(tests)) if self.use_t else special.ndtr(-np.abs(tests))
        low, high = self.conf_int(alpha).T
        test = "t" if self.use_t else "z"
        numbers = {"estimate": self.values, "std err": se, test: tests, f"P>|{test}|": 2 * tail}
        return self.labels.assign(**numbers, **{"[lower": low, "upper]": high})

    @property
    def table(self) -> pd.DataFrame:
        """Return :meth:`summary_frame` at the level that was asked for."""
        return self.summary_frame()

    def contrast(self, against: str = "first") -> Margins:
        """Return differences of rows: of each to the first one, or to the row before.

        Parameters
        ----------
        against : ``"first"`` or ``"previous"``. Rows are compared within the same level, variable and contrast.
        """
        if against not in ("first", "previous"):
            raise OptionError(unknown("against", against, ["first", "previous"]))
        keys = [c for c in ("level", "variable", "contrast") if c in self.labels]
        pairs = []
        for _, rows in self.labels.reset_index(drop=True).groupby(keys, sort=False):
            at = list(rows.index)
            pairs += [(i, at[0] if against == "first" else at[k]) for k, i in enumerate(at[1:])]
        if not pairs:
            raise OptionError(
                "There is nothing to contrast: each effect has one row. Use over= or at= with several values."
            )
        matrix = np.zeros((len(pairs), len(self.values)))
        for row, (i, j) in enumerate(pairs):
            matrix[row, i], matrix[row, j] = 1.0, -1.0
        return replace(
            self,
            labels=pd.DataFrame([self._difference(i, j) for i, j in pairs]),
            values=matrix @ self.values,
            covariance=matrix @ self.covariance @ matrix.T,
        )

    def _difference(self, i: int, j: int) -> dict[str, Any]:
        """Return the labels of the difference of two rows."""
        one, other = self.labels.iloc[i], self.labels.iloc[j]
        return {c: one[c] if one[c] == other[c] else f"{one[c]} - {other[c]}" for c in self.labels.columns}

    @property
    def remarks(self) -> list[str]:
        """Return what stands below the table: what was averaged, how errors were computed, and the notes."""
        errors = "the rows are taken as given" if self.vce == "delta" else "the rows are a sample themselves"
        what = "" if self.which == "mean" else f" of {self.which!r}"
        found = [
            f"{WORDS[self.kind]}{what}; {self.cov_type} standard errors by the delta method, {errors}.",
            *self.notes,
        ]
        if self.not_smooth:
            found.append(
                f"Not differentiable in {', '.join(self.not_smooth)}: a change of the data column in its place."
            )
        return found

    def __str__(self) -> str:
        table = self.table.to_string(index=False, formatters=self._formats())
        return "\n".join([table, *self.remarks])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table: str = self.table.to_html(index=False, formatters=self._formats())
        return "".join([table, *(f"<p>{escape(line)}</p>" for line in self.remarks)])

    def _formats(self) -> dict[str, Callable[..., str]]:
        """Return how columns are written: numbers to four digits, tests and p-values to three decimals."""
        test = "t" if self.use_t else "z"
        wide: dict[str, Callable[..., str]] = dict.fromkeys(
            ("estimate", "std err", "[lower", "upper]"), "{:.4g}".format
        )
        return {**wide, test: "{:.3f}".format, f"P>|{test}|": "{:.3f}".format}
