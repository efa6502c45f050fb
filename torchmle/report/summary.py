"""Render one fit as a summary: what was fitted, the verdict, the table, the notes."""

from __future__ import annotations

import math

from ..errors import UndefinedStatisticError
from ..optim.status import Status
from ..results.edges import edge_notes
from ..results.linear import LinearResults
from ..results.results import Results
from .document import Summary
from .format import number


def summarise(results: Results, alpha: float) -> Summary:
    """Return the summary of a fit.

    Parameters
    ----------
    alpha : one minus the level of the confidence intervals.
    """
    model = results.model.model_name
    return Summary(
        title=f"{model} Results",
        alerts=_alerts(results),
        facts=_facts(results),
        head=_head(results, alpha),
        rows=_rows(results, alpha),
        statistics=[*_statistics(results), *results.parts],
        notes=tuple(_notes(results)),
    )


def _alerts(results: Results) -> tuple[str, ...]:
    if results.converged:
        return ()
    if results.fit.safety is not None:
        verdict = "PASSED THE SAFETY TEST" if results.fit.safety.passed else "NO SOLUTION FOUND"
        return (f"{verdict}. {results.fit.status.sentence}", *results.fit.safety.sentences())
    if results.fit.status is Status.TRAINED:
        return (f"TRAINED, NOT SHOWN TO BE A MAXIMUM ({results.status})",)
    return (
        f"NOT A MAXIMUM ({results.status})",
        "No standard errors are given, because they would describe a point that is not the estimate.",
    )


def _statistic(results: Results, name: str) -> str | None:
    """Return a statistic as text, or None where it is not defined."""
    try:
        return number(float(getattr(results, name)))
    except UndefinedStatisticError:
        return None


def _facts(results: Results) -> list[tuple[str, str]]:
    record = results.record
    facts = [
        *([("Dep. variable", results.model.endog_names)] if results.model.response != "function" else []),
        ("Observations", f"{results.nobs:g}"),
        ("Parameters", f"{results.fit.free}") if results.parts else ("Df residuals", f"{results.df_resid:g}"),
        ("Method", results.method),
        ("Converged", "yes" if results.converged else "NO"),
        ("Iterations", str(results.fit.iterations)),
        ("Covariance", results.cov_type),
        ("Device", f"{record.device}, {record.dtype}"),
    ]
    if isinstance(results, LinearResults):
        names = {"R-squared": "rsquared", "Adj. R-squared": "rsquared_adj", "F-statistic": "fvalue"}
        names |= {"Prob (F-statistic)": "f_pvalue"}
    else:
        names = {"Pseudo R-squared": "prsquared", "LL-null": "llnull", "LLR p-value": "llr_pvalue"}
    names = {"Log-likelihood": "llf", **names, "AIC": "aic", "BIC": "bic"}
    show = results.converged
    found = [(label, _statistic(results, name)) for label, name in names.items() if show or name == "llf"]
    return facts + [(label, value) for label, value in found if value is not None]


def _head(results: Results, alpha: float) -> tuple[str, ...]:
    test = "t" if results.use_t else "z"
    return ("", "coef", "std err", test, f"P>|{test}|", f"[{alpha / 2:.4g}", f"{1 - alpha / 2:.4g}]")


def _rows(results: Results, alpha: float) -> tuple[tuple[str, ...], ...]:
    interval = results.conf_int(alpha)
    pmap = results.fit.map
    untested = {results.names[i] for i in pmap.untested}
    bounds = {results.names[i]: side for i, side in pmap.at_bound.items()}
    fixed = {results.names[i] for i in results.fit.map.fixed}
    rows = []
    params, errors, tvalues, pvalues = results.params, results.bse, results.tvalues, results.pvalues
    for name in results.listed:
        value, error = number(params[name]), number(errors[name])
        if name in fixed:
            said = f"(at {bounds[name]} bound)" if name in bounds else "(fixed)"
            rows.append((name, value, said, "", "", "", ""))
            continue
        low, high = number(interval[0][name]), number(interval[1][name])
        test = ("", "") if name in untested else (_short(tvalues[name]), _short(pvalues[name]))
        rows.append((name, value, error, *test, low, high))
    return tuple(rows)


def _short(value: float) -> str:
    return "nan" if math.isnan(value) else f"{value:.3f}"


def _statistics(results: Results) -> list[tuple[str, str]]:
    if not isinstance(results, LinearResults):
        return []
    names = {
        "Omnibus": "omnibus",
        "Prob(Omnibus)": "omnibus_pvalue",
        "Skew": "skew",
        "Kurtosis": "kurtosis",
        "Durbin-Watson": "durbin_watson",
        "Jarque-Bera (JB)": "jarque_bera",
        "Prob(JB)": "jarque_bera_pvalue",
        "Cond. no.": "condition_number",
    }
    return [(label, _statistic(results, name) or "") for label, name in names.items()]


def _notes(results: Results) -> list[str]:
    data = results.model.data
    notes = [f"Standard errors: {results.inference.covariance.description}{_degrees(results)}."]
    notes = notes if results.converged or results.fit.status is Status.TRAINED else []
    if data.weights is not None:
        notes.append(f"Weights: {data.weights.kind}.")
    if data.rows.causes:
        lost = ", ".join(f"{cause}: {count}" for cause, count in data.rows.causes.items())
        notes.append(f"{data.rows.total - data.rows.count} of {data.rows.total} rows were not used ({lost}).")
    dropped = [name for design in data.designs.values() for name in design.dropped]
    if dropped:
        notes.append(f"Dropped as exactly collinear: {', '.join(dropped)}.")
    notes += [n for n in data.notes if not n.startswith("Dropped")]
    if results.record.dtype == "float32":
        notes.append("Computed in float32: about six digits of the estimates are right.")
    notes.append(f"Computed by: {results.engine}.")
    return [*notes, *results.fit.notes, *edge_notes(results)]


def _degrees(results: Results) -> str:
    """Return the degrees of freedom of t tests, where they are not those of the residuals and the same for all."""
    df = results.inference.covariance.df
    if not results.use_t or df is None or df == results.df_resid or results.inference.covariance.dfs is not None:
        return ""
    return f", t tests with {df:g} degrees of freedom"
