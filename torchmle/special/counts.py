"""Log-probabilities of counts."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from .derivatives import Curvatures, Surface, surface
from .loggamma import SHIFT, horner, log_rise, rise_first, rise_second
from .tables import Counts


def poisson_logpmf(y: Tensor, mu: Tensor) -> Tensor:
    """Return the Poisson log-probability ``y log(mu) - mu - log(y!)``.

    ``y``: counts; ``mu >= 0``: means; shapes that broadcast. At y = 0 it is ``-mu``, even for mu = 0.

    >>> poisson_logpmf(torch.tensor([0, 2]), torch.tensor([0.0, 2.0], dtype=torch.float64))
    tensor([ 0.0000, -1.3069], dtype=torch.float64)
    """
    y = _counts(y, mu)
    safe = torch.where(y == 0, 1.0, mu)  # 0 log 0 = 0, with derivative 0 and not 0/0
    return y * torch.log(safe) - mu - Counts(y).log_factorial()


def poisson_logpmf_log(y: Tensor, log_mu: Tensor) -> Tensor:
    """Return the Poisson log-probability from the log-mean, ``y log_mu - exp(log_mu) - log(y!)``.

    ``y``: counts; ``log_mu``: up to 700; shapes that broadcast.

    >>> poisson_logpmf_log(torch.tensor([3, 0]), torch.tensor([0.0, 1.0], dtype=torch.float64))
    tensor([-2.7918, -2.7183], dtype=torch.float64)
    """
    y = _counts(y, log_mu)
    return y * log_mu - torch.exp(log_mu) - Counts(y).log_factorial()


def nbinom_logpmf(y: Tensor, size: Tensor, prob: Tensor) -> Tensor:
    """Return the negative binomial log-probability of y failures before the ``size``-th success.

    ``log Gamma(y + size) - log Gamma(size) - log(y!) + size log(prob) + y log(1 - prob)``, scipy's
    ``nbinom.logpmf``. ``y``: counts; ``size > 0``; ``0 < prob <= 1``; shapes that broadcast. With a mean, use
    `nb2_logpmf_log`: as alpha goes to 0, ``prob`` rounds to 1.

    >>> nbinom_logpmf(torch.tensor([2]), *torch.tensor([[1.0], [0.5]], dtype=torch.float64))
    tensor([-2.0794], dtype=torch.float64)
    """
    return surface(size, prob, _NegativeBinomial(_counts(y, prob)))


def nb2_logpmf_log(y: Tensor, log_mu: Tensor, log_alpha: Tensor) -> Tensor:
    """Return the NB2 log-probability, with mean ``mu`` and variance ``mu + alpha mu^2``.

    ``log Gamma(y + s) - log Gamma(s) - log(y!) - (s + y) log(1 + alpha mu) + y log(alpha mu)``, s = 1/alpha
    (Cameron & Trivedi 2013, section 3.3). ``y``: counts; ``log_mu``: up to 700; ``log_alpha``: within +-500;
    shapes that broadcast. As alpha goes to 0 the value becomes the Poisson's and the derivatives by log_alpha
    keep their relative accuracy (they go as ``alpha/2 ((y - mu)^2 - y)``).

    >>> y, log_mu = torch.tensor([3]), torch.tensor([0.0], dtype=torch.float64)
    >>> nb2_logpmf_log(y, log_mu, torch.tensor(-40.0, dtype=torch.float64))
    tensor([-2.7918], dtype=torch.float64)
    """
    return surface(log_mu, log_alpha, _NB2(Counts(_counts(y, log_mu))))


def _counts(y: Tensor, like: Tensor) -> Tensor:
    """Return y in floating point: torch would send integers through the global default dtype."""
    return y.detach() if y.is_floating_point() else y.to(like.dtype)


@final
@dataclass(frozen=True, eq=False)
class _NegativeBinomial(Surface):
    y: Tensor

    def value(self, a: Tensor, b: Tensor) -> Tensor:
        rise = log_rise(self.y, a) + self.y * torch.log(a + SHIFT)
        return rise - Counts(self.y).log_factorial() + a * torch.log(b) + self.y * torch.log1p(-self.safe(b))

    def slopes(self, a: Tensor, b: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        rise = torch.log1p(self.y / (a + SHIFT)) + rise_first(self.y, a) / a
        return rise + torch.log(b), a / b - self.y / (1 - self.safe(b))

    def curvatures(self, a: Tensor, b: Tensor, value: Tensor, d_a: Tensor, d_b: Tensor) -> Curvatures:
        top = a + SHIFT
        return (
            lambda: -self.y / (top + self.y) / top - rise_second(self.y, a) / a / a,
            lambda: b.reciprocal(),
            lambda: -a / torch.square(b) - self.y / torch.square(1 - self.safe(b)),
        )

    def safe(self, prob: Tensor) -> Tensor:
        """Return prob, or 0 where y = 0, so that prob = 1 gives 0 log 0 = 0."""
        return torch.where(self.y == 0, 0.0, prob)


@final
@dataclass(frozen=True, eq=False)
class _NB2(Surface):
    """By (log_mu, log_alpha), with ``s = 1/alpha``, ``share = alpha mu / (1 + alpha mu)``.

    With ``q = (y - mu)/(s + mu)`` the slopes are ``s q`` and ``-s (log(1 + q) - q)`` plus what the shift and
    Stirling's series add: no term is larger than of order alpha as alpha goes to 0.
    """

    counts: Counts

    def value(self, a: Tensor, b: Tensor) -> Tensor:
        b = _narrow(b)
        growth = -torch.nn.functional.logsigmoid(-a - b)  # log(1 + alpha mu)
        # Below -37 log(1 + alpha mu) / alpha is mu to the last digit, and 1/alpha may overflow.
        cost = torch.where(a + b < -37.0, torch.exp(a), torch.exp(-b) * growth)
        return self.counts.apply(_rise, _size(b)) + self.counts.y * (a - growth) - cost

    def slopes(self, a: Tensor, b: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        y, b = self.counts.y, _narrow(b)
        s, c = _size(b), a + b
        rest = torch.sigmoid(-c)
        by_mu = y * rest - _harmonic(a, b, torch.sigmoid(c), rest)
        log_ratio = self.counts.apply(_log_excess, s) + torch.nn.functional.logsigmoid(-c)  # log(1 + q)
        return by_mu, self.counts.apply(_rise_first, s) - _scaled_log1pmx(s, by_mu, log_ratio)

    def curvatures(self, a: Tensor, b: Tensor, value: Tensor, d_a: Tensor, d_b: Tensor) -> Curvatures:
        y, b = self.counts.y, _narrow(b)
        share, rest = torch.sigmoid(a + b), torch.sigmoid(-a - b)

        def bb() -> Tensor:
            s = _size(b)
            return self.counts.apply(_rise_second, s) + d_a / (s + y) * d_a - d_b

        return lambda: -rest * (y * share + _harmonic(a, b, share, rest)), lambda: -share * d_a, bb


def _rise(y: Tensor, s: Tensor) -> Tensor:
    """Return ``log Gamma(y + s) - log Gamma(s) - log(y!) - y log(s)``."""
    return log_rise(y, s) + y * torch.log1p(SHIFT / s) - torch.lgamma(y + 1)


def _log_excess(y: Tensor, s: Tensor) -> Tensor:
    return torch.log1p(y / s)


def _rise_first(y: Tensor, s: Tensor) -> Tensor:
    """Return what the shift and Stirling's series add to the slope by log alpha."""
    return s * torch.log1p(y / (s + SHIFT + y) * (SHIFT / s)) - rise_first(y, s)


def _rise_second(y: Tensor, s: Tensor) -> Tensor:
    """Return what they add to its curvature."""
    top = s + SHIFT
    return SHIFT * (y / (top + y)) * (s / top + s / (s + y)) - rise_second(y, s)


def _narrow(values: Tensor) -> Tensor:
    """Return one number where all values are the same, as those of a predictor without regressors are."""
    if values.ndim == 0 or values.numel() == 0:
        return values
    low, high = torch.aminmax(values)
    return low if bool(low == high) else values


def _size(log_alpha: Tensor) -> Tensor:
    """Return ``1/alpha``, held where neither it nor ``y / s`` overflows (log alpha within +-530)."""
    bound = torch.finfo(log_alpha.dtype).max ** 0.75
    return torch.exp(-log_alpha).clamp(1 / bound, bound)


def _harmonic(log_mu: Tensor, log_alpha: Tensor, share: Tensor, rest: Tensor) -> Tensor:
    """Return ``1 / (1/mu + alpha)``, from whichever of mu and 1/alpha is smaller."""
    large, small = torch.exp(-log_alpha) * share, torch.exp(log_mu) * rest
    return torch.where(log_mu + log_alpha > 0, large, small)


def _scaled_log1pmx(s: Tensor, product: Tensor, log_ratio: Tensor) -> Tensor:
    """Return ``s (log(1 + q) - q)`` from ``product = s q`` and ``log_ratio = log(1 + q)``.

    Near 0 from ``log(1 + q) = 2 artanh(u)``, ``u = q / (2 + q)``, as ``-q u + 2 u^3 (1/3 + u^2/5 + ...)``;
    elsewhere the difference is safe.
    """
    q = product / s
    u = q / (2 + q)
    series = horner(torch.square(u), (2 / 3, 2 / 5, 2 / 7, 2 / 9, 2 / 11, 2 / 13))
    near = s * u * (torch.square(u) * series - q)
    return torch.where(q.abs() < 0.1, near, s * log_ratio - product)
