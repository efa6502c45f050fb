"""Conditional and mixed logits against estimates made in R (tests/reference/choice).

Mixed cases named ``gh`` are exact maxima by quadrature; the others hold for the Halton draws described in them.
"""

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
ERRORS = {
    "bse": ("nonrobust", None),
    "bse_OPG": ("opg", None),
    "bse_HC0": ("HC0", None),
    "bse_HC1": ("HC1", None),
    "bse_cluster0": ("cluster", {"use_correction": False}),
    "bse_cluster_G": ("cluster", {"use_correction": "stata"}),
}
HALTON = {"draws": tm.Draws("halton", 200, skip=100, scramble=False)}
NODES = {"draws": tm.Draws("gauss_hermite", 96)}
NORMAL = {"random": {"time": "normal", "change": "normal", "comfort": "normal"}}


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "data" / f"{name}.csv.gz")


@functools.cache
def fishing(money: float = 1.0) -> tm.ChoiceData:
    table = read("fishing")
    prices = [c for c in table if c.startswith("price")]
    table = table.assign(**{c: table[c] / money for c in prices})
    labels = ["beach", "pier", "boat", "charter"]
    varying = {"price": "price_{alt}", "catch": "catch_{alt}"}
    return tm.ChoiceData.from_wide(table, choice="mode", varying=varying, alternatives=labels)


@functools.cache
def train() -> tm.ChoiceData:
    table = read("train")
    for a in "AB":
        table = table.assign(
            **{f"price_{a}": table[f"price_{a}"] / 100 * 2.20371, f"time_{a}": table[f"time_{a}"] / 60}
        )
    varying = {x: x + "_{alt}" for x in ("price", "time", "change", "comfort")}
    return tm.ChoiceData.from_wide(table, choice="choice", varying=varying, alternatives=["A", "B"], persons="id")


@functools.cache
def swissmetro() -> tm.ChoiceData:
    table = read("swissmetro")
    table = table[table.PURPOSE.isin([1, 3]) & (table.CHOICE != 0)]
    paid = (table.GA == 0) / 100
    table = table.assign(TRAIN_CO=table.TRAIN_CO * paid, SM_CO=table.SM_CO * paid, CAR_CO=table.CAR_CO / 100)
    modes = ["TRAIN", "SM", "CAR"]
    table = table.assign(
        **{f"{m}_TT": table[f"{m}_TT"] / 100 for m in modes}, mode=table.CHOICE.map(dict(enumerate(modes, 1)))
    )
    open_to = {"TRAIN": table.TRAIN_AV * (table.SP != 0), "SM": table.SM_AV, "CAR": table.CAR_AV * (table.SP != 0)}
    table = table.assign(**{f"{m}_open": values for m, values in open_to.items()})
    return tm.ChoiceData.from_wide(
        table,
        choice="mode",
        varying={"b_time": "{alt}_TT", "b_cost": "{alt}_CO"},
        alternatives=modes,
        available="{alt}_open",
        persons="ID",
    )


def conditional(formula: str, data: Any, **options: Any) -> tm.ConditionalLogit:
    return tm.ConditionalLogit.from_formula(formula, data, **options)


def mixed(formula: str, data: Any, **options: Any) -> tm.MixedLogit:
    return tm.MixedLogit.from_formula(formula, data, **options)


def nested(formula: str, data: Any, **options: Any) -> tm.NestedLogit:
    return tm.NestedLogit.from_formula(formula, data, **options)


LONG = {"alternatives": "mode", "situations": "individual", "base": "car"}
TRAIN = "choice ~ price + time + change + comfort | 0"
MODELS = {
    "clogit_fishing": lambda: conditional("mode ~ price + catch | income", fishing()),
    "clogit_fishing_generic": lambda: conditional("mode ~ price + catch | 0", fishing()),
    "clogit_travelmode": lambda: conditional("choice_d ~ gcost + wait + hinc_air", read("travelmode"), **LONG),
    "clogit_train": lambda: conditional(TRAIN, train(), groups="id"),
    "clogit_swissmetro": lambda: conditional("mode ~ b_time + b_cost", swissmetro(), base="SM", groups="ID"),
    "nlogit_travelmode": lambda: nested(
        "choice_d ~ gcost + wait + hinc_air",
        read("travelmode"),
        nests={"fly": ["air"], "ground": ["train", "bus", "car"]},
        **LONG,
    ),
    "nlogit_swissmetro": lambda: nested(
        "mode ~ b_time + b_cost", swissmetro(), base="SM", groups="ID", nests={"existing": ["TRAIN", "CAR"]}
    ),
    "mxl_train_normal": lambda: mixed(TRAIN, train(), **NORMAL, **HALTON),
    "mxl_train_corr": lambda: mixed(TRAIN, train(), correlated=True, **NORMAL, **HALTON),
    "mxl_train_time_gh": lambda: mixed(TRAIN, train(), random={"time": "normal"}, **NODES),
    "mxl_fishing_catch_gh": lambda: mixed("mode ~ price + catch", fishing(), random={"catch": "normal"}, **NODES),
    "mxl_fishing_price_lognormal_gh": lambda: mixed(
        "mode ~ price + catch", fishing(100.0), random={"price": "-lognormal"}, **NODES
    ),
}


@functools.cache
def case(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "choice" / f"{name}.json").read_text())


@functools.cache
def fitted(name: str) -> tm.ChoiceResults:
    return MODELS[name]().fit()


def named(values: dict[str, float], results: tm.ChoiceResults) -> np.ndarray:
    """Return the reference's values in the order of the results; labels of alternatives may be in capitals."""
    lower = {k.lower(): v for k, v in values.items()}
    return np.array([lower[name.lower()] for name in results.params.index])


@pytest.mark.parametrize("name", MODELS)
def test_estimates(name):
    reference, results = case(name), fitted(name)
    assert results.converged
    np.testing.assert_allclose(
        results.params.abs(), np.abs(named(reference["params"], results)), rtol=reference["rtol"]
    )
    for what in ("llf", "aic", "bic", "nobs"):
        np.testing.assert_allclose(getattr(results, what), reference[what], rtol=1e-9)


@pytest.mark.parametrize(("name", "field"), [(n, f) for n in MODELS for f in ERRORS if f in case(n)])
def test_standard_errors(name, field):
    cov_type, kwds = ERRORS[field]
    reference, results = case(name), fitted(name).with_cov(cov_type, cov_kwds=kwds)
    np.testing.assert_allclose(results.bse, named(reference[field], results), rtol=reference["rtol"])


@pytest.mark.parametrize("name", [n for n in MODELS if n.startswith("clogit")])
def test_equal_shares(name):
    np.testing.assert_allclose(fitted(name).llnull, case(name)["extra"]["ll_equal_shares"], rtol=1e-10)
