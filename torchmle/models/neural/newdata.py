"""Bring new records to a module: a table, arrays like those of the fit, or one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.batch import ModelData
from ...data.extras import row_tensor
from ...data.frames import as_frame, check_columns, column_names, take_column
from ...data.rows import Rows
from ...data.vectors import plain
from ...errors import DataError, OptionError, unknown
from ...results.estimates import Estimates
from ...results.predict import target_of


def new_records(results: Estimates, rank: int, exog: Any, new: Mapping[str, Any]) -> tuple[ModelData, pd.Index]:
    """Return the data of the records to predict, and the labels of all, those with missing regressors included.

    Parameters
    ----------
    rank : dimensions of ``exog`` in the fit; an array of one dimension less is one record.
    new : offset and row data of the new records, by name.
    """
    data = results.model.data
    own = {name: value for name, value in new.items() if name in data.row_data and name != "exog"}
    rest = {name: value for name, value in new.items() if name not in own}
    for name in rest:
        if name != "offset":
            raise OptionError(unknown("argument of predict:", name, ["exog", "which", "offset", *data.row_data]))
    if exog is None and not new:
        return target_of(results, None, {})
    if data.formulas is not None or data.designs:
        single = data.formulas is None and np.ndim(exog) == rank - 1
        target, index = target_of(results, _as_one(exog) if single else exog, rest)
        target = replace(target, weights=None, groups=None)
        own |= _of_table(data, exog, own)
    else:
        target, index = _array_data(data, rank, exog, rest)
    return _with_row_data(target, data, own, exog is None), index


def _as_one(record: Any) -> Any:
    value = record.detach().cpu().numpy() if isinstance(record, Tensor) else np.asarray(record)
    return value[None] if value.ndim else value.reshape(1)


def _of_table(data: ModelData, exog: Any, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return row data that were columns of the table of the fit, and are columns of the new one."""
    if data.formulas is None:
        return {}
    named = data.given.get("row_data")
    columns = (
        named if isinstance(named, Mapping) else {n: n for n in ([named] if isinstance(named, str) else named or ())}
    )
    frame = as_frame(exog)
    found = {k: v for k, v in columns.items() if isinstance(v, str) and k not in own and v in column_names(frame)}
    for column in found.values():
        check_columns(frame, [column], "predict")
    return {name: np.asarray(take_column(frame, column)) for name, column in found.items()}


def _array_data(data: ModelData, rank: int, exog: Any, new: Mapping[str, Any]) -> tuple[ModelData, pd.Index]:
    """Return the data of records whose ``exog`` is one array, or which have row data only."""
    if new:
        raise OptionError("predict() takes an offset where there are columns of exog only; give it as row_data.")
    if "exog" not in data.row_data:
        if exog is not None:
            raise OptionError(f"The model has no exog; give {', '.join(data.row_data) or 'nothing'} by name.")
        return data, pd.RangeIndex(0)
    if exog is None:
        raise OptionError("predict() got row data without exog; give both.")
    value = _tensor(exog, "exog", data, torch.float64)
    shape = data.row_data["exog"].shape[1:]
    value = value[None] if value.ndim == rank - 1 else value
    if value.shape[1:] != shape:
        raise DataError(f"A record of exog has shape {tuple(value.shape[1:])}; in the fit it had {tuple(shape)}.")
    value = value.to(data.endog.dtype)
    if not bool(torch.isfinite(value).all()):
        raise DataError("exog holds values that are missing or infinite.")
    index = pd.RangeIndex(len(value))
    return replace(data, rows=Rows(index), row_data={"exog": value}), index


def _tensor(value: Any, what: str, data: ModelData, dtype: torch.dtype) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().to(data.device)
    array = np.asarray(plain(value, what))
    if array.dtype.kind not in "iufb":
        raise DataError(f"{what} holds {array.dtype}; it must hold numbers.")
    return row_tensor(array, dtype, data.device)


def _with_row_data(target: ModelData, data: ModelData, given: Mapping[str, Any], alone: bool) -> ModelData:
    """Return records with their row data: as many as there are records."""
    found: dict[str, Tensor] = {k: v for k, v in target.row_data.items() if k == "exog"}
    count = None if alone else target.rows.count
    for name, value in given.items():
        old = data.row_data[name]
        tensor = _tensor(value, name, data, old.dtype)
        tensor = tensor[None] if tensor.ndim == old.ndim - 1 else tensor
        tensor = tensor.to(old.dtype)
        if not alone and target.rows.used is not None and len(tensor) == target.rows.total:
            tensor = tensor[torch.from_numpy(target.rows.used).to(tensor.device)]
        count = len(tensor) if count is None else count
        if len(tensor) != count or tensor.shape[1:] != old.shape[1:]:
            raise DataError(
                f"{name} has shape {tuple(tensor.shape)}; for {count} records it must be {(count, *old.shape[1:])}."
            )
        found[name] = tensor
    count = count or 0
    blank = torch.full((count,), torch.nan, dtype=data.endog.dtype, device=data.device)
    rows = target.rows if not alone else Rows(pd.RangeIndex(count))
    return replace(target, endog=blank, row_data=found, rows=rows, weights=None, groups=None)
