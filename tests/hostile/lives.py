"""Instances that come and go, in every way they can, without Python's collector: what stays of them?

`python -m tests.hostile.lives COUNT` prints, as JSON, what the process holds after some lives, and after COUNT more:
bytes of addresses, descriptors and threads.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
from typing import TYPE_CHECKING

from normal_world.supplicant.services import ServiceOptions, Supplicant
from south.platform import Arch
from ta_loader import samples
from ta_loader.machines import TA_ARCHES
from tee.abi.pta_system import PTA_SYSTEM_UUID
from tee.abi.results import SUCCESS
from tee.abi.storage import DataFlag, StorageId
from tests.hostile.kit import DIED, Driver, Hello, RawCall, increments, make_world, open_from_ta, open_ta

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.world import SecureWorld

ALLOC_STATE, ALLOC_OBJECT, CREATE, SHA256, AES = 15, 27, 42, 0x50000004, 0xA0000010


def held() -> tuple[int, int, int]:
    with open("/proc/self/status") as lines:
        fields = dict(line.split(":", 1) for line in lines)
    return (
        int(fields["VmSize"].split()[0]) << 10,
        len(os.listdir("/proc/self/fd")),
        int(fields["Threads"]),
    )


def plain(world: SecureWorld, arch: Arch) -> None:
    session = open_ta(world, samples.HELLO[arch])
    increments(world, session)
    world.close_session(session)


def crashes(world: SecureWorld, arch: Arch) -> None:
    session = open_ta(world, samples.HELLO[arch])
    assert world.invoke(session, Hello.PANIC) == DIED
    world.close_session(session)


def laden(world: SecureWorld, arch: Arch) -> None:
    """With an operation, an object, a persistent object, and sessions to others."""
    driver = Driver(world, arch)
    (stack,) = (region for region in driver.instance.space if region.name == "stack" and region.size > 4096)
    rights = DataFlag.ACCESS_WRITE_META | DataFlag.OVERWRITE
    driver.batch(
        [
            RawCall(ALLOC_STATE, (SHA256, 5, 0, 0, 0), frozenset({4})),
            RawCall(ALLOC_OBJECT, (AES, 256, 0), frozenset({2})),
            RawCall(CREATE, (StorageId.PRIVATE, stack.va, 8, rights, 0, 0, 0, 0), frozenset({7})),
        ]
    )
    for uuid in (PTA_SYSTEM_UUID, samples.HELLO[arch]):
        assert open_from_ta(driver, uuid)[0] == SUCCESS
    driver.close()


def refused(world: SecureWorld, arch: Arch) -> None:
    """Whose program does not fit."""
    limits, world.limits = world.limits, world.limits._replace(memory=4096)
    assert world.open_session(samples.HELLO[arch]).result
    world.limits = limits


WAYS: tuple[Callable[[SecureWorld, Arch], None], ...] = (plain, crashes, laden, refused)


def main(count: int) -> None:
    gc.disable()
    with (
        tempfile.TemporaryDirectory() as state,
        make_world(state, normal=Supplicant(ServiceOptions(state=state))) as world,
    ):
        for way in WAYS * 4:
            for arch in TA_ARCHES:
                way(world, arch)
        before = held()
        for number in range(count):
            WAYS[number % len(WAYS)](world, TA_ARCHES[number // len(WAYS) % 2])
        after = held()
        left_open = [open_ta(world, samples.HELLO[Arch.AARCH64]) for _ in range(20)]
        for session in left_open:
            assert world.invoke(session, Hello.PANIC) == DIED
        print(json.dumps([before, after, held()]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
