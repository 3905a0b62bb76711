"""A daemon of one's own: a child process on a socket in a private folder, gone when the `with` ends."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from normal_world.run_with.sweeper import PrivateFolder
from ta_loader.cli import exits
from ta_loader.cli.failure import plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

READY = 30.0
"""Seconds until it must listen."""
STOP = 10.0
"""Seconds it has to end, after which it is killed."""


class PrivateDaemon:
    """options: of `litebox-ta serve`. log: file for what it prints; verbose: our standard error instead. reports: why
    TAs were refused and how they died comes to our standard error in any case.

    state: the device's state folder, None: a fresh one. folder: private, for whatever else lives as long;
    socket: where the daemon listens.
    """

    def __init__(
        self,
        options: Sequence[str],
        log: str | None = None,
        *,
        verbose: bool = False,
        state: str | None = None,
        reports: bool = False,
    ) -> None:
        self._private = PrivateFolder()
        self.folder = self._private.path
        self._options = (*options, "--state", state or os.path.join(self.folder, "state"))
        self._reports = reports and not (verbose and log is None)
        self._log = None if verbose and log is None else log or os.path.join(self.folder, "daemon.log")
        self.socket = os.path.join(self.folder, "tee.sock")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PrivateDaemon:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, _: TracebackType | None
    ) -> None:
        self._end()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _start(self) -> None:
        ready, told = os.pipe()
        command = [sys.executable, "-m", "ta_loader.cli", "serve", "--socket", self.socket, "--ready-fd", str(told)]
        output = None
        passed = [told]
        try:
            if self._reports:
                # What the program cannot know, and its user has to: why there is no such TA, and how one died.
                with suppress(OSError):
                    passed.append(os.dup(2))
                    command += ["--report-fd", str(passed[-1])]
            if self._log is not None:
                output = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            # A session of its own: Ctrl-C is for the program, and the daemon outlives it by our word.
            self._process = subprocess.Popen(
                [*command, *self._options],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            self._private.owns(self._process.pid)
            os.close(told)
            told = -1
            if not self._wait(ready):
                self._refuse()
        finally:
            os.close(ready)
            for fd in (*passed[1:], told, -1 if output is None else output):
                if fd >= 0:
                    os.close(fd)

    @staticmethod
    def _wait(ready: int) -> bool:
        """True when it listens; False when it has ended, or takes too long."""
        until = time.monotonic() + READY
        while (left := until - time.monotonic()) > 0:
            if select.select([ready], [], [], left)[0]:
                return os.read(ready, 1) != b""
        return False

    def _refuse(self) -> None:
        """Say why there is no daemon: it has printed that, on the same standard error or in its log. OSError, not
        UsageError: the hint would be the second.
        """
        assert self._process is not None
        try:
            code = self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            raise OSError(f"the daemon did not listen within {READY:.0f} s") from None
        where = ""
        if self._log is not None:
            with open(self._log, errors="replace") as file:
                where = f": {plain(file.read(2000))}"
        raise OSError(f"the daemon ended with {code} before it listened{where}")

    def _end(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._private.close()


def exit_code(status: int) -> int:
    """Of a child, as a shell tells it: 128 + signal."""
    return 128 - status if status < 0 else status or exits.OK
