"""Maximise by torch's stochastic optimizers, on all rows or on mini-batches, with an exact pass at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError
from .base import Evaluation, Optimizer, Options, Problem, State, Status, scaled_gradient
from .checks import check_positive, check_whole
from .schedules import factor

CHECK_EVERY = 25
"""Epochs between two exact checks."""


@dataclass(frozen=True)
class StochasticOptions(Options):
    """Add the learning rate, its schedule, the batch size, and what the torch optimizer takes besides.

    ``lr`` None is one over the largest curvature of the mean negative log-likelihood at the start for SGD (divided by
    four on mini-batches), and 0.05 for adaptive methods (0.01 on mini-batches). ``schedule`` maps the epoch to a factor
    of ``lr``. ``batch_size`` None means all rows.
    """

    lr: float | None = None
    schedule: Callable[[int], float] | None = None
    batch_size: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("lr", self.lr)
        check_whole("batch_size", self.batch_size, 1)
        if self.schedule is not None and not callable(self.schedule):
            raise OptionError(f"schedule={self.schedule!r} must be a function from the epoch (0, 1, ...) to a factor.")


class Stochastic(Optimizer):
    """Step through epochs with a torch optimizer on the mean negative log-likelihood.

    ``kind`` is any class of ``torch.optim`` whose steps need gradients only.
    """

    default_maxiter = 2000
    order = 2

    def __init__(self, options: Options, kind: type[torch.optim.Optimizer] = torch.optim.SGD) -> None:
        super().__init__(options)
        self.kind, self.name = kind, kind.__name__.lower()
        self.settings = options if isinstance(options, StochasticOptions) else StochasticOptions(**vars(options))
        self.order = 2 if kind is torch.optim.SGD and self.settings.lr is None else 1

    def init(self, problem: Problem, x: Tensor, at: Evaluation) -> State:
        """Create the torch optimizer on a copy of the start."""
        if not at.finite:
            return State(x, at, Status.NOT_FINITE)
        point = torch.nn.Parameter(x.clone())
        full = self.settings.batch_size is None or self.settings.batch_size >= problem.rows
        rate = self.settings.lr or self._default_rate(at, problem.rows, full)
        generator = torch.Generator(device="cpu").manual_seed(self.options.seed)
        try:
            inner = self.kind([point], lr=rate, **self.settings.extra)  # type: ignore[call-arg]
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            text = str(error).rstrip(".")
            raise OptionError(f"torch.optim.{self.kind.__name__} refuses its options: {text}.") from error
        return State(x, at, memory=(inner, point, generator, 0))

    def _default_rate(self, at: Evaluation, rows: int, full: bool) -> float:
        """Return one over the largest mean curvature for plain gradient steps, a fixed rate for adaptive ones."""
        if self.kind is not torch.optim.SGD:
            return 0.05 if full else 0.01
        assert at.hessian is not None
        curvature = float(torch.linalg.eigvalsh(at.hessian).abs().max()) / rows
        return (1.0 if full else 0.25) / max(curvature, 1e-12)

    def step(self, problem: Problem, state: State) -> State:
        """Run one epoch; every few of them the point is checked exactly, on all rows."""
        optimizer, point, generator, epoch = state.memory
        if self.settings.schedule is not None:
            scale = factor(self.settings.schedule, epoch)
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * scale
        size = self.settings.batch_size
        if size is None or size >= problem.rows:
            at = state.at
            self._move(optimizer, point, at, problem.rows)
        else:
            for index in torch.randperm(problem.rows, generator=generator, device="cpu").tensor_split(
                tuple(range(size, problem.rows, size))
            ):
                at = problem.batch(index).evaluate(point.detach(), 1)
                if not at.finite:
                    return replace(state, status=Status.NOT_FINITE)
                self._move(optimizer, point, at, len(index))
        return self._after(problem, state, point.detach().clone(), (optimizer, point, generator, epoch + 1))

    def _after(self, problem: Problem, before: State, x: Tensor, memory: Any) -> State:
        check = memory[3] % CHECK_EVERY == 0
        at = problem.evaluate(x, 2 if check else 1)
        if not at.finite:
            return replace(before, status=Status.NOT_FINITE)
        state = State(x, at, None, step=1.0, memory=memory)
        if check:
            decrement, _ = scaled_gradient(at)
            state = replace(state, decrement=decrement)
            if decrement <= self.options.tol:
                return replace(state, status=Status.CONVERGED)
        return state

    def _move(self, optimizer: torch.optim.Optimizer, point: torch.nn.Parameter, at: Evaluation, rows: int) -> None:
        assert at.gradient is not None
        point.grad = at.gradient / rows
        optimizer.step()
