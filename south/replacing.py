"""Files and folders that appear whole or not at all: made under a temporary name, then renamed.

A process that is killed meanwhile leaves what it made. It is locked while somebody works on it, so the next that makes
the same thing finds it without a lock and removes it. All temporary names come from here (tests/test_temporary.py).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING, BinaryIO, cast

from south.descriptors import shut
from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX = ".lb-new"
OLD = 60.0
"""Seconds. A younger file without a lock may be one that is not locked yet."""
_NAME_MAX = 100
"""Bytes of the name that a temporary one begins with; a file's name has at most 255 (NAME_MAX)."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RENAME_NOREPLACE = 1


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
    place = os.open(folder or ".", _FOLDER)
    try:
        with beside(place, name) as (fd, temporary), os.fdopen(fd, "wb", closefd=False) as file:
            if before is not None:
                os.fchmod(fd, stat.S_IMODE(before.st_mode))
            yield cast(BinaryIO, file)
            file.flush()
            os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    finally:
        shut(place)


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


@contextlib.contextmanager
def beside(place: int, name: str, mode: int = 0o666) -> Iterator[tuple[int, str]]:
    """A new file to be renamed to `name`: its descriptor, and its name in the folder `place`, a descriptor. OSError.

    It is locked, and gone when the block ends if it still has that name. mode: less the process's mask.
    """
    sweep(place, name)
    temporary = _temporary(name)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(temporary, flags, mode, dir_fd=place)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd, temporary
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=place)
        os.close(fd)


@contextlib.contextmanager
def temporary_folder(name: str, within: str | os.PathLike[str] | None = None, mode: int = 0o700) -> Iterator[Path]:
    """As `locked_folder`, removed with all in it when the block ends, if it still has that name. OSError."""
    from pathlib import Path

    folder, lock = locked_folder(name, within, mode)
    try:
        yield Path(folder)
    finally:
        remove_tree(folder)
        shut(lock)


def locked_folder(name: str, within: str | os.PathLike[str] | None = None, mode: int = 0o700) -> tuple[str, int]:
    """A new folder, and a descriptor of it that keeps others from sweeping it while it is open. OSError.

    name: what it is for; what killed processes left of the same name goes. within: None: that of temporary files.
    """
    if within is None:
        import tempfile

        within = tempfile.gettempdir()
    place = os.open(within, _FOLDER)
    try:
        sweep(place, name)
        temporary = _temporary(name)
        os.mkdir(temporary, mode, dir_fd=place)
        try:
            lock = os.open(temporary, _FOLDER | os.O_NOFOLLOW, dir_fd=place)
        except BaseException:
            os.rmdir(temporary, dir_fd=place)
            raise
        with contextlib.suppress(OSError):  # NFS locks no folders; there nobody can lock it to sweep it, either
            fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        shut(place)
    return os.path.join(os.path.abspath(within), temporary), lock


def remove_tree(folder: str) -> None:
    """Remove a folder with all that is in it, as far as that is possible."""
    import shutil

    with contextlib.suppress(OSError):  # of the folder itself it raises some all the same
        shutil.rmtree(folder, ignore_errors=True)


def rename_new(source: int, old: str | bytes, target: int, new: str | bytes) -> None:
    """Rename where nothing is named `new`, else FileExistsError; atomic (renameat2(2)) where kernel and C library
    have it, otherwise never a loss, but a crash can leave the file under both names. source, target: descriptors of
    folders.
    """
    import ctypes  # costs milliseconds, and files are renamed this way only rarely

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        if call(source, os.fsencode(old), target, os.fsencode(new), _RENAME_NOREPLACE) == 0:
            return
        failed = ctypes.get_errno()
        if failed not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(failed, os.strerror(failed))
    os.link(old, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    os.unlink(old, dir_fd=source)


def sweep(place: int, name: str) -> None:
    """Remove from a folder, a descriptor, what killed processes left of the temporary names for `name`."""
    start = _start(name)
    with contextlib.suppress(OSError):
        for found in os.listdir(place):
            if found.startswith(start) and found.endswith(SUFFIX):
                with contextlib.suppress(OSError):
                    _remove_abandoned(place, found)


def sweep_folder(folder: str | os.PathLike[str], name: str) -> None:
    """`sweep` by the folder's name, whether it is there or not."""
    with contextlib.suppress(OSError):
        place = os.open(folder, _FOLDER)
        try:
            sweep(place, name)
        finally:
            shut(place)


def _start(name: str) -> str:
    return f".{os.fsdecode(os.fsencode(name)[:_NAME_MAX])}."


def _temporary(name: str) -> str:
    return f"{_start(name)}{os.urandom(4).hex()}{SUFFIX}"


def _remove_abandoned(place: int, name: str) -> None:
    folder = stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)
    access = os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR  # NFS locks for writing what is open for it
    fd = os.open(name, access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    try:
        status = os.fstat(fd)
        if not (folder or stat.S_ISREG(status.st_mode)) or status.st_uid != os.geteuid():
            return
        if time.time() - status.st_mtime < OLD:
            return
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder:
            import shutil

            shutil.rmtree(name, ignore_errors=True, dir_fd=place)
        else:
            os.unlink(name, dir_fd=place)
    finally:
        shut(fd)
