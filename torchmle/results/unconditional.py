"""Add the sampling of the rows to the errors of averages over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data.vectors import FloatArray
from ..errors import OptionError
from ..inference.cov import ESTIMATORS, average_covariance
from ..inference.estimator import Sandwich
from ..inference.ingredients import Influences
from ..loglik.leastsquares import LeastSquares
from .asked import Mask
from .inference import check_inference

if TYPE_CHECKING:
    from .estimates import Estimates


NO_SUM = {
    "nonrobust": "which takes the model as right",
    "opg": "which takes the model as right",
    "HC2": "which divides rows by their leverage on the estimates; averages have none",
    "HC3": "which divides rows by their leverage on the estimates; averages have none",
    "CR2": "which divides residuals by their leverage on the estimates; averages have none",
    "CRV3": "which leaves out clusters; margins are not computed again without them",
}
"""Why the errors of a fit are no sums of products of influences."""


def check_unconditional(results: Estimates, typical: str | None) -> None:
    """Refuse unconditional errors where rows are not averaged, or the errors of the fit take the model as right."""
    if not issubclass(ESTIMATORS[results.cov_type], Sandwich):
        robust = ", ".join(name for name, kind in ESTIMATORS.items() if issubclass(kind, Sandwich))
        raise OptionError(
            f"vce='unconditional' needs robust errors that are sums over rows: use with_cov('HC1') or another of "
            f"{robust} first. This fit has {results.cov_type!r}, {NO_SUM[results.cov_type]}."
        )
    if typical is not None:
        raise OptionError(f"vce='unconditional' needs averages over the rows; at={typical!r} has none. Use 'overall'.")


def unconditional(
    results: Estimates,
    jacobian: Tensor,
    weights: FloatArray,
    values: Tensor,
    rows: FloatArray,
    masks: Sequence[Mask],
) -> Tensor:
    """Return the covariance of averages ``m`` over rows that are a sample, too.

    A row's influence is ``(f_i - m) / W + J bread s_i``. Times the weight of the row, these take the place of the
    scores in the covariance in use, with its clusters, lags or distances and its correction (HC1: n/(n-K) ...); an
    automatic bandwidth is that of the influences.
    """
    influence = _of_estimates(results) @ jacobian.mT
    for m, mask in enumerate(masks):
        own = mask * (rows[:, m] - float(values[m])) / weights[mask].sum()
        influence[:, m] += torch.from_numpy(own)
    return _summed(results, influence, torch.from_numpy(weights.copy()))


def _of_estimates(results: Estimates) -> Tensor:
    """Return the (n, K) influence of a row, of weight one, on the link-scale estimates: ``bread s_i``."""
    fit, weights = results.fit, results.model.data.weights
    own_bread = results.inference.covariance.bread  # that of the expected information, where it was asked for
    bread = results.inference.bread if own_bread is None else own_bread
    if bread is None:
        return torch.full((results.model.data.rows.count, len(fit.map.link_names)), torch.nan, dtype=torch.float64)
    scores = fit.objective.scores(fit.map.working(fit.gamma)).double().cpu() @ fit.map.working_jacobian(fit.gamma)
    own = fit.objective.weights
    if weights is not None and weights.kind == "var_weights" and own is not None:
        scores = scores * own.double().cpu()[:, None]  # precisions belong to the estimates, not to averages over rows
    return scores @ bread @ fit.map.link_jacobian(fit.gamma).mT


def _summed(results: Estimates, influence: Tensor, weights: Tensor) -> Tensor:
    """Return the covariance of sums of influences, as the errors of the fit treat scores."""
    estimator = check_inference(
        results.model, results.cov_type, results.cov_kwds, True, isinstance(results.fit.objective, LeastSquares)
    )
    assert isinstance(estimator, Sandwich)
    data = results.model.data
    counts = data.weights is not None and data.weights.kind == "freq_weights"
    rows = Influences(influence, weights, counts)
    return average_covariance(rows, estimator, results.fit.observed, len(results.fit.gamma))
