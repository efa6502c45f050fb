"""Log-probabilities of the logistic distribution, and the logarithms that go with them."""

import math

import torch
from torch import Tensor

from .derivatives import curve

_LOG_2 = math.log(2.0)


def log_sigmoid(z: Tensor) -> Tensor:
    """Return the logistic log-probability ``log(1 / (1 + exp(-z)))``.

    ``z``: any shape. The derivative is ``sigmoid(-z)``, the second ``-sigmoid(z) sigmoid(-z)``, each right in
    relative terms until it underflows (torch's double backward multiplies by ``sigmoid - 1``, which is 0 from
    z = 37 on).

    >>> log_sigmoid(torch.tensor([-800.0, 0.0], dtype=torch.float64))
    tensor([-8.0000e+02, -6.9315e-01], dtype=torch.float64)
    """
    return curve(z, torch.nn.functional.logsigmoid, lambda x, _: _sigmoid(-x))


def _sigmoid(z: Tensor) -> Tensor:
    return curve(z, torch.sigmoid, lambda x, s: s * _sigmoid(-x))


def softplus(z: Tensor) -> Tensor:
    """Return ``log(1 + exp(z))``, as ``-log_sigmoid(-z)``.

    ``z``: any shape. Unlike ``torch.nn.functional.softplus`` it does not turn into the identity at z = 20.

    >>> softplus(torch.tensor([-40.0, 0.0, 40.0], dtype=torch.float64))
    tensor([4.2484e-18, 6.9315e-01, 4.0000e+01], dtype=torch.float64)
    """
    return -log_sigmoid(-z)


def log1mexp(x: Tensor) -> Tensor:
    """Return ``log(1 - exp(x))`` for x < 0.

    ``x``: any shape, negative (0 gives -inf). ``log(-expm1(x))`` above -log 2 and ``log1p(-exp(x))`` below:
    Maechler (2012), "Accurately computing log(1 - exp(-|a|))", eq. 7. The derivatives are ``-w`` and
    ``-w (1 + w)`` with ``w = 1 / (exp(-x) - 1)``.

    >>> log1mexp(torch.tensor([-1e-20, -50.0], dtype=torch.float64))
    tensor([-4.6052e+01, -1.9287e-22], dtype=torch.float64)
    """
    return curve(x, _log1mexp_value, lambda x, _: -_odds(x))


def _log1mexp_value(x: Tensor) -> Tensor:
    return torch.where(x > -_LOG_2, torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))


def _odds(x: Tensor) -> Tensor:
    """Return ``w = exp(x) / (1 - exp(x))``, whose derivative is ``w (1 + w)``."""
    return curve(x, lambda x: torch.expm1(-x).reciprocal(), lambda _, w: w * (1 + w))
