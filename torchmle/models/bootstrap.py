"""Bootstrap a fit, leave its units out in turn, permute one of its columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.absent import need_rows
from ..data.batch import ModelData
from ..data.groups import Groups, late_groups, split_columns
from ..data.vectors import FloatArray
from ..errors import ConvergenceWarning, OptionError, listing, unknown, warn
from ..inference.resampling import LAWS, Draws, acceleration, signs
from ..loglik.leastsquares import LeastSquares
from ..optim.checks import check_whole
from ..params.stacked import StackedMap
from ..results.bootstrap import BootstrapResults, JackknifeResults
from ..results.estimates import Estimates
from ..results.linkscale import need_maximum
from ..results.point import need_row_values, refuse_bounds
from .influence import group_labels
from .replicate import Inputs, Refits, Replicated, refit, replicated
from .simulate import check_seed, predictors_at
from .simulate import draw as draw_response

KINDS = ("pairs", "cluster", "bayesian", "parametric", "score", "wild")


def bootstrap(
    results: Estimates, *, reps: int, kind: str, seed: int, groups: Any, multiplier: str | None, progress: bool | None
) -> BootstrapResults:
    """Return the bootstrap of a fit; see :meth:`Results.bootstrap`."""
    if kind not in KINDS:
        raise OptionError(unknown("kind", kind, KINDS))
    if reps is None:
        raise OptionError("reps=None: give the number of replicates, e.g. 999.")
    check_whole("reps", reps, 1)
    law = _law(kind, multiplier)
    need_rows(results.model.data, "bootstrap()")
    need_maximum(results, "A bootstrap's replicates")
    count, start = int(reps), check_seed(seed)
    if kind == "parametric":
        _ways(results, kind, groups)
        return _parametric(results, count, start, progress)
    need_row_values(results, f"bootstrap(kind={kind!r})")
    ways = _ways(results, kind, groups)
    if kind in ("score", "wild"):
        return _perturbed(results, kind, count, start, ways, law)
    return _resampled(results, kind, count, start, ways, progress)


def _law(kind: str, multiplier: str | None) -> str:
    """Return the law of the multipliers, for the kinds that have them."""
    if multiplier is None:
        return LAWS[0]
    if multiplier not in LAWS:
        raise OptionError(unknown("multiplier", multiplier, LAWS))
    if kind not in ("score", "wild"):
        raise OptionError(f"multiplier={multiplier!r} is for kind='score' and 'wild', not for kind={kind!r}.")
    return multiplier


def _ways(results: Estimates, kind: str, groups: Any) -> Groups | None:
    """Return the clusters, where the kind takes them; by default those of the errors of the fit, or of the model."""
    if groups is not None:
        if kind in ("pairs", "parametric"):
            raise OptionError(f"kind={kind!r} takes no groups. Use kind='cluster' to draw whole clusters.")
        return _groups(results, groups)
    if kind != "cluster":
        return None
    of_errors = results.inference.covariance.kwds.get("groups")
    if of_errors is not None:
        return _groups(results, of_errors)
    if results.model.data.groups is None:
        raise OptionError("kind='cluster' needs groups: a column name, a Series or an array of ids.")
    return results.model.data.groups


def _groups(results: Estimates, groups: Any) -> Groups:
    """Return one set of groups given late."""
    data = results.model.data
    return late_groups(one_set(groups, data), data.frame, data.rows)


def one_set(groups: Any, data: ModelData) -> Any:
    """Return the groups if they are one column, be it in a list."""
    columns = split_columns(groups, data.frame, data.rows, "groups")
    if len(columns) != 1:
        raise OptionError(
            f"{len(columns)} sets of groups were given; units are drawn or left out by one of them. Name one, or give "
            "the ids of the groups in which both are the same."
        )
    return columns[0]


def _cautions(results: Estimates, ways: Groups | None, what: str) -> tuple[str, ...]:
    """Return what to say of groups that were not used, and of parameters at a bound."""
    notes, kwds, groups = [], results.inference.covariance.kwds, results.model.data.groups
    if ways is None and (kwds.get("groups") is not None or groups is not None):
        notes.append(f"{what} one by one: the groups of the fit were not used.")
    names = [results.names[i] for i in results.fit.map.at_bound]
    if names:
        notes.append(
            f"{listing(names)} ran to a bound, where the bootstrap does not find the law of the estimates (Andrews "
            "2000)."
        )
    return tuple(notes)


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
    noun = _units(draws)
    notes = (*_cautions(results, ways, "Observations were drawn"), *_alone(plan))
    return _reported(results, found, kind, seed, noun, notes, _acceleration(results, ways), draws)


def _units(draws: Draws) -> str:
    """Return what is drawn or left out, in words."""
    if draws.codes is not None:
        return f"{draws.groups} clusters"
    counted = draws.base is not None and draws.counts
    return f"{draws.rows if not counted or draws.base is None else int(draws.base.sum())} observations"


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
    notes = (*_cautions(results, None, "Responses were drawn"), *_alone(plan))
    return _reported(results, found, "parametric", seed, noun, notes)


def response_of(results: Estimates, drawn: Tensor) -> Tensor:
    """Return responses (r, n) as the objective takes them: least squares takes them less the offset."""
    offset = results.model.data.offset
    if isinstance(results.fit.objective, LeastSquares) and offset is not None:
        return drawn - offset.double().cpu()
    return drawn


def _own_weights(plan: Replicated) -> Tensor | None:
    own = plan.objective.weights
    return None if own is None else own[None]


def _perturbed(results: Estimates, kind: str, reps: int, seed: int, ways: Groups | None, law: str) -> BootstrapResults:
    """Return ``b + A^-1 sum e_g s_g``: the score bootstrap, and for least squares the wild bootstrap itself."""
    if kind == "wild" and not isinstance(results.fit.objective, LeastSquares):
        raise OptionError(
            "kind='wild' changes the signs of least squares residuals and is for OLS and WLS in closed form. "
            "kind='score' does the same to the scores of any likelihood."
        )
    refuse_bounds(results, f"bootstrap(kind={kind!r})")
    fit, bread = results.fit, results.inference.bread
    assert bread is not None
    lift, counts = _unit_scores(results, ways) @ bread, _counts(results) if ways is None else None
    parts = []
    for start in range(0, reps, 64):
        drawn = torch.from_numpy(signs(seed, start, min(start + 64, reps), len(lift), law, counts))
        parts.append(fit.gamma + drawn @ lift)
    gammas = torch.cat(parts)
    found = Refits(StackedMap(fit.map).theta(gammas), gammas, torch.zeros(reps), {}, 0)
    noun = f"{len(lift)} {'clusters' if ways is not None else 'rows'}, {law} multipliers"
    return _reported(results, found, kind, seed, noun, _cautions(results, ways, "Rows were perturbed"))


def _counts(results: Estimates) -> FloatArray | None:
    """Return how many observations each row stands for, or None where each is one."""
    weights = results.model.data.weights
    if weights is None or weights.kind != "freq_weights":
        return None
    found: FloatArray = weights.values.double().cpu().numpy()
    return found


def _unit_scores(results: Estimates, ways: Groups | None) -> Tensor:
    """Return the (G, F) scores by unit in gamma: sums over clusters, or rows; of one observation under counts."""
    fit = results.fit
    working, jacobian = fit.map.working(fit.gamma), fit.map.working_jacobian(fit.gamma)
    if ways is not None:
        return fit.objective.group_scores(working, torch.from_numpy(ways.codes), ways.count) @ jacobian
    scores, weights = fit.objective.scores(working), fit.objective.weights
    if weights is not None and _counts(results) is None:
        scores = scores * weights.double().cpu()[:, None]
    return scores @ jacobian


def _acceleration(results: Estimates, ways: Groups | None) -> FloatArray:
    """Return a sixth of the skewness of the influence of the units on each parameter."""
    fit, bread = results.fit, results.inference.bread
    assert bread is not None
    influence = _unit_scores(results, ways) @ bread @ fit.map.jacobian(fit.gamma).mT
    found: FloatArray = acceleration(influence.numpy(), _counts(results) if ways is None else None)
    return found


def _alone(plan: Replicated) -> tuple[str, ...]:
    return (f"Replicates were fitted one by one: {plan.why}.",) if plan.why else ()


def _reported(
    results: Estimates,
    found: Refits,
    kind: str,
    seed: int,
    units: str,
    notes: tuple[str, ...],
    skew: FloatArray | None = None,
    draws: Draws | None = None,
) -> BootstrapResults:
    warn_of(found.causes, len(found.params), f"{results.model.model_name}: bootstrap ({kind})")
    frame = pd.DataFrame(found.params.numpy(), columns=list(results.names))
    skew = np.zeros(len(results.names)) if skew is None else skew
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
    data = results.model.data
    need_rows(data, "jackknife()")
    need_maximum(results, "Estimates without single units")
    need_row_values(results, "jackknife()")
    refuse_bounds(results, "jackknife()")
    ways = None if groups is None else _groups(results, groups)
    draws, plan = draws_of(results, "delete", 0, ways), replicated(results)
    found = refit(plan, weighted(draws), draws.units, progress, "jackknife")
    warn_of(found.causes, draws.units, f"{results.model.model_name}: jackknife")
    labels = _labels(results, groups, ways, draws.units)
    frame = pd.DataFrame(found.params.numpy(), index=labels, columns=list(results.names))
    counts = _counts(results) if ways is None else None
    notes = (*_cautions(results, ways, "Rows were left out"), *_alone(plan))
    counts = np.ones(draws.units) if counts is None else counts
    return JackknifeResults(frame, results.params, counts, found.causes, _units(draws), notes)


def _labels(results: Estimates, groups: Any, ways: Groups | None, units: int) -> pd.Index:
    """Return the labels of what is left out: of rows, or the ids of clusters."""
    data = results.model.data
    if ways is not None:
        return group_labels(one_set(groups, data), data, ways)
    return data.rows.labels if data.rows.count == units else pd.RangeIndex(units)
