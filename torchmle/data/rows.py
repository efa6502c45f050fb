"""Keep account of which rows of the user's data enter the model, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, listing

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Rows:
    """Hold the one row mask for everything that enters a model.

    Attributes
    ----------
    index : labels of all rows of the user's data.
    used : (n,) mask of the rows in use, or None while all are.
    causes : how many rows each cause removed, in the order in which they were looked at.
    """

    index: pd.Index
    used: BoolArray | None = None
    causes: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Return the number of rows of the user's data."""
        return len(self.index)

    @property
    def count(self) -> int:
        """Return the number of rows in use."""
        return self.total if self.used is None else int(self.used.sum())

    @property
    def labels(self) -> pd.Index:
        """Return the labels of the rows in use."""
        return self.index if self.used is None else self.index[self.used]

    def take(self, values: Any) -> Any:
        """Return the rows in use of an array, a Series, a frame or a tensor."""
        if self.used is None:
            return values
        return values.loc[self.used] if isinstance(values, (pd.Series, pd.DataFrame)) else values[self.used]

    def drop(self, bad: BoolArray, cause: str) -> Rows:
        """Return the account with some rows (given over all rows) taken out for a cause."""
        used = np.ones(self.total, dtype=bool) if self.used is None else self.used
        new = used & bad
        count = int(new.sum())
        if not count:
            return self
        return replace(self, used=used & ~new, causes={**self.causes, cause: self.causes.get(cause, 0) + count})

    def drop_among_used(self, bad: BoolArray, cause: str) -> Rows:
        """Return the account with some rows taken out, given as a mask over the rows in use."""
        if self.used is None:
            return self.drop(bad, cause)
        full = np.zeros(self.total, dtype=bool)
        full[self.used] = bad
        return self.drop(full, cause)

    def settle(self, missing: str) -> None:
        """Raise if rows were lost and the user wants to hear of it, or if none is left."""
        lost = {c: k for c, k in self.causes.items() if not c.endswith(" zero")}
        text = ", ".join(f"{c}: {k}" for c, k in self.causes.items())
        if missing == "raise" and lost:
            raise DataError(
                f"missing='raise', and {sum(lost.values())} of {self.total} rows have missing values ({text}). "
                "Drop or fill them, or use missing='drop'."
            )
        if self.count == 0:
            raise DataError(f"No row is left of {self.total}: {text or 'the data are empty'}.")


def refuse_infinite(values: np.ndarray[Any, Any], what: str, labels: pd.Index) -> None:
    """Raise if a vector over the rows in use holds an infinite value, naming the rows."""
    bad = np.isinf(values)
    if bad.any():
        raise DataError(
            f"{what} is infinite in {int(bad.sum())} of {len(values)} rows (e.g. row {listing(labels[bad], 3)}). "
            "Recode or remove these values; infinite values are never dropped silently."
        )
