"""Write files so that a crash leaves the old one, and know a damaged one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
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


def write_atomically(path: Path, content: bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file, whole or in pieces, beside its place and move it there in one step."""
    pieces = [content] if isinstance(content, bytes) else content
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)  # less the umask
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
