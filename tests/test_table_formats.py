"""Check the formats of tables: every writer against what reads it, for names of all kinds."""

import csv
import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import docx
import numpy as np
import pandas as pd
import pytest
from docx.enum.text import WD_TAB_ALIGNMENT
from docx.oxml.ns import qn
from hypothesis import example, given, settings
from hypothesis import strategies as st

import torchmle as tm
from torchmle.report.format import (
    escape_html,
    escape_latex,
    escape_markdown,
    number,
    one_line,
    quote_typst,
    raise_latex,
)

NASTY = r"_ % & # $ ^ ~ \ { } < > | ` \" -- ' * [T.x] β² é 数 -> a--b"
SIGNS = "\\_%&#$^~{}<>|`\"'-*[]()=+/.,:;?!@ abcXYZ019\t\nβλΩµ−×é数²"


def duck(params, names, headings=None, bse=None, pvalues=None, **more):
    """Return what offers as little as a table needs."""
    b = pd.Series(np.asarray(params, dtype=float), index=list(names))
    se = pd.Series(np.full(len(b), 0.5) if bse is None else bse, index=b.index)
    p = pd.Series(np.full(len(b), 0.04) if pvalues is None else pvalues, index=b.index)
    ends = pd.DataFrame({0: b - 2 * se, 1: b + 2 * se})
    return SimpleNamespace(params=b, bse=se, tvalues=b / se, pvalues=p, conf_int=lambda alpha=0.05: ends, **more)


ONE, TWO = duck([-0.5, 12.25], ["Intercept", NASTY], nobs=7), duck([1e-7], ["b_2"], nobs=12345, llf=-3.25)

TABLES = {
    "plain": lambda: tm.table([ONE, TWO]),
    "one": lambda: tm.table(ONE),
    "same names": lambda: tm.table([ONE, ONE, ONE], headings=["a", "a", "a"]),
    "everything": lambda: tm.table(
        {"A & B": ONE, NASTY: TWO, "": duck([5.0], ["log_sigma"])},
        spanners=[["x_1", "x_1", None], {"Long heading over all columns": 3}],
        dependent=["y_1", "100%", ""],
        below=["se", "t", "p", "ci"],
        groups={"Group #1": "b_2"},
        rows={"50% & more": ["yes_no", None, 0.5], "Ok": [True, False, None]},
        notes=["[A note] with $5 & 10%, and a -- dash."],
        caption="Costs_in_$ & 100%",
        label="tab:x",
        stars={"+": 0.1, "a": 0.05},
    ),
    "no statistics": lambda: tm.table([TWO, ONE], stats=[], stars=False),
    "no rows": lambda: tm.table(ONE, drop=["Intercept", NASTY]),
    "nothing": lambda: tm.table(ONE, drop=["Intercept", NASTY], stats=[], dependent=False),
    "wide": lambda: tm.table(
        [duck(range(30), [f"C(region, Treatment('north'))[T.{'x' * 60}{i}]" for i in range(30)])] * 9
    ),
    "no notes": lambda: replace(tm.table([ONE, TWO]), notes=()),
    "scientific": lambda: tm.table(duck([1.5e9, -2e-9], ["a", "b"], bse=[1e-12, 3e8]), below=["se", "ci"]),
    "formats": lambda: tm.table([ONE, TWO], fmt={"estimate": ",.0f", "nobs": ",.0f"}, below="ci"),
}


@pytest.fixture(params=TABLES)
def table(request):
    return TABLES[request.param]()


# ---- LaTeX


def rows_of(latex):
    """Return the cells of every row, a row an end of line of the tabular."""
    inner = re.search(r"\\begin\{tabular\}[^\n]*\n(.*)\\end\{tabular\}", latex, re.DOTALL)[1]
    lines = [line for line in inner.splitlines() if line.endswith(r" \\")]
    return [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in lines]


def columns_of(latex):
    """Return how many columns the preamble has."""
    preamble = re.search(r"\\begin\{tabular\}\{(.*)\}\n", latex)[1]
    return len(re.findall(r"[lrcS]", re.sub(r"S\[[^\]]*\]", "S", preamble).replace("@{}", "")))


def taken(cells):
    """Return how many columns cells take up."""
    spans = [re.match(r"\s*\\multicolumn\{(\d+)\}", cell) for cell in cells]
    return sum(int(span[1]) if span else 1 for span in spans)


def balanced(latex):
    """Return whether braces are balanced and environments nest."""
    bare = re.sub(r"\\[\\{}%&#$_]", "", latex)
    depth = 0
    for sign in bare:
        depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return False
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", latex):
        if kind == "end" and stack.pop() != name:
            return False
        if kind == "begin":
            stack.append(name)
    return depth == 0 and not stack


WAYS = [{}, {"siunitx": True}, {"threeparttable": True}, {"siunitx": True, "threeparttable": True, "caption": "c_1"}]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_latex_has_the_right_number_of_cells_in_every_row(table, way):
    latex = table.as_latex(**way)
    assert balanced(latex)
    rows = rows_of(latex)
    assert len(rows) >= len(table.headings) + len(table.lines)
    assert {taken(row) for row in rows} == {columns_of(latex)}
    assert latex.count("\\midrule") == len(table.blocks)


LATEX = shutil.which("pdflatex")


@pytest.mark.skipif(LATEX is None, reason="needs a TeX with booktabs, siunitx and threeparttable")
def test_latex_compiles_as_it_stands(tmp_path):
    bodies = []
    for name in TABLES.keys() - {"wide"}:  # wider than a page
        table = TABLES[name]()
        headings, blocks = tuple(map(_known, table.headings)), tuple(map(_known_block, table.blocks))
        known = replace(table, headings=headings, blocks=blocks)
        bodies += [replace(known, label=f"{name.replace(' ', '')}{i}").as_latex(**way) for i, way in enumerate(WAYS)]
        bodies.append(replace(known, caption=None, label=None).as_latex())
    source = "\\documentclass{article}\n\\usepackage{booktabs,siunitx,threeparttable}\n\\begin{document}\n"
    source += "\n\n\\clearpage\n".join(bodies) + "\n\\end{document}\n"
    (tmp_path / "t.tex").write_text(source, encoding="utf-8")
    done = subprocess.run(
        [LATEX, "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, text=True
    )
    log = (tmp_path / "t.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-3000:]
    for bad in ("Missing character", "LaTeX Font Warning: Some", "siunitx Warning", "Undefined control"):
        assert bad not in log, log[log.index(bad) - 500 :][:1000]


def _known(heading):
    return replace(heading, spans=tuple(replace(span, text=span.text.replace("数", "")) for span in heading.spans))


def _known_block(block):  # pdflatex has no Chinese, xelatex does
    return tuple(replace(line, label=line.label.replace("数", "")) for line in block)


WORDS = {
    **{"backslash": "\\", "less": "<", "greater": ">", "bar": "|"},
    **{"asciicircum": "^", "asciitilde": "~", "asciigrave": "`"},
}
BACK = [  # LaTeX to what it prints, longest first
    *(
        (rf"\text{word}{{}}", sign)
        for word, sign in {"backslash": "\\", "less": "<", "greater": ">", "bar": "|"}.items()
    ),
    *((rf"\text{word}{{}}", sign) for word, sign in {"asciicircum": "^", "asciitilde": "~", "asciigrave": "`"}.items()),
    *((f"${name}$", sign) for name, sign in {r"\beta": "β", r"\lambda": "λ", r"\Omega": "Ω", r"\mu": "µ"}.items()),
    *(
        ("$-$", "−"),
        (r"$\times$", "×"),
        (r"\textsuperscript{2}", "²"),
        (r"{\char34}", '"'),
        ("-{}", "-"),
        ("'{}", "'"),
        (",{}", ","),
    ),
    *((rf"\{sign}", sign) for sign in "{}_%&#$"),
]


def printed(latex):
    """Return what escaped LaTeX prints."""
    latex = re.sub(r"^\{([\[*])\}", r"\1", latex)
    found = ""
    while latex:
        for code, sign in BACK:
            if latex.startswith(code):
                found, latex = found + sign, latex[len(code) :]
                break
        else:
            assert latex[0] not in '\\{}_%&#$^~<>|`"', latex
            found, latex = found + latex[0], latex[1:]
    return found


@given(st.text(SIGNS, max_size=30))
@example("[a")
@example("*")
@example("---")
@settings(deadline=None)
def test_escaped_latex_prints_the_text(text):
    assert printed(escape_latex(text)) == one_line(text)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=4, unique=True))
@example([r"a & b \\ c", "%", "\\", "\n"])
@settings(deadline=None, max_examples=40)
def test_any_names_leave_latex_html_and_csv_whole(names):
    found = tm.table(
        [duck([1.5] * len(names), names)], headings=[names[0]], stats=[], rows={names[-1]: [names[0]]}, caption=names[0]
    )
    for way in ({}, {"siunitx": True}):
        latex = found.as_latex(**way)
        assert {taken(row) for row in rows_of(latex)} == {columns_of(latex)}
        assert balanced(latex)
    cells, _ = read_html(found.as_html())
    assert [row[0][1] for row in cells[1:-1]] == [one_line(line.label) for line in found.lines]
    assert [row[0] for row in csv.reader(io.StringIO(csv_of(found)))][1:] == [
        one_line(line.label) for line in found.lines
    ]


def csv_of(table):
    from torchmle.report.tables.plain import csv as write

    return write(table)


def test_mathematics_is_left_alone_where_that_is_asked_for():
    assert escape_latex("$\\beta_1$ & $5", math=True) == r"$\beta_1$ \& \$5"
    found = tm.table(ONE, rename={"Intercept": "$\\alpha^2$"}, headings=["$H_0$"], notes=["$x_1$ & $x_2$"])
    assert all(code in found.as_latex(math=True) for code in ("$\\alpha^2$", "{$H_0$}", "$x_1$ \\& $x_2$"))
    assert r"\$\textbackslash{}alpha\textasciicircum{}2\$" in found.as_latex()


def test_latex_of_numbers():
    found = tm.table(duck([-1.25e-7, 2.5], ["a", "b"], pvalues=[0.001, 0.5]), stats=[])
    plain, columns = found.as_latex(), found.as_latex(siunitx=True)
    assert r"a & $-$1 & .2~$\times$~10$^{-7}$$^{***}$ \\" in plain.replace(" $\\times$ ", r"~$\times$~")
    assert r"b & 2 & .500 \\" in plain
    assert "a & -1.2e-07{$^{***}$}" in columns
    assert "{(}0.500{)}" in columns
    assert re.search(
        r"S\[table-format=-1\.3e-2, table-space-text-pre=\{\(\}, table-space-text-post=\{\$\^\{\*\*\*\}\$\}", columns
    )


def test_latex_is_a_float_where_there_is_a_caption_or_a_label():
    found = tm.table(ONE)
    assert "\\begin{table}" not in found.as_latex()
    assert "\\caption{A \\& B}\n\\label{tab:a}" in found.as_latex(caption="A & B", label="tab:a")
    assert "\\begin{tablenotes}[flushleft]\n\\footnotesize\n\\item Standard errors" in found.as_latex(
        threeparttable=True
    )
    with pytest.raises(tm.OptionError, match="no label of LaTeX"):
        found.as_latex(label="a b}")


def test_raised_marks():
    assert raise_latex("***") == "$^{***}$"
    assert raise_latex("†") == "$^{\\dagger }$"
    assert raise_latex("a") == r"\textsuperscript{a}"
    assert raise_latex("") == ""


# ---- HTML


class Reader(HTMLParser):
    """Read rows of cells with their spans, as a browser does."""

    def __init__(self):
        super().__init__()
        self.rows, self.cell, self.open, self.caption = [], None, [], None

    def handle_starttag(self, tag, attrs):
        if tag == "br":
            self.cell[1] += "\n"
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = [int(dict(attrs).get("colspan", 1)), ""]
            self.rows[-1].append(self.cell)
        if tag == "caption":
            self.cell = self.caption = [1, ""]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.cell is not None and set(self.open) & {"td", "th", "caption"}:
            self.cell[1] += data


def read_html(text):
    """Return rows of (columns, text), and the text of the caption."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader.rows, None if reader.caption is None else reader.caption[1]


def shown(cell):
    """Return a cell as it is printed."""
    return "".join(run.text for run in cell.runs)


def test_html_holds_every_cell(table):
    rows, caption = read_html(table.as_html())
    assert {sum(columns for columns, _ in row) for row in rows} == {1 + table.columns}
    heads = len(table.headings)
    for row, heading in zip(rows, table.headings, strict=False):
        assert [text for _, text in row[1:]] == [one_line(s.text + s.mark) for s in heading.spans]
    for row, line in zip(rows[heads:], table.lines, strict=False):
        assert [text for _, text in row] == [one_line(line.label), *(one_line(shown(c)) for c in line.cells)]
    assert rows[-1][0][1] == "\n".join(table.notes)
    assert caption == table.caption


def test_html_has_true_minus_signs_and_aligned_points():
    text = tm.table(duck([-0.5, 12.25], ["a", "b"])).as_html()
    assert "−0</span>" in text
    assert "-0" not in text
    widths = re.findall(r"width:(\d+)ch;text-align:(right|left)", text)
    assert set(widths) == {("2", "right"), ("6", "left")}  # "12" or "−0" or "(0", and ".500**"


# ---- text, Markdown, CSV, frames


def test_text_is_aligned_and_nothing_is_cut(table):
    text = table.as_text()
    width = max(map(len, (line for line in text.splitlines() if set(line) == {"="})))
    bodies = text.split("=" * width)[1]
    for line in table.lines:
        assert one_line(line.label) in bodies
        assert all(one_line(cell.plain) in bodies for cell in line.cells)
    assert all(line == line.rstrip() for line in text.splitlines())


def test_decimal_points_stand_below_each_other():
    text = tm.table(duck([-0.5, 1234.25], ["a", "b"]), below=["se", "t"], dependent=False).as_text()
    at = {line.index(".") for line in text.splitlines()[3:9]}
    assert len(at) == 1


def test_wide_signs_count_twice():
    lines = tm.table(duck([1.0, 2.0], ["数数", "abcd"]), below=None, stats=[]).as_text().splitlines()
    assert [line[-7:] for line in lines[3:5]] == ["1.000**", "2.000**"]
    assert len(lines[4]) - len(lines[3]) == 2


def test_markdown_is_one_table(table):
    text = table.as_markdown()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    counts = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert counts == {table.columns + 2}
    assert len(lines) == len(table.headings) + len(table.lines) + 1
    assert re.fullmatch(r"\|:?-+\|(:?-+:?\|)+", lines[1])


@given(st.text(SIGNS, max_size=20))
@settings(deadline=None)
def test_escaped_markdown_html_and_typst_show_the_text(text):
    assert re.sub(r"\\([\\`*_{}\[\]<>#~|$^])", r"\1", escape_markdown(text)) == one_line(text)
    reader = Reader()
    reader.feed(f"<table><tr><td>{escape_html(text)}</td></tr></table>")
    reader.close()
    assert reader.rows[0][0][1] == one_line(text)
    assert re.sub(r"\\(.)", r"\1", quote_typst(text)[1:-1]) == one_line(text)


def test_csv_and_frame_have_the_cells(table, tmp_path):
    table.save(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[len(table.headings) :] == [[line.label, *(c.plain for c in line.cells)] for line in table.lines]
    frame = table.to_frame()
    kept = [line for line in table.lines if line.kind != "section"]
    assert frame.to_numpy().tolist() == [[c.plain for c in line.cells] for line in kept]
    assert frame.shape[1] == table.columns


def test_a_frame_names_the_rows():
    found = tm.table([ONE, TWO], groups={"Group": "b_2"}, stats=["nobs"]).to_frame()
    assert found.index.tolist()[-3:] == [
        ("Group", "b_2", "estimate"),
        ("Group", "b_2", "se"),
        ("", "Observations", "statistic"),
    ]


# ---- Word


def test_word_holds_every_cell_rules_and_notes(table, tmp_path):
    table.to_docx(tmp_path / "t.docx")
    file = docx.Document(tmp_path / "t.docx")
    (grid,) = file.tables
    heads = len(table.headings)
    for i, line in enumerate(table.lines):
        words = [cell.text for cell in grid.rows[heads + i].cells]
        assert words == [one_line(line.label), *(one_line(shown(c)) for c in line.cells)]
    for i, heading in enumerate(table.headings):
        assert [c.text for c in grid.rows[i].cells][1:] == [
            one_line(s.text + s.mark) for s in heading.spans for _ in range(s.columns)
        ]
    said = [p.text for p in file.paragraphs]
    assert said == [*([one_line(table.caption)] if table.caption else []), *map(one_line, table.notes)]
    edges = [{b.tag.split("}")[1] for c in row._tr.tc_lst for b in c.iter() if b.tag in SIDES} for row in grid.rows]
    assert "top" in edges[0]
    assert "bottom" in edges[-1]
    starts = np.cumsum([heads, *(len(block) for block in table.blocks)])[:-1]
    assert all("top" in edges[at] for at in starts)


SIDES = (qn("w:top"), qn("w:bottom"))


def test_word_raises_stars_and_aligns_points(tmp_path):
    tm.table(duck([-0.5], ["a"], pvalues=[0.001]), below=["se", "ci"], stats=[]).to_docx(tmp_path / "t.docx")
    (grid,) = docx.Document(tmp_path / "t.docx").tables
    paragraph = grid.rows[1].cells[1].paragraphs[0]
    assert [(r.text, bool(r.font.superscript)) for r in paragraph.runs] == [("−0.500", False), ("***", True)]
    assert [stop.alignment for stop in paragraph.paragraph_format.tab_stops] == [WD_TAB_ALIGNMENT.DECIMAL]
    assert not list(grid.rows[3].cells[1].paragraphs[0].paragraph_format.tab_stops)  # an interval has two points


def test_word_without_python_docx_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "docx", None)  # as if it were not there
    with pytest.raises(tm.MissingPackageError, match=r"torchmle\[word\]"):
        tm.table(ONE).save(tmp_path / "t.docx")
    assert not list(tmp_path.iterdir())


# ---- Typst


def test_typst_has_the_right_number_of_cells(table):
    text = table.as_typst()
    width = int(1 + 2 * table.columns)
    assert text.count("auto") == width
    strings = re.sub(r'"(?:[^"\\]|\\.)*"', "S", text)  # what is left is code
    assert strings.count("(") == strings.count(")")
    assert strings.count("[") == strings.count("]")
    body = [
        line.strip().rstrip(",") for line in strings.splitlines() if line.strip().startswith(("S", "h(", "table.cell"))
    ]
    assert len(body) == len(table.headings) + len(table.lines)
    for line in body:
        spans = [re.match(r"table\.cell\(colspan: (\d+)", cell) for cell in arguments(line)]
        assert sum(int(span[1]) if span else 1 for span in spans) == width


def arguments(code):
    """Return the arguments of a call, split at commas outside parentheses."""
    found, depth = [""], 0
    for sign in code:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            found.append("")
        else:
            found[-1] += sign
    return [part.strip() for part in found]


def test_typst_compiles(table, tmp_path):
    typst = pytest.importorskip("typst")
    table.save(tmp_path / "t.typ")
    assert typst.compile(str(tmp_path / "t.typ")).startswith(b"%PDF")


# ---- files


@pytest.mark.parametrize("suffix", [".tex", ".md", ".html", ".docx", ".txt", ".csv", ".typ", ".TEX"])
def test_save_writes_by_suffix(suffix, tmp_path):
    path = tmp_path / f"t{suffix}"
    path.write_text("old")
    table = tm.table([ONE, TWO], caption="A caption")
    table.save(path)
    content = path.read_bytes()
    if suffix == ".docx":
        assert content.startswith(b"PK")
        return
    wanted = {
        ".tex": table.as_latex,
        ".md": table.as_markdown,
        ".txt": table.as_text,
        ".typ": table.as_typst,
        ".html": table.as_html,
        ".csv": lambda: "(1),(2)",
    }[suffix.lower()]()
    assert wanted in content.decode("utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "t.tex"
    path.write_text("old")
    monkeypatch.setattr("os.replace", _full)
    with pytest.raises(OSError, match="disk"):
        tm.table(ONE).save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def _full(*_):
    raise OSError("disk full")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("t.pdf", {}, "Unknown suffix"),
        ("t", {}, "Unknown suffix"),
        ("nowhere/t.tex", {}, "does not exist"),
        ("t.md", {"siunitx": True}, "options are for .tex files only"),
    ],
)
def test_save_refuses(name, options, said, tmp_path):
    with pytest.raises(tm.OptionError, match=re.escape(said)):
        tm.table(ONE).save(tmp_path / name, **options)


def test_options_of_latex_go_into_the_file(tmp_path):
    tm.table(ONE).save(tmp_path / "t.tex", siunitx=True, caption="C")
    assert "S[table-format" in (tmp_path / "t.tex").read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (1.23456789, "1.2346"), (0.0012345, "0.001234"), (12345.678, "12345.7"), (1e-5, "1.000e-05")],
)
def test_numbers_of_summaries(value, text):
    assert number(value) == text
