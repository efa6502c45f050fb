"""Build the designs of a fit again, with columns of the user's data changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.absent import need_rows
from ..data.batch import ModelData
from ..data.design import Design
from ..data.formula import materialise
from ..data.frames import as_frame, column_names, prepare, take_columns
from ..data.vectors import FloatArray
from ..errors import OptionError

CHUNK = 50_000
"""Rows whose designs are built at a time."""


@dataclass(frozen=True)
class Sheet:
    """Hold the rows in use as the user wrote them down: one column for each variable of the formulas.

    A model of arrays has its regressors for columns; those of further predictors as ``predictor:column``.
    """

    data: ModelData
    frame: pd.DataFrame

    @property
    def variables(self) -> list[str]:
        """Return the variables on the right-hand sides, in the order of the first formula."""
        constants = [self.frame[c].nunique() == 1 and self.data.formulas is None for c in self.frame.columns]
        return [str(c) for c, constant in zip(self.frame.columns, constants, strict=True) if not constant]

    def is_categorical(self, name: str) -> bool:
        """Return whether a variable enters by its levels."""
        formulas = self.data.formulas
        kind = self.frame[name].dtype
        return (
            (formulas is not None and name in formulas.categorical)
            or not pd.api.types.is_numeric_dtype(kind)
            or (pd.api.types.is_bool_dtype(kind))
        )

    def levels(self, name: str) -> list[Any]:
        """Return the levels of a categorical variable, the base first: the one whose columns are zero."""
        column = self.frame[name]
        found = list(column.cat.categories) if isinstance(column.dtype, pd.CategoricalDtype) else sorted(set(column))
        row = self.frame.iloc[:1]
        sizes = [sum(np.abs(m).sum() for m in self.matrices(changed(row, {name: v})).values()) for v in found]
        base = int(np.argmin(sizes))
        return [found[base], *(v for i, v in enumerate(found) if i != base)]

    def matrices(self, frame: pd.DataFrame) -> dict[str, FloatArray]:
        """Return the kept columns of each predictor for (changed) rows of the sheet."""
        data = self.data
        if data.formulas is None:
            return {
                name: frame[_columns(j, design)].to_numpy(dtype=np.float64)
                for j, (name, design) in enumerate(data.designs.items())
            }
        found = {}
        for name, design in data.designs.items():
            if not len(frame.columns):
                matrix = np.ones((len(frame), len(design.all_terms)))
            else:
                matrix, _ = materialise(design.spec, frame, data.context, "margins")
            keep = [i for i, t in enumerate(design.all_terms) if t not in design.dropped]
            found[name] = matrix[:, keep]
        return found

    def chunks(self, rows: FloatArray | None = None) -> Iterator[slice]:
        """Yield the row ranges in which designs are built."""
        for a in range(0, len(self.frame), CHUNK):
            yield slice(a, min(a + CHUNK, len(self.frame)))


def _columns(position: int, design: Design) -> list[str]:
    return [t if position == 0 else f"{design.name}:{t}" for t in design.terms]


def make_sheet(data: ModelData) -> Sheet:
    """Return the sheet of a model's rows in use.

    Raises
    ------
    OptionError
        If the model has no regressors, or a formula whose terms look at other rows.
    """
    need_rows(data, "margins()")
    if not data.designs:
        raise OptionError("margins need regressors: a model with a formula or exog. This one has row data only.")
    formulas = data.formulas
    if formulas is None:
        columns: dict[str, Any] = {}
        for j, design in enumerate(data.designs.values()):
            X = design.X.detach().cpu().double().numpy()
            columns |= {name: X[:, i] for i, name in enumerate(_columns(j, design))}
        return Sheet(data, pd.DataFrame(columns, index=data.rows.labels))
    if formulas.across_rows:
        raise OptionError(f"margins are not defined: the term {formulas.across_rows!r} looks at other rows.")
    table = as_frame(data.frame)
    right = dict.fromkeys(v for p in formulas.parts.values() for v in _in_order(p))
    wanted = [v for v in right if v in column_names(table)]
    frame = data.rows.take(take_columns(table, wanted))
    return Sheet(data, prepare(frame, formulas.categorical, formulas.arithmetic) if wanted else frame)


def _in_order(part: Any) -> list[str]:
    """Return the variables of a formula in the order in which they are written."""
    return sorted(part.variables, key=lambda name: (part.text.find(name), name))


def changed(frame: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """Return rows with some columns set to values; categories keep their levels."""
    new = {}
    for name, value in values.items():
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            new[name] = pd.Series(pd.Categorical([value] * len(frame), categories=column.cat.categories), frame.index)
        elif np.ndim(value) == 1:
            new[name] = pd.Series(np.asarray(value), frame.index)
        else:
            new[name] = pd.Series([value] * len(frame), frame.index, dtype=column.dtype)
    return frame.assign(**new)


def with_designs(data: ModelData, matrices: Mapping[str, Tensor], rows: slice) -> ModelData:
    """Return the data of some rows with other regressors."""

    def part(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[rows]

    endog = data.endog[rows]
    return replace(
        data,
        endog=endog,
        designs={name: replace(design, X=matrices[name]) for name, design in data.designs.items()},
        offset=part(data.offset),
        weights=None,
        groups=None,
        row_data={name: value[rows] for name, value in data.row_data.items()},
    )


def as_tensors(data: ModelData, matrices: Mapping[str, FloatArray]) -> dict[str, Tensor]:
    """Return matrices in the dtype and on the device of the model."""
    return {k: torch.tensor(m, dtype=data.endog.dtype, device=data.device) for k, m in matrices.items()}


STENCIL = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))
"""Fourth-order central differences: exact for polynomials of degree four."""

STEP = 0.01
"""Finer one of two steps, as a share of a column's spread; the error is of the order of its sixth power."""

SMOOTH = 1e-5
"""Relative gap of derivatives by two steps above which a column counts as not differentiable."""


def slopes(sheet: Sheet, frame: pd.DataFrame, name: str) -> tuple[dict[str, FloatArray], bool]:
    """Return the derivatives of all columns with respect to a variable, by row, and whether they are smooth.

    Differences of the data column by two steps, extrapolated; the steps are shares of its spread or, where these do
    not agree (``log(x)`` near zero), of the value itself. No parameter is involved, so standard errors are exact.
    """
    x = frame[name].to_numpy(dtype=np.float64)
    spread = float(np.std(sheet.frame[name].to_numpy(dtype=np.float64))) or 1.0
    noise = {key: 1e-12 * np.abs(matrix).max(initial=0.0) / spread for key, matrix in sheet.matrices(frame).items()}
    found, good = _extrapolated(sheet, frame, name, spread, noise)
    if all(bool(ok.all()) for ok in good.values()):
        return found, True
    near = np.where(x != 0, np.minimum(np.abs(x), spread), spread)
    fine, better = _extrapolated(sheet, frame, name, near, noise)
    smooth = all(bool((good[key] | better[key]).all()) for key in found)
    return {key: np.where(good[key], found[key], fine[key]) for key in found}, smooth


def _extrapolated(
    sheet: Sheet, frame: pd.DataFrame, name: str, unit: Any, noise: dict[str, float]
) -> tuple[dict[str, FloatArray], dict[str, Any]]:
    """Return derivatives by two steps, extrapolated, and where the two agree."""
    wide, narrow = (_differences(sheet, frame, name, step * unit) for step in (2 * STEP, STEP))
    found, good = {}, {}
    for key in wide:
        size = np.abs(narrow[key]).max(initial=0.0, where=np.isfinite(narrow[key]))
        allowed = SMOOTH * (np.abs(narrow[key]) + 1e-3 * size) + noise[key]
        good[key] = np.abs(wide[key] - narrow[key]) <= allowed
        found[key] = (16 * narrow[key] - wide[key]) / 15
    return found, good


def _differences(sheet: Sheet, frame: pd.DataFrame, name: str, step: Any) -> dict[str, FloatArray]:
    """Return the differences of all columns over steps in one variable; against the rows themselves, so that a column
    without it has an exact zero.
    """
    x, here = frame[name].to_numpy(dtype=np.float64), sheet.matrices(frame)
    total = {key: np.zeros_like(matrix) for key, matrix in here.items()}
    for move, weight in STENCIL:
        moved = x + move * np.broadcast_to(step, x.shape)
        exact = (moved - x) / move  # the step that floating point takes
        for key, matrix in sheet.matrices(frame.assign(**{name: moved})).items():
            total[key] += weight * (matrix - here[key]) / exact[:, None]
    return total
