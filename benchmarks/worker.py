"""Serve one peer on one problem from a process of its own: a fit whenever the parent asks for one."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from peers import PEERS, Answer
from problems import PROBLEMS

STATUS, REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MB = 1024


@dataclass(frozen=True)
class Run:
    """Hold one fit: wall and CPU seconds, peak memory above the data in MB (NaN where unknown), the answer."""

    wall: float
    cpu: float
    peak: float
    answer: Answer


def serve(problem_name: str, peer_name: str, device: str, dtype: str, pipe: Connection) -> None:
    """Load the problem, warm up on few of its rows, then fit once for every message until there is none."""
    warnings.simplefilter("ignore")
    problem, fit = replace(PROBLEMS[problem_name](), device=device, dtype=dtype), PEERS[peer_name].fit
    fit(problem.head(5_000))
    before = memory("VmRSS")
    pipe.send("ready")
    while pipe.recv():
        forget_peak()
        cpu, wall = time.process_time(), time.perf_counter()
        answer = fit(problem)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        pipe.send(Run(wall, cpu, memory("VmHWM") - before, answer))


def memory(field: str) -> float:
    """Return a memory field of this process in MB, NaN where the system has none."""
    if not STATUS.exists():
        return float("nan")
    line = next(s for s in STATUS.read_text().splitlines() if s.startswith(field))
    return int(line.split()[1]) / MB


def forget_peak() -> None:
    """Set the peak of this process back to what it uses now."""
    if REFS.exists():
        REFS.write_text("5")
