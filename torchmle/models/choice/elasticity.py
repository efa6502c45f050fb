"""Say by how many per cent choices move as an attribute of an alternative moves by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...errors import OptionError, UndefinedStatisticError, unknown
from .attribute import Attribute, read_attribute
from .drawn import Drawn, make_stage, summed, with_errors
from .predict import lost_notes
from .quantities import Quantities, covariance_of, estimates_of, quantities
from .scenes import Scene, set_scene, weights_of

if TYPE_CHECKING:
    from ...results.results import Results

AT = ("aggregate", "situations")


def elasticities(
    results: Results, variable: str, alternative: Any, data: Any, at: str, weights: Any, alpha: float
) -> Quantities | pd.DataFrame:
    """Return own and cross elasticities; see :meth:`ChoiceResults.elasticities`."""
    what = f"elasticities({variable!r})"
    if at not in AT:
        raise OptionError(unknown("at", at, AT))
    if at == "situations" and weights is not None:
        raise OptionError("weights= is for averages: elasticities at situations have none.")
    scene = set_scene(results, data, what)
    found = read_attribute(scene, variable, what)
    moving = _moving(scene, found, alternative, what)
    if at == "situations":
        return _by_situation(results, scene, found, moving)
    w = weights_of(results, scene, data, weights)
    values, jacobian = _aggregate(results, scene, found, moving, w)
    labels = _labels(scene, found, moving)
    notes = [*lost_notes(scene)]
    if not found.smooth:
        notes.append(f"Not differentiable in {variable}: a change of the column in its place.")
    bad = ~torch.isfinite(values)
    if bool(bad.any()):
        nobody = labels.alternative[bad.numpy()].iloc[0]
        raise UndefinedStatisticError(f"{what}: {nobody!r} has no share in these situations, so no elasticity.")
    title = f"Elasticities of market shares with respect to {variable}"
    return quantities(results, title, labels, values, jacobian, alpha, tuple(notes))


def _moving(scene: Scene, found: Attribute, alternative: Any, what: str) -> list[int] | None:
    """Return the alternatives whose attribute moves, or None where it belongs to the situation."""
    if found.shared and alternative is not None:
        raise OptionError(
            f"{what}: it is a variable of the situation, the same for all alternatives; leave alternative= out."
        )
    if found.shared:
        return None
    if alternative is None:
        return list(range(len(scene.alternatives)))
    if alternative not in scene.alternatives:
        raise OptionError(f"{what}: {unknown('alternative', alternative, map(str, scene.alternatives))}")
    return [scene.alternatives.index(alternative)]


def _rates(d: Drawn, found: Attribute, moving: list[int] | None) -> Tensor:
    """Return (n, J, I) derivatives of probabilities in the logarithm of the variable, of all alternatives or some."""
    by_utility = d.responses(d.along(found.slopes[d.rows])) * found.values[d.rows][:, None, :]
    return by_utility.sum(2, keepdim=True) if moving is None else by_utility[:, :, moving]


def _aggregate(
    results: Results, scene: Scene, found: Attribute, moving: list[int] | None, w: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the elasticities of shares: those of situations, weighted by probabilities, and their derivatives."""
    J = len(scene.alternatives)
    share = (w / w.sum()).to(scene.attributes)

    def statistic(d: Drawn) -> Tensor:
        moved = (_rates(d, found, moving) * share[d.rows][:, None, None]).sum(0)
        return torch.cat([share[d.rows] @ d.mean(d.prob), moved.flatten()])

    sums, rows = summed(make_stage(scene), estimates_of(results), statistic)
    base, top = sums[:J].repeat_interleave((len(sums) - J) // J), sums[J:]
    base_rows, top_rows = rows[:J].repeat_interleave((len(sums) - J) // J, 0), rows[J:]
    values = top / base
    return values, (top_rows - values[:, None] * base_rows) / base[:, None]


def _labels(scene: Scene, found: Attribute, moving: list[int] | None) -> pd.DataFrame:
    labels = list(scene.alternatives)
    if moving is None:
        return pd.DataFrame({"alternative": labels})
    of = [labels[i] for i in moving]
    return pd.DataFrame(
        {"alternative": [a for a in labels for _ in of], "of the attribute of": [b for _ in labels for b in of]}
    )


def _by_situation(results: Results, scene: Scene, found: Attribute, moving: list[int] | None) -> pd.DataFrame:
    """Return elasticities and errors by situation, where both alternatives are available."""

    def statistic(d: Drawn) -> Tensor:
        P = d.mean(d.prob)
        return (_rates(d, found, moving) / torch.where(d.there, P, torch.ones_like(P))[..., None]).flatten(1)

    values, variances = with_errors(make_stage(scene), estimates_of(results), statistic, covariance_of(results))
    labels = _labels(scene, found, moving)
    there = scene.there.cpu()
    both = there[:, :, None] & (torch.ones_like(there[:, None, :1]) if moving is None else there[:, None, moving])
    keep = both.flatten(1).numpy()
    row, column = np.nonzero(keep)
    index = pd.DataFrame({"situation": scene.labels.take(row)}).join(labels.iloc[column].reset_index(drop=True))
    errors = np.sqrt(np.clip(variances.numpy()[keep], 0.0, None))
    return pd.DataFrame({"estimate": values.numpy()[keep], "std err": errors}, index=pd.MultiIndex.from_frame(index))
