"""Make the rows of statistics: those of the results, and the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import NoDataError, OptionError, UndefinedStatisticError, listing, unknown
from ...results.results import Results
from .column import Column
from .document import Cell, Figure, Line
from .foreign import statistic as foreign_statistic
from .numbers import Formats

LABELS = {
    "nobs": "Observations",
    "rsquared": "R-squared",
    "rsquared_adj": "Adj. R-squared",
    "prsquared": "Pseudo R-squared",
    "llf": "Log-likelihood",
    "aic": "AIC",
    "bic": "BIC",
    "clusters": "Clusters",
    "cov_type": "Covariance",
    "model": "Model",
}
"""The statistics that are known by a label; others are attributes of the results."""

DEFAULT = ("nobs", "rsquared", "prsquared", "llf", "aic", "bic", "clusters", "cov_type")

ALWAYS = ("nobs", "llf", "model")
"""What is shown of a fit that did not converge."""

_CLUSTERS = re.compile(r", (\d+) clusters")


def read_statistics(stats: Any) -> tuple[dict[str, str], bool]:
    """Return attribute and label of the statistics asked for, and whether they were asked for by name."""
    if stats is None:
        return {name: LABELS[name] for name in DEFAULT}, False
    if isinstance(stats, Mapping):
        return {str(k): str(v) for k, v in stats.items()}, True
    if isinstance(stats, str) or not isinstance(stats, Sequence):
        raise OptionError(f"stats={stats!r} must be a list of names, e.g. ['nobs', 'llf'], or a dict of name to label.")
    return {str(name): LABELS.get(str(name), str(name)) for name in stats}, True


def statistic(column: Column, name: str) -> Any:
    """Return a statistic of a column, or None where it has none."""
    found = column.source
    if found is None or (column.failure is not None and name not in ALWAYS):
        return None
    if name == "model":
        return _model_name(found)
    if not isinstance(found, Results):
        return foreign_statistic(found, name)
    if name in ("clusters", "cov_type") and found.fit.withheld:
        return None
    if name == "clusters":
        counts = _CLUSTERS.findall(found.inference.covariance.description)
        return int(counts[0]) if len(counts) == 1 else " / ".join(counts) or None
    try:
        value = getattr(found, name, None)
    except (UndefinedStatisticError, NoDataError):
        return None
    return None if callable(value) else value


def _model_name(found: Any) -> str:
    model = getattr(found, "model", None)
    return str(getattr(found, "_method", None) or type(found).__name__) if model is None else type(model).__name__


def statistic_lines(columns: Sequence[Column], stats: dict[str, str], by_name: bool, formats: Formats) -> list[Line]:
    """Return a row a statistic; of those shown by default, only rows that say something.

    Raises
    ------
    OptionError
        If no model has a statistic that was asked for by name, or it is no single number or word.
    """
    lines = []
    for name, label in stats.items():
        values = [statistic(column, name) for column in columns]
        cells = tuple(value_cell(v, name, formats) for v in values)
        if any(cell.parts for cell in cells):
            lines.append(Line(label, cells, "statistic"))
        elif by_name and name not in LABELS and not any(_offers(c, name) for c in columns):
            raise OptionError(unknown("statistic in stats:", name, [*LABELS, "any attribute of the results"]))
        elif by_name:
            lines.append(Line(label, cells, "statistic"))
    return lines


def _offers(column: Column, name: str) -> bool:
    """Return whether the kind of results has a statistic, if only for other models."""
    return hasattr(type(column.source), name)


def own_lines(
    rows: Mapping[str, Any] | None, models: Sequence[Any], formats: Formats, yes_no: tuple[str, str]
) -> list[Line]:
    """Return the user's own rows: a list with a value for each model, or a function of a model."""
    if rows is not None and not isinstance(rows, Mapping):
        raise OptionError(f"rows is {type(rows).__name__}; it must be a dict of label to a list or a function.")
    lines = []
    for label, given in (rows or {}).items():
        values = _own_values(str(label), given, models)
        lines.append(Line(str(label), tuple(value_cell(v, str(label), formats, yes_no) for v in values), "statistic"))
    return lines


def _own_values(label: str, given: Any, models: Sequence[Any]) -> list[Any]:
    if callable(given):
        make: Callable[[Any], Any] = given
        return [make(model[0] if isinstance(model, tuple) else model) for model in models]
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise OptionError(f"rows[{label!r}] is {given!r}; it must be a list, or a function of a result.")
    if len(given) != len(models):
        raise OptionError(f"rows[{label!r}] has {len(given)} values ({listing(given)}) for {len(models)} models.")
    return list(given)


def value_cell(value: Any, name: str, formats: Formats, yes_no: tuple[str, str] = ("Yes", "No")) -> Cell:
    """Return the cell of a value: a number, a word, yes or no; empty for None and NaN."""
    if value is None:
        return Cell()
    if isinstance(value, (bool, np.bool_)):
        return Cell((yes_no[0] if value else yes_no[1],))
    if isinstance(value, (int, float, np.integer, np.floating)):
        counted = isinstance(value, (int, np.integer)) and name not in formats.of
        return _number(formats.figure(float(value), "nobs" if counted else name)) if np.isfinite(value) else Cell()
    if isinstance(value, str):
        return Cell((value,))
    raise OptionError(
        f"The row {name!r} is {type(value).__name__} for a model; a number, text, True, False or None is needed."
    )


def _number(figure: Figure) -> Cell:
    """Return the cell of a number; counts stand in the middle, as they have no decimal point to be aligned by."""
    return Cell((figure.text,)) if re.fullmatch(r"[\d,]+", figure.text) else Cell((figure,))
