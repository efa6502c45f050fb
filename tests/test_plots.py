"""Pictures: what is drawn equals what other programs or closed forms say, and nothing of matplotlib's state changes."""

import itertools
import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
import torch
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from scipy import stats

import torchmle as tm

plt.switch_backend("Agg")
WAGE = tm.datasets.load("wage1")
MROZ = tm.datasets.load("mroz")
CRIME = tm.datasets.load("crime1")
Z = stats.norm.ppf(0.975)


@pytest.fixture(scope="module")
def ols():
    return tm.OLS.from_formula("lwage ~ educ + exper + I(exper**2) + female", WAGE).fit()


@pytest.fixture(scope="module")
def logit():
    return tm.Logit.from_formula("inlf ~ educ + exper + kidslt6", MROZ).fit()


@pytest.fixture(scope="module")
def poisson():
    return tm.Poisson.from_formula("narr86 ~ pcnv + inc86", CRIME).fit()


@pytest.fixture(scope="module")
def boot(ols):
    return ols.bootstrap(reps=200, seed=3)


@pytest.fixture(autouse=True)
def no_figures():
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return Figure(figsize=(6, 4)).subplots()


def bars(axes):
    """Return the error bars of a picture: arrays of two ends."""
    found = [c for c in axes.collections if isinstance(c, LineCollection)]
    return [np.array(segment) for c in found for segment in c.get_segments()]


def edges(axes, number=0):
    """Return x and the lower and upper edge of a band."""
    band = [c for c in axes.collections if isinstance(c, PolyCollection)][number]
    at = band.get_paths()[0].vertices
    table = pd.DataFrame(at, columns=["x", "y"]).groupby("x").y.agg(["min", "max"])
    return table.index.to_numpy(), table["min"].to_numpy(), table["max"].to_numpy()


def points(axes):
    return next(c for c in axes.collections if isinstance(c, PathCollection)).get_offsets().data


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


# ---- estimates


def test_intervals_are_those_of_statsmodels(ols, ax):
    theirs = smf.ols("lwage ~ educ + exper + I(exper**2) + female", WAGE).fit()
    tm.plot.coefficients(ols, alpha=0.1, ax=ax)
    assert [t.get_text() for t in ax.get_yticklabels()] == list(theirs.params.index)
    ends = theirs.conf_int(0.1).to_numpy()
    assert np.allclose([bar[:, 0] for bar in bars(ax)], ends, rtol=1e-8)
    assert [bar[0, 1] for bar in bars(ax)] == [0, 1, 2, 3, 4]
    assert ax.get_ylim() == (4.5, -0.5)  # the first parameter is on top


def test_several_models_stand_beside_each_other_in_a_row(ols, ax):
    short = tm.OLS.from_formula("lwage ~ educ", WAGE).fit()
    theirs = smf.ols("lwage ~ educ + exper + I(exper**2) + female", WAGE).fit()
    tm.plot.coefficients({"short": short, "ours": ols, "theirs": theirs}, keep="educ", ax=ax)
    one, two, three = bars(ax)
    assert np.allclose(two[:, 0], three[:, 0], rtol=1e-8)
    assert one[0, 1] < two[0, 1] == 0 < three[0, 1]
    assert legend(ax) == ["short", "ours", "theirs"]


@pytest.mark.parametrize(("keep", "drop", "rows"), [
    (None, "Intercept", ["educ", "exper", "I(exper ** 2)", "female"]),
    ("exper", None, ["exper"]),  # a name as it stands
    ("^I.exper|female", None, ["I(exper ** 2)", "female"]),
    (["female", "educ"], None, ["educ", "female"]),
    ("e", "^I", ["educ", "exper", "female"]),
    (None, ["Intercept", "exper"], ["educ", "I(exper ** 2)", "female"]),
])  # fmt: skip
def test_parameters_are_chosen_by_name_or_pattern(ols, ax, keep, drop, rows):
    tm.plot.coefficients(ols, keep=keep, drop=drop, ax=ax)
    assert [t.get_text() for t in ax.get_yticklabels()] == rows


def test_too_many_rows_are_refused(ax):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 201))).add_prefix("x")
    fit = tm.OLS(pd.Series(rng.normal(size=300), name="y"), X).fit()
    with pytest.raises(tm.OptionError, match=r"201\. Choose by keep="):
        tm.plot.coefficients(fit, ax=ax)
    tm.plot.coefficients(fit, keep="^x1?.$", ax=ax)
    assert len(ax.get_yticklabels()) == 20


def test_rows_are_named_merged_and_ordered(ols, ax):
    short = tm.OLS.from_formula("lwage ~ educ + expersq", WAGE).fit()
    rename = {"I(exper ** 2)": "squared", "expersq": "squared"}
    tm.plot.coefficients([short, ols], drop="Intercept", rename=rename, order=["female", "squared"], ax=ax)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["female", "squared", "educ", "exper"]
    assert [round(bar[0, 1]) for bar in bars(ax)] == [1, 2, 0, 1, 2, 3]


def test_a_fit_without_maximum_has_no_interval_and_the_legend_says_so(ax):
    with pytest.warns(tm.ConvergenceWarning):
        bad = tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit(method="bfgs", maxiter=1)
    tm.plot.coefficients([bad], ax=ax)
    assert not bars(ax)
    assert legend(ax) == ["Logit (not a maximum)"]
    assert {line.get_marker() for line in ax.lines if len(line.get_xdata()) == 3} == {"x"}


def test_a_fixed_parameter_is_hollow(ax):
    fit = tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit(fixed={"age": -0.02})
    tm.plot.coefficients(fit, ax=ax)
    hollow = next(line for line in ax.lines if line.get_fillstyle() == "none")
    assert hollow.get_xdata().tolist() == [-0.02]
    assert len(bars(ax)) == 2


def test_margins_and_bootstraps_stand_for_models(logit, boot, ax):
    found = logit.margins(at={"kidslt6": [0, 1]})
    tm.plot.coefficients(found, ax=ax)
    assert [t.get_text() for t in ax.get_yticklabels()][:2] == ["educ, at kidslt6=0", "exper, at kidslt6=0"]
    assert np.allclose([bar[:, 0] for bar in bars(ax)], found.table[["[lower", "upper]"]])
    ax.clear()
    tm.plot.coefficients(boot, keep="educ", ax=ax)
    assert np.allclose(bars(ax)[0][:, 0], np.quantile(boot.params["educ"], [0.025, 0.975]))


@pytest.mark.parametrize("count", [1, 7, 60])
@pytest.mark.parametrize("own", [True, False])
def test_labels_of_rows_do_not_overlap(count, own):
    rng = np.random.default_rng(0)
    names = [f"a_rather_long_name_{i}:times_another[T.of level {i}]" for i in range(count)]
    X = pd.DataFrame(rng.normal(size=(200, count)), columns=names)
    fit = tm.OLS(pd.Series(rng.normal(size=200), name="y"), X).fit()
    if own:
        ax = tm.plot.coefficients({"one": fit, "two": fit})
    else:
        ax = tm.plot.coefficients(fit, ax=Figure(figsize=(6, 4)).subplots())
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in ax.get_yticklabels()]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    if own:  # and all of them are in the picture
        assert min(box.x0 for box in boxes) >= 0
        assert all(abs(text.get_fontsize() - 10) < 1e-9 for text in ax.get_yticklabels())


# ---- traces


def test_a_trace_is_the_gap_to_the_best(ax):
    model = tm.Logit.from_formula("inlf ~ educ + age", MROZ)
    best = smf.logit("inlf ~ educ + age", MROZ).fit(disp=0).llf
    fits = {method: model.fit(method=method) for method in ("newton", "bfgs")}
    tm.plot.trace(fits, ax=ax)
    assert ax.get_yscale() == "log"
    assert legend(ax) == ["newton", "bfgs"]
    for line, fit in zip(ax.lines[::2], fits.values(), strict=True):
        gap = best - fit.history["llf"].to_numpy()
        assert np.allclose(line.get_xdata(), fit.history["iteration"])
        assert np.allclose(line.get_ydata(), gap, rtol=1e-4, atol=1e-9)  # statsmodels stops at 1e-8
        assert (line.get_ydata() > 0).all()
    assert [line.get_marker() for line in ax.lines[1::2]] == ["o", "o"]


def test_a_fit_that_stopped_too_early_ends_with_a_cross(ax):
    model = tm.Logit.from_formula("inlf ~ educ + age", MROZ)
    with pytest.warns(tm.ConvergenceWarning):
        early = model.fit(method="bfgs", maxiter=2)
    tm.plot.trace([model.fit(), early], names=["all", "two"], y="gradient", x="seconds", ax=ax)
    assert legend(ax) == ["all", "two (maxiter)"]
    assert [line.get_marker() for line in ax.lines[1::2]] == ["o", "x"]
    assert np.allclose(ax.lines[2].get_xdata(), early.history["seconds"])
    assert np.allclose(ax.lines[2].get_ydata(), early.history["gradient"])


def test_a_closed_form_is_the_best_but_has_no_line(ax):
    model = tm.OLS.from_formula("lwage ~ educ", WAGE)
    start = {"Intercept": 0.0, "educ": 0.0, "sigma": 1.0}
    fits = {"closed": model.fit(), "newton": model.fit(start, method="newton")}
    tm.plot.trace(fits, ax=ax)
    e = WAGE.lwage.to_numpy()
    top = smf.ols("lwage ~ educ", WAGE).fit().llf
    assert legend(ax) == ["newton"] if ax.get_legend() else True
    assert ax.lines[0].get_ydata()[0] == pytest.approx(top - stats.norm.logpdf(e).sum(), rel=1e-10)
    with pytest.raises(tm.UndefinedStatisticError, match="closed form"):
        tm.plot.trace(model.fit(), ax=ax)


def test_gaps_are_of_the_same_rows(ax):
    one = tm.Logit.from_formula("inlf ~ educ", MROZ).fit()
    two = tm.Logit.from_formula("inlf ~ educ", MROZ[:500]).fit()
    with pytest.raises(tm.DataError, match="same rows"):
        tm.plot.trace([one, two], ax=ax)
    tm.plot.trace([one, two], y="gradient", ax=ax)


@pytest.fixture(scope="module")
def trained():
    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2))

        def forward(self, x, y):
            return tm.normal_logpdf(y - self.weight[0] - self.weight[1] * x)

    model = tm.ModuleModel(WAGE.lwage, WAGE.educ, module=Line())
    return model.fit(method="adam", maxiter=20, options={"lr": 0.05, "validation": 0.25})


def test_training_and_validation_are_two_lines(trained, ax):
    tm.plot.trace({"net": trained}, y="loglik", ax=ax)
    assert legend(ax) == ["net, training (trained)", "net, validation (trained)"]
    assert ax.get_xlabel() == "epoch"
    history = trained.history
    for line, column in zip(ax.lines[::2], ("running_loglik", "validation_loglik"), strict=True):
        known = history[column].notna()
        assert line.get_xdata().tolist() == history.iteration[known].tolist()
        assert line.get_ydata().tolist() == history[column][known].tolist()
    with pytest.raises(tm.UndefinedStatisticError, match="All of these fits have: loglik"):
        tm.plot.trace({"net": trained}, ax=ax)


def test_a_trace_without_times_or_steps_says_what_there_is(safe, ax):
    newton = tm.Logit.from_formula("inlf ~ educ", MROZ).fit()
    with pytest.warns(tm.ConvergenceWarning):
        adam = newton.model.fit(method="adam", maxiter=3)
    with pytest.raises(tm.UndefinedStatisticError, match=r"'b' has no y='decrement'\. .* gap, gradient, llf, loglik"):
        tm.plot.trace({"a": newton, "b": adam}, y="decrement", ax=ax)
    with pytest.raises(tm.UndefinedStatisticError, match="x='iteration'"):
        tm.plot.trace(safe, y="llf", x="seconds", ax=ax)


# ---- constraints with confidence


def constrained(*constraints):
    model = tm.Logit.from_formula("inlf ~ educ + age + kidslt6 + exper", MROZ)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.ConvergenceWarning)
        return model.fit(constraints=list(constraints), delta=0.05, seed=1, maxiter=40)


@pytest.fixture(scope="module")
def safe():
    return constrained("FPR <= 0.4")


def spans(axes):
    """Return the shaded range of a panel."""
    box = axes.patches[-1].get_path().get_extents(axes.patches[-1].get_patch_transform())
    return box.y0, box.y1


def test_the_four_panels_are_the_columns_of_the_history(safe):
    axes = tm.plot.confidence(safe, ax=Figure().subplots(2, 2))
    history = safe.safety.history
    columns = ["llf", "lambda_FPR <= 0.4", "bound_FPR <= 0.4", "lagrangian"]
    for ax, column in zip(axes.flat, columns, strict=True):
        assert np.array_equal(ax.lines[0].get_xdata(), history["iteration"])
        assert np.array_equal(ax.lines[0].get_ydata(), history[column])
        marks = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert marks[0].get_xdata()[0] == safe.safety.chosen
    low, high = spans(axes[1, 0])  # an upper bound is too high above the limit
    assert low == 0.4
    assert high >= history["bound_FPR <= 0.4"].max()
    assert ((history["bound_FPR <= 0.4"] <= low) == history["feasible"]).all()


def test_a_lower_bound_is_not_met_below_its_limit():
    fit = constrained("ACC >= 0.66")
    low, high = spans(tm.plot.confidence(fit, ax=Figure().subplots(1, 4))[1, 0])
    assert high == 0.66
    assert low < fit.safety.history["bound_ACC >= 0.66"].min()


def test_several_bounds_are_drawn_beyond_their_limits():
    fit = constrained("ACC >= 0.6", "FPR <= 0.3")
    axes = tm.plot.confidence(fit, ax=Figure().subplots(2, 2))
    history = fit.safety.history
    one, two = axes[1, 0].lines[:2]
    assert np.allclose(one.get_ydata(), 0.6 - history["bound_ACC >= 0.6"])
    assert np.allclose(two.get_ydata(), history["bound_FPR <= 0.3"] - 0.3)
    assert ((np.maximum(one.get_ydata(), two.get_ydata()) <= 0) == history["feasible"]).all()
    assert spans(axes[1, 0])[0] == 0
    assert legend(axes[0, 1]) == ["ACC >= 0.6", "FPR <= 0.3"]


def test_the_picture_says_that_no_point_was_found():
    axes = tm.plot.confidence(constrained("ACC >= 0.99"), ax=Figure().subplots(2, 2))
    assert axes[0, 0].get_title(loc="left") == "no iterate was predicted to pass"
    assert not [line for line in axes[0, 0].lines if line.get_linestyle() == "--"]


# ---- profile


def test_the_profile_of_least_squares_has_its_closed_form(ols, ax):
    theirs = smf.ols("lwage ~ educ + exper + I(exper**2) + female", WAGE).fit()
    b, se = theirs.params["educ"], theirs.bse["educ"]
    n, df = theirs.nobs, theirs.df_resid
    tm.plot.profile(ols, "educ", ax=ax)
    curve, wald = (next(line for line in ax.lines if line.get_label().startswith(k)) for k in ("profile", "Wald"))
    x, fall = curve.get_data()
    exact = -n / 2 * np.log1p(((x - b) / se) ** 2 / df)
    assert np.allclose(fall, exact, atol=2e-3)  # monotone cubics between 17 exact points
    x, fall = wald.get_data()
    assert np.allclose(fall, -0.5 * ((x - b) / se) ** 2)
    width = se * np.sqrt(df * np.expm1(Z**2 / n))
    ends = sorted(bar[0, 0] for bar in bars(ax))
    assert np.allclose(ends, [b - width, b + width], rtol=1e-6)
    assert -0.5 * Z**2 in [line.get_ydata()[0] for line in ax.lines]


def test_a_profile_of_a_function_has_an_axis_of_its_own(ax):
    fit = tm.Logit.from_formula("inlf ~ exper + I(exper**2)", MROZ).fit()
    what = "-exper / (2*I(exper**2))"
    found = fit.profile(what)
    tm.plot.profile(fit, what, ax=ax)
    assert np.allclose(sorted(bar[0, 0] for bar in bars(ax)), [found.low, found.high])
    assert ax.get_xlabel() == what


# ---- margins and fitted curves


def test_average_predictions_are_averages_over_the_rows(logit, ax):
    theirs = smf.logit("inlf ~ educ + exper + kidslt6", MROZ).fit(disp=0, method="newton", tol=1e-12)
    tm.plot.margins(logit, "educ", over="city", alpha=0.1, ax=ax)
    assert ax.get_legend().get_title().get_text() == "city"
    grid = np.arange(MROZ.educ.min(), MROZ.educ.max() + 1)
    for number, city in enumerate((0, 1)):
        mean, error = [], []
        for value in grid:
            rows = MROZ[MROZ.city == city].assign(educ=value)
            X = np.column_stack([np.ones(len(rows)), rows.educ, rows.exper, rows.kidslt6])
            p = 1 / (1 + np.exp(-X @ theirs.params.to_numpy()))
            slope = (X * (p * (1 - p))[:, None]).mean(0)
            mean.append(p.mean())
            error.append(np.sqrt(slope @ theirs.cov_params().to_numpy() @ slope))
        line = ax.lines[number]
        assert np.allclose(line.get_xdata(), grid)
        assert np.allclose(line.get_ydata(), mean, rtol=1e-6)
        _, low, high = edges(ax, number)
        width = stats.norm.ppf(0.95) * np.array(error)
        assert np.allclose(low, mean - width, rtol=1e-5)
        assert np.allclose(high, mean + width, rtol=1e-5)


def test_the_effect_of_a_variable_along_another(logit, ax):
    tm.plot.margins(logit, "exper", effect="educ", grid=[0, 10, 20], ax=ax)
    b = logit.params
    for x, value in zip(*ax.lines[0].get_data(), strict=True):
        eta = b["Intercept"] + b["educ"] * MROZ.educ + b["exper"] * x + b["kidslt6"] * MROZ.kidslt6
        p = 1 / (1 + np.exp(-eta))
        assert value == pytest.approx(float((p * (1 - p)).mean() * b["educ"]), rel=1e-9)


def test_levels_stand_side_by_side(ax):
    data = WAGE.assign(region=np.select([WAGE.south == 1, WAGE.west == 1], ["south", "west"], "other"))
    fit = tm.OLS.from_formula("lwage ~ educ + region * female", data).fit()
    tm.plot.margins(fit, "region", over="female", ax=ax)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["other", "south", "west"]
    assert legend(ax) == ["0", "1"]
    assert len(bars(ax)) == 6
    theirs = smf.ols("lwage ~ educ + C(region) * female", data).fit()
    rows = data[data.female == 1]
    values = [theirs.predict(rows.assign(region=level)).mean() for level in ("other", "south", "west")]
    middle = [bar[:, 1].mean() for bar in bars(ax)[3:]]
    assert np.allclose(middle, values)


@pytest.mark.parametrize("cov_type", ["nonrobust", "HC1"])
def test_a_fitted_curve_holds_the_others_at_their_means(cov_type, ax):
    formula = "lwage ~ educ + exper + I(exper**2) + C(numdep)"
    theirs = smf.ols(formula, WAGE).fit(cov_type=cov_type, use_t=cov_type == "nonrobust")
    fit = tm.OLS.from_formula(formula, WAGE).fit(cov_type=cov_type)
    tm.plot.fit(fit, "exper", obs=True, ax=ax)
    x, y = ax.lines[0].get_data()
    rows = pd.DataFrame({"exper": x, "educ": WAGE.educ.mean(), "numdep": WAGE.numdep.mode()[0]})
    there = theirs.get_prediction(rows).summary_frame(0.05)
    assert np.allclose(y, there["mean"])
    assert np.allclose(edges(ax, 0)[1:], there[["obs_ci_lower", "obs_ci_upper"]].T)
    assert np.allclose(edges(ax, 1)[1:], there[["mean_ci_lower", "mean_ci_upper"]].T)
    assert np.allclose(points(ax), WAGE[["exper", "lwage"]])


def test_the_points_of_a_binary_response_are_means(logit, ax):
    tm.plot.fit(logit, "kidslt6", ci_method="endpoint", ax=ax)
    means = MROZ.groupby("kidslt6").inlf.mean()
    assert np.allclose(points(ax), np.column_stack([means.index, means]))
    _, low, high = edges(ax)
    assert low.min() > 0
    assert high.max() < 1


@pytest.mark.parametrize("kind", ["freq_weights", "sampling_weights"])
def test_weighted_rows_draw_as_repeated_ones(kind):
    data = MROZ[["hushrs", "educ", "age", "city"]].assign(w=1 + MROZ.index % 3)
    twice = data.loc[data.index.repeat(data.w)].drop(columns="w").reset_index(drop=True)
    formula = "hushrs ~ educ + age + C(city)"
    one = tm.OLS.from_formula(formula, data, **{kind: "w"}).fit()
    two = tm.OLS.from_formula(formula, twice).fit()
    drawn = []
    for fit in (one, two):
        ax = tm.plot.fit(fit, "age", points="means", ax=Figure().subplots())
        again = tm.plot.margins(fit, "age", ax=Figure().subplots())
        drawn.append((ax.lines[0].get_ydata(), points(ax), again.lines[0].get_ydata()))
    for a, b in zip(*drawn, strict=True):
        assert np.allclose(a, b)


def test_an_offset_is_held_at_its_mean(ax):
    data = CRIME.assign(months=1 + CRIME.index % 5)
    fit = tm.Poisson.from_formula("narr86 ~ pcnv", data, exposure="months").fit()
    tm.plot.fit(fit, "pcnv", ax=ax)
    x, y = ax.lines[0].get_data()
    b = fit.params
    assert np.allclose(y, np.exp(b["Intercept"] + b["pcnv"] * x + np.log(data.months).mean()))


def test_matrices_of_further_predictors_are_held_too(ax):
    class Spread(tm.LinearPredictorModel):
        predictors = {"mu": "1", "log_sigma": "1"}

        def logdensity(self, y, mu, log_sigma):
            return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma

        def mean(self, mu, log_sigma):
            return mu

    design = tm.add_constant(WAGE[["educ"]])
    fit = Spread(WAGE.lwage, design, log_sigma=tm.add_constant(WAGE[["exper"]])).fit()
    tm.plot.fit(fit, "educ", ax=ax)
    x, y = ax.lines[0].get_data()
    assert np.allclose(y, fit.params["const"] + fit.params["educ"] * x)


# ---- residuals


def test_residuals_are_those_of_statsmodels_with_means_of_groups(ols, ax):
    theirs = smf.ols("lwage ~ educ + exper + I(exper**2) + female", WAGE).fit()
    tm.plot.residuals(ols, kind="response", ax=ax)
    assert np.allclose(points(ax), np.column_stack([theirs.fittedvalues, theirs.resid]))
    line = next(line for line in ax.lines if len(line.get_xdata()) > 2)
    order = np.argsort(theirs.fittedvalues.to_numpy(), kind="stable")
    assert len(line.get_xdata()) == 20
    assert np.all(np.diff(line.get_xdata()) > 0)
    first = line.get_ydata()[0]
    counts = [k for k in range(20, 34) if np.isclose(theirs.resid.to_numpy()[order[:k]].mean(), first)]
    assert counts  # 526 / 20 rows, give or take ties


def test_residuals_along_a_column_with_few_values_have_a_mean_for_each(logit, ax):
    tm.plot.residuals(logit, "kidslt6", kind="response", ax=ax)
    line = next(line for line in ax.lines if len(line.get_xdata()) > 2)
    means = logit.resid.groupby(MROZ.kidslt6).mean()
    assert np.allclose(line.get_xydata(), np.column_stack([means.index, means]))


def test_quantiles_and_band_are_those_of_order_statistics(ols, ax):
    tm.plot.qq(ols, alpha=0.1, ax=ax)
    theirs = smf.ols("lwage ~ educ + exper + I(exper**2) + female", WAGE).fit()
    n, i = len(WAGE), np.arange(1, len(WAGE) + 1)
    x, y = ax.lines[1].get_data()
    assert np.allclose(x, stats.norm.ppf((i - 0.5) / n))
    assert np.allclose(y, np.sort(theirs.resid) / np.sqrt(theirs.scale))
    _, low, high = edges(ax)
    assert np.allclose(low, stats.norm.ppf(stats.beta.ppf(0.05, i, n + 1 - i)))
    assert np.allclose(high, stats.norm.ppf(stats.beta.ppf(0.95, i, n + 1 - i)))


def test_the_band_of_a_true_model_holds_its_share():
    rng = np.random.default_rng(5)
    inside = []
    for _ in range(40):
        data = pd.DataFrame({"x": rng.normal(size=200)})
        data["y"] = rng.poisson(np.exp(0.3 + 0.5 * data.x))
        ax = tm.plot.qq(tm.Poisson.from_formula("y ~ x", data).fit(), ax=Figure().subplots())
        y = ax.lines[1].get_ydata()
        _, low, high = edges(ax)
        inside.append(np.mean((low <= y) & (y <= high)))
    # points of one sample move together: the share over samples has a standard error of about 0.02
    assert 0.9 < np.mean(inside) < 0.995


def test_the_band_of_many_points_has_its_tails_exactly(ax):
    n, rng = 5_000, np.random.default_rng(0)
    fit = tm.OLS.from_formula("y ~ 1", pd.DataFrame({"y": rng.normal(size=n)})).fit()
    tm.plot.qq(fit, ax=ax)
    x, low, _ = edges(ax)
    assert len(ax.lines[1].get_xdata()) == n
    assert len(x) == 2_000
    i = stats.norm.cdf(x) * n + 0.5
    assert np.allclose(i[[0, 499, -1]], [1, 500, n])
    assert np.allclose(low, stats.norm.ppf(stats.beta.ppf(0.025, i, n + 1 - i)))


def test_a_row_of_weights_stands_in_the_middle_of_its_copies():
    data = MROZ[["hushrs", "educ"]].head(40).assign(w=1 + np.arange(40) % 3, hushrs=lambda d: d.hushrs + d.index)
    fit = tm.OLS.from_formula("hushrs ~ educ", data, freq_weights="w").fit()
    x, y = tm.plot.qq(fit, ax=Figure().subplots()).lines[1].get_data()
    order = fit.resid.sort_values().index
    rows = np.repeat(order, data.w[order])
    rank = pd.Series(np.arange(1, len(rows) + 1)).groupby(rows).mean()[order]
    assert np.allclose(x, stats.norm.ppf((rank - 0.5) / data.w.sum()))
    assert len(y) == 40
    weighted = tm.OLS.from_formula("hushrs ~ educ", data, sampling_weights="w").fit()
    with pytest.raises(tm.UndefinedStatisticError, match="sampling_weights"):
        tm.plot.qq(weighted, ax=Figure().subplots())


def test_infinite_residuals_are_counted():
    data = pd.DataFrame({"y": [1, 2, 0, 1, 3, 2, 1, 0, 400.0], "x": [0.1, 0.3, 0.2, 0.5, 0.4, 0.9, 0.2, 0.1, 0.3]})
    fit = tm.Poisson.from_formula("y ~ x", data).fit(fixed={"x": 0.5})
    assert np.isinf(fit.residuals("quantile")).sum() == 1
    for draw in (tm.plot.qq, tm.plot.residuals):
        ax = draw(fit, ax=Figure().subplots())
        assert "1 infinite residual is not shown" in [t.get_text() for t in ax.texts]


# ---- influence, bootstrap


def stems(axes):
    """Return the ends of the stems, which begin at zero."""
    feet, ends, gaps = axes.lines[0].get_xydata().reshape(-1, 3, 2).transpose(1, 0, 2)
    assert np.array_equal(feet[:, 0], ends[:, 0])
    assert not feet[:, 1].any()
    assert np.isnan(gaps[:, 1]).all()
    return ends


@pytest.mark.parametrize("what", ["cooks_distance", "leverage", "dfbetas"])
def test_influence_is_that_of_statsmodels(ols, ax, what):
    theirs = smf.ols("lwage ~ educ + exper + I(exper**2) + female", WAGE).fit().get_influence()
    tm.plot.influence(ols, what, name="educ" if what == "dfbetas" else None, mark=3, ax=ax)
    value = theirs.dfbetas[:, 1] if what == "dfbetas" else theirs.cooks_distance[0]
    if what == "leverage":
        assert np.allclose(ax.lines[0].get_xydata(), np.column_stack([theirs.hat_matrix_diag, value]))
    else:
        assert np.allclose(stems(ax), np.column_stack([np.arange(len(value)), value]))
    largest = np.argsort(-np.abs(value), kind="stable")[:3]
    assert [text.get_text() for text in ax.texts] == [str(i) for i in largest]
    if what == "dfbetas":
        lines = {round(float(line.get_ydata()[0]), 12) for line in ax.lines[1:]}
        assert lines == {0.0, *(round(s * 2 / np.sqrt(len(WAGE)), 12) for s in (-1, 1))}


def test_influence_of_clusters_has_their_names(ols, ax):
    tm.plot.influence(ols, groups="numdep", mark=1, ax=ax)
    assert len(stems(ax)) == WAGE.numdep.nunique()
    assert ax.get_xlabel().startswith("cluster")
    assert ax.texts[0].get_text() == str(ols.influence(groups="numdep").cooks_distance.idxmax())


def test_a_bootstrap_shows_its_replicates_and_interval(boot, ax):
    tm.plot.bootstrap(boot, "educ", alpha=0.2, ax=ax)
    bins = [p for p in ax.patches if p.get_label() != "80 % interval (percentile)"]
    counts, cuts = np.histogram(boot.params["educ"], bins=len(bins))
    assert np.allclose([b.get_height() for b in bins], counts)
    assert np.allclose([b.get_x() for b in bins], cuts[:-1])
    span = ax.patches[-1]
    ends = [span.get_x(), span.get_x() + span.get_width()]
    assert np.allclose(ends, np.quantile(boot.params["educ"], [0.1, 0.9]))
    assert ax.lines[0].get_xdata()[0] == boot.estimates["educ"]


# ---- every function


def every(ols, logit, boot, safe):
    """Return a call of each function that takes the Axes."""
    newton = tm.Logit.from_formula("inlf ~ educ", MROZ).fit()
    return {
        "coefficients": lambda ax: tm.plot.coefficients([ols, ols], ax=ax),
        "trace": lambda ax: tm.plot.trace(newton, ax=ax),
        "profile": lambda ax: tm.plot.profile(newton, "educ", ax=ax),
        "margins": lambda ax: tm.plot.margins(logit, "educ", ax=ax),
        "fit": lambda ax: tm.plot.fit(ols, "educ", ax=ax),
        "residuals": lambda ax: tm.plot.residuals(ols, ax=ax),
        "qq": lambda ax: tm.plot.qq(ols, ax=ax),
        "influence": lambda ax: tm.plot.influence(ols, ax=ax),
        "bootstrap": lambda ax: tm.plot.bootstrap(boot, "educ", ax=ax),
        "confidence": lambda ax: four(safe, ax),
    }


def four(safe, ax):
    """Draw four panels; one Axes stands for four of its figure."""
    given = None if ax is None else ax if isinstance(ax, np.ndarray) else ax.figure.subplots(2, 2)
    drawn = tm.plot.confidence(safe, ax=given)
    assert given is None or all(a is b for a, b in zip(drawn.flat, given.flat, strict=True))
    return drawn[0, 0] if given is None else ax


def test_nothing_of_matplotlib_changes_and_nothing_is_shown(ols, logit, boot, safe, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("show was called")

    monkeypatch.setattr(plt, "show", forbidden)
    monkeypatch.setattr(Figure, "show", forbidden)
    before, backend = dict(mpl.rcParams), mpl.get_backend()
    calls = every(ols, logit, boot, safe)
    for name, draw in calls.items():
        given = Figure().subplots()
        assert draw(given) is given, name
        assert not plt.get_fignums(), f"{name} left a figure behind although ax was given"
        made = draw(None)
        assert plt.get_fignums() == [1], name
        FigureCanvasAgg(made.figure).draw()
        plt.close("all")
        with pytest.raises(tm.OptionError, match="matplotlib Axes"):
            draw(Figure().subplots(1, 2))
    assert dict(mpl.rcParams) == before
    assert mpl.get_backend() == backend
    assert set(calls) == set(tm.plot.__all__)


def test_without_matplotlib_the_error_says_what_to_install(ols, logit, boot, safe, monkeypatch):
    calls = every(ols, logit, boot, safe)
    for module in ("matplotlib", "matplotlib.axes", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, module, None)
    for draw in calls.values():
        with pytest.raises(tm.MissingPackageError, match=r'pip install "torchmle\[plot\]"'):
            draw(None)


def test_matplotlib_is_not_imported_before_it_is_needed():
    code = "import sys, torchmle as tm; tm.plot.coefficients; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("draw", "error", "says"), [
    (lambda o, lo, b: tm.plot.coefficients(o, keep="edcu"), tm.OptionError, "'educ'"),
    (lambda o, lo, b: tm.plot.coefficients(o, drop="femal3"), tm.OptionError, "'female'"),
    (lambda o, lo, b: tm.plot.coefficients(o, keep="("), tm.OptionError, "regular expression"),
    (lambda o, lo, b: tm.plot.coefficients(o, order="edcu"), tm.OptionError, "'educ'"),
    (lambda o, lo, b: tm.plot.coefficients(o, drop="."), tm.OptionError, "leave no row"),
    (lambda o, lo, b: tm.plot.coefficients(o, alpha=95), tm.OptionError, "alpha=95"),
    (lambda o, lo, b: tm.plot.coefficients([]), tm.OptionError, "no results"),
    (lambda o, lo, b: tm.plot.coefficients([o, o], names=["a"]), tm.OptionError, "one name for each of the 2"),
    (lambda o, lo, b: tm.plot.coefficients([o, o], names=["a", "a"]), tm.OptionError, "twice"),
    (lambda o, lo, b: tm.plot.coefficients({"a": o}, names=["a"]), tm.OptionError, "names already"),
    (lambda o, lo, b: tm.plot.coefficients(3), tm.OptionError, "int"),
    (lambda o, lo, b: tm.plot.trace(lo, y="gapp"), tm.OptionError, "'gap'"),
    (lambda o, lo, b: tm.plot.trace(lo, x="second"), tm.OptionError, "'seconds'"),
    (lambda o, lo, b: tm.plot.trace(b), tm.OptionError, "BootstrapResults"),
    (lambda o, lo, b: tm.plot.profile(lo, "edcu"), tm.OptionError, "'educ'"),
    (lambda o, lo, b: tm.plot.margins(lo, "edcu"), tm.OptionError, "'educ'"),
    (lambda o, lo, b: tm.plot.margins(lo, "educ", effect="exprr"), tm.OptionError, "'exper'"),
    (lambda o, lo, b: tm.plot.margins(lo, "educ", at={"educ": 3}), tm.OptionError, "grid="),
    (lambda o, lo, b: tm.plot.margins(lo, "educ", grid=1), tm.OptionError, "at least 2"),
    (lambda o, lo, b: tm.plot.margins(b, "educ"), tm.OptionError, "BootstrapResults"),
    (lambda o, lo, b: tm.plot.fit(o, "edcu"), tm.OptionError, "'educ'"),
    (lambda o, lo, b: tm.plot.fit(o, "educ", at={"exper": [1, 2]}), tm.OptionError, "one curve"),
    (lambda o, lo, b: tm.plot.fit(o, "educ", points="row"), tm.OptionError, "'rows'"),
    (lambda o, lo, b: tm.plot.fit(lo, "educ", obs=True), tm.UndefinedStatisticError, "linear models"),
    (lambda o, lo, b: tm.plot.residuals(o, "exprr"), tm.OptionError, "'exper'"),
    (lambda o, lo, b: tm.plot.residuals(o, kind="quantil"), tm.OptionError, "'quantile'"),
    (lambda o, lo, b: tm.plot.influence(o, "cooks"), tm.OptionError, "'cooks_distance'"),
    (lambda o, lo, b: tm.plot.influence(o, "dfbetas"), tm.OptionError, "one parameter"),
    (lambda o, lo, b: tm.plot.influence(o, name="educ"), tm.OptionError, "one parameter"),
    (lambda o, lo, b: tm.plot.influence(o, "dfbetas", name="edcu"), tm.OptionError, "'educ'"),
    (lambda o, lo, b: tm.plot.influence(o, mark=-1), tm.OptionError, "mark=-1"),
    (lambda o, lo, b: tm.plot.influence(o.influence(), groups="numdep"), tm.OptionError, "computed already"),
    (lambda o, lo, b: tm.plot.bootstrap(b, "edcu"), tm.OptionError, "'educ'"),
    (lambda o, lo, b: tm.plot.bootstrap(o, "educ"), tm.OptionError, "bootstrap\\(reps=999\\)"),
    (lambda o, lo, b: tm.plot.bootstrap(b, "educ", method="bc"), tm.OptionError, "'bca'"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_said_and_leaves_no_figure(ols, logit, boot, draw, error, says):
    with pytest.raises(error, match=says):
        draw(ols, logit, boot)
    assert not plt.get_fignums()


def test_pictures_that_need_a_maximum_say_so(ax):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.ConvergenceWarning)
        early = tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit(method="bfgs", maxiter=1)
    for draw in (tm.plot.profile, tm.plot.margins, tm.plot.fit):
        with pytest.raises(tm.UndefinedStatisticError, match="maximum"):
            draw(early, "educ", ax=ax)
    assert not ax.lines
