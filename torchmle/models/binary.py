"""Fit binary responses: logit and probit."""

from __future__ import annotations

import torch
from torch import Tensor

from ..special import log_ndtr, log_sigmoid
from .predictors import LinearPredictorModel
from .support import require_binary


class _Binary(LinearPredictorModel):
    """Share what binary responses have in common; ``mean`` is the probability of 1."""

    predictors = {"eta": "1"}
    response: str | None = "binary"
    takes_exposure = False

    def check_endog(self) -> None:
        """Refuse anything but 0 and 1."""
        require_binary(self.data, type(self).__name__)

    def recession_signs(self) -> Tensor:
        """Return 1 where the response is 1, else -1."""
        return 2 * self.endog - 1

    def variance(self, *etas: Tensor) -> Tensor:
        """Return ``p (1 - p)``."""
        p = self.mean(*etas)
        return p * (1 - p)

    def simulate_endog(self, *etas: Tensor, generator: torch.Generator) -> Tensor:
        """Return 1 with the probability of the row, else 0."""
        drawn = torch.rand(len(etas[0]), generator=generator, dtype=etas[0].dtype, device="cpu")
        return (drawn < self.mean(*etas)).to(etas[0].dtype)

    def saturated(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return zero: each row has probability one."""
        return torch.zeros_like(y)

    def cdf(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return 0 below 0, ``1 - p`` below 1, else 1."""
        below = 1 - self.mean(*etas)
        return torch.where(y < 0, torch.zeros_like(below), torch.where(y < 1, below, torch.ones_like(below)))


class Logit(_Binary):
    """Fit a logit: ``P(y = 1) = 1 / (1 + exp(-eta))``.

    The log-likelihood of a row is ``log Lambda(q eta)`` with ``q = 2 y - 1`` (Greene 2018, section 17.3). The
    response is 0/1 or bool.

    Examples
    --------
    >>> import torchmle as tm
    >>> res = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
    >>> print(round(res.params["educ"], 4))
    0.1681
    """

    def logdensity(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return ``log Lambda(q eta)``."""
        return log_sigmoid((2 * y - 1) * etas[0])

    def mean(self, *etas: Tensor) -> Tensor:
        """Return the probability of 1."""
        return torch.sigmoid(etas[0])


class Probit(_Binary):
    """Fit a probit: ``P(y = 1) = Phi(eta)``.

    The log-likelihood of a row is ``log Phi(q eta)`` with ``q = 2 y - 1`` (Greene 2018, section 17.3).

    Examples
    --------
    >>> import torchmle as tm
    >>> res = tm.Probit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
    >>> res.converged
    True
    """

    def logdensity(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return ``log Phi(q eta)``."""
        return log_ndtr((2 * y - 1) * etas[0])

    def mean(self, *etas: Tensor) -> Tensor:
        """Return the probability of 1."""
        probability: Tensor = torch.special.ndtr(etas[0])
        return probability
