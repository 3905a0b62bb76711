"""A tool's view of an ELF file: for symbols and unwind tables, whatever there is of them.

The loader refuses what ldelf refuses. This also takes debug files (`objcopy --only-keep-debug`, ET_EXEC cores) and
answers empty where a table lies outside the file.
"""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING
from uuid import UUID

from north.elf import abi
from north.elf.file import HEADER_SIZE, Elf, ProgramHeader, SectionHeader
from north.elf.tables import ElfError, read_dynamic
from ta_loader.machines import MACHINES, arch_of

if TYPE_CHECKING:
    from south.platform import Arch

MAX_HEADERS = 4096
"""Sections or segments that are looked at; tools make tens."""
MAX_SEGMENTS = 64
"""PT_LOADs that are kept: they are asked one by one."""
MAX_INFLATED = 64 << 20
"""Bytes that one compressed debug section may grow to."""
MAX_NAME = 512
"""Bytes of a symbol or file name that are kept."""


def printable(name: bytes) -> str:
    """A name from a file as it may stand in a log: no control characters, no endless ones."""
    text = name[:MAX_NAME].decode("utf-8", "replace")
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def cut_string(table: bytes, offset: int) -> str:
    """The NUL-terminated string at `offset` of a string table; '' outside it."""
    if not 0 <= offset < len(table):
        return ""
    piece = table[offset : offset + MAX_NAME]
    return printable(piece.partition(b"\0")[0])


class ElfFile:
    """One file. Every accessor is total: b'', None or [] where the file has nothing."""

    def __init__(self, data: bytes, arch: Arch) -> None:
        self.data = data
        self.arch = arch
        self._elf = Elf(data, MAX_HEADERS, lenient=True)
        self.layout = self._elf.layout
        self.sections: list[SectionHeader] = self._elf.sections
        self.segments: list[ProgramHeader] = []
        """PT_LOADs."""
        self.exidx: tuple[int, int] | None = None
        """(link-time address, bytes) of PT_ARM_EXIDX."""
        for ph in self._elf.program_headers:
            if ph.type == abi.PT_LOAD and len(self.segments) < MAX_SEGMENTS:
                self.segments.append(ph)
            elif ph.type == abi.PT_ARM_EXIDX and MACHINES[arch].exidx:
                self.exidx = (ph.vaddr, ph.memsz)

    def section(self, name: str) -> SectionHeader | None:
        return self._elf.section(name.encode())

    def name_of(self, section: SectionHeader) -> str:
        return printable(self._elf.name_of(section))

    def contents(self, section: SectionHeader | None) -> bytes:
        """Bytes of a section, inflated; b'' for NOBITS, and where they lie outside the file."""
        if section is None:
            return b""
        try:
            raw = bytes(self._elf.content(section))
        except ElfError:
            return b""
        return self._inflate(raw) if section.flags & abi.SHF_COMPRESSED else raw

    def _inflate(self, raw: bytes) -> bytes:
        """Elf32_Chdr or Elf64_Chdr (gABI, "Section Compression") and a zlib stream."""
        head = self.layout.chdr.size
        if len(raw) < head or self.layout.chdr.unpack_from(raw)[0] != abi.ELFCOMPRESS_ZLIB:
            return b""
        try:
            return zlib.decompressobj().decompress(raw[head:], MAX_INFLATED)
        except zlib.error:
            return b""

    def read(self, address: int, size: int) -> bytes | None:
        """Bytes at a link-time address, as the file gives them; None unless all lie in one segment."""
        for s in self.segments:
            if s.vaddr <= address and address + size <= s.vaddr + s.filesz:
                start = s.offset + address - s.vaddr
                piece = self.data[start : start + size]
                return piece if len(piece) == size else None
        return None

    def executable(self, address: int) -> bool:
        return any(s.flags & abi.PF_X and s.vaddr <= address < s.vaddr + s.memsz for s in self.segments)

    def code_end(self, address: int) -> int:
        """End of the executable section (or segment) that holds `address`; `address` itself if none does."""
        sections = [
            s.addr + s.size
            for s in self.sections
            if s.flags & abi.SHF_EXECINSTR and s.addr <= address < s.addr + s.size
        ]
        if sections:
            return min(sections)
        segments = (s for s in self.segments if s.flags & abi.PF_X and s.vaddr <= address < s.vaddr + s.memsz)
        return next((s.vaddr + s.memsz for s in segments), address)

    @functools.cached_property
    def build_id(self) -> bytes:
        """NT_GNU_BUILD_ID; b'' if there is none."""
        for note in self._elf.notes():
            if note.type == abi.NT_GNU_BUILD_ID and note.name == b"GNU" and 0 < len(note.content) <= 64:
                return bytes(note.content)
        return b""

    @functools.cached_property
    def uuid(self) -> UUID | None:
        """The TA's own: first field of `struct ta_head` (optee_os user_ta_header.h), else a library's DT_SONAME."""
        head = self.contents(self.section(".ta_head"))
        if len(head) >= 16:
            return UUID(bytes_le=head[:16])
        dynamic, strings = self.contents(self.section(".dynamic")), self.contents(self.section(".dynstr"))
        for tag, value in read_dynamic(dynamic, self.layout):
            if tag == abi.DT_SONAME:
                try:
                    return UUID(cut_string(strings, value).removesuffix(".so").removesuffix(".elf").removesuffix(".ta"))
                except ValueError:
                    return None
        return None


@functools.lru_cache(maxsize=16)
def parse(data: bytes) -> ElfFile | None:
    """None unless it is a little-endian AArch64 or Arm ELF file of a kind that has addresses."""
    if len(data) < HEADER_SIZE or data[:4] != abi.ELFMAG or data[5] != abi.ELFDATA2LSB:
        return None
    arch = arch_of(data[4], int.from_bytes(data[18:20], "little"))
    return None if arch is None else ElfFile(data, arch)


def same_build(module: ElfFile, debug: ElfFile) -> bool:
    """Whether `debug` describes `module`: equal build ids, or, lacking one, code at the same addresses."""
    if module.arch is not debug.arch:
        return False
    if module.build_id and debug.build_id:
        return module.build_id == debug.build_id

    def code(elf: ElfFile) -> list[tuple[int, int]]:
        return [(s.vaddr, s.memsz) for s in elf.segments if s.flags & abi.PF_X]

    return bool(code(module)) and code(module) == code(debug)
