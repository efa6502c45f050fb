"""Lay out what one model is fitted on many times: groups of rows, responses, weights."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.batch import ModelData
from ..data.design import rebuilt
from ..data.extras import WEIGHT_KINDS, Weights
from ..data.frames import as_frame, check_columns, column_names, take_column, take_columns
from ..data.rows import Rows
from ..data.vectors import FloatArray, align, is_missing, numeric_vector
from ..errors import CollinearityWarning, DataError, DataWarning, OptionError, TorchmleError, listing, unheard, unknown
from .base import GenericLikelihoodModel
from .part import part_of


@dataclass(frozen=True, eq=False)
class Job:
    """Hold fits that share a model.

    Attributes
    ----------
    numbers : which fits, by position among all.
    base : the model on the rows of all of them.
    rows : by fit its rows among those of ``base``; None where each has all of them.
    endog, weights : (R, n) of the fits, or None for those of ``base``.
    own : (R, n) mask of the rows that count, or None for all.
    """

    numbers: Sequence[int]
    base: GenericLikelihoodModel
    rows: Sequence[Tensor] | None = None
    endog: Tensor | None = None
    weights: Tensor | None = None
    own: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """Hold all fits.

    Attributes
    ----------
    keys : what they are called.
    by : what they differ in, in words.
    build : makes the model of one of them.
    kind : the kind of the weights, or None.
    jobs : those that can be laid out together; the others are fitted by themselves.
    causes : by position why there is nothing to fit.
    notes : what else to know.
    """

    keys: pd.Index
    by: str
    build: Callable[[int], GenericLikelihoodModel]
    kind: str | None
    jobs: tuple[Job, ...] = ()
    causes: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Make = Callable[..., GenericLikelihoodModel]
"""Takes a formula, a table and further keywords; returns the model."""


def _by_row(model: GenericLikelihoodModel) -> GenericLikelihoodModel:
    """Return a model whose observations are rows of its table, refusing others."""
    if model.data.formulas is None or model.data.frame is None:
        raise OptionError(
            f"{type(model).__name__} makes an observation of several rows of the table, which fit_many cannot "
            "take apart. Fit it in a loop, e.g. over data.groupby(...)."
        )
    return model


# ---- groups


def by_groups(make: Make, formula: str, data: Any, by: Any) -> Plan:
    """Return a fit for each group of rows; the terms of the formula are evaluated on all rows."""
    base = _by_row(make(formula, data))
    formulas = base.data.formulas
    assert formulas is not None
    across = formulas.across_rows or _lagged(formulas)
    if across is not None:
        raise OptionError(
            f"The term {across!r} looks at other rows, which by= may put into other groups. Compute it as a column "
            "first, e.g. data.groupby(by)[x].shift()."
        )
    codes, keys, without = _levels(by, base.data)
    if without and base.data.given.get("missing") == "raise":
        raise DataError(f"missing='raise', and {without} rows have no value of {by!r}.")
    found = base.data.rows.take(codes)
    order = np.argsort(found, kind="stable")
    cuts = np.searchsorted(found[order], np.arange(len(keys) + 1))
    rows = [torch.from_numpy(order[a:b]) for a, b in itertools.pairwise(cuts)]
    total = np.bincount(codes[codes >= 0], minlength=len(keys))
    empty = {i: _nothing(int(total[i])) for i, at in enumerate(rows) if not len(at)}
    notes = (f"{without} rows have no value of {by!r} and are in no group.",) if without else ()
    job = Job(range(len(keys)), base, rows)
    kind = None if base.data.weights is None else base.data.weights.kind
    return Plan(keys, _names(by), lambda i: group_model(base, rows[i]), kind, (job,), empty, notes)


def _lagged(formulas: Any) -> str | None:
    terms = [t for part in formulas.parts.values() for t in part.terms]
    return next((t for t in terms if "lag(" in t.replace(" ", "")), None)


def _nothing(total: int) -> str:
    return f"None of its {total} rows can be used: values are missing." if total else "The group has no rows."


def _names(by: Any) -> str:
    return by if isinstance(by, str) else ", ".join(by)


def _levels(by: Any, data: ModelData) -> tuple[np.ndarray[Any, Any], pd.Index, int]:
    """Return the code of each row of the data, -1 without one, the names of the groups, and how many have none."""
    names = [by] if isinstance(by, str) else by
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(n, str) for n in names):
        raise OptionError(f"by={by!r} must be the name of a column, or a list of names.")
    check_columns(data.frame, names, "by")
    columns = [take_column(data.frame, name).rename(name) for name in names]
    if len(columns) == 1:
        column = columns[0]
        if isinstance(column.dtype, pd.CategoricalDtype):
            codes, keys = column.cat.codes.to_numpy().astype(np.int64), pd.Index(column.cat.categories, name=names[0])
        else:
            codes, levels = pd.factorize(column, sort=True)
            keys = pd.Index(levels, name=names[0])
    else:
        frame = pd.concat([c.reset_index(drop=True) for c in columns], axis=1)
        lacking = np.any([is_missing(c.to_numpy(dtype=object)) for c in columns], axis=0)
        known = pd.MultiIndex.from_frame(frame[~lacking])
        codes = np.full(len(frame), -1)
        codes[~lacking], levels = pd.factorize(known, sort=True)
        keys = pd.MultiIndex.from_tuples(levels, names=names)
    return codes, keys, int((codes < 0).sum())


def group_model(base: GenericLikelihoodModel, at: Tensor) -> GenericLikelihoodModel:
    """Return the model of some rows, without the columns that are collinear there."""
    keep = torch.zeros(base.nobs, dtype=torch.bool)
    keep[at] = True
    data, where = base.data, at.to(base.data.device)
    collinear = str(data.given.get("collinear", "drop"))
    designs = {k: rebuilt(d, d.X[where], collinear) for k, d in data.designs.items()}
    part = part_of(base, where, keep, designs, "in other groups")
    part.check_endog()
    return part


# ---- responses


def by_outcomes(make: Make, formula: str, data: Any, outcomes: Any) -> Plan:
    """Return a fit for each response; those with the same missing rows share a model."""
    left, tilde, right = formula.partition("~")
    if tilde and left.strip():
        raise OptionError(
            f"outcomes names the responses, and the formula {formula!r} has one of its own. Write '~{right}'."
        )
    frame, names, keys = _attached(data, outcomes, "outcomes")
    texts = [f"{_quoted(name)} ~ {right if tilde else left}" for name in names]
    values = [_numbers(frame, name) for name in names]
    usable = [i for i, column in enumerate(values) if column is not None and _known(column)]
    base, raising = _on_all_rows(make, texts, frame, names, values, usable)
    if base is None:
        make(texts[0], frame)  # raises what is wrong, where it is wrong with all of them
        return Plan(keys, "outcomes", lambda i: make(texts[i], frame), None)
    kind = None if base.data.weights is None else base.data.weights.kind
    taken = {i: base.data.rows.take(values[i]) for i in usable}
    good = [i for i, y in taken.items() if not (raising and np.isnan(y).any())]
    filled = {i: np.where(np.isnan(taken[i]), base.endog.cpu().double().numpy(), taken[i]) for i in good}
    good = [i for i in good if _supported(base, filled[i])]
    jobs: tuple[Job, ...] = ()
    if good:
        endog = torch.from_numpy(np.stack([filled[i] for i in good])).to(base.endog)
        own = torch.from_numpy(np.stack([~np.isnan(taken[i]) for i in good])).to(base.data.device)
        jobs = (Job(good, base, endog=endog, own=own),)
    return Plan(keys, "outcomes", lambda i: make(texts[i], frame), kind, jobs)


def _known(column: FloatArray) -> bool:
    return not bool(np.isinf(column).any()) and not bool(np.isnan(column).all())


def _on_all_rows(
    make: Make, texts: list[str], frame: Any, names: list[str], values: list[Any], usable: list[int]
) -> tuple[GenericLikelihoodModel | None, bool]:
    """Return the model of the first response that it takes, on the rows that miss nothing but that response.

    What that response misses is filled with one of its values; these rows count for no fit that misses them.
    """
    for i in usable:
        column, table = values[i], frame
        lacking = np.isnan(column)
        if lacking.any():
            whole = frame if isinstance(frame, pd.DataFrame) else take_columns(frame, column_names(frame))
            table = whole.assign(**{names[i]: np.where(lacking, column[~lacking][0], column)})
        try:
            base = _by_row(make(texts[i], table))  # what it warns of is heard once, for the first response
        except DataError:
            continue
        return base, base.data.given.get("missing") == "raise"
    return None, False


def _supported(base: GenericLikelihoodModel, values: FloatArray) -> bool:
    """Return whether the model takes a response."""
    other = with_endog(base, torch.from_numpy(values))
    try:
        with unheard(DataWarning):
            other.check_endog()
    except TorchmleError:
        return False
    return True


def with_endog(base: GenericLikelihoodModel, endog: Tensor) -> GenericLikelihoodModel:
    """Return the model with another response on the same rows."""
    other = copy.copy(base)
    other.endog = endog.to(base.endog)
    other.data = replace(base.data, endog=other.endog)
    return other


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f"`{name}`"


def _numbers(frame: Any, name: str) -> FloatArray | None:
    """Return a column as numbers; None where it is none, which a fit by itself says better."""
    try:
        with unheard(DataWarning):
            return numeric_vector(take_column(frame, name), name)
    except TorchmleError:
        return None


def _attached(data: Any, given: Any, what: str) -> tuple[Any, list[str], pd.Index]:
    """Return the table with the columns that were given, their names in it, and what they are called."""
    frame = as_frame(data)
    if not isinstance(given, pd.DataFrame):
        if not isinstance(given, (list, tuple)) or not given or not all(isinstance(n, str) for n in given):
            raise OptionError(f"{what}={given!r} must be a list of column names, or a frame with a column each.")
        check_columns(frame, given, what)
        if len(set(given)) < len(given):
            raise OptionError(f"{what} names a column twice: {listing([n for n in given if given.count(n) > 1])}.")
        return frame, list(given), pd.Index(given, name=what)
    if not isinstance(frame, pd.DataFrame):
        raise OptionError(f"{what} is a frame; data must then be a pandas frame or a dict too.")
    names = [str(c) for c in given.columns]
    taken = [n for n in names if n in set(map(str, column_names(frame)))]
    if taken or len(set(names)) < len(names) or not names:
        raise OptionError(f"The columns of {what} must have names of their own, not {listing(taken or names)}.")
    columns = {n: align(given.iloc[:, j], f"{what} {n!r}", frame.index, len(frame)) for j, n in enumerate(names)}
    added = pd.DataFrame({n: np.asarray(c) for n, c in columns.items()}, index=frame.index)
    return pd.concat([frame, added], axis=1), names, given.columns.rename(given.columns.name or what)


# ---- weights


def by_weights(make: Make, formula: str, data: Any, weights: Any, kind: Any) -> Plan:
    """Return a fit for each column of weights."""
    if kind not in WEIGHT_KINDS:
        raise OptionError(unknown("weight_kind", kind, WEIGHT_KINDS))
    frame, names, keys = _attached(data, weights, "weights")

    def build(i: int) -> GenericLikelihoodModel:
        return make(formula, frame, **{kind: names[i]})

    base = _by_row(make(formula, frame))
    if kind == "var_weights" and not base.takes_var_weights:
        build(0)  # raises
    columns = [_numbers(frame, name) for name in names]
    raising = base.data.given.get("missing") == "raise"
    taken = [None if c is None else _weights(base.data.rows, c, kind, raising) for c in columns]
    good = [i for i, w in enumerate(taken) if w is not None]
    if not good:
        return Plan(keys, "weights", build, kind)
    stacked = torch.from_numpy(np.stack([w for w in taken if w is not None])).to(base.endog)
    return Plan(keys, "weights", build, kind, (Job(good, base, weights=stacked),))


def _weights(rows: Rows, column: FloatArray, kind: str, raising: bool) -> FloatArray | None:
    """Return the weights of the rows in use, zero where they are missing; None where a fit by itself says why not."""
    absent = np.isnan(column)
    known = np.where(absent, 0.0, column)
    whole = kind != "freq_weights" or bool((known == np.round(known)).all())
    fine = bool(((known >= 0) & np.isfinite(known)).all()) and whole and not (raising and absent.any())
    kept = np.asarray(rows.take(known), dtype=np.float64)
    return kept if fine and (kept > 0).any() else None


def with_kind(base: GenericLikelihoodModel, kind: str | None) -> GenericLikelihoodModel:
    """Return the model with weights of one of a kind, for what depends on the kind only."""
    if kind is None or base.data.weights is not None:
        return base
    other = copy.copy(base)
    other.data = replace(base.data, weights=Weights(kind, torch.ones_like(base.endog)))  # type: ignore[arg-type]
    return other


QUIET = (DataWarning, CollinearityWarning)
"""What fits by themselves are not heard of: it is in their causes, or true of all of them."""
