"""Differentiate the columns of a design with respect to a variable of the user's table.

No parameter is involved, so what is computed from these slopes has exact derivatives in the parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ..data.vectors import FloatArray
from ..errors import FormulaError, OptionError

CENTRAL = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))
"""Nodes and weights of a first derivative, exact for polynomials of degree four."""

ONE_SIDED = ((1, 4.0), (2, -3.0), (3, 4 / 3), (4, -1 / 4))
"""The same from one side, weights of differences to the point itself."""

STEP = 0.01
"""Finer of two steps, as a share of a column's spread; extrapolated, the error is of the order of its sixth power."""

FINE = 1e-4
"""Step where the two do not agree: near a knot of a spline, or where a function bends fast."""

SMOOTH = 1e-5
"""Relative gap of derivatives by two steps above which a column counts as not differentiable."""

Columns = dict[str, tuple[list[int], FloatArray]]
"""By predictor: positions of columns, and something of each row for each of these."""


class Evaluable(Protocol):
    """Be the user's rows, of which a design can be made again with a variable changed (:class:`Sheet`)."""

    @property
    def frame(self) -> pd.DataFrame:
        """Return the rows."""

    def is_linear(self, name: str) -> bool:
        """Return whether a variable stands for itself in every term."""

    def columns(self, frame: pd.DataFrame, names: Iterable[str]) -> dict[str, tuple[list[int], FloatArray]]:
        """Return the columns with some variables in them, by position, for changed rows."""

    def stepped(self, name: str) -> dict[str, set[int]]:
        """Return the columns in which a variable stands inside a comparison."""

    def need_finite(self, key: str, positions: list[int], values: FloatArray) -> None:
        """Refuse columns that are no numbers."""


@dataclass(frozen=True)
class Slopes:
    """Hold the derivatives of the columns by row, and whether every one of them exists."""

    columns: Columns
    smooth: bool


def slopes(sheet: Evaluable, frame: pd.DataFrame, name: str) -> Slopes:
    """Return the derivatives of all columns with a variable in them, for (changed) rows of the sheet.

    A variable that stands for itself has the difference of the columns at 1 and 0. Others have finite differences by
    two steps, extrapolated, within the range of the data. A column that jumps (``I(x > 3)``) has the change over one
    standard deviation, or over one unit where the variable is in whole numbers.
    """
    if sheet.is_linear(name):
        one, zero = (sheet.columns(frame.assign(**{name: v}), {name}) for v in (1.0, 0.0))
        return Slopes({key: (at, one[key][1] - zero[key][1]) for key, (at, _) in zero.items()}, True)
    around = _Around(sheet, frame, name)
    found, good = around.derivatives()
    jumps = around.jumps(good)
    if any(jump.any() for jump in jumps.values()):
        chords = around.chords()
        found = {key: np.where(jumps[key], chords[key], found[key]) for key in found}
    smooth = all(bool(good[key].all()) and not jumps[key].any() for key in found)
    columns = {key: (at, found[key]) for key, (at, _) in around.here.items()}
    for key, (at, values) in columns.items():
        sheet.need_finite(key, at, values)
    return Slopes(columns, smooth)


class _Around:
    """Evaluate the columns around the values of a variable."""

    def __init__(self, sheet: Evaluable, frame: pd.DataFrame, name: str) -> None:
        self.sheet, self.frame, self.name = sheet, frame, name
        whole = sheet.frame[name].to_numpy(dtype=np.float64)
        self.x = frame[name].to_numpy(dtype=np.float64)
        self.low, self.high = float(whole.min()), float(whole.max())
        self.spread = float(np.std(whole)) or max(abs(self.low), 1.0)
        self.unit = 1.0 if bool((whole == np.round(whole)).all()) else self.spread
        self.here = sheet.columns(frame, {name})
        sizes = {key: float(np.abs(m).max(initial=0.0)) for key, (_, m) in self.here.items()}
        self.noise = {key: 1e-12 * size / self.spread for key, size in sizes.items()}

    def moved(self, values: FloatArray) -> Mapping[str, FloatArray]:
        """Return the columns with other values of the variable."""
        try:
            found = self.sheet.columns(self.frame.assign(**{self.name: values}), {self.name})
        except FormulaError as error:
            raise OptionError(
                f"margins: the effect of {self.name!r} needs the columns at values that the formula refuses ({error})"
            ) from error
        return {key: m for key, (_, m) in found.items()}

    def derivatives(self) -> tuple[dict[str, FloatArray], dict[str, Any]]:
        """Return derivatives by row and column, and where two steps agree about them."""
        found, good = self._extrapolated(self.spread, STEP)
        if all(bool(ok.all()) for ok in good.values()):
            return found, good
        near = np.where(self.x != 0, np.minimum(np.abs(self.x), self.spread), self.spread)
        tried = []
        for step in (STEP, FINE):
            other, better = self._extrapolated(near, step)
            tried.append(other)
            found = {key: np.where(good[key] | ~better[key], found[key], other[key]) for key in found}
            good = {key: good[key] | better[key] for key in good}
        coarse, fine = tried
        for key in found:  # at a kink the finer step is as good as any; a slope that grows as it shrinks has no end
            endless = np.abs(fine[key]) > 5 * np.abs(coarse[key]) + self.noise[key] * STEP / FINE
            found[key] = np.where(good[key], found[key], np.where(endless, np.inf, fine[key]))
        return found, good

    def _extrapolated(self, unit: Any, step: float) -> tuple[dict[str, FloatArray], dict[str, Any]]:
        wide, narrow = (self._differences(k * step * unit) for k in (2, 1))
        found, good = {}, {}
        for key in wide:
            size = np.abs(narrow[key]).max(initial=0.0, where=np.isfinite(narrow[key]))
            allowed = SMOOTH * (np.abs(narrow[key]) + 1e-3 * size) + self.noise[key] * STEP / step
            good[key] = np.abs(wide[key] - narrow[key]) <= allowed
            found[key] = (16 * narrow[key] - wide[key]) / 15
        return found, good

    def _differences(self, step: Any) -> dict[str, FloatArray]:
        """Return derivatives by one step: from both sides, or from within at the ends of the data."""
        x, step = self.x, np.broadcast_to(step, self.x.shape)
        inside = (x >= self.low) & (x <= self.high) & (self.high - self.low > 8 * step)
        up, down = inside & (x - 2 * step < self.low), inside & (x + 2 * step > self.high)
        side = np.where(up, 1.0, -1.0)
        total = {key: np.zeros_like(matrix) for key, (_, matrix) in self.here.items()}
        for (node, weight), (other, one_sided) in zip(CENTRAL, ONE_SIDED, strict=True):
            at = np.where(up | down, other * side, node)
            moved = x + at * step
            factor = np.where(up | down, side * one_sided, weight) * at / (moved - x)  # the step that floats take
            for key, matrix in self.moved(moved).items():
                total[key] += factor[:, None] * (matrix - self.here[key][1])
        return total

    def jumps(self, good: Mapping[str, Any]) -> dict[str, Any]:
        """Return which columns jump: those of comparisons, and those whose change does not shrink with the step."""
        stepped = self.sheet.stepped(self.name)
        found = {
            key: np.array([i in stepped.get(key, ()) for i in at], dtype=bool) for key, (at, _) in self.here.items()
        }
        if all(bool(ok.all()) for ok in good.values()):
            return found
        narrow, wide = (self._change(k * STEP * self.spread) for k in (1, 2))
        for key in found:
            same = np.abs(narrow[key]) > 0.9 * np.abs(wide[key])
            large = np.abs(narrow[key]) > 1e-6 * np.abs(self.here[key][1]).max(initial=0.0)
            found[key] |= (~good[key] & same & large).any(0)
        return found

    def _change(self, step: float) -> dict[str, FloatArray]:
        low, high = self.moved(self._held(self.x - step)), self.moved(self._held(self.x + step))
        return {key: high[key] - low[key] for key in high}

    def _held(self, values: FloatArray) -> FloatArray:
        """Return values within the range of the data, or that of the rows if it is wider."""
        return np.clip(values, min(self.low, self.x.min()), max(self.high, self.x.max()))

    def chords(self) -> dict[str, FloatArray]:
        """Return the change of the columns over one unit around each row, divided by it."""
        low, high = self._held(self.x - self.unit / 2), self._held(self.x + self.unit / 2)
        width = np.where(high > low, high - low, 1.0)[:, None]
        above, below = self.moved(high), self.moved(low)
        return {key: (above[key] - below[key]) / width for key in above}
