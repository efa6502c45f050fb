"""Write a table as HTML that needs no style sheet."""

from __future__ import annotations

from collections.abc import Sequence

from ..format import escape_html
from .document import Cell, Heading, Line, Run, Table
from .plain import wide

THICK, THIN = "2px solid currentColor", "1px solid currentColor"
CENTRED = "text-align:center;vertical-align:baseline;padding:1px 8px"
LEFT = "text-align:left;vertical-align:baseline;font-weight:normal"
SUP = '<sup style="line-height:0">'


def html(table: Table) -> str:
    """Return a table; numbers stand with their decimal points below each other."""
    widths = [_widths([line.cells[j] for line in table.lines]) for j in range(table.columns)]
    heads = [_heading(heading, first=i == 0) for i, heading in enumerate(table.headings)]
    body = [_line(line, widths, i == 0) for block in table.blocks for i, line in enumerate(block)]
    caption = f"<caption>{escape_html(table.caption)}</caption>" if table.caption else ""
    name = f' id="{escape_html(table.label)}"' if table.label else ""
    notes = "<br>".join(escape_html(note) for note in table.notes)
    across = table.columns + 1
    foot = f'<td colspan="{across}" style="border:none;border-top:{THICK};text-align:left;font-size:85%">{notes}</td>'
    style = "border-collapse:collapse;border:none;font-variant-numeric:tabular-nums"
    return "\n".join(
        [
            f'<table{name} class="torchmle-table" style="{style}">{caption}',
            *("<thead>", *heads, "</thead>"),
            *("<tbody>", *body, "</tbody>"),
            f"<tfoot><tr>{foot}</tr></tfoot></table>",
        ]
    )


def page(table: Table) -> str:
    """Return a page that holds the table."""
    title = escape_html(table.caption or "Table")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n<body>\n'
        f"{html(table)}\n</body></html>"
    )


def _heading(heading: Heading, first: bool) -> str:
    border = f"border:none;border-top:{THICK};" if first else "border:none;"
    cells = [f'<th style="{border}{LEFT}">{escape_html(heading.label)}</th>']
    for span in heading.spans:
        words = escape_html(span.text) + (f"{SUP}{escape_html(span.mark)}</sup>" if span.mark else "")
        inner = f'<div style="border-bottom:{THIN}">{words}</div>' if heading.ruled and words else words
        across = f' colspan="{span.columns}"' if span.columns > 1 else ""
        cells.append(f'<th{across} style="{border}{CENTRED};font-weight:normal">{inner}</th>')
    return f"<tr>{''.join(cells)}</tr>"


def _line(line: Line, widths: Sequence[tuple[int, int]], first: bool) -> str:
    border = f"border:none;border-top:{THIN};" if first else "border:none;"
    indent = f"padding-left:{1 + line.indent}em;" if line.indent else ""
    label = f"<i>{escape_html(line.label)}</i>" if line.kind == "section" else escape_html(line.label)
    cells = [f'<th scope="row" style="{border}{indent}{LEFT}">{label}</th>']
    for cell, (left, right) in zip(line.cells, widths, strict=True):
        cells.append(f'<td style="{border}{CENTRED};white-space:nowrap">{_cell(cell, left, right)}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _widths(cells: Sequence[Cell]) -> tuple[int, int]:
    """Return how many digits wide the parts of a column before and after the decimal points are."""
    halves = [cell.halves for cell in cells]
    left = max((wide(h[0].plain) for h in halves if h), default=0)
    return left, max((wide(h[1].plain) for h in halves if h), default=0)


def _cell(cell: Cell, left: int, right: int) -> str:
    """Return a cell: two boxes that meet at the decimal point, or text."""
    halves = cell.halves
    if halves is None:
        return _runs(cell.runs)
    boxes = ((left, "right", halves[0]), (right, "left", halves[1]))
    return "".join(
        f'<span style="display:inline-block;width:{width}ch;text-align:{side}">{_runs(part.runs)}</span>'
        for width, side, part in boxes
        if width
    )


def _runs(runs: Sequence[Run]) -> str:
    return "".join(f"{SUP}{escape_html(r.text)}</sup>" if r.raised else escape_html(r.text) for r in runs)
