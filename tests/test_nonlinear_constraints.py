"""Constraints by functions of the parameters, against substitution, exact linear constraints and scipy."""

import io
import signal
import threading

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.stats
import torch

import torchmle as tm
from torchmle.optim.base import Status

MROZ = tm.datasets.load("mroz")
WAGE = tm.datasets.load("wage1")
LOGIT = tm.Logit.from_formula("inlf ~ educ + exper + age", MROZ)
TIED = tm.equality(lambda p: p["educ"] - 2 * p["exper"], "tied")

COVARIANCES = {
    "nonrobust": {},
    "opg": {},
    "HC0": {},
    "HC1": {},
    "HC2": {},
    "HC3": {},
    "cluster": {"groups": "kidsge6"},
    "CRV3": {"groups": "kidsge6"},
    "HAC": {"maxlags": 3},
}


# ---- linear constraints as functions are those that are solved exactly

LINEAR = {
    "logit": (LOGIT, "educ = 2*exper", lambda p: p["educ"] - 2 * p["exper"]),
    "two": (
        LOGIT,
        ["educ + exper = 0.3", "age = -0.05"],
        lambda p: torch.stack([p["educ"] + p["exper"] - 0.3, p["age"] + 0.05]),
    ),
    "poisson": (tm.Poisson.from_formula("kidslt6 ~ educ + age", MROZ), "educ = -age", lambda p: p["educ"] + p["age"]),
    "centred": (
        tm.Logit.from_formula("inlf ~ I(age + 1e4) + educ", MROZ),
        "Intercept = 1",
        lambda p: p["Intercept"] - 1,
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_constraints_as_functions(name):
    model, text, function = LINEAR[name]
    exact, ours = model.fit(constraints=text), model.fit(constraints=[tm.equality(function)])
    assert ours.converged
    np.testing.assert_allclose(ours.params, exact.params, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(ours.bse, exact.bse, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(ours.llf, exact.llf, rtol=1e-12)
    assert (ours.aic, ours.df_resid) == (pytest.approx(exact.aic), exact.df_resid)


@pytest.mark.parametrize("cov_type", COVARIANCES)
def test_covariances_of_linear_constraints(cov_type):
    model = tm.Logit.from_formula("inlf ~ educ + exper + age", MROZ)
    kwds = {k: MROZ.get(v, v) for k, v in COVARIANCES[cov_type].items()} or None
    exact = model.fit(constraints="educ = 2*exper", cov_type=cov_type, cov_kwds=kwds)
    ours = model.fit(constraints=[TIED], cov_type=cov_type, cov_kwds=kwds)
    np.testing.assert_allclose(ours.cov_params(), exact.cov_params(), rtol=1e-7, atol=1e-14)


def test_expected_information_of_linear_constraints():
    kwds = {"information": "expected"}
    probit = tm.Probit.from_formula("inlf ~ educ + exper + age", MROZ)
    exact = probit.fit(constraints="educ = 2*exper", cov_kwds=kwds)
    ours = probit.fit(constraints=[TIED], cov_kwds=kwds)
    np.testing.assert_allclose(ours.bse, exact.bse, rtol=1e-7)


def test_the_start_need_not_satisfy_them_and_does_not_matter():
    ends = [LOGIT.fit(start, constraints=["educ * exper = 0.02"]) for start in ([0, 0, 0, 0], [1, 0.5, 0.2, -0.1])]
    np.testing.assert_allclose(*(e.params for e in ends), rtol=1e-8)


# ---- curved ones are those of a likelihood in which they are substituted


class Substituted(tm.GenericLikelihoodModel):
    """Logit with exper = 0.05 / educ."""

    extra_params = ("one", "educ", "age")

    def loglikeobs(self, params):
        beta = torch.stack([params[0], params[1], 0.05 / params[1], params[2]])
        return tm.log_sigmoid((2 * self.endog - 1) * (self.row_x @ beta))


X = np.column_stack([np.ones(len(MROZ)), MROZ[["educ", "exper", "age"]]])


@pytest.mark.parametrize("cov_type", ["nonrobust", "HC0", "HC1", "opg", "cluster"])
def test_a_product_is_what_substitution_gives(cov_type):
    kwds = {"groups": MROZ["kidsge6"]} if cov_type == "cluster" else None
    ours = LOGIT.fit(constraints=["educ * exper = 0.05"], cov_type=cov_type, cov_kwds=kwds)
    model = Substituted(MROZ.inlf.to_numpy(), row_data={"row_x": X})
    start = {"one": -2.0, "educ": 0.3, "age": -0.06}
    kwds = {"groups": MROZ["kidsge6"].to_numpy()} if cov_type == "cluster" else None
    theirs = model.fit(start, cov_type=cov_type, cov_kwds=kwds)
    implied = theirs.delta_method({"Intercept": "one", "educ": "educ", "exper": "0.05 / educ", "age": "age"}).table
    np.testing.assert_allclose(ours.params, implied.iloc[:, 0], rtol=1e-7)
    np.testing.assert_allclose(ours.bse, implied.iloc[:, 1], rtol=1e-6)  # derivatives of the curved form: 1e-9 each
    np.testing.assert_allclose(ours.llf, theirs.llf, rtol=1e-12)
    assert ours.fit.free == 3
    assert ours.df_resid == theirs.df_resid


def slsqp(model, constraints, start):
    """Return what scipy finds, with derivatives of ours."""
    found = scipy.optimize.minimize(
        lambda b: -float(model.loglike(b)),
        start,
        jac=lambda b: -model.score(b),
        method="SLSQP",
        constraints=constraints,
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return found.x, -found.fun


CASES = {
    "active": (["educ >= 0.3"], [("ineq", lambda b: b[1] - 0.3)]),
    "inactive": (["educ <= 0.3"], [("ineq", lambda b: 0.3 - b[1])]),
    "sum": (["educ + exper <= 0.2"], [("ineq", lambda b: 0.2 - b[1] - b[2])]),
    "circle": (["educ**2 + exper**2 + age**2 <= 0.01"], [("ineq", lambda b: 0.01 - b[1] ** 2 - b[2] ** 2 - b[3] ** 2)]),
    "corner": (["educ >= 0.3", "exper <= 0.1"], [("ineq", lambda b: b[1] - 0.3), ("ineq", lambda b: 0.1 - b[2])]),
    "both": (
        [tm.equality("educ * exper - 0.03", "product"), "age >= -0.04"],
        [("eq", lambda b: b[1] * b[2] - 0.03), ("ineq", lambda b: b[3] + 0.04)],
    ),
    "interval": ("0 <= educ <= 0.1", [("ineq", lambda b: b[1]), ("ineq", lambda b: 0.1 - b[1])]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_maximum_is_scipys(name):
    ours = LOGIT.fit(constraints=CASES[name][0])
    start = LOGIT.fit().params.to_numpy() * 0.5 + 0.01
    x, llf = slsqp(LOGIT, [{"type": kind, "fun": fun} for kind, fun in CASES[name][1]], start)
    assert ours.converged
    np.testing.assert_allclose(ours.params, x, rtol=2e-4, atol=1e-5)  # SLSQP ends about so near
    assert ours.llf >= llf - 1e-6


@pytest.mark.parametrize("name", CASES)
def test_the_conditions_of_karush_kuhn_and_tucker_hold(name):
    ours = LOGIT.fit(constraints=CASES[name][0])
    theta, table = ours.params.to_numpy(), ours.constraints
    functions = [fun for _, fun in CASES[name][1]]
    gradient = LOGIT.score(theta)
    slopes = [scipy.optimize.approx_fprime(theta, fun, 1e-7) for fun in functions]
    pull = gradient + sum(m * s for m, s in zip(table["multiplier"], slopes, strict=True))
    size = np.abs(LOGIT.score_obs(theta)).sum(0)
    np.testing.assert_allclose(pull / size, 0, atol=1e-5)  # one-sided differences
    for fun, row in zip(functions, table.itertuples(), strict=True):
        assert fun(theta) == pytest.approx(row.value, abs=1e-12)
        assert abs(row.value) < 1e-12 if row.active else row.value > 1e-3
        assert row.multiplier == 0 if not row.active else row.kind == "equality" or row.multiplier > 0


def test_the_multiplier_is_the_slope_of_the_loglikelihood():
    at = LOGIT.fit(constraints=["educ * exper = 0.05"])
    ends = [LOGIT.fit(constraints=[f"educ * exper = {0.05 + h}"]).llf for h in (1e-5, -1e-5)]
    assert at.constraints["multiplier"].iloc[0] == pytest.approx(-(ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_z_of_a_multiplier_is_the_score_test():
    test = LOGIT.fit(constraints="educ = 2*exper").score_test(freed="educ = 2*exper")
    z = LOGIT.fit(constraints=[TIED]).constraints["z"].iloc[0]
    assert z**2 == pytest.approx(test.statistic, rel=1e-8)


# ---- problems with known solutions: Hock and Schittkowski (1981), Test Examples for Nonlinear Programming Codes


def minimise(f, count, start, **given):
    """Return the fit of a likelihood whose negative is f, a function of ``count`` numbers."""
    names = tuple(f"x{i + 1}" for i in range(count))
    scalar = {"extra_params": names, "loglike": lambda self, params: -f(params)}
    model = type("Problem", (tm.GenericLikelihoodModel,), scalar)(np.zeros(20))
    return model.fit(dict(zip(names, map(float, start), strict=True)), **given)


PROBLEMS = {
    "6": (lambda x: (1 - x[0]) ** 2, ["10*(x2 - x1**2) = 0"], [-1.2, 1], 0.0),
    "7": (lambda x: torch.log(1 + x[0] ** 2) - x[1], ["(1 + x1**2)**2 + x2**2 = 4"], [2, 2], -np.sqrt(3)),
    "12": (
        lambda x: 0.5 * x[0] ** 2 + x[1] ** 2 - x[0] * x[1] - 7 * x[0] - 7 * x[1],
        ["4*x1**2 + x2**2 <= 25"],
        [0, 0],
        -30.0,
    ),
    "29": (lambda x: -x[0] * x[1] * x[2], ["x1**2 + 2*x2**2 + 4*x3**2 <= 48"], [1, 1, 1], -16 * np.sqrt(2)),
    "39": (lambda x: -x[0], ["x2 - x1**3 - x3**2 = 0", "x1**2 - x2 - x4**2 = 0"], [2, 2, 2, 2], -1.0),
    "42": (
        lambda x: (x[0] - 1) ** 2 + (x[1] - 2) ** 2 + (x[2] - 3) ** 2 + (x[3] - 4) ** 2,
        ["x1 = 2", "x3**2 + x4**2 = 2"],
        [1, 1, 1, 1],
        28 - 10 * np.sqrt(2),
    ),
    "71": (
        lambda x: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2],
        ["x1*x2*x3*x4 >= 25", "x1**2 + x2**2 + x3**2 + x4**2 = 40"],
        [1, 5, 5, 1],
        17.0140173,
    ),
    "78": (  # unbounded under any penalty, with a minimum near the start under a large one
        lambda x: x.prod(),
        [
            "x1**2 + x2**2 + x3**2 + x4**2 + x5**2 = 10",
            "x2*x3 - 5*x4*x5 = 0",
            "x1**3 + x2**3 = -1",
        ],
        [-2, 1.5, 2, -1, -1],
        -2.91970041,
    ),
}


@pytest.mark.parametrize("number", PROBLEMS)
def test_problems_with_known_solutions(number):
    f, constraints, start, best = PROBLEMS[number]
    bounds = {f"x{i}": (1, 5) for i in (1, 2, 3, 4)} if number == "71" else None
    ours = minimise(f, len(start), start, constraints=constraints, bounds=bounds)
    assert ours.converged
    assert -ours.llf == pytest.approx(best, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_units_of_a_constraint_do_not_matter(factor):
    ours = LOGIT.fit(constraints=[tm.equality(lambda p: factor * (p["educ"] * p["exper"] - 0.05))])
    theirs = LOGIT.fit(constraints=["educ * exper = 0.05"])
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-9)
    np.testing.assert_allclose(ours.bse, theirs.bse, rtol=1e-8)
    np.testing.assert_allclose(ours.constraints["multiplier"] * factor, theirs.constraints["multiplier"], rtol=1e-7)


# ---- errors: given where the theory has them, withheld elsewhere


def test_inactive_inequalities_change_nothing():
    free, ours = LOGIT.fit(cov_type="HC1"), LOGIT.fit(constraints="educ <= 0.3", cov_type="HC1")
    np.testing.assert_allclose(ours.params, free.params, rtol=1e-9)
    np.testing.assert_allclose(ours.bse, free.bse, rtol=1e-8)
    assert ours.fit.free == free.fit.free
    assert "none of 1 inequalities binds" in str(ours.summary())


def test_active_inequalities_withhold_errors():
    ours = LOGIT.fit(constraints="educ >= 0.3")
    assert ours.converged
    assert ours.bse.isna().all()
    assert ours.fit.free == 4
    assert "withheld" in str(ours.summary())
    assert "educ >= 0.3" in str(ours.summary())
    assert "(fixed)" not in str(ours.summary())
    assert ours.with_cov("HC1").bse.isna().all()
    for ask in (lambda: ours.wald_test("age = 0"), lambda: ours.margins(), lambda: LOGIT.fit().lr_test(ours)):
        with pytest.raises(tm.UndefinedStatisticError, match="withheld"):
            ask()
    assert len(ours.predict()) == len(MROZ)


def test_a_boundary_without_a_multiplier_withholds_errors_too():
    top = LOGIT.fit().params["educ"]
    ours = LOGIT.fit(constraints=[tm.inequality(lambda p: p["educ"] - top, "edge")])
    assert ours.converged
    assert ours.bse.isna().all()
    assert ours.constraints["active"].all()


def test_everything_held_by_equations():
    ours = tm.Logit.from_formula("inlf ~ educ", MROZ).fit(
        constraints=["educ * educ = 0.04", "Intercept + educ = 0"], start_params=[0, 0.1]
    )
    np.testing.assert_allclose(ours.params, [-0.2, 0.2], rtol=1e-9)
    np.testing.assert_array_equal(ours.bse, 0.0)


def test_likelihood_ratio_test():
    full = LOGIT.fit()
    ours, exact = LOGIT.fit(constraints=[TIED]), LOGIT.fit(constraints="educ = 2*exper")
    one, other = full.lr_test(ours), full.lr_test(exact)
    assert (one.df, one.pvalue) == (1, pytest.approx(other.pvalue, rel=1e-8))
    curved = full.lr_test(LOGIT.fit(constraints="educ * exper = 0.02"))
    assert curved.df == 1
    assert curved.pvalue == pytest.approx(scipy.stats.chi2.sf(curved.statistic, 1), rel=1e-10)
    both = LOGIT.fit(constraints=["educ * exper = 0.02", "age = -0.05"])
    with pytest.raises(tm.OptionError, match="not nested"):
        LOGIT.fit(constraints="educ * exper = 0.02").lr_test(both)


def test_what_follows_from_the_covariance_still_works():
    ours, exact = LOGIT.fit(constraints=[TIED]), LOGIT.fit(constraints="educ = 2*exper")
    for ask in (
        lambda r: r.margins().table.select_dtypes("number").to_numpy(),
        lambda r: r.get_prediction().table.select_dtypes("number").to_numpy(),
        lambda r: r.delta_method("exp(educ) + age").table.select_dtypes("number").to_numpy(),
        lambda r: np.array([r.wald_test("educ = 0").statistic, r.wald_test("educ = exper, age = 0").statistic]),
        lambda r: r.conf_int().to_numpy(),
    ):
        np.testing.assert_allclose(ask(ours), ask(exact), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "ask",
    [
        lambda r: r.profile("age"),
        lambda r: r.conf_int(method="profile"),
        lambda r: r.bootstrap(reps=5),
        lambda r: r.conf_int(method="bootstrap", reps=5),
        lambda r: r.jackknife(),
        lambda r: r.influence(),
        lambda r: r.permutation_test("age", reps=5),
        lambda r: r.score_test(added=MROZ[["kidslt6"]]),
        lambda r: r.information_matrix_test(),
        lambda r: r.llnull,
    ],
)
def test_what_would_need_other_fits_is_refused(ask):
    with pytest.raises(tm.UndefinedStatisticError, match="constraints"):
        ask(LOGIT.fit(constraints=[TIED]))


# ---- data, vectors, shapes


def test_a_constraint_on_predictions():
    def mean(p, model):
        eta = model.exog @ torch.stack([p[name] for name in model.exog_names])
        return torch.sigmoid(eta)[model.exog[:, 3] > 45].mean() - 0.5

    ours = LOGIT.fit(constraints=[tm.equality(mean)])
    assert ours.predict()[MROZ.age > 45].mean() == pytest.approx(0.5, abs=1e-10)
    assert ours.constraints.index[0] == "mean"
    x, llf = slsqp(
        LOGIT,
        [{"type": "eq", "fun": lambda b: (1 / (1 + np.exp(-X @ b)))[MROZ.age > 45].mean() - 0.5}],
        LOGIT.fit().params.to_numpy(),
    )
    np.testing.assert_allclose(ours.params, x, rtol=1e-3)
    assert ours.llf >= llf - 1e-6


def test_a_curve_that_rises_on_the_data():
    """Repeated values of a regressor give the same constraint many times."""
    model = tm.OLS.from_formula("lwage ~ exper + I(exper**2)", WAGE)
    exper = torch.tensor(WAGE.exper.to_numpy(), dtype=torch.float64)
    rising = tm.inequality(lambda p: p["exper"] + 2 * p["I(exper ** 2)"] * exper, "slope")
    ours = model.fit(constraints=[rising])
    assert ours.converged
    slope = ours.params["exper"] + 2 * ours.params["I(exper ** 2)"] * WAGE.exper
    assert slope.min() == pytest.approx(0, abs=1e-12)
    peak = f"exper = -{2 * WAGE.exper.max()} * `I(exper ** 2)`"
    tied = model.fit(method="newton", constraints=peak)
    np.testing.assert_allclose(ours.params, tied.params, rtol=1e-8)
    assert len(ours.constraints) == len(WAGE)


def test_natural_parameters_and_fits_in_closed_form():
    model = tm.OLS.from_formula("lwage ~ educ", WAGE)
    held = model.fit(method="newton", fixed={"sigma": 0.5})
    for given in ("sigma = 0.5", [tm.equality(lambda p: p["sigma"] - 0.5)]):
        ours = model.fit(constraints=given)
        np.testing.assert_allclose(ours.params, held.params, rtol=1e-9)
        np.testing.assert_allclose(ours.bse, held.bse, rtol=1e-8, atol=1e-12)
    tied = model.fit(constraints="educ = sigma")
    assert tied.params["educ"] == pytest.approx(tied.params["sigma"], rel=1e-12)


class Scale(tm.GenericLikelihoodModel):
    """A normal likelihood whose scale is kept positive by a transform."""

    extra_params = ("sigma",)
    transforms = {"sigma": "positive"}

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) / params[-1]) - torch.log(params[-1])


def test_transformed_parameters():
    ours = Scale.from_formula("lwage ~ educ", WAGE).fit(start_params=[0, 0, 1], constraints=["sigma = 2*educ + 0.1"])
    theirs = tm.OLS.from_formula("lwage ~ educ", WAGE).fit(constraints="sigma = 2*educ + 0.1")
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-7)
    np.testing.assert_allclose(ours.bse, theirs.bse, rtol=1e-6)
    assert ours.params["sigma"] == pytest.approx(2 * ours.params["educ"] + 0.1, rel=1e-12)


def test_a_choice_model():
    """A ratio has no value at a start of zeros, so that the search begins at the free maximum."""
    trips = tm.datasets.load("trips")
    model = tm.ConditionalLogit.from_formula(
        "chosen ~ time + cost", trips, alternatives="mode", situations="trip", base="bus"
    )
    ratio = tm.equality(lambda p: p["time"] / p["cost"] - 0.4, "value of time")
    ours, tied = model.fit(constraints=[ratio]), model.fit(constraints="time = 0.4*cost")
    np.testing.assert_allclose(ours.params, tied.params, rtol=1e-8)
    np.testing.assert_allclose(ours.bse, tied.bse, rtol=1e-7)


def test_weights_count_rows():
    weights = np.random.default_rng(0).integers(0, 4, len(MROZ))
    whole = MROZ.loc[MROZ.index.repeat(weights)].reset_index(drop=True)
    given = {"constraints": ["educ * exper = 0.03"], "cov_type": "HC1"}
    ours = tm.Logit.from_formula("inlf ~ educ + exper", MROZ, freq_weights=weights).fit(**given)
    theirs = tm.Logit.from_formula("inlf ~ educ + exper", whole).fit(**given)
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-9)
    np.testing.assert_allclose(ours.bse, theirs.bse, rtol=1e-8)
    np.testing.assert_allclose(ours.constraints["std err"], theirs.constraints["std err"], rtol=1e-8)


def test_sampling_weights_have_a_sandwich_and_no_errors_of_multipliers():
    weights = np.random.default_rng(0).uniform(0.5, 3, len(MROZ))
    model = tm.Logit.from_formula("inlf ~ educ + exper + age", MROZ, sampling_weights=weights)
    ours, exact = model.fit(constraints=[TIED]), model.fit(constraints="educ = 2*exper")
    assert ours.cov_type == "HC1"
    np.testing.assert_allclose(ours.bse, exact.bse, rtol=1e-7)
    assert ours.constraints["std err"].isna().all()


def test_with_fixed_parameters_linear_equations_and_bounds():
    given = {"fixed": {"age": -0.05}, "bounds": {"exper": (None, 0.1)}}
    ours = LOGIT.fit(constraints=["Intercept = 0", "educ >= 0.1"], **given)
    theirs = LOGIT.fit(constraints="Intercept = 0", **given)
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-7)
    assert list(ours.constraints.index) == ["educ >= 0.1", "exper <= 0.1"]
    assert ours.constraints["active"].tolist() == [False, True]


def test_float32_and_no_grad():
    model = tm.Logit.from_formula("inlf ~ educ + exper + age", MROZ, dtype=torch.float32)
    with torch.no_grad():
        ours = model.fit(constraints=["educ * exper = 0.05"])
    np.testing.assert_allclose(ours.params, LOGIT.fit(constraints=["educ * exper = 0.05"]).params, rtol=1e-3)
    assert ours.params["educ"] * ours.params["exper"] == pytest.approx(0.05, rel=1e-7)
    third = tm.equality(lambda p, m: torch.sigmoid(m.exog @ torch.stack([p[n] for n in m.exog_names])).mean() - 0.3)
    data = model.fit(constraints=[third])
    assert data.converged
    assert data.predict().mean() == pytest.approx(0.3, abs=1e-4)


@pytest.mark.parametrize(
    ("given", "fixed"),
    [
        ("0.3 <= educ <= 0.3", {"educ": 0.3}),
        (["educ >= 0.3", "2*educ >= 0.6"], {"educ": 0.3}),
        (["educ*educ = 0.01", "educ >= 0.1"], {"educ": 0.1}),
        ("abs(educ) <= 0.1", {"educ": 0.1}),
        ("log(educ) >= 0", {"educ": 1.0}),
        (["educ >= 0.3", "exper >= 0.2", "educ + exper >= 0.5"], {"educ": 0.3, "exper": 0.2}),
    ],
)
def test_inequalities_that_say_the_same_twice(given, fixed):
    ours, theirs = LOGIT.fit(constraints=given), LOGIT.fit(fixed=fixed)
    assert ours.converged
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-8)
    assert ours.bse.isna().all()


def test_a_boundary_test_is_refused():
    model = tm.NegativeBinomial.from_formula("kidsge6 ~ educ", MROZ)
    with pytest.raises(tm.UndefinedStatisticError, match="constraints"):
        model.fit(constraints="alpha >= 0.001").boundary_test(tm.Poisson.from_formula("kidsge6 ~ educ", MROZ).fit())


# ---- no solution

FAILURES = {
    "two sides": (["educ >= 1", "educ <= 0"], Status.INFEASIBLE, "educ >= 1 is -0.5, not >= 0; educ <= 0 is -0.5"),
    "no root": (["educ**2 = -1"], Status.INFEASIBLE, r"educ \*\* 2 = -1 is 1, not 0"),
    "twice": ([tm.equality("educ - 0.1"), tm.equality("2*educ - 0.2")], Status.DEPENDENT, r"2\*educ - 0.2"),
    "square": ([tm.equality(lambda p: (p["educ"] - 1) ** 2, "square")], Status.DEPENDENT, "square"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_constraints_that_cannot_be_met(name):
    given, status, words = FAILURES[name]
    with pytest.warns(tm.ConvergenceWarning, match=words):
        ours = LOGIT.fit(constraints=given)
    assert ours.fit.status is status
    assert not ours.converged
    assert ours.bse.isna().all()


def test_a_likelihood_without_a_maximum_is_none_under_an_idle_constraint():
    frame = pd.DataFrame({"y": [0, 0, 0, 1, 1, 1] * 5, "x": [1.0, 2, 3, 4, 5, 6] * 5})
    model = tm.Logit.from_formula("y ~ x", frame)
    with pytest.warns(tm.ConvergenceWarning):
        ours = model.fit(constraints="x >= 0.1")
    assert not ours.converged
    bounded = model.fit(constraints=["x <= 2"])
    assert bounded.converged
    assert bounded.params["x"] == pytest.approx(2, rel=1e-12)


def test_flat_directions_are_named():
    class Twin(tm.GenericLikelihoodModel):
        extra_params = ("a", "b", "c")

        def loglikeobs(self, params):
            return tm.normal_logpdf(self.endog - params[0] - params[1] - params[2])

    model = Twin(np.random.default_rng(0).normal(size=50))
    with pytest.warns(tm.ConvergenceWarning):
        ours = model.fit(constraints="a**2 + c**2 = 1", start_params=[1, 0, 1])
    assert ours.fit.status is Status.FLAT


# ---- what is no constraint


def random(p):
    return p["educ"] - torch.rand(()).double()


WRONG = {
    "numpy": (tm.equality(lambda p: p["educ"].detach().numpy() - 1), tm.LikelihoodError, "returned float64"),
    "float": (tm.equality(lambda p: 1.0), tm.LikelihoodError, "returned float"),
    "matrix": (tm.equality(lambda p: torch.ones(2, 2) * p["educ"]), tm.LikelihoodError, r"shape \(2, 2\)"),
    "detached": (tm.equality(lambda p: p["educ"].detach() - 1, "cut"), tm.LikelihoodError, "'cut'.*not differentiated"),
    "half": (tm.equality(lambda p: p["educ"] * p["age"].item() - 1), tm.LikelihoodError, "not differentiated rightly"),
    "nan": (
        tm.equality(lambda p: torch.log(-1 - p["educ"] ** 2), "log"),
        tm.LikelihoodError,
        "'log' is nan at the start",
    ),
    "name": (tm.equality(lambda p: p["edu"] - 1), tm.OptionError, "Did you mean 'educ'"),
    "error": (tm.equality(lambda p: p["educ"] + [1], "sum"), tm.LikelihoodError, "'sum'.*TypeError"),
    "flat": (
        tm.inequality(lambda p: (p["educ"] > 0).double() - 0.5),
        tm.TorchmleError,
        "depends on no free parameter|lost",
    ),
    "random": (tm.equality(random), tm.LikelihoodError, "for the same parameters"),
    "kind": (tm.equality, tm.OptionError, "must be text"),
    "number": (3, tm.OptionError, "must be text"),
    "strict": ("educ > 0", tm.OptionError, "with >= or <="),
    "unknown": ("edu >= 0", tm.OptionError, "Did you mean 'educ'"),
    "unknown product": ("edu * age = 0", tm.OptionError, "Did you mean 'educ'"),
    "no equation": ("educ >= ", tm.OptionError, "Cannot read"),
    "nothing": ("", tm.OptionError, "no equation"),
    "constant": ("1 >= 0", tm.TorchmleError, "floating point|depends on no"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_constraints(name):
    given, error, words = WRONG[name]
    with pytest.raises(error, match=words):
        LOGIT.fit(constraints=[given])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tm.equality(3), "needs a function"),
        (lambda: tm.equality(None), "needs a function"),
        (lambda: tm.inequality(lambda p, m, x: p), "wants 3 arguments"),
        (lambda: tm.equality("educ", name=""), "must be text"),
        (lambda: LOGIT.fit(constraints="educ >= 0", method="bfgs"), "cannot hold constraints"),
        (lambda: LOGIT.fit(constraints="educ >= 0", fixed={"educ": 1.0}), "no free parameter"),
        (lambda: LOGIT.fit(constraints="educ >= 0", options={"separation": "drop"}), "separation='drop'"),
        (
            lambda: LOGIT.fit(constraints=[tm.equality(lambda p: torch.stack(list(p.values())).repeat(2) ** 3 - 1)]),
            "8 equations",
        ),
    ],
)
def test_wrong_calls(make, words):
    with pytest.raises(tm.OptionError, match=words):
        make()


def test_names_and_text():
    same = tm.inequality(lambda p: p["educ"] + 1)
    ours = LOGIT.fit(
        constraints=[
            same,
            same,
            tm.inequality(lambda p: torch.stack([p["age"] + 1, p["exper"] + 1]), "two"),
            "educ + exper >= -1",
        ]
    )
    assert list(ours.constraints.index) == ["inequality 1", "inequality 2", "two[0]", "two[1]", "educ + exper >= -1"]
    assert LOGIT.fit(constraints=[]).params.equals(LOGIT.fit().params)
    wide = tm.Logit.from_formula("inlf ~ educ * exper + I(age**2)", MROZ)
    for text in ("educ:exper >= 0.01", "I(age**2) <= -0.001", "`I(age ** 2)` <= -0.001", "exp(educ:exper) >= 1.01"):
        assert list(wide.fit(constraints=text).constraints["active"]) == [True]
    odd = tm.Logit.from_formula("inlf ~ exper + I(exper**2)", MROZ).fit(constraints="-exper / (2*I(exper**2)) = 30")
    assert -odd.params.iloc[1] / (2 * odd.params.iloc[2]) == pytest.approx(30, rel=1e-10)


# ---- the run


def test_callback_trace_and_limits():
    seen = []
    ours = LOGIT.fit(constraints=["educ * exper = 0.05"], callback=seen.append)
    assert [row.iteration for row in seen] == list(range(1, len(seen) + 1))
    assert ours.history["llf"].iloc[-1] == pytest.approx(ours.llf, abs=1e-9)
    for given, status in (
        ({"maxiter": 1}, Status.MAXITER),
        ({"callback": lambda row: True}, Status.STOPPED),
        ({"maxfun": 2}, Status.MAXITER),
    ):
        with pytest.warns(tm.ConvergenceWarning):
            cut = LOGIT.fit(constraints=["educ * exper = 0.05"], **given)
        assert cut.fit.status is status
        assert cut.bse.isna().all()
    again = LOGIT.fit(constraints=["educ * exper = 0.05"], resume=cut)
    np.testing.assert_allclose(again.params, ours.params, rtol=1e-8)
    done = LOGIT.fit(constraints=["educ * exper = 0.05"], resume=ours, maxiter=0)
    assert done.converged


def test_an_interrupt_returns_the_point(tmp_path):
    path, count = tmp_path / "point", [0]

    def stop(p):
        count[0] += 1
        if count[0] == 15:
            signal.raise_signal(signal.SIGINT)
        return p["educ"] * p["exper"] - 0.05

    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread only")
    with pytest.warns(tm.ConvergenceWarning):
        cut = LOGIT.fit(constraints=[tm.equality(stop)], checkpoint=path)
    assert cut.fit.status is Status.INTERRUPTED
    done = LOGIT.fit(constraints=["educ * exper = 0.05"], resume=path)
    np.testing.assert_allclose(done.params, LOGIT.fit(constraints=["educ * exper = 0.05"]).params, rtol=1e-8)


def test_several_starts():
    ours = LOGIT.fit(constraints=["educ * exper = 0.05"], options={"starts": 3}, seed=1)
    assert ours.converged
    assert any("starts" in note for note in ours.fit.notes)


def test_saved_and_loaded(tmp_path):
    ours = LOGIT.fit(constraints=[TIED, "age >= -1"], cov_type="HC1")
    path = tmp_path / "fit"
    ours.save(path, data=True)
    again = tm.load(path)
    pd.testing.assert_frame_equal(again.constraints, ours.constraints)
    pd.testing.assert_series_equal(again.bse, ours.bse)
    edge = LOGIT.fit(constraints="educ >= 0.3")
    edge.save(path)
    assert tm.load(path).bse.isna().all()


def test_replay():
    ours = LOGIT.fit(constraints=["educ * exper = 0.05", "age >= -1"])
    assert tm.replay(ours).params.equals(ours.params)
    with pytest.warns(tm.DataWarning, match="cannot be repeated"):
        tm.replay(LOGIT.fit(constraints=[TIED]))


def test_latent_classes_and_many_fits():
    many = tm.fit_many(tm.Logit, "inlf ~ educ + exper", MROZ, by="city", constraints="educ * exper = 0.02")
    for city in (0, 1):
        alone = tm.Logit.from_formula("inlf ~ educ + exper", MROZ[MROZ.city == city]).fit(
            constraints="educ * exper = 0.02"
        )
        np.testing.assert_allclose(many.params.loc[city], alone.params, rtol=1e-7)


def test_nothing_of_the_callers_changes():
    given = ["educ >= 0.3", TIED]
    before, state = list(given), torch.random.get_rng_state()
    LOGIT.fit(constraints=given)
    assert given == before
    assert torch.equal(state, torch.random.get_rng_state())
    assert isinstance(repr(given), str)
    assert io.StringIO(str(LOGIT.fit(constraints=given).summary())).read()
