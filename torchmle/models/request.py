"""Read what users hand to ``fit`` and to the methods that take parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import OptionError, listing, unknown
from ..optim.checks import as_number, check_whole
from ..params.conditions import Condition
from ..progress import check_progress
from .confidence.claims import Confidence


@dataclass(frozen=True)
class FitOptions:
    """Hold what ``fit(options={...})`` takes whatever the method.

    Attributes
    ----------
    starts : how many starting points to try, 1 or more. The first is the usual one, the others lie around it, drawn
        with ``seed``; the best maximum found is returned.
    spread : how far they lie around it, in units in which a standardised coefficient moves the predictor by one.
    time_limit : seconds after which the fit stops at the best point so far; None for no limit.
    separation : ``"flag"`` or ``"drop"``: what to do about rows that are predicted perfectly.
    standardize : False lets stochastic methods see the user's own units.

    Examples
    --------
    >>> import torchmle as tm
    >>> tm.FitOptions(starts=10, time_limit=60.0).spread
    1.0
    """

    starts: int = 1
    spread: float = 1.0
    time_limit: float | None = None
    separation: str = "flag"
    standardize: bool = True

    def __post_init__(self) -> None:
        check_whole("starts", self.starts, 1)
        for name in ("spread", "time_limit"):
            value = getattr(self, name)
            if (value is not None or name == "spread") and not 0 < as_number(name, value) < math.inf:
                raise OptionError(f"{name}={value!r} must be positive and finite.")
        if self.separation not in ("flag", "drop"):
            raise OptionError(unknown("separation", self.separation, ["flag", "drop"]))
        if not isinstance(self.standardize, bool):
            raise OptionError(f"standardize={self.standardize!r} must be True or False.")


def split_options(given: Any) -> tuple[FitOptions, Mapping[str, Any]]:
    """Return the options that hold for every method, and those of the method."""
    if given is not None and not isinstance(given, Mapping):
        raise OptionError(f"options is {given!r}; it must be a dict.")
    own = {f.name for f in fields(FitOptions)}
    given = {} if given is None else dict(given)
    return FitOptions(**{k: v for k, v in given.items() if k in own}), {k: v for k, v in given.items() if k not in own}


@dataclass(frozen=True)
class FitRequest:
    """Hold the arguments of a fit.

    ``conditions``, and ``claims`` that must be true with a probability, are what
    :func:`torchmle.models.conditions.sort_constraints` took out of ``constraints``, which holds linear equations after
    that.
    """

    start_params: Any = None
    method: str | None = None
    maxiter: int | None = None
    tol: float | None = None
    cov_type: str | None = None
    cov_kwds: Mapping[str, Any] | None = None
    use_t: bool | None = None
    fixed: Mapping[str, float] | None = None
    constraints: Any = None
    bounds: Mapping[str, Any] | None = None
    seed: int | None = None
    batch_size: int | None = None
    maxfun: int | None = None
    disp: bool | int | None = None
    progress: bool | None = None
    callback: Any = None
    resume: Any = None
    checkpoint: Any = None
    delta: float | None = None
    general: FitOptions = field(default_factory=FitOptions)
    options: Mapping[str, Any] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    claims: tuple[Confidence, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("maxiter", 0), ("batch_size", 1), ("maxfun", 1), ("seed", 0)):
            check_whole(name, getattr(self, name), least)
        if self.method is not None and (not isinstance(self.method, str) or not self.method):
            raise OptionError(f"method={self.method!r} must be the name of a method, e.g. 'newton' or 'bfgs'.")
        if self.tol is not None and not 0 < as_number("tol", self.tol) < math.inf:
            raise OptionError(f"tol={self.tol!r} must be positive and finite; the default is 1e-10.")
        if self.callback is not None and not callable(self.callback):
            raise OptionError(f"callback is {type(self.callback).__name__}; it must be a function of one argument.")
        check_progress(self.progress)
        if self.checkpoint is not None and not isinstance(self.checkpoint, (str, PathLike)):
            raise OptionError(f"checkpoint={self.checkpoint!r} must be the name of a file.")
        if self.resume is not None and self.start_params is not None:
            raise OptionError("resume and start_params both say where to begin; give one of them.")
        for name in ("cov_kwds", "options", "fixed", "bounds"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                raise OptionError(f"{name} is {value!r}; it must be a dict.")


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
        known = set(names)
        for name in map(str, given.keys()):
            if name not in known:
                raise OptionError(unknown(f"name in {what}:", name, names))
        if isinstance(given, pd.Series) and given.index.is_unique:
            given = dict(given)  # looked up many times
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
    """Raise for arguments that ``fit`` does not have."""
    own = [f.name for f in fields(FitRequest) if f.name not in ("general", "conditions", "claims")]
    for name in given:
        if name in {f.name for f in fields(FitOptions)}:
            raise OptionError(f"{name} is given in options: fit(options={{{name!r}: ...}}).")
        raise OptionError(unknown("argument of fit:", name, [*own, "device"]))
