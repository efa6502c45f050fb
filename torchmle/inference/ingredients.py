"""Hold what covariances are made of: bread, scores by row or by group, and what comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..linalg import inverse_root
from ..loglik.objective import Objective

Expected = Callable[[slice | Tensor, list[Tensor]], Sequence[Sequence[Tensor | None]]]
"""Takes rows and their linear predictors; returns the expected ``-d2 l / d eta_j d eta_k`` of each, k >= j."""


@dataclass(frozen=True)
class Ingredients:
    """Hold what a covariance is made of.

    Attributes
    ----------
    bread : (F, F) inverse of the information (of the curvature, for least squares), in gamma.
    scale : factor of the nonrobust covariance: 1, or s^2 for least squares.
    objective, working : give the scores by row.
    pull : turns a matrix in working parameters into one in gamma.
    jacobian : (K, F) d working / d gamma.
    nobs, params : n and K of the small-sample corrections.
    weights : the kind of weights, or None.
    root : upper triangular R of the bread ``(R'R)^-1`` in working parameters, where the columns are so ill-conditioned
        that scores have to be whitened before their products are formed; else None.
    pull_hessian : turns a Hessian and the gradient that belongs to it into a Hessian in gamma.
    expected : gives the expected information of rows, or None where it is not known.
    comparable : turns (n, K) working scores into those of the reported parameters, for automatic bandwidths.
    """

    bread: Tensor
    scale: float
    objective: Objective
    working: Tensor
    pull: Callable[[Tensor], Tensor]
    jacobian: Tensor
    nobs: float
    params: int
    weights: str | None = None
    root: Tensor | None = None
    pull_hessian: Callable[[Tensor, Tensor], Tensor] | None = None
    expected: Expected | None = None
    comparable: Callable[[Tensor], Tensor] = lambda scores: scores

    @property
    def scores(self) -> Scores:
        """Return the scores of the rows, weighted, as a sandwich adds them up."""
        return Scores(self)

    def sandwich(self, meat: Tensor) -> Tensor:
        """Return bread times meat times bread in gamma, for a meat of (whitened) working scores."""
        if self.root is None:
            return self.bread @ self.pull(meat) @ self.bread
        inverse = inverse_root(self.root)
        return (inverse @ meat @ inverse.mT) / self.pull(torch.ones_like(meat))


class Contributions(ABC):
    """Be what rows add to a sum whose covariance is estimated: weighted scores, or influences on an average."""

    @abstractmethod
    def outer(self) -> Tensor:
        """Return the sum of outer products, rows being independent."""

    @abstractmethod
    def by_group(self, codes: Tensor, count: int) -> Tensor:
        """Return the (count, K) sums by group."""

    @abstractmethod
    def by_row(self) -> Tensor:
        """Return the (n, K) contributions."""

    def comparable(self, rows: Tensor) -> Tensor:
        """Return contributions in units in which their sizes and their meaning can be compared."""
        return rows


@dataclass(frozen=True)
class Scores(Contributions):
    """Be the scores of a fit, in (whitened) working parameters."""

    parts: Ingredients

    def outer(self) -> Tensor:
        """Return ``sum w s s'`` for counts of rows, ``sum w^2 s s'`` for any other weights."""
        parts = self.parts
        power = 1 if parts.weights == "freq_weights" else 2
        return parts.objective.outer_products(parts.working, power, parts.root)

    def by_group(self, codes: Tensor, count: int) -> Tensor:
        """Return the sums of ``w s`` by group."""
        parts = self.parts
        return parts.objective.group_scores(parts.working, codes, count, parts.root)

    def by_row(self) -> Tensor:
        """Return ``w s`` by row."""
        parts = self.parts
        scores = parts.objective.scores(parts.working)
        if parts.objective.weights is not None:
            scores *= parts.objective.weights.to(scores)[:, None]
        if parts.root is None:
            return scores
        whitened: Tensor = torch.linalg.solve_triangular(parts.root.to(scores), scores, upper=True, left=False)
        return whitened

    def comparable(self, rows: Tensor) -> Tensor:
        """Return the scores of the reported parameters."""
        root = self.parts.root
        return self.parts.comparable(rows if root is None else rows @ root)


@dataclass(frozen=True)
class Influences(Contributions):
    """Be what each row adds to a few averages: (n, M) numbers for a row of weight one, with the weights.

    ``counts`` says that the weights count rows.
    """

    values: Tensor
    weights: Tensor
    counts: bool = False

    def outer(self) -> Tensor:
        """Return ``sum w v v'`` for counts of rows, else ``sum w^2 v v'``."""
        power = self.weights if self.counts else self.weights**2
        return self.values.mT @ (self.values * power[:, None])

    def by_group(self, codes: Tensor, count: int) -> Tensor:
        """Return the sums of ``w v`` by group."""
        total = torch.zeros(count, self.values.shape[1], dtype=self.values.dtype, device=self.values.device)
        return total.index_add_(0, codes, self.by_row())

    def by_row(self) -> Tensor:
        """Return ``w v`` by row."""
        return self.values * self.weights[:, None]


@dataclass(frozen=True)
class Found:
    """Hold what an estimator found.

    Attributes
    ----------
    matrix : a meat, or a covariance in gamma.
    description : how it was made, in words.
    df : degrees of freedom of t tests, or None for those of the residuals.
    df_of : gives the degrees of freedom of contrasts, (M, F) rows in gamma, where each has its own.
    """

    matrix: Tensor
    description: str
    df: float | None = None
    df_of: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Covariance:
    """Hold an estimated covariance in gamma, its name, and how it was made.

    Attributes
    ----------
    kwds : its options, as they were given.
    df : degrees of freedom of t tests; where each parameter has its own, the smallest.
    dfs : (K,) degrees of freedom of the tests of single parameters, or None where they are all ``df``.
    bread : the bread, where it is not that of the fit.
    withheld : positions of the reported parameters that have no error, though the matrix has a number for them.
    """

    cov_type: str
    matrix: Tensor
    use_t: bool
    kwds: Mapping[str, Any]
    description: str
    df: float | None = None
    dfs: Tensor | None = None
    bread: Tensor | None = None
    withheld: tuple[int, ...] = ()
