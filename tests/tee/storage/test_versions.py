"""Databases of versions in trusted storage."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tee.abi import results
from tee.errors import TeeError
from tee.storage.inspect import CORE, data_stream
from tee.storage.versions import VersionStore
from tests.tee.storage.kit import HUK, Cut, MemoryFiles, key, store
from tests.tee.storage.reader import read_store

if TYPE_CHECKING:
    from tee.storage.ree_fs import ReeFs

ONE, TWO = UUID(int=1), UUID("f4e750bb-1437-4fbf-8785-8d3580c34994")
NAME = "ta_ver.db"


def check_update(system: ReeFs, database: str, uuid: UUID, version: int) -> int:
    return VersionStore(system).check_update(database, uuid, version)


def test_floors_rise_and_last() -> None:
    files = MemoryFiles()
    for uuid, version, floor in ((ONE, 3, 3), (TWO, 0, 0), (ONE, 2, 3), (ONE, 4, 4), (TWO, 1, 1), (ONE, 0, 4)):
        assert check_update(store(files, seed=files.operations), NAME, uuid, version) == floor
    assert check_update(store(files), "subkey_ver.db", ONE, 1) == 1


def test_the_form_is_op_tees() -> None:
    files = MemoryFiles()
    check_update(store(files), NAME, TWO, 7)
    (found,) = read_store({name: bytes(data) for name, data in files.stored.items()}, HUK)
    assert (found.owner, found.oid) == (UUID(int=0), b"ta_ver.db\0")
    assert found.data == struct.pack("<II", 0, 1) + bytes.fromhex("f4e750bb14374fbf87858d3580c34994") + b"\7\0\0\0"


def test_a_cut_leaves_a_database() -> None:
    files = MemoryFiles()
    check_update(store(files), NAME, ONE, 1)
    before = files.survivors(keep=0)
    for cut_at in range(1, 30):
        files = MemoryFiles(before, cut_at=cut_at)
        try:
            check_update(store(files, seed=1), NAME, TWO, 5)
        except Cut:
            pass
        left = MemoryFiles(files.survivors(keep=0))
        assert check_update(store(left, seed=2), NAME, ONE, 0) == 1
        assert check_update(store(left, seed=3), NAME, TWO, 0) in (0, 5)


@pytest.mark.parametrize("data", [b"\0\0\0\0\2\0\0\0", struct.pack("<II", 0, 0xFFFFFFFF) + bytes(40)])
def test_a_damaged_database_decides_nothing(data: bytes) -> None:
    system = store(MemoryFiles())
    system.create(key(b"ta_ver.db\0", CORE), data, overwrite=False)
    with pytest.raises(TeeError) as caught:
        check_update(system, NAME, ONE, 1)
    assert caught.value.result == results.CORRUPT_OBJECT


def test_what_op_tee_left_unfinished_is_finished() -> None:
    system = store(MemoryFiles())
    system.create(key(b"ta_ver.db\0", CORE), b"", overwrite=False)
    assert check_update(system, NAME, ONE, 1) == 1
    assert len(data_stream(system, key(b"ta_ver.db\0", CORE))) == 28


def test_what_stays_open_sees_what_others_do() -> None:
    system = store(MemoryFiles())
    one, two = VersionStore(system), VersionStore(system)
    assert [one.check_update(NAME, ONE, 1), two.check_update(NAME, ONE, 5), one.check_update(NAME, ONE, 2)] == [1, 5, 5]
    system.remove(key(b"ta_ver.db\0", CORE))
    assert [one.check_update(NAME, ONE, 3), two.check_update(NAME, ONE, 2)] == [3, 3]
