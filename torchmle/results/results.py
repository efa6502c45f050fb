"""Report a fit under statsmodels' names, frozen, with every number labelled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..data.absent import need_rows
from ..errors import UndefinedStatisticError
from ..workers import engine
from .estimates import within_unit
from .familiar import Familiar
from .fit import Document
from .lean import lean
from .resampled import Resampled

if TYPE_CHECKING:
    from ..loglik.identification import Identification
    from .compare import Comparison
    from .safety import Safety


@dataclass(frozen=True, eq=False, repr=False)
class Results(Familiar, Resampled):
    """Hold a fitted model.

    Parameters, errors and tests are pandas objects labelled by the names of the model. Where the returned point is
    not shown to be a maximum, ``converged`` is False and every standard error is NaN.

    Examples
    --------
    >>> import torchmle as tm
    >>> res = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
    >>> res.converged, list(res.params.index)
    (True, ['Intercept', 'educ', 'age'])
    """

    # ---- predictions

    @cached_property
    def _fitted(self) -> pd.Series:
        return self.predict()

    @property
    def fittedvalues(self) -> pd.Series:
        """Return the predicted means of the rows in use, with their labels."""
        return self._fitted.copy()

    @property
    def resid(self) -> pd.Series:
        """Return response less fitted value, with the labels of the rows in use."""
        need_rows(self.model.data, "resid")
        values = self.model.data.endog.cpu().double().numpy() - self._fitted.to_numpy()
        return pd.Series(values, index=self._fitted.index)

    def predict(self, exog: Any = None, which: str = "mean", **new: Any) -> pd.Series:
        """Predict for new data, or for the rows of the fit.

        Parameters
        ----------
        exog : a table with the columns of the formula, or a matrix like that of the fit; None for the rows in use.
        which : ``"mean"`` for the expected response, ``"linear"`` for the first predictor, or a predictor's name.
        new : ``offset``, ``exposure`` for the new rows; matrices of further predictors where the fit had arrays.

        Returns
        -------
        pandas.Series
            With the labels of the new rows; NaN where a regressor is missing.
        """
        from .predict import predict

        with engine():
            return predict(self, exog, which, new)

    # ---- keeping

    def save(self, path: str | PathLike[str], data: bool = False) -> None:
        """Write these results to a file, which :func:`torchmle.load` reads; a crash leaves the old file.

        Parameters
        ----------
        path : name of the file.
        data : whether to keep the rows as well, for ``with_cov``, residuals, predictions without new data, and
            :func:`torchmle.replay`. Without them the file is small, and these are an error.

        Raises
        ------
        OptionError, StoreError
            If the folder does not exist, or the file cannot be written.
        """
        from .store import save

        with engine():
            save(self, path, data)

    def lean(self) -> Results:
        """Return the same results without the rows of the fit; what needs them is then an error.

        All that was estimated stays, to the last digit: the summary, tests, predictions for new data.
        """
        with engine():
            return lean(self)

    # ---- comparison and reports

    @property
    def safety(self) -> Safety:
        """Return the verdict on constraints that must be true with confidence; ``table`` has a row for each."""
        if self.fit.safety is None:
            raise UndefinedStatisticError(
                "safety is defined for fits under constraints with confidence: fit(constraints=['ACC >= 0.95'], "
                "delta=0.05)."
            )
        return self.fit.safety

    def compare_ols(self) -> Comparison:
        """Set the estimates beside closed-form least squares on the same rows.

        Raises
        ------
        OptionError
            If the response is not continuous, or the model has no linear first predictor.
        """
        from .compare import compare_ols

        return compare_ols(self)

    def identification(self) -> Identification:
        """Return which combinations of the parameters the data identify, how firmly, and why others are not.

        Prints as text; ``table`` is a DataFrame with a row a direction, the weakest first.
        """
        from .identify import identify

        with engine():
            return identify(self)

    def summary(self, alpha: float = 0.05) -> Document:
        """Return the summary table: prints as text, shows as HTML in a notebook.

        Its methods ``as_text``, ``as_html``, ``as_latex``, ``as_markdown`` and ``as_csv`` write it; ``tables`` has its
        parts.
        """
        return self.reporter(self, within_unit(alpha))

    def summary2(self, alpha: float = 0.05) -> Document:
        """Return :meth:`summary`, which statsmodels has in two forms."""
        return self.summary(alpha)

    def __repr__(self) -> str:
        verdict = "converged" if self.converged else f"NOT CONVERGED ({self.fit.status.value})"
        if self.fit.safety is not None:
            verdict = "passed" if self.fit.safety.passed else "NO SOLUTION FOUND"
        return f"<{type(self.model).__name__} results: {len(self.names)} parameters, nobs={self.nobs:g}, {verdict}>"

    def _repr_html_(self) -> str:
        return self.summary().as_html()
