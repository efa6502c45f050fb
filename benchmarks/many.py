"""Time fit_many against loops of separate fits: groups of a table, responses of a Monte Carlo study, replicate weights.

Run ``python benchmarks/many.py [NAME ...]``. Seconds are from the table in memory to estimates and standard errors of
all fits, CPU seconds beside them. Loops are run on the first 40 fits and scaled up; "gap" is the largest difference of
their estimates to fit_many's, in standard errors.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import torchmle as tm

FEW = 40


def groups_table(groups: int, rows: int) -> pd.DataFrame:
    """Return a table of groups of about the same size, with a binary, a continuous and a count response."""
    rng = np.random.default_rng(1)
    n = groups * rows
    frame = pd.DataFrame(rng.standard_normal((n, 3)), columns=["x1", "x2", "x3"])
    eta = 0.2 + frame.x1 - 0.5 * frame.x2
    return frame.assign(
        g=rng.integers(0, groups, n),
        b=(rng.random(n) < 1 / (1 + np.exp(-0.7 * eta))).astype(float),
        y=eta + rng.standard_normal(n),
        c=rng.poisson(np.exp(0.5 * eta) * rng.gamma(2, 0.5, n)).astype(float),
    )


def drawn_table(rows: int, draws: int) -> tuple[pd.DataFrame, list[str]]:
    """Return a table with many draws of a logit's response."""
    frame = groups_table(1, rows)
    model = tm.Logit.from_formula("b ~ x1 + x2 + x3", frame)
    drawn = model.simulate([0.2, 0.7, -0.3, 0.0], n=draws, seed=1).add_prefix("r")
    return pd.concat([frame, drawn], axis=1), list(drawn)


def with_torchmle(cls: Any, part: pd.DataFrame, response: str, cov_type: str) -> Any:
    """Return one fit of torchmle's."""
    return cls.from_formula(f"{response} ~ x1 + x2 + x3", part).fit(cov_type=cov_type)


def with_statsmodels(cls: Any, part: pd.DataFrame, response: str, cov_type: str) -> Any:
    """Return the same from arrays by statsmodels, which spares it the formula."""
    import statsmodels.api as sm

    X = np.column_stack([np.ones(len(part)), part[["x1", "x2", "x3"]].to_numpy()])
    name, more = {"NegativeBinomial": ("NegativeBinomial", {"maxiter": 200})}.get(cls.__name__, (cls.__name__, {}))
    model = getattr(sm, name)(part[response].to_numpy(), X)
    quiet = {} if name == "OLS" else {"disp": 0, **more}
    return model.fit(cov_type="HC1" if cov_type == "HC1" else "nonrobust", **quiet)


def clocked(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what work gives, seconds and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - wall, time.process_time() - cpu


def compared(name: str, many: Callable[[], Any], single: dict[str, Callable[[Any], Any]]) -> None:
    """Print the times of all, and how far the others' estimates are."""
    many()
    found, wall, cpu = clocked(many)
    print(f"{name:<28} {'fit_many':<12} {wall:8.2f} s  {cpu:8.2f} cpu s  {found.failed} failed, {found.alone} alone")
    keys = list(found.keys)[:FEW]
    for who, fit in single.items():
        fit(keys[0])
        fits, spent, used = clocked(lambda fit=fit: [fit(k) for k in keys])  # type: ignore[misc]
        scale = len(found) / len(keys)
        gaps = [
            np.abs((np.asarray(f.params)[: found.params.shape[1]] - found.params.loc[k]) / found.bse.loc[k]).max()
            for k, f in zip(keys, fits, strict=True)
        ]
        print(
            f"{name:<28} {who:<12} {spent * scale:8.2f} s  {used * scale:8.2f} cpu s  x {spent * scale / wall:5.1f}"
            f"  gap {max(gaps):.1e}"
        )


def of_groups(cls: Any, response: str, cov_type: str) -> None:
    """Compare 500 groups of 200 rows."""
    frame = groups_table(500, 200)
    parts = dict(list(frame.groupby("g")))
    compared(
        f"{cls.__name__} {cov_type}, 500 groups",
        lambda: tm.fit_many(cls, f"{response} ~ x1 + x2 + x3", frame, by="g", cov_type=cov_type),
        {
            "torchmle": lambda g: with_torchmle(cls, parts[g], response, cov_type),
            "statsmodels": lambda g: with_statsmodels(cls, parts[g], response, cov_type),
        },
    )


def of_outcomes(cov_type: str) -> None:
    """Compare 1,000 draws of a logit with 1,000 rows."""
    frame, names = drawn_table(1_000, 1_000)
    compared(
        f"Logit {cov_type}, 1,000 outcomes",
        lambda: tm.fit_many(tm.Logit, "~ x1 + x2 + x3", frame, outcomes=names, cov_type=cov_type),
        {
            "torchmle": lambda r: with_torchmle(tm.Logit, frame, r, cov_type),
            "statsmodels": lambda r: with_statsmodels(tm.Logit, frame, r, cov_type),
        },
    )


CASES: dict[str, Callable[[], None]] = {
    "logit": lambda: of_groups(tm.Logit, "b", "nonrobust"),
    "logit-hc1": lambda: of_groups(tm.Logit, "b", "HC1"),
    "ols-hc1": lambda: of_groups(tm.OLS, "y", "HC1"),
    "nb": lambda: of_groups(tm.NegativeBinomial, "c", "nonrobust"),
    "outcomes": lambda: of_outcomes("nonrobust"),
    "outcomes-hc1": lambda: of_outcomes("HC1"),
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for chosen in sys.argv[1:] or CASES:
        CASES[chosen]()
