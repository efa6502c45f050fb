"""What follows a fit of choices: against R, formulas by numpy, finite differences, integration and simulation."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import torchmle as tm

ROOT = Path(__file__).parent / "reference"
KEYS = {"alternatives": "mode", "situations": "trip", "base": "bus"}
DRAWS = tm.Draws("halton", 50, seed=2)


@functools.cache
def trips() -> pd.DataFrame:
    return tm.datasets.load("trips")


@functools.cache
def fitted(kind: str) -> tm.ChoiceResults:
    table, panel = trips(), {**KEYS, "persons": "person", "draws": DRAWS}
    formula = "chosen ~ time + cost | income"
    if kind == "conditional":
        return tm.ConditionalLogit.from_formula(formula, table, **KEYS).fit()
    if kind == "weighted":
        heavy = table.assign(w=1.0 + table.trip % 3)
        return tm.ConditionalLogit.from_formula(formula, heavy, sampling_weights="w", **KEYS).fit()
    if kind == "nested":
        return tm.NestedLogit.from_formula(formula, table, nests={"public": ["bus", "train"]}, **KEYS).fit()
    if kind == "scaled":
        return tm.HeteroskedasticLogit.from_formula(formula, table, scale="distance", **KEYS).fit()
    if kind == "normal":
        return tm.MixedLogit.from_formula(formula, table, random={"time": "normal"}, **panel).fit()
    if kind == "lognormal":
        laws = {"time": "-lognormal", "cost": "-lognormal"}
        return tm.MixedLogit.from_formula("chosen ~ time + cost", table, random=laws, correlated=True, **panel).fit()
    if kind == "means":
        own = {"random": {"time": "normal"}, "means": {"time": "~ income"}}
        return tm.MixedLogit.from_formula("chosen ~ time + cost", table, **own, **panel).fit()
    if kind == "components":
        wheels = table.assign(wheels=table["mode"].isin(["car", "bike"]).astype(float))
        return tm.MixedLogit.from_formula("chosen ~ time + cost", wheels, components="wheels", **panel).fit()
    assert kind == "wtp"
    own = {"random": {"time": "normal", "cost": "lognormal"}, "space": "wtp", "price": "cost"}
    return tm.MixedLogit.from_formula("chosen ~ time + cost", table, **own, **panel).fit()


KINDS = ("conditional", "weighted", "nested", "scaled", "normal", "lognormal", "means", "components", "wtp")


def moved(results: tm.ChoiceResults, values: np.ndarray) -> Any:
    """Return the same results at other estimates: only finite differences use it."""
    import dataclasses

    import torch

    gamma = results.fit.map.gamma(torch.as_tensor(values))
    return dataclasses.replace(results, fit=dataclasses.replace(results.fit, gamma=gamma))


def numerical_se(results: tm.ChoiceResults, function: Any) -> np.ndarray:
    """Return delta-method errors with a Jacobian by central differences, extrapolated once."""
    theta, rows = results.params.to_numpy(), []
    for k, size in enumerate(results.bse.to_numpy()):
        unit = np.eye(len(theta))[k] * size * 1e-2
        wide, narrow = (
            (function(moved(results, theta + s * unit)) - function(moved(results, theta - s * unit))) / s
            for s in (1.0, 0.5)
        )
        rows.append((4 * narrow - wide) / 3 / (2e-2 * size))
    J = np.array(rows).T
    return np.sqrt(np.diag(J @ results.cov_params().to_numpy() @ J.T))


def some(results: tm.ChoiceResults, trips_of: int) -> tm.ChoiceData:
    """Return the first situations of a fit: errors do not need all of them to be checked."""
    data = results.model.design.data
    return data.select(np.asarray(data.labels) < trips_of)


# ---- probabilities and shares


def fishing(formula: str) -> tm.ChoiceResults:
    table = pd.read_csv(ROOT / "data" / "fishing.csv.gz")
    varying = {"price": "price_{alt}", "catch": "catch_{alt}"}
    labels = ["beach", "pier", "boat", "charter"]
    data = tm.ChoiceData.from_wide(table, choice="mode", varying=varying, alternatives=labels)
    return tm.ConditionalLogit.from_formula(formula, data).fit()


@pytest.mark.parametrize(
    ("name", "formula"),
    [("clogit_fishing", "mode ~ price + catch | income"), ("clogit_fishing_generic", "mode ~ price + catch | 0")],
)
def test_probabilities_are_those_of_r(name, formula):
    reference = json.loads((ROOT / "choice" / f"{name}.json").read_text())
    found = fishing(formula).probabilities().iloc[reference["predict"]["rows"]]
    np.testing.assert_allclose(found.to_numpy(), np.array(reference["predict"]["prob"]), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_new_data_like_the_old_give_the_same_probabilities(kind):
    results = fitted(kind)
    own = results.probabilities()
    frame = results.model.design.data.frame.drop(columns="chosen")
    np.testing.assert_allclose(results.probabilities(frame).to_numpy(), own.to_numpy(), atol=1e-14)
    some = frame[frame.person.isin([7, 30, 31])].sample(frac=1.0, random_state=1)
    pd.testing.assert_frame_equal(
        results.probabilities(some).sort_index()[list(own.columns)],
        own.loc[sorted(set(some.trip))],
        atol=1e-14,
        check_names=False,
    )
    np.testing.assert_allclose(own.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_of_shares_are_those_of_a_numerical_jacobian(kind):
    results = fitted(kind)
    np.testing.assert_allclose(
        results.shares().se, numerical_se(results, lambda r: r.shares().values), rtol=2e-6, err_msg=kind
    )


def test_shares_of_a_logit_with_constants_are_the_sample_shares():
    sample = trips().groupby("mode").chosen.sum() / trips().trip.nunique()
    found = fitted("conditional").shares().table.estimate
    np.testing.assert_allclose(found, sample[found.index], rtol=1e-8)


@pytest.mark.parametrize("kind", ["conditional", "nested", "normal", "lognormal"])
def test_changes_have_errors_of_the_difference(kind):
    results = fitted(kind)
    dearer = {"cost": lambda d: d.cost.where(d["mode"] != "car", 1.2 * d.cost)}
    found = results.counterfactual(**dearer)
    data = results.model.design.data
    after = results.probabilities(data.with_columns(**dearer)).mean()
    np.testing.assert_allclose(found.table.after, after, rtol=1e-12)
    np.testing.assert_allclose(found.table.change, after - results.probabilities().mean(), atol=1e-14)
    few = some(results, 60)
    changed = few.with_columns(**dearer)
    numeric = numerical_se(results, lambda r: r.counterfactual(changed, versus=few).change.values)
    np.testing.assert_allclose(results.counterfactual(changed, versus=few).change.se, numeric, rtol=2e-6)


def test_an_alternative_taken_out_goes_to_the_others_in_proportion():
    found = fitted("conditional").probabilities()
    data = fitted("conditional").model.design.data.without("bus")
    left = fitted("conditional").probabilities(data)
    rest = found.drop(columns="bus")
    expected = rest.div(rest.sum(axis=1), axis=0).loc[left.index]
    np.testing.assert_allclose(left[rest.columns].to_numpy(), expected.to_numpy(), rtol=1e-12)
    assert (left.bus == 0).all()
    table = fitted("conditional").counterfactual(without="bus").table
    assert table.loc["bus", "after"] == 0
    np.testing.assert_allclose(table.change.sum(), 0.0, atol=1e-12)


# ---- elasticities

FORMULAS = {
    "plain": "chosen ~ time + cost",
    "by alternative": "chosen ~ cost | income | time",
    "functions": "chosen ~ time + cost + I(cost**2) + np.log(time) + cost:income",
    "ratio": "chosen ~ time + I(cost / np.log(income)) | np.log(income)",
}


@functools.cache
def conditional(formula: str) -> tm.ChoiceResults:
    return tm.ConditionalLogit.from_formula(FORMULAS[formula], trips(), **KEYS).fit()


def by_differences(results: tm.ChoiceResults, variable: str, alternative: Any) -> np.ndarray:
    """Return the elasticities of shares, by central differences of the probabilities of changed tables."""
    data = some(results, 200)
    name = data.roles.alternative

    def at(h: float) -> np.ndarray:
        moves = data.frame[name] == alternative if alternative is not None else True
        column = data.frame[variable] * np.where(moves, np.exp(h), 1.0)
        return results.probabilities(data.with_columns(**{variable: column.to_numpy()})).mean().to_numpy()

    wide, narrow = ((at(h) - at(-h)) / (2 * h) for h in (2e-3, 1e-3))
    return (4 * narrow - wide) / 3 / at(0.0)


@pytest.mark.parametrize(
    ("results", "variable"),
    [
        *[(lambda f=f: conditional(f), v) for f in FORMULAS for v in ("time", "cost")],
        *[(lambda k=k: fitted(k), "cost") for k in KINDS if k != "weighted"],
    ],
)
def test_elasticities_are_differences_of_probabilities(results, variable):
    found = results().elasticities(variable, data=some(results(), 200)).table.estimate.unstack(sort=False)
    for alternative in ("bus", "car"):
        np.testing.assert_allclose(
            found[alternative], by_differences(results(), variable, alternative), rtol=1e-6, atol=1e-10
        )


@pytest.mark.parametrize("formula", ["by alternative", "ratio", "functions"])
def test_elasticities_in_a_variable_of_the_situation(formula):
    results = conditional(formula)
    found = results.elasticities("income", data=some(results, 200)).table.estimate
    np.testing.assert_allclose(found, by_differences(results, "income", None), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("kind", ["conditional", "nested", "scaled", "lognormal", "wtp"])
def test_errors_of_elasticities_are_those_of_a_numerical_jacobian(kind):
    results = fitted(kind)
    few, first = some(results, 60), some(results, 4)
    found = results.elasticities("cost", data=few)
    numeric = numerical_se(results, lambda r: r.elasticities("cost", data=few).values)
    np.testing.assert_allclose(found.se, numeric, rtol=1e-5)
    each = results.elasticities("time", data=first, at="situations")
    function = lambda r: r.elasticities("time", data=first, at="situations").estimate.to_numpy()  # noqa: E731
    np.testing.assert_allclose(each["std err"], numerical_se(results, function), rtol=1e-5)


def test_elasticities_at_situations_are_those_of_the_textbook():
    results = conditional("plain")
    found = results.elasticities("cost", "car", at="situations").estimate
    P, b = results.probabilities(), results.params["cost"]
    cost = trips().pivot(index="trip", columns="mode", values="cost")
    car = cost.car.dropna().index
    np.testing.assert_allclose(
        found.xs("car", level="alternative").to_numpy(), (b * cost.car * (1 - P.car)).loc[car], rtol=1e-12
    )
    np.testing.assert_allclose(
        found.xs("bus", level="alternative").to_numpy(), (-b * cost.car * P.car)[car], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.elasticities("costs"), "Did you mean 'cost'"),
        (lambda r: r.elasticities("distance"), "no coefficient multiplies 'distance'"),
        (lambda r: r.elasticities("cost", "cars"), "Did you mean 'car'"),
        (lambda r: r.elasticities("income", "car"), "variable of the situation"),
        (lambda r: r.elasticities("cost", at="mean"), "aggregate, situations"),
        (lambda r: r.counterfactual(), "what changes"),
        (lambda r: r.counterfactual(trips(), without="bus"), "not both"),
        (lambda r: r.counterfactual(price=2.0), "Unknown column 'price'"),
        (lambda r: r.counterfactual(without="tram"), "Unknown alternative 'tram'"),
        (lambda r: r.shares(alpha=1.5), "alpha=1.5"),
        (lambda r: r.shares(weights=np.ones(3)), "weights has 3 values"),
        (lambda r: r.shares(available=np.ones((2, 2))), "goes with an array"),
        (lambda r: r.probabilities(trips().drop(columns="cost")), "cost"),
        (lambda r: r.probabilities(trips().replace({"mode": {"car": "tram"}})), "did not know: 'tram'"),
    ],
)
def test_what_cannot_be_is_said(call, message):
    with pytest.raises(tm.TorchmleError, match=message):
        call(fitted("conditional"))


def test_levels_and_jumps_have_no_elasticity():
    table = trips().assign(fast=lambda d: d.time < 20)
    results = tm.ConditionalLogit.from_formula("chosen ~ fast + cost + I(time > 30)", table, **KEYS).fit()
    with pytest.raises(tm.OptionError, match="has levels"):
        results.elasticities("fast")
    with pytest.raises(tm.OptionError, match="inside a comparison"):
        results.elasticities("time")
    for kind, variable, where in (("means", "income", "means"), ("scaled", "distance", "scale")):
        with pytest.raises(tm.OptionError, match=where):
            fitted(kind).elasticities(variable)


def test_without_a_maximum_there_are_estimates_and_no_errors():
    model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", trips(), **KEYS)
    with pytest.warns(tm.ConvergenceWarning):
        results = model.fit(maxiter=1)
    for found in (results.shares(), results.elasticities("cost"), results.counterfactual(without="bus").change):
        assert np.isfinite(found.values).all()
        assert np.isnan(found.se).all()
        assert "No errors" in str(found)


# ---- random coefficients and what attributes are worth


@functools.cache
def mixed(kind: str) -> tm.ChoiceResults:
    options: dict[str, Any] = {
        "normal": {"random": {"time": "normal", "cost": "normal"}, "correlated": True},
        "lognormal": {"random": {"time": "normal", "cost": "-lognormal"}, "correlated": True},
        "apart": {"random": {"time": "triangular", "cost": "-lognormal"}},
        "truncated": {"random": {"time": "-truncated_normal"}},
        "uniform": {"random": {"time": "uniform", "cost": "uniform"}},
        "johnson": {"random": {"time": ("johnson_sb", -0.3, 0.0)}},
        "means": {
            "random": {"time": "normal", "cost": "-lognormal"},
            "means": {"time": "~ income", "cost": "~ income"},
        },
        "generalized": {"random": {"time": "normal"}, "generalized": True},
        "wtp": {"random": {"time": "normal", "cost": "lognormal"}, "space": "wtp", "price": "cost"},
    }[kind]
    table = trips()
    m = tm.MixedLogit.from_formula("chosen ~ time + cost", table, persons="person", draws=DRAWS, **KEYS, **options)
    start = {
        "normal": {"time": -0.1, "cost": -0.3, "chol:time:time": 0.04, "chol:cost:time": 0.05, "chol:cost:cost": 0.1},
        "lognormal": {"time": -0.1, "cost": -1.2, "chol:time:time": 0.04, "chol:cost:time": 0.3, "chol:cost:cost": 0.4},
        "apart": {"time": -0.1, "cost": -1.2, "spread:time": 0.13, "sd:cost": 0.4},
        "truncated": {"time": 0.05, "sd:time": 0.06},
        "uniform": {"time": -0.1, "cost": -0.4, "spread:time": 0.15, "spread:cost": 0.2},
        "johnson": {"time": 0.3, "sd:time": 0.8, "cost": -0.3},
        "means": {"time": -0.1, "cost": -1.2, "sd:time": 0.05, "sd:cost": 0.3, "mean:time:income": 1e-3},
        "generalized": {"time": -0.1, "cost": -0.3, "sd:time": 0.05, "tau": 0.5, "gamma": 0.4},
        "wtp": {"time": -0.3, "cost": -1.2, "sd:time": 0.2, "sd:cost": 0.4},
    }[kind]
    start |= {"mean:cost:income": -5e-3} if kind == "means" else {}
    free = {**dict.fromkeys(m.param_names, 0.0), **start}
    return m.fit(free, maxiter=200) if kind in ("normal", "lognormal", "truncated") else _pinned(m, free)


def _pinned(m: tm.MixedLogit, values: dict[str, float]) -> tm.ChoiceResults:
    """Return results at a chosen point with the covariance of a fit nearby, so that every law is well inside."""
    import dataclasses

    import torch

    results = m.fit(fixed={n: v for n, v in values.items() if not n.startswith("asc_")})
    pmap = m.make_map(m.param_names, "raw")
    V = torch.diag(torch.tensor([(0.05 * abs(values[n]) + 1e-4) ** 2 for n in m.param_names]).double())
    theta = torch.tensor([results.params[n] for n in m.param_names])
    covariance = dataclasses.replace(results.inference.covariance, matrix=V)
    return dataclasses.replace(
        results,
        fit=dataclasses.replace(results.fit, map=pmap, gamma=pmap.gamma(theta)),
        inference=dataclasses.replace(results.inference, covariance=covariance),
    )


MIXED = ("normal", "lognormal", "apart", "truncated", "uniform", "johnson", "means", "generalized", "wtp")


def drawn_coefficients(results: tm.ChoiceResults, number: int = 40_000) -> dict[str, np.ndarray]:
    """Return many draws of the coefficients of each person, by numpy and by the definition of the laws."""
    m, p = results.model, results.params
    rng = np.random.default_rng(0)
    persons = m.design.data.frame.groupby("person", sort=False).income.first().to_numpy()
    income = rng.choice(persons, number) if "mean:time:income" in p else 0.0
    z = {"time": rng.normal(size=number), "cost": rng.normal(size=number)}
    u = {"time": rng.random(number), "cost": rng.random(number)}
    out = {}
    for name, law in m.randomness.laws.items():
        mean = p[name] + income * p.get(f"mean:{name}:income", 0.0)
        if f"chol:{name}:time" in p:
            dev = p[f"chol:{name}:time"] * z["time"] + p.get(f"chol:{name}:cost", 0.0) * z["cost"]
        elif f"sd:{name}" in p:
            dev = p[f"sd:{name}"] * z[name]
        elif law.name == "triangular":
            dev = p[f"spread:{name}"] * rng.triangular(-1, 0, 1, number)
        else:
            dev = p[f"spread:{name}"] * (2 * u[name] - 1)
        if law.name == "lognormal":
            out[name] = law.sign * np.exp(mean + dev)
        elif law.name == "johnson_sb":
            out[name] = law.low + (law.high - law.low) / (1 + np.exp(-mean - dev))
        elif law.name == "truncated_normal":
            from scipy import stats

            below = stats.norm.cdf(-mean / p[f"sd:{name}"])
            out[name] = law.sign * (mean + p[f"sd:{name}"] * stats.norm.ppf(below + u[name] * (1 - below)))
        elif "tau" in p:
            s = np.exp(p["tau"] * rng.normal(size=number) - p["tau"] ** 2 / 2)
            out[name] = s * mean + (p["gamma"] + s * (1 - p["gamma"])) * dev
        else:
            out[name] = mean + dev
    return out


@pytest.mark.parametrize("kind", MIXED)
def test_laws_of_coefficients_are_those_of_draws_from_them(kind):
    results = mixed(kind)
    found = results.random_coefficients().table.estimate.unstack(sort=False)
    for name, values in drawn_coefficients(results).items():
        size, sd = len(values), values.std()
        # five standard errors of the simulated mean, median, standard deviation and share
        assert abs(found.loc[name, "mean"] - values.mean()) < 5 * sd / size**0.5
        near = np.quantile(values, [0.5 - 2.5 / size**0.5, 0.5 + 2.5 / size**0.5])
        assert near[0] <= found.loc[name, "median"] <= near[1]
        fourth = ((values - values.mean()) ** 4).mean() / sd**4
        assert abs(found.loc[name, "sd"] / sd - 1) < 5 * ((fourth - 1) / 4 / size) ** 0.5
        assert abs(found.loc[name, "share positive"] - (values > 0).mean()) < 2.5 / size**0.5


@pytest.mark.parametrize("kind", MIXED)
def test_errors_of_laws_are_those_of_a_numerical_jacobian(kind):
    results = mixed(kind)
    np.testing.assert_allclose(
        results.random_coefficients().se,
        numerical_se(results, lambda r: r.random_coefficients().values),
        rtol=1e-5,
        atol=1e-9,
    )
    if kind != "generalized":
        np.testing.assert_allclose(
            results.spread().se, numerical_se(results, lambda r: r.spread().values), rtol=1e-5, atol=1e-12
        )


def test_spreads_and_correlations_are_those_of_the_cholesky_factor():
    results = mixed("normal")
    p = results.params
    L = np.array([[p["chol:time:time"], 0.0], [p["chol:cost:time"], p["chol:cost:cost"]]])
    V = L @ L.T
    sds = np.sqrt(np.diag(V))
    expected = [*sds, V[0, 1] / sds.prod()]
    np.testing.assert_allclose(results.spread().values, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["lognormal", "apart", "means", "wtp", "truncated", "johnson"])
def test_worth_in_a_mixed_logit_is_the_law_of_the_ratio(kind):
    results = mixed(kind)
    drawn = drawn_coefficients(results)
    price = drawn.get("cost", results.params["cost"])
    ratio = drawn["time"] if kind == "wtp" else -drawn["time"] / price
    found = results.wtp("time", "cost").table.estimate.droplevel(0)
    assert abs(found["mean"] - ratio.mean()) < 5 * ratio.std() / len(ratio) ** 0.5
    fourth = ((ratio - ratio.mean()) ** 4).mean() / ratio.std() ** 4
    assert abs(found["sd"] / ratio.std() - 1) < 5 * ((fourth - 1) / 4 / len(ratio)) ** 0.5
    np.testing.assert_allclose(
        results.wtp("time", "cost").se, numerical_se(results, lambda r: r.wtp("time", "cost").values), rtol=1e-5
    )


def test_worth_by_delta_krinsky_robb_and_fieller():
    results = conditional("plain")
    b = results.params[["time", "cost"]].to_numpy()
    V = results.cov_params().loc[["time", "cost"], ["time", "cost"]].to_numpy()
    found = results.wtp("time", "cost")
    g = np.array([-1 / b[1], b[0] / b[1] ** 2])
    np.testing.assert_allclose(found.values, -b[0] / b[1], rtol=1e-14)
    np.testing.assert_allclose(found.se, np.sqrt(g @ V @ g), rtol=1e-12)
    low, high = results.wtp("time", "cost", method="fieller").conf_int()[0]
    for w in (low, high):  # at the ends the test of b_time + w b_cost = 0 is just at its critical value
        z = (b[0] + w * b[1]) / np.sqrt(V[0, 0] + 2 * w * V[0, 1] + w**2 * V[1, 1])
        np.testing.assert_allclose(abs(z), 1.959963984540054, rtol=1e-9)
    drawn = np.random.default_rng(0).multivariate_normal(b, V, size=200_000)
    exact = np.quantile(-drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    robb = results.wtp("time", "cost", method="krinsky_robb", draws=20_000, seed=3).conf_int()[0]
    np.testing.assert_allclose(robb, exact, atol=0.05 * found.se[0])  # four errors of quantiles of 20,000 draws
    again = results.wtp("time", "cost", method="krinsky_robb", draws=20_000, seed=3).conf_int()[0]
    assert (robb == again).all()


def test_fieller_says_where_the_price_is_not_told_from_zero():
    few = trips()[lambda d: d.trip <= 40]
    results = tm.ConditionalLogit.from_formula("chosen ~ time + cost", few, **KEYS).fit()
    assert abs(results.tvalues["cost"]) < 1.9
    found = results.wtp("time", "cost", method="fieller")
    assert np.isinf(found.conf_int()).all()
    assert "not told from zero" in str(found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mixed("normal").wtp("time", "cost"), "no mean and no variance"),
        (lambda: mixed("generalized").wtp("time", "cost"), "scale of a person"),
        (lambda: mixed("wtp").wtp("cost", "time"), "price='cost'"),
        (lambda: mixed("lognormal").wtp("time", "cost", method="fieller"), "krinsky_robb"),
        (lambda: conditional("functions").wtp("time", "cost"), "also stands in"),
        (lambda: conditional("functions").lean().wtp("time", "cost"), "also stands in"),
        (lambda: conditional("plain").wtp("tme", "cost"), "Did you mean 'time'"),
        (lambda: conditional("plain").wtp("time", "cost", method="fiellers"), "Did you mean 'fieller'"),
        (lambda: conditional("plain").wtp("time", "cost", draws=10), "draws=10"),
        (lambda: conditional("plain").wtp("cost", "cost"), "the price itself"),
        (lambda: conditional("plain").random_coefficients(), "has none"),
        (lambda: conditional("plain").spread(), "has none"),
    ],
)
def test_worth_that_cannot_be_is_refused(call, message):
    with pytest.raises(tm.TorchmleError, match=message):
        call()


@pytest.mark.parametrize("by", ["road", lambda frame: frame["mode"].isin(["car", "bus"])])
def test_shares_of_kinds_are_sums_of_probabilities(by):
    table = tm.datasets.load("trips").assign(road=lambda d: d["mode"].isin(["car", "bus"]))
    layout = {"alternatives": "mode", "situations": "trip", "base": "bus"}
    results = tm.ConditionalLogit.from_formula("chosen ~ time + cost", table, **layout).fit()
    P = results.probabilities()
    found = results.shares(by=by).table
    np.testing.assert_allclose(found.estimate[True], P[["car", "bus"]].sum(axis=1).mean(), rtol=1e-12)
    np.testing.assert_allclose(found["std err"][True], found["std err"][False], rtol=1e-9)  # shares add up to one
    changed = results.counterfactual(cost=lambda d: 1.2 * d.cost, by=by).table
    cheap = results.counterfactual(cost=lambda d: 1.2 * d.cost).table
    np.testing.assert_allclose(changed.change[True], cheap.change[["car", "bus"]].sum(), rtol=1e-10)


def test_kinds_that_are_not_there():
    table = tm.datasets.load("trips")
    results = tm.ConditionalLogit.from_formula(
        "chosen ~ time + cost", table, alternatives="mode", situations="trip", base="bus"
    ).fit()
    with pytest.raises(tm.OptionError, match="distance"):
        results.shares(by="distanc")


# ---- surplus

DEARER = {"cost": lambda d: d.cost.where(d["mode"] != "car", 1.2 * d.cost)}


def test_surplus_of_a_logit_is_the_logsum_over_the_price_coefficient():
    results = conditional("plain")
    data = results.model.design.data

    def logsum(given: tm.ChoiceData) -> np.ndarray:
        V = results.model.design.again(given).X.numpy() @ results.params.to_numpy()
        there = results.model.design.again(given).available.numpy()
        return np.log(np.where(there, np.exp(V), 0.0).sum(1)) / -results.params["cost"]

    for change, after in (({**DEARER}, data.with_columns(**DEARER)), ({"without": "bus"}, data.without("bus"))):
        found = results.surplus("cost", **change).table.estimate
        expected = [logsum(data).mean(), logsum(after).mean()]
        np.testing.assert_allclose(found[["before", "after"]], expected, rtol=1e-12)
        np.testing.assert_allclose(found["change"], expected[1] - expected[0], rtol=1e-10)


@pytest.mark.parametrize("kind", ["conditional", "weighted", "nested", "scaled", "lognormal", "components", "wtp"])
def test_the_change_of_surplus_is_the_area_left_of_demand(kind):
    """The integral of shares along the price: ``dCS = -sum_j P_j dp_j`` (given the draws, in a mixed logit)."""
    results = fitted(kind)
    data = some(results, 60)
    car = (data.frame["mode"] == "car").to_numpy()
    nodes, weights = np.polynomial.legendre.leggauss(8)
    area = 0.0
    w = 1.0 + np.asarray(data.labels) % 3 if kind == "weighted" else np.ones(len(data))
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        cost = data.frame.cost + car * 0.5 * node
        P = results.probabilities(data.with_columns(cost=cost.to_numpy())).car
        area -= 0.5 * weight * np.average(P, weights=w)
    after = data.with_columns(cost=(data.frame.cost + 0.5 * car).to_numpy())
    found = results.surplus("cost", after, versus=data)
    np.testing.assert_allclose(found.table.estimate["change"], area, rtol=1e-9)
    numeric = numerical_se(results, lambda r: r.surplus("cost", after, versus=data).values)
    np.testing.assert_allclose(found.se, numeric, rtol=1e-5)


def test_surplus_takes_the_price_through_interactions():
    results = tm.ConditionalLogit.from_formula("chosen ~ time + cost + cost:income", trips(), **KEYS).fit()
    data, p = results.model.design.data, results.params
    income = trips().groupby("trip").income.first().to_numpy()
    X = results.model.design.X.numpy() @ p.to_numpy()
    logsum = np.log(np.where(results.model.available.numpy(), np.exp(X), 0.0).sum(1))
    expected = (logsum / -(p["cost"] + p["cost:income"] * income)).mean()
    np.testing.assert_allclose(results.surplus("cost").values, expected, rtol=1e-12)
    assert len(data) == len(income)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conditional("functions").surplus("cost"), "does not enter linearly"),
        (lambda: conditional("by alternative").surplus("time"), "coefficients by alternative"),
        (lambda: conditional("by alternative").surplus("income"), "same for all alternatives"),
        (lambda: conditional("plain").surplus("price"), "Unknown column 'price'"),
        (lambda: mixed("normal").surplus("cost"), "no mean and no variance"),
    ],
)
def test_surplus_that_cannot_be_is_refused(call, message):
    with pytest.raises(tm.TorchmleError, match=message):
        call()


# ---- coefficients of single persons


def test_coefficients_of_persons_are_posterior_means_by_integration():
    own = {"random": {"time": "normal"}, "draws": tm.Draws("gauss_hermite", 64), "persons": "person"}
    m = tm.MixedLogit.from_formula("chosen ~ time + cost", trips(), **KEYS, **own)
    results = m.fit()
    found, p = results.individual_coefficients(), results.params
    grid = p["time"] + p["sd:time"] * np.linspace(-9, 9, 721)
    prior = np.exp(-(((grid - p["time"]) / p["sd:time"]) ** 2) / 2)
    names = list(m.design.names)
    for person, (first, last) in enumerate(zip([0, *m.ends[:4].tolist()], m.ends[:5].tolist(), strict=True)):
        like = np.ones(len(grid))
        for s in range(first, last):
            X, there = m.X[s].numpy(), m.available[s].numpy()
            b = np.tile(p[names].to_numpy(), (len(grid), 1))
            b[:, names.index("time")] = grid
            V = np.where(there, np.exp(b @ X.T), 0.0)
            like *= V[:, int(m.chosen[s])] / V.sum(1)
        w = prior * like / (prior * like).sum()
        mean = (w * grid).sum()
        np.testing.assert_allclose(found["time", "mean"].iloc[person], mean, rtol=1e-6)
        np.testing.assert_allclose(found["time", "sd"].iloc[person], ((w * (grid - mean) ** 2).sum()) ** 0.5, rtol=1e-5)
    assert list(found.index) == list(dict.fromkeys(trips().person))


@pytest.mark.parametrize("kind", ["normal", "lognormal", "means", "wtp"])
def test_coefficients_of_persons_average_to_those_of_the_population(kind):
    """``E E(b | choices) = E b`` at the true parameters: choices are drawn from the model at its estimates."""
    results = fitted(kind)
    m = results.model
    names = list(m.randomness.laws)
    found = results.individual_coefficients()
    assert list(found.columns) == [(n, k) for n in names for k in ("mean", "sd")]
    law = results.random_coefficients().table.estimate.unstack(sort=False)
    for name in names:
        mean, sd = law.loc[name, "mean"], law.loc[name, "sd"]
        # the estimates make the average of posterior means close to the mean of the law; 200 persons
        assert abs(found[name, "mean"].mean() - mean) < 5 * sd / len(found) ** 0.5
        assert found[name, "mean"].std() < 1.2 * sd


def test_errors_of_coefficients_of_persons_are_near_the_delta_method():
    results = fitted("normal")
    found = results.individual_coefficients(parameter_uncertainty=True, draws=400, seed=1)["time"].iloc[:5]
    delta = numerical_se(results, lambda r: r.individual_coefficients()["time", "mean"].to_numpy()[:5])
    # a standard deviation of 400 draws has a relative error of 3.5 per cent; functions are nearly linear here
    np.testing.assert_allclose(found["std err"], delta, rtol=0.25)
    with pytest.raises(tm.OptionError, match="draws=3"):
        results.individual_coefficients(parameter_uncertainty=True, draws=3)
    with pytest.raises(tm.UndefinedStatisticError, match="has none"):
        fitted("conditional").individual_coefficients()


# ---- IIA, mixing, draws


def newton(X: np.ndarray, there: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the estimates of a conditional logit, their covariance and the (S, J) probabilities, by the textbook."""
    b = np.zeros(X.shape[2])
    for _ in range(30):
        V = np.where(there, np.exp(X @ b), 0.0)
        P = V / V.sum(1, keepdims=True)
        D = X - (P[..., None] * X).sum(1, keepdims=True)
        H = np.einsum("sj,sjk,sjl->kl", P, D, D)
        b = b + np.linalg.solve(H, D[np.arange(len(y)), y].sum(0))
    return b, np.linalg.inv(H), P


def test_the_test_of_hausman_and_mcfadden_by_two_fits_with_numpy():
    results = conditional("plain")
    m = results.model
    X, there, y = m.X.numpy(), m.available.numpy(), m.chosen.numpy()
    gone = m.alternatives.index("bike")
    stay = [j for j in range(4) if j != gone]
    keep = [k for k, n in enumerate(results.params.index) if n != "asc_bike"]
    rows = y != gone
    whole, V, _ = newton(X, there, y)
    code = {j: i for i, j in enumerate(stay)}
    part, W, _ = newton(X[rows][:, stay][:, :, keep], there[rows][:, stay], np.array([code[j] for j in y[rows]]))
    d = part - whole[keep]
    expected = d @ np.linalg.solve(W - V[np.ix_(keep, keep)], d)
    found = results.iia_test("bike", robust=False)
    np.testing.assert_allclose(found.statistic, expected, rtol=1e-6)
    assert found.df == len(keep)


def test_the_lm_test_for_mixing_by_numpy():
    results = conditional("plain")
    m = results.model
    X, there, y = m.X.numpy(), m.available.numpy(), m.chosen.numpy()
    _, _, P = newton(X, there, y)
    at = [list(results.params.index).index(n) for n in ("time", "cost")]
    x = X[:, :, at]
    z = (x - (P[..., None] * x).sum(1, keepdims=True)) ** 2 / 2
    both = np.concatenate([X, z], 2)
    D = both - (P[..., None] * both).sum(1, keepdims=True)
    each = D[np.arange(len(y)), y]
    A = np.einsum("sj,sjk,sjl->kl", P, D, D)
    g = each.sum(0)
    found = results.mixing_test(["time", "cost"])
    np.testing.assert_allclose(found.statistic, g @ np.linalg.solve(A, g), rtol=1e-6)
    inverse = np.linalg.inv(A)
    V = (inverse @ each.T @ each @ inverse)[-2:, -2:]
    step = (inverse @ g)[-2:]
    robust = results.with_cov("HC0").mixing_test(["time", "cost"])
    np.testing.assert_allclose(robust.statistic, step @ np.linalg.solve(V, step), rtol=1e-6)


def simulated(seed: int, kind: str) -> tm.ChoiceResults:
    """Return a conditional logit on choices among three alternatives by a logit, a nested or a mixed logit."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(800, 3, 2))
    b = np.array([1.0, -1.0]) + (kind == "mixed") * rng.normal(size=(800, 1, 2)) * 2.0
    noise = rng.gumbel(size=(800, 3))
    if kind == "alike":  # the last two share most of their noise
        noise[:, 2] = noise[:, 1] + 0.2 * rng.gumbel(size=800)
    y = ((x * b).sum(2) + noise).argmax(1)
    return tm.ConditionalLogit(y, x, names=["a", "b"]).fit()


def test_the_test_for_mixing_holds_its_level_and_finds_mixing():
    level = [simulated(seed, "logit").mixing_test().statistic for seed in range(60)]
    # the mean of 60 chi-squared values with 2 degrees of freedom has a standard error of 0.26
    assert abs(np.mean(level) - 2.0) < 4 * 0.26
    assert simulated(0, "mixed").mixing_test().pvalue < 1e-4


def tabled(seed: int, kind: str) -> tm.ChoiceResults:
    """Return the same with data that have columns, as leaving out alternatives needs."""
    m = simulated(seed, kind).model
    S = len(m.chosen)
    table = pd.DataFrame(m.X.numpy().reshape(-1, 2), columns=["a", "b"])
    table = table.assign(s=np.repeat(np.arange(S), 3), j=np.tile(list("uvw"), S))
    table["y"] = (np.tile(np.arange(3), S) == np.repeat(m.chosen.numpy(), 3)).astype(int)
    return tm.ConditionalLogit.from_formula("y ~ a + b | 0", table, alternatives="j", situations="s").fit()


def test_the_test_of_iia_holds_its_level_and_finds_alternatives_that_are_alike():
    level = [tabled(seed, "logit").iia_test("w", robust=True).statistic for seed in range(30)]
    assert abs(np.mean(level) - 2.0) < 4 * (4 / 30) ** 0.5
    assert tabled(0, "alike").iia_test("u", robust=True).pvalue < 1e-3


def test_weights_and_clusters_in_tests_of_what_was_taken_for_granted():
    table = trips().assign(w=1 + trips().trip % 3)
    twice = table.loc[table.index.repeat(table.w)].copy()
    twice["number"] = twice.groupby(level=0).cumcount()
    twice["trip"] = twice.trip * 10 + twice.number
    twice = twice.sort_values(["trip"], kind="stable")
    weighted = tm.ConditionalLogit.from_formula("chosen ~ time + cost", table, freq_weights="w", **KEYS).fit()
    repeated = tm.ConditionalLogit.from_formula("chosen ~ time + cost", twice, **KEYS).fit()
    for robust in (True, False):
        pair = [r.iia_test("train", robust=robust).statistic for r in (weighted, repeated)]
        np.testing.assert_allclose(*pair, rtol=1e-6)
    for cov in ("nonrobust", "HC0"):
        pair = [r.with_cov(cov).mixing_test("time").statistic for r in (weighted, repeated)]
        np.testing.assert_allclose(*pair, rtol=1e-6)
    # clusters of copies: the same as sampling weights, which square what a row counts
    sampled = tm.ConditionalLogit.from_formula("chosen ~ time + cost", table, sampling_weights="w", **KEYS).fit()
    grouped = tm.ConditionalLogit.from_formula(
        "chosen ~ time + cost", twice.assign(g=twice.trip // 10), groups="g", **KEYS
    ).fit(cov_type="cluster")
    pair = [r.iia_test("train").statistic for r in (sampled, grouped)]
    np.testing.assert_allclose(*pair, rtol=1e-6)
    pair = [r.mixing_test("time").statistic for r in (sampled, grouped)]
    np.testing.assert_allclose(*pair, rtol=1e-6)


def test_the_report_on_draws_is_that_of_fits_with_them():
    results = fitted("normal")
    report = results.draws_report(numbers=[50, 25], kinds=["halton", "random"], seeds=[2, 3])
    own = report.fits.loc["halton", 50, 2]
    np.testing.assert_allclose(own[list(results.params.index)].to_numpy(dtype=float), results.params, rtol=1e-5)
    fresh = tm.MixedLogit.from_formula(
        "chosen ~ time + cost | income",
        trips(),
        random={"time": "normal"},
        persons="person",
        draws=tm.Draws("random", 25, seed=3),
        **KEYS,
    ).fit()
    np.testing.assert_allclose(report.fits.loc["random", 25, 3].llf, fresh.llf, rtol=1e-9)
    spread = report.fits.xs("halton").xs(25)["sd:time"].std()
    np.testing.assert_allclose(report.spread.loc[("halton", 25), "sd:time"], spread, rtol=1e-12)
    np.testing.assert_allclose(
        report.relative.loc[("halton", 25), "sd:time"], spread / results.bse["sd:time"], rtol=1e-12
    )
    assert results.model.draws == DRAWS
    assert "Spread across seeds" in str(report)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conditional("plain").iia_test("bus"), "is the base"),
        (lambda: conditional("plain").iia_test("cars"), "Did you mean 'car'"),
        (lambda: conditional("plain").iia_test(["bike", "car", "train"]), "at least two"),
        (lambda: conditional("plain").iia_test("car", robust=2), "robust=2"),
        (lambda: fitted("weighted").iia_test("car", robust=False), "not efficient"),
        (lambda: fitted("nested").iia_test("car"), "tm.ConditionalLogit"),
        (lambda: conditional("plain").mixing_test("tme"), "Did you mean 'time'"),
        (lambda: fitted("normal").mixing_test("time"), "tm.ConditionalLogit"),
        (lambda: conditional("plain").draws_report(), "has none"),
        (lambda: fitted("normal").draws_report(numbers=[]), "numbers is empty"),
        (lambda: fitted("normal").draws_report(kinds="haltn"), "Did you mean 'halton'"),
    ],
)
def test_tests_that_cannot_be_are_refused(call, message):
    with pytest.raises(tm.TorchmleError, match=message):
        call()


# ---- arrays, weights, missing values, results without rows


def arrays(weights: Any = None, **own: Any) -> tuple[tm.ChoiceResults, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 3, 2))
    y = (x @ np.array([1.0, -0.7]) + rng.gumbel(size=(300, 3))).argmax(1)
    given = {} if weights is None else {"freq_weights": weights}
    return tm.ConditionalLogit(y, x, names=["time", "cost"], **given, **own).fit(), x


def test_a_model_of_arrays_predicts_for_arrays():
    results, x = arrays()
    V = np.exp(x @ results.params.to_numpy())
    np.testing.assert_allclose(results.probabilities().to_numpy(), V / V.sum(1, keepdims=True), rtol=1e-12)
    new, there = x[:5] + 0.1, np.array([[True, True, False]] * 5)
    V = np.exp(new @ results.params.to_numpy()) * there
    found = results.probabilities(new, available=there)
    np.testing.assert_allclose(found.to_numpy(), V / V.sum(1, keepdims=True), rtol=1e-12)
    P = results.probabilities().to_numpy()
    own = (results.params["cost"] * x[:, 1, 1] * P[:, 1] * (1 - P[:, 1])).sum() / P[:, 1].sum()
    np.testing.assert_allclose(results.elasticities("cost", 1).table.loc[(1, 1), "estimate"], own, rtol=1e-10)
    more = results.probabilities(np.concatenate([x, x[:, :1]], 1))
    assert more.shape == (300, 4)  # generic coefficients compare any number of alternatives
    for bad, message in ((x[:, :, :1], "must be"), (x[0], "must be"), (np.full((2, 3, 2), np.nan), "infinite")):
        with pytest.raises(tm.DataError, match=message):
            results.probabilities(bad)
    with pytest.raises(tm.OptionError, match="from_formula"):
        results.counterfactual(cost=1.0)


def test_averages_count_situations_by_the_weights_of_the_fit():
    w = np.arange(300) % 4
    weighted, x = arrays(w)
    P = weighted.probabilities().to_numpy()
    assert len(P) == (w > 0).sum()
    np.testing.assert_allclose(weighted.shares().values, np.average(P, axis=0, weights=w[w > 0]), rtol=1e-12)
    with pytest.raises(tm.OptionError, match="weights="):
        weighted.shares(x)
    plain = weighted.shares(x, weights=np.ones(300)).values
    np.testing.assert_allclose(plain, weighted.probabilities(x).mean(), rtol=1e-12)
    with pytest.raises(tm.DataError, match="not negative"):
        weighted.shares(x, weights=-np.ones(300))
    results = fitted("weighted")
    frame = results.model.design.data.frame
    by_column, by_label = results.shares(frame), results.shares(frame.drop(columns="w"))
    np.testing.assert_allclose(by_column.values, results.shares().values, rtol=1e-12)
    np.testing.assert_allclose(by_label.values, by_column.values, rtol=1e-12)
    half = results.counterfactual(**DEARER).table
    expected = [np.average(results.probabilities(), axis=0, weights=1.0 + np.arange(1, 1001) % 3)]
    np.testing.assert_allclose(half["before"], expected[0], rtol=1e-12)


def test_situations_with_missing_values_have_no_probabilities():
    holed = trips().copy()
    holed.loc[holed.trip == 2, "cost"] = np.nan
    results = fitted("conditional")
    data = tm.ChoiceData.from_long(holed, choice=None, alternatives="mode", situations="trip")
    found = results.probabilities(data)
    assert found.loc[2].isna().all()
    assert found.drop(index=2).notna().all(axis=None)
    np.testing.assert_allclose(found.drop(index=2).to_numpy(), results.probabilities().drop(index=2).to_numpy())
    assert "1 situations with missing values are left out (2)" in str(results.shares(data))


def test_alternatives_may_stand_in_another_order():
    results = fitted("nested")
    order = ["car", "bike", "train", "bus"]
    table = trips().assign(mode=pd.Categorical(trips()["mode"], categories=order))
    data = tm.ChoiceData.from_long(table, choice="chosen", alternatives="mode", situations="trip")
    assert data.alternatives == tuple(order)
    pd.testing.assert_frame_equal(results.probabilities(data), results.probabilities(), atol=1e-14)
    gone = table[(table["mode"] != "car") & (table.trip < 50)]
    left = results.probabilities(gone.assign(mode=gone["mode"].astype(str)))
    np.testing.assert_allclose(left.sum(axis=1), 1.0)
    assert (left.car == 0).all()


def test_a_new_alternative_needs_generic_coefficients():
    generic = tm.ConditionalLogit.from_formula("chosen ~ time + cost | 0", trips(), **KEYS).fit()
    data = generic.model.design.data.adding("tram", like="bus", time=lambda d: 0.8 * d.time)
    found = generic.counterfactual(data).table
    assert found.loc["tram", "before"] == 0 < found.loc["tram", "after"]
    np.testing.assert_allclose(found.change.sum(), 0.0, atol=1e-12)
    nests = {"public": ["bus", "train"]}
    nested = tm.NestedLogit.from_formula("chosen ~ time + cost | 0", trips(), nests=nests, **KEYS).fit()
    with pytest.raises(tm.DataError, match="in which nests"):
        nested.probabilities(data)
    with pytest.raises(tm.DataError, match="did not know"):
        fitted("conditional").probabilities(data)


def test_rankings_are_predicted_by_the_choice_among_all():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3, 2))
    ranks = 1 + (-(x @ np.array([1.0, -1.0]) + rng.gumbel(size=(200, 3)))).argsort(1).argsort(1)
    results = tm.RankOrderedLogit(ranks, x, names=["a", "b"]).fit()
    V = np.exp(x @ results.params.to_numpy())
    np.testing.assert_allclose(results.probabilities().to_numpy(), V / V.sum(1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(results.shares().values.sum(), 1.0)


def test_without_rows_new_data_can_be_predicted_and_what_needs_rows_says_so():
    results = fitted("conditional")
    lean, data = results.lean(), results.model.design.data
    pd.testing.assert_frame_equal(lean.probabilities(data), results.probabilities())
    np.testing.assert_allclose(lean.wtp("time", "cost").se, results.wtp("time", "cost").se)
    for call in (
        lean.shares,
        lambda: lean.counterfactual(without="car"),
        lambda: lean.mixing_test("time"),
        fitted("normal").lean().individual_coefficients,
        fitted("normal").lean().draws_report,
        fitted("means").lean().random_coefficients,
    ):
        with pytest.raises(tm.NoDataError, match="rows"):
            call()


def test_results_from_a_file_take_the_model_that_is_given(tmp_path):
    results, path = fitted("normal"), tmp_path / "fit"
    with pytest.warns(tm.DataWarning, match="design"):
        results.save(path, data=True)
    bare = tm.load(path)
    np.testing.assert_allclose(bare.random_coefficients().se, results.random_coefficients().se)
    calls = (bare.shares, lambda: bare.wtp("time", "cost"), bare.draws_report, bare.individual_coefficients)
    for call in calls:
        with pytest.raises(tm.NoDataError, match="model=model"):
            call()
    again = tm.load(path, model=results.model)
    np.testing.assert_allclose(again.shares().covariance, results.shares().covariance)


def test_robust_errors_and_fixed_parameters_carry_over():
    model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", trips(), groups="person", **KEYS)
    results = model.fit(fixed={"cost": -0.3}, cov_type="cluster")
    np.testing.assert_allclose(
        results.shares().se, numerical_se_of_free(results, lambda r: r.shares().values), rtol=1e-6
    )
    np.testing.assert_allclose(results.wtp("time", "cost").se, results.bse["time"] / 0.3, rtol=1e-10)


def numerical_se_of_free(results: tm.ChoiceResults, function: Any) -> np.ndarray:
    """Return the same where parameters are fixed: by differences in the free ones."""
    import dataclasses

    gamma, rows = results.fit.gamma, []
    for k in range(len(gamma)):
        step = gamma.new_zeros(len(gamma))
        step[k] = 1e-4
        fits = [dataclasses.replace(results.fit, gamma=gamma + s * step) for s in (1, -1)]
        up, down = (dataclasses.replace(results, fit=fit) for fit in fits)
        rows.append((function(up) - function(down)) / 2e-4)
    J = np.array(rows).T
    return np.sqrt(np.diag(J @ results.inference.covariance.matrix.numpy() @ J.T))


def test_chunks_do_not_change_what_is_computed(monkeypatch):
    from torchmle.models.choice import drawn

    results = fitted("normal")
    whole = [results.shares().covariance, results.elasticities("cost").covariance]
    own = results.individual_coefficients()
    monkeypatch.setattr(drawn, "CHUNK_BYTES", 10_000)
    np.testing.assert_allclose(results.shares().covariance, whole[0], rtol=1e-9)
    np.testing.assert_allclose(results.elasticities("cost").covariance, whole[1], rtol=1e-8, atol=1e-14)
    pd.testing.assert_frame_equal(results.individual_coefficients(), own)
