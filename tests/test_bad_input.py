"""Hand torchmle what users hand in by mistake: one table of cases, what must happen, and what must be said.

A case raises an error of our own, gives a warning of our own, or is right without a word. The words are a
regular expression for what the user must be told: the column, the rows, the nearest name, what to do.
"""

import datetime
import functools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch

import torchmle as tm
from torchmle import (
    CollinearityWarning,
    ConvergenceWarning,
    DataError,
    DataWarning,
    DeviceError,
    FormulaError,
    LikelihoodError,
    OptionError,
    TorchmleError,
    UndefinedStatisticError,
)

OK = "ok"  # no error and no warning of any kind, and the check holds
SAFE = "refused or right"  # an error of our own that says the words, or a result for which the check holds

N = 60


def make_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "y": rng.normal(size=N),
            "x": rng.normal(size=N),
            "z": rng.normal(size=N),
            "b": (rng.normal(size=N) > 0).astype(float),
            "c": rng.poisson(2, N),
            "g": rng.integers(0, 6, N),
            "s": list("abc") * 20,
            "w": rng.uniform(1, 2, N),
        }
    )


DF = make_frame()
ROW = np.arange(N)
GAP = DF["x"].where(ROW != 3)  # x with row 3 missing
CONST = np.column_stack([np.ones(N), DF["x"]])
FAR = [1.0, -1.0]  # several steps from the maximum of ``b ~ x``; the default start is one


def with_(**columns: Any) -> pd.DataFrame:
    """The frame with some columns replaced or added."""
    return DF.assign(**columns)


def ols(formula: str = "y ~ x", data: Any = DF, **options: Any) -> Any:
    return tm.OLS.from_formula(formula, data, **options)


def fit(formula: str = "y ~ x", data: Any = DF, fit_options: Any = None, **options: Any) -> Any:
    return ols(formula, data, **options).fit(**(fit_options or {}))


def logit(data: Any = DF, formula: str = "b ~ x", **options: Any) -> Any:
    """A logit fit; the options are those of ``fit``."""
    return tm.Logit.from_formula(formula, data).fit(**options)


def poisson(formula: str = "c ~ x", data: Any = DF, **options: Any) -> Any:
    return tm.Poisson.from_formula(formula, data, **options)


def clustered(groups: Any, data: Any = DF) -> Any:
    return fit("y ~ x", data, {"cov_type": "cluster", "cov_kwds": {"groups": groups}})


@functools.cache
def done(kind: str) -> Any:
    """Fits that cases share and only look at."""
    return {
        "ols": lambda: fit("y ~ x + s"),
        "arrays": lambda: tm.OLS(DF["y"], DF[["x", "z"]]).fit(),
        "unnamed": lambda: tm.OLS(DF["y"].to_numpy(), DF[["x", "z"]].to_numpy()).fit(),
        "logit": logit,
        "exposure": lambda: poisson(exposure="w").fit(),
        "own": lambda: own(probit),
        "constant": lambda: fit("y ~ 1"),
    }[kind]()


def probit(model: Any, params: torch.Tensor) -> torch.Tensor:
    return tm.log_ndtr((2 * model.endog - 1) * (model.exog @ params))


def normal(model: Any, params: torch.Tensor) -> torch.Tensor:
    return tm.normal_logpdf((model.endog - model.exog @ params[:2]) * torch.exp(-params[-1])) - params[-1]


def build(body: Any, method: str = "loglikeobs", extra: Any = (), data: Any = DF, **options: Any) -> Any:
    """A model whose likelihood is ``body(model, params)``."""
    kind = type("Mine", (tm.GenericLikelihoodModel,), {method: body, "extra_params": extra})
    return kind(data["b"], tm.add_constant(data[["x"]]), **options)


def own(body: Any, method: str = "loglikeobs", extra: Any = (), data: Any = DF, **options: Any) -> Any:
    return build(body, method, extra, data, **options).fit()


def declared(body: Any, predictors: Any = None, **formulas: Any) -> Any:
    """A fit of a declarative model whose density is ``body(model, y, *etas)``."""
    kind = type("Mine", (tm.LinearPredictorModel,), {"predictors": predictors or {"mu": "1"}, "logdensity": body})
    return kind.from_formula("y ~ x", DF, **formulas).fit()


def attached(value: Any, data: pd.DataFrame) -> Any:
    """A fit of a model to which row data were attached by hand."""
    model = build(lambda m, p: probit(m, p) * m.extra, data=data)
    model.extra = value
    return model.fit()


def counted(change: Callable[[torch.Tensor], Any], after: int = 8) -> Any:
    """A fit whose likelihood is spoilt from its call number ``after`` on."""
    calls = []

    def body(model: Any, params: torch.Tensor) -> Any:
        calls.append(1)
        values = probit(model, params)
        return values if len(calls) < after else change(values)

    return own(body)


def local_series_by_label() -> Any:
    reversed_rows = DF["x"].iloc[::-1]
    assert len(reversed_rows) == N
    return tm.OLS.from_formula("y ~ reversed_rows", DF).fit()


def local_array_and_missing_rows() -> Any:
    beside = DF["x"].to_numpy()
    assert len(beside) == N
    return tm.OLS.from_formula("y ~ beside", with_(y=DF["y"].where(ROW != 3))).fit()


def local_scalar() -> Any:
    factor = 3
    assert factor
    return tm.OLS.from_formula("y ~ I(x * factor)", DF).fit()


def masked(array: Any) -> Any:
    """The array with its first row masked; a program that forgets the mask uses a million there."""
    mask = np.zeros(np.shape(array), dtype=bool)
    mask[0] = True
    return np.ma.masked_array(np.where(mask, 1e6, array), mask=mask)


# ---- checks


def close(results: Any, reference: Any, rtol: float = 1e-8) -> bool:
    """Same estimates and errors, whatever their names."""
    pairs = ((results.params, reference.params), (results.bse, reference.bse))
    return all(np.allclose(a.to_numpy(), b.to_numpy(), rtol=rtol, atol=1e-12) for a, b in pairs)


def same_as(formula: str = "y ~ x", data: Any = DF, **options: Any) -> Callable[[Any], bool]:
    return lambda results: close(results, fit(formula, data, **options))


def uses(rows: float) -> Callable[[Any], bool]:
    return lambda results: results.nobs == rows


def names(*expected: str) -> Callable[[Any], bool]:
    return lambda results: list(results.params.index) == list(expected)


def without_row(position: int) -> Callable[[Any], bool]:
    """Same as least squares on the frame without a row."""
    return lambda results: close(results, fit("y ~ x", DF.drop(index=position)))


def flagged(results: Any) -> bool:
    return not results.converged and results.bse.isna().all()


def clustered_as_usual(results: Any) -> bool:
    return close(results, clustered("g"))


def always(_: Any) -> bool:
    return True


@dataclass(frozen=True)
class Case:
    """What a user does, what must happen, and the words that must be said."""

    id: str
    run: Callable[[], Any]
    expect: Any
    words: str = ""
    check: Callable[[Any], Any] = always


def powers(dtype: str, power: int, top: int) -> tuple[Callable[[], Any], Callable[[Any], bool]]:
    """A power that overflows in the integer's own arithmetic, and the same in floating point."""
    values = np.linspace(0, top, N).astype(dtype)
    return (
        lambda: fit(f"y ~ I(k ** {power})", with_(k=values)),
        same_as("y ~ q", with_(q=values.astype(float) ** power)),
    )


INT8, INT32, INT64, UINT8 = (
    powers(*a) for a in (("int8", 3, 120), ("int32", 3, 10**6), ("int64", 4, 10**7), ("uint8", 2, 250))
)
POLARS = pl.DataFrame(DF.to_dict("list"))
ARROW = pa.Table.from_pandas(DF)

CASES = [
    # ---- formulas: reading
    Case("typo", lambda: ols("y ~ xx"), DataError, "'xx'.*Did you mean 'x'.*Columns: y, x"),
    Case("no tilde", lambda: ols("y"), FormulaError, "no response.*'y ~ x1"),
    Case("one-sided", lambda: ols("~ x"), FormulaError, "no response"),
    Case("empty formula", lambda: ols(""), FormulaError, "must be a string such as"),
    Case("formula None", lambda: ols(None), FormulaError, "None; it must be a string"),
    Case("formula number", lambda: ols(5), FormulaError, "5; it must be a string"),
    Case("formula list", lambda: ols(["y", "x"]), FormulaError, "must be a string"),
    Case("comparison outside I", lambda: ols("(y>0) ~ x"), FormulaError, r"inside I\(\.\.\.\).*I\(y > 0\)"),
    Case("offset()", lambda: poisson("c ~ x + offset(z)"), FormulaError, "offset='z' by keyword"),
    Case("response on the right", lambda: ols("y ~ y + x"), FormulaError, "'y' is the response and also"),
    Case("response inside a term", lambda: logit(formula="I(x>0) ~ x"), FormulaError, "'x' is the response"),
    Case("two responses", lambda: ols("y + x ~ z"), FormulaError, "2 responses; one is allowed"),
    Case("two parts", lambda: ols("y ~ x | z"), FormulaError, "by keyword"),
    Case("dangling plus", lambda: ols("y ~ x +"), FormulaError, "Cannot read.*'y ~ x \\+'"),
    Case("open bracket", lambda: ols("y ~ log(x"), FormulaError, "Cannot read"),
    Case("two tildes", lambda: ols("y ~ x ~ z"), FormulaError, "Cannot read"),
    Case("unknown operator", lambda: ols("y ~ x $ z"), FormulaError, r"Unknown operator '\$'"),
    Case("bad Python", lambda: ols("y ~ I(x x)"), FormulaError, r"I\(x x\)"),
    Case("empty call", lambda: ols("y ~ log()"), FormulaError, r"log\(\)"),
    Case("division by zero", lambda: ols("y ~ I(1/0)"), FormulaError, "division by zero"),
    Case("unknown method", lambda: ols("y ~ x.foo()"), FormulaError, "foo"),
    Case("unknown function", lambda: ols("y ~ myf(x)"), FormulaError, "'myf'.*no known function"),
    Case("builtin for a column", lambda: ols("y ~ max"), FormulaError, "'y ~ max'"),
    Case("no columns", lambda: fit("y ~ 0"), TorchmleError, "no (column|regressor|term)"),
    Case("no columns, logit", lambda: logit(formula="b ~ 0"), TorchmleError, "no (column|regressor|term)"),
    Case("constant only", lambda: fit("y ~ 1"), OK, check=names("Intercept")),
    Case("dot", lambda: fit("y ~ .", DF[["y", "x", "z"]]), OK, check=names("Intercept", "x", "z")),
    Case("term twice", lambda: fit("y ~ x + x"), OK, check=same_as()),
    Case("backticks", lambda: fit("y ~ `my x`", with_(**{"my x": DF["x"]})), OK, check=same_as()),
    Case("backticks in a call", lambda: fit("y ~ exp(`my x`)", with_(**{"my x": DF["x"]})), OK,
         check=same_as("y ~ exp(x)")),
    Case("backticked response", lambda: fit("`my y` ~ x", with_(**{"my y": DF["y"]})), OK, check=same_as()),
    Case("backticks, no column", lambda: ols("y ~ `my x`"), DataError, "'my x'.*no column"),
    Case("letters of any language", lambda: fit("y ~ größe", with_(größe=DF["x"])), OK, check=same_as()),
    Case("column called log", lambda: fit("y ~ log", with_(log=DF["x"])), OK, check=same_as()),
    Case("column called C", lambda: fit("y ~ C", with_(C=DF["x"])), OK, check=same_as()),
    Case("column called T", lambda: fit("y ~ T", with_(T=DF["x"])), OK, check=same_as()),
    Case("column called Intercept", lambda: fit("y ~ Intercept", with_(Intercept=DF["x"])), SAFE, "Intercept",
         check=lambda r: r.params.index.is_unique),
    Case("equation by keyword, typo", lambda: ols(log_sgma="x"), OptionError, "Did you mean 'log_sigma'"),
    Case("equation by keyword, number", lambda: ols(log_sigma=5), FormulaError, "must be a string"),
    Case("equation by keyword, two-sided", lambda: ols(log_sigma="y ~ x"), FormulaError, "one-sided"),
    Case("main equation by keyword", lambda: ols(mu="x"), OptionError, "takes the main formula"),
    # ---- formulas: names of the caller
    Case("caller's scalar", local_scalar, OK, check=same_as("y ~ I(x * 3)")),
    Case("caller's Series in another order", local_series_by_label, SAFE, "reversed_rows", check=same_as()),
    Case("caller's array and dropped rows", local_array_and_missing_rows, SAFE, "beside.*(59|60) ",
         check=without_row(3)),
    # ---- formulas: what transforms do to rows
    Case("log of negatives", lambda: fit("y ~ log(x)"), DataWarning, r"27 rows were dropped.*log\(x\)",
         check=uses(33)),
    Case("root of negatives", lambda: fit("y ~ np.sqrt(x)"), DataWarning, r"np.sqrt\(x\)", check=uses(33)),
    Case("log of zero", lambda: ols("y ~ log(c)"), DataError, r"'log\(c\)' is infinite in 5 of 60 rows"),
    Case("log of a zero response", lambda: ols("log(c) ~ x"), DataError, r"'log\(c\)' is infinite in 5"),
    Case("exp overflows", lambda: ols("y ~ exp(x)", with_(x=DF["x"] * 1000)), DataError,
         "infinite in 17 of 60"),
    Case("lag", lambda: fit("y ~ lag(x)"), DataWarning, r"1 rows? w.*lag\(x\)",
         check=same_as("y ~ q", with_(q=DF["x"].shift(1)))),
    Case("lag across a dropped row", lambda: fit("y ~ lag(x)", with_(y=DF["y"].where(ROW != 9))), DataWarning,
         r"lag\(x\)", check=same_as("y ~ q", with_(y=DF["y"].where(ROW != 9), q=DF["x"].shift(1)))),
    Case("shift across a dropped row", lambda: fit("y ~ x.shift(1)", with_(y=DF["y"].where(ROW != 9))),
         (DataWarning, DataError), r"^(?!.*No row is left).*shift",
         check=same_as("y ~ q", with_(y=DF["y"].where(ROW != 9), q=DF["x"].shift(1)))),
    Case("running sum across a dropped row", lambda: fit("y ~ x.cumsum()", with_(y=DF["y"].where(ROW != 9))),
         SAFE, "cumsum",
         check=same_as("y ~ q", with_(y=DF["y"].where(ROW != 9), q=DF["x"].cumsum()))),
    Case("interaction with missing", lambda: fit("y ~ x:s", with_(x=GAP)), OK, check=uses(59)),
    Case("comparison with missing", lambda: fit("y ~ I(x > 0)", with_(x=GAP)), OK, check=uses(59)),
    Case("stateful transform on used rows", lambda: fit("y ~ poly(x, 2)", with_(y=DF["y"].where(ROW != 3))),
         OK, check=same_as("y ~ poly(x, 2)", DF.drop(index=3))),
    # ---- dtypes in formulas
    Case("int8 to a power", INT8[0], OK, check=INT8[1]),
    Case("int32 to a power", INT32[0], OK, check=INT32[1]),
    Case("int64 to a power", INT64[0], OK, check=INT64[1]),
    Case("uint8 to a power", UINT8[0], OK, check=UINT8[1]),
    Case("uint8 less a number", lambda: fit("y ~ I(k - 30)", with_(k=ROW.astype("uint8"))), OK,
         check=same_as("y ~ I(k - 30)", with_(k=ROW.astype(float)))),
    Case("int8 response to a power", lambda: fit("I(k ** 3) ~ x", with_(k=ROW.astype("int8"))), OK,
         check=same_as("I(k ** 3) ~ x", with_(k=ROW.astype(float)))),
    Case(
        "int8, both category and number",
        lambda: fit("y ~ I(k ** 5) + C(k):x", with_(k=(ROW % 5 + 50).astype("int8"))),
        OK,
        check=lambda r: np.isclose(
            r.llf, fit("y ~ q + C(k):x", with_(k=ROW % 5 + 50, q=(ROW % 5 + 50.0) ** 5)).llf
        ),
    ),
    Case("sum of two bools", lambda: fit("y ~ I(p + q)", with_(p=DF["x"] > 0, q=DF["z"] > 0)), SAFE, "bool",
         check=same_as("y ~ I(p + q)", with_(p=(DF["x"] > 0) * 1.0, q=(DF["z"] > 0) * 1.0))),
    Case("bool column", lambda: fit("y ~ p", with_(p=DF["x"] > 0)), OK,
         check=same_as("y ~ p", with_(p=(DF["x"] > 0) * 1.0))),
    Case("Int64 with NA", lambda: fit("y ~ k", with_(k=pd.array([None, *range(59)], dtype="Int64"))), OK,
         check=uses(59)),
    Case("boolean with NA",
         lambda: fit("y ~ k", with_(k=pd.array([None, True, False] * 20, dtype="boolean"))), OK,
         check=uses(40)),
    Case("string dtype", lambda: fit("y ~ s", with_(s=DF["s"].astype("string"))), OK, check=same_as("y ~ s")),
    Case("string dtype with NA", lambda: fit("y ~ s", with_(s=DF["s"].astype("string").where(ROW != 3))), OK,
         check=same_as("y ~ s", DF.drop(index=3))),
    Case("convert_dtypes", lambda: fit("y ~ x + s", DF.convert_dtypes()), OK, check=same_as("y ~ x + s")),
    Case("arrow strings", lambda: fit("y ~ x + s", DF.convert_dtypes(dtype_backend="pyarrow")), OK,
         check=same_as("y ~ x + s")),
    Case("text with None", lambda: fit("y ~ s", with_(s=DF["s"].where(ROW != 3, None))), OK, check=uses(59)),
    Case("numbers as objects", lambda: fit("y ~ x", with_(x=DF["x"].astype(object))), DataWarning,
         "'x' has object dtype but holds numbers", check=same_as()),
    Case("Decimals", lambda: fit("y ~ x", with_(x=[Decimal(repr(float(v))) for v in DF["x"]])), DataWarning,
         "'x' has object dtype", check=same_as()),
    Case("numbers as text", lambda: ols("y ~ x", with_(x=DF["x"].astype(str))), DataError,
         "'x'.*numbers stored as text"),
    Case("numbers and text", lambda: ols("y ~ k", with_(k=pd.Series([1, "a"] * 30, dtype=object))), DataError,
         "'k'"),
    Case(
        "a number late in a column of text",
        lambda: ols(
            "y ~ k", pd.DataFrame({"y": np.sin(np.arange(1200.0)), "k": ["a", "b"] * 550 + [1, 2] * 50})
        ),
        DataError,
        "'k'",
    ),
    Case("lists in a column", lambda: ols("y ~ k", with_(k=[[1, 2]] * N)), DataError,
         r"'k' holds objects \(list"),
    Case("dicts in a column", lambda: ols("y ~ k", with_(k=[{"a": 1}] * N)), DataError,
         r"'k' holds objects \(dict"),
    Case("bytes in a column", lambda: ols("y ~ k", with_(k=[b"a", b"b"] * 30)), DataError, "'k' holds text"),
    Case("dates", lambda: ols("y ~ k", with_(k=pd.date_range("2000", periods=N))), DataError,
         "'k' holds dates.*days"),
    Case("dates with a zone", lambda: ols("y ~ k", with_(k=pd.date_range("2000", periods=N, tz="UTC"))),
         DataError, "'k' holds dates"),
    Case("durations", lambda: ols("y ~ k", with_(k=pd.to_timedelta(ROW, unit="D"))), DataError,
         "'k' holds dates or dur"),
    Case("periods", lambda: ols("y ~ k", with_(k=pd.period_range("2000", periods=N, freq="M"))), DataError,
         "'k'"),
    Case("complex", lambda: ols("y ~ k", with_(k=DF["x"] + 0j)), DataError, "'k' is complex"),
    Case("complex by a term", lambda: ols("y ~ I(x * 1j)"), DataError, "complex"),
    Case("complex response by a term", lambda: ols("I(y * 1j) ~ x"), DataError, "complex"),
    Case("integers beyond 2**53", lambda: fit("y ~ x + k", with_(k=ROW + 2**62)), CollinearityWarning, "'k'",
         check=same_as()),
    Case("all missing", lambda: ols("y ~ x", with_(x=np.nan)), DataError,
         "No row is left of 60: x missing: 60"),
    Case("all None", lambda: ols("y ~ x", with_(x=None)), DataError, "No row is left of 60: x missing: 60"),
    Case("infinite", lambda: ols("y ~ x", with_(x=DF["x"].where(ROW != 5, np.inf))), DataError,
         r"'x' is infinite in 1 of 60 rows \(e.g. row 5\)"),
    Case("infinite response", lambda: ols("x ~ y", with_(x=DF["x"].where(ROW != 5, -np.inf))), DataError,
         "'x' is infinite"),
    Case("infinite where another is missing",
         lambda: fit("y ~ x + z", with_(x=GAP, z=DF["z"].where(ROW != 3, np.inf))), OK, check=uses(59)),
    Case("missing", lambda: fit("y ~ x", with_(x=GAP)), OK, check=without_row(3)),
    Case("missing='raise'", lambda: ols("y ~ x", with_(x=GAP), missing="raise"), DataError, "x missing: 1"),
    Case("missing='raise', column called weight",
         lambda: ols("y ~ weight", with_(weight=GAP), missing="raise"), DataError, "weight missing: 1"),
    Case("missing weight, missing='raise'", lambda: ols(var_weights=DF["w"].where(ROW != 3), missing="raise"),
         DataError, "var_weights missing: 1"),
    Case("zero weight, missing='raise'", lambda: fit(freq_weights=(ROW != 3) * 1, missing="raise"), OK,
         check=without_row(3)),
    # ---- categories
    Case("text", lambda: fit("y ~ s"), OK, check=names("Intercept", "s[T.b]", "s[T.c]")),
    Case("unused levels", lambda: fit("y ~ s", with_(s=pd.Categorical(DF["s"], categories=list("abcd")))), OK,
         check=same_as("y ~ s")),
    Case("level lost with missing rows", lambda: fit("y ~ s", with_(y=DF["y"].where(DF["s"] != "b"))), OK,
         check=names("Intercept", "s[T.c]")),
    Case("ordered levels", lambda: fit("y ~ s", with_(s=pd.Categorical(DF["s"], list("cba"), ordered=True))),
         OK, check=names("Intercept", "s[T.b]", "s[T.a]")),
    Case("numeric levels", lambda: fit("y ~ s", with_(s=pd.Categorical(ROW % 3))), OK,
         check=names("Intercept", "s[T.1]", "s[T.2]")),
    Case("missing level", lambda: fit("y ~ s", with_(s=pd.Categorical(DF["s"].where(ROW != 3)))), OK,
         check=uses(59)),
    Case("one level only", lambda: fit("y ~ x + s", with_(s="a")),
         (CollinearityWarning, DataWarning, DataError), "'?s'?"),
    Case("C() of Int64 with NA", lambda: fit("y ~ C(k)", with_(k=pd.array([None, 1, 2] * 20, dtype="Int64"))),
         OK, check=uses(40)),
    Case("C() of lists", lambda: ols("y ~ C(k)", with_(k=[[1]] * N)), DataError, "C\\(k\\)"),
    Case("text response", lambda: tm.Logit.from_formula("s ~ x", DF), DataError,
         r"'s' is not one numeric.*I\(y == 'yes'\)"),
    # ---- tables
    Case("no table", lambda: ols(data=None), DataError, "NoneType; from_formula needs a data frame"),
    Case("array for a table", lambda: ols(data=DF[["y", "x"]].to_numpy()), DataError,
         r"ndarray.*Model\(endog, exog\)"),
    Case("list for a table", lambda: ols(data=[{"y": 1, "x": 2}] * 3), DataError, "list; from_formula needs"),
    Case("Series for a table", lambda: ols(data=DF["x"]), DataError, "Series; from_formula needs"),
    Case("path for a table", lambda: ols(data="data.csv"), DataError, "str; from_formula needs"),
    Case("dict", lambda: fit(data=DF.to_dict("list")), OK, check=same_as()),
    Case("dict of tensors", lambda: fit(data={k: torch.tensor(DF[k].to_numpy()) for k in "xy"}), OK,
         check=same_as()),
    Case("dict, uneven", lambda: ols(data={"y": [1, 2, 3], "x": [1, 2]}), DataError, "length"),
    Case("dict of scalars", lambda: ols(data={"y": 1.0, "x": 2.0}), DataError, "scalar|column"),
    Case("dict of matrices", lambda: ols(data={"y": DF["y"].to_numpy(), "x": np.ones((N, 2))}), DataError,
         "dimension|column"),
    Case("empty", lambda: ols(data=DF.iloc[:0]), DataError, "empty: 0 rows, 8 columns"),
    Case("one row", lambda: ols(data=DF.iloc[:1]), DataError, "1 row; at least two"),
    Case("column twice", lambda: ols(data=pd.concat([DF, DF[["x"]]], axis=1)), DataError,
         "2 columns named 'x'"),
    Case("two levels of columns", lambda: ols(data=pd.concat({"A": DF}, axis=1)), DataError,
         "'y'.*no column"),
    Case("two levels of rows",
         lambda: fit(data=DF.set_index(pd.MultiIndex.from_product([range(20), list("abc")]))), OK,
         check=same_as()),
    Case("labels twice", lambda: fit(data=DF.set_axis([0] * N)), OK, check=same_as()),
    Case("labels of text", lambda: fit(data=with_(x=GAP).set_axis([f"r{i}" for i in ROW])), OK,
         check=lambda r: list(r.resid.index[2:4]) == ["r2", "r4"]),
    Case("lazy frame", lambda: ols(data=POLARS.lazy()), DataError, r"LazyFrame; call .collect\(\)"),
    Case("polars", lambda: fit("y ~ x + s", POLARS), OK, check=same_as("y ~ x + s")),
    Case("polars Categorical in another row order",
         lambda: fit("y ~ s", POLARS.reverse().with_columns(pl.col("s").cast(pl.Categorical))), OK,
         check=names("Intercept", "s[T.b]", "s[T.c]")),
    Case("polars Enum", lambda: fit("y ~ s", POLARS.with_columns(pl.col("s").cast(pl.Enum(["c", "b", "a"])))),
         OK, check=names("Intercept", "s[T.b]", "s[T.a]")),
    Case("polars null text",
         lambda: fit("y ~ s", pl.DataFrame({"y": DF["y"].to_numpy(), "s": [None, *DF["s"][1:]]})), OK,
         check=uses(59)),
    Case("polars null integer",
         lambda: fit("y ~ x", pl.DataFrame({"y": DF["y"].to_numpy(), "x": [None, *range(59)]})), OK,
         check=uses(59)),
    Case("polars null bool",
         lambda: fit("y ~ x", pl.DataFrame({"y": list(DF["y"]), "x": [None, *[True, False] * 29, True]})), OK,
         check=uses(59)),
    Case("polars dates",
         lambda: ols("y ~ t", POLARS.with_columns(pl.lit(datetime.date(2000, 1, 1)).alias("t"))), DataError,
         "'t' holds dates"),
    Case("polars lists", lambda: ols("y ~ t", POLARS.with_columns(pl.Series("t", [[1, 2]] * N))), DataError,
         "'t'"),
    Case("polars structs", lambda: ols("y ~ t", POLARS.with_columns(pl.Series("t", [{"a": 1}] * N))),
         DataError, "'t'"),
    Case("polars Int8 to a power",
         lambda: fit("y ~ I(k ** 3)", POLARS.with_columns(pl.Series("k", ROW.astype("int8")))), OK,
         check=same_as("y ~ I(k ** 3)", with_(k=ROW.astype(float)))),
    Case("arrow", lambda: fit("y ~ x + s", ARROW), OK, check=same_as("y ~ x + s")),
    Case("arrow dictionary",
         lambda: fit("y ~ s", pa.table({"y": DF["y"], "s": pa.array(DF["s"]).dictionary_encode()})), OK,
         check=same_as("y ~ s")),
    Case("arrow null", lambda: fit("y ~ x", pa.table({"y": DF["y"], "x": [None, *DF["x"][1:]]})), OK,
         check=uses(59)),
    Case("arrow column twice",
         lambda: ols("y ~ x", pa.table([DF["y"], DF["x"], DF["x"]], names=["y", "x", "x"])), DataError,
         "2 columns named 'x'"),
    Case("arrow times",
         lambda: ols("y ~ t", ARROW.append_column("t", pa.array(pd.date_range("2000", periods=N)))),
         DataError, "'t' holds dates"),
    # ---- the response
    Case("(n, 1)", lambda: tm.OLS(DF[["y"]].to_numpy(), CONST).fit(), OK, check=same_as()),
    Case("(n, 2)", lambda: tm.OLS(DF[["y", "x"]].to_numpy(), CONST), DataError,
         r"shape \(60, 2\); it must be one column"),
    Case("(1, n)", lambda: tm.OLS(DF["y"].to_numpy()[None], CONST), DataError, "endog has 1 rows"),
    Case("(n, 1, 1)", lambda: tm.OLS(np.ones((N, 1, 1)), CONST), DataError, r"endog has shape \(60, 1, 1\)"),
    Case("no response", lambda: tm.OLS(None, CONST), DataError, "endog"),
    Case("scalar response", lambda: tm.OLS(3.0, CONST), DataError, "endog"),
    Case("0-dim response", lambda: tm.OLS(np.array(3.0), CONST), DataError, "endog"),
    Case("short response", lambda: tm.OLS(DF["y"].to_numpy()[:5], CONST), DataError,
         "endog has 5 rows.*have 60"),
    Case("one-column frame called name", lambda: tm.OLS(pd.DataFrame({"name": DF["y"]}), CONST).fit(), OK,
         check=same_as()),
    Case("response by label",
         lambda: tm.OLS(DF["y"].sample(frac=1, random_state=1), tm.add_constant(DF[["x"]])).fit(), OK,
         check=same_as()),
    Case("response with other labels", lambda: tm.OLS(DF["y"].set_axis(ROW + 100), DF[["x"]]), DataError,
         "endog is aligned by its index.*to_numpy"),
    Case("response with a label twice", lambda: tm.OLS(DF["y"].set_axis([0] * N), DF[["x"]]), DataError,
         "not unique"),
    Case("response of text", lambda: tm.Logit(np.array(["0", "1"] * 30), CONST), DataError,
         "endog holds text"),
    Case("response all missing", lambda: tm.OLS(DF["y"] * np.nan, DF[["x"]]), DataError, "endog missing: 60"),
    Case("response infinite", lambda: tm.OLS(DF["y"].where(ROW != 4, np.inf), DF[["x"]]), DataError,
         r"endog is infinite in 1 of 60 rows \(e.g. row 4\)"),
    Case("constant response", lambda: str(fit("k ~ x", with_(k=3.0)).summary()), OK,
         check=lambda text: "nan" in text.lower()),
    Case("logit of 1 and 2", lambda: tm.Logit.from_formula("k ~ x", with_(k=DF["b"] + 1)), DataError,
         r"'k' holds 1, 2 .*I\(y == 2\)"),
    Case("logit of -1 and 1", lambda: tm.Logit(2 * DF["b"] - 1, CONST), DataError, "holds -1, 1"),
    Case("logit of fractions", lambda: tm.Logit.from_formula("w ~ x", DF), DataError,
         "'w' holds 1.01.*in 60 of 60 rows"),
    Case("logit of text", lambda: tm.Logit.from_formula("k ~ x", with_(k=np.where(DF["b"] > 0, "yes", "no"))),
         DataError, "no.*yes"),
    Case("logit of one value", lambda: tm.Logit.from_formula("k ~ x", with_(k=1.0)), DataError,
         "'k' is 1 in every row"),
    Case("logit of one value among used rows",
         lambda: tm.Logit.from_formula("b ~ x", DF, freq_weights=(DF["b"] == 1) * 1), DataError,
         "'b' is 1 in every row"),
    Case("logit of bool", lambda: logit(with_(b=DF["b"] > 0)), OK, check=lambda r: close(r, done("logit"))),
    Case("logit of boolean with NA", lambda: logit(with_(b=(DF["b"] > 0).astype("boolean").where(ROW != 3))),
         OK, check=uses(59)),
    Case("probit of fractions", lambda: tm.Probit.from_formula("w ~ x", DF), DataError,
         "Probit needs a response of 0 and 1"),
    Case("negative counts", lambda: poisson("y ~ x"), DataError, "'y' is negative in 28 of 60 rows"),
    Case("fractions, Poisson", lambda: poisson("w ~ x").fit(), DataWarning, "'w' is not a whole number.*HC1",
         check=lambda r: r.converged),
    Case("fractions, NB2", lambda: tm.NegativeBinomial.from_formula("w ~ x", DF), DataError,
         "NegativeBinomial needs counts"),
    Case("zeros only", lambda: poisson("k ~ x", with_(k=0)), DataError, "'k' is 0 in every row"),
    Case("infinite count", lambda: poisson("k ~ x", with_(k=DF["c"].where(ROW != 1, np.inf))), DataError,
         "'k' is infinite"),
    Case("negative count in a dropped row",
         lambda: poisson("c ~ x", with_(x=GAP, c=DF["c"].where(ROW != 3, -1))).fit(), OK, check=uses(59)),
    # ---- arrays
    Case("lists", lambda: tm.OLS(list(DF["y"]), CONST.tolist()).fit(), OK, check=same_as()),
    Case("tuples", lambda: tm.OLS(tuple(DF["y"]), tuple(map(tuple, CONST))).fit(), OK, check=same_as()),
    Case("column order", lambda: tm.OLS(DF["y"].to_numpy(), np.asfortranarray(CONST)).fit(), OK,
         check=same_as()),
    Case("reversed views", lambda: tm.OLS(DF["y"].to_numpy()[::-1], CONST[::-1]).fit(), OK, check=same_as()),
    Case("strided views",
         lambda: tm.OLS(np.repeat(DF["y"].to_numpy(), 2)[::2], np.repeat(CONST, 2, 0)[::2]).fit(), OK,
         check=same_as()),
    Case("other byte order", lambda: tm.OLS(DF["y"].to_numpy().astype(">f8"), CONST.astype(">f8")).fit(), OK,
         check=same_as()),
    Case("float32 arrays", lambda: tm.OLS(DF["y"].to_numpy("f4"), CONST.astype("f4")).fit(), OK,
         check=lambda r: close(r, fit(), rtol=1e-5)),
    Case("integers", lambda: tm.OLS(DF["y"], DF[["c", "g"]].to_numpy()).fit(), OK,
         check=same_as("y ~ c + g - 1")),
    Case("bools", lambda: tm.OLS(DF["y"], CONST > 0).fit(), OK,
         check=same_as("y ~ p", with_(p=(DF["x"] > 0) * 1.0))),
    Case("objects", lambda: tm.OLS(DF["y"], tm.add_constant(DF[["x"]]).astype(object)).fit(), DataWarning,
         "object dtype but holds", check=same_as()),
    Case("text", lambda: tm.OLS(DF["y"], DF[["s"]]), DataError, "'s' holds text"),
    Case("dates", lambda: tm.OLS(DF["y"], pd.DataFrame({"t": pd.date_range("2000", periods=N)})), DataError,
         "'t' holds dates"),
    Case("complex", lambda: tm.OLS(DF["y"], CONST + 0j), DataError, "exog is complex"),
    Case("complex tensor", lambda: tm.OLS(DF["y"], torch.tensor(CONST + 0j)), DataError, "complex"),
    Case("masked response", lambda: tm.OLS(masked(DF["y"].to_numpy()), CONST).fit(), SAFE, "mask",
         check=without_row(0)),
    Case("masked regressors", lambda: tm.OLS(DF["y"].to_numpy(), masked(CONST)).fit(), SAFE, "mask",
         check=without_row(0)),
    Case("masked weights", lambda: tm.OLS(DF["y"], CONST, var_weights=masked(np.ones(N))).fit(), SAFE, "mask",
         check=without_row(0)),
    Case("sparse matrix", lambda: tm.OLS(DF["y"], scipy.sparse.csr_matrix(CONST)), DataError, "sparse|csr"),
    Case("sparse response", lambda: tm.OLS(scipy.sparse.csr_matrix(CONST[:, 1:]), CONST), DataError,
         "sparse|csr"),
    Case("sparse tensor", lambda: tm.OLS(DF["y"], torch.tensor(CONST).to_sparse()), DataError, "sparse"),
    Case("meta tensor", lambda: tm.OLS(torch.ones(5, device="meta"), torch.ones(5, 2)), DataError, "meta"),
    Case("bfloat16", lambda: tm.OLS(torch.tensor(DF["y"].to_numpy(), dtype=torch.bfloat16), CONST).fit(), OK,
         check=uses(60)),
    Case("tensors with a gradient",
         lambda: tm.OLS(*(torch.tensor(a, requires_grad=True) for a in (DF["y"].to_numpy(), CONST))).fit(),
         OK, check=same_as()),
    Case("3-dim regressors", lambda: tm.OLS(DF["y"], np.ones((N, 2, 2))), DataError,
         r"\(60, 2, 2\).*must be \(n, k\)"),
    Case("0-dim regressors", lambda: tm.OLS(DF["y"].to_numpy(), np.array(2.0)), DataError, "rows"),
    Case("ragged lists", lambda: tm.OLS([1, 2, 3], [[1, 2], [3], [4, 5]]), DataError, "exog"),
    Case("no columns", lambda: tm.OLS(DF["y"], np.ones((N, 0))), DataError, "at least one column"),
    Case("column twice", lambda: tm.OLS(DF["y"], pd.concat([DF[["x"]], DF[["x"]]], axis=1)), DataError,
         "same name: x"),
    Case("arrow table", lambda: tm.OLS(DF["y"], pa.table(DF[["x", "z"]])).fit(), OK, check=names("x", "z")),
    Case("polars frame", lambda: tm.OLS(pl.Series(DF["y"].to_numpy()), POLARS[["x", "z"]]).fit(), OK,
         check=names("x", "z")),
    Case("polars text", lambda: tm.OLS(DF["y"], POLARS[["x", "s"]]), DataError, "'s' holds text"),
    Case("Int64 with NA",
         lambda: tm.OLS(DF["y"], pd.DataFrame({"k": pd.array([None, *range(59)], dtype="Int64")})).fit(), OK,
         check=uses(59)),
    Case("NaN", lambda: tm.OLS(DF["y"], tm.add_constant(pd.DataFrame({"x": GAP}))).fit(), OK,
         check=without_row(3)),
    Case("NaN, missing='raise'", lambda: tm.OLS(DF["y"], pd.DataFrame({"x": GAP}), missing="raise"),
         DataError, "x missing: 1"),
    Case("infinite", lambda: tm.OLS(DF["y"], np.where(ROW[:, None] == 3, np.inf, CONST)), DataError,
         r"'const' is infinite|'x1' is infinite"),
    Case("regressors by label",
         lambda: tm.OLS(DF["y"], tm.add_constant(DF[["x"]]).sample(frac=1, random_state=2)).fit(), OK,
         check=same_as()),
    Case("fewer rows than columns",
         lambda: tm.OLS(np.arange(3.0), np.random.default_rng(1).normal(size=(3, 5))), DataError,
         "5 coefficients cannot be estimated from 3 rows"),
    Case("fewer rows than columns, after drops", lambda: ols("y ~ x + z", with_(x=DF["x"].where(ROW < 2))),
         DataError, "3 coefficients cannot be estimated from 2 rows"),
    Case("as many rows as columns", lambda: fit("y ~ x + z", DF[:3]), DataWarning,
         "no residual degrees of freedom", check=lambda r: r.bse.isna().all()),
    Case("as many rows as columns, summary", lambda: str(fit("y ~ x + z", DF[:3]).summary()), DataWarning,
         "no residual", check=lambda text: "nan" in text.lower()),
    Case("as many rows as columns, HC1", lambda: fit("y ~ x + z", DF[:3], {"cov_type": "HC1"}), DataWarning,
         "no residual", check=lambda r: r.bse.isna().all()),
    Case("as many rows as columns, HC0", lambda: fit("y ~ x + z", DF[:3], {"cov_type": "HC0"}), DataWarning,
         "no residual", check=lambda r: r.bse.isna().all()),
    Case("as many rows as columns, cluster",
         lambda: fit("y ~ x + z", DF[:3], {"cov_type": "cluster", "cov_kwds": {"groups": [1, 2, 3]}}),
         DataWarning, "no residual", check=lambda r: r.bse.isna().all()),
    Case("as many rows as parameters, likelihood", lambda: fit("y ~ x + z", DF[:3], {"method": "newton"}),
         OptionError, "4 parameters cannot be estimated from 3 rows"),
    # ---- collinear columns
    Case("collinear", lambda: fit("y ~ x + z + I(x + z)"), CollinearityWarning,
         r"Dropped 'I\(x \+ z\)'.*combination of x, z", check=same_as("y ~ x + z")),
    Case("collinear='raise'", lambda: ols("y ~ x + I(2 * x)", collinear="raise"), DataError,
         r"'I\(2 \* x\)'.*of x"),
    Case("collinear typo", lambda: ols(collinear="keep"), OptionError, "'keep'.*drop, raise"),
    Case("zero column", lambda: logit(with_(k=0.0), "b ~ x + k"), CollinearityWarning,
         "'k' is zero in every row", check=lambda r: close(r, done("logit"))),
    Case("constant column", lambda: fit("y ~ x + k", with_(k=7.0)), CollinearityWarning, "'k'.*of Intercept",
         check=same_as()),
    Case("all dummies and a constant", lambda: fit("y ~ d0 + d1", with_(d0=ROW % 2, d1=1 - ROW % 2)),
         CollinearityWarning, "'d1'", check=names("Intercept", "d0")),
    # ---- weights
    Case("negative", lambda: ols(freq_weights=-DF["g"]), DataError, "freq_weights is negative.*row 0"),
    Case("infinite", lambda: ols(var_weights=DF["w"].where(ROW != 3, np.inf)), DataError,
         r"in 1 rows \(e.g. row 3\)"),
    Case("zero", lambda: ols(freq_weights=DF["g"] * 0), DataError, "zero in every row"),
    Case("all missing", lambda: ols(freq_weights=DF["x"] * np.nan), DataError, "missing"),
    Case("missing drops the row", lambda: fit(var_weights=np.where(ROW == 3, np.nan, 1.0)), OK,
         check=without_row(3)),
    Case("zero equals absence", lambda: fit(freq_weights=(ROW != 3) * 1), OK, check=without_row(3)),
    Case(
        "zero beside an infinite value",
        lambda: tm.OLS(
            DF["y"], np.where((ROW == 3)[:, None], np.inf, CONST), freq_weights=(ROW != 3) * 1
        ).fit(),
        SAFE,
        "infinite",
        check=without_row(3),
    ),
    Case("counts that are fractions", lambda: ols(freq_weights="w"), DataError,
         "whole numbers.*sampling_weights"),
    Case("two kinds", lambda: ols(freq_weights="g", var_weights="w"), OptionError, "one kind"),
    Case("precision weights in a logit", lambda: tm.Logit.from_formula("b ~ x", DF, var_weights="w"),
         OptionError, "normal models only"),
    Case("typo", lambda: ols(freq_weights="ww"), DataError, "freq_weights uses 'ww'.*Did you mean 'w'"),
    Case("weights=", lambda: ols(weights="w"), OptionError, "Did you mean 'var_weights'"),
    Case("WLS, both", lambda: tm.WLS.from_formula("y ~ x", DF, weights="w", var_weights="w"), OptionError,
         "same thing"),
    Case("scalar", lambda: ols(var_weights=2.0), DataError, "var_weights"),
    Case("text", lambda: ols(var_weights=["a"] * N), DataError, "var_weights holds text"),
    Case("(n, 2)", lambda: ols(var_weights=np.ones((N, 2))), DataError, r"var_weights has shape \(60, 2\)"),
    Case("(n, 1)", lambda: fit(var_weights=np.ones((N, 1))), OK, check=same_as()),
    Case("short", lambda: ols("y ~ x", with_(x=GAP), var_weights=np.ones(59)), DataError,
         "59 rows, but the data have 60"),
    Case("by label", lambda: fit(var_weights=DF["w"].sample(frac=1, random_state=1)), OK,
         check=same_as(var_weights="w")),
    Case("labels missing", lambda: ols(var_weights=DF["w"].iloc[:10]), DataError,
         "50 of the 60 rows have no label.*e.g. 10"),
    Case("labels twice", lambda: ols(var_weights=pd.concat([DF["w"], DF["w"]])), DataError,
         "not unique.*reset_index"),
    Case("labels twice, identical",
         lambda: fit(data=DF.set_axis([0] * N), var_weights=DF["w"].set_axis([0] * N)), OK,
         check=same_as(var_weights="w")),
    Case("survey weights, nonrobust",
         lambda: fit("y ~ x", DF, {"cov_type": "nonrobust"}, sampling_weights="w"), OptionError,
         "'HC0', 'HC1' or 'cluster'"),
    Case("survey weights, opg",
         lambda: fit("y ~ x", DF, {"cov_type": "opg", "method": "newton"}, sampling_weights="w"), OptionError,
         "opg"),
    Case("survey weights", lambda: fit(sampling_weights="w"), OK, check=lambda r: r.cov_type == "HC1"),
    Case("survey weights and groups", lambda: fit(sampling_weights="w", groups="g"), OK,
         check=lambda r: r.cov_type == "cluster"),
    # ---- offset and exposure
    Case("offset typo", lambda: poisson(offset="zz"), DataError, "offset uses 'zz'.*Did you mean 'z'"),
    Case("offset scalar", lambda: poisson(offset=1.0), DataError, "offset"),
    Case("offset short", lambda: poisson(offset=[1.0]), DataError, "offset has 1 rows"),
    Case("offset (n, 2)", lambda: poisson(offset=np.ones((N, 2))), DataError, r"offset has shape \(60, 2\)"),
    Case("offset text", lambda: poisson(offset="s"), DataError, "offset holds text"),
    Case("offset dates", lambda: poisson(offset=pd.date_range("2000", periods=N)), DataError,
         "offset holds dates"),
    Case("offset infinite", lambda: poisson(offset=np.where(ROW == 2, np.inf, 0.0)), DataError,
         r"offset is infinite in 1 of 60 rows \(e.g. row 2\)"),
    Case("offset missing", lambda: poisson(offset=GAP).fit(), OK, check=uses(59)),
    Case("exposure zero", lambda: poisson(exposure=DF["g"] * 0), DataError,
         "exposure is not positive in 60 rows"),
    Case("exposure negative", lambda: poisson(exposure="y"), DataError,
         "exposure is not positive in 28 rows"),
    Case("exposure infinite", lambda: poisson(exposure=DF["w"].where(ROW != 2, np.inf)), DataError,
         "exposure is infinite"),
    Case("exposure missing", lambda: poisson(exposure=DF["w"].where(ROW != 3)).fit(), OK, check=uses(59)),
    Case("exposure in a logit", lambda: tm.Logit.from_formula("b ~ x", DF, exposure="w"), OptionError,
         "no exposure.*offset="),
    Case("column name beside arrays", lambda: tm.Poisson(DF["c"], CONST, exposure="w"), DataError,
         "'w' names a column.*arrays"),
    Case("unknown argument", lambda: tm.Logit(DF["b"], CONST, weight=DF["w"]), OptionError,
         "Did you mean 'var_weights'"),
    Case("missing= typo", lambda: ols(missing="drp"), OptionError, "Did you mean 'drop'"),
    # ---- groups
    Case("Series by label", lambda: clustered(DF["g"].sample(frac=1, random_state=1)), OK,
         check=clustered_as_usual),
    Case("array", lambda: clustered(DF["g"].to_numpy()), OK, check=clustered_as_usual),
    Case("list of text", lambda: clustered([f"k{v}" for v in DF["g"]]), OK, check=clustered_as_usual),
    Case("tensor", lambda: clustered(torch.tensor(DF["g"].to_numpy())), OK, check=clustered_as_usual),
    Case("categories", lambda: clustered(DF["g"].astype("category")), OK, check=clustered_as_usual),
    Case("Int64", lambda: clustered(DF["g"].astype("Int64")), OK, check=clustered_as_usual),
    Case("dates", lambda: clustered(pd.Timestamp("2000") + pd.to_timedelta(DF["g"], unit="D")), OK,
         check=clustered_as_usual),
    Case("one-column frame", lambda: clustered(DF[["g"]]), OK, check=clustered_as_usual),
    Case("one-column frame called name", lambda: clustered(pd.DataFrame({"name": DF["g"]})), OK,
         check=clustered_as_usual),
    Case("at construction", lambda: fit("y ~ x", DF, {"cov_type": "cluster"}, groups="g"), OK,
         check=clustered_as_usual),
    Case("each row its own", lambda: clustered(ROW), OK,
         check=lambda r: np.allclose(r.bse, fit("y ~ x", DF, {"cov_type": "HC1"}).bse, rtol=1e-10)),
    Case("full array after drops", lambda: clustered(DF["g"].to_numpy(), with_(x=GAP)), OK,
         check=lambda r: close(r, clustered("g", DF.drop(index=3)))),
    Case("full Series after drops", lambda: clustered(DF["g"].where(ROW != 3), with_(x=GAP)), OK,
         check=lambda r: close(r, clustered("g", DF.drop(index=3)))),
    Case("Series of the used rows after drops", lambda: clustered(DF["g"].drop(index=3), with_(x=GAP)), OK,
         check=lambda r: close(r, clustered("g", DF.drop(index=3)))),
    Case("short array after drops", lambda: clustered(DF["g"].to_numpy()[1:], with_(x=GAP)), DataError,
         "59 rows, as many as were used, but 1 of the 60"),
    Case("array of another length", lambda: clustered(DF["g"].to_numpy()[:50]), DataError,
         "groups has 50 rows"),
    Case("missing id, late", lambda: clustered(DF["g"].where(DF["g"] > 0)), DataError,
         "'g' is missing in 11 of the rows.*when you build"),
    Case("missing id, early",
         lambda: fit("y ~ x", DF, {"cov_type": "cluster"}, groups=DF["g"].where(DF["g"] > 0)), OK,
         check=uses(49)),
    Case("missing id, missing='raise'", lambda: ols(groups=DF["g"].where(DF["g"] > 0), missing="raise"),
         DataError, "groups g missing: 11"),
    Case("infinite id", lambda: clustered(np.where(ROW == 3, np.inf, DF["g"])), DataError,
         "groups.*infinite"),
    Case("one group", lambda: clustered(np.zeros(N)), DataError, "1 distinct value.*needs two"),
    Case("typo", lambda: clustered("gg"), DataError, "groups uses 'gg'.*Did you mean 'g'"),
    Case("name beside arrays",
         lambda: tm.OLS(DF["y"], CONST).fit(cov_type="cluster", cov_kwds={"groups": "g"}), DataError,
         "'g' names a column"),
    Case("none", lambda: fit("y ~ x", DF, {"cov_type": "cluster"}), OptionError, "cluster' needs groups"),
    Case("three axes", lambda: clustered(np.ones((60, 2, 2))), DataError, "groups"),
    Case("number", lambda: clustered(3), DataError, "groups"),
    Case("generator", lambda: clustered(v for v in DF["g"]), DataError, "groups"),
    Case("other labels", lambda: clustered(DF["g"].set_axis(ROW + 100)), DataError,
         "groups is aligned by its index"),
    Case(
        "fewer groups than slopes: no F",
        lambda: (
            fit("y ~ x + z + w + c + b", DF, {"cov_type": "cluster", "cov_kwds": {"groups": ROW > 30}}).fvalue
        ),
        SAFE,
        "F|fvalue|groups|clusters",
        check=np.isnan,
    ),
    # ---- fit
    Case("method typo", lambda: logit(method="newtn"), OptionError, "Did you mean 'newton'.*lbfgs"),
    Case("method number", lambda: logit(method=5), OptionError, "method.*5.*newton"),
    Case("method empty", lambda: logit(method=""), OptionError, "method"),
    Case("method zero", lambda: logit(method=0), OptionError, "method"),
    Case("method list", lambda: logit(method=["newton"]), OptionError, "method"),
    Case("argument typo", lambda: logit(max_iter=3), OptionError, "Did you mean 'maxiter'"),
    Case("argument of another package", lambda: logit(full_output=True), OptionError,
         "'full_output'.*Available"),
    Case("cov_type typo", lambda: logit(cov_type="hc1"), OptionError, "Did you mean 'HC1'"),
    Case("cov_type list", lambda: logit(cov_type=["HC1"]), OptionError, "cov_type"),
    Case("cov_type number", lambda: logit(cov_type=1), OptionError, "cov_type 1"),
    Case("cov_kwds typo", lambda: logit(cov_type="cluster", cov_kwds={"group": "g"}), OptionError,
         "Did you mean 'groups'"),
    Case("cov_kwds idle", lambda: logit(cov_type="HC1", cov_kwds={"groups": "g"}), OptionError,
         "'groups'.*Available: information"),
    Case("cov_kwds list", lambda: logit(cov_type="cluster", cov_kwds=["g"]), OptionError, "cov_kwds"),
    Case("cov_kwds text", lambda: logit(cov_type="cluster", cov_kwds="g"), OptionError, "cov_kwds"),
    Case("correction typo",
         lambda: logit(cov_type="cluster", cov_kwds={"groups": "g", "use_correction": "yes"}), OptionError,
         "'stata'"),
    Case("maxiter negative", lambda: logit(maxiter=-1), OptionError,
         "maxiter=-1 must be a .*whole"),
    Case("maxiter fraction", lambda: logit(maxiter=2.5), OptionError, "maxiter=2.5"),
    Case("maxiter bool", lambda: logit(maxiter=True), OptionError, "maxiter=True"),
    Case("maxiter text", lambda: logit(maxiter="ten"), OptionError, "maxiter='ten'"),
    Case("maxiter NaN", lambda: logit(maxiter=np.nan), OptionError, "maxiter=nan"),
    Case("maxiter infinite", lambda: logit(maxiter=np.inf), OptionError, "maxiter=inf"),
    Case("maxiter list", lambda: logit(maxiter=[1]), OptionError, "maxiter"),
    Case("maxiter of numpy", lambda: logit(maxiter=np.int64(50)), OK, check=lambda r: r.converged),
    Case("maxiter 0", lambda: logit(maxiter=0), ConvergenceWarning, "iteration limit", check=flagged),
    Case("maxiter 1", lambda: logit(maxiter=1, start_params=FAR), ConvergenceWarning, "not a maximum.*iteration limit",
         check=flagged),
    Case("maxfun 0", lambda: logit(maxfun=0), OptionError, "maxfun=0 must be a .*whole"),
    Case("maxfun text", lambda: logit(maxfun="a"), OptionError, "maxfun='a'"),
    Case("tol 0", lambda: logit(tol=0), OptionError, "tol=0 must be positive"),
    Case("tol NaN", lambda: logit(tol=np.nan), OptionError, "tol=nan"),
    Case("tol text", lambda: logit(tol="small"), OptionError, "tol='small'"),
    Case("tol too large", lambda: logit(tol=1e5, start_params=FAR), ConvergenceWarning, "not a maximum", check=flagged),
    Case("seed text", lambda: logit(seed="a", method="sgd", maxiter=5), OptionError, "seed='a'"),
    Case("seed fraction", lambda: logit(seed=1.5, method="sgd", maxiter=5), OptionError, "seed=1.5"),
    Case("seed text, idle", lambda: logit(seed="a"), OptionError, "seed='a'"),
    Case("batch_size 0", lambda: logit(batch_size=0, method="sgd"), OptionError, "batch_size=0"),
    Case("batch_size text", lambda: logit(batch_size="a", method="sgd"), OptionError, "batch_size='a'"),
    Case("batch_size in Newton", lambda: logit(batch_size=10), OptionError,
         "needs all rows; batch_size is for"),
    Case("callback number", lambda: logit(callback=5), OptionError, "callback is int"),
    Case("options typo", lambda: logit(method="sgd", options={"learning_rate": 1}), OptionError,
         "'learning_rate'.*lr"),
    Case("options list", lambda: logit(options=["a"]), OptionError, "options"),
    Case("options text", lambda: logit(options="a"), OptionError, "options"),
    Case("lr negative", lambda: logit(method="sgd", options={"lr": -1}), OptionError, "lr"),
    Case("lr zero", lambda: logit(method="sgd", options={"lr": 0.0}), OptionError, "lr"),
    Case("lr text", lambda: logit(method="sgd", options={"lr": "a"}), OptionError, "lr"),
    Case("betas out of range", lambda: logit(method="adam", options={"betas": (2, 3)}), OptionError, "beta"),
    Case("memory negative", lambda: logit(method="lbfgs", options={"memory": -1}), OptionError, "memory"),
    Case("standardize in Newton", lambda: logit(options={"standardize": False}), OptionError,
         "standardize is an option of"),
    Case("device unknown", lambda: logit(device="gpu"), DeviceError, "'gpu'.*Available: cpu"),
    Case("device number", lambda: logit(device=0), DeviceError, "'0'"),
    Case("device meta", lambda: logit(device="meta"), DeviceError, "'meta'"),
    Case("dtype unknown", lambda: tm.Logit.from_formula("b ~ x", DF, dtype="float16"), OptionError,
         "float64, float32"),
    Case("closed form does not iterate", lambda: ols().fit(maxiter=3), OptionError,
         r"maxiter: least squares.*method='newton'"),
    Case("start NaN", lambda: logit(start_params=[np.nan, 0]), OptionError, "must be finite: Intercept=nan"),
    Case("start infinite", lambda: logit(start_params=[0, np.inf]), OptionError, "must be finite: x=inf"),
    Case("start None inside", lambda: logit(start_params=[None, 0]), OptionError, "Intercept"),
    Case("start too short", lambda: logit(start_params=[0]), OptionError,
         r"shape \(1,\).*2 parameters: Intercept, x"),
    Case("start empty", lambda: logit(start_params=[]), OptionError, "2 parameters"),
    Case("start scalar", lambda: logit(start_params=0), OptionError, "2 parameters"),
    Case("start 2-dim", lambda: logit(start_params=[[0, 0]]), OptionError, r"shape \(1, 2\)"),
    Case("start name", lambda: logit(start_params={"Intercept": 0, "xx": 0}), OptionError,
         "Did you mean 'x'"),
    Case("start names, all wrong", lambda: logit(start_params={"a": 0, "b": 1}), OptionError, "'a'"),
    Case("start Series, all wrong", lambda: logit(start_params=pd.Series([0.0, 1.0], ["a", "b"])),
         OptionError, "'a'"),
    Case("start incomplete", lambda: logit(start_params={"x": 0}), OptionError, "no value for Intercept"),
    Case("start in another order",
         lambda: logit(start_params=pd.Series([1.0, 0.0], ["x", "Intercept"]), maxiter=0), ConvergenceWarning,
         "iteration limit", check=lambda r: r.params["x"] == 1.0),
    Case("start text", lambda: logit(start_params="zeros"), OptionError, "start_params"),
    Case("start of text", lambda: logit(start_params=["a", "b"]), OptionError, "start_params"),
    Case("start complex", lambda: logit(start_params=[1j, 0]), OptionError, "start_params"),
    Case("start out of range", lambda: ols().fit(method="newton", start_params=[0, 0, -1]), OptionError,
         "sigma = -1.0 is outside"),
    Case("start overflows", lambda: poisson().fit(start_params=[800.0, 0.0]), LikelihoodError,
         "infinite in 60 of 60 rows.*Intercept=800"),
    Case("with_cov typo", lambda: done("logit").with_cov("hc0"), OptionError, "Did you mean 'HC0'"),
    Case("with_cov after drops",
         lambda: fit("y ~ x", with_(x=GAP)).with_cov("cluster", {"groups": DF["g"].to_numpy()}), OK,
         check=lambda r: close(r, clustered("g", DF.drop(index=3)))),
    *[
        Case(
            f"alpha {alpha!r}",
            functools.partial(lambda a: done("logit").conf_int(alpha=a), alpha),
            OptionError,
            "alpha=.*between 0 and 1",
        )
        for alpha in (0, 1, 1.5, -0.05, 95, np.nan, "0.05", None, [0.05])
    ],
    Case("alpha text, summary", lambda: done("logit").summary(alpha="a"), OptionError, "alpha"),
    # ---- one's own likelihood
    Case("None", lambda: own(lambda m, p: None), LikelihoodError,
         "loglikeobs returned None.*return statement"),
    Case("None by nloglikeobs", lambda: own(lambda m, p: None, "nloglikeobs"), LikelihoodError,
         "nloglikeobs returned None"),
    Case("scalar", lambda: own(lambda m, p: probit(m, p).sum()), LikelihoodError,
         "returned a scalar.*loglike"),
    Case("(n, 1)", lambda: own(lambda m, p: probit(m, p)[:, None]), LikelihoodError,
         r"shape \(60, 1\).*squeeze"),
    Case("(n, n)", lambda: own(lambda m, p: probit(m, p)[:, None] + probit(m, p)), LikelihoodError,
         r"shape \(60, 60\)"),
    Case("(1, n)", lambda: own(lambda m, p: probit(m, p)[None]), LikelihoodError, r"shape \(1, 60\)"),
    Case("(n + 1,)", lambda: own(lambda m, p: torch.cat([probit(m, p), p[:1]])), LikelihoodError,
         r"shape \(61,\)"),
    Case("numpy", lambda: own(lambda m, p: probit(m, p).detach().numpy()), LikelihoodError,
         "numpy.*no derivatives"),
    Case("pandas", lambda: own(lambda m, p: pd.Series(probit(m, p).detach().numpy())), LikelihoodError,
         "Series.*no derivatives"),
    Case("list", lambda: own(lambda m, p: list(probit(m, p))), LikelihoodError, "returned list"),
    Case("tuple", lambda: own(lambda m, p: (probit(m, p), 1)), LikelihoodError, "returned tuple"),
    Case("number", lambda: own(lambda m, p: 3.0), LikelihoodError, "plain number"),
    Case("integers", lambda: own(lambda m, p: probit(m, p).long()), LikelihoodError, "dtype torch.int64"),
    Case("complex", lambda: own(lambda m, p: probit(m, p) + 0j), LikelihoodError, "dtype torch.complex128"),
    Case("float32", lambda: own(lambda m, p: probit(m, p).float()),
         (LikelihoodError, DataWarning, ConvergenceWarning), "float32"),
    Case("float16", lambda: own(lambda m, p: probit(m, p).half()),
         (LikelihoodError, DataWarning, ConvergenceWarning), "float16"),
    Case("float32 inside",
         lambda: own(lambda m, p: tm.log_ndtr((2 * m.endog.float() - 1) * (m.exog.float() @ p.float()))),
         (LikelihoodError, DataWarning, ConvergenceWarning), ""),
    Case("float32 constant", lambda: own(lambda m, p: probit(m, p) * torch.tensor(1.0, dtype=torch.float32)),
         OK, check=lambda r: close(r, done("own"))),
    Case("detached", lambda: own(lambda m, p: probit(m, p).detach()), LikelihoodError,
         "not depend on the parameters.*detach"),
    Case("item", lambda: own(lambda m, p: m.endog * p[0].item()), LikelihoodError,
         "not depend on the parameters.*item"),
    Case("another tensor", lambda: own(lambda m, p: torch.nn.Parameter(m.endog.clone())), LikelihoodError,
         "not depend on the parameters"),
    Case("numpy function", lambda: own(lambda m, p: np.log(m.exog @ p)), LikelihoodError,
         "use the torch function"),
    Case("random", lambda: own(lambda m, p: probit(m, p) * torch.rand(1)), LikelihoodError,
         "different values for the same"),
    Case("random slope, zero at the start",
         lambda: own(lambda m, p: probit(m, p * (1 + torch.rand(1, dtype=torch.float64)))), LikelihoodError,
         "different values"),
    Case("NaN at the start", lambda: own(lambda m, p: torch.log(p[0] - 1) + probit(m, p)), LikelihoodError,
         "NaN in 60 of 60 rows.*const=0, x=0.*start_params"),
    Case("infinite in one row",
         lambda: own(lambda m, p: probit(m, p) + torch.where(m.exog[:, 1] > 1.9, -np.inf, 0.0)),
         LikelihoodError, r"infinite in 1 of 60 rows \(row 19\)"),
    Case(
        "NaN in one row that depends on the others",
        lambda: own(lambda m, p: probit(m, p) + torch.where(m.exog[:, 1] == m.exog[:, 1].max(), np.nan, 0.0)),
        LikelihoodError,
        r"NaN in 1 of 60 rows \(row 19\)",
    ),
    Case("NaN in the gradient only", lambda: own(lambda m, p: probit(m, p) - (p[0] ** 2).sqrt()),
         LikelihoodError, "finite but its gradient is not, in 60 rows"),
    Case("NaN away from the start", lambda: own(lambda m, p: probit(m, p) + 0 * torch.log(p[0] + 0.7)), OK,
         check=lambda r: close(r, done("own"))),
    Case("NaN before the maximum", lambda: own(lambda m, p: probit(m, p) + 0 * torch.log(p[0] + 0.3)),
         ConvergenceWarning, "not a maximum", check=flagged),
    Case("raises", lambda: own(lambda m, p: 1 / 0), LikelihoodError,
         "Mine.loglikeobs raised ZeroDivisionError: division by zero"),
    Case("unknown attribute", lambda: own(lambda m, p: m.foo * p[0]), LikelihoodError, "AttributeError.*foo"),
    Case("None later", lambda: counted(lambda v: None), LikelihoodError, "None"),
    Case("scalar later", lambda: counted(lambda v: v.sum()), LikelihoodError, "scalar|shape"),
    Case("extra parameter not declared",
         lambda: own(lambda m, p: normal(m, torch.cat([p[:-1], p[-1:], p[-1:]])[: len(p) - 1])),
         LikelihoodError, "extra_params"),
    Case("extra_params text", lambda: own(normal, extra="log_sigma"), TorchmleError,
         r"extra_params.*\('log_sigma',\)"),
    Case("extra_params like a column", lambda: own(normal, extra=("x",)), TorchmleError, "'x'"),
    Case("extra_params list", lambda: own(normal, extra=["log_sigma"]), OK,
         check=names("const", "x", "log_sigma")),
    Case("parameter not used", lambda: own(lambda m, p: probit(m, p[:2]), extra=("idle",)),
         ConvergenceWarning, "Not identified: idle", check=flagged),
    Case("flat direction", lambda: own(lambda m, p: probit(m, torch.stack([p[0] + p[1], 0 * p[0]]))),
         ConvergenceWarning, "Not identified: const with x", check=flagged),
    Case("no likelihood", lambda: tm.GenericLikelihoodModel(DF["b"], CONST).fit(), OptionError,
         "Define loglikeobs"),
    Case("loglike by row", lambda: own(probit, "loglike"), LikelihoodError, r"shape \(60,\).*loglikeobs"),
    Case("loglike None", lambda: own(lambda m, p: None, "loglike"), LikelihoodError, "returned None"),
    Case("loglike float", lambda: own(lambda m, p: float(probit(m, p).sum()), "loglike"), LikelihoodError,
         "plain number"),
    Case("loglike, HC1", lambda: build(lambda m, p: probit(m, p).sum(), "loglike").fit(cov_type="HC1"),
         OptionError, "'HC1' needs the scores"),
    Case("loglike, weights", lambda: own(lambda m, p: probit(m, p).sum(), "loglike", freq_weights=DF["c"]),
         OptionError, "by row"),
    Case(
        "loglike, mini-batches",
        lambda: build(lambda m, p: probit(m, p).sum(), "loglike").fit(method="sgd", batch_size=10, maxiter=5),
        OptionError,
        "batch_size",
    ),
    Case("rows that depend on each other", lambda: own(lambda m, p: probit(m, p) * m.endog.mean()), OK,
         check=lambda r: "rows at once" in r.engine),
    Case("unmasked attribute, array", lambda: attached(DF["w"].to_numpy(), with_(x=GAP)), DataError,
         "self.extra has 60 rows.*row_data"),
    Case("unmasked attribute, tensor", lambda: attached(torch.tensor(DF["w"].to_numpy()), with_(x=GAP)),
         DataError, "row_data={'extra'"),
    Case("unmasked attribute, list", lambda: attached(list(DF["w"]), with_(x=GAP)), TorchmleError,
         "row_data"),
    Case("row_data like an attribute", lambda: build(probit, row_data={"fit": DF["w"]}), OptionError,
         "'fit' would hide"),
    Case("row_data short", lambda: build(probit, row_data={"q": np.ones(3)}), DataError,
         "row_data 'q' has 3 rows"),
    Case("row_data text", lambda: build(probit, row_data={"q": DF["s"]}), DataError,
         "row_data 'q' holds text"),
    Case("row_data number", lambda: build(probit, row_data=5), OptionError, "row_data is int"),
    Case("row_data missing",
         lambda: own(lambda m, p: probit(m, p) * m.q, row_data={"q": DF["w"].where(ROW != 3)}), OK,
         check=uses(59)),
    Case("row_data by label",
         lambda: own(lambda m, p: probit(m, p) * m.q, row_data={"q": DF["w"].sample(frac=1, random_state=1)}),
         OK, check=lambda r: close(r, own(lambda m, p: probit(m, p) * m.q, row_data={"q": DF["w"]}))),
    # ---- one's own density
    Case("density None", lambda: declared(lambda m, y, mu: None), LikelihoodError,
         "logdensity returned None"),
    Case("density takes too little", lambda: declared(lambda m, y: y), LikelihoodError,
         "logdensity raised TypeError"),
    Case("density scalar", lambda: declared(lambda m, y, mu: (y * mu).sum()), LikelihoodError,
         "returned a scalar"),
    Case("density numpy", lambda: declared(lambda m, y, mu: mu.detach().numpy()), LikelihoodError,
         "numpy.*no derivatives"),
    Case("density detached", lambda: declared(lambda m, y, mu: -((y - mu.detach()) ** 2)), LikelihoodError,
         "not depend on the parameters"),
    Case("density of all rows", lambda: declared(lambda m, y, mu: -((y - mu) ** 2) * (y**2).mean()),
         LikelihoodError, "from that row's data alone"),
    Case("density, idle predictor",
         lambda: declared(lambda m, y, mu, b: -((y - mu) ** 2), {"mu": "1", "b": "1"}), ConvergenceWarning,
         "Not identified: b:Intercept", check=flagged),
    Case("predictor called offset", lambda: declared(probit, {"mu": "1", "offset": "1"}), OptionError,
         "'offset': that is a keyword"),
    Case("predictors list", lambda: declared(probit, ["mu"]), OptionError, "predictors"),
    Case("predictor() without transform", lambda: tm.predictor("1", natural="a"), OptionError, "together"),
    Case("predictor() without inverse", lambda: tm.predictor("1", natural="a", transform=torch.sin),
         OptionError, "needs inverse="),
    # ---- predict
    Case("new level", lambda: done("ols").predict(pd.DataFrame({"x": [1.0], "s": ["q"]})), FormulaError,
         "levels {'q'}"),
    Case("missing column", lambda: done("ols").predict(pd.DataFrame({"s": ["a"]})), DataError,
         "predict uses 'x'.*Columns: s"),
    Case("missing value", lambda: done("ols").predict(pd.DataFrame({"x": [1.0, np.nan], "s": ["a", "b"]})),
         OK, check=lambda p: list(p.isna()) == [False, True]),
    Case("only a missing value", lambda: done("ols").predict(pd.DataFrame({"x": [np.nan], "s": ["a"]})), OK,
         check=lambda p: list(p.isna()) == [True]),
    Case("one level", lambda: done("ols").predict(DF[DF["s"] == "c"]), OK,
         check=lambda p: np.allclose(p, done("ols").fittedvalues[p.index])),
    Case("dict", lambda: done("ols").predict({"x": [1.0], "s": ["a"]}), OK, check=lambda p: len(p) == 1),
    Case("dict of scalars", lambda: done("ols").predict({"x": 1.0, "s": "a"}), SAFE, "scalar|column",
         check=lambda p: len(p) == 1),
    Case("array for a table", lambda: done("ols").predict(np.ones((3, 4))), DataError, "ndarray"),
    Case("text for numbers", lambda: done("ols").predict(pd.DataFrame({"x": ["a"], "s": ["a"]})), DataError,
         "x"),
    Case("text for an integer level", lambda: fit("y ~ C(g)").predict(pd.DataFrame({"g": ["1"]})),
         FormulaError, "levels {'1'}"),
    Case("float for an integer level", lambda: fit("y ~ C(g)").predict(pd.DataFrame({"g": [1.0]})), OK,
         check=lambda p: p.notna().all()),
    Case("outside the splines", lambda: fit("y ~ bs(x, df=4)").predict(pd.DataFrame({"x": [100.0]})),
         FormulaError, "bounds"),
    Case("stateful transform", lambda: fit("y ~ poly(x, 2)").predict(DF[:2]), OK,
         check=lambda p: np.allclose(p, fit("y ~ poly(x, 2)").fittedvalues[:2])),
    Case("which typo", lambda: done("logit").predict(which="probs"), OptionError, "'probs'.*mean, linear"),
    Case("argument typo", lambda: done("ols").predict(DF, offsett=1), OptionError, "Did you mean 'offset'"),
    Case("offset without data", lambda: done("exposure").predict(offset=1), OptionError, "without new data"),
    Case("exposure, absent", lambda: tm.Poisson(DF["c"], CONST, exposure=DF["w"]).fit().predict(CONST[:2]),
         OptionError, "offset= or exposure="),
    Case("exposure, from its column", lambda: done("exposure").predict(DF), OK,
         check=lambda p: np.allclose(p, done("exposure").fittedvalues)),
    Case("exposure short", lambda: done("exposure").predict(DF[:2], exposure=[1]), DataError,
         "exposure has 1 rows"),
    Case("exposure negative", lambda: done("exposure").predict(DF[:2], exposure=[-1, 1]), DataError,
         "exposure is not positive"),
    Case("exposure typo", lambda: done("exposure").predict(DF[:2], exposure="ww"), DataError,
         "'ww'.*Did you mean 'w'"),
    Case("too many columns", lambda: done("arrays").predict(np.ones((3, 5))), DataError,
         "5 columns, but the fit had 2: x, z"),
    Case("one row for a matrix", lambda: done("arrays").predict(np.ones(2)), DataError,
         "1 columns, but the fit had 2"),
    Case("frame in another order", lambda: done("arrays").predict(DF[["z", "x"]]), OK,
         check=lambda p: np.allclose(p, done("arrays").fittedvalues)),
    Case("frame without a column", lambda: done("arrays").predict(DF[["x", "w"]]), DataError, "'?z'?"),
    Case("matrix with a missing value", lambda: done("arrays").predict([[1, np.nan], [1, 2]]), OK,
         check=lambda p: list(p.isna()) == [True, False]),
    Case("dropped column", lambda: fit("y ~ x + k + z", with_(k=0.0)).predict(with_(k=1.0)),
         CollinearityWarning, "'k'", check=lambda p: np.allclose(p, fit("y ~ x + z").fittedvalues)),
    Case("own model, no mean", lambda: done("own").predict(), UndefinedStatisticError, "predict_mean"),
    # ---- statistics that have no meaning
    *[
        Case(
            f"{name} of {kind}",
            functools.partial(lambda k, a: getattr(done(k), a), kind, name),
            AttributeError,
            name,
        )
        for kind, name in [
            ("logit", "rsquared"),
            ("logit", "ssr"),
            ("logit", "fvalue"),
            ("ols", "prsquared"),
            ("constant", "fvalue"),
            ("own", "prsquared"),
            ("logit", "bsee"),
        ]
    ],
    Case("own model, null model", lambda: done("own").llnull, AttributeError, "opaque"),
    Case("own model, fitted values", lambda: done("own").fittedvalues, AttributeError, "predict_mean"),
    Case("unknown name", lambda: tm.Logitt, AttributeError, "Did you mean 'Logit'"),
    # ---- comparing
    Case("compare_ols of a logit", lambda: done("logit").compare_ols(), OptionError, "binary response"),
    Case("compare a list", lambda: tm.compare([done("ols")]), OptionError, "takes a dict"),
    Case("compare a number", lambda: tm.compare({"a": done("ols"), "b": 3}), OptionError, "'b' is a int"),
    Case("compare, reference typo", lambda: tm.compare({"a": done("ols")}, reference="b"), OptionError,
         "'b'.*a"),
    Case("compare other rows", lambda: tm.compare({"a": done("ols"), "b": fit("y ~ x", with_(x=GAP))}),
         DataError, "a: 60, b: 59"),
    Case("compare other responses", lambda: tm.compare({"a": done("ols"), "b": done("logit")}), DataError,
         "response"),
]  # fmt: skip


def parameters() -> list[Any]:
    """The cases, numbered where an id comes twice."""
    seen: dict[str, int] = {}
    found = []
    for case in CASES:
        seen[case.id] = seen.get(case.id, 0) + 1
        label = case.id if seen[case.id] == 1 else f"{case.id} ({seen[case.id]})"
        found.append(pytest.param(case, id=label.replace(" ", "-")))
    return found


def refused_or_right(case: Case) -> None:
    """Run a case that must be right without a warning of any kind, or may be refused with the words."""
    refusal = ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            result = case.run()
        except TorchmleError as error:
            refusal = str(error) or "refused without a word"
    if not refusal:
        assert case.check(result)
        return
    assert case.expect == SAFE, refusal
    assert re.search(case.words, refusal, re.DOTALL), refusal


def raised_or_warned(case: Case) -> None:
    """Run a case that must raise or warn in one of its categories, with the words."""
    kinds = case.expect if isinstance(case.expect, tuple) else (case.expect,)
    refusal = ""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        try:
            result = case.run()
        except kinds as error:
            refusal = str(error) or "refused without a word"
    said = refusal or "\n".join(str(w.message) for w in given if issubclass(w.category, kinds))
    assert said, "neither refused nor warned"
    assert re.search(case.words, said, re.DOTALL), said
    assert refusal or case.check(result)


@pytest.mark.parametrize("case", parameters())
def test_bad_input(case: Case) -> None:
    (refused_or_right if case.expect in (OK, SAFE) else raised_or_warned)(case)


def test_traceback_is_kept() -> None:
    """The user's own exception stays attached, with its traceback."""
    with pytest.raises(LikelihoodError) as caught:
        own(lambda m, p: {}["there is no such key"])
    cause = caught.value.__cause__
    assert isinstance(cause, KeyError)
    assert cause.__traceback__ is not None
    assert cause.__traceback__.tb_next is not None


SAID_AGAIN = {
    "dropped rows": (lambda: fit("y ~ log(x)"), r"27 of 60 rows were not used \(log"),
    "dropped column": (lambda: fit("y ~ x + I(2 * x)"), r"collinear: I\(2 \* x\)"),
    "not a maximum": (lambda: logit(maxiter=1, start_params=FAR), "NOT A MAXIMUM"),
    "float32": (lambda: tm.Logit(DF["b"], CONST, dtype="float32").fit(), "float32"),
    "nearly collinear": (
        lambda: tm.OLS(DF["y"], np.column_stack([CONST, DF["x"] + 1e-9 * DF["z"]])).fit(),
        "nearly collinear",
    ),
    "fractions": (lambda: poisson("w ~ x").fit(), "not a whole number"),
    "converted column": (lambda: fit("y ~ x", with_(x=DF["x"].astype(object))), "object dtype"),
}


@pytest.mark.parametrize("name", SAID_AGAIN)
@pytest.mark.filterwarnings("ignore::torchmle.errors.TorchmleWarning")
def test_summary_repeats_the_warning(name: str) -> None:
    run, words = SAID_AGAIN[name]
    text = re.sub(r"\s+", " ", str(run().summary()))
    assert re.search(words, text)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("place", ["construction", "fit"])
def test_cuda_is_never_a_quiet_cpu_run(place: str) -> None:
    with pytest.raises(DeviceError, match=r"sees 0 CUDA devices.*device='cpu'"):
        ols(device="cuda") if place == "construction" else ols().fit(device="cuda")
