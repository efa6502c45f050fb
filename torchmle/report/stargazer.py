"""Make Stargazer accept results."""

from __future__ import annotations

import math
from typing import Any

from ..errors import import_extra
from ..results.results import Results
from ..results.tidy import statistic

_STATISTICS = {
    "r2": "rsquared",
    "r2_adj": "rsquared_adj",
    "pseudo_r2": "prsquared",
    "f_statistic": "fvalue",
    "f_p_value": "f_pvalue",
    "degree_freedom": "df_model",
    "degree_freedom_resid": "df_resid",
    "nobs": "nobs",
}


def register_stargazer() -> None:
    """Tell Stargazer how to read results; ``Stargazer([res, ...])`` then takes them beside those of statsmodels.

    Stargazer knows results by their class only, and asks nothing of the object, so that it has to be told once in a
    program. Told again, nothing changes.

    Raises
    ------
    MissingPackageError
        If Stargazer is not there.

    Examples
    --------
    >>> import torchmle as tm
    >>> from stargazer.stargazer import Stargazer
    >>> tm.register_stargazer()
    >>> res = tm.OLS.from_formula("lwage ~ educ", tm.datasets.load("wage1")).fit()
    >>> "0.083" in Stargazer([res]).render_latex()
    True
    """
    import_extra("stargazer.stargazer", "clients", "register_stargazer()")  # it fills the list that it takes entries in
    translators = import_extra("stargazer.translators", "clients", "register_stargazer()")
    translators.register_class(Results, extract)


def extract(results: Results) -> dict[str, Any]:
    """Return what Stargazer shows of a fit, None for what is not defined; estimates only, where there is no maximum."""
    interval = results.conf_int()
    known = _STATISTICS if results.converged else ("nobs", "degree_freedom_resid")
    least_squares = hasattr(type(results), "rsquared")
    return {
        **{key: statistic(results, name) if key in known else None for key, name in _STATISTICS.items()},
        "dependent_variable": results.model.endog_names,
        "cov_names": results.params.index.to_numpy(),
        "cov_values": results.params,
        "cov_std_err": results.bse,
        "p_values": results.pvalues.fillna(1.0),  # they decide on stars, and NaN would get three
        "conf_int_low_values": interval[0],
        "conf_int_high_values": interval[1],
        "resid_std_err": math.sqrt(results.scale) if least_squares else None,
    }
