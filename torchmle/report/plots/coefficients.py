"""Draw estimates with their intervals, of one model or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import OptionError
from ...results.estimates import within_unit
from ..tables.column import Column, Ends
from ..tables.read import read_column
from ..tables.rows import Row, choose, merge, read_rename
from .canvas import COLOURS, GREY, axes, label_rows, legend, marker, percent, wrapped
from .given import named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 200
"""Rows that a picture can have."""


def coefficients(
    results: Any,
    *,
    names: Sequence[str] | None = None,
    keep: str | Sequence[str] | None = None,
    drop: str | Sequence[str] | None = None,
    order: str | Sequence[str] | None = None,
    rename: Mapping[str, str] | Callable[[str], str] | None = None,
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw estimates with intervals, a row a parameter, those of several models one below the other.

    A fit that is not at a maximum is drawn without intervals, by crosses; one that is held at a value is hollow.

    Parameters
    ----------
    results : a model, a list of models, or a dict of them by name, as :func:`torchmle.table` takes them: results of
        torchmle, its bootstraps and margins, and results of statsmodels, linearmodels and pyfixest.
    names : of the models in the legend, for a list.
    keep, drop, order : which rows, and which first: names as they stand, or regular expressions that are searched for.
    rename : dict of name to label, or a function of the name; estimates with one label share a row.
    alpha : one minus the level of the intervals.
    ax : matplotlib Axes to draw on.

    Raises
    ------
    OptionError
        For names that no model has, with the nearest one.
    MissingPackageError
        If matplotlib is not installed.

    Examples
    --------
    >>> import torchmle as tm
    >>> from matplotlib.figure import Figure
    >>> wage = tm.datasets.load("wage1")
    >>> fits = [tm.OLS.from_formula(f, wage).fit() for f in ("lwage ~ educ", "lwage ~ educ + exper + female")]
    >>> ax = tm.plot.coefficients(fits, names=["short", "long"], drop="Intercept", ax=Figure().subplots())
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['educ', 'exper', 'female']
    """
    models, ends = named(results, names), Ends(within_unit(alpha))
    columns = {name: read_column(item, ends) for name, item in models.items()}
    rows = choose(merge(list(columns.values()), read_rename(rename), False), keep, drop, order)
    if not rows:
        raise OptionError(f"keep={keep!r} and drop={drop!r} leave no row of those that a table has.")
    if len(rows) > MOST:
        raise OptionError(f"plot.coefficients() draws up to {MOST} rows, and there are {len(rows)}. Choose by keep=.")
    texts = [row.label for row in rows]
    ax = axes(ax, _size(texts, len(columns)))
    gap = 0.7 / len(columns)
    for number, (name, column) in enumerate(columns.items()):
        _draw(ax, number, name, column, rows, (number - (len(columns) - 1) / 2) * gap)
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(_says(models, alpha))
    label_rows(ax, texts)
    count = 2 if any(c.failure for c in columns.values()) else len(columns)
    legend(ax, count, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderaxespad=0.2)
    return ax


def _size(texts: Sequence[str], models: int) -> tuple[float, float]:
    """Return inches that give each row and each label its room."""
    texts = [wrapped(text) for text in texts]
    lines = sum(max(0.3 + 0.12 * (models - 1), 0.22 * (text.count("\n") + 1)) for text in texts)
    widest = max(len(line) for text in texts for line in text.split("\n"))
    return 4.4 + 0.08 * widest, 0.9 + max(lines, 0.6)


def _draw(ax: Axes, number: int, name: str, column: Column, rows: Sequence[Row], shift: float) -> None:
    """Draw the estimates of one model, ``shift`` rows below the middle of each row."""
    terms = [(i + shift, row.terms[number]) for i, row in enumerate(rows)]
    numbers = [(i, t.estimate, t.low, t.high) for i, t in terms if t is not None]
    at, values, low, high = np.array(numbers, dtype=float).reshape(-1, 4).T
    firm, colour = np.isfinite(high - low) & (high > low), COLOURS[number % len(COLOURS)]
    reach = np.stack([values - low, high - values])[:, firm]
    label = f"{name} (not a maximum)" if column.failure else name
    kind = "x" if column.failure else marker(number)
    ax.errorbar(values[firm], at[firm], xerr=reach, color=colour, fmt=kind, markersize=5, label=label)
    ax.plot(values[~firm], at[~firm], kind, color=colour, markersize=5, fillstyle="full" if column.failure else "none")


def _says(items: Mapping[str, Any], alpha: float) -> str:
    """Return what the horizontal axis shows, with the covariance where all have the same."""
    kinds = {getattr(item, "cov_type", None) for item in items.values()}
    kind = kinds.pop() if len(kinds) == 1 else None
    return f"estimate and {percent(alpha)} interval" + (f" ({kind} errors)" if kind else "")
