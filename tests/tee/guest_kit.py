"""TAs without a CPU, as libutee makes them look to the secure world: thousands of sessions a second, on any thread.

Source of what a guest does at its entries: optee_os 4.5 lib/libutee/user_ta_entry.c (`ta_header_add_session`,
`ta_header_remove_session`), whose TA_DestroyEntryPoint comes with the last session that libutee knows of.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import UUID

from north.crash import Death
from south.platform import Platform
from tee.abi import results
from tee.abi.ta_head import TA_FLAG_INSTANCE_KEEP_ALIVE, TA_FLAG_SINGLE_INSTANCE
from tee.call import ENTRY_CLOSE, ENTRY_OPEN
from tee.errors import TeeError
from tee.world import SecureWorld

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tee.activity import Activity
    from tee.call import Call
    from tee.limits import Limits
    from tee.ports import Image
    from tee.session import Session

_KEEP = TA_FLAG_SINGLE_INSTANCE | TA_FLAG_INSTANCE_KEEP_ALIVE


class Panicked(Exception):
    """Raised in a TA's code: it panics."""


class Image_(NamedTuple):
    uuid: UUID
    flags: int


class Guest:
    """Stands for `tee.instance.TaInstance`. at: what the TA's code does, by entry point; the result, or None."""

    def __init__(self, world: SecureWorld, image: Image, number: int) -> None:
        self.world = world
        self.uuid, self.flags, self.number = image.uuid, image.flags, number
        self.busy_with: Activity | None = None
        self.references = self.leaving = self.known = 0
        self.finished = self.releasing = False
        self.unclosed: list[Session] = []
        self.dead: Death | None = None
        self.sessions: dict[int, Session] = {}
        self.session: Session | None = None
        self.activity: Activity | None = None
        self.cpu = SimpleNamespace(acknowledge=lambda _: None)
        self._ledger: Ledger = cast("Tas", world.images).ledger
        self._at = cast("Tas", world.images).code[image.uuid]
        self.root: Guest | None = None
        self.nested = 0
        self.account = SimpleNamespace(charge=lambda _: None, credit=lambda _: None)
        self._known: set[int] = set()
        self._created = False
        self._inside = threading.Lock()

    def enter(self, call: Call) -> int:
        activity, session = call.activity, call.session
        if activity.depth >= self.world.limits.depth:
            raise TeeError(results.OUT_OF_MEMORY, "too deep")
        assert self._inside.acquire(blocking=False), "two threads are in one instance"
        assert not self.releasing, "an instance was entered after its end"
        activity.depth += 1
        self.activity, self.session = activity, session
        try:
            return self._enter(call.function, session)
        except Panicked:
            self.dead = Death("panic", 0, "")
            self._ledger.died(self)
            return results.TARGET_DEAD
        finally:
            activity.depth -= 1
            self.activity = self.session = None
            self._inside.release()

    def _enter(self, function: int, session: Session) -> int:
        if function == ENTRY_OPEN:
            if not self._created:
                result = self._run("create")
                if result:
                    return result
                self._created = True
                self._ledger.created(self)
            self._known.add(session.reference)
            self._ledger.serves(self)
            return self._run("open")
        if session.reference not in self._known:
            return results.BAD_STATE
        if function == ENTRY_CLOSE:
            self._run("close")
            self._known.remove(session.reference)
            if not self._known and self.flags & _KEEP != _KEEP:
                self._run("destroy")
                self._ledger.destroyed(self)
            return 0
        self._ledger.serves(self)
        return self._run("invoke")

    def _run(self, entry: str) -> int:
        code = self._at.get(entry)
        return (code(self) if code is not None else None) or 0

    def use(self, uuid: UUID) -> int:
        """Open a session to another TA, invoke and close it: the first result that is an error."""
        session, outcome = self.world.open_from_ta(cast("Any", self), uuid, (), None)
        if outcome.result:
            return outcome.result
        outcome = self.world.invoke_from_ta(cast("Any", self), session, 0, (), None)
        self.world.close_from_ta(cast("Any", self), session)
        return outcome.result

    def keep(self, uuid: UUID) -> Session | None:
        """Open a session to another TA, and leave it open."""
        session, outcome = self.world.open_from_ta(cast("Any", self), uuid, (), None)
        return None if outcome.result else session

    def release(self) -> None:
        assert not self.sessions, "its sessions to other TAs were left open"
        self.world.disown(cast("Any", self))
        self._ledger.ended(self)

    def cancel(self) -> None: ...

    def kill(self) -> None: ...

    def forget(self, _: object) -> None: ...


class Ledger:
    """What TAs went through, checked as it happens. Instances of a single-instance TA follow each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alive: dict[UUID, set[int]] = defaultdict(set)
        self._past: set[int] = set()
        self.creations: dict[UUID, int] = defaultdict(int)
        self.destructions: dict[UUID, int] = defaultdict(int)
        self.ends: list[int] = []
        self.wrong: list[str] = []

    def created(self, guest: Guest) -> None:
        with self._lock:
            self.creations[guest.uuid] += 1
            alive = self._alive[guest.uuid]
            if alive and guest.flags & TA_FLAG_SINGLE_INSTANCE:
                self.wrong.append(f"{guest.number} was created beside {alive}")
            alive.add(guest.number)

    def destroyed(self, guest: Guest) -> None:
        with self._lock:
            self.destructions[guest.uuid] += 1
            self._over(guest)

    def died(self, guest: Guest) -> None:
        with self._lock:
            self._over(guest)

    def _over(self, guest: Guest) -> None:
        if guest.number in self._past:
            self.wrong.append(f"{guest.number} was destroyed twice")
        self._past.add(guest.number)
        self._alive[guest.uuid].discard(guest.number)

    def serves(self, guest: Guest) -> None:
        with self._lock:
            if guest.number in self._past:
                self.wrong.append(f"{guest.number} served a session after its TA_DestroyEntryPoint")

    def ended(self, guest: Guest) -> None:
        with self._lock:
            if guest.number in self.ends:
                self.wrong.append(f"{guest.number} was freed twice")
            self.ends.append(guest.number)

    def alive(self) -> int:
        with self._lock:
            return sum(map(len, self._alive.values()))


class Tas:
    """TAs by UUID: flags, and what their entry points do. The `ImageSource` of a world."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.flags: dict[UUID, int] = {}
        self.code: dict[UUID, dict[str, Callable[[Guest], int | None]]] = {}
        self.loads = 0

    def add(self, number: int, flags: int, **code: Callable[[Guest], int | None]) -> UUID:
        """code: by entry: create, open, invoke, close, destroy."""
        uuid = UUID(int=0xB1A5 << 64 | number)
        self.flags[uuid], self.code[uuid] = flags, code
        return uuid

    def find(self, uuid: UUID) -> Image:
        self.loads += 1
        return cast("Image", Image_(uuid, self.flags[uuid]))

    def digest(self, uuid: UUID) -> bytes:
        raise NotImplementedError


def world(tas: Tas, monkeypatch: pytest.MonkeyPatch, limits: Limits | None = None) -> SecureWorld:
    monkeypatch.setattr("tee.world.TaInstance", Guest)
    platform = Platform("fake", *[cast("Any", SimpleNamespace(turn=None))] * 6)
    return SecureWorld(platform, cast("Any", tas), limits=limits)
