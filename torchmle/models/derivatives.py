"""Evaluate a model's log-likelihood and its derivatives at any parameters, in the units of the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..errors import UndefinedStatisticError
from ..loglik.objective import Objective
from ..params.map import ParamMap
from ..workers import engine
from .request import as_params

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

Array = np.ndarray[Any, Any]


def at(model: GenericLikelihoodModel, params: Any) -> tuple[ParamMap, Tensor, Objective]:
    """Return the map, the point in gamma and the log-likelihood of a model."""
    pmap = model.make_map(model.param_names)
    theta = as_params(params, pmap.names, "params")
    return pmap, pmap.gamma(theta), model.make_objective(pmap)


def loglike(model: GenericLikelihoodModel, params: Any) -> float:
    """Return the (weighted) log-likelihood."""
    with engine():
        pmap, gamma, objective = at(model, params)
        return objective.moments(pmap.working(gamma), 0).llf


def score(model: GenericLikelihoodModel, params: Any) -> Array:
    """Return the (K,) gradient."""
    with engine():
        pmap, gamma, objective = at(model, params)
        moments = objective.moments(pmap.working(gamma), 1)
        assert moments.gradient is not None
        return pmap.reported_gradient(gamma, moments.gradient).numpy()


def score_obs(model: GenericLikelihoodModel, params: Any) -> Array:
    """Return the (n, K) scores by row, unweighted."""
    with engine():
        pmap, gamma, objective = at(model, params)
        if not objective.separable:
            raise UndefinedStatisticError(
                f"{type(model).__name__} defines a scalar loglike, which has no scores by row."
            )
        return pmap.reported_scores(gamma, objective.scores(pmap.working(gamma))).numpy()


def hessian(model: GenericLikelihoodModel, params: Any) -> Array:
    """Return the (K, K) Hessian."""
    with engine():
        pmap, gamma, objective = at(model, params)
        moments = objective.moments(pmap.working(gamma), 2)
        assert moments.gradient is not None
        assert moments.hessian is not None
        return pmap.reported_hessian(gamma, moments.gradient, moments.hessian).numpy()
