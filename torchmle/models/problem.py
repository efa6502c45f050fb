"""Join a log-likelihood and a parameter map to the problem that optimizers see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import OptionError
from ..loglik.check import check_scalar
from ..loglik.objective import Objective
from ..loglik.opaque import OpaqueObjective
from ..optim.base import Evaluation
from ..params.curve import make_curve
from ..params.map import ParamMap, Units

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

VERDICT = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Scaled gradient at the returned point below which it is a maximum, by dtype."""


class LikelihoodProblem:
    """Turn a log-likelihood to be maximised into a function of gamma to be minimised: the only change of sign."""

    def __init__(self, objective: Objective, pmap: ParamMap) -> None:
        self.objective, self.map = objective, pmap
        self.evaluations = 0

    @property
    def rounding(self) -> float:
        """Return the relative error of a sum of log-likelihoods."""
        if self.objective.dtype != torch.float64:
            return 1e-6
        return max(1e-13, 0.1 * self.objective.noise)

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.objective.rows

    def evaluate(self, x: Tensor, order: int) -> Evaluation:
        """Return minus the log-likelihood and its derivatives in gamma."""
        self.evaluations += 1
        m = self.objective.moments(self.map.working(x), order)
        gradient = None if m.gradient is None else -self.map.pull_gradient(m.gradient, x)
        hessian = None
        if m.hessian is not None and m.gradient is not None:
            hessian = -self.map.pull_hessian(m.hessian, m.gradient, x)
        return Evaluation(-m.llf, gradient, hessian, m)

    def outer_products(self, x: Tensor) -> Tensor:
        """Return the sum of the outer products of the (weighted) scores in gamma."""
        self.evaluations += 1
        return self.map.pull_outer(self.objective.outer_products(self.map.working(x), 1), x)

    def batch(self, index: Tensor) -> LikelihoodProblem:
        """Return the problem on some of the rows."""
        return LikelihoodProblem(self.objective.take(index.to(self.objective.device)), self.map)


def weight_unit(model: GenericLikelihoodModel) -> float:
    """Return the mean sampling weight, in whose units gradients are judged, so that the scale of weights is free."""
    weights = model.data.weights
    return float(weights.values.mean()) if weights is not None and weights.kind == "sampling_weights" else 1.0


def opaque_objective(model: GenericLikelihoodModel, params: int) -> OpaqueObjective:
    """Return the log-likelihood of an opaque model as a function of its own parameters."""
    scalar, weights = model.is_scalar, model.data.weights
    if scalar and weights is not None:
        raise OptionError(f"{weights.kind} need log-likelihoods by row; override loglikeobs instead of loglike.")

    def rows_of(rows: slice | Tensor, at: Tensor) -> Tensor:
        if scalar:
            return check_scalar(model.loglike(at), f"{type(model).__name__}.loglike")
        return model.take(rows).loglikeobs(at)

    width = sum(d.X.shape[1] for d in model.data.designs.values()) + len(model.data.row_data) + 1
    return OpaqueObjective(
        rows_of,
        model.nobs,
        params,
        model.data.device,
        model.endog.dtype,
        columns=width,
        weights=None if weights is None else weights.values,
        separable=not scalar,
        rowwise=not scalar,
        what=model.likelihood_label,
    )


def opaque_map(model: GenericLikelihoodModel, names: Sequence[str], units: Units) -> ParamMap:
    """Return the map of an opaque model: its transforms, and coefficients in units of their columns."""
    curve = make_curve(names, model.transforms)
    scale = torch.ones(len(names) if curve is None else curve.free, dtype=torch.float64, device="cpu")
    if units != "raw" and model.data.designs:
        design = next(iter(model.data.designs.values()))
        for term, own in zip(design.terms, design.scale.tolist(), strict=True):
            at = names.index(term) if term in names else None
            position = at if curve is None or at is None else curve.plain.get(at)
            if position is not None:
                scale[position] = own
    return ParamMap(tuple(names), tuple(names), scale, curve=curve)
