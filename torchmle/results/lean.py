"""Let the rows of a fit go, and keep what was computed from them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.absent import absent, has_rows, no_rows, without_rows
from ..errors import TorchmleError
from ..loglik.objective import Chunk, Objective

if TYPE_CHECKING:
    from .estimates import Estimates

R = TypeVar("R", bound="Estimates")


class GoneObjective(Objective):
    """Stand where the log-likelihood cannot be evaluated any more; ``kind`` is the class that evaluated it."""

    def __init__(self, rows: int, separable: bool, dtype: torch.dtype, kind: str) -> None:
        self.rows, self.separable, self.dtype, self.kind = rows, separable, dtype, kind
        self.chunk, self.device = max(rows, 1), torch.device("cpu")

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Raise: the rows are gone."""
        raise no_rows("The log-likelihood")

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Raise: the rows are gone."""
        raise no_rows("The scores of the rows")

    def row_values(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Raise: the rows are gone."""
        raise no_rows("The log-likelihoods of the rows")

    def take(self, index: Tensor) -> Objective:
        """Raise: the rows are gone."""
        raise no_rows("The log-likelihood")


def lean(results: R) -> R:
    """Return the same results without the rows, with the statistics that were made of them."""
    if not has_rows(results.model.data):
        return results
    kept = statistics(results)
    old = results.fit.objective
    gone = GoneObjective(old.rows, old.separable, old.dtype, type(old).__name__)
    covariance = results.inference.covariance
    covariance = replace(covariance, kwds=_described(covariance.kwds))
    less = replace(
        results,
        model=bare(results.model),
        fit=replace(results.fit, objective=gone),
        inference=replace(results.inference, covariance=covariance),
    )
    vars(less).update(kept)
    return less


def statistics(results: Estimates) -> dict[str, Any]:
    """Return what is computed from the rows, where it is defined; it is known again in results without rows."""
    found = {}
    for name in type(results).row_statistics:
        try:
            found[name] = getattr(results, name)
        except TorchmleError:  # not defined for this model: asked again, it says why
            continue
    return found


def _described(kwds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a covariance, ids as what they were."""
    told = {}
    for name, value in kwds.items():
        ids = isinstance(value, (np.ndarray, pd.Series, pd.Index, Tensor, list, tuple)) and len(value) > 1
        told[name] = f"{type(value).__name__} of {len(value)} ids, not kept" if ids else value
    return told


def bare(model: Any) -> Any:
    """Return a shallow copy of a model without whatever has a row for each row of its data."""
    rows = model.data.rows
    less = copy.copy(model)
    for name, value in vars(model).items():
        array = isinstance(value, (Tensor, np.ndarray, pd.Series, pd.DataFrame)) and value.ndim > 0
        if array and len(value) in (rows.count, rows.total):
            dtype = value.dtype if isinstance(value, Tensor) else torch.float64
            less.__dict__[name] = absent(value.shape, dtype)
    less.__dict__.update(model.rowless)
    less.data = without_rows(model.data)
    return less
