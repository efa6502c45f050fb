"""Test what a fit left out or held, at its own estimates: the score (Lagrange multiplier) test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import OptionError, UndefinedStatisticError
from ..inference.ingredients import Covariance
from ..inference.wald import chi2_tail, quadratic_form
from ..linalg import cholesky, inverse_spd, symmetric
from ..optim.base import Status
from .contrasts import HypothesisTest
from .fit import Fit
from .hypotheses import need_maximum
from .inference import build_inference
from .point import refuse_bounds
from .restricted import refuse_restricted
from .widened import Wider, with_added, with_freed

if TYPE_CHECKING:
    from .estimates import Estimates


def score_test(
    results: Estimates,
    added: Any,
    freed: str | Sequence[str] | None,
    predictor: str | None,
    cov_type: str | None,
    cov_kwds: Mapping[str, Any] | None,
) -> HypothesisTest:
    """Return the test; see :meth:`Results.score_test`."""
    if (added is None) == (freed is None):
        raise OptionError(
            "score_test() takes added= (new columns) or freed= (restrictions of the fit), one of the two."
        )
    if freed is not None and predictor is not None:
        raise OptionError("predictor= says where columns are added; it goes with added=, not with freed=.")
    need_maximum(results, "score_test()")
    refuse_restricted(results, "score_test()", "The constraints themselves are tested by z in results.constraints.")
    refuse_bounds(results, "score_test()")
    wider = with_added(results, added, predictor) if freed is None else with_freed(results, freed)
    name = results.cov_type if cov_type is None else cov_type
    kwds = results.cov_kwds if cov_type is None else cov_kwds
    statistic = _statistic(results, wider, name, kwds)
    df = len(wider.rows)
    words = " and ".join(f"{label} = 0" if freed is None else label for label in wider.labels)
    notes = (f"{name} covariance at the restricted estimates; nothing was refitted.",)
    words = words if freed is None else f"the restrictions on {words} hold"
    return HypothesisTest("Score test", words, statistic, chi2_tail(statistic, df), df, notes=notes)


def _statistic(results: Estimates, wider: Wider, cov_type: str, cov_kwds: Mapping[str, Any] | None) -> float:
    """Return ``g' A^-1 R' (R V R')^-1 R A^-1 g`` (Engle 1984; Wooldridge 2010, equation 12.68).

    That is the Wald statistic of one Newton step ``A^-1 g`` from the restricted estimates. With the nonrobust
    covariance, where V is the inverse of the information A, it is ``g' A^-1 g``.
    """
    moments = wider.moments()
    assert moments.gradient is not None
    assert moments.hessian is not None
    gradient = wider.map.pull_gradient(moments.gradient, wider.gamma)
    information = -wider.map.pull_hessian(moments.hessian, moments.gradient, wider.gamma)
    factor = cholesky(symmetric(information))
    expected = (cov_kwds or {}).get("information") == "expected"
    if factor is None and cov_type != "opg" and not expected:
        raise UndefinedStatisticError(
            "score_test() is not defined with this covariance: the information of the larger model is not positive "
            "definite at the restricted estimates. Use cov_type='opg', which needs scores only, or fit the larger one."
        )
    bread = torch.eye(len(gradient), dtype=torch.float64, device="cpu") if factor is None else inverse_spd(factor)
    found = _covariance(results, wider, bread, (moments.gradient, moments.hessian), cov_type, cov_kwds)
    inverse = bread if found.bread is None else found.bread
    step = (found.matrix / wider.scale if cov_type == "opg" else inverse) @ gradient
    return quadratic_form(wider.rows @ step, wider.rows @ found.matrix @ wider.rows.mT)


def _covariance(
    results: Estimates,
    wider: Wider,
    bread: Tensor,
    derivatives: tuple[Tensor, Tensor],
    cov_type: str,
    cov_kwds: Mapping[str, Any] | None,
) -> Covariance:
    """Return the covariance of the larger model's free parameters, computed at the restricted point."""
    fit: Fit = replace(
        results.fit,
        map=wider.map,
        gamma=wider.gamma,
        objective=wider.objective,
        derivatives=derivatives,
        status=Status.CONVERGED,
        free=wider.map.free,
        scale=wider.scale,
        root=None,
    )
    found = build_inference(wider.model, fit, bread, cov_type, dict(cov_kwds or {}), None, False)
    return found.covariance
