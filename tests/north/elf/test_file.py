"""The reader of ELF files: real ones against pyelftools, and headers and tables that lie."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.sections import NoteSection, SymbolTableSection
from hypothesis import given, settings
from hypothesis import strategies as st

from north.elf import abi
from north.elf.file import Elf
from north.elf.tables import ElfError, read_notes, read_symbols, string_at
from south.platform import Arch
from ta_loader.machines import TA_ARCHES
from tests.north.elf.kit import ask_everything, changed, host_programs, oracle, program
from tests.ta_loader.elf_kit import LIB_A, build, elf_of

SEGMENT = ("p_type", "p_flags", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_align")
SECTION = (
    *("sh_name", "sh_type", "sh_flags", "sh_addr", "sh_offset", "sh_size", "sh_link", "sh_info"),
    *("sh_addralign", "sh_entsize"),
)


def check_headers(data: bytes) -> Elf:
    """Every header that pyelftools reads is what ours reads."""
    elf, file = Elf(data), oracle(data)
    assert (elf.header.entry, elf.header.flags) == (file.header["e_entry"], file.header["e_flags"])
    assert elf.layout.word * 8 == file.elfclass
    assert len(elf.program_headers) == file.num_segments()
    for mine, theirs in zip(elf.program_headers, file.iter_segments(), strict=True):
        assert list(mine[1:]) == [theirs[name] for name in SEGMENT[1:]]
        assert mine.type == theirs["p_type"] or mine.type == getattr(abi, theirs["p_type"], mine.type)
        if mine.filesz:
            assert elf.piece(mine.offset, mine.filesz, "segment") == theirs.data()
    assert len(elf.sections) == file.num_sections()
    for section, other in zip(elf.sections, file.iter_sections(), strict=True):
        assert elf.name_of(section).decode() == other.name
        for name, value in zip(SECTION, section, strict=True):
            if name != "sh_type":
                assert value == other[name], name
        if other["sh_type"] != "SHT_NOBITS" and not section.flags & abi.SHF_COMPRESSED:
            assert elf.content(section) == other.data()
    return elf


def check_tables(data: bytes, elf: Elf) -> None:
    file = oracle(data)
    dynamic = next((s for s in file.iter_segments() if isinstance(s, DynamicSegment)), None)
    tags: list[Any] = list(dynamic.iter_tags()) if dynamic is not None else []
    assert [value for _, value in elf.dynamic] == [t.entry.d_val for t in tags if t.entry.d_tag != "DT_NULL"]
    assert [name.decode() for name in elf.dynamic_strings(abi.DT_NEEDED, 100)] == [
        t.needed for t in tags if t.entry.d_tag == "DT_NEEDED"
    ]
    for name in (b".dynsym", b".symtab"):
        table, mine = file.get_section_by_name(name.decode()), elf.section(name)
        if not isinstance(table, SymbolTableSection) or mine is None:
            assert table is None
            assert mine is None
            continue
        found = list(read_symbols(elf.content(mine), elf.layout))
        assert len(found) == table.num_symbols()
        strings = elf.content(elf.sections[mine.link])
        for row, theirs in list(zip(found, table.iter_symbols(), strict=True))[:200]:
            assert row[4:] == (theirs["st_value"], theirs["st_size"])
            assert row[0] == theirs["st_name"]
            assert (string_at(strings, row[0]) or b"").decode() == theirs.name
    notes = [n for s in file.iter_sections() if isinstance(s, NoteSection) for n in s.iter_notes()]
    seen = [(note.name.decode(), len(note.content)) for note in elf.notes()]
    assert seen[: len(notes)] == [(n["n_name"], n["n_descsz"]) for n in notes]


def check(data: bytes) -> None:
    check_tables(data, check_headers(data))


def test_programs_of_this_host() -> None:
    paths = host_programs()
    assert len(paths) > 20
    for path in paths[:: max(1, len(paths) // 12)]:
        if path.stat().st_size < 4 << 20:
            check(path.read_bytes())


@pytest.mark.fuzz
def test_all_programs_of_this_host() -> None:
    for path in host_programs():
        check_headers(path.read_bytes())


def test_debian_programs_and_tas(debian_root: Path, debian_tas: Path) -> None:
    check((debian_root / "usr/bin/xtest").read_bytes())
    for path in sorted(debian_tas.glob("*.ta"))[::4]:
        check(elf_of(path))


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_a_compilers_objects(arch: Arch) -> None:
    """Of both classes, with symbols of every kind and a build id."""
    source = "int a, b[9]; __attribute__((weak)) int c; static int d; int *e = &d; __thread int t = 1;"
    source += "int f(void) { return t; }"
    check(build(arch, source, "-Wl,--build-id=sha1", "-g", uuid=LIB_A))


def test_nothing_is_copied() -> None:
    data = bytearray(program())
    elf = Elf(data)
    load = next(ph for ph in elf.program_headers if ph.type == abi.PT_LOAD and ph.flags & abi.PF_X)
    view = elf.at(load.vaddr, 4, "code")
    data[load.offset] ^= 0xFF
    assert view[0] == data[load.offset]


@pytest.mark.parametrize(
    ("fields", "part", "message"),
    [
        ({"phoff": 1 << 40}, "program_headers", "program headers beyond the end of the file"),
        ({"phoff": (1 << 64) - 8}, "program_headers", "program headers beyond the end of the file"),
        ({"phentsize": 32}, "program_headers", "unexpected size of program headers"),
        ({"shoff": 1 << 40}, "sections", "section headers beyond the end of the file"),
        ({"shnum": 65535}, "sections", "section headers beyond the end of the file"),
        ({"shentsize": 0}, "sections", "unexpected size of section headers"),
    ],
)
def test_headers_that_lie(fields: dict[str, int], part: str, message: str) -> None:
    data = changed(program(), **fields)
    with pytest.raises(ElfError, match=re.escape(message)):
        getattr(Elf(data), part)
    assert getattr(Elf(data, lenient=True), part) == []


def test_what_is_not_elf() -> None:
    for data, message in ((b"", "not an ELF file"), (b"#!/bin/sh\n", "not an ELF"), (program()[:63], "truncated")):
        with pytest.raises(ElfError, match=message):
            Elf(data)


def test_a_limit_cuts_either_table() -> None:
    whole, cut = Elf(program()), Elf(program(), 3)
    assert cut.program_headers == whole.program_headers[:3]
    assert cut.sections == whole.sections[:3]
    assert [cut.name_of(row) for row in cut.sections] == [b""] * 3, "the table of names is not among them"


def test_names_outside_their_table_are_empty() -> None:
    elf = Elf(changed(program(), shstrndx=0xFFFF))
    assert elf.section(b".text") is None
    assert elf.name_of(elf.sections[1]) == b""


def test_the_dynamic_section_ends_at_its_null() -> None:
    elf = Elf(program())
    ph = next(ph for ph in elf.program_headers if ph.type == abi.PT_DYNAMIC)
    data = bytearray(program())
    data[ph.offset + 16 : ph.offset + 24] = bytes(8)
    assert len(Elf(data).dynamic) == 1
    with pytest.raises(ElfError, match="more than 0"):
        elf.dynamic_strings(abi.DT_NEEDED, 0)


@pytest.mark.parametrize("align", [4, 8])
def test_notes_of_either_alignment(align: int) -> None:
    def note(name: bytes, content: bytes) -> bytes:
        head = struct.pack("<III", len(name), len(content), 7) + name
        head += bytes(-len(head) % align) + content
        return head + bytes(-len(head) % align)

    wanted = [(b"GNU", b"12345"), (b"ABCDEFGH", b""), (b"", b"x" * 16)]
    table = b"".join(note(name + b"\0" if name else b"", content) for name, content in wanted)
    assert [(n.name, bytes(n.content)) for n in read_notes(table, align)] == wanted
    assert len(list(read_notes(table[:-1] if align == 8 else table[:-4], align))) == 2
    assert list(read_notes(struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 0), align)) == []


def test_strings_end() -> None:
    assert string_at(b"ab\0cd", 1) == b"b"
    assert string_at(b"ab\0cd", 3) is None
    assert string_at(b"ab\0cd", 99) is None
    assert string_at(b"a" * 100_000 + b"\0", 0) is None


def test_symbols_up_to_a_limit_and_whole_rows_alone() -> None:
    assert len(list(read_symbols(bytes(24 * 5 + 23), abi.LAYOUT64))) == 5
    assert len(list(read_symbols(bytes(16 * 5), abi.LAYOUT32, 3))) == 3


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 30), st.binary(min_size=1, max_size=8)), max_size=6),
    st.booleans(),
    st.data(),
)
def test_hostile_files(patches: list[tuple[int, bytes]], small: bool, data: st.DataObject) -> None:
    """Bytes changed in headers and tables, both classes, and files cut anywhere: an ElfError or an answer."""
    given_file = build(Arch.ARM, "int a; int *b = &a;", uuid=LIB_A) if small else program()
    file = bytearray(given_file)
    elf = Elf(given_file)
    places = [(0, 64), (elf.header.phoff, 56 * elf.header.phnum), (elf.header.shoff, 64 * elf.header.shnum)]
    places += [(s.offset, s.size) for s in elf.sections if s.type in (abi.SHT_NOTE, abi.SHT_DYNSYM) and s.size]
    places += [(ph.offset, ph.filesz) for ph in elf.program_headers if ph.type == abi.PT_DYNAMIC]
    for at, value in patches:
        start, size = places[at % len(places)]
        at = min(start + at // len(places) % size, len(file) - 8)
        file[at : at + len(value)] = value
    cut = data.draw(st.integers(0, len(file)))
    for each in (bytes(file), bytes(file[:cut])):
        ask_everything(each)
