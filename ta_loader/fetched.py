"""TA images that somebody else hands over by UUID: a normal world of its own, whose file system they lie in."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

from ta_loader.container.verify import Container, check_versions, open_container
from ta_loader.container.versions import ProcessVersions, VersionDatabase
from tee.abi.results import ITEM_NOT_FOUND
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from ta_loader.source import Store, Verified
    from ta_loader.trust import TrustStore

CACHE_BYTES = 64 << 20
"""Of verified images that are kept."""


class FetchedStore:
    """`ta_loader.source.Store`: `first`, then what `fetch` gives, which nobody has checked.

    Every image is fetched anew, since the normal world may have replaced it; what is the same as before is not
    verified again, but the rollback check. enc_key, versions: see `open_container`.
    """

    def __init__(
        self,
        first: Store,
        fetch: Callable[[UUID], bytes],
        trust: TrustStore,
        *,
        enc_key: Callable[[int], bytes] | None = None,
        versions: VersionDatabase | None = None,
    ) -> None:
        self._first = first
        self._fetch = fetch
        self._trust = trust
        self._enc_key = enc_key
        self._versions: VersionDatabase = ProcessVersions() if versions is None else versions
        self._lock = Lock()
        self._kept: OrderedDict[tuple[bytes, UUID], tuple[int, Container]] = OrderedDict()
        self._bytes = 0

    def find(self, uuid: UUID) -> Verified:
        """TeeError(ITEM_NOT_FOUND); ImageRefused."""
        try:
            return self._first.find(uuid)
        except TeeError as error:
            if error.result != ITEM_NOT_FOUND:
                raise
        data = self._fetch(uuid)
        key = hashlib.sha256(data).digest(), uuid
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is not None:
            check_versions(kept[1], self._versions)
            return kept[1]
        container = open_container(
            data, self._trust, expected_uuid=uuid, enc_key=self._enc_key, versions=self._versions
        )
        with self._lock:
            if key not in self._kept:
                self._kept[key] = len(data), container
                self._bytes += len(data)
                while self._bytes > CACHE_BYTES and len(self._kept) > 1:
                    self._bytes -= self._kept.popitem(last=False)[1][0]
        return container
