"""Hold one predictor's columns with their names, and drop what is exactly collinear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import CollinearityWarning, DataError, DataWarning, listing, warn
from .crossproducts import CrossProducts, Dependence, cross_products, find_collinear

FAR = 100.0
"""A column whose mean is more than this many standard deviations from zero is centred in every chunk."""

FAR_SINGLE = 3.0
"""The same in float32, which has few digits to lose."""


@dataclass(frozen=True)
class Design:
    """Hold the columns of one predictor in the user's units.

    Attributes
    ----------
    name : the predictor's name (``mu``), or ``exog`` for an opaque model.
    terms : the column names that were kept, in order.
    X : (n, k) tensor on the model's device.
    cross : means and cross-products of the columns.
    dropped : names of the columns dropped as collinear.
    spec : formulaic's ``ModelSpec``, or None for arrays. It holds levels and transform state.
    net : whether the columns are what a module of a predictor takes: they have no coefficients.
    """

    name: str
    terms: tuple[str, ...]
    X: Tensor
    cross: CrossProducts
    dropped: tuple[str, ...] = ()
    spec: Any = None

    @property
    def constant(self) -> int | None:
        """Return the position of the constant column, if there is one."""
        return self.cross.constant

    @property
    def scale(self) -> Tensor:
        """Return the (k,) scales that make the columns comparable, in float64 on the CPU."""
        return self.cross.scale

    @property
    def means(self) -> Tensor:
        """Return the (k,) column means, zero for the constant, and all zero where there is none to take them up."""
        if self.constant is None:
            return torch.zeros_like(self.cross.mean)
        means = self.cross.mean.clone()
        means[self.constant] = 0.0
        return means

    @property
    def shift(self) -> Tensor | None:
        """Return the (k,) means to take off in every chunk, or None where that changes nothing.

        Only a design with a constant can be centred, and only columns far from zero need it: then
        ``X b`` in raw units would lose digits to cancellation.
        """
        if self.constant is None:
            return None
        means = self.means
        far = FAR if self.X.dtype == torch.float64 else FAR_SINGLE
        return means if bool((means.abs() > far * self.scale).any()) else None

    def select(self, full: Tensor) -> Tensor:
        """Return the kept columns of a matrix that has all of the original ones."""
        if not self.dropped:
            return full
        return full[:, [i for i, name in enumerate(self.all_terms) if name not in self.dropped]]

    @property
    def all_terms(self) -> tuple[str, ...]:
        """Return all original column names: those kept and those dropped."""
        return self._all or self.terms

    _all: tuple[str, ...] = ()
    net: bool = False


def build_design(name: str, terms: Sequence[str], X: Tensor, spec: Any, collinear: str) -> Design:
    """Return the design of one predictor, without the columns that the others determine exactly.

    Raises
    ------
    DataError
        With ``collinear="raise"``, naming the columns; or if no column is left.
    """
    terms = tuple(terms)
    twice = sorted({t for t in terms if terms.count(t) > 1})
    if twice:
        raise DataError(f"{name!r} has several columns called {listing(twice)}. Rename the columns of the data.")
    if len(X) < len(terms):
        raise DataError(f"{len(terms)} coefficients cannot be estimated from {len(X)} rows in use: {listing(terms)}.")
    cross = cross_products(X)
    _warn_of_single_precision(X, terms, cross)
    found = find_collinear(X, cross)
    if not found:
        return Design(name, terms, X, cross, spec=spec)
    _announce(found, terms, collinear)
    gone = {d.column for d in found}
    keep = [j for j in range(len(terms)) if j not in gone]
    if not keep:
        raise DataError(f"No usable column is left for {name!r}: {listing(terms)} are zero in every row.")
    kept = X[:, keep].contiguous()
    names = tuple(terms[j] for j in keep)
    cross = cross.keep(keep) if cross.constant in keep or cross.constant is None else cross_products(kept)
    return Design(name, names, kept, cross, tuple(terms[j] for j in sorted(gone)), spec, terms)


class InputFormula(str):
    """Be the formula of what a module takes."""

    __slots__ = ()


@dataclass(frozen=True)
class InputMatrix:
    """Hold an array or frame of what a module takes."""

    values: Any


def input_design(name: str, terms: Sequence[str], X: Tensor, spec: Any) -> Design:
    """Return the columns that a module takes, as they are: it may take collinear ones, and more than there are rows.

    Raises
    ------
    DataError
        If two have the same name.
    """
    terms = tuple(terms)
    twice = sorted({t for t in terms if terms.count(t) > 1})
    if twice:
        raise DataError(f"{name!r} has several columns called {listing(twice)}. Rename the columns of the data.")
    return Design(name, terms, X, cross_products(X), spec=spec, net=True)


def rebuilt(design: Design, X: Tensor, collinear: str) -> Design:
    """Return a design of other rows, without the columns that are collinear there."""
    if design.net:
        return input_design(design.name, design.terms, X, design.spec)
    return build_design(design.name, design.terms, X, design.spec, collinear)


def _warn_of_single_precision(X: Tensor, terms: tuple[str, ...], cross: CrossProducts) -> None:
    """Warn of float32 columns whose spread is lost in the rounding of their level."""
    if X.dtype != torch.float32 or cross.constant is None:
        return
    lost = torch.finfo(torch.float32).eps * cross.mean.abs() > 1e-3 * cross.scale
    lost[cross.constant] = False
    if bool(lost.any()):
        names = listing(t for t, bad in zip(terms, lost.tolist(), strict=True) if bad)
        warn(
            f"float32 keeps too few digits of {names}, whose mean is far larger than its spread. Use dtype=float64, or "
            "take the mean off first.",
            DataWarning,
        )


def _announce(found: list[Dependence], terms: tuple[str, ...], collinear: str) -> None:
    lines = []
    for d in found:
        if d.others:
            lines.append(f"{terms[d.column]!r} is an exact linear combination of {listing(terms[i] for i in d.others)}")
        else:
            lines.append(f"{terms[d.column]!r} is zero in every row")
    text = "; ".join(lines)
    if collinear == "raise":
        raise DataError(f"Collinear columns: {text}. Take them out, or use collinear='drop' to drop the last of each.")
    names = listing(repr(terms[d.column]) for d in found)
    warn(f"Dropped {names}: {text}.", CollinearityWarning)


def ones(n: int, like: Tensor) -> Tensor:
    """Return an (n, 1) column of ones with the dtype and device of ``like``."""
    return torch.ones(n, 1, dtype=like.dtype, device=like.device)
