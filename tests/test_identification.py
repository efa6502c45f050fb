"""Hold the identification report to constructed cases whose flat directions are known."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchmle as tm

N = 400
RNG = np.random.default_rng(0)
X1, X2, NOISE = RNG.normal(size=(3, N))
BINARY = (RNG.random(N) < 1 / (1 + np.exp(-X1))) * 1.0
COUNT = RNG.negative_binomial(2, 0.3, N) * 1.0
UNDER = RNG.binomial(8, 1 / (1 + np.exp(-X1))) * 1.0  # its variance is below its mean: alpha runs to zero
FEW = (np.arange(N) < 5) * 1.0
ALWAYS = np.where(FEW == 1, 1.0, BINARY)


def columns(**named: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"const": np.ones(N), **named})


def fit(model: str, y: np.ndarray, X: pd.DataFrame, **how: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(tm, model)(y, X).fit(**how)


def of_levels(seen: str, y: np.ndarray, missing: str = "") -> Any:
    """A logit on a category with the levels a, b, c, of which only some are seen, and some have missing rows only."""
    level = np.array(list(seen))[np.arange(N) % len(seen)]
    x = np.where(np.isin(level, list(missing)), np.nan, X1)
    data = pd.DataFrame({"y": y, "x": x, "g": pd.Categorical(level, categories=list("abc"))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tm.Logit.from_formula("y ~ x + g", data).fit()


def own(
    body: Callable[[Any, torch.Tensor], torch.Tensor], *names: str, y: Any, X: Any = None, start: Any = None
) -> Any:
    kind = type("Own", (tm.GenericLikelihoodModel,), {"loglikeobs": lambda m, p: body(m, p), "extra_params": names})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(y, X).fit(start_params=start)


def by_sum(m: Any, p: torch.Tensor) -> torch.Tensor:
    return tm.normal_logpdf(m.endog - p[0] - p[1])


def by_product(m: Any, p: torch.Tensor) -> torch.Tensor:
    return tm.normal_logpdf(m.endog - p[0] * p[1])


def by_ratio(m: Any, p: torch.Tensor) -> torch.Tensor:
    return tm.normal_logpdf(m.endog - p[0] / p[1])


def by_one(m: Any, p: torch.Tensor) -> torch.Tensor:
    return tm.normal_logpdf(m.endog - p[0])


def two_constants(m: Any, p: torch.Tensor) -> torch.Tensor:
    return tm.normal_logpdf(m.endog - m.exog @ p[:-1] - p[-1])


def probit_with_sigma(m: Any, p: torch.Tensor) -> torch.Tensor:
    return tm.log_ndtr((2 * m.endog - 1) * (m.exog @ p[:-1]) / p[-1])


def probit_with_log_sigma(m: Any, p: torch.Tensor) -> torch.Tensor:
    return tm.log_ndtr((2 * m.endog - 1) * (m.exog @ p[:-1]) * torch.exp(-p[-1]))


def logit(m: Any, p: torch.Tensor) -> torch.Tensor:
    return tm.log_sigmoid((2 * m.endog - 1) * (m.exog @ p))


def rises(m: Any, p: torch.Tensor) -> torch.Tensor:
    return p[0] + 0 * m.endog


@dataclass(frozen=True)
class Case:
    """A fit, the verdict on its weakest direction, the parameters in it, and the first words of the cause."""

    fit: Callable[[], Any]
    verdict: str
    members: frozenset[str] = frozenset()
    cause: str = ""


def near(distance: float, model: str = "Logit", **how: Any) -> Callable[[], Any]:
    y = {"Logit": BINARY, "OLS": X1 + NOISE, "NegativeBinomial": COUNT}[model]
    return lambda: fit(model, y, columns(x1=X1, x2=X1 + distance * X2), **how)


def of(*names: str) -> frozenset[str]:
    return frozenset(names)


PAIR = of("x1", "x2")
CASES = {
    "logit": Case(near(1.0), "fine"),
    "ols by likelihood": Case(near(1.0, "OLS", method="newton"), "fine"),
    "ols in closed form": Case(near(1.0, "OLS"), "fine"),
    "negative binomial": Case(near(1.0, "NegativeBinomial"), "fine"),
    "few rows of a category": Case(lambda: fit("Logit", BINARY, columns(x1=X1, few=np.roll(FEW, 1))), "fine"),
    "near, 1e-2": Case(near(1e-2), "fine"),
    "near, 1e-5": Case(near(1e-5), "weak", PAIR, "collinear: a combination of x1, x2 is zero to within 1e-05"),
    "near, 1e-6": Case(near(1e-6), "weak", PAIR, "collinear"),
    "near, 1e-7": Case(near(1e-7), "weak", PAIR, "collinear: a combination of x1, x2 is zero to within 1e-07"),
    "near, 1e-8": Case(near(1e-8), "weak", PAIR, "collinear"),
    "near, ols": Case(near(1e-7, "OLS", method="newton"), "weak", PAIR, "collinear"),
    "near, nb": Case(near(1e-5, "NegativeBinomial"), "weak", PAIR, "collinear"),
    "separated": Case(
        lambda: fit("Logit", ALWAYS, columns(x1=X1, few=FEW)), "weak", of("few"), "separated: 5 rows are predicted"
    ),
    "separated, own": Case(
        lambda: own(logit, y=ALWAYS, X=columns(x1=X1, few=FEW)), "weak", of("few"), "empty: few differs .* in 5 rows"
    ),
    "alpha to zero": Case(
        lambda: fit("NegativeBinomial", UNDER, columns(x1=X1)), "weak", of("alpha"), "boundary: alpha"
    ),
    "sigma to zero": Case(
        lambda: fit("OLS", 1 + 2 * X1, columns(x1=X1), method="newton"), "flat", of("sigma"), "boundary: sigma"
    ),
    "a sum": Case(lambda: own(by_sum, "a", "b", y=X1, start=[0.5, 1.0]), "flat", of("a", "b"), "redundant.*their sum"),
    "a product": Case(
        lambda: own(by_product, "a", "b", y=X1 + 3, start=[0.5, 2.0]), "flat", of("a", "b"), "redundant.*their product"
    ),
    "a ratio": Case(
        lambda: own(by_ratio, "a", "b", y=X1 + 3, start=[3.0, 1.1]), "flat", of("a", "b"), "redundant.*their ratio"
    ),
    "an idle one": Case(lambda: own(by_one, "a", "b", y=X1, start=[0.5, 1.0]), "flat", of("b"), "idle: b"),
    "two constants": Case(
        lambda: own(two_constants, "a", y=X1 + X2, X=columns(x1=X1)), "flat", of("const", "a"), "redundant.*their sum"
    ),
    "two constants, unlike columns": Case(
        lambda: own(two_constants, "a", y=X1, X=columns(x1=np.round(12 + 3 * X1), x2=X2)),
        *("flat", of("const", "a"), "redundant.*their sum"),
    ),
    "a scale too many": Case(
        lambda: own(probit_with_sigma, "s", y=BINARY, X=columns(x1=X1), start=[0.0, 0.5, 1.0]),
        *("flat", of("x1", "s", "const"), "redundant.*a common factor of all changes nothing"),
    ),
    "a log scale too many": Case(
        lambda: own(probit_with_log_sigma, "s", y=BINARY, X=columns(x1=X1)),
        *("flat", of("x1", "s", "const"), "redundant.*s undoes a common factor of the others"),
    ),
    "no maximum": Case(lambda: own(rises, "a", y=X1), "flat", of("a"), "boundary: .* still rises with a"),
}


@pytest.mark.parametrize(("seen", "missing"), [("ab", ""), ("abc", "c")])
def test_a_category_without_rows_has_no_parameter(seen: str, missing: str) -> None:
    results = of_levels(seen, BINARY, missing)
    assert list(results.params.index) == ["Intercept", "x", "g[T.b]"]
    assert results.identification().verdict == "fine"


def test_a_category_in_which_all_answer_alike_is_separated() -> None:
    report = of_levels("abc", np.where(np.arange(N) % 3 == 2, 1.0, BINARY)).identification()
    assert report.verdict != "fine"
    assert set(report.directions[0].weights) == {"g[T.c]"}
    assert report.directions[0].cause.startswith("separated: 133 rows")


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    case = CASES[name]
    results = case.fit()
    report = results.identification()
    weakest = report.directions[0]
    assert report.verdict == case.verdict
    assert list(report.table["verdict"]).count("fine") == len(report.directions) - (case.verdict != "fine")
    if case.verdict == "fine":
        assert results.converged
        assert "directions are identified" in str(report)
        return
    assert set(weakest.weights) == case.members
    assert pd.Series([weakest.cause]).str.match(case.cause).all(), weakest.cause
    assert weakest.cause in str(report)


@pytest.mark.parametrize("name", ["near, 1e-5", "a sum", "a product", "two constants", "a scale too many"])
def test_the_log_likelihood_does_not_move_along_a_weak_direction(name: str) -> None:
    """The weights are a direction in the user's units: along it the log-likelihood stays, against it it falls."""
    results = CASES[name].fit()
    weights = results.identification().directions[0].weights
    step = pd.Series(weights).reindex(results.params.index).fillna(0.0)
    at = results.params.to_numpy()
    size = 1e-3 * np.abs(at).max() / np.abs(step).max()
    along = results.model.loglike(at + size * step.to_numpy())
    turned = step.to_numpy() * np.where(np.arange(len(step)) == np.flatnonzero(step)[0], -1.0, 1.0)
    against = results.model.loglike(at + size * turned)
    assert abs(along - results.llf) < 1e-2 * abs(against - results.llf)


def test_a_right_answer_is_never_called_flat() -> None:
    """Wherever the fit converges, no direction is flat; columns that differ by 1e-6 of their spread still do."""
    for distance in 10.0 ** -np.arange(0, 10):
        results = near(distance)()
        verdict = results.identification().verdict
        assert verdict in ("fine", "weak")
        assert results.converged or distance < 1e-6


def test_restrictions() -> None:
    results = fit("Logit", BINARY, columns(x1=X1, x2=X1 + 1e-7 * X2), constraints="x1 = x2")
    report = results.identification()
    assert report.verdict == "fine"
    assert len(report.directions) == 2


POWERS = st.lists(st.floats(-6, 6), min_size=2, max_size=2)
SHIFTS = st.lists(st.integers(-1000, 1000), min_size=2, max_size=2)
DISTANCES = st.sampled_from([1.0, 1e-2, 1e-5])


@settings(max_examples=40, deadline=None)
@given(POWERS, SHIFTS, DISTANCES, st.sampled_from(["Logit", "OLS", "NegativeBinomial"]))
def test_units_and_origins_do_not_matter(powers: list, shifts: list, distance: float, model: str) -> None:
    """Columns times 1e-6 to 1e6, moved by up to a thousand of their units: the same verdicts, names and strengths."""
    y = {"Logit": BINARY, "OLS": X1 + NOISE, "NegativeBinomial": COUNT}[model]
    how = {"method": "newton"} if model == "OLS" else {}
    X = columns(x1=X1, x2=X1 + distance * X2)
    moved = X.copy()
    for name, power, shift in zip(("x1", "x2"), powers, shifts, strict=True):
        moved[name] = (X[name] + shift) * 10.0**power
    plain, other = (fit(model, y, data, **how).identification() for data in (X, moved))
    assert [d.verdict for d in plain.directions] == [d.verdict for d in other.directions]
    # Columns up to 100 spreads from zero are not centred in the fit; a sum over 400 rows then rounds by some 20 units
    # in the last digit of the square of that distance.
    lost = 1e-14 * (1 + min(100, max(map(abs, shifts))) ** 2)
    ours, theirs = ([d.strength for d in r.directions] for r in (plain, other))
    np.testing.assert_allclose(ours, theirs, rtol=0.05, atol=lost)
    assert set(plain.directions[0].weights) == set(other.directions[0].weights)
    if distance < 1e-3:
        share = other.directions[0].weights["x1"] / other.directions[0].weights["x2"]
        assert share * 10.0 ** (powers[0] - powers[1]) == pytest.approx(-1.0, rel=1e-3)
