"""Aggregate a log-likelihood whose predictors are linear in some columns and a module of others.

With ``eta_j = X_j b_j + offset_j + net_j(Z_j; w_j)`` the derivatives by row are those in the predictors, as ever. The
columns of a module are its slopes ``D_j = d net_j / d w_j``, (n, P): the score is ``D_j' (dl/deta_j)`` and the Hessian
has ``D_j' diag(d2l / deta_j deta_k) D_k``, to which the curvature ``sum_i (dl/deta_ij) d2 net_j(z_i) / dw2`` is added
in the module's own block.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..config import chunk_rows
from ..errors import LikelihoodError
from .modules import call_with, parameter_names, to_vector
from .objective import Chunk
from .predictor import Density, Predictor, PredictorObjective, first_derivatives, second_derivatives
from .products import sum_products

LEAST = 2_048
"""Rows in a chunk at least: the slopes of a module take a backward pass for each weight, however few the rows."""


class Net:
    """Call a copy of a module, in evaluation mode, as a function of its weights and of the rows it takes.

    Parameters
    ----------
    module : the user's; it is copied, and never changed.
    name : what messages call it.
    centre, scale : (k,) taken off the rows, and what they are divided by, where they are standardised.
    """

    def __init__(self, module: nn.Module, name: str, centre: Tensor | None = None, scale: Tensor | None = None) -> None:
        self.module, self.name = copy.deepcopy(module).eval(), name
        self.centre, self.scale = centre, scale
        self.terms = parameter_names(self.module)
        self._cast: dict[str, nn.Module] = {}

    @property
    def size(self) -> int:
        """Return the number of weights."""
        return len(self.terms)

    def start(self) -> Tensor:
        """Return the weights of the module as it was given, in float64 on the CPU."""
        return to_vector(self.module).double().cpu()

    def __call__(self, weights: Tensor, Z: Tensor) -> Tensor:
        """Return the (n,) answers, differentiable in the weights and in the rows."""
        if self.centre is not None and self.scale is not None:
            Z = (Z - self.centre.to(Z)) / self.scale.to(Z)
        found = call_with(self._here(weights), weights, Z)
        if not isinstance(found, Tensor) or found.shape not in ((len(Z),), (len(Z), 1)):
            shape = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise LikelihoodError(
                f"The {self.name} returns {shape} for {len(Z)} rows; it must return one number a row, ({len(Z)},) or "
                f"({len(Z)}, 1)."
            )
        return found.reshape(-1)

    def _here(self, weights: Tensor) -> nn.Module:
        """Return the module in the dtype and on the device of some weights."""
        key = f"{weights.dtype} {weights.device}"
        if key not in self._cast:
            self._cast[key] = copy.deepcopy(self.module).to(weights.device, weights.dtype)
        return self._cast[key]


@dataclass(frozen=True)
class NetPart:
    """Hold a module with the rows it takes, and the position of the predictor that it is part of."""

    position: int
    net: Net
    Z: Tensor

    def take(self, index: Tensor) -> NetPart:
        """Return the part of some of the rows."""
        return replace(self, Z=self.Z[index])

    def tangent(self, weights: Tensor, rows: slice, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (n, P) slopes of the module and the (P, P) curvature of ``slope' net``.

        The gradient of ``v' net`` is linear in v: its derivatives in v are the slopes, in the weights the curvature.
        """
        at, v = (t.detach().clone().requires_grad_() for t in (weights, slope))
        (gradient,) = torch.autograd.grad((self.net(at, self.Z[rows]) * v).sum(), at, create_graph=True)
        slopes, curvature = at.new_zeros(len(v), len(at)), at.new_zeros(len(at), len(at))
        for p in range(len(at)):
            by_row, by_weight = torch.autograd.grad(gradient[p], (v, at), retain_graph=True, allow_unused=True)
            if by_row is not None:
                slopes[:, p] = by_row
            if by_weight is not None:
                curvature[p] = by_weight
        return slopes, curvature


class PartialObjective(PredictorObjective):
    """Sum a log-likelihood over rows through predictors of which some have a module; weights follow coefficients."""

    def __init__(
        self,
        predictors: Sequence[Predictor],
        parts: Sequence[NetPart],
        density: Density,
        weights: Tensor | None = None,
        index: Tensor | None = None,
        what: str = "logdensity",
    ) -> None:
        super().__init__(predictors, density, weights, index, what)
        self.parts = list(parts)
        self.sizes = [*self.sizes, *(part.net.size for part in self.parts)]
        self.cuts = [sum(self.sizes[:j]) for j in range(1, len(self.sizes))]
        self.chunk = max(chunk_rows(sum(self.sizes), self.device, self.dtype.itemsize), LEAST)
        self.engine = (
            "derivatives by row with respect to the predictors, then products with columns and slopes of modules"
        )

    def take(self, index: Tensor) -> PartialObjective:
        """Return the objective of some of the rows."""
        inner = index if self.index is None else self.index[index]
        weights = None if self.weights is None else self.weights[index]
        predictors, parts = [p.take(index) for p in self.predictors], [p.take(index) for p in self.parts]
        return PartialObjective(predictors, parts, self.density, weights, inner, self.what)

    def given(self) -> GivenWeights:
        """Return the same, to be differentiated in the coefficients only."""
        return GivenWeights(self.predictors, self.parts, self.density, self.weights, self.index, self.what)

    def split(self, working: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the coefficients, and the weights of each module."""
        pieces = working.tensor_split(self.cuts)
        count = len(self.predictors)
        return torch.cat(pieces[:count]), list(pieces[count:])

    def etas(self, columns: Sequence[Tensor], working: Tensor, rows: slice) -> list[Tensor]:
        """Return the predictors of some rows."""
        coefficients, weights = self.split(working)
        return self._added(self._linear(columns, coefficients, rows), self._answers(weights, rows))

    def _linear(self, columns: Sequence[Tensor], coefficients: Tensor, rows: slice) -> list[Tensor]:
        pieces = coefficients.tensor_split(self.cuts[: len(self.predictors) - 1])
        etas = [X @ b for X, b in zip(columns, pieces, strict=True)]
        known = [p.offset for p in self.predictors]
        return [eta if offset is None else eta + offset[rows] for eta, offset in zip(etas, known, strict=True)]

    def _answers(self, weights: Sequence[Tensor], rows: slice) -> list[Tensor]:
        return [part.net(w, part.Z[rows]) for part, w in zip(self.parts, weights, strict=True)]

    def _added(self, etas: list[Tensor], answers: Sequence[Tensor]) -> list[Tensor]:
        for part, answer in zip(self.parts, answers, strict=True):
            etas[part.position] = etas[part.position] + answer
        return etas

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over some rows."""
        rows = slice(start, stop)
        columns = [p.columns(rows) for p in self.predictors]
        if order == 0:
            with torch.no_grad():
                return Chunk(
                    self._weighted_sum(self._density(rows, self.etas(columns, working, rows)), rows), None, None
                )
        coefficients, pieces = self.split(working.detach())
        weights = [w.clone().requires_grad_() for w in pieces]
        answers = self._answers(weights, rows)
        etas = self._added(self._linear(columns, coefficients, rows), [a.detach() for a in answers])
        etas = [e.requires_grad_() for e in etas]
        total = self._weighted_sum(self._density(rows, etas), rows)
        first = first_derivatives(total, etas, create_graph=order > 1)
        if order == 1:
            return Chunk(total, torch.cat([*_products(columns, first), *self._backward(answers, weights, first)]), None)
        second = [second_derivatives(d, etas[j:], last=j == len(etas) - 1) for j, d in enumerate(first)]
        first = [d.detach() for d in first]
        found = [part.tangent(w, rows, first[part.position]) for part, w in zip(self.parts, weights, strict=True)]
        every, slopes, mixed = self._entries(columns, [D for D, _ in found], first, second)
        sums = sum_products(every, slopes, mixed)
        hessian, begin = sums.hessian, sum(self.sizes[: len(self.predictors)])
        for _, curvature in found:
            end = begin + len(curvature)
            hessian[begin:end, begin:end] += curvature
            begin = end
        return Chunk(total, sums.gradient, hessian)

    def _backward(self, answers: Sequence[Tensor], weights: Sequence[Tensor], first: Sequence[Tensor]) -> list[Tensor]:
        found = []
        for part, answer, w in zip(self.parts, answers, weights, strict=True):
            (slope,) = torch.autograd.grad((answer * first[part.position]).sum(), w, allow_unused=True)
            found.append(torch.zeros_like(w) if slope is None else slope)
        return found

    def _entries(
        self,
        columns: Sequence[Tensor],
        slopes: Sequence[Tensor],
        first: Sequence[Tensor],
        second: Sequence[Sequence[Tensor | None]],
    ) -> tuple[list[Tensor], list[Tensor], list[list[Tensor | None]]]:
        """Return columns and derivatives by row, each module being one more predictor."""
        of = [*range(len(columns)), *(part.position for part in self.parts)]
        mixed = [[second[min(p, q)][abs(p - q)] for q in of[a:]] for a, p in enumerate(of)]
        return [*columns, *slopes], [first[p] for p in of], mixed

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the scores of some rows."""
        rows = slice(start, stop)
        columns = [p.columns(rows) for p in self.predictors]
        _, weights = self.split(working)
        etas = [e.detach().requires_grad_() for e in self.etas(columns, working, rows)]
        first = first_derivatives(self._density(rows, etas).sum(), etas, create_graph=False)
        slopes = [p.tangent(w, rows, first[p.position])[0] for p, w in zip(self.parts, weights, strict=True)]
        of = [*range(len(columns)), *(part.position for part in self.parts)]
        return torch.cat([X * first[p][:, None] for X, p in zip([*columns, *slopes], of, strict=True)], 1)

    def row_products(self, working: Tensor, start: int, stop: int, power: int, root: Tensor | None) -> Tensor:
        """Return ``sum w^power s s'`` over some rows."""
        return super(PredictorObjective, self).row_products(working, start, stop, power, root)

    def row_derivatives(self, working: Tensor, rows: slice) -> Any:
        """Raise: what is made of these needs predictors that are linear in all parameters."""
        raise LikelihoodError(
            f"{self.what} has a predictor with a module, which is not linear in its weights; what was asked for needs "
            "predictors that are linear in all parameters."
        )


def _products(columns: Sequence[Tensor], first: Sequence[Tensor]) -> list[Tensor]:
    return [X.mT @ d for X, d in zip(columns, first, strict=True)]


class GivenWeights(PartialObjective):
    """Differentiate in the coefficients only: derivatives in the weights of modules are reported as zero."""

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over some rows."""
        if order == 0:
            return super().derivatives(working, start, stop, order)
        rows, (coefficients, weights) = slice(start, stop), self.split(working)
        columns = [p.columns(rows) for p in self.predictors]
        with torch.no_grad():
            etas = self._added(self._linear(columns, coefficients, rows), self._answers(weights, rows))
        etas = [e.requires_grad_() for e in etas]
        total = self._weighted_sum(self._density(rows, etas), rows)
        first = first_derivatives(total, etas, create_graph=order > 1)
        gradient, K = working.new_zeros(len(working)), len(coefficients)
        gradient[:K] = torch.cat(_products(columns, [d.detach() for d in first]))
        if order == 1:
            return Chunk(total, gradient, None)
        second = [second_derivatives(d, etas[j:], last=j == len(etas) - 1) for j, d in enumerate(first)]
        hessian = working.new_zeros(len(working), len(working))
        hessian[:K, :K] = sum_products(columns, [d.detach() for d in first], second).hessian
        return Chunk(total, gradient, hessian)
