"""Bring choice situations, one row each or one row an alternative, to one long, sorted, checked form."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, OptionError, listing, unknown
from .frames import as_frame, check_columns, column_names, take_columns
from .vectors import is_missing, numeric_vector

Codes = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

ALTERNATIVE = "alternative"
"""Name of the column of labels that is made of a wide frame."""


@dataclass(frozen=True)
class Roles:
    """Name the columns of the long frame that say who chose what; None where there is none."""

    choice: str | None
    alternative: str
    situation: str | None = None
    person: str | None = None
    available: str | None = None

    @property
    def names(self) -> list[str]:
        """Return the columns that have a role."""
        found = (self.choice, self.alternative, self.situation, self.person, self.available)
        return [name for name in found if name is not None]


@dataclass(frozen=True)
class Long:
    """Hold rows of alternatives before they are checked and sorted.

    Attributes
    ----------
    frame : one row for each situation and alternative.
    alternatives : labels, in their order; ``alternative`` (rows,) their codes, -1 where missing.
    situation : (rows,) codes; ``labels`` their labels.
    person : (S,) codes of the situations' persons, -1 where missing, or None; ``person_labels`` their labels.
    chosen : (rows,) 1 where chosen, 0 where not, NaN where missing, or None where choices are not known.
    available : (rows,) likewise, or None where every row is.
    """

    frame: pd.DataFrame
    roles: Roles
    alternatives: tuple[Any, ...]
    alternative: Codes
    situation: Codes
    labels: pd.Index
    person: Codes | None
    person_labels: pd.Index
    chosen: np.ndarray[Any, Any] | None
    available: np.ndarray[Any, Any] | None


def read_long(data: Any, roles: Roles) -> Long:
    """Read a frame with one row for each situation and alternative."""
    frame = _whole_frame(data, roles.names)
    alternatives, alternative = _label_codes(frame[roles.alternative], f"alternatives {roles.alternative!r}")
    if roles.situation is None:
        situation, names = _blocks(alternative, len(alternatives))
    else:
        situation, names = _id_codes(frame[roles.situation], f"situations {roles.situation!r}")
    person: Codes | None = None
    who = pd.Index([])
    if roles.person is not None:
        each, who = _id_codes(frame[roles.person], f"persons {roles.person!r}")
        situation, names, person = _within_persons(situation, names, each, who)
    chosen = None if roles.choice is None else _flags(frame[roles.choice], f"choice {roles.choice!r}")
    open_ = None if roles.available is None else _flags(frame[roles.available], f"available {roles.available!r}")
    return Long(frame, roles, alternatives, alternative, situation, names, person, who, chosen, open_)


def _whole_frame(data: Any, wanted: Iterable[str]) -> pd.DataFrame:
    """Return a new frame of all columns, which must have names of their own, those wanted among them."""
    data = as_frame(data)
    check_columns(data, wanted, "ChoiceData")
    names = column_names(data)
    twice = sorted({str(n) for n in names if names.count(n) > 1})
    if twice:
        raise DataError(f"The data have several columns called {listing(twice)}. Rename them.")
    return take_columns(data, names)


def _label_codes(column: pd.Series, what: str) -> tuple[tuple[Any, ...], Codes]:
    """Return labels in the order of their categories, or else of their first appearance, and the codes of rows."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.remove_unused_categories()
        codes, labels = np.asarray(column.cat.codes), column.cat.categories
    else:
        codes, labels = pd.factorize(column)
    found = tuple(labels.tolist())
    if len({str(label) for label in found}) < len(found):
        raise DataError(f"{what} has different labels that read the same: {listing(map(repr, found))}. Rename them.")
    return found, codes.astype(np.int64)


def _id_codes(column: pd.Series, what: str) -> tuple[Codes, pd.Index]:
    """Return codes of ids by first appearance; a missing id cannot be put anywhere, and is an error."""
    codes, labels = pd.factorize(column)
    bad = codes < 0
    if bad.any():
        raise DataError(
            f"{what} is missing in {int(bad.sum())} of {len(bad)} rows (e.g. row {listing(column.index[bad], 3)}), so "
            "that these rows belong nowhere. Fill it in, or take these rows out."
        )
    return codes.astype(np.int64), pd.Index(labels, name=column.name)


def _blocks(alternative: Codes, count: int) -> tuple[Codes, pd.Index]:
    """Return situations of a frame without ids, which must be blocks of rows with every alternative once."""
    rows = len(alternative)
    whole = count > 0 and rows % count == 0
    if not whole or not (np.sort(alternative.reshape(-1, count), axis=1) == np.arange(count)).all():
        raise DataError(
            f"Without situations=, the rows must come in blocks that hold each of the {count} alternatives once, and "
            "these do not. Give the column that numbers the choice situations: situations='...'."
        )
    return np.repeat(np.arange(rows // count), count), pd.RangeIndex(rows // count)


def _within_persons(situation: Codes, labels: pd.Index, each: Codes, who: pd.Index) -> tuple[Codes, pd.Index, Codes]:
    """Return situations, told apart within persons, with their persons; labels are pairs where numbers start again."""
    codes, pairs = pd.factorize(each * len(labels) + situation)
    person, own = np.divmod(np.asarray(pairs, dtype=np.int64), max(len(labels), 1))
    names = labels.take(own)
    if len(pairs) > len(labels):
        names = pd.MultiIndex.from_arrays([who.take(person), names], names=["person", "situation"])
    return codes.astype(np.int64), names, person


def _flags(column: pd.Series, what: str) -> np.ndarray[Any, Any]:
    """Return a column of yes and no as 1, 0 and NaN."""
    values = numeric_vector(column, what)
    odd = ~np.isnan(values) & (values != 0) & (values != 1)
    if odd.any():
        seen = listing(dict.fromkeys(values[odd].tolist()), 4)
        raise DataError(f"{what} must be True or False, or 1 or 0, in every row; seen: {seen}.")
    return values


def read_wide(
    data: Any,
    roles: Roles,
    varying: Mapping[str, Any],
    alternatives: Sequence[Any] | None,
    available: Any,
) -> Long:
    """Read a frame with one row for each situation."""
    wanted = [n for n in (roles.choice, roles.situation, roles.person) if n is not None]
    frame = _whole_frame(data, wanted)
    if not isinstance(varying, Mapping) or not varying:
        raise OptionError(
            f"varying is {varying!r}; it must say which columns belong to which alternative, e.g. "
            "varying={'price': 'price_{alt}'} or {'price': {'car': 'car_cost', 'bus': 'fare'}}."
        )
    labels = _wide_labels(frame, roles.choice, varying, alternatives)
    if len(labels) < 2:
        raise DataError(f"The only alternative is {labels[0]!r}; a choice needs two. List them: alternatives=[...].")
    sources = {name: _sources(name, given, labels, frame) for name, given in varying.items()}
    _check_varying(sources, frame, roles)
    taken = {c for found in sources.values() for c in found.values() if isinstance(c, str)}
    S, J = len(frame), len(labels)
    rows = np.repeat(np.arange(S), J)
    long = frame[[c for c in frame.columns if c not in taken]].take(rows)
    long[ALTERNATIVE] = pd.Categorical.from_codes(np.tile(np.arange(J), S), categories=pd.Index(list(labels)))
    for name, found in sources.items():
        long[name] = _interleaved([found[label] for label in labels], frame)
    situation, names, person, who = _wide_ids(frame, roles)
    chosen = None if roles.choice is None else _chosen_cells(frame[roles.choice], labels, roles.choice)
    cells = None if available is None else _available_cells(available, labels, frame)
    codes = np.tile(np.arange(J), S)
    return Long(long, roles, labels, codes, np.repeat(situation, J), names, person, who, chosen, cells)


def _wide_ids(frame: pd.DataFrame, roles: Roles) -> tuple[Codes, pd.Index, Codes | None, pd.Index]:
    """Return codes and labels of situations, and persons; each row is a situation, whatever its id."""
    rows = np.arange(len(frame), dtype=np.int64)
    names = frame.index
    if roles.situation is not None:
        names = pd.Index(frame[roles.situation])
        _id_codes(frame[roles.situation], f"situations {roles.situation!r}")
    person: Codes | None = None
    who = pd.Index([])
    if roles.person is not None:
        codes, found = pd.factorize(frame[roles.person])
        person, who = codes.astype(np.int64), pd.Index(found)
    if roles.situation is not None and not names.is_unique:
        if person is None or pd.MultiIndex.from_arrays([person, names]).has_duplicates:
            twice = names[names.duplicated()]
            raise DataError(
                f"situations {roles.situation!r} names {len(twice.unique())} situations more than once (e.g. "
                f"{listing(twice.unique(), 3)}), and in a wide frame each row is one. Is the frame long? Then use "
                "ChoiceData.from_long; where numbers start again with each person, give persons= as well."
            )
        names = pd.MultiIndex.from_arrays([frame[roles.person], names], names=["person", "situation"])
    return rows, names, person, who


def _wide_labels(
    frame: pd.DataFrame, choice: str | None, varying: Mapping[str, Any], given: Sequence[Any] | None
) -> tuple[Any, ...]:
    """Return the alternatives: as given, else the keys of dicts, else what stands for ``{alt}`` in column names."""
    if given is not None:
        labels = tuple(given)
        if isinstance(given, str) or len({str(a) for a in labels}) < len(labels) or len(labels) < 2:
            raise OptionError(f"alternatives is {given!r}; it must list two or more different labels.")
        return labels
    keyed = [tuple(v) for v in varying.values() if isinstance(v, Mapping)]
    if keyed:
        return keyed[0]
    if choice is None:
        raise OptionError("Without a choice column, list the alternatives: alternatives=['car', 'bus'].")
    return _pattern_labels(frame, choice, [_pattern(n, v) for n, v in varying.items()])


def _pattern_labels(frame: pd.DataFrame, choice: str, patterns: list[str]) -> tuple[Any, ...]:
    """Return the labels for which each pattern has a column, in the order of the columns.

    Whether a column that no choice speaks of belongs to an alternative, only the user knows.
    """
    found: list[list[str]] = []
    for pattern in patterns:
        left, right = (re.escape(p) for p in pattern.split("{alt}"))
        matches = [re.fullmatch(f"{left}(.+){right}", str(c)) for c in frame.columns]
        found.append([m[1] for m in matches if m])
    seen = {_text(v): v for v in pd.unique(frame[choice].dropna())}
    labels = [a for a in found[0] if all(a in other for other in found)]
    extra = [a for a in labels if a not in seen]
    if extra or not labels:
        what = f"but {choice!r} is never {listing(map(repr, extra))}" if extra else "by which there is no column"
        raise DataError(
            f"Alternatives are read from the columns like {listing(map(repr, patterns))}, {what}. "
            f"List the alternatives: alternatives={list(seen.values())!r}, with those never chosen."
        )
    return tuple(seen[a] for a in labels)


def _text(value: Any) -> str:
    """Return a label as it stands in a column name; whole floats as whole numbers."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _pattern(name: str, given: Any) -> str:
    if not isinstance(given, str) or given.count("{alt}") != 1:
        raise OptionError(
            f"varying[{name!r}] is {given!r}; it must be a pattern with {{alt}} in it, e.g. '{name}_{{alt}}', or a "
            "dict from each alternative to its column or to a number."
        )
    return given


def _sources(name: str, given: Any, labels: tuple[Any, ...], frame: pd.DataFrame) -> dict[Any, Any]:
    """Return the column, or the number, that holds a variable for each alternative."""
    if not isinstance(given, Mapping):
        pattern = _pattern(name, given)
        given = {label: pattern.replace("{alt}", _text(label)) for label in labels}
    for label in given:
        if label not in labels:
            raise DataError(f"{name!r}: {unknown('alternative', label, map(str, labels))}")
    absent = [a for a in labels if a not in given]
    if absent:
        raise DataError(
            f"varying[{name!r}] says nothing of {listing(map(repr, absent))}. Name its column, or give a number, "
            "e.g. 0, that holds for all."
        )
    check_columns(frame, [c for c in given.values() if isinstance(c, str)], f"varying[{name!r}]")
    return dict(given)


def _check_varying(sources: Mapping[str, dict[Any, Any]], frame: pd.DataFrame, roles: Roles) -> None:
    """Refuse what cannot vary by alternative, and names that are taken."""
    taken = {c for found in sources.values() for c in found.values()}
    left = {c for c in frame.columns if c not in taken}
    if ALTERNATIVE in left | set(sources):
        raise DataError(f"The column {ALTERNATIVE!r} is made here and stands in the data already. Rename it.")
    for name, found in sources.items():
        columns = set(found.values())
        if len(columns) == 1:
            raise DataError(
                f"varying[{name!r}] names {columns.pop()!r} for every alternative: it does not vary by alternative. "
                "Leave it out of varying; all other columns are kept as columns of the situation."
            )
        if name in left:
            raise DataError(f"varying makes a column {name!r}, which the data have already. Choose another name.")
        for role in (roles.choice, roles.situation, roles.person):
            if role in columns:
                raise DataError(f"varying[{name!r}] names {role!r}, which belongs to the whole situation.")


def _interleaved(columns: Sequence[Any], frame: pd.DataFrame) -> Any:
    """Return columns of alternatives as one column, the alternatives of a situation next to each other."""
    S, J = len(frame), len(columns)
    parts = [frame[c] if isinstance(c, str) else pd.Series(np.full(S, float(c))) for c in columns]
    if all(isinstance(p.dtype, np.dtype) and p.dtype.kind in "fiub" for p in parts):
        return np.column_stack([p.to_numpy() for p in parts]).ravel()
    stacked = pd.concat(parts, ignore_index=True)
    return stacked.take(np.arange(S * J).reshape(J, S).T.ravel()).array


def _chosen_cells(column: pd.Series, labels: tuple[Any, ...], name: str) -> np.ndarray[Any, Any]:
    """Return (S * J,) flags of the alternatives chosen, NaN where the choice is missing."""
    values = pd.Series(column.astype(object).to_numpy())
    missing = is_missing(values.to_numpy())
    at = pd.Index(list(labels), dtype=object).get_indexer(pd.Index(values, dtype=object))
    odd = (at < 0) & ~missing
    if odd.any():
        seen: list[Hashable] = list(dict.fromkeys(values[odd]))
        raise DataError(
            f"choice {name!r} is {listing(map(repr, seen), 4)} in {int(odd.sum())} rows, which is none of the "
            f"alternatives {listing(map(repr, labels))}. Recode it, or take these rows out."
        )
    cells = np.asarray(at[:, None] == np.arange(len(labels)), dtype=np.float64)
    cells[missing] = np.nan
    return cells.ravel()


def _available_cells(given: Any, labels: tuple[Any, ...], frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return (S * J,) flags of what is available; an alternative without a column always is."""
    if not isinstance(given, Mapping):
        pattern = _pattern("available", given)
        given = {label: pattern.replace("{alt}", _text(label)) for label in labels}
    for label in given:
        if label not in labels:
            raise DataError(f"available: {unknown('alternative', label, map(str, labels))}")
    check_columns(frame, given.values(), "available")
    cells = np.ones((len(frame), len(labels)))
    for j, label in enumerate(labels):
        if label in given:
            cells[:, j] = _flags(frame[given[label]], f"available {given[label]!r}")
    return cells.ravel()
