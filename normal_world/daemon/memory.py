"""Shared memory of clients: sealed memfds, each mapped once however often it is registered.

A client that truncates its file would fault whoever reads the mapping, so a file must be sealed
against that; and what is not shmem (a huge page, a device) does not come in at all. Once a file is mapped its
descriptor is closed: descriptors are few, and the mapping keeps the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from normal_world._transport import ffi, lib
from south.linux_host.memory import MappedPages
from south.platform import PAGE
from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from south.platform import Pages

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class Checked(NamedTuple):
    """A file that may be registered. key: its inode; size: bytes."""

    key: int
    size: int


class ClientFile:
    """A client's memory in this process. pages: whole pages; size: bytes of the file; users: registrations."""

    __slots__ = ("key", "pages", "size", "users")

    def __init__(self, key: int, pages: MappedPages, size: int) -> None:
        self.key = key
        self.pages = pages
        self.size = size
        self.users = 0


class SharedObject:
    """What a client's number names. size: bytes it may use; cost: bytes that count against its limit."""

    __slots__ = ("calls", "cost", "file", "pages", "released", "size")

    def __init__(self, file: ClientFile, size: int) -> None:
        self.file = file
        self.pages: Pages = file.pages
        self.size = size
        self.cost = file.size
        self.calls = 0
        self.released = False


class ClientMemory:
    """All clients' files. forget: called with pages that nobody uses any more, before they are unmapped."""

    def __init__(self, forget: Callable[[Pages], None] | None = None) -> None:
        self._forget = forget
        self._lock = threading.Lock()
        self._files: dict[int, ClientFile] = {}
        probe = os.memfd_create("litebox-probe", os.MFD_CLOEXEC)
        self._device = os.fstat(probe).st_dev
        os.close(probe)

    def check(self, fd: int, size: int) -> Checked:
        """size: bytes the client asks for. TeeError(BAD_PARAMETERS) for what is no sealed memfd of that size."""
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
            status = os.fstat(fd)
        except OSError:
            raise _bad("it is no memfd") from None
        if seals & SEALS != SEALS:
            raise _bad("it is not sealed against shrinking and growing")
        if status.st_dev != self._device:
            raise _bad("it is no memfd of small pages")
        if not 0 < size <= status.st_size:
            raise _bad(f"{size} bytes are not in a file of {status.st_size}")
        return Checked(status.st_ino, status.st_size)

    def register(self, fd: int, checked: Checked, size: int) -> SharedObject:
        """Map the file that `check` has looked at. `fd` stays the caller's. TeeError."""
        key, length = checked
        with self._lock:
            file = self._files.get(key)
            if file is None:
                file = self._files[key] = ClientFile(key, _map(fd, length), length)
            file.users += 1
        return SharedObject(file, size)

    def release(self, shared: SharedObject) -> None:
        """Nobody names the object any more and no call uses it."""
        file = shared.file
        with self._lock:
            file.users -= 1
            if file.users:
                return
            del self._files[file.key]
        if self._forget is not None:
            self._forget(file.pages)

    @property
    def files(self) -> int:
        return len(self._files)


def _map(fd: int, length: int) -> MappedPages:
    address = lib.lb_map(fd, length)
    if address == ffi.NULL:
        if ffi.errno in (errno.EPERM, errno.EACCES):
            raise _bad("it is not writable")
        raise TeeError(results.OUT_OF_MEMORY, f"mapping {length} bytes: {os.strerror(ffi.errno)}", Origin.COMMS)
    # Not Python's mmap: that keeps a duplicate of the descriptor (up to Python 3.12 it cannot be asked not to).
    owned = ffi.gc(address, lambda start: lib.lb_unmap(start, length))
    return MappedPages(ffi.buffer(owned, length), (length + PAGE - 1) // PAGE * PAGE)


def _bad(why: str) -> TeeError:
    return TeeError(results.BAD_PARAMETERS, f"shared memory refused: {why}", Origin.COMMS)
