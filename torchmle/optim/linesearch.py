"""Find a step that satisfies the strong Wolfe conditions, safe from rounding and from non-finite values."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .base import Evaluation, Problem

DECREASE, CURVATURE = 1e-4, 0.9


@dataclass(frozen=True)
class Trial:
    """Hold one trial: step length, point, value and slope along the direction."""

    length: float
    x: Tensor
    at: Evaluation
    slope: float


def wolfe(
    problem: Problem, x: Tensor, at: Evaluation, direction: Tensor, length: float, most: int = 40
) -> Trial | None:
    """Return a trial that satisfies the strong Wolfe conditions, or None.

    Bracketing and zoom after Nocedal and Wright (2006), algorithms 3.5 and 3.6. Where values agree to rounding, the
    slopes alone decide (the approximate Wolfe conditions of Hager and Zhang 2005), so that the search works down
    to the last digits.
    """
    assert at.gradient is not None
    slope = float(at.gradient @ direction)
    if not slope < 0:
        return None
    start = Trial(0.0, x, at, slope)
    rounding = problem.rounding * (abs(at.value) + 1)
    low, high = start, None
    for _ in range(most):
        trial = _evaluate(problem, x, direction, length)
        if (
            trial is None
            or not _decreases(start, trial, rounding)
            or (low.length > 0 and trial.at.value > low.at.value + rounding)
        ):
            high = Trial(length, x, at, abs(slope)) if trial is None else trial
        elif abs(trial.slope) <= -CURVATURE * slope:
            return trial
        elif trial.slope >= 0:
            high, low = low, trial
        else:
            if high is not None and (high.length - low.length) * trial.slope >= 0:
                high = low
            low = trial
        length = 2.5 * length if high is None else _between(low, high)
        if high is not None and abs(high.length - low.length) <= 1e-14 * max(high.length, low.length):
            break
    return low if low.length > 0 else None


def _evaluate(problem: Problem, x: Tensor, direction: Tensor, length: float) -> Trial | None:
    point = x + length * direction
    at = problem.evaluate(point, 1)
    if not at.finite or at.gradient is None:
        return None
    return Trial(length, point, at, float(at.gradient @ direction))


def _decreases(start: Trial, trial: Trial, rounding: float) -> bool:
    if trial.at.value <= start.at.value + DECREASE * trial.length * start.slope:
        return True
    near = trial.at.value <= start.at.value + rounding
    return near and trial.slope <= (2 * DECREASE - 1) * start.slope


def _between(low: Trial, high: Trial) -> float:
    """Return the minimum of the parabola through the low end's value and slope, kept inside the bracket."""
    width = high.length - low.length
    curvature = 2 * (high.at.value - low.at.value - low.slope * width) / width**2
    guess = low.length - low.slope / curvature if curvature > 0 else low.length + width / 2
    inner, outer = sorted((low.length + 0.1 * width, low.length + 0.9 * width))
    return min(max(guess, inner), outer)
