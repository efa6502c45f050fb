"""Fit a log-likelihood that is a plain function of named parameters and named data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..config import resolve_device
from ..data.batch import DataOptions, ModelData, from_arrays, from_frame
from ..data.extras import ExtraInputs
from ..data.formula import caller_names
from ..data.frames import as_frame, column_names, take_column
from ..errors import DataError, OptionError, UndefinedStatisticError, collecting_notes, listing
from ..params.map import ParamMap, Units
from ..results.results import Results
from ..workers import engine
from .base import GenericLikelihoodModel
from .blocks import Block, Named, make_blocks
from .request import FitRequest

Function = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]


class FunctionModel(GenericLikelihoodModel):
    """Hold a likelihood made by :func:`torchmle.likelihood`; all methods of a model work."""

    response = "function"
    takes_exposure = False

    def __init__(
        self,
        function: Function,
        data: ModelData,
        columns: Mapping[str, tuple[str, ...]],
        blocks: tuple[Block, ...],
        transforms: Mapping[str, Any],
        lifting: bool,
    ) -> None:
        self.function, self.blocks, self.columns, self.lifting = function, blocks, columns, lifting
        self.part: slice | Tensor | None = None
        self.extra_params = tuple(name for block in blocks for name in block.names)
        names = {block.name: block.names for block in blocks}
        self.transforms = {names[name]: transform for name, transform in transforms.items()}
        with engine(data.device):
            self._install(data)

    def _install(self, data: ModelData) -> None:
        self.data, self.endog, self.offset, self.exog_names = data, data.endog, data.offset, []

    @property
    def param_names(self) -> tuple[str, ...]:
        """Return the names of the parameters, block by block."""
        return self.extra_params

    @property
    def model_name(self) -> str:
        """Return the name of the function."""
        name = getattr(self.function, "__name__", "")
        return name if name.isidentifier() else "likelihood"

    @property
    def ready_made(self) -> bool:
        """Return False: the function is the user's."""
        return False

    def likelihood_name(self) -> str:
        """Return what errors call the likelihood."""
        return self.model_name

    @property
    def start_params(self) -> dict[str, float]:
        """Return the starting values by name."""
        return {n: v for block in self.blocks for n, v in zip(block.names, block.start, strict=True)}

    def take(self, rows: slice | Tensor) -> FunctionModel:
        """Return a copy of the model with only some of its rows."""
        there = copy.copy(self)
        there.part = rows
        return there

    def loglikeobs(self, params: Tensor) -> Tensor:
        """Return the (n,) log-likelihoods."""
        return self.function(self.tensors(params), self._rows())

    def tensors(self, params: Tensor) -> Named:
        """Return the named tensors of a vector of parameters."""
        items, first = [], 0
        for block in self.blocks:
            entries = params[first : first + len(block.names)] if block.shape else params[first]
            items.append((block.name, block.unpack(entries) if block.shape else entries))
            first += len(block.names)
        return Named(items, "the parameters")

    def unpack(self, params: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Return parameters, such as ``results.params``, block by block in their shapes."""
        flat = torch.tensor(np.asarray(params, dtype=np.float64), device="cpu")
        return {name: value.numpy() for name, value in self.tensors(flat).items()}

    def _rows(self) -> Named:
        data = self.data
        found = dict(data.row_data)
        if data.designs:
            found |= {"endog": data.endog, "exog": next(iter(data.designs.values())).X}
        if data.offset is not None:
            found["offset"] = data.offset
        part = self.part
        return Named(((k, v if part is None else v[part]) for k, v in found.items()), "the data")

    def make_map(self, names: Any, units: Units = "scaled") -> ParamMap:
        """Return the map to comparable units: coefficients of a data matrix in those of its columns."""
        pmap = super().make_map(names, units)
        if units == "raw":
            return pmap
        scale = pmap.scale.clone()
        for block in self.blocks:
            X = self.data.row_data.get(self.columns.get(block.name, ("",))[0])
            for i, size in enumerate(_sizes(X, len(block.names))):
                position = names.index(block.names[i])
                free = position if pmap.curve is None else pmap.curve.plain.get(position)
                if free is not None:
                    scale[free] = size
        return replace(pmap, scale=scale)

    def _fit(self, request: FitRequest) -> Results:
        given = request.start_params
        if isinstance(given, Mapping) and set(given) & {b.name for b in self.blocks if b.shape}:
            request = replace(request, start_params=self._flat(given))
        return super()._fit(request)

    def _flat(self, given: Mapping[str, Any]) -> dict[str, float]:
        """Return starting values by parameter for such by block."""
        absent = [b.name for b in self.blocks if b.name not in given]
        if absent:
            raise OptionError(f"start_params has no value for {listing(absent)}.")
        return {n: v for b in self.blocks for n, v in zip(b.names, b.pack(given[b.name]), strict=True)}

    def predict_mean(self, params: Tensor) -> Tensor:
        """Raise: a function says nothing of means."""
        raise UndefinedStatisticError("A likelihood made of a function does not say what it predicts.")


def likelihood(
    fn: Function,
    start: Mapping[str, Any],
    data: Any,
    *,
    formula: str | None = None,
    transforms: Mapping[str, Any] | None = None,
    offset: Any = None,
    freq_weights: Any = None,
    sampling_weights: Any = None,
    groups: Any = None,
    row_data: Any = None,
    missing: str = "drop",
    collinear: str = "drop",
    lifting: bool = True,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str = torch.float64,
) -> FunctionModel:
    """Make a model of a function ``fn(params, data) -> (n,)`` of named tensors.

    Parameters
    ----------
    fn : takes the parameters and the data, dicts of tensors by name, and returns one log-likelihood a row.
    start : block name to starting value: a number, an array or tensor of any shape, a Series or frame whose labels name
        the entries, or the name of a data matrix for one coefficient a column, begun at zero.
    data : dict of name to array with n rows (vectors, matrices, ``(n, J, k)``, ...), or a table, each of whose columns
        is a vector. Rows with missing values are dropped.
    formula : ``"y ~ x1 + x2"``: ``data`` is then the table, the function gets ``data["endog"]`` and ``data["exog"]``,
        and ``start={"beta": "exog"}`` names the coefficients by the columns.
    transforms : block name to ``"positive"``, ``"simplex"``, ... (:func:`torchmle.transforms` lists them): the function
        always gets values in that range. Blocks that are a ``"correlation"`` or ``"covariance"`` are (d, d) matrices.
    row_data : with a formula, further arrays or columns for the function.

    All other arguments are those of :class:`GenericLikelihoodModel`.

    Examples
    --------
    >>> import torch, torchmle as tm
    >>> def normal(p, d):
    ...     return tm.normal_logpdf((d["endog"] - d["exog"] @ p["beta"]) / p["sigma"]) - torch.log(p["sigma"])
    >>> model = tm.likelihood(normal, {"beta": "exog", "sigma": 1.0}, tm.datasets.load("wage1"),
    ...                       formula="lwage ~ educ", transforms={"sigma": "positive"})
    >>> list(model.fit().params.index)
    ['Intercept', 'educ', 'sigma']
    """
    if not callable(fn):
        raise OptionError(f"fn is {type(fn).__name__}; it must be a function fn(params, data).")
    options = DataOptions(missing, collinear, *resolve_device(device, dtype))
    extras = ExtraInputs(offset, None, freq_weights, None, sampling_weights, groups, row_data)
    context = {} if formula is None else caller_names([formula], 2)
    with engine(options.device), collecting_notes() as notes:
        if formula is not None:
            prepared = from_frame(formula, data, "exog", {}, extras, options, context)
            columns = {"exog": next(iter(prepared.designs.values())).terms}
        else:
            prepared, columns = _from_named(data, extras, options)
    prepared = replace(prepared, notes=tuple(notes))
    used = dict(transforms or {})
    blocks = make_blocks(start, columns, used)
    tied = {name: (value,) for name, value in start.items() if isinstance(value, str) and value != "exog"}
    return FunctionModel(fn, prepared, tied, blocks, used, lifting)


def _from_named(data: Any, extras: ExtraInputs, options: DataOptions) -> tuple[ModelData, dict[str, tuple[str, ...]]]:
    """Return the data of a dict of arrays or a table, and the column names of its matrices."""
    if extras.row_data is not None:
        raise OptionError("row_data goes with a formula; without one, put everything into data.")
    if not isinstance(data, Mapping):
        data = as_frame(data)
        data = {str(c): take_column(data, c) for c in column_names(data)}
    if not data:
        raise DataError("data is empty; it must hold one array with n rows or more.")
    lengths = {str(name): np.shape(value)[0] if np.ndim(value) else None for name, value in data.items()}
    n = next((size for size in lengths.values() if size is not None), None)
    for name, size in lengths.items():
        if size is None or size != n:
            seen = "is a single number" if size is None else f"has {size} rows"
            raise DataError(
                f"data[{name!r}] {seen}, but there are {n} rows in the first array. What has no rows belongs into the "
                "function itself, as a variable that it uses."
            )
    columns = {str(k): tuple(map(str, v.columns)) for k, v in data.items() if isinstance(v, pd.DataFrame)}
    index = next((v.index for v in data.values() if isinstance(v, (pd.Series, pd.DataFrame))), None)
    nothing = pd.Series(np.zeros(int(n or 0)), index=index, name="(none)")
    plain = {str(k): v.to_numpy(dtype=np.float64) if isinstance(v, pd.DataFrame) else v for k, v in data.items()}
    prepared = from_arrays(nothing, {}, replace(extras, row_data=plain), options)
    for name, value in prepared.row_data.items():
        if value.ndim == 2 and name not in columns:
            columns[name] = tuple(str(j) for j in range(value.shape[1]))
    return prepared, columns


def _sizes(X: Tensor | None, count: int) -> list[float]:
    """Return the standard deviations of a matrix's columns, the size of a constant one."""
    if X is None or X.ndim != 2 or X.shape[1] != count:
        return []
    spread = X.double().std(0)
    size = torch.where(spread > 0, spread, X.double().abs().amax(0))
    return torch.where(size > 0, size, torch.ones_like(size)).tolist()
