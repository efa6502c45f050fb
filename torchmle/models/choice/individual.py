"""Say what is known of the coefficients of single persons from their choices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.absent import need_rows
from ...errors import OptionError
from ...workers import map_ranges
from .drawn import Stage, make_stage
from .mixed import MixedLogit
from .population import Population
from .quantities import estimates_of
from .scenes import set_scene
from .worth import need_mixed, parameter_draws

if TYPE_CHECKING:
    from .results import ChoiceResults


def individual_coefficients(results: ChoiceResults, parameter_uncertainty: bool, draws: int, seed: int) -> pd.DataFrame:
    """Return posterior means and standard deviations; see :meth:`ChoiceResults.individual_coefficients`."""
    what = "individual_coefficients()"
    model = need_mixed(results, what)
    need_rows(model.data, what)
    if not isinstance(parameter_uncertainty, bool):
        raise OptionError(f"parameter_uncertainty={parameter_uncertainty!r} must be True or False.")
    for name, number, least in (("draws", draws, 20), ("seed", seed, 0)):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < least:
            raise OptionError(f"{name}={number!r} must be a whole number of {least} or more.")
    stage = make_stage(set_scene(results, None, what))
    first, second = posterior_moments(stage, model, estimates_of(results))
    sd = (second - first.square()).clamp(min=0.0).sqrt()
    columns = {"mean": first, "sd": sd}
    if parameter_uncertainty:
        columns["std err"] = _errors(results, stage, model, first, int(draws), int(seed))
    names = [model.randomness.names[k] for k in model.layout.columns]
    vary = set(Population(model, estimates_of(results)).names)
    table = {
        (name, kind): values[:, c].numpy()
        for c, name in enumerate(names)
        for kind, values in columns.items()
        if name in vary
    }
    data = model.design.data
    index = pd.RangeIndex(len(first)) if data is None else data.person_labels
    return pd.DataFrame(table, index=index)


def _errors(results: ChoiceResults, stage: Stage, model: MixedLogit, first: Tensor, draws: int, seed: int) -> Tensor:
    """Return how much posterior means move as the parameters are drawn from their normal law."""
    if not results.converged:
        return torch.full_like(first, torch.nan)
    total, square = torch.zeros_like(first), torch.zeros_like(first)
    for theta in parameter_draws(results, draws, seed):
        off = posterior_moments(stage, model, theta)[0] - first
        total += off
        square += off.square()
    return ((square - total.square() / draws) / (draws - 1)).clamp(min=0.0).sqrt()


def posterior_moments(stage: Stage, model: MixedLogit, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, C) first and second moments of the random coefficients of persons, given what they chose."""

    def work(start: int, stop: int) -> tuple[Tensor, Tensor]:
        found = []
        with torch.no_grad():
            for a in range(start, stop, stage.chunk):
                found.append(_moments(stage, model, theta.to(stage.scene.attributes), a, min(a + stage.chunk, stop)))
        return torch.cat([m for m, _ in found]), torch.cat([s for _, s in found])

    parts = map_ranges(work, len(stage.scene.persons), stage.chunk, stage.scene.attributes.device)
    return torch.cat([m for m, _ in parts]).double().cpu(), torch.cat([s for _, s in parts]).double().cpu()


def _moments(stage: Stage, model: MixedLogit, theta: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
    d = stage.at(theta, start, stop)
    chosen = model.chosen[d.rows]
    logp = d.logp[torch.arange(len(chosen), device=chosen.device), chosen]
    unit = stage.scene.unit[d.rows] - start
    each = logp.new_zeros(stop - start, logp.shape[1]).index_add(0, unit, logp) + d.weights.log()
    w = torch.softmax(each, 1)
    beta = _reported(model, stage.coefficients(theta, start, stop))
    return torch.einsum("ncr,nr->nc", beta, w), torch.einsum("ncr,nr->nc", beta.square(), w)


def _reported(model: MixedLogit, beta: Tensor) -> Tensor:
    """Return the (n, C, R) random coefficients; in willingness-to-pay space what attributes are worth."""
    columns, random = list(model.layout.columns), model.randomness
    if random.price is None:
        return beta[:, columns]
    at = random.names.index(random.price)
    scale = -beta[:, at : at + 1]
    worth = beta[:, columns] / scale
    worth[:, columns.index(at)] = scale[:, 0]
    return worth
