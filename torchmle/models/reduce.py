"""Make results again: of what a file or a pickle holds, and the class of their model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..config import resolve_device
from ..data.absent import has_rows
from ..data.batch import ModelData
from ..data.specs import Refused, formula_from_plain, spec_from_plain
from ..data.vetting import find_known, obstacle
from ..errors import DeviceError, StoreError, TorchmleWarning, warn
from ..loglik.leastsquares import LeastSquares
from ..loglik.lifting import LiftedObjective
from ..loglik.objective import Objective
from ..loglik.opaque import OpaqueObjective
from ..params.curve import make_curve
from ..params.map import ParamMap
from ..params.natural import Natural
from ..report.summary import summarise
from ..results.encode import Unpacker
from ..results.estimates import Estimates
from ..results.fit import Fit
from ..results.lean import GoneObjective
from ..results.results import Results
from ..results.store import Contents, curve_signature, pack_results
from ..workers import engine

if TYPE_CHECKING:
    from .base import GenericLikelihoodModel

CLOSE = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Relative difference of a number that is computed again at which the class cannot be that of the fit."""


@dataclass(frozen=True)
class Native:
    """Hold what a pickle can hold and a file cannot: objects of the model, functions in formulas, the whole table,
    labels of any kind, and the options of the covariance.
    """

    attributes: Mapping[str, Any]
    context: Mapping[str, Any]
    frame: Any
    index: Any
    cov_kwds: Mapping[str, Any]

    def data(self, data: ModelData) -> ModelData:
        """Return the data of a model with these."""
        return replace(data, context=self.context, frame=self.frame, rows=replace(data.rows, index=self.index))


def reduced(model: GenericLikelihoodModel, results: Estimates) -> tuple[Any, ...]:
    """Return the function and the arguments with which pickle and copy make results of a model again."""
    with engine():
        contents = pack_results(results, native=True)
    attributes = {name: vars(model)[name] for name in contents.left_out}
    data = model.data
    native = Native(attributes, data.context, data.frame, data.rows.index, dict(results.cov_kwds))
    return _again, (type(model), contents.manifest, contents.arrays, native)


def _again(
    cls: type[GenericLikelihoodModel], manifest: dict[str, Any], arrays: list[np.ndarray[Any, Any]], native: Native
) -> Results:
    return restored(Contents(manifest, arrays), cls, native=native)


def restored(
    contents: Contents,
    cls: type[GenericLikelihoodModel],
    given: GenericLikelihoodModel | None = None,
    native: Native | None = None,
    module: Any = None,
) -> Results:
    """Return the results that some contents hold.

    Parameters
    ----------
    cls : class of their model.
    given : a built model of this class, for what a file cannot hold; its rows are taken if they are those of the fit.
    native : the same, from a pickle.
    module : the module of a model whose likelihood is one.
    """
    manifest = contents.manifest
    with engine():
        unpacker = Unpacker(contents.arrays, torch.device("cpu"))
        record = unpacker.unpack(manifest["record"])
        unpacker.device = _device(record.device)
        model = _model(manifest, unpacker, cls, given, native)
        model.restore(given, module)
        unpacker.special = {**_FORMULAS, **_special(model)}
        fit = unpacker.unpack(manifest["fit"])
        kind, separable = fit.objective
        fit = replace(fit, objective=_objective(model, fit, kind, separable))
        inference = unpacker.unpack(manifest["inference"])
        if native is not None:
            inference = replace(inference, covariance=replace(inference.covariance, kwds=native.cov_kwds))
        parts = (model, fit, inference, record, summarise)
        more = {name: unpacker.unpack(value) for name, value in manifest["more"].items()}
        results = _kind(manifest["results"])(*parts, **more)
        known = unpacker.unpack(manifest["statistics"])
        _same_class(results, known["_theta"])
        if given is not None and not has_rows(model.data):
            results = _with_rows(results, given, kind, separable)
        vars(results).update(known)
    return results


def _device(name: str) -> torch.device:
    """Return the device of the fit, or the CPU, with a warning, where it is not there."""
    try:
        return resolve_device(name, "float64" if name != "mps" else "float32")[0]
    except DeviceError:
        warn(f"The fit was done on {name!r}, which is not there: these results compute on the CPU.", TorchmleWarning)
        return torch.device("cpu")


def _kind(name: str) -> type[Results]:
    """Return the class of results with a name."""
    found, left = {}, [Results]
    while left:
        kind = left.pop()
        found[kind.__name__] = kind
        left += kind.__subclasses__()
    return found[name]


# ---- the model


def _model(
    manifest: Mapping[str, Any],
    unpacker: Unpacker,
    cls: type[GenericLikelihoodModel],
    given: GenericLikelihoodModel | None,
    native: Native | None,
) -> GenericLikelihoodModel:
    """Return the model of the fit, without running a line of its constructor."""
    unpacker.special = _FORMULAS
    attributes = {name: unpacker.unpack(value) for name, value in manifest["attributes"].items()}
    data: ModelData = attributes["data"]
    if native is not None:
        attributes |= {**native.attributes, "data": native.data(data)}
    elif given is not None and _texts(given.data) == _texts(data):
        attributes["data"] = replace(data, context={**given.data.context, **data.context})
    else:
        attributes["data"] = _vetted(data)
    if given is not None:
        attributes |= {name: vars(given)[name] for name in manifest["left_out"] if name in vars(given)}
    model = cls.__new__(cls)
    model.__dict__.update(attributes)
    return model


def _texts(data: ModelData) -> dict[str, str]:
    """Return the formulas of a model as text."""
    return {} if data.formulas is None else {name: part.text for name, part in data.formulas.parts.items()}


def _vetted(data: ModelData) -> ModelData:
    """Return data whose formulas are evaluated on new data only if they hold nothing but arithmetic."""
    if data.formulas is None:
        return data
    why = obstacle(data.formulas, data.context)
    if why is None:
        return data
    designs = {name: replace(d, spec=None if d.spec is None else Refused(why)) for name, d in data.designs.items()}
    return replace(data, designs=designs)


_FORMULAS: Mapping[str, Callable[[Any], Any]] = {
    "network": lambda stored: stored,
    "nothing": lambda nothing: nothing,
    "known": lambda place: find_known(*place),
    "formula": formula_from_plain,
    "spec": spec_from_plain,
    "refused": Refused,
    "objective": lambda value: value,
}


def _special(model: GenericLikelihoodModel) -> dict[str, Callable[[Any], Any]]:
    """Return how to make what the class of a model knows: natural parameters and transforms."""

    def natural(name: str) -> Natural:
        for spec in getattr(model, "predictors", {}).values():
            found = None if isinstance(spec, str) else Natural.of(spec)
            if found is not None and found.name == name:
                return found
        raise StoreError(_changed(model, f"it has no parameter {name!r}"))

    def curve(signature: list[Any]) -> Any:
        found = make_curve(signature[0], model.transforms)
        if found is None or curve_signature(found) != signature:
            raise StoreError(_changed(model, "its transforms are others"))
        return found

    return {"natural": natural, "curve": curve}


def _changed(model: GenericLikelihoodModel, how: str) -> str:
    return f"The class {type(model).__name__} is not that of the fit: {how}. Load the results with the class they had."


def _same_class(results: Results, theta: torch.Tensor) -> None:
    """Raise if the class gives other parameters, or another log-likelihood of the same rows, than that of the fit."""
    if not torch.allclose(results.fit.map.theta(results.fit.gamma), theta, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise StoreError(_changed(results.model, "its parameters have other values"))  # type: ignore[arg-type]
    if has_rows(results.model.data) and not _attains(results, results.fit.objective):
        raise StoreError(_changed(results.model, "its log-likelihood has another value"))  # type: ignore[arg-type]


def _attains(results: Results, objective: Objective) -> bool:
    """Return whether an objective has the log-likelihood of a fit at its parameters."""
    fit, solution = results.fit, getattr(results, "solution", None)
    wanted = fit.llf if solution is None else -0.5 * solution.ssr
    found = objective.moments(fit.map.working(fit.gamma), 0).llf
    dtype = results.model.data.endog.dtype
    scale = abs(wanted) + float((results.model.data.endog.double() ** 2).sum()) * (solution is not None)
    return bool(abs(found - wanted) <= CLOSE[dtype] * (1 + scale)) or not np.isfinite(wanted)


# ---- the rows


def _objective(model: GenericLikelihoodModel, fit: Fit, kind: str, separable: bool) -> Objective:
    """Return the log-likelihood in the form in which it was evaluated, so that it gives the same bits."""
    data = model.data
    if not has_rows(data):
        return GoneObjective(data.rows.count, separable, data.endog.dtype, kind)
    if kind == "LeastSquares":
        design = next(iter(data.designs.values()))
        y = data.endog if data.offset is None else data.endog - data.offset
        return LeastSquares(design.X, y, design.means, None if data.weights is None else data.weights.values)
    objective = model.make_objective(fit.map)
    if isinstance(objective, OpaqueObjective):
        if objective.separable and not separable:
            return objective.as_whole()
        return LiftedObjective(**objective.parts()) if kind == "LiftedObjective" else objective
    return objective


def _with_rows(results: Results, given: GenericLikelihoodModel, kind: str, separable: bool) -> Results:
    """Return the results with the rows of a model, if these are the rows of the fit."""
    pmap: ParamMap = results.fit.map
    if not has_rows(given.data) or len(given.endog) != results.model.data.rows.count:
        return results
    if [d.terms for d in given.data.designs.values()] != [d.terms for d in results.model.data.designs.values()]:
        return results
    objective = _objective(given, replace(results.fit, map=pmap), kind, separable)
    full = replace(results, model=given, fit=replace(results.fit, objective=objective))
    return full if _attains(full, objective) else results
