"""Hold fitted models of discrete choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...workers import engine
from .predicted import PredictedChoices

if TYPE_CHECKING:
    from ...results.contrasts import HypothesisTest
    from .drawsreport import DrawsReport
    from .quantities import Quantities


@dataclass(frozen=True, eq=False, repr=False)
class ChoiceResults(PredictedChoices):
    """Hold a fitted model of choices: probabilities, shares, elasticities and valuations beside everything else.

    Errors are those of functions of the estimates with the covariance of these results, rows taken as given; they are
    NaN where the fit did not converge. Averages count situations by the weights of the fit.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"),
    ...                                          alternatives="mode", situations="trip", base="bus")
    >>> res = model.fit()
    >>> res.probabilities().shape, res.converged
    ((1000, 4), True)
    """

    # ---- valuations and random coefficients

    def wtp(
        self,
        attributes: str | Sequence[str],
        price: str,
        *,
        method: str = "delta",
        alpha: float = 0.05,
        draws: int = 5_000,
        seed: int = 0,
    ) -> Quantities:
        """Return what one more unit of an attribute is worth in units of the price: ``-b / b_price``.

        It is negative for what people would pay to avoid, such as time. In a mixed logit it is a distribution over
        persons: its mean, median and standard deviation; in willingness-to-pay space it is the coefficient itself.

        Parameters
        ----------
        attributes, price : names of coefficients.
        method : ``"delta"``; ``"krinsky_robb"``, percentiles over ``draws`` of the parameters from their normal law
            with a ``seed``; ``"fieller"``, the ratios of two parameters that a test does not reject, which may be
            unbounded where the price coefficient is not told from zero.
        alpha : one minus the level.

        Raises
        ------
        OptionError
            For unknown names, and where an attribute enters by several columns (``time + time:income``).
        UndefinedStatisticError
            If the price coefficient has a law with mass around zero (normal), so that ratios to it have no mean; if
            ``"fieller"`` is asked for what is no ratio of two parameters.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"),
        ...                                          alternatives="mode", situations="trip", base="bus")
        >>> res = model.fit()
        >>> res.wtp("time", "cost").table.round(3).loc["time"].tolist()
        [-0.258, 0.037, -0.331, -0.185]
        >>> res.wtp("time", "cost", method="fieller").conf_int().round(3).tolist()
        [[-0.354, -0.198]]
        """
        from .worth import wtp

        with engine():
            return wtp(self, attributes, price, method, alpha, draws, seed)

    def random_coefficients(self, *, alpha: float = 0.05) -> Quantities:
        """Return mean, median, standard deviation and positive share of each random coefficient over persons.

        Of the coefficients themselves, not of the normals under them. Where means depend on person variables it is the
        law over the persons of the fit; in willingness-to-pay space it is the law of what a unit is worth.

        Raises
        ------
        UndefinedStatisticError
            If the model has no random coefficients.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.MixedLogit.from_formula(
        ...     "chosen ~ time + cost", tm.datasets.load("trips"), alternatives="mode", situations="trip",
        ...     persons="person", random={"time": "-lognormal"}, draws=100)
        >>> model.fit().random_coefficients().table.estimate.round(3).tolist()
        [-0.087, -0.077, 0.047, 0.0]
        """
        from .worth import random_coefficients

        with engine():
            return random_coefficients(self, alpha)

    def spread(self, *, alpha: float = 0.05) -> Quantities:
        """Return standard deviations (half ranges of uniform and triangular laws) and correlations, with errors.

        For correlated coefficients they are functions of the Cholesky factor; of lognormal and Johnson SB ones they
        belong to the normals under them.

        Raises
        ------
        UndefinedStatisticError
            If the model has no random coefficients.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.MixedLogit.from_formula(
        ...     "chosen ~ time + cost", tm.datasets.load("trips"), alternatives="mode", situations="trip",
        ...     persons="person", random={"time": "normal", "cost": "normal"}, correlated=True, draws=100)
        >>> list(model.fit().spread().table.index)
        ['sd:time', 'sd:cost', 'cor:cost:time']
        """
        from .worth import spread

        with engine():
            return spread(self, alpha)

    def surplus(
        self,
        price: str,
        data: Any = None,
        *,
        versus: Any = None,
        without: Any = None,
        weights: Any = None,
        alpha: float = 0.05,
        **changes: Any,
    ) -> Quantities:
        """Return consumer surplus in units of a price, and what a change is worth to people, per choice situation.

        The expected utility of the best alternative (the logsum, or that of the tree of nests) over minus the
        derivative of utility in the price (Small and Rosen 1981; Train 2009, section 3.5), averaged over situations;
        for a mixed logit also over the draws of each person. Levels are known up to a constant only, differences fully.

        Parameters
        ----------
        price : a column that enters linearly, with one coefficient for all alternatives; it may interact with variables
            of the situation.
        data, versus, without, changes, weights, alpha : as in :meth:`counterfactual`; without any, the level.

        Raises
        ------
        OptionError
            If the price does not enter linearly, or is worth more in one alternative than in another.
        UndefinedStatisticError
            If utility does not fall in the price, or its coefficient has a law with mass around zero.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"),
        ...                                          alternatives="mode", situations="trip", base="bus")
        >>> model.fit().surplus("cost", without="bus").table.loc["change"].round(3).tolist()
        [-0.607, 0.1, -0.803, -0.41]
        """
        from .welfare import surplus

        with engine():
            return surplus(self, price, data, versus, without, changes, weights, alpha)

    def individual_coefficients(
        self, *, parameter_uncertainty: bool = False, draws: int = 100, seed: int = 0
    ) -> pd.DataFrame:
        """Return means and standard deviations of each person's random coefficients, given what the person chose.

        ``E(b | choices) = sum_r b_r L_r / sum_r L_r`` with L_r the probability of the person's choices at draw r (Train
        2009, chapter 11); in willingness-to-pay space of what a unit is worth.

        Parameters
        ----------
        parameter_uncertainty : whether to add ``std err``, how much the means move as the parameters are drawn from
            their normal law, ``draws`` times with a ``seed``.

        Returns
        -------
        pandas.DataFrame
            A row a person; columns are pairs of coefficient and ``mean``, ``sd``.

        Raises
        ------
        UndefinedStatisticError
            If the model has no random coefficients.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.MixedLogit.from_formula(
        ...     "chosen ~ time + cost", tm.datasets.load("trips"), alternatives="mode", situations="trip",
        ...     persons="person", random={"time": "normal"}, draws=100)
        >>> model.fit().individual_coefficients().shape
        (200, 2)
        """
        from .individual import individual_coefficients

        with engine():
            return individual_coefficients(self, parameter_uncertainty, draws, seed)

    # ---- what was taken for granted

    def iia_test(self, without: Any, *, robust: bool | None = None) -> HypothesisTest:
        """Test independence of irrelevant alternatives by leaving some out (Hausman and McFadden 1984).

        Under a conditional logit the choices among the other alternatives have the same coefficients. The statistic
        ``d' V^-1 d`` of the difference d of both estimates is chi-squared with as many degrees of freedom as there are
        common coefficients.

        Parameters
        ----------
        without : an alternative, or a list of them; not the base where there are coefficients by alternative.
        robust : whether V comes from the influence functions of both fits, always positive definite and valid under
            clusters and sampling weights, or is the difference of their covariances. By default as the errors of these
            results: robust for HC0, HC1 and cluster.

        Raises
        ------
        UndefinedStatisticError
            If this is no conditional logit at its maximum, or the difference of the covariances is not positive
            definite.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"),
        ...                                          alternatives="mode", situations="trip", base="bus")
        >>> test = model.fit().iia_test("bike", robust=True)
        >>> test.df, round(test.pvalue, 3)
        (4, 0.828)
        """
        from .iia import iia_test

        with engine():
            return iia_test(self, without, robust)

    def mixing_test(self, names: str | Sequence[str] | None = None) -> HypothesisTest:
        """Test whether coefficients of a conditional logit vary over people, without fitting a mixed logit.

        The Lagrange multiplier test of McFadden and Train (2000, theorem 3): the score of the artificial variables
        ``z_j = (x_j - xbar)^2 / 2``, with xbar the mean of x under the estimated probabilities. Errors of HC0, HC1 or
        cluster make it robust.

        Parameters
        ----------
        names : of coefficients; all by default.

        Raises
        ------
        UndefinedStatisticError
            If this is no conditional logit at its maximum, or the artificial variables are collinear.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"),
        ...                                          alternatives="mode", situations="trip", base="bus")
        >>> model.fit().mixing_test("time").df
        1
        """
        from .iia import mixing_test

        with engine():
            return mixing_test(self, names)

    def draws_report(
        self,
        numbers: Sequence[int] = (100, 250, 500),
        kinds: Sequence[str] = ("halton", "random"),
        seeds: Sequence[int] = (0, 1, 2),
        *,
        progress: bool | None = None,
    ) -> DrawsReport:
        """Fit a mixed logit again, from these estimates, with other draws; say how much the estimates move.

        Parameters
        ----------
        numbers, kinds, seeds : of :class:`torchmle.Draws`; each combination is a fit.
        progress : a line on the terminal; by default where there is one and it takes long.

        Raises
        ------
        UndefinedStatisticError
            If the model has no random coefficients.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.MixedLogit.from_formula(
        ...     "chosen ~ time + cost", tm.datasets.load("trips"), alternatives="mode", situations="trip",
        ...     persons="person", random={"time": "normal"}, draws=50)
        >>> report = model.fit().draws_report(numbers=[50], kinds=["halton", "random"], seeds=[0, 1])
        >>> list(report.fits.index)[:2]
        [('halton', 50, 0), ('halton', 50, 1)]
        """
        from .drawsreport import draws_report

        with engine():
            return draws_report(self, numbers, kinds, seeds, progress)
