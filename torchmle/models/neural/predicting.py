"""Predict with a module in pieces, and label what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.batch import ModelData
from ...errors import OptionError, UndefinedStatisticError, unknown
from ...results.sheet import with_designs
from ...workers import derivatives_on, map_ranges

if TYPE_CHECKING:
    from .base import ModuleModel

PIECE_BYTES = 16_000_000
"""Bytes of the inputs of one piece."""


def in_pieces(model: ModuleModel, params: Tensor, data: ModelData, which: str) -> tuple[Any, list[Any] | None]:
    """Return predictions as an array of n rows, and the names of their columns where the model has some."""
    n = len(data.endog)
    tensors = [*(d.X for d in data.designs.values()), *data.row_data.values()]
    width = sum(t.numel() // max(len(t), 1) * t.element_size() for t in tensors)
    step = max(16, PIECE_BYTES // max(width, 1) // 8)
    at = params.to(data.device, model.dtype)

    def work(start: int, stop: int) -> list[Tensor]:
        found = []
        with derivatives_on(data.device), torch.no_grad():
            for a in range(start, stop, step):
                part = slice(a, min(a + step, stop))
                found.append(model.on(_part(data, part)).predicted(at, which).cpu())
        return found

    pieces = [piece for several in map_ranges(work, n, step, data.device) for piece in several]
    return model.told(which, torch.cat(pieces) if pieces else torch.zeros(0))


def _part(data: ModelData, rows: slice) -> ModelData:
    return with_designs(data, {name: d.X[rows] for name, d in data.designs.items()}, rows)


def labelled(values: Any, columns: list[Any] | None, index: pd.Index, used: Any) -> Any:
    """Return predictions with the labels of their rows; NaN in rows that could not be predicted."""
    array = values.double().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if used is not None:
        kind = array.dtype if array.dtype == object else np.float64
        full = np.full((len(index), *array.shape[1:]), np.nan, dtype=kind)
        full[used] = array
        array = full
    if array.ndim == 1:
        return pd.Series(array, index=index).infer_objects()
    return pd.DataFrame(array, index=index, columns=columns) if array.ndim == 2 else array


def answered(model: ModuleModel, found: Any, which: str) -> Tensor:
    """Return what a module says of its rows, if there is something for each of them."""
    rows = len(model.endog)
    if not isinstance(found, Tensor) or found.ndim == 0 or len(found) != rows:
        seen = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise OptionError(f"{model.model_name}: which={which!r} gives {seen}; it must have {rows} rows.")
    return found[:, 0] if tuple(found.shape) == (rows, 1) else found


def unpredictable(model: ModuleModel, which: str, own: list[str]) -> Exception:
    """Return the error for a kind of prediction that there is not; ``own`` are those of the model's class."""
    kinds = dict.fromkeys([*(["eta"] if model.has_output else []), *own, *model.network.methods])
    if which not in ("mean", "linear"):
        return OptionError(unknown("which", which, ["mean", *kinds]))
    also = f", or {which}(self, output) in the model" if model.has_output else ""
    return UndefinedStatisticError(
        f"{model.model_name} does not say what its {which} is. Define {which}(self, x) in the module{also}. "
        f"Available: {', '.join(kinds) or 'nothing yet'}."
    )
