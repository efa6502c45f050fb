"""Say what a fit predicts: margins, predictions with errors, residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..workers import engine
from .effects import Margins
from .estimates import Estimates
from .margins import margins, margins_of_columns
from .prediction import Prediction, get_prediction
from .residuals import residuals


@dataclass(frozen=True, eq=False, repr=False)
class Predicted(Estimates):
    """Add predictions to estimates."""

    def margins(
        self,
        variables: str | Sequence[str] | None = None,
        *,
        at: str | Mapping[str, Any] = "overall",
        over: str | None = None,
        kind: str = "dydx",
        which: str = "mean",
        vce: str = "delta",
        alpha: float = 0.05,
    ) -> Margins:
        """Average effects of variables on a prediction over the rows in use.

        The variables are the columns of the data, not those of the design: with ``x + I(x**2)`` the effect of ``x``
        goes through both. A number has the derivative ``d E(y|x) / dx``, a categorical or boolean column a discrete
        change against its base level. A column that jumps in a number (``I(x > 3)``) has the change over one unit
        (whole numbers) or one standard deviation, and the result says so. Averages count rows by ``freq_weights`` or
        ``sampling_weights``.

        Parameters
        ----------
        variables : names of columns; all on the right-hand sides by default.
        at : ``"overall"`` averages over the rows as they are; ``"mean"``, ``"median"``, ``"zero"`` set the numbers to
            that value, evaluate the formula, and average the columns of the categories and the offset; a dict sets
            columns to a value, or to each of several.
        over : a column in whose groups averages are taken.
        kind : ``"dydx"``, the elasticities ``"eyex"``, ``"dyex"``, ``"eydx"``, or ``"mean"`` for the prediction itself.
        which : ``"mean"``, ``"linear"`` or the name of a predictor.
        vce : ``"delta"`` takes the rows as given; ``"unconditional"`` adds their sampling, for robust errors
            (influence functions of the stacked moments; Newey and McFadden 1994, section 6).
        alpha : one minus the level of the intervals.

        Raises
        ------
        OptionError
            For names and options that do not exist, and models without regressors.
        UndefinedStatisticError
            If the fit has no maximum, or the model does not say what it predicts.

        Notes
        -----
        Errors are ``J V J'`` with exact derivatives J in the parameters; those at a bound are taken as fixed there.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ educ + exper + I(exper**2)", tm.datasets.load("mroz")).fit()
        >>> res.margins("exper").table.round(4).estimate.tolist()
        [0.0266]
        """
        with engine():
            return margins(self, variables, at, over, kind, which, vce, alpha)

    def get_margeff(
        self,
        at: str = "overall",
        method: str = "dydx",
        atexog: Mapping[Any, float] | None = None,
        dummy: bool = False,
        count: bool = False,
    ) -> Margins:
        """Average effects of the columns of the design, as statsmodels does; :meth:`margins` speaks of the data.

        Parameters
        ----------
        at : ``"overall"``, ``"mean"``, ``"median"`` or ``"zero"``.
        method : ``"dydx"``, ``"eyex"``, ``"dyex"`` or ``"eydx"``.
        atexog : columns, by name or by position, to hold at a value.
        dummy : whether columns of 0 and 1 get a discrete change.
        count : whether columns of whole numbers get half the change from one less to one more.
        """
        with engine():
            return margins_of_columns(self, at, method, atexog, dummy, count)

    def get_prediction(
        self, exog: Any = None, which: str = "mean", *, ci_method: str = "delta", alpha: float = 0.05, **new: Any
    ) -> Prediction:
        """Predict with standard errors, for new data or for the rows of the fit.

        Parameters
        ----------
        exog, which, new : see :meth:`predict`.
        ci_method : ``"delta"`` for intervals around the prediction, ``"endpoint"`` for those of the linear predictor,
            mapped to the mean, which stay in its range.
        alpha : one minus the level of the intervals.

        Returns
        -------
        Prediction
            ``summary_frame()`` has statsmodels' columns, those for a new observation too where the model is linear.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.OLS.from_formula("lwage ~ educ", tm.datasets.load("wage1")).fit()
        >>> res.get_prediction({"educ": [12]}).summary_frame().round(3).iloc[0].tolist()
        [1.577, 0.021, 1.535, 1.619, 0.633, 2.521]
        """
        with engine():
            return get_prediction(self, exog, which, ci_method, alpha, new)

    def residuals(self, kind: str = "response", *, seed: int = 0) -> pd.Series:
        """Return residuals with the labels of the rows in use.

        Parameters
        ----------
        kind : ``"response"``, ``"pearson"``, ``"deviance"``, ``"generalized"`` (the score of the first predictor) or
            ``"quantile"`` (standard normal if the model is right; randomised for binary and count responses).
        seed : for the randomised ones.

        Raises
        ------
        UndefinedStatisticError
            If the model lacks what the kind needs: ``mean``, ``variance``, ``saturated`` or ``cdf``.
        """
        with engine():
            return residuals(self, kind, seed)

    @property
    def resid_response(self) -> pd.Series:
        """Return response less expected value; see :meth:`residuals`."""
        return self.residuals("response")

    @property
    def resid_pearson(self) -> pd.Series:
        """Return residuals over the standard deviation of the model."""
        return self.residuals("pearson")

    @property
    def resid_deviance(self) -> pd.Series:
        """Return signed roots of the rows' parts of the deviance."""
        return self.residuals("deviance")

    @property
    def resid_generalized(self) -> pd.Series:
        """Return the scores of the first predictor."""
        return self.residuals("generalized")
