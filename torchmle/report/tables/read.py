"""Read the models of a table, whatever they are, into columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import OptionError
from ...results.bootstrap import BootstrapResults, JackknifeResults
from ...results.effects import Margins
from ...results.results import Results
from .column import Column, Ends
from .foreign import NEEDED, foreign_column
from .own import (
    margins_column,
    quantities_column,
    resampled_column,
    results_column,
    with_quantities,
    with_resampled,
)


def read_models(models: Any) -> tuple[list[Any], list[str] | None]:
    """Return the models of a list, a dict of heading to model, or a single one, and the headings of a dict."""
    if isinstance(models, Mapping):
        listed, headings = list(models.values()), [str(k) for k in models]
    elif isinstance(models, list):
        listed, headings = list(models), None
    else:
        listed, headings = [models], None
    if not listed:
        raise OptionError("table() was given no models; pass a list of results, e.g. table([res1, res2]).")
    return listed, headings


def read_column(model: Any, ends: Ends) -> Column:
    """Return the column of a model, or of a pair of a result and what takes the place of its estimates."""
    if isinstance(model, tuple):
        return _pair(model, ends)
    if isinstance(model, Results):
        return results_column(model, ends)
    if isinstance(model, (BootstrapResults, JackknifeResults)):
        return resampled_column(model, ends)
    return _quantities(model, ends) or foreign_column(model, ends)


def _quantities(model: Any, ends: Ends) -> Column | None:
    """Return the column of functions of estimates with labelled rows, or None for anything else."""
    if isinstance(model, Margins):
        return margins_column(model, ends)
    offers = ("title", "labels", "values", "covariance", "se", "conf_int")
    return quantities_column(model, ends) if all(hasattr(model, name) for name in offers) else None


def _pair(models: Sequence[Any], ends: Ends) -> Column:
    if len(models) != 2 or not isinstance(models[0], Results):
        seen = ", ".join(type(m).__name__ for m in models)
        raise OptionError(f"A model is a tuple of ({seen}); several models are given as a list. {NEEDED}.")
    results, other = models
    if isinstance(other, (BootstrapResults, JackknifeResults)):
        return with_resampled(results, other, ends)
    found = _quantities(other, ends)
    if found is None:
        raise OptionError(
            f"A model is a tuple, and its second part is of type {type(other).__name__}; several models are given as a "
            f"list. {NEEDED}."
        )
    return with_quantities(results, found)
