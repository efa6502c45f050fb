"""Aggregate a log-likelihood that is any torch function of its parameters, by plain reverse mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..config import chunk_rows
from ..workers import derivatives_on, map_ranges
from .check import check_returned
from .moments import to_host
from .objective import Chunk, Objective

RowFunction = Callable[[slice | Tensor, Tensor], Tensor]
"""Takes the rows (a slice or an index) and the user's parameters; returns (rows,) log-likelihoods."""


class OpaqueObjective(Objective):
    """Sum an opaque log-likelihood over rows; K backward passes a chunk give its Hessian.

    Parameters
    ----------
    function : (rows, params) -> (rows,) log-likelihoods, or a scalar where ``separable`` is False.
    rows, params : number of rows and of parameters.
    columns : numbers in one row of the data, to size the chunks.
    separable : False if the function returns the sum only or its rows share information; it is then
        evaluated on all rows at once, and there are no scores by row.
    """

    def __init__(
        self,
        function: RowFunction,
        rows: int,
        params: int,
        device: torch.device,
        dtype: torch.dtype,
        *,
        columns: int,
        weights: Tensor | None = None,
        separable: bool = True,
        index: Tensor | None = None,
        rowwise: bool = True,
        what: str = "loglikeobs",
    ) -> None:
        self.function, self.rows, self.params, self.columns = function, rows, params, columns
        self.device, self.dtype, self.weights = device, dtype, weights
        self.separable, self.index, self.rowwise, self.what = separable, index, rowwise, what
        self.chunk = chunk_rows(columns, device, dtype.itemsize) if separable else rows

    def parts(self) -> dict[str, Any]:
        """Return the arguments that make the same objective."""
        names = (
            "function",
            "rows",
            "params",
            "device",
            "dtype",
            "columns",
            "weights",
            "separable",
            "index",
            "rowwise",
            "what",
        )
        return {name: getattr(self, name) for name in names}

    def take(self, index: Tensor) -> OpaqueObjective:
        """Return the objective of some of the rows."""
        inner = index if self.index is None else self.index[index]
        weights = None if self.weights is None else self.weights[index]
        return type(self)(**{**self.parts(), "rows": len(index), "weights": weights, "index": inner})

    def hessian_product(self, working: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient and the exact product of the Hessian with a direction, by plain reverse mode."""
        at = working.to(self.device, self.dtype)
        along = direction.to(self.device, self.dtype)

        def work(start: int, stop: int) -> Tensor:
            total = torch.zeros(2, self.params, dtype=torch.float64, device="cpu")
            with derivatives_on(self.device):
                for a, b in self._cuts(start, stop):
                    params = at.detach().clone().requires_grad_()
                    gradient = _gradient(OpaqueObjective._total(self, params, a, b), params, create_graph=True)
                    product = _gradient(gradient @ along, params, False) if gradient.requires_grad else 0 * along
                    total += to_host(torch.stack([gradient.detach(), product]))
            return total

        both = sum(map_ranges(work, self.rows, self.chunk, self.device), torch.zeros(()))
        return both[0], both[1]

    def as_whole(self) -> OpaqueObjective:
        """Return the same objective, evaluated on all rows at once."""
        whole = self.take(torch.arange(self.rows, device=self.device))
        whole.index, whole.separable, whole.chunk = self.index, False, self.rows
        return whole

    def row_values(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the log-likelihoods of some rows."""
        rows = slice(start, stop)
        values = self.function(rows if self.index is None else self.index[rows], working)
        return check_returned(values, stop - start if self.rowwise else 1, self.what)

    def _total(self, params: Tensor, start: int, stop: int) -> Tensor:
        values = self.row_values(params, start, stop)
        return values.sum() if self.weights is None else values @ self.weights[start:stop]

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over some rows."""
        if order == 0:
            with torch.no_grad():
                return Chunk(self._total(working, start, stop), None, None)
        params = working.detach().clone().requires_grad_()
        total = self._total(params, start, stop)
        gradient = _gradient(total, params, create_graph=order > 1)
        hessian = _jacobian(gradient, params) if order > 1 else None
        return Chunk(total, gradient, hessian)

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return scores by row: the gradient of ``sum(w l)`` is linear in w, so its derivative in w are the scores."""
        params = working.detach().clone().requires_grad_()
        values = self.row_values(params, start, stop)
        ones = torch.ones_like(values, requires_grad=True)
        gradient = _gradient((values * ones).sum(), params, create_graph=True)
        return _jacobian(gradient, ones).mT


def _gradient(total: Tensor, params: Tensor, create_graph: bool) -> Tensor:
    (found,) = torch.autograd.grad(total, params, create_graph=create_graph, allow_unused=True)
    return torch.zeros_like(params) if found is None else found


def _jacobian(vector: Tensor, inputs: Tensor) -> Tensor:
    """Return d vector / d inputs by one backward pass an entry."""
    rows = torch.zeros(len(vector), len(inputs), dtype=vector.dtype, device=vector.device)
    if vector.requires_grad:
        for i in range(len(vector)):
            (row,) = torch.autograd.grad(vector[i], inputs, retain_graph=i < len(vector) - 1, allow_unused=True)
            if row is not None:
                rows[i] = row
    return rows
