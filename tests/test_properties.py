"""Properties of the engine that hold for any data: units, order, repetition, missing rows, surroundings.

Hypothesis draws the data; ``derandomize`` makes every run the same.
"""

import functools
import os
import pickle
import random
import select
import signal
import threading
import warnings
from contextlib import contextmanager, nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchmle as tm

examples = functools.partial(settings, deadline=None, derandomize=True, database=None)

# Newton ends below a scaled gradient of 1e-16, or one full step after 1e-10: both are 1e-8 standard errors from the
# maximum, so that two fits are within 1e-7 of each other. Closed forms differ by rounding times a condition below 100.
NEWTON, CLOSED = 1e-7, 1e-11


class Exposed(tm.GenericLikelihoodModel):
    """Opaque, with row data: a Poisson with exposure and offset."""

    def loglikeobs(self, params):
        eta = self.exog @ params + self.t.log()
        eta = eta if self.offset is None else eta + self.offset
        return tm.poisson_logpmf_log(self.endog, eta)

    def predict_mean(self, params):
        return torch.exp(self.exog @ params)


def tensor(table) -> torch.Tensor:
    return torch.tensor(table.to_numpy())


# Name -> (class, response, whether it is fitted in closed form).
MODELS = {
    "ols": (tm.OLS, "y", True),
    "normal": (tm.OLS, "y", False),
    "logit": (tm.Logit, "d", False),
    "poisson": (tm.Poisson, "count", False),
    "negative_binomial": (tm.NegativeBinomial, "count", False),
}


def frame(seed: int, n: int = 150) -> pd.DataFrame:
    """Columns on a grid of 1/1024, so that shifts by whole numbers and scaling by powers of two are exact."""
    rng = np.random.default_rng(seed)
    x, z = (np.round(1024 * rng.standard_normal(n)) / 1024 for _ in range(2))
    eta = 0.4 + 0.6 * x - 0.5 * z
    columns = {"x": x, "z": z, "y": eta + rng.standard_normal(n), "d": (rng.logistic(size=n) < eta).astype(float)}
    columns["count"] = rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, n)).astype(float)
    columns |= {"g": rng.integers(0, 20, n), "w": rng.integers(1, 5, n), "v": rng.uniform(0.5, 2, n)}
    columns |= {"o": 0.3 * rng.standard_normal(n), "t": rng.uniform(0.5, 2, n), "c": rng.choice(["a", "b", "e"], n)}
    return pd.DataFrame(columns, index=rng.permutation(n) + 1000)


def fit(name: str, data: pd.DataFrame, right: str = "x + z", cov_type=None, cov_kwds=None, **options):
    """Fit a model of the table on a formula's right-hand side."""
    cls, response, closed = MODELS[name]
    model = cls.from_formula(f"{response} ~ {right}", data, **options)
    return model.fit(method=None if closed else "newton", cov_type=cov_type, cov_kwds=cov_kwds)


def tolerance(name: str) -> float:
    return CLOSED if MODELS[name][2] else NEWTON


def assert_same(a, b, tol: float, names=None) -> None:
    """Assert that two fits agree: estimates in standard errors, errors and log-likelihood relatively."""
    names = list(b.params.index) if names is None else names
    assert a.converged
    assert b.converged
    assert ((a.params[names] - b.params[names]).abs() <= tol * b.bse[names]).all()
    # Errors move with the estimates, by less than ten times as much; the llf is flat at the maximum.
    assert ((a.bse[names] / b.bse[names] - 1).abs() <= 10 * tol).all()
    assert abs(a.llf - b.llf) <= 1e-10 * (1 + abs(b.llf))


COVARIANCES = ["nonrobust", "opg", "HC0", "HC1", "cluster"]

seeds = st.integers(0, 2**20)
models = pytest.mark.parametrize("name", MODELS)


# --- Units and order ---------------------------------------------------------------------------------------------


@models
@given(seed=seeds, power=st.tuples(*[st.integers(-27, 27)] * 2))
@examples(max_examples=15)
def test_rescaled_columns_rescale_their_coefficients(name, seed, power):
    data = frame(seed)
    factors = pd.Series({"x": 2.0 ** power[0], "z": 2.0 ** power[1]})  # 7e-9 to 1.3e8, without rounding
    moved = data.assign(x=data.x * factors.x, z=data.z * factors.z)
    before, after = fit(name, data), fit(name, moved)
    size = factors.reindex(before.params.index, fill_value=1.0)
    assert_same_values(after.params * size, before.params, before.bse, tolerance(name))
    for cov_type in COVARIANCES:
        kwds = {"groups": "g"} if cov_type == "cluster" else None
        a, b = (r.with_cov(cov_type, kwds).bse for r in (after, before))
        np.testing.assert_allclose(a * size, b, rtol=10 * tolerance(name), err_msg=cov_type)
    assert after.llf == pytest.approx(before.llf, rel=1e-11)


@pytest.mark.parametrize("cov_type", COVARIANCES)
@pytest.mark.parametrize("name", ["ols", "normal"])
@given(seed=seeds, power=st.integers(-27, 27))
@examples(max_examples=5)
def test_a_rescaled_response_rescales_everything(name, cov_type, seed, power):
    data, kwds = frame(seed), {"groups": "g"} if cov_type == "cluster" else None
    moved = data.assign(y=data.y * 2.0**power)
    before, after = (fit(name, d, cov_type=cov_type, cov_kwds=kwds) for d in (data, moved))
    assert_same_values(after.params / 2.0**power, before.params, before.bse, tolerance(name))
    np.testing.assert_allclose(after.bse / 2.0**power, before.bse, rtol=10 * tolerance(name))
    # The density of y is in its inverse units.
    assert after.llf + len(data) * power * np.log(2) == pytest.approx(before.llf, rel=1e-10)


def assert_same_values(a, b, bse, tol):
    assert ((a - b).abs() <= tol * bse).all(), pd.DataFrame({"a": a, "b": b, "bse": bse})


@models
@given(seed=seeds, shift=st.tuples(*[st.integers(-(10**8), 10**8)] * 2))
@examples(max_examples=15)
def test_shifted_columns_keep_their_coefficients(name, seed, shift):
    data = frame(seed)
    moved = data.assign(x=data.x + shift[0], z=data.z + shift[1])
    assert (moved.x - shift[0] == data.x).all()  # the shift itself rounds nothing
    before, after = fit(name, data), fit(name, moved)
    slopes = [n for n in before.params.index if n != "Intercept"]
    # The means of the shifted columns are known to eps times the shift, 2e-8 of their deviation: that much, times
    # the slope, is left in what centring takes off; the rest is as without a shift.
    lost = np.finfo(float).eps * max(map(abs, shift))
    assert_same_values(after.params[slopes], before.params[slopes], before.bse[slopes], tolerance(name) + 0.01 * lost)
    np.testing.assert_allclose(after.bse[slopes], before.bse[slopes], rtol=10 * tolerance(name) + lost)
    assert after.llf == pytest.approx(before.llf, rel=1e-10)
    constant = after.params["Intercept"] + after.params["x"] * shift[0] + after.params["z"] * shift[1]
    rounding = 4 * lost * before.params[["x", "z"]].abs().sum()
    assert abs(constant - before.params["Intercept"]) <= tolerance(name) * before.bse["Intercept"] + rounding


@models
@given(seed=seeds)
@examples(max_examples=8)
def test_order_of_rows_and_columns(name, seed):
    data = frame(seed)
    reference = fit(name, data, "x + z + C(c)")
    rows = fit(name, data.sample(frac=1, random_state=seed), "x + z + C(c)")
    columns = fit(name, data, "C(c) + z + x")
    for other in (rows, columns):
        assert_same(other, reference, tolerance(name))
    fitted = rows.fittedvalues[reference.fittedvalues.index]
    np.testing.assert_allclose(fitted, reference.fittedvalues, rtol=10 * tolerance(name), atol=10 * tolerance(name))


# --- Weights and covariances -------------------------------------------------------------------------------------

STATISTICS = ["nobs", "df_resid", "df_model", "aic", "bic", "llf", "scale"]


@models
@pytest.mark.parametrize("cov_type", COVARIANCES)
@given(seed=seeds)
@examples(max_examples=4)
def test_frequency_weights_are_repeated_rows(name, cov_type, seed):
    data = frame(seed)
    counts = np.random.default_rng(seed).integers(0, 4, len(data))
    kwds = {"groups": "g"} if cov_type == "cluster" else None
    weighted = fit(name, data, cov_type=cov_type, cov_kwds=kwds, freq_weights=counts)
    repeated = fit(name, data.iloc[np.repeat(np.arange(len(data)), counts)], cov_type=cov_type, cov_kwds=kwds)
    assert_same(weighted, repeated, tolerance(name))
    for statistic in STATISTICS:
        assert getattr(weighted, statistic) == pytest.approx(getattr(repeated, statistic), rel=1e-9)
    np.testing.assert_allclose(weighted.pvalues, repeated.pvalues, rtol=1e-5, atol=1e-12)


@models
def test_singleton_clusters_are_hc0_up_to_the_correction(name):
    plain = fit(name, frame(3))
    n, K = plain.nobs, plain.inference.params if name == "ols" else len(plain.names)
    factors = {False: 1.0, "stata": n / (n - 1), True: n / (n - 1) * (n - 1) / (n - K)}
    expected = plain.with_cov("HC0").cov_params()
    for correction, factor in factors.items():
        kwds = {"groups": np.arange(len(frame(3))), "use_correction": correction}
        actual = plain.with_cov("cluster", kwds).cov_params()
        # The same products, added in another order.
        np.testing.assert_allclose(actual, factor * expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max().max())
    singles = {"groups": np.arange(len(frame(3)))}
    np.testing.assert_allclose(plain.with_cov("cluster", singles).bse, plain.with_cov("HC1").bse, rtol=1e-12)


def sandwich(name, cov_type, results, kind, w, groups):
    """The textbook formula in numpy, from scores by row and the Hessian (for least squares, with sigma^2 known)."""
    model = results.model
    if MODELS[name][2]:
        X, s2 = model.exog.numpy(), results.scale
        scores, information = X * results.resid.to_numpy()[:, None] / s2, (X * w[:, None]).T @ X / s2
    else:
        params = results.params.to_numpy()
        scores, information = model.score_obs(params), -model.hessian(params)
    bread, n, K = np.linalg.inv(information), results.nobs, scores.shape[1]
    meat = scores.T @ (scores * (w if kind == "freq_weights" else w**2)[:, None])
    sums = pd.DataFrame(scores * w[:, None]).groupby(np.asarray(groups)).sum().to_numpy()
    G = len(sums)
    return {
        "nonrobust": bread,
        "opg": np.linalg.inv(meat),
        "HC0": bread @ meat @ bread,
        "HC1": bread @ meat @ bread * n / (n - K),
        "cluster": bread @ (sums.T @ sums) @ bread * G / (G - 1) * (n - 1) / (n - K),
    }[cov_type]


KINDS = {None: None, "freq_weights": "w", "sampling_weights": "v"}


@models
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cov_type", COVARIANCES)
def test_covariances_are_the_textbook_formulas(name, cov_type, kind):
    data = frame(5)
    options = {} if kind is None else {kind: KINDS[kind]}
    kwds = {"groups": "g"} if cov_type == "cluster" else None
    if kind == "sampling_weights" and cov_type in ("nonrobust", "opg"):
        with pytest.raises(tm.OptionError, match="sampling_weights"):
            fit(name, data, cov_type=cov_type, **options)
        return
    results = fit(name, data, cov_type=cov_type, cov_kwds=kwds, **options)
    w = np.ones(len(data)) if kind is None else data[KINDS[kind]].to_numpy(dtype=float)
    expected = sandwich(name, cov_type, results, kind, w, data.g)
    # Rounding times the condition of the raw Hessian, below 1e3 here, and scores of 1e-8 left at the maximum.
    unit = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(results.cov_params() / unit, expected / unit, rtol=0, atol=1e-6)


# --- Prediction and missing rows ---------------------------------------------------------------------------------

RIGHT = [
    "x + C(c)",
    "x * C(g)",
    "I(x ** 2) + np.exp(z)",
    "bs(x, df=5) + z",
    "poly(x, 3) * c",
    "x:z + C(c):z",
    "C(c, contr.treatment('b')) + scale(x) + center(z)",
    "bs(x, df=4):C(c) + C(g > 9)",
]


@pytest.mark.parametrize("right", RIGHT)
@pytest.mark.parametrize("name", ["ols", "normal", "poisson"])
def test_prediction_on_the_rows_of_the_fit(name, right):
    data = frame(7, n=400)
    results = fit(name, data, right)
    # Formulas are evaluated anew; what they learnt (levels, knots, norms) must come from the fit.
    np.testing.assert_allclose(results.predict(data), results.fittedvalues, rtol=1e-12)
    for part in (data.sample(37, random_state=1), data[data.c == "b"], data.iloc[[5]]):
        expected = results.fittedvalues[part.index]
        predicted = results.predict(part)
        assert predicted.index.equals(part.index)
        np.testing.assert_allclose(predicted, expected, rtol=1e-12)


@pytest.mark.parametrize("right", ["x + C(c)", "bs(x, df=4) + z"])
def test_prediction_of_rows_with_holes(right):
    data = frame(7)
    results = fit("poisson", data, right)
    holes = data.assign(x=data.x.mask(np.arange(len(data)) % 4 == 1))
    predicted = results.predict(holes)
    assert predicted.isna().equals(holes.x.isna())
    np.testing.assert_allclose(predicted.dropna(), results.fittedvalues[predicted.notna()], rtol=1e-12)


# Extras that a model may be given, by column name: keyword -> column.
EXTRAS = [
    ("poisson", {"freq_weights": "w", "offset": "o"}, "HC1"),
    ("poisson", {"sampling_weights": "v", "exposure": "t", "groups": "g"}, "cluster"),
    ("logit", {"sampling_weights": "v"}, "HC1"),
    ("ols", {"var_weights": "v", "groups": "g"}, "cluster"),
    ("normal", {"var_weights": "v", "offset": "o"}, "HC1"),
    ("opaque", {"row_data": ["t"], "offset": "o", "groups": "g"}, "cluster"),
]


def build(name, data, options, arrays=False):
    cls, response = (Exposed, "count") if name == "opaque" else MODELS[name][:2]
    if not arrays:
        return cls.from_formula(f"{response} ~ x + z", data, **options)
    taken = {k: data[v] for k, v in options.items() if k != "row_data"}
    taken |= {"row_data": {v: data[v] for v in options["row_data"]}} if "row_data" in options else {}
    return cls(data[response], data[["x", "z"]].assign(one=1.0), **taken)


@pytest.mark.parametrize("arrays", [False, True], ids=["formula", "arrays"])
@pytest.mark.parametrize(("name", "options", "cov_type"), EXTRAS)
@given(seed=seeds)
@examples(max_examples=6)
def test_dropped_rows_are_as_if_they_had_never_been(name, options, cov_type, arrays, seed):
    data, rng = frame(seed), np.random.default_rng(seed)
    used = ["x", "z", MODELS[name][1] if name in MODELS else "count"]
    used += [c for v in options.values() for c in ([v] if isinstance(v, str) else v)]
    holed = data.copy()
    for column in used:
        holed[column] = holed[column].astype(float).mask(rng.random(len(data)) < 0.04)
    clean = holed.dropna(subset=used)
    assert 20 < len(clean) < len(data)
    with_holes, without = (build(name, d, options, arrays) for d in (holed, clean))
    a, b = (m.fit(cov_type=cov_type) for m in (with_holes, without))
    # The very same numbers enter: the results are the same to the bit.
    for what in ("params", "bse", "fittedvalues"):
        pd.testing.assert_series_equal(getattr(a, what), getattr(b, what), rtol=0, atol=0, check_exact=True)
    assert (a.llf, a.nobs) == (b.llf, b.nobs)
    assert with_holes.data.rows.total - with_holes.nobs == len(holed) - len(clean)


@pytest.mark.parametrize(("name", "options", "cov_type"), EXTRAS)
def test_late_groups_go_through_the_row_mask(name, options, cov_type):
    data = frame(11)
    holed = data.assign(x=data.x.mask(np.arange(len(data)) % 9 == 4))
    results = build(name, holed, options).fit(cov_type=cov_type)
    clean = build(name, holed.dropna(), options).fit(cov_type="cluster", cov_kwds={"groups": "g"})
    for groups in ("g", data.g.sample(frac=1, random_state=1), data.g.to_numpy()):
        np.testing.assert_array_equal(results.with_cov("cluster", {"groups": groups}).bse, clean.bse)


@pytest.mark.parametrize("arrays", [False, True], ids=["formula", "arrays"])
@pytest.mark.parametrize(("name", "options", "cov_type"), EXTRAS)
@given(seed=seeds)
@examples(max_examples=5)
def test_series_are_aligned_by_label(name, options, cov_type, arrays, seed):
    data = frame(seed)
    cls, response = (Exposed, "count") if name == "opaque" else MODELS[name][:2]

    def given_as(order):
        def take(v):
            return data[v].sample(frac=1, random_state=seed) if order else data[v]

        extras = {k: take(v) for k, v in options.items() if k != "row_data"}
        extras |= {"row_data": {v: take(v) for v in options["row_data"]}} if "row_data" in options else {}
        if arrays:
            return cls(take(response), data[["x", "z"]].assign(one=1.0), **extras).fit(cov_type=cov_type)
        return cls.from_formula(f"{response} ~ x + z", data, **extras).fit(cov_type=cov_type)

    shuffled, straight = given_as(True), given_as(False)
    np.testing.assert_array_equal(shuffled.params, straight.params)
    np.testing.assert_array_equal(shuffled.bse, straight.bse)


# --- Surroundings ------------------------------------------------------------------------------------------------


class OpaqueLogit(tm.GenericLikelihoodModel):
    def loglikeobs(self, params):
        return tm.log_sigmoid((2 * self.endog - 1) * (self.exog @ params))


FITS = {
    "ols": lambda data: tm.OLS.from_formula("y ~ x + C(c)", data).fit(cov_type="HC1"),
    "normal": lambda data: tm.OLS.from_formula("y ~ x + z", data, log_sigma="1 + z").fit(method="newton"),
    "logit": lambda data: tm.Logit.from_formula("d ~ x + z", data).fit(cov_type="cluster", cov_kwds={"groups": "g"}),
    "negative_binomial": lambda data: tm.NegativeBinomial.from_formula("count ~ x", data).fit(method="bfgs"),
    "opaque": lambda data: OpaqueLogit.from_formula("d ~ x + z", data).fit(cov_type="opg"),
    "opaque_arrays": lambda data: OpaqueLogit(data.d.to_numpy(), data[["x", "z"]].to_numpy()).fit(),
    "tensors": lambda data: tm.Poisson(tensor(data["count"]), tensor(data[["x", "z"]])).fit(),
    "sgd": lambda data: tm.Logit.from_formula("d ~ x + z", data).fit(
        method="sgd", seed=1, batch_size=32, maxiter=20, start_params=[0.4, 0.6, -0.5]
    ),
}
every_fit = pytest.mark.parametrize("name", FITS)


def numbers(results) -> tuple:
    """All that a fit reports, for comparison to the bit."""
    parts = [results.params, results.bse, results.hessian, results.predict() if has_mean(results) else results.params]
    return (*(np.asarray(p, dtype=float).tobytes() for p in parts), results.llf, results.nobs, results.engine)


def has_mean(results) -> bool:
    return not isinstance(results.model, OpaqueLogit)


@functools.cache
def expected(name: str, n: int = 150) -> tuple:
    with quiet(name):
        return numbers(FITS[name](frame(13, n)))


@contextmanager
def quiet(name: str):
    """Stochastic gradients do not get to the maximum in 20 epochs, and say so."""
    with warnings.catch_warnings():
        if name == "sgd":
            warnings.simplefilter("ignore", tm.ConvergenceWarning)
        yield


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def torch_threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "enable_grad": torch.enable_grad,
    "float32": lambda: default_dtype(torch.float32),
    "float16": lambda: default_dtype(torch.float16),
    "meta_device": lambda: torch.device("meta"),
    "numpy_raises": lambda: np.errstate(all="raise", under="ignore"),
    "anomaly": torch.autograd.detect_anomaly,
}


@every_fit
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_a_fit_is_the_same_under_any_mode_of_torch(name, mode):
    if name == "tensors" and mode == "meta_device":
        pytest.skip("the user's own torch.tensor would be without values")
    data, reference = frame(13), expected(name)
    with MODES[mode](), quiet(name):
        assert numbers(FITS[name](data)) == reference


@every_fit
@pytest.mark.parametrize("mode", [*MODES, "none"])
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_a_fit_leaves_everything_as_it_was(name, mode):
    if name == "tensors" and mode == "meta_device":
        pytest.skip("the user's own torch.tensor would be without values")
    expected(name)  # the first fit imports parts of torch, which set an environment variable and a warning filter
    data = frame(13)
    copy = data.copy(deep=True)
    with MODES.get(mode, nullcontext)(), quiet(name):
        before = surroundings()
        FITS[name](data)
        assert surroundings() == before
    pd.testing.assert_frame_equal(data, copy, check_exact=True)


def surroundings() -> dict:
    """What a fit must not change."""
    return {
        "dtype": torch.get_default_dtype(),
        "device": str(torch.get_default_device()),
        "threads": torch.get_num_threads(),
        "interop": torch.get_num_interop_threads(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch_rng": torch.get_rng_state().numpy().tobytes() if not on_meta() else None,
        "numpy_rng": pickle.dumps(np.random.get_state()),
        "python_rng": random.getstate(),
        "errstate": np.geterr(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "signal": signal.getsignal(signal.SIGINT),
        "pandas": (pd.get_option("display.max_rows"), pd.get_option("display.precision")),
    }


def on_meta() -> bool:
    return str(torch.get_default_device()) == "meta"


def test_read_only_arrays_are_taken_and_kept():
    data = frame(13)
    y, X = data.d.to_numpy().copy(), data[["x", "z"]].to_numpy().copy()
    writeable = tm.Logit(y.copy(), X.copy()).fit()
    for array in (y, X):
        array.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert numbers(tm.Logit(y, X).fit()) == numbers(writeable)


def test_options_are_not_written_to():
    options, kwds = {"lr": 0.1, "momentum": 0.5}, {"groups": frame(13).g, "use_correction": False}
    before = dict(options), dict(kwds)
    with quiet("sgd"):
        tm.Logit.from_formula("d ~ x", frame(13)).fit(method="sgd", maxiter=2, options=options)
    tm.Logit.from_formula("d ~ x", frame(13)).fit(cov_type="cluster", cov_kwds=kwds)
    assert options == before[0]
    assert kwds.keys() == before[1].keys()
    assert kwds["groups"].equals(before[1]["groups"])


# --- Threads and processes ---------------------------------------------------------------------------------------

LARGE = 40_000  # more than two chunks of rows: the pool of workers runs


@pytest.mark.parametrize("name", [n for n in FITS if n != "sgd"])
def test_the_number_of_threads_changes_rounding_only(name):
    data = frame(13, LARGE)
    with torch_threads(1):
        one = FITS[name](data)
    with torch_threads(2):
        two, again = FITS[name](data), FITS[name](data)
    assert numbers(two) == numbers(again)
    # The same sums in another order; the sample start makes both take the same path.
    assert ((one.params - two.params).abs() <= NEWTON * one.bse + 2 * NEWTON * (one.method == "bfgs")).all()
    np.testing.assert_allclose(one.bse, two.bse, rtol=10 * NEWTON)
    assert one.llf == pytest.approx(two.llf, rel=1e-11)


@pytest.mark.parametrize("n", [150, LARGE])
def test_fits_in_threads_at_once(n):
    names = ["ols", "logit", "opaque", "negative_binomial"] * 2
    reference = {name: expected(name, n) for name in names}
    data, found, threads = frame(13, n), {}, torch.get_num_threads()
    gate = threading.Barrier(len(names))

    def work(i):
        gate.wait()
        found[i] = numbers(FITS[names[i]](data))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(names))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [found[i] == reference[name] for i, name in enumerate(names)] == [True] * len(names)
    assert torch.get_num_threads() == threads


def in_child(work, seconds: float = 30.0):
    """Return what a forked child computes, or a sentence if it fails or does not come back."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = pickle.dumps(work())
        except BaseException as error:
            answer = pickle.dumps(f"the child raised {error!r}")
        os.write(send, answer)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], seconds)
        answer = pickle.load(pipe) if ready else "the child hangs"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return answer


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["ols", "logit", "opaque"])
def test_fit_after_fork(name):
    def work():
        results = FITS[name](data)
        params = results.params if name != "ols" else [*results.params, 1.0]  # the likelihood has sigma
        return hash(numbers(results)), results.model.loglike(params), results.model.hessian(params).tobytes()

    data = frame(13, LARGE)
    reference = work()  # the parent's pool of workers is up
    assert in_child(work) == reference
    assert work() == reference  # and still works
