"""Hold all that a training run needs to go on as if it had never stopped, and turn it into bytes and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, OptionError
from ..loglik.batches import Tree, mapped
from .status import Status

NOT_KEPT = {"kept": False}
"""Stands in a file for an option that is a function, or data."""


@dataclass(frozen=True)
class EpochRow:
    """Hold one line of the trace of a training run.

    Attributes
    ----------
    iteration : the epoch; 0 is the start.
    running_loglik : mean of what was maximised over the batches of the epoch, while the parameters moved: the mean
        log-likelihood of a record, in train mode. It belongs to no single point.
    validation_loglik : exact mean log-likelihood of the records held back, at the end of the epoch, in eval mode.
    lr : the learning rate.
    seconds : seconds since the start.
    """

    iteration: int
    running_loglik: float
    validation_loglik: float
    lr: float
    seconds: float


@dataclass(frozen=True)
class Kept:
    """Hold the best point so far: its score, epoch, parameters, and what else changes (buffers)."""

    score: float
    epoch: int
    x: Tensor
    state: Mapping[str, Any]


@dataclass(frozen=True)
class Progress:
    """Hold where a run stands: whole epochs, batches of the next one, and what was found.

    ``total`` and ``weight`` are the running sums of the epoch; ``stale`` counts the epochs without a better score.
    """

    epoch: int = 0
    batch: int = 0
    total: float = 0.0
    weight: float = 0.0
    running: float = math.nan
    score: float = math.nan
    rate: float = math.nan
    best: Kept | None = None
    stale: int = 0
    status: Status | None = None
    step: float = 1.0


@dataclass(frozen=True)
class Snapshot:
    """Hold a training run between two batches.

    Attributes
    ----------
    identity : what a run that goes on must share with it.
    settings : what the torch optimizer was made with.
    asked : what a run that goes on takes over where it is told nothing else.
    progress : where it stands.
    x, state : the parameters and what else changes.
    optimizer : memory of the torch optimizer, a dict for each of its parameters, and its groups.
    schedule : memory of the scheduler.
    random : states of torch's generators.
    trace : lines so far.
    """

    identity: Mapping[str, Any]
    settings: Mapping[str, Any]
    asked: Mapping[str, Any]
    progress: Progress
    x: Tensor
    state: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any] | None
    random: tuple[Tensor, ...]
    trace: tuple[EpochRow, ...]

    def tree(self) -> dict[str, Any]:
        """Return the snapshot as plain values and tensors."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        best = self.progress.best
        place = {f.name: getattr(self.progress, f.name) for f in fields(Progress) if f.name not in ("best", "status")}
        found["progress"] = place | {
            "best": None if best is None else {f.name: getattr(best, f.name) for f in fields(Kept)}
        }
        options = {k: v if _is_plain(v) else NOT_KEPT for k, v in self.asked["options"].items()}
        found["asked"] = {**self.asked, "options": options}
        return found | {"trace": [asdict(row) for row in self.trace]}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, (bool, int, float, str))


def snapshot_of(tree: Mapping[str, Any]) -> Snapshot:
    """Return the snapshot of which :meth:`Snapshot.tree` is given.

    Raises
    ------
    DataError
        If it is something else.
    """
    try:
        place, best = dict(tree["progress"]), tree["progress"]["best"]
        place["best"] = None if best is None else Kept(**best)
        rows = tuple(EpochRow(**row) for row in tree["trace"])
        return Snapshot(**{**tree, "progress": Progress(**place), "trace": rows})
    except (KeyError, TypeError) as error:
        raise DataError(f"The checkpoint holds no training run that this version can read ({error}).") from error


def copied(tree: Tree) -> Tree:
    """Return a tree with copies of its tensors."""
    return mapped(lambda tensor: tensor.detach().clone(), tree)


def to_bytes(tree: Tree) -> list[bytes]:
    """Return plain values and tensors as bytes: the length of a table in JSON, the table, and the numbers behind it.

    There is nothing in it that runs.
    """
    blocks = _Blocks()
    table = json.dumps(blocks.written(tree, "")).encode()
    return [len(table).to_bytes(8, "little"), table, *blocks.found]


def read_bytes(body: memoryview, device: torch.device) -> Any:
    """Return what :func:`to_bytes` wrote; what was on an accelerator is put on ``device``."""
    size = int.from_bytes(body[:8], "little")
    return _read(json.loads(bytes(body[8 : 8 + size])), body[8 + size :], device)


class _Blocks:
    """Hold the numbers of tensors as they come."""

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self.size = 0

    def written(self, value: Any, name: str) -> Any:
        """Return a value as JSON has it, its tensors by their place among the blocks."""
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return {"float": value.hex()}
        if isinstance(value, Tensor):
            return {"tensor": self.added(value)}
        if isinstance(value, Mapping):
            return {"dict": [[key, self.written(part, f"{name}.{key}")] for key, part in value.items()]}
        if isinstance(value, tuple):
            return {"tuple": [self.written(part, name) for part in value]}
        if isinstance(value, list):
            return [self.written(part, name) for part in value]
        if isinstance(value, np.generic):
            return self.written(value.item(), name)
        raise OptionError(f"A checkpoint cannot hold {name.lstrip('.')}, which is {type(value).__name__}.")

    def added(self, tensor: Tensor) -> list[Any]:
        """Keep the numbers of a tensor; return its dtype, shape, place, size and kind of device."""
        block = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        self.found.append(block)
        self.size += len(block)
        kind = str(tensor.dtype).removeprefix("torch.")
        return [kind, list(tensor.shape), self.size - len(block), len(block), tensor.device.type]


def _read(value: Any, blocks: memoryview, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_read(part, blocks, device) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "float":
        return float.fromhex(content)
    if kind == "dict":
        return {key: _read(part, blocks, device) for key, part in content}
    if kind == "tuple":
        return tuple(_read(part, blocks, device) for part in content)
    name, shape, begin, size, place = content
    dtype: torch.dtype = getattr(torch, name)
    found = torch.empty(shape, dtype=dtype, device="cpu")
    if size:
        found = torch.frombuffer(bytearray(blocks[begin : begin + size]), dtype=dtype).reshape(shape)
    return found if place == "cpu" else found.to(device)
