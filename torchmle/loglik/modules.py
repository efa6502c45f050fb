"""Read a ``torch.nn.Module`` as a function of one vector of parameters, and write such a vector back.

The order is that of ``module.named_parameters()``, each tensor row by row. A parameter that the module's author froze
(``requires_grad=False``) is a constant of the module, like its buffers, and not in the vector.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from itertools import chain, product
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import OptionError


def parameter_names(module: nn.Module) -> tuple[str, ...]:
    """Return a name for every number in the vector: ``f.alpha`` for a scalar, ``net.0.weight[2,1]`` within a tensor.

    Examples
    --------
    >>> import torch
    >>> from torchmle.loglik.modules import parameter_names
    >>> parameter_names(torch.nn.Linear(2, 1))
    ('weight[0,0]', 'weight[0,1]', 'bias')
    """
    names: list[str] = []
    for name, tensor in trained(module):
        if tensor.numel() == 1:
            names.append(name)
        else:
            names += [f"{name}[{','.join(map(str, at))}]" for at in product(*map(range, tensor.shape))]
    return tuple(names)


def to_vector(module: nn.Module) -> Tensor:
    """Return a copy of the parameters of a module as one (P,) vector, in the order of :func:`parameter_names`.

    Examples
    --------
    >>> import torch
    >>> from torchmle.loglik.modules import to_vector
    >>> to_vector(torch.nn.Linear(2, 1)).shape
    torch.Size([3])
    """
    parts = [tensor.detach().reshape(-1) for _, tensor in trained(module)]
    return torch.cat(parts).clone() if parts else torch.zeros(0)


def from_vector(module: nn.Module, vector: Tensor) -> dict[str, Tensor]:
    """Return the parameters by name as views of a vector; derivatives flow through them.

    Raises
    ------
    OptionError
        If the vector does not hold as many numbers as the module has parameters.
    """
    found, begin = {}, 0
    for name, tensor in trained(module):
        found[name] = vector[begin : begin + tensor.numel()].view(tensor.shape)
        begin += tensor.numel()
    if vector.ndim != 1 or begin != len(vector):
        raise OptionError(
            f"The vector has shape {tuple(vector.shape)}, but {type(module).__name__} has {begin} parameters."
        )
    return found


def with_vector(module: nn.Module, vector: Tensor) -> nn.Module:
    """Return a copy of a module with its parameters taken from a vector; the module itself is not changed.

    Examples
    --------
    >>> import torch
    >>> from torchmle.loglik.modules import to_vector, with_vector
    >>> line = torch.nn.Linear(2, 1)
    >>> to_vector(with_vector(line, torch.tensor([1.0, 2.0, 3.0])))
    tensor([1., 2., 3.])
    """
    other = copy.deepcopy(module)
    own = dict(other.named_parameters())
    with torch.no_grad():
        for name, value in from_vector(module, vector).items():
            own[name].copy_(value)
    return other


def call_with(module: nn.Module, vector: Tensor, *inputs: Any) -> Any:
    """Return what a module answers with its parameters taken from a vector, differentiable in the vector.

    Several threads may call the same module at once.
    """
    return torch.func.functional_call(_own(module), from_vector(module, vector), inputs)


_copies = threading.local()


def _own(module: nn.Module) -> nn.Module:
    """Return a copy of a module for this thread that shares its tensors; the module itself on the main thread.

    While it answers, a module holds the parameters it was called with: two threads would see each other's.
    """
    if threading.current_thread() is threading.main_thread():
        return module
    known: WeakKeyDictionary[nn.Module, nn.Module] = vars(_copies).setdefault("known", WeakKeyDictionary())
    if module not in known:
        shared = {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())}
        known[module] = copy.deepcopy(module, shared)
    for theirs, ours in zip(module.modules(), known[module].modules(), strict=True):
        ours.training, ours._buffers = theirs.training, theirs._buffers
    return known[module]


def bind(module: nn.Module) -> nn.Parameter:
    """Return one parameter of which all those of a module become views, their gradients too.

    A step on it is a step on all of them, which is quicker than one on each. Give a copy: the module is changed.

    Raises
    ------
    OptionError
        If the parameters are not all of one dtype and on one device.
    """
    kinds = {f"{tensor.dtype} on {tensor.device}": name for name, tensor in trained(module)}
    if len(kinds) > 1:
        seen = "; ".join(f"{name!r} is {kind}" for kind, name in kinds.items())
        raise OptionError(f"The parameters of {type(module).__name__} must be of one kind, but {seen}.")
    flat = nn.Parameter(to_vector(module))
    flat.grad = torch.zeros_like(flat)
    begin = 0
    for _, tensor in trained(module):
        end = begin + tensor.numel()
        tensor.data = flat.data[begin:end].view(tensor.shape)
        tensor.grad = flat.grad[begin:end].view(tensor.shape)
        begin = end
    return flat


def is_bound(module: nn.Module, flat: nn.Parameter) -> bool:
    """Return whether the parameters of a module, and their gradients, are still views of what :func:`bind` gave."""
    if flat.grad is None:
        return False
    begin, size = 0, flat.element_size()
    for _, tensor in trained(module):
        if tensor.grad is None or tensor.data_ptr() != flat.data_ptr() + begin * size:
            return False
        if tensor.grad.data_ptr() != flat.grad.data_ptr() + begin * size:
            return False
        begin += tensor.numel()
    return begin == len(flat)


def trained(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters that are not frozen, with their names."""
    for name, tensor in module.named_parameters():
        if isinstance(tensor, nn.UninitializedParameter):
            raise OptionError(
                f"Parameter {name!r} of {type(module).__name__} has no shape yet. Call the module once on rows, or "
                "give the sizes of its lazy layers."
            )
        if tensor.requires_grad:
            yield name, tensor
