"""Bootstrap, jackknife and permutations against separate fits, closed forms, scipy and exhaustive enumeration."""

import itertools
import math
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from scipy import optimize, stats

import torchmle as tm
from torchmle.inference.resampling import LAWS, acceleration, bca, generator, signs
from torchmle.models import replicate

WAGE = tm.datasets.load("wage1")
MROZ = tm.datasets.load("mroz")
CRIME = tm.datasets.load("crime1")
CRIME = CRIME[CRIME.index % 5 == 0].reset_index(drop=True)
RNG = np.random.default_rng(5)
MROZ = MROZ.assign(region=RNG.integers(25, size=len(MROZ)), size=RNG.integers(1, 4, size=len(MROZ)))
WAGE = WAGE.assign(firm=RNG.integers(20, size=len(WAGE)), precision=RNG.uniform(0.3, 3, size=len(WAGE)))
CRIME = CRIME.assign(years=RNG.uniform(0.5, 2, size=len(CRIME)), known=RNG.normal(size=len(CRIME)) / 5)

INLF = "inlf ~ educ + exper + kidslt6"
LWAGE = "lwage ~ educ + exper"
NARR = "narr86 ~ pcnv + black"


class OpaqueProbit(tm.GenericLikelihoodModel):
    def loglikeobs(self, params):
        return tm.log_ndtr((2 * self.endog - 1) * (self.exog @ params))

    def simulate_endog(self, params, generator):
        noise = torch.randn(len(self.exog), generator=generator, dtype=torch.float64)
        return (self.exog @ params + noise > 0).double()


class ScalarProbit(OpaqueProbit):
    def loglike(self, params):
        return tm.log_ndtr((2 * self.endog - 1) * (self.exog @ params)).sum()


class HetProbit(tm.LinearPredictorModel):
    predictors = {"mu": "1", "log_sigma": "0 + kidslt6"}

    def logdensity(self, y, mu, log_sigma):
        return tm.log_ndtr((2 * y - 1) * mu * torch.exp(-log_sigma))


class PositiveNormal(tm.GenericLikelihoodModel):
    extra_params = ("sigma",)
    transforms = {"sigma": "positive"}

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) / params[-1]) - torch.log(params[-1])


def design(formula, data):
    """Return response and regressors as statsmodels takes them."""
    model = tm.OLS.from_formula(formula, data)
    return model.endog.numpy(), model.exog.numpy()


# ---- a replicate is a fit with its weights


GIVEN = {
    "plain": {},
    "counts": {"freq_weights": "size"},
    "survey": {"sampling_weights": "size"},
}

CRIMES = CRIME.assign(size=1 + CRIME.index % 3)
WAGES = WAGE.assign(size=1 + WAGE.index % 3)
RANGE = {"exper": (0.07, None), "educ": (0, 1)}

CASES = {
    "logit": (tm.Logit, INLF, MROZ, {}, {}),
    "logit offset": (tm.Logit, INLF, MROZ.assign(known=MROZ.age / 50), {"offset": "known"}, {}),
    "probit fixed": (tm.Probit, INLF, MROZ, {}, {"fixed": {"educ": 0.1}}),
    "probit tied": (tm.Probit, INLF, MROZ, {}, {"constraints": "educ + kidslt6 = 0"}),
    "logit bounded": (tm.Logit, INLF, MROZ, {}, {"bounds": RANGE, "method": "newton"}),
    "poisson exposure": (tm.Poisson, NARR, CRIMES, {"exposure": "years"}, {}),
    "negbin offset": (tm.NegativeBinomial, NARR, CRIMES, {"offset": "known"}, {}),
    "negbin tied": (tm.NegativeBinomial, NARR, CRIMES, {}, {"constraints": "pcnv = -black"}),
    "normal": (tm.OLS, LWAGE, WAGES, {}, {"method": "newton"}),
    "declarative": (HetProbit, INLF, MROZ, {}, {}),
    "declarative fixed": (HetProbit, INLF, MROZ, {}, {"fixed": {"log_sigma:kidslt6": 0.2}}),
    "opaque": (OpaqueProbit, INLF, MROZ, {}, {}),
    "opaque tied": (OpaqueProbit, INLF, MROZ, {}, {"constraints": "educ = -kidslt6"}),
    "opaque in a range": (PositiveNormal, LWAGE, WAGES, {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("case", CASES)
def test_a_replicate_is_a_fit_of_its_own(case, given):
    family, formula, data, extras, options = CASES[case]
    res = family.from_formula(formula, data, **extras, **GIVEN[given]).fit(**options)
    kinds = ("pairs",) if given == "survey" else ("pairs", "bayesian") if given == "plain" else ("bayesian",)
    for kind in kinds:
        boot = res.bootstrap(2, kind, seed=3)
        assert (boot.failed, boot.reps) == (0, 2)
        for r in range(2):
            again = family.from_formula(formula, data, **extras, sampling_weights=boot.weights(r)).fit(**options)
            # two ends of Newton's method: the verdict leaves 1e-10 of a squared error at the very most, mostly 1e-16
            assert np.allclose(boot.params.iloc[r], again.params, rtol=1e-8, atol=1e-8)
            assert not np.allclose(boot.params.iloc[r], res.params, rtol=1e-4)


def _glm(family, weights="freq_weights", **kwds):
    def fit(y, X, w):
        return sm.GLM(y, X, family=family(), **{weights: w}, **kwds).fit(tol=1e-13, tol_criterion="params").params

    return fit


def wls(y, X, w):
    return sm.WLS(y, X, w).fit().params


def probits():
    return sm.families.Binomial(sm.families.links.Probit())


KNOWN = {"offset": "known", "exposure": "years"}

BY_STATSMODELS = {
    "ols": (tm.OLS, LWAGE, WAGE, {}, wls),
    "wls": (tm.WLS, LWAGE, WAGE, {"weights": "precision"}, wls),
    "ols counts": (tm.OLS, LWAGE, WAGE, {"freq_weights": WAGE.index.to_numpy() % 3}, wls),
    "ols survey": (tm.OLS, LWAGE, WAGE, {"sampling_weights": "precision"}, wls),
    "ols offset": (tm.OLS, LWAGE, WAGE, {"offset": "precision"}, lambda y, X, w: wls(y - WAGE.precision, X, w)),
    "logit": (tm.Logit, INLF, MROZ, {}, _glm(sm.families.Binomial, "var_weights")),
    "probit": (tm.Probit, INLF, MROZ, {}, _glm(probits)),
    "poisson": (tm.Poisson, NARR, CRIME, KNOWN, _glm(sm.families.Poisson, offset=CRIME.known, exposure=CRIME.years)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["pairs", "bayesian", "cluster"])
@pytest.mark.parametrize("case", BY_STATSMODELS)
def test_a_replicate_is_a_fit_of_statsmodels(case, kind):
    family, formula, data, extras, refit = BY_STATSMODELS[case]
    res = family.from_formula(formula, data, **extras).fit()
    boot = res.bootstrap(3, kind, seed=1, groups=np.arange(len(data)) % 30 if kind == "cluster" else None)
    y, X = design(formula, data)
    used = np.isin(np.arange(len(data)), res.model.data.rows.labels)
    for r in range(3):
        w = np.zeros(len(data))
        w[used] = boot.weights(r)
        kept = w > 0
        if "offset" in extras or kind == "pairs":  # statsmodels takes rows without weight, but not with an offset
            kept = np.ones(len(data), dtype=bool)
        found = refit(y[kept], X[kept], w[kept])
        assert np.allclose(boot.params.iloc[r], found, rtol=1e-8, atol=1e-9)


def test_the_scores_of_a_negative_binomial_replicate_vanish_in_statsmodels():
    boot = tm.NegativeBinomial.from_formula(NARR, CRIME).fit().bootstrap(3, seed=4)
    y, X = design(NARR, CRIME)
    for r in range(3):
        rows = np.repeat(np.arange(len(y)), boot.weights(r).astype(int))
        model = sm.NegativeBinomial(y[rows], X[rows])
        at = np.append(boot.params.iloc[r, :-1], math.log(boot.params.iloc[r, -1]))
        curvature = -optimize.approx_fprime(at, model.score, 1e-5)
        assert np.abs(np.linalg.solve(curvature, model.score(at))).max() < 1e-8  # the step that is left


def test_rows_dropped_and_clusters_by_name_array_and_series():
    data = MROZ.copy()
    data.loc[5:40, "educ"] = np.nan
    data["label"] = np.char.add("r", data.region.to_numpy().astype(str))
    res = tm.Logit.from_formula(INLF, data).fit()
    kept = data.dropna(subset=["educ"])
    boots = [
        res.bootstrap(4, "cluster", groups=g)
        for g in ("label", "region", data.region.to_numpy(), data.region, ["region"])
    ]
    for boot in boots[1:]:
        assert boot.params.equals(boots[0].params)
    w = boots[0].weights(2)
    assert len(w) == len(kept)
    assert pd.Series(w).groupby(kept.region.to_numpy()).nunique().eq(1).all()  # whole clusters
    assert pd.Series(w).groupby(kept.region.to_numpy()).first().sum() == kept.region.nunique()
    refit = tm.Logit.from_formula(INLF, kept, sampling_weights=w).fit()
    assert np.allclose(boots[0].params.iloc[2], refit.params, rtol=1e-8)
    with pytest.raises(tm.DataError, match="36 of the 753"):
        res.bootstrap(4, "cluster", groups=kept.region.to_numpy())
    missing = data.assign(region=data.region.where(data.index != 700))
    with pytest.raises(tm.DataError, match="missing in 1 of the rows"):
        tm.Logit.from_formula(INLF, missing).fit().bootstrap(4, "cluster", groups="region")


def test_clusters_are_those_of_the_errors_or_of_the_model():
    plain = tm.Logit.from_formula(INLF, MROZ).fit()
    asked = plain.bootstrap(3, "cluster", groups="region")
    of_errors = plain.with_cov("cluster", {"groups": "region"})
    of_model = tm.Logit.from_formula(INLF, MROZ, groups="region").fit()
    assert of_errors.bootstrap(3, "cluster").params.equals(asked.params)
    assert of_model.bootstrap(3, "cluster").params.equals(asked.params)
    other = of_model.with_cov("cluster", {"groups": "kidsge6"})
    assert other.bootstrap(3, "cluster").params.equals(plain.bootstrap(3, "cluster", groups="kidsge6").params)
    for res in (of_errors, of_model):  # independent rows all the same: said, not silent
        assert "groups of the fit were not used" in res.bootstrap(3).summary()
        assert "groups of the fit were not used" in str(res.jackknife())
    assert "not used" not in asked.summary()


# ---- laws


def test_weights_follow_their_laws():
    counts = np.array([1, 4, 7, 2, 6.0])
    data = pd.DataFrame({"y": [1.0, 2, 4, 3, 9], "n": counts})
    res = tm.OLS.from_formula("y ~ 1", data, freq_weights="n").fit()
    N, reps = counts.sum(), 4000
    for kind, shrink in (("pairs", N), ("bayesian", N + 1)):
        boot = res.bootstrap(reps, kind, seed=2)
        w = np.array([boot.weights(r) for r in range(reps)])
        assert np.allclose(w.sum(1), N)
        # multinomial: var = N p (1 - p); Dirichlet: N^2 p (1 - p) / (N + 1)
        assert np.allclose(w.mean(0), counts, atol=5 * np.sqrt(counts / reps))
        assert np.allclose(w.var(0), counts * (1 - counts / N) * N / shrink, rtol=0.15)  # sd of a variance: about 2.5 %


@pytest.mark.parametrize("kind", ["pairs", "bayesian"])
def test_weights_of_single_rows_and_clusters_add_up(kind):
    boot = OLS.bootstrap(50, kind, seed=2)
    w = np.array([boot.weights(r) for r in range(50)])
    assert np.allclose(w.sum(1), len(WAGE))
    assert w.var() == pytest.approx(1, rel=0.1)  # Poisson and exponential laws, nearly
    together = OLS.bootstrap(50, "cluster" if kind == "pairs" else kind, groups="firm", seed=2)
    first = ~WAGE.firm.duplicated().to_numpy()
    assert np.allclose([together.weights(r)[first].sum() for r in range(50)], first.sum())


@pytest.mark.parametrize("law", LAWS)
def test_multipliers_have_mean_0_variance_1_and_their_points(law):
    points = {
        "rademacher": [-1, 1],
        "webb": [-math.sqrt(1.5), -1, -math.sqrt(0.5), math.sqrt(0.5), 1, math.sqrt(1.5)],
        "mammen": [(1 - math.sqrt(5)) / 2, (1 + math.sqrt(5)) / 2],
    }
    third = {"mammen": 1.0}.get(law, 0.0)
    drawn = signs(1, 0, 500, 400, law).ravel()
    size = len(drawn)
    assert abs(drawn.mean()) < 4 / math.sqrt(size)
    assert drawn.var() == pytest.approx(1, abs=4 * math.sqrt(2 / size) + 1e-3)
    assert (drawn**3).mean() == pytest.approx(third, abs=4 * math.sqrt(15 / size))
    if law in points:
        seen, often = np.unique(drawn.round(12), return_counts=True)
        assert np.allclose(seen, points[law])
        if law != "mammen":
            assert np.allclose(often / size, 1 / len(seen), atol=0.005)
    sums = signs(1, 0, 4000, 2, law, np.array([1.0, 5.0]))
    assert np.allclose(sums.var(0), [1, 5], rtol=0.15)
    assert (sums[:, 1] ** 3).mean() == pytest.approx(5 * third, abs=4 * math.sqrt(15 * 125 / 2500))


# ---- one-step kinds against their formulas


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("clustered", [False, True])
def test_wild_is_least_squares_of_responses_with_perturbed_residuals(law, clustered):
    res = tm.WLS.from_formula(LWAGE, WAGE, weights="precision").fit()
    boot = res.bootstrap(5, "wild", seed=9, multiplier=law, groups="firm" if clustered else None)
    y, X = design(LWAGE, WAGE)
    fit = sm.WLS(y, X, WAGE.precision).fit()
    codes = pd.factorize(WAGE.firm)[0] if clustered else np.arange(len(y))
    v = signs(9, 0, 5, codes.max() + 1, law)[:, codes]
    for r in range(5):
        again = sm.WLS(fit.fittedvalues + v[r] * fit.resid, X, WAGE.precision).fit().params
        assert np.allclose(boot.params.iloc[r], again, rtol=1e-9, atol=1e-11)
    score = res.bootstrap(5, "score", seed=9, multiplier=law, groups="firm" if clustered else None)
    assert score.params.equals(boot.params)  # for least squares they are the same


@pytest.mark.parametrize("given", [{}, {"freq_weights": "size"}, {"sampling_weights": "size"}])
def test_score_is_one_newton_step_on_perturbed_scores(given):
    res = tm.Logit.from_formula(INLF, MROZ, **given).fit()
    boot = res.bootstrap(4, "score", seed=2)
    y, X = design(INLF, MROZ)
    w = MROZ["size"].to_numpy(dtype=float) if given else np.ones(len(y))
    p = 1 / (1 + np.exp(-X @ res.params.to_numpy()))
    information = (X * (w * p * (1 - p))[:, None]).T @ X
    if "freq_weights" in given:  # one multiplier for each observation
        v = signs(2, 0, 4, len(y), "rademacher", w)
        assert np.abs(v).max() == 3
    else:
        v = signs(2, 0, 4, len(y), "rademacher") * w
    moved = np.linalg.solve(information, X.T @ (v * (y - p)).T).T
    assert np.allclose(boot.params, res.params.to_numpy() + moved, rtol=1e-9, atol=1e-11)


# ---- errors near those that are known


MEAN = np.random.default_rng(11).gamma(1.5, size=40)
LOGIT = tm.Logit.from_formula(INLF, MROZ).fit()
OLS = tm.OLS.from_formula(LWAGE, WAGE).fit()
FEW = 0.03 + 3.5 / math.sqrt(2 * 1500)
"""A standard deviation from 1500 replicates errs by 1 / sqrt(3000) = 1.8 %; 3 % for what is of order 1 / n."""


@pytest.mark.parametrize(("res", "kind", "options", "cov"), [
    (OLS, "pairs", {}, ("HC0",)),
    (OLS, "bayesian", {}, ("HC0",)),
    (OLS, "wild", {}, ("HC0",)),
    (OLS, "wild", {"groups": "firm", "multiplier": "webb"}, ("cluster", {"groups": "firm", "use_correction": False})),
    (OLS, "parametric", {}, ("nonrobust",)),
    (LOGIT, "pairs", {}, ("HC0",)),
    (LOGIT, "score", {"multiplier": "normal"}, ("HC0",)),
    (LOGIT, "score", {"groups": "region"}, ("cluster", {"groups": "region", "use_correction": False})),
    (LOGIT, "parametric", {}, ("nonrobust",)),
], ids=str)  # fmt: skip
def test_errors_are_near_those_of_the_sandwich(res, kind, options, cov):
    boot = res.bootstrap(1500, kind, seed=1, **options)
    ratio = boot.bse / res.with_cov(*cov).bse
    assert np.abs(ratio - 1).max() < FEW
    assert np.allclose(boot.cov_params(), np.cov(boot.params.to_numpy().T))
    assert np.allclose(boot.bse, np.std(boot.params.to_numpy(), axis=0, ddof=1))


@pytest.mark.parametrize("kind", ["cluster", "bayesian"])
def test_cluster_errors_are_near_the_clustered_sandwich(kind):
    effects = np.random.default_rng(2).normal(size=60)
    data = MROZ.assign(firm=np.arange(len(MROZ)) % 60)
    data["y"] = data.educ / 10 + effects[data.firm] + np.random.default_rng(3).normal(size=len(data))
    data["x"] = np.random.default_rng(4).normal(size=60)[data.firm]
    res = tm.OLS.from_formula("y ~ x + educ", data).fit()
    boot = res.bootstrap(1500, kind, groups="firm", seed=1)
    robust = res.with_cov("cluster", {"groups": "firm", "use_correction": False})
    assert boot.bse["x"] > 2 * res.bootstrap(99, seed=1).bse["x"]
    assert np.abs(boot.bse / robust.bse - 1).max() < FEW + 0.03  # 60 clusters: 1 / G is 2 %


@pytest.mark.parametrize(("family", "formula", "data", "extras", "refit"), [
    (tm.Logit, INLF, MROZ, {}, _glm(sm.families.Binomial)),
    (tm.Poisson, NARR, CRIME, {"exposure": "years"}, _glm(sm.families.Poisson, exposure=CRIME.years)),
    (tm.OLS, LWAGE, WAGE, {"offset": "precision"}, lambda y, X, w: sm.OLS(y - WAGE.precision, X).fit().params),
    (tm.WLS, LWAGE, WAGE, {"weights": "precision"}, lambda y, X, w: sm.WLS(y, X, WAGE.precision).fit().params),
    (OpaqueProbit, INLF, MROZ, {}, _glm(probits)),
    (ScalarProbit, INLF, MROZ, {}, _glm(probits)),
])  # fmt: skip
def test_a_parametric_replicate_is_the_fit_of_a_simulated_response(family, formula, data, extras, refit):
    res = family.from_formula(formula, data, **extras).fit()
    boot, drawn = res.bootstrap(3, "parametric", seed=8), res.simulate(n=3, seed=8)
    _, X = design(formula, data)
    for r in range(3):
        expected = refit(drawn[r].to_numpy(), X, np.ones(len(X)))
        assert np.allclose(boot.params.iloc[r], expected, rtol=1e-8, atol=1e-9)


# ---- the same numbers


@pytest.mark.parametrize("kind", ["pairs", "bayesian", "parametric", "score"])
@pytest.mark.parametrize("family", [tm.Logit, HetProbit])
def test_numbers_depend_on_the_seed_only(family, kind, monkeypatch):
    if family is HetProbit and kind == "parametric":
        family = tm.Probit
    res = family.from_formula(INLF, MROZ).fit()
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    boot = res.bootstrap(30, kind, seed=6)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert res.bootstrap(30, kind, seed=6).params.equals(boot.params)
    assert not np.allclose(res.bootstrap(30, kind, seed=7).params, boot.params)
    fewer = res.bootstrap(11, kind, seed=6)  # the first ones are the same whatever comes after
    assert np.allclose(fewer.params, boot.params[:11], rtol=1e-10, atol=1e-11)
    for together, size in ((1, 10**9), (7, 10**9), (64, 1)):
        monkeypatch.setattr(replicate, "TOGETHER", together)
        monkeypatch.setattr(replicate, "BYTES", size)
        # sums in another order, from points within 1e-9 standard errors of the maximum
        assert np.allclose(res.bootstrap(30, kind, seed=6).params, boot.params, rtol=1e-10, atol=1e-11)


def test_single_precision_has_the_same_replicates_to_its_digits():
    single = tm.Logit.from_formula(INLF, MROZ, dtype="float32").fit()
    gap = (single.bootstrap(10, seed=1).params - LOGIT.bootstrap(10, seed=1).params).abs().max()
    assert (gap < 1e-3 * LOGIT.bse).all()


def test_what_was_drawn_is_said():
    counts = tm.OLS(MEAN, np.ones(40), freq_weights=np.arange(40) % 3).fit()
    assert "of 39 observations" in counts.bootstrap(3).summary()
    assert "39 observations left out" in str(counts.jackknife())
    assert "of 753 observations, seed 4" in LOGIT.bootstrap(3, seed=4).summary()
    assert "of 25 clusters" in LOGIT.bootstrap(3, "cluster", groups="region").summary()
    trips = tm.datasets.load("trips")
    options = {"alternatives": "mode", "situations": "trip", "persons": "person", "random": {"time": "normal"}}
    mixed = tm.MixedLogit.from_formula("chosen ~ time + cost", trips, draws=20, **options).fit()
    boot = mixed.bootstrap(2, seed=1)
    assert f"of {trips.person.nunique()} observations" in boot.summary()  # a person's choices are one


# ---- intervals


def by_scipy(y, boot, method, alpha=0.1):
    known = SimpleNamespace(bootstrap_distribution=boot.params.iloc[:, 0].to_numpy(), standard_error=0.0)
    options = {"n_resamples": 0, "bootstrap_result": known, "method": method, "confidence_level": 1 - alpha}
    return stats.bootstrap((y,), np.mean, **options).confidence_interval


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
@pytest.mark.parametrize("kind", ["rows", "counts", "clusters"])
def test_intervals_are_those_of_scipy_on_the_same_replicates(method, kind):
    if kind == "rows":
        y = MEAN
        boot = tm.OLS(y, np.ones(len(y))).fit().bootstrap(499, seed=1)
    elif kind == "counts":
        counts = np.arange(len(MEAN)) % 3
        y = np.repeat(MEAN, counts)
        boot = tm.OLS(MEAN, np.ones(len(MEAN)), freq_weights=counts).fit().bootstrap(499, seed=1)
    else:  # clusters of one size: means of cluster means
        y = MEAN.reshape(20, 2).mean(1)
        boot = tm.OLS(MEAN, np.ones(len(MEAN))).fit().bootstrap(499, "cluster", groups=np.repeat(np.arange(20), 2))
    ours = boot.conf_int(0.1, method=method.lower()).iloc[0]
    assert np.allclose(ours, by_scipy(y, boot, method), rtol=1e-12)
    assert not np.allclose(ours, boot.conf_int(0.1, method="normal").iloc[0], rtol=1e-3)


def test_replicates_that_equal_the_estimate_count_half():
    y = np.array([0.0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1])  # sums over 16 are exact
    boot = tm.OLS(y, np.ones(16)).fit().bootstrap(300, seed=3)
    boot = replace(boot, params=boot.params + 1e-15 * np.arange(-150, 150)[:, None] / 150)  # as rounding does
    rounded = replace(boot, params=boot.params.round(12))
    assert np.mean(rounded.params == y.mean()) > 0.1
    assert np.allclose(boot.conf_int(0.1, "bca").iloc[0], by_scipy(y, rounded, "BCa"), rtol=1e-9)


def test_normal_and_basic_intervals_by_their_formulas():
    boot = LOGIT.bootstrap(99, seed=1)
    normal, basic = boot.conf_int(0.1, "normal"), boot.conf_int(0.1, "basic")
    half = stats.norm.ppf(0.95) * boot.params.std()
    assert np.allclose(normal, np.column_stack([LOGIT.params - half, LOGIT.params + half]))
    ends = boot.params.quantile([0.95, 0.05])
    assert np.allclose(basic, (2 * LOGIT.params - ends).T)
    frame = boot.summary_frame(0.1, "basic")
    assert np.allclose(frame[["[lower", "upper]"]], basic)
    assert np.allclose(frame["bias"], boot.params.mean() - LOGIT.params)


def test_the_acceleration_is_near_that_of_the_jackknife():
    values = LOGIT.jackknife().params
    apart = values.mean() - values
    expected = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    ours = LOGIT.bootstrap(3).acceleration
    assert np.allclose(ours, expected, atol=3e-3)  # of first order in 1 / n; the values go up to 0.02
    assert np.corrcoef(ours, expected)[0, 1] > 0.99


def test_bca_has_no_ends_where_its_formula_has_none():
    values = np.linspace(0, 1, 50)[:, None]
    assert np.isnan(bca(values, np.array([-1.0]), np.zeros(1), 0.05)).all()  # every replicate on one side
    assert np.isnan(bca(values, np.array([0.5]), np.array([0.6]), 0.05)).all()  # 1 - a z < 0: levels would turn around
    assert np.isfinite(bca(values, np.array([0.5]), np.array([0.1]), 0.05)).all()
    assert acceleration(np.zeros((4, 1))).tolist() == [0.0]


def test_a_fixed_parameter_keeps_its_value():
    boot = tm.Logit.from_formula(INLF, MROZ).fit(fixed={"educ": 0.1}).bootstrap(20)
    assert boot.bse["educ"] == pytest.approx(0, abs=1e-15)
    for method in ("percentile", "basic", "bca", "normal"):
        assert np.allclose(boot.conf_int(method=method).loc["educ"], 0.1, atol=1e-14)


# ---- replicates without an estimate


def test_separated_replicates_are_counted_and_nan():
    rng = np.random.default_rng(0)
    x = rng.normal(size=14)
    y = (x + 1.3 * rng.normal(size=14) > 0).astype(float)
    res = tm.Logit(y, sm.add_constant(x)).fit()
    with pytest.warns(tm.ConvergenceWarning, match="of 200 replicates have no estimate") as said:
        boot = res.bootstrap(200, seed=1)
    separated = np.zeros(200, dtype=bool)
    for r in range(200):  # one regressor: the two groups do not overlap
        drawn = boot.weights(r) > 0
        one, zero = x[drawn & (y == 1)], x[drawn & (y == 0)]
        separated[r] = not (len(one) and len(zero)) or one.min() >= zero.max() or zero.min() >= one.max()
    assert 0 < separated.sum() < 50
    assert np.array_equal(boot.params.isna().any(axis=1), separated)
    assert list(boot.causes) == np.flatnonzero(separated).tolist()
    assert (boot.failed, boot.reps) == (separated.sum(), 200)
    assert f"{separated.sum()} FAILED" in boot.summary()
    assert f"{separated.sum()} of 200" in str(said[0].message)
    rest = boot.params[~separated]
    assert np.allclose(boot.bse, rest.std())
    assert np.allclose(boot.conf_int(), rest.quantile([0.025, 0.975]).T)
    ends = bca(rest.to_numpy(), res.params.to_numpy(), boot.acceleration, 0.05)
    assert np.allclose(boot.conf_int(method="bca"), ends)
    with pytest.warns(tm.ConvergenceWarning):
        intervals = res.conf_int(method="bootstrap", reps=200, seed=1)
    assert np.allclose(intervals, boot.conf_int())


@pytest.mark.parametrize(("family", "y"), [(tm.OLS, None), (tm.Logit, [1, 0]), (tm.Poisson, [2, 1])])
def test_replicates_in_which_a_category_is_empty_are_nan(family, y):
    rng = np.random.default_rng(3)
    rare = np.zeros(60)
    rare[:2] = 1
    response = rng.normal(size=60) if y is None else rng.integers(2, size=60).astype(float)
    if y is not None:
        response[:2] = y
    res = family(response, np.column_stack([np.ones(60), rare, rng.normal(size=60)])).fit()
    with pytest.warns(tm.ConvergenceWarning):
        boot = res.bootstrap(60, seed=1)
    w = np.array([boot.weights(r) for r in range(60)])
    empty = w[:, :2].sum(1) == 0
    bad = empty | ((w[:, :2] == 0).any(1) if family is tm.Logit else False)  # one response only: separated
    assert empty.sum() > 0
    assert np.array_equal(boot.params.isna().all(axis=1), bad)
    assert np.array_equal(boot.params.isna().any(axis=1), bad)
    jackknife_fails = family is tm.Logit
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        jack = res.jackknife()
    assert (jack.failed, bool(said)) == ((2, True) if jackknife_fails else (0, False))
    assert jack.bse.isna().all() == jackknife_fails  # nothing is known of the errors where one fit is missing


# ---- conf_int of results


def test_conf_int_takes_a_bootstrap_or_how_to_do_it():
    boot = LOGIT.bootstrap(60, "bayesian", seed=4)
    ask = {"method": "bootstrap", "interval": "bca"}
    expected = boot.conf_int(0.1, "bca")
    assert LOGIT.conf_int(0.1, bootstrap=boot, **ask).equals(expected)
    assert LOGIT.conf_int(0.1, reps=60, kind="bayesian", seed=4, **ask).equals(expected)
    assert LOGIT.with_cov("HC1").conf_int(0.1, bootstrap=boot, **ask).equals(expected)
    assert LOGIT.conf_int(method="bootstrap").equals(LOGIT.bootstrap(999).conf_int())
    clusters = LOGIT.bootstrap(50, "cluster", groups="region").conf_int()
    robust = LOGIT.with_cov("cluster", {"groups": "region"})
    assert robust.conf_int(method="bootstrap", reps=50).equals(clusters)
    assert LOGIT.conf_int(method="bootstrap", reps=50, groups="region").equals(clusters)
    assert robust.conf_int(method="bootstrap", reps=50, kind="pairs").equals(LOGIT.bootstrap(50).conf_int())


@pytest.mark.parametrize(("options", "why"), [
    ({"reps": 5}, "reps= goes with method='bootstrap'"),
    ({"method": "profile", "seed": 5, "interval": "bca"}, "seed=, interval= goes with"),
    ({"method": "bootstrap", "bootstrap": 3}, "bootstrap= is int"),
    ({"method": "bootstrap", "interval": "bcaa"}, "Did you mean 'bca'"),
    ({"method": "bootstrap", "reps": 0}, "reps=0"),
    ({"method": "bootstrap", "kind": "pair"}, "Did you mean 'pairs'"),
    ({"method": "bootstrap", "bootstrap": OLS.bootstrap(3)}, "another fit"),
    ({"method": "bootstrap", "bootstrap": LOGIT.bootstrap(3), "reps": 3}, "reps= and bootstrap= were given"),
    ({"method": "bootstrap", "groups": "region", "kind": "pairs"}, "takes no groups"),
])  # fmt: skip
def test_what_conf_int_refuses(options, why):
    with pytest.raises(tm.OptionError, match=why):
        LOGIT.conf_int(**options)


def test_serial_errors_have_no_bootstrap_of_their_own():
    with pytest.raises(tm.OptionError, match="no bootstrap here keeps that dependence"):
        LOGIT.with_cov("HAC", {"maxlags": 2}).conf_int(method="bootstrap")


# ---- jackknife


def test_the_jackknife_of_least_squares_is_that_of_leverages():
    jack = OLS.jackknife()
    y, X = design(LWAGE, WAGE)
    fit = sm.OLS(y, X).fit()
    leverage = fit.get_influence().hat_matrix_diag
    apart = (np.linalg.solve(X.T @ X, X.T) * (fit.resid / (1 - leverage))).T
    n = len(y)
    assert np.allclose(jack.params, fit.params - apart, rtol=1e-10, atol=1e-13)
    assert np.allclose(jack.mean, fit.params - apart.mean(0), rtol=1e-12)
    centred = apart - apart.mean(0)
    assert np.allclose(jack.cov_params(), (n - 1) / n * centred.T @ centred, rtol=1e-8)
    hc3 = fit.get_robustcov_results("HC3").cov_params()  # the same about the estimate and without (n - 1) / n
    assert np.allclose(jack.cov_params() * n / (n - 1) + n * np.outer(apart.mean(0), apart.mean(0)), hc3, rtol=1e-8)
    assert np.allclose(jack.bias, -(n - 1) * apart.mean(0), rtol=1e-6, atol=1e-12)
    width = stats.t.ppf(0.95, n - 1) * jack.bse
    assert np.allclose(jack.conf_int(0.1), np.column_stack([fit.params - width, fit.params + width]))


def test_the_jackknife_of_clusters_leaves_each_of_them_out():
    res = tm.WLS.from_formula(LWAGE, WAGE, weights="precision").fit()
    jack = res.jackknife(groups="firm")
    y, X = design(LWAGE, WAGE)
    assert sorted(jack.params.index) == sorted(WAGE.firm.unique())
    for firm, row in jack.params.iterrows():
        kept = (WAGE.firm != firm).to_numpy()
        assert np.allclose(row, sm.WLS(y[kept], X[kept], WAGE.precision[kept]).fit().params, rtol=1e-9)
    G = len(jack.params)
    apart = jack.params - res.params
    crv3 = (G - 1) / G * apart.T @ apart  # about the estimate (MacKinnon, Nielsen and Webb 2023)
    assert np.allclose(res.with_cov("CRV3", {"groups": "firm"}).cov_params(), crv3, rtol=1e-8)
    shift = apart.mean().to_numpy()
    assert np.allclose(jack.cov_params(), crv3 - (G - 1) * np.outer(shift, shift), rtol=1e-8)


def test_the_jackknife_of_a_logit_refits():
    jack = LOGIT.jackknife()
    y, X = design(INLF, MROZ)
    for i in (0, 100, 700):
        kept = np.arange(len(y)) != i
        expected = _glm(sm.families.Binomial)(y[kept], X[kept], np.ones(len(y) - 1))
        assert np.allclose(jack.params.iloc[i], expected, rtol=1e-8)


@pytest.mark.parametrize("family", [tm.OLS, tm.Poisson])
def test_counts_jackknife_as_repeated_rows(family):
    formula, data = ("lwage ~ educ", WAGE) if family is tm.OLS else ("narr86 ~ pcnv", CRIME)
    data = data.iloc[:60].assign(n=np.arange(60) % 4)
    counts = family.from_formula(formula, data, freq_weights="n").fit().jackknife()
    rows = family.from_formula(formula, data.loc[data.index.repeat(data.n)].reset_index(drop=True)).fit().jackknife()
    for name in ("bse", "bias", "mean"):
        assert np.allclose(getattr(counts, name), getattr(rows, name), rtol=1e-5)
    assert np.allclose(counts.conf_int(), rows.conf_int(), rtol=1e-6)
    assert counts.params.index.tolist() == data.index[data.n > 0].tolist()


# ---- permutations


def test_the_permutation_test_nears_that_of_all_permutations():
    x, y = np.array([0.3, 1.1, -0.4, 2.2, 0.9, -1.3]), np.array([1.0, 1.9, 0.2, 1.1, 1.2, -0.3])

    def z(values):
        return sm.OLS(y, sm.add_constant(values)).fit(use_t=False).tvalues[1]

    here = abs(z(x))
    exact = np.mean([abs(z(np.array(p))) >= here * (1 - 1e-9) for p in itertools.permutations(x)])
    test = tm.OLS.from_formula("y ~ x", pd.DataFrame({"x": x, "y": y})).fit().permutation_test("x", reps=600, seed=2)
    assert test.statistic == pytest.approx(z(x), rel=1e-9)
    assert 0.02 < exact < 0.3
    assert test.pvalue == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 600) + 1 / 600)


@pytest.mark.parametrize(("family", "scale", "effect"), [
    (tm.OLS, 1 / 3, lambda one, zero: (one - zero) / 4),
    (tm.Poisson, 1.0, lambda one, zero: math.log(one / zero)),
])  # fmt: skip
def test_permutations_that_tie_count(family, scale, effect):
    """Half of the arrangements of a treatment mirror the others: their coefficients differ by rounding only."""
    y, x, reps = np.array([3.0, 5, 4, 6, 2, 3, 2, 5]), np.array([1.0, 1, 1, 1, 0, 0, 0, 0]), 200
    treated = [x[generator(1, r, 2).permutation(8)] == 1 for r in range(reps)]
    sizes = np.abs([effect(y[t].sum(), y[~t].sum()) for t in treated])
    here = effect(y[:4].sum(), y[4:].sum())
    beyond = np.sum(sizes >= here * (1 - 1e-9))
    assert np.sum(sizes > here * (1 + 1e-9)) < 0.7 * beyond
    res = family.from_formula("y ~ x", pd.DataFrame({"y": scale * y, "x": x})).fit()
    test = res.permutation_test("x", reps=reps, statistic="coef", seed=1)
    assert test.statistic == pytest.approx(scale * here, rel=1e-8)
    assert test.pvalue == (1 + beyond) / (1 + reps)


def test_failed_permutations_are_warned_of_and_count_as_beyond():
    y, x = np.array([0.0, 1, 0, 1, 1, 0, 0, 1]), np.array([0.0, 0, 1, 1, 1, 0, 0, 1])
    res = tm.Logit.from_formula("y ~ x", pd.DataFrame({"y": y, "x": x})).fit()
    with pytest.warns(tm.ConvergenceWarning, match="permutations have no estimate and count as beyond"):
        test = res.permutation_test("x", reps=100, statistic="coef")
    assert "count as beyond" in str(test)
    tables = [int(y[list(c)].sum()) for c in itertools.combinations(range(8), 4)]
    exact = np.mean([t != 2 for t in tables])  # 3 of 4 treated answer yes, as here; all of them; or the mirror of these
    assert test.pvalue == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 100) + 0.01)


# ---- at bounds, and what is refused


def test_at_a_bound_linear_kinds_are_refused_and_refits_say_so():
    res = tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit(bounds={"age": (0, None)})
    for call in (lambda: res.bootstrap(5, "score"), lambda: res.jackknife()):
        with pytest.raises(tm.UndefinedStatisticError, match=r"ran to a bound \(age\)"):
            call()
    boot = res.bootstrap(12, seed=1)
    assert (boot.params["age"] >= 0).all()
    assert "age ran to a bound" in boot.summary()
    with pytest.raises(tm.OptionError, match="at a bound"):
        res.permutation_test("age", reps=9)


SCALAR = ScalarProbit.from_formula(INLF, MROZ).fit()
COUNTS = tm.Logit.from_formula(INLF, MROZ, freq_weights="size").fit()
SURVEY = tm.Logit.from_formula(INLF, MROZ, sampling_weights="size").fit()


@pytest.mark.parametrize(("call", "why"), [
    (lambda: LOGIT.bootstrap(0), "reps=0 must be a positive whole"),
    (lambda: LOGIT.bootstrap(1.5), "reps=1.5 must be a positive whole"),
    (lambda: LOGIT.bootstrap(None), "e.g. 999"),
    (lambda: LOGIT.bootstrap(True), "reps=True"),
    (lambda: LOGIT.bootstrap("many"), "reps='many'"),
    (lambda: LOGIT.bootstrap(3, "pair"), "Did you mean 'pairs'"),
    (lambda: LOGIT.bootstrap(3, "clusters"), "Did you mean 'cluster'"),
    (lambda: LOGIT.bootstrap(3, seed=None), "seed=None"),
    (lambda: LOGIT.bootstrap(3, seed=-1), "seed=-1"),
    (lambda: LOGIT.bootstrap(3, "cluster"), "needs groups"),
    (lambda: LOGIT.bootstrap(3, "pairs", groups="region"), "takes no groups"),
    (lambda: LOGIT.bootstrap(3, "parametric", groups="region"), "takes no groups"),
    (lambda: LOGIT.bootstrap(3, "cluster", groups="regio"), "Did you mean 'region'"),
    (lambda: LOGIT.bootstrap(3, "cluster", groups=["region", "kidsge6"]), "2 sets of groups"),
    (lambda: LOGIT.bootstrap(3, "cluster", groups=np.zeros(len(MROZ))), "clustering needs two"),
    (lambda: LOGIT.bootstrap(3, "cluster", groups=np.arange(10)), "10 rows"),
    (lambda: LOGIT.bootstrap(3, "score", groups=5), "groups is int"),
    (lambda: LOGIT.bootstrap(3, multiplier="rademacher"), "is for kind='score'"),
    (lambda: LOGIT.bootstrap(3, "bayesian", multiplier="webb"), "is for kind='score'"),
    (lambda: LOGIT.bootstrap(3, "score", multiplier="mamen"), "Did you mean 'mammen'"),
    (lambda: LOGIT.bootstrap(3, "wild"), "for OLS and WLS in closed form"),
    (lambda: COUNTS.bootstrap(3, "parametric"), "one response for each row"),
    (lambda: SURVEY.bootstrap(3, "parametric"), "one response for each row"),
    (lambda: SCALAR.bootstrap(3), "log-likelihoods of single rows"),
    (lambda: SCALAR.jackknife(), "log-likelihoods of single rows"),
    (lambda: HetProbit.from_formula(INLF, MROZ).fit().bootstrap(3, "parametric"), "simulate_endog"),
    (lambda: LOGIT.bootstrap(3).weights(3), "0 to 2"),
    (lambda: LOGIT.bootstrap(3).weights(1.5), "replicate=1.5"),
    (lambda: LOGIT.bootstrap(3, "score").weights(0), "changes no weights"),
    (lambda: LOGIT.bootstrap(3).conf_int(method="bc"), "Did you mean 'bca'"),
    (lambda: LOGIT.bootstrap(3).conf_int(2), "alpha=2"),
    (lambda: LOGIT.bootstrap(3, "score").conf_int(method="bca"), "not for kind='score'"),
    (lambda: LOGIT.jackknife(groups=["region", "kidsge6"]), "2 sets of groups"),
    (lambda: LOGIT.jackknife(groups="regio"), "Did you mean 'region'"),
    (lambda: LOGIT.permutation_test("edu"), "Did you mean 'educ'"),
    (lambda: LOGIT.permutation_test("Intercept"), "that varies"),
    (lambda: LOGIT.permutation_test("educ", reps=None), "reps=None"),
    (lambda: LOGIT.permutation_test("educ", reps=0), "reps=0"),
    (lambda: LOGIT.permutation_test("educ", statistic="t"), "statistic"),
    (lambda: LOGIT.permutation_test("educ", seed=None), "seed=None"),
    (lambda: COUNTS.permutation_test("educ"), "Repeat the rows"),
    (lambda: SURVEY.permutation_test("educ"), "statistic='coef'"),
    (lambda: tm.Logit.from_formula(INLF, MROZ).fit(fixed={"educ": 0.1}).permutation_test("educ"), "is fixed"),
])  # fmt: skip
def test_bad_input_is_refused(call, why):
    with pytest.raises(tm.TorchmleError, match=why):
        call()


@pytest.mark.parametrize("call", [
    lambda res: res.bootstrap(3),
    lambda res: res.bootstrap(3, "score"),
    lambda res: res.jackknife(),
    lambda res: res.permutation_test("educ", reps=3),
    lambda res: res.conf_int(method="bootstrap"),
])  # fmt: skip
def test_fits_without_a_maximum_or_rows_are_refused(call, tmp_path):
    with pytest.warns(tm.ConvergenceWarning):
        unfinished = tm.Logit.from_formula(INLF, MROZ).fit(maxiter=1)
    with pytest.raises(tm.UndefinedStatisticError, match="need a maximum"):
        call(unfinished)
    LOGIT.save(tmp_path / "lean")
    with pytest.raises(tm.NoDataError, match="needs the rows"):
        call(tm.load(tmp_path / "lean"))


def test_results_saved_with_their_rows_have_the_same_replicates(tmp_path):
    LOGIT.save(tmp_path / "full", data=True)
    there = tm.load(tmp_path / "full")
    assert there.bootstrap(4, seed=2).params.equals(LOGIT.bootstrap(4, seed=2).params)


def test_nothing_of_the_users_is_changed():
    data, groups = MROZ.copy(), MROZ.region.to_numpy().copy()
    res = tm.Logit.from_formula(INLF, data).fit()
    before = res.params.copy(), res.bse.copy()
    res.bootstrap(3, "cluster", groups=groups)
    res.permutation_test("educ", reps=3)
    res.jackknife(groups=groups)
    assert data.equals(MROZ)
    assert np.array_equal(groups, MROZ.region)
    assert res.params.equals(before[0])
    assert res.bse.equals(before[1])
