"""Maximise by torch's stochastic optimizers, on all rows or on mini-batches, with an exact pass at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .base import Evaluation, Optimizer, Options, Problem, State, Status, scaled_gradient

CHECK_EVERY = 25
"""Epochs between two exact checks of a full-batch method."""


@dataclass(frozen=True)
class StochasticOptions(Options):
    """Add the learning rate, the batch size, and what the torch optimizer takes besides (``momentum``, ...).

    ``lr`` None is one over the largest curvature of the mean negative log-likelihood at the start for SGD (divided by
    four on mini-batches), and 0.05 for Adam. ``batch_size`` None means all rows.
    """

    lr: float | None = None
    batch_size: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Stochastic(Optimizer):
    """Step through epochs with a torch optimizer on the mean negative log-likelihood."""

    default_maxiter = 2000
    order = 2

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.settings = options if isinstance(options, StochasticOptions) else StochasticOptions(**vars(options))

    def init(self, problem: Problem, x: Tensor, at: Evaluation) -> State:
        """Create the torch optimizer on a copy of the start."""
        if not at.finite:
            return State(x, at, Status.NOT_FINITE)
        point = torch.nn.Parameter(x.clone())
        full = self.settings.batch_size is None or self.settings.batch_size >= problem.rows
        rate = self.settings.lr or self._rate(at, problem.rows, full)
        generator = torch.Generator(device="cpu").manual_seed(self.options.seed)
        torch_optimizer = self._create(point, rate)
        return State(x, at, memory=(torch_optimizer, point, generator, 0))

    def _create(self, point: torch.nn.Parameter, rate: float) -> torch.optim.Optimizer:
        raise NotImplementedError

    def _rate(self, at: Evaluation, rows: int, full: bool) -> float:
        raise NotImplementedError

    def step(self, problem: Problem, state: State) -> State:
        """Run one epoch; a full-batch method is checked exactly every few epochs."""
        optimizer, point, generator, epoch = state.memory
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
        return self._after(problem, point.detach().clone(), (optimizer, point, generator, epoch + 1), size)

    def _after(self, problem: Problem, x: Tensor, memory: Any, size: int | None) -> State:
        check = memory[3] % CHECK_EVERY == 0 and (size is None or size >= problem.rows)
        at = problem.evaluate(x, 2 if check else 1)
        state = State(x, at, None, step=1.0, memory=memory)
        if not at.finite:
            return replace(state, status=Status.NOT_FINITE)
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


class SGD(Stochastic):
    """Run ``torch.optim.SGD``; ``momentum`` and its other arguments come through the options."""

    name = "sgd"

    def _create(self, point: torch.nn.Parameter, rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD([point], lr=rate, **self.settings.extra)

    def _rate(self, at: Evaluation, rows: int, full: bool) -> float:
        assert at.hessian is not None
        curvature = float(torch.linalg.eigvalsh(at.hessian).abs().max()) / rows
        return (1.0 if full else 0.25) / max(curvature, 1e-12)


class Adam(Stochastic):
    """Run ``torch.optim.Adam``; ``betas`` and its other arguments come through the options."""

    name = "adam"

    def _create(self, point: torch.nn.Parameter, rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam([point], lr=rate, **self.settings.extra)

    def _rate(self, at: Evaluation, rows: int, full: bool) -> float:
        return 0.05 if full else 0.01
