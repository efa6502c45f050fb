"""Hold tests: what was tested, the statistic, its law and its p-value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..data.vectors import FloatArray
from ..errors import UndefinedStatisticError
from ..inference.multiple import adjust_pvalues
from ..inference.wald import critical, two_sided
from .estimates import within_unit


@dataclass(frozen=True, eq=False, repr=False)
class HypothesisTest:
    """Hold a test of one hypothesis, of one or several equations.

    Attributes
    ----------
    name : the test.
    hypothesis : what is tested, in words or equations.
    statistic, pvalue : the statistic and the probability of a larger one under the hypothesis.
    df, df_denom : degrees of freedom; ``df_denom`` is None unless the law is F.
    distribution : ``"chi2"``, ``"F"``, ``"z"``, ``"chibar2"`` (half chi2(df - 1), half chi2(df)) or
        ``"permutation"``.
    details : further numbers by name.
    notes : what to know about it.
    """

    name: str
    hypothesis: str
    statistic: float
    pvalue: float
    df: float
    distribution: str = "chi2"
    df_denom: float | None = None
    details: dict[str, float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def df_num(self) -> float:
        """Return the degrees of freedom of the hypothesis."""
        return self.df

    @property
    def fvalue(self) -> float:
        """Return the F statistic."""
        if self.distribution != "F":
            raise UndefinedStatisticError(f"fvalue is not defined: the law of this test is {self.distribution}.")
        return self.statistic

    def summary_frame(self) -> pd.DataFrame:
        """Return the test as a table of one row."""
        columns = {"statistic": self.statistic, "df": self.df}
        columns |= {} if self.df_denom is None else {"df_denom": self.df_denom}
        return pd.DataFrame({**columns, "pvalue": self.pvalue, **(self.details or {})}, index=[self.name])

    @property
    def table(self) -> pd.DataFrame:
        """Return :meth:`summary_frame`."""
        return self.summary_frame()

    def __str__(self) -> str:
        law = {"F": f"F({self.df:g}, {self.df_denom or 0:g})", "z": "z", "permutation": "statistic"}.get(
            self.distribution, f"{self.distribution}({self.df:g})"
        )
        lines = [f"{self.name}: {law} = {self.statistic:.4g}, p-value {_p(self.pvalue)}", f"H0: {self.hypothesis}"]
        lines += [f"{name}: {value:.5g}" for name, value in (self.details or {}).items()]
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__


def _p(pvalue: float) -> str:
    return "nan" if np.isnan(pvalue) else "< 0.0001" if pvalue < 1e-4 else f"{pvalue:.4f}"


@dataclass(frozen=True, eq=False, repr=False)
class Contrasts:
    """Hold estimates of combinations or functions of parameters, each with its own test.

    Attributes
    ----------
    labels : (M,) what each row is.
    values, covariance : (M,) estimates and their (M, M) covariance.
    null : (M,) values under the hypotheses.
    df : degrees of freedom of t, or None for the normal distribution.
    dfs : (M,) degrees of freedom of each row, where they differ; ``df`` is then the smallest of all.
    untested : rows whose value is no hypothesis: fixed, or at the edge of a range.
    adjust : how p-values are adjusted for how many there are, or None.
    """

    labels: tuple[str, ...]
    values: FloatArray
    covariance: FloatArray
    null: FloatArray
    df: float | None
    cov_type: str
    alpha: float = 0.05
    untested: tuple[int, ...] = ()
    adjust: str | None = None
    notes: tuple[str, ...] = ()
    dfs: FloatArray | None = None

    @property
    def effect(self) -> FloatArray:
        """Return the estimates."""
        return self.values.copy()

    @property
    def sd(self) -> FloatArray:
        """Return their standard errors."""
        return np.sqrt(np.clip(np.diag(self.covariance), 0.0, None))

    se = bse = sd

    @property
    def statistic(self) -> FloatArray:
        """Return z or t: the distance from the hypothesis in standard errors."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found: FloatArray = np.where(self.sd > 0, (self.values - self.null) / self.sd, np.nan)
        found[list(self.untested)] = np.nan
        return found

    tvalue = statistic

    @property
    def pvalue(self) -> FloatArray:
        """Return two-sided p-values, adjusted where that was asked for."""
        plain = two_sided(torch.from_numpy(self.statistic), self.df if self.dfs is None else self.dfs).numpy()
        return plain if self.adjust is None else adjust_pvalues(plain, self.adjust)

    @property
    def use_t(self) -> bool:
        """Return whether the law is t and not normal."""
        return self.df is not None

    @property
    def df_denom(self) -> float | None:
        """Return the degrees of freedom of t, or None."""
        return self.df

    def cov_params(self) -> pd.DataFrame:
        """Return the covariance of the estimates."""
        return pd.DataFrame(self.covariance.copy(), index=list(self.labels), columns=list(self.labels))

    def conf_int(self, alpha: float | None = None) -> FloatArray:
        """Return (M, 2) Wald intervals."""
        level = self.alpha if alpha is None else within_unit(alpha)
        each = [critical(level, df) for df in ([self.df] if self.dfs is None else self.dfs)]
        width = np.array(each) * self.sd
        return np.column_stack([self.values - width, self.values + width])

    def adjusted(self, method: str) -> Contrasts:
        """Return the same with p-values adjusted for how many there are; see :func:`torchmle.adjust_pvalues`."""
        adjust_pvalues([], method)
        return replace(self, adjust=method)

    def summary_frame(self, alpha: float | None = None) -> pd.DataFrame:
        """Return the table under statsmodels' names: estimate, standard error, test, interval."""
        test = "t" if self.use_t else "z"
        low, high = self.conf_int(alpha).T
        columns = {"coef": self.values, "std err": self.sd, test: self.statistic, f"P>|{test}|": self.pvalue}
        ends = {"Conf. Int. Low": low, "Conf. Int. Upp.": high}
        return pd.DataFrame({**columns, **ends}, index=pd.Index(self.labels))

    @property
    def table(self) -> pd.DataFrame:
        """Return :meth:`summary_frame` at the level that was asked for."""
        return self.summary_frame()

    def __str__(self) -> str:
        law = "normal" if self.df is None else f"t({self.df:g})" if self.dfs is None else "t"
        notes = [f"{self.cov_type} standard errors, {law} distribution, {100 * (1 - self.alpha):g} % intervals."]
        if self.adjust is not None:
            notes.append(f"p-values adjusted for {len(self.labels)} tests ({self.adjust}); the intervals are not.")
        return "\n".join([self.table.to_string(float_format=lambda v: f"{v:.4g}"), *notes, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        html: str = self.table.to_html(float_format=lambda v: f"{v:.4g}")
        return html


@dataclass(frozen=True, eq=False, repr=False)
class JointIntervals:
    """Hold intervals that contain all values at once with the probability asked for.

    Attributes
    ----------
    contrasts : estimates and covariance.
    method : how the critical value was found; ``critical`` is that value, ``pointwise`` that of a single interval.
    """

    contrasts: Contrasts
    method: str
    critical: float
    pointwise: float
    alpha: float

    def conf_int(self) -> FloatArray:
        """Return (M, 2) intervals."""
        width = self.critical * self.contrasts.sd
        return np.column_stack([self.contrasts.values - width, self.contrasts.values + width])

    def summary_frame(self) -> pd.DataFrame:
        """Return the table: estimate, standard error, interval."""
        low, high = self.conf_int().T
        columns = {"coef": self.contrasts.values, "std err": self.contrasts.sd}
        ends = {"Conf. Int. Low": low, "Conf. Int. Upp.": high}
        return pd.DataFrame({**columns, **ends}, index=pd.Index(self.contrasts.labels))

    @property
    def table(self) -> pd.DataFrame:
        """Return :meth:`summary_frame`."""
        return self.summary_frame()

    def __str__(self) -> str:
        how = (
            f"{100 * (1 - self.alpha):g} % intervals that hold together ({self.method}): {self.critical:.4g} standard "
        )
        text = f"{how}errors, against {self.pointwise:.4g} for one alone; {self.contrasts.cov_type} standard errors."
        return "\n".join([self.table.to_string(float_format=lambda v: f"{v:.4g}"), text])

    __repr__ = __str__


def squeezed(table: pd.DataFrame, notes: Sequence[Any]) -> str:
    """Return a table as text, with its notes."""
    return "\n".join([table.to_string(float_format=lambda v: f"{v:.4g}"), *map(str, notes)])
