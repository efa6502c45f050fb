"""Fit one model on many sets of rows at once: batched Newton, then standard errors at the points that it finds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..loglik.leastsquares import LeastSquares
from ..loglik.padded import SetDensity, Sets, standardised
from ..optim.batched import Derived, Rules, minimise_many
from ..params.stacked import StackedMap
from ..results.estimates import Estimates
from .predictors import LinearPredictorModel
from .problem import VERDICT
from .separated import EXTREME

PIVOT = 1e-9
"""Share of a column that the others leave, squared, below which a set is fitted by itself, with more care."""

PERFECT = 1e-14
"""Sum of squared residuals, relative to that of the response, below which least squares is solved by itself."""

BATCHED = ("nonrobust", "opg", "HC0", "HC1")
"""Covariances that are computed for many sets at once."""


@dataclass(frozen=True, eq=False)
class Task:
    """Hold G sets of rows of one model, padded to m.

    Attributes
    ----------
    source : the fit of the model on all its rows: gives the likelihood, and where to begin.
    rows, own : (G, m) positions, and the mask of those that are not padding.
    endog, weights : (G, m) of each set, or None for those of the model.
    kind : the kind of the weights, or None.
    """

    source: Estimates
    rows: Tensor
    own: Tensor
    endog: Tensor | None
    weights: Tensor | None
    kind: str | None

    @property
    def closed(self) -> bool:
        """Return whether it is least squares in closed form."""
        return isinstance(self.source.fit.objective, LeastSquares)

    @property
    def model(self) -> LinearPredictorModel:
        """Return the model."""
        return self.source.model  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Batch:
    """Hold what sets gave: parameters (G, K), covariances (G, K, K), log-likelihoods, counts, degrees of freedom.

    ``sound`` says which sets can be taken as they are; the others have to be fitted by themselves.
    """

    theta: Tensor
    covariance: Tensor
    llf: Tensor
    nobs: Tensor
    df: Tensor
    sound: Tensor

    @cached_property
    def bse(self) -> Tensor:
        """Return the (G, K) standard errors."""
        return self.covariance.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt()


@dataclass(frozen=True, eq=False)
class _Units:
    """Hold sets in comparable units, the maps back to the user's coefficients, and the size of the weights by set."""

    sets: Sets
    maps: Tensor
    size: Tensor


class _Problems:
    """Turn log-likelihoods to be maximised into functions to be minimised."""

    def __init__(self, sets: Sets) -> None:
        self.sets, self.count = sets, sets.count
        self.which, self.kept = torch.arange(sets.count), sets

    def evaluate(self, which: Tensor, x: Tensor, order: int) -> Derived:
        """Return minus the log-likelihoods of some sets with their derivatives."""
        if not torch.equal(which, self.which):
            self.which, self.kept = which, self.sets if len(which) == self.count else self.sets.some(which)
        stack = self.kept.evaluate(x, order)
        return Derived(-stack.values, -stack.gradients, None if stack.hessians is None else -stack.hessians)


def fit_together(task: Task, start: Tensor, cov_type: str) -> Batch:
    """Fit all sets.

    Parameters
    ----------
    start : (K,) link-scale parameters to begin with.
    cov_type : one of ``BATCHED``.
    """
    units = _in_units(task)
    with torch.no_grad():
        if task.closed:
            z, found = _least_squares(units.sets), torch.ones(units.sets.count, dtype=torch.bool)
        else:
            begin = torch.linalg.solve(units.maps, start.expand(len(units.maps), -1)[:, :, None])[:, :, 0]
            rounding = max(1e-13, 0.1 * task.source.fit.objective.noise)
            minima = minimise_many(_Problems(units.sets), begin, None, Rules(VERDICT[torch.float64], rounding))
            z, found = minima.x, minima.found
        z = torch.where(found[:, None], z, torch.zeros_like(z))
        return _reported(task, units, z, found, cov_type)


def _in_units(task: Task) -> _Units:
    model, own = task.model, task.own
    weights, size = own.double(), torch.ones(len(own), dtype=torch.float64)
    if task.weights is not None:
        weights = torch.where(own, task.weights, torch.zeros_like(task.weights))
        if task.kind == "sampling_weights":  # gradients are judged in units of a mean weight
            size = (weights.sum(1) / (weights > 0).sum(1).clamp(min=1)).double().cpu()
            weights = weights / size.to(weights)[:, None]
    shared = task.endog is not None or (task.weights is not None and bool((task.rows == task.rows[0]).all()))
    rows = task.rows[:1] if shared else task.rows
    here = torch.ones_like(own[:1]) if shared else own
    columns, maps = [], []
    for design in list(model.data.designs.values())[: 1 if task.closed else None]:
        Z, back = standardised(design.X[rows], here, design.constant)
        columns.append(Z)
        maps.append(back.cpu())
    joined = torch.zeros(len(rows), *[sum(b.shape[1] for b in maps)] * 2, dtype=torch.float64)
    at = 0
    for back in maps:
        stop = at + back.shape[1]
        joined[:, at:stop, at:stop] = back
        at = stop
    known = [model.data.offset, *(model.known_part(j) for j in range(1, len(columns)))]
    offsets = tuple(None if o is None else o[task.rows] for o in known)
    density = _residuals(model) if task.closed else set_density(model)
    sets = Sets(task.rows, weights, tuple(columns), offsets, task.endog, density)
    return _Units(sets, joined.expand(len(task.rows), -1, -1), size)


def set_density(model: LinearPredictorModel) -> SetDensity:
    """Return the log-density of a model on sets of its rows."""

    def density(rows: Tensor, etas: list[Tensor], endog: Tensor | None) -> Tensor:
        part = model.take(rows.reshape(-1))
        if endog is not None:
            part.endog = endog.reshape(-1)
        values: Tensor = part.logdensity(part.endog, *(eta.reshape(-1) for eta in etas))
        return values.view(rows.shape)

    return density


def _residuals(model: LinearPredictorModel) -> SetDensity:
    def density(rows: Tensor, etas: list[Tensor], endog: Tensor | None) -> Tensor:
        return -0.5 * ((model.endog[rows] if endog is None else endog) - etas[0]).square()

    return density


def _least_squares(sets: Sets) -> Tensor:
    """Return the coefficients, refined twice by their residuals (Bjorck 1996, section 2.9.3)."""
    z = torch.zeros(sets.count, sets.params, dtype=torch.float64)
    at = sets.evaluate(z, 2)
    assert at.hessians is not None
    factor, info = torch.linalg.cholesky_ex(-at.hessians)
    factor[info != 0] = torch.eye(sets.params, dtype=torch.float64)
    for _ in range(3):
        z = z + torch.cholesky_solve(at.gradients[:, :, None], factor)[:, :, 0]
        at = sets.evaluate(z, 1)
    return z


def _reported(task: Task, units: _Units, z: Tensor, found: Tensor, cov_type: str) -> Batch:
    """Return the numbers in the user's units, and which of them can be trusted."""
    sets, count = units.sets, task.kind == "freq_weights"
    at = sets.evaluate(z, 2)
    assert at.hessians is not None
    nobs = (sets.weights if count else (sets.weights > 0).double()).sum(1).cpu().double()
    df = nobs - sets.params
    bread, sound = _inverses(-at.hessians)
    decrement = (at.gradients[:, None] @ bread @ at.gradients[:, :, None])[:, 0, 0]
    scale, llf = torch.ones_like(nobs), at.values * units.size
    if task.closed:
        ssr = -2 * at.values
        scale = ssr / df
        llf = _normal_llf(task, ssr * units.size, nobs)
        sound &= (df > 0) & (ssr > PERFECT * _spread(sets))
    else:
        sound &= (decrement.abs() <= VERDICT[torch.float64]) & (df >= 0)
        if task.model.recession_signs() is not None:
            sound &= sets.highest(z) <= -EXTREME[torch.float64]
        z = torch.where(sound[:, None], z + (bread @ at.gradients[:, :, None])[:, :, 0], z)
    covariance, defined = _covariance(task, units, z, bread, scale, cov_type, nobs)
    theta, slopes = _natural(task, (units.maps @ z[:, :, None])[:, :, 0])
    jacobian = slopes[:, :, None] * units.maps
    covariance = jacobian @ covariance @ jacobian.mT
    sound = sound & found & defined & torch.isfinite(theta).all(1) & torch.isfinite(covariance).flatten(1).all(1)
    return Batch(theta, covariance, llf, nobs, df, sound)


def _inverses(information: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverses, and which matrices are safely positive definite."""
    size = information.diagonal(dim1=1, dim2=2).clamp(min=1e-300).sqrt()
    scaled = information / (size[:, :, None] * size[:, None, :])
    bad = ~torch.isfinite(scaled).flatten(1).all(1)
    scaled[bad] = torch.eye(scaled.shape[1], dtype=torch.float64)
    factor, info = torch.linalg.cholesky_ex(scaled)
    safe = ~bad & (info == 0) & (factor.diagonal(dim1=1, dim2=2).amin(1).square() > PIVOT)
    factor[~safe] = torch.eye(scaled.shape[1], dtype=torch.float64)
    return torch.cholesky_inverse(factor) / (size[:, :, None] * size[:, None, :]), safe


def _covariance(
    task: Task, units: _Units, z: Tensor, bread: Tensor, scale: Tensor, cov_type: str, nobs: Tensor
) -> tuple[Tensor, Tensor]:
    """Return covariances in comparable units, and where they are defined."""
    every = torch.ones(len(z), dtype=torch.bool)
    if cov_type == "nonrobust":
        return scale[:, None, None] * bread, every
    squares = units.sets.squares(z, 1 if task.kind == "freq_weights" else 2)
    if cov_type == "opg":
        inverse, defined = _inverses(squares)
        return scale.square()[:, None, None] * inverse, defined
    factor = torch.ones_like(nobs) if cov_type == "HC0" else nobs / (nobs - z.shape[1])
    return factor[:, None, None] * (bread @ squares @ bread), torch.isfinite(factor) & (factor > 0)


def _spread(sets: Sets) -> Tensor:
    """Return the weighted sum of squares of the response at coefficients of zero."""
    return -2 * sets.evaluate(torch.zeros(sets.count, sets.params, dtype=torch.float64), 0).values


def _normal_llf(task: Task, ssr: Tensor, nobs: Tensor) -> Tensor:
    """Return the normal log-likelihood with sigma at its maximum."""
    llf = -nobs / 2 * (torch.log(2 * math.pi * ssr / nobs) + 1)
    if task.kind == "var_weights" and task.weights is not None:
        logs = torch.where(task.own & (task.weights > 0), task.weights, torch.ones_like(task.weights)).log()
        llf = llf + 0.5 * logs.sum(1).cpu().double()
    return llf


def _natural(task: Task, link: Tensor) -> tuple[Tensor, Tensor]:
    """Return the reported parameters of link-scale ones (G, K), and their slopes."""
    pmap = task.source.fit.map
    plain = replace(pmap, scale=torch.ones_like(pmap.scale), uncentre=None, shifts=())
    slopes = torch.ones_like(link)
    for i, natural in pmap.naturals.items():
        slopes[:, i] = torch.stack([natural.derivatives(value)[1] for value in link[:, i]])
    return StackedMap(plain).theta(link), slopes
