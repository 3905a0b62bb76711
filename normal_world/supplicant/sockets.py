"""TCP and UDP for TAs (`tee.normal.Sockets`). Semantics: optee_client tee-supplicant/src/tee_socket.c."""

from __future__ import annotations

import errno
import itertools
import select
import socket
import threading
from typing import TYPE_CHECKING

from tee.abi import pta_socket as abi
from tee.abi import results
from tee.errors import TeeError, reason
from tee.shortage import is_short

if TYPE_CHECKING:
    from normal_world.supplicant.policy import Policy

MOST_SOCKETS = 64
"""Open at once, for each owner."""
CONNECT_SECONDS = 10.0
_DATAGRAM = 1 << 16
_FAMILIES = {
    abi.IP_VERSION_DC: socket.AF_UNSPEC,
    abi.IP_VERSION_4: socket.AF_INET,
    abi.IP_VERSION_6: socket.AF_INET6,
}
_KINDS = {abi.PROTOCOLID_TCP: socket.SOCK_STREAM, abi.PROTOCOLID_UDP: socket.SOCK_DGRAM}
_BUFFERS = {abi.TCP_SET_RECVBUF: socket.SO_RCVBUF, abi.TCP_SET_SENDBUF: socket.SO_SNDBUF}


class HostSockets:
    """Thread-safe. policy is asked about the address that is connected to, never about a name."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._open: dict[int, dict[int, socket.socket]] = {}

    def open(self, owner: int, ip_version: int, protocol: int, server: str, port: int) -> int:
        family, kind = _FAMILIES.get(ip_version), _KINDS.get(protocol)
        if family is None or kind is None:
            raise TeeError(results.BAD_PARAMETERS, "no such IP version or protocol")
        if len(self._open.get(owner, ())) >= MOST_SOCKETS:
            raise TeeError(abi.ISOCKET_OUT_OF_RESOURCES, f"more than {MOST_SOCKETS} sockets")
        if not self._policy.rules:  # not even a name is looked up
            raise TeeError(results.ACCESS_DENIED, "sockets are off")
        made = self._connect(None, family, kind, server, port)
        with self._lock:
            number = next(self._numbers) & 0x7FFFFFFF
            self._open.setdefault(owner, {})[number] = made
        return number

    def _connect(self, own: socket.socket | None, family: int, kind: int, server: str, port: int) -> socket.socket:
        """A socket connected to the first address that can be; `own`: connect that one again."""
        try:
            found = socket.getaddrinfo(server, port, family, kind)
        except (OSError, UnicodeError, ValueError) as error:
            if isinstance(error, OSError) and (is_short(error) or error.errno == socket.EAI_MEMORY):
                raise OSError(errno.ENOMEM, "no memory to look up a name") from None
            raise TeeError(abi.ISOCKET_HOSTNAME, f"no address of {server!r}") from None
        why = TeeError(results.ACCESS_DENIED, f"the policy has no {server!r} port {port}")
        for fam, typ, proto, _, address in found:
            if not self._policy.allows(str(address[0]), port):
                continue
            sock = own
            try:
                sock = own or socket.socket(fam, typ, proto)
                sock.settimeout(CONNECT_SECONDS)
                sock.connect(address)
                sock.setblocking(False)
                return sock
            except OSError as error:
                if own is None and sock is not None:
                    sock.close()
                elif own is not None:
                    own.setblocking(False)
                if is_short(error):
                    raise  # the secure world says so in its log
                late = isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT
                why = TeeError(abi.ISOCKET_TIMEOUT if late else results.COMMUNICATION, reason(error))
        raise why

    def _find(self, owner: int, handle: int) -> socket.socket:
        with self._lock:
            found = self._open.get(owner, {}).get(handle)
        if found is None:
            raise TeeError(results.BAD_PARAMETERS, f"no socket {handle}")
        return found

    def close(self, owner: int, handle: int) -> None:
        found = self._find(owner, handle)
        with self._lock:
            self._open.get(owner, {}).pop(handle, None)
        found.close()

    def close_all(self, owner: int) -> None:
        with self._lock:
            gone = self._open.pop(owner, {})
        for each in gone.values():
            each.close()

    def send(self, owner: int, handle: int, data: bytes, timeout: float | None) -> int:
        sock = self._find(owner, handle)
        _ready(sock, select.POLLOUT, timeout)
        try:
            return sock.send(data, socket.MSG_NOSIGNAL)
        except OSError as error:
            raise _failure(error) from None

    def receive(self, owner: int, handle: int, size: int, timeout: float | None) -> bytes:
        """Size 0: what is there to be had, left where it is. A datagram comes whole, whatever `size`."""
        sock = self._find(owner, handle)
        try:
            if not size:
                return sock.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            _ready(sock, select.POLLIN, timeout)
            return sock.recv(_DATAGRAM if sock.type == socket.SOCK_DGRAM else size, socket.MSG_DONTWAIT)
        except BlockingIOError as error:
            if not size:
                return b""
            raise _failure(error) from None
        except OSError as error:
            raise _failure(error) from None

    def ioctl(self, owner: int, handle: int, command: int, data: bytes) -> bytes:
        sock = self._find(owner, handle)
        try:
            if sock.type == socket.SOCK_STREAM and command in _BUFFERS:
                if len(data) != 4:
                    raise TeeError(results.BAD_PARAMETERS, "a buffer's size has 4 bytes")
                sock.setsockopt(socket.SOL_SOCKET, _BUFFERS[command], data)
            elif sock.type == socket.SOCK_DGRAM and command == abi.UDP_CHANGEADDR:
                if not data.endswith(b"\0"):
                    raise TeeError(abi.ISOCKET_HOSTNAME, "the address does not end")
                name = data.partition(b"\0")[0].decode("ascii", "replace")
                self._connect(sock, sock.family, sock.type, name, sock.getpeername()[1])
            elif sock.type == socket.SOCK_DGRAM and command == abi.UDP_CHANGEPORT:
                if len(data) != 2:
                    raise TeeError(results.BAD_PARAMETERS, "a port has 2 bytes")
                self._connect(sock, sock.family, sock.type, sock.getpeername()[0], int.from_bytes(data, "little"))
            else:
                raise TeeError(results.NOT_SUPPORTED, f"no ioctl {command:#x}")
        except OSError as error:
            raise _failure(error) from None
        return data


def _ready(sock: socket.socket, events: int, timeout: float | None) -> None:
    poll = select.poll()
    try:
        poll.register(sock, events)
        if not poll.poll(None if timeout is None else max(0.0, timeout) * 1000):
            raise TeeError(abi.ISOCKET_TIMEOUT, "nothing happened in time")
    except (OSError, ValueError) as error:
        raise TeeError(results.BAD_PARAMETERS, reason(error)) from None


def _failure(error: OSError) -> TeeError | OSError:
    if is_short(error):
        return error
    late = isinstance(error, BlockingIOError | InterruptedError)
    return TeeError(abi.ISOCKET_TIMEOUT if late else results.BAD_PARAMETERS, reason(error))
