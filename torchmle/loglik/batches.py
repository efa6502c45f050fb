"""Cut what a training run reads into batches: tensors in random order, or a loader of the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, OptionError
from .randomness import OwnRandom, mixed

GATHER_BYTES = 16_000_000
"""Bytes of rows that are put in order at a time; batches are then slices, without a copy each."""

CHUNK_BYTES = 8_000_000
"""Bytes of rows in one piece of a pass over all rows."""

Tree = Any
"""A tensor, or tuples, lists and dicts of tensors."""


class Batch(NamedTuple):
    """Hold some records.

    ``inputs`` is what the module is called with; ``weights`` is (b,) or None; ``rows`` are the positions of the
    records in the data, or None where nobody knows; ``size`` is b, or None where ``inputs`` has no tensor.
    """

    inputs: Tree
    weights: Tensor | None
    rows: Tensor | None
    size: int | None


class Batches(Protocol):
    """Give the records of a data set, in batches at random and in pieces in order."""

    @property
    def length(self) -> int | None:
        """Return how many batches an epoch has, or None where nobody knows."""
        ...

    @property
    def mean_weight(self) -> float:
        """Return the mean weight of a record, 1 without weights."""
        ...

    @property
    def numbers(self) -> float:
        """Return how many numbers a batch has, infinite where nobody knows."""
        ...

    @property
    def signature(self) -> Mapping[str, Any]:
        """Return what a run that goes on from another one must share with it."""
        ...

    def shuffled(self, seed: int, epoch: int, skip: int, random: OwnRandom) -> Iterator[Batch]:
        """Yield the batches of an epoch from number ``skip`` on; the same for the same seed and epoch."""
        ...

    def in_order(self) -> Iterator[Batch]:
        """Yield every record once, in pieces."""
        ...


def leaves(tree: Tree) -> Iterator[Tensor]:
    """Yield the tensors in a tree."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for part in tree.values():
            yield from leaves(part)
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from leaves(part)


def mapped(function: Callable[[Tensor], Any], tree: Tree) -> Tree:
    """Return a tree of the same shape with a function applied to its tensors and arrays; all else in it stays."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, np.ndarray) and tree.dtype.kind in "biufc":
        return function(torch.tensor(tree))
    if isinstance(tree, Mapping):
        return {name: mapped(function, part) for name, part in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(function, part) for part in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(mapped(function, part) for part in tree)
    return tree


def split_rows(n: int, share: float, seed: int, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the rows for training and those held back, both in ascending order.

    Parameters
    ----------
    n : number of rows.
    share : part of the rows, or of the groups, that is held back; between 0 and 1.
    seed : seed of the split.
    groups : (n,) whole numbers; a group is then never cut in two.

    Raises
    ------
    OptionError
        If either part would be empty.

    Examples
    --------
    >>> from torchmle.loglik.batches import split_rows
    >>> [len(part) for part in split_rows(10, 0.2, seed=0)]
    [8, 2]
    """
    units, of_row = (n, None) if groups is None else _codes(groups)
    held = round(units * share) if 0 < share < 1 else 0
    if not 0 < held < units:
        what = "rows" if groups is None else "groups"
        raise OptionError(f"A share of {share!r} of {units} {what} leaves an empty part. Give one inside (0, 1).")
    generator = torch.Generator(device="cpu").manual_seed(mixed(seed, "split"))
    back = torch.zeros(units, dtype=torch.bool, device="cpu")
    back[torch.randperm(units, generator=generator, device="cpu")[:held]] = True
    back = back if of_row is None else back[of_row]
    return (~back).nonzero().flatten(), back.nonzero().flatten()


def _codes(groups: Tensor) -> tuple[int, Tensor]:
    values, codes = torch.unique(groups.cpu(), return_inverse=True)
    return len(values), codes


class ArrayBatches:
    """Cut tensors into batches in an order drawn anew for each epoch from the seed and the epoch.

    Parameters
    ----------
    inputs : tree of tensors whose first dimension counts the n records.
    batch_size : records in a batch; None, or n and more, for all at once, in their own order.
    weights : (n,) weights of the records, or None.
    rows : which records these are, as positions; None for all of them.
    """

    def __init__(
        self, inputs: Tree, batch_size: int | None = None, weights: Tensor | None = None, rows: Tensor | None = None
    ) -> None:
        with torch.inference_mode(False):
            inputs, weights = mapped(_usable, inputs), None if weights is None else _usable(weights)
        lengths = {len(t) if t.ndim else 0 for t in leaves(inputs)}
        if len(lengths) != 1 or 0 in lengths or (weights is not None and weights.shape != (max(lengths),)):
            shapes = ", ".join(str(tuple(t.shape)) for t in leaves((inputs, weights)))
            raise DataError(f"A training run needs data of one number of rows; their shapes: {shapes or 'none'}.")
        self.inputs, self.weights, self.n = inputs, weights, lengths.pop()
        self.device = next(leaves(inputs)).device
        self.rows = None if rows is None else rows.cpu()
        self.count = self.n if rows is None else len(rows)
        self.size = self.count if batch_size is None else min(batch_size, self.count)
        self.mean_weight = 1.0 if weights is None else float(self._take(weights, self.rows).double().mean())
        self._whole: Batch | None = None

    @property
    def length(self) -> int:
        """Return how many batches an epoch has."""
        return -(-self.count // self.size)

    @property
    def numbers(self) -> float:
        """Return how many numbers a batch has."""
        return self.size * sum(t.numel() / self.n for t in leaves(self.inputs))

    @property
    def signature(self) -> Mapping[str, Any]:
        """Return what a run that goes on from another one must share with it."""
        return {"rows": self.count, "batch_size": self.size}

    def order(self, seed: int, epoch: int) -> Tensor:
        """Return the positions of the records in the order of an epoch."""
        if self.size == self.count:
            return torch.arange(self.n, device="cpu") if self.rows is None else self.rows
        generator = torch.Generator(device="cpu").manual_seed(mixed(seed, "order", epoch))
        order = torch.randperm(self.count, generator=generator, device="cpu")
        return order if self.rows is None else self.rows[order]

    def shuffled(self, seed: int, epoch: int, skip: int, random: OwnRandom) -> Iterator[Batch]:
        """Yield the batches of an epoch from number ``skip`` on; ``random`` is not used."""
        if self.size == self.count:
            if self._whole is None:
                self._whole = self._batch(None if self.rows is None else self.rows)
            return iter((self._whole,)[skip:])
        return self._cut(self.order(seed, epoch), skip)

    def _cut(self, order: Tensor, skip: int) -> Iterator[Batch]:
        """Put blocks of rows in order, and yield their slices; a batch lies in memory as it does without a skip."""
        block = max(1, GATHER_BYTES // (self._row_bytes() * self.size)) * self.size
        first = skip * self.size // block * block
        skip -= first // self.size
        for begin in range(first, len(order), block):
            index = order[begin : begin + block]
            whole = self._batch(index)
            parts = [torch.split(t, self.size) for t in leaves(whole.inputs)]
            weights = [None] * len(parts[0]) if whole.weights is None else torch.split(whole.weights, self.size)
            single = isinstance(whole.inputs, Tensor)
            flat = isinstance(whole.inputs, tuple) and all(isinstance(t, Tensor) for t in whole.inputs)
            pieces = zip(zip(*parts, strict=True), weights, torch.split(index, self.size), strict=True)
            for place, (piece, weight, rows) in enumerate(pieces):
                if place >= skip:
                    inputs = piece[0] if single else piece if flat else _refilled(self.inputs, iter(piece))
                    yield Batch(inputs, weight, rows, len(rows))
            skip = 0

    def in_order(self) -> Iterator[Batch]:
        """Yield every record once, in pieces."""
        step = min(65_536, max(self.size if self.size < self.count else 1, CHUNK_BYTES // self._row_bytes()))
        for begin in range(0, self.count, step):
            end = min(begin + step, self.count)
            if self.rows is not None:
                yield self._batch(self.rows[begin:end])
                continue
            weights = None if self.weights is None else self.weights[begin:end]
            rows = torch.arange(begin, end, device="cpu")
            yield Batch(mapped(lambda t, b=begin, e=end: t[b:e], self.inputs), weights, rows, end - begin)  # type: ignore[misc]

    def _batch(self, index: Tensor | None) -> Batch:
        inputs = mapped(lambda t: self._take(t, index), self.inputs)
        weights = None if self.weights is None else self._take(self.weights, index)
        rows = torch.arange(self.n, device="cpu") if index is None else index
        return Batch(inputs, weights, rows, len(rows))

    def _take(self, tensor: Tensor, index: Tensor | None) -> Tensor:
        return tensor if index is None else tensor.index_select(0, index.to(tensor.device))

    def _row_bytes(self) -> int:
        return max(1, sum(t.element_size() * (t.numel() // self.n) for t in leaves(self.inputs)))


def _usable(tensor: Tensor) -> Tensor:
    """Return a tensor that backward may keep: one that was made in inference mode is copied."""
    return tensor.detach().clone() if tensor.is_inference() else tensor.detach()


def _refilled(tree: Tree, parts: Iterator[Tensor]) -> Tree:
    """Return a tree of the same shape as another with its tensors taken one by one from ``parts``."""
    return mapped(lambda _: next(parts), tree)


class LoaderBatches:
    """Read a DataLoader, or any iterable of batches that can be read again and again.

    Its shuffling is made repeatable: each epoch is read with torch's generator (and those that the loader brings
    along) seeded from the seed and the epoch. What draws from elsewhere, such as numpy's generator, is not.

    Parameters
    ----------
    loader : iterable of trees of tensors.
    device, dtype : where batches go; a dtype other than None is that of all floating-point numbers in them.
    weights : key or position of the weights within a batch, or None; the module does not see them.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        device: torch.device,
        dtype: torch.dtype | None = None,
        weights: str | int | None = None,
    ) -> None:
        if not isinstance(loader, Iterable) or isinstance(loader, Iterator):
            raise OptionError(
                f"{type(loader).__name__} cannot be read more than once. Give a DataLoader, a list of batches, or an "
                "object whose __iter__ begins anew each time."
            )
        self.loader, self.device, self.dtype, self.key = loader, device, dtype, weights
        self.mean_weight = 1.0 if weights is None else self._mean_weight()

    @property
    def length(self) -> int | None:
        """Return how many batches an epoch has, or None where the loader does not say."""
        try:
            return len(self.loader)  # type: ignore[arg-type]
        except TypeError:
            return None

    @property
    def numbers(self) -> float:
        """Return infinity: nobody knows how many numbers a batch has."""
        return math.inf

    @property
    def signature(self) -> Mapping[str, Any]:
        """Return what a run that goes on from another one must share with it."""
        return {"batches": self.length}

    def shuffled(self, seed: int, epoch: int, skip: int, random: OwnRandom) -> Iterator[Batch]:
        """Yield the batches of an epoch; the loader draws from a stream of its own, not from that of the module."""
        module = random.states()
        with _Lent(self.loader, mixed(seed, "order", epoch), epoch):
            random.seed(mixed(seed, "order", epoch))
            source, place = iter(self.loader), 0
            own = random.states()
            while True:
                random.load(own)
                item = next(source, None)
                own = random.states()
                random.load(module)
                if item is None:
                    break
                if place >= skip:
                    yield self._placed(item)
                    module = random.states()
                place += 1
        if place == 0:
            raise DataError("The loader gives no batch.")

    def in_order(self) -> Iterator[Batch]:
        """Yield every record once, in batches, as the loader gives them from one fixed seed."""
        with OwnRandom(self.device) as random:
            yield from self.shuffled(0, 0, 0, random)

    def _placed(self, item: Tree) -> Batch:
        weights: Tensor | None = None
        if self.key is not None:
            item, weights = self._without_weights(item)
            weights = self._move(weights)
        inputs = mapped(self._move, item)
        first = next(leaves(inputs), None)
        return Batch(inputs, weights, None, None if first is None or not first.ndim else len(first))

    def _move(self, tensor: Tensor) -> Tensor:
        dtype = self.dtype if self.dtype is not None and tensor.is_floating_point() else tensor.dtype
        return tensor.to(self.device, dtype, non_blocking=True)

    def _without_weights(self, item: Tree) -> tuple[Tree, Tensor]:
        key = self.key
        if isinstance(item, Mapping) and key in item:
            return {k: v for k, v in item.items() if k != key}, item[key]
        if isinstance(item, (tuple, list)) and isinstance(key, int) and -len(item) <= key < len(item):
            place = key % len(item)
            return tuple(v for i, v in enumerate(item) if i != place), item[place]
        has = list(item) if isinstance(item, Mapping) else f"{len(item)} parts" if hasattr(item, "__len__") else item
        raise DataError(f"The batches have no weights {key!r}; they have {has}.")

    def _mean_weight(self) -> float:
        total, count = 0.0, 0
        for batch in self.in_order():
            assert batch.weights is not None
            total, count = total + float(batch.weights.double().sum()), count + batch.weights.numel()
        return total / count


class _Lent:
    """Seed the generators that a loader brings along and tell its sampler the epoch; put both back afterwards."""

    def __init__(self, loader: Any, seed: int, epoch: int) -> None:
        batched = getattr(loader, "batch_sampler", None)
        parts = [loader, getattr(loader, "sampler", None), batched, getattr(batched, "sampler", None)]
        found = {id(g): g for p in parts if isinstance(g := getattr(p, "generator", None), torch.Generator)}
        self.generators, self.seed, self.epoch = list(found.values()), seed, epoch
        self.samplers = list({id(p): p for p in parts if hasattr(p, "set_epoch") and hasattr(p, "epoch")}.values())

    def __enter__(self) -> None:
        self.before = [g.get_state() for g in self.generators], [s.epoch for s in self.samplers]
        for generator in self.generators:
            generator.manual_seed(self.seed)
        for sampler in self.samplers:
            sampler.set_epoch(self.epoch)

    def __exit__(self, *_: object) -> None:
        for generator, state in zip(self.generators, self.before[0], strict=True):
            generator.set_state(state)
        for sampler, epoch in zip(self.samplers, self.before[1], strict=True):
            sampler.set_epoch(epoch)
