"""Read what stands after ``python -m torchmle fit``."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import OptionError, nearest, unknown

KINDS = {"freq": "freq_weights", "var": "var_weights", "sampling": "sampling_weights", "weights": "var_weights"}
"""Short names of the kinds of weights; ``weights`` is what WLS calls its own."""

DESCRIPTION = """Fit a model to a table in a file and print its summary.

Exit codes: 0, the fit converged; 1, it found no maximum; 2, something is wrong with what was asked, which standard
error says in a sentence.
"""

EXAMPLES = """examples:
  python -m torchmle fit "lwage ~ educ + exper" wages.csv --cov HC1 --table wages.tex
  python -m torchmle fit "inlf ~ educ + age" mroz.parquet --model logit --cov cluster --groups city
  python -m torchmle fit "y ~ x" data.csv --model mine.py:MyModel --formula "log_sigma=1 + x" --out fit.torchmle
"""


@dataclass(frozen=True)
class FitArguments:
    """Hold the arguments of a fit from the command line; they are those of ``from_formula`` and ``fit``."""

    formula: str
    data: str
    model: str = "ols"
    formulas: tuple[str, ...] = ()
    cov: str | None = None
    cov_options: tuple[str, ...] = ()
    groups: str | None = None
    weights: str | None = None
    offset: str | None = None
    exposure: str | None = None
    method: str | None = None
    maxiter: int | None = None
    tol: float | None = None
    seed: int | None = None
    fixed: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    alpha: float = 0.05
    device: str = "cpu"
    sep: str | None = None
    decimal: str = "."
    table: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()
    out: str | None = None
    quiet: bool = False
    traceback: bool = False


class Parser(argparse.ArgumentParser):
    """Parse arguments; a misspelt option is answered with the nearest."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and leave with exit code 2."""
        words = message.split(": ", 1)
        if words[0] == "unrecognized arguments":
            names = [name for action in self._actions for name in action.option_strings]
            message += "." + nearest(words[1].split()[0].split("=")[0], names)
        self.exit(2, f"torchmle: {message} See {self.prog} --help.\n")


def parser() -> Parser:
    """Return the parser of ``fit``."""
    parse = Parser(
        prog="python -m torchmle fit",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    several: dict[str, Any] = {"action": "append", "default": []}
    add = parse.add_argument
    add("formula", help='response and regressors, "lwage ~ educ + C(region) + I(exper ** 2)"')
    add("data", help="file with the table: .csv, .tsv (also .gz), .parquet")
    model = parse.add_argument_group("model")
    model.add_argument(
        "--model", default="ols", metavar="NAME", help="ols (default), logit, poisson, ..., or FILE.py:Class"
    )
    model.add_argument("--formula", dest="formulas", metavar="NAME=RHS", **several, help="formula of another predictor")
    model.add_argument("--weights", metavar="KIND=COLUMN", help="freq=, var= or sampling=, and the column")
    model.add_argument("--groups", metavar="COLUMN", help="clusters; the covariance is then cluster")
    model.add_argument("--offset", metavar="COLUMN", help="known part of the first predictor")
    model.add_argument("--exposure", metavar="COLUMN", help="its logarithm is a known part of the first predictor")
    fit = parse.add_argument_group("fit")
    fit.add_argument("--cov", metavar="TYPE", help="nonrobust, opg, HC0 to HC3, cluster, HAC, ...")
    fit.add_argument("--cov-option", dest="cov_options", metavar="NAME=VALUE", **several, help="such as maxlags=4")
    fit.add_argument("--method", help="newton, bfgs, lbfgs, scipy:NAME, ...")
    fit.add_argument("--maxiter", type=int, metavar="N", help="limit on iterations")
    fit.add_argument("--tol", type=float, help="scaled gradient at which the method stops")
    fit.add_argument("--seed", type=int, metavar="N", help="for random starts and stochastic methods")
    fit.add_argument("--fixed", metavar="NAME=VALUE", **several, help="hold a parameter at a value")
    fit.add_argument("--constraint", dest="constraints", metavar="EQUATION", **several, help='such as "educ = 2*exper"')
    fit.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, mps or auto")
    file = parse.add_argument_group("file")
    file.add_argument("--sep", metavar="SIGN", help="what separates the columns of a text file; by default a comma")
    file.add_argument("--decimal", default=".", metavar="SIGN", help="decimal sign of a text file; by default a point")
    out = parse.add_argument_group("output")
    out.add_argument(
        "--table", metavar="FILE", **several, help="table for a paper: .tex .md .html .docx .txt .csv .typ"
    )
    out.add_argument("--summary", metavar="FILE", **several, help="the summary: .txt .tex .md .html .csv")
    out.add_argument("--out", metavar="FILE", help="the results, which torchmle.load reads")
    out.add_argument("--alpha", type=float, default=0.05, help="one minus the level of intervals in the summary")
    out.add_argument("--quiet", action="store_true", help="do not print the summary")
    out.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parse


def read_arguments(arguments: Sequence[str]) -> FitArguments:
    """Return the arguments of a fit; leaves by SystemExit after ``--help`` and for what cannot be parsed."""
    found: dict[str, Any] = vars(parser().parse_args(list(arguments)))
    found |= {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
    return FitArguments(**found)


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """Return ``NAME=VALUE`` arguments as a dict.

    Raises
    ------
    OptionError
        Without an equals sign, or for a name given twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise OptionError(f"{option} {text!r} must be NAME=VALUE.")
        if name in found:
            raise OptionError(f"{option} names {name!r} twice.")
        found[name] = value
    return found


def literal(text: str) -> Any:
    """Return a number, True, False, None or list where the text is one, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def weights_of(given: str | None) -> dict[str, str]:
    """Return the keyword of ``KIND=COLUMN``."""
    if given is None:
        return {}
    (kind, column), *_ = pairs([given], "--weights").items()
    short = kind.lower().removesuffix("_weights") if kind.lower() != "weights" else "weights"
    if short not in KINDS:
        raise OptionError(unknown("kind of weights", kind, KINDS))
    return {KINDS[short]: column}
