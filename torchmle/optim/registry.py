"""Find a method by name and build it from a user's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import OptionError, unknown
from .base import Optimizer, Options
from .newton import Newton
from .quasi import BFGS, LBFGS, LBFGSOptions
from .stochastic import SGD, Adam, StochasticOptions

METHODS: dict[str, tuple[type[Optimizer], type[Options]]] = {
    "newton": (Newton, Options),
    "bfgs": (BFGS, Options),
    "lbfgs": (LBFGS, LBFGSOptions),
    "sgd": (SGD, StochasticOptions),
    "adam": (Adam, StochasticOptions),
}

TORCH_ARGUMENTS = {
    "sgd": ("momentum", "dampening", "nesterov"),
    "adam": ("betas", "eps", "amsgrad"),
}


def make_optimizer(method: str, common: Options, batch_size: int | None, options: Mapping[str, Any]) -> Optimizer:
    """Return the method with its options checked by name.

    Raises
    ------
    OptionError
        For an unknown method or option, or mini-batches where a method needs all rows.
    """
    if method not in METHODS:
        raise OptionError(unknown("method", method, METHODS))
    kind, option_type = METHODS[method]
    stochastic = option_type is StochasticOptions
    if batch_size is not None and not stochastic:
        raise OptionError(f"method={method!r} needs all rows; batch_size is for 'sgd' and 'adam'.")
    own = {f.name for f in fields(option_type)} - {f.name for f in fields(Options)} - {"extra", "batch_size"}
    extra = TORCH_ARGUMENTS.get(method, ())
    for name in options:
        if name not in own and name not in extra:
            raise OptionError(unknown(f"option for method {method!r}:", name, sorted({*own, *extra}) or ["(none)"]))
    settings: dict[str, Any] = {**vars(common), **{k: v for k, v in options.items() if k in own}}
    if stochastic:
        settings |= {"batch_size": batch_size, "extra": {k: v for k, v in options.items() if k in extra}}
    return kind(option_type(**settings))
