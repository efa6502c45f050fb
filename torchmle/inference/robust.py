"""Estimate covariances of independent rows: from the information, from the scores, or from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..errors import OptionError
from ..linalg import cholesky, inverse_spd
from .corrections import residual
from .estimator import Estimator, Options, Sandwich
from .ingredients import Contributions, Found, Ingredients

PSEUDO = "which make the likelihood a pseudo-likelihood. Use 'HC0', 'HC1' or 'cluster'"


@dataclass(frozen=True, kw_only=True)
class Nonrobust(Estimator):
    """Return ``A^-1``, the inverse of the information; ``s^2 (X'X)^-1`` for least squares."""

    entries: ClassVar[tuple[str, ...]] = ("information",)
    needs_rows: ClassVar[bool] = False
    refused_weights: ClassVar[Mapping[str, str]] = {"sampling_weights": PSEUDO}

    @classmethod
    def read(cls, options: Options) -> Nonrobust:
        """Return the estimator that was asked for."""
        return cls(cov_type=options.cov_type, information=options.information())

    def covariance(self, parts: Ingredients) -> Found:
        """Return the covariance in gamma."""
        likelihood = f"inverse of the {self.information} information"
        text = likelihood if parts.scale == 1.0 else "s^2 times the inverse of X'X"
        return Found(parts.scale * parts.bread, text)


@dataclass(frozen=True, kw_only=True)
class OuterProduct(Estimator):
    """Return ``(sum s s')^-1`` (Berndt, Hall, Hall and Hausman 1974)."""

    refused_weights: ClassVar[Mapping[str, str]] = {"sampling_weights": PSEUDO}

    @classmethod
    def read(cls, options: Options) -> OuterProduct:
        """Return the estimator that was asked for."""
        return cls(cov_type=options.cov_type)

    def covariance(self, parts: Ingredients) -> Found:
        """Return the covariance in gamma."""
        power = 1 if parts.weights == "freq_weights" else 2
        products = parts.objective.outer_products(parts.working, power, parts.root)
        whitened = parts.root is not None
        factor = cholesky(products if whitened else parts.pull(products))
        if factor is None:
            raise OptionError(
                f"cov_type='opg' is not defined here: the outer product of the scores of {parts.objective.rows} rows "
                f"is singular for {parts.params} parameters. Use 'nonrobust' or 'HC1'."
            )
        inverse = inverse_spd(factor)
        matrix = parts.sandwich(inverse) if whitened else inverse
        return Found(parts.scale**2 * matrix, "inverse of the outer product of the scores")


@dataclass(frozen=True, kw_only=True)
class Heteroskedastic(Sandwich):
    """Return ``A^-1 (sum s s') A^-1`` (Huber 1967; White 1980); HC1 times ``n / (n - K)``."""

    entries: ClassVar[tuple[str, ...]] = ("information",)

    @classmethod
    def read(cls, options: Options) -> Heteroskedastic:
        """Return the estimator that was asked for."""
        return cls(cov_type=options.cov_type, information=options.information())

    def meat(self, rows: Contributions, nobs: float, params: int) -> Found:
        """Return the sum of outer products."""
        if self.cov_type == "HC0":
            return Found(rows.outer(), "heteroskedasticity robust, no correction")
        return Found(rows.outer() * residual(nobs, params), "heteroskedasticity robust, corrected by n/(n-K)")
