"""Stores in OP-TEE's format: a real one opens here, and an independent reader opens ours."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tee.abi import results
from tee.abi.ree_fs import BLOCK_SIZE, ENTRY, GROUP, block_offset, node_offset
from tee.errors import TeeError
from tee.storage.dirfile import Entry, pack_entry, parse_entry
from tee.storage.ree_fs import OPEN_MOST
from tests.tee.storage.kit import HUK, OTHER, OWNER, MemoryFiles, contents, key, store
from tests.tee.storage.reader import Found, read_store

REAL_HUK = bytes(16)


@pytest.fixture(scope="module")
def real() -> dict[str, bytes]:
    """The files of a store that OP-TEE 4.5 wrote."""
    beside = Path(__file__).resolve().parents[4] / "shared"
    folder = Path(os.environ.get("LITEBOX_SHARED") or beside) / "optee-store" / "tee"
    if not (folder / "dirf.db").is_file():
        pytest.skip(f"no trusted storage of a real OP-TEE at {folder}; LITEBOX_SHARED names its parent")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_real_store_opens(real: dict[str, bytes]) -> None:
    system = store(MemoryFiles(real), REAL_HUK)
    assert system.next(OWNER, -1)[1] == b"object#2"
    file = system.open(key(b"object#2"))
    assert file.read(24, 100) == b"This is data stored in the secure storage.\n\0"
    with system.session() as directory:
        assert {entry.key.oid for entry in directory.entries()} == {b"ta.db\0", b"ta_ver.db\0", b"object#2"}


def test_a_real_store_can_be_written_to(real: dict[str, bytes]) -> None:
    files = MemoryFiles(real)
    system = store(files, REAL_HUK)
    system.open(key(b"object#2")).write(24, b"That")
    system.create(key(b"new"), bytes(9000), overwrite=False)
    found = {row.oid: row.data for row in read_store({k: bytes(v) for k, v in files.stored.items()}, REAL_HUK)}
    assert found[b"object#2"][24:].startswith(b"That is data stored")
    assert found[b"new"] == bytes(9000)
    assert set(found) == {b"ta.db\0", b"ta_ver.db\0", b"object#2", b"new"}


def test_a_real_store_opens_with_no_other_key(real: dict[str, bytes]) -> None:
    with pytest.raises(TeeError) as caught:
        store(MemoryFiles(real), HUK).open(key(b"object#2"))
    assert caught.value.result == results.CORRUPT_OBJECT


@pytest.mark.parametrize("size", [0, 1, 24, 4095, 4096, 4097, 8192, 31 * 4096, 31 * 4096 + 1, 70 * 4096 + 5])
def test_the_reader_opens_ours(size: int) -> None:
    files = MemoryFiles()
    data = bytes(i * 7 & 0xFF for i in range(size))
    system = store(files)
    system.create(key(b"a"), data, overwrite=False)
    system.create(key(b"", OTHER), b"empty id", overwrite=False)
    assert read_store({k: bytes(v) for k, v in files.stored.items()}, HUK) == [
        Found(OWNER, b"a", "0", data),
        Found(OTHER, b"", "1", b"empty id"),
    ]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 6 * BLOCK_SIZE), st.binary(min_size=1, max_size=2 * BLOCK_SIZE)),
        st.tuples(st.just("truncate"), st.integers(0, 8 * BLOCK_SIZE), st.just(b"")),
    ),
    max_size=8,
)


@settings(max_examples=60)
@given(OPERATIONS)
def test_any_history_is_what_a_byte_array_would_be(operations: list[tuple[str, int, bytes]]) -> None:
    files = MemoryFiles()
    file = store(files).create(key(b"a"), b"", overwrite=False)
    model = bytearray()
    for name, at, data in operations:
        if name == "write":
            file.write(at, data)
            model.extend(bytes(max(0, at - len(model))))
            model[at : at + len(data)] = data
        else:
            file.truncate(at)
            model[at:] = bytes(max(0, at - len(model)))
        assert file.length == len(model)
    assert file.read(0, len(model) + 1) == model
    stored = {k: bytes(v) for k, v in files.stored.items()}
    assert read_store(stored, HUK)[0].data == model
    assert contents(stored, b"a") == {b"a": bytes(model)}


def test_places_do_not_overlap() -> None:
    taken: set[int] = {0}
    for block in range(4 * GROUP):
        for version in (0, 1):
            place = block_offset(block, version) // BLOCK_SIZE
            assert place not in taken
            taken.add(place)
    for node in range(1, 4 * GROUP + 1):
        assert node_offset(node, 0) // BLOCK_SIZE not in taken
        assert node_offset(node, 1) == node_offset(node, 0) + 66


@given(st.uuids(), st.binary(max_size=64), st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1))
def test_directory_entries(owner: UUID, oid: bytes, root: bytes, number: int) -> None:
    entry = Entry(key(oid, owner), root, number)
    assert parse_entry(pack_entry(entry)) == entry


@given(st.binary(min_size=ENTRY.size, max_size=ENTRY.size))
def test_any_directory_entry_is_understood_or_refused(raw: bytes) -> None:
    try:
        entry = parse_entry(raw)
    except TeeError as error:
        if error.result != results.CORRUPT_OBJECT:
            raise
    else:
        assert entry is None or len(entry.key.oid) <= 64


def test_more_objects_than_files_may_be_open() -> None:
    files = MemoryFiles()
    system = store(files)
    kept = [system.create(key(b"%d" % i), b"%d" % i, overwrite=False) for i in range(OPEN_MOST + 20)]
    assert files.handles <= OPEN_MOST + 1
    for i, file in enumerate(kept):
        file.write(0, b"<")
        assert file.read(0, 9) == b"<" + (b"%d" % i)[1:]
    for file in kept:
        file.close()
    system.forget()
    assert not files.handles
