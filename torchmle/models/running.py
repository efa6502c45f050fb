"""Run the fits of a plan: together where that is safe, the others one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.vectors import FloatArray
from ..errors import ConvergenceWarning, TorchmleError, listing, unheard, warn
from ..optim.base import Status
from ..progress import ProgressLine
from ..results.inference import check_inference
from ..results.many import ManyResults
from ..results.results import Results
from ..workers import engine, map_ranges
from .base import GenericLikelihoodModel
from .fitting import default_cov
from .jobs import QUIET, Job, Plan, with_kind
from .predictors import LinearPredictorModel
from .together import BATCHED, Batch, Task, fit_together

NUMBERS = 400_000
"""Rows times columns that are fitted at once; a set with more is fitted by itself."""

AGREE = 1e-6
"""Gap to a fit by itself, in standard errors, above which a likelihood is not taken to be one of single rows."""

COMMON = {"cov_type", "cov_kwds", "use_t", "disp", "progress"}
"""Arguments of ``fit`` with which fits can be done together; so can those with Newton's method by name."""


@dataclass(frozen=True, eq=False)
class _Row:
    """Hold what one fit gives: (K,) arrays in the order of its names, and log-likelihood, count, degrees of freedom."""

    names: tuple[str, ...]
    params: FloatArray
    bse: FloatArray
    df: FloatArray
    numbers: tuple[float, float, float]


@dataclass(eq=False)
class _Table:
    """Collect what fits give, by position."""

    rows: dict[int, _Row] = field(default_factory=dict)
    causes: dict[int, str] = field(default_factory=dict)
    errors: list[TorchmleError] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)
    untested: dict[str, None] = field(default_factory=dict)
    alone: int = 0
    use_t: bool = False


def run_plan(plan: Plan, name: str, fit: Mapping[str, Any], progress: bool | None) -> ManyResults:
    """Fit all that a plan lays out."""
    table = _Table(causes=dict(plan.causes))
    cov_type = str(fit.get("cov_type") or "nonrobust")
    with engine(), ProgressLine(progress) as line:
        for job in plan.jobs:
            like = with_kind(job.base, plan.kind)
            cov_type = default_cov(like, fit.get("cov_type"))
            _check_fit(like, cov_type, fit)
            _do_together(plan, job, fit, cov_type, table, lambda by: line.count(name, len(plan.keys), by))
        left = [i for i in range(len(plan.keys)) if i not in table.rows and i not in table.causes]
        _do_alone(plan, left, fit, table, lambda: line.count(f"{name}, one by one", len(left)))
    if len(table.errors) == len(plan.keys) and len(set(map(str, table.errors))) == 1:
        raise table.errors[0]  # it is not this or that fit, but what is asked
    _tell(table, plan, name)

    def single(key: Any) -> Results:
        return plan.build(int(plan.keys.get_indexer(pd.Index([key]))[0])).fit(**fit)

    return _collected(table, plan, name, cov_type, single)


def _check_fit(model: GenericLikelihoodModel, cov_type: str, fit: Mapping[str, Any]) -> None:
    """Refuse a covariance that is wrong for all fits before any is done."""
    closed = model.response == "continuous" and fit.get("method") is None
    check_inference(model, cov_type, fit.get("cov_kwds"), separable=not model.is_scalar, closed_form=closed)


# ---- together


def _do_together(
    plan: Plan, job: Job, fit: Mapping[str, Any], cov_type: str, table: _Table, done: Callable[[int], None]
) -> None:
    """Fit what can be fitted at once, and keep what came to a safe maximum."""
    source = _source(plan, job, fit, cov_type)
    if source is None:
        return
    start = source.link_params.to_numpy() if source.converged else None
    if start is None:
        pmap = source.fit.map
        start = source.model.start_candidates(pmap)[0].numpy()  # type: ignore[attr-defined]
    batches = _fit_batches(plan, job, source, torch.tensor(start, dtype=torch.float64), cov_type, done)
    names, untested = source.names, [source.names[i] for i in source.fit.map.untested]
    table.names |= dict.fromkeys(names)
    table.untested |= dict.fromkeys(untested)
    table.use_t = source.use_t
    checked = source.model.ready_made  # type: ignore[attr-defined]
    for members, batch in batches:
        for r in batch.sound.nonzero()[:, 0].tolist():
            number, row = job.numbers[members[r]], _row(names, batch, r)
            if not checked and not _agrees(plan, number, fit, row):
                return
            checked, table.rows[number] = True, row


def _row(names: tuple[str, ...], batch: Batch, r: int) -> _Row:
    df = float(batch.df[r])
    numbers = (float(batch.llf[r]), float(batch.nobs[r]), df)
    return _Row(names, batch.theta[r].numpy(), batch.bse[r].numpy(), np.full(len(names), df), numbers)


def _source(plan: Plan, job: Job, fit: Mapping[str, Any], cov_type: str) -> Results | None:
    """Return the fit on all rows, or None where fits have to be done one by one."""
    base = job.base
    extra = (
        {k for k, v in fit.items() if v is not None} - COMMON - ({"method"} if fit.get("method") == "newton" else set())
    )
    plain = isinstance(base, LinearPredictorModel) and base.endog.dtype == torch.float64
    if not plain or extra or cov_type not in BATCHED or (fit.get("cov_kwds") or {}).get("information") == "expected":
        return None
    try:
        with _silent():
            source = base.fit(method=fit.get("method"), cov_type=cov_type, use_t=fit.get("use_t"))
    except TorchmleError:
        return None
    closed = source.method == "closed form"
    inside = plan.kind == "var_weights" and not closed  # there they are part of the likelihood
    return None if source.method not in ("closed form", "newton") or (inside and job.weights is not None) else source


def _fit_batches(
    plan: Plan, job: Job, source: Results, start: Tensor, cov_type: str, done: Callable[[int], None]
) -> list[tuple[list[int], Batch]]:
    """Return the fits that were done, with their positions in the job, in pieces that fit into memory."""
    sizes = [job.base.nobs] * len(job.numbers) if job.rows is None else [len(at) for at in job.rows]
    pieces = _pieces(sizes, len(start))

    def work(begin: int, end: int) -> list[tuple[list[int], Batch]]:
        found = []
        for piece in pieces[begin:end]:
            found.append((piece, fit_together(_task(plan, job, source, piece), start, cov_type)))
            done(len(piece))
        return found

    return [found for part in map_ranges(work, len(pieces), 1, job.base.data.device) for found in part]


def _pieces(sizes: list[int], columns: int) -> list[list[int]]:
    """Return positions of sets of about the same size, so that little is padded."""
    out: list[list[int]] = []
    for i in sorted((i for i, m in enumerate(sizes) if columns < m <= NUMBERS // columns), key=lambda i: sizes[i]):
        longest = sizes[i] * columns
        if out and (len(out[-1]) + 1) * longest <= NUMBERS and sizes[i] <= 1.25 * sizes[out[-1][0]] + 8:
            out[-1].append(i)
        else:
            out.append([i])
    return out


def _task(plan: Plan, job: Job, source: Results, members: list[int]) -> Task:
    device, n, kind = job.base.data.device, job.base.nobs, plan.kind
    if job.rows is None:
        rows = torch.arange(n).expand(len(members), -1)
        own = torch.ones(len(members), n, dtype=torch.bool) if job.own is None else job.own[members]
    else:
        longest = max(len(job.rows[i]) for i in members)
        rows = torch.stack(
            [
                torch.nn.functional.pad(job.rows[i], (0, longest - len(job.rows[i])), value=int(job.rows[i][0]))
                for i in members
            ]
        )
        own = torch.stack([torch.arange(longest) < len(job.rows[i]) for i in members])
    rows, own = rows.to(device), own.to(device)
    weights = None if job.weights is None else job.weights[members]
    if weights is None and job.base.data.weights is not None:
        if source.method != "closed form" and kind == "var_weights":
            kind = None
        else:
            weights = job.base.data.weights.values[rows]
    return Task(source, rows, own, None if job.endog is None else job.endog[members], weights, kind)


def _agrees(plan: Plan, number: int, fit: Mapping[str, Any], row: _Row) -> bool:
    """Return whether a fit by itself gives the same."""
    try:
        with _silent():
            one = plan.build(number).fit(**fit)
    except TorchmleError:
        return False
    return bool(one.converged and (np.abs(one.params - row.params) <= AGREE * one.bse + 1e-12).all())


# ---- one by one


def _silent() -> ExitStack:
    stack = ExitStack()
    for category in (ConvergenceWarning, *QUIET):
        stack.enter_context(unheard(category))
    return stack


def _do_alone(plan: Plan, left: list[int], fit: Mapping[str, Any], table: _Table, done: Callable[[], None]) -> None:
    """Fit each by itself."""
    for number in left:
        found = _alone(plan, number, fit)
        table.alone += 1
        if isinstance(found, TorchmleError):
            table.errors.append(found)
        if isinstance(found, (str, TorchmleError)):
            table.causes[number] = str(found)
        else:
            _keep(table, number, found)
        done()


def _keep(table: _Table, number: int, found: Results) -> None:
    table.names |= dict.fromkeys(found.names)
    table.untested |= dict.fromkeys(found.names[i] for i in found.fit.map.untested)
    table.use_t = found.use_t
    params, bse, df = (s.to_numpy(dtype=np.float64) for s in (found.params, found.bse, found.df_params))
    table.rows[number] = _Row(found.names, params, bse, df, (found.llf, found.nobs, found.df_resid))


def _alone(plan: Plan, number: int, fit: Mapping[str, Any]) -> Results | TorchmleError | str:
    """Return one fit, or why it gives no estimate."""
    try:
        with _silent():
            found = plan.build(number).fit(**fit)
    except TorchmleError as error:
        return error
    if found.fit.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    if not found.converged:
        return " ".join([found.status, *found.fit.notes])
    lost = _collinear(plan, number, found)
    if lost:
        return f"{listing(lost)} is collinear with the other columns here."
    if bool(found.bse.isna().any()):
        return " ".join(["There are no standard errors.", *found.fit.notes])
    return found


def _collinear(plan: Plan, number: int, found: Results) -> list[str]:
    """Return the columns that were dropped as collinear here only; a column of zeros, as of a level, may go."""
    job = next((j for j in plan.jobs if number in j.numbers), None)
    if job is None:
        return []
    lost = []
    for name, design in found.model.data.designs.items():
        whole = job.base.data.designs[name]
        for term in design.dropped:
            if term in whole.terms and not _all_zero(job, number, whole.X[:, whole.terms.index(term)]):
                lost.append(term)
    return lost


def _all_zero(job: Job, number: int, column: Tensor) -> bool:
    at = list(job.numbers).index(number)
    if job.rows is not None:
        return not bool(column[job.rows[at]].any())
    return job.weights is not None and not bool(column[job.weights[at] > 0].any())


# ---- the answer


def _tell(table: _Table, plan: Plan, name: str) -> None:
    """Warn once of all fits without an estimate."""
    if table.causes:
        failed = sorted(table.causes)
        warn(
            f"{name}: {len(failed)} of {len(plan.keys)} fits by {plan.by} have no estimate "
            f"({listing([plan.keys[i] for i in failed], 5)}; the first: {table.causes[failed[0]]}) They are NaN.",
            ConvergenceWarning,
        )


def _collected(table: _Table, plan: Plan, name: str, cov_type: str, single: Callable[[Any], Results]) -> ManyResults:
    keys, count = plan.keys, len(plan.keys)
    places = {n: j for j, n in enumerate(table.names)}
    values, numbers = np.full((3, count, len(places)), np.nan), np.full((count, 3), np.nan)
    for i, row in table.rows.items():
        at = [places[n] for n in row.names]
        values[0, i, at], values[1, i, at], values[2, i, at] = row.params, row.bse, row.df
        numbers[i] = row.numbers
    params, bse = (pd.DataFrame(v, index=keys, columns=pd.Index(list(places))) for v in values[:2])
    llf, nobs, df_resid = (pd.Series(numbers[:, j], index=keys) for j in range(3))
    converged = pd.Series([i in table.rows for i in range(count)], index=keys)
    named = keys.tolist()
    causes = {named[i]: table.causes[i] for i in sorted(table.causes)}
    absent = [str(c) for c in params.columns if params.loc[converged, c].isna().any()]
    notes = (f"Not in every fit: {listing(absent)}.",) if absent else ()
    return ManyResults(
        *(params, bse, llf, nobs, df_resid, converged, causes, name, plan.by, cov_type, table.use_t),
        *(values[2], tuple(table.untested), table.alone, (*plan.notes, *notes), single),
    )
