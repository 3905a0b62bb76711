"""What a TA can do with its own code: each way to misbehave ends it alone, frees what it held, and can be opened again."""

from __future__ import annotations

import gc
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from north.errors import OutOfMemory
from south.engine.unicorn import UnicornCpu
from south.platform import PAGE, Arch, Prot
from ta_loader import samples
from tee.abi.pta_system import PTA_SYSTEM_UUID, SystemCommand
from tee.abi.results import BAD_PARAMETERS, BUSY, CANCEL, OUT_OF_MEMORY, SUCCESS, Origin, Result
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
    UUID_AT,
    Bystander,
    Crashes,
    Driver,
    Hello,
    RawCall,
    increments,
    instance_of,
    invoke_from_ta,
    make_world,
    open_from_ta,
    open_ta,
)
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tee.params import Param
    from tee.world import SecureWorld

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
arches = pytest.mark.parametrize("arch", list(Arch), ids=lambda a: a.value)


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
    with make_world(tmp_path, limits=Limits(call_seconds=0.1), observer=crashes) as world, Bystander(world, arch) as by:
        for _ in range(3):
            session = open_ta(world, samples.HELLO[arch])
            start = time.monotonic()
            assert world.invoke(session, command, params()) == DIED
            assert time.monotonic() - start < 1
            assert crashes.last().kind == kind
            assert crashes.last().registers["pc"] is not None
            assert world.invoke(session, Hello.EMPTY) == DIED
            world.close_session(session)
        assert by.longest < 1
    assert len(crashes.seen) == 3


@arches
def test_a_panic_in_the_middle_of_many_neighbours(tmp_path: Path, arch: Arch) -> None:
    with make_world(tmp_path) as world:
        sessions = [open_ta(world, samples.HELLO[a]) for a in (arch, *Arch, arch)]
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
        assert fill_memory(driver) == limits.memory - own
        assert driver.instance.space.used == limits.memory
        # Full, but alive: calls that need no memory of it work, and so do others' instances.
        assert not driver.one(33, 0, 16, scratch=(0,))
        again = Driver(world, arch)
        assert fill_memory(again) == limits.memory - own
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
    """Each instance opens the next from within a call of the one before."""
    with make_world(tmp_path, limits=Limits(depth=5)) as world, Bystander(world, arch):
        outcomes = nest(world, arch, 8)
        assert outcomes[:5] == [SUCCESS] * 5
        assert set(outcomes[5:]) <= {OUT_OF_MEMORY}


def nest(world: SecureWorld, arch: Arch, depth: int) -> list[Result]:
    """Results of the opens, outermost first: a driver whose handler opens a driver, whose handler..."""
    driver = Driver(world, arch)
    results: list[Result] = []
    uuid = cryptdrv.UUIDS[arch]
    # The command block of level n lies in scratch page n: one call that invokes level n + 1.
    opened = [open_from_ta(driver, uuid)]
    assert not opened[0][0]
    driver.close()
    from tee.activity import Activity
    from tee.errors import TeeError

    sessions = [open_ta(world, uuid) for _ in range(depth)]
    activity = Activity()
    for session in sessions:
        instance = instance_of(world, session)
        try:
            activity.depth = len(results)
            results.append(Result(instance.enter(0, world._sessions[session], 0, (), activity)))
        except TeeError as error:
            results.append(error.result)
    return results
