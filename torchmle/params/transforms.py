"""Keep parameters in their range: smooth maps from free numbers, without clipping, with exact derivatives.

A transform maps f free numbers to the k entries of a block of parameters. Matrices are blocks of the entries on and
below their diagonal, row by row (below it only, for correlations).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import OptionError, unknown

Move = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Transform:
    """Hold a map from ``free`` numbers to a block of ``size`` parameters, and its inverse.

    Attributes
    ----------
    range : what the values are, in words.
    zero_is_inside : (size,) whether zero is an inner point of a parameter's range, so that testing it makes sense.
    start : the block at which a fit without starting values begins.
    """

    kind: str
    free: int
    size: int
    forward: Move
    inverse: Move
    range: str
    zero_is_inside: tuple[bool, ...]

    @property
    def elementwise(self) -> bool:
        """Return whether there is one parameter only, which can then be fixed or bounded."""
        return self.size == 1

    def to_free(self, values: Tensor, names: Sequence[str]) -> Tensor:
        """Return the free numbers of a block, refusing values outside the range."""
        free = self.inverse(values)
        back = self.forward(free)
        gap = (back - values).abs()
        if not bool(torch.isfinite(free).all()) or bool((gap > 1e-6 * (1 + values.abs())).any()):
            shown = ", ".join(f"{n}={v:.6g}" for n, v in zip(names, values.tolist(), strict=True))
            raise OptionError(f"{shown} is outside its range: {self.range}.")
        return free


def make_transform(given: Any, size: int, what: str) -> Transform:
    """Return the transform that a user names.

    Parameters
    ----------
    given : ``"positive"``, ``"unit_interval"``, ``"ordered"``, ``"simplex"``, ``"correlation"``, ``"covariance"``,
        ``("interval", a, b)``, ``("greater_than", a)``, ``("less_than", b)``, or a constraint of
        ``torch.distributions.constraints`` that says one of these.
    size : number of parameters in the block.
    what : the block, for messages.

    Raises
    ------
    OptionError
        For an unknown name, limits that are no interval, or a block that cannot be one.
    """
    name, limits = _read(given, what)
    if name in _INTERVALS:
        return _interval(name, size, *_limits(name, limits, what))
    if name not in _BLOCKS:
        raise OptionError(unknown(f"transform of {what}:", name, [*_INTERVALS, *_BLOCKS]))
    if limits:
        raise OptionError(f"The transform {name!r} of {what} takes no limits; {limits} were given.")
    return _BLOCKS[name](size, what)


_INTERVALS: Mapping[str, int] = {"positive": 0, "unit_interval": 0, "interval": 2, "greater_than": 1, "less_than": 1}
"""Names of the transforms that act on each parameter alone, and how many limits they take."""


def _read(given: Any, what: str) -> tuple[str, tuple[float, ...]]:
    if isinstance(given, str):
        return given, ()
    if isinstance(given, Sequence) and given and isinstance(given[0], str):
        return given[0], tuple(given[1:])
    if isinstance(given, torch.distributions.constraints.Constraint):
        return _from_torch(given, what)
    raise OptionError(
        f"The transform of {what} is {given!r}; it must be a name such as 'positive', or ('interval', 0, 2)."
    )


def _from_torch(given: Any, what: str) -> tuple[str, tuple[float, ...]]:
    """Return the name of a constraint of torch.distributions."""
    known = torch.distributions.constraints
    plain = {id(known.simplex): "simplex", id(known.positive): "positive", id(known.unit_interval): "unit_interval"}
    plain |= {id(known.positive_definite): "covariance"}
    if id(given) in plain:
        return plain[id(given)], ()
    kind = type(given).__name__.lstrip("_")
    if kind in ("Interval", "HalfOpenInterval"):
        return "interval", (float(given.lower_bound), float(given.upper_bound))
    if kind in ("GreaterThan", "GreaterThanEq"):
        return "greater_than", (float(given.lower_bound),)
    if kind == "LessThan":
        return "less_than", (float(given.upper_bound),)
    allowed = ["positive", "unit_interval", "interval", "greater_than", "less_than", "simplex", "positive_definite"]
    raise OptionError(unknown(f"constraint of torch for {what}:", kind, allowed))


def _limits(name: str, limits: Sequence[Any], what: str) -> tuple[float, float]:
    """Return the ends of an interval."""
    if len(limits) != _INTERVALS[name]:
        raise OptionError(f"The transform {name!r} of {what} takes {_INTERVALS[name]} limits; {limits} were given.")
    if any(isinstance(v, (bool, str)) or not isinstance(v, (int, float, np.integer, np.floating)) for v in limits):
        raise OptionError(f"The limits {tuple(limits)} of {what} must be numbers.")
    ends = [float(v) for v in limits]
    low, high = {
        "positive": (0.0, math.inf),
        "unit_interval": (0.0, 1.0),
        "interval": tuple(ends),
        "greater_than": (*ends, math.inf),
        "less_than": (-math.inf, *ends),
    }[name]
    if not low < high or any(math.isnan(v) for v in ends) or (name == "interval" and any(map(math.isinf, ends))):
        raise OptionError(f"The limits {tuple(limits)} of {what} are no interval: the first must be below the second.")
    return low, high


def _interval(name: str, size: int, low: float, high: float) -> Transform:
    """Return the map to an open interval: exp towards one end, the logistic function between two."""
    if math.isinf(high):
        forward, inverse = (lambda u: low + u.exp()), (lambda v: (v - low).log())
    elif math.isinf(low):
        forward, inverse = (lambda u: high - (-u).exp()), (lambda v: -(high - v).log())
    else:
        width = high - low
        forward, inverse = (lambda u: low + width * u.sigmoid()), (lambda v: (v - low).log() - (high - v).log())
    words = "positive" if name == "positive" else f"between {low:g} and {high:g}"
    return Transform(name, size, size, forward, inverse, words, (low < 0 < high,) * size)


def _ordered(size: int, what: str) -> Transform:
    """Return the map to rising numbers: the first, then positive steps."""

    def forward(u: Tensor) -> Tensor:
        return torch.cat([u[:1], u[1:].exp()]).cumsum(0)

    def inverse(v: Tensor) -> Tensor:
        return torch.cat([v[:1], v.diff().log()])

    return Transform("ordered", size, size, forward, inverse, "rising numbers", (True,) * size)


def _simplex(size: int, what: str) -> Transform:
    """Return the map to shares that add up to one: multinomial logits against the last."""
    if size < 2:
        raise OptionError(f"{what} cannot be a simplex: that takes two shares or more, and it has {size}.")

    def forward(u: Tensor) -> Tensor:
        return torch.softmax(torch.cat([u, u.new_zeros(1)]), 0)

    def inverse(v: Tensor) -> Tensor:
        return v[:-1].log() - v[-1].log()

    return Transform("simplex", size - 1, size, forward, inverse, "positive shares that add up to one", (False,) * size)


def triangle(d: int, diagonal: bool) -> tuple[Tensor, Tensor]:
    """Return row and column numbers of the entries below the diagonal of a (d, d) matrix, with or without it."""
    rows, columns = torch.tril_indices(d, d, 0 if diagonal else -1, device="cpu")
    return rows, columns


def below(matrix: Tensor, diagonal: bool) -> Tensor:
    """Return the entries of a matrix below its diagonal, with or without it, row by row."""
    rows, columns = triangle(len(matrix), diagonal)
    entries: Tensor = matrix[rows.to(matrix.device), columns.to(matrix.device)]
    return entries


def dimension(size: int, diagonal: bool) -> int | None:
    """Return d of the (d, d) symmetric matrix with ``size`` entries in its triangle, or None if there is none."""
    d = (math.isqrt(8 * size + 1) + (-1 if diagonal else 1)) // 2
    return d if d * (d + (1 if diagonal else -1)) // 2 == size and d > 0 else None


def symmetric_matrix(block: Tensor, diagonal: bool) -> Tensor:
    """Return the (d, d) matrix of a block of its lower triangle; ones on the diagonal where that is not in it."""
    d = dimension(len(block), diagonal)
    assert d is not None
    rows, columns = (i.to(block.device) for i in triangle(d, diagonal))
    position = torch.zeros(d, d, dtype=torch.int64, device=block.device)
    entries = torch.arange(len(block), device=block.device)
    position[rows, columns] = entries
    position[columns, rows] = entries
    full = block[position.flatten()].reshape(d, d)
    return (
        full if diagonal else full - torch.diag(full.diagonal()) + torch.eye(d, dtype=block.dtype, device=block.device)
    )


def _lower(u: Tensor, d: int, diagonal: bool) -> Tensor:
    rows, columns = triangle(d, diagonal)
    empty = torch.zeros(d, d, dtype=u.dtype, device=u.device)
    return empty.index_put((rows.to(u.device), columns.to(u.device)), u)


def _correlation(size: int, what: str) -> Transform:
    """Return the map to a correlation matrix: rows of a unit lower triangle, brought to length one.

    Pinheiro and Bates (1996) survey such maps; this one has no angles and no limits.
    """
    d = dimension(size, diagonal=False)
    if d is None:
        raise OptionError(f"{what} has {size} entries; a correlation matrix has d(d-1)/2 below its diagonal: 1, 3, 6.")

    def forward(u: Tensor) -> Tensor:
        lower = _lower(u, d, False) + torch.eye(d, dtype=u.dtype, device=u.device)
        unit = lower / lower.norm(dim=1, keepdim=True)
        return below(unit @ unit.mT, False)

    def inverse(v: Tensor) -> Tensor:
        factor = _factor(symmetric_matrix(v, False))
        return below(factor / factor.diagonal()[:, None], False)

    return Transform(
        "correlation", size, size, forward, inverse, "a positive definite correlation matrix", (True,) * size
    )


def _covariance(size: int, what: str) -> Transform:
    """Return the map to a covariance matrix: its Cholesky factor with the logarithm of the diagonal."""
    d = dimension(size, diagonal=True)
    if d is None:
        raise OptionError(f"{what} has {size} entries; a covariance matrix has d(d+1)/2 in its triangle: 1, 3, 6.")
    rows, columns = triangle(d, True)
    on = rows == columns

    def forward(u: Tensor) -> Tensor:
        lower = _lower(torch.where(on.to(u.device), torch.where(on.to(u.device), u, 0.0).exp(), u), d, True)
        return below(lower @ lower.mT, True)

    def inverse(v: Tensor) -> Tensor:
        entries = below(_factor(symmetric_matrix(v, True)), True)
        return torch.where(on, torch.where(on, entries, 1.0).log(), entries)

    inside = tuple((~on).tolist())
    return Transform("covariance", size, size, forward, inverse, "a positive definite matrix", inside)


def _factor(matrix: Tensor) -> Tensor:
    """Return the Cholesky factor, or NaN where there is none."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    found: Tensor = factor if int(info) == 0 else torch.full_like(factor, math.nan)
    return found


_BLOCKS: Mapping[str, Callable[[int, str], Transform]] = {
    "ordered": _ordered,
    "simplex": _simplex,
    "correlation": _correlation,
    "covariance": _covariance,
}
