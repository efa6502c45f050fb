"""Check that a response lies in the support of a model."""

from __future__ import annotations

from typing import Any

import torch

from ..data.batch import ModelData
from ..errors import DataError, DataWarning, OptionError, listing, warn


def _rows(data: ModelData, bad: torch.Tensor) -> str:
    labels: Any = data.rows.labels[bad.cpu().numpy()]
    return f"{int(bad.sum())} of {len(bad)} rows (e.g. row {listing(labels, 3)})"


def require_binary(data: ModelData, model: str) -> None:
    """Raise unless the response is 0/1 and takes both values."""
    y = data.endog
    bad = (y != 0) & (y != 1)
    if bool(bad.any()):
        values = torch.unique(y[:200_000]).tolist()
        hint = "Recode it, e.g. I(y == 2) ~ x." if set(values) == {1.0, 2.0} else "Recode it, e.g. I(y > 0) ~ x."
        raise DataError(
            f"{model} needs a response of 0 and 1 (or bool); {data.endog_name!r} holds "
            f"{listing(f'{v:g}' for v in values)} and is neither in {_rows(data, bad)}. {hint}"
        )
    low, high = torch.aminmax(y)
    if bool(low == high):
        raise DataError(
            f"{model}: the response {data.endog_name!r} is {float(low):g} in every row, so there is no estimate."
        )


def require_counts(data: ModelData, model: str, fractions: bool) -> None:
    """Raise for negative responses, and for fractions where the model has no quasi-likelihood reading."""
    y = data.endog
    negative = y < 0
    if bool(negative.any()):
        raise DataError(
            f"{model} needs a response that is not negative; {data.endog_name!r} is negative in "
            f"{_rows(data, negative)}."
        )
    if bool((y == 0).all()):
        raise DataError(f"{model}: the response {data.endog_name!r} is 0 in every row, so there is no estimate.")
    broken = y != torch.round(y)
    if bool(broken.any()):
        if not fractions:
            raise DataError(
                f"{model} needs counts; {data.endog_name!r} is not a whole number in {_rows(data, broken)}."
            )
        warn(
            f"{model}: the response {data.endog_name!r} is not a whole number in {_rows(data, broken)}. "
            "The estimates are pseudo maximum likelihood; use cov_type='HC1' or 'cluster'.",
            DataWarning,
        )


def refuse_extras(data: ModelData, model: str, takes_exposure: bool, takes_var_weights: bool) -> None:
    """Raise for an exposure or precision weights that have no meaning in a model."""
    if "exposure" in data.offset_names and not takes_exposure:
        raise OptionError(f"{model} has no exposure; it is for models of a log mean. Use offset=.")
    if data.weights is not None and data.weights.kind == "var_weights" and not takes_var_weights:
        raise OptionError(
            f"var_weights are defined for normal models only, not for {model}. "
            "Use freq_weights for counts of rows or sampling_weights for survey weights."
        )


def check_extra_params(names: Any, data: ModelData) -> None:
    """Raise unless ``extra_params`` is a tuple of names that no column bears."""
    if isinstance(names, str):
        raise OptionError(
            f"extra_params is the text {names!r}; it must be a tuple of names: extra_params = ({names!r},)."
        )
    columns = next(iter(data.designs.values())).terms if data.designs else ()
    for name in names:
        if name in columns:
            raise OptionError(f"extra_params holds {name!r}, which is also a column of exog. Choose another name.")
