"""Hold the certificate of separation, and the option to drop separated rows, to linear programmes written here."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import torchmle as tm
from torchmle.errors import DataWarning, OptionError, SeparationWarning

FOLDER = Path(__file__).parent / "reference" / "separation"
CASES = sorted(path.stem for path in FOLDER.glob("*.csv"))
BINARY = ("Logit", "Probit")
COUNT = ("Poisson", "NegativeBinomial")


def signs_of(model: str, y: np.ndarray) -> np.ndarray:
    """Where a row's log-likelihood rises for ever with its predictor (1), against it (-1), or nowhere (0)."""
    return np.where(y == 0, -1, 1) if model in BINARY else np.where(y == 0, -1, 0)


def oracle(X: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return the separated rows: one programme with a capped gain for every row that may rise, the others held."""
    can = signs != 0
    A, k = X[can] * signs[can, None], X.shape[1]
    m = len(A)
    answer = linprog(
        np.concatenate([np.zeros(k), -np.ones(m)]),
        A_ub=np.hstack([-A, np.eye(m)]),
        b_ub=np.zeros(m),
        A_eq=np.hstack([X[~can], np.zeros((len(X) - m, m))]),
        b_eq=np.zeros(len(X) - m),
        bounds=[(None, None)] * k + [(0, 1)] * m,
        method="highs",
    )
    assert answer.status == 0
    found = np.zeros(len(X), dtype=bool)
    found[can] = answer.x[k:] > 0.5
    return found


def full_rank(X: np.ndarray) -> list[int]:
    """The first columns that span all, as the models keep them."""
    kept: list[int] = []
    for j in range(X.shape[1]):
        if np.linalg.matrix_rank(X[:, [*kept, j]]) > len(kept):
            kept.append(j)
    return kept


@cache
def case(name: str) -> tuple[np.ndarray, pd.DataFrame, np.ndarray | None]:
    """Return response, independent columns (constant, regressors, dummies) and the rows that the file marks."""
    table = pd.read_csv(FOLDER / f"{name}.csv")
    ids = [c for c in table if c.startswith("id") or c in "ij"]
    plain = table[[c for c in table if c.startswith("x")]]
    X = pd.concat([plain, *(pd.get_dummies(table[c], prefix=c, dtype=float).iloc[:, 1:] for c in ids)], axis=1)
    X = X.astype(float)
    X.insert(0, "const", 1.0)
    X = X.iloc[:, full_rank(X.to_numpy())]
    marked = table["separated"].to_numpy() == 1 if "separated" in table else None
    return table["y"].to_numpy(float), X, marked


def response(model: str, name: str) -> np.ndarray:
    """The response of a case, as a model can take it: positive or not, and whole counts where it must be."""
    y = case(name)[0]
    if model in BINARY:
        return (y > 0) * 1.0
    return np.ceil(y) if model == "NegativeBinomial" else y


def quietly(model: str, y: Any, X: Any, options: dict | None = None, **kwargs: Any) -> Any:
    """Fit without the warnings, which other tests look at; ``cov`` and the like go to ``fit``."""
    fit = {
        k: kwargs.pop(k) for k in ("cov_type", "cov_kwds", "fixed", "constraints", "maxiter", "method") if k in kwargs
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(tm, model)(y, X, **kwargs).fit(options=options, **fit)


def separated_rows(results: Any) -> np.ndarray:
    found = np.zeros(results.model.nobs, dtype=bool)
    if results.fit.separation is not None:
        found[list(results.fit.separation.rows)] = True
    return found


# ---- the literature's cases


@pytest.mark.parametrize("model", [*BINARY, *COUNT])
@pytest.mark.parametrize("name", CASES)
def test_rows_are_found(name: str, model: str) -> None:
    _, X, marked = case(name)
    y = response(model, name)
    truth = oracle(X.to_numpy(), signs_of(model, y))
    results = quietly(model, y, X)
    np.testing.assert_array_equal(separated_rows(results), truth)
    assert (results.fit.status.value == "separated") == truth.any()
    if marked is not None and model in COUNT:
        np.testing.assert_array_equal(truth, marked)


@pytest.mark.parametrize("model", ["Logit", "Poisson"])
@pytest.mark.parametrize("name", CASES)
def test_columns_suffice_and_none_is_idle(name: str, model: str) -> None:
    """The columns named separate the same rows without the others, and no longer if one of them is left out."""
    X, y = case(name)[1], response(model, name)
    results = quietly(model, y, X)
    if results.fit.separation is None:
        return
    signs, rows = signs_of(model, y), separated_rows(results)
    columns = results.fit.separation.columns
    assert X.columns[list(columns)].isin(list(X.columns)).all()
    with_constant = sorted({0, *columns})
    np.testing.assert_array_equal(oracle(X.to_numpy()[:, with_constant], signs), rows)
    for j in set(columns) - {0}:
        fewer = [i for i in with_constant if i != j]
        assert (oracle(X.to_numpy()[:, fewer], signs) != rows).any()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(2))
def test_units_and_origins_do_not_matter(name: str, seed: int) -> None:
    """Columns times 1e-6 to 1e6, moved by up to a million of their units: the same rows and columns."""
    rng = np.random.default_rng(seed)
    y, X, _ = case(name)
    scale = 10 ** rng.uniform(-6, 6, X.shape[1])
    shift = np.round(rng.uniform(-1e6, 1e6, X.shape[1])) if seed else np.zeros(X.shape[1])
    scale[0], shift[0] = 1.0, 0.0
    plain, moved = quietly("Poisson", y, X).fit.separation, quietly("Poisson", y, (X + shift) * scale).fit.separation
    assert moved == plain


# ---- dropping


def by_hand(model: str, y: np.ndarray, X: pd.DataFrame, rows: np.ndarray, **kwargs: Any) -> Any:
    """The fit on the rows that are left, with the columns that are left of the first ones."""
    kept = X.loc[~rows]
    return quietly(model, y[~rows], kept.iloc[:, full_rank(kept.to_numpy())], **kwargs)


def same_fit(ours: Any, theirs: Any) -> None:
    assert ours.converged
    assert theirs.converged
    assert list(ours.params.index) == list(theirs.params.index)
    # both stop at g' H^-1 g <= 1e-10, from different starts: 1e-9 of a standard error follows from one more step
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.bse, theirs.bse, rtol=1e-9)
    assert ours.llf == pytest.approx(theirs.llf, rel=1e-12)
    assert (ours.nobs, ours.df_resid, ours.df_model) == (theirs.nobs, theirs.df_resid, theirs.df_model)
    assert list(ours.fittedvalues.index) == list(theirs.fittedvalues.index)
    np.testing.assert_allclose(ours.fittedvalues, theirs.fittedvalues, rtol=1e-9)


def left_over(model: str, name: str) -> tuple[np.ndarray, int]:
    """The separated rows, and how many more rows than columns there are without them."""
    X = case(name)[1].to_numpy()
    rows = oracle(X, signs_of(model, response(model, name)))
    return rows, int((~rows).sum()) - len(full_rank(X[~rows]))


DROPPED = [
    (name, model)
    for model in ("Logit", "Poisson")
    for name in CASES
    if (found := left_over(model, name))[0].any() and found[1] > 0  # without a degree of freedom HC1 is infinite
]


@pytest.mark.parametrize(("name", "model"), DROPPED)
@pytest.mark.parametrize("cov_type", ["nonrobust", "HC1", "cluster"])
def test_dropping_equals_dropping_by_hand(name: str, model: str, cov_type: str) -> None:
    X, y = case(name)[1], response(model, name)
    rows = oracle(X.to_numpy(), signs_of(model, y))
    groups = np.arange(len(y)) * 3 % 4
    ours = quietly(model, y, X, {"separation": "drop"}, cov_type=cov_type, groups=groups)
    theirs = by_hand(model, y, X, rows, cov_type=cov_type, groups=groups[~rows])
    if not theirs.converged:  # too few rows to pin the rest down: both say so
        assert not ours.converged
        return
    same_fit(ours, theirs)
    gone = sorted(set(X.columns) - set(theirs.params.index))
    assert gone
    assert sorted(ours.model.data.designs["eta"].dropped) == gone
    assert ours.model.data.rows.causes["separated"] == rows.sum()


# ---- further data: weights, offsets, missing rows, collinear columns, restrictions


N = 300


@cache
def table() -> pd.DataFrame:
    """Rows 0, 7, 14 ... have ``d`` = 1 and never a 1 (or a count); ``twice`` is ``x`` times two."""
    rng = np.random.default_rng(5)
    x, z = rng.normal(size=N), rng.normal(size=N)
    d = (np.arange(N) % 7 == 0) * 1.0
    y = np.where(d == 1, 0, rng.random(N) < 1 / (1 + np.exp(-x)))
    count = np.where(d == 1, 0, rng.negative_binomial(2, 2 / (2 + np.exp(0.5 * x))))
    groups = rng.integers(0, 20, N)
    data = {"y": y * 1.0, "count": count * 1.0, "x": x, "z": z, "d": d, "twice": 2 * x, "w": rng.uniform(0.5, 2, N)}
    frame = pd.DataFrame({**data, "f": rng.integers(0, 4, N), "g": groups}, index=[f"r{i}" for i in range(N)])
    frame.loc["r3", "z"] = np.nan
    return frame


EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "offset": {"offset": "z"},
    "freq_weights": {"freq_weights": "f"},
    "sampling_weights": {"sampling_weights": "w"},
    "small sampling_weights": {"sampling_weights": "small"},
    "groups": {"groups": "g"},
}
MODELS = {"Logit": "y", "Probit": "y", "Poisson": "count", "NegativeBinomial": "count"}


def from_formula(model: str, formula: str, frame: pd.DataFrame, options: dict | None = None, **kwargs: Any) -> Any:
    fit = {k: kwargs.pop(k) for k in ("cov_type", "cov_kwds", "fixed", "constraints", "start_params") if k in kwargs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(tm, model).from_formula(formula, frame, **kwargs).fit(options=options, **fit)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("extra", EXTRAS)
def test_separation_beside_other_things(model: str, extra: str) -> None:
    """Found, named by label, and dropped as by hand, with missing rows, a collinear column, weights and the like."""
    frame = table().assign(small=table()["w"] * 1e-3)
    formula = f"{MODELS[model]} ~ x + z + d + twice"
    used = frame["z"].notna() & ((frame["f"] > 0) | (extra != "freq_weights"))
    flagged = from_formula(model, formula, frame, **EXTRAS[extra])
    labels = flagged.model.data.rows.labels[list(flagged.fit.separation.rows)]
    assert set(labels) == set(frame.index[used & (frame["d"] == 1)])
    assert [flagged.names[j] for j in flagged.fit.separation.columns] == ["d"]
    assert flagged.bse.isna().all()
    if "small" in extra:  # with weights that add up to less than one row, two fits agree to the verdict's 1e-10 only
        return
    cov = {"cov_type": "cluster"} if extra == "groups" else {}
    ours = from_formula(model, formula, frame, {"separation": "drop"}, **EXTRAS[extra], **cov)
    rest = f"{MODELS[model]} ~ x + z + twice"
    same_fit(ours, from_formula(model, rest, frame[frame["d"] == 0], **EXTRAS[extra], **cov))
    late = {"cov_type": "cluster", "cov_kwds": {"groups": "g"}}
    theirs = from_formula(model, rest, frame[frame["d"] == 0], **EXTRAS[extra], **late)
    np.testing.assert_allclose(ours.with_cov("cluster", {"groups": "g"}).bse, theirs.bse, rtol=1e-9)
    np.testing.assert_allclose(ours.with_cov("cluster", {"groups": frame["g"]}).bse, theirs.bse, rtol=1e-9)


def test_the_warning_and_the_summary_name_rows_and_columns() -> None:
    model = tm.Logit.from_formula("y ~ x + d", table())
    words = r"43 of 300 rows \(row r0, r7, r14, r21, r28, and 38 more\) are predicted perfectly .* with them d"
    with pytest.warns(DataWarning, match=words):
        results = model.fit(options={"separation": "drop"})
    text = " ".join(str(results.summary()).split())
    assert "43 of 300 rows were not used (separated: 43)" in text
    assert "and with them d, which the other rows do not identify" in text
    assert model.nobs == 300  # the user's own model is as it was
    assert results.llnull < results.llf
    new = table().iloc[:5]
    assert results.predict(new).notna().all()


def test_the_rest_can_be_given_starts() -> None:
    start = {"Intercept": 0.0, "x": 1.0, "d": -3.0}
    ours = from_formula("Logit", "y ~ x + d", table(), {"separation": "drop"}, start_params=start)
    same_fit(ours, from_formula("Logit", "y ~ x", table()[table()["d"] == 0]))


def test_without_separation_the_option_changes_nothing() -> None:
    plain = from_formula("Logit", "y ~ x", table())
    asked = from_formula("Logit", "y ~ x", table(), {"separation": "drop"})
    pd.testing.assert_series_equal(plain.params, asked.params)
    pd.testing.assert_series_equal(plain.bse, asked.bse)


def test_complete_separation_leaves_nothing() -> None:
    x = np.linspace(-2, 2, 40)
    with pytest.warns(SeparationWarning, match="nothing can be estimated without the separated rows: 0 rows are left"):
        results = tm.Logit((x > 0) * 1.0, tm.add_constant(x)).fit(options={"separation": "drop"})
    assert results.fit.status.value == "separated"
    assert results.bse.isna().all()


RESTRICTED = {
    "held": ({"fixed": {"d": -1.0}}, False),
    "tied": ({"constraints": "d = x"}, False),
    "another one held": ({"fixed": {"x": 0.5}}, True),
    "others tied": ({"constraints": "x = z"}, True),
    "tied to the one that separates": ({"constraints": "d = z + x"}, False),
}


@pytest.mark.parametrize("model", ["Logit", "Poisson"])
@pytest.mark.parametrize("name", RESTRICTED)
def test_restrictions_can_bring_the_maximum_back(name: str, model: str) -> None:
    """A direction that the restrictions forbid separates nothing."""
    how, separated = RESTRICTED[name]
    results = from_formula(model, f"{MODELS[model]} ~ x + z + d", table(), **how)
    assert (results.fit.separation is not None) == separated
    assert results.converged == (not separated)


def test_a_restriction_on_a_column_that_goes_is_refused() -> None:
    """Two dummies that separate, made to go together."""
    frame = table().assign(e=(np.arange(N) % 11 == 1) * 1.0)
    frame.loc[frame["e"] == 1, "y"] = 0.0
    assert from_formula("Logit", "y ~ x + d + e", frame, constraints="d = e").fit.separation is not None
    with pytest.raises(OptionError, match="takes 'd' out of the model"):
        from_formula("Logit", "y ~ x + d + e", frame, {"separation": "drop"}, constraints="d = e")


@pytest.mark.parametrize("value", ["dropp", "DROP", True, None])
def test_unknown_values_are_refused(value: Any) -> None:
    with pytest.raises(OptionError, match=r"separation.*flag.*drop"):
        from_formula("Logit", "y ~ x", table(), {"separation": value})


class OwnLogit(tm.GenericLikelihoodModel):
    def loglikeobs(self, params):
        return tm.log_sigmoid((2 * self.endog - 1) * (self.exog @ params))


class OwnLogitWithSigns(OwnLogit):
    def recession_signs(self):
        return 2 * self.endog - 1


def test_models_that_cannot_tell_refuse() -> None:
    X = tm.add_constant(table()[["x", "d"]])
    with pytest.raises(OptionError, match=r"not available for OwnLogit.*recession_signs"):
        OwnLogit(table()["y"], X).fit(options={"separation": "drop"})
    with pytest.raises(OptionError, match="separation"):
        tm.OLS(table()["y"], X).fit(options={"separation": "drop"})
    with pytest.raises(OptionError, match="not available for OLS"):
        tm.OLS(table()["y"], X).fit(method="newton", options={"separation": "drop"})
    with pytest.warns(DataWarning, match="with them d"):
        ours = OwnLogitWithSigns(table()["y"], X).fit(options={"separation": "drop"})
    same = from_formula("Logit", "y ~ x", table()[table()["d"] == 0])
    np.testing.assert_allclose(ours.params, same.params, rtol=1e-9)


# ---- any data


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_small_data(data: st.DataObject) -> None:
    """Small whole numbers give every kind of separation; the oracle's programme has the last word."""
    n, k = data.draw(st.integers(6, 14)), data.draw(st.integers(1, 3))
    draws = data.draw(st.lists(st.lists(st.integers(-2, 2), min_size=k, max_size=k), min_size=n, max_size=n))
    X = np.column_stack([np.ones(n), np.array(draws, dtype=float)])
    X = X[:, full_rank(X)]
    y = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), dtype=float)
    if len(set(y)) < 2:
        return
    model = data.draw(st.sampled_from(["Logit", "Poisson"]))
    results = quietly(model, y, X)
    np.testing.assert_array_equal(separated_rows(results), oracle(X, signs_of(model, y)))


@pytest.mark.parametrize("far", [1e3, 1e5, 1e8, 1e10])
def test_a_far_row_is_no_separation(far: float) -> None:
    """One row far out is predicted perfectly to rounding, and sets the standard deviation; the others overlap."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=100)
    y = (rng.random(100) < 1 / (1 + np.exp(-x))) * 1.0
    x[0], y[0] = far, 1.0
    assert quietly("Logit", y, tm.add_constant(x)).fit.separation is None
    assert quietly("Poisson", y, tm.add_constant(-x)).fit.separation is None


def test_many_rows() -> None:
    """More rows than are looked at first: what their sample cannot see is found."""
    rng = np.random.default_rng(2)
    n = 20_000
    X = pd.DataFrame({"const": 1.0, "x": rng.normal(size=n), "d": np.arange(n) == 12_345}).astype(float)
    y = (rng.random(n) < 0.5) * 1.0
    y[12_345] = 1.0
    assert quietly("Logit", y, X).fit.separation.rows == (12_345,)
    assert quietly("Logit", y, X, maxiter=1).fit.separation.rows == (12_345,)
    assert quietly("Logit", y, X[["const", "x"]], maxiter=1).fit.separation is None
