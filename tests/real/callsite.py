"""What the instruction before a return address calls: an oracle for backtraces that knows no unwinder.

Source: Arm ARM DDI 0487, C6.2 (BL, BLR, ADRP, LDR immediate); ELF for the Arm 64-bit Architecture, PLT.
"""

from __future__ import annotations

import functools
from io import BytesIO
from typing import TYPE_CHECKING

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

if TYPE_CHECKING:
    from tee.ports import Frame
    from tee.records import Crash

INDIRECT = "(indirect)"
"""BLR: the target is not in the instruction."""

R_AARCH64_GLOB_DAT = 1025
R_AARCH64_JUMP_SLOT = 1026


class Code:
    """An aarch64 ELF file, read once."""

    def __init__(self, image: bytes) -> None:
        self._elf = ELFFile(BytesIO(image))
        self._slots: dict[int, str] = {}
        self._symbols: dict[int, str] = {}
        table = self._elf.get_section_by_name(".dynsym")
        assert isinstance(table, SymbolTableSection)
        for symbol in table.iter_symbols():
            if symbol["st_shndx"] != "SHN_UNDEF" and symbol.name:
                self._symbols[symbol["st_value"]] = symbol.name
        for section in self._elf.iter_sections():
            if isinstance(section, RelocationSection):
                for entry in section.iter_relocations():
                    if entry["r_info_type"] in (R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT):
                        self._slots[entry["r_offset"]] = table.get_symbol(entry["r_info_sym"]).name

    def word(self, address: int) -> int:
        for segment in self._elf.iter_segments("PT_LOAD"):
            start = segment["p_vaddr"]
            if start <= address and address + 4 <= start + segment["p_filesz"]:
                at = address - start
                return int.from_bytes(segment.data()[at : at + 4], "little")
        raise AssertionError(f"{address:#x} is in no segment")

    def called(self, back: int) -> str | None:
        """Name of the function that the call returning to `back` calls; '' if it has none; None if it is no call."""
        word = self.word(back - 4)
        if word & 0xFFFFFC1F == 0xD63F0000:
            return INDIRECT
        if word >> 26 != 0b100101:
            return None
        target = back - 4 + (_signed(word & 0x3FFFFFF, 26) << 2)
        return self._symbols.get(target) or self._linkage(target)

    def _linkage(self, target: int) -> str:
        """The symbol behind a PLT entry: ADRP x16; LDR x17, [x16, #slot], perhaps after BTI."""
        for at in (target, target + 4):
            page, load = self.word(at), self.word(at + 4)
            if page & 0x9F00001F == 0x90000010 and load & 0xFFC003FF == 0xF9400211:
                high = _signed((page >> 5 & 0x7FFFF) << 2 | page >> 29 & 3, 21)
                return self._slots.get((at & -4096) + (high << 12) + ((load >> 10 & 0xFFF) << 3), "")
        return ""


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


@functools.lru_cache(maxsize=8)
def code(image: bytes) -> Code:
    return Code(image)


def base(crash: Crash, module: str) -> int:
    """Where a module's first page lies."""
    return min(region.va for region in crash.regions if region.name == module)


def offset(crash: Crash, frame: Frame) -> int:
    """A frame's pc as an address in its module's file."""
    return frame.pc - base(crash, frame.module)
