"""Relocations of 32-bit Arm objects.

Source: "ELF for the Arm Architecture", ABI 2024Q3 (aaelf32) §5.6.1 "Relocation codes"; its letters: S the symbol's
address, A the addend (in place, Elf32_Rel), P the place relocated, B(S) the base of the object of S, T 1 for a T32
function (S of a dynamic symbol has it in bit 0 already). Which of them are applied, and how, follows optee_os
ldelf/ta_elf_rel.c (`e32_relocate`): like it, A is dropped where another object's symbol is meant.

R_ARM_TLS_TPOFF32 is refused as ldelf refuses it: libutee gives 32-bit TAs no thread pointer, so that the
initial-exec model could only read wrong memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.elf import abi
from ta_loader.elf.checks import bad_format

from . import DTPMOD, VALUE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ta_loader.elf.memory import Memory
    from ta_loader.elf.symbols import Symbol

    from . import Template

R_ARM_NONE = 0
R_ARM_ABS32 = 2
"""(S + A) | T"""
R_ARM_REL32 = 3
"""((S + A) | T) - P"""
R_ARM_TLS_DTPMOD32 = 17
"""Module[S]"""
R_ARM_TLS_DTPOFF32 = 18
"""S + A - TLS"""
R_ARM_TLS_TPOFF32 = 19
"""S + A - TP"""
R_ARM_GLOB_DAT = 21
"""(S + A) | T"""
R_ARM_JUMP_SLOT = 22
"""(S + A) | T"""
R_ARM_RELATIVE = 23
"""B(S) + A"""


def compile_table(data: bytes, symbols: Sequence[Symbol], memory: Memory, template: Template) -> None:
    """Add one table of Elf32_Rel; TeeError(BAD_FORMAT) on entries that cannot be applied."""
    for place, info in abi.LAYOUT32.reloc.iter_unpack(data):
        kind, number = info & 0xFF, info >> 8
        if kind == R_ARM_NONE:
            continue
        segment, offset = memory.target(place, 4)
        if kind == R_ARM_RELATIVE:
            template.relative(segment, offset, template.read(segment, offset))
            continue
        if number >= len(symbols):
            raise bad_format("symbol index out of range")
        symbol = symbols[number]
        if kind in (R_ARM_GLOB_DAT, R_ARM_JUMP_SLOT):
            template.address(segment, offset, symbol)
        elif kind == R_ARM_ABS32:
            if symbol.section == abi.SHN_UNDEF:
                template.address(segment, offset, symbol)
            else:
                template.relative(segment, offset, symbol.value + template.read(segment, offset))
        elif kind == R_ARM_REL32:
            value = symbol.value + template.read(segment, offset) - place
            if not template.put(segment, offset, value):
                template.fixup(segment, offset, VALUE, -1, value)
        elif kind == R_ARM_TLS_DTPMOD32:
            # Without a symbol, or with one of its own, it is this object's block.
            own = not number or symbol.section != abi.SHN_UNDEF
            template.fixup(segment, offset, DTPMOD, -1 if own else template.plan.want(symbol, True))
        elif kind == R_ARM_TLS_DTPOFF32:
            template.fixup(segment, offset, VALUE, template.plan.want(symbol, True))
        else:
            why = " (initial-exec TLS: build with -ftls-model=global-dynamic)" if kind == R_ARM_TLS_TPOFF32 else ""
            raise bad_format(f"unknown relocation type {kind}{why}")
