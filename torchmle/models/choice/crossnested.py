"""Fit cross-nested logits: an alternative belongs to several nests, each by a share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.choice import ChoiceDesign
from ...errors import OptionError, listing, unknown
from ...loglik.gev import cross_nested_log_probabilities
from ...params.map import ParamMap
from .base import ChoiceModel
from .plain import conditional_start
from .trees import flat, position, refuse_strangers
from .units import UnitExtras

START = 0.7
"""Dissimilarities at the start: at 1 the shares do not matter."""


class CrossNestedLogit(ChoiceModel):
    """Fit a cross-nested logit: nests with dissimilarities ``lambda_<nest>`` that share alternatives.

    ``P_j = sum_m P_m P(j | m)`` with ``P(j | m)`` proportional to ``(a_jm exp V_j)^(1 / lambda_m)`` and ``P_m`` to
    ``(sum_i (a_im exp V_i)^(1 / lambda_m))^lambda_m``; the shares a_jm of an alternative add up to 1 (Vovsha 1997; Wen
    and Koppelman 2001, the generalized nested logit). Where no alternative is in two nests it is the nested logit.

    Parameters
    ----------
    nests : name of a nest to its alternatives. Alternatives in no nest are nests of their own; nests of one
        alternative have no dissimilarity.
    allocation : shares of alternatives that are known, ``{"bus": {"public": 0.6, "road": 0.4}}``. Those of other
        alternatives in several nests are estimated as a logit: ``alloc:road:bus`` is ``log(a_road / a_first)``, with
        the first nest of ``nests`` that the alternative is in.

    Raises
    ------
    OptionError
        For unknown nests or alternatives, or shares that do not add up to 1.

    Notes
    -----
    At lambda = 1 shares do not matter, and the log-likelihood may have several maxima: compare starts with
    ``fit(options={"starts": 10}, seed=1)``.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.CrossNestedLogit.from_formula(
    ...     "chosen ~ time + cost", tm.datasets.load("trips"), alternatives="mode", situations="trip",
    ...     nests={"public": ["bus", "train"], "road": ["bus", "car"]},
    ...     allocation={"bus": {"public": 0.5, "road": 0.5}})
    >>> model.param_names[-2:]
    ('lambda_public', 'lambda_road')
    """

    differences_only = True
    own_names = ("nests", "allocation")
    member: Tensor
    known: Tensor

    def _read_own(self, own: Mapping[str, Any]) -> None:
        super()._read_own(own)
        self.nests, self.allocation = own.get("nests"), own.get("allocation")

    def _install_design(self, design: ChoiceDesign, extras: UnitExtras) -> np.ndarray[Any, Any] | None:
        kept = super()._install_design(design, extras)
        nests = flat(self.nests, self.alternatives)
        labels, names = self.alternatives, list(nests)
        inside = [[j in places for j in range(len(labels))] for places in nests.values()]
        inside += [[k == j for k in range(len(labels))] for j in range(len(labels)) if not any(r[j] for r in inside)]
        member = torch.tensor(inside)
        shares = read_allocation(self.allocation, labels, nests)
        self.slots = tuple(m for m, name in enumerate(names) if len(nests[name]) > 1)
        if not self.slots:
            raise OptionError(f"No nest in {self.nests!r} has two alternatives. Use tm.ConditionalLogit.")
        refuse_strangers({names[m]: [(j,) for j in nests[names[m]]] for m in self.slots}, self.available)
        self._refuse_everything(member[: len(names)], names)
        self.free = tuple(
            (m, j) for j in range(len(labels)) if j not in shares for m in member[:, j].nonzero()[1:, 0].tolist()
        )
        known = torch.zeros(member.shape, dtype=torch.float64)
        for j, given in shares.items():
            for m, share in given.items():
                known[m, j] = math.log(share)
        self.member, self.known = member.to(self.X.device), known.to(self.X)
        self.shared = torch.tensor([j not in shares for j in range(len(labels))], device=self.X.device)
        self.extra_params = (
            *(f"lambda_{names[m]}" for m in self.slots),
            *(f"alloc:{names[m]}:{labels[j]}" for m, j in self.free),
        )
        return kept

    def _refuse_everything(self, member: Tensor, names: Sequence[str]) -> None:
        """Raise where a nest holds all alternatives and they are in no other: its dissimilarity is only a scale."""
        whole = [m for m in range(len(names)) if bool(member[m].all()) and int(member.sum()) == member.shape[1]]
        if whole:
            raise OptionError(
                f"The nest {names[whole[0]]!r} holds all alternatives, and there is no other: its dissimilarity cannot "
                "be told from the size of the coefficients."
            )

    def log_probabilities(self, V: Tensor, params: Tensor, available: Tensor | None) -> Tensor:
        """Return the log-probabilities of alternatives; see the class for the formula."""
        return cross_nested_log_probabilities(V, *self.nesting(params), available)

    def nesting(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return which alternatives are in which nests, the logarithms of their shares, and the dissimilarities."""
        own = params[len(self.exog_names) :]
        count = len(self.slots)
        at, free = torch.tensor(self.slots, device=params.device), own[count:]
        dissimilarities = params.new_ones(len(self.member)).index_put((at,), own[:count])
        return self.member, self._log_shares(free), dissimilarities

    def _log_shares(self, free: Tensor) -> Tensor:
        """Return the (M, J) logarithms of shares."""
        logits = self.known
        if self.free:
            at = tuple(torch.tensor(part, device=free.device) for part in zip(*self.free, strict=True))
            logits = logits.index_put(at, free)
        total = torch.logsumexp(logits.masked_fill(~self.member, -torch.inf), 0)
        return torch.where(self.shared, logits - total, logits)

    def own_arguments(self, situations: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Return the nests and the shares that are known."""
        return {"nests": self.nests, "allocation": self.allocation}

    def start_candidates(self, pmap: ParamMap) -> list[Tensor]:
        """Return the conditional logit, with equal shares and some likeness within nests."""
        return [conditional_start(self, [*([START] * len(self.slots)), *([0.0] * len(self.free))])]


def read_allocation(
    given: Any, labels: tuple[Any, ...], nests: Mapping[str, tuple[int, ...]]
) -> dict[int, dict[int, float]]:
    """Return the known shares by alternative and nest."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise OptionError(f"allocation={given!r} must be a dict such as {{'bus': {{'public': 0.6, 'road': 0.4}}}}.")
    names, found = list(nests), {}
    for label, shares in given.items():
        j = position(label, labels, "allocation")
        holds = [name for name in names if j in nests[name]]
        if not isinstance(shares, Mapping):
            raise OptionError(f"allocation[{label!r}] must be a dict from nests to shares.")
        for name in shares:
            if name not in holds:
                raise OptionError(unknown(f"nest of {label!r} in allocation:", name, holds))
        values = {name: float(shares.get(name, 0.0)) for name in holds}
        if not holds or min(values.values()) <= 0 or abs(sum(values.values()) - 1) > 1e-9:
            raise OptionError(
                f"The shares of {label!r} are {dict(shares)}; each nest that lists it ({listing(holds)}) needs a "
                "positive share, and these must add up to 1. Take it out of nests in which it has none."
            )
        found[j] = {names.index(name): value for name, value in values.items()}
    return found
