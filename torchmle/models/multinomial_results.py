"""Hold fitted multinomial logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch

from ..data.absent import need_rows
from ..errors import OptionError, UndefinedStatisticError, unknown
from ..results.effects import Margins
from ..results.linkscale import link_values
from ..results.margins import margins, margins_of_columns
from ..results.predict import target_of
from ..results.results import Results
from ..workers import engine

if TYPE_CHECKING:
    from .multinomial import MNLogit


@dataclass(frozen=True, eq=False, repr=False)
class MNLogitResults(Results):
    """Hold a fitted multinomial logit: predictions and effects are those of the probability of each level.

    Examples
    --------
    >>> import torchmle as tm
    >>> res = tm.MNLogit.from_formula("PID ~ educ + age", tm.datasets.load("anes96")).fit()
    >>> res.params_by_level.shape, res.df_model
    ((3, 6), 12)
    """

    @property
    def _mnlogit(self) -> MNLogit:
        return cast("MNLogit", self.model)

    @property
    def params_by_level(self) -> pd.DataFrame:
        """Return the estimates as a table, terms x levels but the base: what statsmodels has in ``params``."""
        model = self._mnlogit
        values = self.params.to_numpy().reshape(len(model.others), -1).T
        return pd.DataFrame(values, index=list(model.exog_names), columns=pd.Index(list(model.others)))

    @property
    def df_model(self) -> int:
        """Return the number of slopes, those of all levels but the base."""
        return len(self._mnlogit.others) * super().df_model

    def predict(self, exog: Any = None, which: str = "mean", **new: Any) -> Any:
        """Predict the probabilities of the levels for new data, or for the rows of the fit.

        Parameters
        ----------
        exog : a table with the columns of the formula, or a matrix like that of the fit; None for the rows in use.
        which : ``"mean"`` for the probabilities, ``"linear"`` for the predictors of the levels but the base.

        Returns
        -------
        pandas.DataFrame
            A row a row, a column a level; NaN where a regressor is missing.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.MNLogit.from_formula("PID ~ educ + age", tm.datasets.load("anes96")).fit()
        >>> res.predict({"educ": [4], "age": [40]}).round(2).iloc[0].tolist()
        [0.21, 0.21, 0.12, 0.04, 0.09, 0.16, 0.17]
        """
        if which not in ("mean", "linear"):
            raise OptionError(f"{unknown('which', which, ['mean', 'linear'])} One level is a column of the answer.")
        model = self._mnlogit
        with engine(), torch.no_grad():
            target, index = target_of(self, exog, new)
            link = link_values(self)
            if which == "mean":
                columns, found = model.levels, model.probabilities_at(link, target)
            else:
                X = target.designs["exog"].X
                columns, found = model.others, X @ link.to(X).view(len(model.others), -1).mT
            values = found.double().cpu().numpy()
        if exog is not None and target.rows.used is not None:
            full = np.full((len(index), len(columns)), np.nan)
            full[target.rows.used] = values
            values = full
        return pd.DataFrame(values, index=index, columns=pd.Index(list(columns)))

    @property
    def resid(self) -> Any:
        """Return, by row and level, 1 where the level was observed, else 0, less its probability."""
        need_rows(self.model.data, "resid")
        return self._observed() - self._fitted

    def _observed(self) -> pd.DataFrame:
        """Return (n, J) indicators of the level observed."""
        model = self._mnlogit
        order = np.array([model.levels.index(label) for label in (model.base, *model.others)])
        there = np.eye(len(model.levels))[order[model.target.cpu().numpy()]]
        return pd.DataFrame(there, index=model.data.rows.labels, columns=pd.Index(list(model.levels)))

    def residuals(self, kind: str = "response", *, seed: int = 0) -> Any:
        """Raise: ``resid`` has the residuals of the levels."""
        raise UndefinedStatisticError("MNLogit has a residual for each level: use resid, a table.")

    def pred_table(self) -> pd.DataFrame:  # type: ignore[override]  # several levels have no threshold
        """Return how many rows of each level (rows) have which level as the most probable one (columns).

        Rows count by ``freq_weights`` or ``sampling_weights``.
        """
        need_rows(self.model.data, "pred_table()")
        found, levels = self._fitted.to_numpy().argmax(1), pd.Index(list(self._mnlogit.levels))
        weights = self.model.data.weights
        w = np.ones(len(found)) if weights is None else weights.values.double().cpu().numpy()
        table = self._observed().to_numpy().T @ (np.eye(len(levels))[found] * w[:, None])
        return pd.DataFrame(table, index=levels.rename("observed"), columns=levels.rename("predicted"))

    def margins(
        self,
        variables: str | Sequence[str] | None = None,
        *,
        at: str | Mapping[str, Any] = "overall",
        over: str | None = None,
        kind: str = "dydx",
        which: str | Sequence[str] = "mean",
        vce: str = "delta",
        alpha: float = 0.05,
    ) -> Margins:
        """Average effects of variables on the probabilities of levels; see :meth:`Results.margins`.

        Parameters
        ----------
        which : a level, a list of them, or ``"mean"`` for all: the table has a column ``level``. Effects on all levels
            add up to zero.
        variables, at, over, kind, vce, alpha : as for other models.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.MNLogit.from_formula("PID ~ educ + age", tm.datasets.load("anes96")).fit()
        >>> res.margins("educ", which=["0", "6"]).table.round(3).estimate.tolist()
        [-0.022, 0.02]
        """
        with engine():
            return margins(self, variables, at, over, kind, self._outcomes(which), vce, alpha)

    def _outcomes(self, which: str | Sequence[str]) -> tuple[str, ...]:
        if which == "mean":
            return tuple(str(level) for level in self._mnlogit.levels)
        return (which,) if isinstance(which, str) else tuple(str(level) for level in which)

    def get_margeff(
        self,
        at: str = "overall",
        method: str = "dydx",
        atexog: Mapping[Any, float] | None = None,
        dummy: bool = False,
        count: bool = False,
    ) -> Margins:
        """Average effects of the columns of the design on all levels, as statsmodels does; see :meth:`margins`."""
        with engine():
            return margins_of_columns(self, at, method, atexog, dummy, count, self._outcomes("mean"))
