"""Turn what users hand in as regressors into a float matrix with names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..config import chunk_rows
from ..errors import DataError
from ..workers import map_ranges
from .frames import column_names, take_columns
from .rows import BoolArray
from .vectors import numeric_vector, plain, refuse_dtype


def as_matrix(value: Any, what: str) -> tuple[Tensor, list[str] | None, pd.Index | None]:
    """Return an (n, k) float tensor, its column names if it has any, and its index if it has one.

    A writeable float64 array in row order is used as it is; anything else is copied once.
    """
    if isinstance(value, (pd.DataFrame, pd.Series)):
        frame = value.to_frame() if isinstance(value, pd.Series) else value
        return _from_frame(frame, what), [str(c) for c in frame.columns], frame.index
    value = plain(value, what)
    if isinstance(value, Tensor):
        return _two_dimensional(_from_tensor(value), what), None, None
    if hasattr(value, "columns") or hasattr(value, "column_names"):  # polars and pyarrow
        X, names, _ = as_matrix(take_columns(value, column_names(value)), what)
        return X, names, None
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{what} cannot be read as a matrix: {error}.") from error
    if array.dtype == object:
        array = np.column_stack([numeric_vector(c, f"{what} column {j}") for j, c in enumerate(np.atleast_2d(array.T))])
    refuse_dtype(array.dtype, what)
    return _two_dimensional(own_tensor(array), what), None, None


def own_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Return a float64 tensor over an array; read-only memory is copied, since torch cannot mark it so."""
    dense = np.ascontiguousarray(array, dtype=np.float64)
    return torch.from_numpy(dense if dense.flags.writeable else dense.copy())


def _from_tensor(value: Tensor) -> Tensor:
    if value.is_complex():
        raise DataError("A complex tensor was given. Only real numbers are allowed.")
    value = value.detach()
    if value.is_inference():  # such a tensor could not be used in a derivative
        with torch.inference_mode(False):
            value = value.clone()
    return value if value.dtype in (torch.float32, torch.float64) else value.double()


def _from_frame(frame: pd.DataFrame, what: str) -> Tensor:
    if frame.columns.has_duplicates:
        twice = sorted({str(c) for c in frame.columns[frame.columns.duplicated()]})
        raise DataError(f"{what} has columns of the same name: {', '.join(twice)}. Rename them.")
    if all(isinstance(t, np.dtype) and t.kind in "fiub" for t in frame.dtypes):
        return own_tensor(frame.to_numpy(dtype=np.float64))
    columns = [numeric_vector(frame[c], f"{what} column {c!r}") for c in frame.columns]
    return own_tensor(np.column_stack(columns))


def _two_dimensional(X: Tensor, what: str) -> Tensor:
    X = X[:, None] if X.ndim == 1 else X
    if X.ndim != 2 or X.shape[1] == 0:
        raise DataError(f"{what} has shape {tuple(X.shape)}; it must be (n, k) with at least one column.")
    return X.contiguous()


def default_names(X: Tensor) -> list[str]:
    """Return ``const`` for the first constant column and ``x1, x2, ...`` for the others, as statsmodels does."""
    sample = X[:: max(1, len(X) // 1000)]
    low, high = sample.aminmax(dim=0)
    likely = [j for j, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True)) if a == b != 0]
    constant = next((j for j in likely if len(sample) == len(X) or is_constant(X[:, j])), None)
    numbers = iter(range(1, X.shape[1] + 1))
    return ["const" if j == constant else f"x{next(numbers)}" for j in range(X.shape[1])]


def is_constant(column: Tensor) -> bool:
    """Return whether all values are the same."""

    def work(start: int, stop: int) -> bool:
        return bool((column[start:stop] == column[0]).all())

    return all(map_ranges(work, len(column), chunk_rows(1, column.device), column.device))


def missing_and_infinite(X: Tensor) -> tuple[BoolArray, BoolArray] | None:
    """Return (n, k) masks of NaN and of infinite entries, or None if all entries are finite.

    The common case costs one product: a row whose sum is finite has only finite entries.
    """
    ones = torch.ones(X.shape[1], dtype=X.dtype, device=X.device)

    def work(start: int, stop: int) -> bool:
        return bool(torch.isfinite(X[start:stop] @ ones).all())

    if all(map_ranges(work, len(X), chunk_rows(X.shape[1], X.device, X.element_size()), X.device)):
        return None
    nan, inf = torch.isnan(X).cpu().numpy(), torch.isinf(X).cpu().numpy()
    return (nan, inf) if nan.any() or inf.any() else None
