"""Folders for what is fetched or made once and kept outside the checkout; safe to use from several processes.

Environment:
    LITEBOX_CACHE    where (default: $XDG_CACHE_HOME/litebox-ta)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from boards.progress import told
from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def cache_dir(part: str) -> Path:
    """The folder of one kind of things; it need not exist yet."""
    given = os.environ.get("LITEBOX_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "litebox-ta"
    return base.absolute() / part


@contextlib.contextmanager
def locked(part: str) -> Iterator[Path]:
    """The folder `part`, made if need be, while no other process has it. UsageError if it cannot be written to."""
    folder = cache_dir(part)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as problem:
        raise UsageError(f"{folder}: {problem.strerror}; LITEBOX_CACHE names another folder for the cache") from None
    with lock:
        with told(f"waiting for another process that works in {folder}"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
