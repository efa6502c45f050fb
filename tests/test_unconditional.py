"""Hold errors of averages over rows that are a sample to stacked estimating equations, under every sum of products.

Estimates b and an average m solve ``sum w s(b) = 0`` and ``sum w 1(g) (f(b) - m) = 0``. The sandwich of these K + 1
equations, with pairs of rows weighed as the covariance weighs them, has the variance of m in its last place.
"""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import torchmle as tm


def made(n: int = 240) -> pd.DataFrame:
    """A panel of 30 firms and 8 years with places; responses that depend on shocks of firms and years."""
    rng = np.random.default_rng(21)
    data = pd.DataFrame({"x": rng.normal(size=n), "z": rng.uniform(0, 2, n)})
    data["firm"], data["year"], data["county"] = np.arange(n) // 8, 1990 + np.arange(n) % 8, rng.integers(0, 12, n)
    eta = 0.2 + 0.4 * data["x"] - 0.3 * data["z"] + 0.4 * rng.normal(size=n // 8)[data["firm"]]
    eta = eta + 0.2 * rng.normal(size=8)[data["year"] - 1990]
    data["c"], data["b"] = rng.poisson(np.exp(eta)).astype(float), (eta + rng.normal(size=n) > 0).astype(float)
    data["lat"], data["lon"] = rng.uniform(44, 47, n), rng.uniform(2, 6, n)
    data["flag"] = rng.random(n) < 0.5
    data["w"], data["f"] = rng.uniform(0.5, 2, n), rng.integers(1, 4, n).astype(float)
    data.loc[[5, 70, 71], "x"] = np.nan
    return data


DATA = made()
WEIGHTS = {"none": {}, "freq_weights": {"freq_weights": "f"}, "sampling_weights": {"sampling_weights": "w"}}


@cache
def fitted(kind: str, weights: str):
    response = {"Poisson": "c", "Probit": "b"}[kind]
    return getattr(tm, kind).from_formula(f"{response} ~ x + z", DATA, **WEIGHTS[weights]).fit()


class Stacked:
    """The equations of estimates and average, solved: (n, K + 1) influences of the rows in use, by hand."""

    def __init__(self, kind: str, weights: str, what: str, over: bool | None, expected: bool = False) -> None:
        self.rows = DATA[DATA["x"].notna()]
        self.rule = weights
        column = next(iter(WEIGHTS[weights].values()), None)
        self.w = np.ones(len(self.rows)) if column is None else self.rows[column].to_numpy()
        X = np.column_stack([np.ones(len(self.rows)), self.rows[["x", "z"]]])
        b = fitted(kind, weights).params.to_numpy()
        own = np.ones(len(X)) if over is None else (self.rows["flag"] == over).to_numpy().astype(float)
        s, h, f, slope = getattr(self, f"_{kind.lower()}")(X, b, what, expected)
        total = (self.w * own).sum()
        self.value = (self.w * own * f).sum() / total
        A = np.zeros((4, 4))
        A[:3, :3] = X.T @ (X * (self.w * h)[:, None])
        A[3, :3], A[3, 3] = -(self.w * own) @ slope, total
        moments = np.column_stack([X * s[:, None], own * (f - self.value)])
        self.influence = np.linalg.solve(A, moments.T).T
        self.u = self.influence * self.w[:, None]
        self.n, self.K = (self.w.sum() if weights == "freq_weights" else len(X)), 3

    def _poisson(self, X, b, what, expected):
        mu = np.exp(X @ b)
        f, slope = (mu, mu[:, None] * X) if what == "mean" else (b[1] * mu, b[1] * mu[:, None] * X)
        if what == "x":
            slope[:, 1] += mu
        return self.rows["c"].to_numpy() - mu, mu, f, slope

    def _probit(self, X, b, what, expected):
        eta, y = X @ b, self.rows["b"].to_numpy()
        p, d = stats.norm.cdf(eta), stats.norm.pdf(eta)
        s = (y - p) * d / (p * (1 - p))
        h = d**2 / (p * (1 - p)) if expected else s * (s + eta)
        f, slope = (p, d[:, None] * X) if what == "mean" else (b[1] * d, -(b[1] * d * eta)[:, None] * X)
        if what == "x":
            slope[:, 1] += d
        return s, h, f, slope

    def pairs(self, weight) -> float:
        return float(self.u[:, 3] @ weight @ self.u[:, 3])

    def together(self, *names: str) -> np.ndarray:
        ids = self.rows[list(names)].to_numpy()
        return (ids[:, None] == ids[None]).all(2).astype(float)

    def lag(self, at) -> np.ndarray:
        return np.abs(np.subtract.outer(np.asarray(at, dtype=float), np.asarray(at, dtype=float)))

    def clusters(self, *names: str) -> float:
        G = len(self.rows[list(names)].drop_duplicates())
        return G / (G - 1) * (self.n - 1) / (self.n - self.K) * self.pairs(self.together(*names))

    def white(self) -> float:
        power = self.w if self.rule == "freq_weights" else self.w**2
        return float((power * self.influence[:, 3] ** 2).sum())

    @property
    def residual(self) -> float:
        return self.n / (self.n - self.K)

    def places(self) -> np.ndarray:
        a, b = np.radians(self.rows["lat"].to_numpy()), np.radians(self.rows["lon"].to_numpy())
        half = np.sin((a[:, None] - a) / 2) ** 2 + np.cos(a)[:, None] * np.cos(a) * np.sin((b[:, None] - b) / 2) ** 2
        return 2 * 6371.0088 * np.arcsin(np.sqrt(half))


def bartlett(x):
    return np.maximum(1 - x, 0.0)


def andrews(v: np.ndarray) -> float:
    """Andrews' (1991) bandwidth for the Bartlett kernel, of one series."""
    rho = v[1:] @ v[:-1] / (v[:-1] @ v[:-1])
    return 1.1447 * (len(v) * 4 * rho**2 / ((1 - rho) ** 2 * (1 + rho) ** 2)) ** (1 / 3)


CASES = {
    "HC0": ({}, lambda p: p.white()),
    "HC1": ({}, lambda p: p.white() * p.residual),
    "cluster": ({"groups": "firm"}, lambda p: p.clusters("firm")),
    "cluster, two ways": (
        {"groups": ["firm", "county"]},
        lambda p: p.clusters("firm") + p.clusters("county") - p.clusters("firm", "county"),
    ),
    "HAC": ({"maxlags": 3}, lambda p: p.pairs(bartlett(p.lag(range(len(p.u))) / 4))),
    "HAC, andrews": (
        {"bandwidth": "andrews"},
        lambda p: p.pairs(bartlett(p.lag(range(len(p.u))) / andrews(p.u[:, 3]))),
    ),
    "hac-panel": (
        {"groups": "firm", "time": "year", "maxlags": 2},
        lambda p: p.residual * p.pairs(p.together("firm") * bartlett(p.lag(p.rows["year"]) / 3)),
    ),
    "driscoll-kraay": (
        {"time": "year", "maxlags": 2, "use_correction": False},
        lambda p: p.pairs(bartlett(p.lag(p.rows["year"]) / 3)),
    ),
    "conley": (
        {"coords": ["lat", "lon"], "cutoff": 80, "distance": "haversine"},
        lambda p: p.pairs(bartlett(p.places() / 80)),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("what", "over"), [("mean", None), ("x", None), ("x", "flag")])
def test_errors_are_those_of_stacked_equations(name, weights, what, over):
    kwds, formula = CASES[name]
    cov_type = name.split(",")[0]
    if weights == "freq_weights" and cov_type in ("HAC", "hac-panel"):
        return  # refused for the fit itself, as test_covariance_matrix.py shows
    res = fitted("Poisson", weights).with_cov(cov_type, kwds)
    options = {"kind": "mean"} if what == "mean" else {"variables": "x"}
    for i, level in enumerate([None] if over is None else [False, True]):
        if over is not None and name == "HAC, andrews":
            continue  # one bandwidth for both groups, from both series of influences
        expected = Stacked("Poisson", weights, what, level)
        found = res.margins(vce="unconditional", over=over, **options)
        np.testing.assert_allclose(found.values[i], expected.value, rtol=1e-8)
        # The sandwich of the equations has estimates that are right to 1e-8 or so.
        np.testing.assert_allclose(found.margeff_se[i] ** 2, formula(expected), rtol=1e-6)


@pytest.mark.parametrize("name", ["HC0", "cluster", "HAC"])
@pytest.mark.parametrize("information", ["observed", "expected"])
def test_the_bread_is_that_of_the_covariance(information, name):
    kwds, formula = CASES[name]
    res = fitted("Probit", "none").with_cov(name, {**kwds, "information": information})
    for what, options in (("mean", {"kind": "mean"}), ("x", {"variables": "x"})):
        expected = Stacked("Probit", "none", what, None, information == "expected")
        found = res.margins(vce="unconditional", **options)
        np.testing.assert_allclose(found.margeff_se**2, [formula(expected)], rtol=1e-6)


def test_the_error_covers_the_mean_of_the_population():
    """Simulation: the variance of the average of exp(xb) over samples of firms is what the clustered error says."""
    rng = np.random.default_rng(3)
    found, errors, given = [], [], []
    for _ in range(150):
        firm = np.repeat(np.arange(40), 5)
        x = rng.normal(size=40)[firm] + 0.3 * rng.normal(size=200)
        mu = np.exp(0.2 + 0.7 * x + 0.3 * rng.normal(size=40)[firm])
        data = pd.DataFrame({"y": rng.poisson(mu).astype(float), "x": x, "firm": firm})
        res = tm.Poisson.from_formula("y ~ x", data).fit(cov_type="cluster", cov_kwds={"groups": "firm"})
        whole = res.margins(kind="mean", vce="unconditional")
        found.append(whole.values[0])
        errors.append(whole.margeff_se[0] ** 2)
        given.append(res.margins(kind="mean").margeff_se[0] ** 2)
    # 150 draws of a variance with heavy tails: within 40 % at three of its standard errors or so.
    assert 0.6 < np.mean(errors) / np.var(found) < 1.4
    assert np.mean(given) < 0.6 * np.mean(errors)


REASONS = {
    "nonrobust": "takes the model as right",
    "opg": "takes the model as right",
    "HC2": "leverage",
    "HC3": "leverage",
    "CRV3": "leaves out clusters",
}


@pytest.mark.parametrize("name", REASONS)
def test_other_errors_are_refused_with_a_reason(name):
    res = fitted("Poisson", "none").with_cov(name, {"groups": "firm"} if name == "CRV3" else None)
    with pytest.raises(tm.OptionError, match=f"{name}', which .*{REASONS[name]}"):
        res.margins("x", vce="unconditional")


def test_adjusted_residuals_are_refused_with_a_reason():
    res = tm.OLS.from_formula("c ~ x", DATA).fit(cov_type="CR2", cov_kwds={"groups": "firm"})
    with pytest.raises(tm.OptionError, match=r"CR2', which divides residuals by their leverage"):
        res.margins("x", vce="unconditional")


def test_indefinite_covariances_of_averages_are_repaired_and_said():
    rng = np.random.default_rng(5)
    data = pd.DataFrame(rng.normal(size=(40, 5)), columns=list("yabcd"))
    data["y"] = (data["y"] > 0).astype(float)
    data["g"], data["h"] = np.arange(40) % 3, np.arange(40) // 14
    res = tm.Logit.from_formula("y ~ a + b + c + d", data).fit()
    with pytest.warns(tm.TorchmleWarning, match="not positive semi-definite"):
        res = res.with_cov("cluster", {"groups": ["g", "h"]})
    with pytest.warns(tm.TorchmleWarning, match="not positive semi-definite"):
        found = res.margins(vce="unconditional")
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-12
    assert np.isfinite(found.margeff_se).all()


def test_averages_of_a_logit_with_a_constant_need_no_model():
    """The mean of the fitted probabilities is the mean of y, whose clustered error is that of sums by firm."""
    rows = DATA[DATA["x"].notna()]
    res = tm.Logit.from_formula("b ~ x + z", DATA).fit()
    off = pd.Series(rows["b"] - rows["b"].mean())
    for groups in ("firm", "county"):
        kwds = {"groups": groups, "use_correction": False}
        found = res.with_cov("cluster", kwds).margins(kind="mean", vce="unconditional")
        np.testing.assert_allclose(found.values, [rows["b"].mean()], rtol=1e-10)
        expected = np.sqrt((off.groupby(rows[groups]).sum() ** 2).sum()) / len(rows)
        np.testing.assert_allclose(found.margeff_se, [expected], rtol=1e-8)
