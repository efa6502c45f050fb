"""Time the bootstrap against loops of separate fits.

    python benchmarks/resampling.py

Two problems: 999 pairs replicates of a logit (10,000 rows, 10 columns), and 200 of a heteroskedastic probit that the
user wrote (2,000 rows), as ``loglikeobs`` and declared. Loops are timed on 50 replicates and scaled up. Prints seconds,
CPU seconds, their ratios, peak memory above the data in MB, and "largest gap": how far replicates are from the fits of
that loop, with the same weights. scipy's stop early, since their gradients are differences.
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
from worker import forget_peak, memory

import torchmle as tm

SOME = 50
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
    """Return wall and CPU seconds of some work, scaled up, with its peak memory, and what it gave."""
    forget_peak()
    before, wall, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    found = work()
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    return {"by": name, "seconds": seconds * scale, "cpu s": used * scale, "peak MB": memory("VmHWM") - before}, found


def gap(boot: tm.BootstrapResults, separate: list[np.ndarray]) -> float:
    """Return the largest difference of replicates to their separate fits."""
    return float(np.abs(boot.params.to_numpy()[: len(separate)] - np.array(separate)).max())


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
    ours, mine = timed(
        "torchmle, a loop", lambda: [tm.Logit(y, X, sampling_weights=w).fit().params for w in weights], 999 / SOME
    )
    rows = [first, {**other, "largest gap": gap(boot, separate)}, {**ours, "largest gap": gap(boot, mine)}]
    return pd.DataFrame(rows).assign(problem="logit, 999 replicates")


def own() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    X = np.c_[np.ones(2_000), rng.standard_normal((2_000, 3))]
    y = (X @ [0.2, 0.5, -0.4, 0.3] + np.exp(0.3 * X[:, 1]) * rng.standard_normal(2_000) > 0).astype(float)
    models = {
        "torchmle, own": lambda **more: HetProbit(y, X, **more),
        "torchmle, declared": lambda **more: DeclaredProbit(y, X, log_scale=X[:, [1]], **more),
    }
    rows = []
    for name, model in models.items():
        results = model().fit()
        results.bootstrap(10)
        row, boot = timed(name, lambda results=results: results.bootstrap(200, seed=1))
        weights = [boot.weights(r) for r in range(200)]
        again, separate = timed(
            f"{name}, a loop",
            lambda model=model, weights=weights: [model(sampling_weights=w).fit().params for w in weights[:SOME]],
            200 / SOME,
        )
        rows += [row, {**again, "largest gap": gap(boot, separate)}]
    start = results.params.to_numpy(copy=True)

    def minus(params: np.ndarray, w: np.ndarray) -> float:
        return -(w * norm.logcdf((2 * y - 1) * (X @ params[:-1]) * np.exp(-X[:, 1] * params[-1]))).sum()

    def loop() -> list[np.ndarray]:
        return [minimize(minus, start, args=(w,), method="BFGS").x for w in weights[:SOME]]

    row, separate = timed("scipy BFGS without gradient, a loop", loop, 200 / SOME)
    rows.append({**row, "largest gap": gap(boot, separate)})
    row, at_once = timed("vmap of the Hessian, Newton", lambda: _vmapped(X, y, start, np.array(weights)))
    rows.append({**row, "largest gap": gap(boot, list(at_once.numpy()))})
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
    columns = ["problem", "by", "seconds", "cpu s", "ratio", "cpu ratio", "peak MB", "largest gap"]
    print(table[columns].to_string(index=False, float_format=lambda v: f"{v:.3g}"))
    path = Path(__file__).parent / "results" / "resampling.csv"
    path.write_text(f"# resampling: {machine(['torchmle'])}\n" + table[columns].to_csv(index=False), encoding="utf-8")


if __name__ == "__main__":
    main()
