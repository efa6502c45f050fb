"""Say how a column of the user's data moves the attributes of alternatives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.choice import ChoiceData
from ...data.choice_formula import parse_choice
from ...data.formula import names_in_steps
from ...data.vectors import FloatArray
from ...errors import DataError, DataWarning, OptionError, unheard, unknown
from ...results.sheet import stands_alone
from ...results.slopes import slopes
from .mixed import MixedLogit
from .scenes import Scene, scene_of_data

EXTRA = ("W", "Z")
"""What models read of situations beside attributes of alternatives."""


@dataclass(frozen=True, eq=False)
class Attribute:
    """Hold a variable at some situations.

    Attributes
    ----------
    values : (S, J), 0 where an alternative is not available.
    slopes : (S, J, K) derivatives of the attributes of an alternative in its own value.
    shared : whether it is a variable of the situation, the same for all alternatives.
    linear : whether it stands for itself in every term.
    smooth : whether every derivative exists.
    """

    values: Tensor
    slopes: Tensor
    shared: bool
    linear: bool
    smooth: bool


def read_attribute(scene: Scene, name: str, what: str) -> Attribute:
    """Return how a column moves the attributes, or raise where none depends on it."""
    data = scene.design.data
    if data is None:
        return _of_array(scene, name, what)
    sheet = _Rows(scene, data, _need_number(scene, data, name, what), what)
    found = slopes(sheet, sheet.frame, name)
    matrix = found.columns["utility"][1]
    if not (matrix != 0).any():
        raise OptionError(f"{what}: no coefficient multiplies {name!r} in these data, so that it moves nothing.")
    J = len(scene.alternatives)
    values = _cells(data.frame[name].to_numpy(dtype=np.float64)[:, None], sheet.cells, len(scene), J)[..., 0]
    D = _cells(matrix, sheet.cells, len(scene), J)
    first = data.frame[name].to_numpy()[data.starts[data.situation]]
    shared = bool((data.frame[name].to_numpy() == first).all())
    X = scene.attributes
    return Attribute(values.to(X), D.to(X), shared, sheet.is_linear(name), found.smooth)


def _of_array(scene: Scene, name: str, what: str) -> Attribute:
    names, X = scene.model.exog_names, scene.attributes
    if name not in names:
        raise OptionError(f"{what}: {unknown('attribute', name, names)}")
    k = names.index(name)
    D = torch.zeros_like(X)
    D[..., k] = scene.there.to(X)
    return Attribute(X[..., k], D, False, True, True)


def _need_number(scene: Scene, data: ChoiceData, name: str, what: str) -> str:
    """Return the name of a numeric column that the formula uses, or raise."""
    formulas, columns = scene.design.formulas, [str(c) for c in data.frame.columns]
    assert formulas is not None
    used = [c for c in columns if c in formulas.variables]
    if name not in columns:
        raise OptionError(f"{what}: {unknown('column', name, used)}")
    dtype = data.frame[name].dtype
    if name in formulas.categorical or not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        raise OptionError(
            f"{what}: {name!r} has levels, between which there is no derivative. Ask for the change instead: "
            f"counterfactual({name}=...)."
        )
    if any(name in names_in_steps(t) for part in formulas.parts.values() for t in part.formula):
        raise OptionError(
            f"{what}: {name!r} stands inside a comparison, which has no derivative. Ask for a change that you choose: "
            f"counterfactual({name}=...)."
        )
    return name


@dataclass(frozen=True, eq=False)
class _Rows:
    """Be the rows of choice data, of which attributes can be made again with one column changed."""

    scene: Scene
    data: ChoiceData
    name: str
    what: str

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Return the column by row."""
        return pd.DataFrame({self.name: self.data.frame[self.name].to_numpy(dtype=np.float64)})

    @cached_property
    def cells(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the (rows,) cells of a table of situations by alternatives."""
        order = np.array([self.scene.alternatives.index(a) for a in self.data.alternatives])
        return np.asarray(self.data.situation * len(self.scene.alternatives) + order[self.data.alternative])

    def is_linear(self, name: str) -> bool:
        """Return whether the column stands for itself in every term."""
        columns, own = list(map(str, self.data.frame.columns)), [self.scene.design.formulas]
        text = self.scene.model.component_formula if isinstance(self.scene.model, MixedLogit) else None
        if text is not None:
            own.append(parse_choice(f"~ {text} | 0", self.data))
        return all(formulas is not None and stands_alone(formulas, name, columns) for formulas in own)

    def columns(self, frame: pd.DataFrame, names: Iterable[str]) -> dict[str, tuple[list[int], FloatArray]]:
        """Return the attributes by row."""
        try:
            with unheard(DataWarning):
                moved = scene_of_data(
                    self.scene.model, self.data.with_columns(**{self.name: frame[self.name].to_numpy()})
                )
        except DataError as error:
            raise OptionError(
                f"{self.what}: the effect of {self.name!r} needs attributes at values that the formula refuses "
                f"({error})"
            ) from error
        if len(moved) != len(self.scene):
            raise OptionError(
                f"{self.what}: near the values of {self.name!r} the formula gives no number in "
                f"{len(self.scene) - len(moved)} situations, such as a logarithm below zero."
            )
        self._refuse_others(moved)
        rows = moved.attributes.flatten(0, 1).double().cpu().numpy()[self.cells]
        return {"utility": (list(range(rows.shape[1])), rows)}

    def _refuse_others(self, moved: Scene) -> None:
        """Refuse a variable that moves more than attributes."""
        for name in EXTRA:
            one, other = (getattr(s.model, name, None) for s in (self.scene, moved))
            if one is not None and other is not None and not torch.equal(one, other):
                where = "the means of random coefficients" if name == "W" else "the scale of utility or class shares"
                raise OptionError(
                    f"{self.what}: {self.name!r} also moves {where}, which this derivative leaves out. Ask for the "
                    f"change instead: counterfactual({self.name}=...)."
                )

    def stepped(self, name: str) -> dict[str, set[int]]:
        """Return nothing: comparisons are refused before."""
        return {}

    def need_finite(self, key: str, positions: list[int], values: FloatArray) -> None:
        """Refuse derivatives that are no numbers."""
        if not np.isfinite(values).all():
            raise OptionError(
                f"{self.what}: the slope of a term in {self.name!r} is not finite for some rows, such as that of a "
                "square root at zero."
            )


def _cells(rows: FloatArray, cells: np.ndarray[tuple[int], np.dtype[np.int64]], S: int, J: int) -> Tensor:
    """Return (S, J, k) values by situation and alternative for values by row, 0 where there is no row."""
    table = np.zeros((S * J, rows.shape[1]))
    table[cells] = rows
    return torch.from_numpy(table.reshape(S, J, rows.shape[1]))
