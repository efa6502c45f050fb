"""Test what a conditional logit takes for granted: independence of irrelevant alternatives, and no mixing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...data.absent import need_rows
from ...data.crossproducts import cross_products, find_collinear
from ...data.vectors import FloatArray
from ...errors import ConvergenceWarning, OptionError, UndefinedStatisticError, listing, unheard, unknown
from ...inference.wald import chi2_tail
from ...loglik.choice import log_probabilities
from ...results.contrasts import HypothesisTest
from ...results.hypotheses import need_maximum
from .conditional import ConditionalLogit
from .quantities import estimates_of
from .scenes import model_of, need_design, own_data

if TYPE_CHECKING:
    from .results import ChoiceResults

ROBUST = ("HC0", "HC1", "cluster")


def need_conditional(results: ChoiceResults, what: str) -> ConditionalLogit:
    """Return the model of a fit at its maximum, or raise where it is no conditional logit."""
    model = model_of(results)
    if type(model) is not ConditionalLogit:
        raise UndefinedStatisticError(f"{what} is a test of tm.ConditionalLogit, not of {type(model).__name__}.")
    need_rows(need_design(results, what).data, what)
    need_maximum(results, what)
    if results.fit.map.basis is not None or results.fit.map.at_bound:
        raise UndefinedStatisticError(f"{what} is not defined under fixed parameters, constraints or bounds.")
    return model


def iia_test(results: ChoiceResults, without: Any, robust: bool | None) -> HypothesisTest:
    """Return the test of Hausman and McFadden; see :meth:`ChoiceResults.iia_test`."""
    what = f"iia_test(without={without!r})"
    model = need_conditional(results, what)
    as_robust = _wants_robust(results, model, robust, what)
    gone = list(without) if isinstance(without, (list, tuple)) else [without]
    small, kept = _subset(results, model, gone, what)
    with unheard(ConvergenceWarning):
        found = small.fit()
    need_maximum(found, f"{what}: the fit without it")
    common = [list(results.names).index(n) for n in found.names]
    d = found.params.to_numpy() - results.params.to_numpy()[common]
    if as_robust:
        V = _robust_difference(model, results, small, found, kept, common)
    else:
        nonrobust = results.with_cov("nonrobust").cov_params().to_numpy()[np.ix_(common, common)]
        V = found.with_cov("nonrobust").cov_params().to_numpy() - nonrobust
    statistic = _quadratic(d, V, what)
    how = "influence functions of both fits" if as_robust else "difference of the two covariances"
    text = f"the choice among the others does not depend on {listing(map(repr, gone))} ({len(d)} coefficients)"
    details = {"situations with": float(len(model.chosen)), "situations without": float(len(small.chosen))}
    return HypothesisTest(
        "Hausman-McFadden test of IIA",
        text,
        statistic,
        chi2_tail(statistic, len(d)),
        len(d),
        details=details,
        notes=(f"Covariance of the difference: {how}.",),
    )


def _wants_robust(results: ChoiceResults, model: ConditionalLogit, robust: bool | None, what: str) -> bool:
    """Return whether errors are those of influence functions: as the results' own unless told."""
    sampled = model.data.weights is not None and model.data.weights.kind == "sampling_weights"
    wanted = results.cov_type != "nonrobust" if robust is None else robust
    if not isinstance(wanted, bool):
        raise OptionError(f"robust={robust!r} must be True, False or None.")
    if sampled and not wanted:
        raise OptionError(f"{what}: under sampling_weights estimates are not efficient; leave robust=False out.")
    if wanted and results.cov_type not in ("nonrobust", *ROBUST):
        raise OptionError(f"{what}: not defined for {results.cov_type} errors; use with_cov() with {listing(ROBUST)}.")
    if wanted and results.cov_type == "cluster" and model.data.groups is None:
        raise OptionError(f"{what}: give groups= when the model is built, so that both fits have them.")
    return wanted


def _subset(
    results: ChoiceResults, model: ConditionalLogit, gone: Sequence[Any], what: str
) -> tuple[ConditionalLogit, np.ndarray[Any, Any]]:
    """Return the model without some alternatives, on situations in which another was chosen, and which these are."""
    data, design = own_data(results, what), model.design
    for label in gone:
        if label not in data.alternatives:
            raise OptionError(f"{what}: {unknown('alternative', label, map(str, data.alternatives))}")
    left = [a for a in data.alternatives if a not in gone]
    if len(left) < 2:
        raise OptionError(f"{what}: at least two alternatives must stay.")
    own = any(c.alternative is not None for c in design.columns)
    if design.base in gone and own:
        raise OptionError(
            f"{what}: {design.base!r} is the base, against which the coefficients by alternative are measured. Fit "
            f"with another base first: base={left[0]!r}."
        )
    fewer = data.without(*gone).decided()
    made = design.again(fewer)
    kept = np.isin(data.place, fewer.place)
    keep = [k for k, c in enumerate(design.columns) if c.alternative not in gone]
    X = made.X[:, :, keep]
    first = torch.zeros(len(X), dtype=torch.int64) if made.available is None else made.available.long().argmax(1).cpu()
    D = X.cpu() - X.cpu()[torch.arange(len(X)), first][:, None]
    D = D if made.available is None else D * made.available.cpu()[..., None]
    rows = D.flatten(0, 1).double()
    lost = [design.names[keep[d.column]] for d in find_collinear(rows, cross_products(rows))]
    if lost:
        raise OptionError(f"{what}: without it, {listing(lost)} cannot be estimated. Fit without these first.")
    small = replace(
        made, names=tuple(design.names[k] for k in keep), X=X, columns=tuple(design.columns[k] for k in keep)
    )
    weights = model.data.weights
    given: dict[str, Any] = {} if weights is None else {weights.kind: _spread_out(weights.values.cpu().numpy(), data)}
    found = ConditionalLogit(None, None, device=model.X.device, dtype=model.X.dtype, _design=small, **given)
    return found, kept


def _spread_out(values: FloatArray, data: Any) -> FloatArray:
    """Return values of the situations in use as values of all that were given."""
    full = np.zeros(data.given, dtype=np.float64)
    full[data.place] = values
    return full


def _robust_difference(
    model: ConditionalLogit,
    results: ChoiceResults,
    small: ConditionalLogit,
    found: Any,
    kept: np.ndarray[Any, Any],
    common: list[int],
) -> FloatArray:
    """Return the sandwich covariance of the difference of two estimates from influence functions."""
    whole = _influence(model, results.params)[:, common]
    part = np.zeros_like(whole)
    part[kept] = _influence(small, found.params)
    return outer_products(model, part - whole, results.cov_type)


def _influence(model: ConditionalLogit, params: Any) -> FloatArray:
    found: FloatArray = np.linalg.solve(model.information(params), model.score_obs(params).T).T
    return found


def outer_products(model: ConditionalLogit, rows: FloatArray, cov_type: str) -> FloatArray:
    """Return the sum of outer products of rows (units, K), or of their sums by cluster, as weights ask."""
    weights = model.data.weights
    w = np.ones(len(rows)) if weights is None else weights.values.cpu().double().numpy()
    if cov_type == "cluster":
        groups = model.data.groups
        if groups is None:
            raise OptionError("Clusters are needed: give groups= when the model is built.")
        sums = np.zeros((int(groups.codes.max()) + 1, rows.shape[1]))
        np.add.at(sums, np.asarray(groups.codes), rows * w[:, None])
        return np.asarray(sums.T @ sums)
    squared = w if weights is None or weights.kind == "freq_weights" else w**2
    return np.asarray(rows.T @ (rows * squared[:, None]))


def _quadratic(d: FloatArray, V: FloatArray, what: str) -> float:
    """Return ``d' V^-1 d`` for a positive definite V."""
    diagonal = np.diag(V)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values = np.linalg.eigvalsh(V / np.outer(scale, scale))
    if not (diagonal > 0).all() or values[0] <= 1e-10 * values[-1]:
        raise UndefinedStatisticError(
            f"{what}: the difference of the covariances is not positive definite, as happens in samples of this size, "
            "so that the statistic has no chi-squared law. Use robust=True, or leave another alternative out."
        )
    return float(d @ np.linalg.solve(V, d))


# ---- mixing


def mixing_test(results: ChoiceResults, names: Any) -> HypothesisTest:
    """Return the test of McFadden and Train; see :meth:`ChoiceResults.mixing_test`."""
    what = "mixing_test()"
    model = need_conditional(results, what)
    if results.cov_type not in ("nonrobust", *ROBUST):
        raise OptionError(f"{what}: not defined for {results.cov_type} errors; use with_cov() with {listing(ROBUST)}.")
    own = list(model.exog_names)
    chosen = own if names is None else [names] if isinstance(names, str) else list(names)
    for name in chosen:
        if name not in own:
            raise OptionError(f"{what}: {unknown('coefficient', name, own)}")
    if not chosen or len(set(chosen)) < len(chosen):
        raise OptionError(f"{what}: name one coefficient at least, and each once.")
    larger = _augmented(model, estimates_of(results), [own.index(n) for n in chosen], chosen)
    at = np.concatenate([results.params.to_numpy(), np.zeros(len(chosen))])
    A, g = larger.information(at), larger.score(at)
    scale = np.sqrt(np.diag(A))
    values = np.linalg.eigvalsh(A / np.outer(scale, scale)) if (scale > 0).all() else np.zeros(1)
    if values[0] <= 1e-10 * values[-1]:
        raise UndefinedStatisticError(
            f"{what}: the artificial variables of {listing(chosen)} are collinear with the attributes or each other; "
            "test fewer at a time."
        )
    step = np.linalg.solve(A, g)[len(own) :]
    inverse = np.linalg.inv(A)
    V = inverse
    if results.cov_type != "nonrobust":
        V = inverse @ outer_products(larger, larger.score_obs(at), results.cov_type) @ inverse
    statistic = float(step @ np.linalg.solve(V[len(own) :, len(own) :], step))
    return HypothesisTest(
        "LM test for mixing (McFadden and Train)",
        f"{listing(chosen)} do not vary over persons" if len(chosen) > 1 else f"{chosen[0]} does not vary over persons",
        statistic,
        chi2_tail(statistic, len(chosen)),
        len(chosen),
        notes=(f"Score test of the artificial variables, {results.cov_type} covariance.",),
    )


def _augmented(model: ConditionalLogit, b: Tensor, columns: list[int], names: list[str]) -> ConditionalLogit:
    """Return the model with ``(x - xbar)^2 / 2`` for some attributes, xbar the mean of x under the probabilities."""
    X = model.X
    P = log_probabilities(X @ b.to(X), model.available).exp()
    x = X[:, :, columns]
    mean = (P[..., None] * x).sum(1, keepdim=True)
    Z = (x - mean).square() / 2
    if model.available is not None:
        Z = Z * model.available[..., None]
    weights, groups = model.data.weights, model.data.groups
    given: dict[str, Any] = {} if weights is None else {weights.kind: weights.values.cpu().numpy()}
    if groups is not None:
        given["groups"] = groups.codes
    if model.available is not None:
        given["available"] = model.available
    return ConditionalLogit(
        model.chosen.cpu().numpy(),
        torch.cat([X, Z], 2),
        names=[*model.exog_names, *(f"artificial:{n}" for n in names)],
        device=X.device,
        dtype=X.dtype,
        **given,
    )
