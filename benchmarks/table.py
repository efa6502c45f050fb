"""Make a table of what was measured: seconds, ratios, memory, agreement, and the machine they belong to."""

from __future__ import annotations

import importlib.metadata
import io
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from contender import THREADS, Contender
from peers import PEERS
from worker import Run

REFERENCES = ("statsmodels", "numpy", "torchmle", "torchmle choice")
"""Whose answer the others are held against: the first one that takes part."""

AGREES = {"float64": 1e-3, "float32": 1e-1}
"""Gap of estimates, in standard errors, up to which answers agree."""

CONVENTION = 1e-2
"""Relative gap of standard errors up to which they agree: some peers correct for degrees of freedom."""


def tabulate(contenders: list[Contender]) -> pd.DataFrame:
    """Return a row a contender: seconds, memory, ratios to the first one, gaps to the reference."""
    done = {c.name: c for c in contenders if c.runs}
    if not done:
        return pd.DataFrame([{"peer": c.name, "verdict": c.failure} for c in contenders])
    base = next(iter(done.values()))
    reference = next(c for name in (*REFERENCES, base.name) for c in done.values() if c.name == name)
    return pd.DataFrame([_row(c, base, reference) for c in contenders])


def _row(c: Contender, base: Contender, reference: Contender) -> dict[str, Any]:
    if not c.runs:
        return {"peer": c.name, "verdict": c.failure}
    walls, cpus = [r.wall for r in c.counted], [r.cpu for r in c.counted]
    bases = [r.wall for r in base.counted]
    gap, gap_se = _gaps(c.runs[-1], reference.runs[-1])
    agrees = gap < AGREES[c.dtype] and not gap_se > CONVENTION
    return {
        "peer": c.name,
        "fits": len(walls),
        "median s": statistics.median(walls),
        "min s": min(walls),
        "median cpu s": statistics.median(cpus),
        "min cpu s": min(cpus),
        "peak MB": max(r.peak for r in c.runs),
        "ratio": statistics.median(walls) / statistics.median(bases),
        "ratio of min": min(walls) / min(bases),
        "gap": gap,
        "gap of se": gap_se,
        "verdict": "agrees" if agrees else "DIFFERS",
    }


def _gaps(run: Run, reference: Run) -> tuple[float, float]:
    """Return the largest distance of estimates in standard errors, and of errors in relative terms."""
    ours, theirs = run.answer, reference.answer
    assert theirs.bse is not None
    gap = float(np.abs((ours.params - theirs.params) / theirs.bse).max())
    return gap, float("nan") if ours.bse is None else float(np.abs(ours.bse / theirs.bse - 1).max())


def machine(peers: list[str]) -> str:
    """Return what the seconds depend on: processor, threads, versions."""
    info = Path("/proc/cpuinfo")
    models = (
        [s.split(":")[1].strip() for s in info.read_text().splitlines() if "model name" in s] if info.exists() else []
    )
    packages = sorted({PEERS[n].package for n in peers} | {"numpy", "torch"})
    versions = [f"{p} {importlib.metadata.version({'sklearn': 'scikit-learn'}.get(p, p))}" for p in packages]
    threads = os.environ.get(THREADS[0], "default")
    load = f"load {os.getloadavg()[1]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, threads {threads}; " + ", ".join(
        [load, f"python {platform.python_version()}", *versions]
    )


def as_text(table: pd.DataFrame) -> str:
    """Return the table for a terminal."""
    return table.to_string(index=False, float_format=lambda v: f"{v:.3g}", na_rep="")


def show(folder: Path) -> str:
    """Return the tables of ``run.py`` in a folder as one in Markdown, with a line on the machine of each."""
    lines = ["| problem | peer | median s | cpu s | ratio | peak MB | answer |", "|---|---|---|---|---|---|---|"]
    machines: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.csv")):
        header, rest = path.read_text(encoding="utf-8").split("\n", 1)
        table = pd.read_csv(io.StringIO(rest))
        if "peer" not in table:
            continue  # of a program that times no peers
        machines.setdefault(header.split(": ", 1)[1].split(";")[0], []).append(path.stem)
        for row in table.to_dict("records"):
            numbers = [row.get(c, float("nan")) for c in ("median s", "median cpu s", "ratio", "peak MB")]
            cells = ["" if pd.isna(v) else f"{v:.0f}" if v >= 100 else f"{v:.2g}" for v in numbers]
            lines.append(f"| {path.stem} | {row['peer']} | {' | '.join(cells)} | {row['verdict']} |")
    return "\n".join([*lines, "", *(f"{', '.join(names)}: {where}." for where, names in machines.items())])
