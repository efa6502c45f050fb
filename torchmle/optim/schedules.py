"""Change the learning rate from epoch to epoch: by a function, or by a scheduler of torch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..errors import OptionError
from .checks import as_number


def factor(schedule: Callable[[int], float], epoch: int) -> float:
    """Return a schedule's factor for the learning rate."""
    found = as_number(f"schedule({epoch})", schedule(epoch))
    if not 0 <= found < math.inf:
        raise OptionError(f"schedule({epoch})={found!r} must be finite and not negative.")
    return found


def is_scheduler(schedule: Any) -> bool:
    """Return whether a schedule makes a scheduler of torch: a class of ``torch.optim.lr_scheduler``, or a partial."""
    kind = schedule.func if isinstance(schedule, functools.partial) else schedule
    return isinstance(kind, type) and issubclass(kind, LRScheduler)


class Rates:
    """Set the learning rate of a torch optimizer before each epoch."""

    def __init__(self, schedule: Callable[..., Any] | None, optimizer: torch.optim.Optimizer, scored: bool) -> None:
        self.optimizer, self.schedule = optimizer, None if is_scheduler(schedule) else schedule
        self.base = [group["lr"] for group in optimizer.param_groups]
        self.scheduler: LRScheduler | None = None
        if schedule is not None and self.schedule is None:
            try:
                self.scheduler = schedule(optimizer)
            except (TypeError, ValueError) as error:
                raise OptionError(
                    f"schedule: {str(error).rstrip('.')}. Give its arguments by functools.partial("
                    "torch.optim.lr_scheduler.StepLR, step_size=10)."
                ) from error
        if isinstance(self.scheduler, ReduceLROnPlateau) and not scored:
            raise OptionError("schedule=ReduceLROnPlateau needs records held back: options={'validation': 0.2}.")

    def begin(self, epoch: int) -> None:
        """Set the rate of an epoch (0, 1, ...)."""
        if self.schedule is not None:
            for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
                group["lr"] = base * factor(self.schedule, epoch)

    def end(self, score: float | None) -> None:
        """Be told that an epoch is over, with the mean log-likelihood of the records held back."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            assert score is not None
            self.scheduler.step(-score)
        elif self.scheduler is not None:
            self.scheduler.step()

    @property
    def rate(self) -> float:
        """Return the rate in use."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state(self) -> dict[str, Any] | None:
        """Return what a scheduler of torch must keep, or None."""
        return None if self.scheduler is None else dict(self.scheduler.state_dict())

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Put back what :meth:`state` returned."""
        if (state is None) != (self.scheduler is None):
            raise OptionError("resume: the run began with another kind of schedule. Give the same one.")
        if self.scheduler is not None and state is not None:
            self.scheduler.load_state_dict(dict(state))
