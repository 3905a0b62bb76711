"""What one user may have of a daemon, however many contexts it makes, and what is left for others."""

from __future__ import annotations

import itertools
import os
import threading
import time
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from normal_world.daemon import capacity, gates, server
from normal_world.daemon.capacity import Capacity, derive
from normal_world.daemon.gates import REQUESTS_AT_ONCE, CallGate, RequestGate
from normal_world.daemon.limits import ClientLimits
from normal_world.daemon.logins import Peer
from normal_world.daemon.status import fetch
from normal_world.daemon.users import Holding, Users
from normal_world.protocol import Op
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError
from tee.params import Kind
from tests.normal_world.kit import RawClient, in_thread, memory, value
from tests.threads import PATIENCE, eventually, together

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from normal_world.daemon.server import Server
    from tee.world import SecureWorld

HELLO = samples.HELLO[Arch.AARCH64]
INCREMENT, SPIN = 0, 6
OVER = (results.OUT_OF_MEMORY, Origin.COMMS)
LARGE = Capacity(connections=1000, sessions=1000, objects=1000, memory=1 << 30)


def test_no_context_is_a_way_around_the_limits_of_a_user(daemon_world: SecureWorld, tmp_path: Path) -> None:
    limits = ClientLimits(sessions=2, objects=2, memory=8192, user_sessions=3, user_objects=3, user_memory=3 * 4096)
    with in_thread(daemon_world, tmp_path, limits=limits, capacity=LARGE) as (path, daemon):
        first, second = RawClient(path), RawClient(path)
        files = [memory(4096) for _ in range(5)]
        assert [first.open(HELLO).result for _ in range(2)] == [0, 0]
        assert second.open(HELLO).result == 0
        assert second.open(HELLO)[1:3] == OVER
        assert [first.register(file, 1).result for file in files[:2]] == [0, 0]
        assert second.register(files[2], 1).result == 0
        assert second.register(files[3], 1)[1:3] == OVER
        assert daemon.users.refused == 2

        # What is closed, released, or goes with its context can be taken again.
        assert first.ask(Op.CLOSE_SESSION, 1, 0).result == 0
        assert first.ask(Op.RELEASE_SHM, 1, 0).result == 0
        assert second.open(HELLO).result == second.register(files[3], 1).result == 0
        second.close()
        assert eventually(lambda: len(daemon.connections) == 1)
        assert daemon.users.snapshot() == [(os.getuid(), Holding(1, 1, 1, 4096))]
        third = RawClient(path)
        assert [third.open(HELLO).result for _ in range(2)] == [0, 0]

        status = fetch(path)
        assert status["users"][0]["sessions"] == 3
        assert status["refused"] == 2
        for each in (first, third):
            each.close()
        assert eventually(lambda: not daemon.users.snapshot())
        for file in files:
            os.close(file)


def test_bytes_count_by_user_too(daemon_world: SecureWorld, tmp_path: Path) -> None:
    limits = ClientLimits(user_memory=3 * 4096)
    with in_thread(daemon_world, tmp_path, limits=limits, capacity=LARGE) as (path, _):
        large, small = memory(8192), memory(4096)
        first, second = RawClient(path), RawClient(path)
        assert first.register(large, 1).result == 0
        assert second.register(large, 1)[1:3] == OVER
        assert second.register(small, 1).result == 0
        for each in (large, small):
            os.close(each)
        for client in (first, second):
            client.close()


def test_what_failed_holds_nothing(daemon: tuple[str, Server]) -> None:
    """A session that is refused, a file that is no memfd, one that cannot be written."""
    path, served = daemon
    client = RawClient(path)
    assert client.open(UUID(int=1)).result == results.ITEM_NOT_FOUND
    pipe = os.pipe()
    fd = memory(4096)
    read_only = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    for bad in (pipe[0], read_only):
        assert client.register(bad, 1).result == results.BAD_PARAMETERS
    assert served.users.snapshot() == [(os.getuid(), Holding(connections=1))]
    for each in (*pipe, fd, read_only):
        os.close(each)
    client.close()


def test_memory_that_is_mapped_needs_no_descriptor(daemon: tuple[str, Server]) -> None:
    client = RawClient(daemon[0])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        fd = memory(4096)
        assert client.register(fd, 4096).result == 0
        os.close(fd)
    assert len(os.listdir("/proc/self/fd")) <= before
    maps = _mappings()
    assert maps >= 50
    client.close()
    assert eventually(lambda: _mappings() == maps - 50)


def _mappings() -> int:
    """Memfds of these tests that are mapped; the daemon is in this process."""
    with open("/proc/self/maps") as file:
        return sum("/memfd:test" in line for line in file)


@pytest.mark.parametrize("kind", ["sessions", "objects", "memory"])
def test_a_user_leaves_as_much_as_it_has(kind: str) -> None:
    users = Users(ClientLimits(1, 1, 1, 1, 1 << 40, 1 << 40, 1 << 40, 1 << 40), Capacity(120, 120, 120, 120))
    greedy = [users.connect(uid)[0] for uid in range(4)]
    taken = []
    for user in greedy:
        for count in range(200):
            try:
                user.take(**{kind: 1})
            except TeeError:
                taken.append(count)
                break
    assert taken == [60, 30, 15, 7]
    greedy[0].give(**{kind: 60})
    users.connect(99)[0].take(**{kind: 1})
    greedy[3].take(**{kind: 20})


def test_connections_beyond_a_share_are_surplus() -> None:
    users = Users(ClientLimits(user_connections=1000), Capacity(100, 1, 1, 1))
    assert [users.connect(1)[1] for _ in range(50)] == [0] * 50
    user, surplus = users.connect(1)
    assert surplus > 0
    users.disconnect(user)
    assert [users.connect(2)[1] for _ in range(25)] == [0] * 25
    assert users.connect(2)[1] > 0


@pytest.mark.parametrize("files", [64, 256, 1024, 20_000, 1 << 30, -1])
@pytest.mark.parametrize("maps", [1024, 65530, 1 << 24])
@pytest.mark.parametrize("ram", [256 << 20, 8 << 30])
def test_the_capacity_fits_into_what_the_host_gives(files: int, maps: int, ram: int) -> None:
    found = derive(files, maps, ram)
    assert min(found) >= 1
    if files > 0:
        assert found.connections * capacity.FILES_PER_CONNECTION <= files - min(capacity.FILES_RESERVE, files // 4)
    used = found.connections * capacity.MAPS_PER_CONNECTION + found.sessions * capacity.MAPS_PER_SESSION
    assert used + found.objects * capacity.MAPS_PER_OBJECT <= maps * 3 // 4
    assert found.sessions * capacity.BYTES_PER_SESSION <= ram // 2


def test_the_hosts_memory_is_read_without_a_call_that_a_restricted_daemon_lacks() -> None:
    assert capacity.of_host().memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_files_that_say_nothing_leave_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "odd").write_text("MemTotal: much\n")
    for name in ("MEMINFO", "MAX_MAP_COUNT"):
        monkeypatch.setattr(capacity, name, str(tmp_path / "odd"))
    assert min(capacity.of_host()) > 1
    monkeypatch.setattr(capacity, "MEMINFO", str(tmp_path / "none"))
    assert min(capacity.of_host()) > 1


# --- at the same time


def test_few_requests_of_a_user_are_inside_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "BRIEF", PATIENCE)  # none is taken for stuck, however busy the machine is
    gate = RequestGate()
    inside, most, lock = 0, 0, threading.Lock()

    def request(_: int) -> None:
        nonlocal inside, most
        with gate.passed():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.001)
            with lock:
                inside -= 1

    together(request, range(100))
    assert most <= REQUESTS_AT_ONCE


def test_requests_that_last_let_others_in() -> None:
    gate, leave = RequestGate(), threading.Event()
    entered = itertools.count()

    def request(_: int) -> None:
        with gate.passed():
            next(entered)
            leave.wait(60)

    threads = [threading.Thread(target=request, args=(n,)) for n in range(3 * REQUESTS_AT_ONCE)]
    for thread in threads:
        thread.start()
    reached = eventually(lambda: entered.__reduce__()[1][0] == len(threads), 30)
    leave.set()
    for thread in threads:
        thread.join(30)
    assert reached


class Worker(threading.Thread):
    """A call that passes the gate, then `work`s."""

    def __init__(self, gate: CallGate, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.thread = 0
        self.gone = False
        self.entered: bool | None = None
        self._gate = gate
        self._work = work

    def run(self) -> None:
        self.thread = threading.get_native_id()
        self.entered = self._gate.enter(self)
        if self.entered:
            try:
                self._work()
            finally:
                self._gate.leave(self)


def test_calls_that_compute_hold_the_next_up_and_calls_that_rest_do_not() -> None:
    gate, stop = CallGate(most=2), threading.Event()

    def compute() -> None:
        import hashlib

        while not stop.is_set():
            hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000)  # without Python's lock

    resting = [Worker(gate, lambda: stop.wait(60)) for _ in range(4)]
    for worker in resting:
        worker.start()
    assert eventually(lambda: all(worker.entered for worker in resting), 30)
    computing = [Worker(gate, compute) for _ in range(2)]
    for worker in computing:
        worker.start()
    assert eventually(lambda: all(worker.entered for worker in computing), 30)
    late = Worker(gate, lambda: None)
    late.start()
    time.sleep(20 * gates.LOOK)
    assert late.entered is None
    stop.set()
    assert eventually(lambda: late.entered, 30)
    for worker in (*resting, *computing, late):
        worker.join(30)


def test_a_call_whose_client_hangs_up_waits_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_HANG_UPS", 0.05)
    monkeypatch.setattr(gates, "_spent", lambda _: None)  # a kernel that does not count: all inside compute
    gate, stop = CallGate(most=1), threading.Event()
    first, *others = (Worker(gate, lambda: stop.wait(60)) for _ in range(3))
    first.start()
    assert eventually(lambda: first.entered)
    for worker in others:  # one is at the door, one behind it
        worker.start()
    time.sleep(0.1)
    for worker in others:
        worker.gone = True
    assert eventually(lambda: [worker.entered for worker in others] == [False, False], 30)
    stop.set()
    first.join(30)


@pytest.fixture
def uid_of_peer(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the uid that the daemon sees of clients that connect from then on."""
    current = [os.getuid()]

    def read(connection: socket.socket) -> Peer:
        return Peer(os.getpid(), current[0], os.getgid())

    monkeypatch.setattr(server, "read_peer", read)
    return lambda uid: current.__setitem__(0, uid)


def test_a_user_at_every_limit_keeps_nobody_else_from_calling(
    daemon_world: SecureWorld, tmp_path: Path, uid_of_peer: Callable[[int], None]
) -> None:
    limits = ClientLimits(user_calls=3)
    room = Capacity(connections=60, sessions=60, objects=100, memory=1 << 20)
    with in_thread(daemon_world, tmp_path, limits=limits, capacity=room, grace=0.2, deadline=5.0) as (path, daemon):
        uid_of_peer(1000)
        hostile = [RawClient(path) for _ in range(30)]
        surplus = RawClient(path)
        assert surplus.hello[1:3] == OVER
        surplus.close()
        most = 3
        sessions = [client.open(HELLO).id for client in hostile]
        for client, session in zip(hostile, sessions, strict=True):
            client.send(Op.INVOKE, 1, session, SPIN, *(0,) * 16)
        user = daemon.users.connect(1000)[0]
        daemon.users.disconnect(user)
        assert eventually(lambda: len(user.calls._inside) == most, 30)
        assert user.holds.sessions == user.holds.connections == 30

        uid_of_peer(1001)
        fd = memory(4096)
        for number in range(10):
            other = RawClient(path)
            session = other.open(HELLO).id
            assert other.register(fd, 4096).result == 0
            assert other.invoke(session, INCREMENT, value(Kind.VALUE_INOUT, number)).params[0][2] == number + 1
            other.close()
        assert len(user.calls._inside) == most
        for client in hostile:
            client.close()
        assert eventually(lambda: not daemon.connections, 60)
        os.close(fd)


def test_calls_beyond_those_that_compute_wait_and_are_served_then(daemon_world: SecureWorld, tmp_path: Path) -> None:
    with in_thread(daemon_world, tmp_path, limits=ClientLimits(user_calls=2), grace=0.2) as (path, _):
        looping = [RawClient(path) for _ in range(2)]
        late = RawClient(path)
        session = late.open(HELLO).id
        sessions = [client.open(HELLO).id for client in looping]
        for client, looped in zip(looping, sessions, strict=True):
            client.send(Op.INVOKE, 1, looped, SPIN, *(0,) * 16)
        assert eventually(lambda: sum(c["calls_in_flight"] for c in fetch(path)["contexts"]) == len(looping))
        late.send(Op.INVOKE, 7, session, INCREMENT, Kind.VALUE_INOUT, 0, 41, 0, *(0,) * 12)
        late.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            late.receive()
        # Neither the status nor a cancellation is a call.
        assert fetch(path)["connections"] == len(looping) + 2
        other = RawClient(path, late.token)
        assert other.ask(Op.CANCEL, 7).result == 0
        looping[0].close()
        late.socket.settimeout(60)
        assert late.receive() is not None
        for client in (*looping[1:], late, other):
            client.close()
