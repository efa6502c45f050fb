"""Build a model of choices again, from arrays, on other units, responses, sizes of attributes or weights."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch

from ...loglik.choice import rows_of_units
from .base import ChoiceModel

C = TypeVar("C", bound=ChoiceModel)


def rebuilt(model: C, rows: Any = None, endog: Any = None, factors: Any = None, freq_weights: Any = None) -> C:
    """Return a new model of the same class.

    Parameters
    ----------
    rows : positions of the units of observation to take, in order, any of them several times; all by default. A person
        who is taken twice becomes two persons.
    endog : other responses by situation, as the constructor takes them.
    factors : (K,) what to multiply the attributes by.
    freq_weights : by unit, instead of the model's own weights.
    """
    design, units = model.design, len(model.endog)
    index = np.arange(units) if rows is None else np.asarray(rows)
    ends = torch.arange(1, units + 1)
    if model.by_person and model.ends is not None:
        ends = model.ends.cpu()
    at, last = rows_of_units(ends, torch.as_tensor(index, dtype=torch.int64))
    situations = at.numpy()
    unit = np.repeat(np.arange(len(index)), np.diff(last.numpy(), prepend=0))
    y = model.responses() if endog is None else np.asarray(endog)
    given: dict[str, Any] = {"names": design.names, "alternatives": model.alternatives}
    if design.available is not None:
        given["available"] = design.available.cpu().numpy()[situations]
    if model.by_person:
        given["persons"] = unit
    data = model.data
    if freq_weights is not None:
        given["freq_weights"] = np.asarray(freq_weights)[index][unit]
    elif data.weights is not None:
        given[data.weights.kind] = data.weights.values.cpu().numpy()[index][unit]
    if data.groups is not None:
        given["groups"] = data.groups.codes[index][unit]
    X = design.X.cpu().numpy()[situations] * (1.0 if factors is None else np.asarray(factors))
    given |= {"device": design.X.device, "dtype": design.X.dtype, **model.own_arguments(situations)}
    return type(model)(y[situations], X, **given)
