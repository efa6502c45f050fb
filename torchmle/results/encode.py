"""Turn results into JSON and arrays, and back: a table of plain kinds, nothing that could run code."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.absent import Absent, CountedRows, absent
from ..data.batch import ModelData
from ..data.crossproducts import CrossProducts
from ..data.design import Design
from ..data.extras import Weights
from ..data.formula import Formulas, Part
from ..data.groups import Groups
from ..data.rows import Rows
from ..errors import StoreError
from ..inference.ingredients import Covariance
from ..loglik.draws import Draws
from ..loglik.gev import Nest
from ..loglik.leastsquares import Solution
from ..loglik.network import Layer, StoredNetwork
from ..loglik.separation import Separation
from ..optim.base import Status, TraceRow
from ..optim.snapshots import EpochRow
from ..params.map import ParamMap
from .fit import Fit, Inference, Record, Restriction
from .pandas_parts import column_to_plain, index_to_plain, plain_to_column, plain_to_index
from .safety import ConstraintTest, Safety

Json = Any

DATACLASSES: Mapping[str, type[Any]] = {
    c.__name__: c
    for c in (
        *(ModelData, Design, CrossProducts, Weights, Groups, Rows, CountedRows, Formulas, Part),
        *(Draws, Nest, ParamMap, Fit, Inference, Covariance, TraceRow, EpochRow, Separation, Solution, Record),
        *(StoredNetwork, Layer),
        *(Safety, ConstraintTest),
        *(Restriction,),
    )
}
"""What a file may hold; fields of these classes are stored by name, so that new fields with a default just work."""

ENUMS: Mapping[str, type[Enum]] = {"Status": Status}

DTYPES = ("float64", "float32", "int64", "int32", "int16", "int8", "uint8", "bool")
"""Types of arrays and tensors that are stored."""


class UnstorableError(TypeError):
    """Say that a value is of no kind that a file holds."""


@dataclass
class Packer:
    """Collect the arrays of what is packed; the same tensor is stored once.

    ``special`` packs what needs more than its fields, by class: name of the kind and function to plain values.
    """

    special: Mapping[type[Any], tuple[str, Callable[[Any], Any]]] = field(default_factory=dict)
    arrays: list[np.ndarray[Any, Any]] = field(default_factory=list)
    _seen: dict[int, tuple[Tensor, Json]] = field(default_factory=dict)

    def pack(self, value: Any) -> Json:
        """Return a value as JSON with places of arrays."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        own = next((entry for kind, entry in self.special.items() if isinstance(value, kind)), None)
        if own is not None:
            return {"kind": own[0], "value": self.pack(own[1](value))}
        if isinstance(value, Tensor):
            return self._tensor(value)
        for kinds, name, function in _PACK:
            if isinstance(value, kinds):
                return {"kind": name, "value": function(self, value)}
        if isinstance(value, str):
            return str(value)
        if type(value).__name__ in DATACLASSES and DATACLASSES[type(value).__name__] is type(value):
            fields = {f.name: self.pack(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return {"kind": "dataclass", "name": type(value).__name__, "value": fields}
        raise UnstorableError(f"{type(value).__module__}.{type(value).__qualname__}")

    def array(self, value: np.ndarray[Any, Any]) -> int:
        """Return the place of an array of numbers."""
        if value.dtype.name not in DTYPES:
            raise UnstorableError(f"an array of {value.dtype}")
        self.arrays.append(value)
        return len(self.arrays) - 1

    def _tensor(self, value: Tensor) -> Json:
        if isinstance(value, Absent):
            return {"kind": "absent", "value": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        if id(value) not in self._seen:
            turned = value.ndim == 2 and not value.is_contiguous() and value.mT.is_contiguous()
            host = (value.mT if turned else value).detach().cpu().contiguous().numpy()
            found = {"kind": "tensor", "value": self.array(host), "turned": turned, "cpu": value.device.type == "cpu"}
            self._seen[id(value)] = (value, found)  # the tensor is kept, so that its id stays its own
        return self._seen[id(value)][1]


def _pairs(packer: Packer, value: Mapping[Any, Any]) -> Json:
    return [[packer.pack(k), packer.pack(v)] for k, v in value.items()]


def _items(packer: Packer, value: Any) -> Json:
    return [packer.pack(v) for v in value]


def _sorted(packer: Packer, value: Any) -> Json:
    return [packer.pack(v) for v in sorted(value)]


def _ndarray(packer: Packer, value: np.ndarray[Any, Any]) -> Json:
    if value.dtype == object:
        return {"objects": [packer.pack(v) for v in value.ravel().tolist()], "shape": list(value.shape)}
    if value.dtype.kind in "mM":
        return {"dates": packer.array(value.view(np.int64)), "dtype": str(value.dtype)}
    if value.dtype.kind == "U":
        return {"text": value.ravel().tolist(), "shape": list(value.shape), "dtype": str(value.dtype)}
    return {"numbers": packer.array(np.ascontiguousarray(value))}


_PACK: list[tuple[Any, str, Callable[[Packer, Any], Json]]] = [
    (Enum, "enum", lambda p, v: [_known(ENUMS, type(v)), v.value]),
    (np.generic, "scalar", lambda p, v: _ndarray(p, np.asarray(v).reshape(1))),
    (np.ndarray, "array", _ndarray),
    (MappingProxyType, "view", _pairs),
    (dict, "dict", _pairs),
    (tuple, "tuple", _items),
    (list, "list", _items),
    (frozenset, "frozenset", _sorted),
    (set, "set", _sorted),
    (torch.dtype, "dtype", lambda p, v: str(v).removeprefix("torch.")),
    (torch.device, "device", lambda p, v: str(v)),
    ((datetime.datetime, pd.Timestamp), "time", lambda p, v: v.isoformat()),
    (pd.Index, "index", lambda p, v: p.pack(index_to_plain(v))),
    (pd.Series, "series", lambda p, v: _items(p, (index_to_plain(v.index), v.name, column_to_plain(v)))),
    (
        pd.DataFrame,
        "frame",
        lambda p, v: [p.pack(index_to_plain(v.index)), [[p.pack(c), p.pack(column_to_plain(v[c]))] for c in v]],
    ),
]


def _known(table: Mapping[str, Any], kind: type[Any]) -> str:
    name = str(kind.__name__)
    if table.get(name) is not kind:
        raise UnstorableError(kind.__qualname__)
    return name


@dataclass
class Unpacker:
    """Make values of JSON and arrays; ``special`` makes what :class:`Packer` packed in special ways."""

    arrays: list[np.ndarray[Any, Any]]
    device: torch.device
    special: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    _tensors: dict[int, Tensor] = field(default_factory=dict)

    def unpack(self, value: Json) -> Any:
        """Return what was packed."""
        if not isinstance(value, dict):
            return value
        kind, inner = value["kind"], value["value"]
        if kind in self.special:
            return self.special[kind](self.unpack(inner))
        if kind == "tensor":
            return self._tensor(value)
        if kind == "absent":
            return absent(inner, _dtype(value["dtype"]))
        if kind == "dataclass":
            return self._dataclass(value["name"], inner)
        if kind not in _UNPACK:
            raise StoreError(f"The file holds a value of the kind {kind!r}, which this version does not know.")
        return _UNPACK[kind](self, inner)

    def _dataclass(self, name: str, fields: Mapping[str, Json]) -> Any:
        known = {f.name for f in dataclasses.fields(DATACLASSES[name])}
        extra = set(fields) - known
        if extra:
            raise StoreError(f"The file holds {name}.{min(extra)}, which this version does not know. Update torchmle.")
        return DATACLASSES[name](**{k: self.unpack(v) for k, v in fields.items()})

    def _tensor(self, value: Json) -> Tensor:
        place = value["value"]
        if place not in self._tensors:
            tensor = torch.from_numpy(self.arrays[place]).clone()
            tensor = tensor.mT if value["turned"] else tensor
            self._tensors[place] = tensor if value["cpu"] else tensor.to(self.device)
        return self._tensors[place]


def _to_array(unpacker: Unpacker, value: Json) -> np.ndarray[Any, Any]:
    out: np.ndarray[Any, Any]
    if "objects" in value:
        out = np.empty(len(value["objects"]), dtype=object)
        out[:] = [unpacker.unpack(v) for v in value["objects"]]
    elif "dates" in value:
        dates: np.ndarray[Any, Any] = unpacker.arrays[value["dates"]].copy().view(np.dtype(value["dtype"]))
        return dates
    elif "text" in value:
        out = np.array(value["text"], dtype=np.dtype(value["dtype"]))
    else:
        out = unpacker.arrays[value["numbers"]].copy()
        return out
    shaped: np.ndarray[Any, Any] = out.reshape(value["shape"])
    return shaped


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise StoreError(f"The file holds the dtype {name!r}, which this version does not know.")
    found: torch.dtype = getattr(torch, name)
    return found


def _to_dict(unpacker: Unpacker, value: Json) -> dict[Any, Any]:
    return {unpacker.unpack(k): unpacker.unpack(v) for k, v in value}


def _to_list(unpacker: Unpacker, value: Json) -> list[Any]:
    return [unpacker.unpack(v) for v in value]


def _to_series(unpacker: Unpacker, value: Json) -> pd.Series:
    index, name, column = _to_list(unpacker, value)
    return pd.Series(plain_to_column(column), index=plain_to_index(index), name=name)


def _to_frame(unpacker: Unpacker, value: Json) -> pd.DataFrame:
    index, columns = value
    data = {unpacker.unpack(name): plain_to_column(unpacker.unpack(column)) for name, column in columns}
    return pd.DataFrame(data, index=plain_to_index(unpacker.unpack(index)))


_UNPACK: Mapping[str, Callable[[Unpacker, Json], Any]] = {
    "enum": lambda u, v: ENUMS[v[0]](v[1]),
    "scalar": lambda u, v: _to_array(u, v)[0],
    "array": _to_array,
    "view": lambda u, v: MappingProxyType(_to_dict(u, v)),
    "dict": _to_dict,
    "tuple": lambda u, v: tuple(_to_list(u, v)),
    "list": _to_list,
    "frozenset": lambda u, v: frozenset(_to_list(u, v)),
    "set": lambda u, v: set(_to_list(u, v)),
    "dtype": lambda u, v: _dtype(v),
    "device": lambda u, v: torch.device(v),
    "time": lambda u, v: pd.Timestamp(v),
    "index": lambda u, v: plain_to_index(u.unpack(v)),
    "series": _to_series,
    "frame": _to_frame,
}
