"""``python -m torchmle`` gives a first result, right numbers, and plain errors."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import torchmle as tm
from torchmle.__main__ import HOURS, WAGES, NormalRegression, Tobit

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torchmle", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_it_shows_a_first_result_and_its_device():
    done = run("--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) < 100
    assert f"torchmle {tm.__version__}" in done.stdout
    for text in ("device cpu", "OLS Results", "rmse", "Tobit Results", "kidslt6"):
        assert text in done.stdout


def test_a_reader_that_leaves_early_sees_no_traceback():
    command = [sys.executable, "-u", "-m", "torchmle", "--device", "cpu"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("torchmle")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(("arguments", "says"), [
    (["--device", "gpu"], "torchmle: Unknown device 'gpu'. Did you mean 'cpu'?"),
    (["--device", "cuda:99"], "torchmle: device='cuda:99' was asked for, but"),
    (["--devise", "cpu"], "unrecognized arguments: --devise"),
])  # fmt: skip
def test_an_error_is_one_sentence_and_exit_code_2(arguments, says):
    done = run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_likelihood_of_least_squares_gives_least_squares():
    wage1 = tm.datasets.load("wage1")
    ols, ml = tm.OLS.from_formula(WAGES, wage1).fit(), NormalRegression.from_formula(WAGES, wage1).fit()
    slopes = ml.params[list(ols.params.index)]
    np.testing.assert_allclose(slopes, ols.params, rtol=1e-7)
    np.testing.assert_allclose(np.exp(2 * ml.params["log_sigma"]), ols.ssr / ols.nobs, rtol=1e-7)


def test_the_tobit_is_that_of_the_textbook():
    """Wooldridge, Introductory Econometrics, chapter 17, OLS and Tobit estimation of annual hours worked."""
    res = Tobit.from_formula(HOURS, tm.datasets.load("mroz")).fit()
    printed = {"nwifeinc": (-8.81, 4.46), "educ": (80.65, 21.58), "exper": (131.56, 17.28), "expersq": (-1.86, 0.54)}
    printed |= {"age": (-54.41, 7.42), "kidslt6": (-894.02, 111.88), "kidsge6": (-16.22, 38.64)}
    for name, (coefficient, error) in printed.items():
        assert round(res.params[name], 2) == coefficient
        assert round(res.bse[name], 2) == error
    assert round(np.exp(res.params["log_sigma"]), 2) == 1122.02
    assert round(res.llf, 2) == -3819.09
