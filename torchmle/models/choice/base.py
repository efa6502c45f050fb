"""Hold what all models of discrete choice share: data, names, weights by unit, the log-likelihood of a kernel."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...config import resolve_device
from ...data.absent import absent
from ...data.choice import ChoiceData, ChoiceDesign, choice_design
from ...data.formula import caller_names
from ...errors import OptionError, UndefinedStatisticError, collecting_notes, unknown
from ...loglik.choice import Choices, log_probabilities, of_chosen
from ...loglik.objective import Objective
from ...loglik.utility import Curvature, UtilityObjective
from ...params.map import ParamMap, Units
from ...results.estimates import Estimates
from ...workers import engine
from ..base import GenericLikelihoodModel
from ..fitting import run_fit
from ..request import FitRequest
from .plain import attribute_sizes
from .results import ChoiceResults
from .simulate import draw_choices, keyed_generators
from .units import LAYOUT, UnitExtras, array_design, lost, positions_of, read_labels, read_table, unit_data

C = TypeVar("C", bound="ChoiceModel")

EXTRAS = ("freq_weights", "sampling_weights", "groups")
KEYWORDS = (*LAYOUT, "base", *EXTRAS, "missing", "collinear", "device", "dtype")


class ChoiceModel(GenericLikelihoodModel):
    """Fit choices among alternatives; a subclass says how utilities become probabilities.

    Parameters
    ----------
    endog : (S,) positions of the chosen alternatives, 0 .. J - 1; their labels where ``alternatives`` are given.
    exog : (S, J, K) attributes of the alternatives in each choice situation.
    names : names of the K attributes.
    alternatives : labels of the J alternatives, in the order of ``exog``; by default their positions.
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
    own_names: tuple[str, ...] = ()
    """Arguments that only this kind of model has."""
    width = 0
    """Numbers that a situation takes beside its attributes while its probabilities are computed."""
    by_situation: tuple[str, ...] = ()
    """Attributes with one entry a situation that ``log_probabilities`` reads, beside its arguments."""

    design: ChoiceDesign
    alternatives: tuple[Any, ...]
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
                labels = None if alternatives is None else read_labels(alternatives, exog)
                _design = self._array_design(endog, labels, exog, names, available, persons, where, kind)
                _design = replace(_design, labels=labels or ())
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
        context = caller_names([formula, *cls._person_formulas(own)], 2)
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
        model.data = replace(model.data, notes=(*lost(design.data), *notes, *model.data.notes))
        return model

    @classmethod
    def _table(cls, formula: str, data: Any, layout: tuple[Any, ...], missing: str) -> ChoiceData:
        """Return the choice data of a long table, or those given."""
        return read_table(formula.split("~")[0].strip() or None, data, layout, missing)

    @classmethod
    def _person_formulas(cls, own: Mapping[str, Any]) -> list[str]:
        """Return the formulas, among the arguments of one model, whose variables belong to persons."""
        return []

    def _read_own(self, own: Mapping[str, Any]) -> None:
        """Take the arguments that only one model has; refuse others."""
        for name in own:
            if name not in self.own_names:
                raise OptionError(unknown(f"argument of {type(self).__name__}:", name, [*KEYWORDS, *self.own_names]))

    def _array_design(self, endog: Any, labels: tuple[Any, ...] | None, exog: Any, *rest: Any) -> ChoiceDesign:
        """Return the design of arrays."""
        return array_design(endog if labels is None else positions_of(endog, labels), exog, *rest)

    def _install_design(self, design: ChoiceDesign, extras: UnitExtras) -> np.ndarray[Any, Any] | None:
        """Take the data on board; return the mask of the situations in use, None where all are."""
        if bool((design.chosen < 0).any()):
            raise OptionError("The data say of some situations not what was chosen; they are for predictions only.")
        found = unit_data(design, extras, self.by_person)
        self.data, self.ends, self.design = found.data, found.ends, found.design
        design = found.design
        self.X, self.chosen, self.available = design.X, design.chosen, design.available
        self.alternatives = design.labels or tuple(range(self.X.shape[1]))
        if design.data is not None:
            self.alternatives = design.data.alternatives
        self.endog, self.offset, self.exog_names = self.data.endog, None, list(design.names)
        return found.kept

    @property
    def rowless(self) -> dict[str, Any]:
        """Return what has rows, without them: situations are not always units."""
        names = ("X", "chosen", "available", "ends", *self.by_situation)
        gone = {name: getattr(self, name) for name in names}
        design, none = self.design, self.X.new_empty(0)
        lean = replace(design, X=none, available=None, chosen=none, person=none, data=None, labels=self.alternatives)
        return {**{k: v if v is None else absent(v.shape, v.dtype) for k, v in gone.items()}, "design": lean}

    @property
    def choices(self) -> Choices:
        """Return the choice situations as the engine takes them."""
        return Choices(self.X, self.chosen, self.available)

    # ---- what a subclass writes

    def log_probabilities(self, V: Tensor, params: Tensor, available: Tensor | None) -> Tensor:
        """Return (S, J) log-probabilities at utilities and all parameters, minus infinity where not available.

        It is called on parts of the situations; tensors that it reads with one entry a situation are those of the part
        if ``by_situation`` names them.
        """
        return log_probabilities(V, available)

    def log_chosen(self, V: Tensor, params: Tensor, available: Tensor | None, chosen: Tensor) -> Tensor:
        """Return the (S,) log-probabilities of the choices, where others need not be computed."""
        return of_chosen(self.log_probabilities(V, params, available), chosen, self.likelihood_label)

    def curvature(self, V: Tensor, params: Tensor, available: Tensor | None, chosen: Tensor) -> Curvature | None:
        """Return second derivatives of the choices' log-probabilities in V, for speed; None leaves them to autograd."""
        return None

    def loglikeobs(self, params: Any) -> Tensor:
        """Return the log-probabilities of the choices made."""
        at = params if isinstance(params, Tensor) else torch.as_tensor(np.asarray(params), dtype=self.X.dtype)
        return self.by_unit(self.log_chosen(self.X @ at[: self.X.shape[2]], at, self.available, self.chosen))

    def by_unit(self, values: Tensor) -> Tensor:
        """Return sums over the situations of each unit of observation."""
        if self.ends is None:
            return values
        unit = torch.searchsorted(self.ends, torch.arange(len(values), device=values.device), right=True)
        return values.new_zeros(len(self.ends)).index_add(0, unit, values)

    def make_objective(self, pmap: ParamMap) -> Objective:
        """Return the log-likelihood; its derivatives are taken in the utilities unless ``loglikeobs`` is one's own."""
        if type(self).loglikeobs is not ChoiceModel.loglikeobs:
            return super().make_objective(pmap)

        def kernel(rows: slice | Tensor, V: Tensor, params: Tensor, part: Choices) -> Tensor:
            return self.at_situations(rows).log_chosen(V, params, part.available, part.chosen)

        def bend(rows: slice | Tensor, V: Tensor, params: Tensor, part: Choices) -> Curvature | None:
            return self.at_situations(rows).curvature(V, params, part.available, part.chosen)

        weights = self.data.weights
        return UtilityObjective(
            self.choices,
            kernel,
            bend,
            len(pmap.names),
            None if weights is None else weights.values,
            self.ends,
            differences=self.differences_only,
            what=self.likelihood_label,
            width=self.width,
        )

    def at_situations(self: C, rows: slice | Tensor) -> C:
        """Return a shallow copy with only some situations in the attributes that ``by_situation`` names."""
        if not self.by_situation:
            return self
        part = copy.copy(self)
        part.__dict__.update({name: getattr(self, name)[rows] for name in self.by_situation})
        return part

    # ---- names and maps

    @property
    def nobs(self) -> int:
        """Return the number of choice situations."""
        return len(self.chosen)

    @property
    def param_names(self) -> tuple[str, ...]:
        """Return the names of the parameters: those of the attributes, then ``extra_params``."""
        return (*self.exog_names, *self.extra_params)

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
            if name in self.exog_names:
                position = i if pmap.curve is None else pmap.curve.plain.get(i)
                if position is not None:
                    scale[position] = sizes[self.exog_names.index(name)]
        return ParamMap(pmap.names, pmap.link_names, scale, curve=pmap.curve)

    def column_sizes(self) -> Tensor:
        """Return the (K,) spreads of the attributes within situations; a sample of these is enough where all vary."""
        return attribute_sizes(self.choices)

    # ---- the model on other data

    def own_arguments(self, situations: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Return the arguments that only this kind of model has, for some of the situations."""
        return {}

    def responses(self) -> np.ndarray[Any, Any]:
        """Return the responses by situation, as the constructor takes them."""
        labels = np.empty(len(self.alternatives), dtype=object)
        labels[:] = self.alternatives
        return np.asarray(labels[self.chosen.cpu().numpy()])

    def attribute_of(self, name: str) -> int | None:
        """Return the attribute in whose units a parameter is measured, or None."""
        return self.exog_names.index(name) if name in self.exog_names else None

    # ---- draws

    def drawn_log_probabilities(self, params: Tensor, seed: int) -> Tensor:
        """Return (S, J) log-probabilities at all parameters, given draws of what varies over persons, if anything."""
        at = params.to(self.X)
        with torch.no_grad():
            return self.log_probabilities(self.X @ at[: self.X.shape[2]], at, self.available)

    def simulate(self, params: Any, n: int | None = None, seed: int = 0) -> pd.Series | pd.DataFrame:
        """Draw choices for the situations in use.

        Parameters
        ----------
        params : in the units of the results: a sequence, a dict or a Series by name.
        n : how many data sets; None for one, as a Series.
        seed : draws are the same for the same seed; torch's own seed is not touched.

        Returns
        -------
        pandas.Series or pandas.DataFrame
            Labels of the chosen alternatives by situation; a column a data set.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost | 0", tm.datasets.load("trips"),
        ...                                          alternatives="mode", situations="trip")
        >>> model.simulate({"time": -0.1, "cost": -0.3}, seed=1).iloc[:3].tolist()
        ['bike', 'bike', 'bike']
        """
        with engine():
            values, generators = keyed_generators(self, params, n, seed)
            drawn = [
                draw_choices(self.drawn_log_probabilities(values, generator.initial_seed()), generator)
                for generator in generators
            ]
        labels = np.empty(len(self.alternatives), dtype=object)
        labels[:] = self.alternatives
        index = pd.RangeIndex(len(self.chosen)) if self.design.data is None else self.design.data.labels
        if n is None:
            return pd.Series(labels[drawn[0]], index=index, name=self.data.endog_name)
        return pd.DataFrame(labels[np.column_stack(drawn)], index=index)

    def simulate_endog(self, *etas: Tensor, generator: torch.Generator) -> Tensor:
        """Raise: a choice is no number."""
        raise UndefinedStatisticError(
            "A choice is no number: draw choices with simulate(), and resample situations or persons: kind='pairs'."
        )

    # ---- fit and results

    def _fit(self, request: FitRequest) -> ChoiceResults:
        found = run_fit(self, request)
        return ChoiceResults(found.model, found.fit, found.inference, found.record, found.reporter)

    def null_llf(self, results: Estimates) -> float:
        """Return the log-likelihood of choices at random among the available alternatives, all equally likely."""
        open_to = self.available
        counts = torch.full((len(self.chosen),), self.X.shape[1]) if open_to is None else open_to.sum(1).cpu()
        logs = self.by_unit(-counts.double().log().to(self.X.device)).cpu()
        weights = self.data.weights
        return math.fsum(logs.tolist()) if weights is None else float(logs @ weights.values.double().cpu())

    def predict_mean(self, params: Tensor) -> Tensor:
        """Raise: a choice has no mean."""
        raise UndefinedStatisticError(
            f"{type(self).__name__} predicts probabilities: use results.probabilities(), shares() or elasticities()."
        )
