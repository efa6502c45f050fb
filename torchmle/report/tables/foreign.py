"""Read results of other packages for a table, by what they offer: statsmodels, linearmodels, pyfixest and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ...errors import OptionError
from .column import Column, Ends, flat, terms_of

NEEDED = (
    "A model is a torchmle result, what its margins(), bootstrap() or jackknife() returned, a pair of a result and one "
    "of these, or a result of another package with either params, bse or std_errors, tvalues or tstats, pvalues and "
    "conf_int() (statsmodels, linearmodels), or coef(), se(), tstat(), pvalue() and confint() (pyfixest)"
)


def foreign_column(found: Any, ends: Ends) -> Column:
    """Return the column of a result of another package.

    Raises
    ------
    OptionError
        If it does not offer what a table needs.
    """
    if all(callable(getattr(found, name, None)) for name in ("coef", "se", "tstat", "pvalue", "confint")):
        return _pyfixest(found, ends)
    if not hasattr(found, "params") or callable(found.params):
        raise OptionError(f"A model is of type {type(found).__name__}. {NEEDED}.")
    failure = _failure(found)
    names = _names(found)
    estimate = flat(found.params, len(names))
    response, absorbed, tests = _response(found), _absorbed(found), _law(found)
    if failure is not None:
        return Column(terms_of(names, estimate), found, response, failure, absorbed=absorbed, tests=tests)
    se, test = _first(found, "bse", "std_errors"), _first(found, "tvalues", "tstats")
    terms = terms_of(names, estimate, se, test, _first(found, "pvalues"), _interval(found, ends))
    return Column(terms, found, response, absorbed=absorbed, tests=tests)


def _first(found: Any, *names: str) -> Any:
    for name in names:
        if hasattr(found, name):
            return getattr(found, name)
    raise OptionError(f"A model of type {type(found).__name__} has no {' or '.join(names)}. {NEEDED}.")


def _pyfixest(found: Any, ends: Ends) -> Column:
    coef = pd.Series(found.coef())
    names = [("", str(name)) for name in coef.index]
    interval = pd.DataFrame(found.confint(alpha=ends.alpha)).loc[list(coef.index)]
    se, test, pvalue = (pd.Series(part())[coef.index] for part in (found.se, found.tstat, found.pvalue))
    fixed = getattr(found, "_fixef", None)
    absorbed = tuple(str(fixed).split("+")) if fixed and str(fixed) != "0" else ()
    failure = None if getattr(found, "convergence", True) else "the fit did not converge"
    terms = terms_of(names, coef, se, test, pvalue, interval) if failure is None else terms_of(names, coef)
    tests = "z" if getattr(found, "_method", "") == "fepois" else "t"
    return Column(terms, found, str(getattr(found, "_depvar", "")), failure, absorbed=absorbed, tests=tests)


def _names(found: Any) -> list[tuple[str, str]]:
    """Return equation and name of each estimate; a table of estimates has an equation a column."""
    params = found.params
    if isinstance(params, pd.DataFrame):
        return [(panel, str(name)) for panel in _equations(found, params) for name in params.index]
    if isinstance(params, pd.Series):
        return [("", str(name)) for name in params.index]
    count = np.asarray(params).shape[0]
    names = list(getattr(getattr(found, "model", None), "exog_names", None) or [])
    if np.ndim(params) != 1 or len(names) != count:
        raise OptionError(
            f"A model of type {type(found).__name__} has {count} estimates and {len(names)} names (model.exog_names); "
            "fit it from a formula or a DataFrame, so that its params are a Series with names."
        )
    return [("", str(name)) for name in names]


def _equations(found: Any, params: pd.DataFrame) -> list[str]:
    """Return the names of equations; statsmodels' multinomial logit numbers its columns, and knows their levels."""
    levels = getattr(getattr(found, "model", None), "_ynames_map", None)
    if isinstance(levels, Mapping) and len(levels) == params.shape[1] + 1:
        return [str(levels[key]) for key in sorted(levels)[1:]]
    return [str(c) for c in params.columns]


def _interval(found: Any, ends: Ends) -> Any:
    """Return (K, 2) intervals, where a result gives them by ``alpha`` (statsmodels) or ``level`` (linearmodels)."""
    if not callable(getattr(found, "conf_int", None)):
        raise OptionError(f"A model of type {type(found).__name__} has no conf_int(). {NEEDED}.")
    try:
        ends_of = found.conf_int(alpha=ends.alpha)
    except TypeError:
        ends_of = found.conf_int(level=1 - ends.alpha)
    return np.asarray(ends_of, dtype=float)


def _failure(found: Any) -> str | None:
    """Return why a fit did not converge, where it says so."""
    said = getattr(found, "mle_retvals", None)
    verdicts = [getattr(found, "converged", True), said.get("converged", True) if isinstance(said, Mapping) else True]
    missed = any(isinstance(v, (bool, np.bool_)) and not v for v in verdicts)
    return "the fit did not converge" if missed else None


def _response(found: Any) -> str:
    model = getattr(found, "model", None)
    name = getattr(model, "endog_names", None)
    if name is None:
        side = getattr(model, "dependent", None)
        name = next((getattr(side, a) for a in ("cols", "vars") if hasattr(side, a)), None)
    if isinstance(name, (list, tuple)):
        name = name[0] if len(name) == 1 else None
    return "" if name is None else str(name)


def _absorbed(found: Any) -> tuple[str, ...]:
    effects = getattr(found, "included_effects", ())
    return tuple(str(e) for e in effects) if isinstance(effects, (list, tuple)) else ()


def _law(found: Any) -> str:
    """Return whether tests are by t: statsmodels says ``use_t``, linearmodels ``debiased``."""
    for name in ("use_t", "debiased", "_debiased"):
        value = getattr(found, name, None)
        if isinstance(value, (bool, np.bool_)):
            return "t" if value else "z"
    return "z"


def statistic(found: Any, name: str) -> Any:
    """Return a statistic of a result of another package; None where it has none."""
    if name == "clusters":
        return _clusters(found)
    for alias in _ALIASES.get(name, (name,)):
        try:
            value = getattr(found, alias, None)
        except NotImplementedError:  # statsmodels has properties that some models lack
            continue
        if value is not None and not callable(value):
            return value
    return None


_ALIASES = {
    "nobs": ("nobs", "_N"),
    "llf": ("llf", "loglik", "_loglik"),
    "bic": ("bic_llf", "bic"),  # statsmodels' GLM means another thing by bic, and warns
    "rsquared": ("rsquared", "_r2"),
    "rsquared_adj": ("rsquared_adj", "_adj_r2"),
    "prsquared": ("prsquared", "_pseudo_r2"),
    "cov_type": ("cov_type", "_cov_type", "_vcov_type_detail"),
}


def _clusters(found: Any) -> int | str | None:
    """Return the number of clusters; several ways are divided by a slash."""
    if getattr(found, "_is_clustered", False):
        ways = len(getattr(found, "_clustervar", ())) or 1
        return _several([int(g) for g in list(getattr(found, "_G", []))[:ways]])
    kwds = getattr(found, "cov_kwds", None)
    if getattr(found, "cov_type", "") != "cluster" or not isinstance(kwds, Mapping) or kwds.get("groups") is None:
        return None
    groups = np.asarray(kwds["groups"])
    return _several([len(np.unique(g)) for g in (groups.T if groups.ndim == 2 else [groups])])


def _several(counts: list[int]) -> int | str | None:
    if len(counts) < 2:
        return counts[0] if counts else None
    return " / ".join(map(str, counts))
