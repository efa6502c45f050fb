"""Carry estimates and their covariance through any function: exact derivatives by autograd (the delta method)."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import LikelihoodError, OptionError, unknown
from .expressions import by_word, evaluate, read_expressions

Function = Callable[[Mapping[str, Tensor]], Any]


def _torch(function: Callable[[Tensor], Tensor]) -> Callable[[Any], Tensor]:
    """Return a function of torch that also takes plain numbers."""

    def applied(value: Any) -> Tensor:
        return function(value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64, device="cpu"))

    return applied


FUNCTIONS: Mapping[str, Callable[[Any], Tensor]] = {
    "exp": _torch(torch.exp),
    "log": _torch(torch.log),
    "sqrt": _torch(torch.sqrt),
    "abs": _torch(torch.abs),
    "expit": _torch(torch.sigmoid),
    "logit": _torch(torch.logit),
    "normcdf": _torch(torch.special.ndtr),
    "expm1": _torch(torch.expm1),
    "log1p": _torch(torch.log1p),
    "tanh": _torch(torch.tanh),
    "atanh": _torch(torch.atanh),
}
"""What may be called in a function of parameters that is written as text."""


class Named(Mapping[str, Tensor]):
    """Be the parameters by name, 0-d tensors that can be differentiated; an unknown name says what there is."""

    def __init__(self, names: Sequence[str], theta: Tensor) -> None:
        self.names, self.values_by_name = list(names), dict(zip(names, theta.unbind(), strict=True))

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.values_by_name:
            raise OptionError(unknown("parameter in the function:", name, self.names))
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def as_function(given: Any, names: Sequence[str]) -> tuple[Callable[[Tensor], Tensor], tuple[str, ...] | None]:
    """Return a function from (K,) parameters to (M,) values, and the labels of the values where there are any.

    Parameters
    ----------
    given : a function of a mapping from names to tensors; text such as ``"exp(educ) / exper"``, several parted by
        commas; a list of such texts; or a dict of label to function or text.
    """
    if isinstance(given, str):
        return _of_texts([given], names)
    if isinstance(given, Mapping):
        return _of_mapping(given, names)
    if isinstance(given, Sequence) and given and all(isinstance(text, str) for text in given):
        return _of_texts(given, names)
    if callable(given):
        return lambda theta: _checked(given(Named(names, theta))), None
    raise OptionError(
        f"The function of the parameters is {given!r}; it must be a function of a mapping (lambda p: p['educ'] / "
        "p['exper']), text such as 'educ / exper', a list of texts, or a dict of label to one of these."
    )


def _of_texts(texts: Sequence[str], names: Sequence[str]) -> tuple[Callable[[Tensor], Tensor], tuple[str, ...]]:
    trees = [(tree, text) for text in texts for tree in read_expressions(text, names, "the function")]
    labels = tuple(text.strip() if len(trees) == len(texts) else as_text(tree, names) for tree, text in trees)

    def function(theta: Tensor) -> Tensor:
        values = by_word(names, theta.unbind())
        found = [evaluate(tree, values, FUNCTIONS, names, f"the function {text!r}") for tree, text in trees]
        return torch.stack([v if isinstance(v, Tensor) else theta.new_tensor(v) for v in found])

    return function, labels


def as_text(tree: ast.expr, names: Sequence[str]) -> str:
    """Return an expression as text."""
    text = ast.unparse(tree)
    for i in reversed(range(len(names))):
        text = text.replace(f"__parameter_{i}__", names[i])
    return text


def _of_mapping(given: Mapping[Any, Any], names: Sequence[str]) -> tuple[Callable[[Tensor], Tensor], tuple[str, ...]]:
    if not given:
        raise OptionError("There is no function in an empty dict.")
    parts = [as_function(value, names)[0] for value in given.values()]

    def function(theta: Tensor) -> Tensor:
        found = [part(theta) for part in parts]
        for label, values in zip(given, found, strict=True):
            if len(values) != 1:
                raise OptionError(f"The function {label!r} gives {len(values)} values; in a dict each gives one.")
        return torch.cat(found)

    return function, tuple(map(str, given))


def _checked(value: Any) -> Tensor:
    """Return what a user's function gave as (M,) values."""
    if isinstance(value, (tuple, list)) and value and all(isinstance(v, Tensor) and v.ndim == 0 for v in value):
        value = torch.stack(list(value))
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim > 1:
        seen = f"shape {tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise LikelihoodError(
            f"The function of the parameters returned {seen}; it must return a floating point tensor, one number or a "
            "vector, made of the parameters by torch functions."
        )
    return value.reshape(-1)


def value_and_jacobian(function: Callable[[Tensor], Tensor], theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return (M,) values and their exact (M, K) derivatives.

    Raises
    ------
    LikelihoodError
        If the values do not depend on the parameters by torch operations, or are not finite.
    """
    at = theta.detach().clone().requires_grad_()
    values = function(at)
    if not len(values) or not values.requires_grad:
        raise LikelihoodError(
            "The function of the parameters does not depend on them, or has lost their derivatives (.item(), float(), "
            ".detach() or numpy inside it). Use torch functions on the tensors that it gets."
        )
    rows = []
    for i in range(len(values)):
        found: tuple[Tensor | None, ...] = (None,)
        if values[i].requires_grad:
            found = torch.autograd.grad(values[i], at, retain_graph=True, allow_unused=True)
        rows.append(torch.zeros_like(at) if found[0] is None else found[0])
    jacobian = torch.stack(rows).detach().cpu().double()
    values = values.detach().cpu().double()
    if not bool(torch.isfinite(values).all() and torch.isfinite(jacobian).all()):
        raise LikelihoodError(
            "The function of the parameters, or a derivative of it, is not finite at the estimates. Look for log or "
            "sqrt of what is not positive, and division by zero."
        )
    return values, jacobian
