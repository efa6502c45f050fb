"""Hold what a fit found, before it is named and reported."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
from torch import Tensor

from ..data.batch import ModelData
from ..inference.ingredients import Covariance, Expected
from ..loglik.objective import Objective
from ..loglik.separation import Separation
from ..optim.base import Status, TraceRow
from ..params.map import ParamMap
from .safety import Safety

if TYPE_CHECKING:
    from .estimates import Estimates
    from .results import Results


class ModelView(Protocol):
    """Be what results ask of a model."""

    @property
    def data(self) -> ModelData:
        """Return the data of the model."""
        ...

    @property
    def endog_names(self) -> str:
        """Return the name of the response."""
        ...

    response: str | None

    @property
    def model_name(self) -> str:
        """Return what summaries and messages call the model."""
        ...

    def reduced(self, results: Estimates) -> tuple[Any, ...]:
        """Return what pickle and copy need to make results of this model again."""
        ...

    def expectation(self) -> Expected | str:
        """Return the function from rows and predictors to their expected information, or why there is none."""
        ...

    def null_llf(self, results: Estimates) -> float:
        """Return the maximised log-likelihood with the intercept only in the first predictor."""
        ...

    def resampled(self, results: Estimates, what: str, **options: Any) -> Any:
        """Return what a method of results asks for that fits the model again."""
        ...

    def take(self, rows: Any) -> Any:
        """Return the model on some of its rows."""
        ...

    @property
    def param_names(self) -> tuple[str, ...]:
        """Return the names of the parameters."""
        ...

    def make_map(self, names: Any) -> ParamMap:
        """Return the map between reported and comparable parameters."""
        ...

    def make_objective(self, pmap: ParamMap) -> Objective:
        """Return the log-likelihood in the working parameters of a map."""
        ...

    def row_etas(self, results: Estimates) -> list[Tensor]:
        """Return the linear predictors of the rows of the fit, all known parts included."""
        ...

    def observation_variance(self, results: Estimates, data: ModelData) -> Any:
        """Return the (n,) variances of new observations, or None."""
        ...

    def predict_at(self, params: Tensor, data: ModelData, which: str) -> Tensor:
        """Return predictions of one kind at link-scale parameters, differentiable in these and in the regressors."""
        ...

    def predict_along(self, params: Tensor, data: ModelData, moves: Any, step: Tensor, which: str) -> Tensor:
        """Return predictions with the regressors moved by a step, one number a row, times the slopes in ``moves``."""
        ...


class Document(Protocol):
    """Be a rendered table."""

    def as_text(self) -> str:
        """Return plain text."""
        ...

    def as_html(self) -> str:
        """Return HTML."""
        ...

    def as_latex(self) -> str:
        """Return LaTeX."""
        ...

    def as_markdown(self) -> str:
        """Return Markdown."""
        ...

    def as_csv(self) -> str:
        """Return comma-separated values."""
        ...

    @property
    def tables(self) -> Sequence[Any]:
        """Return the tables of the document one by one."""
        ...


Reporter = Callable[["Results", float], Document]


@dataclass(frozen=True)
class Record:
    """Hold how a result came about: versions, device, dtype, seed, formula, start, seconds.

    Attributes
    ----------
    start : where the search began; what the user gave, if anything, is in ``arguments``.
    model : the class of the model, module and name.
    inputs : how its data were handed in: ``missing``, ``collinear``, and keywords with their column names (None for
        arrays).
    arguments : those of ``fit``, in lists, dicts, numbers and text; :func:`torchmle.replay` repeats them.
    unrepeatable : sentences on what of the fit cannot be repeated from this record.
    """

    versions: Mapping[str, str]
    device: str
    dtype: str
    method: str
    options: Mapping[str, Any]
    seed: int
    formula: str | None
    formulas: Mapping[str, str]
    start: Mapping[str, float]
    created: str
    seconds: float
    model: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unrepeatable: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain dicts, lists, numbers and text, which JSON can hold."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        found |= {name: dict(value) for name, value in found.items() if isinstance(value, Mapping)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


@dataclass(frozen=True)
class Restriction:
    """Hold what a fit found of one constraint: a function of the parameters that is zero, or at least zero.

    ``multiplier`` times a small number is what the log-likelihood falls by if the function is to be that number;
    ``error`` is its standard error, NaN where that is not known.
    """

    name: str
    kind: str
    value: float
    multiplier: float
    error: float
    active: bool

    @property
    def sentence(self) -> str:
        """Return what a summary says of it."""
        error = "" if math.isnan(self.error) else f" (std err {self.error:.4g})"
        return f"{self.name} binds with the multiplier {self.multiplier:.4g}{error}"


@dataclass(frozen=True)
class Fit:
    """Hold the returned point in gamma with the log-likelihood there, and the verdict.

    Attributes
    ----------
    derivatives : gradient and Hessian of the log-likelihood with respect to the working parameters.
    free : number of estimated parameters, which AIC, BIC and corrections count.
    scale : factor of the nonrobust covariance; s^2 for least squares, else 1.
    root : see :class:`~torchmle.inference.cov.Ingredients`.
    flat : for each direction that the data do not identify, the parameters that make it up.
    notes : sentences for the summary.
    separation : the rows that are predicted perfectly, and the columns that do it, if any.
    units : how many observations there are where one has several rows (the choices of a person), else 0.
    restrictions : the constraints that are functions of the parameters. With them ``map`` is that of the plane that
        touches them at the estimate.
    withheld : why there are no standard errors although the point is a maximum; empty where there are.
    safety : the verdict on constraints that must be true with confidence, if there were any.
    """

    map: ParamMap
    gamma: Tensor
    llf: float
    derivatives: tuple[Tensor, Tensor]
    status: Status
    decrement: float
    iterations: int
    history: Sequence[TraceRow]
    seconds: float
    method: str
    engine: str
    objective: Objective
    nobs: float
    free: int
    scale: float = 1.0
    root: Tensor | None = None
    flat: Sequence[tuple[str, ...]] = ()
    notes: Sequence[str] = ()
    separation: Separation | None = None
    units: float = 0.0
    restrictions: tuple[Restriction, ...] = ()
    withheld: str = ""
    safety: Safety | None = None

    @property
    def observed(self) -> float:
        """Return how many independent observations there are, which small-sample corrections count."""
        return self.units or self.nobs

    @property
    def converged(self) -> bool:
        """Return whether the point is shown to be a maximum."""
        return self.status is Status.CONVERGED

    @property
    def trace(self) -> pd.DataFrame:
        """Return the trace: iteration, log-likelihood, largest gradient, scaled gradient, step, seconds."""
        if self.safety is not None:
            return self.safety.history
        columns = ["iteration", "llf", "gradient", "decrement", "step", "seconds"]
        return pd.DataFrame([[getattr(r, c) for c in columns] for r in self.history], columns=columns)


@dataclass(frozen=True)
class Inference:
    """Hold the covariance in use and everything needed for another one without a refit."""

    covariance: Covariance
    bread: Tensor | None
    default_t: bool
    params: int
    extra: Mapping[str, Any] = field(default_factory=dict)
