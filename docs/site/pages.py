"""Read the examples of a page and run them: for the tests, and for the pictures of the site."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MADE = re.compile(r"!\[[^\]]*\]\(([\w.-]+\.(?:png|svg|html))\)")


@dataclass(frozen=True)
class Example:
    """Hold one block of code: where it begins, and the text shown as its output with its place in the page."""

    line: int
    code: str
    shown: str | None
    span: tuple[int, int]


def examples(page: str) -> list[Example]:
    """Return the examples of a page: blocks marked ``python``, with a block marked ``text`` straight after."""
    fences = list(FENCE.finditer(page))
    found = []
    for fence, after in itertools.zip_longest(fences, fences[1:]):
        if fence[1] != "python":
            continue
        output = after is not None and after[1] == "text" and not page[fence.end() : after.start()].strip()
        line = page.count("\n", 0, fence.start()) + 1
        found.append(Example(line, fence[2], after[2] if output else None, after.span(2) if output else (0, 0)))
    return found


def made_by(page: str) -> list[str]:
    """Return the files that a page shows and its own code writes: ``![...](name.png)`` or ``.html``."""
    return list(dict.fromkeys(MADE.findall(page)))


def run(example: Example, namespace: dict[str, Any], name: str) -> str:
    """Run an example and return what it prints; a traceback names the line of the page."""
    printed = io.StringIO()
    code = compile("\n" * example.line + example.code, name, "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    return printed.getvalue()


def visit(folder: Path) -> None:
    """Let a page that reads data of the repository find them, wherever it runs."""
    (folder / "tests").symlink_to(ROOT / "tests")


def run_page(page: str, name: str) -> None:
    """Run all examples of a page in the current folder."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with warnings.catch_warnings():
        for example in examples(page):
            run(example, namespace, name)
