"""Fit a module: few parameters to the maximum, many by training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import OptionError
from ...optim.registry import is_first_order
from ..fitting import run_fit
from ..request import FitRequest
from .blocks import DEFAULT, read_block, with_block
from .results import EXACT_UP_TO, NeuralResults, neural
from .resuming import stood, taken_over
from .withheld import LISTED_UP_TO

if TYPE_CHECKING:
    from .base import ModuleModel


def fit_module(model: ModuleModel, request: FitRequest) -> NeuralResults:
    """Fit a module and return its results."""
    if request.claims:
        from .confident import train_confident

        return train_confident(model, request)
    if isinstance(request.resume, NeuralResults):
        buffers = dict(request.resume.module.named_buffers())
        model = model.with_network(model.network.with_buffers(buffers))
    snapshot = stood(model, request)
    if snapshot is not None:
        request = taken_over(request, snapshot)
    block, request = _block(model, replace(request, method=request.method or default_method(model, request)))
    assert request.method is not None
    if is_first_order(request.method):
        from .training import train_module

        results = train_module(model, request, snapshot)
        if block is not None:
            results = with_block(results, block, request.cov_type or DEFAULT, dict(request.cov_kwds or {}))
        return results
    if block is not None:
        raise OptionError(f"block= is for training; method={request.method!r} gives errors of all parameters.")
    if model.loader is not None:
        raise OptionError(
            f"method={request.method!r} needs the rows in memory; a model from batches is trained by 'adam', 'sgd' or "
            "another class of torch.optim."
        )
    if model.network.size > EXACT_UP_TO:
        raise OptionError(
            f"method={request.method!r} needs the Hessian of all {model.network.size} parameters, and {EXACT_UP_TO} "
            "are the most. Use 'adam', 'sgd' or another class of torch.optim."
        )
    return neural(run_fit(model, request))


def default_method(model: ModuleModel, request: FitRequest) -> str:
    """Return Newton's method for few parameters and under bounds and constraints, else Adam."""
    held = request.bounds or request.conditions or request.constraints is not None
    if model.loader is not None:
        return "adam"
    return "newton" if held or model.network.size <= LISTED_UP_TO else "adam"


def _block(model: ModuleModel, request: FitRequest) -> tuple[Any, FitRequest]:
    """Return the block of parameters whose errors are asked for, and the request without it."""
    kwds = dict(request.cov_kwds or {})
    block = kwds.pop("block", None)
    if block is None:
        return None, request
    return read_block(model, block), replace(request, cov_kwds=kwds or None)
