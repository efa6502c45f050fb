"""Say what a set of alternatives is worth in money: the expected utility of the best one over the worth of money."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ...errors import OptionError, UndefinedStatisticError
from ...loglik.gev import cross_nested_value, nested_value
from .attribute import Attribute, read_attribute
from .base import ChoiceModel
from .crossnested import CrossNestedLogit
from .drawn import Drawn, make_stage, summed
from .mixed import MixedLogit
from .nested import NestedLogit
from .population import Population, refuse_zero
from .predict import both_sides, lost_notes
from .quantities import Quantities, estimates_of, quantities
from .scaled import HeteroskedasticLogit
from .scenes import Scene, model_of, set_scene, weights_of

if TYPE_CHECKING:
    from .results import ChoiceResults

SAME = 1e-9
"""Relative gap of the worth of money between alternatives that is rounding."""


@singledispatch
def best_value(model: ChoiceModel, d: Drawn) -> Tensor:
    """Return the (n, R) expected utility of the best alternative, in units of the utilities, up to a constant."""
    if type(model).log_probabilities is not ChoiceModel.log_probabilities:
        raise UndefinedStatisticError(f"surplus(): {type(model).__name__} does not say what a choice set is worth.")
    return torch.logsumexp(d.V.masked_fill(~d.there[..., None], -torch.inf), 1)


@best_value.register
def _(model: NestedLogit, d: Drawn) -> Tensor:
    return nested_value(d.V[..., 0], model.tree, d.theta[len(model.exog_names) :], d.there)[:, None]


@best_value.register
def _(model: CrossNestedLogit, d: Drawn) -> Tensor:
    return cross_nested_value(d.V[..., 0], *model.nesting(d.theta), d.there)[:, None]


@best_value.register
def _(model: HeteroskedasticLogit, d: Drawn) -> Tensor:
    scale = torch.exp(model.Z @ d.theta[len(model.exog_names) :])[:, None]
    scaled = d.V * scale[..., None]
    return torch.logsumexp(scaled.masked_fill(~d.there[..., None], -torch.inf), 1) / scale


def surplus(
    results: ChoiceResults,
    price: str,
    data: Any,
    versus: Any,
    without: Any,
    changes: Mapping[str, Any],
    weights: Any,
    alpha: float,
) -> Quantities:
    """Return consumer surplus and its change; see :meth:`ChoiceResults.surplus`."""
    what, theta = f"surplus({price!r})", estimates_of(results)
    if data is None and without is None and not changes and versus is None:
        scene = set_scene(results, None, what)
        value, row = _mean_surplus(results, scene, weights_of(results, scene, None, weights), price, what)
        labels = pd.DataFrame({"surplus": ["level"]})
        note = "Levels are known up to a constant; only differences mean something."
        return quantities(results, _title(price), labels, value[None], row[None], alpha, (note,))
    before, w_before, after, w_after = both_sides(results, data, versus, without, changes, weights, what)
    (one, row), (other, moved) = (
        _mean_surplus(results, scene, w, price, what) for scene, w in ((before, w_before), (after, w_after))
    )
    if not bool(torch.isfinite(torch.stack([one, other])).all()):
        raise UndefinedStatisticError(f"{what}: not finite at the estimates {theta.tolist()}.")
    labels = pd.DataFrame({"surplus": ["before", "after", "change"]})
    values, rows = torch.stack([one, other, other - one]), torch.stack([row, moved, moved - row])
    notes = (*lost_notes(before), *lost_notes(after), "Levels are known up to a constant; the change is not.")
    return quantities(results, _title(price), labels, values, rows, alpha, notes)


def _title(price: str) -> str:
    return f"Consumer surplus per choice situation, in units of {price}"


def _mean_surplus(results: ChoiceResults, scene: Scene, w: Tensor, price: str, what: str) -> tuple[Tensor, Tensor]:
    """Return the mean of the expected best utility over minus the derivative of utility in the price."""
    found = read_attribute(scene, price, what)
    money = _money(results, scene, found, price, what)
    share = (w / w.sum()).to(scene.attributes)

    def statistic(d: Drawn) -> Tensor:
        worth = -torch.einsum("nk,nkr->nr", money[d.rows], d.beta)
        if not bool((worth > 0).all()):
            raise UndefinedStatisticError(
                f"{what}: utility does not fall in the price everywhere (its coefficient is positive), so that money "
                "has no positive worth."
            )
        each = d.mean(best_value(scene.model.at_situations(d.rows), d) / worth)
        return (share[d.rows] @ each)[None]

    value, row = summed(make_stage(scene), estimates_of(results), statistic)
    return value[0], row[0]


def _money(results: ChoiceResults, scene: Scene, found: Attribute, price: str, what: str) -> Tensor:
    """Return (S, K) derivatives of attributes in the price, the same for all alternatives of a situation."""
    if not found.linear:
        raise OptionError(
            f"{what}: {price!r} does not enter linearly, so that what money is worth changes along the way, and the "
            "logsum is no surplus. Interactions such as cost:income are fine."
        )
    if found.shared:
        raise OptionError(f"{what}: {price!r} is the same for all alternatives; it is no price of theirs.")
    first = scene.there.to(torch.int64).argmax(1)
    D = found.slopes
    money = D[torch.arange(len(D), device=D.device), first]
    gap = ((D - money[:, None]) * scene.there[..., None]).abs().amax()
    if bool(gap > SAME * D.abs().amax()):
        raise OptionError(
            f"{what}: {price!r} has coefficients by alternative, so that money is worth more in one than in another. "
            "Give it one coefficient: 'choice ~ cost | ...'."
        )
    _refuse_laws(results, money, what)
    return money


def _refuse_laws(results: ChoiceResults, money: Tensor, what: str) -> None:
    """Refuse random price coefficients whose inverse has no mean."""
    model = model_of(results)
    if not isinstance(model, MixedLogit):
        return
    names = [model.randomness.names[k] for k in (money != 0).any(0).nonzero().flatten().tolist()]
    laws = model.randomness.laws
    random = [n for n in names if n in laws]
    if not random or model.randomness.space == "wtp":
        return
    if len(names) > 1:
        raise OptionError(f"{what}: the price enters by {names}, of which {random} vary over persons. Fix these.")
    population = Population(model, estimates_of(results))
    refuse_zero(laws[names[0]], population.distribution(names[0]), names[0], what)
