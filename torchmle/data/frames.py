"""Bring tables of any kind to a pandas frame of the columns in use, checked for what formulas do silently."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, DataWarning, listing, nearest, warn
from .vectors import is_missing, numeric_vector, refuse_dtype


def as_frame(data: Any) -> Any:
    """Return a table that :func:`take_columns` can read; dicts of columns become frames.

    Raises
    ------
    DataError
        For a lazy frame (collect it first), an array (use the plain constructor), or an empty table.
    """
    if isinstance(data, Mapping):
        try:
            data = pd.DataFrame(dict(data))
        except ValueError as error:
            raise DataError(f"data is a dict that makes no table: {error}. Give columns of the same length.") from error
    kind = type(data).__name__
    if kind == "LazyFrame":
        raise DataError("data is a LazyFrame; call .collect() first.")
    if isinstance(data, np.ndarray) or not (hasattr(data, "columns") or hasattr(data, "column_names")):
        raise DataError(
            f"data is a {type(data).__module__}.{kind}; from_formula needs a data frame (pandas, polars or pyarrow) "
            "or a dict of columns. For arrays use Model(endog, exog)."
        )
    if frame_length(data) == 0:
        raise DataError(f"The data frame is empty: 0 rows, {len(column_names(data))} columns.")
    return data


def frame_length(data: Any) -> int:
    """Return the number of rows."""
    return int(data.num_rows) if hasattr(data, "num_rows") else len(data)


def column_names(data: Any) -> list[str]:
    """Return the column names as they stand."""
    return list(data.column_names) if hasattr(data, "column_names") else list(data.columns)


def frame_index(data: Any) -> pd.Index:
    """Return the row labels; polars and pyarrow tables are numbered from 0."""
    return data.index if isinstance(data, pd.DataFrame) else pd.RangeIndex(frame_length(data))


def check_columns(data: Any, wanted: Iterable[str], where: str) -> None:
    """Raise if a wanted column is absent or stands twice in the frame."""
    have = column_names(data)
    times = Counter(have)
    for name in wanted:
        count = times[name]
        if count == 0:
            raise DataError(
                f"{where} uses {name!r}, which is no column of the data.{nearest(name, map(str, have))} "
                f"Columns: {listing(have, 20)}."
            )
        if count > 1:
            raise DataError(f"The data have {count} columns named {name!r}. Rename them so that the name is unique.")


def take_column(data: Any, name: str) -> pd.Series:
    """Return one column as a pandas Series with the frame's labels."""
    if isinstance(data, pd.DataFrame):
        return data[name]
    if type(data).__module__.startswith("pyarrow"):
        return pd.Series(data.column(name).to_pandas())
    column = data[name]
    kind = str(column.dtype)
    if kind.startswith("Enum"):  # an Enum has an order; a polars Categorical only has that of its rows
        return pd.Series(pd.Categorical(column.to_list(), categories=list(column.dtype.categories)))
    if kind.startswith(("Categorical", "String", "Struct", "List", "Array", "Object", "Binary")):
        return pd.Series(column.to_list(), dtype=object)
    if kind == "Boolean" and column.null_count():
        return pd.Series(column.to_list(), dtype="boolean")
    return pd.Series(column.to_numpy())


def take_columns(data: Any, names: Iterable[str]) -> pd.DataFrame:
    """Return a new frame of some columns; the user's own frame is never written to."""
    columns = {name: take_column(data, name) for name in names}
    frame = pd.DataFrame(columns, index=frame_index(data) if isinstance(data, pd.DataFrame) else None)
    return frame


def prepare(frame: pd.DataFrame, categorical: set[str], arithmetic: set[str]) -> pd.DataFrame:
    """Return the frame with every column in a form in which a formula does what it says.

    Integers become float64 (``x ** 2`` cannot overflow) unless the column is used as a category; nullable and
    object columns that hold numbers become float64; unused levels go; dates, complex numbers and numbers stored
    as text are refused.

    Parameters
    ----------
    categorical : names used inside ``C(...)``, whose values name levels and must stay as they are.
    arithmetic : names used in other expressions, in which a bool counts as 0 or 1.
    """
    columns = {n: _prepare_column(column, n in categorical, n in arithmetic) for n, column in frame.items()}
    return pd.DataFrame(columns, index=frame.index)


def _prepare_column(series: pd.Series, categorical: bool, arithmetic: bool) -> Any:
    name, dtype = f"Column {series.name!r}", series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return series.cat.remove_unused_categories()
    if isinstance(dtype, np.dtype) and dtype.kind in "mMc":
        refuse_dtype(dtype, name)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        refuse_dtype(np.dtype("M8[ns]"), name)
    text = isinstance(dtype, (pd.StringDtype, pd.ArrowDtype)) and not pd.api.types.is_numeric_dtype(dtype)
    if text and not pd.api.types.is_bool_dtype(dtype):
        series, dtype = series.astype(object), np.dtype(object)
    if pd.api.types.is_bool_dtype(dtype) and not series.isna().any():
        return series.astype(np.float64 if arithmetic and not categorical else bool)
    if categorical:
        return series.astype(np.int64) if pd.api.types.is_integer_dtype(dtype) and arithmetic else series
    if pd.api.types.is_numeric_dtype(dtype):
        return numeric_vector(series, name)
    return _prepare_objects(series, name)


def _prepare_objects(series: pd.Series, name: str) -> Any:
    """Pass text on as categories, convert numbers with a warning, refuse numbers stored as text."""
    seen = series[~is_missing(series.to_numpy(dtype=object))]
    if not len(seen):
        raise DataError(f"{name} has no value that is not missing.")
    text = [isinstance(v, str) for v in seen]
    if all(text):
        if len(pd.to_numeric(seen, errors="coerce").dropna()) == len(seen):
            raise DataError(
                f"{name} holds numbers stored as text (e.g. {seen.iloc[0]!r}). "
                "Convert it with pd.to_numeric, or write C(...) to use it as categories."
            )
        return series
    if any(text):
        other = next(v for v, is_text in zip(seen, text, strict=True) if not is_text)
        raise DataError(f"{name} mixes text and other values (e.g. {other!r}). Make it one or the other first.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        values = numeric_vector(series, name)
    warn(f"{name} has object dtype but holds numbers; it was converted to float64.", DataWarning)
    return pd.Series(values, index=series.index)
