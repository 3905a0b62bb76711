"""Relocations of one object, compiled once: what linking then does is add the base and fill in symbols.

A `Plan` keeps what every link repeats in the form that is fastest to repeat. Values that need no symbol
are put into the segments' template at base 0 while it is compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ta_loader.elf.memory import Memory
    from ta_loader.elf.symbols import Symbol

TPREL = 1
"""Word := S + A + offset of the symbol's TLS block from the thread pointer."""
TLSDESC = 2
"""Two words := address of the resolver, then as `TPREL`."""
DTPMOD = 3
"""Word := TLS module id of the symbol's object."""
VALUE = 4
"""Word := S + A; S is 0 without a symbol, and the offset in its TLS block for a TLS symbol."""
BASE = 5
"""Word := A + base, where the target is unaligned or not in the file."""


class Plan:
    """relative: by segment, word indexes to which the base is added. addresses: by segment, (word index,
    import) that get a symbol's address. fixups: (segment, byte offset, kind, import or -1, addend), the rest.
    imports: (name, whether it may be missing) in the order of first use.
    """

    __slots__ = ("_known", "addresses", "fixups", "imports", "relative")

    def __init__(self) -> None:
        self.relative: dict[int, list[int]] = {}
        self.addresses: dict[int, list[tuple[int, int]]] = {}
        self.fixups: list[tuple[int, int, int, int, int]] = []
        self.imports: list[tuple[bytes, bool]] = []
        self._known: dict[tuple[bytes, bool], int] = {}

    def want(self, symbol: Symbol, optional: bool) -> int:
        """Index of the import of `symbol`."""
        key = (symbol.name, optional)
        index = self._known.get(key)
        if index is None:
            index = self._known[key] = len(self.imports)
            self.imports.append(key)
        return index


class Template:
    """A segment's file data while relocations are put into it, as words of the object's size."""

    __slots__ = ("_memory", "_word", "plan")

    def __init__(self, memory: Memory, word: int) -> None:
        self._memory = memory
        self._word = word
        self.plan = Plan()

    def read(self, segment: int, offset: int) -> int:
        """Word before relocation; what the file does not give is zero."""
        data = self._memory.segments[segment].data
        return int.from_bytes(data[offset : offset + self._word], "little")

    def put(self, segment: int, offset: int, value: int) -> bool:
        """Store a word; False if the file's data does not reach that far."""
        row = self._memory.segments[segment]
        if offset + self._word > len(row.data):
            return False
        data = row.data
        if not isinstance(data, bytearray):
            data = row.data = bytearray(data)
        data[offset : offset + self._word] = (value & (1 << 8 * self._word) - 1).to_bytes(self._word, "little")
        return True

    def relative(self, segment: int, offset: int, value: int) -> None:
        """Word there := value + base."""
        if offset % self._word or not self.put(segment, offset, value):
            self.plan.fixups.append((segment, offset, BASE, -1, value))
        else:
            self.plan.relative.setdefault(segment, []).append(offset // self._word)

    def address(self, segment: int, offset: int, symbol: Symbol) -> None:
        """Word there := address of `symbol`."""
        index = self.plan.want(symbol, symbol.weak_undefined)
        if offset % self._word:
            self.plan.fixups.append((segment, offset, VALUE, index, 0))
        else:
            self.plan.addresses.setdefault(segment, []).append((offset // self._word, index))

    def fixup(self, segment: int, offset: int, kind: int, index: int, addend: int = 0) -> None:
        self.plan.fixups.append((segment, offset, kind, index, addend))
