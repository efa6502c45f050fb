"""Fit latent class logits: persons of a few kinds, each with coefficients of its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.choice import ChoiceDesign, person_matrix
from ...errors import DataError, OptionError, unknown
from ...loglik.choice import log_probabilities
from ...loglik.latent import Classes, LatentClassObjective
from ...params.constraints import constrain
from ...params.map import ParamMap, Units
from ..record import as_asked
from ..request import FitRequest
from .base import ChoiceModel
from .classes import ordered, search
from .latent_results import LatentClassResults
from .units import UnitExtras

STARTS = 10
"""Starting points that are tried where ``options={"starts": ...}`` does not say how many."""


class LatentClassLogit(ChoiceModel):
    """Fit a latent class logit: a conditional logit with other coefficients in each of a few classes of persons.

    ``P_n = sum_c pi_nc prod_t P(choice of situation t | b_c)`` with ``pi_nc = exp(z_n'a_c) / sum_d exp(z_n'a_d)`` and
    ``a_1 = 0`` (Greene and Hensher 2003; Train 2009, section 14.2). A person (``persons=``) is of the same class in all
    situations; without persons each situation is a person.

    Parameters
    ----------
    classes : how many.
    membership : formula of person variables on which the class depends, with a constant, ``"~ income"``; with arrays
        a frame or an array with a row a situation, to which the constant is added. By default a constant only.
    common : names of attributes whose coefficient is the same in all classes.

    Notes
    -----
    ``class1:time`` is a coefficient of the first class, ``cost`` a common one, ``share2:income`` one of the membership
    in the second class. The classes have no names: they are ordered by their share, the largest first, unless
    restrictions speak of them. The log-likelihood has several maxima: ``fit`` tries ten random points around the
    conditional logit (``options={"starts": 30, "spread": 2.0}``, ``seed``), each improved by an EM algorithm, goes on
    from the best one, and says in a note how many ended there.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.LatentClassLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"), alternatives="mode",
    ...                                          situations="trip", persons="person", classes=2, common=["cost"])
    >>> list(model.param_names)[:3]
    ['cost', 'class1:asc_train', 'class1:asc_bike']
    """

    by_person = True
    own_names = ("classes", "membership", "common")
    by_situation = ("Z",)

    Z: Tensor
    membership_names: tuple[str, ...]

    def _read_own(self, own: Mapping[str, Any]) -> None:
        super()._read_own(own)
        self.classes = own.get("classes", 2)
        if isinstance(self.classes, bool) or not isinstance(self.classes, int) or self.classes < 1:
            raise OptionError(f"classes={self.classes!r} must be a whole number from 1, such as 2.")
        given = own.get("common") or ()
        self.common = (given,) if isinstance(given, str) else tuple(given)
        self.membership = own.get("membership")
        if self.classes == 1 and self.membership is not None:
            raise OptionError("membership says who is of which class, and there is one class only. Leave it out.")

    @classmethod
    def _person_formulas(cls, own: Mapping[str, Any]) -> list[str]:
        given = own.get("membership")
        return [formula_of(given)] if isinstance(given, str) else []

    def _install_design(self, design: ChoiceDesign, extras: UnitExtras) -> np.ndarray[Any, Any] | None:
        kept = super()._install_design(design, extras)
        if self.ends is not None and extras.freq_weights is not None:
            raise OptionError(
                "freq_weights count situations, and here persons with several are the units. Repeat the persons, or "
                "use sampling_weights by person."
            )
        for name in self.common:
            if name not in self.exog_names:
                raise OptionError(unknown("attribute in common:", name, self.exog_names))
        if self.classes > 1 and len(set(self.common)) == len(self.exog_names):
            raise OptionError("All coefficients are common, so that all classes are the same. Leave some out.")
        self.membership_names, Z = self._membership(kept)
        self.Z = Z.to(self.X)
        self.membership = self.membership if isinstance(self.membership, str) else None
        return kept

    def _membership(self, kept: np.ndarray[Any, Any] | None) -> tuple[tuple[str, ...], Tensor]:
        """Return the names and the (S, L) values of the person variables of the membership."""
        design, given = self.design, self.membership
        if given is None:
            return ("Intercept",), torch.ones(len(self.chosen), 1)
        if not isinstance(given, str):
            names, values = _array(given, len(self.chosen) if kept is None else len(kept))
            values = values if kept is None else values[torch.from_numpy(kept)]
            _refuse_varying(values, design.person.cpu())
            return names, values
        if design.data is None:
            raise OptionError(f"membership={given!r} needs data with columns; give an array, or use from_formula.")
        found = person_matrix(formula_of(given), design.data, context=design.context)
        if "Intercept" not in found.names:
            raise OptionError(f"membership={given!r} has no constant, without which the shares say little. Keep it.")
        return found.names, found.X[design.person.cpu()]

    def constant_membership(self, situations: int) -> Tensor:
        """Return the (S, 1) variables of a membership that depends on nothing."""
        return self.X.new_ones(situations, 1)

    # ---- names and maps

    @property
    def layout(self) -> Classes:
        """Return where each parameter enters."""
        names = self.param_names
        places = [[names.index(self._name(c, term)) for term in self.exog_names] for c in range(self.classes)]
        return Classes(self.classes, torch.tensor(places, device="cpu"))

    def _name(self, position: int, term: str) -> str:
        return term if term in self.common else f"class{position + 1}:{term}"

    @property
    def param_names(self) -> tuple[str, ...]:
        """Return the names: common coefficients, those of the classes one after the other, those of the membership."""
        own = [self._name(c, term) for c in range(self.classes) for term in self.exog_names if term not in self.common]
        common = [term for term in self.exog_names if term in self.common]
        shares = [f"share{c + 1}:{term}" for c in range(1, self.classes) for term in self.membership_names]
        return (*common, *own, *shares)

    def attribute_of(self, name: str) -> int | None:
        """Return the attribute in whose units a parameter is measured, or None."""
        if name.startswith("share") and name not in self.exog_names:
            return None
        plain = name if name in self.exog_names else name.partition(":")[2]
        return self.exog_names.index(plain)

    def make_map(self, names: Sequence[str], units: Units = "scaled") -> ParamMap:
        """Return the map to comparable units: those of attributes, and of the variables of the membership."""
        pmap = super().make_map(names, units)
        if units == "raw":
            return pmap
        scale, sizes, own = pmap.scale.clone(), self.column_sizes(), self.layout.own
        spreads = self.Z.double().square().mean(0).sqrt().cpu()
        for i, name in enumerate(names):
            at = self.attribute_of(name)
            size = sizes[at] if at is not None else spreads[(i - own) % len(self.membership_names)]
            scale[i] = size if size > 0 else 1.0
        return replace(pmap, scale=scale)

    # ---- likelihood

    @property
    def person_variables(self) -> Tensor:
        """Return the (N, L) variables of the membership by person."""
        if self.ends is None:
            return self.Z
        first = torch.cat([self.ends.new_zeros(1), self.ends[:-1]])
        return self.Z[first]

    def make_objective(self, pmap: ParamMap) -> LatentClassObjective:
        """Return the log-likelihood with its derivatives in closed form."""
        weights = None if self.data.weights is None else self.data.weights.values
        return LatentClassObjective(self.choices, self.layout, self.person_variables, weights, self.ends)

    def loglikeobs(self, params: Any) -> Tensor:
        """Return the (N,) log-likelihoods of persons."""
        from ..derivatives import at

        pmap, gamma, objective = at(self, params)
        return objective.values(pmap.working(gamma))

    def drawn_log_probabilities(self, params: Tensor, seed: int) -> Tensor:
        """Return (S, J) log-probabilities given a class drawn for each person."""
        layout, at = self.layout, params.to(self.X)
        below = layout.log_shares(at, self.person_variables).exp().double().cpu().cumsum(1)[:, :-1]
        generator = torch.Generator(device="cpu").manual_seed(seed ^ 0x5DEECE66D)  # other draws than those of choices
        u = torch.rand(len(below), 1, generator=generator, dtype=torch.float64, device="cpu")
        drawn = (u > below).sum(1).to(self.X.device)
        if self.ends is not None:
            drawn = torch.repeat_interleave(drawn, self.ends.diff(prepend=self.ends.new_zeros(1)))
        beta = layout.coefficients(at)[drawn]
        with torch.no_grad():
            return log_probabilities(torch.bmm(self.X, beta[:, :, None])[..., 0], self.available)

    def own_arguments(self, situations: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Return classes, common coefficients and the variables of the membership."""
        own: dict[str, Any] = {"classes": self.classes, "common": self.common}
        columns = [j for j, name in enumerate(self.membership_names) if name != "Intercept"]
        if columns:
            names = [self.membership_names[j] for j in columns]
            own["membership"] = pd.DataFrame(self.Z.cpu().numpy()[situations][:, columns], columns=names)
        return own

    # ---- fit

    def start_candidates(self, pmap: ParamMap) -> list[Tensor]:
        """Return the best of several points; see :func:`torchmle.models.choice.classes.search`."""
        return [search(self, pmap, STARTS, 1.0, 0)[0]]

    def _fit(self, request: FitRequest) -> LatentClassResults:
        """Look for the best of several maxima, and bring the classes in order."""
        general, there = request.general, copy.copy(self)
        if request.start_params is None and request.resume is None:
            pmap = constrain(self.make_map(self.param_names), request.fixed, request.constraints)
            count = STARTS if general.starts == 1 else general.starts
            start, said = search(self, pmap, count, general.spread, request.seed or 0)
            there.start_params = dict(zip(pmap.names, start.tolist(), strict=True))
            there.data = replace(self.data, notes=(*self.data.notes, *said))
        once = replace(request, general=replace(general, starts=1))
        found = super(LatentClassLogit, there)._fit(once)
        better = None if self._named(request) else ordered(self, found.params.to_numpy())
        if better is not None:
            again = super(LatentClassLogit, there)._fit(replace(once, start_params=better.tolist(), resume=None))
            found = again if again.converged or not found.converged else found
        told = as_asked(found, request)
        return LatentClassResults(told.model, told.fit, told.inference, told.record, told.reporter)

    def _named(self, request: FitRequest) -> bool:
        """Return whether restrictions speak of single classes."""
        if request.conditions:
            return True
        given = request.constraints
        texts = [given] if isinstance(given, str) else list(given or ())
        texts += [*(request.fixed or {}), *(request.bounds or {})]
        own = [name for name in self.param_names if name not in self.common]
        return any(name in text for name in own for text in texts)


def formula_of(text: str) -> str:
    """Return a one-sided formula, with its tilde."""
    return text if text.lstrip().startswith("~") else f"~ {text}"


def _array(given: Any, situations: int) -> tuple[tuple[str, ...], Tensor]:
    """Return names and values of variables given as a frame or an array, with a constant before them."""
    names = tuple(map(str, given.columns)) if isinstance(given, pd.DataFrame) else None
    values = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != situations or not values.shape[1]:
        raise DataError(f"membership has shape {values.shape}; it must have a row for each of {situations} situations.")
    if not np.isfinite(values).all():
        raise DataError(f"membership has {int((~np.isfinite(values)).sum())} missing or infinite values.")
    names = tuple(f"z{j + 1}" for j in range(values.shape[1])) if names is None else names
    if "Intercept" in names or (np.ptp(values, axis=0) == 0).any():
        raise DataError("membership has a constant column; the constant is added. Leave it out.")
    return ("Intercept", *names), torch.from_numpy(np.column_stack([np.ones(situations), values]))


def _refuse_varying(values: Tensor, person: Tensor) -> None:
    same = person[1:] == person[:-1]
    bad = same & (values[1:] != values[:-1]).any(1)
    if bool(bad.any()):
        raise DataError(
            f"membership varies between the situations of a person (situation {int(bad.nonzero()[0]) + 1}); a class is "
            "one of persons."
        )
