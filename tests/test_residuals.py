"""Hold residuals to statsmodels, to scipy's distributions, and to what each kind must be on simulated data."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
import torch
from scipy import stats

import torchmle as tm

WAGE = tm.datasets.load("wage1")
MROZ = tm.datasets.load("mroz")
CRIME = tm.datasets.load("crime1")
BINARY = "inlf ~ educ + age + kidslt6"
COUNT = "narr86 ~ pcnv + inc86 + black"


def glm(name):
    """Return our fit and statsmodels' GLM of the same model (NB2 at our alpha)."""
    if name in ("Logit", "Probit"):
        link = None if name == "Logit" else sm.families.links.Probit()
        ours, formula, data, family = getattr(tm, name), BINARY, MROZ, sm.families.Binomial(link)
    else:
        ours, formula, data, family = getattr(tm, name), COUNT, CRIME, sm.families.Poisson()
    results = ours.from_formula(formula, data).fit()
    if name == "NegativeBinomial":
        family = sm.families.NegativeBinomial(alpha=results.params["alpha"])
    return results, smf.glm(formula, data, family=family).fit(tol=1e-14, maxiter=200)


@pytest.mark.parametrize("kind", ["response", "pearson", "deviance"])
@pytest.mark.parametrize("name", ["Logit", "Probit", "Poisson", "NegativeBinomial"])
def test_residuals_are_those_of_a_glm(name, kind):
    results, theirs = glm(name)
    # alpha of NB2 is estimated here; IRLS at that alpha has the same maximum in beta only to its own tolerance
    rtol, atol = (1e-5, 1e-6) if name == "NegativeBinomial" else (1e-7, 1e-9)
    np.testing.assert_allclose(results.residuals(kind), getattr(theirs, f"resid_{kind}"), rtol=rtol, atol=atol)
    pd.testing.assert_series_equal(getattr(results, f"resid_{kind}"), results.residuals(kind))


@pytest.mark.parametrize("name", ["Logit", "Probit"])
def test_generalized_residuals_of_binary_models(name):
    results = getattr(tm, name).from_formula(BINARY, MROZ).fit()
    theirs = getattr(smf, name.lower())(BINARY, MROZ).fit(disp=0, tol=1e-12)
    np.testing.assert_allclose(results.resid_generalized, theirs.resid_generalized, rtol=1e-7, atol=1e-10)
    if name == "Probit":  # the inverse Mills ratio with the sign of the response
        q, eta = 2 * MROZ.inlf - 1, results.predict(which="linear")
        mills = q * stats.norm.pdf(eta) / stats.norm.cdf(q * eta)
        np.testing.assert_allclose(results.resid_generalized, mills, rtol=1e-12)


@pytest.mark.parametrize("name", ["Logit", "Probit", "Poisson", "NegativeBinomial"])
def test_generalized_residuals_are_orthogonal_to_the_regressors(name):
    results, _ = glm(name)
    sums = results.model.exog.numpy().T @ results.resid_generalized.to_numpy()
    size = np.abs(results.model.exog.numpy()).T @ np.abs(results.resid_generalized.to_numpy())
    np.testing.assert_allclose(sums / size, 0, atol=1e-7)


# ---- linear models: our sigma is s of the results, statsmodels' resid_pearson


@pytest.mark.parametrize("weights", [None, "exper"])
def test_pearson_residuals_of_least_squares_are_statsmodels(weights):
    formula = "lwage ~ educ + female"
    if weights is None:
        results, theirs = tm.OLS.from_formula(formula, WAGE).fit(), smf.ols(formula, WAGE).fit()
    else:
        results = tm.WLS.from_formula(formula, WAGE, weights=weights).fit()
        theirs = smf.wls(formula, WAGE, weights=WAGE[weights]).fit()
    np.testing.assert_allclose(results.resid_pearson, theirs.resid_pearson, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(results.resid_deviance, results.resid_pearson, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(results.residuals("quantile"), results.resid_pearson, rtol=1e-12)
    np.testing.assert_allclose(results.resid_response, theirs.resid, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose((results.resid_pearson**2).sum(), results.df_resid, rtol=1e-10)


@pytest.mark.parametrize("weights", [None, "exper"])
def test_maximum_likelihood_has_its_own_sigma(weights):
    """With sigma at its maximum the squared Pearson residuals have mean one."""
    results = tm.OLS.from_formula("lwage ~ educ", WAGE, var_weights=weights).fit(method="newton")
    np.testing.assert_allclose((results.resid_pearson**2).mean(), 1, rtol=1e-8)
    np.testing.assert_allclose(results.resid_deviance, results.resid_pearson, rtol=1e-7, atol=1e-9)


def test_sigma_by_row():
    results = tm.OLS.from_formula("lwage ~ educ", WAGE, log_sigma="1 + female").fit()
    sigma = np.exp(results.predict(which="log_sigma"))
    np.testing.assert_allclose(results.resid_pearson, results.resid / sigma, rtol=1e-10)


# ---- identities


def test_sums_of_squares_are_the_known_statistics():
    results, theirs = glm("Poisson")
    np.testing.assert_allclose((results.resid_deviance**2).sum(), theirs.deviance, rtol=1e-10)
    np.testing.assert_allclose((results.resid_pearson**2).sum(), theirs.pearson_chi2, rtol=1e-9)
    logit, theirs = glm("Logit")
    np.testing.assert_allclose((logit.resid_deviance**2).sum(), -2 * logit.llf, rtol=1e-12)
    np.testing.assert_allclose(logit.resid_response.sum(), 0, atol=1e-7)  # there is a constant


def test_the_row_parts_of_the_likelihood_give_deviance_residuals():
    results, _ = glm("NegativeBinomial")
    alpha, y = results.params["alpha"], CRIME.narr86.to_numpy()
    size = 1 / alpha
    saturated = np.where(y > 0, stats.nbinom.logpmf(y, size, size / (size + np.maximum(y, 1e-300))), 0.0)
    fitted = stats.nbinom.logpmf(y, size, size / (size + results.fittedvalues.to_numpy()))
    np.testing.assert_allclose(results.resid_deviance**2, 2 * (saturated - fitted), rtol=1e-8, atol=1e-10)


# ---- distribution functions, and quantile residuals


@pytest.mark.parametrize("name", ["Logit", "Probit", "Poisson", "NegativeBinomial", "OLS"])
def test_distribution_functions_are_scipys(name):
    model = getattr(tm, name)
    y = torch.tensor([-1.0, 0.0, 1.0, 2.0, 7.0, 40.0], dtype=torch.float64)
    for eta, other in ((-3.0, -1.0), (0.3, 0.5), (2.5, -4.0), (4.0, 1.0)):
        etas = [torch.full_like(y, eta), torch.full_like(y, other)]
        mean = model.mean(model, *etas[: 1 if name in ("Logit", "Probit", "Poisson") else 2])
        mean, scale = mean.numpy(), np.exp(other)
        expected = {
            "Logit": lambda m=mean: stats.bernoulli.cdf(y, m),
            "Probit": lambda m=mean: stats.bernoulli.cdf(y, m),
            "Poisson": lambda m=mean: stats.poisson.cdf(y, m),
            "NegativeBinomial": lambda m=mean, a=scale: stats.nbinom.cdf(y, 1 / a, 1 / (1 + a * m)),
            "OLS": lambda m=mean, s=scale: stats.norm.cdf(y, m, s),
        }[name]()
        instance = object.__new__(model)
        used = etas[: 1 if name in ("Logit", "Probit", "Poisson") else 2]
        np.testing.assert_allclose(instance.cdf(y, *used), expected, rtol=1e-11, atol=1e-15)


def simulated(name, n=4000):
    rng = np.random.default_rng(12)
    x = rng.normal(size=n)
    eta = 0.3 + 0.5 * x
    y = {
        "Logit": lambda: (rng.random(n) < 1 / (1 + np.exp(-eta))) * 1.0,
        "Probit": lambda: (rng.normal(size=n) < eta) * 1.0,
        "Poisson": lambda: rng.poisson(np.exp(eta)) * 1.0,
        "NegativeBinomial": lambda: rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, n)) * 1.0,
        "OLS": lambda: eta + rng.normal(size=n) * 2,
    }[name]()
    return pd.DataFrame({"y": y, "x": x})


@pytest.mark.parametrize("name", ["Logit", "Probit", "Poisson", "NegativeBinomial", "OLS"])
def test_quantile_residuals_of_the_right_model_are_normal(name):
    results = getattr(tm, name).from_formula("y ~ x", simulated(name)).fit()
    found = results.residuals("quantile", seed=3)
    assert stats.kstest(found, "norm").pvalue > 0.05  # a fixed draw: it cannot fail by chance
    pd.testing.assert_series_equal(found, results.residuals("quantile", seed=3))
    if name != "OLS":
        assert not found.equals(results.residuals("quantile", seed=4))


def test_quantile_residuals_of_the_wrong_model_are_not():
    results = tm.Poisson.from_formula("y ~ x", simulated("NegativeBinomial")).fit()
    assert stats.kstest(results.residuals("quantile"), "norm").pvalue < 1e-4


def test_no_global_seed_is_touched():
    results = tm.Logit.from_formula(BINARY, MROZ).fit()
    torch.manual_seed(5)
    first = torch.rand(1)
    torch.manual_seed(5)
    results.residuals("quantile")
    assert torch.rand(1) == first


def test_a_far_residual_of_a_normal_model_is_exact():
    """By way of the distribution function a residual of 10 standard deviations would be infinite."""
    table = pd.DataFrame({"y": np.r_[np.random.default_rng(1).normal(size=1000), 60.0], "x": np.arange(1001.0)})
    results = tm.OLS.from_formula("y ~ x", table).fit()
    assert results.resid_pearson.iloc[-1] > 20
    np.testing.assert_allclose(results.residuals("quantile"), results.resid_pearson, rtol=1e-12)


# ---- rows, weights, other models


def test_labels_are_those_of_the_rows_in_use():
    holes = MROZ.copy()
    holes.index = [f"r{i}" for i in range(len(holes))]
    holes.loc["r3", "educ"] = np.nan
    results = tm.Logit.from_formula(BINARY, holes).fit()
    for kind in ("response", "pearson", "deviance", "generalized", "quantile"):
        assert list(results.residuals(kind).index) == list(results.fittedvalues.index)
        assert "r3" not in results.residuals(kind).index


def test_counts_of_rows_change_no_residual():
    table = MROZ.assign(copies=1 + (MROZ.educ % 3).astype(int))
    once = tm.Logit.from_formula(BINARY, table, freq_weights="copies").fit()
    again = tm.Logit.from_formula(BINARY, table.loc[table.index.repeat(table.copies)].reset_index(drop=True)).fit()
    for kind in ("response", "pearson", "deviance", "generalized"):
        repeated = once.residuals(kind).repeat(table.copies)
        np.testing.assert_allclose(repeated, again.residuals(kind), rtol=1e-7, atol=1e-10)


def test_offsets_are_part_of_the_mean():
    table = CRIME.assign(time=CRIME.qemp86 + 1.0)
    results = tm.Poisson.from_formula("narr86 ~ pcnv", table, exposure="time").fit()
    theirs = smf.glm("narr86 ~ pcnv", table, family=sm.families.Poisson(), exposure=table.time).fit(tol=1e-14)
    np.testing.assert_allclose(results.resid_deviance, theirs.resid_deviance, rtol=1e-7, atol=1e-9)


def test_float32():
    single = tm.Poisson.from_formula(COUNT, CRIME, dtype=torch.float32).fit()
    double = tm.Poisson.from_formula(COUNT, CRIME).fit()
    for kind in ("response", "pearson", "deviance", "generalized", "quantile"):
        assert single.residuals(kind).dtype == np.float64
        np.testing.assert_allclose(single.residuals(kind), double.residuals(kind), atol=5e-3)


class Laplace(tm.LinearPredictorModel):
    predictors = {"mu": "1"}
    response = "continuous"

    def logdensity(self, y, mu):
        return -torch.sqrt((y - mu) ** 2 + 0.01)

    def mean(self, mu):
        return mu


class Opaque(tm.GenericLikelihoodModel):
    def loglikeobs(self, params):
        return tm.normal_logpdf(self.endog - self.exog @ params)

    def predict_mean(self, params):
        return self.exog @ params


def test_an_own_declarative_model_has_what_it_says():
    results = Laplace.from_formula("lwage ~ educ", WAGE).fit()
    np.testing.assert_allclose(results.resid_response, results.resid)
    e = results.resid
    np.testing.assert_allclose(results.resid_generalized, e / np.sqrt(e**2 + 0.01), rtol=1e-10)
    for kind, hook in (("pearson", "variance"), ("deviance", "saturated"), ("quantile", "cdf")):
        with pytest.raises(tm.UndefinedStatisticError, match=rf"Define {hook}\("):
            results.residuals(kind)
    assert not hasattr(results, "resid_pearson")


def test_an_own_opaque_model_has_response_residuals():
    results = Opaque.from_formula("lwage ~ educ", WAGE).fit()
    np.testing.assert_allclose(results.resid_response, results.resid)
    with pytest.raises(tm.UndefinedStatisticError, match="response residuals only"):
        results.residuals("pearson")


def test_what_is_not_there_is_refused():
    results = tm.Poisson.from_formula(COUNT, CRIME).fit()
    with pytest.raises(tm.OptionError, match="Did you mean 'pearson'"):
        results.residuals("person")
    with pytest.raises(tm.OptionError, match="seed"):
        results.residuals("quantile", seed=1.5)
    with pytest.raises(tm.DataError, match="rows of the fit"):
        results.lean().residuals()
    with pytest.warns(tm.DataWarning):
        fractions = tm.Poisson.from_formula("y ~ x", pd.DataFrame({"y": [0.5, 1.0, 2.5, 3.0], "x": range(4)})).fit()
    with pytest.raises(tm.UndefinedStatisticError, match="whole numbers"):
        fractions.residuals("quantile")
    assert np.isfinite(fractions.resid_deviance).all()
