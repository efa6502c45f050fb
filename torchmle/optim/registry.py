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
from .checks import check_like
from .newton import Newton
from .quasi import BFGS, LBFGS, LBFGSOptions
from .scipy import NAMES, TAKES, Scipy, ScipyOptions
from .stochastic import Stochastic, StochasticOptions
from .training import TrainingOptions

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

DECAY = ("weight_decay", "lambd")
"""Arguments that pull parameters to zero, which maximises something else; some classes do so by default."""

NOT_OURS = {"params", "lr", "maximize", "foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay"}
"""Arguments of torch optimizers that are set here, or that have nothing to act on."""

REFUSED = {
    torch.optim.LBFGS: "takes several gradients a step; use method='lbfgs' instead",
    torch.optim.SparseAdam: "needs sparse gradients, and those of a likelihood are dense; use method='adam' instead",
}
"""Classes that cannot take the steps of a likelihood; torch itself refuses those that need matrices."""

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


def make_training(method: str, common: Mapping[str, Any], options: Mapping[str, Any]) -> TrainingOptions:
    """Return how a module is trained, with its options checked by name.

    Parameters
    ----------
    method : ``"sgd"``, ``"adam"``, ``"adagrad"``, ``"rmsprop"``, or ``"torch:CLASS"`` for any other class of
        ``torch.optim``.
    common : fields of :class:`~torchmle.optim.training.TrainingOptions` that are arguments of ``fit``.
    options : ``lr``, ``schedule``, ``clip``, ``validation``, ``patience`` and what the class takes. Unlike elsewhere, a
        ``weight_decay`` may be asked for, as a penalty.

    Raises
    ------
    OptionError
        For an unknown method or option.
    """
    if not isinstance(method, str) or not is_first_order(method):
        raise OptionError(unknown("method for training by mini-batches:", method, (*TORCH, "torch:CLASS")))
    kind, takes = _class(method)
    own = {"lr", "schedule", "clip", "validation", "patience"}
    _check(method, options, own | set(takes))
    rest = {k: v for k, v in options.items() if k not in own}
    for name, value in rest.items():
        check_like(name, value, takes[name])
    penalties = {name: 0.0 for name in DECAY if name in takes} | rest
    settings = {k: v for k, v in options.items() if k in own}
    return TrainingOptions(kind=kind, **common, **settings, extra=penalties)


def training_method(kind: str) -> str:
    """Return the name of the method that trains by a class of ``torch.optim``."""
    return next((name for name, known in TORCH.items() if known.__name__ == kind), f"torch:{kind}")


def _torch(method: str, common: Options, batch_size: int | None, options: Mapping[str, Any]) -> Optimizer:
    kind, takes = _class(method)
    defaults = {k: v for k, v in takes.items() if k not in DECAY}
    _check(method, options, {"lr", "schedule", *defaults})
    settings = {k: v for k, v in options.items() if k in ("lr", "schedule")}
    rest = {k: v for k, v in options.items() if k not in settings}
    for name, value in rest.items():
        check_like(name, value, defaults[name])
    rest |= {name: 0.0 for name in DECAY if name in takes}
    return Stochastic(StochasticOptions(**vars(common), **settings, batch_size=batch_size, extra=rest), kind)


def _class(method: str) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Return a class of torch.optim, and what it takes with the defaults."""
    kind = TORCH.get(method) or getattr(torch.optim, method.removeprefix("torch:"), None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)) or kind is torch.optim.Optimizer:
        names = [
            n for n, v in vars(torch.optim).items() if isinstance(v, type) and issubclass(v, torch.optim.Optimizer)
        ]
        raise OptionError(unknown("class of torch.optim", method.removeprefix("torch:"), names))
    if kind in REFUSED:
        raise OptionError(f"torch.optim.{kind.__name__} {REFUSED[kind]}.")
    return kind, {k: p.default for k, p in inspect.signature(kind).parameters.items() if k not in NOT_OURS}


def _scipy(method: str, common: Options, options: Mapping[str, Any]) -> Optimizer:
    name = method.removeprefix("scipy:")
    if common.time_limit is not None:
        raise OptionError(f"time_limit is not available for {method!r}, which runs in one piece; use another method.")
    if name not in NAMES:
        raise OptionError(unknown("method of scipy.optimize.minimize:", name, NAMES))
    _check(method, options, set(TAKES[name]))
    return Scipy(ScipyOptions(**vars(common), extra=dict(options)), name)
