"""Self tests of memory: regions, the quota, what is zeroed when, and memrefs on their way into a TA.

They stand where OP-TEE tests its allocator (core/pta/tests/misc.c, self_test_malloc).
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from north.errors import BadRange, OutOfMemory
from north.memory import AddressSpace, Arena
from south.platform import PAGE, Arch, Prot, RegionFlag
from tee.mapping import MappedParams, Places
from tee.params import Kind, Memref, Value
from tee.pta.selftest.kit import check, refuses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from south.platform import Pages, Platform

QUOTA = 16
"""Pages of the address space that the tests work in; its arena has twice as many."""


@contextmanager
def scratch(platform: Platform) -> Iterator[AddressSpace]:
    """An address space of nobody's."""
    arena = platform.pages.arena(2 * QUOTA * PAGE)
    table = platform.engine.space(Arch.AARCH64, arena)
    try:
        yield AddressSpace(table, arena, platform.entropy, QUOTA * PAGE)
    finally:
        table.close()
        arena.discard()


def quota(space: AddressSpace) -> None:
    """The quota is exact: to the last page, not beyond, and given back on unmapping."""
    before = space.used
    first = space.map((QUOTA - 1) * PAGE, Prot.RW, name="test")
    last = space.map(1, Prot.R, name="test")
    check(space.used == before + QUOTA * PAGE, "sizes count in whole pages")
    refuses(OutOfMemory, lambda: space.map(1, Prot.R, name="test"), "nothing is mapped beyond the quota")
    space.unmap(first.va, first.size)
    check(space.used == before + PAGE, "unmapping gives memory back")
    space.unmap(last.va, last.size)
    check(space.used == before, "all memory was given back")
    refuses(BadRange, lambda: space.read(first.va, 1), "unmapped memory cannot be read")


def zeroing(space: AddressSpace) -> None:
    """Memory that was used before is zero when it is mapped again."""
    for _ in range(3):
        region = space.map(QUOTA * PAGE, Prot.RW, name="test")
        check(not any(space.read(region.va, region.size)), "new private memory is zero")
        space.write(region.va, b"\xa5" * region.size)
        space.unmap(region.va, region.size)


def placement(space: AddressSpace) -> None:
    """Regions do not overlap, keep guard pages between them, and are never writable and executable."""
    one = space.map(2 * PAGE, Prot.RW, name="test")
    other = space.map(PAGE, Prot.RW, name="test")
    gap = max(one.va, other.va) - min(one.end, other.end)
    check(gap >= PAGE, "there is a guard page between regions")
    check(not one.va % PAGE and space.low <= one.va < one.end <= space.high, "addresses are whole pages in range")
    for at in (one.va, one.va + PAGE, one.va - PAGE):
        refuses(BadRange, partial(space.map, 2 * PAGE, Prot.R, name="test", at=at), "nothing is mapped over a region")
    for size, at in ((0, space.low), (PAGE, one.end + 1), (PAGE, space.high), (PAGE, -PAGE)):
        refuses(BadRange, partial(space.map, size, Prot.R, name="test", at=at), f"{size} bytes at {at:#x} are refused")
    rwx = Prot(Prot.RW | Prot.X)
    refuses(BadRange, lambda: space.map(PAGE, rwx, name="test"), "no page is writable and executable")
    refuses(BadRange, lambda: space.protect(one.va, PAGE, rwx), "no page becomes writable and executable")
    space.remove(other)
    space.unmap(one.va, one.size)


def cutting(space: AddressSpace) -> None:
    """A part of a region can be protected or unmapped; the rest keeps its bytes and its permissions."""
    region = space.map(3 * PAGE, Prot.RW, name="test")
    va = region.va
    space.write(va, b"".join(bytes((n,)) * PAGE for n in (1, 2, 3)))
    space.protect(va + PAGE, PAGE, Prot.R)
    check([int(r.prot) for r in space] == [Prot.RW, Prot.R, Prot.RW], "only the page in the middle changed")
    check(not space.table.check(va, 3 * PAGE, Prot.W), "the engine knows that the middle is read-only")
    check(space.table.check(va, 3 * PAGE, Prot.R), "the engine knows that all of it is readable")
    space.unmap(va + PAGE, PAGE)
    refuses(BadRange, lambda: space.read(va + PAGE, 1), "the page in the middle is gone")
    refuses(BadRange, lambda: space.unmap(va, 3 * PAGE), "a range with a hole is no range")
    check(space.read(va, PAGE) + space.read(va + 2 * PAGE, PAGE) == b"\1" * PAGE + b"\3" * PAGE, "the rest is intact")
    space.unmap(va, PAGE)
    space.unmap(va + 2 * PAGE, PAGE)
    check(not list(space), "nothing is left over")


def allocator(platform: Platform) -> None:
    """The arena hands out what does not overlap, joins what comes back, and respects its limit."""
    pages = platform.pages.arena(8 * PAGE)
    try:
        arena = Arena(pages, 6 * PAGE)
        offsets = [arena.take(2 * PAGE) for _ in range(3)]
        check(sorted(offsets) == [0, 2 * PAGE, 4 * PAGE], "pieces do not overlap")
        refuses(OutOfMemory, lambda: arena.take(PAGE), "the limit is less than the arena, and holds")
        for offset in (offsets[0], offsets[2], offsets[1]):
            arena.give(offset, 2 * PAGE)
        check(arena.used == 0 and arena.take(6 * PAGE) == 0, "neighbours that come back are one piece again")
        arena.give(0, 6 * PAGE)
        refuses(OutOfMemory, lambda: arena.take(1 << 40), "what is larger than the arena is refused")
    finally:
        pages.discard()


def passing(platform: Platform, space: AddressSpace) -> None:
    """A client's memory shows up where the TA is told, with its bytes, for the length of the call and no longer."""
    shared = platform.pages.shared(3 * PAGE)
    shared.view(PAGE - 5, 10)[:] = b"0123456789"
    value, memref = Value(Kind.VALUE_INOUT, 0x11, 0x22), Memref(Kind.MEMREF_INOUT, shared, 10, PAGE - 5)
    places = Places()
    known: list[Pages] = []
    mapped = MappedParams(space, [value, memref, None, Memref(Kind.MEMREF_INPUT, None, 0)], places, known.append)
    check(known == [shared], "the engine is told of the memory")
    types, *words = mapped.words
    check(types == Kind.VALUE_INOUT | Kind.MEMREF_INOUT << 4 | Kind.MEMREF_INPUT << 12, "types lie in nibbles")
    check(words[:2] == [0x11, 0x22] and words[3:] == [10, 0, 0, 0, 0], "values and sizes are told, NULL is NULL")
    check(space.read(words[2], 10) == b"0123456789", "the TA sees the client's bytes")
    check(bool(mapped.regions[0].flags & RegionFlag.NONSECURE), "the client's memory counts as non-secure")
    space.write(words[2], b"abc")
    check(bytes(shared.view(PAGE - 5, 4)) == b"abc3", "the client sees the TA's bytes")
    mapped.unmap(space)
    refuses(BadRange, lambda: space.read(words[2], 1), "after the call the TA has no access")
    mapped.update((types, 0x33, 0x44, words[2], 7, 0, 0, 0, 0))
    check((value.a, value.b, memref.size) == (0x33, 0x44, 7), "values and sizes come back")
    too_long = Memref(Kind.MEMREF_INPUT, shared, 2 * PAGE, PAGE + 1)
    map_it = partial(MappedParams, space, [too_long], places, known.append)
    refuses(BadRange, map_it, "a memref larger than its memory is refused")
    check(not list(space), "a refused call maps nothing")


def tests(platform: Platform) -> list[tuple[str, Callable[[], None]]]:
    def inside(test: Callable[[AddressSpace], None]) -> Callable[[], None]:
        def call() -> None:
            with scratch(platform) as space:
                test(space)

        return call

    return [
        *((test.__name__, inside(test)) for test in (quota, zeroing, placement, cutting)),
        ("allocator", lambda: allocator(platform)),
        ("passing", inside(partial(passing, platform))),
    ]
