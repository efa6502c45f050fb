"""Measure, by simulation, how often 95 % intervals hold the truth and how often Wald tests reject it.

    python benchmarks/coverage.py [replications [design ...]]

Each covariance is measured on the dependence that it is made for, with ``nonrobust`` beside it for what it costs to
ignore it. Intervals are those of x; tests are joint, of x and z. A share is marked with ``*`` where it lies outside
three standard errors of a binomial share. ``OF`` says which covariances are expected to hold and which are not.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import designs
import numpy as np
import pandas as pd
import torch
from designs import TRUTH, response
from table import machine

import torchmle as tm

MODELS = ("OLS", "Logit", "Poisson")
TOGETHER = 5
"""How many times as many replications are done where ``fit_many`` does them together."""
PIECE = 25


@dataclass(frozen=True)
class Cov:
    """Hold a covariance, and whether it is one for the design.

    Attributes
    ----------
    kwds : of ``with_cov``; names of columns where there is a value for each row.
    holds : ``"yes"`` if its theory says so, ``"no"`` for a contrast, ``"few"`` if theory wants more clusters.
    """

    label: str
    cov_type: str
    kwds: Mapping[str, Any] = field(default_factory=dict)
    holds: str = "yes"
    use_t: bool | None = None
    models: tuple[str, ...] = MODELS


@dataclass(frozen=True)
class Design:
    draw: Callable[[np.random.Generator], pd.DataFrame]
    covs: tuple[Cov, ...]
    models: tuple[str, ...] = MODELS
    together: bool = False


def plain(*names: str, holds: str = "yes") -> tuple[Cov, ...]:
    return tuple(Cov(name, name, holds=holds) for name in names)


BY, T = {"groups": "g"}, {"use_t": True}
WRONG = plain("nonrobust", holds="no")
EXPECTED = Cov("nonrobust, expected", "nonrobust", {"information": "expected"})
ROBUST = ("HC0", "HC1", "HC2", "HC3")
FIRM_TIME = {"groups": "g", "time": "t"}
WITHIN = {"coords": ["north", "east"], "distance": "plain"}

DESIGNS: Mapping[str, Design] = {
    "iid": Design(
        designs.independent, (*plain("nonrobust", "opg"), EXPECTED, *plain(*ROBUST)), models=(*MODELS, "Probit")
    ),
    "iid, many": Design(designs.independent, plain("nonrobust", "opg", "HC0", "HC1"), together=True),
    "variance": Design(
        designs.dispersed, (*WRONG, *plain("opg", holds="no"), *plain(*ROBUST)), models=("OLS", "Poisson")
    ),
    "variance, many": Design(
        designs.dispersed, (*WRONG, *plain("HC0", "HC1")), models=("OLS", "Poisson"), together=True
    ),
    "80 clusters": Design(
        designs.clustered,
        (
            *WRONG,
            *plain("HC1", holds="no"),
            Cov("cluster", "cluster", BY),
            Cov("CR2, t", "CR2", BY, models=("OLS",), **T),
            Cov("CRV3", "CRV3", BY),
            Cov("cluster, expected", "cluster", {**BY, "information": "expected"}),
        ),
    ),
    "10 clusters": Design(
        designs.few_clusters,
        (
            *WRONG,
            Cov("cluster", "cluster", BY, "few"),
            Cov("cluster, t", "cluster", BY, "few", **T),
            Cov("CR2, t", "CR2", BY, models=("OLS",), **T),
            Cov("CRV3, t", "CRV3", BY, **T),
        ),
    ),
    "two ways": Design(
        designs.two_ways,
        (
            *WRONG,
            Cov("cluster, one way", "cluster", BY, "no"),
            Cov("cluster, both", "cluster", {"groups": ["g", "h"]}),
            Cov("cluster, both, t", "cluster", {"groups": ["g", "h"], "count": "min"}, **T),
        ),
    ),
    "series": Design(
        designs.series,
        (
            *WRONG,
            *plain("HC1", holds="no"),
            Cov("HAC", "HAC"),
            Cov("HAC, bartlett", "HAC", {"bandwidth": "andrews"}),
            Cov("HAC, parzen", "HAC", {"kernel": "parzen", "bandwidth": "andrews"}),
            Cov("HAC, QS", "HAC", {"kernel": "quadratic-spectral"}),
            Cov("HAC, QS, prewhitened", "HAC", {"kernel": "quadratic-spectral", "prewhiten": True}),
        ),
    ),
    "panel": Design(
        designs.panel,
        (
            *WRONG,
            Cov("hac-panel", "hac-panel", FIRM_TIME),
            Cov("hac-panel, parzen", "hac-panel", {**FIRM_TIME, "kernel": "parzen", "bandwidth": 14.0}),
            Cov("cluster", "cluster", BY),
        ),
    ),
    "common shocks": Design(
        designs.common_shocks,
        (
            *WRONG,
            Cov("cluster by time", "cluster", {"groups": "t"}, "no"),
            Cov("hac-panel", "hac-panel", FIRM_TIME, "no"),
            Cov("driscoll-kraay", "driscoll-kraay", {"time": "t"}),
            Cov("driscoll-kraay, QS", "driscoll-kraay", {"time": "t", "kernel": "quadratic-spectral"}),
        ),
    ),
    "spatial": Design(
        designs.spatial,
        (
            *WRONG,
            Cov("conley, bartlett", "conley", {**WITHIN, "cutoff": 4.0}),
            Cov("conley, uniform", "conley", {**WITHIN, "cutoff": 2.0, "kernel": "uniform"}),
        ),
    ),
}


def by_row(kwds: Mapping[str, Any], data: pd.DataFrame) -> dict[str, Any]:
    """Return the options with values of the rows in place of names of columns."""
    found = dict(kwds)
    for key in {"groups", "time", "coords"} & set(kwds):
        name = kwds[key]
        found[key] = data[name].to_numpy() if key != "groups" or isinstance(name, str) else [data[n] for n in name]
    return found


def judge(fit: Any, cov: Cov, data: pd.DataFrame) -> tuple[float, float]:
    """Return whether the interval of x holds the truth and whether the joint test rejects it; NaN for neither."""
    try:
        results = fit.with_cov(cov.cov_type, by_row(cov.kwds, data), cov.use_t)
        low, high = results.conf_int().loc["x"]
        p = results.wald_test(f"x = {TRUTH['x']}, z = {TRUTH['z']}").pvalue
    except (tm.UndefinedStatisticError, tm.OptionError):
        return np.nan, np.nan
    known = fit.converged and np.isfinite([low, high, p]).all()
    return (float(low <= TRUTH["x"] <= high), float(p < 0.05)) if known else (np.nan, np.nan)


def replicate(task: tuple[str, str, int, int]) -> pd.DataFrame:
    """Do some replications of a model under a design; one fit each for all covariances."""
    name, kind, begin, end = task
    design, rows = DESIGNS[name], []
    for r in range(begin, end):
        data = design.draw(rng_of(name, r))
        model = getattr(tm, kind)(response(kind, data), data[list(TRUTH)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tm.TorchmleWarning)
            fit = model.fit()
            for cov in covs_of(design, kind):
                holds, rejects = judge(fit, cov, data)
                rows.append({"design": name, "model": kind, "covariance": cov.label, "x": holds, "joint": rejects})
    return pd.DataFrame(rows)


def together(task: tuple[str, str, int, int]) -> pd.DataFrame:
    """Do replications of a model at once; there is no joint test of many fits."""
    name, kind, begin, end = task
    parts = [DESIGNS[name].draw(rng_of(name, r)).assign(r=r) for r in range(begin, end)]
    data = pd.concat(parts, ignore_index=True)
    data = data.assign(y=response(kind, data))
    rows = []
    for cov in covs_of(DESIGNS[name], kind):
        many = tm.fit_many(getattr(tm, kind), "y ~ x + z", data, by="r", cov_type=cov.cov_type)
        ends = many.conf_int()["x"]
        inside = ((ends[0] <= TRUTH["x"]) & (TRUTH["x"] <= ends[1])).astype(float).where(ends.notna().all(axis=1))
        rows.append(pd.DataFrame({"x": inside, "joint": np.nan}).assign(covariance=cov.label))
    return pd.concat(rows, ignore_index=True).assign(design=name, model=kind)


def covs_of(design: Design, kind: str) -> list[Cov]:
    """Return the covariances for a model; those of a model beside the three are the ones that differ there."""
    return [c for c in design.covs if kind in c.models or kind not in MODELS]


def rng_of(name: str, r: int) -> np.random.Generator:
    """Return the generator of a replication, the same however they are shared out."""
    return np.random.default_rng([list(DESIGNS).index(name), r])


def tasks(names: list[str], replications: int) -> Iterator[tuple[str, str, int, int]]:
    for name in names:
        total = replications * (TOGETHER if DESIGNS[name].together else 1)
        piece = total if DESIGNS[name].together else PIECE
        for kind in DESIGNS[name].models:
            yield from ((name, kind, a, min(a + piece, total)) for a in range(0, total, piece))


def done(task: tuple[str, str, int, int]) -> pd.DataFrame:
    return (together if DESIGNS[task[0]].together else replicate)(task)


def tabulate(found: pd.DataFrame) -> pd.DataFrame:
    """Return shares in percent by design, covariance and model, with those outside the band marked."""
    keys = ["design", "covariance", "model"]
    grouped = found.groupby(keys, sort=False)
    table = pd.DataFrame({"replications": grouped.size(), "failed": grouped["x"].apply(lambda v: int(v.isna().sum()))})
    for column, share, nominal in (("x", "coverage", 95.0), ("joint", "joint test", 5.0)):
        table[share] = 100 * grouped[column].mean()
        band = 3 * (95.0 * 5.0 / (table["replications"] - table["failed"])) ** 0.5
        table[f"{share} outside"] = (table[share] - nominal).abs() > band
    table = table.reset_index()
    holds = {(d, c.label): c.holds for d, design in DESIGNS.items() for c in design.covs}
    table.insert(3, "holds", [holds[d, c] for d, c in zip(table["design"], table["covariance"], strict=True)])
    return table.round({"coverage": 2, "joint test": 2})


def as_text(table: pd.DataFrame) -> str:
    """Return coverage and size of the joint test, a column a model."""
    shown = table[["design", "covariance", "holds", "model"]].copy()
    marks = [table[f"{c} outside"].map({True: "*", False: " "}) for c in ("coverage", "joint test")]
    shown["coverage"] = table["coverage"].map("{:.1f}".format) + marks[0]
    joint = (table["joint test"].map("{:.1f}".format) + marks[1]).where(table["joint test"].notna(), "")
    shown["cell"] = shown["coverage"] + " " + joint.str.rjust(6)
    keys = ["design", "covariance", "holds"]
    order = pd.MultiIndex.from_frame(shown[keys].drop_duplicates())
    wide = shown.pivot(index=keys, columns="model", values="cell").reindex(order)
    return wide[[m for m in (*MODELS, "Probit") if m in wide]].fillna("").to_string()


def main(replications: int = 500, *names: str) -> None:
    chosen = list(names or DESIGNS)
    if unknown := set(chosen) - set(DESIGNS):
        sys.exit(f"There is no design {sorted(unknown)}. There are: {', '.join(DESIGNS)}.")
    begin = time.perf_counter()
    workers = min(2, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        table = tabulate(pd.concat(pool.map(done, tasks(chosen, replications)), ignore_index=True))
    band = 3 * (95.0 * 5.0 / replications) ** 0.5
    print(f"Coverage of x and size of the joint test in percent, {replications} replications, band +- {band:.1f};")
    print(f"those with 'many' are {TOGETHER * replications}, band +- {band / TOGETHER**0.5:.1f}")
    print(as_text(table))
    print(f"{time.perf_counter() - begin:.0f} s")
    if not names:
        path = Path(__file__).parent / "results" / "coverage.csv"
        path.write_text(f"# coverage: {machine(['torchmle'])}\n" + table.to_csv(index=False), encoding="utf-8")


if __name__ == "__main__":
    main(*(int(v) for v in sys.argv[1:2]), *sys.argv[2:])
