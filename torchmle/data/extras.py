"""Read what stands beside response and regressors: weights, offset, exposure, groups and other row data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, OptionError, listing
from .frames import check_columns, take_column
from .groups import read_ids
from .rows import BoolArray, Rows
from .vectors import FloatArray, align, is_missing, numeric_vector, raw_array

WeightKind = Literal["freq_weights", "var_weights", "sampling_weights"]
WEIGHT_KINDS: tuple[WeightKind, ...] = ("freq_weights", "var_weights", "sampling_weights")


@dataclass(frozen=True)
class ExtraInputs:
    """Hold what the user gave beside response and regressors: arrays, Series or column names."""

    offset: Any = None
    exposure: Any = None
    freq_weights: Any = None
    var_weights: Any = None
    sampling_weights: Any = None
    groups: Any = None
    row_data: Any = None


def named_inputs(given: ExtraInputs) -> dict[str, Any]:
    """Return what was given, by keyword: a column's name as it stands, None for arrays."""

    def named(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(k): named(v) for k, v in value.items()}
        texts = isinstance(value, Sequence) and all(isinstance(v, str) for v in value)
        return value if isinstance(value, str) else list(value) if texts else None

    found = {f.name: getattr(given, f.name) for f in fields(given)}
    return {key: named(value) for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class Weights:
    """Hold one kind of weights, a number for each row in use."""

    kind: WeightKind
    values: Tensor


@dataclass(frozen=True)
class Extras:
    """Hold the same, as arrays over all rows of the user's data."""

    offset: FloatArray | None
    weight_kind: WeightKind | None
    weights: FloatArray | None
    groups: tuple[str, np.ndarray[Any, Any]] | None
    row_data: Mapping[str, np.ndarray[Any, Any]]


def read_extras(given: ExtraInputs, frame: Any, rows: Rows) -> tuple[Extras, Rows]:
    """Return the extras over all rows, and the row account without the rows in which one is missing.

    Raises
    ------
    OptionError
        If two kinds of weights are given.
    DataError
        For weights that are negative, all zero, infinite, or, with ``freq_weights``, not whole numbers; for an
        exposure that is not positive; for lengths or labels that do not fit.
    """

    def column(value: Any, what: str) -> FloatArray:
        return numeric_vector(_resolve(value, what, frame, rows), what)

    offset, rows = _offset(given, column, rows)
    kind, weights, rows = _weights(given, column, rows)
    groups = None
    if given.groups is not None:
        groups = read_ids(given.groups, frame, rows)
        rows = rows.drop(is_missing(groups[1]), f"groups {groups[0]} missing")
    row_data, rows = _row_data(given.row_data, frame, rows)
    return Extras(offset, kind, weights, groups, row_data), rows


def _resolve(value: Any, what: str, frame: Any, rows: Rows) -> Any:
    if isinstance(value, str):
        if frame is None:
            raise DataError(f"{what}={value!r} names a column, but the model was given arrays. Pass the values.")
        check_columns(frame, [value], what)
        return take_column(frame, value)
    return align(value, what, rows.index, rows.total)


def _offset(given: ExtraInputs, column: Any, rows: Rows) -> tuple[FloatArray | None, Rows]:
    total: FloatArray | None = None
    if given.offset is not None:
        total = column(given.offset, "offset")
        rows = rows.drop(np.isnan(total), "offset missing")
    if given.exposure is not None:
        exposure = column(given.exposure, "exposure")
        rows = rows.drop(np.isnan(exposure), "exposure missing")
        if np.isinf(exposure).any():
            bad = rows.index[np.isinf(exposure)]
            raise DataError(
                f"exposure is infinite in {len(bad)} rows (e.g. row {listing(bad, 3)}). Correct these values."
            )
        if (exposure <= 0).any():
            bad = rows.index[exposure <= 0]
            raise DataError(
                f"exposure is not positive in {len(bad)} rows (e.g. row {listing(bad, 3)}), and its logarithm enters. "
                "Drop these rows or correct the exposure."
            )
        total = np.log(exposure) if total is None else total + np.log(exposure)
    return total, rows


def _weights(given: ExtraInputs, column: Any, rows: Rows) -> tuple[WeightKind | None, FloatArray | None, Rows]:
    kinds = [k for k in WEIGHT_KINDS if getattr(given, k) is not None]
    if len(kinds) > 1:
        raise OptionError(f"{' and '.join(kinds)} were given; one kind of weights is allowed at a time.")
    if not kinds:
        return None, None, rows
    kind = kinds[0]
    weights = column(getattr(given, kind), kind)
    rows = rows.drop(np.isnan(weights), f"{kind} missing")
    known = weights[~np.isnan(weights)]
    if (known < 0).any() or np.isinf(known).any():
        bad = rows.index[(weights < 0) | np.isinf(weights)]
        raise DataError(f"{kind} is negative or infinite in {len(bad)} rows (e.g. row {listing(bad, 3)}).")
    if not len(known):
        raise DataError(f"{kind} is missing in every row.")
    if not (known > 0).any():
        raise DataError(f"{kind} is zero in every row; at least one weight must be positive.")
    if kind == "freq_weights" and (known != np.round(known)).any():
        first = known[known != np.round(known)][0]
        raise DataError(
            f"freq_weights counts how often a row occurred and must be whole numbers; {first} was seen. "
            "Use sampling_weights for survey weights or var_weights for precision."
        )
    return kind, weights, rows.drop(weights == 0, f"{kind} zero")


def _row_data(given: Any, frame: Any, rows: Rows) -> tuple[dict[str, np.ndarray[Any, Any]], Rows]:
    if given is None:
        return {}, rows
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Sequence):
        given = {name: name for name in given}
    if not isinstance(given, Mapping):
        raise OptionError(f"row_data is {type(given).__name__}; it must be a dict of name to array or column name.")
    found = {}
    for name, value in given.items():
        array = _row_array(_resolve(value, f"row_data {name!r}", frame, rows), f"row_data {name!r}")
        rows = rows.drop(_missing_rows(array), f"{name} missing")
        found[str(name)] = array
    return found, rows


def _row_array(value: Any, what: str) -> np.ndarray[Any, Any]:
    """Return an (n, ...) array; integers and booleans keep their kind, so that they can index."""
    raw = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    array = raw_array(raw, what) if np.ndim(raw) < 2 or np.shape(raw)[1:] == (1,) else np.asarray(raw)
    if array.dtype.kind in "iub":
        return array
    return numeric_vector(array, what) if array.ndim == 1 else np.asarray(array, dtype=np.float64)


def _missing_rows(array: np.ndarray[Any, Any]) -> BoolArray:
    missing = is_missing(array)
    return missing if missing.ndim == 1 else np.asarray(missing.reshape(len(array), -1).any(axis=1))


def row_tensor(array: np.ndarray[Any, Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return row data as a tensor of its own: floats in the model's dtype, integers and booleans as they are."""
    if array.dtype.kind == "b":
        return torch.tensor(array, dtype=torch.bool, device=device)
    return torch.tensor(array, dtype=torch.int64 if array.dtype.kind in "iu" else dtype, device=device)
