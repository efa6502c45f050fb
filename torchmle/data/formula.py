"""Read formulas with formulaic, one for the main equation and one for each further parameter."""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd

from ..errors import FormulaError, nearest

PACKAGE = str(Path(__file__).parents[1]) + os.sep
"""Where the code of this package lies."""

_filters = threading.Lock()  # warning filters are global: one thread at a time changes them


@dataclass(frozen=True)
class Part:
    """Hold one parsed formula: its text, formulaic's formula, and the names that it needs."""

    name: str
    text: str
    formula: Any
    variables: frozenset[str]

    @property
    def terms(self) -> list[str]:
        """Return the terms as text."""
        return [str(t) for t in self.formula]


@dataclass(frozen=True)
class Formulas:
    """Hold the response and one right-hand side for each predictor."""

    response: Part
    parts: dict[str, Part]

    @property
    def variables(self) -> list[str]:
        """Return every name used, the response's first."""
        names = [*sorted(self.response.variables), *(v for p in self.parts.values() for v in sorted(p.variables))]
        return list(dict.fromkeys(names))

    @property
    def arithmetic(self) -> set[str]:
        """Return the names used inside Python expressions other than ``C(...)``."""
        factors = [f for p in [self.response, *self.parts.values()] for term in p.formula for f in term.factors]
        python = [str(f.expr) for f in factors if getattr(f.eval_method, "value", "") == "python"]
        return {n for text in python if not text.startswith("C(") for n in _python_names(text, self.variables)}

    @property
    def across_rows(self) -> str | None:
        """Return a term that looks at other rows, such as ``x.shift(1)``, or None."""
        for part in [self.response, *self.parts.values()]:
            for term in part.terms:
                if re.search(r"\.(shift|diff|cumsum|cumprod|cummax|cummin|rolling|expanding|rank|pct_change)\(", term):
                    return term
        return None

    @property
    def categorical(self) -> set[str]:
        """Return the names used inside ``C(...)``."""
        text = " ".join(t for p in [self.response, *self.parts.values()] for t in p.terms)
        inside = " ".join(re.findall(r"\bC\(([^()]*(?:\([^()]*\)[^()]*)*)\)", text))
        return {v for v in self.variables if re.search(rf"(?<![\w.]){re.escape(v)}(?![\w.])", inside)}


def parse(main: str, first: str, others: Mapping[str, str], columns: list[str]) -> Formulas:
    """Parse the main formula ``y ~ x`` for the predictor ``first``, and a one-sided formula for each other one.

    Every right-hand side has an intercept unless it says ``- 1`` or ``0 +``; ``.`` means all other columns.
    """
    structured = _read(main, "the main formula", columns)
    if not hasattr(structured, "lhs"):
        raise FormulaError(f"The formula {main!r} has no response. Write 'y ~ x1 + x2'.")
    if isinstance(structured.rhs, tuple):
        raise FormulaError(
            f"The formula {main!r} has several parts separated by '|'. Give further equations by keyword, "
            "e.g. from_formula('y ~ x', data, log_sigma='z')."
        )
    response = _part("response", main.split("~")[0].strip(), structured.lhs, columns)
    if len(response.terms) != 1:
        raise FormulaError(f"The formula {main!r} has {len(response.terms)} responses; one is allowed. Use I(a + b).")
    parts = {first: _part(first, main, structured.rhs, columns)}
    for name, text in others.items():
        parts[name] = _part(name, text, _right_side(text, name, columns), columns)
    _refuse_response_on_right(response, parts[first], main)
    return Formulas(response, parts)


def parse_parts(text: str, columns: list[str]) -> tuple[Part | None, list[Part]]:
    """Parse ``y ~ a | b | c`` or ``~ a | b``: the response, if there is one, and the parts between bars.

    Every part has an intercept unless it says ``- 1`` or ``0``.
    """
    from formulaic.formula import StructuredFormula

    structured = _read(text, "the formula", columns)
    response = None
    if hasattr(structured, "lhs"):
        response = _part("response", text.split("~")[0].strip(), structured.lhs, columns)
        structured = structured.rhs
    elif isinstance(structured, StructuredFormula):
        structured = structured.root
    parts = structured if isinstance(structured, tuple) else (structured,)
    return response, [_part(f"part {i}", text, part, columns) for i, part in enumerate(parts, 1)]


def _right_side(text: object, name: str, columns: list[str]) -> Any:
    if not isinstance(text, str):
        raise FormulaError(f"The formula for {name!r} is {text!r}; it must be a string such as '1 + educ'.")
    formula = _read(text, f"the formula for {name!r}", columns)
    if hasattr(formula, "lhs") or isinstance(formula, tuple):
        raise FormulaError(f"The formula for {name!r} is {text!r}; it must be one-sided, such as '~ educ'.")
    return formula


def _read(text: object, what: str, columns: list[str]) -> Any:
    from formulaic.errors import FormulaicError

    if not isinstance(text, str) or not text.strip():
        raise FormulaError(f"{what[0].upper()}{what[1:]} is {text!r}; it must be a string such as 'y ~ x1 + x2'.")
    try:
        return _parsed(text, tuple(columns))
    except SyntaxError as error:
        raise FormulaError(
            f"Cannot read {what} {text!r}: {error.text or error.msg} is no Python expression."
        ) from error
    except FormulaicError as error:
        plain = plain_message(error)
        hint = ""
        if re.search(r"operator '(<|>|=|!)", plain):
            hint = " Comparisons go inside I(...), as in I(y > 0) ~ x."
        raise FormulaError(f"Cannot read {what} {text!r}: {plain}{hint}") from error


@functools.lru_cache(maxsize=64)
def _parsed(text: str, columns: tuple[str, ...]) -> Any:
    """Return formulaic's formula, which nothing changes: repeated fits need not read it again."""
    from formulaic import Formula

    return Formula(text, _context={"__formulaic_variables_available__": list(columns)})


def plain_message(error: Exception) -> str:
    """Return formulaic's message without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m|[\u29da\u29db]", "", str(error)).strip()


def _part(name: str, text: str, formula: Any, columns: list[str]) -> Part:
    for term in formula:
        if re.match(r"offset\(", str(term)):
            inner = str(term)[len("offset(") : -1]
            raise FormulaError(f"offset() is not part of the formula language here. Pass offset={inner!r} by keyword.")
    return Part(name, text, formula, frozenset(_data_names(formula, columns)))


def _data_names(formula: Any, columns: list[str]) -> set[str]:
    """Return the names that must come from the data: all but functions called and modules."""
    names: set[str] = set()
    for factor in (f for term in formula for f in term.factors):
        method = getattr(factor.eval_method, "value", str(factor.eval_method))
        if method == "lookup":
            names.add(str(factor.expr))
        elif method == "python":
            names |= _python_names(str(factor.expr), columns)
    return names


def _python_names(expression: str, columns: list[str]) -> set[str]:
    """Return the names in a Python factor that stand for data, quoted ones included."""
    quoted = set(re.findall(r"`([^`]+)`", expression))
    try:
        tree = ast.parse(re.sub(r"`[^`]+`", "_", expression).strip(), mode="eval")
    except SyntaxError as error:
        raise FormulaError(f"The formula term {expression!r} is no Python expression: {error.msg}.") from error
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    modules = {n.value.id for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
    bound = {a.arg for n in ast.walk(tree) if isinstance(n, ast.Lambda) for a in n.args.args}
    plain = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - {"_"}
    return quoted | {n for n in plain if n in columns or n not in called | modules | bound}


def _refuse_response_on_right(response: Part, main: Part, text: str) -> None:
    both = set(main.terms) & set(response.terms)
    if not both and len(response.variables) == 1:
        both = set(response.variables & main.variables)
    if both:
        raise FormulaError(f"{sorted(both)[0]!r} is the response and also stands on the right-hand side of {text!r}.")


def caller_names(formulas: list[str], depth: int) -> dict[str, Any]:
    """Return the functions and variables of the caller that the formulas mention, for use inside them."""
    from formulaic.transforms import TRANSFORMS

    words = {w for f in formulas if isinstance(f, str) for w in re.findall(r"[A-Za-z_]\w*", f)} - set(TRANSFORMS)
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE) and frame.f_back is not None:
        frame = frame.f_back  # models that pass formulas on, such as WLS, are not the caller
    found: dict[str, Any] = {}
    if frame is not None:
        for scope in (frame.f_builtins, frame.f_globals, frame.f_locals):
            found.update({w: scope[w] for w in words if w in scope})
    return found


def materialise(formula: Any, frame: pd.DataFrame, context: Mapping[str, Any], what: str) -> tuple[Any, Any]:
    """Evaluate a formula or a fitted ModelSpec on a frame, keeping every row.

    Returns
    -------
    (matrix, spec)
        A writeable float64 array (n, k), NaN and infinities left in place, and formulaic's ModelSpec.

    Raises
    ------
    FormulaError
        If a factor cannot be evaluated, or new data have a level that the fit has not seen.
    """
    from formulaic.errors import DataMismatchWarning, FormulaicError

    with _filters, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", DataMismatchWarning)
        try:
            matrix = formula.get_model_matrix(frame, context=dict(context), na_action="ignore", output="numpy")
        except DataMismatchWarning as unseen:
            levels = re.search(r"\{.*\}", str(unseen))
            shown = levels.group(0) if levels else str(unseen)
            raise FormulaError(
                f"{what}: the new data have levels {shown} that were not in the data of the fit, "
                "so there is no coefficient for them. Drop these rows or refit."
            ) from None
        except (FormulaicError, TypeError, ValueError, NameError) as error:
            raise _cannot_evaluate(error, frame, what) from error
    if np.iscomplexobj(np.asarray(matrix)):
        raise FormulaError(f"{what} gives complex numbers. Only real numbers are allowed; take .real or abs() first.")
    array = np.array(matrix, dtype=np.float64, order="C", copy=True)  # formulaic hands out read-only views
    return array, matrix.model_spec


def _cannot_evaluate(error: Exception, frame: pd.DataFrame, what: str) -> FormulaError:
    text = re.sub(r"\s+", " ", str(error))
    absent = re.search(r"name '(\w+)' is not defined|NameError: `(.+?)` is not present", text)
    if absent:
        name = absent.group(1) or absent.group(2)
        hint = nearest(name, map(str, frame.columns))
        return FormulaError(f"{what} uses {name!r}, which is no column of the data and no known function.{hint}")
    return FormulaError(f"Cannot evaluate {what}: {text}")


def names_in(term: Any, columns: list[str]) -> set[str]:
    """Return the names of the data that stand in a term."""
    return _data_names([term], columns)


_JUMPING = "where floor ceil round rint trunc fix sign cut qcut digitize isin searchsorted select piecewise heaviside"
STEPS = frozenset([*_JUMPING.split(), "astype", "between", "int", "C"])
"""Functions that jump: their value does not follow a small change of the argument."""


def names_in_steps(term: Any) -> set[str]:
    """Return the names inside comparisons and functions that jump, such as ``I(x > 3)`` or ``np.floor(x)``."""
    found: set[str] = set()
    for factor in term.factors:
        if getattr(factor.eval_method, "value", "") != "python":
            continue
        text, quoted = str(factor.expr), {}
        for i, name in enumerate(re.findall(r"`([^`]+)`", text)):
            text, quoted[f"quoted_{i}_"] = text.replace(f"`{name}`", f"quoted_{i}_"), name
        for node in ast.walk(ast.parse(text.strip(), mode="eval")):
            called = isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in STEPS
            if called or isinstance(node, ast.Compare):
                found |= {quoted.get(n.id, n.id) for n in ast.walk(node) if isinstance(n, ast.Name)}
    return found


def levels_in(formulas: Formulas) -> set[str]:
    """Return the names that enter by their levels: those that stand alone as the first argument of ``C(...)``."""
    factors = [str(f.expr) for p in formulas.parts.values() for term in p.formula for f in term.factors]
    heads = [re.match(r"C\(\s*(?:`([^`]+)`|([A-Za-z_]\w*))\s*[,)]", text) for text in factors]
    return {m[1] or m[2] for m in heads if m}
