"""Add up products of a series with its own lags, and take an autoregression out of it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import OptionError

MANY = 200
"""Lags from which a Fourier transform is faster than one product after the other."""

STABLE = 1 - 1e-6
"""Largest size of the roots of an autoregression that can be taken out."""


def lagged_sum(values: Tensor, units: Tensor, periods: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum_l w_l sum (v_t v_(t-l)' + v_(t-l) v_t')`` within units, lag 0 once.

    Parameters
    ----------
    values : (m, K), sorted by unit and period, one row for each.
    weights : of the lags 0, 1, ...
    """
    length = int(periods.max() - periods.min()) + 1
    if len(weights) > MANY and int(units[0]) == int(units[-1]) and length <= 4 * len(values):
        return _by_transform(values, periods - periods[0], length, weights)
    total = weights[0] * (values.mT @ values)
    keys = units * (int(periods.max()) + len(weights) + 1) + periods
    regular = bool((keys.diff() == 1).all())
    for lag in range(1, min(len(weights), length)):
        if weights[lag] == 0:
            continue
        late, early = _pairs(keys, lag, regular)
        product = values[late].mT @ values[early]
        total = total + weights[lag] * (product + product.mT)
    return total


def _pairs(keys: Tensor, lag: int, regular: bool) -> tuple[slice | Tensor, slice | Tensor]:
    """Return the rows that are ``lag`` periods apart in one unit, the later and the earlier ones."""
    if regular:
        return slice(lag, None), slice(None, -lag)
    place = torch.searchsorted(keys, keys + lag).clamp(max=len(keys) - 1)
    early = keys[place] == keys + lag
    return place[early], early


def _by_transform(values: Tensor, periods: Tensor, length: int, weights: Tensor) -> Tensor:
    """Return the same for one series, by convolution with the weights."""
    size = length + len(weights)
    dense = values.new_zeros(size, values.shape[1])
    dense[periods] = values
    kernel = values.new_zeros(size)
    kernel[: len(weights)] = weights
    kernel[-len(weights) + 1 :] += weights[1:].flip(0)
    smooth = torch.fft.irfft(torch.fft.rfft(dense, dim=0) * torch.fft.rfft(kernel)[:, None], n=size, dim=0)
    total: Tensor = dense.mT @ smooth
    return (total + total.mT) / 2


def whiten(series: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (T - 1, K) residuals of a first-order vector autoregression without constant, and its matrix."""
    early, late = series[:-1], series[1:]
    used = early.abs().amax(0) > 0
    A = torch.zeros(series.shape[1], series.shape[1], dtype=series.dtype, device=series.device)
    size = early[:, used].norm(dim=0)
    found = torch.linalg.lstsq(early[:, used] / size, late).solution / size[:, None]
    A[:, used] = found.mT
    return late - early @ A.mT, A


def recolour(total: Tensor, A: Tensor) -> Tensor:
    """Return ``(I - A)^-1 S (I - A')^-1`` (Andrews and Monahan 1992)."""
    size = float(torch.linalg.eigvals(A).abs().max())
    if size >= STABLE:
        raise OptionError(
            f"prewhiten is not possible: the autoregression of the scores has a root of size {size:.4g}, and only "
            "those below 1 can be taken out. Leave it out, or difference the series."
        )
    D = torch.linalg.inv(torch.eye(len(A), dtype=A.dtype, device=A.device) - A)
    matrix: Tensor = D @ total @ D.mT
    return matrix
