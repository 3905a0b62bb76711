"""What a TA can do with its own code: it ends alone, frees what it held, and can be opened again."""

from __future__ import annotations

import gc
import os
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from north.account import HANDLE
from south.engine.unicorn import UnicornCpu
from south.platform import PAGE, Arch, Prot
from ta_loader import samples
from ta_loader.machines import TA_ARCHES
from tee.abi.pta_system import PTA_SYSTEM_UUID, SystemCommand
from tee.abi.results import CANCEL, OUT_OF_MEMORY, SUCCESS, Origin
from tee.activity import Cancellation
from tee.limits import Limits
from tee.params import Kind, Memref, Value
from tests.hostile.kit import (
    CELL_AT,
    DIED,
    FINE,
    NO_TIMEOUT,
    ORIGIN_AT,
    PARAMS_AT,
    SCRATCH,
    UNANSWERED,
    UUID_AT,
    Bystander,
    Crashes,
    Driver,
    Hello,
    RawCall,
    increments,
    invoke_from_ta,
    make_world,
    open_from_ta,
    open_ta,
)
from tests.tas import cryptdrv
from tests.threads import PATIENCE, together

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tee.params import Param

MISDEEDS: dict[str, tuple[int, Callable[[], list[Param]], str]] = {
    "spins": (Hello.SPIN, list, "limit"),
    "overflows its stack": (Hello.RECURSE, list, "fault"),
    "executes data": (Hello.EXECUTE_DATA, list, "fault"),
    "panics": (Hello.PANIC, lambda: [Value(Kind.VALUE_INPUT, 0xBAD)], "panic"),
    "writes to NULL": (Hello.WRITE_BYTE, lambda: [Value(Kind.VALUE_INPUT, 0), Value(Kind.VALUE_INPUT, 1)], "fault"),
    "reads high memory": (
        Hello.READ_BYTE,
        lambda: [Value(Kind.VALUE_INPUT, 0xFFFFF000, 0xFFFF8000), Value(Kind.VALUE_OUTPUT)],
        "fault",
    ),
}
ROUNDS = 100
arches = pytest.mark.parametrize("arch", TA_ARCHES, ids=lambda a: a.value)


def rss() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def open_cpus(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Identities of CPUs that were made and not closed yet."""
    cpus: set[int] = set()
    make, close = UnicornCpu.__init__, UnicornCpu.close

    def made(self: UnicornCpu, *args: object) -> None:
        make(self, *args)  # type: ignore[arg-type]
        cpus.add(id(self))

    def closed(self: UnicornCpu) -> None:
        close(self)
        cpus.discard(id(self))

    monkeypatch.setattr(UnicornCpu, "__init__", made)
    monkeypatch.setattr(UnicornCpu, "close", closed)
    return cpus


@arches
@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_dies_alone(tmp_path: Path, arch: Arch, misdeed: str) -> None:
    command, params, kind = MISDEEDS[misdeed]
    crashes = Crashes()
    with make_world(tmp_path, limits=Limits(call_seconds=1.0), observer=crashes) as world, Bystander(world, arch) as by:
        for _ in range(3):
            session = open_ta(world, samples.HELLO[arch])
            start = time.monotonic()
            assert world.invoke(session, command, params()) == DIED
            assert time.monotonic() - start < PATIENCE
            assert crashes.last().kind == kind
            assert crashes.last().registers["pc"] is not None
            assert world.invoke(session, Hello.EMPTY) == DIED
            world.close_session(session)
        assert by.longest < 1
    assert len(crashes.seen) == 3


@arches
def test_a_panic_in_the_middle_of_many_neighbours(tmp_path: Path, arch: Arch) -> None:
    with make_world(tmp_path) as world:
        sessions = [open_ta(world, samples.HELLO[a]) for a in (arch, *samples.HELLO, arch)]
        victim = sessions.pop(0)
        assert world.invoke(victim, Hello.PANIC, [Value(Kind.VALUE_INPUT, 1)]) == DIED
        for session in sessions:
            increments(world, session)


@arches
def test_memory_comes_back(tmp_path: Path, arch: Arch, open_cpus: set[int]) -> None:
    """A hundred instances that filled their memory and died leave nothing behind."""
    limits = Limits(memory=4 << 20)
    with make_world(tmp_path, limits=limits) as world:

        def once() -> None:
            driver = Driver(world, arch)
            fill_memory(driver)
            assert driver.batch([RawCall(2, (7,))])[0] == DIED
            driver.close()

        for _ in range(10):
            once()
        gc.collect()
        before = rss()
        for _ in range(ROUNDS):
            once()
        gc.collect()
        assert rss() - before < 16 << 20
        assert not open_cpus
        assert not world._sessions


def fill_memory(driver: Driver) -> int:
    """Map and touch zero-initialised memory until it is refused; bytes got."""
    result, session = open_from_ta(driver, PTA_SYSTEM_UUID)
    assert not result
    got = 0
    for size in (1 << 20, 1 << 16, PAGE):
        while True:
            answer = invoke_from_ta(driver, session, SystemCommand.MAP_ZI, 0x131, size, 0, 0, 0, 0, 0)
            if answer:
                assert answer == OUT_OF_MEMORY
                break
            got += size
            va = driver.word(PARAMS_AT + 24) << 32 | driver.word(PARAMS_AT + 32)
            pokes = [RawCall(cryptdrv.RAW_POKE, (va + at, 1)) for at in range(0, size, 64 * PAGE)]
            assert driver.batch(pokes)[0] == FINE
    return got


@arches
def test_memory_is_limited(tmp_path: Path, arch: Arch) -> None:
    limits = Limits(memory=8 << 20)
    with make_world(tmp_path, limits=limits) as world, Bystander(world, arch):
        driver = Driver(world, arch)
        own = driver.instance.space.used
        room = (limits.memory - own - HANDLE) // PAGE * PAGE  # the session with the PTA counts, too
        assert fill_memory(driver) == room
        assert driver.instance.space.used == own + HANDLE + room
        # Full, but alive: calls that need no memory of it work, and so do others' instances.
        assert not driver.one(33, 0, 16, scratch=(0,))
        again = Driver(world, arch)
        assert fill_memory(again) == room
        again.close()
        driver.close()


@arches
def test_an_unmapped_range_can_be_mapped_again(tmp_path: Path, arch: Arch) -> None:
    with make_world(tmp_path, limits=Limits(memory=4 << 20)) as world:
        driver = Driver(world, arch)
        _, session = open_from_ta(driver, PTA_SYSTEM_UUID)
        for _ in range(300):
            assert not invoke_from_ta(driver, session, SystemCommand.MAP_ZI, 0x131, 1 << 20, 0, 0, 0, 0, 0)
            high, low = driver.word(PARAMS_AT + 24), driver.word(PARAMS_AT + 32)
            assert driver.batch([RawCall(cryptdrv.RAW_POKE, (high << 32 | low, 1))])[0] == FINE
            assert not invoke_from_ta(driver, session, SystemCommand.UNMAP, 0x11, 1 << 20, 0, high, low)
        used = driver.instance.space.used
        assert used < 1 << 20


@arches
def test_handles_are_limited(tmp_path: Path, arch: Arch) -> None:
    with make_world(tmp_path, limits=Limits(handles=100)) as world, Bystander(world, arch):
        session = open_ta(world, samples.HELLO[arch])
        out = Value(Kind.VALUE_OUTPUT)
        assert world.invoke(session, Hello.EXHAUST_HANDLES, [out]) == FINE
        assert (out.a, out.b) == (100, OUT_OF_MEMORY)
        increments(world, session)
        other = open_ta(world, samples.HELLO[arch])
        assert world.invoke(other, Hello.EXHAUST_HANDLES, [out]) == FINE
        assert out.a == 100


@arches
def test_objects_are_limited(tmp_path: Path, arch: Arch) -> None:
    with make_world(tmp_path, limits=Limits(handles=100)) as world:
        driver = Driver(world, arch)
        outcome, results = driver.batch([RawCall(27, (0xA0000010, 256, 0), frozenset((2,)))] * 200)
        assert outcome == FINE
        assert results[:100] == [SUCCESS] * 100
        assert set(results[100:]) == {OUT_OF_MEMORY}


@arches
def test_sessions_of_a_ta_are_limited(tmp_path: Path, arch: Arch, open_cpus: set[int]) -> None:
    with make_world(tmp_path, limits=Limits(sessions=20)) as world:
        driver = Driver(world, arch)
        for uuid in (PTA_SYSTEM_UUID, samples.HELLO[arch]):
            opened = [open_from_ta(driver, uuid)[0] for _ in range(15)]
            assert not opened[0] or uuid != PTA_SYSTEM_UUID
        assert opened[-1] == OUT_OF_MEMORY
        assert len(driver.instance.sessions) == 20
        driver.close()
    assert not open_cpus


@arches
def test_nested_calls_are_limited(tmp_path: Path, arch: Arch) -> None:
    """Each instance opens the next from within a call of the one before; the fifth is refused a sixth."""
    levels = 8
    with make_world(tmp_path, limits=Limits(depth=5)) as world, Bystander(world, arch):
        driver = Driver(world, arch)
        result, first = open_from_ta(driver, cryptdrv.UUIDS[arch])  # numbers are handed out in order
        assert not result
        assert not driver.one(6, first)
        driver.put(PARAMS_AT, bytes(72))
        for level in range(levels):
            block, params, below = (0x400 * (level + 1), 0x400 * (level + 1) + 0x300, 0x400 * (level + 2))
            types = struct.pack("<9Q", 0x77, 0, 4 * cryptdrv.RAW_SIZE, 0, SCRATCH, 0, 0, 0, 0)
            calls = (
                RawCall(5, (UUID_AT, NO_TIMEOUT, PARAMS_AT, CELL_AT, ORIGIN_AT), frozenset((0, 2, 3, 4))),
                RawCall(cryptdrv.RAW_POKE, (params + 8, below), frozenset((0, 1))),
                RawCall(cryptdrv.RAW_POKE, (params + 24, 0), frozenset((0, 1))),
                RawCall(7, (first + level + 1, NO_TIMEOUT, cryptdrv.CMD_RAW, params, ORIGIN_AT), frozenset((3, 4))),
            )
            if level:
                driver.put(block, b"".join(call.record() for call in calls))
            else:
                top = calls
            driver.put(params, types)
        outcome, results = driver.batch(top)
        assert outcome == FINE
        opened = [results[0]]
        for level in range(1, levels):
            records = bytes(driver.scratch.view(0x400 * (level + 1), 4 * cryptdrv.RAW_SIZE))
            opened.append(cryptdrv.raw_result(records))
        assert opened == [SUCCESS] * 4 + [OUT_OF_MEMORY] + [UNANSWERED] * 3


@arches
def test_calls_into_one_instance_take_turns(tmp_path: Path, arch: Arch) -> None:
    """The normal world cannot enter an instance twice: the second call waits, and gets its turn."""
    with make_world(tmp_path) as world:
        session = open_ta(world, samples.HELLO[arch])
        values = [Value(Kind.VALUE_INOUT, n) for n in range(8)]
        together(lambda value: world.invoke(session, Hello.INCREMENT, [value]), values, seconds=10)
        assert [v.a for v in values] == list(range(1, 9))


@arches
def test_a_wait_is_cancelled_from_another_thread(tmp_path: Path, arch: Arch) -> None:
    with make_world(tmp_path) as world, Bystander(world, arch):
        driver = Driver(world, arch)
        cancellation = Cancellation()
        records = [RawCall(10, (0,), frozenset((0,))), RawCall(12, (60_000,))]
        pages = world.platform.pages.shared(PAGE)
        data = b"".join(r.record() for r in records)
        pages.view(0, len(data))[:] = data
        params = [Memref(Kind.MEMREF_INOUT, pages, len(data)), Memref(Kind.MEMREF_INOUT, driver.scratch, PAGE)]
        timer = threading.Timer(0.1, cancellation.request)
        timer.start()
        start = time.monotonic()
        outcome = world.invoke(driver.session, cryptdrv.CMD_RAW, params, cancellation=cancellation)
        assert 0.05 < time.monotonic() - start < 55
        assert outcome == FINE
        assert cryptdrv.raw_result(bytes(pages.view(0, len(data))), 1) == CANCEL
        assert not driver.one(12, 1)


@arches
def test_a_wait_ends_with_the_call_it_is_in(tmp_path: Path, arch: Arch) -> None:
    crashes = Crashes()
    with make_world(tmp_path, limits=Limits(call_seconds=1.0), observer=crashes) as world, Bystander(world, arch):
        driver = Driver(world, arch)
        start = time.monotonic()
        assert driver.batch([RawCall(12, (NO_TIMEOUT,))])[0] == DIED
        assert time.monotonic() - start < PATIENCE
        assert crashes.last().kind == "limit"


@arches
def test_a_deadline_does_not_outlive_its_call(tmp_path: Path, arch: Arch) -> None:
    """Calls that end about when their time does never cost the next one its life."""
    limit = 0.3
    with make_world(tmp_path, limits=Limits(call_seconds=limit)) as world:
        session = open_ta(world, samples.HELLO[arch])
        loops = 1_000_000
        for _ in range(16):
            start = time.monotonic()
            if world.invoke(session, Hello.BARE_LOOP, [Value(Kind.VALUE_INPUT, loops)]) == DIED:
                world.close_session(session)
                session = open_ta(world, samples.HELLO[arch])
                loops = loops * 9 // 10
            else:
                loops = min(int(loops * limit / (time.monotonic() - start)), loops * 2)
            assert world.invoke(session, Hello.EMPTY) == FINE


@arches
def test_a_flood_of_log_text_is_thinned(tmp_path: Path, arch: Arch) -> None:
    class Count:
        size = 0
        told = False

        def write(self, text: str) -> None:
            self.size += len(text)
            self.told |= "dropped" in text

    console = Count()
    with make_world(tmp_path, limits=Limits(log_rate=100), console=console) as world, Bystander(world, arch):
        driver = Driver(world, arch)
        driver.put(0, b"x" * 999 + b"\n")
        start = time.monotonic()
        for _ in range(20):
            assert driver.batch([RawCall(1, (0, 1000), frozenset((0,)))] * 250)[0] == FINE
        took = time.monotonic() - start
        assert console.told
        assert 200 * 1000 <= console.size < 100 * 1000 * (2 + took) + 20 * 100
        assert not driver.one(12, 50)
        before = console.size
        driver.one(1, 0, 1000, scratch=(0,))
        assert console.size == before + 1000


@arches
def test_log_text_beyond_the_buffer_is_not_lost(tmp_path: Path, arch: Arch) -> None:
    """More in one call than C keeps, within the rate: all of it comes out, in order."""
    texts: list[str] = []

    class Keep:
        write = staticmethod(texts.append)

    with make_world(tmp_path, console=Keep()) as world:
        driver = Driver(world, arch)
        lines = [f"{i:03}{'y' * 900}\n" for i in range(200)]
        for start in range(0, len(lines), 16):
            driver.put(0, b"".join(line.encode().ljust(1000, b"\0") for line in lines[start : start + 16]))
            calls = [RawCall(1, (1000 * i, 1000), frozenset((0,))) for i in range(len(lines[start : start + 16]))]
            assert driver.batch(calls * 10)[0] == FINE
    assert "".join(texts) == "".join("".join(lines[at : at + 16]) * 10 for at in range(0, len(lines), 16))


@arches
def test_wild_jumps(tmp_path: Path, arch: Arch) -> None:
    """The TA overwrites its own stack, return addresses among it, with wild words."""
    crashes = Crashes()
    with make_world(tmp_path, limits=Limits(call_seconds=1.0), observer=crashes) as world, Bystander(world, arch):
        driver = Driver(world, arch)
        for step in range(40):
            stack = next(r for r in driver.instance.space if r.name == "stack")
            code = next(r for r in driver.instance.space if r.prot & Prot.X)
            targets = (0, 4, code.va + 1 + 4 * step, stack.va, code.end - 4, 0xFFFFFFFC, (1 << 64) - 4)
            target = targets[step % len(targets)]
            pokes = [
                RawCall(
                    cryptdrv.RAW_POKE,
                    (stack.end - at, target << 32 | target & 0xFFFFFFFF if arch is Arch.ARM else target),
                )
                for at in range(8 * (1 + step % 3), 0x400, 8)
            ]
            outcome, _ = driver.batch(pokes)
            assert outcome == DIED or outcome.origin == Origin.TRUSTED_APP
            driver.reopen()
        assert len(crashes.seen) > 10


@arches
def test_code_cannot_be_written(tmp_path: Path, arch: Arch) -> None:
    with make_world(tmp_path) as world:
        for _ in range(2):
            driver = Driver(world, arch)
            code = next(r for r in driver.instance.space if r.prot & Prot.X)
            before = driver.instance.space.read(code.va, code.size)
            assert driver.one(33, code.va, 64)  # random bytes into it
            assert driver.instance.space.read(code.va, code.size) == before
            assert driver.batch([RawCall(cryptdrv.RAW_POKE, (code.va, 0))])[0] == DIED
            driver.close()


def test_a_world_too_small_for_a_ta(tmp_path: Path) -> None:
    with make_world(tmp_path, limits=Limits(memory=PAGE)) as world:
        for arch in TA_ARCHES:
            opened = world.open_session(samples.HELLO[arch])
            assert (opened.session, opened.result, opened.origin) == (0, OUT_OF_MEMORY, Origin.TEE)
