"""Show a model some of its rows as a model of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from ..data.design import Design
from ..data.groups import encode

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

M = TypeVar("M", bound="GenericLikelihoodModel")


def part_of(model: M, at: Tensor, keep: Tensor, designs: Mapping[str, Design], why: str) -> M:
    """Return a shallow copy of a model with some of its rows and columns.

    Parameters
    ----------
    at, keep : positions of the rows, and the same as a mask on the CPU.
    designs : the columns on these rows.
    why : what is said of the other rows.
    """
    data, less = model.data, model.take(at)
    mask = keep.numpy()
    gone = {t for name, design in data.designs.items() for t in design.terms if t not in designs[name].terms}
    less.data = replace(
        data,
        endog=data.endog[at],
        designs=designs,
        offset=None if data.offset is None else data.offset[at],
        weights=None if data.weights is None else replace(data.weights, values=data.weights.values[at]),
        groups=None if data.groups is None else encode(data.groups.name, data.groups.codes[mask]),
        row_data={name: values[at] for name, values in data.row_data.items()},
        rows=data.rows.drop_among_used(~mask, why),
    )
    if designs:
        first = next(iter(designs.values()))
        own = vars(less).get("exog")
        less.exog = first.X[:, 0] if own is not None and own.ndim == 1 else first.X  # a module may take one as it is
        less.exog_names = [name for name in model.exog_names if name not in gone or name in first.terms]
    return less
