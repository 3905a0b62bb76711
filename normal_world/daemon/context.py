"""A client's context: its sessions, shared memory and calls, whichever of its connections they came by.

It ends with its last connection: sessions are closed and memory is let go. What a context names, no other can.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

from normal_world.daemon.limits import over
from normal_world.protocol import NO_SHM
from tee.abi import results
from tee.abi.results import Origin
from tee.activity import Cancellation
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from uuid import UUID

    from normal_world.daemon.limits import ClientLimits
    from normal_world.daemon.logins import Peer
    from normal_world.daemon.memory import ClientMemory, SharedObject
    from normal_world.daemon.users import User
    from normal_world.daemon.watcher import Watcher
    from tee.params import Param
    from tee.session import Client
    from tee.world import Opened, SecureWorld


class Context:
    """token: what its other connections show. sessions: the client's number -> the world's, and the TA."""

    def __init__(
        self,
        token: bytes,
        peer: Peer,
        user: User,
        world: SecureWorld,
        memory: ClientMemory,
        watcher: Watcher,
        limits: ClientLimits,
    ) -> None:
        self.token = token
        self.peer = peer
        self.connections = 0
        """Guarded by the server's lock."""
        self.started = time.monotonic()
        self.sessions: dict[int, tuple[int, UUID]] = {}
        self.objects: dict[int, SharedObject] = {}
        self.calls: dict[int, Cancellation] = {}
        self.memory_bytes = 0
        self.world = world
        self._user = user
        self._memory = memory
        self._watcher = watcher
        self._limits = limits
        self._lock = threading.Lock()
        self._opening = 0
        self._session_numbers = itertools.count(1)
        self._object_numbers = itertools.count(1)

    # --- sessions

    def open_session(
        self, uuid: UUID, params: Sequence[Param], client: Client, cancellation: Cancellation
    ) -> tuple[int, Opened]:
        """The client's number of the new session, 0 if it was refused."""
        with self._lock:
            if len(self.sessions) + self._opening >= self._limits.sessions:
                raise over(f"{self._limits.sessions} sessions")
            self._user.take(sessions=1)
            self._opening += 1
        number = 0
        try:
            opened = self.world.open_session(uuid, params, client=client, cancellation=cancellation)
            if not opened.result:
                number = _number(self._session_numbers, self.sessions)
                self.sessions[number] = opened.session, uuid
            return number, opened
        finally:
            with self._lock:
                self._opening -= 1
            if not number:
                self._user.give(sessions=1)

    def close_session(self, number: int) -> None:
        """TeeError(BAD_PARAMETERS) if there is no such session."""
        with self._lock:
            found = self.sessions.pop(number, None)
        if found is None:
            raise TeeError(results.BAD_PARAMETERS, f"no session {number}", Origin.COMMS)
        try:
            self.world.close_session(found[0])
        finally:
            self._user.give(sessions=1)

    # --- calls

    def begin(self, call: int) -> Cancellation:
        """The client calls it `call`; TeeError(BAD_PARAMETERS) if one of that name is under way."""
        cancellation = Cancellation()
        if self.calls.setdefault(call, cancellation) is not cancellation:
            raise TeeError(results.BAD_PARAMETERS, f"call {call} is under way", Origin.COMMS)
        return cancellation

    def end(self, call: int) -> None:
        del self.calls[call]

    def cancel(self, call: int) -> None:
        """TeeError(ITEM_NOT_FOUND) if no such call is under way."""
        cancellation = self.calls.get(call)
        if cancellation is None:
            raise TeeError(results.ITEM_NOT_FOUND, f"no call {call}", Origin.COMMS)
        cancellation.request()

    # --- memory

    def register(self, fd: int, size: int) -> int:
        """The object's number. TeeError."""
        with self._lock:
            if len(self.objects) >= self._limits.objects:
                raise over(f"{self._limits.objects} objects of shared memory")
            found = self._memory.check(fd, size)
            if self.memory_bytes + found.size > self._limits.memory:
                raise over(f"{self._limits.memory} bytes of shared memory")
            self._user.take(objects=1, memory=found.size)
            try:
                shared = self._memory.register(fd, found, size)
            except BaseException:
                self._user.give(objects=1, memory=found.size)
                raise
            self.memory_bytes += shared.cost
            number = _number(self._object_numbers, self.objects)
            self.objects[number] = shared
            return number

    def release(self, number: int) -> None:
        """A call that uses it goes on. TeeError(BAD_PARAMETERS) if there is no such object."""
        with self._lock:
            shared = self.objects.pop(number, None)
            if shared is None:
                raise TeeError(results.BAD_PARAMETERS, f"no shared memory {number}", Origin.COMMS)
            shared.released = True
            unused = not shared.calls
            if unused:
                self.memory_bytes -= shared.cost
        if unused:
            self._drop(shared)

    def use(self, numbers: Sequence[int]) -> list[SharedObject]:
        """Objects of a call, kept until `leave`. TeeError(BAD_PARAMETERS)."""
        with self._lock:
            try:
                found = [self.objects[number] for number in numbers]
            except KeyError:
                raise TeeError(results.BAD_PARAMETERS, "no such shared memory", Origin.COMMS) from None
            for shared in found:
                shared.calls += 1
        return found

    def leave(self, used: Sequence[SharedObject]) -> None:
        unused: list[SharedObject] = []
        with self._lock:
            for shared in used:
                shared.calls -= 1
                if shared.released and not shared.calls:
                    self.memory_bytes -= shared.cost
                    unused.append(shared)
        for shared in unused:
            self._drop(shared)

    def _drop(self, shared: SharedObject) -> None:
        """Neither the client nor a call names it any more."""
        self._memory.release(shared)
        self._user.give(objects=1, memory=shared.cost)

    # --- the end

    def close(self) -> None:
        """Its last connection has closed, so no call is under way."""
        for number in list(self.sessions):
            session, _ = self.sessions.pop(number)
            cancellation = Cancellation()
            with self._watcher.limited(cancellation):
                try:
                    self.world.close_session(session, cancellation=cancellation)
                except TeeError:
                    pass  # closed by the world itself, which is going down
                finally:
                    self._user.give(sessions=1)
        for number in list(self.objects):
            self.release(number)


def _number(source: itertools.count[int], taken: Container[int]) -> int:
    """A number that is free: 32 bits wrap around one day."""
    while True:
        number = next(source) & 0xFFFFFFFF
        if number not in (0, NO_SHM) and number not in taken:
            return number
