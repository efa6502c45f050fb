"""Choose and compute the covariance of the estimates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import OptionError
from ..inference.cov import estimate, not_available, read_estimator
from ..inference.estimator import Estimator, Setting
from ..inference.ingredients import Ingredients
from ..loglik.leastsquares import LeastSquares
from ..optim.base import Status
from ..params.map import ParamMap
from .fit import Fit, Inference, ModelView
from .nets import along, described, net_option, part_bread, weights_of


def check_inference(
    model: ModelView,
    cov_type: str,
    cov_kwds: Mapping[str, Any] | None,
    separable: bool,
    closed_form: bool = False,
) -> Estimator:
    """Return the estimator with its options and groups, or raise before any work is done."""
    _, cov_kwds = net_option(model, cov_type, cov_kwds)
    known = "" if closed_form else model.expectation()
    why_not = known if isinstance(known, str) else ""
    return read_estimator(cov_type, cov_kwds, Setting(model.data, separable, closed_form, why_not))


def build_inference(
    model: ModelView,
    fit: Fit,
    bread: Tensor | None,
    cov_type: str,
    cov_kwds: Mapping[str, Any] | None,
    use_t: bool | None,
    default_t: bool,
) -> Inference:
    """Return the covariance of one type; NaN where the point is not a maximum, and so has no bread."""
    closed_form = isinstance(fit.objective, LeastSquares)
    estimator = check_inference(model, cov_type, cov_kwds, fit.objective.separable, closed_form)
    name = estimator.cov_type
    if use_t is not None and not isinstance(use_t, (bool, np.bool_)):
        raise OptionError(f"use_t={use_t!r} must be True, False or None.")
    with_t = (default_t and name == "nonrobust") if use_t is None else bool(use_t)
    way, _ = net_option(model, cov_type, cov_kwds)
    inverse, U, weights = bread, None, weights_of(model) if model.data.has_nets else []
    if weights:
        way = way or "estimated"
        inverse, U = _with_nets(fit, bread, way, weights)
    if inverse is None:
        return Inference(not_available(len(fit.gamma), name, with_t, fit.withheld), None, default_t, fit.free)
    known = model.expectation()
    parts = Ingredients(
        bread=inverse,
        scale=fit.scale,
        objective=fit.objective,
        working=fit.map.working(fit.gamma),
        pull=lambda matrix: fit.map.pull_outer(matrix, fit.gamma),
        jacobian=fit.map.working_jacobian(fit.gamma),
        nobs=fit.observed,
        params=len(fit.gamma),
        weights=model.data.weights.kind if model.data.weights else None,
        root=fit.root,
        pull_hessian=None if fit.map.curve is None else lambda h, g: fit.map.pull_hessian(h, g, fit.gamma),
        expected=None if isinstance(known, str) else known,
        comparable=lambda scores: comparable(model, fit.map, fit.gamma, scores),
    )
    jacobian = fit.map.jacobian(fit.gamma)
    if U is not None:
        parts, jacobian = along(parts, U), jacobian @ U
    covariance = estimate(parts, estimator, with_t, cov_kwds, jacobian)
    if way is not None:
        covariance = described(covariance, way, weights, inverse, U)
    return Inference(covariance, bread, default_t, fit.free)


def _with_nets(fit: Fit, bread: Tensor | None, way: str, weights: list[int]) -> tuple[Tensor | None, Tensor | None]:
    """Return the bread of a model with modules, and the directions of gamma that it is about, where not all."""
    if way == "given" and fit.restrictions:
        raise OptionError(
            "cov_kwds={'net': 'given'} is not defined under constraints that are inequalities or functions of the "
            "parameters. Leave it out."
        )
    trained = fit.status is Status.TRAINED
    if fit.withheld or not (fit.converged or trained) or (way != "given" and not trained):
        return bread, None
    return part_bread(fit, weights, way) or part_bread(fit, weights, "given") or (None, None)


def comparable(model: ModelView, pmap: ParamMap, gamma: Tensor, scores: Tensor) -> Tensor:
    """Return (n, p) scores for automatic bandwidths: those of slopes, where there are any.

    Constants and natural parameters are left out, as Andrews (1991, section 6) advises for the intercept. Under
    constraints and transforms, scores of the free parameters stand for all.
    """
    if not pmap.is_scaling:
        return scores @ pmap.working_jacobian(gamma)
    own, at, left_out = pmap.reported_scores(gamma, scores), 0, set(pmap.naturals)
    for design in model.data.linear.values():
        if design.constant is not None:
            left_out.add(at + design.constant)
        at += len(design.terms)
    kept = [j for j in range(own.shape[1]) if j not in left_out]
    return own[:, kept] if kept else own
