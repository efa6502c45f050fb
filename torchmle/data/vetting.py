"""Say which formula terms may be evaluated when they come from a file: formulas are Python, and a file is anybody's."""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Collection, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from scipy import special

from .formula import Formulas, Part

MODULES: Mapping[str, ModuleType] = {"numpy": np, "math": math, "scipy.special": special}
"""Modules whose functions a file may name."""

FUNCTIONS = {"abs", "min", "max", "sum", "round", "float", "int", "bool", "str", "len"}
"""Functions of Python itself that a formula may call."""

ARRAYS = {
    "where", "clip", "round", "around", "cumsum", "cumprod", "diff", "mean", "std", "var", "median", "min", "max",
    "sum", "quantile", "percentile", "interp", "digitize", "searchsorted", "nan_to_num", "minimum", "maximum",
    "power", "isin", "full_like", "ones_like", "zeros_like", "pi", "e", "inf", "nan", "float64", "int64", "bool_",
}  # fmt: skip
"""Names of numpy beside its elementwise functions."""

METHODS = {
    "abs", "astype", "clip", "fillna", "isin", "between", "round", "eq", "ne", "lt", "le", "gt", "ge", "add", "sub",
    "mul", "div", "pow", "mod", "floordiv", "truediv", "notna", "isna", "mean", "std", "var", "median", "min", "max",
    "sum", "quantile", "shift", "diff", "cumsum", "cumprod", "cummax", "cummin", "rank", "pct_change", "where",
    "mask", "str", "dt", "cat", "codes", "lower", "upper", "strip", "startswith", "endswith", "contains", "len",
    "year", "month", "day", "dayofweek", "dayofyear", "hour",
}  # fmt: skip
"""Methods and accessors of a column."""

NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Name)
NODES += (ast.Attribute, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.keyword)  # type: ignore[assignment]
NODES += (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)  # type: ignore[assignment]


def obstacle(formulas: Formulas, context: Collection[str], response: bool = False) -> str | None:
    """Return why a file cannot hold what the formulas compute on new data, or None.

    Parameters
    ----------
    context : names of the caller's that are known to be harmless, see :func:`describe_known`.
    response : whether the response counts as well, which predictions do not need.
    """
    for part in [*([formulas.response] if response else []), *formulas.parts.values()]:
        for expression in _python(part):
            why = _refused(expression, part.variables, context)
            if why is not None:
                return f"the term {expression!r} uses {why}"
    return None


def _python(part: Part) -> Iterator[str]:
    """Yield the factors of a formula that are Python expressions."""
    for term in part.formula:
        for factor in term.factors:
            if factor.eval_method.value == "python":
                yield str(factor.expr)


def _refused(expression: str, variables: Collection[str], context: Collection[str]) -> str | None:
    """Return what an expression uses beside columns and harmless functions, or None."""
    from formulaic.transforms import TRANSFORMS
    from formulaic.utils.code import sanitize_variable_names

    aliases: dict[str, str] = {}
    try:
        tree = ast.parse(sanitize_variable_names(expression, {}, aliases), mode="eval")
    except SyntaxError:
        return "no Python expression"
    known = {*variables, *aliases, *TRANSFORMS, *context, *FUNCTIONS}
    for node in ast.walk(tree):
        if not isinstance(node, NODES):
            return f"Python's {type(node).__name__}"
        if isinstance(node, ast.Name) and node.id not in known:
            return repr(node.id)
        if isinstance(node, ast.Attribute) and not _allowed(node, context):
            return repr(ast.unparse(node))
        if isinstance(node, ast.Call) and not isinstance(node.func, (ast.Name, ast.Attribute)):
            return "the result of a call as a function"
        if isinstance(node, ast.keyword) and (node.arg is None or node.arg.startswith("_") or node.arg == "hash_func"):
            return f"the argument {node.arg!r}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hashed":
            return "'hashed'"
    return None


def _allowed(node: ast.Attribute, context: Collection[str]) -> bool:
    """Return whether an attribute is a harmless function of a module, a contrast, or a method of a column."""
    if isinstance(node.value, ast.Name):
        name = node.value.id
        if name in ("np", "numpy", "math", "special") and (name in context or name == "np"):
            functions = [getattr(module, node.attr, None) for module in MODULES.values()]
            return any(isinstance(f, np.ufunc) for f in functions) or node.attr in ARRAYS or hasattr(math, node.attr)
        if name == "contr":
            return not node.attr.startswith("_")
    return node.attr in METHODS


def describe_known(value: Any) -> list[str] | None:
    """Return module and name of a function or module that a file may name, or None."""
    for path, module in MODULES.items():
        if value is module:
            return [path, ""]
        name = getattr(value, "__name__", "")
        own = isinstance(value, np.ufunc) or (module is math and not name.startswith("_"))
        if own and name and getattr(module, name, None) is value:
            return [path, name]
    name = getattr(value, "__name__", "")
    return ["builtins", name] if name in FUNCTIONS and getattr(builtins, name) is value else None


def find_known(path: str, name: str) -> Any:
    """Return what :func:`describe_known` described; anything else is a KeyError."""
    if path == "builtins" and name in FUNCTIONS:
        return getattr(builtins, name)
    module = MODULES[path]
    value = getattr(module, name) if name else module
    if describe_known(value) != [path, name]:
        raise KeyError(name)
    return value
