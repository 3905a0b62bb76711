"""Address spaces: what is mapped where, for whom, and how much of it there may be.

An `AddressSpace` owns the layout policy of one program: random placement, guard pages, W^X, the
quota. The engine's region table (`south.platform.Mmu`) only mirrors the result. Private memory
comes from one arena that the host mapped once; regions may instead be built of foreign pages, a
client's memfd or a list of a guest's 4 KiB pages, which cost no copy and do not count as private.
"""

from __future__ import annotations

import enum
from bisect import bisect_right, insort
from typing import TYPE_CHECKING, NamedTuple

from north.errors import BadRange, OutOfMemory, SpaceError
from south.platform import PAGE, Arch, Entropy, Pages, Prot, RegionFlag, Space

if TYPE_CHECKING:
    from collections.abc import Iterator

_WX = int(Prot.W | Prot.X)  # as an int: the operators of flags are slow
_CLEARED = 1 << 20
GUARD = PAGE
"""Unmapped bytes kept between regions that are placed by us."""

SMALL = 1 << 20
"""Bytes of a region that `Layout.BOARD` places among the small ones."""
_SMALL_BAND = 128 << 20
"""Bytes at the window's bottom where small regions lie, so that they leave the rest in one piece."""
_MAX_PAD = 128
"""Pages that a large region is moved up at random at most; CFG_TA_ASLR_MAX_OFFSET_PAGES of optee_os mk/config.mk."""


class Layout(enum.Enum):
    """Which addresses a program gets.

    BOARD: 1 GiB from 0x4000_0000, the same for both architectures: OP-TEE gives user mode one entry of its level-1
    table, the lowest free one from 1 GiB on (optee_os core/arch/arm/mm/core_mmu_lpae.c, `set_user_va_idx`). Addresses
    have 31 bits, and a program may lose their upper half without noticing.
    WIDE: as much as the architecture has: 512 GiB for aarch64, 3 GiB for arm.
    """

    BOARD = "board"
    WIDE = "wide"


_WINDOW = (0x4000_0000, 0x8000_0000)
_RANGES = {
    (Layout.BOARD, Arch.AARCH64): _WINDOW,
    (Layout.BOARD, Arch.ARM): _WINDOW,
    (Layout.WIDE, Arch.AARCH64): (0x4000_0000, 1 << 39),
    (Layout.WIDE, Arch.ARM): (0x10_0000, 0xC000_0000),
}
"""Lowest and highest address handed out."""


def most_addresses(layout: Layout) -> int:
    """Bytes that a program of any architecture has addresses for, at most; some of them are its own."""
    return max(high - low for (kind, _), (low, high) in _RANGES.items() if kind is layout)


def page_up(size: int) -> int:
    return (size + PAGE - 1) & -PAGE


class Region:
    """One mapping. va, size: bytes, page-aligned; name: for people and maps in crash reports."""

    __slots__ = ("flags", "name", "offset", "owner", "pages", "prot", "size", "va")

    def __init__(
        self, va: int, size: int, prot: Prot, name: str, flags: RegionFlag, owner: object, pages: Pages, offset: int
    ) -> None:
        self.va = va
        self.size = size
        self.prot = prot
        self.name = name
        self.flags = flags
        self.owner = owner
        self.pages = pages
        self.offset = offset

    @property
    def end(self) -> int:
        return self.va + self.size

    def __lt__(self, other: Region) -> bool:
        return self.va < other.va

    def __repr__(self) -> str:
        letters = "".join(c if self.prot & bit else "-" for c, bit in (("r", 1), ("w", 2), ("x", 4)))
        return f"{self.va:#x}-{self.end:#x} {letters} {self.name}"


class Usage(NamedTuple):
    """Bytes of private memory, and of what else was charged, but for `refused`: requests that were not met.

    largest_refused: the largest of those; used_then: what was in use when it came. peak and what was refused count
    from the last reset.
    """

    used: int
    peak: int
    limit: int
    refused: int
    largest_refused: int
    used_then: int


class Arena:
    """Private pages of one instance: first-fit over free runs, zeroed when given out again."""

    __slots__ = ("_free", "_refused", "limit", "pages", "peak", "used")

    def __init__(self, pages: Pages, limit: int) -> None:
        self.pages = pages
        self.limit = min(limit, pages.size)
        self.used = 0
        self.peak = 0
        self._refused = (0, 0, 0)  # as the last three of Usage
        self._free: list[tuple[int, int, bool]] = [(0, pages.size, False)]  # (offset, size, dirty)

    def take(self, size: int) -> int:
        """Offset of `size` zeroed bytes; OutOfMemory beyond the limit."""
        self.require(size)
        for i, (offset, room, dirty) in enumerate(self._free):
            if room >= size:
                if room == size:
                    del self._free[i]
                else:
                    self._free[i] = (offset + size, room - size, dirty)
                self.used += size
                if self.used > self.peak:
                    self.peak = self.used
                if dirty:
                    self._clear(offset, size)
                return offset
        self._refuse(size)
        raise OutOfMemory("private memory is fragmented")

    def require(self, size: int) -> None:
        """OutOfMemory beyond the limit."""
        if self.used + size > self.limit:
            self._refuse(size)
            raise OutOfMemory(f"{size} bytes more than the limit of {self.limit} allows")

    def _clear(self, offset: int, size: int) -> None:
        """In pieces: zeros for all of it would be as much memory again."""
        view = self.pages.view(offset, size)
        zeros = bytes(min(size, _CLEARED))
        for at in range(0, size, _CLEARED):
            view[at : at + _CLEARED] = zeros[: size - at]

    def charge(self, size: int) -> None:
        self.require(size)
        self.used += size
        self.peak = max(self.peak, self.used)

    def _refuse(self, size: int) -> None:
        count, largest, then = self._refused
        self._refused = (count + 1, size, self.used) if size > largest else (count + 1, largest, then)

    @property
    def usage(self) -> Usage:
        return Usage(self.used, self.peak, self.limit, *self._refused)

    def reset_usage(self) -> None:
        self.peak, self._refused = self.used, (0, 0, 0)

    def give(self, offset: int, size: int) -> None:
        self.used -= size
        insort(self._free, (offset, size, True))
        i = max(0, bisect_right(self._free, (offset, size, True)) - 2)
        while i + 1 < len(self._free):
            at, room, dirty = self._free[i]
            after, more, also = self._free[i + 1]
            if at + room == after and dirty == also:
                self._free[i : i + 2] = [(at, room + more, dirty)]
            elif at > offset:
                break
            else:
                i += 1


class AddressSpace:
    """The memory of one program.

    quota: bytes of private memory. Ranges reserved by `reserve` are free until mapped.
    """

    def __init__(self, table: Space, arena: Pages, entropy: Entropy, quota: int, layout: Layout = Layout.BOARD) -> None:
        self.table = table
        self.arch = table.arch
        self._arena = Arena(arena, quota)
        self._entropy = entropy
        self._regions: list[Region] = []
        self._starts: list[int] = []
        if (layout, table.arch) not in _RANGES:
            raise SpaceError(f"there is no {layout.value} layout for {table.arch.value}")
        self.low, self.high = _RANGES[layout, table.arch]
        self._top = self.high
        """Nothing is placed from here on, unless its address is named."""
        self._wide = layout is Layout.WIDE

    @property
    def used(self) -> int:
        """Bytes of private memory in use, and of what else was charged."""
        return self._arena.used

    @property
    def usage(self) -> Usage:
        """Bytes of private memory; from any thread."""
        return self._arena.usage

    def reset_usage(self) -> None:
        self._arena.reset_usage()

    def require(self, size: int) -> None:
        """OutOfMemory unless the quota allows `size` bytes more."""
        self._arena.require(size)

    def charge(self, size: int) -> None:
        """Count bytes that the host holds for the program, and that are no pages of its, as private memory.

        OutOfMemory: the quota does not allow them. `credit` undoes it.
        """
        self._arena.charge(size)

    def credit(self, size: int) -> None:
        self._arena.used -= size

    def __iter__(self) -> Iterator[Region]:
        return iter(self._regions)

    def find(self, va: int) -> Region | None:
        i = bisect_right(self._starts, va) - 1
        return self._regions[i] if i >= 0 and va < self._regions[i].end else None

    def confine(self, low: int, top: int, high: int) -> None:
        """From now on place regions in [low, top); an address that is named may lie in [low, high).

        For a program that keeps something at addresses it was built with.
        """
        self.low, self._top, self.high = low, top, high
        self._wide = False

    def reserve(self, size: int) -> int:
        """A random page-aligned address with `size` unmapped bytes and a guard page on both sides.

        In OP-TEE's window random places for everything would leave no hole for a large buffer. So only small
        regions are strewn, over a band of their own; large ones lie close together behind it. OutOfMemory.
        """
        want = page_up(size) + 2 * GUARD
        if want > self._top - self.low:
            raise OutOfMemory(f"{size} bytes of addresses are more than the {self._top - self.low} of a TA")
        if self._wide or size <= SMALL:
            top = self._top if self._wide else min(self.low + _SMALL_BAND, self._top)
            room = (top - self.low - want) // PAGE + 1
            for _ in range(64):
                at = self.low + self._random(room) * PAGE
                if self._is_free(at, want):
                    return at + GUARD
        start = self.low if self._wide else min(self.low + _SMALL_BAND, self._top)
        pad = 0 if self._wide else self._random(_MAX_PAD) * PAGE
        for low, more in ((start, pad), (start, 0), (self.low, 0)):
            hole = self._first_hole(want + more, low)
            if hole is not None:
                return hole + more + GUARD
        raise OutOfMemory(f"no hole of {size} bytes among the addresses of a TA")

    def _random(self, below: int) -> int:
        return int.from_bytes(self._entropy.fill(8), "little") % below

    def _is_free(self, va: int, size: int) -> bool:
        i = bisect_right(self._starts, va) - 1
        if i >= 0 and self._regions[i].end > va:
            return False
        return i + 1 >= len(self._regions) or self._regions[i + 1].va >= va + size

    def _first_hole(self, size: int, low: int) -> int | None:
        at = low
        for region in self._regions:
            if min(region.va, self._top) - at >= size:
                return at
            at = max(at, region.end)
        return at if self._top - at >= size else None

    def map(
        self,
        size: int,
        prot: Prot,
        *,
        name: str,
        at: int | None = None,
        flags: RegionFlag = RegionFlag.PRIVATE,
        owner: object = None,
        pages: Pages | None = None,
        offset: int = 0,
    ) -> Region:
        """Map `size` bytes (rounded up to pages) at `at`, or at a random place.

        pages, offset: foreign memory; None: zeroed private memory. OutOfMemory, BadRange.
        """
        length = page_up(size)
        if length <= 0 or (at is not None and at % PAGE) or offset % PAGE:
            raise BadRange("size must be positive and addresses page-aligned")
        if prot & Prot.W and prot & Prot.X:
            raise BadRange("no page is writable and executable")
        va = self.reserve(length) if at is None else at
        if va < self.low or va + length > self.high or not self._is_free(va, length):
            raise BadRange(f"{va:#x}..{va + length:#x} is not free")
        private = pages is None
        if pages is None:
            pages = self._arena.pages
            offset = self._arena.take(length)
        elif offset + length > page_up(pages.size):
            raise BadRange("the memory ends before that")
        region = Region(va, length, prot, name, flags, owner, pages, offset)
        try:
            self.table.map(va, length, prot, flags, pages, offset)
        except BaseException:
            if private:
                self._arena.give(offset, length)
            raise
        i = bisect_right(self._starts, va)
        self._regions.insert(i, region)
        self._starts.insert(i, va)
        return region

    def attach(self, pages: Pages, offset: int, size: int, prot: Prot, flags: RegionFlag, near: int) -> Region:
        """Map foreign pages for the time of one call: at `near` if that is free, or at a random place.

        offset, size: whole pages. A second call with the same `near` finds it free again, which
        saves the search for a place; the address stays as random as the first one was.
        """
        if near and self._is_free(near - GUARD, size + 2 * GUARD):
            if int(prot) & _WX == _WX or offset < 0 or offset + size > page_up(pages.size):
                raise BadRange("the memory ends before that")
            region = Region(near, size, prot, "param", flags, None, pages, offset)
            self.table.map(near, size, prot, flags, pages, offset)
            i = bisect_right(self._starts, near)
            self._regions.insert(i, region)
            self._starts.insert(i, near)
            return region
        return self.map(size, prot, name="param", flags=flags, pages=pages, offset=offset)

    def _cut(self, va: int) -> None:
        """Make `va` a border between regions."""
        i = bisect_right(self._starts, va) - 1
        if i < 0 or not self._regions[i].va < va < self._regions[i].end:
            return
        r = self._regions[i]
        head = va - r.va
        tail = Region(va, r.size - head, r.prot, r.name, r.flags, r.owner, r.pages, r.offset + head)
        r.size = head
        self._regions.insert(i + 1, tail)
        self._starts.insert(i + 1, va)

    def _range(self, va: int, size: int) -> tuple[int, int]:
        """Indices of the regions that make up exactly [va, va + size); BadRange if there is a hole."""
        length = page_up(size)
        if va % PAGE or length <= 0:
            raise BadRange("ranges must be page-aligned and not empty")
        at = va
        i = first = bisect_right(self._starts, va) - 1
        while at < va + length:
            if i < 0 or i >= len(self._regions) or not self._regions[i].va <= at < self._regions[i].end:
                raise BadRange(f"{at:#x} is not mapped")
            at = self._regions[i].end
            i += 1
        self._cut(va)
        self._cut(va + length)
        first = bisect_right(self._starts, va) - 1
        return first, bisect_right(self._starts, va + length - 1)

    def unmap(self, va: int, size: int) -> None:
        """Unmap whole pages; BadRange unless all of them are mapped."""
        first, last = self._range(va, size)
        self.table.unmap(va, page_up(size))
        for region in self._regions[first:last]:
            if region.pages is self._arena.pages:
                self._arena.give(region.offset, region.size)
        del self._regions[first:last]
        del self._starts[first:last]

    def remove(self, region: Region) -> None:
        """Unmap a region that `map` gave and nobody cut; the quick way for a call's buffers."""
        i = bisect_right(self._starts, region.va) - 1
        self.table.unmap(region.va, region.size)
        if region.pages is self._arena.pages:
            self._arena.give(region.offset, region.size)
        del self._regions[i]
        del self._starts[i]

    def protect(self, va: int, size: int, prot: Prot) -> None:
        if prot & Prot.W and prot & Prot.X:
            raise BadRange("no page is writable and executable")
        first, last = self._range(va, size)
        self.table.protect(va, page_up(size), prot)
        for region in self._regions[first:last]:
            region.prot = prot

    def read(self, va: int, size: int) -> bytes:
        """Privileged copy out of mapped memory, whatever its permissions; BadRange if unmapped."""
        data = self.table.read(va, size, Prot.NONE)
        if data is None:
            raise BadRange(f"[{va:#x}, {va + size:#x}) is not mapped")
        return data

    def write(self, va: int, data: bytes | bytearray | memoryview) -> None:
        """Privileged copy into mapped memory. Code that ran before needs `Space.invalidate` after it."""
        if not self.table.write(va, data, Prot.NONE):
            raise BadRange(f"[{va:#x}, {va + len(data):#x}) is not mapped")

    def view(self, va: int, size: int) -> memoryview:
        """Privileged writable view of memory inside one region; BadRange otherwise."""
        region = self.find(va)
        if region is None or va + size > region.end:
            raise BadRange(f"[{va:#x}, {va + size:#x}) is not inside one region")
        return region.pages.view(region.offset + va - region.va, size)
