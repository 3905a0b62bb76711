"""What pseudo TAs keep in trusted storage (`tee.pta.ports`), under names of OP-TEE's.

Source: optee_os 4.5 core/pta/attestation.c (sec_storage_obj_write: an object without a head), core/tee/tadb.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.pta_uuids import PTA_ATTESTATION_UUID
from tee.errors import TeeError
from tee.storage import tadb
from tee.storage.dirfile import Key

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from tee.pta.ports import SignedImage
    from tee.storage.store import TrustedStorage

ATTESTATION_KEY = Key(PTA_ATTESTATION_UUID, b"key")


class StoredKey:
    """`tee.pta.ports.KeyStore`: the attestation PTA's. storage: of the secure world."""

    def __init__(self, storage: Callable[[], TrustedStorage]) -> None:
        self._storage = storage

    def load(self) -> bytes | None:
        try:
            file = self._storage().ree().open(ATTESTATION_KEY)
        except TeeError as error:
            if error.result == results.ITEM_NOT_FOUND:
                return None
            raise
        try:
            return file.read(0, file.length)
        finally:
            file.close()

    def save(self, key: bytes) -> None:
        self._storage().ree().create(ATTESTATION_KEY, key, overwrite=True).close()


class InstalledTas:
    """`tee.pta.ports.TaDatabase`. storage: of the secure world."""

    def __init__(self, storage: Callable[[], TrustedStorage]) -> None:
        self._storage = storage

    def version(self, uuid: UUID) -> int | None:
        for entry in tadb.entries(self._storage().ree()):
            if entry.uuid == uuid:
                return entry.version
        return None

    def install(self, ta: SignedImage) -> None:
        tadb.install(self._storage().ree(), ta.uuid, ta.version, ta.image)
