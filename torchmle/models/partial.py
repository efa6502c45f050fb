"""Give a predictor of a declarative model a module beside its linear terms: ``eta = X b + net(Z)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..data.batch import ModelData
from ..data.design import InputFormula, InputMatrix
from ..errors import OptionError, StoreError, listing, unknown
from ..loglik.partial import Net, NetPart
from ..workers import derivatives_on

if TYPE_CHECKING:
    from .predictors import LinearPredictorModel

LOOKED_AT = 200
"""Rows on which it is looked whether a weight of a module is an intercept."""


MOST = 3_000
"""Weights of modules up to which the exact Hessian, on which the verdict and all errors rest, is within reach."""

PROBES = 5
"""Rows by whose answers a net is known again."""


@dataclass(frozen=True)
class Module:
    """Hold a module and what it takes; see :func:`module`."""

    net: nn.Module
    inputs: Any
    standardize: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.net, nn.Module):
            raise OptionError(
                f"module() takes a torch.nn.Module, not {type(self.net).__name__}. Give an instance, such as "
                "nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1, bias=False))."
            )
        if not isinstance(self.standardize, bool):
            raise OptionError(f"standardize={self.standardize!r} must be True or False.")
        if self.inputs is None:
            raise OptionError("module() needs what the net takes: a formula, or an array with a row for each of endog.")


def module(net: nn.Module, inputs: Any, *, standardize: bool = False) -> Module:
    """Make a module part of a predictor: ``modules={"mu": tm.module(net, "age + tenure")}``.

    Parameters
    ----------
    net : takes (n, k) rows, returns (n,) or (n, 1). It is copied, put in evaluation mode, and never changed; its own
        initialisation is the start.
    inputs : right-hand side of a formula, without an intercept, where the model is made from a formula; else an array
        or frame (n, k) as long as the response.
    standardize : whether the net sees columns less their mean over their standard deviation on the rows in use,
        instead of the user's units.

    Notes
    -----
    The weights follow the coefficients: ``mu_net:0.weight[1,2]`` is a weight of the module of ``mu``. With an
    intercept in the predictor the net must not end in a bias.

    Examples
    --------
    >>> import torch, torchmle as tm
    >>> _ = torch.manual_seed(1)
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1, bias=False))
    >>> part = tm.module(net, "age", standardize=True)
    >>> res = tm.Logit.from_formula("inlf ~ educ + kidslt6", tm.datasets.load("mroz"), modules={"eta": part}).fit()
    >>> res.converged, list(res.params.index[:4])
    (True, ['Intercept', 'educ', 'kidslt6', 'eta_net:0.weight[0,0]'])
    """
    return Module(net, inputs, standardize)


def input_name(predictor: str) -> str:
    """Return the name of what the module of a predictor takes; its weights bear it too."""
    return f"{predictor}_net"


def read_modules(cls: type[LinearPredictorModel], given: Any) -> dict[str, Module]:
    """Return the modules by predictor.

    Raises
    ------
    OptionError
        If it is no dict of predictors to modules, or a predictor has the name of a module's inputs.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise OptionError(f"modules is {type(given).__name__}; it must be a dict: {{'mu': tm.module(net, 'age')}}.")
    names = cls.predictor_names()
    for name, part in given.items():
        if name not in names:
            raise OptionError(unknown(f"predictor of {cls.__name__} in modules:", name, names))
        if not isinstance(part, Module):
            raise OptionError(f"modules[{name!r}] is {type(part).__name__}; make it with tm.module(net, inputs).")
        if input_name(name) in names:
            raise OptionError(
                f"{input_name(name)!r} is a predictor of {cls.__name__}; rename it, to give {name!r} a net."
            )
    return {name: given[name] for name in names if name in given}


def input_formulas(modules: Mapping[str, Module]) -> dict[str, InputFormula]:
    """Return the formula of what each module takes, without an intercept."""
    found = {}
    for name, part in modules.items():
        if not isinstance(part.inputs, str):
            raise OptionError(
                f"The inputs of modules[{name!r}] are {type(part.inputs).__name__}, but the model is made from a "
                "formula: give a formula of columns, such as 'age + tenure'."
            )
        found[input_name(name)] = InputFormula(f"0 + {part.inputs.strip().removeprefix('~').strip()}")
    return found


def input_matrices(modules: Mapping[str, Module]) -> dict[str, InputMatrix]:
    """Return the array of what each module takes."""
    found = {}
    for name, part in modules.items():
        if isinstance(part.inputs, str):
            raise OptionError(
                f"The inputs of modules[{name!r}] are the formula {part.inputs!r}, but the model is made from arrays: "
                "give an array (n, k)."
            )
        found[input_name(name)] = InputMatrix(part.inputs)
    return found


def make_nets(model: LinearPredictorModel, modules: Mapping[str, Module]) -> dict[str, Net]:
    """Return the nets of a model with its data, checked.

    Raises
    ------
    OptionError
        If a net has no weights, or a bias that the intercept of its predictor cannot be told from.
    LikelihoodError
        If it does not return one number a row.
    """
    nets = {}
    for name, part in modules.items():
        _refuse_random(name, part.net)
        design = model.data.designs[input_name(name)]
        centre, scale = _moments(design.X) if part.standardize else (None, None)
        net = nets[name] = Net(part.net, f"net of {name!r}", centre, scale)
        if not net.size:
            raise OptionError(
                f"The {net.name} has no weights to estimate: those with requires_grad=False are held. If all are "
                "known, give its answers as offset=."
            )
        with derivatives_on(model.data.device):
            _refuse_intercept(model, name, net)
    size = sum(net.size for net in nets.values())
    if size > MOST:
        raise OptionError(
            f"The modules have {size} weights; up to {MOST} are allowed here, where each fit ends with an exact "
            "Hessian. For larger ones write the whole likelihood as a module (ModuleModel)."
        )
    return nets


def net_parts(nets: Mapping[str, Net], data: ModelData) -> list[NetPart]:
    """Return the nets with the rows they take."""
    names = list(data.linear)
    return [NetPart(names.index(name), net, data.designs[input_name(name)].X) for name, net in nets.items()]


def net_names(nets: Mapping[str, Net]) -> list[str]:
    """Return the names of the weights."""
    return [f"{input_name(name)}:{term}" for name, net in nets.items() for term in net.terms]


def answers(nets: Mapping[str, Net], data: ModelData) -> dict[str, Tensor]:
    """Return what each net says of made-up rows with made-up weights: by that it is known again."""
    found = {}
    for name, net in nets.items():
        columns = len(data.designs[input_name(name)].terms)
        Z = torch.linspace(-2, 3, PROBES * columns, dtype=torch.float64, device="cpu").view(PROBES, columns)
        weights = torch.linspace(-1, 1, net.size, dtype=torch.float64, device="cpu")
        with torch.no_grad():
            found[name] = net(weights, Z)
    return found


def known_again(model: LinearPredictorModel) -> None:
    """Raise if a model that was loaded lacks the nets of the fit, or has others."""
    if not model.data.has_nets:
        return
    made = "torchmle.load(path, model=model), made of the same formula or columns and the same net"
    if not model.nets:
        raise StoreError(f"A file does not hold the module of a predictor. Give the model when you load it: {made}.")
    try:
        found = answers(model.nets, model.data)
    except RuntimeError:  # torch's: layers of another shape
        found = {}
    for name, expected in model.net_answers.items():
        if name not in found or not torch.allclose(found[name], expected, rtol=1e-8, atol=1e-12, equal_nan=True):
            raise StoreError(f"The net of {name!r} is not that of the fit, it answers otherwise. Give it: {made}.")


def _moments(X: Tensor) -> tuple[Tensor, Tensor]:
    """Return means and standard deviations of columns, the latter 1 where a column does not vary."""
    scale = X.std(0, correction=0)
    return X.mean(0), torch.where(scale > 0, scale, torch.ones_like(scale))


def _refuse_random(name: str, net: nn.Module) -> None:
    """Raise for parts that do something else while a module is trained: here it answers the same at all times."""
    found = [n or type(net).__name__ for n, part in net.named_modules() if part.training and _is_random(part)]
    if found:
        raise OptionError(
            f"The net of {name!r} has parts that work otherwise in training ({listing(found)}): dropout, or batch "
            "norm. A likelihood has one value at a point, so the net is used in evaluation mode. Take them out, or "
            "call net.eval() first if they are to stay as they are."
        )


def _is_random(part: nn.Module) -> bool:
    if isinstance(part, (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)):
        return part.track_running_stats
    rate = part.p if isinstance(part, nn.modules.dropout._DropoutNd) else getattr(part, "dropout", 0)
    return isinstance(rate, (int, float)) and rate > 0


def _refuse_intercept(model: LinearPredictorModel, name: str, net: Net) -> None:
    """Raise if a bias of the net moves all rows alike, as the intercept of its predictor does.

    Only a tensor of one number can be the bias of an answer of one number.
    """
    X = model.data.designs[input_name(name)].X[:LOOKED_AT]
    weights = net.start().to(X).requires_grad_()
    values = net(weights, X)  # says what is wrong with its answers, too
    constant = model.data.linear[name].constant
    single = [i for i, term in enumerate(net.terms) if "[" not in term]
    if constant is None or not single or len(X) < 2:
        return
    v = torch.ones_like(values, requires_grad=True)
    (gradient,) = torch.autograd.grad((values * v).sum(), weights, create_graph=True)
    for i in single:
        (slope,) = torch.autograd.grad(gradient[i], v, retain_graph=True, allow_unused=True)
        if slope is not None and bool(slope[0] != 0) and bool((slope == slope[0]).all()):
            term = model.data.linear[name].terms[constant]
            raise OptionError(
                f"{net.terms[i]!r} of the {net.name} moves all rows alike, as the term {term!r} does: only their sum "
                "is identified. Leave the bias out of the last layer, nn.Linear(..., bias=False), or take the "
                "intercept out of the predictor ('0 + ...')."
            )
