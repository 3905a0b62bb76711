"""Calls of the host's that fail, one at a time: disks that are full or broken, no descriptors, no memory."""

from __future__ import annotations

import builtins
import errno
import fcntl
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

HOST = (
    "open", "mkdir", "dup", "fsync", "fdatasync", "pread", "pwrite", "ftruncate", "link", "unlink", "rename", "rmdir",
    "fstat", "stat", "lstat", "listdir", "close", "fdopen", "read", "write",
)  # fmt: skip
"""Functions of `os` that are made to fail; a close closes all the same."""
ERRORS = (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENOMEM, errno.EROFS)


class Faults:
    """The `at`-th call of the host's by this thread fails with `number`, once. fired: which one it was."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.number = 0
        self.at = -1
        self.calls = 0
        self.fired = ""
        self._thread = threading.get_ident()
        for name in HOST:
            patch.setattr(os, name, self._failing(name, getattr(os, name)))
        patch.setattr(builtins, "open", self._failing("open", open))
        patch.setattr(fcntl, "flock", self._failing("flock", fcntl.flock))

    def arm(self, at: int, number: int) -> None:
        self.at, self.number, self.calls, self.fired = at, number, 0, ""

    def disarm(self) -> None:
        self.at = -1

    def _failing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            if self.at < 0 or threading.get_ident() != self._thread:
                return real(*args, **named)
            self.calls += 1
            if self.calls - 1 != self.at:
                return real(*args, **named)
            self.fired = name
            if name == "close":
                real(*args, **named)
            raise OSError(self.number, os.strerror(self.number))

        return call
