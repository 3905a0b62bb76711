"""TAs that OP-TEE built with CFG_TA_SANITIZE_KADDRESS: the shadow of their memory, and what a report means.

The compiler puts a check before each access; the runtime in libutils looks at the shadow, and at a table of what has
one, which lies at a fixed address that is compiled in. ldelf maps both, and so does the loader here; the TA maps the
shadow of its heap, and its initialisers mark what lies beside global variables.

Source: optee_os 4.10 ldelf/asan.c, ldelf/main.c, ldelf/ta_elf.c, lib/libutils/ext/asan.c (`asan_user_map_shadow`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.errors import SpaceError
from south.platform import PAGE, Prot
from tee.abi import asan as abi
from tee.abi.results import OUT_OF_MEMORY
from tee.errors import TeeError

if TYPE_CHECKING:
    from north.memory import AddressSpace

    from .link import LinkMap

_LONGEST = 80
"""Characters of a report behind its beginning."""
_LOWEST = 0x10_0000
"""Of the addresses of TAs on a core without long descriptors."""


class Sanitizer:
    """The shadow of one program (`tee.ports.Sanitizer`). Made before anything of the program is mapped."""

    def __init__(self, links: LinkMap, offset: int) -> None:
        self._links = links
        self._offset = offset
        self._word = links.space.arch.word
        self._table = offset - abi.INFO_BELOW
        self._regions = 0
        self._mapped: list[tuple[int, int]] = []
        self._report = ""
        space = links.space
        # All that has a shadow lies below the table, and the shadow of that much is kept free.
        low = space.low if space.low < self._table else _LOWEST
        space.confine(low, self._table, self._shadow(self._table) + PAGE - 1 & -PAGE)

    def _shadow(self, va: int) -> int:
        return va // abi.BLOCK + self._offset

    def prepare(self) -> None:
        """Map the table; inside `LinkMap.attempt`."""
        self._links.map(PAGE, Prot.RW, "sanitizer", at=self._table)

    def add_module(self, va: int, size: int) -> None:
        """As `_add`."""
        self._add(va, size, abi.Region.ELF)

    def add_stack(self, va: int, size: int) -> None:
        """As `_add`."""
        self._add(va, size, abi.Region.STACK)

    def _add(self, va: int, size: int, kind: abi.Region) -> None:
        """Give [va, va + size) a shadow that allows all of it; inside `LinkMap.attempt`. TeeError."""
        begin, end = self._shadow(va) & -PAGE, self._shadow(va + size) + PAGE - 1 & -PAGE
        for low, high in self._missing(begin, end):
            if len(self._mapped) >= abi.VA_REGS_MAX:
                raise TeeError(OUT_OF_MEMORY, "the sanitizer's table of shadows is full")
            self._links.map(high - low, Prot.RW, "shadow", at=low)
            self._put(self._shadows_at + self._word * (1 + 2 * len(self._mapped)), low, high)
            self._mapped.append((low, high))
            self._put(self._shadows_at, len(self._mapped))
        if self._regions >= abi.VA_REGS_MAX:
            raise TeeError(OUT_OF_MEMORY, "the sanitizer's table of regions is full")
        self._put(self._table + self._word * (1 + 2 * self._regions), va, va + size)
        types = self._table + self._word * (1 + 2 * abi.VA_REGS_MAX)
        self._links.space.write(types + 4 * self._regions, int(kind).to_bytes(4, "little"))
        self._regions += 1
        self._put(self._table, self._regions)

    @property
    def _shadows_at(self) -> int:
        """Address of `s_regs_count`."""
        return self._table + self._word * (1 + 2 * abi.VA_REGS_MAX) + 4 * abi.VA_REGS_MAX

    def _put(self, va: int, *words: int) -> None:
        self._links.space.write(va, b"".join(word.to_bytes(self._word, "little") for word in words))

    def _missing(self, begin: int, end: int) -> list[tuple[int, int]]:
        """What of [begin, end) has no shadow yet."""
        out = []
        at = begin
        for low, high in sorted(self._mapped):
            if high <= at or low >= end:
                continue
            if low > at:
                out.append((at, low))
            at = high
        if at < end:
            out.append((at, end))
        return out

    def adopt(self) -> None:
        """Read back what the TA added by itself, memory of its heap; nothing there is trusted to be right."""
        space = self._links.space
        try:
            self._regions = self._count(space, self._table)
            shadows = self._count(space, self._shadows_at)
            raw = space.read(self._shadows_at + self._word, 2 * self._word * shadows)
        except SpaceError:
            return
        words = [int.from_bytes(raw[i : i + self._word], "little") for i in range(0, len(raw), self._word)]
        self._mapped = [(low, high) for low, high in zip(words[::2], words[1::2], strict=True) if low < high]

    def _count(self, space: AddressSpace, va: int) -> int:
        return min(int.from_bytes(space.read(va, self._word), "little"), abi.VA_REGS_MAX)

    def heard(self, text: str) -> None:
        """What the TA logged, which may hold a report."""
        _, found, rest = text.rpartition(abi.REPORT)
        if not found:
            return
        address, _, size = rest.split("\n", 1)[0][:_LONGEST].partition(" size: ")
        try:
            va, length = int(address, 16), int(size)
        except ValueError:
            return
        if 0 <= va < 1 << 8 * self._word and 0 < length < 1 << 8 * self._word:
            self._report = self._explain(va, length)

    @property
    def report(self) -> str:
        """The latest report in words, empty: there was none."""
        return self._report

    def _explain(self, va: int, size: int) -> str:
        what = f"AddressSanitizer: an access to {size} byte{'' if size == 1 else 's'} at {va:#x}"
        first = va // abi.BLOCK
        try:
            shadow = self._links.space.read(first + self._offset, min((va + size - 1) // abi.BLOCK - first, PAGE) + 2)
        except (SpaceError, ValueError):
            return what
        for at in range(len(shadow) - 1):
            value = shadow[at]
            if 0 < value < abi.BLOCK:
                after = abi.BEHIND_KINDS.get(shadow[at + 1])
                return f"{what}, {after}" if after else what
            if value:
                before = shadow[at - 1] if at else 0xFF
                behind = abi.BEHIND_KINDS.get(value) if at and before < abi.BLOCK else None
                kind = behind or abi.SHADOW_KINDS.get(value)
                return f"{what}, {kind}" if kind else what
        return what
