"""The directory of a store: which object is in which file, and which version of that file counts.

It is a hash-tree file of entries itself, and small enough to be kept in memory whole. An update of it is what makes
any other update take force, and is one sync: header, nodes and blocks reach the medium in any order. A cut can leave a
newest version that is not whole; the one before it is then the one that counts. Once an update is known to be on the
medium, the version before is retired, so that later damage is never taken for a cut (docs/storage.md, "Durability").

Source: optee_os 4.5 core/tee/fs_dirfile.c. One difference: it is made under another name and renamed, so that a crash
leaves none or a whole one.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import count as counter
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import UUID

from tee.abi import results
from tee.abi.ree_fs import DIRFILE, EMPTY_ID, ENTRY, HASH_SIZE, HEAD
from tee.abi.storage import OBJECT_ID_MAX
from tee.abi.uuids import tee_uuid_bytes, uuid_from_tee
from tee.errors import TeeError
from tee.storage.htree import never_committed
from tee.storage.oid import show_oid
from tee.storage.ree_file import FileMedium, ReeFile

if TYPE_CHECKING:
    from south.platform import Entropy
    from tee.normal import Files
    from tee.storage.keys import StorageKeys

NEW_DIRFILE = DIRFILE + ".new"
_FREE = bytes(ENTRY.size)


class Key(NamedTuple):
    """An object's name."""

    owner: UUID
    oid: bytes


class Entry(NamedTuple):
    """root_hash: of the file's version that counts; number: of the file, whose name it is in hexadecimal."""

    key: Key
    root_hash: bytes
    number: int

    @property
    def file(self) -> str:
        return file_name(self.number)


def file_name(number: int) -> str:
    return f"{number:x}"


def pack_entry(entry: Entry) -> bytes:
    owner, oid = entry.key
    return ENTRY.pack(tee_uuid_bytes(owner), oid or EMPTY_ID, len(oid), entry.root_hash, entry.number)


def parse_entry(raw: bytes) -> Entry | None:
    """None: a free one. CORRUPT_OBJECT: none that OP-TEE writes."""
    uuid, oid, size, root_hash, number = ENTRY.unpack(raw)
    if not size and not oid[0]:
        return None
    if size > OBJECT_ID_MAX:
        raise TeeError(results.CORRUPT_OBJECT, f"an object id of {size} bytes")
    return Entry(Key(uuid_from_tee(uuid), oid[:size]), root_hash, number)


class Anchor(Protocol):
    """Remembers the directory's root where nobody can take it back."""

    def load(self) -> bytes | None:
        """None: there has been none yet."""

    def save(self, root_hash: bytes) -> None: ...


class DirFile:
    """The directory, open. Changes count from `commit` on; after an error, open it anew."""

    def __init__(self, file: ReeFile) -> None:
        self._file = file
        self._anchor: Anchor | None = None
        self._entries: list[Entry | None] = []
        self._at: dict[Key, int] = {}
        self._numbers: set[int] = set()
        self._heads = b""
        self.recovered = False
        """The making of the newest version was cut off: the one before counts."""
        self.changed = False
        """Since the last commit."""
        self._load()

    @classmethod
    def open(cls, files: Files, entropy: Entropy, keys: StorageKeys, anchor: Anchor | None = None) -> DirFile:
        """The store's, made if there is none. anchor: names the version that counts; one that knows none yet is told of
        the store as it is. SECURITY: the anchor names a version that is not there.
        """
        root = anchor.load() if anchor is not None else None
        if root is not None:
            return cls._anchored(files, entropy, keys, anchor, root)
        try:
            found = cls._whole(files, entropy, keys)
        except TeeError as error:
            missing = error.result == results.ITEM_NOT_FOUND
            if not missing and not _is_blank(files):
                raise
            ReeFile.create(files, NEW_DIRFILE, entropy, keys, None).finish()
            files.rename(NEW_DIRFILE, DIRFILE, overwrite=True)
            found = cls._version(files, entropy, keys)
        if anchor is not None:
            found._anchor = anchor
            try:
                anchor.save(found._file.tree.root_hash)
            except BaseException:
                found.close()
                raise
        return found

    @classmethod
    def _whole(cls, files: Files, entropy: Entropy, keys: StorageKeys) -> DirFile:
        """The newest version, or, if its making was cut off, the one before."""
        found = None
        try:
            found = cls._version(files, entropy, keys)
        except TeeError as error:
            if error.result == results.CORRUPT_OBJECT:
                with suppress(TeeError):
                    found = cls._version(files, entropy, keys, before=True)
                    found.recovered = True
            if found is None:
                raise
        with suppress(TeeError):
            found._file.mend()
        found._heads = found._file.head(2 * HEAD.size)
        return found

    @classmethod
    def _anchored(
        cls, files: Files, entropy: Entropy, keys: StorageKeys, anchor: Anchor | None, root: bytes
    ) -> DirFile:
        try:
            found = cls._version(files, entropy, keys, root)
        except TeeError as error:
            if error.result in (results.ITEM_NOT_FOUND, results.CORRUPT_OBJECT):
                raise TeeError(results.SECURITY, "the directory is not the one that the RPMB names") from None
            raise
        found._anchor = anchor
        return found

    @classmethod
    def _version(
        cls, files: Files, entropy: Entropy, keys: StorageKeys, root: bytes | None = None, *, before: bool = False
    ) -> DirFile:
        file = ReeFile.open(files, DIRFILE, entropy, keys, None, root, before=before)
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def _load(self) -> None:
        file = self._file
        self._heads = file.head(2 * HEAD.size)
        whole = file.read(0, file.length - file.length % ENTRY.size)
        for index in range(len(whole) // ENTRY.size):
            entry = parse_entry(whole[index * ENTRY.size :][: ENTRY.size])
            if entry is not None and (entry.number in self._numbers or entry.key in self._at):
                # Two objects in one file, or of one name, cannot be; OP-TEE keeps the first.
                file.settle()
                file.write(index * ENTRY.size, _FREE)
                entry = None
            self._entries.append(entry)
            if entry is not None:
                self._at[entry.key] = index
                self._numbers.add(entry.number)

    @property
    def stale(self) -> bool:
        """Whether somebody else has changed the file since."""
        return self._file.head(2 * HEAD.size) != self._heads

    # --- reading

    def get(self, key: Key) -> Entry | None:
        at = self._at.get(key)
        return None if at is None else self._entries[at]

    def find(self, key: Key) -> Entry:
        """ITEM_NOT_FOUND."""
        entry = self.get(key)
        if entry is None:
            raise TeeError(results.ITEM_NOT_FOUND, f"TA {key.owner} has no object {show_oid(key.oid)}")
        return entry

    def next(self, owner: UUID, after: int) -> tuple[int, bytes]:
        """Index and id of the owner's next object behind index `after`; -1 begins. ITEM_NOT_FOUND: no more."""
        for index in range(after + 1, len(self._entries)):
            entry = self._entries[index]
            if entry is not None and entry.key.owner == owner:
                return index, entry.key.oid
        raise TeeError(results.ITEM_NOT_FOUND, "no more objects")

    def entries(self) -> list[Entry]:
        return [entry for entry in self._entries if entry is not None]

    def free_numbers(self, count: int) -> list[int]:
        """The lowest file numbers that no object has."""
        return list(islice((number for number in counter() if number not in self._numbers), count))

    # --- writing

    def settle(self) -> None:
        """What this directory names is what it will name after a cut, too. Before files of objects change."""
        self._file.settle()

    def put(self, entry: Entry) -> None:
        """Add an object, or replace the one of that name."""
        assert len(entry.root_hash) == HASH_SIZE
        at = self._at.get(entry.key)
        if at is None:
            at = self._free_index()
        self._set(at, entry)

    def rename(self, old: Key, new: Key) -> None:
        """There is an `old`, and no `new`."""
        entry = self.find(old)
        at = self._at[old]
        self._set(at, entry._replace(key=new))

    def remove(self, key: Key) -> None:
        self._set(self._at[key], None)

    def _free_index(self) -> int:
        if len(self._at) == len(self._entries):
            return len(self._entries)
        return self._entries.index(None)

    def _set(self, at: int, entry: Entry | None) -> None:
        # What is written goes where the version before lies, which a cut could still need until then.
        self._file.settle()
        self.changed = True
        if at == len(self._entries):
            self._entries.append(None)
        before = self._entries[at]
        if before is not None:
            del self._at[before.key]
            self._numbers.discard(before.number)
        self._entries[at] = entry
        if entry is not None:
            self._at[entry.key] = at
            self._numbers.add(entry.number)
        self._file.write(at * ENTRY.size, _FREE if entry is None else pack_entry(entry))

    def commit(self) -> None:
        """On the medium on return. TeeError: what was there before is in force still, or again.

        With an anchor, it is what that one says; one that does not answer may have saved the root all the same.
        """
        tree = self._file.tree
        before = tree.counter
        try:
            self._file.commit()
        except TeeError:
            if tree.counter != before:
                # The header is written, and would be taken for the newest, however little of the rest has landed.
                with suppress(TeeError):
                    tree.abandon()
            raise
        if self._anchor is not None:
            # Until now the version before counts, which is still there beside this one.
            self._anchor.save(self._file.tree.root_hash)
        with suppress(TeeError):
            self._file.tree.retire()
        self.changed = False
        try:
            self._heads = self._file.head(2 * HEAD.size)
        except TeeError:
            self._heads = b""  # stale: opened again next time


def _is_blank(files: Files) -> bool:
    """Whether the directory's making was cut off before it held anything: OP-TEE makes it in place."""
    try:
        handle = files.open(DIRFILE)
    except TeeError:
        return False
    try:
        return never_committed(FileMedium(files, handle))
    finally:
        files.close(handle)
