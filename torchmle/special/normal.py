"""Log-probabilities of the normal distribution."""

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from .derivatives import Curvatures, Surface, curve, surface
from .logistic import log1mexp

_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)

# Beyond this distance the hazard comes from its continued fraction: `exp(-z^2/2 - log Phi)` and `z + hazard`
# cancel there. 22 levels reach 1e-16 at 6.
_TAIL = 6.0
_LEVELS = 22


def normal_logpdf(z: Tensor) -> Tensor:
    """Return the standard normal log-density ``-z^2/2 - log(2 pi)/2``.

    ``z``: any shape. For a scale subtract its logarithm: ``normal_logpdf((y - mu) / sigma) - log(sigma)``.

    >>> normal_logpdf(torch.tensor(0.0, dtype=torch.float64))
    tensor(-0.9189, dtype=torch.float64)
    """
    return torch.square(z) * -0.5 - _LOG_SQRT_2PI


def log_ndtr(z: Tensor) -> Tensor:
    """Return the log of the standard normal distribution function, ``log Phi(z)``.

    ``z``: any shape; ``log_ndtr(-z)`` is the log of the upper tail. The derivative is the hazard phi / Phi,
    the second ``-hazard (z + hazard)``. Left of -6 both come from Laplace's continued fraction, Abramowitz &
    Stegun 26.2.14, because torch's own derivatives lose digits as ``z^2`` and ``z^4``.

    >>> log_ndtr(torch.tensor([-1e4, 0.0], dtype=torch.float64))
    tensor([-5.0000e+07, -6.9315e-01], dtype=torch.float64)
    """
    return curve(z, torch.special.log_ndtr, _hazard)


def _hazard(z: Tensor, log_cdf: Tensor) -> Tensor:
    # Infinite arguments are bounded, so that at +inf the curvature is 0 and at -inf it is -1, not NaN.
    known, bound = log_cdf.detach(), torch.finfo(z.dtype).max

    def value(z: Tensor) -> Tensor:
        def tail(rows: Tensor) -> Tensor:
            t = (-z[rows]).clamp(max=bound)
            return t + _tail_excess(t)

        return _replace(z < -_TAIL, _density_ratio(z, known), tail)

    def slope(z: Tensor, hazard: Tensor) -> Tensor:
        z = z.clamp(-bound, bound)
        return -hazard * _replace(z < -_TAIL, z + hazard, lambda rows: _tail_excess(-z[rows]))

    return curve(z, value, slope)


def _density_ratio(z: Tensor, log_p: Tensor) -> Tensor:
    return torch.exp(torch.square(z) * -0.5 - log_p) * _INV_SQRT_2PI


def _replace(rows: Tensor, values: Tensor, by: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``values`` with some rows recomputed; few rows are in a tail, and its formula is dear."""
    return values.masked_scatter(rows, by(rows).to(values.dtype)) if bool(rows.any()) else values


def _tail_excess(t: Tensor) -> Tensor:
    """Return ``phi(t)/Phi(-t) - t = 1/(t + 2/(t + 3/(t + ...)))``, as ``1/(b1 t + 1/(b2 t + ...))``."""
    b = [1.0]
    for k in range(2, _LEVELS + 1):
        b.append(1.0 / (k * b[-1]))
    total = b[-1] * t
    for weight in reversed(b[:-1]):
        total = torch.add(total.reciprocal(), t, alpha=weight)
    return total.reciprocal()


def log_diff_ndtr(upper: Tensor, lower: Tensor) -> Tensor:
    """Return the log-probability of a normal interval, ``log(Phi(upper) - Phi(lower))``.

    ``upper > lower``: shapes that broadcast; either may be infinite and then has gradient 0. The interval is
    mirrored to the left; in the tail it is ``log Phi(u) + log(1 - exp(log Phi(l) - log Phi(u)))``, its slopes
    those of `log_ndtr` (truncated normal hazards).

    >>> upper = torch.tensor([41.0, 1.0], dtype=torch.float64)
    >>> log_diff_ndtr(upper, torch.tensor([40.0, -math.inf], dtype=torch.float64))
    tensor([-8.0461e+02, -1.7275e-01], dtype=torch.float64)
    """
    dtype = torch.result_type(upper, lower)
    upper, lower = torch.broadcast_tensors(upper.to(dtype), lower.to(dtype))  # type: ignore[no-untyped-call]
    return surface(upper, lower, _Interval())


@final
class _Interval(Surface):
    def value(self, a: Tensor, b: Tensor) -> Tensor:
        u, low = torch.minimum(a, -b), torch.minimum(-a, b)
        # torch.special.ndtr is (1 + erf)/2 and loses the tail; erfc does not
        edge, beyond = 0.5 * torch.erfc(u.abs() * math.sqrt(0.5)), 0.5 * torch.erfc(low * -math.sqrt(0.5))
        centre = torch.where(u > 0, torch.log1p(-edge - beyond), torch.log(edge - beyond))

        def tail(rows: Tensor) -> Tensor:
            log_u: Tensor = torch.special.log_ndtr(u[rows]).clamp(min=-torch.finfo(u.dtype).max)
            return log_u + log1mexp(torch.special.log_ndtr(low[rows]) - log_u)

        return _replace(u < -_TAIL, centre, tail)

    def slopes(self, a: Tensor, b: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        near, far = torch.maximum(-a, b), torch.maximum(a, -b)

        def tail(rows: Tensor, is_near: Tensor) -> Tensor:
            t, end = near[rows], far[rows]
            hazard = (t + _tail_excess(t)) * torch.exp(torch.special.log_ndtr(-t) - value[rows])
            # phi(end) / phi(t); a difference of squares would lose digits
            return hazard * torch.where(is_near[rows], 1.0, torch.exp((t - end) * (t + end) * 0.5))

        d_a = _replace(near > _TAIL, _density_ratio(a, value), lambda rows: tail(rows, a < 0))
        return d_a, -_replace(near > _TAIL, _density_ratio(b, value), lambda rows: tail(rows, b > 0))

    def curvatures(self, a: Tensor, b: Tensor, value: Tensor, d_a: Tensor, d_b: Tensor) -> Curvatures:
        def excess(z: Tensor, slope: Tensor) -> Tensor:
            """Return ``z + slope``, without cancellation where z bounds an interval in the left tail."""
            bound = torch.finfo(z.dtype).max

            def tail(rows: Tensor) -> Tensor:
                more = _tail_excess(-z[rows])
                return more + (more - z[rows]) * torch.expm1(torch.special.log_ndtr(z[rows]) - value[rows])

            return _replace((z < -_TAIL) & (z > -math.inf), z.clamp(-bound, bound) + slope, tail)

        return lambda: -d_a * excess(a, d_a), lambda: -d_a * d_b, lambda: d_b * excess(-b, -d_b)
