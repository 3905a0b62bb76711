"""The keys of trusted storage: SSK of the device, TSK of a TA, FEK of a file.

Source: optee_os 4.5 core/tee/tee_fs_key_manager.c, core/kernel/huk_subkey.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.algorithms import Algorithm
from tee.abi.huk import HukSubkey
from tee.abi.ree_fs import CORE_TSK_MESSAGE, FEK_SIZE
from tee.abi.uuids import tee_uuid_bytes
from tee.crypto import oneshot
from tee.crypto.huk import huk_subkey
from tee.errors import TeeError, reason

if TYPE_CHECKING:
    from uuid import UUID

    from south.platform import RootOfTrust

_ECB = int(Algorithm.AES_ECB_NOPAD)


class StorageKeys:
    """Derived from the hardware unique key when first needed, and kept: a TA opens many files under one key."""

    def __init__(self, root: RootOfTrust) -> None:
        self._root = root
        self._ssk: bytes | None = None
        self._tsks: dict[UUID | None, bytes] = {}

    def ready(self) -> None:
        """Have the device's key. STORAGE_NOT_AVAILABLE: the host cannot give it."""
        if self._ssk is None:
            try:
                self._ssk = huk_subkey(self._root, HukSubkey.SSK)
            except OSError as problem:
                raise TeeError(results.STORAGE_NOT_AVAILABLE, reason(problem)) from problem

    def tsk(self, owner: UUID | None) -> bytes:
        """Trusted-application storage key. owner: None for the secure world's own files."""
        found = self._tsks.get(owner)
        if found is None:
            self.ready()
            assert self._ssk is not None
            message = CORE_TSK_MESSAGE if owner is None else tee_uuid_bytes(owner)
            found = self._tsks[owner] = oneshot.hmac_sha256(self._ssk, message)
        return found

    def seal(self, owner: UUID | None, fek: bytes) -> bytes:
        """A file encryption key as the file holds it."""
        assert len(fek) == FEK_SIZE
        return oneshot.cipher(_ECB, True, self.tsk(owner), b"", fek)

    def unseal(self, owner: UUID | None, sealed: bytes) -> bytes:
        """The inverse. ECB tells nothing about a wrong key: what is encrypted under the result will."""
        return oneshot.cipher(_ECB, False, self.tsk(owner), b"", sealed)
