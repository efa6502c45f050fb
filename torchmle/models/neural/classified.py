"""Report a classifier: the class of a record, residuals, and how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from ...data.absent import need_rows
from ...errors import UndefinedStatisticError
from ...workers import engine
from .results import NeuralResults

if TYPE_CHECKING:
    from .classifier import Classifier


@dataclass(frozen=True, eq=False, repr=False)
class ClassifierResults(NeuralResults):
    """Hold a fitted classifier.

    Examples
    --------
    >>> import torch, torchmle as tm
    >>> mroz = tm.datasets.load("mroz")
    >>> res = tm.Classifier(mroz.inlf, mroz[["educ", "age"]], module=torch.nn.Linear(2, 1)).fit()
    >>> res.classify([16.0, 30.0]), int(res.pred_table().to_numpy().sum())
    (1, 753)
    """

    def classify(self, record: Any) -> Any:
        """Return the most probable class of one record, or a Series of them for several.

        Parameters
        ----------
        record : what ``exog`` has for a record, or for several.
        """
        found = self.predict(record, "class")
        shape = record.ndim if hasattr(record, "ndim") else np.ndim(record)
        return found.tolist()[0] if shape == self._model.rank - 1 else found

    @property
    def _labels_seen(self) -> Sequence[Any]:
        return cast("Classifier", self.model).classes

    @property
    def resid(self) -> pd.Series:
        """Return class observed less expected class, where classes are numbers."""
        need_rows(self.model.data, "resid")
        fitted = self.predict(which="mean")
        numbers = np.array(cast("Classifier", self.model).numbers())
        return pd.Series(numbers[self._positions()] - fitted.to_numpy(), index=fitted.index)

    def residuals(self, kind: str = "response", *, seed: int = 0) -> pd.Series:
        """Return ``resid``; other kinds are not defined.

        Raises
        ------
        UndefinedStatisticError
            For any other kind.
        """
        if kind != "response":
            raise UndefinedStatisticError(f"residuals({kind!r}) is not defined for classes; use 'response'.")
        return self.resid

    def pred_table(self) -> pd.DataFrame:  # type: ignore[override]
        """Return how many rows of each class (rows) have which class as the most probable one (columns).

        Rows count by ``freq_weights`` or ``sampling_weights``.
        """
        need_rows(self.model.data, "pred_table()")
        with engine():
            found = self.predict(which="prob").to_numpy().argmax(1)
        weights = self.model.data.weights
        w = np.ones(len(found)) if weights is None else weights.values.double().cpu().numpy()
        J, index = len(self._labels_seen), pd.Index(list(self._labels_seen))
        table = np.zeros((J, J))
        np.add.at(table, (self._positions(), found), w)
        return pd.DataFrame(table, index=index.rename("observed"), columns=index.rename("predicted"))

    def _positions(self) -> np.ndarray[Any, Any]:
        return self.model.data.endog.long().cpu().numpy()
