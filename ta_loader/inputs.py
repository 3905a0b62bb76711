"""Reading a file that a user named: whole, within a limit, and only what has an end.

What it is, is asked before a byte is read: a device such as /dev/zero never ends, and opening a named pipe waits for
the program that writes to it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import TYPE_CHECKING

from south.descriptors import shut
from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

MAX_FILE = 1 << 30
"""Bytes of a regular file; a TA's whole address space has as many."""
MAX_STREAM = 256 << 20
"""Bytes of a pipe or of standard input, whose size nobody knows before."""
stdin_closed = False
"""Whether the caller closed standard input, in whose place the commands and their children have an empty one."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


class NamedPath(str):
    """A path that a file named. where: that file and its key, which messages about the path begin with."""

    where: str

    def __new__(cls, path: str, where: str) -> NamedPath:
        self = super().__new__(cls, path)
        self.where = where
        return self


def shown(path: str, what: str) -> str:
    """How messages name a path that stood in the place of `what`, an option, unless a file named it."""
    if isinstance(path, NamedPath):
        return f"{path.where}: {path}"
    return f"{what} {path}" if what else path


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Say of a mistake in a file which file named that one."""
    try:
        yield
    except UsageError as problem:
        if isinstance(path, NamedPath):
            raise UsageError(f"{path.where}: {problem}") from None
        raise


def read_input(path: str, what: str, most: int = MAX_FILE) -> bytes:
    """The bytes of a regular file, or of a pipe that a shell made of a command (`<(...)`). UsageError; `what` names the
    place that the path stood in.
    """
    where = shown(path, what)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as problem:
        raise UsageError(f"{where}: cannot be read: {_reason(problem)}") from None
    try:
        most = _limit(descriptor, where, most)
        with open(descriptor, "rb", closefd=False) as file:
            return _bounded(file, where, most)
    except OSError as problem:
        raise UsageError(f"{where}: cannot be read: {_reason(problem)}") from None
    finally:
        shut(descriptor)


def _limit(descriptor: int, where: str, most: int) -> int:
    """The most bytes to read of it. UsageError if it is refused."""
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        if status.st_size > most:
            raise UsageError(f"{where}: {status.st_size} bytes, more than the limit of {most}")
        return most
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev:
        return most  # the one device that everybody names, for nothing at all
    if _is_shells_pipe(descriptor, status):
        os.set_blocking(descriptor, True)
        return min(most, MAX_STREAM)
    kind = next((text for test, text in _KINDS if test(status.st_mode)), "something else")
    raise UsageError(f"{where}: {kind} and no file")


def read_toml(path: str, what: str, most: int) -> dict[str, Any]:
    """The table of a TOML file of at most `most` bytes. UsageError names the file."""
    data = read_input(path, what, most)
    try:
        return parse_toml(data)
    except UsageError as problem:
        raise UsageError(f"{path}: {problem}") from None


def parse_toml(data: bytes) -> dict[str, Any]:
    """UsageError for anything that is no TOML, with the line where there is one; the library's words are a user's."""
    import tomllib  # costs more than a TA's verification

    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise UsageError(f"line {line} is not UTF-8; save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(f"is no TOML: {problem}") from None
    except (ValueError, RecursionError):
        raise UsageError("is no TOML that can be read: a number is too long, or values nest too deep") from None


def read_stdin(what: str, most: int = MAX_STREAM) -> bytes:
    """All that is left of standard input. UsageError if it is more than `most` bytes."""
    return _bounded(stdin(what), f"{what}: standard input", min(most, MAX_STREAM))


def stdin(what: str) -> BinaryIO:
    """Standard input. UsageError if there is none: what is read of a closed one is not an empty file."""
    if stdin_closed or sys.stdin is None:
        raise UsageError(f"{what}: standard input is closed")
    return sys.stdin.buffer


def _bounded(file: BinaryIO, where: str, most: int) -> bytes:
    try:
        data = file.read(most + 1)
    except OSError as problem:
        raise UsageError(f"{where}: cannot be read: {_reason(problem)}") from None
    except MemoryError:
        raise UsageError(f"{where}: does not fit into memory") from None
    if len(data) > most:
        raise UsageError(f"{where}: more than the limit of {most} bytes")
    return data


def _is_shells_pipe(descriptor: int, status: os.stat_result) -> bool:
    """A pipe without a name: another program is at its other end already."""
    if not stat.S_ISFIFO(status.st_mode):
        return False
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:")
    except OSError:
        return False


def _reason(problem: Exception) -> str:
    return (problem.strerror if isinstance(problem, OSError) else "") or str(problem)
