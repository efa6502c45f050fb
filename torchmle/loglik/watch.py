"""Watch one run of a log-likelihood and cut its graph at products of data with functions of the parameters.

Each product ``data @ v(params)`` gives linear predictors. They become leaves of the graph, so that derivatives by row
need only vectors, and the rest is matrix products, as for a declarative model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

MATMUL = {
    torch.matmul,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.mv,
    torch.Tensor.mv,
    torch.mm,
    torch.Tensor.mm,
}
REVERSED = {torch.Tensor.__rmatmul__}


@dataclass(frozen=True)
class Lifted:
    """Hold one linear predictor found: its columns, its coefficients with their graph, and the leaf in its place."""

    X: Tensor
    v: Tensor
    eta: Tensor


class Watch(TorchFunctionMode):
    """Replace products of row data with functions of the parameters by leaves, and remember them in order."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.found: list[Lifted] = []

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        pair = _operands(function, args, kwargs)
        if pair is not None:
            lifted = self._lift(*pair)
            if lifted is not None:
                return lifted
        return function(*args, **kwargs)

    def _lift(self, data: Tensor, v: Tensor) -> Tensor | None:
        """Return the leaves that stand for ``data @ v``, in its shape, or None if this is no such product."""
        if data.requires_grad or not v.requires_grad or data.ndim < 2 or data.shape[0] != self.rows:
            return None
        if data.shape[-1] != v.shape[0] or v.ndim > 2 or data.ndim > 3 or (data.ndim == 3 and v.ndim == 2):
            return None
        if v.ndim == 2:
            return torch.stack([self._leaf(data, v[:, j]) for j in range(v.shape[1])], dim=1)
        if data.ndim == 3:
            return torch.stack([self._leaf(data[:, j], v) for j in range(data.shape[1])], dim=1)
        return self._leaf(data, v)

    def _leaf(self, X: Tensor, v: Tensor) -> Tensor:
        eta = (X @ v.detach()).requires_grad_()
        self.found.append(Lifted(X, v, eta))
        return eta.clone()  # user code may go on in place, which a leaf does not allow


def _operands(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> tuple[Tensor, Tensor] | None:
    """Return data and coefficients of a product, the data with the summed axis last, or None."""
    if function in MATMUL and len(args) == 2 and not kwargs:
        return _matmul(*args)
    if function in REVERSED and len(args) == 2:
        return _matmul(args[1], args[0])
    if function is torch.einsum and len(args) >= 2 and isinstance(args[0], str):
        operands = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
        return _einsum(args[0], operands) if len(operands) == 2 else None
    if function is torch.nn.functional.linear and len(args) == 2 and not kwargs:
        data, weight = args
        return (data, weight.mT if weight.ndim == 2 else weight) if _tensors(data, weight) else None
    return None


def _tensors(*values: Any) -> bool:
    return all(isinstance(v, Tensor) for v in values)


def _matmul(a: Any, b: Any) -> tuple[Tensor, Tensor] | None:
    if not _tensors(a, b):
        return None
    if a.ndim == 1 and b.ndim == 2:  # v @ X.T
        return b.mT, a
    return a, b


def _einsum(equation: str, operands: Any) -> tuple[Tensor, Tensor] | None:
    """Recognise ``nk,k->n`` and ``njk,k->nj`` under any letters, in either order."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    names = left.split(",")
    if not arrow or len(names) != 2 or not _tensors(*operands):
        return None
    for data, v, a, b in ((*operands, *names), (*operands[::-1], *names[::-1])):
        if len(b) == 1 and len(a) in (2, 3) and a[-1] == b and out == a[:-1]:
            return data, v
    return None


def entries_used(values: Tensor, params: Tensor) -> list[int]:
    """Return which entries of ``params`` the graph of ``values`` uses, read from the graph and never from a zero.

    Selections and slices of the vector are told apart; anything else counts as the use of all entries.
    """
    used: set[int] = set()
    seen: set[Any] = set()
    stack: list[Any] = [values.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for parent, output in node.next_functions:
            if parent is None:
                continue
            if _is(parent, params):
                used |= _entries(node, len(params))
            elif type(parent).__name__ == "UnbindBackward0" and _is(parent.next_functions[0][0], params):
                used.add(output)
            else:
                stack.append(parent)
    return sorted(used)


def selection(v: Tensor, params: Tensor) -> list[int] | None:
    """Return the entries of ``params`` of which ``v`` consists, if it is a plain slice of it; else None."""
    if v is params:
        return list(range(len(params)))
    node = v.grad_fn
    if type(node).__name__ != "SliceBackward0" or node is None or not _is(node.next_functions[0][0], params):
        return None
    return sorted(_entries(node, len(params)))


def _is(node: Any, params: Tensor) -> bool:
    return getattr(node, "variable", None) is params


def _entries(node: Any, size: int) -> set[int]:
    """Return the entries of a vector of ``size`` that one node of the graph takes."""
    kind = type(node).__name__
    every = range(size)
    if kind == "SelectBackward0":
        return {every[_signed(node._saved_index, size)]}
    if kind == "SliceBackward0":
        return set(every[_signed(node._saved_start, size) : _end(node._saved_end, size) : node._saved_step])
    return set(every)


def _signed(value: int, size: int) -> int:
    """Return a saved position: torch keeps negative ones as unsigned 64-bit numbers."""
    value = value - 2**64 if value >= 2**63 else value
    return value + size if value < 0 else value


def _end(value: int, size: int) -> int:
    return size if value >= 2**63 - 1 and value < 2**63 else _signed(value, size)
