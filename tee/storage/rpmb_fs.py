"""Files of trusted storage in an RPMB, in OP-TEE's own format: each reads what the other wrote.

Every block is encrypted under its file's key (FEK) with the block's number in the IV, and authenticated by the device.
What is written to one block in place is atomic; anything larger goes to free blocks before its entry names them.

Source: optee_os 4.5 core/tee/tee_rpmb_fs.c.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from tee.abi import results
from tee.abi.rpmb import DATA_SIZE
from tee.abi.rpmb_fs import FEK_SIZE, FILE_IS_ACTIVE
from tee.abi.uuids import tee_uuid_bytes
from tee.errors import TeeError
from tee.storage.rpmb_fat import Entry, Fat, checked_name

if TYPE_CHECKING:
    from uuid import UUID

    from tee.storage.files import Octets
    from tee.storage.rpmb_device import RpmbDevice

INT32_MAX = 0x7FFFFFFF


class FileKeys(Protocol):
    """Keys of files, and what they encrypt (core/tee/tee_fs_key_manager.c)."""

    def generate_fek(self, owner: UUID) -> bytes:
        """A new key, encrypted under the TA's storage key: as it may be stored."""

    def crypt_block(self, owner: UUID, fek: bytes, block: int, data: bytes, *, encrypt: bool) -> bytes:
        """AES-CBC with an IV from the block's number (`tee_fs_crypt_block`)."""


def file_name(owner: UUID, object_id: bytes, *, temporary: bool = False) -> bytes:
    """Name of an object's file; temporary: until it is whole (`create_filename`)."""
    name = f"/{tee_uuid_bytes(owner).hex().upper()}/{'.' if temporary else ''}{object_id.hex().upper()}"
    return checked_name(name.encode())


def object_id(entry: Entry, owner: UUID) -> bytes | None:
    """Of the object in that file; None if it is not the owner's, or not whole yet."""
    prefix = f"/{tee_uuid_bytes(owner).hex().upper()}/".encode()
    if not entry.name.startswith(prefix) or entry.name.startswith(prefix + b"."):
        return None
    try:
        return bytes.fromhex(entry.name[len(prefix) :].decode())
    except ValueError:
        return None


class RpmbFs:
    """All methods may be called from several threads. TeeError: ITEM_NOT_FOUND for a file that is not there,
    STORAGE_NO_SPACE, and what `RpmbDevice` and `Fat` raise.
    """

    def __init__(self, device: RpmbDevice, keys: FileKeys) -> None:
        self._device = device
        self._keys = keys
        self._lock = threading.Lock()
        self._fat = Fat(device)

    def fitting(self, data: Octets) -> bytes:
        """All of it at once: what the device holds fits in memory. STORAGE_NO_SPACE: more than it holds."""
        self._fat.require_capacity(len(data))
        return data[:]

    def size(self, name: bytes) -> int:
        with self._lock:
            return self._entry(name)[1].size

    def next(self, owner: UUID, after: int) -> tuple[int, bytes]:
        """Index and object id of the owner's next file behind index `after`; -1 begins. ITEM_NOT_FOUND: no more."""
        with self._lock:
            for index in range(after + 1, len(self._fat)):
                entry = self._fat[index]
                oid = object_id(entry, owner) if entry.active else None
                if oid is not None:
                    return index, oid
        raise TeeError(results.ITEM_NOT_FOUND, "no more objects")

    def sizes(self, owner: UUID) -> dict[bytes, int]:
        """Of every file of the owner's, by object id."""
        with self._lock:
            found = ((object_id(entry, owner), entry.size) for entry in self._fat)
            return {oid: size for oid, size in found if oid is not None}

    def read(self, owner: UUID, name: bytes, pos: int, size: int) -> bytes:
        """Fewer bytes at the end of the file."""
        with self._lock:
            entry = self._entry(name)[1]
            size = max(0, min(size, entry.size - pos))
            return self._read(owner, entry, pos, size) if size else b""

    def create(self, owner: UUID, name: bytes, temporary: bytes, data: bytes, *, overwrite: bool) -> None:
        """A new file `name`, whole or not at all; on the way it is called `temporary`. TeeError(ACCESS_CONFLICT)."""
        with self._lock:
            existing = self._fat.find(name)
            if existing is not None:
                if not overwrite:
                    raise TeeError(results.ACCESS_CONFLICT, "the object exists")
                fresh = Entry(0, 0, FILE_IS_ACTIVE, self._new_fek(owner), name)
                self._fat.put(existing, self._relocated(owner, fresh, data) if data else fresh)
                return
            self._drop(temporary)
            index = self._fat.free()
            entry = Entry(0, 0, FILE_IS_ACTIVE, self._new_fek(owner), temporary)
            self._fat.put(index, entry)
            try:
                if data:
                    entry = self._relocated(owner, entry, data)
                    self._fat.put(index, entry)
                self._fat.put(index, entry._replace(name=name))
            except TeeError:
                self._drop(temporary)
                raise

    def write(self, owner: UUID, name: bytes, pos: int, data: bytes) -> int:
        """Bytes of the file afterwards. What lies between its end and pos becomes zeros."""
        with self._lock:
            index, entry = self._entry(name)
            if not data:
                return entry.size
            end = pos + len(data)
            self._fat.require_capacity(end)
            first = (entry.start + pos) // DATA_SIZE
            if end <= entry.size and first == (entry.start + end - 1) // DATA_SIZE:
                self._write_in_place(owner, entry, pos, data)
                return entry.size
            old = self._read(owner, entry, 0, entry.size)
            whole = old[:pos].ljust(pos, b"\0") + data + old[end:]
            self._fat.put(index, self._relocated(owner, entry, whole))
            return len(whole)

    def truncate(self, owner: UUID, name: bytes, size: int) -> None:
        if not 0 <= size <= INT32_MAX:
            raise TeeError(results.BAD_PARAMETERS, f"a size of {size}")
        with self._lock:
            index, entry = self._entry(name)
            if size > entry.size:
                self._fat.require_capacity(size)
                whole = self._read(owner, entry, 0, entry.size).ljust(size, b"\0")
                entry = self._relocated(owner, entry, whole)
            self._fat.put(index, entry._replace(size=size))

    def remove(self, name: bytes) -> None:
        with self._lock:
            self._fat.clear(self._entry(name)[0])

    def rename(self, old: bytes, new: bytes) -> None:
        """TeeError(ACCESS_CONFLICT): `new` exists."""
        with self._lock:
            index, entry = self._entry(old)
            if self._fat.find(new) is not None:
                raise TeeError(results.ACCESS_CONFLICT, "the object exists")
            self._fat.put(index, entry._replace(name=checked_name(new)))

    # --- under the lock

    def _entry(self, name: bytes) -> tuple[int, Entry]:
        index = self._fat.find(name)
        if index is None:
            raise TeeError(results.ITEM_NOT_FOUND, "no such file in the RPMB")
        return index, self._fat[index]

    def _drop(self, name: bytes) -> None:
        index = self._fat.find(name)
        if index is not None:
            self._fat.clear(index)

    def _new_fek(self, owner: UUID) -> bytes:
        while True:
            fek = self._keys.generate_fek(owner)
            if fek != bytes(FEK_SIZE):  # zeros say that a file is not encrypted
                return fek

    def _read(self, owner: UUID, entry: Entry, pos: int, size: int) -> bytes:
        if not size:
            return b""
        if entry.fek == bytes(FEK_SIZE):
            raise TeeError(results.SECURITY, "a file in the RPMB that is not encrypted")
        start, end = entry.start + pos, entry.start + pos + size
        first = start // DATA_SIZE
        raw = self._device.read(first, -(-end // DATA_SIZE) - first)
        plain = b"".join(
            self._keys.crypt_block(owner, entry.fek, first + n, raw[at : at + DATA_SIZE], encrypt=False)
            for n, at in enumerate(range(0, len(raw), DATA_SIZE))
        )
        offset = start - first * DATA_SIZE
        return plain[offset : offset + size]

    def _write_in_place(self, owner: UUID, entry: Entry, pos: int, data: bytes) -> None:
        block, offset = divmod(entry.start + pos, DATA_SIZE)
        base = block * DATA_SIZE - entry.start
        old = self._read(owner, entry, base, DATA_SIZE)
        new = old[:offset] + data + old[offset + len(data) :]
        self._device.write(block, self._keys.crypt_block(owner, entry.fek, block, new, encrypt=True))

    def _relocated(self, owner: UUID, entry: Entry, data: bytes) -> Entry:
        """The entry, with `data` in blocks that nobody uses."""
        start = self._fat.allocate(len(data))
        first = start // DATA_SIZE
        padded = data.ljust(-(-len(data) // DATA_SIZE) * DATA_SIZE, b"\0")
        for n, at in enumerate(range(0, len(padded), DATA_SIZE)):
            piece = self._keys.crypt_block(owner, entry.fek, first + n, padded[at : at + DATA_SIZE], encrypt=True)
            self._device.write(first + n, piece)
        return entry._replace(start=start, size=len(data))
