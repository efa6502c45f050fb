"""Check that order, repetition and units of the data do not matter."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..data.vectors import FloatArray
from ..models.base import GenericLikelihoodModel
from ..models.choice.base import ChoiceModel
from ..models.predictors import LinearPredictorModel
from .derivative_checks import compare
from .subject import Finding, NotApplicableError, Subject, all_of, bounded, kind_of_weights, largest, level_blocks

TWO_MAXIMA = 3e-5
"""Distance in standard errors of two points that both pass as a maximum: each is within 1e-5 of it (1e-10 is the
verdict's bound on the squared distance)."""


def row_order(subject: Subject) -> Finding:
    """Prove that a permutation of the rows changes neither derivatives nor fit."""
    rng = subject.rng("row_order")
    other = subject.rebuilt(rows=rng.permutation(subject.rows))
    at = subject.near(rng)
    here, there = (subject.derivatives(m, at) for m in (subject.model, other))
    return all_of(compare(subject, there, here, "with rows permuted"), same_fit(subject, other, "with rows permuted"))


def weights(subject: Subject) -> Finding:
    """Prove that integer ``freq_weights`` are repeated rows: derivatives, fit, and every covariance."""
    subject.separable()
    if kind_of_weights(subject.model) in ("var_weights", "sampling_weights"):
        raise NotApplicableError(f"the model has {kind_of_weights(subject.model)}, and one kind is allowed at a time")
    if isinstance(subject.model, ChoiceModel) and len(subject.model.chosen) > subject.rows and subject.model.by_person:
        raise NotApplicableError("freq_weights count situations, and the rows are persons with several")
    rng = subject.rng("weights")
    counts = rng.choice([0, 1, 1, 2, 3], subject.rows)
    weighted = subject.rebuilt(freq_weights=counts)
    ones = None if kind_of_weights(subject.model) is None else np.ones(subject.rows)
    repeated = subject.rebuilt(rows=np.repeat(np.arange(subject.rows), counts), freq_weights=ones)
    at = subject.near(rng)
    here, there = (subject.derivatives(m, at) for m in (repeated, weighted))
    a, b = (subject.fit(m) for m in (repeated, weighted))
    findings = [compare(subject, there, here, "with rows repeated"), _near(subject, b.params, a.params, a.bse)]
    for cov_type in ("nonrobust", "opg", "HC0", "HC1"):
        ratio = subject.with_cov(b, cov_type).bse / subject.with_cov(a, cov_type).bse - 1
        findings.append(bounded(f"{cov_type} errors with rows repeated", largest(ratio), _cov_bound(subject)))
    findings.append(bounded("nobs", abs(a.nobs - b.nobs), 0.0))
    return all_of(*findings)


def column_scale(subject: Subject) -> Finding:
    """Prove that rescaling the columns rescales their coefficients and changes nothing else; not those of modules."""
    factors, theta_factors = _factors(subject)
    other = subject.rebuilt(factors=factors)
    at = subject.near(subject.rng("column_scale"))
    here = subject.derivatives(subject.model, at)
    there = subject.derivatives(other, at * theta_factors, theta_factors)
    same = compare(subject, there, here, "with columns rescaled")
    if not same.passed and not isinstance(subject.model, LinearPredictorModel):
        raise NotApplicableError("columns and coefficients of this likelihood do not meet in products only")
    return all_of(same, same_fit(subject, other, "with columns rescaled", theta_factors))


def _factors(subject: Subject) -> tuple[FloatArray, FloatArray]:
    """Return a power of ten for each column that is not a constant, 1 for the others; and what parameters become."""
    if isinstance(subject.model, ChoiceModel):
        return _attribute_factors(subject, subject.model)
    found = []
    rng = subject.rng("factors")
    for design in subject.model.data.designs.values():
        for j in range(len(design.terms)):
            found.append(1.0 if j == design.constant or design.net else _power(rng))
    names = subject.model.param_names
    terms = [t for d in subject.model.data.designs.values() for t in d.terms]
    times = level_blocks(subject.model)
    if not found or not (times or set(terms[:1]) <= set(names)):
        raise NotApplicableError("the model has no columns whose coefficients bear their names")
    if set(found) == {1.0}:
        raise NotApplicableError("the model has no column but the constant")
    if times:
        return np.array(found), np.tile(1 / np.array(found), times)
    of_theta = np.ones(len(subject.theta))
    of_theta[: len(found)] = 1 / np.array(found)
    return np.array(found), of_theta


def _attribute_factors(subject: Subject, model: ChoiceModel) -> tuple[FloatArray, FloatArray]:
    rng = subject.rng("factors")
    factors = np.array([_power(rng) for _ in model.exog_names])
    places = [model.attribute_of(name) for name in model.param_names]
    return factors, np.array([1.0 if at is None else 1 / factors[at] for at in places])


def _power(rng: np.random.Generator) -> float:
    return float(10.0 ** float(rng.choice([-4, -2, 3, 5])))


def same_fit(
    subject: Subject,
    other: GenericLikelihoodModel,
    where: str,
    factors: FloatArray | None = None,
) -> Finding:
    """Return whether another model has the same fit, its parameters counting ``1 / factors``."""
    scale = 1.0 if factors is None else factors
    mine, theirs = subject.results, subject.fit(other, factors=scale)
    if not theirs.converged:
        return Finding(False, f"no maximum {where}: {theirs.status}")
    params, bse = theirs.params / scale, theirs.bse / scale
    return all_of(
        _near(subject, params, mine.params, mine.bse, where),
        bounded(f"errors {where}", largest(bse.to_numpy() / mine.bse.to_numpy() - 1), _cov_bound(subject)),
        bounded(f"llf of the fit {where}", abs(theirs.llf - mine.llf), subject.close * (1 + abs(mine.llf))),
    )


def _near(subject: Subject, a: pd.Series, b: pd.Series, bse: pd.Series, where: str = "with rows repeated") -> Finding:
    gap = largest((a.to_numpy() - b.to_numpy()) / bse.to_numpy())
    return bounded(f"estimates {where}", gap, maxima(subject), "standard errors")


def maxima(subject: Subject) -> float:
    """Return how far apart two points may be that both pass as a maximum, in standard errors."""
    return TWO_MAXIMA if subject.eps < 1e-10 else 0.03


def _cov_bound(subject: Subject) -> float:
    """Return how much errors may change between two such points: as much as the points, times a skewness below 10."""
    return 10 * maxima(subject)
