"""Draw the search for an estimate whose constraints are true with confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from ...results.results import Results
from ...results.safety import ConstraintTest, Safety
from .canvas import COLOURS, GREY, legend, look, several_axes, wrapped
from .given import need_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def confidence(results: Results, *, ax: Any = None) -> Any:
    """Draw the search under constraints with confidence in four panels, with the point that was chosen.

    The panels are the log-likelihood of the candidate part, the multipliers, the bounds that are predicted for the
    safety part, and the Lagrangian, along the iterations. A bound in the shaded region does not meet its constraint;
    with several constraints, bounds are drawn as what they are beyond their limits.

    Parameters
    ----------
    results : a fit with ``constraints`` and ``delta``.
    ax : four matplotlib Axes to draw on, as of ``plt.subplots(2, 2)[1]``.

    Returns
    -------
    numpy.ndarray
        The (2, 2) Axes: log-likelihood, multipliers; bounds, Lagrangian.

    Raises
    ------
    UndefinedStatisticError
        If the fit has no constraints with confidence.

    Examples
    --------
    >>> import torchmle as tm
    >>> from matplotlib.figure import Figure
    >>> model = tm.Logit.from_formula("inlf ~ educ + age + exper", tm.datasets.load("mroz"))
    >>> res = model.fit(constraints=["ACC >= 0.55"], delta=0.1, maxiter=30)
    >>> axes = tm.plot.confidence(res, ax=Figure().subplots(2, 2))
    >>> axes.shape, axes[1, 0].get_ylabel()
    ((2, 2), 'predicted bound of ACC >= 0.55')
    """
    safety = need_results(results, "plot.confidence()").safety
    history = safety.history
    panels = several_axes(ax, (2, 2), (9.0, 6.0))
    tests = safety.tests
    x = history["iteration"].to_numpy(dtype=float)
    _line(panels[0, 0], x, history["llf"], "log-likelihood, candidate part")
    for number, test in enumerate(tests):
        _line(panels[0, 1], x, history[f"lambda_{test.constraint}"], "multiplier", number, test.constraint)
    _bounds(panels[1, 0], x, history, tests)
    _line(panels[1, 1], x, history["lagrangian"], "Lagrangian")
    _mark(panels, safety)
    legend(panels[0, 1], len(tests), fontsize="small")
    return panels


def _line(ax: Axes, x: Any, values: pd.Series, what: str, number: int = 0, label: str | None = None) -> None:
    ax.plot(x, values.to_numpy(dtype=float), label=label, **look(number))
    ax.set_ylabel(wrapped(what))


def _bounds(ax: Axes, x: Any, history: pd.DataFrame, tests: tuple[ConstraintTest, ...]) -> None:
    """Draw the predicted bounds, and shade where a constraint is not met."""
    if len(tests) == 1:
        test = tests[0]
        _line(ax, x, history[f"bound_{test.constraint}"], f"predicted bound of {test.constraint}")
        _shade(ax, test.limit, ">=" not in test.constraint)
        return
    for number, test in enumerate(tests):
        beyond = history[f"bound_{test.constraint}"] - test.limit
        sign = -1.0 if ">=" in test.constraint else 1.0
        _line(ax, x, sign * beyond, "predicted bound beyond its limit", number)
    _shade(ax, 0.0, True)


def _shade(ax: Axes, limit: float, above: bool) -> None:
    """Draw a limit and shade what lies beyond it."""
    low, high = ax.get_ylim()
    room = 0.05 * max(high - low, abs(high - limit), abs(low - limit))
    low, high = min(low, limit - room), max(high, limit + room)
    ax.axhline(limit, color=GREY, linewidth=0.8)
    ax.axhspan(*((limit, high) if above else (low, limit)), color=COLOURS[1], alpha=0.12, linewidth=0)
    ax.set_ylim(low, high)


def _mark(panels: Any, safety: Safety) -> None:
    """Mark the iteration whose point is the candidate, and say what became of it."""
    verdict = "passed the safety test" if safety.passed else "did not pass the safety test"
    for ax in panels.flat:
        if safety.chosen is not None:
            ax.axvline(safety.chosen, color=GREY, linewidth=0.8, linestyle="--")
    for ax in panels[1]:
        ax.set_xlabel("iteration")
    said = "no iterate was predicted to pass" if safety.chosen is None else f"chosen point: {verdict}"
    panels[0, 0].set_title(said, fontsize="medium", color=GREY, loc="left")
    for ax in panels.flat:
        ax.margins(x=0.02)
