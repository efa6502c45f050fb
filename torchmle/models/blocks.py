"""Lay named tensors of any shape out as one vector of named parameters, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import OptionError, listing, unknown
from ..params.transforms import below, dimension, symmetric_matrix, triangle

MATRICES = {"correlation": False, "covariance": True}
"""Transforms whose blocks are symmetric matrices, and whether their diagonal is free."""


class Named(dict[str, Tensor]):
    """Hold named tensors; a name that is not there is an error that lists those that are."""

    def __init__(self, items: Iterable[tuple[str, Tensor]], what: str) -> None:
        super().__init__(items)
        self.what = what

    def __missing__(self, name: str) -> Tensor:
        raise OptionError(unknown(f"name in {self.what}:", name, self))


@dataclass(frozen=True)
class Block:
    """Hold one named tensor of parameters.

    Attributes
    ----------
    shape : of the tensor that the likelihood gets.
    names : of its entries in the vector; those of its lower triangle for a symmetric matrix.
    diagonal : for a symmetric matrix whether its diagonal is free, else None.
    start : (len(names),) starting values.
    """

    name: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    diagonal: bool | None
    start: tuple[float, ...]

    def unpack(self, entries: Tensor) -> Tensor:
        """Return the tensor of a piece of the vector."""
        if not self.shape:
            return entries[0]
        if self.diagonal is not None:
            return symmetric_matrix(entries, self.diagonal)
        return entries if self.shape == (len(self.names),) else entries.reshape(self.shape)

    def pack(self, value: Any) -> list[float]:
        """Return the entries of the vector for a value of the block."""
        array = _numbers(value, self.name)
        if array.shape != self.shape:
            raise OptionError(f"The value of {self.name!r} has shape {array.shape}; it must be {self.shape}.")
        return _entries(array, self.diagonal)


def _numbers(value: Any, name: str) -> np.ndarray[Any, Any]:
    try:
        raw = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except ValueError as error:
        raise OptionError(f"start[{name!r}] cannot be read as an array: {error}.") from error
    if raw.dtype.kind not in "iuf":
        raise OptionError(f"start[{name!r}] is {value!r}; it must hold real numbers.")
    array = raw.astype(np.float64)
    if not np.isfinite(array).all():
        raise OptionError(f"start[{name!r}] holds values that are not finite.")
    if array.size == 0:
        raise OptionError(f"start[{name!r}] is empty (shape {array.shape}); a block has one parameter or more.")
    return array


def _entries(array: np.ndarray[Any, Any], diagonal: bool | None) -> list[float]:
    if diagonal is not None:
        return below(torch.from_numpy(array), diagonal).tolist()
    return array.ravel().tolist()


def read_transforms(given: Any) -> dict[str, Any]:
    """Return the transforms by block, or raise."""
    if given is not None and not isinstance(given, Mapping):
        raise OptionError(f"transforms is {given!r}; it must be a dict such as {{'sigma': 'positive'}}.")
    return dict(given or {})


def make_blocks(
    start: Mapping[str, Any], matrices: Mapping[str, tuple[str, ...]], transforms: Mapping[str, Any]
) -> tuple[Block, ...]:
    """Return the blocks of a start.

    Parameters
    ----------
    start : name to starting value: a number, an array or tensor of any shape, a Series or frame (whose labels name the
        entries), or the name of a data matrix, for one coefficient a column, begun at zero.
    matrices : the columns of each data matrix; those of ``"exog"`` name coefficients as they stand.
    transforms : name of a block to its transform.
    """
    if not isinstance(start, Mapping) or not start:
        raise OptionError(f"start is {start!r}; it must be a dict of block name to starting value.")
    for name in transforms:
        if name not in start:
            raise OptionError(unknown("block in transforms:", name, start))
    blocks = [_block(str(name), value, matrices, transforms.get(name)) for name, value in start.items()]
    names = [n for block in blocks for n in block.names]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise OptionError(f"Two parameters would be called {listing(twice)}. Rename a block.")
    return tuple(blocks)


def _block(name: str, value: Any, matrices: Mapping[str, tuple[str, ...]], transform: Any) -> Block:
    if isinstance(value, str):
        if value not in matrices:
            raise OptionError(unknown(f"data matrix in start[{name!r}]:", value, matrices or ["(none has columns)"]))
        columns = matrices[value]
        names = columns if value == "exog" else tuple(f"{name}[{c}]" for c in columns)
        return Block(name, (len(columns),), names, None, (0.0,) * len(columns))
    array = _numbers(value, name)
    diagonal = MATRICES.get(transform) if isinstance(transform, str) else None
    if diagonal is not None:
        _check_square(name, array, diagonal)
    return Block(name, array.shape, _labels(name, value, array, diagonal), diagonal, tuple(_entries(array, diagonal)))


def _check_square(name: str, array: np.ndarray[Any, Any], diagonal: bool) -> None:
    """Raise unless a start is a symmetric matrix of the kind that its transform makes."""
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    if not square or not np.allclose(array, array.T, rtol=1e-12, atol=0) or (not diagonal and len(array) < 2):
        raise OptionError(f"start[{name!r}] has shape {array.shape}; its transform needs a symmetric (d, d) matrix.")
    if not diagonal and not np.array_equal(np.diag(array), np.ones(len(array))):
        raise OptionError(f"start[{name!r}] must have ones on its diagonal, as a correlation matrix has.")
    assert dimension(len(_entries(array, diagonal)), diagonal) == len(array)


def _labels(name: str, value: Any, array: np.ndarray[Any, Any], diagonal: bool | None) -> tuple[str, ...]:
    """Return the names of a block's entries: ``sigma``, ``beta[0]`` or ``beta[educ]``, ``W[0,1]``."""
    if array.ndim == 0:
        return (name,)
    axes = [[str(i) for i in range(size)] for size in array.shape]
    if isinstance(value, (pd.Series, pd.DataFrame)):
        axes = [[str(label) for label in axis] for axis in value.axes]
    if diagonal is not None:
        rows, columns = (i.tolist() for i in triangle(len(array), diagonal))
        return tuple(f"{name}[{axes[0][r]},{axes[1][c]}]" for r, c in zip(rows, columns, strict=True))
    return tuple(f"{name}[{','.join(axes[d][i] for d, i in enumerate(at))}]" for at in np.ndindex(array.shape))
