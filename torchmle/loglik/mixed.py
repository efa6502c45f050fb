"""Aggregate the simulated log-likelihood of mixed logits, with exact gradient and Hessian.

With l_r the log-probability of a person's choices given draw r, the log-likelihood is ``log mean_r exp l_r`` and, with
the weights ``w_r = exp l_r / sum exp l_s`` and ``g_r = d l_r / d theta``,

    score     s = sum_r w_r g_r
    Hessian   sum_r w_r (d2 l_r + g_r g_r') - s s'
    d2 l_r    = -sum_tj P_tjr (D_tj - Dbar_t)(D_tj - Dbar_t)' + curvature of the coefficients

where ``D_tj = dV_tj / d theta`` is a column of data times the slope of a coefficient (Train 2009, section 6.6; Bhat
2001). So the Hessian is one product of matrices with as many columns as parameters, whatever their number.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .choice import Choices, rows_of_units
from .mixing import Coefficients, Mixing, Slot, mix
from .objective import Chunk, Objective
from .persondraws import PersonDraws

WORK_BYTES = 16_000_000
"""Bytes of the largest array of a chunk."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Say what the parameters are.

    Attributes
    ----------
    slots : where each parameter enters.
    columns : (C,) columns of the data that have random coefficients; the others are ``plain``.
    plain : columns without, whose parameter is the slot with that ``column``.
    mixing : from indices to coefficients.
    features : L, how many person variables there are.
    """

    slots: tuple[Slot, ...]
    columns: tuple[int, ...]
    plain: tuple[int, ...]
    mixing: Mixing
    features: int


@dataclass(frozen=True, eq=False)
class _Part:
    """Hold the data of some persons: (n, T, J, K) differences to the chosen alternative; ``absent`` where P is 0."""

    D: Tensor
    absent: Tensor | None
    draws: Tensor
    W: Tensor | None
    weights: Tensor | None


@dataclass(frozen=True, eq=False)
class _State:
    """Hold what one pass finds: (n, R) weights of draws, (n, T, J, R) probabilities, (n,) values."""

    values: Tensor
    w: Tensor
    P: Tensor
    mixed: Coefficients


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Say of what the derivatives of utility are sums: a column times a factor for each piece.

    Attributes
    ----------
    columns, at : of the data, and which of the factors, by piece.
    keys : of the factors: coefficient, index, and the parameter that has the feature; -1 for none.
    members : (P, pieces) 1 where a piece belongs to a parameter.
    """

    columns: list[int]
    at: list[int]
    keys: list[tuple[int, int, int]]
    members: Tensor


_rooms = threading.local()


def _room(name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return a tensor to write to, whose memory this thread uses again: allocators part with big pieces reluctantly."""
    size = math.prod(shape)
    kept: dict[str, Tensor] = _rooms.__dict__
    key = f"{name} {like.dtype} {like.device}"
    if key not in kept or len(kept[key]) < size:
        kept[key] = like.new_empty(size)
    return kept[key][:size].view(shape)


class MixedLogitObjective(Objective):
    """Sum the simulated log-likelihoods of persons.

    Parameters
    ----------
    choices : situations sorted by person.
    ends : (N,) number of situations up to the end of each person.
    draws : gives the (D, n, R) standard draws of persons and the (R,) log-weights.
    W : (N, L) person variables, or None.
    """

    engine = "exact derivatives by draw, then matrix products"

    def __init__(
        self,
        choices: Choices,
        ends: Tensor,
        draws: PersonDraws,
        layout: Layout,
        W: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        self.choices, self.ends, self.draws, self.layout = choices, ends, draws, layout
        self.W, self.weights = W, weights
        self.rows, self.device, self.dtype = len(ends), choices.X.device, choices.X.dtype
        self.sizes = ends.diff(prepend=ends.new_zeros(1))
        mean = len(choices) / max(1, self.rows)
        width = (len(self._pieces.keys) + 4) * mean * choices.X.shape[1] * draws.number * choices.X.element_size()
        room = WORK_BYTES if self.device.type == "cpu" else 32 * WORK_BYTES
        self.chunk = max(1, int(room / width))

    def take(self, index: Tensor) -> MixedLogitObjective:
        """Return the objective of some of the persons, with the draws that they have."""
        rows, ends = rows_of_units(self.ends, index)
        W, weights = (None if t is None else t[index] for t in (self.W, self.weights))
        return MixedLogitObjective(self.choices.take(rows), ends, self.draws.take(index), self.layout, W, weights)

    def _part(self, start: int, stop: int) -> _Part:
        sizes, first = self.sizes[start:stop], int(self.ends[start - 1]) if start else 0
        part = self.choices.take(slice(first, int(self.ends[stop - 1])))
        D, available = part.differences(), part.available
        n, most = stop - start, int(sizes.max())
        shape = (n, most, *D.shape[1:])
        absent = None if available is None else ~available
        if len(D) == n * most:
            D = D.view(shape)
        else:  # persons with fewer situations get empty ones, in which the first alternative is chosen from one
            slot = torch.arange(most, device=self.device)
            there = slot < sizes[:, None]
            padded = D.new_zeros(shape)
            padded[there] = D
            D = padded
            missing = torch.ones(shape[:3], dtype=torch.bool, device=self.device)
            missing[:, :, 0] = False
            missing[there] = absent if absent is not None else False
            absent = missing
        W, weights = (None if t is None else t[start:stop] for t in (self.W, self.weights))
        return _Part(D, None if absent is None else absent.view(shape[:3]), self.draws.block(start, stop), W, weights)

    def _pass(self, working: Tensor, part: _Part, order: int) -> _State:
        """Return the log-likelihoods of persons, the weights of their draws and the probabilities."""
        layout = self.layout
        mixed = mix(layout.mixing, self._indices(working, part), part.draws, order)
        n, T, J, _ = part.D.shape
        random = part.D[..., list(layout.columns)].view(n, T * J, -1)
        beta = mixed.beta.detach().transpose(0, 1)
        V = torch.bmm(random, beta, out=_room("V", (n, T * J, beta.shape[2]), beta))
        if layout.plain:
            own = torch.stack([working[p] for p, slot in enumerate(layout.slots) if slot.column >= 0])
            V += (part.D[..., list(layout.plain)] @ own).view(n, T * J, 1)
        V = V.view(n, T, J, -1)
        if part.absent is not None:
            V.masked_fill_(part.absent[..., None], -torch.inf)
        top = V.amax(2, keepdim=True)
        P = V.sub_(top).exp_()
        total = P.sum(2, keepdim=True)
        each = -(top + total.log())[:, :, 0].sum(1) + self.draws.log_weights
        P.div_(total)
        values = torch.logsumexp(each, 1)
        return _State(values, torch.exp(each - values[:, None]), P, mixed)

    def _indices(self, working: Tensor, part: _Part) -> Tensor:
        """Return the (Q, n, R) indices."""
        n, R = part.D.shape[0], part.draws.shape[2]
        L, Q, count = self.layout.features, self.layout.mixing.indices, part.draws.shape[0]
        theta = working.new_zeros(Q, 1 + L + count)
        for p, slot in enumerate(self.layout.slots):
            if slot.column < 0:
                theta[slot.index, slot.feature] += working[p]
        mean = theta[:, :1].expand(Q, n)
        if part.W is not None:
            mean = mean + theta[:, 1 : 1 + L] @ part.W.mT
        spread = theta[:, 1 + L :] @ part.draws.reshape(count, -1)
        return spread.view(Q, n, R) + mean[:, :, None]

    def utilities(self, working: Tensor) -> Tensor:
        """Return the (S, J) utilities at the first draw of each person."""
        layout, part = self.layout, self._part(0, self.rows)
        beta = mix(layout.mixing, self._indices(working, part), part.draws, 0).beta[:, :, 0].mT
        random = self.choices.X[:, :, list(layout.columns)]
        V = (random * torch.repeat_interleave(beta, self.sizes, 0)[:, None]).sum(2)
        if layout.plain:
            own = torch.stack([working[p] for p, slot in enumerate(layout.slots) if slot.column >= 0])
            V = V + self.choices.X[:, :, list(layout.plain)] @ own
        return V

    def _feature(self, part: _Part, feature: int) -> Tensor | None:
        """Return what multiplies a parameter in its index, (n, 1) or (n, R), or None for 1."""
        if feature == 0:
            return None
        if feature <= self.layout.features:
            assert part.W is not None
            return part.W[:, feature - 1, None]
        return part.draws[feature - 1 - self.layout.features]

    def _gradients(self, part: _Part, state: _State) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """Return (P, n, R) derivatives of log-probabilities, (n, T, K, R) mean attributes and the features."""
        n, T, J, K = part.D.shape
        P = state.P.view(n * T, J, -1)
        room = _room("mean", (n * T, K, P.shape[2]), P)
        mean = torch.bmm(part.D.view(n * T, J, K).mT, P, out=room).view(n, T, K, -1)
        by_column = -mean.sum(1)
        slopes = state.mixed.slopes
        assert slopes is not None
        own = by_column[:, list(self.layout.columns)].transpose(0, 1)
        by_index = own * slopes if state.mixed.diagonal else (own[:, None] * slopes).sum(0)
        features = [None if s.column >= 0 else self._feature(part, s.feature) for s in self.layout.slots]
        g = _room("g", (len(self.layout.slots), n, by_column.shape[2]), by_column)
        for p, (slot, phi) in enumerate(zip(self.layout.slots, features, strict=True)):
            base = by_column[:, slot.column] if slot.column >= 0 else by_index[slot.index]
            torch.mul(base, 1.0 if phi is None else phi, out=g[p])
        return g, mean, features

    def row_values(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the log-likelihoods of some persons."""
        return self._pass(working.detach(), self._part(start, stop), 0).values

    def row_scores(self, working: Tensor, start: int, stop: int) -> Tensor:
        """Return the scores of some persons."""
        part = self._part(start, stop)
        state = self._pass(working.detach(), part, 1)
        g, _, _ = self._gradients(part, state)
        return torch.einsum("pnr,nr->np", g, state.w)

    def derivatives(self, working: Tensor, start: int, stop: int, order: int) -> Chunk:
        """Return weighted sums over some persons."""
        with torch.no_grad():
            part = self._part(start, stop)
            state = self._pass(working.detach(), part, order)
            total = state.values.sum() if part.weights is None else state.values @ part.weights
            if order == 0:
                return Chunk(total, None, None)
            g, mean, features = self._gradients(part, state)
            w = state.w if part.weights is None else state.w * part.weights[:, None]
            scores = (g * state.w).sum(2)
            gradient = scores.sum(1) if part.weights is None else scores @ part.weights
            if order == 1:
                return Chunk(total, gradient, None)
            hessian = self._within(part, state, mean, features, w)
            spread = (g * w.sqrt()).flatten(1)
            hessian = spread @ spread.mT - hessian
            hessian -= scores @ (scores if part.weights is None else scores * part.weights).mT
            bent = state.mixed.curvature(-mean.sum(1)[:, list(self.layout.columns)].transpose(0, 1))
            if bent is not None:
                self._add_curvature(hessian, bent * w, features)
            return Chunk(total, gradient, hessian)

    def _within(self, part: _Part, state: _State, mean: Tensor, features: Sequence[Tensor | None], w: Tensor) -> Tensor:
        """Return ``sum w P (D - Dbar)(D - Dbar)'`` over persons, draws, situations and alternatives.

        ``D`` is made of data, which no draw changes, and of factors tau, which no alternative changes: moments
        ``sum_r w P tau tau'`` of the few different factors come first, products with the data after.
        """
        n, T, J, R = state.P.shape
        pieces = self._pieces
        tau = torch.stack([self._factor(state, features, key, w) for key in pieces.keys], 1)
        F, P = len(pieces.keys), state.P.mul_(w[:, None, None, :]).view(n, T * J, 1, R)
        weighted = torch.mul(P, tau[:, None], out=_room("weighted", (n, T * J, F, R), P))
        moments = torch.bmm(weighted.view(n, -1, R), tau.mT).view(n * T * J, F, F)
        X = part.D[..., pieces.columns].flatten(0, 2)
        whole = (moments[:, pieces.at][:, :, pieces.at] * X[:, :, None] * X[:, None, :]).sum(0)
        Z, rooted = len(pieces.columns), tau * w.sqrt()[:, None]
        middle = _room("middle", (Z, n, T, R), P)
        for z, (k, f) in enumerate(zip(pieces.columns, pieces.at, strict=True)):
            torch.mul(mean[:, :, k], rooted[:, None, f], out=middle[z])
        flat = middle.view(Z, -1)
        return pieces.members @ (whole - flat @ flat.mT) @ pieces.members.mT

    @cached_property
    def _pieces(self) -> _Pieces:
        """Return how the derivatives of utility are made of columns and factors."""
        layout, keys = self.layout, dict[tuple[int, int, int], int]()
        rows = []
        for p, slot in enumerate(layout.slots):
            if slot.column >= 0:
                rows.append((p, slot.column, (-1, -1, -1)))
                continue
            for c in layout.mixing.touched(slot.index):
                own = (c, slot.index) if slot.index not in layout.mixing.unit else (-1, -1)
                phi = p if slot.feature else -1
                rows.append((p, layout.columns[c], (*own, phi)))
        for _, _, key in rows:
            keys.setdefault(self._same(key), len(keys))
        members = torch.zeros(len(layout.slots), len(rows), dtype=self.dtype, device=self.device)
        members[[p for p, _, _ in rows], list(range(len(rows)))] = 1.0
        return _Pieces([k for _, k, _ in rows], [keys[self._same(key)] for _, _, key in rows], list(keys), members)

    def _same(self, key: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return a key with the first of the parameters that have the same feature."""
        c, q, phi = key
        if phi < 0:
            return key
        feature = self.layout.slots[phi].feature
        return c, q, next(p for p, s in enumerate(self.layout.slots) if s.column < 0 and s.feature == feature)

    def _factor(self, state: _State, features: Sequence[Tensor | None], key: tuple[int, int, int], w: Tensor) -> Tensor:
        """Return (n, R) slopes of a coefficient in an index, times a feature."""
        c, q, p = key
        slopes, phi = state.mixed.slopes, features[p] if p >= 0 else None
        assert slopes is not None
        if q < 0:
            return torch.ones_like(w) if phi is None else phi.expand_as(w)
        slope = slopes[q] if state.mixed.diagonal else slopes[c, q]
        return slope if phi is None else slope * phi

    def _add_curvature(self, hessian: Tensor, bent: Tensor, features: Sequence[Tensor | None]) -> None:
        """Add ``sum bent_qq' phi_f phi_f'`` for the parameters of indices q and q'."""
        slots = self.layout.slots
        for a, first in enumerate(slots):
            for b in range(a, len(slots)):
                second = slots[b]
                if min(first.index, second.index) < 0 or (bent.ndim == 3 and first.index != second.index):
                    continue
                term = bent[first.index] if bent.ndim == 3 else bent[first.index, second.index]
                for phi in (features[a], features[b]):
                    term = term if phi is None else term * phi
                value = term.sum()
                hessian[a, b] += value
                if a != b:
                    hessian[b, a] += value
