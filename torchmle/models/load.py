"""Read results from a file."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterator
from typing import Any

from ..errors import OptionError, StoreError, TorchmleError, listing, nearest
from ..results.results import Results
from ..results.store import invalid, read
from .base import GenericLikelihoodModel
from .function import FunctionModel
from .reduce import restored


def load(
    path: str | os.PathLike[str],
    model: type[GenericLikelihoodModel] | GenericLikelihoodModel | None = None,
    *,
    module: Any = None,
) -> Results:
    """Read the results that :meth:`Results.save` wrote. Nothing in the file is run, and nothing named there imported.

    Parameters
    ----------
    path : name of the file.
    model : the class of the model, or a built model, where the file alone does not do: a class that is not defined yet
        or shares its name with another, a function made a model by :func:`torchmle.likelihood`, functions of your own
        in a formula. Of a built model on the rows of the fit, the results have the rows.
    module : the module of a :class:`ModuleModel` whose class has no ``create_model``: one with the same layers, whose
        weights are those of the file.

    Raises
    ------
    StoreError
        If the file is damaged or none of results, its format is newer, or the class of the model is not there.

    Examples
    --------
    >>> import tempfile, torchmle as tm
    >>> res = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     res.save(f"{folder}/work.torchmle")
    ...     again = tm.load(f"{folder}/work.torchmle")
    >>> again.params.equals(res.params), str(again.summary()) == str(res.summary())
    (True, True)
    """
    contents = read(path)
    try:
        cls, given = _class_of(model, *contents.manifest["class"])
        return restored(contents, cls, given, module=module)
    except TorchmleError:
        raise
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, AssertionError) as error:
        raise invalid(str(path), error) from error


def _class_of(model: Any, module: str, name: str) -> tuple[type[GenericLikelihoodModel], GenericLikelihoodModel | None]:
    """Return the class of the model of a file, and the model that the user gave, if any."""
    if model is None:
        return find_class(module, name), None
    cls = model if isinstance(model, type) else type(model)
    if not issubclass(cls, GenericLikelihoodModel):
        raise OptionError(f"model is {cls.__name__}; it must be a likelihood model: its class, or one that is built.")
    if cls.__name__ != name.rpartition(".")[2]:
        raise OptionError(f"The file holds a fit of {name}, but model is {cls.__name__}. Give the class of the fit.")
    if isinstance(model, type):
        return _without_function(cls, name), None
    return cls, model


def _without_function(cls: type[GenericLikelihoodModel], name: str) -> type[GenericLikelihoodModel]:
    if issubclass(cls, FunctionModel):
        raise StoreError(
            "The likelihood of this fit is a function, which no file holds. Make the model again with "
            "torchmle.likelihood(fn, ...) and give it: torchmle.load(path, model=model)."
        )
    return cls


def find_class(module: str, name: str) -> type[GenericLikelihoodModel]:
    """Return the class of a model: torchmle's own, or one that is defined already.

    Raises
    ------
    StoreError
        If there is none, or several of the name and none where it was.
    """
    if module.startswith(f"{__package__}."):
        own = importlib.import_module(__package__)
        for found in pkgutil.walk_packages(own.__path__, f"{__package__}."):  # all of ours, none by name
            importlib.import_module(found.name)
    known = list(_subclasses(GenericLikelihoodModel))
    named = [c for c in known if c.__qualname__ == name]
    there = [c for c in named if c.__module__ == module]
    if there:
        return _without_function(there[-1], name)  # the last one that was defined, as in a notebook
    if len({c.__module__ for c in named}) == 1:
        return _without_function(named[-1], name)
    if named:
        places = listing(sorted({c.__module__ for c in named}))
        raise StoreError(f"There are several classes {name} ({places}), and none in {module}. Give one: model={name}.")
    hint = nearest(name, (c.__qualname__ for c in known))
    raise StoreError(
        f"The file holds a fit of the class {name} of {module!r}, which is not defined.{hint} Define or import it "
        "first, or give it: torchmle.load(path, model=Class)."
    )


def _subclasses(cls: type[GenericLikelihoodModel]) -> Iterator[type[GenericLikelihoodModel]]:
    for kind in cls.__subclasses__():
        yield kind
        yield from _subclasses(kind)
