"""Host memory as `Pages`: arenas private to this process, and sealed memfds that can be shared."""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
from typing import TYPE_CHECKING

from south.engine.unicorn import ffi
from south.platform import PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

_identities = itertools.count(1)


def _whole_pages(size: int) -> int:
    if size <= 0:
        raise ValueError("size must be positive")
    return (size + PAGE - 1) // PAGE * PAGE


class MappedPages:
    """One contiguous host mapping. fd: the memfd behind it, or None for private memory."""

    __slots__ = ("_map", "_view", "fd", "identity", "runs", "size")

    def __init__(self, mapping: mmap.mmap, size: int, fd: int | None = None) -> None:
        self._map = mapping
        self._view = memoryview(mapping)
        self.fd = fd
        self.size = size
        self.identity = next(_identities)
        address = int(ffi.cast("uintptr_t", ffi.from_buffer(mapping)))
        self.runs: Sequence[tuple[int, int]] = ((address, size),)

    def view(self, offset: int, size: int) -> memoryview:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ValueError(f"[{offset}, {offset + size}) is not inside {self.size} bytes")
        return self._view[offset : offset + size]

    def discard(self) -> None:
        self._map.madvise(mmap.MADV_DONTNEED)

    def __del__(self) -> None:
        if self.fd is not None:
            os.close(self.fd)


class ScatteredPages:
    """Pages built of pieces of others, in order: a guest's buffer in 4 KiB pages of its RAM.

    pieces: (pages, offset, size), each page-aligned.
    """

    __slots__ = ("identity", "pieces", "runs", "size")

    def __init__(self, pieces: Sequence[tuple[MappedPages, int, int]]) -> None:
        runs: list[tuple[int, int]] = []
        for pages, offset, size in pieces:
            if offset % PAGE or size % PAGE or size <= 0 or offset < 0 or offset + size > pages.size:
                raise ValueError("pieces must be whole pages inside their memory")
            address = pages.runs[0][0] + offset
            if runs and sum(runs[-1]) == address:
                runs[-1] = (runs[-1][0], runs[-1][1] + size)
            else:
                runs.append((address, size))
        self.pieces = tuple(pieces)
        self.runs: Sequence[tuple[int, int]] = tuple(runs)
        self.size = sum(size for _, _, size in pieces)
        self.identity = pieces[0][0].identity if pieces else 0

    def view(self, offset: int, size: int) -> memoryview:
        at = 0
        for pages, start, length in self.pieces:
            if at <= offset and offset + size <= at + length:
                return pages.view(start + offset - at, size)
            at += length
        raise ValueError("not contiguous, or outside the memory")


class HostPages:
    """`south.platform.PageSource` of the Linux host."""

    def arena(self, size: int) -> MappedPages:
        size = _whole_pages(size)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        return MappedPages(mmap.mmap(-1, size, flags=flags), size)

    def shared(self, size: int) -> MappedPages:
        size = _whole_pages(size)
        fd = os.memfd_create("litebox-shm", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size)
            # Nobody who is given this file can shrink it under us.
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return MappedPages(mmap.mmap(fd, size), size, fd)
        except BaseException:
            os.close(fd)
            raise
