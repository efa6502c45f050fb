"""Give a replicate the same bits whichever others are evaluated with it.

Libraries keep other code for remainders: the last numbers of a vector, the last rows and columns of a product. So
blocks of rows are filled up with copies of weight zero, and matrices with zeros, to whole tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

ROWS = 2_048
"""Rows in one block: with the replicates of a block they stay in the processor's cache."""

ROW_TILE, TILE = 64, 8
"""What numbers of rows, and of replicates and columns, are made multiples of."""


@dataclass(frozen=True, eq=False)
class Cut:
    """Hold a block of rows, filled up with copies of the last one.

    Attributes
    ----------
    rows : the block.
    device, dtype : of what is evaluated.
    """

    rows: slice
    device: torch.device
    dtype: torch.dtype

    @property
    def own(self) -> int:
        """Return how many rows are not copies."""
        return int(self.rows.stop - self.rows.start)

    @property
    def copies(self) -> int:
        """Return how many rows are copies."""
        return -self.own % ROW_TILE

    @cached_property
    def index(self) -> slice | Tensor:
        """Return all rows."""
        if not self.copies:
            return self.rows
        index = torch.arange(self.rows.start, self.rows.start + self.own + self.copies, device=self.device)
        return index.clamp_(max=self.rows.stop - 1)

    def weights(self, weights: Tensor | None) -> Tensor | None:
        """Return the weights of all rows, (R, rows) or (1, rows), zero for copies; None where all are one."""
        if not self.copies:
            return None if weights is None else weights[:, self.rows]
        ones = torch.ones(1, self.own, dtype=self.dtype, device=self.device)
        return pad(ones if weights is None else weights[:, self.rows], (0, self.copies)).contiguous()

    def columns(self, X: Tensor) -> Tensor:
        """Return the (rows, k) columns of the block with those of the copies, k made whole."""
        X = torch.cat([X, X[-1:].expand(self.copies, -1)]) if self.copies else X
        return tiled(X)


def tiled(matrix: Tensor) -> Tensor:
    """Return a matrix filled up with zeros."""
    short = (0, -matrix.shape[1] % TILE, 0, -len(matrix) % ROW_TILE)
    return pad(matrix, short).contiguous() if any(short) else matrix.contiguous()


def product(a: Tensor, tiles: Tensor) -> Tensor:
    """Return the (R, p) product of replicates (R, n) with a tiled matrix, of which the first n rows count."""
    short = (0, len(tiles) - a.shape[1], 0, -len(a) % TILE)
    return ((pad(a, short) if any(short) else a.contiguous()) @ tiles)[: len(a)]


def repeated(rows: slice | Tensor, times: int, device: torch.device) -> Tensor:
    """Return the positions of rows, one after the other as often as there are replicates."""
    index = torch.arange(rows.start, rows.stop, device=device) if isinstance(rows, slice) else rows
    return index.repeat(times)
