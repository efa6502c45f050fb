"""Look up functions of small counts: a log-gamma costs as much as ten products, and counts repeat."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

LARGEST = 1_000
"""Largest count that is looked up."""

FEWEST = 500
"""Values below which a table is not worth its making."""

Law = Callable[[Tensor, Tensor], Tensor]
"""An elementwise function of counts and of one parameter."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Hold counts, and their positions in a table where all of them are small whole numbers."""

    y: Tensor

    @cached_property
    def _at(self) -> Tensor | None:
        if self.y.numel() < FEWEST:
            return None
        low, high = torch.aminmax(self.y)
        if not (float(low) >= 0 and float(high) <= LARGEST):  # a NaN is neither
            return None
        at = self.y.long()
        return at.flatten() if torch.equal(at.to(self.y.dtype), self.y) else None

    def apply(self, law: Law, s: Tensor) -> Tensor:
        """Return ``law(y, s)``: from a table where s is one number."""
        if s.ndim or self._at is None:
            return law(self.y, s)
        return _table(law, float(s.detach()), self.y.dtype, self.y.device).index_select(0, self._at).view(self.y.shape)

    def log_factorial(self) -> Tensor:
        """Return ``log(y!)``."""
        return self.apply(_log_factorial, torch.zeros((), dtype=self.y.dtype, device=self.y.device))


def _log_factorial(y: Tensor, _: Tensor) -> Tensor:
    return torch.lgamma(y + 1)


@lru_cache(maxsize=64)
def _table(law: Law, s: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return ``law`` at 0, 1, 2, ...; the row chunks of a pass share it."""
    with torch.inference_mode(False), torch.no_grad():
        counts = torch.arange(LARGEST + 1, dtype=dtype, device=device)
        return law(counts, torch.tensor(s, dtype=dtype, device=device))
