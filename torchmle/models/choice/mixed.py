"""Fit mixed logits: coefficients that vary over persons, by simulated maximum likelihood."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.absent import absent
from ...data.choice import ChoiceDesign, choice_design, person_matrix
from ...errors import OptionError, unknown
from ...loglik.choice import log_probabilities
from ...loglik.draws import Draws, read_draws
from ...loglik.mixed import Layout, MixedLogitObjective
from ...loglik.objective import Objective
from ...loglik.persondraws import PersonDraws
from ...optim.base import Options, Status, minimise
from ...optim.registry import make_optimizer
from ...params.map import ParamMap, Units
from ..problem import LikelihoodProblem
from ..request import FitRequest
from .base import KEYWORDS, ChoiceModel
from .layout import Randomness, lay_out, read_random
from .plain import conditional_estimates
from .results import ChoiceResults
from .units import UnitExtras

OWN = ("random", "correlated", "components", "draws", "means", "space", "price", "generalized", "memory")
SPREAD = 0.3
"""What random coefficients are worth in utility at the start, as a standard deviation."""


class MixedLogit(ChoiceModel):
    """Fit a mixed logit: a conditional logit whose coefficients vary over persons by a law that is estimated.

    ``P_n = E_b prod_t P(choice of situation t | b)``, the expectation over draws (Train 2009, chapter 6). A person
    (``persons=``) keeps the coefficients in all situations; without persons each situation is a person.

    Parameters
    ----------
    random : name of an attribute to the law of its coefficient: ``"normal"``, ``"lognormal"`` or ``"-lognormal"``
        (of minus the coefficient), ``"truncated_normal"`` (above zero; ``"-truncated_normal"`` below), ``"uniform"``,
        ``"triangular"``, ``"johnson_sb"`` or ``("johnson_sb", low, high)``.
    correlated : True for all of them, or lists of names that are correlated among themselves.
    components : formula of attributes with a normal coefficient of mean zero, ``"non_ev + non_cng"``: error components,
        by which alternatives that share an attribute are correlated.
    draws : a number of Halton draws, or :class:`torchmle.Draws`; by default 500 Halton draws.
    means : name of a random attribute to a formula of person variables that move its mean.
    space : ``"preference"``, or ``"wtp"``: with ``price="..."`` the other coefficients are what a unit is worth.
    generalized : True for the generalized mixed logit (Fiebig et al. 2010), with ``tau`` and ``gamma``.
    memory : gigabytes that draws may take, 0.25 unless told; where they need more they are made again in every pass.

    Notes
    -----
    ``x`` is the mean of a normal coefficient, of the normal under a lognormal, truncated or Johnson SB one, and the
    centre of a uniform or triangular one. ``sd:x`` is the standard deviation of the normal, ``spread:x`` half the
    range of the others; ``chol:a:b`` are the entries of the lower triangular factor of a covariance. Signs of
    standard deviations mean nothing; they are reported as positive.

    Examples
    --------
    >>> import torchmle as tm
    >>> trips = tm.datasets.load("trips")
    >>> model = tm.MixedLogit.from_formula("chosen ~ time + cost", trips, alternatives="mode", situations="trip",
    ...                                    persons="person", random={"time": "-lognormal"}, draws=100)
    >>> res = model.fit()
    >>> res.params[["time", "sd:time"]].round(1).to_dict()
    {'time': -2.6, 'sd:time': 0.5}
    """

    by_person = True

    draws: Draws

    def _read_own(self, own: Mapping[str, Any]) -> None:
        for name in own:
            if name not in OWN:
                raise OptionError(unknown(f"argument of {type(self).__name__}:", name, [*KEYWORDS, *OWN]))
        self._given = dict(own)

    @classmethod
    def _person_formulas(cls, own: Mapping[str, Any]) -> list[str]:
        means, components = own.get("means"), own.get("components")
        texts = [str(formula) for formula in means.values()] if isinstance(means, Mapping) else []
        return texts if components is None else [*texts, f"~ {components}"]

    def _install_design(self, design: ChoiceDesign, extras: UnitExtras) -> np.ndarray[Any, Any] | None:
        kept = super()._install_design(design, extras)
        design, given = self.design, self._given
        self.draws = read_draws(given.get("draws"), Draws())
        self.memory = _read_memory(given.get("memory", 0.25))
        if self.ends is not None and extras.freq_weights is not None:
            raise OptionError(
                "freq_weights count situations, and here persons with several are the units. Repeat the persons, or "
                "use sampling_weights by person."
            )
        if self.ends is None:
            self.ends = torch.arange(1, self.nobs + 1, device=self.X.device)
        self.W, features = self._person_variables(design, given.get("means"))
        components = self._read_components(design, given.get("components"))
        self._components, self._features = components, features
        _, self.extra_params, self.laws = lay_out(self.randomness)
        self.persons = torch.arange(len(self.ends), device="cpu")
        said = f"Simulated: {self.draws.describe()}; {len(self.ends)} persons."
        self.data = replace(self.data, notes=(*self.data.notes, said))
        return kept

    @property
    def randomness(self) -> Randomness:
        """Return which coefficients are random and how."""
        given = self._given
        return read_random(
            tuple(self.exog_names),
            self._components,
            given.get("random"),
            given.get("correlated", False),
            self._features,
            given.get("space", "preference"),
            given.get("price"),
            given.get("generalized", False),
        )

    @property
    def component_formula(self) -> str | None:
        """Return the formula of the attributes of error components."""
        found = self._given.get("components")
        return found if isinstance(found, str) else None

    @property
    def mean_formulas(self) -> dict[str, str]:
        """Return, by random attribute, the formula of person variables that move its mean."""
        return dict(self._given.get("means") or {})

    @property
    def layout(self) -> Layout:
        """Return where each parameter enters."""
        return lay_out(self.randomness)[0]

    @property
    def rowless(self) -> dict[str, Any]:
        """Return what has rows, without them."""
        persons = absent(self.persons.shape, self.persons.dtype)
        return {
            **super().rowless,
            "persons": persons,
            "W": None if self.W is None else absent(self.W.shape, self.W.dtype),
        }

    def own_arguments(self, situations: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Return what is random; variables of persons and error components come from a table only."""
        for name in ("means", "components"):
            if self._given.get(name) is not None:
                raise OptionError(f"{name} needs data with columns; a model of arrays cannot have it.")
        return dict(self._given)

    def attribute_of(self, name: str) -> int | None:
        """Return the attribute in whose units a parameter is measured, or None."""
        column = self.randomness.column_of(name)
        if column is None:
            return super().attribute_of(name)
        return column if self.randomness.in_units(column) else None

    def _read_components(self, design: ChoiceDesign, text: Any) -> tuple[str, ...]:
        """Append the attributes of error components to those of the formula, and return their names."""
        if text is None:
            return ()
        if design.data is None or not isinstance(text, str):
            raise OptionError(f"components={text!r} must be a formula of columns, 'a + b', of a model with a formula.")
        own = choice_design(
            f"{design.data.choice} ~ {text} | 0",
            design.data,
            base=design.base,
            dtype=design.X.dtype,
            device=design.X.device,
            context=design.context,
            collinear="raise",
        )
        twice = [name for name in own.names if name in design.names]
        if twice:
            raise OptionError(f"{twice[0]!r} is in the formula already; make it random={{{twice[0]!r}: 'normal'}}.")
        self.X = torch.cat([self.X, own.X], 2)
        return own.names

    def _person_variables(
        self, design: ChoiceDesign, means: Mapping[str, str] | None
    ) -> tuple[Tensor | None, dict[str, tuple[str, ...]]]:
        """Return the person variables that move means, and which move which."""
        if not means:
            return None, {}
        if design.data is None:
            raise OptionError("means needs data with columns; build the model with from_formula.")
        matrices, names = [], {}
        for name, formula in means.items():
            found = person_matrix(
                formula,
                design.data,
                constant=False,
                dtype=design.X.dtype,
                device=design.X.device,
                context=design.context,
            )
            names[name] = found.names
            matrices.append(found.X)
        return torch.cat(matrices, 1), names

    @property
    def param_names(self) -> tuple[str, ...]:
        """Return the names: attributes, what moves their means, spreads."""
        return (*self.exog_names, *self.extra_params)

    def make_objective(self, pmap: ParamMap) -> Objective:
        """Return the simulated log-likelihood."""
        assert self.ends is not None
        weights = self.data.weights
        values = None if weights is None else weights.values
        return MixedLogitObjective(self.choices, self.ends, self._points(), self.layout, self.W, values)

    def _points(self) -> PersonDraws:
        """Return the draws; while an objective has them, others share them."""
        held = _POINTS.get(self)
        known = None if held is None else held()
        where = (self.X.device, self.X.dtype)
        if known is not None and known.persons is self.persons and (known.device, known.dtype) == where:
            return known
        room = int(self.memory * 1e9)
        points = PersonDraws(self.draws, self.persons, self.laws, *where, room)
        _POINTS[self] = weakref.ref(points)
        return points

    def make_map(self, names: Sequence[str], units: Units = "scaled") -> ParamMap:
        """Return the map to comparable units: spreads in those of their attribute."""
        pmap = super().make_map(names, units)
        if units == "raw":
            return pmap
        scale, sizes = pmap.scale.clone(), self.column_sizes()
        for i, name in enumerate(names):
            column = self.randomness.column_of(name)
            if column is not None:
                scale[i] = sizes[column] if self.randomness.in_units(column) else 1.0
        return replace(pmap, scale=scale)

    def start_candidates(self, pmap: ParamMap) -> list[Tensor]:
        """Return the estimates of the conditional logit, with small spreads."""
        values = self.randomness.start(self._without_mixing(), self.column_sizes(), SPREAD)
        start = torch.tensor([values[name] for name in pmap.names], dtype=torch.float64, device="cpu")
        return [self._refined(start, pmap)]

    def _refined(self, start: Tensor, pmap: ParamMap) -> Tensor:
        """Return the estimates on a tenth of the persons, spreads made positive: a start in the right basin."""
        assert self.ends is not None
        few = max(200, len(self.ends) // 10)
        if len(self.ends) < 2 * few:
            return start
        index = torch.arange(0, len(self.ends), len(self.ends) // few, device=self.X.device)
        problem = LikelihoodProblem(self.make_objective(pmap).take(index), pmap)
        newton = make_optimizer("newton", Options(tol=1e-2, maxiter=30), None, {})
        found = minimise(newton, problem, pmap.gamma_of_link(start), verdict_tol=1e-2)
        if found.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if found.status is not Status.CONVERGED:
            return start
        params = dict(zip(pmap.names, pmap.theta(found.x).tolist(), strict=True))
        better = self.randomness.positive(params) or params
        return torch.tensor([better[name] for name in pmap.names], dtype=torch.float64, device="cpu")

    def _without_mixing(self) -> Tensor:
        """Return the estimates of the conditional logit, or zeros where it has none."""
        names = tuple(self.exog_names)
        plain = replace(self.choices, X=self.X[:, :, : len(names)])
        return conditional_estimates(plain, names, self.column_sizes()[: len(names)], None)

    def loglikeobs(self, params: Any) -> Tensor:
        """Return the (persons,) simulated log-likelihoods."""
        from ..derivatives import at

        pmap, gamma, objective = at(self, params)
        return objective.values(pmap.working(gamma))

    def drawn_log_probabilities(self, params: Tensor, seed: int) -> Tensor:
        """Return (S, J) log-probabilities given one draw of the coefficients of each person."""
        objective = self.make_objective(self.make_map(self.param_names, "raw"))
        assert isinstance(objective, MixedLogitObjective)
        draws = Draws("random", 1, seed=seed % 2**32)
        objective.draws = replace(objective.draws, draws=draws, kept=None)
        with torch.no_grad():
            return log_probabilities(objective.utilities(params.to(self.X)), self.available)

    def _fit(self, request: FitRequest) -> ChoiceResults:
        """Fit; where a spread ends negative, go on from its absolute value: with finite draws these are two maxima."""
        found = super()._fit(request)
        flipped = self.randomness.positive(dict(found.params)) if found.converged else None
        free = all(flipped[n] == found.params[n] for n in request.fixed or {}) if flipped is not None else False
        if free and not request.conditions:
            again = super()._fit(replace(request, start_params=flipped, resume=None))
            found = again if again.converged else found
        return _with_edges(found)


_POINTS: weakref.WeakKeyDictionary[MixedLogit, weakref.ref[PersonDraws]] = weakref.WeakKeyDictionary()
"""Draws in use by objectives of a model; they stand here as neither a file nor a pickle should hold them."""


def _with_edges(results: ChoiceResults) -> ChoiceResults:
    """Return results that say which spreads are not told from zero, where their z has not its usual law."""
    if not results.converged:
        return results
    fixed = {results.names[i] for i in results.fit.map.fixed}
    spreads = [n for n in results.names if n.startswith(("sd:", "spread:")) and n not in fixed]
    flat = [n for n in spreads if abs(results.params[n]) < 1.645 * results.bse[n]]
    if not flat:
        return results
    note = (
        f"Not told from zero: {', '.join(flat)}. Zero is the edge of their range, where z and p have not their usual "
        "law; compare with a fit that holds one at zero by boundary_test()."
    )
    return replace(results, fit=replace(results.fit, notes=(*results.fit.notes, note)))


def _read_memory(given: Any) -> float:
    if isinstance(given, (int, float)) and not isinstance(given, bool) and 0 <= given < math.inf:
        return float(given)
    raise OptionError(f"memory={given!r} must be a number of gigabytes, e.g. 1.0.")
