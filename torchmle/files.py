"""Write files so that a crash leaves the old one, and know a damaged one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .errors import OptionError


def writable_path(path: str | os.PathLike[str], what: str) -> Path:
    """Return the path of a file to write, if its folder exists and it is no folder itself."""
    target = Path(path)
    if target.is_dir():
        raise OptionError(f"{what}={str(path)!r} is a folder; give the name of a file in it.")
    if not target.parent.is_dir():
        raise OptionError(f"{what}={str(path)!r}: the folder {str(target.parent)!r} does not exist. Create it first.")
    return target


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there in one step."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
