"""Show the constraints of a fit that are functions of its parameters, and say what is not defined under them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from ..errors import UndefinedStatisticError

if TYPE_CHECKING:
    from .estimates import Estimates

COLUMNS = ("kind", "value", "active", "multiplier", "std err", "z", "P>|z|")


def restriction_table(results: Estimates) -> pd.DataFrame:
    """Return the constraints as a table; see :attr:`Results.constraints`."""
    found = results.fit.restrictions
    z = [r.multiplier / r.error if r.error > 0 else np.nan for r in found]
    values = [
        (r.kind, r.value, r.active, r.multiplier, r.error, ratio, 2 * special.ndtr(-abs(ratio)))
        for r, ratio in zip(found, z, strict=True)
    ]
    return pd.DataFrame(values, columns=list(COLUMNS), index=pd.Index([r.name for r in found], name="constraint"))


def refuse_restricted(results: Estimates, what: str, instead: str) -> None:
    """Raise for a fit under constraints that are functions of its parameters."""
    if results.fit.restrictions:
        raise UndefinedStatisticError(
            f"{what} is not available for a fit under constraints that are inequalities or functions of the "
            f"parameters. {instead}"
        )


def refuse_withheld(results: Estimates, what: str) -> None:
    """Raise where standard errors are withheld although the point is a maximum."""
    if results.fit.withheld:
        raise UndefinedStatisticError(
            f"{what} needs standard errors, and those of this fit are {results.fit.withheld}."
        )
