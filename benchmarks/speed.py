"""Time torchmle against statsmodels and numpy: the same arrays, one after the other, estimates and standard errors.

Run ``python benchmarks/speed.py [problem ...] [--repeat 3]``. Prints medians, the ratio to torchmle, and how far the
estimates are apart in standard errors; writes the table to ``benchmarks/results/speed.csv``.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
import torch

import torchmle as tm

Estimate = tuple[np.ndarray, np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray], Estimate]


class OwnTobit(tm.GenericLikelihoodModel):
    """A Tobit as its user writes it."""

    extra_params = ("log_sigma",)

    def loglikeobs(self, params: torch.Tensor) -> torch.Tensor:
        """Return the log-likelihood of each row."""
        mu, log_sigma = self.exog @ params[:-1], params[-1]
        inside = tm.normal_logpdf((self.endog - mu) * torch.exp(-log_sigma)) - log_sigma
        return torch.where(self.endog > 0, inside, tm.log_ndtr(-mu * torch.exp(-log_sigma)))


def ours(model: Any, **options: Any) -> Fit:
    """Return a fit by torchmle, building the model included."""

    def fit(y: np.ndarray, X: np.ndarray) -> Estimate:
        results = model(y, X).fit(**options)
        assert results.converged
        return results.params.to_numpy(), results.bse.to_numpy()

    return fit


def theirs(model: Any, **options: Any) -> Fit:
    """Return a fit by statsmodels with its defaults."""

    def fit(y: np.ndarray, X: np.ndarray) -> Estimate:
        results = model(y, X).fit(**options)
        return np.asarray(results.params), np.asarray(results.bse)

    return fit


def normal_equations(y: np.ndarray, X: np.ndarray) -> Estimate:
    """Solve OLS with HC1 errors by numpy."""
    inverse = np.linalg.inv(X.T @ X)
    beta = inverse @ (X.T @ y)
    scores = X * (y - X @ beta)[:, None]
    covariance = inverse @ (scores.T @ scores) @ inverse * len(y) / (len(y) - len(beta))
    return beta, np.sqrt(np.diag(covariance))


def data(n: int, k: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return response and regressors of one problem, from a fixed seed."""
    rng = np.random.default_rng(2)
    X = np.column_stack([np.ones(n), rng.standard_normal((n, k - 1))])
    beta = rng.standard_normal(k) / np.sqrt(k) * 0.8
    eta = X @ beta
    mean = np.exp(0.5 * eta + 0.5)
    draws = {
        "logit": lambda: (eta + rng.logistic(size=n) > 0) * 1.0,
        "probit": lambda: (eta + rng.standard_normal(n) > 0) * 1.0,
        "poisson": lambda: rng.poisson(mean) * 1.0,
        "nb2": lambda: rng.poisson(mean * rng.gamma(2.0, 0.5, size=n)) * 1.0,
        "ols": lambda: eta + rng.standard_normal(n) * (0.5 + 0.5 * np.abs(X[:, 1])),
        "tobit": lambda: np.maximum(eta + rng.standard_normal(n), 0.0),
    }
    return draws[kind](), X


QUIET = {"disp": 0}
PROBLEMS: dict[str, tuple[tuple[int, int, str], dict[str, Fit]]] = {
    "small logit": ((753, 8, "logit"), {"torchmle": ours(tm.Logit), "statsmodels": theirs(sm.Logit, **QUIET)}),
    "logit": ((1_000_000, 20, "logit"), {"torchmle": ours(tm.Logit), "statsmodels": theirs(sm.Logit, **QUIET)}),
    "wide logit": ((100_000, 100, "logit"), {"torchmle": ours(tm.Logit), "statsmodels": theirs(sm.Logit, **QUIET)}),
    "probit": ((1_000_000, 20, "probit"), {"torchmle": ours(tm.Probit), "statsmodels": theirs(sm.Probit, **QUIET)}),
    "poisson": ((1_000_000, 20, "poisson"), {"torchmle": ours(tm.Poisson), "statsmodels": theirs(sm.Poisson, **QUIET)}),
    "nb2": (
        (1_000_000, 20, "nb2"),
        {"torchmle": ours(tm.NegativeBinomial), "statsmodels": theirs(sm.NegativeBinomial, **QUIET)},
    ),
    "ols hc1": (
        (1_000_000, 20, "ols"),
        {
            "torchmle": ours(tm.OLS, cov_type="HC1"),
            "numpy": normal_equations,
            "statsmodels": theirs(sm.OLS, cov_type="HC1"),
        },
    ),
    "own tobit": ((200_000, 20, "tobit"), {"torchmle, lifted": ours(OwnTobit)}),
}


def measure(name: str, repeat: int) -> list[dict[str, Any]]:
    """Return a row a peer: median seconds, ratio to torchmle, distance of the estimates."""
    size, peers = PROBLEMS[name]
    y, X = data(*size)
    seconds: dict[str, list[float]] = {peer: [] for peer in peers}
    answers: dict[str, Estimate] = {}
    for _ in range(repeat + 1):  # the first round warms up
        for peer, fit in peers.items():
            begin = time.perf_counter()
            answers[peer] = fit(y, X)
            seconds[peer].append(time.perf_counter() - begin)
    base, *_ = peers
    rows = []
    for peer in peers:
        median = statistics.median(seconds[peer][1:])
        gap = np.abs(answers[peer][0] - answers[base][0]) / answers[base][1]
        ratio = median / statistics.median(seconds[base][1:])
        rows.append({"problem": name, "peer": peer, "median s": median, "min s": min(seconds[peer][1:])})
        rows[-1] |= {"ratio": ratio, "gap in se": float(gap.max())}
    return rows


def main() -> None:
    """Print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problems", nargs="*", help=f"any of {list(PROBLEMS)}; all by default")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    table = pd.DataFrame([row for name in options.problems or PROBLEMS for row in measure(name, options.repeat)])
    print(table.to_string(index=False, float_format=lambda v: f"{v:.3g}"))
    where = Path(__file__).parent / "results"
    where.mkdir(exist_ok=True)
    machine = platform.processor() or platform.machine()
    versions = f"# {machine}, torch {torch.__version__}, {torch.get_num_threads()} threads\n"
    (where / "speed.csv").write_text(versions + table.to_csv(index=False), encoding="utf-8")


if __name__ == "__main__":
    main()
