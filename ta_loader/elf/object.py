"""One TA or library, parsed: everything that linking it into an address space needs, and nothing of any space.

Source: optee_os ldelf/ta_elf.c: `load_main`, `save_symtab`, `save_hashtab`, `add_deps_from_segment`,
`save_soname`, `get_init_fini_array`, `parse_property_segment`; ta_elf_rel.c: `e32_relocate`, `e64_relocate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from north.elf import abi
from north.elf.tables import read_dynamic, read_notes
from south.platform import PAGE, Arch, Prot
from ta_loader.machines import MACHINES
from ta_loader.relocation import Template
from tee.abi.results import NOT_SUPPORTED
from tee.abi.ta_head import NO_DEPR_ENTRY, TA_HEAD
from tee.errors import TeeError

from . import symbols
from .checks import Segment, bad_format, checked_headers, page_down, panicked, segments_to_map
from .memory import Memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from north.elf.file import ProgramHeader, SectionHeader
    from ta_loader.relocation import Plan

    from .symbols import Export, Symbol

_HEX = frozenset("0123456789abcdefABCDEF")


def uuid_from_name(name: bytes) -> UUID:
    """The UUID that a DT_NEEDED entry names, with or without ".ta"; TeeError(BAD_FORMAT) as `tee_uuid_from_str`."""
    text = name.decode("latin-1").removesuffix(".ta")
    parts = text.split("-")
    if [len(part) for part in parts] != [8, 4, 4, 4, 12] or not _HEX.issuperset("".join(parts)):
        raise bad_format(f"dependency {text[:64]!r} is not a UUID")
    return UUID("".join(parts))


def _aarch64() -> Callable[..., None]:
    from ta_loader.relocation.aarch64 import compile_table

    return compile_table


def _arm() -> Callable[..., None]:
    from ta_loader.relocation.arm import compile_table

    return compile_table


_COMPILERS = {Arch.AARCH64: _aarch64, Arch.ARM: _arm}
"""What turns a relocation table into a plan; imported for the architecture at hand alone."""


class ElfObject:
    """A parsed object; immutable once made, so instances and threads share it.

    main: it is a TA to be entered, not a library. image: the file's bytes. Addresses are at base 0.
    """

    def __init__(self, image: bytes, *, main: bool) -> None:
        self.image = image
        checked = checked_headers(image)
        self.arch, header, headers, sections = checked
        self.layout = header.layout
        self.entry = header.entry
        self.program_headers = headers
        self.phoff = header.phoff
        self.memory = Memory(segments_to_map(image, checked))
        self.dynamic = self._read_dynamic(headers)
        self.strings = self._read_strings()
        self.needed = self._read_needed()
        self.symbols, self.exports = self._read_symbols(sections)
        self.soname = self._find_soname()
        self.init_fini = self._find_init_fini()
        self.tls_start, self.tls_size, self.exidx = 0, 0, (0, 0)
        self.has_tls = False
        machine = MACHINES[self.arch]
        for ph in headers:
            if ph.type == abi.PT_TLS:
                self.has_tls = True
                self.tls_start, self.tls_size = ph.vaddr, ph.memsz
            elif ph.type == abi.PT_ARM_EXIDX and machine.exidx:
                self.exidx = (ph.vaddr, ph.filesz)
        self.bti = machine.bti and _wants_bti(self.memory, headers)
        self.head = b""
        self.legacy = False
        if main:
            self._find_head(sections)
        self.header_address = self.memory.file_offset_zero(header.phoff, header.phnum * header.layout.phdr.size, image)
        self.plan = self._compile(sections)
        self.shadow_offset = self._shadow_offset() if main else 0
        """Of a TA with OP-TEE's AddressSanitizer; 0: it has none."""

    def _shadow_offset(self) -> int:
        if not self.init_fini[1]:
            return 0  # initialisers mark what lies beside global variables; most TAs have none
        from .sanitized import shadow_offset

        return shadow_offset(self.arch, (bytes(segment.data) for segment in self.segments if segment.prot & Prot.X))

    @property
    def segments(self) -> list[Segment]:
        return self.memory.segments

    @property
    def span(self) -> int:
        """Bytes of address space, from base to the end of the last segment."""
        return self.memory.span

    @property
    def header_page(self) -> bytes:
        """The file's first page, which a TA finds its program headers in when no segment holds them."""
        return self.image[:PAGE]

    def _read_dynamic(self, headers: list[ProgramHeader]) -> list[tuple[int, int]]:
        """All entries: ldelf does not stop at DT_NULL."""
        rows: list[tuple[int, int]] = []
        size = self.layout.dyn.size
        for ph in headers:
            if ph.type != abi.PT_DYNAMIC:
                continue
            if ph.vaddr + ph.memsz > self.memory.span:
                raise bad_format("dynamic section out of bounds")
            if ph.memsz % size:
                raise panicked("dynamic section of uneven size")
            rows += read_dynamic(self.memory.bytes_at(ph.vaddr, ph.memsz, "dynamic section"), self.layout)
        if len(rows) * size > len(self.image):
            raise bad_format("dynamic sections overlap")
        return rows

    def dynamic_value(self, tag: int) -> int | None:
        """Value of the first entry `tag`."""
        for found, value in self.dynamic:
            if found == tag:
                return value
        return None

    def _read_strings(self) -> bytes:
        address, size = self.dynamic_value(abi.DT_STRTAB), self.dynamic_value(abi.DT_STRSZ)
        if address is None or not size:
            return b""
        return self.memory.bytes_at(address, size, ".dynstr")

    def _read_needed(self) -> list[UUID]:
        out: list[UUID] = []
        for tag, value in self.dynamic:
            if tag == abi.DT_NEEDED:
                if value >= len(self.strings):
                    raise bad_format("dependency name out of range")
                out.append(uuid_from_name(self.strings[value : value + 64].partition(b"\0")[0]))
        return out

    def _find_soname(self) -> int | None:
        """Address of the object's own name, if it is a string of .dynstr."""
        offset, address = self.dynamic_value(abi.DT_SONAME), self.dynamic_value(abi.DT_STRTAB)
        if offset is None or address is None or self.strings.find(b"\0", offset) < 0:
            return None
        return address + offset

    def _find_init_fini(self) -> tuple[int, int, int, int]:
        """(init_array, entries, fini_array, entries); addresses 0 where there is none."""
        word = self.layout.word
        values = (
            self.dynamic_value(abi.DT_INIT_ARRAY) or 0,
            (self.dynamic_value(abi.DT_INIT_ARRAYSZ) or 0) // word,
            self.dynamic_value(abi.DT_FINI_ARRAY) or 0,
            (self.dynamic_value(abi.DT_FINI_ARRAYSZ) or 0) // word,
        )
        for address, count in (values[:2], values[2:]):
            if count and address + count * word > self.memory.span:
                raise bad_format("initialisation functions out of range")
        return values

    def _read_symbols(self, sections: list[SectionHeader]) -> tuple[list[Symbol], dict[bytes, Export]]:
        """Symbols and what lookups find. Only a table with a hash table is looked into, as in ldelf."""
        if not sections:
            return self._read_symbols_dynamic()
        table = next((s for s in sections if s.type == abi.SHT_DYNSYM), None)
        if table is None:
            return [], {}
        if table.size % self.layout.sym.size or table.addr % self.layout.word:
            raise bad_format("size or alignment of .dynsym")
        if table.link >= len(sections):
            raise bad_format("section index of .dynstr out of range")
        names = sections[table.link]
        found = symbols.named_symbols(
            self.memory.bytes_at(table.addr, table.size, ".dynsym"),
            self.memory.bytes_at(names.addr, names.size, ".dynstr"),
            self.layout,
        )
        first = len(found)
        for section in sections:
            if section.type == abi.SHT_GNU_HASH:
                if section.addr % 4:
                    raise bad_format("alignment of DT_GNU_HASH")
                content = self.memory.bytes_at(section.addr, section.size, "DT_GNU_HASH")
                first = symbols.gnu_hash_first(content, self.layout)
                break
            if section.type == abi.SHT_HASH:
                self._sysv_symbols(section.addr)
                first = 1
        return found, symbols.exports(found, first, self.memory.span)

    def _sysv_symbols(self, address: int) -> int:
        """Number of symbols by DT_HASH, whose chains have one entry for each."""
        if address % 4:
            raise bad_format("alignment of DT_HASH")
        start = self.memory.bytes_at(address, 8, "DT_HASH")
        buckets, chains = int.from_bytes(start[:4], "little"), int.from_bytes(start[4:], "little")
        self.memory.bytes_at(address, 4 * (2 + buckets + chains), "DT_HASH")
        return chains if buckets else 0

    def _read_symbols_dynamic(self) -> tuple[list[Symbol], dict[bytes, Export]]:
        """For a file without section headers, which ldelf would leave unrelocated: DT_HASH counts the symbols."""
        table, hashes = self.dynamic_value(abi.DT_SYMTAB), self.dynamic_value(abi.DT_HASH)
        if table is None or hashes is None:
            return [], {}
        size = self._sysv_symbols(hashes) * self.layout.sym.size
        found = symbols.named_symbols(self.memory.bytes_at(table, size, ".dynsym"), self.strings, self.layout)
        return found, symbols.exports(found, 1, self.memory.span)

    def _find_head(self, sections: list[SectionHeader]) -> None:
        """`struct ta_head`: where the symbol `ta_head` says, else at the start. A legacy TA has it at the start."""
        start = self.memory.segments[0].vaddr
        export = self.exports.get(b"ta_head")
        at = export.value if export is not None and export.kind == symbols.ADDRESS else start
        head = self.memory.bytes_at(at, TA_HEAD.size, "ta_head")
        if TA_HEAD.unpack(head)[3] != NO_DEPR_ENTRY:
            head = self.memory.bytes_at(start, TA_HEAD.size, "ta_head")
            if TA_HEAD.unpack(head)[3] == NO_DEPR_ENTRY:
                raise panicked("ta_head of a legacy TA is not at its start")
            self.legacy = True
            self.memory.text_writable = True
            self.memory.segments = _split(self.memory.segments, sections)
        self.head = head

    def _compile(self, sections: list[SectionHeader]) -> Plan:
        compile_table = _COMPILERS[self.arch]()
        template = Template(self.memory, self.layout.word)
        budget = len(self.image)
        for address, size, found in self._relocation_tables(sections):
            budget -= size
            if budget < 0:
                raise bad_format("relocation tables overlap")
            data = self.memory.bytes_at(address, size - size % self.layout.reloc.size, "relocation table")
            compile_table(data, found, self.memory, template)
        return template.plan

    def _relocation_tables(self, sections: list[SectionHeader]) -> list[tuple[int, int, list[Symbol]]]:
        """(address, bytes, symbols) of every table.

        Sections come first: the linker script of TAs leaves DT_RELASZ too large (it sums up tables that lie apart).
        """
        if not sections:
            tables: list[tuple[int, int, list[Symbol]]] = []
            kind = (abi.DT_RELA, abi.DT_RELASZ) if self.layout.word == 8 else (abi.DT_REL, abi.DT_RELSZ)
            for tags in (kind, (abi.DT_JMPREL, abi.DT_PLTRELSZ)):
                address, size = self.dynamic_value(tags[0]), self.dynamic_value(tags[1])
                if address is not None and size:
                    tables.append((address, size, self.symbols))
            return tables
        tables = []
        for section in sections:
            if section.type == abi.SHT_RELR:
                raise TeeError(NOT_SUPPORTED, "packed relocations (link without -z pack-relative-relocs)")
            if section.type != self.layout.sht_reloc:
                continue
            if section.entsize != self.layout.reloc.size:
                raise panicked("relocations of unexpected size")
            found: list[Symbol] = []
            if section.link:
                if section.link >= len(sections):
                    raise bad_format("section index of a symbol table out of range")
                if sections[section.link].type != abi.SHT_DYNSYM:
                    raise bad_format("relocations by another table than .dynsym")
                found = self.symbols
            tables.append((section.addr, section.size, found))
        return tables


def _split(segments: list[Segment], sections: list[SectionHeader]) -> list[Segment]:
    """A legacy TA's segments for W^X.

    The pointer in its `ta_head` made the linker mark the text writable, and often put the data into the same
    segment. Its linker script begins the data at a page, so the segment is cut there; the text is relocated
    before it is protected.
    """
    loaded = [s for s in sections if s.flags & abi.SHF_ALLOC and s.size]
    text_end = max((s.addr + s.size for s in loaded if s.flags & abi.SHF_EXECINSTR), default=0)
    data = min((s.addr for s in loaded if s.flags & abi.SHF_WRITE and s.addr >= text_end), default=0)
    cut = page_down(data)
    out: list[Segment] = []
    for row in segments:
        if not row.executable:
            out.append(row)
            continue
        head = cut - row.vaddr if text_end <= cut and row.vaddr < cut < row.vaddr + row.size else row.size
        out.append(Segment(row.vaddr, head, row.data[:head], Prot.RX, True))
        if head < row.size:
            out.append(Segment(cut, row.size - head, row.data[head:], Prot.RW, False))
    return out


def _wants_bti(memory: Memory, headers: list[ProgramHeader]) -> bool:
    """Whether the property note asks for branch target identification; a malformed note asks for nothing."""
    for ph in headers:
        if ph.type != abi.PT_GNU_PROPERTY:
            continue
        if ph.vaddr + ph.memsz > memory.span:
            raise bad_format("property note out of bounds")
        try:
            data = memory.bytes_at(ph.vaddr, min(ph.memsz, PAGE), "property note")
        except TeeError:
            return False
        note = next(read_notes(data, ph.align), None)
        if note is None or note.type != abi.NT_GNU_PROPERTY_TYPE_0 or note.name != b"GNU":
            return False
        at, content = 0, note.content
        while at + 8 <= len(content):
            tag, length = (int.from_bytes(content[i : i + 4], "little") for i in (at, at + 4))
            if tag == abi.GNU_PROPERTY_AARCH64_FEATURE_1_AND and length == 4 and at + 12 <= len(content):
                return bool(content[at + 8] & abi.GNU_PROPERTY_AARCH64_FEATURE_1_BTI)
            at += 8 + ((length + 7) & -8)
    return False
