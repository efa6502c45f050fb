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
from torch import Tensor

from ..errors import DataError, OptionError, TorchmleWarning, warn
from ..files import writable_path, write_atomically
from ..params.map import ParamMap
from ..results.results import Results
from ..results.store import is_results, read

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel
    from .request import FitRequest

EVERY = 1.0
"""Seconds between two writes."""

HEAD = b"torchmle checkpoint 1\n"


@dataclass(frozen=True)
class Point:
    """Hold where a search stands, in the coordinates of a map."""

    map: ParamMap
    gamma: Tensor
    llf: float
    iteration: int


@dataclass
class Checkpoint:
    """Write the best point so far to a file, at most once a second."""

    path: Path
    model: str
    method: str
    last: float = field(default=-1e9)
    failed: bool = False

    def keep(self, point: Point, now: bool = False) -> None:
        """Write a point if the last one is old enough, or if asked to; a full disk does not end the fit."""
        if not now and time.monotonic() - self.last < EVERY:
            return
        theta = point.map.theta(point.gamma).tolist()
        content = {
            "model": self.model,
            "method": self.method,
            "params": {name: value.hex() for name, value in zip(point.map.names, theta, strict=True)},
            "llf": point.llf.hex(),
            "iteration": point.iteration,
        }
        body = json.dumps(content).encode()
        self.last = time.monotonic()
        try:
            write_atomically(self.path, HEAD + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        except OSError as error:
            if not self.failed:
                warn(f"The checkpoint cannot be written ({error}). The fit goes on without it.", TorchmleWarning)
            self.failed = True


def open_checkpoint(path: str | os.PathLike[str] | None, model: str, method: str) -> Checkpoint | None:
    """Return the checkpoint of a fit, or None if nobody asked for one."""
    return None if path is None else Checkpoint(writable_path(path, "checkpoint"), model, method)


def read_checkpoint(path: Path) -> pd.Series:
    """Return the parameters in a checkpoint, by name.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    head, _, rest = path.read_bytes().partition(b"\n")
    digest, _, body = rest.partition(b"\n")
    if head + b"\n" != HEAD or hashlib.sha256(body).hexdigest().encode() != digest:
        raise DataError(f"The checkpoint {str(path)!r} is damaged: its checksum does not fit. Start the fit anew.")
    content: dict[str, Any] = json.loads(body)
    return pd.Series({name: float.fromhex(value) for name, value in content["params"].items()})


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
    if path.read_bytes()[: len(HEAD)] == HEAD:
        return read_checkpoint(path)
    if is_results(path):
        return pd.Series({name: float.fromhex(value) for name, value in read(path).manifest["params"].items()})
    raise DataError(
        f"resume={str(source)!r} is neither a checkpoint nor a saved result of torchmle. Give the file that "
        "checkpoint= or results.save() wrote, or results."
    )
