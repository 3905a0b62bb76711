"""Stores in memory, and files that fail where a test says."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from tee.abi import results
from tee.errors import TeeError
from tee.storage.dirfile import Key
from tee.storage.keys import StorageKeys
from tee.storage.ree_fs import ReeFs

if TYPE_CHECKING:
    from collections.abc import Sequence

HUK = bytes(range(16))
OWNER = UUID("f4e750bb-1437-4fbf-8785-8d3580c34994")
OTHER = UUID("8aaaf200-2450-11e4-abe2-0002a5d5c51b")


def key(name: bytes, owner: UUID = OWNER) -> Key:
    return Key(owner, name)


class Root:
    """`RootOfTrust` with a known key."""

    def __init__(self, huk: bytes = HUK) -> None:
        self._huk = huk

    def hardware_unique_key(self) -> bytes:
        return self._huk

    def device_id(self) -> bytes:
        return b"BEEF" * 4


class Entropy:
    """Never the same byte string twice."""

    def __init__(self, seed: int = 0) -> None:
        self._given = seed << 64

    def fill(self, size: int) -> bytes:
        self._given += 1
        return (self._given.to_bytes(16, "big") * (size // 16 + 1))[:size]


class Cut(BaseException):
    """The power fails."""


class MemoryFiles:
    """`tee.normal.Files` in a dictionary.

    What was not synced lies in `pending`, and is lost, or lands, when the power fails. cut_at: the operation, counted
    from 1, at which it does; operations: how many there were.
    """

    def __init__(self, stored: dict[str, bytes] | None = None, cut_at: int = 0) -> None:
        self.stored = {name: bytearray(data) for name, data in (stored or {}).items()}
        self.cut_at = cut_at
        self.operations = 0
        self.fail_at = 0
        """As `cut_at`, but the operation answers an error: `fail_with`."""
        self.fail_with = results.STORAGE_NO_SPACE
        self.pending: list[tuple[str, int, bytes]] = []
        self._open: dict[int, bytearray] = {}
        self._names: dict[int, str] = {}
        self._last = 0

    def step(self) -> None:
        self.operations += 1
        if self.operations == self.cut_at:
            raise Cut
        if self.operations == self.fail_at:
            raise TeeError(self.fail_with)

    def survivors(self, *, keep: int | None = None, torn: bool = False) -> dict[str, bytes]:
        """What is on the medium after a cut: of the writes that were not synced the first `keep` (None: all); torn: of
        the next one its first half, too.
        """
        found = {name: bytearray(data) for name, data in self.stored.items()}
        for name, offset, old in reversed(self.pending[len(self.pending) if keep is None else keep :]):
            if name in found:
                found[name][offset : offset + len(old)] = old
        if torn and keep is not None and keep < len(self.pending):
            name, offset, old = self.pending[keep]
            if name in found:
                half = len(old) // 2
                found[name][offset : offset + half] = self.stored[name][offset : offset + half]
        return {name: bytes(data) for name, data in found.items()}

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
        self.stored[name] = bytearray()
        return self._add(name)

    def close(self, file: int) -> None:
        self._file(file)
        del self._open[file]
        del self._names[file]

    def read(self, file: int, offset: int, size: int) -> bytes:
        return bytes(self._file(file)[offset : offset + size])

    def write(self, file: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        self.step()
        target = self._file(file)
        end = offset + len(data)
        if len(target) < end:
            target.extend(bytes(end - len(target)))
        self.pending.append((self._names[file], offset, bytes(target[offset:end])))
        target[offset:end] = data

    def truncate(self, file: int, size: int) -> None:
        self.step()
        target = self._file(file)
        target[size:] = bytes(max(0, size - len(target)))

    def sync(self, file: int) -> None:
        self.step()
        name = self._names[file]
        self.pending = [row for row in self.pending if row[0] != name]

    def remove(self, name: str) -> None:
        self.step()
        if self.stored.pop(name, None) is None:
            raise TeeError(results.ITEM_NOT_FOUND)

    def rename(self, old: str, new: str, *, overwrite: bool) -> None:
        self.step()
        if new in self.stored and not overwrite:
            raise TeeError(results.ACCESS_CONFLICT)
        self.stored[new] = self.stored.pop(old)

    def list(self, name: str) -> Sequence[str]:
        return sorted(self.stored)


def store(files: MemoryFiles, huk: bytes = HUK, seed: int = 0) -> ReeFs:
    return ReeFs(files, Entropy(seed), StorageKeys(Root(huk)))


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
