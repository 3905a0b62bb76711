"""Copies out of and into `Pages`, whose runs may lie apart in the host's memory."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from south.platform import Pages


def read(pages: Pages, offset: int, size: int) -> bytes:
    """A copy, each byte read once. ValueError outside of `pages`."""
    parts = [bytes(pages.view(at, length)) for at, length in _pieces(pages, offset, size)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write(pages: Pages, offset: int, data: bytes | bytearray | memoryview) -> None:
    """ValueError outside of `pages`."""
    source = memoryview(data)
    done = 0
    for at, length in _pieces(pages, offset, len(data)):
        pages.view(at, length)[:] = source[done : done + length]
        done += length


def _pieces(pages: Pages, offset: int, size: int) -> list[tuple[int, int]]:
    """(offset, bytes), each in one run."""
    if offset < 0 or size < 0 or offset + size > pages.size:
        raise ValueError(f"[{offset}, {offset + size}) is not inside {pages.size} bytes")
    runs = pages.runs
    if len(runs) == 1:
        return [(offset, size)]
    found: list[tuple[int, int]] = []
    ends = list(accumulate(length for _, length in runs))
    for end in ends[bisect_right(ends, offset) :]:
        piece = min(size, end - offset)
        found.append((offset, piece))
        offset += piece
        size -= piece
        if not size:
            break
    return found
