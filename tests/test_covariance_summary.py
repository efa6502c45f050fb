"""Hold what the summary says of the covariance to what was asked for and to counts made from the data."""

import numpy as np
import pandas as pd
import pytest

import torchmle as tm


def made(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"x": rng.normal(size=n), "firm": np.arange(n) // 6, "year": 2000 + np.arange(n) % 6})
    shocks = rng.normal(size=n // 6)[data["firm"]], rng.normal(size=6)[data["year"] - 2000]
    data["x"] += shocks[0] * shocks[1]  # rows of a firm, and of a year, are alike
    data["y"] = data["x"] + 2 * shocks[0] + 2 * shocks[1] + 0.5 * rng.normal(size=n)
    data["b"] = (data["y"] > 0).astype(float)
    data["county"] = rng.integers(0, 9, n)
    data["lat"], data["lon"] = rng.uniform(44, 47, n), rng.uniform(2, 6, n)
    data.loc[:5, "x"] = np.nan  # the first firm is lost
    return data


DATA = made()
COUNTIES = DATA["county"][6:].nunique()
# Covariance, options, and what the summary has to say.
CASES = {
    "observed": ("Probit", "nonrobust", {}, "inverse of the observed information"),
    "expected": ("Probit", "nonrobust", {"information": "expected"}, "inverse of the expected information"),
    "least squares": ("OLS", "nonrobust", {}, "s^2 times the inverse of X'X"),
    "scores": ("Probit", "opg", {}, "inverse of the outer product of the scores"),
    "HC0": ("Probit", "HC0", {}, "heteroskedasticity robust, no correction."),
    "HC1": (
        "Probit",
        "HC1",
        {"information": "expected"},
        "heteroskedasticity robust, corrected by n/(n-K), bread from the expected information.",
    ),
    "HC2": ("OLS", "HC2", {}, "rows divided by 1 - h, largest leverage h"),
    "HC3": ("OLS", "HC3", {}, "rows divided by (1 - h)^2, largest leverage h"),
    "one way": ("OLS", "cluster", {"groups": "firm"}, "clustered by firm, 19 clusters, G/(G-1) (n-1)/(n-K)."),
    "two ways": (
        "OLS",
        "cluster",
        {"groups": ["firm", "county"], "use_correction": "stata"},
        f"clustered by firm, 19 clusters and county, {COUNTIES} clusters, G/(G-1) with the G of each intersection.",
    ),
    "smallest": (
        "OLS",
        "cluster",
        {"groups": ["firm", "county"], "count": "min"},
        f"clustered by firm, 19 clusters and county, {COUNTIES} clusters, G/(G-1) (n-1)/(n-K) with the smallest G.",
    ),
    "uncorrected": (
        "OLS",
        "cluster",
        {"groups": ["firm", "county"], "use_correction": False},
        f"firm, 19 clusters and county, {COUNTIES} clusters, no correction.",
    ),
    "CR2": ("OLS", "CR2", {"groups": "firm"}, "clustered by firm, 19 clusters, CR2 (Bell and McCaffrey)"),
    "CRV3": ("OLS", "CRV3", {"groups": "firm"}, "cluster jackknife (CRV3, exact) by firm, 19 clusters, (G-1)/G."),
    "one step": (
        "Probit",
        "CRV3",
        {"groups": "firm", "center": "mean", "use_correction": False},
        "cluster jackknife (CRV3, one Newton step each) by firm, 19 clusters, no correction, about their mean.",
    ),
    "lags": (
        "OLS",
        "HAC",
        {"maxlags": 3, "kernel": "parzen", "use_correction": True},
        "autocorrelation robust, lags of rows in use (6 that were dropped are not counted), parzen kernel, 3 lags, "
        "n/(n-K).",
    ),
    "bandwidth": ("OLS", "HAC", {"bandwidth": 2.5}, "bartlett kernel, bandwidth 2.5, no correction."),
    "rule": ("OLS", "HAC", {"bandwidth": "andrews"}, "by the rule of andrews, no correction."),
    "prewhitened": ("OLS", "HAC", {"bandwidth": "newey-west", "prewhiten": True}, "by the rule of newey-west, prewh"),
    "default": ("OLS", "HAC", {}, "bartlett kernel, 4 lags, 4 (T/100)^(2/9), no correction."),
    "dates": (
        "OLS",
        "HAC",
        {"maxlags": 1, "time": pd.Series(pd.date_range("2020-01-01", periods=120), name="day")},
        "time day (distinct values in their order), bartlett kernel, 1 lag",
    ),
    "steps": ("OLS", "HAC", {"maxlags": 1, "time": pd.Series(range(0, 600, 5), name="t")}, "time t (in steps of 5),"),
    "panel": (
        "OLS",
        "hac-panel",
        {"groups": "firm", "time": "year", "maxlags": 1},
        "autocorrelation robust within firm, 19 units, time year, bartlett kernel, 1 lag, n/(n-K).",
    ),
    "periods": (
        "OLS",
        "driscoll-kraay",
        {"time": "year", "kernel": "quadratic-spectral", "bandwidth": 2},
        "Driscoll-Kraay, time year, 6 periods, quadratic-spectral kernel, bandwidth 2, G/(G-1) (n-1)/(n-K).",
    ),
    "space": (
        "OLS",
        "conley",
        {"coords": ["lat", "lon"], "cutoff": 50, "distance": "haversine", "kernel": "bartlett"},
        "Conley, bartlett kernel up to 50 km (haversine), 114 places with",
    ),
}


def said(results) -> str:
    return " ".join(results.summary().as_text().split())


@pytest.mark.parametrize("case", CASES)
def test_the_summary_states_estimator_options_and_counts(case):
    cls, name, kwds, words = CASES[case]
    response = {"OLS": "y", "Probit": "b"}[cls]
    res = getattr(tm, cls).from_formula(f"{response} ~ x", DATA).fit(cov_type=name, cov_kwds=kwds)
    text = said(res)
    assert f"Covariance: {name} " in text
    assert words in text
    assert "eigenvalue" not in text
    assert words.split(",")[0] in " ".join(res.summary().as_html().replace("&#x27;", "'").split())


# Covariances whose t tests have other degrees of freedom than the residuals, 112 here.
DEGREES = {
    "HC1": ({}, None),
    "cluster": ({"groups": "firm"}, 18),
    "CRV3": ({"groups": "firm"}, 18),
    "hac-panel": ({"groups": "firm", "maxlags": 1}, 18),
    "driscoll-kraay": ({"time": "year", "maxlags": 1}, 5),
    "HAC": ({"maxlags": 1}, None),
}


@pytest.mark.parametrize("name", DEGREES)
def test_degrees_of_freedom_are_said_where_they_count(name):
    kwds, df = DEGREES[name]
    res = tm.OLS.from_formula("y ~ x", DATA).fit(cov_type=name, cov_kwds=kwds, use_t=True)
    assert res.df_resid_inference == (112 if df is None else df)
    assert (f", t tests with {df} degrees of freedom." in said(res)) == (df is not None)
    assert "t tests" not in said(res.with_cov(name, kwds))


def test_degrees_of_freedom_of_cr2_are_said_once():
    res = tm.OLS.from_formula("y ~ x", DATA).fit(cov_type="CR2", cov_kwds={"groups": "firm"}, use_t=True)
    assert f"degrees of freedom {res.df_params.min():.4g} or more." in said(res)
    assert said(res).count("degrees of freedom") == 1


@pytest.mark.parametrize("name", ["cluster", "conley"])
def test_a_repair_is_said(name):
    rng = np.random.default_rng(5)
    data = pd.DataFrame(rng.normal(size=(40, 5)), columns=list("yabcd"))
    data["g"], data["h"] = np.arange(40) % 3, np.arange(40) // 14
    data["p"], data["q"] = rng.uniform(0, 1, 40), rng.uniform(0, 1, 40)
    kwds = {
        "cluster": {"groups": ["g", "h"]},
        "conley": {"coords": ["p", "q"], "cutoff": 0.9, "distance": "plain", "kernel": "uniform"},
    }[name]
    res = tm.OLS.from_formula("y ~ a + b + c + d", data).fit()
    with pytest.warns(tm.TorchmleWarning, match=f"The {name} covariance was not positive semi-definite: . of 5"):
        res = res.with_cov(name, kwds)
    # Those that were negative are zero now, up to rounding of the largest.
    values = np.linalg.eigvalsh(res.cov_params())
    zeros = int((values < 1e-12 * values.max()).sum())
    assert zeros > 0
    assert f", {zeros} negative eigenvalue{'s' if zeros > 1 else ''} set to zero." in said(res)
