"""Where the secure world gets its TAs from: verified containers, parsed once (`tee.ports.ImageSource`)."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING
from uuid import UUID

from tee.abi.results import SECURITY
from tee.abi.ta_head import TA_HEAD
from tee.errors import TeeError

from .elf.object import ElfObject
from .image import TaImage

if TYPE_CHECKING:
    from typing import Protocol

    class Verified(Protocol):
        """What is used of `ta_loader.container.verify.Container`."""

        @property
        def elf(self) -> memoryview: ...
        @property
        def version(self) -> int: ...
        @property
        def digest(self) -> bytes: ...

    class Store(Protocol):
        """What is used of `ta_loader.store.TaStore`."""

        def find(self, uuid: UUID) -> Verified:
            """TeeError(ITEM_NOT_FOUND), TeeError(SECURITY)."""


CACHE_BYTES = 64 << 20
"""Bytes of ELF files whose parsed form is kept; the least recently used go first."""


class Loader:
    """Images by UUID. Every `find` asks the store, so that a replaced or revoked file is noticed; what the store
    vouches for is parsed once for each digest. Safe to share between threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parsed: OrderedDict[tuple[bytes, bool], ElfObject] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def find(self, uuid: UUID) -> TaImage:
        """TeeError(ITEM_NOT_FOUND) when nobody has it, TeeError(SECURITY) when it is refused, and what
        parsing it ends with.
        """
        container = self._store.find(uuid)
        obj = self._parse(container, main=True)
        image = TaImage(uuid, obj, self._library, version=container.version, digest=container.digest)
        # The header's UUID may be all that a signature binds to the image: plain signed TAs have no other.
        claimed = UUID(bytes_le=TA_HEAD.unpack(obj.head)[0])
        if claimed != uuid:
            raise TeeError(SECURITY, f"the image is TA {claimed}, not {uuid}")
        return image

    def digest(self, uuid: UUID) -> bytes:
        return self._store.find(uuid).digest

    def _library(self, uuid: UUID) -> ElfObject:
        return self._parse(self._store.find(uuid), main=False)

    def _parse(self, container: Verified, *, main: bool) -> ElfObject:
        key = (container.digest, main)
        with self._lock:
            obj = self._parsed.get(key)
            if obj is not None:
                self._parsed.move_to_end(key)
                return obj
        obj = ElfObject(bytes(container.elf), main=main)
        with self._lock:
            if key not in self._parsed:
                self._parsed[key] = obj
                self._bytes += len(obj.image)
                while self._bytes > CACHE_BYTES and len(self._parsed) > 1:
                    _, dropped = self._parsed.popitem(last=False)
                    self._bytes -= len(dropped.image)
        return obj
