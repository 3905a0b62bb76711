"""What the messages ask for: sessions, calls, cancellation and shared memory.

Source: optee_os 4.5 core/tee/entry_std.c.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING
from uuid import UUID

from tee.abi.login import Login
from tee.abi.optee_msg import META, NONCONTIG, TMEM_OUTPUT, VALUE_INPUT, MsgCmd
from tee.abi.results import BAD_PARAMETERS, OUT_OF_MEMORY, SUCCESS, Origin
from tee.activity import Cancellation
from tee.errors import TeeError
from tee.message.params import CallParams
from tee.session import NIL, Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.message.arg import Message
    from tee.message.shm import Shared, SharedMemory
    from tee.world import SecureWorld

SESSIONS_MAX = 1024
_META_VALUE = META | VALUE_INPUT
_WITH_UUID = frozenset({Login.USER, Login.GROUP, Login.APPLICATION, Login.APPLICATION_USER, Login.APPLICATION_GROUP})
_WITHOUT = frozenset({Login.PUBLIC, Login.REE_KERNEL})


class Calls:
    """The normal world's sessions and calls in one secure world. reserved: memory that it may name by address.

    stopped: told when the normal world takes no more notifications.
    """

    def __init__(
        self, world: SecureWorld, shm: SharedMemory, reserved: Shared | None, stopped: Callable[[], None]
    ) -> None:
        self._world = world
        self._shm = shm
        self._reserved = reserved
        self._stopped = stopped
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._sessions: dict[int, int] = {}
        """The normal world's number -> the secure world's."""
        self._running: dict[tuple[int, int], list[Cancellation]] = {}
        """By session and cancellation id."""
        self._opening: set[Cancellation] = set()

    def serve(self, message: Message) -> bool:
        """Do what the message says and write the answer into it. False: there is no such command."""
        command = message.cmd
        result, origin = int(SUCCESS), int(Origin.TEE)
        try:
            if command == MsgCmd.INVOKE_COMMAND:
                result, origin = self._invoke(message)
            elif command == MsgCmd.OPEN_SESSION:
                result, origin = self._open(message)
            elif command == MsgCmd.CLOSE_SESSION:
                self._close(message)
            elif command == MsgCmd.CANCEL:
                self._cancel(message)
            elif command == MsgCmd.REGISTER_SHM and self._shm.dynamic:
                self._register(message)
            elif command == MsgCmd.UNREGISTER_SHM and self._shm.dynamic:
                self._unregister(message)
            elif command == MsgCmd.STOP_ASYNC_NOTIF:
                self._stopped()
            elif command != MsgCmd.DO_BOTTOM_HALF:
                return False
        except TeeError as error:
            result, origin = error.result, error.origin
        message.finish(result, origin)
        return True

    def _invoke(self, message: Message) -> tuple[int, int]:
        params = CallParams(self._shm, message.params, 0, self._reserved, self._world.forget)
        cancellation = Cancellation()
        key = message.session, message.cancel_id
        try:
            with self._lock:
                session = self._sessions.get(message.session)
                if session is None:
                    raise TeeError(BAD_PARAMETERS, f"no session {message.session}")
                self._running.setdefault(key, []).append(cancellation)
            try:
                outcome = self._world.invoke(session, message.func, params.params, cancellation=cancellation)
            finally:
                self._forget(key, cancellation)
            params.answer(message)
        finally:
            params.release()
        return outcome

    def _forget(self, key: tuple[int, int], cancellation: Cancellation) -> None:
        with self._lock:
            running = self._running[key]
            running.remove(cancellation)
            if not running:
                del self._running[key]

    def _open(self, message: Message) -> tuple[int, int]:
        uuid, client = _meta(message)
        message.set_session(0)
        params = CallParams(self._shm, message.params, 2, self._reserved, self._world.forget)
        cancellation = Cancellation()
        with self._lock:
            full = len(self._sessions) + len(self._opening) >= SESSIONS_MAX
            if not full:
                self._opening.add(cancellation)
        try:
            if full:
                raise TeeError(OUT_OF_MEMORY, f"{SESSIONS_MAX} sessions are open")
            opened = self._world.open_session(uuid, params.params, client=client, cancellation=cancellation)
            params.answer(message)
        finally:
            params.release()
            with self._lock:
                self._opening.discard(cancellation)
        if not opened.result:
            message.set_session(self._number(opened.session))
        return opened.result, opened.origin

    def _number(self, session: int) -> int:
        with self._lock:
            number = next(n for n in (n & 0xFFFFFFFF for n in self._numbers) if n and n not in self._sessions)
            self._sessions[number] = session
        return number

    def _close(self, message: Message) -> None:
        if message.params:
            raise TeeError(BAD_PARAMETERS, "parameters")
        with self._lock:
            session = self._sessions.pop(message.session, None)
        if session is None:
            raise TeeError(BAD_PARAMETERS, f"no session {message.session}")
        self._world.close_session(session)

    def _cancel(self, message: Message) -> None:
        if message.params:
            raise TeeError(BAD_PARAMETERS, "parameters")
        with self._lock:
            if message.session not in self._sessions:
                raise TeeError(BAD_PARAMETERS, f"no session {message.session}")
            running = list(self._running.get((message.session, message.cancel_id), ()))
        for cancellation in running:
            cancellation.request()

    def _register(self, message: Message) -> None:
        params = message.params
        if len(params) != 1 or params[0][0] != TMEM_OUTPUT | NONCONTIG:
            raise TeeError(BAD_PARAMETERS, "not a list of pages")
        _, buffer, size, cookie = params[0]
        self._shm.register(buffer, size, cookie)

    def _unregister(self, message: Message) -> None:
        if len(message.params) != 1:
            raise TeeError(BAD_PARAMETERS, "one cookie at a time")
        self._world.forget(self._shm.unregister(message.params[0][3]).pages)

    def kill(self) -> None:
        """The normal world is gone: whatever runs for it ends."""
        with self._lock:
            running = [*self._opening, *itertools.chain.from_iterable(self._running.values())]
        for cancellation in running:
            cancellation.kill()


def _meta(message: Message) -> tuple[UUID, Client]:
    """Which TA, and who asks (get_open_session_meta). TeeError(BAD_PARAMETERS)."""
    params = message.params
    if len(params) < 2 or params[0][0] != _META_VALUE or params[1][0] != _META_VALUE:
        raise TeeError(BAD_PARAMETERS, "the first two parameters name the TA and the client")
    login = params[1][3] & 0xFFFFFFFF
    if login in _WITH_UUID:
        return _uuid(params[0]), Client(login, _uuid(params[1]))
    if login in _WITHOUT:
        return _uuid(params[0]), Client(login, NIL)
    raise TeeError(BAD_PARAMETERS, f"no login method {login:#x}")


def _uuid(param: tuple[int, int, int, int]) -> UUID:
    """16 octets in the words a and b."""
    return UUID(bytes=param[1].to_bytes(8, "little") + param[2].to_bytes(8, "little"))
