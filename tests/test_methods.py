"""Every method reaches the same maximum, or says that it did not."""

import re
import warnings

import numpy as np
import pytest
import torch

import torchmle as tm
from torchmle.optim.scipy import NAMES

CLASSES = [n for n, v in vars(torch.optim).items() if isinstance(v, type) and issubclass(v, torch.optim.Optimizer)]
IMPOSSIBLE = {
    "Optimizer": "Unknown class",
    "LBFGS": "method='lbfgs'",
    "SparseAdam": "sparse gradients.*method='adam'",
    "Muon": "refuses its options: .*2D",
}


class OwnTobit(tm.GenericLikelihoodModel):
    extra_params = ("log_sigma",)

    def loglikeobs(self, params):
        mu, log_sigma = self.exog @ params[:-1], params[-1]
        z = (self.endog - mu) * torch.exp(-log_sigma)
        inside = tm.normal_logpdf(z) - log_sigma
        return torch.where(self.endog > 0, inside, tm.log_ndtr(-mu * torch.exp(-log_sigma)))


MROZ = tm.datasets.load("mroz")
MODELS = {
    "poisson": tm.Poisson.from_formula("narr86 ~ pcnv + qemp86 + black", tm.datasets.load("crime1")),
    "logit": tm.Logit.from_formula("inlf ~ educ + age + exper + kidslt6", MROZ),
    "negative binomial": tm.NegativeBinomial.from_formula("narr86 ~ pcnv + black", tm.datasets.load("crime1")),
    "sigma": tm.OLS.from_formula("lwage ~ educ + exper", tm.datasets.load("wage1"), log_sigma="female"),
    "own": OwnTobit.from_formula("I(hours / 1000) ~ educ + kidslt6", MROZ),
}
NEWTON = {name: model.fit(method="newton") for name, model in MODELS.items()}
SURE = ["bfgs", "lbfgs", "bhhh", "scipy:BFGS", "scipy:trust-exact"]
FIRST_ORDER = ["sgd", "adam", "adagrad", "rmsprop", "torch:NAdam", "torch:Adadelta"]
OTHERS = [*FIRST_ORDER, "scipy:Nelder-Mead", "scipy:L-BFGS-B"]
EVERY = [f"scipy:{name}" for name in NAMES] + [f"torch:{name}" for name in CLASSES if name not in IMPOSSIBLE]


def fit(name, method, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return MODELS[name].fit(method=method, **kwargs), [w for w in caught if w.category is tm.ConvergenceWarning]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", [*SURE, *OTHERS])
def test_same_maximum_or_a_warning(name, method):
    results, warned = fit(name, method, maxiter=400 if method in FIRST_ORDER else None)
    assert results.converged or method in OTHERS
    same_or_flagged(name, results, warned)


@pytest.mark.parametrize("method", EVERY)
def test_every_method_of_torch_and_scipy_is_right_or_says_that_it_is_not(method):
    same_or_flagged("logit", *fit("logit", method, maxiter=200 if method.startswith("torch:") else None))


def same_or_flagged(name, results, warned):
    gap = float((abs(results.params - NEWTON[name].params) / NEWTON[name].bse).max())
    assert results.converged != bool(warned)
    if results.converged:
        # the verdict is a scaled gradient of 1e-10, which is 1e-5 standard errors
        assert gap <= 2e-5
        np.testing.assert_allclose(results.bse, NEWTON[name].bse, rtol=1e-3)
    else:
        assert results.bse.isna().all()
        assert "NOT A MAXIMUM" in str(results.summary())
        assert re.search("Raise|Check|Start|Look|Leave|Remove", results.status)


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_mini_batches_come_near_and_say_so(method):
    gaps = []
    for seed in range(5):  # the noise of single runs has a long tail
        results, warned = fit("logit", method, batch_size=50, maxiter=40, seed=seed)
        gaps.append(float((abs(results.params - NEWTON["logit"].params) / NEWTON["logit"].bse).max()))
        assert warned
        assert not results.converged
    assert np.median(gaps) < 3.0


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
        ({"method": "newton", "options": {"lr": 0.1}}, r"Unknown option.*\(none\)"),
        ({"method": "adam", "options": {"momentum": 0.9}}, "Unknown option.*'momentum'"),
        ({"method": "torch:ASGD", "options": {"lambd": 0.1}}, "Unknown option.*'lambd'"),
        ({"method": "scipy:BFGS", "options": {"maxiter": 3}}, "Unknown option.*'maxiter'"),
        ({"method": "scipy:BFGS", "options": {"disp": True}}, "Unknown option.*'disp'"),
        ({"method": "scipy:SLSQP", "options": {"gtol": 1e-8}}, "Unknown option.*'gtol'.*ftol"),
        ({"method": "scipy:BFGS", "tol": 1e-8}, "tolerances of its own"),
        ({"method": "scipy:BFGS", "maxfun": 5}, "maxfun is not available.*one piece"),
        ({"method": "scipy:BFGS", "callback": print}, "callback is not available.*one piece"),
        *(({"method": f"torch:{name}"}, words) for name, words in IMPOSSIBLE.items()),
    ],
)
def test_what_a_method_cannot_do_is_refused(arguments, words):
    with pytest.raises(tm.OptionError, match=words):
        MODELS["logit"].fit(**arguments)


NUMBERS = ["a", True, None, [1.0], float("nan"), float("inf"), -1.0]


@pytest.mark.parametrize(
    ("method", "option", "values"),
    [
        ("sgd", "lr", [v for v in NUMBERS if v is not None] + [0.0]),
        ("sgd", "momentum", NUMBERS),
        ("sgd", "nesterov", ["yes", 1, None]),
        ("sgd", "schedule", [0.5, "step", lambda epoch: "a", lambda epoch: float("nan"), lambda epoch: -1.0]),
        ("adam", "betas", [0.9, (0.9,), (0.9, float("nan")), (0.9, 2.0), ("a", 0.9), (True, 0.9)]),
        ("adam", "eps", NUMBERS),
        ("rmsprop", "centered", ["no", 0]),
        ("lbfgs", "memory", [v for v in NUMBERS if v is not None] + [0, 2.5]),
        ("scipy:BFGS", "gtol", NUMBERS),
        ("scipy:BFGS", "c1", [0.95]),
        ("scipy:trust-ncg", "eta", [0.5]),
        ("scipy:Nelder-Mead", "adaptive", ["yes", 1]),
    ],
)
def test_values_of_options_are_checked(method, option, values):
    for value in values:
        with pytest.raises(tm.OptionError, match=f"{option}|{method[6:]}"):
            MODELS["logit"].fit(method=method, options={option: value}, maxiter=2)


@pytest.mark.parametrize("method", ["scipy:TNC", "scipy:COBYLA", "scipy:L-BFGS-B", "scipy:Powell", "scipy:CG"])
def test_maxiter_reaches_scipy_and_nothing_of_its_own_is_said(method):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = MODELS["logit"].fit(method=method, maxiter=2)
    assert results.status.startswith("maxiter:")
    assert [w.category for w in caught] == [tm.ConvergenceWarning]


def test_a_likelihood_that_raises_within_scipy_is_not_taken_for_a_wrong_option():
    class Fails(OwnTobit):
        def loglikeobs(self, params):
            if float(params[-1].detach()) > 0.2:
                raise ZeroDivisionError("mine")
            return super().loglikeobs(params)

    model = Fails.from_formula("I(hours / 1000) ~ educ", MROZ)
    with pytest.raises(Exception, match="mine") as caught:
        model.fit(method="scipy:BFGS", options={"gtol": 1e-8})
    assert not isinstance(caught.value, tm.OptionError)


def test_an_interrupt_within_scipy_keeps_the_best_point():
    class Stops(OwnTobit):
        passes = 0

        def loglikeobs(self, params):
            Stops.passes += 1
            if Stops.passes == 60:
                raise KeyboardInterrupt
            return super().loglikeobs(params)

    model = Stops.from_formula("I(hours / 1000) ~ educ + kidslt6", MROZ)
    model.lifting = False
    with pytest.warns(tm.ConvergenceWarning):
        results = model.fit(method="scipy:Nelder-Mead")
    assert results.status.startswith("interrupted:")
    assert results.llf > results.history.llf.iloc[0]


@pytest.mark.parametrize("method", ["bfgs", "adam"])
def test_a_loose_tol_is_named(method):
    results, warned = fit("logit", method, tol=1e-3)
    assert warned
    assert results.status.startswith("loose: ")
    assert 1e-10 < results.fit.decrement <= 1e-3


def test_mini_batches_are_checked_too():
    results, _ = fit("logit", "sgd", batch_size=100, tol=10.0, seed=1)
    assert results.status.startswith("loose: ")
    assert results.fit.iterations < 2000


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e12])
@pytest.mark.parametrize("method", ["newton", "bfgs", "lbfgs", "bhhh", "sgd"])
def test_the_scale_of_sampling_weights_does_not_matter(scale, method):
    weights = 1.0 + np.arange(len(MROZ)) % 3
    both = [
        tm.Logit.from_formula("inlf ~ educ + kidslt6", MROZ, sampling_weights=w).fit(method=method, maxiter=500)
        for w in (weights, weights * scale)
    ]
    assert both[0].converged
    assert both[1].converged
    assert float((abs(both[0].params - both[1].params) / both[0].bse).max()) < 1e-4
    np.testing.assert_allclose(both[1].bse, both[0].bse, rtol=1e-4)


def test_bhhh_needs_scores():
    class Scalar(tm.GenericLikelihoodModel):
        def loglike(self, params):
            return tm.log_ndtr((2 * self.endog - 1) * (self.exog @ params)).sum()

    with pytest.raises(tm.OptionError, match="scores by row"):
        Scalar.from_formula("inlf ~ educ", MROZ).fit(method="bhhh")
