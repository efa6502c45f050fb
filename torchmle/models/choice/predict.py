"""Predict choices: probabilities, market shares, and what changes do to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...errors import OptionError, UndefinedStatisticError, listing, unknown
from .drawn import Drawn, Stage, by_situation, make_stage, summed
from .quantities import Quantities, estimates_of, quantities
from .scenes import Scene, own_data, set_scene, weights_of

if TYPE_CHECKING:
    from .results import ChoiceResults


def probabilities(results: ChoiceResults, data: Any, available: Any) -> pd.DataFrame:
    """Return probabilities by situation; see :meth:`ChoiceResults.probabilities`."""
    scene = set_scene(results, data, "probabilities()", available)
    found = by_situation(make_stage(scene), estimates_of(results), lambda d: d.mean(d.prob))
    frame = pd.DataFrame(found.numpy(), index=scene.labels, columns=pd.Index(list(scene.alternatives)))
    if not len(scene.lost):
        return frame
    gone = pd.DataFrame(np.nan, index=scene.lost, columns=frame.columns)
    return pd.concat([frame, gone])


def shares(results: ChoiceResults, data: Any, weights: Any, available: Any, alpha: float) -> Quantities:
    """Return market shares; see :meth:`ChoiceResults.shares`."""
    scene = set_scene(results, data, "shares()", available)
    w = weights_of(results, scene, data, weights)
    values, jacobian = share_sums(make_stage(scene), estimates_of(results), w)
    labels = pd.DataFrame({"alternative": list(scene.alternatives)})
    return quantities(results, "Market shares", labels, values, jacobian, alpha, lost_notes(scene))


def share_sums(stage: Stage, theta: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return (J,) weighted means of probabilities and their (J, P) derivatives."""
    share = (w / w.sum()).to(stage.scene.attributes)

    def statistic(d: Drawn) -> Tensor:
        found: Tensor = share[d.rows] @ d.mean(d.prob)
        return found

    return summed(stage, theta, statistic)


def lost_notes(scene: Scene) -> tuple[str, ...]:
    """Return what is to be said of situations that have missing values."""
    if not len(scene.lost):
        return ()
    return (f"{len(scene.lost)} situations with missing values are left out ({listing(scene.lost, 3)}).",)


@dataclass(frozen=True, eq=False, repr=False)
class Counterfactual:
    """Hold market shares before and after a change, and the differences, each with errors.

    Attributes
    ----------
    before, after, change : shares of the alternatives, those of both sides; errors of the change are of the
        difference, as both sides have the same estimates.
    """

    before: Quantities
    after: Quantities
    change: Quantities

    @property
    def table(self) -> pd.DataFrame:
        """Return shares before and after, the change, its error and interval."""
        moved = self.change.table
        sides = {"before": self.before.values, "after": self.after.values, "change": self.change.values}
        return pd.DataFrame(sides, index=moved.index).join(moved[["std err", "[lower", "upper]"]])

    def __str__(self) -> str:
        table = self.table.to_string(float_format="{:.4g}".format)
        return "\n".join([self.change.title, table, *self.change.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = [f"<p>{escape(line)}</p>" for line in self.change.notes]
        table: str = self.table.to_html(float_format="{:.4g}".format)
        return "".join([table, *lines])


def counterfactual(
    results: ChoiceResults,
    data: Any,
    versus: Any,
    without: Any,
    changes: Mapping[str, Any],
    weights: Any,
    alpha: float,
) -> Counterfactual:
    """Return shares before and after a change; see :meth:`ChoiceResults.counterfactual`."""
    before, w_before, after, w_after = both_sides(results, data, versus, without, changes, weights, "counterfactual()")
    theta = estimates_of(results)
    one, other = (share_sums(make_stage(s), theta, w) for s, w in ((before, w_before), (after, w_after)))
    labels = list(dict.fromkeys([*before.alternatives, *after.alternatives]))
    values, jacobian = (_stacked(labels, before, after, one[i], other[i]) for i in (0, 1))
    J = len(labels)
    sides = ["before"] * J + ["after"] * J + ["change"] * J
    frame = pd.DataFrame({"side": sides, "alternative": labels * 3})
    notes = (*lost_notes(before), *lost_notes(after))
    whole = quantities(results, "Change of market shares", frame, values, jacobian, alpha, notes)
    parts = [whole.take(np.arange(k * J, (k + 1) * J)) for k in range(3)]
    named = [_named(part) for part in parts]
    return Counterfactual(named[0], named[1], named[2])


def _named(part: Quantities) -> Quantities:
    from dataclasses import replace

    return replace(part, labels=part.labels[["alternative"]])


def _stacked(labels: list[Any], before: Scene, after: Scene, one: Tensor, other: Tensor) -> Tensor:
    """Return rows before, after, and their differences, for all alternatives; one that is not there has share 0."""
    sides = []
    for scene, found in ((before, one), (after, other)):
        full = found.new_zeros(len(labels), *found.shape[1:])
        full[[labels.index(a) for a in scene.alternatives]] = found
        sides.append(full)
    return torch.cat([sides[0], sides[1], sides[1] - sides[0]])


def both_sides(
    results: ChoiceResults, data: Any, versus: Any, without: Any, changes: Mapping[str, Any], weights: Any, what: str
) -> tuple[Scene, Tensor, Scene, Tensor]:
    """Return the situations before and after a change with their weights.

    ``data`` are those after, or None where ``changes`` of columns or ``without`` say what changes; ``versus`` those
    before, the fit's by default.
    """
    if (data is None) == (not changes and without is None):
        raise OptionError(
            f"{what} needs either other data, or what changes: columns by name (price=lambda d: 1.2 * d.price), "
            "without='bus', but not both."
        )
    before = set_scene(results, versus, what)
    if data is None:
        base = own_data(results, what) if versus is None else before.design.data
        if base is None:
            raise OptionError(f"{what}: changes of columns need data with columns.")
        gone = () if without is None else (without,) if isinstance(without, str) else tuple(np.atleast_1d(without))
        for name in changes:
            if name not in base.frame.columns:
                raise OptionError(f"{what}: {unknown('column', name, map(str, base.frame.columns))}")
        data = base.with_columns(**changes) if changes else base
        data = data.without(*gone) if gone else data
    after = set_scene(results, data, what)
    return before, weights_of(results, before, versus, weights), after, weights_of(results, after, data, weights)


def need_estimates(results: ChoiceResults, what: str) -> None:
    """Raise where the estimates are no numbers."""
    if not bool(torch.isfinite(estimates_of(results)).all()):
        raise UndefinedStatisticError(f"{what}: the estimates are not finite ({results.status}).")
