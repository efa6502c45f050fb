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
from ..errors import OptionError, UndefinedStatisticError, unknown
from ..workers import derivatives_on
from .effects import Margins
from .estimates import within_unit
from .inference import check_inference
from .sheet import Sheet, as_tensors, changed, make_sheet, slopes, with_designs

if TYPE_CHECKING:
    from .estimates import Estimates

KINDS = ("dydx", "eyex", "dyex", "eydx", "mean")
WHERE = ("overall", "mean", "median", "zero")


@dataclass(frozen=True)
class Effect:
    """Hold what is averaged: the effect of a variable, a discrete change between levels, or the prediction itself."""

    variable: str | None
    levels: tuple[Any, Any] | None = None

    @property
    def label(self) -> str:
        """Return what stands in the table beside the variable."""
        return "" if self.levels is None else f"{self.levels[1]} - {self.levels[0]}"


@dataclass(frozen=True)
class Plan:
    """Hold everything that was asked for, checked."""

    results: Estimates
    sheet: Sheet
    effects: tuple[Effect, ...]
    scenarios: tuple[Mapping[str, Any], ...]
    means: bool
    groups: tuple[tuple[str, np.ndarray[Any, Any]], ...]
    kind: str
    which: str


def margins(
    results: Estimates,
    variables: str | Sequence[str] | None,
    at: str | Mapping[str, Any],
    over: str | None,
    kind: str,
    which: str,
    vce: str,
    alpha: float,
) -> Margins:
    """Return averages of effects; see :meth:`Results.margins`."""
    if kind not in KINDS:
        raise OptionError(unknown("kind of margins:", kind, KINDS))
    if vce not in ("delta", "unconditional"):
        raise OptionError(unknown("vce", vce, ["delta", "unconditional"]))
    _need_maximum(results)
    sheet = make_sheet(results.model.data)
    means, scenarios = _scenarios(sheet, at)
    effects = (Effect(None),) if kind == "mean" else _effects(sheet, variables, kind)
    plan = Plan(results, sheet, effects, scenarios, means, _groups(results, sheet, over), kind, which)
    return _averages(plan, over, vce, within_unit(alpha))


def margins_of_columns(
    results: Estimates, at: str, method: str, atexog: Mapping[Any, float] | None, dummy: bool
) -> Margins:
    """Return averages of effects of the design's columns; see :meth:`Results.get_margeff`."""
    if method not in KINDS[:4]:
        raise OptionError(unknown("method", method, KINDS[:4]))
    _need_maximum(results)
    sheet = make_sheet(replace(results.model.data, formulas=None))
    means, (scenario,) = _scenarios(sheet, at)
    held = {sheet.frame.columns[k] if isinstance(k, int) else k: float(v) for k, v in (atexog or {}).items()}
    for name in held:
        if name not in sheet.variables:
            raise OptionError(unknown("column in atexog:", name, sheet.variables))
    first = [v for v in sheet.variables if v in next(iter(results.model.data.designs.values())).terms]
    two = {v: dummy and set(np.unique(sheet.frame[v])) <= {0.0, 1.0} for v in first}
    effects = tuple(Effect(v, (0.0, 1.0) if two[v] else None) for v in first)
    groups = (("", np.ones(len(sheet.frame), dtype=bool)),)
    plan = Plan(results, sheet, effects, ({**scenario, **held},), means, groups, method, "mean")
    found = _averages(plan, None, "delta", 0.05)
    return replace(found, labels=found.labels[["variable"]])


def _need_maximum(results: Estimates) -> None:
    if not results.converged:
        raise UndefinedStatisticError(f"margins need a maximum, and this fit has none ({results.status})")


def _averages(plan: Plan, over: str | None, vce: str, alpha: float) -> Margins:
    """Return the averages that were asked for."""
    cells = list(product(plan.scenarios, plan.effects))
    parts = [_evaluate(plan, scenario, effect) for scenario, effect in cells]
    labels = [(s, e, g) for s, e in cells for g, _ in plan.groups]
    values = torch.cat([p.values for p in parts])
    jacobian = torch.cat([p.jacobian for p in parts])
    rows = np.concatenate([p.rows for p in parts], 1) if vce == "unconditional" else None
    covariance = _covariance(plan, values, jacobian, rows)
    rough = sorted({str(e.variable) for p, (_, e) in zip(parts, cells, strict=True) if not p.smooth})
    results = plan.results
    how = (plan.kind, plan.which, vce, alpha, results.cov_type, results.use_t, results.df_resid_inference)
    return Margins(_table(labels, over), values.numpy(), covariance.numpy(), *how, tuple(rough))


def _scenarios(sheet: Sheet, at: str | Mapping[str, Any]) -> tuple[bool, tuple[Mapping[str, Any], ...]]:
    """Return whether rows are averaged before the effect is taken, and the values that columns are set to."""
    if isinstance(at, str):
        if at not in WHERE:
            raise OptionError(unknown("at", at, [*WHERE, "a dict of column to value or values"]))
        numeric = [v for v in sheet.variables if not sheet.is_categorical(v)]
        if at == "overall":
            return False, ({},)
        return True, ({v: _typical(sheet, v, at) for v in numeric},)
    if not isinstance(at, Mapping):
        raise OptionError(
            f"at is {at!r}; it must be one of {', '.join(WHERE)}, or a dict of column to value or values."
        )
    for name in at:
        if name not in sheet.variables:
            raise OptionError(unknown("column in at:", name, sheet.variables))
        _check_levels(sheet, name, _several(at[name]))
    grid = product(*(_several(v) for v in at.values()))
    return False, tuple(dict(zip(at, values, strict=True)) for values in grid)


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or np.ndim(value) == 0 else list(value)


def _check_levels(sheet: Sheet, name: str, values: Sequence[Any]) -> None:
    if sheet.is_categorical(name):
        for value in values:
            if value not in sheet.levels(name):
                raise OptionError(unknown(f"level of {name!r} in at:", value, map(str, sheet.levels(name))))
    elif not all(isinstance(v, (int, float, np.number)) and np.isfinite(v) for v in values):
        raise OptionError(f"at[{name!r}] is {list(values)!r}; it must be a finite number, or several.")


def _typical(sheet: Sheet, name: str, at: str) -> float:
    """Return the value at which a number is held."""
    x = sheet.frame[name].to_numpy(dtype=np.float64)
    if at == "mean":
        return float(np.average(x, weights=_weights(sheet.data)))
    return float(np.median(x)) if at == "median" else 0.0


def _weights(data: ModelData) -> FloatArray | None:
    """Return what rows count in an average: counts and sampling weights do, precisions do not."""
    if data.weights is None or data.weights.kind == "var_weights":
        return None
    return data.weights.values.cpu().double().numpy()


def _effects(sheet: Sheet, variables: str | Sequence[str] | None, kind: str) -> tuple[Effect, ...]:
    names = sheet.variables if variables is None else [variables] if isinstance(variables, str) else list(variables)
    found: list[Effect] = []
    for name in names:
        if name not in sheet.variables:
            raise OptionError(unknown("variable of margins:", name, sheet.variables))
        if not sheet.is_categorical(name):
            found.append(Effect(name))
        elif kind in ("eyex", "dyex"):
            if variables is not None:
                raise OptionError(f"kind={kind!r} is not defined for {name!r}, which has levels; use 'dydx' or 'eydx'.")
        else:
            base, *others = sheet.levels(name)
            found += [Effect(name, (base, level)) for level in others]
    if not found:
        raise OptionError("There is no variable whose effect could be computed.")
    return tuple(found)


def _groups(results: Estimates, sheet: Sheet, over: str | None) -> tuple[tuple[str, np.ndarray[Any, Any]], ...]:
    n = len(sheet.frame)
    if over is None:
        return (("", np.ones(n, dtype=bool)),)
    if over in sheet.frame:
        column = sheet.frame[over]
    else:
        from ..data.frames import as_frame, check_columns, take_column

        if sheet.data.frame is None:
            raise OptionError(unknown("column in over:", over, sheet.variables))
        check_columns(as_frame(sheet.data.frame), [over], "over")
        column = sheet.data.rows.take(take_column(as_frame(sheet.data.frame), over))
    if column.isna().any():
        raise OptionError(f"over={over!r} is missing in {int(column.isna().sum())} of the rows in use.")
    values = column.to_numpy()
    return tuple((str(level), np.asarray(values == level)) for level in sorted(set(column)))


@dataclass(frozen=True)
class _Part:
    """Hold one effect: the averages by group, their derivatives in the link parameters, the values by row."""

    values: Tensor
    jacobian: Tensor
    rows: FloatArray
    smooth: bool


def _evaluate(plan: Plan, scenario: Mapping[str, Any], effect: Effect) -> _Part:
    """Return the averages of one effect in one scenario, for each group."""
    data = plan.sheet.data
    link = torch.from_numpy(plan.results.link_params.to_numpy().copy())
    weights = _weights(data)
    weights = np.ones(len(plan.sheet.frame)) if weights is None else weights
    totals = [float(weights[mask].sum()) for _, mask in plan.groups]
    values = torch.zeros(len(totals), dtype=torch.float64, device="cpu")
    jacobian = torch.zeros(len(totals), len(link), dtype=torch.float64, device="cpu")
    rows, smooth = np.zeros((len(weights), len(totals))), True
    with derivatives_on(data.device):
        for piece, share, part in _pieces(plan, scenario, effect, weights):
            at = link.clone().requires_grad_()
            found = _of_rows(plan, effect, piece, at)
            smooth &= piece.smooth
            for g, (_, mask) in enumerate(plan.groups):
                count = torch.from_numpy(share * mask[part] / totals[g]) if not plan.means else torch.ones(1).double()
                total = (found * count.to(found)).sum()
                values[g] += float(total.detach())
                (slope,) = torch.autograd.grad(total, at, retain_graph=True, allow_unused=True)
                jacobian[g] += 0.0 if slope is None else slope.double().cpu()
                rows[part, g] = found.detach().double().cpu().numpy() if not plan.means else values[g]
    return _Part(values, jacobian, rows, smooth)


@dataclass(frozen=True)
class _Piece:
    """Hold the data of some rows, those of a second scenario for a discrete change, and the slopes of their columns."""

    data: ModelData
    model: Any
    other: ModelData | None = None
    slopes: Mapping[str, Tensor] | None = None
    x: Tensor | None = None
    smooth: bool = True


def _pieces(
    plan: Plan, scenario: Mapping[str, Any], effect: Effect, weights: FloatArray
) -> Iterator[tuple[_Piece, FloatArray, slice]]:
    """Yield pieces of the rows with their weights; where rows are averaged first, one piece with one row a group."""
    sheet, data = plan.sheet, plan.sheet.data
    for part in sheet.chunks():
        frame = sheet.frame.iloc[part]
        frame = changed(frame, scenario) if scenario else frame
        own = weights[part]
        rows = slice(0, 1) if plan.means else part

        def build(table: pd.DataFrame, own: FloatArray = own, rows: slice = rows) -> ModelData:
            matrices = {k: _averaged(m, own) if plan.means else m for k, m in sheet.matrices(table).items()}
            return with_designs(data, as_tensors(data, matrices), rows)

        model = plan.results.model if plan.means else plan.results.model.take(part)
        if effect.variable is None:
            yield _Piece(build(frame), model), own, part
        elif effect.levels is not None:
            low, high = (build(changed(frame, {effect.variable: level})) for level in effect.levels)
            yield _Piece(high, model, other=low), own, part
        else:
            found, smooth = slopes(sheet, frame, effect.variable)
            found = {k: _averaged(m, own) if plan.means else m for k, m in found.items()}
            x = frame[effect.variable].to_numpy(dtype=np.float64)
            x = x[:1] if plan.means else x
            moves = as_tensors(data, found)
            yield _Piece(build(frame), model, None, moves, torch.from_numpy(x.copy()), smooth), own, part


def _averaged(matrix: FloatArray, weights: FloatArray) -> FloatArray:
    return np.average(matrix, axis=0, weights=weights)[None]


def _of_rows(plan: Plan, effect: Effect, piece: _Piece, at: Tensor) -> Tensor:
    """Return the effect in each row, differentiable in the parameters."""

    def predicted(data: ModelData) -> Tensor:
        found: Tensor = piece.model.predict_at(at, data, plan.which)
        return found

    if effect.variable is None:
        return predicted(piece.data)
    if piece.other is not None:
        low, high = predicted(piece.other), predicted(piece.data)
        return high.log() - low.log() if plan.kind == "eydx" else high - low
    assert piece.slopes is not None
    assert piece.x is not None
    move = torch.zeros(len(piece.x), dtype=piece.data.endog.dtype, device=piece.data.device, requires_grad=True)
    designs = piece.data.designs
    moved = {k: replace(d, X=d.X + move[:, None] * piece.slopes[k]) for k, d in designs.items()}
    level = predicted(replace(piece.data, designs=moved))
    (slope,) = torch.autograd.grad(level.sum(), move, create_graph=True)
    x = piece.x.to(slope)
    return {"dydx": slope, "eydx": slope / level, "dyex": slope * x, "eyex": slope * x / level}[plan.kind]


def _covariance(plan: Plan, values: Tensor, jacobian: Tensor, rows: FloatArray | None) -> Tensor:
    """Return the covariance of the averages: given the rows, or with the rows' own sampling by influence functions."""
    results = plan.results
    matrix = results.fit.map.push_link(results.inference.covariance.matrix, results.fit.gamma)
    if rows is None:
        return jacobian @ torch.nan_to_num(matrix, nan=0.0) @ jacobian.mT
    return _unconditional(plan, values, jacobian, rows)


def _unconditional(plan: Plan, values: Tensor, jacobian: Tensor, rows: FloatArray) -> Tensor:
    """Return the covariance of averages over rows that are a sample, too.

    A row's influence is ``w_i (f_i - m) / W + J bread s_i``; these are added up by cluster, and corrected by the
    factor of the covariance in use (HC1: n/(n-K), cluster: G/(G-1) ...).
    """
    results = plan.results
    kind = results.cov_type
    if kind not in ("HC0", "HC1", "cluster") or plan.means:
        raise OptionError(
            "vce='unconditional' needs robust errors and at='overall' or a dict: use with_cov('HC1') or 'cluster' "
            f"first; this fit has {kind!r}."
        )
    influence = _of_estimates(results) @ jacobian.mT
    weights = _weights(plan.sheet.data)
    weights = np.ones(len(rows)) if weights is None else weights
    masks = [mask for _ in plan.scenarios for _ in plan.effects for _, mask in plan.groups]
    for m, mask in enumerate(masks):
        influence[:, m] += torch.from_numpy(mask * (rows[:, m] - float(values[m])) / weights[mask].sum())
    return _summed(results, influence, torch.from_numpy(weights.copy()))


def _of_estimates(results: Estimates) -> Tensor:
    """Return the (n, K) influence of a row, of weight one, on the link-scale estimates: ``bread s_i``."""
    fit, bread = results.fit, results.inference.bread
    assert bread is not None
    scores = fit.objective.scores(fit.map.working(fit.gamma)) @ fit.map.working_jacobian(fit.gamma)
    return scores @ bread @ fit.map.link_jacobian(fit.gamma).mT


def _summed(results: Estimates, influence: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of outer products of influences, by row or by cluster, with the correction of the errors."""
    name, correction, groups = check_inference(results.model, results.cov_type, results.cov_kwds, True)
    n, K = results.nobs, len(results.fit.gamma)
    if groups is None:
        data = results.model.data
        power = weights.sqrt() if data.weights is not None and data.weights.kind == "freq_weights" else weights
        weighted = influence * power[:, None]
        return weighted.mT @ weighted * (n / (n - K) if name == "HC1" else 1.0)
    codes, G = torch.from_numpy(groups.codes), groups.count
    sums = torch.zeros(G, influence.shape[1], dtype=torch.float64).index_add_(0, codes, influence * weights[:, None])
    factor = {True: G / (G - 1) * (n - 1) / (n - K), False: 1.0, "stata": G / (G - 1)}[correction]
    return sums.mT @ sums * factor


def _table(labels: Sequence[tuple[Mapping[str, Any], Effect, str]], over: str | None) -> pd.DataFrame:
    """Return the columns that say what each row of the table is."""
    rows = []
    for scenario, effect, group in labels:
        row: dict[str, Any] = {"variable": effect.variable or "prediction"}
        row["contrast"] = effect.label
        if over is not None:
            row[over] = group
        rows.append({**row, **{f"at {k}": v for k, v in scenario.items()}})
    table = pd.DataFrame(rows)
    return table if (table["contrast"] != "").any() else table.drop(columns="contrast")
