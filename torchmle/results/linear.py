"""Report least squares with statsmodels' whole block of statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from scipy import special

from ..data.batch import ModelData
from ..data.design import Design
from ..data.vectors import FloatArray
from ..errors import CollinearityWarning, DataError, DataWarning, UndefinedStatisticError, warn
from ..linalg import inverse_root, symmetric
from ..loglik.leastsquares import LeastSquares, Solution, solve
from ..optim.base import Status
from ..params.map import ParamMap, uncentring
from .closed import ClosedForm
from .fit import Fit
from .results import Results

NEARLY_COLLINEAR = 1e8
"""Condition of the standardised columns above which a warning is given."""


@dataclass(frozen=True, eq=False, repr=False)
class LinearResults(ClosedForm):
    """Hold a closed-form least squares fit; ``scale`` is ``s^2 = ssr / (n - K)``.

    The log-likelihood is that of the normal model with sigma at its maximum; AIC and BIC do not count sigma, as in
    statsmodels.

    Examples
    --------
    >>> import torchmle as tm
    >>> res = tm.OLS.from_formula("lwage ~ educ + exper", tm.datasets.load("wage1")).fit()
    >>> print(round(res.rsquared, 4), round(res.durbin_watson, 3))
    0.2493 1.789
    """

    row_statistics: ClassVar[tuple[str, ...]] = (
        *Results.row_statistics,
        *("centered_tss", "uncentered_tss", "k_constant", "eigenvals", "_central", "durbin_watson"),
    )

    @cached_property
    def _moments(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return response, residuals and weights of the rows in use."""
        data = self.model.data
        y = data.endog.cpu().double().numpy()
        w = np.ones(len(y)) if data.weights is None else data.weights.values.cpu().double().numpy()
        return y, self.resid.to_numpy(), w

    @cached_property
    def centered_tss(self) -> float:
        """Return the (weighted) sum of squares of the response about its mean."""
        y, _, w = self._moments
        return float((w * (y - np.average(y, weights=w)) ** 2).sum())

    @cached_property
    def uncentered_tss(self) -> float:
        """Return the (weighted) sum of squares of the response."""
        y, _, w = self._moments
        return float((w * y**2).sum())

    @cached_property
    def k_constant(self) -> int:
        """Return 1 if the columns span a constant, else 0."""
        return int(spans_constant(next(iter(self.model.data.designs.values()))))

    @property
    def ess(self) -> float:
        """Return the explained sum of squares, about the mean where there is a constant."""
        return (self.centered_tss if self.k_constant else self.uncentered_tss) - self.ssr

    @property
    def rsquared(self) -> float:
        """Return R-squared; about zero, not about the mean, where there is no constant."""
        return 1 - _ratio(self.ssr, self.centered_tss if self.k_constant else self.uncentered_tss)

    @property
    def rsquared_adj(self) -> float:
        """Return ``1 - (n - k_constant) / (n - K) (1 - R2)``."""
        return 1 - _ratio(self.nobs - self.k_constant, self.df_resid) * (1 - self.rsquared)

    @property
    def df_model(self) -> int:
        """Return the number of columns beside the constant."""
        return len(self.names) - self.k_constant

    @property
    def mse_model(self) -> float:
        """Return the explained sum of squares over ``df_model``."""
        return _ratio(self.ess, self.df_model)

    @property
    def mse_resid(self) -> float:
        """Return the residual sum of squares over ``df_resid``."""
        return _ratio(self.ssr, self.df_resid)

    @property
    def mse_total(self) -> float:
        """Return the total sum of squares over its degrees of freedom."""
        return _ratio(self.ess + self.ssr, self.df_resid + self.df_model)

    @cached_property
    def fvalue(self) -> float:
        """Return F of all slopes: from sums of squares, or the Wald form under another covariance."""
        if self.df_model == 0:
            raise UndefinedStatisticError("fvalue is not defined for a model without slopes.")
        if self.cov_type == "nonrobust":
            return _ratio(self.mse_model, self.mse_resid)
        design = next(iter(self.model.data.designs.values()))
        slopes = [j for j in range(len(self.names)) if j != design.constant]
        b, V = self.params.to_numpy()[slopes], self.cov_params().to_numpy()[np.ix_(slopes, slopes)]
        if not np.isfinite(V).all() or np.linalg.matrix_rank(V) < len(slopes):
            return math.nan  # as many clusters as slopes, or fewer
        return float(b @ np.linalg.solve(V, b)) / len(slopes)

    @property
    def f_pvalue(self) -> float:
        """Return the p-value of ``fvalue`` with ``df_model`` and the residual degrees of freedom."""
        df = self.inference.covariance.df
        return float(special.fdtrc(self.df_model, self.df_resid if df is None else df, self.fvalue))

    @property
    def condition_number(self) -> float:
        """Return the condition number of the columns as given, ``sqrt(largest / smallest eigenvalue of X'X)``."""
        values = self.eigenvals
        return float(np.sqrt(values[0] / values[-1])) if values[-1] > 0 else math.inf

    @cached_property
    def eigenvals(self) -> FloatArray:
        """Return the eigenvalues of ``X'WX`` of the columns as given, largest first."""
        design = next(iter(self.model.data.designs.values()))
        weights = self.model.data.weights
        zero = torch.zeros(design.X.shape[1], dtype=torch.float64, device="cpu")
        raw = LeastSquares(design.X, self.model.data.endog, zero, None if weights is None else weights.values)
        hessian = raw.moments(zero, 2).hessian
        assert hessian is not None
        return np.sort(np.linalg.eigvalsh(-hessian.numpy()))[::-1]

    # ---- residual diagnostics

    @cached_property
    def wresid(self) -> pd.Series:
        """Return the residuals times the root of the weights."""
        _, residuals, w = self._moments
        return pd.Series(residuals * np.sqrt(w), index=self.resid.index)

    @cached_property
    def _central(self) -> tuple[float, float, float]:
        """Return second, third and fourth central moments of the weighted residuals."""
        e = self.wresid.to_numpy() - self.wresid.mean()
        return float((e**2).mean()), float((e**3).mean()), float((e**4).mean())

    @property
    def skew(self) -> float:
        """Return the skewness of the residuals."""
        m2, m3, _ = self._central
        return m3 / m2**1.5 if m2 > 0 else math.nan

    @property
    def kurtosis(self) -> float:
        """Return the kurtosis of the residuals (3 for a normal distribution)."""
        m2, _, m4 = self._central
        return m4 / m2**2 if m2 > 0 else math.nan

    @property
    def jarque_bera(self) -> float:
        """Return the Jarque-Bera statistic ``n/6 (S^2 + (K - 3)^2 / 4)``."""
        return self.model.data.rows.count / 6 * (self.skew**2 + (self.kurtosis - 3) ** 2 / 4)

    @property
    def jarque_bera_pvalue(self) -> float:
        """Return the chi-squared(2) p-value of the Jarque-Bera statistic."""
        return float(special.chdtrc(2, self.jarque_bera))

    @cached_property
    def durbin_watson(self) -> float:
        """Return the Durbin-Watson statistic of the weighted residuals, in the order of the rows."""
        e = self.wresid.to_numpy()
        return _ratio(float((np.diff(e) ** 2).sum()), float((e**2).sum()))

    @cached_property
    def omnibus(self) -> float:
        """Return D'Agostino and Pearson's test of normality, ``z_skew^2 + z_kurtosis^2``; NaN below 8 rows."""
        n = self.model.data.rows.count
        if n < 8:
            return math.nan
        return _skew_z(self.skew, n) ** 2 + _kurtosis_z(self.kurtosis, n) ** 2

    @property
    def omnibus_pvalue(self) -> float:
        """Return the chi-squared(2) p-value of the omnibus statistic."""
        return float(special.chdtrc(2, self.omnibus))


def _ratio(above: float, below: float) -> float:
    """Return a ratio, NaN where it has no meaning."""
    return above / below if below > 0 else math.nan


def _skew_z(skew: float, n: int) -> float:
    """Return the normal score of a skewness (D'Agostino 1970)."""
    y = skew * math.sqrt((n + 1) * (n + 3) / (6.0 * (n - 2)))
    beta2 = 3.0 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2.0) * (n + 5) * (n + 7) * (n + 9))
    w2 = -1 + math.sqrt(2 * (beta2 - 1))
    return math.asinh(y / math.sqrt(2.0 / (w2 - 1))) / math.sqrt(0.5 * math.log(w2))


def _kurtosis_z(kurtosis: float, n: int) -> float:
    """Return the normal score of a kurtosis (Anscombe and Glynn 1983)."""
    mean = 3.0 * (n - 1) / (n + 1)
    variance = 24.0 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3.0) * (n + 5))
    x = (kurtosis - mean) / math.sqrt(variance)
    root = (
        6.0 * (n**2 - 5 * n + 2) / ((n + 7) * (n + 9)) * math.sqrt(6.0 * (n + 3) * (n + 5) / (n * (n - 2.0) * (n - 3)))
    )
    a = 6.0 + 8.0 / root * (2.0 / root + math.sqrt(1 + 4.0 / root**2))
    ratio = (1 - 2.0 / a) / (1 + x * math.sqrt(2.0 / (a - 4.0)))
    return (1 - 2.0 / (9 * a) - math.copysign(abs(ratio) ** (1 / 3), ratio)) / math.sqrt(2.0 / (9 * a))


def spans_constant(design: Design) -> bool:
    """Return whether a combination of the columns is constant, such as a full set of dummies."""
    if design.constant is not None:
        return True
    ones = torch.ones_like(design.X[:, 0])
    zero = torch.zeros(design.X.shape[1], dtype=torch.float64, device="cpu")
    return solve(LeastSquares(design.X, ones, zero, None)).ssr < 1e-16 * len(ones)


def closed_form(data: ModelData, seconds: float = 0.0) -> tuple[Fit, torch.Tensor | None, Solution]:
    """Fit least squares of the response on the first design, weighted where the model is.

    Returns
    -------
    (fit, bread, solution)
        The bread is ``(X'WX)^-1`` in gamma.
    """
    design = next(iter(data.designs.values()))
    centre = design.means
    weights = None if data.weights is None else data.weights.values
    y = data.endog if data.offset is None else data.endog - data.offset
    objective = LeastSquares(design.X, y, centre, weights)
    solution = solve(objective, _known_gram(design, weights))
    if solution.condition > NEARLY_COLLINEAR:
        warn(
            "The columns are nearly collinear: the condition number of the standardised columns is "
            f"{solution.condition:.1e}. "
            f"About {max(0, int(15.5 - math.log10(solution.condition)))} digits of the coefficients can be right. "
            "Centre the variables before taking powers, or leave columns out.",
            CollinearityWarning,
        )
    pmap = ParamMap(design.terms, design.terms, design.scale, uncentring(centre, design.constant, design.cross.mean))
    freq = data.weights is not None and data.weights.kind == "freq_weights"
    n = float(data.weights.values.sum()) if freq and data.weights is not None else float(len(y))
    s2 = solution.ssr / (n - len(design.terms)) if n > len(design.terms) else math.nan
    if n <= len(design.terms):
        warn(
            f"{n:g} rows and {len(design.terms)} coefficients leave no residual degrees of freedom: the fit is exact "
            "and there are no standard errors.",
            DataWarning,
        )
    if not math.isfinite(solution.ssr):
        raise DataError("The squares of the response overflow in floating point. Rescale the response.")
    gamma = solution.working * design.scale
    root = solution.root / design.scale
    inverse = inverse_root(root)
    bread = symmetric(inverse @ inverse.mT)
    fit = Fit(
        map=pmap,
        gamma=gamma,
        llf=_normal_llf(data, solution.ssr, n),
        derivatives=(
            torch.zeros_like(gamma),
            -(solution.root.mT @ solution.root) / s2 if s2 > 0 else torch.full_like(bread, -torch.inf),
        ),
        status=Status.CONVERGED,
        decrement=0.0,
        iterations=0,
        history=(),
        seconds=seconds,
        method="closed form",
        engine=f"least squares by {solution.by}",
        objective=objective,
        nobs=n,
        free=len(gamma),
        scale=s2,
        root=solution.root if solution.by == "QR" else None,
    )
    return fit, bread if n > len(design.terms) else None, solution


def _known_gram(design: Design, weights: torch.Tensor | None) -> torch.Tensor | None:
    """Return the centred cross-products that the design has already, with the constant's own entry put in."""
    if weights is not None or design.X.dtype != torch.float64:
        return None
    if design.constant is None:
        return design.cross.gram
    gram = design.cross.gram.clone()
    gram[design.constant] = 0.0
    gram[:, design.constant] = 0.0
    gram[design.constant, design.constant] = design.cross.rows * design.cross.mean[design.constant] ** 2
    return gram


def _normal_llf(data: ModelData, ssr: float, n: float) -> float:
    """Return the normal log-likelihood with sigma at its maximum; infinite for a perfect fit."""
    if ssr <= 0:
        return math.inf
    value = -n / 2 * (math.log(2 * math.pi * ssr / n) + 1)
    if data.weights is not None and data.weights.kind == "var_weights":
        value += 0.5 * float(data.weights.values.log().sum())
    return value


def with_solution(results: Results, solution: Solution) -> LinearResults:
    """Return the same results with the statistics of least squares."""
    return LinearResults(results.model, results.fit, results.inference, results.record, results.reporter, solution)
