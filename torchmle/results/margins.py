"""Average predictions and effects over rows, with exact derivatives in the parameters for their errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.batch import ModelData
from ..data.vectors import FloatArray
from ..errors import OptionError, unknown
from ..workers import derivatives_on
from .asked import (
    KINDS,
    VCE,
    Effect,
    Mask,
    Plan,
    Scenario,
    need_variable,
    read_at,
    read_over,
    read_variables,
    typical_values,
)
from .effects import Margins
from .estimates import within_unit
from .linkscale import delta_covariance, link_values, need_maximum
from .sheet import CHUNK, Sheet, changed, make_sheet, with_designs
from .slopes import Columns, slopes
from .unconditional import check_unconditional, unconditional

if TYPE_CHECKING:
    from .estimates import Estimates


def margins(
    results: Estimates,
    variables: str | Sequence[str] | None,
    at: str | Mapping[str, Any],
    over: str | None,
    kind: str,
    which: str | Sequence[str],
    vce: str,
    alpha: float,
) -> Margins:
    """Return averages of effects; see :meth:`Results.margins`. Of several predictions, one after the other."""
    for what, value, allowed in (("kind of margins:", kind, KINDS), ("vce", vce, VCE)):
        if value not in allowed:
            raise OptionError(unknown(what, value, allowed))
    level = within_unit(alpha)
    need_maximum(results, "margins")
    sheet = make_sheet(results.model.data)
    typical, scenarios = read_at(sheet, at)
    if vce == "unconditional":
        check_unconditional(results, typical)
    effects = read_variables(sheet, variables, kind, scenarios[0])
    outcomes = (which,) if isinstance(which, str) else tuple(which)
    plan = Plan(results, sheet, effects, typical, scenarios, read_over(sheet, over), kind, "mean", vce)
    return _averages(plan, over, level, outcomes)


def margins_of_columns(
    results: Estimates,
    at: str,
    method: str,
    atexog: Mapping[Any, float] | None,
    dummy: bool,
    count: bool,
    outcomes: tuple[str, ...] = ("mean",),
) -> Margins:
    """Return averages of effects of the design's columns; see :meth:`Results.get_margeff`."""
    if method not in KINDS[:4]:
        raise OptionError(unknown("method", method, KINDS[:4]))
    if (dummy or count) and method in ("eyex", "dyex"):
        raise OptionError(f"method={method!r} is not defined for discrete changes; leave dummy and count out.")
    if not isinstance(at, str):
        raise OptionError(f"at is {at!r}; get_margeff() holds columns at values by atexog=, margins() by at=.")
    need_maximum(results, "margins")
    sheet = make_sheet(replace(results.model.data, formulas=None))
    typical, _ = read_at(sheet, at)
    names = list(sheet.frame.columns)
    held = {_column(k, names): float(v) for k, v in (atexog or {}).items()}
    for name in held:
        need_variable(sheet, name, "column in atexog:")
    first = [v for v in sheet.variables if v in next(iter(results.model.data.designs.values())).terms]
    if not first:
        raise OptionError("There is no variable whose effect could be computed.")
    effects = tuple(_effect_of_column(v, sheet.frame[v], dummy, count) for v in first)
    groups = (("", np.ones(len(sheet.frame), dtype=bool)),)
    plan = Plan(results, sheet, effects, typical, (held,), groups, method, "mean", "delta")
    found = _averages(plan, None, 0.05, outcomes)
    return replace(found, labels=found.labels[[c for c in ("level", "variable") if c in found.labels]])


def _column(key: Any, names: list[str]) -> str:
    """Return the name of a column given by name or by position."""
    if isinstance(key, (int, np.integer)):
        if not 0 <= key < len(names):
            raise OptionError(f"atexog names column {key}; there are {len(names)}, counted from 0.")
        return names[key]
    return str(key)


def _effect_of_column(name: str, column: pd.Series, dummy: bool, count: bool) -> Effect:
    two = (dummy or count) and bool(((column == 0) | (column == 1)).all())
    if dummy and two:
        return Effect(name, (0.0, 1.0))
    whole = count and not two and bool((column == column.round()).all() and (column >= 0).all())
    return Effect(name, count=whole)


def _averages(plan: Plan, over: str | None, alpha: float, outcomes: tuple[str, ...]) -> Margins:
    """Return the averages that were asked for, of each outcome."""
    results, cells = plan.results, list(product(outcomes, plan.scenarios, plan.effects))
    parts = [_evaluate(replace(plan, which=outcome), scenario, effect) for outcome, scenario, effect in cells]
    labels = [(o, s, e, g) for o, s, e in cells for g, _ in plan.groups]
    values, jacobian = torch.cat([p.values for p in parts]), torch.cat([p.jacobian for p in parts])
    _need_numbers(plan, values, [e for _, _, e, _ in labels])
    covariance, notes = delta_covariance(results, jacobian)
    if plan.vce == "unconditional":
        rows = np.concatenate([p.rows for p in parts if p.rows is not None], 1)
        masks = [mask for _ in cells for _, mask in plan.groups]
        covariance = unconditional(results, jacobian, plan.sheet.weights, values, rows, masks)
    rough = sorted({str(e.variable) for p, (_, _, e) in zip(parts, cells, strict=True) if not p.smooth})
    said = outcomes[0] if len(outcomes) == 1 else "mean"
    how = (plan.kind, said, plan.vce, alpha, results.cov_type, results.use_t, results.df_resid_inference)
    notes = (*_notes(plan), *notes)
    table = _table(labels, over, len(outcomes) > 1)
    return Margins(table, values.numpy(), covariance.numpy(), *how, tuple(rough), notes)


def _need_numbers(plan: Plan, values: Tensor, effects: Sequence[Effect]) -> None:
    bad = (~torch.isfinite(values)).nonzero().flatten().tolist()
    if bad:
        name = effects[bad[0]].variable
        what = "the prediction" if name is None else f"the effect of {name!r}"
        hint = " An elasticity needs positive predictions." if plan.kind in ("eyex", "eydx") else ""
        raise OptionError(f"margins: {what} is not a finite number in some row.{hint}")


def _notes(plan: Plan) -> tuple[str, ...]:
    notes = []
    if plan.typical is not None:
        notes.append(f"Numbers at {_TYPICAL[plan.typical]}, columns of categories averaged.")
    gone = [t for design in plan.sheet.data.designs.values() for t in design.dropped]
    if gone:
        notes.append(f"Columns dropped as collinear ({', '.join(gone)}) have no part in the effects.")
    return tuple(notes)


_TYPICAL = {"mean": "their mean", "median": "their median", "zero": "zero"}


Index = np.ndarray[Any, np.dtype[np.intp]]


@dataclass(frozen=True)
class _Part:
    """Hold one effect: the averages by group, their derivatives in the link parameters, the values by row."""

    values: Tensor
    jacobian: Tensor
    rows: FloatArray | None
    smooth: bool


@dataclass(frozen=True)
class _Piece:
    """Hold the data of some rows, those of a second scenario for a discrete change, and the slopes of their columns."""

    data: ModelData
    model: Any
    other: ModelData | None = None
    moves: Mapping[str, tuple[list[int], Tensor]] | None = None
    x: Tensor | None = None
    smooth: bool = True


def _evaluate(plan: Plan, scenario: Scenario, effect: Effect) -> _Part:
    """Return the averages of one effect in one scenario, for each group."""
    sheet, link, G = plan.sheet, link_values(plan.results), len(plan.groups)
    values = torch.zeros(G, dtype=torch.float64, device="cpu")
    jacobian = torch.zeros(G, len(link), dtype=torch.float64, device="cpu")
    rows = np.zeros((len(sheet.frame), G)) if plan.vce == "unconditional" else None
    smooth = True
    with derivatives_on(sheet.data.device):
        for piece, shares, part in _pieces(plan, scenario, effect):
            at = link.clone().requires_grad_()
            found = _of_rows(plan, effect, piece, at)
            smooth &= piece.smooth
            for g, share in shares.items():
                total = (found.double() * share.to(found.device)).sum()
                values[g] += float(total.detach())
                if total.requires_grad:
                    (slope,) = torch.autograd.grad(total, at, retain_graph=True, allow_unused=True)
                    jacobian[g] += 0.0 if slope is None else slope.double().cpu()
                if rows is not None:
                    rows[part, g] = found.detach().double().cpu().numpy()
    return _Part(values, jacobian, rows, smooth)


def _pieces(plan: Plan, scenario: Scenario, effect: Effect) -> Iterator[tuple[_Piece, dict[int, Tensor], slice]]:
    """Yield pieces of the rows, with the share of each row in the average of each group."""
    if plan.typical is not None:
        for g, (_, mask) in enumerate(plan.groups):
            yield _typical_row(plan, scenario, effect, mask), {g: torch.ones(1).double()}, slice(0, 1)
        return
    sheet, totals = plan.sheet, [float(plan.sheet.weights[mask].sum()) for _, mask in plan.groups]
    for part in sheet.chunks():
        shares = {
            g: torch.from_numpy(sheet.weights[part] * mask[part] / totals[g])
            for g, (_, mask) in enumerate(plan.groups)
            if mask[part].any()
        }
        yield _piece(plan, scenario, effect, sheet, part), shares, part


def _piece(plan: Plan, scenario: Scenario, effect: Effect, sheet: Sheet, part: slice) -> _Piece:
    """Return what the effect in some rows is computed from."""
    frame = changed(sheet.frame.iloc[part], scenario) if scenario else sheet.frame.iloc[part]
    data, model, name = sheet.data, plan.results.model.take(part), effect.variable

    def build(table: pd.DataFrame, *names: str) -> ModelData:
        return with_designs(data, sheet.designs(part, table, {*scenario, *names}), part)

    if name is None:
        return _Piece(build(frame), model)
    if effect.levels is not None:
        low, high = (build(changed(frame, {name: level}), name) for level in effect.levels)
        return _Piece(high, model, other=low)
    if effect.count:
        low, high = (build(frame.assign(**{name: frame[name] + k}), name) for k in (-1, 1))
        return _Piece(high, model, other=low)
    found = slopes(plan.sheet, frame, name)
    x = torch.from_numpy(frame[name].to_numpy(dtype=np.float64).copy())
    return _Piece(build(frame), model, None, _tensors(found.columns, data), x, found.smooth)


def _tensors(columns: Columns, data: ModelData) -> dict[str, tuple[list[int], Tensor]]:
    """Return slopes in the dtype and on the device of the model."""
    return {
        key: (at, torch.tensor(values, dtype=data.endog.dtype, device=data.device))
        for key, (at, values) in columns.items()
    }


def _typical_row(plan: Plan, scenario: Scenario, effect: Effect, mask: Mask) -> _Piece:
    """Return one row that stands for a group: numbers at their typical value, then every column averaged."""
    whole = plan.sheet
    _need_no_row_data(plan)
    frame, weights = whole.frame.loc[mask], whole.weights[mask]
    assert plan.typical is not None
    held = {**typical_values(frame, weights, whole, plan.typical), **scenario}
    chosen, counts = _distinct(whole, np.flatnonzero(mask))
    pieces, shares = [], []
    for a in range(0, len(chosen), CHUNK):
        some = chosen[a : a + CHUNK]
        pieces.append(_piece(plan, held, effect, _rows_of(whole, some), slice(0, len(some))))
        shares.append(torch.from_numpy(counts[a : a + CHUNK] / weights.sum()))
    return _joined(plan, pieces, shares, _mean_offset(whole, mask))


def _distinct(sheet: Sheet, rows: Index) -> tuple[Index, FloatArray]:
    """Return a row for each combination of levels, and what it counts: where numbers are held, no others differ."""
    levels = [v for v in sheet.frame.columns if sheet.is_categorical(str(v))]
    weights = sheet.weights[rows]
    if not levels:
        return rows[:1], np.array([weights.sum()], dtype=np.float64)
    codes = sheet.frame.iloc[rows].groupby(levels, observed=True, sort=False, dropna=False).ngroup().to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return rows[first], np.bincount(codes, weights).astype(np.float64)


def _mean_offset(sheet: Sheet, mask: Mask) -> Tensor | None:
    offset = sheet.data.offset
    if offset is None:
        return None
    share = torch.from_numpy(sheet.weights * mask / sheet.weights[mask].sum())
    return (share.to(offset) @ offset)[None]


def _need_no_row_data(plan: Plan) -> None:
    """Refuse a typical row where the prediction may use numbers of a row that have no typical value."""
    model, n = plan.results.model, len(plan.sheet.frame)
    own = [k for k, v in vars(model).items() if isinstance(v, (Tensor, np.ndarray)) and v.ndim and len(v) == n]
    extra = sorted({*plan.sheet.data.row_data, *own} - {"endog", "exog", "offset"})
    if extra:
        raise OptionError(
            f"at={plan.typical!r} is not defined for a model with row data ({', '.join(extra)}); use 'overall' or a "
            "dict."
        )


def _rows_of(sheet: Sheet, chosen: Index) -> Sheet:
    """Return the sheet of some rows; what was found out about the whole stays known."""
    index = torch.from_numpy(chosen).to(sheet.data.device)
    data = sheet.data
    part = replace(
        data,
        endog=data.endog[index],
        designs={k: replace(d, X=d.X[index]) for k, d in data.designs.items()},
        offset=None,
        weights=None,
        groups=None,
    )
    return replace(sheet, data=part, frame=sheet.frame.iloc[chosen], weights=sheet.weights[chosen])


def _joined(plan: Plan, pieces: list[_Piece], shares: list[Tensor], offset: Tensor | None) -> _Piece:
    """Return the average row of several pieces."""

    def mean(tensors: list[Tensor]) -> Tensor:
        parts = [share.to(t) @ t for share, t in zip(shares, tensors, strict=True)]
        return torch.stack(parts).sum(0, keepdim=True)

    def row(data: list[ModelData]) -> ModelData:
        designs = {k: replace(d, X=mean([p.designs[k].X for p in data])) for k, d in data[0].designs.items()}
        return replace(data[0], endog=data[0].endog[:1], designs=designs, offset=offset)

    first = pieces[0]
    others = [p.other for p in pieces if p.other is not None]
    moves = [p.moves for p in pieces if p.moves is not None]
    return _Piece(
        data=row([p.data for p in pieces]),
        model=plan.results.model.take(slice(0, 1)),
        other=row(others) if others else None,
        moves={k: (at, mean([m[k][1] for m in moves])) for k, (at, _) in moves[0].items()} if moves else None,
        x=None if first.x is None else first.x[:1],  # a number is held at one value in all rows
        smooth=all(p.smooth for p in pieces),
    )


def _of_rows(plan: Plan, effect: Effect, piece: _Piece, at: Tensor) -> Tensor:
    """Return the effect in each row, differentiable in the parameters."""
    n, model = len(piece.data.endog), piece.model
    if piece.moves is None:
        high = _whole(model.predict_at(at, piece.data, plan.which), n)
        if piece.other is None:
            return high
        low = _whole(model.predict_at(at, piece.other, plan.which), n)
        change = high.log() - low.log() if plan.kind == "eydx" else high - low
        return change / 2 if effect.count else change
    assert piece.x is not None
    step = torch.zeros(n, dtype=piece.data.endog.dtype, device=piece.data.device, requires_grad=True)
    level = _whole(model.predict_along(at, piece.data, piece.moves, step, plan.which), n)
    (slope,) = torch.autograd.grad(level.sum(), step, create_graph=True, allow_unused=True)
    slope = torch.zeros_like(level) if slope is None else slope
    x = piece.x.to(slope)
    return {"dydx": slope, "eydx": slope / level, "dyex": slope * x, "eyex": slope * x / level}[plan.kind]


def _whole(values: Tensor, n: int) -> Tensor:
    """Return predictions, refusing those that are not one a row."""
    if values.shape != (n,):
        raise OptionError(
            f"margins: the prediction has shape {tuple(values.shape)} for {n} rows. What it uses beside the regressors "
            "must be row_data, so that it can be taken for some of the rows."
        )
    return values


def _table(labels: Sequence[tuple[str, Scenario, Effect, Any]], over: str | None, several: bool) -> pd.DataFrame:
    """Return the columns that say what each row of the table is."""
    rows = []
    for outcome, scenario, effect, group in labels:
        row: dict[str, Any] = {"level": outcome} if several else {}
        row |= {"variable": effect.variable or "prediction", "contrast": effect.label}
        if over is not None:
            row[over] = group
        rows.append({**row, **{f"at {k}": v for k, v in scenario.items()}})
    table = pd.DataFrame(rows)
    return table if (table["contrast"] != "").any() else table.drop(columns="contrast")
