"""Aggregate the log-likelihood of latent class logits: conditional logits that are mixed over a few classes of persons.

With ``pi_nc`` the probability that person n is of class c and ``l_nc`` the log-probability of the person's choices in
that class, the log-likelihood is ``l_n = log sum_c pi_nc exp l_nc``. With ``h_nc = pi_nc exp(l_nc - l_n)``, the
probability of the class given the choices, ``g_nc = d l_nc / d b_c`` and ``G_nc = d2 l_nc / d b_c d b_c'``,

    d l_n / d b_c            h_nc g_nc
    d l_n / d a_c            (h_nc - pi_nc) z_n
    d2 l_n / d b_c d b_d'    1{c = d} h_nc (G_nc + g_nc g_nc') - h_nc h_nd g_nc g_nd'
    d2 l_n / d b_c d a_d'    h_nc (1{c = d} - h_nd) g_nc z_n'
    d2 l_n / d a_c d a_d'    (h_nc (1{c = d} - h_nd) - pi_nc (1{c = d} - pi_nd)) z_n z_n'

where ``log pi_nc = z_n'a_c`` up to a constant, and ``a_1 = 0`` (Train 2009, section 14.2; Greene and Hensher 2003).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import chunk_rows
from .choice import ByUnit, Choices, rows_of_units
from .objective import Chunk


@dataclass(frozen=True, eq=False)
class Classes:
    """Say where the parameters enter.

    Attributes
    ----------
    count : C, the number of classes.
    places : (C, K) positions of the coefficients of attributes in the parameters; classes share one where it is the
        same. The parameters of membership, (C - 1) x L, come last.
    """

    count: int
    places: Tensor

    @property
    def own(self) -> int:
        """Return the number of parameters before those of membership."""
        return int(self.places.max()) + 1 if self.places.numel() else 0

    def coefficients(self, params: Tensor) -> Tensor:
        """Return the (C, K) coefficients of attributes."""
        return params[self.places.to(params.device)]

    def log_shares(self, params: Tensor, Z: Tensor) -> Tensor:
        """Return the (n, C) log-probabilities of the classes given person variables (n, L)."""
        index = Z @ params[self.own :].view(self.count - 1, Z.shape[1]).mT
        return torch.log_softmax(torch.nn.functional.pad(index, (1, 0)), 1)

    def selection(self, like: Tensor, features: int) -> Tensor:
        """Return the (C K + (C - 1) L, P) matrix from the parameters to those of all classes one after the other."""
        P = self.own + (self.count - 1) * features
        rows = torch.cat([self.places.flatten(), torch.arange(self.own, P, device="cpu")])
        return torch.nn.functional.one_hot(rows, P).to(like)


@dataclass(frozen=True, eq=False)
class _State:
    """Hold what one pass over some persons finds.

    Attributes
    ----------
    D : (S, J, K) attributes less those of the chosen alternative.
    P : (C, S, J) probabilities by class.
    mean : (C, S, K) means of D under them.
    values : (n,) log-likelihoods; ``h``, ``pi`` (n, C) probabilities of classes given the choices, and without these.
    g : (C, n, K) derivatives of the log-probability of the choices.
    unit : (S,) the person of each situation, or None where each has one.
    """

    D: Tensor
    P: Tensor
    mean: Tensor
    values: Tensor
    h: Tensor
    pi: Tensor
    g: Tensor
    unit: Tensor | None


class LatentClassObjective(ByUnit):
    """Sum the log-likelihoods of persons.

    Parameters
    ----------
    Z : (N, L) person variables of the membership.
    complete : whether the Hessian is that of the log-likelihood if classes were known with the probabilities h, which
        is never indefinite: with it Newton's steps are those of an EM algorithm (Lange 1995).
    """

    engine = "derivatives by class in closed form, then matrix products"

    def __init__(
        self,
        choices: Choices,
        classes: Classes,
        Z: Tensor,
        weights: Tensor | None = None,
        ends: Tensor | None = None,
        *,
        complete: bool = False,
    ) -> None:
        super().__init__(choices, weights, ends)
        self.classes, self.Z, self.complete = classes, Z, complete
        self.selection = classes.selection(choices.X, Z.shape[1])
        J, K = choices.X.shape[1:]
        width = J * (K + 2 * classes.count) * max(1, len(choices) // max(1, self.rows))
        self.chunk = chunk_rows(width, self.device, self.dtype.itemsize)

    def take(self, index: Tensor) -> LatentClassObjective:
        """Return the objective of some of the persons."""
        weights = None if self.weights is None else self.weights[index]
        rows, ends = (index, None) if self.ends is None else rows_of_units(self.ends, index)
        return LatentClassObjective(
            self.choices.take(rows), self.classes, self.Z[index], weights, ends, complete=self.complete
        )

    def as_complete(self) -> LatentClassObjective:
        """Return the same log-likelihood with the Hessian of known classes."""
        return LatentClassObjective(self.choices, self.classes, self.Z, self.weights, self.ends, complete=True)

    def by_class(self, working: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return (n, C) log-probabilities of the choices of some persons in each class, and of the classes."""
        part = self.choices.take(self.situations(start, stop))
        unit, _ = self.units(start, stop)
        V = _utilities(part, part.differences(), self.classes.coefficients(working))
        chosen = -torch.logsumexp(V, 2).mT
        return self.by_unit(chosen, unit, stop - start), self.classes.log_shares(working, self.Z[start:stop])

    def row_values(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the log-likelihoods of some persons."""
        chosen, shares = self.by_class(working, start, stop)
        return torch.logsumexp(chosen + shares, 1)

    def posteriors(self, working: Tensor) -> Tensor:
        """Return the (N, C) probabilities of the classes given the choices."""
        chosen, shares = self.by_class(working.to(self.device, self.dtype), 0, self.rows)
        return torch.softmax(chosen + shares, 1)

    def _pass(self, working: Tensor, start: int, stop: int) -> _State:
        part = self.choices.take(self.situations(start, stop))
        unit, _ = self.units(start, stop)
        D, n = part.differences(), stop - start
        V = _utilities(part, D, self.classes.coefficients(working))
        lse = torch.logsumexp(V, 2, keepdim=True)
        P = torch.exp(V - lse)
        mean = torch.bmm(P.transpose(0, 1), D).transpose(0, 1)
        shares = self.classes.log_shares(working, self.Z[start:stop])
        joint = shares - self.by_unit(lse[..., 0].mT, unit, n)
        values = torch.logsumexp(joint, 1)
        g = torch.stack([self.by_unit(-m, unit, n) for m in mean])
        return _State(D, P, mean, values, torch.exp(joint - values[:, None]), shares.exp(), g, unit)

    def _scores(self, state: _State, Z: Tensor) -> Tensor:
        """Return the (n, C K + (C - 1) L) scores of persons, before classes share parameters."""
        choice = (state.h.mT[:, :, None] * state.g).transpose(0, 1).flatten(1)
        membership = (state.h - state.pi)[:, 1:, None] * Z[:, None]
        return torch.cat([choice, membership.flatten(1)], 1)

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the scores of some persons."""
        return self._scores(self._pass(working.detach(), start, stop), self.Z[start:stop]) @ self.selection

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over some persons."""
        w = None if self.weights is None else self.weights[start:stop]
        with torch.no_grad():
            if order == 0:
                values = self.row_values(working, start, stop)
                return Chunk(values.sum() if w is None else values @ w, None, None)
            state, Z = self._pass(working, start, stop), self.Z[start:stop]
            scores = self._scores(state, Z)
            ones = torch.ones_like(state.values) if w is None else w
            total, gradient = state.values @ ones, (ones @ scores) @ self.selection
            if order == 1:
                return Chunk(total, gradient, None)
            hessian = self._known_classes(state, Z, ones)
            if not self.complete:
                hessian += self._unknown_classes(state, Z, ones, scores)
            return Chunk(total, gradient, self.selection.mT @ hessian @ self.selection)

    def _known_classes(self, state: _State, Z: Tensor, w: Tensor) -> Tensor:
        """Return ``sum_c h_c G_c`` and ``-pi_c (1{c = d} - pi_d) z z'``: blocks by class, and of membership."""
        C, K, L = self.classes.count, state.D.shape[2], Z.shape[1]
        out = Z.new_zeros(C * K + (C - 1) * L, C * K + (C - 1) * L)
        flat = state.D.flatten(0, 1)
        for c in range(C):
            each = w * state.h[:, c]
            each = each if state.unit is None else each[state.unit]
            block = slice(c * K, (c + 1) * K)
            weighted = (state.P[c] * each[:, None]).reshape(-1, 1)
            out[block, block] = state.mean[c].mT @ (state.mean[c] * each[:, None]) - flat.mT @ (flat * weighted)
        out[C * K :, C * K :] = -_blocks(state.pi[:, 1:], Z, w)
        return out

    def _unknown_classes(self, state: _State, Z: Tensor, w: Tensor, scores: Tensor) -> Tensor:
        """Return what the Hessian has beside: how the probabilities of classes move with the parameters."""
        C, K = self.classes.count, state.D.shape[2]
        out = scores.new_zeros(scores.shape[1], scores.shape[1])
        own = scores[:, : C * K]
        out[: C * K, : C * K] = -own.mT @ (own * w[:, None])
        for c in range(C):
            block = slice(c * K, (c + 1) * K)
            out[block, block] += state.g[c].mT @ (state.g[c] * (w * state.h[:, c])[:, None])
            inner = -state.h[:, 1:].clone()
            if c:
                inner[:, c - 1] += 1.0
            crossed = own[:, block].mT @ ((w[:, None] * inner)[:, :, None] * Z[:, None]).flatten(1)
            out[block, C * K :] = crossed
            out[C * K :, block] = crossed.mT
        out[C * K :, C * K :] = _blocks(state.h[:, 1:], Z, w)
        return out


def _utilities(part: Choices, D: Tensor, beta: Tensor) -> Tensor:
    """Return the (C, S, J) utilities less those of the chosen alternatives, minus infinity where not available."""
    V = (D @ beta.mT).permute(2, 0, 1)
    return V if part.available is None else V.masked_fill(~part.available, -torch.inf)


def _blocks(p: Tensor, Z: Tensor, w: Tensor) -> Tensor:
    """Return ``sum w p_c (1{c = d} - p_d) z z'``."""
    L, weighted = Z.shape[1], (p[:, :, None] * Z[:, None]).flatten(1)
    out = -weighted.mT @ (weighted * w[:, None])
    for c in range(p.shape[1]):
        block = slice(c * L, (c + 1) * L)
        out[block, block] += weighted[:, block].mT @ (Z * w[:, None])
    return out
