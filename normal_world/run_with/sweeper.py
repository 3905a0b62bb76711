"""Nothing is left of a killed `litebox-ta with`: a process of its own outlives it, ends its daemon, removes its folder.

SIGKILL gives nobody a chance to clean up, so somebody else must: a fork that waits for the end of a pipe. What kills
that too (a whole cgroup, the machine) leaves a folder, which the next run removes: nobody holds its lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time

PREFIX = "litebox-with-"
LOCK = "lock"
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
        _sweep()
        self.path = tempfile.mkdtemp(prefix=PREFIX)
        lock = os.path.join(self.path, LOCK)
        self._lock = os.open(f"{lock}.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.rename(f"{lock}.new", lock)  # there only once it is held
        reader, self._writer = os.pipe()
        try:
            self._sweeper = os.fork()
        except OSError:
            os.close(reader)
            os.close(self._writer)
            shutil.rmtree(self.path, ignore_errors=True)
            raise
        if not self._sweeper:
            try:
                _wait_and_sweep(reader, self.path, self._lock)
            finally:
                os._exit(0)
        os.close(reader)

    def owns(self, pid: int) -> None:
        """Process `pid`, a child of ours, is to end with us."""
        os.write(self._writer, b"%d\n" % pid)

    def close(self) -> None:
        """Remove the folder. The process it owns has ended before. Once."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.write(self._writer, _DONE)
        os.close(self._writer)
        os.close(self._lock)
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
    shutil.rmtree(folder, ignore_errors=True)


def _end(pidfd: int) -> None:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(pidfd, number)
        if poll.poll(_TERM * 1000):
            return


def _sweep() -> None:
    """Remove folders of runs that were killed along with their sweepers."""
    place = tempfile.gettempdir()
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False) and _is_abandoned(entry):
                    shutil.rmtree(entry.path, ignore_errors=True)


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    """It is ours and nobody holds its lock."""
    status = entry.stat(follow_symlinks=False)
    if status.st_uid != os.geteuid():
        return False
    try:
        fd = os.open(os.path.join(entry.path, LOCK), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # one that is being made at this moment, or an older version's
        return time.time() - status.st_mtime > _OLD
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


_OLD = 24 * 3600.0
"""Seconds after which a folder without a lock is nobody's."""
