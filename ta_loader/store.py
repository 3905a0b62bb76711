"""Find TA images in folders, verify them once, and keep what was verified."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

from south.descriptors import closed_after
from ta_loader.container.verify import Container, check_versions, open_container
from ta_loader.container.versions import ProcessVersions, VersionDatabase
from ta_loader.errors import ImageRefused
from tee.abi.results import ITEM_NOT_FOUND
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from ta_loader.trust import TrustStore

MAX_IMAGE_SIZE: Final = 64 << 20
"""Bytes; the largest TA that Debian ships has 1.2 MB."""
CACHE_SIZE: Final = 256 << 20
"""Bytes of verified images that are kept."""

_SIGNED: Final = (".ta",)
_UNSIGNED: Final = (".elf", ".stripped.elf")
_Stamp = tuple[int, int, int, int, int]


class TaStore:
    """TA images in `dirs`, searched in order; safe to share between threads.

    A file is read once and verified on that copy, so whoever can write to the folder cannot change an image after
    its check. A second open of an unchanged file costs one stat() and the rollback check.
    enc_key: see `open_container`. versions: None keeps rollback state for the life of this store.
    max_size: bytes; larger files are refused unread.
    """

    def __init__(
        self,
        dirs: Sequence[str],
        trust: TrustStore,
        *,
        enc_key: Callable[[int], bytes] | None = None,
        versions: VersionDatabase | None = None,
        max_size: int = MAX_IMAGE_SIZE,
    ) -> None:
        self.dirs = tuple(os.fspath(folder) for folder in dirs)
        self.trust = trust
        self.versions: VersionDatabase = ProcessVersions() if versions is None else versions
        self._enc_key = enc_key
        self._max_size = max_size
        self._cache: OrderedDict[str, tuple[_Stamp, Container]] = OrderedDict()
        self._cached_bytes = 0
        self._lock = Lock()

    def find(self, uuid: UUID) -> Container:
        """The image of `uuid` from the first folder that has one.

        TeeError(ITEM_NOT_FOUND) if none has; ImageRefused if that one fails a check: a folder that comes later must
        not supply another image in silence.
        """
        for folder in self.dirs:
            for suffix in _SIGNED + _UNSIGNED if self.trust.allow_unsigned else _SIGNED:
                path = os.path.join(folder, f"{uuid}{suffix}")
                try:
                    return self.load_path(path, expected_uuid=uuid)
                except FileNotFoundError:
                    continue
        raise TeeError(ITEM_NOT_FOUND, f"no TA {uuid} in {', '.join(self.dirs) or 'any folder: none is named'}")

    def load_path(self, path: str, *, expected_uuid: UUID | None = None) -> Container:
        """Verify the image in one file, whatever the file's name. FileNotFoundError; ImageRefused."""
        path = os.fspath(path)
        try:
            stamp, cached = self._look_up(path, os.stat(path))
            if cached is None:
                stamp, data = self._read(path)
                cached = open_container(
                    data, self.trust, expected_uuid=expected_uuid, enc_key=self._enc_key, versions=self.versions
                )
                self._keep(path, stamp, cached)
                return cached
            if expected_uuid is not None and cached.uuid != expected_uuid:
                if cached.versioned or cached.subkeys:  # else the UUID was an earlier caller's word, not the image's
                    raise ImageRefused("uuid", f"the image is TA {cached.uuid}, not {expected_uuid}")
                cached = cached._replace(uuid=expected_uuid)
            check_versions(cached, self.versions)
            return cached
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise ImageRefused("file", f"cannot be read: {problem.strerror}", path=path) from None
        except ImageRefused as refusal:
            raise refusal.at(path) from None

    def _look_up(self, path: str, status: os.stat_result) -> tuple[_Stamp, Container | None]:
        stamp = _stamp(status)
        with self._lock:
            entry = self._cache.get(path)
            if entry is None or entry[0] != stamp:
                return stamp, None
            self._cache.move_to_end(path)
            return stamp, entry[1]

    def _keep(self, path: str, stamp: _Stamp, container: Container) -> None:
        size = stamp[3]
        with self._lock:
            old = self._cache.pop(path, None)
            if old is not None:
                self._cached_bytes -= old[0][3]
            self._cache[path] = (stamp, container)
            self._cached_bytes += size
            while self._cached_bytes > CACHE_SIZE:
                _, (dropped, _) = self._cache.popitem(last=False)
                self._cached_bytes -= dropped[3]

    def _read(self, path: str) -> tuple[_Stamp, bytes]:
        """The whole file and the stamp of what was read; a device, a pipe or a folder is refused, never waited for."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with closed_after(descriptor), open(descriptor, "rb", buffering=0, closefd=False) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageRefused("file", "not a regular file")
            if status.st_size > self._max_size:
                raise ImageRefused("size", f"{status.st_size} bytes, more than the limit of {self._max_size}")
            chunks: list[bytes] = []
            missing = status.st_size
            while missing:
                chunk = file.read(missing)
                if not chunk:
                    raise ImageRefused("file", "it became shorter while it was read")
                chunks.append(chunk)
                missing -= len(chunk)
            return _stamp(status), chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _stamp(status: os.stat_result) -> _Stamp:
    # ctime too: unlike mtime, who may write a file cannot set it.
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, status.st_ctime_ns
