"""Lend torch's own random generators to a training run, and give them back as they were."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import Any

import torch
from torch import Tensor

_alone = threading.RLock()
"""Dropout and loaders draw from generators that a process has once, so two runs in two threads take turns."""


def _renew() -> None:
    """Give a child process a lock of its own: the thread that holds the parent's is not there."""
    global _alone
    _alone = threading.RLock()


os.register_at_fork(after_in_child=_renew)

States = tuple[Tensor, ...]


def mixed(seed: int, *what: int | str) -> int:
    """Return a seed for one purpose: the first 63 bits of a hash of the seed and the purpose.

    Examples
    --------
    >>> from torchmle.loglik.randomness import mixed
    >>> mixed(0, "order", 3) == mixed(0, "order", 3), mixed(0, "order", 3) == mixed(1, "order", 3)
    (True, False)
    """
    text = ":".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class OwnRandom:
    """Hold torch's generators of the CPU and of one device while inside; afterwards they are as they were."""

    def __init__(self, device: torch.device) -> None:
        self._generators = [torch.default_generator, *_of_device(device)]
        self._before: list[tuple[Any, States]] = []

    def __enter__(self) -> OwnRandom:
        lock = _alone
        lock.acquire()
        self._before.append((lock, self.states()))
        return self

    def __exit__(self, *_: object) -> None:
        lock, states = self._before.pop()
        try:
            self.load(states)
        finally:
            lock.release()

    def states(self) -> States:
        """Return where the generators stand."""
        return tuple(g.get_state() for g in self._generators)

    def load(self, states: States) -> None:
        """Put the generators where they stood."""
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)

    def seed(self, seed: int) -> None:
        """Begin anew from a seed."""
        for generator in self._generators:
            generator.manual_seed(seed)


def _of_device(device: torch.device) -> list[torch.Generator]:
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return [torch.cuda.default_generators[index]]
    if device.type == "mps":
        return [torch.mps._get_default_mps_generator()]
    return []
