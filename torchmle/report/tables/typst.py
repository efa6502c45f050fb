"""Write a table for Typst."""

from __future__ import annotations

from collections.abc import Sequence

from ..format import quote_typst
from .document import Cell, Heading, Line, Run, Table
from .plain import balanced


def typst(table: Table) -> str:
    """Return a figure with a table of two columns a model, which meet at the decimal point."""
    columns = ", ".join(["auto"] * (1 + 2 * table.columns))
    rules = ["  table.hline(stroke: 0.8pt),", *(part for h in table.headings for part in _heading(h))]
    for block in balanced(table).blocks:
        rules += ["  table.hline(stroke: 0.5pt),", *(_line(line) for line in block)]
    caption = f"  caption: {quote_typst(table.caption)},\n" if table.caption else ""
    notes = "".join(f"  #{quote_typst(note)}\\\n" for note in table.notes)
    label = f" <{table.label}>" if table.label else ""
    body = "\n".join(["  " + line for line in rules])
    return (
        "#figure(\n"
        f"{caption}"
        "  kind: table,\n"
        "  [\n"
        "  #table(\n"
        f"    columns: ({columns}),\n"
        "    stroke: none,\n"
        "    align: (x, y) => if x == 0 { left } else if calc.odd(x) { right } else { left },\n"
        "    inset: (x, y) => if x == 0 { (x: 5pt, y: 3pt) } else if calc.odd(x) "
        "{ (left: 6pt, right: 0pt, y: 3pt) } else { (left: 0pt, right: 6pt, y: 3pt) },\n"
        f"{body}\n"
        "    table.hline(stroke: 0.8pt),\n"
        "  )\n"
        f"  #set text(size: 0.85em)\n  #set align(left)\n{notes}"
        f"  ],\n){label}"
    )


def _heading(heading: Heading) -> list[str]:
    cells, rules, at = [quote_typst(heading.label)], [], 1
    for span in heading.spans:
        width = 2 * span.columns
        mark = f" + {_raised(span.mark)}" if span.mark else ""
        cells.append(f"table.cell(colspan: {width}, align: center, {quote_typst(span.text)}{mark})")
        if heading.ruled and span.text:
            rules.append(f"  table.hline(start: {at}, end: {at + width}, stroke: 0.3pt),")
        at += width
    return ["  " + ", ".join(cells) + ",", *rules]


def _line(line: Line) -> str:
    indent = f"h({line.indent}em) + " if line.indent else ""
    if line.kind == "section":
        across = 1 + 2 * len(line.cells)
        return f"  table.cell(colspan: {across}, {indent}emph({quote_typst(line.label)})),"
    return "  " + ", ".join([indent + quote_typst(line.label), *map(_cell, line.cells)]) + ","


def _cell(cell: Cell) -> str:
    halves = cell.halves
    if halves is None:
        return f"table.cell(colspan: 2, align: center, {_runs(cell.runs)})"
    return ", ".join(_runs(half.runs) for half in halves)


def _runs(runs: Sequence[Run]) -> str:
    return " + ".join(_raised(r.text) if r.raised else quote_typst(r.text) for r in runs) or '""'


def _raised(text: str) -> str:
    """Return raised text; stars are raised as they are."""
    return quote_typst(text) if set(text) == {"*"} else f"super({quote_typst(text)})"
