"""Give one layer a Gaussian posterior: Laplace's approximation, the other layers held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.absent import need_rows
from ...errors import OptionError, UndefinedStatisticError
from ...linalg import cholesky, inverse_spd
from ...optim.checks import check_positive, check_whole
from ...workers import engine
from .blocks import part_of_module
from .newdata import new_records
from .predicting import in_pieces, labelled

if TYPE_CHECKING:
    from .base import ModuleModel
    from .results import NeuralResults

MOST = 3_000
"""Parameters that a layer may have."""


@dataclass(frozen=True, repr=False)
class Laplace:
    """Hold the Gaussian posterior of a layer: mean, covariance, and the model that predicts with its draws.

    Attributes
    ----------
    params : the mean, by name: the parameters of the layer as it was trained.
    prior_precision : one over the variance of the normal prior of every one of them.
    condition : what is taken as given.

    Examples
    --------
    >>> import torch, torchmle as tm
    >>> mroz = tm.datasets.load("mroz")
    >>> model = tm.Classifier(mroz.inlf, mroz[["educ"]] / 10, module=torch.nn.Linear(1, 2))
    >>> posterior = model.fit(method="adam", maxiter=200).laplace("bias", prior_precision=1.0)
    >>> posterior.sd.round(2).tolist(), posterior.predict([[1.2]], draws=20).shape
    ([0.71, 0.71], (1, 2))
    """

    model: ModuleModel
    results: NeuralResults
    params: pd.Series
    covariance: Tensor
    root: Tensor
    prior_precision: float
    condition: str

    def cov_params(self) -> pd.DataFrame:
        """Return the posterior covariance."""
        names = list(self.params.index)
        return pd.DataFrame(self.covariance.numpy().copy(), index=names, columns=names)

    @property
    def sd(self) -> pd.Series:
        """Return the posterior standard deviations."""
        return pd.Series(self.covariance.diagonal().sqrt().numpy(), index=self.params.index)

    def predict(
        self, exog: Any = None, which: str | None = None, *, draws: int = 100, seed: int = 0, **new: Any
    ) -> Any:
        """Average predictions over draws from the posterior.

        Parameters
        ----------
        exog, which, new : see :meth:`NeuralResults.predict`; classes are not averaged: take the most probable one.
        draws : how many; the Monte Carlo error falls with their root.
        seed : of the draws; torch's own generators are not used.

        Returns
        -------
        pandas.Series or pandas.DataFrame
            For a classifier the predictive probabilities, which are less sure than those at the mean.
        """
        check_whole("draws", draws, 1)
        check_whole("seed", seed, 0)
        which = which or self.model.usual_prediction
        if which == "class":
            raise OptionError("Classes are not averaged; take the most probable one: predict().idxmax(axis=1).")
        with engine():
            target, index = new_records(self.results, self.model.rank, exog, new)
            generator = torch.Generator(device="cpu").manual_seed(seed)
            mean = torch.from_numpy(self.params.to_numpy().copy())
            total, columns = None, None
            for _ in range(draws):
                noise = torch.randn(len(mean), generator=generator, dtype=torch.float64, device="cpu")
                values, columns = in_pieces(self.model, mean + self.root @ noise, target, which)
                total = values.double() if total is None else total + values.double()
        assert total is not None
        return labelled(total / draws, columns, index, None if exog is None else target.rows.used)

    def __repr__(self) -> str:
        return f"<Laplace posterior of {len(self.params)} parameters; {self.condition}>"


def laplace(results: NeuralResults, layer: str, prior_precision: float) -> Laplace:
    """Return the posterior of a layer; see :meth:`NeuralResults.laplace`."""
    need_rows(results.model.data, "laplace()")
    results.refuse_random("laplace()")
    check_positive("prior_precision", prior_precision)
    part = part_of_module(results, layer)
    if part.network.size > MOST:
        raise OptionError(f"{layer!r} has {part.network.size} parameters; a posterior is computed for up to {MOST}.")
    if part.data.weights is not None and part.data.weights.kind == "sampling_weights":
        raise OptionError("laplace() is not defined under sampling_weights: they make the likelihood a pseudo one.")
    pmap = part.make_map(part.param_names)
    mean = part.start_params
    hessian = part.make_objective(pmap).moments(mean, 2).hessian
    assert hessian is not None
    precision = prior_precision * torch.eye(len(mean), dtype=torch.float64, device="cpu") - hessian
    factor = cholesky(precision)
    if factor is None:
        raise UndefinedStatisticError(
            f"The posterior precision of {layer!r} is not positive definite at this point: the log-likelihood bends "
            "upwards there. Train longer, or give a larger prior_precision."
        )
    covariance = inverse_spd(factor)
    root = torch.linalg.solve_triangular(factor.mT, torch.eye(len(mean), dtype=torch.float64, device="cpu"), upper=True)
    held = len(results.names) - len(mean)
    condition = (
        f"given the network's {held} other parameters; the mean is the layer as it was trained, with a normal prior of "
        f"precision {prior_precision:g}"
    )
    params = pd.Series(mean.numpy().copy(), index=list(np.asarray(part.param_names)))
    return Laplace(part, results, params, covariance, root, float(prior_precision), condition)
