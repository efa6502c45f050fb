"""Read the data of a module: regressors of any shape, as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.batch import DataOptions, ModelData, from_arrays
from ...data.design import InputMatrix
from ...data.extras import ExtraInputs
from ...errors import DataError, OptionError


def read_data(endog: Any, exog: Any, extras: ExtraInputs, options: DataOptions) -> tuple[ModelData, int]:
    """Return the data of a model of arrays, and how many dimensions ``exog`` has.

    One and two of them are columns with names; more are one array among the row data, under the name ``exog``.
    """
    given = {} if extras.row_data is None else extras.row_data
    if not isinstance(given, Mapping):
        raise OptionError(f"row_data is {type(given).__name__}; with arrays it must be a dict of name to array.")
    for name in given:
        if name in ("exog", "endog", "offset"):
            raise OptionError(f"row_data holds {name!r}, which is an argument of its own.")
    rank = 2 if exog is None else np.ndim(exog)
    if rank == 0:
        raise DataError(f"exog is {exog!r}; it must be an array with a row for each record.")
    if rank <= 2:
        matrices = {} if exog is None else {"exog": InputMatrix(exog)}
        return from_arrays(endog, matrices, extras, options), rank
    whole = replace(extras, row_data={"exog": exog, **given})
    data = from_arrays(endog, {}, whole, options)
    images = data.row_data["exog"].to(options.dtype)
    refuse_infinite(images, "exog")
    return replace(data, row_data={**data.row_data, "exog": images}), rank


def refuse_infinite(values: Tensor, what: str) -> None:
    """Raise if an array holds infinite values."""
    bad = torch.isinf(values).flatten(1).any(1)
    if bool(bad.any()):
        raise DataError(f"{what} is infinite in {int(bad.sum())} rows (the first is {int(bad.nonzero()[0])}).")
