"""Values, first and second derivatives of `torchmle.special` against exact arithmetic, into the far tails."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import mpmath as mp
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchmle import special

INF = math.inf
Point = tuple[float, ...]


# --- Exact references: the plain formulas, at as many digits as the tail needs ---------------------------


def exact_interval(upper, lower=None):
    """Return log(Phi(u) - Phi(l)) with its derivatives in closed form: erfc at 700 digits is slow."""
    bounds = [upper] if lower is None else [upper, lower]
    signs = [1, -1][: len(bounds)]
    sides = [mp.erfc(-z / mp.sqrt(2)) / 2 for z in bounds]
    p = sides[0] - sum(sides[1:])
    d = [sign * mp.npdf(z) / p for sign, z in zip(signs, bounds, strict=True)]
    k = range(len(bounds))
    return [mp.log(p), *d, *[-d[i] * d[j] - (bounds[i] * d[i] if i == j else 0) for i in k for j in k]]


def exact_poisson(y, mu):
    return (y * mp.log(mu) if y else 0) - mu - mp.log(mp.factorial(y))


def exact_nb2(y, log_mu, log_alpha):
    alpha, mu = mp.exp(log_alpha), mp.exp(log_mu)
    rise = mp.fprod(1 + k * alpha for k in range(y))
    return mp.log(rise) - mp.log(mp.factorial(y)) - (1 / alpha + y) * mp.log(1 + mu * alpha) + y * log_mu


def exact_nbinom(y, size, prob):
    ways = mp.fprod((size + k) / (k + 1) for k in range(y))
    return mp.log(ways) + size * mp.log(prob) + (y * mp.log(1 - prob) if y else 0)


def exact(function: Callable, point: Point, digits: int) -> list:
    """Return value, gradient and Hessian (row by row) as a flat list."""
    with mp.workdps(digits):
        at, k = tuple(mp.mpf(x) for x in point), range(len(point))
        if function is exact_interval:
            return function(*at)
        orders = [[int(i == j) for j in k] for i in k]
        second = [[a + b for a, b in zip(u, v, strict=True)] for u, v in product(orders, orders)]
        if len(point) == 1:
            return [function(*at)] + [mp.diff(function, at[0], o[0]) for o in orders + second]
        return [function(*at)] + [mp.diff(function, at, tuple(o)) for o in orders + second]


def computed(function: Callable, columns: list[Tensor]) -> list[Tensor]:
    """Return value, gradient and Hessian by plain reverse mode, in the same order."""
    columns = [c.detach().clone().requires_grad_() for c in columns]
    value = function(*columns)
    gradient = torch.autograd.grad(value.sum(), columns, create_graph=True)
    zero = torch.zeros_like(value)
    hessian = []
    for row in gradient:
        parts = [None] * len(columns)
        if row.requires_grad:
            parts = torch.autograd.grad(row.sum(), columns, retain_graph=True, allow_unused=True)
        hessian += [zero if part is None else part for part in parts]
    return [value, *gradient, *hessian]


def column(*values: float, dtype=torch.float64) -> Tensor:
    return torch.tensor(values, dtype=dtype, device="cpu")


# --- The table -------------------------------------------------------------------------------------------


@dataclass
class Case:
    """One function, its exact form, the points, and the relative error allowed in value, d1 and d2.

    Errors are relative to the number itself, however small. Where not 1e-13, the reason is rounding of the
    argument (conditioning): log Phi at +37 moves by z^2 = 1400 units in the last place for one of z; the
    probability of an interval of relative width w by 1/w; z + hazard just inside the switch at -6 cancels to
    1/36, twice. Count values are sums of terms like y log(mu) and log(y!), relative to which they are exact.
    """

    function: Callable
    exact: Callable
    points: list[Point]
    rtol: tuple[float, float, float] = (1e-15, 1e-15, 1e-15)
    digits: int = 60


LOGISTIC = [(float(z),) for z in (-700, -40, -1, -1e-3, 0, 3, 20, 36, 37, 40, 100, 700)]
NORMAL = [(float(z),) for z in (-1e8, -1e4, -300, -40, -12, -7, -6.001, -5.999, -3, -1, 0, 0.7, 3, 8, 20, 37)]
NARROW = [(0.5, 0.4), (-39.99, -40.0), (-6.1, -6.2), (6.1, 5.9), (-5.9, -6.1), (1e-3, -1e-3)]
WIDE = [(1.0, -1.0), (-0.2, -3.0), (3.0, 0.2), (5.0, -5.0), (7.0, -3.0), (-5.9, -7.5), (-6.1, -9.0)]
WIDE += [(9.0, 6.1), (-40.0, -41.0), (41.0, 40.0), (20.0, -21.0), (-1e3, -1001.0), (6.5, -20.0)]
RATES = [(1e-5,), (0.5,), (3.0,), (290.0,), (1e6,)]
NB2_POINTS = [(0.0, -200.0), (1.7, -40.0), (-3.0, -40.0), (40.0, -40.0), (700.0, -40.0), (1.5, -20.0)]
NB2_POINTS += [(2.5, -8.0), (1.0, -3.0), (-20.0, -1.0), (1.0, 0.0), (6.0, 0.5), (700.0, 0.0), (0.3, 3.0)]
NB_POINTS = [(1e-10, 0.3), (0.1, 0.5), (1.0, 0.9), (5.0, 0.1), (40.0, 0.5), (1e4, 0.9), (1e10, 0.75)]

CASES = {
    "log_sigmoid": Case(special.log_sigmoid, lambda z: -mp.log(1 + mp.exp(-z)), LOGISTIC, digits=800),
    "softplus": Case(special.softplus, lambda z: mp.log(1 + mp.exp(z)), LOGISTIC, digits=800),
    "log1mexp": Case(
        special.log1mexp,
        lambda x: mp.log(1 - mp.exp(x)),
        [(x,) for x in (-1e-100, -1e-20, -1e-5, -0.5, -0.6931, -0.6932, -1.0, -5.0, -40.0, -700.0)],
        digits=800,
    ),
    "normal_logpdf": Case(
        special.normal_logpdf,
        lambda z: mp.log(mp.npdf(z)),
        [(z,) for z in (-1e100, -40.0, 0.0, 1.3, 1e4)],
        digits=400,
    ),
    "log_ndtr": Case(special.log_ndtr, exact_interval, NORMAL, (2e-13, 1e-14, 2e-13), 700),
    "log_diff_ndtr, wide": Case(special.log_diff_ndtr, exact_interval, WIDE, (5e-14, 2e-14, 2e-13), digits=700),
    "log_diff_ndtr, narrow": Case(special.log_diff_ndtr, exact_interval, NARROW, (1e-14, 1e-12, 2e-12), digits=700),
}


def counted(function: Callable, y: int) -> Callable:
    return lambda *at: function(column(y).squeeze(), *at)


def counted_exact(function: Callable, y: int) -> Callable:
    return lambda *at: function(y, *at)


for y in (0, 1, 7, 300):
    CASES |= {
        f"poisson_logpmf, y={y}": Case(
            counted(special.poisson_logpmf, y), counted_exact(exact_poisson, y), RATES, (1e-13, 1e-14, 1e-15)
        ),
        f"poisson_logpmf_log, y={y}": Case(
            counted(special.poisson_logpmf_log, y),
            counted_exact(lambda y, m: exact_poisson(y, mp.exp(m)), y),
            [(-40.0,), (0.25,), (3.0,), (40.0,), (700.0,)],
            (1e-14, 1e-15, 1e-15),
        ),
    }
for y in (0, 2, 40):
    nb2, nbinom = counted(special.nb2_logpmf_log, y), counted(special.nbinom_logpmf, y)
    # alpha mu overflows at the last point; there the curvature of y > 0 is 1e-26 beside terms of order 1
    points = [*NB2_POINTS, (700.0, 60.0)] if y == 0 else NB2_POINTS
    tight = 1e-13 if y == 40 else 2e-15
    CASES |= {
        f"nb2_logpmf_log, y={y}": Case(nb2, counted_exact(exact_nb2, y), points, (tight, 1e-13, 1e-13), digits=300),
        f"nbinom_logpmf, y={y}": Case(
            nbinom, counted_exact(exact_nbinom, y), NB_POINTS, (tight, 1e-13, 1e-14), digits=320
        ),
    }


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_value_and_two_derivatives(case: Case):
    """Each number agrees in relative terms with exact arithmetic; both sides underflow together."""
    got = torch.stack(computed(case.function, [column(*c) for c in zip(*case.points, strict=True)]))
    for point, numbers in zip(case.points, got.T.tolist(), strict=True):
        want = exact(case.exact, point, case.digits)
        k = len(point)
        rtols = [case.rtol[0]] + [case.rtol[1]] * k + [case.rtol[2]] * k * k
        for order, (number, reference, rtol) in enumerate(zip(numbers, want, rtols, strict=True)):
            error = abs(mp.mpf(number) - reference)
            # 1e-300: below it the numbers are subnormal and lose digits
            assert error <= rtol * abs(reference) + 1e-300, (point, order, number, float(reference))


# --- Identities at random points -------------------------------------------------------------------------

REAL = st.floats(-700, 700)
BOUND = st.floats(-40, 40)


@given(z=REAL)
@settings(max_examples=60, deadline=None)
def test_log_odds_are_the_argument(z: float):
    log_p, log_q = special.log_sigmoid(column(z)), special.log_sigmoid(column(-z))
    torch.testing.assert_close(log_p - log_q, column(z), rtol=1e-15, atol=2e-16)


@given(x=st.floats(-700, -1e-300))
@settings(max_examples=60, deadline=None)
def test_log1mexp_is_its_own_inverse(x: float):
    # Its slope w magnifies the rounding of the inner value, by w relative to |x|: back by 1/w exactly.
    inner, slope = computed(special.log1mexp, [column(x)])[:2]
    back = special.log1mexp(inner)
    assert abs(back.item() - x) <= 1e-14 * (abs(x) + abs(inner.item() / slope.item()))


@given(a=BOUND, b=BOUND)
@settings(max_examples=60, deadline=None)
def test_an_interval_and_its_mirror_image(a: float, b: float):
    """log(Phi(u) - Phi(l)) = log(Phi(-l) - Phi(-u)); slopes swap with the sign, curvatures swap."""
    low, high = min(a, b), max(a, b) + 1e-3
    got = computed(special.log_diff_ndtr, [column(high), column(low)])
    mirror = computed(special.log_diff_ndtr, [column(-low), column(-high)])
    signs, order = (1, -1, -1, 1, 1, 1, 1), (0, 2, 1, 6, 5, 4, 3)
    for number, sign, at in zip(got, signs, order, strict=True):
        torch.testing.assert_close(number, sign * mirror[at], rtol=1e-13, atol=0)


@given(z=BOUND)
@settings(max_examples=60, deadline=None)
def test_an_unbounded_interval_is_log_ndtr(z: float):
    """Also the slopes, which are zero at the infinite side."""
    want = [x.item() for x in computed(special.log_ndtr, [column(z)])]
    below = [x.item() for x in computed(special.log_diff_ndtr, [column(z), column(-INF)])]
    above = [x.item() for x in computed(special.log_diff_ndtr, [column(INF), column(-z)])]
    # 2e-13 for the curvature near -6 as in the table; log Phi near +40 moves by z^2 units
    assert below == pytest.approx([want[0], want[1], 0, want[2], 0, 0, 0], rel=5e-13, abs=1e-300)
    assert above == pytest.approx([want[0], 0, -want[1], 0, 0, 0, want[2]], rel=5e-13, abs=1e-300)


def test_the_whole_line_is_certain():
    for number in computed(special.log_diff_ndtr, [column(INF), column(-INF)]):
        assert number.item() == 0


@given(log_mu=st.floats(-5, 2), log_alpha=st.floats(-45, 0.2))
@settings(max_examples=25, deadline=None)
def test_nb2_probabilities_and_their_scores_sum_to_one_and_zero(log_mu: float, log_alpha: float):
    y = torch.arange(600, dtype=torch.float64, device="cpu")
    at = [column(log_mu).expand(600), column(log_alpha).expand(600)]
    value, by_mu, by_alpha, mu_mu, mu_alpha, _, alpha_alpha = computed(lambda *at: special.nb2_logpmf_log(y, *at), at)
    p, size = torch.exp(value), math.exp(log_mu) * (1 + math.exp(log_alpha + log_mu))
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    assert abs((p * by_mu).sum().item()) < 1e-12 * (1 + size)
    # everything by log_alpha is of order alpha, and so is the error
    allowed = 1e-11 * math.exp(log_alpha) * (1 + size) ** 2
    assert abs((p * by_alpha).sum().item()) < allowed
    for first, second, curvature in [
        (by_mu, by_mu, mu_mu),
        (by_mu, by_alpha, mu_alpha),
        (by_alpha, by_alpha, alpha_alpha),
    ]:
        gap = (p * (first * second + curvature)).sum().item()  # the information equality
        assert abs(gap) < (allowed if second is by_alpha else 1e-11 * (1 + size) ** 2)


def test_nb2_is_the_poisson_as_alpha_vanishes():
    y, log_mu = column(0, 1, 3, 20, 400), column(-3, 0, 1, 3, 6)
    poisson = computed(lambda m: special.poisson_logpmf_log(y, m), [log_mu])
    nb2 = computed(lambda *at: special.nb2_logpmf_log(y, *at), [log_mu, column(-40.0).expand(5)])
    torch.testing.assert_close(nb2[0], poisson[0], rtol=1e-13, atol=0)
    torch.testing.assert_close(nb2[1], poisson[1], rtol=1e-14, atol=1e-13)  # y - mu: ulps of mu
    torch.testing.assert_close(nb2[3], poisson[2], rtol=1e-14, atol=0)


def test_nbinom_is_parametrised_as_in_scipy():
    y = np.arange(50)
    want = scipy.stats.nbinom.logpmf(y, 2.5, 0.3)
    got = special.nbinom_logpmf(torch.as_tensor(y), column(2.5), column(0.3))
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-13)


def test_nbinom_and_nb2_are_one_distribution():
    y, log_mu, log_alpha = column(0, 1, 2, 9, 60), column(0.5), column(-0.7)

    def by_size(log_mu: Tensor, log_alpha: Tensor) -> Tensor:
        return special.nbinom_logpmf(y, torch.exp(-log_alpha), 1 / (1 + torch.exp(log_mu + log_alpha)))

    for a, b in zip(
        computed(lambda *at: special.nb2_logpmf_log(y, *at), [log_mu, log_alpha]),
        computed(by_size, [log_mu, log_alpha]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


# --- Edges: underflow, overflow, infinities --------------------------------------------------------------


def test_derivatives_vanish_only_where_they_underflow():
    ends = computed(special.log_sigmoid, [column(-800, 800)])
    assert [x.tolist() for x in ends] == [[-800, 0], [1, 0], [0, 0]]
    ends = computed(special.log_ndtr, [column(-INF, INF, 1e200)])
    assert ends[0].tolist() == [-INF, 0, 0]
    assert ends[1][1:].tolist() == [0, 0]
    torch.testing.assert_close(ends[2], column(-1, 0, 0))
    assert special.log1mexp(column(0.0, -INF)).tolist() == [-INF, 0]


def test_poisson_with_a_mean_that_underflowed():
    value, slope, curvature = computed(lambda mu: special.poisson_logpmf(column(0, 2), mu), [column(0, 0)])
    assert (value[0].item(), slope[0].item(), curvature[0].item()) == (0, -1, 0)
    assert value[1].item() == -INF


def test_nbinom_with_a_probability_that_rounded_to_one():
    numbers = computed(lambda *at: special.nbinom_logpmf(column(0), *at), [column(1e17), column(1.0)])
    assert [x.item() for x in numbers] == [0, 0, 1e17, 0, 1, 1, -1e17]
    numbers = computed(lambda *at: special.nbinom_logpmf(column(1), *at), [column(2.0), column(1.0)])
    assert [x.item() for x in numbers] == [-INF, pytest.approx(0.5), -INF, pytest.approx(-0.25), 1, 1, -INF]


@pytest.mark.parametrize("y", [0.0, 1.0, 5.0, 1e3, 1e8])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 700.0), (torch.float32, 80.0)])
def test_counts_are_finite_to_the_limits(y: float, dtype: torch.dtype, limit: float):
    """And no NaN beyond: a step that overshoots must be seen to be worse, not to be undefined."""
    etas = [-1e3, -limit, -40.0, -5.0, 0.0, 5.0, 40.0, limit]
    for alphas in ([-0.7 * limit, -5.0, 0.0, 0.7 * limit], [-1e3, -limit, limit, 1e3]):
        points = column(*[x for pair in product(etas, alphas) for x in pair], dtype=dtype).reshape(-1, 2)
        counts = torch.full_like(points[:, 0], y)
        numbers = torch.stack(computed(partial(special.nb2_logpmf_log, counts), list(points.T)))
        assert numbers.dtype == dtype
        assert not numbers.isnan().any()
        assert numbers.isfinite().all() or abs(alphas[0]) >= limit
    numbers = computed(lambda m: special.poisson_logpmf_log(counts, m), [points[:, 0]])
    assert torch.stack(numbers).isfinite().all()


# --- Shapes, dtypes, global defaults ---------------------------------------------------------------------

SINGLE = {
    "log_sigmoid": (special.log_sigmoid, (-100.0, -3.0, 0.5, 40.0)),
    "softplus": (special.softplus, (-40.0, -3.0, 0.5, 100.0)),
    "log1mexp": (special.log1mexp, (-40.0, -1.0, -0.3, -1e-2)),
    "normal_logpdf": (special.normal_logpdf, (-40.0, -3.0, 0.5, 7.0)),
    "log_ndtr": (special.log_ndtr, (-100.0, -7.0, -3.0, 4.0)),
    "poisson_logpmf": (lambda x: special.poisson_logpmf(column(0, 1, 4, 9).to(x), x), (0.1, 3.0, 4.0, 30.0)),
    "poisson_logpmf_log": (
        lambda x: special.poisson_logpmf_log(column(0, 1, 4, 9).to(x), x),
        (-9.0, 0.5, 1.0, 9.0),
    ),
}
DOUBLE = {
    "log_diff_ndtr": (special.log_diff_ndtr, (-7.0, -1.0, 2.0, 12.0), -10.0),
    "nbinom_logpmf": (
        lambda n, p: special.nbinom_logpmf(column(0, 1, 4, 9).to(n), n, p),
        (0.3, 2.0, 9.0, 90.0),
        0.4,
    ),
    "nb2_logpmf_log": (
        lambda m, a: special.nb2_logpmf_log(column(0, 1, 4, 9).to(m), m, a),
        (-9.0, 0.5, 1.0, 9.0),
        -0.5,
    ),
}
ALL = [*SINGLE.values(), *((f, x, scalar) for f, x, scalar in DOUBLE.values())]
IDS = [*SINGLE, *DOUBLE]


def arguments(spec: tuple, dtype=torch.float64) -> list[Tensor]:
    """Return a column, and for functions of two arguments a 0-dim parameter beside it."""
    return [column(*spec[1], dtype=dtype), *(column(x, dtype=dtype).squeeze() for x in spec[2:])]


@pytest.mark.parametrize("spec", ALL, ids=IDS)
def test_a_scalar_parameter_beside_a_column(spec: tuple):
    """Differences agree with both derivatives, also summed over the rows of a broadcast parameter."""
    moderate = (spec[0], [max(min(x, 5.0), -9.0) for x in spec[1]], *spec[2:])
    at = [x.requires_grad_() for x in arguments(moderate)]
    assert torch.autograd.gradcheck(spec[0], at, rtol=1e-5, atol=1e-6)
    assert torch.autograd.gradgradcheck(spec[0], at, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spec", ALL, ids=IDS)
def test_single_precision_stays_single(spec: tuple):
    narrow = computed(spec[0], arguments(spec, torch.float32))
    wide = computed(spec[0], [x.double() for x in arguments(spec, torch.float32)])
    for a, b in zip(narrow, wide, strict=True):
        assert a.dtype == torch.float32
        # single precision has 6e-8; times z^2 or the number of terms that a count's sum cancels
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-30)


@pytest.fixture
def foreign_defaults() -> Iterator[None]:
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    torch.set_default_device("meta")
    yield
    torch.set_default_dtype(dtype)
    torch.set_default_device(None)


@pytest.mark.parametrize("spec", ALL, ids=IDS)
def test_global_defaults_change_nothing(spec: tuple, request: pytest.FixtureRequest):
    home = computed(spec[0], arguments(spec))
    request.getfixturevalue("foreign_defaults")
    for a, b in zip(home, computed(spec[0], arguments(spec)), strict=True):
        assert (a.dtype, a.device.type) == (torch.float64, "cpu")
        assert torch.equal(a, b)


@pytest.mark.usefixtures("foreign_defaults")
def test_integer_counts_keep_the_precision_of_the_mean():
    for kind in (torch.int64, torch.bool):
        y = column(1, 0).to(kind)
        for value in (
            special.poisson_logpmf(y, column(2.5, 2.5)),
            special.poisson_logpmf_log(y, column(0.5, 0.5)),
            special.nbinom_logpmf(y, column(2.5, 2.5), column(0.5, 0.5)),
            special.nb2_logpmf_log(y, column(0.5, 0.5), column(0.5, 0.5)),
        ):
            assert value.dtype == torch.float64
    assert special.poisson_logpmf(column(1).to(torch.int64), column(2.5)).item() == math.log(2.5) - 2.5


def test_a_double_parameter_beside_single_precision_data():
    y, log_mu = column(0, 3, dtype=torch.float32), column(-1, 1, dtype=torch.float32)
    log_alpha, low = column(-0.5).squeeze(), column(-9.0).squeeze()
    for numbers in (
        computed(lambda *at: special.nb2_logpmf_log(y, *at), [log_mu, log_alpha]),
        computed(special.log_diff_ndtr, [log_mu - 7, low]),
    ):
        assert numbers[0].dtype == torch.float32
        assert all(x.isfinite().all() for x in numbers)


@pytest.mark.parametrize(
    ("function", "reference", "at"),
    [
        (lambda z, _: special.log_ndtr(z), lambda z, _: mp.log(mp.ncdf(z)), (-8.0, 0.0)),
        (special.log_diff_ndtr, lambda u, low: mp.log(mp.ncdf(u) - mp.ncdf(low)), (-7.0, -8.0)),
        (counted(special.nb2_logpmf_log, 3), counted_exact(exact_nb2, 3), (0.5, -0.3)),
        (counted(special.nbinom_logpmf, 3), counted_exact(exact_nbinom, 3), (2.5, 0.3)),
    ],
)
def test_a_third_derivative_is_right_too(function: Callable, reference: Callable, at: Point):
    inputs = [column(x).requires_grad_() for x in at]
    number = function(*inputs)
    for _ in range(3):
        (number,) = torch.autograd.grad(number, inputs[0], create_graph=True)
    with mp.workdps(60):
        want = float(mp.diff(reference, at, (3, 0)))
    assert number.item() == pytest.approx(want, rel=1e-9)
