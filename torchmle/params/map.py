"""Map between the parameters users see and the scaled ones in which fits are done.

Five coordinates, each a simple map of the one before:

    gamma    what optimizers see: comparable scales, free of constraints
    inner    (origin + basis gamma) / scale: one free number for each degree of freedom of the unconstrained model
    working  the same through the transforms of the model, if it has any: what the engine evaluates, with centred
             columns where centring matters
    link     coefficients of the user's own columns
    theta    the same, with constants such as ``log_sigma`` shown as ``sigma``: what is reported
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..linalg import symmetric
from .curve import Curve
from .natural import Natural

Units = Literal["raw", "scaled", "standardised"]
"""What optimizers see: the user's units, columns divided by their scale, or centred as well (first-order methods)."""


@dataclass(frozen=True)
class ParamMap:
    """Hold names and maps; all tensors are float64 on the CPU.

    Attributes
    ----------
    names, link_names : reported and link-scale names, K of them.
    scale : comparable units of the inner parameters.
    uncentre : (K, K) d link / d working, or None for the identity.
    naturals : the reported parameters that are transforms of a link-scale one, by position.
    basis, origin : under linear constraints scale * inner = origin + basis gamma, with F orthonormal columns;
        without them gamma is scale * inner itself.
    held : link-scale values of parameters fixed by name, by position.
    at_bound : which parameters are held because they ran to a bound: ``"lower"`` or ``"upper"``, or ``"a"`` where a
        constraint ties one to others that did.
    shifts : what is taken off the columns of each predictor in every chunk, or None.
    curve : the transforms of an opaque model's parameters, or None.
    """

    names: tuple[str, ...]
    link_names: tuple[str, ...]
    scale: Tensor
    uncentre: Tensor | None = None
    naturals: Mapping[int, Natural] = field(default_factory=dict)
    basis: Tensor | None = None
    origin: Tensor | None = None
    held: Mapping[int, float] = field(default_factory=dict)
    at_bound: Mapping[int, str] = field(default_factory=dict)
    shifts: tuple[Tensor | None, ...] = ()
    curve: Curve | None = None

    @property
    def free(self) -> int:
        """Return the number of free parameters."""
        return len(self.scale) if self.basis is None else self.basis.shape[1]

    @property
    def is_scaling(self) -> bool:
        """Return whether working parameters are gamma in other units, and nothing else."""
        return self.basis is None and self.curve is None

    @property
    def fixed(self) -> tuple[int, ...]:
        """Return the positions of the parameters that the constraints leave no freedom."""
        if self.basis is None:
            return ()
        if self.free == 0:
            return tuple(range(len(self.names)))
        inner = self.inner_jacobian()
        if self.curve is not None:
            still = (inner.abs().amax(1) < 1e-12 / self.scale).tolist()
            moves = [all(still[j] for j in self.curve.inner_of(i)) for i in range(len(self.names))]
            return tuple(sorted({*self.held, *(i for i, fixed in enumerate(moves) if fixed)}))
        moved = (self._uncentred(inner)).abs().amax(1)
        whole = self._uncentred(torch.diag(1 / self.scale)).abs().amax(1)
        return tuple(sorted({*self.held, *(moved < 1e-12 * whole).nonzero().flatten().tolist()}))

    @property
    def untested(self) -> tuple[int, ...]:
        """Return the positions of parameters for which zero is no hypothesis: fixed, or zero is no inner value."""
        edge = [] if self.curve is None else self.curve.zero_is_no_hypothesis
        return tuple(sorted({*self.naturals, *self.fixed, *edge}))

    def _uncentred(self, matrix: Tensor) -> Tensor:
        return matrix if self.uncentre is None else self.uncentre @ matrix

    def _to_working(self, link: Tensor) -> Tensor:
        """Return working for link coordinates, of a vector or of columns."""
        if self.uncentre is None:
            return link
        return 2 * link - self.uncentre @ link  # uncentre = I + N with N N = 0, so its inverse is I - N

    def gamma(self, theta: Tensor) -> Tensor:
        """Return gamma for reported parameters."""
        link = theta.clone()
        for i, natural in self.naturals.items():
            link[i] = natural.to_link(theta[i])
        return self.gamma_of_link(link)

    def gamma_of_link(self, link: Tensor) -> Tensor:
        """Return gamma for link-scale parameters; under constraints, of the nearest point that satisfies them."""
        working = self._to_working(link)
        return self.gamma_of_inner(working if self.curve is None else self.curve.inverse(working))

    def gamma_of_inner(self, inner: Tensor) -> Tensor:
        """Return gamma for the free numbers of the unconstrained model; under constraints, of the nearest point."""
        full = inner * self.scale
        return full if self.basis is None or self.origin is None else self.basis.mT @ (full - self.origin)

    def inner(self, gamma: Tensor) -> Tensor:
        """Return the free numbers of the unconstrained model."""
        full = gamma if self.basis is None or self.origin is None else self.origin + self.basis @ gamma
        return full / self.scale

    def working(self, gamma: Tensor) -> Tensor:
        """Return the parameters that the engine evaluates."""
        inner = self.inner(gamma)
        return inner if self.curve is None else self.curve.forward(inner)

    def link(self, gamma: Tensor) -> Tensor:
        """Return the coefficients of the user's columns."""
        link = self._uncentred(self.working(gamma))
        for i, value in self.held.items():
            link[i] = value  # to the last digit
        return link

    def theta(self, gamma: Tensor) -> Tensor:
        """Return the reported parameters."""
        theta = self.link(gamma).clone()
        for i, natural in self.naturals.items():
            theta[i] = natural.derivatives(theta[i])[0]
        return theta

    def inner_jacobian(self) -> Tensor:
        """Return d inner / d gamma."""
        return torch.diag(1 / self.scale) if self.basis is None else self.basis / self.scale[:, None]

    def working_jacobian(self, gamma: Tensor) -> Tensor:
        """Return d working / d gamma, (K, F), at gamma."""
        inner = self.inner_jacobian()
        return inner if self.curve is None else self.curve.jacobian(self.inner(gamma)) @ inner

    def link_jacobian(self, gamma: Tensor) -> Tensor:
        """Return d link / d gamma, (K, F), at gamma."""
        return self._uncentred(self.working_jacobian(gamma))

    def jacobian(self, gamma: Tensor) -> Tensor:
        """Return d theta / d gamma, (K, F), at gamma."""
        jacobian = self.link_jacobian(gamma)
        link = self.link(gamma)
        for i, natural in self.naturals.items():
            jacobian[i] *= natural.derivatives(link[i])[1]
        return jacobian

    def pull_gradient(self, gradient: Tensor, gamma: Tensor) -> Tensor:
        """Return d/d gamma for a gradient with respect to the working parameters."""
        return gradient / self.scale if self.is_scaling else self.working_jacobian(gamma).mT @ gradient

    def pull_outer(self, matrix: Tensor, gamma: Tensor) -> Tensor:
        """Return a sum of outer products of scores in gamma for one in working parameters."""
        if self.is_scaling:
            return matrix / torch.outer(self.scale, self.scale)
        jacobian = self.working_jacobian(gamma)
        return jacobian.mT @ matrix @ jacobian

    def pull_hessian(self, hessian: Tensor, gradient: Tensor, gamma: Tensor) -> Tensor:
        """Return a Hessian in gamma for derivatives with respect to the working parameters."""
        pulled = self.pull_outer(hessian, gamma)
        if self.curve is None:
            return pulled
        inner = self.inner_jacobian()
        return pulled + inner.mT @ self.curve.curvature(self.inner(gamma), gradient) @ inner

    def reported_gradient(self, gamma: Tensor, gradient: Tensor) -> Tensor:
        """Return the (K,) gradient with respect to theta for one with respect to the working parameters."""
        return self.reported_scores(gamma, gradient[None])[0]

    def reported_scores(self, gamma: Tensor, scores: Tensor) -> Tensor:
        """Return (n, K) scores with respect to theta for scores with respect to the working parameters."""
        out = scores.clone() if self.uncentre is None else 2 * scores - scores @ self.uncentre
        link = self.link(gamma)
        for i, natural in self.naturals.items():
            out[:, i] /= natural.derivatives(link[i])[1]
        return out

    def reported_hessian(self, gamma: Tensor, gradient: Tensor, hessian: Tensor) -> Tensor:
        """Return the (K, K) Hessian with respect to theta for derivatives with respect to the working parameters.

        The curvature of the natural transforms is included.
        """
        out = self.reported_scores(gamma, self.reported_scores(gamma, hessian).mT)
        at_theta = self.reported_gradient(gamma, gradient)
        link = self.link(gamma)
        for i, natural in self.naturals.items():
            _, first, second = natural.derivatives(link[i])
            out[i, i] -= at_theta[i] * second / first**2
        return symmetric(out)

    def push(self, covariance: Tensor, gamma: Tensor) -> Tensor:
        """Return the covariance of theta (delta method) for one of gamma; NaN for parameters that are at a bound."""
        return self._pushed(covariance, self.jacobian(gamma))

    def push_link(self, covariance: Tensor, gamma: Tensor) -> Tensor:
        """Return the covariance of the link-scale parameters for one of gamma."""
        return self._pushed(covariance, self.link_jacobian(gamma))

    def _pushed(self, covariance: Tensor, jacobian: Tensor) -> Tensor:
        pushed = symmetric(jacobian @ covariance @ jacobian.mT)
        for i in self.at_bound:
            pushed[i], pushed[:, i] = torch.nan, torch.nan
        return pushed


def uncentring(shift: Tensor, constant: int | None, mean: Tensor) -> Tensor | None:
    """Return d link / d working for columns less ``shift``: the constant takes up the shifts of the others."""
    if constant is None or not bool((shift != 0).any()):
        return None
    matrix = torch.eye(len(shift), dtype=torch.float64, device="cpu")
    matrix[constant] -= shift / mean[constant]
    return matrix
