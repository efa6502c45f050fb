"""State equations and inequalities in any function of the parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import OptionError

Kind = Literal["equality", "inequality"]


@dataclass(frozen=True)
class Condition:
    """Hold one constraint: ``given`` is zero, or at least zero, in each of its values.

    Attributes
    ----------
    given : a function of named parameters, or of these and the model; or text, as :meth:`Results.delta_method` takes.
    name : what tables and messages call it; empty for one that is made up.
    text : the equation or inequality as it was written, or None for a function.
    """

    kind: Kind
    given: Any
    name: str = ""
    text: str | None = None

    @property
    def takes_model(self) -> bool:
        """Return whether the function wants the model beside the parameters."""
        return callable(self.given) and positional(self.given) > 1


def positional(function: Callable[..., Any]) -> int:
    """Return how many arguments a function needs by position; 1 where that is not known."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in places and p.default is inspect.Parameter.empty for p in found)


def equality(fn: Any, name: str | None = None) -> Condition:
    """Return the constraint ``fn = 0``, for ``fit(constraints=[...])``.

    Parameters
    ----------
    fn : function of a mapping from the names of the parameters to 0-d tensors, in the units of ``params``, that returns
        a tensor: one number, or a vector of numbers that all are to be zero. A function of two arguments gets the model
        as well, for its data. Or text, such as ``"educ * exper - 0.1"``.
    name : what the results call it; by default the name of the function.

    Raises
    ------
    OptionError
        If ``fn`` is neither, or wants more than two arguments.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.Logit.from_formula("inlf ~ exper + I(exper**2)", tm.datasets.load("mroz"))
    >>> peak = tm.equality(lambda p: -p["exper"] / (2 * p["I(exper ** 2)"]) - 25, "peak at 25 years")
    >>> res = model.fit(constraints=[peak])
    >>> round(float(res.params["exper"] / res.params["I(exper ** 2)"]), 6)
    -50.0
    """
    return _condition("equality", fn, name)


def inequality(fn: Any, name: str | None = None) -> Condition:
    """Return the constraint ``fn >= 0``, for ``fit(constraints=[...])``.

    Parameters
    ----------
    fn, name : as in :func:`equality`; every value of ``fn`` is to be at least zero.

    Raises
    ------
    OptionError
        If ``fn`` is no function or text, or wants more than two arguments.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.Logit.from_formula("inlf ~ exper + I(exper**2)", tm.datasets.load("mroz"))
    >>> later = tm.inequality(lambda p: -p["exper"] / (2 * p["I(exper ** 2)"]) - 20, "peak after 20 years")
    >>> res = model.fit(constraints=[later])
    >>> res.converged
    True
    """
    return _condition("inequality", fn, name)


def _condition(kind: Kind, fn: Any, name: str | None) -> Condition:
    if not callable(fn) and not isinstance(fn, str):
        raise OptionError(
            f"tm.{kind}() got {type(fn).__name__}; it needs a function of the parameters by name, such as "
            "lambda p: p['a'] * p['b'] - 1, or text such as 'a * b - 1'."
        )
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise OptionError(f"The name of a constraint is {name!r}; it must be text.")
    if callable(fn) and positional(fn) > 2:
        raise OptionError(
            f"The function in tm.{kind}() wants {positional(fn)} arguments; it gets the parameters by name, and the "
            "model if it has a second argument."
        )
    own = getattr(fn, "__name__", "") if name is None else name
    text = fn if isinstance(fn, str) else None
    return Condition(kind, fn, text or "" if own in ("", "<lambda>") else own, text)
