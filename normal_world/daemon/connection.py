"""One connection and its thread: a frame in, a call into the secure world, a frame out.

Whatever a frame holds, the answer is a defined error. A frame that is not of the protocol is answered
if its header can be read, and ends the connection.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from normal_world._transport import ffi, lib
from normal_world.daemon.limits import over
from normal_world.daemon.logins import client_of
from normal_world.protocol import (
    CANCEL,
    FRAME_MAX,
    HANDLE,
    HAS_DEATHS,
    HEADER,
    HELLO,
    INVOKE,
    NO_SHM,
    NO_TOKEN,
    OPEN_SESSION,
    REGISTER_SHM,
    REPLY,
    REQUESTS,
    VERSION,
    Op,
)
from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError
from tee.params import Kind, Memref, Value

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from normal_world.daemon.context import Context
    from normal_world.daemon.logins import Peer
    from normal_world.daemon.memory import SharedObject
    from normal_world.daemon.server import Server
    from normal_world.daemon.users import User
    from tee.activity import Cancellation
    from tee.params import Param
    from tee.records import Crash
    from tee.session import Client

_KINDS = {int(kind): kind for kind in Kind if kind}
_CALLS = (Op.OPEN_SESSION, Op.CLOSE_SESSION)
"""What enters a TA, beside INVOKE."""
_INVOKE = int(Op.INVOKE)  # enum members are slow to look up
_OPEN = int(Op.OPEN_SESSION)
_INVOKE_SIZE = INVOKE.size
_INVOKE_PARAMS = 6
"""Where the parameters begin in an unpacked INVOKE."""
_OPEN_PARAMS = 7
_NO_PARAMS = (0,) * 16
_NONE = (0, 0, 0, 0)
_VALUE_INPUT = Kind.VALUE_INPUT
_MEMREF_INPUT = Kind.MEMREF_INPUT
_WORD = 1 << 32
_T = TypeVar("_T")


class Connection:
    """socket: one client's. calls, errors, seconds: what it asked for so far, and how long that took."""

    def __init__(self, server: Server, sock: socket.socket, peer: Peer, user: User) -> None:
        self.server = server
        self.socket = sock
        self.peer = peer
        self.user = user
        self.context: Context | None = None
        self.cancellation: Cancellation | None = None
        self.thread = 0
        self.gone = False
        self.surplus = False
        """Its user has as many connections as there may be."""
        self.calls = 0
        self.errors = 0
        self.seconds = 0.0
        self._frame = ffi.new("unsigned char[]", FRAME_MAX)
        self._view = memoryview(ffi.buffer(self._frame))
        self._passed = ffi.new("int *", -1)
        self._reply_fd = -1
        self._calls = user.calls
        self._crashes: tuple[Crash, ...] = ()
        """Of its last call."""
        self._last = False
        """The reply ends the connection."""

    def run(self) -> None:
        """Serve until the client hangs up, or does what the protocol does not have."""
        self.thread = threading.get_native_id()
        exchange, fd, frame, passed = lib.lb_exchange, self.socket.fileno(), self._frame, self._passed
        invoke, spin = self._invoke, self.server.spin_us
        size = 0
        try:
            while True:
                got = exchange(fd, frame, size, self._reply_fd, FRAME_MAX, passed, spin)
                if self._reply_fd >= 0:
                    os.close(self._reply_fd)
                    self._reply_fd = -1
                if got <= 0:
                    break
                if got == _INVOKE_SIZE and passed[0] < 0:
                    size = invoke()
                else:
                    size = self._other(got)
                if self._last:
                    self._send(size)
                    break
        finally:
            self._drop_passed()
            if self._reply_fd >= 0:
                os.close(self._reply_fd)
            lib.lb_exchange_leave()

    # --- calls

    def _invoke(self) -> int:
        """The hot path."""
        words = INVOKE.unpack_from(self._view)
        context = self.context
        if words[0] != VERSION or words[1] != _INVOKE or words[2] != _INVOKE_SIZE or context is None:
            return self._other(_INVOKE_SIZE)
        return self._call(_INVOKE, context, words, _INVOKE_PARAMS, self._session, self._run)

    def _open_session(self, context: Context) -> int:
        words = OPEN_SESSION.unpack_from(self._view)
        return self._call(_OPEN, context, words, _OPEN_PARAMS, self._opener, self._open)

    def _call(
        self,
        op: int,
        context: Context,
        words: tuple[Any, ...],
        first: int,
        prepare: Callable[[Context, tuple[Any, ...]], _T],
        run: Callable[[Context, tuple[Any, ...], _T, Sequence[Param], Cancellation], tuple[int, int, int]],
    ) -> int:
        """A call into the secure world; the reply's size. first: where the parameters are in `words`.

        prepare: what it goes to, looked up before the call counts as begun; run: makes it, and returns the number of a
        session that it opened, result and origin.
        """
        start = time.perf_counter()
        call, number = words[3], 0
        params: list[Param] = []
        used: Sequence[SharedObject] = ()
        try:
            target = prepare(context, words)
            cancellation = context.begin(call)
            try:
                used = self._params(context, words, first, params)
                self.cancellation = cancellation
                number, result, origin = run(context, words, target, params, cancellation)
            finally:
                self.cancellation = None
                self._crashes = cancellation.crashes
                context.end(call)
                if used:
                    context.leave(used)
        except TeeError as error:
            params, result, origin = [], error.result, error.origin
        except Exception as bug:
            params, (result, origin) = [], self.server.report_bug(bug)
        self.calls += 1
        if result:
            self.errors += 1
        if op == _OPEN:
            self.server.note_open(result)
        size = self._reply(op, result, origin, number, params=params)
        self.seconds += time.perf_counter() - start
        return size

    def _session(self, context: Context, words: tuple[Any, ...]) -> int:
        """The secure world's number of the session that an INVOKE names."""
        found = context.sessions.get(words[4])
        if found is None:
            raise _bad("no such session")
        return found[0]

    def _run(
        self,
        context: Context,
        words: tuple[Any, ...],
        session: int,
        params: Sequence[Param],
        cancellation: Cancellation,
    ) -> tuple[int, int, int]:
        if not self._calls.enter(self):
            raise _gone()
        try:
            if self.gone:
                raise _gone()
            return 0, *context.world.invoke(session, words[5], params, cancellation=cancellation)
        finally:
            self._calls.leave(self)

    def _opener(self, context: Context, words: tuple[Any, ...]) -> Client:
        return client_of(self.peer, words[5], words[6])

    def _open(
        self,
        context: Context,
        words: tuple[Any, ...],
        client: Client,
        params: Sequence[Param],
        cancellation: Cancellation,
    ) -> tuple[int, int, int]:
        """Its place among those that compute is taken already (`_other`)."""
        if self.gone:
            raise _gone()
        number, opened = context.open_session(UUID(bytes=words[4]), params, client, cancellation)
        return number, opened.result, opened.origin

    def _params(
        self, context: Context, words: tuple[Any, ...], first: int, params: list[Param]
    ) -> Sequence[SharedObject]:
        """Fill in `params`; the objects they use, held until `Context.leave`. TeeError(BAD_PARAMETERS)."""
        memrefs: list[tuple[Memref, int]] = []
        for at in range(first, first + 4 * _count(words, first), 4):
            number = words[at]
            if not number:
                params.append(None)
                continue
            kind = _KINDS.get(number)
            if kind is None:
                raise _bad(f"{number} is no kind of parameter")
            a, b = words[at + 2], words[at + 3]
            if number <= 3:
                if (a | b) >= _WORD:
                    raise _bad("a value's words have 32 bits")
                params.append(Value(kind, a, b))
                continue
            if b >= _WORD:
                raise _bad("a memref is smaller than 4 GiB")
            memref = Memref(kind, None, b, a)
            params.append(memref)
            if words[at + 1] != NO_SHM:
                memrefs.append((memref, words[at + 1]))
            else:
                memref.offset = 0
        if not memrefs:
            return ()
        used = context.use([number for _, number in memrefs])
        for (memref, _), shared in zip(memrefs, used, strict=True):
            if memref.offset + memref.size > shared.size:
                context.leave(used)
                raise _bad("the memref is larger than its memory")
            memref.pages = shared.pages
        return used

    # --- everything else

    def _other(self, size: int) -> int:
        """Any frame but a well-formed INVOKE; the reply's size."""
        op = 0
        try:
            op = self._check(size)
            if op == Op.CANCEL:  # what it cancels may be what the next one waits for
                return self._cancel()
            if op not in _CALLS:
                with self.user.requests.passed():
                    return self._serve(op)
            if not self._calls.enter(self):
                raise _gone()
            try:
                with self.user.requests.passed():
                    return self._serve(op)
            finally:
                self._calls.leave(self)
        except _NotOurs as problem:
            return self._refuse(problem.op)
        except TeeError as error:
            return self._reply(op, error.result, error.origin)
        except Exception as bug:
            return self._reply(op, *self.server.report_bug(bug))
        finally:
            self._drop_passed()

    def _serve(self, op: int) -> int:
        if self.gone:  # while it waited
            raise _gone()
        context = self.context
        if op == Op.HELLO:
            return self._hello()
        if op == Op.STATUS:
            return self._status()
        if context is None:
            return self._refuse(op)
        if op == Op.OPEN_SESSION:
            return self._open_session(context)
        if op == Op.DEATHS:
            return self._deaths()
        number = 0
        if op == Op.CLOSE_SESSION:
            context.close_session(HANDLE.unpack_from(self._view)[3])
        elif op == Op.REGISTER_SHM:
            number = self._register(context)
        elif op == Op.RELEASE_SHM:
            context.release(HANDLE.unpack_from(self._view)[3])
        else:
            return self._refuse(op)
        return self._reply(op, results.SUCCESS, Origin.COMMS, number)

    def _cancel(self) -> int:
        if self.context is None:
            return self._refuse(Op.CANCEL)
        self.context.cancel(CANCEL.unpack_from(self._view)[3])
        return self._reply(Op.CANCEL, results.SUCCESS, Origin.COMMS)

    def _check(self, size: int) -> int:
        """The frame's op, if it is a frame of ours."""
        if size < HEADER.size:
            raise _NotOurs(0)
        version, op, length = HEADER.unpack_from(self._view)
        expected = REQUESTS.get(op)
        if version != VERSION or expected is None or not length == size == expected.size:
            raise _NotOurs(op)
        if self._passed[0] >= 0 and op != Op.REGISTER_SHM:
            raise _NotOurs(op)
        return int(op)

    def _refuse(self, op: int) -> int:
        self._last = True
        return self._reply(op, results.BAD_PARAMETERS, Origin.COMMS)

    def _hello(self) -> int:
        if self.context is not None:
            return self._refuse(Op.HELLO)
        if self.surplus:
            self._last = True
            raise over("connections of one user")
        token = HELLO.unpack_from(self._view)[3]
        self.context = self.server.attach(self.peer, self.user, token)
        return self._reply(Op.HELLO, results.SUCCESS, Origin.COMMS, size=HAS_DEATHS, token=self.context.token)

    def _register(self, context: Context) -> int:
        if self._passed[0] < 0:
            raise _bad("no file came with it")
        return context.register(self._passed[0], REGISTER_SHM.unpack_from(self._view)[3])

    def _status(self) -> int:
        import json

        from normal_world.daemon.status import snapshot

        return self._text(Op.STATUS, json.dumps(snapshot(self.server, self.peer)).encode())

    def _deaths(self) -> int:
        """How TAs died of the last call; in full for those alone who own the daemon."""
        from normal_world.died import Death, pack

        deaths = map(Death.of, self._crashes)
        owner = self.peer.uid in (0, os.geteuid())
        return self._text(Op.DEATHS, pack(deaths if owner else (death.for_strangers() for death in deaths)))

    def _text(self, op: Op, text: bytes) -> int:
        """A reply with text in a file of its own."""
        self._reply_fd = fd = os.memfd_create("litebox-text", os.MFD_CLOEXEC)
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(text)
        return self._reply(op, results.SUCCESS, Origin.COMMS, size=len(text))

    # --- frames

    def _reply(
        self,
        op: int,
        result: int,
        origin: int,
        number: int = 0,
        *,
        size: int = 0,
        token: bytes = NO_TOKEN,
        params: Sequence[Param] = (),
    ) -> int:
        words: Sequence[int] = _NO_PARAMS
        if params:
            out: list[int] = []
            for param in params:
                if param is None:
                    out += _NONE
                    continue
                kind = param.kind
                if isinstance(param, Value):
                    out += _NONE if kind is _VALUE_INPUT else (kind, 0, param.a, param.b)
                else:
                    out += _NONE if kind is _MEMREF_INPUT else (kind, 0, 0, param.size)
            words = (*out, *_NO_PARAMS[len(out) :])
        REPLY.pack_into(self._view, 0, VERSION, op, REPLY.size, result, origin, number, 0, size, token, *words)
        return REPLY.size

    def _send(self, size: int) -> None:
        """The last reply: best effort."""
        try:
            self.socket.send(self._view[:size])
        except OSError:
            pass

    def _drop_passed(self) -> None:
        if self._passed[0] >= 0:
            os.close(self._passed[0])
            self._passed[0] = -1


def _count(words: tuple[Any, ...], first: int) -> int:
    """How many parameters there are, up to the last that is not NONE."""
    if words[first + 12]:
        return 4
    if words[first + 8]:
        return 3
    return 2 if words[first + 4] else 1 if words[first] else 0


class _NotOurs(Exception):
    """A frame that the protocol does not have. op: what its header says, 0 if it has none."""

    def __init__(self, op: int) -> None:
        self.op = op


def _bad(why: str) -> TeeError:
    return TeeError(results.BAD_PARAMETERS, why, Origin.COMMS)


def _gone() -> TeeError:
    return TeeError(results.CANCEL, "the client has hung up", Origin.COMMS)
