"""A summary says the same in every format, cuts nothing off, and can be read by what it is written for."""

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import torchmle as tm
from torchmle.report.document import NAMES, ONE_PAGE, Part, Summary

WAGE1, MROZ = tm.datasets.load("wage1"), tm.datasets.load("mroz")
RNG = np.random.default_rng(0)

LONG = "C(industry_of_employment, Treatment('agriculture_forestry_and_fisheries'))[T.construction:female_x_married]"
ODD = ["50% & more_#1", "x^2 ~ {y}$\\cdot", "<b>|bold|</b>", 'say "a, b"', "größe_€ α", "*star*", "[bracket"]


def least_squares(names):
    X = pd.DataFrame(RNG.normal(size=(len(WAGE1), len(names))), columns=names)
    return tm.OLS(WAGE1.lwage, tm.add_constant(X)).fit()


def fits():
    found = {
        "least squares": tm.OLS.from_formula("lwage ~ educ + exper", WAGE1).fit(cov_type="HC1"),
        "logit": tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit(),
        "fixed": tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit(fixed={"age": -0.05}),
        "odd names": least_squares(ODD),
        "long names": least_squares([LONG, "a" * 150, "short"]),
        "many": least_squares([f"x_{i}" for i in range(3 * ONE_PAGE)]),
        "small numbers": tm.OLS.from_formula("lwage ~ x", WAGE1.assign(x=1e9 * WAGE1.educ)).fit(),
        "several levels": tm.MNLogit.from_formula("PID ~ educ", tm.datasets.load("anes96")).fit(),
    }
    with pytest.warns(tm.ConvergenceWarning):
        found["no maximum"] = tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit(maxiter=1)
    return found


FITS = fits()


def cells(results) -> list[list[str]]:
    """Return the rows of the coefficients as they are shown."""
    return [list(row) for row in results.summary().tables[1].rows]


def dense(text: str) -> str:
    return "".join(text.split())


# ---- text


@pytest.mark.parametrize("name", FITS)
def test_text_shows_every_cell_and_cuts_nothing_off(name):
    summary = FITS[name].summary()
    text = dense(summary.as_text())
    for row in summary.tables[1].rows:
        assert dense(row[0]) in text
        assert dense("".join(row[1:])) in text
    for label, value in summary.facts:
        assert dense(f"{label}:{value}") in text
    for note in summary.notes:
        assert dense(note) in text


def test_a_long_name_goes_on_in_the_next_line():
    lines = FITS["long names"].summary().as_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("C(industry"))
    assert dense("".join(line[:NAMES] for line in lines[first : first + 3])) == dense(LONG)
    assert max(map(len, lines)) < NAMES + 75
    assert [bool(re.search(r"\d\.\d{3}", line)) for line in lines[first : first + 3]] == [False, False, True]


def test_the_facts_that_a_reader_needs():
    text = FITS["least squares"].summary().as_text()
    for fact in ("HC1", "cpu, float64", "Converged", "closed form", "Computed by: least squares by cross-products"):
        assert fact in text
    text = dense(FITS["no maximum"].summary().as_text())
    assert dense("*** NOT A MAXIMUM (maxiter") in text
    assert dense("Converged: NO") in text


# ---- HTML


class Reader(HTMLParser):
    """Read the cells of tables, and count what is opened and closed."""

    def __init__(self):
        super().__init__()
        self.rows, self.open, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        elif not self.open or self.open[-1] != "style":
            self.text += data


@pytest.mark.parametrize("name", FITS)
def test_html_has_the_rows_and_closes_what_it_opens(name):
    summary = FITS[name].summary()
    reader = Reader()
    reader.feed(summary.as_html())
    assert reader.open == []
    for row in summary.tables[1].data:
        assert row in reader.rows
    for sentence in (*summary.alerts, *summary.notes, summary.title):
        assert sentence in reader.text
    assert FITS[name]._repr_html_() == summary.as_html()


def test_html_has_no_colours_of_its_own():
    """It takes those of the page: dark themes stay legible."""
    markup = FITS["logit"].summary().as_html()
    assert not re.search(r"#[0-9a-fA-F]{3,6}\b|rgb|background:(?!none)|color:(?!inherit|currentColor)", markup)


def test_html_can_be_read_by_pandas():
    pytest.importorskip("lxml")
    table = pd.read_html(io.StringIO(FITS["logit"].summary().tables[1].as_html()), index_col=0)[0]
    np.testing.assert_allclose(table["coef"], FITS["logit"].params, atol=5e-5)


# ---- LaTeX


@pytest.mark.parametrize("name", FITS)
def test_latex_closes_what_it_opens_and_has_as_many_cells_as_columns(name):
    latex = FITS[name].summary().as_latex("tab:one")
    opened = re.findall(r"\\(begin|end)\{(\w+)\}", latex)
    stack = []
    for what, environment in opened:
        if what == "begin":
            stack.append(environment)
        else:
            assert stack.pop() == environment
    assert stack == []
    assert latex.count(r"\label{tab:one}") == latex.count(r"\caption{") == 1
    assert ("longtable" in latex) == (name == "many")
    rows = [line for line in latex.splitlines() if line.endswith(r"\\") and "caption" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {3, 6}
    assert not re.search(r"(?<!\\)[%#](?! \\usepackage)", latex.replace("% \\usepackage", ""))


def test_latex_has_signs_and_powers():
    latex = FITS["small numbers"].summary().as_latex()
    assert re.search(r"\$\d\.\d{3}\\times ?10\^\{-11\}\$", latex)
    assert re.search(r"& \$-\d", FITS["logit"].summary().as_latex())


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_compiles(tmp_path):
    body = "\n\\clearpage\n".join(res.summary().as_latex(f"tab:{i}") for i, res in enumerate(FITS.values()))
    page = (
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage[utf8]{inputenc}\n\\usepackage{textcomp}\n"
        f"\\usepackage{{booktabs,longtable}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )
    (tmp_path / "page.tex").write_text(page, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 10_000


# ---- Markdown and CSV


@pytest.mark.parametrize("name", FITS)
def test_markdown_has_as_many_cells_in_each_row(name):
    summary = FITS[name].summary()
    text = summary.as_markdown()
    for block in text.split("\n\n"):
        lines = [line for line in block.strip().splitlines() if line.startswith("|")]
        if lines:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    plain = re.sub(r"\\([\\`*_{}\[\]<>#~|$^])", r"\1", text)
    for row in summary.tables[1].rows:
        assert "| " + " | ".join(row) + " |" in plain


@pytest.mark.parametrize("name", FITS)
def test_csv_reads_back(name):
    summary = FITS[name].summary()
    rows = list(csv.reader(io.StringIO(summary.as_csv())))
    assert rows[0] == [summary.title]
    for row in summary.tables[1].data:
        assert row in rows
    assert list(csv.reader(io.StringIO(summary.tables[1].as_csv()))) == summary.tables[1].data


# ---- its tables


def test_tables_are_those_of_statsmodels():
    import statsmodels.formula.api as smf

    ours = FITS["least squares"].summary().tables
    theirs = smf.ols("lwage ~ educ + exper", WAGE1).fit(cov_type="HC1").summary().tables
    assert len(ours) == len(theirs) == 3
    for mine, other in zip(ours[1].data[1:], theirs[1].data[1:], strict=True):
        assert mine[0] == other[0]
        np.testing.assert_allclose([float(v) for v in mine[1:]], [float(v) for v in other[1:]], atol=6e-4)
    assert len(FITS["logit"].summary().tables) == 2


def test_parts_print_themselves():
    part = Part(("", "coef"), (("x", "1.0000"),))
    assert str(part).split() == ["coef", "x", "1.0000"]
    assert "<td>1.0000</td>" in part._repr_html_()
    assert r"x & 1.0000 \\" in part.as_latex_tabular()


def test_a_summary_without_rows_is_no_error():
    """A model whose parameters are all in a module may have none to show."""
    empty = Summary("Nothing", (), (("Observations", "3"),), ("", "coef", "std err"), (), (), ())
    for text in (empty.as_text(), empty.as_html(), empty.as_latex(), empty.as_markdown(), empty.as_csv()):
        assert "Observations" in text
