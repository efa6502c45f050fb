"""Split the records of a model into a candidate and a safety part, whole clusters where there are any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...data.crossproducts import cross_products, find_collinear
from ...data.design import Design
from ...errors import DataError, OptionError, listing
from ..part import part_of

if TYPE_CHECKING:
    from ..base import GenericLikelihoodModel


@dataclass(frozen=True)
class Split:
    """Hold which of n records are kept for the safety test, and how many clusters the parts have."""

    safety: Tensor
    clusters: tuple[int, int] | None

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the numbers of records in the candidate and in the safety part."""
        kept = int(self.safety.sum())
        return len(self.safety) - kept, kept

    @property
    def ratio(self) -> float:
        """Return how many independent observations the safety part has for each one of the candidate part."""
        candidate, safety = self.sizes if self.clusters is None else self.clusters
        return safety / candidate


def draw_split(model: GenericLikelihoodModel, share: float, seed: int) -> Split:
    """Return a random split; the same seed gives the same one.

    Parameters
    ----------
    share : of the records, or of the clusters, that the safety part gets.
    """
    groups = model.data.groups
    units = model.nobs if groups is None else groups.count
    count = round(share * units)
    what = "records" if groups is None else f"clusters of {groups.name!r}"
    if min(count, units - count) < 2:
        raise OptionError(
            f"safety={share:g} leaves {units - count} and {count} of {units} {what} for the candidate and the safety "
            "part; both need at least two."
        )
    order = torch.randperm(units, generator=torch.Generator(device="cpu").manual_seed(seed), device="cpu")
    chosen = torch.zeros(units, dtype=torch.bool, device="cpu")
    chosen[order[:count]] = True
    if groups is None:
        return Split(chosen, None)
    return Split(chosen[torch.from_numpy(np.ascontiguousarray(groups.codes))], (units - count, count))


def part(model: GenericLikelihoodModel, keep: Tensor, why: str, estimated: bool) -> GenericLikelihoodModel:
    """Return the model on some of its records.

    Parameters
    ----------
    why : what is said of the other records.
    estimated : whether parameters will be estimated there, so that columns may not be collinear.
    """
    at = keep.nonzero().flatten().to(model.data.device)
    designs = {
        name: _on_rows(design, at, estimated and not model.kept_columns) for name, design in model.data.designs.items()
    }
    return part_of(model, at, keep, designs, why)


def _on_rows(design: Design, at: Tensor, estimated: bool) -> Design:
    X = design.X[at]
    cross = cross_products(X)
    gone = [design.terms[d.column] for d in find_collinear(X, cross)] if estimated and not design.net else []
    if gone:
        raise DataError(
            f"Among the {len(X)} rows of the candidate part {listing(map(repr, gone))} cannot be told from the other "
            "columns. Leave them out, join rare levels, or use a smaller share for safety or another seed."
        )
    return replace(design, X=X, cross=cross)
