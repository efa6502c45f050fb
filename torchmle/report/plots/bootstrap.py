"""Draw the distribution of replicates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import OptionError, UndefinedStatisticError
from ...results.bootstrap import BootstrapResults
from ...results.estimates import within_unit
from .canvas import COLOURS, axes, finite, legend, percent, remark, wrapped
from .given import need_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def bootstrap(
    replicates: Any, name: str, *, method: str = "percentile", alpha: float = 0.05, ax: Axes | None = None
) -> Axes:
    """Draw the estimates of one parameter in the replicates of a bootstrap, with the estimate and an interval.

    Parameters
    ----------
    replicates : what ``results.bootstrap()`` returned.
    name : of a parameter.
    method : of the interval, as for ``conf_int()`` of a bootstrap.
    alpha : one minus the level of the interval.
    ax : matplotlib Axes to draw on.

    Raises
    ------
    OptionError
        For a name that does not exist, or something else than a bootstrap.
    UndefinedStatisticError
        For a parameter that has fewer than two different values.

    Examples
    --------
    >>> import torchmle as tm
    >>> from matplotlib.figure import Figure
    >>> boot = tm.Logit.from_formula("inlf ~ educ", tm.datasets.load("mroz")).fit().bootstrap(reps=99)
    >>> ax = tm.plot.bootstrap(boot, "educ", ax=Figure().subplots())
    >>> int(sum(bar.get_height() for bar in ax.patches[:-1])), ax.get_xlabel()
    (99, 'educ')
    """
    if not isinstance(replicates, BootstrapResults):
        kind = type(replicates).__name__
        raise OptionError(f"plot.bootstrap() draws what results.bootstrap(reps=999) returns, not a {kind}.")
    need_name(name, replicates.params.columns, "parameter of the bootstrap:")
    values = finite(replicates.params[name].to_numpy())
    if len(np.unique(values)) < 2:
        raise UndefinedStatisticError(f"{name!r} has {len(np.unique(values))} value in {len(values)} replicates.")
    low, high = replicates.conf_int(within_unit(alpha), method).loc[[name]].to_numpy()[0]
    ax = axes(ax)
    ax.hist(
        values, bins=min(60, max(8, round(2 * len(values) ** (1 / 3)))), color="0.75", edgecolor="white", linewidth=0.4
    )
    ax.axvspan(low, high, color=COLOURS[0], alpha=0.15, linewidth=0, label=f"{percent(alpha)} interval ({method})")
    ax.axvline(float(replicates.estimates[name]), color=COLOURS[0], label="estimate")
    ax.set_xlabel(wrapped(name))
    ax.set_ylabel(f"replicates ({replicates.kind}, of {replicates.reps})")
    if replicates.failed:
        remark(ax, f"{replicates.failed} without estimate")
    legend(ax, 2)
    return ax
