"""Report a fit under statsmodels' names, frozen, with every number labelled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from ..data.groups import Groups, late_groups
from ..errors import OptionError, UndefinedStatisticError
from ..inference.cov import Correction, Ingredients, check_correction, check_cov_type, estimate, not_available
from ..workers import engine
from .fit import Document, Fit, Inference, ModelView, Record, Reporter

if TYPE_CHECKING:
    from .compare import Comparison


def within_unit(alpha: float) -> float:
    """Return alpha if it is a probability strictly between 0 and 1."""
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < 1:
        raise OptionError(f"alpha={alpha!r} must lie strictly between 0 and 1, e.g. 0.05 for 95 % intervals.")
    return float(alpha)


@dataclass(frozen=True, eq=False, repr=False)
class Results:
    """Hold a fitted model.

    Parameters, errors and tests are pandas objects labelled by the names of the model. Where the returned point is
    not shown to be a maximum, ``converged`` is False and every standard error is NaN.

    Examples
    --------
    >>> import torchmle as tm
    >>> res = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
    >>> res.converged, list(res.params.index)
    (True, ['Intercept', 'educ', 'age'])
    """

    model: ModelView
    fit: Fit
    inference: Inference
    record: Record
    reporter: Reporter

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
            return self.fit.map.push(self.inference.covariance.matrix, self.fit.gamma)

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
        tail = special.stdtr(self._t_df, -size) if self.use_t else special.ndtr(-size)
        return pd.Series(2 * tail, index=self.params.index)

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return Wald intervals; columns 0 and 1 are the lower and upper ends.

        Parameters
        ----------
        alpha : one minus the confidence level, strictly between 0 and 1.
        """
        upper = 1 - within_unit(alpha) / 2
        width = self.bse * float(special.stdtrit(self._t_df, upper) if self.use_t else special.ndtri(upper))
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
    def _t_df(self) -> float:
        df = self.inference.covariance.df
        return self.df_resid if df is None else df

    def with_cov(self, cov_type: str, cov_kwds: Mapping[str, Any] | None = None, use_t: bool | None = None) -> Results:
        """Return the same fit with another covariance; nothing is refitted.

        Parameters
        ----------
        cov_type : ``"nonrobust"``, ``"opg"``, ``"HC0"``, ``"HC1"`` or ``"cluster"``.
        cov_kwds : for ``"cluster"``: ``groups`` (column name, Series or array) and ``use_correction``.
        use_t : whether to use the t distribution; by default only for least squares with nonrobust errors.
        """
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
        if self.model.response not in ("binary", "count"):
            raise UndefinedStatisticError("prsquared is defined for binary and count models only.")
        return 1 - self.llf / self.llnull

    # ---- predictions

    @cached_property
    def _fitted(self) -> pd.Series:
        return self.predict()

    @property
    def fittedvalues(self) -> pd.Series:
        """Return the predicted means of the rows in use, with their labels."""
        return self._fitted.copy()

    @property
    def resid(self) -> pd.Series:
        """Return response less fitted value, with the labels of the rows in use."""
        values = self.model.data.endog.cpu().double().numpy() - self._fitted.to_numpy()
        return pd.Series(values, index=self._fitted.index)

    def predict(self, exog: Any = None, which: str = "mean", **new: Any) -> pd.Series:
        """Predict for new data, or for the rows of the fit.

        Parameters
        ----------
        exog : a table with the columns of the formula, or a matrix like that of the fit; None for the rows in use.
        which : ``"mean"`` for the expected response, ``"linear"`` for the first predictor, or a predictor's name.
        new : ``offset``, ``exposure`` for the new rows; matrices of further predictors where the fit had arrays.

        Returns
        -------
        pandas.Series
            With the labels of the new rows; NaN where a regressor is missing.
        """
        from .predict import predict

        with engine():
            return predict(self, exog, which, new)

    # ---- comparison and reports

    def compare_ols(self) -> Comparison:
        """Set the estimates beside closed-form least squares on the same rows.

        Raises
        ------
        OptionError
            If the response is not continuous, or the model has no linear first predictor.
        """
        from .compare import compare_ols

        return compare_ols(self)

    def summary(self, alpha: float = 0.05) -> Document:
        """Return the summary table: prints as text, shows as HTML in a notebook."""
        return self.reporter(self, within_unit(alpha))

    def __repr__(self) -> str:
        verdict = "converged" if self.converged else f"NOT CONVERGED ({self.fit.status.value})"
        return f"<{type(self.model).__name__} results: {len(self.names)} parameters, nobs={self.nobs:g}, {verdict}>"

    def _repr_html_(self) -> str:
        return self.summary().as_html()

    def _series(self, values: Tensor) -> pd.Series:
        return pd.Series(values.numpy().copy(), index=pd.Index(self.names))  # a copy of the user's own

    def _frame(self, values: Tensor) -> pd.DataFrame:
        return pd.DataFrame(values.numpy().copy(), index=pd.Index(self.names), columns=pd.Index(self.names))


def check_inference(
    model: ModelView, cov_type: str, cov_kwds: Mapping[str, Any] | None, separable: bool
) -> tuple[str, Correction, Groups | None]:
    """Return the estimator's name, its correction and its groups, or raise before any work is done."""
    kind = model.data.weights.kind if model.data.weights else None
    name = check_cov_type(cov_type, kind, separable)
    correction = check_correction(cov_kwds, name)
    if name != "cluster":
        return name, correction, None
    given = (cov_kwds or {}).get("groups")
    groups = model.data.groups if given is None else late_groups(given, model.data.frame, model.data.rows)
    if groups is None:
        raise OptionError("cov_type='cluster' needs groups: pass cov_kwds={'groups': column name or ids}.")
    return name, correction, groups


def build_inference(
    model: ModelView,
    fit: Fit,
    bread: Tensor | None,
    cov_type: str,
    cov_kwds: Mapping[str, Any] | None,
    use_t: bool | None,
    default_t: bool,
) -> Inference:
    """Return the covariance of one type; NaN where the point is not a maximum, and so has no bread."""
    name, correction, groups = check_inference(model, cov_type, cov_kwds, fit.objective.separable)
    with_t = (default_t and name == "nonrobust") if use_t is None else bool(use_t)
    if bread is None:
        return Inference(not_available(len(fit.gamma), name, with_t), None, default_t, fit.free)
    parts = Ingredients(
        bread=bread,
        scale=fit.scale,
        objective=fit.objective,
        working=fit.map.working(fit.gamma),
        pull=lambda matrix: fit.map.pull_outer(matrix, fit.gamma),
        nobs=fit.nobs,
        params=len(fit.gamma),
        weights=model.data.weights.kind if model.data.weights else None,
        root=fit.root,
        groups=torch.from_numpy(groups.codes) if groups else None,
        group_count=groups.count if groups else 0,
        group_name=groups.name if groups else "",
    )
    return Inference(estimate(parts, name, correction, with_t, cov_kwds), bread, default_t, fit.free)
