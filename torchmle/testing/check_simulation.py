"""Simulate from a model, fit what was drawn, and report whether likelihood, errors and intervals are right."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from ..data.vectors import FloatArray
from ..errors import ConvergenceWarning, DataError, DataWarning, OptionError, unheard
from ..loglik.leastsquares import LeastSquares
from ..loglik.padded import Sets
from ..models.base import GenericLikelihoodModel
from ..models.jobs import Job, Plan, with_endog
from ..models.predictors import LinearPredictorModel
from ..models.request import as_params
from ..models.running import run_plan
from ..models.simulate import check_seed, draw, predictors_at
from ..models.together import set_density
from ..optim.checks import check_whole
from ..progress import ProgressLine
from ..results.many import ManyResults
from ..results.results import Results
from ..workers import engine
from .check_model import CheckResult, Verdicts
from .simulation_checks import Study, covered, information_equality, mean_scores, recovered, t_of_means
from .subject import Finding, NotApplicableError, Simulate, kind_of_weights

FEWEST = 20
"""Data sets below which a t statistic says nothing."""

TOGETHER = 400_000
"""Rows of simulated data whose scores are computed at once."""


@dataclass(frozen=True, eq=False, repr=False)
class SimulationReport(Verdicts):
    """Hold what a simulation found; prints as a table.

    Attributes
    ----------
    model : its name.
    table : a row a parameter: ``true``; ``mean`` and ``std dev`` of the estimates, ``bias`` and its ``t``;
        ``mean bse``; ``coverage`` of the 95 % intervals; ``t score`` of the mean score at the true parameters.
    results : the verdicts: ``mean_score``, ``information``, ``recovery``, ``coverage``.
    fits : all fits.
    seed : as given.
    """

    model: str
    table: pd.DataFrame
    results: tuple[CheckResult, ...]
    fits: ManyResults
    seed: int

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        sets = f"{len(self.fits)} data sets, {self.fits.failed} without estimate"
        head = f"check_simulation({self.model}): {verdict}, {sets}"
        return "\n".join([head, *map(str, self.results), "", self.table.to_string(float_format="{:.4g}".format)])

    def __repr__(self) -> str:
        return str(self)


def check_simulation(
    model: GenericLikelihoodModel | Results,
    params: Any = None,
    *,
    reps: int = 400,
    seed: int = 0,
    simulate: Simulate | None = None,
    cov_type: str = "nonrobust",
    progress: bool | None = None,
) -> SimulationReport:
    """Simulate responses from a model at known parameters, fit them all, and report what should be true.

    Four things hold for a right likelihood on enough rows: the score at the true parameters has mean zero; its outer
    products have the mean of minus the Hessian; estimates lie about the truth as their standard errors say; 95 %
    intervals cover it in 95 % of the data sets. A wrong sign, a missing Jacobian or a density that does not integrate
    to one breaks the first two, whatever the number of rows. The bounds are those of :func:`check_model`: five
    standard errors, and a binomial band, wider by ``K / n``.

    Parameters
    ----------
    model : a model with its data, of which the regressors are used, or results.
    params : true parameters in the units of the results: a sequence, a dict or a Series by name. Those of the
        results by default.
    reps : how many data sets, 20 or more.
    seed : the same seed gives the same data sets.
    simulate : ``simulate(params, rng)`` returns a response for the rows of the model; by default
        ``model.simulate_endog``.
    cov_type : of the errors whose intervals are checked.
    progress : a line on the terminal; by default where there is one and it takes long.

    Raises
    ------
    UndefinedStatisticError
        If the model does not say how responses are drawn.
    OptionError
        For weights that count or weigh rows, which a draw of one response a row does not have.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz"))
    >>> report = tm.testing.check_simulation(model, {"Intercept": -0.5, "educ": 0.1, "age": -0.02}, reps=200)
    >>> report.passed
    True
    """
    check_whole("reps", reps, FEWEST)
    own, theta = _truth(model, params)
    with engine():
        endog = _drawn(own, theta, int(reps), check_seed(seed), simulate)
        fits = _fits(own, endog, cov_type, progress)
        scores, equality = _at_truth(own, theta, endog, progress)
    names = list(own.param_names)
    truth = theta.numpy()
    error = fits.params.reindex(columns=names).to_numpy() - truth
    bse = fits.bse.reindex(columns=names).to_numpy()
    unit = np.sqrt(np.maximum((scores**2).mean(axis=0), 1e-300))
    by_unit = None if equality is None else equality / np.outer(unit, unit)
    study = Study(scores / unit, by_unit, error / bse)
    verdicts = _verdicts(study, len(names) / own.nobs, math.sqrt(torch.finfo(own.endog.dtype).eps))
    return SimulationReport(own.model_name, _table(names, truth, error, bse, study), verdicts, fits, int(seed))


def _truth(model: Any, params: Any) -> tuple[GenericLikelihoodModel, Tensor]:
    """Return the model and its true parameters."""
    if isinstance(model, Results):
        own: Any = model.model
        if params is None:
            params = model.params
            if isinstance(model.fit.objective, LeastSquares):
                params = [*params, math.sqrt(model.scale)]
    else:
        own = model
    if not isinstance(own, GenericLikelihoodModel):
        raise OptionError(f"model is {type(model).__name__}; give a model with its data, or results.")
    if own.response == "choice":
        raise OptionError(f"check_simulation draws one number for each row; {own.model_name} has choices.")
    if params is None:
        raise OptionError(f"params are needed: one number for each of {', '.join(own.param_names)}.")
    if kind_of_weights(own) in ("freq_weights", "sampling_weights"):
        raise OptionError(
            f"The model has {kind_of_weights(own)}, and one response is drawn for each row. Build it without weights."
        )
    return own, as_params(params, own.param_names, "params")


def _drawn(model: GenericLikelihoodModel, theta: Tensor, reps: int, seed: int, simulate: Simulate | None) -> Tensor:
    """Return (R, n) responses."""
    if simulate is None:
        etas = predictors_at(model, theta)
        return torch.stack([draw(model, etas, seed, number) for number in range(reps)])
    rng = np.random.default_rng([seed, 3])
    drawn = np.stack([np.asarray(simulate(theta.numpy().copy(), rng), dtype=np.float64) for _ in range(reps)])
    if drawn.shape != (reps, model.nobs) or not np.isfinite(drawn).all():
        raise DataError(f"simulate gave arrays {drawn.shape[1:]}; it must return ({model.nobs},) finite numbers.")
    return torch.from_numpy(drawn)


def _fits(model: GenericLikelihoodModel, endog: Tensor, cov_type: str, progress: bool | None) -> ManyResults:
    base = with_endog(model, endog[0])
    job = Job(range(len(endog)), base, endog=endog.to(base.endog))

    def build(i: int) -> GenericLikelihoodModel:
        return with_endog(model, endog[i])

    plan = Plan(pd.RangeIndex(len(endog)), "draws", build, kind_of_weights(model), (job,))
    with unheard(ConvergenceWarning), unheard(DataWarning):
        return run_plan(plan, model.model_name, {"method": "newton", "cov_type": cov_type}, progress)


def _at_truth(
    model: GenericLikelihoodModel, theta: Tensor, endog: Tensor, progress: bool | None
) -> tuple[FloatArray, FloatArray | None]:
    """Return (R, K) scores at the true parameters, and (R, K, K) Hessian plus outer products of scores."""
    if not isinstance(model, LinearPredictorModel):
        return _one_by_one(model, theta, endog, progress)
    pmap = model.make_map(model.param_names, "raw")
    link, n = pmap.link(pmap.gamma(theta)), len(endog[0])
    known = [model.data.offset, *(model.known_part(j) for j in range(1, len(model.data.designs)))]
    columns = tuple(d.X.double()[None] for d in model.data.designs.values())
    scores, equality = [], []
    step = max(1, TOGETHER // n)
    for a in range(0, len(endog), step):
        part = endog[a : a + step].to(model.data.device)
        rows = torch.arange(n, device=part.device).expand(len(part), -1)
        offsets = tuple(None if o is None else o.double()[None] for o in known)
        sets = Sets(rows, torch.ones_like(part), columns, offsets, part, set_density(model))
        points = link.expand(len(part), -1)
        stack = sets.evaluate(points, 2)
        assert stack.hessians is not None
        scores.append(stack.gradients)
        equality.append(stack.hessians + sets.squares(points, 1))
    return torch.cat(scores).numpy(), torch.cat(equality).numpy()


def _one_by_one(
    model: GenericLikelihoodModel, theta: Tensor, endog: Tensor, progress: bool | None
) -> tuple[FloatArray, FloatArray | None]:
    at = theta.numpy()
    scores, equality = [], []
    with ProgressLine(progress) as line:
        for y in endog:
            drawn = with_endog(model, y)
            scores.append(drawn.score(at))
            if not drawn.is_scalar:
                rows = drawn.score_obs(at)
                equality.append(rows.T @ rows + drawn.hessian(at))
            line.count("scores at the true parameters", len(endog))
    return np.array(scores), np.array(equality) if equality else None


def _verdicts(study: Study, sample: float, rounding: float) -> tuple[CheckResult, ...]:
    checks: dict[str, Callable[[], Finding]] = {
        "mean_score": lambda: mean_scores(study, rounding),
        "information": lambda: information_equality(study, rounding),
        "recovery": lambda: recovered(study.z, sample),
        "coverage": lambda: covered(study.z, sample),
    }
    out = []
    for name, check in checks.items():
        try:
            finding = check()
            out.append(CheckResult(name, finding.passed, finding.detail))
        except NotApplicableError as reason:
            out.append(CheckResult(name, None, str(reason)))
    return tuple(out)


def _table(names: list[str], truth: FloatArray, error: FloatArray, bse: FloatArray, study: Study) -> pd.DataFrame:
    known = error[~np.isnan(error).any(axis=1)]
    nothing = np.full(len(names), np.nan)
    enough = len(known) > 1
    columns = {
        "true": truth,
        "mean": truth + known.mean(axis=0) if enough else nothing,
        "bias": known.mean(axis=0) if enough else nothing,
        "t bias": t_of_means(known) if enough else nothing,
        "std dev": known.std(axis=0, ddof=1) if enough else nothing,
        "mean bse": np.nanmean(bse, axis=0) if enough else nothing,
        "coverage": (np.abs(study.z) <= special.ndtri(0.975)).mean(axis=0),
        "t score": t_of_means(study.scores),
    }
    return pd.DataFrame(columns, index=pd.Index(names))
