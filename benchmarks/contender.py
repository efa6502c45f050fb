"""Keep each contender in a process of its own, and let them fit in turns."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from worker import Run, serve

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS")
SLOW = 10.0
"""Seconds above which one fit of a contender is enough."""


@dataclass
class Contender:
    """Hold a peer's process, what it has answered, and why it gave up."""

    name: str
    dtype: str
    process: SpawnProcess
    pipe: Connection
    runs: list[Run] = field(default_factory=list)
    failure: str = ""

    @classmethod
    def start(cls, problem: str, peer: str, device: str = "cpu", dtype: str = "float64") -> Contender:
        """Start the process; it makes the problem on its own."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(problem, peer, device, dtype, theirs), daemon=True)
        process.start()
        theirs.close()
        default = (device, dtype) == ("cpu", "float64")
        return cls(peer if default else f"{peer}, {device} {dtype}", dtype, process, ours)

    @property
    def counted(self) -> list[Run]:
        """Return the fits that count: the first one warms up, unless a contender is so slow that it is the only one."""
        return self.runs[1:] or self.runs

    def answer(self, limit: float) -> Any:
        """Return what the process sends within the limit; a process that fails or is late is ended."""
        try:
            if self.pipe.poll(limit):
                return self.pipe.recv()
            self.failure = f"no answer in {limit:g} s"
        except EOFError:
            self.failure = "failed"
        self.process.terminate()
        return None

    def fit(self, limit: float) -> None:
        """Ask for one more fit, unless the peer has failed, or is slow and has answered."""
        if self.failure or (self.runs and self.runs[0].wall > SLOW):
            return
        self.pipe.send(True)
        run = self.answer(limit)
        if run is not None:
            self.runs.append(run)

    def stop(self) -> None:
        """Let the process end."""
        if self.process.is_alive():
            self.pipe.send(False)
            self.process.join()


def take_turns(contenders: list[Contender], repeat: int, limit: float) -> None:
    """Let the contenders fit one after the other, ``repeat`` times after a first round."""
    for contender in contenders:
        contender.answer(limit)
    for _ in range(repeat + 1):
        for contender in contenders:
            contender.fit(limit)
    for contender in contenders:
        contender.stop()
