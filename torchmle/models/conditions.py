"""Sort what ``fit(constraints=...)`` was given by how it is imposed.

Equations that are linear in coefficients, as text, are solved exactly (:mod:`torchmle.params.constraints`) and stay in
``request.constraints``. All else about parameters, functions and text, becomes ``request.conditions``, for which the
search uses an augmented Lagrangian. What is about measures of predictions becomes ``request.claims``.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import OptionError
from ..inference.delta import FUNCTIONS, as_text
from ..inference.expressions import by_word, evaluate, read_expressions
from ..inference.hypotheses import read_hypotheses
from ..params.conditions import Condition
from ..params.map import ParamMap
from .confidence.sort import take_claims
from .request import FitRequest
from .start import param_names

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

ALLOWED = (ast.GtE, ast.LtE, ast.Eq)
"""What may stand between the sides of a constraint."""


def sort_constraints(model: GenericLikelihoodModel, request: FitRequest) -> FitRequest:
    """Return the request with its constraints sorted.

    Raises
    ------
    OptionError
        For what is no constraint, unknown names, and text that cannot be read.
    """
    claims, listed = take_claims(model, request)
    if not listed and not claims:
        return request if request.constraints is None else replace(request, constraints=None)
    method = "adam" if claims and request.method is None else request.method  # nothing is solved in closed form
    request = replace(request, constraints=None, claims=claims, method=method)
    if not listed:
        return request
    pmap = model.make_map(param_names(model, request))
    exact: list[str] = []
    conditions: list[Condition] = []
    for one in listed:
        if isinstance(one, Condition):
            conditions.append(one)
        elif isinstance(one, str):
            found = _read(one, pmap)
            exact += [one] if found is None else []
            conditions += found or []
        else:
            raise OptionError(
                f"constraints holds {one!r}; it must be text such as 'x1 = x2' or 'educ >= 0', or what tm.equality(), "
                "tm.inequality() and tm.confidence() return, or a list of these."
            )
    return replace(request, constraints=exact or None, conditions=tuple(_named(conditions)))


def _named(conditions: Sequence[Condition]) -> list[Condition]:
    """Return constraints with names that differ: those that have none, or one that was given before, get a number."""
    out: list[Condition] = []
    for i, one in enumerate(conditions, 1):
        name = one.name or f"{one.kind} {i}"
        out.append(replace(one, name=f"{name} ({i})" if any(name == o.name for o in out) else name))
    return out


def _read(text: str, pmap: ParamMap) -> list[Condition] | None:
    """Return the conditions of a text, or None where it is to be solved exactly."""
    names = pmap.names
    if "<" not in text and ">" not in text:
        return _read_equations(text, pmap)
    what = f"the constraint {text!r}"
    found = []
    for tree in read_expressions(text, names, what):
        if not isinstance(tree, ast.Compare) or not all(isinstance(op, (ast.GtE, ast.LtE, ast.Eq)) for op in tree.ops):
            raise OptionError(
                f"Cannot read {what}. Write 'educ >= 0.05', 'a + b <= 1' or '0 <= a <= 1', with >= or <=."
            )
        found += _sides(tree, text, names)
    return found


def _read_equations(text: str, pmap: ParamMap) -> list[Condition] | None:
    """Return equations that are not linear, or speak of transformed parameters; None for all others."""
    names, what = pmap.names, f"the constraint {text!r}"
    try:
        trees = read_expressions(text, names, what)
    except OptionError:
        return None  # what reads linear equations says what is wrong, or reads it
    if not all(isinstance(t, ast.Compare) and all(isinstance(op, ast.Eq) for op in t.ops) for t in trees):
        return None
    found = [condition for tree in trees if isinstance(tree, ast.Compare) for condition in _sides(tree, text, names)]
    try:
        rows = read_hypotheses(text, names).R
    except OptionError:
        for condition in found:
            _ = condition.given(dict.fromkeys(names, 1.0))  # unknown names
        return found
    bent = {*pmap.naturals, *(() if pmap.curve is None else set(range(len(names))) - set(pmap.curve.plain))}
    return found if any(bool((rows[:, i] != 0).any()) for i in bent) else None


def _sides(tree: ast.Compare, text: str, names: Sequence[str]) -> list[Condition]:
    """Return the conditions of a comparison; ``0 <= a <= 1`` is two."""
    parts = [tree.left, *tree.comparators]
    out = []
    for (left, right), op in zip(itertools.pairwise(parts), tree.ops, strict=True):
        first, second = (right, left) if isinstance(op, ast.LtE) else (left, right)
        kind: Any = "equality" if isinstance(op, ast.Eq) else "inequality"
        name = as_text(ast.Compare(left, [op], [right]), names).replace("==", "=")
        out.append(Condition(kind, _difference(first, second, text, names), name, text))
    return out


def _difference(
    first: ast.expr, second: ast.expr, text: str, names: Sequence[str]
) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """Return the function that takes one expression from another."""
    what = f"the constraint {text!r}"

    def function(p: Mapping[str, Tensor]) -> Tensor:
        values = by_word(names, [p[name] for name in names])
        left, right = (evaluate(side, values, FUNCTIONS, names, what) for side in (first, second))
        difference: Tensor = left - right
        return difference

    return function
