"""Compare two fits by the ratio of their likelihoods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.batch import ModelData
from ..errors import OptionError, UndefinedStatisticError
from ..inference.nested import affine, predictors_within, within
from ..inference.wald import chi2_tail
from .contrasts import HypothesisTest
from .hypotheses import need_maximum
from .point import Point, likelihood_point, refuse_bounds, refuse_pseudo

if TYPE_CHECKING:
    from .estimates import Estimates

ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Relative difference of two log-likelihoods that is rounding, by dtype."""

LIKELIHOODS = ("logdensity", "loglikeobs", "nloglikeobs", "loglike")


def lr_test(full: Estimates, restricted: Any) -> HypothesisTest:
    """Return the likelihood ratio test; see :meth:`Results.lr_test`."""
    _need_results(restricted, "lr_test()")
    for results, what in ((full, "lr_test()"), (restricted, "lr_test(): the restricted fit")):
        need_maximum(results, what)
        refuse_pseudo(results, "lr_test()", "Use wald_test().")
        refuse_bounds(results, "lr_test()")
    _same_likelihood(full, restricted)
    same_rows(full.model.data, restricted.model.data, "lr_test()")
    points = (likelihood_point(full, "lr_test()"), likelihood_point(restricted, "lr_test()"))
    df = points[0].map.free - points[1].map.free
    ratio = 2 * (full.llf - restricted.llf)
    _right_way(full, restricted, df, ratio)
    if not _is_nested(full, restricted, *points):
        raise OptionError(
            "lr_test(): the restricted model is not nested in this one: not all that it can be is a special case. "
            "Compare the two by vuong_test(), aic or bic."
        )
    ratio = max(ratio, 0.0)
    details = {"log-likelihood": full.llf, "log-likelihood, restricted": restricted.llf}
    return HypothesisTest(
        "Likelihood ratio test",
        f"the restrictions hold ({df} of {points[0].map.free} parameters)",
        ratio,
        chi2_tail(ratio, df),
        df,
        details=details,
        notes=tuple(_cautions(full, restricted)),
    )


def _cautions(full: Estimates, restricted: Estimates) -> list[str]:
    if full.cov_type == restricted.cov_type == "nonrobust":
        return []
    return [
        "It takes the likelihood to be right, whatever the covariance of the fits; under robust errors use wald_test() "
        "or score_test()."
    ]


def _need_results(other: Any, what: str) -> None:
    from .estimates import Estimates

    if not isinstance(other, Estimates):
        raise OptionError(f"{what} takes results of a fit, not {type(other).__name__}. Call fit() first.")


def _right_way(full: Estimates, restricted: Estimates, df: int, ratio: float) -> None:
    """Refuse a restricted fit that is the larger one, or fits better."""
    if df <= 0:
        raise OptionError(
            f"lr_test(): the restricted fit has {'as many' if df == 0 else 'more'} free parameters. Call it on the "
            "larger model: full.lr_test(restricted)."
        )
    slack = ROUNDING[full.model.data.endog.dtype] * (1 + abs(full.llf))
    if ratio < -2 * slack:
        raise OptionError(
            f"lr_test(): the restricted fit has the higher log-likelihood ({restricted.llf:.8g} against "
            f"{full.llf:.8g}), so that it is not nested, or the larger fit is not at its highest maximum. Fit that "
            "again from other starts: fit(options={'starts': 10})."
        )


def _same_likelihood(full: Estimates, restricted: Estimates) -> None:
    """Refuse fits of different likelihoods, or of one with different settings."""
    one, other = full.model, restricted.model
    same = all(getattr(type(one), n, None) is getattr(type(other), n, None) for n in LIKELIHOODS)
    if not same or getattr(one, "function", None) is not getattr(other, "function", None):
        raise OptionError(
            f"lr_test(): {one.model_name} and {other.model_name} are not the same likelihood, so that nesting cannot "
            "be shown. Fit the restricted model with fit(fixed=..., constraints=...) or fewer columns, or use "
            "vuong_test()."
        )
    mine, others = _settings(one), _settings(other)
    for name in sorted(mine.keys() | others.keys()):
        if mine.get(name) != others.get(name):
            raise OptionError(
                f"lr_test(): the models differ in {name}: {mine.get(name)!r} and {others.get(name)!r}. Only parameters "
                "may differ."
            )
    if repr(getattr(one, "transforms", None)) != repr(getattr(other, "transforms", None)):
        raise OptionError("lr_test(): the models have different transforms.")


def _settings(model: Any) -> dict[str, Any]:
    """Return the options of a model that are plain values."""
    return {k: v for k, v in vars(model).items() if isinstance(v, (bool, int, float, str)) and k != "lifting"}


def same_rows(one: ModelData, other: ModelData, what: str) -> None:
    """Raise unless two models have the same rows, responses, weights and row data, in the same order."""
    if len(one.endog) != len(other.endog):
        raise OptionError(
            f"{what}: the fits use {len(one.endog)} and {len(other.endog)} rows. Fit both on the same rows, e.g. on "
            "data.dropna(subset=[...]) of all columns."
        )
    if not one.rows.labels.equals(other.rows.labels):
        raise OptionError(f"{what}: the fits use different rows, or the same in another order (labels differ).")
    if not _equal(one.endog, other.endog):
        raise OptionError(f"{what}: the fits have different responses ({one.endog_name!r} and {other.endog_name!r}).")
    kinds = [None if d.weights is None else d.weights.kind for d in (one, other)]
    if kinds[0] != kinds[1] or (
        one.weights is not None and other.weights is not None and not _equal(one.weights.values, other.weights.values)
    ):
        raise OptionError(f"{what}: the fits have different weights ({kinds[0]} and {kinds[1]}).")
    for name in one.row_data.keys() & other.row_data.keys():
        if not _equal(one.row_data[name], other.row_data[name]):
            raise OptionError(f"{what}: the fits have different row_data {name!r}.")


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a.cpu(), b.cpu()))


def _is_nested(full: Estimates, restricted: Estimates, whole: Point, part: Point) -> bool:
    """Return whether the restricted model is shown to be a special case of the full one.

    The map of a fit under constraints that are functions is that of a plane along them, so that it shows what the fit
    is a special case of, and nothing about what is a special case of it.
    """
    if full.fit.restrictions:
        return False
    outer, inner = full.model.data, restricted.model.data
    if whole.map.names == part.map.names and _same_columns(outer, inner) and _same_offset(outer, inner):
        return within(affine(part.map), affine(whole.map))
    if outer.has_nets or inner.has_nets:  # under a net of no effect its weights are not identified
        return False
    if hasattr(full.model, "logdensity"):
        designs = tuple([d.X for d in data.designs.values()] for data in (inner, outer))
        sets = (affine(part.map), affine(whole.map))
        return predictors_within((designs[0], designs[1]), (inner.offset, outer.offset), sets)
    return _same_offset(outer, inner) and _nested_by_name(restricted, whole, part)


def _same_columns(one: ModelData, other: ModelData) -> bool:
    mine, others = list(one.designs.values()), list(other.designs.values())
    return len(mine) == len(others) and all(_equal(a.X, b.X) for a, b in zip(mine, others, strict=True))


def _same_offset(one: ModelData, other: ModelData) -> bool:
    if one.offset is None or other.offset is None:
        return one.offset is other.offset
    return _equal(one.offset, other.offset)


def _nested_by_name(restricted: Estimates, whole: Point, part: Point) -> bool:
    """Return whether the full likelihood, with what the restricted one lacks at zero, has the same value there.

    An opaque likelihood does not say how parameters enter, so that its value is what shows it.
    """
    names = whole.map.names
    if not set(part.map.names) <= set(names):
        return False
    theta = pd.Series(part.map.theta(part.gamma).numpy(), index=list(part.map.names)).reindex(list(names), fill_value=0)
    at = torch.from_numpy(theta.to_numpy(dtype=np.float64).copy())
    try:
        gamma = whole.map.gamma(at)
    except OptionError:  # zero is outside the range of a parameter that the restricted model lacks
        return False
    gap = (whole.map.theta(gamma) - at).abs()
    if bool((gap > 1e-8 * (1 + at.abs())).any()):
        return False
    value = whole.objective.moments(whole.map.working(gamma), 0).llf
    return abs(value - restricted.llf) <= ROUNDING[whole.objective.dtype] * (1 + abs(value))


def comparable(full: Estimates, other: Any, what: str) -> tuple[Point, Point]:
    """Return the points of two fits whose log-likelihoods can be compared row by row, or raise."""
    _need_results(other, what)
    for results in (full, other):
        need_maximum(results, what)
        refuse_pseudo(results, what, "Compare predictions instead.")
        if not results.fit.objective.separable:
            raise UndefinedStatisticError(f"{what} needs log-likelihoods of single rows, and a fit has only their sum.")
    same_rows(full.model.data, other.model.data, what)
    return likelihood_point(full, what), likelihood_point(other, what)


def same_set(full: Estimates, other: Estimates, points: tuple[Point, Point]) -> bool:
    """Return whether one of two fits of the same likelihood is shown to be a special case of the other."""
    try:
        _same_likelihood(full, other)
    except OptionError:
        return False
    small, large = (full, other) if points[0].map.free < points[1].map.free else (other, full)
    part, whole = (points[0], points[1]) if small is full else (points[1], points[0])
    return _is_nested(large, small, whole, part)
