"""OP-TEE's AddressSanitizer for TAs: what the loader prepares for the runtime in libutils, and what its shadow says.

Source: optee_os 4.10 lib/libutils/ext/include/asan.h, lib/libutils/ext/asan.c; core/arch/arm/arm.mk for the default of
CFG_USER_ASAN_SHADOW_OFFSET; GCC's gcc/asan.h for the values that the compiler writes beside variables on the stack.
"""

from __future__ import annotations

import enum
from typing import Final

BLOCK: Final = 8
"""Bytes of memory for one of shadow, which holds how many of them may be accessed; 0: all."""
SHADOW_OFFSETS: Final = (0x7000_0000, 0x01C0_0000)
"""Of TAs for cores with long descriptors, all for aarch64 among them; of others. The shadow of an address is
address / 8 + offset."""
INFO_BELOW: Final = 4096
"""`struct asan_global_info` lies one page below the offset."""
VA_REGS_MAX: Final = 32
"""ASAN_VA_REGS_MAX."""


class Region(enum.IntEnum):
    """enum asan_va_reg_type."""

    STACK = 1
    MEM_POOL = 2
    ELF = 3


SHADOW_KINDS: Final = {
    0xFF: "beside a global variable",
    0xFE: "in heap memory that is free",
    0xF1: "before the variables of a function",
    0xF2: "between the variables of a function",
    0xF3: "behind the variables of a function",
    0xF8: "in a variable out of scope",
}
"""By the shadow of memory that may not be accessed."""
BEHIND_KINDS: Final = {
    0xFF: "behind a global variable",
    0xFE: "behind a block of heap memory",
    0xF2: "behind a variable of a function",
    0xF3: "behind a variable of a function",
}
"""The same where an accessible piece of a block comes before it."""
REPORT: Final = "[ASAN]: access violation, addr: "
"""What the runtime logs before it panics: then the address, `size: ` and a decimal number."""
