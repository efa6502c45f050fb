"""Turn cluster ids into codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from ..errors import DataError, listing
from .frames import check_columns, column_names, take_column
from .rows import Rows
from .vectors import align, is_missing, raw_array


@dataclass(frozen=True)
class Groups:
    """Hold one code a row (0 .. count - 1) and the name under which the groups were given."""

    name: str
    codes: np.ndarray[Any, np.dtype[np.int64]]
    count: int


def read_ids(value: Any, frame: Any, rows: Rows, what: str = "groups") -> tuple[str, np.ndarray[Any, Any]]:
    """Return the name and the ids of all rows, for groups given as a column name, a Series or an array."""
    if isinstance(value, str):
        if frame is None:
            raise DataError(
                f"{what}={value!r} names a column, but the model was given arrays. Pass the ids themselves."
            )
        check_columns(frame, [value], what)
        return value, raw_array(take_column(frame, value), f"{what} {value!r}")
    name = str((value.name if isinstance(value, pd.Series) else None) or what)
    return name, raw_array(align(value, what, rows.index, rows.total), what)


def encode(name: str, ids: np.ndarray[Any, Any]) -> Groups:
    """Return the codes of the ids of the rows in use; there must be two groups at least."""
    if ids.dtype.kind == "f" and np.isinf(ids).any():
        raise DataError(f"groups {name!r} is infinite in {int(np.isinf(ids).sum())} rows; an id must be finite.")
    codes, levels = pd.factorize(ids, sort=False)
    if len(levels) < 2:
        raise DataError(
            f"groups {name!r} has {len(levels)} distinct value among the rows in use; clustering needs two."
        )
    return Groups(name, codes.astype(np.int64), len(levels))


def late_groups(value: Any, frame: Any, rows: Rows) -> Groups:
    """Return the groups given to ``fit`` or ``with_cov``; see :func:`late_values`."""
    return encode(*late_values(value, "groups", frame, rows))


def late_values(value: Any, what: str, frame: Any, rows: Rows) -> tuple[str, np.ndarray[Any, Any]]:
    """Return name and values, for the rows in use, of what was given after the model's rows were fixed.

    Values are as long as the original data and go through the model's row mask; values as long as the rows in use
    are accepted only where nothing was dropped.

    Raises
    ------
    DataError
        If the length is another, or a value is missing among the rows in use.
    """
    if not isinstance(value, str) and not hasattr(value, "__len__"):
        raise DataError(f"{what} is {type(value).__name__}; give a column name, a Series or an array of ids.")
    unlabelled = not isinstance(value, (str, pd.Series, pd.DataFrame))
    if unlabelled and len(value) == rows.count != rows.total:
        raise DataError(
            f"{what} has {len(value)} rows, as many as were used, but {rows.total - rows.count} of the "
            f"{rows.total} rows of the data were dropped. Pass the ids of all {rows.total} rows, a Series with the "
            "data's index, or a column name; the model drops the same rows."
        )
    if isinstance(value, pd.Series) and not rows.labels.difference(value.index).size:
        name = str(value.name or what)
        kept = raw_array(align(value, what, rows.labels, rows.count), what)
    else:
        name, ids = read_ids(value, frame, rows, what)
        kept = rows.take(ids)
    missing = is_missing(kept)
    if missing.any():
        cure = "Give groups= when you build the model, and these rows are dropped."
        raise DataError(
            f"{what} {name!r} is missing in {int(missing.sum())} of the rows in use (e.g. row "
            f"{listing(rows.labels[missing], 3)}). "
            f"{cure if what == 'groups' else 'Drop these rows from the data, or fill the values.'}"
        )
    return name, kept


def late_ways(value: Any, frame: Any, rows: Rows) -> tuple[Groups, ...]:
    """Return one or several sets of groups: several names, several arrays, or a table or an array of columns."""
    found = [late_groups(one, frame, rows) for one in split_columns(value, frame, rows, "groups")]
    if len(found) > 1:  # arrays have no names
        found = [replace(g, name=f"groups {j}") if g.name == "groups" else g for j, g in enumerate(found, 1)]
    return tuple(found)


def split_columns(value: Any, frame: Any, rows: Rows, what: str) -> list[Any]:
    """Return the single columns of what may be one column or several; a text is the name of a column."""
    if isinstance(value, pd.DataFrame):
        return [value[name] for name in value.columns]
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim == 2:
        return list(value.T)
    if not isinstance(value, (list, tuple)):
        return [value]
    if not len(value):
        raise DataError(f"{what} is empty; give a column name, an array of ids, or several of them.")
    names = all(isinstance(v, str) for v in value)
    if names and (len(value) not in (rows.total, rows.count) or _are_columns(value, frame)):
        return list(value)
    if not names and all(isinstance(v, str) or np.ndim(v) == 1 for v in value):
        return list(value)
    return [value]


def _are_columns(names: Sequence[str], frame: Any) -> bool:
    return frame is not None and set(names) <= set(column_names(frame))


def intersect(ways: Sequence[Groups]) -> Groups:
    """Return the groups of rows that are together in each of several."""
    first, *rest = ways
    for other in rest:
        codes, levels = pd.factorize(first.codes * other.count + other.codes, sort=False)
        first = Groups(f"{first.name} x {other.name}", codes.astype(np.int64), len(levels))
    return first
