"""An unchanged loglikeobs, lifted, gives what plain reverse-mode autograd gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchmle as tm

N = 400


def normal(mu, log_sigma, y):
    return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma


def helper(model, v):
    return model.exog @ v


def masked(model, params):
    mu = model.exog @ params[:-1]
    out = torch.empty_like(mu)
    inside = model.endog > 0
    out[inside] = normal(mu[inside], params[-1], model.endog[inside])
    out[~inside] = tm.log_ndtr(-mu[~inside] * torch.exp(-params[-1]))
    return out


def by_unpacking(model, params):
    *beta, log_sigma = params
    return normal(model.exog @ torch.stack(beta), log_sigma, model.endog)


def branching(model, params):
    return normal(
        model.exog @ params[:-1], params[-1] if float(params[-1].detach()) < 5 else 2 * params[-1], model.endog
    )


# name: (function, extra parameters, predictors found, entries used elsewhere)
FORMS = {
    "matmul": (lambda m, p: normal(m.exog @ p[:-1], p[-1], m.endog), ("ls",), 1, 1),
    "mv": (lambda m, p: normal(torch.mv(m.exog, p[:-1]), p[-1], m.endog), ("ls",), 1, 1),
    "einsum": (lambda m, p: normal(torch.einsum("ij,j->i", m.exog, p[:-1]), p[-1], m.endog), ("ls",), 1, 1),
    "einsum reversed": (lambda m, p: normal(torch.einsum("b,ab->a", p[:-1], m.exog), p[-1], m.endog), ("ls",), 1, 1),
    "transposed": (lambda m, p: normal(p[:-1] @ m.exog.T, p[-1], m.endog), ("ls",), 1, 1),
    "linear": (
        lambda m, p: normal(torch.nn.functional.linear(m.exog, p[None, :-1])[:, 0], p[-1], m.endog),
        ("ls",),
        1,
        1,
    ),
    "column": (lambda m, p: normal((m.exog @ p[:-1].reshape(-1, 1)).squeeze(1), p[-1], m.endog), ("ls",), 1, 1),
    "helper": (lambda m, p: normal(helper(m, p[:-1]), p[-1], m.endog), ("ls",), 1, 1),
    "curved v": (
        lambda m, p: normal(m.exog @ torch.stack([p[0], p[1] * p[2], p[2], torch.tanh(p[3])]), p[4], m.endog),
        ("ls",),
        1,
        1,
    ),
    "two predictors": (lambda m, p: normal(m.exog @ p[:4], m.exog[:, :2] @ p[4:], m.endog), ("a", "b"), 2, 0),
    "shared parameter": (lambda m, p: normal(m.exog @ p[:4], m.exog @ (0.1 * p[:4]), m.endog), (), 2, 0),
    "in place": (lambda m, p: normal((m.exog @ p[:-1]).add_(0.5), p[-1], m.endog), ("ls",), 1, 1),
    "masked": (masked, ("ls",), 1, 1),
    "unpacked": (by_unpacking, ("ls",), 1, 1),
    "branch on a parameter": (branching, ("ls",), 1, 1),
    "offset": (lambda m, p: normal(m.exog @ p[:-1] + m.z, p[-1], m.endog), ("ls",), 1, 1),
    "choice": (
        lambda m, p: torch.log_softmax(m.Z @ p[4:], dim=1)[:, 0] + normal(m.exog @ p[:4], p[:1].sum() * 0, m.endog),
        ("c1", "c2"),
        4,
        1,
    ),
}


def lifted_engine(predictors, others):
    counts = (
        f"{n} {what}{'' if n == 1 else 's'}"
        for n, what in ((predictors, "linear predictor"), (others, "other parameter"))
    )
    return f"lifted autograd ({', '.join(counts)})"


def data(seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(N), rng.normal(size=(N, 3))])
    y = np.maximum(X @ [0.3, 1.0, -0.5, 0.2] + 1.2 * rng.normal(size=N), 0)
    return y, X, {"z": rng.normal(size=N), "Z": rng.normal(size=(N, 3, 2))}


def both(function, extra, seed=0):
    """Return the same model, lifted and not."""
    y, X, row_data = data(seed)
    form = {"extra_params": extra, "loglikeobs": lambda self, params: function(self, params)}
    kinds = [type("Own", (tm.GenericLikelihoodModel,), {**form, "lifting": on}) for on in (True, False)]
    return [kind(y, X, row_data=row_data) for kind in kinds]


@pytest.mark.parametrize("name", FORMS)
def test_lifted_equals_plain(name):
    function, extra, predictors, others = FORMS[name]
    lifted, plain = (m.fit(cov_type="HC0") for m in both(function, extra))
    assert lifted.engine == lifted_engine(predictors, others)
    assert "switched off" in plain.engine
    assert lifted.converged
    assert plain.converged
    # the same maximum to 1e-7 standard errors, the same derivatives there to rounding of sums over 400 rows
    assert (abs(lifted.params - plain.params) <= 1e-7 * plain.bse).all()
    np.testing.assert_allclose(lifted.bse, plain.bse, rtol=1e-7)
    np.testing.assert_allclose(lifted.cov_params(), plain.cov_params(), rtol=1e-6, atol=1e-12)
    ids = np.arange(N) % 20
    clustered = [r.with_cov("cluster", {"groups": ids}).bse for r in (lifted, plain)]
    np.testing.assert_allclose(*clustered, rtol=1e-7)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda m, p: normal(sum(m.exog[:, j] * p[j] for j in range(4)), p[-1], m.endog), "no product"),
        (lambda m, p: normal((m.exog * p[:4]).sum(1), p[-1], m.endog), "no product"),
        (lambda m, p: normal(m.exog @ (p[:4] * m.endog.sign().mean()), p[-1], m.endog), "other rows"),
    ],
)
def test_what_cannot_be_lifted_says_why(function, words):
    model, _ = both(function, ("ls",))
    results = model.fit()
    assert words in results.engine
    assert results.converged


def test_products_that_depend_on_the_rows_fall_back():
    """A different number of products in different chunks cannot be added up, and plain autograd takes over."""

    def uneven(m, p):
        mu = m.exog @ p[:-1]
        if float(m.z.max()) > 1.0:
            mu = mu + 0 * (m.exog @ (2 * p[:-1]))
        return normal(mu, p[-1], m.endog)

    y, X, _ = data()
    n = 40_000  # more rows than one chunk holds
    y, X = np.tile(y, n // N), np.tile(X, (n // N, 1))
    kind = type("Own", (tm.GenericLikelihoodModel,), {"extra_params": ("ls",), "loglikeobs": lambda s, p: uneven(s, p)})
    model = kind(y, X, row_data={"z": (np.arange(n) < n // 2) * 2.0})
    results = model.fit()
    assert results.engine.startswith("reverse-mode autograd in row chunks (its products")
    reference = tm.OLS(y, X).fit(method="newton")
    np.testing.assert_allclose(results.params.iloc[:4], reference.params.iloc[:4], rtol=1e-8)


coefficients = st.lists(st.floats(-1.5, 1.5), min_size=6, max_size=6)


@settings(max_examples=25, deadline=None)
@given(theta=coefficients, mix=coefficients, power=st.sampled_from([1, 2, 3]), seed=st.integers(0, 50))
def test_random_models_lifted_equal_plain(theta, mix, power, seed):
    """Derivatives at random points of models whose coefficients are random smooth functions of the parameters."""
    weights = torch.tensor(mix, dtype=torch.float64)

    def function(m, p):
        v = torch.stack([p[0], p[1] + weights[0] * p[2] ** power, torch.sin(p[3] * weights[1]), p[2] * p[4]])
        eta = m.exog @ v
        return normal(eta, weights[2] * 0.1 * (m.exog[:, 1:3] @ p[3:5]) + 0.3 * torch.tanh(p[5]), m.endog)

    from torchmle.loglik.lifting import LiftedObjective
    from torchmle.loglik.opaque import OpaqueObjective

    y, X, row_data = data(seed)
    kind = type(
        "Own", (tm.GenericLikelihoodModel,), {"extra_params": ("a", "b"), "loglikeobs": lambda s, p: function(s, p)}
    )
    model = kind(y, X, row_data=row_data)
    pmap = model.make_map(model.param_names)
    plain = model.make_objective(pmap)
    assert isinstance(plain, OpaqueObjective)
    lifted = LiftedObjective(**plain.parts())
    at = torch.tensor(theta, dtype=torch.float64)
    ours, theirs = lifted.moments(at), plain.moments(at)
    size = float(theirs.hessian.abs().max()) + float(theirs.gradient.abs().max()) + 1.0
    np.testing.assert_allclose(ours.gradient, theirs.gradient, atol=1e-11 * size)
    np.testing.assert_allclose(ours.hessian, theirs.hessian, atol=1e-11 * size)
    np.testing.assert_allclose(lifted.scores(at), plain.scores(at), atol=1e-11 * size)
