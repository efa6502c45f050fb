"""Lay models out as a table: headings, estimates with what stands below them, statistics, notes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ...errors import OptionError, unknown
from .column import Column, Term
from .document import Cell, Heading, Kind, Line, Span, merged
from .numbers import Formats
from .rows import Row

DAGGER = "\N{DAGGER}"

BELOW: Mapping[str, tuple[str, str, str]] = {
    "se": ("(", ")", "standard errors in parentheses"),
    "t": ("[", "]", "{law} statistics in brackets"),
    "p": ("{", "}", "p-values in braces"),
    "ci": ("[", "]", "{level} % intervals in brackets"),
}
"""What may stand below an estimate, how it is set off, and what the note says of it."""

STARS = {"***": 0.01, "**": 0.05, "*": 0.1}


@dataclass(frozen=True)
class Style:
    """Hold how estimates are shown: what stands below them, stars with their levels, numbers."""

    below: tuple[str, ...]
    stars: Mapping[str, float]
    formats: Formats
    alpha: float


def read_below(below: Any) -> tuple[str, ...]:
    """Return what stands below estimates, as a tuple."""
    listed = () if below is None else (below,) if isinstance(below, str) else tuple(below)
    for name in listed:
        if name not in BELOW:
            raise OptionError(unknown("entry of below:", name, BELOW))
    if len(set(listed)) < len(listed):
        raise OptionError(f"below={below!r} names something twice.")
    return listed


def read_stars(stars: Any) -> dict[str, float]:
    """Return marks with their levels, the smallest level first."""
    if isinstance(stars, bool):
        return dict(STARS) if stars else {}
    if isinstance(stars, Mapping):
        found = {str(mark): level for mark, level in stars.items()}
    elif isinstance(stars, (list, tuple)):
        found = {"*" * (i + 1): level for i, level in enumerate(sorted(stars, reverse=True))}
    else:
        raise OptionError(
            f"stars={stars!r} must be True, False, levels such as (0.05, 0.01), or a dict of mark to level."
        )
    for mark, level in found.items():
        if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level < 1:
            raise OptionError(f"stars: the level of {mark!r} is {level!r}; it must lie strictly between 0 and 1.")
    return dict(sorted(found.items(), key=lambda item: item[1]))


def estimate_lines(row: Row, style: Style, headings: Sequence[str], indent: int) -> list[Line]:
    """Return the line of the estimates of one parameter, and those below."""
    first = tuple(_estimate(t, style, h) for t, h in zip(row.terms, headings, strict=True))
    lines = [Line(row.label, first, "estimate", indent)]
    for place, what in enumerate(style.below):
        cells = tuple(_below(t, what, place, style, h) for t, h in zip(row.terms, headings, strict=True))
        lines += [Line("", cells, cast("Kind", what), indent)] if any(cell.parts for cell in cells) else []
    return lines


def _estimate(term: Term | None, style: Style, heading: str) -> Cell:
    if term is None:
        return Cell()
    if math.isnan(term.estimate):
        return Cell(("n/a",))
    figure = style.formats.figure(term.estimate, "estimate", heading)
    if term.held and not style.below:
        return Cell((figure, f" ({term.held})"))
    reached = [mark for mark, level in style.stars.items() if term.pvalue < level]
    return Cell((figure,), reached[0] if reached else "")


def _below(term: Term | None, what: str, place: int, style: Style, heading: str) -> Cell:
    """Return what stands below an estimate; a parameter that is held says so in the first line."""
    if term is None:
        return Cell()
    if term.held:
        return Cell((f"({term.held})",)) if place == 0 else Cell()
    before, after, _ = BELOW[what]
    if what == "ci":
        if math.isnan(term.low) or math.isnan(term.high):
            return Cell()
        low, high = style.formats.interval(term.low, term.high, heading)
        return Cell((before, low, ", ", high, after))
    value = {"se": term.se, "t": term.test, "p": term.pvalue}[what]
    if math.isnan(value):
        return Cell()
    if what == "p" and value < 0.001 and "p" not in style.formats.of:
        return Cell((f"{before}<", style.formats.figure(0.001, "p"), after))
    return Cell((before, style.formats.figure(value, what, heading), after))


def section_line(title: str, columns: int, indent: int) -> Line:
    """Return the line of a heading over rows."""
    return Line(title, (Cell(),) * columns, "section", indent)


def body(found: Sequence[tuple[tuple[str, ...], list[Row]]], style: Style, headings: Sequence[str]) -> list[Line]:
    """Return the lines of all sections; a heading that is the same as before is not repeated."""
    lines: list[Line] = []
    before: tuple[str, ...] = ()
    for above, rows in found:
        for depth, title in enumerate(above):
            if above[: depth + 1] != before[: depth + 1]:
                lines.append(section_line(title, len(headings), depth))
        before = above
        for row in rows:
            lines += estimate_lines(row, style, headings, len(above))
    return lines


# ---- headings


def read_headings(headings: Any, count: int) -> list[str]:
    """Return the heading of every model, by default its number."""
    if headings is None:
        return [f"({i + 1})" for i in range(count)]
    if isinstance(headings, str) or not isinstance(headings, Sequence) or len(headings) != count:
        raise OptionError(f"headings={headings!r} must be a list of {count} texts, one for each model.")
    return [str(h) for h in headings]


def head(columns: Sequence[Column], headings: Sequence[str], spanners: Any, dependent: Any) -> tuple[Heading, ...]:
    """Return the rows above the columns: spanners, the headings of models, dependent variables."""
    marks = [DAGGER if column.failure is not None else "" for column in columns]
    own = Heading(tuple(Span(text, 1, mark) for text, mark in zip(headings, marks, strict=True)))
    said = _dependents(columns, dependent)
    below = [Heading(tuple(Span(text) for text in said), "Dependent variable")] if any(said) else []
    return (*_spanners(spanners, len(columns)), own, *below)


def _spanners(given: Any, count: int) -> list[Heading]:
    if given is None:
        return []
    if isinstance(given, Mapping):
        if not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in given.values()):
            raise OptionError(f"spanners={dict(given)!r} must have numbers of models, e.g. {{'Men': 2, 'Women': 2}}.")
        if sum(given.values()) != count:
            raise OptionError(f"spanners={dict(given)!r} are over {sum(given.values())} models; there are {count}.")
        return [Heading(tuple(Span(str(k), v) for k, v in given.items()), ruled=True)]
    if isinstance(given, (list, tuple)) and given and all(isinstance(g, (list, tuple, Mapping)) for g in given):
        return [heading for row in given for heading in _spanners(row, count)]
    if not isinstance(given, (list, tuple)) or len(given) != count:
        raise OptionError(
            f"spanners={given!r} must be a dict of text to number of models, or a text for each of {count}."
        )
    return [merged(["" if text is None else str(text) for text in given])]


def _dependents(columns: Sequence[Column], dependent: Any) -> list[str]:
    names = [column.dependent for column in columns]
    if isinstance(dependent, bool):
        return names if dependent else []
    if isinstance(dependent, Mapping):
        for name in dependent:
            if name not in names:
                raise OptionError(unknown("response in dependent:", name, dict.fromkeys(names)))
        return [str(dependent.get(name, name)) for name in names]
    if isinstance(dependent, (list, tuple)) and len(dependent) == len(columns):
        return [str(d) for d in dependent]
    raise OptionError(
        f"dependent={dependent!r} must be True, False, a dict of response to label, or a list of {len(columns)} texts."
    )


# ---- notes


def below_notes(columns: Sequence[Column], style: Style) -> list[str]:
    """Return the sentences below: what stands below estimates, the levels of stars, what is to be said of columns."""
    found = []
    below = _below_note(columns, style)
    if style.stars:
        levels = ", ".join(f"{mark} p < {level:g}" for mark, level in reversed(list(style.stars.items())))
        below = f"{below} {levels}.".strip()
    found += [below] if below else []
    for j, column in enumerate(columns):
        if column.failure is not None:
            without = "its estimates are shown without standard errors and tests"
            shown = f"no tests are shown; standard errors: {column.given}" if column.given else without
            found.append(f"{DAGGER} Column {j + 1} is not at a maximum ({column.failure.rstrip('.')}): {shown}.")
        found += [f"Column {j + 1}: {'; '.join(note.rstrip('.') for note in column.notes)}."] if column.notes else []
    return found


def _below_note(columns: Sequence[Column], style: Style) -> str:
    laws = [law for law in ("t", "z") if any(c.tests == law and c.failure is None for c in columns)]
    level = f"{100 * (1 - style.alpha):g}"
    shown = [what for what in style.below if any(_known(term, what) for column in columns for term in column.terms)]
    parts = [BELOW[what][2].format(law=" or ".join(laws) or "z", level=level) for what in shown]
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _known(term: Term, what: str) -> bool:
    """Return whether there is anything of a kind to stand below an estimate."""
    value = {"se": term.se, "t": term.test, "p": term.pvalue, "ci": term.low + term.high}[what]
    return not term.held and not math.isnan(value)
