"""Simulate probabilities of normal vectors by the recursive conditioning of Geweke, Hajivassiliou and Keane.

With ``e = L x``, L lower triangular and x standard normal, ``P(e <= c)`` is the mean over draws of

    Phi(t_1) Phi(t_2) ... Phi(t_D),    t_k = (c_k - L_k1 x_1 - ... - L_k,k-1 x_k-1) / L_kk

where ``x_k = Phi^-1(u_k Phi(t_k))`` is drawn below ``t_k`` (Train 2009, section 5.6.3; Hajivassiliou, McFadden and Ruud
1996). The mean is unbiased and smooth in c and L. Everything is done in logarithms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..special import log_ndtr, normal_logpdf

FAR = -600.0
"""Log-probability below which the inverse distribution function starts from its asymptotic form."""


def log_probability(c: Tensor, root: Tensor, log_u: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return the (n,) logarithms of simulated probabilities ``P(e <= c)``.

    Parameters
    ----------
    c : (n, D) upper ends.
    root : (D, D) L, the Cholesky factor of the covariance of e.
    log_u : (n, R, at least D - 1) logarithms of uniform draws; with D = 1 there is nothing to simulate.
    counted : (n, D) bool: which ends there are; the others are at infinity.
    """
    total, drawn = c.new_zeros(len(c), 1), list[Tensor]()
    for k in range(c.shape[1]):
        known = sum((root[k, m] * x for m, x in enumerate(drawn)), c.new_zeros(()))
        log_p = log_ndtr((c[:, k, None] - known) / root[k, k])
        if counted is not None:
            log_p = torch.where(counted[:, k, None], log_p, 0.0)
        total = total + log_p
        if k < c.shape[1] - 1:
            drawn.append(log_ndtri(log_p + log_u[:, :, k]))
    return torch.logsumexp(total, 1) - math.log(total.shape[1])


def log_ndtri(log_p: Tensor) -> Tensor:
    """Return the x with ``log Phi(x) = log_p``, for any log_p below 0, with exact first and second derivatives.

    The root is found without a graph, and in float64, as probabilities near 0 and 1 are none in float32; two steps of
    Newton's method on it have its derivatives up to the third order.
    """
    with torch.no_grad():
        y = (log_p.detach().cpu() if log_p.device.type == "mps" else log_p.detach()).double()
        far = torch.clamp(-2 * y, min=-2 * FAR)
        x = torch.where(y > FAR, torch.special.ndtri(torch.exp(y)), -(far - torch.log(far * 2 * math.pi)).sqrt())
        for _ in range(2):
            x = _newton(x, y)
        x = x.to(log_p)
    for _ in range(2):
        x = _newton(x, log_p)
    return x


def _newton(x: Tensor, log_p: Tensor) -> Tensor:
    found = log_ndtr(x)
    return x - (found - log_p) * torch.exp(found - normal_logpdf(x))
