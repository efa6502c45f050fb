"""Choose, name and order the rows of estimates: by names, regular expressions and groups of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import OptionError, unknown
from .column import Column, Term

Key = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """Hold one parameter in all models: equation, label, full names, and a term for each model or None."""

    panel: str
    label: str
    names: tuple[str, ...]
    terms: tuple[Term | None, ...]

    @property
    def words(self) -> set[str]:
        """Return what the row goes by beside its full names: its label, and its names without the equation."""
        return {self.label, *(t.name for t in self.terms if t is not None)}


def read_rename(rename: Any) -> Callable[[Term], str]:
    """Return what labels a term: a dict by full name or name, a function of the name, or the name itself."""
    if rename is None:
        return lambda term: term.name
    if isinstance(rename, Mapping):
        return lambda term: str(rename.get(term.full, rename.get(term.name, term.name)))
    if callable(rename):
        return lambda term: str(rename(term.name))
    raise OptionError(f"rename is {type(rename).__name__}; it must be a dict of name to label, or a function.")


def merge(columns: Sequence[Column], label: Callable[[Term], str], panels: bool) -> list[Row]:
    """Return the rows of all models; what a later model adds stands after its neighbour there.

    Raises
    ------
    OptionError
        If two estimates of one model bear the same label.
    """
    cells = [_labelled(column, label, panels, j) for j, column in enumerate(columns)]
    order: list[Key] = []
    for own in cells:
        _insert(order, list(own))
    rows = []
    for key in order:
        terms = tuple(own.get(key) for own in cells)
        names = tuple(dict.fromkeys(t.full for t in terms if t is not None))
        rows.append(Row(key[0], key[1], names, terms))
    by_panel = list(dict.fromkeys(row.panel for row in rows))
    return sorted(rows, key=lambda row: by_panel.index(row.panel))


def _labelled(column: Column, label: Callable[[Term], str], panels: bool, position: int) -> dict[Key, Term]:
    found: dict[Key, Term] = {}
    for term in column.terms:
        own = label(term)
        key = (term.panel, own) if panels else ("", term.full if own == term.name else own)
        if key in found:
            raise OptionError(
                f"Model {position + 1} has {found[key].full!r} and {term.full!r}, both labelled {key[1]!r}; give them "
                "labels of their own by rename=."
            )
        found[key] = term
    return found


def _insert(order: list[Key], own: list[Key]) -> None:
    """Insert the keys of a model that are new, each after the one that precedes it, or before the one that follows."""
    for i, key in enumerate(own):
        if key in order:
            continue
        if i > 0:
            order.insert(order.index(own[i - 1]) + 1, key)
            continue
        known = next((k for k in own if k in order), None)
        order.insert(len(order) if known is None else order.index(known), key)


# ---- patterns


def patterns(given: Any, what: str) -> list[str]:
    """Return one pattern or several as a list, checked."""
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, Sequence) or not listed or not all(isinstance(p, str) for p in listed):
        raise OptionError(f"{what}={given!r} must be a name, a regular expression or a list of them.")
    return list(listed)


def matching(rows: Sequence[Row], pattern: str, what: str, others: Sequence[str] = ()) -> set[int]:
    """Return the positions of the rows that a pattern means: a name as it stands, or else a regular expression.

    Raises
    ------
    OptionError
        If it means no row, and none of the other words.
    """
    exact = {i for i, row in enumerate(rows) if pattern in row.names}
    exact = exact or {i for i, row in enumerate(rows) if pattern in row.words}
    if exact:
        return exact
    try:
        search = re.compile(pattern).search
    except re.error as error:
        if pattern in others:
            return exact
        raise OptionError(f"{what}: {pattern!r} is no name of a row, and no regular expression ({error}).") from None
    found = {i for i, row in enumerate(rows) if any(search(word) for word in (*row.names, row.label))}
    if not found and not any(pattern == word or search(word) for word in others):
        raise OptionError(unknown(f"row in {what}:", pattern, dict.fromkeys(n for row in rows for n in row.names)))
    return found


def choose(rows: Sequence[Row], keep: Any, drop: Any, order: Any) -> list[Row]:
    """Return the rows that are kept and not dropped, those of ``order`` first, as it has them."""
    chosen = list(rows)
    if keep is not None:
        kept = set().union(*(matching(rows, p, "keep") for p in patterns(keep, "keep")))
        chosen = [row for i, row in enumerate(rows) if i in kept]
    if drop is not None:
        gone = set().union(*(matching(rows, p, "drop") for p in patterns(drop, "drop")))
        chosen = [row for row in chosen if row not in [rows[i] for i in gone]]
    if order is None:
        return chosen
    ranked = [matching(chosen, p, "order") for p in patterns(order, "order")]
    rank = {id(row): next((k for k, s in enumerate(ranked) if i in s), len(ranked)) for i, row in enumerate(chosen)}
    return sorted(chosen, key=lambda row: rank[id(row)])


def split(
    rows: Sequence[Row], columns: Sequence[Column], indicators: Mapping[str, Any] | None
) -> tuple[list[Row], dict[str, list[bool]]]:
    """Return the rows without those of indicators, and of each indicator whether a model has one of its rows.

    Effects that a model has absorbed count as well.
    """
    if indicators is not None and not isinstance(indicators, Mapping):
        raise OptionError(f"indicators is {type(indicators).__name__}; it must be a dict of label to pattern.")
    absorbed = [word for column in columns for word in column.absorbed]
    gone: set[int] = set()
    found: dict[str, list[bool]] = {}
    for label, given in (indicators or {}).items():
        listed = patterns(given, f"indicators[{label!r}]")
        at = set().union(*(matching(rows, p, "indicators", absorbed) for p in listed))
        found[str(label)] = [
            any(rows[i].terms[j] is not None for i in at) or _has(column.absorbed, listed)
            for j, column in enumerate(columns)
        ]
        gone |= at
    return [row for i, row in enumerate(rows) if i not in gone], found


def _has(words: Sequence[str], listed: Sequence[str]) -> bool:
    return any(p == word or _searches(p, word) for word in words for p in listed)


def _searches(pattern: str, word: str) -> bool:
    try:
        return re.search(pattern, word) is not None
    except re.error:  # a name as it stands
        return False


def sections(
    rows: Sequence[Row], groups: Mapping[str, Any] | None, titles: Mapping[str, str]
) -> list[tuple[tuple[str, ...], list[Row]]]:
    """Return rows under their headings: an equation's, a group's, both or none; ungrouped rows come first."""
    if groups is not None and not isinstance(groups, Mapping):
        raise OptionError(f"groups is {type(groups).__name__}; it must be a dict of heading to pattern.")
    group_of: dict[int, str] = {}
    for heading, given in (groups or {}).items():
        for pattern in patterns(given, f"groups[{heading!r}]"):
            group_of = {**dict.fromkeys(matching(rows, pattern, "groups"), str(heading)), **group_of}
    found: list[tuple[tuple[str, ...], list[Row]]] = []
    for panel in dict.fromkeys(row.panel for row in rows):
        title = titles.get(panel, panel)
        above = (title,) if title else ()
        own = [(i, row) for i, row in enumerate(rows) if row.panel == panel]
        free = [row for i, row in own if i not in group_of]
        found += [(above, free)] if free or above else []
        for heading in groups or {}:
            members = [row for i, row in own if group_of.get(i) == str(heading)]
            found += [((*above, str(heading)), members)] if members else []
    return found


def read_panels(panels: Any, columns: Sequence[Column]) -> tuple[bool, dict[str, str]]:
    """Return whether equations are sections, and their titles."""
    if isinstance(panels, bool):
        return panels, {}
    if not isinstance(panels, Mapping):
        raise OptionError(f"panels={panels!r} must be True, False or a dict of equation to heading.")
    known = {"", *(t.panel for column in columns for t in column.terms)}
    for name in panels:
        if str(name) not in known:
            raise OptionError(unknown("equation in panels:", name, sorted(known)))
    return True, {str(k): str(v) for k, v in panels.items()}
