"""Be a model of the package marginaleffects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.absent import need_rows
from ..data.batch import ModelData
from ..data.frames import as_frame, column_names, take_column
from ..data.vectors import FloatArray
from ..errors import OptionError, UndefinedStatisticError, import_extra
from ..workers import derivatives_on, engine
from .linkscale import link_covariance
from .predict import target_of

if TYPE_CHECKING:
    from .estimates import Estimates


@dataclass(frozen=True)
class Design:
    """Hold the designs of new rows, and the first row that is wanted."""

    data: ModelData
    first: int = 0

    def __getitem__(self, rows: slice) -> Design:
        """Return the design without its first rows."""
        return replace(self, first=rows.start or 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of rows, and of columns of the first predictor."""
        return self.data.rows.total - self.first, next(iter(self.data.designs.values())).X.shape[1]

    def predict(self, results: Estimates, link: Tensor) -> FloatArray:
        """Return the expected responses at link-scale parameters, NaN where a regressor is missing."""
        with engine(), derivatives_on(self.data.device), torch.no_grad():
            mean = results.model.predict_at(link, self.data, "mean").double().cpu().numpy()
        rows = self.data.rows
        found = np.full(rows.total, np.nan)
        found[slice(None) if rows.used is None else rows.used] = mean
        return found[self.first :]


def adapt(results: Estimates) -> Any:
    """Return results as a model of marginaleffects; see :meth:`Results.to_marginaleffects`.

    Everything that the model predicts is asked of it with parameters on the scale of its predictors.
    """
    classes = import_extra("marginaleffects.classes.model", "marginaleffects", "to_marginaleffects()")
    formulas = results.model.data.formulas
    if formulas is None:
        raise OptionError(
            "to_marginaleffects() needs a model that from_formula() built on the rows of a table, and none of choices "
            "between alternatives."
        )
    if results.model.response == "categorical":
        raise UndefinedStatisticError("to_marginaleffects() is defined for one prediction a row; use margins().")
    need_rows(results.model.data, "to_marginaleffects()")
    polars = import_extra("polars", "marginaleffects", "to_marginaleffects()")
    table, levels = _table(results, polars)

    class Adapted(classes.ModelAbstract):  # type: ignore[misc, name-defined]
        """Answer to what marginaleffects asks of a model."""

        def get_exog(self, newdata: Any) -> Design:
            """Return the design of new rows, which goes back to ``get_predict``, without its first rows at times."""
            back = {name: newdata[name].cast(str).to_pandas().map(values) for name, values in levels.items()}
            with engine():
                return Design(target_of(results, newdata.to_pandas().assign(**back), {})[0])

        def get_predict(self, params: Any, newdata: Any) -> Any:
            """Return a frame of row number and expected response."""
            design = newdata if isinstance(newdata, Design) else self.get_exog(newdata)
            mean = design.predict(results, torch.from_numpy(np.array(params, dtype=np.float64)))
            return polars.DataFrame({"rowid": np.arange(len(mean), dtype=np.int32), "estimate": mean})

        def get_vcov(self, vcov: Any = True) -> FloatArray | None:
            """Return the covariance of these results, that of another type, or None."""
            if vcov is False or vcov is None:
                return None
            return _covariance(results if vcov is True else results.with_cov(vcov))

    predictors = dict.fromkeys(v for part in formulas.parts.values() for v in sorted(part.variables))
    vault = classes.ModelVault(
        coef=results.link_params.to_numpy(),
        coefnames=np.array(results.link_params.index),
        formula=lambda data: (None, data),  # never called: designs are those of the fit, made by get_exog
        modeldata=table,
        package="torchmle",
        variable_names=[results.model.endog_names, *predictors],
    )
    return Adapted(results, vault)


def _covariance(results: Estimates) -> FloatArray:
    with engine():
        found: FloatArray = link_covariance(results).numpy().copy()
    return found


def _table(results: Estimates, polars: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
    """Return the rows in use as a polars frame, and for columns of categories the level of each text.

    marginaleffects knows categories as text of a polars Enum only; the base level is the first.
    """
    data = results.model.data
    formulas = data.formulas
    assert formulas is not None
    frame, columns, levels = as_frame(data.frame), {}, {}
    used = {v for p in formulas.parts.values() for v in p.variables}
    for name in map(str, column_names(frame)):
        column = data.rows.take(take_column(frame, name))
        text = not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column))
        if name in used and (text or name in formulas.categorical):
            ordered = list(pd.Categorical(column).remove_unused_categories().categories)
            levels[name] = {str(level): level for level in ordered}
            columns[name] = polars.Series(column.map(str).tolist(), dtype=polars.Enum(list(levels[name])))
        elif not text:
            columns[name] = polars.Series(column.to_numpy())
    return polars.DataFrame(columns), levels
