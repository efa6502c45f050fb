"""Draw a fitted curve among the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...data.vectors import FloatArray
from ...errors import OptionError, UndefinedStatisticError, unknown
from ...results.asked import read_at, typical_values
from ...results.estimates import within_unit
from ...results.results import Results
from ...results.sheet import Sheet, make_sheet
from .canvas import COLOURS, axes, band, wrapped
from .given import need_results
from .margins import POINTS, grid_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 20
"""Groups of rows whose means are drawn."""


def fit(
    results: Results,
    x: str,
    *,
    grid: int | Sequence[Any] = POINTS,
    at: Mapping[str, Any] | None = None,
    points: str | None = None,
    obs: bool = False,
    ci_method: str = "delta",
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw the fitted mean along one regressor, with its band and the data.

    The other columns are held at one row: numbers at their mean, categories at their most frequent level (rows count by
    their weights), the offset at its mean; ``at`` sets them. :func:`torchmle.plot.margins` averages over the rows
    in place of that.

    Parameters
    ----------
    results : a fit.
    x : column of the data, a number.
    grid : values of ``x``, or how many between its smallest and largest one.
    at : other columns to a value each.
    points : ``"rows"`` for the data, ``"means"`` for the means of up to 20 groups of rows with neighbouring ``x``,
        ``"none"``; by default means for a response of 0 and 1, else rows. Areas are weights.
    obs : whether to draw the interval of a new observation too (linear models).
    ci_method : ``"delta"``, or ``"endpoint"`` for a band that stays in the range of the mean.
    alpha : one minus the level of the pointwise intervals.
    ax : matplotlib Axes to draw on.

    Raises
    ------
    OptionError, UndefinedStatisticError
        For names that do not exist, a regressor that is no number, and what :meth:`Results.get_prediction` refuses.

    Examples
    --------
    >>> import torchmle as tm
    >>> from matplotlib.figure import Figure
    >>> res = tm.OLS.from_formula("lwage ~ educ + exper + I(exper**2)", tm.datasets.load("wage1")).fit()
    >>> ax = tm.plot.fit(res, "exper", at={"educ": 12}, ax=Figure().subplots())
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('exper', 'lwage')
    """
    sheet, alpha = make_sheet(need_results(results, "plot.fit()").model.data), within_unit(alpha)
    kind = _kind(results, points)
    values = grid_of(sheet, x, grid)
    if sheet.is_categorical(x):
        raise OptionError(f"plot.fit() draws a curve, and {x!r} has levels. Use plot.margins(results, {x!r}).")
    rows = _rows(sheet, x, values, at or {})
    new = {**_further(sheet, rows), **_offset(sheet)}
    found = results.get_prediction(rows, ci_method=ci_method, alpha=alpha, **new)
    order = np.argsort(values)
    line, along = found.predicted.to_numpy()[order], np.asarray(values, dtype=float)[order]
    ends = found.conf_int().to_numpy()[order]
    wide = found.conf_int(obs=True).to_numpy()[order] if obs else None
    ax = axes(ax)
    _points(ax, results, sheet, x, kind)
    if wide is not None:
        band(ax, along, wide[:, 0], wide[:, 1], color=COLOURS[0], alpha=0.1)
    band(ax, along, ends[:, 0], ends[:, 1], color=COLOURS[0], alpha=0.3)
    ax.plot(along, line, color=COLOURS[0])
    ax.set_xlabel(wrapped(x))
    ax.set_ylabel(wrapped(results.model.endog_names))
    return ax


def _kind(results: Results, points: str | None) -> str:
    if results.model.response == "categorical":
        raise UndefinedStatisticError(
            "plot.fit() draws one mean, and this model has a probability for each level. Use plot.margins()."
        )
    if points is None:
        return "means" if results.model.response == "binary" else "rows"
    if points not in ("rows", "means", "none"):
        raise OptionError(unknown("points", points, ["rows", "means", "none"]))
    return points


def _rows(sheet: Sheet, x: str, values: Sequence[Any], at: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row for each value of a regressor, with the others at typical values or as asked for."""
    if x in at:
        raise OptionError(f"at= sets {x!r}, which is on the horizontal axis; give its values as grid=.")
    _, scenarios = read_at(sheet, at)
    if len(scenarios) > 1:
        raise OptionError(
            "plot.fit() draws one curve: give one value for each column of at=. plot.margins() draws several."
        )
    read_at(sheet, {x: values})
    held: dict[str, Any] = {**typical_values(sheet.frame, sheet.weights, sheet, "mean")}
    held |= {name: sheet.frame[name].iloc[0] for name in sheet.constants}
    held |= {str(v): _mode(sheet, str(v)) for v in sheet.frame if sheet.is_categorical(str(v))}
    held |= dict(scenarios[0])
    columns = {str(name): [held[str(name)]] * len(values) for name in sheet.frame}
    frame = pd.DataFrame({**columns, x: values})
    for name in sheet.frame:
        if isinstance(sheet.frame[name].dtype, pd.CategoricalDtype):
            frame[name] = frame[name].astype(sheet.frame[name].dtype)
    return frame


def _mode(sheet: Sheet, name: str) -> Any:
    """Return the level with the most weight, the first of several."""
    column = sheet.frame[name]
    sums = {level: float(sheet.weights[(column == level).to_numpy()].sum()) for level in sheet.levels(name)}
    return max(sums, key=lambda level: sums[level])


def _further(sheet: Sheet, rows: pd.DataFrame) -> dict[str, Any]:
    """Return the matrices of further predictors, where the fit had arrays."""
    if sheet.data.formulas is not None:
        return {}
    further = [design for design in list(sheet.data.designs.values())[1:] if design.terms != ("Intercept",)]
    return {d.name: rows[[f"{d.name}:{t}" for t in d.terms]].set_axis(list(d.terms), axis=1) for d in further}


def _offset(sheet: Sheet) -> dict[str, Any]:
    """Return the mean of the offset, log exposure included, in the form that a prediction takes."""
    offset = sheet.data.offset
    if offset is None:
        return {}
    mean = float(np.average(offset.detach().cpu().double().numpy(), weights=sheet.weights))
    return {"offset": mean, "exposure": 1.0}


def _points(ax: Axes, results: Results, sheet: Sheet, x: str, kind: str) -> None:
    if kind == "none":
        return
    used = sheet.weights > 0
    along = sheet.frame[x].to_numpy(dtype=np.float64)[used]
    response = results.model.data.endog.detach().cpu().double().numpy()[used]
    weights = sheet.weights[used]
    if kind == "means":
        along, response, weights = binned(along, response, weights)
    scatter(ax, along, response, weights)


def binned(x: FloatArray, y: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return weighted means of x and y, and weights, of up to ``BINS`` groups of rows with neighbouring x."""
    order = np.argsort(x, kind="stable")
    x, y, weights = x[order], y[order], weights[order]
    values, first = np.unique(x, return_index=True)
    if len(values) > BINS:
        share = (np.cumsum(weights) - weights / 2) / weights.sum()
        cell = np.minimum((share * BINS).astype(int), BINS - 1)
        group = np.maximum.reduceat(cell, first)  # equal x stay together
        codes = np.repeat(group, np.diff([*first, len(x)]))
        codes = np.unique(codes, return_inverse=True)[1]
    else:
        codes = np.searchsorted(values, x)
    total = np.bincount(codes, weights).astype(np.float64)
    return np.bincount(codes, weights * x) / total, np.bincount(codes, weights * y) / total, total


def scatter(ax: Axes, x: FloatArray, y: FloatArray, weights: FloatArray | None = None) -> None:
    """Draw points: the more there are, the fainter; areas are weights."""
    count = max(len(x), 1)
    areas = 16.0 if weights is None else 16.0 * weights / weights.mean()
    faint = float(min(0.8, max(0.12, 6.0 / np.sqrt(count))))
    ax.scatter(x, y, s=areas, color="0.25", alpha=faint, linewidths=0, zorder=1, rasterized=count > 20_000)
