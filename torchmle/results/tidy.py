"""Put results into plain tables: one row a parameter, and one row for the fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import UndefinedStatisticError

if TYPE_CHECKING:
    from .estimates import Estimates

_GLANCE = {
    "nobs": "nobs",
    "df": "df_model",
    "df.residual": "df_resid",
    "logLik": "llf",
    "null.logLik": "llnull",
    "AIC": "aic",
    "BIC": "bic",
    "r.squared": "rsquared",
    "adj.r.squared": "rsquared_adj",
    "pseudo.r.squared": "prsquared",
}
"""Column of ``glance`` and statistic of results; the columns are those of broom in R, where it has them."""


def statistic(results: Estimates, name: str) -> Any:
    """Return a statistic, or None where it is not defined."""
    if not hasattr(type(results), name):
        return None
    try:
        return getattr(results, name)
    except UndefinedStatisticError:
        return None


def tidy(results: Estimates, alpha: float) -> pd.DataFrame:
    """Return a row a parameter; see :meth:`Results.tidy`."""
    interval = results.conf_int(alpha)
    columns = {
        "term": list(results.names),
        "estimate": results.params.to_numpy(),
        "std.error": results.bse.to_numpy(),
        "statistic": results.tvalues.to_numpy(),
        "p.value": results.pvalues.to_numpy(),
        "conf.low": interval[0].to_numpy(),
        "conf.high": interval[1].to_numpy(),
    }
    return pd.DataFrame(columns)


def glance(results: Estimates) -> pd.DataFrame:
    """Return a row for the fit; see :meth:`Results.glance`."""
    row: dict[str, Any] = {"model": results.model.model_name, "response": results.model.endog_names}
    known = ("nobs", "df.residual", "logLik") if not results.converged else _GLANCE
    found = {column: statistic(results, _GLANCE[column]) for column in known}
    row |= {column: value for column, value in found.items() if value is not None}
    if results.converged:
        row |= _overall(results)
    row |= {"cov.type": results.cov_type, "method": results.method, "converged": results.converged}
    return pd.DataFrame([row])


def _overall(results: Estimates) -> dict[str, Any]:
    """Return the test of all slopes, F or the likelihood ratio, and s of least squares."""
    least_squares = hasattr(type(results), "fvalue")
    value, pvalue = ("fvalue", "f_pvalue") if least_squares else ("llr", "llr_pvalue")
    found = {"sigma": math.sqrt(results.scale)} if least_squares else {}
    test = {"statistic": statistic(results, value), "p.value": statistic(results, pvalue)}
    return found if None in test.values() else {**found, **test}


_INFO = {
    "rsquared": "rsquared",
    "rsquared_adj": "rsquared_adj",
    "fvalue": "fvalue",
    "f_pvalue": "f_pvalue",
    "df_model": "df_model",
    "df_resid": "df_resid",
    "n_obs": "nobs",
    "llf": "llf",
    "prsquared": "prsquared",
    "aic": "aic",
    "bic": "bic",
}


def estimagic_dict(results: Estimates) -> dict[str, Any]:
    """Return what ``estimagic.estimation_table`` takes for a model; see :meth:`Results.to_estimagic`."""
    interval = results.conf_int()
    params = pd.DataFrame(
        {
            "value": results.params,
            "p_value": results.pvalues,
            "standard_error": results.bse,
            "ci_lower": interval[0],
            "ci_upper": interval[1],
        }
    )
    found = {key: statistic(results, name) for key, name in _INFO.items()}
    info = {key: value for key, value in found.items() if value is not None}
    if "rsquared" in info:
        info["resid_std_err"] = math.sqrt(results.scale)
    return {"params": params, "info": info, "name": results.model.endog_names}
