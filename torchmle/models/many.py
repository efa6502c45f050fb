"""Fit one model many times: on groups of rows, on many responses, with many weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import OptionError
from ..results.many import ManyResults
from .base import GenericLikelihoodModel
from .jobs import by_groups, by_outcomes, by_weights
from .request import FitRequest
from .running import run_plan

OF_A_FIT = {f.name for f in fields(FitRequest)} - {"general"}
NOT_HERE = ("resume", "checkpoint", "callback")
"""Arguments of ``fit`` that are for one fit only."""


def fit_many(
    model: type[GenericLikelihoodModel],
    formula: str,
    data: Any,
    *,
    by: Any = None,
    outcomes: Any = None,
    weights: Any = None,
    weight_kind: str | None = None,
    progress: bool | None = None,
    **options: Any,
) -> ManyResults:
    """Fit one model on each group of a table, for each of many responses, or with each of many weights.

    Declarative models are fitted together by a batched Newton method; what does not come to a safe maximum there, and
    all other models, are fitted one by one. Each row of the answer is what its own fit gives.

    Parameters
    ----------
    model : the class, e.g. ``torchmle.Logit``.
    formula : ``"y ~ x1 + x2"``; with ``outcomes`` without a response, ``"~ x1 + x2"``.
    data : a pandas frame, a polars or pyarrow table, or a dict of columns. It is not changed.
    by : column, or list of columns, whose values name the groups. The terms of the formula are evaluated once, on all
        rows: levels of ``C(x)`` and the mean in ``center(x)`` are those of the table. A level that a group does not
        have leaves NaN in its column.
    outcomes : names of the responses, or a frame with a column a response and the labels of ``data``, such as
        ``model.simulate(params, n=1000)`` gives.
    weights, weight_kind : names of the weights or a frame of them, and ``"freq_weights"``, ``"var_weights"`` or
        ``"sampling_weights"``.
    progress : a line on the terminal; by default where there is one and it takes long.
    options : of ``from_formula`` (``offset="lpop"``, ``log_sigma="~ x"``) and of ``fit`` (``cov_type``, ``fixed``).
        ``"nonrobust"``, ``"opg"``, ``"HC0"`` and ``"HC1"`` are computed together, other covariances one by one.

    Returns
    -------
    ManyResults
        Estimates and errors by fit, NaN with a cause where there is none (separation, collinear columns, no rows);
        ``many[key]`` is one fit in full.

    Raises
    ------
    OptionError, DataError, FormulaError
        If not exactly one of ``by``, ``outcomes`` and ``weights`` is given, or for what is wrong with all fits.

    Examples
    --------
    >>> import torchmle as tm
    >>> data = tm.datasets.load("mroz")
    >>> many = tm.fit_many(tm.Logit, "inlf ~ educ + age", data, by="city", cov_type="HC1")
    >>> many.params.shape, int(many.nobs.sum())
    ((2, 3), 753)
    >>> many[0].converged
    True
    """
    asked = [k for k, v in {"by": by, "outcomes": outcomes, "weights": weights}.items() if v is not None]
    _check_arguments(model, formula, asked, weights, weight_kind, options)
    fit = {k: v for k, v in options.items() if k in OF_A_FIT}
    of_model = {k: v for k, v in options.items() if k not in OF_A_FIT}

    def make(text: str, table: Any, **more: Any) -> GenericLikelihoodModel:
        return model.from_formula(text, table, **of_model, **more)

    if by is not None:
        plan = by_groups(make, formula, data, by)
    elif outcomes is not None:
        plan = by_outcomes(make, formula, data, outcomes)
    else:
        plan = by_weights(make, formula, data, weights, weight_kind)
    return run_plan(plan, model.__name__, fit, progress)


def _check_arguments(
    model: Any, formula: Any, asked: list[str], weights: Any, weight_kind: Any, options: Mapping[str, Any]
) -> None:
    if not isinstance(model, type) or not issubclass(model, GenericLikelihoodModel):
        raise OptionError(f"model is {model!r}; give the class of a model, e.g. torchmle.Logit.")
    if not isinstance(formula, str):
        raise OptionError(f"formula is {formula!r}; it must be a string such as 'y ~ x1 + x2'.")
    if isinstance(weights, str):
        raise OptionError(
            f"weights={weights!r} must be a list of columns; for the weights of all fits give var_weights."
        )
    if len(asked) != 1:
        seen = " and ".join(asked) if asked else "none of them"
        raise OptionError(f"Give one of by=, outcomes= and weights=; {seen} was given.")
    if weight_kind is not None and asked != ["weights"]:
        raise OptionError("weight_kind says what weights=[...] are, and there are none.")
    for name in NOT_HERE:
        if options.get(name) is not None:
            raise OptionError(f"{name} belongs to a single fit; fit_many has no such argument.")
