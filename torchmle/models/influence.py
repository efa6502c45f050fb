"""Compute what single rows, or clusters, do to the estimates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.absent import need_rows
from ..data.batch import ModelData
from ..data.groups import Groups, late_groups, late_values
from ..errors import UndefinedStatisticError
from ..loglik.leastsquares import LeastSquares
from ..params.stacked import StackedMap
from ..results.estimates import Estimates
from ..results.fit import Fit
from ..results.influence import Influence
from ..results.linkscale import need_maximum
from ..results.point import need_row_values, refuse_bounds
from .flips import Search
from .leftout import Steps, Units, one_steps


def influence(results: Estimates, groups: Any) -> Influence:
    """Return the influence of rows or clusters; see :meth:`Results.influence`."""
    units = _units(results, groups)
    steps = one_steps(results.fit, units)
    without = StackedMap(results.fit.map).theta(results.fit.gamma - steps.moves)
    frame = pd.DataFrame(without.numpy(), index=units.labels, columns=list(results.names))
    covariance, distance, notes = _scaled(results, steps)
    sigma, residuals = _least_squares(results, units, steps)
    errors = results.fit.map.push(covariance, results.fit.gamma).diagonal().clamp(min=0).sqrt()
    return Influence(
        params_without=frame,
        estimates=results.params,
        bse=pd.Series(errors.numpy(), index=list(results.names)),
        leverage=pd.Series(steps.leverage.numpy(), index=units.labels),
        cooks_distance=pd.Series(distance.numpy(), index=units.labels),
        sigma_without=sigma,
        residuals=residuals,
        sigma=math.sqrt(results.fit.scale),
        search=Search(results, units),
        notes=(*_cautions(results, units, frame), *notes),
    )


def _units(results: Estimates, groups: Any) -> Units:
    """Return what is left out, refusing fits of which no unit has an influence."""
    what, data = "influence()", results.model.data
    need_rows(data, what)
    need_maximum(results, what)
    need_row_values(results, what)
    refuse_bounds(results, what)
    if results.fit.objective.rows != data.rows.count:
        raise UndefinedStatisticError(f"{what} is not defined for models in which several rows are one observation.")
    if not results.fit.scale > 0:
        raise UndefinedStatisticError(f"{what} is not defined for a perfect fit: it has no errors to compare with.")
    kind = None if data.weights is None else data.weights.kind
    weights = results.fit.objective.weights
    taken = torch.ones(data.rows.count, dtype=torch.float64, device="cpu")
    taken = taken if weights is None else weights.double().cpu()
    if groups is not None:
        ways = late_groups(groups, data.frame, data.rows)
        return Units(group_labels(groups, data, ways), taken, ways)
    if kind == "freq_weights":
        return Units(data.rows.labels, torch.ones_like(taken), None, taken.numpy().astype(np.int64))
    return Units(data.rows.labels, taken)


def group_labels(groups: Any, data: ModelData, ways: Groups) -> pd.Index:
    """Return the ids of the clusters, in the order of their codes."""
    _, ids = late_values(groups, "groups", data.frame, data.rows)
    _, levels = pd.factorize(ids, sort=False)
    found: pd.Index = pd.Index(levels[: ways.count])
    return found


def _scaled(results: Estimates, steps: Steps) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return the covariance in gamma that changes are measured by, Cook's distances, and what to say of it.

    Under sampling weights the inverse information changes with the unit of the weights, and is no covariance.
    """
    fit, free = results.fit, len(results.fit.gamma)
    data = results.model.data
    if data.weights is None or data.weights.kind != "sampling_weights":
        return fit.scale * steps.inverse, steps.length / (fit.scale * free), ()
    covariance = results.inference.covariance.matrix
    factor, info = torch.linalg.cholesky_ex(covariance)
    if int(info):
        raise UndefinedStatisticError(
            "influence(): under sampling_weights changes are measured by the errors of the fit, and their covariance "
            "is singular (fewer clusters than parameters?). Use with_cov('HC1') first."
        )
    white = torch.linalg.solve_triangular(factor, steps.moves.mT, upper=False)
    note = f"Changes are measured by {results.cov_type} errors: under sampling_weights there are no nonrobust ones."
    return covariance, white.square().sum(0) / free, (note,)


def _least_squares(results: Estimates, units: Units, steps: Steps) -> tuple[Any, Any]:
    """Return s without each row and residuals over s, for rows of least squares in closed form."""
    fit, objective, weights = results.fit, results.fit.objective, results.model.data.weights
    pseudo = weights is not None and weights.kind == "sampling_weights"
    if not isinstance(objective, LeastSquares) or units.groups is not None or pseudo:
        return None, None
    e = objective.residuals(fit.map.working(fit.gamma)).double().cpu() * units.taken.sqrt()
    s = sigma_without(fit, e, steps.leverage, results.df_resid)
    return s.numpy(), (e / math.sqrt(fit.scale)).numpy()


def sigma_without(fit: Fit, residuals: Tensor, leverage: Tensor, df: float) -> Tensor:
    """Return s of least squares without each row, ``s_(i)^2 (df - 1) = s^2 df - e_i^2 / (1 - h_i)``.

    NaN where no degree of freedom is left, and where the row has a parameter to itself.
    """
    left = 1 - leverage
    own = torch.where(left > 1e-10, residuals.square() / left, torch.nan)
    rest = fit.scale * df - own
    rest = torch.where(rest.abs() <= 1e-12 * fit.scale * df, torch.zeros_like(rest), rest)
    return (rest / (df - 1)).sqrt() if df > 1 else torch.full_like(rest, torch.nan)


def _cautions(results: Estimates, units: Units, without: pd.DataFrame) -> list[str]:
    lost = int(without.isna().any(axis=1).sum())
    notes = []
    if lost:
        notes.append(
            f"{lost} of {len(units.labels)} have NaN: on the rows left some parameter is not identified, or the "
            "log-likelihood is not concave at the estimates."
        )
    outside = sum(int(n) for n in _outside(results, without).values())
    if outside:
        notes.append(f"{outside} of the steps end outside the bounds of the fit, where a refit stops at the bound.")
    return notes


def _outside(results: Estimates, without: pd.DataFrame) -> dict[str, int]:
    """Return for each bounded parameter how many steps end outside its bounds."""
    found = {}
    for name, (low, high) in (results.record.arguments.get("bounds") or {}).items():
        values = without[name]
        below, above = values < (-math.inf if low is None else low), values > (math.inf if high is None else high)
        found[name] = int((below | above).sum())
    return found
