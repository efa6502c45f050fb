"""Join a module to its data: what a training run moves, and how it is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LikelihoodError, OptionError, listing
from .batches import Batch, Batches
from .modules import bind, is_bound, trained
from .randomness import OwnRandom

Loglike = Callable[[nn.Module, Batch], Tensor]
"""Gives the (b,) log-likelihoods of the records of a batch."""


LIGHT = 20_000_000
"""Parameters times numbers in a batch up to which torch is kept on one thread: a millisecond of work at most."""


def call(module: nn.Module, batch: Batch) -> Tensor:
    """Return ``module(*inputs)`` for a tuple or list, ``module(**inputs)`` for a dict, else ``module(inputs)``."""
    inputs = batch.inputs
    if isinstance(inputs, Mapping):
        found = module(**inputs)
    elif isinstance(inputs, (tuple, list)):
        found = module(*inputs)
    else:
        found = module(inputs)
    return found  # type: ignore[no-any-return]


class ModuleTrainee:
    """Be trained: a module, the records it is trained on and those it is judged by.

    A class of its own may override :meth:`objective` (what a batch adds to the function that is minimised),
    :meth:`score` with :attr:`scored` (what says that one point is better), :meth:`ended` (called after each epoch), and
    :meth:`state` with :meth:`load` (what a run must keep besides the parameters). State must hold all that the others
    change: batches are repeated after an interrupt, and where something was not finite.

    Parameters
    ----------
    module : the module; its parameters become views of one vector, so give a copy (:func:`private_copy`).
    batches : the records for training.
    validation : records held back, or None.
    loglike : gives the log-likelihoods of the records of a batch; by default the module is called with the batch.
    held : positions in the vector of parameters that stay where they are, or None.
    """

    def __init__(
        self,
        module: nn.Module,
        batches: Batches,
        validation: Batches | None = None,
        loglike: Loglike = call,
        held: Tensor | None = None,
    ) -> None:
        self.module, self.train_batches, self.validation, self.loglike = module, batches, validation, loglike
        with torch.inference_mode(False):
            self.flat = bind(module)
        if not len(self.flat):
            raise OptionError(f"{type(module).__name__} has no parameter to train.")
        self.held = held
        self.tensors = [tensor for _, tensor in trained(module)]
        self._frozen = list(frozen_parts(module))
        self._mean_weight = batches.mean_weight

    @property
    def device(self) -> torch.device:
        """Return the device of the parameters."""
        return self.flat.device

    @property
    def length(self) -> int | None:
        """Return how many batches an epoch has, or None where nobody knows."""
        return self.train_batches.length

    @property
    def scored(self) -> bool:
        """Return whether points have a score."""
        return self.validation is not None

    @property
    def light(self) -> bool:
        """Return whether a batch is surely too little work to share: parameters times numbers in a batch."""
        return self.device.type == "cpu" and len(self.flat) * self.train_batches.numbers <= LIGHT

    @property
    def signature(self) -> Mapping[str, Any]:
        """Return what a run that goes on from another one must share with it."""
        kind = str(self.flat.dtype).removeprefix("torch.")
        own = {"parameters": len(self.flat), "dtype": kind, "device": self.device.type}
        return own | dict(self.train_batches.signature)

    def batches(self, seed: int, epoch: int, skip: int, random: OwnRandom) -> Iterator[Batch]:
        """Yield the batches of an epoch from number ``skip`` on."""
        return self.train_batches.shuffled(seed, epoch, skip, random)

    def loss(self, batch: Batch) -> tuple[Tensor, float]:
        """Return the weighted sum of the log-likelihoods of a batch and its expected weight.

        That is the number of records times the mean weight over all records: a ratio to the weight of the batch itself
        would have another maximum than the log-likelihood.
        """
        each = self.each(batch)
        total = each.sum() if batch.weights is None else (each * batch.weights).sum()
        return total, self.weight(batch, each)

    def weight(self, batch: Batch, each: Tensor) -> float:
        """Return the expected weight of a batch."""
        return len(each) * self._mean_weight

    def objective(self, batch: Batch) -> Tensor:
        """Return what is minimised on a batch: the mean negative log-likelihood."""
        total, weight = self.loss(batch)
        return total / -weight

    def each(self, batch: Batch) -> Tensor:
        """Return the log-likelihoods of the records of a batch, checked for their shape."""
        each = self.loglike(self.module, batch)
        size = batch.size
        if not isinstance(each, Tensor) or each.ndim != 1 or (size is not None and len(each) != size):
            seen = f"shape {tuple(each.shape)}" if isinstance(each, Tensor) else type(each).__name__
            raise LikelihoodError(
                f"{type(self.module).__name__} must give one log-likelihood for each record, a tensor of shape "
                f"({'b' if size is None else size},); it gave {seen}."
            )
        return each

    def score(self) -> float | None:
        """Return the exact mean log-likelihood of the records held back, or None without any; higher is better."""
        return None if self.validation is None else self.evaluate("validation")

    def ended(self, epoch: int) -> None:
        """Do nothing at the end of an epoch (1, 2, ...), before it is scored; a class of its own may."""

    def state(self) -> dict[str, Any]:
        """Return what changes besides the parameters: the buffers of the module, by name."""
        return {name: tensor for name, tensor in self.module.named_buffers() if tensor is not None}

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state` returned."""
        own = dict(self.module.named_buffers())
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)

    def evaluate(self, part: str) -> float:
        """Return the exact mean log-likelihood at the present point, in eval mode: ``"train"`` or ``"validation"``."""
        total, weight = self.total(part)
        return total / weight

    def total(self, part: str) -> tuple[float, float]:
        """Return the weighted sum of the log-likelihoods of all records, and their weight."""
        total, weight = 0.0, 0.0
        for batch, each in self.passed(part):
            values = each.double() if each.device.type != "mps" else each
            weights = None if batch.weights is None else batch.weights.to(values.dtype)
            total += float(values.sum() if weights is None else (values * weights).sum())
            weight += len(each) if weights is None else float(weights.sum())
        return total, weight

    def passed(self, part: str) -> Iterator[tuple[Batch, Tensor]]:
        """Yield pieces of all records in order with their log-likelihoods, in eval mode, without gradient."""
        source = {"train": self.train_batches, "validation": self.validation}[part]
        if source is None:
            raise OptionError("There are no records held back for validation.")
        self.module.eval()
        for batch in source.in_order():
            with torch.inference_mode(False), torch.no_grad():
                each = self.each(batch)
            yield batch, each

    def train_mode(self) -> None:
        """Set the module to train mode, but for the parts that its author set to eval mode."""
        self.module.train()
        for part in self._frozen:
            part.eval()

    def check_bound(self) -> None:
        """Raise if the module has torn its parameters from the vector that is trained."""
        if not is_bound(self.module, self.flat):
            raise LikelihoodError(
                f"The parameters of {type(self.module).__name__} were replaced while it was trained. Change them in "
                "place (p.data.clamp_(0)), or not at all."
            )

    def describe(self, batch: Batch) -> str:
        """Return which records of a batch have a log-likelihood that is not finite, at the present point, or all."""
        with torch.no_grad():
            bad = (~torch.isfinite(self.each(batch))).nonzero().flatten().cpu()
        if batch.rows is None:
            return f"records {listing(bad.tolist())} of the batch" if len(bad) else "its records"
        return f"rows {listing((batch.rows[bad] if len(bad) else batch.rows).tolist())}"


def frozen_parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the submodules that were put in eval mode by themselves, within a part that is in train mode."""
    for child in module.children():
        if module.training and not child.training:
            yield child
        else:
            yield from frozen_parts(child)
