"""Fit a module whose forward gives log-likelihoods."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ...config import resolve_device
from ...data.batch import DataOptions, ModelData
from ...data.extras import ExtraInputs
from ...data.formula import caller_names
from ...errors import OptionError, collecting_notes, unknown
from ...loglik.network import Network, StoredNetwork, created, own_network
from ...loglik.objective import Objective
from ...optim.checks import check_whole
from ...params.map import ParamMap, Units
from ...workers import engine
from ..base import GenericLikelihoodModel
from ..problem import opaque_map
from ..request import FitRequest
from ..views import of_table
from .data import read_data
from .inputs import BATCH, available, inputs_of, read_arguments
from .loader import Loader, LoaderObjective, on_batch, rowless_data
from .objective import ModuleObjective, row_bytes, rows_in_room
from .predicting import answered, unpredictable
from .restore import rebuilt
from .results import NeuralResults

M = TypeVar("M", bound="ModuleModel")

KEYWORDS = ("module", "seed", "offset", "freq_weights", "sampling_weights", "groups", "row_data", "missing", "device")


class ModuleModel(GenericLikelihoodModel):
    """Fit a ``torch.nn.Module``: all of its parameters, under the names it gives them.

    Either the module's ``forward`` returns the (n,) log-likelihoods of its rows. Its arguments are found by name:
    ``x`` or ``exog``, ``y`` or ``endog``, names of ``row_data``; a single one of another name gets the batch, which
    has all of these as attributes. Or a subclass defines ``logdensity(self, y, output)``, and the module returns the
    output from ``exog`` (or from what its arguments name).

    Parameters
    ----------
    endog : response, (n,).
    exog : (n,), (n, k), or (n, ...) such as images; as the module gets it. Columns are never dropped.
    module : the module; it is copied, cast to ``dtype`` and ``device``, and never changed. Left out, ``create_model``
        makes it.
    seed : of torch's generators in ``create_model``; your own are as they were.
    row_data : dict of further arrays with n rows. Whole numbers and truth values stay what they are.
    dtype : ``torch.float64``, or ``torch.float32`` where speed is more than digits.

    All other arguments are those of :class:`GenericLikelihoodModel`; there is no ``exposure`` and no ``collinear``.

    Notes
    -----
    The start are the parameters of the module as it is given. Log-likelihoods and their derivatives are those of the
    module in evaluation mode. Up to 50 parameters the default method is Newton's, beyond that Adam; after training the
    status is ``trained`` unless the point is shown to be a maximum.

    ``predict(which="mean")`` asks the method ``mean`` of the model (``mean(self, output)``) or of the module, and so
    for any other name; ``which="eta"`` is the output.

    Raises
    ------
    OptionError
        If there is no module, it has no parameter, or an argument of its forward is no part of the data.

    Examples
    --------
    >>> import torch, torchmle as tm
    >>> class Line(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.alpha, self.beta, self.sigma = (torch.nn.Parameter(torch.tensor(v)) for v in (0.0, 0.0, 1.0))
    ...     def forward(self, x, y):
    ...         return tm.normal_logpdf((y - self.alpha - self.beta * x) / self.sigma) - torch.log(self.sigma)
    >>> wage1 = tm.datasets.load("wage1")
    >>> tm.ModuleModel(wage1.lwage, wage1.educ, module=Line()).fit().params.round(4).to_dict()
    {'alpha': 0.5838, 'beta': 0.0827, 'sigma': 0.4792}
    """

    lifting = False
    takes_exposure = False
    kept_columns = True
    own_state: tuple[str, ...] = ("network", "rank", "loader")
    results_kind: type[NeuralResults] = NeuralResults
    usual_prediction = "mean"
    """What ``predict`` gives where nothing else is asked for."""

    network: Network
    rank: int
    loader: Loader | None = None

    def __init__(
        self,
        endog: Any,
        exog: Any = None,
        *,
        module: nn.Module | None = None,
        seed: int = 0,
        offset: Any = None,
        freq_weights: Any = None,
        var_weights: Any = None,
        sampling_weights: Any = None,
        groups: Any = None,
        row_data: Any = None,
        missing: str = "drop",
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str = torch.float64,
        _data: ModelData | None = None,
        _loader: Loader | None = None,
        **others: Any,
    ) -> None:
        self._check_predictors(others, "array")
        self.rank, self.loader = 2 if _loader is None else _loader.rank, _loader
        if _data is None:
            extras = ExtraInputs(offset, None, freq_weights, var_weights, sampling_weights, groups, row_data)
            options = DataOptions(missing, "drop", *resolve_device(device, dtype))
            with engine(options.device), collecting_notes() as notes:
                _data, self.rank = read_data(endog, exog, extras, options)
            _data = replace(_data, notes=tuple(notes))
        _data = replace(_data, designs={name: replace(d, net=False) for name, d in _data.designs.items()})
        self.network = self._network(module, seed, _data)
        with engine(_data.device):
            self._install(_data)

    @classmethod
    def from_formula(  # type: ignore[override]
        cls: type[M],
        formula: str,
        data: Any,
        *,
        module: nn.Module | None = None,
        seed: int = 0,
        offset: Any = None,
        freq_weights: Any = None,
        var_weights: Any = None,
        sampling_weights: Any = None,
        groups: Any = None,
        row_data: Any = None,
        missing: str = "drop",
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str = torch.float64,
        **others: Any,
    ) -> M:
        """Build the model from a formula and a table; see :meth:`GenericLikelihoodModel.from_formula`.

        Parameters
        ----------
        formula : ``"y ~ 0 + x1 + C(group)"``: the module gets the columns of the right-hand side as ``exog``, (n, k),
            with a constant first unless the formula says ``0 +``.
        """
        extras = ExtraInputs(offset, None, freq_weights, var_weights, sampling_weights, groups, row_data)
        options = DataOptions(missing, "drop", *resolve_device(device, dtype))
        context = caller_names([formula], 2)
        own = {name: others.pop(name) for name in cls.own_inputs if name in others}
        cls._check_predictors(others, "formula")
        return of_table(cls, formula, data, "exog", {}, extras, options, context, module=module, seed=seed, **own)

    @classmethod
    def from_batches(
        cls: type[M],
        loader: Any,
        *,
        module: nn.Module | None = None,
        seed: int = 0,
        freq_weights: str | int | None = None,
        sampling_weights: str | int | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str = torch.float64,
        **own: Any,
    ) -> M:
        """Build the model from a DataLoader, or any iterable of batches that can be read again and again.

        It is trained batch by batch as the loader cuts them, and everything else is a sum over batches: the records
        are never in memory together. What needs single rows of the fit is an error.

        Parameters
        ----------
        loader : gives ``(x, y)``, or dicts with the names of the data. It is read once to count the records.
        freq_weights, sampling_weights : key or position of the weights in a batch.
        own : ``classes`` of a classifier, whose batches have the positions of classes as ``y``.

        Examples
        --------
        >>> import torch, torchmle as tm
        >>> x = torch.linspace(0, 1, 100)
        >>> pairs = torch.utils.data.TensorDataset(x[:, None], (x > 0.5).long())
        >>> loader = torch.utils.data.DataLoader(pairs, batch_size=25, shuffle=True)
        >>> model = tm.Classifier.from_batches(loader, module=torch.nn.Linear(1, 2), classes=["low", "high"])
        >>> model.fit(method="adam", maxiter=100, options={"lr": 0.1}).classify([0.9])
        'high'
        """
        place, kind = resolve_device(device, dtype)
        with engine(place):
            weights = {"freq_weights": freq_weights, "sampling_weights": sampling_weights}
            read = Loader(loader, weights, place, kind)
            return cls(None, None, module=module, seed=seed, _data=rowless_data(read), _loader=read, **own)

    @classmethod
    def _check_predictors(cls, given: Mapping[str, Any], what: str) -> None:
        for name in given:
            raise OptionError(
                unknown(f"argument of {cls.__name__}:", name, ["exog", *KEYWORDS, "dtype", *cls.own_inputs])
            )

    def _network(self, module: Any, seed: int, data: ModelData) -> Network:
        """Return the network of the module given, or of the one that ``create_model`` makes."""
        if module is None:
            check_whole("seed", seed, 0)
            module = created(self.create_model, seed)
        return own_network(module, data.device, data.endog.dtype)

    def _install(self, data: ModelData) -> None:
        super()._install(data)
        if self.rank == 1:
            self.exog = self.exog[:, 0]
        self.arguments()

    # ---- what a subclass writes

    def create_model(self) -> nn.Module:
        """Return the module, where none is given; override in a subclass."""
        raise OptionError(f"{type(self).__name__} has no module: give module=, or define create_model(self).")

    def logdensity(self, y: Tensor, output: Any) -> Tensor:
        """Return the (n,) log-likelihoods from the response and what the module returns; override this one, or let
        the module return log-likelihoods.
        """
        raise NotImplementedError

    # ---- the likelihood

    @property
    def module(self) -> nn.Module:
        """Return the model's copy of the module."""
        return self.network.module

    @property
    def has_output(self) -> bool:
        """Return whether the module returns an output of which ``logdensity`` makes log-likelihoods."""
        return type(self).logdensity is not ModuleModel.logdensity

    def arguments(self, method: str = "forward") -> tuple[str, ...]:
        """Return the names of the data that a method of the module takes."""
        alone = "exog" if self.has_output or method != "forward" else BATCH
        return read_arguments(self.network, method, available(self), alone)

    def loglikeobs(self, params: Tensor) -> Tensor:
        """Return the (n,) log-likelihoods in evaluation mode."""
        return self.values(partial(self.network, params), self.arguments())

    def values(self, answer: Callable[..., Any], names: Sequence[str]) -> Tensor:
        """Return the (n,) log-likelihoods where ``answer(*inputs)`` is what the module says of the data named."""
        output = answer(*inputs_of(self, names))
        return self.logdensity(self.endog, output) if self.has_output else output

    def row_tensors(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the data by row that log-likelihoods are made of, by name."""
        if BATCH not in names and not self.has_output:
            return {name: getattr(self, name) for name in names}
        n = len(self.endog)
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor) and v.ndim and len(v) == n}

    def output(self, params: Tensor, method: str = "forward") -> Any:
        """Return what the module, or a method of it, says of the rows."""
        return self.network(params, *inputs_of(self, self.arguments(method)), method=method)

    @property
    def param_names(self) -> tuple[str, ...]:
        """Return the names that the module gives its parameters, a number each."""
        return self.network.names

    @property
    def start_params(self) -> Tensor:
        """Return the parameters of the module as it was given."""
        return self.network.start()

    @property
    def model_name(self) -> str:
        """Return the name of the class, or that of the module where the class says nothing."""
        return self.network.kind if type(self) is ModuleModel else type(self).__name__

    @property
    def ready_made(self) -> bool:
        """Return False: the module is the user's."""
        return False

    @property
    def likelihood_label(self) -> str:
        """Return what messages call the likelihood."""
        return f"{type(self).__name__}.logdensity" if self.has_output else f"{self.network.kind}.forward"

    def make_map(self, names: Sequence[str], units: Units = "scaled") -> ParamMap:
        """Return the map of parameters that belong to no column."""
        return opaque_map(self, names, "raw")

    def make_objective(self, pmap: ParamMap) -> Objective:
        """Return the log-likelihood of the module."""
        if self.loader is not None:
            return LoaderObjective(self, self.loader, pmap, self.sample().of_rows(pmap).each)
        return self.of_rows(pmap)

    def of_rows(self, pmap: ParamMap, each: float | None = None) -> ModuleObjective:
        """Return the log-likelihood of rows in memory; ``each`` is how many bytes the graph of one keeps, if known."""

        def rows_of(rows: slice | Tensor, at: Tensor) -> Tensor:
            return self.take(rows).loglikeobs(at)

        weights, dtype, device = self.data.weights, self.endog.dtype, self.data.device
        each = row_bytes(rows_of, self.start_params.to(device, dtype), self.nobs) if each is None else each
        return ModuleObjective(
            rows_of,
            *(self.nobs, len(pmap.names), device, dtype),
            columns=1,
            weights=None if weights is None else weights.values,
            what=self.likelihood_label,
            most=rows_in_room(each, device, self.nobs),
            each=each,
        )

    def sample(self) -> ModuleModel:
        """Return the model on the first records, which the likelihood is checked on."""
        return self if self.loader is None else on_batch(self, self.loader.first, None)

    def with_network(self: M, network: Network) -> M:
        """Return the model with another module of the same parameters."""
        other = copy.copy(self)
        other.network = network
        return other

    # ---- fit and predictions

    def _fit(self, request: FitRequest) -> NeuralResults:
        from .fit import fit_module

        return fit_module(self, request)

    def on(self: M, data: ModelData) -> M:
        """Return the model on other rows."""
        there = copy.copy(self)
        for name in self.data.row_data:
            there.__dict__.pop(name, None)
        there.__dict__.update(data=data, endog=data.endog, offset=data.offset, **data.row_data)
        if data.designs:
            X = next(iter(data.designs.values())).X
            there.exog = X[:, 0] if self.rank == 1 else X
        return there

    def predict_at(self, params: Tensor, data: ModelData, which: str) -> Tensor:
        """Return predictions of one kind on some data, differentiable in the parameters and the regressors."""
        there = self.on(data)
        return there.predicted(params.to(data.device, self.dtype), which)

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype in which the module computes."""
        return next(self.module.parameters()).dtype

    def told(self, which: str, values: Tensor) -> tuple[Any, list[Any] | None]:
        """Return predictions as users see them, with the names of their columns where they have some."""
        return values, None

    def predicted(self, params: Tensor, which: str) -> Tensor:
        """Return predictions of one kind for the rows of the model; the first dimension counts rows."""
        own = type(self)
        if which == "mean" and own.predict_mean is not GenericLikelihoodModel.predict_mean:
            return self.predict_mean(params)
        if which in ("eta", "linear") and self.has_output:
            return answered(self, self.output(params), which)
        if not which.startswith("_") and not hasattr(ModuleModel, which) and callable(getattr(own, which, None)):
            return answered(self, getattr(self, which)(self.output(params)), which)
        if which in self.network.methods:
            return answered(self, self.output(params, which), which)
        own_ones = [n for n, v in vars(own).items() if callable(v) and n[0] != "_" and not hasattr(ModuleModel, n)]
        raise unpredictable(self, which, own_ones)

    # ---- keeping

    def restore(self, given: Any, module: Any) -> None:
        """Make the network again: of a module or a model that is given, or of what ``create_model`` makes."""
        stored = self.network
        if not isinstance(stored, StoredNetwork):  # from a pickle
            return
        if module is None and isinstance(given, ModuleModel):
            module = given.module
        if module is None and type(self).create_model is not ModuleModel.create_model:
            module = created(self.create_model, 0)
        self.network = rebuilt(stored, module, self.data.device, self.data.endog.dtype, self.model_name)
