"""Hold a table of several results as cells, from which every format is written."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...errors import OptionError, unknown
from ...files import writable_path, write_atomically
from ..format import MINUS, TIMES

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["estimate", "se", "t", "p", "ci", "section", "statistic"]

_FIGURE = re.compile(r"(-?)([^eE]*)(?:[eE]([+-]?)0*(\d+))?")


@dataclass(frozen=True)
class Figure:
    """Hold a number as Python writes it: ``-0.123``, ``1.2e-05``."""

    text: str

    @property
    def runs(self) -> tuple[Run, ...]:
        """Return the number as it is printed, with a minus sign and a power of ten."""
        found = _FIGURE.fullmatch(self.text)
        if found is None:  # a format with words of the user's own
            return (Run(self.text),)
        sign, digits, below, power = found.groups()
        plain = (MINUS if sign else "") + digits
        if power is None:
            return (Run(plain),)
        return Run(f"{plain} {TIMES} 10"), Run((MINUS if below == "-" else "") + power, raised=True)


@dataclass(frozen=True)
class Run:
    """Hold a piece of text, raised or not."""

    text: str
    raised: bool = False


@dataclass(frozen=True)
class Cell:
    """Hold what stands in a cell: text and numbers, and a mark (stars) after them."""

    parts: tuple[str | Figure, ...] = ()
    mark: str = ""

    @property
    def plain(self) -> str:
        """Return the cell as plain text."""
        return "".join(p if isinstance(p, str) else p.text for p in self.parts) + self.mark

    @property
    def runs(self) -> tuple[Run, ...]:
        """Return the cell as it is printed."""
        runs = [r for p in self.parts for r in ((Run(p),) if isinstance(p, str) else p.runs)]
        return (*runs, Run(self.mark, raised=True)) if self.mark else tuple(runs)

    @property
    def figure(self) -> Figure | None:
        """Return the number of the cell, by whose decimal point it is aligned; None where there is none or several."""
        found = [p for p in self.parts if isinstance(p, Figure)]
        return found[0] if len(found) == 1 else None

    @property
    def halves(self) -> tuple[Cell, Cell] | None:
        """Return what stands before the decimal point, and the rest; None where no number is to be aligned."""
        figure = self.figure
        if figure is None:
            return None
        at = self.parts.index(figure)
        cut = re.search(r"[.eE]", figure.text)
        end = len(figure.text) if cut is None else cut.start()
        rest = (Figure(figure.text[end:]),) if cut else ()
        whole = Figure(figure.text[:end])
        return Cell((*self.parts[:at], whole)), Cell((*rest, *self.parts[at + 1 :]), self.mark)


@dataclass(frozen=True)
class Span:
    """Hold a heading over some columns; a mark stands after it."""

    text: str
    columns: int = 1
    mark: str = ""


@dataclass(frozen=True)
class Heading:
    """Hold a row of headings: a label at the left, and spans over all columns."""

    spans: tuple[Span, ...]
    label: str = ""
    ruled: bool = False

    def each(self) -> list[str]:
        """Return the heading of every column."""
        return [s.text + s.mark for s in self.spans for _ in range(s.columns)]

    def over(self, column: int) -> int:
        """Return how many columns the heading of a column stands over."""
        return [span.columns for span in self.spans for _ in range(span.columns)][column]


@dataclass(frozen=True)
class Line:
    """Hold a row: its label, its cells, and what they are; a section has a label only."""

    label: str
    cells: tuple[Cell, ...]
    kind: Kind
    indent: int = 0


@dataclass(frozen=True, repr=False)
class Table:
    """Hold a table of several results; it prints as text and shows as HTML.

    Attributes
    ----------
    headings : rows above the columns.
    blocks : rows of estimates and rows of statistics, divided by rules.
    notes : sentences below.
    caption, label : of the table as a float.

    Examples
    --------
    >>> import torchmle as tm
    >>> wage = tm.datasets.load("wage1")
    >>> found = tm.table(tm.OLS.from_formula("lwage ~ educ", wage).fit(), stats=["nobs"])
    >>> print(found.as_markdown())
    |                    |     (1)     |
    |:-------------------|:-----------:|
    | Dependent variable |    lwage    |
    | Intercept          | 0.584\\*\\*\\* |
    |                    |   (0.097)   |
    | educ               | 0.083\\*\\*\\* |
    |                    |   (0.008)   |
    | Observations       |     526     |
    <BLANKLINE>
    Standard errors in parentheses. \\* p \\< 0.1, \\*\\* p \\< 0.05, \\*\\*\\* p \\< 0.01.
    """

    headings: tuple[Heading, ...]
    blocks: tuple[tuple[Line, ...], ...]
    notes: tuple[str, ...] = ()
    caption: str | None = None
    label: str | None = None

    @property
    def columns(self) -> int:
        """Return the number of columns beside the labels."""
        return sum(span.columns for span in self.headings[0].spans)

    @property
    def lines(self) -> list[Line]:
        """Return the rows of all blocks."""
        return [line for block in self.blocks for line in block]

    # ---- text

    def as_text(self) -> str:
        """Return the table as plain text, aligned by decimal points."""
        from .plain import text

        return text(self)

    def as_markdown(self) -> str:
        """Return a pipe table, as GitHub, Jupyter and pandoc read it; notes follow as a paragraph."""
        from .plain import markdown

        return markdown(self)

    def as_html(self) -> str:
        """Return an HTML table with styles of its own, for a notebook, a page or a mail."""
        from .web import html

        return html(self)

    def as_latex(
        self,
        siunitx: bool = False,
        threeparttable: bool = False,
        caption: str | None = None,
        label: str | None = None,
        math: bool = False,
    ) -> str:
        r"""Return LaTeX with the rules of booktabs; signs that are commands are escaped.

        A float where there is a caption or a label, else the tabular alone, with the notes in its last rows. The first
        line names the packages that the preamble must load.

        Parameters
        ----------
        siunitx : align by siunitx's ``S`` columns, one for each model; else by two columns for each model, which meet
            at the decimal point and need no package.
        threeparttable : put the notes below the table in ``tablenotes``; this makes it a float.
        caption, label : of the float; those of the table by default.
        math : leave what stands between dollar signs in labels, headings, notes and caption as it is.
        """
        from .latex import latex

        return latex(self, siunitx, threeparttable, caption, label, math)

    def as_typst(self) -> str:
        """Return a figure with a table for Typst."""
        from .typst import typst

        return typst(self)

    # ---- elsewhere

    def to_frame(self) -> pd.DataFrame:
        """Return the cells as text in a DataFrame; rows have a label and what they are, such as ``"se"``."""
        from .plain import frame

        return frame(self)

    def to_docx(self, path: str | os.PathLike[str]) -> None:
        """Write a Word document that holds the table.

        Parameters
        ----------
        path : name of the file; a crash leaves the old one.

        Raises
        ------
        MissingPackageError, OptionError
            If python-docx is not installed (``pip install "torchmle[word]"``), or the folder does not exist.
        """
        from .word import document

        write_atomically(writable_path(path, "path"), document(self))

    def save(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the table to a file, in the format that its name ends in.

        Parameters
        ----------
        path : ends in ``.tex``, ``.md``, ``.html``, ``.docx``, ``.txt``, ``.csv`` or ``.typ``; a crash leaves the old
            file.
        options : for ``.tex``, those of :meth:`as_latex`.

        Raises
        ------
        OptionError
            If the name ends in something else, the folder does not exist, or other formats are given options.
        """
        target = writable_path(path, "path")
        suffix = target.suffix.lower()
        if suffix not in (".tex", *_WRITERS):
            raise OptionError(unknown("suffix", target.suffix, [".tex", *_WRITERS]))
        if options and suffix != ".tex":
            raise OptionError(f"{', '.join(options)}: options are for .tex files only, not for {suffix}.")
        if suffix == ".docx":
            self.to_docx(target)
            return
        content = self.as_latex(**options) if suffix == ".tex" else _content(self, suffix)
        write_atomically(target, (content.rstrip("\n") + "\n").encode("utf-8"))

    def __str__(self) -> str:
        return self.as_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.as_html()


_WRITERS = (".md", ".html", ".docx", ".txt", ".csv", ".typ")


def _content(table: Table, suffix: str) -> str:
    """Return the content of a file."""
    from .plain import csv
    from .web import page

    if suffix in (".csv", ".html"):
        return csv(table) if suffix == ".csv" else page(table)
    return {".md": table.as_markdown, ".txt": table.as_text, ".typ": table.as_typst}[suffix]()


def merged(texts: Sequence[str], label: str = "", ruled: bool = True) -> Heading:
    """Return a row of headings in which neighbours of the same text are one span."""
    spans: list[Span] = []
    for text in texts:
        if spans and text and spans[-1].text == text:
            spans[-1] = Span(text, spans[-1].columns + 1)
        else:
            spans.append(Span(text))
    return Heading(tuple(spans), label, ruled)
