"""Evaluate an unchanged ``loglikeobs`` at many parameter vectors at once, through the predictors that it contains.

One run serves all replicates: each product of data with a slice of the parameters is answered with the predictors of
all of them, and each single parameter with its values, (R, 1). A likelihood that does anything else with its parameters
is told from the graph of its run, and is evaluated in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..workers import derivatives_on
from .lifting import LiftedObjective
from .predictor import Predictor
from .replicates import PredictorReplicates, Replicates, Stack, StackedDensity
from .tiles import repeated
from .watch import Watch, entries_used, selection

Run = Callable[[slice | Tensor, Tensor, Tensor | None], Tensor]
"""Takes rows, parameters and responses (None: the model's); returns log-likelihoods by row."""


class StackingError(RuntimeError):
    """Say that a likelihood cannot be evaluated at many parameter vectors at once."""


class Answering(Watch):
    """Answer what a likelihood asks of its parameters: products with data in order, single entries by position."""

    def __init__(self, rows: int, params: Tensor) -> None:
        super().__init__(rows)
        self.params = params

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.Tensor.__getitem__ and args[0] is self.params and type(args[1]) is int:
            return self.entry(range(len(self.params))[args[1]])
        return super().__torch_function__(function, types, args, kwargs)

    def _leaf(self, X: Tensor, v: Tensor) -> Tensor:
        entries = selection(v, self.params)
        if entries is None:
            raise StackingError("a product of data takes more than a slice of the parameters")
        return self.product(X, entries)

    def entry(self, position: int) -> Tensor:
        """Return what stands for one parameter."""
        raise NotImplementedError

    def product(self, X: Tensor, entries: list[int]) -> Tensor:
        """Return what stands for a product of data with some of the parameters."""
        raise NotImplementedError


class Noting(Answering):
    """Note products and single entries of one run on all rows, which records nothing for derivatives."""

    def __init__(self, rows: int, params: Tensor) -> None:
        super().__init__(rows, params)
        self.products: list[tuple[Tensor, list[int]]] = []
        self.entries: set[int] = set()

    def entry(self, position: int) -> Tensor:
        """Return the parameter."""
        self.entries.add(position)
        return self.params.detach()[position]

    def product(self, X: Tensor, entries: list[int]) -> Tensor:
        """Return the product."""
        self.products.append((X, entries))
        return X @ self.params.detach()[entries]


class Stacking(Answering):
    """Put the predictors and parameters of all replicates in the place of one's."""

    def __init__(self, rows: int, params: Tensor, predictors: Sequence[Tensor], single: dict[int, Tensor]) -> None:
        super().__init__(rows, params)
        self.left, self.single = list(predictors), single

    def entry(self, position: int) -> Tensor:
        """Return the parameter of all replicates."""
        return self.single[position].clone()

    def product(self, X: Tensor, entries: list[int]) -> Tensor:
        """Return the next predictor of all replicates; user code may go on in place."""
        return self.left.pop(0).clone()


@dataclass(frozen=True, eq=False)
class Structure:
    """Hold the products that a likelihood takes, with the entries of the parameters in each, and its single entries."""

    products: list[tuple[Tensor, list[int]]]
    single: list[int]
    params: int

    @property
    def entries(self) -> list[int]:
        """Return the parameter behind each coefficient of all predictors, constants last."""
        return [i for _, entries in self.products for i in entries] + self.single

    @property
    def predictors(self) -> list[Predictor]:
        """Return the predictors; a single parameter is one with a column of ones."""
        first = self.products[0][0]
        one = first.new_ones(()).expand(len(first), 1)
        return [*(Predictor(X) for X, _ in self.products), *(Predictor(one) for _ in self.single)]


def structure(run: Run, rows: int, at: Tensor) -> Structure:
    """Return what a likelihood takes of its parameters; an error where it is not slices and single entries."""
    params = at.detach().clone().requires_grad_()
    with Noting(rows, params) as noted:
        values = run(slice(0, rows), params, None)
    if not noted.products or entries_used(values, params):
        raise StackingError("it uses its parameters otherwise than by slices and single entries")
    return Structure(noted.products, sorted(noted.entries), len(at))


class LiftedReplicates(Replicates):
    """Evaluate replicates of a lifted log-likelihood.

    Parameters
    ----------
    objective : of the fit.
    run : the likelihood.
    at : parameters (K,) at which it can be evaluated.
    flat : whether rows are repeated for each replicate, for a likelihood that knows of no leading axis.
    """

    def __init__(self, objective: LiftedObjective, run: Run, at: Tensor, flat: bool) -> None:
        if objective.index is not None or not objective.separable:
            raise StackingError("its rows are not evaluated apart")
        self.rows, self.device, self.dtype = objective.rows, objective.device, objective.dtype
        with derivatives_on(self.device):
            self.structure = structure(run, self.rows, at.to(self.device, self.dtype))
        density = _density(run, self.structure, self.dtype, flat)
        self.inner = PredictorReplicates(self.structure.predictors, density, flat)
        self.entries = torch.tensor(self.structure.entries, device="cpu")

    def evaluate(self, working: Tensor, weights: Tensor | None, endog: Tensor | None, order: int) -> Stack:
        """Return the sums over all rows at the points (R, K), a point a replicate."""
        return self._gathered(self.inner.evaluate(working[:, self.entries], weights, endog, order))

    def shared(self, working: Tensor, weights: Tensor) -> Stack:
        """Return the sums of replicates that differ in their weights only, at one point (K,)."""
        return self._gathered(self.inner.shared(working[self.entries], weights))

    def _gathered(self, stack: Stack) -> Stack:
        """Return derivatives in the parameters: those of all coefficients that are the same parameter are added."""
        count, size = len(stack.values), self.structure.params
        gradients = stack.gradients.new_zeros(count, size).index_add_(1, self.entries, stack.gradients)
        if stack.hessians is None:
            return Stack(stack.values, gradients)
        half = stack.hessians.new_zeros(count, size, len(self.entries)).index_add_(1, self.entries, stack.hessians)
        return Stack(stack.values, gradients, half.new_zeros(count, size, size).index_add_(2, self.entries, half))


def _density(run: Run, known: Structure, dtype: torch.dtype, flat: bool) -> StackedDensity:
    """Return the likelihood as a function of the predictors of all replicates."""

    def density(rows: slice | Tensor, etas: list[Tensor], endog: Tensor | None) -> Tensor:
        shape = etas[0].shape
        full = [eta.expand(shape) for eta in etas[: len(known.products)]]
        single = etas[len(full) :]
        if flat:
            full, single = ([eta.expand(shape).reshape(-1) for eta in part] for part in (full, single))
            rows = repeated(rows, shape[:-1].numel(), full[0].device)
            endog = None if endog is None else endog.reshape(-1)
        length = len(full[0]) if flat else shape[-1]
        # a value that no replicate has: whatever does not go through the answers shows
        params = torch.full((known.params,), torch.nan, dtype=dtype, device=full[0].device, requires_grad=True)
        with Stacking(length, params, full, dict(zip(known.single, single, strict=True))) as answers:
            values = run(rows, params, endog)
        if answers.left or entries_used(values, params):
            raise StackingError("its use of the parameters differs between parts of the rows")
        return values.expand(shape) if not flat else values.view(shape)

    return density
