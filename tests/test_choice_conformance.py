"""Models of choice in the conformance kit, kept in files, and with weights that are zero or missing."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

import torchmle as tm
from torchmle.models.choice.rebuild import rebuilt
from torchmle.testing import CHECKS, check_model

S, J = 600, 4
LABELS = ["bus", "train", "bike", "car"]
NESTS = {"public": ["bus", "train"], "own": ["bike", "car"]}
SIMULATION = {"mean_score", "information", "recovery", "coverage"}
BY_PLACE = {"row_order", "weights"}
"""Checks that put situations elsewhere, whose draws go by their place."""
SHARED = {"public": ["bus", "train", "bike"], "own": ["bike", "car"]}
SHARES = {"bike": {"public": 0.4, "own": 0.6}}
NODES = tm.Draws("gauss_hermite", 24)


@functools.cache
def arrays(seed: int = 1) -> dict[str, Any]:
    """Return attributes in very different units, a fifth unavailable, and variables of the situation."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(S, J, 2)) * [30.0, 0.1] + [100.0, 5.0]
    there = rng.random((S, J)) < 0.8
    there[np.arange(S), rng.integers(0, J, S)] = True
    return {"X": X, "there": there, "Z": pd.DataFrame({"z": rng.normal(size=S)})}


def make(cls: type[Any], truth: list[float], persons: int | None = None, ranks: bool = False, **own: Any) -> Any:
    """Return a model of choices that were drawn from it."""
    d = arrays()
    more = {"names": ["time", "cost"], "alternatives": LABELS, "available": d["there"]}
    if persons:
        more["persons"] = np.repeat(np.arange(S // persons), persons)
    first = np.argmax(d["there"], 1)
    y = np.where(d["there"], np.arange(1, J + 1), 0) if ranks else np.array(LABELS)[first]
    drawn = cls(y, d["X"], **more, **own).simulate(truth, seed=7)
    return cls(np.asarray(drawn), d["X"], **more, **own)


@dataclass(frozen=True)
class Case:
    """A model, the parameters it is looked at, and the checks that do not apply to it."""

    cls: type[Any]
    truth: list[float]
    own: dict[str, Any] = field(default_factory=dict)
    idle: set[str] = field(default_factory=set)
    study: bool = True
    drawn: bool = False

    def build(self) -> Any:
        return make(self.cls, self.truth, **self.own)


B = [-0.04, -8.0]
RANDOM = {"random": {"time": "normal"}, "draws": NODES}
CASES = {
    "conditional": Case(tm.ConditionalLogit, B),
    "nested": Case(tm.NestedLogit, [*B, 0.6, 0.7], {"nests": NESTS}),
    "scaled": Case(tm.HeteroskedasticLogit, [*B, 0.4], {"scale": arrays()["Z"]}),
    "ranked": Case(tm.RankOrderedLogit, B, {"ranks": True}),
    "cross-nested": Case(tm.CrossNestedLogit, [*B, 0.5, 0.6], {"nests": SHARED, "allocation": SHARES}, study=False),
    "probit": Case(
        tm.MultinomialProbit, [-0.02, -4.0, 0.4, 0.9, 0.3, 0.2, 0.9], {"draws": 40}, study=False, drawn=True
    ),
    "latent": Case(
        tm.LatentClassLogit, [-0.08, -15.0, 0.02, 2.0, -0.4], {"persons": 4, "classes": 2}, {"weights"}, study=False
    ),
    "mixed": Case(tm.MixedLogit, [*B, 0.05], {"persons": 4, **RANDOM}, {"weights"}),
    "mixed, alone": Case(tm.MixedLogit, [-0.1, -16.0, 0.12], RANDOM, study=False),
}


def simulate(model: Any) -> Callable:
    return lambda params, rng: np.asarray(model.simulate(params, seed=int(rng.integers(2**31))))


@pytest.mark.parametrize("name", CASES)
def test_conforms(name):
    case = CASES[name]
    model = case.build()
    left_out = (set() if case.study else SIMULATION) | (BY_PLACE if case.drawn else set())
    chosen = [c for c in CHECKS if c not in left_out]  # a study is 80 fits each: where it is new
    report = check_model(model, simulate=simulate(model), params=case.truth, checks=chosen)
    assert {r.name for r in report.results if r.passed is None} == {"twin", "extreme"} | case.idle
    assert report.passed


# --- Rows that do not count ------------------------------------------------------------------------------------------

ROW_KINDS = [name for name in CASES if name not in ("mixed", "latent", "probit")]


@pytest.mark.parametrize("name", ROW_KINDS)
@pytest.mark.parametrize("kind", ["freq_weights", "sampling_weights"])
def test_units_of_weight_zero_are_not_there(name, kind):
    """Against a model without them; labels, counts and all covariances are those of the others."""
    model = CASES[name].build()
    w = np.arange(S) % 3
    both = rebuilt(model, freq_weights=w), rebuilt(model, rows=np.flatnonzero(w), freq_weights=w)
    if kind == "sampling_weights":
        both = tuple(weighted(model, rows, w) for rows in (np.arange(S), np.flatnonzero(w)))
    with_zeros, without = (m.fit() for m in both)
    assert with_zeros.nobs == without.nobs
    assert with_zeros.model.data.rows.causes == {f"{kind} zero": S // 3}
    np.testing.assert_array_equal(with_zeros.params, without.params)
    np.testing.assert_array_equal(with_zeros.with_cov("HC1").bse, without.with_cov("HC1").bse)
    assert list(with_zeros.model.data.rows.labels) == np.flatnonzero(w).tolist()


def weighted(model: Any, rows: np.ndarray, w: np.ndarray) -> Any:
    """Return the model with sampling weights, from arrays."""
    d = arrays()
    more = {"names": model.design.names, "alternatives": LABELS, "available": d["there"][rows]}
    own = model.own_arguments(rows)
    return type(model)(model.responses()[rows], d["X"][rows], sampling_weights=w[rows], **more, **own)


def test_missing_groups_and_weights_drop_situations_or_raise():
    trips = tm.datasets.load("trips")
    trips["g"] = trips["person"].astype(float).where(trips["trip"] > 7)
    layout = {"alternatives": "mode", "situations": "trip", "base": "bus"}
    model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", trips, groups="g", **layout)
    assert model.nobs == 993
    assert model.data.rows.causes == {"groups g missing": 7}
    here = model.fit(cov_type="cluster")
    there = tm.ConditionalLogit.from_formula("chosen ~ time + cost", trips[trips.trip > 7], groups="g", **layout)
    theirs = there.fit(cov_type="cluster").bse  # the order of alternatives is that of their first appearance
    np.testing.assert_allclose(here.bse, theirs[here.params.index], rtol=1e-9)
    with pytest.raises(tm.DataError, match="missing"):
        tm.ConditionalLogit.from_formula("chosen ~ time", trips, groups="g", missing="raise", **layout)


def test_equal_chances_under_weights():
    """The log-likelihood of choices at random is weighted as that of the fit is."""
    model = rebuilt(CASES["ranked"].build(), freq_weights=np.arange(S) % 3)
    counts = np.array([sum(np.log(k) for k in range(2, n + 1)) for n in arrays()["there"].sum(1)])
    np.testing.assert_allclose(model.fit().llnull, -counts @ (np.arange(S) % 3), rtol=1e-12)
    alone = CASES["mixed, alone"].build()
    w = np.arange(S) % 3
    mixed = weighted(alone, np.arange(S), w).fit()
    logs = np.log(arrays()["there"].sum(1))
    np.testing.assert_allclose(mixed.llnull, -logs @ w, rtol=1e-12)


# --- Kept results ----------------------------------------------------------------------------------------------------

FRESH = """
import sys, warnings
import torchmle as tm
warnings.simplefilter("ignore")
res = tm.load(sys.argv[1])
print(type(res).__name__, [float(v).hex() for v in res.bse], round(res.llf, 9), res.model.alternatives)
"""


def with_formula(kind: str) -> Any:
    trips = tm.datasets.load("trips")
    layout = {"alternatives": "mode", "situations": "trip", "persons": "person", "base": "bus"}
    cls, own = {
        "conditional": (tm.ConditionalLogit, {}),
        "nested": (tm.NestedLogit, {"nests": {"n": ["bus", "train"]}}),
        "cross": (tm.CrossNestedLogit, {"nests": {"n": ["bus", "train"], "m": ["bus", "car"]}}),
        "scaled": (tm.HeteroskedasticLogit, {"scale": "distance"}),
        "latent": (tm.LatentClassLogit, {"membership": "income"}),
        "mixed": (tm.MixedLogit, {"random": {"time": "normal"}, "means": {"time": "~ income"}, "draws": 20}),
    }[kind]
    return cls.from_formula("chosen ~ time + cost", trips, **layout, **own)


@pytest.mark.parametrize("kind", ["conditional", "nested", "cross", "scaled", "latent", "mixed"])
@pytest.mark.filterwarnings("ignore::torchmle.DataWarning")  # the file does not hold the table of a formula
def test_kept_and_lean(kind, tmp_path):
    res = with_formula(kind).fit()
    for data in (True, False):
        res.save(tmp_path / "a", data=data)
        again = tm.load(tmp_path / "a")
        pd.testing.assert_frame_equal(again.cov_params(), res.cov_params())
        assert str(again.summary()) == str(res.summary())
        assert again.model.alternatives == res.model.alternatives
        assert type(again) is type(res)
    full = tm.load(tmp_path / "a", model=with_formula(kind))
    pd.testing.assert_frame_equal(full.with_cov("HC1").cov_params(), res.with_cov("HC1").cov_params())
    copied = pickle.loads(pickle.dumps(res))
    pd.testing.assert_frame_equal(copied.with_cov("HC1").cov_params(), res.with_cov("HC1").cov_params())
    bare = res.lean()
    assert len(pickle.dumps(bare)) < 60_000  # the attributes alone take 1000 x 4 x 5 x 8 bytes
    assert (tmp_path / "a").stat().st_size < 60_000
    with pytest.raises(tm.NoDataError):
        bare.with_cov("HC0")


@pytest.mark.filterwarnings("ignore::torchmle.DataWarning")
def test_a_new_process_reads_the_file(tmp_path):
    res = with_formula("nested").fit()
    res.save(tmp_path / "a")
    shown = subprocess.run([sys.executable, "-c", FRESH, tmp_path / "a"], capture_output=True, text=True, check=True)
    expected = f"ChoiceResults {[float(v).hex() for v in res.bse]} {round(res.llf, 9)} {res.model.alternatives}"
    assert shown.stdout.strip() == expected


def test_what_needs_a_number_as_response_says_so():
    with pytest.raises(tm.UndefinedStatisticError, match="kind='pairs'"):
        CASES["conditional"].build().fit().bootstrap(20, kind="parametric", seed=1)
