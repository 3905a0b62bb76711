"""TAs installed in trusted storage."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from normal_world.host.daemon import DaemonHost
from normal_world.host.setup import Setup
from normal_world.supplicant.services import ServiceOptions
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tee.abi.pta_uuids import PTA_SECSTOR_TA_MGMT_UUID
from tee.errors import TeeError
from tee.params import Kind, Memref
from tee.storage.inspect import CORE, check, strangers
from tee.storage.pta_stores import StoredKey
from tee.storage.tadb import entries, install, load, parse
from tests.tas import cryptdrv
from tests.tee.storage.kit import HUK, Cut, MemoryFiles, store
from tests.tee.storage.reader import read_store
from tests.tee.storage.test_services import Ta

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = UUID(int=1), UUID("f4e750bb-1437-4fbf-8785-8d3580c34994")
IMAGE = bytes(range(256)) * 100


def test_install_replace_and_load() -> None:
    files = MemoryFiles()
    install(store(files), ONE, 1, IMAGE)
    install(store(files, seed=1), TWO, 0, b"two")
    install(store(files, seed=2), ONE, 2, b"newer")
    system = store(files, seed=3)
    assert load(system, ONE) == (2, b"newer")
    assert load(system, TWO) == (0, b"two")
    with pytest.raises(TeeError) as caught:
        install(system, ONE, 1, IMAGE)
    assert caught.value.result == results.ACCESS_CONFLICT
    with pytest.raises(TeeError) as caught:
        load(system, UUID(int=3))
    assert caught.value.result == results.ITEM_NOT_FOUND
    assert {entry.file for entry in entries(system)} == {name for name in files.stored if name.endswith(".ta")}
    assert not strangers(system)


def test_the_form_is_op_tees() -> None:
    files = MemoryFiles()
    install(store(files), TWO, 7, IMAGE)
    (found,) = read_store({name: bytes(data) for name, data in files.stored.items()}, HUK)
    assert (found.owner, found.oid) == (CORE, b"ta.db\0")
    uuid, version, custom, size, number, iv, tag, key = struct.unpack("<16sIIII16s16s32s", found.data)
    assert (uuid, version, custom, size, number) == (TWO.bytes_le, 7, 0, len(IMAGE), 0)
    assert AESGCM(key).decrypt(iv, bytes(files.stored["0.ta"]) + tag, None) == IMAGE


def test_a_changed_or_missing_file() -> None:
    files = MemoryFiles()
    install(store(files), ONE, 1, IMAGE)
    files.stored["0.ta"][7] ^= 1
    for _ in range(2):
        with pytest.raises(TeeError) as caught:
            load(store(files), ONE)
        assert caught.value.result == results.CORRUPT_OBJECT
        files.stored.pop("0.ta", None)


def test_a_cut_leaves_the_old_or_the_new() -> None:
    files = MemoryFiles()
    install(store(files), ONE, 1, IMAGE)
    before = files.survivors(keep=0)
    for cut_at in range(1, 20):
        files = MemoryFiles(before, cut_at=cut_at)
        try:
            install(store(files, seed=1), ONE, 2, b"newer")
        except Cut:
            pass
        assert load(store(MemoryFiles(files.survivors(keep=0))), ONE) in ((1, IMAGE), (2, b"newer"))


@given(st.binary(max_size=300))
def test_any_database_is_parsed(data: bytes) -> None:
    assert len(parse(data)) == len(data) // 96


def test_an_installed_ta_needs_no_folder(tmp_path: Path) -> None:
    driver = cryptdrv.UUIDS[Arch.AARCH64]
    setup = Setup(trust=(str(samples.public_key()),), state=str(tmp_path), quiet=True)
    with DaemonHost(setup, ServiceOptions(state=str(tmp_path))) as host:
        assert host.world.open_session(driver).result == results.ITEM_NOT_FOUND
        image = cryptdrv.path(Arch.AARCH64).read_bytes()
        pages = host.platform.pages.shared(len(image))
        pages.view(0, len(image))[:] = image
        session = host.world.open_session(PTA_SECSTOR_TA_MGMT_UUID).session
        offered = Memref(Kind.MEMREF_INPUT, pages, len(image))
        assert host.world.invoke(session, 0, [offered]).result == results.SUCCESS
        assert host.world.invoke(session, 1, [offered]).result == results.NOT_IMPLEMENTED
        assert host.world.invoke(session, 0, []).result == results.BAD_PARAMETERS
        pages.view(0, 1)[:] = b"!"
        assert host.world.invoke(session, 0, [offered]).result == results.SECURITY
    with DaemonHost(setup, ServiceOptions(state=str(tmp_path))) as host:
        assert host.world.open_session(driver).result == results.SUCCESS


def test_the_attestation_key_outlasts_the_world() -> None:
    files = MemoryFiles()
    ta = Ta(files=files)
    kept = StoredKey(lambda: ta.storage)
    assert kept.load() is None
    kept.save(b"a key")
    assert StoredKey(lambda: Ta(files=files).storage).load() == b"a key"
    assert [row.problem for row in check(ta.storage.ree())] == [None]
