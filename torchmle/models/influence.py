"""Compute what single rows, or clusters, do to the estimates, and which of them conclusions hang on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from ..data.absent import need_rows
from ..data.batch import ModelData
from ..data.crossproducts import cross_products
from ..data.groups import Groups, encode, late_groups
from ..errors import ConvergenceWarning, DataWarning, OptionError, SeparationWarning, TorchmleError, unheard, unknown
from ..linalg import symmetric
from ..loglik.leastsquares import LeastSquares
from ..params.map import ParamMap
from ..params.stacked import StackedMap
from ..results.estimates import Estimates, within_unit
from ..results.influence import Flip, Influence
from ..results.linkscale import need_maximum
from ..results.point import need_row_values, refuse_bounds
from .replicate import replicated

BLOCK = 1_024
"""Rows whose information matrices are solved at once."""


@dataclass(frozen=True, eq=False)
class Steps:
    """Hold what each unit does, in gamma.

    Attributes
    ----------
    moves : (G, F), the estimate less that without each unit.
    scores, leverage : (G, F) sums of scores of each unit, and (G,) traces.
    information : (F, F) of all rows.
    exact : whether the information of each unit was taken off.
    """

    moves: Tensor
    scores: Tensor
    leverage: Tensor
    information: Tensor
    exact: bool


def influence(results: Estimates, groups: Any) -> Influence:
    """Return the influence of rows or clusters; see :meth:`Results.influence`."""
    need_rows(results.model.data, "influence()")
    need_maximum(results, "influence()")
    need_row_values(results, "influence()")
    refuse_bounds(results, "influence()")
    data = results.model.data
    ways = None if groups is None else late_groups(groups, data.frame, data.rows)
    labels = data.rows.labels if ways is None else group_labels(groups, data, ways)
    steps = one_steps(results, ways)
    fit = results.fit
    without = StackedMap(fit.map).theta(fit.gamma - steps.moves)
    names = list(results.names)
    distance = ((steps.moves @ steps.information) * steps.moves).sum(1) / (fit.scale * len(fit.gamma))
    covariance = fit.map.push(fit.scale * torch.linalg.inv(steps.information), fit.gamma)
    sigma, residuals = _least_squares(results, steps) if ways is None else (None, None)
    return Influence(
        params_without=pd.DataFrame(without.numpy(), index=labels, columns=names),
        estimates=results.params,
        bse=pd.Series(covariance.diagonal().clamp(min=0).sqrt().numpy(), index=names),
        leverage=pd.Series(steps.leverage.numpy(), index=labels),
        cooks_distance=pd.Series(distance.numpy(), index=labels),
        sigma_without=sigma,
        residuals=residuals,
        sigma=math.sqrt(fit.scale),
        exact=steps.exact,
        search=Search(results, ways, labels),
        notes=() if steps.exact else ("Steps without leverages: this likelihood gives no Hessians by row.",),
    )


def group_labels(groups: Any, data: ModelData, ways: Groups) -> pd.Index:
    """Return the ids of the clusters, in the order of their codes."""
    from ..data.groups import late_values

    _, ids = late_values(groups, "groups", data.frame, data.rows)
    _, levels = pd.factorize(ids, sort=False)
    found: pd.Index = pd.Index(levels[: ways.count])
    return found


def one_steps(results: Estimates, groups: Groups | None) -> Steps:
    """Return one Newton step from the estimates on the rows that are left, for each unit left out."""
    fit, weights = results.fit, unit_weights(results)
    working = fit.map.working(fit.gamma)
    moments = fit.objective.moments(working, 2)
    assert moments.hessian is not None
    assert moments.gradient is not None
    information = symmetric(-fit.map.pull_hessian(moments.hessian, moments.gradient, fit.gamma))
    rows = _Rows(results, working, weights)
    if groups is not None:
        return _of_groups(rows, torch.from_numpy(groups.codes), groups.count, information)
    moves, scores, leverage = [], [], []
    for start in range(0, len(weights), BLOCK):
        s, A = rows.block(start, min(start + BLOCK, len(weights)))
        step, trace = _left_out(information, s, A)
        moves.append(step)
        scores.append(s)
        leverage.append(trace)
    return Steps(torch.cat(moves), torch.cat(scores), torch.cat(leverage), information, rows.exact)


def _left_out(information: Tensor, scores: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return ``(A - A_i)^-1 s_i`` and ``tr(A^-1 A_i)``; NaN where nothing is left in some direction."""
    if own is None:
        return torch.linalg.solve(information, scores.mT).mT, torch.full((len(scores),), torch.nan)
    step, info = torch.linalg.solve_ex(information - own, scores[:, :, None])
    step = step[:, :, 0]
    trace = (torch.linalg.inv(information).mT * own).sum((1, 2))
    step[(info != 0) | ~torch.isfinite(step).all(1)] = torch.nan
    return step, trace


def _of_groups(rows: _Rows, codes: Tensor, count: int, information: Tensor) -> Steps:
    F = len(information)
    scores = torch.zeros(count, F, dtype=torch.float64)
    own = torch.zeros(count, F, F, dtype=torch.float64) if rows.exact else None
    for start in range(0, len(codes), BLOCK):
        stop = min(start + BLOCK, len(codes))
        s, A = rows.block(start, stop)
        scores.index_add_(0, codes[start:stop], s)
        if own is not None and A is not None:
            own.index_add_(0, codes[start:stop], A)
    step, trace = _left_out(information, scores, own)
    return Steps(step, scores, trace, information, rows.exact)


def held_along(results: Estimates, groups: Groups | None, direction: Tensor) -> Tensor:
    """Return ``v' A_g v``, what each unit holds of the information along one direction; zero where it is not known."""
    weights = unit_weights(results)
    rows = _Rows(results, results.fit.map.working(results.fit.gamma), weights)
    parts = []
    for start in range(0, len(weights), BLOCK):
        s, A = rows.block(start, min(start + BLOCK, len(weights)))
        parts.append(torch.zeros(len(s), dtype=torch.float64) if A is None else A @ direction @ direction)
    each = torch.cat(parts)
    if groups is None:
        return each
    codes = torch.from_numpy(groups.codes)
    return torch.zeros(groups.count, dtype=torch.float64).index_add_(0, codes, each)


def unit_weights(results: Estimates) -> Tensor:
    """Return what is taken away with a unit, (n,): one observation of ``freq_weights``, else the weight of the row."""
    data, objective = results.model.data, results.fit.objective
    if objective.weights is None or (data.weights is not None and data.weights.kind == "freq_weights"):
        return torch.ones(objective.rows, dtype=torch.float64)
    return objective.weights.double().cpu()


class _Rows:
    """Give scores and information of single rows in gamma."""

    def __init__(self, results: Estimates, working: Tensor, weights: Tensor) -> None:
        self.fit, self.working, self.weights = results.fit, working, weights
        self.replicates = replicated(results).replicates
        self.jacobian = self.fit.map.working_jacobian(self.fit.gamma)
        self.bends = _bends(self.fit.map, self.fit.gamma)
        self.all = None if self.exact else self.fit.objective.scores(working)

    @property
    def exact(self) -> bool:
        """Return whether Hessians by row are known."""
        return self.replicates is not None

    def block(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Return (rows, F) scores and (rows, F, F) information of some rows, weighted."""
        w = self.weights[start:stop]
        if self.replicates is None:
            assert self.all is not None
            return (self.all[start:stop] * w[:, None]) @ self.jacobian, None
        at = self.working.to(self.replicates.device, self.replicates.dtype)
        found = self.replicates.at_one(at, slice(start, stop))
        _, scores, packed = found.tensor_split([1, 1 + self.replicates.params], 1)
        s = scores.double().cpu() * w[:, None]
        H = self.replicates.unpack(packed).double().cpu() * w[:, None, None]
        A = self.jacobian.mT @ H @ self.jacobian
        if self.bends is not None:
            A = A + torch.einsum("nk,kfg->nfg", s, self.bends)
        return s @ self.jacobian, -A


def _bends(pmap: ParamMap, gamma: Tensor) -> Tensor | None:
    """Return (K, F, F) second derivatives of each working parameter in gamma; None where all are zero."""
    if pmap.curve is None:
        return None
    inner, at = pmap.inner_jacobian(), pmap.inner(gamma)
    eye = torch.eye(len(pmap.names), dtype=torch.float64)
    return torch.stack([inner.mT @ pmap.curve.curvature(at, e) @ inner for e in eye])


def _least_squares(results: Estimates, steps: Steps) -> tuple[Any, Any]:
    """Return s without each row and residuals over s, for closed-form least squares."""
    fit, objective = results.fit, results.fit.objective
    if not isinstance(objective, LeastSquares):
        return None, None
    w = objective.weights.double().cpu().numpy() if objective.weights is not None else np.ones(objective.rows)
    e = objective.residuals(fit.map.working(fit.gamma)).cpu().numpy()
    taken = unit_weights(results).numpy()
    h = steps.leverage.numpy()
    freq = results.model.data.weights is not None and results.model.data.weights.kind == "freq_weights"
    df = results.nobs - len(fit.gamma) - 1
    s2 = ((w * e**2).sum() - taken * e**2 / (1 - h)) / df if df > 0 else np.full(len(e), np.nan)
    scaled = e if freq else np.sqrt(w) * e
    return np.sqrt(np.clip(s2, 0, None)), scaled / math.sqrt(fit.scale)


# ---- which rows a conclusion hangs on


@dataclass(frozen=True, eq=False)
class Search:
    """Look for the rows, or clusters, that flip a conclusion."""

    results: Estimates
    groups: Groups | None
    labels: pd.Index

    def __call__(self, name: str, what: str, alpha: float) -> Flip:
        """Return the fewest units found, as a refit without them shows."""
        results = self.results
        if name not in results.names:
            raise OptionError(unknown("parameter", name, results.names))
        if what not in ("sign", "significance"):
            raise OptionError(unknown("conclusion", what, ["sign", "significance"]))
        position = results.names.index(name)
        if position in results.fit.map.untested:
            raise OptionError(f"{name!r} is fixed, or zero is no hypothesis of it: nothing could flip.")
        level = within_unit(alpha)
        order = self._ranked(position, what, level)
        here = float(results.params[name]), float(results.pvalues[name])
        found = self._fewest(order, name, what, level, here)
        chosen = tuple(self.labels[i] for i in order[: found[0]])
        return Flip(name, what, chosen, *here, found[1], found[2], len(self.labels))

    def _ranked(self, position: int, what: str, alpha: float) -> list[int]:
        """Return the units by how much leaving each out moves towards the other conclusion, most first."""
        results, fit = self.results, self.results.fit
        steps = one_steps(results, self.groups)
        row = fit.map.jacobian(fit.gamma)[position]
        sign = 1.0 if float(results.params.iloc[position]) > 0 else -1.0
        gain = sign * (steps.moves @ row)
        if what == "significance":
            critical = float(special.ndtri(1 - alpha / 2))
            gain = gain - critical * self._falls(steps, row, float(results.bse.iloc[position]))
            gain = gain if float(results.pvalues.iloc[position]) < alpha else -gain
        return torch.argsort(torch.nan_to_num(gain, nan=-math.inf), descending=True, stable=True).tolist()

    def _falls(self, steps: Steps, row: Tensor, error: float) -> Tensor:
        """Return the standard error less that without each unit: by the information, or the scores of robust ones."""
        fit = self.results.fit
        v = torch.linalg.solve(steps.information, row)
        change = (1 + held_along(self.results, self.groups, v) / float(row @ v)).clamp(min=0).sqrt() * error
        if self.results.cov_type != "nonrobust":
            own = (steps.scores @ v).square()
            change = change * (1 - own / own.sum()).clamp(min=0).sqrt()
        elif isinstance(fit.objective, LeastSquares) and self.groups is None:
            sigma, _ = _least_squares(self.results, steps)
            change = change * torch.from_numpy(sigma) / math.sqrt(fit.scale)
        return error - change

    def _fewest(
        self, order: list[int], name: str, what: str, alpha: float, here: tuple[float, float]
    ) -> tuple[int, float, float]:
        """Return how many of the first units it takes, and estimate and p-value without them."""
        most = len(order) // 2
        low, high = 0, 1
        found = self._without(order[:high], name)
        while not _flipped(what, here, found, alpha):
            if high >= most:
                return 0, math.nan, math.nan
            low, high = high, min(2 * high, most)
            found = self._without(order[:high], name)
        while high - low > 1:
            middle = (low + high) // 2
            tried = self._without(order[:middle], name)
            if _flipped(what, here, tried, alpha):
                high, found = middle, tried
            else:
                low = middle
        return high, *found

    def _without(self, units: list[int], name: str) -> tuple[float, float]:
        """Return estimate and p-value of a fit without some units; NaN where it has none."""
        results = self.results
        codes = np.arange(len(results.model.data.endog)) if self.groups is None else self.groups.codes
        keep = ~np.isin(codes, units)
        given = results.record.arguments
        try:
            with unheard(ConvergenceWarning), unheard(SeparationWarning), unheard(DataWarning):
                model: Any = on_rows(results.model, keep)
                restrictions = {k: given[k] for k in ("fixed", "constraints", "bounds") if k in given}
                method = None if isinstance(results.fit.objective, LeastSquares) else "newton"
                again = model.fit(
                    None if method is None else results.params,
                    method,
                    cov_type=results.cov_type,
                    cov_kwds=dict(results.cov_kwds) or None,
                    use_t=results.use_t,
                    **restrictions,
                )
        except TorchmleError:
            return math.nan, math.nan
        return float(again.params[name]), float(again.pvalues[name])


def _flipped(what: str, before: tuple[float, float], after: tuple[float, float], alpha: float) -> bool:
    if what == "sign":
        return before[0] * after[0] < 0
    return not math.isnan(after[1]) and (before[1] < alpha) != (after[1] < alpha)


def on_rows(model: Any, keep: np.ndarray[Any, np.dtype[np.bool_]]) -> Any:
    """Return a shallow copy of a model with some of its rows; the columns stay what they are."""
    data = model.data
    at = torch.from_numpy(np.flatnonzero(keep)).to(data.device)
    less = model.take(at)
    designs = {}
    for name, design in data.designs.items():
        X = design.X[at]
        designs[name] = replace(design, X=X, cross=cross_products(X))
    less.data = replace(
        data,
        endog=data.endog[at],
        designs=designs,
        offset=None if data.offset is None else data.offset[at],
        weights=None if data.weights is None else replace(data.weights, values=data.weights.values[at]),
        groups=None if data.groups is None else encode(data.groups.name, data.groups.codes[keep]),
        row_data={name: values[at] for name, values in data.row_data.items()},
        rows=data.rows.drop_among_used(~keep, "left out"),
    )
    if data.designs:
        less.exog = next(iter(designs.values())).X
    return less
