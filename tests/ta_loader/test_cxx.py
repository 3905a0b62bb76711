"""A TA in C++: thread-local variables and exceptions, entry after entry, on both architectures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from south.platform import Arch
from ta_loader.machines import TA_ARCHES
from tee.params import Kind, Value
from tests.hostile.kit import DIED, FINE, Crashes, instance_of, make_world, open_ta
from tests.tas import cxx

if TYPE_CHECKING:
    from pathlib import Path

    from tee.world import SecureWorld


@pytest.fixture(params=TA_ARCHES, ids=lambda a: a.value)
def arch(request: pytest.FixtureRequest) -> Arch:
    given: Arch = request.param
    return given


@pytest.fixture
def crashes() -> Crashes:
    return Crashes()


@pytest.fixture
def world(tmp_path: Path, crashes: Crashes) -> SecureWorld:
    return make_world(tmp_path, folders=[cxx.HERE], observer=crashes)


def _call(world: SecureWorld, session: int, command: int, a: int = 0) -> tuple[int, int]:
    value = Value(Kind.VALUE_INOUT, a)
    assert world.invoke(session, command, [value]) == FINE
    return value.a, value.b


def test_thread_local_variables_keep_their_values_from_entry_to_entry(world: SecureWorld, arch: Arch) -> None:
    session = open_ta(world, cxx.UUIDS[arch])
    for i in range(5):
        assert _call(world, session, cxx.COUNT) == (7 + i, 1)  # 5, one more for the open
        assert _call(world, session, cxx.ZEROED) == (i, 0)


def test_exceptions_work_in_every_entry(world: SecureWorld, arch: Arch) -> None:
    session = open_ta(world, cxx.UUIDS[arch])
    for depth in (0, 1, 20, 3):
        assert _call(world, session, cxx.THROW, depth) == (6, depth + 2)


def test_two_instances_have_variables_of_their_own(world: SecureWorld, arch: Arch) -> None:
    first, second = (open_ta(world, cxx.UUIDS[arch]) for _ in range(2))
    assert instance_of(world, first) is not instance_of(world, second)
    assert [_call(world, session, cxx.COUNT)[0] for session in (first, first, second, first)] == [7, 8, 7, 9]
    assert _call(world, second, cxx.THROW, 2) == (7, 4)


def test_an_exception_that_nobody_catches_is_a_panic(world: SecureWorld, arch: Arch, crashes: Crashes) -> None:
    session = open_ta(world, cxx.UUIDS[arch])
    assert world.invoke(session, cxx.UNCAUGHT, [Value(Kind.VALUE_INOUT, 3)]) == DIED
    assert crashes.last().code == cxx.PANIC_TERMINATE


def test_instructions_after_an_it_block_run_though_one_in_it_missed_the_tlb(world: SecureWorld) -> None:
    session = open_ta(world, cxx.UUIDS[Arch.ARM])
    assert _call(world, session, cxx.CONDITIONAL) == (6, 6)
