"""Take labels and columns of pandas apart into arrays and lists, and put them together again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError

Plain = Mapping[str, Any]


def index_to_plain(index: pd.Index) -> Plain:
    """Return the labels of rows as plain values.

    Raises
    ------
    DataError
        For labels of a kind that a file cannot hold.
    """
    if isinstance(index, pd.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "name": index.name}
    if isinstance(index, pd.MultiIndex):
        levels = [index_to_plain(index.get_level_values(i)) for i in range(index.nlevels)]
        return {"levels": levels, "names": list(index.names)}
    return {"values": column_to_plain(pd.Series(index.array, dtype=index.dtype)), "name": index.name}


def plain_to_index(plain: Plain) -> pd.Index:
    """Return the labels of such values."""
    if "range" in plain:
        start, stop, step = plain["range"]
        return pd.RangeIndex(start, stop, step, name=plain["name"])
    if "levels" in plain:
        levels = [plain_to_index(level) for level in plain["levels"]]
        return pd.MultiIndex.from_arrays(levels, names=plain["names"])
    dtype = object if "objects" in plain["values"] else None  # text alone would become strings
    index: pd.Index = pd.Index(plain_to_column(plain["values"]), dtype=dtype, name=plain["name"])
    return index


def column_to_plain(column: pd.Series) -> Plain:
    """Return a column as an array of numbers, or as a list and the name of its dtype.

    Raises
    ------
    DataError
        For a dtype that a file cannot hold.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = np.asarray(column.cat.codes, dtype=np.int64)
        return {"categories": index_to_plain(dtype.categories), "codes": codes, "ordered": bool(dtype.ordered)}
    if isinstance(dtype, np.dtype) and dtype.kind in "iufbmM":
        return {"array": column.to_numpy().copy()}
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        return {"objects": column.tolist()}
    if isinstance(dtype, pd.DatetimeTZDtype):
        return {"utc": column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), "zone": str(dtype.tz)}
    if isinstance(dtype, pd.StringDtype) or pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        missing = column.isna().to_numpy(dtype=bool)
        values = [None if gone else _plain(v) for v, gone in zip(column.tolist(), missing, strict=True)]
        return {"list": values, "dtype": str(dtype)}
    raise DataError(f"A column or index of the dtype {dtype} cannot be stored; convert it, or reset_index() first.")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def plain_to_column(plain: Plain) -> Any:
    """Return the values of such a column."""
    if "categories" in plain:
        levels = plain_to_index(plain["categories"])
        return pd.Categorical.from_codes(plain["codes"], categories=levels, ordered=plain["ordered"])
    if "array" in plain:
        return plain["array"]
    if "objects" in plain:
        out = np.empty(len(plain["objects"]), dtype=object)
        out[:] = plain["objects"]
        return pd.Series(out, dtype=object).array  # an array of text alone would become a column of strings
    if "utc" in plain:
        return pd.DatetimeIndex(plain["utc"]).tz_localize("UTC").tz_convert(plain["zone"]).array
    return pd.array(plain["list"], dtype=plain["dtype"])
