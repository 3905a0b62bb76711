"""Parameters of a call in a TA's memory: `struct utee_params` and the memory its memrefs name.

Source: optee_os 4.5 core/kernel/user_ta.c (init_utee_param), core/mm/vm.c (vm_map_param),
lib/libutee/include/utee_types.h (struct utee_params: u64 types, u64 vals[8]).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from north.errors import BadRange, OutOfMemory
from south.platform import PAGE, Prot, RegionFlag
from tee.params import Kind, Memref, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from north.memory import AddressSpace, Region
    from south.platform import Pages
    from tee.params import AnyParam

UTEE_PARAMS = Struct("<9Q")
PARAMS = 4
_EMPTY = (0, 0)
_RW = Prot.RW  # enum members are slow to look up
_SECURE = RegionFlag.SECURE
_NONSECURE = RegionFlag.NONSECURE
_VALUE_INPUT = Kind.VALUE_INPUT
_VALUE_OUTPUT = Kind.VALUE_OUTPUT
_MEMREF_INPUT = Kind.MEMREF_INPUT


def kinds(types: int) -> tuple[int, int, int, int]:
    """The four kinds of a paramTypes word (TEE_PARAM_TYPE_GET)."""
    return types & 15, types >> 4 & 15, types >> 8 & 15, types >> 12 & 15


def _same(one: Memref, other: Memref) -> bool:
    """Both name the same bytes: an operation in place."""
    return (
        one.pages is other.pages
        and one.offset == other.offset
        and one.size == other.size
        and one.secure == other.secure
    )


class Places:
    """Where the parameters of an instance's calls are mapped, by their number.

    A client mostly offers the same memory in call after call. What it offered last stays in the table between
    two calls, when no guest runs, and is taken over by the next call; whatever that one does not offer again
    leaves the table before the guest is entered. Memory of other TAs never stays.

    near: addresses of the last time, 0: none yet.
    """

    __slots__ = ("left", "near", "waiting")

    def __init__(self) -> None:
        self.near = [0] * PARAMS
        self.left: list[Region | None] = [None] * PARAMS
        self.waiting = 0
        """How many are left."""

    def clear(self, space: AddressSpace) -> None:
        """Unmap what is left."""
        for i, region in enumerate(self.left):
            if region is not None:
                self.left[i] = None
                space.remove(region)
        self.waiting = 0

    def start_over(self, space: AddressSpace) -> None:
        """Unmap what is left, and forget where it was."""
        self.clear(space)
        self.near = [0] * PARAMS

    def holds(self, pages: Pages) -> bool:
        return any(region is not None and region.pages is pages for region in tuple(self.left))


class MappedParams:
    """The parameters of one call while it runs. words: what goes into struct utee_params; answers: some come back.

    keep: told of a client's memory before it is mapped.
    """

    __slots__ = ("_slots", "answers", "params", "regions", "words")

    def __init__(
        self, space: AddressSpace, params: Sequence[AnyParam], places: Places, keep: Callable[[Pages], None]
    ) -> None:
        self.params = params
        self.regions: list[Region] = []
        self._slots: list[int] = []
        self.answers = False
        types = 0
        vals: list[int] = []
        memrefs: list[tuple[int, Memref, Pages]] = []
        for i, param in enumerate(params):
            if param is None:
                vals += _EMPTY
                continue
            kind = param.kind
            types |= kind << 4 * i
            if kind is not _VALUE_INPUT and kind is not _MEMREF_INPUT:
                self.answers = True
            if isinstance(param, Value):
                vals += _EMPTY if kind is _VALUE_OUTPUT else (param.a, param.b)
                continue
            if not isinstance(param, Memref):
                raise BadRange("memory that is lent to a pseudo TA")
            pages = param.pages
            if pages is not None:
                if not 0 <= param.offset <= param.offset + param.size <= pages.size:
                    raise BadRange("the memref is larger than its memory")
                memrefs.append((i, param, pages))
            vals += (0, param.size)
        if memrefs:
            try:
                try:
                    self._map_all(space, memrefs, vals, places, keep)
                except OutOfMemory:
                    # Calls before this one left their memory, or theirs and ours lie so that no hole is large enough.
                    self.unmap(space)
                    places.start_over(space)
                    self._map_all(space, memrefs, vals, places, keep)
            except BaseException:
                self.unmap(space)
                raise
        if places.waiting:
            places.clear(space)
        self.words = (types, *vals, *_EMPTY * (PARAMS - len(params)))

    def _map_all(
        self,
        space: AddressSpace,
        memrefs: list[tuple[int, Memref, Pages]],
        vals: list[int],
        places: Places,
        keep: Callable[[Pages], None],
    ) -> None:
        count = len(memrefs)
        if count == 2 and _same(memrefs[0][1], memrefs[1][1]):
            i, ref, pages = memrefs[0]
            self._map_one(space, i, ref, pages, vals, places, keep)
            vals[2 * memrefs[1][0]] = vals[2 * i]
        elif count == 1 or len({pages.identity for _, _, pages in memrefs}) == count:
            for i, ref, pages in memrefs:
                self._map_one(space, i, ref, pages, vals, places, keep)
        else:
            self._map(space, memrefs, vals, places, keep)

    def _map_one(
        self,
        space: AddressSpace,
        i: int,
        ref: Memref,
        pages: Pages,
        vals: list[int],
        places: Places,
        keep: Callable[[Pages], None],
    ) -> None:
        start = ref.offset & -PAGE
        size = (ref.offset - start + (ref.size or 1) + PAGE - 1) & -PAGE
        region = places.left[i]
        if region is not None:
            places.left[i] = None
            places.waiting -= 1
            if region.pages is not pages or region.offset != start or region.size != size or ref.secure:
                space.remove(region)
                region = None
        if region is None:
            if not ref.secure:
                keep(pages)
            region = space.attach(pages, start, size, _RW, _SECURE if ref.secure else _NONSECURE, places.near[i])
            places.near[i] = region.va
        self.regions.append(region)
        self._slots.append(i)
        vals[2 * i] = region.va + ref.offset - start

    def _map(
        self,
        space: AddressSpace,
        memrefs: list[tuple[int, Memref, Pages]],
        vals: list[int],
        places: Places,
        keep: Callable[[Pages], None],
    ) -> None:
        """Map every piece of memory once; memrefs of one memory whose pages touch share a region."""
        pieces: list[tuple[int, int, int, Memref, Pages]] = []
        for i, ref, pages in memrefs:
            start = ref.offset & -PAGE
            end = (ref.offset + (ref.size or 1) + PAGE - 1) & -PAGE
            pieces.append((pages.identity, start, max(end, start + PAGE), ref, pages))
            vals[2 * i] = ref.offset - start
            if not ref.secure:
                keep(pages)
        places.clear(space)
        near = places.near
        spans: list[list[int]] = []
        for identity, start, end, _, _ in sorted(pieces, key=lambda p: p[:3]):
            if spans and spans[-1][0] == identity and start <= spans[-1][2]:
                spans[-1][2] = max(spans[-1][2], end)
            else:
                spans.append([identity, start, end])
        placed: list[tuple[list[int], Region]] = []
        for place, span in enumerate(spans):
            ref, pages = next((p[3], p[4]) for p in pieces if p[0] == span[0])
            flags = _SECURE if ref.secure else _NONSECURE
            region = space.attach(pages, span[1], span[2] - span[1], _RW, flags, near[place])
            near[place] = region.va
            self.regions.append(region)
            placed.append((span, region))
        for (i, _, _), (identity, start, _, _, _) in zip(memrefs, pieces, strict=True):
            span, region = next((s, r) for s, r in placed if s[0] == identity and s[1] <= start < s[2])
            vals[2 * i] += region.va + start - span[1]

    def unmap(self, space: AddressSpace) -> None:
        for region in self.regions:
            space.remove(region)
        self.regions = []
        self._slots = []

    def leave(self, space: AddressSpace, places: Places) -> None:
        """As `unmap`, but what the next call may offer again is left in its place."""
        if len(self._slots) != len(self.regions):
            self.unmap(space)
            return
        for i, region in zip(self._slots, self.regions, strict=True):
            if region.flags is _NONSECURE:
                places.left[i] = region
                places.waiting += 1
            else:
                space.remove(region)
        self.regions = []

    def update(self, words: tuple[int, ...]) -> None:
        """Take over what the TA left in struct utee_params; `words` is a copy of it."""
        for i, param in enumerate(self.params):
            if param is None:
                continue
            if isinstance(param, Value):
                if param.kind is not _VALUE_INPUT:
                    param.a = words[1 + 2 * i] & 0xFFFFFFFF
                    param.b = words[2 + 2 * i] & 0xFFFFFFFF
            elif param.kind is not _MEMREF_INPUT:
                param.size = words[2 + 2 * i]
