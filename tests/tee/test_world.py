"""Sessions, instances and their rules, with the sample TA under the flags each case needs."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from south.linux_host import linux_host
from south.linux_host.host import NullConsole
from south.platform import Arch
from ta_loader import samples
from ta_loader.machines import TA_ARCHES
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore
from tee.abi import results
from tee.abi.pta_uuids import PTA_SYSTEM_UUID
from tee.abi.results import Origin
from tee.abi.ta_head import (
    TA_FLAG_INSTANCE_KEEP_ALIVE,
    TA_FLAG_INSTANCE_KEEP_CRASHED,
    TA_FLAG_MULTI_SESSION,
    TA_FLAG_SINGLE_INSTANCE,
)
from tee.errors import TeeError
from tee.limits import Limits
from tee.observe import Observer
from tee.params import Kind, Memref, Value
from tee.records import CallRecord, Crash
from tee.session import LOGIN_TRUSTED_APP
from tee.world import Client, SecureWorld
from tests.threads import PATIENCE, together

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from north.memory import AddressSpace
    from ta_loader.image import TaImage
    from tee.ports import Program
    from tee.pta.registry import Registry

INCREMENT, HASH, PANIC, LOG, SPIN, EMPTY, READ_BYTE, COUNT = 0, 1, 2, 5, 6, 7, 16, 18
ONE = TA_FLAG_SINGLE_INSTANCE
SHARED = ONE | TA_FLAG_MULTI_SESSION
ALIVE = SHARED | TA_FLAG_INSTANCE_KEEP_ALIVE


class Flagged:
    """An image with other flags than its head has."""

    def __init__(self, image: TaImage, flags: int) -> None:
        self._image = image
        self.flags = flags
        self.uuid, self.arch, self.stack_size = image.uuid, image.arch, image.stack_size
        self.version, self.digest = image.version, image.digest

    def link(self, space: AddressSpace) -> Program:
        return self._image.link(space)


class Source:
    def __init__(self) -> None:
        self.flags = 0
        self.found = 0
        self._loader = Loader(TaStore([samples.FOLDER], TrustStore([samples.public_key_file()])))

    def find(self, uuid: UUID) -> Flagged:
        self.found += 1
        return Flagged(self._loader.find(uuid), self.flags)

    def digest(self, uuid: UUID) -> bytes:
        return self._loader.digest(uuid)


class Watcher(Observer):
    def __init__(self, tracing: bool = False) -> None:
        self.tracing = tracing
        self.calls: list[CallRecord] = []
        self.crashes: list[Crash] = []
        self.text = ""

    def on_call(self, record: CallRecord) -> None:
        self.calls.append(record)

    def on_crash(self, crash: Crash) -> None:
        self.crashes.append(crash)

    def on_log(self, uuid: UUID, text: str) -> None:
        self.text += text


class Kit:
    """A world with the sample TA of one architecture."""

    def __init__(self, state: Path, arch: Arch, limits: Limits | None = None, tracing: bool = False) -> None:
        self.source = Source()
        self.watcher = Watcher(tracing)
        self.platform = linux_host(str(state), console=NullConsole())
        self.world = SecureWorld(self.platform, self.source, limits=limits, observer=self.watcher)
        self.uuid = samples.HELLO[arch]

    def open(self) -> int:
        opened = self.world.open_session(self.uuid)
        assert opened.result == results.SUCCESS
        return opened.session

    def panic(self, session: int) -> None:
        outcome = self.world.invoke(session, PANIC, [Value(Kind.VALUE_INPUT, 0x42)])
        assert outcome == (results.TARGET_DEAD, Origin.TEE)


@pytest.fixture(params=TA_ARCHES, ids=lambda a: a.value)
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kit]:
    made = Kit(tmp_path, request.param)
    yield made
    made.world.close()


def test_values_and_memrefs_go_in_and_come_back(kit: Kit) -> None:
    session = kit.open()
    value = Value(Kind.VALUE_INOUT, 41, 7)
    assert kit.world.invoke(session, INCREMENT, [value]) == (results.SUCCESS, Origin.TRUSTED_APP)
    assert (value.a, value.b) == (42, 7)
    data, out = kit.platform.pages.shared(4096), kit.platform.pages.shared(4096)
    data.view(100, 3)[:] = b"abc"
    digest = Memref(Kind.MEMREF_OUTPUT, out, 4000, offset=96)
    assert not kit.world.invoke(session, HASH, [Memref(Kind.MEMREF_INPUT, data, 3, offset=100), digest]).result
    assert digest.size == 32
    assert bytes(out.view(96, 4)).hex() == "ba7816bf"
    digest.size = 31
    outcome = kit.world.invoke(session, HASH, [Memref(Kind.MEMREF_INPUT, data, 3, offset=100), digest])
    assert outcome == (results.SHORT_BUFFER, Origin.TRUSTED_APP)
    assert digest.size == 32


def test_sessions_that_do_not_exist(kit: Kit) -> None:
    assert kit.world.invoke(77, EMPTY) == (results.BAD_PARAMETERS, Origin.TEE)
    with pytest.raises(TeeError) as error:
        kit.world.close_session(77)
    assert error.value.result == results.ITEM_NOT_FOUND
    assert kit.world.open_session(UUID(int=5)) == (0, results.ITEM_NOT_FOUND, Origin.TEE)


def test_nobody_outside_is_a_trusted_application(kit: Kit) -> None:
    client = Client(LOGIN_TRUSTED_APP, kit.uuid)
    assert kit.world.open_session(kit.uuid, client=client).result == results.ACCESS_DENIED


def test_without_flags_each_session_is_an_instance(kit: Kit) -> None:
    first, second = kit.open(), kit.open()
    kit.panic(first)
    assert not kit.world.invoke(second, EMPTY).result
    assert kit.world.invoke(first, EMPTY) == (results.TARGET_DEAD, Origin.TEE)
    kit.world.close_session(first)
    assert kit.world.instances == 0


def test_a_single_instance_takes_one_session_unless_it_takes_many(kit: Kit) -> None:
    kit.source.flags = ONE
    session = kit.open()
    assert kit.world.open_session(kit.uuid) == (0, results.BUSY, Origin.TEE)
    kit.world.close_session(session)
    kit.source.flags = SHARED
    first, second = kit.open(), kit.open()
    assert kit.world.instances == 1
    kit.panic(first)
    assert kit.world.invoke(second, EMPTY).result == results.TARGET_DEAD
    third = kit.open()  # a new instance: the crashed one is forgotten
    assert not kit.world.invoke(third, EMPTY).result


def test_keep_alive_and_keep_crashed(kit: Kit) -> None:
    kit.source.flags = ALIVE
    kit.world.close_session(kit.open())
    assert kit.world.instances == 1
    found = kit.source.found
    session = kit.open()
    assert kit.source.found == found
    kit.panic(session)
    kit.world.close_session(session)
    kit.source.flags = ALIVE | TA_FLAG_INSTANCE_KEEP_CRASHED
    session = kit.open()
    kit.panic(session)
    kit.world.close_session(session)
    assert kit.world.open_session(kit.uuid).result == results.TARGET_DEAD


def test_calls_into_one_instance_wait_for_each_other(kit: Kit) -> None:
    kit.source.flags = SHARED
    sessions = [kit.open() for _ in range(4)]
    value = [Value(Kind.VALUE_INOUT, 0) for _ in sessions]

    def work(i: int) -> None:
        for _ in range(200):
            assert not kit.world.invoke(sessions[i], INCREMENT, [value[i]]).result

    together(work, range(4))
    assert [v.a for v in value] == [200] * 4


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_a_call_that_takes_too_long_is_stopped(tmp_path: Path, arch: Arch) -> None:
    kit = Kit(tmp_path, arch, Limits(call_seconds=1.0))
    session, other = kit.open(), kit.open()
    start = time.monotonic()
    assert kit.world.invoke(session, SPIN).result == results.TARGET_DEAD
    assert time.monotonic() - start < PATIENCE
    assert kit.watcher.crashes[0].kind == "limit"
    assert not kit.world.invoke(other, EMPTY).result
    kit.world.close()


def test_a_crash_report_has_registers_regions_and_a_call_stack(kit: Kit) -> None:
    kit.panic(kit.open())
    (crash,) = kit.watcher.crashes
    assert (crash.kind, crash.code, crash.uuid) == ("panic", 0x42, kit.uuid)
    assert [frame.function for frame in crash.backtrace][-1] == "__ta_entry"
    assert any(r.prot == "r-x" and r.va <= crash.registers["pc"] < r.va + r.size for r in crash.regions)


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_tracing_sees_calls_answered_in_c_and_in_python(tmp_path: Path, arch: Arch) -> None:
    kit = Kit(tmp_path, arch, tracing=True)
    session = kit.open()
    page = kit.platform.pages.shared(4096)
    kit.world.invoke(session, HASH, [Memref(Kind.MEMREF_INPUT, page, 3), Memref(Kind.MEMREF_OUTPUT, page, 32)])
    names = {record.call.name: record.native for record in kit.watcher.calls if record.call}
    assert names["hash_update"]
    assert not names["hash_init"]
    kit.world.close()


def test_logs_reach_the_observer(kit: Kit) -> None:
    page = kit.platform.pages.shared(4096)
    page.view(0, 5)[:] = b"hello"
    kit.world.invoke(kit.open(), LOG, [Memref(Kind.MEMREF_INPUT, page, 5)])
    assert kit.watcher.text == "hello\n"


def test_memory_of_a_closed_session_is_free_again(kit: Kit) -> None:
    """Far more opens than address space or arenas would allow if anything stayed."""
    for _ in range(40):
        kit.world.close_session(kit.open())
        session = kit.open()
        kit.panic(session)
        kit.world.close_session(session)
    assert kit.world.instances == 0


def test_two_instances_sharing_memory_take_turns_and_end(kit: Kit) -> None:
    shared = kit.platform.pages.shared(4096)
    sessions = [kit.open(), kit.open()]

    def count(session: int) -> None:
        ref = Memref(Kind.MEMREF_INOUT, shared, 4096)
        outcome = kit.world.invoke(session, COUNT, [Value(Kind.VALUE_INPUT, 300_000), ref])
        assert not outcome.result

    together(count, sessions, seconds=30)
    assert int.from_bytes(shared.view(0, 4), "little") == 600_000


def test_memory_that_a_client_gives_up_is_forgotten(kit: Kit) -> None:
    session = kit.open()
    (instance,) = kit.world.alive()

    def mappings() -> int:
        with open("/proc/self/maps") as file:
            return sum("litebox-shm" in line for line in file)

    before = mappings(), len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        pages = kit.platform.pages.shared(4096)
        assert not kit.world.invoke(session, EMPTY, [Memref(Kind.MEMREF_INOUT, pages, 4096)]).result
        kit.world.forget(pages)
        assert not instance._known._kept
    del pages
    assert (mappings(), len(os.listdir("/proc/self/fd"))) == before


def test_memory_given_up_during_a_call_is_forgotten_when_it_ends(kit: Kit) -> None:
    session = kit.open()
    (instance,) = kit.world.alive()
    pages = kit.platform.pages.shared(4096)
    assert not kit.world.invoke(session, EMPTY, [Memref(Kind.MEMREF_INOUT, pages, 4096)]).result
    with instance._known.gate:  # as if a call were inside
        kit.world.forget(pages)
        assert instance._known._kept
    assert not kit.world.invoke(session, EMPTY).result
    assert not instance._known._kept


def test_what_a_call_offered_is_out_of_reach_in_the_next(kit: Kit) -> None:
    session = kit.open()
    (instance,) = kit.world.alive()
    pages = kit.platform.pages.shared(4096)
    ref = Memref(Kind.MEMREF_INOUT, pages, 4096)
    assert not kit.world.invoke(session, EMPTY, [ref]).result
    (place,) = {region.va for region in instance.space if region.name == "param"}
    assert not kit.world.invoke(session, EMPTY, [ref]).result
    assert [region.va for region in instance.space if region.name == "param"] == [place], "it was not taken over"
    assert not kit.world.invoke(session, EMPTY, [None, Memref(Kind.MEMREF_INOUT, pages, 1)]).result
    (other,) = {region.va for region in instance.space if region.name == "param"}
    assert other != place
    where = Value(Kind.VALUE_INPUT, other & 0xFFFFFFFF, other >> 32)
    outcome = kit.world.invoke(session, READ_BYTE, [where, Value(Kind.VALUE_OUTPUT)])
    assert outcome == (results.TARGET_DEAD, Origin.TEE)
    kit.world.forget(pages)


def test_memory_left_mapped_goes_with_a_ta_that_dies(kit: Kit) -> None:
    session = kit.open()
    (instance,) = kit.world.alive()
    pages = kit.platform.pages.shared(4096)
    assert not kit.world.invoke(session, EMPTY, [Memref(Kind.MEMREF_INOUT, pages, 4096)]).result
    kit.world.close_session(session)
    assert not instance._known._kept
    assert not instance._known.places.holds(pages)
    instance.forget(pages)


def test_pseudo_tas_are_made_once(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have state: two threads that open the first sessions at the same moment must find the same one."""
    from tee.pta import standard as made_by

    begun = threading.Barrier(2)
    real = made_by.standard

    def slow(world: SecureWorld) -> Registry:
        time.sleep(0.05)
        return real(world)

    monkeypatch.setattr(made_by, "standard", slow)
    found: list[object] = []

    def find(_: int) -> None:
        begun.wait(5)
        found.append(kit.world.find_pta(PTA_SYSTEM_UUID))

    together(find, range(2), seconds=10)
    assert len(found) == 2
    assert found[0] is found[1] is not None
