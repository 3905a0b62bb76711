"""Nothing is left of a killed `litebox-ta with`: a process of its own outlives it, ends its daemon, removes its folder.

SIGKILL gives nobody a chance to clean up, so somebody else must: a fork that waits for the end of a pipe. What kills
that too (a whole cgroup, the machine) leaves a folder, which the next run removes (`south.replacing`).
"""

from __future__ import annotations

import contextlib
import os
import signal

from south.descriptors import shut
from south.replacing import locked_folder, remove_tree

NAME = "with"
"""Short: a socket's path has 107 bytes at most."""
_INSIDE = "d"
_PID = 32
"""Bytes of a pid in decimal, at most."""
_DONE = b"done"
_TERM = 10.0
"""Seconds that the daemon has to end by itself."""


class PrivateFolder:
    """A temporary folder (mode 0700), removed by `close` or, when this process is killed, by the sweeper.

    path: of the folder. OSError.
    """

    def __init__(self) -> None:
        self._outer, self._lock = locked_folder(NAME)
        # A folder inside, because the daemon locks that of its socket.
        self.path = os.path.join(self._outer, _INSIDE)
        pipe: tuple[int, ...] = ()
        try:
            os.mkdir(self.path, 0o700)
            reader, self._writer = pipe = os.pipe()
            self._sweeper = os.fork()
        except BaseException:
            remove_tree(self._outer)
            for fd in (*pipe, self._lock):
                shut(fd)
            raise
        if not self._sweeper:
            try:
                _wait_and_sweep(reader, self._outer, self._lock)
            finally:
                os._exit(0)
        shut(reader)

    def owns(self, pid: int) -> None:
        """Process `pid`, a child of ours, is to end with us."""
        os.write(self._writer, b"%d\n" % pid)

    def close(self) -> None:
        """Remove the folder. The process it owns has ended before. Once."""
        remove_tree(self._outer)
        with contextlib.suppress(OSError):
            os.write(self._writer, _DONE)
        shut(self._writer)
        shut(self._lock)
        os.waitpid(self._sweeper, 0)


def _wait_and_sweep(reader: int, folder: str, lock: int) -> None:
    """The sweeper's life."""
    os.setsid()  # what is sent to the group of the other, as Ctrl-C is, is not for us
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):  # a pipe that somebody reads would not end before we do
        os.dup2(null, standard)
    kept = {reader, lock}
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd not in kept:
            with contextlib.suppress(OSError):
                os.close(fd)
    said, pidfd = b"", -1
    while True:
        piece = os.read(reader, _PID)
        said += piece
        if not piece or said.endswith(_DONE):
            break
        if pidfd < 0 and said.endswith(b"\n"):
            # At once: a number may be another process's one day, but not while its parent lives.
            with contextlib.suppress(OSError):
                pidfd = os.pidfd_open(int(said))
    if said.endswith(_DONE):
        return
    if pidfd >= 0:
        _end(pidfd)
    remove_tree(folder)


def _end(pidfd: int) -> None:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(pidfd, number)
        if poll.poll(_TERM * 1000):
            return
