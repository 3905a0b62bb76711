"""Rollback protection: the highest version seen of every TA and of every subkey.

Rule (check_update_version(), optee_os core/kernel/ree_fs_ta.c): an image older than the database is refused, a newer
one raises the floor, and one of the same version passes. OP-TEE keeps two databases in trusted storage; their names
there are the names here, so that a `VersionDatabase` on trusted storage can use them as object identifiers.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from tee.storage.store import TrustedStorage
    from tee.storage.versions import VersionStore

TA_VERSIONS: Final = "ta_ver.db"
SUBKEY_VERSIONS: Final = "subkey_ver.db"


class VersionDatabase(Protocol):
    """Safe to call from several threads at once."""

    def check_update(self, database: str, uuid: UUID, version: int) -> int:
        """Raise the floor of `uuid` in `database` to `version` if it is lower, and return the floor afterwards.

        A floor above `version` means that the image must be refused. TeeError when the database cannot be read or
        written: the image is not opened then.
        """


class StoredVersions:
    """A `VersionDatabase` in trusted storage, as OP-TEE's. storage: of the secure world, asked when an image is
    opened, for it is made after the store of images. is_blank: whether storage holds nothing at all yet.
    """

    def __init__(self, storage: Callable[[], TrustedStorage], is_blank: Callable[[], bool]) -> None:
        self._storage = storage
        self._is_blank = is_blank
        self._store: VersionStore | None = None

    def check_update(self, database: str, uuid: UUID, version: int) -> int:
        if not version and self._is_blank():
            return 0  # most TAs are of version 0, and opening storage takes longer than they run
        if self._store is None:
            from tee.storage.versions import VersionStore

            self._store = VersionStore(self._storage().ree())
        return self._store.check_update(database, uuid, version)


class ProcessVersions:
    """A `VersionDatabase` that lasts as long as the process."""

    def __init__(self) -> None:
        self._floors: dict[tuple[str, UUID], int] = {}
        self._lock = Lock()

    def check_update(self, database: str, uuid: UUID, version: int) -> int:
        with self._lock:
            floor = max(version, self._floors.get((database, uuid), 0))
            self._floors[database, uuid] = floor
        return floor
