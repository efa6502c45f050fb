"""Compute residuals of the kinds that users of linear, generalised linear and limited models expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from scipy import special
from torch import Tensor

from ..data.absent import need_rows
from ..errors import OptionError, UndefinedStatisticError, unknown
from ..workers import derivatives_on

if TYPE_CHECKING:
    from .estimates import Estimates

Kind = Callable[[Any, Tensor, list[Tensor], Any], Tensor]


def _response(model: Any, y: Tensor, etas: list[Tensor], seed: Any) -> Tensor:
    mean: Tensor = model.mean(*etas)
    return y - mean


def _pearson(model: Any, y: Tensor, etas: list[Tensor], seed: Any) -> Tensor:
    """Return ``(y - E y) / sqrt(Var y)``."""
    variance: Tensor = model.variance(*etas)
    return _response(model, y, etas, seed) / variance.sqrt()


def _deviance(model: Any, y: Tensor, etas: list[Tensor], seed: Any) -> Tensor:
    """Return ``sign(y - E y) sqrt(2 (l(saturated) - l))`` (McCullagh and Nelder 1989, section 2.4.3)."""
    gap: Tensor = model.saturated(y, *etas) - model.logdensity(y, *etas)
    return torch.sign(_response(model, y, etas, seed)) * (2 * gap).clamp(min=0.0).sqrt()  # negative by rounding only


def _generalized(model: Any, y: Tensor, etas: list[Tensor], seed: Any) -> Tensor:
    """Return ``dl / d eta`` of the first predictor (Gourieroux, Monfort, Renault and Trognon 1987)."""
    first = etas[0].detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.logdensity(y, first, *etas[1:]).sum(), first)
    return slope


def _quantile(model: Any, y: Tensor, etas: list[Tensor], seed: Any) -> Tensor:
    """Return ``Phi^-1(u)``, u uniform between ``F(y-)`` and ``F(y)`` (Dunn and Smyth 1996): normal if the model is."""
    high, low = model.cdf(y, *etas), model.cdf(y - 1, *etas) if model.response in ("binary", "count") else None
    if low is not None:
        generator = torch.Generator(device="cpu").manual_seed(int(seed))
        share = torch.rand(len(y), generator=generator, dtype=torch.float64, device="cpu").to(high)
        high = low + share * (high - low)
    return torch.from_numpy(special.ndtri(high.double().cpu().numpy()))


KINDS: Mapping[str, Kind] = {
    "response": _response,
    "pearson": _pearson,
    "deviance": _deviance,
    "generalized": _generalized,
    "quantile": _quantile,
}


def residuals(results: Estimates, kind: str, seed: int) -> pd.Series:
    """Return residuals of one kind, with the labels of the rows; see :meth:`Results.residuals`."""
    if kind not in KINDS:
        raise OptionError(unknown("kind of residual:", kind, KINDS))
    model, data = results.model, results.model.data
    need_rows(data, "residuals()")
    link = torch.from_numpy(results.link_params.to_numpy().copy())
    with derivatives_on(data.device):
        etas = [eta.detach() for eta in model.etas(link, data)]
        if len(etas) < len(data.designs):  # closed-form least squares: sigma is not among its parameters
            etas.append(torch.full_like(etas[0], 0.5).mul_(torch.tensor(results.scale).log().item()))
        values = KINDS[kind](model, data.endog, etas, seed)
    return pd.Series(values.detach().double().cpu().numpy(), index=data.rows.labels)


def undefined(model: Any, what: str, hook: str) -> UndefinedStatisticError:
    """Return the error for a model that lacks a hook."""
    return UndefinedStatisticError(f"{type(model).__name__} has no {what}. Define {hook} in the class.")
