"""Fit many replicates of a fitted model at once: other weights or other responses, from its estimates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ConvergenceWarning, DataWarning, TorchmleError, unheard
from ..loglik.leastsquares import LeastSquares, solve
from ..loglik.objective import Objective
from ..loglik.replicates import Replicates, Stack
from ..optim.base import Options, Status
from ..optim.batched import Derived, Minima, Rules, minimise_many
from ..optim.registry import make_optimizer
from ..params.constraints import constrain
from ..params.map import ParamMap
from ..params.stacked import StackedMap
from ..progress import ProgressLine
from ..results.estimates import Estimates
from ..results.linear import NEARLY_COLLINEAR
from ..workers import map_ranges
from .evaluators import evaluator, for_responses, least_squares, with_response, with_weights
from .problem import VERDICT, weight_unit
from .request import FitRequest
from .search import Search, maximise

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

TOGETHER, BYTES = 64, 32_000_000
"""Replicates that one worker fits at once, and bytes of their weights or responses."""

EACH = "one by one"


@dataclass(frozen=True, eq=False)
class Replicated:
    """Hold a fitted model and how its replicates are evaluated.

    Attributes
    ----------
    source : the fit.
    replicates : evaluates many at once, or None where each has to be fitted by itself.
    why : the reason for that.
    """

    source: Estimates
    objective: Objective
    replicates: Replicates | None
    why: str = ""

    @property
    def map(self) -> ParamMap:
        """Return the map of the fit."""
        return self.source.fit.map

    @property
    def rules(self) -> Rules:
        """Return when a replicate is at its maximum: as for a fit."""
        dtype, unit = self.objective.dtype, weight_unit(_model(self.source))
        double = dtype == torch.float64
        if isinstance(self.objective, LeastSquares):
            scale = self.source.fit.scale
            unit = unit * (scale if math.isfinite(scale) and scale > 0 else 1.0)
            return Rules(VERDICT[dtype], unit=unit, quadratic=True)
        rounding = max(1e-13, 0.1 * self.objective.noise) if double else 1e-6
        return Rules(VERDICT[dtype], rounding, 1e-9 if double else 1e-3, unit)

    @property
    def together(self) -> int:
        """Return how many replicates one worker fits at once."""
        return max(1, min(TOGETHER, BYTES // (8 * self.objective.rows)))


def _model(source: Estimates) -> GenericLikelihoodModel:
    return source.model  # type: ignore[return-value]


def replicated(source: Estimates) -> Replicated:
    """Return how replicates of a fit are evaluated; what many at once give is held against one first."""
    objective = source.fit.objective
    if source.record.arguments.get("bounds"):
        return Replicated(source, objective, None, "the fit has bounds")
    if isinstance(objective, LeastSquares):
        if source.fit.root is not None:
            return Replicated(source, objective, None, "the columns are ill-conditioned")
        return Replicated(source, objective, least_squares(objective))
    found = evaluator(source)
    return Replicated(source, objective, found, "" if found is not None else "its likelihood gives its sum only")


# ---- the fits


@dataclass(frozen=True, eq=False)
class Inputs:
    """Hold what distinguishes some replicates: weights (r, rows), or responses (r, rows) with the model's weights."""

    weights: Tensor | None = None
    endog: Tensor | None = None


Draw = Callable[[int, int], Inputs]
"""Takes the first replicate and the one after the last."""


@dataclass(frozen=True, eq=False)
class Refits:
    """Hold the (R, K) reported parameters, log-likelihoods, and how many were fitted at once; NaN where one failed.

    Attributes
    ----------
    gammas : (R, F) points in gamma; NaN also where a fit ended in another map (at a bound).
    causes : by replicate that failed, why.
    """

    params: Tensor
    gammas: Tensor
    llf: Tensor
    causes: dict[int, str]
    alone: int


class _Problems:
    """Turn replicates into functions of gamma to be minimised."""

    def __init__(self, plan: Replicated, inputs: Inputs, count: int) -> None:
        assert plan.replicates is not None
        self.replicates, self.map, self.count = plan.replicates, StackedMap(plan.map), count
        self.inputs, self.kept = inputs, inputs
        self.subset: Tensor | None = None

    def _of(self, which: Tensor) -> Inputs:
        if len(which) == self.count:
            return self.inputs
        if self.subset is None or not torch.equal(self.subset, which):
            at = which.to(self.replicates.device)
            parts = (self.inputs.weights, self.inputs.endog)
            self.kept = Inputs(*(None if t is None else t if len(t) == 1 else t[at] for t in parts))
            self.subset = which
        return self.kept

    def evaluate(self, which: Tensor, x: Tensor, order: int) -> Derived:
        """Return minus the log-likelihoods of some replicates with their derivatives."""
        inputs = self._of(which)
        return self._pulled(self.replicates.evaluate(self.map.working(x), inputs.weights, inputs.endog, order), x)

    def at_start(self, gamma: Tensor) -> Derived | None:
        """Return the same at the estimates of the fit, where replicates differ in their weights only."""
        if self.inputs.endog is not None or self.inputs.weights is None:
            return None
        stack = self.replicates.shared(self.map.one.working(gamma), self.inputs.weights)
        return self._pulled(stack, gamma.expand(self.count, -1))

    def _pulled(self, stack: Stack, x: Tensor) -> Derived:
        gradients = -self.map.pull_gradient(stack.gradients, x)
        hessians = None
        if stack.hessians is not None:
            hessians = -self.map.pull_hessian(stack.hessians, stack.gradients, x)
        return Derived(-stack.values, gradients, hessians)


def refit(plan: Replicated, draw: Draw, count: int, progress: bool | None = None, what: str = "") -> Refits:
    """Fit all replicates: many at once, and those that fail so by themselves."""
    plan, gamma = _ready(plan, draw), plan.source.fit.gamma
    x = torch.full((count, len(gamma)), torch.nan, dtype=torch.float64, device="cpu")
    llf = torch.full((count,), torch.nan, dtype=torch.float64, device="cpu")
    step = 16 * plan.together
    with ProgressLine(progress) as line:
        if plan.replicates is not None:
            for begin in range(0, count, step):
                end = min(begin + step, count)
                for a, found in _fit_range(plan, draw, gamma, begin, end):
                    good = found.found.nonzero()[:, 0]
                    x[a + good], llf[a + good] = found.x[good], -found.values[good]
                line.count(what, count, end - begin)
        params = StackedMap(plan.map).theta(x)
        return _rest(plan, draw, params, x, llf, line, what)


def _ready(plan: Replicated, draw: Draw) -> Replicated:
    """Return the plan, after a look at the first responses where replicates differ in these."""
    if plan.replicates is None or isinstance(plan.objective, LeastSquares):
        return plan
    first = _on_device(draw(0, 1), plan.objective)
    if first.endog is None:
        return plan
    return replace(plan, replicates=for_responses(plan.source, plan.replicates, first.endog, first.weights))


def _fit_range(plan: Replicated, draw: Draw, gamma: Tensor, begin: int, end: int) -> list[tuple[int, Minima]]:
    def work(start: int, stop: int) -> list[tuple[int, Minima]]:
        out = []
        for a in range(begin + start, begin + stop, plan.together):
            b = min(a + plan.together, begin + stop)
            out.append((a, _fit_together(plan, _on_device(draw(a, b), plan.objective), gamma, b - a)))
        return out

    parts = map_ranges(work, end - begin, plan.together, plan.objective.device)
    return [found for part in parts for found in part]


def _fit_together(plan: Replicated, inputs: Inputs, gamma: Tensor, count: int) -> Minima:
    """Return what Newton's method finds for some replicates; none where the likelihood fails in one of them."""
    problems, start = _Problems(plan, inputs, count), gamma.repeat(count, 1)
    try:
        return minimise_many(problems, start, problems.at_start(gamma), plan.rules)
    except Exception:  # each is then fitted by itself, which tells what is wrong with which
        none = torch.full((count,), torch.nan, dtype=torch.float64, device="cpu")
        return Minima(start, none, torch.isfinite(none), 0)


def _on_device(inputs: Inputs, objective: Objective) -> Inputs:
    parts = (inputs.weights, inputs.endog)
    return Inputs(*(None if t is None else t.to(objective.device, objective.dtype) for t in parts))


def _rest(
    plan: Replicated, draw: Draw, params: Tensor, x: Tensor, llf: Tensor, line: ProgressLine, what: str
) -> Refits:
    """Fit by itself each replicate that is not there yet."""
    left = torch.isnan(llf).nonzero()[:, 0].tolist()
    causes = {}
    for number in left:
        found = one_by_one(plan, draw(number, number + 1))
        if isinstance(found, str):
            causes[number] = found
        else:
            params[number], llf[number] = found[0], found[1]
        line.count(f"{what}, one by one", len(left))
    return Refits(params, x, llf, causes, len(left) - len(causes) if plan.replicates is None else len(left))


def one_by_one(plan: Replicated, inputs: Inputs) -> tuple[Tensor, float] | str:
    """Return parameters and log-likelihood of one replicate, or why it has none."""
    objective = plan.objective
    if inputs.endog is not None:
        objective = with_response(plan.source, inputs.endog[0])
    if inputs.weights is not None:
        objective = with_weights(objective, inputs.weights[0])
    try:
        with unheard(ConvergenceWarning), unheard(DataWarning):
            if isinstance(objective, LeastSquares):
                return _solved(plan, objective)
            return _maximised(plan, objective)
    except TorchmleError as error:
        return str(error)
    except Exception as error:  # the user's code, at a point that this replicate came to: the others go on
        return f"{type(error).__name__}: {error}"


def _solved(plan: Replicated, objective: LeastSquares) -> tuple[Tensor, float] | str:
    solution = solve(objective)
    if not solution.condition < NEARLY_COLLINEAR * 100:
        return "the columns are collinear in the rows that it has"
    return plan.map.theta(solution.working * plan.map.scale), -solution.ssr / 2


def _maximised(plan: Replicated, objective: Objective) -> tuple[Tensor, float] | str:
    """Search by Newton's method from the estimates, under the restrictions and bounds of the fit."""
    source, given = plan.source, plan.source.record.arguments
    plain = replace(source.fit.map, basis=None, origin=None, held={}, at_bound={})
    pmap = constrain(plain, given.get("fixed"), given.get("constraints"))
    start = pmap.gamma_of_inner(source.fit.map.inner(source.fit.gamma))
    request = FitRequest(
        start_params=source.params, fixed=given.get("fixed"), bounds=given.get("bounds"), progress=False
    )
    model = _model(source)
    tol = VERDICT[objective.dtype] * weight_unit(model)
    newton = make_optimizer("newton", Options(tol=tol), None, {})
    found = maximise(Search(model, objective, plain, pmap, newton, request, start, True))
    if found.result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    if found.result.status is not Status.CONVERGED:
        return found.result.status.sentence
    return found.map.theta(found.result.x), -found.result.at.value
