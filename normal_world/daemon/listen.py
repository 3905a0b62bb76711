"""The daemon's socket: made with its mode and group, never taken from a daemon that lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from typing import TYPE_CHECKING

from normal_world.protocol import SYSTEM_SOCKET, default_socket
from south.descriptors import shut
from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKLOG = 128
MODE = 0o660
FOLDER_MODE = 0o700
SYSTEM_FOLDER_MODE = 0o755


class Listener:
    """A bound socket that knows its file: `remove` takes away its own and no other."""

    def __init__(self, path: str, sock: socket.socket) -> None:
        self.path = path
        self.socket = sock
        status = os.lstat(path)
        self._file = status.st_dev, status.st_ino

    def remove(self) -> None:
        try:
            status = os.lstat(self.path)
            if (status.st_dev, status.st_ino) == self._file:
                os.unlink(self.path)
        except OSError:
            pass


def listen(path: str, mode: int = MODE, group: int | None = None) -> Listener:
    """Listen at `path`, which may hold the socket of a daemon that died. UsageError.

    The folder of the usual place is made, not those above it; that of any other must be there: one that appears under
    a mistyped name, closed to others, would be found by no client.
    """
    folder = os.path.dirname(path) or "."
    try:
        if not os.path.isdir(folder):
            if path != default_socket():
                raise UsageError(f"{folder}: no such folder; make it, open to those who may connect")
            # The system's socket has a mode and a group of its own, which say who may connect.
            os.mkdir(folder, SYSTEM_FOLDER_MODE if path == SYSTEM_SOCKET else FOLDER_MODE)
        with _alone(folder):
            _clear(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            try:
                # bind(2) gives the file the mode of the socket's own inode: no name is followed afterwards, which
                # somebody who may write to the folder could have replaced by a link.
                os.fchmod(sock.fileno(), mode if group is None else 0o600)
                before = os.umask(0)
                try:
                    sock.bind(path)
                finally:
                    os.umask(before)
                try:
                    if group is not None:
                        _give(path, group, mode)
                    sock.listen(BACKLOG)
                    return Listener(path, sock)
                except BaseException:
                    # Nobody else's: we are alone here, and bind(2) has just made it.
                    with contextlib.suppress(OSError):
                        os.unlink(path)
                    raise
            except BaseException:
                sock.close()
                raise
    except OSError as problem:
        raise UsageError(f"cannot listen at {path}: {problem.strerror or problem}") from None


def _give(path: str, group: int, mode: int) -> None:
    """Group and mode of the socket's file, by descriptor. OSError if something else is at `path` by now."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
            raise OSError(errno.EEXIST, "somebody else replaced it")
        os.chown(f"/proc/self/fd/{fd}", -1, group)
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        shut(fd)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Two daemons that start at once must not both find the socket stale."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        shut(fd)


def _clear(path: str) -> None:
    """Remove what a dead daemon left. UsageError if it is none of that."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise UsageError(f"{path} is there and is no socket; remove it, or choose another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as problem:
            raise UsageError(f"{path} is in use by something else: {problem.strerror or problem}") from None
    raise UsageError(f"a daemon listens at {path} already")
