"""Evaluate the measures of constraints on the records of one part of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...data.batch import ModelData
from ...errors import LikelihoodError, OptionError
from ...loglik.objective import Objective
from ...params.map import ParamMap
from ...workers import derivatives_on
from .claims import Confidence, Term, check_clustered, split_level
from .groups import check_groups, members
from .limits import Bounded, Sample, bounded
from .measures import check_response

if TYPE_CHECKING:
    from ..base import GenericLikelihoodModel


@dataclass(frozen=True, eq=False)
class Asked:
    """Hold constraints with the delta of each."""

    claims: tuple[Confidence, ...]
    deltas: tuple[float, ...]

    @property
    def terms(self) -> tuple[Term, ...]:
        """Return the means that the constraints speak of, each once."""
        return tuple(dict.fromkeys(term for held in self.claims for term in held.claim.terms))


@dataclass(frozen=True, eq=False)
class _Place:
    """Hold a term with the level of the response and the mask of the group that it is about."""

    term: Term
    level: Any
    group: Tensor


def _place(model: GenericLikelihoodModel, term: Term) -> _Place:
    level, groups = split_level(term, _labels(model))
    return _Place(term, level, members(model.data, groups))


def _labels(model: GenericLikelihoodModel) -> tuple[Any, ...]:
    return getattr(model, "labels", ()) if model.response == "categorical" else ()


def check_asked(model: GenericLikelihoodModel, asked: Asked) -> None:
    """Refuse constraints that have no meaning for a model and its data, as far as that is known before the fit."""
    for held in asked.claims:
        if model.data.groups is not None:
            check_clustered(held)
        for term in held.claim.terms:
            check_response(term.measure, model)
            _, groups = split_level(term, _labels(model))
            check_groups(model.data, groups)


class Records:
    """Hold one part of the data, the map of the parameters and the likelihood of its records."""

    def __init__(self, model: GenericLikelihoodModel, pmap: ParamMap, objective: Objective, asked: Asked) -> None:
        self.model, self.map, self.objective, self.asked = model, pmap, objective, asked
        self.places = [_place(model, term) for term in asked.terms]
        self._predicts = any(term.measure.fn is not None for term in asked.terms)
        self._loses = any(term.measure.fn is None for term in asked.terms)
        if self._loses and not objective.separable:
            raise OptionError("The loss needs log-likelihoods by row, and this model has a scalar loglike.")

    def bounds(self, gamma: Tensor, ratio: float = 1.0, inflation: float = 1.0) -> list[Bounded]:
        """Return estimate and bound of each constraint.

        Parameters
        ----------
        ratio : observations of the safety part for each of these, where its bound is to be predicted.
        """
        samples = self._samples(gamma)
        found = []
        for held, delta in zip(self.asked.claims, self.asked.deltas, strict=True):
            own = [samples[term] for term in held.claim.terms]
            found.append(bounded(held, delta, own, ratio, inflation))
        return found

    def _samples(self, gamma: Tensor) -> dict[Term, Sample]:
        """Return the values of each term."""
        groups = self.model.data.groups
        with derivatives_on(self.model.data.device), torch.no_grad():
            prediction = self._prediction(gamma) if self._predicts else None
        losses = -self.objective.values(self.map.working(gamma)) if self._loses else None
        found = {}
        for place in self.places:
            values, mask = losses, place.group
            if prediction is not None and place.term.measure.fn is not None:
                with derivatives_on(self.model.data.device), torch.no_grad():
                    values, own = place.term.measure.values(prediction, self.model, place.level)
                mask = mask & own.to(mask.device)
            assert values is not None
            host = mask.cpu()
            codes = None if groups is None else np.asarray(groups.codes)[host.numpy()]
            found[place.term] = Sample(place.term, values.detach().cpu().double()[host].numpy(), codes)
        return found

    def slope(self, gamma: Tensor, factors: Mapping[Term, float]) -> Tensor:
        """Return the gradient in gamma of a sum of multiples of smooth means."""
        with derivatives_on(self.model.data.device):
            leaf = gamma.detach().clone().requires_grad_()
            prediction = self._prediction(leaf) if self._predicts else None
            losses = self._losses(leaf) if self._loses else None
            total = self.smooth(self.model, factors, prediction, losses, None)
            if total is None:
                return torch.zeros_like(gamma)
            (found,) = torch.autograd.grad(total, leaf)
        return found

    def smooth(
        self,
        model: GenericLikelihoodModel,
        factors: Mapping[Term, float],
        prediction: Tensor | None,
        losses: Tensor | None,
        rows: Tensor | None,
    ) -> Tensor | None:
        """Return a sum of multiples of smooth means over some records, or None where none of them counts.

        Parameters
        ----------
        model : on these records.
        rows : their positions, or None for all.
        """
        total: Tensor | None = None
        for place in self.places:
            factor = factors.get(place.term, 0.0)
            if factor == 0.0:
                continue
            values, mask = losses, place.group if rows is None else place.group[rows]
            if place.term.measure.fn is not None:
                assert prediction is not None
                values, own = place.term.measure.smooth(prediction, model, place.level)
                mask = mask & own.to(mask.device)
            assert values is not None
            if bool(mask.any()):
                mean = factor * values[mask].mean()
                total = mean if total is None else total + mean
        return total

    def _losses(self, gamma: Tensor) -> Tensor:
        """Return the (n,) losses with their derivatives."""
        working = self.map.working(gamma).to(self.objective.device, self.objective.dtype)
        values = -self.objective.row_values(working, 0, self.objective.rows)
        if not values.requires_grad:
            raise OptionError("The log-likelihoods of this model carry no derivatives by row for a constraint on NLL.")
        return values

    def _prediction(self, gamma: Tensor) -> Tensor:
        found = self.predict(self.map.link(gamma))
        if self.model.response in (None, "binary") and found.ndim == 1 and self._decides:
            low, high = float(found.detach().min()), float(found.detach().max())
            if not (low >= 0 and high <= 1):
                raise LikelihoodError(
                    f"{self.model.model_name} predicts values from {low:.6g} to {high:.6g}, which are no "
                    "probabilities: ready-made measures of decisions need these."
                )
        return found

    def predict(self, link: Tensor) -> Tensor:
        """Return the predictions for all records."""
        return predicted(self.model, link, self.model.data)

    @property
    def _decides(self) -> bool:
        """Return whether a ready-made measure turns predictions into decisions."""
        return any(t.measure.fn is not None and t.measure.surrogate is not None for t in self.asked.terms)


def predicted(model: GenericLikelihoodModel, link: Tensor, data: ModelData) -> Tensor:
    """Return the (n,) means, or for a categorical response the (n, J) probabilities in the order of the levels."""
    if model.response == "categorical":
        ask = getattr(model, "probabilities_at", None)
        found: Tensor = model.predict_at(link, data, "prob") if ask is None else ask(link, data)
        return found
    return model.predict_at(link, data, "mean")
