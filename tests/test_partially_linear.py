"""A module as part of a predictor: against a loop of plain torch, linear models, repeated rows, and known truth."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.func import functional_call

import torchmle as tm
from torchmle.testing import check_model

WAGE = tm.datasets.load("wage1")
MROZ = tm.datasets.load("mroz")
CRIME = tm.datasets.load("crime1")


class Normal(tm.LinearPredictorModel):
    """A normal response with a mean and a log standard deviation."""

    predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}

    def logdensity(self, y, mu, log_sigma):
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma

    def mean(self, mu, log_sigma):
        return mu


def tanh(inputs: int, hidden: int, seed: int = 0) -> nn.Module:
    """A small net without a bias at its end, drawn from a seed without touching the global one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))


def arrays(n: int = 200, seed: int = 0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"const": np.ones(n), "x": rng.normal(size=n)})
    Z = pd.DataFrame(rng.normal(size=(n, 2)) + 0.4 * X[["x"]].to_numpy(), columns=["z1", "z2"])
    mu = 0.5 + 0.8 * X.x + np.sin(1.5 * Z.z1) + 0.3 * Z.z2
    y = {"normal": mu + 0.5 * rng.normal(size=n), "logit": (mu + rng.logistic(size=n) > 0).astype(float)}
    y["poisson"] = rng.poisson(np.exp(0.5 * mu)).astype(float)
    return X, Z, y


# ---- against plain torch


DENSITIES = {
    "normal": lambda y, eta, s: -0.5 * ((y - eta) / s.exp()) ** 2 - s - 0.5 * math.log(2 * math.pi),
    "logit": lambda y, eta: y * eta - torch.nn.functional.softplus(eta),
    "poisson": lambda y, eta: y * eta - eta.exp() - torch.lgamma(y + 1),
}
MODELS = {"normal": Normal, "logit": tm.Logit, "poisson": tm.Poisson}


def plain_torch(kind, y, X, Z, nets, weights, theta):
    """The weighted log-likelihood, written down without any of the package."""
    K = X.shape[1]
    etas, at = [X @ theta[:K]], K
    if kind == "normal":
        etas.append(theta[at].expand(len(y)))
        at += 1
    for position, net in nets:
        named = {}
        for name, tensor in net.named_parameters():
            named[name] = theta[at : at + tensor.numel()].view(tensor.shape)
            at += tensor.numel()
        etas[position] = etas[position] + functional_call(net, named, (Z,)).squeeze(-1)
    assert at == len(theta)
    return weights @ DENSITIES[kind](y, *etas)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kind", "parts"), [("normal", 1), ("normal", 2), ("logit", 1), ("poisson", 1)])
def test_value_score_and_hessian_are_those_of_plain_torch(kind, parts, weighted):
    X, Z, ys = arrays()
    names = ["mu", "log_sigma"][:parts] if kind == "normal" else ["eta"]
    nets = [(j, tanh(2, 3, seed=j).double()) for j in range(parts)]
    w = np.random.default_rng(1).integers(1, 4, len(X)) if weighted else np.ones(len(X))
    model = MODELS[kind](
        ys[kind],
        X,
        modules={name: tm.module(net, Z) for name, (_, net) in zip(names, nets, strict=True)},
        **({"freq_weights": w} if weighted else {}),
    )
    theta = torch.from_numpy(0.3 * np.random.default_rng(2).normal(size=len(model.param_names)))
    params = theta.clone()
    natural = kind == "normal" and parts == 1  # reported as sigma, and not as its logarithm
    if natural:
        params[2] = theta[2].exp()
    given = [torch.from_numpy(np.array(a, dtype=float)) for a in (ys[kind], X, Z)]

    def loglike(at):
        at = torch.cat([at[:2], at[2:3].log(), at[3:]]) if natural else at
        return plain_torch(kind, *given, nets, torch.from_numpy(w.astype(float)), at)

    score = torch.autograd.functional.jacobian(loglike, params)
    hessian = torch.autograd.functional.hessian(loglike, params)
    assert model.loglike(params) == pytest.approx(float(loglike(params)), rel=1e-12)
    np.testing.assert_allclose(model.score(params), score, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(model.hessian(params), hessian, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(model.score_obs(params).T @ w, score, rtol=1e-10, atol=1e-10)


# ---- a linear net is a linear model


def flat(inputs: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Linear(inputs, 1, bias=False)


LINEAR = {
    "ols": (tm.OLS, "lwage ~ educ", "exper + tenure", WAGE, "mu"),
    "logit": (tm.Logit, "inlf ~ educ", "age + kidslt6", MROZ, "eta"),
    "poisson": (tm.Poisson, "narr86 ~ pcnv", "inc86 + ptime86", CRIME, "eta"),
}
COVARIANCES = [("nonrobust", {}), ("opg", {}), ("HC1", {}), ("cluster", {"groups": "g"})]


@pytest.mark.parametrize("case", LINEAR)
def test_a_linear_net_is_the_linear_model(case):
    cls, formula, inputs, data, predictor = LINEAR[case]
    data = data.assign(g=np.arange(len(data)) % 40)
    part = {predictor: tm.module(flat(2), inputs)}
    plain = cls.from_formula(f"{formula} + {inputs}", data).fit(method="newton")
    res = cls.from_formula(formula, data, modules=part).fit(method="newton")
    names = [n for n in plain.params.index if n in res.params.index]
    order = [*names, *[n for n in res.params.index if "_net:" in n]]
    theirs = [*names, *[t for t in inputs.split(" + ")]]
    assert res.converged
    np.testing.assert_allclose(res.params[order], plain.params[theirs], rtol=1e-8)
    assert res.llf == pytest.approx(plain.llf, rel=1e-12)
    for cov_type, kwds in COVARIANCES:
        reference = plain.with_cov(cov_type, kwds).bse
        found = res.with_cov(cov_type, {**kwds, "net": "all"}).bse
        np.testing.assert_allclose(found[order], reference[theirs], rtol=1e-7)
        default = res.with_cov(cov_type, kwds).bse
        np.testing.assert_allclose(default[names], reference[names], rtol=1e-7)
        assert default[order[len(names) :]].isna().all()


@pytest.mark.parametrize("cov_type", ["nonrobust", "opg", "HC0", "cluster"])
def test_errors_given_the_net_are_those_with_its_answers_as_an_offset(cov_type):
    data = WAGE.assign(g=np.arange(len(WAGE)) % 40)
    kwds = {"groups": "g"} if cov_type == "cluster" else {}
    res = Normal.from_formula("lwage ~ educ", data, modules={"mu": tm.module(flat(2), "exper + tenure")}).fit()
    answers = res.params.iloc[-2] * data.exper + res.params.iloc[-1] * data.tenure
    known = Normal.from_formula("lwage ~ educ", data, offset=answers).fit()
    found = res.with_cov(cov_type, {**kwds, "net": "given"})
    np.testing.assert_allclose(found.bse.iloc[:3], known.with_cov(cov_type, kwds).bse, rtol=1e-6)
    assert "given the weights of the net" in " ".join(str(found.summary()).split())
    assert found.bse.iloc[3:].isna().all()
