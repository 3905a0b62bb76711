"""Databases of the highest versions seen, which keep older images out: in trusted storage, as OP-TEE has them.

Source: optee_os 4.5 core/kernel/ree_fs_ta.c (check_update_version, `struct ver_db_hdr`, `struct ver_db_entry`). Two
differences: a new entry and the count of entries are one change; and version 0 makes neither a database nor an entry,
for that there is none says the same.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.uuids import uuid_octets
from tee.errors import TeeError
from tee.storage.dirfile import Key
from tee.storage.inspect import CORE

if TYPE_CHECKING:
    from uuid import UUID

    from tee.storage.files import StoredFile
    from tee.storage.ree_fs import ReeFs

HEADER = struct.Struct("<II")
"""Version of the database (0), entries."""
ENTRY = struct.Struct("<16sI")
"""UUID in the order of its text, version."""


class VersionStore:
    """Databases by name; each stays open, for every opening of a TA asks."""

    def __init__(self, system: ReeFs) -> None:
        self._system = system
        self._files: dict[str, StoredFile] = {}

    def check_update(self, database: str, uuid: UUID, version: int) -> int:
        """Raise what `database` has for `uuid` to `version` if it is lower, and return what it has afterwards.

        TeeError: storage cannot be used, or holds no such database; nothing was decided then.
        """
        with self._system.session():  # one change at a time, also among processes
            try:
                return self._check_update(database, uuid, version)
            except TeeError as error:
                self._drop(database)
                if error.result != results.ITEM_NOT_FOUND:
                    raise
            # Somebody removed it while it was open.
            return self._check_update(database, uuid, version)

    def _check_update(self, database: str, uuid: UUID, version: int) -> int:
        file = self._file(database, make=version > 0)
        return 0 if file is None else _check_update(file, uuid_octets(uuid), version)

    def _drop(self, database: str) -> None:
        file = self._files.pop(database, None)
        if file is not None:
            file.close()

    def _file(self, database: str, *, make: bool) -> StoredFile | None:
        found = self._files.get(database)
        if found is None:
            found = _open(self._system, Key(CORE, database.encode() + b"\0"), make=make)
            if found is not None:
                self._files[database] = found
        return found


def _open(system: ReeFs, key: Key, *, make: bool) -> StoredFile | None:
    try:
        return system.open(key)
    except TeeError as error:
        if error.result != results.ITEM_NOT_FOUND:
            raise
    return system.create(key, HEADER.pack(0, 0), overwrite=False) if make else None


def _check_update(file: StoredFile, octets: bytes, version: int) -> int:
    whole = file.read(0, file.length)
    if len(whole) < HEADER.size:
        # OP-TEE was cut off between making the file and writing to it.
        whole = HEADER.pack(0, 0)
    database_version, count = HEADER.unpack_from(whole)
    if len(whole) < HEADER.size + count * ENTRY.size:
        raise TeeError(results.CORRUPT_OBJECT, "a database of versions that is cut off")
    for index in range(count):
        at = HEADER.size + index * ENTRY.size
        found, floor = ENTRY.unpack_from(whole, at)
        if found == octets:
            if floor < version:
                file.write(at, ENTRY.pack(octets, version))
            return max(int(floor), version)
    if not version:
        return 0
    body = whole[HEADER.size : HEADER.size + count * ENTRY.size]
    file.write(0, HEADER.pack(database_version, count + 1) + body + ENTRY.pack(octets, version))
    return version
