"""Define what a covariance estimator is: a small frozen object, read from a name and a dict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from ..data.batch import ModelData
from ..errors import OptionError, unknown
from .ingredients import Contributions, Found, Ingredients

Information = Literal["observed", "expected"]

BY_ROW = ("groups", "time", "coords")
"""Entries of ``cov_kwds`` that have a value for each row."""


@dataclass(frozen=True)
class Setting:
    """Hold what is known of a fit before it is done, for what cannot be estimated to be refused early.

    Attributes
    ----------
    data : the rows in use with their weights and groups.
    separable : whether the likelihood has scores of single rows.
    closed_form : whether it is least squares in closed form.
    not_expected : why the expected information is not known; empty where it is.
    """

    data: ModelData
    separable: bool = True
    closed_form: bool = False
    not_expected: str = ""

    @property
    def weights(self) -> str | None:
        """Return the kind of weights."""
        return None if self.data.weights is None else self.data.weights.kind

    @property
    def labels(self) -> pd.Index:
        """Return the labels of the rows in use."""
        return self.data.rows.labels


class Options:
    """Read ``cov_kwds`` for one estimator, refusing what it does not know."""

    def __init__(
        self, cov_type: str, kwds: Mapping[str, Any] | None, allowed: tuple[str, ...], setting: Setting
    ) -> None:
        if kwds is not None and not isinstance(kwds, Mapping):
            raise OptionError(f"cov_kwds is {type(kwds).__name__}; it must be a dict, e.g. {{'groups': 'firm'}}.")
        self.cov_type, self.given, self.setting = cov_type, dict(kwds or {}), setting
        for key in self.given:
            if key not in allowed:
                raise OptionError(unknown(f"entry of cov_kwds for cov_type={cov_type!r}:", key, allowed or ["(none)"]))

    def get(self, name: str, default: Any = None) -> Any:
        """Return what was given; None stands for the default."""
        value = self.given.get(name)
        return default if value is None else value

    def need(self, name: str, how: str) -> Any:
        """Return what was given, or say that it has to be."""
        if self.given.get(name) is None:
            raise OptionError(f"cov_type={self.cov_type!r} needs {name}: pass cov_kwds={{{name!r}: {how}}}.")
        return self.given[name]

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """Return one of some words."""
        value = self.need(name, " or ".join(map(repr, choices))) if default is None else self.get(name, default)
        if value not in choices:
            raise OptionError(unknown(name, value, choices))
        return str(value)

    def flag(self, name: str) -> bool:
        """Return True or False, False by default."""
        value = self.get(name, False)
        if not isinstance(value, (bool, np.bool_)):
            raise OptionError(f"{name}={value!r} must be True or False.")
        return bool(value)

    def number(self, name: str, value: Any) -> float:
        """Return a positive, finite number."""
        real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not real or not np.isfinite(value) or value <= 0:
            raise OptionError(f"{name}={value!r} must be a positive number.")
        return float(value)

    def information(self) -> Information:
        """Return which information is the bread."""
        expected = self.choice("information", ("observed", "expected"), "observed") == "expected"
        if expected and self.setting.not_expected:
            raise OptionError(f"information='expected' is not available here: {self.setting.not_expected}")
        return "expected" if expected else "observed"


@dataclass(frozen=True, kw_only=True)
class Estimator(ABC):
    """Estimate a covariance from bread, scores, groups and weights.

    Attributes
    ----------
    cov_type : the name under which it was asked for.
    information : whether its bread is the observed or the expected information.
    """

    entries: ClassVar[tuple[str, ...]] = ()
    """What ``cov_kwds`` may hold."""

    needs_rows: ClassVar[bool] = True
    """Whether it needs scores of single rows."""

    refused_weights: ClassVar[Mapping[str, str]] = {}
    """Kinds of weights under which it is not defined, with the reason."""

    cov_type: str
    information: Information = "observed"

    @classmethod
    @abstractmethod
    def read(cls, options: Options) -> Estimator:
        """Return the estimator that a name and its options ask for."""

    @abstractmethod
    def covariance(self, parts: Ingredients) -> Found:
        """Return the covariance in gamma."""


@dataclass(frozen=True, kw_only=True)
class Sandwich(Estimator):
    """Estimate by bread times meat times bread; a subclass says what the meat is."""

    indefinite: ClassVar[bool] = False
    """Whether the meat may have negative eigenvalues."""

    @abstractmethod
    def meat(self, rows: Contributions, nobs: float, params: int) -> Found:
        """Return the covariance of a sum of contributions, corrected for small samples."""

    def covariance(self, parts: Ingredients) -> Found:
        """Return the covariance in gamma."""
        found = self.meat(parts.scores, parts.nobs, parts.params)
        return replace(found, matrix=parts.sandwich(found.matrix))
