"""Let the rows of a model go: what is left has their shapes and names, and says so when it is asked for more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import NoDataError
from .batch import ModelData
from .rows import BoolArray, Rows


def no_rows(what: str) -> NoDataError:
    """Return the error for what cannot be done without rows."""
    return NoDataError(
        f"{what} needs the rows of the fit, and these results are without them: saved without data, or made by "
        "lean(). Keep them with save(path, data=True)."
    )


class Absent(Tensor):
    """Be a tensor whose values are gone: it has shape, dtype and device, and any use of it is a clear error."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func in _KNOWN:
            return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        raise no_rows("This")

    def __deepcopy__(self, memo: Any) -> Absent:
        return absent(tuple(self.shape), self.dtype)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return absent, (tuple(self.shape), self.dtype)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"<absent tensor, shape {tuple(self.shape)}>"


_KNOWN = {
    getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_mps")
} | {Tensor.__len__, Tensor.size, Tensor.dim, Tensor.numel, Tensor.is_floating_point, Tensor.element_size}
"""What can be asked of a tensor without its values."""


def absent(shape: Sequence[int], dtype: torch.dtype) -> Absent:
    """Return a tensor without values; it takes no memory."""
    return torch.zeros((), dtype=dtype, device="cpu").expand(tuple(shape)).as_subclass(Absent)


@dataclass(frozen=True)
class CountedRows(Rows):
    """Be the account of rows of which only the numbers are known."""

    known_total: int = 0
    known_count: int = 0

    @property
    def total(self) -> int:
        """Return the number of rows of the user's data."""
        return self.known_total

    @property
    def count(self) -> int:
        """Return the number of rows that were in use."""
        return self.known_count

    @property
    def labels(self) -> pd.Index:
        """Raise: labels went with the rows."""
        raise no_rows("A row label")

    def take(self, values: Any) -> Any:
        """Raise: which rows were used went with them."""
        raise no_rows("This")

    def drop(self, bad: BoolArray, cause: str) -> Rows:
        """Raise: there are no rows to drop."""
        raise no_rows("This")


def has_rows(data: ModelData) -> bool:
    """Return whether the rows are there."""
    return not isinstance(data.endog, Absent)


def need_rows(data: ModelData, what: str) -> None:
    """Raise, naming what was asked for, if the rows are gone."""
    if not has_rows(data):
        raise no_rows(what)


def _gone(tensor: Tensor) -> Tensor:
    return absent(tensor.shape, tensor.dtype)


def without_rows(data: ModelData) -> ModelData:
    """Return the data of a model less everything that has rows."""
    rows = data.rows
    codes = np.empty(0, dtype=np.int64)
    return replace(
        data,
        endog=_gone(data.endog),
        designs={name: replace(design, X=_gone(design.X)) for name, design in data.designs.items()},
        offset=None if data.offset is None else _gone(data.offset),
        weights=None if data.weights is None else replace(data.weights, values=_gone(data.weights.values)),
        groups=None if data.groups is None else replace(data.groups, codes=codes),
        row_data={name: _gone(value) for name, value in data.row_data.items()},
        rows=CountedRows(pd.RangeIndex(0), None, rows.causes, rows.total, rows.count),
        frame=None,
    )
