"""Name what a fit found: estimates, covariance, statistics, under statsmodels' names, frozen."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from scipy import special
from torch import Tensor

from ..data.absent import need_rows
from ..errors import OptionError, UndefinedStatisticError
from ..workers import engine
from .fit import Fit, Inference, ModelView, Record, Reporter
from .inference import build_inference
from .nets import listed, tensors
from .restricted import restriction_table

if TYPE_CHECKING:
    from typing_extensions import Self


def within_unit(alpha: float) -> float:
    """Return alpha if it is a probability strictly between 0 and 1."""
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < 1:
        raise OptionError(f"alpha={alpha!r} must lie strictly between 0 and 1, e.g. 0.05 for 95 % intervals.")
    return float(alpha)


@functools.lru_cache(maxsize=64)
def _index(names: tuple[str, ...]) -> pd.Index:
    """Return an index of names; it takes longer to make than many a covariance, and refits need the same again."""
    return pd.Index(names)


def _told(model: ModelView, names: list[str]) -> ModelView:
    """Return the model with ``data.param_names``, where statsmodels' tables look for the names of all parameters.

    It is a copy only if another fit of the model had other parameters (least squares with and without sigma).
    """
    if vars(model.data).setdefault("param_names", names) == names:
        return model
    told = copy.copy(model)
    told.data = copy.copy(model.data)  # type: ignore[misc]
    vars(told.data)["param_names"] = names
    return told


@dataclass(frozen=True, eq=False, repr=False)
class Estimates:
    """Hold a fitted model: estimates, covariance and statistics; :class:`Results` adds what is done with them."""

    row_statistics: ClassVar[tuple[str, ...]] = ("_theta", "_covariance", "llnull")
    """Cached statistics that results keep when their rows go, to the last digit."""

    model: ModelView
    fit: Fit
    inference: Inference
    record: Record
    reporter: Reporter

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", _told(self.model, list(self.fit.map.names)))

    def __reduce__(self) -> tuple[Any, ...]:
        return self.model.reduced(self)

    def __copy__(self) -> Self:
        return replace(self)

    # ---- estimates

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the parameters, in order."""
        return self.fit.map.names

    @cached_property
    def _theta(self) -> Tensor:
        with engine():
            return self.fit.map.theta(self.fit.gamma)

    @property
    def params(self) -> pd.Series:
        """Return the estimates in the user's units."""
        return self._series(self._theta)

    @property
    def link_params(self) -> pd.Series:
        """Return the estimates on the scale of the predictors (``log_sigma`` where ``params`` has ``sigma``)."""
        with engine():
            return pd.Series(self.fit.map.link(self.fit.gamma).numpy(), index=pd.Index(self.fit.map.link_names))

    @cached_property
    def _covariance(self) -> Tensor:
        with engine():
            found = self.fit.map.push(self.inference.covariance.matrix, self.fit.gamma)
        withheld = slice(None) if self.fit.withheld else list(self.inference.covariance.withheld)
        found[withheld], found[:, withheld] = math.nan, math.nan
        return found

    def cov_params(self) -> pd.DataFrame:
        """Return the estimated covariance matrix of the estimates."""
        return self._frame(self._covariance)

    @property
    def bse(self) -> pd.Series:
        """Return the standard errors; NaN where the point is not a maximum, 0 for fixed parameters."""
        return self._series(self._covariance.diagonal().clamp(min=0.0).sqrt())

    @property
    def tvalues(self) -> pd.Series:
        """Return estimate over standard error; NaN for parameters like ``sigma``, where zero is no hypothesis."""
        values = self.params / self.bse
        values.iloc[list(self.fit.map.untested)] = np.nan
        return values

    @property
    def pvalues(self) -> pd.Series:
        """Return two-sided p-values of the hypothesis that a parameter is zero."""
        size = self.tvalues.abs()
        tail = special.stdtr(self._df_each, -size) if self.use_t else special.ndtr(-size)
        return pd.Series(2 * tail, index=self.params.index)

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return Wald intervals; columns 0 and 1 are the lower and upper ends.

        Parameters
        ----------
        alpha : one minus the confidence level, strictly between 0 and 1.
        """
        upper = 1 - within_unit(alpha) / 2
        width = self.bse * (special.stdtrit(self._df_each, upper) if self.use_t else special.ndtri(upper))
        return pd.DataFrame({0: self.params - width, 1: self.params + width})

    @property
    def hessian(self) -> pd.DataFrame:
        """Return the Hessian of the log-likelihood at the estimates, in the units of ``params``."""
        with engine():
            return self._frame(self.fit.map.reported_hessian(self.fit.gamma, *self.fit.derivatives))

    @property
    def score(self) -> pd.Series:
        """Return the gradient of the log-likelihood at the estimates, in the units of ``params``."""
        with engine():
            return self._series(self.fit.map.reported_gradient(self.fit.gamma, self.fit.derivatives[0]))

    @property
    def listed(self) -> tuple[str, ...]:
        """Return the parameters that a summary lists."""
        return listed(self.model, self.names)

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Return names and sizes of groups of parameters that a summary does not list one by one."""
        return tensors(self.model, self.names)

    # ---- the fit

    @property
    def converged(self) -> bool:
        """Return whether the estimates are shown to be a maximum, whatever the method said."""
        return self.fit.converged

    @property
    def status(self) -> str:
        """Return how the fit ended, and what to try if it failed."""
        flat = f" Not identified: {'; '.join(' with '.join(d) for d in self.fit.flat)}." if self.fit.flat else ""
        return f"{self.fit.status.value}: {self.fit.status.sentence}{flat}"

    @property
    def constraints(self) -> pd.DataFrame:
        """Return the constraints that are inequalities or functions of the parameters, a row for each of their values.

        ``multiplier`` is the rate at which the log-likelihood falls if the value is to be a little larger; ``std err``,
        ``z`` and the p-value, of the score test of an equation, are those of a likelihood that is right, and NaN where
        they are not known. Linear equations as text are solved exactly and are not among them.
        """
        return restriction_table(self)

    @property
    def history(self) -> pd.DataFrame:
        """Return the trace of the fit, a row an iteration."""
        return self.fit.trace

    @property
    def method(self) -> str:
        """Return the name of the method."""
        return self.fit.method

    @property
    def engine(self) -> str:
        """Return how derivatives were computed."""
        return self.fit.engine

    # ---- covariance

    @property
    def cov_type(self) -> str:
        """Return the name of the covariance estimator."""
        return self.inference.covariance.cov_type

    @property
    def cov_kwds(self) -> Mapping[str, Any]:
        """Return the options of the covariance estimator."""
        return self.inference.covariance.kwds

    @property
    def use_t(self) -> bool:
        """Return whether tests use the t distribution."""
        return self.inference.covariance.use_t

    @property
    def df_resid_inference(self) -> float:
        """Return the degrees of freedom of t tests: those of the residuals, clusters less one for clustered errors.

        Under ``"CR2"`` each parameter has its own, in ``df_params``; this is the smallest.
        """
        df = self.inference.covariance.df
        return self.df_resid if df is None else df

    @property
    def df_params(self) -> pd.Series:
        """Return the degrees of freedom of the t test of each parameter."""
        return pd.Series(self._df_each, index=pd.Index(self.names), dtype=float)

    @property
    def _df_each(self) -> Any:
        dfs = self.inference.covariance.dfs
        return self.df_resid_inference if dfs is None else dfs.numpy().copy()

    def with_cov(self, cov_type: str, cov_kwds: Mapping[str, Any] | None = None, use_t: bool | None = None) -> Self:
        """Return the same fit with another covariance; nothing is refitted.

        Parameters
        ----------
        cov_type : ``"nonrobust"``, ``"opg"``; ``"HC0"`` to ``"HC3"``; ``"cluster"``, ``"CR2"``, ``"CRV3"``; ``"HAC"``,
            ``"hac-panel"``, ``"driscoll-kraay"``; ``"conley"``.
        cov_kwds : options of that type, such as ``{"groups": "firm"}``, ``{"groups": ["firm", "year"]}`` or
            ``{"maxlags": 4}``; the page on standard errors has them all. What has a value for each row is the name
            of a column, a Series or an array.
        use_t : whether to use the t distribution; by default only for least squares with nonrobust errors.

        Raises
        ------
        OptionError, DataError
            If there is no such type or option, or it is not defined for this likelihood, these weights or groups.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.OLS.from_formula("wage ~ educ", tm.datasets.load("wage1")).fit()
        >>> robust = res.with_cov("HC3")
        >>> res.cov_type, robust.cov_type
        ('nonrobust', 'HC3')
        """
        need_rows(self.model.data, "with_cov()")
        with engine():
            inference = build_inference(
                self.model, self.fit, self.inference.bread, cov_type, cov_kwds, use_t, self.inference.default_t
            )
        return replace(self, inference=inference)

    # ---- statistics

    @property
    def llf(self) -> float:
        """Return the maximised log-likelihood."""
        return self.fit.llf

    @property
    def scale(self) -> float:
        """Return the factor of the nonrobust covariance: s^2 for least squares, else 1."""
        return self.fit.scale

    @property
    def nobs(self) -> float:
        """Return the number of observations; with ``freq_weights`` the sum of the weights."""
        return self.fit.nobs

    @property
    def df_model(self) -> int:
        """Return the number of slopes of the first predictor."""
        designs = list(self.model.data.designs.values())
        if not designs:
            raise UndefinedStatisticError("df_model is not defined for a model without regressors.")
        return len(designs[0].terms) - (designs[0].constant is not None)

    @property
    def df_resid(self) -> float:
        """Return the number of observations less the number of free parameters."""
        return self.nobs - self.fit.free

    @property
    def aic(self) -> float:
        """Return ``-2 llf + 2 K``."""
        self._need_likelihood("aic")
        return -2 * self.llf + 2 * self.fit.free

    @property
    def bic(self) -> float:
        """Return ``-2 llf + K log(n)``."""
        self._need_likelihood("bic")
        return -2 * self.llf + math.log(self.nobs) * self.fit.free

    @cached_property
    def llnull(self) -> float:
        """Return the maximised log-likelihood with only a constant in the first predictor."""
        if self.fit.map.basis is not None:
            raise UndefinedStatisticError("llnull is not defined under fixed parameters or constraints.")
        return self.model.null_llf(self)

    @property
    def llr(self) -> float:
        """Return the likelihood ratio statistic against the constant, ``2 (llf - llnull)``."""
        designs = list(self.model.data.designs.values())
        if not designs or designs[0].constant is None:
            raise UndefinedStatisticError(
                "llr is not defined: without an intercept the constant-only model is not nested."
            )
        return 2 * (self.llf - self.llnull)

    @property
    def llr_pvalue(self) -> float:
        """Return the chi-squared p-value of ``llr`` with ``df_model`` degrees of freedom."""
        self._need_likelihood("llr_pvalue")
        if self.model.data.has_nets:
            raise UndefinedStatisticError(
                "llr_pvalue is not defined with a module: its weights are not identified where it has no effect."
            )
        if self.df_model == 0:
            raise UndefinedStatisticError("llr_pvalue is not defined for a model without slopes.")
        return float(special.chdtrc(self.df_model, self.llr))

    def _need_likelihood(self, what: str) -> None:
        weights = self.model.data.weights
        if weights is not None and weights.kind == "sampling_weights":
            raise UndefinedStatisticError(
                f"{what} is not defined under sampling_weights, which make the likelihood a pseudo-likelihood."
            )

    @property
    def prsquared(self) -> float:
        """Return McFadden's pseudo R-squared, ``1 - llf / llnull``."""
        if self.model.response not in ("binary", "count", "categorical"):
            raise UndefinedStatisticError("prsquared is defined for binary, categorical and count models only.")
        return 1 - self.llf / self.llnull

    def _series(self, values: Tensor) -> pd.Series:
        return pd.Series(values.numpy().copy(), index=self._labels)  # a copy of the user's own

    def _frame(self, values: Tensor) -> pd.DataFrame:
        return pd.DataFrame(values.numpy().copy(), index=self._labels, columns=self._labels)

    @property
    def _labels(self) -> pd.Index:
        """Return the names as an index of the user's own."""
        return _index(self.names).view()
