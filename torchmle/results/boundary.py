"""Test a parameter at the edge of its range, where the likelihood ratio has another law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import OptionError, UndefinedStatisticError
from ..inference.wald import chi2_tail
from .contrasts import HypothesisTest
from .linkscale import need_maximum
from .point import likelihood_point, refuse_pseudo
from .ratio import ROUNDING, same_rows

if TYPE_CHECKING:
    from .estimates import Estimates


def boundary_test(full: Estimates, restricted: Any) -> HypothesisTest:
    """Return the likelihood ratio test with one parameter on the boundary; see :meth:`Results.boundary_test`."""
    from .estimates import Estimates

    if isinstance(restricted, str):
        restricted = full.model.resampled(full, "at_edge", name=restricted)
    if not isinstance(restricted, Estimates):
        raise OptionError(
            f"boundary_test() takes results of a fit or the name of a parameter, not {type(restricted).__name__}."
        )
    for results in (full, restricted):
        refuse_pseudo(results, "boundary_test()", "Its law is not known there.")
    if not full.fit.map.at_bound:
        need_maximum(full, "boundary_test()")
    need_maximum(restricted, "boundary_test(): the restricted fit")
    same_rows(full.model.data, restricted.model.data, "boundary_test()")
    df = _free(full) - _free(restricted)
    ratio = 2 * (full.llf - restricted.llf)
    _check(df, ratio, full, restricted)
    ratio = max(ratio, 0.0)
    return HypothesisTest(
        "Likelihood ratio test at a boundary",
        "the restricted model, with one parameter at the edge of its range",
        ratio,
        chi_bar_tail(ratio, df),
        df,
        "chibar2",
        details={"log-likelihood": full.llf, "log-likelihood, restricted": restricted.llf},
        notes=(f"Law: half chi2({df - 1}), half chi2({df}) (Self and Liang 1987).",),
    )


def chi_bar_tail(ratio: float, df: int) -> float:
    """Return the probability of a larger ratio: half that of chi2(df - 1), half that of chi2(df)."""
    below = (1.0 if ratio <= 0 else 0.0) if df == 1 else chi2_tail(ratio, df - 1)
    return 0.5 * below + 0.5 * chi2_tail(ratio, df)


def _free(results: Estimates) -> int:
    """Return how many parameters are estimated; one that ran to a bound was free to leave it."""
    point = likelihood_point(results, "boundary_test()")
    return point.map.free + len(results.fit.map.at_bound)


def _check(df: int, ratio: float, full: Estimates, restricted: Estimates) -> None:
    if df <= 0:
        raise OptionError(
            "boundary_test(): the restricted fit has as many free parameters. Call it on the larger model."
        )
    if ratio < -2 * ROUNDING[full.model.data.endog.dtype] * (1 + abs(full.llf)):
        raise UndefinedStatisticError(
            f"boundary_test(): the restricted fit has the higher log-likelihood ({restricted.llf:.8g} against "
            f"{full.llf:.8g}): it is not a special case of the other, or that is not at its highest maximum."
        )
