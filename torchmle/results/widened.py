"""Add columns to a predictor of a fitted model, or free what a fit held: the larger model at the restricted point."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.absent import need_rows
from ..data.batch import ModelData
from ..data.design import Design, build_design
from ..data.formula import Formulas, Part, materialise, names_in
from ..data.frames import check_columns, column_names, prepare, take_columns
from ..data.matrix import as_matrix
from ..data.vectors import align, is_missing
from ..errors import DataError, FormulaError, OptionError, listing, unknown
from ..loglik.leastsquares import LeastSquares
from ..loglik.moments import Moments
from ..loglik.objective import Objective
from ..params.constraints import constrain
from ..params.map import ParamMap, uncentring
from .point import is_closed_form, likelihood_point, log_sigma

if TYPE_CHECKING:
    from .estimates import Estimates


@dataclass(frozen=True)
class Wider:
    """Hold a larger model at the estimates of the smaller one.

    Attributes
    ----------
    rows : (M, F) directions in gamma in which the restrictions are left.
    labels : what was added or freed.
    scale : factor of the nonrobust covariance where the objective has none of its own (least squares), else 1.
    """

    model: Any
    map: ParamMap
    gamma: Tensor
    objective: Objective
    rows: Tensor
    labels: tuple[str, ...]
    scale: float = 1.0

    def moments(self) -> Moments:
        """Return log-likelihood, gradient and Hessian in working parameters."""
        return self.objective.moments(self.map.working(self.gamma), 2)


def with_freed(results: Estimates, given: str | Sequence[str]) -> Wider:
    """Return the model without some of the restrictions of its fit: names in ``fixed``, or equations as given."""
    fit, what = results.fit, "score_test(freed=...)"
    need_rows(results.model.data, what)
    wanted = [given] if isinstance(given, str) else list(given)
    fixed = dict(results.record.arguments.get("fixed") or {})
    asked = results.record.arguments.get("constraints") or []
    equations = [asked] if isinstance(asked, str) else list(asked)
    there = {_squeezed(text): text for text in equations}
    for name in wanted:
        if not isinstance(name, str) or (name not in fixed and _squeezed(name) not in there):
            known = [*fixed, *equations] or ["(nothing: this fit has no restrictions)"]
            raise OptionError(unknown("restriction in freed:", name, known))
    left = {name: value for name, value in fixed.items() if name not in wanted}
    gone = {_squeezed(name) for name in wanted if name not in fixed}
    rest = [text for text in equations if _squeezed(text) not in gone]
    plain = replace(fit.map, basis=None, origin=None, held={}, at_bound={})
    pmap = constrain(plain, left, rest or None)
    here = torch.eye(len(plain.scale), dtype=torch.float64, device="cpu")
    moves = here if pmap.basis is None else pmap.basis
    stays = moves.mT @ (here if fit.map.basis is None else fit.map.basis)
    rows = _complement(stays)
    if not len(rows):
        raise OptionError(f"Freeing {listing(wanted)} frees nothing: the other restrictions imply it.")
    gamma = pmap.gamma_of_inner(fit.map.inner(fit.gamma))
    return Wider(results.model, pmap, gamma, fit.objective, rows, tuple(wanted))


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _complement(columns: Tensor) -> Tensor:
    """Return orthonormal rows that span what the (F, f) orthonormal columns do not."""
    if not columns.shape[1]:
        return torch.eye(len(columns), dtype=torch.float64, device="cpu")
    U = torch.linalg.svd(columns, full_matrices=True).U
    rest: Tensor = U[:, columns.shape[1] :].mT.clone()
    return rest


def with_added(results: Estimates, given: Any, predictor: str | None) -> Wider:
    """Return the model with further columns in one of its predictors, their coefficients at zero."""
    data = results.model.data
    need_rows(data, "score_test(added=...)")
    name = _predictor(data, predictor)
    position = list(data.designs).index(name)
    columns, terms = _columns(data, given, name)
    old = data.designs[name]
    try:
        wide = build_design(name, [*old.terms, *terms], torch.cat([old.X, columns.to(old.X)], 1), None, "raise")
    except DataError as error:
        raise DataError(f"score_test(added=...): {error}") from error
    labels = tuple(t if position == 0 else f"{name}:{t}" for t in terms)
    if is_closed_form(results) and position == 0:
        return _least_squares(results, wide, len(old.terms), labels)
    model = _with_design(results.model, data, name, wide)
    if results.model.response == "categorical":
        width = len(old.terms) + len(terms)
        new = [i for i in range(len(model.param_names)) if i % width >= len(old.terms)]
        return _at_zero(results, model, new, tuple(model.param_names[i] for i in new))
    end = sum(len(d.terms) for d in list(data.designs.values())[: position + 1])
    return _at_zero(results, model, range(end, end + len(terms)), labels)


def _predictor(data: ModelData, name: str | None) -> str:
    if not data.designs:
        raise OptionError("score_test(added=...) needs a model with regressors, and this one has none.")
    if name is None:
        return next(iter(data.designs))
    if name not in data.designs:
        raise OptionError(unknown("predictor", name, data.designs))
    return name


def _columns(data: ModelData, given: Any, predictor: str) -> tuple[Tensor, list[str]]:
    """Return the new columns of the rows in use, and their names."""
    if isinstance(given, str):
        X, names = _from_formula(data, given)
    else:
        X, names = _from_arrays(data, given)
    own = data.designs[predictor].all_terms
    keep = [j for j, name in enumerate(names) if name not in own]
    if not keep:
        raise OptionError(f"score_test(added=...): {listing(names)} are columns of {predictor!r} already.")
    bad = ~np.isfinite(X[:, keep]).all(axis=1)
    if bad.any():
        raise DataError(
            f"score_test(added=...): the new columns are missing or infinite in {int(bad.sum())} of {len(X)} rows in "
            f"use (e.g. row {listing(data.rows.labels[bad], 3)}). Fit the model without these rows first."
        )
    return torch.from_numpy(np.ascontiguousarray(X[:, keep])), [names[j] for j in keep]


def _from_formula(data: ModelData, text: str) -> tuple[np.ndarray[Any, Any], list[str]]:
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    if data.frame is None:
        raise OptionError("score_test(added='...') reads a formula, but the model was given arrays. Pass the columns.")
    available = column_names(data.frame)
    try:
        formula = Formula(f"1 + {text.removeprefix('~')}", _context={"__formulaic_variables_available__": available})
    except (FormulaicError, SyntaxError) as error:
        raise FormulaError(f"Cannot read added={text!r}. Write terms such as 'x3 + I(x1**2)'.") from error
    if hasattr(formula, "lhs"):
        raise FormulaError(f"added={text!r} has a response; write the right-hand side only.")
    wanted = [v for v in dict.fromkeys(n for t in formula for n in sorted(names_in(t, available))) if v in available]
    unknown_names = [n for t in formula for n in names_in(t, available) if n not in available and n not in data.context]
    check_columns(data.frame, unknown_names, "score_test")
    table = take_columns(data.frame, wanted or available[:1])
    subset = data.rows.take(table)
    for name in wanted:
        missing = is_missing(np.asarray(subset[name].array, dtype=object))
        if missing.any():
            raise DataError(
                f"score_test(added=...): {name!r} is missing in {int(missing.sum())} of the rows in use. Fit the model "
                "without these rows first."
            )
    part = Part("added", text, formula, frozenset(wanted))
    asked = Formulas(part, {"added": part})
    matrix, spec = materialise(formula, prepare(subset, asked.categorical, asked.arithmetic), data.context, "added")
    names = list(spec.column_names)
    keep = [j for j, name in enumerate(names) if name != "Intercept"]
    return matrix[:, keep], [names[j] for j in keep]


def _from_arrays(data: ModelData, given: Any) -> tuple[np.ndarray[Any, Any], list[str]]:
    if isinstance(given, (pd.Series, pd.DataFrame)):
        frame = given.to_frame() if isinstance(given, pd.Series) else given
        aligned = align(frame, "added", data.rows.index, data.rows.total)
        X, names, _ = as_matrix(aligned, "added")
    else:
        X, names, _ = as_matrix(given, "added")
        align(X, "added", data.rows.index, data.rows.total)
    made = names or [f"added{j + 1}" for j in range(X.shape[1])]
    return np.asarray(data.rows.take(X.cpu().double().numpy())), made


def _with_design(model: Any, data: ModelData, name: str, design: Design) -> Any:
    """Return a copy of a model with another design for one predictor."""
    wide = copy.copy(model)
    wide.data = replace(data, designs={**data.designs, name: design}, formulas=None)
    if name == next(iter(data.designs)):
        old = data.designs[name].terms
        wide.exog = design.X
        wide.exog_names = [*design.terms, *model.exog_names[len(old) :]]
    return wide


def _at_zero(results: Estimates, model: Any, new: Sequence[int], labels: tuple[str, ...]) -> Wider:
    """Return a model with parameters more than the fit, those at the positions ``new``, at zero."""
    point = likelihood_point(results, "score_test()")
    names = model.param_names
    plain = model.make_map(names)
    kept = [i for i in range(len(names)) if i not in set(new)]
    link = torch.zeros(len(names), dtype=torch.float64, device="cpu")
    link[kept] = point.map.link(point.gamma)
    held: Mapping[str, float] = {names[i]: v for i, v in _held(results, plain, kept).items()}
    pmap = constrain(plain, held or None, results.record.arguments.get("constraints"))
    gamma = pmap.gamma_of_link(link)
    objective = model.make_objective(pmap)
    value = objective.moments(pmap.working(gamma), 0).llf
    wanted = point.objective.moments(point.working, 0).llf
    slack = 1e-8 if objective.dtype == torch.float64 else 1e-4
    if not abs(value - wanted) <= slack * (1 + abs(value)):
        raise OptionError(
            "score_test(added=...): with the new columns at zero the log-likelihood is another "
            f"({value:.8g} and not {wanted:.8g}). The likelihood must use self.exog by self.exog @ params only."
        )
    return Wider(model, pmap, gamma, objective, pmap.link_jacobian(gamma)[list(new)], labels)


def _held(results: Estimates, plain: ParamMap, kept: Sequence[int]) -> dict[int, float]:
    """Return the reported values of fixed parameters, by their positions among more parameters."""
    fixed = {}
    for i, link in results.fit.map.held.items():
        natural = plain.naturals.get(kept[i])
        at = torch.tensor(link, dtype=torch.float64, device="cpu")
        fixed[kept[i]] = float(at if natural is None else natural.transform(at))
    return fixed


def _least_squares(results: Estimates, wide: Design, old: int, labels: tuple[str, ...]) -> Wider:
    """Return least squares with further columns, given sigma at its maximum without them."""
    data = results.model.data
    y = data.endog if data.offset is None else data.endog - data.offset
    objective = LeastSquares(wide.X, y, wide.means, None if data.weights is None else data.weights.values)
    pmap = ParamMap(wide.terms, wide.terms, wide.scale, uncentring(wide.means, wide.constant, wide.cross.mean))
    zeros = torch.zeros(len(wide.terms) - old, dtype=torch.float64, device="cpu")
    gamma = pmap.gamma_of_link(torch.cat([results.fit.map.link(results.fit.gamma), zeros]))
    s2 = float(torch.exp(2 * log_sigma(results, "score_test()")))
    return Wider(results.model, pmap, gamma, objective, pmap.link_jacobian(gamma)[old:], labels, s2)
