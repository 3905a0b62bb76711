"""OP-TEE's sims, sims_keepalive and miss: one program with three kinds of instances (regression_1012, 1021, 1040)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tee.abi import results
from tee.abi.results import Origin
from tee.params import Kind
from tee.world import Outcome
from tests.real.host import Host, content, null, value, value_out
from tests.real.tas import LARGE, MISS, SIMS, SIMS_KEEP_ALIVE, SUBKEY1, SUBKEY2, Sims

if TYPE_CHECKING:
    from uuid import UUID

DATA = bytes(range(32))
DEAD = Outcome(results.TARGET_DEAD, Origin.TEE)
SUCCESS = Outcome(results.SUCCESS, Origin.TRUSTED_APP)
BAD_PARAMETERS = Outcome(results.BAD_PARAMETERS, Origin.TRUSTED_APP)
ALL = pytest.mark.parametrize("uuid", [SIMS, SIMS_KEEP_ALIVE, MISS], ids=["sims", "sims_keepalive", "miss"])


def counter(host: Host, session: int) -> int:
    """How many sessions the instance had when this one was opened."""
    number = value_out()
    host.succeed(session, Sims.GET_COUNTER, number)
    return number.a


def panic(host: Host, session: int, of: UUID | None = None) -> Outcome:
    """Panic; or make the TA open a session to `of` and let that panic."""
    return host.invoke(session, Sims.PANIC, null(Kind.MEMREF_INPUT) if of is None else host.input(of.bytes_le))


@ALL
def test_sessions_and_the_instance_behind_them(host: Host, uuid: UUID) -> None:
    shared = uuid != MISS
    first = host.open(uuid)
    host.succeed(first, Sims.WRITE, value(0), host.input(DATA))
    for n in (1, 2):
        second = host.open(uuid)
        if shared:
            out = host.output(len(DATA))
            host.succeed(second, Sims.READ, value(0), out)
            assert content(out) == DATA
        assert counter(host, first) == 0
        assert counter(host, second) == (n if shared else 0)
        host.close_session(second)
    out = host.output(len(DATA))
    host.succeed(first, Sims.READ, value(0), out)
    assert content(out) == DATA


@ALL
def test_refused_parameters(host: Host, uuid: UUID) -> None:
    session = host.open(uuid)
    host.succeed(session, Sims.WRITE, value(3), host.input(DATA))
    assert host.invoke(session, Sims.WRITE, value(4), host.input(DATA)) == BAD_PARAMETERS
    assert host.invoke(session, Sims.READ, value(4), host.output(32)) == BAD_PARAMETERS
    overflow = Outcome(results.OVERFLOW, Origin.TRUSTED_APP)
    assert host.invoke(session, Sims.READ, value(3), host.output(31)) == overflow
    assert host.invoke(session, Sims.GET_COUNTER) == BAD_PARAMETERS
    assert host.invoke(session, Sims.OPEN_TA_SESSION, host.input(bytes(15))) == BAD_PARAMETERS
    assert host.invoke(session, 99) == BAD_PARAMETERS
    nobody = Outcome(results.ITEM_NOT_FOUND, Origin.TRUSTED_APP)
    assert host.invoke(session, Sims.OPEN_TA_SESSION, host.input(bytes(16))) == nobody
    assert not host.watch.crashes


def test_what_an_instance_keeps(host: Host) -> None:
    """Its memory goes with its last session, unless it is to be kept alive."""
    for uuid, kept in ((SIMS, False), (SIMS_KEEP_ALIVE, True), (MISS, False)):
        for n in range(3):
            session = host.open(uuid)
            assert counter(host, session) == (n if kept else 0)
            host.close_session(session)
    assert host.world.instances == 1


@ALL
def test_panic_from_the_normal_world(host: Host, uuid: UUID) -> None:
    """1021: who shares the instance is dead with it; a new session gets a new instance."""
    shared = uuid != MISS
    first, second = host.open(uuid), host.open(uuid)
    assert (counter(host, first), counter(host, second)) == (0, int(shared))
    assert panic(host, second) == DEAD
    (crash,) = host.watch.crashes
    assert (crash.uuid, crash.kind, crash.code) == (uuid, "panic", 0xBEEF)
    assert host.invoke(first, Sims.GET_COUNTER, value_out()) == (DEAD if shared else SUCCESS)
    assert host.invoke(second, Sims.GET_COUNTER, value_out()) == DEAD
    # While the dead instance still has sessions:
    third, fourth = host.open(uuid), host.open(uuid)
    assert (counter(host, third), counter(host, fourth)) == (0, int(shared))
    if not shared:
        assert counter(host, first) == 0
    for session in (first, second, third, fourth):
        host.close_session(session)
    assert len(host.watch.crashes) == 1


def test_panic_of_a_ta_that_another_has_open(host: Host) -> None:
    """1021: TA 1 has a session to TA 2; the normal world makes TA 2 panic. TA 1 lives."""
    one, two = host.open(SIMS), host.open(SIMS_KEEP_ALIVE)
    host.succeed(one, Sims.OPEN_TA_SESSION, host.input(SIMS_KEEP_ALIVE.bytes_le))
    assert panic(host, two) == DEAD
    assert counter(host, one) == 1
    assert host.invoke(two, Sims.GET_COUNTER, value_out()) == DEAD
    host.close_session(two)
    host.close_session(one)
    assert host.world.instances == 0


def test_panic_of_a_ta_that_another_calls(host: Host) -> None:
    """1021: TA 1 calls TA 2, which panics in that call. TA 1 is told and lives."""
    one, two = host.open(SIMS), host.open(SIMS_KEEP_ALIVE)
    host.succeed(one, Sims.OPEN_TA_SESSION, host.input(SIMS_KEEP_ALIVE.bytes_le))
    assert panic(host, one, SIMS_KEEP_ALIVE) == SUCCESS
    assert [crash.uuid for crash in host.watch.crashes] == [SIMS_KEEP_ALIVE]
    host.succeed(one, Sims.GET_COUNTER, value_out())
    assert host.invoke(two, Sims.GET_COUNTER, value_out()) == DEAD


def test_a_ta_that_calls_itself(host: Host) -> None:
    """A single instance is busy with the call that would call it again: an answer, and no deadlock."""
    session = host.open(SIMS)
    outcome = host.invoke(session, Sims.OPEN_TA_SESSION, host.input(SIMS.bytes_le))
    assert outcome == Outcome(results.BUSY, Origin.TRUSTED_APP)
    assert counter(host, session) == 0


def test_panics_in_concurrent_sessions(host: Host) -> None:
    """1040: threads open, panic and close; each panic is that thread's own, or it finds the instance dead."""
    rounds, threads, problems = 25, 3, []

    def work() -> None:
        done = 0
        while done < rounds:
            opened = host.world.open_session(SIMS)
            if opened.result == results.TARGET_DEAD:
                continue
            outcome = panic(host, opened.session)
            host.close_session(opened.session)
            if opened.result or outcome != DEAD:
                problems.append((opened, outcome))
                return
            done += 1

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not problems
    assert host.world.instances == 0
    host.succeed(host.open(SIMS), Sims.GET_COUNTER, value_out())


@pytest.mark.parametrize("uuid", [SUBKEY1, SUBKEY2], ids=["subkey1", "subkey2"])
def test_subkey_tas_answer(host: Host, uuid: UUID) -> None:
    host.succeed(host.open(uuid), 0)


def test_large_ta_answers(host: Host) -> None:
    assert host.invoke(host.open(LARGE), 0) == Outcome(results.GENERIC, Origin.TRUSTED_APP)
