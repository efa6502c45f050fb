"""Differences of log-gamma and of its derivatives, without cancellation."""

import torch
from torch import Tensor

# Differences of log-gamma and its derivatives. Both arguments are raised by SHIFT through the recurrence
# (Abramowitz & Stegun 6.1.15, 6.3.6, 6.4.6), where eight terms of Stirling's series (6.1.41) leave 1e-16.
# That costs no more than torch's lgamma, digamma and polygamma, needs no branch, and the leading terms cancel
# on paper. With g = 1/(s + 8) and h = 1/(s + y + 8), s + k = (1 - j g)/g and s + y + k = (1 - j h)/h, j = 8 - k.
SHIFT = 8
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
_STIRLING_1 = tuple(-(2 * j + 1) * c for j, c in enumerate(_STIRLING))
_STIRLING_2 = tuple((2 * j + 1) * (2 * j + 2) * c for j, c in enumerate(_STIRLING))


def horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Return the polynomial with these coefficients, the constant first."""
    total = x * coefficients[-1]
    for coefficient in reversed(coefficients[1:-1]):
        total.add_(coefficient).mul_(x)
    return total.add_(coefficients[0])


def _stirling(inverse: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Return ``x^k R^(k)(x)`` at ``x = 1/inverse``, R the remainder of Stirling's formula."""
    return horner(torch.square(inverse), coefficients).mul_(inverse)


def log_rise(y: Tensor, s: Tensor) -> Tensor:
    """Return ``log Gamma(s + y) - log Gamma(s) - y log(s + 8)``."""
    g, h = (s + SHIFT).reciprocal(), (s + SHIFT + y).reciprocal()
    above, below = (s + y) * h, s * g
    for j in range(1, SHIFT):
        above.addcmul_(above, h, value=-j)
        below.addcmul_(below, g, value=-j)
    remainder = _stirling(h, _STIRLING) - _stirling(g, _STIRLING)
    return (s + y - 0.5) * torch.log1p(y * g) - y + remainder - torch.log(above / below)


def rise_first(y: Tensor, s: Tensor) -> Tensor:
    """Return ``s (psi(s + y) - psi(s) - log(1 + y / (s + 8)))``."""
    g, h = (s + SHIFT).reciprocal(), (s + SHIFT + y).reciprocal()
    steps = torch.zeros_like(h)
    for j in range(1, SHIFT):
        steps.add_((torch.rsub(h, 1, alpha=j) * torch.rsub(g, 1, alpha=j)).reciprocal())
    remainder = s * h * _stirling(h, _STIRLING_1) - s * g * _stirling(g, _STIRLING_1)
    return (y * h) * (s * g) * (steps + 0.5) + y / (s + y) + remainder


def rise_second(y: Tensor, s: Tensor) -> Tensor:
    """Return ``-s^2 (psi'(s + y) - psi'(s) + y / ((s + 8) (s + y + 8)))``."""
    g, h = (s + SHIFT).reciprocal(), (s + SHIFT + y).reciprocal()
    low, high = s * g, s * h
    both, overlap = low + high, low * h
    steps = 0.5 * both
    for j in range(1, SHIFT):
        inverse = (torch.rsub(h, 1, alpha=j) * torch.rsub(g, 1, alpha=j)).reciprocal()
        steps.addcmul_(torch.square(inverse), torch.sub(both, overlap, alpha=2 * j))
    remainder = high * high * _stirling(h, _STIRLING_2) - low * low * _stirling(g, _STIRLING_2)
    first = y / (s + y)
    return (y * h) * low * steps + first * (1 + s / (s + y)) - remainder
