"""Evaluate models of choices draw by draw, in chunks, and sum statistics of them with exact derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import DataError
from ...loglik.mixing import Slot
from ...loglik.persondraws import PersonDraws
from ...workers import derivatives_on, map_ranges
from .latent import LatentClassLogit
from .mixed import MixedLogit
from .scenes import Scene, is_logit

CHUNK_BYTES = 8_000_000
"""Bytes of the largest array of a chunk; some ten of that size are alive in a pass."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Hold n situations at R draws, differentiable in the parameters; R is 1 where no coefficient is random.

    Attributes
    ----------
    rows : which situations these are.
    theta : (P,) parameters.
    units : the persons whose situations these are.
    X : (n, J, K) attributes; ``there`` (n, J) which alternatives are available.
    beta : (n, K, R) coefficients.
    V, logp : (n, J, R) utilities and log-probabilities, minus infinity where not available.
    weights : (R,) of the draws; (n, R) shares where the draws are classes of persons.
    logit : whether these are logit probabilities of the utilities.
    """

    rows: slice
    theta: Tensor
    units: slice
    X: Tensor
    there: Tensor
    beta: Tensor
    V: Tensor
    logp: Tensor
    weights: Tensor
    logit: bool

    @cached_property
    def prob(self) -> Tensor:
        """Return the (n, J, R) probabilities given the draws."""
        return torch.exp(self.logp)

    def mean(self, values: Tensor) -> Tensor:
        """Return means over the draws, the last dimension."""
        if self.weights.ndim == 1:
            return values @ self.weights
        between = [1] * (values.ndim - 2)
        return (values * self.weights.view(len(values), *between, -1)).sum(-1)

    def along(self, D: Tensor) -> Tensor:
        """Return the (n, J, R) changes of utilities for changes (n, J, K) of the attributes."""
        return torch.bmm(D, self.beta)

    def responses(self, a: Tensor) -> Tensor:
        """Return (n, J, J) ``d P_j``, averaged over draws, as utility i changes at the rate ``a_i`` (n, J, R)."""
        if self.logit:
            moved = self.prob * (self.weights if self.weights.ndim == 1 else self.weights[:, None])
            own = torch.diag_embed((moved * a).sum(2))
            return own - torch.bmm(moved, (self.prob * a).mT)
        rows = [
            torch.autograd.grad(self.prob[:, j].sum(), self.V, create_graph=True)[0] * a
            for j in range(self.prob.shape[1])
        ]
        return torch.stack(rows, 1) @ self.weights


@dataclass(frozen=True, eq=False)
class Stage:
    """Evaluate a scene at parameters."""

    scene: Scene
    draws: PersonDraws | None

    @cached_property
    def ends(self) -> Tensor:
        """Return the (N,) number of situations up to the end of each person."""
        return torch.bincount(self.scene.unit, minlength=len(self.scene.persons)).cumsum(0).cpu()

    @property
    def points(self) -> int:
        """Return the number of draws."""
        return 1 if self.draws is None else self.draws.number

    @property
    def chunk(self) -> int:
        """Return how many persons are looked at together."""
        _, J, K = self.scene.attributes.shape
        each = len(self.scene) / max(1, len(self.scene.persons))
        return max(1, int(CHUNK_BYTES / (each * (J + K) * self.points * self.scene.attributes.element_size())))

    def at(self, theta: Tensor, start: int, stop: int) -> Drawn:
        """Return the situations of some persons."""
        scene, first = self.scene, int(self.ends[start - 1]) if start else 0
        rows = slice(first, int(self.ends[stop - 1]))
        X, there = scene.attributes[rows], scene.there[rows]
        if isinstance(scene.model, LatentClassLogit):
            return self._by_class(scene.model, theta, slice(start, stop), rows)
        if self.draws is None:
            beta = theta[: X.shape[2]].expand(len(X), -1)[..., None]
            V = torch.bmm(X, beta)
            available = None if scene.available is None else scene.available[rows]
            logp = scene.model.at_situations(rows).log_probabilities(V[..., 0], theta, available)[..., None]
            return Drawn(rows, theta, slice(start, stop), X, there, beta, V, logp, V.new_ones(1), is_logit(scene.model))
        each = self.coefficients(theta, start, stop)
        beta = each[scene.unit[rows] - start]
        V = torch.bmm(X, beta)
        logp = torch.log_softmax(V.masked_fill(~there[..., None], -torch.inf), 1)
        return Drawn(rows, theta, slice(start, stop), X, there, beta, V, logp, self.draws.log_weights.exp(), True)

    def _by_class(self, model: LatentClassLogit, theta: Tensor, units: slice, rows: slice) -> Drawn:
        """Return situations with the classes in the place of draws."""
        X, there, layout = self.scene.attributes[rows], self.scene.there[rows], model.layout
        beta = layout.coefficients(theta).mT.expand(len(X), -1, -1)
        V = torch.bmm(X, beta)
        logp = torch.log_softmax(V.masked_fill(~there[..., None], -torch.inf), 1)
        weights = layout.log_shares(theta, model.Z[rows]).exp()
        return Drawn(rows, theta, units, X, there, beta, V, logp, weights, True)

    def coefficients(self, theta: Tensor, start: int, stop: int) -> Tensor:
        """Return the (n, K, R) coefficients of some persons at their draws."""
        model, draws = self.scene.model, self.draws
        assert isinstance(model, MixedLogit)
        assert draws is not None
        layout, z = model.layout, draws.block(start, stop)
        W = None if model.W is None else model.W[start:stop]
        random = layout.mixing.coefficients(indices(theta, model, z, W), z)
        columns: list[Tensor] = [theta.new_zeros(())] * self.scene.attributes.shape[2]
        for c, k in enumerate(layout.columns):
            columns[k] = random[c]
        for p, slot in enumerate(layout.slots):
            if slot.column >= 0:
                columns[slot.column] = theta[p].expand_as(random[0] if len(random) else z[0])
        return torch.stack(columns, 1)


def indices(theta: Tensor, model: MixedLogit, z: Tensor, W: Tensor | None) -> Tensor:
    """Return the (Q, n, R) indices of random coefficients at draws z (D, n, R), differentiable in the parameters."""
    layout = model.layout
    L, D = layout.features, len(z)
    inside: list[tuple[int, Slot]] = [(p, slot) for p, slot in enumerate(layout.slots) if slot.column < 0]
    at = [[slot.index for _, slot in inside], [slot.feature for _, slot in inside]]
    places = tuple(torch.tensor(a, device=theta.device) for a in at)
    table = theta.new_zeros(layout.mixing.indices, 1 + L + D)
    table = table.index_put(places, theta[[p for p, _ in inside]], accumulate=True)
    mean = table[:, :1].expand(-1, z.shape[1])
    if W is not None:
        mean = mean + table[:, 1 : 1 + L] @ W.mT
    return (table[:, 1 + L :] @ z.reshape(D, -1)).view(-1, *z.shape[1:]) + mean[:, :, None]


def make_stage(scene: Scene) -> Stage:
    """Return a scene with the draws of its persons."""
    model = scene.model
    if not isinstance(model, MixedLogit):
        return Stage(scene, None)
    room = int(model.memory * 1e9)
    return Stage(
        scene,
        PersonDraws(model.draws, scene.persons, model.laws, scene.attributes.device, scene.attributes.dtype, room),
    )


Statistic = Callable[[Drawn], Tensor]
"""Takes some situations; returns (M,) sums over them."""


def summed(stage: Stage, theta: Tensor, statistic: Statistic) -> tuple[Tensor, Tensor]:
    """Return (M,) sums of a statistic over all situations, and their (M, P) derivatives in the parameters."""

    def work(start: int, stop: int) -> tuple[Tensor, Tensor]:
        values: Tensor | None = None
        jacobian: Tensor | None = None
        with derivatives_on(stage.scene.attributes.device):
            for a in range(start, stop, stage.chunk):
                leaf = theta.to(stage.scene.attributes).clone().requires_grad_()
                out = statistic(stage.at(leaf, a, min(a + stage.chunk, stop)))
                rows = jacobian_of(out, leaf)
                values = out.detach() if values is None else values + out.detach()
                jacobian = rows if jacobian is None else jacobian + rows
        assert values is not None
        assert jacobian is not None
        return values.double().cpu(), jacobian.double().cpu()

    found = map_ranges(work, len(stage.scene.persons), stage.chunk, stage.scene.attributes.device)
    return torch.stack([v for v, _ in found]).sum(0), torch.stack([j for _, j in found]).sum(0)


def by_situation(stage: Stage, theta: Tensor, statistic: Statistic) -> Tensor:
    """Return (S, M) values of a statistic by situation, without derivatives."""

    def work(start: int, stop: int) -> Tensor:
        parts = []
        for a in range(start, stop, stage.chunk):
            with derivatives_on(stage.scene.attributes.device):
                leaf = theta.to(stage.scene.attributes).clone().requires_grad_(not is_logit(stage.scene.model))
                found = statistic(stage.at(leaf, a, min(a + stage.chunk, stop)))
            parts.append(found.detach().double().cpu())
        return torch.cat(parts)

    return torch.cat(map_ranges(work, len(stage.scene.persons), stage.chunk, stage.scene.attributes.device))


def with_errors(stage: Stage, theta: Tensor, statistic: Statistic, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return (S, M) values of a statistic by situation, and their variances for a (P, P) covariance."""

    def work(start: int, stop: int) -> tuple[Tensor, Tensor]:
        values, variances = [], []
        for a in range(start, stop, stage.chunk):
            with derivatives_on(stage.scene.attributes.device):
                leaf = theta.to(stage.scene.attributes).clone().requires_grad_()
                out = statistic(stage.at(leaf, a, min(a + stage.chunk, stop)))
                rows = jacobian_of(out, leaf).double().cpu()
            values.append(out.detach().double().cpu())
            variances.append(((rows @ covariance) * rows).sum(-1))
        return torch.cat(values), torch.cat(variances)

    found = map_ranges(work, len(stage.scene.persons), stage.chunk, stage.scene.attributes.device)
    return torch.cat([v for v, _ in found]), torch.cat([s for _, s in found])


def jacobian_of(out: Tensor, leaf: Tensor) -> Tensor:
    """Return the derivatives of all entries of ``out`` in P parameters, (\\*out.shape, P).

    Row by row where there are few entries; else column by column, as derivatives of ``v'J`` in v.
    """
    P = len(leaf)
    if not out.requires_grad:
        return out.new_zeros(*out.shape, P)
    if out.numel() <= P:
        rows = [_grad(entry, leaf) for entry in out.flatten()]
        return torch.stack(rows).view(*out.shape, P)
    v = torch.ones_like(out, requires_grad=True)
    (g,) = torch.autograd.grad(out, leaf, v, create_graph=True, allow_unused=True)
    if g is None or not g.requires_grad:
        return out.new_zeros(*out.shape, P)
    return torch.stack([_grad(g[p], v) for p in range(P)], -1)


def _grad(value: Tensor, leaf: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, leaf, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found.detach()


def need_weight(total: Tensor, what: str) -> None:
    """Raise where there is nothing to average."""
    if not bool(total > 0):
        raise DataError(f"{what}: the situations have no weight.")
