"""Statistics PTA, on a world with real TAs."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from south.platform import PAGE, Arch
from tee.abi import results
from tee.abi.results import Result
from tee.errors import TeeError
from tee.params import Kind, Value
from tee.pta.stats import StatsPta
from tests.fakes import Lines
from tests.tee.pta_kit import Memory, memref, value
from tests.tee.test_world import Kit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tee.params import BaseMemref

PAGER, ALLOC, MEMLEAK, TA, TIME, DRIVERS = range(6)
OUT = Kind.MEMREF_OUTPUT
ONE = 56
"""sizeof(struct pta_stats_alloc)."""


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    made = Kit(tmp_path, Arch.AARCH64)
    yield made
    made.world.close()


def result(kit: Kit, command: int, *params: Value | BaseMemref) -> Result:
    pta = kit.world.find_pta(StatsPta.uuid)
    assert isinstance(pta, StatsPta)
    try:
        pta.invoke(None, command, (*params, *[None] * (4 - len(params))), None)
    except TeeError as error:
        return error.result
    return results.SUCCESS


def pools(kit: Kit, pool: int, *, reset: int = 0) -> list[tuple[str, tuple[int, ...]]]:
    count = 1 if pool else 5
    out = Memory(bytes(ONE * count))
    assert result(kit, ALLOC, value(Kind.VALUE_INPUT, pool, reset), out.memref(OUT)) == results.SUCCESS
    found = [struct.unpack_from("<32s6I", out.data, ONE * n) for n in range(count)]
    return [(name.rstrip(b"\0").decode(), tuple(numbers)) for name, *numbers in found]


def test_memory_of_tas(kit: Kit) -> None:
    assert pools(kit, 3) == [("Physical TA memory", (0,) * 6)]
    kit.open()
    (instance,) = kit.world.alive()
    used, limit = instance.space.used, kit.world.limits.memory
    assert used > 0
    assert pools(kit, 3) == [("Physical TA memory", (used, used, limit, 0, 0, 0))]
    va = instance.map_zeroed(3 * PAGE, 0, 0, 0, 0)
    instance.unmap(va, 3 * PAGE)
    with pytest.raises(TeeError):
        instance.map_zeroed(limit, 0, 0, 0, 0)
    assert pools(kit, 3, reset=1) == [("Physical TA memory", (used, used + 3 * PAGE, limit, 1, limit, used))]
    assert pools(kit, 3) == [("Physical TA memory", (used, used, limit, 0, 0, 0))]
    kit.open()
    assert pools(kit, 3)[0][1][:3] == (2 * used, 2 * used, 2 * limit)


def test_numbers_beyond_32_bits(tmp_path: Path) -> None:
    from tee.limits import Limits

    kit = Kit(tmp_path, Arch.AARCH64, Limits(memory=3 << 30))
    kit.open()
    kit.open()
    assert pools(kit, 3)[0][1][2] == 0xFFFFFFFF
    kit.world.close()


def test_all_pools(kit: Kit) -> None:
    kit.open()
    everything = pools(kit, 0)
    assert [name for name, _ in everything] == ["Heap", "", "Physical TA memory", "", ""]
    assert everything[2:3] == pools(kit, 3)
    assert not any(sum(numbers) for name, numbers in everything if name != "Physical TA memory")


def test_pool_refusals(kit: Kit) -> None:
    kind = Kind.VALUE_INPUT
    assert result(kit, ALLOC, value(kind, 6), memref(OUT, bytes(ONE))) == results.BAD_PARAMETERS
    short = memref(OUT, bytes(ONE - 1))
    assert result(kit, ALLOC, value(kind, 3), short) == results.SHORT_BUFFER
    assert short.size == ONE
    short = memref(OUT, bytes(5 * ONE - 1))
    assert result(kit, ALLOC, value(kind, 0), short) == results.SHORT_BUFFER
    assert short.size == 5 * ONE
    assert result(kit, ALLOC, value(kind, 3)) == results.BAD_PARAMETERS
    assert result(kit, ALLOC, value(Kind.VALUE_INOUT, 3), memref(OUT, bytes(ONE))) == results.BAD_PARAMETERS


def test_instances(kit: Kit) -> None:
    none = memref(OUT, bytes(1000))
    assert result(kit, TA, none) == results.ITEM_NOT_FOUND
    dying, living = kit.open(), kit.open()
    kit.panic(dying)
    short = memref(OUT, null=True)
    assert result(kit, TA, short) == results.SHORT_BUFFER
    assert short.size == (24 + ONE) * len(kit.world.alive())
    out = Memory(bytes(short.size))
    there = out.memref(OUT)
    assert result(kit, TA, there) == results.SUCCESS
    assert there.size == short.size
    (uuid, panicked, sessions, heap, used) = struct.unpack_from("<16s2I32sI", out.data)
    assert (UUID(bytes_le=uuid), panicked, sessions) == (kit.uuid, 0, 1)
    assert heap.startswith(b"TA memory\0")
    assert used == kit.world.alive()[0].space.used
    kit.world.close_session(living)
    assert result(kit, TA, none) == results.ITEM_NOT_FOUND
    assert result(kit, TA) == results.BAD_PARAMETERS


def test_time(kit: Kit) -> None:
    ree, system = value(Kind.VALUE_OUTPUT), value(Kind.VALUE_OUTPUT)
    before = (kit.platform.clock.wall(), kit.platform.clock.monotonic())
    assert result(kit, TIME, ree, system) == results.SUCCESS
    for told, was in zip((ree, system), before, strict=True):
        assert was - 0.002 <= told.a + told.b / 1000 <= was + 5
        assert told.b < 1000
    assert result(kit, TIME, ree) == results.BAD_PARAMETERS


def test_there_is_no_pager(kit: Kit) -> None:
    """xtest looks here for a small pool (optee_pager_with_small_pool)."""
    counters = [value(Kind.VALUE_OUTPUT, 7, 7) for _ in range(3)]
    assert result(kit, PAGER, *counters) == results.SUCCESS
    assert all((c.a, c.b) == (0, 0) for c in counters)
    assert result(kit, PAGER, *counters[:2]) == results.BAD_PARAMETERS


def test_what_goes_to_the_console(kit: Kit) -> None:
    console = Lines()
    kit.world.platform = kit.platform._replace(console=console)
    kit.open()
    assert result(kit, MEMLEAK) == results.SUCCESS
    assert f"TA {kit.uuid} instance 1: {kit.world.alive()[0].space.used} bytes, 0 operation states" in console.text
    assert result(kit, MEMLEAK, value(Kind.VALUE_INPUT)) == results.BAD_PARAMETERS
    for number, name in ((0, "clock"), (1, "regulator")):
        assert result(kit, DRIVERS, value(Kind.VALUE_INPUT, number)) == results.SUCCESS
        assert f"no {name} drivers" in console.text
    assert result(kit, DRIVERS, value(Kind.VALUE_INPUT, 2)) == results.BAD_PARAMETERS
    assert result(kit, DRIVERS) == results.BAD_PARAMETERS
    assert result(kit, 6) == results.BAD_PARAMETERS
