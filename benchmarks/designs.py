"""Draw data with dependence of known kinds, in which a least squares, logit, probit or Poisson model is right.

A design draws a standard normal field with its dependence for each regressor and for the errors, and the errors become
the response of a model row by row (a Gaussian copula): rows depend on each other, and the model of a single row is
right. The regressors have dependence of the same kind, without which the scores would have none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
from scipy import sparse, special, stats
from scipy.signal import lfilter
from scipy.spatial import cKDTree

TRUTH = {"Intercept": 0.2, "x": 0.5, "z": -0.3}
Draw = Callable[[], np.ndarray]


def frame(draw: Draw, **ids: np.ndarray) -> pd.DataFrame:
    """Return regressors, errors ``e``, and the ids of the rows; ``s`` and ``v`` are what a design may change."""
    return pd.DataFrame({"Intercept": 1.0, "x": draw(), "z": draw(), "e": draw(), "s": 1.0, "v": 1.0, **ids})


def response(kind: str, data: pd.DataFrame) -> np.ndarray:
    """Return the response: errors times ``s`` for OLS, and a Poisson mean times ``v``."""
    eta = data[list(TRUTH)].to_numpy() @ np.array(list(TRUTH.values()))
    e = data["e"].to_numpy()
    if kind == "OLS":
        return eta + data["s"].to_numpy() * e
    if kind == "Logit":
        return (special.ndtr(e) < special.expit(eta)).astype(float)
    if kind == "Probit":
        return (e < eta).astype(float)
    return np.asarray(stats.poisson.ppf(special.ndtr(e), data["v"].to_numpy() * np.exp(eta)), dtype=float)


def mixed(rng: np.random.Generator, n: int, *parts: tuple[float, np.ndarray]) -> np.ndarray:
    """Return normal draws that share variance, in the given parts, within ids."""
    own = 1 - sum(share for share, _ in parts)
    common = [np.sqrt(share) * rng.normal(size=ids.max() + 1)[ids] for share, ids in parts]
    return np.sqrt(own) * rng.normal(size=n) + sum(common)


def autoregressive(rng: np.random.Generator, periods: int, units: int, rho: float) -> np.ndarray:
    """Return (units, periods) stationary series with variance one."""
    shocks = rng.normal(size=(units, periods)) * np.sqrt(1 - rho**2)
    shocks[:, 0] /= np.sqrt(1 - rho**2)
    return np.asarray(lfilter([1.0], [1.0, -rho], shocks, axis=1))


def independent(rng: np.random.Generator, n: int = 400) -> pd.DataFrame:
    return frame(lambda: rng.normal(size=n))


def dispersed(rng: np.random.Generator) -> pd.DataFrame:
    """Errors whose variance depends on x, counts with twice the variance or more."""
    data = frame(lambda: rng.normal(size=400))
    return data.assign(s=np.exp(0.5 * data["x"]), v=rng.gamma(2, 0.5, 400))


def clustered(rng: np.random.Generator, clusters: int = 80, rows: int = 15) -> pd.DataFrame:
    """Half of the variance is common to the rows of a cluster."""
    g = np.repeat(np.arange(clusters), rows)
    return frame(lambda: mixed(rng, len(g), (0.5, g)), g=g)


def few_clusters(rng: np.random.Generator) -> pd.DataFrame:
    return clustered(rng, 10, 40)


def two_ways(rng: np.random.Generator, size: int = 50) -> pd.DataFrame:
    """Three tenths of the variance are common to the rows of each firm, and to those of each year."""
    g, h = np.divmod(np.arange(size**2), size)
    return frame(lambda: mixed(rng, size**2, (0.3, g), (0.3, h)), g=g, h=h)


def series(rng: np.random.Generator, periods: int = 1000, rho: float = 0.6) -> pd.DataFrame:
    return frame(lambda: autoregressive(rng, periods, 1, rho).ravel())


def panel(rng: np.random.Generator, units: int = 80, periods: int = 15, rho: float = 0.6) -> pd.DataFrame:
    """An autoregression in each of many units."""
    g, t = np.divmod(np.arange(units * periods), periods)
    return frame(lambda: autoregressive(rng, periods, units, rho).ravel(), g=g, t=t)


def common_shocks(rng: np.random.Generator, units: int = 6, periods: int = 300, rho: float = 0.5) -> pd.DataFrame:
    """An autoregression in each of few units, half of whose variance is that of one they have in common."""
    g, t = np.divmod(np.arange(units * periods), periods)

    def draw() -> np.ndarray:
        own, common = autoregressive(rng, periods, units, rho), autoregressive(rng, periods, 1, rho)
        return ((own + common) / np.sqrt(2)).ravel()

    return frame(draw, g=g, t=t)


@cache
def places(n: int = 1200, side: float = 30.0) -> tuple[np.ndarray, sparse.csr_array]:
    """Return places on a square, and weights by which noise of the places within a distance of 1 is averaged."""
    at = np.random.default_rng(5).uniform(0, side, (n, 2))
    tree = cKDTree(at)
    near = sparse.csr_array(tree.sparse_distance_matrix(tree, 1.0, output_type="coo_matrix") != 0)
    near = near.astype(float) + sparse.eye_array(n, format="csr")
    return at, sparse.csr_array(sparse.diags_array(1 / np.sqrt(np.asarray(near.sum(axis=1)))) @ near)


def spatial(rng: np.random.Generator) -> pd.DataFrame:
    """Averages of noise within a distance of 1, so that dependence ends at a distance of 2."""
    at, weights = places()
    return frame(lambda: weights @ rng.normal(size=len(at)), north=at[:, 0], east=at[:, 1])
