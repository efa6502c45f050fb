"""Put every model through ``torchmle.testing.check_model``, and wrong models through it as well.

A new model is a line in ``CASES``: the model on some hundred rows, how to simulate from it, the checks that do not
apply to it. ``WRONG`` shows for each check a model that it fails.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import torch

import torchmle as tm
from torchmle.testing import CHECKS, check_model

SIMULATION = {"mean_score", "information", "recovery", "coverage"}
ROWS = {"row_sums", "chunks", "shards", "weights", "robust_covariance", "information"}


def frame(n: int = 200, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, z = rng.standard_normal(n), rng.uniform(0, 3, n)
    latent = 0.5 + x - 0.5 * z + 0.8 * rng.standard_normal(n)
    counts = rng.poisson(np.exp(0.3 + 0.4 * x + 0.2 * z) * rng.gamma(2.0, 0.5, n))
    columns = {"x": x, "z": z, "y": latent, "tobit": latent.clip(0), "count": counts, "w": rng.integers(1, 5, n)}
    columns["level"] = np.digitize(latent, [-0.3, 0.7]) + 1
    return pd.DataFrame({**columns, "d": (latent > 0).astype(float), "g": np.arange(n) % 40, "t": rng.uniform(1, 3, n)})


# --- Models of one's own, in every form --------------------------------------------------------------------------


class Tobit(tm.LinearPredictorModel):
    predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}

    def logdensity(self, y, mu, log_sigma):
        z = (y - mu) * torch.exp(-log_sigma)
        censored = tm.log_ndtr(-mu * torch.exp(-log_sigma))
        return torch.where(y > 0, tm.normal_logpdf(z) - log_sigma, censored)


class OpaqueTobit(tm.GenericLikelihoodModel):
    extra_params = ("log_sigma",)

    def loglikeobs(self, params):
        mu, log_sigma = self.exog @ params[:-1], params[-1]
        z = (self.endog - mu) * torch.exp(-log_sigma)
        censored = tm.log_ndtr(-mu * torch.exp(-log_sigma))
        return torch.where(self.endog > 0, tm.normal_logpdf(z) - log_sigma, censored)


class PlainTobit(OpaqueTobit):
    """By plain autograd."""

    lifting = False


class PositiveTobit(tm.GenericLikelihoodModel):
    """sigma as it stands, kept positive."""

    extra_params = ("sigma",)
    transforms = {"sigma": "positive"}

    def loglikeobs(self, params):
        mu, sigma = self.exog @ params[:-1], params[-1]
        inside = tm.normal_logpdf((self.endog - mu) / sigma) - torch.log(sigma)
        return torch.where(self.endog > 0, inside, tm.log_ndtr(-mu / sigma))


class OpaqueLogit(tm.GenericLikelihoodModel):
    def loglikeobs(self, params):
        return tm.log_sigmoid((2 * self.endog - 1) * (self.exog @ params))


class PlainLogit(OpaqueLogit):
    """By plain autograd."""

    lifting = False


class NegativeLogit(tm.GenericLikelihoodModel):
    def nloglikeobs(self, params):
        return tm.softplus((1 - 2 * self.endog) * (self.exog @ params))


class ScalarLogit(tm.GenericLikelihoodModel):
    def loglike(self, params):
        return tm.log_sigmoid((2 * self.endog - 1) * (self.exog @ params)).sum()


class OpaqueNB2(tm.GenericLikelihoodModel):
    extra_params = ("log_alpha",)

    def loglikeobs(self, params):
        return tm.nb2_logpmf_log(self.endog, self.exog @ params[:-1], params[-1])


class StatsmodelsNB2(tm.GenericLikelihoodModel):
    """The example of statsmodels' documentation: names appended, alpha as it stands, its own start."""

    def __init__(self, endog, exog, **kwds):
        super().__init__(endog, exog, **kwds)
        self.exog_names.append("alpha")

    def nloglikeobs(self, params):
        size = 1 / params[-1]
        mu = torch.exp(self.exog @ params[:-1])
        return -tm.nbinom_logpmf(self.endog, size, size / (size + mu))

    def fit(self, start_params=None, **kwds):
        if start_params is None:
            start_params = np.append(np.zeros(self.exog.shape[1]), 0.5)
            start_params[0] = float(self.endog.mean().log())
        return super().fit(start_params=start_params, **kwds)


class Sample(tm.GenericLikelihoodModel):
    """No regressors at all."""

    extra_params = ("mu", "log_sigma")

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - params[0]) * torch.exp(-params[1])) - params[1]


class Exposed(tm.GenericLikelihoodModel):
    """Row data of its own, and a coefficient that is no exponent of a column."""

    extra_params = ("log_rate",)

    def loglikeobs(self, params):
        rate = params[-1] + self.exog @ params[:-1]
        return self.endog * (rate + self.t.log()) - self.t * torch.exp(rate) - torch.lgamma(self.endog + 1)


# --- How to draw from them ---------------------------------------------------------------------------------------


def linear(model, params):
    """The first predictor's part of the parameters times its columns."""
    X = model.exog.double().numpy()
    return X @ params[: X.shape[1]]


def normal(model):
    return lambda p, rng: linear(model, p) + p[-1] * rng.standard_normal(model.nobs)


def weighted_normal(model):
    deviation = model.data.weights.values.numpy() ** -0.5
    return lambda p, rng: linear(model, p) + p[-1] * deviation * rng.standard_normal(model.nobs)


def uneven_normal(model, link=lambda v: v):
    """log sigma = a + b z, its coefficients last."""
    Z = list(model.data.designs.values())[1].X.numpy()
    return lambda p, rng: link(linear(model, p) + np.exp(Z @ p[-2:]) * rng.standard_normal(model.nobs))


def logit(model):
    return lambda p, rng: (rng.logistic(size=model.nobs) < linear(model, p)).astype(float)


def probit(model):
    return lambda p, rng: (rng.standard_normal(model.nobs) < linear(model, p)).astype(float)


def poisson(model):
    offset = 0.0 if model.offset is None else model.offset.numpy()
    return lambda p, rng: rng.poisson(np.exp(linear(model, p) + offset))


def nb2(model, alpha=lambda last: last):
    def draw(p, rng):
        a = alpha(p[-1])
        return rng.poisson(np.exp(linear(model, p)) * rng.gamma(1 / a, a, model.nobs))

    return draw


def tobit(model, sigma=lambda last: last):
    return lambda p, rng: np.maximum(linear(model, p) + sigma(p[-1]) * rng.standard_normal(model.nobs), 0)


def exposed(model):
    return lambda p, rng: rng.poisson(model.t.numpy() * np.exp(p[-1] + linear(model, p)))


def levels(model):
    def draw(p, rng):
        etas = linear_levels(model, p)
        return np.array(model.levels)[(etas + rng.gumbel(size=etas.shape)).argmax(1)]

    return draw


def linear_levels(model, params):
    """Predictors of the levels in order, zero for the base."""
    found = np.zeros((model.nobs, len(model.levels)))
    at = [model.levels.index(level) for level in model.others]
    found[:, at] = model.exog.numpy() @ params.reshape(len(at), -1).T
    return found


# --- The table ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A model, what is known of it, and the checks that do not apply to it."""

    build: Callable
    simulate: Callable | None = None
    twin: Callable | None = None
    extreme: float | None = None
    params: tuple | None = None
    idle: set = field(default_factory=set)

    def report(self):
        model = self.build()
        return check_model(
            model,
            simulate=self.simulate(model) if self.simulate else None,
            twin=self.twin() if self.twin else None,
            extreme=self.extreme,
            params=self.params,
        )

    @property
    def not_applicable(self) -> set:
        given = {"twin": self.twin, "extreme": self.extreme, **dict.fromkeys(SIMULATION, self.simulate)}
        return self.idle | {name for name, value in given.items() if value is None}


MROZ = tm.datasets.load("mroz")
D = frame()


def of(model, formula, data=D, **options):
    return lambda: model.from_formula(formula, data, **options)


def arrays(model, response):
    X = D[["x", "z"]].assign(Intercept=1.0)[["Intercept", "x", "z"]]
    return lambda: model(D[response], X)


def function_tobit():
    def tobit(p, d):
        mu = d["exog"] @ p["beta"]
        inside = tm.normal_logpdf((d["endog"] - mu) / p["sigma"]) - torch.log(p["sigma"])
        return torch.where(d["endog"] > 0, inside, tm.log_ndtr(-mu / p["sigma"]))

    start = {"beta": "exog", "sigma": 1.0}
    return tm.likelihood(tobit, start, D, formula="tobit ~ x + z", transforms={"sigma": "positive"})


CASES = {
    "ols": Case(of(tm.OLS, "y ~ x * z"), normal, extreme=1e6),
    "ols_without_constant": Case(of(tm.OLS, "y ~ x + z - 1"), normal),
    "ols_far_from_zero": Case(of(tm.OLS, "y ~ x + I(1e5 + z)"), normal),
    "ols_heteroskedastic": Case(of(tm.OLS, "y ~ x", log_sigma="1 + z"), uneven_normal),
    "wls": Case(of(tm.WLS, "y ~ x + z", weights="w"), weighted_normal, idle={"weights"}),
    "logit": Case(of(tm.Logit, "inlf ~ educ + age + kidslt6", MROZ), logit, extreme=800),
    "logit_twin": Case(of(tm.Logit, "d ~ x + z"), logit, of(OpaqueLogit, "d ~ x + z"), extreme=800),
    "logit_sampling_weights": Case(
        of(tm.Logit, "d ~ x", sampling_weights="t", groups="g"), idle={"weights", "covariance"}
    ),
    "logit_freq_weights": Case(of(tm.Logit, "d ~ x", freq_weights="w"), logit, idle=SIMULATION),
    "logit_float32": Case(of(tm.Logit, "d ~ x + z", dtype=torch.float32), logit, idle={"gradient", "hessian"}),
    "probit": Case(of(tm.Probit, "d ~ x + z"), probit, extreme=40),
    "poisson": Case(of(tm.Poisson, "count ~ x + z"), poisson, extreme=700),
    "poisson_exposure": Case(of(tm.Poisson, "count ~ x", exposure="t"), poisson, extreme=690),
    "nb2": Case(of(tm.NegativeBinomial, "count ~ x + z"), nb2, of(OpaqueNB2, "count ~ x + z"), extreme=700),
    "nb2_formula": Case(of(tm.NegativeBinomial, "count ~ x", log_alpha="1 + x")),
    "multinomial": Case(of(tm.MNLogit, "level ~ x + z"), levels, extreme=700),
    "multinomial_base": Case(of(tm.MNLogit, "level ~ x + I(1e5 + z)", base=2), levels, extreme=700),
    "tobit": Case(of(Tobit, "tobit ~ x + z"), tobit, of(OpaqueTobit, "tobit ~ x + z"), extreme=40),
    "tobit_heteroskedastic": Case(
        of(Tobit, "tobit ~ x", log_sigma="1 + z"), lambda m: uneven_normal(m, lambda v: v.clip(0)), extreme=40
    ),
    "opaque_tobit": Case(
        of(OpaqueTobit, "tobit ~ x + z"), lambda m: tobit(m, np.exp), of(Tobit, "tobit ~ x + z"), extreme=40
    ),
    "plain_tobit": Case(of(PlainTobit, "tobit ~ x + z"), None, of(OpaqueTobit, "tobit ~ x + z"), extreme=40),
    "positive_tobit": Case(of(PositiveTobit, "tobit ~ x + z"), tobit, of(Tobit, "tobit ~ x + z"), extreme=40),
    "plain_logit": Case(of(PlainLogit, "d ~ x + z"), None, of(tm.Logit, "d ~ x + z"), extreme=800),
    "opaque_logit": Case(of(OpaqueLogit, "d ~ x + z"), logit, of(NegativeLogit, "d ~ x + z"), extreme=800),
    "scalar_logit": Case(of(ScalarLogit, "d ~ x + z"), logit, of(tm.Logit, "d ~ x + z"), extreme=800, idle=ROWS),
    "opaque_nb2": Case(of(OpaqueNB2, "count ~ x"), lambda m: nb2(m, np.exp), of(tm.NegativeBinomial, "count ~ x"), 700),
    "statsmodels_nb2": Case(
        arrays(StatsmodelsNB2, "count"), nb2, arrays(tm.NegativeBinomial, "count"), params=(0.3, 0.4, 0.2, 0.5)
    ),
    "no_regressors": Case(
        lambda: Sample(D.y),
        lambda m: lambda p, rng: p[0] + np.exp(p[1]) * rng.standard_normal(m.nobs),
        idle={"column_scale"},
    ),
    "function": Case(
        function_tobit, None, of(PositiveTobit, "tobit ~ x + z"), 40, idle={"row_order", "weights", "column_scale"}
    ),
    "row_data": Case(of(Exposed, "count ~ x + z - 1", row_data=["t"]), exposed),
}


@pytest.mark.parametrize("name", CASES)
def test_conforms(name):
    report = CASES[name].report()
    assert {r.name for r in report.results if r.passed is None} == CASES[name].not_applicable
    assert report.passed  # check_model raises where it is not; that it can is shown below


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
@pytest.mark.parametrize("seed", range(4))
def test_quasi_newton_stops_in_float32(method, seed):
    """Where values agree to the rounding of float32, steps without gain are not taken until ``maxiter``."""
    results = tm.Logit.from_formula("d ~ x + z", frame(seed=seed), dtype=torch.float32).fit(method=method, maxiter=200)
    assert results.converged
    assert results.fit.iterations < 100  # float64 takes about 10


# --- Wrong models: each check fails on one of them ---------------------------------------------------------------


class Detached(OpaqueLogit):
    """A part of the gradient is lost."""

    def loglikeobs(self, params):
        eta = self.exog @ params + 0.1 * (self.exog[:, 1] * params[1].detach())
        return tm.log_sigmoid((2 * self.endog - 1) * eta)


class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        return upstream * x.exp() * 1.001


class OnceOnly(torch.autograd.Function):
    """The first derivative is right, the second is cut off."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        return upstream * x.detach().exp() + 0 * upstream * x


def poisson_by(exponential):
    class Model(tm.LinearPredictorModel):
        predictors = {"eta": "1"}

        def logdensity(self, y, eta):
            return y * eta - exponential(eta) - torch.lgamma(y + 1)

    return Model


class Centred(OpaqueLogit):
    """A row reads the mean of all rows."""

    def loglikeobs(self, params):
        return tm.normal_logpdf(self.endog - self.endog.mean() - self.exog @ params)


class Lagged(OpaqueLogit):
    """A row reads the row before it."""

    def loglikeobs(self, params):
        before = torch.cat([torch.zeros_like(self.endog[:1]), self.endog[:-1]])
        return tm.normal_logpdf(self.endog - params[1] * before - self.exog @ params)


class Averaged(OpaqueLogit):
    """The mean of the log-likelihoods is returned by row: repeated rows count less."""

    def loglikeobs(self, params):
        return super().loglikeobs(params) / len(self.data.endog) ** 0.5


class Ridge(tm.Logit):
    """A penalty in the units of the columns."""

    def logdensity(self, y, eta):
        return super().logdensity(y, eta) - 0.01 * eta.square() / self.exog[:, 1].abs().mean()


class DoubledScores(OpaqueLogit):
    def score_obs(self, params):
        return 2 * super().score_obs(params)


class Drifting(OpaqueLogit):
    """A fit leaves something behind."""

    drift = 0.0

    def loglikeobs(self, params):
        return super().loglikeobs(params) - self.drift * params[1]

    def fit(self, *args, **kwds):
        self.drift += 1e-9
        return super().fit(*args, **kwds)


class NoMaximum(tm.GenericLikelihoodModel):
    def loglikeobs(self, params):
        return self.exog @ params


class Idle(tm.GenericLikelihoodModel):
    """The scores of the second parameter are all zero, the curvature is not."""

    extra_params = ("a", "b")

    def loglikeobs(self, params):
        return tm.normal_logpdf(self.endog - params[0]) - (params[1] - 1) ** 2


class Tampered(OpaqueLogit):
    """What ``change`` makes of the results of a fit, to show checks that no likelihood can fail."""

    change: Callable

    def fit(self, *args, **kwds):
        return self.change(super().fit(*args, **kwds), kwds)


def tampered(change):
    return type("Tampered", (Tampered,), {"change": staticmethod(change)})


def other_point(results, kwds):
    moved = results.fit.gamma + 1e-3
    return dataclasses.replace(results, fit=dataclasses.replace(results.fit, gamma=moved))


def moved_by_bfgs(results, kwds):
    return other_point(results, kwds) if kwds.get("method") == "bfgs" else results


def negative_variance(results, kwds):
    bread = -results.inference.bread
    return dataclasses.replace(results, inference=dataclasses.replace(results.inference, bread=bread))


class Blank:
    def as_text(self):
        return "nothing"

    as_html = as_latex = as_markdown = as_csv = as_text


def blank_summary(results, kwds):
    return dataclasses.replace(results, reporter=lambda results, alpha: Blank())


class ClippedProbit(tm.LinearPredictorModel):
    predictors = {"eta": "1"}

    def logdensity(self, y, eta):
        return torch.special.ndtr((2 * y - 1) * eta).clip(1e-300).log()


def too_spread(model):
    return lambda p, rng: rng.poisson(np.exp(linear(model, p)) * rng.gamma(1.0, 1.0, model.nobs))


def off_target(model):
    return lambda p, rng: rng.poisson(np.exp(linear(model, p) + 0.2))


def clustered(model):
    """The right distribution in each row, but the rows come ten at a time."""
    return lambda p, rng: linear(model, p) + p[-1] * np.repeat(rng.standard_normal(model.nobs // 10), 10)


class Unkept(tm.Logit):
    """Holds a function of its own, which is in no file."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.sign = lambda y: 2 * y - 1

    def logdensity(self, y, eta):
        return tm.log_sigmoid(self.sign(y) * eta)


WRONG = {
    "detached": (of(Detached, "d ~ x + z"), {}, {"gradient", "hessian"}),
    "wrong_backward": (of(poisson_by(WrongBackward.apply), "count ~ x"), {}, {"gradient"}),
    "wrong_double_backward": (of(poisson_by(OnceOnly.apply), "count ~ x"), {}, {"hessian"}),
    "row_coupled": (of(Centred, "d ~ x + z"), {}, {"chunks", "shards"}),
    "lagged": (of(Lagged, "d ~ x + z"), {}, {"chunks", "shards", "row_order"}),
    "averaged": (of(Averaged, "d ~ x + z"), {}, {"weights"}),
    "penalty_in_units": (of(Ridge, "d ~ x + z"), {}, {"column_scale"}),
    "doubled_scores": (of(DoubledScores, "d ~ x"), {}, {"row_sums"}),
    "drifting": (of(Drifting, "d ~ x"), {}, {"refit"}),
    "no_maximum": (of(NoMaximum, "d ~ x"), {}, {"fit"}),
    "idle_parameter": (lambda: Idle(D.y), {}, {"robust_covariance"}),
    "other_point": (of(tampered(other_point), "d ~ x"), {}, {"reported"}),
    "bfgs_elsewhere": (of(tampered(moved_by_bfgs), "d ~ x"), {}, {"methods"}),
    "negative_variance": (of(tampered(negative_variance), "d ~ x"), {}, {"covariance"}),
    "blank_summary": (of(tampered(blank_summary), "d ~ x"), {}, {"summary"}),
    "unkept": (of(Unkept, "d ~ x"), {}, {"keeping"}),
    "wrong_twin": (of(tm.Logit, "d ~ x"), {"twin": of(tm.Probit, "d ~ x")}, {"twin"}),
    "twin_on_other_rows": (of(tm.Logit, "d ~ x"), {"twin": of(OpaqueLogit, "d ~ x", D[:-1])}, {"twin"}),
    "clipped": (of(ClippedProbit, "d ~ x"), {"extreme": 40}, {"extreme"}),
    "overflow": (of(poisson_by(torch.exp), "count ~ x"), {"extreme": 720}, {"extreme"}),
    "too_spread": (of(tm.Poisson, "count ~ x"), {"simulate": too_spread}, {"information", "coverage", "recovery"}),
    "off_target": (of(tm.Poisson, "count ~ x"), {"simulate": off_target}, {"mean_score", "coverage", "recovery"}),
    "clustered": (of(tm.OLS, "y ~ x"), {"simulate": clustered}, {"coverage", "recovery"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_models_fail(name):
    build, options, expected = WRONG[name]
    model = build()
    if "simulate" in options:
        options = {"simulate": options["simulate"](model)}
    if "twin" in options:
        options = {"twin": options["twin"]()}
    report = check_model(model, raise_on_failure=False, checks=sorted(expected), **options)
    assert {r.name for r in report.failures} == expected


def test_every_check_can_fail():
    assert set().union(*(expected for _, _, expected in WRONG.values())) == set(CHECKS)


@pytest.mark.parametrize("name", ["detached", "row_coupled"])
def test_a_failure_raises_with_the_names_of_the_checks(name):
    build, _, expected = WRONG[name]
    with pytest.raises(AssertionError) as caught:
        check_model(build())
    assert all(f"\n{check} " in str(caught.value) for check in expected)


def test_a_right_model_fails_none_of_the_checks_of_the_wrong_ones():
    report = check_model(tm.Logit.from_formula("d ~ x + z", D), checks=["gradient", "chunks"])
    assert [r.passed for r in report.results] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"checks": ["gradent"]}, "gradient"),
        ({"simulate": 3}, "simulate"),
        ({"extreme": -1.0}, "extreme"),
    ],
)
def test_unusable_arguments_are_refused(arguments, told):
    with pytest.raises(tm.OptionError, match=told):
        check_model(tm.Logit.from_formula("d ~ x", D), **arguments)


def test_a_fit_is_not_a_model():
    results = tm.Logit.from_formula("d ~ x", D).fit()
    with pytest.raises(tm.OptionError, match="before its fit"):
        check_model(results)


def test_an_exception_of_the_model_is_a_failure_with_its_text():
    class Broken(OpaqueLogit):
        def loglikeobs(self, params):
            raise RuntimeError("not today")

    report = check_model(Broken.from_formula("d ~ x", D), checks=["fit", "row_sums"], raise_on_failure=False)
    assert all(r.passed is False and "not today" in r.detail for r in report.results)


def test_data_lost_by_a_new_model_are_named():
    model = OpaqueLogit.from_formula("d ~ x", D)
    model.mine = torch.ones(len(D))
    report = check_model(model, checks=["row_order", "weights"])
    assert all(r.passed is None and "mine" in r.detail for r in report.results)


def test_the_same_seed_gives_the_same_report_whichever_checks_run():
    model = tm.Logit.from_formula("d ~ x", D)
    whole = check_model(model, simulate=logit(model), checks=["gradient", "mean_score", "coverage"])
    part = check_model(model, simulate=logit(model), checks=["coverage", "gradient"])
    assert [part["gradient"], part["coverage"]] == [whole["gradient"], whole["coverage"]]
    other = check_model(model, simulate=logit(model), checks=["gradient"], seed=1)
    assert other["gradient"].detail != whole["gradient"].detail
