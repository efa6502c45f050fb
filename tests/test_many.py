"""Many fits at once: each is its own separate fit, and what has no estimate says why."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch

import torchmle as tm

GROUPS, ROWS = 12, 70
OF_FIT = ("cov_type", "cov_kwds", "method", "fixed", "use_t")


def half_normal(x):
    """Be a function of the caller's that formulas mention."""
    return np.abs(x)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    n = GROUPS * ROWS
    frame = pd.DataFrame({"x1": 50 + 3 * rng.normal(size=n), "x2": rng.normal(size=n), "g": rng.integers(0, GROUPS, n)})
    eta = 0.3 * (frame.x1 - 50) - 0.5 * frame.x2
    columns = {"firm": rng.integers(0, 200, n), "level": rng.choice(list("abc"), n)}
    for r in range(4):
        columns[f"y{r}"] = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
        columns[f"z{r}"] = 1 + frame.x1 + np.exp(0.3 * frame.x2) * rng.normal(size=n)
        columns[f"c{r}"] = rng.poisson(np.exp(0.5 + eta / 3) * rng.gamma(2, 0.5, n)).astype(float)
        columns[f"w{r}"] = rng.integers(0, 4, n)
        columns[f"s{r}"] = rng.random(n) * 100 + 0.1
    frame = frame.assign(**columns)
    for r in range(1, 4):  # each response and each weight misses other rows
        frame.loc[7 * r : 7 * r + 2, [f"y{r}", f"z{r}", f"c{r}", f"s{r}"]] = np.nan
    frame.loc[[1, 5], "x2"] = np.nan
    return frame


class OpaqueLogit(tm.GenericLikelihoodModel):
    def loglikeobs(self, params):
        return tm.log_sigmoid((2 * self.endog - 1) * (self.exog @ params))


class OwnNormal(tm.LinearPredictorModel):
    predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}

    def logdensity(self, y, mu, log_sigma):
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma


def split(options):
    fit = {k: v for k, v in options.items() if k in OF_FIT}
    return fit, {k: v for k, v in options.items() if k not in OF_FIT}


def compare(many, single):
    """Hold every row of many fits against its own fit: numbers to 1e-8, errors to 1e-7, what is made of them too."""
    assert many.failed == 0
    assert many.converged.all()
    for key in many.keys:
        one = single(key)
        assert list(many.params.columns) == list(one.params.index)
        size = 1 + one.params.abs() + one.bse  # a fit stops when it is 1e-9 standard errors from the maximum or so
        assert ((many.params.loc[key] - one.params).abs() / size).max() < 1e-8
        np.testing.assert_allclose(many.bse.loc[key], one.bse, rtol=1e-7)
        np.testing.assert_allclose(many.tvalues.loc[key], one.tvalues, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(many.pvalues.loc[key], one.pvalues, rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(many.conf_int(0.1).loc[key].to_numpy().reshape(-1, 2), one.conf_int(0.1), rtol=1e-7)
        np.testing.assert_allclose(many.llf[key], one.llf, rtol=1e-11)
        assert many.nobs[key] == one.nobs
        assert many.df_resid[key] == one.df_resid
        assert (many.cov_type, many.use_t) == (one.cov_type, one.use_t)


CASES = {
    "logit": (tm.Logit, "y", {}),
    "logit HC1": (tm.Logit, "y", {"cov_type": "HC1"}),
    "probit opg": (tm.Probit, "y", {"cov_type": "opg"}),
    "logit freq": (tm.Logit, "y", {"freq_weights": "w0", "cov_type": "HC1"}),
    "logit sampling": (tm.Logit, "y", {"sampling_weights": "s0"}),
    "logit cluster": (tm.Logit, "y", {"cov_type": "cluster", "cov_kwds": {"groups": "firm"}}),
    "logit fixed": (tm.Logit, "y", {"fixed": {"x1": 0.3}}),
    "poisson": (tm.Poisson, "c", {"cov_type": "HC0", "offset": "x2"}),
    "nb": (tm.NegativeBinomial, "c", {"cov_type": "HC0"}),
    "ols": (tm.OLS, "z", {}),
    "ols HC1": (tm.OLS, "z", {"cov_type": "HC1", "use_t": True}),
    "ols HC3": (tm.OLS, "z", {"cov_type": "HC3"}),
    "ols opg freq": (tm.OLS, "z", {"cov_type": "opg", "freq_weights": "w0"}),
    "ols var": (tm.OLS, "z", {"var_weights": "s0", "cov_type": "HC0"}),
    "ols sampling": (tm.OLS, "z", {"sampling_weights": "s0"}),
    "ols newton": (tm.OLS, "z", {"method": "newton"}),
    "ols newton var": (tm.OLS, "z", {"method": "newton", "var_weights": "s0", "cov_type": "HC1"}),
    "ols sigma": (tm.OLS, "z", {"log_sigma": "~ x2"}),
    "own": (OwnNormal, "z", {"cov_type": "HC1"}),
    "opaque": (OpaqueLogit, "y", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_each_group_is_its_own_fit(data, name):
    model, y, options = CASES[name]
    formula = f"{y}0 ~ x1 + half_normal(x2)"
    fit, of_model = split(options)
    many = tm.fit_many(model, formula, data, by="g", **options)
    groups = dict(list(data.groupby("g")))
    compare(many, lambda g: model.from_formula(formula, groups[g], **of_model).fit(**fit))


@pytest.mark.parametrize("name", CASES)
def test_each_outcome_is_its_own_fit(data, name):
    model, y, options = CASES[name]
    fit, of_model = split(options)
    many = tm.fit_many(model, "~ x1 + x2", data, outcomes=[f"{y}{r}" for r in range(4)], **options)
    compare(many, lambda key: model.from_formula(f"{key} ~ x1 + x2", data, **of_model).fit(**fit))


WEIGHTED = {
    "logit freq": (tm.Logit, "y0", "freq_weights", "w", {}),
    "logit sampling": (tm.Logit, "y1", "sampling_weights", "s", {}),
    "nb sampling": (tm.NegativeBinomial, "c0", "sampling_weights", "w", {"cov_type": "HC0"}),
    "ols freq": (tm.OLS, "z0", "freq_weights", "w", {"cov_type": "HC1"}),
    "ols sampling": (tm.OLS, "z0", "sampling_weights", "s", {}),
    "wls": (tm.WLS, "z0", "var_weights", "s", {}),
    "normal var": (tm.OLS, "z0", "var_weights", "s", {"method": "newton"}),
    "opaque freq": (OpaqueLogit, "y0", "freq_weights", "w", {"cov_type": "HC1"}),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_each_weight_is_its_own_fit(data, name):
    model, y, kind, w, fit = WEIGHTED[name]
    many = tm.fit_many(model, f"{y} ~ x1 + x2", data, weights=[f"{w}{r}" for r in range(4)], weight_kind=kind, **fit)
    compare(many, lambda key: model.from_formula(f"{y} ~ x1 + x2", data, **{kind: key}).fit(**fit))


def test_against_statsmodels(data):
    many = tm.fit_many(tm.Logit, "y0 ~ x1 + x2", data, by="g", cov_type="HC0")
    for g, part in data.dropna(subset=["x2"]).groupby("g"):
        theirs = sm.Logit(part.y0, sm.add_constant(part[["x1", "x2"]])).fit(disp=0, cov_type="HC0", tol=1e-12)
        np.testing.assert_allclose(many.params.loc[g], theirs.params, rtol=1e-6)
        np.testing.assert_allclose(many.bse.loc[g], theirs.bse, rtol=1e-6)


def test_what_is_done_together(data):
    """Only what has to be is fitted by itself: rows near certainty need a certificate against separation."""
    for model, y, options in (CASES[k] for k in ("logit HC1", "nb", "ols", "own")):
        assert tm.fit_many(model, f"{y}0 ~ x1 + x2", data, by="g", **options).alone == 0
    assert tm.fit_many(tm.Logit, "y0 ~ x1 + x2", data, by="g", cov_type="HC2").alone == GROUPS


# ---- failures


def broken(data):
    """Return data in which groups 0 to 5 have no estimate, each for another reason."""
    frame = data.astype({"g": float}).copy()
    frame.loc[frame.g == 0, "y0"] = (frame.x2[frame.g == 0] > 0).astype(float)
    frame.loc[frame.g == 1, "x2"] = 2 * frame.x1
    frame.loc[frame.g == 2, "x2"] = np.nan
    frame.loc[frame.g == 3, "y0"] = 1.0
    frame = pd.concat([frame[frame.g != 4], frame[frame.g == 4].head(2)])
    frame.loc[frame.g == 5, "y0"] = 2 * frame.y0
    return frame


def test_failures_are_nan_with_a_cause(data):
    frame = broken(data)
    good = frame[~frame.g.isin(range(6))]
    with pytest.raises(tm.DataError, match="0 and 1"):
        tm.fit_many(tm.Logit, "y0 ~ x1 + x2", frame, by="g")
    frame = frame[frame.g != 5]
    with pytest.warns(tm.ConvergenceWarning, match="5 of 11 fits by g have no estimate"):
        many = tm.fit_many(tm.Logit, "y0 ~ x1 + x2", frame, by="g")
    said = {0: "perfectly", 1: "x2 is collinear", 2: "values are missing", 3: "1 in every row", 4: "2 rows"}
    assert set(many.causes) == set(said)
    for g, text in said.items():
        assert text in many.causes[g]
    failed = list(said)
    assert many.params.loc[failed].isna().all(axis=None)
    assert many.bse.loc[failed].isna().all(axis=None)
    assert many.llf[failed].isna().all()
    assert not many.converged[failed].any()
    assert "5 more" not in str(many)
    assert many.causes[1] in str(many)
    kept = tm.fit_many(tm.Logit, "y0 ~ x1 + x2", good, by="g")
    np.testing.assert_allclose(many.params.drop(index=failed), kept.params, rtol=1e-7)


def test_a_failed_fit_can_be_looked_at(data):
    frame = broken(data).query("g != 5")
    with pytest.warns(tm.ConvergenceWarning):
        many = tm.fit_many(tm.Logit, "y0 ~ x1 + x2", frame, by="g")
    with pytest.warns(tm.SeparationWarning):
        assert not many[0].converged
    with pytest.warns(tm.CollinearityWarning):
        assert list(many[1].params.index) == ["Intercept", "x1"]
    with pytest.raises(KeyError, match="no fit 77"):
        many[77]


def test_outcomes_that_fail(data):
    frame = data.assign(twos=2.0, ones=1.0, inf=np.inf, words="a")
    with pytest.warns(tm.ConvergenceWarning, match="4 of 5"):
        many = tm.fit_many(tm.Logit, "~ x1", frame, outcomes=["twos", "ones", "inf", "y0", "words"])
    assert list(many.converged) == [False, False, False, True, False]
    assert "0 and 1" in many.causes["twos"]
    assert "infinite" in many.causes["inf"]


def test_pseudo_likelihoods_are_said_once(data):
    frame = data.assign(h0=data.c0 / 2, h1=data.c1 / 2)
    with pytest.warns(tm.DataWarning, match="whole|fraction") as heard:
        many = tm.fit_many(tm.Poisson, "~ x1", frame, outcomes=["h0", "h1"], cov_type="HC1")
    assert len(heard) == 1
    assert many.failed == 0


def test_weights_that_fail(data):
    frame = data.assign(neg=-1.0, none=0, half=0.5)
    with pytest.warns(tm.ConvergenceWarning, match="3 of 4"):
        many = tm.fit_many(
            tm.Logit, "y0 ~ x1", frame, weights=["neg", "none", "w0", "half"], weight_kind="freq_weights"
        )
    assert list(many.converged) == [False, False, True, False]
    assert "negative" in many.causes["neg"]
    assert "whole numbers" in many.causes["half"]


# ---- what groups mean


def test_levels_are_those_of_the_table(data):
    """A level that a group lacks is NaN there; without the base level the columns are collinear."""
    frame = data[~((data.g == 0) & (data.level == "c")) & ~((data.g == 1) & (data.level == "a"))]
    with pytest.warns(tm.ConvergenceWarning, match="1 of 12"):
        many = tm.fit_many(tm.OLS, "z0 ~ x1 + C(level)", frame, by="g")
    assert np.isnan(many.params.loc[0, "C(level)[T.c]"])
    own = tm.OLS.from_formula("z0 ~ x1 + C(level)", frame[frame.g == 0]).fit()
    np.testing.assert_allclose(many.params.loc[0, own.params.index], own.params, rtol=1e-10)
    np.testing.assert_allclose(many.bse.loc[0, own.params.index], own.bse, rtol=1e-10)
    assert "collinear" in many.causes[1]
    assert "Not in every fit: C(level)[T.c]." in many.notes


def test_several_columns_name_groups(data):
    many = tm.fit_many(tm.OLS, "z0 ~ x1", data, by=["level", "g"])
    assert many.params.index.names == ["level", "g"]
    own = tm.OLS.from_formula("z0 ~ x1", data[(data.level == "b") & (data.g == 3)]).fit()
    np.testing.assert_allclose(many.params.loc[("b", 3)], own.params, rtol=1e-10)
    np.testing.assert_allclose(many["b", 3].bse, own.bse, rtol=1e-12)
    table = many.summary_frame()
    assert table.loc[("b", 3, "x1"), "estimate"] == many.params.loc[("b", 3), "x1"]
    assert len(table) == 2 * len(many)


def test_categories_and_rows_without_a_group(data):
    sparse = data.assign(k=pd.Categorical(data.level, categories=["c", "a", "b", "unused"]))
    sparse.loc[:9, "k"] = None
    with pytest.warns(tm.ConvergenceWarning, match="unused"):
        many = tm.fit_many(tm.OLS, "z0 ~ x1", sparse, by="k")
    assert list(many.keys) == ["c", "a", "b", "unused"]
    assert many.causes["unused"] == "The group has no rows."
    assert "10 rows have no value of 'k'" in str(many)
    assert many.nobs.sum() == len(data) - 10
    with pytest.raises(tm.DataError, match="10 rows have no value"):
        tm.fit_many(tm.OLS, "z0 ~ x1", sparse, by="k", missing="raise")


@pytest.mark.filterwarnings("ignore:1 rows were dropped")
def test_terms_across_rows_are_refused(data):
    for term in ("lag(x1)", "x1.shift(1)"):
        with pytest.raises(tm.OptionError, match="other groups"):
            tm.fit_many(tm.OLS, f"z0 ~ {term}", data, by="g")


def test_likelihoods_that_look_at_other_rows_are_refused(data):
    class Coupled(OwnNormal):
        def logdensity(self, y, mu, log_sigma):
            return super().logdensity(y - y.mean(), mu, log_sigma)

    with pytest.raises(tm.LikelihoodError, match="other rows"):
        tm.fit_many(Coupled, "z0 ~ x1", data, by="g")


# ---- forms of input


def test_outcomes_as_a_frame(data):
    model = tm.Logit.from_formula("y0 ~ x1 + x2", data)
    truth = {"Intercept": -15.0, "x1": 0.3, "x2": -0.5}
    drawn = model.simulate(truth, n=6, seed=1)
    many = tm.fit_many(tm.Logit, "~ x1 + x2", data.loc[drawn.index], outcomes=drawn)
    assert list(many.keys) == list(range(6))
    own = tm.Logit.from_formula("y ~ x1 + x2", data.assign(y=drawn[4])).fit()
    np.testing.assert_allclose(many.params.loc[4], own.params, rtol=1e-7)
    shuffled = tm.fit_many(tm.Logit, "~ x1 + x2", data.loc[drawn.index], outcomes=drawn.sample(frac=1, random_state=0))
    np.testing.assert_allclose(shuffled.params, many.params, rtol=1e-12)


def test_other_tables(data):
    pl = pytest.importorskip("polars")
    frame = data[["z0", "z1", "x1", "g"]]
    here = tm.fit_many(tm.OLS, "~ x1", frame, outcomes=["z0", "z1"])
    np.testing.assert_array_equal(
        tm.fit_many(tm.OLS, "~ x1", pl.DataFrame(frame.to_dict("list")), outcomes=["z0", "z1"]).params, here.params
    )
    by = tm.fit_many(tm.OLS, "z0 ~ x1", pl.DataFrame(frame.to_dict("list")), by="g")
    np.testing.assert_array_equal(by.params, tm.fit_many(tm.OLS, "z0 ~ x1", frame, by="g").params)


def test_models_of_several_rows_an_observation_are_refused():
    trips = tm.datasets.load("trips")
    for given in ({"by": "income"}, {"weights": ["income"], "weight_kind": "sampling_weights"}):
        with pytest.raises(tm.OptionError, match="several rows"):
            tm.fit_many(
                tm.ConditionalLogit, "chosen ~ time + cost", trips, alternatives="mode", situations="trip", **given
            )


def test_weights_as_a_frame_are_those_of_columns(data):
    kind = {"weight_kind": "sampling_weights"}
    named = tm.fit_many(tm.Logit, "y0 ~ x1", data, weights=["s0", "s1"], **kind)
    rest = data.drop(columns=["s0", "s1"])
    given = tm.fit_many(tm.Logit, "y0 ~ x1", rest, weights=data[["s1", "s0"]][::-1], **kind)
    pd.testing.assert_frame_equal(named.params, given.params.loc[["s0", "s1"]])
    with pytest.raises(tm.OptionError, match="names of their own"):
        tm.fit_many(tm.Logit, "y0 ~ x1", data, weights=data[["s1"]], **kind)


def test_formulas_see_the_functions_of_the_caller_through_models_that_pass_them_on(data):
    res = tm.WLS.from_formula("z0 ~ half_normal(x2)", data, weights="s0").fit()
    here = data.assign(x2=half_normal(data.x2))
    np.testing.assert_allclose(res.params, tm.WLS.from_formula("z0 ~ x2", here, weights="s0").fit().params, rtol=1e-12)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_modes_of_the_caller_do_not_matter(data, mode):
    usual = tm.fit_many(tm.NegativeBinomial, "c0 ~ x1 + x2", data, by="g", cov_type="HC1")
    with mode():
        within = tm.fit_many(tm.NegativeBinomial, "c0 ~ x1 + x2", data, by="g", cov_type="HC1")
        drawn = tm.fit_many(tm.Logit, "~ x1", data, outcomes=["y0", "y1"])
    pd.testing.assert_frame_equal(usual.bse, within.bse, rtol=1e-12)
    assert drawn.failed == 0


def test_order_of_rows_and_size_of_pieces_do_not_matter(data, monkeypatch):
    usual = tm.fit_many(tm.Logit, "y0 ~ x1 + x2", data, by="g", cov_type="HC1")
    monkeypatch.setattr("torchmle.models.running.NUMBERS", 600)  # one or two groups a piece
    mixed = tm.fit_many(tm.Logit, "y0 ~ x1 + x2", data.sample(frac=1, random_state=1), by="g", cov_type="HC1")
    assert mixed.alone == 0
    np.testing.assert_allclose(mixed.params, usual.params, rtol=1e-10)
    np.testing.assert_allclose(mixed.bse, usual.bse, rtol=1e-10)


def test_nothing_is_changed(data):
    before, options = data.copy(), {"groups": "firm"}
    tm.fit_many(tm.OLS, "~ x1", data, outcomes=["z0", "z1"], cov_type="cluster", cov_kwds=options)
    pd.testing.assert_frame_equal(data, before)
    assert options == {"groups": "firm"}


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({}, tm.OptionError, "none of them was given"),
        ({"by": "g", "outcomes": ["y0"]}, tm.OptionError, "by and outcomes was given"),
        ({"by": "h"}, tm.DataError, "no column"),
        ({"by": 3}, tm.OptionError, "name of a column"),
        ({"outcomes": ["y0"]}, tm.OptionError, "one of its own"),
        ({"weights": ["w0"]}, tm.OptionError, "weight_kind"),
        ({"weights": "w0"}, tm.OptionError, "list of columns"),
        ({"weights": ["w0"], "weight_kind": "freq"}, tm.OptionError, "freq_weights"),
        ({"weights": ["s0"], "weight_kind": "var_weights"}, tm.OptionError, "var_weights"),
        ({"by": "g", "weight_kind": "freq_weights"}, tm.OptionError, "there are none"),
        ({"by": "g", "cov_type": "HC7"}, tm.OptionError, "HC"),
        ({"by": "g", "cov_typ": "HC1"}, tm.OptionError, "cov_typ"),
        ({"by": "g", "fixed": {"x9": 0.0}}, tm.OptionError, "x9"),
        ({"by": "g", "checkpoint": "x"}, tm.OptionError, "single fit"),
        ({"by": "g", "cov_type": "nonrobust", "sampling_weights": "s0"}, tm.OptionError, "pseudo"),
    ],
)
def test_bad_arguments(data, given, error, text):
    with pytest.raises(error, match=text):
        tm.fit_many(tm.Logit, "y0 ~ x1", data, **given)


def test_a_model_is_a_class():
    with pytest.raises(tm.OptionError, match="class of a model"):
        tm.fit_many("Logit", "y ~ x", {"y": [0, 1], "x": [1, 2]}, by="x")
