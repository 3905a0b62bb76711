"""The table of files in an RPMB, and where their data lies.

One entry is one block, so that an entry changes wholly or not at all: a file is replaced by writing its data to
free blocks and then its entry. The table is read once and kept: nobody else can write to the device.

Source: optee_os 4.5 core/tee/tee_rpmb_fs.c, rpmb_fs_setup, read_fat; core/mm/tee_mm.c for where data is put.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tee.abi import results
from tee.abi.rpmb import DATA_SIZE
from tee.abi.rpmb_fs import (
    ENTRY,
    FAT_START,
    FEK_SIZE,
    FILE_IS_ACTIVE,
    FILE_IS_LAST_ENTRY,
    FILENAME_LENGTH,
    MAGIC,
    PARTITION,
    VERSION,
)
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tee.storage.rpmb_device import RpmbDevice

_FIRST = FAT_START // DATA_SIZE
"""Block of the first entry."""


class Entry(NamedTuple):
    """start, size: bytes. fek: as it is stored, encrypted."""

    start: int = 0
    size: int = 0
    flags: int = 0
    fek: bytes = bytes(FEK_SIZE)
    name: bytes = b""

    @property
    def active(self) -> bool:
        return bool(self.flags & FILE_IS_ACTIVE)

    @property
    def blocks(self) -> int:
        return -(-self.size // DATA_SIZE)

    def pack(self) -> bytes:
        return ENTRY.pack(self.start, self.size, self.flags, 0, self.fek, self.name)

    @classmethod
    def parse(cls, raw: bytes) -> Entry:
        start, size, flags, _, fek, name = ENTRY.unpack(raw)
        return cls(start, size, flags, fek, name.partition(b"\0")[0])


class Fat:
    """TeeError: ACCESS_DENIED for a file system of another version, CORRUPT_OBJECT for a table that cannot be."""

    def __init__(self, device: RpmbDevice) -> None:
        self._device = device
        self._end = device.blocks - 1
        """Blocks that files may use: OP-TEE leaves the last one."""
        self._entries: list[Entry] = []
        self._load()

    def require_capacity(self, size: int) -> None:
        """STORAGE_NO_SPACE unless a file of `size` bytes could be all that there is."""
        if size > self._end * DATA_SIZE:
            raise TeeError(results.STORAGE_NO_SPACE, "a larger file than the RPMB holds")

    def find(self, name: bytes) -> int | None:
        """Index of the active entry of that name."""
        for index, entry in enumerate(self._entries):
            if entry.active and entry.name == name:
                return index
        return None

    def __len__(self) -> int:
        """Entries, in use or not."""
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    def __iter__(self) -> Iterator[Entry]:
        return (entry for entry in self._entries if entry.active)

    def put(self, index: int, entry: Entry) -> None:
        """Write one entry; it is the last one of the table if it was."""
        entry = entry._replace(flags=entry.flags | self._entries[index].flags & FILE_IS_LAST_ENTRY)
        self._device.write(_FIRST + index, entry.pack())
        self._entries[index] = entry

    def clear(self, index: int) -> None:
        self.put(index, Entry())

    def free(self) -> int:
        """Index of an entry to use. TeeError(STORAGE_NO_SPACE)."""
        for index, entry in enumerate(self._entries):
            if not entry.active and not entry.flags & FILE_IS_LAST_ENTRY:
                return index
        # The last one is used, after a new last one has been made behind it.
        last = len(self._entries) - 1
        self._require_free(_FIRST + last + 1)
        self._device.write(_FIRST + last + 1, Entry(flags=FILE_IS_LAST_ENTRY).pack())
        self._entries.append(Entry(flags=FILE_IS_LAST_ENTRY))
        old = self._entries[last]
        self._entries[last] = old._replace(flags=old.flags & ~FILE_IS_LAST_ENTRY)
        return last

    def allocate(self, size: int) -> int:
        """Address of room for `size` bytes, as high up as can be. TeeError(STORAGE_NO_SPACE)."""
        need = -(-size // DATA_SIZE)
        top = self._end
        for start, count in sorted(self._used(), reverse=True):
            if top - (start + count) >= need:
                break
            top = start
        if top - need < _FIRST + len(self._entries) + 1:  # and one entry more
            raise TeeError(results.STORAGE_NO_SPACE, f"no room for {size} bytes in the RPMB")
        return (top - need) * DATA_SIZE

    def _used(self) -> Iterator[tuple[int, int]]:
        return ((entry.start // DATA_SIZE, entry.blocks) for entry in self if entry.size)

    def _require_free(self, block: int) -> None:
        if block >= self._end or any(start <= block < start + count for start, count in self._used()):
            raise TeeError(results.STORAGE_NO_SPACE, "no room for more files in the RPMB")

    # --- setting up

    def _load(self) -> None:
        # A write makes stale requests, that somebody may have kept, worthless; what is read after it is in force.
        self._device.write(0, self._device.read(0, 1))
        magic, version, _, fat_start = PARTITION.unpack_from(self._device.read(0, 1))
        if magic != MAGIC:
            self._format()
        elif version != VERSION:
            raise TeeError(results.ACCESS_DENIED, f"an RPMB file system of version {version}")
        elif fat_start != FAT_START:
            raise TeeError(results.CORRUPT_OBJECT, f"an RPMB file system whose table is at {fat_start:#x}")
        else:
            self._read_all()

    def _format(self) -> None:
        last = Entry(flags=FILE_IS_LAST_ENTRY)
        self._device.write(_FIRST, last.pack())
        self._device.write(0, PARTITION.pack(MAGIC, VERSION, 0, FAT_START).ljust(DATA_SIZE, b"\0"))
        self._entries = [last]

    def _read_all(self) -> None:
        entries: list[Entry] = []
        while not entries or not entries[-1].flags & FILE_IS_LAST_ENTRY:
            block = _FIRST + len(entries)
            count = min(8, self._end - block)
            if count <= 0:
                raise TeeError(results.CORRUPT_OBJECT, "the RPMB's table of files has no end")
            raw = self._device.read(block, count)
            for at in range(0, len(raw), DATA_SIZE):
                entries.append(Entry.parse(raw[at : at + DATA_SIZE]))
                if entries[-1].flags & FILE_IS_LAST_ENTRY:
                    break
        self._entries = entries
        limit = _FIRST + len(entries)
        for entry in self:
            first = entry.start // DATA_SIZE
            if entry.size and (entry.start % DATA_SIZE or first < limit or first + entry.blocks > self._end):
                raise TeeError(results.CORRUPT_OBJECT, "a file in the RPMB lies outside of it")


def checked_name(name: bytes) -> bytes:
    """TeeError(BAD_PARAMETERS) for a name that an entry cannot hold."""
    if not name or len(name) >= FILENAME_LENGTH or b"\0" in name:
        raise TeeError(results.BAD_PARAMETERS, "the RPMB cannot hold a file of that name")
    return name
