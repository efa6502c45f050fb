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

WORK = 200_000_000
"""Numbers that may be gone through, about, in leaving units out one by one."""


@dataclass(frozen=True, eq=False)
class Question:
    """Hold what is asked: which conclusion on which parameter, and what all rows say.

    Attributes
    ----------
    position : of the parameter.
    what : ``"sign"`` or ``"significance"`` at the level ``alpha``.
    here : estimate and p-value of all rows.
    """

    position: int
    what: str
    alpha: float
    here: Found

    def flipped(self, found: Found) -> bool:
        """Return whether other estimates show the other conclusion; those without a maximum show none."""
        if math.isnan(found[1]):
            return False
        if self.what == "sign":
            return self.here[0] * found[0] < 0
        return (self.here[1] < self.alpha) != (found[1] < self.alpha)


@dataclass(frozen=True, eq=False)
class Search:
    """Look for the units that flip a conclusion."""

    results: Estimates
    units: Units

    def __call__(self, name: str, what: str, alpha: float) -> Flip:
        """Return the fewest units found, as a refit without them shows."""
        results, units = self.results, self.units
        if name not in results.names:
            raise OptionError(unknown("parameter", name, results.names))
        if what not in ("sign", "significance"):
            raise OptionError(unknown("conclusion", what, ["sign", "significance"]))
        position, level = results.names.index(name), within_unit(alpha)
        if position in results.fit.map.untested:
            raise OptionError(f"{name!r} is fixed, or zero is no hypothesis of it: nothing could flip.")
        with engine():
            question = Question(position, what, level, _found(results, position))
            picked, found = _fewest(results, units, question)
            least = len(picked) - 1 if picked else units.total // 2
            most = min(least, WORK // (len(units.taken) * len(results.fit.gamma) ** 2))
            fewer, other = _one_by_one(results, units, question, most)
            picked, found = (fewer, other) if fewer else (picked, found)
        return Flip(name, what, tuple(units.labels[i] for i in picked), *question.here, *found, units.total)


def _found(results: Estimates, position: int) -> Found:
    return float(results.params.iloc[position]), float(results.pvalues.iloc[position])


def _fewest(results: Estimates, units: Units, question: Question) -> tuple[list[int], Found]:
    """Return the first units of a ranking that it takes, and what the fit without them finds; none if no set does."""
    order = np.repeat(*_ranked(results, units, question))

    def without(count: int) -> Found:
        again = _refit(results, units, np.bincount(order[:count], minlength=len(units.labels)))
        return (math.nan, math.nan) if again is None else _found(again, question.position)

    low, high, most = 0, 1, units.total // 2
    found = without(high)
    while not question.flipped(found):
        if high >= most:
            return [], (math.nan, math.nan)
        low, high = high, min(2 * high, most)
        found = without(high)
    while high - low > 1:
        middle = (low + high) // 2
        tried = without(middle)
        if question.flipped(tried):
            high, found = middle, tried
        else:
            low = middle
    return order[:high].tolist(), found


def _one_by_one(results: Estimates, units: Units, question: Question, most: int) -> tuple[list[int], Found]:
    """Return units found by leaving out the first of a ranking that is made again after each; none where none flip."""
    picked: list[int] = []
    now, left, places = results, units, np.arange(len(units.labels))
    while len(picked) < most:
        picked.append(int(places[_ranked(now, left, question)[0][0]]))
        gone = np.bincount(picked, minlength=len(units.labels))
        again = _refit(results, units, gone)
        if again is None:
            break
        now, found = again, _found(again, question.position)
        if question.flipped(found):
            return picked, found
        left, places = units.without(gone)
    return [], (math.nan, math.nan)


def _ranked(results: Estimates, units: Units, question: Question) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the units by how much leaving each out moves towards the other conclusion, most first; their copies."""
    fit, position = results.fit, question.position
    row = fit.map.jacobian(fit.gamma)[position]
    steps = one_steps(fit, units, row)
    gain = steps.moves @ row
    if question.what == "sign":
        gain = gain * math.copysign(1.0, question.here[0])
    else:
        critical = float(special.ndtri(1 - question.alpha / 2))
        gain = gain * math.copysign(1.0, float(results.params.iloc[position]))
        gain = gain - critical * _falls(results, units, steps, float(results.bse.iloc[position]))
        gain = gain if question.here[1] < question.alpha else -gain
    order = torch.argsort(torch.nan_to_num(gain, nan=-math.inf), descending=True, stable=True).numpy()
    return order, np.ones_like(order) if units.copies is None else units.copies[order]


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


def _refit(results: Estimates, units: Units, gone: np.ndarray[Any, Any]) -> Estimates | None:
    """Return the fit without ``gone`` copies of each unit; None where there is no maximum."""
    given, closed = results.record.arguments, isinstance(results.fit.objective, LeastSquares)
    try:
        with unheard(ConvergenceWarning), unheard(SeparationWarning), unheard(DataWarning):
            model = _left(results.model, units, gone)
            if any(find_collinear(design.X, design.cross) for design in model.data.designs.values()):
                return None
            again: Estimates = model.fit(
                None if closed else results.params,
                None if closed else "newton",
                cov_type=results.cov_type,
                cov_kwds=dict(results.cov_kwds) or None,
                use_t=results.use_t,
                **{k: given[k] for k in ("fixed", "constraints", "bounds") if given.get(k)},
            )
    except TorchmleError:
        return None
    return again if again.converged else None


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
