"""Read a response of several levels: text, categories and truth values become codes, numbers stay as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..errors import DataError, listing
from .frames import as_frame, check_columns, column_names, frame_index, take_column, take_columns
from .vectors import is_missing, plain

Labels = tuple[Any, ...]


def code_levels(value: Any, what: str) -> tuple[Any, Labels | None]:
    """Return codes from 0 for a response of labels, NaN where missing, with the labels; numbers as they are, and None.

    Categories keep their order, text is sorted, False comes before True. Labels of rows and a name are kept.

    Raises
    ------
    DataError
        If text is mixed with other values.
    """
    if isinstance(value, torch.Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiucmM"):
        return value, None
    if isinstance(value, pd.DataFrame) and value.shape[1] == 1:
        value = value.iloc[:, 0]
    series = value if isinstance(value, pd.Series) else _as_series(value, what)
    if series is None:
        return value, None
    if isinstance(series.dtype, pd.CategoricalDtype):
        labels = tuple(series.cat.categories.tolist())
        codes = series.cat.codes.to_numpy(dtype=np.float64)
        return pd.Series(np.where(codes < 0, np.nan, codes), index=series.index, name=series.name), labels
    if pd.api.types.is_bool_dtype(series.dtype):
        return series.astype("boolean").astype("Float64").astype(np.float64), (False, True)
    if pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_datetime64_any_dtype(series.dtype):
        return value, None
    return _code_objects(series, what, value)


def _as_series(value: Any, what: str) -> pd.Series | None:
    """Return a one-dimensional list, array, Categorical or column as a Series; None for anything else."""
    if isinstance(value, (pd.Categorical, pd.Index)):
        return pd.Series(value)
    if isinstance(value, (list, tuple)):  # numpy would turn numbers among text into text
        value = np.asarray(value, dtype=object)
    array = np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else plain(value, what))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "bOUST":
        return None
    return pd.Series(array if array.dtype.kind == "b" else array.astype(object))


def _code_objects(series: pd.Series, what: str, given: Any) -> tuple[Any, Labels | None]:
    missing = is_missing(series.to_numpy(dtype=object))
    seen = series.to_numpy(dtype=object)[~missing]
    text = [isinstance(v, str) for v in seen]
    if not any(text):
        return given, None
    if not all(text):
        other = next(v for v, is_text in zip(seen, text, strict=True) if not is_text)
        raise DataError(f"{what} mixes text and other values (e.g. {other!r}). Make it one or the other first.")
    labels, positions = np.unique(seen.astype(str), return_inverse=True)
    codes = np.full(len(series), np.nan)
    codes[~missing] = positions
    return pd.Series(codes, index=series.index, name=series.name), tuple(labels.tolist())


def code_response(formula: str, data: Any) -> tuple[str, Any, Labels | None]:
    """Return formula and table with codes in the place of a response of labels, and the labels.

    A response that is a column, or ``C(column)``, may hold labels; other expressions have to give numbers.
    """
    left, bar, right = formula.partition("~")
    given = left.strip()
    name = re.sub(r"^C\((.*)\)$", r"\1", given).strip().strip("`")
    table = as_frame(data)
    if not bar or name not in map(str, column_names(table)):
        return formula, data, None
    check_columns(table, [name], "The formula")
    column = take_column(table, name)
    codes, labels = code_levels(column, f"The response {name!r}")
    if given.startswith("C("):
        formula = f"{given[2:-1].strip()} ~{right}"
    if labels is None:
        return formula, data, None
    frame = table if isinstance(table, pd.DataFrame) else take_columns(table, map(str, column_names(table)))
    values = np.asarray(codes, dtype=np.float64)
    return formula, frame.assign(**{name: pd.Series(values, index=frame_index(frame))}), labels


def label_of(value: float) -> int | float:
    """Return a numeric level, whole numbers without a point."""
    return int(value) if value == round(value) else value


def refuse_unseen(seen: Sequence[bool], labels: Labels, what: str) -> None:
    """Raise unless there are two levels, each seen in some row in use."""
    unseen = [label for label, there in zip(labels, seen, strict=True) if not there]
    if len(labels) - len(unseen) < 2:
        only = listing(repr(label) for label in labels if label not in unseen)
        raise DataError(f"{what} is {only} in every row in use, so there is no estimate. Two levels are needed.")
    if unseen:
        raise DataError(
            f"{what} has the level {listing(map(repr, unseen))} in no row in use, so that its coefficients have no "
            "estimate. Leave such levels out (.cat.remove_unused_categories()), or use the rows that have them."
        )
