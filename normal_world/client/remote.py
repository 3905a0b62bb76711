"""The daemon's way to a TEE: frames on its socket, as libteec sends them.

Every thread that is in a call has a connection of its own, kept for the next call; the context ends with the
last of them. After a fork the child may not go on with its parent's.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import mmap
import os
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from normal_world import protocol
from normal_world.client.names import uuid_of
from normal_world.client.ports import Outcome
from normal_world.protocol import Op
from normal_world.serving import require_trusted
from south.descriptors import shut
from tee.abi import results
from tee.abi.results import Origin, Result
from tee.errors import TeeError
from tee.params import Kind
from tee.shortage import is_short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normal_world.client.ports import Argument
    from normal_world.died import Death

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_NOTHING = (0, 0, 0, 0)
SPARE_SECONDS = 2.0
"""For a daemon to greet a connection that nobody waits for."""


class RemoteMemory:
    """A sealed memfd that the daemon has mapped, too."""

    def __init__(self, way: Remote, number: int, pages: mmap.mmap, size: int) -> None:
        self.way = way
        self.number = number
        self.view = memoryview(pages)[:size]
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            self.way.release(self.number)


class Remote:
    """path: of the socket; None: where the daemon listens unless told otherwise.

    TeeError: ITEM_NOT_FOUND if no daemon listens there, ACCESS_DENIED.
    """

    null_memrefs = True
    most_memory: int | None = None
    """Its limits are the daemon's, which refuses memory as it is registered."""

    def __init__(self, path: str | None = None) -> None:
        self.path = path or protocol.default_socket()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        self._token = protocol.NO_TOKEN
        self._busy: dict[int, socket.socket] = {}
        """Connections by the call that they carry."""
        self._has_deaths = False
        self._closed = False
        self._numbers = itertools.count(1)
        self._idle.append(self._connect())

    def resolve(self, ta: str) -> UUID:
        return uuid_of(ta)

    # --- memory

    def allocate(self, size: int) -> RemoteMemory:
        room = max(size, 1)
        fd = -1
        try:
            fd = os.memfd_create("litebox-shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(fd, room)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            pages = mmap.mmap(fd, room)
            number = self._ask(Op.REGISTER_SHM, room, fd=fd)[2]
        except (OSError, OverflowError, ValueError):
            raise TeeError(results.OUT_OF_MEMORY, f"no {size} bytes of shared memory", Origin.API) from None
        finally:
            if fd >= 0:
                shut(fd)
        return RemoteMemory(self, number, pages, size)

    def release(self, number: int) -> None:
        if not self._closed:
            self._let_go(Op.RELEASE_SHM, number)

    def _let_go(self, op: Op, number: int) -> None:
        """Nothing to do once the daemon has hung up: what the context had went with it."""
        if os.getpid() != self._pid:
            return
        try:
            self._ask(op, number, 0)
        except TeeError as problem:
            if problem.result != results.COMMUNICATION:
                raise

    # --- sessions and calls

    def open_session(
        self, uuid: UUID, login: int, login_data: int, arguments: Sequence[Argument], call: int
    ) -> tuple[int, Outcome]:
        deaths: list[Death] = []
        params = self._params(arguments)
        words = self._frame(Op.OPEN_SESSION, call, uuid.bytes, login, login_data, *params, deaths=deaths)
        return words[5], _outcome(words, arguments, deaths)

    def invoke(self, session: int, command: int, arguments: Sequence[Argument], call: int) -> Outcome:
        deaths: list[Death] = []
        words = self._frame(Op.INVOKE, call, session, command, *self._params(arguments), deaths=deaths)
        return _outcome(words, arguments, deaths)

    def _params(self, arguments: Sequence[Argument]) -> list[int]:
        out: list[int] = []
        for argument in arguments:
            kind, memory = argument.kind, argument.memory
            if kind < Kind.MEMREF_INPUT:
                out += (kind, 0, argument.a, argument.b)
            elif memory is None:
                out += (kind, protocol.NO_SHM, 0, argument.size)
            elif isinstance(memory, RemoteMemory) and memory.way is self:
                out += (kind, memory.number, argument.offset, argument.size)
            else:
                raise TeeError(results.BAD_PARAMETERS, "memory of another context", Origin.API)
        return [*out, *_NOTHING * (protocol.PARAMS - len(arguments))]

    def close_session(self, session: int) -> None:
        self._let_go(Op.CLOSE_SESSION, session)

    def cancel(self, call: int) -> bool:
        try:
            self._ask(Op.CANCEL, call)
        except TeeError as problem:
            if problem.result == results.ITEM_NOT_FOUND:
                return False
            raise
        return True

    def abandon(self, call: int) -> None:
        """The daemon stops the TA of a connection that hung up. The context must not end with it: it gets another."""
        connection = self._busy.get(call)
        if connection is None:
            return
        with suppress(TeeError):
            spare = self._connect(SPARE_SECONDS)
            with self._lock:
                self._idle.append(spare)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    # --- frames

    def _connect(self, seconds: float | None = None) -> socket.socket:
        """A connection of this context. seconds: how long its daemon may take to answer."""
        connection = None
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            connection.settimeout(seconds)
            connection.connect(self.path)
            require_trusted(connection)
        except OSError as problem:
            if connection is not None:
                connection.close()
            raise self._no_daemon(problem) from None
        try:
            words = _exchange(connection, Op.HELLO, (self._token,))
            if words[3]:
                # The daemon forgets a context when its last connection ends.
                raise _refused(words) if self._token == protocol.NO_TOKEN else _hung_up()
        except TeeError:
            connection.close()
            raise
        connection.settimeout(None)
        self._token = words[8]
        self._has_deaths = bool(words[7] & protocol.HAS_DEATHS)
        return connection

    def _no_daemon(self, problem: OSError) -> TeeError:
        if self._token != protocol.NO_TOKEN:
            return _hung_up()
        if is_short(problem):
            return TeeError(results.OUT_OF_MEMORY, f"{self.path}: {problem.strerror}", Origin.API)
        if problem.errno == errno.EPERM:
            return TeeError(results.ACCESS_DENIED, f"{self.path}: {problem.strerror}", Origin.API)
        if problem.errno == errno.EACCES:
            return TeeError(
                results.ACCESS_DENIED, f"{self.path}: {problem.strerror}; its group may connect", Origin.API
            )
        why = problem.strerror or str(problem)
        return TeeError(results.ITEM_NOT_FOUND, f"no daemon at {self.path} ({why}): litebox-ta serve", Origin.API)

    def _frame(self, op: Op, *words: Any, fd: int = -1, deaths: list[Death] | None = None) -> tuple[Any, ...]:
        """The reply to a request, on a connection that nobody else uses meanwhile. deaths: filled if a TA is dead."""
        if os.getpid() != self._pid:
            raise TeeError(results.BAD_STATE, "this context is the parent process's: make one here", Origin.API)
        with self._lock:
            if self._closed:
                raise TeeError(results.BAD_STATE, "the context was closed", Origin.API)
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        keep = False
        call = words[0] if op in (Op.INVOKE, Op.OPEN_SESSION) else None
        try:
            if call is not None:
                self._busy[call] = connection
            reply = _exchange(connection, op, words, fd)
            if deaths is not None and reply[3] == results.TARGET_DEAD and self._has_deaths:
                deaths += _ask_deaths(connection)
            keep = True
            return reply
        except struct.error:
            raise TeeError(results.BAD_PARAMETERS, "a number is larger than its field", Origin.API) from None
        finally:
            # Without its answer, after Ctrl-C for one, it is no use: its end ends the call, too.
            if call is not None:
                self._busy.pop(call, None)
            with self._lock:
                keep = keep and not self._closed
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()

    def _ask(self, op: Op, *words: Any, fd: int = -1) -> tuple[int, int, int]:
        """Result, origin and number of a request that has to succeed. TeeError."""
        reply = self._frame(op, *words, fd=fd)
        if reply[3]:
            raise _refused(reply)
        return reply[3], reply[4], reply[5]


def _ask_deaths(connection: socket.socket) -> tuple[Death, ...]:
    """How TAs died of the call that this connection carried last."""
    from normal_world.died import MOST_TEXT, unpack

    layout = protocol.REQUESTS[Op.DEATHS]
    try:
        connection.send(layout.pack(protocol.VERSION, Op.DEATHS, layout.size, 0, 0))
        answer, fds, _, _ = socket.recv_fds(connection, protocol.FRAME_MAX, 1)
        try:
            reply = _reply(answer, Op.DEATHS)
            return () if reply[3] or not fds else unpack(os.pread(fds[0], min(reply[7], MOST_TEXT), 0))
        finally:
            for fd in fds:
                os.close(fd)
    except OSError:
        raise _hung_up() from None


def _exchange(connection: socket.socket, op: Op, words: Sequence[Any], fd: int = -1) -> tuple[Any, ...]:
    layout = protocol.REQUESTS[op]
    frame = layout.pack(protocol.VERSION, op, layout.size, *words)
    try:
        if fd < 0:
            connection.send(frame)
        else:
            socket.send_fds(connection, [frame], [fd])
        answer = connection.recv(protocol.FRAME_MAX)
    except OSError:
        raise _hung_up() from None
    return _reply(answer, op)


def _reply(answer: bytes, op: Op) -> tuple[Any, ...]:
    if len(answer) != protocol.REPLY.size:
        raise _hung_up()
    reply = protocol.REPLY.unpack(answer)
    if reply[:3] != (protocol.VERSION, op, protocol.REPLY.size):
        raise _hung_up()
    return reply


def _hung_up() -> TeeError:
    return TeeError(results.COMMUNICATION, "the daemon hung up", Origin.COMMS)


def _refused(reply: tuple[Any, ...]) -> TeeError:
    return TeeError(reply[3], "the daemon refused", _origin(reply[4]))


def _origin(origin: int) -> Origin:
    try:
        return Origin(origin)
    except ValueError:
        return Origin.COMMS


def _outcome(reply: tuple[Any, ...], arguments: Sequence[Argument], deaths: Sequence[Death]) -> Outcome:
    answers = []
    for at, argument in enumerate(arguments):
        _, _, a, b = reply[9 + 4 * at : 13 + 4 * at]
        value = argument.kind < Kind.MEMREF_INPUT
        answers.append((a & 0xFFFFFFFF, b & 0xFFFFFFFF) if value else (b, 0))
    return Outcome(Result.of(reply[3]), _origin(reply[4]), tuple(answers), tuple(deaths))
