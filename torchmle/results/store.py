"""Keep results in a file: a manifest in JSON, raw arrays, and a checksum over both."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..data.absent import need_rows
from ..data.batch import ModelData
from ..data.frames import column_names, take_columns
from ..data.specs import Refused, formula_to_plain, spec_to_plain
from ..data.vetting import describe_known, obstacle
from ..errors import DataError, DataWarning, OptionError, StoreError, warn
from ..files import writable_path, write_atomically
from ..inference.estimator import BY_ROW
from ..loglik.batches import LoaderBatches
from ..loglik.network import Network
from ..loglik.objective import Objective
from ..optim.snapshots import Snapshot
from ..params.curve import Curve
from ..params.natural import Natural
from .encode import DTYPES, Packer, UnstorableError
from .lean import lean, statistics

if TYPE_CHECKING:
    from .estimates import Estimates

FORMAT = 1
"""Version of the format that is written, and the newest that is read."""

HEAD = b"torchmle results "

BASE = ("model", "fit", "inference", "record", "reporter")
"""Fields that all results have."""


@dataclass(frozen=True)
class Known:
    """Hold the place of a function that a file may name."""

    place: tuple[str, str]


@dataclass(frozen=True)
class Contents:
    """Hold packed results.

    Attributes
    ----------
    manifest : what JSON can hold, with places of arrays.
    left_out : attributes of the model and names of the formula that no file can hold.
    obstacle : why new data cannot be predicted with what is stored, or None.
    """

    manifest: dict[str, Any]
    arrays: list[np.ndarray[Any, Any]]
    left_out: tuple[str, ...] = ()
    obstacle: str | None = None


def pack_results(results: Estimates, native: bool = False) -> Contents:
    """Return the contents of a file for some results, as they are: with their rows or without.

    Parameters
    ----------
    native : whether table, labels and ids of clusters are left out, since a pickle holds them as they are.
    """
    try:
        return _packed(results, native)
    except UnstorableError as error:
        raise DataError(
            f"The results cannot be stored: their data or groups hold {error}. Convert them first."
        ) from error


def _packed(results: Estimates, native: bool) -> Contents:
    packer = Packer(_special(native))
    model = results.model
    context = {name: _storable(value) for name, value in model.data.context.items()}
    data = replace(
        model.data,
        context={name: value for name, value in context.items() if value is not None},
        frame=None if native else _used_columns(results),
    )
    inference = results.inference
    if native:
        data = replace(data, rows=replace(data.rows, index=pd.RangeIndex(len(data.rows.index))))
        inference = replace(inference, covariance=replace(inference.covariance, kwds={}))
    attributes: dict[str, Any] = {"data": packer.pack(data)}
    left = []
    for name, value in vars(model).items():
        if name == "data":
            continue
        try:
            attributes[name] = packer.pack(value)
        except (UnstorableError, DataError):
            left.append(name)
    manifest = {
        "torchmle": metadata.version("torchmle"),
        "class": [type(model).__module__, type(model).__qualname__],
        "results": type(results).__name__,
        "params": {name: value.hex() for name, value in zip(results.names, results.params.tolist(), strict=True)},
        "attributes": attributes,
        "left_out": left,
        "fit": packer.pack(results.fit),
        "inference": packer.pack(inference),
        "record": packer.pack(results.record),
        "more": {f.name: packer.pack(getattr(results, f.name)) for f in fields(results) if f.name not in BASE},
        "statistics": packer.pack(statistics(results)),
    }
    why = None if data.formulas is None else obstacle(data.formulas, data.context)
    return Contents(manifest, packer.arrays, tuple(left), why)


def _special(native: bool) -> Mapping[type[Any], tuple[str, Callable[[Any], Any]]]:
    """Return how to pack what is more than its fields; a pickle holds modules as they are."""
    from formulaic import ModelSpec
    from formulaic.formula import SimpleFormula

    module: dict[type[Any], tuple[str, Callable[[Any], Any]]] = {Network: ("network", Network.stored)}
    return {
        **({} if native else module),
        Snapshot: ("nothing", lambda v: None),
        LoaderBatches: ("nothing", lambda v: None),
        Known: ("known", lambda v: v.place),
        Natural: ("natural", lambda v: v.name),
        Curve: ("curve", curve_signature),
        Objective: ("objective", lambda v: [getattr(v, "kind", type(v).__name__), v.separable]),
        ModelSpec: ("spec", spec_to_plain),
        SimpleFormula: ("formula", formula_to_plain),
        Refused: ("refused", lambda v: v.why),
    }


def curve_signature(curve: Curve) -> list[Any]:
    """Return what a file says of transforms, which the model's class makes again: names, kinds and ranges."""
    return [list(curve.names), [[p.transform.kind, list(p.at), p.first, p.transform.range] for p in curve.pieces]]


def _storable(value: Any) -> Any:
    """Return what stands in a file for a name that a formula takes from its caller, or None."""
    place = describe_known(value)
    if place is not None:
        return Known((place[0], place[1]))
    plain = isinstance(value, (bool, int, float, str, np.generic))
    plain = plain or (isinstance(value, (list, tuple)) and all(isinstance(v, (bool, int, float, str)) for v in value))
    return value if plain else None


def _used_columns(results: Estimates) -> pd.DataFrame | None:
    """Return the columns of the user's table that the formulas and the options of the covariance name."""
    data = results.model.data
    if data.frame is None:
        return None
    options = [results.cov_kwds.get(name) for name in BY_ROW]
    given = [v for o in options for v in (o if isinstance(o, (list, tuple)) else [o])]
    wanted = [*([] if data.formulas is None else data.formulas.variables), *given, *_named(data)]
    have = column_names(data.frame)
    return take_columns(data.frame, [n for n in dict.fromkeys(w for w in wanted if isinstance(w, str)) if n in have])


def _named(data: ModelData) -> list[str]:
    """Return the columns that were given by name beside the formulas."""
    return [
        value for key, value in data.given.items() if isinstance(value, str) and key not in ("missing", "collinear")
    ]


# ---- the file


def save(results: Estimates, path: str | os.PathLike[str], data: bool) -> None:
    """Write results to a file; see :meth:`Results.save`."""
    if not isinstance(data, bool):
        raise OptionError(f"data={data!r} must be True or False.")
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError(f"path is {type(path).__name__}; it must be the name of a file.")
    target = writable_path(path, "path")
    if data:
        need_rows(results.model.data, "save(path, data=True)")
    contents = pack_results(results if data else lean(results))
    try:
        write_atomically(target, pieces(contents))
    except OSError as error:
        raise StoreError(
            f"The results cannot be written to {str(path)!r}: {error}. The old file, if any, is as it was."
        ) from error
    _tell(contents)


def _tell(contents: Contents) -> None:
    """Warn of what the file does not hold."""
    if contents.left_out:
        warn(
            f"The file does not hold the model's {', '.join(contents.left_out)}: a file holds numbers, tensors and "
            "text. Give the model when you load it: torchmle.load(path, model=model).",
            DataWarning,
        )
    if contents.obstacle is not None:
        warn(
            f"Loaded results will not predict new data by themselves: {contents.obstacle}, which a file cannot hold. "
            "Give a model built from the same formula when you load them: torchmle.load(path, model=model).",
            DataWarning,
        )


def pieces(contents: Contents) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file: head with format and checksum, length of the manifest, manifest, arrays."""
    arrays = [np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("<")) for a in contents.arrays]
    table = [[a.dtype.name, list(a.shape)] for a in contents.arrays]  # single numbers have no shape here
    manifest = json.dumps({**contents.manifest, "arrays": table}, separators=(",", ":")).encode()
    body: list[bytes | memoryview] = [b"%d\n" % len(manifest), manifest]
    body += [a.reshape(-1).view(np.uint8).data for a in arrays if a.size]
    first = HEAD + b"%d\n" % FORMAT
    digest = hashlib.sha256(first)
    for piece in body:
        digest.update(piece)
    yield first + digest.hexdigest().encode() + b"\n"
    yield from body


def read(path: str | os.PathLike[str]) -> Contents:
    """Return the contents of a file, if it is whole.

    Raises
    ------
    StoreError
        If there is no such file, it is no file of results, it is damaged, or its format is newer.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError(f"path is {type(path).__name__}; it must be the name of a file.")
    where = Path(path)
    if where.is_dir():
        raise StoreError(f"{str(path)!r} is a folder; give the name of a file that results.save() wrote.")
    if not where.is_file():
        raise StoreError(f"There is no file {str(path)!r}.")
    try:
        content = where.read_bytes()
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be read: {error}.") from error
    return parse(content, str(path))


def is_results(path: Path) -> bool:
    """Return whether a file begins like one that holds results."""
    with path.open("rb") as file:
        return file.read(len(HEAD)) == HEAD


def parse(content: bytes, name: str) -> Contents:
    """Return the contents of the bytes of a file."""
    if content.startswith(b"torchmle checkpoint"):
        raise StoreError(f"{name!r} is a checkpoint of a fit, not a result; go on from it with fit(resume={name!r}).")
    first, _, rest = content[:200].partition(b"\n")
    digest, newline, _ = rest.partition(b"\n")
    version = first[len(HEAD) :]
    known = first.startswith(HEAD) and version.isdigit()
    if not known or (int(version) <= FORMAT and not newline):
        raise StoreError(f"{name!r} is no file of results: it does not begin as one that results.save() wrote.")
    if int(version) > FORMAT:
        raise StoreError(
            f"{name!r} has format {int(version)}, and this torchmle ({metadata.version('torchmle')}) reads up to "
            f"{FORMAT}. Update torchmle to read it."
        )
    body = memoryview(content)[len(first) + len(digest) + 2 :]
    whole = hashlib.sha256(first + b"\n")
    whole.update(body)
    if whole.hexdigest().encode() != digest:
        raise StoreError(f"{name!r} is damaged: its checksum does not fit. Restore it from a copy, or fit again.")
    try:
        return _contents(body)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise invalid(name, error) from error


def invalid(name: str, error: Exception) -> StoreError:
    """Return the error for a file that is whole and makes no sense."""
    return StoreError(f"{name!r} holds no results that can be read ({type(error).__name__}: {error}).")


def _contents(body: memoryview) -> Contents:
    length, _, _ = bytes(body[:24]).partition(b"\n")
    at = len(length) + 1
    manifest = json.loads(bytes(body[at : at + int(length)]))
    at += int(length)
    arrays = []
    for dtype, shape in manifest.pop("arrays"):
        kind = np.dtype(dtype).newbyteorder("<")
        count = int(np.prod(shape, dtype=np.int64))
        if dtype not in DTYPES:
            raise ValueError(f"an array of {dtype}")
        flat = np.frombuffer(body, dtype=kind, count=count, offset=at).astype(kind.newbyteorder("="))  # a writable copy
        arrays.append(flat.reshape(shape))
        at += count * kind.itemsize
    return Contents(manifest, arrays)
