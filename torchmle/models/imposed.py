"""Turn constraints on named parameters into functions of gamma that a search can follow, checked at its start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import LikelihoodError, OptionError, TorchmleError
from ..inference.delta import as_function
from ..inference.profile import differentiable_theta
from ..optim.surface import Surface
from ..params.bounds import Bound
from ..params.conditions import Condition
from ..params.map import ParamMap

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

AGREE = 1e-4
"""Relative disagreement of autograd and differences that is no error of the differences."""

WIDTH = 1e-5
"""Half the distance of the points of a difference, in comparable units."""

Values = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Imposed:
    """Hold the constraints of a fit over a map: functions of theta, and what each of their M values is called.

    Attributes
    ----------
    functions : one for each condition, from (K,) parameters to its values.
    labels, equal : of each value: its name, and whether it is to be zero.
    exact : whether all are computed in double precision.
    """

    map: ParamMap
    functions: tuple[Values, ...]
    labels: tuple[str, ...]
    equal: Tensor
    exact: bool = True

    def at(self, x: Tensor) -> Surface:
        """Return values and derivatives in gamma."""
        at = x.detach().clone().requires_grad_()
        theta = differentiable_theta(self.map, at)
        values = torch.cat([function(theta) for function in self.functions])
        if len(values) != len(self.labels):
            raise LikelihoodError(f"The constraints gave {len(self.labels)} values at the start and {len(values)} now.")

        def bend(weights: Tensor) -> Tensor:
            return _hessian((weights * values).sum(), at)

        return Surface(values.detach(), _jacobian(values, at), bend)


def _jacobian(values: Tensor, at: Tensor) -> Tensor:
    """Return (M, F) derivatives, by rows or by columns, whichever are fewer."""
    if not values.requires_grad:
        return torch.zeros(len(values), len(at), dtype=torch.float64, device="cpu")
    if len(values) <= len(at):
        return torch.stack([_gradient(v, at) for v in values])
    along = torch.zeros_like(values, requires_grad=True)
    (pulled,) = torch.autograd.grad(values, at, along, create_graph=True)
    return torch.stack([_gradient(p, along) for p in pulled], 1)


def _gradient(value: Tensor, at: Tensor) -> Tensor:
    """Return the derivatives of one number, zero where it does not depend on the point."""
    found: Tensor | None = None
    if value.requires_grad:
        (found,) = torch.autograd.grad(value, at, retain_graph=True, allow_unused=True)
    return torch.zeros_like(at) if found is None else found.detach()


def _hessian(value: Tensor, at: Tensor) -> Tensor:
    first: Tensor | None = None
    if value.requires_grad:
        (first,) = torch.autograd.grad(value, at, create_graph=True, allow_unused=True)
    if first is None or not first.requires_grad:
        return torch.zeros(len(at), len(at), dtype=torch.float64, device="cpu")
    return torch.stack([_gradient(slope, at) for slope in first])


def impose(
    model: GenericLikelihoodModel,
    pmap: ParamMap,
    conditions: Sequence[Condition],
    bounds: Sequence[Bound],
    points: Sequence[Tensor],
) -> tuple[Tensor, Imposed]:
    """Return where to begin, the first of some points at which the constraints are finite, and them, bounds included.

    Raises
    ------
    LikelihoodError
        For functions that return no tensor made of the parameters, are not finite or not smooth, or fail.
    OptionError
        For unknown names, constraints on fixed parameters only, and more equations than free parameters.
    """
    fixed = {pmap.names[i] for i in pmap.fixed}
    listed = [*conditions, *(_of_bound(bound) for bound in bounds if bound.name not in fixed)]
    functions = [_function(model, pmap, one) for one in listed]
    labels: list[str] = []
    equal: list[bool] = []
    for one, function in zip(listed, functions, strict=True):
        values = function(pmap.theta(points[-1]))
        labels += [one.name] if len(values) == 1 else [f"{one.name}[{i}]" for i in range(len(values))]
        equal += [one.kind == "equality"] * len(values)
    exact = model.endog.dtype == torch.float64 or not any(one.takes_model for one in listed)
    marks = torch.tensor(equal, dtype=torch.bool, device="cpu")
    imposed = Imposed(pmap, tuple(functions), tuple(labels), marks, exact)
    x = next((point for point in points if imposed.at(point).finite), points[-1])
    _vet(imposed, x)
    if int(imposed.equal.sum()) > pmap.free:
        raise OptionError(
            f"{int(imposed.equal.sum())} equations are imposed on {pmap.free} free parameters; there can be no "
            "more of them."
        )
    return x, imposed


def _of_bound(bound: Bound) -> Condition:
    sign = 1.0 if bound.side == "lower" else -1.0
    text = f"{bound.name} {'>=' if bound.side == 'lower' else '<='} {bound.value:g}"
    return Condition("inequality", lambda p: sign * (p[bound.name] - bound.value), text, text)


def _function(model: GenericLikelihoodModel, pmap: ParamMap, one: Condition) -> Values:
    """Return a condition as a function of theta whose errors name it."""
    place: dict[str, Any] = {}
    given = one.given
    if one.takes_model:
        place = {"device": model.data.device, "dtype": model.endog.dtype}
        given = lambda p: one.given(p, model)  # noqa: E731 - it closes over the condition
    function = as_function(given, pmap.names)[0]
    kind = one.kind

    def values(theta: Tensor) -> Tensor:
        what = f"The constraint {one.name!r} ({kind})"
        try:
            return function(theta.to(**place) if place else theta).to(device="cpu", dtype=torch.float64)
        except TorchmleError as error:
            raise type(error)(f"{what}: {error}") from error
        except Exception as error:
            raise LikelihoodError(f"{what} failed at {_told(pmap, theta)}: {type(error).__name__}: {error}") from error

    return values


def _told(pmap: ParamMap, theta: Tensor) -> str:
    shown = [f"{n}={v:.6g}" for n, v in zip(pmap.names, theta.detach().tolist(), strict=True)]
    return ", ".join(shown[:8]) + (", ..." if len(shown) > 8 else "")


def _vet(imposed: Imposed, x: Tensor) -> None:
    """Check values and derivatives at the start and next to it."""
    generator = torch.Generator(device="cpu").manual_seed(17)
    noise, step = torch.randn(2, len(x), generator=generator, dtype=torch.float64, device="cpu") * (1 + x.abs())
    near = x + 1e-3 * noise
    try:
        start, here = imposed.at(x), imposed.at(near)
        bent = here.bend(torch.ones_like(here.values))
    except TorchmleError:
        raise
    except Exception as error:  # autograd has no derivative, or no second one
        raise LikelihoodError(f"The constraints cannot be differentiated twice: {error}") from error
    finite = torch.isfinite(start.values) & torch.isfinite(start.jacobian).all(1)
    for i in (~finite).nonzero().flatten().tolist():
        raise LikelihoodError(
            f"The constraint {imposed.labels[i]!r} is {float(start.values[i]):g} at the start "
            f"({_told(imposed.map, imposed.map.theta(x))}), or has derivatives there that are not finite. Give "
            "start_params at which it can be computed."
        )
    if here.finite and bool(torch.isfinite(bent).all()):  # else it ends near the start, and the search backs off there
        _compare(imposed, near, here, step)


def _compare(imposed: Imposed, x: Tensor, here: Surface, step: Tensor) -> None:
    """Compare values with those of a second call, and derivatives with differences along a step."""
    again = imposed.at(x).values
    ahead, behind = imposed.at(x + WIDTH * step).values, imposed.at(x - WIDTH * step).values
    slopes, found = (ahead - behind) / (2 * WIDTH), here.jacobian @ step
    allowed = AGREE * (slopes.abs() + found.abs()) + 1e-13 / WIDTH * here.values.abs()
    for i, label in enumerate(imposed.labels):
        one, other, slope, own = (float(values[i]) for values in (here.values, again, slopes, found))
        if one != other:
            raise LikelihoodError(
                f"The constraint {label!r} gives {one:.6g} and {other:.6g} for the same parameters. Draw random "
                "numbers once, outside of it."
            )
        if imposed.exact and abs(slope - own) > float(allowed[i]):
            raise LikelihoodError(
                f"The constraint {label!r} is not differentiated rightly: autograd gives the slope {own:.6g} where "
                f"differences give {slope:.6g}. Look for .item(), .detach(), float() and numpy in it, for rounding and "
                "comparisons; use torch functions of the parameters."
            )
        if not bool((here.jacobian[i] != 0).any()):
            raise OptionError(
                f"The constraint {label!r} depends on no free parameter, or is flat, as counts, comparisons and "
                "rounding are. Use a smooth function of parameters that are not fixed."
            )
