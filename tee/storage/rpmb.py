"""Persistent objects in an RPMB: what the file system there has to be for trusted storage.

Source: optee_os 4.5 core/tee/tee_rpmb_fs.c (`rpmb_fs_ops`), tee_fs_key_manager.c (tee_fs_crypt_block).
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from hashlib import sha256
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.algorithms import Algorithm
from tee.abi.rpmb import DATA_SIZE
from tee.abi.rpmb_fs import FEK_SIZE
from tee.crypto import oneshot
from tee.errors import TeeError
from tee.storage.rpmb_device import RpmbDevice
from tee.storage.rpmb_fs import RpmbFs, file_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from uuid import UUID

    from south.platform import Entropy, RootOfTrust
    from tee.normal import Rpmb
    from tee.storage.dirfile import Key
    from tee.storage.files import Octets
    from tee.storage.keys import StorageKeys

_ECB, _CBC = int(Algorithm.AES_ECB_NOPAD), int(Algorithm.AES_CBC_NOPAD)
_UNREACHABLE = frozenset({results.GENERIC, results.COMMUNICATION, results.BAD_PARAMETERS, results.ACCESS_DENIED})
"""Results of a device that cannot be used, on which libutee would panic."""


class RpmbKeys:
    """`FileKeys` of `rpmb_fs`: AES-CBC with ESSIV, the block's number encrypted under a hash of the file's key."""

    def __init__(self, entropy: Entropy, keys: StorageKeys) -> None:
        self._entropy = entropy
        self._keys = keys

    def generate_fek(self, owner: UUID) -> bytes:
        return self._keys.seal(owner, self._entropy.fill(FEK_SIZE))

    def crypt_block(self, owner: UUID, fek: bytes, block: int, data: bytes, *, encrypt: bool) -> bytes:
        plain = self._keys.unseal(owner, fek)
        number = (block & 0xFFFF).to_bytes(16, "little")
        iv = oneshot.cipher(_ECB, True, sha256(plain).digest()[:16], b"", number)
        return oneshot.cipher(_CBC, encrypt, plain, iv, data)


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except TeeError as error:
        if error.result in _UNREACHABLE:
            raise TeeError(results.STORAGE_NOT_AVAILABLE, error.detail) from error
        raise


class RpmbStorage:
    """`tee.storage.files.FileSystem`, and `tee.storage.quota.Measured`."""

    unit = DATA_SIZE

    def __init__(
        self, rpmb: Rpmb, root: RootOfTrust, entropy: Entropy, keys: StorageKeys, *, program_key: bool = True
    ) -> None:
        """program_key: a device without a key is given ours, for good (CFG_RPMB_WRITE_KEY).

        STORAGE_NOT_AVAILABLE: no device, another device's, or none with a key.
        """
        with _reachable():
            self._files = RpmbFs(RpmbDevice(rpmb, root, program_key=program_key), RpmbKeys(entropy, keys))

    @property
    def files(self) -> RpmbFs:
        return self._files

    def open(self, key: Key) -> RpmbStoredFile:
        with _reachable():
            return RpmbStoredFile(self._files, key, self._files.size(file_name(*key)))

    def create(self, key: Key, data: Octets, *, overwrite: bool) -> RpmbStoredFile:
        with _reachable():
            temporary = file_name(*key, temporary=True)
            self._files.create(key.owner, file_name(*key), temporary, self._files.fitting(data), overwrite=overwrite)
            return RpmbStoredFile(self._files, key, len(data))

    def rename(self, old: Key, new: Key) -> None:
        with _reachable():
            self._files.rename(file_name(*old), file_name(*new))

    def remove(self, key: Key) -> None:
        with _reachable():
            self._files.remove(file_name(*key))

    def next(self, owner: UUID, after: int) -> tuple[int, bytes]:
        with _reachable():
            return self._files.next(owner, after)

    def lengths(self, owner: UUID) -> dict[bytes, int]:
        return self._files.sizes(owner)

    def session(self) -> AbstractContextManager[None]:
        """One process has the device, and in it a quota's lock is enough."""
        return nullcontext()


class RpmbStoredFile:
    """`tee.storage.files.StoredFile`; nothing stays open, for the table of files is in memory."""

    def __init__(self, files: RpmbFs, key: Key, length: int) -> None:
        self._files = files
        self.key = key
        self._length = length

    @property
    def length(self) -> int:
        return self._length

    def read(self, position: int, size: int) -> bytes:
        with _reachable():
            return self._files.read(self.key.owner, file_name(*self.key), position, size)

    def write(self, position: int, data: Octets) -> None:
        with _reachable():
            data = self._files.fitting(data)
            self._length = self._files.write(self.key.owner, file_name(*self.key), position, data)

    def truncate(self, size: int) -> None:
        if size > 0x7FFFFFFF:
            raise TeeError(results.STORAGE_NO_SPACE, f"an object of {size} bytes")
        with _reachable():
            self._files.truncate(self.key.owner, file_name(*self.key), size)
            self._length = size

    def close(self) -> None:
        pass
