"""Say of a model with modules that has no maximum in their weights what holds given these."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..loglik.objective import Objective
from ..loglik.partial import PartialObjective
from ..optim.base import OptimResult, Options, Status, minimise
from ..optim.registry import make_optimizer
from ..params.map import ParamMap
from ..results.nets import still, weights_of
from .problem import LikelihoodProblem

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

ENDED = (Status.MAXITER, Status.STALLED, Status.LOOSE, Status.FLAT, Status.NO_MAXIMUM)
"""How a run ends that has found no maximum, and was not cut off."""


def trained(
    model: GenericLikelihoodModel, pmap: ParamMap, objective: Objective, found: OptimResult, tol: float
) -> OptimResult:
    """Return the point with the linear part at its maximum given the weights of the modules, as trained.

    Modules mostly have no maximum: their weights run to infinity, or many give the same answers. What is linear has
    one given the weights, unless it has none at all; then the result is returned as it was found.
    """
    if found.status not in ENDED or not isinstance(objective, PartialObjective):
        return found
    U = still(pmap, weights_of(model))
    if not U.shape[1]:
        return found
    basis = U if pmap.basis is None else pmap.basis @ U
    given = replace(pmap, basis=basis, origin=pmap.inner(found.x) * pmap.scale)
    newton = make_optimizer("newton", Options(tol=tol), None, {})
    start = torch.zeros(U.shape[1], dtype=torch.float64, device="cpu")
    inner = minimise(newton, LikelihoodProblem(objective.given(), given), start, verdict_tol=tol)
    if inner.status is not Status.CONVERGED:
        return replace(found, status=inner.status) if inner.status is Status.INTERRUPTED else found
    x = found.x + U @ inner.x
    at = LikelihoodProblem(objective, pmap).evaluate(x, 2)
    said = "The linear part is at its maximum given the weights of the net. Of these the method said: "
    said += found.status.sentence
    return replace(found, x=x, at=at, status=Status.TRAINED, decrement=at.decrement, notes=(*found.notes, said))
