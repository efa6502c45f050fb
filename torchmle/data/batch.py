"""Bring response, regressors and everything beside them onto one set of rows, as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import CollinearityWarning, DataError, DataWarning, FormulaError, OptionError, unknown, warn
from .design import Design, InputFormula, InputMatrix, build_design, input_design, ones
from .extras import ExtraInputs, Extras, Weights, named_inputs, read_extras, row_tensor
from .formula import Formulas, Part, materialise, parse
from .frames import as_frame, check_columns, column_names, frame_index, frame_length, prepare, take_columns
from .groups import Groups, encode
from .matrix import as_matrix, default_names, missing_and_infinite
from .rows import BoolArray, Rows, refuse_infinite
from .vectors import FloatArray, align, numeric_vector, plain


@dataclass(frozen=True)
class DataOptions:
    """Hold how data are read: missing rows, collinear columns, device and dtype."""

    missing: str = "drop"
    collinear: str = "drop"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        for name, allowed in (("missing", ("drop", "raise")), ("collinear", ("drop", "raise"))):
            if getattr(self, name) not in allowed:
                raise OptionError(unknown(name, getattr(self, name), allowed))


@dataclass(frozen=True)
class ModelData:
    """Hold all that enters a model, on the rows in use.

    Attributes
    ----------
    endog : (n,) response; ``endog_name`` its name.
    designs : one :class:`Design` a predictor, in order; an opaque model has one, ``exog``, or none. Those that modules
        take come last.
    offset : (n,) known part of the first predictor, the log of the exposure included, or None.
    offset_names : which of ``offset`` and ``exposure`` were given, with the column name where it was one.
    weights, groups, row_data : as given, for the rows in use.
    rows : which rows of the user's data these are, and why others are not.
    given : how the data were handed in: ``missing``, ``collinear``, and each keyword with its column name, or None
        where it was an array.
    notes : what was warned of while the data were read.
    frame, formulas, context : the user's table (not copied), the formulas, and the names they take from the caller.
    """

    endog: Tensor
    endog_name: str
    designs: Mapping[str, Design]
    offset: Tensor | None
    weights: Weights | None
    groups: Groups | None
    row_data: Mapping[str, Tensor]
    rows: Rows
    offset_names: Mapping[str, str | None] = field(default_factory=dict)
    frame: Any = None
    formulas: Formulas | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Return the device of the tensors."""
        return self.endog.device

    @property
    def linear(self) -> dict[str, Design]:
        """Return the designs whose columns have coefficients."""
        return {name: design for name, design in self.designs.items() if not design.net}

    @property
    def has_nets(self) -> bool:
        """Return whether a predictor has a module."""
        return any(design.net for design in self.designs.values())

    def to(self, device: torch.device, dtype: torch.dtype) -> ModelData:
        """Return the same data on another device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)

        return replace(
            self,
            endog=move(self.endog),
            designs={k: replace(d, X=move(d.X)) for k, d in self.designs.items()},
            offset=None if self.offset is None else move(self.offset),
            weights=None if self.weights is None else replace(self.weights, values=move(self.weights.values)),
            row_data={k: move(v) for k, v in self.row_data.items()},
        )


def from_arrays(endog: Any, matrices: Mapping[str, Any], extras: ExtraInputs, options: DataOptions) -> ModelData:
    """Build the data of a model from arrays, frames or tensors; a matrix given as None is an intercept."""
    inputs = {name for name, m in matrices.items() if isinstance(m, InputMatrix)}
    matrices = {name: m.values if isinstance(m, InputMatrix) else m for name, m in matrices.items()}
    labels = {name: "exog" if j == 0 else name for j, name in enumerate(matrices)}
    read = {name: as_matrix(m, labels[name]) if m is not None else None for name, m in matrices.items()}
    n = len(plain(endog, "endog")) if np.ndim(plain(endog, "endog")) else 0
    if n == 0:
        raise DataError(f"endog has no rows (shape {np.shape(plain(endog, 'endog'))}).")
    index = next((r[2] for r in read.values() if r and r[2] is not None), getattr(endog, "index", None))
    first = next((r[0] for r in read.values() if r), None)
    total = len(index) if isinstance(index, pd.Index) else (len(first) if first is not None else n)
    rows = Rows(index if isinstance(index, pd.Index) else pd.RangeIndex(total))
    if total < 2:
        raise DataError(f"The data have {total} rows; at least two are needed.")
    y = numeric_vector(align(plain(endog, "endog"), "endog", rows.index, total), "endog")
    rows = rows.drop(np.isnan(y), "endog missing")
    tensors: dict[str, tuple[Tensor, list[str]]] = {}
    for name, item in read.items():
        if item is not None:
            tensors[name], rows = _align_matrix(labels[name], item, rows)
    found, rows = read_extras(extras, None, rows)
    rows.settle(options.missing)
    used = None if rows.used is None else torch.from_numpy(np.flatnonzero(rows.used))
    endog_name = str((endog.name if isinstance(endog, pd.Series) else None) or "y")
    endog_tensor = _tensor(rows.take(y), options)
    refuse_infinite(rows.take(y), "endog", rows.labels)
    designs = {}
    for name in matrices:
        if name not in tensors:
            designs[name] = build_design(name, ["Intercept"], ones(rows.count, endog_tensor), None, options.collinear)
            continue
        X, names = tensors[name]
        X = (X if used is None else X[used.to(X.device)]).to(options.device, options.dtype)
        net = name in inputs
        designs[name] = (
            input_design(name, names, X, None) if net else build_design(name, names, X, None, options.collinear)
        )
    return _finish(endog_tensor, endog_name, designs, found, rows, options, extras)


def _align_matrix(
    name: str, item: tuple[Tensor, list[str] | None, pd.Index | None], rows: Rows
) -> tuple[tuple[Tensor, list[str]], Rows]:
    """Check one matrix against the rows of the model and take its missing rows out."""
    X, names, own = item
    if own is not None and not own.equals(rows.index):
        order = align(pd.Series(np.arange(len(own)), index=own), name, rows.index, rows.total)
        X = X[torch.from_numpy(order.to_numpy().astype(np.int64))]
    if len(X) != rows.total:
        raise DataError(f"{name} has {len(X)} rows, but endog has {rows.total}.")
    names = names or default_names(X)
    bad = missing_and_infinite(X)
    if bad is not None:
        nan, inf = bad
        for j, column in enumerate(names):
            rows = rows.drop(nan[:, j], f"{column} missing")
        for j, column in enumerate(names):
            refuse_infinite(np.where(rows.take(inf[:, j]), np.inf, 0.0), f"{name} column {column!r}", rows.labels)
    return (X, names), rows


def from_frame(
    formula: str,
    data: Any,
    first: str,
    others: Mapping[str, str],
    extras: ExtraInputs,
    options: DataOptions,
    context: Mapping[str, Any],
) -> ModelData:
    """Build the data of a model from a table and formulas, one for each predictor."""
    data = as_frame(data)
    formulas = parse(formula, first, others, [str(c) for c in column_names(data)])
    have = set(column_names(data))
    wanted = [v for v in formulas.variables if v in have or v not in context]
    check_columns(data, wanted, "The formula")
    if frame_length(data) < 2:
        raise DataError("The data have 1 row; at least two are needed.")
    frame = take_columns(data, wanted)
    rows = Rows(frame_index(data))
    frame, context = _borrow(formulas, frame, context, rows)
    for name, missing in zip(frame.columns, frame.isna().to_numpy().T, strict=True):
        rows = rows.drop(missing, f"{name} missing")
    found, rows = read_extras(extras, data, rows)
    rows.settle(options.missing)
    matrices, specs, rows = _evaluate(formulas, frame, context, rows)
    rows.settle(options.missing)
    response = matrices.pop("response")
    endog = _tensor(_response(response, specs["response"], formulas.response.text), options)
    designs = {}
    for name, X in matrices.items():
        parts = (name, specs[name].column_names, _tensor(X, options), specs[name])
        net = isinstance(formula if name == first else others.get(name), InputFormula)
        designs[name] = input_design(*parts) if net else build_design(*parts, options.collinear)
    name = formulas.response.terms[0]
    return _finish(endog, name, designs, found, rows, options, extras, data, formulas, context)


def _borrow(
    formulas: Formulas, frame: pd.DataFrame, context: Mapping[str, Any], rows: Rows
) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    """Make columns of the caller's arrays that a formula uses, so that they are aligned and masked as all others."""
    own = {}
    for name in formulas.variables:
        if name not in frame.columns and isinstance(context.get(name), (pd.Series, np.ndarray, Tensor, list)):
            value = align(context[name], f"{name!r} in the formula", rows.index, rows.total)
            own[name] = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    if not own:
        return frame, context
    added = {k: v.to_numpy() if isinstance(v, pd.Series) else np.asarray(v) for k, v in own.items()}
    return frame.assign(**added), {k: v for k, v in context.items() if k not in own}


def _with_lag(frame: pd.DataFrame, context: Mapping[str, Any], rows: Rows) -> Mapping[str, Any]:
    """Let ``lag`` look at the rows of the data as they were given, not at those that are left."""

    def lag(series: pd.Series, periods: int = 1) -> pd.Series:
        whole = frame.get(series.name)
        if whole is None or len(series) != rows.count:
            raise FormulaError("lag() in a formula takes the name of a column, e.g. lag(x) or lag(x, 2).")
        moved = pd.Series(numeric_vector(whole, f"Column {series.name!r}")).shift(periods).to_numpy()
        return pd.Series(rows.take(moved), series.index)

    return {**context, "lag": lag}


def _evaluate(
    formulas: Formulas, frame: pd.DataFrame, context: Mapping[str, Any], rows: Rows
) -> tuple[dict[str, FloatArray], dict[str, Any], Rows]:
    """Evaluate all formulas on the rows in use; rows in which a term gives NaN go, with a warning."""
    parts: dict[str, Part] = {"response": formulas.response, **formulas.parts}
    if formulas.across_rows and rows.used is not None:
        raise FormulaError(
            f"The term {formulas.across_rows!r} looks at other rows, but {rows.total - rows.count} rows were dropped "
            "before it could be evaluated. Compute it as a column of the data first."
        )
    subset = prepare(rows.take(frame), formulas.categorical, formulas.arithmetic)
    while True:
        matrices, specs = {}, {}
        own = _with_lag(frame, context, rows)
        for name, part in parts.items():
            matrices[name], specs[name] = _materialised(part, subset, own)
        before = rows
        for name, X in matrices.items():
            for j, term in enumerate(specs[name].column_names):
                if len(X) == rows.count:
                    refuse_infinite(X[:, j], f"The term {term!r}", rows.labels)
        bad, cause = _not_a_number(matrices, specs)
        if bad.any() and formulas.across_rows:  # evaluated once, on all rows; what it cannot give is taken out
            warn(
                f"{int(bad.sum())} rows were dropped because the formula gives no number for them ({cause}).",
                DataWarning,
            )
            return {k: X[~bad] for k, X in matrices.items()}, specs, rows.drop_among_used(bad, cause)
        if not bad.any():
            _check_terms(matrices, specs)
            return matrices, specs, rows
        rows = rows.drop_among_used(bad, cause)
        warn(f"{int(bad.sum())} rows were dropped because the formula gives no number for them ({cause}).", DataWarning)
        rows.settle("drop")
        subset = subset.loc[~bad] if before.count == len(subset) else subset
        subset = prepare(subset, formulas.categorical, formulas.arithmetic)


def _check_terms(matrices: Mapping[str, FloatArray], specs: Mapping[str, Any]) -> None:
    """Refuse an empty right-hand side; warn of terms that give no column."""
    for name, X in matrices.items():
        if X.shape[1] == 0:
            raise DataError(f"The formula for {name!r} gives no column: it has neither an intercept nor a regressor.")
        for term, columns in specs[name].term_slices.items():
            if columns.stop == columns.start and str(term) not in ("0", "1"):
                warn(f"The term {str(term)!r} gives no column: it has one level only.", CollinearityWarning)


@dataclass(frozen=True)
class _ColumnSpec:
    """Say of a response that is a column what formulaic's ``ModelSpec`` says of other terms."""

    column_names: tuple[str, ...]
    term_slices: Mapping[str, slice]


def _materialised(part: Part, subset: pd.DataFrame, context: Mapping[str, Any]) -> tuple[FloatArray, Any]:
    """Evaluate a part; a boolean response counts as 0 and 1, not as two categories."""
    if part.name == "response" and len(part.variables) == 1:
        (name,) = part.variables
        if name in subset and part.terms == [name]:
            column = subset[name]
            if pd.api.types.is_bool_dtype(column.dtype) or column.dtype == np.float64:
                matrix = column.to_numpy(dtype=np.float64)[:, None]
                return matrix, _ColumnSpec((name,), {name: slice(0, 1)})
    return materialise(part.formula, subset, context, f"the formula {part.text!r}")


def _not_a_number(matrices: Mapping[str, FloatArray], specs: Mapping[str, Any]) -> tuple[BoolArray, str]:
    bad, causes = None, []
    for name, X in matrices.items():
        for j, term in enumerate(specs[name].column_names):
            nan = np.isnan(X[:, j])
            bad = nan if bad is None else bad | nan
            if nan.any():
                causes.append(f"{term} is not a number")
    assert bad is not None
    return bad, " or ".join(dict.fromkeys(causes))


def _response(matrix: FloatArray, spec: Any, text: str) -> FloatArray:
    if matrix.shape[1] != 1:
        levels = ", ".join(spec.column_names[:4])
        raise DataError(
            f"The response {text!r} is not one numeric column: it gives the columns {levels}. "
            "A binary response must be 0/1 or bool, e.g. I(y == 'yes') ~ x."
        )
    return np.ascontiguousarray(matrix[:, 0])


def _tensor(array: FloatArray, options: DataOptions) -> Tensor:
    return torch.tensor(np.ascontiguousarray(array), dtype=options.dtype, device=options.device)


def _finish(
    endog: Tensor,
    endog_name: str,
    designs: Mapping[str, Design],
    found: Extras,
    rows: Rows,
    options: DataOptions,
    given: ExtraInputs,
    frame: Any = None,
    formulas: Formulas | None = None,
    context: Mapping[str, Any] | None = None,
) -> ModelData:
    """Put the extras on the rows in use."""
    offset = None
    if found.offset is not None:
        kept = rows.take(found.offset)
        refuse_infinite(kept, "offset", rows.labels)
        offset = _tensor(kept, options)
    weights = None
    if found.weights is not None and found.weight_kind is not None:
        weights = Weights(found.weight_kind, _tensor(rows.take(found.weights), options))
    groups = encode(found.groups[0], rows.take(found.groups[1])) if found.groups else None
    row_data = {k: row_tensor(rows.take(v), options.dtype, options.device) for k, v in found.row_data.items()}
    return ModelData(
        endog,
        endog_name,
        designs,
        offset,
        weights,
        groups,
        row_data,
        rows,
        {k: v if isinstance(v, str) else None for k in ("offset", "exposure") if (v := getattr(given, k)) is not None},
        frame,
        formulas,
        context or {},
        given={"missing": options.missing, "collinear": options.collinear, **named_inputs(given)},
    )
