"""systemd's two small protocols for services, without its library: sockets handed over, and notification.

Sources: sd_listen_fds(3) and sd_notify(3), which promise these environment variables to be stable.
"""

from __future__ import annotations

import os
import socket

FIRST_FD = 3
"""SD_LISTEN_FDS_START"""
MAX_FDS = 64
"""More than a service file of ours would ever hand over; a bound for what the environment says."""
_LISTEN = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_NOTIFY = "NOTIFY_SOCKET"

_notifier: socket.socket | None = None
"""Connected once: no socket can be made any more when the process has been restricted."""


def listen_fds(name: str | None = None) -> list[socket.socket]:
    """The sockets systemd listens on for us, in order; empty when there are none. ValueError: one is no socket.

    name: take those of this `FileDescriptorName=` alone, and close the others. The variables are unset: the
    sockets are not our children's.
    """
    pid, count, names = (os.environ.pop(variable, "") for variable in _LISTEN)
    if not (_is_number(pid) and _is_number(count)) or int(pid) != os.getpid() or not 0 < int(count) <= MAX_FDS:
        return []
    fds = range(FIRST_FD, FIRST_FD + int(count))
    called = names.split(":") if names else []
    if len(called) != len(fds):  # as sd_listen_fds_with_names(3) names what has no name
        called = ["unknown"] * len(fds)
    sockets: list[socket.socket] = []
    for fd, its_name in zip(fds, called, strict=True):
        if name is not None and its_name != name:
            _close(fd)
            continue
        try:
            os.set_inheritable(fd, False)
            sockets.append(socket.socket(fileno=fd))
        except OSError as problem:
            for taken in sockets:
                taken.close()
            raise ValueError(f"file descriptor {fd} of the service manager is no socket: {problem.strerror}") from None
    return sockets


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass


def open_notifier() -> bool:
    """Connect to the service manager that $NOTIFY_SOCKET names; False: there is none. The variable is unset."""
    global _notifier
    address = os.environ.pop(_NOTIFY, "")
    if not address:
        return _notifier is not None
    if len(address) < 2 or address[0] not in "/@":  # paths and abstract names are all that we know
        return _notifier is not None
    if address[0] == "@":
        address = "\0" + address[1:]
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        channel.connect(address)
    except (OSError, ValueError):  # ValueError: a name that no address has room for
        channel.close()
        return _notifier is not None
    close_notifier()
    _notifier = channel
    return True


def close_notifier() -> None:
    """Let go of the service manager's socket."""
    global _notifier
    if _notifier is not None:
        _notifier.close()
        _notifier = None


def notify(text: str) -> bool:
    """Tell the service manager: lines of NAME=VALUE. False: nobody there to hear it. Never blocks, never raises."""
    if not open_notifier() or _notifier is None:
        return False
    try:
        _notifier.send(text.encode("utf-8", "replace"), socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


def ready(status: str) -> bool:
    """Start-up is over; `status` is one line for `systemctl status`."""
    return notify(f"READY=1\nSTATUS={_line(status)}\nMAINPID={os.getpid()}")


def stopping(status: str) -> bool:
    """We were asked to end and are at it."""
    return notify(f"STOPPING=1\nSTATUS={_line(status)}")


def status(text: str) -> bool:
    """One line for `systemctl status`."""
    return notify(f"STATUS={_line(text)}")


def _line(text: str) -> str:
    """A newline would start another assignment."""
    return " ".join(text.split())
