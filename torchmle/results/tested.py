"""Test hypotheses and give intervals: the methods of results that do so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..errors import OptionError, listing
from ..workers import engine
from .bootstrap import bootstrap_intervals
from .contrasts import Contrasts, HypothesisTest, JointIntervals
from .estimates import Estimates
from .hypotheses import delta_method, joint_intervals, t_test, wald_test, wald_test_terms
from .profile import Profile, check_method, profile, profile_intervals
from .ratio import lr_test
from .score import score_test
from .specification import information_matrix_test, vuong_test


@dataclass(frozen=True, eq=False, repr=False)
class Tested(Estimates):
    """Add tests and intervals to estimates."""

    # ---- Wald tests

    def wald_test(self, hypotheses: Any, use_f: bool | None = None) -> HypothesisTest:
        """Test linear equations together, with the covariance of these results.

        ``W = (R b - q)' (R V R')^-1 (R b - q)`` is chi-squared with as many degrees of freedom as there are equations
        (Wooldridge 2010, equation 12.63). Equations that others imply are found and not counted.

        Parameters
        ----------
        hypotheses : text such as ``"x1 = x2"``, ``"educ = 0, exper = 0"`` (without an equals sign: ``= 0``), a list
            of such, a dict ``{"educ": 0.1}``, an array (K,) or (M, K), a frame by name, or a pair ``(R, q)``.
        use_f : whether to report F = W / M with the residual degrees of freedom; default where the results use t.

        Raises
        ------
        OptionError
            For names that do not exist, what is not linear, equations that contradict each other, fixed parameters,
            parameters at a bound, and values at the edge of a range (``sigma = 0``).
        UndefinedStatisticError
            If the fit has no maximum, or the covariance of the equations is singular (too few clusters).

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ educ + huseduc + age", tm.datasets.load("mroz")).fit()
        >>> print(res.wald_test("educ = 0, huseduc = 0"))
        Wald test: chi2(2) = 29.47, p-value < 0.0001
        H0: educ = 0, huseduc = 0
        nonrobust covariance.
        """
        with engine():
            return wald_test(self, hypotheses, use_f)

    def f_test(self, hypotheses: Any) -> HypothesisTest:
        """Return :meth:`wald_test` as an F statistic."""
        with engine():
            return wald_test(self, hypotheses, True)

    def t_test(self, hypotheses: Any = None, *, alpha: float = 0.05, adjust: str | None = None) -> Contrasts:
        """Test linear equations one by one: estimate, standard error, z or t, interval.

        Parameters
        ----------
        hypotheses : as in :meth:`wald_test`; by default each parameter against zero.
        alpha : one minus the level of the intervals.
        adjust : adjust p-values for how many there are: ``"bonferroni"``, ``"sidak"``, ``"holm"``, ``"hochberg"``,
            ``"hommel"``, ``"bh"`` or ``"by"`` (:func:`torchmle.adjust_pvalues`).

        Raises
        ------
        OptionError, UndefinedStatisticError
            As in :meth:`wald_test`; of several rows, those that cannot be tested have NaN.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.OLS.from_formula("lwage ~ educ + exper + tenure", tm.datasets.load("wage1")).fit()
        >>> res.t_test("exper = tenure").table.round(4).iloc[0, :4].tolist()
        [-0.0179, 0.0042, -4.2369, 0.0]
        """
        with engine():
            return t_test(self, hypotheses, alpha, adjust)

    def wald_test_terms(self, skip_single: bool = False, use_f: bool | None = None) -> pd.DataFrame:
        """Test the coefficients of each term of the formulas together, as in an analysis of variance of type III.

        Parameters
        ----------
        skip_single : leave out terms of one column.
        use_f : as in :meth:`wald_test`.

        Returns
        -------
        pandas.DataFrame
            A row a term. Without a formula every column is a term.
        """
        with engine():
            return wald_test_terms(self, skip_single, use_f)

    # ---- comparisons of models

    def lr_test(self, restricted: Any) -> HypothesisTest:
        """Test restrictions by twice the difference of the log-likelihoods, chi-squared if they hold.

        Parameters
        ----------
        restricted : results of the same model under ``fixed`` or ``constraints``, or with fewer columns.

        Raises
        ------
        OptionError
            If the two fits differ in rows, response, weights or likelihood, if the restricted model is not shown to
            be a special case, or if it has the higher log-likelihood.
        UndefinedStatisticError
            If a fit has no maximum, under ``sampling_weights``, and where a parameter ran to a bound.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.Logit.from_formula("inlf ~ educ + huseduc + age", tm.datasets.load("mroz"))
        >>> test = model.fit().lr_test(model.fit(constraints="educ = huseduc"))
        >>> round(test.statistic, 2), test.df
        (23.08, 1)
        """
        with engine():
            return lr_test(self, restricted)

    def score_test(
        self,
        added: Any = None,
        *,
        freed: str | Sequence[str] | None = None,
        predictor: str | None = None,
        cov_type: str | None = None,
        cov_kwds: Mapping[str, Any] | None = None,
    ) -> HypothesisTest:
        """Test what the fit left out, or held, by the score of the larger model at these estimates, without a refit.

        ``g' A^-1 R' (R V R')^-1 R A^-1 g`` with score g and information A of the larger model, V its covariance of
        the type asked for, all at the restricted estimates (Engle 1984; Boos 1992): chi-squared if R is right to
        restrict. For ``nonrobust`` it is the Lagrange multiplier statistic ``g' A^-1 g``, for ``opg`` n R2 of 1 on
        the scores; for least squares in closed form n R2 of the residuals. Other types make it robust. For covariances
        with ``cov_kwds={"information": "expected"}`` A is the expected information, as in Breusch and Pagan's test.

        Parameters
        ----------
        added : new columns: terms such as ``"x3 + I(x1**2)"`` where the model has a formula, or a frame or matrix.
        freed : names in ``fit(fixed=...)``, or equations in ``fit(constraints=...)``, that are given up.
        predictor : which predictor the columns go to; by default the first.
        cov_type, cov_kwds : as in :meth:`with_cov`; by default those of these results.

        Raises
        ------
        OptionError, DataError
            For columns that are there already, missing in rows in use or collinear; for what the fit did not restrict.
        UndefinedStatisticError
            If the fit has no maximum, a parameter ran to a bound, or the larger model's information is not positive
            definite at these estimates.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ educ + exper", tm.datasets.load("mroz")).fit()
        >>> test = res.score_test("age + I(age**2)")
        >>> round(test.statistic, 2), test.df
        (34.01, 2)
        """
        with engine():
            return score_test(self, added, freed, predictor, cov_type, cov_kwds)

    def vuong_test(self, other: Any, correction: str = "none") -> HypothesisTest:
        """Compare two models that are not nested by the log-likelihoods of the rows (Vuong 1989).

        The statistic ``sum m / (w sqrt n)``, ``m`` the differences by row and ``w^2`` their variance, is standard
        normal where both models are equally close to the truth and do not coincide.

        Parameters
        ----------
        other : results on the same rows.
        correction : ``"aic"`` or ``"bic"`` take off what the difference in parameters is worth by these.

        Raises
        ------
        OptionError
            If the fits differ in rows, response or weights, or are nested.
        UndefinedStatisticError
            If a fit has no maximum or only the sum of its log-likelihoods, or both have the same in every row.

        Examples
        --------
        >>> import torchmle as tm
        >>> crime1 = tm.datasets.load("crime1")
        >>> fits = [kind.from_formula("narr86 ~ pcnv", crime1).fit() for kind in (tm.NegativeBinomial, tm.Poisson)]
        >>> round(fits[0].vuong_test(fits[1]).statistic, 2)
        4.36
        """
        with engine():
            return vuong_test(self, other, correction)

    def information_matrix_test(self, diagonal: bool = False) -> HypothesisTest:
        """Test whether Hessian and outer product of the scores agree, as they do where the likelihood is right.

        White's (1982) test in the form of Chesher (1983) and Lancaster (1984): n R2 of a regression of 1 on the
        scores and on the elements of ``h + s s'`` by row. It needs no third derivatives and rejects too often in
        small samples.

        Parameters
        ----------
        diagonal : test the diagonal of the matrix only, which has fewer degrees of freedom.

        Raises
        ------
        UndefinedStatisticError
            If the fit has no maximum or only the sum of its log-likelihoods, under ``sampling_weights``, and where a
            parameter ran to a bound.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Poisson.from_formula("narr86 ~ pcnv", tm.datasets.load("crime1")).fit()
        >>> res.information_matrix_test().pvalue < 0.001
        True
        """
        with engine():
            return information_matrix_test(self, diagonal)

    # ---- functions of parameters

    def delta_method(self, fn: Any, *, alpha: float = 0.05) -> Contrasts:
        """Estimate functions of the parameters, with standard errors: ``J V J'`` with exact derivatives J.

        Parameters
        ----------
        fn : text such as ``"exp(educ) / exper"`` (several parted by commas), a list of texts, a function of a mapping
            from names to tensors that returns a tensor, or a dict of label to text or function. Parameters are in the
            units of ``params``. Text may call exp, log, sqrt, abs, expit, logit, normcdf, expm1, log1p, tanh, atanh.
        alpha : one minus the level of the intervals.

        Raises
        ------
        OptionError
            For names that do not exist and text that is no arithmetic.
        LikelihoodError
            If a function returns no tensor made of the parameters, or is not finite.
        UndefinedStatisticError
            If the fit has no maximum, or the function depends on a parameter at a bound.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.OLS.from_formula("lwage ~ exper + I(exper**2)", tm.datasets.load("wage1")).fit()
        >>> peak = res.delta_method(lambda p: -p["exper"] / (2 * p["I(exper ** 2)"]))
        >>> peak.table.round(2).iloc[0, :2].tolist()
        [24.12, 0.91]
        """
        with engine():
            return delta_method(self, fn, alpha)

    def nlcom(self, fn: Any, *, alpha: float = 0.05) -> Contrasts:
        """Return :meth:`delta_method` under Stata's name."""
        return self.delta_method(fn, alpha=alpha)

    # ---- intervals

    def conf_int(
        self,
        alpha: float = 0.05,
        method: str = "wald",
        *,
        bootstrap: Any = None,
        reps: int | None = None,
        kind: str | None = None,
        seed: int | None = None,
        groups: Any = None,
        interval: str | None = None,
    ) -> pd.DataFrame:
        """Return intervals of the parameters; columns 0 and 1 are the lower and upper ends.

        Parameters
        ----------
        alpha : one minus the confidence level, strictly between 0 and 1.
        method : ``"wald"`` takes estimate and standard error; ``"profile"`` the values at which the log-likelihood,
            all else at its best, has fallen by half the chi-squared quantile (:meth:`profile`); ``"bootstrap"`` those
            of resampling.
        bootstrap : for ``"bootstrap"``: what :meth:`bootstrap` of this fit returned; by default it is called.
        reps, kind, seed, groups : for that call: by default 999 replicates with seed 0, of whole clusters where the
            errors of these results are clustered, else of rows.
        interval : for ``"bootstrap"``: ``"percentile"`` (default), ``"basic"``, ``"bca"`` or ``"normal"``.

        Raises
        ------
        OptionError, UndefinedStatisticError
            For a method that does not exist and options of another one; for a bootstrap of another fit; for
            ``"bootstrap"`` without a ``kind`` where errors are serial or spatial; where there is no profile
            (:meth:`profile`).

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ educ", tm.datasets.load("mroz")).fit()
        >>> res.conf_int(method="profile").round(3).loc["educ"].tolist()
        [0.107, 0.243]
        >>> res.conf_int(method="bootstrap", reps=199, seed=1, interval="bca").shape
        (2, 2)
        """
        check_method(method)
        asked = {"bootstrap": bootstrap, "reps": reps, "kind": kind, "seed": seed, "groups": groups}
        given = {name: value for name, value in {**asked, "interval": interval}.items() if value is not None}
        if given and method != "bootstrap":
            raise OptionError(f"{listing(f'{name}=' for name in given)} goes with method='bootstrap'.")
        if method == "wald":
            return super().conf_int(alpha)
        with engine():
            if method == "profile":
                return profile_intervals(self, alpha)
            return bootstrap_intervals(self, alpha, given)

    def profile(self, what: Any, *, alpha: float = 0.05) -> Profile:
        """Follow the log-likelihood along a parameter, or a function of parameters, to both ends of an interval.

        All other parameters are at their best for each value. The interval holds the values that a likelihood ratio
        test does not reject: twice the fall of the log-likelihood is at most the chi-squared quantile. It does not
        depend on how parameters are written, need not be symmetric, and is open where the log-likelihood flattens.

        Parameters
        ----------
        what : name of a parameter, or one function of parameters as in :meth:`delta_method`.
        alpha : one minus the level.

        Returns
        -------
        Profile
            With ``low``, ``high``, and ``points``, the values visited. An end that is not found is NaN, with a warning.

        Raises
        ------
        OptionError
            For names that do not exist, fixed parameters, several functions, and fits under ``bounds``.
        UndefinedStatisticError
            If the fit has no maximum, and under ``sampling_weights``.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ exper + I(exper**2)", tm.datasets.load("mroz")).fit()
        >>> peak = res.profile("-exper / (2*I(exper**2))")
        >>> round(peak.low, 1), round(peak.estimate, 1), round(peak.high, 1)
        (21.8, 25.8, 36.0)
        """
        with engine():
            return profile(self, what, alpha)

    def joint_conf_int(
        self,
        hypotheses: Any = None,
        *,
        alpha: float = 0.05,
        method: str = "sup-t",
        draws: int = 200_000,
        seed: int = 0,
    ) -> JointIntervals:
        """Return intervals that hold all at once with probability ``1 - alpha``.

        Parameters
        ----------
        hypotheses : combinations of parameters as in :meth:`t_test`; by default all slopes.
        alpha : one minus the probability.
        method : ``"sup-t"`` uses the correlation of the estimates by simulation and gives the shortest intervals
            (Montiel Olea and Plagborg-Moller 2019); ``"sidak"``, ``"bonferroni"``; ``"scheffe"`` holds for all
            combinations of the rows.
        draws, seed : of the simulation.

        Raises
        ------
        OptionError
            For fixed parameters, parameters at a bound, and options that do not exist.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ educ + exper + age", tm.datasets.load("mroz")).fit()
        >>> joint = res.joint_conf_int()
        >>> round(joint.pointwise, 2), round(joint.critical, 1)
        (1.96, 2.4)
        """
        with engine():
            return joint_intervals(self, hypotheses, alpha, method, draws, seed)
