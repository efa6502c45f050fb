"""Weigh lags, and choose how many of them count."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import OptionError

Rule = Literal["andrews", "newey-west"]

EDGE = 0.97
"""Largest autocorrelation that an automatic bandwidth believes (Andrews and Monahan 1992)."""


def bartlett(x: Tensor) -> Tensor:
    """Return ``1 - |x|`` up to 1."""
    return (1 - x.abs()).clamp(min=0.0)


def parzen(x: Tensor) -> Tensor:
    """Return ``1 - 6 x^2 + 6 |x|^3`` up to 1/2 and ``2 (1 - |x|)^3`` up to 1."""
    x = x.abs()
    return torch.where(x <= 0.5, 1 - 6 * x**2 + 6 * x**3, 2 * (1 - x).clamp(min=0.0) ** 3)


def quadratic_spectral(x: Tensor) -> Tensor:
    """Return ``25 / (12 pi^2 x^2) (sin(z) / z - cos(z))`` with ``z = 6 pi x / 5``."""
    z = 6 * math.pi * x / 5
    safe = torch.where(z.abs() < 1e-2, torch.ones_like(z), z)
    value = 3 / safe**2 * (torch.sin(safe) / safe - torch.cos(safe))
    return torch.where(z.abs() < 1e-2, 1 - z**2 / 10 + z**4 / 280, value)


@dataclass(frozen=True)
class Kernel:
    """Hold a kernel and what is known of it.

    Attributes
    ----------
    ends : whether it is zero from 1 on.
    order : q, that of its first derivative at zero which does not vanish.
    constant : of the optimal bandwidth, ``constant (alpha_q T)^(1 / (2 q + 1))`` (Andrews 1991, equation 6.2).
    rate : of the lags that Newey and West (1994, table II C) look at.
    """

    weight: Callable[[Tensor], Tensor]
    ends: bool
    order: int
    constant: float
    rate: float


KERNELS: Mapping[str, Kernel] = {
    "bartlett": Kernel(bartlett, True, 1, 1.1447, 2 / 9),
    "parzen": Kernel(parzen, True, 2, 2.6614, 4 / 25),
    "quadratic-spectral": Kernel(quadratic_spectral, False, 2, 1.3221, 2 / 25),
}


def automatic(rule: str, kernel: Kernel, series: Tensor, prewhitened: bool) -> float:
    """Return the bandwidth of a rule for (T, p) contributions whose sizes can be compared."""
    sizes = series.square().mean(0).sqrt()
    used = series[:, sizes > 0] / sizes[sizes > 0]
    if not used.shape[1] or len(used) < 4:
        raise OptionError(f"bandwidth={rule!r} needs scores that vary over four periods or more; give a number.")
    return andrews(kernel, used) if rule == "andrews" else newey_west(kernel, used, prewhitened)


def andrews(kernel: Kernel, series: Tensor) -> float:
    """Return the bandwidth of Andrews (1991, equations 6.2 and 6.4), from an autoregression of each column."""
    late, early = series[1:], series[:-1]
    rho = ((late * early).sum(0) / early.square().sum(0)).clamp(-EDGE, EDGE)
    variance = (late - rho * early).square().mean(0)
    level = (variance**2 / (1 - rho) ** 4).sum()
    if kernel.order == 1:
        alpha = (4 * rho**2 * variance**2 / ((1 - rho) ** 6 * (1 + rho) ** 2)).sum() / level
    else:
        alpha = (4 * rho**2 * variance**2 / (1 - rho) ** 8).sum() / level
    return float(kernel.constant * float(alpha * len(series)) ** (1 / (2 * kernel.order + 1)))


def newey_west(kernel: Kernel, series: Tensor, prewhitened: bool) -> float:
    """Return the bandwidth of Newey and West (1994, equations 3.8 to 3.15), from autocovariances of the sum."""
    T = len(series)
    most = min(T - 1, math.floor((3 if prewhitened else 4) * (T / 100) ** kernel.rate))
    total = series.sum(1)
    sigma = torch.stack([total[j:] @ total[: T - j] / T for j in range(most + 1)])
    lags = torch.arange(1, most + 1, dtype=sigma.dtype, device=sigma.device)
    level = float(sigma[0] + 2 * sigma[1:].sum())
    slope = float(2 * (lags**kernel.order * sigma[1:]).sum())
    if level == 0:
        raise OptionError("bandwidth='newey-west' is not defined here: the long-run variance comes out as zero.")
    power = 1 / (2 * kernel.order + 1)
    return float(kernel.constant * ((slope / level) ** 2) ** power * T**power)


def rule_of_thumb(periods: int) -> int:
    """Return ``floor(4 (T / 100)^(2/9))``, the number of lags where none was asked for."""
    return int(min(periods - 1, math.floor(4 * (periods / 100) ** (2 / 9))))
