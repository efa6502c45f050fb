"""Find a method by name and build it from a user's options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from ..errors import OptionError, unknown
from .base import Optimizer, Options
from .bhhh import BHHH
from .newton import Newton
from .quasi import BFGS, LBFGS, LBFGSOptions
from .scipy import NAMES, Scipy, ScipyOptions
from .stochastic import Stochastic, StochasticOptions

EXACT: dict[str, tuple[type[Optimizer], type[Options]]] = {
    "newton": (Newton, Options),
    "bfgs": (BFGS, Options),
    "lbfgs": (LBFGS, LBFGSOptions),
    "bhhh": (BHHH, Options),
}

TORCH: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
}

NOT_OURS = {"params", "lr", "weight_decay", "maximize", "foreach", "fused", "capturable", "differentiable"}
"""Arguments of torch optimizers that are set here, or that would change what is maximised."""

METHODS = (*EXACT, *TORCH, "torch:CLASS", "scipy:NAME")


def is_first_order(method: str) -> bool:
    """Return whether a method works in steps of a torch optimizer."""
    return method in TORCH or method.startswith("torch:")


def make_optimizer(method: str, common: Options, batch_size: int | None, options: Mapping[str, Any]) -> Optimizer:
    """Return the method with its options checked by name.

    Parameters
    ----------
    method : ``"newton"``, ``"bfgs"``, ``"lbfgs"``, ``"bhhh"``, ``"sgd"``, ``"adam"``, ``"adagrad"``, ``"rmsprop"``,
        ``"torch:CLASS"`` for any other class of ``torch.optim``, or ``"scipy:NAME"`` for a method of scipy.

    Raises
    ------
    OptionError
        For an unknown method or option, or mini-batches where a method needs all rows.
    """
    if not isinstance(method, str):
        raise OptionError(f"method is {method!r}; it must be one of {', '.join(METHODS)}.")
    if is_first_order(method):
        return _torch(method, common, batch_size, options)
    if batch_size is not None:
        raise OptionError(f"method={method!r} needs all rows; batch_size is for {', '.join(TORCH)}.")
    if method.startswith("scipy:"):
        return _scipy(method, common, options)
    if method not in EXACT:
        raise OptionError(unknown("method", method, METHODS))
    kind, option_type = EXACT[method]
    own = {f.name for f in fields(option_type)} - {f.name for f in fields(Options)}
    _check(method, options, own)
    return kind(option_type(**vars(common), **options))


def _check(method: str, options: Mapping[str, Any], allowed: set[str]) -> None:
    for name in options:
        if name not in allowed:
            raise OptionError(unknown(f"option for method {method!r}:", name, sorted(allowed) or ["(none)"]))


def _torch(method: str, common: Options, batch_size: int | None, options: Mapping[str, Any]) -> Optimizer:
    kind = TORCH.get(method) or getattr(torch.optim, method.removeprefix("torch:"), None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)) or kind is torch.optim.Optimizer:
        names = [
            n for n, v in vars(torch.optim).items() if isinstance(v, type) and issubclass(v, torch.optim.Optimizer)
        ]
        raise OptionError(unknown("class of torch.optim", method.removeprefix("torch:"), names))
    if kind is torch.optim.LBFGS:
        raise OptionError("torch.optim.LBFGS takes several gradients a step; use method='lbfgs' instead.")
    extra = set(inspect.signature(kind).parameters) - NOT_OURS
    _check(method, options, {"lr", "schedule", *extra})
    settings = {k: v for k, v in options.items() if k in ("lr", "schedule")}
    rest = {k: v for k, v in options.items() if k not in settings}
    if "weight_decay" in inspect.signature(kind).parameters:
        rest["weight_decay"] = 0.0  # some classes decay by default, which maximises something else
    return Stochastic(StochasticOptions(**vars(common), **settings, batch_size=batch_size, extra=rest), kind)


def _scipy(method: str, common: Options, options: Mapping[str, Any]) -> Optimizer:
    name = method.removeprefix("scipy:")
    if common.time_limit is not None:
        raise OptionError(f"time_limit is not available for {method!r}, which runs in one piece; use another method.")
    if name not in NAMES:
        raise OptionError(unknown("method of scipy.optimize.minimize:", name, NAMES))
    return Scipy(ScipyOptions(**vars(common), extra=dict(options)), name)
