"""Fit counts: Poisson and negative binomial."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from ..params.natural import predictor
from ..special import nb2_logpmf_log, poisson_logpmf_log
from .outcomes import Expectation
from .predictors import LinearPredictorModel
from .support import require_counts

Array = np.ndarray[Any, np.dtype[np.float64]]

WHOLE = 2.0**53
"""Mean above which float64 does not tell a count from the next; torch's draws turn negative above 2^63."""


def _poisson(mean: Tensor, generator: torch.Generator) -> Tensor:
    """Return Poisson draws, NaN where the mean is too large for counts."""
    drawn = torch.poisson(torch.where(mean < WHOLE, mean, torch.zeros_like(mean)), generator=generator)
    return torch.where(mean < WHOLE, drawn, torch.full_like(drawn, torch.nan))


class Poisson(LinearPredictorModel):
    """Fit a Poisson regression: ``E(y) = exp(eta)``.

    ``log f = y eta - exp(eta) - log y!`` (Cameron and Trivedi 2013, equation 3.2). Fractions are accepted with a
    warning, as pseudo maximum likelihood.

    Examples
    --------
    >>> import torchmle as tm
    >>> res = tm.Poisson.from_formula("narr86 ~ pcnv + inc86", tm.datasets.load("crime1")).fit(cov_type="HC1")
    >>> res.converged
    True
    """

    predictors = {"eta": "1"}
    response: str | None = "count"

    def check_endog(self) -> None:
        """Refuse negative responses."""
        require_counts(self.data, type(self).__name__, fractions=True)

    def recession_signs(self) -> Tensor:
        """Return -1 where the count is 0: its log-probability rises as the mean falls."""
        return -(self.endog == 0).to(self.endog.dtype)

    def logdensity(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the log-probability of the count."""
        return poisson_logpmf_log(y, etas[0])

    def variance(self, *etas: Tensor) -> Tensor:
        """Return the mean."""
        return torch.exp(etas[0])

    def expected_information(self, *etas: Tensor) -> Expectation:
        """Return the mean."""
        return [[torch.exp(etas[0])]]

    def simulate_endog(self, *etas: Tensor, generator: torch.Generator) -> Tensor:
        """Return Poisson draws."""
        return _poisson(torch.exp(etas[0]), generator)

    def saturated(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the log-probability at ``mu = y``."""
        there = poisson_logpmf_log(y, torch.log(torch.where(y > 0, y, torch.ones_like(y))))
        return torch.where(y > 0, there, torch.zeros_like(y))

    def cdf(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the upper incomplete gamma function of ``y + 1`` at the mean."""
        found: Tensor = torch.special.gammaincc((y.floor() + 1).clamp(min=1e-300), torch.exp(etas[0]))
        return torch.where(y < 0, torch.zeros_like(y), found)

    def mean(self, *etas: Tensor) -> Tensor:
        """Return the expected count."""
        return torch.exp(etas[0])

    def distribution(self, *etas: Array) -> Any:
        """Return the distribution of each row, of scipy.stats."""
        from scipy import stats

        return stats.poisson(np.exp(etas[0]))


class NegativeBinomial(LinearPredictorModel):
    """Fit a negative binomial regression, NB2: ``E(y) = mu = exp(eta)`` and ``Var(y) = mu + alpha mu^2``.

    Density of Cameron and Trivedi (2013), equation 3.26; the dispersion ``alpha`` may have a formula (``log_alpha=``).

    Examples
    --------
    >>> import torchmle as tm
    >>> res = tm.NegativeBinomial.from_formula("narr86 ~ pcnv + inc86", tm.datasets.load("crime1")).fit()
    >>> list(res.params.index)
    ['Intercept', 'pcnv', 'inc86', 'alpha']
    """

    predictors = {"eta": "1", "log_alpha": predictor("1", natural="alpha", transform=torch.exp)}
    response: str | None = "count"

    def check_endog(self) -> None:
        """Refuse negative responses and fractions."""
        require_counts(self.data, type(self).__name__, fractions=False)

    def recession_signs(self) -> Tensor:
        """Return -1 where the count is 0: its log-probability rises as the mean falls."""
        return -(self.endog == 0).to(self.endog.dtype)

    def logdensity(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the log-probability of the count."""
        eta, log_alpha = etas
        return nb2_logpmf_log(y, eta, log_alpha)

    def variance(self, *etas: Tensor) -> Tensor:
        """Return ``mu + alpha mu^2``."""
        mu = torch.exp(etas[0])
        return mu + torch.exp(etas[1]) * mu**2

    def simulate_endog(self, *etas: Tensor, generator: torch.Generator) -> Tensor:
        """Return Poisson draws whose means are gamma distributed about mu with variance ``alpha mu^2``."""
        size = torch.exp(-etas[1])
        mixed = torch._standard_gamma(size, generator=generator) * torch.exp(etas[0] + etas[1])
        return _poisson(mixed, generator)

    def saturated(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the log-probability at ``mu = y``, for the same alpha."""
        there = nb2_logpmf_log(y, torch.log(torch.where(y > 0, y, torch.ones_like(y))), etas[1])
        return torch.where(y > 0, there, torch.zeros_like(y))

    def cdf(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return ``I_p(1/alpha, y + 1)`` with ``p = 1 / (1 + alpha mu)``."""
        size = torch.exp(-etas[1])
        p = torch.sigmoid(-etas[0] - etas[1])
        found = special.betainc(*(v.double().cpu().numpy() for v in (size, (y + 1).clamp(min=1e-300), p)))
        return torch.where(y < 0, torch.zeros_like(y), torch.from_numpy(found).to(y))

    def mean(self, *etas: Tensor) -> Tensor:
        """Return the expected count."""
        return torch.exp(etas[0])

    def distribution(self, *etas: Array) -> Any:
        """Return the distribution of each row, of scipy.stats."""
        from scipy import stats

        return stats.nbinom(np.exp(-etas[1]), special.expit(-etas[0] - etas[1]))
