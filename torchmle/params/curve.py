"""Join the transforms of a model's parameters to one smooth map from free numbers, with exact derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import OptionError, listing, unknown
from .transforms import Transform, make_transform


@dataclass(frozen=True)
class Piece:
    """Hold one transform, where its free numbers begin, and at which positions its parameters stand."""

    transform: Transform
    first: int
    at: tuple[int, ...]

    @property
    def free(self) -> slice:
        """Return the place of the free numbers."""
        return slice(self.first, self.first + self.transform.free)


@dataclass(frozen=True)
class Curve:
    """Map free numbers to K parameters: some through transforms, the others as they are.

    Attributes
    ----------
    names : the K parameters.
    plain : position of each untransformed parameter to that of its free number.
    free : how many free numbers there are.
    """

    names: tuple[str, ...]
    pieces: tuple[Piece, ...]
    plain: Mapping[int, int]
    free: int

    def position(self, index: int) -> int | None:
        """Return the free number that moves one parameter and nothing else, or None if there is none."""
        if index in self.plain:
            return self.plain[index]
        piece = self.piece(index)
        return piece.first if piece.transform.elementwise else None

    def inner_of(self, index: int) -> list[int]:
        """Return the free numbers that move one parameter."""
        if index in self.plain:
            return [self.plain[index]]
        return list(range(self.free))[self.piece(index).free]

    @property
    def free_names(self) -> list[str]:
        """Return what to call the free numbers: the parameter that each moves, or the block that it belongs to."""
        names = {j: self.names[i] for i, j in self.plain.items()}
        for piece in self.pieces:
            block = listing((self.names[i] for i in piece.at), 3)
            for j in range(piece.first, piece.first + piece.transform.free):
                names[j] = block if piece.transform.elementwise else f"the block of {block}"
        return [names[j] for j in range(self.free)]

    @property
    def zero_is_no_hypothesis(self) -> list[int]:
        """Return the positions of parameters of which zero is no inner value."""
        pairs = [zip(p.at, p.transform.zero_is_inside, strict=True) for p in self.pieces]
        return [i for pair in pairs for i, inside in pair if not inside]

    def piece(self, index: int) -> Piece:
        """Return the transform that a parameter belongs to."""
        return next(p for p in self.pieces if index in p.at)

    def forward(self, free: Tensor) -> Tensor:
        """Return the parameters."""
        parts = {i: free[j] for i, j in self.plain.items()}
        for piece in self.pieces:
            parts |= dict(zip(piece.at, piece.transform.forward(free[piece.free]), strict=True))
        return torch.stack([parts[i] for i in range(len(self.names))])

    def inverse(self, params: Tensor) -> Tensor:
        """Return the free numbers of parameters, refusing values outside their range."""
        free = torch.zeros(self.free, dtype=params.dtype, device=params.device)
        for i, j in self.plain.items():
            free[j] = params[i]
        for piece in self.pieces:
            values = params[list(piece.at)]
            free[piece.free] = piece.transform.to_free(values, [self.names[i] for i in piece.at])
        return free

    def jacobian(self, free: Tensor) -> Tensor:
        """Return d params / d free, (K, F)."""
        out = torch.zeros(len(self.names), self.free, dtype=free.dtype, device=free.device)
        for i, j in self.plain.items():
            out[i, j] = 1.0
        for piece in self.pieces:
            out[list(piece.at), piece.free] = _jacobian(piece.transform.forward, free[piece.free])
        return out

    def curvature(self, free: Tensor, weights: Tensor) -> Tensor:
        """Return ``sum_a w_a d2 params_a / d free d free'``, (F, F): the second-order term of the chain rule."""
        out = torch.zeros(self.free, self.free, dtype=free.dtype, device=free.device)
        for piece in self.pieces:
            own = weights[list(piece.at)]
            out[piece.free, piece.free] = _curvature(piece.transform.forward, free[piece.free], own)
        return out


def _jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.enable_grad():
        found: Tensor = torch.autograd.functional.jacobian(function, x)  # type: ignore[no-untyped-call]
    return found


def _curvature(function: Callable[[Tensor], Tensor], x: Tensor, weights: Tensor) -> Tensor:
    with torch.enable_grad():
        found: Tensor = torch.autograd.functional.hessian(  # type: ignore[no-untyped-call]
            lambda u: function(u) @ weights, x
        )
    return found


def make_curve(names: Sequence[str], transforms: Mapping[str | tuple[str, ...], object]) -> Curve | None:
    """Return the map for the transforms that a model names, or None if it names none.

    Parameters
    ----------
    names : the K parameters.
    transforms : name, or tuple of names for a block, to what :func:`make_transform` takes.

    Raises
    ------
    OptionError
        For what is no dict, names that do not exist or stand in two blocks, and transforms that do not fit.
    """
    if not transforms:
        return None
    if not isinstance(transforms, Mapping):
        raise OptionError(f"transforms is {transforms!r}; it must be a dict such as {{'sigma': 'positive'}}.")
    blocks = {_members(key): value for key, value in transforms.items()}
    members = [name for block in blocks for name in block]
    for name in members:
        if name not in names:
            raise OptionError(unknown("parameter in transforms:", name, names))
    twice = sorted({n for n in members if members.count(n) > 1})
    if twice:
        raise OptionError(f"transforms names {listing(twice)} more than once; a parameter has one transform.")
    loose = [i for i, name in enumerate(names) if name not in members]
    plain = {i: j for j, i in enumerate(loose)}
    pieces: list[Piece] = []
    first = len(loose)
    for block, given in blocks.items():
        transform = make_transform(given, len(block), listing(block))
        for one, at in _split(transform, given, block, [names.index(n) for n in block]):
            pieces.append(Piece(one, first, at))
            first += one.free
    return Curve(tuple(names), tuple(pieces), plain, first)


def _members(key: object) -> tuple[str, ...]:
    """Return the names that one entry of a model's transforms speaks of."""
    names = (key,) if isinstance(key, str) else key
    if not isinstance(names, tuple) or not names or not all(isinstance(name, str) for name in names):
        raise OptionError(f"transforms has the key {key!r}; it must be the name of a parameter or a tuple of names.")
    return names


def _split(
    transform: Transform, given: object, block: tuple[str, ...], at: Sequence[int]
) -> list[tuple[Transform, tuple[int, ...]]]:
    """Return the parts of a block: one for each parameter where the transform acts on each alone."""
    if transform.kind in ("ordered", "simplex", "correlation", "covariance"):
        return [(transform, tuple(at))]
    return [(make_transform(given, 1, name), (i,)) for name, i in zip(block, at, strict=True)]
