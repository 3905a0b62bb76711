"""OP-TEE's REE file system: objects in files of the normal world's, which can neither read nor change them unnoticed.

Every change is made in three steps, each on the medium before the next: the new version of the object's file beside
the old one; the directory with the new root hash, which is the moment it counts; and what the old version took is
given back. The first two are one sync each; a new file's name, which would be a third, is reserved for many in advance.
Whoever stops in between leaves the object wholly old or wholly new, and at worst a file that nobody names
and whose number is the next to be used.

The normal world can put back a whole older store unless an anchor (an RPMB) keeps the directory's root.
Source: optee_os 4.5 core/tee/tee_ree_fs.c. Two differences: all handles of an object share one open file, where
OP-TEE's each hold a tree of their own that the others' changes make stale; and after a failed change the version on
the medium is opened anew, where OP-TEE takes the object for corrupt.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tee.abi import results
from tee.abi.ree_fs import BLOCK_SIZE
from tee.errors import TeeError
from tee.normal import Reserving
from tee.storage.dirfile import DirFile, Entry, Key, file_name
from tee.storage.oid import show_oid
from tee.storage.ree_file import ReeFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from uuid import UUID

    from south.platform import Entropy
    from tee.normal import Files
    from tee.storage.dirfile import Anchor
    from tee.storage.files import Octets
    from tee.storage.keys import StorageKeys

_KEPT = frozenset(
    {
        results.ITEM_NOT_FOUND,
        results.ACCESS_CONFLICT,
        results.CORRUPT_OBJECT,
        results.SECURITY,
        results.STORAGE_NO_SPACE,
        results.OUT_OF_MEMORY,
    }
)
"""Results that mean the same to a TA; any other of the normal world's is STORAGE_NOT_AVAILABLE, on which libutee does
not panic."""

OPEN_MOST = 64
"""Objects' files open at once: a supplicant opens only so many, and each keeps its hash tree in memory."""
NODES_MOST = 1 << 16
"""Nodes of those trees, some 200 bytes each: as many as the largest object has."""


RESERVE_MOST = 16
"""Names of files to come that are kept ready: the lowest numbers that are free."""


@runtime_checkable
class Shared(Protocol):
    """Files that other processes use, too."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Nobody else is inside meanwhile."""


class ReeFs:
    """`tee.storage.files.FileSystem`, and `tee.storage.quota.Measured`."""

    unit = BLOCK_SIZE

    def __init__(self, files: Files, entropy: Entropy, keys: StorageKeys, anchor: Anchor | None = None) -> None:
        """anchor: keeps the directory's root out of the normal world's reach."""
        self.files = files
        self._anchor = anchor
        self.entropy = entropy
        self.keys = keys
        self._lock = threading.RLock()
        self._directory: DirFile | None = None
        self.recovered = False
        """A directory was found whose newest version had been cut off while it was written (`DirFile.recovered`)."""
        self._opened: OrderedDict[int, ReeStoredFile] = OrderedDict()
        """Whose files are open, least recently used first."""
        self._depth = 0
        self._lengths: dict[UUID, dict[bytes, int]] = {}
        """Of versions of files, by their roots, of the TAs that somebody measures (`lengths`)."""
        self._shared = files if isinstance(files, Shared) else None

    @contextmanager
    def session(self) -> Iterator[DirFile]:
        """The directory, for one operation; whatever fails, the next one opens it again."""
        with self._lock:
            try:
                with self._outside():
                    yield self._open_directory()
            except TeeError as error:
                self._forget_after(error)
                if error.result not in _KEPT:
                    raise TeeError(results.STORAGE_NOT_AVAILABLE, error.detail) from error
                raise
            except BaseException:
                self.forget()
                raise

    @contextmanager
    def _outside(self) -> Iterator[None]:
        """Other processes kept out, by the outermost of sessions in sessions."""
        self._depth += 1
        try:
            with self._shared.exclusive() if self._shared is not None and self._depth == 1 else nullcontext():
                yield
        finally:
            self._depth -= 1

    def _open_directory(self) -> DirFile:
        if self._directory is not None and self._depth == 1 and self._shared is not None and self._directory.stale:
            self.forget()
        if self._directory is None:
            self._directory = DirFile.open(self.files, self.entropy, self.keys, self._anchor)
            self.recovered |= self._directory.recovered
        return self._directory

    def _forget_after(self, error: TeeError) -> None:
        """Unless it only told what is, or is not, in the directory."""
        harmless = error.result in (results.ITEM_NOT_FOUND, results.ACCESS_CONFLICT, results.STORAGE_NO_SPACE)
        if not harmless or (self._directory is not None and self._directory.changed):
            self.forget()

    def opened(self, stored: ReeStoredFile) -> None:
        """In a session: it uses its file now. Whoever has not for long must open it anew."""
        self._opened[id(stored)] = stored
        self._opened.move_to_end(id(stored))
        while len(self._opened) > OPEN_MOST or (len(self._opened) > 1 and self._nodes() > NODES_MOST):
            _, idle = self._opened.popitem(last=False)
            idle.drop()

    def _nodes(self) -> int:
        return sum(stored.nodes for stored in self._opened.values())

    def closed(self, stored: ReeStoredFile) -> None:
        self._opened.pop(id(stored), None)

    @property
    def lock(self) -> threading.RLock:
        return self._lock

    def forget(self) -> None:
        """Close the directory; also for the end."""
        directory, self._directory = self._directory, None
        if directory is not None:
            with suppress(TeeError):
                directory.close()

    # --- FileSystem

    def open(self, key: Key) -> ReeStoredFile:
        with self.session() as directory:
            entry = directory.find(key)
            return ReeStoredFile(self, key, self.open_file(entry))

    def open_file(self, entry: Entry) -> ReeFile:
        """The version of an object's file that the directory names. CORRUPT_OBJECT, too, if there is no such file."""
        try:
            return ReeFile.open(self.files, entry.file, self.entropy, self.keys, entry.key.owner, entry.root_hash)
        except TeeError as error:
            if error.result == results.ITEM_NOT_FOUND:
                raise TeeError(results.CORRUPT_OBJECT, f"file {entry.file} is gone") from None
            raise

    def create(self, key: Key, data: Octets, *, overwrite: bool) -> ReeStoredFile:
        with self.session() as directory:
            before = directory.get(key)
            if before is not None and not overwrite:
                raise TeeError(results.ACCESS_CONFLICT, f"TA {key.owner} has an object {show_oid(key.oid)}")
            directory.settle()
            entry = Entry(key, b"", self._reserved(directory))
            file = ReeFile.create(self.files, entry.file, self.entropy, self.keys, key.owner)
            try:
                self._fill(directory, file, entry, data)
                # From here on the directory on the medium may name the file.
                directory.put(entry._replace(root_hash=file.tree.root_hash))
                directory.commit()
            except BaseException:
                with suppress(TeeError):
                    file.close()
                raise
            self.measured(key.owner, file)
            if before is not None:
                self._discard(directory, before)
            return ReeStoredFile(self, key, file)

    def _reserved(self, directory: DirFile) -> int:
        """The number of a new file."""
        numbers = directory.free_numbers(RESERVE_MOST)
        if isinstance(self.files, Reserving):
            self.files.reserve([file_name(number) for number in numbers])
        return numbers[0]

    def _fill(self, directory: DirFile, file: ReeFile, entry: Entry, data: Octets) -> None:
        try:
            file.write(0, data)
            file.commit()
        except BaseException:
            self._discard(directory, entry)
            raise

    def _discard(self, directory: DirFile, entry: Entry) -> None:
        """A file that no directory on the medium names; if it stays, its number is used again all the same."""
        with suppress(TeeError):
            if not isinstance(self.files, Reserving):
                self.files.remove(entry.file)
                return
            *reserved, surplus = directory.free_numbers(RESERVE_MOST + 1)
            if entry.number in reserved:
                self.files.release(entry.file)
                self.files.remove(file_name(surplus))
            else:
                self.files.remove(entry.file)

    def rename(self, old: Key, new: Key) -> None:
        with self.session() as directory:
            directory.find(old)
            if directory.get(new) is not None:
                raise TeeError(results.ACCESS_CONFLICT, f"TA {new.owner} has an object {show_oid(new.oid)}")
            directory.rename(old, new)
            directory.commit()

    def remove(self, key: Key) -> None:
        with self.session() as directory:
            entry = directory.find(key)
            directory.remove(key)
            directory.commit()
            self._discard(directory, entry)

    def next(self, owner: UUID, after: int) -> tuple[int, bytes]:
        with self.session() as directory:
            return directory.next(owner, after)

    # --- Measured

    def lengths(self, owner: UUID) -> dict[bytes, int]:
        with self.session() as directory:
            entries = [entry for entry in directory.entries() if entry.key.owner == owner]
            known = self._lengths.get(owner, {})
            now: dict[bytes, int] = {}
            for entry in entries:
                length = known.get(entry.root_hash)
                now[entry.root_hash] = self._measure(entry) if length is None else length
            self._lengths[owner] = now
            return {entry.key.oid: now[entry.root_hash] for entry in entries}

    def _measure(self, entry: Entry) -> int:
        try:
            file = self.open_file(entry)
        except TeeError as error:
            if error.result != results.CORRUPT_OBJECT:
                raise
            return 0
        try:
            return file.length
        finally:
            with suppress(TeeError):
                file.close()

    def measured(self, owner: UUID, file: ReeFile) -> None:
        """A version of a file of the owner's counts now."""
        if owner in self._lengths:
            self._lengths[owner][file.tree.root_hash] = file.length


class ReeStoredFile:
    """`tee.storage.files.StoredFile`."""

    def __init__(self, system: ReeFs, key: Key, file: ReeFile) -> None:
        self._system = system
        self.key = key
        self._file: ReeFile | None = file
        self._length = file.length
        system.opened(self)

    @property
    def length(self) -> int:
        return self._length

    @property
    def nodes(self) -> int:
        """Of the hash tree that is kept."""
        return self._length // BLOCK_SIZE + 1

    @contextmanager
    def _session(self) -> Iterator[tuple[DirFile, ReeFile]]:
        """The directory and the file as the directory has it; after an error the file is opened anew next time."""
        with self._system.session() as directory:
            try:
                file = self._current(directory.find(self.key))
                yield directory, file
                self._length = file.length
            except BaseException:
                self.drop()
                raise

    def _current(self, entry: Entry) -> ReeFile:
        """Somebody else may have changed, or replaced, the object."""
        if self._file is not None and self._file.tree.root_hash != entry.root_hash:
            self.drop()
        if self._file is None:
            self._file = self._system.open_file(entry)
        self._system.opened(self)
        return self._file

    def drop(self) -> None:
        """Close the file until it is needed again; in a session."""
        file, self._file = self._file, None
        self._system.closed(self)
        if file is not None:
            with suppress(TeeError):
                file.close()

    def read(self, position: int, size: int) -> bytes:
        with self._session() as (_, file):
            return file.read(position, size)

    def write(self, position: int, data: Octets) -> None:
        if not data:
            return
        with self._session() as (directory, file):
            directory.settle()
            file.write(position, data)
            self._commit(directory, file)

    def truncate(self, size: int) -> None:
        with self._session() as (directory, file):
            directory.settle()
            file.truncate(size)
            self._commit(directory, file)
            with suppress(TeeError):  # the new size counts; what it freed stays with the file otherwise
                file.trim()

    def _commit(self, directory: DirFile, file: ReeFile) -> None:
        file.commit()
        entry = directory.find(self.key)
        directory.put(entry._replace(root_hash=file.tree.root_hash))
        directory.commit()
        self._system.measured(self.key.owner, file)

    def close(self) -> None:
        with self._system.lock:
            self.drop()
