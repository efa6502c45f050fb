"""Products of matrices in padded, reused memory, and functions of counts from tables, against their plain forms."""

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchmle as tm
from torchmle.data.crossproducts import cross_products
from torchmle.linalg import scratch, weighted_products, wide
from torchmle.loglik.leastsquares import LeastSquares, solve
from torchmle.special.tables import LARGEST, Counts


def rows(n: int, k: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the product summed in another order, so that agreement is to rounding and not to the bit."""
    return torch.einsum("ni,nj->ij", a, b)


@given(st.integers(1, 130), st.integers(1, 30), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_weighted_products(k: int, other: int, vectors: int):
    X, A = rows(40, k), rows(40, other, 1)
    w, u = rows(40, 1, 2)[:, 0], rows(40, 1, 3)[:, 0]
    more = list(rows(40, vectors, 4).mT) if vectors else []
    found = weighted_products(X, [(X, w), (A, u)], more)
    plain = exact(X, torch.cat([X * w[:, None], A * u[:, None], *(v[:, None] for v in more)], 1))
    assert torch.allclose(found, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", [1, 7, 16, 20, 23, 24, 48, 49, 97, 150])
def test_a_symmetric_product_is_symmetric(k: int):
    X = rows(200, k)
    w = rows(200, 1, 1)[:, 0]
    found = weighted_products(X, [(X, w)], [])
    assert found.shape == (k, k)
    assert torch.allclose(found, found.mT, rtol=0, atol=1e-11)
    assert torch.allclose(found, exact(X, X * w[:, None]), rtol=1e-12, atol=1e-11)


def test_padding_is_zero_and_fewer_rows_reuse_the_memory():
    X = rows(50, 3)
    first = scratch(X, 20)
    assert first.shape == (50, wide(20))
    assert not first[:, 20:].any()
    assert scratch(X[:10], 20).data_ptr() == first.data_ptr()
    assert scratch(X, 20, "another use").data_ptr() != first.data_ptr()


def test_threads_do_not_share_memory():
    X, found = rows(5, 2), []
    thread = threading.Thread(target=lambda: found.append(scratch(X, 2)))
    thread.start()
    thread.join()
    assert found[0].data_ptr() != scratch(X, 2).data_ptr()


def test_cross_products_are_those_of_centred_columns():
    X = torch.cat([torch.full((3_000, 1), 2.0, dtype=torch.float64), 5.0 + rows(3_000, 22)], 1)
    cross = cross_products(X)
    centred = X - X.mean(0)
    assert torch.allclose(cross.mean, X.mean(0), rtol=1e-13)
    assert torch.allclose(cross.gram[1:, 1:], exact(centred, centred)[1:, 1:], rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("noise", [1.0, 1e-8, 0.0])
def test_the_sum_of_squares_is_that_of_the_residuals(noise: float):
    X = torch.cat([torch.ones(500, 1, dtype=torch.float64), rows(500, 4)], 1)
    y = X.sum(1) + noise * rows(500, 1, 7)[:, 0]
    objective = LeastSquares(X, y, torch.zeros(5, dtype=torch.float64), None)
    solution = solve(objective)
    residuals = y - X @ solution.working
    assert solution.ssr == pytest.approx(float(residuals @ residuals), rel=1e-9, abs=1e-27)


# ---- tables

SMALL = torch.arange(600, dtype=torch.float64) % 37


@pytest.mark.parametrize(
    "y",
    {
        "small": SMALL,
        "a matrix": SMALL.reshape(20, 30),
        "strided": SMALL.repeat_interleave(2)[::2],
        "fractions": SMALL + 0.5,
        "one large": torch.cat([SMALL, torch.tensor([LARGEST + 1.0], dtype=torch.float64)]),
        "the largest": torch.cat([SMALL, torch.tensor([float(LARGEST)], dtype=torch.float64)]),
        "few": SMALL[:5],
        "none": SMALL[:0],
        "single": SMALL.float(),
        "NaN": torch.cat([SMALL, torch.tensor([torch.nan], dtype=torch.float64)]),
        "infinite": torch.cat([SMALL, torch.tensor([torch.inf], dtype=torch.float64)]),
        "negative": SMALL - 1,
    }.values(),
)
def test_a_function_of_counts(y: torch.Tensor):
    def law(y, s):
        return torch.exp(-y) + y * s

    s = torch.tensor(0.3, dtype=y.dtype)
    found = Counts(y).apply(law, s)
    assert found.dtype == y.dtype
    assert torch.equal(found.isnan(), law(y, s).isnan())
    # the vector and the scalar instructions of an elementwise function may differ in the last bit
    assert torch.allclose(found, law(y, s), rtol=4 * torch.finfo(y.dtype).eps, atol=0, equal_nan=True)
    assert torch.allclose(Counts(y).log_factorial(), torch.lgamma(y + 1), rtol=1e-15, atol=0, equal_nan=True)


def test_a_table_made_under_inference_mode_serves_derivatives():
    y = SMALL.clone()
    at = torch.tensor(0.123456, dtype=torch.float64)
    with torch.inference_mode():
        tm.nb2_logpmf_log(y, at.expand(600), at)
    log_mu = torch.full((600,), 0.2, dtype=torch.float64, requires_grad=True)
    tm.nb2_logpmf_log(y, log_mu, at).sum().backward()
    assert bool(torch.isfinite(log_mu.grad).all())


@pytest.mark.parametrize("log_alpha", [-40.0, -3.0, 0.0, 2.0])
def test_nb2_from_tables_is_nb2_by_rows(log_alpha: float):
    """A dispersion that differs in one row, in its last digit, keeps the tables away."""
    y, log_mu = SMALL, 0.3 * rows(600, 1)[:, 0] + 1.0
    same = torch.full((600,), log_alpha, dtype=torch.float64)
    nearly = torch.cat([same[1:], torch.nextafter(same[:1], same[:1] + 1)])
    found = []
    for log_alphas in (same, nearly):
        a, b = log_mu.clone().requires_grad_(), log_alphas.clone().requires_grad_()
        value = tm.nb2_logpmf_log(y, a, b)
        first = torch.autograd.grad(value.sum(), [a, b], create_graph=True)
        second = torch.autograd.grad(first[1].sum(), [a, b])
        found.append([t.detach() for t in (value, *first, *second)])
    for table, plain in zip(*found, strict=True):
        assert torch.allclose(table, plain, rtol=1e-10, atol=1e-14)
