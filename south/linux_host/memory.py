"""Host memory as `Pages`: arenas private to this process, and sealed memfds that can be shared."""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING

from south.engine.binding import ffi
from south.platform import PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

_identities = itertools.count(1)


def _whole_pages(size: int) -> int:
    if size <= 0:
        raise ValueError("size must be positive")
    return (size + PAGE - 1) // PAGE * PAGE


class MappedPages:
    """One contiguous host mapping. fd: the memfd behind it, or None for private memory.

    exposed: of private memory, one byte a page: 1 where a view was given out, by which Python may write.
    """

    __slots__ = ("_map", "_view", "exposed", "fd", "identity", "runs", "size")

    def __init__(self, mapping: mmap.mmap, size: int, fd: int | None = None) -> None:
        self._map = mapping
        self.exposed = bytearray(size // PAGE) if fd is None else None
        self._view = memoryview(mapping)
        self.fd = fd
        self.size = size
        self.identity = next(_identities)
        address = int(ffi.cast("uintptr_t", ffi.from_buffer(mapping)))
        self.runs: Sequence[tuple[int, int]] = ((address, size),)

    def view(self, offset: int, size: int) -> memoryview:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ValueError(f"[{offset}, {offset + size}) is not inside {self.size} bytes")
        if self.exposed is not None and size:
            first, last = offset // PAGE, (offset + size - 1) // PAGE
            self.exposed[first : last + 1] = b"\1" * (last + 1 - first)
        return self._view[offset : offset + size]

    def discard(self) -> None:
        self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Private memory alone. Whoever still has a view of it keeps the addresses until that view goes."""
        self._view.release()
        self._map.madvise(mmap.MADV_DONTNEED)
        with suppress(BufferError):
            self._map.close()

    def __del__(self) -> None:
        if self.fd is not None:
            os.close(self.fd)


class ScatteredPages:
    """Pages built of pieces of others, in order: a guest's buffer in 4 KiB pages of its RAM.

    pieces: (pages, offset, size), each page-aligned. Two objects over the same pieces are two identities: whoever
    lists a page twice shares it unseen.
    """

    __slots__ = ("_starts", "identity", "pieces", "runs", "size")

    def __init__(self, pieces: Sequence[tuple[MappedPages, int, int]]) -> None:
        joined: list[tuple[MappedPages, int, int]] = []
        for pages, offset, size in pieces:
            if offset % PAGE or size % PAGE or size <= 0 or offset < 0 or offset + size > pages.size:
                raise ValueError("pieces must be whole pages inside their memory")
            if joined and joined[-1][0] is pages and joined[-1][1] + joined[-1][2] == offset:
                joined[-1] = (pages, joined[-1][1], joined[-1][2] + size)
            else:
                joined.append((pages, offset, size))
        if not joined:
            raise ValueError("no pages")
        self.pieces = tuple(joined)
        self.runs: Sequence[tuple[int, int]] = tuple((pages.runs[0][0] + at, size) for pages, at, size in joined)
        self._starts = [0, *itertools.accumulate(size for _, _, size in joined)]
        self.size = self._starts.pop()
        self.identity = next(_identities)

    def view(self, offset: int, size: int) -> memoryview:
        index = bisect_right(self._starts, offset) - 1
        if offset >= 0 and size >= 0:
            pages, start, length = self.pieces[index]
            at = offset - self._starts[index]
            if at + size <= length:
                return pages.view(start + at, size)
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
