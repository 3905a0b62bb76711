"""Stores in memory, and files that fail where a test says."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from tee.abi import results
from tee.abi.ree_fs import HEAD, head_offset, node_offset
from tee.errors import TeeError
from tee.normal import RESERVED
from tee.storage.dirfile import Key
from tee.storage.keys import StorageKeys
from tee.storage.ree_fs import ReeFs
from tests.fakes import FixedRoot

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterator, Sequence

HUK = bytes(range(16))
OWNER = UUID("f4e750bb-1437-4fbf-8785-8d3580c34994")
OTHER = UUID("8aaaf200-2450-11e4-abe2-0002a5d5c51b")


def key(name: bytes, owner: UUID = OWNER) -> Key:
    return Key(owner, name)


class Entropy:
    """Never the same byte string twice."""

    def __init__(self, seed: int = 0) -> None:
        self._given = seed << 64

    def fill(self, size: int) -> bytes:
        self._given += 1
        return (self._given.to_bytes(16, "big") * (size // 16 + 1))[:size]


class Cut(BaseException):
    """The power fails."""


SECTOR = 512
"""Bytes that a medium writes wholly or not at all."""


class Pending(NamedTuple):
    """A write that no sync has followed. data: None for a truncation to `offset`."""

    name: str
    offset: int
    data: bytes | None

    @property
    def one_sector(self) -> bool:
        """Both headers of a file, which lie in its first sector."""
        return self.data is not None and self.offset + len(self.data) <= SECTOR

    def apply(self, target: bytearray, *, torn: bool = False) -> None:
        """torn: its first half alone."""
        if self.data is None:
            target[self.offset :] = bytes(max(0, self.offset - len(target)))
            return
        data = self.data[: len(self.data) // 2] if torn else self.data
        target.extend(bytes(max(0, self.offset + len(data) - len(target))))
        target[self.offset : self.offset + len(data)] = data


class MemoryFiles:
    """`tee.normal.Files` in a dictionary.

    What was not synced lies in `pending`, and is lost, or lands, when the power fails; so do removals. cut_at: the
    operation, counted from 1, at which it does; operations: how many there were; syncs: of files and of the folder.
    """

    def __init__(self, stored: dict[str, bytes] | None = None, cut_at: int = 0) -> None:
        self.stored = {name: bytearray(data) for name, data in (stored or {}).items()}
        self.cut_at = cut_at
        self.operations = 0
        self.fail_at = 0
        """As `cut_at`, but the operation answers an error: `fail_with`."""
        self.fail_with = results.STORAGE_NO_SPACE
        self.reads_count = False
        """Reads are operations, too."""
        self.pending: list[Pending] = []
        self.syncs = 0
        self._synced = {name: bytes(data) for name, data in self.stored.items()}
        """By name, as of the last sync; of removed ones, too, until the folder is synced."""
        self._open: dict[int, bytearray] = {}
        self._names: dict[int, str] = {}
        self._last = 0

    def step(self) -> None:
        self.operations += 1
        if self.operations == self.cut_at:
            raise Cut
        if self.operations == self.fail_at:
            raise TeeError(self.fail_with)

    def survivors(self, *, keep: int | None = None, torn: int | None = None) -> dict[str, bytes]:
        """What is on the medium after a cut: of the writes that were not synced the first `keep` (None: all); torn:
        the one of which its first half is there, too.
        """
        return self.left_by(range(len(self.pending) if keep is None else keep), torn=torn)

    def left_by(self, kept: Collection[int], *, torn: int | None = None, removed: bool = True) -> dict[str, bytes]:
        """As `survivors`, of any choice of `pending`. removed: whether the removals of files lasted."""
        found = {name: bytearray(data) for name, data in self._synced.items() if name in self.stored or not removed}
        for number, write in enumerate(self.pending):
            if write.name in found and (number in kept or number == torn):
                write.apply(found[write.name], torn=number not in kept)
        return {name: bytes(data) for name, data in found.items()}

    def cuts(self, chance: random.Random, most: int = 64) -> Iterator[dict[str, bytes]]:
        """What a cut right now may leave: every choice of what was not synced, or `most` of them by chance, also with
        one more write in half. Writes to one sector land in their order.
        """
        count = len(self.pending)
        numbers = range(1 << count) if 1 << count <= most else [chance.getrandbits(count) for _ in range(most)]
        for number in numbers:
            kept = {at for at in range(count) if number >> at & 1}
            lost = [at for at in range(count) if at not in kept]
            if any(self._same_sector(a, b) for a in lost for b in kept if a < b):
                continue
            yield self.left_by(kept, removed=bool(chance.getrandbits(1)))
            halves = [at for at in lost if not self.pending[at].one_sector]
            if halves:
                yield self.left_by(kept, torn=chance.choice(halves), removed=bool(chance.getrandbits(1)))

    def _same_sector(self, one: int, other: int) -> bool:
        first, second = self.pending[one], self.pending[other]
        return first.name == second.name and first.one_sector and second.one_sector

    def _file(self, file: int) -> bytearray:
        try:
            return self._open[file]
        except KeyError:
            raise TeeError(results.BAD_PARAMETERS) from None

    def _add(self, name: str) -> int:
        self._last += 1
        self._open[self._last] = self.stored[name]
        self._names[self._last] = name
        return self._last

    @property
    def handles(self) -> int:
        return len(self._open)

    # --- Files

    def open(self, name: str) -> int:
        if name not in self.stored:
            raise TeeError(results.ITEM_NOT_FOUND)
        return self._add(name)

    def create(self, name: str) -> int:
        self.step()
        if not self._is_reserved(name):
            self._sync_folder()
        self.stored[name] = bytearray()
        self._synced[name] = b""
        self.pending = [row for row in self.pending if row.name != name]
        return self._add(name)

    def close(self, file: int) -> None:
        self._file(file)
        del self._open[file]
        del self._names[file]

    def read(self, file: int, offset: int, size: int) -> bytes:
        if self.reads_count:
            self.step()
        return bytes(self._file(file)[offset : offset + size])

    def write(self, file: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        self.step()
        self._add_pending(file, Pending(self._names[file], offset, bytes(data)))

    def truncate(self, file: int, size: int) -> None:
        self.step()
        self._add_pending(file, Pending(self._names[file], size, None))

    def _add_pending(self, file: int, write: Pending) -> None:
        write.apply(self._file(file))
        self.pending.append(write)

    def sync(self, file: int) -> None:
        self.step()
        name = self._names[file]
        self.syncs += 1
        self._synced[name] = bytes(self._file(file))
        self.pending = [row for row in self.pending if row.name != name]

    def _sync_folder(self) -> None:
        self.syncs += 1
        self._synced = {name: data for name, data in self._synced.items() if name in self.stored}

    def remove(self, name: str) -> None:
        self.step()
        if self.stored.pop(name, None) is None:
            raise TeeError(results.ITEM_NOT_FOUND)

    def rename(self, old: str, new: str, *, overwrite: bool) -> None:
        self.step()
        if new in self.stored and not overwrite:
            raise TeeError(results.ACCESS_CONFLICT)
        self.stored[new] = self.stored.pop(old)
        self._synced[new] = self._synced.pop(old)
        self.pending = [row._replace(name=new) if row.name == old else row for row in self.pending if row.name != new]
        self._names = {file: new if name == old else name for file, name in self._names.items()}
        self._sync_folder()

    # --- Reserving

    def _is_reserved(self, name: str) -> bool:
        return bytes(self.stored.get(name, b"")) == RESERVED

    def reserve(self, names: Sequence[str]) -> None:
        if self._is_reserved(names[0]):
            return
        self.step()
        for name in names:
            self.stored[name] = bytearray()
            self._synced[name] = b""
        self._sync_folder()
        for name in names:
            self._write_at(name, RESERVED)

    def release(self, name: str) -> None:
        self.step()
        if name not in self.stored:
            raise TeeError(results.ITEM_NOT_FOUND)
        self.stored[name].clear()
        self.pending.append(Pending(name, 0, None))
        self._write_at(name, RESERVED)

    def _write_at(self, name: str, data: bytes) -> None:
        self.step()
        write = Pending(name, 0, data)
        write.apply(self.stored[name])
        self.pending.append(write)

    def list(self, name: str) -> Sequence[str]:
        return sorted(self.stored)


def store(files: MemoryFiles, huk: bytes = HUK, seed: int = 0) -> ReeFs:
    return ReeFs(files, Entropy(seed), StorageKeys(FixedRoot(huk)))


def used(stored: dict[str, bytes]) -> dict[str, bytes]:
    """Without the files that are there for their names alone."""
    return {name: data for name, data in stored.items() if data != RESERVED}


def contents(stored: dict[str, bytes], *names: bytes, owner: UUID = OWNER) -> dict[bytes, bytes | None]:
    """What a fresh secure world finds in a store: an object's bytes by id, None for one that is not there."""
    system = store(MemoryFiles(stored), seed=1)
    found: dict[bytes, bytes | None] = {}
    for name in names:
        try:
            file = system.open(key(name, owner))
        except TeeError as error:
            if error.result != results.ITEM_NOT_FOUND:
                raise
            found[name] = None
            continue
        found[name] = file.read(0, file.length)
        file.close()
    return found


def newest_damaged(stored: dict[str, bytes]) -> dict[str, bytes]:
    """One bit of the root node of the directory's newest version."""
    raw = bytearray(stored["dirf.db"])
    counters = [HEAD.unpack_from(raw, head_offset(version))[4] for version in (0, 1)]
    raw[node_offset(1, counters.index(max(counters)))] ^= 1
    return {**stored, "dirf.db": bytes(raw)}
