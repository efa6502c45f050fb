"""Write a model the statsmodels way: override one method that returns log-likelihoods."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..config import resolve_device
from ..data.batch import DataOptions, ModelData, from_arrays
from ..data.extras import WEIGHT_KINDS, ExtraInputs
from ..data.formula import caller_names
from ..errors import OptionError, UndefinedStatisticError, collecting_notes, unknown
from ..loglik.objective import Objective
from ..params.map import ParamMap, Units
from ..results.estimates import Estimates
from ..results.results import Results
from ..workers import engine
from . import derivatives
from .conditions import sort_constraints
from .fitting import run_fit
from .outcomes import opaque_expectation
from .problem import opaque_map, opaque_objective
from .reduce import reduced
from .request import FitRequest, refuse_fit_options, split_options
from .separated import certificate
from .simulate import Simulated
from .support import check_extra_params, refuse_extras
from .views import Moves, along, moved, of_table, predict_opaque

M = TypeVar("M", bound="GenericLikelihoodModel")

DATA_KEYWORDS = ("offset", "exposure", *WEIGHT_KINDS, "groups", "row_data", "missing", "collinear", "device", "dtype")


class GenericLikelihoodModel(Simulated):
    """Fit any log-likelihood: override ONE of ``loglikeobs``, ``nloglikeobs`` or ``loglike``.

    The method reads ``self.endog`` (n,) and ``self.exog`` (n, k), tensors in the user's units on the model's device,
    and gets one vector of parameters: the coefficients of the columns of ``exog``, then ``extra_params`` as they stand.
    It uses torch functions (or torchmle's, such as ``tm.normal_logpdf``); derivatives are exact.

    Parameters
    ----------
    endog : response, (n,) or (n, 1).
    exog : regressors, (n, k), or None. A pandas frame gives its column names.
    offset, exposure : known part of the first predictor; ``exposure`` enters as its logarithm. In a likelihood of your
        own they are ``self.offset``.
    freq_weights, var_weights, sampling_weights : one kind of weights; the engine multiplies by them.
    groups : cluster ids.
    row_data : dict of further arrays with n rows; each becomes ``self.<name>`` and goes through the row mask.
    missing : ``"drop"`` (rows with missing values, counted in the summary) or ``"raise"``.
    collinear : ``"drop"`` (the last column of an exact relation, with a warning) or ``"raise"``.
    device, dtype : where and in what to compute.

    Notes
    -----
    ``loglikeobs(params) -> (n,)`` gives everything. ``nloglikeobs`` is its negative. A scalar ``loglike(params)`` has
    no scores by row, so that only the inverse Hessian is available for standard errors. Define
    ``predict_mean(params) -> (n,)`` for predictions. Products of data with parameters are found in the likelihood and
    used for speed (``results.engine`` says so); ``lifting = False`` in the class switches that off.
    ``transforms = {"sigma": "positive"}`` in the class keeps parameters in their range while they are estimated.

    Examples
    --------
    >>> import torch, torchmle as tm
    >>> class MyProbit(tm.GenericLikelihoodModel):
    ...     def loglikeobs(self, params):
    ...         return tm.log_ndtr((2 * self.endog - 1) * (self.exog @ params))
    >>> res = MyProbit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
    >>> res.converged
    True
    """

    extra_params: tuple[str, ...] = ()
    response: str | None = None
    start_params: Any = None
    offset_label: str = "self.offset"
    takes_exposure: bool = True
    takes_var_weights: bool = False
    lifting: bool = True
    transforms: Mapping[str | tuple[str, ...], Any] = {}

    data: ModelData
    endog: Tensor
    exog: Tensor
    offset: Tensor | None
    exog_names: list[str]

    def __init__(
        self,
        endog: Any,
        exog: Any = None,
        *,
        offset: Any = None,
        exposure: Any = None,
        freq_weights: Any = None,
        var_weights: Any = None,
        sampling_weights: Any = None,
        groups: Any = None,
        row_data: Any = None,
        missing: str = "drop",
        collinear: str = "drop",
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str = torch.float64,
        _data: ModelData | None = None,
        **exogs: Any,
    ) -> None:
        if _data is None:
            extras = ExtraInputs(offset, exposure, freq_weights, var_weights, sampling_weights, groups, row_data)
            options = DataOptions(missing, collinear, *resolve_device(device, dtype))
            self._check_predictors(exogs, "array")
            with engine(options.device), collecting_notes() as notes:
                _data = from_arrays(endog, self._matrices(exog, exogs), extras, options)
            _data = replace(_data, notes=tuple(notes))
        with engine(_data.device):
            self._install(_data)

    @classmethod
    def from_formula(
        cls: type[M],
        formula: str,
        data: Any,
        *,
        offset: Any = None,
        exposure: Any = None,
        freq_weights: Any = None,
        var_weights: Any = None,
        sampling_weights: Any = None,
        groups: Any = None,
        row_data: Any = None,
        missing: str = "drop",
        collinear: str = "drop",
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str = torch.float64,
        **formulas: str,
    ) -> M:
        """Build the model from a formula and a table.

        Parameters
        ----------
        formula : ``"y ~ x1 + C(group) + I(x2 ** 2)"``, read by formulaic. The right-hand side is the first predictor's.
        data : a pandas frame, a polars or pyarrow table, or a dict of columns. It is not changed.
        formulas : right-hand sides of further predictors, e.g. ``log_sigma="1 + educ"``.

        All other arguments are those of the constructor, and also take column names.

        Raises
        ------
        FormulaError, DataError
            Naming the column, the term or the rows, and what to do.
        """
        cls._check_predictors(formulas, "formula")
        extras = ExtraInputs(offset, exposure, freq_weights, var_weights, sampling_weights, groups, row_data)
        options = DataOptions(missing, collinear, *resolve_device(device, dtype))
        first, others = cls._formulas(formulas)
        context = caller_names([formula, *others.values()], 2)
        return of_table(cls, formula, data, first, others, extras, options, context)

    @classmethod
    def _formulas(cls, formulas: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Return the name of the first predictor, and the formulas of the others."""
        return "exog", dict(formulas)

    @classmethod
    def _check_predictors(cls, given: Mapping[str, Any], what: str) -> None:
        """Refuse keywords that are neither data nor predictors."""
        for name in given:
            hint = f"To attach an {what} of your own, use row_data={{{name!r}: ...}}." if what == "array" else ""
            raise OptionError(
                f"{unknown(f'argument of {cls.__name__}:', name, ['exog', *DATA_KEYWORDS])} {hint}".strip()
            )

    @classmethod
    def _matrices(cls, exog: Any, exogs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the regressors of each predictor."""
        return {} if exog is None else {"exog": exog}

    def _install(self, data: ModelData) -> None:
        """Show the data as attributes, and check what only the model can check."""
        self.data = data
        designs = list(data.designs.values())
        self.endog, self.offset = data.endog, data.offset
        if designs:
            self.exog = designs[0].X
        self.exog_names = list(designs[0].terms) if designs else []
        for name, tensor in data.row_data.items():
            if hasattr(type(self), name) or name in vars(self):
                raise OptionError(f"row_data {name!r} would hide an attribute of the model; choose another name.")
            setattr(self, name, tensor)
        refuse_extras(data, type(self).__name__, self.takes_exposure, self.takes_var_weights)
        with collecting_notes() as notes:
            self.check_endog()
        self.data = replace(self.data, notes=(*self.data.notes, *notes))

    # ---- what a subclass writes

    def loglikeobs(self, params: Tensor) -> Tensor:
        """Return the (n,) log-likelihoods at ``params``; override this one."""
        values = self.nloglikeobs(params)
        return -values if isinstance(values, Tensor) else values  # the check says what is wrong with others

    def nloglikeobs(self, params: Tensor) -> Tensor:
        """Return minus the (n,) log-likelihoods; the alternative to ``loglikeobs``."""
        raise OptionError(
            f"{type(self).__name__} has no likelihood. Define loglikeobs(self, params) that returns one log-likelihood "
            "a row (or nloglikeobs, or a scalar loglike)."
        )

    def check_endog(self) -> None:
        """Raise a DataError if the response is outside the support of the model; override where there is one."""

    def recession_signs(self) -> Tensor | None:
        """Return, for models whose data can be separated, the (n,) sign of the first predictor in which a row's
        log-likelihood rises for ever, and 0 where it has a maximum; else None.
        """
        return None

    def predict_mean(self, params: Tensor) -> Tensor:
        """Return the (n,) expected responses given ``self.exog``; override to make ``predict`` work."""
        raise UndefinedStatisticError(
            f"{self.model_name} does not say what it predicts. Define predict_mean(self, params) -> (n,), or use "
            "which='linear'."
        )

    @property
    def nobs(self) -> int:
        """Return the number of rows in use."""
        return len(self.endog)

    @property
    def endog_names(self) -> str:
        """Return the name of the response."""
        return self.data.endog_name

    @property
    def param_names(self) -> tuple[str, ...]:
        """Return the names of the parameters: the columns of exog, what was appended to them, ``extra_params``."""
        check_extra_params(self.extra_params, self.data)
        return tuple(dict.fromkeys([*self.exog_names, *self.extra_params]))

    def take(self: M, rows: slice | Tensor) -> M:
        """Return a shallow copy of the model with only some of its rows; likelihoods are evaluated on such copies."""
        part = copy.copy(self)
        n = len(self.endog)
        for name, value in vars(self).items():
            if isinstance(value, (Tensor, np.ndarray)) and value.ndim and len(value) == n:
                part.__dict__[name] = value[rows]
        return part

    @property
    def model_name(self) -> str:
        """Return what summaries and messages call the model."""
        return type(self).__name__

    @property
    def ready_made(self) -> bool:
        """Return whether the likelihood is one of torchmle's own, which the tests check once and for all."""
        return type(self).__module__.startswith("torchmle.models")

    @property
    def is_scalar(self) -> bool:
        """Return whether the model gives the sum of its log-likelihoods only."""
        return type(self).loglike is not GenericLikelihoodModel.loglike

    @property
    def likelihood_label(self) -> str:
        """Return what messages call the likelihood: the method that the subclass wrote."""
        names, base, own = ("loglikeobs", "nloglikeobs", "loglike"), GenericLikelihoodModel, type(self)
        return f"{own.__name__}.{next((n for n in names if getattr(own, n) is not getattr(base, n)), names[0])}"

    def make_map(self, names: Sequence[str], units: Units = "scaled") -> ParamMap:
        """Return the map between the user's parameters and comparable units: coefficients times column scales."""
        return opaque_map(self, names, units)

    def make_objective(self, pmap: ParamMap) -> Objective:
        """Return the log-likelihood in working parameters, which here are the user's own."""
        return opaque_objective(self, len(pmap.names))

    def start_candidates(self, pmap: ParamMap) -> list[Tensor]:
        """Return link-scale starting points to choose from; the best one is taken."""
        return [pmap.link(torch.zeros(pmap.free, dtype=torch.float64, device="cpu"))]

    # ---- log-likelihood and derivatives at any point

    def loglike(self, params: Any) -> Any:
        """Return the (weighted) log-likelihood at ``params``."""
        return derivatives.loglike(self, params)

    def score(self, params: Any) -> np.ndarray[Any, Any]:
        """Return the (K,) gradient of the log-likelihood."""
        return derivatives.score(self, params)

    def score_obs(self, params: Any) -> np.ndarray[Any, Any]:
        """Return the (n, K) scores by row, unweighted."""
        return derivatives.score_obs(self, params)

    def hessian(self, params: Any) -> np.ndarray[Any, Any]:
        """Return the (K, K) Hessian of the log-likelihood (negative definite at a maximum)."""
        return derivatives.hessian(self, params)

    def information(self, params: Any) -> np.ndarray[Any, Any]:
        """Return the (K, K) observed information, minus the Hessian."""
        return -self.hessian(params)

    # ---- fit

    def fit(
        self,
        start_params: Any = None,
        method: str | None = None,
        maxiter: int | None = None,
        *,
        tol: float | None = None,
        cov_type: str | None = None,
        cov_kwds: Mapping[str, Any] | None = None,
        use_t: bool | None = None,
        device: str | torch.device | None = None,
        fixed: Mapping[str, float] | None = None,
        constraints: Any = None,
        delta: float | None = None,
        bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
        maxfun: int | None = None,
        disp: bool | int | None = None,
        progress: bool | None = None,
        callback: Any = None,
        resume: Any = None,
        checkpoint: str | PathLike[str] | None = None,
        options: Mapping[str, Any] | None = None,
        **unknown_options: Any,
    ) -> Results:
        """Maximise the log-likelihood.

        Parameters
        ----------
        start_params : starting values in the units of the results: a sequence, a dict or a Series by name.
        method : ``"newton"`` (default up to 1,000 parameters), ``"bfgs"``, ``"lbfgs"`` (default beyond), ``"bhhh"``;
            ``"sgd"``, ``"adam"``, ``"adagrad"``, ``"rmsprop"`` or ``"torch:CLASS"``; ``"scipy:NAME"``.
        maxiter, maxfun : limits on iterations and on evaluations of the log-likelihood.
        tol : scaled gradient ``g' (-H)^-1 g`` to stop at; the default, 1e-10 (float32: 1e-4), is that of ``converged``.
        cov_type, cov_kwds, use_t : see :meth:`Results.with_cov`; ``"nonrobust"``, with sampling weights HC1 or cluster.
        device : move the data there first.
        fixed, constraints : ``{"educ": 0.0}``; ``"x1 = x2"``, ``["a + b = 1", "a >= 0", tm.equality(f)]``.
        delta : probability with which constraints such as ``"ACC >= 0.95"`` may fail; see :func:`torchmle.confidence`.
        bounds : ``{"educ": (0, None)}``, in the units of the results.
        seed, batch_size : for random starts, random splits and the stochastic methods.
        disp, progress : True logs how the fit ended (logger ``torchmle``); a line on the terminal while a fit runs.
        callback : called with each line of the trace; a true answer stops the fit.
        resume, checkpoint : results or a file to go on from; the file to keep the best point in while the fit runs.
        options : ``starts``, ``spread``, ``time_limit``, ``separation`` (:class:`torchmle.FitOptions`), and those of
            the method, e.g. ``{"lr": 0.1, "momentum": 0.9}`` for ``"sgd"``.

        Returns
        -------
        Frozen results; ``converged`` says whether the point is shown to be a maximum.
        """
        if unknown_options:
            refuse_fit_options(unknown_options)
        request = FitRequest(
            *(start_params, method, maxiter, tol, cov_type, cov_kwds, use_t, fixed, constraints, bounds, seed),
            *(batch_size, maxfun, disp, progress, callback, resume, checkpoint, delta),
            *split_options(options),
        )
        with engine():
            return moved(self, device)._fit(sort_constraints(self, request))

    def _fit(self, request: FitRequest) -> Results:
        return run_fit(self, request)

    # ---- what results ask

    reduced, expectation, separation = reduced, opaque_expectation, certificate

    def null_llf(self, results: Estimates) -> float:
        """Raise: a constant-only version of an opaque likelihood is not known."""
        raise UndefinedStatisticError(f"{type(self).__name__} has no constant-only model: its likelihood is opaque.")

    def row_etas(self, results: Estimates) -> list[Tensor]:
        """Raise: an opaque likelihood does not say which linear predictors it has."""
        raise UndefinedStatisticError(f"{self.model_name} has response residuals only: its likelihood is opaque.")

    def observation_variance(self, results: Estimates, data: ModelData) -> np.ndarray[Any, Any] | None:
        """Return the (n,) variances of new observations, or None where intervals for them are not defined."""
        return None

    def predict_at(self, params: Tensor, data: ModelData, which: str) -> Tensor:
        """Return predictions of one kind at link-scale parameters, differentiable in these and in the regressors."""
        return predict_opaque(self, params, data, which)

    def predict_along(self, params: Tensor, data: ModelData, moves: Moves, step: Tensor, which: str) -> Tensor:
        """Return predictions with the regressors moved by a step, one number a row, times the slopes in ``moves``."""
        return self.predict_at(params, along(data, moves, step), which)
