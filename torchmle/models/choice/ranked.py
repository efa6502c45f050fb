"""Fit rank-ordered logits: people say not only what they like best, but also what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.absent import absent
from ...data.choice import ChoiceData, ChoiceDesign
from ...errors import DataError, FormulaError, listing, unknown
from .conditional import ConditionalLogit
from .simulate import gumbel, keyed_generators
from .units import UnitExtras, array_design


class RankOrderedLogit(ConditionalLogit):
    """Fit a rank-ordered (exploded) logit: the best is chosen from all, the second from those left, and so on.

    ``P(ranking) = prod_t exp(V_(t)) / sum_{s >= t} exp(V_(s))``, with V_(t) the utility of the alternative with rank t
    and the sum over those that are not ranked before it (Beggs, Cardell and Hausman 1981; Stata's ``rologit``). A
    ranking is one observation: scores, robust errors, weights and ``nobs`` are by ranking.

    The response of the formula is the column of ranks of a long table: 1 is best, only the order matters, and 0 says
    that an alternative was not ranked and is worse than all that were. A missing rank makes the ranking a missing one.
    Ties are refused: what their order was is not known.

    Parameters
    ----------
    endog : (S, J) ranks, with arrays; 0 where not ranked or not available.

    Raises
    ------
    DataError
        For ties, negative ranks, or rankings in which nothing is ranked.

    Examples
    --------
    >>> import pandas as pd, torchmle as tm
    >>> games = pd.DataFrame({"who": [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], "game": ["chess", "go", "dice"] * 4,
    ...                       "rank": [1, 2, 3, 2, 1, 3, 1, 2, 0, 3, 2, 1],
    ...                       "price": [2.0, 3, 5, 4, 1, 2, 3, 4, 6, 2, 3, 4]})
    >>> model = tm.RankOrderedLogit.from_formula("rank ~ price | 0", games, alternatives="game", situations="who")
    >>> res = model.fit()
    >>> int(res.nobs), len(model.chosen), round(float(res.params["price"]), 3)
    (4, 8, -0.461)
    """

    ranks: Tensor

    @classmethod
    def _table(cls, formula: str, data: Any, layout: tuple[Any, ...], missing: str) -> ChoiceData:
        rank = _rank_column(formula)
        if not isinstance(data, ChoiceData):
            given = super()._table(f"~ {formula.split('~')[1]}", data, layout, missing)
        else:
            given = super()._table(formula, data, layout, missing)
            given = replace(given, roles=replace(given.roles, choice=None), chosen=np.full(len(given), -1))
        if rank not in given.frame.columns:
            raise FormulaError(unknown("column of ranks", rank, map(str, given.frame.columns)))
        return given.complete([rank])

    def _array_design(self, endog: Any, labels: tuple[Any, ...] | None, exog: Any, *rest: Any) -> ChoiceDesign:
        ranks = np.asarray(endog.detach().cpu() if isinstance(endog, Tensor) else endog, dtype=np.float64)
        if ranks.shape != tuple(np.shape(exog))[:2]:
            raise DataError(f"endog has shape {ranks.shape}; it must hold the ranks of {tuple(np.shape(exog))[:2]}.")
        self.ranks = torch.from_numpy(check_ranks(ranks, pd.RangeIndex(len(ranks))))
        return array_design(by_rank(ranks)[:, 0], exog, *rest)

    def _install_design(self, design: ChoiceDesign, extras: UnitExtras) -> np.ndarray[Any, Any] | None:
        name = "rank"
        if design.data is not None:
            name = _rank_column(design.formula)
            if design.formulas is not None and name in design.formulas.variables:
                raise FormulaError(f"{name!r} is the rank and also stands on the right-hand side.")
            self.ranks = torch.from_numpy(ranks_of(design.data, name))
        order = by_rank(self.ranks.numpy())
        first = torch.from_numpy(order[:, 0].copy()).to(design.X.device)
        kept = super()._install_design(replace(design, chosen=first), extras)
        if kept is not None:
            self.ranks, order = self.ranks[torch.from_numpy(kept)], order[kept]
        self.data = replace(self.data, endog_name=name)
        self._explode(order)
        return kept

    def _explode(self, order: np.ndarray[Any, Any]) -> None:
        """Make a choice situation of every rank given, among the alternatives that are left."""
        ranks, X = self.ranks.numpy(), self.X
        there = np.ones(ranks.shape, dtype=bool) if self.available is None else self.available.cpu().numpy()
        if (ranks[~there] > 0).any():
            raise DataError("A ranking ranks an alternative that is not available.")
        stages = np.maximum(1, np.minimum((ranks > 0).sum(1), there.sum(1) - 1))
        situation = np.repeat(np.arange(len(ranks)), stages)
        ends = np.cumsum(stages)
        stage = np.arange(len(situation)) - np.repeat(ends - stages, stages)
        left = there[situation] & (np.argsort(order, 1)[situation] >= stage[:, None])
        rows = torch.from_numpy(situation).to(X.device)
        self.X, self.ends = X[rows], torch.from_numpy(ends).to(X.device)
        self.chosen = torch.from_numpy(order[situation, stage]).to(X.device)
        self.available = torch.from_numpy(left).to(X.device)

    @property
    def rowless(self) -> dict[str, Any]:
        """Return what has rows, without them."""
        return {**super().rowless, "ranks": absent(self.ranks.shape, self.ranks.dtype)}

    def responses(self) -> np.ndarray[Any, Any]:
        """Return the (S, J) ranks."""
        return np.asarray(self.ranks.cpu().numpy())

    @property
    def nobs(self) -> int:
        """Return the number of rankings."""
        return len(self.endog)

    def simulate(self, params: Any, n: int | None = None, seed: int = 0) -> pd.DataFrame:
        """Draw rankings: (S, J) ranks, 0 where an alternative is not available; as deep as those of the data.

        Parameters
        ----------
        params : in the units of the results: a sequence, a dict or a Series by name.
        n : how many; None for one. With a number, columns are pairs of it and the alternative.
        seed : draws are the same for the same seed.
        """
        values, generators = keyed_generators(self, params, n, seed)
        first = torch.cat([self.ends.new_zeros(1), self.ends[:-1]]) if self.ends is not None else slice(None)
        V = (self.X[first].double() @ values.to(self.X.device)).cpu()
        there = self.available[first].cpu() if self.available is not None else torch.ones_like(V, dtype=torch.bool)
        depth = (self.ranks.cpu() > 0).sum(1, keepdim=True)
        found = []
        for generator in generators:
            noisy = (V + gumbel(V.shape, generator)).masked_fill(~there, -torch.inf)
            place = noisy.argsort(1, descending=True).argsort(1) + 1
            found.append(torch.where(there & (place <= depth), place, 0).numpy())
        labels = list(self.alternatives)
        columns = pd.Index(labels) if n is None else pd.MultiIndex.from_product([range(len(found)), labels])
        return pd.DataFrame(np.hstack(found), index=self.data.rows.labels, columns=columns)


def _rank_column(formula: str) -> str:
    left, tilde, _ = formula.partition("~")
    if not tilde or not left.strip():
        raise FormulaError(f"The formula {formula!r} has no response; it must be a column of ranks: 'rank ~ price'.")
    return left.strip()


def ranks_of(data: ChoiceData, column: str) -> np.ndarray[Any, Any]:
    """Return the (S, J) ranks of a long table."""
    try:
        values = data.frame[column].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"The ranks {column!r} are not numbers: {listing(data.frame[column].unique(), 4)}.") from error
    ranks = np.zeros((len(data), len(data.alternatives)))
    ranks[data.situation, data.alternative] = values
    return check_ranks(ranks, data.labels)


def check_ranks(ranks: np.ndarray[Any, Any], labels: Sequence[Any] | pd.Index) -> np.ndarray[Any, Any]:
    """Return ranks that are nonnegative numbers without ties, at least one in a ranking."""
    bad = ~np.isfinite(ranks) | (ranks < 0)
    if bad.any():
        raise DataError(f"{int(bad.sum())} ranks are negative or no numbers; 1 is best, 0 is not ranked.")
    ordered = np.sort(ranks, 1)
    ties = ((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] > 0)).any(1)
    where = np.asarray(labels, dtype=object)
    if ties.any():
        raise DataError(
            f"{int(ties.sum())} rankings have ties (e.g. {listing(where[ties], 3)}), and their likelihood depends on "
            "an order that is not known. Give 0 to all alternatives from the tie on (worse than those before), or "
            "leave these rankings out."
        )
    empty = ~(ranks > 0).any(1)
    if empty.any():
        raise DataError(
            f"In {int(empty.sum())} rankings nothing is ranked (e.g. {listing(where[empty], 3)}). Leave them out."
        )
    return ranks


def by_rank(ranks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the (S, J) positions of alternatives from the best on, those not ranked at the end."""
    return np.argsort(np.where(ranks > 0, ranks, np.inf), axis=1, kind="stable").astype(np.int64)
