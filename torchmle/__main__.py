"""Run a first result: least squares on real data, the same model from one's own likelihood, and a Tobit."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from . import __version__
from .config import resolve_device
from .data import datasets
from .errors import TorchmleError
from .models.base import GenericLikelihoodModel
from .models.linear import OLS
from .special import log_ndtr, normal_logpdf

WAGES = "lwage ~ educ + exper + tenure"
HOURS = "hours ~ nwifeinc + educ + exper + expersq + age + kidslt6 + kidsge6"


class NormalRegression(GenericLikelihoodModel):
    """Write a linear regression as a log-likelihood of the coefficients and log sigma.

    Examples
    --------
    >>> import torchmle as tm
    >>> from torchmle.__main__ import NormalRegression
    >>> res = NormalRegression.from_formula("lwage ~ educ", tm.datasets.load("wage1")).fit()
    >>> list(res.params.index)
    ['Intercept', 'educ', 'log_sigma']
    """

    extra_params = ("log_sigma",)

    def loglikeobs(self, params: Tensor) -> Tensor:
        """Return the normal log-density of each row."""
        log_sigma = params[-1]
        z = (self.endog - self.exog @ params[:-1]) * torch.exp(-log_sigma)
        return normal_logpdf(z) - log_sigma


class Tobit(GenericLikelihoodModel):
    """Write a regression whose response is censored at zero (Tobin 1958).

    Examples
    --------
    >>> import torchmle as tm
    >>> from torchmle.__main__ import Tobit
    >>> res = Tobit.from_formula("hours ~ educ + kidslt6", tm.datasets.load("mroz")).fit()
    >>> res.converged
    True
    """

    extra_params = ("log_sigma",)

    def loglikeobs(self, params: Tensor) -> Tensor:
        """Return the density of a positive response, and the probability of a zero."""
        mu, log_sigma = self.exog @ params[:-1], params[-1]
        z = (self.endog - mu) * torch.exp(-log_sigma)
        zero = log_ndtr(-mu * torch.exp(-log_sigma))
        return torch.where(self.endog > 0, normal_logpdf(z) - log_sigma, zero)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration and return the exit code: 0, 1 if a fit found no maximum, 2 for an error.

    Parameters
    ----------
    arguments : what stands after ``python -m torchmle``; None reads the command line.

    Examples
    --------
    >>> from torchmle.__main__ import main
    >>> main(["--device", "cpu"])
    torchmle ...
    0
    """
    parser = argparse.ArgumentParser(prog="python -m torchmle", description=__doc__)
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps, or auto (default): cuda where there is one, else cpu",
    )
    try:
        return _demonstrate(parser.parse_args(arguments).device)
    except TorchmleError as error:
        print(f"torchmle: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has gone, as in "| head"; Python would write once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _demonstrate(device: str) -> int:
    where, dtype = resolve_device(device, torch.float64)
    print(f"torchmle {__version__}, torch {torch.__version__}, device {where}, {dtype}\n")

    wage1, mroz = datasets.load("wage1"), datasets.load("mroz")
    ols = OLS.from_formula(WAGES, wage1, device=where).fit()
    print(f"1. Least squares: {WAGES} ({datasets.describe('wage1').title})\n\n{ols.summary()}\n")

    normal = NormalRegression.from_formula(WAGES, wage1, device=where).fit()
    print(f"2. The same model from a log-likelihood of one's own, beside it\n\n{normal.compare_ols()}\n")

    tobit = Tobit.from_formula(HOURS, mroz, device=where).fit()
    print(f"3. Another likelihood: hours of work, zero or more ({datasets.describe('mroz').title})\n")
    print(tobit.summary(), flush=True)
    return 0 if ols.converged and normal.converged and tobit.converged else 1


if __name__ == "__main__":
    sys.exit(main())
