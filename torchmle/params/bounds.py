"""Read bounds on parameters as inequalities in the coordinates of the optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import OptionError, unknown
from .constraints import inner_rows, refuse_blocks
from .map import ParamMap


@dataclass(frozen=True)
class Bound:
    """Hold one end of the range that a user allows a parameter; ``side`` is ``"lower"`` or ``"upper"``."""

    name: str
    side: str
    value: float


def read_bounds(pmap: ParamMap, given: Mapping[str, Any]) -> list[Bound]:
    """Return the finite ends of bounds such as ``{"educ": (0, None)}``, in reported units.

    Raises
    ------
    OptionError
        For unknown names, pairs that are no interval, and bounds that the range of a parameter excludes.
    """
    found = []
    for name, pair in given.items():
        if name not in pmap.names:
            raise OptionError(unknown("parameter in bounds:", name, pmap.names))
        refuse_blocks(pmap, pmap.names.index(name), f"bounds={{{name!r}: ...}}")
        low, high = _pair(name, pair)
        if low > high:
            raise OptionError(f"bounds[{name!r}] = ({low:g}, {high:g}): the lower end is above the upper one.")
        if low == high:
            raise OptionError(f"bounds[{name!r}] leaves one value only; use fixed={{{name!r}: {low:g}}} to hold it.")
        found += [Bound(name, side, end) for side, end in (("lower", low), ("upper", high)) if math.isfinite(end)]
    return [bound for bound in found if not _implied(pmap, bound)]


def _pair(name: str, pair: Any) -> tuple[float, float]:
    if not isinstance(pair, (tuple, list, np.ndarray)) or len(pair) != 2:
        raise OptionError(f"bounds[{name!r}] is {pair!r}; it must be a pair (low, high), with None for no bound.")
    wrong = OptionError(f"bounds[{name!r}] is {pair!r}; its ends must be numbers or None.")
    if any(isinstance(end, (bool, np.bool_, str)) for end in pair):
        raise wrong
    try:
        low = -math.inf if pair[0] is None else float(pair[0])
        high = math.inf if pair[1] is None else float(pair[1])
    except (TypeError, ValueError) as error:
        raise wrong from error
    if math.isnan(low) or math.isnan(high) or low == math.inf or high == -math.inf:
        raise wrong
    return low, high


def _implied(pmap: ParamMap, bound: Bound) -> bool:
    """Return whether the range of a transformed parameter is inside a bound anyway."""
    position = pmap.names.index(bound.name)
    middle = torch.zeros(1, dtype=torch.float64, device="cpu")
    value = torch.tensor([bound.value], dtype=torch.float64, device="cpu")
    if position in pmap.naturals:
        natural = pmap.naturals[position]
        inside, link = natural.transform(middle), natural.inverse(value)
    elif pmap.curve is not None and position not in pmap.curve.plain:
        transform = pmap.curve.piece(position).transform
        inside, link = transform.forward(middle), transform.inverse(value)
    else:
        return False
    if bool(torch.isfinite(link).all()):
        return False
    if (float(inside) > bound.value) == (bound.side == "lower"):
        return True
    raise OptionError(f"bounds[{bound.name!r}]: no value of {bound.name!r} is {_words(bound)}.")


def _words(bound: Bound) -> str:
    return f"{'at least' if bound.side == 'lower' else 'at most'} {bound.value:g}"


def inequalities(pmap: ParamMap, bounds: list[Bound]) -> tuple[Tensor, Tensor]:
    """Return ``A`` and ``low`` of the inequalities ``A gamma >= low``, one for each bound.

    Raises
    ------
    OptionError
        If a parameter that the constraints hold lies outside its bounds.
    """
    K = len(pmap.names)
    rows = torch.zeros(len(bounds), K, dtype=torch.float64, device="cpu")
    values = torch.zeros(len(bounds), dtype=torch.float64, device="cpu")
    for r, bound in enumerate(bounds):
        position = pmap.names.index(bound.name)
        value = torch.tensor(bound.value, dtype=torch.float64, device="cpu")
        rows[r, position] = 1.0
        values[r] = pmap.naturals[position].to_link(value) if position in pmap.naturals else value
    inner, low = inner_rows(pmap, rows, values)
    A = inner @ pmap.inner_jacobian()
    if pmap.origin is not None:
        low = low - inner @ (pmap.origin / pmap.scale)
    signs = torch.tensor([_sign(pmap, bound) for bound in bounds], dtype=torch.float64, device="cpu")
    A, low = A * signs[:, None], low * signs
    size = (inner / pmap.scale).abs().amax(1)
    for r, bound in enumerate(bounds):
        if float(A[r].abs().max()) <= 1e-12 * float(size[r]) and float(low[r]) > 0:
            raise OptionError(f"bounds[{bound.name!r}]: the constraints hold it outside, not {_words(bound)}.")
    return A, low


def _sign(pmap: ParamMap, bound: Bound) -> float:
    """Return 1 if the link value must be above that of the bound, else -1."""
    sign = 1.0 if bound.side == "lower" else -1.0
    natural = pmap.naturals.get(pmap.names.index(bound.name))
    if natural is None:
        return sign
    return sign * math.copysign(1.0, float(natural.derivatives(torch.zeros((), dtype=torch.float64, device="cpu"))[1]))


def feasible(A: Tensor, low: Tensor, gamma: Tensor) -> Tensor:
    """Return the point that satisfies the inequalities nearest to gamma (largest move of a coordinate).

    Raises
    ------
    OptionError
        If there is none.
    """
    if bool((A @ gamma >= low).all()):
        return gamma
    from scipy.optimize import linprog

    F = len(gamma)
    eye, ones = np.eye(F), np.ones((F, 1))
    above = np.block([[-A.numpy(), np.zeros((len(A), 1))], [eye, -ones], [-eye, -ones]])
    limit = np.concatenate([-(low - A @ gamma).numpy(), np.zeros(2 * F)])
    answer = linprog(np.r_[np.zeros(F), 1.0], A_ub=above, b_ub=limit, bounds=[(None, None)] * (F + 1), method="highs")
    if answer.status != 0 or answer.x is None:
        raise OptionError("The bounds and constraints contradict each other: no parameter values satisfy them all.")
    return gamma + torch.from_numpy(np.asarray(answer.x[:F], dtype=np.float64).copy())
