"""Draw what single rows, or clusters, do to the estimates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import OptionError, unknown
from ...optim.checks import check_whole
from ...results.influence import Influence
from .canvas import COLOURS, GREY, axes, wrapped
from .given import need_name, need_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = ("cooks_distance", "leverage", "dfbetas")


def influence(
    results: Any,
    what: str = "cooks_distance",
    *,
    name: str | None = None,
    mark: int = 5,
    groups: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the influence of each row, or each cluster, with the labels of those that have most.

    Parameters
    ----------
    results : a fit, or what its ``influence()`` returned.
    what : ``"cooks_distance"`` in the order of the rows; ``"leverage"`` on the horizontal axis and Cook's distance on
        the vertical one; ``"dfbetas"``, the change of one parameter in standard errors, with lines at 2 / sqrt(n).
    name : of that parameter.
    mark : how many are labelled.
    groups : clusters to leave out whole, as for ``influence()``.
    ax : matplotlib Axes to draw on.

    Raises
    ------
    OptionError, UndefinedStatisticError
        For names that do not exist, and fits that have no influence of rows.

    Examples
    --------
    >>> import torchmle as tm
    >>> from matplotlib.figure import Figure
    >>> res = tm.Logit.from_formula("inlf ~ educ + exper + age", tm.datasets.load("mroz")).fit()
    >>> ax = tm.plot.influence(res, mark=2, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['597', '691']
    """
    if what not in KINDS:
        raise OptionError(unknown("what", what, KINDS))
    check_whole("mark", mark, 0)
    if (name is None) == (what == "dfbetas"):
        raise OptionError(f"name={name!r} with what={what!r}: dfbetas are of one parameter, and the others of all.")
    found = _found(results, groups)
    x, y, labels = _values(found, what, name)
    ax = axes(ax)
    _draw(ax, x, y, what)
    firm = y.abs().dropna().sort_values(ascending=False, kind="stable").index[:mark]
    for at in firm:
        ax.annotate(str(labels[at]), (x[at], y[at]), (3, 3), textcoords="offset points", fontsize="small")
    lost = int(y.isna().sum())
    ax.set_xlabel({"leverage": "leverage"}.get(what, "row" if groups is None else "cluster"))
    if what != "leverage":
        ax.set_xlabel(ax.get_xlabel() + ", in the order of the data" + (f" ({lost} without a value)" if lost else ""))
    ax.set_ylabel("Cook's distance" if what != "dfbetas" else f"change of {wrapped(name)}, in standard errors")
    return ax


def _found(results: Any, groups: Any) -> Influence:
    if isinstance(results, Influence):
        if groups is not None:
            raise OptionError("groups goes with a fit; this influence has been computed already.")
        return results
    found: Influence = need_results(results, "plot.influence()").influence(groups=groups)
    return found


def _values(found: Influence, what: str, name: str | None) -> tuple[pd.Series, pd.Series, list[Any]]:
    """Return what is drawn, by position, and the labels of the units."""
    labels = list(found.leverage.index)
    place = pd.Series(np.arange(len(labels), dtype=float))
    if what == "dfbetas":
        column = need_name(name, found.params_without.columns, "parameter of dfbetas:")
        return place, found.dfbetas[column].reset_index(drop=True), labels
    distance = found.cooks_distance.reset_index(drop=True)
    return (found.leverage.reset_index(drop=True) if what == "leverage" else place), distance, labels


def _draw(ax: Axes, x: pd.Series, y: pd.Series, what: str) -> None:
    if what == "leverage":
        ax.plot(x, y, "o", color=COLOURS[0], markersize=4, alpha=0.6, rasterized=len(x) > 20_000)
        return
    gap = np.full(len(y), np.nan)  # one broken line: a million stems are drawn in a second
    stems = np.column_stack([np.zeros(len(y)), y.to_numpy(), gap]).ravel()
    ax.plot(np.repeat(x.to_numpy(), 3), stems, color=COLOURS[0], linewidth=0.8, rasterized=len(x) > 20_000)
    ax.axhline(0, color=GREY, linewidth=0.8)
    if what == "dfbetas":
        for side in (-1, 1):
            ax.axhline(side * 2 / np.sqrt(len(y)), color=GREY, linewidth=0.8, linestyle=":")
