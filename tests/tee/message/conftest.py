from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from south.linux_host import linux_host
from south.linux_host.host import NullConsole
from ta_loader import samples
from ta_loader.fetched import FetchedStore
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore
from tee.abi.optee_smc import MODERN, Capability
from tee.limits import Limits
from tee.message.monitor import MessageMonitor
from tee.world import SecureWorld
from tests.tee.message.kit import BASE, Driver, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tee.message.services import RpcNormalWorld


class Bench(NamedTuple):
    machine: Machine
    monitor: MessageMonitor
    driver: Driver
    bugs: list[str]


def _bench(folder: Path, limits: Limits, abilities: Capability = MODERN) -> Iterator[Bench]:
    machine = Machine()
    trust = TrustStore([samples.public_key_file()])
    bugs: list[str] = []

    def make_world(normal: RpcNormalWorld) -> SecureWorld:
        store = FetchedStore(TaStore((), trust), normal.load_ta, trust)
        platform = linux_host(str(folder), console=NullConsole())
        return SecureWorld(platform, Loader(store), normal=normal, limits=limits, profiles=normal.profiles)

    reserved = (BASE + (1 << 18), 1 << 18)
    monitor = MessageMonitor(machine, make_world, reserved=reserved, abilities=abilities, report=bugs.append)
    yield Bench(machine, monitor, Driver(machine, monitor), bugs)
    monitor.close()
    assert not bugs, bugs[0]


def bench_with(folder: Path, abilities: Capability) -> Iterator[Bench]:
    """Of a secure world that can less."""
    yield from _bench(folder, Limits(), abilities)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A kernel in miniature and the secure world behind it, whose TAs the supplicant has."""
    yield from _bench(tmp_path, Limits())


@pytest.fixture
def quick_bench(tmp_path: Path) -> Iterator[Bench]:
    """The same, whose TAs have little memory and time."""
    yield from _bench(tmp_path, Limits(memory=8 << 20, call_seconds=0.05))
