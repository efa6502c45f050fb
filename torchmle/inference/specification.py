"""Test whether a likelihood is right: the information matrix test, and Vuong's comparison of two likelihoods."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor

from ..errors import UndefinedStatisticError
from ..linalg import symmetric
from ..loglik.objective import Objective
from ..workers import derivatives_on

NUMBERS = 2_000_000
"""Numbers held at a time while rows are worked through."""

ALIKE = 1e-10
"""Eigenvalue of a correlation matrix below which its direction is redundant."""


def row_derivatives(objective: Objective, working: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Return the unweighted (n, K) scores and (n, K, K) Hessians of some rows, in working parameters.

    With w = 1, ``sum w l`` has a gradient and a Hessian that are linear in w; their derivatives in w are those of the
    single rows. Only reverse mode is used.
    """
    with derivatives_on(objective.device):
        at = working.to(objective.device, objective.dtype).detach().clone().requires_grad_()
        values = objective.row_values(at, start, stop)
        ones = torch.ones_like(values, requires_grad=True)
        (gradient,) = torch.autograd.grad((values * ones).sum(), at, create_graph=True)
        K = len(at)
        scores = torch.stack([_along(gradient[a], ones) for a in range(K)], 1)
        hessians = values.new_zeros(len(values), K, K)
        for a in range(K):
            if not gradient[a].requires_grad:
                continue
            (row,) = torch.autograd.grad(gradient[a], at, create_graph=True, allow_unused=True)
            for b in range(a + 1):
                if row is not None:
                    hessians[:, a, b] = hessians[:, b, a] = _along(row[b], ones)
    return scores.detach().cpu().double(), hessians.detach().cpu().double()


def _along(value: Tensor, weights: Tensor) -> Tensor:
    """Return the derivative of a number in the weights of the rows."""
    if not value.requires_grad:
        return torch.zeros_like(weights)
    (found,) = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    return torch.zeros_like(weights) if found is None else found.detach()


@dataclass(frozen=True)
class Indicators:
    """Hold the information matrix test: statistic, degrees of freedom, how many indicators there were."""

    statistic: float
    df: int
    count: int


def information_matrix(
    objective: Objective, working: Tensor, jacobian: Tensor, weights: Tensor, diagonal: bool
) -> Indicators:
    """Return n R2 of a regression of 1 on the scores s and the indicators ``h + s s'`` of the rows.

    The form of Chesher (1983) and Lancaster (1984) of White's (1982) test, which needs no third derivatives.

    Parameters
    ----------
    jacobian : (K, F) d working / d free parameters.
    weights : (n,) how often each row counts.
    diagonal : whether only the diagonal of the matrix is tested.
    """
    F = jacobian.shape[1]
    a, b = torch.tril_indices(F, F, device="cpu")
    if diagonal:
        a, b = a[a == b], b[a == b]
    width = F + len(a)
    products = torch.zeros(width, width, dtype=torch.float64, device="cpu")
    sums = torch.zeros(width, dtype=torch.float64, device="cpu")
    step = max(1, min(objective.chunk, NUMBERS // (len(working) ** 2 + width)))
    for start in range(0, objective.rows, step):
        stop = min(start + step, objective.rows)
        scores, hessians = row_derivatives(objective, working, start, stop)
        s = scores @ jacobian
        d = (jacobian.mT @ (hessians + scores[:, :, None] * scores[:, None, :]) @ jacobian)[:, a, b]
        both = torch.cat([s, d], 1)
        w = weights[start:stop]
        products += both.mT @ (both * w[:, None])
        sums += both.mT @ w
    explained, rank = _explained(products, sums)
    alone, own = _explained(products[:F, :F], sums[:F])
    if rank == own:
        raise UndefinedStatisticError("The information matrix test has no indicator beside the scores for this model.")
    return Indicators(max(explained - alone, 0.0), rank - own, len(a))


def _explained(products: Tensor, sums: Tensor) -> tuple[float, int]:
    """Return ``c' M^+ c`` and the rank of M, in units in which its diagonal is one."""
    scale = products.diagonal().sqrt()
    used = scale > 1e-150
    scaled = symmetric(products[used][:, used]) / torch.outer(scale[used], scale[used])
    values, vectors = torch.linalg.eigh(scaled)
    kept = values > ALIKE * len(values)
    part = vectors[:, kept].mT @ (sums[used] / scale[used])
    return float((part**2 / values[kept]).sum()), int(kept.sum())


@dataclass(frozen=True)
class Vuong:
    """Hold Vuong's statistic, the mean difference less its correction, and the variance of the differences."""

    statistic: float
    difference: float
    variance: float


def vuong(one: Tensor, other: Tensor, weights: Tensor, correction: float) -> Vuong:
    """Return ``(sum m - c) / (w sqrt n)`` with ``m`` the differences by row and ``w^2`` their variance, divisor n.

    Vuong (1989), equations 4.2 and 5.6; the correction c is that of his equation 5.11.
    """
    m = one - other
    n = weights.sum()
    total = weights @ m
    variance = float(weights @ (m - total / n) ** 2 / n)
    size = float((weights @ (one**2 + other**2)) / n)
    if not variance > 1e-20 * size:
        raise UndefinedStatisticError(
            "vuong_test() is not defined: the two fits have the same log-likelihood in every row."
        )
    difference = float(total) - correction
    return Vuong(difference / (variance * float(n)) ** 0.5, float(total), variance)


def normal_tail(z: float) -> float:
    """Return the probability that a standard normal variable exceeds z."""
    return float(special.ndtr(-z))
