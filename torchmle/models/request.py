"""Read what users hand to ``fit`` and to the methods that take parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import OptionError, listing, unknown

NOT_YET = ("bounds", "resume", "checkpoint", "progress")
"""Arguments of ``fit`` that are planned; asking for one is an error."""


@dataclass(frozen=True)
class FitRequest:
    """Hold the arguments of a fit."""

    start_params: Any = None
    method: str | None = None
    maxiter: int | None = None
    tol: float | None = None
    cov_type: str | None = None
    cov_kwds: Mapping[str, Any] | None = None
    use_t: bool | None = None
    fixed: Mapping[str, float] | None = None
    constraints: Any = None
    seed: int | None = None
    batch_size: int | None = None
    maxfun: int | None = None
    disp: bool | int | None = None
    callback: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("maxiter", 0), ("batch_size", 1), ("maxfun", 1), ("seed", 0)):
            check_whole(name, getattr(self, name), least)
        if self.method is not None and (not isinstance(self.method, str) or not self.method):
            raise OptionError(f"method={self.method!r} must be the name of a method, e.g. 'newton' or 'bfgs'.")
        if self.tol is not None and not 0 < as_number("tol", self.tol) < math.inf:
            raise OptionError(f"tol={self.tol!r} must be positive and finite; the default is 1e-10.")
        if self.callback is not None and not callable(self.callback):
            raise OptionError(f"callback is {type(self.callback).__name__}; it must be a function of one argument.")
        for name in ("cov_kwds", "options", "fixed"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                raise OptionError(f"{name} is {value!r}; it must be a dict.")


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


def as_params(given: Any, names: Sequence[str], what: str) -> Tensor:
    """Return parameters in order; a dict or Series is matched by name.

    Raises
    ------
    OptionError
        For a wrong number, a missing or unknown name, or a value that is not finite.
    """
    labelled = isinstance(given, Mapping) or (
        isinstance(given, pd.Series) and not isinstance(given.index, pd.RangeIndex)
    )
    if labelled:
        for name in map(str, given.keys()):
            if name not in names:
                raise OptionError(unknown(f"name in {what}:", name, names))
        absent = [n for n in names if n not in given]
        if absent:
            raise OptionError(f"{what} has no value for {listing(absent)}.")
        given = [given[n] for n in names]
    if isinstance(given, Tensor):
        given = given.detach().cpu().numpy()
    raw = np.asarray(given)
    if raw.dtype.kind not in "iufb":
        raise OptionError(f"{what} is {given!r}; it must hold one real number for each of {listing(names, 12)}.")
    array = np.array(raw, dtype=np.float64)
    if array.ndim != 1 or len(array) != len(names):
        raise OptionError(
            f"{what} has shape {array.shape}, but there are {len(names)} parameters: {listing(names, 12)}. "
            "Parameters beside the columns of exog are declared by extra_params = ('name', ...)."
        )
    if not np.isfinite(array).all():
        bad = [f"{n}={v}" for n, v in zip(names, array, strict=True) if not np.isfinite(v)]
        raise OptionError(f"{what} must be finite: {listing(bad)}.")
    return torch.from_numpy(array)


def refuse_fit_options(given: Mapping[str, Any]) -> None:
    """Raise for arguments that ``fit`` does not have, or does not have yet."""
    known = [
        "start_params",
        "method",
        "maxiter",
        "tol",
        "cov_type",
        "cov_kwds",
        "use_t",
        "device",
        "fixed",
        "constraints",
        "seed",
    ]
    known += ["batch_size", "maxfun", "disp", "callback", "options"]
    for name, value in given.items():
        if name in NOT_YET:
            if value is None:
                continue
            raise OptionError(f"fit({name}=...) is not part of this version of torchmle.")
        raise OptionError(unknown("argument of fit:", name, known))
