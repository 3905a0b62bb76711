"""The TEE Client API for Python: `Context`, `Session`, cancellation.

GP TEE Client API v1.0 and OP-TEE's extensions, as classes: TEEC_InitializeContext, TEEC_OpenSession,
TEEC_InvokeCommand, TEEC_RequestCancellation, TEEC_AllocateSharedMemory, TEEC_RegisterSharedMemory and
their opposites. Whatever does not succeed raises `TeeError`, with result, origin and a sentence; `TaDied`, which is
one, says how a TA died.
"""

from __future__ import annotations

import collections
import enum
import itertools
import os
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from normal_world.cancelling import Cancelling, Operation
from normal_world.checks import WORD_MAX, seconds, whole
from normal_world.checks import path as path_of
from normal_world.client.ports import Argument, Outcome
from normal_world.closing import Closing
from normal_world.died import UNKNOWN, Death, TaDied
from normal_world.limited import GivenUp, within
from normal_world.memory import Direction, Shadows, SharedMemory, closed
from normal_world.params import OUTPUT, Memref, Param, Value, as_param, bytes_of, fits, wrong_direction
from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError
from tee.params import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from normal_world.client.options import LocalOptions
    from normal_world.client.ports import Memory, Way

MAX_PARAMS = 4
SIZE_MAX = (1 << 64) - 1
"""size_t of a client; how much memory there is, is up to the way."""
MOST_LOST = 64
"""Sessions and shared memory that a context remembers to have been lost without a close."""


class Login(enum.IntEnum):
    """TEEC_LOGIN_*: what a TA is told of who opens a session. Group logins name the group."""

    PUBLIC = 0
    USER = 1
    GROUP = 2
    APPLICATION = 4
    USER_APPLICATION = 5
    GROUP_APPLICATION = 6


class Context(Closing):
    """A connection to a TEE: `Context()` makes one in this process, `Context.daemon()` and `Context.device()`
    speak to those. All methods may be called from several threads.

    options: `normal_world.client.options.LocalOptions` by name: ta_dirs, trust, allow_unsigned, state, sockets...
    What is no such option, and what it cannot be, is a TypeError or a ValueError.
    """

    def __init__(self, **options: Any) -> None:
        from normal_world.client.local import Local
        from normal_world.client.options import LocalOptions

        self._start(Local(LocalOptions(**options)))

    @classmethod
    def local(cls, options: LocalOptions) -> Context:
        """A TEE in this process, from options ready-made."""
        from normal_world.client.local import Local

        return cls.over(Local(options))

    @classmethod
    def daemon(cls, socket: str | os.PathLike[str] | None = None) -> Context:
        """socket: path of the daemon's; None: $LITEBOX_SOCKET or the usual places. TeeError(ITEM_NOT_FOUND)."""
        from normal_world.client.remote import Remote

        return cls.over(Remote(None if socket is None else path_of(socket, "socket")))

    @classmethod
    def device(cls, path: str | os.PathLike[str] | None = None) -> Context:
        """path: of the kernel's TEE device; None: the first OP-TEE of /dev/tee0 to 9. TeeError(ITEM_NOT_FOUND)."""
        from normal_world.client.device import Device

        return cls.over(Device(None if path is None else path_of(path, "path")))

    @classmethod
    def over(cls, way: Way) -> Context:
        """Over a way to a TEE of one's own; closed with the context."""
        made = cls.__new__(cls)
        made._start(way)
        return made

    def _start(self, way: Way) -> None:
        self._limit: float | None = None
        self._left: list[tuple[int, Memory]] = []
        """Memory of calls that were given up."""
        self._way: Way | None = way
        self._shadows = Shadows(way)
        self._calls = itertools.count(1)
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._objects: weakref.WeakSet[SharedMemory] = weakref.WeakSet()
        self._dropped: collections.deque[Callable[[], None]] = collections.deque()
        self._lost: collections.deque[str] = collections.deque(maxlen=MOST_LOST)

    @property
    def limit(self) -> float | None:
        """Seconds of one call, after which its caller gives it up, whatever the TA does: TaDied, kind "limit", of this
        call and of every later one of the session. None: it waits. In a TEE of this process the option `timeout` stops
        the TA itself.
        """
        return self._limit

    @limit.setter
    def limit(self, given: float | None) -> None:
        self._limit = seconds(given, "limit", zero=False)

    @property
    def way(self) -> Way:
        """TeeError(BAD_STATE) once it is closed."""
        if self._way is None:
            raise closed("context")
        return self._way

    # --- sessions

    def open_session(
        self,
        ta: UUID | str | os.PathLike[str],
        *params: Any,
        login: Login = Login.PUBLIC,
        group: int | None = None,
        timeout: float | None = None,
        operation: Operation | None = None,
    ) -> Session:
        """ta: a UUID, a file `UUID.ta`, or a sample, "hello" or "hello-arm"; in a TEE of this process a .ta file of
        any name. group: its number, for group logins. Parameters, timeout and operation as for `Session.invoke`.
        """
        __tracebackhide__ = True  # pytest shows the caller's line
        login = _enumerated(Login, login, "login")
        if (group is not None) != (login in (Login.GROUP, Login.GROUP_APPLICATION)):
            raise ValueError(f"{login.name}: a group's number goes with group logins, and only with them")
        if group is not None:
            group = whole(group, "group")
        way = self.way
        uuid = ta if isinstance(ta, UUID) else way.resolve(_ta_name(ta))
        number = 0

        def call(arguments: Sequence[Argument], name: int) -> Outcome:
            nonlocal number
            number, outcome = way.open_session(uuid, login, group or 0, arguments, name)
            return outcome

        what = f"opening a session to {uuid}"
        try:
            typed, outcome = self.call(call, params, timeout, operation)
        except GivenUp as problem:
            raise TaDied(what, uuid, Origin.API, given_up(uuid, self._limit, problem.answer)) from None
        if outcome.result == results.ITEM_NOT_FOUND:
            from normal_world.client.names import without_sample

            what += without_sample(uuid)
        check(outcome, what, uuid, timeout)
        session = Session(self, uuid, number, typed)
        self._sessions.add(session)
        return session

    def call(
        self,
        run: Callable[[Sequence[Argument], int], Outcome],
        params: Sequence[Any],
        timeout: float | None,
        operation: Operation | None,
    ) -> tuple[tuple[Param, ...], Outcome]:
        """One call under a name of its own, with its parameters carried to the TEE and back."""
        __tracebackhide__ = True
        if len(params) > MAX_PARAMS:
            raise TypeError(f"a call has {MAX_PARAMS} parameters at most")
        if operation is not None and not isinstance(operation, Operation):
            raise TypeError(f"operation: an Operation, not {type(operation).__name__}")
        if timeout is not None:
            timeout = seconds(timeout)
        typed = tuple(as_param(param) for param in params)
        way, name = self.way, next(self._calls)
        self._bury()
        taken: list[tuple[int, Memory]] = []
        try:
            self._take(typed, taken)
            shadows = iter(taken)
            arguments = [self._argument(param, shadows) for param in typed]
            with Cancelling(way, name, timeout, operation):
                if self._limit is None:
                    outcome = run(arguments, name)
                else:
                    outcome = within(self._limit, lambda: run(arguments, name), lambda: way.abandon(name))
            for param, argument, answer in zip(typed, arguments, outcome.answers, strict=False):
                _take_back(param, argument, answer)
            return typed, outcome
        except (GivenUp, KeyboardInterrupt) as problem:
            if not isinstance(problem, GivenUp) or problem.answer is None:
                # The TA may be at it still: nobody else gets this memory.
                self._left += taken
                taken.clear()
            raise
        finally:
            for entry in taken:
                self._shadows.give_back(entry)

    def _take(self, params: Sequence[Param], taken: list[tuple[int, Memory]]) -> None:
        """Memory for what is copied, all of it before a byte is: what a TEE does not take costs nothing.
        TeeError(OUT_OF_MEMORY).
        """
        memrefs = [param for param in params if isinstance(param, Memref) and param.temporary]
        most, total = self.way.most_memory, sum(memref.capacity for memref in memrefs)
        if most is not None and total > most:
            raise TeeError(
                results.OUT_OF_MEMORY, f"{total} bytes of memory: there is room for {most} in a call", Origin.API
            )
        for memref in memrefs:
            taken.append(self._shadows.take(memref.capacity))

    def _argument(self, param: Param, shadows: Iterator[tuple[int, Memory]]) -> Argument:
        if param is None:
            return Argument(Kind.NONE)
        if isinstance(param, Value):
            return Argument(param.kind, param.a, param.b)
        shared, size = param.shared, param.capacity
        if shared is not None and not shared.registered:
            shared.view  # noqa: B018  # it may be closed
            if not fits(param.kind, shared.direction):
                raise wrong_direction(param)
            return Argument(param.kind, 0, 0, shared.memory, param.offset, size)
        if shared is not None:
            if not fits(param.kind, shared.direction):
                raise wrong_direction(param)
            memory, source, at = shared.memory, shared.view, param.offset
        elif param.buffer is not None:
            memory, source, at = next(shadows)[1], param.buffer, 0
        else:
            return Argument(param.kind, 0, 0, None, 0, size)
        # Whatever the direction: bytes that the TA leaves alone stay as they were.
        memory.view[at : at + size] = source[param.offset : param.offset + size]
        return Argument(param.kind, 0, 0, memory, at, size)

    # --- memory

    def allocate(self, size: int, direction: Direction = Direction.INOUT) -> SharedMemory:
        """Memory that TAs see without a copy. TeeError(OUT_OF_MEMORY)."""
        size, direction = whole(size, "size", SIZE_MAX), _direction(direction)
        self._bury()
        return self._own(SharedMemory(self.way.allocate(size), size, direction, drop=self.drop))

    def register(self, buffer: Any, direction: Direction | None = None) -> SharedMemory:
        """Offer a buffer of one's own; calls copy what they refer to. direction: None: as far as it is writable."""
        view = bytes_of(buffer)
        if direction is None:
            direction = Direction.INPUT if view.readonly else Direction.INOUT
        direction = _direction(direction)
        if view.readonly and direction & Direction.OUTPUT:
            raise TypeError(f"a TA cannot write into {type(buffer).__name__}")
        self._bury()
        memory = self.way.allocate(view.nbytes)
        return self._own(SharedMemory(memory, view.nbytes, direction, view, drop=self.drop))

    def _own(self, shared: SharedMemory) -> SharedMemory:
        self._objects.add(shared)
        return shared

    # --- the end

    def close(self) -> None:
        """Close its sessions and memory, too. Once or more often."""
        if self._way is None:
            return
        try:
            for session in list(self._sessions):
                session.close()
            for shared in list(self._objects):
                shared.close()
            self._bury()
            self._shadows.close()
            for _, memory in self._left:
                memory.close()
        finally:
            way, self._way = self._way, None
            way.close()

    def leaks(self) -> list[str]:
        """What has not been closed yet, or was lost without a close: what a test says of itself at its end."""
        out = [f"a session to {session.uuid} is open" for session in self._sessions if session.open]
        out += [f"{shared.size} bytes of shared memory are open" for shared in self._objects if shared.open]
        return sorted(out) + [f"{what} lost without a close" for what in self._lost]

    def drop(self, close: Callable[[], None], what: str) -> None:
        """Something was lost without a close. That may be noticed at any moment, in the middle of a call even, so
        it is closed by the next call.
        """
        self._dropped.append(close)
        self._lost.append(what)

    def _bury(self) -> None:
        while self._dropped:
            self._dropped.popleft()()

    def __del__(self) -> None:
        if getattr(self, "_way", None) is not None and not sys.is_finalizing():
            warnings.warn("a Context was never closed", ResourceWarning, stacklevel=2)
            self.close()


_E = TypeVar("_E", bound=enum.IntEnum)


def _enumerated(kind: type[_E], value: Any, what: str) -> _E:
    """A member, or the number of one."""
    if type(value) is kind:
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what}: a {kind.__name__}, not {type(value).__name__}")
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{what}: {value} is no {kind.__name__}") from None


def _direction(value: Any) -> Direction:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"direction: a Direction, not {type(value).__name__}")
    if value not in (Direction.INPUT, Direction.OUTPUT, Direction.INOUT):
        raise ValueError(f"direction: {int(value)} is neither INPUT nor OUTPUT nor INOUT")
    return Direction(value)


def _ta_name(ta: Any) -> str:
    """What a way resolves: text, or the path of a file."""
    name = os.fspath(ta) if isinstance(ta, (str, os.PathLike)) else None
    if not isinstance(name, str):
        raise TypeError(f"ta: a UUID, its text, a file or a sample's name, not {type(ta).__name__}")
    return name


class Session(Closing):
    """Made by `Context.open_session`. uuid: of the TA; params: those it was opened with, as the TA left them."""

    def __init__(self, context: Context, uuid: UUID, number: int, params: tuple[Param, ...]) -> None:
        self.uuid = uuid
        self.params = params
        self._context = context
        self._number: int | None = number
        self._deaths: Sequence[Death] = ()
        """Of a call that was given up: no other is made."""

    def invoke(
        self, command: int, *params: Any, timeout: float | None = None, operation: Operation | None = None
    ) -> tuple[Param, ...]:
        """Up to four parameters: `Value` and `Memref`, None, or what `as_param` makes one of; returned as the TA left
        them. They are updated also when the TA answers an error, SHORT_BUFFER for one.

        timeout: seconds until the call is cancelled, which the TA has to heed (`LocalOptions.timeout` and the daemon's
        --timeout stop any TA). operation: lets another thread cancel it. TeeError.
        """
        __tracebackhide__ = True  # pytest shows the caller's line
        number, context = self._number, self._context
        if number is None:
            raise closed("session")
        way = context.way

        if type(command) is not int or not 0 <= command <= WORD_MAX:
            command = whole(command, "command")

        def call(arguments: Sequence[Argument], name: int) -> Outcome:
            return way.invoke(number, command, arguments, name)

        what = f"command {command} of {self.uuid}"
        if self._deaths:
            raise TaDied(what, self.uuid, Origin.API, self._deaths)
        try:
            typed, outcome = context.call(call, params, timeout, operation)
        except GivenUp as problem:
            self._deaths = given_up(self.uuid, context.limit, problem.answer)
            raise TaDied(what, self.uuid, Origin.API, self._deaths) from None
        check(outcome, what, self.uuid, timeout)
        return typed

    @property
    def open(self) -> bool:
        return self._number is not None

    def close(self) -> None:
        """Once or more often."""
        number, self._number = self._number, None
        if number is not None:
            self._context.way.close_session(number)

    def __del__(self) -> None:
        number = getattr(self, "_number", None)
        if number is not None and not sys.is_finalizing():
            warnings.warn(f"a Session to {self.uuid} was never closed", ResourceWarning, stacklevel=2)
            way = self._context.way
            self._context.drop(lambda: way.close_session(number), f"a session to {self.uuid} was")


def check(outcome: Outcome, what: str, ta: UUID, timeout: float | None) -> None:
    """TeeError unless it succeeded, TaDied if a TA is dead."""
    __tracebackhide__ = True
    if outcome.result == results.SUCCESS:
        return
    if outcome.result == results.TARGET_DEAD:
        raise TaDied(what, ta, outcome.origin, outcome.deaths)
    late = timeout is not None and outcome.result == results.CANCEL
    raise TeeError(outcome.result, f"{what}, {timeout} s after it began" if late else what, outcome.origin)


def given_up(ta: UUID, limit: float | None, answer: Outcome | None) -> Sequence[Death]:
    """How the TAs of a call ended that took longer than the limit. answer: what it returned soon after that, if
    anything: where they were then, and whether one of them died of something else in the end.
    """
    reason = f"was given up: the call took more than {limit:g} s"
    known = () if answer is None else answer.deaths
    out = [death.given_up(reason) if death.kind in ("killed", UNKNOWN) else death for death in known]
    if all(death.ta != ta for death in out):
        out.insert(0, Death(ta, "limit", None, None, None, reason, f"TA {ta} {reason}", f"TA {ta} {reason}"))
    return out


def _take_back(param: Param, argument: Argument, answer: tuple[int, int]) -> None:
    if param is None or not param.kind & OUTPUT:
        return
    if isinstance(param, Value):
        param.answer(answer)
        return
    param.size = answer[0]
    memory, target = argument.memory, param.buffer
    if param.shared is not None and param.shared.registered:
        target = param.shared.view
    if memory is not None and target is not None:
        size = min(param.size, param.capacity)
        target[param.offset : param.offset + size] = memory.view[argument.offset : argument.offset + size]
