"""Measure single records by their prediction: right or wrong, called positive or not, how badly predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import DataError, LikelihoodError, OptionError, unknown

Values = Tensor | tuple[Tensor, Tensor]
"""(n,) values of the records, or these and the (n,) mask of those that the measure is about."""

LOSSES = ("NLL", "LOSS")
"""Names of the measure that is a record's negative log-likelihood."""


@dataclass(frozen=True)
class Measure:
    """Hold a function of a record's prediction and data, whose mean a constraint bounds.

    Attributes
    ----------
    fn : ``fn(prediction, part)`` -> (n,) values, or values and a mask; ``part`` is the model on these records, with
        ``endog`` and all row data. None for the loss, which is the model's own.
    bounds : range of the values, or None where there is none; the bound of Hoeffding needs it.
    surrogate : a smooth stand-in for ``fn`` where that has no derivative.
    """

    name: str
    fn: Callable[..., Values] | None
    bounds: tuple[float, float] | None = (0.0, 1.0)
    surrogate: Callable[..., Values] | None = None

    def values(self, prediction: Tensor, part: Any, level: Any = None) -> tuple[Tensor, Tensor]:
        """Return checked (n,) values and the mask of the records that they are about."""
        assert self.fn is not None
        values, mask = self._read(self._call(self.fn, prediction, part, level), len(part.endog))
        if not bool(torch.isfinite(values[mask]).all()):
            raise LikelihoodError(
                f"The measure {self.name!r} is not finite for some records; leave them out by a mask."
            )
        if self.bounds is not None and not bool(within(values[mask], self.bounds)):
            low, high = float(values[mask].min()), float(values[mask].max())
            raise LikelihoodError(
                f"The measure {self.name!r} runs from {low:.6g} to {high:.6g}, outside bounds={self.bounds}. Give "
                "the range that its values have, or bounds=None where they have none."
            )
        return values, mask

    def smooth(self, prediction: Tensor, part: Any, level: Any = None) -> tuple[Tensor, Tensor]:
        """Return values that carry derivatives, and the mask."""
        fn = self.surrogate or self.fn
        assert fn is not None
        values, mask = self._read(self._call(fn, prediction, part, level), len(part.endog))
        if not values.requires_grad:
            raise OptionError(
                f"The measure {self.name!r} has no derivative in the prediction, as a comparison has none. Give "
                "a smooth stand-in beside it: tm.measure(fn, surrogate=...), e.g. with probabilities for decisions."
            )
        return values, mask

    def _call(self, fn: Callable[..., Values], prediction: Tensor, part: Any, level: Any) -> Values:
        return fn(prediction, part) if level is None else fn(prediction, part, level)

    def _read(self, found: Any, n: int) -> tuple[Tensor, Tensor]:
        values, mask = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
        for what, one in (("values", values), ("a mask", mask)):
            if one is not None and (not isinstance(one, Tensor) or one.shape != (n,)):
                seen = f"shape {tuple(one.shape)}" if isinstance(one, Tensor) else type(one).__name__
                raise LikelihoodError(f"The measure {self.name!r} must return {what} of shape ({n},); it gave {seen}.")
        if mask is None:
            mask = torch.ones(n, dtype=torch.bool, device=values.device)
        return (values if values.is_floating_point() else values.double()), mask.bool()


def within(values: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return whether all values lie in a range, up to rounding."""
    slack = 1e-9 * (bounds[1] - bounds[0]) if values.dtype == torch.float64 else 1e-5 * (bounds[1] - bounds[0])
    return ((values >= bounds[0] - slack) & (values <= bounds[1] + slack)).all()


# ---- ready-made measures: p is the (n,) probability of 1, or the (n, J) probabilities of the levels


def _level_of(part: Any, level: Any) -> int:
    """Return the position of a level of a categorical response."""
    labels = [str(label) for label in part.labels]
    if str(level) not in labels:
        raise OptionError(unknown("level of the response", level, labels))
    return labels.index(str(level))


def observed(part: Any) -> Tensor:
    """Return the (n,) positions of the observed levels of a categorical response, in the order of its levels."""
    known = getattr(part, "codes", None)
    if known is None:  # the response holds positions
        places: Tensor = part.endog.long()
        return places
    codes = torch.tensor(known, dtype=part.endog.dtype, device=part.endog.device)
    found: Tensor = torch.searchsorted(codes, part.endog)
    return found


def _sides(p: Tensor, part: Any, level: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return decision, probability and truth of a positive: response 1, or one level against all others."""
    if p.ndim == 1:
        return (p >= 0.5).to(p), p, part.endog == 1
    j = _level_of(part, level)
    return (p.argmax(1) == j).to(p), p[:, j], observed(part) == j


def _accuracy(p: Tensor, part: Any) -> Tensor:
    if p.ndim == 1:
        right: Tensor = (p >= 0.5) == (part.endog == 1)
        return right.to(p)
    return (p.argmax(1) == observed(part)).to(p)


def _probability(p: Tensor, part: Any) -> Tensor:
    if p.ndim == 1:
        return torch.where(part.endog == 1, p, 1 - p)
    return p.gather(1, observed(part)[:, None])[:, 0]


def _rate(positive: bool, of: bool | None) -> tuple[Callable[..., Values], Callable[..., Values]]:
    """Return the share called positive (or negative) among those that are (or are not), and its smooth stand-in."""

    def pick(values: Tensor, truth: Tensor) -> Values:
        values = values if positive else 1 - values
        return values if of is None else (values, truth if of else ~truth)

    def hard(p: Tensor, part: Any, level: Any = None) -> Values:
        decision, _, truth = _sides(p, part, level)
        return pick(decision, truth)

    def soft(p: Tensor, part: Any, level: Any = None) -> Values:
        _, probability, truth = _sides(p, part, level)
        return pick(probability, truth)

    return hard, soft


def _ready_made() -> dict[str, Measure]:
    rates = {"TPR": (True, True), "FPR": (True, False), "TNR": (False, False), "FNR": (False, True), "PR": (True, None)}
    found = {"ACC": Measure("ACC", _accuracy, surrogate=_probability)}
    for name, (positive, of) in rates.items():
        hard, soft = _rate(positive, of)
        found[name] = Measure(name, hard, surrogate=soft)
    return found | {name: Measure(name, None, None) for name in LOSSES}


MEASURES: Mapping[str, Measure] = _ready_made()
"""Accuracy; true and false positive and negative rates; positive rate; mean loss."""

ONE_LEVEL = ("TPR", "FPR", "TNR", "FNR", "PR")
"""Measures that speak of one level of a categorical response."""


def check_response(measure: Measure, model: Any) -> None:
    """Refuse ready-made measures of decisions where the response is neither binary nor categorical."""
    if measure.fn is None or MEASURES.get(measure.name) is not measure or model.response in ("binary", "categorical"):
        return
    y = model.endog
    if model.response is None and bool(((y == 0) | (y == 1)).all()):
        return
    raise DataError(
        f"{measure.name} is defined for binary and categorical responses, and {model.endog_names!r} is neither. Use "
        "'NLL <= ...', or a measure of your own: tm.measure(fn, name=..., bounds=...)."
    )
