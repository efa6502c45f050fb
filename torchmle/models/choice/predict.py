"""Predict choices: probabilities, market shares, and what changes do to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    from ...results.results import Results


def probabilities(results: Results, data: Any, available: Any) -> pd.DataFrame:
    """Return probabilities by situation; see :meth:`ChoiceResults.probabilities`."""
    scene = set_scene(results, data, "probabilities()", available)
    found = by_situation(make_stage(scene), estimates_of(results), lambda d: d.mean(d.prob))
    frame = pd.DataFrame(found.numpy(), index=scene.labels, columns=pd.Index(list(scene.alternatives)))
    if not len(scene.lost):
        return frame
    gone = pd.DataFrame(np.nan, index=scene.lost, columns=frame.columns)
    return pd.concat([frame, gone])


def shares(results: Results, data: Any, by: Any, weights: Any, available: Any, alpha: float) -> Quantities:
    """Return market shares; see :meth:`ChoiceResults.shares`."""
    scene = set_scene(results, data, "shares()", available)
    w = weights_of(results, scene, data, weights)
    kinds = kinds_of(scene, by, "shares()")
    values, jacobian = share_sums(make_stage(scene), estimates_of(results), w, kinds)
    labels = pd.DataFrame({kinds.name: kinds.labels})
    return quantities(results, "Market shares", labels, values, jacobian, alpha, lost_notes(scene))


@dataclass(frozen=True, eq=False)
class Kinds:
    """Hold what shares are taken of: the alternatives themselves, or kinds of them that vary over situations.

    Attributes
    ----------
    name, labels : of the kinds.
    codes : (S, J) kind of each alternative, or None where these are the alternatives.
    """

    name: str
    labels: list[Any]
    codes: Tensor | None


def kinds_of(scene: Scene, by: Any, what: str) -> Kinds:
    """Return the kinds that a column of the long data, or a function of them, tells apart."""
    if by is None:
        return Kinds("alternative", list(scene.alternatives), None)
    data = scene.design.data
    if data is None:
        raise OptionError(f"{what}: by={by!r} needs data with columns.")
    if not callable(by) and by not in data.frame.columns:
        raise OptionError(f"{what}: {unknown('column in by:', by, map(str, data.frame.columns))}")
    values = pd.Series(np.asarray(by(data.frame) if callable(by) else data.frame[by]))
    if len(values) != len(data.frame) or bool(values.isna().any()):
        raise OptionError(f"{what}: by must give a value for each row of the long data, and none may be missing.")
    found, levels = pd.factorize(values, sort=True)
    places = {label: j for j, label in enumerate(scene.alternatives)}
    column = np.array([places[label] for label in data.alternatives])[data.alternative]
    codes = torch.zeros(scene.there.shape, dtype=torch.int64)
    codes[data.situation, column] = torch.from_numpy(found)
    name = "kind" if callable(by) else str(by)
    return Kinds(name, list(levels), codes.to(scene.there.device))


def share_sums(stage: Stage, theta: Tensor, w: Tensor, kinds: Kinds) -> tuple[Tensor, Tensor]:
    """Return (L,) weighted means of the probabilities of kinds and their (L, P) derivatives."""
    share = (w / w.sum()).to(stage.scene.attributes)
    codes = kinds.codes

    def statistic(d: Drawn) -> Tensor:
        P = d.mean(d.prob)
        found: Tensor = share[d.rows] @ P
        if codes is None:
            return found
        each = (share[d.rows, None] * P).flatten()
        return P.new_zeros(len(kinds.labels)).index_add(0, codes[d.rows].flatten(), each)

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
    results: Results,
    data: Any,
    versus: Any,
    without: Any,
    changes: Mapping[str, Any],
    by: Any,
    weights: Any,
    alpha: float,
) -> Counterfactual:
    """Return shares before and after a change; see :meth:`ChoiceResults.counterfactual`."""
    before, w_before, after, w_after = both_sides(results, data, versus, without, changes, weights, "counterfactual()")
    theta = estimates_of(results)
    kinds = [kinds_of(scene, by, "counterfactual()") for scene in (before, after)]
    both = zip((before, after), (w_before, w_after), kinds, strict=True)
    one, other = (share_sums(make_stage(scene), theta, w, kind) for scene, w, kind in both)
    labels = list(dict.fromkeys([*kinds[0].labels, *kinds[1].labels]))
    values, jacobian = (_stacked(labels, kinds, (one[i], other[i])) for i in (0, 1))
    J = len(labels)
    sides = ["before"] * J + ["after"] * J + ["change"] * J
    frame = pd.DataFrame({"side": sides, kinds[0].name: labels * 3})
    notes = (*lost_notes(before), *lost_notes(after))
    whole = quantities(results, "Change of market shares", frame, values, jacobian, alpha, notes)
    parts = [whole.take(np.arange(k * J, (k + 1) * J)) for k in range(3)]
    named = [replace(part, labels=part.labels[[kinds[0].name]]) for part in parts]
    return Counterfactual(named[0], named[1], named[2])


def _stacked(labels: list[Any], kinds: Sequence[Kinds], parts: Sequence[Tensor]) -> Tensor:
    """Return rows before, after, and their differences, for all kinds; one that is not there has share 0."""
    sides = []
    for kind, found in zip(kinds, parts, strict=True):
        full = found.new_zeros(len(labels), *found.shape[1:])
        full[[labels.index(a) for a in kind.labels]] = found
        sides.append(full)
    return torch.cat([sides[0], sides[1], sides[1] - sides[0]])


def both_sides(
    results: Results, data: Any, versus: Any, without: Any, changes: Mapping[str, Any], weights: Any, what: str
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


def need_estimates(results: Results, what: str) -> None:
    """Raise where the estimates are no numbers."""
    if not bool(torch.isfinite(estimates_of(results)).all()):
        raise UndefinedStatisticError(f"{what}: the estimates are not finite ({results.status}).")
