"""Tiny kernels in QEMU, and secure worlds that answer them."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from south.qemu_arm import build, layout
from south.qemu_arm.machine import Board, QemuMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.fakes import Lines

GUESTS = Path(__file__).parent / "guests"
MEMORY = 64 << 20
DEADLINE = 60.0
"""Seconds that a guest gets; they need less than one on a quiet machine."""
YIELDING = 0x32000000
FAST = 0xB2000000
RETURN = 0x32000003
INTERRUPTED = 0xFFFF0004


def why_not() -> str:
    """Reason for which no guest can run here, "" if one can."""
    if lacking := build.missing():
        return f"not installed: {', '.join(lacking)}"
    if shutil.which(Board._field_defaults["qemu"]) is None:
        return "qemu-system-aarch64 is not installed"
    return ""


needs_qemu = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


def guest(name: str, folder: Path, **defines: object) -> Path:
    """The built image of a guest; defines: for its preprocessor."""
    out = folder / f"{name}.bin"
    out.write_bytes(build.assemble(GUESTS / f"{name}.S", layout.KERNEL_BASE, defines))
    return out


class Recorder:
    """A secure world that notes what comes and answers with what `handlers` return; None: they answer themselves."""

    def __init__(self, handlers: dict[int, Callable[..., Any]] | None = None) -> None:
        self.handlers = handlers or {}
        self.calls: list[tuple[int, tuple[int, ...]]] = []
        self.interrupts: list[int] = []
        self.resets = 0
        self.on_interrupt: Callable[[int], None] = lambda cpu: None

    def call(self, cpu: int, registers: Sequence[int], answer: Callable[[tuple[int, int, int, int]], None]) -> None:
        self.calls.append((cpu, tuple(registers)))
        handler = self.handlers.get(registers[0])
        result = (0, 0, 0, 0) if handler is None else handler(cpu, registers, answer)
        if result is not None:
            answer(result)

    def may_block(self, function: int) -> bool:
        return not function & 1 << 31

    def interrupted(self, cpu: int) -> None:
        self.interrupts.append(cpu)
        self.on_interrupt(cpu)

    def reset(self) -> None:
        self.resets += 1

    def told(self, function: int) -> list[tuple[int, int, int]]:
        """x1 to x3 of the calls of that function."""
        return [(r[1], r[2], r[3]) for _, r in self.calls if r[0] == function]


def machine(kernel: Path, log: Lines | None = None, **options: Any) -> QemuMachine:
    options.setdefault("reboot", False)
    return QemuMachine(Board(kernel, memory=MEMORY, **options), log)


def run(made: QemuMachine, monitor: Recorder) -> int:
    """Start it and serve it to its end; its status. Kills it at DEADLINE."""
    made.start()
    timer = threading.Timer(DEADLINE, made.stop)
    timer.start()
    try:
        return made.serve(monitor)
    finally:
        timer.cancel()
        timer.join()
