"""Check derivatives: against differences, by row, by chunk, and far out."""

from __future__ import annotations

import numpy as np
import torch

from ..data.vectors import FloatArray
from ..loglik.moments import Moments
from ..loglik.objective import Objective
from . import differences
from .subject import (
    Derivatives,
    Finding,
    NotApplicableError,
    Subject,
    all_of,
    bounded,
    kind_of_weights,
    largest,
    level_blocks,
    objective_of,
    working_of,
)

POINTS = 3
"""Random points at which derivatives are compared."""


def gradient(subject: Subject) -> Finding:
    """Prove that ``score`` is the derivative of ``loglike``, at random points."""
    _double(subject)
    rng = subject.rng("gradient")
    gaps, rounding = [], 0.0
    for _ in range(POINTS):
        at = subject.near(rng)
        expected = differences.gradient(subject.loglike, at, subject.unit)
        gaps.append(largest(subject.model.score(at) * subject.unit - expected))
        rounding = max(rounding, _rounding(subject, at) / differences.FIRST)
    return bounded("score against differences", max(gaps, key=_rank), 1e-6 + rounding, "standard errors")


def hessian(subject: Subject) -> Finding:
    """Prove that ``hessian`` is the second derivative of ``loglike``, at a random point."""
    _double(subject)
    at = subject.near(subject.rng("hessian"))
    expected = differences.hessian(subject.loglike, at, subject.unit)
    found = subject.model.hessian(at) * np.outer(subject.unit, subject.unit)
    bound = 1e-5 + _rounding(subject, at) / differences.SECOND**2
    return bounded("Hessian against differences", largest(found - expected), bound, "of the curvature")


def reported(subject: Subject) -> Finding:
    """Prove that the results hold log-likelihood, score and Hessian of the returned point, whatever engine ran."""
    results, unit = subject.results, subject.unit
    at = results.params.to_numpy(dtype=np.float64)
    score, hessian = results.score.to_numpy() * unit, results.hessian.to_numpy() * np.outer(unit, unit)
    here = Derivatives(results.llf, score, hessian)
    theirs = compare(subject, here, subject.derivatives(subject.model, at), "at the estimates")
    point = subject.near(subject.rng("reported"))
    working = working_of(results.fit.map, point)
    own, pmap = objective_of(subject.model)
    fitted, fresh = results.fit.objective.moments(working), own.moments(working_of(pmap, point))
    return all_of(theirs, same_moments(subject, fitted, fresh, "of the fit's engine against the model's"))


def row_sums(subject: Subject) -> Finding:
    """Prove that the scores by row add up to the score, and the log-likelihoods by row to the log-likelihood."""
    subject.separable()
    at = subject.near(subject.rng("row_sums"))
    objective, pmap = objective_of(subject.model)
    weights = np.ones(subject.rows) if objective.weights is None else objective.weights.cpu().double().numpy()
    score = weights @ subject.model.score_obs(at) - subject.model.score(at)
    values = objective.values(working_of(pmap, at)).cpu().double().numpy()
    total = float(weights @ values) - subject.loglike(at)
    return all_of(
        bounded("sum of score_obs against score", largest(score * subject.unit), subject.close, "standard errors"),
        bounded("sum of the rows against loglike", abs(total), _llf_bound(subject)),
    )


def chunks(subject: Subject) -> Finding:
    """Prove that evaluation in chunks gives the sums of all rows: no row is lost, and none reads another."""
    subject.separable()
    whole, pmap = objective_of(subject.model)
    whole.chunk = whole.rows
    working = working_of(pmap, subject.near(subject.rng("chunks")))
    expected, products = whole.moments(working), _opg(subject, whole, working)
    findings = []
    for size in (7, max(1, whole.rows - 1)):  # the last chunk is a short one, or a single row
        small, _ = objective_of(subject.model)
        small.chunk = size
        where = f"in chunks of {size} rows"
        findings.append(same_moments(subject, small.moments(working), expected, where))
        apart = _opg(subject, small, working) - products
        findings.append(bounded(f"outer products of the scores {where}", largest(apart), subject.close))
    return all_of(*findings)


def shards(subject: Subject) -> Finding:
    """Prove that two disjoint parts of the rows add up to the whole, as on two machines."""
    subject.separable()
    rng = subject.rng("shards")
    objective, pmap = objective_of(subject.model)
    working = working_of(pmap, subject.near(rng))
    order = torch.from_numpy(rng.permutation(objective.rows)).to(objective.device)
    first, second = order[: objective.rows // 3], order[objective.rows // 3 :]
    total = objective.take(first).moments(working) + objective.take(second).moments(working)
    return same_moments(subject, total, objective.moments(working), "in two shards")


def extreme(subject: Subject) -> Finding:
    """Prove that value, score and Hessian are finite at extreme predictors, and that misfit rows keep a score."""
    if subject.extreme is None:
        raise NotApplicableError("no extreme= was given")
    found = [_far_out(subject, sign * subject.extreme) for sign in (-1.0, 1.0)]
    findings = [finding for finding, _ in found]
    objective, _ = objective_of(subject.model)
    if objective.separable and all(f.passed for f in findings):
        alive = torch.maximum(*[scores.abs().amax(1) for _, scores in found]) > 0
        text = f"rows whose score is 0 on both sides: {int((~alive).sum())}"
        findings.append(Finding(bool(alive.all()), text))
    return all_of(*findings)


def _far_out(subject: Subject, eta: float) -> tuple[Finding, torch.Tensor]:
    """Return whether everything is finite where the first predictor is ``eta``, and the scores there."""
    objective, pmap = objective_of(subject.model)
    working = working_of(pmap, _at_predictor(subject, eta))
    if not objective.separable:
        moments = objective.moments(working)
        return Finding(moments.finite, f"sums at predictor {eta:g} {_finite(moments.finite)}"), torch.zeros(0, 0)
    scores = objective.scores(working)
    few = torch.linspace(0, objective.rows - 1, min(objective.rows, 40)).long().to(objective.device)
    parts = {
        "values": bool(torch.isfinite(objective.values(working)).all()),
        "scores": bool(torch.isfinite(scores).all()),
        "Hessian": objective.take(few).moments(working).finite,
    }
    told = [Finding(ok, f"{what} at predictor {eta:g} {_finite(ok)}") for what, ok in parts.items()]
    return all_of(*told), scores


def _finite(ok: bool) -> str:
    return "finite" if ok else "not finite"


def _at_predictor(subject: Subject, eta: float) -> FloatArray:
    """Return parameters at which the first predictor is ``eta``: in all rows where there is a constant, else in one."""
    designs = list(subject.model.data.designs.values())
    if not designs or not (level_blocks(subject.model) or designs[0].terms[0] in subject.model.param_names):
        raise NotApplicableError("the model has no linear predictor")
    theta = subject.theta.copy()
    theta[: len(designs[0].terms)] = 0.0
    j = 0 if designs[0].constant is None else designs[0].constant
    column = designs[0].X[:, j]
    theta[j] = eta / float(column[column.abs().argmax()])
    return theta


def compare(subject: Subject, a: Derivatives, b: Derivatives, where: str) -> Finding:
    """Return whether two sets of derivatives are the same to rounding."""
    return all_of(
        bounded(f"log-likelihood {where}", abs(a.llf - b.llf), _llf_bound(subject)),
        bounded(f"score {where}", largest(a.score - b.score), subject.close, "standard errors"),
        bounded(f"Hessian {where}", largest(a.hessian - b.hessian), subject.close, "of the curvature"),
    )


def same_moments(subject: Subject, a: Moments, b: Moments, where: str) -> Finding:
    """Return whether moments in working parameters are the same, in units of the root of the curvature."""
    return compare(subject, _scaled(a, b), _scaled(b, b), where)


def _scaled(moments: Moments, by: Moments) -> Derivatives:
    assert moments.gradient is not None
    assert moments.hessian is not None
    assert by.hessian is not None
    unit = by.hessian.diagonal().abs().sqrt().clamp(min=1e-300).reciprocal()
    return Derivatives(
        moments.llf, (moments.gradient * unit).numpy(), (moments.hessian * torch.outer(unit, unit)).numpy()
    )


def _opg(subject: Subject, objective: Objective, working: torch.Tensor) -> FloatArray:
    """Return the outer product of the scores in units of its own diagonal on all rows."""
    power = 1 if kind_of_weights(subject.model) == "freq_weights" else 2
    reference, _ = objective_of(subject.model)
    unit = reference.outer_products(working, power).diagonal().sqrt().clamp(min=1e-300)
    return (objective.outer_products(working, power) / torch.outer(unit, unit)).numpy()


def _double(subject: Subject) -> None:
    if subject.model.endog.dtype != torch.float64:
        raise NotApplicableError("differences need dtype=torch.float64")


def _rounding(subject: Subject, at: FloatArray) -> float:
    """Return what rounding can add to a difference of log-likelihoods: a hundred roundings of the sum."""
    return 100 * subject.eps * (1 + abs(subject.loglike(at)))


def _llf_bound(subject: Subject) -> float:
    return 0.01 * subject.close * (1 + abs(subject.loglike(subject.theta)))


def _rank(size: float) -> float:
    """Order sizes with NaN as the largest."""
    return float("inf") if np.isnan(size) else size
