"""Multinomial probits, against normal distribution functions, statsmodels' binary probit and finite differences."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import statsmodels.api as sm
import torch
from scipy.stats import multivariate_normal

import torchmle as tm
from torchmle.loglik.ghk import log_ndtri, log_probability

LABELS = ["bus", "train", "bike", "car"]
CHOL = [0.3, 0.9, -0.2, 0.4, 1.1]


def choices(S: int, J: int, seed: int = 3, **own):
    """Return a model with arrays of S situations and J alternatives."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(S, J, 2))
    return tm.MultinomialProbit(np.array(LABELS)[rng.integers(0, J, S)], X, alternatives=LABELS[:J], **own), X


def exact(V: np.ndarray, omega: np.ndarray, i: int, open_to: np.ndarray) -> float:
    """Return the probability of alternative i by integrating the normal density of the differences of errors."""
    J = len(V)
    whole = np.zeros((J, J))
    whole[1:, 1:] = omega
    others = [j for j in range(J) if j != i and open_to[j]]
    M = np.zeros((len(others), J))
    M[:, i] = -1
    M[np.arange(len(others)), others] = 1
    law = multivariate_normal(cov=M @ whole @ M.T, abseps=1e-9, maxpts=4_000_000)
    return float(law.cdf(V[i] - V[others]))


@pytest.mark.parametrize("J", [3, 4])
@pytest.mark.parametrize("closed", [None, 1])
def test_probabilities_are_those_of_the_normal_distribution(J, closed):
    """4,000 Sobol draws: the error of simulation is some 1e-4."""
    available = np.ones((6, J), dtype=bool)
    if closed is not None:
        available[:, closed] = False
    rng = np.random.default_rng(5)
    X = rng.normal(size=(6, J, 2))
    first = np.array(LABELS)[np.argmax(available, 1)]
    own = {"draws": tm.Draws("sobol", 4096), "available": available}
    model = tm.MultinomialProbit(first, X, alternatives=LABELS[:J], **own)
    chol = CHOL[: {3: 2, 4: 5}[J]]
    params = torch.tensor([0.7, -0.4, *chol], dtype=torch.float64)
    omega = model.error_covariance(params).numpy()
    V = X @ params[:2].numpy()
    logp = model.log_probabilities(torch.from_numpy(V), params, torch.from_numpy(available)).exp().numpy()
    for s in range(6):
        for i in range(J):
            wanted = exact(V[s], omega, i, available[s]) if available[s, i] else 0.0
            assert logp[s, i] == pytest.approx(wanted, abs=5e-4)
    np.testing.assert_allclose(model.loglikeobs(params).exp(), logp[np.arange(6), np.argmax(available, 1)], rtol=1e-12)


def test_the_factor_is_that_of_the_covariance():
    model, _ = choices(20, 4, draws=10)
    L = np.array([[1, 0, 0], [0.3, 0.9, 0], [-0.2, 0.4, 1.1]])
    params = torch.tensor([0.0, 0.0, *CHOL], dtype=torch.float64)
    np.testing.assert_allclose(model.error_covariance(params), L @ L.T, rtol=1e-15)
    assert model.param_names[2:] == (
        "chol:bike:train",
        "chol:bike:bike",
        "chol:car:train",
        "chol:car:bike",
        "chol:car:car",
    )


def test_two_alternatives_are_the_binary_probit():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 2, 2))
    y = (X[:, 1] - X[:, 0]) @ [0.8, -0.5] + rng.normal(size=300) > 0
    res = tm.MultinomialProbit(y.astype(int), X).fit()
    theirs = sm.Probit(y.astype(float), X[:, 1] - X[:, 0]).fit(disp=0, tol=1e-12)
    np.testing.assert_allclose(res.params, theirs.params, rtol=1e-8)
    np.testing.assert_allclose(res.bse, theirs.bse, rtol=1e-8)
    assert res.llf == pytest.approx(theirs.llf, rel=1e-12)


def test_derivatives_are_those_of_differences():
    model, _ = choices(40, 4, draws=20)
    at = np.array([0.6, -0.3, *CHOL])
    h = 1e-5
    steps = h * np.eye(len(at))
    score = [(model.loglike(at + s) - model.loglike(at - s)) / (2 * h) for s in steps]
    hessian = [(model.score(at + s) - model.score(at - s)) / (2 * h) for s in steps]
    np.testing.assert_allclose(model.score(at), score, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(model.hessian(at), hessian, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.score_obs(at).sum(0), model.score(at), rtol=1e-10)


def test_estimates_recover_what_the_choices_were_drawn_with():
    """Errors drawn from the normal distribution itself, not by the model; within four standard errors."""
    rng = np.random.default_rng(8)
    omega = np.array([[1.0, 0.6], [0.6, 1.5]])
    X = rng.normal(size=(3000, 3, 2))
    errors = np.column_stack([np.zeros(3000), rng.multivariate_normal([0, 0], omega, 3000)])
    y = (X @ [0.9, -0.6] + errors).argmax(1)
    res = tm.MultinomialProbit(y, X, draws=60).fit()
    L = np.linalg.cholesky(omega)
    truth = np.array([0.9, -0.6, L[1, 0], L[1, 1]])
    assert res.converged
    assert (np.abs(res.params.to_numpy() - truth) < 4 * res.bse.to_numpy()).all()
    assert (res.bse.to_numpy() < 0.2).all()


@pytest.mark.parametrize("log_p", [-1e-12, -1e-3, -1.0, -40.0, -599.0, -601.0, -5000.0])
def test_the_inverse_in_logarithms_has_its_value_and_derivatives(log_p):
    """Against mpmath; derivatives of the inverse are 1/h and (x + h)/h^2, h the hazard."""
    y = torch.tensor(log_p, dtype=torch.float64, requires_grad=True)
    x = log_ndtri(y)
    (first,) = torch.autograd.grad(x, y, create_graph=True)
    (second,) = torch.autograd.grad(first, y)
    with mpmath.workdps(60):
        root = mpmath.findroot(lambda t: mpmath.log(mpmath.ncdf(t)) - mpmath.mpf(log_p), mpmath.mpf(x.item()))
        hazard = mpmath.npdf(root) / mpmath.ncdf(root)
        wanted = [float(root), float(1 / hazard), float((root + hazard) / hazard**2)]
    np.testing.assert_allclose([x.item(), first.item(), second.item()], wanted, rtol=1e-11)


@pytest.mark.parametrize("log_p", [-1e-12, -1e-8, -1.0, -90.0, -120.0, -800.0])
def test_the_inverse_in_logarithms_is_right_in_single_precision(log_p):
    """Against double precision: probabilities that are 0 or 1 in float32 have their quantiles, to its seven digits."""
    single = log_ndtri(torch.tensor(log_p, dtype=torch.float32))
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(float(log_ndtri(torch.tensor(log_p, dtype=torch.float64))), rel=2e-6)


def test_tails_are_finite_with_their_derivatives():
    """At 40 standard deviations, as in a probit: the choice is improbable in the first difference and in the last."""
    log_u = torch.tensor([0.2, 0.7], dtype=torch.float64).log()[None, :, None]
    for ends in ([-40.0, 1.0], [1.0, -40.0], [40.0, 40.0], [-40.0, -40.0]):
        c = torch.tensor([ends], dtype=torch.float64, requires_grad=True)
        root = torch.tensor([[1.0, 0.0], [0.5, 0.9]], dtype=torch.float64)
        value = log_probability(c, root, log_u)
        (gradient,) = torch.autograd.grad(value.sum(), c, create_graph=True)
        (curvature,) = torch.autograd.grad(gradient.sum(), c)
        assert bool(torch.isfinite(torch.stack([gradient, curvature])).all() and torch.isfinite(value).all())
        assert float(value.detach()) <= 0
        assert bool((gradient != 0).all()) == (min(ends) < 0)


def test_new_data_and_files(tmp_path):
    trips = tm.datasets.load("trips")
    layout = {"alternatives": "mode", "situations": "trip"}
    res = tm.MultinomialProbit.from_formula("chosen ~ time + cost", trips, draws=100, **layout).fit()
    shares = trips.groupby("mode", sort=False)["chosen"].sum() / trips["trip"].nunique()
    found = res.shares().table["estimate"]
    np.testing.assert_allclose(found[shares.index], shares, atol=0.02)  # of a logit with constants they are equal
    dearer = res.shares(trips.assign(cost=trips.cost + 2 * (trips["mode"] == "car"))).table["estimate"]
    assert dearer["car"] < found["car"] - 0.02
    with pytest.warns(tm.DataWarning, match="Give the model"):
        res.save(tmp_path / "probit.tm")
    again = tm.load(tmp_path / "probit.tm", model=res.model)
    np.testing.assert_array_equal(again.params, res.params)
    with pytest.raises(tm.UndefinedStatisticError, match="worth"):
        res.surplus("cost")


@pytest.mark.parametrize(("own", "said"), [
    ({"draws": tm.Draws("gauss_hermite", 5)}, "GHK needs draws"),
    ({"draws": 2.5}, "whole number"),
    ({"draws": 100_000_000}, "GB"),
    ({"nests": {}}, "nests"),
])  # fmt: skip
def test_what_it_cannot_do_is_said(own, said):
    with pytest.raises(tm.OptionError, match=said):
        choices(30, 4, **own)
