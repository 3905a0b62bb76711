"""Where a TA and its parameters lie, and what happens when they do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from north.memory import Layout
from south.linux_host import linux_host
from south.linux_host.host import NullConsole
from south.platform import Arch
from ta_loader import samples
from ta_loader.machines import TA_ARCHES
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore
from tee.abi import results
from tee.abi.results import Origin
from tee.limits import Limits
from tee.observe import Observer
from tee.params import Kind, Memref, Value
from tee.records import Crash
from tee.world import SecureWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PANIC, EMPTY, TOUCH = 2, 7, 13
MIB = 1 << 20
LOW, HIGH = 0x4000_0000, 0x8000_0000
HOLE = 896 * MIB
"""Bytes of the window above where small regions lie."""


class Watch(Observer):
    def __init__(self) -> None:
        self.crashes: list[Crash] = []

    def on_crash(self, crash: Crash) -> None:
        self.crashes.append(crash)


def make(state: Path, watch: Watch, limits: Limits) -> SecureWorld:
    store = TaStore([samples.FOLDER], TrustStore([samples.public_key_file()]))
    return SecureWorld(linux_host(str(state), console=NullConsole()), Loader(store), observer=watch, limits=limits)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def world(tmp_path: Path, watch: Watch) -> Iterator[SecureWorld]:
    with make(tmp_path, watch, Limits()) as made:
        yield made


def open_hello(world: SecureWorld, arch: Arch = Arch.AARCH64) -> int:
    opened = world.open_session(samples.HELLO[arch])
    assert not opened.result
    return opened.session


def memref(world: SecureWorld, size: int) -> Memref:
    """Of memory that nobody touches, so that it costs none."""
    return Memref(Kind.MEMREF_INOUT, world.platform.pages.shared(size), size)


def crash(world: SecureWorld, watch: Watch, session: int, *sizes: int) -> Crash:
    world.invoke(session, PANIC, (Value(Kind.VALUE_INPUT, 1), *(memref(world, size) for size in sizes)))
    return watch.crashes[-1]


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_code_stack_and_parameters_have_addresses_as_under_op_tee(world: SecureWorld, watch: Watch, arch: Arch) -> None:
    dead = crash(world, watch, open_hello(world, arch), 4096, 64 * MIB, 100)
    names = {region.name for region in dead.regions}
    assert {"stack", "param"} < names
    assert all(LOW <= region.va < region.va + region.size <= HIGH for region in dead.regions)
    assert all(LOW <= frame.pc < HIGH for frame in dead.backtrace)


def test_wide_addresses(tmp_path: Path, watch: Watch) -> None:
    with make(tmp_path, watch, Limits(layout=Layout.WIDE)) as world:
        dead = crash(world, watch, open_hello(world), *[4096] * 3)
    assert max(region.va + region.size for region in dead.regions) > 1 << 32


def test_large_memrefs_fit_as_long_as_the_window_has_room(world: SecureWorld) -> None:
    session = open_hello(world)
    for sizes in (
        (HOLE - 4 * MIB,),
        (HOLE // 2 - 2 * MIB,) * 2,
        (HOLE // 4 - 2 * MIB,) * 4,
        (700 * MIB, MIB, 100 * MIB),
    ):
        # The same again, and in another order: what one call left in place does not stand in the next one's way.
        for order in (sizes, sizes, sizes[::-1]):
            outcome = world.invoke(session, EMPTY, [memref(world, size) for size in order])
            assert outcome == (results.SUCCESS, Origin.TRUSTED_APP), order


@pytest.mark.parametrize("offset", [0, 5, 4096, 100 * MIB + 1])
def test_a_ta_writes_into_a_large_memref(world: SecureWorld, offset: int) -> None:
    session = open_hello(world)
    pages = world.platform.pages.shared(800 * MIB)
    pages.view(offset, 1)[0] = 0x5A
    assert not world.invoke(session, TOUCH, [Memref(Kind.MEMREF_INOUT, pages, 700 * MIB - 1, offset)]).result
    assert pages.view(offset, 1)[0] == 0x5B


@pytest.mark.parametrize("sizes", [(1024 * MIB,), (1100 * MIB,), (HOLE // 2 + 70 * MIB,) * 2, (300 * MIB,) * 4])
def test_memrefs_that_do_not_fit_are_refused_and_the_ta_lives(world: SecureWorld, sizes: tuple[int, ...]) -> None:
    session = open_hello(world)
    for _ in range(2):
        outcome = world.invoke(session, EMPTY, [memref(world, size) for size in sizes])
        assert outcome == (results.OUT_OF_MEMORY, Origin.TEE)
    assert not world.invoke(session, EMPTY, [memref(world, 4096)]).result
