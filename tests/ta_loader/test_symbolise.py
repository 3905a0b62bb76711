"""Names and lines against binutils: nm and addr2line."""

from __future__ import annotations

import os.path
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from south.errors import UsageError
from south.platform import Arch
from ta_loader.symbolise.debug_files import DebugFiles
from ta_loader.symbolise.elffile import ElfFile, parse, printable
from ta_loader.symbolise.symbols import Location, locate, symbols_of
from ta_loader.symbolise.unwind import backtrace

from .unwind_kit import LIBRARY, MAIN, OTHER, PROGRAM, Runner, build, nm, objcopy, run_tool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from uuid import UUID

A64, A32 = Arch.AARCH64, Arch.ARM
HEAD = '__attribute__((section(".ta_head"), used)) static const unsigned char head[32] = {'
HEAD += "0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};\n"

BUILDS = [(A64, "-gdwarf-5"), (A64, "-gdwarf-4"), (A64, "-gdwarf-3"), (A32, "-gdwarf-5"), (A32, "-gdwarf-2")]


def elf(data: bytes) -> ElfFile:
    parsed = parse(data)
    assert parsed is not None
    return parsed


def addr2line(arch: Arch, data: bytes, addresses: list[int]) -> list[tuple[str, str, int]]:
    """(function, file, line) by binutils; 0 for an unknown line."""
    lines = run_tool(arch, "addr2line", data, "-f", "-a", *[f"{a:#x}" for a in addresses], "-e").splitlines()
    found = []
    for _, function, where in zip(*[iter(lines)] * 3, strict=True):
        file, _, line = where.partition(" ")[0].rpartition(":")
        found.append((function, file, int(line) if line.isdigit() else 0))
    return found


@pytest.mark.parametrize(("arch", "flag"), BUILDS)
def test_lines_equal_addr2line(arch: Arch, flag: str) -> None:
    data = build(arch, PROGRAM, flag, "-marm" if arch is A32 else "-O2")
    addresses = [a for value, size, _ in nm(arch, data).values() if size > 8 for a in range(value, value + size, 4)]
    code = [a for a in addresses if elf(data).executable(a)]
    assert len(code) > 80
    for address, (function, file, line) in zip(code, addr2line(arch, data, code), strict=True):
        at = locate([elf(data)], address, address)
        if line:
            assert (at.function, at.line, os.path.basename(at.file)) == (function, line, os.path.basename(file))
            if flag == "-gdwarf-5":
                assert os.path.normpath(at.file) == os.path.normpath(file)


def test_compressed_debug_sections() -> None:
    data = build(A64, PROGRAM, "-gdwarf-5")
    packed = objcopy(A64, data, "--compress-debug-sections=zlib-gabi")
    assert len(packed) < len(data)
    leaf = nm(A64, data)["leaf"][0]
    assert symbols_of(elf(packed)).line(leaf) == symbols_of(elf(data)).line(leaf) is not None


@pytest.mark.parametrize(("arch", "flag"), [(A64, "-O2"), (A32, "-marm"), (A32, "-mthumb")])
def test_functions_equal_nm(arch: Arch, flag: str) -> None:
    data = build(arch, PROGRAM, flag)
    functions = {n: (v & -2, s) for n, (v, s, kind) in nm(arch, data).items() if kind in "tT"}
    assert len(functions) >= 7
    for name, (start, size) in functions.items():
        for offset in (0, 1, size - 1):
            found = symbols_of(elf(data)).function(start + offset)
            assert found == (name, start, start + size)


def test_exported_functions_of_a_stripped_file() -> None:
    data = objcopy(A64, build(A64, PROGRAM), "--strip-all")
    start, size, _ = nm(A64, data, "-D")["entry"]
    assert locate([elf(data)], start + size - 4, start + size - 4) == Location("entry", size - 4)
    assert symbols_of(elf(data)).function(start - 4) is None


def test_labels_and_sizeless_functions() -> None:
    """No size: up to the next symbol, or the end of the section. Mapping and local symbols are no names."""
    asm = "bare:\\n nop\\n nop\\n.Lhidden:\\n nop\\n.type typed, %function\\ntyped:\\n nop\\n.word 0\\n nop\\n"
    data = build(A64, f'__asm__(".text\\n{asm}");')
    symbols = symbols_of(elf(data))
    start = nm_value(data, "bare")
    names = [symbols.function(start + i) for i in range(0, 24, 4)]
    assert [f.name if f else "" for f in names] == ["bare"] * 3 + ["typed"] * 3
    assert symbols.function(start + 24) is None


def nm_value(data: bytes, name: str) -> int:
    lines = run_tool(A64, "nm", data).splitlines()
    return next(int(line.split()[0], 16) for line in lines if line.endswith(f" {name}"))


def test_names_of_real_tas(debian_tas: Path) -> None:
    """Debian strips its TAs: what is left are exported functions, each found at its address."""
    for path in sorted(debian_tas.glob("*.ta"))[:6]:
        data = path.read_bytes()
        data = data[data.index(b"\x7fELF") :]
        for name, (value, size, kind) in nm(A64, data, "-D").items():
            if kind == "T" and size:
                found = symbols_of(elf(data)).function(value + size - 1)
                assert found is not None
                assert (found.start, found.end) == (value, value + size)
                assert found.name == name or nm(A64, data, "-D")[found.name][:2] == (value, size)
        assert str(elf(data).uuid) == path.stem or not elf(data).uuid


@pytest.mark.parametrize(("arch", "flag"), [(A64, "-O2"), (A32, "-marm"), (A32, "-mthumb")])
def test_backtrace_with_lines(arch: Arch, flag: str) -> None:
    """Functions and lines of a whole stack, callers' by the instruction before the return address."""
    files = {u: build(arch, s, "-g", "-funwind-tables", flag) for u, s in ((MAIN, PROGRAM), (OTHER, LIBRARY))}
    machine = Runner(arch, files)
    steps = machine.steps(machine.address(MAIN, "entry"), machine.address(OTHER, "outer"), 1)
    stop = next(s for s in steps if s.call and len(s.shadow) >= 5)
    frames = backtrace(arch, machine.modules, stop.registers, machine.read, machine.elf_of, machine.elf_of)
    base = machine.modules[0].base
    expected = addr2line(arch, files[MAIN], [a - base for a in (stop.pc, *(a - 1 for a in stop.shadow))])
    assert [(f.function, os.path.basename(f.file), f.line) for f in frames] == [
        (function, os.path.basename(file), line) for function, file, line in expected
    ]
    assert [f.offset for f in frames] == [f.pc - base - (nm(arch, files[MAIN])[f.function][0] & -2) for f in frames]


def test_debug_files_are_matched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By what both have of the same build; never to another build."""

    def found(files: Sequence[bytes], uuid: UUID, image: bytes | None) -> bytes | None:
        paths = [tmp_path / str(number) for number, _ in enumerate(files)]
        for path, content in zip(paths, files, strict=True):
            path.write_bytes(content)
        module: Any = SimpleNamespace(modules=[SimpleNamespace(uuid=uuid)], elf=lambda _: image)
        return DebugFiles([str(path) for path in paths]).of_program(module)(uuid)

    data = build(A64, HEAD + PROGRAM, "-g")
    stripped = objcopy(A64, data, "--strip-debug")
    assert elf(data).uuid == MAIN
    assert found([data], MAIN, stripped) == data
    assert not capsys.readouterr().err
    assert found([data], OTHER, build(A64, LIBRARY)) is None
    assert found([data], MAIN, build(A64, LIBRARY)) is None
    assert capsys.readouterr().err.count("not of the same build") == 2
    plain = build(A64, PROGRAM, "-g", "-Wl,--build-id")
    assert elf(plain).build_id.hex() in run_tool(A64, "readelf", plain, "-n")
    assert found([data, plain], OTHER, objcopy(A64, plain, "--strip-all")) == plain
    assert found([data], MAIN, None) is None
    for no_elf in (b"", b"\x7fELF"):
        with pytest.raises(UsageError, match="not an ELF file"):
            found([no_elf, data], MAIN, stripped)


def test_entries_of_no_bytes_are_not_counted_out() -> None:
    """A header that claims 2^49 directories, each described by no fields: a general reader walks them all."""
    data = bytearray(build(A64, PROGRAM, "-gdwarf-5"))
    section = elf(bytes(data)).section(".debug_line")
    assert section is not None
    # DWARF 5 §6.2.4: fixed fields, standard_opcode_lengths, then directory_entry_format_count and its pairs.
    formats = section.offset + 17 + data[section.offset + 17]
    assert data[formats] == 1
    data[formats : formats + 8] = b"\0" + b"\xff" * 6 + b"\x7f"
    started = time.monotonic()
    assert symbols_of(elf(bytes(data))).line(nm(A64, bytes(data))["leaf"][0]) is None
    assert time.monotonic() - started < 30


def test_names_cannot_forge_log_lines() -> None:
    assert printable(b"a\x1b[2Jb\nc") == "a?[2Jb?c"
    assert len(printable(b"x" * 100000)) <= 512


@settings(max_examples=150)
@given(
    st.sampled_from([".debug_line", ".symtab", ".strtab", ".debug_line_str"]),
    st.integers(0, 300),
    st.binary(max_size=80),
)
def test_hostile_tables(section: str, at: int, patch: bytes) -> None:
    data = build(A64, PROGRAM, "-gdwarf-5")
    found = elf(data).section(section)
    assert found is not None
    at = found.offset + min(at, found.size)
    broken = parse(data[:at] + patch + data[at + len(patch) :])
    if broken is not None:
        for address in (0, 0x210, 0x2A0, 1 << 40):
            assert len(locate([broken], address, address).function) <= 512


def test_counts_without_bytes_are_refused() -> None:
    """2^63 directory entries of an empty format: a reader that believes the header never ends."""
    data = build(A64, PROGRAM, "-gdwarf-5")
    found = elf(data).section(".debug_line")
    assert found is not None
    header = bytearray(data[found.offset : found.offset + found.size])
    formats = 18 + header[17] - 1
    header[formats] = 0
    header[formats + 1 : formats + 11] = b"\xff" * 9 + b"\x00"
    broken = elf(data[: found.offset] + bytes(header) + data[found.offset + found.size :])
    assert symbols_of(broken).line(0x210) is None
