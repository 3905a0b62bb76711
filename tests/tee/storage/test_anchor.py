"""The directory's root in the RPMB: older stores are refused, and a cut anywhere leaves old or new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from normal_world.supplicant.rpmb import EmulatedRpmb
from tee.abi import results
from tee.errors import TeeError
from tee.storage.anchor import NAME, RpmbAnchor
from tee.storage.keys import StorageKeys
from tee.storage.ree_fs import ReeFs
from tee.storage.rpmb import RpmbStorage
from tests.fakes import FixedRoot
from tests.tee.storage.kit import HUK, Cut, Entropy, MemoryFiles, key
from tests.tee.storage.reader import read_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tee.storage.dirfile import Anchor


class Known:
    """An anchor in memory, that a cut may come before."""

    def __init__(self, root: bytes | None = None) -> None:
        self.root = root
        self.cut = False

    def load(self) -> bytes | None:
        return self.root

    def save(self, root_hash: bytes) -> None:
        if self.cut:
            raise Cut
        self.root = root_hash


def mount(files: MemoryFiles, anchor: Anchor | None) -> ReeFs:
    return ReeFs(files, Entropy(1), StorageKeys(FixedRoot(HUK)), anchor)


def contents(files: dict[str, bytes], root: bytes | None) -> dict[bytes, bytes]:
    """As a new start finds them."""
    system = mount(MemoryFiles(files), Known(root))
    with system.session() as directory:
        names = [entry.key for entry in directory.entries()]
    return {name.oid: system.open(name).read(0, 1 << 20) for name in names}


@pytest.fixture
def rpmb(tmp_path: Path) -> Iterator[EmulatedRpmb]:
    model = EmulatedRpmb(tmp_path / "rpmb")
    yield model
    model.close()


def test_an_older_store_is_refused(rpmb: EmulatedRpmb) -> None:
    def anchor() -> RpmbAnchor:
        storage = RpmbStorage(rpmb, FixedRoot(HUK), Entropy(), StorageKeys(FixedRoot(HUK)))
        return RpmbAnchor(lambda: storage.files)

    files = MemoryFiles()
    system = mount(files, anchor())
    system.create(key(b"a"), b"first", overwrite=False).close()
    old = {name: bytes(data) for name, data in files.stored.items()}
    system.create(key(b"a"), b"second", overwrite=True).close()
    new = {name: bytes(data) for name, data in files.stored.items()}
    assert mount(MemoryFiles(new), anchor()).open(key(b"a")).read(0, 10) == b"second"
    for stored in (old, {}):
        with pytest.raises(TeeError) as refused:
            mount(MemoryFiles(stored), anchor()).open(key(b"a"))
        assert refused.value.result == results.SECURITY
    # Without the anchor the older store is a store, as under OP-TEE without RPMB.
    assert mount(MemoryFiles(old), None).open(key(b"a")).read(0, 10) == b"first"
    assert NAME == b"/dirfile.db.hash"  # optee_os tee_ree_fs.c, open_dirh
    storage = RpmbStorage(rpmb, FixedRoot(HUK), Entropy(), StorageKeys(FixedRoot(HUK)))
    assert storage.files.size(NAME) == 32


def test_a_store_that_was_there_before_is_taken_over() -> None:
    files = MemoryFiles()
    mount(files, None).create(key(b"a"), b"data", overwrite=False).close()
    known = Known()
    assert mount(files, known).open(key(b"a")).read(0, 10) == b"data"
    assert known.root is not None


CHANGES: dict[str, Callable[[ReeFs], object]] = {
    "create": lambda system: system.create(key(b"b"), b"new" * 3000, overwrite=False),
    "overwrite": lambda system: system.create(key(b"a"), b"new" * 3000, overwrite=True),
    "write": lambda system: system.open(key(b"a")).write(10, b"new" * 3000),
    "truncate": lambda system: system.open(key(b"a")).truncate(5),
    "rename": lambda system: system.rename(key(b"a"), key(b"b")),
    "remove": lambda system: system.remove(key(b"a")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_cut_anywhere_leaves_old_or_new(what: str) -> None:
    known = Known()
    begun = MemoryFiles()
    mount(begun, known).create(key(b"a"), b"old" * 3000, overwrite=False).close()
    start, root = {name: bytes(data) for name, data in begun.stored.items()}, known.root
    before = contents(start, root)

    whole, after_root = MemoryFiles(start), Known(root)
    CHANGES[what](mount(whole, after_root))
    after = contents({name: bytes(data) for name, data in whole.stored.items()}, after_root.root)
    assert before != after

    for cut in range(1, whole.operations + 1):
        files, anchor = MemoryFiles(start, cut_at=cut), Known(root)
        with pytest.raises(Cut):
            CHANGES[what](mount(files, anchor))
        for kept in (0, None):
            assert contents(files.survivors(keep=kept), anchor.root) in (before, after), (cut, kept)

    files, anchor = MemoryFiles(start), Known(root)
    anchor.cut = True
    with pytest.raises(Cut):
        CHANGES[what](mount(files, anchor))
    left = files.survivors()
    assert contents(left, anchor.root) == before
    # And it goes on from there.
    anchor.cut = False
    again = MemoryFiles(left)
    CHANGES[what](mount(again, anchor))
    assert contents({name: bytes(data) for name, data in again.stored.items()}, anchor.root) == after


def test_the_format_is_the_same() -> None:
    files = MemoryFiles()
    mount(files, Known()).create(key(b"a"), b"data", overwrite=False).close()
    (found,) = read_store({name: bytes(data) for name, data in files.stored.items()}, HUK)
    assert (found.oid, found.data.endswith(b"data")) == (b"a", True)
