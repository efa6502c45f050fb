"""Write a table as text, Markdown, comma separated values and a DataFrame."""

from __future__ import annotations

import csv as csv_module
import io
import re
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from tabulate import tabulate

from ..format import escape_markdown, one_line
from .document import Cell, Heading, Line, Table

GAP = 2


def wide(text: str) -> int:
    """Return how many places a text takes in a fixed font: two for East Asian signs, none for combining ones."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def centred(text: str, width: int) -> str:
    """Return text in the middle of so many places."""
    left = (width - wide(text)) // 2
    return " " * left + text + " " * (width - wide(text) - left)


def text(table: Table) -> str:
    """Return a table as text, aligned by decimal points, between rules."""
    lines, columns = table.lines, range(table.columns)
    cells = [aligned([line.cells[j] for line in lines]) for j in columns]
    labels = [one_line("  " * line.indent + line.label) for line in lines]
    first = max(map(wide, [*labels, *(h.label for h in table.headings)]), default=0)
    widths = _widths(table, cells)
    body = [_row(labels[i], first, [(cells[j][i], widths[j]) for j in columns]) for i in range(len(lines))]
    total = first + sum(GAP + w for w in widths)
    double, single = "=" * total, "-" * total
    out = [*([centred(one_line(table.caption), total).rstrip()] if table.caption else []), double]
    out += [part for heading in table.headings for part in _heading(heading, first, widths)]
    at = 0
    for block in table.blocks:
        out += [single, *body[at : at + len(block)]]
        at += len(block)
    return "\n".join([*out, double, *(part for note in table.notes for part in wrapped(note, max(total, 60)))])


def wrapped(note: str, width: int) -> list[str]:
    """Return a note broken into lines; a level of stars stays whole."""
    space = "\N{NO-BREAK SPACE}"
    glued = re.sub(r"(\S+) p < (?=0\.)", rf"\1{space}p{space}<{space}", one_line(note))
    return [line.replace(space, " ") for line in textwrap.wrap(glued, width, break_on_hyphens=False)]


def aligned(cells: Sequence[Cell]) -> list[str]:
    """Return the cells of a column as text; decimal points stand below each other, the rest in the middle."""
    halves = [cell.halves for cell in cells]
    left = max((wide(h[0].plain) for h in halves if h), default=0)
    right = max((wide(h[1].plain) for h in halves if h), default=0)
    width = max([left + right, *(wide(one_line(c.plain)) for c in cells)], default=0)
    before = (width - left - right) // 2
    found = []
    for cell, half in zip(cells, halves, strict=True):
        if half is None:
            found.append(centred(one_line(cell.plain), width))
            continue
        start = before + left - wide(half[0].plain)
        joined = " " * start + half[0].plain + half[1].plain
        found.append(joined + " " * (width - wide(joined)))
    return found


def balanced(table: Table) -> Table:
    """Return a table for formats with two columns a model, whose numbers stand in the middle below wider text.

    What spans both columns and is wider than them widens the second one only. So the first number of a column gets
    half the difference as spaces before it, each of the width of a digit, which widens the first one.
    """
    blocks = [list(block) for block in table.blocks]
    for j in range(table.columns):
        places = [(b, i) for b, block in enumerate(blocks) for i, line in enumerate(block) if line.cells[j].halves]
        spaces = round(_spare(table, j))
        if places and spaces > 0:
            b, i = places[0]
            cells = list(blocks[b][i].cells)
            cells[j] = replace(cells[j], parts=("\N{FIGURE SPACE}" * spaces, *cells[j].parts))
            blocks[b][i] = replace(blocks[b][i], cells=tuple(cells))
    return replace(table, blocks=tuple(map(tuple, blocks)))


def _spare(table: Table, column: int) -> float:
    """Return by how many signs, at either side, the text of a column is wider than its numbers."""
    cells = [line.cells[column] for line in table.lines]
    halves = [cell.halves for cell in cells]
    numbers = sum(max((wide(h[side].plain) for h in halves if h), default=0) for side in (0, 1))
    texts = [wide(cell.plain) for cell in cells if cell.halves is None]
    words = [wide(heading.each()[column]) / heading.over(column) for heading in table.headings]
    return (max([*texts, *words], default=0) - numbers) / 2


def _widths(table: Table, cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the widths of the columns; a heading that needs more room widens those below it."""
    widths = [max(map(wide, column), default=0) for column in cells]
    for heading in reversed(table.headings):
        at = 0
        for span in heading.spans:
            places = range(at, at + span.columns)
            missing = wide(one_line(span.text + span.mark)) - sum(widths[j] for j in places) - GAP * (span.columns - 1)
            for k, j in enumerate(places):
                widths[j] += max(0, missing + span.columns - 1 - k) // span.columns
            at += span.columns
    return widths


def _row(label: str, first: int, cells: Sequence[tuple[str, int]]) -> str:
    parts = [label + " " * (first - wide(label)), *(centred(cell, width) for cell, width in cells)]
    return (" " * GAP).join(parts).rstrip()


def _heading(heading: Heading, first: int, widths: Sequence[int]) -> list[str]:
    """Return a row of headings, with a line under those of several columns where it is ruled."""
    cells, at = [], 0
    for span in heading.spans:
        width = sum(widths[at : at + span.columns]) + GAP * (span.columns - 1)
        cells.append((one_line(span.text + span.mark), width))
        at += span.columns
    lines = [_row(one_line(heading.label), first, cells)]
    if heading.ruled:
        lines.append(_row("", first, [("-" * width if word else "", width) for word, width in cells]))
    return lines


def markdown(table: Table) -> str:
    """Return a table as a pipe table, whose one row of headings is the first; the notes follow."""
    heads = [[escape_markdown(word) for word in (h.label, *h.each())] for h in table.headings]
    body = [[_label(line), *(escape_markdown(cell.plain) for cell in line.cells)] for line in table.lines]
    grid = heads + body
    alignment = ("left", *("center" for _ in range(table.columns)))
    lines = tabulate(grid[1:], grid[0], tablefmt="pipe", disable_numparse=True, colalign=alignment)
    title = [escape_markdown(table.caption), ""] if table.caption else []
    return "\n".join([*title, lines, "", "  \n".join(escape_markdown(note) for note in table.notes)]).rstrip()


def _label(line: Line) -> str:
    """Return the label of a row, headings of sections in italics."""
    label = escape_markdown(line.label)
    return "&nbsp;" * (2 * line.indent) + (f"*{label}*" if line.kind == "section" else label)


def csv(table: Table) -> str:
    """Return the rows as comma separated values; captions and notes are left out."""
    out = io.StringIO()
    rows = [[heading.label, *heading.each()] for heading in table.headings]
    rows += [[line.label, *(cell.plain for cell in line.cells)] for line in table.lines]
    csv_module.writer(out, lineterminator="\n").writerows([one_line(word) for word in row] for row in rows)
    return out.getvalue()


def frame(table: Table) -> pd.DataFrame:
    """Return the cells as text, labelled by section and row, what a row is, and headings."""
    headings = [h.each() for h in table.headings]
    columns = pd.MultiIndex.from_arrays(headings) if len(headings) > 1 else pd.Index(headings[0])
    index = pd.MultiIndex.from_tuples(_labels(table.lines), names=["section", "row", "what"])
    kept = [line for line in table.lines if line.kind != "section"]
    return pd.DataFrame([[cell.plain for cell in line.cells] for line in kept], index=index, columns=columns)


def _labels(lines: Sequence[Line]) -> Sequence[tuple[str, str, str]]:
    """Return section, label and kind of every row but those of sections; rows below an estimate bear its label."""
    found, titles, label = [], list[str](), ""
    for line in lines:
        if line.kind == "section":
            titles = [*titles[: line.indent], line.label]
            continue
        titles = titles[: line.indent]
        label = line.label if line.kind in ("estimate", "statistic") else label
        found.append((": ".join(titles), label, line.kind))
    return found
