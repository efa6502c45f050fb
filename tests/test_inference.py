"""Tests, functions of parameters and joint intervals, against statsmodels, closed forms and each other."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

import torchmle as tm
from torchmle.inference.hypotheses import read_hypotheses
from torchmle.inference.multiple import ADJUSTMENTS, largest_of

WAGE = tm.datasets.load("wage1")
MROZ = tm.datasets.load("mroz")
CRIME = tm.datasets.load("crime1")

RIGHT = {"linear": "lwage ~ educ + exper + tenure + female", "binary": "inlf ~ educ + exper + I(exper**2) + age"}
RIGHT["count"] = "narr86 ~ pcnv + avgsen + inc86"
FITS = {
    "ols": (tm.OLS, smf.ols, RIGHT["linear"], WAGE),
    "logit": (tm.Logit, smf.logit, RIGHT["binary"], MROZ),
    "probit": (tm.Probit, smf.probit, RIGHT["binary"], MROZ),
    "poisson": (tm.Poisson, smf.poisson, RIGHT["count"], CRIME),
}
TIGHT = {"ols": {}, "poisson": {"method": "newton", "tol": 1e-14, "disp": 0}}
TIGHT |= dict.fromkeys(("logit", "probit"), TIGHT["poisson"])


def both(name, cov_type):
    """Return a fit by torchmle and the same by statsmodels."""
    ours, theirs, formula, data = FITS[name]
    fit = ours.from_formula(formula, data).fit(cov_type=cov_type)
    return fit, theirs(formula, data).fit(cov_type=cov_type, **TIGHT[name])


class Normal(tm.GenericLikelihoodModel):
    extra_params = ("sigma",)
    transforms = {"sigma": "positive"}

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) / params[-1]) - torch.log(params[-1])


class Summed(tm.GenericLikelihoodModel):
    def loglike(self, params):
        return tm.log_sigmoid((2 * self.endog - 1) * (self.exog @ params)).sum()


# ---- Wald tests


HYPOTHESES = {
    "ols": ["exper = tenure", "educ = 0.1, exper = 0", "(educ = exper), (tenure = 2*exper)", "female", "educ/3 = 0.02"],
    "logit": ["educ = 0, age = 0", "educ = -3*age", "exper - 0.2", "educ = 1e-1"],
    "probit": ["educ = 0, age = 0", "educ = -3*age"],
    "poisson": ["pcnv, avgsen, inc86", "pcnv = 10*avgsen + inc86"],
}
THEIRS = {"educ = -3*age": "educ + 3*age = 0", "educ = 1e-1": "educ = 0.1"}


@pytest.mark.parametrize(("name", "hypothesis"), [(n, h) for n, hs in HYPOTHESES.items() for h in hs])
@pytest.mark.parametrize("cov_type", ["nonrobust", "HC0"])
def test_a_wald_test_is_that_of_statsmodels(name, hypothesis, cov_type):
    ours, theirs = both(name, cov_type)
    text = THEIRS.get(hypothesis, hypothesis)
    for use_f in (None, True, False):
        a, b = ours.wald_test(hypothesis, use_f=use_f), theirs.wald_test(text, use_f=use_f, scalar=True)
        assert a.statistic == pytest.approx(float(b.statistic), rel=1e-8)
        assert a.pvalue == pytest.approx(float(b.pvalue), rel=1e-6, abs=1e-14)  # relative error grows in the tail
    f = theirs.f_test(text)
    assert ours.f_test(hypothesis).fvalue == pytest.approx(float(f.fvalue), rel=1e-8)
    assert (ours.f_test(hypothesis).df_num, ours.f_test(hypothesis).df_denom) == (f.df_num, f.df_denom)


@pytest.mark.parametrize(("name", "hypothesis"), [(n, h) for n, hs in HYPOTHESES.items() for h in hs])
@pytest.mark.parametrize("cov_type", ["nonrobust", "HC0"])
def test_a_t_test_is_that_of_statsmodels(name, hypothesis, cov_type):
    ours, theirs = both(name, cov_type)
    mine, other = ours.t_test(hypothesis), theirs.t_test(THEIRS.get(hypothesis, hypothesis))
    assert list(mine.summary_frame().columns) == list(other.summary_frame().columns)
    assert np.allclose(mine.summary_frame(), other.summary_frame(), rtol=1e-7, atol=1e-10)
    assert np.allclose(mine.conf_int(0.1), other.conf_int(0.1), rtol=1e-7)
    assert np.allclose(mine.effect, other.effect)
    assert np.allclose(mine.sd, np.ravel(other.sd))


def test_clustered_tests_use_the_clusters_degrees_of_freedom():
    groups = {"cov_kwds": {"groups": WAGE.numdep}, "use_t": True}
    ours = tm.OLS.from_formula(RIGHT["linear"], WAGE).fit(cov_type="cluster", **groups)
    theirs = smf.ols(RIGHT["linear"], WAGE).fit(cov_type="cluster", **groups)
    a, b = ours.t_test("educ = 0.1"), theirs.t_test("educ = 0.1")
    assert (a.df_denom, a.pvalue[0]) == (b.df_denom, pytest.approx(float(b.pvalue), rel=1e-8))
    f = ours.f_test("educ = 0.1, exper = 0")
    assert f.pvalue == pytest.approx(float(theirs.f_test("educ = 0.1, exper = 0").pvalue), rel=1e-8)


def test_terms_are_tested_together():
    formula = "narr86 ~ C(band) + pcnv + inc86:black + C(black)"
    data = CRIME.assign(band=pd.cut(CRIME.inc86, [-1, 10, 50, 1000], labels=["a", "b", "c"]).astype(str))
    ours = tm.Poisson.from_formula(formula, data).fit().wald_test_terms()
    theirs = smf.poisson(formula, data).fit(**TIGHT["poisson"]).wald_test_terms(scalar=True).table
    assert set(ours.index) == set(theirs.index)
    assert list(ours.columns) == list(theirs.columns)
    assert np.allclose(ours, theirs.loc[ours.index].astype(float), rtol=1e-8)


def test_terms_of_further_predictors_have_their_name():
    res = tm.OLS.from_formula("lwage ~ educ", WAGE, log_sigma="C(numdep)").fit(method="newton")
    table = res.wald_test_terms(skip_single=True)
    assert list(table.index) == ["log_sigma:C(numdep)"]
    assert table.df_constraint.iloc[0] == WAGE.numdep.nunique() - 1


@pytest.mark.parametrize("form", [
    "educ = 0.1, exper - I(exper ** 2) = 0.2",
    ["educ = 0.1", "exper - I(exper**2) = 0.2"],
    "(educ = 0.1), (exper = 0.2 + `I(exper ** 2)`)",
    {"educ": 0.1, "exper - I(exper ** 2)": 0.2},
    {"educ = 0": 0.1, "exper - I(exper ** 2) - 0.1": 0.1},
    (np.array([[0, 1, 0, 0, 0], [0, 0, 1, -1, 0]]), [0.1, 0.2]),
    (pd.DataFrame({"educ": [1, 0], "exper": [0, 1], "I(exper ** 2)": [0, -1]}), np.array([0.1, 0.2])),
    (torch.tensor([[0, 1, 0, 0, 0], [0, 0, 1, -1, 0]]), torch.tensor([0.1, 0.2], dtype=torch.float64)),
    "educ = 0.1, exper - I(exper**2) = 0.2, 2*educ - 0.2",
])  # fmt: skip
def test_hypotheses_can_be_written_in_many_ways(form):
    res = tm.Logit.from_formula(RIGHT["binary"], MROZ).fit()
    test = res.wald_test(form)
    R = np.array([[0, 1, 0, 0, 0], [0, 0, 1, -1, 0.0]])
    d = R @ res.params.to_numpy() - [0.1, 0.2]
    assert test.df == 2
    assert test.statistic == pytest.approx(d @ np.linalg.solve(R @ res.cov_params().to_numpy() @ R.T, d), rel=1e-10)


def test_chained_equations_all_count():
    read = read_hypotheses("a = b = 0.5", ["a", "b"])
    assert (read.R.tolist(), read.q.tolist()) == ([[1, -1], [0, 1]], [0, 0.5])


def test_any_name_can_stand_in_a_hypothesis():
    names = ["x", "C(x)[T.a b]", "log_sigma:x", "I(x ** 2)", "lambda", "x:y", "a.b"]
    for i, name in enumerate(names):
        for text in (f"{name} = 1", f"1 = `{name}`"):
            read = read_hypotheses(text, names)
            assert (read.R.abs()[0].nonzero().item(), abs(float(read.q[0]))) == (i, 1.0)


def test_an_unlabelled_row_is_one_hypothesis():
    res = tm.Logit.from_formula(RIGHT["binary"], MROZ).fit()
    assert res.wald_test([0, 1, 0, 0, 0]).statistic == pytest.approx(res.tvalues["educ"] ** 2)
    assert np.allclose(res.t_test(np.eye(5)).statistic, res.tvalues)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_wald_test_depends_on_the_set_and_not_on_how_it_is_written(seed):
    rng = np.random.default_rng(seed)
    R, q = rng.normal(size=(3, 5)), rng.normal(size=3)
    M = rng.normal(size=(5, 3))  # five combinations of three equations: two are redundant
    a, b = SHARED.wald_test((R, q)), SHARED.wald_test((M @ R, M @ q))
    assert (a.df, b.df) == (3, 3)
    assert b.statistic == pytest.approx(a.statistic, rel=1e-6)  # a random M can be ill-conditioned
    assert "not counted" in str(b)


SHARED = tm.Logit.from_formula(RIGHT["binary"], MROZ).fit()


@pytest.mark.parametrize(("given_", "why"), [
    ("edcu = 0", "Did you mean 'educ'"),
    ("educ * age = 0", "not linear"),
    ("educ ** 2 = 0", "not linear"),
    ("1 / educ = 0", "not linear"),
    ("exp(educ) = 1", "may hold numbers"),
    ("educ > 0", "written with '='"),
    ("educ = 0, educ = 1", "contradicts"),
    ("educ + age = 1, educ = 2, age = 3", "contradicts"),
    ("1 = 1", "involves no parameter"),
    ("educ - educ", "involves no parameter"),
    ("educ / 0 = 1", "cannot be computed"),
    ("educ =", "Cannot read"),
    ("", "Cannot read"),
    ([], "numbers|no hypothesis|columns"),
    (np.ones((2, 3)), "needs 5 columns"),
    ((np.eye(5), [1, 2]), "2 values were given for 5"),
    ([0, np.nan, 0, 0, 0], "must be finite"),
    (pd.DataFrame({"edcu": [1]}), "Did you mean 'educ'"),
    ({}, "no hypothesis"),
    ({"educ, age": 1}, "one expression each"),
    ({"educ": "a"}, "must be numbers"),
    (3.0, "columns|numbers"),
    ("__import__('os').system('true')", "may hold numbers"),
    ("educ.real = 0", "may hold numbers"),
    ("(lambda: 1)() = educ", "may hold numbers|Cannot read"),
    ("educ = " + "1 + " * 900 + "1", "characters"),
])  # fmt: skip
def test_what_is_no_hypothesis_is_refused(given_, why):
    with pytest.raises(tm.OptionError, match=why):
        SHARED.wald_test(given_)
    if why != "contradicts":  # each alone can be tested
        with pytest.raises(tm.OptionError):
            SHARED.t_test(given_)


def test_restricted_parameters_are_not_tested():
    model = tm.Logit.from_formula(RIGHT["binary"], MROZ)
    fixed, tied = model.fit(fixed={"age": 0}), model.fit(constraints="educ = exper")
    for res, hypothesis in ((fixed, "age = 0"), (fixed, "age = 1"), (tied, "educ = exper")):
        with pytest.raises(tm.OptionError, match="fixed"):
            res.wald_test(hypothesis)
    with pytest.raises(tm.OptionError, match="contradicts"):
        tied.wald_test("educ = 0.1, exper = 0.2")
    assert tied.wald_test("educ = 0.1, exper = 0.1").df == 1
    assert fixed.wald_test("educ + age = 0").statistic == pytest.approx(fixed.wald_test("educ").statistic)
    with pytest.raises(tm.OptionError, match="fixed parameters only"):
        fixed.t_test("age")
    table = fixed.t_test().table
    assert table.z.isna().tolist() == [False, False, False, False, True]


def test_values_at_the_edge_of_a_range_are_not_tested():
    nb = tm.NegativeBinomial.from_formula(RIGHT["count"], CRIME).fit()
    mine = Normal.from_formula("lwage ~ educ", WAGE).fit()
    for res, hypothesis in ((nb, "alpha = 0"), (nb, "pcnv = 0, alpha = -1"), (mine, "2*sigma = 0")):
        with pytest.raises(tm.OptionError, match="inside its range"):
            res.wald_test(hypothesis)
    z = (nb.params["alpha"] - 1) / nb.bse["alpha"]
    assert nb.wald_test("alpha = 1").statistic == pytest.approx(z**2)
    assert np.isnan(nb.t_test().statistic[-1])


def test_parameters_at_a_bound_are_not_tested():
    res = tm.OLS.from_formula("lwage ~ educ + exper", WAGE).fit(method="newton", bounds={"exper": (0.05, None)})
    for what in (lambda: res.wald_test("exper = 0"), lambda: res.wald_test("educ = exper")):
        with pytest.raises(tm.OptionError, match="bound"):
            what()
    with pytest.raises(tm.UndefinedStatisticError, match="bound"):
        res.delta_method("educ / exper")
    assert res.delta_method("exp(educ)").sd[0] > 0
    assert np.isnan(res.t_test().statistic[2])


def test_a_singular_covariance_is_said():
    few = pd.Series(np.arange(len(WAGE)) % 3)
    res = tm.OLS.from_formula(RIGHT["linear"], WAGE).fit(cov_type="cluster", cov_kwds={"groups": few})
    with pytest.raises(tm.UndefinedStatisticError, match=r"singular.*clusters"):
        res.wald_test("educ, exper, tenure, female")


def test_without_a_maximum_nothing_is_tested():
    with pytest.warns(tm.ConvergenceWarning):
        res = tm.Logit.from_formula(RIGHT["binary"], MROZ).fit(maxiter=1)
    calls = [lambda: res.wald_test("educ"), lambda: res.t_test("educ"), lambda: res.delta_method("exp(educ)")]
    calls += [lambda: res.lr_test(SHARED), lambda: SHARED.lr_test(res), lambda: res.score_test("age + huseduc")]
    calls += [lambda: res.profile("educ"), lambda: res.information_matrix_test(), lambda: res.wald_test_terms()]
    calls += [lambda: res.joint_conf_int(), lambda: res.vuong_test(SHARED), lambda: res.conf_int(method="profile")]
    for call in calls:
        with pytest.raises(tm.UndefinedStatisticError, match="has none"):
            call()


def test_float32_gives_the_same_to_its_digits():
    ours = tm.Logit.from_formula(RIGHT["binary"], MROZ, dtype="float32").fit()
    for a, b in zip(
        ours.wald_test("educ, age").summary_frame(), SHARED.wald_test("educ, age").summary_frame(), strict=True
    ):
        assert a == b
    assert ours.wald_test("educ, age").statistic == pytest.approx(SHARED.wald_test("educ, age").statistic, rel=1e-3)


# ---- several at once


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from(sorted(ADJUSTMENTS)))
@settings(max_examples=200, deadline=None)
def test_adjusted_p_values_are_those_of_statsmodels(p, method):
    theirs = {"bh": "fdr_bh", "by": "fdr_by", "hochberg": "simes-hochberg"}.get(method, method)
    with np.errstate(divide="ignore"):  # statsmodels takes the log of zero
        wanted = multipletests(p, method=theirs)[1]
    assert np.allclose(tm.adjust_pvalues(p, method), wanted, rtol=1e-10, atol=1e-14)


def test_what_is_missing_is_no_test():
    assert np.allclose(tm.adjust_pvalues([0.01, np.nan, 0.02], "bonferroni"), [0.02, np.nan, 0.04], equal_nan=True)
    for bad in ([1.5], [-0.1], "abc", [[0.1]]):
        with pytest.raises(tm.OptionError):
            tm.adjust_pvalues(bad, "holm")
    with pytest.raises(tm.OptionError, match="'holm'"):
        tm.adjust_pvalues([0.1], "hulm")


def test_t_tests_can_be_adjusted():
    plain = SHARED.t_test("educ, exper, age = -0.04")
    for adjusted in (plain.adjusted("holm"), SHARED.t_test("educ, exper, age = -0.04", adjust="holm")):
        assert np.allclose(adjusted.pvalue, multipletests(plain.pvalue, method="holm")[1])
        assert "holm" in str(adjusted)
    with pytest.raises(tm.OptionError, match="Unknown method"):
        SHARED.t_test("educ", adjust="none")


def equicorrelated(rho, m):
    return torch.full((m, m), rho, dtype=torch.float64) + (1 - rho) * torch.eye(m, dtype=torch.float64)


@pytest.mark.parametrize(("m", "alpha"), [(1, 0.05), (3, 0.05), (8, 0.1), (20, 0.01)])
def test_the_largest_of_independent_statistics_is_known(m, alpha):
    wanted = stats.norm.ppf(1 - (1 - (1 - alpha) ** (1 / m)) / 2)
    got = largest_of(torch.diag(torch.rand(m, dtype=torch.float64) + 0.1), alpha, None, 400_000, 1)
    assert got == pytest.approx(wanted, abs=4 * math.sqrt(alpha * (1 - alpha) / 400_000) / slope(wanted, m))


def slope(c, m):
    """Return the density of the largest of m absolute normals: the simulation error of a quantile is in its units."""
    return 2 * m * stats.norm.pdf(c) * (2 * stats.norm.cdf(c) - 1) ** (m - 1)


def test_the_largest_of_equal_statistics_is_each_of_them():
    one = largest_of(equicorrelated(1.0, 4), 0.05, None, 400_000, 2)
    assert one == pytest.approx(1.95996, abs=4 * math.sqrt(0.05 * 0.95 / 400_000) / slope(1.95996, 1))
    t = largest_of(equicorrelated(1.0, 4), 0.05, 5.0, 400_000, 2)
    assert t == pytest.approx(stats.t.ppf(0.975, 5), abs=0.02)  # density 0.057: four errors are 0.024


@pytest.mark.parametrize("rho", [0.3, 0.8])
def test_the_largest_of_correlated_statistics_has_the_probability(rho):
    c = largest_of(equicorrelated(rho, 3), 0.05, None, 400_000, 3)
    z = np.linspace(-9, 9, 4001)  # P(max |z_i| <= c) by one integral over the common part
    inside = stats.norm.cdf((c - rho**0.5 * z) / (1 - rho) ** 0.5) - stats.norm.cdf(
        (-c - rho**0.5 * z) / (1 - rho) ** 0.5
    )
    assert np.trapezoid(inside**3 * stats.norm.pdf(z), z) == pytest.approx(0.95, abs=4 * (0.05 * 0.95 / 400_000) ** 0.5)


def test_joint_intervals():
    joint = SHARED.joint_conf_int(seed=3)
    assert joint.table.index.tolist() == ["educ", "exper", "I(exper ** 2)", "age"]
    assert SHARED.joint_conf_int("educ = 0.3, exper - age").table.index.tolist() == ["educ", "exper - age"]
    again = SHARED.joint_conf_int(seed=3)
    assert joint.critical == again.critical != SHARED.joint_conf_int(seed=4).critical
    known = {m: SHARED.joint_conf_int(method=m).critical for m in ("sidak", "bonferroni", "scheffe")}
    assert joint.pointwise < joint.critical < known["sidak"] < known["bonferroni"] < known["scheffe"]
    assert known["bonferroni"] == pytest.approx(stats.norm.ppf(1 - 0.05 / 8))
    assert known["scheffe"] == pytest.approx(stats.chi2.ppf(0.95, 4) ** 0.5)
    t = tm.OLS.from_formula(RIGHT["linear"], WAGE).fit().joint_conf_int("educ, exper", method="scheffe")
    assert t.critical == pytest.approx((2 * stats.f.ppf(0.95, 2, len(WAGE) - 5)) ** 0.5)
    with pytest.raises(tm.OptionError, match="'sup-t'"):
        SHARED.joint_conf_int(method="supt")
    for bad in ({"draws": 10}, {"seed": -1}, {"draws": 1.5}):
        with pytest.raises(tm.OptionError, match="whole number"):
            SHARED.joint_conf_int(**bad)


# ---- functions of parameters


def test_functions_of_parameters_have_the_errors_of_the_delta_method():
    b, V = SHARED.params, SHARED.cov_params()
    peak = SHARED.delta_method("-exper / (2 * I(exper ** 2))")
    row = np.zeros(5)
    row[2], row[3] = -1 / (2 * b.iloc[3]), b.iloc[2] / (2 * b.iloc[3] ** 2)
    assert peak.values[0] == pytest.approx(-b.iloc[2] / (2 * b.iloc[3]), rel=1e-12)
    assert peak.sd[0] == pytest.approx(math.sqrt(row @ V.to_numpy() @ row), rel=1e-10)
    assert peak.statistic[0] == pytest.approx(peak.values[0] / peak.sd[0])


@pytest.mark.parametrize("form", [
    "exp(educ), educ / exper",
    ["exp(educ)", "educ/exper"],
    lambda p: torch.stack([torch.exp(p["educ"]), p["educ"] / p["exper"]]),
    lambda p: (torch.exp(p["educ"]), p["educ"] / p["exper"]),
    {"odds": "exp(educ)", "ratio": lambda p: p["educ"] / p["exper"]},
])  # fmt: skip
def test_functions_can_be_written_in_many_ways(form):
    found, robust = SHARED.nlcom(form), SHARED.with_cov("HC1").delta_method(form)
    e, x = SHARED.params["educ"], SHARED.params["exper"]
    assert np.allclose(found.values, [math.exp(e), e / x], rtol=1e-12)
    for res, got in ((SHARED, found), (SHARED.with_cov("HC1"), robust)):
        J = np.array([[0, math.exp(e), 0, 0, 0], [0, 1 / x, -e / x**2, 0, 0]])
        assert np.allclose(got.cov_params(), J @ res.cov_params() @ J.T, rtol=1e-10)
    assert len(found.table) == 2


def test_natural_parameters_are_in_their_units():
    nb = tm.NegativeBinomial.from_formula(RIGHT["count"], CRIME).fit()
    found = nb.delta_method("log(alpha)")
    assert found.values[0] == pytest.approx(nb.link_params.iloc[-1])
    assert found.sd[0] == pytest.approx(nb.bse["alpha"] / nb.params["alpha"])
    sigma = Normal.from_formula("lwage ~ educ", WAGE).fit()
    assert sigma.delta_method("sigma**2").sd[0] == pytest.approx(2 * sigma.params["sigma"] * sigma.bse["sigma"])


@pytest.mark.parametrize(("fn", "error", "why"), [
    (lambda p: p["edcu"], tm.OptionError, "Did you mean 'educ'"),
    ("edcu + 1", tm.OptionError, "Did you mean 'educ'"),
    ("exp(educ, age)", tm.OptionError, "one argument"),
    ("sinh(educ)", tm.OptionError, "Unknown function"),
    ("educ.__class__", tm.OptionError, "may hold"),
    ("[educ for educ in (1,)]", tm.OptionError, "may hold"),
    ("educ if age else 1", tm.OptionError, "may hold"),
    (3, tm.OptionError, "must be a function"),
    ({}, tm.OptionError, "empty dict"),
    ({"a": "educ, age"}, tm.OptionError, "one"),
    (lambda p: 3.0, tm.LikelihoodError, "returned float"),
    (lambda p: p["educ"].detach(), tm.LikelihoodError, "does not depend"),
    (lambda p: torch.tensor(float(p["educ"].detach())), tm.LikelihoodError, "does not depend"),
    (lambda p: torch.ones(2, 2) * p["educ"], tm.LikelihoodError, "shape"),
    ("log(age)", tm.LikelihoodError, "not finite"),
    ("1", tm.LikelihoodError, "does not depend"),
    ("educ / (age - age)", tm.LikelihoodError, "not finite"),
])  # fmt: skip
def test_what_is_no_function_is_refused(fn, error, why):
    with pytest.raises(error, match=why):
        SHARED.delta_method(fn)


def test_a_function_of_fixed_parameters_is_known():
    res = tm.Logit.from_formula(RIGHT["binary"], MROZ).fit(fixed={"age": -0.05})
    found = res.delta_method("exp(age), educ + age")
    assert found.sd[0] == 0
    assert np.isnan(found.statistic[0])
    assert found.sd[1] == pytest.approx(res.bse["educ"])


# ---- weights and rows


def test_frequency_weights_are_repeated_rows():
    w = np.arange(len(MROZ)) % 3
    long = MROZ.loc[MROZ.index.repeat(w)].reset_index(drop=True)
    a = tm.Logit.from_formula("inlf ~ educ + age", MROZ, freq_weights=w).fit()
    b = tm.Logit.from_formula("inlf ~ educ + age", long).fit()
    small = [tm.Logit.from_formula("inlf ~ educ", d, **k).fit() for d, k in ((MROZ, {"freq_weights": w}), (long, {}))]
    probit = [
        tm.Probit.from_formula("inlf ~ educ + age", d, **k).fit() for d, k in ((MROZ, {"freq_weights": w}), (long, {}))
    ]
    pairs = [(a.wald_test("educ, age"), b.wald_test("educ, age")), (a.lr_test(small[0]), b.lr_test(small[1]))]
    pairs += [(a.information_matrix_test(), b.information_matrix_test())]
    pairs += [(s.score_test("age + kidslt6", cov_type=c) for s in small) for c in ("nonrobust", "opg", "HC0")]
    pairs += [(a.vuong_test(probit[0], "bic"), b.vuong_test(probit[1], "bic"))]
    for one, other in pairs:
        assert one.statistic == pytest.approx(other.statistic, rel=1e-7)
        assert one.df == other.df
    assert np.allclose(a.conf_int(method="profile"), b.conf_int(method="profile"), rtol=1e-6)


def test_sampling_weights_have_wald_and_robust_score_tests_only():
    w = 1 + np.arange(len(MROZ)) % 3
    res = tm.Logit.from_formula("inlf ~ educ + age", MROZ, sampling_weights=w).fit()
    less = tm.Logit.from_formula("inlf ~ educ", MROZ, sampling_weights=w).fit()
    assert res.wald_test("educ").statistic == pytest.approx(res.tvalues["educ"] ** 2)
    calls = [lambda: res.lr_test(less), lambda: res.profile("educ"), lambda: res.information_matrix_test()]
    for call in [*calls, lambda: res.vuong_test(less)]:
        with pytest.raises(tm.UndefinedStatisticError, match="pseudo-likelihood"):
            call()
    closed, iterated = (
        tm.OLS.from_formula("age ~ educ", MROZ, sampling_weights=w).fit(method=m) for m in (None, "newton")
    )
    a, b = (r.score_test("educ", predictor="log_sigma").statistic for r in (closed, iterated))
    assert a == pytest.approx(b, rel=1e-8)
    with pytest.raises(tm.OptionError, match="sampling_weights"):
        less.score_test("age", cov_type="nonrobust")
    p, X = less.predict().to_numpy(), np.column_stack([np.ones(len(MROZ)), MROZ.educ, MROZ.age])
    S, A = X * (w * (MROZ.inlf - p)).to_numpy()[:, None], X.T @ (X * (w * p * (1 - p))[:, None])
    C = np.c_[-A[2:, :2] @ np.linalg.inv(A[:2, :2]), 1]
    wanted = float(S[:, 2].sum() ** 2 / (C @ S.T @ S @ C.T).item())
    assert less.score_test("age", cov_type="HC0").statistic == pytest.approx(wanted, rel=1e-8)


def test_a_sum_without_rows_has_what_needs_no_rows():
    X = np.column_stack([np.ones(len(MROZ)), MROZ.educ, MROZ.age])
    full, less = Summed(MROZ.inlf, X).fit(), Summed(MROZ.inlf, X[:, :2]).fit()
    same = tm.Logit(MROZ.inlf, X).fit()
    assert full.lr_test(less).statistic == pytest.approx(same.lr_test(tm.Logit(MROZ.inlf, X[:, :2]).fit()).statistic)
    assert full.wald_test("x1, x2").statistic == pytest.approx(same.wald_test("x1, x2").statistic, rel=1e-8)
    assert np.allclose(full.conf_int(method="profile"), same.conf_int(method="profile"), rtol=1e-6)
    assert less.score_test(X[:, 2]).statistic == pytest.approx(
        tm.Logit(MROZ.inlf, X[:, :2]).fit().score_test(X[:, 2]).statistic
    )
    for call in (lambda: full.information_matrix_test(), lambda: full.vuong_test(same)):
        with pytest.raises(tm.UndefinedStatisticError, match="rows"):
            call()
    with pytest.raises(tm.OptionError, match="scores of single rows"):
        less.score_test(X[:, 2], cov_type="opg")


def test_results_without_rows_still_test():
    lean = SHARED.lean()
    assert lean.wald_test("educ, age").statistic == SHARED.wald_test("educ, age").statistic
    assert lean.delta_method("exp(educ)").sd[0] == SHARED.delta_method("exp(educ)").sd[0]
    for call in (lambda: lean.profile("educ"), lambda: lean.score_test("huseduc"), lambda: lean.lr_test(SHARED)):
        with pytest.raises(tm.TorchmleError, match=r"rows|free parameters"):
            call()


def test_what_is_returned_can_be_read():
    texts = [
        SHARED.wald_test("educ"),
        SHARED.t_test("educ"),
        SHARED.joint_conf_int("educ"),
        SHARED.delta_method("educ"),
    ]
    for thing in texts:
        assert "educ" in str(thing) == repr(thing)
        assert isinstance(thing.table, pd.DataFrame)
    with pytest.raises(tm.UndefinedStatisticError, match="chi2"):
        SHARED.wald_test("educ").fvalue  # noqa: B018
    assert "educ" in SHARED.t_test("educ")._repr_html_()
