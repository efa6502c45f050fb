"""Carry the covariance of the estimates over to functions of them (delta method)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import UndefinedStatisticError, listing
from .restricted import refuse_withheld

if TYPE_CHECKING:
    from .estimates import Estimates


KNOWN = (
    "No errors for what depends on the weights of the net, which are taken as known here. "
    "cov_kwds={'net': 'estimated'} takes account of their estimation."
)
"""What is said where errors are given the weights of a module."""


def link_values(results: Estimates) -> Tensor:
    """Return the (K,) link-scale estimates."""
    return torch.from_numpy(results.link_params.to_numpy().copy())


def link_covariance(results: Estimates) -> Tensor:
    """Return the (K, K) covariance of the link-scale estimates, parameters at a bound taken as fixed there."""
    jacobian = results.fit.map.link_jacobian(results.fit.gamma)
    return jacobian @ results.inference.covariance.matrix @ jacobian.mT


def delta_covariance(results: Estimates, jacobian: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Return the (M, M) covariance ``J V J'`` of functions with (M, K) derivatives J, and what to say of it.

    A function that depends on nothing but parameters at their bounds has no error: NaN, as these have none.
    """
    covariance = jacobian @ link_covariance(results) @ jacobian.mT
    known = on_known(results, jacobian)
    if bool(known.any()):
        covariance[known], covariance[:, known] = torch.nan, torch.nan
        return covariance, (KNOWN,)
    bound = list(results.fit.map.at_bound)
    if not bound or not bool((jacobian[:, bound] != 0).any()):
        return covariance, ()
    covariance[only_bound(results, jacobian)] = torch.nan
    covariance[:, only_bound(results, jacobian)] = torch.nan
    names = listing(results.fit.map.link_names[i] for i in bound)
    return covariance, (f"Errors take {names}, at a bound, as fixed there.",)


def need_maximum(results: Estimates, what: str) -> None:
    """Refuse errors where the estimates are not shown to be a maximum."""
    if not results.converged:
        raise UndefinedStatisticError(f"{what} need a maximum, and this fit has none ({results.status})")
    refuse_withheld(results, f"What is asked ({what})")


def on_known(results: Estimates, jacobian: Tensor) -> Tensor:
    """Return which of M functions depend on weights of modules, where the errors in use take these as known."""
    covariance = results.inference.covariance
    if not covariance.withheld or covariance.kwds.get("net") != "given":
        return torch.zeros(len(jacobian), dtype=torch.bool, device="cpu")
    moves: Tensor = (jacobian[:, list(covariance.withheld)] != 0).any(1)
    return moves


def only_bound(results: Estimates, jacobian: Tensor) -> Tensor:
    """Return which of M functions depend on parameters at their bounds and on no other."""
    bound = list(results.fit.map.at_bound)
    if not bound:
        return torch.zeros(len(jacobian), dtype=torch.bool, device="cpu")
    others = [i for i in range(jacobian.shape[1]) if i not in bound]
    moves: Tensor = (jacobian[:, bound] != 0).any(1)
    return moves & (jacobian[:, others] == 0).all(1)
