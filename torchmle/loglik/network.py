"""Hold a module that gives a likelihood: a copy of the user's, what it takes, and its questions."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import OptionError, listing
from .modules import call_with, parameter_names, to_vector, trained
from .randomness import OwnRandom
from .trainee import frozen_parts

ALIASES = {"x": "exog", "y": "endog"}
"""What arguments of a forward may be called besides the names of the data."""


@dataclass(frozen=True)
class Layer:
    """Hold one tensor of parameters: its name, its shape, and whether it is estimated."""

    name: str
    shape: tuple[int, ...]
    trained: bool


@dataclass(frozen=True)
class StoredNetwork:
    """Hold what a file says of a network: its class, its layers and its buffers."""

    kind: str
    layers: tuple[Layer, ...]
    buffers: dict[str, Tensor]


class _Method(nn.Module):
    """Be a module whose forward is another method of a module."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module, self.name = module, name

    def forward(self, *inputs: Any) -> Any:
        return getattr(self.module, self.name)(*inputs)


@dataclass(frozen=True)
class Network:
    """Hold a module in evaluation mode as a function of one vector; it is a copy that belongs to a model.

    ``still`` are the parts that its author had put in evaluation mode, and that stay so while it is trained.
    """

    module: nn.Module
    still: tuple[str, ...] = ()
    _methods: dict[str, nn.Module] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the names of the parameters, a number each."""
        return parameter_names(self.module)

    @cached_property
    def size(self) -> int:
        """Return how many numbers are estimated."""
        return sum(tensor.numel() for _, tensor in trained(self.module))

    @property
    def kind(self) -> str:
        """Return the name of the module's class."""
        return type(self.module).__name__

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Return the tensors of parameters, in order."""
        named = self.module.named_parameters()
        return tuple(Layer(name, tuple(tensor.shape), tensor.requires_grad) for name, tensor in named)

    def start(self) -> Tensor:
        """Return the parameters as they were given, in float64 on the CPU."""
        return to_vector(self.module).double().cpu()

    def __call__(self, vector: Tensor, *inputs: Any, method: str = "forward") -> Any:
        """Return what the module, or a method of it, answers with its parameters taken from a vector."""
        return call_with(self.asked(method), vector, *inputs)

    def asked(self, method: str) -> nn.Module:
        """Return a module whose forward is a method of this one, with the same parameters."""
        if method == "forward":
            return self.module
        if method not in self._methods:
            self._methods[method] = _Method(self.module, method)
        return self._methods[method]

    @property
    def methods(self) -> list[str]:
        """Return the public methods that classes of the user's add to those of every module."""
        own = [kind for kind in type(self.module).__mro__ if not kind.__module__.startswith(("torch.", "builtins"))]
        names = dict.fromkeys(name for kind in own for name, value in vars(kind).items() if callable(value))
        return [name for name in names if not name.startswith("_") and not hasattr(nn.Module, name)]

    def arguments(self, method: str = "forward") -> tuple[str, ...]:
        """Return the names of the arguments of a method that have no default.

        Raises
        ------
        OptionError
            If some can be given by keyword only, or there is ``*args``.
        """
        function = getattr(self.module, method)
        found = []
        for p in inspect.signature(function).parameters.values():
            if p.default is not p.empty or p.kind is p.VAR_KEYWORD:
                continue
            if p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
                stars = "*" if p.kind is p.VAR_POSITIONAL else "keyword-only "
                raise OptionError(f"{self.kind}.{method} has {stars}{p.name}; name its arguments: forward(self, x, y).")
            found.append(p.name)
        return tuple(found)

    def with_buffers(self, buffers: dict[str, Tensor]) -> Network:
        """Return the network with other buffers, such as the running means of a batch norm."""
        other = copy.deepcopy(self.module)
        own = dict(other.named_buffers())
        with torch.no_grad():
            for name, value in buffers.items():
                own[name].copy_(value)
        return Network(other, self.still)

    def to(self, device: torch.device, dtype: torch.dtype) -> Network:
        """Return the network on a device, in a dtype."""
        return Network(copy.deepcopy(self.module).to(device, dtype), self.still)

    def only(self, names: Sequence[str], vector: Tensor) -> Network:
        """Return the network at a vector with all parameters frozen but those named, or within a submodule named."""
        there = self.at(vector)
        for layer, tensor in there.module.named_parameters():
            tensor.requires_grad_(tensor.requires_grad and within(layer, names))
        return there

    def at(self, vector: Tensor) -> Network:
        """Return the network with its parameters taken from a vector."""
        other = copy.deepcopy(self.module)
        begin = 0
        with torch.no_grad():
            for _, tensor in trained(other):
                tensor.copy_(vector[begin : begin + tensor.numel()].view(tensor.shape))
                begin += tensor.numel()
        return Network(other, self.still)

    def for_training(self, vector: Tensor) -> nn.Module:
        """Return a copy of the module at a vector, in training mode but for the parts that stay still."""
        module = self.at(vector).module.train()
        for name in self.still:
            module.get_submodule(name).eval()
        return module

    @property
    def dropout(self) -> list[str]:
        """Return the names of the parts that drop out at random while the module is trained."""
        return [name or self.kind for name, part in self.module.named_modules() if _drops(part)]

    def stored(self) -> StoredNetwork:
        """Return what a file holds: parameters are kept with the results."""
        buffers = {name: value.detach().clone() for name, value in self.module.named_buffers()}
        return StoredNetwork(self.kind, self.layers, buffers)


def _drops(part: nn.Module) -> bool:
    rate = getattr(part, "p", None) if isinstance(part, nn.modules.dropout._DropoutNd) else getattr(part, "dropout", 0)
    return isinstance(rate, (int, float)) and rate > 0


def within(layer: str, names: Sequence[str]) -> bool:
    """Return whether a tensor of parameters is one of those named, or stands within a submodule of such a name."""
    return any(layer == name or layer.startswith(f"{name}.") for name in names)


def positions(network: Network, names: Sequence[str]) -> Iterator[int]:
    """Yield the positions in the vector of the tensors named, or within submodules named."""
    begin = 0
    for layer, tensor in trained(network.module):
        if within(layer, names):
            yield from range(begin, begin + tensor.numel())
        begin += tensor.numel()


def own_network(module: Any, device: torch.device, dtype: torch.dtype) -> Network:
    """Return a network of a copy of a user's module, in evaluation mode.

    Raises
    ------
    OptionError
        If it is no module, cannot be copied, or has no parameter to estimate.
    """
    if isinstance(module, type) and issubclass(module, nn.Module):
        raise OptionError(f"module is the class {module.__name__}; give one of it: module={module.__name__}(...).")
    if not isinstance(module, nn.Module):
        raise OptionError(f"module is {type(module).__name__}; it must be a torch.nn.Module.")
    try:
        own = copy.deepcopy(module)
    except Exception as error:
        raise OptionError(
            f"{type(module).__name__} cannot be copied ({type(error).__name__}: {error}), and a model never changes "
            "your own. Keep tensors that depend on parameters out of its attributes."
        ) from error
    _refuse_odd(own)
    parts = {id(part): name for name, part in own.named_modules()}
    still = tuple(parts[id(part)] for part in frozen_parts(own))
    return Network(own.to(device, dtype).eval(), still)


def _refuse_odd(module: nn.Module) -> None:
    kinds = {str(tensor.dtype): name for name, tensor in trained(module) if not tensor.is_floating_point()}
    if kinds:
        raise OptionError(f"The parameters of {type(module).__name__} must be real numbers: {listing(kinds.items())}.")
    if not any(True for _ in trained(module)):
        raise OptionError(
            f"{type(module).__name__} has no parameter to estimate: it holds no nn.Parameter, or all of them are "
            "frozen (requires_grad=False)."
        )


def created(make: Any, seed: int) -> Any:
    """Return what a function of the user's makes with torch's generators at a seed; they are then as they were."""
    device = torch.device("cuda" if torch.cuda.is_initialized() else "cpu")  # type: ignore[no-untyped-call]
    with OwnRandom(device) as random, torch.inference_mode(False):
        random.seed(seed)
        return make()
