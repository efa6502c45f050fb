"""Give a module its records batch by batch: a DataLoader, or any iterable of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import torch
from torch import Tensor

from ...data.absent import CountedRows, absent
from ...data.batch import ModelData
from ...data.extras import Weights
from ...errors import DataError, OptionError
from ...loglik.batches import Batch, LoaderBatches
from ...loglik.moments import Moments, add
from ...loglik.network import ALIASES
from ...loglik.objective import Chunk, Objective
from ...params.map import ParamMap

if TYPE_CHECKING:
    from .base import ModuleModel


class Loader(LoaderBatches):
    """Be a loader whose batches have been counted.

    Attributes
    ----------
    first : the parts of one batch, by name.
    count : how many records there are.
    seen : the weights of all records, or None.
    """

    first: Mapping[str, Tensor]

    def __init__(self, loader: Any, weights: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> None:
        given = {kind: key for kind, key in weights.items() if key is not None}
        if len(given) > 1:
            raise OptionError(f"{' and '.join(given)} were given; one kind of weights is allowed at a time.")
        kind, key = next(iter(given.items()), (None, None))
        super().__init__(loader, device, dtype, key)
        self.floats, self.count, self.seen, found = dtype, 0, None, []
        for batch in self.in_order():
            self._count(self.named(batch))
            if batch.weights is not None:
                found.append(batch.weights.detach())
        if kind is not None:
            self.seen = _weights(kind, torch.cat(found).to(dtype))

    def _count(self, parts: Mapping[str, Tensor]) -> None:
        if not self.count:
            self.first = parts
        if parts.keys() != self.first.keys():
            raise DataError(f"A batch has the parts {', '.join(parts)}, an earlier one {', '.join(self.first)}.")
        self.count += len(next(iter(parts.values())))

    @property
    def rank(self) -> int:
        """Return the dimensions of ``exog``."""
        return self.first["exog"].ndim if "exog" in self.first else 2

    def named(self, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of a batch by name: ``(x, y)`` are ``exog`` and ``endog``."""
        return _named(batch.inputs, self.floats)


def _weights(kind: str, values: Tensor) -> Weights:
    if bool((values < 0).any()) or not bool(torch.isfinite(values).all()) or not bool((values > 0).any()):
        raise DataError(f"{kind} of the batches must be finite and not negative, and some must be positive.")
    if kind == "freq_weights" and bool((values != values.round()).any()):
        raise DataError("freq_weights counts how often a record occurred and must be whole numbers.")
    return Weights(cast(Any, kind), values)


def _named(tree: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    if isinstance(tree, Tensor):
        tree = {"exog": tree}
    elif isinstance(tree, (tuple, list)) and len(tree) == 2:
        tree = {"exog": tree[0], "endog": tree[1]}
    elif not isinstance(tree, Mapping):
        seen = f"{len(tree)} parts" if isinstance(tree, (tuple, list)) else type(tree).__name__
        raise DataError(f"A batch is {seen}; it must be (x, y), or a dict of names to tensors.")
    found = {ALIASES.get(str(name), str(name)): value for name, value in tree.items()}
    for name, value in found.items():
        if not isinstance(value, Tensor) or not value.ndim:
            raise DataError(f"{name!r} in a batch is {type(value).__name__}; it must be a tensor with a row a record.")
    if len({len(value) for value in found.values()}) != 1:
        raise DataError(f"The parts of a batch have different lengths: { {k: len(v) for k, v in found.items()} }.")
    for name in ("exog", "endog"):
        if name in found and not found[name].is_floating_point():
            found[name] = found[name].to(dtype)
    first = next(iter(found.values()))
    found.setdefault("endog", torch.full((len(first),), torch.nan, dtype=dtype, device=first.device))
    return found


def rowless_data(loader: Loader) -> ModelData:
    """Return data of which names and shapes are known, and no row."""
    shapes = {name: (loader.count, *tensor.shape[1:]) for name, tensor in loader.first.items()}
    gone = {name: absent(shape, loader.first[name].dtype) for name, shape in shapes.items()}
    endog = gone.pop("endog")
    rows = CountedRows(pd.RangeIndex(0), None, {}, loader.count, loader.count)
    return ModelData(endog, "y", {}, None, loader.seen, None, gone, rows)


def on_batch(model: ModuleModel, parts: Mapping[str, Tensor], weights: Tensor | None) -> ModuleModel:
    """Return the model on the records of one batch."""
    rest = {name: value for name, value in parts.items() if name != "endog"}
    kind = model.data.weights
    own = None if weights is None or kind is None else replace(kind, values=weights.to(kind.values))
    count = len(parts["endog"])
    rows = CountedRows(pd.RangeIndex(0), None, {}, count, count)
    data = replace(model.data, endog=parts["endog"], row_data=rest, weights=own, rows=rows)
    there = model.on(data)
    there.loader = None
    return there


class LoaderObjective(Objective):
    """Sum the log-likelihood over the batches of a loader."""

    engine = "reverse-mode autograd through the module, batch by batch"

    def __init__(self, model: ModuleModel, loader: Loader, pmap: ParamMap, each: float) -> None:
        self.model, self.loader, self.map, self.each = model, loader, pmap, each
        self.rows = self.chunk = loader.count
        self.device, self.dtype = loader.device, loader.floats

    def parts(self) -> Iterator[Objective]:
        """Yield the log-likelihoods of the batches."""
        for batch in self.loader.in_order():
            yield on_batch(self.model, self.loader.named(batch), batch.weights).of_rows(self.map, self.each)

    def sum_moments(self, working: Tensor, order: int) -> Moments:
        """Return the log-likelihood with its derivatives, summed over batches."""
        return add(part.sum_moments(working, order) for part in self.parts())

    def values(self, working: Tensor) -> Tensor:
        """Return the log-likelihoods of the records, in the order of the loader."""
        return self._joined(lambda part: part.values(working))

    def scores(self, working: Tensor) -> Tensor:
        """Return the scores of the records, in the order of the loader."""
        return self._joined(lambda part: part.scores(working))

    def _joined(self, of: Callable[[Objective], Tensor]) -> Tensor:
        return torch.cat([of(part) for part in self.parts()])

    def outer_products(self, working: Tensor, power: int, root: Tensor | None = None) -> Tensor:
        """Return ``sum w^power s s'``."""
        return torch.stack([part.outer_products(working, power, root) for part in self.parts()]).sum(0)

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Raise: a loader gives no ranges of rows."""
        raise _no_ranges()

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Raise: a loader gives no ranges of rows."""
        raise _no_ranges()

    def row_values(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Raise: a loader gives no ranges of rows."""
        raise _no_ranges()

    def take(self, index: Tensor) -> Objective:
        """Raise: a loader gives no single rows."""
        raise _no_ranges()


def _no_ranges() -> DataError:
    return DataError("This needs single rows, and a loader gives batches. Build the model of arrays.")
