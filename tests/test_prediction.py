"""Hold predictions with errors to statsmodels, to R, and to numerical derivatives."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
import torch

import torchmle as tm

REFERENCE = Path(__file__).parent / "reference"
WAGE = tm.datasets.load("wage1")
MROZ = tm.datasets.load("mroz")
CRIME = tm.datasets.load("crime1")
BINARY = "inlf ~ educ + np.log(age) + kidslt6"
COUNT = "narr86 ~ pcnv + inc86 + black"


def same(found, expected, rtol=1e-9):
    """Compare two tables by statsmodels' column names."""
    for name in expected.columns:
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, err_msg=name)


# ---- linear models: statsmodels' columns, those of a new observation too


@pytest.mark.parametrize("cov_type", ["nonrobust", "HC1"])
@pytest.mark.parametrize("weights", [None, "exper"])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("new", [True, False])
def test_least_squares_is_statsmodels(cov_type, weights, alpha, new):
    formula = "lwage ~ educ + I(exper**2) + female"
    if weights is None:
        found = tm.OLS.from_formula(formula, WAGE).fit(cov_type=cov_type)
        theirs = smf.ols(formula, WAGE).fit(cov_type=cov_type)
    else:
        found = tm.WLS.from_formula(formula, WAGE, weights=weights).fit(cov_type=cov_type)
        theirs = smf.wls(formula, WAGE, weights=WAGE[weights]).fit(cov_type=cov_type)
    table = WAGE.head(9) if new else None
    same(found.get_prediction(table).summary_frame(alpha), theirs.get_prediction(table).summary_frame(alpha), 1e-8)


def test_a_normal_model_with_sigma_by_row_has_its_intervals():
    results = tm.OLS.from_formula("lwage ~ educ", WAGE, log_sigma="1 + female").fit()
    found = results.get_prediction(WAGE.head(6))
    sigma = np.exp(results.predict(WAGE.head(6), which="log_sigma"))
    np.testing.assert_allclose(found.se_obs**2, found.se**2 + sigma**2, rtol=1e-12)
    wide = found.conf_int(obs=True)
    np.testing.assert_allclose(wide[1] - wide[0], 2 * 1.959963984540054 * found.se_obs, rtol=1e-12)


# ---- generalised linear models


GLM = {
    "Logit": (tm.Logit, BINARY, MROZ, sm.families.Binomial()),
    "Poisson": (tm.Poisson, COUNT, CRIME, sm.families.Poisson()),
}


@pytest.mark.parametrize("name", GLM)
@pytest.mark.parametrize("new", [True, False])
def test_ends_of_the_linear_predictor_are_those_of_a_glm(name, new):
    model, formula, data, family = GLM[name]
    table = data.head(8) if new else None
    found = model.from_formula(formula, data).fit().get_prediction(table, ci_method="endpoint")
    theirs = smf.glm(formula, data, family=family).fit(tol=1e-13).get_prediction(table)
    same(found.summary_frame(), theirs.summary_frame(), 1e-7)
    same(found.summary_frame(0.3), theirs.summary_frame(0.3), 1e-7)


@pytest.mark.parametrize("name", ["Logit", "Probit"])
def test_delta_intervals_are_those_of_discrete_models(name):
    found = getattr(tm, name).from_formula(BINARY, MROZ).fit().get_prediction(MROZ.head(8))
    theirs = getattr(smf, name.lower())(BINARY, MROZ).fit(disp=0, tol=1e-12).get_prediction(MROZ.head(8))
    expected = theirs.summary_frame()
    np.testing.assert_allclose(found.predicted, expected["predicted"], rtol=1e-9)
    np.testing.assert_allclose(found.se, expected["se"], rtol=1e-8)


@pytest.mark.parametrize("name", ["Logit", "Probit"])
def test_endpoint_intervals_stay_in_their_range(name):
    results = getattr(tm, name).from_formula("inlf ~ educ + age", MROZ).fit()
    far = {"educ": [0.0, 12.0, 60.0], "age": [90.0, 40.0, 20.0]}
    inside = results.get_prediction(far, ci_method="endpoint").conf_int()
    assert ((inside > 0) & (inside < 1)).all().all()
    outside = results.get_prediction(far).conf_int()
    assert (outside[1] > 1).any()


MODELS = {"logit": tm.Logit, "probit": tm.Probit, "Poisson": tm.Poisson, "negative binomial NB2": tm.NegativeBinomial}
R_CASES = [json.loads(path.read_text()) for path in sorted(REFERENCE.glob("*.json"))]
R_CASES = [ref for ref in R_CASES if "se_delta" in (ref.get("predict") or {})]


@pytest.mark.parametrize("ref", R_CASES, ids=lambda ref: ref["id"])
def test_delta_errors_are_those_of_r(ref):
    table = pd.read_csv(REFERENCE / "data" / ref["data"])
    rows = table.iloc[ref["predict"]["rows"]]
    exposure = {"log(Holders)": "Holders", None: None}[ref["extra"].get("offset")]
    results = MODELS[ref["model"]].from_formula(ref["formula"], table, exposure=exposure).fit()
    found = results.get_prediction(rows)
    np.testing.assert_allclose(
        found.predicted, ref["predict"].get("prob", ref["predict"].get("mean")), rtol=ref["rtol"]
    )
    np.testing.assert_allclose(found.se, ref["predict"]["se_delta"], rtol=ref["rtol"])


# ---- any model: errors by numerical derivatives


class Tobit(tm.LinearPredictorModel):
    predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}

    def logdensity(self, y, mu, log_sigma):
        z = (y - mu) * torch.exp(-log_sigma)
        return torch.where(y > 0, tm.normal_logpdf(z) - log_sigma, tm.log_ndtr(-mu * torch.exp(-log_sigma)))

    def mean(self, mu, log_sigma):
        z = mu * torch.exp(-log_sigma)
        return mu * torch.special.ndtr(z) + torch.exp(log_sigma + tm.normal_logpdf(z))


class Exponential(tm.GenericLikelihoodModel):
    extra_params = ("scale",)
    transforms = {"scale": "positive"}

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) / params[-1]) - torch.log(params[-1])

    def predict_mean(self, params):
        return torch.exp(self.exog @ params[:-1] + params[-1] ** 2 / 2)


FITS = {
    "own, declarative": lambda: Tobit.from_formula(
        "hours ~ educ + I(age**2) + kidslt6", MROZ.assign(hours=MROZ.hours / 1e3)
    ).fit(),
    "own, sigma by row": lambda: Tobit.from_formula(
        "hours ~ educ", MROZ.assign(hours=MROZ.hours / 1e3), log_sigma="1 + kidslt6"
    ).fit(),
    "own, opaque with a transform": lambda: Exponential.from_formula("lwage ~ educ + female", WAGE).fit(
        start_params=[0.5, 0.0, 0.0, 1.0]
    ),
    "nb2": lambda: tm.NegativeBinomial.from_formula(COUNT, CRIME).fit(cov_type="HC1"),
    "exposure": lambda: tm.Poisson.from_formula("narr86 ~ pcnv", CRIME, exposure="qemp86p").fit(),
    "fixed": lambda: tm.Logit.from_formula(BINARY, MROZ).fit(fixed={"educ": 0.2}),
    "constraint": lambda: tm.Logit.from_formula("inlf ~ educ + exper", MROZ).fit(constraints="educ = exper"),
    "freq_weights": lambda: tm.Logit.from_formula(BINARY, MROZ, freq_weights="weight").fit(),
    "sampling_weights": lambda: tm.Logit.from_formula(BINARY, MROZ, sampling_weights="weight").fit(),
}
MROZ = MROZ.assign(weight=1 + (MROZ.educ % 3).astype(int))
CRIME = CRIME.assign(qemp86p=CRIME.qemp86 + 1.0)


@pytest.mark.parametrize("name", FITS)
def test_errors_are_those_of_numerical_derivatives(name):
    results = FITS[name]()
    data = results.model.data
    table = pd.DataFrame(data.frame).iloc[:7]
    found = results.get_prediction(table)
    link = results.link_params.to_numpy()
    natural = results.params.index != results.link_params.index
    scale = np.where(natural, 1 / results.params, 1.0)
    V = results.cov_params().to_numpy() * np.outer(scale, scale)
    from torchmle.results.predict import target_of

    target, _ = target_of(results, table, {})

    def at(link):
        with torch.no_grad():
            return results.model.predict_at(torch.tensor(link), target, "mean").numpy()

    J = np.zeros((7, len(link)))
    for j in range(len(link)):
        h = 1e-2 * np.sqrt(V[j, j]) or 1e-5
        for k, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            moved = link.copy()
            moved[j] += k * h
            J[:, j] += weight * at(moved) / (12 * h)
    np.testing.assert_allclose(found.predicted, results.predict(table), rtol=1e-12)
    np.testing.assert_allclose(found.se, np.sqrt(((J @ V) * J).sum(1)), rtol=1e-6)


def test_other_predictors_and_the_rows_of_the_fit():
    results = tm.OLS.from_formula("lwage ~ educ", WAGE, log_sigma="1 + female").fit()
    found = results.get_prediction({"educ": [10], "female": [1]}, which="log_sigma")
    names = ["log_sigma:Intercept", "log_sigma:female"]
    V = results.cov_params().loc[names, names].to_numpy()
    np.testing.assert_allclose(found.predicted, results.params[names].sum(), rtol=1e-12)
    np.testing.assert_allclose(found.se, np.sqrt(V.sum()), rtol=1e-10)
    assert found.se_obs is None
    with pytest.raises(tm.UndefinedStatisticError, match="linear models"):
        found.conf_int(obs=True)
    whole = results.get_prediction()
    np.testing.assert_allclose(whole.predicted, results.fittedvalues, rtol=1e-13)


def test_weights_are_no_part_of_the_predictor_of_sigma():
    results = tm.WLS.from_formula("lwage ~ educ", WAGE, weights="exper").fit(method="newton")
    log_sigma = results.link_params.iloc[-1]
    np.testing.assert_allclose(results.predict(which="log_sigma"), log_sigma, rtol=1e-12)
    np.testing.assert_allclose(results.get_prediction(which="log_sigma").predicted, log_sigma, rtol=1e-12)


def test_the_offset_of_new_rows_is_asked_for():
    results = tm.Poisson(CRIME.narr86, sm.add_constant(CRIME[["pcnv"]]), exposure=CRIME.qemp86p).fit()
    new = sm.add_constant(CRIME[["pcnv"]]).head(4)
    with pytest.raises(tm.OptionError, match="offset"):
        results.get_prediction(new)
    one, two = results.get_prediction(new, offset=0), results.get_prediction(new, exposure=2.0)
    np.testing.assert_allclose(two.predicted, 2 * one.predicted, rtol=1e-12)
    np.testing.assert_allclose(two.se, 2 * one.se, rtol=1e-12)


@pytest.mark.parametrize("ci_method", ["delta", "endpoint"])
def test_rows_with_missing_values_have_no_prediction(ci_method):
    results = tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit()
    new = pd.DataFrame({"educ": [12, np.nan, 9], "age": [40, 30, np.nan]}, index=["a", "b", "c"])
    table = results.get_prediction(new, ci_method=ci_method).summary_frame()
    assert list(table.index) == ["a", "b", "c"]
    assert table.loc[["b", "c"]].isna().all().all()
    np.testing.assert_allclose(
        table.loc[["a"]], results.get_prediction(new.loc[["a"]], ci_method=ci_method).summary_frame()
    )
    nothing = results.get_prediction(new.loc[["b"]], ci_method=ci_method).summary_frame()
    assert nothing.isna().all().all()


def test_chunks_change_nothing(monkeypatch):
    results = Tobit.from_formula("hours ~ educ", MROZ.assign(hours=MROZ.hours / 1e3)).fit()
    before = results.get_prediction().summary_frame()
    monkeypatch.setattr("torchmle.results.prediction.CHUNK", 50)
    pd.testing.assert_frame_equal(results.get_prediction().summary_frame(), before, rtol=1e-12)


def test_a_parameter_at_its_bound_is_taken_as_fixed():
    bounded = tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit(bounds={"age": (0, None)})
    held = tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit(fixed={"age": 0.0})
    assert np.isnan(bounded.bse["age"])
    np.testing.assert_allclose(bounded.get_prediction().se, held.get_prediction().se, rtol=1e-7)


def test_lean_results_predict_new_rows_only():
    results = tm.Logit.from_formula("inlf ~ educ", MROZ).fit()
    lean = results.lean()
    new = {"educ": [8, 16]}
    pd.testing.assert_frame_equal(lean.get_prediction(new).table, results.get_prediction(new).table)
    with pytest.raises(tm.DataError, match="rows of the fit"):
        lean.get_prediction()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ci_method": "end"}, "Did you mean 'endpoint'"),
        ({"which": "meen"}, "Did you mean 'mean'"),
        ({"alpha": 0}, "alpha"),
        ({"which": "linear", "ci_method": "endpoint"}, "needs which='mean'"),
        ({"offset": 1.0}, "without new data"),
        ({"exposuer": 1.0}, "Did you mean 'exposure'"),
    ],
)
def test_what_is_not_there_is_refused(options, text):
    results = tm.Logit.from_formula("inlf ~ educ", MROZ).fit()
    with pytest.raises(tm.OptionError, match=text):
        results.get_prediction(**options)


def test_a_fit_without_a_maximum_has_no_errors():
    with pytest.warns(tm.ConvergenceWarning):
        results = tm.Logit.from_formula(BINARY, MROZ).fit(maxiter=1)
    with pytest.raises(tm.UndefinedStatisticError, match="maximum"):
        results.get_prediction()


def test_it_prints_as_a_table():
    found = tm.Logit.from_formula("inlf ~ educ", MROZ).fit().get_prediction({"educ": [8, 16]})
    assert "mean_ci_lower" in str(found)
    assert "<table" in found._repr_html_()
    pd.testing.assert_series_equal(found.predicted_mean, found.predicted)
    pd.testing.assert_series_equal(found.se_mean, found.se)
