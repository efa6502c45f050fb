"""Load the small real data sets that come with the package, each with its source and licence."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType
from typing import Any

import pandas as pd

from ...errors import OptionError, unknown

__all__ = ["DatasetInfo", "describe", "load", "names"]


@dataclass(frozen=True)
class DatasetInfo:
    """Hold what is known of a data set: its source, its licence, and what its columns mean."""

    name: str
    title: str
    source: str
    licence: str
    rows: int
    columns: Mapping[str, str] = field(hash=False)

    def __str__(self) -> str:
        width = max(map(len, self.columns))
        lines = [f"{self.name}: {self.title}", f"Rows: {self.rows}"]
        lines += [f"Source: {self.source}", f"Licence: {self.licence}"]
        return "\n".join([*lines, *(f"  {name:<{width}}  {text}" for name, text in self.columns.items())])


def names() -> list[str]:
    """Return the names of the data sets.

    Examples
    --------
    >>> import torchmle as tm
    >>> tm.datasets.names()
    ['anes96', 'crime1', 'filip', 'longley', 'mroz', 'trips', 'wage1']
    """
    return sorted(_catalogue())


def load(name: str) -> pd.DataFrame:
    """Return a data set as a new frame, so that changing it changes nothing else.

    Parameters
    ----------
    name : one of :func:`names`.

    Raises
    ------
    OptionError
        If there is no such data set, with the nearest name.

    Examples
    --------
    >>> import torchmle as tm
    >>> tm.datasets.load("mroz").shape
    (753, 22)
    """
    _entry(name)
    with resources.files(__name__).joinpath(f"{name}.csv.gz").open("rb") as file:
        return pd.read_csv(file, compression="gzip", engine="python")  # this engine reads every digit, in any pandas


def describe(name: str) -> DatasetInfo:
    """Return title, source, licence, number of rows and meaning of the columns of a data set.

    Parameters
    ----------
    name : one of :func:`names`.

    Raises
    ------
    OptionError
        If there is no such data set, with the nearest name.

    Examples
    --------
    >>> import torchmle as tm
    >>> info = tm.datasets.describe("longley")
    >>> info.rows, info.licence
    (16, 'public domain')
    >>> print(info)
    longley: US employment and its nearly collinear causes, 1947-1962
    Rows: 16
    ...
    """
    entry = dict(_entry(name))
    return DatasetInfo(name=name, columns=MappingProxyType(dict(entry.pop("columns"))), **entry)


@functools.cache
def _catalogue() -> Mapping[str, Mapping[str, Any]]:
    """Return the catalogue: what ``catalogue.json`` says of each set."""
    text = resources.files(__name__).joinpath("catalogue.json").read_text(encoding="utf-8")
    found: dict[str, Mapping[str, Any]] = json.loads(text)
    return found


def _entry(name: str) -> Mapping[str, Any]:
    if name not in names():
        raise OptionError(unknown("data set", name, names()))
    return _catalogue()[name]
