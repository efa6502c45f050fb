"""Choose and compute the covariance of the estimates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.groups import Groups, late_groups
from ..errors import OptionError
from ..inference.cov import Correction, Ingredients, check_correction, check_cov_type, estimate, not_available
from .fit import Fit, Inference, ModelView


def check_inference(
    model: ModelView, cov_type: str, cov_kwds: Mapping[str, Any] | None, separable: bool
) -> tuple[str, Correction, Groups | None]:
    """Return the estimator's name, its correction and its groups, or raise before any work is done."""
    kind = model.data.weights.kind if model.data.weights else None
    name = check_cov_type(cov_type, kind, separable)
    correction = check_correction(cov_kwds, name)
    if name != "cluster":
        return name, correction, None
    given = (cov_kwds or {}).get("groups")
    groups = model.data.groups if given is None else late_groups(given, model.data.frame, model.data.rows)
    if groups is None:
        raise OptionError("cov_type='cluster' needs groups: pass cov_kwds={'groups': column name or ids}.")
    return name, correction, groups


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
    name, correction, groups = check_inference(model, cov_type, cov_kwds, fit.objective.separable)
    if use_t is not None and not isinstance(use_t, (bool, np.bool_)):
        raise OptionError(f"use_t={use_t!r} must be True, False or None.")
    with_t = (default_t and name == "nonrobust") if use_t is None else bool(use_t)
    if bread is None:
        return Inference(not_available(len(fit.gamma), name, with_t), None, default_t, fit.free)
    parts = Ingredients(
        bread=bread,
        scale=fit.scale,
        objective=fit.objective,
        working=fit.map.working(fit.gamma),
        pull=lambda matrix: fit.map.pull_outer(matrix, fit.gamma),
        nobs=fit.nobs,
        params=len(fit.gamma),
        weights=model.data.weights.kind if model.data.weights else None,
        root=fit.root,
        groups=torch.from_numpy(groups.codes) if groups else None,
        group_count=groups.count if groups else 0,
        group_name=groups.name if groups else "",
    )
    return Inference(estimate(parts, name, correction, with_t, cov_kwds), bread, default_t, fit.free)
