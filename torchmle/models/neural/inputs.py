"""Find what a module is called with: the batch, or parts of the data by the names of its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import OptionError, listing, nearest
from ...loglik.network import ALIASES, Network

if TYPE_CHECKING:
    from .base import ModuleModel

BATCH = "the batch"
"""What stands for the model with the rows of the batch, in the place of a name."""


def read_arguments(network: Network, method: str, have: Sequence[str], alone: str) -> tuple[str, ...]:
    """Return the names of the data that a method of the module takes, in the order of its arguments.

    Parameters
    ----------
    have : names of the data there are.
    alone : what a single argument gets that bears no such name.

    Raises
    ------
    OptionError
        If an argument bears no name of the data.
    """
    asked = network.arguments(method)
    if not asked:
        raise OptionError(f"{network.kind}.{method} takes no argument, and so no data.")
    if len(asked) == 1 and _source(asked[0], have) is None and (alone == BATCH or alone in have):
        return (alone,)
    found = []
    for name in asked:
        source = _source(name, have)
        if source is None:
            short = [k for k, v in ALIASES.items() if v in have and k not in have]
            missing = f" {ALIASES[name]} was not given." if name in ALIASES else nearest(name, have)
            raise OptionError(
                f"{network.kind}.{method} takes {name!r}, which is no part of the data.{missing} Arguments may be "
                f"called {listing([*short, *have], 20)}; further data are given as row_data={{{name!r}: ...}}."
            )
        found.append(source)
    return tuple(found)


def _source(name: str, have: Sequence[str]) -> str | None:
    return name if name in have else ALIASES[name] if ALIASES.get(name) in have else None


def inputs_of(model: ModuleModel, names: Sequence[str]) -> tuple[Any, ...]:
    """Return the parts of the data that are called so, on the rows of the model."""
    return tuple(model if name == BATCH else getattr(model, name) for name in names)


def available(model: ModuleModel) -> list[str]:
    """Return the names of the data of a model."""
    exog = ["exog"] if model.data.designs else []
    offset = ["offset"] if model.data.offset is not None else []
    return [*dict.fromkeys([*exog, "endog", *model.data.row_data, *offset])]
