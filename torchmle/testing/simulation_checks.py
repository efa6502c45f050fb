"""Check a model against data simulated from it: scores, information, estimates and intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import special, stats

from ..data.vectors import FloatArray
from .subject import Finding, NotApplicableError, Subject, all_of, bounded, kind_of_weights, largest, objective_of

SETS = 80
"""Simulated data sets."""

FIVE_SIGMA = 5.7e-7
"""Two-sided false alarm rate of five standard deviations."""

BAND = 1e-4
"""False alarm rate of the coverage check, over all parameters."""


@dataclass(frozen=True, eq=False)
class Study:
    """Hold what simulated data sets gave, in the subject's units: a row a data set.

    Attributes
    ----------
    scores : (R, K) scores at the true parameters.
    equality : (R, K, K) Hessian plus outer product of the scores there, or None without rows.
    z : (R, K) estimate less truth over standard error; NaN where the fit did not converge; of coefficients only
        where there are modules, whose weights have other values that give the same net.
    """

    scores: FloatArray
    equality: FloatArray | None
    z: FloatArray


def mean_score(subject: Subject) -> Finding:
    """Prove that the score at the true parameters has mean zero on data simulated from them."""
    return mean_scores(study(subject), subject.close)


def information(subject: Subject) -> Finding:
    """Prove the information equality on simulated data: outer products of scores have the mean of minus the Hessian."""
    return information_equality(study(subject), subject.close)


def recovery(subject: Subject) -> Finding:
    """Prove that fits recover the true parameters: errors over standard errors have mean 0 and mean square 1."""
    return _said(recovered(study(subject).z, _small_sample(subject)), subject)


def coverage(subject: Subject) -> Finding:
    """Prove that 95 % intervals cover the true parameters as often as a binomial allows."""
    return _said(covered(study(subject).z, _small_sample(subject)), subject)


def _said(finding: Finding, subject: Subject) -> Finding:
    return replace(finding, detail=finding.detail + subject.remark)


def study(subject: Subject) -> Study:
    """Return the simulation of a subject, run once."""
    if "study" not in subject.memo:
        subject.memo["study"] = _run(subject)
    found: Study = subject.memo["study"]
    return found


def _run(subject: Subject) -> Study:
    if subject.simulate is None:
        raise NotApplicableError("no simulate= was given")
    if kind_of_weights(subject.model) in ("freq_weights", "sampling_weights"):
        raise NotApplicableError("simulated rows are drawn once each, and the model counts them with weights")
    rng = subject.rng("study")
    unit, theta = subject.unit, subject.theta
    scores, equality, z = [], [], []
    for _ in range(SETS):
        model = subject.rebuilt(endog=subject.simulate(theta.copy(), rng))
        scores.append(model.score(theta) * unit)
        if objective_of(model)[0].separable:
            rows = model.score_obs(theta)
            equality.append((rows.T @ rows + model.hessian(theta)) * np.outer(unit, unit))
        results = subject.fit(model)
        z.append(((results.params - theta) / results.bse).to_numpy()[: subject.compared])
        if not results.converged:
            z[-1] = np.full(subject.compared, np.nan)
    return Study(np.array(scores), np.array(equality) if equality else None, np.array(z))


# ---- what a study says


def mean_scores(found: Study, rounding: float) -> Finding:
    """Return whether the scores have mean zero."""
    return _zero_mean("mean score", found.scores, rounding)


def information_equality(found: Study, rounding: float) -> Finding:
    """Return whether outer products of scores have the mean of minus the Hessian.

    Raises
    ------
    NotApplicableError
        For a likelihood without rows.
    """
    if found.equality is None:
        raise NotApplicableError("a scalar loglike has no rows")
    rows, columns = np.triu_indices(found.equality.shape[1])
    return _zero_mean("information equality", found.equality[:, rows, columns], rounding)


def recovered(z: FloatArray, sample: float) -> Finding:
    """Return whether errors over standard errors, (R, K), have mean 0 and mean square 1.

    Parameters
    ----------
    sample : K / n, the order of what normal approximations err.
    """
    known = ~np.isnan(z).any(axis=1)
    count = int(known.sum())
    if count < len(z) // 2:
        return Finding(False, f"only {count} of {len(z)} fits converged")
    off = np.abs(z[known].mean(axis=0)).max()
    squares = (z[known] ** 2).mean(axis=0)
    tail = FIVE_SIGMA / (2 * z.shape[1])
    low, high = (float(stats.chi2.ppf(p, count)) / count for p in (tail, 1 - tail))
    low, high = low / (1 + sample), high * (1 + sample)
    inside = bool((squares >= low).all() and (squares <= high).all())
    return all_of(
        bounded("mean of (estimate - truth) / bse", float(off), 5 / math.sqrt(count) + math.sqrt(sample)),
        Finding(inside, f"mean squares {squares.min():.2f} to {squares.max():.2f} (band {low:.2f} to {high:.2f})"),
    )


def covered(z: FloatArray, sample: float) -> Finding:
    """Return whether 95 % intervals cover the truth as often as a binomial allows."""
    hits, sets = (np.abs(z) <= special.ndtri(0.975)).sum(axis=0), len(z)  # a fit that failed covers nothing
    level, tail = max(0.0, 0.95 - sample), BAND / (2 * z.shape[1])
    low, high = stats.binom.ppf(tail, sets, level), stats.binom.ppf(1 - tail, sets, 0.95)
    inside = bool((hits >= low).all() and (hits <= high).all())
    return Finding(inside, f"{hits.min()} to {hits.max()} of {sets} intervals cover (band {low:g} to {high:g})")


def _zero_mean(what: str, samples: FloatArray, rounding: float) -> Finding:
    """Return whether all means are zero within five standard errors (Student's t for that many data sets)."""
    t = t_of_means(samples, rounding)
    bound = float(special.stdtrit(len(samples) - 1, 1 - FIVE_SIGMA / (2 * samples.shape[1])))
    return bounded(f"{what}, mean over {len(samples)} data sets", largest(t), bound, "standard errors")


def t_of_means(samples: FloatArray, rounding: float = 0.0) -> FloatArray:
    """Return means over their standard errors, 0 for means that are rounding."""
    means = samples.mean(axis=0)
    errors = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    t: FloatArray = np.where(np.abs(means) <= rounding, 0.0, means / np.where(errors > 0, errors, 1e-300))
    return t


def _small_sample(subject: Subject) -> float:
    """Return the order of what normal approximations err in a sample of this size, K / n."""
    return len(subject.theta) / subject.model.nobs
