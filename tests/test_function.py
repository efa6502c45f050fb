"""Likelihoods that are plain functions: what they read, what they are given, and that no check is left out."""

import functools
import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from statsmodels.discrete.conditional_models import ConditionalLogit

import torchmle as tm

RNG = np.random.default_rng(11)
WAGE = tm.datasets.load("wage1")
N = 300
X = np.column_stack([np.ones(N), RNG.normal(size=N) * 3])
Y = X @ [1.0, 2.0] + RNG.normal(size=N) * 0.5
FRAME = pd.DataFrame({"y": Y, "x": X[:, 1]})
LABELLED = pd.DataFrame(X, columns=["one", "x"])


def normal(p, d):
    return tm.normal_logpdf((d["y"] - d["X"] @ p["b"]) / p["s"]) - torch.log(p["s"])


def by_column(p, d):
    return tm.normal_logpdf((d["y"] - p["a"] - p["b"] * d["x"]) / p["s"]) - torch.log(p["s"])


def with_formula(p, d):
    return tm.normal_logpdf((d["endog"] - d["exog"] @ p["b"]) / p["s"]) - torch.log(p["s"])


def with_offset(p, d):
    return tm.normal_logpdf((d["y"] - d["X"] @ p["b"] - d["offset"]) / p["s"]) - torch.log(p["s"])


START = {"b": "X", "s": 1.0}
POSITIVE = {"s": "positive"}
make = functools.partial(tm.likelihood, transforms=POSITIVE)


def closed(y=Y, x=X):
    """Coefficients and sigma of least squares."""
    b, *_ = np.linalg.lstsq(x, y, rcond=None)
    return [*b, math.sqrt(((y - x @ b) ** 2).mean())]


# ---- linear regression with many columns, written down as it would be in numpy


def test_regression_with_many_columns():
    n, K = 5_000, 20
    x = np.column_stack([np.ones(n), RNG.normal(size=(n, K - 1)) * 10.0 ** RNG.integers(-2, 3, K - 1)])
    y = x @ RNG.normal(size=K) + RNG.normal(size=n)
    model = make(normal, START, {"y": y, "X": x})
    results = model.fit()
    ols = tm.OLS(y, x).fit()
    assert results.converged
    assert results.engine.startswith("lifted")
    np.testing.assert_allclose(results.params[:-1], ols.params, rtol=1e-8)
    np.testing.assert_allclose(results.bse[:-1], ols.bse * math.sqrt((n - K) / n), rtol=1e-9)
    assert list(results.params.index) == [*(f"b[{j}]" for j in range(K)), "s"]
    np.testing.assert_allclose(model.unpack(results.params)["b"], results.params[:-1], rtol=0)


@pytest.mark.parametrize("method", ["lbfgs", "bfgs"])
def test_first_order_methods_see_comparable_units(method):
    x = X * [1.0, 1e6]
    start = {"b": np.array([0.01, 1e-9]), "s": 1.0}  # typical sizes of a start must not undo the units of columns
    given = make(normal, START, {"y": Y, "X": x}).fit({"b": start["b"], "s": 1.0}, method=method)
    assert given.converged
    np.testing.assert_allclose(given.params, closed(Y, x), rtol=1e-5)


# ---- data in all shapes

FORMS = {
    "arrays": {"y": Y, "X": X},
    "read-only": {"y": np.broadcast_to(Y, Y.shape), "X": X},
    "lists": {"y": Y.tolist(), "X": X.tolist()},
    "tensors": {"y": torch.tensor(Y, requires_grad=True), "X": torch.tensor(X)},
    "column": {"y": Y[:, None], "X": X},
    "frames": {"y": FRAME.y, "X": LABELLED},
    "frame in another order": {"y": FRAME.y, "X": LABELLED.iloc[::-1]},
    "series in another order": {"y": FRAME.y.sample(frac=1, random_state=1), "X": LABELLED},
    "polars": {"y": pl.Series(Y), "X": pl.from_pandas(LABELLED)},
    "object column": {"y": FRAME.y.astype("Float64"), "X": LABELLED},
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_data(name):
    results = make(normal, START, FORMS[name]).fit()
    np.testing.assert_allclose(results.params, closed(), rtol=1e-9)
    named = "frame" in name or name in ("polars", "series in another order", "object column")
    assert list(results.params.index)[:2] == (["b[one]", "b[x]"] if named else ["b[0]", "b[1]"])


@pytest.mark.parametrize("table", [
    FRAME, pl.from_pandas(FRAME), pl.from_pandas(FRAME).to_arrow(), dict(FRAME),
    FRAME.assign(name="text", when=pd.Timestamp("2020-01-01"), empty=np.nan),
], ids=["pandas", "polars", "arrow", "dict", "columns that are not used"])  # fmt: skip
def test_tables(table):
    results = make(by_column, {"a": 0.0, "b": 0.0, "s": 1.0}, table).fit()
    np.testing.assert_allclose(results.params, closed(), rtol=1e-9)
    assert results.nobs == N
    assert list(results.params.index) == ["a", "b", "s"]


@pytest.mark.parametrize("read", [
    lambda d: {k: d[k] for k in ("y", "x")},
    lambda d: dict(d) if len(d) < 4 else {},
    lambda d: {"y": d.get("y"), "x": d.get("x", None), "z": d.get("nothing", 3)},
    lambda d: {"y": d["y"], "x": d["x"]} if "x" in d and "q" not in d else {},
], ids=["by name", "all", "get", "in"])  # fmt: skip
def test_all_ways_to_read_a_table(read):
    results = make(lambda p, d: by_column(p, read(d)), {"a": 0.0, "b": 0.0, "s": 1.0}, FRAME).fit()
    np.testing.assert_allclose(results.params, closed(), rtol=1e-9)


def test_missing_rows_go_everywhere():
    y, x = FRAME.y.copy(), LABELLED.copy()
    y[3], x.loc[7, "x"] = np.nan, np.nan
    keep = np.setdiff1d(np.arange(N), [3, 7])
    weights = pd.Series(np.ones(N)).sample(frac=1, random_state=2)
    weights[9] = 0
    results = make(normal, START, {"y": y, "X": x}, freq_weights=weights).fit()
    np.testing.assert_allclose(results.params, closed(Y[keep[keep != 9]], X[keep[keep != 9]]), rtol=1e-9)
    assert results.nobs == N - 3
    with pytest.raises(tm.DataError, match="missing"):
        make(normal, START, {"y": y, "X": x}, missing="raise")
    table = FRAME.assign(other=np.nan)
    table.loc[5, "x"] = np.nan
    assert make(by_column, {"a": 0.0, "b": 0.0, "s": 1.0}, table).fit().nobs == N - 1


def test_formula():
    formula = "lwage ~ educ + C(female)"
    model = make(with_formula, {"b": "exog", "s": 1.0}, WAGE, formula=formula, groups="numdep")
    results = model.fit(cov_type="cluster")
    other = tm.OLS.from_formula(formula, WAGE, groups="numdep").fit(method="newton", cov_type="cluster")
    np.testing.assert_allclose(results.params, other.params, rtol=1e-9)
    np.testing.assert_allclose(results.bse, other.bse, rtol=1e-7)
    assert list(results.params.index) == ["Intercept", "educ", "C(female)[T.1]", "s"]
    table = results.compare_ols()
    assert table.fits["rmse"].iloc[1] < 1e-9
    assert "likelihood" in results.summary().as_text() or "with_formula" in results.summary().as_text()


def test_formula_with_row_data():
    Z = np.column_stack([WAGE.exper, WAGE.tenure]).astype(float)

    def density(p, d):
        mean = d["exog"] @ p["b"] + d["Z"] @ p["c"]
        return tm.normal_logpdf((d["endog"] - mean) / p["s"]) - torch.log(p["s"])

    start = {"b": "exog", "c": "Z", "s": 1.0}
    results = make(density, start, WAGE, formula="lwage ~ educ", row_data={"Z": Z}).fit()
    other = tm.OLS.from_formula("lwage ~ educ + exper + tenure", WAGE).fit()
    np.testing.assert_allclose(results.params[:-1], other.params, rtol=1e-9)
    assert list(results.params.index) == ["Intercept", "educ", "c[0]", "c[1]", "s"]


def test_weights_groups_and_offset():
    w = RNG.integers(1, 4, N)
    data = {"y": Y, "X": X}
    weighted = make(normal, START, data, freq_weights=w).fit()
    np.testing.assert_allclose(weighted.params, closed(np.repeat(Y, w), np.repeat(X, w, 0)), rtol=1e-9)
    ids = np.arange(N) // 5
    early = make(normal, START, data, groups=ids).fit(cov_type="cluster")
    late = make(normal, START, data).fit(cov_type="cluster", cov_kwds={"groups": ids})
    by_name = make(by_column, {"a": 0.0, "b": 0.0, "s": 1.0}, FRAME.assign(g=ids), groups="g")
    later = make(by_column, {"a": 0.0, "b": 0.0, "s": 1.0}, FRAME.assign(g=ids))
    reference = tm.OLS(Y, X).fit(method="newton", cov_type="cluster", cov_kwds={"groups": ids})
    fits = [early, late, by_name.fit(cov_type="cluster"), later.fit(cov_type="cluster", cov_kwds={"groups": "g"})]
    for results in fits:
        np.testing.assert_allclose(results.bse, reference.bse, rtol=1e-7)
    shift = RNG.normal(size=N)
    moved = make(with_offset, START, {"y": Y + shift, "X": X}, offset=shift).fit()
    np.testing.assert_allclose(moved.params, closed(), rtol=1e-9)
    survey = make(normal, START, data, sampling_weights=w / 2.0).fit()
    assert survey.cov_type == "HC1"
    table = make(
        lambda p, d: by_column(p, {"y": d["y"] - d["offset"], "x": d["x"]}),
        {"a": 0.0, "b": 0.0, "s": 1.0},
        FRAME.assign(y=Y + shift, o=shift),
        offset="o",
    )
    np.testing.assert_allclose(table.fit().params, closed(), rtol=1e-9)


def test_single_precision():
    results = make(normal, START, {"y": Y, "X": X}, dtype="float32").fit()
    assert results.converged
    np.testing.assert_allclose(results.params, closed(), rtol=1e-4)
    with pytest.raises(tm.DeviceError):
        make(normal, START, {"y": Y, "X": X}, device="cuda:7")


def test_integers_index_and_carry_coefficients():
    kind = RNG.integers(0, 3, N)
    X3 = np.eye(3, dtype=int)[kind]
    y = np.array([0.0, 1.0, 5.0])[kind] + RNG.normal(size=N)
    means = [y[kind == j].mean() for j in range(3)]
    by_index = tm.likelihood(
        lambda p, d: tm.normal_logpdf(d["y"] - p["m"][d["k"]]), {"m": np.zeros(3)}, {"y": y, "k": kind}
    )
    by_matrix = tm.likelihood(lambda p, d: tm.normal_logpdf(d["y"] - d["X"] @ p["m"]), {"m": "X"}, {"y": y, "X": X3})
    for model in (by_index, by_matrix):
        np.testing.assert_allclose(model.fit().params, means, rtol=1e-9)


# ---- choices: (n, J, k)


def test_conditional_logit_equals_statsmodels():
    n, J, k = 250, 4, 3
    x = RNG.normal(size=(n, J, k))
    chosen = (x @ [1.0, -0.5, 0.2] + RNG.gumbel(size=(n, J))).argmax(1)

    def choice(p, d):
        utility = d["x"] @ p["b"]
        return utility.gather(1, d["chosen"][:, None])[:, 0] - torch.logsumexp(utility, 1)

    model = tm.likelihood(choice, {"b": np.zeros(k)}, {"x": x, "chosen": chosen})
    ours = model.fit()
    flags = (np.arange(J) == chosen[:, None]).ravel() * 1
    theirs = ConditionalLogit(flags, x.reshape(-1, k), groups=np.repeat(np.arange(n), J))
    reference = theirs.fit(method="newton", disp=False)
    np.testing.assert_allclose(ours.params, reference.params, rtol=1e-6)  # their optimizer's accuracy
    np.testing.assert_allclose(ours.bse, reference.bse, rtol=1e-5)
    assert ours.llf == pytest.approx(reference.llf, rel=1e-10)
    plain = tm.likelihood(choice, {"b": np.zeros(k)}, {"x": x, "chosen": chosen}, lifting=False).fit()
    np.testing.assert_allclose(ours.params, plain.params, rtol=1e-9)
    np.testing.assert_allclose(ours.bse, plain.bse, rtol=1e-9)


# ---- starts, names and shapes

SHAPES = {  # start -> names
    "number": ({"a": 1}, ["a"]),
    "zero-dimensional": ({"a": np.array(1.0)}, ["a"]),
    "vector": ({"a": [1, 2]}, ["a[0]", "a[1]"]),
    "tensor": ({"a": torch.zeros(2)}, ["a[0]", "a[1]"]),
    "series": ({"a": pd.Series([1.0, 2.0], ["u", "v"])}, ["a[u]", "a[v]"]),
    "matrix": ({"a": np.zeros((2, 2))}, ["a[0,0]", "a[0,1]", "a[1,0]", "a[1,1]"]),
    "frame": ({"a": pd.DataFrame(np.zeros((1, 2)), ["r"], ["u", "v"])}, ["a[r,u]", "a[r,v]"]),
    "cube": ({"a": np.zeros((1, 2, 1))}, ["a[0,0,0]", "a[0,1,0]"]),
    "one entry": ({"a": [0.0]}, ["a[0]"]),
    "two blocks": ({"b": 1.0, "a": [0.0]}, ["b", "a[0]"]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_names_and_shapes_of_blocks(name):
    start, names = SHAPES[name]
    seen = {}

    def density(p, d):
        seen.update({k: tuple(v.shape) for k, v in p.items()})
        return tm.normal_logpdf(d["y"] - sum(v.sum() for v in p.values()))

    model = tm.likelihood(density, start, {"y": Y})
    assert list(model.param_names) == names
    values = np.arange(1.0, len(names) + 1)
    model.loglike(values)
    assert seen == {k: np.shape(v) for k, v in start.items()}
    blocks = model.unpack(values)
    np.testing.assert_array_equal(np.concatenate([b.ravel() for b in blocks.values()]), values)


def test_a_matrix_of_coefficients_is_lifted_as_its_columns():
    """A multinomial logit by a (k, 2) matrix, against the same with two vectors."""
    choice = RNG.integers(0, 3, N)

    def logit(eta, d):
        full = torch.cat([torch.zeros_like(eta[:, :1]), eta], 1)
        return torch.log_softmax(full, 1).gather(1, d["k"][:, None])[:, 0]

    data = {"X": X, "k": choice}
    together = tm.likelihood(lambda p, d: logit(d["X"] @ p["W"], d), {"W": np.zeros((2, 2))}, data).fit()
    apart = tm.likelihood(
        lambda p, d: logit(torch.stack([d["X"] @ p["u"], d["X"] @ p["v"]], 1), d), {"u": "X", "v": "X"}, data
    ).fit()
    assert together.converged
    W = together.model.unpack(together.params)["W"]
    np.testing.assert_allclose(W.T.ravel(), apart.params, rtol=1e-7, atol=1e-9)
    order = ["W[0,0]", "W[1,0]", "W[0,1]", "W[1,1]"]
    np.testing.assert_allclose(together.bse[order], apart.bse, rtol=1e-8)


def test_starting_values_by_block_by_parameter_and_in_order():
    model = make(normal, START, {"y": Y, "X": X})
    starts = [{"b": [1.0, 2.0], "s": 0.5}, {"b[0]": 1.0, "b[1]": 2.0, "s": 0.5}, [1.0, 2.0, 0.5],
              pd.Series([0.5, 2.0, 1.0], ["s", "b[1]", "b[0]"])]  # fmt: skip
    for start in starts:
        results = model.fit(start)
        assert dict(results.record.start) == pytest.approx({"b[0]": 1.0, "b[1]": 2.0, "s": 0.5})
        np.testing.assert_allclose(results.params, closed(), rtol=1e-9)
    resumed = model.fit(resume=results)
    assert resumed.fit.iterations <= 1
    for start, words in [
        ({"b": [1.0, 2.0]}, "no value for s"),
        ({"b": [1.0], "s": 1.0}, r"has shape \(1,\); it must be \(2,\)"),
        ({"b": [1.0, 2.0], "s": -1.0}, "outside its range"),
        ({"b": [1.0, 2.0], "s": 1.0, "q": 0.0}, "Unknown block"),
        ({"b": [1.0, 2.0], "s": None}, "real numbers"),
    ]:
        with pytest.raises(tm.OptionError, match=words):
            model.fit(start)


# ---- nothing of the checks is left out


def detached(p, d):
    return normal({"b": p["b"], "s": p["s"].detach()}, d)


def coupled(p, d):
    return normal(p, {"y": d["y"] - d["y"].mean(), "X": d["X"]})


@pytest.mark.parametrize(("fn", "words"), [
    (lambda p, d: normal(p, d).sum(), "returned a scalar"),
    (lambda p, d: None, "returned None"),
    (lambda p, d: normal(p, d)[:, None], "squeeze"),
    (lambda p, d: normal(p, d).detach(), "does not depend on the parameters"),
    (lambda p, d: normal(p, d).float(), "computes in torch.float64"),
    (lambda p, d: normal(p, d) + torch.rand(1).double(), "different values for the same parameters"),
    (lambda p, d: np.log(p["s"]) * d["y"], "use the torch function"),
    (lambda p: p["s"], "TypeError"),
    (detached, "detached: its derivative with respect to s is wrong"),
    (lambda p, d: p["t"], "Unknown name in the parameters: 't'. Available: b, s"),
    (lambda p, d: d["x"], "Unknown name in the data: 'x'. Did you mean 'X'"),
    (lambda p, d: normal(p, d) - math.inf, "infinite in 300 of 300 rows"),
], ids=str)  # fmt: skip
def test_bad_functions(fn, words):
    with pytest.raises(tm.TorchmleError, match=words):
        make(fn, START, {"y": Y, "X": X}).fit()


def test_a_function_whose_rows_depend_on_each_other():
    results = make(coupled, START, {"y": Y, "X": X}).fit()
    assert "all rows at once" in results.engine
    with pytest.raises(tm.OptionError):
        make(coupled, START, {"y": Y, "X": X}).fit(cov_type="HC1")


def test_an_offset_that_is_not_read_is_refused():
    with pytest.raises(tm.OptionError, match=r"normal does not use data\['offset'\]"):
        make(normal, START, {"y": Y, "X": X}, offset=np.ones(N)).fit()


@pytest.mark.parametrize(("data", "words"), [
    ({}, "data is empty"),
    (None, "NoneType"),
    (3, "builtins.int"),
    (X, "numpy.ndarray"),
    ({"y": Y, "X": X[:5]}, r"data\['X'\] has 5 rows, but 'y' has 300"),
    ({"y": Y, "X": X, "k": 3}, r"data\['k'\] is int, which has no rows"),
    ({"y": Y, "X": X, "k": None}, r"data\['k'\] is NoneType"),
    ({"y": Y, "X": X, "k": "abc"}, r"data\['k'\] is str"),
    ({"y": Y, "X": X, "k": torch.tensor(1.0)}, r"data\['k'\] is Tensor"),
    ({"y": Y[:0], "X": X[:0]}, "no rows"),
    ({"y": Y[:1], "X": X[:1]}, "at least two"),
    ({"y": Y + 0j, "X": X}, r"data\['y'\] is complex"),
    ({"y": Y, "X": X + 0j}, r"data\['X'\] is complex"),
    ({"y": Y, "X": LABELLED.assign(x="a")}, r"data\['X'\] column 'x' holds text"),
    ({"y": Y, "X": LABELLED.assign(x=pd.Timestamp("2020-01-01"))}, r"data\['X'\] column 'x' holds dates"),
    ({"y": pd.Series(["a"] * N), "X": X}, r"data\['y'\] holds text"),
    ({"y": [[1.0], [2.0, 3.0]], "X": X[:2]}, "cannot be read as an array"),
    ({"y": np.full(N, np.nan), "X": X}, "No row is left"),
    ({"y": FRAME.y, "X": LABELLED.set_axis(range(1000, 1000 + N))}, "aligned by its index"),
    (FRAME.assign(x="text"), r"data\['x'\] holds text"),
], ids=lambda v: str(v)[:40])  # fmt: skip
def test_bad_data(data, words):
    fn, start = (by_column, {"a": 0.0, "b": 0.0, "s": 1.0}) if isinstance(data, pd.DataFrame) else (normal, START)
    with pytest.raises(tm.DataError, match=words):
        make(fn, start, data)


@pytest.mark.parametrize(("arguments", "words"), [
    ({"fn": 3}, "fn is int; it must be a function"),
    ({"start": [1, 2]}, "must be a dict of block name"),
    ({"start": {}}, "must be a dict of block name"),
    ({"start": {"b": "Z", "s": 1.0}}, "Unknown data matrix in start.*Available: X"),
    ({"start": {"b": "X", "s": None}}, "must hold real numbers"),
    ({"start": {"b": "X", "s": True}}, "must hold real numbers"),
    ({"start": {"b": "X", "s": math.nan}}, "not finite"),
    ({"start": {"b": [], "s": 1.0}}, "is empty"),
    ({"start": {"b": [[1, 2], [3]], "s": 1.0}}, "cannot be read as an array"),
    ({"start": {"b": "X", "b[0]": 1.0, "s": 1.0}}, r"would be called b\[0\]"),
    ({"transforms": ["s"]}, "must be a dict such as"),
    ({"transforms": {"q": "positive"}}, "Unknown block in transforms"),
    ({"row_data": {"z": Y}}, "row_data goes with a formula"),
    ({"groups": "g"}, "names a column, but"),
    ({"missing": "keep"}, "Unknown missing"),
    ({"freq_weights": np.ones(N), "sampling_weights": np.ones(N)}, "one kind of weights"),
], ids=str)  # fmt: skip
def test_bad_arguments(arguments, words):
    given = {"fn": normal, "start": START, "data": {"y": Y, "X": X}, "transforms": POSITIVE, **arguments}
    with pytest.raises(tm.TorchmleError, match=words):
        tm.likelihood(**given)


@pytest.mark.parametrize(("matrix", "kind", "words"), [
    (np.zeros((2, 3)), "covariance", r"symmetric \(d, d\) matrix"),
    (np.array([[1.0, 0.5], [0.1, 1.0]]), "covariance", r"symmetric \(d, d\) matrix"),
    (np.eye(2) * 2, "correlation", "ones on its diagonal"),
    (np.eye(1), "correlation", r"symmetric \(d, d\) matrix"),
    (1.0, "covariance", r"symmetric \(d, d\) matrix"),
], ids=str)  # fmt: skip
def test_bad_matrices(matrix, kind, words):
    with pytest.raises(tm.OptionError, match=words):
        tm.likelihood(normal, {"V": matrix}, {"y": Y}, transforms={"V": kind})


def test_nothing_of_the_users_is_changed():
    data = {"y": FRAME.y.copy(), "X": LABELLED.copy()}
    start = {"b": np.array([0.0, 0.0]), "s": 1.0}
    transforms = dict(POSITIVE)
    tm.likelihood(normal, start, data, transforms=transforms).fit()
    assert list(data) == ["y", "X"]
    pd.testing.assert_frame_equal(data["X"], LABELLED)
    assert start["b"].tolist() == [0.0, 0.0]
    assert transforms == POSITIVE


def test_derivatives_anywhere():
    model = make(normal, START, {"y": Y, "X": X})
    at = {"b[0]": 0.5, "b[1]": 1.5, "s": 0.8}
    values, h = np.array(list(at.values())), 1e-6
    slopes = [(model.loglike(values + h * e) - model.loglike(values - h * e)) / (2 * h) for e in np.eye(3)]
    np.testing.assert_allclose(model.score(at), slopes, rtol=1e-6)
    np.testing.assert_allclose(model.score_obs(at).sum(0), model.score(at), rtol=1e-9)
    curves = [(model.score(values + h * e) - model.score(values - h * e)) / (2 * h) for e in np.eye(3)]
    np.testing.assert_allclose(model.hessian(at), curves, rtol=1e-5, atol=1e-4)
    again = model.take(torch.arange(100)).take(slice(50, 60))  # a part of a part
    full = model.loglikeobs(torch.tensor(values))
    torch.testing.assert_close(again.loglikeobs(torch.tensor(values)), full[50:60])
