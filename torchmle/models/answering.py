"""Give a model another response, and all that its constructor makes of the response."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..data.batch import ModelData
from ..errors import DataError, listing

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

_INSTALLED = ("data", "endog", "exog", "offset", "exog_names")

_UNKNOWN = (
    "{0} keeps {1!r}, which its constructor makes from the response, and not from endog and exog alone: responses "
    "cannot be drawn for it. Compute it in loglikeobs from self.endog."
)


def answering(model: GenericLikelihoodModel, endog: Tensor) -> GenericLikelihoodModel:
    """Return the model with another response; what its constructor makes of the response is made again.

    Raises
    ------
    DataError
        If an attribute depends on the response and the constructor does not make it from the data alone.
    """
    other = copy.copy(model)
    other.endog = endog
    other.data = replace(model.data, endog=endog)
    if model.ready_made:
        return other
    own = [name for name in vars(model) if name not in {*_INSTALLED, *model.own_state, *model.data.row_data}]
    if own:
        before, after = _rebuilt(model, model.data, own), _rebuilt(model, other.data, own)
        for name in own:
            if _same(before.get(name), after.get(name)):
                continue
            if not _same(before.get(name), vars(model)[name]):
                raise DataError(_UNKNOWN.format(type(model).__name__, name))
            other.__dict__[name] = after[name]
    return other


def _rebuilt(model: GenericLikelihoodModel, data: ModelData, own: list[str]) -> dict[str, Any]:
    """Return the attributes that the constructor makes of some data."""
    designs = list(data.designs.values())
    try:
        return vars(type(model)(data.endog, designs[0].X if designs else None, _data=data))
    except Exception as error:
        raise DataError(
            f"{type(model).__name__} keeps {listing(own)}, and cannot be built again to see what of that is made from "
            f"the response ({type(error).__name__}: {error}). Compute it in loglikeobs from self.endog, and let "
            "__init__ take endog, exog and keywords that have defaults."
        ) from error


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and bool(torch.allclose(a, b, rtol=0, atol=0, equal_nan=True))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool((a == b).all())
    return a is b or (type(a) is type(b) and isinstance(a, (bool, int, float, str, tuple, list)) and a == b)
