"""Hold margins to statsmodels, to R, and to differences of ``predict`` on changed tables."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
import torch

import torchmle as tm
from torchmle.results.predict import target_of

REFERENCE = Path(__file__).parent / "reference"


def make_data(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """Return a table with every kind of column; the numbers are not so even that an error could cancel."""
    rng = np.random.default_rng(seed)
    d = pd.DataFrame({"x": rng.gamma(4.0, 0.5, n), "z": rng.normal(1.0, 1.5, n), "k": rng.poisson(2.0, n)})
    d["flag"] = rng.random(n) < 0.4
    d["kind"] = rng.choice(["a", "b", "c"], n)
    d["size"] = pd.Categorical(rng.choice(["low", "mid", "high"], n), categories=["low", "mid", "high"])
    d["code"] = rng.choice([3, 5, 8], n)
    d["time"] = rng.uniform(0.5, 2.0, n)
    d["copies"] = rng.integers(1, 4, n)
    d["firm"] = rng.integers(0, 30, n)
    index = 0.4 * d.x - 0.3 * d.z + 0.5 * d.flag + 0.3 * (d.kind == "b") - 0.2
    d["won"] = (rng.random(n) < 1 / (1 + np.exp(-index))).astype(float)
    d["count"] = rng.poisson(d.time * np.exp(0.5 * index) * rng.gamma(2.0, 0.5, n)).astype(float)
    d["wage"] = index + rng.normal(size=n) * np.exp(0.2 * d.x - 0.5)
    d["cut"] = np.maximum(d.wage, 0.0)
    return d


DATA = make_data()


class Tobit(tm.LinearPredictorModel):
    predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}

    def logdensity(self, y, mu, log_sigma):
        z = (y - mu) * torch.exp(-log_sigma)
        return torch.where(y > 0, tm.normal_logpdf(z) - log_sigma, tm.log_ndtr(-mu * torch.exp(-log_sigma)))

    def mean(self, mu, log_sigma):
        z = mu * torch.exp(-log_sigma)
        return mu * torch.special.ndtr(z) + torch.exp(log_sigma + tm.normal_logpdf(z))


class Opaque(tm.GenericLikelihoodModel):
    """A Poisson regression with a gamma-like factor that has a transform."""

    extra_params = ("level",)

    def loglikeobs(self, params):
        return tm.poisson_logpmf_log(self.endog, self.exog @ params[:-1]) - (params[-1] - 1.0) ** 2 / 800

    def predict_mean(self, params):
        return params[-1] * torch.exp(self.exog @ params[:-1])


@dataclass(frozen=True)
class Fitted:
    """A model of a formula, and the variables to look at."""

    model: Any
    formula: str
    numbers: tuple[str, ...] = ()
    levels: tuple[tuple[str, Any, Any], ...] = ()
    build: dict = field(default_factory=dict)
    fit: dict = field(default_factory=dict)
    which: str = "mean"
    rtol: float = 1e-7  # that of the differences in the test: of fourth order, steps of 1e-3

    def results(self, data: pd.DataFrame = DATA) -> Any:
        return self.model.from_formula(self.formula, data, **self.build).fit(**self.fit)


FITS = {
    "plain": Fitted(tm.Logit, "won ~ x + z", ("x", "z")),
    "square": Fitted(tm.Logit, "won ~ x + I(x**2) + z", ("x", "z")),
    "only a square": Fitted(tm.Probit, "won ~ I(x**2) + z", ("x",)),
    "log": Fitted(tm.Logit, "won ~ np.log(x) + z", ("x",)),
    "sqrt and exp": Fitted(tm.Logit, "won ~ np.sqrt(x) + np.exp(z / 4)", ("x", "z")),
    "interaction": Fitted(tm.Logit, "won ~ x * z", ("x", "z")),
    "interaction with levels": Fitted(tm.Logit, "won ~ x * kind", ("x",), (("kind", "a", "b"), ("kind", "a", "c"))),
    "interaction of levels": Fitted(tm.OLS, "wage ~ size * kind", (), (("kind", "a", "c"), ("size", "low", "high"))),
    "function of two": Fitted(tm.Logit, "won ~ I(x * z)", ("x", "z")),
    "ratio": Fitted(tm.Probit, "won ~ I(z / x) + x", ("x", "z")),
    "reference": Fitted(
        tm.Logit, "won ~ C(code, contr.treatment(base=5)) + x", ("x",), (("code", 5, 3), ("code", 5, 8))
    ),
    "integers as levels": Fitted(tm.Poisson, "count ~ C(code) + x", ("x",), (("code", 3, 5),)),
    "integers": Fitted(tm.Poisson, "count ~ k + I(k**2)", ("k",)),
    "categorical dtype": Fitted(tm.Logit, "won ~ size + x", ("x",), (("size", "low", "mid"),)),
    "bool": Fitted(tm.Logit, "won ~ flag + x", ("x",), (("flag", False, True),)),
    "bool in arithmetic": Fitted(tm.Logit, "won ~ I(flag * x) + x", ("x",), (("flag", False, True),)),
    "no intercept": Fitted(tm.Logit, "won ~ 0 + kind + x", ("x",), (("kind", "a", "b"),)),
    "bs": Fitted(tm.Logit, "won ~ bs(x, df=5) + z", ("x", "z"), rtol=1e-5),
    "cr": Fitted(tm.Logit, "won ~ cr(x, df=4, constraints='center') + z", ("x",), rtol=1e-5),
    "poly": Fitted(tm.Logit, "won ~ poly(x, 3) + z", ("x",)),
    "center and scale": Fitted(tm.Logit, "won ~ center(x) * scale(z)", ("x", "z")),
    "own function": Fitted(tm.Logit, "won ~ own(x, z)", ("x", "z")),
    "exposure": Fitted(tm.Poisson, "count ~ x + kind", ("x",), (("kind", "a", "b"),), {"exposure": "time"}),
    "offset": Fitted(tm.Logit, "won ~ x", ("x",), (), {"offset": "time"}),
    "nb2": Fitted(tm.NegativeBinomial, "count ~ x + I(x**2)", ("x",)),
    "nb2, dispersion too": Fitted(tm.NegativeBinomial, "count ~ x", ("x",), (), {"log_alpha": "1 + z"}),
    "ols": Fitted(tm.OLS, "wage ~ x * z + kind", ("x", "z"), (("kind", "a", "b"),)),
    "hetero, mean": Fitted(tm.OLS, "wage ~ x + z", ("x",), (), {"log_sigma": "1 + x"}),
    "hetero, log sigma": Fitted(
        tm.OLS, "wage ~ x + z", ("x", "k"), (), {"log_sigma": "1 + I(x**2) + k"}, which="log_sigma"
    ),
    "linear": Fitted(tm.Logit, "won ~ x * z", ("x", "z"), which="linear"),
    "own declarative": Fitted(Tobit, "cut ~ x + I(x**2) + kind", ("x",), (("kind", "a", "b"),)),
    "in two predictors": Fitted(
        Tobit, "cut ~ x + flag", ("x",), (("flag", False, True),), {"log_sigma": "1 + x + flag"}
    ),
    "own opaque": Fitted(
        Opaque, "count ~ x * z + kind", ("x", "z"), (("kind", "a", "b"),), fit={"start_params": [0.0] * 6 + [1.0]}
    ),
    "HC1": Fitted(tm.Logit, "won ~ x + I(x**2)", ("x",), (), fit={"cov_type": "HC1"}),
    "fixed": Fitted(tm.Logit, "won ~ x + I(x**2) + z", ("x",), (), fit={"fixed": {"z": -0.3}}),
    "constraint": Fitted(tm.Logit, "won ~ x + z + k", ("x", "z"), (), fit={"constraints": "x + z = 0"}),
    "freq_weights": Fitted(tm.Poisson, "count ~ x + kind", ("x",), (("kind", "a", "b"),), {"freq_weights": "copies"}),
    "sampling_weights": Fitted(tm.Logit, "won ~ np.log(x)", ("x",), (), {"sampling_weights": "time"}),
    "var_weights": Fitted(tm.WLS, "wage ~ np.log(x)", ("x",), (), {"weights": "time"}),
}


def own(x: Any, z: Any) -> Any:
    return np.tanh(x - 1.5) * z


def used(results: Any, data: pd.DataFrame = DATA) -> pd.DataFrame:
    return data.loc[results.fittedvalues.index]


def shares(results: Any) -> np.ndarray:
    """Return what each row counts in an average."""
    weights = results.model.data.weights
    n = len(results.fittedvalues)
    w = np.ones(n) if weights is None or weights.kind == "var_weights" else weights.values.numpy()
    return w / w.sum()


def at_link(results: Any, link: np.ndarray, table: pd.DataFrame, which: str) -> np.ndarray:
    """Return predictions for a table at other parameters; offsets are those of the table."""
    target, _ = target_of(results, table, {})
    with torch.no_grad():
        return results.model.predict_at(torch.tensor(link), target, which).numpy()


def difference(predict: Callable, table: pd.DataFrame, name: str, h: float = 1e-3) -> np.ndarray:
    """Return derivatives by row, of fourth order; from within for rows at the ends of the data (splines end there)."""
    x = table[name].astype(float)
    out = np.zeros(len(x))
    low, high = x - 2 * h < x.min(), x + 2 * h > x.max()
    for k, central, forward in zip((-2, -1, 0, 1, 2), (1, -8, 0, 8, -1), (-25, 48, -36, 16, -3), strict=True):
        end = np.where(high, -1.0, 1.0)
        step = np.where(low | high, (k + 2) * end, k)
        weight = np.where(low | high, forward * end, central)
        out += weight / (12 * h) * predict(table.assign(**{name: x + step * h}))
    return out


def change(predict: Callable, table: pd.DataFrame, name: str, low: Any, high: Any) -> np.ndarray:
    def to(level: Any) -> pd.DataFrame:
        return table.assign(**{name: pd.Series([level] * len(table), table.index).astype(table[name].dtype)})

    return predict(to(high)) - predict(to(low))


def pick(found: Any, name: str, contrast: str = "") -> tuple[float, float]:
    """Return estimate and error of one row of a table."""
    rows = found.labels.variable == name
    if contrast:
        rows &= found.labels.contrast == contrast
    (i,) = np.flatnonzero(rows)
    return found.values[i], found.margeff_se[i]


def link_covariance(results: Any) -> np.ndarray:
    """Return the covariance of the link-scale estimates; natural parameters here are exponentials."""
    natural = results.params.index != results.link_params.index
    scale = np.where(natural, 1 / results.params, 1.0)
    return results.cov_params().to_numpy() * np.outer(scale, scale)


def delta_error(results: Any, average: Callable) -> float:
    """Return the error of a function of the link-scale parameters, by its numerical gradient."""
    link, V = results.link_params.to_numpy(), link_covariance(results)
    gradient = np.zeros(len(link))
    for j in range(len(link)):
        h = 1e-4 * max(abs(link[j]), 0.1)
        for k, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            moved = link.copy()
            moved[j] += k * h
            gradient[j] += weight / (12 * h) * average(moved)
    return float(np.sqrt(gradient @ V @ gradient))


@pytest.mark.parametrize("case", FITS.values(), ids=FITS)
def test_effects_are_differences_of_predictions(case):
    results = case.results()
    table, share = used(results), shares(results)
    found = results.margins(which=case.which)
    assert found.notes == ()

    def average(link: np.ndarray, effect: Callable, *what: Any) -> float:
        return float(share @ effect(lambda t: at_link(results, link, t, case.which), table, *what))

    here = results.link_params.to_numpy()
    for what in [(difference, (x,)) for x in case.numbers] + [(change, level) for level in case.levels]:
        effect, (name, *levels) = what
        estimate, error = pick(found, name, f"{levels[1]} - {levels[0]}" if levels else "")
        np.testing.assert_allclose(estimate, average(here, effect, name, *levels), rtol=case.rtol, atol=1e-10)
        expected = delta_error(results, lambda link, e=effect, n=name, ls=levels: average(link, e, n, *ls))
        np.testing.assert_allclose(error, expected, rtol=10 * case.rtol, atol=1e-10)
    assert found.not_smooth == ()


# ---- statsmodels

FORMULA = "inlf ~ nwifeinc + educ + exper + expersq + age + kidslt6 + kidsge6 + city"


# statsmodels gives discrete changes no elasticity with respect to x, and none at the median or at zero
DISCRETE = list(itertools.product(["overall", "mean"], ["dydx", "eydx"], [True, False], [True, False]))
SMOOTH = itertools.product(["overall", "mean", "median", "zero"], ["dydx", "eyex", "dyex", "eydx"], [False], [False])


@pytest.mark.parametrize(("at", "method", "dummy", "count"), dict.fromkeys([*DISCRETE, *SMOOTH]))
@pytest.mark.parametrize("name", ["Logit", "Probit"])
def test_get_margeff_is_that_of_statsmodels(name, at, method, dummy, count):
    mroz = tm.datasets.load("mroz")
    found = getattr(tm, name).from_formula(FORMULA, mroz).fit().get_margeff(at, method, dummy=dummy, count=count)
    theirs = getattr(smf, name.lower())(FORMULA, mroz).fit(disp=0, tol=1e-12)
    expected = theirs.get_margeff(at=at, method=method, dummy=dummy, count=count)
    np.testing.assert_allclose(found.margeff, expected.margeff, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.margeff_se, expected.margeff_se, rtol=1e-8, atol=1e-12)
    assert list(found.labels.variable) == list(theirs.params.index[1:])


@pytest.mark.parametrize("held", [{"educ": 12.0}, {2: 12.0}, {"educ": 12.0, "age": 40.0}])
@pytest.mark.parametrize("at", ["overall", "mean"])
def test_columns_are_held_as_in_statsmodels(at, held):
    mroz = tm.datasets.load("mroz")
    found = tm.Logit.from_formula(FORMULA, mroz).fit().get_margeff(at, atexog=held)
    theirs = smf.logit(FORMULA, mroz).fit(disp=0, tol=1e-12)
    positions = {(theirs.params.index.get_loc(k) if isinstance(k, str) else k): v for k, v in held.items()}
    expected = theirs.get_margeff(at=at, atexog=positions)
    np.testing.assert_allclose(found.margeff, expected.margeff, rtol=1e-9)
    np.testing.assert_allclose(found.margeff_se, expected.margeff_se, rtol=1e-8)


@pytest.mark.parametrize("at", ["overall", "mean", "median", "zero"])
def test_arrays_have_their_columns_for_variables(at):
    X = sm.add_constant(DATA[["x", "z"]])
    found = tm.Poisson(DATA["count"], X).fit().margins(at=at)
    theirs = sm.Poisson(DATA["count"], X).fit(disp=0, tol=1e-12).get_margeff(at=at)
    np.testing.assert_allclose(found.margeff, theirs.margeff, rtol=1e-9)
    np.testing.assert_allclose(found.margeff_se, theirs.margeff_se, rtol=1e-8)
    assert list(found.labels.variable) == ["x", "z"]


def test_robust_errors_reach_margins():
    found = tm.Logit.from_formula("won ~ x + z", DATA).fit(cov_type="cluster", cov_kwds={"groups": "firm"})
    theirs = smf.logit("won ~ x + z", DATA).fit(disp=0, tol=1e-12, cov_type="cluster", cov_kwds={"groups": DATA.firm})
    np.testing.assert_allclose(found.margins().margeff_se, theirs.get_margeff().margeff_se, rtol=1e-8)


# ---- R

MODELS = {"logit": "Logit", "probit": "Probit", "Poisson": "Poisson", "negative binomial NB2": "NegativeBinomial"}
R_CASES = [ref for path in sorted(REFERENCE.glob("*.json")) if "ame" in (ref := json.loads(path.read_text()))]


@pytest.mark.parametrize("ref", R_CASES, ids=lambda ref: ref["id"])
def test_average_effects_are_those_of_r(ref):
    table = pd.read_csv(REFERENCE / "data" / ref["data"])
    offset = {"offset": np.log(table["Holders"])} if ref["extra"].get("offset") else {}
    assert ref["extra"].get("offset") in (None, "log(Holders)")
    results = getattr(tm, MODELS[ref["model"]]).from_formula(ref["formula"], table, **offset).fit()
    found = results.get_margeff()
    for i, name in enumerate(found.labels.variable):
        estimate, error = (ref["ame"][key][name] for key in ("estimate", "bse"))
        np.testing.assert_allclose(found.margeff[i], estimate, rtol=ref["rtol"])
        np.testing.assert_allclose(found.margeff_se[i], error, rtol=ref["rtol"])


# ---- where: typical rows, grids, groups


def test_at_the_mean_numbers_are_held_and_columns_of_categories_averaged():
    results = tm.Logit.from_formula("won ~ x + I(x**2) + x:flag + kind", DATA).fit()
    x, flags, kinds = DATA.x.mean(), DATA.flag.mean(), [(DATA.kind == k).mean() for k in "bc"]
    p = results.params
    names = ["Intercept", "x", "I(x ** 2)", "x:flag", "kind[T.b]", "kind[T.c]"]
    assert set(names) == set(p.index)

    def index(x: float) -> float:
        return float(p[names] @ [1.0, x, x**2, x * flags, *kinds])

    def prob(x: float) -> float:
        return 1 / (1 + np.exp(-index(x)))

    found = results.margins("x", at="mean")
    slope = (p["x"] + 2 * x * p["I(x ** 2)"] + flags * p["x:flag"]) * prob(x) * (1 - prob(x))
    np.testing.assert_allclose(found.values, [slope], rtol=1e-10)
    level = results.margins(kind="mean", at="mean")
    np.testing.assert_allclose(level.values, [prob(x)], rtol=1e-12)
    assert "mean" in found.notes[0]


@pytest.mark.parametrize("at", ["mean", "median", "zero"])
def test_a_typical_row_of_a_group_is_that_of_its_own_rows(at):
    """A group's typical row is that of a fit's rows alone: predictions by the same parameters."""
    results = tm.Poisson.from_formula("count ~ x * flag + z", DATA, exposure="time").fit()
    found = results.margins("x", at=at, over="kind")
    for (level, rows), value in zip(DATA.groupby("kind"), found.values, strict=True):
        held = {v: {"mean": rows[v].mean(), "median": rows[v].median(), "zero": 0.0}[at] for v in ("x", "z")}
        p, flag = results.params, rows.flag.mean()
        eta = p["Intercept"] + held["x"] * p["x"] + flag * p["flag"] + held["z"] * p["z"]
        eta += held["x"] * flag * p["x:flag"] + np.log(rows.time).mean()
        slope = (p["x"] + flag * p["x:flag"]) * np.exp(eta)
        np.testing.assert_allclose(value, slope, rtol=1e-10)
        assert level in list(found.labels["kind"])


def test_chunks_change_nothing(monkeypatch):
    results = tm.Logit.from_formula("won ~ x * kind + np.log(x) + bs(z, df=5)", DATA).fit(cov_type="HC1")
    asked = [{}, {"at": "mean"}, {"over": "flag"}, {"at": {"x": [1.0, 2.0]}}, {"vce": "unconditional"}]
    asked += [{"kind": "mean", "at": "median"}]
    before = [results.margins(**a) for a in asked]
    monkeypatch.setattr("torchmle.results.sheet.CHUNK", 37)
    monkeypatch.setattr("torchmle.results.margins.CHUNK", 2)
    for options, one in zip(asked, before, strict=True):
        other = results.margins(**options)
        np.testing.assert_allclose(other.values, one.values, rtol=1e-7)  # steps at the knots differ, all else is 1e-12
        np.testing.assert_allclose(other.margeff_se, one.margeff_se, rtol=1e-7)


def test_a_grid_is_a_row_for_each_combination():
    results = tm.Logit.from_formula("won ~ x * z + kind", DATA).fit()
    found = results.margins("x", at={"z": [0.0, 1.5], "kind": ["a", "c"]})
    assert found.labels[["at z", "at kind"]].values.tolist() == [[0.0, "a"], [0.0, "c"], [1.5, "a"], [1.5, "c"]]
    for i, (z, kind) in enumerate(found.labels[["at z", "at kind"]].values):
        table = DATA.assign(z=z, kind=kind)
        np.testing.assert_allclose(found.values[i], difference(results.predict, table, "x").mean(), rtol=1e-8)


def test_predictive_margins_are_means_of_predictions():
    results = tm.NegativeBinomial.from_formula("count ~ x + kind", DATA, freq_weights="copies").fit()
    found = results.margins(kind="mean", at={"kind": ["a", "b"]}, over="flag")
    for i, (kind, flag) in enumerate(found.labels[["at kind", "flag"]].values):
        rows = DATA[DATA.flag == flag].assign(kind=kind)
        np.testing.assert_allclose(found.values[i], np.average(results.predict(rows), weights=rows.copies), rtol=1e-12)
    assert list(found.labels.variable) == ["prediction"] * 4


@pytest.mark.parametrize("against", ["first", "previous"])
def test_contrasts_have_the_errors_of_differences(against):
    results = tm.Logit.from_formula("won ~ x * z", DATA).fit()
    found = results.margins("x", at={"z": [0.0, 1.0, 2.0]})
    contrast = found.contrast(against)
    R = np.array([[-1, 1, 0], [-1, 0, 1]] if against == "first" else [[-1, 1, 0], [0, -1, 1]])
    np.testing.assert_allclose(contrast.values, R @ found.values)
    np.testing.assert_allclose(contrast.covariance, R @ found.covariance @ R.T)
    assert list(contrast.labels["at z"]) == ["1.0 - 0.0", "2.0 - 0.0" if against == "first" else "2.0 - 1.0"]
    share = shares(results)

    def average(link: np.ndarray) -> float:
        def at(z: float) -> float:
            return share @ difference(lambda t: at_link(results, link, t, "mean"), DATA.assign(z=z), "x")

        return at(1.0) - at(0.0)

    np.testing.assert_allclose(contrast.margeff_se[0], delta_error(results, average), rtol=1e-6)


def test_one_row_has_no_contrast():
    found = tm.Logit.from_formula("won ~ x", DATA).fit().margins()
    with pytest.raises(tm.OptionError, match="nothing to contrast"):
        found.contrast()
    with pytest.raises(tm.OptionError, match="against"):
        found.contrast("last")


@pytest.mark.parametrize("kind", ["eyex", "dyex", "eydx"])
def test_elasticities_through_formulas(kind):
    results = tm.Poisson.from_formula("count ~ np.log(x) + z + kind", DATA).fit()
    slope, level = difference(results.predict, DATA, "x"), results.predict(DATA)
    by_row = {"eyex": slope * DATA.x / level, "dyex": slope * DATA.x, "eydx": slope / level}[kind]
    found = results.margins("x", kind=kind)
    np.testing.assert_allclose(found.values, [by_row.mean()], rtol=1e-8)
    if kind == "eyex":  # the coefficient of a log in an exponential mean is the elasticity, error and all
        np.testing.assert_allclose(found.values, results.params["np.log(x)"], rtol=1e-10)
        np.testing.assert_allclose(found.margeff_se, results.bse["np.log(x)"], rtol=1e-9)
    names = list(results.margins(kind=kind).labels.variable)
    assert names == (["x", "z", "kind", "kind"] if kind == "eydx" else ["x", "z"])


def test_the_effect_of_a_linear_model_is_its_coefficient():
    results = tm.OLS.from_formula("wage ~ x + kind", DATA).fit(cov_type="HC1")
    found = results.margins()
    np.testing.assert_allclose(found.values, results.params[["x", "kind[T.b]", "kind[T.c]"]], rtol=1e-10)
    table = found.table.set_index(["variable", "contrast"])
    np.testing.assert_allclose(table.loc[("x", ""), "std err"], results.bse["x"], rtol=1e-10)
    np.testing.assert_allclose(table.loc[("kind", "c - a"), "std err"], results.bse["kind[T.c]"], rtol=1e-10)
    interval = results.conf_int().loc["x"]
    np.testing.assert_allclose(table.loc[("x", ""), ["[lower", "upper]"]].astype(float), interval, rtol=1e-9)


def test_t_intervals_where_the_fit_has_them():
    results = tm.OLS.from_formula("wage ~ x", DATA).fit()
    table = results.margins(alpha=0.1).table
    np.testing.assert_allclose(table["P>|t|"], results.pvalues["x"], rtol=1e-8)
    np.testing.assert_allclose(table[["[lower", "upper]"]], results.conf_int(0.1).loc[["x"]], rtol=1e-10)


# ---- rows and weights


@pytest.mark.parametrize("at", ["overall", "mean", "median"])
def test_counts_are_repeated_rows(at):
    once = tm.Logit.from_formula("won ~ x * flag", DATA, freq_weights="copies").fit(cov_type="HC1")
    rows = DATA.loc[DATA.index.repeat(DATA.copies)].reset_index(drop=True)
    again = tm.Logit.from_formula("won ~ x * flag", rows).fit(cov_type="HC1")
    asked = [{"at": at}, {"at": at, "over": "kind"}, {"vce": "unconditional"}]
    for options in asked:
        one, other = once.margins(**options), again.margins(**options)
        np.testing.assert_allclose(one.values, other.values, rtol=1e-9)
        np.testing.assert_allclose(one.margeff_se, other.margeff_se, rtol=1e-8)


def test_rows_with_missing_values_are_no_part():
    holes = DATA.copy()
    holes.loc[::7, "x"] = np.nan
    holes.loc[::11, "kind"] = None
    with_holes = tm.Logit.from_formula("won ~ np.log(x) + kind", holes).fit(cov_type="HC1")
    without = tm.Logit.from_formula("won ~ np.log(x) + kind", holes.dropna()).fit(cov_type="HC1")
    for options in ({}, {"at": "mean"}, {"over": "flag"}, {"vce": "unconditional"}):
        one, other = with_holes.margins(**options), without.margins(**options)
        np.testing.assert_allclose(one.values, other.values, rtol=1e-10)
        np.testing.assert_allclose(one.margeff_se, other.margeff_se, rtol=1e-9)
    with pytest.raises(tm.OptionError, match="missing in"):
        tm.Logit.from_formula("won ~ z", holes).fit().margins(over="x")


def test_float32_is_right_to_its_digits():
    formula = "won ~ x + I(x**2) + kind"
    single = tm.Logit.from_formula(formula, DATA, dtype=torch.float32).fit().margins()
    double = tm.Logit.from_formula(formula, DATA).fit().margins()
    np.testing.assert_allclose(single.values, double.values, rtol=2e-3)  # the estimates differ by this much
    np.testing.assert_allclose(single.margeff_se, double.margeff_se, rtol=2e-3)


def test_the_table_of_the_user_is_not_touched():
    before = DATA.copy()
    tm.Logit.from_formula("won ~ x * kind + flag", DATA).fit().margins(at={"kind": ["a", "b"]})
    pd.testing.assert_frame_equal(DATA, before)


def test_objects_that_hold_numbers_are_warned_of_once():
    odd = DATA.assign(x=DATA.x.astype(object))
    with pytest.warns(tm.DataWarning, match="object dtype"):
        results = tm.Logit.from_formula("won ~ x", odd).fit()
    plain = tm.Logit.from_formula("won ~ x", DATA).fit()
    np.testing.assert_allclose(results.margins().values, plain.margins().values, rtol=1e-12)


# ---- rows that are a sample themselves


def stacked(results: Any, f: Callable, scores: np.ndarray, weights: np.ndarray, mask: np.ndarray) -> tuple:
    """Return the influence (n, 1) of an average by the stacked moments of estimates and average (GMM sandwich)."""
    link = results.link_params.to_numpy()
    K = len(link)
    H = results.hessian.to_numpy()
    gradient = np.zeros(K)
    total = (weights * mask).sum()
    for j in range(K):
        h = 1e-5
        up, down = link.copy(), link.copy()
        up[j] += h
        down[j] -= h
        gradient[j] = (weights * mask * (f(up) - f(down))).sum() / (2 * h)
    m = (weights * mask * f(link)).sum() / total
    A = np.block([[H, np.zeros((K, 1))], [gradient[None], np.array([[-total]])]])
    moments = np.column_stack([scores, mask * (f(link) - m)])
    return -np.linalg.solve(A, moments.T).T, m


@pytest.mark.parametrize("cov", ["HC0", "HC1", "cluster"])
@pytest.mark.parametrize("weights", [None, "copies", "time"])
@pytest.mark.parametrize("over", [None, "flag"])
def test_unconditional_errors_are_those_of_stacked_moments(cov, weights, over):
    given = {"copies": {"freq_weights": "copies"}, "time": {"sampling_weights": "time"}}.get(weights, {})
    kwds = {"groups": "firm"} if cov == "cluster" else None
    results = tm.Poisson.from_formula("count ~ np.log(x) + z", DATA, **given).fit(cov_type=cov, cov_kwds=kwds)
    found = results.margins("x", vce="unconditional", over=over)
    w = np.ones(len(DATA)) if weights is None else DATA[weights].to_numpy().astype(float)
    scores = results.model.score_obs(results.params)
    n, K = results.nobs, len(results.params)
    for i, level in enumerate([True] if over is None else [False, True]):
        mask = np.ones(len(DATA)) if over is None else (DATA[over] == level).to_numpy().astype(float)

        def f(link: np.ndarray) -> np.ndarray:
            return difference(lambda t: at_link(results, link, t, "mean"), DATA, "x")

        influence, m = stacked(results, f, scores, w, mask)
        np.testing.assert_allclose(found.values[i], m, rtol=1e-8)
        if cov == "cluster":
            sums = pd.DataFrame(influence * w[:, None]).groupby(DATA.firm.to_numpy()).sum().to_numpy()
            G = len(sums)
            V = sums.T @ sums * G / (G - 1) * (n - 1) / (n - K)
        else:
            power = np.sqrt(w) if weights == "copies" else w
            V = (influence * power[:, None]).T @ (influence * power[:, None]) * (n / (n - K) if cov == "HC1" else 1)
        np.testing.assert_allclose(found.margeff_se[i], np.sqrt(V[-1, -1]), rtol=1e-6)


def test_the_unconditional_error_of_a_mean_of_least_squares_is_that_of_the_sample_mean():
    """The average prediction of OLS with a constant is the mean of y, whose HC0 error needs no model."""
    results = tm.OLS.from_formula("wage ~ x + kind", DATA).fit(cov_type="HC0")
    found = results.margins(kind="mean", vce="unconditional")
    n = len(DATA)
    np.testing.assert_allclose(found.values, [DATA.wage.mean()], rtol=1e-12)
    np.testing.assert_allclose(found.margeff_se, [DATA.wage.std(ddof=0) / np.sqrt(n)], rtol=1e-9)
    plain = results.margins(kind="mean")
    assert plain.margeff_se[0] < found.margeff_se[0]


# ---- jumps, kinks, ends


def test_a_jump_is_said_and_has_the_change_over_one_unit():
    results = tm.Logit.from_formula("won ~ I(k > 2) + x", DATA).fit()
    found = results.margins()
    assert found.not_smooth == ("k",)
    assert "Not differentiable in k" in str(found)
    jump = (DATA.k + 0.5 > 2).astype(float) - (np.maximum(DATA.k - 0.5, 0) > 2)
    p = results.fittedvalues
    slope = results.params.filter(like="k > 2").iloc[0] * p * (1 - p) * jump / 1.0
    np.testing.assert_allclose(pick(found, "k")[0], slope.mean(), rtol=1e-9)


def test_a_jump_between_the_values_of_the_data_is_not_passed_over():
    """No small change of a whole number crosses 2.5: the derivative is 0 in every row, and yet there is an effect."""
    found = tm.Logit.from_formula("won ~ I(k > 2.5)", DATA).fit().margins()
    assert found.not_smooth == ("k",)
    assert found.values[0] != 0


def jumping(x: Any) -> Any:
    return (x > 2.0) * 1.0


def test_a_jump_hidden_in_a_function_is_found():
    table = DATA.assign(x=np.round(DATA.x, 1))
    found = tm.Logit.from_formula("won ~ jumping(x) + z", table).fit().margins()
    assert found.not_smooth == ("x",)
    assert abs(found.values[0]) < 1


def test_at_a_kink_the_slope_is_that_of_its_sides():
    table = DATA.assign(x=np.round(DATA.x, 1))
    results = tm.Logit.from_formula("won ~ np.maximum(x - 2, 0)", table).fit()
    found = results.margins()
    side = np.where(table.x > 2, 1.0, np.where(table.x == 2, 0.5, 0.0))
    p = results.fittedvalues
    np.testing.assert_allclose(found.values[0], (results.params.iloc[1] * p * (1 - p) * side).mean(), rtol=1e-8)


def test_values_where_a_term_is_no_number_are_refused():
    results = tm.Logit.from_formula("won ~ np.log(x)", DATA).fit()
    for at in ("zero", {"x": 0.0}, {"x": -1.0}):
        with pytest.raises(tm.OptionError, match=r"np\.log\(x\)"):
            results.margins(at=at)
    steep = DATA.assign(x=np.where(DATA.x < 1, 0.0, DATA.x))
    with pytest.raises(tm.OptionError, match="slope"):
        tm.Logit.from_formula("won ~ np.sqrt(x)", steep).fit().margins()


def test_values_beyond_a_spline_are_refused():
    results = tm.Logit.from_formula("won ~ bs(x, df=5)", DATA).fit()
    assert np.isfinite(results.margins().values).all()
    with pytest.raises(tm.DataError):
        results.margins(at={"x": 99.0})


# ---- parameters that are held, dropped, or not there


def test_errors_take_a_parameter_at_its_bound_as_fixed():
    results = tm.Logit.from_formula("won ~ x + z", DATA).fit(bounds={"z": (0.0, None)})
    held = tm.Logit.from_formula("won ~ x + z", DATA).fit(fixed={"z": 0.0})
    assert np.isnan(results.bse["z"])
    one, other = results.margins(), held.margins()
    np.testing.assert_allclose(one.values, other.values, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(one.margeff_se[0], other.margeff_se[0], rtol=1e-7)
    assert "z, at a bound" in one.notes[-1]
    assert "at a bound" in str(one)
    linear = results.margins(which="linear")
    assert np.isnan(linear.margeff_se[1])  # depends on the held parameter alone
    assert np.isfinite(linear.margeff_se[0])


def test_dropped_columns_have_no_effect_to_report():
    table = DATA.assign(twice=2 * DATA.x)
    with pytest.warns(tm.CollinearityWarning):
        results = tm.Logit.from_formula("won ~ x + twice + z", table).fit()
    found = results.margins()
    assert list(found.labels.variable) == ["x", "z"]
    assert "twice" in found.notes[0]
    with pytest.raises(tm.OptionError, match="collinear"):
        results.margins("twice")


def test_a_fit_without_a_maximum_has_no_margins():
    with pytest.warns(tm.ConvergenceWarning):
        results = tm.Logit.from_formula("won ~ x + z", DATA).fit(maxiter=1)
    with pytest.raises(tm.UndefinedStatisticError, match="maximum"):
        results.margins()
    with pytest.raises(tm.UndefinedStatisticError, match="maximum"):
        results.get_margeff()


def test_a_fit_without_residual_degrees_of_freedom_has_no_errors():
    with pytest.warns(tm.DataWarning):
        results = tm.OLS.from_formula("wage ~ x + z", DATA.head(3)).fit()
    assert np.isnan(results.margins().margeff_se).all()
    assert results.get_prediction().se.isna().all()


def test_an_own_model_must_say_what_it_predicts():
    class Silent(tm.LinearPredictorModel):
        predictors = {"mu": "1"}

        def logdensity(self, y, mu):
            return tm.normal_logpdf(y - mu)

    results = Silent.from_formula("wage ~ x", DATA).fit()
    with pytest.raises(tm.UndefinedStatisticError, match="mean"):
        results.margins()
    np.testing.assert_allclose(results.margins(which="linear").values, results.params["x"], rtol=1e-12)


class Scaled(tm.LinearPredictorModel):
    """A Poisson regression with its exposure as row data."""

    predictors = {"eta": "1"}

    def logdensity(self, y, eta):
        return tm.poisson_logpmf_log(y, eta + torch.log(self.time))

    def mean(self, eta):
        return self.time * torch.exp(eta)


def test_row_data_go_with_their_rows():
    results = Scaled.from_formula("count ~ x + flag", DATA, row_data={"time": DATA.time}).fit()
    plain = tm.Poisson.from_formula("count ~ x + flag", DATA, exposure="time").fit()
    one, other = results.margins(over="kind"), plain.margins(over="kind")
    np.testing.assert_allclose(one.values, other.values, rtol=1e-8)
    np.testing.assert_allclose(one.margeff_se, other.margeff_se, rtol=1e-7)
    with pytest.raises(tm.OptionError, match="row data"):
        results.margins(at="mean")


# ---- what is asked for


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"variables": "kidn"}, "Did you mean 'kind'"),
        ({"variables": ["x", "zz"]}, "variable of margins"),
        ({"variables": 3}, "column name"),
        ({"variables": []}, "no variable"),
        ({"variables": "kind", "kind": "eyex"}, "levels"),
        ({"variables": "x", "kind": "mean"}, "leave it out"),
        ({"variables": "kind", "at": {"kind": "a"}}, "leave one out"),
        ({"at": "means"}, "Did you mean 'mean'"),
        ({"at": 3}, "Unknown at 3"),
        ({"at": {"kid": "a"}}, "Did you mean 'kind'"),
        ({"at": {"kind": "d"}}, "level of 'kind'"),
        ({"at": {"x": []}}, "empty"),
        ({"at": {"x": np.nan}}, "finite"),
        ({"at": {"x": "a"}}, "finite"),
        ({"over": "knd"}, "Did you mean 'kind'"),
        ({"kind": "dxdy"}, "kind of margins"),
        ({"which": "meen"}, "Did you mean 'mean'"),
        ({"vce": "uncond"}, "vce"),
        ({"vce": "unconditional"}, "robust errors"),
        ({"alpha": 1.5}, "alpha"),
    ],
)
def test_what_is_not_there_is_refused(options, text):
    results = tm.Logit.from_formula("won ~ x + kind", DATA).fit()
    with pytest.raises(tm.TorchmleError, match=text):
        results.margins(**options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"at": "all"}, "Unknown at"),
        ({"at": {"x": 1}}, "atexog"),
        ({"method": "dxdy"}, "Unknown method"),
        ({"method": "eyex", "dummy": True}, "discrete"),
        ({"atexog": {"y": 1.0}}, "atexog"),
        ({"atexog": {7: 1.0}}, "column 7"),
    ],
)
def test_get_margeff_refuses_what_it_has_not(options, text):
    results = tm.Logit.from_formula("won ~ x + z", DATA).fit()
    with pytest.raises(tm.TorchmleError, match=text):
        results.get_margeff(**options)


def test_unconditional_errors_need_rows():
    results = tm.Logit.from_formula("won ~ x", DATA).fit(cov_type="HC1")
    with pytest.raises(tm.OptionError, match="averages over the rows"):
        results.margins(at="mean", vce="unconditional")


def test_terms_that_look_at_other_rows_have_no_margins():
    results = tm.OLS.from_formula("wage ~ z.cumsum()", DATA).fit()
    with pytest.raises(tm.OptionError, match="other rows"):
        results.margins()


def test_an_elasticity_of_what_is_not_positive_is_refused():
    results = tm.OLS.from_formula("wage ~ flag", DATA.assign(wage=DATA.wage - 9)).fit()
    with pytest.raises(tm.OptionError, match="positive"):
        results.margins(kind="eydx")


def test_a_model_without_regressors_predicts_its_mean():
    results = tm.Poisson.from_formula("count ~ 1", DATA).fit()
    with pytest.raises(tm.OptionError, match="no variable"):
        results.margins()
    found = results.margins(kind="mean")
    np.testing.assert_allclose(found.values, [DATA["count"].mean()], rtol=1e-10)


def test_lean_results_say_that_the_rows_are_gone():
    results = tm.Logit.from_formula("won ~ x", DATA).fit().lean()
    with pytest.raises(tm.DataError, match="rows of the fit"):
        results.margins()


def test_it_prints_as_a_table_with_what_it_is():
    results = tm.Logit.from_formula("won ~ x + kind", DATA).fit(cov_type="HC1")
    found = results.margins(over="flag")
    text = str(found)
    assert text.splitlines()[0].split()[:3] == ["variable", "contrast", "flag"]
    assert "HC1" in text
    assert "dy/dx" in text
    assert "<table" in found._repr_html_()
    assert "HC1" in found._repr_html_()
    assert list(found.table.columns)[3:] == ["estimate", "std err", "z", "P>|z|", "[lower", "upper]"]
    narrow, wide = found.conf_int(0.5), found.conf_int(0.01)
    assert (narrow[:, 0] > wide[:, 0]).all()


@pytest.mark.parametrize("method", [None, "newton"])
def test_unconditional_errors_under_precision_weights(method):
    """The influence of a row on weighted least squares is ``(X'WX)^-1 w x e``; the average itself has no weights."""
    results = tm.WLS.from_formula("wage ~ np.log(x) + z", DATA, weights="time").fit(method=method, cov_type="HC0")
    found = results.margins("x", vce="unconditional")
    X = np.column_stack([np.ones(len(DATA)), np.log(DATA.x), DATA.z])
    w, slope = DATA.time.to_numpy(), 1 / DATA.x.to_numpy()
    b = np.linalg.solve((X.T * w) @ X, (X.T * w) @ DATA.wage)
    bread = np.linalg.inv((X.T * w) @ X)
    influence = (w * (DATA.wage.to_numpy() - X @ b)) * (X @ bread[:, 1]) * slope.mean()
    influence += b[1] * (slope - slope.mean()) / len(DATA)
    np.testing.assert_allclose(found.values, [b[1] * slope.mean()], rtol=1e-8)
    np.testing.assert_allclose(found.margeff_se, [np.sqrt((influence**2).sum())], rtol=1e-6)


@pytest.mark.parametrize("fit", [{"fixed": {"z": -0.3}}, {"bounds": {"z": (0.0, None)}}])
def test_unconditional_errors_where_a_parameter_is_held(fit):
    held = tm.Logit.from_formula("won ~ x + z", DATA).fit(cov_type="HC0", **fit)
    offset = held.params["z"] * DATA.z
    plain = tm.Logit.from_formula("won ~ x", DATA, offset=offset).fit(cov_type="HC0")
    one, other = (r.margins("x", vce="unconditional") for r in (held, plain))
    np.testing.assert_allclose(one.values, other.values, rtol=1e-8)
    np.testing.assert_allclose(one.margeff_se, other.margeff_se, rtol=1e-7)
