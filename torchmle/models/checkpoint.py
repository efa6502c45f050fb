"""Keep the best point of a running fit in a file, and go on from it after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ..errors import DataError, OptionError, TorchmleWarning, warn
from ..files import writable_path, write_atomically
from ..optim.snapshots import Snapshot, read_bytes, snapshot_of, to_bytes
from ..params.map import ParamMap
from ..results.results import Results
from ..results.store import is_results, read

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel
    from .request import FitRequest

EVERY = 1.0
"""Seconds between two writes."""

SHARE = 20
"""How many times its own duration lies between two writes."""

HEAD = b"torchmle checkpoint 1\n"
KIND = b"torchmle training "
TRAINING = KIND + b"1\n"


@dataclass(frozen=True)
class Point:
    """Hold where a search stands, in the coordinates of a map."""

    map: ParamMap
    gamma: Tensor
    llf: float
    iteration: int


@dataclass
class _File:
    """Write to a file at most once a second, and less often what takes long."""

    path: Path
    model: str
    due: float = field(default=-1e9)
    failed: bool = False

    def write(self, head: bytes, body: list[bytes]) -> None:
        """Write a body behind its checksum; a full disk does not end the fit."""
        begin, digest = time.monotonic(), hashlib.sha256()
        for piece in body:
            digest.update(piece)
        try:
            write_atomically(self.path, [head, digest.hexdigest().encode() + b"\n", *body])
        except OSError as error:
            if not self.failed:
                warn(f"The checkpoint cannot be written ({error}). The fit goes on without it.", TorchmleWarning)
            self.failed = True
        now = time.monotonic()
        self.due = now + max(EVERY, SHARE * (now - begin))


@dataclass
class Checkpoint(_File):
    """Write the best point so far to a file."""

    method: str = ""

    def keep(self, point: Point, now: bool = False) -> None:
        """Write a point if the last one is old enough, or if asked to."""
        if not now and time.monotonic() < self.due:
            return
        theta = point.map.theta(point.gamma).tolist()
        content = {
            "model": self.model,
            "method": self.method,
            "params": {name: value.hex() for name, value in zip(point.map.names, theta, strict=True)},
            "llf": point.llf.hex(),
            "iteration": point.iteration,
        }
        self.write(HEAD, [json.dumps(content).encode()])


@dataclass
class TrainingCheckpoint(_File):
    """Write where a training run stands to a file."""

    def keep(self, snapshot: Snapshot, now: bool = False) -> None:
        """Write a snapshot if the last one is old enough, or if asked to."""
        if now or time.monotonic() >= self.due:
            self.write(TRAINING, to_bytes({"model": self.model, **snapshot.tree()}))


def open_checkpoint(path: str | os.PathLike[str] | None, model: str, method: str) -> Checkpoint | None:
    """Return the checkpoint of a fit, or None if nobody asked for one."""
    return None if path is None else Checkpoint(writable_path(path, "checkpoint"), model, method=method)


def open_training(path: str | os.PathLike[str] | None, model: str) -> TrainingCheckpoint | None:
    """Return the checkpoint of a training run, or None if nobody asked for one."""
    return None if path is None else TrainingCheckpoint(writable_path(path, "checkpoint"), model)


def read_checkpoint(path: Path) -> pd.Series:
    """Return the parameters in a checkpoint, by name.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    content: dict[str, Any] = json.loads(bytes(_body(path, HEAD)))
    return pd.Series({name: float.fromhex(value) for name, value in content["params"].items()})


def read_training(path: Path, model: str, device: torch.device) -> Snapshot:
    """Return where a training run stood when a checkpoint was written; its tensors go to ``device``.

    Raises
    ------
    DataError
        If the file is damaged, or of another version.
    OptionError
        If it is of another model.
    """
    tree = read_bytes(_body(path, TRAINING), device)
    other = tree.pop("model", None)
    if other != model:
        raise OptionError(f"resume={str(path)!r} is the checkpoint of a {other}; this is a {model}.")
    return snapshot_of(tree)


def _body(path: Path, wanted: bytes) -> memoryview:
    """Return what is behind the checksum of a file."""
    content = path.read_bytes()
    if content.startswith(KIND) and not content.startswith(wanted):
        raise DataError(f"The checkpoint {str(path)!r} was written by another version of torchmle, or is damaged.")
    start = len(wanted) + 65
    digest = hashlib.sha256(memoryview(content)[start:]).hexdigest().encode() + b"\n"
    if content[: len(wanted)] != wanted or content[len(wanted) : start] != digest:
        raise DataError(f"The checkpoint {str(path)!r} is damaged: its checksum does not fit. Start the fit anew.")
    return memoryview(content)[start:]


def resumed_training(request: FitRequest, model: str, device: torch.device) -> Snapshot | None:
    """Return where to go on if ``resume`` is the checkpoint of a training run, else None: see :func:`resumed`."""
    if not isinstance(request.resume, (str, os.PathLike)):
        return None
    path = Path(request.resume)
    return read_training(path, model, device) if path.is_file() and _begins(path, KIND) else None


def _begins(path: Path, head: bytes) -> bool:
    """Return whether a file begins with some bytes."""
    with path.open("rb") as file:
        return file.read(len(head)) == head


def resumed(request: FitRequest, model: GenericLikelihoodModel) -> pd.Series | None:
    """Return where to go on: the parameters of results, of a saved result or of a checkpoint, or None.

    A file that is also the checkpoint of this fit and does not exist yet is no error: the first run of a script that
    is restarted until it is done has nothing to go on from.
    """
    source = request.resume
    if source is None:
        return None
    if isinstance(source, Results):
        return source.params
    if not isinstance(source, (str, os.PathLike)):
        raise OptionError(f"resume is {type(source).__name__}; it must be results of a fit or the name of a file.")
    path = Path(source)
    if not path.is_file():
        if request.checkpoint is not None and Path(request.checkpoint) == path:
            return None
        raise OptionError(f"resume={str(source)!r}: there is no such file.")
    if _begins(path, HEAD):
        return read_checkpoint(path)
    if _begins(path, KIND):
        raise OptionError(
            f"resume={str(source)!r} is the checkpoint of training by mini-batches, and method={request.method!r} does "
            "something else. Give the method and the model that it was written by."
        )
    if is_results(path):
        return pd.Series({name: float.fromhex(value) for name, value in read(path).manifest["params"].items()})
    raise DataError(
        f"resume={str(source)!r} is neither a checkpoint nor a saved result of torchmle. Give the file that "
        "checkpoint= or results.save() wrote, or results."
    )
