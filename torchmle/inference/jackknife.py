"""Estimate covariances by leaving out a cluster at a time, or as if that had been done: CRV3 and CR2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..data.groups import Groups
from ..errors import OptionError
from ..loglik.leastsquares import LeastSquares
from .blocks import Units, clusters
from .cluster import read_groups, row_of
from .corrections import JACKKNIFE, Correction, read_correction
from .estimator import Estimator, Options, Setting
from .ingredients import Found, Ingredients

ALONE = 1e-10
"""Share of the information of a direction that must be left when a cluster goes."""


@dataclass(frozen=True, kw_only=True)
class Jackknife(Estimator):
    """Return ``(G-1)/G sum_g d_g d_g'``, d_g the change of the estimates when cluster g is left out.

    For least squares these are the estimates without the cluster, exactly: ``d_g = -(X'X - X_g'X_g)^-1 X_g'e_g``
    (MacKinnon, Nielsen and Webb 2023, CRV3). For any other likelihood they are one Newton step from the estimates
    of all rows, with the Hessian of the rows that are left. ``center="mean"`` takes the changes from their mean.
    """

    entries: ClassVar[tuple[str, ...]] = ("groups", "use_correction", "center")
    groups: Groups
    setting: Setting
    correction: Correction = True
    center: Literal["estimate", "mean"] = "estimate"

    @classmethod
    def read(cls, options: Options) -> Jackknife:
        """Return the estimator that was asked for."""
        return cls(
            cov_type=options.cov_type,
            groups=read_groups(options),
            setting=options.setting,
            correction=read_correction(options.get("use_correction", True), JACKKNIFE),
            center="mean" if options.choice("center", ("estimate", "mean"), "estimate") == "mean" else "estimate",
        )

    def covariance(self, parts: Ingredients) -> Found:
        """Return the covariance in gamma."""
        units, G = Units.of(parts), self.groups.count
        total = units.scores(parts.scores.by_group(torch.zeros(parts.objective.rows, dtype=torch.int64), 1))[0]
        changes = torch.zeros(G, len(total), dtype=torch.float64, device="cpu")
        eye = torch.eye(len(total), dtype=torch.float64, device="cpu")
        for some, scores, information in clusters(units, self.groups):
            self._refuse_alone(information, some.start)
            changes[some] = torch.linalg.solve(eye - information, total - scores) - total
        if self.center == "mean":
            changes = changes - changes.mean(0)
        factor, words = JACKKNIFE[self.correction]
        matrix = units.covariance(changes.mT @ changes) * factor(G, parts.nobs, parts.params)
        how = "exact" if isinstance(parts.objective, LeastSquares) else "one Newton step each"
        about = "" if self.center == "estimate" else ", about their mean"
        text = f"cluster jackknife (CRV3, {how}) by {self.groups.name}, {G} clusters, {words}{about}"
        return Found(matrix, text, G - 1.0)

    def _refuse_alone(self, information: Tensor, first: int) -> None:
        left = 1 - torch.linalg.eigvalsh(information)[:, -1]
        bad = (left < ALONE).nonzero().flatten().tolist()
        if bad:
            row = row_of(self.groups, first + bad[0], self.setting)
            raise OptionError(
                f"cov_type={self.cov_type!r} is not defined here: without the cluster of row {row} the parameters are "
                "not identified, as where a column is zero in all other clusters. Leave such columns out, or use "
                "'cluster' or, for least squares, 'CR2'."
            )


@dataclass(frozen=True, kw_only=True)
class BiasReduced(Estimator):
    """Return CR2: clustered errors of least squares, unbiased where rows are independent with equal variance.

    Residuals of a cluster are multiplied by ``(I - H_g)^(-1/2)``, H_g its block of the hat matrix (Bell and McCaffrey
    2002); in directions that a cluster has to itself by zero (Pustejovsky and Tipton 2018). With ``var_weights`` the
    variances are ``sigma^2 / w``. Degrees of freedom of t tests are those of Bell and McCaffrey.
    """

    entries: ClassVar[tuple[str, ...]] = ("groups",)
    refused_weights: ClassVar[Mapping[str, str]] = {
        "sampling_weights": "which say nothing of the variances that it works with. Use 'CRV3' or 'cluster'"
    }
    groups: Groups

    @classmethod
    def read(cls, options: Options) -> BiasReduced:
        """Return the estimator that was asked for."""
        if not options.setting.closed_form:
            raise OptionError(
                f"cov_type={options.cov_type!r} is defined for least squares in closed form: OLS and WLS without "
                "method=. Use 'CRV3' for other likelihoods."
            )
        return cls(cov_type=options.cov_type, groups=read_groups(options))

    def covariance(self, parts: Ingredients) -> Found:
        """Return the covariance in gamma, with degrees of freedom for any contrast."""
        units, meat = Units.of(parts), torch.zeros_like(parts.bread)
        for _, scores, information in clusters(units, self.groups):
            adjusted = (_adjustment(information) @ scores[:, :, None])[:, :, 0]
            meat += adjusted.mT @ adjusted
        G = self.groups.count
        text = f"clustered by {self.groups.name}, {G} clusters, CR2 (Bell and McCaffrey)"
        return Found(units.covariance(meat), text, G - 1.0, _degrees(units, self.groups))


def _adjustment(information: Tensor) -> Tensor:
    """Return ``(I - M)^(-1/2)`` of (c, F, F) shares of the information, zero where nothing is left."""
    values, vectors = torch.linalg.eigh(information)
    left = 1 - values
    roots = torch.where(left > ALONE, left.clamp(min=ALONE).rsqrt(), torch.zeros_like(left))
    adjustment: Tensor = (vectors * roots[:, None, :]) @ vectors.mT
    return adjustment


def _degrees(units: Units, groups: Groups) -> Callable[[Tensor], Tensor]:
    """Return the function from (M, F) contrasts in gamma to their degrees of freedom.

    With ``V = sum_g (p_g'e)^2`` and errors of equal variance these are ``(sum_g P_gg)^2 / sum_gh P_gh^2``, ``P_gh =
    p_g'p_h`` (Bell and McCaffrey 2002, section 4). Here ``P_gh = 1(g = h) a_g - z_g'z_h`` with ``z_g = f(M_g) M_g c``
    and ``a_g = c'f(M_g)^2 M_g c``, so that nothing of the size of the rows or of all pairs of clusters is formed.
    """

    def degrees(contrasts: Tensor) -> Tensor:
        c = contrasts @ units.half
        count, F = c.shape
        trace, squares, cross = torch.zeros_like(c[:, 0]), torch.zeros_like(c[:, 0]), c.new_zeros(count, F, F)
        for _, _, information in clusters(units, groups):
            f = _adjustment(information)
            z = torch.einsum("gij,mj->mgi", f @ information, c)
            a = torch.einsum("mgi,gij,mj->mg", z, f, c)
            own = z.square().sum(2)
            trace += (a - own).sum(1)
            squares += (a**2 - 2 * a * own).sum(1)
            cross += z.mT @ z
        return trace**2 / (squares + cross.square().sum((1, 2)))

    return degrees
