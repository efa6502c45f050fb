"""Fix parameters and impose linear equations on them, as a linear map from fewer free ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.formula import plain_message
from ..errors import OptionError, unknown
from .map import ParamMap

REDUNDANT = 1e-10
"""Singular value of the scaled equations below which one of them says nothing new."""


def constrain(
    pmap: ParamMap, fixed: Mapping[str, float] | None, constraints: Any, may_hold_all: bool = False
) -> ParamMap:
    """Return the map under constraints: ``R link = q`` leaves the parameters a line, a plane, ... to move in.

    Parameters
    ----------
    fixed : reported name to value, in reported units.
    constraints : equations such as ``"x1 = x2"`` or ``"2*a + b = 1"``, a string or a list of them; names that are no
        words go in backticks. They speak of coefficients, not of transformed parameters such as ``sigma``.
    may_hold_all : whether they may leave nothing free.

    Raises
    ------
    OptionError
        For unknown names, values that are not finite, and equations that contradict each other or leave nothing free.
    """
    if not fixed and constraints is None:
        return pmap
    rows, values = _equations(pmap, constraints)
    held = {}
    for name, value in (fixed or {}).items():
        row, target = _fixed(pmap, name, value)
        rows.append(row)
        values.append(target)
        held[pmap.names.index(name)] = float(target)
    R, q = inner_rows(pmap, torch.stack(rows), torch.stack(values))
    found = _solve(pmap, R, q)
    if found.free == 0 and not may_hold_all:
        raise OptionError(
            "The constraints leave no parameter free; use model.loglike(params) to evaluate the likelihood."
        )
    return replace(found, held=held)


def inner_rows(pmap: ParamMap, rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows and values over the inner parameters for such over the K link-scale ones.

    A transformed parameter stands alone in its row, with its value in its own units.
    """
    curve = pmap.curve
    if curve is None:
        return (rows if pmap.uncentre is None else rows @ pmap.uncentre), values
    out = torch.zeros(len(rows), len(pmap.scale), dtype=torch.float64, device="cpu")
    moved = values.clone()
    for r, i in rows.nonzero().tolist():
        position = curve.position(i)
        assert position is not None
        out[r, position] = rows[r, i]
        if i not in curve.plain:
            moved[r] = curve.piece(i).transform.to_free(values[r][None], [pmap.names[i]])[0]
    return out, moved


def _fixed(pmap: ParamMap, name: str, value: Any) -> tuple[Tensor, Tensor]:
    if name not in pmap.names:
        raise OptionError(unknown("parameter in fixed:", name, pmap.names))
    try:
        target = torch.tensor(float(value), dtype=torch.float64, device="cpu")
    except (TypeError, ValueError) as error:
        raise OptionError(f"fixed[{name!r}] is {value!r}; it must be a number.") from error
    if not bool(torch.isfinite(target)):
        raise OptionError(f"fixed[{name!r}] = {value} must be finite.")
    position = pmap.names.index(name)
    refuse_blocks(pmap, position, f"fixed={{{name!r}: ...}}")
    if position in pmap.naturals:
        target = pmap.naturals[position].to_link(target)
    row = torch.zeros(len(pmap.names), dtype=torch.float64, device="cpu")
    row[position] = 1.0
    return row, target


def _equations(pmap: ParamMap, constraints: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Return the rows and right-hand sides of linear equations written as text."""
    if constraints is None:
        return [], []
    from formulaic.errors import FormulaicError
    from formulaic.utils.constraints import LinearConstraints

    texts = [constraints] if isinstance(constraints, str) else constraints
    if not isinstance(texts, Sequence) or not all(isinstance(t, str) for t in texts):
        raise OptionError(f"constraints is {constraints!r}; it must be text such as 'x1 = x2', or a list of such.")
    rows: list[Tensor] = []
    values: list[Tensor] = []
    for text in texts:
        try:
            plain = re.sub(r"=\s*([+-])", r"= 0 \1", _quoted(text, pmap.names))  # formulaic reads "= -" as one operator
            read = LinearConstraints.from_spec(plain, variable_names=list(pmap.names))
        except KeyError as error:
            raise OptionError(unknown(f"parameter in the constraint {text!r}:", error.args[0], pmap.names)) from error
        except (FormulaicError, ValueError, TypeError, RuntimeError) as error:
            raise OptionError(
                f"Cannot read the constraint {text!r}: {plain_message(error)} Write 'x1 = x2' or '2*a + b = 1'."
            ) from error
        matrix = np.asarray(read.constraint_matrix, dtype=np.float64)
        if not len(matrix):
            raise OptionError(f"There is no equation in the constraint {text!r}. Write 'x1 = x2' or '2*a + b = 1'.")
        for row, value in zip(matrix, np.asarray(read.constraint_values, dtype=np.float64), strict=True):
            _refuse_naturals(pmap, row, text)
            rows.append(torch.from_numpy(row.copy()))
            values.append(torch.tensor(float(value), dtype=torch.float64, device="cpu"))
    return rows, values


def _quoted(text: str, names: Sequence[str]) -> str:
    """Return the text with backticks around names such as ``car:income``, in which a colon is an operator otherwise."""
    odd = sorted((n for n in names if re.fullmatch(r"[\w.]+(:[\w.]+)+", n)), key=len, reverse=True)
    if not odd:
        return text
    pattern = rf"`[^`]*`|(?<![\w.:])(?:{'|'.join(map(re.escape, odd))})(?![\w.:])"
    return re.sub(pattern, lambda m: m[0] if m[0].startswith("`") else f"`{m[0]}`", text)


def refuse_blocks(pmap: ParamMap, position: int, what: str) -> None:
    """Refuse to move one parameter of a block whose members move together."""
    if pmap.curve is not None and pmap.curve.position(position) is None:
        transform = pmap.curve.piece(position).transform
        raise OptionError(
            f"{what} is not possible: {pmap.names[position]!r} belongs to a block of {transform.range}, which move "
            "together. Write the restricted block into the likelihood instead."
        )


def _refuse_naturals(pmap: ParamMap, row: np.ndarray[Any, Any], text: str) -> None:
    if pmap.curve is not None:
        for position in np.flatnonzero(row).tolist():
            if position not in pmap.curve.plain:
                raise OptionError(
                    f"The constraint {text!r} involves {pmap.names[position]!r}, which a transform keeps in its range. "
                    "Linear constraints are for untransformed parameters; fixed= holds a single one."
                )
    for i, natural in pmap.naturals.items():
        if row[i] != 0:
            raise OptionError(
                f"The constraint {text!r} involves {natural.name!r}, which is not a coefficient. "
                f"Use fixed={{{natural.name!r}: value}} to hold it at a value."
            )


def _solve(pmap: ParamMap, R: Tensor, q: Tensor) -> ParamMap:
    """Return the map whose free parameters span the solutions of ``R inner = q``, in comparable units."""
    if bool((R.abs().amax(1) == 0).any()):
        raise OptionError("A constraint involves no parameter: both of its sides are the same.")
    R = R / pmap.scale
    norms = R.norm(dim=1)
    R, q = R / norms[:, None], q / norms
    U, singular, Vt = torch.linalg.svd(R, full_matrices=True)
    rank = int((singular > REDUNDANT).sum())
    origin = Vt[:rank].mT @ ((U.mT @ q)[:rank] / singular[:rank])
    if float((R @ origin - q).abs().max()) > 1e-9 * (1 + float(q.abs().max())):
        raise OptionError("The constraints contradict each other: no parameter values satisfy them all.")
    return replace(pmap, basis=Vt[rank:].mT.clone(), origin=origin)
