"""Bootstrap a fit, leave its units out in turn, permute one of its columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.absent import need_rows
from ..data.groups import Groups, late_groups
from ..data.vectors import FloatArray
from ..errors import ConvergenceWarning, OptionError, listing, unknown, warn
from ..inference.resampling import LAWS, Draws, acceleration, signs
from ..loglik.leastsquares import LeastSquares
from ..optim.checks import check_whole
from ..params.stacked import StackedMap
from ..results.bootstrap import BootstrapResults, JackknifeResults
from ..results.estimates import Estimates
from ..results.linkscale import need_maximum
from ..results.point import need_row_values
from .influence import group_labels
from .replicate import Inputs, Refits, Replicated, refit, replicated
from .simulate import check_seed, predictors_at
from .simulate import draw as draw_response

KINDS = ("pairs", "cluster", "bayesian", "parametric", "score", "wild")


def bootstrap(
    results: Estimates, *, reps: int, kind: str, seed: int, groups: Any, multiplier: str, progress: bool | None
) -> BootstrapResults:
    """Return the bootstrap of a fit; see :meth:`Results.bootstrap`."""
    if kind not in KINDS:
        raise OptionError(unknown("kind", kind, KINDS))
    if reps is None:
        raise OptionError("reps=None: give the number of replicates, e.g. 999.")
    check_whole("reps", reps, 1)
    _check_fit(results, "bootstrap()")
    ways = _ways(results, kind, groups)
    if multiplier not in LAWS:
        raise OptionError(unknown("multiplier", multiplier, LAWS))
    if kind not in ("score", "wild") and multiplier != "rademacher":
        raise OptionError(f"multiplier={multiplier!r} is for kind='score' and 'wild', not for kind={kind!r}.")
    count, start = int(reps), check_seed(seed)
    if kind in ("score", "wild"):
        return _perturbed(results, kind, count, start, ways, multiplier)
    if kind == "parametric":
        return _parametric(results, count, start, progress)
    return _resampled(results, kind, count, start, ways, progress)


def _check_fit(results: Estimates, what: str) -> None:
    need_rows(results.model.data, what)
    if not results.fit.map.at_bound or not results.converged:
        need_maximum(results, what)
    need_row_values(results, what)


def _ways(results: Estimates, kind: str, groups: Any) -> Groups | None:
    """Return the clusters, where the kind takes them."""
    data = results.model.data
    if groups is None:
        if kind == "cluster" and data.groups is None:
            raise OptionError("kind='cluster' needs groups: a column name, a Series or an array of ids.")
        return data.groups if kind == "cluster" else None
    if kind in ("pairs", "parametric"):
        raise OptionError(f"kind={kind!r} takes no groups. Use kind='cluster' to draw whole clusters.")
    return late_groups(groups, data.frame, data.rows)


def draws_of(results: Estimates, kind: str, seed: int, ways: Groups | None) -> Draws:
    """Return what draws the weights of replicates, the model's own weights included."""
    objective, weights = results.fit.objective, results.model.data.weights
    base = None if objective.weights is None else objective.weights.double().cpu().numpy()
    counts = weights is not None and weights.kind == "freq_weights"
    codes = None if ways is None else ways.codes
    name = "pairs" if kind == "cluster" else kind
    return Draws(name, seed, objective.rows, base, counts, codes, 0 if ways is None else ways.count)


def weighted(draws: Draws) -> Any:
    """Return what draws weights as tensors."""
    return lambda start, stop: Inputs(weights=torch.from_numpy(draws.weights(start, stop)))


def _resampled(
    results: Estimates, kind: str, reps: int, seed: int, ways: Groups | None, progress: bool | None
) -> BootstrapResults:
    draws, plan = draws_of(results, kind, seed, ways), replicated(results)
    found = refit(plan, weighted(draws), reps, progress, "bootstrap")
    noun = f"{draws.groups} clusters" if ways is not None else f"{results.nobs:g} observations"
    return _reported(results, found, plan, kind, seed, noun, _acceleration(results, ways), draws)


def _parametric(results: Estimates, reps: int, seed: int, progress: bool | None) -> BootstrapResults:
    model: Any = results.model
    weights = model.data.weights
    if weights is not None and weights.kind != "var_weights":
        raise OptionError(
            f"kind='parametric' draws one response for each row, and the model has {weights.kind}. Use 'pairs' or "
            "'bayesian'."
        )
    predictors, plan = predictors_at(model, results), replicated(results)

    def responses(start: int, stop: int) -> Inputs:
        drawn = torch.stack([draw_response(model, predictors, seed, number) for number in range(start, stop)])
        return Inputs(_own_weights(plan), response_of(results, drawn))

    found = refit(plan, responses, reps, progress, "parametric bootstrap")
    noun = f"{len(model.data.endog)} responses drawn from the model"
    return _reported(results, found, plan, "parametric", seed, noun, np.zeros(len(results.names)), None)


def response_of(results: Estimates, drawn: Tensor) -> Tensor:
    """Return responses (r, n) as the objective takes them: least squares takes them less the offset."""
    offset = results.model.data.offset
    if isinstance(results.fit.objective, LeastSquares) and offset is not None:
        return drawn - offset.double().cpu()
    return drawn


def _own_weights(plan: Replicated) -> Tensor | None:
    own = plan.objective.weights
    return None if own is None else own[None]


def _perturbed(
    results: Estimates, kind: str, reps: int, seed: int, ways: Groups | None, multiplier: str
) -> BootstrapResults:
    """Return ``b + A^-1 sum e_g s_g``: the score bootstrap, and for least squares the wild bootstrap itself."""
    if kind == "wild" and not isinstance(results.fit.objective, LeastSquares):
        raise OptionError(
            "kind='wild' changes the signs of least squares residuals and is for OLS and WLS in closed form. "
            "kind='score' does the same to the scores of any likelihood."
        )
    fit = results.fit
    scores = _unit_scores(results, ways)
    moments = fit.objective.moments(fit.map.working(fit.gamma), 2)
    assert moments.gradient is not None
    assert moments.hessian is not None
    information = -fit.map.pull_hessian(moments.hessian, moments.gradient, fit.gamma)
    lift = torch.linalg.solve(information, scores.mT).mT
    parts = []
    for start in range(0, reps, 64):
        drawn = torch.from_numpy(signs(seed, start, min(start + 64, reps), len(lift), multiplier))
        parts.append(fit.gamma + drawn @ lift)
    gammas = torch.cat(parts)
    found = Refits(StackedMap(fit.map).theta(gammas), gammas, torch.zeros(reps), {}, 0)
    noun = f"{len(lift)} {'clusters' if ways is not None else 'rows'}, {multiplier} multipliers"
    return _reported(results, found, None, kind, seed, noun, np.zeros(len(results.names)), None)


def _unit_scores(results: Estimates, ways: Groups | None) -> Tensor:
    """Return the (G, F) sums of weighted scores by unit, in gamma."""
    fit = results.fit
    working, jacobian = fit.map.working(fit.gamma), fit.map.working_jacobian(fit.gamma)
    if ways is not None:
        return fit.objective.group_scores(working, torch.from_numpy(ways.codes), ways.count) @ jacobian
    scores, weights = fit.objective.scores(working), fit.objective.weights
    if weights is None:
        return scores @ jacobian
    counts = results.model.data.weights is not None and results.model.data.weights.kind == "freq_weights"
    w = weights.double().cpu()
    return (scores * (w.sqrt() if counts else w)[:, None]) @ jacobian  # a sum of w independent signs has variance w


def _acceleration(results: Estimates, ways: Groups | None) -> FloatArray:
    """Return a sixth of the skewness of the influence of the units on each parameter."""
    fit = results.fit
    if ways is None:
        scores = fit.objective.scores(fit.map.working(fit.gamma)) @ fit.map.working_jacobian(fit.gamma)
        counts = results.model.data.weights is not None and results.model.data.weights.kind == "freq_weights"
        own = fit.objective.weights
        w = None if own is None else own.double().cpu()
        scores = scores if w is None or counts else scores * w[:, None]
        times = w.numpy() if w is not None and counts else None
    else:
        scores, times = _unit_scores(results, ways), None
    bread = results.inference.bread
    if bread is None:
        return np.zeros(len(results.names))
    found: FloatArray = acceleration((scores @ bread @ fit.map.jacobian(fit.gamma).mT).numpy(), times)
    return found


def _reported(
    results: Estimates,
    found: Refits,
    plan: Replicated | None,
    kind: str,
    seed: int,
    units: str,
    skew: FloatArray,
    draws: Draws | None,
) -> BootstrapResults:
    warn_of(found.causes, len(found.params), f"{results.model.model_name}: bootstrap ({kind})")
    notes = () if plan is None or not plan.why else (f"Replicates were fitted one by one: {plan.why}.",)
    frame = pd.DataFrame(found.params.numpy(), columns=list(results.names))
    return BootstrapResults(frame, results.params, kind, seed, found.causes, skew, units, found.alone, draws, notes)


def warn_of(causes: dict[int, str], count: int, what: str) -> None:
    """Warn of replicates that have no estimate."""
    if causes:
        first = next(iter(causes.values()))
        warn(
            f"{what}: {len(causes)} of {count} replicates have no estimate (numbers {listing(causes, 5)}; the first: "
            f"{first}) They are NaN; errors and intervals are those of the others only.",
            ConvergenceWarning,
        )


def jackknife(results: Estimates, *, groups: Any, progress: bool | None) -> JackknifeResults:
    """Return the jackknife of a fit; see :meth:`Results.jackknife`."""
    _check_fit(results, "jackknife()")
    data = results.model.data
    ways = None if groups is None else late_groups(groups, data.frame, data.rows)
    labels = data.rows.labels if ways is None else group_labels(groups, data, ways)
    draws, plan = draws_of(results, "delete", 0, ways), replicated(results)
    found = refit(plan, weighted(draws), draws.units, progress, "jackknife")
    counts = draws.base if draws.counts and ways is None and draws.base is not None else np.ones(draws.units)
    noun = f"{draws.units} {'rows' if ways is None else 'clusters'}"
    warn_of(found.causes, draws.units, f"{results.model.model_name}: jackknife")
    frame = pd.DataFrame(found.params.numpy(), index=labels, columns=list(results.names))
    return JackknifeResults(frame, results.params, counts, found.causes, noun)
