"""Wrong derivatives inside a user's likelihood are found before the first iteration, and right ones are not blamed."""

import numpy as np
import pytest
import torch

import torchmle as tm

N = 600


def normal(mu, log_sigma, y):
    return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma


def model(function):
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(N), rng.normal(size=(N, 2))])
    y = np.abs(X @ [0.3, 1.0, -0.5] + 1.2 * rng.normal(size=N))
    form = {"extra_params": ("log_sigma",), "loglikeobs": lambda self, params: function(self, params)}
    return type("Own", (tm.GenericLikelihoodModel,), form)(y, X)


def bessel(m, p):
    return normal(m.exog @ p[:-1], p[-1], m.endog) - torch.log(torch.special.modified_bessel_i0(1 + torch.exp(p[-1])))


WRONG = {
    "a function without a derivative": (bessel, "with respect to log_sigma is wrong in .* rows: autograd gives"),
    "detach": (lambda m, p: normal(m.exog @ p[:-1], p[-1].detach(), m.endog) + 0 * p[-1], "autograd gives 0,"),
    "item": (lambda m, p: normal(m.exog @ p[:-1], p[-1], m.endog) * (1 + p[-1].detach().item()), "log_sigma is wrong"),
    "part detached": (
        lambda m, p: normal(m.exog @ p[:-1] + 0.5 * (m.exog @ p[:-1]).detach(), p[-1], m.endog),
        "with respect to const is wrong",
    ),
    "float32 inside": (lambda m, p: normal((m.exog @ p[:-1]).float().double(), p[-1], m.endog), "float32 or rounded"),
    "dropout": (
        lambda m, p: normal(torch.nn.functional.dropout(m.exog @ p[:-1], 0.2), p[-1], m.endog),
        "different values for the same parameters",
    ),
}

RIGHT = {
    "a kink in every row": lambda m, p: -(m.endog - m.exog @ p[:-1]).abs() * torch.exp(-p[-1]) - p[-1],
    "censoring": lambda m, p: torch.where(
        m.endog > 0.5, normal(m.exog @ p[:-1], p[-1], m.endog), tm.log_ndtr((0.5 - m.exog @ p[:-1]) * torch.exp(-p[-1]))
    ),
    "tiny": lambda m, p: 1e-8 * normal(m.exog @ p[:-1], p[-1], m.endog),
    "large": lambda m, p: 1e8 * normal(m.exog @ p[:-1], p[-1], m.endog),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_derivatives_are_refused(name):
    function, words = WRONG[name]
    with pytest.raises(tm.LikelihoodError, match=words):
        model(function).fit()


@pytest.mark.filterwarnings("ignore::torchmle.errors.ConvergenceWarning")
@pytest.mark.parametrize("name", RIGHT)
def test_right_derivatives_pass(name):
    results = model(RIGHT[name]).fit(maxiter=20)
    assert results.fit.status.value != "wrong_derivatives"


def test_wrong_away_from_the_start_is_no_success():
    """A branch that is right at the start and cut off from its parameter at the maximum."""

    def function(m, p):
        mu = m.exog @ p[:-1]
        return normal(torch.where(mu.detach() > 0.05, mu.detach(), mu), p[-1], m.endog)

    with pytest.warns(tm.ConvergenceWarning, match="not a maximum"):
        results = model(function).fit(maxiter=30)
    assert not results.converged
    assert results.bse.isna().all()


class FarNormal(tm.LinearPredictorModel):
    predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}

    def logdensity(self, y, mu, log_sigma):
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma


class FarOpaque(tm.GenericLikelihoodModel):
    extra_params = ("log_sigma",)

    def loglikeobs(self, params):
        log_sigma = params[-1]
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) * torch.exp(-log_sigma)) - log_sigma


@pytest.mark.parametrize(
    ("form", "shift"), [(FarNormal, 1e4), (FarNormal, 1e6), (FarNormal, 1e8), (FarOpaque, 1e4), (FarOpaque, 1e6)]
)
def test_the_rounding_of_a_response_far_from_zero_is_no_defect(form, shift):
    """Against least squares; at 1e8 a residual keeps eight digits, so that a row's value moves in steps of 1e-8."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(500), rng.standard_normal(500)])
    y = X @ [1.0, 2.0] + rng.standard_normal(500) + shift
    results = form(y, X).fit(start_params=[shift, 0.0, 1.0])
    ols = tm.OLS(y, X).fit()
    assert results.converged
    assert np.abs((results.params.to_numpy()[:2] - ols.params) / ols.bse).max() < 1e-6
