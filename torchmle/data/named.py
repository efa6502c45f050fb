"""Read the data of a likelihood function under names: a dict of arrays with n rows, or columns of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import DataError, OptionError, unknown
from .extras import row_tensor
from .frames import as_frame, check_columns, column_names, frame_index, frame_length, take_column
from .matrix import as_matrix, default_names
from .vectors import align, numeric_vector, plain, raw_array, refuse_dtype


@dataclass(frozen=True)
class NamedArrays:
    """Hold arrays with the same rows.

    Attributes
    ----------
    arrays : name to (n, ...) array; integers and booleans keep their kind, so that they can index.
    columns : the column names of each matrix.
    index : labels of the rows.
    """

    arrays: Mapping[str, np.ndarray[Any, Any]]
    columns: Mapping[str, tuple[str, ...]]
    index: pd.Index


def read_arrays(data: Mapping[Any, Any]) -> NamedArrays:
    """Return the arrays of a dict, those that carry an index in the order of the first one that does.

    Raises
    ------
    DataError
        For entries without rows, of another length, with labels that do not fit, or that are no real numbers.
    """
    if not data:
        raise DataError("data is empty; it must hold one array with n rows or more.")
    values = {str(name): plain(value, f"data[{str(name)!r}]") for name, value in data.items()}
    n = _common_length(values)
    labelled = (v.index for v in values.values() if isinstance(v, (pd.Series, pd.DataFrame)))
    index = next(labelled, pd.RangeIndex(n))
    arrays, columns = {}, {}
    for name, value in values.items():
        what = f"data[{name!r}]"
        value = align(value, what, index, n)
        if isinstance(value, pd.DataFrame) or hasattr(value, "columns") or hasattr(value, "column_names"):
            X, names, _ = as_matrix(value, what)
            arrays[name], columns[name] = X.numpy(), tuple(names or ())
            continue
        arrays[name] = read_array(value, what)
        if arrays[name].ndim == 2:
            width = range(arrays[name].shape[1])
            own = default_names(torch.tensor(arrays[name])) if name == "exog" else map(str, width)
            columns[name] = tuple(own)
    return NamedArrays(arrays, columns, index)


def _common_length(values: Mapping[str, Any]) -> int:
    """Return the number of rows that all entries have."""
    lengths = {name: _length(value) for name, value in values.items()}
    n = next((size for size in lengths.values() if size is not None), None)
    for name, size in lengths.items():
        if size is None:
            raise DataError(
                f"data[{name!r}] is {type(values[name]).__name__}, which has no rows. Each entry must be an array with "
                "one row an observation; what has no rows belongs into the function, as a variable that it uses."
            )
        if size != n:
            raise DataError(f"data[{name!r}] has {size} rows, but {next(iter(lengths))!r} has {n}.")
    assert n is not None
    if n == 0:
        raise DataError("data has no rows.")
    return n


def _length(value: Any) -> int | None:
    if hasattr(value, "num_rows"):
        return int(value.num_rows)
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__len__"):
        return None
    shape = getattr(value, "shape", None)
    return None if shape == () else len(value)


def read_array(value: Any, what: str) -> np.ndarray[Any, Any]:
    """Return an (n, ...) array of real numbers, integers or booleans."""
    raw = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    if isinstance(raw, (pd.Series, pd.Index)) or hasattr(raw, "to_numpy"):
        array = raw_array(raw, what)
    else:
        try:
            array = np.asarray(raw)
        except ValueError as error:
            raise DataError(f"{what} cannot be read as an array: {error}.") from error
    if array.dtype.kind in "iub":
        return array
    if array.ndim == 1:
        return numeric_vector(array, what)
    if array.dtype == object:
        return numeric_vector(array.ravel(), what).reshape(array.shape)
    refuse_dtype(array.dtype, what)
    return np.asarray(array, dtype=np.float64)


def read_columns(table: Any, names: list[str]) -> NamedArrays:
    """Return some columns of a table."""
    check_columns(table, names, "The function")
    arrays = {name: read_array(take_column(table, name), f"data[{name!r}]") for name in names}
    return NamedArrays(arrays, {}, frame_index(table))


class Columns(Mapping[str, Tensor]):
    """Be the data of a function on its first run: read the columns of a table that it asks for, and note which.

    Parameters
    ----------
    table : a pandas frame, a polars or pyarrow table.
    dtype : of the tensors.
    offset : whether the function gets an offset, here zeros.
    """

    def __init__(self, table: Any, dtype: torch.dtype, offset: bool = False) -> None:
        self.table, self.dtype = as_frame(table), dtype
        self.names = [str(c) for c in column_names(self.table)]
        self.beside = {"offset": torch.zeros(frame_length(self.table), dtype=dtype, device="cpu")} if offset else {}
        self.asked: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name in self.beside:
            return self.beside[name]
        if name not in self.names:
            raise OptionError(unknown("name in the data:", name, self.names))
        if name not in self.asked:
            array = next(iter(read_columns(self.table, [name]).arrays.values()))
            self.asked[name] = row_tensor(array, self.dtype, torch.device("cpu"))
        return self.asked[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a column, or the default where there is none."""
        known = name in self
        return self[name] if known else default

    def __contains__(self, name: object) -> bool:
        return name in self.names or name in self.beside

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
