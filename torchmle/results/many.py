"""Hold what one model gave on many groups, responses or weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from ..data.vectors import FloatArray
from ..errors import nearest
from .estimates import within_unit
from .results import Results


@dataclass(frozen=True, eq=False, repr=False)
class ManyResults:
    """Hold many fits of one model: a row each, NaN with a cause where there is no estimate.

    Attributes
    ----------
    params, bse : frames of estimates and standard errors, a row a fit, a column a parameter.
    llf, nobs, df_resid : log-likelihood, observations, and observations less parameters, by fit.
    converged : whether a fit has an estimate.
    causes : by fit without one, why.
    model_name : the model.
    by : what the fits differ in, in words.
    cov_type, use_t : of the standard errors and tests.
    df : degrees of freedom of t tests, a row a fit.
    untested : parameters such as ``sigma`` for which zero is no hypothesis.
    alone : how many fits were done by themselves, and not many at once.
    notes : what else to know.
    single : fits one by itself.

    Examples
    --------
    >>> import torchmle as tm
    >>> many = tm.fit_many(tm.OLS, "lwage ~ educ", tm.datasets.load("wage1"), by="female")
    >>> many.params.round(3).loc[1].to_dict()
    {'Intercept': 0.466, 'educ': 0.077}
    >>> many[1].nobs
    252.0
    """

    params: pd.DataFrame
    bse: pd.DataFrame
    llf: pd.Series
    nobs: pd.Series
    df_resid: pd.Series
    converged: pd.Series
    causes: Mapping[Any, str]
    model_name: str
    by: str
    cov_type: str
    use_t: bool
    df: FloatArray
    untested: tuple[str, ...]
    alone: int
    notes: tuple[str, ...]
    single: Callable[[Any], Results]

    def __len__(self) -> int:
        return len(self.params)

    def __getitem__(self, key: Any) -> Results:
        """Return the results of one fit in full, fitted by itself.

        Raises
        ------
        KeyError
            If there is no such fit.
        """
        if key not in self.params.index:
            known = [str(k) for k in self.params.index]
            raise KeyError(
                f"There is no fit {key!r}.{nearest(str(key), known)} There are {len(known)}, in .params.index."
            )
        return self.single(key)

    @property
    def keys(self) -> pd.Index:
        """Return what the fits are called."""
        return self.params.index

    @property
    def failed(self) -> int:
        """Return how many fits have no estimate."""
        return len(self.causes)

    @property
    def tvalues(self) -> pd.DataFrame:
        """Return estimates over standard errors; NaN for parameters like ``sigma``, where zero is no hypothesis."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = self.params / self.bse
        values[list(self.untested)] = np.nan
        return values

    @property
    def pvalues(self) -> pd.DataFrame:
        """Return two-sided p-values of the hypothesis that a parameter is zero."""
        size = self.tvalues.abs().to_numpy()
        tail = special.stdtr(self.df, -size) if self.use_t else special.ndtr(-size)
        return pd.DataFrame(2 * tail, index=self.params.index, columns=self.params.columns)

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return Wald intervals; columns ``(parameter, 0)`` and ``(parameter, 1)`` are the ends.

        Parameters
        ----------
        alpha : one minus the confidence level, strictly between 0 and 1.
        """
        low, high = self._ends(alpha)
        return pd.concat({0: low, 1: high}, axis=1).swaplevel(axis=1).reindex(columns=self.params.columns, level=0)

    def _ends(self, alpha: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        upper = 1 - within_unit(alpha) / 2
        width = self.bse * (special.stdtrit(self.df, upper) if self.use_t else special.ndtri(upper))
        return self.params - width, self.params + width

    def summary_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return the long table: a row for each fit and parameter."""
        test, (low, high) = "t" if self.use_t else "z", self._ends(alpha)
        columns = {"estimate": self.params, "std err": self.bse, test: self.tvalues, f"P>|{test}|": self.pvalues}
        return pd.DataFrame({k: _long(v) for k, v in {**columns, "[lower": low, "upper]": high}.items()})

    @property
    def table(self) -> pd.DataFrame:
        """Return :meth:`summary_frame` with 95 % intervals."""
        return self.summary_frame()

    def __str__(self) -> str:
        known = int(self.converged.sum())
        head = f"{self.model_name}: {len(self)} fits by {self.by}, {known} with an estimate (errors: {self.cov_type})"
        lines = [f"{key}: {cause}" for key, cause in list(self.causes.items())[:5]]
        more = [f"... and {self.failed - 5} more in .causes"] if self.failed > 5 else []
        frame = pd.concat(
            {"mean": self.params.mean(), "std dev": self.params.std(), "mean bse": self.bse.mean()}, axis=1
        )
        return "\n".join([head, frame.to_string(), *lines, *more, *self.notes])

    def __repr__(self) -> str:
        return str(self)


def _long(frame: pd.DataFrame) -> pd.Series:
    """Return a frame as a Series by fit and parameter, rows with NaN kept."""
    names = [*frame.index.names, "parameter"]
    keys = [(*(k if isinstance(k, tuple) else (k,)), c) for k in frame.index for c in frame.columns]
    return pd.Series(frame.to_numpy().ravel(), index=pd.MultiIndex.from_tuples(keys, names=names))
