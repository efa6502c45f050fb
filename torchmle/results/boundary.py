"""Test a parameter at the edge of its range, where the likelihood ratio has another law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import OptionError, UndefinedStatisticError
from ..inference.wald import chi2_tail
from .contrasts import HypothesisTest
from .edges import edge_of
from .linkscale import need_maximum
from .point import likelihood_point, refuse_bounds, refuse_pseudo
from .ratio import ROUNDING, same_rows
from .restricted import refuse_restricted

if TYPE_CHECKING:
    from .estimates import Estimates

WHAT = "boundary_test()"


def boundary_test(full: Estimates, restricted: Any, edge: str | None) -> HypothesisTest:
    """Return the likelihood ratio test with one parameter on the boundary; see :meth:`Results.boundary_test`."""
    from .estimates import Estimates

    if isinstance(restricted, str):
        restricted = full.model.resampled(full, "at_edge", name=restricted)
    if not isinstance(restricted, Estimates):
        raise OptionError(f"{WHAT} takes results of a fit or the name of a parameter, not {type(restricted).__name__}.")
    for results in (full, restricted):
        refuse_pseudo(results, WHAT, "Its law is not known there.")
    need_maximum(restricted, f"{WHAT}: the restricted fit")
    for results in (full, restricted):
        refuse_restricted(results, WHAT, "Compare fits without them.")
    refuse_bounds(restricted, f"{WHAT}: the restricted fit")
    same_rows(full.model.data, restricted.model.data, WHAT)
    df = _free(full) - _free(restricted)
    if df <= 0:
        raise OptionError(f"{WHAT}: the restricted fit has as many free parameters. Call it on the larger model.")
    name = edge_of(full, restricted, edge)
    ratio = _ratio(full, restricted, name, df)
    return HypothesisTest(
        "Likelihood ratio test at a boundary",
        f"{name} is at the edge of its range" + (f", and {df - 1} other restrictions hold" if df > 1 else ""),
        ratio,
        chi_bar_tail(ratio, df),
        df,
        "chibar2",
        details={"log-likelihood": full.llf, "log-likelihood, restricted": restricted.llf},
        notes=(f"Law: half chi2({df - 1}), half chi2({df}) (Self and Liang 1987).",),
    )


def chi_bar_tail(ratio: float, df: int) -> float:
    """Return the probability of a ratio as large or larger: half that of chi2(df - 1), half that of chi2(df)."""
    below = (1.0 if ratio <= 0 else 0.0) if df == 1 else chi2_tail(ratio, df - 1)
    return 0.5 * below + 0.5 * chi2_tail(ratio, df)


def _free(results: Estimates) -> int:
    """Return how many parameters are estimated; one that ran to a bound was free to leave it."""
    return likelihood_point(results, WHAT).map.free + len(results.fit.map.at_bound)


def _ratio(full: Estimates, restricted: Estimates, name: str, df: int) -> float:
    """Return the ratio: zero where the larger fit itself ran to the edge."""
    held = {full.names[i] for i in full.fit.map.at_bound}
    if held - {name}:
        raise UndefinedStatisticError(
            f"{WHAT} is not defined where a parameter that is not tested ran to a bound as well "
            f"({', '.join(sorted(held - {name}))}): the statistic has another law."
        )
    ratio = 2 * (full.llf - restricted.llf)
    slack = 2 * ROUNDING[full.model.data.endog.dtype] * (1 + abs(full.llf))
    at_edge = df == 1 and abs(ratio) <= slack
    if not (at_edge and full.fit.separation is None):  # a fit that ran to the edge of an open range has no maximum
        need_maximum(full, WHAT)
    if ratio < -slack:
        raise UndefinedStatisticError(
            f"{WHAT}: the restricted fit has the higher log-likelihood ({restricted.llf:.8g} against "
            f"{full.llf:.8g}): it is not a special case of the other, or that is not at its highest maximum."
        )
    ran = bool(held) or not full.converged
    return 0.0 if ran and at_edge else max(ratio, 0.0)
