"""Turn cluster ids into codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, listing
from .frames import check_columns, take_column
from .rows import Rows
from .vectors import align, is_missing, raw_array


@dataclass(frozen=True)
class Groups:
    """Hold one code a row (0 .. count - 1) and the name under which the groups were given."""

    name: str
    codes: np.ndarray[Any, np.dtype[np.int64]]
    count: int


def read_ids(value: Any, frame: Any, rows: Rows) -> tuple[str, np.ndarray[Any, Any]]:
    """Return the name and the ids of all rows, for groups given as a column name, a Series or an array."""
    if isinstance(value, str):
        if frame is None:
            raise DataError(
                f"groups={value!r} names a column, but the model was given arrays. Pass the ids themselves."
            )
        check_columns(frame, [value], "groups")
        return value, raw_array(take_column(frame, value), f"groups {value!r}")
    name = str((value.name if isinstance(value, pd.Series) else None) or "groups")
    return name, raw_array(align(value, "groups", rows.index, rows.total), "groups")


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
    """Return the groups given to ``fit`` or ``with_cov``, after the model's rows were fixed.

    Ids are as long as the original data and go through the model's row mask; ids as long as the rows in use
    are accepted only where nothing was dropped.

    Raises
    ------
    DataError
        If the length is another, or an id is missing among the rows in use.
    """
    if not isinstance(value, str) and not hasattr(value, "__len__"):
        raise DataError(f"groups is {type(value).__name__}; give a column name, a Series or an array of ids.")
    unlabelled = not isinstance(value, (str, pd.Series, pd.DataFrame))
    if unlabelled and len(value) == rows.count != rows.total:
        raise DataError(
            f"groups has {len(value)} rows, as many as were used, but {rows.total - rows.count} of the "
            f"{rows.total} rows of the data were dropped. Pass the ids of all {rows.total} rows, a Series with the "
            "data's index, or a column name; the model drops the same rows."
        )
    if isinstance(value, pd.Series) and not rows.labels.difference(value.index).size:
        name = str(value.name or "groups")
        kept = raw_array(align(value, "groups", rows.labels, rows.count), "groups")
    else:
        name, ids = read_ids(value, frame, rows)
        kept = rows.take(ids)
    missing = is_missing(kept)
    if missing.any():
        raise DataError(
            f"groups {name!r} is missing in {int(missing.sum())} of the rows in use (e.g. row "
            f"{listing(rows.labels[missing], 3)}). Give groups= when you build the model, and these rows are dropped."
        )
    return encode(name, kept)
