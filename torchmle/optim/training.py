"""Train on mini-batches: one run of a torch optimizer that can be stopped between two batches and go on from there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import OptionError
from ..loglik.batches import Batch
from ..loglik.randomness import OwnRandom
from ..workers import derivatives_on, one_thread
from .checks import check_positive, check_whole
from .loop import Limits, drive
from .run import Keep, Run
from .snapshots import EpochRow, Snapshot
from .status import Status


class Trainee(Protocol):
    """Be trained; :class:`torchmle.loglik.trainee.ModuleTrainee` is one, and may be inherited from."""

    flat: nn.Parameter
    tensors: list[nn.Parameter]
    held: Tensor | None

    @property
    def scored(self) -> bool:
        """Return whether points have a score."""
        ...

    @property
    def light(self) -> bool:
        """Return whether a batch is too little work for several threads."""
        ...

    @property
    def length(self) -> int | None:
        """Return how many batches an epoch has."""
        ...

    @property
    def signature(self) -> Mapping[str, Any]:
        """Return what a run that goes on must share."""
        ...

    def batches(self, seed: int, epoch: int, skip: int, random: OwnRandom) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        ...

    def objective(self, batch: Batch) -> Tensor:
        """Return the scalar that is minimised on a batch."""
        ...

    def score(self) -> float | None:
        """Return what says that a point is better, or None."""
        ...

    def ended(self, epoch: int) -> None:
        """Be told that an epoch is over."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what changes besides the parameters."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Put it back."""
        ...

    def train_mode(self) -> None:
        """Get ready for batches."""
        ...

    def check_bound(self) -> None:
        """Raise if the parameters are no longer those of ``flat``."""
        ...

    def describe(self, batch: Batch) -> str:
        """Return in words which records of a batch are bad."""
        ...


@dataclass(frozen=True)
class TrainingOptions:
    """Hold how a module is trained.

    Attributes
    ----------
    kind : class of ``torch.optim``; ``extra`` is what it takes besides the learning rate.
    epochs : how often every record is read, all earlier epochs of a run that goes on included.
    batch_size : records in a batch; None for all at once.
    seed : of the order of the records, dropout and the validation part.
    time_limit : seconds, or None.
    lr : learning rate; None for torch's own default of the class.
    schedule : function from the epoch (0, 1, ...) to a factor of ``lr``; or a class of ``torch.optim.lr_scheduler``,
        with its arguments by ``functools.partial``, which takes a step after every epoch.
    clip : largest norm of the gradient of a batch; None for no limit.
    validation : share of the records, or records, that are held back; None for none.
    patience : epochs without a better score after which training stops; None for never.
    """

    kind: type[torch.optim.Optimizer] = torch.optim.Adam
    epochs: int = 100
    batch_size: int | None = None
    seed: int = 0
    time_limit: float | None = None
    lr: float | None = None
    schedule: Callable[..., Any] | None = None
    clip: float | None = None
    validation: Any = None
    patience: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("seed", 0), ("batch_size", 1), ("patience", 1)):
            check_whole(name, getattr(self, name), least)
        for name in ("time_limit", "lr", "clip"):
            check_positive(name, getattr(self, name))
        if self.schedule is not None and not callable(self.schedule):
            raise OptionError(
                f"schedule={self.schedule!r} must be a function from the epoch (0, 1, ...) to a factor, or a class of "
                "torch.optim.lr_scheduler."
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Return what the torch optimizer is made with."""
        return ({} if self.lr is None else {"lr": self.lr}) | dict(self.extra)

    @property
    def asked(self) -> dict[str, Any]:
        """Return what a run that goes on takes over where it is told nothing else."""
        own = {k: getattr(self, k) for k in ("lr", "schedule", "clip", "validation", "patience")}
        options = {k: v for k, v in own.items() if v is not None} | dict(self.extra)
        return {
            "kind": self.kind.__name__,
            "maxiter": self.epochs,
            "seed": self.seed,
            "batch_size": self.batch_size,
        } | {"options": options}

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a summary should say of these options."""
        pulled = {k: v for k, v in self.extra.items() if k in ("weight_decay", "lambd") and v}
        return tuple(
            f"{k}={v:g} pulls the parameters to zero: the point is that of a penalised log-likelihood, and standard "
            "errors that take it for a maximum do not hold."
            for k, v in pulled.items()
        )


@dataclass(frozen=True)
class Trained:
    """Hold what a training run found.

    Attributes
    ----------
    status : how it ended.
    x : (P,) the parameters returned: those with the best score on the records held back, else the last ones.
    state : what else belongs to that point, such as the buffers of the module.
    epochs : whole epochs, earlier ones of the same run included; ``best`` is the one whose parameters are returned.
    trace : a line for the start and for each epoch.
    snapshot : where to go on.
    seconds : duration of this part of the run.
    notes : what else is to be said.
    """

    status: Status
    x: Tensor
    state: Mapping[str, Any]
    epochs: int
    best: int
    trace: tuple[EpochRow, ...]
    snapshot: Snapshot
    seconds: float
    notes: tuple[str, ...]


def train(
    trainee: Trainee,
    options: TrainingOptions,
    *,
    resume: Snapshot | None = None,
    keep: Keep | None = None,
    show: Callable[[str], None] | None = None,
    callback: Callable[[EpochRow], Any] | None = None,
) -> Trained:
    """Minimise the objective of a trainee, and leave it at the point that is returned.

    Parameters
    ----------
    trainee : what is trained.
    options : how.
    resume : where an earlier run stood; the run is then the same, bit for bit on a CPU, as one that never stopped.
    keep : is given a snapshot at the start, every few moments and at the end, and whether it is the last.
    show : is given the text of the progress line.
    callback : is given each line of the trace; True stops the run.

    Raises
    ------
    OptionError
        If the torch optimizer refuses its options, or ``resume`` is a run of another kind.
    """
    device = trainee.flat.device
    threads = one_thread() if trainee.light else nullcontext()
    with threads, OwnRandom(device) as random, derivatives_on(device):
        run = Run(trainee, options, random, keep, show)
        try:
            run.begin(resume)
            driven = drive(
                run.progress,
                run.step,
                lambda iteration, state, seconds: run.trace[iteration],
                Limits(options.epochs, options.time_limit, run.patience_is_over),
                better=lambda state, best: True,
                callback=callback,
                earlier=run.trace,
                begin=run.begun,
            )
            point = run.end(driven.state.status or Status.MAXITER)
        except KeyboardInterrupt:  # before the first epoch or after the last: there is a point to return
            point = run.end(Status.INTERRUPTED)
        here, best = run.last.progress, run.last.progress.best
        epoch = here.epoch if best is None else best.epoch
        trace = run.last.trace or (EpochRow(0, math.nan, math.nan, run.rates.rate, 0.0),)
        seconds = time.perf_counter() - run.begun
        return Trained(*point, here.epoch, epoch, trace, run.last, seconds, tuple(run.notes))
