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
    np.testing.assert_allclose(
        found.change.se, numerical_se(results, lambda r: r.counterfactual(**dearer).change.values), rtol=2e-6
    )


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
