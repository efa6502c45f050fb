"""The multinomial logit against R (tests/reference/choice), statsmodels, and the conditional logit."""

from __future__ import annotations

import functools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch

import torchmle as tm
from torchmle.testing.differences import gradient

ROOT = Path(__file__).parent / "reference"
ERRORS = {"bse": "nonrobust", "bse_OPG": "opg", "bse_HC0": "HC0", "bse_HC1": "HC1"}
CASES = {"mnlogit_anes_pid": "anes96", "mnlogit_fishing_income": "fishing"}
LONG = "PID ~ logpopul + selfLR + age"


@functools.cache
def anes() -> pd.DataFrame:
    return tm.datasets.load("anes96")


@functools.cache
def parties() -> pd.DataFrame:
    """Return the data with three levels as text."""
    names = {0: "dem", 1: "dem", 2: "ind", 3: "ind", 4: "ind", 5: "rep", 6: "rep"}
    return anes().assign(party=anes()["PID"].astype(int).map(names), half=np.arange(len(anes())) % 2)


@functools.cache
def fitted(name: str) -> tuple[dict[str, Any], Any]:
    case = json.loads((ROOT / "choice" / f"{name}.json").read_text())
    data = anes() if CASES[name] == "anes96" else pd.read_csv(ROOT / "data" / "fishing.csv.gz")
    return case, tm.MNLogit.from_formula(case["formula"], data).fit()


@functools.cache
def short() -> Any:
    return tm.MNLogit.from_formula("party ~ age + educ", parties()).fit()


def by_name(table: pd.DataFrame, column: str) -> pd.Series:
    names = [f"{level}:{variable}" for level, variable in zip(table["level"], table["variable"], strict=True)]
    return pd.Series(table[column].to_numpy(), index=names)


# --- Against R ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_estimates_and_errors(name):
    case, res = fitted(name)
    assert list(res.params.index) == list(case["params"])
    np.testing.assert_allclose(res.params, list(case["params"].values()), rtol=case["rtol"])
    for field, cov_type in ERRORS.items():
        np.testing.assert_allclose(res.with_cov(cov_type).bse, list(case[field].values()), rtol=case["rtol"])


@pytest.mark.parametrize("name", CASES)
def test_statistics(name):
    case, res = fitted(name)
    test = case["lr_test"]
    found = [res.llf, res.aic, res.bic, res.df_model, res.nobs, res.llnull, res.llr, res.llr_pvalue, res.prsquared]
    wanted = [case[k] for k in ("llf", "aic", "bic", "df_model", "nobs")]
    wanted += [test["llnull"], test["stat"], test["p"], 1 - case["llf"] / test["llnull"]]
    np.testing.assert_allclose(found, wanted, rtol=case["rtol"])


@pytest.mark.parametrize("name", CASES)
def test_effects_and_probabilities(name):
    case, res = fitted(name)
    for found in (res.margins(), res.get_margeff()):
        for field, column in (("estimate", "estimate"), ("bse", "std err")):
            values = by_name(found.table, column)[list(case["ame"][field])]
            np.testing.assert_allclose(values, list(case["ame"][field].values()), rtol=case["rtol"])
    rows = case["predict"]["rows"]
    np.testing.assert_allclose(res.predict().iloc[rows], case["predict"]["prob"], rtol=case["rtol"])


# --- Against statsmodels -----------------------------------------------------------------------------------------


@functools.cache
def reference() -> Any:
    data = parties()
    X = sm.add_constant(data[["age", "educ"]])
    return sm.MNLogit(pd.Categorical(data["party"]).codes, X).fit(disp=0, tol=1e-12)


def test_layout_is_that_of_statsmodels():
    ref, res = reference(), short()
    np.testing.assert_allclose(res.params_by_level, ref.params, rtol=1e-7)
    np.testing.assert_allclose(res.params, np.ravel(ref.params, order="F"), rtol=1e-7)
    np.testing.assert_allclose(res.cov_params(), ref.cov_params(), rtol=1e-6)
    assert list(res.params_by_level.columns) == ["ind", "rep"]
    assert (res.df_model, res.df_resid) == (ref.df_model, ref.df_resid)
    np.testing.assert_allclose(res.pred_table(), ref.pred_table())


@pytest.mark.parametrize("options", [{}, {"at": "mean"}, {"at": "median"}, {"at": "zero"}])
def test_effects_of_columns(options):
    found = short().get_margeff(**options)
    wanted = reference().get_margeff(**options)
    J = len(short().model.levels)
    np.testing.assert_allclose(found.margeff.reshape(J, -1).T, wanted.margeff, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found.margeff_se.reshape(J, -1).T, wanted.margeff_se, rtol=1e-5)


def test_elasticities_are_effects_times_values():
    """statsmodels 0.14 multiplies levels, not variables, by the values here."""
    res, at = short(), parties()[["age", "educ"]].median().to_numpy()
    p = res.predict(pd.DataFrame([at], columns=["age", "educ"])).to_numpy()[0]
    effects = res.get_margeff(at="median").margeff.reshape(3, 2)
    elasticities = res.get_margeff(at="median", method="eyex").margeff.reshape(3, 2)
    np.testing.assert_allclose(elasticities, effects * at / p[:, None], rtol=1e-10)


def test_effects_add_up_to_zero_over_the_levels():
    found = short().margins("educ")
    one = np.ones(len(found.values))
    assert abs(one @ found.values) < 1e-15
    assert abs(one @ found.covariance @ one) < 1e-15
    apart = short().margins("educ", which="rep")
    np.testing.assert_allclose(apart.values[0], found.values[2])
    np.testing.assert_allclose(short().margins("educ", over="half").contrast().values.sum(), 0, atol=1e-14)


def test_effects_with_unconditional_errors():
    res = tm.MNLogit.from_formula("party ~ age + educ", parties()).fit(cov_type="HC0")
    delta, whole = res.margins("age"), res.margins("age", vce="unconditional")
    np.testing.assert_allclose(delta.values, whole.values)
    one = np.ones(3)
    assert abs(one @ whole.covariance @ one) < 1e-14
    assert (np.abs(whole.margeff_se / delta.margeff_se - 1) < 0.1).all()


# --- Forms of the response ---------------------------------------------------------------------------------------


def as_codes(y: pd.Series) -> pd.Series:
    return y.map({"dem": 0, "ind": 1, "rep": 2})


FORMS = {
    "text": lambda y: y,
    "categories": lambda y: pd.Categorical(y, categories=["dem", "ind", "rep"]),
    "string dtype": lambda y: y.astype("string"),
    "codes": as_codes,
    "floats": lambda y: as_codes(y).astype(float),
    "objects": lambda y: y.astype(object),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_the_response(form):
    data = parties().assign(party=FORMS[form](parties()["party"]))
    res = tm.MNLogit.from_formula("party ~ age + educ", data).fit()
    np.testing.assert_allclose(res.params, short().params, rtol=1e-9)
    arrays = tm.MNLogit(data["party"], tm.add_constant(data[["age", "educ"]])).fit()
    np.testing.assert_allclose(arrays.params, short().params, rtol=1e-9)
    whole = tm.MNLogit.from_formula("C(party) ~ age + educ", data).fit()
    np.testing.assert_allclose(whole.params, short().params, rtol=1e-9)


def test_categories_keep_their_order():
    data = parties().assign(party=pd.Categorical(parties()["party"], categories=["rep", "dem", "ind"]))
    model = tm.MNLogit.from_formula("party ~ age + educ", data)
    assert (model.levels, model.base) == (("rep", "dem", "ind"), "rep")
    assert list(model.fit().predict().columns) == ["rep", "dem", "ind"]


def test_truth_values_are_levels():
    data = parties().assign(vote=parties()["vote"] == 1)
    res = tm.MNLogit.from_formula("vote ~ age", data).fit()
    logit = tm.Logit.from_formula("vote ~ age", data).fit()
    assert list(res.params.index) == ["True:Intercept", "True:age"]
    np.testing.assert_allclose(res.params, logit.params, rtol=1e-9)
    np.testing.assert_allclose(res.bse, logit.bse, rtol=1e-9)
    np.testing.assert_allclose(res.llnull, logit.llnull)


@pytest.mark.parametrize("base", ["dem", "ind", "rep"])
def test_base(base):
    res = tm.MNLogit.from_formula("party ~ age + educ", parties(), base=base).fit()
    np.testing.assert_allclose(res.llf, short().llf)
    np.testing.assert_allclose(res.predict(), short().predict(), rtol=1e-9)
    assert not any(name.startswith(f"{base}:") for name in res.params.index)
    assert res.params_by_level.shape == (3, 2)


def test_missing_rows():
    data = parties().copy()
    data.loc[[3, 10], "party"] = None
    data.loc[20, "age"] = np.nan
    res = tm.MNLogit.from_formula("party ~ age + educ", data).fit()
    again = tm.MNLogit.from_formula("party ~ age + educ", data.drop(index=[3, 10, 20])).fit()
    assert res.nobs == len(data) - 3
    np.testing.assert_allclose(res.params, again.params, rtol=1e-10)
    found = res.predict(data)
    assert found.loc[20].isna().all()
    assert not found.loc[3].isna().any()


def test_frames_are_left_alone():
    data = parties().copy()
    before = data.copy()
    tm.MNLogit.from_formula("party ~ age", data).fit()
    pd.testing.assert_frame_equal(data, before)


# --- Likelihood --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, "freq_weights", "sampling_weights"])
def test_derivatives(weights):
    extra = {} if weights is None else {weights: 1.0 + np.arange(len(parties())) % 3}
    model = tm.MNLogit.from_formula("party ~ age + educ", parties(), base="ind", **extra)
    theta = np.array([0.3, -0.01, 0.1, -0.2, 0.02, -0.1])
    np.testing.assert_allclose(
        model.score(theta), gradient(model.loglike, theta, np.full(6, 1e-2)) * 100, rtol=1e-6, atol=1e-5
    )
    leaf = torch.tensor(theta)
    w = torch.ones(model.nobs, dtype=torch.float64) if weights is None else model.data.weights.values
    hessian = torch.autograd.functional.hessian(lambda p: model.loglikeobs(p) @ w, leaf).numpy()
    np.testing.assert_allclose(model.hessian(theta), hessian, rtol=1e-9, atol=1e-8)
    scores = model.score_obs(theta)
    np.testing.assert_allclose(w.numpy() @ scores, model.score(theta), rtol=1e-9, atol=1e-9)


def test_columns_far_from_zero_lose_no_digits():
    data = parties().assign(year=1e7 + parties()["age"])
    res = tm.MNLogit.from_formula("party ~ year + educ", data).fit()
    np.testing.assert_allclose(res.params["rep:year"], short().params["rep:age"], rtol=1e-6)
    np.testing.assert_allclose(res.bse["rep:year"], short().bse["rep:age"], rtol=1e-6)


def test_it_is_the_conditional_logit_with_interactions():
    data, levels = parties(), ["dem", "ind", "rep"]
    X = np.column_stack([np.ones(len(data)), data["age"], data["educ"]])
    wide = np.zeros((len(data), 3, 6))
    wide[:, 1, :3], wide[:, 2, 3:] = X, X
    other = tm.ConditionalLogit(data["party"], wide, alternatives=levels).fit()
    # each is within 1e-5 standard errors of the maximum (a scaled gradient below 1e-10)
    np.testing.assert_allclose(short().params, other.params, rtol=1e-7)
    np.testing.assert_allclose(short().bse, other.bse, rtol=1e-7)


def test_weights():
    data = parties().assign(w=1 + np.arange(len(parties())) % 3)
    weighted = tm.MNLogit.from_formula("party ~ age + educ", data, freq_weights="w").fit()
    repeated = tm.MNLogit.from_formula("party ~ age + educ", data.loc[data.index.repeat(data["w"])]).fit()
    np.testing.assert_allclose(weighted.params, repeated.params, rtol=1e-9)
    np.testing.assert_allclose(weighted.bse, repeated.bse, rtol=1e-9)
    np.testing.assert_allclose([weighted.llnull, weighted.nobs], [repeated.llnull, repeated.nobs])
    np.testing.assert_allclose(weighted.pred_table(), repeated.pred_table())
    np.testing.assert_allclose(weighted.margins().values, repeated.margins().values)
    survey = tm.MNLogit.from_formula("party ~ age + educ", data, sampling_weights="w").fit()
    np.testing.assert_allclose(survey.params, repeated.params, rtol=1e-9)
    assert survey.cov_type == "HC1"


def test_clusters():
    data = parties().assign(g=np.arange(len(parties())) // 10)
    res = tm.MNLogit.from_formula("party ~ age + educ", data).fit(cov_type="cluster", cov_kwds={"groups": "g"})
    X = sm.add_constant(data[["age", "educ"]])
    ref = sm.MNLogit(pd.Categorical(data["party"]).codes, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = ref.fit(disp=0, tol=1e-12, cov_type="cluster", cov_kwds={"groups": data["g"].to_numpy()})
    np.testing.assert_allclose(res.bse, np.ravel(other.bse, order="F"), rtol=1e-6)


@pytest.mark.parametrize(
    ("restriction", "wanted"),
    [
        ({"constraints": "ind:age = rep:age"}, lambda p: p["ind:age"] - p["rep:age"]),
        ({"fixed": {"rep:educ": 0.2}}, lambda p: p["rep:educ"] - 0.2),
        ({"constraints": ["2*ind:educ - rep:educ = 0.1"]}, lambda p: 2 * p["ind:educ"] - p["rep:educ"] - 0.1),
    ],
)
def test_restrictions(restriction, wanted):
    model = short().model
    res = model.fit(**restriction)
    assert res.converged
    assert abs(wanted(res.params)) < 1e-12
    other = model.fit(method="bfgs", **restriction)
    np.testing.assert_allclose(res.params, other.params, rtol=1e-3, atol=1e-5)
    assert res.llf < short().llf


def test_wald_test_of_numeric_levels():
    _case, res = fitted("mnlogit_anes_pid")
    found = res.wald_test("1:age = 2:age")
    V, p = res.cov_params(), res.params
    variance = V.loc["1:age", "1:age"] + V.loc["2:age", "2:age"] - 2 * V.loc["1:age", "2:age"]
    np.testing.assert_allclose(found.statistic, (p["1:age"] - p["2:age"]) ** 2 / variance, rtol=1e-9)
    tied = res.model.fit(constraints="1:age = 2:age")
    np.testing.assert_allclose(tied.params["1:age"], tied.params["2:age"], rtol=1e-12)


@pytest.mark.parametrize("restriction", [{}, {"fixed": {"rep:age": 0.0}}])
def test_score_test_of_a_new_variable(restriction):
    """Rao's statistic ``s' V s`` at the restricted estimates, from the larger model's own score and information."""
    model = short().model
    found = model.fit(**restriction).score_test("income")
    larger = tm.MNLogit.from_formula("party ~ age + educ + income", parties())
    names = list(larger.param_names)
    restricted = larger.fit(fixed={"ind:income": 0.0, "rep:income": 0.0, **restriction.get("fixed", {})})
    theta = restricted.params.to_numpy()
    free = [i for i, name in enumerate(names) if name not in restriction.get("fixed", {})]
    s, information = larger.score(theta)[free], -larger.hessian(theta)[np.ix_(free, free)]
    np.testing.assert_allclose(found.statistic, s @ np.linalg.solve(information, s), rtol=1e-6)
    assert found.df == 2


# --- After the fit -----------------------------------------------------------------------------------------------


def test_predictions():
    res, new = short(), pd.DataFrame({"age": [30.0, 60.0, np.nan], "educ": [3.0, 6.0, 3.0]}, index=["a", "b", "c"])
    found = res.predict(new)
    etas = np.column_stack([[1, 1], new["age"][:2], new["educ"][:2]]) @ res.params_by_level.to_numpy()
    odds = np.exp(np.column_stack([np.zeros(2), etas]))
    np.testing.assert_allclose(found.iloc[:2], odds / odds.sum(1, keepdims=True), rtol=1e-10)
    np.testing.assert_allclose(res.predict(new, which="linear").iloc[:2], etas, rtol=1e-10)
    assert found.loc["c"].isna().all()
    one = res.get_prediction(new.iloc[:2], which="rep")
    np.testing.assert_allclose(one.predicted, found["rep"].iloc[:2])
    np.testing.assert_allclose(res.fittedvalues.sum(axis=1), 1.0)
    np.testing.assert_allclose(res.resid.sum(), 0.0, atol=1e-6)  # the scores of the constants


def test_errors_of_predictions_by_differences():
    res, new = short(), {"age": [30.0], "educ": [3.0]}
    V = res.cov_params().to_numpy()

    def probability(theta: np.ndarray) -> float:
        eta = np.array([1.0, 30.0, 3.0]) @ theta.reshape(2, 3).T
        return float(np.exp(eta[1]) / (1 + np.exp(eta).sum()))

    unit = np.sqrt(np.diag(V))
    g = gradient(probability, res.params.to_numpy(), unit) / unit
    np.testing.assert_allclose(res.get_prediction(new, which="rep").se, np.sqrt(g @ V @ g), rtol=1e-6)


def test_simulated_levels_have_the_probabilities():
    res = short()
    drawn = res.model.simulate(res.params, n=400, seed=3)
    assert set(np.unique(drawn.astype(str))) == {"dem", "ind", "rep"}
    share = (drawn == "rep").mean(axis=1)
    p = res.predict()["rep"]
    z = (share - p) / np.sqrt(p * (1 - p) / 400)
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert abs(z.std() - 1) < 0.1
    pd.testing.assert_series_equal(res.model.simulate(res.params, seed=5), res.model.simulate(res.params, seed=5))


def test_files_and_replay(tmp_path):
    res = tm.MNLogit.from_formula("party ~ age + educ", parties(), base="ind").fit()
    res.save(tmp_path / "a", data=True)
    again = tm.load(tmp_path / "a")
    pd.testing.assert_series_equal(again.params, res.params)
    pd.testing.assert_frame_equal(again.predict(), res.predict())
    assert type(again) is tm.MNLogitResults
    new = parties().iloc[:300]
    replayed = tm.replay(res, new)
    direct = tm.MNLogit.from_formula("party ~ age + educ", new, base="ind").fit()
    pd.testing.assert_series_equal(replayed.params, direct.params)
    res.save(tmp_path / "b")
    lean = tm.load(tmp_path / "b")
    pd.testing.assert_frame_equal(lean.predict(new), res.predict(new))


# --- Separation and bad input ------------------------------------------------------------------------------------


def test_separation_is_found():
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=300), rng.normal(size=300)
    y = np.where(x > 0.5, 2, rng.integers(0, 2, 300))
    with pytest.warns(tm.SeparationWarning, match="Separation: 300 of 300 rows|rows are predicted perfectly"):
        res = tm.MNLogit(y, pd.DataFrame({"const": 1.0, "x": x, "z": z})).fit()
    assert not res.converged
    assert res.bse.isna().all()
    assert {"2:x"} <= {res.names[j] for j in res.fit.separation.columns}
    assert not any("z" in res.names[j] for j in res.fit.separation.columns)


def test_rare_combinations_are_no_separation():
    rng = np.random.default_rng(2)
    x = rng.normal(size=5000)
    eta = np.column_stack([np.zeros(5000), 4 * x, -3 * x - 1])
    y = (eta + rng.gumbel(size=eta.shape)).argmax(1)
    res = tm.MNLogit(y, tm.add_constant(pd.DataFrame({"x": x}))).fit()
    assert res.converged
    assert res.predict().to_numpy().min() < 1e-5


X = np.column_stack([np.ones(6), [1.0, 2, 1, 2, 3, 3]])
BAD: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "one level": (["a"] * 6, {}, tm.DataError, "'a' in every row in use"),
    "unseen": (
        pd.Categorical(list("ababab"), categories=list("abc")),
        {},
        tm.DataError,
        "level 'c' in no row",
    ),
    "unseen by weights": (list("ababac"), {"freq_weights": [1, 1, 1, 1, 1, 0]}, tm.DataError, "level 'c' in no row"),
    "continuous": (np.arange(6) + 0.5, {}, tm.DataError, "6 different values"),
    "mixed": (["a", 1, "a", "b", "b", "a"], {}, tm.DataError, "mixes text"),
    "base": (list("ababab"), {"base": "c"}, tm.OptionError, "Unknown base 'c'"),
    "offset": (list("ababab"), {"offset": np.ones(6)}, tm.OptionError, "has no offset"),
    "exposure": (list("ababab"), {"exposure": np.ones(6)}, tm.OptionError, "no exposure"),
    "var_weights": (list("ababab"), {"var_weights": np.ones(6)}, tm.OptionError, "normal models only"),
    "argument": (list("ababab"), {"bases": "a"}, tm.OptionError, "Did you mean 'base'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    y, options, error, text = BAD[name]
    with pytest.raises(error, match=text):
        tm.MNLogit(y, X, **options)


def test_bad_input_after_the_fit():
    res = short()
    with pytest.raises(tm.UndefinedStatisticError, match="probability for each level"):
        res.get_prediction()
    with pytest.raises(tm.OptionError, match="Did you mean 'rep'"):
        res.margins("age", which="repp")
    with pytest.raises(tm.OptionError, match="Unknown which"):
        res.predict(which="rep")
    with pytest.raises(tm.OptionError, match="one for each level"):
        res.permutation_test("age", reps=3)
    with pytest.raises(tm.UndefinedStatisticError, match="use resid"):
        res.residuals("pearson")
