"""Test hypotheses about the estimates of a fit with the covariance that it carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from ..data.vectors import FloatArray
from ..errors import OptionError, UndefinedStatisticError, listing, unknown
from ..inference.delta import as_function, value_and_jacobian
from ..inference.hypotheses import Hypotheses, read_hypotheses
from ..inference.multiple import adjust_pvalues, largest_of
from ..inference.wald import chi2_tail, critical, f_tail, joint_statistic
from ..optim.base import Status
from .contrasts import Contrasts, HypothesisTest, JointIntervals
from .estimates import within_unit
from .restricted import refuse_withheld

if TYPE_CHECKING:
    from .estimates import Estimates


def need_maximum(results: Estimates, what: str) -> None:
    """Raise if the fit has no maximum, so that nothing can be said about its parameters."""
    if not results.converged:
        raise UndefinedStatisticError(f"{what} needs a maximum, and this fit has none ({results.status})")
    refuse_withheld(results, what)


def need_errors(results: Estimates, what: str) -> None:
    """Refuse a point that is no maximum, unless it has errors: those of the linear part given a trained module."""
    if not (results.fit.status is Status.TRAINED and results.inference.covariance.withheld):
        need_maximum(results, what)


def estimate(results: Estimates) -> Tensor:
    """Return the (K,) reported estimates."""
    return torch.from_numpy(results.params.to_numpy().copy())


def t_df(results: Estimates) -> float | None:
    """Return the degrees of freedom of t tests, or None where tests are normal."""
    return results.df_resid_inference if results.use_t else None


def wald_test(results: Estimates, given: Any, use_f: bool | None) -> HypothesisTest:
    """Return the joint test; see :meth:`Results.wald_test`."""
    need_errors(results, "wald_test()")
    hypotheses = read_hypotheses(given, results.names)
    _refuse_edges(results, hypotheses)
    return joint_test(results, hypotheses, use_f, "Wald test")


def joint_test(results: Estimates, hypotheses: Hypotheses, use_f: bool | None, name: str) -> HypothesisTest:
    """Return the joint test of hypotheses that were read and checked."""
    if use_f is not None and not isinstance(use_f, (bool, np.bool_)):
        raise OptionError(f"use_f={use_f!r} must be True, False or None.")
    fit = results.fit
    jacobian, covariance = fit.map.jacobian(fit.gamma), results.inference.covariance.matrix
    joint = joint_statistic(hypotheses, estimate(results), jacobian, covariance)
    words = ", ".join(hypotheses.labels)
    notes = [f"{results.cov_type} covariance."]
    if joint.redundant:
        implied = ", ".join(hypotheses.labels[i] for i in joint.redundant)
        notes.append(f"Implied by the others, and not counted: {implied}.")
    if not (results.use_t if use_f is None else use_f):
        p = chi2_tail(joint.statistic, joint.df)
        return HypothesisTest(name, words, joint.statistic, p, joint.df, notes=tuple(notes))
    value, df = joint.statistic / joint.df, results.df_resid_inference
    p = f_tail(value, joint.df, df)
    return HypothesisTest(name, words, value, p, joint.df, "F", df, notes=tuple(notes))


def t_test(results: Estimates, given: Any, alpha: float, adjust: str | None) -> Contrasts:
    """Return each hypothesis with its own test; see :meth:`Results.t_test`."""
    need_errors(results, "t_test()")
    names = results.names
    hypotheses = read_hypotheses(np.eye(len(names)) if given is None else given, names)
    fit = results.fit
    rows = hypotheses.R @ fit.map.jacobian(fit.gamma)
    covariance = rows @ results.inference.covariance.matrix @ rows.mT
    untested = {i: why for i in range(len(rows)) if (why := no_hypothesis(results, hypotheses, i)) is not None}
    if given is not None and len(untested) == len(rows):
        raise OptionError(" ".join(untested.values()))
    for i in _at_bounds(results, hypotheses.R):
        covariance[i], covariance[:, i] = torch.nan, torch.nan
    labels = hypotheses.labels if given is not None else names
    notes = tuple(f"Not tested: {text}" for text in untested.values()) if given is not None else ()
    if adjust is not None:
        adjust_pvalues([], adjust)
    values = (hypotheses.R @ estimate(results)).numpy()
    return Contrasts(
        tuple(labels),
        values,
        covariance.numpy(),
        hypotheses.q.numpy(),
        t_df(results),
        results.cov_type,
        within_unit(alpha),
        tuple(untested),
        adjust,
        notes,
        _own_df(results, hypotheses.R),
    )


def _own_df(results: Estimates, R: Tensor) -> FloatArray | None:
    """Return the degrees of freedom of each row where parameters have their own: the smallest of those in it."""
    dfs = results.inference.covariance.dfs
    if dfs is None or not results.use_t:
        return None
    given = (R != 0) & torch.isfinite(dfs)
    smallest: FloatArray = torch.where(given, dfs, torch.full_like(R, torch.inf)).amin(1).numpy()
    return smallest


def _at_bounds(results: Estimates, R: Tensor) -> list[int]:
    """Return the rows that involve a parameter without an error: at a bound, or a weight of a module."""
    held = [*results.fit.map.at_bound, *results.inference.covariance.withheld]
    return (R[:, held] != 0).any(1).nonzero().flatten().tolist() if held else []


def no_hypothesis(results: Estimates, hypotheses: Hypotheses, i: int) -> str | None:
    """Return why one row cannot be tested: fixed, at a bound, or a value at the edge of a range; else None."""
    pmap = results.fit.map
    row, label = hypotheses.R[i], hypotheses.labels[i]
    at = row.nonzero().flatten().tolist()
    if set(at) & set(results.inference.covariance.withheld):
        return f"{label!r} involves a weight of a module, which has no error: others give the same net."
    if i in _at_bounds(results, hypotheses.R):
        return f"{label!r} involves a parameter at its bound, whose estimate has no normal law."
    if all(j in pmap.fixed for j in at):
        return f"{label!r} speaks of fixed parameters only, in which the data have no say."
    if len(at) != 1:
        return None
    j, value = at[0], float(hypotheses.q[i] / row[at[0]])
    if _is_inside(results, j, value):
        return None
    return (
        f"{results.names[j]!r} cannot be {value:g}: that is not inside its range, where the Wald statistic has no "
        "chi-squared law. Compare fits instead."
    )


def _is_inside(results: Estimates, position: int, value: float) -> bool:
    """Return whether a value is an inner point of a parameter's range."""
    pmap = results.fit.map
    at = torch.tensor([value], dtype=torch.float64, device="cpu")
    if position in pmap.naturals:
        link = pmap.naturals[position].inverse(at)
    elif pmap.curve is not None and position not in pmap.curve.plain:
        transform = pmap.curve.piece(position).transform
        if not transform.elementwise:
            return value != 0 or position not in pmap.curve.zero_is_no_hypothesis
        link = transform.inverse(at)
    else:
        return True
    return bool(torch.isfinite(link).all())


def _refuse_edges(results: Estimates, hypotheses: Hypotheses) -> None:
    for i in range(len(hypotheses.R)):
        why = no_hypothesis(results, hypotheses, i)
        if why is not None:
            raise OptionError(f"The hypothesis {hypotheses.labels[i]!r} cannot be tested: {why}")


COLUMNS = ("statistic", "pvalue", "df_constraint")


def wald_test_terms(results: Estimates, skip_single: bool, use_f: bool | None) -> pd.DataFrame:
    """Return a joint test of the coefficients of each term; see :meth:`Results.wald_test_terms`."""
    need_errors(results, "wald_test_terms()")
    eye = torch.eye(len(results.names), dtype=torch.float64, device="cpu")
    found = {}
    for term, members in terms(results).items():
        if any(j in results.fit.map.untested for j in members) or (skip_single and len(members) == 1):
            continue
        labels = tuple(f"{results.names[j]} = 0" for j in members)
        zero = torch.zeros(len(members), dtype=torch.float64, device="cpu")
        test = joint_test(results, Hypotheses(eye[members], zero, labels), use_f, term)
        found[term] = dict(zip(COLUMNS, (test.statistic, test.pvalue, test.df), strict=True))
    return pd.DataFrame(found).T.astype({"df_constraint": int}) if found else pd.DataFrame(columns=[*COLUMNS])


def terms(results: Estimates) -> dict[str, list[int]]:
    """Return the positions of the parameters that belong to each term of the formulas."""
    data = results.model.data
    found: dict[str, list[int]] = {}
    position = 0
    for j, (name, design) in enumerate(data.linear.items()):
        structure = None if design.spec is None else getattr(design.spec, "structure", None)
        owner = {c: str(row.term) for row in structure for c in row.columns} if structure else {}
        for column in design.terms:
            if position < len(results.names):
                term = owner.get(column, column)
                term = "Intercept" if term == "1" else term
                found.setdefault(term if j == 0 else f"{name}:{term}", []).append(position)
            position += 1
    for j in range(position, len(results.names)):
        if j in results.inference.covariance.withheld:
            continue
        found[results.names[j]] = [j]
    return found


def delta_method(results: Estimates, given: Any, alpha: float) -> Contrasts:
    """Return functions of the parameters with their errors; see :meth:`Results.delta_method`."""
    need_errors(results, "delta_method()")
    function, labels = as_function(given, results.names)
    values, jacobian = value_and_jacobian(function, estimate(results))
    without = {**dict.fromkeys(results.inference.covariance.withheld, "a weight of a module")}
    without |= dict.fromkeys(results.fit.map.at_bound, "which ran to a bound")
    held = [f"{results.names[j]} ({why})" for j, why in without.items() if bool((jacobian[:, j] != 0).any())]
    if held:
        raise UndefinedStatisticError(f"The function depends on {listing(held)}, which has no standard error.")
    rows = jacobian @ results.fit.map.jacobian(results.fit.gamma)
    covariance = rows @ results.inference.covariance.matrix @ rows.mT
    unmoved = (rows == 0).all(1).nonzero().flatten().tolist()
    made = labels or (("f",) if len(values) == 1 else tuple(f"f[{i}]" for i in range(len(values))))
    return Contrasts(
        made,
        values.numpy(),
        covariance.numpy(),
        np.zeros(len(values)),
        t_df(results),
        results.cov_type,
        within_unit(alpha),
        tuple(unmoved),
        notes=("Errors by the delta method, with exact derivatives.",),
    )


METHODS = ("sup-t", "bonferroni", "sidak", "scheffe")


def joint_intervals(results: Estimates, given: Any, alpha: float, method: str, draws: int, seed: int) -> JointIntervals:
    """Return intervals that hold together; see :meth:`Results.joint_conf_int`."""
    if method not in METHODS:
        raise OptionError(unknown("method of joint intervals:", method, METHODS))
    for name, value, least in (("draws", draws, 1_000), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise OptionError(f"{name}={value!r} must be a whole number of {least} or more.")
    contrasts = t_test(results, _moving(results) if given is None else given, alpha, None)
    moving = np.flatnonzero(contrasts.sd > 0)
    if not np.isfinite(contrasts.sd).all() or len(moving) < len(contrasts.labels):
        raise OptionError(
            "Joint intervals are for estimates with a standard error: leave out what is fixed or at a bound."
        )
    contrasts = replace(contrasts, labels=tuple(label.rsplit(" = ", 1)[0] for label in contrasts.labels))
    covariance, m = torch.from_numpy(contrasts.covariance), len(moving)
    level, df = contrasts.alpha, contrasts.df
    find: dict[str, Callable[[], float]] = {
        "sup-t": lambda: largest_of(covariance, level, df, int(draws), int(seed)),
        "bonferroni": lambda: critical(level / m, df),
        "sidak": lambda: critical(-float(np.expm1(np.log1p(-level) / m)), df),
        "scheffe": lambda: _scheffe(level, covariance, df),
    }
    return JointIntervals(contrasts, method, find[method](), critical(level, df), level)


def _scheffe(alpha: float, covariance: Tensor, df: float | None) -> float:
    """Return ``sqrt(chi2)`` or ``sqrt(r F)``, r the rank: valid for all combinations of the rows."""
    scale = covariance.diagonal().sqrt()
    rank = int(torch.linalg.matrix_rank(covariance / torch.outer(scale, scale), rtol=1e-10, hermitian=True))
    quantile = special.chdtri(rank, alpha) if df is None else rank * special.fdtri(rank, df, 1 - alpha)
    return float(np.sqrt(quantile))


def _moving(results: Estimates) -> Any:
    """Return the hypotheses of all slopes: parameters that are free, without intercepts and the like of sigma."""
    pmap = results.fit.map
    constant = {
        t
        for d in results.model.data.linear.values()
        for t in d.terms
        if d.constant is not None and t == d.terms[d.constant]
    }
    without = {*pmap.untested, *results.inference.covariance.withheld}
    chosen = [n for i, n in enumerate(results.names) if i not in without and n.split(":")[-1] not in constant]
    if not chosen:
        raise OptionError("There is no slope to give joint intervals for; name the parameters.")
    return _rows(results.names, chosen)


def _rows(names: Sequence[str], chosen: Sequence[str]) -> pd.DataFrame:
    """Return the matrix that picks parameters."""
    table: Mapping[str, list[float]] = {n: [float(n == c) for c in chosen] for n in names}
    return pd.DataFrame(table, index=list(chosen))
