"""Turn dates and numbers into periods, so that lags count time and not rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from .groups import late_values
from .rows import Rows

LONGEST = 2**36
"""Periods between the first and the last row that are still counted without overflow."""


@dataclass(frozen=True)
class Times:
    """Hold one period a row, from 0 on, and what a step is.

    Attributes
    ----------
    name : the column, or what the times were called.
    periods : (n,) whole numbers.
    unit : what one period is, in words; empty where it is one of the numbers given.
    """

    name: str
    periods: np.ndarray[Any, np.dtype[np.int64]]
    unit: str

    @property
    def distinct(self) -> int:
        """Return how many periods have rows."""
        return len(np.unique(self.periods))

    @property
    def gaps(self) -> int:
        """Return how many periods between the first and the last one have no row."""
        return int(self.periods.max()) + 1 - self.distinct

    @property
    def words(self) -> str:
        """Return the name, and what a period is where the values do not say it."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


def late_times(value: Any, frame: Any, rows: Rows) -> Times:
    """Return the periods of the rows in use, for a column name, a Series or an array.

    Whole numbers are counted in their greatest common step, so that a year without rows is a gap. Dates and fractions
    are counted by rank: the distinct values follow each other.

    Raises
    ------
    DataError
        For text, missing or infinite values.
    """
    name, values = late_values(value, "time", frame, rows)
    if values.dtype == object:
        values = _from_objects(name, values)
    if values.dtype.kind not in "iufM":
        raise DataError(f"time {name!r} holds {values.dtype}; give whole numbers or dates.")
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise DataError(f"time {name!r} is infinite in {int(np.isinf(values).sum())} rows; a time must be finite.")
    if values.dtype.kind == "M" or (values.dtype.kind == "f" and (values != np.round(values)).any()):
        _, ranks = np.unique(values, return_inverse=True)
        return Times(name, ranks.astype(np.int64).ravel(), "distinct values in their order")
    if float(values.max()) - float(values.min()) > LONGEST:
        raise DataError(f"time {name!r} spans {float(values.max()) - float(values.min()):.3g}; give periods or dates.")
    since = (values - values.min()).astype(np.int64)
    step = max(1, int(np.gcd.reduce(since)))
    return Times(name, since // step, "" if step == 1 else f"in steps of {step}")


def _from_objects(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return dates or whole numbers of what pandas keeps as objects."""
    if all(isinstance(v, pd.Period) for v in values):
        return np.array([v.ordinal for v in values], dtype=np.int64)
    if any(isinstance(v, (str, bytes)) for v in values):
        raise DataError(f"time {name!r} holds text (e.g. {values[0]!r}); use pd.to_datetime or whole numbers.")
    try:
        return np.asarray(pd.to_datetime(values), dtype="M8[ns]") if not _numbers(values) else values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"time {name!r} cannot be read as dates or numbers: {error}.") from error


def _numbers(values: np.ndarray[Any, Any]) -> bool:
    return all(isinstance(v, (int, float, np.number)) for v in values)
