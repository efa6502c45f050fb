"""Fit a model as a command line asks, and write what it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import OptionError, import_extra, unknown
from ..files import writable_path, write_atomically
from ..models.base import GenericLikelihoodModel
from ..report.table import table
from ..results.fit import Document
from .arguments import KINDS, FitArguments, literal, pairs, weights_of
from .models import Model, find_model
from .tables import read_table, refuse_mixed

TABLES = (".tex", ".md", ".html", ".docx", ".txt", ".csv", ".typ")
BY_GROUPS = ("cluster", "CR2", "CRV3", "cluster-crv3", "hac-panel", "driscoll-kraay", "hac-groupsum")
"""Covariances that the clusters of the data enter."""

_KEYWORDS = ("formula", "data", "device", "dtype", "missing", "collinear", "row_data")
"""Arguments of ``from_formula`` that are no predictors."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Summary</title></head><body>
{0}
</body></html>
"""


@dataclass(frozen=True)
class Outcome:
    """Hold what is printed, and the exit code: 0 for a maximum, 1 for none."""

    text: str
    code: int


def fit_command(arguments: FitArguments) -> Outcome:
    """Fit, write the files asked for, and return what is to be printed.

    Raises
    ------
    TorchmleError
        For anything that cannot be done as asked; files to write are looked at before the fit.
    """
    _check_files(arguments)
    how = _fit_options(arguments)
    cls = find_model(arguments.model)
    model = _build(cls, arguments)
    results = model.fit(**how)
    document = results.summary(arguments.alpha)
    for path in arguments.summary:
        _write_summary(document, Path(path))
    for path in arguments.table:
        table([results]).save(path)
    if arguments.out is not None:
        results.save(arguments.out)
    return Outcome("" if arguments.quiet else str(document), 0 if results.converged else 1)


def _build(cls: Model, arguments: FitArguments) -> GenericLikelihoodModel:
    """Return the model of the formulas and the table."""
    data = read_table(arguments.data, arguments.sep, arguments.decimal)
    columns = {"groups": arguments.groups, "offset": arguments.offset, "exposure": arguments.exposure}
    given = {name: column for name, column in columns.items() if column is not None}
    formulas = pairs(arguments.formulas, "--formula")
    refuse_mixed(data, [arguments.formula, *formulas.values()])
    taken = sorted({*columns, *_KEYWORDS, *KINDS.values(), "weights"} & formulas.keys())
    if taken:
        raise OptionError(f"--formula {taken[0]}=...: {taken[0]!r} is no predictor.")
    build = partial(
        cls.from_formula,
        arguments.formula,
        data,
        device=arguments.device,
        **given,
        **weights_of(arguments.weights),
        **formulas,
    )
    # Formulas see the names of the caller. Here that is nobody: no variable of this program may stand in for a column.
    model: GenericLikelihoodModel = eval(compile("_build_()", "<command line>", "eval"), {"_build_": build})
    return model


def _fit_options(arguments: FitArguments) -> dict[str, Any]:
    """Return the arguments of ``fit``."""
    cov = arguments.cov
    if arguments.groups is not None:
        if cov is not None and cov.lower() not in [name.lower() for name in BY_GROUPS]:
            raise OptionError(f"--groups does not enter --cov {cov}. Leave it out, or use --cov cluster.")
        cov = cov or "cluster"
    kwds = {name: literal(value) for name, value in pairs(arguments.cov_options, "--cov-option").items()}
    if kwds and cov is None:
        raise OptionError("--cov-option needs --cov, whose options they are.")
    fixed = {name: _number(name, value) for name, value in pairs(arguments.fixed, "--fixed").items()}
    found = {
        "cov_type": cov,
        "cov_kwds": kwds or None,
        "method": arguments.method,
        "maxiter": arguments.maxiter,
        "tol": arguments.tol,
        "seed": arguments.seed,
        "fixed": fixed or None,
        "constraints": list(arguments.constraints) or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"--fixed {name}={text}: {text!r} is no number.") from None


def _check_files(arguments: FitArguments) -> None:
    """Refuse files that cannot be written, before the work is done."""
    for path in arguments.summary:
        _check_file(path, "--summary", list(_FORMATS))
    for path in arguments.table:
        _check_file(path, "--table", list(TABLES))
        if path.lower().endswith(".docx"):
            import_extra("docx", "word", f"--table {path}")
    if arguments.out is not None:
        writable_path(arguments.out, "--out")


def _check_file(path: str, option: str, suffixes: list[str]) -> None:
    if writable_path(path, option).suffix.lower() not in suffixes:
        raise OptionError(f"{option} {path}: {unknown('suffix', Path(path).suffix, suffixes)}")


def _as_page(document: Document) -> str:
    return _PAGE.format(document.as_html())


_FORMATS = {
    ".txt": lambda document: document.as_text() + "\n",
    ".tex": lambda document: document.as_latex(),
    ".md": lambda document: document.as_markdown(),
    ".csv": lambda document: document.as_csv(),
    ".html": _as_page,
}


def _write_summary(document: Document, path: Path) -> None:
    write_atomically(path, _FORMATS[path.suffix.lower()](document).encode("utf-8"))
