"""Likelihood ratio, score, Vuong and information matrix tests, and profiles, against closed forms and others."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
import torch
from scipy import optimize, stats

import torchmle as tm

WAGE = tm.datasets.load("wage1")
MROZ = tm.datasets.load("mroz")
CRIME = tm.datasets.load("crime1")
WIDE = "inlf ~ educ + exper + I(exper**2) + age"
LOGIT = tm.Logit.from_formula(WIDE, MROZ).fit()
SMALL = tm.Logit.from_formula("inlf ~ educ + exper", MROZ).fit()


class Normal(tm.GenericLikelihoodModel):
    extra_params = ("sigma",)
    transforms = {"sigma": "positive"}

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) / params[-1]) - torch.log(params[-1])


class Squared(tm.GenericLikelihoodModel):
    """A likelihood that does not use its regressors in a linear way only."""

    def loglikeobs(self, params):
        return tm.normal_logpdf(self.endog - self.exog @ params) - (self.exog**2).sum(1)


# ---- likelihood ratio


@pytest.mark.parametrize(("ours", "theirs", "kwds"), [
    (tm.Logit, smf.logit, {"disp": 0, "tol": 1e-14}),
    (tm.Probit, smf.probit, {"disp": 0, "tol": 1e-14, "method": "newton"}),
    (tm.OLS, smf.ols, {}),
])  # fmt: skip
def test_the_likelihood_ratio_is_that_of_statsmodels(ours, theirs, kwds):
    small, large = "inlf ~ educ", "inlf ~ educ + exper + age"
    a = ours.from_formula(large, MROZ).fit().lr_test(ours.from_formula(small, MROZ).fit())
    full, restricted = (theirs(f, MROZ).fit(**kwds) for f in (large, small))
    ratio = 2 * (full.llf - restricted.llf)
    assert (a.statistic, a.df) == (pytest.approx(ratio, rel=1e-9), 2)
    assert a.pvalue == pytest.approx(stats.chi2.sf(ratio, 2), rel=1e-7)
    if theirs is smf.ols:
        assert (a.statistic, a.pvalue, a.df) == tuple(pytest.approx(v) for v in full.compare_lr_test(restricted))


@pytest.mark.parametrize(("restricted", "df"), [
    (lambda: tm.Logit.from_formula("inlf ~ 1", MROZ).fit(), 4),
    (lambda: tm.Logit.from_formula("inlf ~ I(educ + exper) + I(3 * age)", MROZ).fit(), 2),
    (lambda: tm.Logit.from_formula(WIDE, MROZ).fit(fixed={"age": 0.1}), 1),
    (lambda: tm.Logit.from_formula(WIDE, MROZ).fit(constraints=["educ = exper", "age = 2 * educ"]), 2),
    (lambda: tm.Logit.from_formula("inlf ~ educ + exper", MROZ, offset=-0.05 * MROZ.age).fit(), 2),
    (lambda: tm.Logit.from_formula("inlf ~ 0 + educ + exper", MROZ).fit(), 3),
])  # fmt: skip
def test_nested_models_are_recognised(restricted, df):
    less = restricted()
    test = LOGIT.lr_test(less)
    assert test.df == df
    assert test.statistic == pytest.approx(2 * (LOGIT.llf - less.llf))


@pytest.mark.parametrize(("other", "why"), [
    (lambda: tm.Logit.from_formula("inlf ~ huseduc", MROZ).fit(), "not nested"),
    (lambda: tm.Logit.from_formula("inlf ~ educ", MROZ, offset=0.01 * MROZ.huseduc).fit(), "not nested"),
    (lambda: tm.Probit.from_formula("inlf ~ educ", MROZ).fit(), "not the same likelihood"),
    (lambda: tm.Logit.from_formula("inlf ~ educ", MROZ.iloc[:-9]).fit(), "use 753 and 744 rows"),
    (lambda: tm.Logit.from_formula("inlf ~ educ", MROZ.set_index(MROZ.index + 1)).fit(), "labels differ"),
    (lambda: tm.Logit.from_formula("I(1 - inlf) ~ educ", MROZ).fit(), "different responses"),
    (lambda: tm.Logit.from_formula("inlf ~ educ", MROZ, freq_weights=np.ones(753)).fit(), "different weights"),
    (lambda: tm.Logit.from_formula(WIDE + " + kidslt6", MROZ).fit(), "more free parameters"),
    (lambda: tm.Logit.from_formula("inlf ~ kidslt6 + educ + age + huseduc", MROZ).fit(), "as many free parameters"),
    (lambda: tm.Logit.from_formula("inlf ~ kidslt6 + exper + age", MROZ).fit(), "higher log-likelihood"),
    (lambda: 3, "takes results"),
])  # fmt: skip
def test_what_is_not_nested_is_refused(other, why):
    with pytest.raises(tm.OptionError, match=why):
        LOGIT.lr_test(other())


def test_sigma_counts_in_the_closed_form_too():
    closed = tm.OLS.from_formula("lwage ~ educ", WAGE).fit()
    varying = tm.OLS.from_formula("lwage ~ educ", WAGE, log_sigma="educ").fit(method="newton")
    assert varying.lr_test(closed).df == 1
    iterated = tm.OLS.from_formula("lwage ~ educ", WAGE).fit(method="newton")
    assert varying.lr_test(iterated).statistic == pytest.approx(varying.lr_test(closed).statistic, rel=1e-8)


def test_an_opaque_model_shows_nesting_by_its_value():
    full, less = (Normal.from_formula(f, WAGE).fit() for f in ("lwage ~ educ + exper", "lwage ~ educ"))
    closed = [tm.OLS.from_formula(f, WAGE).fit() for f in ("lwage ~ educ + exper", "lwage ~ educ")]
    assert full.lr_test(less).statistic == pytest.approx(closed[0].lr_test(closed[1]).statistic, rel=1e-7)
    held = Normal.from_formula("lwage ~ educ + exper", WAGE).fit(fixed={"sigma": 0.5})
    assert full.lr_test(held).df == 1
    with pytest.raises(tm.OptionError, match="not nested"):
        full.lr_test(Normal.from_formula("lwage ~ female", WAGE).fit())
    with pytest.raises(tm.OptionError, match=r"not nested|higher"):
        held.lr_test(less.model.fit(fixed={"sigma": 0.6}))


def test_robust_errors_are_noted():
    assert "takes the likelihood to be right" in str(LOGIT.with_cov("HC1").lr_test(SMALL))
    assert "takes the likelihood" not in str(LOGIT.lr_test(SMALL))


def test_a_fit_at_a_bound_has_another_law():
    model = tm.OLS.from_formula("lwage ~ educ + exper", WAGE)
    held = model.fit(method="newton", bounds={"exper": (0.05, None)})
    for call in (lambda: model.fit().lr_test(held), lambda: held.score_test("tenure"), lambda: held.profile("educ")):
        with pytest.raises(tm.UndefinedStatisticError, match="bound"):
            call()


# ---- score


def by_hand(S, A, old, kind):
    """Return the score statistic of the last columns, from scores by row and the information."""
    g, B = S.sum(0), S.T @ S
    if kind == "nonrobust":
        return g @ np.linalg.solve(A, g)
    if kind == "opg":
        return g @ np.linalg.solve(B, g)
    C = np.hstack([-A[old:, :old] @ np.linalg.inv(A[:old, :old]), np.eye(len(A) - old)])
    return g[old:] @ np.linalg.solve(C @ B @ C.T, g[old:])


@pytest.mark.parametrize("kind", ["nonrobust", "opg", "HC0"])
def test_the_score_test_of_a_logit_is_its_formula(kind):
    X = np.column_stack([np.ones(len(MROZ)), MROZ.educ, MROZ.exper, MROZ.age, MROZ.age**2])
    p = SMALL.predict().to_numpy()
    wanted = by_hand(X * (MROZ.inlf - p).to_numpy()[:, None], X.T @ (X * (p * (1 - p))[:, None]), 3, kind)
    for added in ("age + I(age**2)", MROZ[["age"]].assign(square=MROZ.age**2), X[:, 3:], X[:, 3:].astype("float32")):
        test = SMALL.score_test(added, cov_type=kind)
        assert (test.statistic, test.df) == (pytest.approx(wanted, rel=1e-8), 2)


@pytest.mark.parametrize(("formula", "family", "model", "data", "extra"), [
    ("inlf ~ educ + exper", sm.families.Binomial(), tm.Logit, MROZ, ["age", "kidslt6"]),
    ("narr86 ~ pcnv + inc86", sm.families.Poisson(), tm.Poisson, CRIME, ["black", "tottime"]),
])  # fmt: skip
def test_the_score_test_is_that_of_statsmodels(formula, family, model, data, extra):
    theirs = smf.glm(formula, data, family=family).fit(tol=1e-14)
    ours, n = model.from_formula(formula, data).fit(), len(data)
    a, b = ours.score_test(data[extra]), theirs.score_test(exog_extra=data[extra])
    assert a.statistic == pytest.approx(float(np.ravel(b.statistic)[0]), rel=1e-8)
    a = ours.score_test(data[extra], cov_type="HC0").statistic
    b = float(theirs.score_test(exog_extra=data[extra], cov_type="HC0").statistic)
    # statsmodels takes the mean off the scores, with n / (n - 1): S'(B - S S'/n)^-1 S = a / (1 - a/n)
    assert a / (1 - a / n) * (n - 1) / n == pytest.approx(b, rel=1e-8)


def test_least_squares_has_n_r_squared():
    res = tm.OLS.from_formula("lwage ~ educ", WAGE).fit()
    second = smf.ols("e ~ educ + exper + tenure", WAGE.assign(e=res.resid)).fit()
    assert res.score_test("exper + tenure").statistic == pytest.approx(second.nobs * second.rsquared, rel=1e-9)
    X = sm.add_constant(WAGE[["educ", "exper", "tenure"]]).to_numpy()
    S = X * res.resid.to_numpy()[:, None]
    assert res.score_test("exper + tenure", cov_type="HC0").statistic == pytest.approx(by_hand(S, X.T @ X, 2, "HC0"))
    ones = sm.OLS(np.ones(len(S)), S).fit()
    assert res.score_test("exper + tenure", cov_type="opg").statistic == pytest.approx(len(S) - ones.ssr, rel=1e-8)


def normal_scores(res, z):
    """Return scores by row and the observed information of (beta, log sigma, gamma) at gamma = 0."""
    X, e = sm.add_constant(WAGE[["educ"]]).to_numpy(), res.resid.to_numpy()
    s2 = (e**2).mean()
    Z = np.column_stack([np.ones(len(z)), z])
    S = np.column_stack([X * (e / s2)[:, None], Z * (e**2 / s2 - 1)[:, None]])
    cross, own = 2 * X.T @ (Z * (e / s2)[:, None]), 2 * Z.T @ (Z * (e**2 / s2)[:, None])
    A = np.block([[X.T @ X / s2, cross], [cross.T, own]])
    return S, A


@pytest.mark.parametrize("kind", ["nonrobust", "opg", "HC0"])
@pytest.mark.parametrize("method", [None, "newton"])
def test_heteroskedasticity_is_tested_by_the_score_of_log_sigma(kind, method):
    res = tm.OLS.from_formula("lwage ~ educ", WAGE).fit(method=method)
    S, A = normal_scores(res, WAGE.exper.to_numpy(dtype=float))
    test = res.score_test("exper", predictor="log_sigma", cov_type=kind)
    assert test.statistic == pytest.approx(by_hand(S, A, 3, kind), rel=1e-7)
    assert "log_sigma:exper" in str(test)


def test_the_observed_information_comes_near_breusch_pagan():
    """Cook and Weisberg's statistic has the expected information; in large normal samples the two are the same."""
    rng = np.random.default_rng(5)
    n = 40_000
    data = pd.DataFrame({"x": rng.normal(size=n), "z": rng.uniform(size=n)})
    data["y"] = 1 + data.x + rng.normal(size=n) * np.exp(0.1 * data.z)
    res = tm.OLS.from_formula("y ~ x", data).fit()
    e2 = res.resid**2
    aux = smf.ols("u ~ z", data.assign(u=e2 / e2.mean())).fit()
    cook_weisberg = aux.ess / 2
    full = tm.OLS.from_formula("y ~ x", data, log_sigma="z").fit(method="newton")
    statistics = [res.score_test("z", predictor="log_sigma", cov_type=c).statistic for c in ("nonrobust", "opg", "HC0")]
    statistics.append(full.lr_test(res).statistic)
    assert cook_weisberg > 50
    assert statistics == [pytest.approx(cook_weisberg, rel=0.05)] * 4  # they differ by O(n^-1/2) relative


def test_with_the_expected_information_it_is_breusch_pagan():
    res = tm.OLS.from_formula("lwage ~ educ", WAGE).fit()
    e2 = res.resid**2
    aux = smf.ols("u ~ exper + tenure", WAGE.assign(u=e2 / e2.mean())).fit()
    kwds = {"predictor": "log_sigma", "cov_kwds": {"information": "expected"}}
    found = res.score_test("exper + tenure", cov_type="nonrobust", **kwds)
    assert found.statistic == pytest.approx(aux.ess / 2, rel=1e-8)  # Breusch and Pagan (1979), equation 9


def test_overdispersion_is_tested_at_the_poisson_model():
    """At alpha -> 0 the score of alpha is sum ((y - mu)^2 - y) / 2 (Cameron and Trivedi 2013, equation 5.49)."""
    poisson = tm.Poisson.from_formula("narr86 ~ pcnv + inc86", CRIME).fit()
    limit = tm.NegativeBinomial.from_formula("narr86 ~ pcnv + inc86", CRIME).fit(fixed={"alpha": 1e-9})
    y, mu = CRIME.narr86.to_numpy(dtype=float), poisson.predict().to_numpy()
    X = sm.add_constant(CRIME[["pcnv", "inc86"]]).to_numpy()
    S = np.column_stack([X * (y - mu)[:, None], ((y - mu) ** 2 - y) / 2])
    test = limit.score_test(freed="alpha", cov_type="opg")
    assert test.statistic == pytest.approx(by_hand(S, None, 3, "opg"), rel=1e-6)  # alpha is 1e-9, not 0
    found = limit.score_test(freed="alpha", cov_type="nonrobust", cov_kwds={"information": "expected"})
    dean_lawless = ((y - mu) ** 2 - y).sum() ** 2 / (2 * (mu**2).sum())  # Dean and Lawless (1989)
    assert found.statistic == pytest.approx(dean_lawless, rel=1e-5)
    with pytest.raises(tm.UndefinedStatisticError, match="opg"):
        limit.score_test(freed="alpha")


@pytest.mark.parametrize("kind", ["nonrobust", "opg", "HC0", "HC1"])
def test_columns_added_are_columns_freed(kind):
    model = tm.Logit.from_formula("inlf ~ educ + exper + age + kidslt6", MROZ)
    held = model.fit(fixed={"age": 0, "kidslt6": 0})
    freed = held.score_test(freed=["age", "kidslt6"], cov_type=kind)
    added = SMALL.score_test("age + kidslt6", cov_type=kind)
    assert freed.statistic == pytest.approx(added.statistic, rel=1e-8)
    one = model.fit(fixed={"age": 0.02}, constraints=["educ = 2 * exper"])
    assert one.score_test(freed="educ = 2*exper").df == 1
    assert one.score_test(freed=["age", "educ=2*exper"]).df == 2
    with pytest.raises(tm.OptionError, match="Unknown restriction"):
        one.score_test(freed="exper")


def test_other_restrictions_stay():
    model = tm.Logit.from_formula("inlf ~ educ + exper + age", MROZ)
    held = model.fit(fixed={"age": -0.05}, constraints="educ = exper")
    wider = tm.Logit.from_formula("inlf ~ educ + exper + age + kidslt6", MROZ)
    both = wider.fit(fixed={"age": -0.05, "kidslt6": 0}, constraints="educ = exper")
    assert held.score_test("kidslt6").statistic == pytest.approx(both.score_test(freed="kidslt6").statistic, rel=1e-8)
    sigma = tm.OLS.from_formula("lwage ~ educ", WAGE).fit(method="newton", fixed={"sigma": 0.5})
    e = sigma.resid.to_numpy()
    Z = sm.add_constant(WAGE[["educ"]]).assign(exper=WAGE.exper).to_numpy()
    g = Z.T @ e / 0.25
    assert sigma.score_test("exper").statistic == pytest.approx(g @ np.linalg.solve(Z.T @ Z / 0.25, g), rel=1e-8)


def test_all_forms_of_a_model_have_the_same_score_test():
    opaque = Normal.from_formula("lwage ~ educ", WAGE).fit()
    declared = tm.OLS.from_formula("lwage ~ educ", WAGE).fit(method="newton")
    for kind in ("nonrobust", "opg", "HC0"):
        a, b = (r.score_test("exper + tenure", cov_type=kind).statistic for r in (opaque, declared))
        assert a == pytest.approx(b, rel=1e-7)
    with pytest.raises(tm.OptionError, match=r"self\.exog @ params"):
        Squared.from_formula("lwage ~ educ", WAGE).fit().score_test("exper")


def test_score_and_ratio_agree_in_large_samples():
    rng = np.random.default_rng(3)
    n = 50_000
    data = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    data["y"] = rng.poisson(np.exp(0.3 + 0.2 * data.a + 0.02 * data.b + 0.02 * data.c))
    small, full = (tm.Poisson.from_formula(f, data).fit() for f in ("y ~ a", "y ~ a + b + c"))
    ratio = full.lr_test(small).statistic
    for kind in ("nonrobust", "opg", "HC0"):
        assert small.score_test("b + c", cov_type=kind).statistic == pytest.approx(ratio, rel=0.03)
    assert full.wald_test("b, c").statistic == pytest.approx(ratio, rel=0.03)


@pytest.mark.parametrize(("kwds", "error", "why"), [
    ({}, tm.OptionError, "one of the two"),
    ({"added": "age", "freed": "age"}, tm.OptionError, "one of the two"),
    ({"freed": "educ"}, tm.OptionError, "no restrictions"),
    ({"freed": "educ", "predictor": "eta"}, tm.OptionError, "goes with added"),
    ({"added": "educ"}, tm.OptionError, "already"),
    ({"added": "zzz"}, tm.DataError, "no column"),
    ({"added": "I(2 * educ)"}, tm.DataError, "exact linear combination"),
    ({"added": "y ~ age"}, tm.FormulaError, "right-hand side only"),
    ({"added": "age +* 2"}, tm.FormulaError, "Cannot read"),
    ({"added": "wage"}, tm.DataError, "missing in 325"),
    ({"added": np.ones(5)}, tm.DataError, "5 rows"),
    ({"added": MROZ.age[MROZ.age > 40]}, tm.DataError, "no label"),
    ({"added": "age", "predictor": "mu"}, tm.OptionError, "Unknown predictor"),
    ({"added": "age", "cov_type": "HC9"}, tm.OptionError, "HC9"),
    ({"added": "age", "cov_type": "cluster"}, tm.OptionError, "groups"),
])  # fmt: skip
def test_what_cannot_be_added_is_refused(kwds, error, why):
    with pytest.raises(error, match=why):
        SMALL.score_test(**kwds)


def test_columns_follow_the_rows_in_use():
    data = MROZ.assign(educ=MROZ.educ.where(MROZ.index % 5 > 0))
    part = data.dropna(subset=["educ"])
    res, kept = (tm.Logit.from_formula("inlf ~ educ", d).fit() for d in (data, part))
    wanted = kept.score_test("age").statistic
    assert res.score_test("age").statistic == pytest.approx(wanted)
    assert res.score_test(data.age.sample(frac=1, random_state=1)).statistic == pytest.approx(wanted)
    assert res.score_test(data[["age"]].to_numpy()).statistic == pytest.approx(wanted)
    with pytest.raises(tm.DataError, match="rows"):
        res.score_test(part[["age"]].to_numpy())
    clusters = {"cov_type": "cluster", "cov_kwds": {"groups": "kidsge6"}}
    assert res.score_test("age", **clusters).statistic == pytest.approx(kept.score_test("age", **clusters).statistic)


# ---- specification


def indicators(S, blocks):
    Z = np.column_stack([S, *blocks])
    Z = Z / np.sqrt((Z**2).sum(0))
    found = np.linalg.lstsq(Z, np.ones(len(Z)), rcond=1e-11)
    return float((Z @ found[0]).sum()), found[2] - S.shape[1]


def test_the_information_matrix_test_is_its_regression():
    X = np.column_stack([np.ones(len(MROZ)), MROZ.educ, MROZ.exper, MROZ.age])
    res = tm.Logit(MROZ.inlf, X).fit()
    p = res.predict().to_numpy()
    e = MROZ.inlf.to_numpy() - p
    pairs = [X[:, i] * X[:, j] * (e**2 - p * (1 - p)) for i in range(4) for j in range(i + 1)]
    test = res.information_matrix_test()
    assert (test.statistic, test.df) == tuple(pytest.approx(v, rel=1e-8) for v in indicators(X * e[:, None], pairs))
    own = [X[:, i] ** 2 * (e**2 - p * (1 - p)) for i in range(4)]
    test = res.information_matrix_test(diagonal=True)
    assert (test.statistic, test.df) == tuple(pytest.approx(v, rel=1e-8) for v in indicators(X * e[:, None], own))


def test_redundant_indicators_are_not_counted():
    res = tm.Poisson.from_formula("narr86 ~ black + born60", CRIME).fit()  # a dummy's square is itself
    test = res.information_matrix_test()
    assert test.df == 4
    assert "2 of 6" in str(test)


def test_forms_and_units_do_not_matter_to_the_information_matrix_test():
    closed = tm.OLS.from_formula("lwage ~ educ + exper", WAGE).fit().information_matrix_test()
    far = tm.OLS.from_formula("lwage ~ I(1e6 + 1e3 * educ) + exper", WAGE).fit(method="newton")
    opaque = Normal.from_formula("lwage ~ educ + exper", WAGE).fit()
    for res, rtol in ((far, 1e-5), (opaque, 1e-7)):  # a far column loses digits in its squares
        test = res.information_matrix_test()
        assert (test.statistic, test.df) == (pytest.approx(closed.statistic, rel=rtol), closed.df)


def test_vuong_is_its_formula():
    nb, poisson = (k.from_formula("narr86 ~ pcnv + inc86", CRIME).fit() for k in (tm.NegativeBinomial, tm.Poisson))
    y, mu = CRIME.narr86.to_numpy(), poisson.predict().to_numpy()
    size = 1 / nb.params["alpha"]
    one = stats.nbinom.logpmf(y, size, size / (size + nb.predict().to_numpy()))
    m, n = one - stats.poisson.logpmf(y, mu), len(y)
    for name, c in (("none", 0), ("aic", 1), ("bic", math.log(n) / 2)):
        z = (m.sum() - c) / (m.std() * math.sqrt(n))
        test = nb.vuong_test(poisson, name)
        assert (test.statistic, test.pvalue) == (pytest.approx(z, rel=1e-8), pytest.approx(2 * stats.norm.sf(abs(z))))
        assert poisson.vuong_test(nb, name).statistic == pytest.approx(-z, rel=1e-8)
    with pytest.raises(tm.OptionError, match="lr_test"):
        LOGIT.vuong_test(SMALL)
    with pytest.raises(tm.OptionError, match="correction"):
        nb.vuong_test(poisson, "AICC")
    with pytest.raises(tm.OptionError, match="rows"):
        nb.vuong_test(LOGIT)
    closed, opaque = (k.from_formula("lwage ~ educ", WAGE).fit() for k in (tm.OLS, Normal))
    with pytest.raises(tm.UndefinedStatisticError, match="same log-likelihood"):
        opaque.vuong_test(closed)


# ---- profiles


def test_profile_intervals_are_those_of_r():
    """The example of R's help(glm), Dobson (1990, p. 93), with the intervals that confint prints, from memory.

    R finds the ends by a spline through eleven points or so; 1e-4 is its error, not ours.
    """
    counts = [18, 17, 15, 20, 10, 20, 25, 13, 12]
    data = pd.DataFrame({"counts": counts, "outcome": [1, 2, 3] * 3, "treatment": [1] * 3 + [2] * 3 + [3] * 3})
    res = tm.Poisson.from_formula("counts ~ C(outcome) + C(treatment)", data).fit()
    wanted = [[2.6958215, 3.36655581], [-0.8577018, -0.06255840], [-0.6753696, 0.08244089]]
    wanted += [[-0.3932548, 0.39325483]] * 2
    found = res.conf_int(method="profile")
    assert np.allclose(found, wanted, atol=1e-4)
    assert found.index.tolist() == list(res.names)


def logistic(b, X, y):
    eta = X @ b
    return float((y * eta - np.logaddexp(0, eta)).sum())


def test_the_ends_have_the_likelihood_that_they_should():
    X, y = np.column_stack([np.ones(len(MROZ)), MROZ.educ, MROZ.kidslt6]), MROZ.inlf.to_numpy()
    res = tm.Logit(y, X).fit()
    level = res.llf - stats.chi2.ppf(0.9, 1) / 2
    for j, (low, high) in enumerate(res.conf_int(0.1, method="profile").to_numpy()):
        others = [i for i in range(3) if i != j]
        for end in (low, high):
            best = optimize.minimize(
                lambda b, end=end, j=j, others=others: -logistic(np.insert(b, j, end), X, y),
                res.params.to_numpy()[others], method="BFGS", options={"gtol": 1e-7},
            )  # fmt: skip
            assert -best.fun == pytest.approx(level, abs=1e-6)


def test_a_profile_of_sigma_is_its_closed_form():
    closed = tm.OLS.from_formula("lwage ~ educ", WAGE).fit()
    n, s = len(WAGE), math.sqrt((closed.resid**2).mean())

    def fall(q):
        return 2 * n * (math.log(q / s) + (s / q) ** 2 / 2 - 0.5) - stats.chi2.ppf(0.95, 1)

    wanted = [optimize.brentq(fall, s / 2, s, xtol=1e-14), optimize.brentq(fall, s, 2 * s, xtol=1e-14)]
    for res in (closed, closed.model.fit(method="newton"), Normal.from_formula("lwage ~ educ", WAGE).fit()):
        assert res.profile("sigma").conf_int() == pytest.approx(wanted, rel=1e-8)
    b, se = closed.params["educ"], closed.bse["educ"] * math.sqrt((n - 2) / n)
    width = se * math.sqrt(n * math.expm1(stats.chi2.ppf(0.95, 1) / n))  # n log(1 + t^2/n) is the ratio
    assert closed.profile("educ").conf_int() == pytest.approx((b - width, b + width), rel=1e-8)


def test_profiles_do_not_depend_on_how_parameters_are_written():
    plain = LOGIT.profile("educ")
    assert LOGIT.profile("exp(educ)").conf_int() == pytest.approx(np.exp(plain.conf_int()), rel=1e-7)
    assert LOGIT.profile(lambda p: 3 - 2 * p["educ"]).conf_int() == pytest.approx(
        (3 - 2 * plain.high, 3 - 2 * plain.low), rel=1e-7
    )
    moved = tm.Logit.from_formula("inlf ~ I(educ + exper) + exper + I(exper**2) + age", MROZ).fit()
    total = moved.profile("I(educ + exper) + exper").conf_int()
    other = LOGIT.profile("exper").conf_int()
    assert total == pytest.approx(other, rel=1e-7)
    assert moved.profile("I(educ + exper)").conf_int() == pytest.approx(plain.conf_int(), rel=1e-7)


def test_a_profile_follows_a_curved_function_far_out():
    """The turning point of a parabola: ends by the ratio of quadratic profiles, found by a grid of constrained fits."""
    found = LOGIT.profile("-exper / (2 * I(exper ** 2))")
    level = LOGIT.llf - stats.chi2.ppf(0.95, 1) / 2
    for end in found.conf_int():
        tied = LOGIT.model.fit(constraints=f"exper = {-2 * end!r} * `I(exper ** 2)`")
        assert tied.llf == pytest.approx(level, abs=1e-7)
    assert found.low < found.estimate < found.high
    assert found.points.root.is_monotonic_increasing


def test_an_end_that_does_not_exist_is_infinite():
    """Counts without overdispersion to speak of: alpha can be zero, and its log runs to minus infinity."""
    y = np.random.default_rng(0).poisson(2.0, 200)
    res = tm.NegativeBinomial(y).fit()
    alpha = res.profile("alpha")
    poisson = tm.Poisson(y).fit()
    assert 2 * (res.llf - poisson.llf) < stats.chi2.ppf(0.95, 1)
    assert alpha.low == 0
    assert alpha.high > res.params["alpha"]
    assert res.profile("log(alpha)").low == -math.inf
    assert "Open below" in str(alpha)


def test_an_end_that_is_not_found_is_nan_with_a_warning():
    with pytest.warns(tm.ConvergenceWarning, match="higher log-likelihood"):
        found = Bimodal(np.zeros(50)).fit(start_params=[-2.0]).profile("m")
    assert math.isnan(found.high)
    assert "higher log-likelihood" in str(found)


class Bimodal(tm.GenericLikelihoodModel):
    """A log-likelihood with two maxima, the second one higher."""

    extra_params = ("m",)

    def loglikeobs(self, params):
        m = params[0] + 0 * self.endog
        return torch.log(torch.exp(-((m + 2) ** 2)) + 2 * torch.exp(-((m - 2) ** 2))) / 83


def test_restrictions_of_the_fit_hold_along_a_profile():
    model = tm.Logit.from_formula("inlf ~ educ + exper + age", MROZ)
    held = model.fit(fixed={"age": -0.03})
    offset = tm.Logit.from_formula("inlf ~ educ + exper", MROZ, offset=-0.03 * MROZ.age).fit()
    assert held.profile("educ").conf_int() == pytest.approx(offset.profile("educ").conf_int(), rel=1e-8)
    assert held.conf_int(method="profile").loc["age"].tolist() == [-0.03, -0.03]
    with pytest.raises(tm.OptionError, match="fixed"):
        held.profile("age")
    tied = model.fit(constraints="educ = exper").conf_int(method="profile")
    summed = tm.Logit.from_formula("inlf ~ I(educ + exper) + age", MROZ).fit().conf_int(method="profile")
    assert np.allclose(tied.loc[["educ", "exper"]], summed.loc[["I(educ + exper)"] * 2], rtol=1e-7)
    with pytest.raises(tm.OptionError, match="under bounds"):
        model.fit(bounds={"educ": (0, None)}).profile("educ")


class Shares(tm.GenericLikelihoodModel):
    """Three categories with probabilities that add up to one."""

    extra_params = ("a", "b", "c")
    transforms = {("a", "b", "c"): "simplex"}

    def loglikeobs(self, params):
        return torch.log(params)[self.endog.long()]


def test_a_block_of_parameters_has_profiles():
    counts = (20, 30, 50)
    res = Shares(np.repeat([0.0, 1.0, 2.0], counts)).fit()
    q = stats.chi2.ppf(0.95, 1)
    for name, k in zip("abc", counts, strict=True):

        def fall(p, k=k):
            return 2 * (k * math.log(k / 100 / p) + (100 - k) * math.log((1 - k / 100) / (1 - p))) - q

        wanted = optimize.brentq(fall, 1e-6, k / 100), optimize.brentq(fall, k / 100, 1 - 1e-6)
        assert res.profile(name).conf_int() == pytest.approx(wanted, rel=1e-7)


@pytest.mark.parametrize(("what", "why"), [
    ("edcu", "Did you mean 'educ'"),
    ("educ, age", "follows one number"),
    (3, "must be a function"),
])  # fmt: skip
def test_what_has_no_profile_is_refused(what, why):
    with pytest.raises(tm.OptionError, match=why):
        LOGIT.profile(what)


def test_methods_of_intervals_are_named():
    assert np.allclose(LOGIT.conf_int(), LOGIT.conf_int(0.05, method="wald"))
    with pytest.raises(tm.OptionError, match="'profile'"):
        LOGIT.conf_int(method="profil")
    with pytest.raises(tm.OptionError, match="goes with"):
        LOGIT.conf_int(bootstrap=3)
    with pytest.raises(tm.OptionError, match="alpha"):
        LOGIT.conf_int(2, method="profile")
    with pytest.raises(tm.OptionError, match="must be what bootstrap"):
        LOGIT.conf_int(method="bootstrap", bootstrap=3)


def test_float32_has_profiles_to_its_digits():
    single = tm.Logit.from_formula("inlf ~ educ + exper", MROZ, dtype="float32").fit()
    assert single.profile("educ").conf_int() == pytest.approx(SMALL.profile("educ").conf_int(), rel=2e-2)
