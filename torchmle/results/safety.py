"""Report whether constraints passed the test on data that the estimate has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
from torch import Tensor


@dataclass(frozen=True)
class ConstraintTest:
    """Hold what was found for one constraint.

    Attributes
    ----------
    constraint : as text.
    estimate : of the quantity, on the safety part.
    bound : the limit of the quantity that holds with probability ``level``: an upper one for ``<=``, a lower one for
        ``>=``.
    limit : what it may not pass.
    level : ``1 - delta`` of this constraint.
    method : ``"t"``, ``"hoeffding"`` or ``"binomial"``.
    n : independent observations that the bound rests on (records, or clusters), the fewest of its means.
    predicted : the bound that was predicted from the candidate part.
    terms : estimate, limits and n of each mean.
    note : how the bound was made, where there is something to say.
    """

    constraint: str
    estimate: float
    bound: float
    limit: float
    level: float
    method: str
    n: int
    passed: bool
    predicted: float
    terms: Mapping[str, tuple[float, float, float, int]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Safety:
    """Hold the verdict on constraints that must be true with confidence.

    Attributes
    ----------
    tests : one for each constraint.
    passed : whether all of them passed.
    tested : whether a candidate was found and tested; without one ``estimate`` and ``bound`` are those predicted at
        the iterate that came nearest, on the candidate part.
    delta : probability with which any constraint may be violated by a solution that is handed out.
    candidate, safety : records in the two parts.
    clusters : clusters in the two parts, or None.
    seed : of the split.
    chosen : the iteration whose point is the candidate, or None.
    rows : (n,) mask of the safety part among the rows in use.
    trace : columns of the history.
    """

    tests: tuple[ConstraintTest, ...]
    passed: bool
    tested: bool
    delta: float
    candidate: int
    safety: int
    clusters: tuple[int, int] | None
    seed: int
    chosen: int | None
    rows: Tensor
    trace: Mapping[str, tuple[float, ...]]

    @property
    def table(self) -> pd.DataFrame:
        """Return a row a constraint: estimate, bound, limit, level, method, n, predicted bound, verdict."""
        columns = ["estimate", "bound", "limit", "level", "method", "n", "predicted", "passed"]
        rows = [[getattr(test, c) for c in columns] for test in self.tests]
        return pd.DataFrame(
            rows, index=pd.Index([t.constraint for t in self.tests], name="constraint"), columns=columns
        )

    @property
    def history(self) -> pd.DataFrame:
        """Return a row an iteration: ``iteration``, ``llf`` of the candidate part, ``lagrangian`` (what is maximised,
        ``llf`` less n times multipliers times excess), ``lambda_...`` and predicted ``bound_...`` of each constraint,
        ``feasible``.
        """
        frame = pd.DataFrame({name: list(values) for name, values in self.trace.items()})
        return frame.astype({"iteration": int, "feasible": bool})

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else "no solution found"
        return f"<safety test: {verdict}>\n{self.table.to_string()}"

    def sentences(self) -> tuple[str, ...]:
        """Return what a summary says."""
        where = "" if self.tested else ", predicted at the nearest iterate of the candidate part"
        return tuple(
            f"{t.constraint}: estimate {t.estimate:.4g}, {100 * t.level:.4g} % bound {t.bound:.4g} ({t.method}, "
            f"n={t.n}{where}): {'passed' if t.passed else 'not met'}.{' ' + t.note if t.note else ''}"
            for t in self.tests
        )
