"""Run row ranges in worker threads, each with torch on one thread.

Two workers with torch on one thread each beat torch's own threading, and more so on a busy machine, where a barrier
between torch's threads waits for the slowest. The user's thread setting only says how many workers there are; it is
as before when a call returns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch

T = TypeVar("T")

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}
_here = threading.local()  # .workers: how many workers calls in this thread may use
_users: list[int] = []  # thread settings of the calls under way


def _forget() -> None:
    """Drop what a child process does not inherit: threads."""
    _pools.clear()
    _users.clear()


os.register_at_fork(after_in_child=_forget)


@contextmanager
def settled_threads() -> Iterator[None]:
    """Keep torch on one thread in this thread while the engine runs, and put the user's setting back."""
    if getattr(_here, "workers", 0):
        yield
        return
    with _lock:
        mine = torch.get_num_threads()
        if _users and mine == 1:  # a new thread inherits the setting of a call under way: take what that one found
            mine = _users[0]
        _users.append(mine)
    _here.workers = mine
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _here.workers = 0
        torch.set_num_threads(mine)
        with _lock:
            _users.remove(mine)


@contextmanager
def users_threads() -> Iterator[None]:
    """Give torch the threads of the user's setting again, inside the engine: for work that no workers share."""
    before = torch.get_num_threads()
    torch.set_num_threads(getattr(_here, "workers", 0) or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch on one thread meanwhile: for many small pieces of work, whose barriers cost more than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _pool(size: int) -> ThreadPoolExecutor:
    """Return the pool of ``size`` workers, started at first use."""
    with _lock:
        if size not in _pools:
            _pools[size] = _start(size)
        return _pools[size]


def _start(size: int) -> ThreadPoolExecutor:
    threads = torch.get_num_threads()
    ready = threading.Barrier(size + 1)

    def single() -> None:
        torch.set_num_threads(1)
        _here.workers = 1
        ready.wait()

    pool = ThreadPoolExecutor(size, thread_name_prefix="torchmle", initializer=single)
    for _ in range(size):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)  # the workers' setting is also torch's default for new threads
    return pool


def map_ranges(work: Callable[[int, int], T], rows: int, chunk: int, device: torch.device) -> list[T]:
    """Call ``work(start, stop)`` on contiguous ranges that cover all rows, and return the answers in order.

    The ranges depend on the number of rows, the chunk and the number of threads only, so that the same machine gives
    the same bits twice.
    """
    workers = (getattr(_here, "workers", 0) or torch.get_num_threads()) if device.type == "cpu" else 1
    if workers == 1 or rows <= chunk:
        return [work(0, rows)]
    per_worker = -(-rows // (chunk * workers)) * chunk
    cuts = [(a, min(a + per_worker, rows)) for a in range(0, rows, per_worker)]
    if len(cuts) == 1:
        return [work(*cuts[0])]
    return list(_pool(workers).map(lambda cut: work(*cut), cuts))


_AS_IT_IS = nullcontext()


def derivatives_on(device: torch.device) -> AbstractContextManager[None]:
    """Make derivatives and factory calls mean the same under any global mode of the caller's."""
    recorded = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    return _AS_IT_IS if recorded and torch.get_default_device() == device else _switched_on(device)


@contextmanager
def _switched_on(device: torch.device) -> Iterator[None]:
    with torch.inference_mode(False), torch.enable_grad():
        if torch.get_default_device() == device:
            yield
        else:
            with torch.device(device):
                yield


@contextmanager
def engine(device: torch.device | None = None) -> Iterator[None]:
    """Run the engine: threads settled, derivatives on, whatever global modes the caller has set."""
    with settled_threads(), derivatives_on(device or torch.device("cpu")):
        yield
