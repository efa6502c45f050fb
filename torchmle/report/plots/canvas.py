"""Make the axes that pictures are drawn on, with the colours, labels and legends that all of them share."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.vectors import FloatArray
from ...errors import OptionError, import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by colour-blind readers too (Okabe and Ito 2008)."""

MARKERS = "osD^vPX"
DASHES = ("-", "--", ":", "-.")
SIZE = (6.0, 4.0)
"""Inches of a figure that nobody gave."""

WIDEST = 30
"""Characters of a label after which it goes on in the next line."""

GREY = "0.45"


def axes(given: Axes | None, size: tuple[float, float] = SIZE) -> Axes:
    """Return the Axes to draw on: those given, or those of a new figure.

    Raises
    ------
    MissingPackageError
        If matplotlib is not installed.
    OptionError
        If what was given is no Axes.
    """
    module = import_extra("matplotlib.axes", "plot", "torchmle.plot")
    if given is not None:
        if not isinstance(given, module.Axes):
            kind = type(given).__name__
            raise OptionError(f"ax is a {kind}; it must be one matplotlib Axes, as of plt.subplots()[1].")
        ours: Axes = given
        return ours
    pyplot = import_extra("matplotlib.pyplot", "plot", "torchmle.plot")
    made: Axes = pyplot.subplots(figsize=size, layout="constrained")[1]
    made.spines[["top", "right"]].set_visible(False)
    return made


def several_axes(given: Any, shape: tuple[int, int], size: tuple[float, float]) -> Any:
    """Return an array of Axes to draw on: those given, or those of a new figure."""
    module = import_extra("matplotlib.axes", "plot", "torchmle.plot")
    if given is not None:
        found = np.asarray(given, dtype=object)
        if found.size != shape[0] * shape[1] or not all(isinstance(one, module.Axes) for one in found.flat):
            raise OptionError(f"ax must be {shape[0] * shape[1]} matplotlib Axes, as of plt.subplots{shape}[1].")
        return found.reshape(shape)
    pyplot = import_extra("matplotlib.pyplot", "plot", "torchmle.plot")
    made = pyplot.subplots(*shape, figsize=size, sharex=True, layout="constrained")[1]
    for one in made.flat:
        one.spines[["top", "right"]].set_visible(False)
    return made


def percent(alpha: float) -> str:
    """Return a confidence level in words."""
    return f"{100 * (1 - alpha):.6g} %"


def look(number: int) -> dict[str, Any]:
    """Return colour and dashes of the line of one of several things."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number // len(COLOURS) % len(DASHES)]}


def marker(number: int) -> str:
    """Return the marker of one of several things."""
    return MARKERS[number % len(MARKERS)]


def wrapped(name: object) -> str:
    """Return a name in lines of at most ``WIDEST`` characters, broken where words or factors of a term end."""
    text = str(name)
    if len(text) <= WIDEST:
        return text
    parts = re.sub(r"(?<=[:*,+\]])(?=\S)", "\0", text)  # a place to break that takes no room
    lines = textwrap.wrap(parts.replace("\0", " \0"), WIDEST + 4, break_on_hyphens=False)
    return "\n".join(line.replace(" \0", "").replace("\0", "") for line in lines)


def legend(ax: Axes, count: int, beside: bool = False, **options: Any) -> None:
    """Put a legend where there are several things to tell apart, beside the axes if many and a layout makes room."""
    if count < 2:
        return
    many = beside or len(ax.get_legend_handles_labels()[1]) > 4
    if many and "loc" not in options and ax.figure.get_layout_engine() is not None:
        options = {**options, "loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    ax.legend(frameon=False, **options)


def band(ax: Axes, x: FloatArray, low: FloatArray, high: FloatArray, **options: Any) -> None:
    """Shade what lies between two lines."""
    ax.fill_between(x, low, high, linewidth=0, **{"alpha": 0.2, **options})


def label_rows(ax: Axes, names: Sequence[str]) -> None:
    """Label the rows of the vertical axis, in lines and letters for which there is room."""
    room = float(ax.get_window_extent().height / ax.figure.dpi * 72) / len(names)
    texts = [wrapped(name) for name in names]
    usual = float(ax.yaxis.get_ticklabels()[0].get_fontsize()) if ax.yaxis.get_ticklabels() else 10.0
    if room < usual * max(text.count("\n") + 1 for text in texts):
        texts = [text.replace("\n", "") for text in texts]
    ax.set_yticks(range(len(texts)), texts)
    if room < 1.1 * usual:
        ax.tick_params(axis="y", labelsize=max(3.0, room / 1.1))


def finite(values: Sequence[float] | FloatArray) -> FloatArray:
    """Return the finite ones of some numbers."""
    found = np.asarray(values, dtype=np.float64)
    return found[np.isfinite(found)]


def remark(ax: Axes, text: str) -> None:
    """Write small print into the upper left corner."""
    ax.annotate(text, (0.01, 0.99), xycoords="axes fraction", va="top", fontsize="small", color=GREY)
