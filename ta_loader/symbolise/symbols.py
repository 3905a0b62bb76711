"""From an address to a function's name, its file and its line.

Source: System V gABI chapter 4 "Symbol Table"; mapping symbols and the T32 bit of st_value: "ELF for the
Arm Architecture" (aaelf32), sections "Mapping symbols" and "Symbol Values"; aaelf64 likewise.
"""

from __future__ import annotations

import bisect
import functools
from typing import TYPE_CHECKING, NamedTuple

from north.elf import abi
from north.elf.tables import read_symbols

from .elffile import ElfFile, cut_string
from .lines import LineTable

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_SYMBOLS = 1 << 18
"""Rows of a symbol table that are read."""
MAX_NESTING = 64
"""Symbols before an address that are asked whether they reach over it."""


class Function(NamedTuple):
    """start, end: link-time addresses, end exclusive."""

    name: str
    start: int
    end: int


class Location(NamedTuple):
    """What is known of an address. offset: bytes into `function`; '' and 0 where unknown."""

    function: str = ""
    offset: int = 0
    file: str = ""
    line: int = 0


class SymbolTable:
    """The functions of one symbol table, sorted by address."""

    def __init__(self, elf: ElfFile, section: str) -> None:
        table = elf.section(section)
        rows = elf.contents(table)
        link = table.link if table else 0
        self._names = elf.contents(elf.sections[link]) if table and link < len(elf.sections) else b""
        self._elf = elf
        found = self._functions(rows)
        found.sort()
        self._starts = [row[0] for row in found]
        self._rows = found

    def _functions(self, rows: bytes) -> list[tuple[int, int, int, int]]:
        """(start, rank, size, offset of the name): of several at one address the last is preferred."""
        elf = self._elf
        even = ~elf.arch.state_bits
        mask = elf.layout.mask
        out: list[tuple[int, int, int, int]] = []
        for name, info, _, section, value, size in read_symbols(rows, elf.layout, MAX_SYMBOLS):
            kind = info & 15
            if not name or section == abi.SHN_UNDEF or section >= abi.SHN_LORESERVE:
                continue
            if kind in (abi.STT_FUNC, abi.STT_GNU_IFUNC):
                rank = 4 if size else 2
                value &= even & mask
            elif kind == abi.STT_NOTYPE and self._is_label(name):
                rank = 0
            else:
                continue
            out.append((value, rank + (info >> 4 == abi.STB_GLOBAL), size, name))
        return out

    def _is_label(self, name: int) -> bool:
        """Not a mapping symbol ($a, $t, $d, $x, with or without a suffix) nor an assembler's local label."""
        return self._names[name : name + 1] not in (b"$", b"", b"\0") and self._names[name : name + 2] != b".L"

    def find(self, address: int) -> Function | None:
        """The innermost function over `address`. One without a size ends at the next symbol or its section's end."""
        last = bisect.bisect_right(self._starts, address) - 1
        if last < 0 or not self._elf.executable(address):
            return None
        nearest = self._starts[last]
        end_of_nearest = self._end_of(nearest)
        for i in range(last, max(last - MAX_NESTING, -1), -1):
            start, _, size, name = self._rows[i]
            if not size and start != nearest:
                continue
            end = start + size if size else end_of_nearest
            if address < end:
                return Function(cut_string(self._names, name), start, end)
        return None

    def _end_of(self, start: int) -> int:
        """End of a symbol of size zero."""
        following = bisect.bisect_right(self._starts, start)
        end = self._elf.code_end(start)
        return min(self._starts[following], end) if following < len(self._starts) else end


class Symbols:
    """Names and lines of one ELF file, read when first asked for."""

    def __init__(self, elf: ElfFile) -> None:
        self.elf = elf

    @functools.cached_property
    def _tables(self) -> Sequence[SymbolTable]:
        return [SymbolTable(self.elf, name) for name in (".symtab", ".dynsym")]

    @functools.cached_property
    def _lines(self) -> LineTable:
        return LineTable(self.elf)

    def function(self, address: int) -> Function | None:
        """By .symtab, else .dynsym. address: link-time."""
        return next((f for table in self._tables if (f := table.find(address)) is not None), None)

    def line(self, address: int) -> tuple[str, int] | None:
        """(file, line) by .debug_line."""
        return self._lines.find(address)


@functools.lru_cache(maxsize=16)
def symbols_of(elf: ElfFile) -> Symbols:
    """The tables of a file, shared by all who ask."""
    return Symbols(elf)


def locate(files: Sequence[ElfFile], address: int, lookup: int) -> Location:
    """Name `address` by the first of `files` that can. lookup: where to look, a return address less one."""
    function = next((f for e in files if (f := symbols_of(e).function(lookup)) is not None), None)
    line = next((at for e in files if (at := symbols_of(e).line(lookup)) is not None), ("", 0))
    if function is None:
        return Location(file=line[0], line=line[1])
    return Location(function.name, address - function.start, *line)
