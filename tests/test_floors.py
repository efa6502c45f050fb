"""Hold the code to the floor plan (docs/explanation/design.md): what may import what, and house rules."""

import ast
import inspect
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import torchmle as tm

ROOT = Path(__file__).parents[1] / "torchmle"
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]

GROUND = dict.fromkeys(("errors", "config", "typing", "linalg", "special", "workers", "files", "progress"), 0)
STOREYS = ("data", "params", "loglik", "optim", "inference", "results", "report", "models", "testing", "cli")
FLOORS = GROUND | {name: floor for floor, name in enumerate(STOREYS, 1)} | {"__init__": 11, "__main__": 11}
LONGEST = 400


def imports(tree: ast.Module, name: str) -> Iterator[tuple[int, tuple[str, ...], str | None]]:
    """Yield line, module (below torchmle) and imported name of every import from the package itself."""
    package = name.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "torchmle":
                    yield node.lineno, tuple(alias.name.split(".")[1:]), None
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".") if node.module else []
            if node.level:
                parts = package[: len(package) - node.level + 1] + parts
            elif parts[:1] == ["torchmle"]:
                parts = parts[1:]
            else:
                continue
            for alias in node.names:
                yield node.lineno, tuple(parts), alias.name


def upward(source: str, name: str) -> list[str]:
    """Return the imports of a file that do not run downward."""
    own = FLOORS[name.removesuffix(".py").split("/")[0]]
    found = []
    for line, module, imported in imports(ast.parse(source), name):
        target = module[0] if module else imported or "__init__"
        floor = FLOORS.get(target, FLOORS["__init__"])  # names of the package itself stand on top of everything
        if floor > own:
            found.append(f"{name}:{line} (floor {own}) imports {target} (floor {floor})")
    return found


def private(source: str, name: str) -> list[str]:
    """Return the underscored names that a file takes from other modules."""
    tree = ast.parse(source)
    found, modules = [], set()
    for line, module, imported in imports(tree, name):
        if imported and imported.startswith("_") and not imported.startswith("__"):
            found.append(f"{name}:{line} imports {imported} from {'.'.join(module)}")
        target = ROOT.joinpath(*module, imported or "")
        if target.is_dir() or target.with_suffix(".py").is_file():
            modules.add(imported or "torchmle")
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            continue
        if node.value.id in modules and node.attr.startswith("_") and not node.attr.startswith("__"):
            found.append(f"{name}:{node.lineno} uses {node.value.id}.{node.attr}")
    return found


def prints(source: str) -> list[int]:
    """Return the lines that call ``print``."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]


@pytest.mark.parametrize(("source", "name", "bad"), [
    ("from ..models.base import fit", "results/predict.py", 1),
    ("from ..errors import warn", "results/predict.py", 0),
    ("from .results import Results", "results/compare.py", 0),
    ("from ...errors import unknown", "data/datasets/__init__.py", 0),
    ("from ...params import map", "data/datasets/__init__.py", 1),
    ("from . import models", "errors.py", 1),
    ("import torchmle", "optim/base.py", 1),
    ("import torchmle.report.summary", "data/rows.py", 1),
    ("from torchmle.report import summary", "data/rows.py", 1),
    ("from torch import Tensor", "data/rows.py", 0),
    ("if TYPE_CHECKING:\n    from ..report import summary", "results/fit.py", 1),
    ("def f():\n    from ..models import base", "results/fit.py", 1),
])  # fmt: skip
def test_an_upward_import_is_seen(source, name, bad):
    assert len(upward(source, name)) == bad


@pytest.mark.parametrize(("source", "bad"), [
    ("from .fitting import _start", 1),
    ("from .fitting import run_fit", 0),
    ("from . import fitting\nfitting._start()", 1),
    ("from .. import __version__", 0),
])  # fmt: skip
def test_a_private_name_is_seen(source, bad):
    assert len(private(source, "models/linear.py")) == bad


def test_a_print_is_seen():
    assert prints("def f():\n    print(1)") == [2]


@pytest.mark.parametrize("name", NAMES)
def test_imports_run_downward(name):
    assert not upward((ROOT / name).read_text(encoding="utf-8"), name)


@pytest.mark.parametrize("name", NAMES)
def test_no_module_takes_another_ones_private_name(name):
    assert not private((ROOT / name).read_text(encoding="utf-8"), name)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "__main__.py" and not n.startswith("report/")])
def test_only_reports_print(name):
    assert not prints((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_files_are_short(name):
    lines = (ROOT / name).read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST


@pytest.mark.parametrize("name", [n for n in tm.__all__ if n != "__version__"])
def test_public_names_are_there_and_explained(name):
    thing = getattr(tm, name)
    summary = (thing.__doc__ or "").strip().split("\n")[0]
    assert summary.endswith((".", ":", "``")), f"{name}: {summary!r}"
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert thing.__module__.startswith("torchmle.")


def test_the_version_is_that_of_the_distribution():
    assert tm.__version__ == metadata.version("torchmle")
