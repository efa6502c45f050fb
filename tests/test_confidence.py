"""Hold constraints with confidence to scipy's bounds, to recomputation from the data, and to what they promise."""

import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from scipy import stats

import torchmle as tm
from torchmle.inference import bounds
from torchmle.models.confidence.text import parse

FORMULA = "inlf ~ educ + age + kidslt6 + exper"
COLUMNS = ["educ", "age", "kidslt6", "exper"]


@pytest.fixture(scope="module")
def mroz() -> pd.DataFrame:
    data = tm.datasets.load("mroz")
    return data.assign(town=np.where(data.city == 1, "large", "small"), family=np.arange(len(data)) // 3)


@pytest.fixture
def fit(mroz):
    """Fit a logit under constraints; a warning that there is no solution is not what these tests are about."""

    def run(constraints, *, data=None, groups=None, **options):
        options = {"delta": 0.05, "seed": 1, "maxiter": 60, **options}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tm.ConvergenceWarning)
            model = tm.Logit.from_formula(FORMULA, mroz if data is None else data, groups=groups)
            return model.fit(constraints=constraints, **options)

    return run


def probabilities(results, data) -> np.ndarray:
    """Return what a logit predicts, by numpy."""
    p = results.params
    return 1 / (1 + np.exp(-(p["Intercept"] + data[COLUMNS].to_numpy() @ p[COLUMNS].to_numpy())))


# ---- bounds


@pytest.mark.parametrize("delta", [0.01, 0.05, 0.2])
def test_t_limits_are_scipys(delta):
    x = np.random.default_rng(0).gamma(2.0, size=37)
    low, high = bounds.t_limits(x.mean(), x.std(ddof=1), len(x), delta)
    test = stats.ttest_1samp(x, 0.0)
    expected = test.confidence_interval(1 - 2 * delta)  # two-sided: delta on each side
    np.testing.assert_allclose([low, high], expected, rtol=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (941, 1000)])
@pytest.mark.parametrize("delta", [0.01, 0.05])
def test_binomial_limits_are_clopper_pearson(k, n, delta):
    low, high = bounds.binomial_limits(k, n, delta)
    expected = stats.binomtest(k, n).proportion_ci(1 - 2 * delta, "exact") if 0 < k < n else None
    if expected is None:  # scipy's ends are the same there
        expected = (
            0.0 if k == 0 else delta ** (1 / n),
            1.0 if k == n else 1 - delta ** (1 / n),
        )
    np.testing.assert_allclose([low, high], expected, rtol=1e-9)


def test_binomial_limits_have_their_level_exactly():
    low, high = bounds.binomial_limits(17, 60, 0.05)
    assert math.isclose(stats.binom.sf(16, 60, low), 0.05, rel_tol=1e-9)  # P(X >= 17 | low) = delta
    assert math.isclose(stats.binom.cdf(17, 60, high), 0.05, rel_tol=1e-9)


def test_hoeffding_limits_invert_the_inequality():
    low, high = bounds.hoeffding_limits(2.0, 50, 0.1, (-1.0, 4.0))
    t = high - 2.0
    assert math.isclose(math.exp(-2 * 50 * t**2 / 5.0**2), 0.1, rel_tol=1e-12)
    assert math.isclose(2.0 - low, t, rel_tol=1e-12)


def test_cluster_moments_are_those_of_a_clustered_mean():
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(25), rng.integers(1, 9, 25))
    x = rng.normal(size=len(codes)) + rng.normal(size=25)[codes]
    mean, deviation, G = bounds.cluster_moments(x, codes)
    ols = sm.OLS(x, np.ones(len(x))).fit(cov_type="cluster", cov_kwds={"groups": codes})
    np.testing.assert_allclose([mean, deviation / math.sqrt(G)], [ols.params[0], ols.bse[0]], rtol=1e-10)


def test_cluster_moments_of_equal_sizes_are_those_of_the_cluster_means():
    x = np.random.default_rng(4).normal(size=(12, 5))
    mean, deviation, G = bounds.cluster_moments(x.ravel(), np.repeat(np.arange(12), 5))
    np.testing.assert_allclose([mean, deviation, G], [x.mean(), x.mean(1).std(ddof=1), 12], rtol=1e-12)


# ---- text


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("ACC>=.95", "ACC >= 0.95"),
        ("0.1 >= FPR", "FPR <= 0.1"),
        ("TPR[a=1, b=x] >= 0.8", "TPR[a=1, b=x] >= 0.8"),
        ("abs(TPR[a=1] - TPR[a=0]) <= 0.1", "abs(TPR[a=1] - TPR[a=0]) <= 0.1"),
        ("TPR[a=1] >= 0.8 * TPR[a=0]", "TPR[a=1] - 0.8*TPR[a=0] >= 0"),
        ("1 - ACC <= FNR / 2 + 0.5", "-ACC - 0.5*FNR <= -0.5"),
        ("ACC + ACC >= 1.9", "2*ACC >= 1.9"),
    ],
)
def test_text_is_read(text, read):
    assert parse(text).name == read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ACCC >= 0.9", "Did you mean 'ACC'"),
        ("ACC > 0.9", "<= or >="),
        ("0.1 <= ACC <= 0.9", "<= or >="),
        ("ACC >=", "Cannot read"),
        ("ACC * TPR >= 0.5", "product"),
        ("abs(ACC - TPR) >= 0.5", "only abs"),
        ("abs(ACC) + TPR <= 0.5", "alone on one side"),
        ("ACC - ACC >= 0", "measures cancel"),
        ("TPR[a] >= 0.5", "column=value"),
        ("TPR[a=1, a=2] >= 0.5", "twice"),
        ("0.5 >= 0.4", "no measure"),
        ("exec('1') >= ACC", "Cannot read"),
    ],
)
def test_text_that_cannot_be_read_says_why(text, said):
    with pytest.raises(tm.OptionError, match=said):
        parse(text)


# ---- the split


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_the_split_is_seeded_and_has_its_share(fit, mroz, share):
    first, again, other = (fit(["PR <= 0.99"], seed=s, options={"safety": share}) for s in (1, 1, 2))
    assert torch.equal(first.safety.rows, again.safety.rows)
    assert first.params.equals(again.params)
    assert first.history.equals(again.history)
    assert not torch.equal(first.safety.rows, other.safety.rows)
    assert first.safety.safety == round(share * len(mroz)) == int(first.safety.rows.sum())
    assert first.nobs == first.safety.candidate == len(mroz) - first.safety.safety


def test_the_split_never_cuts_a_group(fit, mroz):
    res = fit(["PR <= 0.99"], groups="family")
    parts = pd.Series(res.safety.rows.numpy()).groupby(mroz.family.to_numpy()).nunique()
    assert (parts == 1).all()
    assert res.safety.clusters == (125, 126)
    assert res.safety.tests[0].n == 126


def test_the_candidate_never_sees_safety_rows(fit, mroz):
    """Whatever the safety rows hold, responses and regressors, the search is the same to the last bit."""
    res = fit(["PR <= 0.6"])
    kept = res.safety.rows.numpy()
    garbled = mroz.copy()
    garbled.loc[kept, "inlf"] = 1 - garbled.loc[kept, "inlf"]
    garbled.loc[kept, COLUMNS] = garbled.loc[kept, COLUMNS].to_numpy() * 3.0 + 1.0
    other = fit(["PR <= 0.6"], data=garbled)
    assert len(res.history) == 61
    assert other.history.equals(res.history)
    assert other.safety.chosen == res.safety.chosen
    assert other.safety.table.predicted.equals(res.safety.table.predicted)
    assert not other.safety.table.bound.equals(res.safety.table.bound)


# ---- the candidate


def test_a_feasible_maximum_is_the_candidate(fit, mroz):
    res = fit(["ACC >= 0.6"])
    own = mroz[~res.safety.rows.numpy()]
    reference = sm.Logit(own.inlf, sm.add_constant(own[COLUMNS])).fit(disp=0)
    np.testing.assert_allclose(res.params, reference.params, rtol=1e-6)  # statsmodels' own tolerance
    assert (res.safety.chosen, len(res.history)) == (0, 1)


def test_the_candidate_is_the_best_feasible_iterate(fit, mroz):
    res = fit(["PR <= 0.63", "TPR >= 0.4"], maxiter=100)
    history, n = res.history, res.nobs
    feasible = (history["bound_PR <= 0.63"] <= 0.63) & (history["bound_TPR >= 0.4"] >= 0.4)
    assert feasible.equals(history.feasible)
    assert 0 < feasible.sum() < len(history)
    best = history.llf[feasible].idxmax()
    assert res.safety.chosen == history.iteration[best]
    assert res.llf == history.llf[best] < history.llf.max()
    own = mroz[~res.safety.rows.numpy()]
    p = probabilities(res, own)
    assert math.isclose(res.llf, np.where(own.inlf == 1, np.log(p), np.log1p(-p)).sum(), rel_tol=1e-10)
    excess = [history["bound_PR <= 0.63"] - 0.63, 0.4 - history["bound_TPR >= 0.4"]]
    price = history["lambda_PR <= 0.63"] * excess[0] + history["lambda_TPR >= 0.4"] * excess[1]
    np.testing.assert_allclose(history.lagrangian, history.llf - n * price, rtol=1e-12)
    assert history["lambda_PR <= 0.63"][0] == 0.5
    assert (history["lambda_TPR >= 0.4"] >= 0).all()


@pytest.mark.parametrize("bound", ["t", "hoeffding", "binomial"])
def test_predicted_bounds_are_those_of_the_safety_part_inflated(fit, mroz, bound):
    """The distance from estimate to bound, at the size of the safety part, is doubled (Thomas et al. 2019)."""
    res = fit([tm.confidence("PR <= 0.7", bound=bound)], options={"safety": 0.3})
    own = mroz[~res.safety.rows.numpy()]
    called = probabilities(res, own) >= 0.5
    m, n = called.mean(), len(own) * (res.safety.safety / res.safety.candidate)
    half = {
        "t": called.std(ddof=1) / math.sqrt(n) * stats.t.isf(0.05, n - 1),
        "hoeffding": math.sqrt(math.log(20) / (2 * n)),
        "binomial": stats.beta.isf(0.05, m * n + 1, n - m * n) - m,
    }[bound]
    assert math.isclose(res.safety.tests[0].predicted, m + 2 * half, rel_tol=1e-10)


def test_slopes_of_the_search_are_those_of_smooth_means(mroz):
    """The gradient that the search adds to the score, against central differences of mean probabilities."""
    from torchmle.models.confidence.claims import confidence
    from torchmle.models.confidence.records import Asked, Records

    model = tm.Logit.from_formula(FORMULA, mroz)
    pmap = model.make_map(model.param_names, "standardised")
    held = confidence("TPR[city=1] - 2*FPR + NLL <= 0.1")
    records = Records(model, pmap, model.make_objective(pmap), Asked((held,), (0.05,)))
    gamma = torch.linspace(-0.5, 0.5, pmap.free, dtype=torch.float64)
    factors = {term: factor for factor, term in held.claim.quantity.parts}
    found = records.slope(gamma, factors)

    def value(at):
        b = pmap.link(at).numpy()
        p = 1 / (1 + np.exp(-(b[0] + mroz[COLUMNS].to_numpy() @ b[1:])))
        y, large = mroz.inlf.to_numpy() == 1, mroz.city.to_numpy() == 1
        return p[y & large].mean() - 2 * p[~y].mean() - np.where(y, np.log(p), np.log1p(-p)).mean()

    h = 1e-6
    for j, step in enumerate(torch.eye(pmap.free, dtype=torch.float64) * h):
        assert math.isclose(found[j], (value(gamma + step) - value(gamma - step)) / (2 * h), rel_tol=1e-6, abs_tol=1e-8)


# ---- the safety test


def _limits(values, bound, delta):
    """Return one-sided limits of a mean by scipy."""
    m, n = values.mean(), len(values)
    if bound == "t":
        half = values.std(ddof=1) / math.sqrt(n) * stats.t.isf(delta, n - 1)
        return m, m - half, m + half
    if bound == "hoeffding":
        half = math.sqrt(-math.log(delta) / (2 * n))
        return m, m - half, m + half
    k = values.sum()
    return m, stats.beta.ppf(delta, k, n - k + 1), stats.beta.ppf(1 - delta, k + 1, n - k)


def _values(name, called, y):
    """Return the values of a measure for the records that it is about."""
    return {
        "ACC": called == y,
        "TPR": called[y],
        "FPR": called[~y],
        "TNR": ~called[~y],
        "FNR": ~called[y],
        "PR": called,
    }[name].astype(float)


@pytest.mark.parametrize("bound", ["t", "hoeffding", "binomial"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ACC", "ACC >= 0.3"),
        ("TPR", "TPR >= 0.3"),
        ("FPR", "FPR <= 0.9"),
        ("TNR", "TNR >= 0.1"),
        ("FNR", "FNR <= 0.9"),
        ("PR", "PR <= 0.9"),
    ],
)
def test_bounds_are_those_of_the_safety_rows(fit, mroz, name, text, bound):
    res = fit([tm.confidence(text, bound=bound)])
    kept = mroz[res.safety.rows.numpy()]
    values = _values(name, probabilities(res, kept) >= 0.5, kept.inlf.to_numpy() == 1)
    m, low, high = _limits(values, bound, 0.05)
    test = res.safety.tests[0]
    np.testing.assert_allclose([test.estimate, test.bound], [m, low if ">=" in text else high], rtol=1e-10)
    assert (test.n, test.level, test.method, test.limit) == (len(values), 0.95, bound, float(text.split()[-1]))
    assert test.passed
    assert res.safety.passed


@pytest.mark.parametrize(
    "text", ["abs(TPR[town=large] - TPR[town=small]) <= 0.9", "TPR[town=large] - TPR[town=small] <= 0.9"]
)
def test_differences_are_bounded_by_interval_arithmetic(fit, mroz, text):
    res = fit([text])
    kept = mroz[res.safety.rows.numpy()]
    called = probabilities(res, kept) >= 0.5
    sides = [called[((kept.inlf == 1) & (kept.town == town)).to_numpy()].astype(float) for town in ("large", "small")]
    (a, a_low, a_high), (b, b_low, b_high) = (_limits(side, "t", 0.025) for side in sides)
    test = res.safety.tests[0]
    if text.startswith("abs"):
        expected = [abs(a - b), max(a_high - b_low, b_high - a_low)]
    else:
        expected = [a - b, a_high - b_low]
    np.testing.assert_allclose([test.estimate, test.bound], expected, rtol=1e-10)
    np.testing.assert_allclose(test.terms["TPR[town=small]"], (b, b_low, b_high, len(sides[1])), rtol=1e-10)
    assert "delta/2" in test.note


def test_the_loss_is_minus_the_log_likelihood(fit, mroz):
    res = fit(["NLL[town=large] <= 5"])
    kept = mroz[res.safety.rows.numpy()]
    kept = kept[kept.town == "large"]
    p = probabilities(res, kept)
    m, _, high = _limits(-np.where(kept.inlf == 1, np.log(p), np.log1p(-p)), "t", 0.05)
    np.testing.assert_allclose([res.safety.tests[0].estimate, res.safety.tests[0].bound], [m, high], rtol=1e-10)


def test_clusters_are_what_t_counts(fit, mroz):
    res = fit(["ACC >= 0.3"], groups="family")
    kept = mroz[res.safety.rows.numpy()]
    right = ((probabilities(res, kept) >= 0.5) == (kept.inlf == 1)).to_numpy().astype(float)
    means = pd.Series(right).groupby(kept.family.to_numpy()).mean()  # all families have three members
    _, low, _ = _limits(means.to_numpy(), "t", 0.05)
    assert math.isclose(res.safety.tests[0].bound, low, rel_tol=1e-10)


def test_values_without_spread_get_a_bound_that_says_something(fit):
    res = fit(["PR <= 0.9999"], options={"safety": 0.05})
    everything = tm.measure(lambda p, part: 0 * p + 1.0, name="one")
    res = fit([everything >= 0.2])
    test = res.safety.tests[0]
    assert math.isclose(test.bound, 0.05 ** (1 / test.n), rel_tol=1e-12)  # Clopper and Pearson with k = n
    assert "t says nothing" in test.note
    constant = tm.measure(lambda p, part: 0 * p + 0.5, name="half")
    bounded = fit([constant >= 0.2]).safety.tests[0]
    assert math.isclose(bounded.bound, 0.5 - math.sqrt(math.log(20) / (2 * bounded.n)), rel_tol=1e-12)
    boundless = tm.measure(lambda p, part: 0 * p + 0.5, name="half", bounds=None)
    assert fit([boundless >= 0.2]).fit.status.value == "no_solution"


def test_deltas_are_shared(fit):
    own = [tm.confidence("ACC >= 0.3", delta=0.03), "PR <= 0.95", "TPR >= 0.1"]
    np.testing.assert_allclose(fit(own).safety.table.level, [0.97, 0.99, 0.99], rtol=1e-12)
    res = fit([tm.confidence("ACC >= 0.3", delta=0.03)], delta=None)
    assert (res.safety.delta, res.safety.tests[0].level) == (0.03, 0.97)


# ---- the answer


def test_a_solution_is_handed_out_without_errors(fit):
    res = fit(["PR <= 0.63"])
    assert (res.fit.status.value, res.converged) == ("passed", False)
    assert np.isfinite(res.params).all()
    assert res.bse.isna().all()
    assert "PASSED THE SAFETY TEST" in str(res.summary())
    assert "no standard errors" in res.status
    assert "passed" in repr(res)


def test_no_solution_hands_out_nothing(mroz):
    model = tm.Logit.from_formula(FORMULA, mroz)
    with pytest.warns(tm.ConvergenceWarning, match="No solution found"):
        res = model.fit(constraints=["ACC >= 0.99"], delta=0.05, maxiter=20, fixed={"educ": 0.1})
    assert res.params.isna().all()
    assert np.isnan(res.llf)
    assert not res.safety.passed
    assert not res.safety.tested
    assert res.safety.chosen is None
    assert not res.history.feasible.any()
    best = res.history["bound_ACC >= 0.99"].max()
    assert res.safety.tests[0].bound == best  # of the iterate that came nearest
    text = str(res.summary())
    assert "NO SOLUTION FOUND" in text
    assert f"{best:.4g}" in text
    assert "NO SOLUTION" in repr(res)
    for ask in (res.predict, res.simulate, lambda: res.predict(mroz), lambda: res.fittedvalues, lambda: res.margins()):
        with pytest.raises(tm.UndefinedStatisticError, match="o solution found"):
            ask()


def test_a_candidate_that_fails_the_test_is_not_handed_out(fit, mroz):
    """The rows kept for the test are made to contradict the others."""
    kept = fit(["ACC >= 0.6"]).safety.rows.numpy()
    liars = mroz.copy()
    liars.loc[kept, "inlf"] = 1 - liars.loc[kept, "inlf"]
    res = fit(["ACC >= 0.6"], data=liars)
    assert res.safety.tested
    assert res.safety.chosen == 0
    assert res.safety.tests[0].estimate < 0.5
    assert res.params.isna().all()


def test_results_are_kept_and_repeated(fit, mroz, tmp_path):
    res = fit([tm.confidence("ACC >= 0.6", bound="binomial"), "PR[town=large] <= 0.7"])
    res.save(tmp_path / "fit")
    for again in (tm.load(tmp_path / "fit"), pickle.loads(pickle.dumps(res)), tm.replay(res, mroz)):
        assert again.params.equals(res.params)
        assert again.safety.table.equals(res.safety.table)
        assert again.history.equals(res.history)
        assert torch.equal(again.safety.rows, res.safety.rows)
    with pytest.raises(tm.OptionError, match="candidate part"):
        tm.replay(res)


def test_stops_leave_the_best_so_far(fit):
    seen = []

    def stop(row):
        seen.append(row.iteration)
        return len(seen) == 30

    def interrupt(row):
        if row.iteration == 29:
            raise KeyboardInterrupt

    whole, stopped, cut = (
        fit(["PR <= 0.63"]),
        fit(["PR <= 0.63"], callback=stop),
        fit(["PR <= 0.63"], callback=interrupt),
    )
    for part in (stopped, cut):
        assert part.history.equals(whole.history[:30])
        feasible = part.history[part.history.feasible]
        assert part.safety.chosen == feasible.iteration[feasible.llf.idxmax()]
        assert any("ended at iteration" in n or "interrupted" in n for n in part.fit.notes)


def test_nothing_of_the_callers_is_changed(fit):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit(["PR <= 0.63"])
    assert torch.equal(before, torch.get_rng_state())


# ---- own measures and other models


def test_own_measures_see_prediction_and_data(mroz):
    cost = tm.measure(
        lambda p, part: ((p >= 0.5).double() * part.price, part.endog == 0),
        surrogate=lambda p, part: (p * part.price, part.endog == 0),
        name="cost",
        bounds=(0, 3),
    )
    price = 1.0 + mroz.city.to_numpy() * 2.0
    model = tm.Logit.from_formula(FORMULA, mroz, row_data={"price": price})
    res = model.fit(constraints=[tm.confidence(cost <= 1.6, bound="hoeffding")], delta=0.05, seed=1, maxiter=100)
    kept = res.safety.rows.numpy()
    values = (price * (probabilities(res, mroz) >= 0.5))[kept & (mroz.inlf == 0).to_numpy()]
    expected = values.mean() + 3 * math.sqrt(math.log(20) / (2 * len(values)))
    assert math.isclose(res.safety.tests[0].bound, expected, rel_tol=1e-10)
    assert res.safety.passed


def test_the_algebra_of_measures_is_that_of_the_text():
    rate = tm.measure("TPR")
    written = {
        "abs(TPR[a=1] - TPR[a=0]) <= 0.1": abs(rate.where(a=1) - rate.where(a=0)) <= 0.1,
        "TPR[a=1] >= 0.8*TPR[a=0]": rate.where(a=1) >= 0.8 * rate.where(a=0),
        "1 - PR <= 0.4": 1 - tm.measure("PR") <= 0.4,
    }
    for text, claim in written.items():
        assert parse(text) == claim
    with pytest.raises(tm.OptionError, match="one inequality at a time"):
        _ = 0.1 <= rate <= 0.2


def test_levels_of_a_multinomial_logit(mroz):
    """Measures of a categorical response, against counts by numpy; rates are one level against all others."""
    data = tm.datasets.load("anes96")
    model = tm.MNLogit.from_formula("PID ~ educ + age + income", data)
    rates = ["ACC >= 0.05", "TPR[level=6] <= 1", "FPR[level=0] <= 1", "PR[level=6] <= 1"]
    res = model.fit(constraints=rates, delta=0.05, seed=2)
    kept = data[res.safety.rows.numpy()]
    called = res.predict(kept).to_numpy().argmax(1)
    y = kept.PID.to_numpy()
    expected = [(called == y).mean(), (called == 6)[y == 6].mean(), (called == 0)[y != 0].mean(), (called == 6).mean()]
    np.testing.assert_allclose(res.safety.table.estimate, expected, rtol=1e-12)
    with pytest.raises(tm.OptionError, match="which level"):
        model.fit(constraints=["TPR >= 0.1"], delta=0.05)
    with pytest.raises(tm.OptionError, match="level of the response"):
        model.fit(constraints=["TPR[level=9] >= 0.1"], delta=0.05)


class Normal(tm.GenericLikelihoodModel):
    extra_params = ("sigma",)
    transforms = {"sigma": "positive"}

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) / params[-1]) - torch.log(params[-1])

    def predict_mean(self, params):
        return self.exog @ params[:-1]


def test_least_squares_and_own_likelihoods_agree():
    """A bound on the mean absolute residual of one group, which is not met at the maximum."""
    data = tm.datasets.load("wage1")
    miss = tm.measure(lambda p, part: (part.endog - p).abs(), name="miss", bounds=None)
    found = []
    for kind in (tm.OLS, Normal):
        model = kind.from_formula("lwage ~ educ + exper", data, row_data={"female": data.female})
        res = model.fit(constraints=[miss.where(female=1) <= 0.41], delta=0.05, seed=1, maxiter=150)
        assert not res.history.feasible[0]
        found.append(res)
    for res in found:
        assert res.safety.passed
        kept = data[res.safety.rows.numpy()]
        kept = kept[kept.female == 1]
        residuals = kept.lwage - res.predict(kept)
        _, _, high = _limits(residuals.abs().to_numpy(), "t", 0.05)
        assert math.isclose(res.safety.tests[0].bound, high, rel_tol=1e-10)
    assert found[0].history.llf[0] == pytest.approx(found[1].history.llf[0], rel=1e-9)  # both start at the maximum


# ---- what is refused


@pytest.mark.parametrize(
    ("constraints", "options", "said"),
    [
        ("ACC >= 0.5", {"delta": None}, "say with which one"),
        ("ACC >= 0.5", {"delta": 0}, "strictly between 0 and 1"),
        ("ACC >= 0.5", {"delta": 1.0}, "strictly between 0 and 1"),
        (None, {}, "there are none"),
        (["educ >= 0"], {}, "there are none"),
        (["ACC >= 0.5", "ACC>=.5"], {}, "given twice"),
        (["ACC >= 0.5", "educ >= 0"], {}, "Leave one kind out"),
        ([tm.measure("ACC")], {}, "without a limit"),
        ({"clam": "ACC >= 0.5"}, {}, "Did you mean 'claim'"),
        ({"bound": "t"}, {}, "Cannot read"),
        (["ACCC >= 0.5"], {}, "Did you mean 'ACC'"),
        (["educc >= 0.5"], {}, "Did you mean 'educ'"),
        (["ACC[city=7] >= 0.5"], {}, "The values of 'city' are 0, 1"),
        (["ACC[town=larg] >= 0.5"], {}, "'large'"),
        (["ACC[toun=large] >= 0.5"], {}, "Did you mean 'town'"),
        (["ACC >= 0.5"], {"cov_type": "HC1"}, "no standard errors"),
        (["ACC >= 0.5"], {"bounds": {"educ": (0, None)}}, "bounds"),
        (["ACC >= 0.5"], {"resume": "file"}, "safety part"),
        (["ACC >= 0.5"], {"method": "newton"}, "gradient steps"),
        (["ACC >= 0.5"], {"batch_size": 10}, "batch_size"),
        (["ACC >= 0.5"], {"options": {"safety": 1.0}}, "strictly between 0 and 1"),
        (["ACC >= 0.5"], {"options": {"safety": 0.999}}, "both need at least two"),
        (["ACC >= 0.5"], {"options": {"inflation": 0.5}}, "at least 1"),
        (["ACC >= 0.5"], {"options": {"saftey": 0.5}}, "saftey"),
        (["ACC >= 0.5"], {"options": {"starts": 3}}, "starts"),
        ([tm.confidence("ACC >= 0.5", delta=0.05), "PR <= 0.9"], {}, "leaves 0"),
        ([tm.measure(lambda p, part: p > 0.5, name="hard") <= 0.3], {}, "no derivative"),
        ([tm.measure(lambda p, part: 3 * p, name="big") <= 0.3], {}, "outside bounds"),
        ([tm.measure(lambda p, part: p.mean(), name="one") <= 0.3], {}, "shape"),
        ([tm.measure(lambda p, part: p / 0, name="bad", bounds=None) <= 0.3], {}, "not finite"),
        ([tm.confidence(tm.measure(lambda p, part: p, name="p") <= 0.3, bound="binomial")], {}, "0 and 1"),
    ],
)
def test_bad_requests_say_why(fit, constraints, options, said):
    with pytest.raises(tm.errors.TorchmleError, match=said):
        fit(constraints, **options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ACC >= 0.5", {"bound": "hoefding"}), "Did you mean 'hoeffding'"),
        (("ACC >= 0.5", {"delta": 2}), "strictly between 0 and 1"),
        (("NLL <= 0.5", {"bound": "hoeffding"}), "no upper limit"),
        (("NLL <= 0.5", {"bound": "binomial"}), "no upper limit"),
        ((0.5, {}), "takes text"),
    ],
)
def test_bad_statements_say_why(arguments, said):
    claim, options = arguments
    with pytest.raises(tm.OptionError, match=said):
        tm.confidence(claim, **options)


@pytest.mark.parametrize("bad", [(1, 0), (0, math.inf), "01", 3])
def test_bounds_of_a_measure_are_a_range(bad):
    with pytest.raises(tm.OptionError):
        tm.measure(lambda p, part: p, name="p", bounds=bad)


def test_what_the_data_do_not_allow(fit, mroz):
    with pytest.raises(tm.OptionError, match="come in clusters"):
        fit([tm.confidence("ACC >= 0.5", bound="binomial")], groups="family")
    weighted = tm.Logit.from_formula(FORMULA, mroz, freq_weights=np.ones(len(mroz), dtype=int))
    with pytest.raises(tm.OptionError, match="Repeat the rows"):
        weighted.fit(constraints=["ACC >= 0.5"], delta=0.05)
    with pytest.raises(tm.DataError, match="neither"):
        tm.OLS.from_formula("hours ~ educ", mroz).fit(constraints=["ACC >= 0.5"], delta=0.05)
    gaps = mroz.assign(region=mroz.city.where(mroz.index > 3))
    with pytest.raises(tm.DataError, match="missing in 4"):
        fit(["ACC[region=1] >= 0.5"], data=gaps)
    choice = tm.ConditionalLogit.from_formula(
        "chosen ~ time + cost | 0", tm.datasets.load("trips"), alternatives="mode", situations="trip"
    )
    with pytest.raises(tm.OptionError, match="one row a record"):
        choice.fit(constraints=["NLL <= 3"], delta=0.05)


def test_a_group_without_records_in_the_safety_part(fit, mroz):
    kept = fit(["ACC >= 0.6"]).safety.rows.numpy()
    few = mroz.assign(rare=np.where(kept, 0, np.arange(len(mroz)) % 2))
    with pytest.raises(tm.DataError, match=r"safety test.*ACC\[rare=1\]"):
        fit(["ACC[rare=1] >= 0.2"], data=few)


# ---- modules


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


def small_net() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = (torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64), torch.nn.ReLU())
        return torch.nn.Sequential(*first, torch.nn.Dropout(0.1), torch.nn.Linear(64, 10))


TRAINING = {"delta": 0.05, "seed": 0, "batch_size": 150, "method": "adam", "options": {"lr": 5e-3}}


def test_digits_pass_at_95_percent(digits):
    """Seed S4: a small net on real images, mini-batches, one part never seen before the test."""
    X, y = digits
    model = tm.Classifier(y, X, module=small_net())
    res = model.fit(constraints=["ACC >= 0.95"], maxiter=30, **TRAINING)
    kept = res.safety.rows.numpy()
    right = (res.predict(X[kept], which="class").to_numpy() == y[kept]).astype(float)
    m, low, _ = _limits(right, "t", 0.05)
    np.testing.assert_allclose([res.safety.tests[0].estimate, res.safety.tests[0].bound], [m, low], rtol=1e-10)
    assert res.safety.passed
    assert low >= 0.95
    feasible = res.history[res.history.feasible]
    assert 0 < len(feasible) < len(res.history) == 31
    assert res.safety.chosen == feasible.iteration[feasible.llf.idxmax()]
    P = res.predict(X[~kept]).to_numpy()  # the candidate part, in evaluation mode
    llf = np.log(P[np.arange(len(P)), y[~kept]]).sum()
    assert math.isclose(llf, res.llf, rel_tol=1e-6)  # log of rounded probabilities
    assert "PASSED" in str(res.summary())
    assert np.isnan(res.bse).all()


def test_digits_at_four_nines_have_no_solution(digits):
    X, y = digits
    with pytest.warns(tm.ConvergenceWarning, match="No solution found"):
        res = tm.Classifier(y, X, module=small_net()).fit(constraints=["ACC >= 0.9999"], maxiter=5, **TRAINING)
    assert not res.safety.passed
    assert res.params.isna().all()
    for ask in (lambda: res.predict(X[:2]), lambda: res.classify(X[0])):
        with pytest.raises(tm.UndefinedStatisticError, match="o solution found"):
            ask()


def test_training_is_repeatable_and_never_sees_safety_rows(digits):
    X, y = digits
    limits = ["ACC >= 0.5", "TPR[level=8] >= 0.2"]

    def history(X, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tm.ConvergenceWarning)
            return tm.Classifier(y, X, module=small_net()).fit(constraints=limits, maxiter=4, **TRAINING)

    first = history(X, y)
    kept = first.safety.rows.numpy()
    other_X, other_y = X.copy(), y.copy()
    other_X[kept], other_y[kept] = 1 - other_X[kept], (other_y[kept] + 1) % 10
    other = history(other_X, other_y)
    assert other.history.equals(first.history)
    assert other.safety.chosen == first.safety.chosen
    assert history(X, y).params.equals(first.params)


class Line(torch.nn.Module):
    """A straight line with its spread."""

    def __init__(self):
        super().__init__()
        self.alpha, self.beta, self.log_sigma = (torch.nn.Parameter(torch.zeros(())) for _ in range(3))

    def forward(self, x, y):
        return tm.normal_logpdf((y - self.mean(x)) * torch.exp(-self.log_sigma)) - self.log_sigma

    def mean(self, x):
        return self.alpha + self.beta * x


def test_a_module_of_log_likelihoods_under_a_bound_on_its_misses():
    """One column as it is, groups of two rows; the bound recomputed from the safety rows."""
    data = tm.datasets.load("wage1")
    pairs = np.arange(len(data)) // 2
    miss = tm.measure(lambda mean, part: (part.endog - mean).abs(), name="miss", bounds=None)
    model = tm.ModuleModel(data.lwage, data.educ, module=Line(), groups=pairs)
    res = model.fit(constraints=[miss <= 0.6], delta=0.05, maxiter=150, options={"lr": 0.05})
    kept = res.safety.rows.numpy()
    assert res.safety.passed
    assert (pd.Series(kept).groupby(pairs).nunique() == 1).all()
    misses = (data.lwage - res.params["alpha"] - res.params["beta"] * data.educ).abs()[kept]
    means = misses.groupby(pairs[kept]).mean().to_numpy()
    _, _, high = _limits(means, "t", 0.05)
    assert math.isclose(res.safety.tests[0].bound, high, rel_tol=1e-10)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"options": {"validation": 0.2}}, "validation"),
        ({"method": "newton"}, "batch_size|gradient|method"),
        ({"constraints": ["ACC >= 0.5", "`0.bias[0]` = 0"]}, "Linear equations"),
        ({"checkpoint": "file"}, "checkpoint"),
    ],
)
def test_what_training_under_constraints_refuses(digits, options, said):
    X, y = digits
    model = tm.Classifier(y, X, module=torch.nn.Sequential(torch.nn.Linear(64, 10)))
    with pytest.raises(tm.OptionError, match=said):
        model.fit(**{"constraints": ["ACC >= 0.5"], "delta": 0.05, "maxiter": 1, **options})


def test_a_partially_linear_logit(mroz):
    """A module beside linear terms: decisions on the safety part are those that predict makes from the table."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1, bias=False))
    model = tm.Logit.from_formula("inlf ~ educ + kidslt6", mroz, modules={"eta": tm.module(net, "age")})
    res = model.fit(constraints=["PR <= 0.75"], delta=0.05, seed=1, maxiter=60)
    kept = mroz[res.safety.rows.numpy()]
    assert res.safety.passed
    assert math.isclose(res.safety.tests[0].estimate, (res.predict(kept) >= 0.5).mean(), rel_tol=1e-12)
