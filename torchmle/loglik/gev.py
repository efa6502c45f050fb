"""Compute probabilities of nested and cross-nested logits, in logs throughout.

A nest n has the dissimilarity ``lambda_n`` (1 at the root) and, from the values S_c of what is in it (an alternative's
is its utility), the value

    S_n = lambda_n log sum_c exp(S_c / lambda_n),      P(c | n) = exp((S_c - S_n) / lambda_n)

(Train 2009, chapter 4; S_n is the inclusive value in units of utility).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .utility import Curvature


@dataclass(frozen=True)
class Nest:
    """Hold a nest: alternatives that are in it directly, nests in it, and which dissimilarity it has, -1 for 1."""

    name: str
    alternatives: tuple[int, ...]
    nests: tuple[Nest, ...] = ()
    slot: int = -1

    @property
    def members(self) -> tuple[int, ...]:
        """Return the positions of all alternatives in it, in the order in which they are computed."""
        return (*self.alternatives, *(j for nest in self.nests for j in nest.members))


def logsumexp_there(x: Tensor, there: Tensor | None, dim: int = -1) -> Tensor:
    """Return the logsumexp of what is there; where nothing is, some finite number, to be masked by the caller.

    A logsumexp over minus infinities alone has no derivatives, not even zero ones.
    """
    if there is None:
        return torch.logsumexp(x, dim)
    some = there.any(dim, keepdim=True)
    return torch.logsumexp(x.masked_fill(~there & some, -torch.inf), dim)


def positive(dissimilarities: Tensor) -> Tensor:
    """Return dissimilarities, NaN where one is not positive: there is no model, and a step there is taken back."""
    return torch.where(dissimilarities > 0, dissimilarities, torch.nan)


def nested_log_probabilities(V: Tensor, root: Nest, dissimilarities: Tensor, available: Tensor | None) -> Tensor:
    """Return (S, J) log-probabilities of a tree of nests."""
    _, _, logp = _descend(V, root, positive(dissimilarities), available)
    place = torch.empty(V.shape[1], dtype=torch.int64)
    place[list(root.members)] = torch.arange(V.shape[1])
    logp = logp[:, place.to(V.device)]
    return logp if available is None else logp.masked_fill(~available, -torch.inf)


def nested_value(V: Tensor, root: Nest, dissimilarities: Tensor, available: Tensor | None) -> Tensor:
    """Return the (S,) expected utility of the best alternative of a tree of nests, up to a constant."""
    return _descend(V, root, positive(dissimilarities), available)[0]


def _descend(
    V: Tensor, nest: Nest, dissimilarities: Tensor, available: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the (S,) values of a nest, where it is available, and the (S, members) log-probabilities within it."""
    parts = [_descend(V, child, dissimilarities, available) for child in nest.nests]
    own = list(nest.alternatives)
    values = torch.cat([V[:, own], *(value[:, None] for value, _, _ in parts)], 1)
    there = None
    if available is not None:
        there = torch.cat([available[:, own], *(t[:, None] for _, t, _ in parts if t is not None)], 1)
    scaled = values if nest.slot < 0 else values / dissimilarities[nest.slot]
    total = logsumexp_there(scaled, there)
    within = scaled - total[:, None]
    logs = [within[:, : len(own)]]
    logs += [logp + within[:, len(own) + i, None] for i, (_, _, logp) in enumerate(parts)]
    value = total if nest.slot < 0 else total * dissimilarities[nest.slot]
    return value, None if there is None else there.any(1), torch.cat(logs, 1)


def nested_curvature(
    V: Tensor, root: Nest, dissimilarities: Tensor, available: Tensor | None, chosen: Tensor
) -> Curvature:
    """Return the second derivatives of the log-probabilities of the choices in the utilities.

    With r = 1 / lambda, and the coefficients ``c_n = r_n - r_(above n)`` (1 at the root), the log-probability is
    ``V_i r - sum c_n S_n`` over the nests n around the choice i, and, with ``g_n`` the probabilities in n,

        d2 S_n = diag_j(P(j|n) r_(above j)) + sum_d P(d|n) (r_(above d) - r_d) g_d g_d' - r_n g_n g_n'

    over the nests d inside n: that of the logit, level by level.
    """
    rates = 1 / positive(dissimilarities)
    diagonal, scales, vectors = torch.zeros_like(V), [], []

    def visit(nest: Nest, around: list[tuple[Tensor, Tensor]], above: Tensor) -> None:
        rate = rates[nest.slot] if nest.slot >= 0 else V.new_ones(())
        members = list(nest.members)
        g = torch.zeros_like(V)
        logp = _descend(V, nest, dissimilarities, available)[2]
        g[:, members] = logp.exp() if available is None else logp.masked_fill(~available[:, members], -torch.inf).exp()
        inside = (chosen[:, None] == torch.tensor(members, device=V.device)).any(1)
        own = inside * (rate - above)
        scale = own * rate
        for weight, outer in around:
            scale = scale - weight * outer[:, members].sum(1) * (above - rate)
        scales.append(scale)
        vectors.append(g)
        path = [*around, (own, g)]
        leaves = list(nest.alternatives)
        for weight, outer in path:
            diagonal[:, leaves] -= weight[:, None] * outer[:, leaves] * rate
        for child in nest.nests:
            visit(child, path, rate)

    visit(root, [], V.new_zeros(()))
    return Curvature(diagonal, torch.stack(scales, 1), torch.stack(vectors, 1))


def cross_nested_value(
    V: Tensor, member: Tensor, log_shares: Tensor, dissimilarities: Tensor, available: Tensor | None
) -> Tensor:
    """Return the (S,) expected utility of the best alternative, up to a constant; parameters as below."""
    scale = positive(dissimilarities)[:, None]
    there = member.expand(len(V), -1, -1) if available is None else member & available[:, None, :]
    nests = logsumexp_there((V[:, None, :] + log_shares) / scale, there) * scale[:, 0]
    return logsumexp_there(nests, there.any(2), 1)


def cross_nested_log_probabilities(
    V: Tensor, member: Tensor, log_shares: Tensor, dissimilarities: Tensor, available: Tensor | None
) -> Tensor:
    """Return (S, J) log-probabilities of alternatives that belong to several nests, each by a share.

    ``P_j = sum_m P_m P(j | m)`` with ``P(j | m)`` proportional to ``(a_jm exp V_j)^(1 / lambda_m)`` and P_m to
    ``(sum_j (a_jm exp V_j)^(1 / lambda_m))^lambda_m`` (Wen and Koppelman 2001).

    Parameters
    ----------
    member : (M, J) bool, whether an alternative is in a nest.
    log_shares : (M, J) logarithms of the shares a_jm; anything finite where it is not.
    dissimilarities : (M,).
    """
    scale = positive(dissimilarities)[:, None]
    scaled = (V[:, None, :] + log_shares) / scale
    there = member.expand(len(V), -1, -1) if available is None else member & available[:, None, :]
    total = logsumexp_there(scaled, there)
    nests = total * scale[:, 0]
    some = there.any(2)
    log_nest = nests - logsumexp_there(nests, some, 1)[:, None]
    both = log_nest[:, :, None] + scaled - total[:, :, None]
    logp = logsumexp_there(both, there, 1)
    return logp if available is None else logp.masked_fill(~available, -torch.inf)
