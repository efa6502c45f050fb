"""Keep account of how a result came about, so that it can be repeated."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import Tensor

from ..inference.estimator import BY_ROW
from ..results.fit import Record
from ..results.results import Results
from .confidence.sort import restated
from .request import FitOptions, FitRequest

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

MOST_NAMES = 20
"""Length up to which a list of texts is taken for names of columns, and not for ids of rows."""

SILENT = ("disp", "progress", "checkpoint", "callback", "resume", "general", "claims", "conditions")
"""Arguments that are not repeated as they stand: most of them change no number."""


@functools.cache
def _versions() -> Mapping[str, str]:
    names = ("torchmle", "torch", "numpy", "scipy", "pandas", "formulaic")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def make_record(
    model: GenericLikelihoodModel, request: FitRequest, method: str, start: Mapping[str, float], seconds: float
) -> Record:
    """Return the account of how a result came about."""
    formulas = model.data.formulas
    own = {"maxiter": request.maxiter, "tol": request.tol, "batch_size": request.batch_size}
    options = {name: _told(value) for name, value in {**own, **request.options}.items()}
    arguments, unrepeatable = asked(request, start)
    return Record(
        versions=_versions(),
        device=str(model.data.device),
        dtype=str(model.endog.dtype).removeprefix("torch."),
        method=method,
        options=MappingProxyType(options),
        seed=request.seed or 0,
        formula=None if formulas is None else next(iter(formulas.parts.values())).text,
        formulas={} if formulas is None else {k: p.text for k, p in formulas.parts.items()},
        start=MappingProxyType(dict(start)),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seconds=seconds,
        model=f"{type(model).__module__}:{type(model).__qualname__}",
        inputs=MappingProxyType(dict(model.data.given)),
        arguments=MappingProxyType(arguments),
        unrepeatable=unrepeatable,
    )


def as_asked(results: Results, request: FitRequest) -> Results:
    """Return results whose record repeats another request: that of the user, where a fit asked for a second one."""
    arguments, unrepeatable = asked(request, results.record.start)
    record = replace(results.record, arguments=MappingProxyType(arguments), unrepeatable=unrepeatable)
    return replace(results, record=record)


class _UntoldError(TypeError):
    """Say that a value cannot be written down."""


def asked(request: FitRequest, start: Mapping[str, float]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the arguments of ``fit`` in plain values, and what of them cannot be repeated."""
    found: dict[str, Any] = {}
    lost: list[str] = []
    usual = vars(FitOptions())
    general = {k: v for k, v in vars(request.general).items() if v != usual[k]}
    given = {f.name: getattr(request, f.name) for f in fields(request) if f.name not in SILENT}
    given["constraints"] = restated(request)
    given["options"] = {**general, **request.options}
    for name, value in given.items():
        if value is None or (name == "options" and not value):
            continue
        if isinstance(value, Mapping):
            found[name] = {}
            for key, entry in value.items():
                _put(found[name], str(key), entry, f"{name}[{key!r}]", lost, ids=name == "cov_kwds" and key in BY_ROW)
        else:
            _put(found, name, value, name, lost)
    if request.callback is not None:
        lost.append("A callback saw every iteration and may have ended the fit.")
    if isinstance(request.resume, Results):
        found["start_params"] = dict(zip(request.resume.names, request.resume.params.tolist(), strict=True))
    elif request.resume is not None:
        found["start_params"] = dict(start)
        lost.append("The fit went on from a file; it is repeated from the point where it began, to rounding.")
    return found, tuple(lost)


def _put(target: dict[str, Any], name: str, value: Any, what: str, lost: list[str], ids: bool = False) -> None:
    """Write a value down, or say that it cannot be."""
    try:
        if ids and not _names_columns(value):
            raise _UntoldError
        target[name] = _plain(value)
    except _UntoldError:
        lost.append(f"{what} was {type(value).__name__}, which a record does not hold.")


def _names_columns(value: Any) -> bool:
    """Return whether rows' values are given by the names of a few columns."""
    few = isinstance(value, (list, tuple)) and len(value) <= MOST_NAMES
    return isinstance(value, str) or (few and all(isinstance(v, str) for v in value))


def _plain(value: Any) -> Any:
    """Return numbers, text, lists and dicts for what users hand in."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, pd.Series):
        if isinstance(value.index, pd.RangeIndex):
            return value.tolist()
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, pd.DataFrame):
        return value.to_numpy().tolist()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    raise _UntoldError


def _told(value: Any) -> Any:
    """Return an option in plain values, or its text."""
    try:
        return _plain(value)
    except _UntoldError:
        return repr(value)
