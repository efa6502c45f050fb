"""Show how a long piece of work goes, on one line that is written over."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from .errors import OptionError

PATIENCE = 1.0
"""Seconds of work before a line appears that nobody asked for."""

PAUSE = 0.1
"""Seconds between two states of the line."""

PAUSE_IN_A_FILE = 10.0
"""Seconds between two lines where each is a new one, since nothing can be written over."""

WIDTH = 79
"""Characters of the line where the width of the terminal is not known."""

BAR = 20
"""Characters of a bar."""

_within = threading.local()


def check_progress(wanted: object) -> None:
    """Raise unless a choice is True, False or None."""
    if wanted is not None and not isinstance(wanted, bool):
        raise OptionError(f"progress={wanted!r} must be True, False or None.")


def is_watched(stream: Any) -> bool:
    """Return whether somebody may be looking, on a line that can be written over: a terminal or a notebook."""
    if type(stream).__module__.partition(".")[0] == "ipykernel":
        return True
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # no stream at all, or a closed one
        return False


@dataclass
class ProgressLine:
    """Hold the line: shown where asked for, or by default after a second where there is a terminal or a notebook.

    Within ``with line:`` other lines of the thread are silent, so that the fits of a bootstrap do not write over it. In
    a file, where it is asked for, each state is a line of its own.

    Attributes
    ----------
    wanted : True to show it at once, False for never, None for the default.
    """

    wanted: bool | None = None
    begun: float = field(default_factory=lambda: time.perf_counter())
    last: float = -1e9
    width: int = 0
    pending: str = ""
    shown: bool = False
    what: str = ""
    done: int = 0
    since: float = 0.0
    counted: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        check_progress(self.wanted)

    def __enter__(self) -> ProgressLine:
        self.outer = getattr(_within, "line", None)
        if self.outer is None:
            _within.line = self
        return self

    def __exit__(self, *_: object) -> None:
        if self.outer is None:
            _within.line = None
        self.close()

    def show(self, text: str) -> None:
        """Write a state of the work over the last one."""
        with self.lock:
            self._show(text)

    def count(self, what: str, total: int, by: int = 1) -> None:
        """Write that ``by`` more of ``total`` are done, how fast it goes, and how long the rest will take.

        Rate and number are those of the work under this name. Threads may count together.
        """
        now = time.perf_counter()
        with self.lock:
            if self.what != what:
                self.what, self.since, self.done = what, self.counted or self.begun, 0
            self.done += by
            self.counted, elapsed, done = now, max(now - self.since, 1e-9), self.done
            text = f"{done} of {total}, {_pace(done / elapsed)}, {_rest(done, total, elapsed)}"
            bar = "#" * (BAR * done // max(total, 1))
            long = f"{what}: [{bar:<{BAR}}] {text}"
            self._show(long if len(long) <= _columns(sys.stderr) else f"{what}: {text}")

    def close(self) -> None:
        """Leave the line, if there is one, in its last state."""
        with self.lock:
            if not self.shown:
                return
            self._write(self.pending)
            if is_watched(sys.stderr):
                self._put("\n")
            self.width, self.shown, self.pending = 0, False, ""

    def _show(self, text: str) -> None:
        now, watched = time.perf_counter(), is_watched(sys.stderr)
        if self.wanted is False or getattr(_within, "line", None) not in (None, self):
            return
        if self.wanted is None and (now - self.begun < PATIENCE or not watched):
            return
        self.pending = text
        if now - self.last >= (PAUSE if watched else PAUSE_IN_A_FILE):
            self._write(text)
            self.last, self.shown = now, True

    def _write(self, text: str) -> None:
        """Write a state over the last one, or below it in a file; a stream that fails is left alone."""
        if not text:
            return
        self.pending = ""
        if not is_watched(sys.stderr):
            self._put(text + "\n")
            return
        text = _cut(text, _columns(sys.stderr))
        self._put("\r" + text.ljust(min(self.width, _columns(sys.stderr))))
        self.width = len(text)

    def _put(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):  # the work is worth more than its line
            self.wanted = False


def _columns(stream: Any) -> int:
    """Return how many characters a line may have without going on in the next one."""
    try:
        return max(os.get_terminal_size(stream.fileno()).columns - 1, 8)
    except (OSError, ValueError, AttributeError):
        return WIDTH


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _pace(rate: float) -> str:
    if rate >= 10:
        return f"{rate:.0f}/s"
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / max(rate, 1e-9):.1f} s each"


def _rest(done: int, total: int, elapsed: float) -> str:
    if done >= total:
        return f"in {duration(elapsed)}"
    return f"{duration((total - done) * elapsed / done)} left" if done else "time left unknown"


def duration(seconds: float) -> str:
    """Return a time in words, to what matters of it."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
