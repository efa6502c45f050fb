"""Check a user's log-likelihood once, at the start: each failure has its own sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import LikelihoodError, TorchmleError, listing
from ..workers import derivatives_on

SAMPLE = 2_000
"""Rows on which the checks that need no more are made."""

Rows = slice | Tensor


def check_returned(values: Any, rows: int, what: str) -> Tensor:
    """Return the values if they are a floating tensor of shape (rows,), or raise with what is wrong."""
    problem = _what_is_wrong(values, rows)
    if problem:
        raise LikelihoodError(f"{what} {problem}")
    assert isinstance(values, Tensor)
    return values


def check_scalar(value: Any, what: str) -> Tensor:
    """Return a scalar log-likelihood as a tensor of shape (1,), or raise with what is wrong."""
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
        return value.reshape(1)
    if isinstance(value, Tensor):
        raise LikelihoodError(
            f"{what} returned shape {tuple(value.shape)}, dtype {value.dtype}; loglike must return the sum, one "
            "floating point number. Name the method loglikeobs if it returns one value a row."
        )
    return check_returned(value, 1, what)


def _what_is_wrong(values: Any, rows: int) -> str | None:
    if values is None:
        return "returned None. Is the return statement missing?"
    if isinstance(values, (np.ndarray, np.generic, pd.Series)):
        return (
            f"returned a numpy or pandas object ({type(values).__name__}), which has no derivatives. "
            "Use torch functions on self.endog and self.exog (or torchmle's, such as tm.normal_logpdf)."
        )
    if isinstance(values, (int, float)):
        return "returned a plain number, which has no derivatives; return a tensor with one value a row."
    if not isinstance(values, Tensor):
        return f"returned {type(values).__name__}; it must return a tensor of shape ({rows},)."
    if values.ndim == 0:
        return (
            f"returned a scalar; it must return one value a row, shape ({rows},). Leave the sum out, "
            "or override loglike(params) if your likelihood has no rows."
        )
    if not values.is_floating_point():
        return f"returned dtype {values.dtype}; it must be a floating point tensor."
    if tuple(values.shape) == (rows, 1) and rows > 1:
        return f"returned shape ({rows}, 1); it must be ({rows},). Drop the last axis with .squeeze(-1)."
    if tuple(values.shape) == (rows, rows) and rows > 1:
        return (
            f"returned shape ({rows}, {rows}); it must be ({rows},). An (n, 1) tensor probably met an (n,) one: "
            "use .squeeze(-1) on the first."
        )
    if tuple(values.shape) != (rows,):
        return f"returned shape {tuple(values.shape)}; it must be ({rows},), one value a row."
    return None


def check_likelihood(
    function: Callable[[Rows, Tensor], Tensor], at: Tensor, near: Tensor, rows: int, device: torch.device, what: str
) -> str | None:
    """Check shape, derivative, determinism and the independence of rows on a sample.

    Parameters
    ----------
    function : (rows, inputs) -> (rows,) values; ``inputs`` is what derivatives are taken of.
    at, near : the start, and a point near it: at zero parameters, rows that depend on each other can look as if not.

    Returns
    -------
    str or None
        Why the rows cannot be evaluated apart, or None if they can.

    Raises
    ------
    LikelihoodError
        With a sentence of its own for each way to fail; an exception of the user's code stays attached.
    """
    count = min(rows, SAMPLE)
    with derivatives_on(device):
        inputs = at.detach().clone().requires_grad_()
        sample = slice(0, count)
        try:
            values = _evaluate(function, sample, inputs, what)
            check_returned(values, count, what)
            _check_dtype(values, at, what)
        except Exception as error:
            if count == rows:
                raise
            return _only_whole(function, inputs, rows, what, error)
        _check_graph(values, inputs, what)
        pairs = [(values, _evaluate(function, sample, inputs, what))]
        try:
            pairs.append((_evaluate(function, sample, near, what), _evaluate(function, sample, near, what)))
            evaluable = True
        except LikelihoodError:  # the point is ours, not the user's
            evaluable = False
        if not all(_same(*pair, exactly=True) for pair in pairs):
            raise LikelihoodError(
                f"{what} gave different values for the same parameters. Draw random numbers once, in __init__ or "
                "as row_data, and switch dropout off."
            )
        return _coupled(function, inputs, count, what) or (_coupled(function, near, count, what) if evaluable else None)


def _check_dtype(values: Tensor, at: Tensor, what: str) -> None:
    if values.dtype != at.dtype:
        raise LikelihoodError(
            f"{what} returned {values.dtype}, but the model computes in {at.dtype}, so that digits are lost. Look for "
            ".float(), .half() or dtype=... inside it."
        )


def _evaluate(function: Callable[[Rows, Tensor], Tensor], rows: Rows, inputs: Tensor, what: str) -> Tensor:
    try:
        return function(rows, inputs)
    except TorchmleError:
        raise
    except Exception as error:
        hint = ""
        if isinstance(error, (IndexError, RuntimeError)) and ("size" in str(error) or "index" in str(error)):
            hint = " Parameters beside the columns of exog are declared by extra_params = ('name', ...)."
        if "requires grad" in str(error) and "numpy" in str(error):
            hint = " A numpy function was called on a tensor of the parameters: use the torch function of that name."
        raise LikelihoodError(f"{what} raised {type(error).__name__}: {error}.{hint}") from error


def _only_whole(
    function: Callable[[Rows, Tensor], Tensor], inputs: Tensor, rows: int, what: str, error: Exception
) -> str:
    """Accept a likelihood that works on all rows at once only."""
    try:
        whole = check_returned(_evaluate(function, slice(0, rows), inputs, what), rows, what)
    except Exception:
        raise error from None
    _check_graph(whole, inputs, what)
    return f"it fails on a part of the rows ({error})"


def _check_graph(values: Tensor, inputs: Tensor, what: str) -> None:
    if not values.requires_grad:
        raise LikelihoodError(
            f"{what} returned a tensor that does not depend on the parameters. Look for .detach(), .item(), "
            "float(), .numpy(), torch.no_grad() or torch.tensor(...) around a parameter."
        )
    (gradient,) = torch.autograd.grad(values.sum(), inputs, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise LikelihoodError(f"{what} does not depend on the parameters.")


def _coupled(function: Callable[[Rows, Tensor], Tensor], inputs: Tensor, count: int, what: str) -> str | None:
    """Say why rows are not independent: a part of the rows must give the same values as the whole."""
    if count < 4:
        return None
    part = slice(count // 3, count - count // 4)
    values = _evaluate(function, slice(0, count), inputs, what)
    try:
        apart = _evaluate(function, part, inputs, what)
    except LikelihoodError as error:
        return f"it fails on a part of the rows ({error})"
    if tuple(apart.shape) != (part.stop - part.start,):
        return f"on {part.stop - part.start} of the rows it returns shape {tuple(apart.shape)}"
    if not _same(values[part], apart, exactly=False):
        return "a row's value changes with the other rows (a mean, a rank or a lag over rows?)"
    return None


def _same(a: Tensor, b: Tensor, exactly: bool) -> bool:
    rtol = 0.0 if exactly else 1e-9 if a.dtype == torch.float64 else 1e-4
    return bool(torch.allclose(a, b, rtol=rtol, atol=rtol, equal_nan=True))


def describe_not_finite(values: Tensor, labels: Sequence[Any], names: Sequence[str], params: Sequence[float]) -> str:
    """Return the sentence for log-likelihoods that are not finite: which rows, at which parameters."""
    bad = (~torch.isfinite(values)).nonzero().flatten().tolist()
    kinds = ["NaN"] * bool(torch.isnan(values).any()) + ["infinite"] * bool(torch.isinf(values).any())
    shown = ", ".join(f"{n}={p:.6g}" for n, p in list(zip(names, params, strict=True))[:8])
    more = ", ..." if len(names) > 8 else ""
    return (
        f"The log-likelihood is {' or '.join(kinds)} in {len(bad)} of {len(values)} rows "
        f"(row {listing([labels[i] for i in bad[:3]])}{', ...' if len(bad) > 3 else ''}) at {shown}{more}."
    )
