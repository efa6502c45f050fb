"""Map between the parameters users see and the scaled ones in which fits are done.

Four coordinates, each a simple map of the one before:

    gamma    what optimizers see: comparable scales
    working  gamma / scale: what the engine evaluates, with centred columns where centring matters
    link     coefficients of the user's own columns
    theta    the same, with constants such as ``log_sigma`` shown as ``sigma``: what is reported
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..linalg import symmetric
from .natural import Natural


@dataclass(frozen=True)
class ParamMap:
    """Hold names and maps; all tensors are float64 on the CPU and K-dimensional.

    Attributes
    ----------
    names, link_names : reported and link-scale names.
    scale : (K,) gamma = scale * working.
    uncentre : (K, K) d link / d working, or None for the identity.
    naturals : the reported parameters that are transforms of a link-scale one, by position.
    """

    names: tuple[str, ...]
    link_names: tuple[str, ...]
    scale: Tensor
    uncentre: Tensor | None = None
    naturals: Mapping[int, Natural] = field(default_factory=dict)

    def gamma(self, theta: Tensor) -> Tensor:
        """Return gamma for reported parameters."""
        link = theta.clone()
        for i, natural in self.naturals.items():
            link[i] = natural.to_link(theta[i])
        return self.gamma_of_link(link)

    def gamma_of_link(self, link: Tensor) -> Tensor:
        """Return gamma for link-scale parameters."""
        if self.uncentre is not None:
            link = 2 * link - self.uncentre @ link  # uncentre = I + N with N N = 0, so its inverse is I - N
        return link * self.scale

    def working(self, gamma: Tensor) -> Tensor:
        """Return the parameters that the engine evaluates."""
        return gamma / self.scale

    def link(self, gamma: Tensor) -> Tensor:
        """Return the coefficients of the user's columns."""
        working = gamma / self.scale
        return working if self.uncentre is None else self.uncentre @ working

    def theta(self, gamma: Tensor) -> Tensor:
        """Return the reported parameters."""
        theta = self.link(gamma).clone()
        for i, natural in self.naturals.items():
            theta[i] = natural.derivatives(theta[i])[0]
        return theta

    def pull_gradient(self, gradient: Tensor) -> Tensor:
        """Return d/d gamma for a gradient with respect to the working parameters."""
        return gradient / self.scale

    def pull_matrix(self, matrix: Tensor) -> Tensor:
        """Return a Hessian or a sum of outer products in gamma for one in working parameters."""
        return matrix / torch.outer(self.scale, self.scale)

    def link_jacobian(self) -> Tensor:
        """Return d link / d gamma, (K, K)."""
        base = (
            torch.eye(len(self.scale), dtype=self.scale.dtype, device="cpu") if self.uncentre is None else self.uncentre
        )
        return base / self.scale

    def jacobian(self, gamma: Tensor) -> Tensor:
        """Return d theta / d gamma, (K, K), at gamma."""
        jacobian = self.link_jacobian()
        link = self.link(gamma)
        for i, natural in self.naturals.items():
            jacobian[i] *= natural.derivatives(link[i])[1]
        return jacobian

    def reported_gradient(self, gamma: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to theta for one with respect to gamma."""
        reported: Tensor = torch.linalg.solve(self.jacobian(gamma).mT, gradient)
        return reported

    def reported_hessian(self, gamma: Tensor, gradient: Tensor, hessian: Tensor) -> Tensor:
        """Return the Hessian with respect to theta, the curvature of the natural transforms included."""
        inverse = torch.linalg.inv(self.jacobian(gamma))
        out = inverse.mT @ hessian @ inverse
        at_theta = self.reported_gradient(gamma, gradient)
        link = self.link(gamma)
        for i, natural in self.naturals.items():
            _, first, second = natural.derivatives(link[i])
            out[i, i] -= at_theta[i] * second / first**2
        return symmetric(out)

    def push(self, covariance: Tensor, gamma: Tensor) -> Tensor:
        """Return the covariance of theta (delta method) for one of gamma."""
        jacobian = self.jacobian(gamma)
        return symmetric(jacobian @ covariance @ jacobian.mT)

    def push_link(self, covariance: Tensor) -> Tensor:
        """Return the covariance of the link-scale parameters for one of gamma."""
        jacobian = self.link_jacobian()
        return symmetric(jacobian @ covariance @ jacobian.mT)


def uncentring(shift: Tensor, constant: int | None, mean: Tensor) -> Tensor | None:
    """Return d link / d working for columns less ``shift``: the constant takes up the shifts of the others."""
    if constant is None or not bool((shift != 0).any()):
        return None
    matrix = torch.eye(len(shift), dtype=torch.float64, device="cpu")
    matrix[constant] -= shift / mean[constant]
    return matrix
