"""Laws of random coefficients, as functions of indices that are linear in the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..special import log_ndtr
from .mixing import Mixing


@dataclass(frozen=True)
class Law:
    """Say how a coefficient comes from its index ``u = mean + spread * draw``.

    Attributes
    ----------
    name : ``"fixed"`` for none, ``"normal"``, ``"lognormal"``, ``"truncated_normal"``, ``"uniform"``,
        ``"triangular"`` or ``"johnson_sb"``.
    sign : -1 for a lognormal or truncated normal coefficient that is negative.
    low, high : range of a Johnson SB coefficient.
    """

    name: str
    sign: float = 1.0
    low: float = 0.0
    high: float = 1.0

    @property
    def draw(self) -> str:
        """Return the standard law of the draws."""
        return {"truncated_normal": "uniform", "uniform": "uniform", "triangular": "triangular"}.get(
            self.name, "normal"
        )

    @property
    def linear(self) -> bool:
        """Return whether the coefficient is its index."""
        return self.name in ("fixed", "normal", "uniform", "triangular")

    def coefficient(self, u: Tensor) -> Tensor:
        """Return the coefficient at an index."""
        if self.name == "lognormal":
            return self.sign * torch.exp(u)
        if self.name == "johnson_sb":
            return self.low + (self.high - self.low) * torch.sigmoid(u)
        return u


@dataclass(frozen=True, eq=False)
class Laws(Mixing):
    """Be coefficients that each have an index of their own; a truncated normal one also has its spread as an index.

    Attributes
    ----------
    spreads : by truncated normal coefficient, the index of its spread and the dimension of its draws.
    """

    laws: tuple[Law, ...]
    spreads: dict[int, tuple[int, int]]

    @property
    def indices(self) -> int:  # type: ignore[override]
        """Return the number of indices."""
        return len(self.laws) + len(self.spreads)

    @property
    def diagonal(self) -> bool:  # type: ignore[override]
        """Return whether there is one index a coefficient."""
        return not self.spreads

    @cached_property
    def unit(self) -> frozenset[int]:  # type: ignore[override]
        """Return the indices with slope one."""
        return frozenset(q for q, law in enumerate(self.laws) if law.linear)

    def touched(self, index: int) -> tuple[int, ...]:
        """Return the coefficient of an index or of a spread."""
        owners = {spread: q for q, (spread, _) in self.spreads.items()}
        return (owners.get(index, index),)

    def coefficients(self, u: Tensor, draws: Tensor) -> Tensor:
        """Return the coefficients."""
        if len(self.unit) == self.indices:
            return u * 1.0
        return torch.stack([self._one(q, law, u, draws) for q, law in enumerate(self.laws)])

    def _one(self, q: int, law: Law, u: Tensor, draws: Tensor) -> Tensor:
        if q not in self.spreads:
            return law.coefficient(u[q])
        spread, dimension = self.spreads[q]
        return law.sign * truncated_normal(u[q], u[spread], (1 + draws[dimension]) / 2)


@dataclass(frozen=True, eq=False)
class WillingnessToPay(Mixing):
    """Be coefficients in willingness-to-pay space: ``-s`` for the price and ``s w_k`` for attribute k.

    Train and Weeks (2005): w_k is what a unit of the attribute is worth, s the (positive) weight of money.
    """

    inner: Laws
    price: int
    diagonal = False

    @property
    def indices(self) -> int:  # type: ignore[override]
        """Return the number of indices."""
        return self.inner.indices

    def touched(self, index: int) -> tuple[int, ...]:
        """Return the coefficient of an index; the price's touches all."""
        own = self.inner.touched(index)
        return tuple(range(len(self.inner.laws))) if own == (self.price,) else own

    def coefficients(self, u: Tensor, draws: Tensor) -> Tensor:
        """Return the coefficients."""
        found = self.inner.coefficients(u, draws)
        scale = found[self.price]
        return torch.stack([-scale if k == self.price else scale * w for k, w in enumerate(found)])


@dataclass(frozen=True, eq=False)
class Generalized(Mixing):
    """Be the coefficients of the generalized mixed logit, ``s b_k + (g + s (1 - g)) e_k`` (Fiebig et al. 2010).

    The scale of a person is ``s = exp(tau z - tau^2 / 2)``, with mean one; e_k are the deviations of the random
    coefficients, and g says whether they are scaled. Coefficients that are not ``scaled`` (constants of the
    alternatives) keep ``b_k + e_k``.

    Attributes
    ----------
    scaled : (C,) which coefficients are scaled. Indices: C means, C deviations, tau, g.
    dimension : of the draws of the scale.
    """

    scaled: Sequence[bool]
    dimension: int
    diagonal = False

    @property
    def indices(self) -> int:  # type: ignore[override]
        """Return the number of indices."""
        return 2 * len(self.scaled) + 2

    def touched(self, index: int) -> tuple[int, ...]:
        """Return the coefficient of a mean or a deviation; the scale touches all."""
        C = len(self.scaled)
        return (index % C,) if index < 2 * C else tuple(range(C))

    def coefficients(self, u: Tensor, draws: Tensor) -> Tensor:
        """Return the coefficients."""
        C = len(self.scaled)
        mean, off, tau, g = u[:C], u[C : 2 * C], u[2 * C], u[2 * C + 1]
        s = torch.exp(tau * draws[self.dimension] - tau.square() / 2)
        both = g + s * (1 - g)
        return torch.stack(
            [s * mean[k] + both * off[k] if own else mean[k] + off[k] for k, own in enumerate(self.scaled)]
        )


def truncated_normal(mean: Tensor, sd: Tensor, v: Tensor) -> Tensor:
    """Return draws of a normal law given that it is positive, for uniform draws v on (0, 1).

    With ``1 - F = (1 - v) Phi(mean / sd)`` the upper tail is inverted, which stays exact where little mass is positive.
    """
    size = sd.abs()
    upper = torch.log1p(-v) + log_ndtr(mean / size)
    found: Tensor = mean - size * torch.special.ndtri(torch.exp(upper))
    return found
