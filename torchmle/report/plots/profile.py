"""Draw the log-likelihood along a parameter, all others at their best."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import interpolate, special

from ...data.vectors import FloatArray
from ...errors import ConvergenceWarning, unheard
from ...results.estimates import within_unit
from ...results.profile import Profile
from ...results.results import Results
from .canvas import COLOURS, GREY, axes, finite, legend, percent, remark, wrapped
from .given import need_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOTS = (0.35, 0.7, 1.3)
"""Where the curve is computed besides the ends of the interval, as shares of their distance in standard errors."""


def profile(results: Results, what: str, *, alpha: float = 0.05, ax: Axes | None = None) -> Axes:
    """Draw the profile of the log-likelihood with its interval, and the Wald parabola beside it.

    Where the two curves part, so do the intervals, and the profile's is the one to trust.

    Parameters
    ----------
    results : a fit.
    what : name of a parameter, or one function of parameters, as in :meth:`Results.profile`.
    alpha : one minus the level of the interval; the horizontal line is half the chi-squared quantile below the maximum.
    ax : matplotlib Axes to draw on.

    Raises
    ------
    OptionError, UndefinedStatisticError
        As :meth:`Results.profile`.

    Notes
    -----
    The curve goes through exact values at the ends and at 0.35, 0.7 and 1.3 times their distance; between them the
    signed root of the fall is interpolated by monotone cubics.

    Examples
    --------
    >>> import torchmle as tm
    >>> from matplotlib.figure import Figure
    >>> res = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
    >>> ax = tm.plot.profile(res, "educ", ax=Figure().subplots())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['profile', 'Wald (nonrobust errors)']
    """
    need_results(results, "plot.profile()")
    alpha = within_unit(alpha)
    found = results.profile(what, alpha=alpha)
    goal = float(special.ndtri(1 - alpha / 2))
    points = _points(results, what, found, goal)
    error = _wald_error(results, what)
    ax = axes(ax)
    x, fall = _curve(points)
    ax.plot(x, fall, color=COLOURS[0], label="profile")
    ends = found.estimate + goal * error * np.linspace(-1.3, 1.3, 201)
    if error > 0:
        ax.plot(
            *(ends, -0.5 * ((ends - found.estimate) / error) ** 2),
            color=COLOURS[1],
            linestyle="--",
            label=f"Wald ({results.cov_type} errors)",
        )
    _marks(ax, found, goal)
    ax.set_xlabel(wrapped(found.name))
    ax.set_ylabel("log-likelihood less its maximum")
    ax.set_ylim(-0.5 * (1.35 * goal) ** 2, 0.06 * goal**2)
    legend(ax, 2 if error > 0 else 1, loc="upper right")
    return ax


def _points(results: Results, what: str, found: Profile, goal: float) -> pd.DataFrame:
    """Return exact points of the curve, sorted by value, one for each."""
    tables = [found.points]
    with unheard(ConvergenceWarning):
        for share in ROOTS:
            tables.append(results.profile(what, alpha=float(2 * special.ndtr(-share * goal))).points)
    table = pd.concat(tables)
    table = table[np.isfinite(table["value"]) & np.isfinite(table["root"])]
    kept: pd.DataFrame = table.sort_values("value").drop_duplicates("value")
    return kept


def _curve(points: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
    """Return values and the fall of the log-likelihood between the points, by their signed roots."""
    values, roots = points["value"].to_numpy(dtype=float), points["root"].to_numpy(dtype=float)
    if len(values) < 2:
        return values, -0.5 * roots**2
    x = np.union1d(np.linspace(values[0], values[-1], 301), values)
    return x, -0.5 * interpolate.PchipInterpolator(values, roots)(x) ** 2


def _wald_error(results: Results, what: str) -> float:
    """Return the standard error of a parameter, or of a function by the delta method."""
    if what in results.names:
        return float(results.bse[what])
    return float(results.delta_method(what).bse[0])


def _marks(ax: Axes, found: Profile, goal: float) -> None:
    """Draw the cut, the ends and the estimate."""
    cut = -0.5 * goal**2
    ax.axhline(cut, color=GREY, linewidth=0.8, linestyle=":")
    middle = (found.low + found.high) / 2 if math.isfinite(found.high - found.low) else found.estimate
    text = f"{percent(found.alpha)} interval"
    ax.annotate(
        text, (middle, cut), (0, 4), textcoords="offset points", ha="center", fontsize="small", color=GREY,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )  # fmt: skip
    ends = finite([found.low, found.high])
    ax.vlines(ends, -0.5 * (1.35 * goal) ** 2, cut, color=COLOURS[0], linewidth=0.8)
    ax.plot(ends, np.full(len(ends), cut), "o", color=COLOURS[0], markersize=5)
    ax.plot([found.estimate], [0.0], "o", color=COLOURS[0], markersize=5, fillstyle="none")
    missing = [side for side, end in (("lower", found.low), ("upper", found.high)) if not math.isfinite(end)]
    if missing:
        remark(ax, f"no {' and no '.join(missing)} end was found")
