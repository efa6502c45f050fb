"""Check the options of draws against their kind, and fill in the defaults."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import OptionError, unknown

KINDS = {
    "random": "pseudo-random",
    "halton": "Halton",
    "sobol": "Sobol",
    "mlhs": "MLHS",
    "gauss_hermite": "Gauss-Hermite",
}
_NUMBER = {"sobol": 512, "gauss_hermite": 30}
_OWN: dict[str, dict[str, Any]] = {  # options that only some kinds have, with their defaults
    "halton": {"scramble": True, "skip": 100, "leap": 1},
    "sobol": {"scramble": True},
}
_SCRAMBLES: dict[str, tuple[object, ...]] = {"halton": (True, False, "shift"), "sobol": (True, False)}
_MOST_NODES = 100


def chosen(given: dict[str, Any]) -> dict[str, Any]:
    """Return all options of draws with the defaults of their kind; what does not belong to it is refused."""
    kind = given["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise OptionError(unknown("kind of draws", kind, KINDS))
    number = _NUMBER.get(kind, 500) if given["number"] is None else given["number"]
    found = given | {"number": number} | _own(kind, {name: given[name] for name in ("scramble", "skip", "leap")})
    for name, least in (("number", 1), ("seed", 0), ("skip", 0), ("leap", 1)):
        if name in ("number", "seed") or found[name] is not None:
            found[name] = whole(name, found[name], least)
    _check_meaning(kind, found["number"], found["seed"], found["antithetic"], found["scramble"])
    return found


def _own(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a kind with its defaults; those of other kinds are refused."""
    own = _OWN.get(kind, {})
    alien = [name for name, value in given.items() if value is not None and name not in own]
    if alien:
        kinds = [k for k, options in _OWN.items() if alien[0] in options]
        raise OptionError(
            f"{alien[0]}={given[alien[0]]!r} does not belong to kind={kind!r}, only to {' and '.join(kinds)}; "
            "leave it out."
        )
    return {name: default if given[name] is None else given[name] for name, default in own.items()}


def whole(name: str, value: object, least: int) -> int:
    """Return a whole number from ``least`` on; anything else is refused."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value < 2**63:
        raise OptionError(f"{name} must be a whole number from {least} on, not {value!r}.")
    return int(value)


def seeded(kind: str, scramble: object) -> bool:
    """Return whether the draws depend on a seed."""
    return kind in ("random", "mlhs") or scramble not in (None, False)


def _check_meaning(kind: str, number: int, seed: int, antithetic: object, scramble: object) -> None:
    """Refuse values that are not allowed, and combinations in which one would have no effect."""
    allowed = _SCRAMBLES.get(kind, (None,))
    if not any(scramble is a or (isinstance(a, str) and scramble == a) for a in allowed):
        raise OptionError(f"scramble of {kind} is one of {', '.join(map(repr, allowed))}, not {scramble!r}.")
    if seed and not seeded(kind, scramble):
        what = kind if scramble is None else f"{kind} with scramble=False"
        raise OptionError(
            f"seed={seed} has no effect on {what}; leave it out{'' if scramble is None else ', or scramble'}."
        )
    if not isinstance(antithetic, bool):
        raise OptionError(f"antithetic must be True or False, not {antithetic!r}.")
    if antithetic and kind == "gauss_hermite":
        raise OptionError("antithetic has no effect on gauss_hermite, whose nodes are symmetric; leave it out.")
    if antithetic and number % 2:
        raise OptionError(f"antithetic draws come in pairs: number must be even, not {number}.")
    if kind == "gauss_hermite" and number > _MOST_NODES:
        raise OptionError(
            f"number={number} is the number of nodes a dimension with gauss_hermite, at most {_MOST_NODES}; "
            "30 integrate polynomials up to degree 59 exactly."
        )
