"""Say what a fit predicts: margins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..workers import engine
from .effects import Margins
from .estimates import Estimates
from .margins import margins


@dataclass(frozen=True, eq=False, repr=False)
class Predicted(Estimates):
    """Add margins to estimates."""

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
        change against its base level. Averages count rows by ``freq_weights`` or ``sampling_weights``.

        Parameters
        ----------
        variables : names of columns; all on the right-hand sides by default.
        at : ``"overall"`` averages over the rows as they are; ``"mean"``, ``"median"``, ``"zero"`` set the numbers to
            that value and average the columns of the categories; a dict sets columns to a value, or to each of several.
        over : a column in whose groups averages are taken.
        kind : ``"dydx"``, the elasticities ``"eyex"``, ``"dyex"``, ``"eydx"``, or ``"mean"`` for the prediction itself.
        which : ``"mean"``, ``"linear"`` or the name of a predictor.
        vce : ``"delta"`` takes the rows as given; ``"unconditional"`` adds their sampling, for robust errors
            (influence functions; Wooldridge 2010, problem 12.17).
        alpha : one minus the level of the intervals.

        Raises
        ------
        OptionError
            For names and options that do not exist, and models without regressors.
        UndefinedStatisticError
            If the fit has no maximum, or the model does not say what it predicts.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ educ + exper + I(exper**2)", tm.datasets.load("mroz")).fit()
        >>> res.margins("exper").table.round(4).estimate.tolist()
        [0.0239]
        """
        with engine():
            return margins(self, variables, at, over, kind, which, vce, alpha)
