"""Define what torchmle raises and warns, and how it suggests the nearest name."""

from __future__ import annotations

import difflib
import importlib
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class TorchmleError(ValueError):
    """Be the base of every error that torchmle raises."""


class DataError(TorchmleError):
    """Say that the data cannot be used as given: what was seen, what is allowed, what to do."""


class FormulaError(DataError):
    """Say that a formula cannot be read or evaluated."""


class StoreError(DataError):
    """Say that a file holds no results that can be read: damaged, of a newer version, or something else."""


class NoDataError(DataError):
    """Say that the rows of the fit are needed, and that these results are without them."""


class OptionError(TorchmleError):
    """Say that an option, a name or a combination of them is not available."""


class LikelihoodError(TorchmleError):
    """Say that a user's log-likelihood does not return what the engine needs."""


class DeviceError(OptionError):
    """Say that the device asked for is not there."""


class UndefinedStatisticError(TorchmleError, AttributeError):
    """Say that a statistic has no meaning for this model; ``hasattr`` is then False."""


class MissingPackageError(TorchmleError, ImportError):
    """Say that a package is needed that is not installed, and how to install it."""


class TorchmleWarning(UserWarning):
    """Be the base of every warning that torchmle gives."""


class DataWarning(TorchmleWarning):
    """Warn that data were converted or rows lost in an unusual way."""


class CollinearityWarning(TorchmleWarning):
    """Warn that exactly collinear columns were dropped."""


class ConvergenceWarning(TorchmleWarning):
    """Warn that the returned point is not shown to be a maximum."""


class SeparationWarning(ConvergenceWarning):
    """Warn that a maximum likelihood estimate does not exist because the data are separated."""


class SimulationWarning(TorchmleWarning):
    """Warn that the draws of a simulated integral are too few or too regular for what is asked of them."""


def import_extra(module: str, extra: str, what: str) -> Any:
    """Return a module of an optional package, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingPackageError(
            f"{what} needs {package}, which cannot be imported here ({error}). Install it: "
            f'pip install "torchmle[{extra}]".'
        ) from error


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest of ``choices``, or an empty string."""
    lower = {str(c).lower(): str(c) for c in choices}
    found = difflib.get_close_matches(str(name).lower(), lower, n=1, cutoff=0.5)
    return f" Did you mean {lower[found[0]]!r}?" if found else ""


def unknown(kind: str, name: object, choices: Iterable[str]) -> str:
    """Return the sentence for an unknown name: what was seen, the nearest, and what there is."""
    listed = list(choices)
    return f"Unknown {kind} {name!r}.{nearest(str(name), listed)} Available: {', '.join(listed)}."


def listing(items: Iterable[object], most: int = 8) -> str:
    """Return the first items of a list as text, with a count of the rest."""
    seen = [str(i) for i in items]
    rest = f", and {len(seen) - most} more" if len(seen) > most else ""
    return ", ".join(seen[:most]) + rest


_collected = threading.local()


@contextmanager
def collecting_notes() -> Iterator[list[str]]:
    """Collect what is warned of meanwhile in this thread, so that a summary can repeat it."""
    before: list[str] | None = getattr(_collected, "notes", None)
    _collected.notes = []
    try:
        yield _collected.notes
    finally:
        if before is not None:
            before.extend(_collected.notes)
        _collected.notes = before


@contextmanager
def unheard(category: type[TorchmleWarning]) -> Iterator[None]:
    """Give no warnings of a category meanwhile in this thread: they were given before."""
    before = getattr(_collected, "unheard", ())
    _collected.unheard = (*before, category)
    try:
        yield
    finally:
        _collected.unheard = before


def warn(message: str, category: type[TorchmleWarning]) -> None:
    """Warn at the line of the user's own code, the first one outside this package."""
    if issubclass(category, getattr(_collected, "unheard", ())):
        return
    notes: list[str] | None = getattr(_collected, "notes", None)
    if notes is not None:
        notes.append(message)
    level = 1
    frame = sys._getframe(0)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("torchmle"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
