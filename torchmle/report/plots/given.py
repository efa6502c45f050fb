"""Read what a picture is asked to show: one fit or several, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...errors import OptionError, unknown
from ...results.results import Results


def named(results: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """Return things by the name that a legend has for them: a dict as it is, others by ``names`` or their models."""
    if isinstance(results, Mapping):
        if names is not None:
            raise OptionError("names goes with a list of results; a dict has its names already.")
        found = {str(name): item for name, item in results.items()}
    else:
        items = list(results) if isinstance(results, list) else [results]
        labels = [str(name) for name in names] if names is not None else [_own_name(item) for item in items]
        if isinstance(names, str) or len(labels) != len(items):
            raise OptionError(f"names={names!r} must be a list with one name for each of the {len(items)} results.")
        if names is None:
            several = {name for name in labels if labels.count(name) > 1}
            labels = [f"({i}) {name}" if several else name for i, name in enumerate(labels, 1)]
        if len(set(labels)) < len(labels):
            raise OptionError(f"names={list(labels)} has a name twice; give each result its own.")
        found = dict(zip(labels, items, strict=True))
    if not found:
        raise OptionError("There are no results to draw.")
    return found


def need_results(item: Any, what: str) -> Results:
    """Return results of torchmle, or say what was given in their place."""
    if not isinstance(item, Results):
        raise OptionError(f"{what} draws results of fit(), not a {type(item).__name__}.")
    return item


def _own_name(item: Any) -> str:
    item = item[0] if isinstance(item, tuple) and item else item
    if isinstance(item, Results):
        return item.model.model_name
    return type(getattr(item, "model", item)).__name__


def need_name(name: Any, names: Iterable[str], what: str) -> str:
    """Return a name that is there, or say which is nearest."""
    known = list(names)
    if name not in known:
        raise OptionError(unknown(what, name, known))
    return str(name)
