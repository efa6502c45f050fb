"""Fit OLS by maximum likelihood with N = 50,000 and K = 100, in three lines of user code, by several methods.

Run ``python benchmarks/seed_s3.py [--scipy]``; ``--scipy`` adds scipy without gradients, which takes minutes.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings

import numpy as np
import torch

import torchmle as tm

N, K = 50_000, 100


class NormalRegression(tm.GenericLikelihoodModel):
    """The likelihood as its user writes it."""

    extra_params = ("log_sigma",)

    def loglikeobs(self, params: torch.Tensor) -> torch.Tensor:
        """Return the normal log-density of each row."""
        residual = self.endog - self.exog @ params[:-1]
        return tm.normal_logpdf(residual * torch.exp(-params[-1])) - params[-1]


def regression_data() -> tuple[np.ndarray, np.ndarray]:
    """Return response and regressors, a constant among them."""
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(N), rng.standard_normal((N, K - 1))])
    return X @ rng.standard_normal(K) + rng.standard_normal(N), X


def scipy_without_gradient(y: np.ndarray, X: np.ndarray) -> tuple[np.ndarray, float]:
    """Return estimates and seconds of scipy's BFGS with numerical gradients."""
    from scipy.optimize import minimize

    def negative(params: np.ndarray) -> float:
        residual = (y - X @ params[:-1]) * math.exp(-params[-1])
        return 0.5 * float(residual @ residual) / N + params[-1]

    begin = time.perf_counter()
    answer = minimize(negative, np.zeros(K + 1), method="BFGS", options={"maxiter": 200})
    return answer.x, time.perf_counter() - begin


def main() -> None:
    """Print the table of the seed and the comparison of errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scipy", action="store_true")
    y, X = regression_data()
    ols = tm.OLS(y, X).fit()
    fits: dict[str, tm.Results] = {"closed form": ols}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.ConvergenceWarning)
        for method in ("newton", "lbfgs", "bfgs", "adam"):
            fits[f"own likelihood, {method}"] = NormalRegression(y, X).fit(method=method)
        for method in ("newton", "lbfgs", "sgd"):
            fits[f"tm.OLS, {method}"] = tm.OLS(y, X).fit(method=method)
    comparison = tm.compare(fits)
    print(comparison.fits.drop(columns=["cov_type", "device", "method"]).to_string())
    print(*comparison.notes, sep="\n")
    ml = fits["own likelihood, newton"]
    ratio = (ml.bse.iloc[:K] / ols.bse).to_numpy()
    print(f"\nerrors of maximum likelihood over those of OLS: {ratio.min():.12f} to {ratio.max():.12f}")
    print(f"sqrt((N-K)/N):                                  {math.sqrt((N - K) / N):.12f}")
    if parser.parse_args().scipy:
        estimates, seconds = scipy_without_gradient(y, X)
        rmse = float(np.sqrt(np.mean((estimates[:-1] - ols.params.to_numpy()) ** 2)))
        print(f"scipy BFGS without gradient: {seconds:.1f} s, rmse {rmse:.1e}, no errors")


if __name__ == "__main__":
    main()
