"""Predict for new rows: rebuild their designs as in the fit, then ask the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.absent import need_rows
from ..data.batch import ModelData
from ..data.design import Design
from ..data.formula import materialise
from ..data.frames import as_frame, check_columns, column_names, frame_index, prepare, take_column, take_columns
from ..data.matrix import as_matrix
from ..data.rows import Rows
from ..data.vectors import align, is_missing, numeric_vector
from ..errors import DataError, OptionError, UndefinedStatisticError, unknown
from ..optim.status import Status
from ..workers import derivatives_on

if TYPE_CHECKING:
    from .estimates import Estimates


def predict(results: Estimates, exog: Any, which: str, new: Mapping[str, Any]) -> pd.Series:
    """Return predictions with the labels of the rows; see :meth:`Results.predict`."""
    target, index = target_of(results, exog, new)
    link = torch.from_numpy(results.link_params.to_numpy().copy())
    with derivatives_on(target.device), torch.no_grad():
        values = results.model.predict_at(link, target, which).cpu().double().numpy()
    known = target.rows.used
    if exog is None or known is None:
        return pd.Series(values, index=index)
    full = np.full(len(index), np.nan)
    full[known] = values
    return pd.Series(full, index=index)


def need_solution(results: Estimates, what: str) -> None:
    """Refuse what needs parameters where constraints with confidence have no solution."""
    if results.fit.status is Status.NO_SOLUTION:
        raise UndefinedStatisticError(f"{what} needs parameters, and there are none. {Status.NO_SOLUTION.sentence}")


def target_of(results: Estimates, exog: Any, new: Mapping[str, Any]) -> tuple[ModelData, pd.Index]:
    """Return the data of the rows to predict, those of the fit where there is no ``exog``, and the labels of all."""
    data = results.model.data
    need_solution(results, "predict()")
    if exog is None:
        need_rows(data, "predict() without new data")
    allowed = ["offset", "exposure", *list(data.designs)[1:]]
    for name in new:
        if name not in allowed:
            raise OptionError(unknown("argument of predict:", name, ["exog", "which", *allowed]))
    if exog is not None:
        return _new_data(data, exog, new)
    if new:
        raise OptionError(f"predict() got {', '.join(new)} without new data; pass exog as well.")
    return data, data.rows.labels


def _new_data(data: ModelData, exog: Any, new: Mapping[str, Any]) -> tuple[ModelData, pd.Index]:
    """Return the data of the rows that can be predicted, and the labels of all rows."""
    if data.formulas is not None:
        return _from_table(data, exog, new)
    matrices = {name: (exog if j == 0 else new.get(name)) for j, name in enumerate(data.designs)}
    designs, index = {}, None
    for name, value in matrices.items():
        design = data.designs[name]
        if value is None and design.terms == ("Intercept",):
            continue
        if value is None:
            raise OptionError(
                f"The predictor {name!r} was given a matrix; pass one for the new rows: predict(exog, {name}=...)."
            )
        X, names, own = as_matrix(value, "exog" if design is next(iter(data.designs.values())) else name)
        index = own if index is None else index
        designs[name] = replace(design, X=_match(design, X, names).to(data.device, data.endog.dtype))
    rows = len(next(iter(designs.values())).X)
    labels = index if index is not None else pd.RangeIndex(rows)
    for name, design in data.designs.items():
        if name not in designs:
            designs[name] = replace(design, X=torch.ones(rows, 1, dtype=data.endog.dtype, device=data.device))
    ordered = {name: designs[name] for name in data.designs}
    return _finish(data, ordered, Rows(labels), new, None)


def _match(design: Design, X: Tensor, names: list[str] | None) -> Tensor:
    """Return the columns of the fit, by name where there are names, else by position."""
    if names is not None and set(design.terms) <= set(names):
        return X[:, [names.index(t) for t in design.terms]]
    if names is not None and not design.spec and set(design.all_terms) & set(names):
        absent = [t for t in design.terms if t not in names]
        raise DataError(
            f"The new matrix lacks the columns {', '.join(map(repr, absent))} of the fit; it has {', '.join(names)}."
        )
    if X.shape[1] != len(design.all_terms):
        raise DataError(
            f"The new matrix has {X.shape[1]} columns, but the fit had {len(design.all_terms)}: "
            f"{', '.join(design.all_terms)}."
        )
    return design.select(X)


def _from_table(data: ModelData, exog: Any, new: Mapping[str, Any]) -> tuple[ModelData, pd.Index]:
    assert data.formulas is not None
    frame = as_frame(exog)
    right = [v for p in data.formulas.parts.values() for v in p.variables]
    wanted = [v for v in dict.fromkeys(right) if v in column_names(frame) or v not in data.context]
    check_columns(frame, wanted, "predict")
    table = take_columns(frame, wanted)
    rows = Rows(frame_index(frame))
    for name in wanted:
        rows = rows.drop(is_missing(table[name].array), name)
    usable = bool(wanted) and rows.count > 0
    subset = prepare(rows.take(table), data.formulas.categorical, data.formulas.arithmetic) if usable else None
    designs = {}
    for name, design in data.designs.items():
        if subset is None:
            matrix = np.ones((rows.count, len(design.all_terms)))
        else:
            matrix, _ = materialise(design.spec, subset, data.context, "predict")
        X = torch.tensor(matrix, dtype=data.endog.dtype, device=data.device)
        designs[name] = replace(design, X=design.select(X))
    return _finish(data, designs, rows, new, frame)


def _finish(
    data: ModelData, designs: Mapping[str, Design], rows: Rows, new: Mapping[str, Any], frame: Any
) -> tuple[ModelData, pd.Index]:
    offset = _offset(data, rows, new, frame)
    first = next(iter(designs.values())).X
    blank = torch.full((len(first),), torch.nan, dtype=first.dtype, device=first.device)
    target = replace(
        data,
        endog=blank,
        designs=designs,
        offset=offset,
        weights=None,
        groups=None,
        row_data={},
        rows=rows,
        frame=frame,
    )
    return target, rows.index


def _offset(data: ModelData, rows: Rows, new: Mapping[str, Any], frame: Any) -> Tensor | None:
    """Return the offset of the new rows: given, or from the columns of the fit; never silently zero."""
    names = data.offset_names
    total: Any = None
    for key in ("offset", "exposure"):
        given = new.get(key, names.get(key) if frame is not None and names.get(key) in _columns(frame) else None)
        if given is None:
            continue
        if isinstance(given, str):
            check_columns(frame, [given], key)
        value = take_column(frame, given) if isinstance(given, str) else given
        value = (
            np.full(rows.total, value, dtype=np.float64)
            if np.ndim(value) == 0
            else align(value, key, rows.index, rows.total)
        )
        part = numeric_vector(value, key)
        if key == "exposure" and (part <= 0).any():
            raise DataError(f"exposure is not positive in {int((part <= 0).sum())} of the new rows.")
        part = np.log(part) if key == "exposure" else part
        total = part if total is None else total + part
    if total is None:
        if data.offset is not None:
            raise OptionError(
                "The model was fitted with an offset or exposure; give offset= or exposure= for the new rows "
                "(offset=0 for none)."
            )
        return None
    return torch.tensor(rows.take(total), dtype=data.endog.dtype, device=data.device)


def _columns(frame: Any) -> list[str]:
    return [str(c) for c in column_names(frame)]
