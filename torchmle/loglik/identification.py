"""Say which combinations of parameters the information holds, how firmly, and which it does not.

The information is judged in units that the data themselves set: a slope in units of its column's spread, against what
the best informed slope of the same predictor holds; the constants are swept out first, so that the origins of the
columns do not matter either. In these units the eigenvalues are numbers between 0 and about the number of parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ..linalg import symmetric

WEAK = 1e-8
"""Strength below which a direction is weak: columns nearer than 1e-4 of their spread, half the digits of an error."""

MEMBER = 0.1
"""Share of the largest one, in comparable units, from which a parameter is named."""


def rounding(parameters: int, dtype: torch.dtype = torch.float64) -> float:
    """Return the strength that is rounding of the information: below it a direction is flat."""
    return 450 * torch.finfo(dtype).eps * parameters


@dataclass(frozen=True)
class Direction:
    """Hold one direction in the space of the parameters.

    Attributes
    ----------
    strength : information along it, free of units; zero or negative where the log-likelihood is flat or not concave.
    verdict : ``"flat"``, ``"weak"`` or ``"fine"``.
    weights : how much each parameter of it changes, in the user's units, the leading one by 1; those of parameters
        like ``sigma`` are on the scale of the predictor (``log_sigma``).
    cause : why it is not fine, in words.
    """

    strength: float
    verdict: str
    weights: Mapping[str, float]
    cause: str = ""

    def __str__(self) -> str:
        what = ", ".join(f"{name} ({weight:.4g})" for name, weight in self.weights.items())
        return f"{self.verdict} (strength {self.strength:.1e}): {what}" + (
            f". Cause: {self.cause}" if self.cause else ""
        )


@dataclass(frozen=True)
class Identification:
    """Hold all directions, the weakest first."""

    directions: tuple[Direction, ...]

    @property
    def verdict(self) -> str:
        """Return the verdict of the weakest direction."""
        return self.directions[0].verdict if self.directions else "fine"

    @property
    def table(self) -> pd.DataFrame:
        """Return a row a direction: strength, verdict, the parameters with their weights, the cause."""
        rows = [
            {"strength": d.strength, "verdict": d.verdict, "parameters": dict(d.weights), "cause": d.cause}
            for d in self.directions
        ]
        return pd.DataFrame(rows, columns=["strength", "verdict", "parameters", "cause"])

    def __str__(self) -> str:
        poor = [d for d in self.directions if d.verdict != "fine"]
        if not poor:
            least = f" (the weakest has strength {self.directions[0].strength:.1e})" if self.directions else ""
            return f"All {len(self.directions)} directions are identified{least}."
        head = f"{len(poor)} of {len(self.directions)} directions are not, or hardly, identified:"
        return "\n".join([head, *(f"  {d}" for d in poor)])


@dataclass(frozen=True)
class Block:
    """Hold the positions of one predictor's coefficients, and of its constant among them."""

    positions: tuple[int, ...]
    constant: int | None


def spectrum(
    information: Tensor, blocks: Sequence[Block], sizes: Tensor, least: Mapping[int, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return strengths (ascending), directions (columns, in the parameters given) and their shares by parameter.

    Parameters
    ----------
    information : (F, F), minus the Hessian.
    blocks : coefficients of predictors; other parameters are judged by their own information alone.
    sizes : (F,) spread of the column of each coefficient in the units of the information, 1 for other parameters.
    least : by position, the information below which a parameter without units is badly informed.
    """
    constants = [b.constant for b in blocks if b.constant is not None]
    size = information.diagonal().abs().sqrt()
    first = torch.where(size > 0, size, torch.ones_like(size))  # so that nothing overflows where a scale runs to zero
    information, sizes = information / first[:, None] / first, sizes / first
    least = {j: value / float(first[j]) ** 2 for j, value in least.items()}
    sweep = _sweep(information, constants)
    swept = symmetric(sweep.mT @ information @ sweep)
    if constants:  # by the sweep these are zero; what is left is rounding
        rest = [j for j in range(len(swept)) if j not in constants]
        for c in constants:
            swept[c, rest] = swept[rest, c] = 0.0
    inside = {j for b in blocks for j in b.positions}
    held = swept.diagonal().clone()
    for j in set(range(len(held))) - inside:  # what a constant leaves of another parameter may be rounding
        held[j] = information[j, j]
    unit = _units(held, blocks, sizes, least)
    values, vectors = torch.linalg.eigh(swept / torch.outer(unit, unit))
    moves = sweep @ (vectors / unit[:, None])
    shares = _shares(vectors, moves, (size > 0).double(), blocks, constants)
    return values, moves / first[:, None], shares / shares.amax(0)


def _shares(vectors: Tensor, moves: Tensor, size: Tensor, blocks: Sequence[Block], constants: Sequence[int]) -> Tensor:
    """Return how large a part of each direction each parameter is.

    Constants make up for what others do; they are part of a direction with parameters that belong to no column.
    """
    inside = {j for b in blocks for j in b.positions}
    loose = [j for j in range(len(size)) if j not in inside]
    plain = moves.abs() * size[:, None]
    shares = vectors.abs().clone()
    shares[loose] = torch.where(size[loose, None] > 0, plain[loose], shares[loose])
    if loose and constants:
        joined = shares[loose].amax(0) >= MEMBER * shares.amax(0)
        shares[constants] = torch.where(joined, plain[constants], shares[constants])
    return shares


def _sweep(information: Tensor, constants: Sequence[int]) -> Tensor:
    """Return the change of parameters that takes what the constants explain out of all others."""
    sweep = torch.eye(len(information), dtype=torch.float64)
    held = [c for c in constants if float(information[c, c]) > 0]
    rest = [j for j in range(len(information)) if j not in constants]
    if held and rest:
        block = information[held][:, held]
        factor, info = torch.linalg.cholesky_ex(symmetric(block))
        if not int(info):
            sweep[torch.tensor(held)[:, None], torch.tensor(rest)] = -torch.cholesky_solve(
                information[held][:, rest], factor
            )
    return sweep


def _units(diagonal: Tensor, blocks: Sequence[Block], sizes: Tensor, least: Mapping[int, float]) -> Tensor:
    """Return the root of the information that each parameter would have if it were well informed."""
    reference = diagonal.abs().clone()
    for block in blocks:
        at = torch.tensor(block.positions)
        best = (diagonal[at].abs() / sizes[at].square()).max()
        reference[at] = best * sizes[at].square()
    for position, value in least.items():
        reference[position] = max(float(reference[position]), value)
    return torch.where(reference > 0, reference, torch.ones_like(reference)).sqrt()


def distance(X: Tensor, weights: Tensor, centred: bool) -> float:
    """Return how far a combination of columns moves the rows, relative to the largest of its terms.

    It is computed row by row, and so sees differences of 1e-15 where the information, which squares them, sees 1e-7.
    """
    terms = X.double().cpu() * weights
    terms = terms - terms[:1] if centred else terms
    if centred:
        terms = terms - terms.mean(0)
    largest = float(terms.square().mean(0).max()) ** 0.5
    return float(terms.sum(1).square().mean()) ** 0.5 / largest if largest > 0 else 0.0


def proportion(names: Sequence[str], weights: Sequence[float], values: Sequence[float]) -> str:
    """Return in words by which combination alone some parameters enter, from a flat direction and their values."""
    a = torch.tensor(list(weights), dtype=torch.float64)
    rates = a / torch.tensor([v if v != 0 else float("nan") for v in values], dtype=torch.float64)
    if len(a) == 2:
        cases = {"their sum": (a[0], -a[1]), "their difference": (a[0], a[1])}
        cases |= {"their product": (rates[0], -rates[1]), "their ratio": (rates[0], rates[1])}
        return next((words for words, pair in cases.items() if _same(*pair)), "a combination")
    for odd, name in enumerate(names):
        others = [r for i, r in enumerate(rates) if i != odd]
        if all(_same(others[0], r) for r in others):
            if _same(others[0], rates[odd]):
                return "their ratios: a common factor of all changes nothing"
            return f"a combination: {name} undoes a common factor of the others"
    return "a combination"


def _same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs() <= 1e-4 * torch.maximum(a.abs(), b.abs()))
