"""Elementwise functions whose derivatives are written in closed form."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

Curvatures: TypeAlias = tuple[Callable[[], Tensor], Callable[[], Tensor], Callable[[], Tensor]]


class _Curve(torch.autograd.Function):
    """``value(x)`` with derivative ``slope(x, value)``, itself differentiable: every order follows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Callable[..., Tensor], slope: Callable[..., Tensor]) -> Tensor:
        out = value(x)
        ctx.save_for_backward(x, out)
        ctx.slope = slope
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * ctx.slope(*ctx.saved_tensors), None, None


class Surface(ABC):
    """A function of two arguments, its slopes, and its curvatures aa, ab, bb, each made when asked for."""

    @abstractmethod
    def value(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the function."""

    @abstractmethod
    def slopes(self, a: Tensor, b: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives by a and by b."""

    @abstractmethod
    def curvatures(self, a: Tensor, b: Tensor, value: Tensor, d_a: Tensor, d_b: Tensor) -> Curvatures:
        """Return what computes the second derivatives by aa, ab and bb."""


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, surface: Surface) -> Tensor:
        out = surface.value(a, b)
        ctx.save_for_backward(a, b, out)
        ctx.surface = surface
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        a, b, out = ctx.saved_tensors
        if torch.is_grad_enabled():
            d_a, d_b = _Slopes.apply(a, b, (out,), ctx.surface)  # type: ignore[no-untyped-call]
        else:
            d_a, d_b = ctx.surface.slopes(a, b, out)
        return grads[0] * d_a, grads[0] * d_b, None  # autograd sums over the rows of a broadcast argument


class _Slopes(torch.autograd.Function):
    """The slopes; the value comes in a tuple, so that autograd takes it for a constant in the first pass."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, value: tuple[Tensor], surface: Surface) -> tuple[Tensor, Tensor]:
        d_a, d_b = surface.slopes(a, b, value[0])
        ctx.save_for_backward(a, b, d_a, d_b)
        ctx.value, ctx.surface = value[0], surface
        ctx.set_materialize_grads(False)  # the Hessian is asked for by rows: the other row must cost nothing
        return d_a, d_b

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        a, b, d_a, d_b = ctx.saved_tensors
        aa, ab, bb = ctx.surface.curvatures(a, b, ctx.value, d_a, d_b)
        sums: list[Any] = [None, None]
        for grad, row in zip(grads, ((aa, ab), (ab, bb)), strict=True):
            for i, curvature in enumerate(row if grad is not None else ()):
                sums[i] = grad * curvature() + (0.0 if sums[i] is None else sums[i])
        return *sums, None, None


def curve(x: Tensor, value: Callable[..., Tensor], slope: Callable[..., Tensor]) -> Tensor:
    """Return ``value(x)``, differentiated as ``slope(x, value)``."""
    if not torch.is_grad_enabled():
        return value(x)  # which spares an autograd node, as in the last backward pass
    return cast(Tensor, _Curve.apply(x, value, slope))  # type: ignore[no-untyped-call]


def surface(a: Tensor, b: Tensor, law: Surface) -> Tensor:
    """Return ``law.value(a, b)``, differentiated by its slopes and curvatures."""
    if not torch.is_grad_enabled():
        return law.value(a, b)
    return cast(Tensor, _Value.apply(a, b, law))  # type: ignore[no-untyped-call]
