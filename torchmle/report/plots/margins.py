"""Draw average predictions, or average effects, along a regressor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import OptionError
from ...results.asked import need_variable
from ...results.estimates import within_unit
from ...results.results import Results
from ...results.sheet import Sheet, make_sheet
from .canvas import COLOURS, GREY, axes, band, legend, look, marker, wrapped
from .given import need_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 41
"""Values of a number at which margins are computed, unless others are asked for."""


def margins(
    results: Results,
    x: str,
    *,
    effect: str | None = None,
    grid: int | Sequence[Any] = POINTS,
    at: Mapping[str, Any] | None = None,
    over: str | None = None,
    which: str | Sequence[str] = "mean",
    vce: str = "delta",
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw the average prediction, or the average effect of a variable, along a regressor, with its band.

    Each point is :meth:`Results.margins` with ``x`` set to one value in all rows and the other columns as they are, or
    as ``at`` says. Groups of ``over``, several values in ``at``, levels of the response and contrasts have a line each.

    Parameters
    ----------
    results : a fit.
    x : column of the data on the horizontal axis; the levels of a category are drawn side by side, with error bars.
    effect : variable whose effect (dy/dx, or the change between levels) is drawn; the prediction where it is None.
    grid : values of ``x``, or how many between its smallest and largest one; whole numbers, if those are not more.
    at : columns to a value, or to each of several.
    over, which, vce : as for :meth:`Results.margins`.
    alpha : one minus the level of the pointwise intervals.
    ax : matplotlib Axes to draw on.

    Raises
    ------
    OptionError, UndefinedStatisticError
        As :meth:`Results.margins`.

    Examples
    --------
    >>> import torchmle as tm
    >>> from matplotlib.figure import Figure
    >>> res = tm.Logit.from_formula("inlf ~ educ + exper + I(exper**2)", tm.datasets.load("mroz")).fit()
    >>> ax = tm.plot.margins(res, "exper", over="city", ax=Figure().subplots())
    >>> ax.get_xlabel(), ax.get_ylabel(), len(ax.lines)
    ('exper', 'average predicted probability of inlf', 2)
    """
    sheet = make_sheet(need_results(results, "plot.margins()").model.data)
    values = grid_of(sheet, x, grid)
    if at is not None and x in at:
        raise OptionError(f"at= sets {x!r}, which is on the horizontal axis; give its values as grid=.")
    kind, alpha = ("mean" if effect is None else "dydx"), within_unit(alpha)
    source: Any = results  # a multinomial model takes several outcomes
    found = source.margins(
        effect, at={x: values, **(at or {})}, over=over, kind=kind, which=which, vce=vce, alpha=alpha
    )
    table = found.table
    keys = [c for c in found.labels if c not in ("variable", f"at {x}") and found.labels[c].nunique() > 1]
    parts = dict(iter(table.groupby(keys, sort=False))) if keys else {(): table}
    ax = axes(ax)
    for number, (key, part) in enumerate(parts.items()):
        label = ", ".join(map(_word, key if isinstance(key, tuple) else (key,)))
        (_bars if sheet.is_categorical(x) else _line)(ax, number, len(parts), part, f"at {x}", label)
    if effect is not None:
        ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.set_xlabel(wrapped(x))
    ax.set_ylabel(_title(results, effect, which))
    legend(ax, len(parts), sheet.is_categorical(x), title=", ".join(str(key).removeprefix("at ") for key in keys))
    return ax


def grid_of(sheet: Sheet, x: str, grid: int | Sequence[Any]) -> list[Any]:
    """Return the values of a regressor at which something is drawn."""
    need_variable(sheet, x, "variable on the horizontal axis:")
    if not isinstance(grid, (int, np.integer)):
        return list(grid)
    if isinstance(grid, bool) or grid < 2:
        raise OptionError(f"grid={grid!r} must be at least 2 points, or a list of values.")
    if sheet.is_categorical(x):
        return sorted(sheet.levels(x), key=_order(sheet.frame[x]))
    own = np.unique(sheet.frame[x].to_numpy(dtype=np.float64)[sheet.weights > 0])
    if own[-1] - own[0] < grid and bool((own == np.round(own)).all()):
        return [float(v) for v in np.arange(own[0], own[-1] + 1)]
    return [float(v) for v in np.linspace(own[0], own[-1], int(grid))]


def _order(column: pd.Series) -> Any:
    """Return what sorts levels: the order of a category, else that of the values."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return list(column.cat.categories).index
    return None


def _line(ax: Axes, number: int, count: int, part: pd.DataFrame, x: str, label: str) -> None:
    part = part.sort_values(x)
    at, low, high = (part[c].to_numpy(dtype=float) for c in (x, "[lower", "upper]"))
    ax.plot(at, part["estimate"].to_numpy(), label=label, **look(number))
    band(ax, at, low, high, color=look(number)["color"])


def _bars(ax: Axes, number: int, count: int, part: pd.DataFrame, x: str, label: str) -> None:
    """Draw the levels of a category side by side, ``count`` things for each."""
    shift = 0.5 * ((number + 0.5) / count - 0.5)
    values = part["estimate"].to_numpy()
    reach = [values - part["[lower"].to_numpy(), part["upper]"].to_numpy() - values]
    colour = COLOURS[number % len(COLOURS)]
    ax.errorbar(
        np.arange(len(part)) + shift, values, yerr=reach, label=label, fmt=marker(number), color=colour, markersize=5
    )
    ax.set_xticks(range(len(part)), [wrapped(_word(level)) for level in part[x]])
    ax.set_xlim(-0.5, len(part) - 0.5)


def _word(value: Any) -> str:
    """Return a group as text; numbers that are whole without a point."""
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)


def _title(results: Results, effect: str | None, which: str | Sequence[str]) -> str:
    kind, name = results.model.response, results.model.endog_names
    shares = kind in ("binary", "categorical") and which != "linear"
    what = f"probability of {name}" if shares else name if which == "mean" else f"{which} of {name}"
    return f"average predicted {what}" if effect is None else f"average effect of {effect} on {what}"
