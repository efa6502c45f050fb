"""Draw residuals: against what was fitted, and against the normal distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

from ...data.vectors import FloatArray
from ...errors import OptionError, UndefinedStatisticError, unknown
from ...results.estimates import within_unit
from ...results.results import Results
from ...results.sheet import make_sheet, row_weights
from .canvas import COLOURS, GREY, axes, band, percent, remark, wrapped
from .fitted import binned, scatter
from .given import need_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TAIL = 500
"""Points at each end for which a band is computed; between them there are twice as many."""


def residuals(
    results: Results, against: str = "fitted", *, kind: str = "quantile", seed: int = 0, ax: Axes | None = None
) -> Axes:
    """Draw residuals against the fitted mean, or against a column, with their means in up to 20 groups of rows.

    If the model is right, the line is level at zero and the spread the same everywhere (quantile residuals).

    Parameters
    ----------
    results : a fit.
    against : ``"fitted"``, ``"linear"`` for the first predictor, or a column of numbers on a right-hand side.
    kind, seed : as for :meth:`Results.residuals`; an opaque likelihood has ``"response"`` only.
    ax : matplotlib Axes to draw on.

    Raises
    ------
    OptionError, UndefinedStatisticError
        For names that do not exist, and kinds that the model does not define.

    Examples
    --------
    >>> import torchmle as tm
    >>> from matplotlib.figure import Figure
    >>> res = tm.Poisson.from_formula("narr86 ~ pcnv + inc86", tm.datasets.load("crime1")).fit()
    >>> ax = tm.plot.residuals(res, "inc86", ax=Figure().subplots())
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('inc86', 'quantile residual')
    """
    values = need_results(results, "plot.residuals()").residuals(kind, seed=seed).to_numpy()
    weights = row_weights(results.model.data)
    along, name = _along(results, against)
    used = np.isfinite(values) & (weights > 0)
    ax = axes(ax)
    scatter(ax, along[used], values[used], weights[used])
    middle, mean, _ = binned(along[used], values[used], weights[used])
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.plot(middle, mean, color=COLOURS[1], marker="o", markersize=3)
    ax.set_xlabel(wrapped(name))
    ax.set_ylabel(f"{kind} residual")
    _say_infinite(ax, int((~np.isfinite(values) & (weights > 0)).sum()))
    return ax


def _along(results: Results, against: str) -> tuple[FloatArray, str]:
    """Return what stands on the horizontal axis, and its name."""
    if against in ("fitted", "linear"):
        which = "mean" if against == "fitted" else "linear"
        name = f"fitted {results.model.endog_names}" if against == "fitted" else "linear predictor"
        return results.predict(which=which).to_numpy(), name
    sheet = make_sheet(results.model.data)
    numbers = [str(c) for c in sheet.frame if not sheet.is_categorical(str(c))]
    if against not in numbers:
        raise OptionError(unknown("against", against, ["fitted", "linear", *numbers]))
    return sheet.frame[against].to_numpy(dtype=np.float64), against


def _say_infinite(ax: Axes, count: int) -> None:
    if count:
        remark(ax, f"{count} infinite residual{'s are' if count > 1 else ' is'} not shown")


def qq(results: Results, *, seed: int = 0, alpha: float = 0.05, ax: Axes | None = None) -> Axes:
    """Draw sorted quantile residuals against normal quantiles: if the model is right, they lie on the line.

    The band holds each of them by itself with the probability ``1 - alpha``: the i-th smallest of n uniform numbers has
    the law Beta(i, n + 1 - i). It takes the estimates for the true parameters. A row of ``freq_weights`` counts as
    often as they say, and stands at the middle of its copies.

    Parameters
    ----------
    results : a fit whose model has a distribution function.
    seed : of the randomised residuals of counts and binary responses.
    alpha : one minus the level of the band.
    ax : matplotlib Axes to draw on.

    Raises
    ------
    UndefinedStatisticError
        If the model does not define quantile residuals, and under ``sampling_weights``.

    Examples
    --------
    >>> import torchmle as tm
    >>> from matplotlib.figure import Figure
    >>> res = tm.NegativeBinomial.from_formula("narr86 ~ pcnv + inc86", tm.datasets.load("crime1")).fit()
    >>> ax = tm.plot.qq(res, ax=Figure().subplots())
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('normal quantile', 'quantile residual')
    """
    alpha, data = within_unit(alpha), need_results(results, "plot.qq()").model.data
    if data.weights is not None and data.weights.kind == "sampling_weights":
        raise UndefinedStatisticError(
            "plot.qq() is not defined under sampling_weights: its band needs independent rows that count alike. "
            "Use plot.residuals()."
        )
    values = results.residuals("quantile", seed=seed).to_numpy()
    rank, y, total = _ranked(values, row_weights(data))
    x, some = special.ndtri((rank - 0.5) / total), _some(len(rank))
    low, high = (
        special.ndtri(stats.beta.ppf(p, rank[some], total + 1 - rank[some])) for p in (alpha / 2, 1 - alpha / 2)
    )
    shown = np.isfinite(y)
    ax = axes(ax)
    band(ax, x[some], low, high, color=GREY)
    ax.plot(x, x, color=GREY, linewidth=0.8)
    ax.plot(x[shown], y[shown], "o", color=COLOURS[0], markersize=3, alpha=0.7, rasterized=len(x) > 20_000)
    ax.set_xlabel("normal quantile")
    ax.set_ylabel("quantile residual")
    ax.annotate(
        f"{percent(alpha)} band, for each point by itself", (0.99, 0.02), xycoords="axes fraction", ha="right",
        fontsize="small", color=GREY,
    )  # fmt: skip
    _say_infinite(ax, int((~shown).sum()))
    return ax


def _ranked(values: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return ranks, sorted values and the number of observations; a row has the rank in the middle of its copies."""
    values, weights = values[weights > 0], weights[weights > 0]
    order = np.argsort(values, kind="stable")
    rank = np.cumsum(weights[order]) - (weights[order] - 1) / 2
    return rank, values[order], float(weights.sum())


def _some(count: int) -> Any:
    """Return positions at which a band is computed: all of a few, the tails and a share of the rest of many."""
    if count <= 4 * TAIL:
        return np.arange(count)
    middle = np.linspace(TAIL, count - 1 - TAIL, 2 * TAIL).astype(int)
    return np.r_[np.arange(TAIL), middle, np.arange(count - TAIL, count)]
