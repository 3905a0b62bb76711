"""Tiny guest programs in machine code, for tests of the engine. No assembler needed."""

from __future__ import annotations

import struct
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
# ldaxr/ldrex loop: add 1 to the word at register 1, register 2 times, then svc
A64_ATOMIC = (0x885FFC23, 0x11000463, 0x8804FC23, 0x35FFFFA4, 0xF1000442, 0x54FFFF61, A64["svc"])
A32_ATOMIC = (0xE1913F9F, 0xE2833001, 0xE1814F93, 0xE3540000, 0x1AFFFFFA, 0xE2522001, 0x1AFFFFF8, A32["svc"])


class Guest:
    """One CPU with a page of code and two pages of data."""

    def __init__(self, arch: Arch, *program: str | int) -> None:
        self.pages = HostPages()
        self.arena: MappedPages = self.pages.arena(1 << 20)
        self.space: UnicornSpace = UnicornEngine().space(arch, self.arena)
        self.cpu = self.space.cpu()
        table = A64 if arch is Arch.AARCH64 else A32
        words = [table[item] if isinstance(item, str) else item for item in program]
        self.arena.view(0, 4 * len(words))[:] = struct.pack(f"<{len(words)}I", *words)
        self.space.map(CODE, 0x1000, Prot.RX, RegionFlag.PRIVATE, self.arena, 0)
        self.space.map(DATA, 0x2000, Prot.RW, RegionFlag.PRIVATE, self.arena, 0x4000)
