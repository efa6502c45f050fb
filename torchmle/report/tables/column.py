"""Hold what a table needs of one model, whoever fitted it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...errors import OptionError


@dataclass(frozen=True)
class Term:
    """Hold one estimate.

    Attributes
    ----------
    panel : the equation, empty for the main one.
    test, pvalue : NaN where zero is no hypothesis, or where nothing is known of it.
    held : why there is no error: ``"fixed"``, ``"at lower bound"``; empty for an estimate.
    """

    panel: str
    name: str
    estimate: float
    se: float = math.nan
    test: float = math.nan
    pvalue: float = math.nan
    low: float = math.nan
    high: float = math.nan
    held: str = ""

    @property
    def full(self) -> str:
        """Return the name with that of its equation."""
        return f"{self.panel}:{self.name}" if self.panel else self.name


@dataclass(frozen=True)
class Column:
    """Hold one model.

    Attributes
    ----------
    terms : its estimates, in order.
    source : the results that statistics are taken from, or None.
    dependent : the name of the response; empty where there is none.
    failure : why a fit did not converge; None where it did.
    given : what errors there are all the same: those of a linear part, given the weights of a net; else empty.
    absorbed : effects that were taken out and have no estimates.
    tests : ``"t"`` or ``"z"``, after the law of the tests.
    notes : what is to be said of this column.
    """

    terms: tuple[Term, ...]
    source: Any
    dependent: str = ""
    failure: str | None = None
    given: str = ""
    absorbed: tuple[str, ...] = ()
    tests: str = "z"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ends:
    """Hold which intervals are asked for: their level, and the kind for those of a bootstrap."""

    alpha: float = 0.05
    method: str = "percentile"


def terms_of(
    names: Sequence[tuple[str, str]],
    estimate: Any,
    se: Any = None,
    test: Any = None,
    pvalue: Any = None,
    interval: Any = None,
) -> tuple[Term, ...]:
    """Return the terms with numbers by position; what is None is not known."""
    count = len(names)
    absent = np.full(count, math.nan)
    b, s, t, p = (absent if part is None else flat(part, count) for part in (estimate, se, test, pvalue))
    ends = np.full((count, 2), math.nan) if interval is None else np.asarray(interval, dtype=float)
    if ends.shape != (count, 2):
        raise OptionError(f"conf_int() of a model has shape {ends.shape}; {(count, 2)} is needed for its estimates.")
    return tuple(
        Term(panel, name, float(b[i]), float(s[i]), float(t[i]), float(p[i]), float(ends[i, 0]), float(ends[i, 1]))
        for i, (panel, name) in enumerate(names)
    )


def flat(values: Any, count: int) -> Any:
    """Return numbers as a vector, one for each estimate; tables go by columns, the equations."""
    table = values.to_numpy() if isinstance(values, (pd.Series, pd.DataFrame)) else np.asarray(values)
    found = np.asarray(table, dtype=float).T.reshape(-1) if table.ndim == 2 else np.asarray(table, dtype=float)
    if found.shape != (count,):
        raise OptionError(f"A model has {count} estimates and numbers of shape {found.shape} beside them.")
    return found
