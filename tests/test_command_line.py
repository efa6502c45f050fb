"""``python -m torchmle fit`` gives what the same fit from Python gives, and says in a sentence what it cannot do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import torchmle as tm
from torchmle.__main__ import main
from torchmle.cli.arguments import literal, pairs, read_arguments
from torchmle.cli.models import models

WAGE1, MROZ, CRIME1 = (tm.datasets.load(name) for name in ("wage1", "mroz", "crime1"))

MINE = """
import torch
import torchmle as tm
from helper import scale  # a file beside it


class Normal(tm.LinearPredictorModel):
    predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}

    def logdensity(self, y, mu, log_sigma):
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma * scale


class Broken(tm.GenericLikelihoodModel):
    def loglikeobs(self, params):
        return undefined_name + 1


class Other:
    pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    WAGE1.to_csv("wages.csv", index=False)
    WAGE1.to_csv("wages.csv.gz", index=False)
    WAGE1.to_csv("wages.tsv", index=False, sep="\t")
    WAGE1.to_csv("europe.csv", index=False, sep=";", decimal=",")
    WAGE1.to_parquet("wages.parquet")
    MROZ.to_parquet("mroz.parquet")
    CRIME1.assign(years=1 + np.arange(len(CRIME1)) % 3).to_csv("crime.csv", index=False)
    Path("mine.py").write_text(MINE, encoding="utf-8")
    Path("helper.py").write_text("scale = 1\n", encoding="utf-8")
    return tmp_path


def fit(*arguments: str) -> tuple[int, tm.Results]:
    """Return the exit code, and the results as they were written to a file."""
    code = main(["fit", *arguments, "--out", "fit.torchmle"])
    return code, tm.load("fit.torchmle")


def same(res, other):
    """The same rows go the same way: equal to the last bits."""
    pd.testing.assert_series_equal(res.params, other.params, rtol=1e-12)
    pd.testing.assert_series_equal(res.bse, other.bse, rtol=1e-12)
    assert (res.cov_type, res.nobs, res.llf) == (other.cov_type, other.nobs, pytest.approx(other.llf, rel=1e-12))


FIVE = "lwage ~ educ + exper"
CASES = {
    "least squares": ([FIVE, "wages.csv"], lambda: tm.OLS.from_formula(FIVE, WAGE1).fit()),
    "robust": ([FIVE, "wages.csv", "--cov", "HC1"], lambda: tm.OLS.from_formula(FIVE, WAGE1).fit(cov_type="HC1")),
    "compressed": ([FIVE, "wages.csv.gz"], lambda: tm.OLS.from_formula(FIVE, WAGE1).fit()),
    "tabs": ([FIVE, "wages.tsv"], lambda: tm.OLS.from_formula(FIVE, WAGE1).fit()),
    "Europe": ([FIVE, "europe.csv", "--sep", ";", "--decimal", ","], lambda: tm.OLS.from_formula(FIVE, WAGE1).fit()),
    "Parquet": ([FIVE, "wages.parquet"], lambda: tm.OLS.from_formula(FIVE, WAGE1).fit()),
    "functions": (
        ["lwage ~ np.log(educ + 1) + C(south)*exper", "wages.csv"],
        lambda: tm.OLS.from_formula("lwage ~ np.log(educ + 1) + C(south)*exper", WAGE1).fit(),
    ),
    "maximum likelihood": (
        [FIVE, "wages.csv", "--method", "newton", "--model", "OLS"],
        lambda: tm.OLS.from_formula(FIVE, WAGE1).fit(method="newton"),
    ),
    "weights": (
        [FIVE, "wages.csv", "--weights", "sampling=tenure"],
        lambda: tm.OLS.from_formula(FIVE, WAGE1, sampling_weights="tenure").fit(),
    ),
    "weighted least squares": (
        [FIVE, "wages.csv", "--model", "WLS", "--weights", "weights=educ"],
        lambda: tm.WLS.from_formula(FIVE, WAGE1, weights="educ").fit(),
    ),
    "heteroskedastic": (
        [FIVE, "wages.csv", "--formula", "log_sigma=1 + female"],
        lambda: tm.OLS.from_formula(FIVE, WAGE1, log_sigma="1 + female").fit(),
    ),
    "clusters": (
        ["inlf ~ educ + age", "mroz.parquet", "--model", "Logit", "--groups", "kidsge6"],
        lambda: tm.Logit.from_formula("inlf ~ educ + age", MROZ, groups="kidsge6").fit(cov_type="cluster"),
    ),
    "options of a covariance": (
        [FIVE, "wages.csv", "--cov", "HAC", "--cov-option", "maxlags=3", "--cov-option", "kernel=bartlett"],
        lambda: tm.OLS.from_formula(FIVE, WAGE1).fit(cov_type="HAC", cov_kwds={"maxlags": 3, "kernel": "bartlett"}),
    ),
    "exposure": (
        ["narr86 ~ pcnv", "crime.csv", "--model", "poisson", "--exposure", "years"],
        lambda: tm.Poisson.from_formula("narr86 ~ pcnv", CRIME1, exposure=1 + np.arange(len(CRIME1)) % 3).fit(),
    ),
    "offset": (
        ["narr86 ~ pcnv", "crime.csv", "--model", "negative_binomial", "--offset", "ptime86"],
        lambda: tm.NegativeBinomial.from_formula("narr86 ~ pcnv", CRIME1, offset="ptime86").fit(),
    ),
    "restrictions": (
        ["inlf ~ educ + age + exper", "mroz.parquet", "--model", "probit", "--fixed", "age=-0.05",
         "--constraint", "educ = exper"],
        lambda: tm.Probit.from_formula("inlf ~ educ + age + exper", MROZ).fit(
            fixed={"age": -0.05}, constraints="educ = exper"
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_fit_is_that_of_python(case, folder, capsys):
    arguments, expected = CASES[case]
    wanted = expected()
    code, res = fit(*arguments)
    assert code == 0
    same(res, wanted)
    printed = capsys.readouterr()
    assert printed.out.rstrip("\n").splitlines()[-1] == str(wanted.summary()).splitlines()[-1]
    assert printed.err == ""


def test_the_level_of_the_intervals(folder, capsys):
    assert main(["fit", FIVE, "wages.csv", "--alpha", "0.1"]) == 0
    assert capsys.readouterr().out == str(tm.OLS.from_formula(FIVE, WAGE1).fit().summary(0.1)) + "\n"


def test_a_model_of_the_users_own(folder, capsys):
    code, expected = main(["fit", FIVE, "wages.csv", "--model", "mine.py:Normal"]), tm.OLS.from_formula(FIVE, WAGE1)
    printed = capsys.readouterr().out
    assert code == 0
    assert "Normal Results" in printed
    assert f"{expected.fit(method='newton').llf:.4f}" in printed
    assert str(folder) not in sys.path


# ---- files to write


@pytest.mark.parametrize(("suffix", "method"), [
    (".txt", "as_text"), (".tex", "as_latex"), (".md", "as_markdown"), (".csv", "as_csv"), (".html", "as_html"),
])  # fmt: skip
def test_the_summary_is_written_by_suffix(suffix, method, folder, capsys):
    assert main(["fit", FIVE, "wages.csv", "--quiet", "--summary", f"s{suffix}", "--table", f"t{suffix}"]) == 0
    assert capsys.readouterr().out == ""
    res = tm.OLS.from_formula(FIVE, WAGE1).fit()
    written = Path(f"s{suffix}").read_text(encoding="utf-8")
    assert getattr(res.summary(), method)().rstrip("\n") in written
    tm.table([res]).save(f"other{suffix}")
    assert Path(f"t{suffix}").read_bytes() == Path(f"other{suffix}").read_bytes()


def test_a_table_for_word(folder):
    docx = pytest.importorskip("docx")
    assert main(["fit", FIVE, "wages.csv", "--quiet", "--table", "t.docx"]) == 0
    cells = [cell.text for table in docx.Document("t.docx").tables for row in table.rows for cell in row.cells]
    assert "educ" in cells
    assert any(cell.startswith("0.098") for cell in cells)


# ---- a fit without a maximum


def test_no_maximum_is_exit_code_1_with_a_warning(folder, capsys):
    assert main(["fit", "inlf ~ educ + age", "mroz.parquet", "--model", "logit", "--maxiter", "1"]) == 1
    printed = capsys.readouterr()
    assert "NOT A MAXIMUM" in printed.out
    assert printed.err.startswith("torchmle: warning: Logit: the returned point is not a maximum")
    assert printed.err.count("\n") == 1


def test_separated_data_are_exit_code_1(folder, capsys):
    pd.DataFrame({"y": [0, 0, 0, 1, 1, 1], "x": [1, 2, 3, 4, 5, 6]}).to_csv("apart.csv", index=False)
    assert main(["fit", "y ~ x", "apart.csv", "--model", "logit"]) == 1
    assert "predicted perfectly" in capsys.readouterr().err


# ---- what goes wrong

WRONG = [
    ([FIVE, "wage.csv"], "There is no file 'wage.csv'. The folder has crime.csv, europe.csv, wages.csv."),
    ([FIVE, "wages.xlsx"], "Unknown kind of file '.xlsx'."),
    ([FIVE, "."], "Unknown kind of file"),
    (["lwage ~ educ + expr", "wages.csv"], "uses 'expr', which is no column of the data. Did you mean 'exper'?"),
    (["lwage ~ code", "wages.csv"], "'code', which is no column of the data"),
    (["lwage ~ arguments", "wages.csv"], "'arguments', which is no column of the data"),
    (["lwage", "wages.csv"], "~"),
    (["inlf ~ educ", "mroz.parquet", "--model", "logitt"], "Unknown model 'logitt'. Did you mean 'logit'?"),
    ([FIVE, "wages.csv", "--model", "mine.py"], "mine.py:Class"),
    ([FIVE, "wages.csv", "--model", "his.py:Normal"], "there is no Python file 'his.py'"),
    ([FIVE, "wages.csv", "--model", "mine.py:Norml"], "mine.py has no class 'Norml'. Did you mean 'Normal'?"),
    ([FIVE, "wages.csv", "--model", "mine.py:Other"], "is no likelihood model. Those are: Normal, Broken."),
    ([FIVE, "wages.csv", "--model", "mine.py:Broken"], "undefined_name"),
    ([FIVE, "wages.csv", "--cov", "HC7"], "Unknown cov_type 'HC7'. Did you mean"),
    ([FIVE, "wages.csv", "--covv", "HC1"], "unrecognized arguments: --covv HC1. Did you mean '--cov'?"),
    ([FIVE, "wages.csv", "--cov", "HC1", "--groups", "female"], "--groups does not enter --cov HC1."),
    ([FIVE, "wages.csv", "--groups", "femal"], "'femal'"),
    ([FIVE, "wages.csv", "--cov-option", "maxlags=3"], "--cov-option needs --cov"),
    ([FIVE, "wages.csv", "--cov", "HAC", "--cov-option", "lags=3"], "'lags'"),
    ([FIVE, "wages.csv", "--cov", "HAC", "--cov-option", "3"], "must be NAME=VALUE"),
    ([FIVE, "wages.csv", "--weights", "frequency=tenure"], "Unknown kind of weights 'frequency'. Did you mean 'freq'?"),
    ([FIVE, "wages.csv", "--weights", "tenure"], "must be NAME=VALUE"),
    ([FIVE, "wages.csv", "--weights", "freq=tenur"], "'tenur'"),
    ([FIVE, "wages.csv", "--formula", "sigma=educ"], "'sigma'"),
    ([FIVE, "wages.csv", "--formula", "device=educ"], "'device' is no predictor"),
    ([FIVE, "wages.csv", "--formula", "formula=educ"], "'formula' is no predictor"),
    ([FIVE, "wages.csv", "--formula", "log_sigma=1", "--formula", "log_sigma=educ"], "names 'log_sigma' twice"),
    ([FIVE, "wages.csv", "--fixed", "educ=none"], "'none' is no number"),
    ([FIVE, "wages.csv", "--method", "newtn"], "'newtn'. Did you mean 'newton'?"),
    ([FIVE, "wages.csv", "--maxiter", "ten"], "--maxiter: invalid int value: 'ten'"),
    ([FIVE, "wages.csv", "--maxiter", "10"], "closed form"),
    ([FIVE, "wages.csv", "--alpha", "5"], "alpha=5.0 must lie strictly between 0 and 1"),
    ([FIVE, "wages.csv", "--device", "gpu"], "Unknown device 'gpu'. Did you mean 'cpu'?"),
    ([FIVE, "wages.csv", "--table", "x.pdf"], "Unknown suffix '.pdf'"),
    ([FIVE, "wages.csv", "--summary", "x.docx"], "Unknown suffix '.docx'"),
    ([FIVE, "wages.csv", "--summary", "none/x.txt"], "the folder 'none' does not exist"),
    ([FIVE, "wages.csv", "--out", "none/x"], "the folder 'none' does not exist"),
    ([FIVE, "wages.parquet", "--sep", ";"], "for text files, not for Parquet"),
    ([FIVE, "wages.csv", "--sep", ";;"], "must be one sign each"),
    ([FIVE, "europe.csv"], "Are columns separated by ';'? Use --sep ';'."),
    ([FIVE, "europe.csv", "--sep", ";"], "Is the decimal sign a comma?"),
    ([FIVE], "the following arguments are required: data"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"), WRONG, ids=[" ".join(a[1:] or a) + f" {i}" for i, (a, _) in enumerate(WRONG)]
)
def test_an_error_is_a_sentence_and_exit_code_2(arguments, says, folder, capsys):
    assert main(["fit", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("torchmle: ")
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not Path("x.txt").exists()


FILES = [
    ("empty.csv", b"", "empty.csv is empty"),
    ("blank.csv", b"\n\n", "blank.csv is empty"),
    ("head.csv", b"a,b\n", "names of 2 columns, but no rows"),
    ("twice.csv", b"a,b,a\n1,2,3\n4,5,7\n", "several columns named a"),
    ("ragged.csv", b"a,b\n1,2\n3,4,5\n", "cannot be read as a table: Expected 2 fields in line 3, saw 3"),
    ("wide.csv", b"a,b\n1,2,3\n3,4,5\n", "rows with more cells than the 2 names"),
    ("latin.csv", "a,b\n1,\xe9\n".encode("latin-1"), "is not text in UTF-8"),
    ("quote.csv", b'a,b\n1,"2\n3,4\n', "cannot be read as a table"),
    ("broken.parquet", b"PAR1 no more", "no Parquet file that can be read"),
    ("dots.csv", b"a,b\n1,2\n3,.\n4,4\n5,7\n", "Column 'b' holds numbers and text ('.')"),
    ("words.csv", b"a,b\nx,1\ny,2\nz,4\n", "'a'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "says"), FILES, ids=[name for name, _, _ in FILES])
def test_a_broken_file_is_a_sentence_and_exit_code_2(name, content, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    assert main(["fit", "a ~ b", name]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bom.csv").write_bytes("\ufeffa,b\n1,2\n3,4\n4,7\n".encode())
    assert main(["fit", "a ~ b", "bom.csv", "--quiet"]) == 0


def test_numbers_with_text_may_be_categories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("codes.csv").write_bytes(b"a,b\n1,2\n3,2A\n4,2\n5,2A\n")
    assert main(["fit", "a ~ b", "codes.csv", "--quiet"]) == 2
    assert main(["fit", "a ~ C(b)", "codes.csv", "--quiet"]) == 0


def test_the_users_file_that_does_not_run_is_named_with_its_line(folder, capsys):
    Path("bad.py").write_text("x = 1\ny = z\n", encoding="utf-8")
    Path("worse.py").write_text("x = 1\ny = (\n", encoding="utf-8")
    assert main(["fit", FIVE, "wages.csv", "--model", "bad.py:M"]) == 2
    assert main(["fit", FIVE, "wages.csv", "--model", "worse.py:M"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "bad.py, line 2: NameError" in first
    assert "worse.py, line 2" in second


def test_traceback_shows_where_an_error_came_from(folder, capsys):
    """Errors of other kinds name their class; with --traceback they are not caught."""
    odd = "class Odd(Normal):\n    def __init__(self, *given, **more):\n        raise ZeroDivisionError('odd')\n"
    Path("mine.py").write_text(f"{MINE}\n\n{odd}", encoding="utf-8")
    command = ["fit", FIVE, "wages.csv", "--model", "mine.py:Odd"]
    assert main(command) == 2
    assert capsys.readouterr().err == "torchmle: ZeroDivisionError: odd (--traceback shows where.)\n"
    with pytest.raises(ZeroDivisionError):
        main([*command, "--traceback"])


# ---- the program itself


def test_every_model_that_a_formula_makes_is_known():
    """Public classes with a response of a known kind; choices need a description, networks a module."""
    assert {"ols", "wls", "logit", "probit", "poisson", "negativebinomial", "mnlogit"} <= set(models())
    assert not {"genericlikelihoodmodel", "linearpredictormodel", "mixedlogit", "conditionallogit", "classifier"} & set(
        models()
    )


def test_an_unknown_command_is_an_error(capsys):
    assert main(["fti", "y ~ x", "data.csv"]) == 2
    assert "Unknown command 'fti'. Did you mean 'fit'?" in capsys.readouterr().err


def test_help_lists_every_option(capsys):
    assert main(["fit", "--help"]) == 0
    printed = capsys.readouterr().out
    for option in ("--model", "--cov", "--groups", "--weights", "--table", "--summary", "--out", "Exit codes"):
        assert option in printed


def test_arguments_are_read():
    found = read_arguments(["y ~ x", "d.csv", "--fixed", "a=1", "--fixed", "b=2"])
    assert (found.formula, found.data, found.fixed, found.cov) == ("y ~ x", "d.csv", ("a=1", "b=2"), None)
    assert pairs(["a = b = c"], "--x") == {"a": "b = c"}
    assert [literal(t) for t in ("3", "0.5", "True", "None", "[1, 2]", "firm", "x y")] == [
        3,
        0.5,
        True,
        None,
        [1, 2],
        "firm",
        "x y",
    ]


def test_the_program_as_a_process(folder):
    command = [sys.executable, "-m", "torchmle", "fit"]
    good = subprocess.run(
        [*command, FIVE, "wages.csv", "--cov", "HC1"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout == str(tm.OLS.from_formula(FIVE, WAGE1).fit(cov_type="HC1").summary()) + "\n"
    bad = subprocess.run(
        [*command, "lwage ~ code", "wages.csv"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("torchmle: The formula uses 'code', which is no column")
    assert bad.stderr.count("\n") == 1
