"""What each user of the daemon holds: counted by uid, so that contexts and connections are no way around a limit.

Beside its own limit a user meets a share: it may hold no more of anything than it leaves for others. One user alone
gets half of the daemon's capacity, two that take all they can a third each, and there is always something left for
one more.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from normal_world.daemon.gates import CallGate, RequestGate
from normal_world.daemon.limits import over

if TYPE_CHECKING:
    from normal_world.daemon.capacity import Capacity
    from normal_world.daemon.limits import ClientLimits


class Holding(NamedTuple):
    """Numbers of connections, sessions and objects; memory: bytes."""

    connections: int = 0
    sessions: int = 0
    objects: int = 0
    memory: int = 0


_NAMES = ("connections", "sessions", "objects of shared memory", "bytes of shared memory")


class User:
    """holds: what its clients have together, guarded by the lock of `Users`."""

    def __init__(self, uid: int, users: Users) -> None:
        self.uid = uid
        self.holds = Holding()
        self.requests = RequestGate()
        self.calls = CallGate(users.calls_at_once)
        self._users = users

    def take(self, *, sessions: int = 0, objects: int = 0, memory: int = 0) -> None:
        """TeeError(OUT_OF_MEMORY) beyond the user's limit or share; then nothing was taken."""
        self._users.take(self, Holding(0, sessions, objects, memory))

    def give(self, *, sessions: int = 0, objects: int = 0, memory: int = 0) -> None:
        """What was taken is free again."""
        self._users.give(self, Holding(0, sessions, objects, memory))


class Users:
    """All users that have a connection."""

    def __init__(self, limits: ClientLimits, capacity: Capacity) -> None:
        self._limits = Holding(limits.user_connections, limits.user_sessions, limits.user_objects, limits.user_memory)
        self.calls_at_once = limits.user_calls
        self._capacity = Holding(*capacity)
        self._lock = threading.Lock()
        self._users: dict[int, User] = {}
        self._held = Holding()
        self.refused = 0
        """How often a user met its limit or share."""

    def connect(self, uid: int) -> tuple[User, int]:
        """The user, with one more connection; and by how many it has too many now."""
        with self._lock:
            user = self._users.get(uid)
            if user is None:
                user = self._users[uid] = User(uid, self)
            self._add(user, Holding(connections=1), 1)
            most = min(self._limits.connections, self._capacity.connections - self._held.connections)
            surplus = max(0, user.holds.connections - most)
            self.refused += surplus > 0
            return user, surplus

    def disconnect(self, user: User) -> None:
        with self._lock:
            self._add(user, Holding(connections=1), -1)
            if not user.holds.connections:
                self._users.pop(user.uid, None)

    def take(self, user: User, more: Holding) -> None:
        with self._lock:
            for kind, amount in enumerate(more):
                if not amount:
                    continue
                held = user.holds[kind] + amount
                if held > self._limits[kind]:
                    self.refused += 1
                    raise over(f"{self._limits[kind]} {_NAMES[kind]} of one user")
                if held > self._capacity[kind] - self._held[kind] - amount:
                    self.refused += 1
                    raise over(f"its share of the daemon's {self._capacity[kind]} {_NAMES[kind]}")
            self._add(user, more, 1)

    def give(self, user: User, less: Holding) -> None:
        with self._lock:
            self._add(user, less, -1)

    def snapshot(self) -> list[tuple[int, Holding]]:
        with self._lock:
            return [(user.uid, user.holds) for user in self._users.values()]

    def _add(self, user: User, what: Holding, sign: int) -> None:
        user.holds = Holding(*(held + sign * amount for held, amount in zip(user.holds, what, strict=True)))
        self._held = Holding(*(held + sign * amount for held, amount in zip(self._held, what, strict=True)))
