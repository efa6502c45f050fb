"""Latent class logits: derivatives against the formula, recovery of a known truth, classes, bad input."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import optimize

import torchmle as tm
from torchmle.testing.differences import gradient

FEW = {"options": {"starts": 3}}
NAMES = ["time", "cost"]


@functools.cache
def panel(persons: int = 40, situations: int = 3, seed: int = 1) -> dict[str, Any]:
    """Return attributes of three alternatives, some not available, with numbers of situations that differ."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 2 * situations, persons) if situations > 1 else np.ones(persons, dtype=int)
    person = np.repeat(np.arange(persons), sizes)
    S = len(person)
    there = rng.random((S, 3)) < 0.8
    there[:, 0] = True
    X = np.where(there[:, :, None], rng.normal(size=(S, 3, 2)) * [1.0, 2.0] + [0.0, 5.0], 0.0)
    y = np.array([rng.choice(np.flatnonzero(row)) for row in there])
    z = rng.normal(size=persons)[person]
    return {"X": X, "there": there, "person": person, "y": y, "z": pd.DataFrame({"z": z})}


def model_of(d: dict[str, Any], **own: Any) -> Any:
    return tm.LatentClassLogit(d["y"], d["X"], names=NAMES, available=d["there"], persons=d["person"], **own)


def by_formula(d: dict[str, Any], betas: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Return the log-likelihoods of persons, given betas (C, K) and log-shares (persons, C)."""
    X, there = torch.tensor(d["X"]), torch.tensor(d["there"])
    found = []
    for n in np.unique(d["person"]):
        each = []
        for c, beta in enumerate(betas):
            total = torch.log_softmax(shares[n], 0)[c]
            for s in np.flatnonzero(d["person"] == n):
                open_to = there[s]
                total = total + torch.log(torch.softmax(X[s][open_to] @ beta, 0)[int(open_to[: d["y"][s]].sum())])
            each.append(total)
        found.append(torch.logsumexp(torch.stack(each), 0))
    return torch.stack(found)


def z_by_person(d: dict[str, Any]) -> torch.Tensor:
    return torch.tensor(d["z"]["z"].groupby(d["person"]).first().to_numpy())


def three_classes(d: dict[str, Any], p: torch.Tensor) -> torch.Tensor:
    """cost is common: cost, class1:time, class2:time, class3:time, share2, share3."""
    betas = torch.stack([torch.stack([p[1 + c], p[0]]) for c in range(3)])
    z = z_by_person(d)
    zero = torch.zeros_like(z)
    return by_formula(d, betas, torch.stack([zero, p[4] + p[5] * z, p[6] + p[7] * z], 1))


def two_classes(d: dict[str, Any], p: torch.Tensor) -> torch.Tensor:
    zero = torch.zeros(len(np.unique(d["person"])), dtype=torch.float64)
    return by_formula(d, p[:4].view(2, 2), torch.stack([zero, zero + p[4]], 1))


FORMS = {
    "two": ({"classes": 2}, two_classes, [0.3, -0.2, -0.5, 0.1, -0.4], 3),
    "alone": ({"classes": 2}, two_classes, [0.3, -0.2, -0.5, 0.1, -0.4], 1),
    "three": (
        {"classes": 3, "common": ["cost"]},
        three_classes,
        [-0.2, 0.5, -0.3, 0.9, -0.4, 0.6, 0.2, -0.5],
        3,
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_derivatives_against_the_formula(name, weighted):
    own, formula, theta, situations = FORMS[name]
    d = panel(situations=situations)
    w = torch.ones(40, dtype=torch.float64)
    if "common" in own:
        own = {**own, "membership": d["z"]}
    if weighted:
        w = 1.0 + torch.arange(40, dtype=torch.float64) % 3 / 2
        own = {**own, "sampling_weights": w.numpy()[d["person"]]}
    model = model_of(d, **own)
    leaf = torch.tensor(theta, dtype=torch.float64)
    values = formula(d, leaf)
    np.testing.assert_allclose(model.loglikeobs(theta), values, rtol=1e-12)
    scores = torch.autograd.functional.jacobian(lambda p: formula(d, p), leaf)
    np.testing.assert_allclose(model.score_obs(theta), scores, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model.score(theta), w @ scores, rtol=1e-10, atol=1e-12)
    hessian = torch.autograd.functional.hessian(lambda p: formula(d, p) @ w, leaf)
    np.testing.assert_allclose(model.hessian(theta), hessian, rtol=1e-9, atol=1e-10)
    slopes = gradient(model.loglike, np.array(theta), np.full(len(theta), 1e-2)) / 1e-2
    np.testing.assert_allclose(model.score(theta), slopes, rtol=1e-7, atol=1e-7)


def test_names():
    model = model_of(panel(), classes=3, common="cost", membership=panel()["z"])
    assert list(model.param_names) == [
        "cost",
        *(f"class{c}:time" for c in (1, 2, 3)),
        *(f"share{c}:{z}" for c in (2, 3) for z in ("Intercept", "z")),
    ]


def test_utilities_beyond_the_range_of_exp():
    d = panel()
    model = model_of(d, classes=2)
    far = np.array([400.0, -300.0, -500.0, 200.0, 700.0])
    assert bool(torch.isfinite(model.loglikeobs(far)).all())
    assert np.isfinite(model.hessian(far)).all()


# --- One class, and a known truth --------------------------------------------------------------------------------


def test_one_class_is_the_conditional_logit():
    d = panel(persons=200)
    one = model_of(d, classes=1).fit()
    other = tm.ConditionalLogit(d["y"], d["X"], names=NAMES, available=d["there"], groups=d["person"]).fit()
    # both are within 1e-5 standard errors of the maximum
    np.testing.assert_allclose(one.params, other.params, rtol=1e-6)
    np.testing.assert_allclose(one.bse, other.bse, rtol=1e-6)
    np.testing.assert_allclose(one.llf, other.llf)
    clustered = other.with_cov("cluster", {"groups": d["person"], "use_correction": False})
    np.testing.assert_allclose(one.with_cov("HC0").bse, clustered.bse, rtol=1e-6)
    assert list(one.params.index) == ["class1:time", "class1:cost"]


TRUTH = {
    "cost": -0.5,
    "class1:time": -2.0,
    "class2:time": 0.5,
    "share2:Intercept": -0.8,
    "share2:z": 1.0,
}


@functools.cache
def simulated() -> tuple[dict[str, Any], Any]:
    """Return choices of 700 persons in 6 situations, drawn with numpy, and the fit."""
    rng = np.random.default_rng(4)
    N, T = 700, 6
    z = rng.normal(size=N)
    second = rng.random(N) < 1 / (1 + np.exp(0.8 - z))
    time = np.where(second, 0.5, -2.0)
    X = rng.normal(size=(N * T, 3, 2))
    person = np.repeat(np.arange(N), T)
    V = X[:, :, 0] * time[person, None] - 0.5 * X[:, :, 1]
    y = (V + rng.gumbel(size=V.shape)).argmax(1)
    d = {"X": X, "there": np.ones((N * T, 3), bool), "person": person, "y": y, "z": pd.DataFrame({"z": z[person]})}
    return {**d, "second": second}, model_of(d, classes=2, common=["cost"], membership=d["z"]).fit(**FEW)


def test_recovery():
    _, res = simulated()
    assert res.converged
    assert list(res.params.index) == list(TRUTH)
    z = (res.params - pd.Series(TRUTH)) / res.bse
    assert z.abs().max() < 3.5


def test_information_equality():
    """With 700 persons both estimates of the information are within a fifth of each other."""
    _, res = simulated()
    ratio = res.with_cov("opg").bse / res.bse
    assert (ratio - 1).abs().max() < 0.2
    ratio = res.with_cov("HC0").bse / res.bse
    assert (ratio - 1).abs().max() < 0.2


def test_the_maximum_is_that_of_scipy():
    d, res = simulated()
    X, person, y = d["X"], d["person"], d["y"]
    z = d["z"]["z"].to_numpy()[::6]

    def loss(p: np.ndarray) -> float:
        joint = []
        for time in (p[1], p[2]):
            V = X[:, :, 0] * time + X[:, :, 1] * p[0]
            logp = V[np.arange(len(y)), y] - np.log(np.exp(V).sum(1))
            joint.append(np.bincount(person, logp))
        log_odds = p[3] + p[4] * z
        joint = np.array(joint) - np.log1p(np.exp(np.array([log_odds, -log_odds])))
        return -np.logaddexp(*joint).sum()

    found = optimize.minimize(loss, list(TRUTH.values()), method="BFGS", options={"gtol": 1e-4})
    np.testing.assert_allclose(res.llf, -found.fun, rtol=1e-9)
    assert (np.abs(found.x - res.params) / res.bse).max() < 1e-3


def test_classes_of_persons():
    d, res = simulated()
    found = res.class_probabilities()
    p = torch.tensor(res.params.to_numpy())
    betas = torch.stack([torch.stack([p[1], p[0]]), torch.stack([p[2], p[0]])])
    few = {k: d[k][:60] for k in ("X", "there", "person", "y")}
    index = p[3] + p[4] * torch.tensor(d["z"]["z"].to_numpy()[:60:6])
    known = [by_formula(few, betas[[c]], torch.zeros(10, 1)) for c in (0, 1)]
    joint = torch.stack(known, 1) + torch.stack([torch.zeros_like(index), index], 1)
    np.testing.assert_allclose(found.iloc[:10], torch.softmax(joint, 1), rtol=1e-9)
    assert ((found["class2"] > 0.5) == d["second"]).mean() > 0.9


def test_class_shares():
    d, res = simulated()
    found = res.class_shares()
    pi = 1 / (1 + np.exp(-(res.params["share2:Intercept"] + res.params["share2:z"] * d["z"]["z"].to_numpy()[::6])))
    np.testing.assert_allclose(found.values, [1 - pi.mean(), pi.mean()])
    slope = np.array([0, 0, 0, (pi * (1 - pi)).mean(), (pi * (1 - pi) * d["z"]["z"].to_numpy()[::6]).mean()])
    np.testing.assert_allclose(found.se, np.sqrt(slope @ res.cov_params().to_numpy() @ slope))
    # at a maximum the mean probability given the choices is the mean without them: the score of the constant
    np.testing.assert_allclose(res.class_probabilities().mean(), found.values, rtol=1e-6)
    assert list(res.classes.columns) == ["class1", "class2"]
    assert res.classes.loc["cost", "class1"] == res.classes.loc["cost", "class2"] == res.params["cost"]


# --- What follows from the fit -----------------------------------------------------------------------------------


def test_probabilities_average_over_classes():
    res, data = trips(), tm.datasets.load("trips")
    some = data[data["trip"].isin([1, 2, 30])]
    income = some.groupby("trip", sort=False)["income"].first().to_numpy()
    second = 1 / (1 + np.exp(-(res.params["share2:Intercept"] + res.params["share2:income"] * income)))
    attributes = np.column_stack(
        [*((some["mode"] == mode).to_numpy(float) for mode in ("train", "bike", "car")), some["time"], some["cost"]]
    )
    assert list(res.classes.index) == ["asc_train", "asc_bike", "asc_car", "time", "cost"]
    odds = np.exp(attributes @ res.classes.to_numpy())
    each = odds / pd.DataFrame(odds).groupby(some["trip"].to_numpy()).transform("sum").to_numpy()
    share = np.column_stack([1 - second, second])[pd.factorize(some["trip"])[0]]
    wanted = (each * share).sum(1)
    found = res.probabilities(some)
    at = [found.loc[trip, mode] for trip, mode in zip(some["trip"], some["mode"], strict=True)]
    np.testing.assert_allclose(at, wanted, rtol=1e-10)
    np.testing.assert_allclose(res.probabilities().loc[found.index], found)


def test_errors_of_market_shares_by_differences():
    d, res = simulated()
    z = d["z"]["z"].to_numpy()

    def share(p: np.ndarray) -> float:
        second = 1 / (1 + np.exp(-(p[3] + p[4] * z)))
        odds = [np.exp(d["X"] @ np.array([time, p[0]])) for time in (p[1], p[2])]
        one, two = (o[:, 0] / o.sum(1) for o in odds)
        return float(((1 - second) * one + second * two).mean())

    p, unit = res.params.to_numpy(), res.bse.to_numpy()
    g = gradient(share, p, unit) / unit
    found = res.shares()
    np.testing.assert_allclose(found.values[0], share(p))
    np.testing.assert_allclose(found.se[0], np.sqrt(g @ res.cov_params() @ g), rtol=1e-6)


def test_elasticities_by_differences():
    res, step = trips(), 1e-4
    found = res.elasticities("cost", alternative="car").table["estimate"]
    up, down = (
        res.counterfactual(cost=lambda d, f=f: d.cost.where(d["mode"] != "car", d.cost * f)).table["after"]
        for f in (1 + step, 1 - step)
    )
    wanted = (np.log(up) - np.log(down)) / (2 * step)
    np.testing.assert_allclose(found.to_numpy(), wanted, rtol=1e-5)


def test_worth_of_attributes_by_class():
    res = trips()
    p, V = res.params, res.cov_params()
    found = res.wtp("time", "cost").table
    names = ["class2:time", "cost"]
    value = -p[names[0]] / p[names[1]]
    slope = np.array([-1 / p[names[1]], p[names[0]] / p[names[1]] ** 2])
    np.testing.assert_allclose(found.loc[("time", "class2"), "estimate"], value)
    np.testing.assert_allclose(
        found.loc[("time", "class2"), "std err"], np.sqrt(slope @ V.loc[names, names] @ slope), rtol=1e-10
    )


def test_arrays_predict_where_the_shares_depend_on_nothing():
    d, _ = simulated()
    res = model_of(d, classes=2).fit(**FEW)
    new = np.random.default_rng(1).normal(size=(5, 3, 2))
    odds = np.exp(new @ res.classes.to_numpy())
    wanted = (odds / odds.sum(1, keepdims=True)) @ res.class_shares().values
    np.testing.assert_allclose(res.probabilities(new), wanted, rtol=1e-9)


# --- Classes have no names ---------------------------------------------------------------------------------------


def test_classes_are_ordered_by_share():
    _, res = simulated()
    turned = {
        "cost": TRUTH["cost"],
        "class1:time": TRUTH["class2:time"],
        "class2:time": TRUTH["class1:time"],
        "share2:Intercept": -TRUTH["share2:Intercept"],
        "share2:z": -TRUTH["share2:z"],
    }
    again = res.model.fit(start_params=turned)
    np.testing.assert_allclose(again.params, res.params, rtol=1e-5)
    shares = again.class_shares().values
    assert shares[0] > shares[1]
    np.testing.assert_allclose(res.model.loglike(turned), res.model.loglike(TRUTH), rtol=1e-12)


def test_restrictions_keep_the_classes_they_speak_of():
    _, res = simulated()
    held = res.model.fit(fixed={"class1:time": 0.5}, **FEW)
    assert held.converged
    assert held.params["class1:time"] == 0.5
    assert abs(held.params["class2:time"] + 2.0) < 0.4
    tied = res.model.fit(constraints="class1:time = class2:time", fixed={"share2:Intercept": 0.0, "share2:z": 0.0})
    d, _ = simulated()
    plain = tm.ConditionalLogit(d["y"], d["X"], names=NAMES).fit()
    np.testing.assert_allclose(tied.llf, plain.llf)
    common = res.model.fit(fixed={"cost": -0.5}, **FEW)
    assert common.class_shares().values[0] > 0.5


def test_the_same_seed_gives_the_same_fit():
    model = simulated()[1].model
    one, two = (model.fit(seed=3, **FEW) for _ in range(2))
    pd.testing.assert_series_equal(one.params, two.params)
    assert any("3 starts, seed 3" in note for note in one.model.data.notes)
    again = tm.replay(one)
    pd.testing.assert_series_equal(again.params, one.params)
    assert "start_params" not in one.record.arguments


# --- Formulas, files, weights ------------------------------------------------------------------------------------


@functools.cache
def trips() -> Any:
    layout = {"alternatives": "mode", "situations": "trip", "persons": "person", "base": "bus"}
    return tm.LatentClassLogit.from_formula(
        "chosen ~ time + cost",
        tm.datasets.load("trips"),
        classes=2,
        membership="income",
        common=["asc_train", "asc_bike", "asc_car", "cost"],
        **layout,
    ).fit(**FEW)


def test_formula():
    res = trips()
    assert list(res.params.index[-4:]) == ["class1:time", "class2:time", "share2:Intercept", "share2:income"]
    data = tm.datasets.load("trips")
    assert len(res.class_probabilities()) == data["person"].nunique()
    assert list(res.class_probabilities().index) == list(dict.fromkeys(data["person"]))


def test_files(tmp_path):
    _, res = simulated()
    with pytest.warns(tm.DataWarning, match="design"):
        res.save(tmp_path / "a", data=True)
    again = tm.load(tmp_path / "a", model=res.model)
    assert type(again) is tm.LatentClassResults
    pd.testing.assert_series_equal(again.params, res.params)
    pd.testing.assert_frame_equal(again.class_probabilities(), res.class_probabilities())


def test_weights_repeat_persons():
    d = panel(persons=150, situations=1, seed=5)
    counts = 1 + np.arange(150) % 2
    at = np.repeat(np.arange(150), counts)
    theta = [0.3, -0.2, -0.5, 0.1, -0.4]
    weighted = model_of(d, classes=2, freq_weights=counts)
    repeated = model_of({**{k: d[k][at] for k in ("X", "there", "y")}, "person": np.arange(len(at))}, classes=2)
    np.testing.assert_allclose(weighted.loglike(theta), repeated.loglike(theta))
    np.testing.assert_allclose(weighted.hessian(theta), repeated.hessian(theta), rtol=1e-9, atol=1e-9)


def test_simulated_choices_have_the_probabilities():
    d, res = simulated()
    drawn = res.model.simulate(res.params, n=200, seed=1)
    share = (drawn == 0).mean(axis=1).to_numpy()
    pi = 1 / (1 + np.exp(-(res.params["share2:Intercept"] + res.params["share2:z"] * d["z"]["z"].to_numpy())))
    each = []
    for c in ("class1", "class2"):
        V = np.exp(d["X"] @ res.classes[c].to_numpy())
        each.append(V[:, 0] / V.sum(1))
    p = (1 - pi) * each[0] + pi * each[1]
    z = (share - p) / np.sqrt(p * (1 - p) / 200)
    assert abs(z.mean()) < 4 / np.sqrt(700)
    assert abs(z.std() - 1) < 0.1
    # the situations of a person share the class: products of choices are more frequent than independent ones
    both = ((drawn == 0).to_numpy()[::6] & (drawn == 0).to_numpy()[1::6]).mean(axis=1)
    wanted = (1 - pi[::6]) * each[0][::6] * each[0][1::6] + pi[::6] * each[1][::6] * each[1][1::6]
    z = (both - wanted) / np.sqrt(wanted * (1 - wanted) / 200)
    assert abs(z.mean()) < 4 / np.sqrt(700)


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "classes": ({"classes": 0}, tm.OptionError, "whole number from 1"),
    "fraction": ({"classes": 2.0}, tm.OptionError, "whole number from 1"),
    "common": ({"common": ["tme"]}, tm.OptionError, "Did you mean 'time'"),
    "all common": ({"common": NAMES}, tm.OptionError, "classes are the same"),
    "one class": ({"classes": 1, "membership": panel()["z"]}, tm.OptionError, "one class only"),
    "text": ({"membership": "z"}, tm.OptionError, "from_formula"),
    "shape": ({"membership": np.ones(3)}, tm.DataError, "a row for each"),
    "constant": ({"membership": np.ones(len(panel()["y"]))}, tm.DataError, "constant column"),
    "varies": ({"membership": np.arange(len(panel()["y"]))}, tm.DataError, "varies between the situations"),
    "missing": ({"membership": np.full(len(panel()["y"]), np.nan)}, tm.DataError, "missing or infinite"),
    "counts": ({"freq_weights": np.ones(len(panel()["y"]))}, tm.OptionError, "sampling_weights by person"),
    "argument": ({"clases": 2}, tm.OptionError, "Did you mean 'classes'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    own, error, text = BAD[name]
    with pytest.raises(error, match=text):
        model_of(panel(), **own)


def test_bad_formulas():
    data, layout = tm.datasets.load("trips"), {"alternatives": "mode", "situations": "trip", "persons": "person"}
    with pytest.raises(tm.FormulaError):
        tm.LatentClassLogit.from_formula("chosen ~ time", data, membership="distance", **layout)
    with pytest.raises(tm.OptionError, match="no constant"):
        tm.LatentClassLogit.from_formula("chosen ~ time", data, membership="~ 0 + income", **layout)
    with pytest.raises(tm.TorchmleError, match="incme"):
        tm.LatentClassLogit.from_formula("chosen ~ time", data, membership="incme", **layout)
