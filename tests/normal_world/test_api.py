"""The Python TEE Client API over each way to a TEE: calls, parameters, memory, logins, and what goes wrong."""

from __future__ import annotations

import array
import gc
import hashlib
import mmap
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from normal_world import Context, Direction, Login, Memref, Operation, Origin, TeeError, Value
from normal_world.client.local import Local
from normal_world.params import Kind
from normal_world.supplicant.plugins import HostPlugins
from south.linux_host import linux_host
from south.linux_host.host import NullConsole
from south.platform import Arch
from ta_loader import samples
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore
from tee.abi import results
from tee.observe import Observer
from tee.world import SecureWorld
from tests.normal_world.kit import in_thread
from tests.normal_world.plugin_kit import TEST_UUID, compile_plugin
from tests.normal_world.ways import WAYS, connected, local
from tests.tas import prof
from tests.threads import eventually, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from normal_world import Session
    from normal_world.daemon.server import Server

HELLO = samples.HELLO[Arch.AARCH64]
INCREMENT, HASH, PANIC = 0, 1, 2
DIGEST = hashlib.sha256(b"abc").digest()


@pytest.fixture(params=WAYS)
def tee(
    request: pytest.FixtureRequest, daemon: tuple[str, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Context]:
    with connected(request.param, daemon[0], tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def session(tee: Context) -> Iterator[Session]:
    with tee.open_session(HELLO) as session:
        yield session


def test_values(session: Session) -> None:
    value = Value.inout(41, 7)
    assert session.invoke(INCREMENT, value) == (value,)
    assert (value.a, value.b) == (42, 7)


def test_buffers(session: Session) -> None:
    _, digest = session.invoke(HASH, b"abc", Memref.output(40))
    assert isinstance(digest, Memref)
    assert (digest.size, bytes(digest)) == (32, DIGEST)
    into = bytearray(b"\x55" * 64)
    session.invoke(HASH, Memref.input(b"xxabcxx", 2, 3), Memref.output(into, 8, 40))
    assert into == b"\x55" * 8 + DIGEST + b"\x55" * 24
    words = array.array("H", [0] * 16)
    session.invoke(HASH, b"abc", Memref.output(words))
    assert words.tobytes() == DIGEST


def test_short_buffer_tells_the_size(session: Session) -> None:
    for out in (Memref.output(3), Memref.output(0)):
        with pytest.raises(TeeError) as short:
            session.invoke(HASH, b"abc", out)
        assert (short.value.result, short.value.origin) == (results.SHORT_BUFFER, Origin.TRUSTED_APP)
        assert short.value.result.name == "TEE_ERROR_SHORT_BUFFER"
        assert (out.size, len(out.data)) == (32, out.capacity)


def test_a_null_memref(session: Session) -> None:
    nothing = Memref.output(None)
    with pytest.raises(TeeError) as short:
        session.invoke(HASH, b"abc", nothing)
    assert short.value.result == results.SHORT_BUFFER
    assert (nothing.size, bytes(nothing)) == (32, b"")


def test_shared_memory_is_not_copied(tee: Context, session: Session) -> None:
    with tee.allocate(5000) as shared:
        assert len(shared) == 5000
        shared.view[4090:4100] = b"0123456789"
        session.invoke(HASH, Memref.input(shared, 4090, 10), Memref.output(shared, 100, 32))
        assert shared.view[100:132] == hashlib.sha256(b"0123456789").digest()
        assert bytes(shared.view)[4090:4100] == b"0123456789"
    with pytest.raises(TeeError) as after:
        session.invoke(HASH, Memref.input(shared), Memref.output(32))
    assert (after.value.result, after.value.origin) == (results.BAD_STATE, Origin.API)
    shared.close()


def test_registered_memory(tee: Context, session: Session) -> None:
    mine = bytearray(b"abc" + bytes(61))
    with tee.register(mine) as shared, tee.register(b"abc") as readonly:
        session.invoke(HASH, Memref.input(shared, 0, 3), Memref.output(shared, 32))
        assert mine[32:] == DIGEST
        assert readonly.direction == Direction.INPUT
        mine[:] = bytes(64)
        session.invoke(HASH, readonly, Memref.output(shared, 0, 32))
        assert mine == DIGEST + bytes(32)
    with pytest.raises(TypeError, match="cannot write"):
        tee.register(b"abc", Direction.INOUT)
    with tee.register(bytearray()) as empty:
        assert session.invoke(HASH, Memref.input(empty), Memref.output(32))


def test_directions_are_kept(tee: Context, session: Session) -> None:
    with tee.allocate(64, Direction.INPUT) as source:
        with pytest.raises(TeeError) as refused:
            session.invoke(HASH, b"abc", Memref.output(source))
        assert refused.value.result == results.BAD_PARAMETERS
        source.view[:3] = b"abc"
        session.invoke(HASH, Memref.input(source, 0, 3), Memref.output(32))


def test_memory_of_another_context(tee: Context, session: Session, tmp_path: Path) -> None:
    with local(tmp_path / "other", samples.FOLDER, trust=samples.public_key_file()) as other:
        foreign = other.allocate(64)
        with pytest.raises(TeeError) as refused:
            session.invoke(HASH, foreign, Memref.output(32))
        assert refused.value.result == results.BAD_PARAMETERS


def test_too_much_memory(tee: Context) -> None:
    with pytest.raises(TeeError) as huge:
        tee.allocate((1 << 64) - 1)
    assert huge.value.result == results.OUT_OF_MEMORY
    with tee.allocate(0) as nothing:
        assert len(nothing.view) == 0


HUGE: dict[str, Callable[[Context], list[Any]]] = {
    "room": lambda _: [Memref.output(1 << 31)],
    "many rooms": lambda _: [Memref.output(300 << 20)] * 4,
    "input": lambda _: [Memref.input(mmap.mmap(-1, 1 << 31))],
    "inout": lambda _: [mmap.mmap(-1, 1 << 31)],
    "together": lambda _: [mmap.mmap(-1, 400 << 20), mmap.mmap(-1, 400 << 20), Memref.output(400 << 20)],
    "allocated": lambda tee: [tee.allocate(1 << 31)],
    "registered": lambda tee: [tee.register(mmap.mmap(-1, 1 << 31))],
    "most": lambda _: [Memref.output((1 << 32) - 1)],
}


def test_sizes_are_refused_before_anything_is_allocated(tee: Context, session: Session) -> None:
    for what, make in HUGE.items():
        before = peak_of_memory()
        with pytest.raises(TeeError) as huge:
            session.invoke(HASH, *make(tee))
        assert huge.value.result == results.OUT_OF_MEMORY, what
        assert peak_of_memory(reset=False) - before < 64 << 20, what
        session.invoke(HASH, b"abc", Memref.output(32))


def peak_of_memory(*, reset: bool = True) -> int:
    """Bytes of this process's memory at most, since the last reset; Linux Documentation/filesystems/proc.rst."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


def test_room_is_made_when_it_is_looked_at() -> None:
    room = Memref.output(1 << 31, 5, 100)
    assert (room.capacity, room.null, room.temporary) == (100, False, True)
    assert repr(room) == "Memref.output(+0x5, 100 of 100 bytes)"
    assert bytes(Memref.output(8)) == bytes(8)
    assert not Memref.output(0).null
    assert Memref.output(None).null


def test_much_memory_that_there_is_room_for(tmp_path: Path) -> None:
    """The limit is what a TA has addresses for, and no less."""
    with local(tmp_path / "own", samples.FOLDER, trust=samples.public_key_file()) as tee:
        with tee.open_session(HELLO) as session, tee.allocate(600 << 20) as shared:
            session.invoke(HASH, Memref.input(shared, 0, 0), Memref.output(shared, 0, 600 << 20))
            assert shared.view[:32] == hashlib.sha256(b"").digest()


def test_a_missing_ta(tee: Context) -> None:
    with pytest.raises(TeeError) as missing:
        tee.open_session("00000000-0000-0000-0000-000000000005")
    assert (missing.value.result, missing.value.origin) == (results.ITEM_NOT_FOUND, Origin.TEE)
    with pytest.raises(ValueError, match="no-such-file"):
        tee.open_session("no-such-file")


def test_a_tee_without_the_samples(tmp_path: Path) -> None:
    """A board's, for one: what to do stands in the error."""
    nothing = Loader(TaStore([], TrustStore([])))
    world = SecureWorld(linux_host(str(tmp_path / "state"), console=NullConsole()), nothing, observer=Observer())
    with in_thread(world, tmp_path) as (socket, _), Context.daemon(socket) as tee:
        with pytest.raises(TeeError, match=rf"a sample of LiteBox: install .*{HELLO}\.ta") as missing:
            tee.open_session("hello")
        assert missing.value.result == results.ITEM_NOT_FOUND
        with pytest.raises(TeeError) as other:
            tee.open_session(UUID(int=5))
        assert "sample" not in str(other.value)
    world.close()


def test_a_panic_is_told_and_a_new_session_works(tee: Context, session: Session) -> None:
    with pytest.raises(TeeError) as dead:
        session.invoke(PANIC)
    assert (dead.value.result, dead.value.origin) == (results.TARGET_DEAD, Origin.TEE)
    session.close()
    with tee.open_session(HELLO) as again:
        assert again.invoke(INCREMENT, Value.inout(1))[0].a == 2  # type: ignore[union-attr]


def test_logins(tee: Context) -> None:
    tee.open_session(HELLO, login=Login.USER).close()
    tee.open_session(HELLO, login=Login.GROUP, group=os.getegid()).close()
    with pytest.raises(TeeError):
        tee.open_session(HELLO, login=Login.GROUP, group=0x7FFFFFF0)
    for wrong in ({"login": Login.GROUP}, {"group": 5}):
        with pytest.raises(ValueError, match="group"):
            tee.open_session(HELLO, **wrong)


def test_after_close(tee: Context, session: Session) -> None:
    session.close()
    session.close()
    with pytest.raises(TeeError) as gone:
        session.invoke(INCREMENT)
    assert (gone.value.result, gone.value.origin) == (results.BAD_STATE, Origin.API)
    left = tee.open_session(HELLO)
    tee.close()
    tee.close()
    for use in (lambda: left.invoke(INCREMENT), lambda: tee.open_session(HELLO), lambda: tee.allocate(1)):
        with pytest.raises(TeeError) as closed:
            use()
        assert (closed.value.result, closed.value.origin) == (results.BAD_STATE, Origin.API)


def lose(make: Callable[[], object], what: str) -> None:
    """Make something and let go of it."""

    def drop() -> None:
        make()
        gc.collect()

    with pytest.warns(ResourceWarning, match=what):
        drop()


def test_leaks_are_warned_of_and_closed(daemon: tuple[str, Server]) -> None:
    with Context.daemon(daemon[0]) as tee:
        lose(lambda: tee.open_session(HELLO), "Session")
        (context,) = daemon[1].contexts.copy().values()
        assert len(context.sessions) == 1
        lose(lambda: tee.allocate(100), "shared memory")
        assert (len(context.sessions), len(context.objects)) == (0, 1)
        with tee.allocate(1):
            assert len(context.objects) == 1
        lose(lambda: Context.daemon(daemon[0]), "Context")


def test_no_warning_when_all_is_closed(tee: Context) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left = tee.open_session(HELLO)
        shared = tee.allocate(10)
        tee.close()
        del left, shared
        gc.collect()


def test_many_threads(tee: Context) -> None:
    def work(number: int) -> None:
        with tee.open_session(HELLO) as session:
            for turn in range(30):
                data = f"{number} {turn}".encode()
                _, digest = session.invoke(HASH, data, Memref.output(32))
                assert bytes(digest or b"") == hashlib.sha256(data).digest()  # type: ignore[arg-type]

    together(work, range(6))


def test_an_operation_cancelled_before_its_call(session: Session) -> None:
    operation = Operation()
    operation.cancel()
    with pytest.raises(TeeError) as cancelled:
        session.invoke(INCREMENT, operation=operation)
    assert (cancelled.value.result, cancelled.value.origin) == (results.CANCEL, Origin.API)
    with pytest.raises(TeeError) as used:
        session.invoke(INCREMENT, operation=operation)
    assert used.value.result == results.BAD_STATE


@pytest.mark.parametrize("tee", ["local", "daemon"], indirect=True)
def test_a_child_process_is_told(tee: Context, session: Session) -> None:
    """A fork has neither the threads nor the connections of its parent. One of the kernel's driver shares its file."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            session.invoke(INCREMENT, Value.inout())
        except TeeError as told:
            os.write(write, told.result.name.encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"TEE_ERROR_BAD_STATE"
    os.close(read)
    assert session.invoke(INCREMENT, Value.inout(1))[0].a == 2  # type: ignore[union-attr]


def test_the_daemon_is_gone(daemon: tuple[str, Server], tmp_path: Path) -> None:
    with pytest.raises(TeeError) as nobody:
        Context.daemon(str(tmp_path / "nobody"))
    assert (nobody.value.result, nobody.value.origin) == (results.ITEM_NOT_FOUND, Origin.API)
    assert "litebox-ta serve" in nobody.value.detail
    tee = Context.daemon(daemon[0])
    session = tee.open_session(HELLO)
    shared = tee.allocate(10)
    for connection in list(daemon[1].connections):
        connection.socket.shutdown(2)
    assert eventually(lambda: not daemon[1].connections)
    with pytest.raises(TeeError) as gone:
        session.invoke(INCREMENT)
    assert (gone.value.result, gone.value.origin) == (results.COMMUNICATION, Origin.COMMS)
    shared.close()
    session.close()
    tee.close()
    with Context.daemon(daemon[0]) as again, again.open_session(HELLO) as session:
        value = Value.inout(1)
        session.invoke(INCREMENT, value)
        assert value.a == 2


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (5, Kind.VALUE_INPUT),
        ((5, 6), Kind.VALUE_INPUT),
        (b"a", Kind.MEMREF_INPUT),
        (bytearray(1), Kind.MEMREF_INOUT),
        (memoryview(b"a"), Kind.MEMREF_INPUT),
    ],
)
def test_plain_python_is_typed(given: object, kind: Kind) -> None:
    from normal_world.params import as_param

    param = as_param(given)
    assert param is not None
    assert param.kind == kind


def test_what_is_no_parameter(session: Session) -> None:
    with pytest.raises(TypeError, match="no parameter"):
        session.invoke(INCREMENT, "text")
    with pytest.raises(TypeError, match="4 parameters"):
        session.invoke(INCREMENT, 1, 2, 3, 4, 5)
    with pytest.raises(TypeError, match="cannot write"):
        Memref.output(b"abc")
    for wrong in (lambda: Value.input(-1), lambda: Value.input(1 << 32), lambda: Memref.input(b"abc", 4),
                  lambda: Memref.input(b"abc", 1, 3), lambda: Memref.input(b"abc", -1)):  # fmt: skip
        with pytest.raises(ValueError, match=r"\d"):
            wrong()


def test_a_uuid_object_names_a_ta(tee: Context) -> None:
    with tee.open_session(UUID(str(HELLO))) as session:
        assert session.uuid == HELLO


def test_what_is_left_open_is_told(tee: Context, session: Session) -> None:
    with tee.open_session(HELLO), tee.allocate(7):
        assert tee.leaks() == ["7 bytes of shared memory are open", *[f"a session to {HELLO} is open"] * 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        tee.register(bytes(9))
        gc.collect()
    session.close()
    assert tee.leaks() == ["9 bytes of shared memory were lost without a close"]


def test_plugins_of_a_tee_in_this_process(tmp_path: Path) -> None:
    """They start when a TA first calls one, and end with the context; a folder that is not there is told at once."""
    with pytest.raises(TeeError, match=r"plugin_dirs: .*no such folder") as missing:
        Context(plugin_dirs=[tmp_path / "nowhere"])
    assert (missing.value.result, missing.value.origin) == (results.BAD_PARAMETERS, Origin.API)
    compile_plugin(tmp_path / "plugins")
    tee = Context(plugin_dirs=[tmp_path / "plugins"], state=tmp_path / "state")
    assert isinstance(tee.way, Local)
    plugins = tee.way._supplicant.plugins
    assert isinstance(plugins, HostPlugins)
    assert TEST_UUID in plugins.uuids
    [plugin] = plugins._started
    tee.close()
    assert plugin._process.poll() == 0


def test_address_spaces_of_a_context(tmp_path: Path) -> None:
    for kind, window in (("board", True), ("wide", False)):
        log: list[str] = []
        with (
            Context(
                ta_dirs=[samples.FOLDER],
                trust=[samples.public_key_file()],
                state=tmp_path,
                address_space=kind,
                log=log.append,
            ) as tee,
            tee.open_session(HELLO) as session,
            pytest.raises(TeeError),
        ):
            session.invoke(PANIC, 1)
        places = [int(place, 16) for place in re.findall(r"^    (0x[0-9a-f]+)-0x", "".join(log), re.MULTILINE)]
        assert len(places) > 3
        assert all(0x4000_0000 <= place < 0x8000_0000 for place in places) is window
    with pytest.raises(ValueError, match="'huge' is none of board, wide"):
        Context(address_space="huge")


def test_profiles_of_a_context(tmp_path: Path) -> None:
    uuid = prof.UUIDS[Arch.AARCH64]
    options = {"ta_dirs": [prof.HERE], "trust": [samples.public_key_file()], "state": tmp_path / "state"}
    with Context(**options, profile_dir=tmp_path / "out") as tee, tee.open_session(uuid) as session:
        session.invoke(prof.GPROF, Value.inout(1000, 0))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"ftrace-{uuid}.out", f"gmon-{uuid}.out"]
