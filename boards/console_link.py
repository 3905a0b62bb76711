"""Ways to a UART: serial ports, network serial servers, QEMU's sockets, and programs on a pty of their own.

A link is named by one string, as a catalogue has it:

    /dev/ttyUSB0              a serial port or pty (pyserial)
    rfc2217://HOST:PORT       a serial server that speaks RFC 2217 (pyserial)
    socket://HOST:PORT        a serial server with a bare TCP socket
    unix:PATH                 a Unix socket, as QEMU's `-chardev socket,path=PATH,server=on,wait=on` makes
    process:COMMAND           a program of this machine on a pty, such as a shell
    labgrid:FILE#TARGET       a console of labgrid's (`boards.labgrid`)
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import socket
import subprocess
import termios
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHUNK = 4096
"""Bytes of one read."""
WRITE_SECONDS = 10.0
"""A write that is not taken for so long is a line that is stuck: flow control, or nobody at the other end."""
WRITE_POLL = 0.05
"""Seconds that a write keeps a line from being closed."""
CONNECT_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 5
"""Of silence, before the other end of a TCP connection is asked whether it is there, and between two questions."""
KEEP_ALIVE_COUNT = 3
"""Questions without an answer after which it is gone."""
HANGUP_SECONDS = 2.0
"""For a program to end after its terminal has gone."""
MAX_UNIX_PATH = 107
"""Bytes; sockaddr_un.sun_path, unix(7), without the zero at its end."""


class Link(Protocol):
    """An open line. Every failure is an OSError; the console then opens it anew."""

    def read(self, seconds: float) -> bytes:
        """What has come, at most CHUNK bytes; b"" if nothing came for so long."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class DescriptorLink:
    """A file descriptor of a terminal or socket, owned from here on.

    One thread reads and closes; another may write meanwhile. The lock keeps the descriptor open while it is written to:
    its number might be another file's a moment later.
    """

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor
        self._lock = threading.Lock()
        os.set_blocking(descriptor, False)

    @property
    def descriptor(self) -> int:
        """-1: it is closed."""
        return self._fd

    def read(self, seconds: float) -> bytes:
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return b""
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            raise OSError("closed by the other end")
        return data

    def write(self, data: bytes) -> None:
        deadline = time.monotonic() + WRITE_SECONDS
        while data:
            with self._lock:
                if self._fd < 0:
                    raise OSError("the line was lost")
                _, ready, _ = select.select([], [self._fd], [], WRITE_POLL)
                try:
                    done = os.write(self._fd, data) if ready else 0
                except BlockingIOError:
                    done = 0
            data = data[done:]
            if done:
                deadline = time.monotonic() + WRITE_SECONDS
            elif time.monotonic() >= deadline:
                raise OSError(f"the line took nothing for {WRITE_SECONDS:g} s")

    def close(self) -> None:
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)


class ProcessLink(DescriptorLink):
    """A program in a session of its own, with a new pty as its controlling terminal."""

    def __init__(self, argv: Sequence[str]) -> None:
        master, slave = os.openpty()
        # The first terminal that the leader of a session opens becomes its controlling one, so Ctrl-C works.
        adopt = 'exec <"$0" >"$0" 2>&1; exec "$@"'
        try:
            self._child = subprocess.Popen(
                ["/bin/sh", "-c", adopt, os.ttyname(slave), *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            os.close(master)
            os.close(slave)
            raise
        self._slave = slave
        super().__init__(master)

    def read(self, seconds: float) -> bytes:
        data = super().read(seconds)
        # We hold the slave open ourselves until the child has it, so its end shows in its status alone.
        if not data and self._child.poll() is not None:
            raise OSError(f"the program ended with status {self._child.returncode}")
        return data

    def close(self) -> None:
        super().close()
        slave, self._slave = self._slave, -1
        if slave >= 0:
            os.close(slave)
        try:
            self._child.wait(HANGUP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()


_GONE = (TypeError, AttributeError, ValueError, termios.error)
"""What pyserial makes of a port that is closed or unplugged in mid-call, beside OSError."""


class SerialLink:
    """A port of pyserial's."""

    def __init__(self, name: str, baud: int) -> None:
        serial = pyserial()
        # pyserial's RFC 2217 client refuses to have a timeout for writing.
        options = {} if "://" in name else {"exclusive": True, "write_timeout": WRITE_SECONDS}
        try:
            self._port = serial.serial_for_url(name, baudrate=baud, timeout=0, **options)
        except (ValueError, termios.error) as problem:
            raise OSError(f"{name}: {problem}") from None
        line = getattr(self._port, "_socket", None)
        self.line: socket.socket | None = line if isinstance(line, socket.socket) else None
        """Of RFC 2217."""
        if self.line is not None:
            _keep_alive(self.line)
        self._lock = threading.Lock()
        """Held while it is written to and closed: see DescriptorLink."""
        self._closing = False

    def read(self, seconds: float) -> bytes:
        try:
            self._port.timeout = seconds
            data = bytes(self._port.read(1))
            return data and data + bytes(self._port.read(min(self._port.in_waiting, CHUNK - 1)))
        except _GONE as problem:
            raise OSError(f"the port is gone: {problem}") from None

    def write(self, data: bytes) -> None:
        with self._lock:
            if self._closing:
                raise OSError("the line was lost")
            try:
                self._port.write(data)
            except _GONE as problem:
                raise OSError(f"the port is gone: {problem}") from None

    def close(self) -> None:
        self._closing = True
        cancel = getattr(self._port, "cancel_write", lambda: None)  # RFC 2217 has none
        while not self._lock.acquire(timeout=WRITE_POLL):
            with suppress(*_GONE, OSError):
                cancel()
        try:
            self._port.close()
        except (*_GONE, OSError):
            pass
        finally:
            self._lock.release()


def pyserial() -> Any:
    """The module `serial`, of an extra that need not be installed."""
    try:
        import serial
    except ImportError:
        raise UsageError("serial lines need pyserial: pip install 'pyserial>=3.5,<4'") from None
    return serial


def _unix(path: str) -> Link:
    if len(os.fsencode(path)) > MAX_UNIX_PATH:
        raise UsageError(f"unix:{path}: a socket's path has at most {MAX_UNIX_PATH} bytes; use a shorter folder")
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(CONNECT_SECONDS)
        made.connect(path)
        return DescriptorLink(made.detach())


def _keep_alive(line: socket.socket) -> None:
    """A server that loses its power sends no end: without this the line would stay silent, by default for two hours."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, KEEP_ALIVE_SECONDS),
        (socket.TCP_KEEPINTVL, KEEP_ALIVE_SECONDS),
        (socket.TCP_KEEPCNT, KEEP_ALIVE_COUNT),
        # For what was written and not acknowledged, in milliseconds (tcp(7)).
        (socket.TCP_USER_TIMEOUT, 1000 * KEEP_ALIVE_SECONDS * (KEEP_ALIVE_COUNT + 1)),
    ):
        line.setsockopt(socket.IPPROTO_TCP, option, value)


def _tcp(host: str, port: int) -> Link:
    with socket.create_connection((host, port), CONNECT_SECONDS) as made:
        _keep_alive(made)
        return DescriptorLink(made.detach())


def link_maker(name: str, baud: int = 115200) -> Callable[[], Link]:
    """What opens the link of that name, each time it is called. UsageError for a name that can never be one."""
    kind, colon, rest = name.partition(":")
    if kind == "process":
        argv = shlex.split(rest)
        if not argv:
            raise UsageError("process: names no program; write process:/bin/sh")
        return lambda: ProcessLink(argv)
    if kind == "labgrid":
        from boards.labgrid import LabgridLink, Place

        place = Place.of(rest)
        return lambda: LabgridLink(place)
    if kind == "unix":
        if not rest:
            raise UsageError("unix: names no socket; write unix:/path/to/socket")
        return lambda: _unix(rest)
    if kind == "socket":
        host, _, port = rest.removeprefix("//").rstrip("/").rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise UsageError(f"{name}: write socket://HOST:PORT")
        return lambda: _tcp(host.strip("[]"), int(port))
    if (colon and kind != "rfc2217" and "/" not in kind) or not name:
        raise UsageError(f"{name!r} is no link; use /dev/..., rfc2217://, socket://, unix:, process: or labgrid:")
    pyserial()
    return lambda: SerialLink(name, baud)
