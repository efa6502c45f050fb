"""Read what a picture is asked to show: one fit or several, and which of their parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...errors import OptionError, UndefinedStatisticError, unknown
from ...results.bootstrap import BootstrapResults
from ...results.effects import Margins
from ...results.results import Results


@dataclass(frozen=True)
class Shown:
    """Hold estimates with the ends of their intervals, NaN where there is none; ``lacks`` says why, if it does."""

    values: pd.Series
    low: pd.Series
    high: pd.Series
    lacks: str = ""


def named(results: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """Return things by the name that a legend has for them: a dict as it is, others by ``names`` or their models."""
    if isinstance(results, Mapping):
        if names is not None:
            raise OptionError("names goes with a list of results; a dict has its names already.")
        found = {str(name): item for name, item in results.items()}
    else:
        items = list(results) if isinstance(results, (list, tuple)) else [results]
        labels = [str(name) for name in names] if names is not None else [_own_name(item) for item in items]
        if isinstance(names, str) or len(labels) != len(items):
            raise OptionError(f"names={names!r} must be a list with one name for each of the {len(items)} results.")
        if names is None:
            several = {name for name in labels if labels.count(name) > 1}
            labels = [f"({i}) {name}" if several else name for i, name in enumerate(labels, 1)]
        if len(set(labels)) < len(labels):
            raise OptionError(f"names={list(labels)} has a name twice; give each result its own.")
        found = dict(zip(labels, items, strict=True))
    if not found:
        raise OptionError("There are no results to draw.")
    return found


def need_results(item: Any, what: str) -> Results:
    """Return results of torchmle, or say what was given in their place."""
    if not isinstance(item, Results):
        raise OptionError(f"{what} draws results of fit(), not a {type(item).__name__}.")
    return item


def _own_name(item: Any) -> str:
    if isinstance(item, Results):
        return item.model.model_name
    return type(item).__name__


def shown(item: Any, alpha: float, name: str) -> Shown:
    """Return estimates and intervals of a fit, a bootstrap, margins, or results with ``params`` and ``conf_int``."""
    if isinstance(item, Margins):
        ends = pd.DataFrame(item.conf_int(alpha))
        rows = pd.Index([", ".join(_words(row)) for row in item.labels.to_dict("records")])
        low, high = (pd.Series(ends[k].to_numpy(), index=rows) for k in (0, 1))
        return Shown(pd.Series(item.values, index=rows), low, high)
    values = item.estimates if isinstance(item, BootstrapResults) else getattr(item, "params", None)
    if not isinstance(values, pd.Series) or not hasattr(item, "conf_int"):
        raise OptionError(
            f"{name!r} is a {type(item).__name__}; what can be drawn has params, a Series by name, and conf_int()."
        )
    ends = item.conf_int(alpha)
    lacks = "not a maximum" if isinstance(item, Results) and not item.converged else ""
    low, high = (pd.Series(ends.iloc[:, k].to_numpy(), index=values.index) for k in (0, 1))
    return Shown(values, low, high, lacks)


def _words(row: Mapping[Any, Any]) -> list[str]:
    """Return the labels of a margin: the variable and contrast as they are, groups and values with their column."""
    plain = [str(row[key]) for key in ("level", "variable", "contrast") if row.get(key, "") != ""]
    rest = [f"{key}={value}" for key, value in row.items() if key not in ("level", "variable", "contrast")]
    return [*plain, *rest]


def chosen(names: Sequence[str], keep: Any, drop: Any) -> list[str]:
    """Return the names that patterns keep, less those that patterns drop.

    A pattern is a name as it stands, or else a regular expression that is looked for in the names.
    """
    found = list(names)
    if keep is not None:
        found = list(dict.fromkeys(name for pattern in _patterns(keep) for name in _matches(pattern, names, "keep")))
    if drop is not None:
        gone = {name for pattern in _patterns(drop) for name in _matches(pattern, names, "drop")}
        found = [name for name in found if name not in gone]
    if not found:
        raise OptionError(f"keep={keep!r} and drop={drop!r} leave nothing of {', '.join(names)}.")
    return found


def _patterns(given: Any) -> Iterable[str]:
    return [given] if isinstance(given, str) else list(given)


def _matches(pattern: str, names: Sequence[str], what: str) -> list[str]:
    if pattern in names:
        return [pattern]
    try:
        found = [name for name in names if re.search(pattern, name)]
    except re.error as error:
        raise OptionError(f"{what}={pattern!r} is neither a name nor a regular expression ({error}).") from error
    if not found:
        raise OptionError(unknown(f"parameter in {what}:", pattern, names))
    return found


def need_name(name: Any, names: Iterable[str], what: str) -> str:
    """Return a name that is there, or say which is nearest."""
    known = list(names)
    if name not in known:
        raise OptionError(unknown(what, name, known))
    return str(name)


def need_maximum(results: Results, what: str) -> None:
    """Refuse a picture that means nothing away from the maximum."""
    if not results.converged:
        raise UndefinedStatisticError(f"{what} needs a maximum, and this fit has none ({results.status})")
