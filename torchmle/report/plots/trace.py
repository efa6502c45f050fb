"""Draw how fits came to their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import OptionError, UndefinedStatisticError, unknown
from ...results.compare import need_same_rows
from ...results.results import Results
from .canvas import DASHES, axes, finite, legend, look
from .given import named, need_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHTS = {
    "gap": "log-likelihood below the best",
    "gradient": "largest derivative",
    "decrement": "scaled gradient",
    "llf": "log-likelihood",
}
ALONG = {"iteration": "iteration", "seconds": "seconds"}


def trace(
    results: Any, *, y: str = "gap", x: str = "iteration", names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how several fits of the same rows came to their ends, from ``results.history``.

    A dot at the end of a line is a maximum, a cross is none, and the legend says why. What cannot be told from zero is
    drawn at the precision of the log-likelihood. A closed form has no steps, and no line, but it counts as the best.

    Parameters
    ----------
    results : a fit, a list of fits, or a dict of them by name.
    y : ``"gap"``, by how much the log-likelihood is below the highest one of all fits; ``"gradient"``, its largest
        derivative in the numbers that the method moves; ``"decrement"``, the scaled gradient of the verdict, which
        Newton-like methods compute; ``"llf"``. All but the last on a log scale.
    x : ``"iteration"`` or ``"seconds"``.
    names : of the fits in the legend, for a list.
    ax : matplotlib Axes to draw on.

    Raises
    ------
    OptionError
        For names that do not exist.
    DataError
        If a gap is asked for and the fits are of different rows or responses.
    UndefinedStatisticError
        If no fit has what is asked for.

    Examples
    --------
    >>> import torchmle as tm
    >>> from matplotlib.figure import Figure
    >>> model = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz"))
    >>> fits = {method: model.fit(method=method) for method in ("newton", "bfgs")}
    >>> ax = tm.plot.trace(fits, ax=Figure().subplots())
    >>> ax.get_yscale(), [text.get_text() for text in ax.get_legend().get_texts()]
    ('log', ['newton', 'bfgs'])
    """
    for what, value, allowed in (("y", y, HEIGHTS), ("x", x, ALONG)):
        if value not in allowed:
            raise OptionError(unknown(what, value, allowed))
    fits = {name: need_results(item, "plot.trace()") for name, item in named(results, names).items()}
    if y == "gap":
        need_same_rows(fits, "plot.trace(y='gap')")
    best = max(finite([v for r in fits.values() for v in (r.llf, *r.history["llf"])]), default=np.nan)
    lines = {name: _heights(r.history, y, best) for name, r in fits.items()}
    if not any(np.isfinite(heights).any() for heights in lines.values()):
        raise UndefinedStatisticError(_nothing(fits, y))
    ax = axes(ax)
    for number, (name, heights) in enumerate(lines.items()):
        if np.isfinite(heights).any():
            _draw(ax, number, name, fits[name], heights, x)
    ax.set_yscale("linear" if y == "llf" else "log")
    ax.set_xlabel(ALONG[x])
    ax.set_ylabel(HEIGHTS[y])
    legend(ax, 2 if any(not r.converged for r in fits.values()) else len(lines))
    return ax


def _nothing(fits: Mapping[str, Results], y: str) -> str:
    if all(r.history.empty for r in fits.values()):
        return "plot.trace(): a closed form takes no steps, so that there is no trace. Fit with method='newton'."
    return f"plot.trace(): none of these methods computes y={y!r}. Use y='gap' or y='gradient'."


def _heights(history: pd.DataFrame, y: str, best: float) -> Any:
    """Return what is drawn for each row of a trace, NaN where it is no number."""
    values = (best - history["llf"] if y == "gap" else history[y]).to_numpy(dtype=float)
    values = np.where(np.isfinite(values), values, np.nan)
    if y == "llf":
        return values
    unit = np.finfo(float).eps * (max(1.0, abs(best)) if y == "gap" else 1e-4)
    return np.maximum(values, unit)


def _draw(ax: Axes, number: int, name: str, fit: Results, heights: Any, x: str) -> None:
    along = fit.history[x].to_numpy(dtype=float)
    known = np.isfinite(heights)
    label = name if fit.converged else f"{name} ({fit.fit.status.value})"
    style = {**look(number), "linestyle": DASHES[number % len(DASHES)]}  # methods often take the same way
    ax.plot(along[known], heights[known], label=label, **style)
    end = np.flatnonzero(known)[-1]
    kind = "o" if fit.converged else "x"
    ax.plot(along[end], heights[end], kind, color=look(number)["color"], markersize=5)
