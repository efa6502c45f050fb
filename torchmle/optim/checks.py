"""Check the values of options: what was seen, and what is allowed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import OptionError


def as_number(name: str, value: Any) -> float:
    """Return an option that is a real number."""
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise OptionError(f"{name}={value!r} must be a number.")
    return float(value)


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise unless an option is None or a whole number that is large enough."""
    if value is None:
        return
    kind = "positive" if least else "non-negative"
    number = as_number(name, value) if not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or number != int(number) or number < least:
        raise OptionError(f"{name}={value!r} must be a {kind} whole number.")


def check_positive(name: str, value: Any) -> None:
    """Raise unless an option is None or a positive finite number."""
    if value is not None and not 0 < as_number(name, value) < math.inf:
        raise OptionError(f"{name}={value!r} must be positive and finite.")


def check_like(name: str, value: Any, default: Any) -> None:
    """Raise unless a value is of the kind of its default: True or False, a finite number, or several numbers."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise OptionError(f"{name}={value!r} must be True or False.")
    elif isinstance(default, (int, float)):
        if not math.isfinite(as_number(name, value)):
            raise OptionError(f"{name}={value!r} must be finite.")
    elif isinstance(default, tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(default):
            raise OptionError(f"{name}={value!r} must hold {len(default)} numbers, such as {default}.")
        for part, usual in zip(value, default, strict=True):
            if part is not None or usual is not None:
                check_like(name, part, 1.0 if usual is None else usual)
