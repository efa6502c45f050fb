"""Write numbers and names so that text, HTML, LaTeX, Markdown and Typst show them as they are."""

from __future__ import annotations

import html
import math
import re

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"{\char34}",
    MINUS: "$-$",
    TIMES: r"$\times$",
    "\N{NO-BREAK SPACE}": "~",
    "\N{FIGURE SPACE}": r"\enspace{}",
    "\N{MIDDLE DOT}": r"$\cdot$",
    "\N{DAGGER}": r"\dag{}",
    "\N{DEGREE SIGN}": r"$^{\circ}$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
    "\N{NOT EQUAL TO}": r"$\neq$",
    "\N{ALMOST EQUAL TO}": r"$\approx$",
    "\N{INFINITY}": r"$\infty$",
    "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}",
    "\N{SUPERSCRIPT TWO}": r"\textsuperscript{2}",
    "\N{SUPERSCRIPT THREE}": r"\textsuperscript{3}",
}
"""What pdflatex needs for signs that it would read as commands, or print as others."""

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi . pi rho . sigma tau upsilon phi chi psi "
    "omega"
)
_LATEX |= {chr(0x3B1 + i): rf"$\{name}$" for i, name in enumerate(_GREEK.split()) if name != "."}
_CAPITALS = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
_LATEX |= {sign: rf"$\{name}$" for sign, name in zip("ΓΔΘΛΞΠΣΥΦΨΩ", _CAPITALS.split(), strict=True)}
_LATEX["\N{MICRO SIGN}"] = r"$\mu$"

_MATH = re.compile(r"(?<!\\)\$[^$]+(?<!\\)\$")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#~|$^])")
_SUPERSCRIPT = re.compile(r"[-+*0-9\u2212\u2020]+")


def number(value: float) -> str:
    """Return a number with four digits after the point, or four significant ones where it is small."""
    if math.isnan(value):
        return "nan"
    if value != 0 and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3e}"
    if abs(value) >= 1e4:
        return f"{value:.1f}"
    decimals = 4 if abs(value) >= 0.1 or value == 0 else 3 - math.floor(math.log10(abs(value)))
    return f"{value:.{decimals}f}"


def one_line(text: str) -> str:
    """Return text without line breaks and tabs, which would end a row of a table, and without control signs."""
    return "".join(c if c.isprintable() or c in "\N{NO-BREAK SPACE}\N{FIGURE SPACE}" else " " for c in text)


def escape_latex(text: str, math: bool = False) -> str:
    """Return text as LaTeX that prints it, for pdflatex as well; Greek letters and common signs become mathematics.

    Parameters
    ----------
    math : leave what stands between two dollar signs as it is.
    """
    line = one_line(text)
    if not math:
        return _latex(line)
    found, at = [], 0
    for formula in _MATH.finditer(line):
        found += [_latex(line[at : formula.start()]), formula[0]]
        at = formula.end()
    return "".join([*found, _latex(line[at:])])


def _latex(text: str) -> str:
    """Return escaped text: signs do not run together, and what begins it is no argument of the row's end before."""
    escaped = re.sub(r"([-',])(?=\1)", r"\1{}", "".join(_LATEX.get(c, c) for c in text))
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped[:1] in ("[", "*") else escaped


def raise_latex(text: str) -> str:
    """Return LaTeX for what stands raised: stars, daggers and exponents by mathematics, other text by a command."""
    if _SUPERSCRIPT.fullmatch(text):
        return f"$^{{{text.replace(MINUS, '-').replace(chr(0x2020), chr(92) + 'dagger ')}}}$"
    return rf"\textsuperscript{{{escape_latex(text)}}}" if text else ""


def escape_html(text: str) -> str:
    """Return text as HTML that shows it."""
    return html.escape(one_line(text))


def escape_markdown(text: str) -> str:
    """Return text as Markdown that shows it, within a table as well."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def quote_typst(text: str) -> str:
    """Return text as a string of Typst's code."""
    plain = one_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'
