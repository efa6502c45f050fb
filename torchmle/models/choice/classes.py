"""Look for the best maximum of a latent class logit, and bring its classes in order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...optim.base import OptimResult, Options, Status, minimise
from ...optim.registry import make_optimizer
from ...params.map import ParamMap
from ..problem import VERDICT, LikelihoodProblem
from .plain import conditional_estimates

if TYPE_CHECKING:
    from .latent import LatentClassLogit

SAMPLE = 2_000
"""Persons up to which starts are tried on all of them."""

SAME = 1e-5
"""Gap of two log-likelihoods, relative, below which two starts have found the same maximum."""


def search(
    model: LatentClassLogit, pmap: ParamMap, starts: int, spread: float, seed: int
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the best of the maxima to which random points around the conditional logit lead, and what to say of them.

    Each point is improved by an EM algorithm, which does not run away from it as Newton's method may, and then by
    Newton's method. Many persons are represented by a sample of theirs.
    """
    objective = model.make_objective(pmap)
    if objective.rows > 2 * SAMPLE:
        stride = objective.rows // SAMPLE
        objective = objective.take(torch.arange(0, objective.rows, stride, device=objective.device))
    centre = _centre(model)
    if model.classes == 1:
        return centre, ()
    generator = torch.Generator(device="cpu").manual_seed(seed)
    found = []
    for _ in range(starts):
        noise = torch.randn(len(centre), generator=generator, dtype=torch.float64, device="cpu")
        noise[_still(model)] = 0.0
        point = pmap.gamma_of_link(centre + spread * noise / _sizes(model))
        for problem, tol, steps in ((objective.as_complete(), 1e-2, 30), (objective, 1e-6, 100)):
            method = make_optimizer("newton", Options(tol=tol, maxiter=steps), None, {})
            ended = minimise(method, LikelihoodProblem(problem, pmap), point, verdict_tol=VERDICT[model.X.dtype])
            if ended.status is Status.INTERRUPTED:
                raise KeyboardInterrupt
            point = ended.x if bool(torch.isfinite(ended.x).all()) else point
        found.append(ended)
    best = max(found, key=lambda f: (f.status is Status.CONVERGED, _or_worst(-f.at.value)))
    theta = pmap.theta(best.x) if bool(torch.isfinite(best.x).all()) else centre
    few = "" if objective.rows == len(model.endog) else f" on {objective.rows} of {len(model.endog)} persons"
    return _in_order(model, theta, pmap), (f"{starts} starts, seed {seed}{few}: {_account(found, best)}.",)


def _centre(model: LatentClassLogit) -> Tensor:
    """Return the conditional logit in each class, and equal shares."""
    b = conditional_estimates(model.choices, tuple(model.exog_names), model.column_sizes(), None)
    start = torch.zeros(len(model.param_names), dtype=torch.float64, device="cpu")
    start[model.layout.places] = b.expand(model.classes, -1)
    return start


def _still(model: LatentClassLogit) -> list[int]:
    """Return the parameters that have no noise: common ones and those of the membership."""
    own = model.layout.own
    return [i for i, name in enumerate(model.param_names) if name in model.common or i >= own]


def _sizes(model: LatentClassLogit) -> Tensor:
    return model.make_map(model.param_names).scale


def _in_order(model: LatentClassLogit, theta: Tensor, pmap: ParamMap) -> Tensor:
    better = ordered(model, theta.numpy()) if pmap.is_scaling else None
    return theta if better is None else torch.from_numpy(better)


def ordered(model: LatentClassLogit, params: Any) -> np.ndarray[Any, Any] | None:
    """Return the parameters with the classes from the largest share to the smallest, or None where they are."""
    theta = torch.tensor(np.asarray(params, dtype=np.float64))
    if model.classes == 1 or not bool(torch.isfinite(theta).all()):
        return None
    layout, weights = model.layout, model.data.weights
    shares = layout.log_shares(theta, model.person_variables.double().cpu()).exp()
    share = shares.mean(0) if weights is None else weights.values.double().cpu() @ shares
    order = torch.argsort(-share, stable=True)
    if order.tolist() == list(range(model.classes)):
        return None
    out = theta.clone()
    out[layout.places] = theta[layout.places[order]]
    index = torch.nn.functional.pad(theta[layout.own :].view(model.classes - 1, model.Z.shape[1]), (0, 0, 1, 0))
    out[layout.own :] = (index[order] - index[order[0]])[1:].flatten()
    return np.asarray(out.numpy())


def _or_worst(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _account(found: list[OptimResult], best: OptimResult) -> str:
    """Return in words what the starts found."""
    top = -best.at.value
    if best.status is not Status.CONVERGED:
        return f"none ended at a maximum; the best point has the log-likelihood {top:.6g}"
    maxima = [-f.at.value for f in found if f.status is Status.CONVERGED]
    lower = sorted({round(v, 2) for v in maxima if abs(v - top) > SAME * (1 + abs(top))}, reverse=True)
    same = sum(abs(v - top) <= SAME * (1 + abs(top)) for v in maxima)
    text = f"{same} ended at the log-likelihood {top:.6g}"
    if lower:
        text += f", {len(maxima) - same} at lower maxima ({', '.join(f'{v:.6g}' for v in lower[:4])})"
    return text + (f", {len(found) - len(maxima)} at no maximum" if len(maxima) < len(found) else "")
