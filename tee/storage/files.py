"""What every file system of trusted storage offers, whatever it lies on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from tee.storage.dirfile import Key


class Octets(Protocol):
    """`bytes`, or what is copied piece by piece: a slice is `bytes`, and nothing is taken twice."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: slice, /) -> bytes: ...


class Joined:
    """One after the other, as `Octets`."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: bytes, second: Octets) -> None:
        self._first = first
        self._second = second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, which: slice, /) -> bytes:
        start, stop, _ = which.indices(len(self))
        border = len(self._first)
        return self._first[start:stop] + self._second[max(0, start - border) : max(0, stop - border)]


class StoredFile(Protocol):
    """An object's file, open for any number of handles: the head, the attributes and the data stream in one.

    Each call is all or nothing. TeeError: CORRUPT_OBJECT, ITEM_NOT_FOUND (somebody removed it), STORAGE_NO_SPACE,
    STORAGE_NOT_AVAILABLE.
    """

    key: Key
    """What the object is called now; whoever renames it says so here."""

    @property
    def length(self) -> int:
        """Bytes, as of the last call."""

    def read(self, position: int, size: int) -> bytes:
        """Shorter at the end."""

    def write(self, position: int, data: Octets) -> None:
        """Zeros fill what lies between the end and `position`."""

    def truncate(self, size: int) -> None:
        """Cut, or extend with zeros."""

    def close(self) -> None:
        """Never fails."""


class FileSystem(Protocol):
    """Used by any number of threads. TeeError as of `StoredFile`, and what is said."""

    def open(self, key: Key) -> StoredFile:
        """ITEM_NOT_FOUND."""

    def create(self, key: Key, data: Octets, *, overwrite: bool) -> StoredFile:
        """ACCESS_CONFLICT: there is one, and `overwrite` is not said."""

    def rename(self, old: Key, new: Key) -> None:
        """An open file goes on under its new name. ITEM_NOT_FOUND; ACCESS_CONFLICT: there is a `new`."""

    def remove(self, key: Key) -> None:
        """ITEM_NOT_FOUND."""

    def next(self, owner: UUID, after: int) -> tuple[int, bytes]:
        """A place in the directory and the id of the object there, behind place `after`; -1 begins. ITEM_NOT_FOUND."""
