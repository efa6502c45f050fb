"""Test whether the likelihood of a fit is right, by itself or against another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..errors import OptionError, unknown
from ..inference.specification import information_matrix, normal_tail, vuong
from ..inference.wald import chi2_tail
from .contrasts import HypothesisTest
from .hypotheses import need_maximum
from .point import likelihood_point, need_row_values, refuse_bounds, refuse_pseudo, row_weights
from .ratio import comparable, same_set
from .restricted import refuse_restricted

if TYPE_CHECKING:
    from .estimates import Estimates


def information_matrix_test(results: Estimates, diagonal: bool) -> HypothesisTest:
    """Return White's test; see :meth:`Results.information_matrix_test`."""
    what = "information_matrix_test()"
    if not isinstance(diagonal, bool):
        raise OptionError(f"diagonal={diagonal!r} must be True or False.")
    need_maximum(results, what)
    refuse_restricted(results, what, "Test the fit without them.")
    refuse_pseudo(results, what, "The matrices differ under them even where the model is right.")
    refuse_bounds(results, what)
    need_row_values(results, what)
    point = likelihood_point(results, what)
    found = information_matrix(
        point.objective, point.working, point.map.working_jacobian(point.gamma), row_weights(results), diagonal
    )
    p = chi2_tail(found.statistic, found.df)
    notes = [
        "n R2 of 1 on scores and indicators (Chesher-Lancaster), which rejects too often in small samples.",
    ]
    if found.df < found.count:
        notes.append(f"{found.count - found.df} of {found.count} indicators are combinations of others.")
    words = "the Hessian and the outer product of the scores agree"
    return HypothesisTest("Information matrix test", words, found.statistic, p, found.df, notes=tuple(notes))


CORRECTIONS = {"none": "", "aic": "AIC", "bic": "BIC"}


def vuong_test(results: Estimates, other: Any, correction: str) -> HypothesisTest:
    """Return Vuong's test; see :meth:`Results.vuong_test`."""
    if correction not in CORRECTIONS:
        raise OptionError(unknown("correction of vuong_test():", correction, CORRECTIONS))
    one, two = comparable(results, other, "vuong_test()")
    if same_set(results, other, (one, two)):
        raise OptionError("vuong_test() is for models that are not nested, and these are. Use lr_test().")
    more = one.map.free - two.map.free
    weights = row_weights(results)
    penalty = {"none": 0.0, "aic": float(more), "bic": more / 2 * math.log(float(weights.sum()))}[correction]
    found = vuong(one.values(), two.values(), weights, penalty)
    names = (f"{results.model.model_name} (first)", f"{other.model.model_name} (second)")
    details = {
        "difference of log-likelihoods": found.difference,
        "correction": penalty,
        "variance of a row's difference": found.variance,
        "p-value, first is better": normal_tail(found.statistic),
        "p-value, second is better": normal_tail(-found.statistic),
    }
    return HypothesisTest(
        "Vuong test",
        f"{names[0]} and {names[1]} are equally close to the truth",
        found.statistic,
        2 * normal_tail(abs(found.statistic)),
        1,
        "z",
        details=details,
        notes=("For models that are not nested and do not coincide; positive values favour the first.",),
    )
