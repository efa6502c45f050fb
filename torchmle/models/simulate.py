"""Draw responses from a model, and answer what results ask of models that are fitted again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import DataError, LikelihoodError, OptionError, UndefinedStatisticError
from ..optim.checks import check_whole
from ..results.estimates import Estimates
from ..results.restricted import refuse_restricted
from ..workers import engine

if TYPE_CHECKING:
    from ..data.batch import ModelData
    from .base import GenericLikelihoodModel


class Simulated:
    """Add to a model: draws of its response, and the methods of results that fit it again."""

    data: ModelData
    own_inputs: tuple[str, ...] = ()
    """Arguments of the constructor that only this model has, as ``data.given`` names them."""
    own_state: tuple[str, ...] = ()
    """Attributes that are the same for any response."""
    kept_columns: bool = False
    """Whether the columns of the main formula are what a module takes, as they are."""

    def simulate_endog(self, *etas: Tensor, generator: torch.Generator) -> Tensor:
        """Return (n,) draws of the response given the linear predictors; override to make ``simulate`` work.

        An opaque model gets its vector of parameters instead of predictors. Draw with torch functions that take
        ``generator``, on the CPU, e.g. ``torch.randn(n, generator=generator, dtype=torch.float64)``.
        """
        raise UndefinedStatisticError(
            f"{type(self).__name__} does not say how responses are drawn. Define simulate_endog(self, *etas, "
            "generator) -> (n,) (an opaque model: simulate_endog(self, params, generator))."
        )

    def simulate(self, params: Any, n: int | None = None, seed: int = 0) -> pd.Series | pd.DataFrame:
        """Draw responses for the rows in use: one a row, whatever its weight; ``var_weights`` divide its variance.

        Parameters
        ----------
        params : in the units of the results: a sequence, a dict or a Series by name.
        n : how many responses; None for one, as a Series.
        seed : draws are the same for the same seed, on any device; torch's own seed is not touched.

        Returns
        -------
        pandas.Series or pandas.DataFrame
            With the labels of the rows; a column a response.

        Raises
        ------
        UndefinedStatisticError
            If the model does not say how responses are drawn.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.Poisson.from_formula("narr86 ~ pcnv", tm.datasets.load("crime1"))
        >>> int(model.simulate({"Intercept": -0.8, "pcnv": -0.4}, seed=1).max())
        4
        """
        state = check_seed(seed)
        with engine():
            predictors = predictors_at(self, params)
            labels, name = self.data.rows.labels, self.data.endog_name
            count = 1 if n is None else check_count(n)
            drawn = np.column_stack([draw(self, predictors, state, number).numpy() for number in range(count)])
        if n is None:
            return pd.Series(drawn[:, 0], index=labels, name=name)
        return pd.DataFrame(drawn, index=labels)

    @property
    def rowless(self) -> dict[str, Any]:
        """Return attributes as they are where rows are gone; those as long as the data need not be among them."""
        return {}

    def restore(self, given: Any, module: Any) -> None:
        """Make what a file does not hold: of a model or a module that the user gives."""
        if module is not None:
            raise OptionError(f"module= is for models whose likelihood is a module, not for {type(self).__name__}.")

    def resampled(self, results: Estimates, what: str, **options: Any) -> Any:
        """Return what a method of results asks for that fits the model again."""
        from .resample import METHODS

        if what != "simulate":
            refuse_restricted(results, f"{what}()", "Fit again on parts of the data with the same constraints.")
        return METHODS[what](results, **options)


def check_count(n: Any) -> int:
    """Return how many responses to draw."""
    check_whole("n", n, 1)
    return int(n)


def predictors_at(model: Any, params: Any) -> list[Tensor]:
    """Return what draws are made of, in float64 on the CPU: linear predictors, or an opaque model's parameters."""
    from .derivatives import at
    from .predictors import LinearPredictorModel

    given = cast("GenericLikelihoodModel", model)
    if isinstance(params, Estimates):
        if isinstance(model, LinearPredictorModel):
            return [eta.detach().double().cpu() for eta in model.row_etas(params)]
        return [params._theta.detach().double().cpu()]
    if not isinstance(model, LinearPredictorModel):
        from .request import as_params

        return [as_params(params, given.param_names, "params")]
    pmap, gamma, _ = at(model, params)
    etas = model.etas(pmap.link(gamma), model.data)
    known = [None, *(model.known_part(j) for j in range(1, len(etas)))]
    return [(e if p is None else e + p).detach().double().cpu() for e, p in zip(etas, known, strict=True)]


def draw(model: Any, predictors: list[Tensor], seed: int, number: int) -> Tensor:
    """Return one (n,) response in float64; each has a generator of its own, keyed by its number."""
    from .views import moved

    there = moved(model, "cpu") if model.data.device.type != "cpu" else model
    state = int(np.random.SeedSequence([seed, number, 1]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    generator = torch.Generator(device="cpu").manual_seed(state)
    found = there.simulate_endog(*predictors, generator=generator)
    n = len(model.endog)
    if not isinstance(found, Tensor) or tuple(found.shape) != (n,):
        seen = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise LikelihoodError(f"{type(model).__name__}.simulate_endog returned {seen}; it must be a tensor ({n},).")
    if not bool(torch.isfinite(found).all()):
        raise DataError(
            f"{type(model).__name__}.simulate_endog gave {int((~torch.isfinite(found)).sum())} draws that are not "
            "finite at these parameters."
        )
    return found.detach().double()


def check_seed(seed: Any) -> int:
    """Return a seed that is a whole number from zero."""
    if seed is None:
        raise OptionError("seed=None: give a whole number, so that the replicates can be drawn again.")
    check_whole("seed", seed, 0)
    return int(seed)
