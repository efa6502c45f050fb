"""Estimate covariances of rows that depend on each other within groups, in any number of ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..data.groups import Groups, intersect, late_ways
from ..errors import OptionError
from .corrections import CLUSTER, Correction, read_correction
from .estimator import Options, Sandwich, Setting
from .ingredients import Contributions, Found


@dataclass(frozen=True, kw_only=True)
class Clustered(Sandwich):
    """Return ``A^-1 (sum_g S_g S_g') A^-1`` with S_g the sum of the scores of a group (Liang and Zeger 1986).

    In several ways, meats of all intersections are added and subtracted in turn (Cameron, Gelbach and Miller 2011,
    equation 2.13), each with the correction for its own number of groups, or all with that of the smallest one.
    """

    entries: ClassVar[tuple[str, ...]] = ("groups", "use_correction", "count", "information")
    indefinite: ClassVar[bool] = True
    ways: tuple[Groups, ...]
    correction: Correction = True
    count: Literal["own", "min"] = "own"

    @classmethod
    def read(cls, options: Options) -> Clustered:
        """Return the estimator that was asked for."""
        return cls(
            cov_type=options.cov_type,
            information=options.information(),
            ways=read_ways(options),
            correction=read_correction(options.get("use_correction", True), CLUSTER),
            count="min" if options.choice("count", ("own", "min"), "own") == "min" else "own",
        )

    def meat(self, rows: Contributions, nobs: float, params: int) -> Found:
        """Return the sum of outer products of group sums."""
        factor, words = CLUSTER[self.correction]
        fewest = min(g.count for g in self.ways)
        total: Tensor | float = 0.0
        for sign, groups in _terms(self.ways):
            G = groups.count if self.count == "own" else fewest
            total = total + sign * factor(G, nobs, params) * _grouped(rows, groups)
        assert isinstance(total, Tensor)
        return Found(total, f"{self._words()}, {words}{self._counted()}", fewest - 1.0)

    def _words(self) -> str:
        names = " and ".join(f"{g.name}, {g.count} clusters" for g in self.ways)
        return f"clustered by {names}"

    def _counted(self) -> str:
        if len(self.ways) == 1 or self.correction is False:
            return ""
        return " with the G of each intersection" if self.count == "own" else " with the smallest G"


def _terms(ways: Sequence[Groups]) -> Iterator[tuple[int, Groups]]:
    """Yield the sign and the groups of every intersection."""
    for size in range(1, len(ways) + 1):
        for some in combinations(ways, size):
            yield (-1) ** (size + 1), intersect(some)


def _grouped(rows: Contributions, groups: Groups) -> Tensor:
    sums = rows.by_group(torch.from_numpy(groups.codes), groups.count)
    return sums.mT @ sums


def read_ways(options: Options) -> tuple[Groups, ...]:
    """Return the groups given with the covariance, or else those of the model."""
    data, given = options.setting.data, options.get("groups")
    if given is not None:
        ways = late_ways(given, data.frame, data.rows)
        return tuple(g for i, g in enumerate(ways) if not any(_same(g, h) for h in ways[:i]))
    if data.groups is None:
        raise OptionError(
            f"cov_type={options.cov_type!r} needs groups: pass cov_kwds={{'groups': column name or ids}}."
        )
    return (data.groups,)


def _same(one: Groups, other: Groups) -> bool:
    """Return whether two sets of groups are the same: a way that is named twice counts once."""
    return one.count == other.count == intersect((one, other)).count


def read_groups(options: Options) -> Groups:
    """Return groups in one way."""
    ways = read_ways(options)
    if len(ways) > 1:
        raise OptionError(
            f"cov_type={options.cov_type!r} is defined for one set of groups; {len(ways)} were given. Use 'cluster'."
        )
    return ways[0]


def row_of(groups: Groups, code: int, setting: Setting) -> str:
    """Return a row of a group, by which the user knows it."""
    return str(setting.labels[int((groups.codes == code).argmax())])
