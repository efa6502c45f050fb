"""Time the bootstrap against loops of separate fits.

    python benchmarks/resampling.py

Two problems: 999 pairs replicates of a logit (10,000 rows, 10 columns), and 200 of a heteroskedastic probit that the
user wrote (2,000 rows). The loops are timed on some replicates and scaled up. Prints seconds, CPU seconds, ratios, and
how far the replicates are from their own separate fits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize
from scipy.stats import norm
from table import machine

import torchmle as tm

SOME = 25
"""Replicates that the loops are timed on."""


class HetProbit(tm.GenericLikelihoodModel):
    extra_params = ("g",)

    def loglikeobs(self, params):
        eta = (self.exog @ params[:-1]) * torch.exp(-self.exog[:, 1] * params[-1])
        return tm.log_ndtr((2 * self.endog - 1) * eta)


class DeclaredProbit(tm.LinearPredictorModel):
    predictors = {"mu": "1", "log_scale": "1"}

    def logdensity(self, y, mu, log_scale):
        return tm.log_ndtr((2 * y - 1) * mu * torch.exp(-log_scale))


def timed(name: str, work: Callable[[], object], scale: float = 1.0) -> tuple[dict[str, object], object]:
    """Return wall and CPU seconds of some work, scaled up, and what it gave."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    seconds = (time.perf_counter() - wall) * scale
    return {"by": name, "seconds": seconds, "cpu s": (time.process_time() - cpu) * scale}, found


def logit() -> pd.DataFrame:
    import statsmodels.api as sm

    rng = np.random.default_rng(6)
    X = np.c_[np.ones(10_000), rng.standard_normal((10_000, 9))]
    y = (X @ (0.3 * rng.standard_normal(10)) + rng.logistic(size=len(X)) > 0).astype(float)
    results = tm.Logit(y, X).fit()
    results.bootstrap(10)
    first, boot = timed("torchmle", lambda: results.bootstrap(999, seed=1))
    weights = [boot.weights(r) for r in range(SOME)]

    def loop() -> list[np.ndarray]:
        rows = [np.repeat(np.arange(len(y)), w.astype(int)) for w in weights]
        return [sm.Logit(y[at], X[at]).fit(disp=0, method="newton", tol=1e-10).params for at in rows]

    other, separate = timed("statsmodels, a loop", loop, 999 / SOME)
    other["largest gap"] = np.abs(boot.params.to_numpy()[:SOME] - np.array(separate)).max()
    return pd.DataFrame([first, other]).assign(problem="logit, 999 replicates")


def own() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    X = np.c_[np.ones(2_000), rng.standard_normal((2_000, 3))]
    y = (X @ [0.2, 0.5, -0.4, 0.3] + np.exp(0.3 * X[:, 1]) * rng.standard_normal(2_000) > 0).astype(float)
    models = {"torchmle, own": HetProbit(y, X), "torchmle, declared": DeclaredProbit(y, X, log_scale=X[:, [1]])}
    rows, boots = [], []
    for name, model in models.items():
        results = model.fit()
        results.bootstrap(10)
        row, boot = timed(name, lambda results=results: results.bootstrap(200, seed=1))
        rows.append(row)
        boots.append(boot)
    start, weights = results.params.to_numpy(copy=True), [boots[0].weights(r) for r in range(200)]

    def minus(params: np.ndarray, w: np.ndarray) -> float:
        return -(w * norm.logcdf((2 * y - 1) * (X @ params[:-1]) * np.exp(-X[:, 1] * params[-1]))).sum()

    def loop() -> None:
        for w in weights[:SOME]:
            minimize(minus, start, args=(w,), method="BFGS")

    rows.append(timed("scipy BFGS without gradient, a loop", loop, 200 / SOME)[0])
    rows.append(timed("vmap of the Hessian, damped Newton", lambda: _vmapped(X, y, start, np.array(weights)))[0])
    rows[1]["largest gap"] = np.abs(boots[0].params.to_numpy() - boots[1].params.to_numpy()).max()
    return pd.DataFrame(rows).assign(problem="own heteroskedastic probit, 200 replicates")


def _vmapped(X: np.ndarray, y: np.ndarray, start: np.ndarray, weights: np.ndarray) -> torch.Tensor:
    """Take Newton steps of all replicates by ``vmap`` of ``torch.func.hessian``, as one would write it first."""
    data, sign, w = torch.from_numpy(X), torch.from_numpy(2 * y - 1), torch.from_numpy(weights)

    def value(params: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        eta = (data @ params[:-1]) * torch.exp(-data[:, 1] * params[-1])
        return (own * torch.log(torch.special.ndtr(sign * eta))).sum()  # log_ndtr has no rule for vmap

    at = torch.from_numpy(start).expand(len(w), -1)
    for _ in range(5):
        g = torch.func.vmap(torch.func.grad(value), chunk_size=20)(at, w)
        H = torch.func.vmap(torch.func.hessian(value), chunk_size=20)(at, w)
        at = at - torch.linalg.solve(H, g[..., None])[..., 0]
    return at


def main() -> None:
    table = pd.concat([logit(), own()], ignore_index=True)
    base = table.groupby("problem").seconds.transform("first")
    cpu = table.groupby("problem")["cpu s"].transform("first")
    table = table.assign(ratio=table.seconds / base, **{"cpu ratio": table["cpu s"] / cpu})
    columns = ["problem", "by", "seconds", "cpu s", "ratio", "cpu ratio", "largest gap"]
    print(table[columns].to_string(index=False, float_format=lambda v: f"{v:.3g}"))
    path = Path(__file__).parent / "results" / "resampling.csv"
    path.write_text(f"# resampling: {machine(['torchmle'])}\n" + table[columns].to_csv(index=False), encoding="utf-8")


if __name__ == "__main__":
    main()
