"""Draw choices from a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...results.estimates import Estimates
from ..request import as_params
from ..simulate import check_count, check_seed

if TYPE_CHECKING:
    from .base import ChoiceModel


def keyed_generators(
    model: ChoiceModel, params: Any, n: int | None, seed: Any
) -> tuple[Tensor, Iterator[torch.Generator]]:
    """Return the parameters, and a generator for each of ``n`` replicates, keyed by seed and number."""
    state = check_seed(seed)
    count = 1 if n is None else check_count(n)
    given = params.params if isinstance(params, Estimates) else params
    return as_params(given, model.param_names, "params"), (_keyed(state, number) for number in range(count))


def _keyed(seed: int, number: int) -> torch.Generator:
    state = int(np.random.SeedSequence([seed, number, 2]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator(device="cpu").manual_seed(state)


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return standard Gumbel draws in float64: adding them to log-probabilities makes the largest a choice."""
    u = torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu")
    e: Tensor = -torch.log1p(-u)
    return -torch.log(torch.where(e > 0, e, torch.finfo(torch.float64).tiny))


def draw_choices(logp: Tensor, generator: torch.Generator) -> np.ndarray[Any, Any]:
    """Return (S,) positions drawn with (S, J) log-probabilities; what is not available is never drawn."""
    found = (logp.double().cpu() + gumbel(tuple(logp.shape), generator)).argmax(1)
    return np.asarray(found.numpy())
