"""Show a model other data: another device, new rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..config import resolve_device
from ..data.batch import DataOptions, ModelData, from_frame
from ..data.design import InputFormula
from ..data.extras import ExtraInputs
from ..data.levels import code_response
from ..errors import DataError, OptionError, collecting_notes, unknown
from ..loglik.network import Network
from ..workers import engine

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

M = TypeVar("M", bound="GenericLikelihoodModel")

Moves = Mapping[str, tuple[list[int], Tensor]]
"""By predictor: positions of columns, and their (n, p) slopes in something."""


def of_table(
    cls: type[M],
    formula: str,
    data: Any,
    first: str,
    others: Mapping[str, str],
    extras: ExtraInputs,
    options: DataOptions,
    context: Mapping[str, Any],
    **own: Any,
) -> M:
    """Return a model of formulas and a table; see :meth:`GenericLikelihoodModel.from_formula`.

    ``own`` are arguments that only this model has.
    """
    with engine(options.device), collecting_notes() as notes:
        if cls.response == "categorical":
            formula, data, own["_labels"] = code_response(formula, data)
        main = InputFormula(formula) if cls.kept_columns else formula
        prepared = from_frame(main, data, first, others, extras, options, context)
    prepared = replace(prepared, notes=tuple(notes))
    return cls(prepared.endog, next(iter(prepared.designs.values())).X, _data=prepared, **own)


def refuse_unmasked(model: GenericLikelihoodModel) -> None:
    """Refuse row data attached past the row mask."""
    rows = model.data.rows
    if rows.used is None or rows.count == rows.total:
        return
    for name, value in vars(model).items():
        array = isinstance(value, (Tensor, np.ndarray, pd.Series)) and value.ndim
        listed = isinstance(value, (list, tuple)) and name != "exog_names"
        if (array or listed) and len(value) == rows.total:
            raise DataError(
                f"self.{name} has {rows.total} rows, but {rows.total - rows.count} of them were dropped. "
                f"Give it as row_data={{{name!r}: ...}} when you build the model; it then drops the same rows."
            )


def moved(model: M, device: str | torch.device | None) -> M:
    """Return the model with its data on another device, or the model itmodel."""
    if device is None:
        return model
    where, dtype = resolve_device(device, model.endog.dtype)
    if where == model.data.device and dtype == model.endog.dtype:
        return model
    there = copy.copy(model)
    for name, value in vars(model).items():
        if isinstance(value, Tensor):
            there.__dict__[name] = value.to(where, dtype) if value.is_floating_point() else value.to(where)
        elif isinstance(value, Network):
            there.__dict__[name] = value.to(where, dtype)
    there.data = model.data.to(where, dtype)
    return there


def predict_opaque(model: GenericLikelihoodModel, params: Tensor, data: ModelData, which: str) -> Tensor:
    """Return predictions of one kind on some data, differentiable in the parameters and the regressors."""
    at = params.to(data.device, data.endog.dtype)
    there = copy.copy(model)
    for name in model.data.row_data:
        there.__dict__.pop(name, None)
    there.__dict__.update(data=data, endog=data.endog, offset=data.offset, **data.row_data)
    if data.designs:
        there.exog = next(iter(data.designs.values())).X
    if which == "mean":
        return there.predict_mean(at)
    if which == "linear" and data.designs:
        eta = there.exog @ at[: there.exog.shape[1]]
        return eta if data.offset is None else eta + data.offset
    raise OptionError(unknown("which", which, ["mean", "linear"]))


def along(data: ModelData, moves: Moves, step: Tensor) -> ModelData:
    """Return data whose regressors are moved by a step, one number a row, times the moves of the columns."""
    designs = dict(data.designs)
    for name, (positions, slopes) in moves.items():
        if positions:
            X = designs[name].X.clone()
            X[:, positions] = X[:, positions] + step[:, None] * slopes
            designs[name] = replace(designs[name], X=X)
    return replace(data, designs=designs)
