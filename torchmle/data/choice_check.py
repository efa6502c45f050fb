"""Check choice situations, take out those that cannot be used, and sort what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, OptionError, listing, unknown
from .choice_frames import Codes, Long, Mask, Roles

POLICIES = ("drop", "raise")


@dataclass(frozen=True, eq=False)
class Sorted:
    """Hold the rows of checked situations: by person, then situation, then alternative.

    ``place`` (S,) says which of the situations given, counted by first appearance, each one is; ``given`` how many
    there were.
    """

    frame: pd.DataFrame
    roles: Roles
    alternatives: tuple[Any, ...]
    situation: Codes
    alternative: Codes
    chosen: Codes
    labels: pd.Index
    person: Codes
    person_labels: pd.Index
    place: Codes
    given: int
    dropped: Mapping[str, int] = field(default_factory=dict)


def check_policy(name: str, value: str) -> None:
    """Raise unless an option is ``drop`` or ``raise``."""
    if value not in POLICIES:
        raise OptionError(unknown(name, value, POLICIES))


def settle(raw: Long, missing: str, invalid: str) -> Sorted:
    """Return the situations that can be used; each of the others is dropped for one cause, or is an error."""
    check_policy("missing", missing)
    check_policy("invalid", invalid)
    S = len(raw.labels)
    used: Mask = np.ones(S, dtype=bool)
    dropped: dict[str, int] = {}
    for cause, bad in _incomplete(raw).items():
        used = _take_out(used, bad, cause, dropped)
    if dropped and missing == "raise":
        text = ", ".join(f"{cause}: {count}" for cause, count in dropped.items())
        raise DataError(
            f"missing='raise', and {S - int(used.sum())} of {S} choice situations have missing values ({text}). "
            "Fill them, take these situations out, or use missing='drop'."
        )
    faults = {cause: bad & used for cause, bad in _faults(raw).items() if (bad & used).any()}
    if faults and invalid == "raise":
        raise DataError(_describe(faults, raw.labels))
    for cause, bad in faults.items():
        used = _take_out(used, bad, cause, dropped)
    if not used.any():
        text = ", ".join(f"{cause}: {count}" for cause, count in dropped.items())
        raise DataError(f"No choice situation is left of {S}: {text}.")
    found = _sort(raw, used, dropped)
    if raw.chosen is not None and np.bincount(found.situation).max() < 2:
        raise DataError(
            f"All {len(found.labels)} choice situations have one available alternative, so that nothing was chosen. Is "
            f"{raw.roles.situation or 'situations'!r} the column that numbers situations, with a row for each "
            "alternative, those not chosen included?"
        )
    return found


def _take_out(used: Mask, bad: Mask, cause: str, dropped: dict[str, int]) -> Mask:
    """Return what is left of the situations in use, and count what is not."""
    count = int((used & bad).sum())
    if count:
        dropped[cause] = count
    return used & ~bad


def _any(raw: Long, rows: Mask) -> Mask:
    """Return which situations have such a row."""
    return np.bincount(raw.situation[rows], minlength=len(raw.labels)) > 0


def _incomplete(raw: Long) -> dict[str, Mask]:
    """Return the situations with missing values in what says who chose what, by cause."""
    found = {f"{raw.roles.alternative} missing": _any(raw, raw.alternative < 0)}
    if raw.chosen is not None:
        found[f"{raw.roles.choice} missing"] = _any(raw, np.isnan(raw.chosen))
    if raw.available is not None:
        found[f"{raw.roles.available or 'availability'} missing"] = _any(raw, np.isnan(raw.available))
    if raw.person is not None:
        found[f"{raw.roles.person} missing"] = raw.person < 0
    return found


def _faults(raw: Long) -> dict[str, Mask]:
    """Return the situations that contradict themselves, by what is wrong."""
    S, J = len(raw.labels), len(raw.alternatives)
    found: dict[str, Mask] = {}
    there = raw.alternative >= 0
    cells = np.bincount(raw.situation[there] * J + raw.alternative[there], minlength=S * J).reshape(S, J)
    found["with an alternative in two rows"] = np.asarray((cells > 1).any(axis=1))
    if raw.available is not None:
        found["without an available alternative"] = ~_any(raw, raw.available == 1)
    if raw.chosen is not None:
        picks = np.bincount(raw.situation, weights=raw.chosen == 1, minlength=S)
        found["without a chosen alternative"] = picks == 0
        found["with two or more chosen alternatives"] = picks > 1
        if raw.available is not None:
            found["whose chosen alternative is not available"] = _any(raw, (raw.chosen == 1) & (raw.available == 0))
    return found


def _describe(faults: Mapping[str, Mask], labels: pd.Index) -> str:
    lines = [f"{int(bad.sum())} {cause} (e.g. {listing(labels[bad], 3)})" for cause, bad in faults.items()]
    return (
        f"Of {len(labels)} choice situations there are {'; '.join(lines)}. In each, every alternative must have one "
        "row at most, and one available alternative must be chosen. Correct them, or use invalid='drop' "
        "to leave them out."
    )


def _sort(raw: Long, used: Mask, dropped: Mapping[str, int]) -> Sorted:
    """Return the rows of situations in use, in order."""
    place = np.flatnonzero(used)
    person, who = np.arange(len(place)), raw.labels[place]
    if raw.person is not None:
        codes, own = pd.factorize(raw.person[place])
        order = np.argsort(codes, kind="stable")
        place, person, who = place[order], codes[order].astype(np.int64), raw.person_labels.take(own)
    rank = np.full(len(raw.labels), -1, dtype=np.int64)
    rank[place] = np.arange(len(place))
    situation = rank[raw.situation]
    rows = situation >= 0
    if raw.available is not None:
        rows &= raw.available == 1
    at = np.flatnonzero(rows)
    key = situation[at] * len(raw.alternatives) + raw.alternative[at]
    if (np.diff(key) < 0).any():
        order = np.argsort(key, kind="stable")
        at, key = at[order], key[order]
    frame = raw.frame.copy() if len(at) == len(raw.frame) and (np.diff(at) == 1).all() else raw.frame.take(at)
    situation, alternative = np.divmod(key, len(raw.alternatives))
    chosen = np.full(len(place), -1, dtype=np.int64)
    if raw.chosen is not None:
        picked = raw.chosen[at] == 1
        chosen[situation[picked]] = alternative[picked]
    return Sorted(
        frame,
        raw.roles,
        raw.alternatives,
        situation,
        alternative,
        chosen,
        raw.labels[place],
        person,
        who,
        place,
        len(raw.labels),
        dict(dropped),
    )
