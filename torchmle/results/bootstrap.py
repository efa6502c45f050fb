"""Hold what replicates of a fit gave, and turn them into errors and intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from ..data.vectors import FloatArray
from ..errors import OptionError, listing, unknown
from ..inference.resampling import Draws, basic, bca, percentile
from ..optim.checks import check_whole
from .estimates import within_unit

METHODS = ("percentile", "basic", "bca", "normal")


@dataclass(frozen=True, eq=False, repr=False)
class BootstrapResults:
    """Hold the replicates of a bootstrap.

    Attributes
    ----------
    params : (reps, K) frame of estimates, NaN in replicates that have none.
    estimates : those of the fit.
    kind, seed : as asked.
    causes : by replicate that failed, why.
    acceleration : (K,) for the BCa interval: a sixth of the skewness of the influence of the units drawn.
    units : what was drawn, in words.
    alone : how many replicates were fitted by themselves, and not many at once.
    draws : draw the weights of replicates; None where these differ otherwise.
    notes : what else to know.

    Examples
    --------
    >>> import torchmle as tm
    >>> boot = tm.Logit.from_formula("inlf ~ educ", tm.datasets.load("mroz")).fit().bootstrap(reps=99)
    >>> boot.params.shape, boot.cov_params().shape
    ((99, 2), (2, 2))
    """

    params: pd.DataFrame
    estimates: pd.Series
    kind: str
    seed: int
    causes: Mapping[int, str]
    acceleration: FloatArray
    units: str
    alone: int = 0
    draws: Draws | None = None
    notes: tuple[str, ...] = ()

    @property
    def reps(self) -> int:
        """Return how many replicates there are, those that failed included."""
        return len(self.params)

    @property
    def failed(self) -> int:
        """Return how many replicates have no estimate."""
        return len(self.causes)

    @property
    def bias(self) -> pd.Series:
        """Return the mean of the replicates less the estimate."""
        return self.params.mean() - self.estimates

    @property
    def bse(self) -> pd.Series:
        """Return the standard deviations of the replicates; NaN with fewer than two."""
        return self.params.std(ddof=1)

    def cov_params(self) -> pd.DataFrame:
        """Return the covariance matrix of the replicates."""
        return self.params.dropna().cov()

    def conf_int(self, alpha: float = 0.05, method: str = "percentile") -> pd.DataFrame:
        """Return intervals; columns 0 and 1 are the lower and upper ends.

        Parameters
        ----------
        alpha : one minus the confidence level.
        method : ``"percentile"``, ``"basic"`` (reflected), ``"bca"`` (bias-corrected and accelerated, Efron 1987) or
            ``"normal"`` (estimate plus and minus z times ``bse``).
        """
        level, name = within_unit(alpha), self._method(method)
        values, center = self.params.to_numpy(), self.estimates.to_numpy()
        moves = ~np.isnan(values).all(axis=0)
        ends = np.full((len(center), 2), math.nan)
        if name == "normal":
            width = float(special.ndtri(1 - level / 2)) * self.bse.to_numpy()
            ends = np.column_stack([center - width, center + width])
        elif moves.any():
            ends[moves] = self._quantiles(values[:, moves], center[moves], self.acceleration[moves], level, name)
        return pd.DataFrame(ends, index=self.estimates.index)

    @staticmethod
    def _quantiles(values: FloatArray, center: FloatArray, skew: FloatArray, alpha: float, name: str) -> FloatArray:
        if name == "percentile":
            return percentile(values, alpha)
        return basic(values, center, alpha) if name == "basic" else bca(values, center, skew, alpha)

    def _method(self, method: str) -> str:
        if method not in METHODS:
            raise OptionError(unknown("method", method, METHODS))
        if method == "bca" and self.kind in ("score", "wild", "parametric"):
            raise OptionError(
                f"method='bca' is for resampled rows or clusters, not for kind={self.kind!r}. Use 'percentile', "
                "'basic' or 'normal'."
            )
        return method

    def weights(self, replicate: int) -> FloatArray:
        """Return the (n,) weights that the rows in use have in one replicate, weights of the model included.

        A fit with these in place of the model's weights gives the row of ``params``. ``var_weights`` of a normal
        likelihood with sigma among its parameters are part of the likelihood, and not included.

        Parameters
        ----------
        replicate : its number, from 0.

        Raises
        ------
        OptionError
            For kinds whose replicates differ in something else than weights.
        """
        if self.draws is None:
            raise OptionError(f"weights() is for resampled rows or clusters; kind={self.kind!r} changes no weights.")
        check_whole("replicate", replicate, 0)
        if replicate is None or replicate >= self.reps:
            raise OptionError(f"replicate={replicate} does not exist; there are 0 to {self.reps - 1}.")
        found: FloatArray = self.draws.weights(int(replicate), int(replicate) + 1)[0]
        return found

    def summary_frame(self, alpha: float = 0.05, method: str = "percentile") -> pd.DataFrame:
        """Return the table: estimate, bias, standard error, interval."""
        ends = self.conf_int(alpha, method)
        columns = {"estimate": self.estimates, "bias": self.bias, "std err": self.bse}
        return pd.DataFrame({**columns, "[lower": ends[0], "upper]": ends[1]})

    @property
    def table(self) -> pd.DataFrame:
        """Return :meth:`summary_frame` with 95 % percentile intervals."""
        return self.summary_frame()

    def summary(self, alpha: float = 0.05, method: str = "percentile") -> str:
        """Return the table with what was done, as text."""
        head = f"Bootstrap ({self.kind}): {self.reps} replicates of {self.units}, seed {self.seed}"
        if self.failed:
            head += f"; {self.failed} FAILED and are left out"
        lines = [head, self.summary_frame(alpha, method).to_string(float_format=lambda v: f"{v:.4f}")]
        lines.append(f"{100 * (1 - alpha):g} % intervals: {method}.")
        return "\n".join([*lines, *self.notes])

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"<bootstrap ({self.kind}): {self.reps} replicates, {self.failed} failed>"


@dataclass(frozen=True, eq=False, repr=False)
class JackknifeResults:
    """Hold the estimates without each row or cluster.

    Attributes
    ----------
    params : (G, K) frame, a row a unit left out, with its label; NaN where there is no estimate.
    estimates : those of the fit.
    counts : how many units a row stands for (``freq_weights``), else ones.
    causes : by the position of a unit whose fit failed, why.
    units : what was left out, in words.
    notes : what else to know.

    Examples
    --------
    >>> import torchmle as tm
    >>> jack = tm.OLS.from_formula("lwage ~ educ", tm.datasets.load("wage1")).fit().jackknife()
    >>> len(jack.params), jack.failed
    (526, 0)
    """

    params: pd.DataFrame
    estimates: pd.Series
    counts: FloatArray
    causes: Mapping[int, str]
    units: str
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Return how many of the fits have no estimate."""
        return len(self.causes)

    @property
    def _known(self) -> tuple[FloatArray, FloatArray]:
        """Return estimates and counts; nothing is known of the errors where one fit is missing."""
        return self.params.to_numpy(), self.counts

    @property
    def mean(self) -> pd.Series:
        """Return the mean of the estimates; NaN where one of them is missing."""
        values, w = self._known
        return pd.Series(w @ values / w.sum(), index=self.estimates.index)

    @property
    def bias(self) -> pd.Series:
        """Return ``(G - 1) (mean - b)``, the estimate of the bias (Quenouille 1956)."""
        return (self.mean - self.estimates) * float(self.counts.sum() - 1)

    def cov_params(self) -> pd.DataFrame:
        """Return ``(G - 1) / G sum (b_g - mean)(b_g - mean)'``; NaN where one of the fits failed."""
        values, w = self._known
        apart = values - self.mean.to_numpy()
        total = w.sum()
        names = self.estimates.index
        return pd.DataFrame((apart * w[:, None]).T @ apart * (total - 1) / total, index=names, columns=names)

    @property
    def bse(self) -> pd.Series:
        """Return the standard errors."""
        return pd.Series(np.sqrt(np.diag(self.cov_params())), index=self.estimates.index)

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return intervals by Student's t with G - 1 degrees of freedom."""
        width = float(special.stdtrit(self.counts.sum() - 1, 1 - within_unit(alpha) / 2)) * self.bse
        return pd.DataFrame({0: self.estimates - width, 1: self.estimates + width})

    @property
    def table(self) -> pd.DataFrame:
        """Return estimate, bias, standard error and 95 % interval."""
        ends = self.conf_int()
        columns = {"estimate": self.estimates, "bias": self.bias, "std err": self.bse}
        return pd.DataFrame({**columns, "[lower": ends[0], "upper]": ends[1]})

    def __str__(self) -> str:
        head = f"Jackknife: {self.units} left out in turn"
        if self.failed:
            head += f"; {self.failed} fits FAILED, so that there are no errors"
        return "\n".join([head, self.table.to_string(float_format=lambda v: f"{v:.4f}"), *self.notes])

    def __repr__(self) -> str:
        return f"<jackknife: {self.units}, {self.failed} failed>"


CLUSTERED, DEPENDENT = ("cluster", "CR2", "CRV3"), ("HAC", "hac-panel", "driscoll-kraay", "conley")
"""Errors of rows that depend on each other within groups; otherwise."""


def bootstrap_intervals(results: Any, alpha: float, options: Mapping[str, Any]) -> pd.DataFrame:
    """Return the intervals of a bootstrap, which is done where it is not among the options."""
    level, given = within_unit(alpha), dict(options)
    interval, boot = given.pop("interval", "percentile"), given.pop("bootstrap", None)
    if boot is None:
        boot = results.bootstrap(**{**_usual(results, given), **given})
    elif given:
        raise OptionError(
            f"{listing(f'{name}=' for name in given)} and bootstrap= were given: what was done is taken as it is."
        )
    if not isinstance(boot, BootstrapResults):
        raise OptionError(f"bootstrap= is {type(boot).__name__}; it must be what bootstrap() of this fit returned.")
    if not boot.estimates.equals(results.params):
        raise OptionError("bootstrap= is that of another fit: its estimates are not those of these results.")
    return boot.conf_int(level, interval)


def _usual(results: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kind of bootstrap that takes rows to depend on each other as the errors of the results do."""
    if "kind" in given:
        return {}
    if results.cov_type in DEPENDENT:
        raise OptionError(
            f"The errors of these results are {results.cov_type!r}, and no bootstrap here keeps that dependence. Name "
            "kind= to have another one."
        )
    return {"kind": "cluster" if results.cov_type in CLUSTERED or "groups" in given else "pairs"}
