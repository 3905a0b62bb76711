"""Programs of the user's that do one thing and end: power switches, makers of a variable's value.

What they leave running keeps nobody waiting: their output goes to a file, not to a pipe that a child holds open.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_OUTPUT = 1 << 16
"""Bytes of its output, the last."""


class Done(NamedTuple):
    status: int
    out: bytes
    err: bytes


def run(argv: Sequence[str], seconds: float, *, show: bool = False) -> Done:
    """Its status and output. subprocess.TimeoutExpired after so many seconds: it has been killed then. OSError if it
    cannot be started. show: its standard error is ours.
    """
    with _file() as out, _file() as err:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=None if show else err)
        try:
            status = child.wait(seconds)
        except BaseException:
            child.kill()
            child.wait()
            raise
        return Done(status, _end(out), _end(err))


def _file() -> IO[bytes]:
    """A full disk is no reason not to switch a board off."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "r+b")


def _end(file: IO[bytes]) -> bytes:
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), MAX_OUTPUT, max(0, size - MAX_OUTPUT)) if size else b""
