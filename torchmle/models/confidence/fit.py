"""Fit under constraints with confidence: split, look for a candidate, test it on data never seen before."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ...errors import DataError, LikelihoodError, OptionError
from ...optim.status import Status
from ...report.summary import summarise
from ...results.fit import Fit
from ...results.results import Results
from ...results.safety import ConstraintTest, Safety
from ..record import make_record
from ..request import FitRequest
from ..views import refuse_unmasked
from .limits import Bounded
from .records import Asked, Records, check_asked
from .request import refuse, shares, split_safety_options
from .search import Iterate
from .split import Split, draw_split, part
from .ways import Candidate, Steps, Way

if TYPE_CHECKING:
    from ..base import GenericLikelihoodModel

WITHHELD = "withheld: this is the best point found under constraints with confidence, and no maximum"
"""Why there are no standard errors."""

RECORDED_UP_TO = 5_000
"""Parameters up to which a record holds the start."""


def run_confident(model: GenericLikelihoodModel, request: FitRequest, way: Way | None = None) -> Results:
    """Fit a model under constraints that must be true with a probability, and return its results.

    Parameters
    ----------
    way : how the candidate is found; by default by steps on all rows.

    Raises
    ------
    OptionError, DataError
        For options and weights that have no place here, and groups without records.
    """
    begin, way, seed = time.perf_counter(), way or Steps(), request.seed or 0
    refuse(request)
    refuse_unmasked(model)
    _refuse_data(model)
    total, deltas = shares(request.claims, request.delta)
    options, rest = split_safety_options(request.options)
    split = draw_split(model, options.safety, seed)
    asked = Asked(request.claims, deltas)
    check_asked(model, asked)
    own = part(model, ~split.safety, "kept for the safety test", True)
    found = way.candidate(own, request, asked, split.ratio, options, rest)
    test = _tested(model, way, found, split, asked, total, seed)
    fit = _fit(way, found, test, time.perf_counter() - begin)
    start = found.map.theta(found.start).tolist() if len(found.start) <= RECORDED_UP_TO else []
    record = make_record(
        found.model, request, found.method, dict(zip(found.map.names, start, strict=False)), fit.seconds
    )
    return Results(found.model, fit, way.inference(found, fit), record, summarise)


def _refuse_data(model: GenericLikelihoodModel) -> None:
    """Refuse data under which the bounds are not those of a mean of records that count alike."""
    if model.response == "choice":
        raise OptionError(
            f"{model.model_name} takes no constraints with confidence: they are for models with one row a record. "
            "Hold back persons yourself, and test on them."
        )
    weights = model.data.weights
    if weights is not None:
        cure = " Repeat the rows instead." if weights.kind == "freq_weights" else ""
        raise OptionError(
            f"{weights.kind} are not available under constraints with confidence, whose bounds are for means of "
            f"records that count alike.{cure}"
        )


def _tested(
    model: GenericLikelihoodModel,
    way: Way,
    candidate: Candidate,
    split: Split,
    asked: Asked,
    delta: float,
    seed: int,
) -> Safety:
    """Return the verdict: the candidate's bounds on the safety part, or the nearest iterate's predicted ones."""
    account = candidate.account
    best = account.best
    shown = best or account.nearest
    if shown is None:
        raise LikelihoodError("The log-likelihood is not finite at the start of the search; give start_params.")
    found = shown.bounds
    if best is not None:
        kept = way.like(part(model, split.safety, "in the candidate part", False), candidate)
        try:
            found = tuple(Records(kept, candidate.map, kept.make_objective(candidate.map), asked).bounds(best.gamma))
        except DataError as error:
            raise DataError(f"The safety test: {error}") from error
    tests = tuple(_test(asked, j, found[j], shown, best is not None) for j in range(len(found)))
    columns = {name: tuple(values) for name, values in account.columns.items()}
    return Safety(
        tests=tests,
        passed=best is not None and all(test.passed for test in tests),
        tested=best is not None,
        delta=delta,
        candidate=split.sizes[0],
        safety=split.sizes[1],
        clusters=split.clusters,
        seed=seed,
        chosen=None if best is None else best.iteration,
        rows=split.safety,
        trace=columns,
    )


def _test(asked: Asked, j: int, found: Bounded, shown: Iterate, tested: bool) -> ConstraintTest:
    """Return what is reported of one constraint."""
    held = asked.claims[j]
    terms = {t.name: (p.mean, p.low, p.high, p.n) for t, p in zip(held.claim.terms, found.parts, strict=True)}
    notes = [p.note for p in found.parts if p.note]
    k = len(found.parts)
    if k > 1:
        notes.append(f"Each of the {k} means has delta/{k} = {asked.deltas[j] / k:.3g}.")
    return ConstraintTest(
        constraint=held.name,
        estimate=found.estimate,
        bound=found.bound,
        limit=held.claim.threshold,
        level=1 - asked.deltas[j],
        method=held.bound,
        n=found.n,
        passed=tested and found.excess <= 0,
        predicted=shown.bounds[j].bound,
        terms=terms,
        note=" ".join(dict.fromkeys(notes)),
    )


def _fit(way: Way, found: Candidate, test: Safety, seconds: float) -> Fit:
    """Return the candidate as a fit, or one without parameters where there is no solution."""
    pmap, best, account = found.map, found.account.best, found.account
    if best is None or not test.passed:
        pmap = replace(pmap, held={})  # held values are no solution either
        gamma, llf = torch.full((pmap.free,), torch.nan, dtype=torch.float64, device="cpu"), math.nan
        derivatives, status = way.derivatives(found, None), Status.NO_SOLUTION
    else:
        gamma, llf, status = best.gamma, best.llf, Status.PASSED
        derivatives = way.derivatives(found, gamma)
    return Fit(
        map=pmap,
        gamma=gamma,
        llf=llf,
        derivatives=derivatives,
        status=status,
        decrement=math.nan,
        iterations=max(len(account.history) - 1, 0),
        history=tuple(account.history),
        seconds=seconds,
        method=found.method,
        engine=found.engine,
        objective=found.objective,
        nobs=float(found.model.nobs),
        free=pmap.free,
        notes=tuple(account.notes),
        withheld=WITHHELD,
        safety=test,
    )
