"""Test linear hypotheses by the distance of the estimates from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from ..errors import OptionError, UndefinedStatisticError
from ..linalg import cholesky, solve_spd, symmetric
from .hypotheses import Hypotheses

SAME = 1e-9
"""Singular value of scaled rows below which one of them says nothing new."""


@dataclass(frozen=True)
class Joint:
    """Hold ``d' V^-1 d``, its degrees of freedom, and which rows the others imply."""

    statistic: float
    df: int
    redundant: tuple[int, ...]


def joint_statistic(hypotheses: Hypotheses, theta: Tensor, jacobian: Tensor, covariance: Tensor) -> Joint:
    """Return ``(R theta - q)' (R V R')^-1 (R theta - q)``, the Wald statistic.

    Parameters
    ----------
    theta, jacobian : (K,) estimates and (K, F) derivatives in the free parameters.
    covariance : (F, F), of the free parameters.

    Raises
    ------
    OptionError
        If rows contradict each other, or speak of what the fit did not estimate.
    UndefinedStatisticError
        If the covariance of the rows is singular although they differ, as with too few clusters.
    """
    rows, gap = hypotheses.R @ jacobian, hypotheses.R @ theta - hypotheses.q
    moving = rows.abs().amax(1) > SAME * (hypotheses.R.abs() @ jacobian.abs()).amax(1)
    for label, moves in zip(hypotheses.labels, moving.tolist(), strict=True):
        if not moves:
            raise OptionError(
                f"The hypothesis {label!r} cannot be tested: the parameters in it are fixed or tied by constraints, so "
                "that the data have no say in it."
            )
    norms = rows.norm(dim=1)
    kept, redundant = independent_rows(rows / norms[:, None])
    if redundant:
        _refuse_contradictions(rows / norms[:, None], gap / norms, kept, hypotheses)
    rows, gap = rows[kept], gap[kept]
    return Joint(quadratic_form(gap, rows @ covariance @ rows.mT), len(kept), tuple(redundant))


def independent_rows(rows: Tensor) -> tuple[list[int], list[int]]:
    """Return which rows of unit length are kept and which ones depend on earlier ones."""
    kept: list[int] = []
    redundant: list[int] = []
    basis = rows[:0]
    for i, row in enumerate(rows):
        rest = row - basis.mT @ (basis @ row)
        rest = rest - basis.mT @ (basis @ rest)
        if float(rest.norm()) > SAME:
            kept.append(i)
            basis = torch.cat([basis, rest[None] / rest.norm()])
        else:
            redundant.append(i)
    return kept, redundant


def _refuse_contradictions(rows: Tensor, gap: Tensor, kept: list[int], hypotheses: Hypotheses) -> None:
    """Raise if a row that depends on others asks for another value than they do."""
    weights = torch.linalg.lstsq(rows[kept].mT, rows.mT).solution
    off = (gap - weights.mT @ gap[kept]).abs() > 1e-8 * (1 + gap.abs() + weights.abs().mT @ gap[kept].abs())
    for label, wrong in zip(hypotheses.labels, off.tolist(), strict=True):
        if wrong:
            raise OptionError(
                f"The hypothesis {label!r} contradicts the others, or the constraints of the fit: they cannot all hold."
            )


def quadratic_form(gap: Tensor, covariance: Tensor) -> float:
    """Return ``d' V^-1 d``.

    Raises
    ------
    UndefinedStatisticError
        If the covariance is not positive definite.
    """
    factor = cholesky(symmetric(covariance))
    if factor is None:
        rank = int(torch.linalg.matrix_rank(symmetric(covariance), hermitian=True))
        raise UndefinedStatisticError(
            f"The covariance of these {len(gap)} hypotheses is singular (rank {rank}), so that they cannot be tested "
            "together. Clustered errors have no more rank than there are clusters; test fewer at a time."
        )
    return float(gap @ solve_spd(factor, gap))


def chi2_tail(statistic: float, df: float) -> float:
    """Return the probability that a chi-squared variable exceeds a statistic."""
    return float(special.chdtrc(df, statistic))


def f_tail(statistic: float, df: float, df_denom: float) -> float:
    """Return the probability that an F variable exceeds a statistic."""
    return float(special.fdtrc(df, df_denom, statistic))


def two_sided(statistic: Tensor, df: float | np.ndarray[Any, Any] | None) -> Tensor:
    """Return two-sided p-values of z statistics, or of t statistics with ``df`` degrees of freedom, one or each."""
    size = -statistic.abs().numpy()
    tail = special.ndtr(size) if df is None else special.stdtr(df, size)
    return torch.from_numpy(2 * tail)


def critical(alpha: float, df: float | None) -> float:
    """Return the two-sided critical value of z, or of t with ``df`` degrees of freedom."""
    return float(special.ndtri(1 - alpha / 2) if df is None else special.stdtrit(df, 1 - alpha / 2))
