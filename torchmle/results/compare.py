"""Set several fits side by side: estimates, errors, distance to a reference, verdicts."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from ..data.absent import need_rows
from ..errors import DataError, OptionError, unknown
from .inference import build_inference
from .linear import LinearResults, closed_form, with_solution
from .results import Results


@dataclass(frozen=True, eq=False)
class Comparison:
    """Hold several fits side by side; prints as text and shows as HTML.

    Attributes
    ----------
    estimates : a row a parameter; columns (model, "estimate" or "std err").
    fits : a row a model: RMSE and largest distance of the common parameters to the reference, log-likelihood and gap,
        iterations, seconds, verdict.
    notes : sentences that explain differences.

    Examples
    --------
    >>> import torchmle as tm
    >>> ols = tm.OLS.from_formula("lwage ~ educ", tm.datasets.load("wage1"))
    >>> print(ols.fit(method="bfgs").compare_ols().fits.loc["OLS (bfgs)", "verdict"])
    maximum
    """

    estimates: pd.DataFrame
    fits: pd.DataFrame
    notes: tuple[str, ...]

    def _render(self, style: str) -> list[str]:
        columns: list[tuple[str, str]] = list(self.estimates.columns)  # type: ignore[arg-type]
        head = ["", *(f"{m} se" if k == "std err" else m for m, k in columns)]
        absent = self.estimates.xs("estimate", axis=1, level=1).isna().to_numpy().repeat(2, axis=1)
        cells = self.estimates.astype(object).mask(absent, "")  # a parameter that a model does not have
        body = [[name, *row] for name, row in zip(cells.index, cells.to_numpy().tolist(), strict=True)]
        first = tabulate(body, head, tablefmt=style, floatfmt=".6g", missingval="")
        fits = self.fits.T
        rows = [
            [name, *(_cell(v) for v in row)] for name, row in zip(fits.index, fits.to_numpy().tolist(), strict=True)
        ]
        return [first, tabulate(rows, ["", *fits.columns], tablefmt=style, disable_numparse=True, stralign="right")]

    def as_text(self) -> str:
        """Return the tables and notes as plain text."""
        return "\n\n".join([*self._render("simple"), *self.notes])

    def as_html(self) -> str:
        """Return the tables and notes as HTML."""
        return "".join(self._render("html")) + "".join(f"<p>{n}</p>" for n in self.notes)

    def __str__(self) -> str:
        return self.as_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.as_html()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def compare(results: Mapping[str, Results], reference: str | None = None) -> Comparison:
    """Set fits of the same data side by side.

    Parameters
    ----------
    results : name to results, e.g. ``{"ols": a, "ml": b}``.
    reference : the name that the others are measured against; the first one by default.

    Raises
    ------
    OptionError
        If the reference is not among the names, or something is not a result.

    Examples
    --------
    >>> import torchmle as tm
    >>> data = tm.datasets.load("wage1")
    >>> ols = tm.OLS.from_formula("lwage ~ educ", data)
    >>> both = tm.compare({"closed form": ols.fit(), "newton": ols.fit(method="newton")})
    >>> float(both.fits.loc["newton", "rmse"]) < 1e-8
    True
    """
    if not isinstance(results, Mapping) or not results:
        raise OptionError("compare() takes a dict of name to results, e.g. compare({'ols': a, 'ml': b}).")
    for name, item in results.items():
        if not isinstance(item, Results):
            raise OptionError(f"compare(): {name!r} is a {type(item).__name__}, not a torchmle result.")
    base_name = next(iter(results)) if reference is None else reference
    if base_name not in results:
        raise OptionError(unknown("reference", base_name, results))
    base = results[base_name]
    need_same_rows(results, "compare()")
    order = list(dict.fromkeys(n for r in results.values() for n in r.names))
    columns = {}
    for name, r in results.items():
        columns[name, "estimate"] = r.params.reindex(order)
        columns[name, "std err"] = r.bse.reindex(order)
    estimates = pd.DataFrame(columns, index=pd.Index(order))
    fits = pd.DataFrame([_fit_row(r, base) for r in results.values()], index=pd.Index(list(results)))
    return Comparison(estimates, fits, tuple(_notes(results, base_name)))


def need_same_rows(results: Mapping[str, Results], what: str) -> None:
    """Raise unless fits are of the same response and number of observations."""
    counts = {name: r.nobs for name, r in results.items()}
    responses = {name: r.model.endog_names for name, r in results.items()}
    if len(set(responses.values())) > 1:
        listed = ", ".join(f"{k}: {v}" for k, v in responses.items())
        raise DataError(f"{what} needs fits of the same response; they differ: {listed}.")
    if len(set(counts.values())) > 1:
        raise DataError(
            f"{what} needs fits of the same rows; the numbers of observations differ: "
            f"{', '.join(f'{k}: {v:g}' for k, v in counts.items())}."
        )


def _fit_row(r: Results, base: Results) -> dict[str, Any]:
    common = [n for n in base.names if n in r.names]
    gap = (r.params[common] - base.params[common]).to_numpy() if common else np.array([np.nan])
    return {
        "rmse": float(np.sqrt((gap**2).mean())),
        "max diff": float(np.abs(gap).max()),
        "llf": r.llf,
        "llf gap": r.llf - base.llf,
        "method": r.method,
        "cov_type": r.cov_type,
        "iterations": r.fit.iterations,
        "seconds": float(r.fit.seconds),
        "device": r.record.device,
        "verdict": "maximum" if r.converged else f"NOT A MAXIMUM ({r.fit.status.value})",
    }


def _notes(results: Mapping[str, Results], base_name: str) -> list[str]:
    notes = [f"rmse, max diff and llf gap are against {base_name!r}, over the parameters in common."]
    notes += [f"{n!r} is not at a maximum: {r.status}" for n, r in results.items() if not r.converged]
    closed = [(n, r) for n, r in results.items() if isinstance(r, LinearResults) and r.cov_type == "nonrobust"]
    likely = [
        n
        for n, r in results.items()
        if not isinstance(r, LinearResults) and r.cov_type == "nonrobust" and r.converged and _is_normal(r, closed)
    ]
    if closed and likely:
        name, ols = closed[0]
        n, k = ols.nobs, len(ols.names)
        notes.append(
            f"The standard errors of {', '.join(map(repr, likely))} are those of {name!r} times sqrt((N-K)/N) = "
            f"{math.sqrt((n - k) / n):.6f}: maximum likelihood estimates sigma^2 by SSR/N, least squares by SSR/(N-K)."
        )
    return notes


def _is_normal(r: Results, closed: Sequence[tuple[str, Results]]) -> bool:
    """Return whether a fit attains the normal log-likelihood of least squares, and so has its errors up to N-K."""
    return any(abs(r.llf - c.llf) <= 1e-6 * (1 + abs(c.llf)) for _, c in closed)


def compare_ols(results: Results) -> Comparison:
    """Set a fit beside closed-form least squares of its response on its first predictor."""
    data = results.model.data
    need_rows(data, "compare_ols()")
    reason = _no_ols(results)
    if reason:
        raise OptionError(f"compare_ols() needs a continuous response and a linear first predictor; {reason}.")
    begin = time.perf_counter()
    fit, bread, solution = closed_form(data)
    fit = replace(fit, seconds=time.perf_counter() - begin)
    cov_type = results.cov_type if results.cov_type != "opg" else "nonrobust"
    if data.weights is not None and data.weights.kind == "sampling_weights" and cov_type == "nonrobust":
        cov_type = "HC1"
    kwds = results.cov_kwds if cov_type == results.cov_type else None
    inference = build_inference(results.model, fit, bread, cov_type, kwds, None, True)
    base = Results(results.model, fit, inference, results.record, results.reporter)
    name = "WLS (closed form)" if data.weights is not None else "OLS (closed form)"
    if isinstance(results, LinearResults):
        return compare({name: results}, reference=name)
    own = f"{type(results.model).__name__} ({results.method})"
    return compare({name: with_solution(base, solution), own: results}, reference=name)


def _no_ols(results: Results) -> str | None:
    model, data = results.model, results.model.data
    if model.response not in (None, "continuous"):
        return f"{type(model).__name__} has a {model.response} response"
    if not data.designs:
        return "this model has no regressors"
    if data.has_nets:
        return "a predictor has a module, which least squares have no place for"
    if bool(((data.endog == 0) | (data.endog == 1)).all()):
        return "the response is 0/1"
    terms = next(iter(data.designs.values())).terms
    if not set(terms) & set(results.names):
        return "no parameter is named after a column"
    return None
