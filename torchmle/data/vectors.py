"""Turn what users hand in as one column into a float vector, refusing what would be guesswork."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from ..errors import DataError, DataWarning, listing, warn

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


def raw_array(value: Any, what: str) -> np.ndarray[Any, Any]:
    """Return any array-like as a numpy array, (n, 1) flattened, without copying where possible."""
    value = plain(value, what)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    elif isinstance(value, (pd.Series, pd.Index)):
        value = _from_pandas(value)
    elif isinstance(value, pd.DataFrame):
        value = _from_pandas(value.iloc[:, 0]) if value.shape[1] == 1 else value.to_numpy()
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    array = _as_array(value, what)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(f"{what} has shape {array.shape}; it must be one column, (n,) or (n, 1).")
    return array


def plain(value: Any, what: str) -> Any:
    """Return what can be read as an array; sparse and storage-less things are refused, masked entries become NaN."""
    if type(value).__module__.startswith("scipy.sparse"):
        raise DataError(f"{what} is a sparse {type(value).__name__}. Give it dense, e.g. with .toarray().")
    if isinstance(value, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(value), np.nan, np.asarray(value.data, dtype=np.float64))
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided:
            raise DataError(f"{what} is a sparse tensor. Give it dense, with .to_dense().")
        if value.device.type == "meta":
            raise DataError(f"{what} is a tensor on the meta device, which holds no values.")
        if value.dtype in (torch.bfloat16, torch.float16):
            return value.float()
    return value


def _as_array(value: Any, what: str) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} is {type(value).__name__} and cannot be read as an array: {error}.") from error


def _from_pandas(series: Any) -> np.ndarray[Any, Any]:
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return np.asarray(series, dtype=object)
    if pd.api.types.is_extension_array_dtype(dtype) and pd.api.types.is_numeric_dtype(dtype):
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(series.to_numpy())


def numeric_vector(value: Any, what: str) -> FloatArray:
    """Return a float64 vector; missing values become NaN.

    Numbers kept in an object column are converted with a warning; text, dates and complex numbers are refused.
    """
    array = raw_array(value, what)
    if array.dtype == object:
        return _from_objects(array, what)
    refuse_dtype(array.dtype, what)
    return np.asarray(array, dtype=np.float64)


def refuse_dtype(dtype: Any, what: str) -> None:
    """Raise for a dtype that is no real number."""
    kind = np.dtype(dtype).kind if isinstance(dtype, np.dtype) else "O"
    if kind in "mM":
        raise DataError(
            f"{what} holds dates or durations ({dtype}). Turn it into a number first, e.g. (x - x.min()).dt.days."
        )
    if kind == "c":
        raise DataError(f"{what} is complex ({dtype}). Only real numbers are allowed; take .real or abs() first.")
    if kind in "USV":
        raise DataError(f"{what} holds text ({dtype}). Use pd.to_numeric for numbers, or C(...) in a formula.")


def is_missing(array: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which entries are None, NaN, NaT or pd.NA."""
    return np.asarray(pd.isna(array), dtype=bool)


def _from_objects(array: np.ndarray[Any, Any], what: str) -> FloatArray:
    missing = is_missing(array)
    seen = array[~missing]
    text = [v for v in seen if isinstance(v, (str, bytes))]
    if text:
        raise DataError(
            f"{what} holds text (object dtype, e.g. {listing(map(repr, dict.fromkeys(text)), 3)}). "
            "Use pd.to_numeric for numbers, or C(...) in a formula."
        )
    out = np.full(len(array), np.nan)
    try:
        out[~missing] = [float(v) for v in seen]
    except (TypeError, ValueError) as error:
        kinds = listing(sorted({type(v).__name__ for v in seen}), 4)
        raise DataError(f"{what} holds objects ({kinds}) that are not real numbers.") from error
    if len(seen) and not all(isinstance(v, (bool, np.bool_)) for v in seen):
        message = f"{what} has object dtype but holds numbers; it was converted to float64."
        warn(message, DataWarning)
    return out


def align(value: Any, what: str, index: pd.Index | None, n: int) -> Any:
    """Return ``value`` in the order of the model's rows: by label where it carries an index.

    Raises
    ------
    DataError
        If lengths differ, labels are missing, or a label is not unique and the indexes are not identical.
    """
    own = getattr(value, "index", None)
    if index is None or not isinstance(own, pd.Index) or not isinstance(value, (pd.Series, pd.DataFrame)):
        length = len(value) if hasattr(value, "__len__") else None
        if length != n:
            raise DataError(f"{what} has {length} rows, but the data have {n}.")
        return value
    if own.equals(index):
        return value
    if not own.is_unique or not index.is_unique:
        raise DataError(
            f"{what} carries an index that differs from the data's and is not unique, so rows cannot be matched "
            "by label. Use reset_index(drop=True) on both if their rows are in the same order."
        )
    absent = index.difference(own)
    if len(absent):
        raise DataError(
            f"{what} is aligned by its index, and {len(absent)} of the {n} rows have no label in it "
            f"(e.g. {listing(absent, 3)}). Give it the data's index, or pass .to_numpy() to match by position."
        )
    return value.reindex(index)
