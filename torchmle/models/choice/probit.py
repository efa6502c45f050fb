"""Fit multinomial probits: errors of the alternatives are normal, with any covariance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.choice import ChoiceDesign
from ...errors import OptionError
from ...loglik.draws import Draws, read_draws
from ...loglik.ghk import log_probability
from ...params.map import ParamMap
from .base import ChoiceModel
from .plain import conditional_start
from .scenes import situation_tensors
from .units import UnitExtras

NUMBER = 200
"""Draws a situation unless told."""

MOST_BYTES = 2_000_000_000
"""Memory that draws may take."""

LOGIT_SCALE = math.pi / math.sqrt(3.0)
"""Standard deviation of the difference of two errors of a logit; that of the probit here is 1."""


class MultinomialProbit(ChoiceModel):
    """Fit a multinomial probit, with probabilities simulated by GHK.

    The choice is the largest ``V_j + e_j`` with normal errors. Only differences count: those from the error of the
    first alternative have the covariance ``L L'``; its lower triangular factor L is estimated as ``chol:<a>:<b>``, with
    ``L_11 = 1`` for the scale. The probability of a choice is that of J - 1 differences below zero, simulated as a
    product of J - 1 univariate ones (Train 2009, chapter 5; Hajivassiliou, McFadden and Ruud 1996).

    Parameters
    ----------
    draws : a number of Halton draws a choice situation, or :class:`torchmle.Draws`; by default 200 Halton draws.

    Raises
    ------
    OptionError
        For quadrature rules, which do not apply, and for draws that take more than two gigabytes.

    Notes
    -----
    With two alternatives it is the binary probit, and nothing is simulated. With more the covariance is identified
    through variables that vary over alternatives; with few of them, expect a flat likelihood (Keane 1992). Errors alike
    and independent are ``L L'`` with ones on the diagonal and 0.5 elsewhere: where the search starts.
    ``model.error_covariance(params)`` is ``L L'``. Simulated probabilities add up to 1 but for the error of simulation.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.MultinomialProbit.from_formula("chosen ~ time + cost | 0", tm.datasets.load("trips"), draws=50,
    ...                                           alternatives="mode", situations="trip")
    >>> list(model.param_names)[:4]
    ['time', 'cost', 'chol:bike:train', 'chol:bike:bike']
    """

    differences_only = True
    own_names = ("draws",)
    by_situation = ("log_u",)
    draws: Draws
    log_u: Tensor

    def _read_own(self, own: Mapping[str, Any]) -> None:
        super()._read_own(own)
        self.draws = read_draws(own.get("draws"), Draws(number=NUMBER))
        if self.draws.kind == "gauss_hermite":
            raise OptionError("kind='gauss_hermite' integrates over coefficients; GHK needs draws, e.g. 'halton'.")

    def _install_design(self, design: ChoiceDesign, extras: UnitExtras) -> np.ndarray[Any, Any] | None:
        kept = super()._install_design(design, extras)
        _, *others = self.alternatives
        entries = [(i, j) for i in range(len(others)) for j in range(i + 1)][1:]
        self.extra_params = tuple(f"chol:{others[i]}:{others[j]}" for i, j in entries)
        self.transforms = {n: "positive" for n, (i, j) in zip(self.extra_params, entries, strict=True) if i == j}
        self.log_u = log_uniforms(self, len(self.chosen), self.X)
        self.width = 8 * len(others) * self.log_u.shape[1]
        if len(others) > 1:
            said = f"Simulated by GHK: {self.draws.describe('choice situation')}."
            self.data = replace(self.data, notes=(*self.data.notes, said))
        return kept

    def root(self, params: Tensor) -> Tensor:
        """Return the (J - 1, J - 1) Cholesky factor of the covariance of errors less that of the first alternative."""
        dims = len(self.alternatives) - 1
        i, j = torch.tril_indices(dims, dims, device=params.device)
        entries = torch.cat([params.new_ones(1), params[len(self.exog_names) :]])
        return params.new_zeros(dims, dims).index_put((i, j), entries)

    def error_covariance(self, params: Tensor) -> Tensor:
        """Return the (J - 1, J - 1) covariance of the errors less that of the first alternative.

        Examples
        --------
        >>> import torch, torchmle as tm
        >>> model = tm.MultinomialProbit([0, 1, 2], torch.eye(3).double()[..., None].numpy(), draws=10)
        >>> model.error_covariance(torch.tensor([0.0, 0.5, 1.0]))
        tensor([[1.0000, 0.5000],
                [0.5000, 1.2500]])
        """
        root = self.root(params)
        return root @ root.mT

    def log_chosen(self, V: Tensor, params: Tensor, available: Tensor | None, chosen: Tensor) -> Tensor:
        """Return the (S,) log-probabilities of the choices."""
        root = self.root(params)
        order = torch.argsort(chosen, stable=True)
        counts = torch.bincount(chosen, minlength=V.shape[1]).tolist()
        parts = [
            self._log_probability(i, rows, V, root, available)
            for i, rows in enumerate(torch.split(order, counts))
            if len(rows)
        ]
        return torch.cat(parts)[torch.argsort(order)]

    def log_probabilities(self, V: Tensor, params: Tensor, available: Tensor | None) -> Tensor:
        """Return the (S, J) log-probabilities of alternatives."""
        root, every = self.root(params), torch.arange(len(V), device=V.device)
        logp = torch.stack([self._log_probability(i, every, V, root, available) for i in range(V.shape[1])], 1)
        return logp if available is None else logp.masked_fill(~available, -torch.inf)

    def _log_probability(self, i: int, rows: Tensor, V: Tensor, root: Tensor, available: Tensor | None) -> Tensor:
        """Return the log-probability that alternative i is best in some situations: ``e_j - e_i <= V_i - V_j``."""
        others = [j for j in range(V.shape[1]) if j != i]
        V = V[rows]
        counted = None if available is None else available[rows][:, others]
        return log_probability(V[:, [i]] - V[:, others], _less(root, i), self.log_u[rows], counted)

    def own_arguments(self, situations: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Return the draws."""
        return {"draws": self.draws}

    def start_candidates(self, pmap: ParamMap) -> list[Tensor]:
        """Return the conditional logit in units of the probit, with errors alike and independent."""
        dims = len(self.alternatives) - 1
        alike = torch.linalg.cholesky(0.5 * (torch.eye(dims, dtype=torch.float64) + 1))
        i, j = torch.tril_indices(dims, dims)
        start = conditional_start(self, alike[i, j][1:].tolist())
        return [torch.cat([start[: len(self.exog_names)] / LOGIT_SCALE, start[len(self.exog_names) :]])]


def _less(root: Tensor, i: int) -> Tensor:
    """Return the Cholesky factor for differences from alternative i, given that for differences from the first."""
    if i == 0:
        return root
    whole = torch.cat([root.new_zeros(1, len(root)), root])
    moved = torch.cat([whole[:i], whole[i + 1 :]]) - whole[i]
    found: Tensor = torch.linalg.cholesky(moved @ moved.mT)
    return found


def log_uniforms(model: MultinomialProbit, situations: int, like: Tensor) -> Tensor:
    """Return the (S, R, J - 2) logarithms of the uniform draws of situations, which go by their numbers."""
    dims = len(model.alternatives) - 2
    if dims < 1:
        return like.new_zeros(situations, 1, 0)
    size = situations * model.draws.number * dims * 8
    if size > MOST_BYTES:
        raise OptionError(
            f"{model.draws.describe('choice situation')} in {situations:,} situations with {dims + 2} alternatives "
            f"take {size / 1e9:.1f} GB, and at most {MOST_BYTES / 1e9:g} are taken. Give fewer: draws=..."
        )
    return model.draws.uniforms(range(situations), dims).log().to(like)


@situation_tensors.register
def _(model: MultinomialProbit, design: ChoiceDesign) -> dict[str, Any]:
    """Return the draws of new situations, which go by their position."""
    return {"log_u": log_uniforms(model, len(design.X), design.X)}
