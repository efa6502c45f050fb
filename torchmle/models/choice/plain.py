"""Fit the conditional logit that other models of choice start from."""

from __future__ import annotations

import torch
from torch import Tensor

from ...loglik.choice import Choices, ConditionalLogitObjective
from ...optim.base import Options, Status, minimise
from ...optim.registry import make_optimizer
from ...params.map import ParamMap
from ..problem import VERDICT, LikelihoodProblem

FAR = 20.0
"""Largest coefficient, in units of its attribute, that is a place to start from."""


def conditional_estimates(choices: Choices, names: tuple[str, ...], sizes: Tensor, weights: Tensor | None) -> Tensor:
    """Return the (K,) estimates of the conditional logit, or zeros where it has none."""
    found = minimise(
        make_optimizer("newton", Options(tol=1e-6, maxiter=50), None, {}),
        LikelihoodProblem(ConditionalLogitObjective(choices, weights), ParamMap(names, names, sizes)),
        torch.zeros(len(names), dtype=torch.float64, device="cpu"),
        verdict_tol=VERDICT[choices.X.dtype],
    )
    if found.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    near = bool(torch.isfinite(found.x).all()) and float(found.x.abs().max()) < FAR
    return found.x / sizes if near else torch.zeros_like(found.x)
