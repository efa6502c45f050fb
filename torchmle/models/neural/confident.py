"""Train a module under constraints that must be true with a probability: mini-batches, judged after each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ...errors import OptionError
from ...loglik.batches import Batch
from ...loglik.network import Network
from ...loglik.trainee import ModuleTrainee
from ...optim.base import Evaluation
from ...optim.registry import make_training
from ...optim.status import Status
from ...optim.training import train
from ...params.constraints import constrain
from ...params.map import ParamMap
from ...progress import ProgressLine
from ...results.fit import Fit, Inference
from ..base import GenericLikelihoodModel
from ..confidence.fit import run_confident
from ..confidence.limits import Bounded
from ..confidence.records import Asked, Records
from ..confidence.request import SafetyOptions
from ..confidence.search import Account, Iterate, Multipliers, predicted_at, side_factors
from ..confidence.ways import Candidate
from ..fitting import announce
from ..request import FitRequest, as_params
from ..start import checked
from .objective import ModuleObjective
from .results import NeuralResults, neural
from .training import JUDGED_UP_TO, make_trainee
from .withheld import no_covariance

if TYPE_CHECKING:
    from .base import ModuleModel

PIECE = 1_000
"""Records whose predictions are computed at a time."""


def train_confident(model: ModuleModel, request: FitRequest) -> NeuralResults:
    """Train a module under constraints with confidence and return its results."""
    if getattr(model, "loader", None) is not None:
        raise OptionError(
            "Constraints with confidence need the rows in memory, to split them and to judge every iterate on all of "
            "them. Give the model arrays."
        )
    results = neural(run_confident(model, request, Training()))
    announce(results, request.disp)
    return results


class Training:
    """Train on mini-batches; an iterate is the point after an epoch."""

    def candidate(
        self,
        model: GenericLikelihoodModel,
        request: FitRequest,
        asked: Asked,
        ratio: float,
        options: SafetyOptions,
        rest: Mapping[str, Any],
    ) -> Candidate:
        """Return what training on the candidate part finds."""
        own = cast("ModuleModel", model)
        if request.constraints is not None:
            raise OptionError("Linear equations are not available for a module that is trained; use fixed=.")
        for name in ("validation", "patience"):
            if rest.get(name) is not None:
                raise OptionError(
                    f"{name} is not available here: the best iterate is looked for under the constraints."
                )
        common: dict[str, Any] = {"batch_size": request.batch_size, "seed": request.seed or 0}
        common |= {"time_limit": request.general.time_limit}
        common |= {} if request.maxiter is None else {"epochs": request.maxiter}
        training = make_training(request.method or "adam", common, rest)
        pmap = constrain(own.make_map(own.param_names), request.fixed, request.constraints)
        given = request.start_params
        start = pmap.gamma(own.start_params if given is None else as_params(given, pmap.names, "start_params"))
        _check(own, pmap, start)
        base = make_trainee(own, pmap.theta(start), training, pmap.held)
        trainee = _Constrained(base, own, pmap, asked, ratio, options)
        line = ProgressLine(request.progress)
        try:
            ended = train(
                trainee, training, show=lambda text: line.show(f"{own.model_name}: {text}"), callback=request.callback
            )
        finally:
            line.close()
        account = trainee.account
        account.notes += ended.notes
        if ended.status is not Status.TRAINED:
            account.notes.append(f"Training ended early after {ended.epochs} epochs: {ended.status.value}.")
        best = trainee.present if account.best is None else trainee.best
        objective = best.make_objective(pmap)
        return Candidate(best, pmap, objective, start, objective.engine, request.method or "adam", account)

    def like(self, kept: GenericLikelihoodModel, found: Candidate) -> GenericLikelihoodModel:
        """Return the model on the safety part with the buffers of the candidate."""
        return cast("ModuleModel", kept).with_network(cast("ModuleModel", found.model).network)

    def derivatives(self, found: Candidate, gamma: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return gradient and Hessian at a point, NaN without a point; the Hessian is empty where it is large."""
        K = len(found.map.scale)
        small = K <= JUDGED_UP_TO and not cast("ModuleModel", found.model).network.dropout
        none = torch.full((K, K) if small else (0, 0), torch.nan, dtype=torch.float64, device="cpu")
        if gamma is None:
            return torch.full((K,), torch.nan, dtype=torch.float64, device="cpu"), none
        moments = found.objective.moments(found.map.working(gamma), 2 if small else 1)
        assert moments.gradient is not None
        return moments.gradient, none if moments.hessian is None else moments.hessian

    def inference(self, found: Candidate, fit: Fit) -> Inference:
        """Return a covariance that is not there."""
        network = cast("ModuleModel", found.model).network
        covariance = replace(no_covariance(network, len(fit.gamma), "nonrobust", None), description=fit.withheld)
        return Inference(covariance, None, False, fit.free)


def _check(model: ModuleModel, pmap: ParamMap, start: Tensor) -> None:
    """Check the log-likelihood on the first rows, and refuse one whose rows cannot be parted."""
    objective = model.make_objective(pmap)
    count = min(objective.rows, PIECE)
    found, engine = checked(model, objective.take(torch.arange(count, device=objective.device)), pmap, start)
    if not found.separable:
        raise OptionError(f"Training needs rows that can be parted; {engine}.")


class _Live(Network):
    """Be a network that computes with its own parameters, which are being trained, whatever vector it is given."""

    def __call__(self, vector: Tensor, *inputs: Any, method: str = "forward") -> Any:
        """Return what the module answers as it stands."""
        return self.asked(method)(*inputs)


class _Records(Records):
    """Predict in pieces."""

    def predict(self, link: Tensor) -> Tensor:
        """Return the predictions for all records."""
        model = cast("ModuleModel", self.model)
        at, n = link.to(model.data.device, model.dtype), model.nobs
        pieces = [slice(a, min(a + PIECE, n)) for a in range(0, n, PIECE)]
        return torch.cat([model.take(p).predicted(at, _which(model)) for p in pieces])


def _which(model: GenericLikelihoodModel) -> str:
    return "prob" if model.response == "categorical" else "mean"


class _Constrained(ModuleTrainee):
    """Add multiples of smooth measures to the objective of each batch, and judge the point after each epoch.

    Attributes
    ----------
    account : of the iterates; the start is the first of them.
    present, best : the model with the buffers of the last iterate, and of the best feasible one.
    """

    def __init__(
        self,
        base: ModuleTrainee,
        model: ModuleModel,
        pmap: ParamMap,
        asked: Asked,
        ratio: float,
        options: SafetyOptions,
    ) -> None:
        super().__init__(base.module, base.train_batches, None, base.loglike, base.held)
        self.model, self.map, self.asked, self.ratio, self.options = model, pmap, asked, ratio, options
        self.account, self.multipliers = Account(asked, model.nobs), Multipliers(len(asked.claims), options)
        self.live = _Live(self.module, model.network.still)
        self.present = self.best = model
        self.records = _Records(model, pmap, model.make_objective(pmap), asked)
        self.bounds: tuple[Bounded, ...] = ()
        self._judge(0)

    def objective(self, batch: Batch) -> Tensor:
        """Return the mean negative log-likelihood of a batch and its share of the constraints."""
        each = self.each(batch)
        total = -each.mean()
        factors = side_factors(self.asked, self.bounds, self.multipliers.values)
        if batch.rows is None or not any(factors.values()):
            return total
        rows = batch.rows.to(self.device)
        part = self.model.take(rows).with_network(self.live)
        asks = any(term.measure.fn is not None for term in factors)
        prediction = part.predicted(self.flat, _which(part)) if asks else None
        pull = self.records.smooth(part, factors, prediction, -each, rows)
        return total if pull is None else total + pull

    def ended(self, epoch: int) -> None:
        """Judge the point after an epoch, and take as many steps in the multipliers as there were batches."""
        self._judge(epoch)
        self.multipliers.climb(self.bounds, self.length or 1)

    def _judge(self, epoch: int) -> None:
        if self.account.history and epoch <= self.account.history[-1].iteration:
            return  # batches are repeated where one was not finite
        self.present = self.model
        if buffers := self.state():
            self.present = self.model.with_network(self.model.network.with_buffers(buffers))
            objective = cast(ModuleObjective, self.present.make_objective(self.map))
            self.records = _Records(self.present, self.map, objective, self.asked)
        gamma = self.map.gamma(self.flat.detach().double().cpu())
        value = -self.records.objective.moments(self.map.working(gamma), 0).llf
        self.bounds = predicted_at(self.records, gamma, self.ratio, self.options)
        found = Iterate(epoch, gamma, Evaluation(value), self.bounds)
        self.account.add(found, self.multipliers.values)
        if self.account.best is found:
            self.best = self.present
