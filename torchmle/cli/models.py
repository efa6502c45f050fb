"""Find the model that a command line names: one of torchmle's, or a class in a file of the user's."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import OptionError, nearest
from ..models.base import GenericLikelihoodModel

Model = type[GenericLikelihoodModel]


def find_model(name: str) -> Model:
    """Return a model by its name, whatever its case, or by ``FILE.py:Class``.

    Raises
    ------
    OptionError
        If there is none, with the nearest name; if the file cannot be run or has no such class.
    """
    if ":" in name:
        file, _, cls = name.rpartition(":")
        return _of_file(file, cls)
    known = models()
    found = known.get(name.lower().replace("_", "").replace("-", ""))
    if found is not None:
        return found
    if name.endswith(".py"):
        raise OptionError(f"--model {name!r}: say which class of the file, --model {name}:Class.")
    raise OptionError(
        f"Unknown model {name!r}.{nearest(name, known)} Available: {', '.join(known)}, and FILE.py:Class. Models of "
        "choices between alternatives are fitted from Python, as their data need a description."
    )


def models() -> dict[str, Model]:
    """Return torchmle's own models that a formula and a table make, by their names in small letters."""
    package = importlib.import_module(__package__.partition(".")[0])
    public = [getattr(package, name) for name in package.__all__ if name[0].isupper()]
    return {cls.__name__.lower(): cls for cls in public if isinstance(cls, type) and _is_own(cls)}


def _is_own(cls: type) -> bool:
    """Return whether a public class is a model with a likelihood of its own that needs no more than a formula."""
    if not issubclass(cls, GenericLikelihoodModel) or cls.response in (None, "function"):
        return False
    home = GenericLikelihoodModel.__module__.rpartition(".")[0]
    return not cls.__module__.startswith((f"{home}.choice", f"{home}.neural"))  # need alternatives, or a module


def _of_file(file: str, cls: str) -> Model:
    path = Path(file)
    if not path.is_file() or path.suffix != ".py":
        raise OptionError(f"--model {file}:{cls}: there is no Python file {file!r}. Give FILE.py:Class.")
    module = _run(path)
    found: Any = vars(module).get(cls)
    own = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, GenericLikelihoodModel) and value.__module__ == module.__name__
    }
    if isinstance(found, type) and issubclass(found, GenericLikelihoodModel):
        return found
    if found is not None:
        raise OptionError(f"{cls} in {file} is no likelihood model. Those are: {', '.join(own) or 'none'}.")
    raise OptionError(
        f"{file} has no class {cls!r}.{nearest(cls, own)} Likelihood models there: {', '.join(own) or 'none'}."
    )


def _run(path: Path) -> ModuleType:
    """Run a file of the user's as a module, with its folder on the search path as for a script."""
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _importable(path.resolve().parent):
        try:
            spec.loader.exec_module(module)
        except SyntaxError as error:
            raise OptionError(f"{path}, line {error.lineno}: {error.msg}.") from error
        except Exception as error:
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path.resolve())]
            where = f", line {lines[-1]}" if lines else ""
            raise OptionError(f"{path}{where}: {type(error).__name__}: {error}") from error
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before
