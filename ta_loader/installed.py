"""TAs installed in trusted storage come before those in folders, as they do under OP-TEE.

Source: optee_os 4.5 core/kernel/secstor_ta.c, core/pta/secstor_ta_mgmt.c; the order is that of REGISTER_TA_STORE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tee.abi import results
from tee.crypto import oneshot
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from ta_loader.source import Store, Verified
    from tee.storage.store import TrustedStorage

_ELSEWHERE = frozenset({results.ITEM_NOT_FOUND, results.STORAGE_NOT_AVAILABLE})
"""Results after which the next store is asked."""


class InstalledTa(NamedTuple):
    """`ta_loader.source.Verified`; its signature was checked when it was installed."""

    elf: memoryview
    version: int
    digest: bytes


class InstalledFirst:
    """`ta_loader.source.Store`: trusted storage, then `store`. storage: of the secure world, which is made later.

    look: whether a TA may be in storage at all.
    """

    def __init__(self, store: Store, storage: Callable[[], TrustedStorage], look: Callable[[UUID], bool]) -> None:
        self._store = store
        self._storage = storage
        self._look = look

    def find(self, uuid: UUID) -> Verified:
        if not self._look(uuid):
            return self._store.find(uuid)
        from tee.storage.tadb import load

        try:
            version, image = load(self._storage().ree(), uuid)
        except TeeError as error:
            if error.result not in _ELSEWHERE:
                raise
            return self._store.find(uuid)
        return InstalledTa(memoryview(image), version, oneshot.digest("sha256", image))
