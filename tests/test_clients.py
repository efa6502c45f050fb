"""Hand results to packages that take those of statsmodels, and find statsmodels' own numbers in what they return."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
import torch
from statsmodels.iolib.summary2 import summary_col
from statsmodels.stats import diagnostic, outliers_influence, sandwich_covariance, stattools

import torchmle as tm

ROOT = Path(__file__).parents[1]
WAGES, WORK, ARRESTS = "lwage ~ educ + exper + female", "inlf ~ educ + age + kidslt6", "narr86 ~ pcnv + avgsen"

WAGE1, MROZ, CRIME1 = (tm.datasets.load(name) for name in ("wage1", "mroz", "crime1"))
OURS = {
    "ols": tm.OLS.from_formula(WAGES, WAGE1).fit(),
    "logit": tm.Logit.from_formula(WORK, MROZ).fit(),
    "poisson": tm.Poisson.from_formula(ARRESTS, CRIME1).fit(),
}
THEIRS = {
    "ols": smf.ols(WAGES, WAGE1).fit(),
    "logit": smf.logit(WORK, MROZ).fit(disp=0),
    "poisson": smf.poisson(ARRESTS, CRIME1).fit(disp=0),
}
BOTH = ["ols", "logit"]


def near(actual, expected, rtol=1e-6):
    """Both are converged maxima: they agree far beyond what is shown."""
    np.testing.assert_allclose(
        np.asarray(actual, dtype=float), np.asarray(expected, dtype=float), rtol=rtol, atol=1e-12
    )


# ---- statsmodels


@pytest.mark.parametrize("name", BOTH)
def test_summary_col_prints_the_same_column(name):
    """One call with both fits: two columns that hold the same text in every row."""
    table = summary_col([OURS[name], THEIRS[name]], stars=True, info_dict={"N": lambda res: f"{res.nobs:.0f}"})
    cells = table.tables[0]
    assert list(cells.iloc[:, 0]) == list(cells.iloc[:, 1])
    educ = THEIRS[name].params["educ"], THEIRS[name].bse["educ"]
    text = str(table)
    assert f"{educ[0]:.4f}***" in text
    assert f"({educ[1]:.4f})" in text
    assert ("R-squared" in text) == (name == "ols")


class Normal(tm.GenericLikelihoodModel):
    extra_params = ("log_sigma",)

    def loglikeobs(self, params):
        z = (self.endog - self.exog @ params[:-1]) * (-params[-1]).exp()
        return tm.normal_logpdf(z) - params[-1]


OTHERS = {
    "dispersion": lambda: tm.NegativeBinomial.from_formula(ARRESTS, CRIME1).fit(),
    "sigma": lambda: tm.OLS.from_formula(WAGES, WAGE1).fit(method="newton"),
    "two predictors": lambda: tm.OLS.from_formula(WAGES, WAGE1, log_sigma="female").fit(),
    "levels": lambda: tm.MNLogit.from_formula("PID ~ educ", tm.datasets.load("anes96")).fit(),
    "own likelihood": lambda: Normal.from_formula(WAGES, WAGE1).fit(),
    "without rows": lambda: tm.NegativeBinomial.from_formula(ARRESTS, CRIME1).fit().lean(),
    "robust": lambda: tm.NegativeBinomial.from_formula(ARRESTS, CRIME1).fit().with_cov("HC1"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_summary_col_names_every_parameter(case):
    """It looks for names of its own at the model; parameters beside the columns of exog have theirs too."""
    results = OTHERS[case]()
    column = summary_col([results], stars=False).tables[0].iloc[:, 0]
    for name in results.names:
        assert column[name] == f"{results.params[name]:.4f}"
    assert [label for label in column.index if label in results.names] == list(results.names)


def test_two_fits_of_a_model_keep_their_own_names():
    model = tm.OLS.from_formula(WAGES, WAGE1)
    closed, full = model.fit(), model.fit(method="newton")
    for results in (closed, full):
        assert results.model.data.param_names == list(results.names)
    assert closed.model is model


@pytest.mark.filterwarnings("ignore::torchmle.ConvergenceWarning")
@pytest.mark.parametrize("client", ["summary_col", "stargazer", "maketables"])
def test_what_has_no_p_value_gets_no_stars(client):
    results = tm.Logit.from_formula(WORK, MROZ).fit(maxiter=1)
    assert results.pvalues.isna().all()
    if client == "summary_col":
        text = summary_col([results], stars=True).tables[0].to_string()
    elif client == "stargazer":
        stargazer = pytest.importorskip("stargazer.stargazer")
        tm.register_stargazer()
        text = stargazer.Stargazer([results]).render_latex().split("Observations")[0]
    else:
        maketables = pytest.importorskip("maketables")
        text = maketables.ETable([results]).make(type="tex").split("Observations")[0]
    assert f"{results.params['kidslt6']:.3f}"[:5] in text
    assert "**" not in text


def test_tests_of_residuals_take_ours():
    ours, theirs = OURS["ols"], THEIRS["ols"]
    near(diagnostic.het_breuschpagan(ours.resid, ours.model.exog),
         diagnostic.het_breuschpagan(theirs.resid, theirs.model.exog), 1e-8)  # fmt: skip
    near(stattools.durbin_watson(ours.resid), stattools.durbin_watson(theirs.resid), 1e-10)
    near(diagnostic.acorr_ljungbox(ours.resid, lags=[3]), diagnostic.acorr_ljungbox(theirs.resid, lags=[3]), 1e-8)
    for column in (1, 2):
        vif = outliers_influence.variance_inflation_factor
        near(vif(np.asarray(ours.model.exog), column), vif(theirs.model.exog, column), 1e-8)
    pd.testing.assert_index_equal(ours.resid.index, theirs.resid.index)


def test_a_qq_plot_draws_our_residuals():
    plt = pytest.importorskip("matplotlib.pyplot")
    drawn = [sm.qqplot(res.resid).axes[0].lines[0].get_ydata() for res in (OURS["ols"], THEIRS["ols"])]
    plt.close("all")
    near(drawn[0], drawn[1], 1e-7)


def test_scores_by_row_make_statsmodels_clustered_covariance():
    """``S' S`` summed by cluster, from our scores, is the meat of statsmodels' sandwich."""
    groups = (MROZ.age // 5).to_numpy()
    ours, theirs = OURS["logit"], THEIRS["logit"]
    scores = pd.DataFrame(ours.model.score_obs(ours.params)).groupby(groups).sum().to_numpy()
    bread = ours.normalized_cov_params.to_numpy()
    near(bread @ (scores.T @ scores) @ bread, sandwich_covariance.cov_cluster(theirs, groups, use_correction=False))


# ---- names of statsmodels

VALUES = {
    "ols": "HC0_se HC1_se HC2_se HC3_se cov_HC0 cov_HC1 cov_HC2 cov_HC3 normalized_cov_params k_constant llf aic bic "
    "rsquared rsquared_adj fvalue f_pvalue ssr ess centered_tss mse_resid scale df_model df_resid nobs wresid resid "
    "fittedvalues params bse tvalues pvalues use_t",
    "logit": "normalized_cov_params llf llnull llr llr_pvalue prsquared aic bic k_constant df_model df_resid nobs "
    "resid_dev resid_pearson resid_response resid_generalized params bse tvalues pvalues use_t",
    "poisson": "normalized_cov_params llf llnull llr llr_pvalue prsquared aic bic df_model df_resid nobs resid params "
    "bse tvalues pvalues",
}  # fmt: skip


@pytest.mark.parametrize(("name", "what"), [(name, what) for name, names in VALUES.items() for what in names.split()])
def test_a_name_of_statsmodels_has_its_value(name, what):
    ours, theirs = getattr(OURS[name], what), getattr(THEIRS[name], what)
    near(ours, theirs, 2e-5)  # statsmodels stops its likelihood models at a gradient of about 1e-8 a row
    assert isinstance(ours, pd.Series) == isinstance(theirs, pd.Series) or what.endswith("_se")


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_the_table_of_predictions(threshold):
    near(OURS["logit"].pred_table(threshold), THEIRS["logit"].pred_table(threshold))


def test_the_table_of_predictions_counts_repeated_rows_by_their_weights():
    weights = np.arange(len(MROZ)) % 3
    weighted = tm.Logit.from_formula(WORK, MROZ, freq_weights=weights).fit()
    repeated = tm.Logit.from_formula(WORK, MROZ.loc[MROZ.index.repeat(weights)].reset_index(drop=True)).fit()
    near(weighted.pred_table(), repeated.pred_table())


@pytest.mark.parametrize("name", ["ols", "logit", "poisson"])
@pytest.mark.parametrize("new", [False, True])
def test_distributions_of_the_response(name, new):
    """Mean and variance of each row are those of statsmodels' frozen distribution."""
    ours, theirs = OURS[name], THEIRS[name]
    rows = {"ols": WAGE1, "logit": MROZ, "poisson": CRIME1}[name].head(7)
    mine = ours.get_distribution(rows) if new else ours.get_distribution()
    if name == "ols":
        X = theirs.model.exog[:7] if new else theirs.model.exog
        wanted = theirs.model.get_distribution(theirs.params, theirs.scale, exog=X)
    else:
        wanted = theirs.get_distribution(rows) if new else theirs.get_distribution()
    near(mine.mean(), np.ravel(wanted.mean()), 1e-5)
    near(mine.var(), np.ravel(wanted.var()), 1e-5)


def test_a_distribution_has_no_value_where_a_regressor_is_missing():
    rows = MROZ.head(3).assign(educ=[1.0, np.nan, 3.0])
    assert np.isnan(OURS["logit"].get_distribution(rows).mean()).tolist() == [False, True, False]


def test_negative_binomial_rows_have_the_log_likelihood_of_their_distribution():
    res = tm.NegativeBinomial.from_formula(ARRESTS, CRIME1).fit()
    near(res.get_distribution().logpmf(CRIME1.narr86).sum(), res.llf, 1e-9)


def test_variances_of_weighted_rows():
    """``sigma^2 / w`` for the rows of the fit: the normal log-likelihood at s instead of the maximum's sigma."""
    weights = 1 + np.arange(len(WAGE1)) % 4
    res = tm.WLS.from_formula(WAGES, WAGE1, weights=weights).fit()
    near(res.get_distribution().var(), res.scale / weights, 1e-12)


@pytest.mark.parametrize(("cov_type", "kwds"), [
    ("HC1", {}), ("HC3", {}), ("cluster", {"groups": (WAGE1.exper // 4).to_numpy()}), ("HAC", {"maxlags": 2}),
])  # fmt: skip
@pytest.mark.parametrize("use_t", [None, True, False])
def test_robust_results_as_statsmodels_has_them(cov_type, kwds, use_t):
    """It keeps t where ``fit(cov_type=...)`` goes over to z."""
    ours = OURS["ols"].get_robustcov_results(cov_type, use_t=use_t, **kwds)
    theirs = THEIRS["ols"].get_robustcov_results(cov_type, use_t=use_t, **kwds)
    for what in ("bse", "pvalues", "use_t"):
        near(getattr(ours, what), getattr(theirs, what), 1e-6)
    near(ours.conf_int(), theirs.conf_int())


def test_comparisons_of_nested_least_squares():
    small = "lwage ~ educ"
    ours, theirs = tm.OLS.from_formula(small, WAGE1).fit(), smf.ols(small, WAGE1).fit()
    near(OURS["ols"].compare_f_test(ours), THEIRS["ols"].compare_f_test(theirs))
    near(OURS["ols"].compare_lr_test(ours), THEIRS["ols"].compare_lr_test(theirs))
    with pytest.raises(tm.OptionError, match="nonrobust"):
        OURS["ols"].compare_f_test(ours.with_cov("HC1"))
    with pytest.raises(tm.OptionError, match="larger"):
        ours.compare_f_test(OURS["ols"])


@pytest.mark.parametrize("method", ["bonf", "holm", "sidak"])
def test_outliers(method):
    ours, theirs = OURS["ols"].outlier_test(method), THEIRS["ols"].outlier_test(method)
    assert list(ours.columns) == list(theirs.columns)
    near(ours, theirs.loc[ours.index], 1e-6)


@pytest.mark.parametrize("name", ["ols", "logit"])
def test_wald_tests_of_terms(name):
    theirs = THEIRS[name].wald_test_terms(scalar=True).summary_frame()
    ours = OURS[name].wald_test_terms()
    for term in ("educ", "Intercept"):
        near(ours.loc[term].iloc[0], theirs.loc[term].iloc[0], 1e-4)


def test_how_the_fit_ended():
    assert OURS["logit"].mle_retvals["converged"]
    assert OURS["logit"].mle_retvals["warnflag"] == 0
    near(OURS["logit"].mle_retvals["fopt"], THEIRS["logit"].mle_retvals["fopt"], 1e-8)
    with pytest.warns(tm.ConvergenceWarning):
        stopped = tm.Logit.from_formula(WORK, MROZ).fit(maxiter=1)
    assert (stopped.mle_retvals["converged"], stopped.mle_retvals["warnflag"]) == (False, 1)


@pytest.mark.parametrize(("name", "what", "advice"), [
    ("ols", "remove_data", "lean()"),
    ("ols", "load", "torchmle.load"),
    ("ols", "mle_retvals", "closed form"),
    ("ols", "pred_table", None),
    ("ols", "prsquared", "prsquared"),
    ("logit", "get_robustcov_results", "with_cov"),
    ("logit", "HC0_se", "with_cov('HC0')"),
    ("logit", "compare_lr_test", "lr_test"),
    ("logit", "compare_f_test", "lr_test"),
    ("logit", "outlier_test", "influence()"),
    ("logit", "rsquared", "rsquared"),
    ("poisson", "fvalue", "fvalue"),
])  # fmt: skip
def test_a_name_without_meaning_is_an_attribute_error_that_says_what_to_use(name, what, advice):
    if advice is None:
        with pytest.raises(AttributeError, match=what):
            getattr(OURS[name], what)()
        return
    assert not hasattr(OURS[name], what)
    with pytest.raises(AttributeError, match=re.escape(advice)):
        getattr(OURS[name], what)


def test_a_constant_is_one_of_the_columns_with_coefficients():
    assert tm.OLS.from_formula("lwage ~ 0 + educ", WAGE1).fit().k_constant == 0
    assert tm.Logit.from_formula("inlf ~ 0 + educ + C(city)", MROZ).fit().k_constant == 1  # the dummies add up to it
    assert OTHERS["levels"]().k_constant == 1

    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x, y):
            return tm.normal_logpdf(y - self.a * x[:, 0])

    own = tm.ModuleModel.from_formula("lwage ~ educ", WAGE1, module=Line()).fit(method="newton")
    assert not hasattr(own, "k_constant")


# ---- plain tables


@pytest.mark.parametrize("name", ["ols", "logit", "poisson"])
def test_tidy_has_a_row_for_each_parameter(name):
    table, theirs = OURS[name].tidy(alpha=0.1), THEIRS[name]
    assert table["term"].tolist() == theirs.params.index.tolist()
    columns = ("estimate", "std.error", "statistic", "p.value")
    for column, wanted in zip(columns, (theirs.params, theirs.bse, theirs.tvalues, theirs.pvalues), strict=True):
        near(table[column], wanted, 2e-5)
    near(table[["conf.low", "conf.high"]], theirs.conf_int(0.1), 2e-5)


def test_glance_has_what_is_defined():
    ols, logit = OURS["ols"].glance().iloc[0], OURS["logit"].glance().iloc[0]
    theirs = THEIRS["ols"]
    near([ols["r.squared"], ols["statistic"], ols["p.value"], ols["sigma"], ols["nobs"]],
         [theirs.rsquared, theirs.fvalue, theirs.f_pvalue, theirs.scale**0.5, theirs.nobs])  # fmt: skip
    near([logit["pseudo.r.squared"], logit["statistic"], logit["AIC"]],
         [THEIRS["logit"].prsquared, THEIRS["logit"].llr, THEIRS["logit"].aic])  # fmt: skip
    assert "r.squared" not in logit
    assert "pseudo.r.squared" not in ols
    assert pd.concat([res.glance() for res in OURS.values()]).shape[0] == 3


def test_glance_of_a_fit_without_a_maximum_has_no_criteria():
    with pytest.warns(tm.ConvergenceWarning):
        row = tm.Logit.from_formula(WORK, MROZ).fit(maxiter=1).glance().iloc[0]
    assert not row["converged"]
    assert "AIC" not in row
    assert "p.value" not in row


# ---- other packages


def test_stargazer_prints_the_same_column():
    stargazer = pytest.importorskip("stargazer.stargazer")
    tm.register_stargazer()
    tm.register_stargazer()
    for name in BOTH:
        table = stargazer.Stargazer([OURS[name], THEIRS[name]])
        table.show_residual_std_err = name == "ols"  # Stargazer makes one up for a logit of statsmodels
        latex = table.render_latex()
        rows = [line.rstrip("\\ ").split("&")[1:] for line in latex.splitlines() if line.count("&") == 2]
        assert len(rows) > 8
        assert [row[0].strip() for row in rows[1:]] == [row[1].strip() for row in rows[1:]]
        educ = THEIRS[name].params["educ"]
        assert f"{educ:.3f}$^{{***}}$" in latex
        assert f"({THEIRS[name].bse['educ']:.3f})" in table.render_html()


def test_stargazer_is_told_of_results_only_when_asked():
    pytest.importorskip("stargazer")
    code = (
        "import torchmle as tm\nfrom stargazer.stargazer import Stargazer, RESULTS_CLASSES\n"
        "res = tm.OLS.from_formula('lwage ~ educ', tm.datasets.load('wage1')).fit()\n"
        "before = len(RESULTS_CLASSES); tm.register_stargazer(); print(before, len(RESULTS_CLASSES))\n"
        "Stargazer([res]).render_html()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    before, after = map(int, done.stdout.split())
    assert after == before + 1, done.stderr


@pytest.mark.parametrize("name", BOTH)
def test_maketables_prints_the_same_column(name):
    maketables = pytest.importorskip("maketables")
    latex = maketables.ETable([OURS[name], THEIRS[name]]).make(type="tex")
    rows = [line.rstrip("\\ ").split(" & ") for line in latex.splitlines() if line.count(" & ") == 2]
    body = {row[0].strip(): row[1:] for row in rows if row[0].strip()}
    assert "educ" in body
    assert all(mine.strip() == theirs.strip() for mine, theirs in body.values())
    assert f"{THEIRS[name].params['educ']:.3f}" in body["educ"][0]
    assert f"({THEIRS[name].bse['educ']:.3f})" in body["educ"][0]


@pytest.mark.parametrize("name", BOTH)
def test_great_tables_shows_tidy_results(name):
    great_tables = pytest.importorskip("great_tables")
    table = great_tables.GT(OURS[name].tidy()).fmt_number(columns=["estimate", "std.error"], decimals=6)
    markup = table.as_raw_html().replace("\N{MINUS SIGN}", "-")
    for value in (*THEIRS[name].params, *THEIRS[name].bse):
        assert f">{value:.6f}<" in markup


@pytest.mark.parametrize("name", ["ols", "logit", "poisson"])
def test_the_dict_for_estimagic(name):
    """Its own reader of statsmodels makes these columns, in this order."""
    given, theirs = OURS[name].to_estimagic(), THEIRS[name]
    wanted = pd.concat([theirs.params, theirs.pvalues, theirs.bse, theirs.conf_int()], axis=1)
    assert given["params"].columns.tolist() == ["value", "p_value", "standard_error", "ci_lower", "ci_upper"]
    near(given["params"], wanted, 2e-5)
    assert given["name"] == theirs.model.endog_names
    assert given["info"]["n_obs"] == theirs.nobs
    assert ("rsquared" in given["info"]) == (name == "ols")


def test_estimagic_prints_the_same_column():
    estimation_table = pytest.importorskip("estimagic").estimation_table
    with pd.option_context("future.infer_string", False):  # it cannot do with the text columns of pandas 3
        fits = [tm.OLS.from_formula(WAGES, WAGE1).fit().to_estimagic(), smf.ols(WAGES, WAGE1).fit()]
        table = estimation_table(fits)
        logit = estimation_table([tm.Logit.from_formula(WORK, MROZ).fit().to_estimagic()])
    assert table.iloc[:, 0].tolist() == table.iloc[:, 1].tolist()
    assert f"{THEIRS['logit'].params['educ']:.3g}" in logit.to_string()


MARGINS = {
    "ols": OURS["ols"],
    "logit": OURS["logit"],
    "robust": OURS["logit"].with_cov("HC1"),
    "negative binomial": tm.NegativeBinomial.from_formula(ARRESTS, CRIME1).fit(),
    "categories": tm.Logit.from_formula("inlf ~ educ + C(kids)*age", MROZ.assign(kids=(MROZ.kidslt6 > 0) * 1)).fit(),
    "rows missing": tm.Logit.from_formula(WORK, MROZ.assign(educ=MROZ.educ.where(MROZ.age != 40))).fit(),
}


def slopes(package, results, **options):
    """Return slopes and errors by marginaleffects, by variable and contrast."""
    table = pd.DataFrame(package.avg_slopes(results.to_marginaleffects(), **options).to_dict(as_series=False))
    return table.set_index("term")[["estimate", "std_error"]].sort_index()


@pytest.mark.parametrize("case", MARGINS)
def test_marginaleffects_averages_the_slopes(case):
    """Against our own margins, which the tests of margins compare with statsmodels and Stata."""
    package = pytest.importorskip("marginaleffects")
    results = MARGINS[case]
    own = results.margins().table.set_index("variable").sort_index()
    found = slopes(package, results)
    near(found["estimate"], own["estimate"], 1e-4)  # it takes differences, forward in the parameters
    near(found["std_error"], own["std err"], 5e-3)


def test_marginaleffects_takes_another_covariance():
    package = pytest.importorskip("marginaleffects")
    near(slopes(package, OURS["logit"], vcov="HC1"), slopes(package, MARGINS["robust"]), 1e-9)


def test_marginaleffects_predicts():
    package = pytest.importorskip("marginaleffects")
    found = package.predictions(OURS["logit"].to_marginaleffects()).to_pandas()
    near(found["estimate"], THEIRS["logit"].predict(), 1e-6)
    near(found["std_error"], THEIRS["logit"].get_prediction().se, 1e-4)


@pytest.mark.parametrize(("results", "says"), [
    (lambda: tm.Logit(MROZ.inlf, tm.add_constant(MROZ[["educ"]])).fit(), "from_formula"),
    (lambda: tm.MNLogit.from_formula("PID ~ educ", tm.datasets.load("anes96")).fit(), "one prediction a row"),
    (lambda: OURS["logit"].lean(), "to_marginaleffects"),
])  # fmt: skip
def test_what_marginaleffects_cannot_take(results, says):
    pytest.importorskip("marginaleffects")
    with pytest.raises(tm.TorchmleError, match=says):
        results().to_marginaleffects()


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "marginaleffects", None)
    monkeypatch.setitem(sys.modules, "marginaleffects.classes.model", None)
    with pytest.raises(tm.TorchmleError, match=re.escape("torchmle[marginaleffects]")):
        OURS["logit"].to_marginaleffects()


def test_statsmodels_would_not_know_results_that_lie():
    """The comparison of columns can fail: another covariance gives other text."""
    cells = summary_col([OURS["ols"].with_cov("HC1"), THEIRS["ols"]]).tables[0]
    assert list(cells.iloc[:, 0]) != list(cells.iloc[:, 1])
