"""Reproduce a lecture: y ~ x + x^2 + x^3 on 50 points of a sine, by OLS and by gradient methods.

Run ``python benchmarks/seed_s2.py``. It fails if the published figures are not met. ``--pictures FOLDER`` draws the
loss along the iterations by learning rate, by momentum and by optimizer as well.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

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


PICTURES = {
    "rates": {f"rate {rate:g}": ("sgd", {"lr": rate}) for rate in (1.0, 0.3, 0.1, 0.03)},
    "momentum": {f"momentum {m:g}": ("sgd", {"lr": 0.03, "momentum": m}) for m in (0.0, 0.5, 0.9, 0.99)},
    "optimizers": {
        "sgd": ("sgd", {"lr": 0.3}),
        "adam": ("adam", {"lr": 0.1}),
        "adagrad": ("adagrad", {"lr": 0.5}),
        "lbfgs": ("lbfgs", {}),
    },
}


def draw(model: tm.OLS, folder: Path) -> None:
    """Draw how far each way is from the maximum, from zeros and with sigma at 1: minus half the sum of squares."""
    from matplotlib.figure import Figure

    for name, ways in PICTURES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tm.ConvergenceWarning)
            fits = {
                label: model.fit([0, 0, 0, 0, 1], method, fixed={"sigma": 1}, maxiter=300, options=options)
                for label, (method, options) in {**ways, "newton": ("newton", {})}.items()
            }
        figure = Figure(figsize=(7, 4), layout="constrained")
        tm.plot.trace(fits, ax=figure.subplots())
        figure.savefig(folder / f"{name}.png", dpi=150)
        print(folder / f"{name}.png")


def main() -> None:
    """Print the OLS block and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="where to write pictures of the loss")
    arguments = parser.parse_args()
    model = tm.OLS.from_formula("y ~ x + I(x**2) + I(x**3)", lecture_data())
    ols = model.fit()
    print(ols.summary())
    check_published(ols)
    print("\nThe published figures are met.\n")
    print(
        tm.compare({"closed form": ols, **gradient_fits(model)}).fits.drop(columns=["cov_type", "device"]).to_string()
    )
    if arguments.pictures is not None:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        draw(model, arguments.pictures)


if __name__ == "__main__":
    main()
