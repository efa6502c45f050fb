"""Read arithmetic in the names of parameters: a grammar of its own, in which nothing can be called but a few functions.

Names that are no words, such as ``I(exper ** 2)`` or ``log_sigma:educ``, may stand as they are or in backticks.
"""

from __future__ import annotations

import ast
import itertools
import keyword
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import OptionError, unknown

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}

MOST = 2_000
"""Characters of a text that is read."""


def read_expressions(text: str, names: Sequence[str], what: str) -> list[ast.expr]:
    """Return the expressions of a text, parted by commas; parameters are names that :func:`evaluate` knows.

    Raises
    ------
    OptionError
        If it cannot be read.
    """
    if len(text) > MOST:
        raise OptionError(f"{_capital(what)} has {len(text)} characters; at most {MOST} are read.")
    quoted = _with_words(text, names, what)
    try:
        tree = ast.parse(re.sub(r"(?<![=<>!])=(?!=)", "==", quoted).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        shown = what if repr(text) in what else f"{what} {text!r}"
        raise OptionError(f"Cannot read {shown}. Write arithmetic in the names: {_some(names)}.") from error
    return list(tree.elts) if isinstance(tree, (ast.Tuple, ast.List)) else [tree]


def mentions(text: str, names: Sequence[str]) -> bool:
    """Return whether a text speaks of some of the names, and of nothing else but functions of them."""
    try:
        trees = read_expressions(text, names, "the text")
    except OptionError:
        return False
    nodes = [node for tree in trees for node in ast.walk(tree)]
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    found = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in called}
    return bool(found) and found <= set(by_word(names, names))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def _word(position: int) -> str:
    return f"__parameter_{position}__"


def _with_words(text: str, names: Sequence[str], what: str) -> str:
    """Return the text with a word in place of each name that is none; white space in a name is free."""
    odd = [n for n in names if (not n.isidentifier() or keyword.iskeyword(n)) and not _is_number(n)]
    known = {_tokens(name): i for i, name in enumerate(names)}
    patterns = [r"`([^`]+)`", *(_pattern(name) for name in sorted(odd, key=len, reverse=True))]

    def replaced(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(0)
        if _tokens(name) not in known:
            raise OptionError(unknown(f"parameter in {what}:", name, names))
        return _word(list(names).index(name) if name in names else known[_tokens(name)])

    return re.sub("|".join(patterns), replaced, text)


def _tokens(name: str) -> tuple[str, ...]:
    """Return words and signs of a name, without the white space between them."""
    return tuple(re.findall(r"\w+|[^\w\s]", name))


def _pattern(name: str) -> str:
    """Return what finds a name in a text, with any white space between its words and signs."""
    parts = _tokens(name)
    found = re.escape(parts[0]) if parts else re.escape(name)
    for left, right in itertools.pairwise(parts):
        words = re.match(r"\w", left) and re.match(r"\w", right)
        found += (r"\s+" if words else r"\s*") + re.escape(right)
    before = r"(?<![\w.`])" if re.match(r"\w", name) else ""
    return before + found + (r"(?!\w)" if re.search(r"\w$", name) else "")


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def by_word(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Return values under the names of parameters and under the words that stand for these."""
    words = {_word(i): value for i, value in enumerate(values)}
    return words | dict(zip(names, values, strict=True))


def evaluate(
    tree: ast.expr,
    values: Mapping[str, Any],
    functions: Mapping[str, Callable[[Any], Any]],
    names: Sequence[str],
    what: str,
) -> Any:
    """Return the value of an expression: numbers, names, ``+ - * / **`` and calls of ``functions`` on one argument.

    Raises
    ------
    OptionError
        For anything else.
    """

    def of(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return float(node.value)
        if isinstance(node, ast.Name):
            if node.id not in values:
                raise OptionError(unknown(f"parameter in {what}:", node.id, names))
            return values[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return _BINARY[type(node.op)](of(node.left), of(node.right))
        if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
            return _UNARY[type(node.op)](of(node.operand))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and functions:
            if node.func.id not in functions:
                raise OptionError(unknown(f"function in {what}:", node.func.id, functions))
            if len(node.args) != 1 or node.keywords:
                raise OptionError(f"{_capital(what)}: {node.func.id} takes one argument.")
            return functions[node.func.id](of(node.args[0]))
        allowed = "numbers, names of parameters, + - * / ** and brackets"
        more = f", and {', '.join(functions)}" if functions else ""
        raise OptionError(f"{_capital(what)} may hold {allowed}{more}. Names that are no words can go in backticks.")

    try:
        return of(tree)
    except (ZeroDivisionError, OverflowError) as error:
        raise OptionError(f"{_capital(what)} cannot be computed: {error}.") from error
