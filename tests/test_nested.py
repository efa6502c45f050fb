"""Nested, cross-nested, heteroskedastic and rank-ordered logits against textbook formulas written as loops."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from statsmodels.discrete.conditional_models import ConditionalLogit as SmConditionalLogit

import torchmle as tm

S, J, K = 90, 5, 3
LABELS = ["a", "b", "c", "d", "e"]
TWO = {"left": ["a", "b"], "right": ["c", "d"]}
DEEP = {"big": {"small": ["a", "b"], "one": ["c"], "pair": ["d"]}}
OVER = {"left": ["a", "b", "c"], "right": ["c", "d", "a"]}
SHARES = {"a": {"left": 0.3, "right": 0.7}, "c": {"left": 0.8, "right": 0.2}}
MODELS = {
    "two nests": (tm.NestedLogit, {"nests": TWO}, [0.6, 1.3]),
    "three levels": (tm.NestedLogit, {"nests": DEEP}, [0.8, 0.5]),
    "shares known": (tm.CrossNestedLogit, {"nests": OVER, "allocation": SHARES}, [0.6, 0.4]),
    "shares estimated": (tm.CrossNestedLogit, {"nests": OVER}, [0.6, 0.4, 0.3, -0.5]),
    "one share known": (tm.CrossNestedLogit, {"nests": OVER, "allocation": {"a": SHARES["a"]}}, [0.7, 0.5, -0.4]),
    "scale": (tm.HeteroskedasticLogit, {}, [0.3, -0.4]),
    "ranks": (tm.RankOrderedLogit, {}, []),
    "ranks, incomplete": (tm.RankOrderedLogit, {}, []),
}
B = np.array([0.5, -0.8, 0.4])


@functools.cache
def data() -> dict[str, Any]:
    """Return attributes, a third of them unavailable, choices, ranks and variables of the situation."""
    rng = np.random.default_rng(11)
    X = rng.normal(size=(S, J, K))
    there = rng.random((S, J)) < 0.7
    there[np.arange(S), rng.integers(0, J, S)] = True
    U = np.where(there, X @ B + rng.gumbel(size=(S, J)), -np.inf)
    place = (-U).argsort(1).argsort(1) + 1
    ranks = np.where(there, place, 0)
    top = np.where(ranks <= 2, ranks, 0)
    return {"X": X, "there": there, "y": U.argmax(1), "ranks": ranks, "top": top, "Z": rng.normal(size=(S, 2))}


def build(kind: str, rows: Any = slice(None), **more: Any) -> Any:
    cls, own, _ = MODELS[kind]
    d = data()
    own = {"scale": d["Z"][rows]} if kind == "scale" else dict(own)
    y = {"ranks": d["ranks"], "ranks, incomplete": d["top"]}.get(kind, np.array(LABELS)[d["y"]])
    given = {"available": d["there"][rows], "alternatives": LABELS, **own, **more}
    return cls(y[rows], d["X"][rows], **given)


def point(kind: str) -> np.ndarray:
    return np.array([*B, *MODELS[kind][2]])


# --- The formulas of the textbooks, with exponentials and loops ------------------------------------------------------


def nested(V: dict[str, float], nests: Any, lam: dict[str, float], outer: float = 1.0) -> tuple[float, dict]:
    """Return exp(value / outer) of what is in some nests, and the probabilities within: Train, chapter 4."""
    G, P = 0.0, {}
    for name, inside in nests.items():
        own = lam.get(name, outer)
        if isinstance(inside, dict):
            g, p = nested(V, inside, lam, own)
        else:
            e = {a: np.exp(V[a] / own) for a in inside if a in V}
            g = sum(e.values())
            p = {a: v / g for a, v in e.items()}
        if g > 0:
            weight = g ** (own / outer)
            G += weight
            P |= {a: v * weight for a, v in p.items()}
    return G, ({a: v / G for a, v in P.items()} if G else {})


def cross(V: dict[str, float], shares: dict[str, dict[str, float]], lam: dict[str, float]) -> dict[str, float]:
    """Return the probabilities of Wen and Koppelman (2001), equations 1 to 3."""
    y = {m: {a: (s[a] * np.exp(V[a])) ** (1 / lam[m]) for a in s if a in V} for m, s in shares.items()}
    inside = {m: sum(v.values()) for m, v in y.items()}
    total = sum(inside[m] ** lam[m] for m in y)
    return {a: sum(v[a] / inside[m] * inside[m] ** lam[m] / total for m, v in y.items() if a in v) for a in V}


def shares_of(kind: str, free: np.ndarray) -> dict[str, dict[str, float]]:
    known = MODELS[kind][1].get("allocation", {})
    odds, own = iter(free), {}
    for a in ("a", "c"):
        if a in known:
            own[a] = known[a]
        else:
            e = np.exp(next(odds))
            own[a] = {"left": 1 / (1 + e), "right": e / (1 + e)}
    found = {m: {a: own[a][m] if a in own else 1.0 for a in inside} for m, inside in OVER.items()}
    return {**found, "e": {"e": 1.0}}


def by_hand(kind: str, theta: np.ndarray) -> np.ndarray:
    """Return the log-probability of each choice or ranking."""
    d, own = data(), theta[K:]
    out = []
    for s in range(S):
        V = {a: float(d["X"][s, j] @ theta[:K]) for j, a in enumerate(LABELS) if d["there"][s, j]}
        if kind.startswith("ranks"):
            ranks = d["ranks" if kind == "ranks" else "top"][s]
            left, p = dict(V), 1.0
            for j in [j for j in np.argsort(ranks) if ranks[j] > 0]:
                p *= np.exp(left[LABELS[j]]) / sum(np.exp(v) for v in left.values())
                del left[LABELS[j]]
            out.append(np.log(p))
            continue
        if kind == "two nests":
            _, P = nested(V, {**TWO, "e": ["e"]}, dict(zip(TWO, own, strict=True)))
        elif kind == "three levels":
            _, P = nested(V, {**DEEP, "e": ["e"]}, {"big": own[0], "small": own[1]})
        elif kind == "scale":
            e = {a: np.exp(np.exp(d["Z"][s] @ own) * v) for a, v in V.items()}
            P = {a: v / sum(e.values()) for a, v in e.items()}
        else:
            P = cross(V, shares_of(kind, own[2:]), {"left": own[0], "right": own[1], "e": 1.0})
        out.append(np.log(P[LABELS[d["y"][s]]]))
    return np.array(out)


def by_differences(f: Any, at: np.ndarray, step: float) -> np.ndarray:
    """Return central differences of order four."""
    columns = []
    for i in range(len(at)):
        e = np.eye(len(at))[i] * step
        columns.append((8 * (f(at + e) - f(at - e)) - (f(at + 2 * e) - f(at - 2 * e))) / (12 * step))
    return np.array(columns).T


@pytest.mark.parametrize("kind", MODELS)
def test_log_probabilities_are_those_of_the_textbook(kind):
    at = point(kind)
    np.testing.assert_allclose(build(kind).loglikeobs(at).numpy(), by_hand(kind, at), rtol=1e-12)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", [0, 1])
def test_derivatives_are_those_of_the_textbook(kind, seed):
    m = build(kind)
    at = point(kind) * np.random.default_rng(seed).uniform(0.8, 1.2, len(point(kind)))
    scores = by_differences(lambda t: by_hand(kind, t), at, 2e-3)
    # truncation of order h^4 = 1.6e-11 and rounding of 1e-13 / h, times constants below a hundred
    np.testing.assert_allclose(m.score_obs(at), scores, atol=2e-8)
    np.testing.assert_allclose(m.score(at), scores.sum(0), atol=1e-7)
    np.testing.assert_allclose(m.hessian(at), by_differences(m.score, at, 2e-3), atol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_weights_and_chunks(kind):
    """Weighted sums in chunks of seven are those of the rows."""
    w = np.random.default_rng(2).integers(1, 4, S)
    m, at = build(kind, freq_weights=w), point(kind)
    np.testing.assert_allclose(m.loglike(at), w @ by_hand(kind, at), rtol=1e-12)
    np.testing.assert_allclose(m.score(at), w @ m.score_obs(at), atol=1e-10)
    objective = m.make_objective(m.make_map(m.param_names, "raw"))
    whole = objective.sum_moments(torch.from_numpy(at), 2)
    objective.chunk = 7
    parts = objective.sum_moments(torch.from_numpy(at), 2)
    np.testing.assert_allclose(parts.hessian, whole.hessian, atol=1e-10)
    np.testing.assert_allclose(m.hessian(at), whole.hessian, atol=1e-10)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("size", [1e3, -1e3])
def test_extreme_utilities(kind, size):
    """Values, scores and Hessians stay finite, and a choice against all odds has a score."""
    m, at = build(kind), point(kind)
    at[:K] = size
    assert torch.isfinite(m.loglikeobs(at)).all()
    assert np.isfinite(m.hessian(at)).all()
    scores = m.score_obs(at)
    assert np.isfinite(scores).all()
    contested = data()["there"].sum(1) > 1
    other = at.copy()
    other[:K] = -size
    assert (np.abs(scores) + np.abs(m.score_obs(other)) > 0).any(1)[contested].all()


@pytest.mark.parametrize("kind", MODELS)
def test_an_alternative_that_is_never_available_does_not_matter(kind):
    d = data()
    rng = np.random.default_rng(3)
    X = np.concatenate([d["X"], np.full((S, 1, K), np.nan)], 1)
    there = np.concatenate([d["there"], np.zeros((S, 1), bool)], 1)
    own = dict(MODELS[kind][1]) if kind != "scale" else {"scale": d["Z"]}
    y = np.array(LABELS)[d["y"]]
    if kind.startswith("ranks"):
        y = np.pad(d["ranks" if kind == "ranks" else "top"], ((0, 0), (0, 1)))
    more = MODELS[kind][0](y, X, available=there, alternatives=[*LABELS, "z"], **own)
    at = point(kind) + 0.1 * rng.normal(size=len(point(kind)))
    np.testing.assert_allclose(more.loglikeobs(at), build(kind).loglikeobs(at), rtol=1e-12)
    np.testing.assert_allclose(more.hessian(at), build(kind).hessian(at), rtol=1e-9, atol=1e-9)


REDUCED = {
    "two nests": {"lambda_left": 1.0, "lambda_right": 1.0},
    "three levels": {"lambda_big": 1.0, "lambda_small": 1.0},
    "shares known": {"lambda_left": 1.0, "lambda_right": 1.0},
    "scale": {"scale:z1": 0.0, "scale:z2": 0.0},
}


@pytest.mark.parametrize("kind", REDUCED)
def test_without_likeness_it_is_the_conditional_logit(kind):
    d = data()
    plain = tm.ConditionalLogit(d["y"], d["X"], available=d["there"]).fit(cov_type="HC0")
    here = build(kind).fit(fixed=REDUCED[kind], cov_type="HC0")
    np.testing.assert_allclose(here.llf, plain.llf, rtol=1e-13)
    np.testing.assert_allclose(here.params[:K], plain.params, atol=1e-6)  # two points that both pass as a maximum
    np.testing.assert_allclose(here.bse[:K], plain.bse, rtol=1e-5)


def test_nests_that_do_not_share_are_nested():
    at = point("two nests")
    own = {"nests": TWO, "alternatives": LABELS, "available": data()["there"]}
    y = np.array(LABELS)[data()["y"]]
    flat = tm.CrossNestedLogit(y, data()["X"], **own)
    assert flat.param_names == build("two nests").param_names
    np.testing.assert_allclose(flat.loglikeobs(at), build("two nests").loglikeobs(at), rtol=1e-12)
    np.testing.assert_allclose(flat.hessian(at), build("two nests").hessian(at), atol=1e-10)


def test_ranks_against_statsmodels():
    """Each rank given is a choice among what is left: strata of statsmodels' conditional logit."""
    d = data()
    y, X, group = [], [], itertools.count()
    groups = []
    for s in range(S):
        left = [j for j in range(J) if d["there"][s, j]]
        for j in [j for j in np.argsort(d["top"][s]) if d["top"][s, j] > 0]:
            if len(left) > 1:
                g = next(group)
                y += [int(i == j) for i in left]
                X += [d["X"][s, i] for i in left]
                groups += [g] * len(left)
            left.remove(j)
    theirs = SmConditionalLogit(np.array(y), np.array(X), groups=np.array(groups)).fit(method="newton", disp=0)
    ours = build("ranks, incomplete").fit()
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-6)
    np.testing.assert_allclose(ours.bse, theirs.bse, rtol=1e-5)
    np.testing.assert_allclose(ours.llf, theirs.llf, rtol=1e-10)
    assert ours.nobs == S


def test_the_first_ranks_alone_are_choices():
    d = data()
    first = np.where(d["ranks"] == 1, 1, 0)
    ranked = tm.RankOrderedLogit(first, d["X"], available=d["there"]).fit(cov_type="HC1")
    chosen = tm.ConditionalLogit(d["y"], d["X"], available=d["there"]).fit(cov_type="HC1")
    np.testing.assert_allclose(ranked.params, chosen.params, atol=1e-6)
    np.testing.assert_allclose(ranked.bse, chosen.bse, rtol=1e-5)
    np.testing.assert_allclose([ranked.llf, ranked.llnull, ranked.bic], [chosen.llf, chosen.llnull, chosen.bic])


def test_the_gaps_between_ranks_do_not_matter():
    d = data()
    at = point("ranks")
    wide = tm.RankOrderedLogit(d["ranks"] ** 2 / 2, d["X"], available=d["there"])
    np.testing.assert_array_equal(wide.loglikeobs(at), build("ranks").loglikeobs(at))


# --- Fits ---------------------------------------------------------------------------------------------------------


@functools.cache
def many(lam: float = 0.5) -> tuple[np.ndarray, np.ndarray, tm.NestedLogit]:
    """Return choices drawn from a nested logit by its definition: nest first, then the alternative."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(4000, J, K))
    m = tm.NestedLogit(np.zeros(4000, int), X, nests={"left": [0, 1], "right": [2, 3]})
    y = m.simulate([*B, lam, lam], seed=8).to_numpy().astype(int)
    return X, y, m


def test_estimates_recover_the_truth_and_restrictions_hold():
    X, y, _ = many()
    m = tm.NestedLogit(y, X, nests={"left": [0, 1], "right": [2, 3]})
    res = m.fit()
    truth = np.array([*B, 0.5, 0.5])
    assert (np.abs((res.params - truth) / res.bse) < 4).all()
    common = m.fit(constraints="lambda_left = lambda_right")
    assert common.params["lambda_left"] == pytest.approx(common.params["lambda_right"], abs=1e-14)
    assert res.llf - 8 < common.llf < res.llf  # a likelihood-ratio statistic of 16 has a probability of 6e-5
    one = tm.NestedLogit(y, X, nests={"left": [0, 1], "right": [2, 3]}).fit(fixed={"lambda_left": 0.5})
    assert one.params["lambda_left"] == 0.5
    groups = np.arange(len(y))
    np.testing.assert_allclose(
        m.fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}).bse,
        res.with_cov("HC0").bse,
        rtol=1e-9,
    )


def test_a_dissimilarity_above_one():
    """Free, it is reported with a note; bounded, it stays at 1, where the model is a conditional logit there."""
    X, y, _ = many(1.4)
    nests = {"left": [0, 1], "right": [2, 3]}
    free = tm.NestedLogit(y, X, nests=nests).fit()
    assert free.params["lambda_left"] > 1
    assert sum("is above 1" in note for note in free.fit.notes) == 2
    assert "is above 1" in " ".join(str(free.summary()).split())
    bounded = tm.NestedLogit(y, X, nests=nests, bounded=True).fit()
    plain = tm.ConditionalLogit(y, X).fit()
    assert bounded.converged
    np.testing.assert_allclose(bounded.params[:K], plain.params, atol=1e-6)
    np.testing.assert_allclose(bounded.params[K:], 1.0)
    assert not any("is above 1" in note for note in bounded.fit.notes)


def test_a_dissimilarity_that_is_not_positive_has_no_likelihood():
    at = point("two nests")
    at[K] = -0.5
    values = build("two nests").loglikeobs(at)
    assert torch.isnan(values).any()
    with pytest.raises(tm.LikelihoodError, match="start_params"):
        build("two nests").fit(start_params=at)


def test_attributes_far_from_zero():
    """The same data plus a million: Hessians of differences keep their digits."""
    d = data()
    own = {"nests": TWO, "alternatives": LABELS, "available": d["there"]}
    y = np.array(LABELS)[d["y"]]
    at = point("two nests")
    far = tm.NestedLogit(y, d["X"] + 2.0**20, **own)
    # adding 2^20 rounds attributes to 2^-33 = 1e-10
    np.testing.assert_allclose(far.hessian(at), build("two nests").hessian(at), atol=1e-6)


def test_a_kernel_of_ones_own():
    """A subclass writes ``log_probabilities`` only; an outside option of utility zero is not one of differences."""

    class Outside(tm.ConditionalLogit.__mro__[1]):
        extra_params = ("outside",)

        def log_probabilities(self, V, params, available):
            there = V if available is None else V.masked_fill(~available, -torch.inf)
            none = params[-1].expand(len(V), 1)
            return there - torch.logsumexp(torch.cat([there, none], 1), 1, keepdim=True)

    d = data()
    m = Outside(d["y"], d["X"], available=d["there"])
    at = np.array([*B, -0.3])
    e = np.where(d["there"], np.exp(d["X"] @ B), 0.0)
    expected = np.log(e[np.arange(S), d["y"]] / (e.sum(1) + np.exp(-0.3)))
    np.testing.assert_allclose(m.loglikeobs(at), expected, rtol=1e-12)
    np.testing.assert_allclose(m.score(at), by_differences(m.loglike, at, 2e-3), atol=1e-7)
    np.testing.assert_allclose(m.hessian(at), by_differences(m.score, at, 2e-3), atol=1e-6)


# --- Simulation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in MODELS if not k.startswith("ranks")])
def test_draws_have_the_probabilities(kind):
    m, at = build(kind), point(kind)
    theta = torch.from_numpy(at)
    P = m.log_probabilities(m.X @ theta[:K], theta, m.available).exp().numpy()
    np.testing.assert_allclose(P.sum(1), 1, rtol=1e-12)
    drawn = m.simulate(at, n=400, seed=1).to_numpy()
    share = np.stack([(drawn == a).mean(1) for a in LABELS], 1)
    z = (share - P).sum(0) / np.sqrt((P * (1 - P)).sum(0) / 400)
    assert np.abs(z).max() < 4.5
    assert not share[~data()["there"]].any()
    pd.testing.assert_series_equal(m.simulate(at, seed=4), m.simulate(at, seed=4))
    assert (m.simulate(at, seed=4) != m.simulate(at, seed=5)).any()


def test_drawn_rankings_have_a_mean_score_of_zero():
    m, at = build("ranks, incomplete"), point("ranks, incomplete")
    drawn = m.simulate(at, n=60, seed=2)
    scores = []
    for number in range(60):
        ranks = drawn[number].to_numpy()
        assert ((ranks > 0).sum(1) == (data()["top"] > 0).sum(1)).all()
        again = tm.RankOrderedLogit(ranks, data()["X"], available=data()["there"])
        scores.append(again.score(at))
    z = np.mean(scores, 0) / (np.std(scores, 0, ddof=1) / np.sqrt(60))
    assert np.abs(z).max() < 4.5


# --- Tables and formulas -------------------------------------------------------------------------------------------


def long_ranks() -> pd.DataFrame:
    d = data()
    s, j = np.nonzero(d["there"])
    return pd.DataFrame(
        {"id": s, "alt": np.array(LABELS)[j], "rank": d["ranks"][s, j], "w": s % 3 + 1, "x": d["X"][s, j, 0]}
    ).sample(frac=1, random_state=0)


def test_rankings_of_a_long_table():
    table = long_ranks()
    before = table.copy()
    m = tm.RankOrderedLogit.from_formula("rank ~ x | 0", table, alternatives="alt", situations="id", freq_weights="w")
    plain = tm.RankOrderedLogit(data()["ranks"], data()["X"][:, :, :1], available=data()["there"])
    labels = [int(v) for v in m.data.rows.labels]
    each = plain.loglikeobs([0.4]).numpy()[labels]
    np.testing.assert_allclose(m.loglikeobs([0.4]), each, rtol=1e-12)
    np.testing.assert_allclose(m.loglike([0.4]), each @ (np.array(labels) % 3 + 1), rtol=1e-12)
    assert m.fit().summary() is not None
    assert m.endog_names == "rank"
    pd.testing.assert_frame_equal(table, before)


def test_a_missing_rank_drops_its_ranking():
    table = long_ranks()
    table["rank"] = table["rank"].astype(float).where(table.id != 3)
    m = tm.RankOrderedLogit.from_formula("rank ~ x | 0", table, alternatives="alt", situations="id")
    assert m.nobs == S - 1
    with pytest.raises(tm.DataError, match="missing='raise'"):
        tm.RankOrderedLogit.from_formula("rank ~ x | 0", table, alternatives="alt", situations="id", missing="raise")


def test_scale_variables_of_situations_within_a_person():
    """``distance`` varies between the trips of a person; the scale is by trip. Against the array form."""
    trips = tm.datasets.load("trips")
    layout = {"alternatives": "mode", "situations": "trip", "persons": "person", "base": "bus"}
    m = tm.HeteroskedasticLogit.from_formula("chosen ~ time + cost", trips, scale="distance + income", **layout)
    heads = trips.groupby("trip").first().loc[m.design.data.labels]
    plain = tm.ConditionalLogit.from_formula("chosen ~ time + cost", trips, **layout)
    arrays = tm.HeteroskedasticLogit(
        plain.chosen, plain.X, available=plain.available, scale=heads[["distance", "income"]]
    )
    at = [0.1, -0.3, 0.5, -0.07, -0.3, 0.02, 0.003]
    assert m.param_names[-2:] == arrays.param_names[-2:] == ("scale:distance", "scale:income")
    np.testing.assert_allclose(m.loglikeobs(at), arrays.loglikeobs(at), rtol=1e-13)


def test_missing_scale_variables_drop_their_situations():
    trips = tm.datasets.load("trips")
    trips["income"] = trips["income"].where(trips.trip > 10)
    m = tm.HeteroskedasticLogit.from_formula(
        "chosen ~ time", trips, scale="income", alternatives="mode", situations="trip"
    )
    assert m.nobs == 990


# --- Bad input ----------------------------------------------------------------------------------------------------

TRIPS = {"formula": "chosen ~ time", "data": tm.datasets.load("trips"), "alternatives": "mode", "situations": "trip"}
BAD = [
    (tm.NestedLogit, {"nests": {"n": ["bus", "trian"]}}, "Did you mean 'train'"),
    (tm.NestedLogit, {"nests": {"n": ["bus", "train"], "m": ["train", "car"]}}, "CrossNestedLogit"),
    (tm.NestedLogit, {"nests": {"n": ["bus", "bus"]}}, "stands twice in 'n'"),
    (tm.NestedLogit, {"nests": {"n": ["bus", "train", "bike", "car"]}}, "holds all alternatives"),
    (tm.NestedLogit, {"nests": {"n": ["bus"], "m": ["car"]}}, "No nest"),
    (tm.NestedLogit, {"nests": {"n": []}}, "empty"),
    (tm.NestedLogit, {"nests": {"n": {"n": ["bus", "train"], "m": ["car"]}}}, "Two nests are called 'n'"),
    (tm.NestedLogit, {"nests": None}, "must be a dict"),
    (tm.NestedLogit, {"nests": {"n": ["bus", "car"]}, "bounded": 1}, "bounded"),
    (tm.NestedLogit, {"nest": {"n": ["bus", "car"]}}, "Did you mean 'nests'"),
    (tm.CrossNestedLogit, {"nests": {"n": ["bus", "train", "bike", "car"]}}, "holds all alternatives"),
    (tm.CrossNestedLogit, {"nests": {"n": ["bus", "cars"]}}, "Did you mean 'car'"),
    (tm.CrossNestedLogit, {"nests": {"n": {"m": ["bus", "car"]}}}, "two levels"),
    (
        tm.CrossNestedLogit,
        {"nests": {"n": ["bus", "car"], "m": ["bus", "train"]}, "allocation": {"bus": {"n": 1.0}}},
        "add up",
    ),
    (
        tm.CrossNestedLogit,
        {"nests": {"north": ["bus", "car"]}, "allocation": {"bus": {"nort": 1.0}}},
        "Did you mean 'north'",
    ),
    (tm.HeteroskedasticLogit, {}, "ConditionalLogit"),
    (tm.HeteroskedasticLogit, {"scale": "cost"}, "situations?|persons?"),
    (tm.HeteroskedasticLogit, {"scale": "incom"}, "income"),
    (tm.HeteroskedasticLogit, {"scale": "1"}, "no variable"),
    (tm.RankOrderedLogit, {"nests": {}}, "Unknown argument"),
]


@pytest.mark.parametrize(("cls", "own", "told"), BAD)
def test_bad_arguments(cls, own, told):
    given = {k: v for k, v in TRIPS.items() if k not in ("formula", "data")}
    with pytest.raises((tm.OptionError, tm.DataError), match=told):
        cls.from_formula(TRIPS["formula"], TRIPS["data"], **given, **own)


@pytest.mark.parametrize("cls", [tm.NestedLogit, tm.CrossNestedLogit])
def test_a_nest_whose_alternatives_never_meet(cls):
    there = np.ones((S, J), bool)
    there[::2, 0], there[1::2, 1] = False, False
    y = np.full(S, 2)
    with pytest.raises(tm.OptionError, match="In no choice situation"):
        cls(y, data()["X"], available=there, nests={"left": [0, 1]})


@pytest.mark.parametrize(
    ("ranks", "told"),
    [
        ([[1, 1, 2]], "ties"),
        ([[1, -1, 2]], "negative"),
        ([[0, 0, 0]], "nothing is ranked"),
        ([[1, np.nan, 2]], "no numbers"),
        ([[1, 2]], "shape"),
    ],
)
def test_bad_ranks(ranks, told):
    X = np.random.default_rng(0).normal(size=(4, 3, 1))
    good = [[1, 2, 3], [3, 2, 1], [2, 1, 0]] if len(ranks[0]) == 3 else [[1, 2]] * 3
    with pytest.raises(tm.DataError, match=told):
        tm.RankOrderedLogit([*good, *ranks], X)


def test_a_ranked_alternative_that_is_not_available():
    X, there = np.random.default_rng(0).normal(size=(4, 3, 1)), np.ones((4, 3), bool)
    there[0, 2] = False
    with pytest.raises(tm.DataError, match="not available"):
        tm.RankOrderedLogit([[1, 2, 3], [3, 2, 1], [2, 1, 0], [1, 3, 2]], X, available=there)
