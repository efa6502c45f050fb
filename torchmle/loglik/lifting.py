"""Lift an opaque log-likelihood: the speed of the declarative form for an unchanged ``loglikeobs``.

Write ``u = (v_1(theta), ..., v_J(theta), t)``, with ``v_j`` the coefficients of each product of data found
by :class:`Watch` and ``t`` the parameters used anywhere else. Gradient and Hessian in u are sums over rows of
matrix products (plus one backward pass for each entry of t); the chain rule to theta is applied once, at dimension K:

    g = U' g_u        H = U' H_u U + sum_a (g_u)_a d2 u_a / d theta d theta',    U = du / dtheta
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..workers import derivatives_on
from .moments import Moments, to_host
from .objective import Chunk
from .opaque import OpaqueObjective
from .products import sum_products
from .watch import Lifted, Watch, entries_used, selection

PLAIN = "reverse-mode autograd in row chunks"

VERIFY_ROWS = 1_000
"""Rows on which lifted derivatives are compared with plain autograd before the fit."""


@dataclass(frozen=True)
class Cut:
    """Hold one watched run: values, predictors found, parameters, and which of their entries are used elsewhere."""

    values: Tensor
    found: list[Lifted]
    params: Tensor
    direct: list[int]


class LayoutError(RuntimeError):
    """Say that two parts of the rows take different products, so that they cannot be added up in u."""


class LiftedObjective(OpaqueObjective):
    """Sum an opaque log-likelihood through the linear predictors that it contains."""

    layout: tuple[int, ...] | None = None
    last: Cut | None = None

    def cut(self, working: Tensor, start: int, stop: int) -> Cut:
        """Run the likelihood on some rows and cut its graph at the products of data."""
        params = working.detach().clone().requires_grad_()
        with Watch(stop - start) as watch:
            values = self.row_values(params, start, stop)
        cut = Cut(values, watch.found, params, entries_used(values, params))
        layout = (*(f.X.shape[1] for f in cut.found), -1, *cut.direct)
        if self.layout is None:
            self.layout = layout
        if layout != self.layout:
            raise LayoutError("its products of data differ between parts of the rows")
        if start == 0:
            self.last = cut
        return cut

    def sum_moments(self, working: Tensor, order: int) -> Moments:
        """Return the log-likelihood with derivatives in theta: sums in u, then the chain rule once."""
        inner = super().sum_moments(working, order)
        if order == 0:
            return inner
        with derivatives_on(self.device):
            return _chain(inner, self._cut_at_start())

    def outer_products(self, working: Tensor, power: int, root: Tensor | None = None) -> Tensor:
        """Return ``sum w^power s s'`` for the scores in theta."""
        inner = super().outer_products(working, power, root)
        jacobian = self._to_theta()
        return jacobian.mT @ inner @ jacobian

    def group_scores(self, working: Tensor, codes: Tensor, count: int, root: Tensor | None = None) -> Tensor:
        """Return the (count, K) sums of weighted scores in theta by group."""
        return super().group_scores(working, codes, count, root) @ self._to_theta()

    def scores(self, working: Tensor) -> Tensor:
        """Return the unweighted (rows, K) scores in theta."""
        return super().scores(working) @ self._to_theta()

    def _cut_at_start(self) -> Cut:
        assert self.last is not None
        return self.last

    def _to_theta(self) -> Tensor:
        with derivatives_on(self.device):
            return to_host(_jacobian(self._cut_at_start()))

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over some rows, with respect to u."""
        if order == 0:
            return super().derivatives(working, start, stop, 0)
        cut = self.cut(working, start, stop)
        total = cut.values.sum() if self.weights is None else cut.values @ self.weights[start:stop]
        *by_eta, by_param = _grad(total, [*(f.eta for f in cut.found), cut.params], create_graph=order > 1)
        if order > 1:
            return Chunk(total, *_sums(cut, by_eta, by_param))
        parts = [f.X.mT @ d.detach() for f, d in zip(cut.found, by_eta, strict=True)]
        return Chunk(total, torch.cat([*parts, by_param.detach()[cut.direct]]), None)

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the scores of some rows in u."""
        cut = self.cut(working, start, stop)
        ones = torch.ones_like(cut.values, requires_grad=True)
        etas = [f.eta for f in cut.found]
        *by_eta, by_param = _grad((cut.values * ones).sum(), [*etas, cut.params], create_graph=bool(cut.direct))
        blocks = [f.X * d.detach()[:, None] for f, d in zip(cut.found, by_eta, strict=True)]
        for i in cut.direct:
            (column,) = _grad(by_param[i], [ones], retain_graph=True)
            blocks.append(column[:, None])
        return torch.cat(blocks, 1)


def lift(plain: OpaqueObjective, working: Tensor) -> tuple[OpaqueObjective, str]:
    """Return the lifted objective where it is right and gains something, else the plain one, with the reason.

    It is compared with plain autograd on a sample of the rows, at the start and at a point near it.
    """
    lifted = LiftedObjective(**plain.parts())
    try:
        with derivatives_on(plain.device):
            cut = lifted.cut(working.to(plain.device, plain.dtype), 0, min(plain.rows, plain.chunk))
        if not cut.found:
            return plain, f"{PLAIN} (no product of data with the parameters was found)"
        generator = torch.Generator(device="cpu").manual_seed(20)
        noise = torch.randn(len(working), generator=generator, dtype=torch.float64, device="cpu")
        index = torch.arange(0, plain.rows, max(1, plain.rows // VERIFY_ROWS), device=plain.device)
        for point in (working, working + (1e-3 * working.abs() + 1e-5) * noise):
            gap = disagreement(lifted.take(index).moments(point), plain.take(index), point)
            if not gap <= tolerance(plain.dtype):
                return plain, f"{PLAIN} (lifted derivatives differ by {gap:.1e})"
    except Exception as error:  # lifting is an optimisation: whatever it cannot do, plain autograd does
        return plain, f"{PLAIN} (lifting failed: {type(error).__name__}: {error})"
    return (
        lifted,
        f"lifted autograd ({_count(len(cut.found), 'linear predictor')}, {_count(len(cut.direct), 'other parameter')})",
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def tolerance(dtype: torch.dtype) -> float:
    """Return the relative agreement asked of a Hessian-vector product."""
    return 1e-7 if dtype == torch.float64 else 1e-2


def disagreement(moments: Moments, plain: OpaqueObjective, working: Tensor) -> float:
    """Return the largest gap of gradient and Hessian to plain reverse mode, free of units.

    The gradient is held against its own size or its standard deviation, an exact Hessian-vector product against the
    sum of the sizes of its terms. A part that plain autograd cannot give is not compared: the start check names rows.
    """
    generator = torch.Generator(device="cpu").manual_seed(19)
    direction = torch.randn(len(working), generator=generator, dtype=torch.float64, device="cpu")
    gradient, hessian = moments.gradient, moments.hessian
    assert gradient is not None
    assert hessian is not None
    direction = direction / hessian.diagonal().abs().sqrt().clamp(min=1e-150)
    exact_gradient, exact_product = plain.hessian_product(working, direction)
    size = torch.maximum(exact_gradient.abs(), 100 * hessian.diagonal().abs().sqrt())
    terms = (hessian.abs() @ direction.abs()).clamp(min=1e-300)
    gaps = torch.cat(
        [
            (gradient - exact_gradient).abs() / size.clamp(min=1e-300),
            (hessian @ direction - exact_product).abs() / terms,
        ]
    )
    known = torch.isfinite(torch.cat([exact_gradient, exact_product]))
    return float(gaps[known].max()) if bool(known.any()) else 0.0


def _grad(
    output: Tensor, inputs: list[Tensor], create_graph: bool = False, retain_graph: bool | None = None
) -> list[Tensor]:
    """Return derivatives, zero where there is no path."""
    if not output.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad(
        output, inputs, create_graph=create_graph, retain_graph=retain_graph or create_graph, allow_unused=True
    )
    return [torch.zeros_like(x) if d is None else d for d, x in zip(found, inputs, strict=True)]


def _sums(cut: Cut, by_eta: list[Tensor], by_param: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradient and Hessian in u: derivatives by row, and one backward pass for each direct parameter."""
    etas = [f.eta for f in cut.found]
    second: list[Sequence[Tensor | None]] = []
    for j, d in enumerate(by_eta):
        known = d.requires_grad
        second.append(
            torch.autograd.grad(d.sum(), etas[j:], retain_graph=True, allow_unused=True)
            if known
            else [None] * len(etas[j:])
        )
    crossed = [_grad(by_param[entry], [*etas, cut.params], retain_graph=True) for entry in cut.direct]
    more = [[row[j] for row in crossed] for j in range(len(etas))]
    sums = sum_products([f.X for f in cut.found], [d.detach() for d in by_eta], second, more)
    edge, size = len(sums.gradient), len(sums.gradient) + len(cut.direct)
    hessian = sums.gradient.new_zeros(size, size)
    hessian[:edge, :edge] = sums.hessian
    if cut.direct:
        hessian[edge:, edge:] = torch.stack([own[cut.direct] for *_, own in crossed])
        hessian[:edge, edge:] = torch.cat(sums.more)
        hessian[edge:, :edge] = hessian[:edge, edge:].mT
    return torch.cat([sums.gradient, by_param.detach()[cut.direct]]), hessian


def _jacobian(cut: Cut) -> Tensor:
    """Return du / dtheta: rows of the identity for slices of theta, backward passes for anything else."""
    eye = torch.eye(len(cut.params), dtype=cut.params.dtype, device=cut.params.device)
    blocks = []
    for f in cut.found:
        entries = selection(f.v, cut.params)
        if entries is not None:
            blocks.append(eye[entries])
        else:
            blocks.append(torch.stack([_grad(entry, [cut.params], retain_graph=True)[0] for entry in f.v]))
    return torch.cat([*blocks, eye[cut.direct]])


def _chain(inner: Moments, cut: Cut) -> Moments:
    """Return the moments in theta for those in u, the curvature of ``v(theta)`` included."""
    assert inner.gradient is not None
    jacobian = to_host(_jacobian(cut))
    gradient = jacobian.mT @ inner.gradient
    if inner.hessian is None:
        return Moments(inner.llf, gradient)
    hessian = jacobian.mT @ inner.hessian @ jacobian
    weights = inner.gradient.to(cut.params).tensor_split(_starts(cut)[1:])
    curved = [f.v @ w for f, w in zip(cut.found, weights, strict=False) if selection(f.v, cut.params) is None]
    if curved:
        (slope,) = _grad(torch.stack(curved).sum(), [cut.params], create_graph=True)
        if slope.requires_grad:
            hessian += to_host(torch.stack([_grad(s, [cut.params], retain_graph=True)[0] for s in slope]))
    return Moments(inner.llf, gradient, hessian)


def _starts(cut: Cut) -> list[int]:
    """Return where the coefficients of each predictor begin in u, and where the direct parameters do."""
    starts = [0]
    for f in cut.found:
        starts.append(starts[-1] + f.X.shape[1])
    return starts
