"""Backtraces at every instruction of compiled programs, against a shadow call stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from south.platform import Arch
from ta_loader.symbolise.unwind import MAX_FRAMES, backtrace
from tee.ports import Module

from .unwind_kit import GUARDED, LIBRARY, MAIN, OTHER, PROGRAM, Runner, build, objcopy, run_tool

if TYPE_CHECKING:
    from .unwind_kit import Stop

A64, A32 = Arch.AARCH64, Arch.ARM

EVERYWHERE = [
    pytest.param(A64, ("-fasynchronous-unwind-tables", "-fomit-frame-pointer"), id="aarch64-eh_frame"),
    pytest.param(A64, ("-fasynchronous-unwind-tables", "-fno-omit-frame-pointer"), id="aarch64-eh_frame-fp"),
    pytest.param(A64, ("-fno-asynchronous-unwind-tables", "-fomit-frame-pointer", "-g"), id="aarch64-debug_frame"),
    pytest.param(A64, ("-mbranch-protection=standard", "-fasynchronous-unwind-tables"), id="aarch64-pac"),
    pytest.param(A32, ("-marm", "-g", "-fno-unwind-tables"), id="a32-debug_frame"),
    pytest.param(A32, ("-mthumb", "-g", "-fno-unwind-tables"), id="t32-debug_frame"),
]
AT_CALLS = [
    pytest.param(A32, ("-marm", "-funwind-tables"), id="a32-exidx"),
    pytest.param(A32, ("-mthumb", "-funwind-tables"), id="t32-exidx"),
    pytest.param(A32, ("-mthumb", "-funwind-tables", "-fno-omit-frame-pointer"), id="t32-exidx-fp"),
    pytest.param(A64, ("-fno-asynchronous-unwind-tables", "-fno-omit-frame-pointer"), id="aarch64-records"),
    pytest.param(A32, ("-marm", "-fno-unwind-tables", "-fno-omit-frame-pointer"), id="a32-records"),
]


def runner(arch: Arch, flags: tuple[str, ...]) -> Runner:
    return Runner(arch, {MAIN: build(arch, PROGRAM, *flags), OTHER: build(arch, LIBRARY, *flags)})


def walked(machine: Runner, stop: Stop) -> list[int]:
    return [f.pc for f in backtrace(machine.arch, machine.modules, stop.registers, machine.read, machine.elf_of)]


@pytest.mark.parametrize(("arch", "flags"), EVERYWHERE)
def test_every_instruction(arch: Arch, flags: tuple[str, ...]) -> None:
    machine = runner(arch, flags)
    deepest = 0
    for stop in machine.steps(machine.address(MAIN, "entry"), machine.address(OTHER, "outer"), 2):
        assert walked(machine, stop) == [stop.pc, *stop.shadow], f"at {stop.pc:#x}"
        deepest = max(deepest, len(stop.shadow))
    assert deepest >= 8


@pytest.mark.parametrize(("arch", "flags"), AT_CALLS)
def test_every_call(arch: Arch, flags: tuple[str, ...]) -> None:
    machine = runner(arch, flags)
    calls = 0
    for stop in machine.steps(machine.address(MAIN, "entry"), machine.address(OTHER, "outer"), 2):
        if stop.call:
            assert walked(machine, stop) == [stop.pc, *stop.shadow], f"at {stop.pc:#x}"
            calls += 1
    assert calls >= 12


@pytest.mark.parametrize(
    ("arch", "flags"), [(A64, ()), (A32, ("-marm",)), (A32, ("-mthumb",))], ids=["aarch64", "a32", "t32"]
)
def test_functions_with_a_personality_routine(arch: Arch, flags: tuple[str, ...]) -> None:
    """`zPLR` augmentation on AArch64; on Arm the generic model in .ARM.extab."""
    guarded = build(arch, GUARDED, "-fexceptions", "-funwind-tables", *flags)
    tables = run_tool(arch, "readelf", guarded, *(["--debug-dump=frames"] if arch is A64 else ["-u"]))
    assert ("zPLR" if arch is A64 else "Personality routine") in tables
    machine = Runner(arch, {MAIN: guarded, OTHER: build(arch, LIBRARY, "-funwind-tables", *flags)})
    calls = 0
    for stop in machine.steps(machine.address(MAIN, "entry"), machine.address(OTHER, "outer"), 2):
        if stop.call:
            assert walked(machine, stop) == [stop.pc, *stop.shadow]
            calls += 1
    assert calls >= 7


STUBS = {
    A64: "mov x8, #1\n svc #0\n ret",
    A32: ".arm\n push {r5-r7, lr}\n mov r7, #1\n svc #0\n pop {r5-r7, pc}",
}
STUB_PROGRAM = """
__attribute__((visibility("hidden"))) int stub(int);
__asm__(".text\\n.balign 4\\n.hidden stub\\n.globl stub\\n.type stub, %%function\\n"
        "stub:\\n%s\\n.size stub, . - stub\\n");
__attribute__((noinline, noclone, visibility("hidden"))) int caller(int n) { return stub(n) + n; }
__attribute__((used)) int entry(int n) { return caller(n) * 2; }
"""


@pytest.mark.parametrize("arch", [A64, A32])
def test_assembly_without_tables(arch: Arch) -> None:
    """A system call stub that nothing describes: its caller is found by the link register."""
    source = STUB_PROGRAM % STUBS[arch].replace("\n", "\\n")
    flags = ("-funwind-tables", "-marm") if arch is A32 else ("-fasynchronous-unwind-tables",)
    machine = Runner(arch, {MAIN: build(arch, source, *flags)})
    stub = machine.address(MAIN, "stub") & -2
    stop = next(s for s in machine.steps(machine.address(MAIN, "entry"), 1) if s.pc == stub)
    frames = backtrace(arch, machine.modules, stop.registers, machine.read, machine.elf_of)
    assert [f.function for f in frames] == ["stub", "caller", "entry"]


@pytest.mark.parametrize(("arch", "flags"), [EVERYWHERE[0].values, AT_CALLS[0].values, AT_CALLS[1].values])
def test_call_through_a_bad_pointer(arch: Arch, flags: tuple[str, ...]) -> None:
    machine = runner(arch, flags)
    leaf = machine.address(MAIN, "leaf") & -2
    stop = next(s for s in machine.steps(machine.address(MAIN, "entry"), 0, 1) if s.pc == leaf)
    registers = {**stop.registers, "pc": 0}
    frames = backtrace(arch, machine.modules, registers, machine.read, machine.elf_of)
    assert [f.pc for f in frames] == [0, *stop.shadow]
    assert frames[0].module == frames[0].function == ""


def test_stripped_module_with_its_debug_file() -> None:
    """The tables are in the debug file alone; a file of another build is refused."""
    full = build(A64, PROGRAM, "-fno-asynchronous-unwind-tables", "-fomit-frame-pointer", "-g", "-Wl,--build-id")
    other = build(
        A64, PROGRAM, "-fno-asynchronous-unwind-tables", "-fomit-frame-pointer", "-gdwarf-4", "-Wl,--build-id"
    )
    stripped, debug = objcopy(A64, full, "--strip-all"), objcopy(A64, full, "--only-keep-debug")
    machine = Runner(A64, {MAIN: full})
    leaf = machine.address(MAIN, "leaf")
    stop = next(s for s in machine.steps(machine.address(MAIN, "entry"), 0, 1) if s.pc == leaf)

    def walk(debug_file: bytes) -> list[str]:
        frames = backtrace(A64, machine.modules, stop.registers, machine.read, lambda _: stripped, lambda _: debug_file)
        return [f.function for f in frames]

    assert walk(debug)[:3] == ["leaf", "saver", "big"]
    assert walk(debug)[-1] == "entry"
    assert walk(objcopy(A64, other, "--only-keep-debug"))[0] == ""


def test_unknown_elf_and_unknown_registers() -> None:
    """Without files the frame records are followed still; without registers there is one frame."""
    machine = runner(A64, ("-fno-omit-frame-pointer",))
    steps = machine.steps(machine.address(MAIN, "entry"), 0, 1)
    inside = next(s for s in steps if s.call and len(s.shadow) == 3)
    frames = backtrace(A64, machine.modules, inside.registers, machine.read, lambda _: None)
    assert [f.pc for f in frames] == [inside.pc, *inside.shadow]
    assert all(f.module == str(MAIN) and not f.function for f in frames)
    assert len(backtrace(A64, machine.modules, {}, machine.read, machine.elf_of)) == 1


def test_endless_recursion_is_cut() -> None:
    """Frame records without end in a hostile stack, and one that points to itself."""
    module = [Module(MAIN, 0x1000, 0x1000)]

    def endless(address: int, size: int) -> bytes:
        return ((0x1800).to_bytes(size, "little")) if address % 16 else (address + 16).to_bytes(size, "little")

    registers = {"pc": 0x1010, "sp": 0x8000, "x29": 0x8000}
    assert len(backtrace(A64, module, registers, endless, lambda _: None)) == MAX_FRAMES

    def itself(address: int, size: int) -> bytes:
        return ((0x1800).to_bytes(size, "little")) if address % 16 else address.to_bytes(size, "little")

    assert len(backtrace(A64, module, registers, itself, lambda _: None)) == 1
