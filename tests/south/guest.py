"""Tiny guest programs in machine code, for tests of the engine. No assembler needed.

Every program is written once, in the names below. Register 0 is the first argument of an entry and of a call, and what
a call results in; registers 1 and 2 are the arguments after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.engine.unicorn import UnicornEngine, UnicornSpace
from south.linux_host.memory import HostPages
from south.platform import Arch, Prot, RegionFlag

if TYPE_CHECKING:
    from south.linux_host.memory import MappedPages

CODE = 0x40_0000
DATA = 0x80_0000
SP = DATA + 0x1000

A64 = {
    "svc": 0xD4000001,  # svc #0
    "number": 0xD28000E8,  # mov x8, #7
    "inc": 0x91000400,  # add x0, x0, #1
    "nop": 0xD503201F,
    "spin": 0x14000000,  # b .
    "load": 0xF9400020,  # ldr x0, [x1]
    "store": 0xF9000020,  # str x0, [x1]
    "jump": 0xD61F0020,  # br x1
    "undefined": 0x00000000,  # udf #0
    "wfi": 0xD503207F,
    "brk": 0xD4200000,
    "privileged": 0xD538C000,  # mrs x0, vbar_el1
    "float": 0x1E6E1000,  # fmov d0, #1.0
}
A32 = {
    "svc": 0xEF000000,  # svc #0
    "number": 0xE3A07007,  # mov r7, #7
    "inc": 0xE2800001,  # add r0, r0, #1
    "nop": 0xE320F000,
    "spin": 0xEAFFFFFE,  # b .
    "load": 0xE5910000,  # ldr r0, [r1]
    "store": 0xE5810000,  # str r0, [r1]
    "jump": 0xE12FFF11,  # bx r1
    "undefined": 0xE7F000F0,  # udf #0
    "wfi": 0xE320F003,
    "brk": 0xE1200070,  # bkpt #0
    "privileged": 0xEE1C0F10,  # mrc p15, 0, r0, c12, c0, 0
    "float": 0xEEB70B00,  # vmov.f64 d0, #1.0
}
X86 = {
    "svc": b"\x0f\x05\x48\x89\xc7",  # syscall; mov rdi, rax
    "number": b"\xb8\x07\x00\x00\x00",  # mov eax, 7
    "inc": b"\x48\xff\xc7",  # inc rdi
    "nop": b"\x0f\x1f\x00",  # nop [rax]: as long as inc
    "spin": b"\xeb\xfe",  # jmp .
    "load": b"\x48\x8b\x3e",  # mov rdi, [rsi]
    "store": b"\x48\x89\x3e",  # mov [rsi], rdi
    "jump": b"\xff\xe6",  # jmp rsi
    "undefined": b"\x0f\x0b",  # ud2
    "wfi": b"\xf3\x90",  # pause, which ends a run of Unicorn's as wfi does
    "brk": b"\xcc",  # int3
    "privileged": b"\x0f\x20\xc0",  # mov rax, cr0
    "float": b"\xf2\x0f\x58\xc0",  # addsd xmm0, xmm0
}
TABLES: dict[Arch, dict[str, bytes]] = {
    Arch.AARCH64: {name: word.to_bytes(4, "little") for name, word in A64.items()},
    Arch.ARM: {name: word.to_bytes(4, "little") for name, word in A32.items()},
    Arch.X86_64: X86,
}
REGISTERS = {Arch.AARCH64: ("x0", "x1", "x2"), Arch.ARM: ("r0", "r1", "r2"), Arch.X86_64: ("rdi", "rsi", "rdx")}
"""Registers 0, 1 and 2."""
NUMBER = {Arch.AARCH64: "x8", Arch.ARM: "r7", Arch.X86_64: "rax"}
"""The register that holds a call's number."""
KEPT = {Arch.AARCH64: "x20", Arch.ARM: "r8", Arch.X86_64: "r12"}
"""A register that calls have nothing to do with."""
TRAP = {Arch.AARCH64: 4, Arch.ARM: 4, Arch.X86_64: 2}
"""Bytes of the instruction that makes a call."""
HIGH = {Arch.AARCH64: 0x12_3456_7000, Arch.ARM: 0xBEEF_0000, Arch.X86_64: 0x7FFF_DEAD_B000}
"""An address far up."""

# ldaxr/ldrex loop: add 1 to the word at register 1, register 2 times, then svc
A64_ATOMIC = (0x885FFC23, 0x11000463, 0x8804FC23, 0x35FFFFA4, 0xF1000442, 0x54FFFF61, A64["svc"])
A32_ATOMIC = (0xE1913F9F, 0xE2833001, 0xE1814F93, 0xE3540000, 0x1AFFFFFA, 0xE2522001, 0x1AFFFFF8, A32["svc"])
X86_ATOMIC = (b"\xf0\xff\x06\x48\xff\xca\x75\xf8", "svc")  # lock inc [rsi]; dec rdx; jnz -8
ATOMIC: dict[Arch, tuple[str | int | bytes, ...]] = {
    Arch.AARCH64: A64_ATOMIC,
    Arch.ARM: A32_ATOMIC,
    Arch.X86_64: X86_ATOMIC,
}


def code(arch: Arch, *program: str | int | bytes) -> bytes:
    """Machine code of names, words of four bytes and bytes."""
    table = TABLES[arch]
    return b"".join(
        table[item] if isinstance(item, str) else item.to_bytes(4, "little") if isinstance(item, int) else item
        for item in program
    )


class Guest:
    """One CPU with a page of code and two pages of data."""

    def __init__(self, arch: Arch, *program: str | int | bytes) -> None:
        self.pages = HostPages()
        self.arena: MappedPages = self.pages.arena(1 << 20)
        self.space: UnicornSpace = UnicornEngine().space(arch, self.arena)
        self.cpu = self.space.cpu()
        self.put(0, *program)
        self.space.map(CODE, 0x1000, Prot.RX, RegionFlag.PRIVATE, self.arena, 0)
        self.space.map(DATA, 0x2000, Prot.RW, RegionFlag.PRIVATE, self.arena, 0x4000)

    def put(self, offset: int, *program: str | int | bytes) -> None:
        """Code at that offset of its page, before it runs."""
        data = code(self.cpu.arch, *program)
        self.arena.view(offset, len(data))[:] = data
