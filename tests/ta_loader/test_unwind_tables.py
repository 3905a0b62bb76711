"""Unwind tables against other readers: pyelftools for call frame information, readelf for EHABI, objdump for calls."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from south.platform import Arch
from ta_loader.symbolise.calls import call_target
from ta_loader.symbolise.cfi import Offset, frame_tables
from ta_loader.symbolise.ehabi import CannotUnwind, VirtualRegisters, find_entry, instructions
from ta_loader.symbolise.elffile import ElfFile, parse
from ta_loader.symbolise.unwind import MAX_FRAMES, backtrace
from tee.ports import Module

from .unwind_kit import GUARDED, MAIN, PROGRAM, build, run_tool

if TYPE_CHECKING:
    from pathlib import Path

A64, A32 = Arch.AARCH64, Arch.ARM


def elf(data: bytes) -> ElfFile:
    parsed = parse(data)
    assert parsed is not None
    return parsed


def compare_frames(data: bytes, limit: int) -> int:
    """Every row of up to `limit` functions equals pyelftools'; the number of rows."""
    dwarf = ELFFile(io.BytesIO(data)).get_dwarf_info(relocate_dwarf_sections=False)
    entries = dwarf.EH_CFI_entries() if dwarf.has_EH_CFI() else dwarf.CFI_entries()
    (table,) = frame_tables(elf(data))
    rows = 0
    for fde in [e for e in entries if isinstance(e, FDE)][:limit]:
        for expected in fde.get_decoded().table:
            if expected["pc"] >= fde.header.initial_location + fde.header.address_range:
                continue
            row = table.find(expected["pc"])
            assert row is not None
            assert row.cfa == (expected["cfa"].reg, expected["cfa"].offset)
            saved = {n: r.arg for n, r in expected.items() if isinstance(n, int) and r.type == "OFFSET"}
            assert {n: r.value for n, r in row.rules.items() if isinstance(r, Offset)} == saved
            rows += 1
    return rows


@pytest.mark.parametrize(
    ("arch", "flags"),
    [
        (A64, ("-fasynchronous-unwind-tables",)),
        (A64, ("-fno-asynchronous-unwind-tables", "-g")),
        (A32, ("-marm", "-g", "-fno-unwind-tables")),
        (A32, ("-mthumb", "-g", "-fno-unwind-tables")),
    ],
)
def test_rows_equal_pyelftools(arch: Arch, flags: tuple[str, ...]) -> None:
    assert compare_frames(build(arch, PROGRAM, *flags), 100) > 15


def test_rows_of_real_tas_equal_pyelftools(debian_tas: Path) -> None:
    for path in sorted(debian_tas.glob("*.ta"))[:4]:
        data = path.read_bytes()
        assert compare_frames(data[data.index(b"\x7fELF") :], 60) > 100


EXTRA = """
.text
.syntax unified
.arm
.fpu neon
.globl odd
.type odd, %function
odd:
.fnstart
.save {r4, r6, r8, r10, r11, lr}
.vsave {d8-d11}
.pad #2000
.setfp r7, sp, #8
.save {r0, r2}
.vsave {d16-d18}
bx lr
.fnend
.size odd, . - odd
"""


def test_ehabi_instructions_equal_readelf() -> None:
    """All entries: in the index, in .ARM.extab by routine 1 and by a language's routine, and refusals."""
    asm = "__asm__(" + "\n".join(f'"{line}\\n"' for line in EXTRA.strip().splitlines()) + ");"
    data = build(A32, GUARDED + asm, "-fexceptions", "-funwind-tables", "-marm")
    seen = set()
    for block in re.split(r"\n(?=0x)", run_tool(A32, "readelf", data, "-uW"))[1:]:
        start = int(block.split()[0], 16)
        entry = find_entry(elf(data), start)
        assert entry is not None
        assert entry.start == start
        if "cantunwind" in block:
            assert entry.cannot_unwind
            seen.add("cantunwind")
            continue
        if "Personality routine" in block:  # Whose data readelf does not know; see test_unwind.
            seen.add("generic")
            continue
        kind = re.search(r"Compact model index: (.)", block)
        operations = re.findall(r"^  ((?:0x[0-9a-f]{2} )+)", block, re.M)
        expected = bytes(int(byte, 16) for operation in operations for byte in operation.split())
        assert kind
        assert expected
        assert instructions(elf(data), entry)[: len(expected)] == expected
        seen.add(kind[1])
    assert seen == {"cantunwind", "generic", "0", "1"}


@pytest.mark.parametrize(
    ("code", "moved", "popped"),
    [
        ("3f b0", 256, {}),
        ("40 00 b0", 0, {}),
        ("97 b0", 0x500, {}),
        ("a3 b0", 16, {4: 0, 5: 4, 6: 8, 7: 12}),
        ("a8 b0", 8, {4: 0, 14: 4}),
        ("84 02 b0", 8, {5: 0, 14: 4}),
        ("88 00 b0", 4, {15: 0}),
        ("b1 05 b0", 8, {0: 0, 2: 4}),
        ("b2 81 02 b0", 0x204 + (0x101 << 2), {}),
        ("b3 81 b0", 20, {}),
        ("b9 b0", 20, {}),
        ("c1 b0", 16, {}),
        ("c6 32 b0", 24, {}),
        ("c7 05 b0", 8, {}),
        ("c8 01 b0", 16, {}),
        ("c9 83 b0", 32, {}),
        ("d2 b0", 24, {}),
        ("b4 b5 b0", 4, {}),
    ],
)
def test_every_encoding(code: str, moved: int, popped: dict[int, int]) -> None:
    """Effects as in the specification's table. The stack holds its own addresses."""
    registers = VirtualRegisters({7: 0x8500, 13: 0x8000, 14: 0x1234}, lambda address: address)
    registers.run(bytes.fromhex(code))
    assert registers.values[13] == 0x8000 + moved
    for number, offset in popped.items():
        assert registers.values[number] == 0x8000 + offset
    assert registers.values[15] == registers.values[15 if 15 in popped else 14]


@pytest.mark.parametrize(
    "code", ["80 00", "9d", "9f", "b1 00", "b1 10", "b6", "c7 00", "c7 10", "ca", "d8", "ff", "b2"]
)
def test_refused_encodings(code: str) -> None:
    with pytest.raises(CannotUnwind):
        VirtualRegisters({13: 0x8000, 14: 0x1234}, lambda address: address).run(bytes.fromhex(code))


@pytest.mark.parametrize("flag", ["-marm", "-mthumb"])
def test_call_targets_equal_objdump(flag: str) -> None:
    data = build(A32, PROGRAM, flag)
    parsed = elf(data)
    calls = re.findall(r"^ *([0-9a-f]+):\t[0-9a-f ]+\tblx?\t([0-9a-f]+) <", run_tool(A32, "objdump", data, "-d"), re.M)
    assert len(calls) > 8
    for at, target in calls:
        link = int(at, 16) + 4 | (flag == "-mthumb")
        assert call_target(parsed.read, link) == int(target, 16)


def hostile(arch: Arch, base: bytes, section: str, patch: bytes, words: list[int]) -> None:
    """A real file with a section overwritten, and a stack of chosen words: an answer, soon."""
    found = elf(base).section(section)
    assert found is not None
    patch = patch[: found.size]
    data = base[: found.offset] + patch + base[found.offset + len(patch) :]
    choices = words or [0]

    def read(address: int, size: int) -> bytes | None:
        if not 0x7F0000 <= address <= 0x7F8000 - size:
            return None
        return (choices[(address >> 2) % len(choices)]).to_bytes(size, "little")

    registers = {"pc": 0x40000210, "sp": 0x7F0000, "lr": 0x40000280, "x29": 0x7F0010, "r11": 0x7F0010, "r7": 0x7F0020}
    frames = backtrace(arch, [Module(MAIN, 0x40000000, 0x3000)], registers, read, lambda _: data)
    assert 1 <= len(frames) <= MAX_FRAMES


STACKS = st.lists(st.integers(0x40000180, 0x40000400) | st.integers(0x7F0000, 0x7F8000) | st.just(0), max_size=40)


@settings(max_examples=100)
@given(st.binary(max_size=600), STACKS)
def test_hostile_eh_frame(patch: bytes, words: list[int]) -> None:
    hostile(A64, build(A64, PROGRAM, "-fasynchronous-unwind-tables"), ".eh_frame", patch, words)


@settings(max_examples=100)
@given(st.binary(max_size=300), st.sampled_from([".ARM.exidx", ".ARM.extab", ".text"]), STACKS)
def test_hostile_exidx(patch: bytes, section: str, words: list[int]) -> None:
    hostile(A32, build(A32, GUARDED, "-fexceptions", "-funwind-tables", "-marm"), section, patch, words)


@settings(max_examples=150)
@given(st.integers(0, 63), st.binary(min_size=1, max_size=24), st.booleans())
def test_hostile_headers(at: int, patch: bytes, wide: bool) -> None:
    """Headers, program headers and section headers overwritten."""
    arch = A64 if wide else A32
    base = build(arch, PROGRAM, "-g")
    tables = int.from_bytes(base[40:48] if wide else base[32:36], "little")
    for offset in (at, at * 4, tables + at * 16):
        data = base[:offset] + patch + base[offset + len(patch) :]
        registers = {"pc": 0x40000210, "sp": 0x7F0000, "lr": 0x40000280}
        module = [Module(MAIN, 0x40000000, 0x3000)]
        files = {MAIN: data}
        assert backtrace(arch, module, registers, lambda _, size: bytes(size), files.get, files.get)


@settings(max_examples=200)
@given(st.binary(max_size=64))
def test_hostile_unwind_instructions(code: bytes) -> None:
    registers = VirtualRegisters({n: 0x8000 + 4 * n for n in range(16)}, lambda address: address ^ 0x40)
    try:
        registers.run(code)
    except CannotUnwind:
        return
    assert 0 <= registers.values[13] <= 0xFFFFFFFF
    assert 0 <= registers.values[15] <= 0xFFFFFFFF


def test_cfi_bombs_are_bounded() -> None:
    """One function whose instructions fill a megabyte, and a table of nothing but terminators."""
    base = build(A64, PROGRAM, "-fasynchronous-unwind-tables")
    found = elf(base).section(".eh_frame")
    assert found is not None
    cie = bytes.fromhex("1000000000000000017a520004781e011b0c1f00")
    body = bytes([0x0A]) * (1 << 20)
    fde = (
        (len(cie) + 4).to_bytes(4, "little") + (0).to_bytes(4, "little") + (0x1000).to_bytes(4, "little") + b"\0" + body
    )
    for payload in (cie + len(fde).to_bytes(4, "little") + fde, bytes(1 << 20)):
        data = bytearray(base + payload)
        rows = int.from_bytes(base[40:48], "little") + 64 * elf(base).sections.index(found)
        data[rows + 24 : rows + 40] = len(base).to_bytes(8, "little") + len(payload).to_bytes(8, "little")
        hostile(A64, bytes(data), ".eh_frame", b"", [0x40000200, 0x7F1000])
