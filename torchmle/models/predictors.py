"""Write a model declaratively: one linear predictor a parameter, and a log-density of the predictors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from ..data.batch import ModelData
from ..data.design import Design, InputFormula, InputMatrix
from ..errors import OptionError, UndefinedStatisticError, unknown
from ..loglik.partial import Net, PartialObjective
from ..loglik.predictor import Predictor, PredictorObjective
from ..optim.base import Options, Status, minimise
from ..optim.registry import make_optimizer
from ..params.map import ParamMap, Units, uncentring
from ..params.natural import Natural, PredictorSpec
from ..results.estimates import Estimates
from ..results.linkscale import link_values
from ..results.residuals import undefined
from ..workers import engine
from . import derivatives
from .base import DATA_KEYWORDS, GenericLikelihoodModel
from .guess import guesses
from .outcomes import Expectation, expectation, over_outcomes
from .partial import (
    Module,
    answers,
    input_formulas,
    input_matrices,
    input_name,
    known_again,
    make_nets,
    net_names,
    net_parts,
    read_modules,
)
from .problem import VERDICT, LikelihoodProblem
from .views import Moves, along

L = TypeVar("L", bound="LinearPredictorModel")


class LinearPredictorModel(GenericLikelihoodModel):
    """Fit a log-density of linear predictors: every parameter may have a formula.

    A subclass lists ``predictors`` (name to default formula, or :func:`torchmle.predictor`) and writes
    ``logdensity(self, y, *etas) -> (n,)``, the log-density of each response given its linear predictors, offset
    included.
    The first predictor takes the main formula, the others theirs by keyword. ``modules={"mu": tm.module(net, "age")}``
    adds a ``torch.nn.Module`` to a predictor.

    Examples
    --------
    >>> import torch, torchmle as tm
    >>> class Normal(tm.LinearPredictorModel):
    ...     predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}
    ...     def logdensity(self, y, mu, log_sigma):
    ...         return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma
    >>> res = Normal.from_formula("lwage ~ educ", tm.datasets.load("wage1"), log_sigma="1 + female").fit()
    >>> list(res.params.index)
    ['Intercept', 'educ', 'log_sigma:Intercept', 'log_sigma:female']
    """

    predictors: ClassVar[Mapping[str, str | PredictorSpec]] = {}

    nets: Mapping[str, Net] = {}
    net_answers: Mapping[str, Tensor] = {}

    def __init__(self, endog: Any, exog: Any = None, *, modules: Any = None, **given: Any) -> None:
        parts = read_modules(type(self), modules)
        if given.get("_data") is None:
            given |= input_matrices(parts)
        super().__init__(endog, exog, **given)
        self._attach(parts)

    @classmethod
    def from_formula(cls: type[L], formula: str, data: Any, *, modules: Any = None, **given: Any) -> L:
        """Build the model from a formula and a table; see :meth:`GenericLikelihoodModel.from_formula`.

        Parameters
        ----------
        modules : predictor to :func:`torchmle.module`, a ``torch.nn.Module`` that is added to it.
        """
        parts = read_modules(cls, modules)
        model = super().from_formula(formula, data, **given, **input_formulas(parts))
        model._attach(parts)
        return model

    def _attach(self, modules: Mapping[str, Module]) -> None:
        if modules:
            self.nets = make_nets(self, modules)
            self.net_answers = answers(self.nets, self.data)

    def restore(self, given: Any, module: Any) -> None:
        """Raise if the modules of a model that was loaded are not there, or not those of the fit."""
        super().restore(given, module)
        known_again(self)

    # ---- what a subclass writes

    def logdensity(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the (n,) log-densities of ``y`` given the linear predictors; override this one."""
        raise OptionError(
            f"{type(self).__name__} has no likelihood. Define logdensity(self, y, {', '.join(self._specs())})."
        )

    def mean(self, *etas: Tensor) -> Tensor:
        """Return the (n,) expected responses given the linear predictors; override to make ``predict`` work."""
        raise UndefinedStatisticError(
            f"{type(self).__name__} does not say what it predicts. Define mean(self, {', '.join(self._specs())}), or "
            "use which='linear'."
        )

    def variance(self, *etas: Tensor) -> Tensor:
        """Return the (n,) variances of the responses; override for Pearson residuals."""
        raise undefined(self, "variance", f"variance(self, {', '.join(self._specs())})")

    def saturated(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the (n,) log-densities of a model that fits every row; override for deviance residuals."""
        raise undefined(self, "saturated log-density", f"saturated(self, y, {', '.join(self._specs())})")

    def cdf(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the (n,) probabilities of a response up to y; override for quantile residuals."""
        raise undefined(self, "distribution function", f"cdf(self, y, {', '.join(self._specs())})")

    def standard_normal(self, y: Tensor, *etas: Tensor) -> Tensor:
        """Return the (n,) ``Phi^-1(F(y))`` of continuous responses; override where that is known without rounding."""
        found: Tensor = torch.special.ndtri(self.cdf(y, *etas))
        return found

    def expected_information(self, *etas: Tensor) -> Expectation:
        """Return for each predictor j the (n,) ``E(-d2 l / d eta_j d eta_k)``, k = j, j+1, ...; None for zero.

        Binary responses and counts have a sum over all outcomes here; override it for others, or to be quicker.
        """
        return over_outcomes(self, etas)

    # ---- predictors and names

    @classmethod
    def _specs(cls) -> dict[str, PredictorSpec]:
        """Return the predictors in order, a bare string as its default formula."""
        if not isinstance(cls.predictors, Mapping):
            raise OptionError(
                f"{cls.__name__}.predictors is {cls.predictors!r}; it must be a dict: predictors = {{'mu': '1'}}."
            )
        if not cls.predictors:
            raise OptionError(f"{cls.__name__} lists no predictors. Set predictors = {{'mu': '1'}} in the class.")
        for name in cls.predictors:
            if name in DATA_KEYWORDS or name in ("endog", "exog", "formula", "data"):
                raise OptionError(f"A predictor of {cls.__name__} may not be called {name!r}: that is a keyword.")
        return {k: v if isinstance(v, PredictorSpec) else PredictorSpec(v) for k, v in cls.predictors.items()}

    @classmethod
    def predictor_names(cls) -> tuple[str, ...]:
        """Return the names of the predictors, in order."""
        return tuple(cls._specs())

    @classmethod
    def _formulas(cls, formulas: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        first, *others = cls._specs()
        inputs = {name: text for name, text in formulas.items() if isinstance(text, InputFormula)}
        return first, {name: formulas.get(name, cls._specs()[name].default) for name in others} | inputs

    @classmethod
    def _check_predictors(cls, given: Mapping[str, Any], what: str) -> None:
        first, *others = cls._specs()
        for name, value in given.items():
            if isinstance(value, (InputFormula, InputMatrix)):
                continue
            if name == first:
                raise OptionError(f"{first!r} is the first predictor of {cls.__name__}: it takes the main {what}.")
            if name not in others:
                raise OptionError(unknown(f"argument of {cls.__name__}:", name, [*others, *DATA_KEYWORDS]))

    @classmethod
    def _matrices(cls, exog: Any, exogs: Mapping[str, Any]) -> dict[str, Any]:
        first, *others = cls._specs()
        inputs = {name: value for name, value in exogs.items() if isinstance(value, InputMatrix)}
        return {first: exog, **{name: exogs.get(name) for name in others}, **inputs}

    @property
    def likelihood_label(self) -> str:
        """Return what messages call the likelihood."""
        return f"{type(self).__name__}.logdensity"

    @property
    def ready_made(self) -> bool:
        """Return whether the likelihood is one of torchmle's own; with a module it is not."""
        return super().ready_made and not self.nets

    @property
    def is_scalar(self) -> bool:
        """Return False: log-densities are by row."""
        return False

    def _natural(self, name: str, design: Design) -> Natural | None:
        """Return the natural parameter of a predictor that is a constant one."""
        if name in self.nets or design.X.shape[1] != 1 or design.constant != 0 or float(design.cross.mean[0]) != 1.0:
            return None
        return Natural.of(self._specs()[name])

    @property
    def param_names(self) -> tuple[str, ...]:
        """Return the reported names: the first predictor's terms plain, others as ``predictor:term``."""
        names: list[str] = []
        for j, (name, design) in enumerate(self.data.linear.items()):
            natural = self._natural(name, design)
            if natural is not None:
                names.append(natural.name)
            else:
                names += design.terms if j == 0 else [f"{name}:{t}" for t in design.terms]
        return (*names, *net_names(self.nets))

    # ---- the engine's view

    def make_map(self, names: Any, units: Units = "scaled") -> ParamMap:
        """Return the map from coefficients of the user's columns to those of standardised ones."""
        if self.transforms:
            raise OptionError(
                f"{type(self).__name__} lists predictors; transforms={self.transforms!r} has no place in it. Give "
                "the predictor a natural parameter instead: tm.predictor('1', natural='sigma', transform=torch.exp)."
            )
        designs, weights = self.data.linear, net_names(self.nets)
        links: list[str] = []
        naturals: dict[int, Natural] = {}
        for j, (name, design) in enumerate(designs.items()):
            natural = self._natural(name, design)
            if natural is not None:
                naturals[len(links)] = natural
            links += list(design.terms) if j == 0 and natural is None else [f"{name}:{t}" for t in design.terms]
        links = [naturals[0].name if i == 0 and 0 in naturals else n for i, n in enumerate(links)]
        shifts = tuple(shift_of(design, units) for design in designs.values())
        scales = [torch.ones_like(d.scale) if units == "raw" else d.scale for d in designs.values()]
        uncentre = uncentre_of(list(designs.values()), shifts, len(weights))
        scale = torch.cat([*scales, torch.ones(len(weights), dtype=torch.float64, device="cpu")])
        return ParamMap(tuple(names), (*links, *weights), scale, uncentre, naturals, shifts=shifts)

    def make_objective(self, pmap: ParamMap) -> PredictorObjective:
        """Return the log-likelihood as a function of its linear predictors."""
        predictors = []
        for j, (design, shift) in enumerate(zip(self.data.linear.values(), pmap.shifts, strict=True)):
            offset = self.data.offset if j == 0 else self.known_part(j)
            predictors.append(Predictor(design.X, None if shift is None else shift.to(design.X), offset))

        def density(rows: slice | Tensor, etas: list[Tensor]) -> Tensor:
            whole = self.ready_made and isinstance(rows, slice) and rows == slice(0, self.nobs)
            part = self if whole else self.take(rows)  # what a user's method sets is gone with the part
            return part.logdensity(part.endog, *etas)

        weights = self.data.weights
        own = weights is not None and weights.kind == "var_weights"
        multiply = None if weights is None or own else weights.values
        what = f"{type(self).__name__}.logdensity"
        if not self.nets:
            return PredictorObjective(predictors, density, multiply, what=what)
        return PartialObjective(predictors, net_parts(self.nets, self.data), density, multiply, what=what)

    def known_part(self, position: int) -> Tensor | None:
        """Return the known part of a predictor after the first; models with ``var_weights`` put them there."""
        return None

    def etas(self, link: Tensor, data: ModelData) -> list[Tensor]:
        """Return the linear predictors at link-scale parameters, offset included."""
        at = link.to(data.endog.device, data.endog.dtype)
        etas = []
        for design in data.linear.values():
            if len(at):  # closed-form least squares has no sigma among its parameters
                b, at = at.tensor_split([design.X.shape[1]])
                etas.append(design.X @ b)
        if data.offset is not None:
            etas[0] = etas[0] + data.offset
        for part in net_parts(self.nets, data):
            weights, at = at.tensor_split([part.net.size])
            etas[part.position] = etas[part.position] + part.net(weights, part.Z)
        return etas

    def row_etas(self, results: Estimates) -> list[Tensor]:
        """Return the linear predictors of the rows of the fit, with the known parts that weights put into them."""
        etas = self.etas(link_values(results), self.data)
        known = [None, *(self.known_part(j) for j in range(1, len(etas)))]
        return [eta if part is None else eta + part for eta, part in zip(etas, known, strict=True)]

    def loglikeobs(self, params: Any) -> Tensor:
        """Return the (n,) log-likelihoods at reported parameters, unweighted."""
        with engine():
            pmap, gamma, objective = derivatives.at(self, params)
            return objective.values(pmap.working(gamma))

    def start_candidates(self, pmap: ParamMap) -> list[Tensor]:
        """Return the link of the mean, or zeros, and least squares with log scales from its residuals."""
        weights = [net.start() for net in self.nets.values()]
        return [torch.cat([guess, *weights]) for guess in guesses(self, self._specs())]

    # ---- what results ask

    expectation = expectation

    def null_llf(self, results: Estimates) -> float:
        """Return the maximised log-likelihood with only a constant in the first predictor."""
        with engine():
            return self._null_llf()

    def _null_llf(self) -> float:
        first = next(iter(self.data.designs))
        null = self._with_constant_only(first)
        pmap = null.make_map(null.param_names)
        problem = LikelihoodProblem(null.make_objective(pmap), pmap)
        tol = VERDICT[self.endog.dtype]
        starts = [pmap.gamma_of_link(c) for c in null.start_candidates(pmap)]
        best = min(starts, key=lambda g: _finite_or_worst(problem.evaluate(g, 0).value))
        found = minimise(make_optimizer("newton", Options(tol=tol), None, {}), problem, best, verdict_tol=tol)
        if found.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if found.status is not Status.CONVERGED:
            raise UndefinedStatisticError(f"The constant-only model has no maximum ({found.status.sentence})")
        return -found.at.value

    def _with_constant_only(self, first: str) -> LinearPredictorModel:
        import copy

        from ..data.crossproducts import cross_products
        from ..data.design import ones

        null = copy.copy(self)
        X = ones(self.nobs, self.endog)
        designs = {**self.data.linear, first: Design(first, ("Intercept",), X, cross_products(X))}
        null.data, null.nets = replace(self.data, designs=designs), {}
        null.exog = X
        return null

    def predict_at(self, params: Tensor, data: ModelData, which: str) -> Tensor:
        """Return the mean, or one of the linear predictors, at link-scale parameters."""
        return self._of_etas(self.etas(params, data), which, list(data.linear))

    def predict_along(self, params: Tensor, data: ModelData, moves: Moves, step: Tensor, which: str) -> Tensor:
        """Return predictions with the regressors moved, by way of the linear predictors: few columns move."""
        inputs = {input_name(name): moves[input_name(name)] for name in self.nets}
        etas, at = self.etas(params, along(data, inputs, step)), params.to(data.device, data.endog.dtype)
        for j, (name, design) in enumerate(data.linear.items()):
            if j < len(etas):
                b, at = at.tensor_split([design.X.shape[1]])
                positions, slopes = moves[name]
                etas[j] = etas[j] + step * (slopes @ b[positions])
        return self._of_etas(etas, which, list(data.linear))

    def _of_etas(self, etas: list[Tensor], which: str, names: list[str]) -> Tensor:
        if which == "mean":
            return self.mean(*etas)
        if which == "linear" or which in names:
            return etas[0 if which == "linear" else names.index(which)]
        raise OptionError(unknown("which", which, dict.fromkeys(["mean", "linear", *names])))


def shift_of(design: Design, units: Units) -> Tensor | None:
    """Return what is taken off the columns in every chunk: all means for first-order methods, else far ones."""
    if units == "raw" or design.constant is None:
        return None
    return design.means if units == "standardised" else design.shift


def uncentre_of(designs: Sequence[Design], shifts: Sequence[Tensor | None], weights: int = 0) -> Tensor | None:
    """Return d link / d working, block by block, or None where nothing is centred; weights of modules never are."""
    if all(shift is None for shift in shifts):
        return None
    blocks = []
    for design, shift in zip(designs, shifts, strict=True):
        matrix = None if shift is None else uncentring(shift, design.constant, design.cross.mean)
        blocks.append(torch.eye(len(design.terms), dtype=torch.float64, device="cpu") if matrix is None else matrix)
    blocks.append(torch.eye(weights, dtype=torch.float64, device="cpu"))
    joined: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return joined


def _finite_or_worst(value: float) -> float:
    return value if math.isfinite(value) else math.inf
