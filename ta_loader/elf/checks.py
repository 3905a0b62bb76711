"""What ldelf asks of the headers and segments of an ELF file, and what it then maps.

Source: optee_os ldelf/ta_elf.c: `init_elf`, `e32_parse_ehdr`, `e64_parse_ehdr`, `parse_load_segments`,
`adjust_segments`, `populate_segments`. Where ldelf asserts (and so panics), the answer is what its caller
makes of a panic: TEE_ERROR_GENERIC.
"""

from __future__ import annotations

from typing import NamedTuple

from north.elf import abi
from north.elf.file import Header, ProgramHeader, SectionHeader, read_header, read_program_headers, read_section_headers
from north.elf.tables import ElfError
from south.platform import PAGE, Arch, Prot
from ta_loader.machines import MACHINES, TA_ARCHES, arch_of
from tee.abi.results import BAD_FORMAT, GENERIC, NOT_SUPPORTED
from tee.errors import TeeError


def bad_format(detail: str) -> TeeError:
    """What ldelf's `err(TEE_ERROR_BAD_FORMAT, ...)` ends with."""
    return TeeError(BAD_FORMAT, detail)


def panicked(detail: str) -> TeeError:
    """What a failed assertion or an abort inside ldelf ends with (core/kernel/ldelf_loader.c)."""
    return TeeError(GENERIC, detail)


class Headers(NamedTuple):
    """All headers of a file that passed."""

    arch: Arch
    file: Header
    program: list[ProgramHeader]
    sections: list[SectionHeader]


class Segment:
    """Pages to map. vaddr, size: page-aligned, bytes; data: what the file gives them, from vaddr on;
    executable: what the file asks for, which a writable segment's `prot` leaves out.

    `data` is a view of the file until relocations are put into it.
    """

    __slots__ = ("data", "executable", "prot", "size", "vaddr")

    def __init__(self, vaddr: int, size: int, data: memoryview | bytearray, prot: Prot, executable: bool) -> None:
        self.vaddr = vaddr
        self.size = size
        self.data = data
        self.prot = prot
        self.executable = executable


def page_down(value: int) -> int:
    return value & -PAGE


def page_up(value: int) -> int:
    return (value + PAGE - 1) & -PAGE


def checked_headers(data: bytes) -> Headers:
    """TeeError: BAD_FORMAT unless it is a shared object of AArch64 or of Arm's EABI version 5."""
    try:
        header = read_header(data)
        arch = _checked_arch(header)
        # ldelf maps no more than the first page before it has read them.
        if header.phoff + header.phnum * header.layout.phdr.size > PAGE:
            raise TeeError(NOT_SUPPORTED, "program headers beyond the first page")
        return Headers(arch, header, read_program_headers(data, header), read_section_headers(data, header))
    except ElfError as problem:
        raise bad_format(str(problem)) from None


def _checked_arch(header: Header) -> Arch:
    layout, machine, flags, osabi = header.layout, header.machine, header.flags, header.osabi
    if header.ident_version != abi.EV_CURRENT or header.encoding != abi.ELFDATA2LSB or header.type != abi.ET_DYN:
        raise bad_format("not a little-endian ELF shared object")
    if header.phentsize != layout.phdr.size or header.shentsize != layout.shdr.size:
        raise bad_format("unexpected size of program or section headers")
    arch = arch_of(header.elf_class, machine)
    if arch is None:
        names = " nor ".join(arch.value for arch in TA_ARCHES)
        raise bad_format(f"ELF class {header.elf_class} for machine {machine}: neither {names}")
    if (osabi, flags & MACHINES[arch].flags_mask) not in MACHINES[arch].abis:
        raise bad_format(f"unexpected OS ABI {osabi} or flags {flags:#x} for {arch.value}")
    return arch


class _Load:
    """A PT_LOAD while neighbours are merged into it."""

    __slots__ = ("filesz", "flags", "memsz", "offset", "vaddr")

    def __init__(self, ph: ProgramHeader) -> None:
        self.flags = ph.flags
        self.offset = ph.offset
        self.vaddr = ph.vaddr
        self.filesz = ph.filesz
        self.memsz = ph.memsz


def _checked_loads(headers: list[ProgramHeader], layout: abi.Layout) -> list[_Load]:
    loads: list[_Load] = []
    align = 0
    for ph in headers:
        if ph.type != abi.PT_LOAD:
            continue
        if ph.memsz < ph.filesz:
            raise bad_format("segment is larger in the file than in memory")
        if page_up(ph.vaddr + ph.memsz) > layout.mask:
            raise panicked("segment wraps around the address space")
        if ph.align < PAGE or ph.align & (ph.align - 1) or (align and ph.align != align):
            raise panicked("segments are not aligned alike, to pages")
        if (ph.offset ^ ph.vaddr) & (PAGE - 1):
            raise panicked("offset and address of a segment differ within their page")
        if loads:
            last = loads[-1]
            if ph.vaddr < last.vaddr + last.memsz or ph.offset < last.offset + last.filesz:
                raise panicked("segments overlap or are out of order")
        align = ph.align
        loads.append(_Load(ph))
    if not loads:
        raise bad_format("no loadable segments")
    return loads


def _merged(loads: list[_Load], align: int) -> list[_Load]:
    """Segments that share a page become one, with the permissions of both; the rest begin at a page."""
    out: list[_Load] = []
    for load in loads:
        if out:
            last = out[-1]
            if page_down(load.vaddr) < last.vaddr + last.memsz:
                if (load.vaddr ^ load.offset) & (align - 1) or last.memsz != last.filesz:
                    raise panicked("segments share a page that cannot be merged")
                last.filesz = load.vaddr + load.filesz - last.vaddr
                last.memsz = load.vaddr + load.memsz - last.vaddr
                last.flags |= load.flags
                continue
            repeats = load.offset & (align - 1) and page_down(load.offset) < last.offset + last.filesz
            if repeats and not load.flags & abi.PF_W:
                raise panicked("a read-only segment repeats a page of the file")
        lead = load.vaddr - page_down(load.vaddr)
        load.vaddr -= lead
        load.offset -= lead
        load.filesz += lead
        load.memsz += lead
        out.append(load)
    return out


def segments_to_map(data: bytes, headers: Headers) -> list[Segment]:
    """In ascending order without overlaps; W^X, and a segment with both is RW as in ldelf. Their data are views."""
    loads = _checked_loads(headers.program, headers.file.layout)
    align = next(ph.align for ph in headers.program if ph.type == abi.PT_LOAD)
    view = memoryview(data)
    segments: list[Segment] = []
    for load in _merged(loads, align):
        if not load.flags & abi.PF_R:
            raise TeeError(NOT_SUPPORTED, "segment is not readable")
        if load.offset + load.filesz > len(data):
            raise bad_format("segment beyond the end of the file")
        prot = Prot.R
        if load.flags & abi.PF_W:
            prot = Prot.RW
        else:
            if load.filesz != load.memsz:
                raise bad_format("read-only segment with zero-initialised data")
            if load.flags & abi.PF_X:
                prot = Prot.RX
        size = page_up(load.memsz)
        if size:
            content = view[load.offset : load.offset + load.filesz]
            segments.append(Segment(load.vaddr, size, content, prot, bool(load.flags & abi.PF_X)))
    if not segments:
        raise bad_format("no loadable segments")
    return segments
