"""Aggregate any model of choices whose probabilities are a function of utilities and a few more parameters.

With utilities ``V_j = x_j'b`` and l the log-probability of a choice, autograd gives derivatives of l in the J utilities
and in the parameters t that are used otherwise; the rest is matrix products:

    score     sum_j x_j dl/dV_j,   dl/dt
    Hessian   sum_ij x_i (d2l/dV_i dV_j) x_j',   sum_j x_j d2l/dV_j dt',   d2l/dt dt'

Second derivatives in the utilities take J passes, unless the model knows them as a diagonal and a few products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import chunk_rows
from .check import check_returned
from .choice import ByUnit, Choices, rows_of_units
from .objective import Chunk
from .watch import entries_used

Kernel = Callable[[slice | Tensor, Tensor, Tensor, Choices], Tensor]
"""Takes situations, their utilities (S, J), all parameters (P,) and the choices; returns the (S,) log-probabilities of
these."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """Hold second derivatives of log-probabilities in utilities, ``diag(a) + sum_d k_d g_d g_d'`` in each situation.

    Attributes
    ----------
    diagonal : (S, J) a.
    scale : (S, D) k.
    vectors : (S, D, J) g.
    """

    diagonal: Tensor
    scale: Tensor
    vectors: Tensor


Bend = Callable[[slice | Tensor, Tensor, Tensor, Choices], Curvature | None]
"""Takes situations, utilities, all parameters and the choices; returns the curvature, None where it is not known."""


class UtilityObjective(ByUnit):
    """Sum the log-probabilities of the choices made.

    Parameters
    ----------
    kernel : from utilities to log-probabilities.
    params : P, of which the first K are the coefficients of the attributes.
    bend : gives second derivatives in the utilities; autograd does where it returns None.
    differences : whether the kernel depends on differences of utilities only. It then gets utilities less that of the
        chosen alternative, which loses no digits where attributes are far from zero.
    index : which situations of the model these are, None for all.
    """

    engine = "derivatives in the utilities by autograd, then matrix products"

    def __init__(
        self,
        choices: Choices,
        kernel: Kernel,
        bend: Bend,
        params: int,
        weights: Tensor | None = None,
        ends: Tensor | None = None,
        *,
        differences: bool = False,
        index: Tensor | None = None,
        what: str = "log_probabilities",
        width: int = 0,
    ) -> None:
        super().__init__(choices, weights, ends)
        self.kernel, self.bend, self.params, self.differences = kernel, bend, params, differences
        self.index, self.what, self.width = index, what, width
        J, K = choices.X.shape[1:]
        numbers = (J * (2 * K + J) + width) * max(1, len(choices) // max(1, self.rows))
        self.chunk = chunk_rows(numbers, self.device, self.dtype.itemsize)

    def take(self, index: Tensor) -> UtilityObjective:
        """Return the objective of some of the units."""
        weights = None if self.weights is None else self.weights[index]
        rows, ends = (index, None) if self.ends is None else rows_of_units(self.ends, index)
        return UtilityObjective(
            self.choices.take(rows),
            self.kernel,
            self.bend,
            self.params,
            weights,
            ends,
            differences=self.differences,
            index=rows if self.index is None else self.index[rows],
            what=self.what,
            width=self.width,
        )

    def _attributes(self, at: slice) -> tuple[Choices, Tensor]:
        part = self.choices.take(at)
        return part, part.differences() if self.differences else part.X

    def _rows(self, at: slice) -> slice | Tensor:
        return at if self.index is None else self.index[at]

    def _values(self, V: Tensor, params: Tensor, part: Choices, at: slice) -> Tensor:
        """Return the (S,) log-probabilities of the choices made."""
        return check_returned(self.kernel(self._rows(at), V, params, part), len(V), self.what)

    def row_values(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the log-likelihoods of some units."""
        at = self.situations(start, stop)
        part, X = self._attributes(at)
        values = self._values(X @ working[: X.shape[2]], working, part, at)
        return self.by_unit(values, self.units(start, stop)[0], stop - start)

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the scores of some units."""
        at = self.situations(start, stop)
        part, X = self._attributes(at)
        V, params = _leaves(X, working)
        values = self._values(V, params, part, at)
        direct = entries_used(values, params)
        ones = torch.ones_like(values, requires_grad=True)
        by_V, by_param = _grad((values * ones).sum(), [V, params], create_graph=bool(direct))
        scores = X.new_zeros(len(values), self.params)
        scores[:, : X.shape[2]] = torch.bmm(by_V.detach()[:, None, :], X)[:, 0]
        for entry in direct:
            scores[:, entry] += _grad(by_param[entry], [ones], retain_graph=True)[0]
        return self.by_unit(scores, self.units(start, stop)[0], stop - start)

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over some units."""
        at = self.situations(start, stop)
        part, X = self._attributes(at)
        w = self.units(start, stop)[1]
        if order == 0:
            with torch.no_grad():
                return Chunk(_total(self._values(X @ working[: X.shape[2]], working, part, at), w), None, None)
        V, params = _leaves(X, working)
        values = self._values(V, params, part, at)
        total = _total(values, w)
        by_V, by_param = _grad(total, [V, params], create_graph=order > 1)
        gradient = by_param.detach().clone()
        gradient[: X.shape[2]] += X.flatten(0, 1).mT @ by_V.detach().flatten()
        if order == 1:
            return Chunk(total, gradient, None)
        with torch.no_grad():
            bent = self.bend(self._rows(at), V, params, part)
        inner = _by_passes(X, V, by_V) if bent is None else _by_products(X, bent, w)
        direct = entries_used(values, params)
        return Chunk(total, gradient, self._hessian(X, (V, params), by_param, inner, direct))

    def _hessian(
        self, X: Tensor, leaves: tuple[Tensor, Tensor], by_param: Tensor, inner: Tensor, direct: list[int]
    ) -> Tensor:
        """Return the Hessian, given that in the coefficients at fixed other parameters."""
        K, flat = X.shape[2], X.flatten(0, 1)
        hessian = X.new_zeros(self.params, self.params)
        hessian[:K, :K] = inner
        for entry in direct:
            crossed, own = _grad(by_param[entry], list(leaves), retain_graph=True)
            column = flat.mT @ crossed.flatten()
            hessian[:K, entry] += column
            hessian[entry, :K] += column
            hessian[direct, entry] += own[direct]
        return hessian


def _by_passes(X: Tensor, V: Tensor, by_V: Tensor) -> Tensor:
    """Return ``sum x_i d2_ij x_j'`` by a backward pass for each alternative."""
    rows = [_grad(column.sum(), [V], retain_graph=True)[0] for column in by_V.unbind(1)]
    return X.flatten(0, 1).mT @ torch.bmm(torch.stack(rows, 1), X).flatten(0, 1)


def _by_products(X: Tensor, bent: Curvature, w: Tensor | None) -> Tensor:
    """Return the same of known second derivatives."""
    diagonal, scale = bent.diagonal, bent.scale
    if w is not None:
        diagonal, scale = diagonal * w[:, None], scale * w[:, None]
    flat, products = X.flatten(0, 1), torch.bmm(bent.vectors, X).flatten(0, 1)
    return flat.mT @ (flat * diagonal.reshape(-1, 1)) + products.mT @ (products * scale.reshape(-1, 1))


def _leaves(X: Tensor, working: Tensor) -> tuple[Tensor, Tensor]:
    """Return utilities and parameters as leaves of a graph."""
    at = working.detach()
    return (X @ at[: X.shape[2]]).requires_grad_(), at.clone().requires_grad_()


def _total(values: Tensor, w: Tensor | None) -> Tensor:
    return values.sum() if w is None else values @ w


def _grad(
    output: Tensor, inputs: list[Tensor], create_graph: bool = False, retain_graph: bool | None = None
) -> list[Tensor]:
    """Return derivatives, zero where there is no path."""
    if not output.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    keep = retain_graph or create_graph
    found = torch.autograd.grad(output, inputs, create_graph=create_graph, retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(x) if d is None else d for d, x in zip(found, inputs, strict=True)]
