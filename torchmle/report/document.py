"""Hold a summary as cells, and write it as text, HTML, LaTeX, Markdown and comma-separated values."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .format import TIMES, escape_html, escape_latex, escape_markdown, one_line

Row = tuple[str, ...]
Pairs = Sequence[tuple[str, str]]

NAMES, VALUES = 60, 40
"""Most signs of a line in the first column of text, and in a value of the facts; more go to the next line."""
ONE_PAGE = 35
"""Rows beyond which LaTeX gets a table that breaks over pages."""

_NUMBER = re.compile(r"(\[?)-?[\d.]+(?:e[-+]\d+)?(\]?)")

_STYLE = """<style>
.torchmle{overflow-x:auto;max-width:100%}
.torchmle>div{display:inline-block;border-top:2px solid currentColor;border-bottom:2px solid currentColor}
.torchmle table{border-collapse:collapse;border:none;margin:0;width:100%;font-size:inherit}
.torchmle table+table{border-top:1px solid currentColor}
.torchmle tr,.torchmle tr:nth-child(n){background:none}
.torchmle th,.torchmle td{border:none;padding:.15em .6em;text-align:right;vertical-align:top;color:inherit;
font-variant-numeric:tabular-nums;white-space:nowrap}
.torchmle th[scope=row]{text-align:left;font-weight:normal;white-space:normal;overflow-wrap:anywhere;min-width:8em}
.torchmle thead th{border-bottom:1px solid currentColor}
.torchmle td.said{font-style:italic}
.torchmle .title{font-weight:bold;font-size:1.1em;margin:.4em 0}
.torchmle .alert{border-left:4px solid currentColor;padding:.2em .6em;margin:.4em 0;font-weight:bold}
.torchmle ol{margin:.4em 0;padding-left:2em;font-size:.9em;max-width:60em}
</style>"""


@dataclass(frozen=True)
class Part:
    """Hold one of the tables of a summary.

    Attributes
    ----------
    data : its rows, head first where there is one, as in statsmodels' ``summary().tables[1].data``.
    """

    head: Row
    rows: tuple[Row, ...]

    @property
    def data(self) -> list[list[str]]:
        """Return the rows as lists of text, the head first."""
        return [list(row) for row in ([self.head] if self.head else []) + list(self.rows)]

    def as_text(self) -> str:
        """Return plain text."""
        rows = [line for row in self.rows for line in _lines(row)]
        if not rows:
            return ""
        rows = [[cell and f"  {cell}" for cell in self.head], *rows] if self.head else rows  # set apart by more
        return _aligned(rows, {0} if self.head else set(range(0, len(rows[0]), 2)))

    def as_html(self) -> str:
        """Return an HTML table."""
        return _html_table(self)

    def as_latex_tabular(self) -> str:
        """Return a LaTeX tabular, which needs the package booktabs."""
        return _tabular(self)

    def as_markdown(self) -> str:
        """Return a Markdown table."""
        width = len(self.data[0])
        head = [escape_markdown(cell) or " " for cell in self.head] or [" "] * width
        rule = [":--", *("--:" for _ in head[1:])] if self.head else [":--", "--:"] * (width // 2)
        rows = [[escape_markdown(cell) for cell in row] for row in self.rows]
        return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))

    def as_csv(self) -> str:
        """Return comma-separated values, as shown."""
        return _csv(self.data)

    def __str__(self) -> str:
        return self.as_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.as_html()


@dataclass(frozen=True)
class Summary:
    """Hold the parts of a summary as text cells, to be written in any of its formats."""

    title: str
    alerts: tuple[str, ...]
    facts: Pairs
    head: Row
    rows: tuple[Row, ...]
    statistics: Pairs
    notes: tuple[str, ...]

    @property
    def tables(self) -> list[Part]:
        """Return the tables: facts of the fit, coefficients, and the statistics of residuals where there are any."""
        parts = [Part((), _paired(self.facts)), Part(self.head, self.rows)]
        return [*parts, Part((), _paired(self.statistics))] if self.statistics else parts

    def as_text(self) -> str:
        """Return the summary as plain text; nothing is cut off, long names go on in the next line."""
        facts, table, *more = [part.as_text() for part in self.tables]
        width = max(len(line) for part in (facts, table, *more, self.title) for line in part.splitlines() or [""])
        double, single = "=" * width, "-" * width
        head, *body = table.splitlines() or [""]
        middle = [head, single, *body, double] if self.rows else []
        alerts = [line for a in self.alerts for line in textwrap.wrap(f"*** {a}", width, subsequent_indent="    ")]
        lines = [self.title.center(width).rstrip(), *alerts, double, facts, double, *middle]
        lines += [line for statistics in more for line in (statistics, double)]
        for i, note in enumerate(self.notes, 1):
            lines += textwrap.wrap(f"[{i}] {note}", max(width, 70), subsequent_indent="    ", break_on_hyphens=False)
        return "\n".join(lines)

    def as_html(self) -> str:
        """Return the summary as HTML, in the colours and the font of the page that it stands in."""
        title = f'<p class="title">{escape_html(self.title)}</p>'
        tables = "".join(part.as_html() for part in self.tables)
        alerts = "".join(f'<p class="alert">{escape_html(a)}</p>' for a in self.alerts)
        notes = "".join(f"<li>{escape_html(n)}</li>" for n in self.notes)
        return f'{_STYLE}<div class="torchmle">{title}{alerts}<div>{tables}</div><ol>{notes}</ol></div>'

    def as_latex(self, label: str = "") -> str:
        """Return the summary as a LaTeX table, which needs the packages booktabs and, for many rows, longtable.

        Parameters
        ----------
        label : what ``\\ref`` calls the table.
        """
        marks = "" if not label else rf"\label{{{label}}}"
        caption = rf"\caption{{{escape_latex(self.title)}}}{marks}"
        alerts = [rf"\textbf{{{escape_latex(a)}}}\par" for a in self.alerts]
        notes = [rf"{{[}}{i}{{]}} {escape_latex(n)}\par" for i, n in enumerate(self.notes, 1)]
        return (_long_table if len(self.rows) > ONE_PAGE else _float)(self, caption, alerts, notes)

    def as_markdown(self) -> str:
        """Return the summary as Markdown with tables."""
        alerts = [f"**{escape_markdown(a)}**" for a in self.alerts]
        notes = "\n".join(f"{i}. {escape_markdown(note)}" for i, note in enumerate(self.notes, 1))
        tables = [part.as_markdown() for part in self.tables]
        return "\n\n".join([f"### {escape_markdown(self.title)}", *alerts, *tables, notes]) + "\n"

    def as_csv(self) -> str:
        """Return the summary as comma-separated values, its tables one below the other, numbers as shown."""
        above, below = [[self.title], *([a] for a in self.alerts)], [[note] for note in self.notes]
        return _csv([*above, *(row for part in self.tables for row in part.data), *below])

    def __str__(self) -> str:
        return self.as_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.as_html()


def _paired(pairs: Pairs) -> tuple[Row, ...]:
    """Lay name and value pairs out in two columns, filled from top to bottom."""
    half = -(-len(pairs) // 2)
    left, right = list(pairs[:half]), list(pairs[half:])
    right += [("", "")] * (half - len(right))
    return tuple((f"{a}:" if a else "", b, f"{c}:" if c else "", d) for (a, b), (c, d) in zip(left, right, strict=True))


def _broken(text: str, width: int) -> str:
    """Return text in lines, broken after spaces and punctuation where there are any."""
    text = one_line(text)
    if len(text) <= width:
        return text
    lines = [""]
    for word in re.findall(r"[^\s:,*+()\[\]]*[\s:,*+()\[\]]*", text):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(lines)


def _lines(row: Row) -> list[list[str]]:
    """Return the lines that a row takes: a long name stands above its numbers, a long value goes on below."""
    *above, last = _broken(row[0], NAMES).split("\n")
    cells = [_broken(cell, VALUES).split("\n") for cell in row[1:]]
    height = max((len(cell) for cell in cells), default=1)
    filled = [cell + [""] * (height - len(cell)) for cell in cells]
    below = [[last if i == 0 else "", *(cell[i] for cell in filled)] for i in range(height)]
    named = [*([line, *("" for _ in cells)] for line in above), *below]
    return [[line if i == 0 or not line else f"  {line}", *rest] for i, (line, *rest) in enumerate(named)]


def _aligned(rows: Sequence[Sequence[str]], left: set[int]) -> str:
    """Return rows with some columns to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def padded(j: int, cell: str) -> str:
        return cell.ljust(widths[j]) if j in left else cell.rjust(widths[j])

    return "\n".join("  ".join(padded(j, cell) for j, cell in enumerate(row)).rstrip() for row in rows)


def _csv(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _html_table(part: Part) -> str:
    """Return a table; names stand in row headers, and what is no number is marked so."""
    head = "".join(f'<th scope="col">{escape_html(cell)}</th>' for cell in part.head)
    body = "".join(f"<tr>{_html_row(row, bool(part.head))}</tr>" for row in part.rows)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _html_row(row: Row, coefficients: bool) -> str:
    cells = []
    for j, cell in enumerate(row):
        text = escape_html(cell)
        if j == 0 or (not coefficients and j % 2 == 0):
            cells.append(f'<th scope="row">{text}</th>')
        else:
            said = coefficients and cell.startswith("(")
            cells.append(f'<td class="said">{text}</td>' if said else f"<td>{text}</td>")
    return "".join(cells)


# ---- LaTeX


def _latex_cell(text: str) -> str:
    """Return a cell: numbers with a minus and powers of ten, other text escaped."""
    if not _NUMBER.fullmatch(text):
        return escape_latex(text)
    mantissa, _, power = text.partition("e")
    scaled = f"{mantissa}{escape_latex(TIMES)[1:-1]}10^{{{int(power)}}}" if power else mantissa
    bare = scaled.strip("[]")
    number = f"${bare}$" if bare.startswith("-") or power else bare
    return number.join(("{[}" if text.startswith("[") else "", "{]}" if text.endswith("]") else ""))


def _breakable(text: str) -> str:
    """Return a long name that may break after its punctuation."""
    pieces = re.findall(r"[^\s:._,*+()\[\]]*[\s:._,*+()\[\]]*", text)
    return r"\allowbreak{}".join(escape_latex(piece) for piece in pieces if piece)


def _columns(part: Part) -> tuple[str, Callable[[str], str]]:
    """Return the columns of a tabular, and how to write names: on several lines where they are wide."""
    width = len(part.data[0])
    if not part.head:
        return "lr" * (width // 2), escape_latex
    if max((len(row[0]) for row in part.rows), default=0) <= NAMES // 2:
        return "l" + "r" * (width - 1), escape_latex
    return r"p{0.25\linewidth}" + "r" * (width - 1), lambda name: rf"\raggedright {_breakable(name)}"


def _latex_rows(part: Part, name: Callable[[str], str]) -> list[str]:
    rows = []
    for row in part.rows:
        first = name(row[0]) if part.head else escape_latex(row[0])
        rows.append(" & ".join([first, *map(_latex_cell, row[1:])]) + r" \\")
    return rows


def _latex_head(part: Part) -> list[str]:
    return [" & ".join(map(_latex_cell, part.head)) + r" \\", r"\midrule"] if part.head else []


def _tabular(part: Part) -> str:
    columns, name = _columns(part)
    rows = [*_latex_head(part), *_latex_rows(part, name)]
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *rows, r"\bottomrule", r"\end{tabular}"])


_SMALL = r"\footnotesize\setlength{\tabcolsep}{4pt}"


def _float(summary: Summary, caption: str, alerts: list[str], notes: list[str]) -> str:
    """Return a floating table with all parts below each other."""
    tables = "\n\n\\smallskip\n".join(_tabular(part) for part in summary.tables)
    lines = ["% \\usepackage{booktabs}", r"\begin{table}[htbp]", r"\centering", caption, _SMALL]
    lines += [*alerts, tables, "", r"\smallskip", r"\begin{minipage}{\linewidth}\raggedright", *notes]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}", ""])


def _long_table(summary: Summary, caption: str, alerts: list[str], notes: list[str]) -> str:
    """Return the parts one after the other, with coefficients in a table that breaks over pages."""
    facts, table, *more = summary.tables
    columns, name = _columns(table)
    head = _latex_head(table)
    lines = ["% \\usepackage{booktabs,longtable}", rf"\begingroup{_SMALL}", r"\begin{center}", *alerts]
    lines += [_tabular(facts), r"\end{center}", rf"\begin{{longtable}}{{{columns}}}", rf"{caption}\\", r"\toprule"]
    lines += [*head, r"\endfirsthead", r"\toprule", *head, r"\endhead", r"\bottomrule", r"\endfoot"]
    lines += [*_latex_rows(table, name), r"\end{longtable}"]
    lines += [rf"\begin{{center}}{_tabular(part)}\end{{center}}" for part in more]
    return "\n".join([*lines, r"\begin{raggedright}", *notes, r"\end{raggedright}", r"\endgroup", ""])
