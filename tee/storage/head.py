"""Where an object's file begins: how large its attributes are, and what they say of it.

Source: optee_os 4.5 core/tee/tee_svc_storage.c (tee_svc_storage_read_head).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tee.abi import results
from tee.abi.storage import HEAD
from tee.errors import TeeError

if TYPE_CHECKING:
    from tee.storage.files import StoredFile


class Head(NamedTuple):
    """`struct tee_svc_storage_head`. attr_size: bytes; bits, max_bits: of a key; have: which attributes are set."""

    attr_size: int
    bits: int
    max_bits: int
    usage: int
    type: int
    have: int

    @classmethod
    def read(cls, file: StoredFile) -> Head:
        """CORRUPT_OBJECT if there is none."""
        head = file.read(0, HEAD.size)
        if len(head) != HEAD.size:
            raise TeeError(results.CORRUPT_OBJECT, "the object has no head")
        return cls(*HEAD.unpack(head))

    @property
    def data_start(self) -> int:
        """Where the data stream begins."""
        return HEAD.size + self.attr_size

    def attributes(self, file: StoredFile) -> bytes:
        """CORRUPT_OBJECT if the file ends before they do."""
        if self.data_start > file.length:
            raise TeeError(results.CORRUPT_OBJECT, "the attributes are cut off")
        return file.read(HEAD.size, self.attr_size)
