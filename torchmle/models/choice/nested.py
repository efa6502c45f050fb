"""Fit nested logits: alternatives that are alike compete more with each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from ...data.choice import ChoiceDesign
from ...errors import OptionError
from ...loglik.gev import nested_curvature, nested_log_probabilities
from ...loglik.utility import Curvature
from ...params.map import ParamMap
from ..request import FitRequest
from .base import ChoiceModel
from .plain import conditional_start
from .results import ChoiceResults
from .trees import deeper, parts_of, read_tree, refuse_strangers
from .units import UnitExtras


class NestedLogit(ChoiceModel):
    """Fit a nested logit, consistent with random utility: nests with dissimilarities ``lambda_<nest>``.

    ``P_j = P(j | m) P_m`` with ``P(j | m) = exp(V_j / lambda_m) / sum_i exp(V_i / lambda_m)`` over the nest m of j, and
    ``P_m`` the logit of ``lambda_m log sum_i exp(V_i / lambda_m)`` over the nests (Train 2009, chapter 4; McFadden
    1978). At lambda = 1 it is the conditional logit; ``1 - lambda^2`` is about the correlation within the nest. R's
    mlogit calls lambda ``iv``, biogeme's mu is 1 / lambda.

    Parameters
    ----------
    nests : name of a nest to its alternatives, ``{"ground": ["train", "bus", "car"]}``, or to a dict of nests inside
        it, ``{"ground": {"public": ["train", "bus"], "private": ["car"]}}``, to any depth. Alternatives in no nest are
        nests of their own; nests of one alternative have no dissimilarity.
    bounded : True keeps each lambda at 1 at most; by default it is free, but positive.

    Raises
    ------
    OptionError
        For unknown alternatives, nests that overlap, or nests whose dissimilarity is not identified.

    Notes
    -----
    A nest inside another has its own lambda, not a ratio. The model agrees with utility maximisation for all data if
    no lambda exceeds 1 or that of the nest around it; a note of the results says where one does. A common lambda:
    ``fit(constraints="lambda_a = lambda_b")``.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.NestedLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"), alternatives="mode",
    ...                                     situations="trip", nests={"public": ["bus", "train"]})
    >>> res = model.fit()
    >>> round(float(res.params["lambda_public"]), 2), round(float(res.bse["lambda_public"]), 2)
    (0.85, 0.14)
    """

    differences_only = True
    own_names = ("nests", "bounded")

    def _read_own(self, own: Mapping[str, Any]) -> None:
        super()._read_own(own)
        self.nests, self.bounded = own.get("nests"), own.get("bounded", False)
        if not isinstance(self.bounded, bool):
            raise OptionError(f"bounded={self.bounded!r} must be True or False.")

    def _install_design(self, design: ChoiceDesign, extras: UnitExtras) -> np.ndarray[Any, Any] | None:
        kept = super()._install_design(design, extras)
        self.tree, self.dissimilar = read_tree(self.nests, self.alternatives)
        refuse_strangers(parts_of(self.tree), self.available)
        self.extra_params = tuple(f"lambda_{name}" for name in self.dissimilar)
        return kept

    def log_probabilities(self, V: Tensor, params: Tensor, available: Tensor | None) -> Tensor:
        """Return the log-probabilities of alternatives; see the class for the formula."""
        return nested_log_probabilities(V, self.tree, params[len(self.exog_names) :], available)

    def curvature(self, V: Tensor, params: Tensor, available: Tensor | None, chosen: Tensor) -> Curvature:
        """Return second derivatives of the log-probabilities of the choices in the utilities."""
        return nested_curvature(V, self.tree, params[len(self.exog_names) :], available, chosen)

    def own_arguments(self, situations: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Return the nests."""
        return {"nests": self.nests, "bounded": self.bounded}

    def start_candidates(self, pmap: ParamMap) -> list[Tensor]:
        """Return the conditional logit: all dissimilarities 1."""
        return [conditional_start(self, [1.0] * len(self.extra_params))]

    def _fit(self, request: FitRequest) -> ChoiceResults:
        if self.bounded:
            held = set(request.fixed or {})
            ends = {name: (None, 1.0) for name in self.extra_params if name not in held}
            request = replace(request, bounds={**ends, **(request.bounds or {})})
        found = super()._fit(request)
        said = self._inconsistent(found)
        return replace(found, fit=replace(found.fit, notes=(*found.fit.notes, *said))) if said else found

    def _inconsistent(self, found: ChoiceResults) -> list[str]:
        """Return which estimates do not agree with utility maximisation for all data."""
        said = []
        for name, above in deeper(self.tree):
            value = float(found.params[f"lambda_{name}"])
            most, of = 1.0, "1"
            if above is not None:
                most, of = float(found.params[f"lambda_{above}"]), f"lambda_{above}"
            if value > most:
                said.append(
                    f"lambda_{name} = {value:.4g} is above {of}: the model agrees with utility maximisation for some "
                    "utilities only."
                )
        return said
