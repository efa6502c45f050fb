"""Measure how often tests reject what is true, and how often other intervals than Wald's hold it, by simulation.

    python benchmarks/sizes.py [replications [rows]]

Rows are independent and the models right: what is measured are the tests. ``coverage.py`` measures the covariances,
each on the dependence that it is made for, with the same models. A share is marked with ``*`` where it lies outside
three standard errors of a binomial share.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import designs
import numpy as np
import pandas as pd
import torch
from designs import TRUTH, response
from table import machine

import torchmle as tm

LEVEL = 0.05
MODELS = ("OLS", "Logit", "Poisson")
PIECE = 25
SLOPES = ["x", "z", "u"]


def drawn(kind: str, r: int, n: int) -> pd.DataFrame:
    """Return a replication: the model of ``designs``, with a column u that has no effect."""
    rng = np.random.default_rng([12, r])
    data = designs.independent(rng, n)
    return data.assign(y=response(kind, data), u=rng.normal(size=n))


def once(kind: str, data: pd.DataFrame) -> dict[str, float]:
    """Return p-values of true hypotheses, and for intervals 0 where the truth is outside and 1 where it is inside."""
    cls = getattr(tm, kind)
    full, small = cls.from_formula("y ~ x + z + u", data).fit(), cls.from_formula("y ~ x + z", data).fit()
    found = {"LR": full.lr_test(small).pvalue, "information matrix": full.information_matrix_test().pvalue}
    found["information matrix, diagonal"] = full.information_matrix_test(diagonal=True).pvalue
    for cov_type in ("nonrobust", "opg", "HC0", "HC1"):
        found[f"Wald {cov_type}"] = full.with_cov(cov_type).wald_test("u = 0").pvalue
        found[f"score {cov_type}"] = small.score_test("u", cov_type=cov_type).pvalue
    low, high = full.profile("x").conf_int()
    found["profile interval"] = float(low <= TRUTH["x"] <= high)
    joint = full.joint_conf_int(SLOPES, draws=20_000).conf_int()
    truth = np.array([TRUTH.get(name, 0.0) for name in SLOPES])
    found["joint intervals"] = float(((joint[:, 0] <= truth) & (truth <= joint[:, 1])).all())
    return found


def piece(task: tuple[str, int, int, int]) -> pd.DataFrame:
    """Do some replications of a model."""
    kind, begin, end, n = task
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.TorchmleWarning)
        return pd.DataFrame([once(kind, drawn(kind, r, n)) for r in range(begin, end)]).assign(model=kind)


def tabulate(found: pd.DataFrame) -> pd.DataFrame:
    """Return shares of rejections in percent by test and model, with those outside the band marked."""
    table = found.melt("model", var_name="test", value_name="p").dropna()
    grouped = table.assign(rejected=table["p"] < LEVEL).groupby(["test", "model"], sort=False)["rejected"]
    shares = pd.DataFrame({"replications": grouped.size(), "rejected": 100 * grouped.mean()})
    band = 300 * (LEVEL * (1 - LEVEL) / shares["replications"]) ** 0.5
    return shares.assign(outside=(shares["rejected"] - 100 * LEVEL).abs() > band).round({"rejected": 2}).reset_index()


def main(replications: int = 1000, n: int = 400) -> None:
    begin = time.perf_counter()
    tasks = [(kind, a, min(a + PIECE, replications), n) for kind in MODELS for a in range(0, replications, PIECE)]
    workers = min(2, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        table = tabulate(pd.concat(pool.map(piece, tasks), ignore_index=True))
    band = 300 * (LEVEL * (1 - LEVEL) / replications) ** 0.5
    print(f"Rejections of what is true in percent, n = {n}, {replications} replications, band +- {band:.1f}")
    cell = table["rejected"].map("{:.1f}".format) + table["outside"].map({True: "*", False: " "})
    wide = table.assign(cell=cell).pivot(index="test", columns="model", values="cell")
    print(wide.loc[table["test"].unique(), list(MODELS)].rename_axis(index=None, columns=None).to_string())
    print(f"{time.perf_counter() - begin:.0f} s")
    if not sys.argv[1:]:
        path = Path(__file__).parent / "results" / "sizes.csv"
        path.write_text(f"# sizes: {machine(['torchmle'])}\n" + table.to_csv(index=False), encoding="utf-8")


if __name__ == "__main__":
    main(*(int(v) for v in sys.argv[1:]))
