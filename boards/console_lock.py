"""Lines that one run has at a time: two that type at one console, or one that switches off the other's board, do harm.

A serial port that is open is locked by pyserial as well. This lock is there before: while a port of the board's own is
away with the board's power, and for serial servers that serve several clients.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from boards.errors import TargetError

FOLDER = Path("/run/lock")
"""For all users of a machine, where it is writable (FHS 3.0 §3.15.3); else the folder of temporary files."""


class LineLocks:
    """Of one run; `free` gives them up, as the end of its process does."""

    def __init__(self) -> None:
        self._held: dict[Path, int] = {}

    def take(self, console: str, link: str) -> None:
        """TargetError if another run has the line."""
        names = {link, os.path.realpath(link)} if link.startswith("/") else {link}
        for name in sorted(names):
            path = _folder() / f"litebox-ta-{hashlib.sha256(name.encode()).hexdigest()[:20]}.lock"
            if path in self._held:
                continue
            held = _lock(path)
            if isinstance(held, str):
                raise TargetError(f"console {console}: {link} is in use by another run{held}")
            if held is not None:
                self._held[path] = held

    def free(self) -> None:
        for path, descriptor in self._held.items():
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)
        self._held.clear()


def _folder() -> Path:
    return FOLDER if os.access(FOLDER, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def _lock(path: Path) -> int | str | None:
    """A locked descriptor; who has it, as text; None where there can be no such file: the port has its own lock."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
        except OSError:
            try:
                descriptor = os.open(path, os.O_RDONLY | flags)  # another user's
            except OSError:
                return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            said = os.pread(descriptor, 20, 0)
            os.close(descriptor)
            return f" (process {said.decode()})" if said.isdigit() else ""
        with suppress(OSError):
            if os.stat(path, follow_symlinks=False).st_ino == os.fstat(descriptor).st_ino:
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor
        os.close(descriptor)  # its owner has just removed it
