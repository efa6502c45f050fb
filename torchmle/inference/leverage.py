"""Correct robust covariances for leverage: rows that pull the fit towards themselves have small residuals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor

from ..data.batch import ModelData
from ..errors import OptionError, listing
from ..linalg import cholesky, symmetric
from ..loglik.leastsquares import LeastSquares
from ..loglik.moments import to_host
from .estimator import Estimator, Information, Options
from .information import row_information
from .ingredients import Found, Ingredients

FITTED = 1e-10
"""Distance of a leverage from one below which a row is fitted exactly, whatever its response."""


@dataclass(frozen=True, kw_only=True)
class Leveraged(Estimator):
    """Return HC0 with each row divided by ``(1 - h)`` (HC2) or by its square (HC3) (MacKinnon and White 1985).

    ``h = w x' (X'WX)^-1 x`` with W the weights of the information in the first predictor: those of the data for
    least squares, ``p (1 - p)`` for a logit, ``mu`` for Poisson (the hat values of a generalised linear model).
    """

    entries: ClassVar[tuple[str, ...]] = ("information",)
    labels: pd.Index

    @classmethod
    def read(cls, options: Options) -> Leveraged:
        """Return the estimator that was asked for."""
        _refuse_unleveraged(options.cov_type, options.setting.data)
        return cls(cov_type=options.cov_type, information=options.information(), labels=options.setting.labels)

    def covariance(self, parts: Ingredients) -> Found:
        """Return the covariance in gamma."""
        objective, power = parts.objective, 1 if self.cov_type == "HC2" else 2
        h = leverage(parts, self.information)
        self._refuse_fitted(h)
        own = objective.weights
        factor = (1 - h) ** -power
        if own is not None:
            factor = factor * to_host(own) ** (1 if parts.weights == "freq_weights" else 2)
        meat = torch.zeros(len(parts.working), len(parts.working), dtype=torch.float64, device="cpu")
        for a in range(0, objective.rows, objective.chunk):
            b = min(a + objective.chunk, objective.rows)
            scores = to_host(row_information(objective, parts.working, a, b).scores())
            if parts.root is not None:
                scores = torch.linalg.solve_triangular(parts.root, scores, upper=True, left=False)
            meat += scores.mT @ (scores * factor[a:b, None])
        words = "1 - h" if power == 1 else "(1 - h)^2"
        text = f"heteroskedasticity robust, rows divided by {words}, largest leverage h {float(h.max()):.3g}"
        return Found(parts.sandwich(meat), text)

    def _refuse_fitted(self, h: Tensor) -> None:
        exact = (h > 1 - FITTED).nonzero().flatten().tolist()
        if exact:
            raise OptionError(
                f"cov_type={self.cov_type!r} is not defined here: {len(exact)} rows have a leverage of 1, so that they "
                f"are fitted exactly whatever their response (row {listing(self.labels[exact], 3)}). Use 'HC1', or "
                "leave out the columns that are for these rows alone."
            )


def leverage(parts: Ingredients, information: Information = "observed") -> Tensor:
    """Return the (n,) leverages; with counts as weights, of a single one of the rows that a row stands for.

    Raises
    ------
    OptionError
        If the log-likelihood is not concave in the first predictor at some rows.
    """
    objective = parts.objective
    counts = parts.weights == "freq_weights"
    half = _half(parts, information)
    found = []
    for a, b, X, w in _first(parts, information):
        rows = X @ half if parts.root is None else torch.linalg.solve_triangular(half, X, upper=True, left=False)
        own = None if objective.weights is None or counts else to_host(objective.weights[a:b])
        h = w * rows.square().sum(1)
        found.append(h if own is None else h * own)
    return torch.cat(found)


def _half(parts: Ingredients, information: Information) -> Tensor:
    """Return a matrix T with ``T T' = (X'WX)^-1``; the root R of ``X'WX = R'R`` where columns are ill-conditioned."""
    if parts.root is not None:
        return parts.root
    if isinstance(parts.objective, LeastSquares):
        factor = cholesky(parts.bread)
        assert factor is not None
        return parts.jacobian @ factor
    own = parts.objective.weights
    gram: Tensor | float = 0.0
    for a, b, X, w in _first(parts, information):
        gram = gram + X.mT @ (X * (w if own is None else w * to_host(own[a:b]))[:, None])
    assert isinstance(gram, Tensor)
    moves = parts.jacobian[: len(gram)]
    values, vectors = torch.linalg.eigh(symmetric(moves.mT @ gram @ moves))
    kept = values > 1e-13 * len(values) * values.max()  # directions that do not move this predictor: a constant sigma
    half: Tensor = moves @ (vectors[:, kept] / values[kept].sqrt())
    return half


def _first(parts: Ingredients, information: Information) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Yield chunks of rows, the columns of the first predictor, and the information in it."""
    objective = parts.objective
    expected = parts.expected if information == "expected" else None
    for a in range(0, objective.rows, objective.chunk):
        b = min(a + objective.chunk, objective.rows)
        found = row_information(objective, parts.working, a, b, expected)
        X, w = to_host(found.columns[0]), found.weights[0][0]
        weight = torch.zeros(b - a, dtype=torch.float64, device="cpu") if w is None else to_host(w)
        if not bool((weight >= 0).all()):
            raise OptionError(
                "Leverage is not defined here: the log-likelihood is not concave in its first predictor at "
                f"{int((~(weight >= 0)).sum())} rows or more. Use 'HC1', or 'CRV3' with one group a row."
            )
        yield a, b, X, weight


def _refuse_unleveraged(cov_type: str, data: ModelData) -> None:
    """Refuse models whose rows do not enter by one linear predictor."""
    designs = list(data.designs.values())
    why = ""
    if not designs or designs[0].name == "exog":
        why = "this likelihood does not say by which linear predictor its rows enter"
    elif any(len(d.terms) != 1 or d.constant != 0 for d in designs[1:]):
        several = [d.name for d in designs if len(d.terms) != 1 or d.constant != 0]
        why = f"regressors enter by more than one predictor ({', '.join(several)})"
    if why:
        raise OptionError(
            f"cov_type={cov_type!r} corrects for leverage, which is defined for linear models and those with one "
            f"predictor that carries the regressors; {why}. Use 'HC1', or 'CRV3' with one group a row."
        )
