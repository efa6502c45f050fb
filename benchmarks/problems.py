"""Make the problems of the benchmarks: fixed seeds, so that every peer gets the same arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Kind = Literal["normal", "tobit", "hetero", "logit", "probit", "poisson", "nb2", "ols", "clogit", "mixed"]
"""What is estimated: ``normal``, ``tobit`` and ``hetero`` are likelihoods of one's own, by (beta, log sigma)."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Hold what a peer needs: response, regressors, those of log sigma, cluster ids, and which errors to report.

    ``device`` and ``dtype`` are for torchmle alone.
    """

    name: str
    kind: Kind
    y: Array
    X: Array
    Z: Array | None = None
    groups: np.ndarray[Any, np.dtype[np.int64]] | None = None
    cov_type: Literal["nonrobust", "HC1", "cluster"] = "nonrobust"
    device: str = "cpu"
    dtype: str = "float64"

    @property
    def start(self) -> Array:
        """Return zeros, one for each parameter of a likelihood of one's own."""
        scale = 0 if self.kind in ("logit", "probit", "poisson") else 1 if self.Z is None else self.Z.shape[1]
        return np.zeros(self.X.shape[1] + scale)

    def head(self, rows: int) -> Problem:
        """Return the same problem on its first rows, to load what a first fit loads."""
        Z = None if self.Z is None else self.Z[:rows].copy()
        groups = None if self.groups is None else self.groups[:rows].copy()
        return replace(self, y=self.y[:rows].copy(), X=self.X[:rows].copy(), Z=Z, groups=groups)


def _design(rng: np.random.Generator, n: int, k: int) -> Array:
    """Return a constant and independent normal columns."""
    X = np.empty((n, k))
    X[:, 0] = 1.0
    X[:, 1:] = rng.standard_normal((n, k - 1))
    return X


def own_ols(n: int = 50_000, k: int = 100) -> Problem:
    """Return a regression whose likelihood the user writes down."""
    rng = np.random.default_rng(1)
    X = _design(rng, n, k)
    beta = rng.standard_normal(k)
    beta[0] += 3.0
    return Problem("own-ols", "normal", X @ beta + rng.standard_normal(n), X)


def index_model(name: str, kind: Kind, n: int, k: int) -> Problem:
    """Return a binary or count response that a linear index drives; NB2 has alpha = 0.5."""
    rng = np.random.default_rng(2)
    X = _design(rng, n, k)
    beta = rng.standard_normal(k) * 0.8 / math.sqrt(k)
    beta[0] = -0.3
    eta = X @ beta
    mean = np.exp(0.5 * eta + 0.5)
    draws: dict[str, Callable[[], Any]] = {
        "logit": lambda: eta + rng.logistic(size=n) > 0,
        "probit": lambda: eta + rng.standard_normal(n) > 0,
        "poisson": lambda: rng.poisson(mean),
        "nb2": lambda: rng.poisson(mean * rng.gamma(2.0, 0.5, size=n)),
    }
    return Problem(name, kind, draws[kind]().astype(np.float64), X)


def robust_ols(cov_type: Literal["HC1", "cluster"], n: int = 1_000_000, k: int = 20) -> Problem:
    """Return a regression with heteroskedastic errors in 1,000 clusters."""
    rng = np.random.default_rng(3)
    X = _design(rng, n, k)
    groups = rng.integers(0, 1_000, n)
    error = 0.5 * rng.standard_normal(1_000)[groups] + rng.standard_normal(n) * (0.5 + 0.5 * np.abs(X[:, 1]))
    y = X @ rng.standard_normal(k) + error
    return Problem(f"ols-{cov_type.lower()}", "ols", y, X, groups=groups, cov_type=cov_type)


def own_scale(kind: Literal["tobit", "hetero"], n: int = 200_000, k: int = 20) -> Problem:
    """Return a Tobit, censored at zero, or a normal regression whose log sigma has ten regressors."""
    rng = np.random.default_rng(7)
    X = _design(rng, n, k)
    mu = X @ (0.5 * rng.standard_normal(k))
    if kind == "tobit":
        return Problem("own-tobit", kind, np.maximum(mu + 1.5 * rng.standard_normal(n), 0.0), X)
    Z = X[:, :10].copy()
    log_sigma = Z @ (0.2 * rng.standard_normal(10))
    return Problem("own-hetero", kind, mu + np.exp(log_sigma) * rng.standard_normal(n), X, Z)


def small_logit() -> Problem:
    """Return a real logit of 753 rows: the labour force participation of married women (Mroz 1987)."""
    import torchmle as tm

    data = tm.datasets.load("mroz")
    columns = ["nwifeinc", "educ", "exper", "expersq", "age", "kidslt6", "kidsge6"]
    X = np.column_stack([np.ones(len(data)), data[columns].to_numpy(dtype=np.float64)])
    return Problem("small-logit", "logit", data["inlf"].to_numpy(dtype=np.float64), X)


INDEX: tuple[Kind, ...] = ("logit", "probit", "poisson", "nb2")


def conditional(n: int = 50_000, alternatives: int = 10, k: int = 20) -> Problem:
    """Return choices by a conditional logit; ``X`` is (situations, alternatives, attributes)."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((n, alternatives, k))
    beta = 0.3 * rng.standard_normal(k)
    return Problem("clogit", "clogit", (X @ beta + rng.gumbel(size=X.shape[:2])).argmax(1), X)


def mixed(people: int = 1_000, times: int = 8, alternatives: int = 4, panel: bool = False) -> Problem:
    """Return choices of people whose coefficients vary; ``groups`` are the people of a panel."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((people, times, alternatives, 6))
    mean, sd = np.array([0.5, -0.8, 1.0, 0.7, -0.5, 0.3]), np.array([0, 0, 1.0, 0.8, 0.6, 1.2])
    beta = mean + sd * rng.standard_normal((people, 6))
    y = (np.einsum("ntjk,nk->ntj", X, beta) + rng.gumbel(size=X.shape[:3])).argmax(2)
    who = np.repeat(np.arange(people), times) if panel else None
    return Problem("mixed", "mixed", y.ravel(), X.reshape(-1, alternatives, 6), groups=who)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "small-logit": small_logit,
    "own-ols": own_ols,
    **{k: (lambda k=k: index_model(k, k, 1_000_000, 20)) for k in INDEX},
    "logit-wide": lambda: index_model("logit-wide", "logit", 100_000, 100),
    "ols-hc1": lambda: robust_ols("HC1"),
    "ols-cluster": lambda: robust_ols("cluster"),
    "ols-5e6": lambda: replace(robust_ols("HC1", 5_000_000), name="ols-5e6"),
    "own-tobit": lambda: own_scale("tobit"),
    "clogit": lambda: conditional(),
    "mixed": lambda: mixed(),
    "mixed-panel": lambda: mixed(panel=True),
    "own-hetero": lambda: own_scale("hetero"),
}
"""Every problem by name; nothing is drawn before it is asked for."""
