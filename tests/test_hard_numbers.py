"""Hold torchmle to what is hard in floating point: units, near collinearity, separation, tails, no maximum.

Every table is compared with an independent reference: exact arithmetic (fractions, mpmath), numpy's
least squares, statsmodels.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import statsmodels.api as sm
import torch

import torchmle as tm
from torchmle import (
    CollinearityWarning,
    ConvergenceWarning,
    SeparationWarning,
    TorchmleError,
    TorchmleWarning,
)

N = 200
RNG = np.random.default_rng(7)
X1, X2 = RNG.normal(size=N), RNG.normal(size=N)
UNIFORM = RNG.uniform(size=N)
ETA = 0.3 + 0.5 * X1 - 0.4 * X2
MEAN = np.exp(ETA)
GAMMA = np.random.default_rng(8).gamma(2.0, 0.5, N)
RESPONSES = {
    "OLS": ETA + np.random.default_rng(9).normal(size=N),
    "Logit": (np.log(UNIFORM / (1 - UNIFORM)) < ETA) * 1.0,
    "Probit": (np.random.default_rng(10).normal(size=N) < ETA) * 1.0,
    "Poisson": np.random.default_rng(11).poisson(MEAN) * 1.0,
    "NegativeBinomial": np.random.default_rng(12).poisson(MEAN * GAMMA) * 1.0,
}


def columns(*vectors: np.ndarray) -> np.ndarray:
    """The vectors behind a column of ones."""
    return np.column_stack([np.ones(len(vectors[0])), *vectors])


def fit(model: str, y: Any, X: Any, **options: Any) -> Any:
    """Fit by the likelihood; torchmle's warnings are errors (pyproject.toml)."""
    build = {k: options.pop(k) for k in ("freq_weights", "dtype", "collinear") if k in options}
    options.setdefault("method", "newton")
    return getattr(tm, model)(y, X, **build).fit(**options)


def quiet(run: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What a call returns, and what it warned of."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        result = run()
    return result, [str(w.message) for w in given if issubclass(w.category, TorchmleWarning)]


def flagged(results: Any) -> bool:
    return not results.converged and bool(results.bse.isna().all()) and "NOT A MAXIMUM" in str(results.summary())


def largest_gap(a: Any, b: Any) -> float:
    """Largest relative difference of two vectors."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float(np.max(np.abs(a - b) / np.abs(b)))


# ---- units

# Scale and offset of two columns. A scale costs one rounding a number; an offset of 1e8 leaves 8 digits of a
# column, so the reference is fitted to the very numbers left, the offset taken off exactly (Sterbenz).
UNITS = {
    "scales 1e8 and 1e-8": (0.0, 1e8, 0.0, 1e-8),
    "scales 1e-8": (0.0, 1e-8, 0.0, 1e-8),
    "scales 1e8": (0.0, 1e8, 0.0, 1e8),
    "scales 1e100 and 1e-100": (0.0, 1e100, 0.0, 1e-100),
    "offset 1e8": (1e8, 1.0, 0.0, 1.0),
    "offsets 1e8 and -1e8": (1e8, 1.0, -1e8, 10.0),
    "offset 1e8, scale 1e4": (1e8, 1e4, 1e8, 1e4),
    "offset 1e4, scale 1e-4": (1e4, 1e-4, 0.0, 1e8),
}


@pytest.mark.parametrize("model", RESPONSES)
@pytest.mark.parametrize("units", UNITS)
def test_units_do_not_matter(model: str, units: str) -> None:
    a1, s1, a2, s2 = UNITS[units]
    raw = columns(a1 + s1 * X1, a2 + s2 * X2)
    plain = columns((raw[:, 1] - a1) / s1, (raw[:, 2] - a2) / s2)
    given, reference = fit(model, RESPONSES[model], raw), fit(model, RESPONSES[model], plain)
    slopes = slice(1, 3)
    scale = np.array([s1, s2])
    # Newton stops 1e-8 standard errors from the maximum or nearer
    assert largest_gap(given.params.iloc[slopes] * scale, reference.params.iloc[slopes]) < 1e-8
    assert largest_gap(given.bse.iloc[slopes] * scale, reference.bse.iloc[slopes]) < 1e-8
    assert given.llf == pytest.approx(reference.llf, rel=1e-10)


# Scale and shift of the response of a linear model; a shift of 1e8 leaves 8 digits of it.
Y_UNITS = {"1e-8": (1e-8, 0.0), "1e8": (1e8, 0.0), "shift 1e8": (1.0, 1e8), "tiny, shifted": (1e-4, 1e4)}


@pytest.mark.parametrize("method", [None, "newton", "bfgs", "lbfgs"])
@pytest.mark.parametrize("units", Y_UNITS)
def test_units_of_the_response_do_not_matter(units: str, method: str | None) -> None:
    scale, shift = Y_UNITS[units]
    y = RESPONSES["OLS"] * scale + shift
    given = fit("OLS", y, columns(X1), method=method)
    reference = np.linalg.lstsq(columns(X1), y - shift, rcond=None)[0] / scale
    assert given.converged
    assert given.params.iloc[1] / scale == pytest.approx(reference[1], rel=1e-8)
    assert (given.params.iloc[0] - shift) / scale == pytest.approx(reference[0], rel=1e-6, abs=1e-15 * shift / scale)


# Scales whose squares overflow or vanish: model, scale of x, scale of y, why it fails now.
BEYOND = [
    ("OLS", 1e160, 1.0),
    ("OLS", 1e-170, 1.0),
    ("OLS", 1.0, 1e200),
    ("Logit", 1e160, 1.0),
    ("Logit", 1e-170, 1.0),
]


@pytest.mark.parametrize(
    ("model", "x_scale", "y_scale"),
    BEYOND,
)
def test_beyond_the_squares_of_floating_point(model: str, x_scale: float, y_scale: float) -> None:
    """Right, flagged or refused; never a success without errors, and never an exception of another kind."""
    y, X = RESPONSES[model] * y_scale, columns(X1 * x_scale)
    try:
        results, said = quiet(lambda: getattr(tm, model)(y, X).fit())
    except TorchmleError:
        return
    reference = getattr(tm, model)(RESPONSES[model], columns(X1)).fit()
    slope = float(results.params.iloc[-1] * x_scale / y_scale)
    right = np.isfinite(results.bse).all() and slope == pytest.approx(reference.params.iloc[1], rel=1e-8)
    assert right or (said and (flagged(results) or "x1" not in results.params))


# Scale and shift of the response.
OWN_UNITS = {"plain": (1.0, 0.0), "1e8": (1e8, 0.0), "1e-8": (1e-8, 0.0), "shift 1e4": (1.0, 1e4)}


@pytest.mark.parametrize("units", OWN_UNITS)
def test_units_of_ones_own_response(units: str) -> None:
    """A likelihood of one's own, started from zeros, reaches its maximum whatever the units of the data."""
    scale, shift = OWN_UNITS[units]
    y = RESPONSES["OLS"] * scale + shift
    results = own(no_spread, "log_sigma", y=y, X=columns(X1)).fit()
    reference = np.linalg.lstsq(columns(X1), y - shift, rcond=None)[0]
    assert results.converged
    assert results.params.iloc[1] == pytest.approx(reference[1], rel=1e-6)


@pytest.mark.parametrize("degree", [3, 5, 7, 9])
def test_polynomials(degree: int) -> None:
    """At least the digits of ``lstsq``, less one for luck, against the exact solution in fractions."""
    x = np.linspace(1, 2, 40)
    X = np.column_stack([x**k for k in range(degree + 1)])
    y = np.round(np.cos(9 * x), 6)
    exact = exact_least_squares(X, y)
    ours, said = quiet(lambda: tm.OLS(y, X).fit().params)
    theirs = np.linalg.lstsq(X, y, rcond=None)[0]
    error, their_error = (np.abs(b - exact).max() / np.abs(exact).max() for b in (ours.to_numpy(), theirs))
    assert error <= max(10 * their_error, 1e-12)
    assert said or error < 1e-7


def exact_least_squares(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Solve the normal equations of float64 data without any rounding."""
    rows = [[Fraction(float(v)) for v in row] for row in X]
    right = [Fraction(float(v)) for v in y]
    k = X.shape[1]
    A = [
        [sum(r[i] * r[j] for r in rows) for j in range(k)] + [sum(r[i] * v for r, v in zip(rows, right, strict=True))]
        for i in range(k)
    ]
    for i in range(k):
        A[i] = [v / A[i][i] for v in A[i]]
        for j in range(k):
            if j != i:
                A[j] = [v - A[j][i] * u for v, u in zip(A[j], A[i], strict=True)]
    return np.array([float(A[i][k]) for i in range(k)])


# ---- collinear columns

NEAR = {1e-3: "kept", 1e-5: "kept", 1e-7: "kept", 1e-13: "dropped", 1e-15: "dropped", 0.0: "dropped"}


@pytest.mark.parametrize("model", ["OLS", "Logit"])
@pytest.mark.parametrize("distance", NEAR)
def test_near_and_exact_collinearity(model: str, distance: float) -> None:
    X = columns(X1, X1 + distance * X2)
    if NEAR[distance] == "dropped":
        with pytest.warns(CollinearityWarning, match="'x2' is an exact linear combination of x1"):
            results = fit(model, RESPONSES[model], X)
        assert list(results.params.index[:2]) == ["const", "x1"]
        assert largest_gap(results.params, fit(model, RESPONSES[model], columns(X1)).params) < 1e-8
        return
    # b = (b1, b2) of the near columns is (a1 - a2 / d, a2 / d) of well separated ones
    results, said = quiet(lambda: fit(model, RESPONSES[model], X))
    apart = fit(model, RESPONSES[model], columns(X1, (X[:, 2] - X[:, 1]) / distance))
    if results.converged:  # the information is a cross-product: rounding times the square of the condition, 2 / d
        loss = 1e-8 + 1e-15 * (2 / distance) ** 2
        assert results.params.iloc[2] == pytest.approx(apart.params.iloc[2] / distance, rel=loss)
        assert results.bse.iloc[2] == pytest.approx(apart.bse.iloc[2] / distance, rel=loss)
    else:
        assert distance < 1e-6
        assert flagged(results)
        assert "x1 with x2" in " ".join(said)


@pytest.mark.parametrize("distance", [1e-5, 1e-7, 1e-9])
def test_near_collinearity_least_squares(distance: float) -> None:
    """The fit itself is as good as ``lstsq``'s, however near the columns are."""
    X = columns(X1, X1 + distance * X2)
    results, said = quiet(lambda: tm.OLS(RESPONSES["OLS"], X).fit())
    theirs = np.linalg.lstsq(X, RESPONSES["OLS"], rcond=None)[0]
    # X b is rounded at coefficients of 1 / distance
    assert results.ssr <= np.sum((RESPONSES["OLS"] - X @ theirs) ** 2) * (1 + 1e-15 / distance * 100)
    assert bool(said) == (distance < 1e-8)


# ---- separation


def line(n: int = 40) -> np.ndarray:
    return np.linspace(-2, 2, n)


def complete() -> tuple[np.ndarray, np.ndarray]:
    return (line() > 0) * 1.0, columns(line())


def complete_scaled() -> tuple[np.ndarray, np.ndarray]:
    return (line() > 0) * 1.0, columns(1e8 + 1e-2 * line())


def quasi() -> tuple[np.ndarray, np.ndarray]:
    x, y = line(), (line() > 0) * 1.0
    x[19] = x[20] = 0.0
    return y, columns(x)


def by_a_dummy() -> tuple[np.ndarray, np.ndarray]:
    y, d = np.arange(40) % 2 * 1.0, (np.arange(40) < 5) * 1.0
    y[:5] = 1.0
    return y, columns(line(), d)


def by_one_row() -> tuple[np.ndarray, np.ndarray]:
    return np.arange(40) % 2 * 1.0, columns(line(), (np.arange(40) == 0) * 1.0)


def by_three() -> tuple[np.ndarray, np.ndarray]:
    Z = np.random.default_rng(3).normal(size=(40, 3))
    return (Z @ [1, 2, -1] > 0.3) * 1.0, columns(*Z.T)


def counts_by_a_dummy() -> tuple[np.ndarray, np.ndarray]:
    y, d = np.random.default_rng(0).negative_binomial(1, 0.3, 400) * 1.0, (np.arange(400) < 5) * 1.0
    y[:5] = 0.0
    return y, columns(line(400), d)


# data -> (models, number of separated rows, the column that separates)
SEPARATED = {
    complete: (("Logit", "Probit"), 40, "x1"),
    complete_scaled: (("Logit", "Probit"), 40, "x1"),
    quasi: (("Logit", "Probit"), 38, "x1"),
    by_a_dummy: (("Logit", "Probit"), 5, "x2"),
    by_one_row: (("Logit", "Probit", "Poisson", "NegativeBinomial"), 1, "x2"),
    by_three: (("Logit", "Probit"), 40, "x1, x2, x3"),
    counts_by_a_dummy: (("Poisson", "NegativeBinomial"), 5, "x2"),
}
SEPARATED_CASES = [(data, model) for data, (models, _, _) in SEPARATED.items() for model in models]


@pytest.mark.parametrize(("data", "model"), SEPARATED_CASES)
def test_separation_is_named(data: Callable[[], Any], model: str) -> None:
    _, rows, column = SEPARATED[data]
    y, X = data()
    with pytest.warns(SeparationWarning, match=rf"{rows} of {len(y)} rows .* by {column}"):
        results = fit(model, y, X)
    assert flagged(results)
    assert "separated" in results.status


@pytest.mark.parametrize(
    "options",
    [{"method": m} for m in ("bfgs", "lbfgs", "sgd", "adam")]
    + [{"dtype": "float32"}, {"freq_weights": np.arange(40) + 1}, {"start_params": [0.0, 1e3]}],
)
def test_separation_is_found_by_every_method(options: dict) -> None:
    with pytest.warns(SeparationWarning, match="40 of 40 rows"):
        assert flagged(fit("Logit", *complete(), **options))


NOT_SEPARATED = {
    "two rows on the wrong side": lambda: np.where(np.isin(np.arange(40), [18, 21]), line() <= 0, line() > 0),
    "one far row on the wrong side": lambda: np.where(np.arange(40) == 0, 1.0, line() > 0),
}


@pytest.mark.parametrize("model", ["Logit", "Probit"])
@pytest.mark.parametrize("name", NOT_SEPARATED)
def test_no_false_alarm_of_separation(name: str, model: str) -> None:
    y = NOT_SEPARATED[name]() * 1.0
    theirs = getattr(sm, model)(y, columns(line())).fit(disp=0, tol=1e-12)
    ours = fit(model, y, columns(line()))
    assert ours.converged
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(ours.bse, theirs.bse, rtol=1e-6)


# ---- likelihoods without a maximum


def own(body: Callable[[Any, torch.Tensor], torch.Tensor], *names: str, y: Any = None, X: Any = None) -> Any:
    """A model of one's own with the parameters named, and columns if there are any."""
    kind = type("Own", (tm.GenericLikelihoodModel,), {"loglikeobs": lambda m, p: body(m, p), "extra_params": names})
    return kind(RESPONSES["OLS"] if y is None else y, X)


def collapse(m: Any, p: torch.Tensor) -> torch.Tensor:
    """A mixture of two normals: unbounded where one of them shrinks onto a row."""
    first = tm.normal_logpdf((m.endog - p[0]) * torch.exp(-p[1])) - p[1]
    return torch.logaddexp(first, tm.normal_logpdf(m.endog - p[2]))


def separated_opaque(m: Any, p: torch.Tensor) -> torch.Tensor:
    return tm.log_sigmoid((2 * m.endog - 1) * (m.exog @ p))


def no_spread(m: Any, p: torch.Tensor) -> torch.Tensor:
    return tm.normal_logpdf((m.endog - m.exog @ p[:-1]) * torch.exp(-p[-1])) - p[-1]


def underdispersed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts whose variance is below their mean: NB2's alpha runs to zero."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=400)
    return rng.binomial(8, 1 / (1 + np.exp(-x))) * 1.0, columns(x)


# name -> (fit, reason why it fails now)
NO_MAXIMUM: dict[str, Callable[[], Any]] = {
    "perfect fit": (lambda: fit("OLS", 1 + 2 * X1, columns(X1))),
    "perfect fit, own": (lambda: own(no_spread, "s", y=1 + 2 * X1, X=columns(X1)).fit()),
    "constant response": (lambda: fit("OLS", np.full(N, 3.0), columns(X1))),
    "rises for ever": (lambda: own(lambda m, p: p[0] + 0 * m.endog, "a").fit()),
    "convex": (lambda: own(lambda m, p: p[0] ** 2 + 0 * m.endog, "a").fit(start_params=[1.0])),
    "tail exp(-a)": (lambda: own(lambda m, p: -torch.exp(-p[0]) * m.endog**2, "a").fit()),
    "tail 1/a": (lambda: own(lambda m, p: p[0] / (1 + p[0].abs()) + 0 * m.endog, "a").fit(start_params=[1.0])),
    "tail 1/a^2": (lambda: own(lambda m, p: -1 / (1 + p[0] ** 2) + 0 * m.endog, "a").fit(start_params=[1.0])),
    "mixture": lambda: own(collapse, "m1", "ls", "m2").fit(start_params=[float(RESPONSES["OLS"][0]) + 1e-3, -6.0, 0.0]),
    "separated, own logit": (lambda: own(separated_opaque, y=complete()[0], X=complete()[1]).fit()),
    **{
        f"underdispersed NB2, {seed}": (lambda seed=seed: fit("NegativeBinomial", *underdispersed(seed)))
        for seed in range(4)
    },
}


@pytest.mark.parametrize(
    "name",
    NO_MAXIMUM,
)
def test_no_maximum_is_no_success(name: str) -> None:
    results, said = quiet(NO_MAXIMUM[name])
    assert flagged(results)
    assert any("not a maximum" in s for s in said)


def test_perfect_fit_by_least_squares() -> None:
    """Least squares answers: the coefficients are right to rounding, sigma is zero to rounding."""
    results = tm.OLS(1 + 2 * X1, columns(X1)).fit()
    np.testing.assert_allclose(results.params, [1, 2], rtol=1e-14)
    assert results.scale < 1e-28
    assert results.rsquared == pytest.approx(1.0, abs=1e-15)


FLAT = {
    "a sum": (lambda m, p: tm.normal_logpdf(m.endog - p[0] - p[1]), ("a", "b"), "a with b"),
    "an idle one": (lambda m, p: tm.normal_logpdf(m.endog - p[0]), ("a", "idle"), "Not identified: idle"),
    "a ratio": (lambda m, p: tm.normal_logpdf(m.endog - p[0] / p[1]), ("a", "b"), "a with b"),
    "one of three": (
        lambda m, p: tm.normal_logpdf(m.endog - p[0] - p[1] + p[2] * (m.endog > 0)),
        ("a", "b", "c"),
        "a with b",
    ),
}


@pytest.mark.parametrize("name", FLAT)
def test_flat_directions_are_named(name: str) -> None:
    body, names, words = FLAT[name]
    start = [0.5, 1.0, 0.1][: len(names)]
    with pytest.warns(ConvergenceWarning, match=words):
        results = own(body, *names).fit(start_params=start)
    assert flagged(results)
    assert [set(d) for d in results.fit.flat] == [{n for n in names if n in words.removeprefix("Not identified")}]


# ---- starts


@dataclass(frozen=True)
class Start:
    """A fit from a bad start, and why it fails now."""

    model: str
    start: list[float]


STARTS = {
    "logit far out": Start("Logit", [30.0, -40.0, 20.0]),
    "probit far out": Start("Probit", [30.0, -40.0, 20.0]),
    "Poisson with huge means": Start("Poisson", [50.0, 10.0, -10.0]),
    "Poisson with tiny means": Start("Poisson", [-30.0, 0.0, 0.0]),
    "NB2 with huge means": Start("NegativeBinomial", [30.0, 5.0, -5.0, 1.0]),
    "normal, tiny sigma": Start("OLS", [1e5, 1e5, -1e5, 1e-5]),
    "normal, huge sigma": Start("OLS", [0.0, 0.0, 0.0, 1e8]),
}


@pytest.mark.parametrize(
    "name",
    STARTS,
)
def test_bad_starts(name: str) -> None:
    case = STARTS[name]
    X, y = columns(X1, X2), RESPONSES[case.model]
    reference = fit(case.model, y, X)
    results = fit(case.model, y, X, start_params=case.start)
    np.testing.assert_allclose(results.params, reference.params, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(results.bse, reference.bse, rtol=1e-6)


def test_start_that_overflows_is_refused() -> None:
    with pytest.raises(TorchmleError, match=r"infinite in 200 of 200 rows.*const=800"):
        fit("Poisson", RESPONSES["Poisson"], columns(X1), start_params=[800.0, 0.0])


CAUCHY = np.array([-10.0, -9.5, -10.5, 8, 9, 10, 11, 9.4])


@pytest.mark.parametrize("start", [-10.0, -0.5, 0.0, 2.5, 10.0, 100.0])
def test_several_modes(start: float) -> None:
    """Whatever the start, a success is a local maximum: no score, and lower on both sides."""
    results = own(lambda m, p: -torch.log1p((m.endog - p[0]) ** 2), "m", y=CAUCHY).fit(start_params=[start])
    at = float(results.params.iloc[0])

    def llf(m: float) -> float:
        return float(-np.log1p((CAUCHY - m) ** 2).sum())

    assert results.converged
    assert results.llf == pytest.approx(llf(at), rel=1e-12)
    assert abs(float(-2 * ((at - CAUCHY) / (1 + (CAUCHY - at) ** 2)).sum())) < 1e-5
    assert llf(at) > max(llf(at - 1e-3), llf(at + 1e-3))


def test_saddle_start_is_no_success() -> None:
    """Two components that start alike stay alike: this is a saddle, and is not reported as a maximum."""
    y = np.concatenate([np.random.default_rng(1).normal(m, 1, 100) for m in (-3, 3)])
    model = own(
        lambda m, p: torch.logaddexp(tm.normal_logpdf(m.endog - p[0]), tm.normal_logpdf(m.endog - p[1])),
        "m1",
        "m2",
        y=y,
    )
    stuck, _ = quiet(model.fit)
    assert flagged(stuck) or abs(stuck.params.iloc[0] - stuck.params.iloc[1]) > 1
    apart = model.fit(start_params=[-1.0, 1.0])
    assert apart.converged
    np.testing.assert_allclose(np.sort(apart.params), [-3, 3], atol=0.4)  # four standard errors of a mean of 100


# ---- tails

PROBIT_ETAS = [0.0, 1.0, 5.0, 20.0, 37.0, 40.0]
LOGIT_ETAS = [0.0, 1.0, 30.0, 36.0, 37.0, 40.0, 700.0, 740.0, 800.0]
TAILS = [
    *[("Probit", y, s * e) for e in PROBIT_ETAS for s in (1, -1) for y in (0, 1)],
    *[("Logit", y, s * e) for e in LOGIT_ETAS for s in (1, -1) for y in (0, 1)],
    *[("Poisson", y, e) for e in (-700.0, -40.0, 0.0, 40.0, 700.0) for y in (1, 7)],
]


def exact_row(model: str, y: int, eta: float) -> list[Any]:
    """Value, score and Hessian of one row in closed form, to be evaluated in many digits."""
    t = mpmath.mpf(eta)
    if model == "Poisson":
        return [y * t - mpmath.exp(t) - mpmath.loggamma(y + 1), y - mpmath.exp(t), -mpmath.exp(t)]
    q = 2 * y - 1
    if model == "Logit":
        odds = mpmath.exp(q * t)
        return [-mpmath.log1p(1 / odds), q / (1 + odds), -odds / (1 + odds) ** 2]
    ratio = mpmath.npdf(t) / mpmath.ncdf(q * t)
    return [mpmath.log(mpmath.ncdf(q * t)), q * ratio, -ratio * (ratio + q * t)]


@pytest.mark.parametrize(("model", "y", "eta"), TAILS)
def test_tails(model: str, y: int, eta: float) -> None:
    """Value, score and Hessian of one row at a predictor far out."""
    other = (1 - y) if model != "Poisson" else 1
    two = getattr(tm, model)(np.array([other, y]), np.array([[0.0], [1.0]]))
    got = [two.loglikeobs([eta])[1].item(), two.score([eta])[0], two.hessian([eta])[0, 0]]
    smallest = 1e-300  # float64 has no full digits below
    with mpmath.workdps(800):  # log Phi(40) needs 350 digits to differ from zero
        for value, reference in zip(got, exact_row(model, y, eta), strict=True):
            assert np.isfinite(value)
            assert abs(value - reference) <= abs(reference) * 1e-11 + smallest
            assert value != 0 or abs(reference) < smallest


# ---- sums


def test_rare_events() -> None:
    """Five ones in 50,000 rows: a fit that begins on a sample of the rows may find none there."""
    x = np.random.default_rng(5).normal(size=50_000)
    y = np.zeros(50_000)
    y[np.argsort(-x)[[3, 500, 1000, 20_000, 30_000]]] = 1
    for model in ("Logit", "Probit"):
        theirs = getattr(sm, model)(y, columns(x)).fit(disp=0, maxiter=100)
        ours = fit(model, y, columns(x))
        assert ours.converged
        np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-6)
        np.testing.assert_allclose(ours.bse, theirs.bse, rtol=1e-5)


PATTERNS = {
    "sorted by the response": lambda x, u: np.lexsort([x, u]),
    "sorted by the regressor": lambda x, u: np.argsort(x),
    "as it is": lambda x, u: np.arange(len(x)),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_order_of_rows(pattern: str) -> None:
    """A dummy that is zero in every thirtieth row, and sorted rows: a strided sample is not the data."""
    rng = np.random.default_rng(6)
    x, d, noise = rng.normal(size=30_000), (np.arange(30_000) % 30 != 0) * 1.0, rng.logistic(size=30_000)
    y = (noise < x + d) * 1.0
    order = PATTERNS[pattern](x, y)
    theirs = sm.Logit(y, columns(x, d)).fit(disp=0, tol=1e-12)
    ours = fit("Logit", y[order], columns(x, d)[order])
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-8)
    np.testing.assert_allclose(ours.bse, theirs.bse, rtol=1e-8)


def test_order_of_columns() -> None:
    order = [2, 0, 1]
    X = columns(X1, X2)
    a, b = fit("Logit", RESPONSES["Logit"], X), fit("Logit", RESPONSES["Logit"], X[:, order])
    np.testing.assert_allclose(b.params, a.params.iloc[order], rtol=1e-9)
    np.testing.assert_allclose(b.bse, a.bse.iloc[order], rtol=1e-9)


def test_huge_means() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=500)
    y = rng.poisson(np.exp(14 + 0.1 * x)) * 1.0
    theirs = sm.Poisson(y, columns(x)).fit(disp=0, start_params=[14, 0.1], tol=1e-14)
    ours = fit("Poisson", y, columns(x))
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-10)
    np.testing.assert_allclose(ours.bse, theirs.bse, rtol=1e-8)


def test_large_sums() -> None:
    """A million rows about a level of 1e6, without noise: sums of squares must not cancel."""
    x = np.random.default_rng(2).normal(size=1_000_000)
    results = tm.OLS(1e6 + x, columns(x)).fit()
    # the response itself is rounded at 1e6 * 1.1e-16, independently in a million rows
    np.testing.assert_allclose(results.params, [1e6, 1.0], rtol=1e-12)
    assert results.ssr < 1e6 * (1e6 * 1.2e-16) ** 2


COUNTS = np.random.default_rng(1).integers(0, 4, N)


@pytest.mark.parametrize("model", RESPONSES)
@pytest.mark.parametrize("cov_type", ["nonrobust", "opg", "HC0", "HC1", "cluster"])
def test_counts_equal_repeated_rows(model: str, cov_type: str) -> None:
    groups = np.arange(N) % 17
    kwds = {"groups": groups} if cov_type == "cluster" else None
    repeated = np.repeat(np.arange(N), COUNTS)
    X, y = columns(X1, X2), RESPONSES[model]
    ours = fit(model, y, X, freq_weights=COUNTS, cov_type=cov_type, cov_kwds=kwds)
    kwds = {"groups": groups[repeated]} if cov_type == "cluster" else None
    theirs = fit(model, y[repeated], X[repeated], cov_type=cov_type, cov_kwds=kwds)
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(ours.bse, theirs.bse, rtol=1e-8)
    for name in ("llf", "nobs", "aic", "bic", "df_resid"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-12)


@pytest.mark.parametrize("model", RESPONSES)
def test_huge_counts(model: str) -> None:
    """A billion times as many of every row: the same estimates, and errors smaller by the root."""
    X, y = columns(X1, X2), RESPONSES[model]
    few, many = (fit(model, y, X, freq_weights=COUNTS * k) for k in (1, 10**9))
    np.testing.assert_allclose(many.params, few.params, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(many.bse * 10**4.5, few.bse, rtol=1e-8)
    assert many.nobs == few.nobs * 1e9


# ---- R-squared


def test_rsquared_without_intercept() -> None:
    X, y = np.column_stack([X1, X2]), RESPONSES["OLS"] + 3
    ours, theirs = tm.OLS(y, X).fit(), sm.OLS(y, X).fit()
    for name in (
        "rsquared",
        "rsquared_adj",
        "fvalue",
        "f_pvalue",
        "df_model",
        "centered_tss",
        "uncentered_tss",
    ):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-11), name


def test_rsquared_of_a_shifted_response() -> None:
    """A level of 1e8 leaves 8 digits of the response, and so of its residuals; R-squared keeps them."""
    y = RESPONSES["OLS"] + 1e8
    shifted, plain = tm.OLS(y, columns(X1, X2)).fit(), tm.OLS(y - 1e8, columns(X1, X2)).fit()
    for name in ("rsquared", "ssr", "centered_tss", "fvalue", "durbin_watson"):
        assert getattr(shifted, name) == pytest.approx(getattr(plain, name), rel=1e-6), name


# ---- float32


SINGLE = [(m, o) for m in (None, "newton") for o in (0.0, 1e2, 1e4, 1e5, 1e6, 1e7)]


@pytest.mark.parametrize(
    ("method", "offset"),
    SINGLE,
)
def test_single_precision_is_right_or_flagged(method: str | None, offset: float) -> None:
    """float32 keeps 7 digits of a column: at an offset of 1e7 nothing is left of a spread of one."""
    rng = np.random.default_rng(3)
    x = offset + rng.normal(size=1000)
    y = 1 + x + rng.normal(size=1000)
    limit = 30 if method else None
    single, said = quiet(lambda: fit("OLS", y, columns(x), dtype="float32", method=method, maxiter=limit))
    double = fit("OLS", y, columns(x), method=method)
    slope, error = double.params.iloc[1], double.bse.iloc[1]
    right = abs(single.params.iloc[1] - slope) < 0.1 * error and abs(single.bse.iloc[1] / error - 1) < 0.01
    assert right or said


def test_single_precision_is_named_in_the_summary() -> None:
    results = fit("Logit", RESPONSES["Logit"], columns(X1), dtype="float32")
    assert results.record.dtype == "float32"
    assert "float32" in str(results.summary())
    np.testing.assert_allclose(results.params, fit("Logit", RESPONSES["Logit"], columns(X1)).params, rtol=1e-4)
