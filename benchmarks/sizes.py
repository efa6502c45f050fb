"""Measure how often tests reject what is true, and how often intervals hold it, by simulation.

    python benchmarks/sizes.py [replications] [rows]

A share is marked with ``*`` where it lies outside the band of 99.7 % of a binomial share at 5 %.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
import pandas as pd

import torchmle as tm

LEVEL = 0.05


def data_for(kind: str, n: int, rng: np.random.Generator) -> pd.DataFrame:
    x = rng.normal(size=(n, 3))
    eta = 0.3 + 0.5 * x[:, 0]
    y = {
        "OLS": lambda: eta + rng.normal(size=n),
        "Logit": lambda: (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(float),
        "Poisson": lambda: rng.poisson(np.exp(eta)).astype(float),
    }[kind]()
    return pd.DataFrame({"y": y, "a": x[:, 0], "b": x[:, 1], "c": x[:, 2]})


def once(kind: str, data: pd.DataFrame) -> dict[str, float]:
    """Return p-values, and for intervals 0 where the truth is outside and 1 where it is inside."""
    model = getattr(tm, kind)
    full, small = (model.from_formula(f, data).fit() for f in ("y ~ a + b + c", "y ~ a"))
    found = {"LR": full.lr_test(small).pvalue, "information matrix": full.information_matrix_test().pvalue}
    found["information matrix, diagonal"] = full.information_matrix_test(diagonal=True).pvalue
    for cov_type in ("nonrobust", "opg", "HC0", "HC1"):
        found[f"Wald {cov_type}"] = full.with_cov(cov_type).wald_test("b = 0, c = 0").pvalue
        found[f"score {cov_type}"] = small.score_test("b + c", cov_type=cov_type).pvalue
    low, high = full.profile("a").conf_int()
    found["profile interval"] = float(low <= 0.5 <= high)
    joint = full.joint_conf_int(["a", "b", "c"], draws=20_000).conf_int()
    truth = np.array([0.5, 0, 0])
    found["joint interval"] = float(((joint[:, 0] <= truth) & (truth <= joint[:, 1])).all())
    return found


def main(replications: int, n: int) -> None:
    band = 3 * (LEVEL * (1 - LEVEL) / replications) ** 0.5
    table = {}
    begin = time.perf_counter()
    for kind in ("OLS", "Logit", "Poisson"):
        rng = np.random.default_rng(12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tm.TorchmleWarning)
            rows = pd.DataFrame([once(kind, data_for(kind, n, rng)) for _ in range(replications)])
        table[kind] = (rows < LEVEL).mean()
    shown = pd.DataFrame(table).map(lambda p: f"{100 * p:.1f}{'*' if abs(p - LEVEL) > band else ''}")
    print(f"Rejections of what is true at {LEVEL:.0%}, n = {n}, {replications} replications, in percent")
    print(shown.to_string())
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main(*(int(v) for v in (sys.argv[1:] + ["1000", "500"][len(sys.argv) - 1 :])))
