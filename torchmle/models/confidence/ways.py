"""Find the candidate of a model whose log-likelihood is looked at as a whole: gradient steps on all of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ...errors import LikelihoodError, OptionError
from ...loglik.objective import Objective
from ...optim.base import Options, TraceRow, minimise
from ...optim.registry import is_first_order, make_optimizer
from ...optim.status import Status
from ...optim.stochastic import Stochastic, StochasticOptions
from ...params.constraints import constrain
from ...params.map import ParamMap
from ...progress import ProgressLine
from ...results.fit import Fit, Inference
from ...results.inference import build_inference
from ..problem import VERDICT, LikelihoodProblem
from ..request import FitRequest
from ..start import audit_at, checked, enough_rows, finite_start, param_names, rounding_of, starting_point
from .records import Asked, Records
from .request import SafetyOptions
from .search import Account, search

if TYPE_CHECKING:
    from ..base import GenericLikelihoodModel

NEWTON_UP_TO = 1_000
"""Parameters up to which the search starts at the maximum without constraints."""

NEWTON_STEPS = 50
"""Steps in which that must be found; where there is none (separation), the usual start is taken."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Hold what a search found, on the candidate part of the data.

    Attributes
    ----------
    model : on the candidate part.
    start : in gamma.
    engine, method : how derivatives were computed, and by which optimizer the steps were taken.
    """

    model: GenericLikelihoodModel
    map: ParamMap
    objective: Objective
    start: Tensor
    engine: str
    method: str
    account: Account


class Way(Protocol):
    """Be a way to find a candidate."""

    def candidate(
        self,
        model: GenericLikelihoodModel,
        request: FitRequest,
        asked: Asked,
        ratio: float,
        options: SafetyOptions,
        rest: Mapping[str, Any],
    ) -> Candidate:
        """Return what a search on the candidate part finds.

        Parameters
        ----------
        ratio : observations of the safety part for each of the candidate part.
        rest : options of the method.
        """
        ...

    def like(self, kept: GenericLikelihoodModel, found: Candidate) -> GenericLikelihoodModel:
        """Return the model on the safety part as it was found."""
        ...

    def derivatives(self, found: Candidate, gamma: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return gradient and Hessian at a point in working parameters, NaN without a point."""
        ...

    def inference(self, found: Candidate, fit: Fit) -> Inference:
        """Return a covariance that is not there."""
        ...


class Steps:
    """Take steps on all rows; the search starts at the maximum without constraints where there is one."""

    def candidate(
        self,
        model: GenericLikelihoodModel,
        request: FitRequest,
        asked: Asked,
        ratio: float,
        options: SafetyOptions,
        rest: Mapping[str, Any],
    ) -> Candidate:
        """Return what a search on the candidate part finds."""
        method = _method(request, rest)
        pmap, objective, gamma, given, engine = _likelihood(model, request)
        records, problem = Records(model, pmap, objective, asked), LikelihoodProblem(objective, pmap)
        best = None if given else _maximum(model, problem, gamma)
        line = ProgressLine(request.progress)

        def watch(row: TraceRow) -> bool:
            line.show(f"{model.model_name} under constraints: iteration {row.iteration}, {row.llf:.6f}")
            return request.callback is not None and bool(request.callback(row))

        try:
            start = gamma if best is None else best
            account = search(records, problem, start, best is not None, ratio, method, options, watch)
        finally:
            line.close()
        return Candidate(model, pmap, objective, start, engine, method.name, account)

    def like(self, kept: GenericLikelihoodModel, found: Candidate) -> GenericLikelihoodModel:
        """Return the model on the safety part."""
        return kept

    def derivatives(self, found: Candidate, gamma: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return gradient and Hessian at a point in working parameters, NaN without a point."""
        if gamma is None:
            K = len(found.map.scale)
            nan = torch.full((K, K), torch.nan, dtype=torch.float64, device="cpu")
            return nan[0], nan
        moments = found.objective.moments(found.map.working(gamma), 2)
        assert moments.gradient is not None
        assert moments.hessian is not None
        return moments.gradient, moments.hessian

    def inference(self, found: Candidate, fit: Fit) -> Inference:
        """Return a covariance of NaN."""
        return build_inference(found.model, fit, None, "nonrobust", None, None, False)


def _method(request: FitRequest, rest: Mapping[str, Any]) -> Stochastic:
    """Return the optimizer of the steps."""
    name = request.method or "adam"
    if not is_first_order(name):
        raise OptionError(
            f"method={name!r} is not available under constraints with confidence, which are met by gradient steps: "
            "'adam', 'sgd', 'adagrad', 'rmsprop' or 'torch:CLASS'."
        )
    if request.batch_size is not None:
        raise OptionError("batch_size is for modules that are trained; here steps are taken on all rows.")
    common = Options(request.maxiter, seed=request.seed or 0, time_limit=request.general.time_limit)
    found = make_optimizer(name, common, None, rest)
    assert isinstance(found, Stochastic)
    assert isinstance(found.options, StochasticOptions)
    if found.options.schedule is not None:
        raise OptionError("schedule is not available under constraints with confidence; give lr.")
    return found


def _likelihood(model: GenericLikelihoodModel, request: FitRequest) -> tuple[ParamMap, Objective, Tensor, bool, str]:
    """Return map and likelihood of the candidate part, checked, the start, whether it was given, and the engine."""
    plain = model.make_map(param_names(model, request), "standardised")
    pmap = constrain(plain, request.fixed, request.constraints)
    objective = model.make_objective(pmap)
    enough_rows(model, pmap)
    gamma, given = starting_point(model, request, pmap, objective, 1)
    objective, engine = checked(model, objective, pmap, gamma)
    objective.noise = rounding_of(model.endog)
    finite_start(model, LikelihoodProblem(objective, pmap), gamma, 1)
    wrong = audit_at(model, objective, pmap, gamma)
    if wrong is not None:
        raise LikelihoodError(wrong)
    return pmap, objective, gamma, given, engine


def _maximum(model: GenericLikelihoodModel, problem: LikelihoodProblem, gamma: Tensor) -> Tensor | None:
    """Return the maximum without constraints, or None where none is found."""
    if len(gamma) > NEWTON_UP_TO:
        return None
    tol = VERDICT[model.endog.dtype]
    newton = make_optimizer("newton", Options(maxiter=NEWTON_STEPS, tol=tol), None, {})
    found = minimise(newton, problem, gamma, verdict_tol=tol)
    if found.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return found.x if found.status is Status.CONVERGED else None
