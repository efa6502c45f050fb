"""Choose and check the starting point of a fit."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import LikelihoodError, OptionError, listing
from ..loglik.audit import audit
from ..loglik.check import check_likelihood, check_returned, describe_not_finite
from ..loglik.lifting import PLAIN, lift
from ..loglik.objective import Objective
from ..loglik.opaque import OpaqueObjective
from ..optim.base import Options, Status, minimise
from ..optim.registry import is_first_order, make_optimizer
from ..params.map import ParamMap
from ..workers import derivatives_on
from .checkpoint import resumed
from .problem import LikelihoodProblem
from .request import FitRequest, as_params

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

SAMPLE_FROM = 20_000
"""Rows above which a fit without starting values begins with a sample of the rows."""

AUDIT_ROWS = 500
"""Rows on which derivatives are compared with differences."""


def param_names(model: GenericLikelihoodModel, request: FitRequest) -> tuple[str, ...]:
    """Return the names of the parameters; those of the start where the model has none."""
    names = model.param_names
    if names:
        return names
    start = request.start_params if request.start_params is not None else _own_start(model)
    if isinstance(start, Mapping) or (hasattr(start, "index") and hasattr(start, "to_numpy")):
        return tuple(str(k) for k in start)
    if start is None:
        raise OptionError(
            f"{type(model).__name__} has neither exog nor extra_params, so its parameters are not known. "
            "Set extra_params = ('a', 'b') in the class, or pass start_params as a dict."
        )
    return tuple(f"par{i}" for i in range(len(start)))


def enough_rows(model: GenericLikelihoodModel, pmap: ParamMap) -> None:
    """Raise if there are more free parameters than rows."""
    if model.nobs < pmap.free:
        raise OptionError(
            f"{pmap.free} parameters cannot be estimated from {model.nobs} rows ({listing(pmap.names)}). "
            f"{model.data.rows.total - model.nobs} of {model.data.rows.total} rows were dropped."
        )


def _own_start(model: GenericLikelihoodModel) -> Any:
    start = model.start_params
    return start() if callable(start) else start


def with_typical_sizes(model: GenericLikelihoodModel, pmap: ParamMap, request: FitRequest) -> ParamMap:
    """Return the map with parameters that belong to no column in units of their starting values, where given."""
    given = request.start_params if request.start_params is not None else _own_start(model)
    loose = [i for i, name in enumerate(pmap.names) if name in model.extra_params and i not in pmap.naturals]
    if given is None or not loose:
        return pmap
    size = as_params(given, pmap.names, "start_params").abs()
    scale = pmap.scale.clone()
    for i in loose:
        position = i if pmap.curve is None else pmap.curve.plain.get(i)
        own = position is not None and float(pmap.scale[position]) == 1.0  # others have the units of their column
        if own and (float(size[i]) > 10.0 or 0 < float(size[i]) < 0.1):
            scale[position] = 1 / size[i]
    return replace(pmap, scale=scale)


def starting_point(
    model: GenericLikelihoodModel, request: FitRequest, pmap: ParamMap, objective: Objective, order: int
) -> tuple[Tensor, bool]:
    """Return the starting point in gamma, and whether the user or the model gave it.

    The last candidate mostly is the best: where all rows are looked at, it is evaluated with the derivatives that the
    method will ask for, and these are remembered.
    """
    starts = {"resume": resumed(request, model), "start_params": request.start_params}
    for what, given in (*starts.items(), ("start_params", _own_start(model))):
        if given is not None:
            return pmap.gamma(as_params(given, pmap.names, what)), True
    candidates = [pmap.gamma_of_link(link) for link in model.start_candidates(pmap)]
    if len(candidates) == 1:
        return candidates[0], False
    few = _sample(objective, 2_000)
    orders = [0] * (len(candidates) - 1) + [order if few is objective else 0]
    try:
        values = [few.moments(pmap.working(c), o).llf for c, o in zip(candidates, orders, strict=True)]
    except Exception:  # the check that follows says what is wrong
        return candidates[0], False
    ranked = [(v if math.isfinite(v) else -math.inf) for v in values]
    if max(ranked) == -math.inf:
        return pmap.gamma_of_link(torch.zeros(len(pmap.names), dtype=torch.float64, device="cpu")), False
    return candidates[ranked.index(max(ranked))], False


def _sample(objective: Objective, most: int) -> Objective:
    """Return the objective of a strided sample of the rows."""
    if objective.rows <= most or not objective.separable:
        return objective
    stride = objective.rows // most
    return objective.take(torch.arange(0, objective.rows, stride, device=objective.device))


def is_ready_made(model: GenericLikelihoodModel) -> bool:
    """Return whether a likelihood is one of torchmle's own, which the tests check once and for all."""
    return model.ready_made


def checked(
    model: GenericLikelihoodModel, objective: Objective, pmap: ParamMap, gamma: Tensor
) -> tuple[Objective, str]:
    """Check the likelihood at the start; a likelihood whose rows cannot be parted is evaluated as a whole."""
    what = model.likelihood_label
    at = pmap.working(gamma).to(objective.device, objective.dtype)
    if not objective.separable:
        with derivatives_on(objective.device):
            value = objective.row_values(at.clone().requires_grad_(), 0, objective.rows)
            check_returned(value, 1, what)
        return objective, "reverse-mode autograd of a scalar log-likelihood"

    if is_ready_made(model):
        return objective, objective.engine

    def rows_of(rows: slice | Tensor, working: Tensor) -> Tensor:
        assert isinstance(rows, slice)
        return objective.row_values(working, rows.start, rows.stop)

    generator = torch.Generator(device="cpu").manual_seed(18)
    noise = torch.randn(len(gamma), generator=generator, dtype=torch.float64, device="cpu")
    near = pmap.working(gamma + (0.01 * gamma.abs() + 1e-5) * noise).to(at)
    reason = check_likelihood(rows_of, at, near, objective.rows, objective.device, what)
    if not isinstance(objective, OpaqueObjective):
        if reason is not None:
            raise LikelihoodError(
                f"{what} must give each row from that row's data alone, but {reason}. Compute such quantities once "
                "and give them as row_data."
            )
        return objective, objective.engine
    _offset_is_used(model, near)
    if reason is None:
        if not model.lifting:
            return objective, f"{PLAIN} (lifting is switched off)"
        return lift(objective, pmap.working(gamma))
    return objective.as_whole(), f"reverse-mode autograd on all rows at once, because {reason}"


def _offset_is_used(model: GenericLikelihoodModel, near: Tensor) -> None:
    """Refuse an offset or exposure that a user's likelihood never reads."""
    if model.data.offset is None:
        return
    part = model.take(slice(0, 200))
    moved = copy.copy(part)
    moved.offset = None if part.offset is None else part.offset + 0.1
    try:
        same = torch.equal(part.loglikeobs(near), moved.loglikeobs(near))
    except Exception:  # the point is ours, not the user's
        return
    if same:
        raise OptionError(
            f"offset or exposure was given, but {model.likelihood_label} does not use {model.offset_label}. Add it to "
            f"the linear predictor, e.g. + {model.offset_label}."
        )


def refine_on_sample(objective: Objective, pmap: ParamMap, gamma: Tensor, method: str) -> Tensor:
    """Return the estimate on a sample of the rows, a better start for the full data, or the start itself."""
    if objective.rows <= SAMPLE_FROM or not objective.separable or is_first_order(method):
        return gamma
    size = max(2_000, 10 * len(gamma))
    while size <= objective.rows // 5:
        problem = LikelihoodProblem(_sample(objective, size), pmap)
        newton = make_optimizer("newton", Options(maxiter=50, tol=1e-2), None, {})
        found = minimise(newton, problem, gamma, verdict_tol=1e-2)
        if found.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if found.status is not Status.CONVERGED:
            return gamma
        gamma, size = found.x, size * 20
    return gamma


def audit_at(model: GenericLikelihoodModel, objective: Objective, pmap: ParamMap, gamma: Tensor) -> str | None:
    """Return what is wrong with the derivatives of a user's own likelihood near a point; ready-made ones are tested."""
    if is_ready_made(model):
        return None
    names = _free_names(pmap)
    sample = _sample(objective, AUDIT_ROWS)
    found = audit(sample, pmap.working, pmap.working_jacobian, gamma, names, rounding_of(model.endog))
    return None if found is None else f"{model.likelihood_label}: {found.text}"


def rounding_of(y: Tensor) -> float:
    """Return the rounding of a response in units of its spread: what its differences from a mean cannot do without."""
    spread = float(y.double().std()) if len(y) > 1 else 0.0
    size = float(y.abs().max())
    return torch.finfo(torch.float64).eps * size / spread if 0 < spread < size else 0.0


def _free_names(pmap: ParamMap) -> list[str]:
    """Return what to call the coordinates of the optimizer: the parameter that each moves, where that is one."""
    if pmap.basis is not None:
        return [f"direction {j + 1}" for j in range(pmap.free)]
    return list(pmap.link_names) if pmap.curve is None else pmap.curve.free_names


def finite_start(model: GenericLikelihoodModel, problem: LikelihoodProblem, gamma: Tensor, order: int) -> None:
    """Refuse a start at which the log-likelihood or its gradient is not finite, naming rows and values.

    ``order`` is that of the derivatives which the method will ask for: they are computed once.
    """
    first = problem.evaluate(gamma, max(order, 1))
    if replace(first, hessian=None).finite:
        return
    objective, working = problem.objective, problem.map.working(gamma)
    theta = problem.map.theta(gamma).tolist()
    labels, names = model.data.rows.labels, problem.map.names
    advice = " Give start_params at which it is finite."
    if not math.isfinite(first.value):
        values = objective.values(working)
        if len(values) == objective.rows:
            raise LikelihoodError(describe_not_finite(values, list(labels), names, theta) + advice)
        raise LikelihoodError(f"The log-likelihood is {float(values[0])} at start_params {listing(theta)}.{advice}")
    if objective.separable:
        bad = (~torch.isfinite(objective.scores(working)).all(1)).nonzero().flatten().tolist()
        where = f"in {len(bad)} rows (row {listing([labels[i] for i in bad[:3]])})"
    else:
        where = "at the start"
    raise LikelihoodError(
        f"The log-likelihood is finite but its gradient is not, {where}. A torch.where whose unused branch is not "
        "finite does this (log(a) at a = 0): make both branches safe, e.g. torch.log(torch.where(a > 0, a, 1.0))."
    )
