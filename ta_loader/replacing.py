"""Files that appear whole or not at all: written beside the one they replace, and renamed.

A process that is killed meanwhile leaves the file beside. It is locked while somebody writes it, so the next that
replaces the same file finds it without a lock and removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING, BinaryIO, cast

from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX = ".litebox-new"
OLD = 60.0
"""Seconds. A younger file without a lock may be one that is not locked yet."""


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file to write; it takes the place of `path` when the block ends well, and vanishes when it does not. OSError.

    What is there keeps its permissions, and a link goes on to lead to it. A device or a pipe, and a file
    in a folder that may not be written to, is not replaced but written to.
    """
    target = os.path.realpath(path) if os.path.islink(path) else path
    try:
        before = os.stat(target)
    except FileNotFoundError:
        before = None
    folder, name = os.path.split(target)
    if before is not None and not (stat.S_ISREG(before.st_mode) and os.access(folder or ".", os.R_OK | os.W_OK)):
        with open(target, "wb") as file:
            yield cast(BinaryIO, file)
        return
    place = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sweep(place, f".{name[:100]}.", SUFFIX)
        temporary = f".{name[:100]}.{os.urandom(6).hex()}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(temporary, flags, 0o666, dir_fd=place)
        try:
            with os.fdopen(fd, "wb") as file:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if before is not None:
                    os.fchmod(fd, stat.S_IMODE(before.st_mode))
                yield cast(BinaryIO, file)
                file.flush()
                os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=place)
            raise
    finally:
        os.close(place)


def replace(path: str, data: bytes) -> None:
    """`replacing` with all of the data at once. OSError."""
    with replacing(path) as file:
        file.write(data)


def replace_file(path: str, data: bytes) -> None:
    """`replace` for a file that the user named. UsageError if it cannot be written."""
    try:
        replace(path, data)
    except OSError as problem:
        raise UsageError(f"cannot write {path}: {problem.strerror}") from None


def sweep(place: int, start: str, end: str) -> None:
    """Remove files of that kind of name from a folder (a descriptor) that killed processes left there."""
    with contextlib.suppress(OSError):
        for name in os.listdir(place):
            if name.startswith(start) and name.endswith(end):
                with contextlib.suppress(OSError):
                    _remove_abandoned(place, name)


def _remove_abandoned(place: int, name: str) -> None:
    fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or time.time() - status.st_mtime < OLD:
            return
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=place)
    finally:
        os.close(fd)
