"""Set a model of choices before situations: those of the fit, or new ones."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.absent import need_rows
from ...data.choice import ChoiceData, ChoiceDesign, choice_design, person_matrix
from ...data.frames import as_frame
from ...errors import DataError, NoDataError, OptionError, listing
from .base import ChoiceModel
from .latent import LatentClassLogit, formula_of
from .mixed import MixedLogit
from .scaled import HeteroskedasticLogit

if TYPE_CHECKING:
    from ...results.results import Results


@dataclass(frozen=True, eq=False)
class Scene:
    """Hold S choice situations that a model is set before.

    Attributes
    ----------
    model : with ``X``, ``available`` and what else it reads of these situations.
    design : the design of these situations; its ``data`` are None for arrays.
    labels, alternatives : of situations and alternatives.
    unit : (S,) codes of the persons, nondecreasing.
    persons : (N,) numbers of the persons, which their draws go by: those of the fit where they were in it.
    lost : labels of situations that have missing values.
    """

    model: ChoiceModel
    design: ChoiceDesign
    labels: pd.Index
    alternatives: tuple[Any, ...]
    unit: Tensor
    persons: Tensor
    lost: pd.Index

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def attributes(self) -> Tensor:
        """Return the (S, J, K) attributes, those of error components included."""
        return self.model.X

    @property
    def available(self) -> Tensor | None:
        """Return the (S, J) availability, or None where all are."""
        return self.model.available

    @property
    def there(self) -> Tensor:
        """Return the (S, J) availability."""
        if self.available is None:
            return torch.ones(self.attributes.shape[:2], dtype=torch.bool, device=self.attributes.device)
        return self.available


def model_of(results: Results) -> ChoiceModel:
    """Return the model of results."""
    return cast(ChoiceModel, results.model)


def need_design(results: Results, what: str) -> ChoiceModel:
    """Return the model, or raise where it came from a file, which holds numbers but no formulas of choices."""
    model = model_of(results)
    if "design" not in vars(model):
        raise NoDataError(
            f"{what} needs the design of the model, which a file does not hold. Build the model again and give it: "
            "torchmle.load(path, model=model)."
        )
    return model


def own_data(results: Results, what: str) -> ChoiceData:
    """Return the data of the fit, or raise where it had arrays or its rows are gone."""
    model = need_design(results, what)
    need_rows(model.data, what)
    data = model.design.data
    if data is None:
        raise OptionError(f"{what} needs data with columns: build the model with from_formula.")
    return data


def set_scene(results: Results, data: Any, what: str, available: Any = None) -> Scene:
    """Return the situations of the fit (``data`` None), of other choice data, a long table, or an array."""
    model = need_design(results, what)
    if available is not None and (data is None or isinstance(data, ChoiceData) or hasattr(data, "columns")):
        raise OptionError("available= goes with an array (situations, alternatives, attributes) as data.")
    if data is None:
        need_rows(model.data, what)
        return _scene_of_fit(model)
    if model.design.formulas is None:
        return _scene_of_array(model, data, available)
    return scene_of_data(model, as_choice_data(model, data))


def as_choice_data(model: ChoiceModel, data: Any) -> ChoiceData:
    """Return choice data for predictions: choices in a long table are not looked at."""
    if isinstance(data, ChoiceData):
        return data
    if model.design.data is None:
        raise OptionError("Without the rows of the fit, new data must be tm.ChoiceData, made with choice=None.")
    roles, frame = model.design.data.roles, as_frame(data)
    persons, available = (name if name in frame.columns else None for name in (roles.person, roles.available))
    return ChoiceData.from_long(
        frame,
        choice=None,
        alternatives=roles.alternative,
        situations=roles.situation,
        persons=persons,
        available=available,
    )


def _scene_of_fit(model: ChoiceModel) -> Scene:
    design, at = model.design, copy.copy(model)
    if len(model.X) != len(design.X):  # a ranking has several situations; its first is the choice among all
        at.X, at.available = design.X, design.available
    S = len(at.X)
    labels = pd.RangeIndex(S) if design.data is None else design.data.labels
    if isinstance(model, MixedLogit) and model.ends is not None:
        unit = torch.searchsorted(model.ends, torch.arange(S, device=at.X.device), right=True)
        return Scene(at, design, labels, model.alternatives, unit, model.persons, labels[:0])
    unit = torch.arange(S, device=at.X.device)
    return Scene(at, design, labels, model.alternatives, unit, unit.cpu(), labels[:0])


def _scene_of_array(model: ChoiceModel, data: Any, available: Any) -> Scene:
    if isinstance(data, ChoiceData) or hasattr(data, "columns"):
        raise OptionError("This model was made of arrays; give an array (situations, alternatives, attributes).")
    alone = isinstance(model, LatentClassLogit) and model.membership_names == ("Intercept",)
    if model.by_situation and not alone:
        raise OptionError(f"{type(model).__name__} of arrays predicts for the situations of the fit only.")
    X = torch.as_tensor(np.array(data) if not isinstance(data, Tensor) else data).to(model.X.device, model.X.dtype)
    J, K = len(model.alternatives), len(model.exog_names)
    if X.ndim != 3 or X.shape[2] != K or (X.shape[1] != J and not is_logit(model)):
        raise DataError(f"data has shape {tuple(X.shape)}; it must be (situations, {J}, {K}) as in the fit.")
    at = copy.copy(model)
    there = None if available is None else torch.as_tensor(np.array(available)).bool().to(X.device)
    if there is not None and there.shape != X.shape[:2]:
        raise DataError(f"available has shape {tuple(there.shape)}; it must be {tuple(X.shape[:2])}.")
    at.X, at.available = X if there is None else X.masked_fill(~there[..., None], 0.0), there
    if isinstance(at, LatentClassLogit):
        at.Z = at.constant_membership(len(X))
    if not bool(torch.isfinite(at.X).all()):
        raise DataError("data has missing or infinite values where alternatives are available.")
    _need_choice(at.available)
    labels, unit = pd.RangeIndex(len(X)), torch.arange(len(X), device=X.device)
    alternatives = model.alternatives if X.shape[1] == J else tuple(range(X.shape[1]))
    return Scene(at, replace(model.design, X=at.X, available=there), labels, alternatives, unit, unit.cpu(), labels[:0])


def scene_of_data(model: ChoiceModel, data: ChoiceData) -> Scene:
    """Return the situations of choice data, their alternatives in the order of the fit, new ones at the end."""
    made = model.design.again(data)
    if made.data is None:
        raise OptionError("The design of new data has no table.")
    own = situation_tensors(model, made)
    X, available = own.pop("X", made.X), made.available
    new = [label for label in made.data.alternatives if label not in model.alternatives]
    if new and not is_logit(model):
        raise DataError(
            f"The data have alternatives that the fit did not know: {listing(map(repr, new))}. {type(model).__name__} "
            "cannot say in which nests they are."
        )
    at = copy.copy(model)
    at.__dict__.update(own)
    order = (*model.alternatives, *new)
    at.X, at.available = _in_order(X, available, made.data.alternatives, order)
    _need_choice(at.available)
    lost = data.labels[~np.isin(data.place, made.data.place)]
    unit = torch.from_numpy(made.data.person.copy()).to(X.device)
    persons = torch.from_numpy(_numbers(model, made.data))
    return Scene(at, made, made.data.labels, order, unit, persons, lost)


def _in_order(
    X: Tensor, available: Tensor | None, labels: tuple[Any, ...], order: tuple[Any, ...]
) -> tuple[Tensor, Tensor | None]:
    """Return attributes and availability with alternatives in another order, those that are not there unavailable."""
    if labels == order:
        return X, available
    at = torch.tensor([order.index(label) for label in labels], device=X.device)
    moved = X.new_zeros(X.shape[0], len(order), X.shape[2])
    moved[:, at] = X
    there = torch.zeros(moved.shape[:2], dtype=torch.bool, device=X.device)
    there[:, at] = True if available is None else available
    return moved, None if bool(there.all()) else there


def _need_choice(available: Tensor | None) -> None:
    if available is not None and not bool(available.any(1).all()):
        raise DataError(f"In {int((~available.any(1)).sum())} situations no alternative is available.")


def _numbers(model: ChoiceModel, data: ChoiceData) -> np.ndarray[Any, Any]:
    """Return the numbers of persons: those of the fit for persons that were in it, new ones after them."""
    fresh = np.arange(len(data.person_labels), dtype=np.int64)
    known = model.design.data
    if not isinstance(model, MixedLogit) or known is None:
        return fresh
    if data.person_labels.equals(known.person_labels):
        return fresh
    if not (known.person_labels.is_unique and data.person_labels.is_unique):
        return fresh + len(known.person_labels)
    found = known.person_labels.get_indexer(data.person_labels)
    found[found < 0] = len(known.person_labels) + np.arange((found < 0).sum())
    return np.asarray(found, dtype=np.int64)


def is_logit(model: ChoiceModel) -> bool:
    """Return whether probabilities, given the coefficients, are those of a logit of the utilities."""
    return type(model).log_probabilities is ChoiceModel.log_probabilities


@singledispatch
def situation_tensors(model: ChoiceModel, design: ChoiceDesign) -> dict[str, Any]:
    """Return what a model reads of the situations of a design, beside its attributes and availability."""
    if model.by_situation:
        raise OptionError(f"{type(model).__name__} does not say what {listing(model.by_situation)} is for new data.")
    return {}


@situation_tensors.register
def _(model: MixedLogit, design: ChoiceDesign) -> dict[str, Any]:
    """Return attributes with those of error components, and person variables; coded as in the fit."""
    own: dict[str, Any] = {}
    if model.component_formula is None and not model.mean_formulas:
        return own
    need_rows(model.data, "Predictions for new data with error components or means of person variables")
    fit, data = model.design, design.data
    assert fit.data is not None
    assert data is not None
    if model.component_formula is not None:
        text = f"{fit.data.choice} ~ {model.component_formula} | 0"
        found = choice_design(text, fit.data, base=fit.base, context=fit.context, collinear="raise").again(data)
        if len(found.X) != len(design.X):
            raise DataError("Attributes of error components are missing in some situations of the new data.")
        own["X"] = torch.cat([design.X, found.X.to(design.X)], 2)
    if model.mean_formulas:
        parts = [
            person_matrix(text, fit.data, constant=False, context=fit.context).again(data).X.to(design.X)
            for text in model.mean_formulas.values()
        ]
        own["W"] = torch.cat(parts, 1)
    return own


@situation_tensors.register
def _(model: HeteroskedasticLogit, design: ChoiceDesign) -> dict[str, Any]:
    """Return the variables of the scale, coded as in the fit."""
    need_rows(model.data, "A prediction of a heteroskedastic logit for new data")
    fit, data = model.design.data, design.data
    if fit is None or data is None or model.scale == "given":
        raise OptionError("scale= was an array, so that it is known for the situations of the fit only.")
    given = str(model.scale)
    text = given if given.lstrip().startswith("~") else f"~ {given}"
    found = person_matrix(text, _each_alone(fit), constant=False, context=model.design.context)
    return {"Z": found.again(_each_alone(data)).X.to(design.X)}


@situation_tensors.register
def _(model: LatentClassLogit, design: ChoiceDesign) -> dict[str, Any]:
    """Return the variables of the membership, coded as in the fit."""
    fit, data = model.design.data, design.data
    assert data is not None
    if model.membership is None:
        return {"Z": model.constant_membership(len(design.X))}
    need_rows(model.data, "A prediction of a latent class logit with membership for new data")
    assert fit is not None
    found = person_matrix(formula_of(model.membership), fit, context=model.design.context).again(data)
    return {"Z": found.X[torch.from_numpy(data.person.copy())].to(design.X)}


def _each_alone(data: ChoiceData) -> ChoiceData:
    """Return data in which each situation is a person."""
    return replace(data, person=np.arange(len(data)), person_labels=data.labels)


def weights_of(results: Results, scene: Scene, data: Any, given: Any) -> Tensor:
    """Return the (S,) weights of situations in averages.

    By default those of the fit: for new data by the column that they came from, or by the labels of situations.
    """
    model, table = model_of(results), scene.design.data
    if given is not None:
        return _given_weights(scene, given)
    own = model.data.weights
    if own is None:
        return torch.ones(len(scene), dtype=torch.float64)
    if data is None:
        return _by_situation(model, own.values.double().cpu())
    name = next((v for k, v in model.data.given.items() if k == own.kind), None)
    if table is not None and isinstance(name, str) and name in table.frame.columns:
        return _checked(table.by_situation(name, "weights"))
    known = None if model.design.data is None else model.design.data.labels
    if known is not None and known.is_unique and scene.labels.isin(known).all():
        need_rows(model.data, "weights of the fit")
        at = torch.from_numpy(np.asarray(known.get_indexer(scene.labels), dtype=np.int64))
        return _by_situation(model, own.values.double().cpu())[at]
    raise OptionError(
        f"The fit had {own.kind}; say what situations of the new data weigh: weights='column', or an array (1 for all: "
        "weights=np.ones(...))."
    )


def _by_situation(model: ChoiceModel, values: Tensor) -> Tensor:
    if model.by_person and model.ends is not None:
        sizes = model.ends.cpu().diff(prepend=torch.zeros(1, dtype=torch.int64))
        return torch.repeat_interleave(values, sizes)
    return values


def _given_weights(scene: Scene, given: Any) -> Tensor:
    table = scene.design.data
    if table is None:
        values = np.asarray(given, dtype=np.float64)
        if values.shape != (len(scene),):
            raise DataError(f"weights has shape {values.shape}; there are {len(scene)} situations.")
        return _checked(values)
    return _checked(table.by_situation(given, "weights"))


def _checked(values: Any) -> Tensor:
    found = np.asarray(values, dtype=np.float64)
    if not np.isfinite(found).all() or (found < 0).any() or not found.sum() > 0:
        raise DataError("weights must be finite, not negative, and not all zero.")
    return torch.from_numpy(found.copy())
