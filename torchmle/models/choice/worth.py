"""Say what attributes are worth in money, and how random coefficients are distributed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.absent import need_rows
from ...data.choice_formula import BY_ALTERNATIVE
from ...data.vectors import FloatArray
from ...errors import OptionError, UndefinedStatisticError, listing, unknown
from ...inference.wald import critical
from ...results.estimates import within_unit
from .base import ChoiceModel
from .drawn import jacobian_of
from .latent import LatentClassLogit
from .mixed import MixedLogit
from .population import STATISTICS, Population, refuse_zero
from .quantities import Quantities, covariance_of, estimates_of, quantities
from .scenes import model_of, need_design

if TYPE_CHECKING:
    from .results import ChoiceResults

METHODS = ("delta", "krinsky_robb", "fieller")


@dataclass(frozen=True, eq=False)
class _Row:
    """Hold one number: its name, its statistic, and the function of the parameters that it is."""

    name: str
    statistic: str
    value: Callable[[Tensor], Tensor]
    pair: tuple[str, str] | None = None


def wtp(
    results: ChoiceResults, attributes: Any, price: str, method: str, alpha: float, draws: int, seed: int
) -> Quantities:
    """Return what attributes are worth; see :meth:`ChoiceResults.wtp`."""
    if method not in METHODS:
        raise OptionError(unknown("method", method, METHODS))
    for name, number, least in (("draws", draws, 100), ("seed", seed, 0)):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < least:
            raise OptionError(f"{name}={number!r} must be a whole number of {least} or more.")
    level = within_unit(alpha)
    model = need_design(results, "wtp()")
    names = [attributes] if isinstance(attributes, str) else list(attributes)
    _check_names(model, names, price)
    rows = [row for name in names for row in _rows(model, name, price, estimates_of(results))]
    found = _evaluated(results, f"Willingness to pay, in units of {price!r}", rows, level)
    if method == "krinsky_robb":
        return _krinsky_robb(results, found, rows, int(draws), int(seed))
    return found if method == "delta" else _fieller(results, found, rows)


def _evaluated(results: ChoiceResults, title: str, rows: Sequence[_Row], alpha: float) -> Quantities:
    theta = estimates_of(results).requires_grad_()
    values = torch.stack([row.value(theta) for row in rows])
    labels = pd.DataFrame({"attribute": [r.name for r in rows], "statistic": [r.statistic for r in rows]})
    if (labels.statistic == "ratio").all():
        labels = labels[["attribute"]]
    return quantities(results, title, labels, values, jacobian_of(values, theta), alpha)


def _check_names(model: ChoiceModel, names: Sequence[Any], price: Any) -> None:
    own = list(model.exog_names)
    for name in (*names, price):
        if name not in own:
            raise OptionError(f"wtp(): {unknown('coefficient', name, own)}")
        others = _also_in(model, name)
        if others:
            raise OptionError(
                f"wtp(): the attribute of {name!r} also stands in {listing(map(repr, others))}, so that its worth "
                "depends on where it is taken. Say where, with delta_method('-(a + 40 * b) / (c + 40 * d)')."
            )
    if price in names:
        raise OptionError(f"wtp(): {price!r} is the price itself.")
    if not names:
        raise OptionError("wtp(): name at least one attribute.")


def _also_in(model: ChoiceModel, name: str) -> list[str]:
    """Return other coefficients whose column depends on the attribute that the column of one depends on."""
    design = model.design
    if design.formulas is None:
        return []
    varying = _attributes(model)
    by_name = {c.name: c for c in design.columns}
    own = by_name[name]
    mine = _words(own.name, own.alternative) & varying
    return [
        c.name
        for c in design.columns
        if c.name != name
        and mine & _words(c.name, c.alternative)
        and (c.alternative is None or own.alternative is None or c.alternative == own.alternative)
    ]


def _words(name: str, alternative: Any) -> set[str]:
    term = name if alternative is None else name.removesuffix(f":{alternative}")
    return set(re.findall(r"[^\W\d]\w*", term))


def _attributes(model: ChoiceModel) -> set[str]:
    """Return the variables that differ between alternatives; without rows, those that are not known not to."""
    data, formulas = model.design.data, model.design.formulas
    if data is not None:
        return {str(c) for c in data.frame.columns if str(c) not in data.roles.names and _varies(model, str(c))}
    shared = formulas.parts.get(BY_ALTERNATIVE) if formulas is not None else None
    return set() if formulas is None else set(formulas.variables) - (shared.variables if shared is not None else set())


def _varies(model: ChoiceModel, column: str) -> bool:
    """Return whether a column differs between the alternatives of a situation."""
    data = model.design.data
    assert data is not None
    codes = pd.factorize(data.frame[column])[0]
    return bool((codes != codes[data.starts[data.situation]]).any())


def _rows(model: ChoiceModel, name: str, price: str, theta: Tensor) -> list[_Row]:
    """Return what is to be computed for an attribute."""
    places = {n: i for i, n in enumerate(model.param_names)}
    if isinstance(model, LatentClassLogit):
        return [_row_of_class(model, c, name, price) for c in range(model.classes)]
    plain = _Row(name, "ratio", lambda t: -t[places[name]] / t[places[price]], (name, price))
    if not isinstance(model, MixedLogit):
        return [plain]
    random = model.randomness
    if random.space == "wtp":
        return _rows_in_wtp_space(model, name, price)
    if random.generalized:
        raise OptionError(
            "wtp(): in a generalized mixed logit the scale of a person moves both coefficients. Use "
            "delta_method('-a / b') for the ratio of the means."
        )
    if name not in random.laws and price not in random.laws:
        return [plain]
    if random.features:
        need_rows(model.data, "wtp() with means that depend on persons")
    if price not in random.laws:
        return _rows_at_fixed_price(model, name, price, places)
    found = Population(model, theta)
    refuse_zero(random.laws[price], found.distribution(price), price, f"wtp({name!r}, {price!r})")

    def moments(t: Tensor) -> tuple[Tensor, Tensor]:
        one, two = Population(model, t).inverse_moments(price, name)
        return -one, two

    def sd(t: Tensor) -> Tensor:
        one, two = moments(t)
        return (two - one.square()).sqrt()

    return [_Row(name, "mean", lambda t: moments(t)[0]), _Row(name, "sd", sd)]


def _row_of_class(model: LatentClassLogit, position: int, name: str, price: str) -> _Row:
    """Return the worth of an attribute to the persons of one class."""
    names, places = model.param_names, model.layout.places[position].tolist()
    own, money = (places[model.exog_names.index(n)] for n in (name, price))
    return _Row(name, f"class{position + 1}", lambda t: -t[own] / t[money], (names[own], names[money]))


def _rows_in_wtp_space(model: MixedLogit, name: str, price: str) -> list[_Row]:
    random = model.randomness
    if price != random.price:
        raise OptionError(f"wtp(): the model is in willingness-to-pay space with price={random.price!r}.")
    if name not in random.laws:
        place = model.param_names.index(name)
        return [_Row(name, "mean", lambda t: t[place])]
    return [_Row(name, s, _statistic(model, name, s)) for s in STATISTICS[:3]]


def _statistic(model: MixedLogit, name: str, statistic: str) -> Callable[[Tensor], Tensor]:
    return lambda t: Population(model, t).distribution(name).statistic(statistic)


def _rows_at_fixed_price(model: MixedLogit, name: str, price: str, places: dict[str, int]) -> list[_Row]:
    """Return the law of a ratio whose denominator is a number: that of the coefficient, scaled."""
    law, features = model.randomness.laws[name], model.randomness.features.get(name)
    linear = law.name in ("normal", "uniform", "triangular") and not features
    at = places[price]
    found = []
    for statistic in STATISTICS[:3]:
        inner = _statistic(model, name, statistic)
        pair = (name, price) if linear and statistic != "sd" else None

        def value(t: Tensor, inner: Callable[[Tensor], Tensor] = inner, sd: bool = statistic == "sd") -> Tensor:
            return inner(t) / t[at].abs() if sd else -inner(t) / t[at]

        found.append(_Row(name, statistic, value, pair))
    return found


def _krinsky_robb(results: ChoiceResults, found: Quantities, rows: Sequence[_Row], draws: int, seed: int) -> Quantities:
    """Return percentile intervals over draws of the parameters from their normal law (Krinsky and Robb 1986)."""
    notes = list(found.notes[1:]) if results.converged else list(found.notes)
    limits = np.full((len(rows), 2), np.nan)
    if results.converged:
        drawn = parameter_draws(results, draws, seed)
        with torch.no_grad():
            values = torch.stack([torch.stack([_somewhere(row, t) for row in rows]) for t in drawn])
        lost = int((~torch.isfinite(values)).any(1).sum())
        ends = torch.tensor([found.alpha / 2, 1 - found.alpha / 2], dtype=values.dtype)
        limits = np.nanquantile(values.numpy(), ends.numpy(), axis=0).T
        notes.insert(
            0, f"Intervals by {draws} draws of the parameters (Krinsky and Robb), seed {seed}; std err: delta."
        )
        if lost:
            notes.append(f"{lost} draws gave no number and are left out.")
    return replace(found, limits=limits, notes=tuple(notes))


def _somewhere(row: _Row, theta: Tensor) -> Tensor:
    """Return a value at drawn parameters; derivatives are needed inside for medians."""
    with torch.enable_grad():
        return row.value(theta).detach()


def parameter_draws(results: ChoiceResults, draws: int, seed: int) -> Tensor:
    """Return (draws, P) parameters from the normal law around the estimates."""
    covariance = covariance_of(results)
    sd = covariance.diagonal().clamp(min=0.0).sqrt()
    units = torch.where(sd > 0, sd, 1.0)
    values, vectors = torch.linalg.eigh(covariance / torch.outer(units, units))
    root = units[:, None] * vectors * values.clamp(min=0.0).sqrt()
    generator = torch.Generator(device="cpu").manual_seed(int(seed))
    z = torch.randn(draws, len(covariance), generator=generator, dtype=torch.float64, device="cpu")
    found: Tensor = estimates_of(results) + z @ root.mT
    return found


def _fieller(results: ChoiceResults, found: Quantities, rows: Sequence[_Row]) -> Quantities:
    """Return Fieller's (1954) sets: the ratios that a test of ``a + w p = 0`` does not reject."""
    bent = [f"{r.name} ({r.statistic})" for r in rows if r.pair is None]
    keep = [i for i, r in enumerate(rows) if r.pair is not None and r.statistic != "median"]
    if not keep:
        raise UndefinedStatisticError(
            f"method='fieller' is for ratios of two parameters, and {listing(bent)} is none. Use method='krinsky_robb'."
        )
    found = found.take(keep)
    theta, covariance = estimates_of(results), covariance_of(results)
    places = {n: i for i, n in enumerate(model_of(results).param_names)}
    limits, notes = np.full((len(keep), 2), np.nan), []
    for row, k in enumerate(keep):
        pair = rows[k].pair
        if not results.converged or pair is None:
            continue
        at = [places[n] for n in pair]
        b, V = theta[at].numpy(), covariance[at][:, at].numpy()
        limits[row], said = _fieller_set(b, V, critical(found.alpha, found.df))
        notes += [f"{rows[k].name}: {said}"] if said else []
    first = "Intervals by Fieller's method; std err: delta." if results.converged else found.notes[0]
    return replace(found, limits=limits, notes=(first, *found.notes[1:], *notes))


def _fieller_set(b: FloatArray, V: FloatArray, c: float) -> tuple[FloatArray, str]:
    """Return the ends of the set of ``w = -b0 / b1``, and what to say where it is not an interval."""
    A, B, C = b[1] ** 2 - c**2 * V[1, 1], b[0] * b[1] - c**2 * V[0, 1], b[0] ** 2 - c**2 * V[0, 0]
    inside = B**2 - A * C
    if A > 0:
        roots = np.sort(-(B + np.array([-1, 1]) * np.sqrt(inside)) / A)
        return roots, ""
    both = np.array([-np.inf, np.inf])
    if inside <= 0:
        return both, "the price coefficient is not told from zero: every ratio is in the set."
    low, high = np.sort(-(B + np.array([-1, 1]) * np.sqrt(inside)) / A)
    return both, f"the price coefficient is not told from zero: the set is all but ({low:.4g}, {high:.4g})."


# ---- the laws of random coefficients


def need_mixed(results: ChoiceResults, what: str) -> MixedLogit:
    """Return the model, or raise where no coefficient is random."""
    model = model_of(results)
    if not isinstance(model, MixedLogit):
        raise UndefinedStatisticError(f"{what} is about random coefficients, and {type(model).__name__} has none.")
    return model


def random_coefficients(results: ChoiceResults, alpha: float) -> Quantities:
    """Return how random coefficients are distributed; see :meth:`ChoiceResults.random_coefficients`."""
    model = need_mixed(results, "random_coefficients()")
    if model.randomness.features:
        need_rows(model.data, "random_coefficients() with means that depend on persons")
    names = Population(model, estimates_of(results)).names
    rows = [_Row(name, s, _statistic(model, name, s)) for name in names for s in STATISTICS]
    found = _evaluated(results, "Random coefficients over persons", rows, within_unit(alpha))
    labels = found.labels.rename(columns={"attribute": "coefficient"})
    notes = list(found.notes)
    if model.randomness.space == "wtp":
        price = model.randomness.price
        notes.append(f"What a unit is worth, in units of {price!r}; the rows of {price!r} are the weight of money.")
    return replace(found, labels=labels, notes=tuple(notes))


def spread(results: ChoiceResults, alpha: float) -> Quantities:
    """Return standard deviations and correlations of the normals; see :meth:`ChoiceResults.spread`."""
    model = need_mixed(results, "spread()")
    random = model.randomness
    inside = {name: block for block in random.blocks for name in block}
    rows: list[_Row] = []
    for name, law in random.laws.items():
        kind = "spread" if law.name in ("uniform", "triangular") else "sd"
        rows.append(_Row(f"{kind}:{name}", "ratio", _spread(model, name)))
    for block in random.blocks:
        rows += [
            _Row(f"cor:{a}:{b}", "ratio", _correlation(model, a, b)) for i, a in enumerate(block) for b in block[:i]
        ]
    if not rows:
        raise UndefinedStatisticError("spread(): only the scale of utility varies; see tau among the parameters.")
    found = _evaluated(results, "Spreads and correlations", rows, within_unit(alpha))
    bent = [n for n in inside if random.laws[n].name != "normal"]
    notes = [*found.notes]
    if bent:
        notes.append(f"Of the normals under {listing(bent)}; random_coefficients() has the coefficients' own.")
    return replace(found, labels=found.labels.rename(columns={"attribute": "parameter"}), notes=tuple(notes))


def _spread(model: MixedLogit, name: str) -> Callable[[Tensor], Tensor]:
    return lambda t: Population(model, t).spread(name)


def _correlation(model: MixedLogit, one: str, other: str) -> Callable[[Tensor], Tensor]:
    return lambda t: Population(model, t).correlation(one, other)
