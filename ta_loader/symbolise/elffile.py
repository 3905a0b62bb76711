"""A forgiving view of an ELF file for symbols and unwind tables.

The loader's own reader refuses what ldelf refuses. This one also takes debug files (`objcopy
--only-keep-debug`, ET_EXEC cores) and answers empty where a table lies outside the file.

Source: System V gABI chapters 4 and 5.
"""

from __future__ import annotations

import functools
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from ta_loader.elf import abi
from ta_loader.machines import MACHINES, arch_of

if TYPE_CHECKING:
    from south.platform import Arch

SHT_NOBITS = 8
SHT_NOTE = 7
SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 2, 4, 0x800
PT_NOTE = 4
ELFCOMPRESS_ZLIB = 1
NT_GNU_BUILD_ID = 3

MAX_HEADERS = 4096
"""Sections or segments that are looked at; tools make tens."""
MAX_SEGMENTS = 64
"""PT_LOADs that are kept: they are asked one by one."""
MAX_INFLATED = 64 << 20
"""Bytes that one compressed debug section may grow to."""
MAX_NAME = 512
"""Bytes of a symbol or file name that are kept."""


class Section(NamedTuple):
    """name: printable; address: link-time; offset, size: bytes in the file."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    entsize: int


class Segment(NamedTuple):
    """A PT_LOAD. offset, filesz, memsz: bytes."""

    address: int
    offset: int
    filesz: int
    memsz: int
    flags: int


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
    """Headers of one file. Every accessor is total: b'', None or [] where the file has nothing."""

    def __init__(self, data: bytes, arch: Arch) -> None:
        self.data = data
        self.arch = arch
        self.layout = abi.LAYOUT64 if MACHINES[arch].elf_class == abi.ELFCLASS64 else abi.LAYOUT32
        self.segments: list[Segment] = []
        self.exidx: tuple[int, int] | None = None
        """(link-time address, bytes) of PT_ARM_EXIDX."""
        self.notes: list[tuple[int, int]] = []
        self.sections: list[Section] = []
        fields = self.layout.ehdr.unpack_from(data)
        self._read_segments(fields[5], fields[10])
        self._read_sections(fields[6], fields[12], fields[13])

    def _rows(self, row: struct.Struct, offset: int, count: int) -> list[tuple[int, ...]]:
        end = offset + min(count, MAX_HEADERS) * row.size
        if not offset or end > len(self.data):
            return []
        return list(row.iter_unpack(self.data[offset:end]))

    def _read_segments(self, offset: int, count: int) -> None:
        for r in self._rows(self.layout.phdr, offset, count):
            if self.layout.word == 8:
                kind, flags, start, address, _, filesz, memsz, _ = r
            else:
                kind, start, address, _, filesz, memsz, flags, _ = r
            if kind == abi.PT_LOAD and len(self.segments) < MAX_SEGMENTS:
                self.segments.append(Segment(address, start, filesz, memsz, flags))
            elif kind == abi.PT_ARM_EXIDX and MACHINES[self.arch].exidx:
                self.exidx = (address, memsz)
            elif kind == PT_NOTE:
                self.notes.append((start, filesz))

    def _read_sections(self, offset: int, count: int, names: int) -> None:
        rows = self._rows(self.layout.shdr, offset, count)
        strings = b""
        if names < len(rows):
            start, size = rows[names][4], rows[names][5]
            strings = self.data[start : start + size]
        self.sections = [Section(cut_string(strings, r[0]), r[1], r[2], r[3], r[4], r[5], r[6], r[9]) for r in rows]

    def section(self, name: str) -> Section | None:
        return next((s for s in self.sections if s.name == name), None)

    def contents(self, section: Section | None) -> bytes:
        """Bytes of a section, inflated; b'' for NOBITS, and where they lie outside the file."""
        if section is None or section.type == SHT_NOBITS or section.offset + section.size > len(self.data):
            return b""
        raw = self.data[section.offset : section.offset + section.size]
        return self._inflate(raw) if section.flags & SHF_COMPRESSED else raw

    def _inflate(self, raw: bytes) -> bytes:
        """Elf32_Chdr or Elf64_Chdr (gABI, "Section Compression") and a zlib stream."""
        head = 24 if self.layout.word == 8 else 12
        if len(raw) < head or int.from_bytes(raw[:4], "little") != ELFCOMPRESS_ZLIB:
            return b""
        try:
            return zlib.decompressobj().decompress(raw[head:], MAX_INFLATED)
        except zlib.error:
            return b""

    def read(self, address: int, size: int) -> bytes | None:
        """Bytes at a link-time address, as the file gives them; None unless all lie in one segment."""
        for s in self.segments:
            if s.address <= address and address + size <= s.address + s.filesz:
                start = s.offset + address - s.address
                piece = self.data[start : start + size]
                return piece if len(piece) == size else None
        return None

    def executable(self, address: int) -> bool:
        return any(s.flags & abi.PF_X and s.address <= address < s.address + s.memsz for s in self.segments)

    def code_end(self, address: int) -> int:
        """End of the executable section (or segment) that holds `address`; `address` itself if none does."""
        sections = [
            s.address + s.size
            for s in self.sections
            if s.flags & SHF_EXECINSTR and s.address <= address < s.address + s.size
        ]
        if sections:
            return min(sections)
        segments = (s for s in self.segments if s.flags & abi.PF_X and s.address <= address < s.address + s.memsz)
        return next((s.address + s.memsz for s in segments), address)

    @functools.cached_property
    def build_id(self) -> bytes:
        """NT_GNU_BUILD_ID; b'' if there is none."""
        spans = [(s.offset, s.size) for s in self.sections if s.type == SHT_NOTE] + self.notes
        for start, size in spans[:64]:
            blob = self.data[start : start + min(size, 4096)]
            at = 0
            while at + 12 <= len(blob):
                namesz, descsz, kind = struct.unpack_from("<III", blob, at)
                name = blob[at + 12 : at + 12 + namesz]
                body = at + 12 + (namesz + 3 & -4)
                if kind == NT_GNU_BUILD_ID and name == b"GNU\0" and 0 < descsz <= 64:
                    return blob[body : body + descsz]
                at = body + (descsz + 3 & -4)
        return b""

    @functools.cached_property
    def uuid(self) -> UUID | None:
        """The TA's own: first field of `struct ta_head` (optee_os user_ta_header.h), else a library's DT_SONAME."""
        head = self.contents(self.section(".ta_head"))
        if len(head) >= 16:
            return UUID(bytes_le=head[:16])
        dynamic, strings = self.contents(self.section(".dynamic")), self.contents(self.section(".dynstr"))
        word = self.layout.word
        pair = struct.Struct("<QQ" if word == 8 else "<II")
        for tag, value in pair.iter_unpack(dynamic[: len(dynamic) // pair.size * pair.size]):
            if tag == abi.DT_SONAME:
                try:
                    return UUID(cut_string(strings, value).removesuffix(".so").removesuffix(".elf").removesuffix(".ta"))
                except ValueError:
                    return None
        return None


@functools.lru_cache(maxsize=16)
def parse(data: bytes) -> ElfFile | None:
    """None unless it is a little-endian AArch64 or Arm ELF file of a kind that has addresses."""
    if len(data) < abi.LAYOUT64.ehdr.size or data[:4] != abi.ELFMAG or data[5] != abi.ELFDATA2LSB:
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
        return [(s.address, s.memsz) for s in elf.segments if s.flags & abi.PF_X]

    return bool(code(module)) and code(module) == code(debug)
