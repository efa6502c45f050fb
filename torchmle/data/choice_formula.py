"""Read formulas of choice models, ``choice ~ generic | by alternative | own``, and evaluate their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..errors import CollinearityWarning, DataError, DataWarning, FormulaError, listing, unknown, warn
from .choice_data import ChoiceData
from .choice_frames import Codes, Mask
from .choice_report import varies
from .formula import Formulas, Part, materialise, parse_parts
from .frames import check_columns, prepare
from .specs import formula_from_plain, formula_to_plain
from .vectors import FloatArray

GENERIC, BY_ALTERNATIVE, OWN = "generic", "by_alternative", "own"
PARTS = (GENERIC, BY_ALTERNATIVE, OWN)
INTERCEPT = "Intercept"
_ONE = [["1", "literal", "unknown"]]


@dataclass(frozen=True)
class Evaluated:
    """Hold the columns of one part: (rows, k), or (S, k) for variables of the situation."""

    names: tuple[str, ...]
    values: FloatArray
    spec: Any


def parse_choice(formula: str, data: ChoiceData) -> Formulas:
    """Return the parts of a formula that have terms; those without constants of alternatives get one for the coding.

    Raises
    ------
    FormulaError
        If there are more than three parts, or the response is not the choice of the data.
    """
    columns = [str(c) for c in data.frame.columns if c not in data.roles.names]
    response, parts = parse_parts(formula, columns)
    if len(parts) > 3:
        raise FormulaError(
            f"The formula {formula!r} has {len(parts)} parts; three are allowed: "
            "choice ~ generic | by alternative | own."
        )
    if response is not None and data.roles.choice is not None and response.terms != [data.roles.choice]:
        what = unknown("choice", response.text, [data.roles.choice])
        raise FormulaError(f"{what} The choice is the column that the data were made with, or leave it out: '~ x | z'.")
    if len(parts) == 1:
        parts += parse_parts("~ 1", columns)[1]
    found = {}
    for name, part in zip(PARTS, parts, strict=False):
        found[name] = part if name == BY_ALTERNATIVE else coded(part)
    kept = {name: p for name, p in found.items() if len(p.terms) > (name != BY_ALTERNATIVE)}
    empty = Part("response", "", formula_from_plain([]), frozenset())
    read = Formulas(empty, kept)
    _refuse_own_names(read, data)
    if not kept:
        raise FormulaError(f"The formula {formula!r} has no term, and no constants of alternatives.")
    return read


def coded(part: Part) -> Part:
    """Return a part with an intercept, so that categories leave one level out; its column is taken off later."""
    terms = [t for t in formula_to_plain(part.formula) if t != _ONE]
    return Part(part.name, part.text, formula_from_plain([_ONE, *terms]), part.variables)


def _refuse_own_names(formulas: Formulas, data: ChoiceData) -> None:
    """Refuse the choice as a regressor, and terms that look at other rows, which here are in another order."""
    if data.roles.choice in formulas.variables:
        raise FormulaError(f"{data.roles.choice!r} is the choice and also stands on the right-hand side.")
    term = formulas.across_rows or next((t for p in formulas.parts.values() for t in p.terms if "lag(" in t), None)
    if term:
        raise FormulaError(
            f"The term {term!r} looks at other rows, whose order is not that of your table here. Compute it as a "
            "column of the data first."
        )


def used_columns(formulas: Formulas, data: ChoiceData, context: Mapping[str, Any]) -> list[str]:
    """Return the columns that a formula needs; arrays are refused, as their rows cannot be matched."""
    wanted = [v for v in formulas.variables if v in data.frame.columns or v not in context]
    check_columns(data.frame, wanted, "The formula")
    for name in formulas.variables:
        if name not in wanted and isinstance(context[name], (pd.Series, pd.DataFrame, np.ndarray, torch.Tensor, list)):
            raise FormulaError(
                f"The formula uses {name!r}, which is an array and no column of the data: its rows cannot be matched "
                "with those of choice situations. Make it a column of the table first."
            )
    return wanted


def evaluate(
    formulas: Formulas, data: ChoiceData, context: Mapping[str, Any], specs: Mapping[str, Any] | None = None
) -> tuple[dict[str, Evaluated], ChoiceData]:
    """Evaluate the parts on the situations that have all values; ``specs`` are those of a fit to repeat."""
    columns = used_columns(formulas, data, context)
    data = data.complete(columns)
    while True:
        rows = prepare(data.frame[columns], formulas.categorical, formulas.arithmetic)
        found = {
            name: _evaluate_part(name, part, rows, data, context, None if specs is None else specs[name])
            for name, part in formulas.parts.items()
        }
        bad, causes = _not_numbers(found, data)
        if not bad.any():
            return found, data
        cause = " or ".join(causes)
        if data.missing == "raise":
            raise DataError(f"missing='raise', and {cause} in {int(bad.sum())} of {len(bad)} choice situations.")
        warn(
            f"{int(bad.sum())} choice situations were dropped because the formula gives no number for them ({cause}).",
            DataWarning,
        )
        data = data.select(~bad, cause)


def _evaluate_part(
    name: str, part: Part, rows: pd.DataFrame, data: ChoiceData, context: Mapping[str, Any], spec: Any
) -> Evaluated:
    """Evaluate one part; variables of the situation on one row a situation."""
    if name == BY_ALTERNATIVE:
        refuse_varying(part, rows, data.situation, data.starts, data.labels, "choice situations", _MOVE)
        rows = rows.iloc[data.starts]
    return evaluate_terms(part, rows, context, spec, keep_intercept=name == BY_ALTERNATIVE)


_MOVE = (
    "the second part of a formula takes variables of the situation or person only. Move it to the first part (one "
    "coefficient) or to the third (a coefficient for each alternative): choice ~ generic | by alternative | own"
)


def evaluate_terms(
    part: Part, rows: pd.DataFrame, context: Mapping[str, Any], spec: Any, keep_intercept: bool
) -> Evaluated:
    """Return the columns of a part, refusing infinite values."""
    values, made = materialise(part.formula if spec is None else spec, rows, context, f"the formula {part.text!r}")
    names = tuple(made.column_names)
    if spec is None:
        _warn_of_empty_terms(made)
    infinite = np.isinf(values).any(axis=0)
    if infinite.any():
        j = int(np.flatnonzero(infinite)[0])
        bad = np.isinf(values[:, j])
        raise DataError(
            f"The term {names[j]!r} is infinite in {int(bad.sum())} of {len(bad)} rows (e.g. row "
            f"{listing(rows.index[bad], 3)}). Recode or remove these values; they are never dropped silently."
        )
    if not keep_intercept and INTERCEPT in names:
        kept = [j for j, n in enumerate(names) if n != INTERCEPT]
        names, values = tuple(names[j] for j in kept), values[:, kept]
    return Evaluated(names, values, made)


def _warn_of_empty_terms(spec: Any) -> None:
    for term, columns in spec.term_slices.items():
        if columns.stop == columns.start and str(term) not in ("0", "1"):
            warn(f"The term {str(term)!r} gives no column: it has one level only.", CollinearityWarning)


def refuse_varying(
    part: Part, rows: pd.DataFrame, codes: Codes, starts: Codes, labels: pd.Index, what: str, advice: str
) -> None:
    """Raise if a column that a part uses differs between the rows of a unit."""
    for name in sorted(part.variables & set(rows.columns)):
        bad = varies(rows[name], codes, starts)
        if bad.any():
            units = np.unique(codes[bad])
            raise FormulaError(
                f"{name!r} differs between the rows of {len(units)} {what} (e.g. {listing(labels[units], 3)}), but "
                f"{advice}."
            )


def _not_numbers(found: Mapping[str, Evaluated], data: ChoiceData) -> tuple[Mask, list[str]]:
    """Return the situations for which a term is not a number, and which terms these are."""
    bad, causes = np.zeros(len(data), dtype=bool), []
    for name, part in found.items():
        nan = np.isnan(part.values)
        for j in np.flatnonzero(nan.any(axis=0)):
            rows = np.flatnonzero(nan[:, j])
            bad[rows if name == BY_ALTERNATIVE else data.situation[rows]] = True
            causes.append(f"{part.names[j]} is not a number")
    return bad, causes


def columns_of(texts: Sequence[str], data: ChoiceData, context: Mapping[str, Any]) -> list[str]:
    """Return the columns that one-sided formulas of persons need."""
    found: list[str] = []
    for text in texts:
        found += used_columns(parse_person(text, data, False), data, context)
    return list(dict.fromkeys(found))


def parse_person(text: str, data: ChoiceData, code: bool) -> Formulas:
    """Return a one-sided formula of variables of persons; with ``code`` it gets an intercept for the coding."""
    response, parts = parse_parts(text, [str(c) for c in data.frame.columns if c not in data.roles.names])
    if response is not None or len(parts) != 1:
        raise FormulaError(
            f"The formula of persons is {text!r}; it must be one-sided and of one part, such as '~ income'."
        )
    part = coded(parts[0]) if code else parts[0]
    formulas = Formulas(Part("response", "", formula_from_plain([]), frozenset()), {"persons": part})
    _refuse_own_names(formulas, data)
    return formulas
