"""Take the constraints about measures out of what ``fit(constraints=...)`` was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import OptionError, unknown
from .claims import Claim, Confidence, Quantity, confidence
from .text import parse, speaks_of_measures

if TYPE_CHECKING:
    from ..base import GenericLikelihoodModel
    from ..request import FitRequest

KEYS = ("claim", "delta", "bound")
"""Entries of a constraint that is given as a dict, as a record has it."""


def take_claims(model: GenericLikelihoodModel, request: FitRequest) -> tuple[tuple[Confidence, ...], list[Any]]:
    """Return the constraints that must be true with a probability, and all others.

    Raises
    ------
    OptionError
        For an unknown measure, the same constraint twice, or a delta without a constraint that takes it.
    """
    given = request.constraints
    listed = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    names = model.param_names
    claims: list[Confidence] = []
    others: list[Any] = []
    for one in listed:
        if isinstance(one, str) and speaks_of_measures(one, names):
            claims.append(confidence(parse(one, names)))
        elif isinstance(one, Claim):
            claims.append(confidence(one))
        elif isinstance(one, Mapping):
            for name in one:
                if name not in KEYS:
                    raise OptionError(unknown("entry of a constraint:", name, KEYS))
            claims.append(confidence(**{"claim": "", **one}))
        elif isinstance(one, Quantity):
            raise OptionError(f"constraints holds {one!r} without a limit; write {one!r} <= 0.1.")
        else:
            (claims if isinstance(one, Confidence) else others).append(one)
    called = [held.name for held in claims]
    twice = [name for name in called if called.count(name) > 1]
    if twice:
        raise OptionError(f"The constraint {twice[0]!r} is given twice.")
    if request.delta is not None and not claims:
        raise OptionError(
            "delta is the probability with which constraints on measures may fail, and there are none. Give one, e.g. "
            "constraints=['ACC >= 0.95']."
        )
    return tuple(claims), others


def restated(request: FitRequest) -> Any:
    """Return the constraints of a request as they were given, in plain values where that is possible."""
    if not request.claims and not request.conditions:
        return request.constraints
    linear = request.constraints
    texts: list[Any] = [linear] if isinstance(linear, str) else list(linear or ())
    written = [c.text if c.text is not None and callable(c.given) else c for c in request.conditions]
    return [*texts, *dict.fromkeys(written), *(_plain(held) for held in request.claims)]


def _plain(held: Confidence) -> Any:
    """Return a constraint as text or a dict, or itself where it has measures of the user's own."""
    text = held.name
    try:
        same = parse(text) == held.claim
    except OptionError:
        same = False
    if not same:
        return held
    if held.delta is None and held.bound == "t":
        return text
    return {"claim": text, "delta": held.delta, "bound": held.bound}
