"""Find the records of a group: by a column of the table, by row data, or by a named regressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.batch import ModelData
from ...data.frames import column_names, take_column
from ...data.vectors import is_missing
from ...errors import DataError, OptionError, listing, unknown


def members(data: ModelData, groups: Sequence[tuple[str, Any]]) -> Tensor:
    """Return the (n,) mask of the records that are in all of some groups, on the device of the data."""
    inside = np.ones(len(data.endog), dtype=bool)
    for name, value in groups:
        inside &= _equal(_column(data, name), value)
    return torch.from_numpy(inside).to(data.device)


def check_groups(data: ModelData, groups: Sequence[tuple[str, Any]]) -> None:
    """Raise for groups that nobody is in.

    Raises
    ------
    OptionError, DataError
        For a name that is no column, row data or regressor; a value that no record has; missing values.
    """
    for name, value in groups:
        column = _column(data, name)
        missing = is_missing(column)
        if missing.any():
            raise DataError(
                f"The group variable {name!r} is missing in {int(missing.sum())} of the {len(column)} rows in use. "
                "Drop these rows, or give them a value of their own."
            )
        if not _equal(column, value).any():
            seen = pd.unique(column).tolist()
            levels = listing(sorted(seen) if column.dtype.kind in "iufb" else map(repr, seen))
            raise OptionError(f"No record in use has {name}={value!r}. The values of {name!r} are {levels}.")


def _column(data: ModelData, name: str) -> np.ndarray[Any, Any]:
    """Return what the rows in use have under a name."""
    columns = [] if data.frame is None else column_names(data.frame)
    if name in columns:
        return pd.Series(data.rows.take(take_column(data.frame, name).array)).to_numpy()
    if name in data.row_data:
        values = data.row_data[name]
        if values.ndim != 1:
            raise OptionError(f"row_data {name!r} has shape {tuple(values.shape)}; a group needs one value a row.")
        return values.cpu().numpy()
    for design in data.designs.values():
        if name in design.terms:
            return design.X[:, design.terms.index(name)].cpu().numpy()
    terms = [term for design in data.designs.values() for term in design.terms]
    raise OptionError(unknown("group variable", name, dict.fromkeys([*columns, *data.row_data, *terms])))


def _equal(column: np.ndarray[Any, Any], value: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows have a value, as a number where the column has numbers and as text otherwise."""
    try:
        found = column == float(value) if column.dtype.kind in "iufb" else column.astype(str) == str(value)
    except (TypeError, ValueError):
        return np.zeros(len(column), dtype=bool)
    return np.asarray(found, dtype=bool)
