"""Check what stands in tables of several models: numbers against statsmodels, choices, notes, errors."""

import itertools
import math
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
import torch

import torchmle as tm
from torchmle.report.tables.numbers import automatic, significant, writer

WAGE, MROZ, TRIPS = (tm.datasets.load(name) for name in ("wage1", "mroz", "trips"))
CHOICE = {"alternatives": "mode", "situations": "trip"}


class Scaled(tm.LinearPredictorModel):
    predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}

    def logdensity(self, y, mu, log_sigma):
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma


def ols(formula="lwage ~ educ + exper", **options):
    return tm.OLS.from_formula(formula, WAGE).fit(**options)


def logit(formula="inlf ~ educ + age", **options):
    return tm.Logit.from_formula(formula, MROZ).fit(**options)


@pytest.fixture(scope="module")
def short():
    return ols("lwage ~ educ")


@pytest.fixture(scope="module")
def long():
    return ols("lwage ~ educ + exper + C(female)", cov_type="HC1")


@pytest.fixture(scope="module")
def binary():
    return logit()


@pytest.fixture(scope="module")
def early():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return logit(method="bfgs", maxiter=1)


def cell(table, row, what, column=0, section=""):
    return table.to_frame().loc[(section, row, what)].iloc[column]


def value(text):
    return float(text.rstrip("*+").strip("()[]{}"))


def labels(table, kind="estimate"):
    return [line.label for line in table.lines if line.kind == kind]


# ---- numbers


FITS = {
    "ols": (lambda: ols(cov_type="HC1"), lambda: smf.ols("lwage ~ educ + exper", WAGE).fit(cov_type="HC1")),
    "ols, t": (ols, lambda: smf.ols("lwage ~ educ + exper", WAGE).fit()),
    "logit": (logit, lambda: smf.logit("inlf ~ educ + age", MROZ).fit(disp=0, tol=1e-12)),
    "poisson": (
        lambda: tm.Poisson.from_formula("kidslt6 ~ educ + age", MROZ).fit(),
        lambda: smf.poisson("kidslt6 ~ educ + age", MROZ).fit(disp=0, tol=1e-12),
    ),
    "clusters": (
        lambda: ols(cov_type="cluster", cov_kwds={"groups": "tenure"}),
        lambda: smf.ols("lwage ~ educ + exper", WAGE).fit(cov_type="cluster", cov_kwds={"groups": WAGE["tenure"]}),
    ),
}


@pytest.mark.parametrize("name", FITS)
def test_numbers_are_those_of_statsmodels(name):
    ours, theirs = FITS[name][0](), FITS[name][1]()
    found = tm.table(ours, below=["se", "t", "p", "ci"], alpha=0.1, fmt="%.10f", stars=False)
    interval = theirs.conf_int(0.1)
    for row in theirs.params.index:
        wanted = {"estimate": theirs.params, "se": theirs.bse, "t": theirs.tvalues, "p": theirs.pvalues}
        for what, series in wanted.items():
            assert value(cell(found, row, what)) == pytest.approx(series[row], rel=1e-6, abs=1e-8)
        ends = [float(end) for end in cell(found, row, "ci").strip("[]").split(", ")]
        assert ends == pytest.approx(interval.loc[row].tolist(), rel=1e-6, abs=1e-8)
    assert cell(found, "Observations", "statistic") == str(int(theirs.nobs))
    assert float(cell(found, "Log-likelihood", "statistic")) == pytest.approx(theirs.llf, abs=0.006)
    for row, attribute in {"AIC": "aic", "BIC": "bic"}.items():
        assert float(cell(found, row, "statistic")) == pytest.approx(getattr(theirs, attribute), abs=0.006)
    if name == "clusters":
        assert cell(found, "Clusters", "statistic") == str(WAGE["tenure"].nunique())


@pytest.mark.parametrize("name", FITS)
def test_a_result_of_statsmodels_stands_beside_ours_with_the_same_cells(name):
    found = tm.table([fit() for fit in FITS[name]], below=["se", "t", "p", "ci"]).to_frame()
    assert found.iloc[:, 0].tolist() == found.iloc[:, 1].tolist()


@pytest.mark.parametrize(
    ("pvalue", "stars", "mark"),
    [
        (0.5, True, ""),
        (0.1, True, ""),
        (0.0999, True, "*"),
        (0.0499, True, "**"),
        (0.00999, True, "***"),
        (0.0, True, "***"),
        (math.nan, True, ""),
        (0.001, False, ""),
        (0.03, (0.05, 0.01), "*"),
        (0.009, (0.05, 0.01), "**"),
        (0.009, [0.01, 0.05, 0.001], "**"),
        (0.07, {"+": 0.1, "*": 0.05}, "+"),
        (0.04, {"+": 0.1, "*": 0.05}, "*"),
    ],
)
def test_stars_follow_the_p_value(pvalue, stars, mark):
    found = tm.table(duck([1.0], [0.5], [pvalue]), stars=stars)
    assert cell(found, "x0", "estimate") == f"1.000{mark}"
    assert ("p <" in found.as_text()) is (stars is not False)


def duck(params, bse, pvalues=None, names=None, **more):
    """Return an object that offers what results of other packages do, and nothing else."""
    names = names or [f"x{i}" for i in range(len(params))]
    series = {
        "params": params,
        "bse": bse,
        "tvalues": np.divide(params, bse),
        "pvalues": [0.5] * len(params) if pvalues is None else pvalues,
    }
    held = {key: pd.Series(list(map(float, part)), index=names) for key, part in series.items()}
    ends = pd.DataFrame({0: held["params"] - 2 * held["bse"], 1: held["params"] + 2 * held["bse"]})
    return SimpleNamespace(**held, conf_int=lambda alpha=0.05: ends, **more)


# ---- rows


def test_rows_of_a_later_model_stand_beside_their_neighbours(short, long):
    assert labels(tm.table([short, long])) == ["Intercept", "educ", "exper", "C(female)[T.1]"]
    assert labels(tm.table([long, short])) == ["Intercept", "educ", "exper", "C(female)[T.1]"]
    a, b = duck([1, 2, 3], [1] * 3, names=["c", "x", "s"]), duck([1] * 4, [1] * 4, names=["c", "x", "y", "s"])
    assert labels(tm.table([a, b])) == ["c", "x", "y", "s"]
    assert labels(tm.table([a, duck([1, 1], [1, 1], names=["first", "x"])])) == ["c", "first", "x", "s"]
    assert labels(tm.table([a, duck([1], [1], names=["z"])])) == ["c", "x", "s", "z"]


ROWS = {
    "keep a name": ({"keep": "educ"}, ["educ"]),
    "keep a pattern": ({"keep": "^e"}, ["educ", "exper"]),
    "keep a name with signs": ({"keep": "C(female)[T.1]"}, ["C(female)[T.1]"]),
    "drop": ({"drop": "Intercept"}, ["educ", "exper", "C(female)[T.1]"]),
    "drop several": ({"drop": ["Intercept", r"C\("]}, ["educ", "exper"]),
    "keep and drop": ({"keep": "^e", "drop": "educ"}, ["exper"]),
    "order": ({"order": [r"C\(", "exper"]}, ["C(female)[T.1]", "exper", "Intercept", "educ"]),
    "rename": ({"rename": {"educ": "Schooling", "nowhere": "?"}, "keep": "Schooling"}, ["Schooling"]),
    "rename by function": ({"rename": str.upper, "keep": "EDUC"}, ["EDUC"]),
    "a name means itself only": ({"keep": ["educ"], "rename": {"exper": "educated"}}, ["educ"]),
    "indicators": ({"indicators": {"Sex": "female"}}, ["Intercept", "educ", "exper"]),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_chosen(short, long, name):
    options, wanted = ROWS[name]
    assert labels(tm.table([short, long], **options)) == wanted


def test_renamed_estimates_of_different_models_share_a_row():
    a, b = duck([1.0], [1], names=["const"]), duck([2.0], [1], names=["Intercept"])
    found = tm.table([a, b], rename={"const": "Constant", "Intercept": "Constant"})
    assert found.to_frame().loc[("", "Constant", "estimate")].tolist() == ["1.000", "2.000"]


def test_groups_are_sections(long):
    found = tm.table(long, groups={"Work": "exper", "School": ["educ"]})
    shown = [(line.kind, line.label, line.indent) for line in found.lines if line.kind in ("section", "estimate")]
    assert shown == [
        ("estimate", "Intercept", 0),
        ("estimate", "C(female)[T.1]", 0),
        ("section", "Work", 0),
        ("estimate", "exper", 1),
        ("section", "School", 0),
        ("estimate", "educ", 1),
    ]


def test_indicators_say_yes_and_no(short, long):
    effects = duck([1.0], [1], names=["educ"], included_effects=["female"])
    found = tm.table([short, long, effects], indicators={"Sex": "female"}, yes_no=("ja", "nein"))
    assert found.to_frame().loc[("", "Sex", "statistic")].tolist() == ["nein", "ja", "ja"]


def test_own_rows(short, long):
    rows = {"Sample": ["all", None], "N": lambda res: res.nobs, "Ok": [True, False], "Share": [0.25, math.nan]}
    found = tm.table(
        [short, (long, long.bootstrap(reps=5, seed=1))], rows=rows, fmt={"Share": ".0%", "N": ",.1f"}
    ).to_frame()
    shown = {row: found.loc[("", row, "statistic")].tolist() for row in rows}
    assert shown == {"Sample": ["all", ""], "N": ["526.0", "526.0"], "Ok": ["Yes", "No"], "Share": ["25%", ""]}


def test_statistics(short, binary):
    found = tm.table([short, binary])
    assert labels(found, "statistic") == [
        *("Observations", "R-squared", "Pseudo R-squared", "Log-likelihood", "AIC", "BIC", "Covariance")
    ]
    chosen = tm.table([short, binary], stats={"fvalue": "F", "model": "Kind", "nobs": "N", "clusters": "G"})
    assert chosen.to_frame().loc[("", "Kind", "statistic")].tolist() == ["OLS", "Logit"]
    assert chosen.to_frame().loc[("", "F", "statistic")].tolist() == [automatic(short.fvalue), ""]
    assert chosen.to_frame().loc[("", "G", "statistic")].tolist() == ["", ""]
    assert labels(tm.table(short, stats=[]), "statistic") == []


# ---- equations


def test_equations_are_panels():
    both = [Scaled.from_formula("lwage ~ educ*female", WAGE, **k).fit() for k in ({}, {"log_sigma": "educ"})]
    found = tm.table(both, panels={"log_sigma": "Scale", "": "Mean"}, drop="female$")
    sections = [line.label for line in found.lines if line.kind == "section"]
    assert sections == ["Mean", "Scale"]
    assert value(cell(found, "educ", "estimate", 1, "Scale")) == pytest.approx(
        both[1].params["log_sigma:educ"], abs=6e-4
    )
    assert cell(found, "sigma", "estimate", 0, "Mean") == f"{both[0].params['sigma']:.3f}"  # no stars: zero is no test
    flat = labels(tm.table(both, panels=False))
    assert "log_sigma:educ" in flat
    assert "educ:female" in flat


def test_the_levels_of_a_multinomial_logit_are_panels_in_both_packages():
    data = tm.datasets.load("anes96")
    ours = tm.MNLogit.from_formula("PID ~ educ", data).fit()
    theirs = smf.mnlogit("PID ~ educ", data).fit(disp=0, tol=1e-12)
    found = tm.table([ours, theirs], stats=["nobs", "llf"]).to_frame()
    assert found.iloc[:, 0].tolist() == found.iloc[:, 1].tolist()
    assert list(found.index.get_level_values("section").unique())[:3] == ["1", "2", "3"]


def test_standard_deviations_of_a_mixed_logit_are_a_panel():
    options = {**CHOICE, "persons": "person", "random": {"time": "normal"}, "draws": 20}
    res = tm.MixedLogit.from_formula("chosen ~ time + cost + time:cost", TRIPS, **options).fit()
    found = tm.table(res, panels={"sd": "Standard deviations"})
    assert value(cell(found, "time", "estimate", 0, "Standard deviations")) == pytest.approx(
        res.params["sd:time"], abs=6e-4
    )
    assert "time:cost" in labels(found)


# ---- what takes the place of coefficients


def test_margins_in_place_of_coefficients(binary):
    theirs = smf.logit("inlf ~ educ + age", MROZ).fit(disp=0, tol=1e-12).get_margeff()
    found = tm.table([binary, (binary, binary.margins()), binary.margins()], fmt="%.8f", stats=["nobs"])
    for i, name in enumerate(["educ", "age"]):
        for column in (1, 2):
            assert value(cell(found, name, "estimate", column)) == pytest.approx(theirs.margeff[i], abs=1e-7)
            assert value(cell(found, name, "se", column)) == pytest.approx(theirs.margeff_se[i], abs=1e-7)
    assert found.to_frame().loc[("", "Observations", "statistic")].tolist() == ["753", "753", ""]
    assert "Column 2: averages of dy/dx" in found.as_text()


def test_margins_over_groups_and_at_values_are_told_apart(binary):
    some = binary.margins("educ", at={"age": [30, 50]})
    assert labels(tm.table(some)) == ["educ, at age=30", "educ, at age=50"]
    means = tm.table(binary.margins(kind="mean"))
    assert "*" not in cell(means, "prediction", "estimate")  # zero is no hypothesis about a probability


def test_bootstrap_errors_tests_and_intervals(binary):
    boot = binary.bootstrap(reps=99, seed=3)
    found = tm.table((binary, boot), below=["se", "t", "ci"], interval="basic", alpha=0.1, fmt="%.8f")
    ends = [float(x) for x in cell(found, "educ", "ci").strip("[]").split(", ")]
    spread = boot.params["educ"].std(ddof=1)
    low, high = np.quantile(boot.params["educ"], [0.05, 0.95])
    assert value(cell(found, "educ", "se")) == pytest.approx(spread, abs=1e-7)
    assert value(cell(found, "educ", "t")) == pytest.approx(binary.params["educ"] / spread, abs=1e-6)
    width = 0.05 * spread  # quantiles of 99 numbers are defined in several ways
    assert ends == pytest.approx([2 * binary.params["educ"] - high, 2 * binary.params["educ"] - low], abs=width)
    alone = tm.table(boot, stats=[])
    assert "*" not in cell(alone, "educ", "estimate")  # which parameters can be tested is not known there
    assert "99 replicates" in alone.as_text()


def test_resampling_of_sigma_brings_no_stars():
    res = Scaled.from_formula("lwage ~ educ", WAGE).fit()
    assert "*" not in cell(tm.table((res, res.bootstrap(reps=19, seed=1))), "sigma", "estimate")


def test_a_jackknife_tests_by_t(short):
    jack = short.jackknife()
    found = tm.table((short, jack), below=["p"], fmt="%.12f")
    from scipy import stats

    wanted = 2 * stats.t.sf(abs(short.params["educ"] / jack.bse["educ"]), short.nobs - 1)
    assert value(cell(found, "educ", "p")) == pytest.approx(wanted, abs=1e-11)


def test_values_in_money_stand_in_a_table():
    res = tm.ConditionalLogit.from_formula("chosen ~ time + cost", TRIPS, base="bus", **CHOICE).fit()
    found = tm.table((res, res.wtp("time", "cost")), below=["se", "ci"])
    assert value(cell(found, "time", "estimate")) == pytest.approx(res.params["time"] / -res.params["cost"], abs=6e-4)
    assert cell(found, "Observations", "statistic") == "1000"


# ---- what has no error


def test_a_fit_that_did_not_converge_has_estimates_only(binary, early):
    found = tm.table([binary, early, early], below=["se", "t", "p", "ci"])
    column = found.to_frame().iloc[:, 1]
    assert cell(found, "educ", "estimate", 1) == f"{early.params['educ']:.3f}"
    assert set(column[column.index.get_level_values("what").isin(["se", "t", "p", "ci"])]) == {""}
    assert cell(found, "AIC", "statistic", 1) == ""
    assert "Column 2 is not at a maximum (The iteration limit was reached)" in " ".join(found.as_text().split())
    assert found.headings[0].each() == ["(1)", "(2)†", "(3)†"]


def test_a_fit_of_statsmodels_that_did_not_converge_is_marked():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = smf.logit("inlf ~ educ", MROZ).fit(disp=0, maxiter=1)
    assert math.isfinite(theirs.bse["educ"])  # it would have shown errors and stars
    found = tm.table(theirs)
    assert cell(found, "educ", "estimate") == f"{theirs.params['educ']:.3f}"
    assert "†" in found.as_text()


def test_what_was_held_says_so():
    fixed = logit(fixed={"age": -0.01})
    found = tm.table(fixed, below=["se", "ci"])
    shown = [(line.kind, line.cells[0].plain) for line in found.lines if line.kind != "statistic"][-2:]
    assert shown == [("estimate", "-0.010"), ("se", "(fixed)")]
    assert cell(tm.table(fixed, below=None), "age", "estimate") == "-0.010 (fixed)"
    bound = tm.table(logit(bounds={"educ": (None, 0.05)}))
    assert cell(bound, "educ", "se") == "(at upper bound)"
    assert cell(bound, "educ", "estimate") == "0.050"


def test_sampling_weights_leave_out_what_is_not_defined():
    weighted = tm.Logit.from_formula("inlf ~ educ", MROZ.assign(w=MROZ["age"] / 30), sampling_weights="w").fit()
    found = tm.table(weighted)
    assert cell(found, "Covariance", "statistic") == "HC1"
    assert not {"AIC", "BIC"} & set(labels(found, "statistic"))
    asked = tm.table(weighted, stats=["aic"])
    assert cell(asked, "AIC", "statistic") == ""


def test_results_from_a_file_have_the_same_table(long, tmp_path):
    long.save(tmp_path / "fit")
    assert tm.table(tm.load(tmp_path / "fit")).as_text() == tm.table(long).as_text() == tm.table(long.lean()).as_text()


def test_a_likelihood_without_a_response_names_none():
    def normal(params, data):
        return tm.normal_logpdf(data["lwage"] - params["m"])

    found = tm.table(tm.likelihood(normal, {"m": 0.0}, WAGE[["lwage"]]).fit())
    assert len(found.headings) == 1
    assert value(cell(found, "m", "estimate")) == pytest.approx(WAGE["lwage"].mean(), abs=6e-4)


def test_a_trained_module_has_estimates_only():
    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.m = torch.nn.Parameter(torch.tensor(0.0))

        def forward(self, x, y):
            return tm.normal_logpdf(y - self.m - 0 * x)

    trained = tm.ModuleModel(WAGE["lwage"], WAGE["educ"], module=Mean()).fit(method="adam", maxiter=2)
    found = tm.table(trained)
    assert [line.kind for line in found.lines] == ["estimate", "statistic", "statistic"]
    assert "not at a maximum" in found.as_text()


def test_errors_given_a_trained_net_bring_no_stars():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(2, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1, bias=False))
    part = {"mu": tm.module(net, "exper + tenure")}
    res = Scaled.from_formula("lwage ~ educ", WAGE, modules=part).fit(method="adam", maxiter=5)
    found = tm.table([res, res], below=["se", "t"])
    assert labels(found) == ["Intercept", "educ", "sigma"]
    assert value(cell(found, "educ", "se")) == pytest.approx(res.bse["educ"], abs=6e-4)
    assert "*" not in cell(found, "educ", "estimate")
    assert [line.kind for line in found.lines][:3] == ["estimate", "se", "estimate"]  # no t
    text = " ".join(found.as_text().split())
    assert "no tests are shown; standard errors: inverse of the observed information, the estimation of the net" in text
    assert "weights that are not listed: mu_net:0.weight (20 x 2)" in text


def test_withheld_errors_are_said():
    exper = torch.tensor(WAGE["exper"].to_numpy(), dtype=torch.float64)
    rising = tm.inequality(lambda p: p["exper"] + 2 * p["I(exper ** 2)"] * exper, "slope")
    res = tm.OLS.from_formula("lwage ~ exper + I(exper**2)", WAGE).fit(constraints=[rising])
    found = tm.table(res)
    assert res.converged
    assert {line.kind for line in found.lines} == {"estimate", "statistic"}
    assert "Column 1: standard errors withheld" in found.as_text()
    assert "Covariance" not in labels(found, "statistic")


# ---- numbers as text


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0.0, "0.000"),
        (0.0834, "0.083"),
        (-12.3456, "-12.346"),
        (0.001, "0.001"),
        (0.00071, "0.00071"),
        (-0.00012345, "-0.00012"),
        (4.2e-6, "4.2e-06"),
        (123456.789, "123456.789"),
        (1.5e9, "1.500e+09"),
    ],
)
def test_numbers_show_at_least_a_digit(number, shown):
    assert automatic(number) == shown


@pytest.mark.parametrize(
    ("fmt", "shown"),
    [
        ("%.2f", "-1234.57"),
        (1, "-1234.6"),
        (np.int64(0), "-1235"),
        (".1e", "-1.2e+03"),
        (",.1f", "-1,234.6"),
        ("s3", "-1235"),
    ],
)
def test_formats(fmt, shown):
    found = tm.table(duck([-1234.567], [1.0]), fmt={"estimate": fmt})
    assert cell(found, "x0", "estimate") == shown


@pytest.mark.parametrize("number", [1.0, -0.012345, 98765.4321, 0.00012345, 9.996])
@pytest.mark.parametrize("digits", [2, 3, 5])
def test_significant_digits(number, digits):
    text = significant(digits)(number)
    assert (
        float(text) == float(f"{number:.{digits - 1}e}") or len(text.lstrip("-")) > digits
    )  # integers keep all digits
    assert writer(f"s{digits}")(number) == text


def test_a_column_a_statistic_and_a_row_have_formats_of_their_own():
    fmt = {"estimate": "%.1f", "second": "%.4f", "t": "%.0f", "nobs": ",.0f"}
    two = [duck([-0.00001], [2.0], nobs=12345), duck([1.0], [2.0], nobs=1)]
    found = tm.table(dict(zip(["first", "second"], two, strict=True)), fmt=fmt, below=["se", "t"], stats=["nobs"])
    shown = found.to_frame().T.values.tolist()
    assert shown == [["0.0", "(2.0)", "[0]", "12,345"], ["1.0000", "(2.0000)", "[0]", "1"]]


def test_small_p_values_are_not_zero():
    assert cell(tm.table(duck([9.0], [1.0], [1e-9]), below="p"), "x0", "p") == "{<0.001}"
    assert cell(tm.table(duck([9.0], [1.0], [1e-9]), below="p", fmt={"estimate": 1}), "x0", "p") == "{<0.001}"
    assert cell(tm.table(duck([9.0], [1.0], [1e-9]), below="p", fmt="%.2e"), "x0", "p") == "{1.00e-09}"


def test_the_ends_of_an_interval_have_the_same_decimals():
    assert cell(tm.table(duck([0.1], [0.0499]), below="ci"), "x0", "ci") == "[0.000, 0.200]"
    assert cell(tm.table(duck([1e-6], [1e-6]), below="ci"), "x0", "ci") == "[-1.0e-06, 3.0e-06]"


# ---- headings


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, [["(1)", "(2)"], ["lwage", "lwage"]]),
        ({"headings": ["OLS", "OLS"]}, [["OLS", "OLS"], ["lwage", "lwage"]]),
        ({"dependent": False}, [["(1)", "(2)"]]),
        ({"dependent": {"lwage": "Log wage"}}, [["(1)", "(2)"], ["Log wage"] * 2]),
        ({"dependent": ["a", "b"]}, [["(1)", "(2)"], ["a", "b"]]),
        ({"spanners": {"All": 2}, "dependent": False}, [["All", "All"], ["(1)", "(2)"]]),
        ({"spanners": ["A", None], "dependent": False}, [["A", ""], ["(1)", "(2)"]]),
        ({"spanners": [["A", "A"], {"B": 1, "C": 1}], "dependent": False}, [["A", "A"], ["B", "C"], ["(1)", "(2)"]]),
    ],
)
def test_headings(short, long, options, rows):
    assert [heading.each() for heading in tm.table([short, long], **options).headings] == rows


def test_a_single_result_and_a_dict_are_models(short):
    assert tm.table(short).as_text() == tm.table([short]).as_text()
    assert tm.etable({"Wages": short}).headings[0].each() == ["Wages"]


def test_notes_say_what_is_shown(short, binary):
    text = " ".join(tm.table([short, binary], below=["se", "t", "p"], notes=["Own data."]).as_text().split())
    assert "Standard errors in parentheses, t or z statistics in brackets, p-values in braces." in text
    assert text.endswith("Own data.")
    assert "90 % intervals" in tm.table(short, below="ci", alpha=0.1).as_text()


# ---- other packages


class Fixest:
    """Offers what pyfixest's results do."""

    _depvar, _method, _N, _r2, _fixef, _vcov_type_detail, _is_clustered, _clustervar, _G = (
        *("y", "feols", 50, 0.5, "firm+year", "CRV1", True, ["firm"], [10, 10]),
    )

    def _series(self, value):
        return pd.Series({"x": value})

    coef, se, tstat, pvalue = (lambda self, v=v: self._series(v) for v in (2.0, 1.0, 2.0, 0.04))

    def confint(self, alpha=0.05):
        return pd.DataFrame({"low": [alpha], "high": [4.0]}, index=["x"])


def test_results_like_those_of_pyfixest():
    found = tm.table(Fixest(), indicators={"Firms": "firm", "Years": "year"}, below=["se", "ci"], alpha=0.2)
    assert [c.plain for line in found.lines for c in line.cells] == [
        *("2.000**", "(1.000)", "[0.200, 4.000]", "Yes", "Yes", "50", "0.500", "10", "CRV1")
    ]


def test_results_like_those_of_linearmodels():
    def conf_int(level=0.95):
        return pd.DataFrame({"lower": [level], "upper": [3.0]}, index=["x"])

    parts = {"params": 2.0, "std_errors": 1.0, "tstats": 2.0, "pvalues": 0.04}
    model = SimpleNamespace(dependent=SimpleNamespace(vars=["y"]))
    res = SimpleNamespace(
        **{k: pd.Series({"x": v}) for k, v in parts.items()}, conf_int=conf_int, loglik=-5.0, debiased=True, model=model
    )
    found = tm.table(res, below=["se", "t", "ci"], alpha=0.2)
    assert [c.plain for c in (line.cells[0] for line in found.lines)][:4] == [
        "2.000**",
        "(1.000)",
        "[2.00]",
        "[0.800, 3.000]",
    ]
    assert found.headings[1].each() == ["y"]
    assert "t statistics" in found.as_text()
    assert cell(found, "Log-likelihood", "statistic") == "-5.00"


def test_real_results_of_pyfixest_and_linearmodels():
    pyfixest = pytest.importorskip("pyfixest")
    linearmodels = pytest.importorskip("linearmodels")
    theirs = [
        pyfixest.feols("lwage ~ educ + exper", WAGE, vcov="iid"),
        linearmodels.IV2SLS.from_formula("lwage ~ 1 + educ + exper", WAGE).fit(cov_type="unadjusted", debiased=True),
    ]
    found = tm.table(
        [ols(), *theirs], below=["se", "t", "p", "ci"], stats=["nobs", "rsquared"], order=["Intercept", "educ"]
    )
    for ours, *others in found.to_frame().values.tolist():
        assert others == [ours, ours]


def test_names_of_arrays_are_those_of_the_model():
    theirs = sm.OLS(WAGE["lwage"].to_numpy(), sm.add_constant(WAGE[["educ"]].to_numpy())).fit()
    assert labels(tm.table(theirs)) == ["const", "x1"]


# ---- what is refused

ERRORS = {
    "no models": ((([],), {}), "given no models"),
    "not a result": ((([3],), {}), "of type int"),
    "a tuple of results": (lambda a, b: (((a, b),), {}), "several models are given as a list"),
    "no errors": ((([SimpleNamespace(params=pd.Series({"x": 1.0}))],), {}), "no bse or std_errors"),
    "headings": (lambda a, b: (([a, b],), {"headings": ["x"]}), "list of 2 texts"),
    "two headings": (lambda a, b: (({"a": a},), {"headings": ["x"]}), "use one of them"),
    "spanners": (lambda a, b: (([a, b],), {"spanners": {"x": 3}}), "over 3 models; there are 2"),
    "below": (lambda a, b: (([a],), {"below": "ste"}), "Did you mean 'se'"),
    "below twice": (lambda a, b: (([a],), {"below": ["se", "se"]}), "names something twice"),
    "stars": (lambda a, b: (([a],), {"stars": (5,)}), "strictly between 0 and 1"),
    "stars kind": (lambda a, b: (([a],), {"stars": "yes"}), "must be True, False"),
    "alpha": (lambda a, b: (([a],), {"alpha": 0.1}), "use below='ci'"),
    "alpha range": (lambda a, b: (([a],), {"alpha": 5, "below": "ci"}), "strictly between 0 and 1"),
    "interval": (lambda a, b: (([a],), {"interval": "basic", "below": "ci"}), "intervals of a bootstrap"),
    "fmt": (lambda a, b: (([a],), {"fmt": "%q"}), "no format of numbers"),
    "fmt bool": (lambda a, b: (([a],), {"fmt": True}), "no format of numbers"),
    "fmt key": (lambda a, b: (([a],), {"fmt": {"estimates": 2}}), "Did you mean 'estimate'"),
    "keep": (lambda a, b: (([a],), {"keep": "eduk"}), "Did you mean 'educ'"),
    "drop": (lambda a, b: (([a],), {"drop": ["nothing"]}), "Unknown row in drop"),
    "order": (lambda a, b: (([a],), {"order": "("}), "no regular expression"),
    "groups": (lambda a, b: (([a],), {"groups": {"x": "zzz"}}), "Unknown row in groups"),
    "groups kind": (lambda a, b: (([a],), {"groups": ["x"]}), "dict of heading to pattern"),
    "indicators": (lambda a, b: (([a],), {"indicators": {"x": "zzz"}}), "Unknown row in indicators"),
    "panels": (lambda a, b: (([a],), {"panels": {"log_sigma": "x"}}), "Unknown equation in panels"),
    "rename": (lambda a, b: (([a],), {"rename": {"educ": "x", "Intercept": "x"}}), "both labelled 'x'"),
    "rename kind": (lambda a, b: (([a],), {"rename": "x"}), "dict of name to label"),
    "stats": (lambda a, b: (([a],), {"stats": ["rsqared"]}), "Did you mean 'rsquared'"),
    "stats text": (lambda a, b: (([a],), {"stats": "nobs"}), "must be a list of names"),
    "stats kind": (lambda a, b: (([a],), {"stats": ["params"]}), "is Series for a model"),
    "rows": (lambda a, b: (([a, b],), {"rows": {"x": [1]}}), "1 values (1) for 2 models"),
    "rows kind": (lambda a, b: (([a],), {"rows": {"x": "text"}}), "must be a list, or a function"),
    "dependent": (lambda a, b: (([a],), {"dependent": {"wage": "x"}}), "Unknown response"),
    "notes": (lambda a, b: (([a],), {"notes": "text"}), "list of sentences"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_refused(short, long, name):
    make, said = ERRORS[name]
    args, options = make(short, long) if callable(make) else make
    with pytest.raises(tm.TorchmleError, match=re.escape(said)):
        tm.table(*args, **options)


def test_a_bootstrap_of_another_fit_is_refused(short, binary):
    with pytest.raises(tm.OptionError, match="that of another fit"):
        tm.table((binary, short.bootstrap(reps=3, seed=1)))


def test_nothing_of_the_users_is_changed(short):
    rename, stars, rows = {"educ": "x"}, {"+": 0.1}, {"a": [1]}
    before = [dict(part) for part in (rename, stars, rows)]
    tm.table([short], rename=rename, stars=stars, rows=rows)
    assert [rename, stars, rows] == before
    pairs = itertools.pairwise([tm.table([short]).as_latex() for _ in range(2)])
    assert all(a == b for a, b in pairs)
