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
        for name in ("maxiter", "batch_size", "maxfun"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or value != int(value) or value < (name != "maxiter")):
                raise OptionError(
                    f"{name}={value!r} must be a {'non-negative' if name == 'maxiter' else 'positive'} whole number."
                )
        if self.tol is not None and not 0 < self.tol < math.inf:
            raise OptionError(f"tol={self.tol!r} must be positive and finite; the default is 1e-10.")
        if self.callback is not None and not callable(self.callback):
            raise OptionError(f"callback is {type(self.callback).__name__}; it must be a function of one argument.")


def as_params(given: Any, names: Sequence[str], what: str) -> Tensor:
    """Return parameters in order; a dict or Series is matched by name.

    Raises
    ------
    OptionError
        For a wrong number, a missing or unknown name, or a value that is not finite.
    """
    if isinstance(given, (pd.Series, Mapping)) and set(map(str, given.keys())) & set(names):
        for name in map(str, given.keys()):
            if name not in names:
                raise OptionError(unknown(f"name in {what}:", name, names))
        absent = [n for n in names if n not in given]
        if absent:
            raise OptionError(f"{what} has no value for {listing(absent)}.")
        given = [given[n] for n in names]
    if isinstance(given, Tensor):
        given = given.detach().cpu().numpy()
    array = np.array(list(given.values()) if isinstance(given, Mapping) else given, dtype=np.float64)
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
