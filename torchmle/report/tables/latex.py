"""Write a table as LaTeX with the rules of booktabs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...errors import OptionError
from ..format import escape_latex, raise_latex
from .document import Cell, Heading, Line, Run, Table
from .plain import balanced, text, wide, wrapped

_PLAIN_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
_SPACE = r"\enspace{}"
_LABEL = re.compile(r"[^\s\\{}%#~^$&,]+")


def latex(table: Table, siunitx: bool, threeparttable: bool, caption: str | None, label: str | None, math: bool) -> str:
    """Return a table as LaTeX; see :meth:`Table.as_latex`."""

    def escaped(word: str) -> str:
        return escape_latex(word, math)

    columns = _siunitx(table) if siunitx else _halves(table)
    notes = [] if threeparttable else _note_rows(table, columns, escaped)
    tabular = _tabular(table if siunitx else balanced(table), columns, escaped, notes)
    packages = ["booktabs", *(["siunitx"] if siunitx else []), *(["threeparttable"] if threeparttable else [])]
    above = _above(table.caption if caption is None else caption, table.label if label is None else label, escaped)
    inner = [*above, *tabular]
    if threeparttable:
        inner = ["\\begin{threeparttable}", *inner, *_tablenotes(table, escaped), "\\end{threeparttable}"]
    if above or threeparttable:
        inner = ["\\begin{table}[htbp]", "\\centering", *inner, "\\end{table}"]
    return "\n".join([f"% \\usepackage{{{', '.join(packages)}}}", *inner])


def _above(caption: str | None, label: str | None, escaped: Callable[[str], str]) -> list[str]:
    """Return the lines of caption and label."""
    if label is not None and not _LABEL.fullmatch(label):
        raise OptionError(f"label={label!r} is no label of LaTeX; use letters, digits, colons and dashes: 'tab:wages'.")
    shown = [f"\\caption{{{escaped(caption)}}}"] if caption is not None else []
    return [*shown, f"\\label{{{label}}}"] if label is not None else shown


def _tablenotes(table: Table, escaped: Callable[[str], str]) -> list[str]:
    items = [f"\\item {escaped(note)}" for note in table.notes]
    return ["\\begin{tablenotes}[flushleft]", "\\footnotesize", *items, "\\end{tablenotes}"] if items else []


@dataclass(frozen=True)
class _Columns:
    """Hold how models become columns: the preamble, how many of LaTeX's a model takes, and how a cell is written."""

    preamble: str
    each: int
    write: Callable[[Cell], str]


def _halves(table: Table) -> _Columns:
    """Return two columns a model that meet at the decimal point."""

    def write(cell: Cell) -> str:
        if not cell.parts:
            return " & "
        halves = cell.halves
        if halves is None:
            return f"\\multicolumn{{2}}{{c}}{{{_runs(cell.runs)}}}"
        return " & ".join(_runs(half.runs) for half in halves)

    return _Columns("l" + "r@{}l" * table.columns, 2, write)


def _siunitx(table: Table) -> _Columns:
    """Return one ``S`` column a model; what is no plain number stands in braces, in the middle."""
    found = [_format([line.cells[j] for line in table.lines]) for j in range(table.columns)]
    return _Columns("l" + "".join(found), 1, _siunitx_cell)


def _is_plain(cell: Cell) -> bool:
    return cell.figure is not None and _PLAIN_NUMBER.fullmatch(cell.figure.text) is not None


def _siunitx_cell(cell: Cell) -> str:
    if not cell.parts:
        return ""
    figure = cell.figure
    if figure is None or not _is_plain(cell):
        return f"{{{_runs(cell.runs)}}}"
    at = cell.parts.index(figure)
    before, after = Cell(cell.parts[:at]).runs, Cell(cell.parts[at + 1 :], cell.mark).runs
    wrapped = [f"{{{_runs(runs)}}}" if runs else "" for runs in (before, after)]
    return f"{wrapped[0]}{figure.text}{wrapped[1]}"


def _format(cells: Sequence[Cell]) -> str:
    """Return an ``S`` column with room for the widest number, and for what stands before and after it."""
    plain = [cell for cell in cells if _is_plain(cell)]
    if not plain:
        return "c"
    texts = [cell.figure.text for cell in plain if cell.figure is not None]
    whole = [t.partition("e")[0].partition(".") for t in texts]
    sign = "-" if any(t.startswith("-") for t in texts) else ""
    digits = max(len(w[0].lstrip("-")) for w in whole)
    exponents = [t.partition("e")[2] for t in texts if "e" in t]
    power = f"e-{max(len(e.lstrip('+-')) for e in exponents)}" if exponents else ""
    marks = [c.mark for c in plain] + ["".join(p for p in c.parts[1:] if isinstance(p, str)) for c in plain]
    widest = max(marks, key=len)
    space = f", table-space-text-post={{{raise_latex(widest)}}}" if widest else ""
    opening = ", table-space-text-pre={(}" if any(isinstance(c.parts[0], str) for c in plain) else ""
    options = f"table-format={sign}{digits}.{max(len(w[2]) for w in whole)}{power}{opening}{space}"
    return f"S[{options}, table-align-text-pre=false, table-align-text-post=false, group-digits=false]"


def _tabular(table: Table, columns: _Columns, escaped: Callable[[str], str], notes: Sequence[str]) -> list[str]:
    body = [line for heading in table.headings for line in _heading(heading, columns, escaped)]
    for block in table.blocks:
        body += ["\\midrule", *(_line(line, columns, escaped) for line in block)]
    return [
        f"\\begin{{tabular}}{{{columns.preamble}}}",
        "\\toprule",
        *body,
        "\\bottomrule",
        *notes,
        "\\end{tabular}",
    ]


def _heading(heading: Heading, columns: _Columns, escaped: Callable[[str], str]) -> list[str]:
    cells, rules, at = [escaped(heading.label)], [], 2
    for span in heading.spans:
        last = at + span.columns * columns.each - 1
        words = escaped(span.text) + raise_latex(span.mark)
        cells.append(f"\\multicolumn{{{last - at + 1}}}{{c}}{{{words}}}")
        if heading.ruled and span.text:
            rules.append(f"\\cmidrule(lr){{{at}-{last}}}")
        at = last + 1
    return [" & ".join(cells) + r" \\", *([" ".join(rules)] if rules else [])]


def _line(line: Line, columns: _Columns, escaped: Callable[[str], str]) -> str:
    label = "\\quad " * line.indent + escaped(line.label)
    if line.kind == "section":
        across = 1 + columns.each * len(line.cells)
        shown = "\\quad " * line.indent + f"\\textit{{{escaped(line.label)}}}"
        return f"\\multicolumn{{{across}}}{{l}}{{{shown}}} \\\\"
    return " & ".join([label, *(columns.write(cell) for cell in line.cells)]) + r" \\"


def _note_rows(table: Table, columns: _Columns, escaped: Callable[[str], str]) -> list[str]:
    """Return the notes as rows, broken to about the width of the table."""
    width = max(60, *map(wide, text(replace(table, caption=None, notes=())).splitlines()))
    across = 1 + columns.each * table.columns
    broken = [part for note in table.notes for part in wrapped(note, width)]
    return [f"\\multicolumn{{{across}}}{{l}}{{\\footnotesize {escaped(part)}}} \\\\" for part in broken]


def _runs(runs: Sequence[Run]) -> str:
    found = "".join(raise_latex(r.text) if r.raised else escape_latex(r.text) for r in runs)
    return re.sub(r"(?:\\enspace\{\})+", lambda spaces: f"\\hspace{{{len(spaces[0]) / len(_SPACE) / 2:g}em}}", found)
