"""Times, waiting and cache maintenance, on a clock that only moves when told."""

from __future__ import annotations

import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee.abi import results
from tee.errors import TeeError
from tee.services.cache import cache_operation
from tee.services.time import MemoryOffsets, TaTimes, get_time, set_ta_time, wait
from tests.fakes import FakeClock

SYSTEM, PERSISTENT, REE = 0, 1, 2
PRIVATE, SHARED = 0x1000, 0x8000
CACHE_MAINTENANCE = 1 << 7


class Memory:
    """Two writable pages: private at 0x1000, shared at 0x8000."""

    word = 8

    def __init__(self) -> None:
        self.pages = {PRIVATE: bytearray(4096), SHARED: bytearray(4096)}

    def _page(self, va: int, size: int) -> tuple[bytearray, int]:
        page = self.pages.get(va & ~0xFFF)
        if page is None or va % 4096 + size > 4096:
            raise TeeError(results.ACCESS_DENIED)
        return page, va % 4096

    def copy_in(self, va: int, size: int) -> bytes:
        page, at = self._page(va, size)
        return bytes(page[at : at + size])

    def copy_in_private(self, va: int, size: int) -> bytes:
        if va >= SHARED:
            raise TeeError(results.ACCESS_DENIED)
        return self.copy_in(va, size)

    def copy_out(self, va: int, data: bytes) -> None:
        page, at = self._page(va, len(data))
        page[at : at + len(data)] = data

    def check(self, va: int, size: int, write: bool) -> None:
        self._page(va, size)


class Task:
    """A TA in a call; `cancel_at`: seconds of the clock at which it is cancelled."""

    def __init__(self, clock: FakeClock, offsets: MemoryOffsets | None = None, number: int = 7, flags: int = 0) -> None:
        self.uuid = UUID(int=number)
        self.memory = Memory()
        self.clock = clock
        self.times = TaTimes(clock, offsets)
        self.flags = flags
        self.cancel_at: float | None = None

    def wait(self, seconds: float) -> bool:
        end = self.clock.now + seconds
        if self.cancel_at is not None and self.cancel_at <= end:
            self.clock.now = max(self.clock.now, self.cancel_at)
            return True
        self.clock.now = end
        return False

    def touches_private(self, va: int, size: int) -> bool:
        return va < PRIVATE + 4096 and va + size > PRIVATE

    def read(self, category: int) -> tuple[results.Result | None, tuple[int, int]]:
        result = get_time(self, category, PRIVATE)
        seconds, millis = struct.unpack("<II", self.memory.copy_in(PRIVATE, 8))
        return result, (seconds, millis)

    def set(self, seconds: int, millis: int) -> None:
        self.memory.copy_out(PRIVATE + 64, struct.pack("<II", seconds, millis))
        set_ta_time(self, PRIVATE + 64)


def refused(call: object, *args: object) -> results.Result:
    with pytest.raises(TeeError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.result


def test_system_and_ree_time() -> None:
    task = Task(FakeClock(12.5, 1_700_000_000.25))
    assert task.read(SYSTEM) == (None, (12, 500))
    assert task.read(REE) == (None, (1_700_000_000, 250))


def test_system_time_has_an_origin() -> None:
    assert TaTimes(FakeClock(12.5), origin=10.0).system() == 2500
    assert TaTimes(FakeClock(12.5), origin=20.0).system() == 0


@given(st.integers(3, (1 << 64) - 1))
def test_unknown_categories(category: int) -> None:
    # as OP-TEE: the category is looked at before the pointer
    assert refused(get_time, Task(FakeClock()), category, 0) == results.BAD_PARAMETERS


def test_pointers_are_checked() -> None:
    task = Task(FakeClock())
    assert refused(get_time, task, SYSTEM, 0x4000) == results.ACCESS_DENIED
    assert refused(get_time, task, SYSTEM, PRIVATE + 4092) == results.ACCESS_DENIED
    assert refused(set_ta_time, task, 0) == results.ACCESS_DENIED


def test_persistent_time_runs_from_where_it_was_set() -> None:
    clock, offsets = FakeClock(100.0), MemoryOffsets()
    task = Task(clock, offsets)
    assert refused(task.read, PERSISTENT) == results.TIME_NOT_SET
    task.set(5, 999)
    assert task.read(PERSISTENT) == (None, (5, 999))
    clock.now += 1.5
    assert task.read(PERSISTENT) == (None, (7, 499))
    task.set(4_000_000_000, 0)
    assert task.read(PERSISTENT) == (None, (4_000_000_000, 0))


def test_persistent_time_is_per_ta_and_shared_by_its_instances() -> None:
    clock, offsets = FakeClock(100.0), MemoryOffsets()
    Task(clock, offsets).set(5, 0)
    assert Task(clock, offsets).read(PERSISTENT) == (None, (5, 0))
    assert refused(Task(clock, offsets, number=8).read, PERSISTENT) == results.TIME_NOT_SET


def test_persistent_time_overflows_with_the_wrapped_time() -> None:
    clock = FakeClock(10.0)
    task = Task(clock)
    task.set(0xFFFFFFFF, 500)
    assert task.read(PERSISTENT) == (None, (0xFFFFFFFF, 500))
    clock.now += 1.0
    assert task.read(PERSISTENT) == (results.OVERFLOW, (0, 500))


@given(st.integers(1000, (1 << 32) - 1))
def test_milliseconds_are_normalised(millis: int) -> None:
    assert refused(Task(FakeClock()).set, 0, millis) == results.BAD_PARAMETERS


@given(st.integers(0, (1 << 32) - 1), st.integers(0, 999), st.floats(0, 4e9, allow_nan=False), st.floats(0, 1e6))
def test_persistent_time_against_exact_arithmetic(seconds: int, millis: int, start: float, later: float) -> None:
    clock = FakeClock(start)
    task = Task(clock)
    task.set(seconds, millis)
    before = int(clock.now * 1000)
    clock.now += later
    total = seconds * 1000 + millis + int(clock.now * 1000) - before
    result, (s, ms) = task.read(PERSISTENT)
    assert s * 1000 + ms == total % (1000 << 32)
    if clock.now < 1 << 32:
        assert (result == results.OVERFLOW) == (total >= 1000 << 32)


def test_wait() -> None:
    clock = FakeClock()
    task = Task(clock)
    wait(task, 1500)
    assert clock.now == 1.5
    task.cancel_at = 2.0
    assert refused(wait, task, 1000) == results.CANCEL
    assert clock.now == 2.0
    assert refused(wait, task, 0) == results.CANCEL


def test_wait_takes_any_number() -> None:
    task = Task(FakeClock())
    wait(task, (1 << 64) - 1)
    assert task.clock.now < 2**33


def test_cache_operation() -> None:
    task = Task(FakeClock(), flags=CACHE_MAINTENANCE)
    for operation in (0, 1, 2):
        cache_operation(task, SHARED, 4096, operation)
        cache_operation(task, SHARED, 0, operation)
    assert refused(cache_operation, task, SHARED, 16, 3) == results.NOT_SUPPORTED
    assert refused(cache_operation, task, PRIVATE, 16, 0) == results.ACCESS_DENIED
    assert refused(cache_operation, task, PRIVATE - 8, 16, 0) == results.ACCESS_DENIED
    assert refused(cache_operation, task, SHARED, 4097, 0) == results.ACCESS_DENIED
    assert refused(cache_operation, task, 0x4000, 0, 0) == results.ACCESS_DENIED
    assert refused(cache_operation, task, SHARED, (1 << 64) - 1, 0) == results.ACCESS_DENIED
    assert refused(cache_operation, Task(FakeClock()), SHARED, 16, 0) == results.NOT_SUPPORTED
