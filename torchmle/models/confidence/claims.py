"""Write constraints on means of measures: terms, sums and differences, and the value they may not pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import OptionError, unknown
from ...inference.bounds import check_level
from .measures import LOSSES, MEASURES, ONE_LEVEL, Measure, Values

BOUNDS = ("t", "hoeffding", "binomial")
"""Names of the bounds."""


@dataclass(frozen=True)
class Term:
    """Hold a measure with the groups in which its mean is taken."""

    measure: Measure
    groups: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Return what the term is called: ``TPR[female=1]``."""
        inside = ", ".join(f"{name}={value}" for name, value in self.groups)
        return f"{self.measure.name}[{inside}]" if inside else self.measure.name


@dataclass(frozen=True)
class Quantity:
    """Hold a sum of multiples of means, or its absolute value; ``<=`` and ``>=`` make a constraint of it.

    Examples
    --------
    >>> import torchmle as tm
    >>> rate = tm.measure("TPR")
    >>> abs(rate.where(female=1) - rate.where(female=0)) <= 0.1
    abs(TPR[female=1] - TPR[female=0]) <= 0.1
    """

    parts: tuple[tuple[float, Term], ...]
    constant: float = 0.0
    absolute: bool = False

    def where(self, **groups: Any) -> Quantity:
        """Return the same within a group: ``where(female=1)``; names are columns, row data or regressors."""
        self._plain("where()")
        added = tuple(groups.items())
        return replace(self, parts=tuple((c, replace(t, groups=(*t.groups, *added))) for c, t in self.parts))

    def _plain(self, what: str) -> None:
        if self.absolute:
            raise OptionError(f"{what} of an absolute value is not available: abs() must stand alone on one side.")

    def __add__(self, other: Quantity | float) -> Quantity:
        self._plain("A sum")
        if not isinstance(other, Quantity):
            return replace(self, constant=self.constant + _number(other))
        other._plain("A sum")
        sums: dict[Term, float] = {}
        for factor, term in (*self.parts, *other.parts):
            sums[term] = sums.get(term, 0.0) + factor
        kept = tuple((factor, term) for term, factor in sums.items() if factor != 0)
        return Quantity(kept, self.constant + other.constant)

    __radd__ = __add__

    def __mul__(self, factor: float) -> Quantity:
        self._plain("A multiple")
        factor = _number(factor)
        return Quantity(tuple((factor * c, t) for c, t in self.parts if factor), factor * self.constant)

    __rmul__ = __mul__

    def __neg__(self) -> Quantity:
        return self * -1.0

    def __sub__(self, other: Quantity | float) -> Quantity:
        return self + (-other)

    def __rsub__(self, other: float) -> Quantity:
        return -self + other

    def __abs__(self) -> Quantity:
        self._plain("An absolute value")
        return replace(self, absolute=True)

    def __le__(self, other: Quantity | float) -> Claim:
        return _claim(self, other, True)

    def __ge__(self, other: Quantity | float) -> Claim:
        return _claim(self, other, False)

    def __repr__(self) -> str:
        text = ""
        for factor, term in self.parts:
            size = "" if abs(factor) == 1 else f"{abs(factor):g}*"
            sign = ("-" if factor < 0 else "") if not text else (" - " if factor < 0 else " + ")
            text += f"{sign}{size}{term.name}"
        if self.constant or not text:
            text += f" {'-' if self.constant < 0 else '+'} {abs(self.constant):g}" if text else f"{self.constant:g}"
        return f"abs({text})" if self.absolute else text


@dataclass(frozen=True)
class Claim:
    """Hold a quantity and what it may not exceed (``upper``) or fall below."""

    quantity: Quantity
    upper: bool
    threshold: float

    @property
    def name(self) -> str:
        """Return the constraint as text."""
        return f"{self.quantity!r} {'<=' if self.upper else '>='} {self.threshold:g}"

    @property
    def terms(self) -> tuple[Term, ...]:
        """Return the means that are to be bounded."""
        return tuple(term for _, term in self.quantity.parts)

    def __repr__(self) -> str:
        return self.name

    def __bool__(self) -> bool:
        raise OptionError(f"{self.name!r} is a constraint and has no truth value; write one inequality at a time.")


def _claim(left: Quantity, right: Quantity | float, upper: bool) -> Claim:
    """Return a constraint with everything but the constant on the left."""
    if isinstance(right, Quantity):
        if right.absolute:
            return _claim(right, left, not upper)
        left = left if not right.parts else left - replace(right, constant=0.0)
        right = right.constant
    threshold = _number(right)
    if not left.absolute:
        left, threshold = replace(left, constant=0.0), threshold - left.constant
    if not left.parts:
        raise OptionError("A constraint must speak of a measure; its measures cancel, or there is none.")
    if left.absolute and not upper:
        raise OptionError(f"{left!r} >= {threshold:g} holds at least one of two things; only abs(...) <= is available.")
    return Claim(left, upper, threshold)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise OptionError(f"{value!r} in a constraint must be a finite number or a measure.")
    return float(value)


@dataclass(frozen=True)
class Confidence:
    """Hold a constraint that must be true with probability ``1 - delta``; see :func:`confidence`."""

    claim: Claim
    delta: float | None = None
    bound: str = "t"

    @property
    def name(self) -> str:
        """Return the constraint as text."""
        return self.claim.name


def measure(
    fn: Callable[..., Values] | str,
    *,
    name: str | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    surrogate: Callable[..., Values] | None = None,
) -> Quantity:
    """Make a measure of your own, whose mean over records a constraint can bound.

    Parameters
    ----------
    fn : ``fn(prediction, part)`` -> (n,) values of the records, or values and an (n,) mask of those that it is about.
        ``prediction`` is the (n,) mean, for a categorical response the (n, J) probabilities; ``part`` is the model on
        these records, with ``endog``, ``exog`` and row data. Or the name of a ready-made measure.
    name : what it is called; by default the function's name.
    bounds : range of the values, which ``bound="hoeffding"`` needs and which is checked; None where there is none.
    surrogate : a smooth stand-in, for functions without a derivative.

    Raises
    ------
    OptionError
        For an unknown name, or bounds that are no range.

    Examples
    --------
    >>> import torchmle as tm
    >>> miss = tm.measure(lambda p, part: (part.endog - p).abs(), name="miss")
    >>> miss <= 0.4
    miss <= 0.4
    """
    if isinstance(fn, str):
        if name is not None or surrogate is not None or bounds != (0.0, 1.0):
            raise OptionError(f"measure({fn!r}) is ready-made and takes no further arguments.")
        return named_measure(fn)
    if not callable(fn) or (surrogate is not None and not callable(surrogate)):
        raise OptionError("fn and surrogate must be functions of (prediction, part).")
    if bounds is not None:
        ok = isinstance(bounds, (tuple, list)) and len(bounds) == 2
        if not ok or not _number(bounds[0]) < _number(bounds[1]):
            raise OptionError(f"bounds={bounds!r} must be (low, high) with low < high, or None.")
        bounds = (float(bounds[0]), float(bounds[1]))
    called = str(name or getattr(fn, "__name__", "measure"))
    if called in MEASURES:
        raise OptionError(f"The name {called!r} is that of a ready-made measure; choose another.")
    return Quantity(((1.0, Term(Measure(called, fn, bounds, surrogate))),))


def named_measure(name: str, others: tuple[str, ...] = ()) -> Quantity:
    """Return a ready-made measure; ``others`` are names that may have been meant as well."""
    if name not in MEASURES:
        what = "measure or parameter" if others else "measure"
        raise OptionError(unknown(what, name, [*MEASURES, *others]))
    return Quantity(((1.0, Term(MEASURES[name])),))


def confidence(claim: Claim | str, *, delta: float | None = None, bound: str = "t") -> Confidence:
    """State a constraint that must be true with probability ``1 - delta``, for ``fit(constraints=[...])``.

    Parameters
    ----------
    claim : text such as ``"ACC >= 0.95"``, ``"abs(TPR[female=1] - TPR[female=0]) <= 0.1"``, or an inequality of
        measures: ``tm.measure(fn) <= 0.3``. Ready-made are ACC, TPR, FPR, TNR, FNR, PR (positive rate) and NLL (mean
        loss, also called LOSS), within groups by ``[column=value]``; for a categorical response the rates speak of one
        level, ``TPR[level=3]``.
    delta : share of the ``delta`` of the fit that this constraint takes; by default those without one of their own
        share evenly what is left.
    bound : ``"t"`` (Student; large samples), ``"hoeffding"`` (any sample, values with a range) or ``"binomial"``
        (Clopper and Pearson; exact for values of 0 and 1).

    Raises
    ------
    OptionError
        For text that cannot be read, an unknown measure or bound, or delta outside (0, 1).

    Notes
    -----
    A sum or difference of k means is bounded by interval arithmetic: each mean gets ``delta / k``. An absolute value
    needs no more, since only one of its sides can be violated.

    Examples
    --------
    >>> import torchmle as tm
    >>> tm.confidence("ACC >= 0.95", bound="binomial").name
    'ACC >= 0.95'
    """
    if isinstance(claim, str):
        from .text import parse

        claim = parse(claim)
    if not isinstance(claim, Claim):
        raise OptionError(f"confidence() takes text such as 'ACC >= 0.95' or an inequality of measures, not {claim!r}.")
    if delta is not None:
        check_level(delta)
    if bound not in BOUNDS:
        raise OptionError(unknown("bound", bound, BOUNDS))
    check_bound(claim, bound)
    return Confidence(claim, delta, bound)


def check_bound(claim: Claim, bound: str) -> None:
    """Refuse a bound that a measure cannot have, as far as is known without data."""
    for term in claim.terms:
        if term.measure.bounds is None and bound != "t":
            why = "has no upper limit" if term.measure.name in LOSSES else "was given bounds=None"
            raise OptionError(f"bound={bound!r} needs values with a range, and {term.measure.name!r} {why}. Use 't'.")
        if bound == "binomial" and term.measure.bounds != (0.0, 1.0):
            raise OptionError(f"bound='binomial' is for values of 0 and 1; {term.measure.name!r} has others.")


def check_clustered(held: Confidence) -> None:
    """Refuse bounds for records that are alone where they come in clusters."""
    if held.bound != "t":
        raise OptionError(
            f"bound={held.bound!r} of {held.name!r} needs independent records, and these come in clusters (groups=). "
            "Use bound='t', which counts clusters."
        )


def split_level(term: Term, labels: Sequence[Any]) -> tuple[Any, tuple[tuple[str, Any], ...]]:
    """Return the level that a ready-made rate speaks of, and the groups; of two levels the second is meant.

    Parameters
    ----------
    labels : of the levels of a categorical response, or none.
    """
    if not labels or MEASURES.get(term.measure.name) is not term.measure or term.measure.name not in ONE_LEVEL:
        return None, term.groups
    levels = [value for name, value in term.groups if name == "level"]
    if len(labels) == 2 and not levels:
        return labels[1], term.groups
    if len(levels) != 1:
        raise OptionError(
            f"{term.name} of a categorical response must say which level counts as positive: "
            f"{term.measure.name}[level=...]."
        )
    return levels[0], tuple(pair for pair in term.groups if pair[0] != "level")
