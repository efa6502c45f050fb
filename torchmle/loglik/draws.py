"""Say how an integral over random coefficients is simulated: the kinds of draws, keyed by person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import OptionError, SimulationWarning, warn
from .drawoptions import KINDS, chosen, seeded, whole
from .sequences import HALTON_RESOLUTION, SOBOL_BITS, halton, primes, sobol
from .streams import SMALLEST, latin_uniforms, random_uniforms, stream

_PLAIN_DIMS = 10
_MOST_POINTS = 100_000
_SOBOL_DIMS = torch.quasirandom.SobolEngine.MAXDIM
_TABLES = 2**63  # keys of the generators of permutations and shifts lie above those of persons


@dataclass(frozen=True)
class Draws:
    """Say how the integral over random coefficients is simulated.

    The draws of a person go by the person's number and nothing else: chunks, their order, devices and shards see the
    same. They are made in float64 on the CPU.

    Parameters
    ----------
    kind : ``"halton"`` (Halton 1960; Bhat 2001; Train 2009, section 9.3.3), ``"sobol"``, ``"mlhs"`` (Hess, Train and
        Polak 2006), ``"random"`` (Philox, a stream a person), or ``"gauss_hermite"``: a product rule that replaces
        draws of normal coefficients, for one or two of them.
    number : draws a person, 500 unless told and 512 for Sobol; for Gauss-Hermite nodes a dimension, 30.
    seed : of the generator or the scramble. The plain Halton and Sobol sequences and Gauss-Hermite have none.
    antithetic : whether the second half of a person's draws is ``1 - u`` of the first, so that the normals have mean 0.
    scramble : Halton: True for random permutations of the digits (Owen 2017), ``"shift"`` for a random shift of each
        dimension modulo 1 (Bhat 2003), False for the plain sequence. Sobol: True for Matousek's random linear scramble
        with a digital shift, False for the plain sequence in cells of 2**-30, each number the middle of its cell.
    skip : Halton: how many elements are left out at the start, 100 unless told.
    leap : Halton: take every ``leap``-th element (Kocis and Whiten 1997); no multiple of a base that is used.

    Person i (0, 1, ...) takes the elements ``skip + leap (i number + r) + 1`` of Halton's sequences (the first is 1/2,
    1/3, 1/5, ...) and ``i number + r`` of Sobol's (from 0), r = 0..number - 1; half as many where antithetic.

    Raises
    ------
    OptionError : for an unknown kind, and for an option that the kind does not have.

    Example
    -------
    >>> plain = Draws("halton", 3, scramble=False, skip=0)
    >>> plain.uniforms(range(1), dims=2)
    tensor([[[0.5000, 0.3333],
             [0.2500, 0.6667],
             [0.7500, 0.1111]]], dtype=torch.float64)
    >>> Draws("sobol", 1024, seed=7).describe()
    '1024 scrambled Sobol draws a person, seed 7'
    """

    kind: str = "halton"
    number: int = None  # type: ignore[assignment]  # None stands for the default of the kind
    seed: int = 0
    antithetic: bool = False
    scramble: bool | str | None = None
    skip: int | None = None
    leap: int | None = None

    def __post_init__(self) -> None:
        for name, value in chosen({field.name: getattr(self, field.name) for field in fields(self)}).items():
            object.__setattr__(self, name, value)

    def points(self, dims: int) -> int:
        """Return how many points a person has in ``dims`` dimensions: ``number``, or nodes of the product rule."""
        self._check_dims(dims)
        return int(self.number**dims) if self.kind == "gauss_hermite" else self.number

    def uniforms(self, persons: range | Sequence[int] | Tensor, dims: int) -> Tensor:
        """Return (persons, number, dims) uniforms, all inside (0, 1), float64.

        ``persons``: their numbers, from 0. ``dims``: how many random coefficients.
        """
        if self.kind == "gauss_hermite":
            raise OptionError(
                "kind='gauss_hermite' integrates over normal coefficients only; these need uniform draws. "
                "Use kind 'halton', 'sobol', 'mlhs' or 'random'."
            )
        self._check_dims(dims)
        who = _persons(persons)
        self._warn(dims)
        count = self.number // 2 if self.antithetic else self.number
        u = _RULES[self.kind](self, who, dims, count)
        if self.antithetic:
            u = np.concatenate([u, 1 - u], axis=2)
        return torch.from_numpy(u).permute(1, 2, 0)

    def normals(self, persons: range | Sequence[int] | Tensor, dims: int) -> Tensor:
        """Return (persons, points, dims) standard normals by the inverse of the distribution function, float64.

        With Gauss-Hermite the nodes, the same for every person; see ``log_weights``.
        """
        if self.kind == "gauss_hermite":
            self._check_dims(dims)
            nodes = _hermite(self.number)[0]
            grid = torch.cartesian_prod(*[nodes] * dims).reshape(-1, dims)
            return grid.expand(len(_persons(persons)), -1, -1)
        u = self.uniforms(persons, dims)
        found: Tensor = torch.special.ndtri(u, out=u)
        return found

    def log_weights(self, dims: int) -> Tensor:
        """Return the (points,) logarithms of the weights, the same for every person; the weights add up to 1."""
        points = self.points(dims)
        if self.kind != "gauss_hermite":
            return torch.full((points,), -float(np.log(points)), dtype=torch.float64)
        logs = _hermite(self.number)[1]
        return torch.cartesian_prod(*[logs] * dims).reshape(-1, dims).sum(1)

    def describe(self, who: str = "person") -> str:
        """Return the draws in words, as a summary or a record has them; ``who`` is what has draws of its own."""
        if self.kind == "gauss_hermite":
            return f"Gauss-Hermite quadrature, {self.number} nodes a dimension"
        scrambled = {True: "scrambled ", "shift": "shifted "}.get(self.scramble or "", "")
        words = [f"{self.number} {'antithetic ' * self.antithetic}{scrambled}{KINDS[self.kind]} draws a {who}"]
        words += [f"{n} {v}" for n, v in (("skip", self.skip), ("leap", self.leap)) if v is not None and v != 1]
        return ", ".join(words + [f"seed {self.seed}"] * seeded(self.kind, self.scramble))

    def _check_dims(self, dims: int) -> None:
        whole("dims", dims, 1)
        if self.kind == "gauss_hermite" and self.number**dims > _MOST_POINTS:
            raise OptionError(
                f"Gauss-Hermite with {self.number} nodes in {dims} dimensions has {self.number**dims:,} points; "
                f"at most {_MOST_POINTS:,} are taken. Ask for fewer nodes, or for draws: Draws('halton', 1000)."
            )
        if self.kind == "sobol" and dims > _SOBOL_DIMS:
            raise OptionError(f"Sobol sequences have at most {_SOBOL_DIMS} dimensions, not {dims}.")
        if self.leap is not None and self.leap > 1 and any(self.leap % base == 0 for base in primes(dims)):
            raise OptionError(
                f"leap={self.leap} is a multiple of one of the bases {primes(dims)} of these {dims} dimensions, whose "
                "elements would then never leave part of (0, 1). Take a prime above them, such as 409."
            )

    def _warn(self, dims: int) -> None:
        if self.kind == "halton" and self.scramble is not True and dims > _PLAIN_DIMS:
            warn(
                f"Halton draws without permuted digits in {dims} dimensions: beyond {_PLAIN_DIMS}, dimensions are more "
                f"correlated within the {self.number} draws of a person than pseudo-random ones (with 500 draws the "
                "worst pair among 15 has 0.17, pseudo-random draws 0.04). Use scramble=True, or kind='sobol'.",
                SimulationWarning,
            )


def read_draws(given: Any, default: Draws) -> Draws:
    """Return the draws that an argument ``draws=`` stands for: Draws, a number of Halton draws, or None."""
    if given is None:
        return default
    if isinstance(given, Draws):
        return given
    if isinstance(given, int) and not isinstance(given, bool):
        return Draws(number=given)
    raise OptionError(f"draws={given!r} must be a whole number or tm.Draws(kind, number, seed=...).")


def _persons(persons: range | Sequence[int] | Tensor) -> NDArray[np.int64]:
    """Return the numbers of persons, checked."""
    if isinstance(persons, range):
        who: NDArray[Any] = np.arange(persons.start, persons.stop, persons.step)
    else:
        who = persons.detach().cpu().numpy() if isinstance(persons, Tensor) else np.asarray(persons)
    if who.ndim != 1 or (who.size and who.dtype.kind not in "iu"):
        raise OptionError(f"Persons are whole numbers in one dimension, not {who.dtype} of shape {who.shape}.")
    if who.size and who.min() < 0:
        raise OptionError(f"Persons are numbered from 0; {who.min()} was asked for.")
    return who.astype(np.int64, copy=False)


def _check_end(draws: Draws, who: NDArray[np.int64], count: int, skip: int, leap: int, length: int) -> None:
    """Refuse persons whose elements lie beyond the end of the sequence, of which ``skip`` are left out."""
    last = skip + leap * ((int(who.max(initial=0)) + 1) * count - 1)
    if last >= length:
        raise OptionError(
            f"{draws.describe()}: person {who.max():,} needs element {last:,} and there are {length:,}. "
            "Use fewer draws, or kind 'random' or 'mlhs'."
        )


def _random(draws: Draws, who: NDArray[np.int64], dims: int, count: int) -> NDArray[np.float64]:
    return np.moveaxis(random_uniforms(draws.seed, who, dims * count).reshape(len(who), dims, count), 1, 0)


def _latin(draws: Draws, who: NDArray[np.int64], dims: int, count: int) -> NDArray[np.float64]:
    return np.moveaxis(latin_uniforms(draws.seed, who, dims, count), 1, 0)


def _halton(draws: Draws, who: NDArray[np.int64], dims: int, count: int) -> NDArray[np.float64]:
    skip, leap = draws.skip or 0, draws.leap or 1
    _check_end(draws, who, count, skip + 1, leap, HALTON_RESOLUTION)  # element 0 is 0 in each base
    start = skip + leap * who * count + 1
    found = np.empty((dims, len(who), count))
    for d, base in enumerate(primes(dims)):
        key = (draws.seed, _TABLES + d)
        found[d] = halton(base, count, key if draws.scramble is True else None).runs(start, count, leap)
        if draws.scramble == "shift":
            found[d] += stream(*key).random()
            found[d] -= found[d] >= 1
            np.maximum(found[d], SMALLEST, out=found[d])
    return found


def _sobol(draws: Draws, who: NDArray[np.int64], dims: int, count: int) -> NDArray[np.float64]:
    _check_end(draws, who, count, 0, 1, 2**SOBOL_BITS)
    sequences, shifts = sobol(dims, count, draws.seed if draws.scramble else None)
    found = np.empty((dims, len(who), count))
    for d, (sequence, shift) in enumerate(zip(sequences, shifts, strict=True)):
        np.add(sequence.runs(who * count, count) ^ shift, 0.5, out=found[d])
        found[d] *= 2.0**-SOBOL_BITS
    return found


_RULES = {"random": _random, "mlhs": _latin, "halton": _halton, "sobol": _sobol}


def _hermite(number: int) -> tuple[Tensor, Tensor]:
    """Return nodes and log-weights of the rule for a standard normal variable."""
    from scipy.special import roots_hermitenorm

    nodes, weights = roots_hermitenorm(number)
    return torch.as_tensor(nodes), torch.as_tensor(np.log(weights / weights.sum()))
