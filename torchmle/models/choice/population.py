"""Say how random coefficients are distributed over persons: moments, medians and shares, differentiable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import UndefinedStatisticError
from ...loglik.distributions import Law
from .mixed import MixedLogit

REACH, STEP = 12.0, 0.05
"""Grid of standard normal values: for smooth functions the trapezoidal rule on it is exact to rounding."""

STATISTICS = ("mean", "median", "sd", "share positive")


def grid(theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of integrals over a standard normal variable."""
    z = torch.arange(-REACH, REACH + STEP / 2, STEP, dtype=theta.dtype, device=theta.device)
    weight = torch.exp(-z.square() / 2)
    return z, weight / weight.sum()


@dataclass(frozen=True, eq=False)
class Distribution:
    """Hold the law of a coefficient: a mixture of G laws of one kind with different indices.

    Attributes
    ----------
    law : of each part.
    mean, spread : (G,) of the index of each part; a spread of zero is no distribution.
    weights : (G,), adding up to one.
    """

    law: Law
    mean: Tensor
    spread: Tensor
    weights: Tensor

    @cached_property
    def degenerate(self) -> bool:
        """Return whether nothing varies within parts."""
        return self.law.name == "fixed" or not bool((self.spread != 0).any())

    def over(self, values: Tensor) -> Tensor:
        """Return a mean over the parts."""
        return values @ self.weights

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return the (G,) means and variances of the parts."""
        m, s, law = self.mean, self.spread, self.law
        if self.degenerate:
            return law.coefficient(m) * (law.sign if law.name == "truncated_normal" else 1.0), torch.zeros_like(m)
        if law.name == "lognormal":
            middle = torch.exp(m + s.square() / 2)
            return law.sign * middle, middle.square() * torch.expm1(s.square())
        if law.name == "truncated_normal":
            ratio = m / s
            hazard = torch.exp(-ratio.square() / 2 - torch.special.log_ndtr(ratio)) / math.sqrt(2 * math.pi)
            return law.sign * (m + s * hazard), s.square() * (1 - hazard * (hazard + ratio))
        if law.name == "johnson_sb":
            z, weight = grid(m)
            each = law.coefficient(m[:, None] + s[:, None] * z)
            first = each @ weight
            return first, (each - first[:, None]).square() @ weight
        return m, s.square() / {"normal": 1.0, "uniform": 3.0, "triangular": 6.0}[law.name]

    def cdf(self, q: Tensor) -> Tensor:
        """Return the probability that the coefficient is at most q."""
        return self.over(self._part_cdf(q))

    def _part_cdf(self, q: Tensor) -> Tensor:
        m, s, law = self.mean, self.spread, self.law
        if law.sign < 0:
            return 1 - Distribution(Law(law.name), m, s, self.weights)._part_cdf(-q)
        if law.name == "lognormal":
            return _normal_cdf((torch.log(q) - m) / s) if bool(q > 0) else torch.zeros_like(m)
        if law.name == "truncated_normal":
            upper = torch.exp(torch.special.log_ndtr((m - q) / s) - torch.special.log_ndtr(m / s))
            return 1 - upper if bool(q > 0) else torch.zeros_like(m)
        if law.name == "johnson_sb":
            share = (q - law.low) / (law.high - law.low)
            if not bool((share > 0) & (share < 1)):
                return torch.ones_like(m) * (share >= 1)
            return _normal_cdf((torch.logit(share) - m) / s)
        z = (q - m) / s
        if law.name == "uniform":
            return ((z + 1) / 2).clamp(0, 1)
        if law.name == "triangular":
            inner = z.clamp(-1, 1)
            return torch.where(inner < 0, (1 + inner).square() / 2, 1 - (1 - inner).square() / 2)
        return _normal_cdf(z)

    def statistic(self, name: str) -> Tensor:
        """Return one of :data:`STATISTICS`, differentiable in the parameters."""
        first, second = self.moments()
        if name == "mean":
            return self.over(first)
        if name == "sd":
            mean = self.over(first)
            variance = self.over(second + (first - mean).square())
            return torch.where(variance > 0, variance, 1.0).sqrt() * (variance > 0)
        if name == "median":
            return self._median(first)
        if self.degenerate:
            return self.over((first > 0).to(first))
        zero = torch.zeros_like(self.mean[0])
        return 1 - self.cdf(zero)

    def _median(self, means: Tensor) -> Tensor:
        """Return the median; derivatives by one step of Newton's method from it."""
        if self.degenerate:
            return _weighted_median(means, self.weights)
        if len(self.mean) == 1 and self.law.name != "truncated_normal":
            return self.law.coefficient(self.mean[0])
        with torch.no_grad():
            q = self._bisect(means)
        leaf = q.clone().requires_grad_()
        (density,) = torch.autograd.grad(self.cdf(leaf), leaf, retain_graph=True)
        return q - (self.cdf(q) - 0.5) / density.detach()

    def _bisect(self, means: Tensor) -> Tensor:
        width = 1.0 + 10 * float(self.statistic("sd")) + float(means.abs().max())
        low, high = means.new_tensor(-width), means.new_tensor(width)
        while bool(self.cdf(low) > 0.5):
            low = 2 * low
        while bool(self.cdf(high) < 0.5):
            high = 2 * high
        for _ in range(200):
            middle = (low + high) / 2
            if not bool((middle > low) & (middle < high)):
                break
            low, high = (middle, high) if bool(self.cdf(middle) < 0.5) else (low, middle)
        return (low + high) / 2


def _normal_cdf(z: Tensor) -> Tensor:
    found: Tensor = torch.special.ndtr(z)
    return found


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    order = values.argsort()
    at = int(torch.searchsorted(weights[order].cumsum(0), weights.new_tensor(0.5)))
    return values[order[min(at, len(order) - 1)]]


class Population:
    """Give the laws of random coefficients at parameters, over the persons of the fit.

    Parameters
    ----------
    theta : (P,) parameters, in the order of the model.
    """

    def __init__(self, model: MixedLogit, theta: Tensor) -> None:
        self.model, self.random = model, model.randomness
        self.theta = theta
        self.value = dict(zip(model.param_names, theta, strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the attributes with a random coefficient."""
        return tuple(n for n in self.random.names if n in self.random.laws or self.random.generalized)

    def law(self, name: str) -> Law:
        """Return the law of a coefficient."""
        return self.random.laws.get(name, Law("fixed"))

    def index_mean(self, name: str) -> Tensor:
        """Return the (G,) means of the index: one, or one a person where person variables move it."""
        mean: Tensor = self.value.get(name, self.theta.new_zeros(()))
        features = self.random.features.get(name)
        if not features:
            return mean.reshape(1)
        W = self.model.W
        assert W is not None
        order = [(n, f) for n in self.random.features for f in self.random.features[n]]
        at = [order.index((name, f)) for f in features]
        moved = torch.stack([self.value[f"mean:{name}:{f}"] for f in features])
        found: Tensor = mean + W[:, at].to(moved) @ moved
        return found

    def loadings(self, name: str) -> dict[str, Tensor]:
        """Return what multiplies the standard draws in the index, by the attribute that they belong to."""
        for block in self.random.blocks:
            if name in block:
                upto = block[: block.index(name) + 1]
                return {other: self.value[f"chol:{name}:{other}"] for other in upto}
        found = self.value.get(f"sd:{name}", self.value.get(f"spread:{name}"))
        return {} if found is None else {name: found}

    def spread(self, name: str) -> Tensor:
        """Return the spread of the index, not negative."""
        loadings = list(self.loadings(name).values())
        if not loadings:
            return self.theta.new_zeros(())
        found: Tensor = loadings[0].abs() if len(loadings) == 1 else torch.stack(loadings).square().sum().sqrt()
        return found

    def correlation(self, one: str, other: str) -> Tensor:
        """Return the correlation of two indices."""
        a, b = self.loadings(one), self.loadings(other)
        both = [a[n] * b[n] for n in a if n in b]
        if not both:
            return self.theta.new_zeros(())
        return torch.stack(both).sum() / (self.spread(one) * self.spread(other))

    @cached_property
    def person_weights(self) -> Tensor:
        """Return the (N,) weights of persons, adding up to one."""
        given = self.model.data.weights
        count = len(self.model.ends) if self.model.ends is not None else 0
        w = self.theta.new_ones(count) if given is None else given.values.to(self.theta)
        return w / w.sum()

    def distribution(self, name: str) -> Distribution:
        """Return the law of a coefficient; in willingness-to-pay space of what a unit is worth."""
        mean, spread = self.index_mean(name), self.spread(name)
        weights = self.theta.new_ones(1) if len(mean) == 1 else self.person_weights
        if self.random.generalized:
            return self._generalized(name, mean, spread, weights)
        return Distribution(self.law(name), mean, spread.expand(len(mean)), weights)

    def _generalized(self, name: str, mean: Tensor, spread: Tensor, weights: Tensor) -> Distribution:
        """Return the law of a coefficient whose scale varies: normal given the scale."""
        if name.startswith("asc_"):
            law = Law("normal") if name in self.random.laws else Law("fixed")
            return Distribution(law, mean, spread.expand(len(mean)), weights)
        z, weight = grid(self.theta)
        tau, g = self.value["tau"], self.value.get("gamma", self.theta.new_zeros(()))
        scale = torch.exp(tau * z - tau.square() / 2)
        means = (mean[:, None] * scale).flatten()
        spreads = ((g + scale * (1 - g)).abs() * spread).expand(len(mean), -1).flatten()
        law = Law("normal") if name in self.random.laws else Law("fixed")
        return Distribution(law, means, spreads, (weights[:, None] * weight).flatten())

    def inverse_moments(self, price: str, attribute: str) -> tuple[Tensor, Tensor]:
        """Return means of ``a / p`` and ``(a / p)^2`` over persons, for a random price coefficient p."""
        if any(price in block and attribute in block for block in self.random.blocks):
            return self._joint(price, attribute)
        first, second = self._inverse(price)
        means, variances = self.distribution(attribute).moments()
        weights = self.person_weights if max(len(first), len(means)) > 1 else self.theta.new_ones(1)
        size = len(weights)
        one = (means * first).expand(size) @ weights
        two = ((variances + means.square()) * second).expand(size) @ weights
        return one, two

    def _inverse(self, price: str) -> tuple[Tensor, Tensor]:
        """Return the (G,) means of 1 / p and 1 / p^2."""
        found = self.distribution(price)
        law, m, s = found.law, found.mean, found.spread
        if law.name in ("lognormal", "johnson_sb"):
            z, weight = grid(m)
            each = 1 / law.coefficient(m[:, None] + s[:, None] * z)
            return each @ weight, each.square() @ weight
        low, high = m - s, m + s
        if law.name == "uniform":
            return torch.log(high / low) / (high - low), 1 / (low * high)
        mean = (low * (low / m).log() + high * (high / m).log()) / s.square()
        return mean, -(torch.log(low / m) + torch.log(high / m)) / s.square()

    def _joint(self, price: str, attribute: str) -> tuple[Tensor, Tensor]:
        """Return the means of a / p and its square where the two are correlated, by integration in two dimensions."""
        z, weight = grid(self.theta)
        z, weight = z[::2], weight[::2] / weight[::2].sum()
        rho = self.correlation(price, attribute)
        off = torch.where(rho.abs() < 1, 1 - rho.square(), 0.0).sqrt()
        up, ua = self.index_mean(price), self.index_mean(attribute)
        size = max(len(up), len(ua))
        weights = self.person_weights if size > 1 else self.theta.new_ones(1)
        one, two = self.theta.new_zeros(()), self.theta.new_zeros(())
        for n in range(size):
            p = self.law(price).coefficient(up[n % len(up)] + self.spread(price) * z)
            u = ua[n % len(ua)] + self.spread(attribute) * (rho * z[:, None] + off * z[None, :])
            ratio = self.law(attribute).coefficient(u) / p[:, None]
            one = one + weights[n] * (weight @ (ratio @ weight))
            two = two + weights[n] * (weight @ (ratio.square() @ weight))
        return one, two


def refuse_zero(law: Law, found: Distribution, name: str, what: str) -> None:
    """Raise where the law of a price coefficient has mass around zero, so that a ratio has no mean."""
    low, high = (found.mean - found.spread).min(), (found.mean + found.spread).max()
    apart = {
        "lognormal": True,
        "johnson_sb": law.low >= 0 or law.high <= 0,
        "uniform": bool((low > 0) | (high < 0)),
        "triangular": bool((low > 0) | (high < 0)),
    }.get(law.name, False)
    if not apart:
        raise UndefinedStatisticError(
            f"{what}: the coefficient of {name!r} is {law.name.replace('_', ' ')}, with probability mass around zero, "
            "so that a ratio to it has no mean and no variance. Keep it fixed, make it lognormal "
            f"(random={{{name!r}: '-lognormal'}}), or fit in willingness-to-pay space (space='wtp', price={name!r})."
        )
