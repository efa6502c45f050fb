"""Find the parameter of a model that is at the edge of its range in a smaller one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import OptionError, listing, unknown
from .identify import RISING
from .point import Point, likelihood_point

if TYPE_CHECKING:
    from .estimates import Estimates

CLOSE = 1e-6
"""Relative gap of two log-likelihoods within which a model near the edge is the one at the edge."""

NEAR = (9.0, 14.0, 18.0, 23.0)
"""Free numbers, of either sign, by which an edge is neared: exp(-23) is 1e-10."""


def edge_of(full: Estimates, restricted: Estimates, edge: str | None) -> str:
    """Return the name of the parameter at its edge, after it is shown that the restricted model is the full one there.

    Raises
    ------
    OptionError
        If it is no special case, none or several parameters are at an edge, or others lose their meaning there.
    """
    whole, part = likelihood_point(full, "boundary_test()"), likelihood_point(restricted, "boundary_test()")
    if edge is not None and edge not in whole.map.names:
        raise OptionError(unknown("parameter in edge:", edge, whole.map.names))
    theta = dict(zip(part.map.names, part.map.theta(part.gamma).tolist(), strict=True))
    missing = [name for name in whole.map.names if name not in theta]
    at = torch.tensor([theta.get(name, 0.0) for name in whole.map.names], dtype=torch.float64, device="cpu")
    if set(theta) <= set(whole.map.names):
        gap = _gap(whole, at, restricted.llf)
        if gap <= CLOSE:
            return _inside_or_edge(full, restricted, missing, at, edge)
        for name in [edge] if edge in missing else missing:
            near = _nearest(whole, at, whole.map.names.index(name), restricted.llf)
            if near is not None:
                _refuse_idle(whole, near, [m for m in missing if m != name], name)
                return name
    raise OptionError(
        "boundary_test(): with no single parameter at the edge of its range is this model the restricted one on these "
        "rows (columns, offset and likelihood count). With several parameters at their edges the law is another "
        "mixture, which is not computed here; take one away at a time."
    )


def _inside_or_edge(full: Estimates, restricted: Estimates, missing: list[str], at: Tensor, edge: str | None) -> str:
    """Return the one parameter whose value in the restricted model is an end of its bounds, or the one named."""
    bounds = full.record.arguments.get("bounds") or {}
    names, pmap = full.names, restricted.fit.map
    gone = {*missing, *(pmap.names[i] for i in pmap.fixed)} - {names[i] for i in _fixed(full)}
    found = [n for n in names if n in gone and _is_end(float(at[names.index(n)]), bounds.get(n))]
    if edge is not None:
        found = sorted({*found, edge}) if edge in gone else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise OptionError(
            f"boundary_test(): of what the restricted model lacks or holds ({listing(sorted(gone)) or 'no parameter'}) "
            "nothing is at the edge of its range in this fit, so that the ratio has its usual law: use lr_test(). "
            "Where zero is an edge because a sign means nothing (a standard deviation), say which: edge='...'."
        )
    raise OptionError(
        f"boundary_test(): {listing(found)} are at their edges at once; the law is a mixture that is not computed "
        "here. Take one away at a time."
    )


def _fixed(full: Estimates) -> list[int]:
    """Return the parameters that the full fit was not free to move; those at a bound were."""
    return [i for i in full.fit.map.fixed if i not in full.fit.map.at_bound]


def _is_end(value: float, bound: tuple[float | None, float | None] | None) -> bool:
    ends = [] if bound is None else [end for end in bound if end is not None]
    return any(abs(value - end) <= 1e-9 * (1 + abs(end)) for end in ends)


def _gap(whole: Point, theta: Tensor, llf: float) -> float:
    """Return the relative gap of the log-likelihood at reported parameters to another; inf where there is none."""
    try:
        gamma = whole.map.gamma(theta)
    except OptionError:
        return math.inf
    if bool(((whole.map.theta(gamma) - theta).abs() > 1e-8 * (1 + theta.abs())).any()):
        return math.inf
    gap = abs(whole.objective.moments(whole.map.working(gamma), 0).llf - llf) / (1 + abs(llf))
    return gap if math.isfinite(gap) else math.inf


def _nearest(whole: Point, theta: Tensor, position: int, llf: float) -> Tensor | None:
    """Return a point near an edge of one parameter at which the model is the restricted one, or None."""
    found: list[tuple[float, Tensor]] = []
    for value in _nearing(whole, position):
        at = theta.clone()
        at[position] = value
        found.append((_gap(whole, at, llf), at))
    gap, best = min(found, key=lambda f: f[0])
    return best if gap <= CLOSE else None


def _nearing(whole: Point, position: int) -> Iterator[float]:
    """Return reported values of a parameter that run to either end of its range."""
    for number in [s * x for s in (-1.0, 1.0) for x in NEAR]:
        free = torch.tensor([number], dtype=torch.float64, device="cpu")
        natural, curve = whole.map.naturals.get(position), whole.map.curve
        if natural is not None:
            yield float(natural.transform(free[0]))
        elif curve is None or position in curve.plain:
            yield number
        elif curve.piece(position).transform.elementwise:
            yield float(curve.piece(position).transform.forward(free)[0])


def _refuse_idle(whole: Point, near: Tensor, others: list[str], name: str) -> None:
    """Refuse where parameters that the restricted model lacks change nothing at the edge: no known law holds."""
    llf = whole.objective.moments(whole.map.working(whole.map.gamma(near)), 0).llf
    for other in others:
        at, i = near.clone(), whole.map.names.index(other)
        at[i] += float(1 / whole.map.scale[i])
        if _gap(whole, at, llf) <= CLOSE:
            raise OptionError(
                f"boundary_test(): where {name} is at its edge {other} means nothing, and the law of the ratio is not "
                f"known (Davies 1987). Test a model without {other}."
            )


def edge_notes(results: Estimates) -> list[str]:
    """Return what the summary says of parameters at a bound or at the edge of their range: which law tests them."""
    fit, weights = results.fit, results.model.data.weights
    held = [results.names[i] for i, side in fit.map.at_bound.items() if side in ("lower", "upper")]
    if weights is not None and weights.kind == "sampling_weights":
        return []
    if held and len(fit.map.at_bound) > 1:
        return [f"Likelihood ratios of {listing(held)} have no chi2 law while all are at bounds; bound one at a time."]
    if held and fit.converged:
        return [f"{held[0]} is at a bound: {LAW}; see boundary_test({held[0]!r})."]
    return [f"{results.names[i]} is at the edge of its range: {LAW}; see boundary_test()." for i in _run_out(results)]


LAW = "its likelihood ratio has the law half chi2(0), half chi2(1)"
"""That of one parameter at the edge of its range (Self and Liang 1987, case 5)."""


def _run_out(results: Estimates) -> list[int]:
    """Return the natural parameters that ran to an end of their range at which the log-likelihood levels off."""
    fit = results.fit
    gradient, hessian = fit.derivatives
    level = RISING * fit.nobs
    return [
        i
        for i in fit.map.naturals
        if not fit.converged and abs(float(gradient[i])) <= level and abs(float(hessian[i, i])) <= level
    ]
