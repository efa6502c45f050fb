"""Hold every covariance, under every kind of weights, to its formula written out in numpy, or see it refused.

All fits lose rows: some to missing values, some to weights of zero. Scores and Hessians are written by hand for each
model, and ids are given as columns, as Series in another order and as arrays of all rows.
"""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import special, stats

import torchmle as tm


def made(n: int = 180) -> pd.DataFrame:
    """Firms, years, places, responses of two kinds; five rows with missing values, four with weights of zero."""
    rng = np.random.default_rng(11)
    data = pd.DataFrame({"x": rng.normal(size=n), "z": rng.uniform(0, 2, n)})
    data["firm"], data["year"] = np.arange(n) // 9, 2000 + np.arange(n) % 9
    data["county"] = rng.integers(0, 15, n)
    eta = 0.2 + 0.6 * data["x"] - 0.5 * data["z"] + 0.6 * rng.normal(size=n // 9)[data["firm"]]
    data["y"] = eta + rng.normal(size=n) * np.exp(0.3 * data["x"])
    data["b"] = (eta + rng.logistic(size=n) > 0).astype(float)
    data["lat"], data["lon"] = rng.uniform(44, 47, n), rng.uniform(2, 6, n)
    data["w"], data["f"] = rng.uniform(0.4, 2.5, n), rng.integers(1, 4, n).astype(float)
    data.loc[[8, 61, 150], ["w", "f"]] = 0.0
    data.loc[[99], ["w", "f"]] = 0.0
    data.loc[[3, 44, 120], "x"] = np.nan
    data.loc[[45, 130], "z"] = np.nan
    data.index = [f"row {i}" for i in range(n)]
    return data


DATA = made()


class OwnNormal(tm.LinearPredictorModel):
    """A normal likelihood with regressors in both predictors, written by a user."""

    predictors = {"mu": "1", "log_sigma": "1"}

    def logdensity(self, y, mu, log_sigma):
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma


class OpaqueNormal(tm.GenericLikelihoodModel):
    """A normal likelihood that says nothing of its predictors."""

    extra_params = ("log_sigma",)

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) * torch.exp(-params[-1])) - params[-1]


MAKERS = {
    "OLS": lambda **o: tm.OLS.from_formula("y ~ x + z", DATA, **o),
    "Logit": lambda **o: tm.Logit.from_formula("b ~ x + z", DATA, **o),
    "own": lambda **o: OwnNormal.from_formula("y ~ x + z", DATA, log_sigma="x", **o),
    "opaque": lambda **o: OpaqueNormal.from_formula("y ~ x + z", DATA, **o),
}
WEIGHTS = {
    "none": {},
    "freq_weights": {"freq_weights": "f"},
    "var_weights": {"var_weights": "w"},
    "sampling_weights": {"sampling_weights": "w"},
}
# Restrictions: what fit() takes, and the directions in which the parameters (Intercept, x, z, then log_sigma) may move.
# The last one runs to its bound, since the slope is near -0.5.
RESTRICTIONS = {
    "free": ({}, None),
    "fixed": ({"fixed": {"z": -0.4}}, [[1, 0], [0, 1], [0, 0]]),
    "constraints": ({"constraints": "x + z = 0"}, [[1, 0], [0, 1], [0, -1]]),
    "bounds": ({"bounds": {"z": (0.0, None)}}, [[1, 0], [0, 1], [0, 0]]),
}


@cache
def fitted(kind: str, weights: str, restriction: str = "free"):
    # Least squares in closed form has no restrictions: with them it is maximum likelihood.
    method = "newton" if kind == "OLS" and restriction != "free" else None
    return MAKERS[kind](**WEIGHTS[weights]).fit(method=method, **RESTRICTIONS[restriction][0])


class Pieces:
    """Scores and Hessians by row of the rows in use, for a row of weight one, and what the corrections count."""

    def __init__(self, kind: str, weights: str, restriction: str = "free", params=None) -> None:
        self.res = fitted(kind, weights, restriction)
        keep = DATA[["x", "z"]].notna().all(axis=1)
        self.rule = weights
        column = next(iter(WEIGHTS[weights].values()), None)
        if column is not None:
            keep &= DATA[column] > 0
        self.rows = DATA[keep]
        self.w = np.ones(len(self.rows)) if column is None else self.rows[column].to_numpy()
        self.X = np.column_stack([np.ones(len(self.rows)), self.rows[["x", "z"]]])
        self.s, self.h, self.leverage_weight = getattr(self, f"_{kind.lower()}")(
            self.res.params.to_numpy() if params is None else params
        )
        self.R = np.eye(self.s.shape[1])
        moves = RESTRICTIONS[restriction][1]
        if moves is not None:
            more = self.s.shape[1] - 3
            self.R = np.block([[np.array(moves), np.zeros((3, more))], [np.zeros((more, 2)), np.eye(more)]])
        self.s, self.h = self.s @ self.R, self.R.T @ self.h @ self.R
        self.K = self.R.shape[1]
        self.n = self.w.sum() if weights == "freq_weights" else len(self.rows)
        self.B = np.linalg.inv(np.einsum("i,ijk->jk", self.w, self.h))
        self.u = self.s * self.w[:, None]
        self.scale = (self.w * self.res.resid**2).sum() / (self.n - self.K) if kind == "OLS" and moves is None else 1.0

    def _ols(self, b):
        e = self.rows["y"].to_numpy() - self.X @ b[:3]
        if len(b) == 3:
            return self.X * e[:, None], self.X[:, :, None] * self.X[:, None, :], np.ones(len(e))
        return self._opaque(np.r_[b[:3], np.log(b[3])])  # by maximum likelihood, under restrictions

    def _logit(self, b):
        p = special.expit(self.X @ b)
        q = p * (1 - p)
        return (
            self.X * (self.rows["b"].to_numpy() - p)[:, None],
            q[:, None, None] * self.X[:, :, None] * self.X[:, None],
            q,
        )

    def _normal(self, b, S):
        Z, e = self.X, self.rows["y"].to_numpy() - self.X @ b[:3]
        v = np.exp(2 * S @ b[3:])
        s = np.column_stack([Z * (e / v)[:, None], S * (e**2 / v - 1)[:, None]])
        cross = Z[:, :, None] * (2 * e / v)[:, None, None] * S[:, None, :]
        own = Z[:, :, None] * (1 / v)[:, None, None] * Z[:, None, :]
        other = S[:, :, None] * (2 * e**2 / v)[:, None, None] * S[:, None, :]
        return s, np.block([[own, cross], [cross.transpose(0, 2, 1), other]]), 1 / v

    def _own(self, b):
        return self._normal(b, self.X[:, :2])

    def _opaque(self, b):
        return self._normal(b, self.X[:, :1])

    # ---- estimators

    def pairs(self, weight) -> np.ndarray:
        """Return the sandwich of all pairs of rows, each with its weight."""
        return self.B @ self.u.T @ weight @ self.u @ self.B

    def together(self, *names: str) -> np.ndarray:
        ids = self.rows[list(names)].to_numpy()
        return (ids[:, None] == ids[None]).all(2).astype(float)

    def lag(self, at) -> np.ndarray:
        at = np.asarray(at, dtype=float)
        return np.abs(at[:, None] - at)

    def white(self, divisor: float | np.ndarray = 1.0) -> np.ndarray:
        power = self.w if self.rule == "freq_weights" else self.w**2
        return self.B @ (self.s.T * (power / divisor)) @ self.s @ self.B

    def hat(self) -> np.ndarray:
        h = self.leverage_weight * np.einsum("ij,jk,ik->i", self.X @ self.R[:3], self._bread(), self.X @ self.R[:3])
        return h if self.rule == "freq_weights" else h * self.w

    def _bread(self) -> np.ndarray:
        Z = self.X @ self.R[:3]
        gram = Z.T @ (Z * (self.w * self.leverage_weight)[:, None])
        return np.linalg.pinv(gram)

    def clusters(self, G: int) -> float:
        return G / (G - 1) * (self.n - 1) / (self.n - self.K)

    def two_ways(self) -> np.ndarray:
        total = 0.0
        for names, sign in ((("firm",), 1), (("county",), 1), (("firm", "county"), -1)):
            G = len(self.rows[list(names)].drop_duplicates())
            total = total + sign * self.clusters(G) * self.pairs(self.together(*names))
        return total

    def without(self) -> list:
        """Return how Newton's step changes when a firm is left out; at the maximum there is none with all rows."""
        left = [self.rows["firm"].to_numpy() != g for g in self.rows["firm"].unique()]
        steps = [np.linalg.solve(np.einsum("i,ijk->jk", self.w[k], self.h[k]), self.u[k].sum(0)) for k in left]
        return [step - self.B @ self.u.sum(0) for step in steps]

    def cr2(self) -> np.ndarray:
        """Return Bell and McCaffrey's, rows counted often written out."""
        times = self.w.astype(int) if self.rule == "freq_weights" else np.ones(len(self.w), dtype=int)
        root = np.sqrt(self.w if self.rule == "var_weights" else np.ones(len(self.w)))
        Z = np.repeat(self.X * root[:, None], times, axis=0)
        e = np.repeat(self.res.resid.to_numpy() * root, times)
        firm = np.repeat(self.rows["firm"].to_numpy(), times)
        meat = 0.0
        for g in np.unique(firm):
            Zg = Z[firm == g]
            values, vectors = np.linalg.eigh(np.eye(len(Zg)) - Zg @ self.B @ Zg.T)
            v = Zg.T @ (vectors / np.sqrt(values)) @ vectors.T @ e[firm == g]
            meat = meat + np.outer(v, v)
        return self.B @ meat @ self.B

    def places(self) -> np.ndarray:
        a, b = np.radians(self.rows["lat"].to_numpy()), np.radians(self.rows["lon"].to_numpy())
        half = np.sin((a[:, None] - a) / 2) ** 2 + np.cos(a)[:, None] * np.cos(a) * np.sin((b[:, None] - b) / 2) ** 2
        return 2 * 6371.0088 * np.arcsin(np.sqrt(half))


def bartlett(x):
    return np.maximum(1 - x, 0.0)


def spectral(x):
    z = 6 * np.pi * np.where(x == 0, 1.0, x) / 5
    return np.where(x == 0, 1.0, 3 / z**2 * (np.sin(z) / z - np.cos(z)))


def opg(p: Pieces) -> np.ndarray:
    power = p.w if p.rule == "freq_weights" else p.w**2
    return p.scale**2 * np.linalg.inv(p.s.T @ (p.s * power[:, None]))


def jackknife(p: Pieces) -> np.ndarray:
    G, changes = p.rows["firm"].nunique(), np.array(p.without())
    return changes.T @ changes * (G - 1) / G


FIRM = {"groups": "firm"}
PANEL = {"groups": "firm", "time": "year", "maxlags": 2}
CASES = {
    "nonrobust": ({}, lambda p: p.scale * p.B),
    "opg": ({}, opg),
    "HC0": ({}, lambda p: p.white()),
    "HC1": ({}, lambda p: p.white() * p.n / (p.n - p.K)),
    "HC2": ({}, lambda p: p.white(1 - p.hat())),
    "HC3": ({}, lambda p: p.white((1 - p.hat()) ** 2)),
    "cluster": (FIRM, lambda p: p.pairs(p.together("firm")) * p.clusters(p.rows["firm"].nunique())),
    "cluster, two ways": ({"groups": ["firm", "county"]}, Pieces.two_ways),
    "CR2": (FIRM, Pieces.cr2),
    "CRV3": (FIRM, jackknife),
    "HAC": ({"maxlags": 3}, lambda p: p.pairs(bartlett(p.lag(range(len(p.rows))) / 4))),
    "HAC, spectral": (
        {"kernel": "quadratic-spectral", "bandwidth": 2.5},
        lambda p: p.pairs(spectral(p.lag(range(len(p.rows))) / 2.5)),
    ),
    "hac-panel": (
        PANEL,
        lambda p: p.pairs(p.together("firm") * bartlett(p.lag(p.rows["year"]) / 3)) * p.n / (p.n - p.K),
    ),
    "driscoll-kraay": (
        {"time": "year", "maxlags": 2},
        lambda p: p.pairs(bartlett(p.lag(p.rows["year"]) / 3)) * p.clusters(p.rows["year"].nunique()),
    ),
    "conley": (
        {"coords": ["lat", "lon"], "cutoff": 60, "distance": "haversine"},
        lambda p: p.pairs(bartlett(p.places() / 60)),
    ),
}


def refused(kind: str, weights: str, name: str, restriction: str = "free") -> str | None:
    """Return words of the reason why a combination has no numbers, or None where it has."""
    closed = kind == "OLS" and restriction == "free"
    reasons = [
        (name == "CR2" and weights == "sampling_weights", "which say nothing of the variances"),
        (name == "CR2" and not closed, "least squares in closed form"),
        (name in ("HC2", "HC3") and kind == "own", "more than one predictor"),
        (name in ("HC2", "HC3") and kind == "opaque", "does not say by which linear predictor"),
        (name in ("nonrobust", "opg") and weights == "sampling_weights", "pseudo-likelihood"),
        (name[:3] in ("HAC", "hac") and weights == "freq_weights", "repeated rows have no place in time"),
    ]
    return next((words for true, words in reasons if true), None)


def same(actual, expected, rtol: float) -> None:
    """Compare in units of the standard errors; what is fixed has zeros on both sides."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    unit = np.sqrt(np.abs(np.diag(expected)))
    unit[unit == 0] = 1.0
    np.testing.assert_allclose((actual - expected) / np.outer(unit, unit), 0.0, rtol=0, atol=rtol)


def in_every_form(kwds: dict) -> list[dict]:
    """Return options with ids as columns, as Series in another order, and as arrays of all rows."""
    mixed = DATA.sample(frac=1, random_state=2)
    by_row = {k: v for k, v in kwds.items() if k in ("groups", "time", "coords")}
    if not by_row:
        return [kwds]
    return [
        kwds,
        *({**kwds, **{k: f[v] for k, v in by_row.items()}} for f in (mixed,)),
        {
            **kwds,
            **{k: DATA[v].to_numpy() for k, v in by_row.items()},
        },
    ]


def check(kind: str, weights: str, name: str, restriction: str = "free") -> None:
    kwds, formula = CASES[name]
    res, cov_type = fitted(kind, weights, restriction), name.split(",")[0]
    why = refused(kind, weights, cov_type, restriction)
    if why is not None:
        with pytest.raises(tm.OptionError, match=why):
            res.with_cov(cov_type, kwds)
        return
    pieces = Pieces(kind, weights, restriction)
    expected = pieces.R @ formula(pieces) @ pieces.R.T
    if kind == "OLS" and len(expected) == 4:  # sigma is reported, and its logarithm is in the formulas
        J = np.diag([1, 1, 1, res.params["sigma"]])
        expected = J @ expected @ J
    for given in in_every_form(kwds):
        actual = res.with_cov(cov_type, given).cov_params().to_numpy()
        if restriction == "bounds":  # what ran to its bound has no error, and the others have those of a fixed value
            assert np.isnan(actual[2]).all()
            assert np.isnan(actual[:, 2]).all()
            actual = np.nan_to_num(actual)
        # The formulas hold at the maximum; estimates are within 1e-8 of it or so in standard errors.
        same(actual, expected, 1e-7)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", MAKERS)
def test_every_covariance_is_its_formula_or_is_refused(kind, weights, name):
    if weights == "var_weights" and kind != "OLS":
        with pytest.raises(tm.OptionError, match="var_weights are defined for normal models only"):
            MAKERS[kind](**WEIGHTS[weights])
        return
    check(kind, weights, name)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("restriction", [r for r in RESTRICTIONS if r != "free"])
@pytest.mark.parametrize("kind", MAKERS)
def test_every_covariance_under_restrictions(kind, restriction, name):
    check(kind, "none", name, restriction)


@pytest.mark.parametrize("name", [n for n in CASES if n != "CR2"])
@pytest.mark.parametrize("weights", ["none", "freq_weights", "sampling_weights"])
def test_score_tests_with_every_covariance(weights, name):
    """One Newton step of the larger model at the restricted point, with the covariance of the larger model there."""
    kwds, formula = CASES[name]
    if refused("Logit", weights, name) is not None:
        return
    small = tm.Logit.from_formula("b ~ x", DATA[DATA["z"].notna()], **WEIGHTS[weights]).fit()
    pieces = Pieces("Logit", weights, params=np.r_[small.params, 0.0])
    step, V = pieces.B @ pieces.u.sum(0), formula(pieces)
    if name == "opg":
        step = V @ pieces.u.sum(0)
    test = small.score_test("z", cov_type=name.split(",")[0], cov_kwds=kwds)
    np.testing.assert_allclose(test.statistic, step[2] ** 2 / V[2, 2], rtol=1e-6)


@pytest.mark.parametrize("weights", ["none", "freq_weights", "sampling_weights"])
def test_the_expected_information_under_weights(weights):
    res = tm.Probit.from_formula("b ~ x + z", DATA, **WEIGHTS[weights]).fit()
    rows = DATA.loc[res.model.data.rows.labels]
    X = np.column_stack([np.ones(len(rows)), rows[["x", "z"]]])
    w = rows[next(iter(WEIGHTS[weights].values()))].to_numpy() if weights != "none" else np.ones(len(rows))
    eta = X @ res.params.to_numpy()
    p, f = stats.norm.cdf(eta), stats.norm.pdf(eta)
    B = np.linalg.inv(X.T @ (X * (w * f**2 / (p * (1 - p)))[:, None]))
    u = X * (w * (rows["b"].to_numpy() - p) * f / (p * (1 - p)))[:, None]
    sums = pd.DataFrame(u).groupby(rows["firm"].to_numpy()).sum().to_numpy()
    kwds = {"groups": "firm", "use_correction": False, "information": "expected"}
    same(res.with_cov("cluster", kwds).cov_params(), B @ sums.T @ sums @ B, 1e-7)
