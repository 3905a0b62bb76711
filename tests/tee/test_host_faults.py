"""Every call of the host's on the way of a system call fails once, in every way: the TA gets a defined result."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from normal_world.supplicant.services import ServiceOptions, Supplicant
from south.platform import Arch
from tee.abi import results
from tee.abi.pta_system import PTA_SYSTEM_UUID, SystemCommand
from tee.abi.results import SUCCESS, Result
from tee.abi.storage import DataFlag, StorageId
from tee.params import Kind
from tests.fakes import Lines
from tests.host_faults import ERRORS, Faults
from tests.hostile.kit import Driver, invoke_from_ta, make_world, open_from_ta

if TYPE_CHECKING:
    from pathlib import Path

    from tee.world import SecureWorld

OPEN, CREATE, DELETE, RENAME, ALLOC_ENUM, START_ENUM, NEXT_ENUM, READ, WRITE, TRUNCATE, SEEK = (
    41, 42, 43, 44, 45, 48, 49, 50, 51, 52, 53,
)  # fmt: skip
CELL, COUNT, DATA, INFO, ID, KEY = 0x40, 0x48, 0x400, 0x800, 0x840, 0x900
RIGHTS = int(DataFlag.ACCESS_READ | DataFlag.ACCESS_WRITE | DataFlag.ACCESS_WRITE_META | DataFlag.OVERWRITE)
SHORT = {results.STORAGE_NO_SPACE, results.STORAGE_NOT_AVAILABLE, results.OUT_OF_MEMORY}
"""What a call of storage may answer when the host fails: libutee panics on none of them where it must not."""
GONE = {results.BAD_STATE, results.ITEM_NOT_FOUND, results.BAD_PARAMETERS}
"""What follows: there is no such handle, or no such object."""


class Story:
    """What one TA does with storage and with its key. results: of each step."""

    def __init__(self, world: SecureWorld) -> None:
        self.driver = Driver(world, Arch.AARCH64)
        (stack,) = (r for r in self.driver.instance.space if r.name == "stack" and r.size > 4096)
        self.id = stack.va
        self.results: dict[str, Result] = {}

    def step(self, what: str, number: int, *words: int, scratch: tuple[int, ...] = ()) -> Result:
        result = self.results[what] = self.driver.one(number, *words, scratch=scratch)
        return result

    def create(self, storage: int) -> Result:
        self.driver.put(CELL, bytes(16))
        self.driver.instance.space.write(self.id, b"object-1renamed!")
        words = (storage, self.id, 8, RIGHTS, 0, DATA, 64, CELL)
        return self.step(f"create {storage:x}", CREATE, *words, scratch=(5, 7))

    def use(self, storage: int) -> None:
        self.create(storage)
        handle = self.driver.word(CELL)
        self.step(f"seek {storage:x}", SEEK, handle, 0, 0)
        self.step(f"write {storage:x}", WRITE, handle, DATA, 200, scratch=(1,))
        self.step(f"seek {storage:x}", SEEK, handle, 0, 0)
        self.step(f"read {storage:x}", READ, handle, DATA, 64, COUNT, scratch=(1, 3))
        self.step(f"truncate {storage:x}", TRUNCATE, handle, 20)
        self.step(f"rename {storage:x}", RENAME, handle, self.id + 8, 8)
        self.step(f"alloc {storage:x}", ALLOC_ENUM, CELL, scratch=(0,))
        enumerator = self.driver.word(CELL)
        self.step(f"start {storage:x}", START_ENUM, enumerator, storage)
        self.step(f"next {storage:x}", NEXT_ENUM, enumerator, INFO, ID, COUNT, scratch=(1, 2, 3))
        self.step(f"delete {storage:x}", DELETE, handle)

    def derive(self) -> None:
        result, session = open_from_ta(self.driver, PTA_SYSTEM_UUID)
        self.results["system PTA"] = result
        types = Kind.MEMREF_INPUT | Kind.MEMREF_OUTPUT << 4
        # out of memory that is not the TA's own, the PTA refuses: the key is asked for before that or not at all
        self.results["derive"] = invoke_from_ta(
            self.driver, session, SystemCommand.DERIVE_TA_UNIQUE_KEY, types, 0, 0, self.id, 32
        )

    def tell(self) -> None:
        self.derive()
        self.use(StorageId.PRIVATE_REE)
        self.use(StorageId.PRIVATE_RPMB)


def run(folder: Path, faults: Faults, at: int, number: int) -> bool:
    """One story with a fault; whether it came to it."""
    lines = Lines()
    services = Supplicant(ServiceOptions(state=str(folder)))
    with make_world(folder, normal=services, console=lines) as world:
        story = Story(world)
        faults.arm(at, number)
        story.tell()
        faults.disarm()
        where = f"call {at} ({faults.fired}) with {errno.errorcode[number]}: {story.results}"
        assert not world.bugs, where
        assert not story.driver.instance.dead, where
        failed = {what: result for what, result in story.results.items() if result}
        storage = {what: result for what, result in failed.items() if what not in ("derive", "system PTA")}
        assert set(storage.values()) <= SHORT | GONE, where
        assert story.create(StorageId.PRIVATE_REE) == SUCCESS, where  # the next call has it all again
        # A device that failed to confirm a write is not tried again, as OP-TEE does.
        assert story.create(StorageId.PRIVATE_RPMB) in (SUCCESS, *SHORT), where
        assert bool(SHORT & set(failed.values())) <= ("litebox: " in lines.text), where
        assert "Traceback" not in lines.text, where
        story.driver.close()
    services.close()
    services = Supplicant(ServiceOptions(state=str(folder)))
    with make_world(folder, normal=services) as world:
        story = Story(world)
        for storage_id in (StorageId.PRIVATE_REE, StorageId.PRIVATE_RPMB):
            assert story.create(storage_id) == SUCCESS, where
    services.close()
    return bool(faults.fired)


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.fuzz)])
@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_each_call_of_the_host_fails_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: int
) -> None:
    faults = Faults(monkeypatch)
    at = 0
    while run(tmp_path / str(at), faults, at, number):
        at += step
    assert at > 100
