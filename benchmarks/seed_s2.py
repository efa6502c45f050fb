"""Reproduce a lecture: y ~ x + x^2 + x^3 on 50 points of a sine, by OLS and by gradient methods.

Run ``python benchmarks/seed_s2.py``. It fails if the published figures are not met.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

import torchmle as tm

PUBLISHED = {
    "x": ("params", 0.8476, 5e-5),
    "se of x": ("bse", 0.014, 5e-4),
    "t of x": ("tvalues", 59.444, 5e-4),
    "x^3": ("params", -0.0912, 5e-5),
    "t of x^3": ("tvalues", -42.977, 5e-4),
}


def lecture_data() -> pd.DataFrame:
    """Return the 50 points of the lecture; there is no noise."""
    x = np.linspace(-np.pi, np.pi, 50)
    return pd.DataFrame({"x": x, "y": np.sin(x)})


def check_published(results: tm.LinearResults) -> None:
    """Raise if a published figure is not reproduced to its last digit."""
    for name, (statistic, value, tolerance) in PUBLISHED.items():
        term = "I(x ** 3)" if "x^3" in name else "x"
        found = float(getattr(results, statistic)[term])
        assert abs(found - value) <= tolerance, (name, found, value)
    assert abs(results.omnibus - 3.322) <= 5e-4, results.omnibus
    assert abs(results.kurtosis - 2.111) <= 5e-4, results.kurtosis


def gradient_fits(model: tm.OLS) -> dict[str, tm.Results]:
    """Return the same model by gradient descent with several rates and momenta, and by adaptive methods."""
    ways = {f"sgd lr={rate:g}": ("sgd", {"lr": rate}) for rate in (1e-1, 1e-2, 1e-3)}
    ways |= {f"sgd lr=0.01 momentum={m:g}": ("sgd", {"lr": 1e-2, "momentum": m}) for m in (0.5, 0.9)}
    ways |= {"adam": ("adam", {}), "adagrad": ("adagrad", {"lr": 0.5}), "newton": ("newton", {})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.ConvergenceWarning)
        return {name: model.fit(method=way, maxiter=2000, options=options) for name, (way, options) in ways.items()}


def main() -> None:
    """Print the OLS block and the comparison."""
    model = tm.OLS.from_formula("y ~ x + I(x**2) + I(x**3)", lecture_data())
    ols = model.fit()
    print(ols.summary())
    check_published(ols)
    print("\nThe published figures are met.\n")
    print(
        tm.compare({"closed form": ols, **gradient_fits(model)}).fits.drop(columns=["cov_type", "device"]).to_string()
    )


if __name__ == "__main__":
    main()
