"""Relocations of AArch64 objects.

Source: "ELF for the Arm 64-bit Architecture (AArch64)", ABI 2024Q3 (aaelf64) §5.7.16 "Dynamic relocations"; its
letters: S the symbol's address, A the addend (of Elf64_Rela), P the place relocated, Delta(S) the base of the
object of S, TPREL(S + A) the offset from the thread pointer, TLSDESC(S + A) a TLS descriptor, GDAT(S + A) a
GOT entry. Which of them are applied, and how, follows optee_os ldelf/ta_elf_rel.c (`e64_relocate`): like it,
A is not added where another object's symbol is meant, since static linkers leave it 0 there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.elf import abi
from south.platform import Prot
from ta_loader.elf.checks import bad_format

from . import TLSDESC, TPREL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ta_loader.elf.memory import Memory
    from ta_loader.elf.symbols import Symbol

    from . import Template

R_AARCH64_NONE = 0
R_AARCH64_ABS64 = 257
"""S + A"""
R_AARCH64_GLOB_DAT = 1025
"""S + A"""
R_AARCH64_JUMP_SLOT = 1026
"""S + A"""
R_AARCH64_RELATIVE = 1027
"""Delta(S) + A"""
R_AARCH64_TLS_TPREL = 1030
"""TPREL(S + A); R_AARCH64_TLS_TPREL64 in older documents"""
R_AARCH64_TLSDESC = 1031
"""TLSDESC(S + A)"""


def compile_relative(data: bytes, memory: Memory, template: Template) -> list[tuple[int, int, int]]:
    """Put the aligned RELATIVE entries into the template; return the others.

    They are nearly all there is, and lie in one segment: the loop has nothing but the arithmetic.
    """
    others: list[tuple[int, int, int]] = []
    index = next((i for i, segment in enumerate(memory.segments) if segment.prot & Prot.W), -1)
    if index < 0:
        return list(abi.LAYOUT64.reloc.iter_unpack(data))
    segment = memory.segments[index]
    first, end = segment.vaddr, segment.vaddr + (len(segment.data) & -8)
    if not isinstance(segment.data, bytearray):
        segment.data = bytearray(segment.data)
    slots = template.plan.relative.setdefault(index, [])
    with memoryview(segment.data)[: end - first].cast("Q") as words:
        for row in abi.LAYOUT64.reloc.iter_unpack(data):
            place, info, addend = row
            if info & 0xFFFFFFFF == R_AARCH64_RELATIVE and first <= place < end and not place & 7:
                slot = (place - first) >> 3
                words[slot] = addend
                slots.append(slot)
            else:
                others.append(row)
    return others


def compile_table(data: bytes, symbols: Sequence[Symbol], memory: Memory, template: Template) -> None:
    """Add one table of Elf64_Rela; TeeError(BAD_FORMAT) on entries that cannot be applied."""
    for place, info, addend in compile_relative(data, memory, template):
        kind, number = info & 0xFFFFFFFF, info >> 32
        if kind == R_AARCH64_NONE:
            continue
        segment, offset = memory.target(place, 16 if kind == R_AARCH64_TLSDESC else 8)
        if kind == R_AARCH64_RELATIVE:
            template.relative(segment, offset, addend)
            continue
        if number >= len(symbols):
            raise bad_format("symbol index out of range")
        symbol = symbols[number]
        if kind in (R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT):
            template.address(segment, offset, symbol)
        elif kind == R_AARCH64_ABS64:
            if symbol.section == abi.SHN_UNDEF:
                template.address(segment, offset, symbol)
            else:
                template.relative(segment, offset, symbol.value + addend)
        elif kind in (R_AARCH64_TLS_TPREL, R_AARCH64_TLSDESC):
            # Without a symbol the addend alone is the offset in this object's own block.
            index = template.plan.want(symbol, symbol.weak_undefined) if number else -1
            template.fixup(segment, offset, TLSDESC if kind == R_AARCH64_TLSDESC else TPREL, index, addend)
        else:
            raise bad_format(f"unknown relocation type {kind}")
