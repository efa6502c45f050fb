"""Make tensors of choice data: (situations, alternatives, coefficients), with names, for any model of choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CollinearityWarning, DataError, FormulaError, OptionError, listing, unknown, warn
from .choice_data import ChoiceData as ChoiceData
from .choice_formula import (
    BY_ALTERNATIVE,
    GENERIC,
    INTERCEPT,
    OWN,
    Evaluated,
    columns_of,
    evaluate,
    evaluate_terms,
    parse_choice,
    parse_person,
    refuse_varying,
    used_columns,
)
from .choice_frames import Codes
from .crossproducts import cross_products, find_collinear
from .design import Design, build_design
from .formula import Formulas
from .frames import prepare
from .matrix import own_tensor


@dataclass(frozen=True)
class Column:
    """Say where a coefficient's column comes from: part, number of the term, and alternative unless it is generic."""

    name: str
    part: str
    term: int
    alternative: Any = None


@dataclass(frozen=True, eq=False)
class ChoiceDesign:
    """Hold the attributes of alternatives, one column a coefficient.

    Attributes
    ----------
    names : of the K coefficients: constants of alternatives (``asc_bus``), generic ones (``price``), those of the
        situation's variables (``income:bus``), those of alternatives' own (``time:bus``).
    X : (S, J, K), zero where an alternative is not available.
    available : (S, J) bool, or None where every alternative always is.
    chosen : (S,) position of the chosen alternative, -1 where it is not known.
    person : (S,) codes of persons, nondecreasing.
    base : label of the alternative without constant.
    data : the situations in use, in the order of the rows; None where arrays were given.
    dropped : names of columns dropped as collinear.
    labels : of the alternatives, where arrays were given.
    """

    names: tuple[str, ...]
    X: Tensor
    available: Tensor | None
    chosen: Tensor
    person: Tensor
    base: Any
    data: ChoiceData | None
    dropped: tuple[str, ...] = ()
    formula: str = ""
    formulas: Formulas | None = None
    columns: tuple[Column, ...] = ()
    specs: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[Any, ...] = ()

    @property
    def generic(self) -> bool:
        """Return whether no coefficient belongs to an alternative, so that any alternatives can be compared."""
        return all(c.alternative is None for c in self.columns)

    def again(self, data: ChoiceData) -> ChoiceDesign:
        """Return the same columns for other data: levels and states of transforms are those of the fit.

        Raises
        ------
        DataError
            If the data have alternatives that the fit did not know, unless all coefficients are generic; or levels
            that it has not seen.
        """
        if self.formulas is None:
            raise FormulaError("This design was made of arrays; give an array for new situations.")
        known = self.labels if self.data is None else self.data.alternatives
        new = [a for a in data.alternatives if a not in known]
        if new and not self.generic:
            lacking = [c.name for c in self.columns if c.alternative is not None]
            raise DataError(
                f"The data have alternatives that the fit did not know: {listing(map(repr, new))}. There are no "
                f"coefficients for them like {listing(lacking, 3)}. Only models with generic coefficients alone "
                f"('choice ~ x | 0') can compare new alternatives. Those of the fit: {listing(map(repr, known))}."
            )
        parts, data = evaluate(self.formulas, data, self.context, self.specs)
        return replace(self, data=data, **_tensors(parts, self.columns, data, self.X.dtype, self.X.device))


def choice_design(
    formula: str,
    data: ChoiceData,
    *,
    base: Any = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    context: Mapping[str, Any] | None = None,
    collinear: str = "drop",
    also: Sequence[str] = (),
) -> ChoiceDesign:
    """Return the design of a formula ``choice ~ generic | by alternative | own``.

    Parameters
    ----------
    base : the alternative whose constant is zero; by default the first.
    context : functions and numbers of the caller that the formula may use.
    collinear : ``"drop"`` columns that others determine within situations, with a warning, or ``"raise"``.
    also : formulas of persons whose variables must be there as well; see :func:`person_matrix`.

    Raises
    ------
    FormulaError
        If a term stands in the wrong part: one of the second varies within situations, or one of the first never does.
    DataError
        If a coefficient is not identified: of an alternative that is never chosen, or always where it is available.
    """
    context = context or {}
    base = data.alternatives[0] if base is None else base
    if base not in data.alternatives:
        raise OptionError(unknown("base alternative", base, map(str, data.alternatives)))
    if collinear not in ("drop", "raise"):
        raise OptionError(unknown("collinear", collinear, ("drop", "raise")))
    formulas = parse_choice(formula, data)
    data = data.complete(columns_of(also, data, context))
    parts, data = evaluate(formulas, data, context)
    columns = _columns(parts, data.alternatives, base)
    made = _tensors(parts, columns, data, torch.float64, torch.device("cpu"))
    kept = _identified(made["X"], columns, data, base, collinear)
    columns_kept = tuple(columns[k] for k in kept)
    X = made["X"] if len(kept) == len(columns) else made["X"][:, :, list(kept)]
    made = {k: v if v is None else v.to(device) for k, v in made.items()}
    return ChoiceDesign(
        tuple(c.name for c in columns_kept),
        X.to(device, dtype),
        made["available"],
        made["chosen"],
        made["person"],
        base,
        data,
        tuple(c.name for c in columns if c not in columns_kept),
        formula,
        formulas,
        columns_kept,
        {name: part.spec for name, part in parts.items()},
        dict(context),
    )


def _columns(parts: Mapping[str, Evaluated], alternatives: tuple[Any, ...], base: Any) -> list[Column]:
    """Return the columns in the order in which coefficients are reported."""
    others = [a for a in alternatives if a != base]
    constants, found = [], []
    for part, made in parts.items():
        for j, term in enumerate(made.names):
            if part == GENERIC:
                found.append(Column(term, part, j))
            elif part == OWN:
                found += [Column(f"{term}:{a}", part, j, a) for a in alternatives]
            elif term == INTERCEPT:
                constants += [Column(f"asc_{a}", part, j, a) for a in others]
            else:
                found += [Column(f"{term}:{a}", part, j, a) for a in others]
    columns = [*constants, *found]
    names = [c.name for c in columns]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise FormulaError(
            f"Two coefficients would be called {listing(map(repr, twice))}. A term stands in one part of a formula "
            "only, and a column may not bear the name of a constant."
        )
    return columns


def _tensors(
    parts: Mapping[str, Evaluated],
    columns: Sequence[Column],
    data: ChoiceData,
    dtype: torch.dtype,
    device: torch.device,
) -> dict[str, Any]:
    """Return X (S, J, K), ``available``, ``chosen`` and ``person``."""
    S, J, K = len(data), len(data.alternatives), len(columns)
    cells = data.situation * J + data.alternative
    rows_of = [np.flatnonzero(data.alternative == j) for j in range(J)]
    X = np.zeros((S * J, K))
    for k, column in enumerate(columns):
        values = parts[column.part].values[:, column.term]
        if column.alternative is None:
            X[cells, k] = values
        elif column.alternative in data.alternatives:
            rows = rows_of[data.alternatives.index(column.alternative)]
            X[cells[rows], k] = values[data.situation[rows] if column.part == BY_ALTERNATIVE else rows]
    available = None
    if len(cells) < S * J:
        there = np.zeros(S * J, dtype=bool)
        there[cells] = True
        available = torch.from_numpy(there.reshape(S, J)).to(device)
    return {
        "X": torch.from_numpy(X.reshape(S, J, K)).to(device, dtype),
        "available": available,
        "chosen": torch.from_numpy(data.chosen.copy()).to(device),
        "person": torch.from_numpy(data.person.copy()).to(device),
    }


def _identified(X: Tensor, columns: Sequence[Column], data: ChoiceData, base: Any, collinear: str) -> list[int]:
    """Return the columns that differences within situations identify; say which are not, or have no estimate."""
    cells = torch.from_numpy(data.situation * X.shape[1] + data.alternative)
    rows = X.flatten(0, 1) if len(cells) == X.shape[0] * X.shape[1] else X.flatten(0, 1)[cells]
    first = rows[torch.from_numpy(data.starts[data.situation])]
    differences = torch.sub(rows, first, out=first)
    fixed = (differences == 0).all(0).tolist()
    still = [c.name for c, same in zip(columns, fixed, strict=True) if same and c.part == GENERIC]
    if still:
        raise FormulaError(
            f"{listing(map(repr, still))} never varies within a choice situation, so that one coefficient for all "
            "alternatives is not identified. Put it in the second part, for a coefficient by alternative: "
            f"'choice ~ ... | {still[0]}', or let it interact with an attribute: 'price:{still[0]}'."
        )
    _refuse_certain(columns, rows, data, base)
    if len(rows) - len(data) < len(columns):
        raise DataError(
            f"{len(columns)} coefficients cannot be estimated from {len(rows) - len(data)} comparisons of alternatives "
            f"in {len(data)} choice situations: {listing(c.name for c in columns)}."
        )
    found = find_collinear(differences, cross_products(differences))
    if found:
        _announce(found, columns, collinear)
    gone = {d.column for d in found}
    return [k for k in range(len(columns)) if k not in gone]


def _announce(found: Sequence[Any], columns: Sequence[Column], collinear: str) -> None:
    lines = []
    for d in found:
        if d.others:
            others = listing(columns[k].name for k in d.others)
            lines.append(f"within situations {columns[d.column].name!r} is an exact linear combination of {others}")
        else:
            lines.append(f"{columns[d.column].name!r} never varies within a situation")
    text = "; ".join(lines)
    if collinear == "raise":
        raise DataError(f"Collinear columns: {text}. Take them out, or use collinear='drop' to drop the last of each.")
    warn(f"Dropped {listing(repr(columns[d.column].name) for d in found)}: {text}.", CollinearityWarning)


def _refuse_certain(columns: Sequence[Column], rows: Tensor, data: ChoiceData, base: Any) -> None:
    """Raise where an alternative's own coefficient would run away, as it is never chosen, or always where available.

    A coefficient whose variable has one sign runs away; where the variable has both, a finite one fits best.
    """
    if (data.chosen < 0).any():
        return
    contested = np.bincount(data.situation)[data.situation] > 1
    count = np.bincount(data.alternative[contested], minlength=len(data.alternatives))
    picked = data.chosen[np.bincount(data.situation) > 1]
    picks = np.bincount(picked, minlength=len(data.alternatives))
    for j, label in enumerate(data.alternatives):
        if 0 < picks[j] < count[j]:
            continue
        own = [k for k, c in enumerate(columns) if c.alternative == label]
        if label == base:
            own += [k for k, c in enumerate(columns) if c.part == BY_ALTERNATIVE]
        values = rows[torch.from_numpy(np.flatnonzero(contested))][:, own]
        sure = ((values >= 0).all(0) | (values <= 0).all(0)).tolist()
        names = [columns[k].name for k, runs in zip(own, sure, strict=True) if runs]
        if names:
            how = "never chosen" if not picks[j] else f"chosen in all {count[j]} situations in which it is available"
            raise DataError(
                f"The alternative {label!r} is {how}, so that there is no finite estimate of {listing(names)}. Take it "
                f"out with data.without({label!r}).decided(), or leave constants and coefficients by alternative out: "
                "'choice ~ x | 0'."
            )


@dataclass(frozen=True, eq=False)
class PersonDesign:
    """Hold variables of persons, one row a person.

    Attributes
    ----------
    names : of the L columns; ``Intercept`` is the constant.
    X : (persons, L), in the order of ``data.person_labels``.
    design : with collinear columns dropped.
    """

    names: tuple[str, ...]
    X: Tensor
    design: Design
    formulas: Formulas
    constant: bool
    context: Mapping[str, Any] = field(default_factory=dict)

    def again(self, data: ChoiceData) -> PersonDesign:
        """Return the same columns for the persons of other data."""
        made = _person_terms(self.formulas, data, self.context, self.design.spec, self.constant)
        X = self.design.select(own_tensor(made.values)).to(self.X.device, self.X.dtype)
        return replace(self, X=X)


def person_matrix(
    formula: str,
    data: ChoiceData,
    *,
    constant: bool = True,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    context: Mapping[str, Any] | None = None,
    collinear: str = "drop",
) -> PersonDesign:
    """Return variables that do not vary within a person, for means of random coefficients or membership in classes.

    Parameters
    ----------
    formula : one-sided, ``"~ income + C(region)"``. Without persons in the data, each situation is a person.
    constant : whether the intercept is among the columns, as the formula says; False takes it off.

    Raises
    ------
    FormulaError
        If a variable varies within a person.
    DataError
        If values are missing: name the formula in ``also`` of :func:`choice_design`, and use its data.
    """
    context = context or {}
    formulas = parse_person(formula, data, not constant)
    made = _person_terms(formulas, data, context, None, constant)
    X = own_tensor(made.values).to(device, dtype)
    design = build_design("persons", made.names, X, made.spec, collinear)
    return PersonDesign(design.terms, design.X, design, formulas, constant, dict(context))


def _person_terms(
    formulas: Formulas, data: ChoiceData, context: Mapping[str, Any], spec: Any, constant: bool
) -> Evaluated:
    part = formulas.parts["persons"]
    columns = used_columns(formulas, data, context)
    lost = len(data) - len(data.complete(columns))
    if lost:
        raise DataError(
            f"Variables of the formula {part.text!r} are missing in {lost} of {len(data)} choice situations. Drop "
            f"these first: data.complete({columns!r})."
        )
    rows = prepare(data.frame[columns], formulas.categorical, formulas.arithmetic)
    person = data.person[data.situation]
    heads: Codes = np.flatnonzero(np.diff(person, prepend=-1))
    what, advice = "persons", "the formula of persons takes variables that stay the same for a person"
    refuse_varying(part, rows, person, heads, data.person_labels, what, advice)
    made = evaluate_terms(part, rows.iloc[heads], context, spec, keep_intercept=constant)
    if np.isnan(made.values).any():
        names = [n for j, n in enumerate(made.names) if np.isnan(made.values[:, j]).any()]
        raise DataError(f"{listing(names)} is not a number for some persons. Mend it, or take these persons out.")
    return made
