"""Write down log-likelihoods as their users do: for torchmle in both forms, and in plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from problems import Problem
from torch import Tensor
from torch.nn.functional import softplus

import torchmle as tm

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Normal(tm.LinearPredictorModel):
    """A normal regression; log sigma is a second predictor."""

    predictors = {"mu": "1", "log_sigma": "1"}

    def logdensity(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the normal log-density."""
        mu, log_sigma = etas
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma


class Tobit(tm.LinearPredictorModel):
    """A normal regression censored at zero."""

    predictors = {"mu": "1", "log_sigma": "1"}

    def logdensity(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the log-density above zero, and the log-probability of zero."""
        mu, log_sigma = etas
        above = tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma
        return torch.where(y > 0, above, tm.log_ndtr(-mu * torch.exp(-log_sigma)))


class OpaqueNormal(tm.GenericLikelihoodModel):
    """The same as :class:`Normal`, of one vector of parameters."""

    extra_params = ("log_sigma",)

    def loglikeobs(self, params: Tensor) -> Tensor:
        """Return the log-likelihood of each row."""
        z = (self.endog - self.exog @ params[:-1]) * torch.exp(-params[-1])
        return tm.normal_logpdf(z) - params[-1]


class OpaqueTobit(tm.GenericLikelihoodModel):
    """The same as :class:`Tobit`, of one vector of parameters."""

    extra_params = ("log_sigma",)

    def loglikeobs(self, params: Tensor) -> Tensor:
        """Return the log-likelihood of each row."""
        mu, log_sigma = self.exog @ params[:-1], params[-1]
        above = tm.normal_logpdf((self.endog - mu) * torch.exp(-log_sigma)) - log_sigma
        return torch.where(self.endog > 0, above, tm.log_ndtr(-mu * torch.exp(-log_sigma)))


class OpaqueHetero(tm.GenericLikelihoodModel):
    """A normal regression with regressors ``Z`` of log sigma, of one vector of parameters."""

    extra_params = tuple(f"log_sigma:z{j}" for j in range(10))
    Z: Tensor

    def loglikeobs(self, params: Tensor) -> Tensor:
        """Return the log-likelihood of each row."""
        k = self.exog.shape[1]
        log_sigma = self.Z @ params[k:]
        return tm.normal_logpdf((self.endog - self.exog @ params[:k]) * torch.exp(-log_sigma)) - log_sigma


class OpaqueLogit(tm.GenericLikelihoodModel):
    """A logit in one line."""

    def loglikeobs(self, params: Tensor) -> Tensor:
        """Return the log-likelihood of each row."""
        return tm.log_sigmoid((2 * self.endog - 1) * (self.exog @ params))


OPAQUE: dict[str, Any] = {"normal": OpaqueNormal, "tobit": OpaqueTobit, "hetero": OpaqueHetero, "logit": OpaqueLogit}
DECLARATIVE: dict[str, Any] = {
    "normal": Normal,
    "tobit": Tobit,
    "hetero": Normal,
    "logit": tm.Logit,
    "probit": tm.Probit,
    "poisson": tm.Poisson,
    "nb2": tm.NegativeBinomial,
}


def torch_loss(problem: Problem) -> Callable[[Tensor], Tensor]:
    """Return minus the log-likelihood in plain torch, with nothing of torchmle in it."""
    y, X = torch.from_numpy(problem.y), torch.from_numpy(problem.X)
    Z = None if problem.Z is None else torch.from_numpy(problem.Z)
    k, kind = X.shape[1], problem.kind

    def loss(params: Tensor) -> Tensor:
        mu = X @ params[:k]
        if kind == "logit":
            return -(y * mu - softplus(mu)).sum()
        log_sigma = params[k] if Z is None else Z @ params[k:]
        above = -HALF_LOG_2PI - log_sigma - 0.5 * ((y - mu) * torch.exp(-log_sigma)) ** 2
        if kind != "tobit":
            return -above.sum()
        return -torch.where(y > 0, above, torch.special.log_ndtr(-mu * torch.exp(-log_sigma))).sum()

    return loss
