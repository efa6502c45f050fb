"""Sum the log-likelihood of a module over rows, in chunks whose graph fits into memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...loglik.opaque import OpaqueObjective, RowFunction

ROOM = {"cpu": 64_000_000}
"""Bytes that the graph of one chunk may take; on other devices fifteen times as much."""

LOOKED_AT = 8
"""Rows on which that is measured."""


class ModuleObjective(OpaqueObjective):
    """Be an opaque log-likelihood with ``most`` rows in a chunk; the graph of a row keeps ``each`` bytes."""

    engine = "reverse-mode autograd through the module"

    def __init__(self, function: RowFunction, *args: Any, most: int, each: float, **options: Any) -> None:
        super().__init__(function, *args, **options)
        self.most, self.each = most, each
        if self.separable:
            self.chunk = min(self.chunk, most)

    def parts(self) -> dict[str, Any]:
        """Return the arguments that make the same objective."""
        return {**super().parts(), "most": self.most, "each": self.each}


def row_bytes(function: RowFunction, vector: Tensor, rows: int) -> float:
    """Return the bytes that the graph of one row keeps, as measured on a few."""
    few = min(LOOKED_AT, rows)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    at = vector.detach().clone().requires_grad_()
    own = range(at.data_ptr(), at.data_ptr() + max(at.numel() * at.element_size(), 1))
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        try:
            function(slice(0, few), at)
        except Exception:  # the check that follows says what is wrong
            return 1.0
    return max(sum(size for place, size in kept.items() if place not in own) / few, 1.0)


def rows_in_room(each: float, device: torch.device, rows: int) -> int:
    """Return how many rows may be evaluated at a time."""
    room = ROOM.get(device.type, 15 * ROOM["cpu"])
    return max(1, min(rows, int(room / each)))
