"""List what results may ask of a model that is fitted again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..data.absent import need_rows
from ..errors import OptionError, unknown
from ..results.estimates import Estimates
from ..results.predict import need_solution
from .bootstrap import bootstrap, jackknife
from .influence import influence
from .permutation import permutation


def simulate(results: Estimates, *, params: Any, n: int | None, seed: int) -> Any:
    """Return responses drawn from the fit, or at other parameters."""
    need_rows(results.model.data, "simulate()")
    if params is None:
        need_solution(results, "simulate()")
    model: Any = results.model
    return model.simulate(results if params is None else params, n=n, seed=seed)


def at_edge(results: Estimates, *, name: str) -> Any:
    """Return the fit with one parameter held at its bound."""
    bounds = results.record.arguments.get("bounds") or {}
    if name not in bounds:
        known = list(bounds) or ["(none: this fit has no bounds)"]
        raise OptionError(
            f"{unknown('parameter with a bound:', name, known)} Or pass the results of the model at the edge, e.g. "
            "those of Poisson for a negative binomial."
        )
    ends = [end for end in bounds[name] if end is not None]
    if len(ends) != 1:
        raise OptionError(f"{name!r} has two bounds; pass the results of the fit at the one that is tested.")
    given = results.record.arguments
    rest = {k: v for k, v in bounds.items() if k != name} or None
    model: Any = results.model
    fixed = {**(given.get("fixed") or {}), name: float(ends[0])}
    return model.fit(method="newton", fixed=fixed, constraints=given.get("constraints"), bounds=rest)


METHODS: Mapping[str, Callable[..., Any]] = {
    "bootstrap": bootstrap,
    "jackknife": jackknife,
    "permutation": permutation,
    "simulate": simulate,
    "influence": influence,
    "at_edge": at_edge,
}
"""What :meth:`GenericLikelihoodModel.resampled` answers."""
