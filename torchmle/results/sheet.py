"""Build the designs of a fit again, with columns of the user's data changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.absent import need_rows
from ..data.batch import ModelData
from ..data.design import Design
from ..data.formula import Formulas, levels_in, materialise, names_in, names_in_steps
from ..data.frames import as_frame, column_names, prepare, take_column, take_columns
from ..data.vectors import FloatArray
from ..errors import DataWarning, OptionError, unheard

CHUNK = 50_000
"""Rows whose designs are built at a time."""

LOOKED_AT = 50
"""Rows on which the base level of a category is found: the one whose columns are zero."""


@dataclass(frozen=True)
class Involved:
    """Hold the part of a design in which some variables stand.

    Attributes
    ----------
    spec : the formula of these terms, or the names of columns of arrays.
    source, target : positions among the columns that ``spec`` gives, and among those of the design.
    """

    spec: Any
    source: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True)
class Sheet:
    """Hold the rows in use as the user wrote them down: one column for each variable of the formulas.

    A model of arrays has its regressors for columns; those of further predictors as ``predictor:column``.

    Attributes
    ----------
    weights : what a row counts in averages: 1, the number of its copies, or its sampling weight.
    booleans : columns that were boolean, whatever they became in arithmetic.
    """

    data: ModelData
    frame: pd.DataFrame
    weights: FloatArray
    booleans: frozenset[str] = frozenset()
    _found: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def variables(self) -> list[str]:
        """Return the variables whose effects are identified, in the order of the first formula."""
        return [str(c) for c in self.frame.columns if c not in self.constants and c not in self.lost]

    @property
    def constants(self) -> list[str]:
        """Return the columns of arrays that do not vary."""
        if "constants" not in self._found:
            columns = {} if self.data.formulas is not None else {str(c): self.frame[c].to_numpy() for c in self.frame}
            self._found["constants"] = [c for c, x in columns.items() if (x == x[0]).all()]
        return list(self._found["constants"])

    @property
    def lost(self) -> list[str]:
        """Return the variables all of whose columns were dropped as collinear."""
        if "lost" not in self._found:
            none = [str(c) for c in self.frame if not any(p.target for p in self.involved({str(c)}).values())]
            self._found["lost"] = none
        return list(self._found["lost"])

    def is_categorical(self, name: str) -> bool:
        """Return whether a variable enters by its levels."""
        named = self.data.formulas is not None and name in levels_in(self.data.formulas)
        return named or name in self.booleans or not pd.api.types.is_numeric_dtype(self.frame[name].dtype)

    def levels(self, name: str) -> list[Any]:
        """Return the levels of a categorical variable, the base first: the one whose columns are zero."""
        if ("levels", name) not in self._found:
            self._found["levels", name] = self._levels(name)
        return list(self._found["levels", name])

    def _levels(self, name: str) -> list[Any]:
        column = self.frame[name]
        found = list(column.cat.categories) if isinstance(column.dtype, pd.CategoricalDtype) else sorted(set(column))
        found = [bool(v) for v in found] if name in self.booleans else found
        part = slice(0, LOOKED_AT)
        sizes = [self._size(changed(self.frame.iloc[part], {name: level}), name) for level in found]
        base = int(np.argmin(sizes))
        return [found[base], *(v for i, v in enumerate(found) if i != base)]

    def _size(self, frame: pd.DataFrame, name: str) -> float:
        return sum(float(np.abs(new).sum()) for _, new in self.columns(frame, {name}).values())

    def involved(self, names: Iterable[str]) -> dict[str, Involved]:
        """Return the terms of each predictor in which any of some variables stands."""
        key = frozenset(names)
        if key not in self._found:
            designs = self.data.designs
            self._found[key] = {n: self._involved(j, d, key) for j, (n, d) in enumerate(designs.items())}
        found: dict[str, Involved] = self._found[key]
        return found

    def _involved(self, position: int, design: Design, names: frozenset[str]) -> Involved:
        if self.data.formulas is None:
            own = {c: i for i, c in enumerate(_columns(position, design)) if c in names}
            return Involved(list(own), tuple(range(len(own))), tuple(own.values()))
        terms = [t for t in design.spec.formula if names & names_in(t, list(self.frame.columns))]
        spec = design.spec.subset(terms)
        kept = {name: i for i, name in enumerate(design.terms)}
        pairs = [(j, kept[name]) for j, name in enumerate(spec.column_names) if name in kept]
        return Involved(spec, tuple(j for j, _ in pairs), tuple(i for _, i in pairs))

    def stepped(self, name: str) -> dict[str, set[int]]:
        """Return the columns of each predictor in which a variable stands inside a comparison or the like."""
        if self.data.formulas is None:
            return {}
        found = {}
        for key, design in self.data.designs.items():
            terms = [t for t in design.spec.formula if name in names_in_steps(t)]
            columns = design.spec.subset(terms).column_names
            found[key] = {i for i, term in enumerate(design.terms) if term in columns}
        return found

    def is_linear(self, name: str) -> bool:
        """Return whether a variable stands for itself in every term, with no function around it."""
        formulas = self.data.formulas
        return formulas is None or stands_alone(formulas, name, list(self.frame.columns))

    def columns(self, frame: pd.DataFrame, names: Iterable[str]) -> dict[str, tuple[list[int], FloatArray]]:
        """Return the columns with some variables in them, by position, for (changed) rows of the sheet."""
        found = {}
        for key, part in self.involved(names).items():
            if not part.target:
                new = np.empty((len(frame), 0))
            elif self.data.formulas is None:
                new = frame[part.spec].to_numpy(dtype=np.float64)
            else:
                new = materialise(part.spec, frame, self.data.context, "margins")[0][:, list(part.source)]
            found[key] = (list(part.target), new)
        return found

    def designs(self, part: slice, frame: pd.DataFrame, names: Iterable[str]) -> dict[str, Tensor]:
        """Return the design of each predictor for rows in which some variables were changed.

        Raises
        ------
        OptionError
            If a term has no value there, such as the log of zero.
        """
        here = {key: design.X[part] for key, design in self.data.designs.items()}
        for key, (positions, new) in self.columns(frame, names).items():
            if positions:
                self.need_finite(key, positions, new)
                moved = here[key].clone()
                moved[:, positions] = torch.tensor(new).to(moved)  # a copy: a column of a frame cannot be written to
                here[key] = moved
        return here

    def need_finite(self, key: str, positions: list[int], values: FloatArray) -> None:
        """Refuse columns that are no numbers."""
        bad = ~np.isfinite(values).all(0)
        if bad.any():
            term = self.data.designs[key].terms[positions[int(np.flatnonzero(bad)[0])]]
            raise OptionError(
                f"margins: the term {term!r}, or its slope, is not a finite number at the values asked for, such as "
                "log(x) at zero. Ask for other values with at=."
            )

    def chunks(self) -> Iterator[slice]:
        """Yield the row ranges in which designs are built."""
        for a in range(0, len(self.frame), CHUNK):
            yield slice(a, min(a + CHUNK, len(self.frame)))


def stands_alone(formulas: Formulas, name: str, columns: list[str]) -> bool:
    """Return whether a variable stands for itself in every term of some formulas, with no function around it."""
    return not any(
        name in names_in(term, columns) and name not in _plain_factors(term)
        for part in formulas.parts.values()
        for term in part.formula
    )


def _plain_factors(term: Any) -> set[str]:
    """Return the names that stand alone in a term, and nowhere else in it."""
    plain = [str(f.expr) for f in term.factors if getattr(f.eval_method, "value", "") == "lookup"]
    others = {n for f in term.factors if str(f.expr) not in plain for n in _words(str(f.expr))}
    return set(plain) - others


def _words(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text)) | set(re.findall(r"[^\W\d]\w*", text))


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
    weights = row_weights(data)
    formulas = data.formulas
    if formulas is None:
        columns: dict[str, Any] = {}
        for j, design in enumerate(data.designs.values()):
            X = design.X.detach().cpu().double().numpy()
            columns |= {name: X[:, i] for i, name in enumerate(_columns(j, design))}
        return Sheet(data, pd.DataFrame(columns, index=data.rows.labels), weights)
    terms = [term for part in formulas.parts.values() for term in part.terms]
    across = formulas.across_rows or next((t for t in terms if re.search(r"\blag\(", t)), None)
    if across:
        raise OptionError(f"margins are not defined: the term {across!r} looks at other rows.")
    table = as_frame(data.frame)
    right = dict.fromkeys(v for p in formulas.parts.values() for v in _in_order(p))
    wanted = [v for v in right if v in column_names(table)]
    if not wanted:
        return Sheet(data, pd.DataFrame(index=data.rows.labels), weights)
    raw = data.rows.take(take_columns(table, wanted))
    with unheard(DataWarning):  # what there is to say was said when the model was built
        frame = prepare(raw, formulas.categorical, formulas.arithmetic)
    booleans = frozenset(v for v in wanted if pd.api.types.is_bool_dtype(raw[v].dtype))
    return Sheet(data, frame, weights, booleans)


def row_weights(data: ModelData) -> FloatArray:
    """Return what rows count in an average: counts and sampling weights do, precisions do not."""
    if data.weights is None or data.weights.kind == "var_weights":
        return np.ones(len(data.endog))
    return data.weights.values.cpu().double().numpy().copy()


def _in_order(part: Any) -> list[str]:
    """Return the variables of a formula in the order in which they are written."""
    return sorted(part.variables, key=lambda name: (part.text.find(name), name))


def grouping(data: ModelData, name: str) -> pd.Series:
    """Return a column of the user's table for the rows in use."""
    return pd.Series(data.rows.take(take_column(as_frame(data.frame), name)))


def changed(frame: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """Return rows with some columns set to values; categories keep their levels."""
    new = {}
    for name, value in values.items():
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            new[name] = pd.Series(pd.Categorical([value] * len(frame), dtype=column.dtype), frame.index)
        else:
            new[name] = pd.Series([value] * len(frame), frame.index, dtype=column.dtype)
    return frame.assign(**new)


def with_designs(data: ModelData, matrices: Mapping[str, Tensor], rows: slice) -> ModelData:
    """Return the data of some rows with other regressors, without weights and groups."""
    return replace(
        data,
        endog=data.endog[rows],
        designs={name: replace(design, X=matrices[name]) for name, design in data.designs.items()},
        offset=None if data.offset is None else data.offset[rows],
        weights=None,
        groups=None,
        row_data={name: value[rows] for name, value in data.row_data.items()},
    )
