"""Fit heteroskedastic logits: some people choose with more noise than others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.choice import ChoiceData, ChoiceDesign, person_matrix
from ...errors import DataError, OptionError
from ...loglik.choice import log_probabilities
from ...loglik.utility import Curvature
from ...params.map import ParamMap, Units
from .base import ChoiceModel
from .plain import conditional_start
from .units import UnitExtras


class HeteroskedasticLogit(ChoiceModel):
    """Fit a heteroskedastic (scaled) logit: utilities times ``exp(z'g)``, with variables z of the situation or person.

    ``P_j = exp(s V_j) / sum_i exp(s V_i)`` with ``s = exp(z'g)``: the larger the scale s, the smaller the part of what
    is not observed (DeShazo and Fermo 2002; Hole 2006). There is no constant in z: at z = 0 the scale is 1, and the
    coefficients are those at z = 0.

    Parameters
    ----------
    scale : formula of variables that are the same for all alternatives of a situation, ``"income + C(region)"``; with
        arrays, a frame or an array (S, L). The parameters are ``scale:income``.

    Raises
    ------
    FormulaError
        If a variable of the scale varies within a situation.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.HeteroskedasticLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"),
    ...                                              alternatives="mode", situations="trip", scale="distance")
    >>> res = model.fit()
    >>> list(res.params.index)[-1], res.converged
    ('scale:distance', True)
    """

    differences_only = True
    own_names = ("scale",)
    by_situation = ("Z",)
    Z: Tensor

    def _read_own(self, own: Mapping[str, Any]) -> None:
        super()._read_own(own)
        self.scale = own.get("scale")
        if self.scale is None:
            raise OptionError("scale='...' must say what the scale depends on; without it, use tm.ConditionalLogit.")

    @classmethod
    def _person_formulas(cls, own: Mapping[str, Any]) -> list[str]:
        given = own.get("scale")
        return [_formula(given)] if isinstance(given, str) else []

    def _install_design(self, design: ChoiceDesign, extras: UnitExtras) -> np.ndarray[Any, Any] | None:
        kept = super()._install_design(design, extras)
        names, Z = self._scale_variables(kept)
        self.Z = Z.to(self.X)
        self.scale = self.scale if isinstance(self.scale, str) else "given"
        self.extra_params = tuple(f"scale:{name}" for name in names)
        return kept

    def _scale_variables(self, kept: np.ndarray[Any, Any] | None) -> tuple[tuple[str, ...], Tensor]:
        """Return the names and the (S, L) values of what the scale depends on."""
        design = self.design
        if not isinstance(self.scale, str):
            names, values = _array(self.scale, len(self.chosen) if kept is None else len(kept))
            return names, values if kept is None else values[torch.from_numpy(kept)]
        if design.data is None:
            raise OptionError(f"scale={self.scale!r} needs data with columns; give an array with scale=, or a formula.")
        each = _situations_as_persons(design.data)
        found = person_matrix(_formula(self.scale), each, constant=False, context=design.context)
        if not found.names:
            raise OptionError(f"scale={self.scale!r} has no variable; without any, use tm.ConditionalLogit.")
        return found.names, found.X

    def log_probabilities(self, V: Tensor, params: Tensor, available: Tensor | None) -> Tensor:
        """Return the log-probabilities of alternatives."""
        scale = torch.exp(self.Z @ params[len(self.exog_names) :])
        return log_probabilities(V * scale[:, None], available)

    def curvature(self, V: Tensor, params: Tensor, available: Tensor | None, chosen: Tensor) -> Curvature:
        """Return second derivatives of the log-probabilities of the choices in the utilities."""
        scale = torch.exp(self.Z @ params[len(self.exog_names) :])[:, None]
        P = log_probabilities(V * scale, available).exp()
        return Curvature(-P * scale.square(), scale.square(), P[:, None])

    def own_arguments(self, situations: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Return what the scale depends on."""
        names = [name.partition(":")[2] for name in self.extra_params]
        return {"scale": pd.DataFrame(self.Z.cpu().numpy()[situations], columns=names)}

    def make_map(self, names: Any, units: Units = "scaled") -> ParamMap:
        """Return the map to comparable units: coefficients of the scale in those of its variables."""
        pmap = super().make_map(names, units)
        if units == "raw":
            return pmap
        scale, sizes = pmap.scale.clone(), self.Z.double().square().mean(0).sqrt().cpu()
        for name, size in zip(self.extra_params, sizes, strict=True):
            scale[names.index(name)] = size if size > 0 else 1.0
        return replace(pmap, scale=scale)

    def start_candidates(self, pmap: ParamMap) -> list[Tensor]:
        """Return the conditional logit: a scale of 1."""
        return [conditional_start(self, [0.0] * len(self.extra_params))]


def _formula(text: str) -> str:
    return text if text.lstrip().startswith("~") else f"~ {text}"


def _situations_as_persons(data: ChoiceData) -> ChoiceData:
    """Return data in which each situation is a person, so that variables may differ between those of one person."""
    return replace(data, person=np.arange(len(data)), person_labels=data.labels)


def _array(given: Any, situations: int) -> tuple[tuple[str, ...], Tensor]:
    """Return names and values of variables given as a frame or an array."""
    names = tuple(map(str, given.columns)) if isinstance(given, pd.DataFrame) else None
    values = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != situations or not values.shape[1]:
        raise DataError(f"scale has shape {values.shape}; it must have a row for each of {situations} situations.")
    if not np.isfinite(values).all():
        raise DataError(f"scale has {int((~np.isfinite(values)).sum())} missing or infinite values.")
    names = tuple(f"z{j + 1}" for j in range(values.shape[1])) if names is None else names
    return names, torch.from_numpy(values.copy())
