"""Fit again: bootstrap, jackknife, permutations, simulated responses, and what single rows do to the estimates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..workers import engine
from .bootstrap import BootstrapResults, JackknifeResults
from .contrasts import HypothesisTest
from .estimates import Estimates
from .influence import Influence


@dataclass(frozen=True, eq=False, repr=False)
class Resampled(Estimates):
    """Add resampling and influence to estimates."""

    def bootstrap(
        self,
        reps: int = 999,
        kind: str = "pairs",
        *,
        seed: int = 0,
        groups: Any = None,
        multiplier: str | None = None,
        progress: bool | None = None,
    ) -> BootstrapResults:
        """Fit the model to ``reps`` resampled data sets, all at once.

        Parameters
        ----------
        reps : how many.
        kind : ``"pairs"`` draws rows with replacement; ``"cluster"`` draws clusters; ``"bayesian"`` weights rows, or
            clusters where ``groups`` are given, by exponential draws (Rubin 1981); ``"parametric"`` draws responses
            from the fitted model; ``"score"`` perturbs the scores and takes one Newton step (Kline and Santos
            2012); ``"wild"`` changes the signs of least squares residuals (Wu 1986), of whole clusters where
            ``groups`` are given (Cameron, Gelbach and Miller 2008).
        seed : replicate r has a generator of its own, made of ``seed`` and r, on every device and in every order.
        groups : clusters: a column name, a Series or an array as long as the data; for ``"cluster"`` by default those
            of the errors of these results, else of the model. Other kinds use groups only where they are given here.
        multiplier : for ``"score"`` and ``"wild"``: ``"rademacher"`` (default), ``"webb"`` (few clusters),
            ``"mammen"`` or ``"normal"``.
        progress : a line on the terminal; by default where there is one and it takes long.

        Returns
        -------
        BootstrapResults
            Replicates that have no estimate are NaN, counted in ``failed``, and warned of.

        Raises
        ------
        OptionError, UndefinedStatisticError
            For kinds that the model or its weights do not have; where the fit has no maximum; for ``"score"`` and
            ``"wild"`` where a parameter is at a bound; where the likelihood gives its sum only (but ``"parametric"``).

        Notes
        -----
        Restrictions and bounds of the fit hold in every replicate. ``freq_weights`` are counts of observations, each
        of which is drawn, or perturbed, by itself; other weights go with their rows.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
        >>> boot = res.bootstrap(reps=199, seed=1)
        >>> boot.failed, list(boot.conf_int().columns)
        (0, [0, 1])
        """
        options = {"groups": groups, "multiplier": multiplier, "progress": progress}
        with engine():
            found: BootstrapResults = self.model.resampled(
                self, "bootstrap", reps=reps, kind=kind, seed=seed, **options
            )
        return found

    def jackknife(self, *, groups: Any = None, progress: bool | None = None) -> JackknifeResults:
        """Fit the model without each row, or without each cluster, in turn.

        ``V = (G - 1) / G sum (b_g - mean)(b_g - mean)'`` over the G units left out (Efron 1982).

        Parameters
        ----------
        groups : clusters to leave out instead of rows: a column name, a Series or an array.
        progress : as for :meth:`bootstrap`.

        Raises
        ------
        UndefinedStatisticError
            Where the fit has no maximum or a parameter is at a bound, and where the likelihood gives its sum only.

        Notes
        -----
        Under ``freq_weights`` one observation of each row is left out, and counts as often as the row does.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
        >>> jack = res.jackknife()
        >>> bool(abs(jack.bse / res.with_cov("HC1").bse - 1).max() < 0.02)
        True
        """
        with engine():
            found: JackknifeResults = self.model.resampled(self, "jackknife", groups=groups, progress=progress)
        return found

    def permutation_test(
        self, name: str, *, reps: int = 999, statistic: str = "z", seed: int = 0, progress: bool | None = None
    ) -> HypothesisTest:
        """Test that a column has no effect by fits in which its values are permuted over the rows.

        The p-value is ``(1 + #{|s_r| >= |s|}) / (1 + reps)``. It is exact where the column is independent of the
        others and of the response under the hypothesis, as in a randomised experiment.

        Parameters
        ----------
        name : a column of the first predictor.
        reps, seed, progress : as for :meth:`bootstrap`.
        statistic : ``"z"``, coefficient over its nonrobust standard error, or ``"coef"``.

        Raises
        ------
        OptionError
            For a constant, fixed parameters and those at a bound; under ``freq_weights``, and for ``"z"`` under
            ``sampling_weights``.

        Notes
        -----
        Permutations that have no estimate count as beyond, which can only raise the p-value, and are warned of.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
        >>> print(res.permutation_test("educ", reps=199).pvalue)
        0.005
        """
        options = {"reps": reps, "statistic": statistic, "seed": seed, "progress": progress}
        with engine():
            found: HypothesisTest = self.model.resampled(self, "permutation", name=name, **options)
        return found

    def simulate(self, params: Any = None, n: int | None = None, seed: int = 0) -> pd.Series | pd.DataFrame:
        """Draw responses for the rows in use from the fitted model.

        Parameters
        ----------
        params : by default the estimates; else in the units of ``params``.
        n : how many responses; None for one, as a Series.
        seed : draws are the same for the same seed; torch's own seed is not touched.

        Raises
        ------
        UndefinedStatisticError
            If the model does not say how responses are drawn (``simulate_endog``).

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.OLS.from_formula("lwage ~ educ", tm.datasets.load("wage1")).fit()
        >>> res.simulate(n=3).shape
        (526, 3)
        """
        found: pd.Series | pd.DataFrame = self.model.resampled(self, "simulate", params=params, n=n, seed=seed)
        return found

    def influence(self, groups: Any = None) -> Influence:
        """Say what each row, or each cluster, does to the estimates.

        ``b - b_(i)`` is one Newton step from the estimates on the other rows, ``(A - A_i)^-1 s_i`` with score s_i and
        information A_i of the row: exact for least squares (Cook and Weisberg 1982; Pregibon 1981).

        Parameters
        ----------
        groups : clusters to leave out instead of rows: a column name, a Series or an array as long as the data.

        Raises
        ------
        UndefinedStatisticError
            If the fit has no maximum, fits perfectly or has a parameter at a bound; if the likelihood gives its sum
            only, or several rows are one observation.
        DataError
            If an id is missing among the rows in use.

        Notes
        -----
        Fixed parameters and constraints hold in every step. Under ``freq_weights`` a row less is one observation less;
        a cluster goes with all its copies. Other weights go with their rows.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.OLS.from_formula("lwage ~ educ + exper", tm.datasets.load("wage1")).fit()
        >>> res.influence().cooks_distance.idxmax()
        378
        """
        with engine():
            found: Influence = self.model.resampled(self, "influence", groups=groups)
        return found

    get_influence = influence

    def boundary_test(self, restricted: Any, edge: str | None = None) -> HypothesisTest:
        """Test that a parameter is at the edge of its range, by a likelihood ratio with the law that it then has.

        Where the edge is true the ratio is zero half of the time: a mixture of chi-squared laws with df and df - 1
        degrees of freedom, half of each (Self and Liang 1987, cases 5 and 6; chi-bar-squared). For one restriction that
        is half the p-value of chi2(1), and 1 where the fit itself is at the edge.

        Parameters
        ----------
        restricted : results of the model at the edge on the same rows (Poisson for a negative binomial), with one
            parameter on it; or the name of a parameter that has a bound in this fit (``fit(bounds=...)``).
        edge : the parameter at its edge, where neither bounds nor a range say so: a standard deviation whose sign means
            nothing.

        Raises
        ------
        OptionError
            If the rows differ, the restricted model is not shown to be this one with one parameter at its edge, or no
            or several parameters are at an edge.
        UndefinedStatisticError
            Under ``sampling_weights``, where a fit has no maximum (other than at the edge), and where a parameter that
            is not tested is at a bound.

        Examples
        --------
        >>> import torchmle as tm
        >>> crime1 = tm.datasets.load("crime1")
        >>> fits = [kind.from_formula("narr86 ~ pcnv", crime1).fit() for kind in (tm.NegativeBinomial, tm.Poisson)]
        >>> fits[0].boundary_test(fits[1]).pvalue < 1e-50
        True
        """
        from .boundary import boundary_test

        with engine():
            return boundary_test(self, restricted, edge)
