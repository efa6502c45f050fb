"""Report which combinations of the parameters of a fit are identified, and why others are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data.design import Design
from ..errors import UndefinedStatisticError, listing
from ..loglik.identification import (
    MEMBER,
    WEAK,
    Block,
    Direction,
    Identification,
    distance,
    proportion,
    rounding,
    spectrum,
)

if TYPE_CHECKING:
    from .estimates import Estimates

INFORMED = 1e-4
"""Information a row of a parameter without units (a log, ...) below which it is badly informed."""

NEAR = 1e-2
"""Distance of columns, relative to their spread, below which they are called collinear."""

RISING = 1e-6
"""Gradient a row above which the log-likelihood still rises."""


def identify(results: Estimates) -> Identification:
    """Return the directions of a fit; see :meth:`Results.identification`."""
    fit, pmap = results.fit, results.fit.map
    gradient, hessian = fit.derivatives
    information = -pmap.pull_hessian(hessian, gradient, fit.gamma)
    if not bool(torch.isfinite(information).all()):
        raise UndefinedStatisticError("identification() needs a finite Hessian, and that of this fit is not finite.")
    view = _View.of(results, pmap.pull_gradient(gradient, fit.gamma), information)
    values, moves, shares = spectrum(information, view.blocks, view.sizes, view.least)
    link = pmap.link_jacobian(fit.gamma) @ moves
    found = []
    for value, move, share in zip(values.tolist(), link.mT, view.by_name(shares).mT, strict=True):
        found.append(_direction(view, value, move, share))
    return Identification(tuple(sorted(found, key=lambda d: d.strength)))


@dataclass(frozen=True)
class _View:
    """Hold what the causes are read from.

    ``blocks``, ``sizes``, ``least`` are over the free parameters; ``columns`` says to which design and column a
    reported parameter belongs, by its position.
    """

    results: Estimates
    gradient: Tensor
    information: Tensor
    blocks: list[Block]
    sizes: Tensor
    least: Mapping[int, float]
    columns: Mapping[int, tuple[Design, int]]

    @classmethod
    def of(cls, results: Estimates, gradient: Tensor, information: Tensor) -> _View:
        pmap, designs = results.fit.map, list(results.model.data.linear.values())
        columns: dict[int, tuple[Design, int]] = {}
        position = 0
        for design in designs:
            for j in range(len(design.terms)):
                if position + j < len(pmap.names) and position + j not in pmap.naturals:
                    columns[position + j] = (design, j)
            position += len(design.terms)
        blocks: list[Block] = []
        sizes = torch.ones(len(information), dtype=torch.float64)
        least: dict[int, float] = {}
        if pmap.is_scaling:
            for design in designs:
                own = [i for i, (d, _) in columns.items() if d is design]
                if own:
                    sizes[own] = design.scale[[columns[i][1] for i in own]] / pmap.scale[own]
                    constant = next((i for i in own if columns[i][1] == design.constant), None)
                    blocks.append(Block(tuple(own), constant))
            least = dict.fromkeys(pmap.naturals, INFORMED * results.fit.nobs)
        return cls(results, gradient, information, blocks, sizes, least, columns)

    def by_name(self, shares: Tensor) -> Tensor:
        """Return the shares of the reported parameters; under restrictions, by how far each moves in its own units."""
        pmap = self.results.fit.map
        if pmap.is_scaling:
            return shares
        jacobian = pmap.link_jacobian(self.results.fit.gamma)
        moved = (jacobian / jacobian.abs().amax(1, keepdim=True).clamp(min=1e-300)) @ shares
        return moved.abs() / moved.abs().amax(0)


def _direction(view: _View, value: float, move: Tensor, share: Tensor) -> Direction:
    """Return one direction with its verdict and cause."""
    names = view.results.names
    members = [i for i in range(len(names)) if float(share[i]) >= MEMBER]
    lead = max(members, key=lambda i: float(share[i]))
    weights = {names[i]: float(move[i] / move[lead]) for i in sorted(members, key=lambda i: -float(share[i]))}
    floor = rounding(len(view.information), view.results.model.data.endog.dtype)
    apart = _apart(view, members, move) if value <= WEAK else None
    if value <= floor and apart is not None and apart[1] > 1e-12:
        value = max(value, apart[1] ** 2)  # the information is too coarse to tell; the rows are not
        verdict = "weak"
    else:
        verdict = "flat" if value <= floor else "weak" if value <= WEAK else "fine"
    cause = "" if verdict == "fine" else _cause(view, members, move, apart)
    return Direction(value, verdict, weights, cause)


def _apart(view: _View, members: list[int], move: Tensor) -> tuple[Design, float] | None:
    """Return the design to which all members belong and how far they move its rows, or None."""
    designs = {id(view.columns[i][0]) if i in view.columns else None for i in members}
    if len(members) < 2 or len(designs) != 1 or None in designs:
        return None
    design = view.columns[members[0]][0]
    at = [i for i, (d, _) in view.columns.items() if d is design]
    weights = torch.zeros(len(design.terms), dtype=torch.float64)
    for i in at:
        weights[view.columns[i][1]] = move[i]
    return design, distance(design.X, weights, design.constant is not None)


def _cause(view: _View, members: list[int], move: Tensor, apart: tuple[Design, float] | None) -> str:
    """Return why a direction is not identified, in words."""
    results = view.results
    names = [results.names[i] for i in members]
    separation = results.fit.separation
    if separation is not None and any(i in separation.columns for i in members):
        return f"separated: {len(separation.rows)} rows are predicted perfectly along it"
    if apart is not None and apart[1] <= NEAR:
        return f"collinear: a combination of {listing(names)} is zero to within {apart[1]:.0e} of their spread"
    if len(members) == 1:
        return _alone(view, members[0])
    if apart is None:
        values = [float(results.link_params.iloc[i]) for i in members]
        words = proportion(names, [float(move[i]) for i in members], values)
        return f"redundant: {listing(names)} enter the log-likelihood only through {words}"
    return "unknown: the rows that tell them apart have little weight in the log-likelihood"


def _alone(view: _View, i: int) -> str:
    """Return why a parameter is not identified on its own."""
    name, fit = view.results.names[i], view.results.fit
    if i in fit.map.naturals:
        value = float(view.results.params.iloc[i])
        return (
            f"boundary: {name} = {value:.1e} is at the edge of its range, and the log-likelihood hardly depends on it"
        )
    if fit.map.is_scaling and abs(float(view.gradient[i])) > RISING * fit.nobs:
        return f"boundary: the log-likelihood still rises with {name}"
    if i in view.columns:
        design, j = view.columns[i]
        column = design.X[:, j]
        rows = int((column != column.median()).sum())
        return f"empty: {name} differs from its usual value in {rows} rows, which say next to nothing about it"
    if fit.map.is_scaling and float(view.information[i, i]) == 0:
        return f"idle: {name} does not enter the log-likelihood"
    return f"unknown: the log-likelihood hardly depends on {name} here"
