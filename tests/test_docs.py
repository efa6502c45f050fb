"""Run every example of README.md, docs/ and the docstrings, and compare what they show with what they print.

A block marked ``python`` is run, all blocks of a page in one namespace. A block marked ``text`` straight after it is
what it prints (white space aside; ``...`` stands for anything). ``python tests/test_docs.py [page ...]`` rewrites
these.
"""

import doctest
import importlib
import inspect
import math
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # where this file is run as a script

import torchmle as tm  # noqa: E402
from docs.site.pages import examples, made_by, run, visit  # noqa: E402
from torchmle.inference.cov import ESTIMATORS  # noqa: E402
from torchmle.optim.base import Status  # noqa: E402
from torchmle.optim.registry import METHODS  # noqa: E402
from torchmle.optim.scipy import TAKES  # noqa: E402

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
SOURCES = [p for p in sorted((ROOT / "torchmle").rglob("*.py")) if ">>>" in p.read_text(encoding="utf-8")]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def agrees(shown: str, printed: str) -> bool:
    """Compare output word by word: numbers to 1e-3, rounding errors and what differs from run to run not at all."""
    if doctest.OutputChecker().check_output(shown, printed, FLAGS):
        return True
    lines, others = ([line.split() for line in text.splitlines() if line.strip()] for text in (shown, printed))
    return len(lines) == len(others) and all(map(same_line, lines, others))


def same_line(shown: list[str], printed: list[str]) -> bool:
    varies = any(word.startswith(("second", "Iteration", "iteration")) for word in shown)
    return len(shown) == len(printed) and all(
        a == b or set(a) == set(b) == {"-"} or same_number(a, b, varies) for a, b in zip(shown, printed, strict=True)
    )


def same_number(a: str, b: str, varies: bool) -> bool:
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    return varies or math.isclose(x, y, rel_tol=1e-3, abs_tol=1e-9)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_a_page_is_read_as_its_reader_does():
    page = "a\n```python\nx = 1\n```\n\n```text\n1\n```\n```python\nx\n```\nb\n```text\n2\n```\n```sh\nls\n```\n"
    first, second = examples(page)
    assert (first.line, first.code, first.shown, second.shown) == (2, "x = 1\n", "1\n", None)
    assert page[slice(*first.span)] == "1\n"
    assert agrees("a   1\n", "a 1\n")
    assert not agrees("a 2\n", "a 1\n")


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_the_examples_of_a_page_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    visit(tmp_path)
    namespace = {"__name__": "__main__"}
    with warnings.catch_warnings():  # a page may silence a warning that it speaks of
        for example in examples(path.read_text(encoding="utf-8")):
            printed = run(example, namespace, str(path))
            if example.shown is not None:
                assert agrees(example.shown, printed), f"{named(path)}:{example.line} prints\n{printed}"
    absent = [name for name in made_by(path.read_text(encoding="utf-8")) if not (tmp_path / name).is_file()]
    assert not absent, f"{named(path)} shows {absent}, which its code does not write"


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_the_links_of_a_page_lead_somewhere(path):
    page = path.read_text(encoding="utf-8")
    for target, _ in LINK.findall(page):
        if "://" not in target and target not in made_by(page):
            assert (path.parent / target).exists(), f"{named(path)} links to {target}"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_the_examples_of_the_docstrings_run(path):
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(dotted)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, dotted):
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
    assert runner.tries


def test_every_public_function_and_class_has_an_example():
    things = {name: getattr(tm, name) for name in tm.__all__ if name != "__version__"}
    errors = (tm.TorchmleError, tm.TorchmleWarning)
    callables = {k: v for k, v in things.items() if inspect.isclass(v) or inspect.isfunction(v)}
    without = [k for k, v in callables.items() if ">>>" not in (v.__doc__ or "")]
    assert not [k for k in without if not (inspect.isclass(things[k]) and issubclass(things[k], errors))]


def test_the_reference_lists_every_public_name():
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert not [name for name in tm.__all__ if f"`{name}" not in page and f"`tm.{name}" not in page]


@pytest.mark.parametrize(("page", "names"), [
    ("reference.md", METHODS),
    ("howto/standard-errors.md", ESTIMATORS),
    ("howto/covariances.md", ESTIMATORS),
    ("explanation/convergence.md", [status.value for status in Status]),
    ("howto/optimizers.md", [*METHODS, *(f"scipy:{name}" for name in TAKES), *(status.value for status in Status)]),
    ("howto/optimizers.md", sorted({option for options in TAKES.values() for option in options})),
])  # fmt: skip
def test_a_table_lists_every_choice(page, names):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert not [name for name in names if f"`{name}`" not in text]


def rewrite(path: Path) -> None:
    """Put what the examples of a page print in place of what it shows, where the two differ."""
    page = path.read_text(encoding="utf-8")
    namespace: dict = {"__name__": "__main__"}
    outputs = [(e, run(e, namespace, str(path))) for e in examples(page)]
    for example, printed in reversed(outputs):
        if example.shown is not None and not agrees(example.shown, printed):
            start, stop = example.span
            page = page[:start] + printed.rstrip() + "\n" + page[stop:]
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    chosen = [Path(name).resolve() for name in sys.argv[1:]] or PAGES
    os.chdir(tempfile.mkdtemp())
    visit(Path.cwd())
    for page_path in chosen:
        rewrite(page_path)
