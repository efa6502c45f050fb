"""Repeat a fit from its record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..config import resolve_device
from ..data.absent import has_rows, need_rows
from ..data.batch import DataOptions
from ..data.extras import ExtraInputs
from ..data.formula import parse
from ..data.frames import as_frame, column_names
from ..data.vetting import obstacle
from ..errors import DataWarning, OptionError, listing, warn
from ..inference.estimator import BY_ROW
from ..results.fit import Record
from ..results.results import Results
from .base import GenericLikelihoodModel
from .function import FunctionModel
from .load import find_class, load
from .predictors import LinearPredictorModel
from .record import SILENT
from .views import of_table

Source = Results | Record | str | os.PathLike[str]


def replay(
    source: Source, data: Any = None, model: type[GenericLikelihoodModel] | GenericLikelihoodModel | None = None
) -> Results:
    """Fit again as a record says: the same model, formulas, columns, method, options, start, seed and covariance.

    On the same data the results are the same to the last bit, with the same versions on the same machine.

    Parameters
    ----------
    source : results, their ``record``, or the name of a file that :meth:`Results.save` wrote.
    data : a table to fit on; by default the rows that the results hold.
    model : as in :func:`torchmle.load`. A built model is fitted as it stands, on its own rows.

    Raises
    ------
    NoDataError
        If there are neither rows in the results nor data.
    OptionError
        If the model was made of arrays and a table is given, or the record does not hold what is needed.

    Examples
    --------
    >>> import torchmle as tm
    >>> data = tm.datasets.load("mroz")
    >>> res = tm.Logit.from_formula("inlf ~ educ + age", data).fit(cov_type="HC1")
    >>> tm.replay(res, data).bse.equals(res.bse)
    True
    """
    if isinstance(source, (str, os.PathLike)):
        source = load(source, model)
    if not isinstance(source, (Results, Record)):
        raise OptionError(f"source is {type(source).__name__}; it must be results, their record or the name of a file.")
    record = source if isinstance(source, Record) else source.record
    results = source if isinstance(source, Results) else None
    arguments: dict[str, Any] = {k: v for k, v in record.arguments.items() if k not in SILENT}  # no file is written
    missing = list(record.unrepeatable)
    if isinstance(model, GenericLikelihoodModel):
        if data is not None:
            raise OptionError("A built model has its own rows; give data or a built model, not both.")
        target = model
    elif data is not None:
        target = _built(record, results, data, model)
        ids = [text for text in missing if text.startswith("cov_kwds[")]
        if ids:
            raise OptionError(f"{ids[0]} Fit the model on these data, with the name of a column.")
    else:
        target = _own_rows(results)
        _with_ids(arguments, results, missing)
        start = arguments.get("start_params")
        if isinstance(start, dict) and "separated" in target.data.rows.causes:  # some columns went with the rows
            arguments["start_params"] = {k: v for k, v in start.items() if k in target.param_names}
    if missing:
        warn(f"This fit cannot be repeated in all its parts. {' '.join(missing)}", DataWarning)
    return target.fit(**arguments)


def _own_rows(results: Results | None) -> GenericLikelihoodModel:
    """Return the model of results that have their rows."""
    if results is None:
        raise OptionError("A record holds no data; give some: replay(record, data), or replay(record, model=model).")
    need_rows(results.model.data, "replay() without data")
    if results.fit.safety is not None:
        raise OptionError(
            "These results hold the candidate part of the data only, and not the rows that were kept for the safety "
            "test. Give all of them: replay(results, data), or a built model."
        )
    assert isinstance(results.model, GenericLikelihoodModel)
    return results.model


def _with_ids(arguments: dict[str, Any], results: Results | None, missing: list[str]) -> None:
    """Put ids, times and coordinates back where they were an array and the results still hold it."""
    if results is None or not has_rows(results.model.data):
        return
    for key in BY_ROW:
        told = [text for text in missing if text.startswith(f"cov_kwds[{key!r}]")]
        if told and key in results.cov_kwds:
            arguments["cov_kwds"] = {**arguments.get("cov_kwds", {}), key: results.cov_kwds[key]}
            missing.remove(told[0])


def _built(
    record: Record, results: Results | None, data: Any, cls: type[GenericLikelihoodModel] | None
) -> GenericLikelihoodModel:
    """Return the model of a record on another table."""
    if cls is None:
        cls = type(results.model) if results is not None else find_class(*record.model.split(":", 1))  # type: ignore[assignment]
    assert cls is not None
    if record.formula is None or issubclass(cls, FunctionModel):
        raise OptionError(
            f"{cls.__name__} was not made of a formula, so a table does not say what to fit. Build the model on the "
            "new data and give it: replay(source, model=model)."
        )
    if issubclass(cls, LinearPredictorModel) and set(record.formulas) - set(cls.predictor_names()):
        raise OptionError(
            "A predictor of this fit has a module, which a record does not hold. Build the model on the new "
            "data and give it: replay(source, model=model)."
        )
    arrays = [key for key, value in record.inputs.items() if _is_array(value)]
    if arrays:
        raise OptionError(
            f"{listing(arrays)} were given as arrays, not as names of columns, and a record does not hold them. Build "
            "the model on the new data and give it: replay(source, model=model)."
        )
    context = {} if results is None else results.model.data.context
    _vet(record, data, context)
    inputs = dict(record.inputs)
    choices = {name: inputs.pop(name, "drop") for name in ("missing", "collinear")}
    options = DataOptions(choices["missing"], choices["collinear"], *resolve_device(record.device, record.dtype))
    own = {name: inputs.pop(name) for name in cls.own_inputs if name in inputs}
    first, *others = record.formulas
    texts = {name: record.formulas[name] for name in others}
    return of_table(cls, record.formula, data, first, texts, ExtraInputs(**inputs), options, context, **own)


def _is_array(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and any(v is None for v in value.values()))


def _vet(record: Record, data: Any, context: Mapping[str, Any]) -> None:
    """Refuse a formula that could run more than arithmetic: a record may come from a file."""
    assert record.formula is not None
    first, *others = record.formulas
    texts = {name: record.formulas[name] for name in others}
    formulas = parse(record.formula, first, texts, [str(c) for c in column_names(as_frame(data))])
    why = obstacle(formulas, context, response=True)
    if why is not None:
        raise OptionError(
            f"replay() does not evaluate formulas with functions that it does not know: {why}. Build the model on the "
            "data and give it: replay(source, model=model)."
        )
