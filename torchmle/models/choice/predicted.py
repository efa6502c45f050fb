"""Predict from fitted models of discrete choice: the methods of results that do so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...results.results import Results
from ...workers import engine

if TYPE_CHECKING:
    from .predict import Counterfactual
    from .quantities import Quantities


@dataclass(frozen=True, eq=False, repr=False)
class PredictedChoices(Results):
    """Add predictions of choices to results."""

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
