"""Look for the rows, or clusters, that a conclusion hangs on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from ..data.crossproducts import cross_products, find_collinear
from ..data.rows import BoolArray
from ..errors import ConvergenceWarning, DataWarning, OptionError, SeparationWarning, TorchmleError, unheard, unknown
from ..loglik.leastsquares import LeastSquares
from ..results.estimates import Estimates, within_unit
from ..results.influence import Flip
from ..workers import engine
from .leftout import Steps, Units, one_steps
from .part import part_of

Found = tuple[float, float]
"""Estimate and p-value; NaN where there is no maximum."""


@dataclass(frozen=True, eq=False)
class Search:
    """Look for the units that flip a conclusion."""

    results: Estimates
    units: Units

    def __call__(self, name: str, what: str, alpha: float) -> Flip:
        """Return the fewest units found, as a refit without them shows."""
        results = self.results
        if name not in results.names:
            raise OptionError(unknown("parameter", name, results.names))
        if what not in ("sign", "significance"):
            raise OptionError(unknown("conclusion", what, ["sign", "significance"]))
        position, level = results.names.index(name), within_unit(alpha)
        if position in results.fit.map.untested:
            raise OptionError(f"{name!r} is fixed, or zero is no hypothesis of it: nothing could flip.")
        with engine():
            here = float(results.params[name]), float(results.pvalues[name])
            order = _ranked(results, self.units, position, what, level)
            asked = _Asked(results, self.units, order, name, what, level, here)
            count, found = asked.fewest()
        chosen = tuple(self.units.labels[i] for i in np.repeat(order, asked.copies)[:count])
        return Flip(name, what, chosen, *here, *found, asked.total)


def _ranked(results: Estimates, units: Units, position: int, what: str, alpha: float) -> np.ndarray[Any, Any]:
    """Return the units by how much leaving each out moves towards the other conclusion, most first."""
    fit = results.fit
    row = fit.map.jacobian(fit.gamma)[position]
    steps = one_steps(fit, units, row)
    gain = steps.moves @ row * (1.0 if float(results.params.iloc[position]) > 0 else -1.0)
    if what == "significance":
        critical = float(special.ndtri(1 - alpha / 2))
        gain = gain - critical * _falls(results, units, steps, float(results.bse.iloc[position]))
        gain = gain if float(results.pvalues.iloc[position]) < alpha else -gain
    gain = torch.nan_to_num(gain, nan=-math.inf)
    return torch.argsort(gain, descending=True, stable=True).numpy()


def _falls(results: Estimates, units: Units, steps: Steps, error: float) -> Tensor:
    """Return the standard error less that without each unit, about: it ranks, a refit decides.

    The information falls by what the unit holds; the scores of robust errors lose its own; s of least squares changes.
    """
    assert steps.held is not None
    assert steps.along is not None
    change = (1 + steps.held / float(steps.along @ steps.along)).clamp(min=0).sqrt()
    own = (steps.scores @ steps.along).square()
    if results.cov_type != "nonrobust":
        change = change * (1 - own / own.sum()).sqrt()
    elif isinstance(results.fit.objective, LeastSquares):
        change = change * _sigma_without(results, results.fit.objective, units, steps) / math.sqrt(results.fit.scale)
    return error * (1 - change)


def _sigma_without(results: Estimates, objective: LeastSquares, units: Units, steps: Steps) -> Tensor:
    """Return s of least squares without each unit: ``e'(I - H)^-1 e`` is what its rows take off the sum of squares."""
    fit = results.fit
    own = objective.residuals(fit.map.working(fit.gamma)).double().cpu().square() * units.taken
    rows = units.taken if units.copies is None and _counts(results) else torch.ones_like(own)
    if units.groups is not None:
        codes, none = torch.from_numpy(units.groups.codes), torch.zeros(units.groups.count, dtype=torch.float64)
        own, rows = none.index_add(0, codes, own), none.index_add(0, codes, rows)
    left = (fit.scale * results.df_resid - own - steps.pull) / (results.df_resid - rows)
    return left.clamp(min=0).sqrt()


def _counts(results: Estimates) -> bool:
    weights = results.model.data.weights
    return weights is not None and weights.kind == "freq_weights"


@dataclass(frozen=True, eq=False)
class _Asked:
    """Hold a question, and answer it by refits without the first units of a ranking."""

    results: Estimates
    units: Units
    order: np.ndarray[Any, Any]
    name: str
    what: str
    alpha: float
    here: Found

    @property
    def copies(self) -> np.ndarray[Any, Any]:
        """Return how many observations each unit of the ranking stands for."""
        own = self.units.copies
        return np.ones(len(self.order), dtype=np.int64) if own is None else own[self.order]

    @property
    def total(self) -> int:
        """Return how many units there are."""
        return int(self.copies.sum())

    def fewest(self) -> tuple[int, Found]:
        """Return how many of the first units it takes, and what the fit without them finds; 0 where no set does."""
        low, high, most = 0, 1, self.total // 2
        found = self._without(high)
        while not self._flipped(found):
            if high >= most:
                return 0, (math.nan, math.nan)
            low, high = high, min(2 * high, most)
            found = self._without(high)
        while high - low > 1:
            middle = (low + high) // 2
            tried = self._without(middle)
            if self._flipped(tried):
                high, found = middle, tried
            else:
                low = middle
        return high, found

    def _flipped(self, found: Found) -> bool:
        if math.isnan(found[1]):
            return False
        if self.what == "sign":
            return self.here[0] * found[0] < 0
        return (self.here[1] < self.alpha) != (found[1] < self.alpha)

    def _without(self, count: int) -> Found:
        """Return estimate and p-value of a fit without the first units."""
        ends = np.cumsum(self.copies)
        gone = np.zeros(len(self.order), dtype=np.int64)
        gone[self.order] = np.clip(count - (ends - self.copies), 0, self.copies)
        return _refit(self.results, self.units, gone, self.name)


def _refit(results: Estimates, units: Units, gone: np.ndarray[Any, Any], name: str) -> Found:
    """Return estimate and p-value without ``gone`` copies of each unit; NaN where there is no maximum."""
    given, closed = results.record.arguments, isinstance(results.fit.objective, LeastSquares)
    try:
        with unheard(ConvergenceWarning), unheard(SeparationWarning), unheard(DataWarning):
            model = _left(results.model, units, gone)
            if any(find_collinear(design.X, design.cross) for design in model.data.designs.values()):
                return math.nan, math.nan
            again = model.fit(
                None if closed else results.params,
                None if closed else "newton",
                cov_type=results.cov_type,
                cov_kwds=dict(results.cov_kwds) or None,
                use_t=results.use_t,
                **{k: given[k] for k in ("fixed", "constraints", "bounds") if given.get(k)},
            )
    except TorchmleError:
        return math.nan, math.nan
    if not again.converged:
        return math.nan, math.nan
    return float(again.params[name]), float(again.pvalues[name])


def _left(model: Any, units: Units, gone: np.ndarray[Any, Any]) -> Any:
    """Return the model without some units, or with fewer copies of them."""
    if units.copies is None:
        return on_rows(model, (gone if units.groups is None else gone[units.groups.codes]) == 0)
    left = units.copies - gone
    less = on_rows(model, left > 0)
    weights = less.data.weights
    counts = torch.from_numpy(left[left > 0]).to(weights.values)
    less.data = replace(less.data, weights=replace(weights, values=counts))
    return less


def on_rows(model: Any, keep: BoolArray) -> Any:
    """Return a shallow copy of a model with some of its rows; the columns stay what they are."""
    mask = torch.from_numpy(keep)
    at = mask.nonzero()[:, 0].to(model.data.device)
    designs = {}
    for name, design in model.data.designs.items():
        X = design.X[at]
        designs[name] = replace(design, X=X, cross=cross_products(X))
    return part_of(model, at, mask, designs, "left out")
