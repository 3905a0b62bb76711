"""The ELF reader: real files against pyelftools, and every header field that can lie."""

from __future__ import annotations

import struct
from pathlib import Path
from uuid import UUID

import pytest

from south.platform import Arch, Prot
from ta_loader.elf.describe import describe_elf
from ta_loader.elf.object import uuid_from_name
from ta_loader.machines import TA_ARCHES
from tee.abi import results, ta_head
from tee.errors import TeeError
from tests.ta_loader.elf_kit import HEAD, LIB_A, LIB_B, MAIN, Oracle, build, elf_of, parsed, with_head

E64 = {"phoff": (32, "<Q"), "shoff": (40, "<Q"), "flags": (48, "<I"), "phentsize": (54, "<H"), "phnum": (56, "<H")}
E64 |= {"shentsize": (58, "<H"), "shnum": (60, "<H"), "type": (16, "<H"), "machine": (18, "<H"), "osabi": (7, "<B")}
E64 |= {"class": (4, "<B"), "data": (5, "<B"), "version": (6, "<B"), "magic": (0, "<I")}
P64 = {"type": (0, "<I"), "flags": (4, "<I"), "offset": (8, "<Q"), "vaddr": (16, "<Q"), "filesz": (32, "<Q")}
P64 |= {"memsz": (40, "<Q"), "align": (48, "<Q")}
S64 = {"type": (4, "<I"), "addr": (16, "<Q"), "size": (32, "<Q"), "link": (40, "<I"), "entsize": (56, "<Q")}


def poke(elf: bytes, at: int, layout: str, value: int) -> bytes:
    raw = bytearray(elf)
    struct.pack_into(layout, raw, at, value & (1 << 8 * struct.calcsize(layout)) - 1)
    return bytes(raw)


def ehdr(elf: bytes, field: str, value: int) -> bytes:
    return poke(elf, E64[field][0], E64[field][1], value)


def phdr(elf: bytes, kind: str, field: str, value: int, which: int = 0) -> bytes:
    """A field of the `which`-th program header of a kind."""
    oracle = Oracle(elf)
    rows = [i for i, s in enumerate(oracle.file.iter_segments()) if s["p_type"] == kind]
    return poke(elf, 64 + 56 * rows[which] + P64[field][0], P64[field][1], value)


def shdr(elf: bytes, name: str, field: str, value: int) -> bytes:
    oracle = Oracle(elf)
    index = oracle.file.get_section_index(name)
    return poke(elf, oracle.file.header["e_shoff"] + 64 * index + S64[field][0], S64[field][1], value)


def main64(source: str = HEAD, *options: str) -> bytes:
    return build(
        Arch.AARCH64, source + "int x = 1; int *p = &x; extern int w __attribute__((weak)); int *q = &w;", *options
    )


def refused(elf: bytes, main: bool = True) -> results.Result:
    with pytest.raises(TeeError) as caught:
        parsed(elf, main)
    assert caught.value.detail
    return caught.value.result


def check_against_pyelftools(elf: bytes, main: bool) -> None:
    oracle, obj = Oracle(elf), parsed(elf, main)
    assert obj.entry == oracle.file.header["e_entry"]
    assert [(s.name.decode(), s.value) for s in obj.symbols] == [
        (s.name, s["st_value"]) for s in oracle.dynsym.iter_symbols()
    ]
    hashed = {s.name for s in oracle.dynsym.iter_symbols() if s.name and s["st_shndx"] != "SHN_UNDEF"}
    assert {name.decode() for name in obj.exports} == {
        n for n in hashed if oracle.symbol(n)["st_info"]["bind"] != "STB_LOCAL"
    }
    dynamic = oracle.file.get_section_by_name(".dynamic")
    assert [str(u) for u in obj.needed] == [t.needed for t in dynamic.iter_tags() if t.entry.d_tag == "DT_NEEDED"]
    loads = [s for s in oracle.file.iter_segments() if s["p_type"] == "PT_LOAD"]
    assert len(obj.segments) == len(loads)
    for mine, theirs in zip(obj.segments, loads, strict=True):
        assert mine.vaddr == theirs["p_vaddr"] & -4096
        assert mine.vaddr + mine.size == theirs["p_vaddr"] + theirs["p_memsz"] + 4095 & -4096
    plan = obj.plan
    count = sum(map(len, plan.relative.values())) + sum(map(len, plan.addresses.values())) + len(plan.fixups)
    assert count == len(oracle.relocations())
    if main:
        head = oracle.file.get_section_by_name(".ta_head")
        assert obj.head == head.data()[: ta_head.TA_HEAD.size]


def test_debian_and_kit_files(debian_tas: Path, debian_kit: Path) -> None:
    files = [*debian_tas.glob("*.ta"), *(debian_kit / "ta").glob("*.ta")]
    assert len(files) >= 24
    for path in files:
        elf = elf_of(path)
        main = Oracle(elf).file.get_section_by_name(".ta_head") is not None
        check_against_pyelftools(elf, main)
        if main:
            assert UUID(bytes_le=parsed(elf).head[:16]) == UUID(path.stem)


@pytest.mark.parametrize("style", ["gnu", "sysv", "both"])
@pytest.mark.parametrize("arch", TA_ARCHES)
def test_hash_styles(arch: Arch, style: str) -> None:
    source = "int a, b; __attribute__((weak)) int c; static int d; int *e = &d; int f(void) { return 1; }"
    check_against_pyelftools(build(arch, source, f"-Wl,--hash-style={style}", uuid=LIB_A), main=False)
    check_against_pyelftools(build(arch, HEAD + source, f"-Wl,--hash-style={style}"), main=True)


def test_weak_undefined_symbol_in_a_sysv_table_is_found() -> None:
    """As ldelf finds it: DT_HASH lists undefined symbols, DT_GNU_HASH does not."""
    assert b"w" in parsed(main64(HEAD, "-Wl,--hash-style=sysv")).exports
    assert b"w" not in parsed(main64(HEAD, "-Wl,--hash-style=gnu")).exports


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_file_without_section_headers(arch: Arch) -> None:
    """Its dynamic section says as much, given DT_HASH."""
    source = HEAD + "int x; int *p = &x; int f(void) { return x; } extern int o __attribute__((weak)); int *q = &o;"
    elf = build(arch, source, "-Wl,--hash-style=sysv")
    whole = parsed(elf)
    bare = parsed(poke(elf, 60 if arch.word == 8 else 48, "<H", 0))
    assert bare.exports == whole.exports
    assert {k: sorted(v) for k, v in bare.plan.relative.items()} == {
        k: sorted(v) for k, v in whole.plan.relative.items()
    }
    assert bare.plan.imports == whole.plan.imports
    assert parsed(poke(build(arch, HEAD), 60 if arch.word == 8 else 48, "<H", 0)).exports == {}


def test_libraries_lead_with_their_headers() -> None:
    """A TA's program headers get a page of their own, a library's are in its text."""
    assert parsed(main64()).header_address is None
    assert parsed(build(Arch.AARCH64, "int x;", uuid=LIB_A), main=False).header_address == 0


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_init_and_fini_arrays(arch: Arch) -> None:
    source = "void f(void) {} "
    for name in ("init", "fini"):
        source += f'__attribute__((section(".{name}_array"), used)) void (*const {name}s[2])(void) = {{f, f}};'
    elf = build(arch, source, uuid=LIB_A)
    sections = [Oracle(elf).file.get_section_by_name(n)["sh_addr"] for n in (".init_array", ".fini_array")]
    assert parsed(elf, main=False).init_fini == (sections[0], 2, sections[1], 2)


def test_bti_note() -> None:
    note = "-Wl,-z,force-bti"
    assert parsed(build(Arch.AARCH64, "int x;", note, "-mbranch-protection=bti", uuid=LIB_A), main=False).bti
    assert not parsed(build(Arch.AARCH64, "int x;", uuid=LIB_A), main=False).bti


def test_segments_in_one_page_are_merged() -> None:
    """With both permissions the writable one counts, as in ldelf; it is never executable."""
    elf = main64()
    elf = phdr(elf, "PT_LOAD", "flags", 7, which=1)
    assert [s.prot for s in parsed(elf).segments] == [Prot.RX, Prot.RW]


@pytest.mark.parametrize(
    ("name", "uuid"),
    [
        (b"ffd2bded-ab7d-4988-95ee-e4962fff7154", "ffd2bded-ab7d-4988-95ee-e4962fff7154"),
        (b"FFD2BDED-AB7D-4988-95EE-E4962FFF7154.ta", "ffd2bded-ab7d-4988-95ee-e4962fff7154"),
        (b"libc.so.6", None),
        (b"", None),
        (b"{fd2bded-ab7d-4988-95ee-e4962fff715}", None),
        (b"ffd2bdedab7d498895eee4962fff7154", None),
        (b"ffd2bded-ab7d-4988-95ee-e4962fff715_", None),
        (b"+fd2bded-ab7d-4988-95ee-e4962fff7154", None),
        (b"../etc-pass-wd01-0123-456789abcdef01", None),
    ],
)
def test_dependency_names(name: bytes, uuid: str | None) -> None:
    if uuid is not None:
        assert uuid_from_name(name) == UUID(uuid)
        return
    with pytest.raises(TeeError) as caught:
        uuid_from_name(name)
    assert caught.value.result == results.BAD_FORMAT


@pytest.mark.parametrize(
    ("field", "value", "result"),
    [
        ("magic", 0, results.BAD_FORMAT),
        ("class", 1, results.BAD_FORMAT),
        ("class", 9, results.BAD_FORMAT),
        ("data", 2, results.BAD_FORMAT),
        ("version", 0, results.BAD_FORMAT),
        ("osabi", 3, results.BAD_FORMAT),
        ("type", 2, results.BAD_FORMAT),
        ("machine", 62, results.BAD_FORMAT),
        ("flags", 1, results.BAD_FORMAT),
        ("phentsize", 55, results.BAD_FORMAT),
        ("shentsize", 0, results.BAD_FORMAT),
        ("phnum", 73, results.NOT_SUPPORTED),
        ("phnum", 0, results.BAD_FORMAT),
        ("phoff", 4090, results.NOT_SUPPORTED),
        ("phoff", -1, results.NOT_SUPPORTED),
        ("shoff", -64, results.BAD_FORMAT),
        ("shnum", 65535, results.BAD_FORMAT),
    ],
)
def test_file_header(field: str, value: int, result: results.Result) -> None:
    assert refused(ehdr(main64(), field, value)) == result


@pytest.mark.parametrize(
    ("kind", "which", "field", "value", "result"),
    [
        ("PT_LOAD", 0, "flags", 1, results.NOT_SUPPORTED),  # not readable
        ("PT_LOAD", 0, "memsz", 0, results.BAD_FORMAT),  # smaller than the file's part
        ("PT_LOAD", 0, "memsz", 0x1001, results.BAD_FORMAT),  # read-only, with bss (or an overlap)
        ("PT_LOAD", 1, "memsz", -1, results.GENERIC),  # wraps
        ("PT_LOAD", 1, "vaddr", 0, results.GENERIC),  # overlap
        ("PT_LOAD", 1, "vaddr", 0x1008, results.GENERIC),  # offset and address differ
        ("PT_LOAD", 1, "offset", 0x1000, results.GENERIC),  # overlap in the file
        ("PT_LOAD", 1, "offset", 0x100000, results.BAD_FORMAT),  # outside the file
        ("PT_LOAD", 1, "offset", -4096, results.BAD_FORMAT),
        ("PT_LOAD", 0, "align", 0, results.GENERIC),
        ("PT_LOAD", 0, "align", 0x1800, results.GENERIC),
        ("PT_LOAD", 0, "align", 0x10000, results.GENERIC),
        ("PT_DYNAMIC", 0, "vaddr", 0x100000, results.BAD_FORMAT),
        ("PT_DYNAMIC", 0, "memsz", -16, results.BAD_FORMAT),
        ("PT_DYNAMIC", 0, "memsz", 24, results.GENERIC),
    ],
)
def test_program_headers(kind: str, which: int, field: str, value: int, result: results.Result) -> None:
    got = refused(phdr(main64(), kind, field, value, which))
    assert got == result or (field == "memsz" and got in (results.GENERIC, results.BAD_FORMAT))


@pytest.mark.parametrize(
    ("name", "field", "value", "result"),
    [
        (".dynsym", "addr", 0x100000, results.BAD_FORMAT),
        (".dynsym", "addr", 1, results.BAD_FORMAT),
        (".dynsym", "size", 25, results.BAD_FORMAT),
        (".dynsym", "size", -24, results.BAD_FORMAT),
        (".dynsym", "link", 1000, results.BAD_FORMAT),
        (".dynstr", "size", 4, results.BAD_FORMAT),
        (".dynstr", "addr", -1, results.BAD_FORMAT),
        (".gnu.hash", "size", 15, results.BAD_FORMAT),
        (".gnu.hash", "addr", 2, results.BAD_FORMAT),
        (".rela.dyn", "entsize", 8, results.GENERIC),
        (".rela.dyn", "link", 1000, results.BAD_FORMAT),
        (".rela.dyn", "link", 1, results.BAD_FORMAT),
        (".rela.dyn", "link", 0, results.BAD_FORMAT),
        (".rela.dyn", "addr", 0x100000, results.BAD_FORMAT),
        (".rela.dyn", "size", -24, results.BAD_FORMAT),
        (".rela.dyn", "type", 19, results.NOT_SUPPORTED),
    ],
)
def test_section_headers(name: str, field: str, value: int, result: results.Result) -> None:
    assert refused(shdr(main64(), name, field, value)) == result


def test_gnu_hash_that_does_not_fit() -> None:
    elf = main64()
    at = Oracle(elf).file.get_section_by_name(".gnu.hash")["sh_offset"]
    for word in (0, 2):
        assert refused(poke(elf, at + 4 * word, "<I", 0xFFFFFFFF)) == results.BAD_FORMAT
    assert parsed(poke(elf, at, "<I", 0)).exports == {}


@pytest.mark.parametrize("cut", [0, 3, 4, 40, 63, 64, 200, 4096, -1])
def test_truncated_file(cut: int) -> None:
    assert refused(main64()[:cut]) == results.BAD_FORMAT


def test_overlapping_tables_are_not_walked_again_and_again() -> None:
    """Many relocation sections over one large table, and many names over one long string."""
    elf = build(Arch.AARCH64, HEAD + "int x; int *p[20000] = { [0 ... 19999] = &x };")
    oracle = Oracle(elf)
    section = oracle.file.get_section_index(".rela.dyn")
    start = oracle.file.header["e_shoff"]
    raw = elf[start + 64 * section : start + 64 * section + 64]
    bomb = elf + bytes(-len(elf) % 8) + raw * 60000
    bomb = ehdr(ehdr(bomb, "shoff", len(bomb) - 64 * 60000), "shnum", 60000)
    assert refused(bomb) == results.BAD_FORMAT
    library = build(Arch.AARCH64, "".join(f"int variable_{i};" for i in range(3000)), uuid=LIB_A)
    oracle = Oracle(library)
    table, names = oracle.file.get_section_by_name(".dynsym"), oracle.file.get_section_by_name(".dynstr")
    raw_names = bytearray(library)
    raw_names[names["sh_offset"] + 1 : names["sh_offset"] + names["sh_size"] - 1] = b"a" * (names["sh_size"] - 2)
    for i in range(table["sh_size"] // 24):
        struct.pack_into("<I", raw_names, table["sh_offset"] + 24 * i, 1 + i % 7)
    assert refused(bytes(raw_names), main=False) == results.BAD_FORMAT


def test_describe_a_stripped_debian_ta(debian_tas: Path) -> None:
    info = describe_elf(elf_of(debian_tas / "cb3e5ba0-adf1-11e0-998b-0002a5d5c51b.ta"))
    assert (info.arch, info.library, info.legacy) == (Arch.AARCH64, False, False)
    assert str(info.uuid) == "cb3e5ba0-adf1-11e0-998b-0002a5d5c51b"
    assert (info.stack_size, info.heap_size) == (32768 + 2048, 32768)
    assert [p.name for p in info.properties] == [
        "gpd.ta.singleInstance",
        "gpd.ta.multiSession",
        "gpd.ta.instanceKeepAlive",
        "gpd.ta.dataSize",
        "gpd.ta.stackSize",
        "gpd.ta.version",
        "gpd.ta.description",
        "gpd.ta.endian",
        "gpd.ta.doesNotCloseHandleOnCorruptObject",
    ]
    assert [s.prot for s in info.segments] == ["r-x", "rw-"]
    for path in debian_tas.glob("*.ta"):
        assert len(describe_elf(elf_of(path)).properties) in (0, 9, 22)


def test_describe_a_ta_with_a_library(debian_tas: Path) -> None:
    """os_test's properties are those of its user_ta_header_defines.h."""
    info = describe_elf(elf_of(debian_tas / "5b9e0e40-2636-11e1-ad9e-0002a5d5c51b.ta"))
    values = {p.name: (p.type, p.value) for p in info.properties}
    assert info.flags == ("TA_FLAG_MULTI_SESSION",)
    assert values["myprop.true"] == ("bool", "true")
    assert values["myprop.42"] == ("u32", "42")
    assert values["myprop.123"] == ("uuid", "00000001-0002-0003-0000-000000000000")
    assert values["myprop.binaryblock"] == ("binary_block", "SGVsbG8gd29ybGQh")
    assert [str(u) for u in info.dependencies] == ["ffd2bded-ab7d-4988-95ee-e4962fff7154"]
    assert "TEE_Malloc" in info.imports
    assert "TA_InvokeCommandEntryPoint" in info.exports
    library = describe_elf(elf_of(debian_tas / "ffd2bded-ab7d-4988-95ee-e4962fff7154.ta"))
    assert (library.library, library.uuid, library.flags, library.stack_size) == (True, None, (), 0)
    assert "TEE_Malloc" in library.exports


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_describe_a_built_ta(arch: Arch) -> None:
    b = build(arch, "int far;", uuid=LIB_B)
    source = HEAD + (
        "struct prop { const char *name; int type; const void *value; };"
        "static const unsigned char yes = 1; static const unsigned long long big = 1ull << 40;"
        'const struct prop ta_props[] = {{"a.b", 0, &yes}, {"c", 6, &big}, {"odd\\n", 4, "text\\n"}};'
        "const __SIZE_TYPE__ ta_num_props = 3, ta_heap_size = 12345; extern int far;"
        "extern int maybe __attribute__((weak)); int *p[] = {&far, &maybe};"
    )
    info = describe_elf(with_head(build(arch, source, needs=((LIB_B, b),)), flags=ta_head.TA_FLAG_SINGLE_INSTANCE))
    assert (info.arch, info.uuid, info.heap_size, info.stack_size) == (arch, MAIN, 12345, 8192)
    assert info.flags == ("TA_FLAG_SINGLE_INSTANCE",)
    assert info.dependencies == (LIB_B,)
    assert (info.imports, info.weak_imports) == (("far",), ("maybe",))
    assert [tuple(p) for p in info.properties] == [("a.b", "bool", "true"), ("c", "u64", str(1 << 40))]
    assert "ta_head" in info.exports


def test_flag_names() -> None:
    assert ta_head.flag_names(0x2004) == ("TA_FLAG_SINGLE_INSTANCE", "TA_FLAG_INSTANCE_KEEP_CRASHED")
    assert ta_head.flag_names(1 << 20 | 8) == ("TA_FLAG_MULTI_SESSION", "0x100000")
