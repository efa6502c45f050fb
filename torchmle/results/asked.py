"""Read what margins were asked for: which effects, at which values, in which groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.frames import as_frame, check_columns
from ..data.vectors import FloatArray
from ..errors import OptionError, unknown
from .sheet import Sheet, grouping

if TYPE_CHECKING:
    from .estimates import Estimates

KINDS = ("dydx", "eyex", "dyex", "eydx", "mean")
WHERE = ("overall", "mean", "median", "zero")
VCE = ("delta", "unconditional")

Scenario = Mapping[str, Any]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Effect:
    """Hold what is averaged: a derivative, a change between two levels or by one count, or the prediction itself."""

    variable: str | None
    levels: tuple[Any, Any] | None = None
    count: bool = False

    @property
    def label(self) -> str:
        """Return what stands in the table beside the variable."""
        return "" if self.levels is None else f"{self.levels[1]} - {self.levels[0]}"


@dataclass(frozen=True)
class Plan:
    """Hold everything that was asked for, checked.

    Attributes
    ----------
    typical : where numbers are held before the columns are averaged (``"mean"``, ``"median"``, ``"zero"``), or None
        where effects are averaged over the rows.
    scenarios : values that columns are set to, one after the other.
    groups : levels of ``over`` with the rows of each.
    """

    results: Estimates
    sheet: Sheet
    effects: tuple[Effect, ...]
    typical: str | None
    scenarios: tuple[Scenario, ...]
    groups: tuple[tuple[Any, Mask], ...]
    kind: str
    which: str
    vce: str


def read_at(sheet: Sheet, at: str | Mapping[str, Any]) -> tuple[str | None, tuple[Scenario, ...]]:
    """Return the kind of typical row, if any, and the values that columns are set to."""
    if isinstance(at, str) and at in WHERE:
        return (None if at == "overall" else at), ({},)
    if not isinstance(at, Mapping):
        raise OptionError(unknown("at", at, [*WHERE, "a dict of column to value or values"]))
    for name in at:
        need_variable(sheet, name, "column in at:")
        _check_values(sheet, name, _several(at[name]))
    grid = product(*(_several(v) for v in at.values()))
    return None, tuple(dict(zip(at, values, strict=True)) for values in grid)


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or np.ndim(value) == 0 else list(value)


def _check_values(sheet: Sheet, name: str, values: Sequence[Any]) -> None:
    if not values:
        raise OptionError(f"at[{name!r}] is empty; give a value, or several.")
    if sheet.is_categorical(name):
        for value in values:
            if value not in sheet.levels(name):
                raise OptionError(unknown(f"level of {name!r} in at:", value, map(str, sheet.levels(name))))
    elif not all(isinstance(v, (int, float, np.number)) and np.isfinite(v) for v in values):
        raise OptionError(f"at[{name!r}] is {list(values)!r}; it must be a finite number, or several.")


def need_variable(sheet: Sheet, name: Any, what: str) -> None:
    """Refuse a name that is no variable, or one whose columns were all dropped."""
    if name in sheet.lost:
        raise OptionError(f"{name!r} has no effect of its own: all its columns were dropped as collinear.")
    if name not in sheet.variables:
        raise OptionError(unknown(what, name, sheet.variables))


def read_variables(
    sheet: Sheet, variables: str | Sequence[str] | None, kind: str, held: Scenario
) -> tuple[Effect, ...]:
    """Return the effects of the variables asked for; all by default, but no change of levels that are held."""
    if kind == "mean":
        if variables is not None:
            raise OptionError(f"kind='mean' averages the prediction, not the effect of {variables!r}; leave it out.")
        return (Effect(None),)
    if variables is not None and not isinstance(variables, (str, list, tuple)):
        raise OptionError(f"variables is {variables!r}; it must be a column name or a list of them.")
    names = sheet.variables if variables is None else [variables] if isinstance(variables, str) else list(variables)
    found: list[Effect] = []
    for name in names:
        need_variable(sheet, name, "variable of margins:")
        if not sheet.is_categorical(name):
            found.append(Effect(name))
        elif name in held and variables is not None:
            raise OptionError(f"at= holds {name!r} at a level, and its effect is a change of levels; leave one out.")
        elif name in held:
            continue
        elif kind not in ("eyex", "dyex"):
            base, *others = sheet.levels(name)
            found += [Effect(name, (base, level)) for level in others]
        elif variables is not None:
            raise OptionError(f"kind={kind!r} is not defined for {name!r}, which has levels; use 'dydx' or 'eydx'.")
    if not found:
        raise OptionError("There is no variable whose effect could be computed.")
    return tuple(found)


def read_over(sheet: Sheet, over: str | None) -> tuple[tuple[Any, Mask], ...]:
    """Return the groups in which averages are taken."""
    if over is None:
        return (("", np.ones(len(sheet.frame), dtype=bool)),)
    if over in sheet.frame:
        column = sheet.frame[over]
    elif sheet.data.frame is None:
        raise OptionError(unknown("column in over:", over, sheet.variables))
    else:
        check_columns(as_frame(sheet.data.frame), [over], "over")
        column = grouping(sheet.data, over)
    if column.isna().any():
        raise OptionError(f"over={over!r} is missing in {int(column.isna().sum())} of the rows in use.")
    values = column.to_numpy()
    ordered = [v for v in column.cat.categories if v in set(column)] if hasattr(column, "cat") else sorted(set(column))
    groups = tuple((level, np.asarray(values == level)) for level in ordered)
    empty = [level for level, mask in groups if not sheet.weights[mask].sum() > 0]
    if empty:
        raise OptionError(f"over={over!r}: the group {empty[0]!r} has no weight.")
    return groups


def typical_values(frame: Any, weights: FloatArray, sheet: Sheet, where: str) -> dict[str, float]:
    """Return the values at which the numbers of some rows are held."""
    numbers = [str(v) for v in sheet.frame.columns if v not in sheet.constants and not sheet.is_categorical(v)]
    return {v: _typical(frame[v].to_numpy(dtype=np.float64), weights, where) for v in numbers}


def _typical(x: FloatArray, weights: FloatArray, where: str) -> float:
    if where == "mean":
        return float(np.average(x, weights=weights))
    return _median(x, weights) if where == "median" else 0.0


def _median(x: FloatArray, weights: FloatArray) -> float:
    """Return the median of rows that count by their weights: the middle of the two where half of the weight ends."""
    order = np.argsort(x, kind="stable")
    order = order[weights[order] > 0]
    total = np.cumsum(weights[order])
    half = total[-1] / 2
    at = int(np.searchsorted(total, half * (1 - 1e-14)))
    nxt = min(at + 1, len(order) - 1)
    tie = abs(total[at] - half) <= 1e-14 * half
    return float((x[order[at]] + x[order[nxt]]) / 2) if tie else float(x[order[at]])
