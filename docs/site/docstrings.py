"""Read the docstrings of torchmle, where ``name : what it is`` stands in one line and numpydoc expects a type."""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTION = re.compile(r"^(?:Parameters|Attributes)\n-+\n.*?(?=^\w[\w ]*\n-{3,}$|\Z)", re.MULTILINE | re.DOTALL)
ITEM = re.compile(r"^([\w*][\w*, ]*?) : (.+)$", re.MULTILINE)


class OneLineItems(griffe.Extension):
    """Put what an item is on a line of its own, so that it is not taken for a type."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = SECTION.sub(_split, obj.docstring.value)


def _split(section: re.Match[str]) -> str:
    """Return a section with its items on two lines, and what is no item as prose before it."""
    head, rule, *lines = section[0].splitlines()
    prose = [line for line in lines if re.match(r"[^ ]", line) and not ITEM.match(line)]
    items = [ITEM.sub(_two_lines, line) for line in lines if line not in prose]
    return "\n".join([*prose, *([""] if prose else []), head, rule, *items, ""])


def _two_lines(item: re.Match[str]) -> str:
    return f"{item[1]}\n    {item[2][0].upper()}{item[2][1:]}"
