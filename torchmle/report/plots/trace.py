"""Draw how fits came to their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.vectors import FloatArray
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
    "loglik": "mean log-likelihood of a record",
}
ALONG = {"iteration": "iteration", "seconds": "seconds"}
Lines = Mapping[str, FloatArray]


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
        Newton-like methods compute. These are on a log scale. ``"llf"`` is the log-likelihood, ``"loglik"`` its mean
        over the records; a module that was trained has two lines of it, training and validation.
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
        If the history of a fit does not have what is asked for.

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
    best = max(finite([v for r in fits.values() for v in (r.llf, *r.history.get("llf", []))]), default=np.nan)
    lines = {name: _lines(r, y, best) for name, r in fits.items() if not r.history.empty}
    _need(fits, lines, y, x)
    ax = axes(ax)
    for number, (name, parts) in enumerate(lines.items()):
        for part, (said, heights) in enumerate(parts.items()):
            _draw(ax, (number, part), name + said, fits[name], heights, x)
    ax.set_yscale("linear" if y in ("llf", "loglik") else "log")
    ax.set_xlabel("epoch" if all("lr" in r.history for r in fits.values()) and x == "iteration" else ALONG[x])
    ax.set_ylabel(HEIGHTS[y])
    legend(ax, 2 if any(not r.converged for r in fits.values()) else sum(map(len, lines.values())))
    return ax


def _need(fits: Mapping[str, Results], lines: Mapping[str, Lines], y: str, x: str) -> None:
    """Refuse fits that have nothing to draw; a closed form may stand beside others."""
    if not lines:
        raise UndefinedStatisticError(
            "plot.trace(): a closed form takes no steps, so that there is no trace. Fit with method='newton'."
        )
    without = [name for name, parts in lines.items() if not parts]
    if without:
        there = [k for k in HEIGHTS if all(_lines(fits[name], k, 0.0) for name in lines)]
        raise UndefinedStatisticError(
            f"plot.trace(): the history of {', '.join(map(repr, without))} has no y={y!r}. All of these fits have: "
            f"{', '.join(there) or 'nothing in common'}."
        )
    untimed = [name for name in lines if x not in fits[name].history]
    if untimed:
        raise UndefinedStatisticError(f"plot.trace(): the history of {untimed[0]!r} has no {x!r}. Use x='iteration'.")


def _lines(fit: Results, y: str, best: float) -> Lines:
    """Return what is drawn of a fit, NaN where it is no number: a line, or one for training and one for validation."""
    history = fit.history
    if y == "loglik" and "running_loglik" in history:
        found = {", training": history["running_loglik"], ", validation": history["validation_loglik"]}
    elif y == "loglik":
        found = {"": history["llf"] / fit.nobs} if "llf" in history else {}
    elif y == "gap":
        found = {"": best - history["llf"]} if "llf" in history else {}
    else:
        found = {"": history[y]} if y in history else {}
    unit = {"gap": np.finfo(float).eps * max(1.0, abs(best)), "gradient": 1e-20, "decrement": 1e-20}.get(y, -np.inf)
    drawn = {said: column.to_numpy(dtype=float) for said, column in found.items()}
    return {k: np.maximum(np.where(np.isfinite(v), v, np.nan), unit) for k, v in drawn.items() if np.isfinite(v).any()}


def _draw(ax: Axes, place: tuple[int, int], name: str, fit: Results, heights: FloatArray, x: str) -> None:
    along = fit.history[x].to_numpy(dtype=float)
    known, (number, part) = np.isfinite(heights), place
    label = name if fit.converged else f"{name} ({fit.fit.status.value})"
    style = {**look(number), "linestyle": DASHES[(number + part) % len(DASHES)]}  # methods often take the same way
    ax.plot(along[known], heights[known], label=label, **style)
    end = np.flatnonzero(known)[-1]
    kind = "o" if fit.converged else "x"
    ax.plot(along[end], heights[end], kind, color=look(number)["color"], markersize=5)
