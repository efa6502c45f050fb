"""Bounds on parameters: against scipy's constrained minimisers, restricted fits, and the conditions of a maximum."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import torchmle as tm

MROZ = tm.datasets.load("mroz")
WAGE = tm.datasets.load("wage1")
CRIME = tm.datasets.load("crime1")
LOGIT = tm.Logit.from_formula("inlf ~ educ + exper + age + kidslt6", MROZ)
FREE = LOGIT.fit()


def at_bound(results):
    """The names that a fit reports at a bound, in its notes."""
    notes = [n for n in results.fit.notes if n.startswith("At a bound")]
    return {part.split()[0] for part in notes[0].removeprefix("At a bound: ").split(";")} if notes else set()


# ---- restricted fits

WHERE = {  # bounds, and the fit in which those that bind are held
    "one": ({"educ": (0.3, None)}, {"educ": 0.3}),
    "upper": ({"exper": (None, 0.05)}, {"exper": 0.05}),
    "at zero": ({"kidslt6": (0, None)}, {"kidslt6": 0.0}),
    "two": ({"kidslt6": (-0.5, 2), "educ": (None, 0.1)}, {"kidslt6": -0.5, "educ": 0.1}),
    "one of two binds": ({"kidslt6": (-0.5, 2), "educ": (0, 1)}, {"kidslt6": -0.5}),
    "the intercept": ({"Intercept": (None, 0)}, {"Intercept": 0.0}),
}


@pytest.mark.parametrize("name", WHERE)
@pytest.mark.parametrize("cov_type", ["nonrobust", "HC1", "opg"])
def test_equals_the_fit_with_the_bounds_held(name, cov_type):
    bounds, held = WHERE[name]
    ours, reference = (LOGIT.fit(cov_type=cov_type, **o) for o in ({"bounds": bounds}, {"fixed": held}))
    assert ours.converged
    np.testing.assert_allclose(ours.params, reference.params, rtol=1e-9)
    others = [n for n in ours.params.index if n not in held]
    np.testing.assert_allclose(ours.bse[others], reference.bse[others], rtol=1e-7)
    assert ours.bse[list(held)].isna().all()
    assert [ours.params[n] for n in held] == list(held.values())
    assert at_bound(ours) == set(held)
    text = ours.summary().as_text()
    for n, (low, _) in {n: bounds[n] for n in held}.items():
        line = next(line for line in text.splitlines() if line.startswith(n))
        assert f"(at {'lower' if low == held[n] else 'upper'} bound)" in line
    assert ours.df_resid == reference.df_resid


def test_bounds_that_do_not_bind_change_nothing():
    ours = LOGIT.fit(bounds={n: (v - 1, v + 1) for n, v in FREE.params.items()})
    np.testing.assert_allclose(ours.params, FREE.params, rtol=1e-9)
    np.testing.assert_allclose(ours.bse, FREE.bse, rtol=1e-8)
    assert at_bound(ours) == set()


def test_all_parameters_at_bounds():
    bounds = {n: (v + 0.01, None) for n, v in FREE.params.items()}
    ours = LOGIT.fit(bounds=bounds)
    assert ours.converged
    assert [ours.params[n] for n in bounds] == [low for low, _ in bounds.values()]
    assert ours.bse.isna().all()
    assert ours.llf == pytest.approx(LOGIT.loglike(ours.params), rel=1e-14)
    assert (ours.score < 0).all()  # each would rather be smaller
    assert "(at lower bound)" in ours.summary().as_text()


def test_columns_far_from_zero():
    formula = "inlf ~ educ + I(age + 1e6)"
    model = tm.Logit.from_formula(formula, MROZ)
    for bounds, held in [({"Intercept": (-1, 0)}, 0.0), ({"Intercept": (None, 7000.0)}, 7000.0)]:
        ours = model.fit(bounds=bounds)
        reference = model.fit(fixed={"Intercept": held})
        np.testing.assert_allclose(ours.params, reference.params, rtol=1e-9)
        np.testing.assert_allclose(ours.bse[1:], reference.bse[1:], rtol=1e-7)
        assert at_bound(ours) == {"Intercept"}
    free = model.fit()
    inside = model.fit(bounds={"Intercept": (0, None)})
    np.testing.assert_allclose(inside.params, free.params, rtol=1e-9)


def test_natural_parameters():
    ols = tm.OLS.from_formula("lwage ~ educ", WAGE)
    closed = ols.fit()
    for bounds, value in [((0.6, None), 0.6), ((None, 0.3), 0.3), ((0.1, 0.45), 0.45)]:
        ours = ols.fit(method="newton", bounds={"sigma": bounds})
        np.testing.assert_allclose(ours.params, [*closed.params, value], rtol=1e-9)
        np.testing.assert_allclose(ours.bse[:2], closed.bse * value / math.sqrt(closed.scale), rtol=1e-8)
        assert math.isnan(ours.bse["sigma"])
    negbin = tm.NegativeBinomial.from_formula("narr86 ~ pcnv + black", CRIME)
    for bounds, value in [((1.5, None), 1.5), ((None, 0.5), 0.5)]:
        ours, reference = negbin.fit(bounds={"alpha": bounds}), negbin.fit(fixed={"alpha": value})
        np.testing.assert_allclose(ours.params, reference.params, rtol=1e-9)
        np.testing.assert_allclose(ours.bse[:3], reference.bse[:3], rtol=1e-7)
    assert negbin.fit(bounds={"alpha": (0, None)}).converged  # its range says so anyway


# ---- beside fixed parameters and equations


def test_a_fixed_parameter_at_its_bound_is_fixed():
    ours = LOGIT.fit(fixed={"educ": 0}, bounds={"educ": (0, 1)})
    assert at_bound(ours) == set()
    assert ours.bse["educ"] == 0
    assert "(fixed)" in ours.summary().as_text()
    with pytest.raises(tm.OptionError, match="hold it outside, not at most 1"):
        LOGIT.fit(fixed={"educ": 3}, bounds={"educ": (0, 1)})


def test_a_parameter_that_a_constraint_ties_to_a_bound():
    ours = LOGIT.fit(constraints="educ = exper", bounds={"educ": (0.3, 1)})
    reference = LOGIT.fit(fixed={"educ": 0.3, "exper": 0.3})
    np.testing.assert_allclose(ours.params, reference.params, rtol=1e-9)
    assert ours.bse[["educ", "exper"]].isna().all()
    assert "(at a bound)" in ours.summary().as_text()


def test_contradictions():
    with pytest.raises(tm.OptionError, match="contradict"):
        LOGIT.fit(constraints="educ = exper", bounds={"educ": (0.3, 1), "exper": (None, 0)})


@pytest.mark.parametrize("method", ["bfgs", "lbfgs", "bhhh", "adam", "scipy:L-BFGS-B", "torch:Rprop"])
def test_other_methods_refuse_by_name(method):
    with pytest.raises(tm.OptionError, match=f"method='{method}' cannot hold bounds; use method='newton'"):
        LOGIT.fit(method=method, bounds={"educ": (0, None)})


def test_a_start_outside_is_refused_where_the_user_gave_it():
    with pytest.raises(tm.OptionError, match="educ=0 is outside its bounds"):
        LOGIT.fit([0] * 5, bounds={"educ": (0.3, 1)})
    with pytest.raises(tm.OptionError, match=r"resume: educ=.* is outside its bounds"):
        LOGIT.fit(resume=FREE, bounds={"educ": (0.3, 1)})
    bounded = LOGIT.fit(bounds={"educ": (0.3, 1)})
    again = LOGIT.fit(resume=bounded, bounds={"educ": (0.3, 1)})
    np.testing.assert_allclose(again.params, bounded.params, rtol=1e-9)
    assert at_bound(again) == {"educ"}


@pytest.mark.parametrize(("bounds", "words"), [
    ({"edu": (0, 1)}, "Did you mean 'educ'"),
    ({3: (0, 1)}, "Unknown parameter in bounds: 3"),
    ({"educ": 0}, "must be a pair"),
    ({"educ": None}, "must be a pair"),
    ({"educ": "01"}, "must be a pair"),
    ({"educ": (0, 1, 2)}, "must be a pair"),
    ({"educ": slice(0, 1)}, "must be a pair"),
    ({"educ": ("0", 1)}, "numbers or None"),
    ({"educ": (math.nan, 1)}, "numbers or None"),
    ({"educ": (True, None)}, "numbers or None"),
    ({"educ": (math.inf, None)}, "numbers or None"),
    ({"educ": (None, -math.inf)}, "numbers or None"),
    ({"educ": (1j, None)}, "numbers or None"),
    ({"educ": (1, 0)}, "the lower end is above the upper one"),
    ({"educ": (1, 1)}, r"use fixed=\{'educ': 1\}"),
    ([(0, 1)], "must be a dict"),
    ("educ > 0", "must be a dict"),
], ids=str)  # fmt: skip
def test_misuse(bounds, words):
    with pytest.raises(tm.OptionError, match=words):
        LOGIT.fit(bounds=bounds)


@pytest.mark.parametrize("bounds", [{}, {"educ": (None, None)}, {"educ": (-math.inf, math.inf)}], ids=str)
def test_no_bounds_at_all(bounds):
    np.testing.assert_allclose(LOGIT.fit(bounds=bounds).params, FREE.params, rtol=1e-9)


def test_least_squares_in_closed_form_refuses_bounds():
    with pytest.raises(tm.OptionError, match="does not iterate"):
        tm.OLS.from_formula("lwage ~ educ", WAGE).fit(bounds={"educ": (0, None)})


def test_a_stop_before_the_end_is_no_estimate():
    with pytest.warns(tm.ConvergenceWarning):
        ours = LOGIT.fit(bounds={"educ": (0.5, None)}, maxiter=1)
    assert not ours.converged
    assert ours.bse.isna().all()
    assert ours.params["educ"] >= 0.5


# ---- random problems

KINDS = {"logit": tm.Logit, "poisson": tm.Poisson, "ols": tm.OLS, "negbin": tm.NegativeBinomial}


def problem(kind, seed, K):
    rng = np.random.default_rng(seed)
    n = 150
    X = rng.normal(size=(n, K)) @ (np.eye(K) + 0.4 * rng.normal(size=(K, K))) * 10.0 ** rng.integers(-2, 3, K)
    X[:, 0] = 1.0
    eta = X @ (rng.normal(size=K) * 0.4 / X.std(0).clip(0.5))
    if kind == "logit":
        y = (rng.logistic(size=n) < eta) * 1.0
    elif kind == "ols":
        y = eta + rng.normal(size=n)
    else:
        mu = np.exp(eta.clip(-3, 3))
        y = rng.poisson(mu * (rng.gamma(1, size=n) if kind == "negbin" else 1)) * 1.0
    return KINDS[kind](y, pd.DataFrame(X, columns=[f"x{j}" for j in range(K)]))


def quietly(model, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.ConvergenceWarning)
        return model.fit(method="newton", **options)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), K=st.integers(2, 5), data=st.data())
def test_random_problems_satisfy_the_conditions_and_beat_scipy(kind, seed, K, data):
    model = problem(kind, seed, K)
    free = quietly(model)
    assume(free.converged)
    shifts = data.draw(st.lists(st.sampled_from([-2, -0.5, 0.5, 2, None]), min_size=K, max_size=K))
    bounds = {}
    for shift, (name, value) in zip(shifts, free.params.items(), strict=False):
        if shift is not None:  # below or above the estimate, by so many standard errors
            edge = value + shift * free.bse[name]
            bounds[name] = data.draw(st.sampled_from([(edge, None), (None, edge), (edge, edge + free.bse[name])]))
    extra = data.draw(st.sampled_from([{}, {"fixed": {"x0": float(free.params["x0"])}}, {"constraints": "x0 = x1"}]))
    bounds = {n: b for n, b in bounds.items() if not (extra and n in ("x0", "x1"))}
    assume(bounds)
    ours = quietly(model, bounds=bounds, **extra)
    assume(kind != "negbin" or ours.params["alpha"] > 1e-3)  # without overdispersion there is no maximum
    assert ours.converged

    held = at_bound(ours)
    step = free.bse.where(free.bse > 0, 1.0)
    slope = ours.score * step  # in standard errors: comparable
    tied = set() if not extra else {"x0", "x1"}
    for name in ours.params.index:
        low, high = (
            v if v is not None else s for v, s in zip(bounds.get(name, (None, None)), (-np.inf, np.inf), strict=True)
        )
        size = 1e-9 * (1 + abs(ours.params[name]))
        assert low - size <= ours.params[name] <= high + size
        if name in tied:
            continue
        if name in held:
            assert (slope[name] < 1e-6) if ours.params[name] <= low + size else (slope[name] > -1e-6)
        else:
            assert abs(slope[name]) < 1e-4  # g' H^-1 g <= 1e-10, so a scaled score of 1e-5
    if not extra:
        against_scipy(model, ours, bounds, free)


def against_scipy(model, ours, bounds, free):
    """L-BFGS-B in standard errors around the free estimate, from its own start, finds nothing better."""
    scale, centre = free.bse.to_numpy(), free.params.to_numpy()
    ends = [bounds.get(n, (None, None)) for n in free.params.index]
    ends = [
        tuple(None if e is None else (e - c) / s for e in pair) for pair, c, s in zip(ends, centre, scale, strict=True)
    ]
    if model.__class__ in (tm.OLS, tm.NegativeBinomial):
        ends[-1] = (-0.9 * centre[-1] / scale[-1], ends[-1][1])  # sigma and alpha stay positive
    start = [np.clip(0, -np.inf if a is None else a, np.inf if b is None else b) for a, b in ends]
    found = scipy.optimize.minimize(
        lambda z: -model.loglike(centre + scale * z),
        start,
        jac=lambda z: -model.score(centre + scale * z) * scale,
        bounds=ends,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500},
    )
    assert ours.llf >= -found.fun - 1e-9 * abs(found.fun)
    gap = (ours.params - (centre + scale * found.x)) / scale
    assert gap.abs().max() < 1e-3 or ours.llf > -found.fun + 1e-9 * abs(found.fun)


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_bounds_with_an_equation_against_scipy(method):
    bounds = {"educ": (0.25, None), "kidslt6": (-1.2, None)}
    ours = LOGIT.fit(bounds=bounds, constraints="exper + age = 0")
    scale, centre = FREE.bse.to_numpy(), FREE.params.to_numpy()
    R = np.array([0, 0, 1, 1, 0]) * scale
    edges = [bounds.get(n, (-np.inf, np.inf)) for n in FREE.params.index]
    low, high = np.array([[-np.inf if a is None else a, np.inf if b is None else b] for a, b in edges], dtype=float).T
    found = scipy.optimize.minimize(
        lambda z: -LOGIT.loglike(centre + scale * z),
        np.zeros(5),
        jac=lambda z: -LOGIT.score(centre + scale * z) * scale,
        bounds=scipy.optimize.Bounds((low - centre) / scale, (high - centre) / scale),
        constraints=scipy.optimize.LinearConstraint(R, -R @ (centre / scale), -R @ (centre / scale)),
        method=method,
        options={"maxiter": 3000, **({"ftol": 1e-14} if method == "SLSQP" else {"gtol": 1e-10, "xtol": 1e-12})},
    )
    np.testing.assert_allclose(ours.params, centre + scale * found.x, atol=1e-4 * scale.min(), rtol=1e-3)
    assert ours.llf >= -found.fun - 1e-6  # theirs may break the equation by rounding


def test_the_default_method_under_bounds_is_newton(monkeypatch):
    monkeypatch.setattr("torchmle.models.fitting.NEWTON_UP_TO", 3)  # as if these were very many parameters
    assert LOGIT.fit().method == "lbfgs"
    assert LOGIT.fit(bounds={"educ": (0.3, None)}).method == "newton"


@pytest.mark.parametrize("start", [[0, 5.0, 5, 5, 0], [0, 5, -50, 30, 10], [1e4, 0.3, 0, 0, 0]], ids=str)
def test_a_start_where_the_function_is_almost_linear(start):
    """All probabilities are 0 or 1 there: Newton's steps are of no use, and must not be the end."""
    bounds = {"educ": (0.3, None)}
    ours = LOGIT.fit(start, bounds=bounds)
    np.testing.assert_allclose(ours.params, LOGIT.fit(fixed={"educ": 0.3}).params, rtol=1e-8)
