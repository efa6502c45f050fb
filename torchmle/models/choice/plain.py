"""Size the attributes, and fit the conditional logit that other models of choice start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...loglik.choice import Choices, ConditionalLogitObjective
from ...optim.base import Options, Status, minimise
from ...optim.registry import make_optimizer
from ...params.map import ParamMap
from ..problem import VERDICT, LikelihoodProblem

FAR = 20.0
"""Largest coefficient, in units of its attribute, that is a place to start from."""


if TYPE_CHECKING:
    from .base import ChoiceModel

SIZED = 5_000
"""Situations of which the sizes of attributes are taken."""


def attribute_sizes(choices: Choices) -> Tensor:
    """Return the (K,) spreads of the attributes within situations; a sample of these is enough where all vary."""
    some = choices.take(slice(None, None, max(1, len(choices) // SIZED)))
    size = _spreads(some)
    if bool((size == 0).any()) and len(some) < len(choices):
        size = _spreads(choices)
    return torch.where(size > 0, size, torch.ones_like(size))


def _spreads(choices: Choices) -> Tensor:
    D = choices.differences()
    if choices.available is not None:
        D = D * choices.available[..., None]
    return D.double().square().mean((0, 1)).sqrt().cpu()


def conditional_start(model: ChoiceModel, own: Sequence[float]) -> Tensor:
    """Return the estimates of the conditional logit, and given values of the parameters that a model has beside."""
    weights = model.data.weights
    values = None if weights is None else weights.values
    b = conditional_estimates(model.choices, tuple(model.exog_names), model.column_sizes(), values)
    return torch.cat([b, b.new_tensor(own)])


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
