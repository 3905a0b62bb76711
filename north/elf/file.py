"""The header of an ELF file, and the tables that it points at: segments and sections.

Source: System V gABI chapter 4 "ELF Header", "Sections"; chapter 5 "Program Header".
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from . import abi
from .abi import LAYOUT32, LAYOUT64, Layout
from .tables import ElfError, Note, read_dynamic, read_notes, string_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Data = bytes | bytearray | memoryview

HEADER_SIZE = LAYOUT64.ehdr.size
"""Bytes of a file that `read_header` asks for; the smaller class' header is followed by as much in any real file."""
MAX_NOTES = 64
"""Segments or sections of notes that are looked into; linkers make up to three."""


class Header(NamedTuple):
    """Elf32_Ehdr or Elf64_Ehdr."""

    layout: Layout
    elf_class: int
    """EI_CLASS"""
    encoding: int
    """EI_DATA"""
    ident_version: int
    """EI_VERSION"""
    osabi: int
    type: int
    machine: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


class ProgramHeader(NamedTuple):
    """Elf32_Phdr or Elf64_Phdr, in the order of the latter."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


class SectionHeader(NamedTuple):
    """Elf32_Shdr or Elf64_Shdr. name: offset in the string table of section names."""

    name: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    addralign: int
    entsize: int


Row = TypeVar("Row", ProgramHeader, SectionHeader)


def read_header(data: Data) -> Header:
    """Of a file that begins with `data`. ElfError; what its fields say is the caller's to judge.

    Any class but ELFCLASS64 is read as ELFCLASS32, and any byte order as little-endian.
    """
    if data[:4] != abi.ELFMAG:
        raise ElfError("not an ELF file")
    if len(data) < HEADER_SIZE:
        raise ElfError("truncated ELF header")
    layout = LAYOUT64 if data[4] == abi.ELFCLASS64 else LAYOUT32
    fields = layout.ehdr.unpack_from(data)
    ident, kind, machine, _, entry, phoff, shoff, flags, _, phentsize, phnum, shentsize, shnum, shstrndx = fields
    return Header(
        layout,
        ident[4],
        ident[5],
        ident[6],
        ident[7],
        kind,
        machine,
        entry,
        phoff,
        shoff,
        flags,
        phentsize,
        phnum,
        shentsize,
        shnum,
        shstrndx,
    )


def read_program_headers(data: Data, header: Header, limit: int | None = None) -> list[ProgramHeader]:
    """All, or the first `limit`. ElfError unless they lie in the file and have their class' size."""
    count = header.phnum if limit is None else min(header.phnum, limit)
    if not count:
        return []
    layout = header.layout
    end = header.phoff + count * layout.phdr.size
    if header.phentsize != layout.phdr.size:
        raise ElfError("unexpected size of program headers")
    if end > len(data):
        raise ElfError("program headers beyond the end of the file")
    rows = layout.phdr.iter_unpack(memoryview(data)[header.phoff : end])
    if layout.word == 8:
        return [ProgramHeader(*r) for r in rows]
    return [ProgramHeader(r[0], r[6], r[1], r[2], r[3], r[4], r[5], r[7]) for r in rows]


def read_section_headers(data: Data, header: Header, limit: int | None = None) -> list[SectionHeader]:
    """All, or the first `limit`. ElfError unless they lie in the file and have their class' size."""
    count = header.shnum if limit is None else min(header.shnum, limit)
    if not count:
        return []
    row = header.layout.shdr
    end = header.shoff + count * row.size
    if header.shentsize != row.size:
        raise ElfError("unexpected size of section headers")
    if end > len(data):
        raise ElfError("section headers beyond the end of the file")
    return [SectionHeader(*r) for r in row.iter_unpack(memoryview(data)[header.shoff : end])]


class Elf:
    """A file, of which each part is read when it is first asked for. Nothing of it is copied: contents are views.

    Every accessor raises ElfError where the file does not hold what it says. limit: rows of either table of headers
    that are read; None: all, which the bytes of the file bound. lenient: a table of headers that is not in the file
    counts as empty.
    """

    def __init__(self, data: Data, limit: int | None = None, *, lenient: bool = False) -> None:
        self.data = memoryview(data)
        self.header = read_header(data)
        self.layout = self.header.layout
        self._limit = limit
        self._lenient = lenient

    @cached_property
    def program_headers(self) -> list[ProgramHeader]:
        return self._table(read_program_headers)

    @cached_property
    def sections(self) -> list[SectionHeader]:
        return self._table(read_section_headers)

    def _table(self, read: Callable[[memoryview, Header, int | None], list[Row]]) -> list[Row]:
        try:
            return read(self.data, self.header, self._limit)
        except ElfError:
            if not self._lenient:
                raise
            return []

    @cached_property
    def _section_strings(self) -> memoryview:
        """The string table of section names, as far as the file has it."""
        index = self.header.shstrndx
        if index >= len(self.sections):
            return self.data[:0]
        table = self.sections[index]
        end = len(self.data)
        return self.data[min(table.offset, end) : min(table.offset + table.size, end)]

    def name_of(self, section: SectionHeader) -> bytes:
        """Empty where it lies outside the string table."""
        return string_at(self._section_strings, section.name) or b""

    def section(self, name: bytes) -> SectionHeader | None:
        """The first section of that name."""
        wanted, strings = name + b"\0", self._section_strings
        for row in self.sections:
            if strings[row.name : row.name + len(wanted)] == wanted:
                return row
        return None

    def piece(self, offset: int, size: int, what: str) -> memoryview:
        """Bytes of the file; the error names `what`."""
        if offset + size > len(self.data):
            raise ElfError(f"{what} beyond the end of the file")
        return self.data[offset : offset + size]

    def content(self, section: SectionHeader) -> memoryview:
        """A section's bytes as the file has them; none for SHT_NOBITS."""
        return self.piece(section.offset, 0 if section.type == abi.SHT_NOBITS else section.size, "section")

    def at(self, address: int, size: int, what: str) -> memoryview:
        """The file's bytes at a link-time address; the error names `what`."""
        return self._after(address, size, what)[:size]

    def _after(self, address: int, size: int, what: str) -> memoryview:
        """At least `size` bytes from an address on, as far as its segment has them."""
        for ph in self.program_headers:
            start = address - ph.vaddr
            if ph.type == abi.PT_LOAD and start >= 0 and start + size <= ph.filesz:
                return self.piece(ph.offset + start, ph.filesz - start, what)
        raise ElfError(f"{what} at {address:#x} is in no segment")

    @cached_property
    def dynamic(self) -> list[tuple[int, int]]:
        """(d_tag, d_val) of the dynamic section up to DT_NULL; none if there is no PT_DYNAMIC."""
        out: list[tuple[int, int]] = []
        for ph in self.program_headers:
            if ph.type == abi.PT_DYNAMIC:
                for tag, value in read_dynamic(self.piece(ph.offset, ph.filesz, "dynamic section"), self.layout):
                    if tag == abi.DT_NULL:
                        break
                    out.append((tag, value))
                break
        return out

    def dynamic_strings(self, tag: int, limit: int) -> list[bytes]:
        """The string of each dynamic entry `tag` (DT_NEEDED, DT_SONAME), of which there may be `limit`."""
        offsets = [value for found, value in self.dynamic if found == tag]
        if not offsets:
            return []
        if len(offsets) > limit:
            raise ElfError(f"more than {limit} dynamic entries of one kind")
        address = next((value for found, value in self.dynamic if found == abi.DT_STRTAB), None)
        if address is None:
            raise ElfError("its dynamic section has no string table")
        strings = self._after(address, 0, "dynamic string table")
        found = [string_at(strings, offset) for offset in offsets]
        if None in found:
            raise ElfError("dynamic string out of range")
        return [text for text in found if text is not None]

    def notes(self) -> Iterator[Note]:
        """Those of sections first, since a debug file's segments have none of their own bytes."""
        places = [(s.offset, s.size, s.addralign) for s in self.sections if s.type == abi.SHT_NOTE]
        places += [(ph.offset, ph.filesz, ph.align) for ph in self.program_headers if ph.type == abi.PT_NOTE]
        for offset, size, align in places[:MAX_NOTES]:
            if offset + size <= len(self.data):
                yield from read_notes(self.data[offset : offset + size], align)
