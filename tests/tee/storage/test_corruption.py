"""Whatever the normal world does to the files, a TA never reads what it did not write."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tee.abi import results
from tee.abi.ree_fs import HEAD
from tee.errors import TeeError
from tee.storage import htree
from tests.tee.storage.kit import OTHER, MemoryFiles, contents, key, newest_damaged, store, used

DATA = bytes(range(256)) * 40
REFUSED = {results.CORRUPT_OBJECT, results.SECURITY}


def made() -> dict[str, bytes]:
    files = MemoryFiles()
    system = store(files)
    system.create(key(b"a"), DATA, overwrite=False)
    system.create(key(b"b"), b"other", overwrite=False).write(2, b"HER")
    return used(files.survivors())


STORED = made()


def outcome(stored: dict[str, bytes]) -> dict[bytes, bytes | None] | None:
    """What is found, None if the store refuses."""
    try:
        return contents(stored, b"a", b"b")
    except TeeError as error:
        if error.result not in REFUSED:
            raise
        return None


WHOLE = {b"a": DATA, b"b": b"otHER"}
NOTHING = {b"a": None, b"b": None}


@pytest.mark.parametrize("name", sorted(STORED))
def test_every_byte_of_the_headers_and_nodes(name: str) -> None:
    raw = STORED[name]
    places = [*range(2 * HEAD.size), *range(4096, 4096 + 2 * 66 * 3)]
    refused = 0
    for at in (place for place in places if place < len(raw)):
        bent = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        found = outcome({**STORED, name: bent})
        assert found in (None, WHOLE), f"{name}: byte {at}"
        refused += found is None
    assert refused >= 66


@settings(max_examples=150)
@given(st.sampled_from(sorted(STORED)), st.data())
def test_any_change_is_noticed_or_does_not_matter(name: str, data: st.DataObject) -> None:
    raw = bytearray(STORED[name])
    at = data.draw(st.integers(0, len(raw) - 1))
    piece = data.draw(st.binary(min_size=1, max_size=200))
    raw[at : at + len(piece)] = piece
    assert outcome({**STORED, name: bytes(raw)}) in (None, WHOLE)


@settings(max_examples=60)
@given(st.sampled_from(sorted(STORED)), st.data())
def test_a_file_cut_short(name: str, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(STORED[name]) - 1))
    found = outcome({**STORED, name: STORED[name][:size]})
    # A directory that holds no header at all is one that was never finished: an empty store.
    assert found in (None, WHOLE) or (found == NOTHING and name == "dirf.db")


def test_files_that_are_gone_or_swapped() -> None:
    assert outcome({k: v for k, v in STORED.items() if k != "0"}) is None
    assert outcome({**STORED, "0": STORED["1"], "1": STORED["0"]}) is None


def test_an_older_version_of_one_file() -> None:
    files = MemoryFiles(STORED)
    store(files, seed=5).open(key(b"a")).write(0, b"newer")
    newer = {name: bytes(data) for name, data in files.stored.items()}
    assert outcome({**newer, "dirf.db": newer["dirf.db"]}) == {**WHOLE, b"a": b"newer" + DATA[5:]}
    # The older contents may still be there, as the version before; two writes later they are not.
    store(files, seed=6).open(key(b"a")).write(0, b"2nd..")
    assert outcome({**{n: bytes(d) for n, d in files.stored.items()}, "0": STORED["0"]}) is None


def test_another_device_opens_nothing() -> None:
    with pytest.raises(TeeError) as caught:
        store(MemoryFiles(STORED), bytes(16)).open(key(b"a"))
    assert caught.value.result in REFUSED


def test_a_ta_finds_its_own_objects_alone() -> None:
    assert contents(STORED, b"a", b"b", owner=OTHER) == NOTHING
    with pytest.raises(TeeError) as caught:
        store(MemoryFiles(STORED)).next(OTHER, -1)
    assert caught.value.result == results.ITEM_NOT_FOUND


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(["dirf.db", "0", "1"]), st.binary(max_size=9000), min_size=1))
def test_garbage(stored: dict[str, bytes]) -> None:
    assert outcome(stored) in (None, NOTHING)


def test_damage_is_no_cut() -> None:
    """A version that was not whole is passed over; one that had been is missed."""
    files = MemoryFiles(STORED)
    store(files, seed=5).remove(key(b"b"))
    assert outcome(newest_damaged(files.survivors())) is None
    # The power fails right after the call: what would say that it was whole is not on the medium.
    cut = files.survivors(keep=0)
    assert outcome(cut) == {**WHOLE, b"b": None}
    assert outcome(newest_damaged(cut)) == WHOLE
    # Whoever opens the store next makes up for it, even if they change nothing.
    opened = MemoryFiles(cut)
    store(opened).open(key(b"a"))
    assert outcome(newest_damaged(opened.survivors())) is None
    # Nor is the version before to be had by making the newest one look cut off for good.
    mended = MemoryFiles(newest_damaged(cut))
    store(mended).open(key(b"a"))
    assert outcome(mended.survivors()) == WHOLE
    assert outcome(newest_damaged(mended.survivors())) is None


def test_op_tees_directory_is_never_taken_for_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not write a header that says so."""
    files = MemoryFiles(STORED)
    with monkeypatch.context() as patch:
        patch.setattr(htree, "UNORDERED", b"\1")
        patch.setattr(htree.HashTree, "retire", lambda tree: None)
        store(files, seed=5).remove(key(b"b"))
    left = files.survivors()
    assert outcome(left) == {**WHOLE, b"b": None}
    assert outcome(newest_damaged(left)) is None
    opened = MemoryFiles(left)
    store(opened).open(key(b"a"))
    assert opened.survivors() == left, "what is only read stays as it is"
