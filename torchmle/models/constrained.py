"""Maximise under constraints that are functions of the parameters, and report on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import listing
from ..linalg import cholesky, solve_spd
from ..optim.base import OptimResult, Status
from ..optim.tangent import Stationary
from ..params.map import ParamMap
from ..results.fit import Fit, Restriction
from .imposed import Imposed

SHOWN = 6
"""Constraints that a note lists."""

EDGE = (
    "withheld, because estimates at the edge of {} have no normal law; impose what binds as an equation for errors "
    "that take it as given"
)


@dataclass(frozen=True)
class Outcome:
    """Hold how a search under constraints ended: the constraints, the point with its multipliers, and the verdict.

    ``near`` is the distance from a constraint, in comparable units, that is none.
    """

    imposed: Imposed
    end: Stationary
    status: Status
    near: float

    @property
    def edge(self) -> list[int]:
        """Return the inequalities that hold with equality."""
        end = self.end
        on = end.surface.values <= self.near * end.surface.jacobian.norm(dim=1)
        edge: list[int] = (~end.equal & (end.active | on)).nonzero().flatten().tolist()
        return edge

    def restrictions(self, sampled: bool) -> tuple[Restriction, ...]:
        """Return the constraints with values, multipliers and the errors of these; ``sampled``: rows have weights."""
        end, edge = self.end, set(self.edge)
        errors = self._errors() if self.status is Status.CONVERGED and not edge and not sampled else {}
        return tuple(
            Restriction(
                label,
                "equality" if bool(end.equal[i]) else "inequality",
                float(end.surface.values[i]),
                float(end.multipliers[i]),
                errors.get(i, math.nan),
                bool(end.equal[i]) or i in edge,
            )
            for i, label in enumerate(self.imposed.labels)
        )

    def _errors(self) -> dict[int, float]:
        """Return the standard errors of the multipliers: roots of the diagonal of ``(J A^-1 J')^-1``."""
        factor = cholesky(self.end.lagrangian)
        used = list(self.end.used)
        if factor is None or not used:
            return {}
        J = self.end.surface.jacobian[used]
        inner = cholesky(J @ solve_spd(factor, J.mT.contiguous()))
        if inner is None:
            return {}
        return dict(zip(used, torch.cholesky_inverse(inner).diagonal().sqrt().tolist(), strict=True))

    def reported(self, fit: Fit, sampled: bool) -> Fit:
        """Return the fit with its constraints, what the summary says of them, and why errors are withheld, if so."""
        found = self.restrictions(sampled)
        edge = [self.imposed.labels[i] for i in self.edge]
        fit = replace(
            fit,
            free=self.imposed.map.free - int(self.end.equal.sum()),
            restrictions=found,
            notes=(*fit.notes, *self._notes(found)),
        )
        if not edge or not fit.converged:
            return fit
        pmap = touching(self.imposed.map, self.end.x, self._along_equations())
        nothing = torch.zeros(pmap.free, dtype=torch.float64, device="cpu")
        return replace(fit, map=pmap, gamma=nothing, withheld=EDGE.format(listing(map(repr, edge), SHOWN)))

    def _along_equations(self) -> Tensor:
        """Return (F, f) orthonormal directions along the equations: inequalities take no freedom away."""
        used = [i for i in self.end.used if bool(self.end.equal[i])]
        Q: Tensor = torch.linalg.qr(self.end.surface.jacobian[used].mT, mode="complete").Q
        return Q[:, len(used) :]

    def _notes(self, found: tuple[Restriction, ...]) -> list[str]:
        if self.status is Status.INFEASIBLE:
            gaps = self.end.gaps.tolist()
            bad = [r for r, gap in zip(found, gaps, strict=True) if gap > self.near]
            said = [f"{r.name} is {r.value:.6g}, not {'0' if r.kind == 'equality' else '>= 0'}" for r in bad]
            return [f"Violated: {'; '.join(said[:SHOWN])}{'; ...' if len(said) > SHOWN else ''}."]
        if self.status is Status.DEPENDENT:
            lost = [r.name for i, r in enumerate(found) if i not in self.end.used and r.kind == "equality"]
            return [f"Not independent of the others: {', '.join(lost or [r.name for r in found])}."]
        said = [r.sentence for r in found if r.active] or [f"none of {len(found)} inequalities binds"]
        if self.status is not Status.CONVERGED:
            said = [f"{r.name} is {r.value:.3g} here" for r in found]
        return [f"Constraints: {'; '.join(said[:SHOWN])}{'; ...' if len(said) > SHOWN else ''}."]


def along(pmap: ParamMap, end: Stationary, result: OptimResult) -> tuple[ParamMap, OptimResult]:
    """Return the map of the plane that touches the constraints at the point, and the result in its coordinates.

    What inference asks of a map, derivatives at the estimate, is that of the constraints; the curvature of these is in
    the Hessian of the Lagrangian, which is the Hessian of the result.
    """
    pmap = touching(pmap, end.x, end.Z)
    return pmap, replace(result, x=torch.zeros(pmap.free, dtype=torch.float64, device="cpu"), at=end.tangent)


def touching(pmap: ParamMap, x: Tensor, Z: Tensor) -> ParamMap:
    """Return the map whose gamma moves along Z from x, a gamma of another map."""
    basis = torch.eye(len(x), dtype=torch.float64, device="cpu") if pmap.basis is None else pmap.basis
    return replace(pmap, basis=basis @ Z, origin=x if pmap.origin is None else pmap.origin + basis @ x)
