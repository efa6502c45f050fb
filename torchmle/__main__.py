"""Run the command line: a fit, or a first result on real data, also from likelihoods of one's own."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from . import __version__
from .config import resolve_device
from .data import datasets
from .errors import OptionError, TorchmleError, TorchmleWarning, unknown
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
    """Run ``fit``, or the demonstration where no command is given, and return the exit code.

    0 says that everything converged, 1 that a fit found no maximum, 2 that something was wrong with what was asked.

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
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _plain_warnings():
            return _fit(given[1:]) if given[:1] == ["fit"] else _demonstrate(_device(given))
    except SystemExit as left:  # argparse has said why
        return int(left.code or 0)
    except BrokenPipeError:  # the reader has gone, as in "| head"; Python would write once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        _complain("interrupted.")
        return 130
    except TorchmleError as error:
        _complain(str(error))
        return 2


def _fit(given: list[str]) -> int:
    from .cli.arguments import read_arguments
    from .cli.fit import fit_command

    arguments = read_arguments(given)
    try:
        outcome = fit_command(arguments)
    except Exception as error:
        if arguments.traceback or isinstance(error, BrokenPipeError):
            raise
        text = str(error) if isinstance(error, TorchmleError) else f"{type(error).__name__}: {error}"
        _complain(text + ("" if isinstance(error, TorchmleError) else " (--traceback shows where.)"))
        return 2
    if outcome.text:
        print(outcome.text, flush=True)
    return outcome.code


def _complain(text: str) -> None:
    print(f"torchmle: {text}", file=sys.stderr)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as a line on standard error, those of torchmle each time."""

    def show(message: Warning | str, category: type[Warning], *where: object, **more: object) -> None:
        _complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", TorchmleWarning)
        warnings.showwarning = show
        yield


def _device(given: list[str]) -> str:
    """Return the device for the demonstration."""
    from .cli.arguments import Parser

    parser = Parser(
        prog="python -m torchmle",
        description="Show a first result: least squares, the same from one's own likelihood, and a Tobit.",
        epilog="Commands: fit FORMULA FILE fits a model to a table; python -m torchmle fit --help.",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps, or auto (default): cuda where there is one, else cpu",
    )
    if given and not given[0].startswith("-"):
        raise OptionError(f"{unknown('command', given[0], ['fit'])} Without a command a demonstration runs.")
    device: str = parser.parse_args(given).device
    return device


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
