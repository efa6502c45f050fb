"""Estimate a part of a module's parameters given the rest, with its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ...data.absent import need_rows
from ...errors import OptionError, unknown
from ...loglik.modules import trained
from ...loglik.network import within
from ...results.fit import Fit
from ...workers import engine
from ..fitting import run_fit
from ..request import FitRequest
from .results import NeuralResults, neural

if TYPE_CHECKING:
    from .base import ModuleModel

DEFAULT = "HC0"
"""Covariance of a block where none is asked for: the sandwich."""


def read_block(model: ModuleModel, names: Any) -> tuple[str, ...]:
    """Return names of tensors or submodules that hold something to estimate."""
    asked = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Sequence) else ()
    layers = [name for name, _ in trained(model.network.module)]
    if not asked or not all(isinstance(name, str) for name in asked):
        raise OptionError(f"A block is {names!r}; it must be names of parameters, such as {layers[:1]}.")
    above = {name.rpartition(".")[0] for name in layers} - {""}
    for name in asked:
        if not any(within(layer, [name]) for layer in layers):
            raise OptionError(
                f"{unknown('parameter in the block:', name, [*layers, *sorted(above)])} It is made of whole tensors."
            )
    return asked


def part_of_module(results: NeuralResults, names: Any) -> ModuleModel:
    """Return the model at the estimates in which only a block is estimated."""
    model: ModuleModel = results.model  # type: ignore[assignment]
    block = read_block(model, names)
    network = model.network.only(block, results.fit.map.theta(results.fit.gamma))
    part = model.with_network(network)
    part.transforms = {name: kind for name, kind in model.transforms.items() if name in network.names}
    return part


def block_results(
    results: NeuralResults, names: Any, cov_type: str, cov_kwds: Mapping[str, Any] | None, use_t: bool | None
) -> NeuralResults:
    """Return results of a block; see :meth:`NeuralResults.block_errors`."""
    need_rows(results.model.data, "block_errors()")
    results.refuse_random("block_errors()")
    with engine():
        part = part_of_module(results, names)
        fixed = {results.names[i]: float(results.params.iloc[i]) for i in results.fit.map.fixed}
        held = {name: value for name, value in fixed.items() if name in part.param_names} or None
        found = run_fit(
            part, FitRequest(method="newton", cov_type=cov_type, cov_kwds=cov_kwds, use_t=use_t, fixed=held)
        )
    rest = len(results.names) - len(found.names)
    results = neural(found)
    return replace(results, fit=replace(results.fit, notes=(_condition(rest), *results.fit.notes)))


def _condition(rest: int) -> str:
    return (
        f"Given the network's weights: {rest} other parameters are held where training left them, and the errors take "
        "them as known. They do not hold the uncertainty of these weights."
    )


def with_block(results: NeuralResults, names: Any, cov_type: str, cov_kwds: Mapping[str, Any]) -> NeuralResults:
    """Return results with a block at its maximum given the rest, and its standard errors."""
    if results.converged:
        raise OptionError("block= is for a module that was trained and not maximised: here all parameters have errors.")
    found = block_results(results, names, cov_type, cov_kwds, None)
    if not found.converged:
        return results
    theta = results.fit.map.theta(results.fit.gamma)
    at = [results.names.index(name) for name in found.names]
    theta[at] = found.fit.map.theta(found.fit.gamma)
    told = ", ".join([names] if isinstance(names, str) else names)
    said = f"of {told} only: {found.inference.covariance.description}. {found.fit.notes[0].rstrip('.')}"
    covariance = replace(results.inference.covariance, cov_type=found.cov_type, description=said)
    given = {"names": list(found.names), "cov": found._covariance}
    inference = replace(results.inference, covariance=covariance)
    return replace(results, fit=_moved(results.fit, theta), inference=inference, given_net=given)


def _moved(fit: Fit, theta: torch.Tensor) -> Fit:
    """Return a fit at another point, with one exact pass over all rows."""
    with engine():
        gamma = fit.map.gamma(theta)
        moments = fit.objective.moments(fit.map.working(gamma), 1)
    assert moments.gradient is not None
    nothing = torch.zeros(0, 0, dtype=torch.float64, device="cpu")
    return replace(fit, gamma=gamma, llf=moments.llf, derivatives=(moments.gradient, nothing))
