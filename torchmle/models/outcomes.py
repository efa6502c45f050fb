"""Expect the information of a row over its possible responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import LikelihoodError, OptionError
from ..inference.ingredients import Expected

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel
    from .predictors import LinearPredictorModel

Expectation = Sequence[Sequence[Tensor | None]]
"""For each predictor j the (n,) ``E(-d2 l / d eta_j d eta_k)`` for k = j, j+1, ...; None for zero."""

MOST = 100_000
"""Counts over which a sum runs at most."""

REST = 1e-9
"""Probability of all responses that a sum may leave out, or that may be missing from one."""


def opaque_expectation(model: GenericLikelihoodModel) -> Expected | str:
    """Return why the expected information of an opaque likelihood is not known."""
    return f"the likelihood of {model.model_name} is opaque, and does not say which responses are possible."


def expectation(model: LinearPredictorModel) -> Expected | str:
    """Return the function from rows and predictors to their expected information, or why there is none."""
    if model.nets:
        return f"{type(model).__name__} has a predictor with a module, which is not linear in its weights."
    base: Callable[..., Expectation] = vars(_base(type(model)))["expected_information"]
    if type(model).expected_information is base and model.response not in ("binary", "count"):
        hook = f"expected_information(self, {', '.join(model.data.designs)})"
        return f"{type(model).__name__} has no expected information. Define {hook} in the class."
    return lambda rows, etas: model.take(rows).expected_information(*etas)


def _base(cls: type[LinearPredictorModel]) -> type[LinearPredictorModel]:
    """Return the class that defines the default."""
    from .predictors import LinearPredictorModel

    assert issubclass(cls, LinearPredictorModel)
    return LinearPredictorModel


def over_outcomes(model: LinearPredictorModel, etas: Sequence[Tensor]) -> Expectation:
    """Return ``E(s_j s_k)``, the expected information, by summing over all responses that are possible.

    ``s_j = d log f(y) / d eta_j`` comes from the model's own log-density, which must add up to one.
    """
    J = len(etas)
    sums = [[torch.zeros_like(etas[0]) for _ in range(J - j)] for j in range(J)]
    mass = torch.zeros_like(etas[0])
    for y in _responses(model.response):
        leaves = [e.detach().clone().requires_grad_() for e in etas]
        values = model.logdensity(torch.full_like(etas[0], y), *leaves)
        slopes = _slopes(values, leaves)
        f = values.detach().exp()
        mass = mass + f
        last = 0.0
        for j in range(J):
            for i in range(J - j):
                term = torch.where(f > 0, f * slopes[j] * slopes[j + i], torch.zeros_like(f))
                sums[j][i] += term
                if i == 0:
                    last = max(last, float((term / sums[j][i].clamp(min=1e-300)).max()))
        if model.response == "count" and bool((mass > 1 - REST).all()) and last < torch.finfo(f.dtype).eps:
            break
    if not bool(((mass - 1).abs() <= max(REST, 100 * torch.finfo(mass.dtype).eps)).all()):
        _refuse(model, mass)
    return sums


def _responses(kind: str | None) -> Iterator[float]:
    yield from ((0.0, 1.0) if kind == "binary" else map(float, range(MOST)))


def _slopes(values: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(values.sum(), leaves, allow_unused=True)
    return [torch.zeros_like(e) if d is None else d for d, e in zip(found, leaves, strict=True)]


def _refuse(model: LinearPredictorModel, mass: Tensor) -> None:
    """Raise for a log-density that does not add up, or needs too long a sum."""
    worst = float(mass[(mass - 1).abs().argmax()])
    if model.response == "binary" or not worst < 1:
        raise LikelihoodError(
            f"The probabilities of {type(model).__name__} add up to {worst:.6g} over the responses that are possible, "
            "so that its expected information is not defined. Check logdensity, or use the observed information."
        )
    raise OptionError(
        f"The expected information of {type(model).__name__} is a sum over counts, and those up to {MOST} hold "
        f"{worst:.6g} of the probability only. Use the observed information."
    )
