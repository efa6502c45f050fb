"""Measure, by simulation with known truth, how often constraints with confidence are wrong.

    python benchmarks/confidence.py [runs [design ...]]

Each run draws data, fits a logit under one constraint with delta = 0.05, and looks up the true value of what was
constrained in a population of 100,000 records, whose probabilities are known. Counted are

    tested    runs with a candidate, which the safety test judged
    passed    runs with a solution
    wrong     solutions that violate the constraint in the population: delta limits their share of the runs
    missed    tested candidates whose bound lies on the wrong side of the truth, passed or not: the level of the bound

``outside`` marks a share above the upper end of the binomial 95 % band around delta. Every design is run with every
bound. In ``accuracy`` the limit is near the best that a logit can do; in ``out of reach`` it is just above, so that any
solution is wrong, and the candidate is let through easily (no inflation, a small candidate part) to try the safety test
hard; ``rare errors`` has few wrong records, where Student's t is known to be rough; ``opportunity`` is equal true
positive rates in two groups; ``clusters`` has ten records a person.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from table import machine

import torchmle as tm
import torchmle.models.confidence.ways as ways
from torchmle.models.confidence.search import Account, search

DELTA = 0.05
STEPS = 60
PIECE = 25
RESULTS = Path(__file__).parent / "results" / "confidence.csv"
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Design:
    """Hold a way to draw data, and what is asked of the fit.

    Attributes
    ----------
    slope : how strongly the regressors drive the response.
    limit : distance of the limit from the accuracy of the true probabilities, or the limit of the difference.
    """

    rows: int
    slope: float
    limit: float
    opportunity: bool = False
    members: int = 1
    bounds: tuple[str, ...] = ("t", "hoeffding", "binomial")
    options: Mapping[str, Any] = field(default_factory=dict)


DESIGNS = {
    "accuracy": Design(2_000, 3.0, -0.04),
    "out of reach": Design(2_000, 3.0, 0.0, options={"safety": 0.8, "inflation": 1.0}),
    "rare errors": Design(600, 30.0, -0.02, bounds=("t", "binomial"), options={"inflation": 1.0}),
    "opportunity": Design(4_000, 1.5, 0.25, opportunity=True),
    "opportunity, eager": Design(4_000, 1.5, 0.15, opportunity=True, options={"safety": 0.8, "inflation": 1.0}),
    "clusters": Design(4_000, 2.0, -0.03, members=10, bounds=("t",), options={"inflation": 1.0}),
}


def draw(design: Design, rows: int, rng: np.random.Generator) -> Arrays:
    """Return regressors, group, cluster and the probability of 1."""
    groups = rows // design.members
    person = np.repeat(np.arange(groups), design.members)
    z = rng.normal(size=(rows, 2))
    if design.members > 1:
        z[:, 0] = rng.normal(size=groups)[person]
    group = rng.integers(0, 2, groups)[person].astype(float)
    eta = design.slope * (0.8 * z[:, 0] + 0.6 * z[:, 1])
    if design.opportunity:
        eta = eta + 1.0 * group - 0.5
    return {"X": np.column_stack([np.ones(rows), z, group]), "g": group, "person": person, "p": 1 / (1 + np.exp(-eta))}


@lru_cache
def population(name: str) -> Arrays:
    return draw(DESIGNS[name], 100_000, np.random.default_rng(987))


def truth(name: str, b: np.ndarray) -> float:
    """Return what is constrained at coefficients b, in the population."""
    data = population(name)
    called = data["X"] @ b >= 0
    if not DESIGNS[name].opportunity:
        return float(np.where(called, data["p"], 1 - data["p"]).mean())
    rates = [(data["p"] * called)[data["g"] == g].sum() / data["p"][data["g"] == g].sum() for g in (1, 0)]
    return float(abs(rates[0] - rates[1]))


def constraint(name: str, bound: str) -> tuple[str, float]:
    """Return the constraint as text and its limit."""
    design = DESIGNS[name]
    if design.opportunity:
        return f"abs(TPR[g=1] - TPR[g=0]) <= {design.limit}", design.limit
    p = population(name)["p"]
    gap = design.limit * (2 if bound == "hoeffding" else 1)  # which needs more room
    limit = round(float(np.maximum(p, 1 - p).mean()) + gap + (1e-4 if gap == 0 else 0), 4)
    return f"ACC >= {limit}", limit


@dataclass(frozen=True)
class Run:
    tested: bool
    passed: bool
    wrong: bool
    missed: bool


CANDIDATES: list[np.ndarray] = []
"""The candidate of the last search, which results do not show where it fails the safety test."""


def watched(*args: Any) -> Account:
    account = search(*args)
    CANDIDATES.clear()
    if account.best is not None:
        CANDIDATES.append(args[0].map.theta(account.best.gamma).numpy())
    return account


def one(name: str, bound: str, seed: int) -> Run:
    """Return what one data set gives."""
    design, (text, limit) = DESIGNS[name], constraint(name, bound)
    rng = np.random.default_rng([seed, 41])
    data = draw(design, design.rows, rng)
    y = (rng.random(design.rows) < data["p"]).astype(float)
    groups = data["person"] if design.members > 1 else None
    model = tm.Logit(y, data["X"], row_data={"g": data["g"]}, groups=groups)
    ways.search = watched
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = tm.confidence(text, bound=bound)
        res = model.fit(constraints=[held], delta=DELTA, seed=seed, maxiter=STEPS, options=design.options)
    if not res.safety.tested:
        return Run(False, False, False, False)
    value, found = truth(name, CANDIDATES[0]), res.safety.tests[0].bound
    upper = design.opportunity
    wrong = value > limit if upper else value < limit
    return Run(True, res.safety.passed, res.safety.passed and wrong, found < value if upper else found > value)


def piece(name: str, bound: str, seeds: range) -> list[Run]:
    torch.set_num_threads(1)
    return [one(name, bound, seed) for seed in seeds]


def band(runs: int) -> float:
    """Return the upper end of the binomial 95 % band of a share around delta."""
    return float(stats.binom.ppf(0.975, runs, DELTA)) / runs if runs else math.nan


def row(name: str, bound: str, runs: list[Run], seconds: float) -> dict[str, Any]:
    n = len(runs)
    tested, passed, wrong, missed = (sum(getattr(r, f.name) for r in runs) for f in fields(Run))
    return {
        "design": name,
        "constraint": constraint(name, bound)[0],
        "bound": bound,
        "delta": DELTA,
        "runs": n,
        "tested": tested,
        "passed": passed,
        "wrong": wrong,
        "wrong share of runs": round(wrong / n, 4),
        "wrong share of passed": round(wrong / passed, 4) if passed else math.nan,
        "wrong outside": wrong / n > band(n),
        "missed share of tested": round(missed / tested, 4) if tested else math.nan,
        "missed outside": bool(tested) and missed / tested > band(tested),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    names = sys.argv[2:] or list(DESIGNS)
    known = pd.read_csv(RESULTS, comment="#") if RESULTS.exists() else pd.DataFrame({"design": []})
    known = known[~known.design.isin(names)]
    found = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for name in names:
            for bound in DESIGNS[name].bounds:
                begin = time.perf_counter()
                parts = [range(a, min(a + PIECE, runs)) for a in range(0, runs, PIECE)]
                done = pool.map(piece, *zip(*[(name, bound, p) for p in parts], strict=True))
                found.append(row(name, bound, [r for part in done for r in part], time.perf_counter() - begin))
                print(pd.DataFrame(found[-1:]).to_string(index=False), flush=True)
    table = pd.concat([known, pd.DataFrame(found)]) if len(known) else pd.DataFrame(found)
    RESULTS.write_text(f"# confidence: {machine([])}, torchmle {tm.__version__}\n{table.to_csv(index=False)}", "utf-8")


if __name__ == "__main__":
    main()
