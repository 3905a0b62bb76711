"""Log text as OP-TEE's format strings make it (ldelf/main.c, ldelf/ta_elf.c, lib/libunw), with nm as oracle."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from south.platform import Arch
from ta_loader.symbolise.log import MAX_HELD, symbolise_log

from .unwind_kit import LIBRARY, MAIN, OTHER, PROGRAM, build, nm

if TYPE_CHECKING:
    from pathlib import Path

A64, A32 = Arch.AARCH64, Arch.ARM
LOAD = {MAIN: 0x40018000, OTHER: 0x40058000}


def dump(arch: Arch, addresses: list[int], panic: int = 0xFFFF000F) -> list[str]:
    """A panic of a TA with one library, as two worlds print it on one console."""
    lines = [
        "E/TC:? 0 \n",
        f"E/TC:? 0 TA panicked with code 0x{panic:x}\n",
        f"E/LD:  Status of TA {MAIN}\n",
        f"E/LD:   arch: {arch.value}\n",
        "E/LD:  region  0: va 0x40005000 pa 0x0e31f000 size 0x002000 flags rw-s (ldelf)\n",
        "E/LD:  region  1: va 0x40007000 pa 0x0e321000 size 0x008000 flags r-xs (ldelf)\n",
        f"E/LD:  region  2: va 0x{LOAD[MAIN]:08x} pa 0x00001000 size 0x002000 flags r-xs [0]\n",
        "[   12.345678] random: crng init done\r\n",
        f"E/LD:  region  3: va 0x{LOAD[MAIN] + 0x2000:08x} pa 0x00003000 size 0x001000 flags rw-s [0]\n",
        f"E/LD:  region  4: va 0x{LOAD[OTHER]:08x} pa 0x00009000 size 0x002000 flags r-xs [1]\n",
        "E/LD:  region  5: va 0x40070000 pa 0x0e341000 size 0x001000 flags rw-s (stack)\n",
        f"E/LD:   [0] {MAIN} @ 0x{LOAD[MAIN]:08x}\n",
        f"E/LD:   [1] {OTHER} @ 0x{LOAD[OTHER]:08x}\n",
        "E/LD:  Call stack:\n",
    ]
    return lines + [f"E/LD:   0x{address:08x}\n" for address in addresses] + ["I/TC: next thing\n"]


@pytest.mark.parametrize("arch", [A64, A32])
def test_panic_of_a_ta(arch: Arch) -> None:
    """Every caller's address as the two unwinders print them: less 4 on aarch64, as it is on arm."""
    flags = ("-g",) if arch is A64 else ("-g", "-marm")
    files = {MAIN: build(arch, PROGRAM, *flags), OTHER: build(arch, LIBRARY, *flags)}
    leaf, saver = (nm(arch, files[MAIN])[n][0] + LOAD[MAIN] for n in ("leaf", "saver"))
    outer, size, _ = nm(arch, files[OTHER])["outer"]
    last = outer + size - (4 if arch is A64 else 0)
    log = dump(arch, [leaf, saver + 20, last + LOAD[OTHER], 0x40070010, 0xDEADBEEF])
    out = list(symbolise_log(log, files.get))
    assert [line[: len(old.rstrip())] for line, old in zip(out, log, strict=True)] == [old.rstrip() for old in log]
    assert out[1] == "E/TC:? 0 TA panicked with code 0xffff000f (TEE_ERROR_SECURITY)\n"
    assert out[4:6] == log[4:6]
    assert out[7] == log[7]
    assert out[-1] == log[-1]
    assert " .text" in out[6]
    assert " .dynsym" in out[6]
    assert " .bss" in out[8]
    assert " .text" not in out[8]
    stack = out[14:19]
    assert " leaf+0x0 at " in stack[0]
    assert " saver+0x14 at " in stack[1]
    assert "program.c:" in stack[1]
    assert f" outer+{last - outer:#x} at " in stack[2]
    assert stack[3:] == log[17:19]


def test_files_that_are_not_at_hand() -> None:
    log = dump(A64, [LOAD[MAIN] + 0x200], 0x1234)
    out = list(symbolise_log(log, lambda _: None))
    assert [line.replace(" (no ELF file)", "") for line in out] == log
    assert sum("(no ELF file)" in line for line in out) == 2
    assert list(symbolise_log(log, lambda _: b"\x7fELF junk")) == out


def test_two_dumps_with_other_addresses() -> None:
    """The second dump's table replaces the first's."""
    data = build(A64, PROGRAM)
    leaf = nm(A64, data)["leaf"][0]
    second = [line.replace("0x40018000", "0x50000000") for line in dump(A64, [0x50000000 + leaf])]
    out = list(symbolise_log([*dump(A64, [LOAD[MAIN] + leaf]), *second], {MAIN: data}.get))
    assert sum(line.endswith(" leaf+0x0\n") for line in out) == 2


def test_core_stack() -> None:
    """`TEE load address` places tee.elf's first segment."""
    data = build(A64, PROGRAM)
    leaf = nm(A64, data)["leaf"][0]
    log = [
        "E/TC:0 0 TEE load address @ 0xe100000\r\n",
        "E/TC:0 0 Call stack:\r\n",
        f"E/TC:0 0  0x{0xE100000 + leaf:08x}\r\n",
    ]
    out = list(symbolise_log(log, lambda _: None, core=data))
    assert out[2].endswith(" leaf+0x0\r\n")
    assert list(symbolise_log(log, lambda _: None)) == log


def test_a_dump_that_is_cut_short_holds_nothing_back() -> None:
    head = dump(A64, [])[:9]
    source = iter([*head, *["later\n"] * 1000])
    assert "later\n" in symbolise_log(source, lambda _: None)
    assert len(list(source)) > 900


def test_real_tas(debian_tas: Path) -> None:
    """Exported functions of a TA that Debian ships."""
    checked = 0
    for path in sorted(debian_tas.glob("*.ta")):
        data = path.read_bytes()
        data = data[data.index(b"\x7fELF") :]
        functions = {n: v for n, (v, size, kind) in nm(A64, data, "-D").items() if kind == "T" and size > 8}
        for name, value in list(functions.items())[:3]:
            log = [line.replace(str(MAIN), path.stem) for line in dump(A64, [LOAD[MAIN] + value + 4])]
            log[6] = log[6].replace("size 0x002000", f"size 0x{value + 0x1000:06x}")
            out = list(symbolise_log(log, {UUID(path.stem): data}.get))
            same = {n for n, v in functions.items() if v == value}
            assert out[14].split()[2].removesuffix("+0x4") in same, name
            checked += 1
    assert checked


PIECES = st.sampled_from(
    [
        "E/LD:  ", "E/TC:? 0 ", "region  1: va 0x", "40018000", " pa 0x1 size 0x", "ffffffff", " flags r-xs [0]",
        "[0] ", str(MAIN), " @ 0x", "Call stack:", " 0x", "Status of TA ",
        "TEE load address @ ", "\n", "\r", "\x00", "é",
    ]
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.lists(PIECES | st.text(max_size=4), max_size=8).map("".join), max_size=12))
def test_hostile_logs(lines: list[str]) -> None:
    """Each line comes out once, in order, with nothing but additions at its end."""
    data = build(A64, PROGRAM)
    out = list(symbolise_log(lines, lambda _: data, core=data))
    assert len(out) == len(lines)
    assert all(new.startswith(old.rstrip("\r\n")) for new, old in zip(out, lines, strict=True))


def test_long_logs_take_linear_time() -> None:
    begun = time.thread_time()
    region = "E/LD:  region  2: va 0x40018000 pa 0x00001000 size 0x002000 flags r-xs [0]\n"
    lines = [region] * (MAX_HELD * 3) + ["E/LD: " * 170 + "\n"] * 300 + ["x" * 1_000_000]
    assert len(list(symbolise_log(lines, lambda _: None))) == len(lines)
    assert time.thread_time() - begun < 3
