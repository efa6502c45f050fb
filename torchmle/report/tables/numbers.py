"""Write the numbers of a table as it is asked for: by decimals, significant digits or a pattern of Python's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import OptionError, unknown
from .document import Figure

Spec = str | int
Write = Callable[[float], str]


def automatic(value: float) -> str:
    """Return a number with three decimals; two digits where these would show none, below 1e-4 with a power of ten."""
    size = abs(value)
    if size == 0 or 1e-3 <= size < 1e7:
        return f"{value:.3f}"
    if 1e-4 <= size < 1e-3:
        return f"{value:.{1 - math.floor(math.log10(size))}f}"
    return f"{value:.1e}" if size < 1 else f"{value:.3e}"


def significant(digits: int) -> Write:
    """Return a writer of so many significant digits, by a power of ten below 1e-4 and from 1e7 on."""

    def write(value: float) -> str:
        if value == 0 or not math.isfinite(value):
            return f"{value:.{digits - 1}f}"
        short = f"{value:.{digits - 1}e}"
        power = int(short.partition("e")[2])
        return f"{value:.{max(digits - 1 - power, 0)}f}" if -4 <= power < 7 else short

    return write


def whole(value: float) -> str:
    """Return a count, with decimals only where it has some."""
    return f"{value:.0f}" if value == round(value) else f"{value:g}"


AUTOMATIC: Mapping[str, Write] = {
    "t": "{:.2f}".format,
    "p": "{:.3f}".format,
    "nobs": whole,
    "clusters": whole,
    **dict.fromkeys(("rsquared", "rsquared_adj", "prsquared"), "{:.3f}".format),
    **dict.fromkeys(("llf", "aic", "bic"), "{:.2f}".format),
}
"""How numbers are written that are not asked for otherwise, where not by :func:`automatic`."""

BODY = ("estimate", "se", "t", "p", "ci")


@dataclass(frozen=True)
class Formats:
    """Hold how numbers are written, by what they are and by the heading of a column."""

    of: Mapping[str, Write] = field(default_factory=dict)

    def figure(self, value: float, what: str, heading: str = "") -> Figure:
        """Return a number; a column's own format is for estimates, errors and intervals."""
        write = self._asked(what, heading) or AUTOMATIC.get(what, automatic)
        return Figure(_positive_zero(write(value)))

    def interval(self, low: float, high: float, heading: str = "") -> tuple[Figure, Figure]:
        """Return the ends of an interval, with the same decimals where nothing else is asked for."""
        write = self._asked("ci", heading)
        if write is None:
            decimals = automatic(max(abs(low), abs(high))).partition(".")[2]
            write = f"{{:.{len(decimals)}f}}".format if decimals.isdigit() else automatic
        return Figure(_positive_zero(write(low))), Figure(_positive_zero(write(high)))

    def _asked(self, what: str, heading: str) -> Write | None:
        keys = [heading, what, "estimate"] if what in ("estimate", "se", "ci") else [what]
        return next((self.of[k] for k in keys if k in self.of), None)


def _positive_zero(text: str) -> str:
    """Return ``0.000`` for ``-0.000``."""
    return text[1:] if text.startswith("-") and not any(c in "123456789in" for c in text.partition("e")[0]) else text


def read_formats(fmt: Any, known: list[str]) -> Formats:
    """Return how numbers are written, from one format or a dict of them."""
    if fmt is None:
        return Formats()
    if not isinstance(fmt, Mapping):
        return Formats(dict.fromkeys(BODY, writer(fmt)))
    for key in fmt:
        if key not in known:
            raise OptionError(unknown("key of fmt:", key, known))
    return Formats({key: writer(spec) for key, spec in fmt.items()})


def writer(spec: Any) -> Write:
    """Return the function that writes numbers by a format."""
    if isinstance(spec, (int, np.integer)) and not isinstance(spec, bool) and 0 <= int(spec) <= 15:
        return f"{{:.{int(spec)}f}}".format
    if isinstance(spec, str) and spec[:1] == "s" and spec[1:].isdigit() and 1 <= int(spec[1:]) <= 15:
        return significant(int(spec[1:]))
    if isinstance(spec, str):
        write: Write = (lambda v: spec % v) if "%" in spec[:1] else (lambda v: format(v, spec))
        try:
            if write(1.5):
                return write
        except (ValueError, TypeError, KeyError):
            pass
    raise OptionError(
        f"fmt={spec!r} is no format of numbers; use decimals (3), significant digits ('s3'), or a format of Python's "
        "('%.3f', ',.0f', '.2e')."
    )
