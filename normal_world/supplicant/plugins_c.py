"""One C plugin, as tee-supplicant loads it, in a process of its own architecture (normal_world/plugin_host).

The process is started before the daemon restricts itself, and ends with it. The plugin runs in a child of that process,
which is replaced when the plugin crashes or has to be stopped.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from normal_world.plugin_host.frames import DATA_MAX, LAYOUT, Death, Frame, FrameError, Kind
from tee.abi import results
from tee.errors import TeeError
from tee.normal import PluginAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START = 15.0
"""Seconds until the plugin's init must have returned; the keeper itself gives up after 10."""
SLACK = 5.0
"""Seconds past a call's limit, or past its cancellation, that the keeper has to say so."""
SLICE = 0.05
"""Seconds of one wait: how late a cancelled call ends."""
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_DEATHS: dict[int, results.Result] = {Death.CANCELLED: results.CANCEL, Death.TOO_LONG: results.TIMEOUT}


class PluginRefused(Exception):
    """A file is no plugin, or does not start; says why."""


class CPlugin:
    """command: starts the keeper for a plugin, to which the numbers of its descriptors are added. limit: seconds of one
    call. OSError: it cannot be started. Then `ready`, once; after that `invoke` from any thread.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], limit: float) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._call = 0
        memory = os.memfd_create("litebox-plugin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(memory, DATA_MAX)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
            self._data = mmap.mmap(memory, DATA_MAX)
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno()), str(memory)],
                    pass_fds=(theirs.fileno(), memory),
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except BaseException:
                self._socket.close()
                raise
            finally:
                theirs.close()
        finally:
            os.close(memory)

    def ready(self) -> Frame:
        """Wait until the plugin is loaded; `identity` of what it says is who it is. PluginRefused."""
        until = time.monotonic() + START
        while (left := until - time.monotonic()) > 0:
            frame = self._receive(left)
            if frame is None:
                continue
            if frame.kind == Kind.READY:
                return frame
            if frame.kind == Kind.REFUSED:
                raise PluginRefused(frame.message)
            if frame.kind == Kind.DIED:
                raise PluginRefused(f"it does not start: {_death(frame)}")
            break
        raise PluginRefused("it does not start: its process said nothing" if self._open else "its process ended")

    def invoke(self, command: int, sub_command: int, data: bytearray, stop: Callable[[], bool]) -> PluginAnswer:
        """As `tee.normal.Plugins.invoke`. A plugin has one call at a time; others wait for it."""
        until = time.monotonic() + self._limit
        while not self._lock.acquire(timeout=SLICE):
            if stop():
                raise TeeError(results.CANCEL, "cancelled while it waited for a plugin")
            if time.monotonic() >= until:
                raise TeeError(results.BUSY, "other calls keep the plugin busy")
        try:
            return self._serve(command, sub_command, data, until, stop)
        finally:
            self._lock.release()

    def close(self) -> None:
        """No call may be under way. The keeper ends by itself; a restricted process cannot wait for it."""
        self._hang_up()
        self._data.close()
        try:
            self._process.wait(SLACK)
        except (OSError, subprocess.TimeoutExpired):
            pass

    # --- the lock is held

    @property
    def _open(self) -> bool:
        return self._socket.fileno() >= 0

    def _serve(
        self, command: int, sub_command: int, data: bytearray, until: float, stop: Callable[[], bool]
    ) -> PluginAnswer:
        size = len(data)
        self._call = self._call % 0xFFFFFFFF + 1
        limit = min(max(1, round((until - time.monotonic()) * 1000)), 0xFFFFFFFF)
        request = Frame(Kind.INVOKE, self._call, command, sub_command, limit, size)
        if self._open:
            self._data[:size] = data
            self._send(request)
        cancelled = False
        while self._open:
            frame = self._receive(SLICE)
            if frame is not None and frame.call == self._call:
                if frame.kind == Kind.DIED:
                    raise TeeError(_DEATHS.get(frame.a, results.COMMUNICATION), _death(frame))
                if frame.kind != Kind.ANSWER:
                    self._hang_up()
                    break
                if frame.length:
                    data[:] = self._data[:size]
                return PluginAnswer(frame.a, frame.length)
            if not cancelled and stop():
                cancelled, until = True, time.monotonic()
                self._send(Frame(Kind.CANCEL, self._call))
            if time.monotonic() > until + SLACK:
                self._hang_up()
        raise TeeError(results.COMMUNICATION, "the plugin's process is gone")

    def _send(self, frame: Frame) -> None:
        try:
            self._socket.send(frame.pack(), socket.MSG_NOSIGNAL)
        except OSError:
            self._hang_up()

    def _receive(self, seconds: float) -> Frame | None:
        """None: nothing came, or the keeper is gone, which closes the socket."""
        try:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            if not poll.poll(seconds * 1000):
                return None
            return Frame.unpack(self._socket.recv(LAYOUT.size + 1))
        except (OSError, ValueError, FrameError):
            self._hang_up()
            return None

    def _hang_up(self) -> None:
        """For good: the keeper ends, and what it had started."""
        self._socket.close()


def _death(frame: Frame) -> str:
    how: dict[int, str] = {
        Death.BY_SIGNAL: f"ended by {_signal(frame.b)}",
        Death.BY_EXIT: f"ended with exit code {frame.b}",
        Death.TOO_LONG: "it took too long, and was ended",
        Death.CANCELLED: "the call was cancelled, and it was ended",
    }
    return how.get(frame.a, f"it did not start again: {frame.message or 'no process for it'}")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
