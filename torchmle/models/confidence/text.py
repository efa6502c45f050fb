"""Read constraints written as text: ``abs(TPR[female=1] - TPR[female=0]) <= 0.1``."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import Any

from ...errors import OptionError
from ...inference.expressions import mentions
from .claims import Claim, Quantity, named_measure
from .measures import MEASURES

TERM = re.compile(r"([A-Za-z_]\w*)\s*\[([^\[\]]*)\]")
WORD = re.compile(r"[A-Za-z_]\w*")
EXAMPLES = "Write 'ACC >= 0.95' or 'abs(TPR[female=1] - TPR[female=0]) <= 0.1'."


def speaks_of_measures(text: str, parameters: Collection[str]) -> bool:
    """Return whether an inequality is about measures: none of its words is a parameter, or one is a measure only."""
    if ("<" not in text and ">" not in text) or mentions(text, tuple(parameters)):
        return False
    words = set(WORD.findall(TERM.sub(r"\1", text))) - {"abs", "e", "E"}
    own = words & set(parameters)
    return bool(words) and (not own or bool((words - own) & set(MEASURES)))


def parse(text: str, parameters: Collection[str] = ()) -> Claim:
    """Return the constraint that a text states.

    Parameters
    ----------
    parameters : names of the model's parameters, which may have been meant where a measure is not known.

    Raises
    ------
    OptionError
        If the text is no inequality, or speaks of an unknown measure.
    """
    terms: list[Quantity] = []

    def hold(found: re.Match[str]) -> str:
        terms.append(named_measure(found[1], tuple(parameters)).where(**_groups(found[2], text)))
        return f"_{len(terms) - 1}_"

    plain = TERM.sub(hold, text)
    try:
        tree = ast.parse(plain.strip(), mode="eval").body
    except SyntaxError as error:
        raise OptionError(f"Cannot read the constraint {text!r}. {EXAMPLES}") from error
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or not isinstance(tree.ops[0], (ast.LtE, ast.GtE)):
        raise OptionError(f"The constraint {text!r} must be one inequality with <= or >=. {EXAMPLES}")
    reader = _Reader(text, terms, tuple(parameters))
    left, right = reader.read(tree.left), reader.read(tree.comparators[0])
    upper = isinstance(tree.ops[0], ast.LtE)
    if not isinstance(left, Quantity):
        if not isinstance(right, Quantity):
            raise OptionError(f"The constraint {text!r} speaks of no measure. {EXAMPLES}")
        left, right, upper = right, left, not upper
    claim: Claim = left <= right if upper else left >= right
    return claim


def _groups(inside: str, text: str) -> dict[str, Any]:
    """Return the groups of a term: ``female=1, region=north``."""
    groups: dict[str, Any] = {}
    for item in inside.split(","):
        name, sign, value = item.partition("=")
        name, value = name.strip().strip("`"), value.strip().lstrip("=").strip()
        if not sign or not name or not value:
            raise OptionError(f"Cannot read the group {item.strip()!r} in {text!r}. Write [column=value].")
        if name in groups:
            raise OptionError(f"The group {name!r} stands twice in one term of {text!r}; no record is in both.")
        groups[name] = _literal(value)
    return groups


def _literal(value: str) -> Any:
    """Return a number, a truth value or text."""
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return found if isinstance(found, (bool, int, float, str)) else value


class _Reader:
    """Evaluate the tree of a text with measures for names."""

    def __init__(self, text: str, terms: list[Quantity], parameters: tuple[str, ...]) -> None:
        self.text, self.terms, self.parameters = text, terms, parameters

    def read(self, node: ast.expr) -> Any:
        """Return a number or a quantity."""
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return float(node.value)  # type: ignore[arg-type]
        if isinstance(node, ast.Name):
            held = re.fullmatch(r"_(\d+)_", node.id)
            return self.terms[int(held[1])] if held else named_measure(node.id, self.parameters)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self.read(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "abs" and len(node.args) == 1:
            return abs(self.read(node.args[0]))
        if isinstance(node, ast.BinOp):
            return self._operation(node)
        raise OptionError(f"Cannot read {ast.unparse(node)!r} in the constraint {self.text!r}. {EXAMPLES}")

    def _operation(self, node: ast.BinOp) -> Any:
        left, right = self.read(node.left), self.read(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        both = isinstance(left, Quantity) and isinstance(right, Quantity)
        if isinstance(node.op, ast.Mult) and not both:
            return left * right
        if isinstance(node.op, ast.Div) and not isinstance(right, Quantity) and right != 0:
            return left * (1.0 / right)
        raise OptionError(
            f"A product or quotient in the constraint {self.text!r} is not "
            "available: measures can be added, subtracted and multiplied by numbers."
        )
