"""Give intervals by the profile of the likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from scipy import special
from torch import Tensor

from ..errors import ConvergenceWarning, OptionError, UndefinedStatisticError, unknown, warn
from ..inference.delta import as_function, value_and_jacobian
from ..inference.profile import LevelSet, Path, Target, follow, linear_target, smooth_target
from ..linalg import cholesky, inverse_spd
from .contrasts import squeezed
from .estimates import within_unit
from .hypotheses import need_maximum
from .point import Point, likelihood_point, refuse_bounds, refuse_pseudo
from .restricted import refuse_restricted

if TYPE_CHECKING:
    from .estimates import Estimates


@dataclass(frozen=True, eq=False, repr=False)
class Profile:
    """Hold the profile of the likelihood along a parameter or a function.

    Attributes
    ----------
    name : what was followed; ``estimate`` its value at the maximum.
    low, high : ends of the interval; infinite (or the edge of the range) where the likelihood never falls far enough,
        NaN where the end was not found.
    points : the values visited: ``value``, ``llf`` and ``root``, the signed root of twice the fall of ``llf``.
    """

    name: str
    estimate: float
    low: float
    high: float
    alpha: float
    points: pd.DataFrame
    notes: tuple[str, ...] = ()

    def conf_int(self) -> tuple[float, float]:
        """Return the ends of the interval."""
        return self.low, self.high

    @property
    def table(self) -> pd.DataFrame:
        """Return the points visited."""
        return self.points.copy()

    def summary_frame(self) -> pd.DataFrame:
        """Return estimate and interval as a table of one row."""
        columns = {"coef": self.estimate, "Conf. Int. Low": self.low, "Conf. Int. Upp.": self.high}
        return pd.DataFrame(columns, index=[self.name])

    def __str__(self) -> str:
        how = f"{100 * (1 - self.alpha):g} % interval by the profile of the likelihood."
        return squeezed(self.summary_frame(), [how, *self.notes])

    __repr__ = __str__


@dataclass(frozen=True)
class Route:
    """Hold what is followed: a function of gamma, and how its values are shown."""

    name: str
    target: Target
    show: Callable[[float], float]


def profile(results: Estimates, given: Any, alpha: float) -> Profile:
    """Return the profile; see :meth:`Results.profile`."""
    point = _prepared(results)
    level, goal = within_unit(alpha), _goal(alpha)
    return _along(results, point, _route(results, point, given), level, goal)


def profile_intervals(results: Estimates, alpha: float) -> pd.DataFrame:
    """Return profile intervals of all parameters; fixed ones have their value at both ends."""
    point = _prepared(results)
    level, goal = within_unit(alpha), _goal(alpha)
    ends: dict[str, tuple[float, float]] = {}
    for i, name in enumerate(results.names):
        if i in results.fit.map.fixed:
            ends[name] = (float(results.params[name]),) * 2
        else:
            ends[name] = _along(results, point, _route(results, point, name), level, goal).conf_int()
    return pd.DataFrame.from_dict(ends, orient="index", columns=[0, 1])


def _goal(alpha: float) -> float:
    return float(special.ndtri(1 - within_unit(alpha) / 2))


def _prepared(results: Estimates) -> Point:
    what = "A profile of the likelihood"
    need_maximum(results, what)
    refuse_restricted(results, what, "Use Wald intervals.")
    refuse_pseudo(results, what, "Use Wald intervals.")
    refuse_bounds(results, what)
    if results.record.arguments.get("bounds"):
        raise OptionError("A profile of the likelihood is not available for a fit under bounds. Fit without them.")
    return likelihood_point(results, what)


def _route(results: Estimates, point: Point, given: Any) -> Route:
    """Return what is to be followed: a parameter by name, or a function."""
    pmap = point.map
    if isinstance(given, str) and given in pmap.names:
        route = _parameter(pmap, given)
        if route is not None:
            return route
    function, labels = as_function([f"`{given}`"] if given in pmap.names else given, pmap.names)
    theta = pmap.theta(point.gamma)
    values, jacobian = value_and_jacobian(function, theta)
    if len(values) != 1:
        raise OptionError(f"A profile follows one number, and the function gives {len(values)}. Profile each alone.")
    if not bool((jacobian @ pmap.jacobian(point.gamma) != 0).any()):
        raise OptionError("The function does not move with the free parameters, so that there is no profile of it.")
    name = given if isinstance(given, str) else labels[0] if labels else "f"
    return Route(name, smooth_target(function, pmap), lambda value: value)


def _parameter(pmap: Any, name: str) -> Route | None:
    """Return the route of one parameter by a coordinate in which it is linear, or None if there is none."""
    i = pmap.names.index(name)
    if i in pmap.fixed:
        raise OptionError(f"{name!r} is fixed, so that there is no profile of it.")
    zero = torch.zeros(pmap.free, dtype=torch.float64, device="cpu")
    if pmap.curve is None:
        natural = pmap.naturals.get(i)
        show = (lambda value: value) if natural is None else _shown(natural.transform)
        return Route(name, linear_target(pmap.link_jacobian(zero)[i], float(pmap.link(zero)[i])), show)
    position = pmap.curve.position(i)
    if position is None:
        return None
    show = (lambda value: value) if i in pmap.curve.plain else _shown(pmap.curve.piece(i).transform.forward)
    return Route(name, linear_target(pmap.inner_jacobian()[position], float(pmap.inner(zero)[position])), show)


def _shown(transform: Callable[[Tensor], Tensor]) -> Callable[[float], float]:
    """Return a transform as a function of numbers."""
    return lambda value: float(transform(torch.tensor([value], dtype=torch.float64, device="cpu"))[0])


def _along(results: Estimates, point: Point, route: Route, alpha: float, goal: float) -> Profile:
    """Follow a route to both sides."""
    top = point.objective.moments(point.working, 2)
    assert top.gradient is not None
    assert top.hessian is not None
    factor = cholesky(-point.map.pull_hessian(top.hessian, top.gradient, point.gamma))
    if factor is None:
        raise UndefinedStatisticError("A profile needs a positive definite information at the estimates.")
    ends, rows, notes = [], [], []
    for side in (-1, 1):
        level_set = LevelSet(point.objective, point.map, route.target, point.gamma, inverse_spd(factor))
        path = follow(level_set, top.llf, side, goal)
        ends.append(_end(path, route))
        rows += [(route.show(v.value), v.llf, side * v.root) for v in path.visits]
        notes += _notes(path, route.name, side)
    centre = route.show(level_set.estimate)
    table = pd.DataFrame([*rows, (centre, top.llf, 0.0)], columns=["value", "llf", "root"])
    low, high = (min(ends), max(ends)) if not any(map(math.isnan, ends)) else ends
    shown = table.sort_values("value").reset_index(drop=True)
    return Profile(route.name, centre, low, high, alpha, shown, tuple(notes))


def _end(path: Path, route: Route) -> float:
    shown = route.show(path.end)
    return path.end if math.isnan(shown) and math.isinf(path.end) else shown


def _notes(path: Path, name: str, side: int) -> list[str]:
    """Return what to know about one end; where it was not found, warn."""
    where = "lower" if side < 0 else "upper"
    if path.rises and not path.why:
        return [f"Towards the {where} end the log-likelihood falls and rises again: not all values within are likely."]
    if math.isinf(path.end):
        return [f"Open {'below' if side < 0 else 'above'}: the log-likelihood never falls far enough."]
    if path.why:
        text = f"The {where} end of the profile interval of {name!r} is NaN: {path.why}."
        warn(text, ConvergenceWarning)
        return [text]
    return []


METHODS = ("wald", "profile", "bootstrap")


def check_method(method: object) -> None:
    """Raise unless a method of intervals exists."""
    if method not in METHODS:
        raise OptionError(unknown("method of conf_int():", method, METHODS))
