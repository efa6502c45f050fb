"""Maximise many replicates of a log-likelihood at once, by Newton's method with a step length for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..linalg import symmetric

SWEEPS = 60
"""Evaluations after which the replicates that are left are given up."""

SHORTEST = 1e-7
"""Share of a Newton step below which a replicate is given up."""

FALL = 1e-4
"""Share of the promised fall that a step must bring."""

CLOSE = 1e-4
"""Scaled gradient below which the last Hessian serves for the next point: only its gradient is evaluated."""

FLOOR = 1e-8
"""Curvature, relative to the largest, below which a direction counts as having this much."""


@dataclass(frozen=True)
class Derived:
    """Hold the functions to minimise at one point each: (A,), (A, F) and (A, F, F), float64 on the CPU."""

    values: Tensor
    gradients: Tensor
    hessians: Tensor | None = None


class ManyProblems(Protocol):
    """Be R functions to be minimised in comparable units."""

    count: int

    def evaluate(self, which: Tensor, x: Tensor, order: int) -> Derived:
        """Return values and derivatives of the functions ``which`` at the points x, (A, F)."""
        ...


@dataclass(frozen=True)
class Rules:
    """Hold when a point is a minimum.

    Attributes
    ----------
    tol : scaled gradient ``g' H^-1 g`` of the verdict.
    rounding : relative error of a value.
    accuracy : how far from the minimum a point may be, in lengths of which the scaled gradient is the square.
    unit : the value in whose units scaled gradients are judged.
    quadratic : whether one Hessian holds everywhere.
    """

    tol: float = 1e-10
    rounding: float = 1e-13
    accuracy: float = 1e-9
    unit: float = 1.0
    quadratic: bool = False


@dataclass(frozen=True)
class Minima:
    """Hold the points (R, F), the values there, and which are minima; the others are where the search was given up."""

    x: Tensor
    values: Tensor
    found: Tensor
    sweeps: int


@dataclass
class _Standing:
    """Hold where each replicate stands; a row each."""

    x: Tensor
    value: Tensor
    gradient: Tensor
    factor: Tensor  # of the last Hessian, or of one made positive
    sound: Tensor  # whether that Hessian was positive definite
    move: Tensor
    decrement: Tensor
    rate: Tensor  # how much nearer the next step comes, at least
    length: Tensor  # share of the move that is tried next


def minimise_many(problems: ManyProblems, start: Tensor, first: Derived | None, rules: Rules) -> Minima:
    """Take each function from its start (R, F) to its minimum; ``first`` has the derivatives there, if known.

    A replicate that is done takes no part in further evaluations. The last step, from where the scaled gradient is
    below ``tol``, is not evaluated again.
    """
    every = torch.arange(problems.count, device="cpu")
    if first is None:
        first = problems.evaluate(every, start, 2)
    known = _begin(start, first, rules)
    x, values = start.clone(), first.values.clone()
    found = torch.zeros(problems.count, dtype=torch.bool, device="cpu")
    active, sweeps = every, 0
    while True:
        done = _is_minimum(known, rules)
        last = active[done]
        x[last] = known.x[done] + known.move[done]
        values[last] = known.value[done] - known.decrement[done] / 2
        found[last] = True
        lost = ~torch.isfinite(known.value) | (known.length < SHORTEST)
        keep = ~done & ~lost
        if not bool(keep.all()):
            active, known = active[keep], _some(known, keep)
        if not len(active) or sweeps >= SWEEPS:
            return Minima(x, values, found, sweeps)
        _sweep(problems, active, known, rules)
        sweeps += 1


def _begin(start: Tensor, at: Derived, rules: Rules) -> _Standing:
    assert at.hessians is not None
    count = len(start)
    one = torch.ones(count, dtype=torch.float64, device="cpu")
    known = _Standing(
        start.clone(),
        at.values.clone(),
        at.gradients.clone(),
        torch.zeros_like(at.hessians),
        one < 0,
        torch.zeros_like(start),
        one * torch.inf,
        one.clone(),
        one.clone(),
    )
    finite = torch.isfinite(at.values) & torch.isfinite(at.gradients).all(1) & torch.isfinite(at.hessians).all(2).all(1)
    known.value[~finite] = torch.nan
    _factorise(known, finite.nonzero()[:, 0], at.hessians[finite], rules)
    return known


def _is_minimum(known: _Standing, rules: Rules) -> Tensor:
    """Return which points are minima up to the step that is left: small scaled gradient and small step."""
    small = 1e-6 if rules.tol < 1e-6 else 1e-3
    still = (known.move.abs() <= small * (1 + known.x.abs())).all(1)
    scaled = known.decrement / rules.unit
    return known.sound & still & (scaled <= rules.tol) & (known.rate * scaled.sqrt() <= rules.accuracy)


def _some(known: _Standing, keep: Tensor) -> _Standing:
    return _Standing(**{name: value[keep] for name, value in vars(known).items()})


def _sweep(problems: ManyProblems, active: Tensor, known: _Standing, rules: Rules) -> None:
    """Evaluate the next point of each replicate that is left, and move where it is better."""
    trial = known.x + known.length[:, None] * known.move
    near = known.sound & ((known.decrement <= CLOSE * rules.unit) & (known.rate <= 0.1) | rules.quadratic)
    for order, members in ((1, near.nonzero()[:, 0]), (2, (~near).nonzero()[:, 0])):
        if len(members):
            at = problems.evaluate(active[members], trial[members], order)
            _settle(known, members, trial, at, rules)


def _settle(known: _Standing, members: Tensor, trial: Tensor, at: Derived, rules: Rules) -> None:
    """Accept the points at which the function has fallen enough; shorten the step of the others."""
    finite = torch.isfinite(at.values) & torch.isfinite(at.gradients).all(1)
    if at.hessians is not None:
        finite &= torch.isfinite(at.hessians).flatten(1).all(1)
    fall = known.value[members] - at.values
    length, decrement = known.length[members], known.decrement[members]
    noise = 100 * rules.rounding * (known.value[members].abs() + rules.unit)
    slope = (at.gradients * known.move[members]).sum(1).abs()
    level = (fall.abs() <= noise) & known.sound[members] & (slope <= 0.9 * decrement)
    good = finite & ((fall >= FALL * length * decrement) | level)
    known.length[members[~good]] *= 0.25
    rows = members[good]
    known.x[rows], known.value[rows], known.gradient[rows] = trial[rows], at.values[good], at.gradients[good]
    known.length[rows] = 1.0
    if at.hessians is not None:
        _factorise(known, rows, at.hessians[good], rules)
        return
    before = known.decrement[rows]
    _direct(known, rows)
    known.rate[rows] = (known.decrement[rows] / before.clamp(min=1e-300)).sqrt().clamp(max=1.0)
    if rules.quadratic:
        known.rate[rows] = 0.0


def _factorise(known: _Standing, rows: Tensor, hessians: Tensor, rules: Rules) -> None:
    """Take new Hessians: factor them, made positive definite by the sizes of their eigenvalues where they are not."""
    if not len(rows):
        return
    hessians = symmetric(hessians)
    diagonal = hessians.diagonal(dim1=1, dim2=2)
    scale = torch.where(diagonal > 0, diagonal, torch.ones_like(diagonal)).sqrt()
    scaled = hessians / (scale[:, :, None] * scale[:, None, :])
    factor, info = torch.linalg.cholesky_ex(scaled)
    floor = 450 * torch.finfo(torch.float64).eps * hessians.shape[1]
    sound = (info == 0) & (diagonal > 0).all(1) & (factor.diagonal(dim1=1, dim2=2).amin(1) ** 2 >= floor)
    if not bool(sound.all()):
        values, vectors = torch.linalg.eigh(scaled[~sound])
        size = values.abs()
        size = torch.maximum(size, (FLOOR * size.amax(1, keepdim=True)).clamp(min=1e-300))
        factor[~sound] = torch.linalg.cholesky((vectors * size[:, None, :]) @ vectors.mT)
    known.factor[rows] = factor * scale[:, :, None]
    known.sound[rows] = sound
    _direct(known, rows)
    known.rate[rows] = (known.decrement[rows] / rules.unit).sqrt().clamp(max=1.0)


def _direct(known: _Standing, rows: Tensor) -> None:
    """Set the Newton move and the scaled gradient."""
    gradient = known.gradient[rows]
    known.move[rows] = -torch.cholesky_solve(gradient[:, :, None], known.factor[rows])[:, :, 0]
    known.decrement[rows] = -(gradient * known.move[rows]).sum(1)
