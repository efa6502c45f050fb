"""Predict with standard errors and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from ..data.batch import ModelData
from ..data.vectors import FloatArray
from ..errors import OptionError, UndefinedStatisticError, unknown
from ..workers import derivatives_on
from .estimates import within_unit
from .linkscale import link_covariance, link_values, need_maximum, on_known, only_bound
from .predict import target_of

if TYPE_CHECKING:
    from .estimates import Estimates

CHUNK = 20_000
"""Rows whose derivatives are held at a time."""


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Hold predictions with their standard errors.

    Attributes
    ----------
    predicted, se : (n,) Series with the labels of the rows; NaN where a regressor is missing.
    se_obs : (n,) standard errors of a new observation for linear models, else None.
    ends : for ``ci_method="endpoint"``: the linear predictor, its standard errors, and the map to the prediction.

    Examples
    --------
    >>> import torchmle as tm
    >>> found = tm.Logit.from_formula("inlf ~ educ", tm.datasets.load("mroz")).fit().get_prediction({"educ": [12]})
    >>> found.conf_int().round(3).values.tolist()
    [[0.522, 0.595]]
    """

    predicted: pd.Series
    se: pd.Series
    se_obs: pd.Series | None
    use_t: bool
    df: float
    alpha: float
    ends: Any = None

    @property
    def predicted_mean(self) -> pd.Series:
        """Return the predictions."""
        return self.predicted

    @property
    def se_mean(self) -> pd.Series:
        """Return their standard errors."""
        return self.se

    def conf_int(self, alpha: float | None = None, obs: bool = False) -> pd.DataFrame:
        """Return intervals of the expected value, or of a new observation (linear models); columns 0 and 1."""
        upper = 1 - within_unit(self.alpha if alpha is None else alpha) / 2
        width = float(special.stdtrit(self.df, upper) if self.use_t else special.ndtri(upper))
        if obs and self.se_obs is None:
            raise UndefinedStatisticError("Intervals of a new observation are defined for linear models only.")
        if obs:
            assert self.se_obs is not None
            return pd.DataFrame({0: self.predicted - width * self.se_obs, 1: self.predicted + width * self.se_obs})
        if self.ends is None:
            return pd.DataFrame({0: self.predicted - width * self.se, 1: self.predicted + width * self.se})
        eta, se, inverse = self.ends
        both = np.sort(np.stack([inverse(eta - width * se), inverse(eta + width * se)]), axis=0)
        return pd.DataFrame({0: both[0], 1: both[1]}, index=self.predicted.index)

    def summary_frame(self, alpha: float | None = None) -> pd.DataFrame:
        """Return mean, standard error and intervals under statsmodels' column names."""
        interval = self.conf_int(alpha)
        columns = {"mean": self.predicted, "mean_se": self.se}
        columns |= {"mean_ci_lower": interval[0], "mean_ci_upper": interval[1]}
        if self.se_obs is not None:
            wide = self.conf_int(alpha, obs=True)
            columns |= {"obs_ci_lower": wide[0], "obs_ci_upper": wide[1]}
        return pd.DataFrame(columns)

    @property
    def table(self) -> pd.DataFrame:
        """Return :meth:`summary_frame` at the level that was asked for."""
        return self.summary_frame()

    def __repr__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        html: str = self.table.to_html(max_rows=60)
        return html


def get_prediction(
    results: Estimates, exog: Any, which: str, ci_method: str, alpha: float, new: Mapping[str, Any]
) -> Prediction:
    """Return predictions with errors; see :meth:`Results.get_prediction`."""
    if ci_method not in ("delta", "endpoint"):
        raise OptionError(unknown("ci_method", ci_method, ["delta", "endpoint"]))
    within_unit(alpha)
    need_maximum(results, "Errors of predictions")
    target, index = target_of(results, exog, new)
    values, se = _with_errors(results, target, which, exog is None)
    ends = None
    if ci_method == "endpoint":
        eta, eta_se, inverse = _ends(results, target, which, exog is None)
        ends = (*(_spread(v, target, index, exog).to_numpy() for v in (eta, eta_se)), inverse)
    se_obs = None
    variance = results.model.observation_variance(results, target) if which == "mean" else None
    if variance is not None:
        se_obs = _spread(np.sqrt(se**2 + variance), target, index, exog)
    known = (_spread(values, target, index, exog), _spread(se, target, index, exog))
    return Prediction(*known, se_obs, results.use_t, results.df_resid_inference, within_unit(alpha), ends)


def _spread(values: FloatArray, target: ModelData, index: pd.Index, exog: Any) -> pd.Series:
    """Return values with the labels of all rows, NaN where a row could not be predicted."""
    if exog is None or target.rows.used is None:
        return pd.Series(values, index=index)
    full = np.full(len(index), np.nan)
    full[target.rows.used] = values
    return pd.Series(full, index=index)


def _with_errors(results: Estimates, target: ModelData, which: str, same: bool) -> tuple[FloatArray, FloatArray]:
    """Return predictions and delta-method errors: ``V(f_i) = J_i V J_i'`` with ``J_i = df_i / d link``."""
    covariance, link = link_covariance(results), link_values(results)
    values, errors = [np.empty(0)], [np.empty(0)]
    with derivatives_on(target.device):
        for a in range(0, len(target.endog), CHUNK):
            rows = slice(a, min(a + CHUNK, len(target.endog)))
            model = results.model.take(rows) if same else results.model
            found, jacobian = row_jacobian(
                lambda at, m=model, r=rows: m.predict_at(at, rows_of(target, r), which), link
            )
            values.append(found.numpy())
            variance = ((jacobian @ covariance) * jacobian).sum(1).clamp(min=0.0)
            variance[only_bound(results, jacobian) | on_known(results, jacobian)] = torch.nan
            errors.append(variance.sqrt().numpy())
    return np.concatenate(values), np.concatenate(errors)


def row_jacobian(function: Any, link: Tensor) -> tuple[Tensor, Tensor]:
    """Return values by row and their (n, K) derivatives: the gradient of a weighted sum is linear in the weights."""
    at = link.clone().requires_grad_()
    values = function(at)
    weights = torch.ones_like(values, requires_grad=True)
    (slope,) = torch.autograd.grad((values * weights).sum(), at, create_graph=True, allow_unused=True)
    rows = torch.zeros(len(values), len(link), dtype=torch.float64, device="cpu")
    if slope is not None and slope.requires_grad:
        for j in range(len(link)):
            (column,) = torch.autograd.grad(slope[j], weights, retain_graph=True, allow_unused=True)
            if column is not None:
                rows[:, j] = column.double().cpu()
    return values.detach().double().cpu(), rows


def rows_of(data: ModelData, rows: slice) -> ModelData:
    """Return the data of some rows, without weights and groups."""
    return replace(
        data,
        endog=data.endog[rows],
        designs={name: replace(d, X=d.X[rows]) for name, d in data.designs.items()},
        offset=None if data.offset is None else data.offset[rows],
        weights=None,
        groups=None,
        row_data={name: value[rows] for name, value in data.row_data.items()},
    )


def _ends(results: Estimates, target: ModelData, which: str, same: bool) -> tuple[FloatArray, FloatArray, Any]:
    """Return the linear predictor with errors and its map to the mean, where the mean has no other argument."""
    if which != "mean" or len(results.model.data.linear) != 1 or not hasattr(results.model, "mean"):
        raise OptionError("ci_method='endpoint' needs which='mean' and a mean of one linear predictor; use 'delta'.")
    eta, se = _with_errors(results, target, "linear", same)

    def inverse(values: FloatArray) -> FloatArray:
        mean: Tensor = results.model.mean(torch.from_numpy(values))  # type: ignore[attr-defined]
        return mean.numpy()

    return eta, se, inverse
