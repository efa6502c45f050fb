"""Show on the terminal how a long piece of work goes, on one line that is written over."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

PATIENCE = 1.0
"""Seconds of work before a line appears that nobody asked for."""

PAUSE = 0.1
"""Seconds between two states of the line."""


def is_watched(stream: TextIO) -> bool:
    """Return whether somebody may be looking: a terminal or a notebook."""
    return stream.isatty() or "ipykernel" in sys.modules


@dataclass
class ProgressLine:
    """Hold the line: shown where asked for, or by default after a second where there is a terminal or a notebook.

    Attributes
    ----------
    wanted : True to show it at once, False for never, None for the default.
    """

    wanted: bool | None = None
    begun: float = field(default_factory=time.perf_counter)
    last: float = -1e9
    width: int = 0

    def show(self, text: str) -> None:
        """Write a state of the work over the last one."""
        now = time.perf_counter()
        if self.wanted is False or now - self.last < PAUSE:
            return
        if self.wanted is None and (now - self.begun < PATIENCE or not is_watched(sys.stderr)):
            return
        sys.stderr.write("\r" + text.ljust(self.width))
        sys.stderr.flush()
        self.last, self.width = now, len(text)

    def close(self) -> None:
        """Leave the line, if there is one."""
        if self.width:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self.width = 0
