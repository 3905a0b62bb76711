"""The daemon's core over its socket: calls, memory, contexts and what one client may not do to another."""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from typing import TYPE_CHECKING
from uuid import UUID

from normal_world.daemon.limits import ClientLimits
from normal_world.daemon.metrics import render
from normal_world.daemon.status import fetch, lines
from normal_world.protocol import NO_SHM, Op
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tee.abi.results import Origin
from tee.params import Kind
from tests.normal_world.kit import RawClient, in_thread, memory, memref, value
from tests.threads import PATIENCE, eventually, together

if TYPE_CHECKING:
    from pathlib import Path

    from normal_world.daemon.server import Server
    from tee.world import SecureWorld

HELLO = samples.HELLO[Arch.AARCH64]
INCREMENT, HASH, PANIC, SPIN = 0, 1, 2, 6
BAD = (results.BAD_PARAMETERS, Origin.COMMS)


def test_values_memory_and_errors(daemon: tuple[str, Server]) -> None:
    client = RawClient(daemon[0])
    session = client.open(HELLO).id
    reply = client.invoke(session, INCREMENT, value(Kind.VALUE_INOUT, 41, 7))
    assert (reply.result, reply.origin) == (0, Origin.TRUSTED_APP)
    assert reply.params[0] == (Kind.VALUE_INOUT, 0, 42, 7)

    fd = memory(10000)
    with mmap.mmap(fd, 10000) as view:
        view[5001:5004] = b"abc"
        shm = client.register(fd, 10000).id
        params = (memref(Kind.MEMREF_INPUT, shm, 3, 5001), memref(Kind.MEMREF_OUTPUT, shm, 100, 9000))
        reply = client.invoke(session, HASH, *params)
        assert reply.result == 0
        assert reply.params[:2] == ((0, 0, 0, 0), (Kind.MEMREF_OUTPUT, 0, 0, 32))
        assert view[9000:9032] == hashlib.sha256(b"abc").digest()
    short = client.invoke(session, HASH, params[0], memref(Kind.MEMREF_OUTPUT, shm, 3))
    assert (short.result, short.origin) == (results.SHORT_BUFFER, Origin.TRUSTED_APP)
    assert short.params[1] == (Kind.MEMREF_OUTPUT, 0, 0, 32)
    null = client.invoke(session, HASH, params[0], memref(Kind.MEMREF_OUTPUT, NO_SHM, 0))
    assert null.result == results.SHORT_BUFFER
    os.close(fd)

    assert client.ask(Op.CLOSE_SESSION, session, 0).result == 0
    gone = client.invoke(session, INCREMENT, value(Kind.VALUE_INOUT, 1))
    assert (gone.result, gone.origin) == BAD
    missing = client.open(UUID(int=5))
    assert (missing.result, missing.origin) == (results.ITEM_NOT_FOUND, Origin.TEE)


def test_memory_must_be_sealed_and_hold_what_is_said(daemon: tuple[str, Server], tmp_path: Path) -> None:
    client = RawClient(daemon[0])
    session = client.open(HELLO).id
    loose, sealed = memory(4096, seal=False), memory(4096)
    plain = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.ftruncate(plain, 4096)
    for fd, size in ((loose, 4096), (plain, 4096), (sealed, 4097), (sealed, 0), (sealed, (1 << 64) - 1)):
        reply = client.register(fd, size)
        assert (reply.result, reply.origin, reply.id) == (*BAD, 0)
    assert client.ask(Op.REGISTER_SHM, 4096).result == results.BAD_PARAMETERS
    shm = client.register(sealed, 100).id
    for bad in (
        memref(Kind.MEMREF_INPUT, shm, 101),
        memref(Kind.MEMREF_INPUT, shm, 1, 100),
        memref(Kind.MEMREF_INPUT, shm, 8, (1 << 64) - 4),
        memref(Kind.MEMREF_INPUT, shm, 1 << 32),
        memref(Kind.MEMREF_INPUT, shm + 1, 1),
        (4, 0, 0, 0),
        (8, 0, 0, 0),
        (Kind.VALUE_INPUT, 0, 1 << 32, 0),
    ):
        reply = client.invoke(session, HASH, bad)
        assert (reply.result, reply.origin) == BAD, bad
    assert client.ask(Op.RELEASE_SHM, shm, 0).result == 0
    assert client.ask(Op.RELEASE_SHM, shm, 0).result == results.BAD_PARAMETERS
    for fd in (loose, sealed, plain):
        os.close(fd)


def test_handles_are_a_contexts_own(daemon: tuple[str, Server]) -> None:
    one, other = RawClient(daemon[0]), RawClient(daemon[0])
    session = one.open(HELLO).id
    assert other.invoke(session, INCREMENT, value(Kind.VALUE_INOUT, 1)).result == results.BAD_PARAMETERS
    second = RawClient(daemon[0], one.token)
    assert second.token == one.token
    assert second.invoke(session, INCREMENT, value(Kind.VALUE_INOUT, 1)).result == 0
    stranger = RawClient(daemon[0], b"x" * 16)
    assert (stranger.hello.result, stranger.hello.origin) == (results.ACCESS_DENIED, Origin.COMMS)
    one.close()  # the context lives on with its second connection
    assert second.invoke(session, INCREMENT, value(Kind.VALUE_INOUT, 1)).result == 0


def test_another_users_context_is_refused(daemon: tuple[str, Server]) -> None:
    client = RawClient(daemon[0])
    context = daemon[1].contexts[client.token]
    context.peer = context.peer._replace(uid=context.peer.uid + 1)
    assert RawClient(daemon[0], client.token).hello.result == results.ACCESS_DENIED


def test_limits_of_one_client(daemon_world: SecureWorld, tmp_path: Path) -> None:
    limits = ClientLimits(sessions=2, memory=16384, objects=2, connections=2, user_connections=3)
    over = (results.OUT_OF_MEMORY, Origin.COMMS)
    with in_thread(daemon_world, tmp_path, limits=limits) as (path, server):
        client = RawClient(path)
        assert [client.open(HELLO).result for _ in range(2)] == [0, 0]
        third = client.open(HELLO)
        assert (third.result, third.origin) == over
        small, large = memory(4096), memory(16384)
        assert [client.register(small, 1).result for _ in range(2)] == [0, 0]
        assert client.register(small, 1)[1:3] == over
        client.ask(Op.RELEASE_SHM, 1, 0)
        assert client.register(large, 1)[1:3] == over
        second = RawClient(path, client.token)
        third_connection = RawClient(path, client.token)
        assert third_connection.hello[1:3] == over
        surplus = RawClient(path)
        assert surplus.hello[1:3] == over
        assert surplus.receive() is None
        third_connection.close()
        assert eventually(lambda: len(server.connections) == 2)
        extra = RawClient(path)
        assert extra.hello.result == 0
        for used in (client, second, extra, surplus):
            used.close()
        os.close(small)
        os.close(large)


def test_cancel_ends_a_call_of_another_connection(daemon: tuple[str, Server]) -> None:
    """A TA that waits is woken; here one loops, so the client's death is what ends it."""
    client = RawClient(daemon[0])
    assert client.ask(Op.CANCEL, 5).result == results.ITEM_NOT_FOUND
    session = client.open(HELLO).id
    client.send(Op.INVOKE, 77, session, SPIN, *(0,) * 16)
    other = RawClient(daemon[0], client.token)
    assert eventually(lambda: fetch(daemon[0])["contexts"][0]["calls_in_flight"] == 1)
    assert other.invoke(session, INCREMENT, call=77).result == results.BAD_PARAMETERS
    assert other.ask(Op.CANCEL, 77).result == 0
    other.close()
    client.close()
    assert eventually(lambda: not daemon[1].connections)
    assert not daemon[1].contexts


def test_memory_released_during_a_call_stays_until_it_ends(daemon: tuple[str, Server]) -> None:
    client = RawClient(daemon[0])
    session = client.open(HELLO).id
    fd = memory(4096)
    shm = client.register(fd, 4096).id
    client.send(Op.INVOKE, 1, session, SPIN, Kind.MEMREF_INOUT, shm, 0, 4096, *(0,) * 12)
    other = RawClient(daemon[0], client.token)
    assert eventually(lambda: fetch(daemon[0])["contexts"][0]["calls_in_flight"] == 1)
    assert other.ask(Op.RELEASE_SHM, shm, 0).result == 0
    assert daemon[1].memory.files == 1
    client.close()
    assert eventually(lambda: not daemon[1].memory.files)
    other.close()
    os.close(fd)


def test_a_panic_is_told_and_the_next_session_is_fresh(daemon: tuple[str, Server]) -> None:
    client = RawClient(daemon[0])
    session = client.open(HELLO).id
    dead = client.invoke(session, PANIC, value(Kind.VALUE_INPUT, 9))
    assert (dead.result, dead.origin) == (results.TARGET_DEAD, Origin.TEE)
    assert client.invoke(session, INCREMENT, value(Kind.VALUE_INOUT, 1)).result == results.TARGET_DEAD
    assert client.ask(Op.CLOSE_SESSION, session, 0).result == 0
    again = client.open(HELLO).id
    assert client.invoke(again, INCREMENT, value(Kind.VALUE_INOUT, 1)).result == 0


def test_many_clients_at_once(daemon: tuple[str, Server]) -> None:
    def work(start: int) -> None:
        client = RawClient(daemon[0])
        session = client.open(HELLO).id
        for i in range(start, start + 100):
            reply = client.invoke(session, INCREMENT, value(Kind.VALUE_INOUT, i))
            assert reply.params[0][2] == i + 1
        client.close()

    together(work, range(0, 8000, 1000))
    assert eventually(lambda: not daemon[1].connections)
    assert daemon[1].calls == 8 * 101
    assert daemon[1].errors == daemon[1].bugs == 0


def test_status_tells_what_is_there(daemon: tuple[str, Server]) -> None:
    client = RawClient(daemon[0])
    session = client.open(HELLO).id
    status = fetch(daemon[0])
    assert [entry["sessions"] for entry in status["contexts"]] == [[{"id": session, "uuid": str(HELLO)}]]
    assert status["contexts"][0]["pid"] == os.getpid()
    assert [(entry["uuid"], entry["references"]) for entry in status["instances"]] == [(str(HELLO), 1)]
    assert any(str(HELLO) in line for line in lines(status))


def test_what_came_of_opening_sessions_is_counted(daemon: tuple[str, Server]) -> None:
    client = RawClient(daemon[0])
    for uuid in (HELLO, UUID(int=1), UUID(int=1)):
        client.open(uuid)
    status = fetch(daemon[0])
    assert status["opens"] == {"TEE_SUCCESS": 1, "TEE_ERROR_ITEM_NOT_FOUND": 2}
    assert 'litebox_session_opens_total{result="TEE_ERROR_ITEM_NOT_FOUND"} 2\n' in render(status)
    assert any("TEE_ERROR_ITEM_NOT_FOUND 2" in line for line in lines(status))
    for result in range(1000):  # as a TA's TA_OpenSessionEntryPoint may return them
        daemon[1].note_open(result)
    opens = fetch(daemon[0])["opens"]
    assert len(opens) <= 65
    assert sum(opens.values()) == 1003
    client.close()


def test_stop_kills_a_call_that_does_not_end(daemon_world: SecureWorld, tmp_path: Path) -> None:
    start = time.monotonic()
    with in_thread(daemon_world, tmp_path, grace=0.2, deadline=0.4) as (path, server):
        client = RawClient(path)
        session = client.open(HELLO).id
        client.send(Op.INVOKE, 1, session, SPIN, *(0,) * 16)
        assert eventually(lambda: fetch(path)["contexts"][0]["calls_in_flight"] == 1)
        server.stop()
        reply = client.receive()
        assert reply is not None
        assert (reply.result, reply.origin) == (results.TARGET_DEAD, Origin.TEE)
        assert client.receive() is None
    assert time.monotonic() - start < PATIENCE
    assert not server.connections
    assert not server.contexts
