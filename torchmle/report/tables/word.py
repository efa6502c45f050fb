"""Write a table as a Word document."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from ...errors import import_extra
from ..format import one_line
from .document import Heading, Line, Run, Table
from .plain import aligned, wide

DIGIT, LABEL = 0.075, 3.0
"""Width of a digit at ten points, and most width of the labels, in inches."""


def document(table: Table) -> bytes:
    """Return a document with a caption, a table with three rules, and notes."""
    docx = import_extra("docx", "word", "A Word document")
    file = docx.Document()
    if table.caption:
        file.add_paragraph(one_line(table.caption), style="Caption")
    heads, lines = len(table.headings), table.lines
    grid = file.add_table(heads + len(lines), 1 + table.columns)
    grid.autofit = False
    layout = _layout(table)
    for i, heading in enumerate(table.headings):
        _heading(grid, i, heading)
    for i, line in enumerate(lines):
        _line(grid.rows[heads + i].cells, line, [point for _, point in layout])
    widths = [_labels_width(table), *(width for width, _ in layout)]
    _widths(grid, widths)
    _turn(file.sections[0], sum(widths))
    _rules(grid, table)
    for note in table.notes:
        _write(file.add_paragraph(), (Run(one_line(note)),), size=8.5)
    out = io.BytesIO()
    file.save(out)
    return out.getvalue()


def _layout(table: Table) -> list[tuple[float, float]]:
    """Return the width of every column, and where its decimal points stand, in inches."""
    found = []
    for j in range(table.columns):
        cells = [line.cells[j] for line in table.lines]
        texts = aligned(cells)
        words = max(wide(h.each()[j]) / h.over(j) for h in table.headings)
        width = max(max(map(wide, texts), default=0), words) * DIGIT + 0.25
        halves = [c.halves for c in cells]
        left = max((wide(h[0].plain) for h in halves if h), default=0)
        right = max((wide(h[1].plain) for h in halves if h), default=0)
        found.append((width, width / 2 + (left - right) * DIGIT / 2 - 0.075))
    return found


def _heading(grid: Any, row: int, heading: Heading) -> None:
    from docx.enum.text import WD_ALIGN_PARAGRAPH

    cells = grid.rows[row].cells
    _write(cells[0].paragraphs[0], (Run(one_line(heading.label)),))
    at = 1
    for span in heading.spans:
        cell = cells[at] if span.columns == 1 else cells[at].merge(cells[at + span.columns - 1])
        runs = (Run(one_line(span.text)), *((Run(span.mark, raised=True),) if span.mark else ()))
        _write(cell.paragraphs[0], runs)
        cell.paragraphs[0].alignment = WD_ALIGN_PARAGRAPH.CENTER
        if heading.ruled and span.text:
            _border(cell, "bottom", 4)
        at += span.columns


def _line(cells: Sequence[Any], line: Line, points: Sequence[float]) -> None:
    from docx.enum.text import WD_ALIGN_PARAGRAPH, WD_TAB_ALIGNMENT
    from docx.shared import Inches

    first = cells[0].paragraphs[0]
    _write(first, (Run(one_line(line.label)),), italic=line.kind == "section")
    first.paragraph_format.left_indent = Inches(0.15 * line.indent)
    for cell, found, point in zip(cells[1:], line.cells, points, strict=True):
        paragraph = cell.paragraphs[0]
        _write(paragraph, found.runs)
        if found.figure is None:
            paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
        else:  # Word aligns the text of a cell at its decimal tab, without a tab sign
            paragraph.paragraph_format.tab_stops.add_tab_stop(Inches(point), WD_TAB_ALIGNMENT.DECIMAL)


def _write(paragraph: Any, runs: Sequence[Run], size: float = 10, italic: bool = False) -> None:
    from docx.shared import Pt

    paragraph.paragraph_format.space_after = Pt(0)
    paragraph.paragraph_format.space_before = Pt(0)
    for run in runs:
        piece = paragraph.add_run(one_line(run.text))
        piece.font.size = Pt(size)
        piece.font.superscript = run.raised or None
        piece.italic = italic or None


def _labels_width(table: Table) -> float:
    """Return the width of the labels; longer ones go over several lines."""
    labels = [wide(line.label) + 2 * line.indent for line in table.lines] + [wide(h.label) for h in table.headings]
    return min(max(labels, default=0) * DIGIT + 0.25, LABEL)


def _widths(grid: Any, widths: Sequence[float]) -> None:
    from docx.shared import Inches

    for column, width in zip(grid.columns, widths, strict=True):
        column.width = Inches(width)
        for cell in column.cells:
            if cell._tc.grid_span == 1:
                cell.width = Inches(width)


def _turn(section: Any, width: float) -> None:
    """Turn the page where the table is wider than it."""
    from docx.enum.section import WD_ORIENT
    from docx.shared import Inches

    if Inches(width) > section.page_width - section.left_margin - section.right_margin:
        section.orientation = WD_ORIENT.LANDSCAPE
        section.page_width, section.page_height = section.page_height, section.page_width


def _rules(grid: Any, table: Table) -> None:
    """Draw a rule above and below the table, and thin ones above each block."""
    for cell in grid.rows[0].cells:
        _border(cell, "top", 12)
    at = len(table.headings)
    for block in table.blocks:
        for cell in grid.rows[at].cells:
            _border(cell, "top", 6)
        at += len(block)
    for cell in grid.rows[-1].cells:
        _border(cell, "bottom", 12)


def _border(cell: Any, side: str, eighths: int) -> None:
    """Draw one side of a cell, in eighths of a point."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    properties = cell._tc.get_or_add_tcPr()
    borders = properties.find(qn("w:tcBorders"))
    if borders is None:
        borders = OxmlElement("w:tcBorders")
        properties.append(borders)
    edge: Any = OxmlElement(f"w:{side}")
    for name, value in (("val", "single"), ("sz", str(eighths)), ("space", "0"), ("color", "auto")):
        edge.set(qn(f"w:{name}"), value)
    borders.insert(0 if side == "top" else len(borders), edge)  # Word wants the top first
