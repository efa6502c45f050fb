"""Fixed parameters and linear constraints equal the analytically restricted fit."""

import numpy as np
import pytest
import torch

import torchmle as tm

MROZ = tm.datasets.load("mroz")
WAGE = tm.datasets.load("wage1")


def restricted(model, formula, **kwargs):
    return model.from_formula(formula, kwargs.pop("data", MROZ), **kwargs).fit()


class Own(tm.GenericLikelihoodModel):
    """An opaque probit, lifted."""

    def loglikeobs(self, params):
        return tm.log_ndtr((2 * self.endog - 1) * (self.exog @ params))


# (model, formula, fit arguments, restricted fit by substitution, its parameters in terms of the full ones)
CASES = {
    "one fixed at zero": (
        tm.Logit,
        "inlf ~ educ + exper + age",
        {"fixed": {"exper": 0.0}},
        lambda: restricted(tm.Logit, "inlf ~ educ + age"),
        lambda p: p[["Intercept", "educ", "age"]],
    ),
    "one fixed at a value": (
        tm.Probit,
        "inlf ~ educ + exper + age",
        {"fixed": {"educ": 0.1}},
        lambda: restricted(tm.Probit, "inlf ~ exper + age", offset=0.1 * MROZ.educ),
        lambda p: p[["Intercept", "exper", "age"]],
    ),
    "opaque": (
        Own,
        "inlf ~ educ + exper + age",
        {"fixed": {"educ": 0.1}},
        lambda: restricted(tm.Probit, "inlf ~ exper + age", offset=0.1 * MROZ.educ),
        lambda p: p[["Intercept", "exper", "age"]],
    ),
    "two equal": (
        tm.Logit,
        "inlf ~ educ + kidslt6 + kidsge6",
        {"constraints": "kidslt6 = kidsge6"},
        lambda: restricted(tm.Logit, "inlf ~ educ + I(kidslt6 + kidsge6)"),
        lambda p: p[["Intercept", "educ", "kidslt6"]],
    ),
    "a sum": (
        tm.Logit,
        "inlf ~ educ + kidslt6 + kidsge6",
        {"constraints": ["2*kidslt6 + kidsge6 = -1"]},
        lambda: restricted(tm.Logit, "inlf ~ educ + I(kidslt6 - 2 * kidsge6)", offset=-1.0 * MROZ.kidsge6),
        lambda p: p[["Intercept", "educ", "kidslt6"]],
    ),
    "both kinds": (
        tm.Logit,
        "inlf ~ educ + age + kidslt6 + kidsge6",
        {"constraints": "kidslt6 = kidsge6", "fixed": {"age": -0.02}},
        lambda: restricted(tm.Logit, "inlf ~ educ + I(kidslt6 + kidsge6)", offset=-0.02 * MROZ.age),
        lambda p: p[["Intercept", "educ", "kidslt6"]],
    ),
    "columns far from zero": (
        tm.Logit,
        "inlf ~ educ + I(age + 1e6) + kidslt6",
        {"fixed": {"kidslt6": -1.0}},
        lambda: restricted(tm.Logit, "inlf ~ educ + I(age + 1e6)", offset=-1.0 * MROZ.kidslt6),
        lambda p: p[["Intercept", "educ", "I(age + 1000000.0)"]],
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cov_type", ["nonrobust", "HC0"])
def test_equals_the_restricted_fit(name, cov_type):
    model, formula, arguments, reference, pick = CASES[name]
    full = model.from_formula(formula, MROZ).fit(cov_type=cov_type, **arguments)
    small = reference().with_cov(cov_type)
    assert full.converged
    # both are maxima to 1e-8 standard errors; 1e-9 relative is the promise
    np.testing.assert_allclose(pick(full.params), small.params, rtol=1e-9)
    np.testing.assert_allclose(pick(full.bse), small.bse, rtol=1e-7)
    np.testing.assert_allclose([full.llf, full.aic, full.bic], [small.llf, small.aic, small.bic], rtol=1e-12)
    assert full.df_resid == small.df_resid


def test_constraints_hold_and_fixed_is_shown():
    results = tm.Logit.from_formula("inlf ~ educ + kidslt6 + kidsge6", MROZ).fit(
        fixed={"educ": 0.25}, constraints="kidslt6 - 2*kidsge6 = 0.5"
    )
    assert results.params["educ"] == 0.25
    assert results.params["kidslt6"] - 2 * results.params["kidsge6"] == pytest.approx(0.5, abs=1e-12)
    assert np.isnan(results.tvalues["educ"])
    assert np.isnan(results.pvalues["educ"])
    line = next(line for line in results.summary().as_text().splitlines() if line.startswith("educ"))
    assert "(fixed)" in line
    assert "nan" not in line


def test_a_natural_parameter_can_be_fixed():
    results = tm.OLS.from_formula("lwage ~ educ", WAGE).fit(method="newton", fixed={"sigma": 0.5})
    ols = tm.OLS.from_formula("lwage ~ educ", WAGE).fit()
    assert results.params["sigma"] == pytest.approx(0.5, rel=1e-15)
    np.testing.assert_allclose(results.params.iloc[:2], ols.params, rtol=1e-9)
    np.testing.assert_allclose(results.bse.iloc[:2], ols.bse * 0.5 / np.sqrt(ols.scale), rtol=1e-9)


def test_hessian_is_that_of_all_parameters():
    model = tm.Logit.from_formula("inlf ~ educ + age", MROZ)
    results = model.fit(fixed={"age": 0.0})
    np.testing.assert_allclose(results.hessian, model.hessian(results.params), rtol=1e-10)
    np.testing.assert_allclose(results.score, model.score(results.params), rtol=1e-6, atol=1e-8)
    assert abs(results.score["age"]) > 1  # the multiplier of the constraint


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
def test_other_methods_agree(method):
    model = tm.Logit.from_formula("inlf ~ educ + kidslt6 + kidsge6", MROZ)
    newton, other = (model.fit(method=m, constraints="kidslt6 = kidsge6") for m in ("newton", method))
    assert other.converged
    assert (abs(other.params - newton.params) <= 1e-5 * newton.bse).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fixed": {"edu": 0.0}}, "Did you mean 'educ'"),
        ({"fixed": {"educ": float("nan")}}, "must be finite"),
        ({"fixed": {"educ": "a"}}, "must be a number"),
        ({"constraints": "educ = agee"}, "Did you mean 'age'"),
        ({"constraints": "educ = = 2"}, "Cannot read the constraint"),
        ({"constraints": 3}, "must be text"),
        ({"constraints": ["educ = 1", "educ = 2"]}, "contradict"),
        ({"fixed": {"Intercept": 0.0, "educ": 0.0, "age": 0.0}}, "no parameter free"),
    ],
)
def test_bad_constraints(arguments, words):
    with pytest.raises(tm.OptionError, match=words):
        tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit(**arguments)


def test_a_redundant_equation_changes_nothing():
    model = tm.Logit.from_formula("inlf ~ educ + age", MROZ)
    once, twice = (model.fit(constraints=c) for c in ("educ = 0.1", ["educ = 0.1", "2*educ = 0.2"]))
    np.testing.assert_allclose(once.params, twice.params, rtol=1e-9)
    assert torch.equal(torch.tensor(once.fit.free), torch.tensor(twice.fit.free))
