"""Tables inside an ELF file: dynamic entries, symbols, strings, notes.

Rows of the tables that may be long are plain tuples for the caller to unpack: a NamedTuple for each costs 200 ns where
unpacking it costs 40.

Source: System V gABI chapter 4 "String Table", "Symbol Table"; chapter 5 "Dynamic Section", "Note Section".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .abi import Layout

    Data = bytes | bytearray | memoryview
    SymbolRow = tuple[int, int, int, int, int, int]

MAX_STRING = 4096
"""Bytes of a string that are looked at: a name that does not end in them is none."""
_NOTE = struct.Struct("<III")
"""Elf32_Nhdr and Elf64_Nhdr: namesz, descsz, type."""


class ElfError(ValueError):
    """The file does not hold what it says it holds."""


class Note(NamedTuple):
    """name: without its NUL."""

    type: int
    name: bytes
    content: memoryview


def read_dynamic(table: Data, layout: Layout) -> Iterator[tuple[int, int]]:
    """(d_tag, d_val) of every whole entry, of those after DT_NULL too: which of them count is the caller's to judge."""
    return layout.dyn.iter_unpack(memoryview(table)[: len(table) // layout.dyn.size * layout.dyn.size])


def read_symbols(table: Data, layout: Layout, limit: int | None = None) -> Iterator[SymbolRow]:
    """(st_name, st_info, st_other, st_shndx, st_value, st_size) of every whole row, or of the first `limit`.

    st_name: offset in the table's string table; st_info: binding << 4 | type.
    """
    size = layout.sym.size
    count = len(table) // size if limit is None else min(len(table) // size, limit)
    rows = layout.sym.iter_unpack(memoryview(table)[: count * size])
    if layout.word == 8:
        return rows
    return ((name, info, other, section, value, length) for name, value, length, info, other, section in rows)


def string_at(table: Data, offset: int) -> bytes | None:
    """The NUL-terminated string there; None if there is none of up to `MAX_STRING` bytes."""
    text, end, _ = bytes(table[offset : offset + MAX_STRING]).partition(b"\0")
    return text if end else None


def read_notes(table: Data, align: int) -> Iterator[Note]:
    """Notes until one does not fit. align: bytes, of their segment or section; only 8 differs from 4."""
    view = memoryview(table)
    mask = -8 if align == 8 else -4
    at = 0
    while at + _NOTE.size <= len(view):
        name_size, size, kind = _NOTE.unpack_from(view, at)
        start = at + _NOTE.size
        body = at + (_NOTE.size + name_size + ~mask & mask)
        if body + size > len(view):
            return
        yield Note(kind, bytes(view[start : start + name_size]).rstrip(b"\0"), view[body : body + size])
        at = body + (size + ~mask & mask)
