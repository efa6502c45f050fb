"""Read which coefficients are random and how, and lay the parameters of a mixed logit out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...errors import OptionError, listing, unknown
from ...loglik.distributions import Generalized, Law, Laws, WillingnessToPay
from ...loglik.mixed import Layout
from ...loglik.mixing import Mixing, Slot

LAWS = (
    *("normal", "lognormal", "-lognormal", "truncated_normal", "-truncated_normal"),
    *("uniform", "triangular", "johnson_sb"),
)
CORRELATED = ("normal", "lognormal", "johnson_sb")
"""Laws whose index is normal, so that it can be correlated with others."""


@dataclass(frozen=True)
class Randomness:
    """Hold which coefficients are random.

    Attributes
    ----------
    names : of the attributes of the formula, then of error components, which have no mean.
    means : how many have one.
    laws : by attribute, of random coefficients, in the order of the attributes.
    blocks : attributes that are correlated among themselves.
    features : by attribute, person variables that move the mean.
    space : ``"preference"`` or ``"wtp"``; ``price`` is the attribute of which others are worth a multiple.
    generalized : whether the scale of utility varies over persons.
    """

    names: tuple[str, ...]
    means: int
    laws: Mapping[str, Law]
    blocks: tuple[tuple[str, ...], ...]
    features: Mapping[str, tuple[str, ...]]
    space: str = "preference"
    price: str | None = None
    generalized: bool = False

    def column_of(self, name: str) -> int | None:
        """Return the attribute with a random coefficient to which a mean or a spread belongs, or None."""
        kind, _, rest = name.partition(":")
        if kind in ("sd", "spread") and rest in self.laws:
            return self.names.index(rest)
        for block in self.blocks:
            if name in chol_names(block):
                return self.names.index(next(row for row, col in _lower(block) if name == f"chol:{row}:{col}"))
        return self.names.index(name) if name in self.laws else None

    def in_units(self, column: int) -> bool:
        """Return whether the mean and the spread of a coefficient are in its own units."""
        return self.laws[self.names[column]].name not in ("lognormal", "johnson_sb")

    def start(self, b: Tensor, sizes: Tensor, spread: float) -> dict[str, float]:
        """Return starting values: the (K,) estimates without mixing, and spreads that are small in utility."""
        found: dict[str, float] = {}
        worth = max(-float(b[self.names.index(self.price)]), 1e-3) if self.price else 1.0
        for k, name in enumerate(self.names):
            law, size = self.laws.get(name, Law("fixed")), float(sizes[k])
            value = worth if name == self.price else float(b[k]) / worth if k < self.means else 0.0
            found[name] = _index(law, value, 0.1 / size)
            width = spread / (size * worth) if law.name not in ("lognormal", "johnson_sb") else 0.5
            if name == self.price and law.name != "lognormal":
                width = 0.3 * worth
            found |= {f"{kind}:{name}": width for kind in ("sd", "spread")}
            found |= {f"mean:{name}:{feature}": 0.0 for feature in self.features.get(name, ())}
            found[f"chol:{name}:{name}"] = width
        found |= {f"chol:{row}:{col}": 0.0 for block in self.blocks for row, col in _lower(block) if row != col}
        return {**found, "tau": spread, "gamma": 0.5}

    def positive(self, params: dict[str, float]) -> dict[str, float] | None:
        """Return the same parameters with positive spreads, or None if they are."""
        flipped = dict(params)
        for name, value in params.items():
            if (name.startswith(("sd:", "spread:")) or name == "tau") and value < 0:
                flipped[name] = -value
        for block in self.blocks:
            for j, col in enumerate(block):
                if params[f"chol:{col}:{col}"] < 0:
                    flipped |= {f"chol:{row}:{col}": -params[f"chol:{row}:{col}"] for row in block[j:]}
        return flipped if flipped != params else None


def _index(law: Law, value: float, least: float) -> float:
    """Return the index at which a coefficient has a value, or a small one where the law excludes it."""
    if law.name == "lognormal":
        return math.log(max(law.sign * value, least))
    if law.name == "truncated_normal":
        return law.sign * value
    if law.name == "johnson_sb":
        share = min(max((value - law.low) / (law.high - law.low), 0.05), 0.95)
        return math.log(share / (1 - share))
    return value


def _lower(block: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((row, col) for i, row in enumerate(block) for col in block[: i + 1])


def chol_names(block: Sequence[str]) -> list[str]:
    """Return the names of the entries of a lower triangle, row by row."""
    return [f"chol:{row}:{col}" for row, col in _lower(block)]


def read_random(
    names: tuple[str, ...],
    components: tuple[str, ...],
    random: Any,
    correlated: Any,
    features: Mapping[str, tuple[str, ...]],
    space: Any,
    price: Any,
    generalized: Any,
) -> Randomness:
    """Return what a user asked for, or raise."""
    if random is not None and not isinstance(random, Mapping):
        raise OptionError(f"random={random!r} must be a dict from attributes to laws, e.g. {{'time': 'normal'}}.")
    given = dict(random or {})
    if not given and not components and not generalized:
        raise OptionError("random=... must name at least one attribute; without any, use tm.ConditionalLogit.")
    for name in (*given, *features):
        if name not in names:
            raise OptionError(unknown("attribute in random or means:", name, names))
    laws = {name: _law(name, given[name]) for name in names if name in given}
    laws |= {name: Law("normal") for name in components}
    for name in features:
        if name not in laws:
            raise OptionError(f"means has {name!r}, which is not in random. Interact it in the formula instead.")
    if space not in ("preference", "wtp"):
        raise OptionError(unknown("space", space, ["preference", "wtp"]))
    if (space == "wtp") != (price is not None):
        raise OptionError("space='wtp' needs price='...', the attribute in units of money, and nothing else does.")
    if price is not None:
        _check_price(price, names, laws)
    if generalized and (space == "wtp" or any(law.name != "normal" for law in laws.values())):
        raise OptionError("generalized=True takes normal coefficients in preference space only.")
    if components and (space == "wtp" or generalized):
        raise OptionError(
            "components are error components of utility in preference space; leave space and generalized out."
        )
    return Randomness(
        (*names, *components), len(names), laws, _blocks(correlated, laws), features, space, price, bool(generalized)
    )


def _law(name: str, given: Any) -> Law:
    parts = (given,) if isinstance(given, str) else given
    if not isinstance(parts, Sequence) or not parts or parts[0] not in LAWS:
        raise OptionError(f"{unknown(f'law of {name!r}:', parts[0] if parts else given, LAWS)}")
    if parts[0] != "johnson_sb":
        if len(parts) > 1:
            raise OptionError(f"The law {parts[0]!r} of {name!r} takes no range; only ('johnson_sb', low, high) does.")
        return Law(parts[0].lstrip("-"), -1.0 if parts[0].startswith("-") else 1.0)
    ends = [float(end) for end in parts[1:]] or [0.0, 1.0]
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise OptionError(f"The range of {name!r} is {ends}; give it as ('johnson_sb', low, high).")
    return Law("johnson_sb", low=ends[0], high=ends[1])


def _check_price(price: str, names: tuple[str, ...], laws: Mapping[str, Law]) -> None:
    if price not in names:
        raise OptionError(unknown("attribute in price:", price, names))
    law = laws.get(price, Law("fixed"))
    if law.name not in ("fixed", "lognormal", "truncated_normal") or law.sign < 0:
        raise OptionError(
            f"In willingness-to-pay space {price!r} is the weight of money, which is positive: leave it out of random, "
            "or make it 'lognormal' or 'truncated_normal'."
        )


def _blocks(correlated: Any, laws: Mapping[str, Law]) -> tuple[tuple[str, ...], ...]:
    if correlated is False or correlated is None:
        return ()
    able = tuple(name for name, law in laws.items() if law.name in CORRELATED)
    if correlated is True:
        blocks = [able]
    else:
        given = list(correlated)
        blocks = [tuple(given)] if all(isinstance(b, str) for b in given) else [tuple(b) for b in given]
    seen: list[str] = [name for block in blocks for name in block]
    for name in seen:
        if name not in laws:
            raise OptionError(unknown("random attribute in correlated:", name, able))
        if name not in able:
            raise OptionError(
                f"{name!r} is {laws[name].name}; only {listing(CORRELATED)} coefficients can be correlated."
            )
    if len(set(seen)) != len(seen) or any(len(block) < 2 for block in blocks):
        raise OptionError(f"correlated={correlated!r}: each list needs two names at least, and no name may come twice.")
    order = list(laws)
    return tuple(tuple(sorted(block, key=order.index)) for block in blocks)


def lay_out(random: Randomness) -> tuple[Layout, tuple[str, ...], tuple[str, ...]]:
    """Return the layout, the names of the parameters after the attributes', and the standard laws of the draws."""
    names, whole = random.names, random.space == "wtp" or random.generalized
    columns = [k for k, name in enumerate(names) if whole or name in random.laws]
    members = [names[k] for k in columns]
    slots = {
        name: Slot(members.index(name)) if name in members else Slot(column=k)
        for k, name in enumerate(names[: random.means])
    }
    all_features = [(name, f) for name in random.features for f in random.features[name]]
    for at, (name, feature) in enumerate(all_features):
        slots[f"mean:{name}:{feature}"] = Slot(members.index(name), 1 + at)
    first = 1 + len(all_features)
    dimension = {name: d for d, name in enumerate(random.laws)}
    laws = [law.draw for law in random.laws.values()]
    inside = [name for block in random.blocks for name in block]
    spreads: dict[int, tuple[int, int]] = {}
    for name, law in random.laws.items():
        q = members.index(name)
        if name in inside:
            continue
        if law.name == "truncated_normal":
            spreads[q] = (len(members) + len(spreads), dimension[name])
            slots[f"sd:{name}"] = Slot(spreads[q][0])
            continue
        kind = "spread" if law.name in ("uniform", "triangular") else "sd"
        slots[f"{kind}:{name}"] = Slot(q + len(members) * random.generalized, first + dimension[name])
    for block in random.blocks:
        for row, col in _lower(block):
            q = members.index(row) + len(members) * random.generalized
            slots[f"chol:{row}:{col}"] = Slot(q, first + dimension[col])
    if random.generalized:
        slots["tau"] = Slot(2 * len(members))
        if random.laws:
            slots["gamma"] = Slot(2 * len(members) + 1)
        laws.append("normal")
    mixing = _mixing(random, members, spreads, len(laws) - 1)
    plain = tuple(k for k in range(len(names)) if k not in columns)
    layout = Layout(tuple(slots.values()), tuple(columns), plain, mixing, len(all_features))
    return layout, tuple(list(slots)[random.means :]), tuple(laws)


def _mixing(random: Randomness, members: list[str], spreads: dict[int, tuple[int, int]], last: int) -> Mixing:
    if random.generalized:
        return Generalized(tuple(not name.startswith("asc_") for name in members), last)
    laws = Laws(tuple(random.laws.get(name, Law("fixed")) for name in members), spreads)
    return WillingnessToPay(laws, members.index(random.price)) if random.price is not None else laws
