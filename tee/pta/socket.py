"""Socket PTA: GP's TEE Sockets API for TAs, served by the normal world.

A session is a TA's; its sockets go with it. Source: optee_os core/tee/socket.c.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, TypeVar

from tee.abi import results
from tee.abi.pta_socket import ISOCKET_HOSTNAME, ISOCKET_TIMEOUT, PTA_SOCKET_UUID, TIMEOUT_BLOCKING, SocketCommand
from tee.abi.ta_head import TA_FLAG_CONCURRENT
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.kinds import expect, memref, value
from tee.pta.registry import PTA_DEFAULT_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.normal import Sockets
    from tee.params import BaseMemref
    from tee.pta.base import Caller, Params

_T = TypeVar("_T")

SLICE = 0.05
"""Seconds of one wait: how late a cancelled or killed call ends."""

MOST = 1 << 20
"""Bytes of one send, receive or ioctl."""


class SocketPta:
    uuid = PTA_SOCKET_UUID
    name = "socket"
    flags = PTA_DEFAULT_FLAGS | TA_FLAG_CONCURRENT

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._owners = itertools.count(1)

    def open(self, caller: Caller | None, params: Params) -> object:
        if caller is None:
            raise TeeError(results.ACCESS_DENIED, "the socket PTA serves TAs alone")
        return next(self._owners)

    def close(self, session: object) -> None:
        assert isinstance(session, int)
        try:
            self._sockets.close_all(session)
        except TeeError:
            pass  # the session is gone whatever the normal world says

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None:
        assert isinstance(session, int)
        if command == SocketCommand.OPEN:
            expect(params, Kind.VALUE_INPUT, Kind.MEMREF_INPUT, Kind.VALUE_INPUT, Kind.VALUE_OUTPUT)
            where, server = value(params, 0), _bytes(memref(params, 1))
            if not server.endswith(b"\0"):
                raise TeeError(ISOCKET_HOSTNAME, "the server's name does not end")
            name = server.partition(b"\0")[0].decode("ascii", "replace")
            handle = self._sockets.open(session, where.a, value(params, 2).a, name, where.b & 0xFFFF)
            value(params, 3).a = handle
        elif command == SocketCommand.CLOSE:
            expect(params, Kind.VALUE_INPUT)
            self._sockets.close(session, value(params, 0).a)
        elif command == SocketCommand.SEND:
            expect(params, Kind.VALUE_INPUT, Kind.MEMREF_INPUT, Kind.VALUE_OUTPUT)
            handle, data = value(params, 0).a, _bytes(memref(params, 1))
            value(params, 2).a = 0
            value(params, 2).a = _waited(
                lambda t: self._sockets.send(session, handle, data, t), value(params, 0).b, caller
            )
        elif command == SocketCommand.RECV:
            expect(params, Kind.VALUE_INPUT, Kind.MEMREF_OUTPUT)
            handle, out = value(params, 0).a, memref(params, 1)
            size = min(out.size, MOST)
            got = _waited(lambda t: self._sockets.receive(session, handle, size, t), value(params, 0).b, caller)
            if size:
                out.put(got[:size])
            out.size = len(got)  # of a cut datagram, and of what a receive of 0 bytes would find: its whole size
        elif command == SocketCommand.IOCTL:
            expect(params, Kind.VALUE_INPUT, Kind.MEMREF_INOUT)
            self._sockets.ioctl(session, value(params, 0).a, value(params, 0).b, _bytes(memref(params, 1)))
        else:
            raise TeeError(results.NOT_IMPLEMENTED, f"the socket PTA has no command {command}")


def _bytes(ref: BaseMemref) -> bytes:
    if ref.size > MOST:
        raise TeeError(results.OUT_OF_MEMORY, f"more than {MOST} bytes at once")
    return b"" if ref.null else ref.read()


def _waited(call: Callable[[float], _T], millis: int, caller: Caller | None) -> _T:
    """`call` in slices until it is done, its time is up, or the TA's call is cancelled or killed."""
    until = None if millis == TIMEOUT_BLOCKING else time.monotonic() + millis / 1000
    cancelled = getattr(caller, "wait", None)
    while True:
        left = SLICE if until is None else min(SLICE, max(0.0, until - time.monotonic()))
        try:
            return call(left)
        except TeeError as error:
            if error.result != ISOCKET_TIMEOUT or (until is not None and time.monotonic() >= until):
                raise
        if cancelled is not None and cancelled(0.0):
            raise TeeError(results.CANCEL, "cancelled while it waited for the network")
