"""Read linear hypotheses ``R theta = q`` from text, matrices and dicts."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import OptionError, unknown
from .expressions import by_word, evaluate, read_expressions

EXAMPLES = "'x1 = x2', 'educ = 0, exper = 0', {'educ': 0.1}, a matrix R with a column a parameter, or a pair (R, q)"


@dataclass(frozen=True)
class Hypotheses:
    """Hold ``R theta = q``: (M, K) rows, (M,) values, and a label a row."""

    R: Tensor
    q: Tensor
    labels: tuple[str, ...]


def read_hypotheses(given: Any, names: Sequence[str]) -> Hypotheses:
    """Return hypotheses in the order of ``names``.

    Parameters
    ----------
    given : text such as ``"x1 = x2, 2*a + b = 1"`` (without an equals sign: ``= 0``), a list of such, a dict of text
        to value, an array (K,) or (M, K), a frame with the names as columns, or a pair ``(R, q)``.

    Raises
    ------
    OptionError
        For unknown names, what is not linear, wrong shapes, and rows without a parameter.
    """
    if isinstance(given, str):
        found = _from_texts([given], names)
    elif isinstance(given, Mapping):
        found = _from_mapping(given, names)
    elif isinstance(given, Sequence) and given and all(isinstance(text, str) for text in given):
        found = _from_texts(given, names)
    else:
        found = _from_arrays(given, names)
    for row, label in zip(found.R, found.labels, strict=True):
        if not bool((row != 0).any()):
            raise OptionError(f"The hypothesis {label!r} involves no parameter.")
    if not len(found.R):
        raise OptionError(f"There is no hypothesis in {given!r}. Give {EXAMPLES}.")
    return found


class _Affine:
    """Be a linear combination of parameters plus a number, for arithmetic."""

    def __init__(self, row: Tensor, constant: float = 0.0) -> None:
        self.row, self.constant = row, constant

    def _other(self, other: Any) -> _Affine:
        if isinstance(other, _Affine):
            return other
        return _Affine(torch.zeros_like(self.row), float(other))

    def __add__(self, other: Any) -> _Affine:
        added = self._other(other)
        return _Affine(self.row + added.row, self.constant + added.constant)

    __radd__ = __add__

    def __neg__(self) -> _Affine:
        return _Affine(-self.row, -self.constant)

    def __pos__(self) -> _Affine:
        return self

    def __sub__(self, other: Any) -> _Affine:
        return self + (-self._other(other))

    def __rsub__(self, other: Any) -> _Affine:
        left: _Affine = self._other(other)
        return left - self

    def __mul__(self, other: Any) -> _Affine:
        if isinstance(other, _Affine):
            raise TypeError
        return _Affine(self.row * other, self.constant * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> _Affine:
        if isinstance(other, _Affine):
            raise TypeError
        if other == 0:
            raise ZeroDivisionError("division by zero")
        return _Affine(self.row / other, self.constant / other)


def _from_texts(texts: Sequence[str], names: Sequence[str]) -> Hypotheses:
    eye = torch.eye(len(names), dtype=torch.float64, device="cpu")
    values = by_word(names, [_Affine(row) for row in eye])
    sides: list[tuple[_Affine, str]] = []
    for text in texts:
        for tree in read_expressions(text, names, "the hypothesis"):
            sides += _equations(tree, text, values, names)
    rows = [side.row for side, _ in sides] or [eye[0] * 0]
    constants = [-side.constant + 0.0 for side, _ in sides] or [0.0]
    R = torch.stack(rows)
    q = torch.tensor(constants, dtype=torch.float64, device="cpu")
    return Hypotheses(R, q, tuple(_label(row, value, names) for row, value in zip(R, q.tolist(), strict=True)))


def _equations(tree: ast.expr, text: str, values: Mapping[str, Any], names: Sequence[str]) -> list[tuple[_Affine, str]]:
    """Return left less right of each equation; ``a = b = 0`` is two."""
    what = f"the hypothesis {text!r}"
    if isinstance(tree, (ast.Tuple, ast.List)):
        return [side for part in tree.elts for side in _equations(part, text, values, names)]
    if isinstance(tree, ast.Compare) and not all(isinstance(op, ast.Eq) for op in tree.ops):
        raise OptionError(f"The hypothesis {text!r} is no equation: hypotheses are written with '='.")
    parts = [tree.left, *tree.comparators] if isinstance(tree, ast.Compare) else [tree]
    zero = _Affine(torch.zeros(len(names), dtype=torch.float64, device="cpu"))
    try:
        read = [zero + evaluate(part, values, {}, names, what) for part in parts]
    except TypeError as error:
        raise OptionError(
            f"The hypothesis {text!r} is not linear in the parameters. Use delta_method() for products "
            "and other functions."
        ) from error
    if len(read) == 1:
        return [(read[0], text)]
    return [(left - right, text) for left, right in itertools.pairwise(read)]


def _from_mapping(given: Mapping[Any, Any], names: Sequence[str]) -> Hypotheses:
    read = [_from_texts([str(text)], names) for text in given]
    if any(len(one.R) != 1 for one in read):
        raise OptionError("A dict of hypotheses maps one expression each to its value, such as {'x1 - x2': 0}.")
    values = _numbers(list(given.values()), "the values of the hypotheses")
    R = torch.cat([one.R for one in read]) if read else torch.zeros(0, len(names), dtype=torch.float64, device="cpu")
    q = values + torch.cat([one.q for one in read]) if read else values
    return Hypotheses(R, q, tuple(_label(row, v, names) for row, v in zip(R, q.tolist(), strict=True)))


def _from_arrays(given: Any, names: Sequence[str]) -> Hypotheses:
    pair = isinstance(given, tuple) and len(given) == 2 and np.ndim(given[0]) > 0
    R, q = (given[0], given[1]) if pair else (given, 0.0)
    labels: list[str] | None = None
    if isinstance(R, pd.Series):
        R = R.to_frame().T
    if isinstance(R, pd.DataFrame):
        for name in R.columns:
            if name not in names:
                raise OptionError(unknown("column in the hypotheses:", name, names))
        if not isinstance(R.index, pd.RangeIndex):
            labels = [str(i) for i in R.index]
        R = R.reindex(columns=list(names), fill_value=0.0).to_numpy()
    rows = _numbers(R, "the matrix of the hypotheses")
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise OptionError(
            f"The matrix of the hypotheses has shape {tuple(rows.shape)}; it needs {len(names)} columns, one for each "
            f"parameter: {', '.join(names)}."
        )
    values = _numbers(q, "the values of the hypotheses").flatten()
    if len(values) not in (1, len(rows)):
        raise OptionError(f"{len(values)} values were given for {len(rows)} hypotheses.")
    values = values.expand(len(rows)).clone()
    made = [_label(row, value, names) for row, value in zip(rows, values.tolist(), strict=True)]
    return Hypotheses(rows, values, tuple(labels or made))


def _numbers(given: Any, what: str) -> Tensor:
    raw = given.detach().cpu().numpy() if isinstance(given, Tensor) else given
    try:
        array = np.array(raw, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{what[0].upper()}{what[1:]} must be numbers, not {given!r}. Give {EXAMPLES}.") from error
    if not np.isfinite(array).all():
        raise OptionError(f"{what[0].upper()}{what[1:]} must be finite.")
    return torch.from_numpy(array)


def _label(row: Tensor, value: float, names: Sequence[str]) -> str:
    """Return a hypothesis as text."""
    text = ""
    for name, weight in zip(names, row.tolist(), strict=True):
        if weight:
            size = "" if abs(weight) == 1 else f"{abs(weight):g}*"
            sign = ("-" if weight < 0 else "") if not text else (" - " if weight < 0 else " + ")
            text += f"{sign}{size}{name}"
    return f"{text or 0} = {value:g}"
