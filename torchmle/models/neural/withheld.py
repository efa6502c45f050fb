"""Say why there is no covariance of all parameters of a trained module."""

from __future__ import annotations

from typing import Any

import torch

from ...data.absent import Absent
from ...errors import DataError, UndefinedStatisticError
from ...inference.ingredients import Covariance
from ...loglik.network import Network

WHOLE_UP_TO = 200
"""Parameters up to which a covariance of NaN is a matrix."""

LISTED_UP_TO = 50
"""Parameters up to which a module is fitted by Newton's method, and a summary lists all of them."""

ADVICE = "For a part of the parameters, given the rest: results.block_errors([...])"


class Withheld(Absent):
    """Be a covariance that is not there; any use of it says why."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return super().__torch_function__(func, types, args, kwargs)
        except DataError:
            raise undefined() from None


def undefined() -> UndefinedStatisticError:
    """Return the error for what needs the covariance of all parameters."""
    return UndefinedStatisticError(
        "There is no covariance of all parameters of a module that was trained and not shown to be at a maximum. "
        f"{ADVICE}."
    )


def reason(network: Network) -> str:
    """Return why there are no standard errors, for the summary."""
    parts = network.dropout
    if parts:
        return (
            f"none: parts of the network were dropped out at random while it was trained ({', '.join(parts)}), and "
            "this is no maximum of the likelihood of the whole network"
        )
    if network.size <= LISTED_UP_TO:
        return "none: training ended before a maximum was shown. To go on to it: fit(resume=results, method='newton')"
    return (
        "none: training ended before a maximum was shown, and the weights of a network are not identified one by one "
        f"(its units can be exchanged). {ADVICE}"
    )


def no_covariance(network: Network, params: int, cov_type: str, use_t: bool | None) -> Covariance:
    """Return a covariance that is not there."""
    nan = torch.full((), torch.nan, dtype=torch.float64, device="cpu").expand(params, params)
    matrix = nan.clone() if params <= WHOLE_UP_TO else nan.as_subclass(Withheld)
    return Covariance(cov_type, matrix, bool(use_t), {}, reason(network))
