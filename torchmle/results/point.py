"""Say where a fit stands on its log-likelihood: map, point and objective, for tests that go on from there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data.absent import need_rows
from ..errors import UndefinedStatisticError
from ..loglik.leastsquares import LeastSquares
from ..loglik.objective import Objective
from ..params.map import ParamMap

if TYPE_CHECKING:
    from .estimates import Estimates


@dataclass(frozen=True)
class Point:
    """Hold a point of a log-likelihood: gamma, the map from it, and the objective in working parameters."""

    map: ParamMap
    gamma: Tensor
    objective: Objective

    @property
    def working(self) -> Tensor:
        """Return the parameters that the objective takes."""
        return self.map.working(self.gamma)

    def values(self) -> Tensor:
        """Return the (n,) log-likelihoods by row, unweighted, in float64 on the CPU."""
        return self.objective.values(self.working).cpu().double()


def is_closed_form(results: Estimates) -> bool:
    """Return whether a fit is least squares in closed form, which has no sigma among its parameters."""
    return isinstance(results.fit.objective, LeastSquares)


def likelihood_point(results: Estimates, what: str) -> Point:
    """Return the point of a fit; for least squares in closed form the same coefficients with sigma at its maximum.

    Raises
    ------
    NoDataError
        If the rows are gone.
    UndefinedStatisticError
        If least squares fits perfectly.
    """
    need_rows(results.model.data, what)
    fit = results.fit
    if not is_closed_form(results):
        return Point(fit.map, fit.gamma, fit.objective)
    link = torch.cat([fit.map.link(fit.gamma), log_sigma(results, what)[None]])
    pmap = results.model.make_map(results.model.param_names)
    return Point(pmap, pmap.gamma_of_link(link), results.model.make_objective(pmap))


def log_sigma(results: Estimates, what: str) -> Tensor:
    """Return the log of sigma at its maximum, given the coefficients of least squares."""
    data = results.model.data
    ssr = -2 * results.fit.objective.moments(results.fit.map.working(results.fit.gamma), 0).llf
    if not ssr > 0:
        raise UndefinedStatisticError(f"{what} is not defined for a perfect fit: its likelihood has no maximum.")
    sampling = data.weights is not None and data.weights.kind == "sampling_weights"
    rows = float(data.weights.values.sum()) if sampling and data.weights is not None else results.nobs
    return torch.tensor(0.5 * math.log(ssr / rows), dtype=torch.float64, device="cpu")


def need_row_values(results: Estimates, what: str) -> None:
    """Raise if the log-likelihood gives its sum only."""
    if not results.fit.objective.separable:
        raise UndefinedStatisticError(
            f"{what} needs log-likelihoods of single rows, and this likelihood has none: it returns the sum only, or "
            "its rows depend on each other. Override loglikeobs."
        )


def refuse_pseudo(results: Estimates, what: str, instead: str) -> None:
    """Raise under sampling weights, which make the likelihood a pseudo-likelihood."""
    weights = results.model.data.weights
    if weights is not None and weights.kind == "sampling_weights":
        raise UndefinedStatisticError(
            f"{what} is not defined under sampling_weights, which make the likelihood a pseudo-likelihood. {instead}"
        )


def refuse_bounds(results: Estimates, what: str) -> None:
    """Raise where parameters ran to a bound."""
    held = [results.names[i] for i in results.fit.map.at_bound]
    if held:
        raise UndefinedStatisticError(
            f"{what} is not defined where parameters ran to a bound ({', '.join(held)}): the statistic has another law."
        )


def row_weights(results: Estimates) -> Tensor:
    """Return how often each row counts, (n,): ``freq_weights``, else ones; others are inside the log-likelihood."""
    data = results.model.data
    if data.weights is None or data.weights.kind != "freq_weights":
        return torch.ones(len(data.endog), dtype=torch.float64, device="cpu")
    return data.weights.values.cpu().double()
