"""Draws have the moments of their laws, and check_simulation tells right likelihoods from wrong ones."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import torchmle as tm
from torchmle.testing import check_simulation

DRAWS = 3_000
FIVE = 5.7  # standard errors that the largest of some 40 rows stays within, but for one case in a million


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(8)
    n = 40
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "z": rng.normal(size=n),
            "w": rng.uniform(0.2, 5, n),
            "t": rng.uniform(0.5, 3, n),
            "y": rng.normal(size=n),
            "b": (rng.random(n) < 0.5).astype(float),
            "c": rng.poisson(2, n),
        }
    )


class Gamma(tm.LinearPredictorModel):
    """E(y) = exp(eta), shape exp(log_shape)."""

    predictors = {"eta": "1", "log_shape": tm.predictor("1", natural="shape", transform=torch.exp)}

    def logdensity(self, y, eta, log_shape):
        shape = torch.exp(log_shape)
        return shape * (log_shape - eta) - torch.lgamma(shape) + (shape - 1) * y.log() - shape * y * torch.exp(-eta)

    def simulate_endog(self, eta, log_shape, generator):
        return torch._standard_gamma(torch.exp(log_shape), generator=generator) * torch.exp(eta - log_shape)


class Exponential(tm.GenericLikelihoodModel):
    def loglikeobs(self, params):
        eta = self.exog @ params
        return -eta - self.endog * torch.exp(-eta)

    def simulate_endog(self, params, generator):
        u = torch.rand(len(self.endog), generator=generator, dtype=torch.float64)
        return -torch.log1p(-u) * torch.exp(self.exog @ params)


def phi(eta):
    return np.array([0.5 * math.erfc(-e / math.sqrt(2)) for e in eta])


BETA = {"Intercept": 0.3, "x": -0.7}
BINARY, COUNT = "b ~ x", "c ~ x"
LAWS = {  # class, formula, options, params, mean and variance of eta and the data
    "ols": (tm.OLS, "y ~ x", {}, {**BETA, "sigma": 1.5}, lambda e, d: (e, 0 * e + 2.25)),
    "wls": (tm.WLS, "y ~ x", {"weights": "w"}, {**BETA, "sigma": 1.5}, lambda e, d: (e, 2.25 / d.w)),
    "ols var": (tm.OLS, "y ~ x", {"var_weights": "w"}, {**BETA, "sigma": 0.5}, lambda e, d: (e, 0.25 / d.w)),
    "ols sigma": (
        tm.OLS,
        "y ~ x",
        {"log_sigma": "~ z", "var_weights": "w"},
        {**BETA, "log_sigma:Intercept": -0.2, "log_sigma:z": 0.4},
        lambda e, d: (e, np.exp(2 * (-0.2 + 0.4 * d.z)) / d.w),
    ),
    "ols offset": (tm.OLS, "y ~ x", {"offset": "z"}, {**BETA, "sigma": 1.5}, lambda e, d: (e + d.z, 0 * e + 2.25)),
    "logit": (tm.Logit, BINARY, {}, BETA, lambda e, d: (1 / (1 + np.exp(-e)), None)),
    "logit offset": (tm.Logit, BINARY, {"offset": "z"}, BETA, lambda e, d: (1 / (1 + np.exp(-e - d.z)), None)),
    "probit": (tm.Probit, BINARY, {}, BETA, lambda e, d: (phi(e), None)),
    "poisson": (tm.Poisson, COUNT, {}, BETA, lambda e, d: (np.exp(e), np.exp(e))),
    "poisson exposure": (tm.Poisson, COUNT, {"exposure": "t"}, BETA, lambda e, d: (d.t * np.exp(e), d.t * np.exp(e))),
    "nb": (
        tm.NegativeBinomial,
        COUNT,
        {"exposure": "t"},
        {**BETA, "alpha": 0.8},
        lambda e, d: (d.t * np.exp(e), d.t * np.exp(e) + 0.8 * (d.t * np.exp(e)) ** 2),
    ),
    "own": (Gamma, "t ~ x", {}, {**BETA, "shape": 2.0}, lambda e, d: (np.exp(e), np.exp(2 * e) / 2)),
    "opaque": (Exponential, "t ~ x", {}, BETA, lambda e, d: (np.exp(e), np.exp(2 * e))),
}


@pytest.mark.parametrize("name", LAWS)
def test_moments(data, name):
    cls, formula, options, params, law = LAWS[name]
    model = cls.from_formula(formula, data, **options)
    drawn = model.simulate(pd.Series(params), n=DRAWS, seed=4).to_numpy()
    mean, variance = (None if m is None else np.asarray(m) for m in law(0.3 - 0.7 * data.x.to_numpy(), data))
    variance = mean * (1 - mean) if variance is None else variance
    assert drawn.shape == (len(data), DRAWS)
    assert np.abs((drawn.mean(axis=1) - mean) / np.sqrt(variance / DRAWS)).max() < FIVE
    squares = (drawn - mean[:, None]) ** 2
    errors = squares.std(axis=1) / math.sqrt(DRAWS)
    assert np.abs((squares.mean(axis=1) - variance) / errors).max() < FIVE + 2  # squares are skewed
    apart = np.corrcoef(drawn)[np.triu_indices(len(data), 1)]
    assert np.abs(apart).max() < 6.5 / math.sqrt(DRAWS)  # 780 pairs of independent rows


def test_binary_draws_are_zero_or_one_and_counts_whole(data):
    logit = tm.Logit.from_formula(BINARY, data).simulate(BETA, n=50)
    assert set(np.unique(logit)) == {0.0, 1.0}
    counts = tm.NegativeBinomial.from_formula(COUNT, data).simulate({**BETA, "alpha": 2.0}, n=50).to_numpy()
    assert (counts >= 0).all()
    assert (counts == np.round(counts)).all()


def test_seeds_and_forms_of_parameters(data):
    model = tm.Poisson.from_formula(COUNT, data)
    state = torch.get_rng_state().clone()
    first = model.simulate(BETA, n=3, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    pd.testing.assert_frame_equal(first, model.simulate(pd.Series(BETA)[::-1], n=3, seed=5))
    pd.testing.assert_frame_equal(first, model.simulate([0.3, -0.7], n=3, seed=5))
    assert (first[0] != first[1]).any()
    assert (first[0] != model.simulate(BETA, seed=6)).any()
    one = model.simulate(BETA, seed=5)
    np.testing.assert_array_equal(one, first[0])  # the number of a draw is its seed, not how many there are
    assert one.name == "c"


def test_rows_keep_their_labels(data):
    holes = data.set_index(data.index + 100)
    holes.loc[[103, 110], "x"] = np.nan
    drawn = tm.OLS.from_formula("y ~ x", holes).simulate({**BETA, "sigma": 1.0})
    assert list(drawn.index) == [i for i in holes.index if i not in (103, 110)]


def test_results_simulate_from_their_own_estimates(data):
    res = tm.OLS.from_formula("y ~ x", data, var_weights="w").fit()
    drawn = res.simulate(n=DRAWS, seed=2).to_numpy()
    spread = drawn.var(axis=1, ddof=1) / (res.scale / data.w)
    assert np.abs((drawn.mean(axis=1) - res.fittedvalues) / np.sqrt(res.scale / data.w / DRAWS)).max() < FIVE
    assert np.abs(spread - 1).max() < FIVE * math.sqrt(2 / DRAWS)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m: m.simulate(BETA, n=0), tm.OptionError, "n=0"),
        (lambda m: m.simulate(BETA, seed=-1), tm.OptionError, "seed=-1"),
        (lambda m: m.simulate(BETA, seed=None), tm.OptionError, "seed=None"),
        (lambda m: m.simulate({"Intercept": 0.3}), tm.OptionError, "no value for x"),
        (lambda m: m.simulate({**BETA, "xx": 1.0}), tm.OptionError, "Did you mean 'x'"),
        (lambda m: m.simulate([0.3]), tm.OptionError, "2 parameters"),
        (lambda m: m.simulate([800.0, 0.0]), tm.DataError, "40 draws that are not finite"),
        (lambda m: m.simulate([45.0, 0.0]), tm.DataError, "40 draws that are not finite"),  # torch gives -2^63
    ],
)
def test_bad_arguments_of_simulate(data, call, error, text):
    with pytest.raises(error, match=text):
        call(tm.Poisson.from_formula(COUNT, data))


def test_models_that_cannot_simulate(data):
    class Silent(tm.GenericLikelihoodModel):
        def loglikeobs(self, params):
            return -((self.endog - self.exog @ params) ** 2)

    class Short(Exponential):
        def simulate_endog(self, params, generator):
            return torch.zeros(3)

    with pytest.raises(tm.UndefinedStatisticError, match="simulate_endog"):
        Silent.from_formula("y ~ x", data).simulate(BETA)
    with pytest.raises(tm.LikelihoodError, match=r"\(3,\)"):
        Short.from_formula("t ~ x", data).simulate(BETA)


# ---- check_simulation


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(2)
    n = 300
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "z": rng.normal(size=n),
            "w": rng.uniform(0.5, 2, n),
            "y": rng.normal(size=n),
            "t": rng.exponential(size=n),
            "b": (rng.random(n) < 0.5).astype(float),
            "c": rng.poisson(2, n),
        }
    )


RIGHT = {
    "logit": (tm.Logit, "b ~ x + z", {}, [0.2, 0.6, -0.4]),
    "probit": (tm.Probit, "b ~ x + z", {"offset": "w"}, [-0.8, 0.4, -0.3]),
    "poisson": (tm.Poisson, "c ~ x", {"exposure": "w"}, [0.5, 0.3]),
    "nb": (tm.NegativeBinomial, "c ~ x", {}, [0.7, 0.3, 0.5]),
    "ols": (tm.OLS, "y ~ x", {"var_weights": "w"}, [1.0, 0.5, 1.3]),
    "ols sigma": (tm.OLS, "y ~ x", {"log_sigma": "~ z"}, [1.0, 0.5, 0.1, 0.3]),
    "own": (Gamma, "t ~ x", {}, [0.1, 0.3, 2.0]),
    "opaque": (Exponential, "t ~ x", {}, [0.1, 0.3]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_likelihoods_pass(frame, name):
    cls, formula, options, params = RIGHT[name]
    report = check_simulation(cls.from_formula(formula, frame, **options), params, reps=120, seed=1)
    assert report.passed, str(report)
    assert [r.passed for r in report.results] == [True] * 4
    assert report.fits.failed == 0
    np.testing.assert_array_equal(report.table["true"], params)
    assert report.table["coverage"].between(0.85, 1.0).all()


class WrongSign(tm.Logit):
    """A logit whose responses follow the logit, and whose likelihood has the sign of one half of the rows wrong."""

    def logdensity(self, y, eta):
        return tm.log_sigmoid((2 * y - 1) * torch.where(self.flipped > 0.5, -eta, eta))


class NoJacobian(tm.OLS):
    """A normal density without its ``- log sigma``."""

    def logdensity(self, y, mu, log_sigma):
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma))


class HalfJacobian(tm.OLS):
    """One with half of it: a proper maximum, in the wrong place."""

    def logdensity(self, y, mu, log_sigma):
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - 0.5 * log_sigma


class Doubled(tm.Poisson):
    """Counts each row twice: the score has mean zero, and only the information equality tells."""

    def logdensity(self, y, eta):
        return 2 * tm.poisson_logpmf_log(y, eta)


class Tempered(tm.Logit):
    """Has the wrong slope of the link: estimates are off by a factor."""

    def logdensity(self, y, eta):
        return tm.log_sigmoid((2 * y - 1) * 1.5 * eta)


class OpaqueDoubled(Exponential):
    def loglikeobs(self, params):
        return 2 * super().loglikeobs(params)


WRONG = {
    "sign": (WrongSign, "b ~ x", {"row_data": {"flipped": "flag"}}, [0.2, 0.6], {"mean_score", "recovery"}),
    "no Jacobian": (NoJacobian, "y ~ x", {}, [1.0, 0.5, 1.3], {"mean_score", "information"}),
    "half Jacobian": (
        HalfJacobian,
        "y ~ x",
        {},
        [1.0, 0.5, 1.3],
        {"mean_score", "recovery", "coverage"},
    ),
    "doubled": (Doubled, "c ~ x", {}, [0.5, 0.3], {"information", "recovery", "coverage"}),
    "tempered": (Tempered, "b ~ x", {}, [0.2, 0.6], {"mean_score", "recovery"}),
    "opaque": (OpaqueDoubled, "t ~ x", {}, [0.1, 0.3], {"information", "recovery", "coverage"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_likelihoods_are_caught(frame, name):
    cls, formula, options, params, at_least = WRONG[name]
    model = cls.from_formula(formula, frame.assign(flag=(frame.z > 0).astype(float)), **options)
    report = check_simulation(model, params, reps=60, seed=1)
    assert not report.passed
    assert at_least <= {r.name for r in report.failures}
    assert "FAILED" in str(report)


def test_what_is_drawn_may_be_the_users(frame):
    """Overdispersed counts break the information equality and the errors of a Poisson, not its mean score."""

    def overdispersed(params, rng):
        mu = np.exp(params[0] + params[1] * frame.x.to_numpy())
        return rng.poisson(mu * rng.gamma(0.5, 2.0, len(mu)))

    model = tm.Poisson.from_formula("c ~ x", frame)
    report = check_simulation(model, [1.0, 0.3], reps=150, seed=3, simulate=overdispersed)
    assert [report[k].passed for k in ("mean_score", "information", "coverage")] == [True, False, False]
    robust = check_simulation(model, [1.0, 0.3], reps=150, seed=3, simulate=overdispersed, cov_type="HC1")
    assert robust["coverage"].passed
    np.testing.assert_allclose(robust.table["std dev"], report.table["std dev"], rtol=1e-10)


def test_the_table_is_what_the_fits_gave(frame):
    model = tm.Logit.from_formula("b ~ x", frame)
    report = check_simulation(model, {"Intercept": 0.2, "x": 0.6}, reps=25, seed=7)
    drawn = model.simulate([0.2, 0.6], n=25, seed=7)
    fits = [tm.Logit.from_formula("y ~ x", frame.assign(y=drawn[r])).fit() for r in range(25)]
    params, bse = np.array([f.params for f in fits]), np.array([f.bse for f in fits])
    np.testing.assert_allclose(report.table["mean"], params.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(report.table["std dev"], params.std(axis=0, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(report.table["mean bse"], bse.mean(axis=0), rtol=1e-6)
    scores = np.array([tm.Logit.from_formula("y ~ x", frame.assign(y=drawn[r])).score([0.2, 0.6]) for r in range(25)])
    t = scores.mean(axis=0) / scores.std(axis=0, ddof=1) * 5
    np.testing.assert_allclose(report.table["t score"], t, rtol=1e-8)


def test_results_are_checked_at_their_estimates(frame):
    res = tm.OLS.from_formula("y ~ x", frame).fit()
    report = check_simulation(res, reps=40)
    np.testing.assert_allclose(report.table["true"], [*res.params, math.sqrt(res.scale)])
    assert report.passed


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda f: check_simulation(tm.Logit.from_formula("b ~ x", f)), tm.OptionError, "Intercept, x"),
        (lambda f: check_simulation(tm.Logit.from_formula("b ~ x", f), [0, 1], reps=5), tm.OptionError, "reps=5"),
        (lambda f: check_simulation("Logit", [0, 1]), tm.OptionError, "a model with its data"),
        (
            lambda f: check_simulation(tm.Poisson.from_formula("c ~ x", f, sampling_weights="w"), [0, 1]),
            tm.OptionError,
            "sampling_weights",
        ),
        (
            lambda f: check_simulation(
                tm.Poisson.from_formula("c ~ x", f), [0, 1], simulate=lambda params, rng: np.zeros(3)
            ),
            tm.DataError,
            r"\(3,\)",
        ),
    ],
)
def test_bad_arguments_of_check_simulation(frame, call, error, text):
    with pytest.raises(error, match=text):
        call(frame)


def test_a_check_has_a_name(frame):
    report = check_simulation(tm.Logit.from_formula("b ~ x", frame), [0.1, 0.2], reps=20)
    with pytest.raises(KeyError, match="coverage"):
        report["coverag"]
