"""Parameters at the edge of their range: the law of the likelihood ratio, against statsmodels and simulation."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api as smf
import torch

import torchmle as tm
from torchmle.results.boundary import chi_bar_tail

N = 300
RNG = np.random.default_rng(5)
X = RNG.normal(size=N)
DATA = pd.DataFrame({"x": X, "z": RNG.normal(size=N), "w": RNG.integers(1, 4, N)})
DATA["over"] = RNG.negative_binomial(4, 4 / (4 + np.exp(0.2 + 0.4 * X))) * 1.0
DATA["under"] = RNG.binomial(6, 1 / (1 + np.exp(-X))) * 1.0
DATA["b"] = (RNG.random(N) < 1 / (1 + np.exp(-0.15 * X))) * 1.0


class OwnNB(tm.GenericLikelihoodModel):
    """Opaque, alpha kept positive by a transform."""

    extra_params = ("alpha",)
    transforms = {"alpha": "positive"}

    def loglikeobs(self, params):
        mean, alpha = torch.exp(self.exog @ params[:-1]), params[-1]
        return tm.nbinom_logpmf(self.endog, 1 / alpha, 1 / (1 + alpha * mean))


class LogNB(OwnNB):
    """Opaque, with the log of alpha: the edge lies at minus infinity."""

    extra_params = ("log_alpha",)
    transforms = {}

    def loglikeobs(self, params):
        return tm.nb2_logpmf_log(self.endog, self.exog @ params[:-1], params[-1])


def fit(kind, formula, **how):
    data = {k: how.pop(k) for k in ("freq_weights", "sampling_weights", "offset", "log_alpha") if k in how}
    model = (getattr(tm, kind) if isinstance(kind, str) else kind).from_formula(formula, DATA, **data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.errors.ConvergenceWarning)
        return model.fit(**how)


# ---- the law


@pytest.mark.parametrize("df", [1, 2, 4])
def test_the_law_is_that_of_a_mixture(df):
    draws = np.random.default_rng(df).chisquare([[df - 1 or 1e-12], [df]], size=(2, 400_000)).ravel()
    if df == 1:
        draws[:400_000] = 0.0
    for ratio in (0.5, 2.7, 6.0):
        # four binomial standard errors of 800,000 draws
        p = (draws >= ratio).mean()
        assert chi_bar_tail(ratio, df) == pytest.approx(p, abs=4 * np.sqrt(p / 8e5))
    assert chi_bar_tail(0.0, df) == 1.0


def test_the_ratio_has_that_law_under_the_hypothesis():
    """A mean of zero, bounded below by zero: half of the ratios are zero, 5 % are beyond the 5 % point."""
    rng, pvalues = np.random.default_rng(0), []
    for _ in range(200):
        model = tm.OLS(rng.normal(size=60), np.ones((60, 1)))
        full = model.fit(method="newton", bounds={"const": (0, None)})
        pvalues.append(full.boundary_test("const").pvalue)
    p = np.array(pvalues)
    # four standard errors of 200 draws
    assert (p == 1).mean() == pytest.approx(0.5, abs=0.14)
    assert scipy.stats.kstest(2 * p[p < 1], "uniform").pvalue > 1e-3
    assert (p < 0.1).mean() == pytest.approx(0.1, abs=0.085)


# ---- negative binomial against Poisson


@pytest.mark.parametrize("kind", ["NegativeBinomial", OwnNB, LogNB])
def test_negative_binomial(kind):
    """Half the p-value of chi2(1), as Stata's chibar2(01), with statsmodels' log-likelihoods."""
    test = fit(kind, "over ~ x").boundary_test(fit("Poisson", "over ~ x"))
    nb = smf.negativebinomial("over ~ x", DATA).fit(disp=0, maxiter=200)
    ratio = 2 * (nb.llf - smf.poisson("over ~ x", DATA).fit(disp=0).llf)
    assert test.statistic == pytest.approx(ratio, rel=1e-5)
    assert test.pvalue == pytest.approx(scipy.stats.chi2.sf(ratio, 1) / 2, rel=1e-4)
    assert (test.df, test.distribution) == (1, "chibar2")
    assert "alpha is at the edge" in str(test)
    assert "half chi2(0), half chi2(1)" in str(test)


def test_with_other_restrictions():
    test = fit("NegativeBinomial", "over ~ x + z").boundary_test(fit("Poisson", "over ~ x"))
    tails = [scipy.stats.chi2.sf(test.statistic, df) for df in (1, 2)]
    assert test.df == 2
    assert test.pvalue == pytest.approx(np.mean(tails), rel=1e-12)


def test_counts_are_repeated_rows():
    counted = [fit(kind, "over ~ x", freq_weights="w") for kind in ("NegativeBinomial", "Poisson")]
    long = DATA.loc[DATA.index.repeat(DATA.w)].reset_index(drop=True)
    repeated = [kind.from_formula("over ~ x", long).fit() for kind in (tm.NegativeBinomial, tm.Poisson)]
    ours, theirs = counted[0].boundary_test(counted[1]), repeated[0].boundary_test(repeated[1])
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-8)


@pytest.mark.parametrize("bounds", [None, {"alpha": (0, None)}])
def test_where_alpha_runs_to_zero(bounds):
    """The fit has no maximum, no errors and says which law holds; the ratio is zero and its p-value 1, as Stata's."""
    full = fit("NegativeBinomial", "under ~ x", bounds=bounds)
    assert not full.converged
    assert full.pvalues.isna().all()
    assert full.conf_int().isna().all(axis=None)
    test = full.boundary_test(fit("Poisson", "under ~ x"))
    assert (test.statistic, test.pvalue) == (0.0, 1.0)
    text = " ".join(full.summary().as_text().split())
    assert "alpha is at the edge of its range: its likelihood ratio has the law half chi2(0), half chi2(1)" in text


def test_no_z_of_natural_parameters():
    full = fit("NegativeBinomial", "over ~ x")
    assert np.isnan(full.tvalues["alpha"])
    assert np.isnan(full.pvalues["alpha"])
    assert full.conf_int().loc["alpha"].notna().all()
    line = next(row for row in full.summary().as_text().splitlines() if row.startswith("alpha"))
    assert len(line.split()) == 5  # name, estimate, error, interval
    assert "edge of its range" not in full.summary().as_text()


# ---- bounds


@pytest.mark.parametrize("side", [(0, None), (None, 0)])
def test_a_bound(side):
    full = fit("Logit", "b ~ x", bounds={"x": side})
    wanted = smf.logit("b ~ x", DATA).fit(disp=0)
    ratio = 2 * (wanted.llf - smf.logit("b ~ 1", DATA).fit(disp=0).llf)
    inside = (wanted.params["x"] > 0) == (side[0] == 0)
    for other in ("x", fit("Logit", "b ~ 1"), fit("Logit", "b ~ x", fixed={"x": 0})):
        test = full.boundary_test(other)
        assert test.statistic == pytest.approx(ratio if inside else 0.0, rel=1e-7)
        assert test.pvalue == pytest.approx(scipy.stats.chi2.sf(ratio, 1) / 2 if inside else 1.0, rel=1e-7)
    text = " ".join(full.summary().as_text().split())
    said = "x is at a bound: its likelihood ratio has the law half chi2(0), half chi2(1); see boundary_test('x')"
    assert (said in text) == (not inside)
    assert np.isnan(full.pvalues["x"]) == (not inside)


def test_several_bounds_in_the_summary():
    text = fit("Logit", "b ~ x + z", bounds={"x": (None, -0.1), "z": (1, None)}).summary().as_text()
    assert "x, z have no chi2 law while all are at bounds" in " ".join(text.split())


def test_a_standard_deviation_whose_sign_means_nothing():
    """A random intercept shared by pairs: zero is inside the range of its standard deviation, and still an edge."""
    rng = np.random.default_rng(2)
    pairs = rng.normal(size=(150, 2)) + 0.8 * rng.normal(size=(150, 1))

    class Pair(tm.GenericLikelihoodModel):
        extra_params = ("mean", "log_sigma", "sd")

        def loglikeobs(self, params):
            within, between = torch.exp(2 * params[1]), params[2] ** 2
            a, b = self.endog - params[0], self.other - params[0]
            total, gap = (a + b) ** 2 / (2 * (within + 2 * between)), (a - b) ** 2 / (2 * within)
            return -0.5 * (total + gap + torch.log(within) + torch.log(within + 2 * between))

    model = Pair(pairs[:, 0], row_data={"other": pairs[:, 1]})
    full = model.fit(start_params=[0.0, 0.0, 0.5])
    none = model.fit(start_params=[0.0, 0.0, 0.0], fixed={"sd": 0.0})
    with pytest.raises(tm.errors.OptionError, match=r"lr_test.*edge="):
        full.boundary_test(none)
    test = full.boundary_test(none, edge="sd")
    centred = pairs - pairs.mean()
    total, gap = ((centred @ c) ** 2 / 2 for c in ([1, 1], [1, -1]))
    # maxima in closed form: two variances of independent sums, or one of both
    apart = -0.5 * len(pairs) * (np.log(total.mean()) + np.log(gap.mean()))
    assert test.statistic == pytest.approx(
        2 * apart + 2 * len(pairs) * np.log((total.mean() + gap.mean()) / 2), rel=1e-8
    )
    assert test.pvalue == pytest.approx(scipy.stats.chi2.sf(test.statistic, 1) / 2, rel=1e-12)


# ---- what is refused


def nb(**how):
    return fit("NegativeBinomial", "over ~ x", **how)


def poisson(**how):
    return fit("Poisson", "over ~ x", **how)


REFUSED = {
    "sampling weights": (
        lambda: nb(sampling_weights="w").boundary_test(fit("Poisson", "over ~ x")),
        "sampling_weights",
    ),
    "other weights": (lambda: nb().boundary_test(fit("Poisson", "over ~ x", freq_weights="w")), "different weights"),
    "other columns": (lambda: nb().boundary_test(fit("Poisson", "over ~ z")), "no single parameter"),
    "other offset": (lambda: nb(offset="z").boundary_test(fit("Poisson", "over ~ x")), "no single parameter"),
    "other response": (lambda: nb().boundary_test(fit("Poisson", "under ~ x")), "different responses"),
    "turned round": (lambda: fit("Poisson", "over ~ x").boundary_test(nb()), "Call it on the larger model"),
    "inside": (lambda: fit("Logit", "b ~ x + z").boundary_test(fit("Logit", "b ~ x")), "use lr_test"),
    "two at once": (
        lambda: fit("Logit", "b ~ x + z", bounds={"x": (0, None), "z": (0, None)}).boundary_test(fit("Logit", "b ~ 1")),
        "x, z are at their edges at once",
    ),
    "another at a bound": (
        lambda: fit("Logit", "b ~ x + z", bounds={"x": (None, -0.2), "z": (0.5, None)}).boundary_test("x"),
        "ran to a bound",
    ),
    "no meaning at the edge": (
        lambda: fit("NegativeBinomial", "over ~ x", log_alpha="1 + z").boundary_test(fit("Poisson", "over ~ x")),
        "Davies",
    ),
    "no bound of that name": (lambda: nb(bounds={"alpha": (0.01, None)}).boundary_test("alhpa"), "alpha"),
    "two bounds": (lambda: fit("Logit", "b ~ x", bounds={"x": (0, 1)}).boundary_test("x"), "two bounds"),
    "not results": (lambda: nb().boundary_test(3), "int"),
    "unknown edge": (lambda: nb().boundary_test(fit("Poisson", "over ~ x"), edge="sd"), "sd"),
    "no maximum": (lambda: nb(maxiter=1).boundary_test(fit("Poisson", "over ~ x")), "need a maximum"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, said = REFUSED[name]
    with pytest.raises((tm.errors.OptionError, AttributeError), match=said):
        call()
