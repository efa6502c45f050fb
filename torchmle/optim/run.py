"""Hold the moving parts of a training run, so that it can be left and taken up between any two batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import DataError, LikelihoodError, OptionError
from ..linalg import all_finite
from ..loglik.batches import Batch
from ..loglik.randomness import OwnRandom, mixed
from .schedules import Rates
from .snapshots import EpochRow, Kept, Progress, Snapshot, copied
from .status import Status

if TYPE_CHECKING:
    from .training import Trainee, TrainingOptions

EVERY = 0.1
"""Seconds between two snapshots within a run, and between two states of the line."""

SHARE = 50
"""How many times its own duration lies between two snapshots."""

LAG = 32
"""Batches whose values are fetched from the device at a time."""

ELEMENTWISE = ("SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD")
"""Classes of torch.optim that treat every number by itself, so that all parameters can be one tensor."""


Keep = Callable[[Snapshot, bool], None]
"""Is given snapshots, and whether one is the last."""


class _NotFiniteError(Exception):
    """Say in which batch something was not finite."""

    def __init__(self, what: str, place: int, batch: Batch | None = None) -> None:
        super().__init__(what)
        self.what, self.place, self.batch = what, place, batch


class Run:
    """Hold the moving parts: the parameters, the optimizer, the generators, and where they stand.

    ``progress`` is true of the moving parts unless ``torn``; then ``last`` is the nearest place to go back to.
    """

    def __init__(
        self,
        trainee: Trainee,
        options: TrainingOptions,
        random: OwnRandom,
        keep: Keep | None,
        show: Callable[[str], None] | None,
    ) -> None:
        self.trainee, self.options, self.random, self.keep, self.show = trainee, options, random, keep, show
        self.flat = trainee.flat
        parameters = [self.flat] if options.kind.__name__ in ELEMENTWISE else trainee.tensors
        self.optimizer = _made(options, parameters)
        self.rates = Rates(options.schedule, self.optimizer, trainee.scored)
        if options.patience is not None and not trainee.scored:
            raise OptionError("patience needs records held back: options={'validation': 0.2}.")
        self.held = None if trainee.held is None else (trainee.held, self.flat.detach()[trainee.held].clone())
        held = [] if trainee.held is None else trainee.held.tolist()
        self.identity = {"method": options.kind.__name__, "seed": options.seed, "held": held, **trainee.signature}
        self.progress, self.torn, self.careful = Progress(), False, False
        self.trace: list[EpochRow] = []
        self.notes = list(options.notes)
        self.begun, self.earlier, self.wake, self.due, self.smooth = time.perf_counter(), 0.0, 0.0, 0.0, math.nan
        self.deadline = math.inf if options.time_limit is None else self.begun + options.time_limit
        self.last = self._taken()

    def begin(self, resume: Snapshot | None) -> None:
        """Start at the trainee's own point, or where an earlier run stood."""
        if resume is not None:
            changed = self._changed(resume)
            self.last, self.torn = resume, True
            self._restore(resume)
            for group in self.optimizer.param_groups:
                group.update(changed)
        if self.trace:
            self.earlier = self.trace[-1].seconds
        else:
            self._arrive(replace(self.progress, rate=self.rates.rate), self._score())
        self._snapshot()

    def _changed(self, resume: Snapshot) -> dict[str, float]:
        """Return the learning rate if it is another than before; nothing else of the optimizer may be."""
        _check_same(resume.identity, self.identity)
        old, new = dict(resume.settings), dict(self.options.settings)
        rate = new.pop("lr", None)
        same = rate == old.pop("lr", None)
        if not same and self.rates.scheduler is not None:
            raise OptionError("resume: the schedule goes on from the rates that it was made for. Leave lr as it was.")
        _check_same(old, new)
        return {} if same else {"lr": rate or self.rates.base[0]}

    def patience_is_over(self) -> bool:
        """Return whether the score has not risen for too long."""
        return self.options.patience is not None and self.progress.stale >= self.options.patience

    def step(self, _: Progress) -> Progress:
        """Run what is left of an epoch."""
        try:
            cut = self._batches()
            if cut is None:
                self._close()
        except _NotFiniteError as found:
            self._find(found)
            cut = Status.NOT_FINITE
        return self.progress if cut is None else replace(self.progress, status=cut, step=math.nan)

    def _batches(self) -> Status | None:
        """Take a step for each batch that is left of the epoch; the inner loop does nothing else that costs."""
        trainee, optimizer, clip, held = self.trainee, self.optimizer, self.options.clip, self.held
        objective, gradient, clock = trainee.objective, self.flat.grad, time.perf_counter
        epoch, place, fresh = self.progress.epoch, self.progress.batch, True
        assert gradient is not None
        self.torn = True
        self.rates.begin(epoch)
        if place == 0:
            self.random.seed(mixed(self.options.seed, "draws", epoch))
        trainee.train_mode()
        waiting: list[tuple[Tensor, int]] = []
        for batch in trainee.batches(self.options.seed, epoch, place, self.random):
            gradient.zero_()
            loss = objective(batch)
            if fresh:
                _check_loss(loss)
                fresh = False
            loss.backward()  # type: ignore[no-untyped-call]
            if held is not None:
                gradient.index_fill_(0, held[0], 0.0)
            if self.careful:
                _check_finite({"log-likelihood": loss, "gradient": gradient}, place, batch)
            if clip is not None:
                gradient.mul_((clip / (torch.linalg.vector_norm(gradient) + 1e-6)).clamp_(max=1.0))
            optimizer.step()
            if held is not None:
                self.flat.data.index_copy_(0, *held)
            if self.careful:
                _check_finite({"step": self.flat}, place, batch)
            waiting.append((loss.detach(), batch.size or 1))
            place += 1
            if len(waiting) >= LAG or self.careful or clock() >= self.wake:
                self._fetch(waiting, place)
                if clock() >= self.wake and self._awake():
                    return Status.TIME_LIMIT
        self._fetch(waiting, place)
        return None

    def _fetch(self, waiting: list[tuple[Tensor, int]], place: int) -> None:
        """Add the values of the last batches to the sums; they wait because each one would stop the device."""
        if not waiting:
            return
        here, smooth = self.progress, self.smooth
        total, weight = here.total, here.weight
        values = torch.stack([loss for loss, _ in waiting]).tolist()
        for i, (value, (_, size)) in enumerate(zip(values, waiting, strict=True)):
            if not math.isfinite(value):
                raise _NotFiniteError("log-likelihood", place - len(waiting) + i)
            total, weight = total + value * size, weight + size
            smooth = value if math.isnan(smooth) else 0.95 * smooth + 0.05 * value
        self.progress, self.smooth = replace(here, batch=place, total=total, weight=weight), smooth
        waiting.clear()
        if self.careful:
            self.last = self._taken()

    def _awake(self) -> bool:
        """Show the line, take a snapshot, and return whether the time is up."""
        here, now = self.progress, time.perf_counter()
        if self.show is not None:
            count = "" if self.trainee.length is None else f"/{self.trainee.length}"
            held = "" if math.isnan(here.score) else f" validation={here.score:.4g}"
            self.show(f"epoch={here.epoch + 1} batch={here.batch}{count} loglik={-self.smooth:.4g}{held}")
        if now >= self.due and not self.careful:
            _check_finite({"step": self.flat}, here.batch - 1)
            self._snapshot()
        self.wake = time.perf_counter() + EVERY
        if now >= self.deadline and not self.careful:
            self.torn = False
            return True
        return False

    def _close(self) -> None:
        """End an epoch: tell the trainee, score the point, change the rate."""
        here, rate = self.progress, self.rates.rate
        if not here.weight:
            raise DataError(f"Epoch {here.epoch + 1} has no batch. Give a loader that can be read more than once.")
        self.trainee.ended(here.epoch + 1)
        score = self._score()
        self.rates.end(score)
        running = -here.total / here.weight
        self._arrive(
            replace(here, epoch=here.epoch + 1, batch=0, total=0.0, weight=0.0, running=running, rate=rate), score
        )

    def _score(self) -> float:
        score = self.trainee.score() if self.trainee.scored else None
        return math.nan if score is None else score

    def _arrive(self, there: Progress, score: float) -> None:
        """Stand between two epochs, and keep the point if it is the best one."""
        if there.epoch:
            _check_finite({"step": self.flat}, self.progress.batch - 1)
        best, stale = there.best, there.stale + (there.epoch > 0 and self.trainee.scored)
        if math.isfinite(score) and (best is None or score > best.score):
            best = Kept(score, there.epoch, self.flat.detach().clone(), copied(self.trainee.state()))
            stale = 0
        self.progress = replace(there, score=score, best=best, stale=stale)
        seconds = self.earlier + time.perf_counter() - self.begun
        self.trace.append(EpochRow(there.epoch, there.running, score, there.rate, seconds))
        self.torn = False
        if self.trace[1:] and time.perf_counter() >= self.due:
            self._snapshot()

    def _find(self, found: _NotFiniteError) -> None:
        """Go back to the last snapshot, repeat the batches one by one, and stop before the one that is to blame."""
        reached = self.progress.epoch
        self._restore(self.last)
        self.careful = True
        try:
            while self.progress.epoch <= reached:
                self._batches()
                self._close()
        except _NotFiniteError as again:
            found = again
        self.careful = False
        self._restore(self.last)
        where = f"Epoch {self.progress.epoch + 1}, batch {found.place + 1}"
        if found.batch is None:
            self.notes.append(f"{where}: the {found.what} was not finite, but it was when the batches were repeated.")
            return
        self.notes.append(
            f"{where}: the {found.what} is not finite ({self.trainee.describe(found.batch)}). The parameters are those "
            "of before. Try a smaller lr, clip, or a parametrisation that cannot leave its range."
        )
        self._restore(self.last)

    def _snapshot(self, final: bool = False) -> None:
        """Keep where the run stands; the more it costs, the more rarely."""
        begin = time.perf_counter()
        self.trainee.check_bound()
        self.last = self._taken()
        self.due = begin + max(EVERY, SHARE * (time.perf_counter() - begin))
        if self.keep is not None:
            self.keep(self.last, final)

    def _taken(self) -> Snapshot:
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        memory = [dict(self.optimizer.state[p]) for group in self.optimizer.param_groups for p in group["params"]]
        return Snapshot(
            self.identity,
            self.options.settings,
            self.options.asked,
            self.progress,
            self.flat.detach().clone(),
            copied(self.trainee.state()),
            copied({"memory": memory, "groups": groups}),
            copied(self.rates.state()),
            self.random.states(),
            tuple(self.trace),
        )

    def _restore(self, snapshot: Snapshot) -> None:
        """Go back, or on, to a snapshot, which stays as it is."""
        self.flat.data.copy_(snapshot.x)
        self.trainee.load(snapshot.state)
        kept = copied(snapshot.optimizer)
        for group, old in zip(self.optimizer.param_groups, kept["groups"], strict=True):
            group.update(old)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for parameter, memory in zip(parameters, kept["memory"], strict=True):
            self.optimizer.state[parameter] = memory
        vars(self.optimizer)["_opt_called"] = True  # else a scheduler warns that there was no step before its own
        self.rates.load(copied(snapshot.schedule))
        self.random.load(snapshot.random)
        self.progress, self.trace, self.torn = snapshot.progress, list(snapshot.trace), False

    def end(self, status: Status) -> tuple[Status, Tensor, dict[str, Any]]:
        """Leave the trainee at the point that is returned, and say how it ended."""
        if self.torn:
            self._restore(self.last)
        self._snapshot(final=True)
        self.torn = True  # from here on the parameters are those to return, not those to go on from
        best = self.progress.best
        if best is not None:
            self.flat.data.copy_(best.x)
            self.trainee.load(best.state)
        elif self.trainee.scored and self.trace:
            self.notes.append("The validation part has no finite log-likelihood at any epoch; the last point counts.")
        if status is Status.MAXITER:
            status = Status.TRAINED
            if self.patience_is_over() and self.progress.epoch < self.options.epochs:
                self.notes.append(f"Stopped early: {self.progress.stale} epochs brought no better validation part.")
        return status, self.flat.detach().clone(), copied(self.trainee.state())


def _made(options: TrainingOptions, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Create the torch optimizer."""
    try:
        return options.kind(parameters, **options.settings)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        text = str(error).rstrip(".")
        raise OptionError(f"torch.optim.{options.kind.__name__} refuses its options: {text}.") from error


def _check_loss(loss: Tensor) -> None:
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        raise LikelihoodError(
            "The log-likelihood of a batch does not depend on the parameters that are trained. Look for .detach(), "
            ".item(), .numpy(), torch.no_grad() or torch.tensor(...) on the way."
        )


def _check_finite(tensors: Mapping[str, Tensor], place: int, batch: Batch | None = None) -> None:
    """Raise if a batch cannot be stepped on."""
    for what, tensor in tensors.items():
        if not all_finite(tensor.detach()):
            raise _NotFiniteError(what, place, batch)


def _check_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise unless a run that goes on is of the kind of the one that was stopped."""
    other = [
        f"{k} was {old.get(k)!r} and is {new.get(k)!r}"
        for k in (*new, *(set(old) - set(new)))
        if old.get(k) != new.get(k)
    ]
    if other:
        raise OptionError(
            f"resume: {'; '.join(other)}. A run goes on only as it began; to change this, begin anew with "
            "start_params=results.params."
        )
