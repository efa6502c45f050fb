"""Hold what is computed from a model of choices, with errors that carry the uncertainty of the estimates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from ...data.vectors import FloatArray
from ...errors import listing
from ...results.estimates import within_unit

if TYPE_CHECKING:
    from ...results.estimates import Estimates


@dataclass(frozen=True, eq=False, repr=False)
class Quantities:
    """Hold functions of the estimates, one a row of ``labels``, with their covariance by the delta method.

    Attributes
    ----------
    title : what they are.
    labels : (M, L) frame that names the rows.
    values, covariance : (M,) and (M, M); errors are NaN where the fit did not converge.
    limits : (M, 2) ends of intervals that are not estimate plus and minus a multiple of the error, or None.
    notes : what to know of them.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.ConditionalLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"),
    ...                                          alternatives="mode", situations="trip")
    >>> model.fit().shares().values.round(3).tolist()
    [0.162, 0.208, 0.261, 0.369]
    """

    title: str
    labels: pd.DataFrame
    values: FloatArray
    covariance: FloatArray
    alpha: float = 0.05
    df: float | None = None
    limits: FloatArray | None = None
    notes: tuple[str, ...] = ()

    @property
    def se(self) -> FloatArray:
        """Return the standard errors."""
        return np.sqrt(np.clip(np.diag(self.covariance), 0.0, None))

    def conf_int(self, alpha: float | None = None) -> FloatArray:
        """Return (M, 2) intervals, at another level than the one asked for if ``alpha`` says so (Wald intervals)."""
        level = self.alpha if alpha is None else within_unit(alpha)
        if self.limits is not None and level == self.alpha:
            return self.limits.copy()
        upper = 1 - level / 2
        width = float(special.ndtri(upper) if self.df is None else special.stdtrit(self.df, upper)) * self.se
        return np.column_stack([self.values - width, self.values + width])

    def summary_frame(self, alpha: float | None = None) -> pd.DataFrame:
        """Return the table: estimate, standard error, interval; labels are the index."""
        low, high = self.conf_int(alpha).T
        index = pd.MultiIndex.from_frame(self.labels)
        if self.labels.shape[1] == 1:
            index = pd.Index(self.labels.iloc[:, 0])
        columns = {"estimate": self.values, "std err": self.se, "[lower": low, "upper]": high}
        return pd.DataFrame({name: np.asarray(column) for name, column in columns.items()}, index=index)

    @property
    def table(self) -> pd.DataFrame:
        """Return :meth:`summary_frame` at the level that was asked for."""
        return self.summary_frame()

    def take(self, rows: Any) -> Quantities:
        """Return some of the rows, by position."""
        at = np.asarray(rows)
        return replace(
            self,
            labels=self.labels.iloc[at].reset_index(drop=True),
            values=self.values[at],
            covariance=self.covariance[np.ix_(at, at)],
            limits=None if self.limits is None else self.limits[at],
        )

    def __str__(self) -> str:
        table = self.table.to_string(float_format="{:.4g}".format)
        return "\n".join([self.title, table, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table: str = self.table.to_html(float_format="{:.4g}".format)
        return "".join([f"<p>{escape(self.title)}</p>", table, *(f"<p>{escape(line)}</p>" for line in self.notes)])


def estimates_of(results: Estimates) -> Tensor:
    """Return the (P,) estimates in the units of ``params``."""
    return torch.from_numpy(results.params.to_numpy().copy())


def covariance_of(results: Estimates) -> Tensor:
    """Return the (P, P) covariance of the estimates, those at a bound taken as fixed there."""
    jacobian = results.fit.map.jacobian(results.fit.gamma)
    return jacobian @ results.inference.covariance.matrix @ jacobian.mT


def quantities(
    results: Estimates,
    title: str,
    labels: pd.DataFrame,
    values: Tensor,
    jacobian: Tensor,
    alpha: float,
    notes: tuple[str, ...] = (),
) -> Quantities:
    """Return functions with (M,) values and (M, P) derivatives in the estimates."""
    covariance = jacobian @ covariance_of(results) @ jacobian.mT
    return Quantities(
        title,
        labels,
        values.detach().numpy().copy(),
        covariance.numpy().copy(),
        within_unit(alpha),
        results.df_resid_inference if results.use_t else None,
        notes=(*error_notes(results), *notes),
    )


def error_notes(results: Estimates) -> tuple[str, ...]:
    """Return what is to be said of errors."""
    if not results.converged:
        return (f"No errors: the fit is not a maximum ({results.fit.status.value}).",)
    held = [results.names[i] for i in results.fit.map.at_bound]
    said = (f"Errors take {listing(held)}, at a bound, as fixed there.",) if held else ()
    return (f"{results.cov_type} standard errors by the delta method.", *said)
