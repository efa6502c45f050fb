"""Hold what all models of discrete choice share: data, names, weights by unit, the log-likelihood of a kernel."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...config import resolve_device
from ...data.choice import ChoiceData, ChoiceDesign, choice_design
from ...data.formula import caller_names
from ...errors import OptionError, UndefinedStatisticError, collecting_notes, listing, unknown
from ...loglik.choice import Choices, log_probabilities
from ...loglik.objective import Objective
from ...loglik.utility import UtilityObjective
from ...params.map import ParamMap, Units
from ...results.estimates import Estimates
from ...workers import engine
from ..base import GenericLikelihoodModel
from ..fitting import run_fit
from ..request import FitRequest
from .results import ChoiceResults
from .units import UnitExtras, array_design, read_labels, unit_data

C = TypeVar("C", bound="ChoiceModel")

LAYOUT = ("alternatives", "situations", "persons", "available")
EXTRAS = ("freq_weights", "sampling_weights", "groups")
KEYWORDS = (*LAYOUT, "base", *EXTRAS, "missing", "collinear", "device", "dtype")

IN_USE = ("X", "chosen", "available", "endog", "ends")
"""Attributes that a part of the situations gets in another way, or not at all."""

SIZED = 5_000
"""Situations of which the sizes of attributes are taken."""


class ChoiceModel(GenericLikelihoodModel):
    """Fit choices among alternatives; a subclass says how utilities become probabilities.

    Parameters
    ----------
    endog : (S,) positions of the chosen alternatives, 0 .. J - 1.
    exog : (S, J, K) attributes of the alternatives in each choice situation.
    names : names of the K attributes.
    alternatives : labels of the J alternatives; by default their positions.
    available : (S, J) bool; None where every alternative always is.
    persons : (S,) ids of the persons who choose; the situations of one must lie together.
    freq_weights, sampling_weights, groups : by situation (by person where a person's choices are one observation).
    device, dtype : where and in what to compute.

    Notes
    -----
    :meth:`from_formula` takes long or wide data with a formula.
    """

    response: str | None = "choice"
    takes_exposure = False
    by_person = False
    """Whether a person, not a choice situation, is the unit of observation."""
    differences_only = False
    """Whether ``log_probabilities`` depends on differences of utilities only; then no digits are lost in them."""

    design: ChoiceDesign
    X: Tensor
    chosen: Tensor
    available: Tensor | None
    ends: Tensor | None

    def __init__(
        self,
        endog: Any,
        exog: Any,
        *,
        names: Sequence[str] | None = None,
        alternatives: Sequence[Any] | None = None,
        available: Any = None,
        persons: Any = None,
        freq_weights: Any = None,
        sampling_weights: Any = None,
        groups: Any = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str = torch.float64,
        _design: ChoiceDesign | None = None,
        **own: Any,
    ) -> None:
        self._read_own(own)
        where, kind = resolve_device(device, dtype)
        with engine(where):
            if _design is None:
                _design = self._array_design(endog, exog, names, available, persons, where, kind)
                if alternatives is not None:
                    _design = replace(_design, labels=read_labels(alternatives, _design.X.shape[1]))
            self._install_design(_design, UnitExtras(freq_weights, sampling_weights, groups))

    @classmethod
    def from_formula(
        cls: type[C],
        formula: str,
        data: Any,
        *,
        alternatives: str | None = None,
        situations: str | None = None,
        persons: str | None = None,
        available: str | None = None,
        base: Any = None,
        freq_weights: Any = None,
        sampling_weights: Any = None,
        groups: Any = None,
        missing: str = "drop",
        collinear: str = "drop",
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str = torch.float64,
        **own: Any,
    ) -> C:
        """Build the model from a formula and a table of choices.

        Parameters
        ----------
        formula : ``"choice ~ generic | by_alternative | own"``: attributes with one coefficient each; variables of the
            situation or person, with a coefficient for each alternative but the base (the constants of the
            alternatives are among them, ``| 0`` leaves them out); attributes with a coefficient for each alternative.
        data : a long table, one row for each alternative of each situation, or :class:`torchmle.ChoiceData`.
        alternatives, situations, persons, available : columns of a long table: the name of the alternative, the ids
            of situation and person, whether the alternative is available (0 or 1).
        base : the alternative whose constant is zero; by default the first.
        freq_weights, sampling_weights, groups : column names, or a value for each situation.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost | income", tm.datasets.load("trips"),
        ...                                          alternatives="mode", situations="trip", base="bus")
        >>> list(model.param_names)
        ['asc_train', 'asc_bike', 'asc_car', 'time', 'cost', 'income:train', 'income:bike', 'income:car']
        """
        where, kind = resolve_device(device, dtype)
        context = caller_names([formula], 2)
        with engine(where), collecting_notes() as notes:
            table = cls._table(formula, data, (alternatives, situations, persons, available), missing)
            also = cls._person_formulas(own)
            design = choice_design(
                formula, table, base=base, dtype=kind, device=where, context=context, collinear=collinear, also=also
            )
            model = cls(
                None,
                None,
                freq_weights=freq_weights,
                sampling_weights=sampling_weights,
                groups=groups,
                device=device,
                dtype=dtype,
                _design=design,
                **own,
            )
        model.data = replace(model.data, notes=(*_lost(design.data), *notes, *model.data.notes))
        return model

    @classmethod
    def _table(cls, formula: str, data: Any, layout: tuple[Any, ...], missing: str) -> ChoiceData:
        """Return the choice data of a long table, or those given."""
        given = dict(zip(LAYOUT, layout, strict=True))
        if isinstance(data, ChoiceData):
            twice = [name for name, value in given.items() if value is not None]
            if twice:
                raise OptionError(f"{listing(twice)} cannot be given with ChoiceData, which know them. Leave them out.")
            return data
        if given["alternatives"] is None:
            raise OptionError(
                "alternatives=... must name the column that says which alternative a row of the long table is. Wide "
                "tables: data = tm.ChoiceData.from_wide(...)."
            )
        choice = formula.split("~")[0].strip()
        return ChoiceData.from_long(data, choice=choice, missing=missing, **given)

    @classmethod
    def _person_formulas(cls, own: Mapping[str, Any]) -> list[str]:
        """Return the formulas, among the arguments of one model, whose variables belong to persons."""
        return []

    def _read_own(self, own: Mapping[str, Any]) -> None:
        """Take the arguments that only one model has; refuse others."""
        for name in own:
            raise OptionError(unknown(f"argument of {type(self).__name__}:", name, KEYWORDS))

    def _array_design(self, endog: Any, exog: Any, *rest: Any) -> ChoiceDesign:
        """Return the design of arrays."""
        return array_design(endog, exog, *rest)

    def _install_design(self, design: ChoiceDesign, extras: UnitExtras) -> None:
        if bool((design.chosen < 0).any()):
            raise OptionError("The data say of some situations not what was chosen; they are for predictions only.")
        self.design = design
        self.X, self.chosen, self.available = design.X, design.chosen, design.available
        self.data, self.ends = unit_data(design, extras, self.by_person)
        self.endog, self.offset, self.exog_names = self.data.endog, None, list(design.names)

    @property
    def alternatives(self) -> tuple[Any, ...]:
        """Return the labels of the J alternatives."""
        design = self.design
        if design.data is not None:
            return design.data.alternatives
        return design.labels or tuple(range(design.X.shape[1]))

    @property
    def choices(self) -> Choices:
        """Return the choice situations as the engine takes them."""
        return Choices(self.X, self.chosen, self.available)

    # ---- what a subclass writes

    def log_probabilities(self, V: Tensor, params: Tensor, available: Tensor | None) -> Tensor:
        """Return (S, J) log-probabilities at utilities and all parameters, minus infinity where not available.

        It may read attributes of the model with one entry a situation: it is called on parts of the situations.
        """
        return log_probabilities(V, available)

    def loglikeobs(self, params: Any) -> Tensor:
        """Return the log-probabilities of the choices made."""
        at = params if isinstance(params, Tensor) else torch.as_tensor(np.asarray(params), dtype=self.X.dtype)
        V = self.X @ at[: self.X.shape[2]]
        logp = self.log_probabilities(V, at, self.available)
        return logp.gather(1, self.chosen[:, None])[:, 0]

    def make_objective(self, pmap: ParamMap) -> Objective:
        """Return the log-likelihood; its derivatives are taken in the utilities unless ``loglikeobs`` is one's own."""
        if type(self).loglikeobs is not ChoiceModel.loglikeobs:
            return super().make_objective(pmap)

        def kernel(rows: slice | Tensor, V: Tensor, params: Tensor, available: Tensor | None) -> Tensor:
            return self.at_situations(rows).log_probabilities(V, params, available)

        weights = self.data.weights
        return UtilityObjective(
            self.choices,
            kernel,
            len(pmap.names),
            None if weights is None else weights.values,
            self.ends,
            differences=self.differences_only,
            what=self.likelihood_label,
        )

    def at_situations(self: C, rows: slice | Tensor) -> C:
        """Return a shallow copy whose attributes with one entry a situation have only those of some situations."""
        part = copy.copy(self)
        for name, value in vars(self).items():
            by_situation = isinstance(value, Tensor) and value.ndim and len(value) == len(self.chosen)
            if by_situation and name not in IN_USE:
                part.__dict__[name] = value[rows]
        return part

    # ---- names and maps

    @property
    def nobs(self) -> int:
        """Return the number of choice situations."""
        return len(self.chosen)

    @property
    def param_names(self) -> tuple[str, ...]:
        """Return the names of the parameters: those of the attributes, then ``extra_params``."""
        return (*self.design.names, *self.extra_params)

    @property
    def likelihood_label(self) -> str:
        """Return what messages call the likelihood."""
        return f"{type(self).__name__}.log_probabilities"

    def make_map(self, names: Sequence[str], units: Units = "scaled") -> ParamMap:
        """Return the map to comparable units: coefficients in those of the attributes' differences."""
        pmap = super().make_map(names, units)
        if units == "raw":
            return pmap
        scale = pmap.scale.clone()
        sizes = self.column_sizes()
        for i, name in enumerate(names):
            if name in self.design.names:
                position = i if pmap.curve is None else pmap.curve.plain.get(i)
                if position is not None:
                    scale[position] = sizes[self.design.names.index(name)]
        return ParamMap(pmap.names, pmap.link_names, scale, curve=pmap.curve)

    def column_sizes(self) -> Tensor:
        """Return the (K,) spreads of the attributes within situations; a sample of these is enough where all vary."""
        some = self.choices.take(slice(None, None, max(1, self.nobs // SIZED)))
        size = _spreads(some)
        if bool((size == 0).any()) and len(some) < self.nobs:
            size = _spreads(self.choices)
        return torch.where(size > 0, size, torch.ones_like(size))

    def start_candidates(self, pmap: ParamMap) -> list[Tensor]:
        """Return equal probabilities of all alternatives."""
        return [torch.zeros(len(pmap.names), dtype=torch.float64, device="cpu")]

    # ---- fit and results

    def _fit(self, request: FitRequest) -> ChoiceResults:
        found = run_fit(self, request)
        return ChoiceResults(found.model, found.fit, found.inference, found.record, found.reporter)

    def null_llf(self, results: Estimates) -> float:
        """Return the log-likelihood of choices at random among the available alternatives, all equally likely."""
        open_to = self.available
        counts = torch.full((self.nobs,), self.X.shape[1]) if open_to is None else open_to.sum(1).cpu()
        logs = -counts.double().log()
        weights = self.data.weights
        if weights is None or self.by_person:
            return math.fsum(logs.tolist())
        return float(logs @ weights.values.double().cpu())

    def predict_mean(self, params: Tensor) -> Tensor:
        """Raise: a choice has no mean."""
        raise UndefinedStatisticError(
            f"{type(self).__name__} predicts probabilities: use results.probabilities(), shares() or elasticities()."
        )


def _lost(data: ChoiceData | None) -> list[str]:
    """Return the sentence on situations that are not in use."""
    if data is None or not data.dropped:
        return []
    causes = ", ".join(f"{cause}: {count}" for cause, count in data.dropped.items())
    return [f"{sum(data.dropped.values())} choice situations were not used ({causes})."]


def _spreads(choices: Choices) -> Tensor:
    D = choices.differences()
    if choices.available is not None:
        D = D * choices.available[..., None]
    return D.double().square().mean((0, 1)).sqrt().cpu()
