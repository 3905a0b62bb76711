"""Dynamic symbols of an object: what it exports and what it asks for, by the rules of ldelf's lookup.

Source: optee_os ldelf/ta_elf_rel.c (`sym_compare`, `resolve_sym_helper`), ldelf/ta_elf.c (`check_hashtab`,
`check_gnu_hashtab`); System V gABI chapter 5 "Hash Table".
"""

from __future__ import annotations

from typing import NamedTuple

from north.elf import abi
from north.elf.tables import read_symbols

from .checks import bad_format

ADDRESS = 0
"""`value` is an address to which the object's base is added."""
OFFSET = 1
"""`value` is an offset in the object's TLS block: no base is added."""
UNDEFINED = 2
"""Weak and undefined, and found all the same (DT_HASH lists such symbols): resolves to zero."""
UNSUPPORTED = 3
"""A symbol type that the loader does not know: an error when it is asked for."""
OUT_OF_RANGE = 4
"""An address outside the object: an error when it is asked for."""


class Symbol(NamedTuple):
    """What linking needs of a row of .dynsym. name: b"" for none."""

    name: bytes
    value: int
    binding: int
    type: int
    section: int

    @property
    def weak_undefined(self) -> bool:
        return self.section == abi.SHN_UNDEF and self.binding == abi.STB_WEAK


class Export(NamedTuple):
    value: int
    kind: int
    weak: bool


def named_symbols(table: bytes | memoryview, strings: bytes, layout: abi.Layout) -> list[Symbol]:
    """All symbols; TeeError(BAD_FORMAT) on a name outside `strings`.

    Tail-merged names may share bytes, but names of a real table never add up to many times its strings:
    the bound keeps a crafted table from growing without end.
    """
    out: list[Symbol] = []
    budget = 16 * len(strings) + 4096
    end_of = strings.index
    for start, info, _, section, value, _ in read_symbols(table, layout):
        name = b""
        if start:
            try:
                name = strings[start : end_of(0, start)]
            except ValueError:
                raise bad_format("symbol name out of range") from None
            budget -= len(name)
            if budget < 0:
                raise bad_format("symbol names overlap")
        out.append(Symbol(name, value, info >> 4, info & 15, section))
    return out


def gnu_hash_first(table: bytes, layout: abi.Layout) -> int:
    """Index of the first symbol that DT_GNU_HASH covers; TeeError(BAD_FORMAT) on a table that cannot be."""
    if len(table) < 16:
        raise bad_format("DT_GNU_HASH too small")
    buckets, first, bloom, _ = (int.from_bytes(table[i : i + 4], "little") for i in (0, 4, 8, 12))
    if 16 + 4 * buckets + layout.word * bloom > len(table):
        raise bad_format("DT_GNU_HASH overflow")
    return first if buckets and bloom else 1 << 32


def exports(symbols: list[Symbol], first: int, span: int) -> dict[bytes, Export]:
    """What lookups by name find: symbols from `first` on, global before weak. span: the object's bytes."""
    found: dict[bytes, Export] = {}
    for name, value, binding, kind, section in symbols[first:]:
        if not name or binding not in (abi.STB_GLOBAL, abi.STB_WEAK) or section == abi.SHN_XINDEX:
            continue
        weak = binding == abi.STB_WEAK
        if section == abi.SHN_UNDEF:
            if not weak:
                continue
            export = Export(0, UNDEFINED, True)
        elif kind <= abi.STT_FUNC:
            export = Export(value, ADDRESS if value <= span else OUT_OF_RANGE, weak)
        elif kind == abi.STT_TLS:
            export = Export(value, OFFSET, weak)
        else:
            export = Export(0, UNSUPPORTED, weak)
        known = found.get(name)
        if known is None or (known.weak and not weak):
            found[name] = export
    return found
