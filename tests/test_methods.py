"""Every method reaches the same maximum, or says that it did not."""

import warnings

import numpy as np
import pytest
import torch

import torchmle as tm


class OwnTobit(tm.GenericLikelihoodModel):
    extra_params = ("log_sigma",)

    def loglikeobs(self, params):
        mu, log_sigma = self.exog @ params[:-1], params[-1]
        z = (self.endog - mu) * torch.exp(-log_sigma)
        inside = tm.normal_logpdf(z) - log_sigma
        return torch.where(self.endog > 0, inside, tm.log_ndtr(-mu * torch.exp(-log_sigma)))


MROZ = tm.datasets.load("mroz")
MODELS = {
    "logit": tm.Logit.from_formula("inlf ~ educ + age + exper + kidslt6", MROZ),
    "negative binomial": tm.NegativeBinomial.from_formula("narr86 ~ pcnv + black", tm.datasets.load("crime1")),
    "sigma": tm.OLS.from_formula("lwage ~ educ + exper", tm.datasets.load("wage1"), log_sigma="female"),
    "own": OwnTobit.from_formula("I(hours / 1000) ~ educ + kidslt6", MROZ),
}
NEWTON = {name: model.fit(method="newton") for name, model in MODELS.items()}
SURE = ["bfgs", "lbfgs", "bhhh", "scipy:BFGS", "scipy:trust-exact"]
OTHERS = ["sgd", "adam", "adagrad", "rmsprop", "torch:NAdam", "torch:AdamW", "scipy:Nelder-Mead", "scipy:L-BFGS-B"]


def fit(name, method, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return MODELS[name].fit(method=method, **kwargs), [w for w in caught if w.category is tm.ConvergenceWarning]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", [*SURE, *OTHERS])
def test_same_maximum_or_a_warning(name, method):
    results, warned = fit(name, method)
    gap = float((abs(results.params - NEWTON[name].params) / NEWTON[name].bse).max())
    assert results.converged or method in OTHERS
    assert results.converged != bool(warned)
    if results.converged:
        # the verdict is a scaled gradient of 1e-10, which is 1e-5 standard errors
        assert gap <= 2e-5
        np.testing.assert_allclose(results.bse, NEWTON[name].bse, rtol=1e-3)
    else:
        assert results.bse.isna().all()
        assert "NOT A MAXIMUM" in str(results.summary())


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_mini_batches_come_near_and_say_so(method):
    results, warned = fit("logit", method, batch_size=50, maxiter=40, seed=3)
    gap = float((abs(results.params - NEWTON["logit"].params) / NEWTON["logit"].bse).max())
    assert gap < 3.0
    assert warned
    assert not results.converged


def test_a_seed_gives_the_same_bits():
    one, two, other = (fit("logit", "sgd", batch_size=50, maxiter=3, seed=s)[0].params for s in (5, 5, 6))
    assert (one == two).all()
    assert (one != other).any()


def test_momentum_and_schedule_reach_torch():
    slow, _ = fit("logit", "sgd", maxiter=20, options={"lr": 0.1})
    fast, _ = fit("logit", "sgd", maxiter=20, options={"lr": 0.1, "momentum": 0.9})
    none, _ = fit("logit", "sgd", maxiter=20, options={"lr": 0.1, "schedule": lambda epoch: 0.0})
    assert fast.llf > slow.llf > none.llf
    assert none.llf == none.history.llf.iloc[0]


def test_history_is_a_table():
    results = NEWTON["logit"]
    assert list(results.history.columns) == ["iteration", "llf", "gradient", "decrement", "step", "seconds"]
    assert results.history.llf.is_monotonic_increasing
    assert results.history.llf.iloc[-1] == results.llf


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "newtn"}, "Did you mean 'newton'"),
        ({"method": 3}, "must be the name of a method"),
        ({"method": "scipy:LBFGS"}, "Did you mean 'BFGS'.*L-BFGS-B"),
        ({"method": "torch:Adm"}, "Did you mean 'Adam'"),
        ({"method": "torch:LBFGS"}, "method='lbfgs'"),
        ({"method": "newton", "batch_size": 10}, "needs all rows"),
        ({"method": "sgd", "options": {"weight_decay": 0.1}}, "Unknown option"),
        ({"method": "lbfgs", "options": {"memry": 5}}, "Did you mean 'memory'"),
        ({"method": "newton", "options": {"standardize": False}}, "always scales"),
    ],
)
def test_what_a_method_cannot_do_is_refused(arguments, words):
    with pytest.raises(tm.OptionError, match=words):
        MODELS["logit"].fit(**arguments)


def test_bhhh_needs_scores():
    class Scalar(tm.GenericLikelihoodModel):
        def loglike(self, params):
            return tm.log_ndtr((2 * self.endog - 1) * (self.exog @ params)).sum()

    with pytest.raises(tm.OptionError, match="scores by row"):
        Scalar.from_formula("inlf ~ educ", MROZ).fit(method="bhhh")
