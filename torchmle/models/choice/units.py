"""Bring choice situations to units of observation: a situation, or all those of a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.batch import ModelData
from ...data.choice import ChoiceData, ChoiceDesign
from ...data.extras import ExtraInputs, Weights, named_inputs, read_extras
from ...data.groups import encode
from ...data.rows import Rows
from ...errors import DataError, OptionError, listing, unknown
from ...linalg import all_finite

LAYOUT = ("alternatives", "situations", "persons", "available")
"""Columns that say who chose what."""


@dataclass(frozen=True)
class UnitExtras:
    """Hold what stands beside the choices: values by situation, or column names."""

    freq_weights: Any = None
    sampling_weights: Any = None
    groups: Any = None


def read_table(choice: str | None, data: Any, layout: tuple[Any, ...], missing: str) -> ChoiceData:
    """Return the choice data of a long table, or those given; ``layout`` is what :data:`LAYOUT` names."""
    given = dict(zip(LAYOUT, layout, strict=True))
    if isinstance(data, ChoiceData):
        twice = [name for name, value in given.items() if value is not None]
        if twice:
            raise OptionError(f"{listing(twice)} cannot be given with ChoiceData, which know them. Leave them out.")
        return data
    if given["alternatives"] is None:
        raise OptionError(
            "alternatives=... must name the column that says which alternative a row of the long table is. Wide "
            "tables: data = tm.ChoiceData.from_wide(...)."
        )
    return ChoiceData.from_long(data, choice=choice, missing=missing, **given)


def array_design(
    endog: Any,
    exog: Any,
    names: Sequence[str] | None,
    available: Any,
    persons: Any,
    device: torch.device,
    dtype: torch.dtype,
) -> ChoiceDesign:
    """Return the design of arrays; see :class:`ChoiceModel`."""
    X = (exog if isinstance(exog, Tensor) else _shared(exog)).to(device, dtype)
    if X.ndim != 3:
        raise DataError(f"exog has shape {tuple(X.shape)}; it must be (situations, alternatives, attributes).")
    S, J, K = X.shape
    chosen = _positions(endog, S, J).to(device)
    there = None
    if available is not None:
        there = (available if isinstance(available, Tensor) else torch.as_tensor(np.array(available))).to(device)
        if there.shape != (S, J):
            raise DataError(f"available has shape {tuple(there.shape)}; it must be {(S, J)}.")
        there = there.bool()
        gone = ~there.gather(1, chosen[:, None])[:, 0]
        if bool(gone.any()):
            raise DataError(
                f"The chosen alternative is not available in {int(gone.sum())} situations "
                f"(situation {int(gone.nonzero()[0])})."
            )
        X = X.masked_fill(~there[..., None], 0.0)
    if not all_finite(X):
        raise DataError(f"exog has {int((~torch.isfinite(X)).sum())} missing or infinite values where available.")
    terms = tuple(f"x{k + 1}" for k in range(K)) if names is None else tuple(str(n) for n in names)
    if len(terms) != K or len(set(terms)) != K:
        raise DataError(f"names has {len(set(terms))} distinct names for {K} attributes.")
    codes = np.arange(S) if persons is None else _lying_together(np.asarray(persons), S)
    return ChoiceDesign(terms, X, there, chosen, torch.from_numpy(codes).to(device), 0, None)


def read_labels(alternatives: Sequence[Any], exog: Any) -> tuple[Any, ...]:
    """Return labels of the alternatives, one each."""
    labels, shape = tuple(alternatives), tuple(exog.shape if isinstance(exog, Tensor) else np.shape(exog))
    if len(shape) == 3 and not len(labels) == len(set(labels)) == shape[1]:
        raise DataError(f"alternatives has {len(set(labels))} distinct labels; exog has {shape[1]} alternatives.")
    return labels


def positions_of(endog: Any, labels: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    """Return the positions of labels."""
    chosen = endog.tolist() if isinstance(endog, Tensor) else list(np.asarray(endog, dtype=object))
    place = {label: j for j, label in enumerate(labels)}
    for label in chosen:
        if label not in place:
            raise DataError(f"endog: {unknown('alternative', label, map(str, labels))}")
    return np.array([place[label] for label in chosen], dtype=np.int64)


def _shared(exog: Any) -> Tensor:
    """Return an array as a tensor, without a copy where its memory may be shared."""
    array = np.ascontiguousarray(exog)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _positions(endog: Any, situations: int, alternatives: int) -> Tensor:
    y = np.asarray(endog.detach().cpu() if isinstance(endog, Tensor) else endog)
    if y.shape != (situations,):
        raise DataError(
            f"endog has shape {y.shape}; it must give the chosen position in each of {situations} situations."
        )
    if y.dtype.kind not in "iub" and not (y.dtype.kind == "f" and np.equal(np.round(y), y).all()):
        raise DataError(f"endog holds {y[:3].tolist()}; it must hold positions 0 .. {alternatives - 1}.")
    if y.min() < 0 or y.max() >= alternatives:
        raise DataError(f"endog runs from {y.min()} to {y.max()}; positions are 0 .. {alternatives - 1}.")
    return torch.from_numpy(y.astype(np.int64))


def _lying_together(ids: np.ndarray[Any, Any], situations: int) -> np.ndarray[Any, Any]:
    if ids.shape != (situations,):
        raise DataError(f"persons has shape {ids.shape}; it must be ({situations},).")
    codes, _ = pd.factorize(ids)
    if (np.diff(codes) < 0).any():
        raise DataError("The situations of a person must lie together. Sort endog, exog and the others by persons.")
    return codes.astype(np.int64)


@dataclass(frozen=True, eq=False)
class UnitData:
    """Hold the units of observation in use.

    Attributes
    ----------
    data : weights, groups and labels of the units.
    ends : how many situations lie up to the end of each unit, or None if each is one.
    design : of the situations in use.
    kept : (S,) which of the situations given these are, or None for all.
    """

    data: ModelData
    ends: Tensor | None
    design: ChoiceDesign
    kept: np.ndarray[Any, Any] | None


def unit_data(design: ChoiceDesign, extras: UnitExtras, by_person: bool) -> UnitData:
    """Return the units; those whose weight is zero, or of which weight or group is missing, are not in use."""
    person = design.person.cpu().numpy()
    codes = person if by_person else np.arange(len(person))
    last = np.flatnonzero(np.diff(codes, append=codes[-1:] + 1))
    first = np.concatenate([[0], last[:-1] + 1])
    table, index = _table(design, codes, first, by_person)
    given = ExtraInputs(
        **{f.name: _by_unit(getattr(extras, f.name), f.name, design, codes, first) for f in fields(extras)}
    )
    found, rows = read_extras(given, table, Rows(index))
    rows.settle("drop" if design.data is None else design.data.missing)
    kept = None if rows.used is None else rows.used[codes]
    if kept is not None:
        design = _select(design, kept)
    sizes = rows.take(np.diff(last, prepend=-1))
    ends = None if (sizes == 1).all() else torch.from_numpy(np.cumsum(sizes)).to(design.X.device)
    weights = None
    if found.weights is not None and found.weight_kind is not None:
        values = torch.tensor(rows.take(found.weights), dtype=design.X.dtype)
        weights = Weights(found.weight_kind, values.to(design.X.device))
    groups = encode(found.groups[0], rows.take(found.groups[1])) if found.groups else None
    endog = torch.zeros(rows.count, dtype=design.X.dtype, device=design.X.device)
    name = "choice" if design.data is None else design.data.choice
    data = ModelData(endog, name, {}, None, weights, groups, {}, rows, frame=table, given=named_inputs(given))
    return UnitData(data, ends, design, kept)


def _select(design: ChoiceDesign, kept: np.ndarray[Any, Any]) -> ChoiceDesign:
    """Return the design of some of the situations."""
    at = torch.from_numpy(np.flatnonzero(kept)).to(design.X.device)
    return replace(
        design,
        X=design.X[at],
        available=None if design.available is None else design.available[at],
        chosen=design.chosen[at],
        person=torch.unique_consecutive(design.person[at], return_inverse=True)[1],
        data=None if design.data is None else design.data.select(kept, "weight or group missing, or weight zero"),
    )


def _table(
    design: ChoiceDesign, codes: np.ndarray[Any, Any], first: np.ndarray[Any, Any], by_person: bool
) -> tuple[pd.DataFrame | None, pd.Index]:
    """Return the columns that are constant within units, a row a unit, and the labels of the units."""
    if design.data is None:
        return None, pd.RangeIndex(len(first))
    long = design.data.frame
    unit = codes[design.data.situation]
    at = np.flatnonzero(np.diff(unit, prepend=-1))
    heads = long.iloc[at]
    kept = [name for name in long.columns if _is_constant(long[name], unit, at)]
    labels = design.data.person_labels if by_person else design.data.labels
    return heads[kept].set_axis(labels), labels


def _is_constant(column: pd.Series, unit: np.ndarray[Any, Any], at: np.ndarray[Any, Any]) -> bool:
    values = pd.factorize(column)[0] if column.dtype.kind not in "iufb" else column.to_numpy()
    first = values[at][unit - unit[0]] if len(at) else values
    return bool(((values == first) | (pd.isna(values) & pd.isna(first))).all())


def _by_unit(
    value: Any, what: str, design: ChoiceDesign, codes: np.ndarray[Any, Any], first: np.ndarray[Any, Any]
) -> Any:
    """Return values by unit for values by situation; they must be the same in all situations of a unit."""
    if value is None or isinstance(value, str):
        return value
    plain = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    array = np.asarray(plain if design.data is None else design.data.by_situation(plain, what))
    if array.shape != codes.shape:
        raise DataError(f"{what} has shape {array.shape}; there are {len(codes)} situations and {len(first)} units.")
    by_unit = array[first]
    if (by_unit[codes] != array).any():
        raise DataError(f"{what} varies between the choices of a person, which are one observation. Give one a person.")
    return by_unit


def lost(data: ChoiceData | None) -> list[str]:
    """Return the sentence on situations that are not in use."""
    if data is None or not data.dropped:
        return []
    causes = ", ".join(f"{cause}: {count}" for cause, count in data.dropped.items())
    return [f"{sum(data.dropped.values())} choice situations were not used ({causes})."]
