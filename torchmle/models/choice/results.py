"""Hold fitted models of discrete choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...results.results import Results
from ...workers import engine

if TYPE_CHECKING:
    from .predict import Counterfactual
    from .quantities import Quantities


@dataclass(frozen=True, eq=False, repr=False)
class ChoiceResults(Results):
    """Hold a fitted model of choices: probabilities, shares, elasticities and valuations beside everything else.

    Errors are those of functions of the estimates with the covariance of these results, rows taken as given; they are
    NaN where the fit did not converge. Averages count situations by the weights of the fit.
    """

    def probabilities(self, data: Any = None, *, available: Any = None) -> pd.DataFrame:
        """Return the probabilities of alternatives, for the situations of the fit or for new ones.

        Parameters
        ----------
        data : :class:`torchmle.ChoiceData`, or a long table with the columns of the fit, whose choices need not be
            known; for a model of arrays an array (S, J, K).
        available : (S, J) for an array.

        Returns
        -------
        pandas.DataFrame
            A row a situation, a column an alternative: 0 where not available, NaN in situations with missing values,
            which come last. For a mixed logit these are averages over the draws of a person that was not observed to
            choose; persons of the fit keep the draws they had.

        Raises
        ------
        DataError
            For levels or alternatives that the fit did not know.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"),
        ...                                          alternatives="mode", situations="trip", base="bus")
        >>> model.fit().probabilities().iloc[0].round(2).to_dict()
        {'bus': 0.17, 'train': 0.56, 'bike': 0.27, 'car': 0.0}
        """
        from .predict import probabilities

        with engine():
            return probabilities(self, data, available)

    def shares(
        self, data: Any = None, *, by: Any = None, weights: Any = None, available: Any = None, alpha: float = 0.05
    ) -> Quantities:
        """Return market shares, the averages of probabilities, with errors.

        Parameters
        ----------
        data, available : as in :meth:`probabilities`.
        by : a column of the long data, or a function of them, that says of which kind an alternative is in a
            situation; shares are then those of the kinds.
        weights : what situations count: a column, a Series or an array; by default as in the fit.
        alpha : one minus the level of the intervals.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"),
        ...                                          alternatives="mode", situations="trip", base="bus")
        >>> model.fit().shares().table.round(3).loc["bus", ["estimate", "std err"]].tolist()
        [0.162, 0.011]
        """
        from .predict import shares

        with engine():
            return shares(self, data, by, weights, available, alpha)

    def counterfactual(
        self,
        data: Any = None,
        *,
        versus: Any = None,
        without: Any = None,
        by: Any = None,
        weights: Any = None,
        alpha: float = 0.05,
        **changes: Any,
    ) -> Counterfactual:
        """Return market shares before and after a change, and the differences with their errors.

        Parameters
        ----------
        data : situations after the change, as in :meth:`probabilities`; or say what changes:
        changes : columns of the data, as in :meth:`ChoiceData.with_columns`.
        without : an alternative that is taken out, or a list of them.
        versus : situations before; by default those of the fit.
        by, weights, alpha : as in :meth:`shares`.

        Raises
        ------
        OptionError
            If nothing changes, or a column does not exist.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"),
        ...                                          alternatives="mode", situations="trip", base="bus")
        >>> dearer = model.fit().counterfactual(cost=lambda d: d.cost.where(d["mode"] != "car", 1.2 * d.cost))
        >>> dearer.table.round(3).loc["car", ["before", "after", "change", "std err"]].tolist()
        [0.369, 0.322, -0.047, 0.006]
        """
        from .predict import counterfactual

        with engine():
            return counterfactual(self, data, versus, without, changes, by, weights, alpha)

    def elasticities(
        self,
        variable: str,
        alternative: Any = None,
        *,
        data: Any = None,
        at: str = "aggregate",
        weights: Any = None,
        alpha: float = 0.05,
    ) -> Quantities | pd.DataFrame:
        """Return own and cross elasticities of choices with respect to a column of the data.

        ``E_ji = sum_n w_n x_ni dP_nj/dx_ni / sum_n w_n P_nj``: the elasticity of the share of j as the column
        changes by one per cent in the rows of i, the average of ``dlog P_nj / dlog x_ni`` weighted by probabilities
        (sample enumeration; Train 2009, sections 2.6 and 3.6; Ben-Akiva and Lerman 1985, section 5.5). The derivative
        goes through the formula: with ``cost + I(cost**2) + cost:income`` through all three.

        Parameters
        ----------
        variable : a numeric column; one that belongs to the situation (income) moves all alternatives at once.
        alternative : the i whose column changes; each in turn by default.
        data : as in :meth:`probabilities`.
        at : ``"aggregate"``, or ``"situations"`` for a frame of ``dlog P_nj / dlog x_ni`` with errors.
        weights, alpha : as in :meth:`shares`.

        Raises
        ------
        OptionError
            For columns that move nothing, or have levels or jumps, and for unknown alternatives.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"),
        ...                                          alternatives="mode", situations="trip", base="bus")
        >>> model.fit().elasticities("cost", "car").table.estimate.round(2).tolist()
        [0.43, 0.4, 0.35, -0.66]
        """
        from .elasticity import elasticities

        with engine():
            return elasticities(self, variable, alternative, data, at, weights, alpha)

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
