"""Compute residuals of the kinds that users of linear, generalised linear and limited models expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from ..data.absent import need_rows
from ..errors import OptionError, UndefinedStatisticError, unknown
from ..workers import derivatives_on
from .linkscale import link_values

if TYPE_CHECKING:
    from .estimates import Estimates

Kind = Callable[[Any, Tensor, list[Tensor], int], Tensor]


def _response(model: Any, y: Tensor, etas: list[Tensor], seed: int) -> Tensor:
    mean: Tensor = model.mean(*etas)
    return y - mean


def _pearson(model: Any, y: Tensor, etas: list[Tensor], seed: int) -> Tensor:
    """Return ``(y - E y) / sqrt(Var y)``."""
    variance: Tensor = model.variance(*etas)
    return _response(model, y, etas, seed) / variance.sqrt()


def _deviance(model: Any, y: Tensor, etas: list[Tensor], seed: int) -> Tensor:
    """Return ``sign(y - E y) sqrt(2 (l(saturated) - l))`` (McCullagh and Nelder 1989, section 2.4.3)."""
    gap: Tensor = model.saturated(y, *etas) - model.logdensity(y, *etas)
    return torch.sign(_response(model, y, etas, seed)) * (2 * gap).clamp(min=0.0).sqrt()  # negative by rounding only


def _generalized(model: Any, y: Tensor, etas: list[Tensor], seed: int) -> Tensor:
    """Return ``dl / d eta`` of the first predictor (Gourieroux, Monfort, Renault and Trognon 1987)."""
    first = etas[0].detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.logdensity(y, first, *etas[1:]).sum(), first)
    return slope


def _double(values: Tensor) -> Tensor:
    return values if values.device.type == "mps" else values.double()


def _quantile(model: Any, y: Tensor, etas: list[Tensor], seed: int) -> Tensor:
    """Return ``Phi^-1(u)``, u uniform between ``F(y-)`` and ``F(y)`` (Dunn and Smyth 1996): normal if the model is."""
    if model.response not in ("binary", "count"):
        found: Tensor = model.standard_normal(y, *etas)
        return found
    if bool((y != y.round()).any()):
        raise UndefinedStatisticError("Quantile residuals of counts need whole numbers; the response has fractions.")
    y, etas = _double(y), [_double(eta) for eta in etas]  # in float32 probabilities near 1 are 1
    low, high = model.cdf(y - 1, *etas).double().cpu(), model.cdf(y, *etas).double().cpu()
    generator = torch.Generator(device="cpu").manual_seed(seed)
    share = torch.rand(len(y), generator=generator, dtype=torch.float64, device="cpu")
    return torch.from_numpy(special.ndtri((low + share * (high - low)).numpy()))


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
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise OptionError(f"seed={seed!r} must be a whole number.")
    model, data = results.model, results.model.data
    need_rows(data, "residuals()")
    with derivatives_on(data.device):
        if kind == "response":
            values = data.endog - model.predict_at(link_values(results), data, "mean")
        else:
            etas = [eta.detach() for eta in model.row_etas(results)]
            values = KINDS[kind](model, data.endog, etas, int(seed))
    return pd.Series(values.detach().double().cpu().numpy(), index=data.rows.labels)


def undefined(model: Any, what: str, hook: str) -> UndefinedStatisticError:
    """Return the error for a model that lacks a hook."""
    return UndefinedStatisticError(f"{type(model).__name__} has no {what}. Define {hook} in the class.")
