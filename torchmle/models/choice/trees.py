"""Read nests that users write as dicts of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import OptionError, listing, unknown
from ...loglik.gev import Nest

FORM = "nests must be a dict from names to lists of alternatives, such as {'ground': ['train', 'bus']}"


@dataclass
class _Reader:
    """Remember which alternatives have been placed, and the names of nests."""

    labels: tuple[Any, ...]
    placed: dict[int, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    slots: list[str] = field(default_factory=list)

    def nest(self, name: Any, given: Any) -> Nest:
        """Return one nest with all that is in it; its dissimilarity is a parameter if it has two parts or more."""
        if not isinstance(name, str) or not name or ":" in name:
            raise OptionError(f"The nest {name!r} needs a name that is a text without a colon.")
        if name in self.names:
            raise OptionError(f"Two nests are called {name!r}.")
        self.names.append(name)
        inner: list[Nest] = []
        own: list[int] = []
        slot = len(self.slots)
        parts = len(given) if isinstance(given, Mapping) else len(members(given, name))
        if parts > 1:
            self.slots.append(name)
        if isinstance(given, Mapping):
            inner = [self.nest(part, inside) for part, inside in given.items()]
        else:
            own = [self.place(label, name) for label in members(given, name)]
        return Nest(name, tuple(own), tuple(inner), slot if parts > 1 else -1)

    def place(self, label: Any, name: str) -> int:
        """Return the position of an alternative, which may be in one nest only."""
        j = position(label, self.labels, name)
        if j in self.placed:
            both = f"twice in {name!r}" if self.placed[j] == name else f"in {self.placed[j]!r} and in {name!r}"
            raise OptionError(
                f"The alternative {label!r} stands {both}. An alternative has one place in a nested logit; "
                "tm.CrossNestedLogit allots shares of it to several."
            )
        self.placed[j] = name
        return j


def members(given: Any, name: str) -> list[Any]:
    """Return the alternatives that a nest lists; a label alone is a list of one."""
    if isinstance(given, (str, int, float)) or not isinstance(given, (Sequence, set, frozenset)):
        given = [given]
    found = list(given)
    if not found:
        raise OptionError(f"The nest {name!r} is empty.")
    return found


def position(label: Any, labels: tuple[Any, ...], name: str) -> int:
    """Return the position of an alternative."""
    try:
        return labels.index(label)
    except ValueError:
        raise OptionError(unknown(f"alternative in the nest {name!r}:", label, map(str, labels))) from None


def read_tree(nests: Any, labels: tuple[Any, ...]) -> tuple[Nest, tuple[str, ...]]:
    """Return the root of a tree of nests, and the names of those with a dissimilarity, in the order of their slots.

    Alternatives in no nest hang on the root by themselves. Nests of one alternative have no parameter.

    Raises
    ------
    OptionError
        For unknown alternatives or such in two nests, for nests without a parameter, or one that holds everything.
    """
    if not isinstance(nests, Mapping) or not nests:
        raise OptionError(f"{FORM}, not {nests!r}.")
    reader = _Reader(labels)
    tops = [reader.nest(name, given) for name, given in nests.items()]
    alone = [j for j in range(len(labels)) if j not in reader.placed]
    if not reader.slots:
        raise OptionError(
            f"No nest in {nests!r} has two alternatives, so that none has a dissimilarity to estimate. "
            "Without nests use tm.ConditionalLogit."
        )
    for nest in walk(tops):
        if nest.slot >= 0 and len(nest.members) == len(labels):
            raise OptionError(
                f"The nest {nest.name!r} holds all alternatives: its dissimilarity cannot be told from the size of the "
                f"coefficients. Leave it out and give what is in it. Alternatives: {listing(labels)}."
            )
    return Nest("root", tuple(alone), tuple(tops)), tuple(reader.slots)


def walk(nests: Sequence[Nest]) -> Iterator[Nest]:
    """Yield nests and those inside them."""
    for nest in nests:
        yield nest
        yield from walk(nest.nests)


def refuse_strangers(nests: Mapping[str, Sequence[Sequence[int]]], available: Tensor | None) -> None:
    """Raise where no situation has two parts of a nest (each a list of alternatives): it has nothing to estimate."""
    if available is None:
        return
    for name, parts in nests.items():
        both = torch.stack([available[:, list(part)].any(1) for part in parts]).sum(0)
        if int(both.max()) < 2:
            raise OptionError(
                f"In no choice situation are two parts of the nest {name!r} available, so that there is no "
                "dissimilarity to estimate. Take the nest out."
            )


def parts_of(tree: Nest) -> dict[str, list[tuple[int, ...]]]:
    """Return the parts of each nest with a dissimilarity."""
    return {
        nest.name: [*((j,) for j in nest.alternatives), *(inner.members for inner in nest.nests)]
        for nest in walk(tree.nests)
        if nest.slot >= 0
    }


def flat(nests: Any, labels: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
    """Return the positions of the alternatives in each of some nests that may overlap."""
    if not isinstance(nests, Mapping) or not nests:
        raise OptionError(f"{FORM}, not {nests!r}.")
    found = {}
    for name, given in nests.items():
        if not isinstance(name, str) or not name or ":" in name:
            raise OptionError(f"The nest {name!r} needs a name that is a text without a colon.")
        if isinstance(given, Mapping):
            raise OptionError(f"The nest {name!r} has nests inside; a cross-nested logit has two levels.")
        places = [position(label, labels, name) for label in members(given, name)]
        if len(set(places)) < len(places):
            raise OptionError(f"The nest {name!r} lists an alternative twice.")
        found[name] = tuple(places)
    return found


def deeper(nest: Nest, above: str | None = None) -> Iterator[tuple[str, str | None]]:
    """Yield the names of nests with a dissimilarity, each with that of the next one above it."""
    own = nest.name if nest.slot >= 0 else above
    if nest.slot >= 0:
        yield nest.name, above
    for child in nest.nests:
        yield from deeper(child, own)
