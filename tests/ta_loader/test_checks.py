"""A TA with stack protector and UBSan: its own checks work here as on a board."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from south.platform import Arch
from ta_loader.machines import TA_ARCHES
from tee.params import Kind, Value
from tests.fakes import Lines
from tests.hostile.kit import DIED, FINE, Crashes, make_world, open_ta
from tests.tas import checks

if TYPE_CHECKING:
    from collections.abc import Iterator
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
def console() -> Lines:
    return Lines()


@pytest.fixture
def world(tmp_path: Path, crashes: Crashes, console: Lines) -> Iterator[SecureWorld]:
    with make_world(tmp_path, folders=[checks.HERE], observer=crashes, console=console) as made:
        yield made


def call(world: SecureWorld, session: int, command: int, a: int = 0) -> int:
    value = Value(Kind.VALUE_INOUT, a)
    assert world.invoke(session, command, [value]) == FINE
    return value.a


def test_what_is_defined_goes_through(world: SecureWorld, arch: Arch) -> None:
    session = open_ta(world, checks.UUIDS[arch])
    assert call(world, session, checks.ADD, 0xFFFFFFFF) == 0x7FFFFFFE  # -1
    assert call(world, session, checks.SHIFT, 30) == 1 << 30
    assert call(world, session, checks.INDEX, 3) == call(world, session, checks.ALIGN, 8) == 0
    assert call(world, session, checks.SMASH, 16) == ord("A")


@pytest.mark.parametrize(
    ("command", "a", "name"),
    [
        (checks.ADD, 1, "add_overflow"),
        (checks.SHIFT, 32, "shift_out_of_bounds"),
        (checks.INDEX, 4, "out_of_bounds"),
        (checks.ALIGN, 2, "type_mismatch_v1"),
    ],
)
def test_undefined_behaviour_is_named_and_ends_the_ta(
    world: SecureWorld, crashes: Crashes, console: Lines, arch: Arch, command: int, a: int, name: str
) -> None:
    session = open_ta(world, checks.UUIDS[arch])
    assert world.invoke(session, command, [Value(Kind.VALUE_INOUT, a)]) == DIED
    assert console.text == f"Undefined behavior {name}\n"
    crash = crashes.last()
    assert (crash.kind, crash.code) == ("panic", checks.PANIC_UNDEFINED)
    assert f"__ubsan_handle_{name}" in [frame.function for frame in crash.backtrace]


@pytest.mark.parametrize("size", [32, 64])
def test_a_smashed_stack_is_noticed(world: SecureWorld, crashes: Crashes, arch: Arch, size: int) -> None:
    session = open_ta(world, checks.UUIDS[arch])
    assert world.invoke(session, checks.SMASH, [Value(Kind.VALUE_INOUT, size)]) == DIED
    crash = crashes.last()
    assert (crash.kind, crash.code) == ("panic", checks.PANIC_STACK)
    assert [frame.function for frame in crash.backtrace][:3] == ["ta_panic", "__stack_chk_fail", "smash"]


def test_each_instance_has_a_guard_of_its_own_that_stays(world: SecureWorld, arch: Arch) -> None:
    sessions = [open_ta(world, checks.UUIDS[arch]) for _ in range(4)]
    guards = [call(world, session, checks.GUARD) for session in sessions]
    assert len(set(guards)) > 1
    assert [call(world, session, checks.GUARD) for session in sessions] == guards
