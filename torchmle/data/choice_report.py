"""Say what is in choice data: availability, shares, sizes of choice sets, columns that do not vary, losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import listing

if TYPE_CHECKING:
    from .choice_data import ChoiceData
    from .choice_frames import Codes, Mask


@dataclass(frozen=True, eq=False)
class ChoiceReport:
    """Hold what was found in choice data; ``print`` shows it.

    Attributes
    ----------
    table : a row for each alternative: situations in which it is available, in which it was chosen, and the share of
        the situations with a known choice.
    situations, persons : how many; ``persons`` is None where none were given.
    sizes : number of situations by number of available alternatives.
    per_person : fewest, mean and most situations of a person, or None.
    never_chosen : alternatives that nobody chose.
    single : situations with one available alternative; they say nothing about coefficients.
    unknown : situations whose choice is not known.
    constant : columns with one value in all rows.
    by_situation, by_person : other columns that do not vary within situations; those that do not vary within persons.
    dropped : situations left out, by cause.
    """

    table: pd.DataFrame
    situations: int
    persons: int | None
    sizes: pd.Series
    per_person: tuple[int, float, int] | None
    never_chosen: tuple[Any, ...]
    single: int
    unknown: int
    constant: tuple[str, ...]
    by_situation: tuple[str, ...]
    by_person: tuple[str, ...]
    dropped: pd.Series

    @property
    def text(self) -> str:
        """Return the report as text."""
        return "\n".join([*self._counts(), "", self.table.to_string(float_format=lambda v: f"{v:.4f}"), *self._notes()])

    def _counts(self) -> list[str]:
        low, high = int(self.sizes.index.min()), int(self.sizes.index.max())
        size = f"{low}" if low == high else f"{low} to {high}"
        lines = [f"Choice situations: {self.situations}, with {size} of {len(self.table)} alternatives"]
        if self.persons is not None and self.per_person is not None:
            least, mean, most = self.per_person
            each = f"{least}" if least == most else f"{least} to {most} (mean {mean:.2f})"
            lines.append(f"Persons: {self.persons}, with {each} situations each")
        return lines

    def _notes(self) -> list[str]:
        notes = [f"Dropped: {count} situations, {cause}" for cause, count in self.dropped.items()]
        if self.never_chosen:
            notes.append(f"Never chosen: {listing(self.never_chosen)}")
        if self.single:
            notes.append(f"One available alternative only: {self.single} situations, which say nothing of coefficients")
        if self.unknown:
            notes.append(f"Choice not known: {self.unknown} situations")
        for what, names in (
            ("The same in all rows", self.constant),
            ("The same within a person", self.by_person),
            ("The same within a situation", self.by_situation),
        ):
            if names:
                notes.append(f"{what}: {listing(names, 20)}")
        return ["", *notes] if notes else []

    def __str__(self) -> str:
        return self.text


def choice_report(data: ChoiceData) -> ChoiceReport:
    """Return the report; see :class:`ChoiceReport`."""
    J, starts = len(data.alternatives), data.starts
    known = data.chosen[data.chosen >= 0]
    count = np.bincount(data.alternative, minlength=J)
    picks = np.bincount(known, minlength=J)
    table = pd.DataFrame(
        {"available": count, "chosen": picks, "share": picks / max(len(known), 1)},
        index=pd.Index(data.alternatives, name=data.roles.alternative),
    )
    sizes = pd.Series(np.bincount(data.situation), name="situations").value_counts().sort_index()
    panel = np.bincount(data.person) if data.roles.person else None
    constant, by_person, by_situation = _fixed_columns(data, starts)
    return ChoiceReport(
        table,
        len(data),
        None if panel is None else len(panel),
        sizes,
        None if panel is None else (int(panel.min()), float(panel.mean()), int(panel.max())),
        tuple(a for a, c in zip(data.alternatives, picks, strict=True) if not c and len(known)),
        int(sizes.get(1, 0)),
        int((data.chosen < 0).sum()),
        constant,
        by_situation,
        by_person,
        pd.Series(dict(data.dropped), dtype=np.int64),
    )


def _fixed_columns(data: ChoiceData, starts: Codes) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the columns that are constant, constant within persons, and constant within situations."""
    person = data.person[data.situation]
    heads = np.flatnonzero(np.diff(person, prepend=-1))
    constant, by_person, by_situation = [], [], []
    for name in data.frame.columns:
        column = data.frame[name]
        if name in data.roles.names or varies(column, data.situation, starts).any():
            continue
        if not varies(column, np.zeros(len(column), dtype=np.int64), np.zeros(1, dtype=np.int64)).any():
            constant.append(str(name))
        elif data.roles.person and not varies(column, person, heads).any():
            by_person.append(str(name))
        else:
            by_situation.append(str(name))
    return tuple(constant), tuple(by_person), tuple(by_situation)


def varies(column: pd.Series, codes: Codes, starts: Codes) -> Mask:
    """Return which rows differ from the first row of their unit; missing values count as equal.

    Parameters
    ----------
    codes : (rows,) numbers 0, 1, ... of the units, nondecreasing; ``starts`` the first row of each.
    """
    plain = isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufb"
    values = column.to_numpy() if plain else pd.factorize(column)[0]
    first = values[starts][codes]
    same = values == first
    if values.dtype.kind == "f":
        same |= np.isnan(values) & np.isnan(first)
    return np.asarray(~same)
