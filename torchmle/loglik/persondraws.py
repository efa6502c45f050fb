"""Hold the standard draws of persons: kept where there is room, drawn again where there is not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Lock

import torch
from torch import Tensor

from .draws import Draws

LAWS = ("normal", "uniform", "triangular")
"""Standard laws of a dimension: N(0, 1); uniform on (-1, 1); triangular on (-1, 1)."""

PIECE = 500
"""Persons whose draws are made at once."""


@dataclass(eq=False)
class PersonDraws:
    """Give the (D, n, R) draws of persons, transformed to the law of each dimension.

    Attributes
    ----------
    persons : (N,) numbers of the persons, which their draws go by.
    laws : one a dimension.
    room : bytes that may be kept.
    """

    draws: Draws
    persons: Tensor
    laws: tuple[str, ...]
    device: torch.device
    dtype: torch.dtype
    room: int = 500_000_000
    kept: Tensor | None = field(default=None, repr=False)
    lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def number(self) -> int:
        """Return how many points each person has: draws, or nodes of a quadrature rule."""
        return len(self.log_weights)

    @cached_property
    def log_weights(self) -> Tensor:
        """Return the (R,) logarithms of the weights of the draws."""
        return self.draws.log_weights(len(self.laws)).to(self.device, self.dtype)

    def take(self, index: Tensor) -> PersonDraws:
        """Return the draws of some of the persons: the ones that they have here."""
        at = index.to(self.persons.device)
        kept = None if self.kept is None else self.kept[:, index.to(self.kept.device)]
        return replace(self, persons=self.persons[at], kept=kept, lock=Lock())

    def block(self, start: int, stop: int) -> Tensor:
        """Return the (D, n, R) draws of the persons ``start:stop``."""
        size = len(self.laws) * len(self.persons) * self.number * torch.finfo(self.dtype).bits // 8
        with self.lock:
            if self.kept is None and size <= self.room:
                self.kept = self._all()
        return self._drawn(slice(start, stop)) if self.kept is None else self.kept[:, start:stop]

    def _all(self) -> Tensor:
        """Return the draws of all persons, made piece by piece."""
        count = len(self.persons)
        out = torch.empty(len(self.laws), count, self.number, dtype=self.dtype, device=self.device)
        for start in range(0, count, PIECE):
            rows = slice(start, min(start + PIECE, count))
            out[:, rows] = self._drawn(rows)
        return out

    def _drawn(self, rows: slice) -> Tensor:
        persons, dims = self.persons[rows], len(self.laws)
        if set(self.laws) == {"normal"}:
            found = self.draws.normals(persons, dims).permute(2, 0, 1)
        else:
            u = self.draws.uniforms(persons, dims).permute(2, 0, 1)
            found = torch.stack([_standard(law, part) for law, part in zip(self.laws, u, strict=True)])
        return found.to(self.device, self.dtype).contiguous()


def _standard(law: str, u: Tensor) -> Tensor:
    """Return draws of a standard law for uniform ones on (0, 1)."""
    if law == "normal":
        normal: Tensor = torch.special.ndtri(u)
        return normal
    if law == "uniform":
        return 2 * u - 1
    return torch.where(u < 0.5, (2 * u).sqrt() - 1, 1 - (2 * (1 - u)).sqrt())
