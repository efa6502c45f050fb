"""Follow the log-likelihood along a parameter or a function of parameters, all else at its best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..loglik.objective import Objective
from ..optim.base import Evaluation, Options, Status, minimise
from ..optim.registry import make_optimizer
from ..params.map import ParamMap

TIGHT = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Scaled gradient at which a constrained maximum is one, by dtype."""

REACHED = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Distance from the level, in standard errors, at which an end is found."""

STEPS = 60
"""Values at which an end is looked for, at most."""

FAR = 4096.0
"""Standard errors from the estimate beyond which an interval is open."""


@dataclass(frozen=True)
class Local:
    """Hold a function of gamma at one point: value, gradient, Hessian (None where it is linear)."""

    value: float
    gradient: Tensor
    hessian: Tensor | None = None


Target = Callable[[Tensor], Local]


def linear_target(gradient: Tensor, constant: float) -> Target:
    """Return the function ``constant + gradient' gamma``."""
    return lambda gamma: Local(constant + float(gradient @ gamma), gradient)


def smooth_target(function: Callable[[Tensor], Tensor], pmap: ParamMap) -> Target:
    """Return a function of the reported parameters as one of gamma, with exact derivatives."""

    def target(gamma: Tensor) -> Local:
        at = gamma.detach().clone().requires_grad_()
        value = function(differentiable_theta(pmap, at))[0]
        if not value.requires_grad:
            return Local(float(value), torch.zeros_like(gamma))
        (first,) = torch.autograd.grad(value, at, create_graph=True)
        rows = [torch.zeros_like(at)] * len(at)
        if first.requires_grad:
            found = [torch.autograd.grad(f, at, retain_graph=True, allow_unused=True)[0] for f in first]
            rows = [torch.zeros_like(at) if row is None else row for row in found]
        return Local(float(value.detach()), first.detach(), torch.stack(rows).detach())

    return target


def differentiable_theta(pmap: ParamMap, gamma: Tensor) -> Tensor:
    """Return the reported parameters as a function that autograd can follow twice."""
    full = gamma if pmap.basis is None or pmap.origin is None else pmap.origin + pmap.basis @ gamma
    inner = full / pmap.scale
    link = inner if pmap.curve is None else pmap.curve.forward(inner)
    link = link if pmap.uncentre is None else pmap.uncentre @ link
    parts = [pmap.naturals[i].transform(v) if i in pmap.naturals else v for i, v in enumerate(link.unbind())]
    return torch.stack(parts)


class LevelSet:
    """Be minus the log-likelihood on the points where a function has one value, in one coordinate less.

    With ``gamma = centre + Z x + u t``, t follows from x by ``g(gamma) = level``. Where g is linear that is one
    division, else Newton's method in one number.
    """

    def __init__(self, objective: Objective, pmap: ParamMap, target: Target, centre: Tensor, bread: Tensor) -> None:
        self.objective, self.map, self.target, self.bread = objective, pmap, target, bread
        at = target(centre)
        self.estimate, self.se = at.value, math.sqrt(max(float(at.gradient @ bread @ at.gradient), 0.0))
        self.evaluations = 0
        self.move(centre, at.value)

    def move(self, centre: Tensor, level: float) -> None:
        """Go on to another level, with coordinates around a point near it."""
        at = self.target(centre)
        along = self.bread @ at.gradient
        self.centre, self.level = centre, level
        self.u = along / (at.gradient @ along)
        self.Z = torch.linalg.svd(at.gradient[None]).Vh[1:].mT.clone()
        self.t = level - at.value

    @property
    def rounding(self) -> float:
        """Return the relative error of a value."""
        return 1e-13 if self.objective.dtype == torch.float64 else 1e-6

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.objective.rows

    def evaluate(self, x: Tensor, order: int) -> Evaluation:
        """Return minus the log-likelihood with its derivatives along the level set."""
        self.evaluations += 1
        found = self.point(x)
        if found is None:
            return Evaluation(math.inf)
        gamma, at = found
        m = self.objective.moments(self.map.working(gamma), 2)
        assert m.gradient is not None
        assert m.hessian is not None
        gradient = -self.map.pull_gradient(m.gradient, gamma)
        hessian = -self.map.pull_hessian(m.hessian, m.gradient, gamma)
        multiplier = (self.u @ gradient) / (self.u @ at.gradient)
        tangent = self.Z - torch.outer(self.u, at.gradient @ self.Z) / (self.u @ at.gradient)
        if at.hessian is not None:
            hessian = hessian - multiplier * at.hessian
        return Evaluation(-m.llf, tangent.mT @ gradient, tangent.mT @ hessian @ tangent, (gamma, float(multiplier)))

    def point(self, x: Tensor) -> tuple[Tensor, Local] | None:
        """Return the point of the level set above x, or None where none is found."""
        base, t = self.centre + self.Z @ x, self.t
        unit = max(self.se, 1e-300)
        for _ in range(50):
            gamma = base + self.u * t
            at = self.target(gamma)
            gap, slope = at.value - self.level, float(self.u @ at.gradient)
            if not (math.isfinite(gap) and math.isfinite(slope)) or slope == 0:
                return None
            if abs(gap) <= 1e-12 * (unit + abs(self.level)):
                return gamma, at
            t -= gap / slope
        return None

    def outer_products(self, x: Tensor) -> Tensor:
        """Raise: Newton's method has no use for them."""
        raise NotImplementedError

    def batch(self, index: Tensor) -> LevelSet:
        """Raise: the level set is that of all rows."""
        raise NotImplementedError


@dataclass(frozen=True)
class Visit:
    """Hold the best point at one value: signed root of twice the fall, its slope, the point in gamma.

    ``distance`` is that of the value from the estimate in standard errors.
    """

    value: float
    distance: float
    llf: float
    root: float
    slope: float
    gamma: Tensor


@dataclass
class Path:
    """Hold the points visited on one side of the estimate, and how the search ended.

    ``end`` is the value where the fall reaches the level, infinite where it never does, NaN where that is not known.
    """

    visits: list[Visit] = field(default_factory=list)
    end: float = math.nan
    why: str = ""

    @property
    def rises(self) -> bool:
        """Return whether the log-likelihood was seen to rise again on the way."""
        return any(v.slope * v.distance < -1e-3 * v.root for v in self.visits)


def follow(level_set: LevelSet, top: float, side: int, goal: float) -> Path:
    """Look for the value at which twice the fall of the log-likelihood is ``goal^2``.

    Newton's method on the signed root, which is nearly linear, kept within what is known.

    Parameters
    ----------
    top : the maximised log-likelihood.
    side : -1 below the estimate, 1 above it.
    """
    path = Path()
    low, high, reach = 0.0, math.inf, math.inf
    centre, distance = level_set.centre, goal
    for _ in range(STEPS):
        visit = _visit(level_set, top, side, distance, centre)
        if visit is None:
            reach = (distance - low) / 2
            distance = low + reach
            if reach < 1e-3 * distance:
                path.why = "the constrained maximum was not found"
                return path
            continue
        if math.isnan(visit.root):
            path.why = f"a higher log-likelihood ({visit.llf:.8g}) was found: this fit is not at the highest maximum"
            return path
        path.visits.append(visit)
        if abs(visit.root - goal) <= REACHED[level_set.objective.dtype]:
            path.end = visit.value
            return path
        if visit.root > goal:
            high = min(high, distance)
        elif _is_open(visit, goal):
            path.end = side * math.inf
            return path
        else:
            low, centre, reach = distance, visit.gamma, 4 * reach
        distance = min(_next(visit, goal, low, high), low + reach)
    path.why = f"no end was found in {STEPS} steps"
    return path


def _is_open(visit: Visit, goal: float) -> bool:
    """Return whether the log-likelihood has become so flat that it will not fall to the level."""
    short = goal - visit.root
    return visit.distance >= FAR or short > abs(visit.slope) * 1e6 * visit.distance


def _next(visit: Visit, goal: float, low: float, high: float) -> float:
    """Return where to look next, in standard errors from the estimate."""
    step = (goal - visit.root) / visit.slope if visit.slope > 0 else math.inf
    proposed = visit.distance + step
    if math.isinf(high):
        return min(max(proposed, 1.01 * low), 2 * visit.distance, FAR)  # not over a second maximum
    return proposed if low < proposed < high else (low + high) / 2


def _visit(level_set: LevelSet, top: float, side: int, distance: float, centre: Tensor) -> Visit | None:
    """Return the best point at a distance from the estimate, or None if it was not found."""
    value = level_set.estimate + side * distance * level_set.se
    level_set.move(centre, value)
    tol = TIGHT[level_set.objective.dtype]
    at = level_set.evaluate(torch.zeros(level_set.Z.shape[1], dtype=torch.float64, device="cpu"), 2)
    if at.finite and level_set.Z.shape[1]:
        newton = make_optimizer("newton", Options(tol=tol), None, {})
        found = minimise(newton, level_set, torch.zeros_like(at.gradient), verdict_tol=tol)  # type: ignore[arg-type]
        if found.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if found.status is not Status.CONVERGED:
            return None
        at = found.at
    if not at.finite or at.source is None:
        return None
    gamma, multiplier = at.source
    fall = 2 * (at.value + top)
    noise = 1e4 * level_set.rounding * (1 + abs(top))
    root = math.nan if fall < -noise else math.sqrt(max(fall, 0.0))
    slope = side * multiplier * level_set.se / root if root > 0 else 0.0
    return Visit(value, distance, -at.value, root, slope, gamma)
