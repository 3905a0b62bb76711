"""Backtraces at every instruction of compiled programs, against a shadow call stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from south.platform import Arch
from ta_loader.symbolise.unwind import MAX_FRAMES, backtrace
from tee.ports import Module

from .unwind_kit import GUARDED, LIBRARY, MAIN, OTHER, PROGRAM, Runner, build, nm, objcopy, run_tool

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
