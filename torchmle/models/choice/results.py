"""Hold fitted models of discrete choice."""

from __future__ import annotations

from dataclasses import dataclass

from ...results.results import Results


@dataclass(frozen=True, eq=False, repr=False)
class ChoiceResults(Results):
    """Hold a fitted model of choices: probabilities, shares, elasticities and valuations beside everything else."""
