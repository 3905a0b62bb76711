"""A limit on what each TA may keep in trusted storage, over all file systems together.

An object costs its length (head, attributes and data) in whole blocks of its file system, and one block for its file
and its entry in the directory. An object that replaces another lies beside it until it counts, so that an overwrite
needs room for both. What is stored is measured, not remembered: the limit holds over restarts, and for several
processes on one store.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from tee.abi import results
from tee.errors import TeeError
from tee.storage.files import FileSystem
from tee.storage.oid import show_oid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from uuid import UUID

    from tee.storage.dirfile import Key
    from tee.storage.files import Octets, StoredFile


class Measured(FileSystem, Protocol):
    """unit: bytes of a block."""

    unit: int

    def lengths(self, owner: UUID) -> Mapping[bytes, int]:
        """Bytes of each object of a TA, by its id; 0 for one that cannot be read. TeeError."""

    def session(self) -> AbstractContextManager[object]:
        """Nobody else changes the file system meanwhile, in other processes neither."""


def cost(system: Measured, length: int) -> int:
    """Of an object of `length` bytes."""
    return (1 + -(-length // system.unit)) * system.unit


class Quota:
    """limit: bytes for each TA. systems: all there are."""

    def __init__(self, limit: int, systems: Callable[[], Sequence[Measured]]) -> None:
        self._limit = limit
        self._systems = systems
        self._lock = threading.Lock()
        """Taken before any of the file systems' locks."""

    @contextmanager
    def room(self, system: Measured, key: Key, length: int, *, beside: bool = False) -> Iterator[None]:
        """For an object of `system` that grows, or shrinks, to `length` bytes in the `with`.

        beside: a new version of the object takes them, and the one that there may be stays meanwhile. STORAGE_NO_SPACE.
        """
        with self._lock, system.session():
            here = system.lengths(key.owner)
            more = cost(system, length)
            if key.oid in here and not beside:
                more -= cost(system, here[key.oid])
            if more > 0:
                used = sum(cost(system, size) for size in here.values()) + self._elsewhere(system, key.owner)
                if used + more > self._limit:
                    raise TeeError(
                        results.STORAGE_NO_SPACE,
                        f"TA {key.owner} has {used} bytes of trusted storage and asks for {more} more; "
                        f"the limit is {self._limit}",
                    )
            yield

    def _elsewhere(self, system: Measured, owner: UUID) -> int:
        used = 0
        for other in self._systems():
            if other is not system:
                try:
                    used += sum(cost(other, size) for size in other.lengths(owner).values())
                except TeeError:
                    pass  # damaged, or gone: nothing can be added there either
        return used


class LimitedFs:
    """`tee.storage.files.FileSystem`: another one, with a quota."""

    def __init__(self, system: Measured, quota: Quota) -> None:
        self._system = system
        self._quota = quota

    def open(self, key: Key) -> LimitedFile:
        return self._limited(self._system.open(key))

    def create(self, key: Key, data: Octets, *, overwrite: bool) -> LimitedFile:
        with self._system.session():
            if not overwrite and key.oid in self._system.lengths(key.owner):
                raise TeeError(results.ACCESS_CONFLICT, f"TA {key.owner} has an object {show_oid(key.oid)}")
        with self._quota.room(self._system, key, len(data), beside=True):
            return self._limited(self._system.create(key, data, overwrite=overwrite))

    def _limited(self, file: StoredFile) -> LimitedFile:
        return LimitedFile(self._system, self._quota, file)

    def rename(self, old: Key, new: Key) -> None:
        self._system.rename(old, new)

    def remove(self, key: Key) -> None:
        self._system.remove(key)

    def next(self, owner: UUID, after: int) -> tuple[int, bytes]:
        return self._system.next(owner, after)


class LimitedFile:
    """`tee.storage.files.StoredFile`: another one, with a quota."""

    def __init__(self, system: Measured, quota: Quota, file: StoredFile) -> None:
        self._system = system
        self._quota = quota
        self._file = file

    @property
    def key(self) -> Key:
        return self._file.key

    @key.setter
    def key(self, key: Key) -> None:
        self._file.key = key

    @property
    def length(self) -> int:
        return self._file.length

    def read(self, position: int, size: int) -> bytes:
        return self._file.read(position, size)

    def write(self, position: int, data: Octets) -> None:
        with self._quota.room(self._system, self.key, position + len(data)):
            self._file.write(position, data)

    def truncate(self, size: int) -> None:
        with self._quota.room(self._system, self.key, size):
            self._file.truncate(size)

    def close(self) -> None:
        self._file.close()
