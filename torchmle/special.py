"""Log-probabilities whose value, score and curvature are right in the far tails.

Every function is elementwise, broadcasts, and can be differentiated twice by plain reverse mode. No
probability is clipped: a derivative is zero only where the true one underflows. Where torch's own derivative
loses the tail (the double backward of ``logsigmoid``, the gradient of ``log_ndtr``, ``lgamma`` of a large
argument) it is written out here in a form without cancellation, and compared with exact arithmetic in
``tests/test_special.py``.

Floating inputs keep their dtype and device; torch's global defaults play no part. Gradients flow to the
predictors and parameters, not to the counts ``y``.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor

__all__ = [
    "log1mexp",
    "log_diff_ndtr",
    "log_ndtr",
    "log_sigmoid",
    "nb2_logpmf_log",
    "nbinom_logpmf",
    "normal_logpdf",
    "poisson_logpmf",
    "poisson_logpmf_log",
    "softplus",
]

_LOG_2 = math.log(2.0)
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
_Lazy = tuple[Callable[[], Tensor], Callable[[], Tensor], Callable[[], Tensor]]


# --- Derivatives in closed form --------------------------------------------------------------------------


class _Curve(torch.autograd.Function):
    """``value(x)`` with derivative ``slope(x, value)``, itself differentiable: every order follows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Callable[..., Tensor], slope: Callable[..., Tensor]) -> Tensor:
        out = value(x)
        ctx.save_for_backward(x, out)
        ctx.slope = slope
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * ctx.slope(*ctx.saved_tensors), None, None


class _Surface(ABC):
    """A function of two arguments, its slopes, and its curvatures aa, ab, bb, each made when asked for."""

    @abstractmethod
    def value(self, a: Tensor, b: Tensor) -> Tensor: ...

    @abstractmethod
    def slopes(self, a: Tensor, b: Tensor, value: Tensor) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def curvatures(self, a: Tensor, b: Tensor, value: Tensor, d_a: Tensor, d_b: Tensor) -> _Lazy: ...


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, surface: _Surface) -> Tensor:
        out = surface.value(a, b)
        ctx.save_for_backward(a, b, out)
        ctx.surface = surface
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        a, b, out = ctx.saved_tensors
        d_a, d_b = _Slopes.apply(a, b, (out,), ctx.surface)  # type: ignore[no-untyped-call]
        return grads[0] * d_a, grads[0] * d_b, None  # autograd sums over the rows of a broadcast argument


class _Slopes(torch.autograd.Function):
    """The slopes; the value comes in a tuple, so that autograd takes it for a constant in the first pass."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, value: tuple[Tensor], surface: _Surface) -> tuple[Tensor, Tensor]:
        d_a, d_b = surface.slopes(a, b, value[0])
        ctx.save_for_backward(a, b, d_a, d_b)
        ctx.value, ctx.surface = value[0], surface
        ctx.set_materialize_grads(False)  # the Hessian is asked for by rows: the other row must cost nothing
        return d_a, d_b

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        a, b, d_a, d_b = ctx.saved_tensors
        aa, ab, bb = ctx.surface.curvatures(a, b, ctx.value, d_a, d_b)
        sums: list[Any] = [None, None]
        for grad, row in zip(grads, ((aa, ab), (ab, bb)), strict=True):
            for i, curvature in enumerate(row if grad is not None else ()):
                sums[i] = grad * curvature() + (0.0 if sums[i] is None else sums[i])
        return *sums, None, None


def _apply(function: type[torch.autograd.Function], *args: Any) -> Tensor:
    return cast(Tensor, function.apply(*args))  # type: ignore[no-untyped-call]


# --- Logistic --------------------------------------------------------------------------------------------


def log_sigmoid(z: Tensor) -> Tensor:
    """Return the logistic log-probability ``log(1 / (1 + exp(-z)))``.

    ``z``: any shape. The derivative is ``sigmoid(-z)``, the second ``-sigmoid(z) sigmoid(-z)``, each right in
    relative terms until it underflows (torch's double backward multiplies by ``sigmoid - 1``, which is 0 from
    z = 37 on).

    >>> log_sigmoid(torch.tensor([-800.0, 0.0], dtype=torch.float64))
    tensor([-8.0000e+02, -6.9315e-01], dtype=torch.float64)
    """
    return _apply(_Curve, z, torch.nn.functional.logsigmoid, lambda x, _: _sigmoid(-x))


def _sigmoid(z: Tensor) -> Tensor:
    return _apply(_Curve, z, torch.sigmoid, lambda x, s: s * _sigmoid(-x))


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
    return _apply(_Curve, x, _log1mexp_value, lambda x, _: -_odds(x))


def _log1mexp_value(x: Tensor) -> Tensor:
    return torch.where(x > -_LOG_2, torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))


def _odds(x: Tensor) -> Tensor:
    """Return ``w = exp(x) / (1 - exp(x))``, whose derivative is ``w (1 + w)``."""
    return _apply(_Curve, x, lambda x: torch.expm1(-x).reciprocal(), lambda _, w: w * (1 + w))


# --- Normal ----------------------------------------------------------------------------------------------

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
    return _apply(_Curve, z, torch.special.log_ndtr, _hazard)


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

    return _apply(_Curve, z, value, slope)


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
    bounds = torch.broadcast_tensors(upper.to(dtype), lower.to(dtype))  # type: ignore[no-untyped-call]
    return _apply(_Value, *bounds, _Interval())


@final
class _Interval(_Surface):
    def value(self, a: Tensor, b: Tensor) -> Tensor:
        u, low = torch.minimum(a, -b), torch.minimum(-a, b)
        # torch.special.ndtr is (1 + erf)/2 and loses the tail; erfc does not
        edge, beyond = 0.5 * torch.erfc(u.abs() * math.sqrt(0.5)), 0.5 * torch.erfc(low * -math.sqrt(0.5))
        centre = torch.where(u > 0, torch.log1p(-edge - beyond), torch.log(edge - beyond))

        def tail(rows: Tensor) -> Tensor:
            log_u: Tensor = torch.special.log_ndtr(u[rows]).clamp(min=-torch.finfo(u.dtype).max)
            return log_u + _log1mexp_value(torch.special.log_ndtr(low[rows]) - log_u)

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

    def curvatures(self, a: Tensor, b: Tensor, value: Tensor, d_a: Tensor, d_b: Tensor) -> _Lazy:
        def excess(z: Tensor, slope: Tensor) -> Tensor:
            """Return ``z + slope``, without cancellation where z bounds an interval in the left tail."""
            bound = torch.finfo(z.dtype).max

            def tail(rows: Tensor) -> Tensor:
                more = _tail_excess(-z[rows])
                return more + (more - z[rows]) * torch.expm1(torch.special.log_ndtr(z[rows]) - value[rows])

            return _replace((z < -_TAIL) & (z > -math.inf), z.clamp(-bound, bound) + slope, tail)

        return lambda: -d_a * excess(a, d_a), lambda: -d_a * d_b, lambda: d_b * excess(-b, -d_b)


# --- Counts ----------------------------------------------------------------------------------------------


def poisson_logpmf(y: Tensor, mu: Tensor) -> Tensor:
    """Return the Poisson log-probability ``y log(mu) - mu - log(y!)``.

    ``y``: counts; ``mu >= 0``: means; shapes that broadcast. At y = 0 it is ``-mu``, even for mu = 0.

    >>> poisson_logpmf(torch.tensor([0, 2]), torch.tensor([0.0, 2.0], dtype=torch.float64))
    tensor([ 0.0000, -1.3069], dtype=torch.float64)
    """
    y = _counts(y, mu)
    safe = torch.where(y == 0, 1.0, mu)  # 0 log 0 = 0, with derivative 0 and not 0/0
    return y * torch.log(safe) - mu - torch.lgamma(y + 1)


def poisson_logpmf_log(y: Tensor, log_mu: Tensor) -> Tensor:
    """Return the Poisson log-probability from the log-mean, ``y log_mu - exp(log_mu) - log(y!)``.

    ``y``: counts; ``log_mu``: up to 700; shapes that broadcast.

    >>> poisson_logpmf_log(torch.tensor([3, 0]), torch.tensor([0.0, 1.0], dtype=torch.float64))
    tensor([-2.7918, -2.7183], dtype=torch.float64)
    """
    y = _counts(y, log_mu)
    return y * log_mu - torch.exp(log_mu) - torch.lgamma(y + 1)


def nbinom_logpmf(y: Tensor, size: Tensor, prob: Tensor) -> Tensor:
    """Return the negative binomial log-probability of y failures before the ``size``-th success.

    ``log Gamma(y + size) - log Gamma(size) - log(y!) + size log(prob) + y log(1 - prob)``, scipy's
    ``nbinom.logpmf``. ``y``: counts; ``size > 0``; ``0 < prob <= 1``; shapes that broadcast. With a mean, use
    `nb2_logpmf_log`: as alpha goes to 0, ``prob`` rounds to 1.

    >>> nbinom_logpmf(torch.tensor([2]), *torch.tensor([[1.0], [0.5]], dtype=torch.float64))
    tensor([-2.0794], dtype=torch.float64)
    """
    return _apply(_Value, size, prob, _NegativeBinomial(_counts(y, prob)))


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
    return _apply(_Value, log_mu, log_alpha, _NB2(_counts(y, log_mu)))


def _counts(y: Tensor, like: Tensor) -> Tensor:
    """Return y in floating point: torch would send integers through the global default dtype."""
    return y.detach() if y.is_floating_point() else y.to(like.dtype)


@final
@dataclass(frozen=True, eq=False)
class _NegativeBinomial(_Surface):
    y: Tensor

    def value(self, a: Tensor, b: Tensor) -> Tensor:
        rise = _log_rise(self.y, a) + self.y * torch.log(a + _SHIFT)
        return rise - torch.lgamma(self.y + 1) + a * torch.log(b) + self.y * torch.log1p(-self.safe(b))

    def slopes(self, a: Tensor, b: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        rise = torch.log1p(self.y / (a + _SHIFT)) + _rise_first(self.y, a) / a
        return rise + torch.log(b), a / b - self.y / (1 - self.safe(b))

    def curvatures(self, a: Tensor, b: Tensor, value: Tensor, d_a: Tensor, d_b: Tensor) -> _Lazy:
        top = a + _SHIFT
        return (
            lambda: -self.y / (top + self.y) / top - _rise_second(self.y, a) / a / a,
            lambda: b.reciprocal(),
            lambda: -a / torch.square(b) - self.y / torch.square(1 - self.safe(b)),
        )

    def safe(self, prob: Tensor) -> Tensor:
        """Return prob, or 0 where y = 0, so that prob = 1 gives 0 log 0 = 0."""
        return torch.where(self.y == 0, 0.0, prob)


@final
@dataclass(frozen=True, eq=False)
class _NB2(_Surface):
    """By (log_mu, log_alpha), with ``s = 1/alpha``, ``share = alpha mu / (1 + alpha mu)``.

    With ``q = (y - mu)/(s + mu)`` the slopes are ``s q`` and ``-s (log(1 + q) - q)`` plus what the shift and
    Stirling's series add: no term is larger than of order alpha as alpha goes to 0.
    """

    y: Tensor

    def value(self, a: Tensor, b: Tensor) -> Tensor:
        s = _size(b)
        growth = -torch.nn.functional.logsigmoid(-a - b)  # log(1 + alpha mu)
        # Below -37 log(1 + alpha mu) / alpha is mu to the last digit, and 1/alpha may overflow.
        cost = torch.where(a + b < -37.0, torch.exp(a), torch.exp(-b) * growth)
        rise = _log_rise(self.y, s) + self.y * torch.log1p(_SHIFT / s)
        return rise + self.y * (a - growth) - cost - torch.lgamma(self.y + 1)

    def slopes(self, a: Tensor, b: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        s, c = _size(b), a + b
        by_mu = self.y * torch.sigmoid(-c) - _harmonic(a, b)
        log_ratio = torch.log1p(self.y / s) + torch.nn.functional.logsigmoid(-c)  # log(1 + q)
        z = self.y / (s + _SHIFT + self.y)
        rise = s * torch.log1p(z * (_SHIFT / s)) - _rise_first(self.y, s)
        return by_mu, rise - _scaled_log1pmx(s, by_mu, log_ratio)

    def curvatures(self, a: Tensor, b: Tensor, value: Tensor, d_a: Tensor, d_b: Tensor) -> _Lazy:
        share, rest = torch.sigmoid(a + b), torch.sigmoid(-a - b)

        def bb() -> Tensor:
            s = _size(b)
            top = s + _SHIFT
            rise = _SHIFT * (self.y / (top + self.y)) * (s / top + s / (s + self.y)) - _rise_second(self.y, s)
            return rise + d_a / (s + self.y) * d_a - d_b

        return lambda: -rest * (self.y * share + _harmonic(a, b)), lambda: -share * d_a, bb


def _size(log_alpha: Tensor) -> Tensor:
    """Return ``1/alpha``, held where neither it nor ``y / s`` overflows (log alpha within +-530)."""
    bound = torch.finfo(log_alpha.dtype).max ** 0.75
    return torch.exp(-log_alpha).clamp(1 / bound, bound)


def _harmonic(log_mu: Tensor, log_alpha: Tensor) -> Tensor:
    """Return ``1 / (1/mu + alpha)``, from whichever of mu and 1/alpha is smaller."""
    c = log_mu + log_alpha
    large, small = torch.exp(-log_alpha) * torch.sigmoid(c), torch.exp(log_mu) * torch.sigmoid(-c)
    return torch.where(c > 0, large, small)


def _scaled_log1pmx(s: Tensor, product: Tensor, log_ratio: Tensor) -> Tensor:
    """Return ``s (log(1 + q) - q)`` from ``product = s q`` and ``log_ratio = log(1 + q)``.

    Near 0 from ``log(1 + q) = 2 artanh(u)``, ``u = q / (2 + q)``, as ``-q u + 2 u^3 (1/3 + u^2/5 + ...)``;
    elsewhere the difference is safe.
    """
    q = product / s
    u = q / (2 + q)
    series = _horner(torch.square(u), (2 / 3, 2 / 5, 2 / 7, 2 / 9, 2 / 11, 2 / 13))
    near = s * u * (torch.square(u) * series - q)
    return torch.where(q.abs() < 0.1, near, s * log_ratio - product)


# Differences of log-gamma and its derivatives. Both arguments are raised by _SHIFT through the recurrence
# (Abramowitz & Stegun 6.1.15, 6.3.6, 6.4.6), where eight terms of Stirling's series (6.1.41) leave 1e-16.
# That costs no more than torch's lgamma, digamma and polygamma, needs no branch, and the leading terms cancel
# on paper. With g = 1/(s + 8) and h = 1/(s + y + 8), s + k = (1 - j g)/g and s + y + k = (1 - j h)/h, j = 8 - k.
_SHIFT = 8
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
_STIRLING_1 = tuple(-(2 * j + 1) * c for j, c in enumerate(_STIRLING))
_STIRLING_2 = tuple((2 * j + 1) * (2 * j + 2) * c for j, c in enumerate(_STIRLING))


def _horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = x * coefficients[-1]
    for coefficient in reversed(coefficients[1:-1]):
        total.add_(coefficient).mul_(x)
    return total.add_(coefficients[0])


def _stirling(inverse: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Return ``x^k R^(k)(x)`` at ``x = 1/inverse``, R the remainder of Stirling's formula."""
    return _horner(torch.square(inverse), coefficients).mul_(inverse)


def _log_rise(y: Tensor, s: Tensor) -> Tensor:
    """Return ``log Gamma(s + y) - log Gamma(s) - y log(s + 8)``."""
    g, h = (s + _SHIFT).reciprocal(), (s + _SHIFT + y).reciprocal()
    above, below = (s + y) * h, s * g
    for j in range(1, _SHIFT):
        above.addcmul_(above, h, value=-j)
        below.addcmul_(below, g, value=-j)
    remainder = _stirling(h, _STIRLING) - _stirling(g, _STIRLING)
    return (s + y - 0.5) * torch.log1p(y * g) - y + remainder - torch.log(above / below)


def _rise_first(y: Tensor, s: Tensor) -> Tensor:
    """Return ``s (psi(s + y) - psi(s) - log(1 + y / (s + 8)))``."""
    g, h = (s + _SHIFT).reciprocal(), (s + _SHIFT + y).reciprocal()
    steps = torch.zeros_like(h)
    for j in range(1, _SHIFT):
        steps.add_((torch.rsub(h, 1, alpha=j) * torch.rsub(g, 1, alpha=j)).reciprocal())
    remainder = s * h * _stirling(h, _STIRLING_1) - s * g * _stirling(g, _STIRLING_1)
    return (y * h) * (s * g) * (steps + 0.5) + y / (s + y) + remainder


def _rise_second(y: Tensor, s: Tensor) -> Tensor:
    """Return ``-s^2 (psi'(s + y) - psi'(s) + y / ((s + 8) (s + y + 8)))``."""
    g, h = (s + _SHIFT).reciprocal(), (s + _SHIFT + y).reciprocal()
    low, high = s * g, s * h
    both, overlap = low + high, low * h
    steps = 0.5 * both
    for j in range(1, _SHIFT):
        inverse = (torch.rsub(h, 1, alpha=j) * torch.rsub(g, 1, alpha=j)).reciprocal()
        steps.addcmul_(torch.square(inverse), torch.sub(both, overlap, alpha=2 * j))
    remainder = high * high * _stirling(h, _STIRLING_2) - low * low * _stirling(g, _STIRLING_2)
    first = y / (s + y)
    return (y * h) * low * steps + first * (1 + s / (s + y)) - remainder
