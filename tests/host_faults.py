"""Calls of the host's that fail, one at a time: disks that are full or broken, no descriptors, no memory."""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import mmap
import os
import select
import shutil
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

ERRORS = (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENOMEM, errno.EROFS)
_NEW = (errno.EMFILE, errno.ENOMEM)
_MAKING = (errno.ENOSPC, errno.EROFS, errno.EMFILE)
_WRITING = (errno.ENOSPC, errno.EIO)
_READING = (errno.EIO, errno.ENOMEM)
HOST: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("open", "mkdir", "memfd_create"), _MAKING),
    **dict.fromkeys(("dup", "pipe", "fork", "eventfd", "pidfd_open"), _NEW),
    **dict.fromkeys(
        ("write", "pwrite", "fsync", "fdatasync", "ftruncate", "posix_fallocate", "link", "symlink", "rename",
         "replace", "unlink", "rmdir", "chmod", "fchmod", "chown", "utime"),
        _WRITING,
    ),
    **dict.fromkeys(("read", "pread", "fstat", "stat", "lstat", "listdir", "scandir", "fdopen"), _READING),
    "close": (errno.EIO,),
}  # fmt: skip
"""Functions of `os` that are made to fail, and the errors of the kind that they have; a close closes all the same."""
SOCKET = ("connect", "send", "recv", "recvmsg", "sendmsg", "setsockopt", "getsockopt", "getpeername", "bind", "listen",
          "accept")  # fmt: skip
OTHERS: dict[str, tuple[int, ...]] = {
    "file.write": _WRITING,
    "flock": _READING,
    "fcntl": _NEW,
    "mmap": _NEW,
    "epoll": _NEW,
    "getaddrinfo": _NEW,
    "socketpair": _NEW,
    "socket": _NEW,
    "Popen": (errno.ENOMEM, errno.EMFILE),
    "thread": (errno.EAGAIN,),
    **{f"socket.{name}": (errno.ENOMEM, errno.EIO) for name in SOCKET},
}
MATTERS = HOST | OTHERS


class Faults:
    """The `at`-th call of the host's by this thread fails with `number`, once. fired: which one it was.

    names: what was called since the last `arm`.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.number = 0
        self.at = -1
        self.on = False
        self.fired = ""
        self.names: list[str] = []
        self._thread = threading.get_ident()
        for name in HOST:
            patch.setattr(os, name, self._failing(name, getattr(os, name)))
        opens = self._failing("open", self._opening(io.open))
        patch.setattr(builtins, "open", opens)
        patch.setattr(io, "open", opens)
        for module, name in ((fcntl, "flock"), (fcntl, "fcntl"), (mmap, "mmap"), (select, "epoll")):
            patch.setattr(module, name, self._failing(name, getattr(module, name)))
        for name in ("getaddrinfo", "socketpair"):
            patch.setattr(socket, name, self._failing(name, getattr(socket, name)))
        for name in SOCKET:
            patch.setattr(socket.socket, name, self._failing(f"socket.{name}", getattr(socket.socket, name)))
        patch.setattr(socket.socket, "__init__", self._failing("socket", socket.socket.__init__))
        patch.setattr(subprocess.Popen, "__init__", self._failing("Popen", subprocess.Popen.__init__))
        patch.setattr(threading.Thread, "start", self._failing("thread", threading.Thread.start))
        # Functions with a way of their own for each set of what the host has look at what it had.
        patch.setattr(os, "supports_dir_fd", os.supports_dir_fd | {os.open, os.stat, os.unlink, os.rmdir, os.mkdir})
        patch.setattr(os, "supports_fd", os.supports_fd | {os.scandir, os.listdir, os.stat})
        patch.setattr(os, "supports_follow_symlinks", os.supports_follow_symlinks | {os.stat})
        assert shutil.rmtree.avoids_symlink_attacks

    def arm(self, at: int, number: int) -> None:
        """at: counted from 0; a number that is never reached records the names of all calls."""
        self.at, self.number, self.fired, self.names, self.on = at, number, "", [], True

    def disarm(self) -> None:
        self.on = False

    def _comes(self, name: str) -> bool:
        """Whether this call is the one that fails."""
        if not self.on or threading.get_ident() != self._thread:
            return False
        self.names.append(name)
        if len(self.names) - 1 != self.at:
            return False
        self.fired = name
        return True

    def _failing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            # One of a descriptor that is there asks the host for nothing.
            if named.get("fileno") is not None or (len(args) > 4 and name == "socket") or not self._comes(name):
                return real(*args, **named)
            if name == "close":
                real(*args, **named)
            if name == "thread":
                raise RuntimeError("can't start new thread")
            raise OSError(self.number, os.strerror(self.number))

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """`open`, so that what is written later through the file can fail, too."""
        faults = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                if faults._comes("file.write"):
                    raise OSError(faults.number, os.strerror(faults.number))
                return super().write(data)

        def call(
            file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, errors: str | None = None,
            newline: str | None = None, closefd: bool = True, opener: Any = None,
        ) -> Any:  # fmt: skip
            if not faults.on or not set(mode) & set("wax"):
                return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
            raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
            if not buffering:
                return raw
            whole = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return whole if "b" in mode else io.TextIOWrapper(whole, encoding or "utf-8", errors, newline)

        return call
