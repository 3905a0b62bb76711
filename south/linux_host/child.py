"""A program as a process that goes when we go, even by kill -9: QEMU, a board.

What has to be cleaned up besides needs somebody who outlives us: `normal_world.run_with.sweeper`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

_FIRST, _LAST = 1000, 2000
"""Bytes of its complaints that are kept, from their start and before their end: QEMU's guest can provoke any number."""
_READ_SECONDS = 1.0
"""For the rest of its complaints, once it has ended."""
_STOP_SECONDS = 5.0
"""Between SIGTERM and SIGKILL."""

_LAUNCH = """\
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL):
    sys.exit("prctl(PR_SET_PDEATHSIG) failed")
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as problem:
    sys.exit(f"{sys.argv[2]}: {problem.strerror}")
"""
"""Runs between fork and the program, in an interpreter of its own: nothing of Python's is safe to run in the fork of a
process with threads. The parent may have gone before the signal was asked for: hence the second look."""


class _Said:
    """The start and the end of what comes out of a pipe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first = b""
        self._last = b""
        self._left_out = 0

    def read(self, pipe: IO[bytes]) -> None:
        """Until it is closed at the other end; closes this one."""
        with pipe:
            while data := pipe.read(1 << 16):
                with self._lock:
                    room = _FIRST - len(self._first)
                    self._first += data[:room]
                    last = self._last + data[room:]
                    self._last = last[-_LAST:]
                    self._left_out += len(last) - len(self._last)

    def text(self) -> str:
        with self._lock:
            gap = b"\n[%d bytes more]\n" % self._left_out if self._left_out else b""
            whole = self._first + gap + self._last
        return whole.decode("utf-8", "replace").strip()


class Child:
    """A child that the kernel kills with us.

    The death signal comes when the *thread* ends that started the child (prctl(2)), so a thread of its own starts it
    and waits for its end. command: program and arguments; fds: descriptors to inherit; own_session: not for a child
    that reads the terminal; folder: where it runs, None: here; log: takes both its outputs, None: standard output is
    ours, and `said` has the other. OSError: it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        fds: Sequence[int] = (),
        *,
        own_session: bool = True,
        folder: str | None = None,
        log: IO[bytes] | None = None,
    ) -> None:
        self._said = _Said()
        self._child: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._started = threading.Event()
        self._ended = threading.Event()
        arguments = (list(command), tuple(fds), own_session, folder, log)
        self._keeper = threading.Thread(target=self._keep, args=arguments, name="litebox-child", daemon=True)
        self._keeper.start()
        self._started.wait()
        if self._failure is not None:
            self.close()
            raise self._failure

    def _keep(
        self, command: list[str], fds: tuple[int, ...], own_session: bool, folder: str | None, log: IO[bytes] | None
    ) -> None:
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command],
                pass_fds=fds,
                stdin=subprocess.DEVNULL if own_session else None,
                stdout=log,
                stderr=subprocess.PIPE if log is None else log,
                cwd=folder,
                bufsize=0,
                start_new_session=own_session,
            )
        except OSError as problem:
            self._failure = problem
            self._ended.set()
            return
        finally:
            self._started.set()
        complaints = self._child.stderr
        if complaints is None:
            self._child.wait()
        else:
            reader = threading.Thread(target=self._said.read, args=(complaints,), name="litebox-child", daemon=True)
            reader.start()
            self._child.wait()
            reader.join(_READ_SECONDS)
        self._ended.set()

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def wait(self, seconds: float | None = None) -> int | None:
        """Its status, negative for a signal; None if it still runs after that time."""
        if not self._ended.wait(seconds):
            return None
        assert self._child is not None
        return self._child.returncode

    def said(self) -> str:
        """Start and end of what it wrote to standard error."""
        return self._said.text()

    def stop(self) -> None:
        """End it, if it has not ended."""
        if self._child is None:
            return
        for end in (self._child.terminate, self._child.kill):
            if self._ended.is_set():
                break
            end()
            self._ended.wait(_STOP_SECONDS)

    def close(self) -> None:
        """Stop it, and give back what it took here."""
        self.stop()
        self._keeper.join()
