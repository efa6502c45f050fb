"""Fit a log-likelihood that is a plain function of named parameters and named data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..config import resolve_device
from ..data.batch import DataOptions, ModelData, from_arrays, from_frame
from ..data.extras import ExtraInputs
from ..data.formula import caller_names
from ..data.frames import check_columns, take_column
from ..data.named import Columns, NamedArrays, read_arrays, read_columns
from ..errors import OptionError, TorchmleError, UndefinedStatisticError, collecting_notes, listing, unknown
from ..params.map import ParamMap, Units
from ..results.results import Results
from ..workers import engine
from .base import GenericLikelihoodModel
from .blocks import Block, Named, make_blocks, read_transforms
from .request import FitRequest, as_params

Function = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]


class FunctionModel(GenericLikelihoodModel):
    """Hold a likelihood made by :func:`torchmle.likelihood`; all methods of a model work.

    Examples
    --------
    >>> import torch, torchmle as tm
    >>> def exponential(p, d):
    ...     return torch.log(p["rate"]) - p["rate"] * d["spell"]
    >>> model = tm.likelihood(exponential, {"rate": 1.0}, {"spell": [1.0, 2.0, 6.0]}, transforms={"rate": "positive"})
    >>> model.param_names
    ('rate',)
    >>> round(float(model.unpack(model.fit().params)["rate"]), 6)
    0.333333
    """

    offset_label = "data['offset']"
    takes_exposure = False

    def __init__(
        self,
        function: Function,
        data: ModelData,
        columns: Mapping[str, str],
        blocks: tuple[Block, ...],
        transforms: Mapping[str, Any],
        lifting: bool,
    ) -> None:
        self.function, self.blocks, self.columns, self.lifting = function, blocks, columns, lifting
        self.part: Named | None = None
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

    @property
    def likelihood_label(self) -> str:
        """Return what messages call the likelihood."""
        return self.model_name

    @property
    def start_params(self) -> dict[str, float]:
        """Return the starting values by name."""
        return {n: v for block in self.blocks for n, v in zip(block.names, block.start, strict=True)}

    def take(self, rows: slice | Tensor) -> FunctionModel:
        """Return a copy of the model with only some of its rows."""
        there = copy.copy(self)
        there.part = Named(((name, value[rows]) for name, value in self._rows().items()), "the data")
        there.endog = self.endog[rows]
        there.offset = None if self.offset is None else self.offset[rows]
        return there

    def loglikeobs(self, params: Tensor) -> Tensor:
        """Return the (n,) log-likelihoods."""
        rows = self._rows()
        if self.offset is not None:
            rows["offset"] = self.offset
        return self.function(self.tensors(params), rows)

    def tensors(self, params: Tensor) -> Named:
        """Return the named tensors of a vector of parameters."""
        items, first = [], 0
        for block in self.blocks:
            items.append((block.name, block.unpack(params[first : first + len(block.names)])))
            first += len(block.names)
        return Named(items, "the parameters")

    def unpack(self, params: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Return parameters, such as ``results.params``, block by block in their shapes."""
        flat = as_params(params, self.param_names, "params")
        return {name: value.numpy() for name, value in self.tensors(flat).items()}

    def _rows(self) -> Named:
        """Return the named tensors of the rows of this copy."""
        if self.part is not None:
            return Named(self.part.items(), "the data")
        found = dict(self.data.row_data)
        if self.data.designs:
            found |= {"endog": self.data.endog, "exog": next(iter(self.data.designs.values())).X}
        return Named(found.items(), "the data")

    def make_map(self, names: Any, units: Units = "scaled") -> ParamMap:
        """Return the map to comparable units: coefficients of a data matrix in those of its columns."""
        pmap = super().make_map(names, units)
        if units == "raw":
            return pmap
        scale = pmap.scale.clone()
        for block in self.blocks:
            X = self.data.row_data.get(self.columns.get(block.name, ""))
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
        blocks = [b.name for b in self.blocks]
        for name in given:
            if name not in blocks:
                raise OptionError(unknown("block in start_params:", name, blocks))
        absent = [name for name in blocks if name not in given]
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
    data : dict of name to array with n rows (vectors, matrices, ``(n, J, k)``, ...), or a table, whose columns are
        vectors. Rows with missing values are dropped; of a table, only the columns that ``fn`` reads count.
    formula : ``"y ~ x1 + x2"``: ``data`` is then the table, the function gets ``data["endog"]`` and ``data["exog"]``,
        and ``start={"beta": "exog"}`` names the coefficients by the columns.
    transforms : block name to ``"positive"``, ``"unit_interval"``, ``("interval", a, b)``, ``("greater_than", a)``,
        ``("less_than", b)``, ``"ordered"``, ``"simplex"``, or, for symmetric (d, d) matrices, ``"correlation"`` and
        ``"covariance"``: the function always gets values in that range, and the results are in these units.
    row_data : with a formula, further arrays or columns for the function.

    An ``offset`` is ``data["offset"]`` in the function. All other arguments are those of
    :class:`GenericLikelihoodModel`.

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
    used = read_transforms(transforms)
    options = DataOptions(missing, collinear, *resolve_device(device, dtype))
    extras = ExtraInputs(offset, None, freq_weights, None, sampling_weights, groups, row_data)
    context = {} if formula is None else caller_names([formula], 2)
    with engine(options.device), collecting_notes() as notes:
        if formula is not None:
            prepared = from_frame(formula, data, "exog", {}, extras, options, context)
            columns = {"exog": next(iter(prepared.designs.values())).terms}
            columns |= {k: _numbered(v) for k, v in prepared.row_data.items() if v.ndim == 2}
        elif isinstance(data, Mapping):
            prepared, columns = _from_named(read_arrays(data), None, extras, options)
        else:
            first = Columns(data, options.dtype, offset is not None)
            found = read_columns(first.table, _asked(fn, make_blocks(start, {}, used), first))
            prepared, columns = _from_named(found, first.table, extras, options)
    blocks = make_blocks(start, columns, used)
    tied = {str(name): value for name, value in start.items() if isinstance(value, str)}
    prepared = _with_float_matrices(replace(prepared, notes=tuple(notes)), tied)
    return FunctionModel(fn, prepared, tied, blocks, used, lifting)


def _asked(fn: Function, blocks: tuple[Block, ...], data: Columns) -> list[str]:
    """Return the columns of a table that a function reads, by running it once at the start."""
    items = [(b.name, b.unpack(torch.tensor(b.start, dtype=data.dtype, device="cpu"))) for b in blocks]
    try:
        with torch.no_grad():
            fn(Named(items, "the parameters"), data)
    except TorchmleError:
        raise
    except Exception:  # the check before the fit says what is wrong
        pass
    return list(data.asked) or data.names


def _from_named(
    found: NamedArrays, table: Any, extras: ExtraInputs, options: DataOptions
) -> tuple[ModelData, dict[str, tuple[str, ...]]]:
    """Return the data of named arrays, and the column names of its matrices; names of columns mean those of a table."""
    if extras.row_data is not None:
        raise OptionError("row_data goes with a formula; without one, put everything into data.")
    if "offset" in found.arrays and extras.offset is not None:
        raise OptionError("offset is given twice: as an argument and in data. Leave one out.")
    given = {f.name: getattr(extras, f.name) for f in fields(extras)}
    for name, value in given.items():
        if table is not None and isinstance(value, str):
            check_columns(table, [value], name)
            given[name] = take_column(table, value).set_axis(found.index)
    nothing = pd.Series(np.zeros(len(found.index)), index=found.index, name="(none)")
    prepared = from_arrays(nothing, {}, ExtraInputs(**{**given, "row_data": dict(found.arrays)}), options)
    return replace(prepared, frame=table), dict(found.columns)


def _numbered(X: Tensor) -> tuple[str, ...]:
    return tuple(str(j) for j in range(X.shape[1]))


def _with_float_matrices(data: ModelData, tied: Mapping[str, str]) -> ModelData:
    """Return the data with matrices that have coefficients as floating point numbers."""
    own = {k: v.to(data.endog.dtype) for k, v in data.row_data.items() if k in tied.values()}
    return replace(data, row_data={**data.row_data, **own})


def _sizes(X: Tensor | None, count: int) -> list[float]:
    """Return the standard deviations of a matrix's columns, the size of a constant one."""
    if X is None or X.ndim != 2 or X.shape[1] != count:
        return []
    spread = X.double().std(0)
    size = torch.where(spread > 0, spread, X.double().abs().amax(0))
    return torch.where(size > 0, size, torch.ones_like(size)).tolist()
