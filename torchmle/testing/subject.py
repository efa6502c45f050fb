"""Hold the model under test, and rebuild it on other rows, responses, units or weights."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..data.vectors import FloatArray
from ..errors import OptionError
from ..loglik.objective import Objective
from ..models.base import GenericLikelihoodModel
from ..models.choice.base import ChoiceModel
from ..models.choice.rebuild import rebuilt
from ..models.multinomial import MNLogit
from ..models.neural.base import ModuleModel
from ..models.partial import input_name, module
from ..models.predictors import LinearPredictorModel
from ..models.request import as_params
from ..params.map import ParamMap
from ..results.results import Results
from ..workers import derivatives_on
from .differences import units

ALL_ERRORS = {"net": "all"}
"""Options of a covariance that has errors of the weights of modules as well."""

Simulate = Callable[[FloatArray, np.random.Generator], Any]
"""Takes the parameters, in the order of ``param_names``, and a generator; returns a response for the model's rows."""


class NotApplicableError(Exception):
    """Say why a check has nothing to say about a model."""


@dataclass(frozen=True)
class Finding:
    """Hold what one check found; ``used`` is the share of the bound that was used up, where there is one."""

    passed: bool
    detail: str
    used: float | None = None


def bounded(what: str, size: float, bound: float, unit: str = "") -> Finding:
    """Return a finding that passes where a size is within its bound; NaN never is."""
    text = f"{what}: {size:.2g}{unit and ' ' + unit} (bound {bound:.2g})"
    return Finding(bool(size <= bound), text, size / bound if bound else None)


def all_of(*findings: Finding) -> Finding:
    """Return one finding for several: those that failed, or else the one that came nearest to its bound."""
    failed = [f for f in findings if not f.passed]
    measured = [f for f in findings if f.used is not None]
    if measured and not failed:
        return max(measured, key=lambda f: f.used or 0.0)
    return Finding(not failed, "; ".join(f.detail for f in failed or findings))


def largest(values: Any) -> float:
    """Return the largest size among some numbers; NaN if one of them is."""
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    return float(sizes.max()) if sizes.size else 0.0


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Hold log-likelihood, score and Hessian at one point, the last two in the units of the subject."""

    llf: float
    score: FloatArray
    hessian: FloatArray


@dataclass(frozen=True, eq=False)
class Subject:
    """Hold a model with what its user knows about it; everything dear is computed once.

    See :func:`torchmle.testing.check_model` for the fields; ``memo`` is for what several checks share.
    """

    model: GenericLikelihoodModel
    simulate: Simulate | None = None
    params: Any = None
    seed: int = 0
    twin: GenericLikelihoodModel | None = None
    extreme: float | None = None
    memo: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def results(self) -> Results:
        """Return the fit by Newton's method."""
        return self.anew()

    def anew(self) -> Results:
        """Return a new fit by Newton's method, with modules from where the usual one ends."""
        if self.model.data.has_nets:
            return self.model.fit(self.model.fit().params, "newton", cov_kwds=ALL_ERRORS)
        return self.model.fit(method="newton")

    def fit(
        self,
        model: GenericLikelihoodModel,
        method: str = "newton",
        start: FloatArray | None = None,
        factors: FloatArray | float = 1.0,
    ) -> Results:
        """Return the fit of the model on other data.

        A module has many maxima, and its units may change places: which maximum a fit finds is not what is checked.
        With one it begins where the subject is looked at (times ``factors``), unless another start is given, and
        weights have errors.
        """
        if not self.model.data.has_nets:
            return model.fit(method=method, start_params=start)
        return model.fit(self.theta * factors if start is None else start, method, cov_kwds=ALL_ERRORS)

    def with_cov(self, results: Results, cov_type: str) -> Results:
        """Return results with another covariance, of all parameters."""
        return results.with_cov(cov_type, ALL_ERRORS if self.model.data.has_nets else None)

    @property
    def compared(self) -> int:
        """Return how many parameters, the first ones, can be compared with the truth: all but weights of modules."""
        if not self.model.data.has_nets:
            return len(self.theta)
        return sum(len(design.terms) for design in self.model.data.linear.values())

    @property
    def remark(self) -> str:
        """Return what a finding says where weights of modules are left out."""
        return "" if self.compared == len(self.theta) else "; weights of modules left out"

    @cached_property
    def theta(self) -> FloatArray:
        """Return the parameters around which the model is looked at: the user's, or the estimates."""
        if self.params is None:
            return np.asarray(self.results.params.to_numpy(dtype=np.float64))
        return np.asarray(as_params(self.params, self.model.param_names, "params").numpy())

    @cached_property
    def unit(self) -> FloatArray:
        """Return the length of one standard error of each parameter given the others, from values alone."""
        return units(self.loglike, self.theta)

    @property
    def rows(self) -> int:
        """Return the number of rows: units of observation, such as a person with all choices."""
        return len(self.model.endog)

    @property
    def eps(self) -> float:
        """Return the relative rounding error of the model's dtype."""
        return torch.finfo(self.model.endog.dtype).eps

    @property
    def close(self) -> float:
        """Return the distance, in standard errors, below which two sums over the same rows are the same."""
        return math.sqrt(self.eps)

    def rng(self, check: str) -> np.random.Generator:
        """Return the generator of one check, the same whichever other checks run."""
        return np.random.default_rng([self.seed, zlib.crc32(check.encode())])

    def near(self, rng: np.random.Generator) -> FloatArray:
        """Return a random point half to one and a half units away from ``theta`` in every parameter."""
        steps = rng.uniform(0.5, 1.5, len(self.theta)) * rng.choice([-1.0, 1.0], len(self.theta))
        moved: FloatArray = self.theta + steps * self.unit
        return moved

    def loglike(self, theta: FloatArray) -> float:
        """Return the log-likelihood of the model."""
        return value_of(self.model, theta)

    def derivatives(self, model: GenericLikelihoodModel, theta: FloatArray, factor: Any = 1.0) -> Derivatives:
        """Return what a model gives at some point; its parameters count ``factor`` in the subject's units."""
        unit = self.unit * factor
        score, hessian = model.score(theta) * unit, model.hessian(theta) * np.outer(unit, unit)
        return Derivatives(value_of(model, theta), score, hessian)

    def separable(self) -> None:
        """Raise NotApplicableError for a likelihood without rows."""
        if not objective_of(self.model)[0].separable:
            raise NotApplicableError("a scalar loglike has no rows")

    def rebuilt(self, **changes: Any) -> GenericLikelihoodModel:
        """Return the model on changed data; see :func:`rebuild`.

        Raises
        ------
        NotApplicableError
            If ``type(model)(endog, exog, ...)`` does not give the model back even on its own data.
        """
        if self._why_not is not None:
            raise NotApplicableError(self._why_not)
        return rebuild(self.model, **changes)

    @cached_property
    def _why_not(self) -> str | None:
        name = type(self.model).__name__
        try:
            again = rebuild(self.model)
        except (TypeError, OptionError) as error:
            return f"{name}(endog, exog) cannot be called ({error})"
        lost = [k for k in vars(self.model) if k not in vars(again)]
        if lost:
            return f"attributes set after construction are lost in a new {name} ({', '.join(lost)}); use row_data"
        if abs(value_of(again, self.theta) - self.loglike(self.theta)) > self.close * (1 + abs(self.results.llf)):
            return f"{name}(endog, exog) is another model: it has options besides its data"
        return None


def value_of(model: GenericLikelihoodModel, theta: FloatArray) -> float:
    """Return the log-likelihood of a model as a number, also where it is the user's own scalar ``loglike``."""
    with derivatives_on(model.data.device), torch.no_grad():
        params = torch.tensor(theta, dtype=model.endog.dtype, device=model.data.device)
        own = type(model).loglike is not GenericLikelihoodModel.loglike
        return float(model.loglike(params if own else theta))


def objective_of(model: GenericLikelihoodModel) -> tuple[Objective, ParamMap]:
    """Return a new objective of a model, with its map."""
    pmap = model.make_map(model.param_names)
    return model.make_objective(pmap), pmap


def working_of(pmap: ParamMap, theta: FloatArray) -> torch.Tensor:
    """Return reported parameters as an objective takes them."""
    return pmap.working(pmap.gamma(torch.tensor(theta, dtype=torch.float64)))


def rebuild(
    model: GenericLikelihoodModel,
    *,
    rows: Any = None,
    endog: Any = None,
    factors: FloatArray | None = None,
    freq_weights: Any = None,
) -> GenericLikelihoodModel:
    """Return a new model of the same class from arrays.

    Parameters
    ----------
    rows : positions of the rows to take, in order; all by default.
    endog : another response, for all rows.
    factors : what to multiply the columns of all designs by, one after the other.
    freq_weights : instead of the model's own weights.
    """
    if isinstance(model, ChoiceModel):
        return rebuilt(model, rows, endog, factors, freq_weights)
    data = model.data
    index = np.arange(model.nobs) if rows is None else np.asarray(rows)
    y = _numpy(data.endog) if endog is None else _numpy(endog)
    designs: dict[str, Any] = {}
    begin = 0
    for name, design in data.designs.items():
        stop = begin + len(design.terms)
        X = _numpy(design.X)[index] * (1.0 if factors is None else factors[begin:stop])
        designs[name], begin = pd.DataFrame(X, columns=list(design.terms)), stop
    if data.has_nets:
        designs = _with_modules(model, designs)
    first = next(iter(designs), None)
    exog = designs.pop(first) if first is not None else None
    if isinstance(model, ModuleModel) and exog is not None:
        exog, designs["module"] = exog.iloc[:, 0] if model.rank == 1 else exog, model.module
    return type(model)(y[index], exog, **designs, **_extras(model, index, freq_weights))


def _extras(model: GenericLikelihoodModel, index: Any, freq_weights: Any) -> dict[str, Any]:
    """Return the further arguments of the constructor, only those that are needed."""
    data = model.data
    given: dict[str, Any] = {name: getattr(model, name) for name in model.own_inputs}
    if data.offset is not None:
        given["offset"] = _numpy(data.offset)[index]
    if freq_weights is not None:
        given["freq_weights"] = np.asarray(freq_weights)[index]
    elif data.weights is not None:
        given[data.weights.kind] = _numpy(data.weights.values)[index]
    if data.groups is not None:
        given["groups"] = data.groups.codes[index]
    if data.row_data:
        given["row_data"] = {name: _numpy(value)[index] for name, value in data.row_data.items()}
    if data.device.type != "cpu":
        given["device"] = data.device
    if data.endog.dtype != torch.float64:
        given["dtype"] = data.endog.dtype
    return given


def _with_modules(model: GenericLikelihoodModel, designs: dict[str, Any]) -> dict[str, Any]:
    """Return the designs with what modules take where the constructor wants it; standardised as in the model."""
    assert isinstance(model, LinearPredictorModel)
    found = {name: X for name, X in designs.items() if name in model.data.linear}
    parts = {}
    for name, net in model.nets.items():
        inputs = designs[input_name(name)]
        if net.centre is not None and net.scale is not None:
            inputs = (inputs - net.centre.cpu().numpy()) / net.scale.cpu().numpy()
        parts[name] = module(net.module, inputs)
    return {**found, "modules": parts}


def level_blocks(model: GenericLikelihoodModel) -> int:
    """Return how many sets of coefficients of the same columns a model has, one a level but the base; 0 for others."""
    return len(model.others) if isinstance(model, MNLogit) else 0


def _numpy(values: Any) -> np.ndarray[Any, Any]:
    return np.asarray(values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values)


def kind_of_weights(model: GenericLikelihoodModel) -> str | None:
    """Return the kind of the model's weights, or None."""
    return None if model.data.weights is None else model.data.weights.kind


def check_arguments(subject: Subject) -> None:
    """Raise for arguments that cannot be used."""
    if not isinstance(subject.model, GenericLikelihoodModel):
        raise OptionError(
            f"check_model() takes a model, not {type(subject.model).__name__}. Pass a model before its fit."
        )
    if subject.simulate is not None and not callable(subject.simulate):
        raise OptionError("simulate must be a function simulate(params, rng) that returns a response.")
    if subject.extreme is not None and not subject.extreme > 0:
        raise OptionError(f"extreme={subject.extreme!r} must be positive: the size of an extreme predictor.")
