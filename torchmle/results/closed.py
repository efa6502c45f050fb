"""Answer to the names that statsmodels gives to least squares only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy import special

from ..errors import OptionError, UndefinedStatisticError
from ..inference.multiple import adjust_pvalues
from ..loglik.leastsquares import Solution
from .results import Results


def robust(cov_type: str, what: str) -> Any:
    """Return a property for the covariance of one type, or its standard errors."""

    def get(results: Results) -> pd.DataFrame | pd.Series:
        other = results.with_cov(cov_type)
        return other.cov_params() if what == "covariance" else other.bse

    return property(get, doc=f"Return the {what} {cov_type}; see :meth:`with_cov`.")


@dataclass(frozen=True, eq=False, repr=False)
class ClosedForm(Results):
    """Hold a fit by least squares, and answer to statsmodels' names for it."""

    solution: Solution | None = None

    @property
    def ssr(self) -> float:
        """Return the (weighted) sum of squared residuals."""
        assert self.solution is not None
        return self.solution.ssr

    # ---- covariances by name

    cov_HC0, cov_HC1, cov_HC2, cov_HC3 = (robust(f"HC{i}", "covariance") for i in range(4))  # noqa: N815
    HC0_se, HC1_se, HC2_se, HC3_se = (robust(f"HC{i}", "errors") for i in range(4))

    def get_robustcov_results(self, cov_type: str = "HC1", use_t: bool | None = None, **cov_kwds: Any) -> Results:
        """Return the same fit with another covariance, as statsmodels does: it keeps the t distribution.

        Parameters
        ----------
        cov_type, cov_kwds : see :meth:`with_cov`; options are keywords here, ``groups="firm"``.
        use_t : whether to use the t distribution; by default what these results use. :meth:`with_cov` and
            ``fit(cov_type=...)`` go over to the normal distribution.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.OLS.from_formula("lwage ~ educ", tm.datasets.load("wage1")).fit()
        >>> res.get_robustcov_results("HC3").use_t, res.with_cov("HC3").use_t
        (True, False)
        """
        return self.with_cov(cov_type, cov_kwds or None, self.use_t if use_t is None else use_t)

    # ---- comparisons

    def compare_lr_test(self, restricted: Any) -> tuple[float, float, float]:
        """Return statistic, p-value and degrees of freedom of :meth:`lr_test`."""
        test = self.lr_test(restricted)
        return test.statistic, test.pvalue, test.df

    def compare_f_test(self, restricted: Any) -> tuple[float, float, float]:
        """Return F, p-value and the number of restrictions, from the sums of squares of two nested fits.

        ``F = (ssr_0 - ssr) / q / s^2``: the Wald test of the restrictions with nonrobust errors.

        Raises
        ------
        OptionError
            If the fits are not nested, differ in rows, or have robust errors, which F is not made of.
        """
        if self.cov_type != "nonrobust" or restricted.cov_type != "nonrobust":
            raise OptionError("compare_f_test() takes nonrobust errors. Under robust ones use wald_test() or f_test().")
        q = self.lr_test(restricted).df
        value = (restricted.ssr - self.ssr) / q / self.scale
        return value, float(special.fdtrc(q, self.df_resid, value)), q

    def outlier_test(self, method: str = "bonf") -> pd.DataFrame:
        """Test each row for an outlier: its studentized residual without it, p-values, and adjusted ones.

        Parameters
        ----------
        method : as in :func:`torchmle.adjust_pvalues`; ``"bonf"`` is ``"bonferroni"``.

        Raises
        ------
        UndefinedStatisticError
            Under ``freq_weights``, where a row is several observations, and ``sampling_weights``.
        """
        weights = self.model.data.weights
        if weights is not None and weights.kind == "freq_weights":
            raise UndefinedStatisticError("outlier_test is for single observations: repeat the rows by their weights.")
        residuals = self.influence().resid_studentized_external
        p = pd.Series(2 * special.stdtr(self.df_resid - 1, -residuals.abs()), index=residuals.index)
        adjusted = adjust_pvalues(p, {"bonf": "bonferroni"}.get(method, method))
        return pd.DataFrame({"student_resid": residuals, "unadj_p": p, f"{method}(p)": adjusted})
