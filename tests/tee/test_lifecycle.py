"""When instances of TAs come and go: whatever clients and TAs do at the same time, Create and Destroy alternate."""

from __future__ import annotations

import random
import sys
import threading
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest

from tee.abi import results
from tee.abi.ta_head import (
    TA_FLAG_INSTANCE_KEEP_ALIVE,
    TA_FLAG_INSTANCE_KEEP_CRASHED,
    TA_FLAG_MULTI_SESSION,
    TA_FLAG_SINGLE_INSTANCE,
)
from tee.activity import Activity
from tee.call import ENTRY_INVOKE, Call
from tee.limits import Limits
from tests.tee.guest_kit import Guest, Panicked, Tas, world
from tests.threads import eventually, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tee.world import SecureWorld

ONE = TA_FLAG_SINGLE_INSTANCE
SHARED = ONE | TA_FLAG_MULTI_SESSION
ALIVE = SHARED | TA_FLAG_INSTANCE_KEEP_ALIVE
CRASHED = ALIVE | TA_FLAG_INSTANCE_KEEP_CRASHED
NAMES = {0: "own instance", ONE: "one session", SHARED: "shared", ONE | TA_FLAG_INSTANCE_KEEP_ALIVE: "one, kept alive",
         ALIVE: "kept alive", CRASHED: "kept crashed"}  # fmt: skip
HANG = 120.0


@pytest.fixture
def tas() -> Tas:
    return Tas()


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    """Threads change places between almost any two instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Gate:
    """A TA's code that waits at a place."""

    def __init__(self) -> None:
        self.here, self.go = threading.Event(), threading.Event()

    def __call__(self, guest: Guest) -> None:
        self.here.set()
        assert self.go.wait(HANG)


class Later:
    """A call on another thread."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._answer: list[Any] = []
        self._thread = threading.Thread(target=lambda: self._answer.append(call()), daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return bool(self._answer)

    def answer(self) -> Any:
        self._thread.join(HANG)
        assert self._answer, "it hangs"
        return self._answer[0]


def waits(secure: SecureWorld) -> bool:
    """Somebody waits for an instance."""
    return eventually(lambda: secure._instances._waiting, HANG)


def open_(secure: SecureWorld, uuid: UUID) -> int:
    opened = secure.open_session(uuid)
    assert not opened.result
    return opened.session


def inside(secure: SecureWorld, session: int) -> Guest:
    return cast("Guest", secure._sessions[session].instance)


@pytest.mark.parametrize("flags", NAMES, ids=NAMES.get)
@pytest.mark.parametrize("breaks", [0.0, 0.15], ids=["sound", "failing and panicking"])
def test_create_and_destroy_alternate(tas: Tas, monkeypatch: pytest.MonkeyPatch, flags: int, breaks: float) -> None:
    chance = random.Random(flags)
    panics = 0

    def sometimes(guest: Guest) -> int | None:
        nonlocal panics
        drawn = chance.random()
        if drawn < breaks / 2:
            panics += 1
            raise Panicked
        return results.GENERIC if drawn < breaks else None

    entries = dict.fromkeys(("create", "open", "invoke", "close", "destroy"), sometimes)
    uuid = tas.add(1, flags, **entries)
    served = 0
    with world(tas, monkeypatch) as secure:

        def work(_: int) -> None:
            nonlocal served
            for _ in range(120):
                opened = secure.open_session(uuid)
                if opened.result:
                    continue
                secure.invoke(opened.session, 0)
                secure.close_session(opened.session)
                served += 1

        together(work, range(6), HANG)
        assert not tas.ledger.wrong
        assert served
        if not flags & TA_FLAG_INSTANCE_KEEP_ALIVE:
            assert not tas.ledger.alive()
            assert secure.instances == 0
            assert len(tas.ledger.ends) == tas.loads
            if not breaks:
                assert tas.ledger.creations == tas.ledger.destructions
    assert not tas.ledger.wrong
    assert len(tas.ledger.ends) == tas.loads
    assert secure.instances == 0


@pytest.mark.parametrize("flags", [ONE, SHARED], ids=NAMES.get)
@pytest.mark.parametrize("entry", ["close", "destroy"])
def test_who_comes_while_the_last_session_closes_gets_a_new_instance(
    tas: Tas, monkeypatch: pytest.MonkeyPatch, flags: int, entry: str
) -> None:
    gate = Gate()
    uuid = tas.add(1, flags, **{entry: gate})
    secure = world(tas, monkeypatch)
    first = open_(secure, uuid)
    old = inside(secure, first)
    closing = Later(lambda: secure.close_session(first))
    assert gate.here.wait(HANG)
    second = Later(lambda: open_(secure, uuid))
    assert waits(secure)
    assert not second.done
    assert tas.loads == 1, "the old instance is not gone yet"
    gate.go.set()
    closing.answer()
    assert inside(secure, second.answer()) is not old
    secure.close()
    assert not tas.ledger.wrong
    assert tas.ledger.creations[uuid] == tas.ledger.destructions[uuid] == 2


@pytest.mark.parametrize("entry", ["create", "open"])
@pytest.mark.parametrize("end", [results.GENERIC, None], ids=["fails", "panics"])
def test_who_waits_while_the_first_session_is_refused_gets_a_new_instance(
    tas: Tas, monkeypatch: pytest.MonkeyPatch, entry: str, end: int | None
) -> None:
    gate = Gate()

    def once(guest: Guest) -> int | None:
        if guest.number > 1:
            return None
        gate(guest)
        if end is None:
            raise Panicked
        return end

    uuid = tas.add(1, SHARED, **{entry: once})
    secure = world(tas, monkeypatch)
    first = Later(lambda: secure.open_session(uuid).result)
    assert gate.here.wait(HANG)
    second = Later(lambda: open_(secure, uuid))
    assert waits(secure)
    gate.go.set()
    assert first.answer() == (results.TARGET_DEAD if end is None else end)
    assert inside(secure, second.answer()).number == 2
    secure.close()
    assert not tas.ledger.wrong


def test_a_refused_session_does_not_end_an_instance_that_others_use(tas: Tas, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = False
    uuid = tas.add(1, SHARED, open=lambda _: results.GENERIC if refuse else None)
    with world(tas, monkeypatch) as secure:
        first = open_(secure, uuid)
        refuse = True
        assert secure.open_session(uuid).result == results.GENERIC
        refuse = False
        assert inside(secure, open_(secure, uuid)) is inside(secure, first)
        assert tas.loads == 1


@pytest.mark.parametrize("flags", [ONE, ONE | TA_FLAG_INSTANCE_KEEP_ALIVE], ids=NAMES.get)
def test_a_ta_of_one_session_is_waited_for_while_that_closes(
    tas: Tas, monkeypatch: pytest.MonkeyPatch, flags: int
) -> None:
    gate = Gate()
    uuid = tas.add(1, flags, close=gate)
    with world(tas, monkeypatch) as secure:
        first = open_(secure, uuid)
        assert secure.open_session(uuid).result == results.BUSY
        closing = Later(lambda: secure.close_session(first))
        assert gate.here.wait(HANG)
        second = Later(lambda: secure.open_session(uuid).result)
        assert waits(secure)
        gate.go.set()
        closing.answer()
        assert second.answer() == 0
        assert tas.loads == (1 if flags & TA_FLAG_INSTANCE_KEEP_ALIVE else 2)


def test_a_crashed_ta_that_is_kept_answers_at_once(tas: Tas, monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(guest: Guest) -> None:
        raise Panicked

    uuid = tas.add(1, CRASHED, invoke=panic)
    with world(tas, monkeypatch) as secure:
        session = open_(secure, uuid)
        assert secure.invoke(session, 0).result == results.TARGET_DEAD
        assert secure.open_session(uuid).result == results.TARGET_DEAD
        secure.close_session(session)
        assert secure.open_session(uuid).result == results.TARGET_DEAD
    assert tas.loads == 1


def test_tas_that_call_each_other_in_circles_never_hang(tas: Tas, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every entry point, while clients of all of them come and go."""
    chance = random.Random(5)
    uuids: list[UUID] = []

    def calls(guest: Guest) -> None:
        if chance.random() < 0.4:
            guest.use(uuids[chance.randrange(len(uuids))])
        if chance.random() < 0.2:
            guest.keep(uuids[chance.randrange(len(uuids))])
        if chance.random() < 0.05:
            raise Panicked

    entries = dict.fromkeys(("create", "open", "invoke", "close", "destroy"), calls)
    uuids += [tas.add(number, flags, **entries) for number, flags in enumerate((SHARED, ONE, ALIVE, SHARED))]
    secure = world(tas, monkeypatch, Limits(depth=6))

    def work(index: int) -> None:
        own = random.Random(index)
        for _ in range(60):
            opened = secure.open_session(uuids[own.randrange(len(uuids))])
            if not opened.result:
                secure.invoke(opened.session, 0)
                secure.close_session(opened.session)

    together(work, range(6), HANG)
    assert not tas.ledger.wrong


def test_who_dies_with_a_session_to_its_caller_does_not_hang_it(tas: Tas, monkeypatch: pytest.MonkeyPatch) -> None:
    """The close cannot enter the caller, which is inside a call: it is made when that one leaves."""
    dies = False

    def end(guest: Guest) -> None:
        if dies:
            raise Panicked

    def ask(guest: Guest) -> int | None:
        return guest.use(callee) and None

    callee = tas.add(2, SHARED, invoke=end)
    caller = tas.add(1, SHARED, invoke=ask)
    with world(tas, monkeypatch) as secure:
        session, other = open_(secure, caller), open_(secure, callee)
        a, b = inside(secure, session), inside(secure, other)
        assert b.keep(caller) is not None
        dies = True
        assert Later(lambda: secure.invoke(session, 0)).answer().result == 0
        assert tas.ledger.ends == [b.number]
        assert a.known == a.references == 1
        secure.close_session(session)
        assert tas.ledger.destructions[caller] == 1
    assert not tas.ledger.wrong


def test_a_long_chain_of_tas_ends(tas: Tas, monkeypatch: pytest.MonkeyPatch) -> None:
    uuid = tas.add(1, 0)
    with world(tas, monkeypatch, Limits(nested=4000)) as secure:
        session = open_(secure, uuid)
        last = inside(secure, session)
        for _ in range(3000):
            kept = last.keep(uuid)
            assert kept is not None
            last = cast("Guest", kept.instance)
        secure.close_session(session)
        assert tas.ledger.destructions[uuid] == len(tas.ledger.ends) == 3001
    assert not tas.ledger.wrong


def test_a_session_that_cannot_be_closed_so_deep_closes_with_its_ta(tas: Tas, monkeypatch: pytest.MonkeyPatch) -> None:
    third = tas.add(3, SHARED)

    def close_kept(guest: Guest) -> None:
        for session in list(guest.sessions.values()):
            secure.close_from_ta(cast("Any", guest), session)

    second = tas.add(2, SHARED, invoke=close_kept)
    first = tas.add(1, SHARED, invoke=lambda guest: guest.use(second))
    secure = world(tas, monkeypatch, Limits(depth=2))
    outer, middle = open_(secure, first), open_(secure, second)
    assert inside(secure, middle).keep(third) is not None
    assert secure.invoke(outer, 0).result == 0
    assert not tas.ledger.destructions[third]
    secure.close_session(middle)
    assert tas.ledger.destructions[second] == tas.ledger.destructions[third] == 1
    secure.close()
    assert not tas.ledger.wrong


def test_a_call_that_waited_until_its_session_was_closed_is_refused(tas: Tas, monkeypatch: pytest.MonkeyPatch) -> None:
    uuid = tas.add(1, SHARED)
    with world(tas, monkeypatch) as secure:
        for shared in (False, True):
            number = open_(secure, uuid)
            if shared:
                open_(secure, uuid)
            session = secure._sessions[number]
            secure.close_session(number)
            outcome = secure._invoke(Call(ENTRY_INVOKE, session, 0, (), Activity()))
            assert outcome.result == results.BAD_PARAMETERS
    assert not tas.ledger.wrong


def test_a_close_that_is_interrupted_leaves_nothing_acquired(tas: Tas, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(guest: Guest) -> None:
        raise KeyboardInterrupt

    uuid = tas.add(1, ALIVE, close=interrupt)
    secure = world(tas, monkeypatch)
    session, other = open_(secure, uuid), open_(secure, uuid)
    with pytest.raises(KeyboardInterrupt):
        secure.close_session(session)
    assert Later(lambda: secure.invoke(other, 0)).answer().result == 0
