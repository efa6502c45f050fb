"""Hold every covariance to statsmodels, linearmodels and pyfixest, and to its formula written out in numpy."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import statsmodels.api as sm
import statsmodels.formula.api as smf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import torchmle as tm

ROOT = Path(__file__).parent / "reference"
PEERS = json.loads((ROOT / "covariances" / "peers.json").read_text())

# The same sums in another order: rounding only, of some hundred additions.
EXACT = 1e-11
# Two optimizers at the same maximum: both stop where estimates are known to ten digits or so.
FITTED = 1e-8


def made(n: int = 240, seed: int = 3) -> pd.DataFrame:
    """A panel of 24 firms and 10 years, with places, weights, and responses of each kind."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=n), "z": rng.exponential(size=n)})
    frame["firm"], frame["year"] = np.arange(n) // 10, 2000 + np.arange(n) % 10
    frame["county"] = rng.integers(0, 7, n)
    shock = rng.normal(size=24)[frame["firm"]] + 0.5 * rng.normal(size=10)[frame["year"] - 2000]
    eta = 0.3 + 0.5 * frame["x"] - 0.4 * frame["z"] + 0.4 * shock
    frame["y"] = eta + rng.normal(size=n) * (0.5 + 0.5 * frame["z"])
    frame["b"] = (eta + rng.logistic(size=n) > 0).astype(float)
    frame["c"] = rng.poisson(np.exp(0.5 * eta)).astype(float)
    frame["lat"], frame["lon"] = rng.uniform(40, 48, n), rng.uniform(-5, 8, n)
    frame["w"], frame["f"] = rng.uniform(0.5, 2.0, n), rng.integers(1, 4, n).astype(float)
    return frame


DATA = made()
X = np.column_stack([np.ones(len(DATA)), DATA["x"], DATA["z"]])


def close(actual, expected, rtol: float) -> None:
    np.testing.assert_allclose(np.asarray(actual, dtype=float), np.asarray(expected, dtype=float), rtol=rtol)


def same_covariance(actual, expected, rtol: float) -> None:
    """Compare in units of the standard errors, so that a covariance near zero is no harder than others."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    unit = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose((actual - expected) / unit, 0.0, rtol=0, atol=rtol)


def ols(data=DATA, **options):
    return tm.OLS.from_formula("y ~ x + z", data, **options).fit()


class OpaqueLogit(tm.GenericLikelihoodModel):
    """A logit that says nothing of its predictors."""

    def loglikeobs(self, params):
        q = 2 * self.endog - 1
        return torch.nn.functional.logsigmoid(q * (self.exog @ params))


class OwnLogit(tm.LinearPredictorModel):
    """A logit with a predictor, written by a user."""

    predictors = {"eta": "1"}
    response = "binary"

    def logdensity(self, y, eta):
        return torch.nn.functional.logsigmoid((2 * y - 1) * eta)


class TLoglike(tm.LinearPredictorModel):
    """Student's t with 3 degrees of freedom: not concave, with a scale."""

    predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}

    def logdensity(self, y, mu, log_sigma):
        return -2 * torch.log1p(((y - mu) * torch.exp(-log_sigma)) ** 2 / 3) - log_sigma


# ---- statsmodels


def sm_panel(data=DATA):
    return smf.ols("y ~ x + z", data).fit()


GROUPS = {"groups": DATA["firm"].to_numpy()}
TWO = DATA[["firm", "county"]]
STATSMODELS = {
    "HC0": (("HC0", None), ("HC0", {})),
    "HC1": (("HC1", None), ("HC1", {})),
    "HC2": (("HC2", None), ("HC2", {})),
    "HC3": (("HC3", None), ("HC3", {})),
    "cluster": (("cluster", {"groups": "firm"}), ("cluster", GROUPS)),
    "cluster without": (
        ("cluster", {"groups": "firm", "use_correction": False}),
        ("cluster", {**GROUPS, "use_correction": False}),
    ),
    "two ways": (("cluster", {"groups": ["firm", "county"]}), ("cluster", {"groups": TWO.to_numpy()})),
    "two ways by frame": (("cluster", {"groups": TWO}), ("cluster", {"groups": TWO.to_numpy()})),
    "two ways by array": (("cluster", {"groups": TWO.to_numpy()}), ("cluster", {"groups": TWO.to_numpy()})),
    "CRV3": (("CRV3", {"groups": "firm"}), ("cluster-crv3", GROUPS)),
    "CRV3 by its other name": (("cluster-crv3", {"groups": "firm"}), ("cluster-crv3", GROUPS)),
    "CRV3 about the mean": (("CRV3", {"groups": "firm", "center": "mean"}), ("cluster-jk", GROUPS)),
    "HAC 0": (("HAC", {"maxlags": 0}), ("HAC", {"maxlags": 0})),
    "HAC 4": (("HAC", {"maxlags": 4}), ("HAC", {"maxlags": 4})),
    "HAC corrected": (
        ("HAC", {"maxlags": 4, "use_correction": True}),
        ("HAC", {"maxlags": 4, "use_correction": True}),
    ),
    "panel": (("hac-panel", {"groups": "firm", "maxlags": 2}), ("hac-panel", {**GROUPS, "maxlags": 2})),
    "panel with time": (
        ("hac-panel", {"groups": "firm", "time": "year", "maxlags": 2, "use_correction": "cluster"}),
        ("hac-panel", {**GROUPS, "maxlags": 2, "use_correction": "cluster"}),
    ),
    "Driscoll-Kraay": (
        ("driscoll-kraay", {"time": "year", "maxlags": 2}),
        ("hac-groupsum", {"time": DATA["year"].to_numpy() - 2000, "maxlags": 2}),
    ),
    "Driscoll-Kraay by its other name": (
        ("hac-groupsum", {"time": "year", "maxlags": 2, "use_correction": False}),
        ("hac-groupsum", {"time": DATA["year"].to_numpy() - 2000, "maxlags": 2, "use_correction": False}),
    ),
}


@pytest.mark.parametrize("case", STATSMODELS)
def test_least_squares_as_statsmodels(case):
    (name, kwds), (other, theirs) = STATSMODELS[case]
    expected = sm_panel().get_robustcov_results(other, **theirs).cov_params()
    same_covariance(ols().with_cov(name, kwds).cov_params(), expected, EXACT)


@pytest.mark.parametrize("case", [c for c in STATSMODELS if c.split()[0] not in ("CRV3",)])
def test_weighted_least_squares_as_statsmodels(case):
    (name, kwds), (other, theirs) = STATSMODELS[case]
    expected = smf.wls("y ~ x + z", DATA, weights=DATA["w"]).fit().get_robustcov_results(other, **theirs)
    model = tm.WLS.from_formula("y ~ x + z", DATA, weights="w")
    same_covariance(model.fit().with_cov(name, kwds).cov_params(), expected.cov_params(), EXACT)


MODELS = {
    "logit": ("Logit", "b", sm.Logit),
    "probit": ("Probit", "b", sm.Probit),
    "poisson": ("Poisson", "c", sm.Poisson),
}
NO_LEVERAGE = [c for c in STATSMODELS if c.split()[0] not in ("HC1", "HC2", "HC3", "CRV3")]


@pytest.mark.parametrize("case", NO_LEVERAGE)
@pytest.mark.parametrize("kind", MODELS)
def test_likelihoods_as_statsmodels(kind, case):
    # statsmodels gives HC0 under the names HC1, HC2 and HC3 for these models: those are held to formulas below.
    (name, kwds), (other, theirs) = STATSMODELS[case]
    cls, y, peer = MODELS[kind]
    options = {"cov_kwds": theirs} if theirs else {}
    fit = peer(DATA[y], X).fit(disp=0, cov_type=other, tol=1e-14, maxiter=100, **options)
    actual = getattr(tm, cls).from_formula(f"{y} ~ x + z", DATA).fit(cov_type=name, cov_kwds=kwds)
    same_covariance(actual.cov_params(), fit.cov_params(), FITTED)


@pytest.mark.parametrize("case", NO_LEVERAGE)
def test_expected_information_as_statsmodels(case):
    # statsmodels' robust errors of a GLM have the observed information as bread: put the expected one in its place.
    (name, kwds), (other, theirs) = STATSMODELS[case]
    model = sm.GLM(DATA["b"], X, family=sm.families.Binomial(sm.families.links.Probit()))
    fit = model.fit(tol=1e-14, maxiter=200, cov_type=other, cov_kwds=theirs)
    expected, observed = (-model.hessian(fit.params, observed=o) for o in (False, True))
    turn = np.linalg.inv(expected) @ observed
    res = tm.Probit.from_formula("b ~ x + z", DATA).fit()
    actual = res.with_cov(name, {**(kwds or {}), "information": "expected"})
    same_covariance(actual.cov_params(), turn @ fit.cov_params() @ turn.T, FITTED)
    nonrobust = res.with_cov("nonrobust", {"information": "expected"})
    same_covariance(nonrobust.cov_params(), np.linalg.inv(expected), FITTED)


# ---- linearmodels and pyfixest

WAGES = pd.read_csv(ROOT / "data" / PEERS["data"]).assign(children=lambda f: f["hours"] // 250)
CLUSTER = ("cluster", {"groups": "nr"})
DK = {"time": "year", "use_correction": "hac"}
N, K, G = len(WAGES), 5, WAGES["nr"].nunique()
# Library, its case -> model, ours, and the factor by which their convention differs: pyfixest multiplies HC2, HC3 by
# n/(n-K) and CRV3 by G^2/(G-1)^2 (n-1)/(n-K), where MacKinnon and White, and MacKinnon, Nielsen and Webb, have none
# and (G-1)/G.
AGREE = {
    ("linearmodels", "HC1"): ("OLS", ("HC1", None), 1.0),
    ("linearmodels", "cluster nr"): ("OLS", CLUSTER, 1.0),
    ("linearmodels", "cluster nr year"): ("OLS", ("cluster", {"groups": ["nr", "year"]}), 1.0),
    ("linearmodels", "driscoll-kraay bartlett 3"): ("OLS", ("driscoll-kraay", {**DK, "maxlags": 3}), 1.0),
    ("linearmodels", "driscoll-kraay parzen 3"): (
        "OLS",
        ("driscoll-kraay", {**DK, "maxlags": 3, "kernel": "parzen"}),
        1.0,
    ),
    ("linearmodels", "driscoll-kraay quadratic-spectral 3"): (
        "OLS",
        ("driscoll-kraay", {**DK, "bandwidth": 3, "kernel": "quadratic-spectral"}),
        1.0,
    ),
    ("pyfixest", "HC1"): ("OLS", ("HC1", None), 1.0),
    ("pyfixest", "HC2"): ("OLS", ("HC2", None), N / (N - K)),
    ("pyfixest", "HC3"): ("OLS", ("HC3", None), N / (N - K)),
    ("pyfixest", "cluster nr"): ("OLS", CLUSTER, 1.0),
    ("pyfixest", "cluster nr year own"): ("OLS", ("cluster", {"groups": ["nr", "year"]}), 1.0),
    ("pyfixest", "cluster nr year min"): ("OLS", ("cluster", {"groups": ["nr", "year"], "count": "min"}), 1.0),
    ("pyfixest", "CRV3 nr"): ("OLS", ("CRV3", {"groups": "nr"}), (G / (G - 1)) ** 2 * (N - 1) / (N - K)),
    ("pyfixest", "logit HC1"): ("Logit", ("HC1", None), 1.0),
    ("pyfixest", "logit cluster nr"): ("Logit", CLUSTER, 1.0),
    ("pyfixest", "probit HC1"): ("Probit", ("HC1", {"information": "expected"}), 1.0),
    ("pyfixest", "poisson HC1"): ("Poisson", ("HC1", None), 1.0),
    ("pyfixest", "poisson cluster nr"): ("Poisson", CLUSTER, 1.0),
}
FORMULAS = {name: f for names, f in PEERS["formulas"].items() for name in names.split(", ")}


def test_no_case_of_the_peers_is_left_out():
    assert set(AGREE) == {(library, case) for library, cases in PEERS["bse"].items() for case in cases}


@pytest.mark.parametrize("key", AGREE, ids=" ".join)
def test_peers(key):
    (library, case), (cls, (name, kwds), factor) = key, AGREE[key]
    formula = FORMULAS[cls if cls == "OLS" else cls.lower()]
    actual = getattr(tm, cls).from_formula(formula, WAGES).fit(cov_type=name, cov_kwds=kwds).bse
    expected = pd.Series(PEERS["bse"][library][case])
    close(actual * np.sqrt(factor), expected[actual.index], FITTED)


# ---- leverage


def glm_pieces(kind: str, information: str):
    """Scores, bread and hat values of a generalised linear model, from statsmodels' own weights."""
    y = MODELS[kind][1]
    families = {
        "logit": sm.families.Binomial(),
        "probit": sm.families.Binomial(sm.families.links.Probit()),
        "poisson": sm.families.Poisson(),
    }
    model = sm.GLM(DATA[y], X, family=families[kind])
    fit = model.fit(tol=1e-14, maxiter=200)
    weights = -model.hessian_factor(fit.params, observed=information == "observed")
    weights = np.abs(weights)
    bread = np.linalg.inv(X.T @ (X * weights[:, None]))
    hat = weights * np.einsum("ij,jk,ik->i", X, bread, X)
    return model.score_factor(fit.params)[:, None] * X, bread, hat


@pytest.mark.parametrize(("name", "power"), [("HC2", 1), ("HC3", 2)])
@pytest.mark.parametrize("information", ["observed", "expected"])
@pytest.mark.parametrize("kind", MODELS)
def test_leverage_of_generalised_linear_models(kind, information, name, power):
    # With the expected information this is R's sandwich::vcovHC for glm.
    cls, y, _ = MODELS[kind]
    s, B, h = glm_pieces(kind, information)
    expected = B @ (s.T @ (s / (1 - h)[:, None] ** power)) @ B
    res = getattr(tm, cls).from_formula(f"{y} ~ x + z", DATA).fit()
    actual = res.with_cov(name, {"information": information})
    same_covariance(actual.cov_params(), expected, FITTED)
    assert f"{h.max():.3g}" in actual.summary().as_text().replace("\n    ", " ")


def test_maximum_likelihood_has_the_leverage_of_least_squares():
    for name in ("HC2", "HC3"):
        ml = tm.OLS.from_formula("y ~ x + z", DATA).fit(method="newton", cov_type=name)
        close(ml.bse[["Intercept", "x", "z"]], ols().with_cov(name).bse, FITTED)
        weighted = tm.WLS.from_formula("y ~ x + z", DATA, weights="w")
        by_ml = weighted.fit(method="newton", cov_type=name).bse
        close(by_ml[["Intercept", "x", "z"]], weighted.fit(cov_type=name).bse, FITTED)


def test_leverage_under_constraints_is_that_of_what_is_free():
    res = tm.Logit.from_formula("b ~ x + z", DATA).fit(constraints="x = z", cov_type="HC3")
    smaller = tm.Logit.from_formula("b ~ I(x + z)", DATA).fit(cov_type="HC3")
    close(res.bse["x"], smaller.bse["I(x + z)"], FITTED)
    fixed = tm.OLS.from_formula("y ~ x + z", DATA).fit(method="newton", fixed={"z": 0.0}, cov_type="HC3")
    close(fixed.bse["x"], tm.OLS.from_formula("y ~ x", DATA).fit(cov_type="HC3").bse["x"], FITTED)
    assert fixed.bse["z"] == 0


def test_rows_that_are_fitted_exactly_are_named():
    data = DATA.assign(one=(DATA.index == 17).astype(float))
    for model in (tm.OLS.from_formula("y ~ x + one", data), tm.Poisson.from_formula("c ~ x + one", data)):
        for name in ("HC2", "HC3"):
            with pytest.raises(tm.OptionError, match=r"1 rows have a leverage of 1.*row 17"):
                model.fit(cov_type=name)


def test_leverage_where_it_is_not_defined():
    cases = [
        (OpaqueLogit(DATA["b"], X), "does not say by which linear predictor"),
        (tm.OLS.from_formula("y ~ x", DATA, log_sigma="z"), "more than one predictor"),
        (TLoglike.from_formula("y ~ x", DATA), "not concave"),
    ]
    for model, words in cases:
        with pytest.raises(tm.OptionError, match=words):
            model.fit(cov_type="HC3")


# ---- clusters


def test_three_ways_are_the_pairs_that_share_any():
    res = ols()
    e = DATA["y"].to_numpy() - X @ res.params.to_numpy()
    s, B = X * e[:, None], np.linalg.inv(X.T @ X)
    ids = DATA[["firm", "year", "county"]].to_numpy()
    share = (ids[:, None, :] == ids[None, :, :]).any(2)
    expected = B @ (s.T @ share @ s) @ B
    kwds = {"groups": ["firm", "year", "county"], "use_correction": False}
    actual = res.with_cov("cluster", kwds)
    assert np.linalg.eigvalsh(expected).min() > 0  # nothing to repair
    same_covariance(actual.cov_params(), expected, EXACT)


def test_each_row_its_own_cluster_is_hc0():
    rows = DATA.assign(id=np.arange(len(DATA)))
    for model in (tm.OLS.from_formula("y ~ x", rows), tm.Logit.from_formula("b ~ x", rows)):
        res = model.fit()
        kwds = {"groups": "id", "use_correction": False}
        same_covariance(res.with_cov("cluster", kwds).cov_params(), res.with_cov("HC0").cov_params(), EXACT)


def test_a_way_that_is_named_twice_counts_once():
    res = ols()
    one = res.with_cov("cluster", {"groups": "firm"})
    again = res.with_cov("cluster", {"groups": ["firm", DATA["firm"] * 10]})
    same_covariance(again.cov_params(), one.cov_params(), EXACT)


def test_smallest_number_of_clusters_counts_for_t():
    res = ols().with_cov("cluster", {"groups": ["firm", "county"]}, use_t=True)
    assert res.df_resid_inference == DATA["county"].nunique() - 1
    assert (res.df_params == res.df_resid_inference).all()


def test_indefinite_covariances_are_repaired_and_said():
    rng = np.random.default_rng(5)
    data = pd.DataFrame(rng.normal(size=(40, 5)), columns=list("yabcd"))
    data["g"], data["h"] = np.arange(40) % 3, np.arange(40) // 14
    res = tm.OLS.from_formula("y ~ a + b + c + d", data).fit()
    with pytest.warns(tm.TorchmleWarning, match="not positive semi-definite"):
        repaired = res.with_cov("cluster", {"groups": ["g", "h"]})
    assert np.linalg.eigvalsh(repaired.cov_params()).min() > -1e-12
    assert re.search(r"\d negative eigenvalues? set to zero", " ".join(repaired.summary().as_text().split()))
    Z = np.column_stack([np.ones(40), data[list("abcd")]])
    e, B = data["y"].to_numpy() - Z @ res.params.to_numpy(), np.linalg.inv(Z.T @ Z)
    meat = 0.0
    for ids, sign in ((data["g"], 1), (data["h"], 1), (3 * data["h"] + data["g"], -1)):
        sums, G = pd.DataFrame(Z * e[:, None]).groupby(ids.to_numpy()).sum().to_numpy(), ids.nunique()
        meat = meat + sign * sums.T @ sums * G / (G - 1) * 39 / 35
    root = np.linalg.cholesky(B)
    values, vectors = np.linalg.eigh(root.T @ meat @ root)
    assert values.min() < 0
    expected = root @ (vectors * np.maximum(values, 0)) @ vectors.T @ root.T
    same_covariance(repaired.cov_params(), expected, 1e-9)
    moved = tm.OLS.from_formula("y ~ I(1e9 * a + 3) + I(1e-7 * b) + c + d", data).fit()
    with pytest.warns(tm.TorchmleWarning, match="not positive semi-definite"):  # in other units, from other origins
        moved = moved.with_cov("cluster", {"groups": ["g", "h"]})
    close(moved.bse.to_numpy()[1:] * [1e9, 1e-7, 1, 1], repaired.bse.iloc[1:], 1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        silent = ols().with_cov("cluster", {"groups": ["firm", "county"]})
    assert "eigenvalues" not in silent.summary().as_text()


# ---- CR2 and the jackknife


def dense_cr2(Z, y, groups, weights=None):
    """CR2 and its degrees of freedom with matrices of the size of the rows."""
    root = np.ones(len(y)) if weights is None else np.sqrt(weights)
    Z, y = Z * root[:, None], y * root
    B = np.linalg.inv(Z.T @ Z)
    H = Z @ B @ Z.T
    e = y - H @ y
    adjust = np.zeros_like(H)
    for g in np.unique(groups):
        at = np.flatnonzero(groups == g)
        values, vectors = np.linalg.eigh(np.eye(len(at)) - H[np.ix_(at, at)])
        roots = np.where(values > 1e-9, np.maximum(values, 1e-9) ** -0.5, 0.0)
        adjust[np.ix_(at, at)] = (vectors * roots) @ vectors.T
    sums = np.array([Z[groups == g].T @ (adjust @ e)[groups == g] for g in np.unique(groups)])
    degrees = []
    for c in np.eye(Z.shape[1]):
        weights_of_rows = adjust @ Z @ B @ c
        p = np.array([(np.eye(len(y)) - H).T @ (weights_of_rows * (groups == g)) for g in np.unique(groups)])
        P = p @ p.T
        degrees.append(np.trace(P) ** 2 / (P**2).sum())
    return B @ sums.T @ sums @ B, degrees


@pytest.mark.parametrize("weighted", [False, True])
def test_cr2_and_its_degrees_of_freedom(weighted):
    w = DATA["w"].to_numpy() if weighted else None
    res = tm.WLS.from_formula("y ~ x + z", DATA, weights=w).fit() if weighted else ols()
    res = res.with_cov("CR2", {"groups": "county"}, use_t=True)
    expected, degrees = dense_cr2(X, DATA["y"].to_numpy(), DATA["county"].to_numpy(), w)
    same_covariance(res.cov_params(), expected, EXACT)
    close(res.df_params, degrees, 1e-10)
    assert res.df_resid_inference == res.df_params.min()
    t = (res.params / res.bse).abs()
    close(res.pvalues, 2 * special.stdtr(np.array(degrees), -t), 1e-8)
    width = special.stdtrit(np.array(degrees), 0.975) * res.bse
    close(res.conf_int()[1], res.params + width, 1e-10)
    close(res.t_test().pvalue, res.pvalues, 1e-10)
    close(res.t_test().conf_int(), res.conf_int(), 1e-10)


def test_cr2_where_a_cluster_has_a_column_to_itself():
    res = tm.OLS.from_formula("y ~ x + C(county)", DATA).fit()
    dummies = [(DATA["county"] == k).astype(float) for k in range(1, 7)]
    Z = np.column_stack([np.ones(len(DATA)), DATA["x"], *dummies])
    expected, degrees = dense_cr2(Z, DATA["y"].to_numpy(), DATA["county"].to_numpy())
    actual = res.with_cov("CR2", {"groups": "county"}, use_t=True)
    close(actual.bse["x"], np.sqrt(expected[1, 1]), 1e-9)
    close(actual.df_params["x"], degrees[1], 1e-8)


def test_crv3_is_the_refits():
    res = ols()
    kept = [ols(DATA[DATA["firm"] != g]).params - res.params for g in DATA["firm"].unique()]
    changes = np.array(kept)
    actual = res.with_cov("CRV3", {"groups": "firm"})
    same_covariance(actual.cov_params(), changes.T @ changes * 23 / 24, 1e-9)
    plain = res.with_cov("CRV3", {"groups": "firm", "use_correction": False})
    same_covariance(plain.cov_params(), changes.T @ changes, 1e-9)
    assert actual.with_cov("CRV3", {"groups": "firm"}, use_t=True).df_resid_inference == 23


@pytest.mark.parametrize("cls", [tm.Logit, OwnLogit, OpaqueLogit])
def test_crv3_of_a_likelihood_is_one_newton_step(cls):
    whole = cls(DATA["b"], X)
    res = whole.fit()
    changes = []
    for g in DATA["firm"].unique():
        part = cls(DATA["b"][DATA["firm"] != g].to_numpy(), X[DATA["firm"] != g])
        changes.append(np.linalg.solve(-part.hessian(res.params), part.score(res.params)))
    changes = np.array(changes)
    kwds = {"groups": DATA["firm"].to_numpy()}
    same_covariance(res.with_cov("CRV3", kwds).cov_params(), changes.T @ changes * 23 / 24, 1e-7)


def test_crv3_near_the_refits_of_a_likelihood():
    model = tm.NegativeBinomial.from_formula("c ~ x + z", DATA)
    res = model.fit()
    parts = [tm.NegativeBinomial.from_formula("c ~ x + z", DATA[DATA["firm"] != g]).fit() for g in range(24)]
    changes = np.array([p.link_params - res.link_params for p in parts])
    exact = np.sqrt(np.diag(changes.T @ changes * 23 / 24))[:3]
    # One step is what a refit does up to the square of the change, which here is a few hundredths.
    close(res.with_cov("CRV3", {"groups": "firm"}).bse.iloc[:3], exact, 0.05)


def test_crv3_names_what_a_cluster_identifies_alone():
    data = DATA.assign(only=(DATA["firm"] == 3) * DATA["x"])
    for model in (tm.OLS.from_formula("y ~ only", data), tm.Poisson.from_formula("c ~ only", data)):
        with pytest.raises(tm.OptionError, match="without the cluster of row 30"):
            model.fit(cov_type="CRV3", cov_kwds={"groups": "firm"})


def test_crv3_of_transformed_parameters_is_one_newton_step():
    class Exponential(tm.GenericLikelihoodModel):
        transforms = {"rate": "positive"}
        extra_params = ("rate",)

        def loglikeobs(self, params):
            return torch.log(params[-1]) - params[-1] * self.endog

    y = np.random.default_rng(2).exponential(2.0, 60)
    groups = np.arange(60) % 6
    res = Exponential(y).fit()
    kwds = {"groups": groups, "use_correction": False}
    # Newton's step in the unconstrained log rate t: the gradient is n - e^t sum y, the Hessian -e^t sum y.
    rate = 1 / y.mean()
    steps = [((groups != g).sum() - rate * y[groups != g].sum()) / (rate * y[groups != g].sum()) for g in range(6)]
    close(res.with_cov("CRV3", kwds).bse["rate"], rate * np.sqrt((np.array(steps) ** 2).sum()), 1e-6)


# ---- time


def scores_of(res, y, Z=X):
    e = np.asarray(y) - Z @ res.params.to_numpy()
    return Z * e[:, None], np.linalg.inv(Z.T @ Z)


def long_run(s, weight, periods=None, unit=None):
    """The long-run variance from the (n, n) matrix of weights of all pairs."""
    t = np.arange(len(s)) if periods is None else np.asarray(periods)
    pairs = weight(np.abs(t[:, None] - t[None, :]).astype(float))
    if unit is not None:
        pairs = pairs * (np.asarray(unit)[:, None] == np.asarray(unit)[None, :])
    return s.T @ pairs @ s


def parzen(x):
    return np.where(x <= 0.5, 1 - 6 * x**2 + 6 * x**3, 2 * np.maximum(1 - x, 0) ** 3)


def spectral(x):
    z = 6 * np.pi * np.where(x == 0, 1.0, x) / 5
    return np.where(x == 0, 1.0, 3 / z**2 * (np.sin(z) / z - np.cos(z)))


def bartlett(x):
    return np.maximum(1 - x, 0.0)


WINDOWS = {
    "parzen lags": ({"kernel": "parzen", "maxlags": 5}, lambda d: parzen(d / 6)),
    "parzen": ({"kernel": "parzen", "bandwidth": 5.5}, lambda d: parzen(d / 5.5)),
    "bartlett": ({"bandwidth": 3.7}, lambda d: bartlett(d / 3.7)),
    "bartlett below one": ({"bandwidth": 0.5}, lambda d: bartlett(d / 0.5)),
    "spectral": ({"kernel": "quadratic-spectral", "bandwidth": 2.5}, lambda d: spectral(d / 2.5)),
    "default": ({}, lambda d: bartlett(d / (np.floor(4 * 2.4 ** (2 / 9)) + 1))),
}


@pytest.mark.parametrize("case", WINDOWS)
def test_kernels(case):
    kwds, weight = WINDOWS[case]
    res = ols()
    s, B = scores_of(res, DATA["y"])
    same_covariance(res.with_cov("HAC", kwds).cov_params(), B @ long_run(s, weight) @ B, EXACT)


@pytest.mark.parametrize("rows", [100, 240])  # by one product a lag, and by a Fourier transform
def test_the_spectral_kernel_takes_all_lags(rows):
    data = DATA.head(rows)
    res = ols(data)
    s, B = scores_of(res, data["y"], X[:rows])
    kwds = {"kernel": "quadratic-spectral", "bandwidth": 9.0}
    expected = B @ long_run(s, lambda d: spectral(d / 9)) @ B
    same_covariance(res.with_cov("HAC", kwds).cov_params(), expected, EXACT)


def test_time_sorts_rows_and_knows_gaps():
    rng = np.random.default_rng(1)
    data = DATA.head(60).assign(t=rng.permutation(np.arange(80))[:60])
    res = ols(data)
    s, B = scores_of(res, data["y"], X[:60])
    weights = {"HAC": lambda d: bartlett(d / 4), "spectral": lambda d: spectral(d / 4)}
    options = {"HAC": {"maxlags": 3}, "spectral": {"kernel": "quadratic-spectral", "bandwidth": 4}}
    for case, weight in weights.items():
        expected = B @ long_run(s, weight, data["t"]) @ B
        for scale in (1, 5):  # years, or every fifth one: steps are counted in their greatest common divisor
            times = data["t"] * scale + 1900
            actual = res.with_cov("HAC", {**options[case], "time": times})
            same_covariance(actual.cov_params(), expected, EXACT)
    assert "periods without a row" in " ".join(actual.summary().as_text().split())


def test_dates_are_counted_by_rank():
    res, days = ols(), pd.date_range("2020-01-31", periods=len(DATA), freq="ME")
    expected = res.with_cov("HAC", {"maxlags": 3}).cov_params()
    for times in (days, days.tz_localize("UTC"), days.to_period("M"), days.to_numpy()):
        same_covariance(res.with_cov("HAC", {"maxlags": 3, "time": times}).cov_params(), expected, EXACT)
    shuffled = DATA.assign(day=days).sample(frac=1, random_state=1)
    again = ols(shuffled).with_cov("HAC", {"maxlags": 3, "time": "day"}).cov_params()
    same_covariance(again, expected, 1e-10)


def test_panels_with_gaps():
    data = DATA.drop(index=[3, 4, 57, 120, 121, 122])
    res = ols(data)
    s, B = scores_of(res, data["y"], X[data.index])
    expected = B @ long_run(s, lambda d: bartlett(d / 3), data["year"], data["firm"]) @ B
    kwds = {"groups": "firm", "time": "year", "maxlags": 2, "use_correction": False}
    same_covariance(res.with_cov("hac-panel", kwds).cov_params(), expected, EXACT)
    shuffled = ols(data.sample(frac=1, random_state=4)).with_cov("hac-panel", kwds)
    same_covariance(shuffled.cov_params(), expected, 1e-10)


def test_lags_of_panels_by_default_follow_the_periods_of_a_unit():
    # 4 (T/100)^(2/9) is 2 for the ten years of a firm; of the 240 rows it would be 4.
    res = ols()
    for time in ({"time": "year"}, {}):
        plain = res.with_cov("hac-panel", {"groups": "firm", **time})
        two = res.with_cov("hac-panel", {"groups": "firm", "maxlags": 2, **time})
        same_covariance(plain.cov_params(), two.cov_params(), EXACT)
        assert "2 lags, 4 (T/100)^(2/9)" in " ".join(plain.summary().as_text().split())


def test_lags_over_too_long_a_time_are_refused():
    rows = np.arange(len(DATA))
    times = rows**2 * 100_000 + rows % 2
    with pytest.raises(tm.OptionError, match="periods between the first and the last"):
        ols().with_cov("HAC", {"time": times, "kernel": "quadratic-spectral", "bandwidth": 3})


def test_driscoll_kraay_with_a_year_without_rows():
    data = DATA[DATA["year"] != 2004]
    res = ols(data)
    s, B = scores_of(res, data["y"], X[data.index])
    expected = B @ long_run(s, lambda d: parzen(d / 4), data["year"]) @ B
    kwds = {"time": "year", "maxlags": 3, "kernel": "parzen", "use_correction": False}
    actual = res.with_cov("driscoll-kraay", kwds, use_t=True)
    same_covariance(actual.cov_params(), expected, EXACT)
    assert actual.df_resid_inference == 8


def andrews(v, kernel):
    """Andrews (1991), equations 6.2 and 6.4, for one series."""
    rho = v[1:] @ v[:-1] / (v[:-1] @ v[:-1])
    if kernel == "bartlett":
        return 1.1447 * (len(v) * 4 * rho**2 / ((1 - rho) ** 2 * (1 + rho) ** 2)) ** (1 / 3)
    constant = {"parzen": 2.6614, "quadratic-spectral": 1.3221}[kernel]
    return constant * (len(v) * 4 * rho**2 / (1 - rho) ** 4) ** 0.2


def newey_west(v, kernel):
    """Newey and West (1994), as R's sandwich::bwNeweyWest without prewhitening, for one series."""
    n, rate = len(v), {"bartlett": 2 / 9, "parzen": 4 / 25, "quadratic-spectral": 2 / 25}[kernel]
    m = int(np.floor(4 * (n / 100) ** rate))
    sigma = np.array([v[j:] @ v[: n - j] / n for j in range(m + 1)])
    q = 1 if kernel == "bartlett" else 2
    ratio = 2 * (np.arange(1, m + 1) ** q) @ sigma[1:] / (sigma[0] + 2 * sigma[1:].sum())
    constant = {"bartlett": 1.1447, "parzen": 2.6614, "quadratic-spectral": 1.3221}[kernel]
    return constant * (ratio**2) ** (1 / (2 * q + 1)) * n ** (1 / (2 * q + 1))


def autocorrelated(n=200):
    rng = np.random.default_rng(8)
    e, x = np.zeros(n), np.zeros(n)
    for t in range(1, n):
        e[t], x[t] = 0.6 * e[t - 1] + rng.normal(), 0.7 * x[t - 1] + rng.normal()
    return pd.DataFrame({"y": 1 + x + e, "x": x})


@pytest.mark.parametrize("kernel", ["bartlett", "parzen", "quadratic-spectral"])
@pytest.mark.parametrize("rule", ["andrews", "newey-west"])
def test_automatic_bandwidths(kernel, rule):
    data = autocorrelated()
    Z = np.column_stack([np.ones(200), data["x"]])
    res = tm.OLS.from_formula("y ~ x", data).fit()
    s, B = scores_of(res, data["y"], Z)
    width = (andrews if rule == "andrews" else newey_west)(s[:, 1], kernel)
    shape = {"bartlett": bartlett, "parzen": parzen, "quadratic-spectral": spectral}[kernel]
    unit = np.floor(width) + 1 if rule == "newey-west" and kernel != "quadratic-spectral" else width
    expected = B @ long_run(s, lambda d: shape(d / unit)) @ B
    actual = res.with_cov("HAC", {"kernel": kernel, "bandwidth": rule})
    same_covariance(actual.cov_params(), expected, 1e-9)
    in_other_units = tm.OLS.from_formula("y ~ I(1000 * x)", data).fit(
        cov_type="HAC", cov_kwds={"kernel": kernel, "bandwidth": rule}
    )
    close(in_other_units.bse.iloc[1] * 1000, actual.bse["x"], 1e-9)
    by_ml = tm.OLS.from_formula("y ~ x", data).fit(
        method="newton", cov_type="HAC", cov_kwds={"kernel": kernel, "bandwidth": rule}
    )
    close(by_ml.bse["x"], actual.bse["x"], 1e-7)


def test_prewhitening():
    data = autocorrelated()
    Z = np.column_stack([np.ones(200), data["x"]])
    res = tm.OLS.from_formula("y ~ x", data).fit()
    s, B = scores_of(res, data["y"], Z)
    A = np.linalg.lstsq(s[:-1], s[1:], rcond=None)[0].T
    rest = s[1:] - s[:-1] @ A.T
    D = np.linalg.inv(np.eye(2) - A)
    meat = D @ long_run(rest, lambda d: bartlett(d / 3)) @ D.T
    actual = res.with_cov("HAC", {"maxlags": 2, "prewhiten": True})
    same_covariance(actual.cov_params(), B @ meat @ B, 1e-10)


# ---- space


def great_circle(lat, lon):
    """Haversine distances of all pairs, in km."""
    a, b = np.radians(lat), np.radians(lon)
    h = np.sin((a[:, None] - a) / 2) ** 2 + np.cos(a)[:, None] * np.cos(a) * np.sin((b[:, None] - b) / 2) ** 2
    return 2 * 6371.0088 * np.arcsin(np.sqrt(np.minimum(h, 1)))


@pytest.mark.parametrize("kernel", ["bartlett", "uniform"])
@pytest.mark.parametrize("distance", ["haversine", "plain"])
def test_conley(distance, kernel):
    data = pd.concat([DATA, DATA.head(30).assign(y=lambda f: f["y"] + 0.1)], ignore_index=True)  # some share a place
    res = ols(data)
    s, B = scores_of(res, data["y"], np.vstack([X, X[:30]]))
    points = data[["lat", "lon"]].to_numpy()
    if distance == "haversine":
        away, cutoff = great_circle(*points.T), 150.0
    else:
        away, cutoff = np.sqrt(((points[:, None] - points) ** 2).sum(2)), 1.3
    pairs = bartlett(away / cutoff) if kernel == "bartlett" else (away <= cutoff).astype(float)
    expected = B @ (s.T @ pairs @ s) @ B
    assert np.linalg.eigvalsh(expected).min() > 0
    kwds = {"coords": ["lat", "lon"], "cutoff": cutoff, "kernel": kernel, "distance": distance}
    same_covariance(res.with_cov("conley", kwds).cov_params(), expected, 1e-10)
    arrays = res.with_cov("conley", {**kwds, "coords": points, "use_correction": True})
    same_covariance(arrays.cov_params(), expected * len(data) / (len(data) - 3), 1e-10)


def test_conley_in_pieces_is_the_same(monkeypatch):
    from torchmle.inference import spatial

    kwds = {"coords": ["lat", "lon"], "cutoff": 300, "distance": "haversine"}
    whole = ols().with_cov("conley", kwds).cov_params()
    monkeypatch.setattr(spatial, "PAIRS", 50)
    same_covariance(ols().with_cov("conley", kwds).cov_params(), whole, EXACT)


def test_conley_within_reach_of_nobody_is_hc0():
    res = ols()
    kwds = {"coords": ["lat", "lon"], "cutoff": 1e-6, "distance": "plain"}
    same_covariance(res.with_cov("conley", kwds).cov_params(), res.with_cov("HC0").cov_params(), EXACT)


def test_conley_across_the_date_line():
    data = DATA.head(40).assign(lat=0.0, lon=np.where(np.arange(40) % 2, 179.9, -179.9))
    res = ols(data)
    close_by = res.with_cov("conley", {"coords": ["lat", "lon"], "cutoff": 100, "distance": "haversine"})
    moved = data.assign(lon=np.where(np.arange(40) % 2, 0.1, -0.1) * -1)
    again = ols(moved).with_cov("conley", {"coords": ["lat", "lon"], "cutoff": 100, "distance": "haversine"})
    same_covariance(close_by.cov_params(), again.cov_params(), 1e-9)


# ---- expected information


def test_expected_information_of_a_negative_binomial():
    res = tm.NegativeBinomial.from_formula("c ~ x + z", DATA).fit()
    alpha = res.params["alpha"]
    mu, r = np.exp(X @ res.params.iloc[:3].to_numpy()), 1 / alpha
    y = np.arange(2_000.0)[:, None]
    f = np.exp(
        special.gammaln(y + r)
        - special.gammaln(r)
        - special.gammaln(y + 1)
        + r * np.log(r / (r + mu))
        + y * np.log(mu / (r + mu))
    )
    slope = special.digamma(y + r) - special.digamma(r) + np.log(r / (r + mu)) + 1 - (y + r) / (r + mu)
    own = ((f * slope**2).sum(0) * r**2).sum()  # of log alpha
    expected = np.zeros((4, 4))
    expected[:3, :3] = np.linalg.inv(X.T @ (X * (mu / (1 + alpha * mu))[:, None]))
    expected[3, 3] = alpha**2 / own
    actual = res.with_cov("nonrobust", {"information": "expected"})
    same_covariance(actual.cov_params(), expected, 1e-8)


def test_expected_information_of_a_sigma_with_regressors():
    res = tm.OLS.from_formula("y ~ x", DATA, log_sigma="z").fit()
    Z, S = X[:, :2], X[:, [0, 2]]
    variance = np.exp(2 * S @ res.params.iloc[2:].to_numpy())
    blocks = np.linalg.inv(Z.T @ (Z / variance[:, None])), np.linalg.inv(2 * S.T @ S)
    actual = res.with_cov("nonrobust", {"information": "expected"})
    same_covariance(actual.cov_params(), scipy.linalg.block_diag(*blocks), 1e-9)


def test_expected_information_is_the_observed_one_for_canonical_links():
    for model in (tm.Logit.from_formula("b ~ x", DATA), tm.Poisson.from_formula("c ~ x", DATA), OwnLogit(DATA["b"], X)):
        res = model.fit()
        expected = res.with_cov("nonrobust", {"information": "expected"})
        same_covariance(expected.cov_params(), res.cov_params(), 1e-9)
        for name in ("HC1", "HC3"):
            robust = res.with_cov(name, {"information": "expected"})
            same_covariance(robust.cov_params(), res.with_cov(name).cov_params(), 1e-9)
    same_covariance(
        ols().with_cov("HC0", {"information": "expected"}).cov_params(), ols().with_cov("HC0").cov_params(), EXACT
    )


def test_expected_information_where_it_is_not_known():
    for model, words in (
        (OpaqueLogit(DATA["b"], X), "opaque"),
        (TLoglike.from_formula("y ~ x", DATA), r"Define expected_information\(self, mu, log_sigma\)"),
    ):
        with pytest.raises(tm.OptionError, match=words):
            model.fit(cov_kwds={"information": "expected"})


def test_expected_information_of_probabilities_that_do_not_add_up():
    class Wrong(OwnLogit):
        def logdensity(self, y, eta):
            return 0.9 * torch.nn.functional.logsigmoid((2 * y - 1) * eta)

    res = Wrong(DATA["b"], X).fit()
    with pytest.raises(tm.LikelihoodError, match="add up to"):
        res.with_cov("nonrobust", {"information": "expected"})


def test_expected_information_of_ones_own():
    class Own(TLoglike):
        def expected_information(self, mu, log_sigma):
            # (nu + 1) / (nu + 3) / sigma^2 and 2 nu / (nu + 3) (Lange, Little and Taylor 1989)
            return [[2 / 3 * torch.exp(-2 * log_sigma), None], [torch.full_like(mu, 1.0)]]

    res = Own.from_formula("y ~ x", DATA).fit(cov_kwds={"information": "expected"})
    Z, sigma = X[:, :2], res.params["sigma"]
    close(res.bse.iloc[:2], np.sqrt(np.diag(np.linalg.inv(Z.T @ Z)) * sigma**2 * 1.5), 1e-8)
    close(res.bse["sigma"], sigma / np.sqrt(len(DATA)), 1e-8)


# ---- weights

ANY = {
    "nonrobust": {},
    "opg": {},
    "HC0": {},
    "HC1": {},
    "HC2": {},
    "HC3": {},
    "cluster": {"groups": "firm"},
    "CR2": {"groups": "firm"},
    "CRV3": {"groups": "firm"},
    "HAC": {"maxlags": 2},
    "hac-panel": {"groups": "firm", "time": "year", "maxlags": 1},
    "driscoll-kraay": {"time": "year", "maxlags": 1},
    "conley": {"coords": ["lat", "lon"], "cutoff": 100, "distance": "haversine"},
}
FREE = {
    "OLS": lambda data, **o: tm.OLS.from_formula("y ~ x + z", data, **o),
    "ML": lambda data, **o: tm.OLS.from_formula("y ~ x + z", data, log_sigma="x", **o),
    "Logit": lambda data, **o: tm.Logit.from_formula("b ~ x + z", data, **o),
    "NegativeBinomial": lambda data, **o: tm.NegativeBinomial.from_formula("c ~ x + z", data, **o),
    "opaque": lambda data, **o: OpaqueLogit.from_formula("b ~ x + z", data, **o),
    "own": lambda data, **o: OwnLogit.from_formula("b ~ x + z", data, **o),
}
REFUSED = {
    ("ML", "HC2"),
    ("ML", "HC3"),
    ("opaque", "HC2"),
    ("opaque", "HC3"),
    *((kind, "CR2") for kind in FREE if kind != "OLS"),
}


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("kind", FREE)
def test_counts_are_rows_repeated(kind, name):
    counted = FREE[kind](DATA, freq_weights="f").fit()
    if (kind, name) in REFUSED or name in ("HAC", "hac-panel"):
        with pytest.raises(tm.OptionError):
            counted.with_cov(name, ANY[name])
        return
    repeated = FREE[kind](DATA.loc[DATA.index.repeat(DATA["f"].astype(int))].reset_index(drop=True)).fit()
    actual, expected = counted.with_cov(name, ANY[name]), repeated.with_cov(name, ANY[name])
    same_covariance(actual.cov_params(), expected.cov_params(), 1e-7)
    close(actual.df_params, expected.df_params, 1e-8)


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("kind", FREE)
def test_sampling_weights(kind, name):
    res = FREE[kind](DATA, sampling_weights="w").fit()
    if (kind, name) in REFUSED or name in ("nonrobust", "opg", "CR2"):
        with pytest.raises(tm.OptionError):
            res.with_cov(name, ANY[name])
        return
    actual = res.with_cov(name, ANY[name]).cov_params()
    if kind == "OLS" and name in ("HC2", "HC3"):
        w = DATA["w"].to_numpy()
        B = np.linalg.inv(X.T @ (X * w[:, None]))
        e = DATA["y"] - X @ res.params.to_numpy()
        h = w * np.einsum("ij,jk,ik->i", X, B, X)
        s = X * (w * e / (1 - h) ** (0.5 if name == "HC2" else 1.0)).to_numpy()[:, None]
        same_covariance(actual, B @ (s.T @ s) @ B, EXACT)
    ones = FREE[kind](DATA.assign(w=1.0), sampling_weights="w").fit().with_cov(name, ANY[name])
    same_covariance(ones.cov_params(), FREE[kind](DATA).fit().with_cov(name, ANY[name]).cov_params(), 1e-7)
    twice = FREE[kind](DATA.assign(w=2 * DATA["w"]), sampling_weights="w").fit().with_cov(name, ANY[name])
    same_covariance(twice.cov_params(), actual, 1e-7)  # only their ratios count


@pytest.mark.parametrize("name", [n for n in ANY if n not in ("CR2", "CRV3", "opg")])
def test_precision_weights_of_least_squares_and_maximum_likelihood(name):
    model = tm.WLS.from_formula("y ~ x + z", DATA, weights="w")
    closed = model.fit(cov_type=name, cov_kwds=ANY[name])
    by_ml = model.fit(method="newton", cov_type=name, cov_kwds=ANY[name])
    # Least squares divides by n - K, and does not count sigma in n - K.
    n = len(DATA)
    ratio = {"nonrobust": np.sqrt((n - 3) / n), "HC1": np.sqrt((n - 3) / (n - 4))}.get(name, 1.0)
    ratio = {"cluster": np.sqrt((n - 3) / (n - 4)), "hac-panel": np.sqrt((n - 3) / (n - 4))}.get(name, ratio)
    ratio = np.sqrt((n - 3) / (n - 4)) if name == "driscoll-kraay" else ratio
    close(by_ml.bse[["Intercept", "x", "z"]], closed.bse * ratio, 1e-7)


# ---- rows, models and parameters of every kind


def with_holes():
    data = DATA.copy()
    data.loc[[5, 17, 100], "x"] = np.nan
    data.loc[[44, 200], "z"] = np.nan
    data.index = [f"row {i}" for i in range(len(data))]
    return data


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("kind", FREE)
def test_after_missing_rows_were_dropped(kind, name):
    if (kind, name) in REFUSED:
        return
    data = with_holes()
    whole = data.dropna()
    expected = FREE[kind](whole).fit().with_cov(name, ANY[name]).cov_params()
    res = FREE[kind](data).fit()
    same_covariance(res.with_cov(name, ANY[name]).cov_params(), expected, 1e-9)
    rows = {k: v for k, v in ANY[name].items() if k in ("groups", "time", "coords")}
    if rows:  # as Series that are aligned by label, in any order, and as arrays of all rows
        shuffled = data.sample(frac=1, random_state=1)
        columns = {k: shuffled[v] for k, v in rows.items()}
        arrays = {k: data[v].to_numpy() for k, v in rows.items()}
        for given in (columns, arrays):
            again = res.with_cov(name, {**ANY[name], **given})
            same_covariance(again.cov_params(), expected, 1e-9)


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("kind", ["opaque", "own"])
def test_own_likelihoods_as_those_of_torchmle(kind, name):
    if (kind, name) in REFUSED:
        with pytest.raises(tm.OptionError):
            FREE[kind](DATA).fit(cov_type=name, cov_kwds=ANY[name])
        return
    expected = FREE["Logit"](DATA).fit(cov_type=name, cov_kwds=ANY[name]).cov_params()
    actual = FREE[kind](DATA).fit(cov_type=name, cov_kwds=ANY[name]).cov_params()
    same_covariance(actual, expected, FITTED)


@pytest.mark.parametrize("name", [n for n in ANY if n not in ("HC2", "HC3", "CR2")])
def test_natural_parameters_have_errors_by_the_delta_method(name):
    res = TLoglike.from_formula("y ~ x", DATA).fit(cov_type=name, cov_kwds=ANY[name])
    assert np.isfinite(res.bse).all()
    one = tm.OLS.from_formula("y ~ x", DATA).fit(method="newton", cov_type=name, cov_kwds=ANY[name])
    assert np.isfinite(one.bse).all()


@pytest.mark.parametrize("name", [n for n in ANY if n != "CR2"])
def test_constraints(name):
    res = FREE["Logit"](DATA).fit(constraints="x + z = 0", cov_type=name, cov_kwds=ANY[name])
    smaller = tm.Logit.from_formula("b ~ I(x - z)", DATA).fit(cov_type=name, cov_kwds=ANY[name])
    close(res.bse[["Intercept", "x"]], smaller.bse, 1e-7)
    close(res.bse["z"], res.bse["x"], 1e-10)


@pytest.mark.parametrize("name", ANY)
def test_single_precision(name):
    double = tm.OLS.from_formula("y ~ x + z", DATA).fit(cov_type=name, cov_kwds=ANY[name])
    single = tm.OLS.from_formula("y ~ x + z", DATA, dtype=torch.float32).fit(cov_type=name, cov_kwds=ANY[name])
    close(single.bse, double.bse, 1e-4)  # six digits of data, some of which cancel in residuals


@pytest.mark.parametrize("name", ANY)
def test_ill_conditioned_columns(name):
    data = DATA.assign(x=DATA["x"] + 1e6, d=DATA["x"])
    res = tm.OLS.from_formula("y ~ x + I(x**2)", data).fit()
    assert "QR" in res.engine
    centred = tm.OLS.from_formula("y ~ d + I(d**2)", data).fit()
    V, W = (r.with_cov(name, ANY[name]).cov_params().to_numpy() for r in (res, centred))
    # The square keeps its coefficient whatever the shift. (x + 1e6)^2 is known to 16 digits, and its curvature, which
    # is 1e-12 of it, to four or so.
    close(V[2, 2], W[2, 2], 1e-3)


def test_where_there_is_no_maximum_there_is_no_number():
    data = DATA.assign(b=(DATA["x"] > 0).astype(float))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        res = tm.Logit.from_formula("b ~ x", data).fit()
        for name in ANY:
            if name != "CR2":
                assert res.with_cov(name, ANY[name]).bse.isna().all()


def test_groups_of_the_model_are_used():
    for name in ("cluster", "CRV3", "CR2"):
        given = tm.OLS.from_formula("y ~ x", DATA, groups="firm").fit(cov_type=name)
        later = tm.OLS.from_formula("y ~ x", DATA).fit(cov_type=name, cov_kwds={"groups": "firm"})
        same_covariance(given.cov_params(), later.cov_params(), EXACT)


def test_scores_of_a_sum_are_not_there():
    class Sum(tm.GenericLikelihoodModel):
        def loglike(self, params):
            return torch.nn.functional.logsigmoid((2 * self.endog - 1) * (self.exog @ params)).sum()

    res = Sum(DATA["b"], X).fit()
    for name, kwds in ANY.items():
        if name != "nonrobust":
            with pytest.raises(tm.OptionError, match="needs the scores of single rows"):
                res.with_cov(
                    name, {k: DATA[v].to_numpy() if k in ("groups", "time", "coords") else v for k, v in kwds.items()}
                )


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-100, 100), seed=st.integers(0, 5))
def test_units_and_order_do_not_matter(scale, shift, seed):
    data = DATA.assign(x=DATA["x"] * scale + shift * scale)
    data = data.sample(frac=1, random_state=seed)
    for name, kwds in ANY.items():
        if name in ("HAC",):
            continue  # knows the order of the rows only
        a = ols().with_cov(name, kwds)
        b = ols(data).with_cov(name, kwds)
        close(b.bse["x"] * scale, a.bse["x"], 1e-7)
        close(b.bse["z"], a.bse["z"], 1e-7)


# ---- what is said


@pytest.mark.parametrize("name", ANY)
def test_the_summary_states_the_covariance(name):
    text = " ".join(ols().with_cov(name, ANY[name]).summary().as_text().split())
    assert re.search(rf"Covariance: {re.escape(name)}\b", text)
    words = {
        "cluster": "clustered by firm, 24 clusters, G/(G-1) (n-1)/(n-K)",
        "CR2": "clustered by firm, 24 clusters, CR2",
        "CRV3": "cluster jackknife (CRV3, exact) by firm, 24 clusters, (G-1)/G",
        "HAC": "bartlett kernel, 2 lags, no correction",
        "hac-panel": "within firm, 24 units, time year, bartlett kernel, 1 lag, n/(n-K)",
        "driscoll-kraay": "Driscoll-Kraay, time year, 10 periods, bartlett kernel, 1 lag",
        "conley": "Conley, bartlett kernel up to 100 km (haversine), 240 places",
    }
    assert words.get(name, "Standard errors:") in text


WRONG = {
    "unknown type": ("HC4", None, r"Unknown cov_type 'HC4'. Did you mean"),
    "no text": (3, None, "Unknown cov_type 3"),
    "unknown entry": ("cluster", {"group": "firm"}, r"'group'. Did you mean 'groups'"),
    "idle entry": ("HC1", {"groups": "firm"}, "Unknown entry of cov_kwds for cov_type='HC1'"),
    "no dict": ("cluster", "firm", "must be a dict"),
    "no groups": ("cluster", None, "needs groups"),
    "unknown column": ("cluster", {"groups": ["firm", "yeer"]}, "'yeer', which is no column"),
    "several ways": ("CR2", {"groups": ["firm", "year"]}, "one set of groups"),
    "correction": ("cluster", {"groups": "firm", "use_correction": "hc1"}, "Unknown use_correction"),
    "correction of CRV3": ("CRV3", {"groups": "firm", "use_correction": "stata"}, "Unknown use_correction"),
    "count": ("cluster", {"groups": "firm", "count": "all"}, "Unknown count"),
    "center": ("CRV3", {"groups": "firm", "center": "median"}, "Unknown center"),
    "information": ("HC0", {"information": "fisher"}, "Unknown information"),
    "lags": ("HAC", {"maxlags": -1}, "whole number, 0 or more"),
    "fraction of lags": ("HAC", {"maxlags": 1.5}, "whole number, 0 or more"),
    "both": ("HAC", {"maxlags": 1, "bandwidth": 2.0}, "say the same thing"),
    "kernel": ("HAC", {"kernel": "barlett"}, "Did you mean 'bartlett'"),
    "no last lag": ("HAC", {"kernel": "quadratic-spectral", "maxlags": 3}, "no last lag"),
    "bandwidth": ("HAC", {"bandwidth": "andrew"}, "andrews"),
    "negative bandwidth": ("HAC", {"bandwidth": -2}, "positive number"),
    "prewhiten": ("HAC", {"prewhiten": "yes"}, "must be True or False"),
    "several rows a time": ("HAC", {"time": "year"}, "Use 'hac-panel' with groups, or 'driscoll-kraay'"),
    "text for time": ("driscoll-kraay", {"time": DATA["year"].astype(str)}, "holds text"),
    "no time": ("driscoll-kraay", {}, "needs time"),
    "repeated": ("hac-panel", {"groups": "county", "time": "year"}, "several rows at one value of time"),
    "rule for panels": ("hac-panel", {"groups": "firm", "bandwidth": "andrews"}, "Unknown bandwidth"),
    "spectral panel": ("hac-panel", {"groups": "firm", "kernel": "quadratic-spectral"}, "needs a bandwidth"),
    "no coordinates": ("conley", {"cutoff": 3, "distance": "plain"}, "needs coords"),
    "no cutoff": ("conley", {"coords": ["lat", "lon"], "distance": "plain"}, "needs cutoff"),
    "no distance": ("conley", {"coords": ["lat", "lon"], "cutoff": 3}, "needs distance"),
    "one coordinate": ("conley", {"coords": "lat", "cutoff": 3, "distance": "haversine"}, "latitude and longitude"),
    "swapped": ("conley", {"coords": ["year", "lat"], "cutoff": 3, "distance": "haversine"}, "Swap the columns"),
    "cutoff": ("conley", {"coords": ["lat", "lon"], "cutoff": 0, "distance": "plain"}, "positive number"),
    "length": ("cluster", {"groups": np.arange(7)}, "groups has 7 rows"),
    "one group": ("cluster", {"groups": np.ones(len(DATA))}, "clustering needs two"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused(case):
    name, kwds, words = WRONG[case]
    with pytest.raises(tm.TorchmleError, match=words):
        ols().with_cov(name, kwds)


def test_gaps_are_refused_where_they_have_no_place():
    data = DATA[DATA["year"] != 2004]
    for kwds in ({"bandwidth": "andrews"}, {"prewhiten": True}):
        with pytest.raises(tm.OptionError, match="without gaps"):
            ols(data).with_cov("driscoll-kraay", {"time": "year", **kwds})


def test_missing_values_of_rows_in_use_are_named():
    data = DATA.assign(year=DATA["year"].astype(float))
    data.loc[7, ["year", "lat"]] = np.nan
    res = ols(data)
    for name in ("driscoll-kraay", "conley"):
        with pytest.raises(tm.DataError, match=r"missing in 1 of the rows in use \(e.g. row 7\)"):
            res.with_cov(name, ANY[name])


# ---- what is done with them


def test_results_are_kept_with_the_columns_that_errors_need(tmp_path):
    for name, kwds in (
        ("cluster", {"groups": ["firm", "county"]}),
        ("conley", {"coords": ["lat", "lon"], "cutoff": 100, "distance": "haversine"}),
        ("driscoll-kraay", {"time": "year", "maxlags": 2}),
        ("CR2", {"groups": "county"}),
    ):
        res = ols().with_cov(name, kwds, use_t=True)
        res.save(tmp_path / "fit.tm", data=True)
        again = tm.load(tmp_path / "fit.tm")
        close(again.bse, res.bse, 1e-15)
        close(again.pvalues, res.pvalues, 1e-15)
        close(again.with_cov(name, kwds).bse, res.bse, 1e-13)
        fit = tm.OLS.from_formula("y ~ x + z", DATA).fit(cov_type=name, cov_kwds=kwds)
        close(tm.replay(fit).bse, fit.bse, 1e-13)
        close(tm.replay(fit.record, DATA).bse, fit.bse, 1e-13)


def test_ids_that_were_arrays_are_repeated_from_the_results():
    kwds = {"groups": DATA["firm"].to_numpy(), "time": DATA["year"].to_numpy(), "maxlags": 1}
    fit = tm.OLS.from_formula("y ~ x", DATA).fit(cov_type="hac-panel", cov_kwds=kwds)
    close(tm.replay(fit).bse, fit.bse, 1e-13)


def test_margins_take_the_rows_as_a_sample_under_any_sandwich():
    res = tm.Logit.from_formula("b ~ x + z", DATA).fit()
    for name in ("HC0", "cluster", "HAC", "hac-panel", "driscoll-kraay", "conley"):
        table = res.with_cov(name, ANY[name]).margins("x", vce="unconditional")
        assert np.isfinite(table.margeff_se).all()
    with pytest.raises(tm.OptionError, match="sums over rows"):
        res.with_cov("HC3").margins("x", vce="unconditional")


def test_score_test_under_any_covariance():
    res = tm.OLS.from_formula("y ~ x", DATA).fit()
    for name in ANY:
        test = res.with_cov(name, ANY[name]).score_test(added="z")
        assert 0 <= test.pvalue <= 1


def test_nothing_of_the_first_result_changes():
    res = ols()
    before = res.cov_params().copy()
    for name in ANY:
        res.with_cov(name, ANY[name])
    assert res.cov_params().equals(before)
    assert res.cov_type == "nonrobust"
