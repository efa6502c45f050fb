"""Hold choice situations in long form, checked, and change them for counterfactuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, OptionError, listing, unknown
from .choice_check import Sorted, settle
from .choice_frames import ALTERNATIVE, Codes, Mask, Roles, read_long, read_wide
from .choice_report import ChoiceReport, choice_report, varies
from .vectors import align, is_missing, raw_array


@dataclass(frozen=True, eq=False)
class ChoiceData:
    """Hold choice situations in long form, checked: one row for each situation and available alternative.

    Make it with :meth:`from_long` or :meth:`from_wide`. The user's table is copied and never changed.

    Attributes
    ----------
    frame : the rows, sorted by person (by first appearance), situation and alternative.
    alternatives : labels; in the order of categories, or else of first appearance.
    situation, alternative : (rows,) codes.
    chosen : (S,) code of the chosen alternative, -1 where it is not known.
    labels : (S,) labels of the situations; pairs where numbers start again with each person.
    person : (S,) codes of persons, nondecreasing; each situation has its own where no persons were given.
    person_labels : labels of the persons.
    dropped : how many situations were dropped, by cause.
    roles : the columns that say who chose what.
    place : (S,) the number of each situation among the ``given`` ones, counted by first appearance.
    missing : what becomes of situations with missing values in the columns of a formula: ``drop`` or ``raise``.

    Examples
    --------
    >>> import pandas as pd, torchmle as tm
    >>> trips = pd.DataFrame({"trip": [1, 1, 2, 2], "mode": ["bus", "car", "car", "bus"],
    ...                       "chosen": [0, 1, 0, 1], "cost": [2.0, 3.0, 4.0, 1.0]})
    >>> data = tm.ChoiceData.from_long(trips, choice="chosen", alternatives="mode", situations="trip")
    >>> data.alternatives, data.chosen.tolist()
    (('bus', 'car'), [1, 0])
    >>> data.frame.cost.tolist()
    [2.0, 3.0, 1.0, 4.0]
    """

    frame: pd.DataFrame
    alternatives: tuple[Any, ...]
    situation: Codes
    alternative: Codes
    chosen: Codes
    labels: pd.Index
    person: Codes
    person_labels: pd.Index
    roles: Roles
    place: Codes
    given: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    missing: str = "drop"

    @classmethod
    def from_long(
        cls,
        data: Any,
        *,
        choice: str | None,
        alternatives: str,
        situations: str | None = None,
        persons: str | None = None,
        available: str | None = None,
        missing: str = "drop",
        invalid: str = "raise",
    ) -> ChoiceData:
        """Read a table with one row for each situation and alternative.

        Parameters
        ----------
        data : data frame (pandas, polars, pyarrow) or dict of columns.
        choice : column that is 1 or True where the alternative was chosen, else 0 or False; None where choices are
            not known, as for predictions.
        alternatives : column of labels of alternatives.
        situations : column of ids of choice situations; with ``persons`` they may start again with each person.
            Without it the rows must be in blocks that hold every alternative once.
        persons : column of ids of persons, whose situations are a panel.
        available : column that is 1 where the alternative was available; it may also have no row at all.
        missing : ``"drop"`` takes situations with missing values in these columns, or in those of a formula, out as a
            whole; ``"raise"`` makes them an error.
        invalid : what becomes of situations without a choice, with two, with an alternative in two rows or a chosen
            alternative that is not available: ``"raise"`` (an error that counts them), or ``"drop"``.

        Raises
        ------
        DataError
            If columns are not there, or situations cannot be used.
        """
        roles = Roles(choice, alternatives, situations, persons, available)
        return cls._of(settle(read_long(data, roles), missing, invalid), missing)

    @classmethod
    def from_wide(
        cls,
        data: Any,
        *,
        choice: str | None,
        varying: Mapping[str, str | Mapping[Any, Any]],
        alternatives: Sequence[Any] | None = None,
        situations: str | None = None,
        persons: str | None = None,
        available: str | Mapping[Any, str] | None = None,
        missing: str = "drop",
        invalid: str = "raise",
    ) -> ChoiceData:
        """Read a table with one row for each situation.

        Parameters
        ----------
        data : data frame (pandas, polars, pyarrow) or dict of columns.
        choice : column that holds the label of the chosen alternative; None where choices are not known.
        varying : for each variable that varies by alternative, a pattern of its columns (``"price_{alt}"``), or a dict
            from alternatives to columns, or to numbers that hold in every situation. All other columns are kept.
        alternatives : labels, in order; by default the keys of the first dict in ``varying``, or else what stands for
            ``{alt}`` in the columns.
        situations, persons : columns of ids. Without ``situations`` these are the row labels.
        available : dict from alternatives to columns of 1 and 0, or a pattern; an alternative not in the dict is always
            available.
        missing, invalid : as in :meth:`from_long`.

        Raises
        ------
        DataError
            If columns are not there, or situations cannot be used.

        Examples
        --------
        >>> import pandas as pd, torchmle as tm
        >>> trips = pd.DataFrame({"mode": ["car", "bus"], "cost_bus": [2.0, 1.0], "cost_car": [3.0, 4.0]})
        >>> tm.ChoiceData.from_wide(trips, choice="mode", varying={"cost": "cost_{alt}"}).frame
          mode alternative  cost
        0  car         bus   2.0
        0  car         car   3.0
        1  bus         bus   1.0
        1  bus         car   4.0
        """
        roles = Roles(choice, ALTERNATIVE, situations, persons, None)
        return cls._of(settle(read_wide(data, roles, varying, alternatives, available), missing, invalid), missing)

    @classmethod
    def _of(cls, found: Sorted, missing: str) -> ChoiceData:
        return cls(**{f.name: getattr(found, f.name) for f in fields(found)}, missing=missing)

    def __len__(self) -> int:
        """Return the number of choice situations."""
        return len(self.labels)

    def __repr__(self) -> str:
        persons = f", {len(self.person_labels)} persons" if self.roles.person else ""
        return f"<ChoiceData: {len(self)} situations, {len(self.alternatives)} alternatives{persons}>"

    @property
    def choice(self) -> str:
        """Return the name of the choice."""
        return self.roles.choice or "choice"

    @property
    def starts(self) -> Codes:
        """Return the (S,) positions of the first rows of situations."""
        return np.flatnonzero(np.diff(self.situation, prepend=-1))

    def report(self) -> ChoiceReport:
        """Return what is in the data: availability and shares, sets of odd sizes, columns that do not vary, losses."""
        return choice_report(self)

    def by_situation(self, value: Any, what: str) -> np.ndarray[Any, Any]:
        """Return one value a situation.

        Parameters
        ----------
        value : column name; a Series, matched with the rows of the table by label (with the situations where its index
            bears the name of their column); or an array with a value for each of the situations given, dropped ones
            included, in the order of their first appearance.
        what : what messages call it.

        Raises
        ------
        DataError
            If values differ within a situation, or lengths or labels do not fit.
        """
        if isinstance(value, str):
            if value not in self.frame.columns:
                raise DataError(f"{what}: {unknown('column', value, map(str, self.frame.columns))}")
            return self._one_each(self.frame[value], f"{what}={value!r}")
        if isinstance(value, pd.Series):
            if self.roles.situation is not None and value.index.name == self.roles.situation:
                return raw_array(align(value, what, self.labels, len(self)), what)
            return self._one_each(_by_row(value, what, self.frame.index), what)
        array = raw_array(value, what)
        if len(array) != self.given:
            raise DataError(
                f"{what} has {len(array)} values; give one for each of the {self.given} choice situations, in the "
                "order of their first appearance, or the name of a column."
            )
        return array[self.place]

    def _one_each(self, column: pd.Series, what: str) -> np.ndarray[Any, Any]:
        """Return the values of the first rows of situations, which all others must have as well."""
        bad = varies(column, self.situation, self.starts)
        if bad.any():
            units = np.unique(self.situation[bad])
            raise DataError(
                f"{what} differs between the rows of {len(units)} choice situations (e.g. "
                f"{listing(self.labels[units], 3)}); it must be the same in all rows of a situation."
            )
        return raw_array(column.iloc[self.starts], what)

    def select(self, keep: Mask, cause: str = "not selected") -> ChoiceData:
        """Return some of the situations.

        Parameters
        ----------
        keep : (S,) bool.
        cause : under which the others are counted in ``dropped``.

        Raises
        ------
        DataError
            If none is left.
        """
        keep = np.asarray(keep)
        if keep.shape != (len(self),) or keep.dtype != bool:
            raise DataError(f"keep has shape {keep.shape} and dtype {keep.dtype}; it must be ({len(self)},) of bool.")
        lost = int((~keep).sum())
        if not lost:
            return self
        dropped = {**self.dropped, cause: self.dropped.get(cause, 0) + lost}
        if lost == len(self):
            text = ", ".join(f"{c}: {k}" for c, k in dropped.items())
            raise DataError(f"No choice situation is left of {self.given}: {text}.")
        codes, own = pd.factorize(self.person[keep])
        rows = keep[self.situation]
        return replace(
            self,
            frame=self.frame.loc[rows],
            situation=(np.cumsum(keep) - 1)[self.situation[rows]].astype(np.int64),
            alternative=self.alternative[rows],
            chosen=self.chosen[keep],
            labels=self.labels[keep],
            person=codes.astype(np.int64),
            person_labels=self.person_labels.take(own),
            place=self.place[keep],
            dropped=dropped,
        )

    def decided(self) -> ChoiceData:
        """Return the situations whose chosen alternative is known and available, as a fit needs them."""
        return self.select(self.chosen >= 0, "no chosen alternative")

    def with_columns(self, **changes: Any) -> ChoiceData:
        """Return the data with columns changed or added, for counterfactuals.

        Parameters
        ----------
        changes : for each column, a number or text for all rows, an array (rows,) in the order of ``frame``, a Series
            with its row labels, or a function of ``frame``. Each function sees the columns as they were.

        Raises
        ------
        OptionError
            If a column says who chose what: alternatives are changed by :meth:`without` and :meth:`adding`.

        Examples
        --------
        >>> import pandas as pd, torchmle as tm
        >>> trips = pd.DataFrame({"mode": ["car", "bus"], "cost_bus": [2.0, 1.0], "cost_car": [3.0, 4.0]})
        >>> data = tm.ChoiceData.from_wide(trips, choice="mode", varying={"cost": "cost_{alt}"})
        >>> data.with_columns(cost=lambda d: d.cost.where(d.alternative != "car", 1.5 * d.cost)).frame.cost.tolist()
        [2.0, 4.5, 1.0, 6.0]
        """
        made = {}
        for name, value in changes.items():
            if name in self.roles.names:
                raise OptionError(
                    f"{name!r} says who chose what and cannot be changed. Alternatives are taken out and added by "
                    "without() and adding()."
                )
            made[name] = self._rows(name, value(self.frame) if callable(value) else value)
        return replace(self, frame=self.frame.assign(**made))

    def _rows(self, name: str, value: Any) -> Any:
        """Return a value for all rows, or values by row."""
        if isinstance(value, str) or np.ndim(value) == 0:
            return value
        if isinstance(value, pd.Series):
            value = _by_row(value, f"The column {name!r}", self.frame.index)
        if len(value) != len(self.frame):
            raise DataError(f"The column {name!r} has {len(value)} values; the frame has {len(self.frame)} rows.")
        return value.array if isinstance(value, pd.Series) else raw_array(value, f"The column {name!r}")

    def without(self, *labels: Any) -> ChoiceData:
        """Return the data with some alternatives taken out of every choice set.

        Where one of them was chosen, what is chosen now is not known; situations that have no other alternative go.
        """
        gone = {self._code(label) for label in labels}
        kept = [j for j in range(len(self.alternatives)) if j not in gone]
        left = np.isin(self.alternative, kept)
        some = np.bincount(self.situation[left], minlength=len(self)) > 0
        found = self.select(some, f"no alternative but {listing(labels)}")
        rows = np.isin(found.alternative, kept)
        codes = np.full(len(self.alternatives) + 1, -1, dtype=np.int64)  # the last entry is for choices not known
        codes[kept] = np.arange(len(kept))
        return replace(
            found,
            frame=found.frame.loc[rows],
            alternatives=tuple(self.alternatives[j] for j in kept),
            situation=found.situation[rows],
            alternative=codes[found.alternative[rows]],
            chosen=codes[found.chosen],
        )

    def adding(self, label: Any, like: Any, **changes: Any) -> ChoiceData:
        """Return the data with a new alternative wherever another is available, and choices not known.

        Parameters
        ----------
        label : the new alternative.
        like : the alternative whose columns it takes.
        changes : columns in which it differs: a number, an array by row, or a function of the new rows.

        Examples
        --------
        >>> import pandas as pd, torchmle as tm
        >>> trips = pd.DataFrame({"mode": ["car", "bus"], "cost_bus": [2.0, 1.0], "cost_car": [3.0, 4.0]})
        >>> data = tm.ChoiceData.from_wide(trips, choice="mode", varying={"cost": "cost_{alt}"})
        >>> data.adding("tram", like="bus", cost=lambda d: d.cost + 0.5).frame.cost.tolist()
        [2.0, 3.0, 2.5, 1.0, 4.0, 1.5]
        """
        if str(label) in map(str, self.alternatives):
            raise OptionError(f"There is an alternative {label!r} already: {listing(self.alternatives)}.")
        rows = self.alternative == self._code(like)
        new = replace(
            self, frame=self.frame.loc[rows], situation=self.situation[rows], alternative=self.alternative[rows]
        )
        new = new.with_columns(**changes)
        column = self.roles.alternative
        names = pd.Index([*self.alternatives, label])
        codes = np.concatenate([self.alternative, np.full(int(rows.sum()), len(self.alternatives), dtype=np.int64)])
        situation = np.concatenate([self.situation, new.situation])
        order = np.lexsort((codes, situation))
        frame = pd.concat([self.frame.drop(columns=column), new.frame.drop(columns=column)]).iloc[order]
        frame[column] = pd.Categorical.from_codes(codes[order], categories=names)
        return replace(
            self,
            frame=frame[self.frame.columns.union(new.frame.columns, sort=False)],
            alternatives=(*self.alternatives, label),
            situation=situation[order],
            alternative=codes[order],
            chosen=np.full(len(self), -1, dtype=np.int64),
        )

    def _code(self, label: Any) -> int:
        if label not in self.alternatives:
            raise DataError(unknown("alternative", label, map(str, self.alternatives)))
        return self.alternatives.index(label)

    def complete(self, columns: Sequence[str]) -> ChoiceData:
        """Return the situations without missing values in some columns, or raise where ``missing="raise"``."""
        found, S = self, len(self)
        for name in columns:
            bad = is_missing(found.frame[name].to_numpy())
            if bad.any():
                lost = np.bincount(found.situation[bad], minlength=len(found)) > 0
                if self.missing == "raise":
                    raise DataError(
                        f"missing='raise', and {name!r} is missing in {int(lost.sum())} of {S} choice situations (e.g. "
                        f"{listing(found.labels[lost], 3)}). Fill it, or use missing='drop'."
                    )
                found = found.select(~lost, f"{name} missing")
        return found


def _by_row(value: pd.Series, what: str, index: pd.Index) -> Any:
    """Return a Series by the labels of rows, which in a frame that was wide are those of situations, repeated."""
    if value.index.equals(index) or not value.index.is_unique:
        return align(value, what, index, len(index))
    own = index.unique()
    return align(value, what, own, len(own)).reindex(index)
