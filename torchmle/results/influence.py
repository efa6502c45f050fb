"""Hold what single rows, or clusters, do to the estimates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..data.vectors import FloatArray
from ..errors import UndefinedStatisticError


@dataclass(frozen=True)
class Flip:
    """Hold the rows without which a conclusion is another, as a refit without them shows.

    Attributes
    ----------
    name, what : the parameter, and ``"sign"`` or ``"significance"``.
    rows : labels of the rows (or clusters) left out, the most influential first; empty where no set was found. A row of
        ``freq_weights`` stands there once for each observation left out.
    estimate, pvalue : of all rows.
    estimate_without, pvalue_without : of the refit without them; NaN where no set was found.
    total : how many rows (observations under ``freq_weights``), or clusters, there are.
    """

    name: str
    what: str
    rows: tuple[object, ...]
    estimate: float
    pvalue: float
    estimate_without: float
    pvalue_without: float
    total: int

    @property
    def count(self) -> int:
        """Return how many are left out; 0 where no set was found."""
        return len(self.rows)

    @property
    def share(self) -> float:
        """Return how many are left out, as a share of all."""
        return self.count / self.total

    def __str__(self) -> str:
        here = f"{self.name} = {self.estimate:.4g} (p-value {self.pvalue:.4f})"
        if not self.rows:
            return f"{here}: no set of up to half of the {self.total} units was found that flips the {self.what}."
        return (
            f"{here}: without {self.count} of {self.total} units ({100 * self.share:.2g} %) it is "
            f"{self.estimate_without:.4g} (p-value {self.pvalue_without:.4f}), which flips the {self.what}."
        )


@dataclass(frozen=True, eq=False, repr=False)
class Influence:
    """Hold the change of the estimates when each row, or each cluster, is left out.

    A unit without which some parameter is not identified, or the log-likelihood not concave at the estimates, has NaN.

    Attributes
    ----------
    params_without : (G, K) estimates without each, by one Newton step (exact for least squares).
    estimates : those of the fit.
    bse : (K,) errors that changes are measured by: nonrobust ones, under ``sampling_weights`` those of the fit.
    leverage : (G,) trace of ``A^-1 A_i`` with information A; for one predictor the diagonal of the hat matrix. They add
        up to the number of free parameters.
    cooks_distance : (G,) ``(b - b_(i))' V^-1 (b - b_(i)) / F``, V as for ``bse``, F free parameters (Cook 1977).
    sigma_without, residuals : of rows of least squares in closed form: s without each, and its residual over s.
    sigma : s of least squares, else 1.
    search : looks for the rows that flip a conclusion.
    notes : what to know about these numbers.

    Examples
    --------
    >>> import torchmle as tm
    >>> inf = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit().influence()
    >>> inf.dfbetas.shape, round(float(inf.leverage.sum()), 6)
    ((753, 3), 3.0)
    """

    params_without: pd.DataFrame
    estimates: pd.Series
    bse: pd.Series
    leverage: pd.Series
    cooks_distance: pd.Series
    sigma_without: FloatArray | None
    residuals: FloatArray | None
    sigma: float
    search: Callable[[str, str, float], Flip]
    notes: tuple[str, ...] = ()

    @property
    def dfbeta(self) -> pd.DataFrame:
        """Return estimates less those without each row."""
        return self.estimates - self.params_without

    @property
    def dfbetas(self) -> pd.DataFrame:
        """Return ``dfbeta`` in standard errors; for least squares with s of the other rows (Belsley, Kuh, Welsch)."""
        scaled = self.dfbeta / self.bse.where(self.bse > 0)
        return scaled if self.sigma_without is None else scaled.mul(self.sigma / self.sigma_without, axis=0)

    @property
    def resid_studentized(self) -> pd.Series:
        """Return residuals of least squares over ``s sqrt(1 - h)``."""
        residuals, sigma = self._least_squares()
        left = np.where(np.isnan(sigma), np.nan, 1 - self.leverage.to_numpy())  # 1 - h may be rounding, of either sign
        return pd.Series(residuals / np.sqrt(left), index=self.leverage.index)

    @property
    def resid_studentized_external(self) -> pd.Series:
        """Return the same with s of the other rows."""
        return self.resid_studentized * self.sigma / self._least_squares()[1]

    @property
    def dffits(self) -> pd.Series:
        """Return the change of a row's fitted value without it, in standard errors (least squares only)."""
        external = self.resid_studentized_external
        return external * np.sqrt(self.leverage / (1 - self.leverage).where(external.notna()))

    def _least_squares(self) -> tuple[FloatArray, FloatArray]:
        if self.residuals is None or self.sigma_without is None:
            raise UndefinedStatisticError(
                "Studentized residuals and dffits are defined for single rows of least squares in closed form, but not "
                "under sampling_weights. Use cooks_distance and dfbetas."
            )
        return self.residuals, self.sigma_without

    def flips(self, name: str, what: str = "sign", alpha: float = 0.05) -> Flip:
        """Return the fewest rows found without which a conclusion is another.

        The rows are ranked by their influence on the estimate, or on ``|b| - z se`` (approximate maximum influence:
        Broderick, Giordano and Meager 2020); how many it takes is found by refits without the first of them. Then rows
        are left out one by one, ranked anew after each, which finds sets that hide behind others; the smaller set is
        returned. It need not be the smallest there is, but it is shown to flip by a refit with the errors,
        restrictions and bounds of the fit. At most half of the rows are left out.

        Parameters
        ----------
        name : a parameter.
        what : ``"sign"``, or ``"significance"`` at the level ``alpha``.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.OLS.from_formula("lwage ~ educ + exper + female", tm.datasets.load("wage1")).fit()
        >>> res.influence().flips("exper").count > 20
        True
        """
        return self.search(name, what, alpha)

    def summary_frame(self) -> pd.DataFrame:
        """Return a row a row of the data: ``dfb_*``, Cook's distance, leverage; for least squares residuals, dffits."""
        table = self.dfbetas.add_prefix("dfb_")
        table = table.assign(cooks_d=self.cooks_distance, hat_diag=self.leverage)
        if self.residuals is None:
            return table
        outer = {"student_resid": self.resid_studentized_external, "dffits": self.dffits}
        return table.assign(standard_resid=self.resid_studentized, **outer)

    @property
    def table(self) -> pd.DataFrame:
        """Return :meth:`summary_frame`, the largest Cook's distance first."""
        return self.summary_frame().sort_values("cooks_d", ascending=False, kind="stable")

    def __str__(self) -> str:
        top = self.table.head(8).to_string(float_format=lambda v: f"{v:.4f}")
        return "\n".join(
            [f"The {min(8, len(self.leverage))} of {len(self.leverage)} with most influence:", top, *self.notes]
        )

    def __repr__(self) -> str:
        return f"<influence of {len(self.leverage)} units on {len(self.estimates)} parameters>"
