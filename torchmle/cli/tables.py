"""Read tables from files."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..errors import DataError, OptionError, import_extra, listing, unknown

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")


def read_table(path: str, sep: str | None, decimal: str) -> pd.DataFrame:
    """Return the table of a file.

    Parameters
    ----------
    sep, decimal : of a text file; a comma (a tab in .tsv) and a point by default.

    Raises
    ------
    DataError, OptionError
        If the file is not there, is empty, broken or of another kind, or has two columns of one name.
    """
    file = Path(path)
    kind = next((s.lower() for s in reversed(file.suffixes) if s.lower() not in (".gz", ".bz2", ".xz", ".zip")), "")
    if kind not in (*SEPARATORS, *PARQUET):
        raise OptionError(f"{path}: {unknown('kind of file', kind or file.name, [*SEPARATORS, *PARQUET])}")
    if not file.is_file():
        near = [] if not file.parent.is_dir() else [p.name for p in file.parent.iterdir() if p.suffix == file.suffix]
        raise OptionError(f"There is no file {path!r}." + (f" The folder has {listing(sorted(near))}." if near else ""))
    if kind in PARQUET:
        return _parquet(file, sep, decimal)
    return _text(file, SEPARATORS[kind] if sep is None else sep, decimal)


def refuse_mixed(table: pd.DataFrame, formulas: Sequence[str]) -> None:
    """Refuse text columns that a formula uses as numbers: with numbers and text, such as ``.`` for a missing value.

    A formula takes text for categories, and would have a coefficient for each of the numbers.

    Raises
    ------
    DataError
        Naming the column and what is no number in it. ``C(column)`` says that it holds categories.
    """
    words = {w for formula in formulas for w in re.findall(r"[^\W\d]\w*", re.sub(r"\bC\([^()]*\)", "", formula))}
    for name in words & {str(column) for column in table.columns}:
        column = table[name].dropna()
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
            continue
        texts = column[column.map(lambda value: isinstance(value, str))]
        other = texts[pd.to_numeric(texts, errors="coerce").isna()]
        comma = other.str.fullmatch(r"[-+]?\d*,\d+").any() if len(other) else False
        if comma or 0 < len(other) < len(texts):
            hint = (
                " Is the decimal sign a comma? Use --decimal ','."
                if comma
                else " Empty cells and NA are missing values."
            )
            shown = listing(repr(value) for value in other.unique()[:5])
            raise DataError(
                f"Column {name!r} holds numbers and text ({shown}).{hint} Categories are written C({name})."
            )


def _parquet(file: Path, sep: str | None, decimal: str) -> pd.DataFrame:
    if sep is not None or decimal != ".":
        raise OptionError("--sep and --decimal are for text files, not for Parquet.")
    import_extra("pyarrow", "data", "Reading Parquet")
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:  # what pyarrow raises for files that are damaged or something else
        raise DataError(f"{file} is no Parquet file that can be read: {_line(error)}") from error


def _text(file: Path, sep: str, decimal: str) -> pd.DataFrame:
    sep = {"tab": "\t", "\\t": "\t"}.get(sep, sep)
    if len(sep) != 1 or len(decimal) != 1 or sep == decimal:
        raise OptionError(f"--sep {sep!r} and --decimal {decimal!r} must be one sign each, and differ.")
    try:
        header = pd.read_csv(file, sep=sep, header=None, nrows=1, dtype=str, encoding="utf-8-sig").iloc[0]
        _check_names(file, [str(name) for name in header], sep)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(file, sep=sep, decimal=decimal, index_col=False, low_memory=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{file} is empty.") from error
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not text in UTF-8 ({_line(error)}). Save it as CSV in UTF-8.") from error
    except pd.errors.ParserWarning as error:
        raise DataError(f"{file} has rows with more cells than the {len(header)} names in its first line.") from error
    except (pd.errors.ParserError, csv.Error, OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as a table: {_line(error)}") from error
    if table.empty:
        raise DataError(f"{file} has names of {len(header)} columns, but no rows.")
    return table


def _check_names(file: Path, names: list[str], sep: str) -> None:
    """Refuse names given twice, which pandas changes, and a header that another sign separates."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{file} has several columns named {listing(twice)}. Names must be unique.")
    others = [s for s in (";", "\t", "|", ",") if s != sep and s in names[0]]
    if len(names) == 1 and others:
        sign = "tab" if others[0] == "\t" else others[0]
        raise DataError(f"{file} has one column, {names[0]!r}. Are columns separated by {sign!r}? Use --sep '{sign}'.")


def _line(error: Exception) -> str:
    """Return the message of an error in one line."""
    return " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
