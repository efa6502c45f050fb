"""Read what ``fit`` was asked: how delta is shared, and the options of the search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ...errors import OptionError
from ...inference.bounds import check_level
from ...optim.checks import as_number
from .claims import Confidence

if TYPE_CHECKING:
    from ..request import FitRequest


@dataclass(frozen=True)
class SafetyOptions:
    """Hold what ``fit(options={...})`` takes under constraints with confidence, beside the options of the method.

    Attributes
    ----------
    safety : share of the records (or clusters) kept for the safety test.
    inflation : factor by which the predicted bound is wider than the one that the safety part would give.
    multiplier : of each constraint at the start.
    multiplier_lr : learning rate of the multipliers.

    Examples
    --------
    >>> import torchmle as tm
    >>> tm.SafetyOptions().safety
    0.5
    """

    safety: float = 0.5
    inflation: float = 2.0
    multiplier: float = 0.5
    multiplier_lr: float = 0.01

    def __post_init__(self) -> None:
        for f in fields(self):
            value = as_number(f.name, getattr(self, f.name))
            if not 0 <= value < math.inf or (value == 0 and f.name != "multiplier"):
                raise OptionError(f"{f.name}={value!r} must be positive and finite.")
        if not self.safety < 1:
            raise OptionError(f"safety={self.safety!r} must lie strictly between 0 and 1, e.g. 0.5 for one half.")
        if self.inflation < 1:
            raise OptionError(f"inflation={self.inflation!r} must be at least 1.")


def split_safety_options(given: Mapping[str, Any]) -> tuple[SafetyOptions, dict[str, Any]]:
    """Return the options of the search, and those of the method."""
    own = {f.name for f in fields(SafetyOptions)}
    safety = SafetyOptions(**{k: v for k, v in given.items() if k in own})
    return safety, {k: v for k, v in given.items() if k not in own}


def shares(claims: Sequence[Confidence], delta: float | None) -> tuple[float, tuple[float, ...]]:
    """Return the probability that any constraint is violated, and that of each: Bonferroni.

    Raises
    ------
    OptionError
        If delta is missing, outside (0, 1), or less than what the constraints take of it.
    """
    own = math.fsum(c.delta or 0.0 for c in claims)
    rest = [c for c in claims if c.delta is None]
    if delta is None:
        if rest:
            raise OptionError(
                f"The constraint {rest[0].name!r} must be true with a probability: say with which one it may fail, "
                "fit(..., delta=0.05)."
            )
        return check_level(own, "the sum of the deltas"), tuple(c.delta or 0.0 for c in claims)
    total = check_level(delta)
    left = total - own
    if left < -1e-12 or (rest and left <= 1e-12):
        raise OptionError(
            f"Of delta={total:g} the constraints with a delta of their own take {own:g}, which leaves "
            f"{max(left, 0.0):g} for the other {len(rest)}. Raise delta, or give them less."
        )
    return total, tuple(left / len(rest) if c.delta is None else c.delta for c in claims)


REFUSED = {
    "cov_type": "no standard errors are given under constraints with confidence",
    "cov_kwds": "no standard errors are given under constraints with confidence",
    "use_t": "no standard errors are given under constraints with confidence",
    "bounds": "bounds cannot be held by gradient steps. Use a transform of the parameter, or leave them out",
    "resume": "what it goes on from has seen rows that belong to the safety part",
    "checkpoint": "the search is short; leave it out",
    "tol": "the search runs for maxiter steps, and the safety test gives the verdict",
    "maxfun": "each step is one evaluation; use maxiter",
}
"""Arguments of ``fit`` that have no place here, and why."""


def refuse(request: FitRequest) -> None:
    """Raise for arguments that have no place under constraints with confidence."""
    for name, why in REFUSED.items():
        if getattr(request, name) is not None:
            raise OptionError(f"{name} is not available here: {why}.")
    if request.conditions:
        raise OptionError(
            "Equations and inequalities of parameters cannot stand beside constraints with confidence, unless they are "
            "linear equations. Leave one kind out."
        )
    for name, usual in (("starts", 1), ("separation", "flag"), ("standardize", True)):
        if getattr(request.general, name) != usual:
            raise OptionError(f"options: {name} is not available under constraints with confidence.")
