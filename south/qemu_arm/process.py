"""QEMU as a process that goes when we go, even by kill -9."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from south.qemu_arm.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Sequence

_TAIL = 2000
"""Bytes of QEMU's complaints that are told."""
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
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Runs between fork and QEMU, in an interpreter of its own: nothing of Python's is safe to run in the fork of a process
with threads. The parent may have gone before the signal was asked for: hence the second look."""


class Process:
    """A child that the kernel kills with us.

    The death signal comes when the *thread* ends that started the child (prctl(2)), so a thread of its own starts it
    and waits for its end. command: program and arguments; fds: descriptors to inherit; own_session: not for a child
    that reads the terminal.
    """

    def __init__(self, command: Sequence[str], fds: Sequence[int], own_session: bool) -> None:
        self._said = os.memfd_create("litebox-qemu-stderr", os.MFD_CLOEXEC)
        self._child: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._started = threading.Event()
        self._ended = threading.Event()
        arguments = (list(command), tuple(fds), own_session)
        self._keeper = threading.Thread(target=self._keep, args=arguments, name="litebox-qemu", daemon=True)
        self._keeper.start()
        self._started.wait()
        if self._failure is not None:
            self.close()
            raise MachineError(f"{command[0]}: {self._failure.strerror}") from None

    def _keep(self, command: list[str], fds: tuple[int, ...], own_session: bool) -> None:
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command],
                pass_fds=fds,
                stdin=subprocess.DEVNULL if own_session else None,
                stderr=self._said,
                start_new_session=own_session,
            )
        except OSError as problem:
            self._failure = problem
            self._ended.set()
            return
        finally:
            self._started.set()
        self._child.wait()
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
        """The end of what it wrote to standard error."""
        size = os.fstat(self._said).st_size
        start = max(0, size - _TAIL)
        return os.pread(self._said, _TAIL, start).decode("utf-8", "replace").strip()

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
        if self._said >= 0:
            os.close(self._said)
            self._said = -1
