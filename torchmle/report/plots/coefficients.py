"""Draw estimates with their intervals, of one model or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import OptionError, unknown
from .canvas import COLOURS, GREY, alpha_of, axes, label_rows, legend, marker, percent, wrapped
from .given import Shown, chosen, named, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def coefficients(
    results: Any,
    *,
    names: Sequence[str] | None = None,
    keep: str | Sequence[str] | None = None,
    drop: str | Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    level: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """Draw estimates with intervals, a row a parameter, those of several models one below the other.

    A fit that is not at a maximum is drawn without intervals, by crosses; a fixed parameter is hollow.

    Parameters
    ----------
    results : a fit, a list of fits, or a dict of them by name. A bootstrap (percentile intervals), margins, and results
        of other packages with ``params`` (a Series) and ``conf_int(alpha)`` may stand among them.
    names : of the models in the legend, for a list.
    keep, drop : which parameters: a name or a regular expression, or several. ``keep`` also gives the order.
    labels : names of parameters to what is written in their place.
    level : of the intervals.
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
    models = {name: shown(item, alpha_of(level), name) for name, item in named(results, names).items()}
    terms = chosen(list(dict.fromkeys(t for m in models.values() for t in m.values.index)), keep, drop)
    texts = _labels(terms, labels, models)
    ax = axes(ax, _size(texts, len(models)))
    gap = 0.7 / len(models)
    for number, (name, model) in enumerate(models.items()):
        _draw(ax, number, name, model, terms, (number - (len(models) - 1) / 2) * gap)
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.set_ylim(len(terms) - 0.5, -0.5)
    ax.set_xlabel(_says(named(results, names), level))
    label_rows(ax, texts)
    count = 2 if any(m.lacks for m in models.values()) else len(models)
    legend(ax, count, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderaxespad=0.2)
    return ax


def _labels(terms: Sequence[str], labels: Mapping[str, str] | None, models: Mapping[str, Shown]) -> list[str]:
    given = dict(labels or {})
    known = {t for m in models.values() for t in m.values.index}
    for name in given:
        if name not in known:
            raise OptionError(unknown("parameter in labels:", name, sorted(known)))
    return [str(given.get(term, term)) for term in terms]


def _size(texts: Sequence[str], models: int) -> tuple[float, float]:
    """Return inches that give each row and each label its room."""
    texts = [wrapped(text) for text in texts]
    lines = sum(max(0.3 + 0.12 * (models - 1), 0.22 * (text.count("\n") + 1)) for text in texts)
    widest = max(len(line) for text in texts for line in text.split("\n"))
    return 4.4 + 0.08 * widest, 0.9 + max(lines, 0.6)


def _draw(ax: Axes, number: int, name: str, model: Shown, terms: list[str], shift: float) -> None:
    """Draw the estimates of one model, ``shift`` rows below the middle of each row."""
    values, low, high = (s.reindex(terms).to_numpy(dtype=float) for s in (model.values, model.low, model.high))
    at, colour = np.arange(len(terms)) + shift, COLOURS[number % len(COLOURS)]
    firm = np.isfinite(high - low) & (high > low)
    reach = np.where(firm, [values - low, high - values], 0.0)
    label = f"{name} ({model.lacks})" if model.lacks else name
    kind = "x" if model.lacks else marker(number)
    ax.errorbar(
        *(values[firm], at[firm]), xerr=reach[:, firm], color=colour, fmt=kind, markersize=5, capsize=0, label=label
    )
    ax.plot(values[~firm], at[~firm], kind, color=colour, markersize=5, fillstyle="full" if model.lacks else "none")


def _says(items: Mapping[str, Any], level: float) -> str:
    """Return what the horizontal axis shows, with the covariance where all have the same."""
    kinds = {getattr(item, "cov_type", None) for item in items.values()}
    kind = kinds.pop() if len(kinds) == 1 else None
    return f"estimate and {percent(level)} interval" + (f" ({kind} errors)" if kind else "")
