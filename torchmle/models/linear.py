"""Fit linear models: least squares in closed form, or by maximum likelihood over (beta, log sigma)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.batch import ModelData
from ..errors import OptionError, collecting_notes
from ..params.natural import predictor
from ..report.summary import summarise
from ..results.estimates import Estimates
from ..results.inference import build_inference, check_inference
from ..results.linear import closed_form, with_solution
from ..results.linkscale import link_values
from ..results.results import Results
from ..special import normal_logpdf
from .fitting import default_cov, run_fit
from .outcomes import Expectation
from .predictors import LinearPredictorModel
from .record import make_record
from .request import FitOptions, FitRequest


class OLS(LinearPredictorModel):
    """Fit a linear regression.

    ``fit()`` solves least squares in closed form and reports statsmodels' whole block of statistics, with
    ``s^2 = SSR / (n - K)``. ``fit(method="newton")`` (or another method) maximises the normal likelihood over the
    coefficients and sigma; ``log_sigma="1 + x"`` lets sigma depend on regressors.

    Examples
    --------
    >>> import torchmle as tm
    >>> res = tm.OLS.from_formula("lwage ~ educ + exper", tm.datasets.load("wage1")).fit(cov_type="HC1")
    >>> print(round(res.params["educ"], 4))
    0.0979
    """

    predictors = {"mu": "1", "log_sigma": predictor("1", natural="sigma", transform=torch.exp)}
    response: str | None = "continuous"
    takes_exposure = False
    takes_var_weights = True

    def logdensity(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the normal log-density."""
        mu, log_sigma = etas
        return normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma

    def mean(self, *etas: Tensor) -> Tensor:
        """Return the mean."""
        return etas[0]

    def variance(self, *etas: Tensor) -> Tensor:
        """Return sigma squared."""
        return torch.exp(2 * etas[1])

    def expected_information(self, *etas: Tensor) -> Expectation:
        """Return ``1 / sigma^2`` for the mean and 2 for log sigma."""
        return [[torch.exp(-2 * etas[1]), None], [torch.full_like(etas[1], 2.0)]]

    def saturated(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the log-density at a residual of zero."""
        return self.logdensity(etas[0], *etas)

    def cdf(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the normal distribution function."""
        probability: Tensor = torch.special.ndtr(self.standard_normal(y, *etas))
        return probability

    def standard_normal(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the standardised residual."""
        return (y - etas[0]) * torch.exp(-etas[1])

    def simulate_endog(self, *etas: Tensor, generator: torch.Generator) -> Tensor:
        """Return normal draws."""
        noise = torch.randn(len(etas[0]), generator=generator, dtype=etas[0].dtype, device="cpu")
        return etas[0] + torch.exp(etas[1]) * noise

    def observation_variance(self, results: Estimates, data: ModelData) -> np.ndarray[Any, Any]:
        """Return sigma squared of each row; ``s^2`` for least squares, over its weight for the rows of the fit."""
        if data is self.data:
            return torch.exp(2 * self.row_etas(results)[1]).double().cpu().numpy()
        etas = self.etas(link_values(results), data)
        if len(etas) < 2:
            return np.full(len(data.endog), results.scale)
        return torch.exp(2 * etas[1]).double().cpu().numpy()

    def row_etas(self, results: Estimates) -> list[Tensor]:
        """Return mean and log sigma of the rows; least squares has ``s`` beside its parameters."""
        etas = super().row_etas(results)
        if len(etas) < 2:
            known = self.known_part(1)
            level = torch.full_like(etas[0], 0.5 * math.log(results.scale) if results.scale > 0 else -math.inf)
            etas.append(level if known is None else level + known)
        return etas

    def known_part(self, position: int) -> Tensor | None:
        """Return ``-1/2 log w`` for log sigma: with ``var_weights`` a row's variance is ``sigma^2 / w``."""
        weights = self.data.weights
        if weights is None or weights.kind != "var_weights":
            return None
        return -0.5 * weights.values.log()

    def _fit(self, request: FitRequest) -> Results:
        constant_sigma = list(self.data.designs.values())[1].terms == ("Intercept",)
        if request.method is None and constant_sigma and not (self.nets or request.conditions):
            return self._closed_form(request)
        return run_fit(self, request)

    def _closed_form(self, request: FitRequest) -> Results:
        idle = {"maxiter": request.maxiter, "tol": request.tol, "start_params": request.start_params}
        idle |= {"batch_size": request.batch_size, "callback": request.callback, "maxfun": request.maxfun}
        idle |= {"seed": request.seed, "fixed": request.fixed, "constraints": request.constraints, **request.options}
        idle |= {"bounds": request.bounds, "resume": request.resume, "checkpoint": request.checkpoint}
        idle |= {k: v for k, v in vars(request.general).items() if v != getattr(FitOptions(), k)}
        given = [name for name, value in idle.items() if value is not None]
        if given:
            raise OptionError(
                f"{', '.join(given)}: least squares is solved in closed form and does not iterate. Name a method as "
                "well, e.g. fit(method='newton'), to maximise the likelihood."
            )
        begin = time.perf_counter()
        cov_type = default_cov(self, request.cov_type)
        check_inference(self, cov_type, request.cov_kwds, separable=True, closed_form=True)
        self._check_rows()
        with collecting_notes() as notes:
            fit, bread, solution = closed_form(self.data)
        seconds = time.perf_counter() - begin
        record = make_record(self, request, "closed form", {}, seconds)
        fit = replace(fit, seconds=seconds, notes=tuple(notes))
        inference = build_inference(self, fit, bread, cov_type, request.cov_kwds, request.use_t, True)
        return with_solution(Results(self, fit, inference, record, summarise), solution)

    def _check_rows(self) -> None:
        design = next(iter(self.data.designs.values()))
        if self.nobs < len(design.terms):
            raise OptionError(
                f"{len(design.terms)} coefficients cannot be estimated from {self.nobs} rows. "
                f"{self.data.rows.total - self.nobs} of {self.data.rows.total} rows were dropped."
            )


class WLS(OLS):
    """Fit a linear regression whose rows have variance ``sigma^2 / weights``.

    Parameters
    ----------
    weights : precision weights, an array, a Series or a column name; the same as ``var_weights``.

    All other parameters are those of :class:`OLS`.

    Examples
    --------
    >>> import torchmle as tm
    >>> data = tm.datasets.load("wage1")
    >>> res = tm.WLS.from_formula("lwage ~ educ", data, weights=1 / data.exper).fit()
    >>> res.converged
    True
    """

    def __init__(self, endog: Any, exog: Any = None, *, weights: Any = None, **kwargs: Any) -> None:
        super().__init__(endog, exog, **_var_weights(weights, kwargs))

    @classmethod
    def from_formula(cls, formula: str, data: Any, *, weights: Any = None, **kwargs: Any) -> WLS:
        """Build the model from a formula and a table; see :meth:`GenericLikelihoodModel.from_formula`."""
        return super().from_formula(formula, data, **_var_weights(weights, kwargs))


def _var_weights(weights: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if weights is None:
        return dict(kwargs)
    if kwargs.get("var_weights") is not None:
        raise OptionError("weights and var_weights are the same thing; give one of them.")
    return {**kwargs, "var_weights": weights}
