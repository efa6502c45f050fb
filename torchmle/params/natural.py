"""Show an intercept-only predictor as the parameter that it stands for (``sigma`` for ``log_sigma``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import OptionError

Scalar = Callable[[Tensor], Tensor]

_INVERSES: dict[Scalar, Scalar] = {torch.exp: torch.log, torch.sigmoid: torch.logit, torch.tanh: torch.atanh}


@dataclass(frozen=True)
class PredictorSpec:
    """Describe a predictor: its default formula, and the parameter it stands for when it is a constant.

    See :func:`predictor`.
    """

    default: str = "1"
    natural: str | None = None
    transform: Scalar | None = None
    inverse: Scalar | None = None


def predictor(
    default: str = "1",
    *,
    natural: str | None = None,
    transform: Scalar | None = None,
    inverse: Scalar | None = None,
) -> PredictorSpec:
    """Describe one linear predictor of a declarative model.

    Parameters
    ----------
    default : right-hand side used when the user gives no formula.
    natural : name under which an intercept-only predictor is reported, e.g. ``"sigma"``.
    transform : torch function from the predictor to that parameter, e.g. ``torch.exp``; required with ``natural``.
    inverse : its inverse; known for ``torch.exp``, ``torch.sigmoid`` and ``torch.tanh``.

    Examples
    --------
    >>> import torch, torchmle as tm
    >>> tm.predictor("1", natural="sigma", transform=torch.exp).natural
    'sigma'
    """
    if (natural is None) != (transform is None):
        raise OptionError(
            "predictor() needs natural= and transform= together, e.g. natural='sigma', transform=torch.exp."
        )
    if natural is not None and inverse is None and transform not in _INVERSES:
        raise OptionError(f"predictor(natural={natural!r}) needs inverse=, the inverse of its transform.")
    return PredictorSpec(default, natural, transform, inverse)


@dataclass(frozen=True)
class Natural:
    """Map one link-scale number to the natural parameter, with the derivatives that inference needs."""

    name: str
    transform: Scalar
    inverse: Scalar

    @classmethod
    def of(cls, spec: PredictorSpec) -> Natural | None:
        """Return the map of a predictor that declares a natural parameter."""
        if spec.natural is None or spec.transform is None:
            return None
        return cls(spec.natural, spec.transform, spec.inverse or _INVERSES[spec.transform])

    def to_link(self, value: Tensor) -> Tensor:
        """Return the link-scale value of a natural one, refusing values outside its range."""
        link = self.inverse(value)
        if not bool(torch.isfinite(link)):
            raise OptionError(f"{self.name} = {float(value)} is outside its range.")
        return link

    def derivatives(self, link: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return value, first and second derivative at a link-scale number."""
        with torch.enable_grad():
            x = link.detach().clone().requires_grad_()
            value = self.transform(x)
            (first,) = torch.autograd.grad(value, x, create_graph=True)
            second = torch.zeros_like(x)
            if first.requires_grad:
                (second,) = torch.autograd.grad(first, x)
        return value.detach(), first.detach(), second.detach()
