"""What a TA may keep, in files, in an RPMB and in both, over restarts; and at the limit nothing stored is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from normal_world.supplicant.files import ReeFiles
from normal_world.supplicant.rpmb import EmulatedRpmb
from tee.abi import results
from tee.abi.storage import HEAD, DataFlag, StorageId
from tee.storage.store import TrustedStorage
from tests.tee.storage.kit import MemoryFiles
from tests.tee.storage.test_services import ALL, Ta, key_object
from tests.threads import together

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tee.normal import Files, NormalWorld

FULL = results.STORAGE_NO_SPACE
OVERWRITE = ALL | DataFlag.OVERWRITE
UNITS = {StorageId.PRIVATE: 4096, StorageId.PRIVATE_RPMB: 256}


class World:
    """A normal world that outlasts secure worlds."""

    sockets = plugins = None

    def __init__(self, files: Files, folder: Path) -> None:
        self.files = files
        self.rpmb = EmulatedRpmb(folder / "rpmb", size_mult=4)

    def ta(self, blocks: int | None, storage: StorageId = StorageId.PRIVATE, number: int = 1) -> Ta:
        """An instance in a secure world of its own, with a limit of that many blocks of `storage`."""
        made = Ta(number=number)
        limit = None if blocks is None else blocks * UNITS[storage]
        made.storage = TrustedStorage(made.platform, cast("NormalWorld", self), limit=limit)
        made.storage_id = storage
        return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(MemoryFiles(), tmp_path)
    yield made
    made.rpmb.close()


@pytest.fixture(params=UNITS, ids=["files", "RPMB"])
def where(request: pytest.FixtureRequest) -> StorageId:
    return StorageId(request.param)


def data(where: StorageId, blocks: int) -> bytes:
    """As much data as makes an object cost that many blocks."""
    return b"x" * ((blocks - 1) * UNITS[where] - HEAD.size)


def test_creating(world: World, where: StorageId) -> None:
    ta = world.ta(6, where)
    ta.close(ta.made(b"a", data(where, 3)))
    assert ta.create(b"b", data(where, 4)) == FULL
    assert ta.create(b"b", data(where, 3) + b"x") == FULL
    assert ta.open(b"b") == results.ITEM_NOT_FOUND
    ta.close(ta.made(b"b", data(where, 3)))
    assert ta.create(b"c") == FULL
    assert ta.names() == {b"a", b"b"}
    assert ta.create(b"a") == results.ACCESS_CONFLICT, "there is one"
    assert ta.open(b"a") == results.SUCCESS
    obj = ta.out
    assert ta.data(obj) == data(where, 3)
    assert ta.call("storage_obj_del", obj) == results.SUCCESS
    ta.close(ta.made(b"c", data(where, 3)))
    assert len(ta.storage.pobjs) == 0


def test_writing_and_truncating(world: World, where: StorageId) -> None:
    ta = world.ta(6, where)
    obj = ta.made(b"a", data(where, 3))
    whole = data(where, 6)
    assert ta.seek(obj, 0) == results.SUCCESS
    assert ta.write(obj, whole + b"x") == FULL
    assert ta.data(obj) == data(where, 3)
    assert ta.call("storage_obj_trunc", obj, len(whole) + 1) == FULL
    assert ta.info(obj)[4] == len(data(where, 3))
    assert ta.seek(obj, len(whole)) == results.SUCCESS
    assert ta.write(obj, b"y") == FULL
    assert ta.seek(obj, 0) == results.SUCCESS
    assert ta.write(obj, whole) == results.SUCCESS
    assert ta.seek(obj, 5) == results.SUCCESS
    assert ta.write(obj, b"in place") == results.SUCCESS
    assert ta.create(b"b") == FULL
    assert ta.call("storage_obj_trunc", obj, 0) == results.SUCCESS
    assert ta.create(b"b") == results.SUCCESS


def test_an_overwrite_needs_room_for_both(world: World, where: StorageId) -> None:
    ta = world.ta(6, where)
    ta.close(ta.made(b"a", data(where, 4)))
    assert ta.create(b"a", data(where, 3), OVERWRITE) == FULL
    obj = ta.made(b"b", data(where, 2))
    ta.close(obj)
    assert ta.create(b"b", data(where, 2), OVERWRITE) == FULL
    assert ta.open(b"a") == results.SUCCESS
    assert ta.data(ta.out) == data(where, 4)
    other = world.ta(6, where, number=2)
    other.close(other.made(b"a", data(where, 3)))
    other.close(other.made(b"a", data(where, 3), OVERWRITE))
    other.close(other.made(b"a", data(where, 3), OVERWRITE))


def test_keys_count_and_usage_can_be_given_up_at_the_limit(world: World, where: StorageId) -> None:
    ta = world.ta(2, where)
    obj = ta.made(b"key", b"", ALL, key_object(ta))
    assert ta.create(b"b") == FULL
    assert ta.call("cryp_obj_restrict_usage", obj, 0) == results.SUCCESS
    assert ta.call("storage_obj_rename", obj, ta.memory.place(b"other"), 5) == results.SUCCESS
    assert ta.names() == {b"other"}


def test_each_ta_has_its_own(world: World, where: StorageId) -> None:
    for number in (1, 2, 3):
        ta = world.ta(3, where, number)
        ta.close(ta.made(b"a", data(where, 3)))
        assert ta.create(b"b") == FULL


def test_instances_share_one(world: World, where: StorageId) -> None:
    one = world.ta(4, where)
    two = Ta(one.storage)
    two.storage_id = where
    one.close(one.made(b"a", data(where, 2)))
    assert two.create(b"b", data(where, 3)) == FULL
    two.close(two.made(b"b", data(where, 2)))
    assert one.create(b"c") == FULL


def test_it_holds_over_restarts(world: World, where: StorageId) -> None:
    ta = world.ta(None, where)
    ta.close(ta.made(b"a", data(where, 4)))
    for _ in range(2):
        ta = world.ta(6, where)
        assert ta.create(b"b", data(where, 3)) == FULL
    ta = world.ta(6, where)
    ta.close(ta.made(b"b", data(where, 2)))
    ta = world.ta(3, where)
    assert ta.open(b"a", ALL) == results.SUCCESS, "more than the limit is kept, and can be used"
    obj = ta.out
    assert ta.data(obj) == data(where, 4)
    assert ta.write(obj, b"grows" * 4096) == FULL
    assert ta.seek(obj, 0) == results.SUCCESS
    assert ta.write(obj, b"in place") == results.SUCCESS
    assert ta.call("storage_obj_trunc", obj, 3) == results.SUCCESS
    assert ta.data(obj) == b"in "


def test_both_storages_count_together(world: World) -> None:
    blocks = 8
    ta = world.ta(blocks)
    ta.close(ta.made(b"a", data(StorageId.PRIVATE, 4)))
    ta.storage_id = StorageId.PRIVATE_RPMB
    room = 4 * 4096
    ta.close(ta.made(b"b", bytes(room // 2 - 256 - HEAD.size)))
    assert ta.create(b"c", bytes(room // 2)) == FULL
    again = world.ta(blocks)
    assert again.create(b"c", data(StorageId.PRIVATE, 3)) == FULL, "the RPMB counts before anybody uses it"
    again.close(again.made(b"c", data(StorageId.PRIVATE, 2)))
    again.storage_id = StorageId.PRIVATE_RPMB
    assert again.create(b"d") == FULL
    assert again.open(b"b") == results.SUCCESS
    assert again.call("storage_obj_del", again.out) == results.SUCCESS
    again.close(again.made(b"d"))


def test_measuring_gives_no_rpmb_a_key(world: World) -> None:
    """A device's key is programmed once, and for good."""
    ta = world.ta(4)
    ta.close(ta.made(b"a"))
    assert world.rpmb.state.key is None
    ta.storage_id = StorageId.PRIVATE_RPMB
    ta.close(ta.made(b"a"))
    assert world.rpmb.state.key is not None


def test_a_corrupt_object_is_in_nobodys_way(world: World) -> None:
    files = cast("MemoryFiles", world.files)
    ta = world.ta(6)
    for name in (b"a", b"b"):
        ta.close(ta.made(name, data(StorageId.PRIVATE, 2)))
    ta.storage.close()
    files.stored["0"][:] = bytes(len(files.stored["0"]))
    ta = world.ta(6)
    assert ta.create(b"c", data(StorageId.PRIVATE, 4)) == FULL
    ta.close(ta.made(b"c", data(StorageId.PRIVATE, 3)))
    assert ta.open(b"a") == results.CORRUPT_OBJECT
    assert ta.open(b"b") == results.SUCCESS


def test_instances_at_once_never_pass_it(world: World, where: StorageId) -> None:
    blocks = 12
    first = world.ta(blocks, where)

    def work(number: int) -> None:
        ta = Ta(first.storage)
        ta.storage_id = where
        for turn in range(8):
            with ta.memory.scratch():
                if ta.create(b"%d-%d" % (number, turn), data(where, 2)) == results.SUCCESS:
                    ta.write(ta.out, data(where, 3))
                    ta.close(ta.out)

    together(work, range(4), 120)
    system = first.storage.ree() if where == StorageId.PRIVATE else first.storage._rpmb_storage()
    used = sum((1 + -(-size // system.unit)) * system.unit for size in system.lengths(first.uuid).values())
    assert blocks * UNITS[where] - 2 * UNITS[where] < used <= blocks * UNITS[where]


def test_processes_share_one(tmp_path: Path) -> None:
    """As `litebox-ta run` beside a daemon: each has an open store on the same files."""
    worlds = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        worlds.append(World(ReeFiles(tmp_path / "tee"), tmp_path / str(number)))
    one, two = (world.ta(7) for world in worlds)
    one.close(one.made(b"a", data(StorageId.PRIVATE, 3)))
    obj = two.made(b"b", data(StorageId.PRIVATE, 3))
    assert one.create(b"c") == FULL
    assert two.call("storage_obj_trunc", obj, 0) == results.SUCCESS
    one.close(one.made(b"c", data(StorageId.PRIVATE, 2)))
    assert two.write(obj, data(StorageId.PRIVATE, 3)) == FULL
    for world in worlds:
        world.rpmb.close()


def test_what_was_measured_is_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A growing log is not read again at every entry."""
    ta = world.ta(1000)
    for number in range(10):
        ta.close(ta.made(b"%d" % number))
    obj = ta.made(b"log")
    files = cast("MemoryFiles", world.files)
    opened: list[str] = []
    real = files.open

    def counted(name: str) -> int:
        opened.append(name)
        return real(name)

    monkeypatch.setattr(files, "open", counted)
    for _ in range(20):
        assert ta.write(obj, b"entry" * 100) == results.SUCCESS
    assert not opened


@pytest.mark.parametrize("limit", [0, 1, 4095])
def test_hardly_any(world: World, limit: int) -> None:
    ta = Ta()
    ta.storage = TrustedStorage(ta.platform, cast("NormalWorld", world), limit=limit)
    assert ta.create(b"a") == FULL
    assert ta.names() == set()
