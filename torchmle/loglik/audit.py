"""Audit the derivatives of a user's log-likelihood: autograd against differences, row by row.

Some torch functions return wrong derivatives without a word (the Bessel functions return zero), and ``.detach()``,
``.item()``, rounding or float32 steps inside a likelihood do the same. A fit would then end somewhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import listing
from .objective import Objective

STEP = 1e-4
"""Step as a share of a row's log-likelihood, which no change of units alters."""

AGREE = 1e-3
"""Relative disagreement of a row's derivative that is no difference error."""

GRAIN = 1e-10
"""Relative jump of a row's value over a step of 1e-9 that float64 does not make."""


@dataclass(frozen=True)
class Finding:
    """Hold what an audit found: a sentence without the name of the likelihood."""

    text: str


def audit(
    objective: Objective,
    working: Callable[[Tensor], Tensor],
    jacobian: Callable[[Tensor], Tensor],
    gamma: Tensor,
    names: Sequence[str],
    noise: float = 0.0,
) -> Finding | None:
    """Return what is wrong with the derivatives at gamma, or None.

    Parameters
    ----------
    objective : the log-likelihood of a sample of the rows.
    working : gamma to working parameters; ``jacobian`` gives its (K, F) derivative.
    names : F names for the directions.
    noise : relative rounding of the values that the data bring along (a response far from zero); steps grow with it.
    """
    if objective.dtype != torch.float64:
        return None

    def scores_at(point: Tensor) -> Tensor:
        at = working(point)
        return (objective.scores(at) if objective.separable else _total(objective, at)) @ jacobian(point)

    generator = torch.Generator(device="cpu").manual_seed(17)
    units = _units(_values(objective, working, gamma), scores_at(gamma), gamma)
    gamma = gamma + 0.01 * units * torch.randn(len(gamma), generator=generator, dtype=torch.float64, device="cpu")
    here, scores = _values(objective, working, gamma), scores_at(gamma)
    signs = units * (torch.randint(0, 2, (len(gamma),), generator=generator, device="cpu") * 2 - 1)
    step = max(STEP, (100 * noise) ** 0.5)
    bad = _disagree(objective, working, gamma, signs, scores @ signs, step)
    if bad is _UNSETTLED:
        return Finding(
            "it is not smooth: differences over small steps do not settle. Look for round, floor, comparisons and "
            "random numbers; derivatives say nothing about such a function."
        )
    if bad is None:
        return _grainy(objective, working, gamma, signs, here, max(GRAIN, 10 * noise))
    for j, name in enumerate(names):
        unit = torch.zeros_like(gamma)
        unit[j] = units[j]
        one = _disagree(objective, working, gamma, unit, scores @ unit, step)
        if one is not None and one is not _UNSETTLED:
            return _finding(one, name, float(units[j]))
    return _finding(bad, "a combination of the parameters", 1.0)


@dataclass(frozen=True)
class _Gap:
    rows: int
    count: int
    ours: float
    theirs: float


_UNSETTLED = _Gap(0, 0, 0.0, 0.0)


def _units(values: Tensor, scores: Tensor, gamma: Tensor) -> Tensor:
    """Return the size of a move in each parameter that changes a row's log-likelihood by about its own size."""
    size = scores.square().mean(0).sqrt() / values[torch.isfinite(values)].square().mean().sqrt()
    typical = gamma.abs().clamp(min=1e-3)
    return torch.where(torch.isfinite(size) & (size > 0), torch.minimum(1 / size, 10 * (1 + gamma.abs())), typical)


def _total(objective: Objective, working: Tensor) -> Tensor:
    gradient = objective.moments(working, 1).gradient
    assert gradient is not None
    return gradient[None]


def _values(objective: Objective, working: Callable[[Tensor], Tensor], gamma: Tensor) -> Tensor:
    values = objective.values(working(gamma)).double().cpu()
    return values if objective.separable else values.sum()[None]


def _disagree(
    objective: Objective,
    working: Callable[[Tensor], Tensor],
    gamma: Tensor,
    direction: Tensor,
    slopes: Tensor,
    widest: float,
) -> _Gap | None:
    """Compare slopes along a direction with central differences of two steps, in rows where these agree themselves."""
    found = []
    for step in (widest, widest / 2):
        ahead, behind = (_values(objective, working, gamma + s * step * direction) for s in (1, -1))
        found.append((ahead - behind) / (2 * step))
    wide, narrow = found
    best = narrow + (narrow - wide) / 3
    size = 1e-3 * float(best[torch.isfinite(best)].abs().mean() if bool(torch.isfinite(best).any()) else 0.0)
    scale = torch.maximum(best.abs(), slopes.abs()).clamp(min=max(size, 1e-6))
    reliable = torch.isfinite(best) & ((wide - narrow).abs() <= 0.1 * AGREE * scale)
    if int(reliable.sum()) < 0.5 * int(torch.isfinite(best).sum()):
        return _UNSETTLED
    bad = reliable & ((slopes - best).abs() > AGREE * scale)
    if int(bad.sum()) <= 0.002 * len(bad):  # a kink may fall between two steps
        return None
    first = int(bad.nonzero()[0])
    return _Gap(len(bad), int(bad.sum()), float(slopes[first]), float(best[first]))


def _grainy(
    objective: Objective,
    working: Callable[[Tensor], Tensor],
    gamma: Tensor,
    direction: Tensor,
    here: Tensor,
    grain: float,
) -> Finding | None:
    """Find values that move in jumps, as float32 steps inside the likelihood make them."""
    if not objective.separable:
        return None
    ahead, behind = (_values(objective, working, gamma + s * 1e-9 * direction) for s in (1, -1))
    jump = (ahead - 2 * here + behind).abs() / (1 + here.abs())
    if float((jump > grain).double().mean()) < 0.02:
        return None
    return Finding(
        "its values move in jumps, as if parts of it were computed in float32 or rounded. Look for .float(), .half(), "
        "round, and torch.tensor(...) or torch.zeros(...) of parameters without dtype=self.endog.dtype."
    )


def _finding(gap: _Gap, name: str, unit: float) -> Finding:
    where = f"in {gap.count} of {gap.rows} rows" if gap.rows > 1 else "of the sum"
    return Finding(
        f"its derivative with respect to {name} is wrong {where}: autograd gives {gap.ours / unit:.6g}, differences "
        f"give {gap.theirs / unit:.6g}. Look for .detach(), .item(), float(...), round or a torch function without a "
        f"derivative ({listing(['torch.special.bessel_*', 'airy_ai', 'zeta'])})."
    )
