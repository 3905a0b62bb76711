"""Files that a user named: read whole, written whole."""

from __future__ import annotations

from south.errors import UsageError
from ta_loader.inputs import read_input
from ta_loader.replacing import replace


def read_file(path: str, what: str) -> bytes:
    """UsageError if it cannot be read; `what` says in whose place it stood."""
    return read_input(path, what)


def replace_file(path: str, data: bytes) -> None:
    """Write `path` wholly or not at all. UsageError if it cannot be."""
    try:
        replace(path, data)
    except OSError as problem:
        raise UsageError(f"cannot write {path}: {problem.strerror}") from None
