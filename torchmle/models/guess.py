"""Guess where the maximum of a declarative model is: from the mean of the response, and from least squares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data.design import Design
from ..loglik.leastsquares import LeastSquares, quickly, solve
from ..params.map import uncentring
from ..params.natural import PredictorSpec
from ..workers import derivatives_on

if TYPE_CHECKING:
    from .predictors import LinearPredictorModel

START_ROWS = 5_000
"""Rows from which default starting values are computed."""

REACH, POINTS = 30.0, 601
"""Range and number of the predictors among which the link of the mean is looked for."""


@dataclass(frozen=True)
class Level:
    """Hold a value of the first predictor, the mean there, and its slope; NaN where the target is out of reach."""

    eta: float
    mean: float
    slope: float


def guesses(model: LinearPredictorModel, specs: Mapping[str, PredictorSpec]) -> list[Tensor]:
    """Return link-scale starts: the link of the mean, or zeros, and least squares with the log scales that it gives.

    Where the mean is a curve in the predictor, least squares are turned into its units by the slope at the mean: a step
    of Fisher scoring with the same weight for all rows.
    """
    designs = model.data.linear
    first = next(iter(designs.values()))
    zero = torch.zeros(sum(len(d.terms) for d in designs.values()), dtype=torch.float64, device="cpu")
    constant, level = zero, None
    stride = max(1, model.nobs // START_ROWS)
    y = model.data.endog[::stride]
    if first.constant is not None:
        level = link_of_mean(model, float(y.double().mean()))
        if level is not None:
            constant = zero.clone()
            constant[first.constant] = level.eta / float(first.cross.mean[first.constant])
    if len(y) <= 2 * first.X.shape[1]:
        return [constant]
    return [constant, _least_squares(model, specs, zero, stride, level)]


def link_of_mean(model: LinearPredictorModel, target: float) -> Level | None:
    """Return the first predictor at which the mean is nearest to a target, the others being zero."""
    grid = torch.linspace(-REACH, REACH, POINTS, dtype=model.endog.dtype, device=model.data.device)
    others = [torch.zeros_like(grid) for _ in list(model.data.linear)[1:]]
    try:
        with derivatives_on(model.data.device), torch.no_grad():
            means = model.mean(grid, *others)
    except Exception:  # a mean that uses row data cannot be evaluated on a grid: other starts remain
        return None
    gap = (means - target).abs()
    best = int(torch.where(torch.isfinite(gap), gap, torch.inf).argmin())
    low, high, step = max(best - 1, 0), min(best + 1, POINTS - 1), 2 * REACH / (POINTS - 1)
    at, slope = float(means[best]), float(means[high] - means[low]) / ((high - low) * step)
    move = (target - at) / slope if slope else math.nan
    if not abs(move) <= step:
        return Level(best * step - REACH, at, math.nan)
    return Level(best * step - REACH + move, target, slope)


def _least_squares(
    model: LinearPredictorModel, specs: Mapping[str, PredictorSpec], zero: Tensor, stride: int, level: Level | None
) -> Tensor:
    """Return least squares on a sample, with ``log_*`` predictors at the log of the residual deviation."""
    first, *others = model.data.linear.items()
    design, offset = first[1], model.data.offset
    y = model.data.endog[::stride] if offset is None else (model.data.endog - offset)[::stride]
    found = _solved(design.X[::stride].double(), y.double(), design)
    if found is None:
        return zero
    beta, ssr = found
    if level is not None and math.isfinite(level.slope) and offset is None and design.constant is not None:
        beta = beta / level.slope
        unit = float(design.cross.mean[design.constant])
        beta[design.constant] += (level.eta - level.mean / level.slope) / unit
    uncentre = uncentring(design.means, design.constant, design.cross.mean)
    start = zero.clone()
    start[: len(beta)] = beta if uncentre is None else uncentre @ beta
    position = len(beta)
    for name, other in others:
        spec = specs[name]
        is_log = spec.transform is torch.exp if spec.transform else name.startswith(("log", "ln"))
        if is_log and other.constant is not None and ssr > 0:
            start[position + other.constant] = 0.5 * math.log(ssr / len(y))
        position += len(other.terms)
    return start if bool(torch.isfinite(start).all()) else zero


def _solved(X: Tensor, y: Tensor, design: Design) -> tuple[Tensor, float] | None:
    """Return the coefficients of the columns less their means, and the sum of squared residuals."""
    centre = design.means.to(X.device)
    quick = quickly(X, y, centre)
    if quick is not None:
        return quick
    try:
        solution = solve(LeastSquares(X, y, centre, None))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # a sample can be collinear where the data are not
        return None
    return solution.working, solution.ssr
