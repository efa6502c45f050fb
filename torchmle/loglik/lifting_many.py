"""Evaluate many parameter vectors of a lifted log-likelihood at once."""

from __future__ import annotations

from torch import Tensor

from .lifting import LiftedObjective
from .replicates import Replicates


def lifted_replicates(objective: LiftedObjective, working: Tensor) -> Replicates | None:
    """Return what evaluates many replicates of a lifted likelihood, or None where its structure does not allow it."""
    return None
